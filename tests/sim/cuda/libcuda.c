/* libcuda.so.1: NVIDIA's driver interface on simulated devices.  Names, handles and codes; the rest is tests/sim/vendor. */
#include "fatbin.h"
#include "sim_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CUresult */
enum {
    CODE_SUCCESS = 0,
    CODE_INVALID_VALUE = 1,
    CODE_OUT_OF_MEMORY = 2,
    CODE_NOT_INITIALIZED = 3,
    CODE_DEVICE_UNAVAILABLE = 46,
    CODE_NO_DEVICE = 100,
    CODE_INVALID_DEVICE = 101,
    CODE_INVALID_IMAGE = 200,
    CODE_INVALID_CONTEXT = 201,
    CODE_NO_BINARY_FOR_GPU = 209,
    CODE_INVALID_HANDLE = 400,
    CODE_NOT_FOUND = 500,
    CODE_NOT_READY = 600,
    CODE_ILLEGAL_ADDRESS = 700,
    CODE_LAUNCH_TIMEOUT = 702,
    CODE_PEER_ACCESS_ALREADY_ENABLED = 704,
    CODE_STREAM_CAPTURE_UNSUPPORTED = 900,
    CODE_UNKNOWN = 999
};

#define DEVICES_MAX        32
#define COMPUTE_CAPABILITY 90
#define MULTIPROCESSORS    2 /* few teams: each is run lane by lane on the CPU */

struct context {
    vendor_device *device;
    int retained;
    uint32_t peers; /* bit per ordinal */
};

struct module {
    struct module *next;
    struct context *context;
    struct fatbin code;
    struct function *functions;
};

struct function {
    struct function *next;
    struct module *module;
    int kernel;
};

/* A graph, and likewise what is instantiated from it: the recording lives as long as either. */
struct graph {
    vendor_stream *recording;
    int references;
};

static struct context contexts[DEVICES_MAX];
static struct module *modules;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of both */
static int initialized, device_count;
static _Thread_local struct context *current;

static int code_of(vendor_status status)
{
    switch (status) {
    case VENDOR_OK: return CODE_SUCCESS;
    case VENDOR_INVALID: return CODE_INVALID_VALUE;
    case VENDOR_NO_MEMORY: return CODE_OUT_OF_MEMORY;
    case VENDOR_NOT_READY: return CODE_NOT_READY;
    case VENDOR_UNSUPPORTED: return CODE_STREAM_CAPTURE_UNSUPPORTED;
    case VENDOR_FAULT: return vendor_fault_code() ? vendor_fault_code() : CODE_UNKNOWN;
    case VENDOR_ILLEGAL: return CODE_ILLEGAL_ADDRESS;
    case VENDOR_LOST: return CODE_DEVICE_UNAVAILABLE;
    case VENDOR_DEADLOCK: return CODE_LAUNCH_TIMEOUT;
    }
    return CODE_UNKNOWN;
}

/* ---- entering a call --------------------------------------------------------------------------------------------- */

/* For a call on a device by its number. */
static int enter_device(const char *call, int ordinal, vendor_device **device)
{
    if (!initialized) return CODE_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= device_count) return CODE_INVALID_DEVICE;
    *device = contexts[ordinal].device;
    return code_of(vendor_call("cuda", *device, call));
}

/* For a call in the current context; owner: the device of a handle that must be of it, or NULL. */
static int enter(const char *call, const vendor_device *owner)
{
    if (!initialized) return CODE_NOT_INITIALIZED;
    if (!current || current->retained == 0) {
        vendor_complain(NULL, "%s: no context is current", call);
        return CODE_INVALID_CONTEXT;
    }
    if (owner && owner != current->device) {
        vendor_complain(current->device, "%s: a handle of device %d in the context of device %d", call, vendor_index(owner),
                        vendor_index(current->device));
        return CODE_INVALID_HANDLE;
    }
    return code_of(vendor_call("cuda", current->device, call));
}

#define ENTER(call, owner)                                                                                                                 \
    do {                                                                                                                                   \
        int entered = enter(call, owner);                                                                                                  \
        if (entered) return entered;                                                                                                       \
    } while (0)
#define ENTER_DEVICE(call, ordinal)                                                                                                        \
    vendor_device *device = NULL;                                                                                                          \
    do {                                                                                                                                   \
        int entered = enter_device(call, ordinal, &device);                                                                                \
        if (entered) return entered;                                                                                                       \
    } while (0)

vendor_device *sim_cuda_current(void)
{
    return current && current->retained ? current->device : NULL;
}

void sim_cuda_address(const vendor_device *device, char *text, size_t size)
{
    (void)snprintf(text, size, "0000:%02X:00.0", 0x3b + vendor_index(device));
}

/* ---- driver and devices ------------------------------------------------------------------------------------------ */

EXPORT int cuInit(unsigned flags)
{
    int code = code_of(vendor_call("cuda", NULL, "cuInit"));
    if (code || flags) return code ? code : CODE_INVALID_VALUE;
    (void)pthread_mutex_lock(&mutex);
    if (!initialized) {
        const char *visible = getenv("CUDA_VISIBLE_DEVICES");
        device_count = vendor_count("cuda", visible);
        for (int i = 0; i < device_count; i++) contexts[i].device = vendor_get("cuda", visible, i);
        initialized = device_count > 0;
    }
    (void)pthread_mutex_unlock(&mutex);
    return device_count ? CODE_SUCCESS : CODE_NO_DEVICE;
}

EXPORT int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return code_of(vendor_call("cuda", NULL, "cuDriverGetVersion"));
}

EXPORT int cuGetErrorString(int code, const char **text)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {{CODE_SUCCESS, "no error"},
                 {CODE_INVALID_VALUE, "invalid argument"},
                 {CODE_OUT_OF_MEMORY, "out of memory"},
                 {CODE_NOT_INITIALIZED, "initialization error"},
                 {CODE_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"},
                 {CODE_NO_DEVICE, "no CUDA-capable device is detected"},
                 {CODE_INVALID_DEVICE, "invalid device ordinal"},
                 {CODE_INVALID_IMAGE, "device kernel image is invalid"},
                 {CODE_INVALID_CONTEXT, "invalid device context"},
                 {CODE_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"},
                 {CODE_INVALID_HANDLE, "invalid resource handle"},
                 {CODE_NOT_FOUND, "named symbol not found"},
                 {CODE_NOT_READY, "device not ready"},
                 {CODE_ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
                 {CODE_LAUNCH_TIMEOUT, "the launch timed out and was terminated"},
                 {CODE_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"},
                 {CODE_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"},
                 {CODE_UNKNOWN, "unknown error"}};
    *text = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code) *text = texts[i].text;
    return *text ? CODE_SUCCESS : CODE_INVALID_VALUE;
}

EXPORT int cuDeviceGetCount(int *count)
{
    *count = device_count;
    return initialized ? code_of(vendor_call("cuda", NULL, "cuDeviceGetCount")) : CODE_NOT_INITIALIZED;
}

EXPORT int cuDeviceGet(int *handle, int index)
{
    ENTER_DEVICE("cuDeviceGet", index);
    *handle = index;
    return CODE_SUCCESS;
}

EXPORT int cuDeviceGetName(char *name, int size, int ordinal)
{
    ENTER_DEVICE("cuDeviceGetName", ordinal);
    (void)snprintf(name, (size_t)size, "NVIDIA Simulated");
    return CODE_SUCCESS;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int ordinal)
{
    uint64_t left, total;
    ENTER_DEVICE("cuDeviceTotalMem_v2", ordinal);
    vendor_memory(device, &left, &total);
    *bytes = total;
    return CODE_SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int *value, int attribute, int ordinal)
{
    ENTER_DEVICE("cuDeviceGetAttribute", ordinal);
    switch (attribute) {
    case 16: *value = MULTIPROCESSORS; break;
    case 18: *value = 0; break; /* integrated */
    case 39: *value = 1536; break;
    case 75: *value = COMPUTE_CAPABILITY / 10; break;
    case 76: *value = COMPUTE_CAPABILITY % 10; break;
    default:
        vendor_complain(device, "cuDeviceGetAttribute: the simulation does not know attribute %d", attribute);
        return CODE_INVALID_VALUE;
    }
    return CODE_SUCCESS;
}

EXPORT int cuDeviceGetPCIBusId(char *text, int size, int ordinal)
{
    ENTER_DEVICE("cuDeviceGetPCIBusId", ordinal);
    sim_cuda_address(device, text, (size_t)size);
    return CODE_SUCCESS;
}

EXPORT int cuDeviceGetUuid(void *bytes, int ordinal)
{
    ENTER_DEVICE("cuDeviceGetUuid", ordinal);
    memcpy(bytes, "aios simulation", 16);
    ((char *)bytes)[15] = (char)vendor_index(device);
    return CODE_SUCCESS;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

EXPORT int cuDevicePrimaryCtxRetain(void **context, int ordinal)
{
    ENTER_DEVICE("cuDevicePrimaryCtxRetain", ordinal);
    (void)pthread_mutex_lock(&mutex);
    contexts[ordinal].retained++;
    (void)pthread_mutex_unlock(&mutex);
    *context = &contexts[ordinal];
    return CODE_SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int ordinal)
{
    vendor_device *device = NULL;
    int code = enter_device("cuDevicePrimaryCtxRelease_v2", ordinal, &device);
    if (!device) return code;
    struct context *context = &contexts[ordinal];
    (void)pthread_mutex_lock(&mutex);
    if (context->retained == 0) code = CODE_INVALID_CONTEXT;
    if (context->retained > 0 && --context->retained == 0) {
        for (int i = 0; i < device_count; i++)
            if (context->peers >> i & 1u) (void)vendor_disable_peer(device, contexts[i].device);
        context->peers = 0;
    }
    (void)pthread_mutex_unlock(&mutex);
    return code;
}

EXPORT int cuCtxSetCurrent(void *context)
{
    if (!initialized) return CODE_NOT_INITIALIZED;
    current = context;
    return current ? code_of(vendor_call("cuda", current->device, "cuCtxSetCurrent")) : CODE_SUCCESS;
}

EXPORT int cuCtxSynchronize(void)
{
    ENTER("cuCtxSynchronize", NULL);
    return code_of(vendor_device_synchronize(current->device));
}

EXPORT int cuDeviceCanAccessPeer(int *can, int ordinal, int peer)
{
    ENTER_DEVICE("cuDeviceCanAccessPeer", ordinal);
    if (peer < 0 || peer >= device_count) return CODE_INVALID_DEVICE;
    *can = vendor_can_peer(device, contexts[peer].device);
    return CODE_SUCCESS;
}

EXPORT int cuCtxEnablePeerAccess(void *peer, unsigned flags)
{
    struct context *other = peer;
    ENTER("cuCtxEnablePeerAccess", NULL);
    if (flags || other->retained == 0) return CODE_INVALID_VALUE;
    uint32_t bit = 1u << (other - contexts);
    if (current->peers & bit) return CODE_PEER_ACCESS_ALREADY_ENABLED;
    if (vendor_enable_peer(current->device, other->device) != VENDOR_OK) return 217; /* peer access unsupported */
    current->peers |= bit;
    return CODE_SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    uint64_t left, total;
    ENTER("cuMemGetInfo_v2", NULL);
    vendor_memory(current->device, &left, &total);
    *free_bytes = left;
    *total_bytes = total;
    return CODE_SUCCESS;
}

EXPORT int cuMemAlloc_v2(void **pointer, size_t size)
{
    ENTER("cuMemAlloc_v2", NULL);
    return code_of(vendor_alloc(current->device, size, 512, pointer));
}

/* What a failed or lost device holds is given back all the same: the program has done its part. */
static int give_back(const char *call, vendor_status (*release)(vendor_device *, void *), void *pointer)
{
    int code = enter(call, NULL);
    if (!sim_cuda_current()) return code;
    vendor_status status = release(current->device, pointer);
    return code ? code : code_of(status);
}

EXPORT int cuMemFree_v2(void *pointer)
{
    return give_back("cuMemFree_v2", vendor_free, pointer);
}

EXPORT int cuMemHostAlloc(void **pointer, size_t size, unsigned flags)
{
    ENTER("cuMemHostAlloc", NULL);
    if (flags & ~7u) return CODE_INVALID_VALUE;
    return code_of(vendor_host_alloc(current->device, size, pointer));
}

EXPORT int cuMemFreeHost(void *pointer)
{
    return give_back("cuMemFreeHost", vendor_host_free, pointer);
}

EXPORT int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t size, void *stream)
{
    ENTER("cuMemcpyHtoDAsync_v2", vendor_stream_device(stream));
    return code_of(vendor_copy(stream, to, current->device, from, NULL, size));
}

EXPORT int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t size, void *stream)
{
    ENTER("cuMemcpyDtoHAsync_v2", vendor_stream_device(stream));
    return code_of(vendor_copy(stream, to, NULL, from, current->device, size));
}

EXPORT int cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t size, void *stream)
{
    ENTER("cuMemcpyDtoDAsync_v2", vendor_stream_device(stream));
    return code_of(vendor_copy(stream, to, current->device, from, current->device, size));
}

EXPORT int cuMemcpyPeerAsync(void *to, void *to_context, const void *from, void *from_context, size_t size, void *stream)
{
    const struct context *there = to_context, *here = from_context;
    ENTER("cuMemcpyPeerAsync", NULL);
    return code_of(vendor_copy(stream, to, there->device, from, here->device, size));
}

EXPORT int cuMemsetD32Async(void *to, unsigned pattern, size_t words, void *stream)
{
    ENTER("cuMemsetD32Async", vendor_stream_device(stream));
    return code_of(vendor_fill(stream, to, &pattern, sizeof pattern, words * 4));
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

EXPORT int cuStreamCreate(void **stream, unsigned flags)
{
    vendor_stream *made = NULL;
    ENTER("cuStreamCreate", NULL);
    if (flags != 1) vendor_complain(current->device, "cuStreamCreate: a stream that waits for stream 0 (flags %u)", flags);
    int code = code_of(vendor_stream_create(current->device, &made));
    *stream = made;
    return code;
}

EXPORT int cuStreamDestroy_v2(void *stream)
{
    int code = enter("cuStreamDestroy_v2", vendor_stream_device(stream));
    vendor_stream_destroy(stream);
    return code;
}

EXPORT int cuStreamSynchronize(void *stream)
{
    ENTER("cuStreamSynchronize", vendor_stream_device(stream));
    return code_of(vendor_stream_synchronize(stream));
}

EXPORT int cuStreamWaitEvent(void *stream, void *event, unsigned flags)
{
    ENTER("cuStreamWaitEvent", vendor_stream_device(stream));
    return flags ? CODE_INVALID_VALUE : code_of(vendor_event_wait(event, stream));
}

EXPORT int cuEventCreate(void **event, unsigned flags)
{
    vendor_event *made = NULL;
    ENTER("cuEventCreate", NULL);
    if (flags & ~3u) return CODE_INVALID_VALUE;
    int code = code_of(vendor_event_create(current->device, &made));
    *event = made;
    return code;
}

EXPORT int cuEventDestroy_v2(void *event)
{
    int code = enter("cuEventDestroy_v2", NULL);
    vendor_event_destroy(event);
    return code;
}

EXPORT int cuEventRecord(void *event, void *stream)
{
    ENTER("cuEventRecord", vendor_stream_device(stream));
    return code_of(vendor_event_record(event, stream));
}

EXPORT int cuEventSynchronize(void *event)
{
    ENTER("cuEventSynchronize", NULL);
    return code_of(vendor_event_synchronize(event));
}

EXPORT int cuEventElapsedTime(float *milliseconds, void *from, void *to)
{
    uint64_t begin, end;
    ENTER("cuEventElapsedTime", NULL);
    vendor_status status = vendor_event_time(from, &begin);
    if (status == VENDOR_OK) status = vendor_event_time(to, &end);
    if (status == VENDOR_OK) *milliseconds = (float)((double)((int64_t)(end - begin)) * 1e-6);
    return status == VENDOR_INVALID ? CODE_INVALID_HANDLE : code_of(status);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

EXPORT int cuModuleLoadData(void **module, const void *image)
{
    struct fatbin code;
    ENTER("cuModuleLoadData", NULL);
    const char *error = fatbin_open(image, COMPUTE_CAPABILITY, &code);
    if (error) {
        vendor_complain(current->device, "cuModuleLoadData: %s", error);
        return code.found ? CODE_INVALID_IMAGE : CODE_NO_BINARY_FOR_GPU;
    }
    struct module *made = calloc(1, sizeof *made);
    *made = (struct module){.context = current, .code = code};
    (void)pthread_mutex_lock(&mutex);
    made->next = modules;
    modules = made;
    (void)pthread_mutex_unlock(&mutex);
    *module = made;
    return CODE_SUCCESS;
}

EXPORT int cuModuleUnload(void *module)
{
    struct module *gone = module;
    int code = enter("cuModuleUnload", gone->context->device);
    (void)pthread_mutex_lock(&mutex);
    struct module **link = &modules;
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
    (void)pthread_mutex_unlock(&mutex);
    for (struct function *f = gone->functions, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    fatbin_close(&gone->code);
    free(gone);
    return code;
}

EXPORT int cuModuleGetFunction(void **function, void *module, const char *name)
{
    struct module *from = module;
    ENTER("cuModuleGetFunction", from->context->device);
    int kernel = vendor_kernel_find(name);
    if (!fatbin_has(&from->code, name) || kernel < 0) {
        vendor_complain(current->device, "cuModuleGetFunction: %s is not in the %s", name, kernel < 0 ? "table of kernels" : "fatbin");
        return CODE_NOT_FOUND;
    }
    struct function *made = calloc(1, sizeof *made);
    *made = (struct function){from->functions, from, kernel};
    from->functions = made;
    *function = made;
    return CODE_SUCCESS;
}

EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                          unsigned block_z, unsigned local_bytes, void *stream, void **arguments, void **extra)
{
    const struct function *f = function;
    ENTER("cuLaunchKernel", vendor_stream_device(stream));
    if (f->module->context != current) return CODE_INVALID_HANDLE;
    if (grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || local_bytes || extra) return CODE_INVALID_VALUE;
    return code_of(
        vendor_launch(stream, f->kernel, grid_x, block_x, (const void *const *)arguments, vendor_kernel_arguments(f->kernel), NULL));
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

EXPORT int cuStreamBeginCapture_v2(void *stream, int mode)
{
    ENTER("cuStreamBeginCapture_v2", vendor_stream_device(stream));
    if (mode != 1) vendor_complain(current->device, "cuStreamBeginCapture: mode %d: other threads' calls would break the recording", mode);
    return code_of(vendor_capture_begin(stream));
}

static void release_graph(struct graph *graph)
{
    (void)pthread_mutex_lock(&mutex);
    int left = --graph->references;
    (void)pthread_mutex_unlock(&mutex);
    if (left) return;
    vendor_stream_destroy(graph->recording);
    free(graph);
}

EXPORT int cuStreamEndCapture(void *stream, void **graph)
{
    int code = enter("cuStreamEndCapture", vendor_stream_device(stream));
    struct graph *made = calloc(1, sizeof *made);
    vendor_status status = vendor_capture_end(stream, &made->recording);
    made->references = 1;
    *graph = NULL;
    if (status == VENDOR_OK && code == CODE_SUCCESS) {
        *graph = made;
    } else {
        if (made->recording) vendor_stream_destroy(made->recording);
        free(made);
    }
    return code ? code : code_of(status);
}

EXPORT int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags)
{
    struct graph *from = graph;
    ENTER("cuGraphInstantiateWithFlags", NULL);
    if (flags) return CODE_INVALID_VALUE;
    (void)pthread_mutex_lock(&mutex);
    from->references++;
    (void)pthread_mutex_unlock(&mutex);
    *executable = from;
    return CODE_SUCCESS;
}

EXPORT int cuGraphLaunch(void *executable, void *stream)
{
    ENTER("cuGraphLaunch", vendor_stream_device(stream));
    return code_of(vendor_replay(stream, ((struct graph *)executable)->recording));
}

EXPORT int cuGraphDestroy(void *graph)
{
    int code = enter("cuGraphDestroy", NULL);
    release_graph(graph);
    return code;
}

EXPORT int cuGraphExecDestroy(void *executable)
{
    int code = enter("cuGraphExecDestroy", NULL);
    release_graph(executable);
    return code;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

__attribute__((destructor)) static void report(void)
{
    for (const struct module *m = modules; m; m = m->next) vendor_complain(m->context->device, "leak: a module");
    for (int i = 0; i < device_count; i++)
        if (contexts[i].retained)
            vendor_complain(contexts[i].device, "leak: the primary context is retained %d times", contexts[i].retained);
}
