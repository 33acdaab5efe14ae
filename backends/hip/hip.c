/* libaios-hip: AMD devices through the HIP runtime, opened at run time. */
#include "hip.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* hipDeviceAttribute_t; the numbers of these have stayed the same since ROCm 5 */
enum {
    ATTRIBUTE_INTEGRATED = 16,
    ATTRIBUTE_COMPUTE_UNITS = 63,
    ATTRIBUTE_PCI_BUS = 67,
    ATTRIBUTE_PCI_DEVICE = 68,
    ATTRIBUTE_PCI_DOMAIN = 69
};

#define TEAMS_PER_UNIT 8 /* blocks of 256: what a compute unit can hold */

struct hip_driver hip;
int hip_version;

static const char *const call_names[] = {
#define CALL(need, member, parameters, cuda, hip) #hip,
#include "stream_driver.def"
#undef CALL
};

/* ---- the driver -------------------------------------------------------------------------------------------------- */

static aios_status open_driver(void)
{
    static const char *const names[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", NULL};
    static const plugin_symbol symbols[] = {
#define CALL(need, member, parameters, cuda, hip) {#hip, PLUGIN_##need, offsetof(struct hip_driver, calls.member)},
#include "stream_driver.def"
#undef CALL
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct hip_driver, need, name)
#include "driver.def"
#undef SYMBOL
    };
    static const plugin_library library = {"AMD driver", names, symbols, COUNT_OF(symbols), NULL};
    PLUGIN_TRY(plugin_library_open(&library, &hip));
    return stream_check(hip.hipRuntimeGetVersion(&hip_version), "hipRuntimeGetVersion");
}

/* Why the runtime sees no device, as far as one can see from here. */
static const char *explain_absence(char *text, size_t size)
{
    static const char *const masks[] = {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"};
    int node = open("/dev/kfd", O_RDWR | O_CLOEXEC), reason = errno;
    if (node < 0 && reason == ENOENT) return "there is no /dev/kfd, so the kernel's amdgpu driver is not loaded or drives no GPU";
    if (node < 0) {
        (void)snprintf(text, size, "/dev/kfd can't be opened: %s (is this user in the groups render and video?)", strerror(reason));
        return text;
    }
    (void)close(node);
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        const char *mask = getenv(masks[i]);
        if (!mask) continue;
        (void)snprintf(text, size, "%s is \"%s\": does it hide them?", masks[i], mask);
        return text;
    }
    return "its kernel driver is there, though";
}

static int count_devices(int *count, const char **call)
{
    *call = "hipInit";
    int code = hip.hipInit(0);
    if (code) return code;
    *call = "hipGetDeviceCount";
    return hip.hipGetDeviceCount(count);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

/* gcnArchName moved when hipDeviceProp_t was laid out anew in ROCm 6, and may again: in all layouts it is the one text behind the
 * device's name that begins with "gfx".  What follows a colon are features: "gfx90a:sramecc+:xnack-". */
static aios_status find_architecture(int index, char *architecture, size_t size)
{
    enum { NAME_SIZE = 256, ALIGNMENT = 4 };
    union {
        char bytes[8192]; /* several times what any runtime writes */
        long long aligned;
    } properties;
    memset(&properties, 0, sizeof properties);
    if (hip.hipGetDevicePropertiesR0600)
        STREAM_TRY(hip.hipGetDevicePropertiesR0600(&properties, index), "hipGetDevicePropertiesR0600");
    else if (hip.hipGetDeviceProperties)
        STREAM_TRY(hip.hipGetDeviceProperties(&properties, index), "hipGetDeviceProperties");
    for (size_t at = NAME_SIZE; at + size < sizeof properties.bytes; at += ALIGNMENT) {
        const char *text = properties.bytes + at;
        if (strncmp(text, "gfx", 3) != 0 || !isdigit((unsigned char)text[3])) continue;
        (void)snprintf(architecture, size, "%.*s", (int)strcspn(text, ":"), text);
        return AIOS_OK;
    }
    return plugin_fail(AIOS_UNSUPPORTED, 0, "the AMD driver does not tell the architecture of device %d: it is too old or too new", index);
}

static int attribute(int index, int which)
{
    int value = 0;
    return hip.hipDeviceGetAttribute(&value, which, index) == 0 ? value : 0;
}

static aios_status set_device(void *device)
{
    return stream_check(hip.hipSetDevice(((stream_device *)device)->index), "hipSetDevice");
}

static void close_device(void *device)
{
    hip_device *d = device;
    hip_gemm_destroy(d->gemm);
    stream_device_end(&d->base);
    plugin_free(d);
}

static aios_status fill_device(hip_device *d, int index)
{
    d->base.index = index;
    PLUGIN_TRY(set_device(d));
    PLUGIN_TRY(find_architecture(index, d->architecture, sizeof d->architecture));
    d->pci = (uint64_t)attribute(index, ATTRIBUTE_PCI_DOMAIN) << 32 | (uint64_t)attribute(index, ATTRIBUTE_PCI_BUS) << 8 |
             (uint64_t)attribute(index, ATTRIBUTE_PCI_DEVICE) << 3;
    return hip_gemm_create(&d->gemm);
}

static aios_status open_device(int32_t index, void **device)
{
    hip_device *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    aios_status status = fill_device(made, index);
    if (status != AIOS_OK)
        close_device(made);
    else
        *device = made;
    return status;
}

/* AMD's are sixteen hexadecimal digits as text. */
static void format_uuid(int index, char *text, size_t size)
{
    char bytes[17] = "";
    if (!hip.hipDeviceGetUuid || hip.hipDeviceGetUuid(bytes, index) != 0) return;
    for (int i = 0; i < 16; i++)
        if (!isxdigit((unsigned char)bytes[i])) return;
    (void)snprintf(text, size, "GPU-%s", bytes);
}

/* Whose matrix units or packed arithmetic multiply 16-bit types faster than f32. */
static uint32_t fast_types(const char *architecture)
{
    const uint32_t f16 = 1u << AIOS_F16, both = f16 | 1u << AIOS_BF16;
    int packed = strcmp(architecture, "gfx906") == 0 || strncmp(architecture, "gfx10", 5) == 0;
    return packed ? f16 : both;
}

static aios_status get_info(void *device, aios_device_info *info)
{
    const hip_device *d = device;
    int index = d->base.index;
    size_t total = 0;
    STREAM_TRY(hip.hipDeviceGetName(info->name, (int)sizeof info->name, index), "hipDeviceGetName");
    STREAM_TRY(hip.hipDeviceTotalMem(&total, index), "hipDeviceTotalMem");
    STREAM_TRY(hip.hipDeviceGetPCIBusId(info->pci_address, (int)sizeof info->pci_address, index), "hipDeviceGetPCIBusId");
    for (char *c = info->pci_address; *c; c++) *c = (char)tolower((unsigned char)*c);
    /* a card that the runtime's table lacks has no name */
    if (!info->name[0]) (void)snprintf(info->name, sizeof info->name, "AMD %s", d->architecture);
    (void)snprintf(info->architecture, sizeof info->architecture, "%s", d->architecture);
    (void)snprintf(info->driver_version, sizeof info->driver_version, "%d.%d.%d", hip_version / 10000000, hip_version / 100000 % 100,
                   hip_version % 100000);
    format_uuid(index, info->uuid, sizeof info->uuid);
    info->kind = attribute(index, ATTRIBUTE_INTEGRATED) ? AIOS_DEVICE_INTEGRATED : AIOS_DEVICE_DISCRETE;
    info->pci_vendor = 0x1002;
    info->memory_total = total;
    info->alignment = 256;
    info->compute_units = attribute(index, ATTRIBUTE_COMPUTE_UNITS);
    info->teams = info->compute_units * TEAMS_PER_UNIT;
    info->team_size = STREAM_TEAM_SIZE;
    info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    info->fast_gemm_types = fast_types(d->architecture);
    return AIOS_OK;
}

static void destroy_stream(void *device, void *stream)
{
    hip_gemm_forget_stream(((hip_device *)device)->gemm, stream);
    stream_destroy(device, stream);
}

/* ---- what stream_driver.c asks ----------------------------------------------------------------------------------- */

static const char *describe(int code)
{
    return hip.hipGetErrorString(code);
}

static aios_status choose_code(void *device, const void **code)
{
    return hip_find_code(((hip_device *)device)->architecture, code);
}

/* A failure is none: without access the runtime stages the copy, and the test that follows judges what arrives. */
static void enable_peer(void *device, void *other)
{
    int can = 0, here = ((stream_device *)device)->index, there = ((stream_device *)other)->index;
    if (!hip.hipDeviceCanAccessPeer || !hip.hipDeviceEnablePeerAccess || set_device(device) != AIOS_OK) return;
    if (hip.hipDeviceCanAccessPeer(&can, here, there) == 0 && can) (void)hip.hipDeviceEnablePeerAccess(there, 0);
}

static int copy_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    return hip.hipMemcpyPeerAsync(to, ((stream_device *)device)->index, from, ((stream_device *)other)->index, (size_t)size, stream);
}

/* One file name for all releases of ROCm, each linked to its own libamdhip64. */
static int shares_runtime(int (*counts_devices)(int *))
{
    return !counts_devices || counts_devices == hip.hipGetDeviceCount;
}

static const char *const rccl_files[] = {"librccl.so.1", NULL};

static aios_gpu_device table = {.struct_size = sizeof table,
                                STREAM_DEVICE_TABLE,
                                .open = open_device,
                                .close = close_device,
                                .get_info = get_info,
                                .set_device = set_device,
                                .destroy_stream = destroy_stream,
                                .gemm = &hip_gemm_group,
                                .telemetry = &hip_telemetry_group};

const stream_vendor stream_vendor_calls = {.calls = &hip.calls,
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
                                           .copy_peer_name = "hipMemcpyPeerAsync",
                                           .collectives = "RCCL",
                                           .collectives_files = rccl_files,
                                           .collectives_override = "AIOS_RCCL",
                                           .shares_runtime = shares_runtime,
                                           .before_capture = hip_gemm_prepare};

/* ---- the plugin -------------------------------------------------------------------------------------------------- */

aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **backend);

__attribute__((visibility("default"))) aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host,
                                                                      const aios_backend **backend)
{
    static const aios_backend hip_backend = {.struct_size = sizeof hip_backend,
                                             .abi = AIOS_BACKEND_ABI,
                                             .name = "hip",
                                             .vendor = "AMD",
                                             .version = PLUGIN_VERSION,
                                             .device_count = stream_device_count,
                                             .device = &table};
    PLUGIN_TRY(plugin_begin(host_abi, host));
    *backend = &hip_backend;
    return AIOS_OK;
}
