/* libcuda.so.1: what stand_in.c doesn't have: devices, contexts, peers and NVIDIA's container of code. */
#include "fatbin.h"
#include "sim_cuda.h"
#include "stand_in.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODE_NOT_INITIALIZED = 3, CODE_NO_DEVICE = 100, CODE_PEER_UNSUPPORTED = 217, CODE_PEER_ALREADY_ENABLED = 704 };

/* CUdevice_attribute */
enum { MULTIPROCESSORS = 16, INTEGRATED = 18, THREADS_PER_MULTIPROCESSOR = 39, CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };

#define DEVICES_MAX 32
#define CAPABILITY  90
#define FIRST_BUS   0x3b

struct context {
    vendor_device *device;
    int retained;
    uint32_t peers; /* bit per number of a device */
};

static struct context contexts[DEVICES_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int initialized, device_count;
static _Thread_local struct context *current;

vendor_device *stand_in_current(void)
{
    return current && current->retained ? current->device : NULL;
}

vendor_device *sim_cuda_current(void)
{
    return stand_in_current();
}

void sim_cuda_address(const vendor_device *device, char *text, size_t size)
{
    (void)snprintf(text, size, "0000:%02X:00.0", FIRST_BUS + vendor_index(device));
}

/* Returns where the number is none or the call is to fail. */
#define BEGIN(device, number, call)                                                                                                        \
    if (!initialized) return CODE_NOT_INITIALIZED;                                                                                         \
    if (number < 0 || number >= device_count) return CODE_INVALID_DEVICE;                                                                  \
    vendor_device *device = contexts[number].device;                                                                                       \
    int begun = stand_in_begin(device, call);                                                                                              \
    if (begun) return begun
#define BEGIN_CURRENT(call)                                                                                                                \
    if (!stand_in_current()) return CODE_INVALID_CONTEXT;                                                                                  \
    int begun = stand_in_begin(current->device, call);                                                                                     \
    if (begun) return begun

/* ---- the driver, devices ----------------------------------------------------------------------------------------- */

int cuInit(unsigned flags)
{
    int begun = stand_in_begin(NULL, "cuInit");
    if (begun || flags) return begun ? begun : CODE_INVALID_VALUE;
    (void)pthread_mutex_lock(&mutex);
    if (!initialized) {
        const char *visible = getenv("CUDA_VISIBLE_DEVICES");
        device_count = vendor_count("cuda", visible);
        for (int i = 0; i < device_count; i++) contexts[i].device = vendor_get("cuda", visible, i);
        initialized = device_count > 0;
    }
    (void)pthread_mutex_unlock(&mutex);
    return initialized ? CODE_OK : CODE_NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return stand_in_begin(NULL, "cuDriverGetVersion");
}

int cuGetErrorString(int code, const char **text)
{
    *text = code == CODE_NO_DEVICE ? "no CUDA-capable device is detected" : stand_in_words(code);
    return CODE_OK;
}

int cuDeviceGetCount(int *count)
{
    *count = device_count;
    return initialized ? stand_in_begin(NULL, "cuDeviceGetCount") : CODE_NOT_INITIALIZED;
}

int cuDeviceGet(int *handle, int number)
{
    BEGIN(device, number, "cuDeviceGet");
    (void)device;
    *handle = number;
    return CODE_OK;
}

int cuDeviceGetName(char *name, int size, int number)
{
    BEGIN(device, number, "cuDeviceGetName");
    (void)device;
    (void)snprintf(name, (size_t)size, "NVIDIA Simulated GPU");
    return CODE_OK;
}

int cuDeviceTotalMem_v2(size_t *bytes, int number)
{
    uint64_t left, total;
    BEGIN(device, number, "cuDeviceTotalMem");
    vendor_memory(device, &left, &total);
    *bytes = total;
    return CODE_OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int number)
{
    BEGIN(device, number, "cuDeviceGetAttribute");
    switch (attribute) {
    case MULTIPROCESSORS: *value = 2; break; /* few teams: each is run lane by lane on the CPU */
    case INTEGRATED: *value = 0; break;
    case THREADS_PER_MULTIPROCESSOR: *value = 1536; break;
    case CAPABILITY_MAJOR: *value = CAPABILITY / 10; break;
    case CAPABILITY_MINOR: *value = CAPABILITY % 10; break;
    default: vendor_complain(device, "cuDeviceGetAttribute: the simulation has no attribute %d", attribute); return CODE_INVALID_VALUE;
    }
    return CODE_OK;
}

int cuDeviceGetPCIBusId(char *text, int size, int number)
{
    BEGIN(device, number, "cuDeviceGetPCIBusId");
    sim_cuda_address(device, text, (size_t)size);
    return CODE_OK;
}

static int give_uuid(const vendor_device *device, unsigned char *bytes)
{
    for (int i = 0; i < 16; i++) bytes[i] = (unsigned char)(0xa0 + i);
    bytes[15] = (unsigned char)vendor_index(device);
    return CODE_OK;
}

int cuDeviceGetUuid(void *bytes, int number)
{
    BEGIN(device, number, "cuDeviceGetUuid");
    return give_uuid(device, bytes);
}

int cuDeviceGetUuid_v2(void *bytes, int number)
{
    BEGIN(device, number, "cuDeviceGetUuid");
    return give_uuid(device, bytes);
}

/* ---- contexts, peers --------------------------------------------------------------------------------------------- */

int cuDevicePrimaryCtxRetain(void **context, int number)
{
    BEGIN(device, number, "cuDevicePrimaryCtxRetain");
    (void)device;
    (void)pthread_mutex_lock(&mutex);
    contexts[number].retained++;
    (void)pthread_mutex_unlock(&mutex);
    *context = &contexts[number];
    return CODE_OK;
}

/* A context that nobody holds any more loses what it was allowed to reach. */
int cuDevicePrimaryCtxRelease_v2(int number)
{
    if (number < 0 || number >= device_count) return CODE_INVALID_DEVICE;
    struct context *context = &contexts[number];
    int code = stand_in_begin(context->device, "cuDevicePrimaryCtxRelease");
    (void)pthread_mutex_lock(&mutex);
    if (context->retained == 0) code = CODE_INVALID_CONTEXT;
    if (context->retained > 0 && --context->retained == 0) {
        for (int i = 0; i < device_count; i++)
            if (context->peers >> i & 1u) (void)vendor_disable_peer(context->device, contexts[i].device);
        context->peers = 0;
    }
    (void)pthread_mutex_unlock(&mutex);
    return code;
}

int cuCtxSetCurrent(void *context)
{
    current = context;
    return current ? stand_in_begin(current->device, "cuCtxSetCurrent") : CODE_OK;
}

int cuDeviceCanAccessPeer(int *can, int number, int peer)
{
    BEGIN(device, number, "cuDeviceCanAccessPeer");
    if (peer < 0 || peer >= device_count) return CODE_INVALID_DEVICE;
    *can = vendor_can_peer(device, contexts[peer].device);
    return CODE_OK;
}

int cuCtxEnablePeerAccess(void *peer, unsigned flags)
{
    struct context *other = peer;
    BEGIN_CURRENT("cuCtxEnablePeerAccess");
    if (flags || other->retained == 0) return CODE_INVALID_VALUE;
    uint32_t bit = 1u << (other - contexts);
    if (current->peers & bit) return CODE_PEER_ALREADY_ENABLED;
    if (vendor_enable_peer(current->device, other->device) != VENDOR_OK) return CODE_PEER_UNSUPPORTED;
    current->peers |= bit;
    return CODE_OK;
}

int cuMemcpyPeerAsync(void *to, void *to_context, const void *from, void *from_context, size_t size, void *stream)
{
    const struct context *here = to_context, *there = from_context;
    BEGIN_CURRENT("cuMemcpyPeerAsync");
    if (!stream || !here->retained || !there->retained) return CODE_INVALID_HANDLE;
    return stand_in_code(vendor_copy(stream, to, here->device, from, there->device, size));
}

__attribute__((destructor)) static void report(void)
{
    for (int i = 0; i < device_count; i++)
        if (contexts[i].retained && !vendor_hangs(contexts[i].device))
            vendor_complain(contexts[i].device, "leak: the primary context, retained %d times", contexts[i].retained);
}

/* ---- code -------------------------------------------------------------------------------------------------------- */

int stand_in_image_open(vendor_device *device, const void *bytes, void **image)
{
    fatbin code;
    const char *wrong = fatbin_open(bytes, CAPABILITY, &code);
    if (wrong) {
        vendor_complain(device, "cuModuleLoadData: %s", wrong);
        return code.found ? CODE_INVALID_IMAGE : CODE_NO_BINARY;
    }
    fatbin *kept = malloc(sizeof *kept);
    *kept = code;
    *image = kept;
    return CODE_OK;
}

int stand_in_image_find(void *image, const char *name, stand_in_kernel *kernel)
{
    fatbin_kernel found;
    if (!fatbin_find(image, name, &found) || found.argument_count > STAND_IN_ARGUMENTS) return CODE_NOT_FOUND;
    kernel->argument_count = found.argument_count;
    memcpy(kernel->sizes, found.sizes, found.argument_count * sizeof found.sizes[0]);
    return CODE_OK;
}

void stand_in_image_close(void *image)
{
    fatbin_close(image);
    free(image);
}
