/* context.h (internal): references, memory, log and events of a context. */
#ifndef AIOS_BASE_CONTEXT_H
#define AIOS_BASE_CONTEXT_H

#include "error.h"
#include <aios/context.h>

aios_context *aios_context_retain(aios_context *context);
void aios_context_release(aios_context *context);
double aios_context_device_deadline(const aios_context *context); /* seconds; 0: for ever */

/* Memory of the context's allocator, zeroed by aios_new.  NULL with an error record when there is none. */
void *aios_memory_alloc(aios_context *context, size_t size);
void *aios_memory_zalloc(aios_context *context, size_t size);
void *aios_memory_resize(aios_context *context, void *pointer, size_t size); /* keeps the old block on failure */
void aios_memory_free(aios_context *context, void *pointer);
char *aios_memory_strdup(aios_context *context, const char *text);
/* count * size, checked. */
void *aios_memory_array(aios_context *context, size_t count, size_t size);
/* Makes room for `need` elements in a growing array: doubles *capacity.  Errors: OUT_OF_MEMORY; the array stays. */
aios_status aios_memory_grow(aios_context *context, void **array, size_t *capacity, size_t need, size_t element);

/* Reads a structure that crossed the ABI: `to` holds the defaults of this library; takes min(sizes) of `from` (NULL:
 * nothing) and refuses a non-zero tail that this library does not know.  Errors: ABI_MISMATCH. */
aios_status aios_struct_read(const char *name, void *to, size_t size, const void *from);
/* Copies a structure to a caller, whose struct_size says how much of it he knows.  Errors: ABI_MISMATCH where it is not set. */
aios_status aios_struct_write(const char *name, void *to, const void *from, size_t size);

#define aios_new(context, type) ((type *)aios_memory_zalloc(context, sizeof(type)))

void aios_log(aios_context *context, int32_t level, const char *format, ...) AIOS_PRINTF(3, 4);
/* json: an object as text. */
void aios_emit(aios_context *context, const char *name, const char *json);

#endif
