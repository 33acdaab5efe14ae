/* recover.h (internal): a ddp run goes on without the devices that it lost. */
#ifndef AIOS_TRAINER_RECOVER_H
#define AIOS_TRAINER_RECOVER_H

#include "trainer.h"

/* After `status` of something that all replicas did together, with its record.  Where devices were lost and others are left, the run is as
 * it was after its last complete step, on the others: from memory, or from the newest checkpoint where the lost ones had a part of the
 * state to themselves.  Says what happened.  Errors: `status`, with its record, where no device is to blame, none is left or the run is
 * strict. */
aios_status recover(aios_trainer *t, aios_status status);

#endif
