/* xpu.h (internal): Intel GPUs through Level Zero.  Commands go to immediate command lists, whose order is made by explicit barriers:
 * Level Zero promises none between them. */
#ifndef AIOS_XPU_H
#define AIOS_XPU_H

#include "plugin.h"

#include <level_zero/ze_api.h>
#include <level_zero/zes_api.h>

#include <pthread.h>
#include <stdatomic.h>

#define XPU_PLACES_MAX 64
#define XPU_TEAM_SIZE  256 /* what lib/kernels was compiled for */
#define XPU_ALIGNMENT  256

/* ---- the driver: xpu.c ------------------------------------------------------------------------------------------- */

struct level_zero {
#define SYMBOL PLUGIN_MEMBER
#include "level_zero.def"
#undef SYMBOL
};
extern struct level_zero ze;

/* One device of one of the drivers.  Devices of one driver share its context, which is never destroyed. */
typedef struct xpu_place {
    ze_driver_handle_t driver;
    ze_device_handle_t device;
    ze_context_handle_t context;
    int is_integrated;
    int is_wrapped; /* the loader's handles are objects of its own, because it has several drivers */
} xpu_place;

/* Opens the loader and lists the devices, once per process.  Errors: UNAVAILABLE with the reason, OUT_OF_MEMORY, DEVICE_ERROR. */
aios_status xpu_places(const xpu_place **places, int32_t *count);

/* AIOS_OK for ZE_RESULT_SUCCESS, else the status, with a detail that names call and result. */
aios_status xpu_check(ze_result_t result, const char *call);
#define ZE(call, ...) xpu_check(ze.call(__VA_ARGS__), #call)

/* Level Zero's two questions, how many and which, for at most as many as the array holds: a ze_result_t.  The loader crashes where it is
 * given room for more than there are. */
#define ZE_LIST(call, owner, array, count)                                                                                                 \
    (*(count) = 0, (void)ze.call(owner, count, NULL), *(count) = xpu_least(*(count), COUNT_OF(array)), ze.call(owner, count, array))
static inline uint32_t xpu_least(uint32_t a, size_t b)
{
    return a < b ? a : (uint32_t)b;
}

/* ---- a device: device.c ------------------------------------------------------------------------------------------ */

/* A Level Zero event.  It is signalled once and used again when it and every wait for it are behind the device: see event.c. */
typedef struct xpu_slot {
    ze_event_handle_t event;
    struct xpu_slot *next;  /* in the list that it is in */
    struct xpu_slot *waits; /* each signalled when a stream's wait for this one has passed */
    uint32_t pins;          /* threads that wait for it */
} xpu_slot;

#define XPU_SLOT_BLOCK 64
typedef struct xpu_slot_block {
    struct xpu_slot_block *next;
    ze_event_pool_handle_t pool;
    uint32_t count;
    xpu_slot slots[XPU_SLOT_BLOCK];
} xpu_slot_block;

typedef struct xpu_activity { /* of a counter when it was last read */
    uint64_t amount, microseconds;
} xpu_activity;

typedef struct xpu_sysman {
    int looked_for;
    zes_device_handle_t device; /* NULL: not there */
    xpu_activity engine, energy;
    float utilisation, power;
} xpu_sysman;

/* The matrix units: xmx.c. */
enum { XMX_KERNELS = 4 };
typedef struct xpu_xmx {
    uint32_t lanes; /* of the sub-groups that use them, 8 or 16; 0: there are none */
    ze_module_handle_t module;
    ze_kernel_handle_t kernels[XMX_KERNELS];
} xpu_xmx;

typedef struct xpu_device {
    const xpu_place *place;
    int32_t index;
    ze_device_properties_t properties;
    uint32_t compute_ordinal, cores;
    uint64_t memory_total;
    atomic_ullong memory_taken;
    pthread_mutex_t mutex; /* of all that follows, and of every append */
    struct xpu_stream *streams;
    xpu_slot_block *blocks;
    xpu_slot *free_slots, *retired_slots;
    ze_command_queue_handle_t queue; /* of recordings; made with the first */
    ze_module_handle_t module;
    const aios_kernel *kernels;
    ze_kernel_handle_t *kernel_handles; /* made at their first launch */
    uint32_t kernel_count;
    xpu_xmx xmx;
    xpu_sysman sysman;
    atomic_int peers[XPU_PLACES_MAX]; /* by the other's index: 0 unknown, 1 its memory can be read, -1 it can't */
} xpu_device;

/* AIOS_OK, or DEVICE_LOST. */
aios_status xpu_status(const xpu_device *device);

/* ---- streams and events ------------------------------------------------------------------------------------------ */

typedef struct xpu_stream {
    xpu_device *device;
    struct xpu_stream *next;
    ze_command_list_handle_t immediate;
    struct xpu_recording *recording; /* while one is made */
    int dirty[2];                    /* [0] immediate, [1] recording: a command without a barrier behind it */
} xpu_stream;

typedef struct xpu_event {
    xpu_slot *slot; /* of the last record */
} xpu_event;

/* Locked by the caller: device->mutex. */
aios_status xpu_slot_take(xpu_device *device, xpu_slot **slot);
void xpu_slot_retire(xpu_device *device, xpu_slot *slot); /* free when it and its waits are signalled */
void xpu_slot_free(xpu_device *device, xpu_slot *slot);   /* nothing waits for it or will signal it */
/* A mutex that is not held: waits on the calling thread. */
aios_status xpu_slot_wait(xpu_device *device, xpu_slot *slot);
void xpu_slots_destroy(xpu_device *device);

/* The stream's list, with a barrier behind what it holds.  After a command was appended, xpu_appended. */
aios_status xpu_ordered_list(xpu_stream *stream, ze_command_list_handle_t *list);
void xpu_appended(xpu_stream *stream);
/* Signals `slot` when all that the immediate list holds is done. */
aios_status xpu_signal(xpu_stream *stream, xpu_slot *slot);

/* ---- the table's functions, by file ------------------------------------------------------------------------------ */

aios_status xpu_open(int32_t index, void **device);
void xpu_close(void *device);
aios_status xpu_get_info(void *device, aios_device_info *info);
aios_status xpu_get_memory_info(void *device, uint64_t *free_bytes, uint64_t *total_bytes);
aios_status xpu_set_device(void *device);
aios_status xpu_alloc(void *device, uint64_t size, void **pointer);
void xpu_free(void *device, void *pointer);
aios_status xpu_host_alloc(void *device, uint64_t size, void **pointer);
void xpu_host_free(void *device, void *pointer);

aios_status xpu_create_event(void *device, void **event);
void xpu_destroy_event(void *device, void *event);
aios_status xpu_record_event(void *device, void *event, void *stream);
aios_status xpu_wait_event(void *device, void *stream, void *event);
aios_status xpu_synchronize_event(void *device, void *event);
aios_status xpu_elapsed_ms(void *device, void *from, void *to, float *ms);

aios_status xpu_synchronize(void *device);
aios_status xpu_create_stream(void *device, void **stream);
void xpu_destroy_stream(void *device, void *stream);
aios_status xpu_synchronize_stream(void *device, void *stream);
aios_status xpu_copy(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind);
aios_status xpu_fill(void *device, void *stream, void *to, uint32_t pattern, uint64_t size);
/* peer.c */
aios_status xpu_copy_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size);

aios_status xpu_load_kernels(void *device, const aios_kernel *kernels, uint32_t count);
aios_status xpu_launch(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments);
void xpu_kernels_destroy(xpu_device *device);

/* Buffers may be larger than 4 GiB: without this, Intel's compiler addresses them by 32 bits. */
#define XPU_BUILD_FLAGS "-ze-opt-greater-than-4GB-buffer-required"
/* A module of SPIR-V, built by the driver; *result is the driver's.  What its compiler says goes to the log. */
aios_status xpu_module_create(xpu_device *device, const unsigned char *from, const unsigned char *end, const char *flags,
                              ze_module_handle_t *module, ze_result_t *result);
/* A kernel of it for groups of XPU_TEAM_SIZE; it must take so many arguments. */
aios_status xpu_kernel_create(ze_module_handle_t module, const char *name, uint32_t arguments, ze_kernel_handle_t *kernel);
/* Launches a kernel that has its arguments.  The caller has held the mutex since it set them. */
aios_status xpu_append_launch(xpu_stream *stream, ze_kernel_handle_t kernel, uint32_t teams);

/* xmx.c: least_sub_group: the smallest that the device has. */
void xpu_xmx_find(xpu_device *device, const char *architecture, uint32_t least_sub_group);
uint32_t xpu_xmx_types(const xpu_device *device); /* storage types that it multiplies, a bit for each */
void xpu_xmx_destroy(xpu_device *device);
extern const aios_gemm_group xpu_gemm;

extern const aios_capture_group xpu_capture;
extern const aios_telemetry_group xpu_telemetry;
/* The device's own memory by Sysman; 0 where it can't tell. */
int xpu_sysman_memory(xpu_device *device, uint64_t *free_bytes, uint64_t *total_bytes);

#endif
