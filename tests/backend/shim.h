/* shim.h: a plugin around another plugin.  It passes every call on, counts what is alive, and misbehaves as it is told: by faults, which
 * a test in the same process sets through the symbol shim_state, or by a defect that the environment names (SHIM_DEFECT), of which the
 * judge must find each.  The plugin within is SHIM_BACKEND; it is shown as two devices, shim:0 and shim:1. */
#ifndef SHIM_H
#define SHIM_H

#include <aios/backend.h>

#include <stdatomic.h>

#define SHIM_DEVICES 2

/* Every entry of the table that returns a status: SHIM_CALL(name, parameters, arguments). */
#define SHIM_CALLS(SHIM_CALL)                                                                                                              \
    SHIM_CALL(get_info, (void *device, aios_device_info *info), (device, info))                                                            \
    SHIM_CALL(get_memory_info, (void *device, uint64_t *free_bytes, uint64_t *total), (device, free_bytes, total))                         \
    SHIM_CALL(set_device, (void *device), (device))                                                                                        \
    SHIM_CALL(synchronize, (void *device), (device))                                                                                       \
    SHIM_CALL(create_stream, (void *device, void **stream), (device, stream))                                                              \
    SHIM_CALL(synchronize_stream, (void *device, void *stream), (device, stream))                                                          \
    SHIM_CALL(create_event, (void *device, void **event), (device, event))                                                                 \
    SHIM_CALL(record_event, (void *device, void *event, void *stream), (device, event, stream))                                            \
    SHIM_CALL(wait_event, (void *device, void *stream, void *event), (device, stream, event))                                              \
    SHIM_CALL(synchronize_event, (void *device, void *event), (device, event))                                                             \
    SHIM_CALL(elapsed_ms, (void *device, void *from, void *to, float *ms), (device, from, to, ms))                                         \
    SHIM_CALL(alloc, (void *device, uint64_t size, void **pointer), (device, size, pointer))                                               \
    SHIM_CALL(host_alloc, (void *device, uint64_t size, void **pointer), (device, size, pointer))                                          \
    SHIM_CALL(copy, (void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind),                                 \
              (device, stream, to, from, size, kind))                                                                                      \
    SHIM_CALL(fill, (void *device, void *stream, void *to, uint32_t pattern, uint64_t size), (device, stream, to, pattern, size))          \
    SHIM_CALL(copy_peer, (void *device, void *stream, void *to, void *other, const void *from, uint64_t size),                             \
              (device, stream, to, other, from, size))                                                                                     \
    SHIM_CALL(load_kernels, (void *device, const aios_kernel *kernels, uint32_t count), (device, kernels, count))                          \
    SHIM_CALL(launch, (void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments),                         \
              (device, stream, kernel, teams, arguments))

/* The groups' as well: SHIM_GROUP_CALL(group, entry, name, parameters, arguments); capture_begin and capture_end are written out.  With
 * SHIM_GROUPS in the environment the plugin has all of them but collectives, whose ranks the shim's two devices can't be: what the plugin
 * within lacks is done by its kernels, or answered UNSUPPORTED. */
#define SHIM_GROUP_CALLS(SHIM_GROUP_CALL)                                                                                                  \
    SHIM_GROUP_CALL(gemm, gemm, gemm, (void *device, void *stream, const aios_gemm *g), (device, stream, g))                               \
    SHIM_GROUP_CALL(attention, forward, attention_forward, (void *device, void *stream, const aios_attention *a), (device, stream, a))     \
    SHIM_GROUP_CALL(attention, backward, attention_backward, (void *device, void *stream, const aios_attention *a), (device, stream, a))   \
    SHIM_GROUP_CALL(capture, replay, capture_replay, (void *device, void *stream, void *recording), (device, stream, recording))           \
    SHIM_GROUP_CALL(telemetry, read, telemetry_read, (void *device, aios_telemetry *telemetry), (device, telemetry))

/* Those that return nothing, and so can't fail: they hang, or find the device lost. */
#define SHIM_VOID_CALLS(SHIM_CALL)                                                                                                         \
    SHIM_CALL(destroy_stream, (void *device, void *stream), (device, stream))                                                              \
    SHIM_CALL(destroy_event, (void *device, void *event), (device, event))                                                                 \
    SHIM_CALL(free, (void *device, void *pointer), (device, pointer))                                                                      \
    SHIM_CALL(host_free, (void *device, void *pointer), (device, pointer))

/* HANG: the call goes on when it is released; STUCK: it is not made even then, since what it was given may be gone. */
enum shim_mode { SHIM_NONE, SHIM_ONCE, SHIM_FOREVER, SHIM_HANG, SHIM_STUCK, SHIM_LOST };

struct shim_state {
    /* What goes wrong: the at-th call (from 1) of that name on that device. */
    _Atomic(const char *) call;
    atomic_int mode, device;
    atomic_long at;
    /* What happened. */
    atomic_long seen;              /* calls of that name on that device */
    atomic_int hung;               /* calls that hang now */
    atomic_int release;            /* set it to let them go on */
    atomic_int lost;               /* the device is gone */
    atomic_int live[SHIM_DEVICES]; /* devices, streams, events, memory that were not given back */
};

#endif
