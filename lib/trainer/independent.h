/* independent.h (internal): devices that train on their own, on chunks of their own, and become one model now and then.
 *
 *   independent.c   the chunk tracker of a run; its workers, one thread per device: claim, train, report
 *   crew.c          who is alive; meeting each other; dropping a device that failed or hangs
 *   meeting.c       the weights of all become one; evaluation, checkpoint
 *
 * A step is an optimizer step of one device on batch-size x gradient-accumulation-steps samples; `steps` counts those of all
 * devices.  When a merge, an evaluation or a checkpoint is due, each device ends its step and comes to a meeting: weights and moments of
 * all become their mean by tokens, and each goes on from it, in the middle of its chunk.  A checkpoint holds merged weights only, with the
 * number that the tracker gave it (chunk_tracker.h): what it holds is trained, all else is trained again after a crash.
 *
 * A device that fails, or shows no life for step-deadline seconds, is dropped: its claim returns, and so do the samples that it trained
 * since the last meeting, which are in no weights but its own.  A replica that is not finite, or whose claim was given to another, is
 * left out of the merge in the same way, and goes on from the others' weights.  A thread that hangs in a driver can't be ended: the run
 * goes on and ends without it, and the trainer's memory is then left to it (aios_trainer_destroy). */
#ifndef AIOS_TRAINER_INDEPENDENT_H
#define AIOS_TRAINER_INDEPENDENT_H

#include "trainer.h"

/* Opens the tracker of the run's folder and takes it to checkpoint number `sealed` (0: new weights); `next_sample` > 0: a run of another
 * strategy had trained the samples before it.  Errors: those of aios_chunk_tracker_open. */
aios_status independent_open(aios_trainer *t, uint64_t sealed, int64_t next_sample);
void independent_close(aios_trainer *t);
/* Trains until the steps are done, a stop or an error; the last checkpoint is saved.  *stopped: the AIOS_STOP_… that was obeyed, or 0. */
aios_status independent_run(aios_trainer *t, int *stopped);

#endif
