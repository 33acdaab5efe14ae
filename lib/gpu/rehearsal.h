/* rehearsal.h (internal): a device that gives out addresses without memory behind them, and does no work.
 *
 * What is made on it takes, to the byte, what it would take on the real one, so memory is known before any is taken: aios_estimate.
 * Nothing that reads memory back (a result, a loss) means anything. */
#ifndef AIOS_GPU_REHEARSAL_H
#define AIOS_GPU_REHEARSAL_H

#include "base/context.h"
#include <aios/device.h>

/* As the device of this machine that the entry describes; close it as any other. */
aios_status rehearsal_open(aios_context *context, const aios_device_entry *entry, aios_device **device);
/* The entry of a typical device of a make that this machine need not have: "cuda", "hip", "xpu".  Errors: NOT_FOUND. */
aios_status rehearsal_typical(const char *backend, int32_t index, aios_device_entry *entry);
/* Host memory that drivers would have pinned. */
uint64_t rehearsal_pinned(const aios_device *device);

#endif
