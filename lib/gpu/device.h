/* device.h (internal): the handles behind <aios/device.h>, and what only libaios itself may ask of a device. */
#ifndef AIOS_GPU_DEVICE_H
#define AIOS_GPU_DEVICE_H

#include "base/context.h"
#include "base/os.h"
#include "call.h"
#include "memory_pool.h"
#include <aios/device.h>

#include <stdatomic.h>

struct aios_device {
    atomic_uint references; /* the owner's, and one per stream, event and recording */
    aios_context *context;
    const aios_backend *backend;
    const aios_gpu_device *table;
    void *handle;
    aios_device_info info;
    char spec[32];
    memory_pool *pool;
    os_mutex mutex;   /* of failure and proxies */
    os_mutex loading; /* of the kernels */
    atomic_int failed;
    atomic_int given_up; /* a call hung: the driver is not entered any more, and what it holds of the device stays */
    atomic_int kernels_loaded;
    aios_error_record failure;
    double deadline;     /* of a call into the driver, seconds; 0: calls are made by the thread that wants them */
    call_proxy *proxies; /* not in use */
};

struct aios_stream {
    aios_device *device;
    void *handle;
    call_proxy *held; /* while it is recorded */
    void *landing;    /* of stream_fetch; NULL before the first */
};

struct aios_event {
    aios_device *device;
    void *handle;
    atomic_int recorded;
};

/* Opens the backend's index-th device. */
aios_status device_open(aios_context *context, const aios_backend *backend, int32_t index, aios_device **device);

/* A device around an open handle with a table of its own, which the device closes, in failure too.  Its memory is not the host's. */
aios_status device_adopt(aios_context *context, const aios_backend *backend, const aios_gpu_device *table, void *handle,
                         const aios_device_info *info, aios_device **device);

/* No call into its driver may take longer than that from now on, if the context's device_deadline is not shorter; 0: that alone holds.
 * Before the device is used by more than one thread. */
void device_limit_calls(aios_device *device, double seconds);

/* Every call into the device's table.  Refuses it where the device has failed; keeps a failure of the device, and names the device and
 * what it was about, "copying %llu bytes", in a frame. */
aios_status device_call(aios_device *device, driver_call *call, const char *format, ...) AIOS_PRINTF(3, 4);
/* The calls that give something back or wait for it: made after a failure too, unless a call hung. */
void device_release(aios_device *device, driver_call *call);
/* The sticky failure, refusing `what`. */
aios_status device_check(aios_device *device, const char *what);

#define CALL_ON(s) .stream = (s)->handle, .held = &(s)->held

/* "aios_stream_copy: stream is NULL …" */
aios_status handle_missing(const char *function, const char *argument);
#define CHECK_HANDLE(function, argument)                                                                                                   \
    do {                                                                                                                                   \
        if (!(argument)) return handle_missing(function, #argument);                                                                       \
    } while (0)

/* Loads the table of kernels where that was not done yet. */
aios_status device_load_kernels(aios_device *device);

/* 1: the backend's gemm has the epilogue itself. */
int device_fuses(const aios_device *device, int32_t epilogue);

/* Where the backend has no such group, or its group answers UNSUPPORTED. */
aios_status fallback_gemm(aios_stream *stream, const aios_gemm *gemm);
aios_status fallback_epilogue(aios_stream *stream, const aios_gemm *gemm); /* after gemm_without_epilogue() */
aios_gemm gemm_without_epilogue(const aios_gemm *gemm);
uint64_t fallback_attention_workspace(const aios_attention *shape, int32_t backward);
aios_status fallback_attention_forward(aios_stream *stream, const aios_attention *attention);
aios_status fallback_attention_backward(aios_stream *stream, const aios_attention *attention);
extern const uint32_t dtype_size[AIOS_DTYPE_COUNT];
extern const char *const dtype_name[AIOS_DTYPE_COUNT];

/* Brings size bytes of the device's memory to `to`, behind what the stream holds, and waits for them.  `to` may be freed whatever comes
 * back: a driver that hangs and goes on later writes to memory of the device's own (host_alloc) instead. */
aios_status stream_fetch(aios_stream *stream, void *to, const void *from, uint64_t size);

/* ---- between devices --------------------------------------------------------------------------------------------- */

/* Copies size bytes of from (memory of the device of from_stream) to `to` (memory of the device of stream).  The same
 * backend: its own way where it has one, in the order of both streams.  Else by way of host memory; then the call waits for
 * from_stream, and for stream before it returns. */
aios_status stream_copy_peer(aios_stream *stream, void *to, aios_stream *from_stream, const void *from, uint64_t size);

/* ---- recordings: WRONG_STATE and UNSUPPORTED as backend.h says ----------------------------------------------------- */

typedef struct stream_recording stream_recording;

int device_can_capture(const aios_device *device);
aios_status stream_capture_begin(aios_stream *stream);
aios_status stream_capture_end(aios_stream *stream, stream_recording **recording);
aios_status stream_replay(aios_stream *stream, stream_recording *recording);
void stream_recording_destroy(stream_recording *recording);

/* Work that is submitted again and again with the same addresses.  Zero is a good start. */
typedef struct stream_recorder {
    int32_t off; /* 1: submit it each time */
    int32_t warm_runs;
    stream_recording *recording;
} stream_recorder;

/* Calls submit, or replays what it submitted before: where the device can record, the first call submits (libraries load and choose
 * their ways), the second records, and all later ones replay.  Where recording fails and the device is well, the log says so and every
 * call submits.  Errors: those of submit and of the device. */
aios_status stream_submit(stream_recorder *recorder, aios_stream *stream, aios_status (*submit)(void *user), void *user, const char *what);
void stream_recorder_end(stream_recorder *recorder);

/* What the device tells of itself; negative where it can't.  Errors: the backend's; without the group all are negative. */
aios_status device_read_telemetry(aios_device *device, aios_telemetry *telemetry);

#endif
