/* device.h: what devices there are, and GPUDevice: one handle, whatever the vendor.
 *
 * Every backend (the CPU, built in; cuda, xpu and hip as plugins) is one table of functions (backend.h); the calls here
 * check arguments, keep a device's first failure and pass on.  A device is reference-counted and may be used from several
 * threads; a stream by one thread at a time.  After a failure that came from submitted work the device is sticky: every
 * later call on it returns that first failure, AIOS_DEVICE_LOST or AIOS_DEVICE_ERROR, and other devices go on.
 *
 * A driver can hang, and so can work that a call waits for.  Calls into a plugin's driver are made by threads of the library's own, and a
 * call that has not returned within the context's device_deadline ends with AIOS_DEVICE_LOST, which names device and call.  The driver
 * is then not entered for that device handle again: its memory, streams and thread are left where they are, and everything is
 * destroyed and closed as usual.  Should the driver come back, it may still read and write the host memory of copies that were under way:
 * what aios_device_host_alloc gave stays for that reason; memory of your own that such a copy was given must stay as well.  The CPU
 * device, which is no driver, works on the thread that calls it, for as long as it takes. */
#ifndef AIOS_DEVICE_H
#define AIOS_DEVICE_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- enumeration ------------------------------------------------------------------------------------------------- */

typedef struct aios_device_list aios_device_list;

/* One device of the list.  id counts GPUs from 0 in the order cuda, xpu, hip; a CPU device has -1.  Where a visibility mask of the
 * vendor is set (CUDA_VISIBLE_DEVICES, ZE_AFFINITY_MASK, HIP_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES), only what it shows is there and
 * numbers count that.  info.vendor follows from the PCI vendor and the backend, never from the name. */
typedef struct aios_device_entry {
    uint32_t struct_size;
    int32_t id;
    char spec[32];        /* "cuda:0", "cpu:0": what aios_device_open takes */
    uint64_t memory_free; /* bytes, when the list was made */
    aios_device_info info;
} aios_device_entry;

/* A backend that was looked for, usable or not. */
typedef struct aios_backend_entry {
    uint32_t struct_size;
    int32_t device_count;
    aios_status status; /* AIOS_OK, or why it can't be used */
    char name[16];
    char version[32];
    char path[256];   /* of the plugin; "built in" */
    char reason[256]; /* the sentence that goes with status; "" where usable */
} aios_backend_entry;

/* Looks at every backend: the CPU, and the plugins of AIOS_BACKEND_PATH (folders or files, colon-separated) or, where that
 * is unset, of the folder `aios` beside the library.  A backend that fails is listed with its reason and hides no other.
 * There too it is told which device can't be opened (it keeps its id) and which is left out because another backend shows it (at
 * the same PCI address).
 * Errors: OUT_OF_MEMORY. */
AIOS_API aios_status aios_device_list_create(aios_context *context, aios_device_list **list);
AIOS_API void aios_device_list_destroy(aios_device_list *list);
AIOS_API uint32_t aios_device_list_count(const aios_device_list *list);
AIOS_API uint32_t aios_device_list_backend_count(const aios_device_list *list);
/* Borrowed; NULL past the end. */
AIOS_API const aios_device_entry *aios_device_list_get(const aios_device_list *list, uint32_t index);
AIOS_API const aios_backend_entry *aios_device_list_get_backend(const aios_device_list *list, uint32_t index);
/* For planning alone: the part of the GPUs' work that a device would be given by its memory and make, before anything was measured.  Memory
 * counts, an AMD GPU's 0.8 and an Intel GPU's 0.5 times; all GPUs' parts sum to 1; the CPU's is 0.  Training itself balances by what
 * devices show (option balance; chunks are claimed).  0 past the end. */
AIOS_API double aios_device_list_get_weight(const aios_device_list *list, uint32_t index);

/* ---- a device ---------------------------------------------------------------------------------------------------- */

typedef struct aios_device aios_device;
typedef struct aios_stream aios_stream;
typedef struct aios_event aios_event;

/* Opens "cpu", "cpu:0", "cuda:1", "xpu:0", "hip:0", a GPU by its id ("gpu:0", "0"), or a device by its PCI address
 * ("0000:3b:00.0") or UUID; for the last three every device is asked.  AIOS_CPU_DEVICES=n (read here and by the
 * list) splits the cores into n CPU devices.  Errors: INVALID_ARGUMENT, NOT_FOUND (lists what exists), UNAVAILABLE, DEVICE_ERROR. */
AIOS_API aios_status aios_device_open(aios_context *context, const char *spec, aios_device **device);
AIOS_API aios_device *aios_device_retain(aios_device *device);
AIOS_API void aios_device_close(aios_device *device); /* gives up one reference */

AIOS_API const aios_device_info *aios_device_get_info(const aios_device *device);
AIOS_API const char *aios_device_spec(const aios_device *device);
AIOS_API aios_status aios_device_memory_info(aios_device *device, uint64_t *free_bytes, uint64_t *total_bytes);
AIOS_API aios_status aios_device_set_current(aios_device *device);
AIOS_API aios_status aios_device_synchronize(aios_device *device);
/* How busy, warm and hungry the device is now; -1 for what its backend can't tell (all, where it has no telemetry: the CPU).  From any
 * thread, also while the device trains.  Fills what struct_size has.  Errors: ABI_MISMATCH (struct_size unset), DEVICE_ERROR, DEVICE_LOST.
 */
AIOS_API aios_status aios_device_get_telemetry(aios_device *device, aios_telemetry *telemetry);
/* The sticky failure; AIOS_OK while the device is usable. */
AIOS_API aios_status aios_device_health(const aios_device *device);

/* ---- streams and events ------------------------------------------------------------------------------------------ */

AIOS_API aios_status aios_stream_create(aios_device *device, aios_stream **stream);
AIOS_API void aios_stream_destroy(aios_stream *stream); /* waits for its work */
AIOS_API aios_status aios_stream_synchronize(aios_stream *stream);
AIOS_API aios_device *aios_stream_device(const aios_stream *stream); /* borrowed */
AIOS_API aios_status aios_event_create(aios_device *device, aios_event **event);
AIOS_API void aios_event_destroy(aios_event *event);
AIOS_API aios_status aios_event_record(aios_event *event, aios_stream *stream);
AIOS_API aios_status aios_stream_wait_event(aios_stream *stream, aios_event *event);
AIOS_API aios_status aios_event_synchronize(aios_event *event);
AIOS_API aios_status aios_event_elapsed_ms(aios_event *from, aios_event *to, float *milliseconds);

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* size > 0.  Memory comes from the device's pool, aligned to 256 bytes.  Errors: DEVICE_OUT_OF_MEMORY names what was
 * asked, free and total.  free waits for nothing: synchronise the streams that use the memory first. */
AIOS_API aios_status aios_device_alloc(aios_device *device, uint64_t size, void **pointer);
AIOS_API void aios_device_free(aios_device *device, void *pointer);
AIOS_API aios_status aios_device_host_alloc(aios_device *device, uint64_t size, void **pointer);
AIOS_API void aios_device_host_free(aios_device *device, void *pointer);
/* Bytes handed out now and at the most since the device was opened. */
AIOS_API void aios_device_memory_used(const aios_device *device, uint64_t *now, uint64_t *peak);

/* kind: AIOS_COPY_….  Asynchronous: neither side may be touched before the stream reached it. */
AIOS_API aios_status aios_stream_copy(aios_stream *stream, void *to, const void *from, uint64_t size, int32_t kind);
AIOS_API aios_status aios_stream_fill(aios_stream *stream, void *to, uint32_t pattern, uint64_t size);

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

/* Number of kernels of the table of lib/kernels (each storage type counts), and the index of one by its name
 * ("adamw_bf16"); -1 where there is none. */
AIOS_API uint32_t aios_kernel_count(void);
AIOS_API int32_t aios_kernel_find(const char *name);
AIOS_API const aios_kernel *aios_kernel_get(uint32_t kernel); /* borrowed, static */
/* arguments[i] points to the value of the i-th argument.  teams 0: as many as the device suggests. */
AIOS_API aios_status aios_stream_launch(aios_stream *stream, uint32_t kernel, uint32_t teams, const void *const *arguments);
/* The backend's gemm, or the portable kernels where it has none; epilogues likewise. */
AIOS_API aios_status aios_stream_gemm(aios_stream *stream, const aios_gemm *gemm);
/* For a b that is multiplied many times: bytes of device memory that it takes in the order that the device prefers, 0 where that is the
 * order it has; and what fills them, for gemm->packed_b of all products with the same b.  m, a and c may be left out. */
AIOS_API uint64_t aios_device_gemm_packed_size(aios_device *device, const aios_gemm *gemm);
AIOS_API aios_status aios_stream_gemm_pack(aios_stream *stream, const aios_gemm *gemm, void *packed);
/* The backend's attention, or the portable kernels.  workspace_size: bytes that attention->workspace must have. */
AIOS_API uint64_t aios_device_attention_workspace(aios_device *device, const aios_attention *shape, int32_t backward);
AIOS_API aios_status aios_stream_attention_forward(aios_stream *stream, const aios_attention *attention);
AIOS_API aios_status aios_stream_attention_backward(aios_stream *stream, const aios_attention *attention);

#ifdef __cplusplus
}
#endif
#endif
