/* worker.h (internal): the loop of a run: a step, its report, and now and then an evaluation and a checkpoint. */
#ifndef AIOS_TRAINER_WORKER_H
#define AIOS_TRAINER_WORKER_H

#include "trainer.h"

/* aios_trainer_run. */
aios_status worker_run(aios_trainer *t);

/* The loss on what is held out, if it was not evaluated at this step yet, and its report. */
aios_status worker_evaluate(aios_trainer *t);
/* Do files ask for a stop?  Returns AIOS_STOP_… that holds now, or 0. */
int worker_poll_stop_files(aios_trainer *t);

#endif
