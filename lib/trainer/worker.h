/* worker.h (internal): the loop of one device.
 *
 * A step: claim the next samples, run the micro-batches, let the optimizer step, report, and now and then evaluate and save.
 * The weight of a step is the number of labels of all its micro-batches, so that accumulation is exactly the big batch. */
#ifndef AIOS_TRAINER_WORKER_H
#define AIOS_TRAINER_WORKER_H

#include "trainer.h"

/* aios_trainer_run. */
aios_status worker_run(aios_trainer *t);

#endif
