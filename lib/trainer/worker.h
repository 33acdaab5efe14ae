/* worker.h (internal): the loop of a run: a step, its report, and now and then an evaluation and a checkpoint. */
#ifndef AIOS_TRAINER_WORKER_H
#define AIOS_TRAINER_WORKER_H

#include "trainer.h"

/* aios_trainer_run. */
aios_status worker_run(aios_trainer *t);

#endif
