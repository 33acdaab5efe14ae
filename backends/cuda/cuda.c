/* libaios-cuda: NVIDIA devices through the driver's interface, opened at run time. */
#include "cuda.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* CUdevice_attribute */
enum {
    ATTRIBUTE_MULTIPROCESSORS = 16,
    ATTRIBUTE_INTEGRATED = 18,
    ATTRIBUTE_THREADS_PER_MULTIPROCESSOR = 39,
    ATTRIBUTE_CAPABILITY_MAJOR = 75,
    ATTRIBUTE_CAPABILITY_MINOR = 76
};

#define LEAST_CAPABILITY 80 /* of the fatbin: see CMakeLists.txt */

struct cuda_driver cuda;
static int cuda_version; /* 13000 is 13.0 */

static const char *const call_names[] = {
#define CALL(need, member, parameters, cuda, hip) #cuda,
#include "stream_driver.def"
#undef CALL
};

/* ---- the driver -------------------------------------------------------------------------------------------------- */

static aios_status open_driver(void)
{
    static const char *const names[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", NULL};
    static const plugin_symbol symbols[] = {
#define CALL(need, member, parameters, cuda, hip) {#cuda, PLUGIN_##need, offsetof(struct cuda_driver, calls.member)},
#include "stream_driver.def"
#undef CALL
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct cuda_driver, need, name)
#include "driver.def"
#undef SYMBOL
    };
    static const plugin_library library = {"NVIDIA driver", names, symbols, COUNT_OF(symbols), NULL};
    PLUGIN_TRY(plugin_library_open(&library, &cuda));
    return stream_check(cuda.cuDriverGetVersion(&cuda_version), "cuDriverGetVersion");
}

/* Why the driver sees no device, as far as one can see from here. */
static const char *explain_absence(char *text, size_t size)
{
    const char *mask = getenv("CUDA_VISIBLE_DEVICES");
    if (mask) {
        (void)snprintf(text, size, "CUDA_VISIBLE_DEVICES is \"%s\": does it hide them?", mask);
        return text;
    }
    if (access("/dev/nvidiactl", F_OK) != 0)
        return "there is no /dev/nvidiactl, so the kernel's module is not loaded or no GPU was passed in";
    if (access("/dev/nvidiactl", R_OK | W_OK) != 0) return "this user may not open /dev/nvidiactl";
    return "its kernel module is there, though";
}

static int count_devices(int *count, const char **call)
{
    *call = "cuInit";
    int code = cuda.cuInit(0);
    if (code) return code;
    *call = "cuDeviceGetCount";
    return cuda.cuDeviceGetCount(count);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static int attribute(const cuda_device *device, int which)
{
    int value = 0;
    return cuda.cuDeviceGetAttribute(&value, which, device->handle) == 0 ? value : 0;
}

static aios_status set_device(void *device)
{
    return stream_check(cuda.cuCtxSetCurrent(((cuda_device *)device)->context), "cuCtxSetCurrent");
}

static void close_device(void *device)
{
    cuda_device *d = device;
    if (d->gemm) cuda_gemm_destroy(d);
    stream_device_end(&d->base);
    if (d->context) {
        int code = cuda.cuDevicePrimaryCtxRelease_v2(d->handle);
        if (code) plugin_log(AIOS_LOG_WARNING, "cuDevicePrimaryCtxRelease: error %d", code);
    }
    plugin_free(d);
}

static aios_status fill_device(cuda_device *d, int index)
{
    d->base.index = index;
    STREAM_TRY(cuda.cuDeviceGet(&d->handle, index), "cuDeviceGet");
    STREAM_TRY(cuda.cuDeviceGetPCIBusId(d->pci_address, (int)sizeof d->pci_address, d->handle), "cuDeviceGetPCIBusId");
    for (char *c = d->pci_address; *c; c++) *c = (char)tolower((unsigned char)*c);
    d->capability = attribute(d, ATTRIBUTE_CAPABILITY_MAJOR) * 10 + attribute(d, ATTRIBUTE_CAPABILITY_MINOR);
    STREAM_TRY(cuda.cuDevicePrimaryCtxRetain(&d->context, d->handle), "cuDevicePrimaryCtxRetain");
    PLUGIN_TRY(set_device(d));
    return cuda_gemm_create(&d->gemm);
}

static aios_status open_device(int32_t index, void **device)
{
    cuda_device *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    aios_status status = fill_device(made, index);
    if (status != AIOS_OK)
        close_device(made);
    else
        *device = made;
    return status;
}

/* As nvidia-smi writes them; of a part of a device (MIG) the part's own. */
static void format_uuid(const cuda_device *device, char *text, size_t size)
{
    unsigned char b[16] = "";
    int code = cuda.cuDeviceGetUuid_v2 ? cuda.cuDeviceGetUuid_v2(b, device->handle) : cuda.cuDeviceGetUuid(b, device->handle);
    if (code) return;
    (void)snprintf(text, size, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
                   b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static void format_driver_version(char *text, size_t size)
{
    char release[24] = "";
    cuda_driver_version(release, sizeof release);
    (void)snprintf(text, size, "%s%sCUDA %d.%d", release, release[0] ? " " : "", cuda_version / 1000, cuda_version % 1000 / 10);
}

static aios_status get_info(void *device, aios_device_info *info)
{
    const cuda_device *d = device;
    size_t total = 0;
    STREAM_TRY(cuda.cuDeviceGetName(info->name, (int)sizeof info->name, d->handle), "cuDeviceGetName");
    STREAM_TRY(cuda.cuDeviceTotalMem_v2(&total, d->handle), "cuDeviceTotalMem");
    (void)snprintf(info->pci_address, sizeof info->pci_address, "%s", d->pci_address);
    (void)snprintf(info->architecture, sizeof info->architecture, "%d.%d", d->capability / 10, d->capability % 10);
    format_driver_version(info->driver_version, sizeof info->driver_version);
    format_uuid(d, info->uuid, sizeof info->uuid);
    info->kind = attribute(d, ATTRIBUTE_INTEGRATED) ? AIOS_DEVICE_INTEGRATED : AIOS_DEVICE_DISCRETE;
    info->pci_vendor = 0x10de;
    info->memory_total = total;
    info->alignment = 256;
    info->compute_units = attribute(d, ATTRIBUTE_MULTIPROCESSORS);
    info->teams = info->compute_units * (attribute(d, ATTRIBUTE_THREADS_PER_MULTIPROCESSOR) / STREAM_TEAM_SIZE);
    info->team_size = STREAM_TEAM_SIZE;
    if (d->capability < LEAST_CAPABILITY) return AIOS_OK; /* listed, but good for nothing here: load_kernels says why */
    info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    info->fast_gemm_types = 1u << AIOS_BF16 | 1u << AIOS_F16;
    return AIOS_OK;
}

static void destroy_stream(void *device, void *stream)
{
    cuda_gemm_forget_stream(device, stream);
    stream_destroy(device, stream);
}

/* ---- what stream_driver.c asks ----------------------------------------------------------------------------------- */

static const char *describe(int code)
{
    const char *text = NULL;
    return cuda.cuGetErrorString(code, &text) == 0 ? text : NULL;
}

static aios_status choose_code(void *device, const void **code)
{
    const cuda_device *d = device;
    if (d->capability < LEAST_CAPABILITY)
        return plugin_fail(AIOS_UNSUPPORTED, 0, "device %d has compute capability %d.%d: the plugin's kernels need 8.0 or later",
                           (int)d->base.index, d->capability / 10, d->capability % 10);
    *code = cuda_fatbin;
    return AIOS_OK;
}

/* A failure is none: without access the driver stages the copy, and the test that follows judges what arrives. */
static void enable_peer(void *device, void *other)
{
    int can = 0;
    cuda_device *here = device, *there = other;
    if (cuda.cuDeviceCanAccessPeer(&can, here->handle, there->handle) != 0 || !can || set_device(here) != AIOS_OK) return;
    (void)cuda.cuCtxEnablePeerAccess(there->context, 0);
}

static int copy_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    return cuda.cuMemcpyPeerAsync(to, ((cuda_device *)device)->context, from, ((cuda_device *)other)->context, (size_t)size, stream);
}

static aios_status before_capture(void *device, void *stream)
{
    return cuda_gemm_prepare(device, stream);
}

/* NCCL has its part of the CUDA runtime in itself and takes the driver that is there. */
static int shares_runtime(int (*counts_devices)(int *))
{
    (void)counts_devices;
    return 1;
}

static const char *const nccl_files[] = {"libnccl.so.2", NULL};

static aios_gpu_device table = {.struct_size = sizeof table,
                                STREAM_DEVICE_TABLE,
                                .open = open_device,
                                .close = close_device,
                                .get_info = get_info,
                                .set_device = set_device,
                                .destroy_stream = destroy_stream,
                                .gemm = &cuda_gemm_group,
                                .telemetry = &cuda_telemetry_group};

const stream_vendor stream_vendor_calls = {.calls = &cuda.calls,
                                           .names = call_names,
                                           .table = &table,
                                           .open_driver = open_driver,
                                           .count_devices = count_devices,
                                           .explain_absence = explain_absence,
                                           .describe = describe,
                                           .set_device = set_device,
                                           .choose_code = choose_code,
                                           .enable_peer = enable_peer,
                                           .copy_peer = copy_peer,
                                           .copy_peer_name = "cuMemcpyPeerAsync",
                                           .collectives = "NCCL",
                                           .collectives_files = nccl_files,
                                           .collectives_override = "AIOS_NCCL",
                                           .shares_runtime = shares_runtime,
                                           .before_capture = before_capture};

/* ---- the plugin -------------------------------------------------------------------------------------------------- */

aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **backend);

__attribute__((visibility("default"))) aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host,
                                                                      const aios_backend **backend)
{
    static const aios_backend cuda_backend = {.struct_size = sizeof cuda_backend,
                                              .abi = AIOS_BACKEND_ABI,
                                              .name = "cuda",
                                              .vendor = "NVIDIA",
                                              .version = PLUGIN_VERSION,
                                              .device_count = stream_device_count,
                                              .device = &table};
    PLUGIN_TRY(plugin_begin(host_abi, host));
    *backend = &cuda_backend;
    return AIOS_OK;
}
