/* lose.h: a device of a run that fails whatever it is asked. */
#ifndef AIOS_TEST_LOSE_H
#define AIOS_TEST_LOSE_H

#include "run.h"

#include "gpu/device.h"
#include "trainer/trainer.h"

static inline void lose(struct run *r, int replica)
{
    aios_device *device = r->trainer->replicas.list[replica].device;
    (void)FAIL(AIOS_DEVICE_LOST, "%s fell off the bus", device->spec);
    aios_error_save(&device->failure);
    atomic_store(&device->failed, 1);
}

#endif
