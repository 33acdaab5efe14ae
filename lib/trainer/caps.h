/* caps.h (internal): what a run may take of each device: memory, time, heat, power.
 *
 * Memory is kept by smaller micro-batches, the rest by pauses between steps.  A cap that a device can't tell is refused when the run is
 * opened. */
#ifndef AIOS_TRAINER_CAPS_H
#define AIOS_TRAINER_CAPS_H

#include "settings.h"
#include <aios/device.h>

/* Errors: UNSUPPORTED names the cap and the device that can't tell it. */
aios_status caps_check(aios_device *device, const struct settings *settings);
/* Errors: DEVICE_OUT_OF_MEMORY where the run holds more of the device than max-memory. */
aios_status caps_check_memory(aios_device *device, const struct settings *settings);

struct pause {
    double until;  /* os_now() that max-utilisation asks to wait for */
    double looked; /* of the last look at heat and power */
    int told;      /* 1: the log knows that it waits */
};
/* After work of `seconds`. */
void caps_begin_pause(struct pause *pause, const struct settings *settings, double seconds);
/* Whether to wait on.  Reads the device at most twice a second; one that can't be read any more is not waited for. */
int caps_must_wait(struct pause *pause, aios_context *context, aios_device *device, const struct settings *settings);

#endif
