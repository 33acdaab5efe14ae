/* registry.h (internal): the backends of this process. */
#ifndef AIOS_GPU_REGISTRY_H
#define AIOS_GPU_REGISTRY_H

#include "base/context.h"
#include <aios/device.h>

typedef struct backend_slot {
    aios_backend_entry entry;
    const aios_backend *backend; /* NULL where entry.status is not AIOS_OK */
} backend_slot;

/* Every backend that was looked for, in the order cpu, cuda, xpu, hip, others by name. */
typedef struct backend_table {
    aios_context *context;
    backend_slot *slots;
    size_t count, capacity;
} backend_table;

/* Looks for backends as aios_device_list_create says; plugins that the process has loaded before are not loaded again.
 * Errors: OUT_OF_MEMORY. */
aios_status registry_scan(aios_context *context, backend_table *table);
void registry_free(backend_table *table);

/* Judges what a plugin answered.  Errors, each with a sentence: ABI_MISMATCH, CORRUPT. */
aios_status registry_check(const aios_backend *backend);

#endif
