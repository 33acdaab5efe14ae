#include "context.h"

#include "float_scope.h"
#include "os.h"
#include "sizes.h"
#include "text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_DEADLINE                                                                                                                    \
    300 /* seconds: below the trainer's step-deadline, so that the device that hangs is named before those that wait for it */

struct aios_context {
    atomic_uint references;
    aios_allocator allocator;
    int32_t log_level;
    aios_log_fn log;
    void *log_user;
    aios_event_fn event;
    void *event_user;
    double device_deadline;
    os_mutex sink; /* one call of a sink at a time */
};

static void *default_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void *default_realloc(void *user, void *pointer, size_t size)
{
    (void)user;
    return realloc(pointer, size);
}

static void default_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

void aios_context_options_init(aios_context_options *options)
{
    if (options) *options = (aios_context_options)AIOS_CONTEXT_OPTIONS_INIT;
}

static aios_status choose_deadline(double given, double *deadline)
{
    const char *text = os_environment("AIOS_DEVICE_DEADLINE");
    *deadline = given > 0 ? given : 0;
    if (given != 0) return AIOS_OK;
    *deadline = DEVICE_DEADLINE;
    if (text && (!text_to_double(text, deadline) || !(*deadline >= 0 && *deadline <= 1e9)))
        return FAIL(AIOS_INVALID_ARGUMENT, "AIOS_DEVICE_DEADLINE is \"%s\": seconds are wanted, 0 for ever", text);
    return AIOS_OK;
}

aios_status aios_context_create(const aios_context_options *given, aios_context **context)
{
    FLOAT_SCOPE;
    if (!context) return FAIL(AIOS_INVALID_ARGUMENT, "aios_context_create: context is NULL: pass the address of a pointer");
    *context = NULL;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_context_options", &options, sizeof options, given));
    aios_allocator allocator = {sizeof allocator, 0, NULL, default_alloc, default_realloc, default_free};
    TRY_QUIET(aios_struct_read("aios_allocator", &allocator, sizeof allocator, options.allocator));
    if (!allocator.alloc || !allocator.realloc || !allocator.free)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_allocator: alloc, realloc and free must all be given");
    double deadline;
    TRY_QUIET(choose_deadline(options.device_deadline, &deadline));

    aios_context *made = allocator.alloc(allocator.user, sizeof *made);
    if (!made) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for a context (%zu bytes)", sizeof *made);
    memset(made, 0, sizeof *made);
    made->references = 1;
    made->allocator = allocator;
    made->log_level = options.log_level;
    made->log = options.log;
    made->log_user = options.log_user;
    made->event = options.event;
    made->event_user = options.event_user;
    made->device_deadline = deadline;
    os_mutex_init(&made->sink);
    *context = made;
    return AIOS_OK;
}

aios_status aios_struct_read(const char *name, void *to, size_t size, const void *from)
{
    uint32_t given;
    if (!from) return AIOS_OK;
    memcpy(&given, from, sizeof given);
    if (given < sizeof given)
        return FAIL(AIOS_ABI_MISMATCH, "%s.struct_size is %u: set it with %s's _INIT macro", name, (unsigned)given, name);
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)from)[i])
            return FAIL(AIOS_ABI_MISMATCH, "%s has a field at byte %zu that libaios %s does not know: use a newer library or leave it zero",
                        name, i, AIOS_VERSION_STRING);
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &(uint32_t){(uint32_t)size}, sizeof(uint32_t));
    return AIOS_OK;
}

aios_status aios_struct_write(const char *name, void *to, const void *from, size_t size)
{
    uint32_t given;
    memcpy(&given, to, sizeof given);
    if (given < sizeof given)
        return FAIL(AIOS_ABI_MISMATCH, "%s.struct_size is %u: start with its _INIT macro, or set it to sizeof(%s)", name, (unsigned)given,
                    name);
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &given, sizeof given);
    return AIOS_OK;
}

aios_context *aios_context_retain(aios_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void aios_context_release(aios_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1) return;
    aios_allocator allocator = context->allocator;
    os_mutex_destroy(&context->sink);
    allocator.free(allocator.user, context);
}

double aios_context_device_deadline(const aios_context *context)
{
    return context->device_deadline;
}

void aios_context_destroy(aios_context *context)
{
    aios_context_release(context);
}

void *aios_memory_alloc(aios_context *context, size_t size)
{
    void *pointer = context->allocator.alloc(context->allocator.user, size ? size : 1);
    if (!pointer) (void)FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu bytes asked of the host", size);
    return pointer;
}

void *aios_memory_zalloc(aios_context *context, size_t size)
{
    void *pointer = aios_memory_alloc(context, size);
    if (pointer) memset(pointer, 0, size);
    return pointer;
}

void *aios_memory_resize(aios_context *context, void *pointer, size_t size)
{
    void *moved = pointer ? context->allocator.realloc(context->allocator.user, pointer, size ? size : 1)
                          : context->allocator.alloc(context->allocator.user, size ? size : 1);
    if (!moved) (void)FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu bytes asked of the host", size);
    return moved;
}

void aios_memory_free(aios_context *context, void *pointer)
{
    if (pointer) context->allocator.free(context->allocator.user, pointer);
}

char *aios_memory_strdup(aios_context *context, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = aios_memory_alloc(context, size);
    if (copy) memcpy(copy, text, size);
    return copy;
}

void *aios_memory_array(aios_context *context, size_t count, size_t size)
{
    size_t bytes;
    if (!size_multiply(count, size, &bytes)) {
        (void)FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu elements of %zu bytes are more than an address can tell", count, size);
        return NULL;
    }
    return aios_memory_zalloc(context, bytes);
}

aios_status aios_memory_grow(aios_context *context, void **array, size_t *capacity, size_t need, size_t element)
{
    if (need <= *capacity) return AIOS_OK;
    size_t wanted = *capacity ? *capacity : 16, bytes;
    while (wanted < need)
        if (!size_multiply(wanted, 2, &wanted)) return FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu elements", need);
    if (!size_multiply(wanted, element, &bytes)) return FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu elements of %zu bytes", wanted, element);
    void *moved = aios_memory_resize(context, *array, bytes);
    if (!moved) return AIOS_OUT_OF_MEMORY;
    *array = moved;
    *capacity = wanted;
    return AIOS_OK;
}

void aios_log(aios_context *context, int32_t level, const char *format, ...)
{
    if (!context->log || level > context->log_level) return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    os_mutex_lock(&context->sink);
    context->log(context->log_user, level, line);
    os_mutex_unlock(&context->sink);
}

void aios_emit(aios_context *context, const char *name, const char *json)
{
    if (!context->event) return;
    os_mutex_lock(&context->sink);
    context->event(context->event_user, name, json);
    os_mutex_unlock(&context->sink);
}
