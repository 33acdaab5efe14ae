/* The stand-in for libamdhip64: what stand_in.c doesn't have.  AIOS_SIM_HIP_ARCHITECTURE says what the devices are (default
 * "gfx942:sramecc+:xnack-"); ROCM_5 makes it as old as Debian 12's, without what came later. */
#include "code_object.h"
#include "stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HIP VENDOR_API int

/* hipDeviceAttribute_t */
enum { INTEGRATED = 16, COMPUTE_UNITS = 63, PCI_BUS = 67, PCI_DEVICE = 68, PCI_DOMAIN = 69 };
enum { FIRST_BUS = 0xa3, UNITS = 2, PEER_ALREADY_ENABLED = 704, NO_DEVICE = 100 };

#define PROTOTYPE(name, parameters) HIP name parameters;
PROTOTYPE(hipInit, (unsigned flags))
PROTOTYPE(hipGetDeviceCount, (int *count))
PROTOTYPE(hipSetDevice, (int index))
PROTOTYPE(hipRuntimeGetVersion, (int *version))
PROTOTYPE(hipDeviceGetName, (char *name, int size, int index))
PROTOTYPE(hipDeviceTotalMem, (size_t * bytes, int index))
PROTOTYPE(hipDeviceGetAttribute, (int *value, int attribute, int index))
PROTOTYPE(hipDeviceGetPCIBusId, (char *text, int size, int index))
PROTOTYPE(hipDeviceGetUuid, (void *bytes, int index))
PROTOTYPE(hipGetDeviceProperties, (void *properties, int index))
PROTOTYPE(hipGetDevicePropertiesR0600, (void *properties, int index))
PROTOTYPE(hipDeviceCanAccessPeer, (int *can, int index, int peer))
PROTOTYPE(hipDeviceEnablePeerAccess, (int peer, unsigned flags))
PROTOTYPE(hipMemcpyPeerAsync, (void *to, int to_device, const void *from, int from_device, size_t size, void *stream))
VENDOR_API const char *hipGetErrorString(int code);

static _Thread_local int current;

static const char *mask(void)
{
    return getenv("HIP_VISIBLE_DEVICES");
}

static const char *architecture(void)
{
    const char *set = getenv("AIOS_SIM_HIP_ARCHITECTURE");
    return set && *set ? set : "gfx942:sramecc+:xnack-";
}

static vendor_device *find(int index)
{
    return index >= 0 && index < vendor_count("hip", mask()) ? vendor_get("hip", mask(), index) : NULL;
}

vendor_device *stand_in_current(void)
{
    return find(current);
}

/* Returns where the device is none or the call is to fail. */
#define BEGIN(device, index, call)                                                                                                         \
    vendor_device *device = find(index);                                                                                                   \
    if (!device) return CODE_INVALID_DEVICE;                                                                                               \
    int begun = stand_in_begin(device, call);                                                                                              \
    if (begun) return begun

/* ---- devices ----------------------------------------------------------------------------------------------------- */

int hipInit(unsigned flags)
{
    return flags ? CODE_INVALID_VALUE : stand_in_begin(NULL, "hipInit");
}

int hipGetDeviceCount(int *count)
{
    int begun = stand_in_begin(NULL, "hipGetDeviceCount");
    *count = begun ? 0 : vendor_count("hip", mask());
    return begun ? begun : *count ? CODE_OK : NO_DEVICE;
}

int hipSetDevice(int index)
{
    BEGIN(device, index, "hipSetDevice");
    (void)device;
    current = index;
    return CODE_OK;
}

int hipRuntimeGetVersion(int *version)
{
#if defined(ROCM_5)
    *version = 50221153;
#else
    *version = 60241134;
#endif
    return CODE_OK;
}

int hipDeviceGetName(char *name, int size, int index)
{
    BEGIN(device, index, "hipDeviceGetName");
    (void)device;
    (void)snprintf(name, (size_t)size, "AMD Simulated Accelerator");
    return CODE_OK;
}

int hipDeviceTotalMem(size_t *bytes, int index)
{
    uint64_t left, total;
    BEGIN(device, index, "hipDeviceTotalMem");
    vendor_memory(device, &left, &total);
    *bytes = total;
    return CODE_OK;
}

int hipDeviceGetAttribute(int *value, int attribute, int index)
{
    BEGIN(device, index, "hipDeviceGetAttribute");
    switch (attribute) {
    case INTEGRATED:
    case PCI_DEVICE:
    case PCI_DOMAIN: *value = 0; return CODE_OK;
    case COMPUTE_UNITS: *value = UNITS; return CODE_OK;
    case PCI_BUS: *value = FIRST_BUS + vendor_index(device); return CODE_OK;
    default: return CODE_INVALID_VALUE;
    }
}

int hipDeviceGetPCIBusId(char *text, int size, int index)
{
    BEGIN(device, index, "hipDeviceGetPCIBusId");
    (void)snprintf(text, (size_t)size, "0000:%02X:00.0", FIRST_BUS + vendor_index(device));
    return CODE_OK;
}

int hipDeviceGetUuid(void *bytes, int index)
{
    char text[17];
    BEGIN(device, index, "hipDeviceGetUuid");
    (void)snprintf(text, sizeof text, "%016x", 0x51a1u + (unsigned)vendor_index(device));
    memcpy(bytes, text, 16);
    return CODE_OK;
}

/* Only where things lie matters; the rest is whatever it is. */
static int give_properties(void *properties, size_t size, size_t at, int index)
{
    BEGIN(device, index, "hipGetDeviceProperties");
    (void)device;
    memset(properties, 0x67, size); /* a lot of "gggg" */
    (void)snprintf(properties, 256, "gfx simulated");
    (void)snprintf((char *)properties + at, 256, "%s", architecture());
    return CODE_OK;
}

int hipGetDeviceProperties(void *properties, int index)
{
    return give_properties(properties, 792, 396, index);
}

#if !defined(ROCM_5)
int hipGetDevicePropertiesR0600(void *properties, int index)
{
    return give_properties(properties, 1472, 1160, index);
}
#endif

const char *hipGetErrorString(int code)
{
    return stand_in_words(code);
}

/* ---- peers ------------------------------------------------------------------------------------------------------- */

int hipDeviceCanAccessPeer(int *can, int index, int peer)
{
    BEGIN(device, index, "hipDeviceCanAccessPeer");
    if (!find(peer)) return CODE_INVALID_DEVICE;
    *can = vendor_can_peer(device, find(peer));
    return CODE_OK;
}

int hipDeviceEnablePeerAccess(int peer, unsigned flags)
{
    BEGIN(device, current, "hipDeviceEnablePeerAccess");
    if (!find(peer) || flags) return CODE_INVALID_VALUE;
    vendor_status status = vendor_enable_peer(device, find(peer));
    return status == VENDOR_INVALID ? PEER_ALREADY_ENABLED : status == VENDOR_UNSUPPORTED ? CODE_NOT_SUPPORTED : stand_in_code(status);
}

int hipMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t size, void *stream)
{
    if (!stream) return CODE_INVALID_HANDLE;
    int begun = stand_in_begin(vendor_stream_device(stream), "hipMemcpyPeerAsync");
    if (begun) return begun;
    if (!find(to_device) || !find(from_device)) return CODE_INVALID_DEVICE;
    return stand_in_code(vendor_copy(stream, to, find(to_device), from, find(from_device), size));
}

/* ---- code objects ------------------------------------------------------------------------------------------------ */

int stand_in_image_open(vendor_device *device, const void *bytes, void **image)
{
    char name[32];
    code_object object;
    size_t size = code_object_size(bytes);
    const char *wrong = size ? code_object_read(bytes, size, &object) : "it is no code object";
    if (wrong) {
        vendor_complain(device, "hipModuleLoadData: %s", wrong);
        return CODE_INVALID_IMAGE;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(architecture(), ":"), architecture());
    if (object.architecture != code_architecture(name)) {
        vendor_complain(device, "hipModuleLoadData: code for machine %#x on a %s, which is %#x", object.architecture, name,
                        code_architecture(name));
        code_object_free(&object);
        return CODE_NO_BINARY;
    }
    code_object *kept = malloc(sizeof *kept);
    *kept = object;
    *image = kept;
    return CODE_OK;
}

int stand_in_image_find(void *image, const char *name, stand_in_kernel *kernel)
{
    const code_kernel *found = code_object_find(image, name);
    if (!found) return CODE_NOT_FOUND;
    kernel->argument_count = found->argument_count;
    for (uint32_t i = 0; i < found->argument_count; i++) kernel->sizes[i] = found->arguments[i].size;
    return CODE_OK;
}

void stand_in_image_close(void *image)
{
    code_object_free(image);
    free(image);
}
