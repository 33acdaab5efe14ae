/* Drivers, devices, contexts, memory. */
#include "ze_sim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static sim_device all[SIM_DEVICES_MAX];
static int all_count;
static pthread_once_t found = PTHREAD_ONCE_INIT;
static int driver_object, context_object; /* one of each; their addresses are the handles */

#ifndef SIM_DRIVER
#define SIM_DRIVER 0
#endif

/* Which devices this driver shows: the word of AIOS_SIM_XPU_DRIVERS that is its own. */
static int is_mine(const vendor_device *core)
{
    const char *word = getenv("AIOS_SIM_XPU_DRIVERS");
    for (int i = 0; word && i < SIM_DRIVER; i++) word = strchr(word, ',') ? strchr(word, ',') + 1 : NULL;
    if (!word) return SIM_DRIVER == 0;
    size_t length = strcspn(word, ",");
    return strncmp(word, "all", length) == 0 || strncmp(word, vendor_index(core) % 2 ? "integrated" : "discrete", length) == 0;
}

uint32_t sim_xmx(void)
{
#ifdef SIM_HAS_POCL
    const char *lanes = getenv("AIOS_SIM_XMX");
    return lanes ? (uint32_t)strtoul(lanes, NULL, 10) : 0;
#else
    return 0;
#endif
}

uint64_t sim_nanoseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* In Level Zero devices of one driver reach each other without more ado, where they can. */
static void find_devices(void)
{
    const char *mask = getenv("ZE_AFFINITY_MASK");
    int count = vendor_count("xpu", mask);
    for (int i = 0; i < count && all_count < SIM_DEVICES_MAX; i++)
        if (is_mine(vendor_get("xpu", mask, i))) all[all_count++] = (sim_device){vendor_get("xpu", mask, i), sim_nanoseconds() / 1000};
    for (int i = 0; i < all_count; i++)
        for (int k = 0; k < all_count; k++)
            if (i != k && vendor_can_peer(all[i].core, all[k].core)) (void)vendor_enable_peer(all[i].core, all[k].core);
}

int sim_devices(sim_device **devices)
{
    (void)pthread_once(&found, find_devices);
    *devices = all;
    return all_count;
}

vendor_device *sim_core(ze_device_handle_t device)
{
    sim_device *mine = (sim_device *)device;
    if (mine < all || mine >= all + all_count) vendor_complain(NULL, "driver %d is asked about a device of another driver", SIM_DRIVER);
    return mine->core;
}

ze_result_t sim_result(vendor_status status)
{
    switch (status) {
    case VENDOR_OK: return ZE_RESULT_SUCCESS;
    case VENDOR_INVALID: return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    case VENDOR_NO_MEMORY: return ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY;
    case VENDOR_NOT_READY: return ZE_RESULT_NOT_READY;
    case VENDOR_UNSUPPORTED: return ZE_RESULT_ERROR_UNSUPPORTED_FEATURE;
    case VENDOR_FAULT: return vendor_fault_code() ? (ze_result_t)vendor_fault_code() : ZE_RESULT_ERROR_UNKNOWN;
    case VENDOR_ILLEGAL: /* what a page fault ends in */
    case VENDOR_LOST: return ZE_RESULT_ERROR_DEVICE_LOST;
    case VENDOR_DEADLOCK: return ZE_RESULT_ERROR_UNKNOWN;
    }
    return ZE_RESULT_ERROR_UNKNOWN;
}

/* The first question has no room, or room for none; the second gets what it has room for.  More room is no promise. */
#define ANSWER_COUNT(count, there)                                                                                                         \
    do {                                                                                                                                   \
        if (*(count) == 0 || *(count) > (uint32_t)(there)) *(count) = (uint32_t)(there);                                                   \
    } while (0)

/* ---- drivers and devices ----------------------------------------------------------------------------------------- */

ze_result_t zeInit(ze_init_flags_t flags)
{
    sim_device *devices;
    (void)flags;
    ENTER(NULL);
    return sim_devices(&devices) ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_UNINITIALIZED;
}

ze_result_t zeDriverGet(uint32_t *count, ze_driver_handle_t *drivers)
{
    ENTER(NULL);
    ANSWER_COUNT(count, 1);
    if (drivers) drivers[0] = (ze_driver_handle_t)&driver_object;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetApiVersion(ze_driver_handle_t driver, ze_api_version_t *version)
{
    (void)driver;
    ENTER(NULL);
    *version = ZE_API_VERSION_1_3;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDriverGetProperties(ze_driver_handle_t driver, ze_driver_properties_t *properties)
{
    (void)driver;
    ENTER(NULL);
    properties->driverVersion = 1u << 24 | 3u << 16 | 7u;
    return ZE_RESULT_SUCCESS;
}

/* Only what tells of matrix units. */
ze_result_t zeDriverGetExtensionProperties(ze_driver_handle_t driver, uint32_t *count, ze_driver_extension_properties_t *properties)
{
    (void)driver;
    ENTER(NULL);
    ANSWER_COUNT(count, 1);
    if (properties) properties[0] = (ze_driver_extension_properties_t){"ZE_intel_experimental_device_module_dp_properties", 1 << 16};
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetModuleProperties(ze_device_handle_t device, ze_device_module_properties_t *properties)
{
    struct dp_properties {
        ze_structure_type_t stype;
        void *pNext;
        uint32_t flags;
    } *dp = properties->pNext;
    ENTER(sim_core(device));
    properties->spirvVersionSupported = ZE_MAKE_VERSION(1, 2);
    if (dp && (uint32_t)dp->stype == 0x00030013u) dp->flags = sim_xmx() ? 3 : 1; /* DP4A, DPAS */
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGet(ze_driver_handle_t driver, uint32_t *count, ze_device_handle_t *devices)
{
    sim_device *there;
    int have = sim_devices(&there);
    (void)driver;
    ENTER(NULL);
    ANSWER_COUNT(count, have);
    for (uint32_t i = 0; devices && i < *count; i++) devices[i] = (ze_device_handle_t)&there[i];
    return ZE_RESULT_SUCCESS;
}

/* Odd devices are integrated. */
ze_result_t zeDeviceGetProperties(ze_device_handle_t device, ze_device_properties_t *properties)
{
    vendor_device *core = sim_core(device);
    uint64_t left, total;
    ENTER(core);
    vendor_memory(core, &left, &total);
    int index = vendor_index(core), exact = properties->stype == ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2;
    properties->type = ZE_DEVICE_TYPE_GPU;
    properties->vendorId = 0x8086;
    properties->deviceId = index % 2 ? 0x7d55 : 0x56a0;
    properties->flags = index % 2 ? ZE_DEVICE_PROPERTY_FLAG_INTEGRATED : 0;
    properties->maxMemAllocSize = total / 2;
    properties->numThreadsPerEU = 8;
    properties->physicalEUSimdWidth = 8;
    properties->numEUsPerSubslice = 16;
    properties->numSubslicesPerSlice = 2;
    properties->numSlices = 1;
    properties->timerResolution = exact ? SIM_FREQUENCY : 1000000000u / SIM_FREQUENCY;
    properties->timestampValidBits = properties->kernelTimestampValidBits = 32;
    memset(properties->uuid.id, 0x51, sizeof properties->uuid.id);
    properties->uuid.id[15] = (uint8_t)index;
    (void)snprintf(properties->name, sizeof properties->name, "Simulated Intel GPU %d", index);
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetComputeProperties(ze_device_handle_t device, ze_device_compute_properties_t *properties)
{
    ENTER(sim_core(device));
    properties->maxTotalGroupSize = properties->maxGroupSizeX = properties->maxGroupSizeY = properties->maxGroupSizeZ = 1024;
    properties->maxSharedLocalMemory = 64 << 10;
    for (uint32_t lanes = sim_xmx() == 16 ? 16 : 8; lanes <= 32; lanes *= 2)
        properties->subGroupSizes[properties->numSubGroupSizes++] = lanes;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetMemoryProperties(ze_device_handle_t device, uint32_t *count, ze_device_memory_properties_t *properties)
{
    uint64_t left, total;
    ENTER(sim_core(device));
    ANSWER_COUNT(count, 1);
    vendor_memory(sim_core(device), &left, &total);
    if (properties) properties[0].totalSize = total;
    return ZE_RESULT_SUCCESS;
}

/* The first group only copies. */
ze_result_t zeDeviceGetCommandQueueGroupProperties(ze_device_handle_t device, uint32_t *count,
                                                   ze_command_queue_group_properties_t *properties)
{
    ENTER(sim_core(device));
    ANSWER_COUNT(count, 2);
    for (uint32_t i = 0; properties && i < *count; i++) {
        properties[i].flags = ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COPY | (i ? ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE : 0);
        properties[i].maxMemoryFillPatternSize = 16;
        properties[i].numQueues = 1;
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDevicePciGetPropertiesExt(ze_device_handle_t device, ze_pci_ext_properties_t *properties)
{
    ENTER(sim_core(device));
    properties->address = (ze_pci_address_ext_t){0, 0x70u + (uint32_t)vendor_index(sim_core(device)), 0, 0};
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceCanAccessPeer(ze_device_handle_t device, ze_device_handle_t peer, ze_bool_t *can)
{
    ENTER(sim_core(device));
    *can = (ze_bool_t)vendor_can_peer(sim_core(device), sim_core(peer));
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeDeviceGetStatus(ze_device_handle_t device)
{
    ENTER(sim_core(device));
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeContextCreate(ze_driver_handle_t driver, const ze_context_desc_t *desc, ze_context_handle_t *context)
{
    (void)driver, (void)desc;
    ENTER(NULL);
    *context = (ze_context_handle_t)&context_object;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeContextDestroy(ze_context_handle_t context)
{
    (void)context;
    ENTER(NULL);
    return ZE_RESULT_SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static int may_be_large(const void *next)
{
    const ze_relaxed_allocation_limits_exp_desc_t *desc = next;
    return desc && desc->stype == ZE_STRUCTURE_TYPE_RELAXED_ALLOCATION_LIMITS_EXP_DESC &&
           desc->flags & ZE_RELAXED_ALLOCATION_LIMITS_EXP_FLAG_MAX_SIZE;
}

ze_result_t zeMemAllocDevice(ze_context_handle_t context, const ze_device_mem_alloc_desc_t *desc, size_t size, size_t alignment,
                             ze_device_handle_t device, void **pointer)
{
    vendor_device *core = sim_core(device);
    uint64_t left, total;
    (void)context;
    *pointer = NULL;
    ENTER(core);
    vendor_memory(core, &left, &total);
    if (size > total / 2 && !may_be_large(desc->pNext)) return ZE_RESULT_ERROR_UNSUPPORTED_SIZE;
    return sim_result(vendor_alloc(core, size, alignment, pointer));
}

/* Belongs to the context; the core counts it on its first device. */
ze_result_t zeMemAllocHost(ze_context_handle_t context, const ze_host_mem_alloc_desc_t *desc, size_t size, size_t alignment, void **pointer)
{
    sim_device *devices;
    (void)context, (void)desc, (void)alignment;
    *pointer = NULL;
    ENTER(NULL);
    (void)sim_devices(&devices);
    vendor_status status = vendor_host_alloc(devices[0].core, size, pointer);
    return status == VENDOR_NO_MEMORY ? ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY : sim_result(status);
}

ze_result_t zeMemFree(ze_context_handle_t context, void *pointer)
{
    sim_device *devices;
    vendor_device *owner = NULL;
    (void)context;
    int kind = vendor_pointer(pointer, &owner, NULL, NULL);
    (void)sim_devices(&devices);
    vendor_status injected = vendor_call("xpu", kind == VENDOR_DEVICE_MEMORY ? owner : NULL, __func__);
    if (kind == VENDOR_HOST_MEMORY) return sim_result(vendor_host_free(owner, pointer));
    vendor_status status = vendor_free(kind == VENDOR_DEVICE_MEMORY ? owner : devices[0].core, pointer);
    return sim_result(status == VENDOR_OK ? injected : status);
}

ze_result_t zeMemGetAddressRange(ze_context_handle_t context, const void *pointer, void **base, size_t *size)
{
    uint64_t bytes = 0;
    (void)context;
    if (vendor_pointer(pointer, NULL, base, &bytes) == VENDOR_UNKNOWN_MEMORY) return ZE_RESULT_ERROR_UNKNOWN;
    *size = bytes;
    return ZE_RESULT_SUCCESS;
}
