/* stream_driver.h (internal): GPUDevice's table, once, for the drivers that are streams, modules and graphs: NVIDIA's driver API and AMD's
 * HIP.  stream_driver.def lists what they share; what differs is in the vendor's own folder and comes in through stream_vendor:
 * how a device becomes current, which code it runs, how its memory is copied to another's, the driver's words for a code. */
#ifndef AIOS_STREAM_DRIVER_H
#define AIOS_STREAM_DRIVER_H

#include "plugin.h"

#define STREAM_TEAM_SIZE 256 /* lib/kernels/dialect.h compiles for blocks of this size */

typedef struct stream_calls {
#define CALL(need, member, parameters, cuda, hip) int(*member) parameters;
#include "stream_driver.def"
#undef CALL
} stream_calls;

/* The first member of a vendor's device. */
typedef struct stream_device {
    int32_t index;
    uint32_t kernel_count;
    void *module;
    void **functions; /* of the module, by kernel */
    const aios_kernel *kernels;
} stream_device;

typedef struct stream_vendor {
    const stream_calls *calls; /* filled by open_driver */
    const char *const *names;  /* of the calls, in the order of the list */
    aios_gpu_device *table;    /* gets its capture group where the driver has graphs */
    aios_status (*open_driver)(void);
    /* Starts the driver, which may be done again, and counts; the code, and the call that gave it. */
    int (*count_devices)(int *count, const char **call);
    /* Why the driver sees no device, as far as one can see from here; text of `size` bytes may be used for it. */
    const char *(*explain_absence)(char *text, size_t size);
    const char *(*describe)(int code);
    aios_status (*set_device)(void *device);
    /* The kernels that this device runs; they stay where they are.  Errors: UNSUPPORTED, which lists what there is. */
    aios_status (*choose_code)(void *device, const void **code);
    /* Lets `device` reach the memory of `other`; a driver that stages such copies itself has nothing to do. */
    void (*enable_peer)(void *device, void *other);
    int (*copy_peer)(void *device, void *stream, void *to, void *other, const void *from, uint64_t size);
    const char *copy_peer_name;
    /* NCCL or RCCL (stream_collectives.c): what it is called, its files, the variable that names another. */
    const char *collectives, *const *collectives_files, *collectives_override;
    /* 0: the library brought another release of the vendor's runtime, which has this function, with it. */
    int (*shares_runtime)(int (*counts_devices)(int *count));
    /* Makes what products on this stream need: nothing may be made while it is recorded. */
    aios_status (*before_capture)(void *device, void *stream);
} stream_vendor;

/* The one of this plugin. */
extern const stream_vendor stream_vendor_calls;

/* code 0 is AIOS_OK; any other becomes a status and a sentence: "hipMalloc: out of memory (error 2)". */
aios_status stream_check(int code, const char *call);
#define STREAM_TRY(code, call) PLUGIN_TRY(stream_check(code, call))

/* Gives back the module; the vendor's close calls it first. */
void stream_device_end(stream_device *device);

/* What a vendor puts into its table. */
aios_status stream_get_memory_info(void *device, uint64_t *free_bytes, uint64_t *total_bytes);
aios_status stream_synchronize_device(void *device);
aios_status stream_create(void *device, void **stream);
void stream_destroy(void *device, void *stream);
aios_status stream_synchronize(void *device, void *stream);
aios_status stream_create_event(void *device, void **event);
void stream_destroy_event(void *device, void *event);
aios_status stream_record_event(void *device, void *event, void *stream);
aios_status stream_wait_event(void *device, void *stream, void *event);
aios_status stream_synchronize_event(void *device, void *event);
aios_status stream_elapsed_ms(void *device, void *from, void *to, float *milliseconds);
aios_status stream_alloc(void *device, uint64_t size, void **pointer);
void stream_free(void *device, void *pointer);
aios_status stream_host_alloc(void *device, uint64_t size, void **pointer);
void stream_host_free(void *device, void *pointer);
aios_status stream_copy(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind);
aios_status stream_fill(void *device, void *stream, void *to, uint32_t pattern, uint64_t size);
aios_status stream_load_kernels(void *device, const aios_kernel *kernels, uint32_t count);
aios_status stream_launch(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments);

/* Copies between two devices of the vendor.  The first copy of each ordered pair is preceded by a test with known bytes: on some machines
 * (bridges that isolate devices, broken firmware) such copies succeed and deliver something else.  A pair that fails is UNSUPPORTED for
 * the life of the process, said in the log once, and the host stages through its own memory.  The first one belongs outside of a recording.
 */
aios_status stream_copy_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size);

/* stream_collectives.c: communicators of NCCL or RCCL, which are one interface. */
extern const aios_collective_group stream_collective_group;

/* *done 1: all that was submitted to the stream is through.  Does not wait. */
aios_status stream_query(void *device, void *stream, int32_t *done);

/* All but open, close, get_info, set_device, destroy_stream (whose vendor's part may keep something by stream) and the other groups. */
#define STREAM_DEVICE_TABLE                                                                                                                \
    .get_memory_info = stream_get_memory_info, .synchronize = stream_synchronize_device, .create_stream = stream_create,                   \
    .synchronize_stream = stream_synchronize, .create_event = stream_create_event, .destroy_event = stream_destroy_event,                  \
    .record_event = stream_record_event, .wait_event = stream_wait_event, .synchronize_event = stream_synchronize_event,                   \
    .elapsed_ms = stream_elapsed_ms, .alloc = stream_alloc, .free = stream_free, .host_alloc = stream_host_alloc,                          \
    .host_free = stream_host_free, .copy = stream_copy, .fill = stream_fill, .copy_peer = stream_copy_peer,                                \
    .load_kernels = stream_load_kernels, .launch = stream_launch, .collectives = &stream_collective_group

/* The backend's device_count.  Opens the driver in the first call that can.  Errors: UNAVAILABLE, with the reason. */
aios_status stream_device_count(int32_t *count);

#endif
