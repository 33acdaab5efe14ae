/* call.h (internal): one call into a backend's table, made here or by a proxy.
 *
 * A driver may hang, and who is inside it then can't be called back.  So no thread of a program goes there: a proxy, a thread of the
 * library's own, makes the call, and who wants it waits for the answer up to the device's deadline.  A proxy that has not come back by
 * then is left behind with all that it was given (which therefore is copied to it), and frees itself should the driver let it go.
 * While calls follow closely the two threads look at each other without sleeping, so that a call costs a fraction of a microsecond more. */
#ifndef AIOS_GPU_CALL_H
#define AIOS_GPU_CALL_H

#include "base/context.h"

enum call_kind {
#define CALL(name, made) CALL_##name,
#include "call.def"
#undef CALL
    CALL_COUNT
};

/* What is given, each call taking what it needs (call.def), and below it the answers. */
typedef struct driver_call {
    const aios_gpu_device *table; /* the device's; NULL for device_count, which is of none */
    int kind;
    int32_t number;           /* given, and device_count's answer */
    struct call_proxy **held; /* who makes the calls of a stream that is recorded: drivers bind a recording to a thread */
    uint32_t kernel, word;
    void *stream, *object, *other, *to;
    const void *from;
    uint64_t size;
    const void *const *arguments; /* of the kernel */
    const void *in;               /* a structure that is read */
    void *out;                    /* a structure that is filled */
    uint32_t in_size, out_size;

    void *made;
    uint64_t counts[2];
    float milliseconds;
} driver_call;

/* Makes the call on this thread.  The status is with its record (host.h). */
aios_status call_make(aios_context *context, const aios_backend *backend, void *handle, driver_call *call);

typedef struct call_proxy call_proxy;

/* For one call at a time.  Errors: OUT_OF_MEMORY. */
aios_status proxy_create(aios_context *context, const aios_backend *backend, call_proxy **proxy);
void proxy_destroy(call_proxy *proxy); /* NULL is fine */
/* As call_make.  Errors: those of the call; DEVICE_LOST after `deadline` seconds, with *proxy = NULL: it is left behind, and `handle` and
 * all that was given must not be used or freed any more. */
aios_status proxy_call(call_proxy **proxy, void *handle, driver_call *call, double deadline);

/* A list of those that are not in use. */
call_proxy *proxy_pop(call_proxy **list);
void proxy_push(call_proxy **list, call_proxy *proxy);

#endif
