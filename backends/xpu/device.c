/* A device: what it is, and its memory. */
#include "xpu.h"

#include <stdio.h>
#include <string.h>

/* The names that Intel's compilers take, by PCI device id. */
static const struct {
    uint32_t first, last;
    const char *name;
} architectures[] = {
    {0x0b69, 0x0b6e, "pvc"}, {0x0bd0, 0x0bdb, "pvc"}, {0x0be5, 0x0be5, "pvc"}, {0x4f80, 0x4f88, "dg2"}, {0x5690, 0x56c2, "dg2"},
    {0xe202, 0xe223, "bmg"}, {0x4905, 0x4909, "dg1"}, {0x6420, 0x64b0, "lnl"}, {0xb080, 0xb0ff, "ptl"}, {0x7d41, 0x7d41, "arl"},
    {0x7d51, 0x7d51, "arl"}, {0x7d67, 0x7d67, "arl"}, {0x7dd1, 0x7dd1, "arl"}, {0x7d40, 0x7dd5, "mtl"}, {0xa720, 0xa7ad, "rpl"},
    {0x4680, 0x46d2, "adl"}, {0x4626, 0x462a, "adl"}, {0x4c80, 0x4c9a, "rkl"}, {0x9a40, 0x9af8, "tgl"},
};

static const char *find_architecture(uint32_t id)
{
    for (size_t i = 0; i < COUNT_OF(architectures); i++)
        if (id >= architectures[i].first && id <= architectures[i].last) return architectures[i].name;
    return "";
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status find_compute(xpu_device *device)
{
    ze_command_queue_group_properties_t groups[16];
    uint32_t count;
    memset(groups, 0, sizeof groups);
    for (size_t i = 0; i < COUNT_OF(groups); i++) groups[i].stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES;
    PLUGIN_TRY(xpu_check(ZE_LIST(zeDeviceGetCommandQueueGroupProperties, device->place->device, groups, &count),
                         "zeDeviceGetCommandQueueGroupProperties"));
    for (uint32_t i = 0; i < count; i++)
        if (groups[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE && groups[i].numQueues) {
            device->compute_ordinal = i;
            return AIOS_OK;
        }
    return plugin_fail(AIOS_UNSUPPORTED, 0, "%s has no command queue that computes", device->properties.name);
}

static aios_status check_team(const xpu_device *device, uint32_t *least_sub_group)
{
    ze_device_compute_properties_t compute = {.stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES};
    PLUGIN_TRY(ZE(zeDeviceGetComputeProperties, device->place->device, &compute));
    if (compute.maxTotalGroupSize < XPU_TEAM_SIZE || compute.maxGroupSizeX < XPU_TEAM_SIZE)
        return plugin_fail(AIOS_UNSUPPORTED, 0, "%s runs groups of at most %u work-items: the kernels need %d", device->properties.name,
                           compute.maxTotalGroupSize, XPU_TEAM_SIZE);
    for (uint32_t i = 0; i < compute.numSubGroupSizes && i < ZE_SUBGROUPSIZE_COUNT; i++)
        if (i == 0 || compute.subGroupSizes[i] < *least_sub_group) *least_sub_group = compute.subGroupSizes[i];
    return AIOS_OK;
}

static aios_status sum_memory(xpu_device *device)
{
    ze_device_memory_properties_t memories[16];
    uint32_t count;
    memset(memories, 0, sizeof memories);
    for (size_t i = 0; i < COUNT_OF(memories); i++) memories[i].stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_PROPERTIES;
    PLUGIN_TRY(xpu_check(ZE_LIST(zeDeviceGetMemoryProperties, device->place->device, memories, &count), "zeDeviceGetMemoryProperties"));
    device->memory_total = 0;
    for (uint32_t i = 0; i < count; i++) device->memory_total += memories[i].totalSize;
    return AIOS_OK;
}

static aios_status look_at(xpu_device *device)
{
    uint32_t least_sub_group = 0;
    device->properties.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2; /* timerResolution in cycles per second */
    PLUGIN_TRY(ZE(zeDeviceGetProperties, device->place->device, &device->properties));
    PLUGIN_TRY(find_compute(device));
    device->cores = device->properties.numSlices * device->properties.numSubslicesPerSlice;
    PLUGIN_TRY(check_team(device, &least_sub_group));
    xpu_xmx_find(device, find_architecture(device->properties.deviceId), least_sub_group);
    return sum_memory(device);
}

aios_status xpu_open(int32_t index, void **device)
{
    const xpu_place *places;
    int32_t count;
    *device = NULL;
    PLUGIN_TRY(xpu_places(&places, &count));
    if (index < 0 || index >= count)
        return plugin_fail(AIOS_NOT_FOUND, 0, "there is no Intel GPU %d: there are %d", (int)index, (int)count);
    xpu_device *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->place = &places[index];
    made->index = index;
    aios_status status = look_at(made);
    if (status != AIOS_OK) {
        plugin_free(made);
        return status;
    }
    (void)pthread_mutex_init(&made->mutex, NULL);
    *device = made;
    return AIOS_OK;
}

void xpu_close(void *handle)
{
    xpu_device *device = handle;
    xpu_kernels_destroy(device);
    if (device->queue) (void)ze.zeCommandQueueDestroy(device->queue);
    xpu_slots_destroy(device);
    (void)pthread_mutex_destroy(&device->mutex);
    plugin_free(device);
}

/* Level Zero has no current device. */
aios_status xpu_set_device(void *handle)
{
    (void)handle;
    return AIOS_OK;
}

/* ---- what it is -------------------------------------------------------------------------------------------------- */

static void write_architecture(const xpu_device *device, aios_device_info *info)
{
    uint32_t id = device->properties.deviceId;
    const char *name = find_architecture(id);
    (void)snprintf(info->architecture, sizeof info->architecture, "%s", name);
    if (!*name) (void)snprintf(info->architecture, sizeof info->architecture, "0x%04x", (unsigned)id);
}

static void write_uuid(const xpu_device *device, aios_device_info *info)
{
    const uint8_t *id = device->properties.uuid.id;
    size_t used = 0;
    for (int i = 0; i < ZE_MAX_DEVICE_UUID_SIZE; i++)
        used += (size_t)snprintf(info->uuid + used, sizeof info->uuid - used, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                                 id[i]);
}

static void write_pci_address(const xpu_device *device, aios_device_info *info)
{
    ze_pci_ext_properties_t pci = {.stype = ZE_STRUCTURE_TYPE_PCI_EXT_PROPERTIES};
    if (!ze.zeDevicePciGetPropertiesExt || ze.zeDevicePciGetPropertiesExt(device->place->device, &pci) != ZE_RESULT_SUCCESS) return;
    (void)snprintf(info->pci_address, sizeof info->pci_address, "%04x:%02x:%02x.%x", pci.address.domain, pci.address.bus,
                   pci.address.device, pci.address.function);
}

/* Intel's drivers pack their version as 8, 8 and 16 bits. */
static void write_driver_version(const xpu_device *device, aios_device_info *info)
{
    ze_driver_properties_t driver = {.stype = ZE_STRUCTURE_TYPE_DRIVER_PROPERTIES};
    if (ze.zeDriverGetProperties(device->place->driver, &driver) != ZE_RESULT_SUCCESS) return;
    uint32_t version = driver.driverVersion;
    (void)snprintf(info->driver_version, sizeof info->driver_version, "%u.%u.%u", (unsigned)(version >> 24),
                   (unsigned)(version >> 16 & 0xff), (unsigned)(version & 0xffff));
}

aios_status xpu_get_info(void *handle, aios_device_info *info)
{
    const xpu_device *device = handle;
    const ze_device_properties_t *properties = &device->properties;
    uint64_t free_now;
    int32_t cores = (int32_t)device->cores;
    int32_t lanes = (int32_t)(properties->numEUsPerSubslice * properties->numThreadsPerEU * properties->physicalEUSimdWidth);
    info->index = device->index;
    info->kind = properties->flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED ? AIOS_DEVICE_INTEGRATED : AIOS_DEVICE_DISCRETE;
    info->pci_vendor = properties->vendorId;
    (void)snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, properties->name);
    write_architecture(device, info);
    write_uuid(device, info);
    write_pci_address(device, info);
    write_driver_version(device, info);
    PLUGIN_TRY(xpu_get_memory_info(handle, &free_now, &info->memory_total));
    info->alignment = XPU_ALIGNMENT;
    info->compute_units = cores;
    info->teams = (cores > 0 ? cores : 1) * (lanes > XPU_TEAM_SIZE ? lanes / XPU_TEAM_SIZE : 1);
    info->team_size = XPU_TEAM_SIZE;
    info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    info->fast_gemm_types = xpu_xmx_types(device);
    return AIOS_OK;
}

/* Some drivers can't tell. */
aios_status xpu_status(const xpu_device *device)
{
    ze_result_t result = ze.zeDeviceGetStatus(device->place->device);
    return result == ZE_RESULT_ERROR_UNSUPPORTED_FEATURE ? AIOS_OK : xpu_check(result, "zeDeviceGetStatus");
}

/* Sysman sees other processes too; without it, what this handle took is all that is known. */
aios_status xpu_get_memory_info(void *handle, uint64_t *free_bytes, uint64_t *total_bytes)
{
    xpu_device *device = handle;
    PLUGIN_TRY(xpu_status(device));
    (void)pthread_mutex_lock(&device->mutex);
    int known = xpu_sysman_memory(device, free_bytes, total_bytes);
    (void)pthread_mutex_unlock(&device->mutex);
    if (known) return AIOS_OK;
    uint64_t taken = atomic_load(&device->memory_taken);
    *total_bytes = device->memory_total;
    *free_bytes = taken < device->memory_total ? device->memory_total - taken : 0;
    return AIOS_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

aios_status xpu_alloc(void *handle, uint64_t size, void **pointer)
{
    xpu_device *device = handle;
    ze_relaxed_allocation_limits_exp_desc_t large = {.stype = ZE_STRUCTURE_TYPE_RELAXED_ALLOCATION_LIMITS_EXP_DESC,
                                                     .flags = ZE_RELAXED_ALLOCATION_LIMITS_EXP_FLAG_MAX_SIZE};
    const ze_device_mem_alloc_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC,
                                             .pNext = size > device->properties.maxMemAllocSize ? &large : NULL};
    ze_result_t result = ze.zeMemAllocDevice(device->place->context, &desc, size, XPU_ALIGNMENT, device->place->device, pointer);
    if (result == ZE_RESULT_SUCCESS) {
        (void)atomic_fetch_add(&device->memory_taken, size);
        return AIOS_OK;
    }
    uint64_t free_now = 0, total = 0;
    if (result != ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY && result != ZE_RESULT_ERROR_UNSUPPORTED_SIZE)
        return xpu_check(result, "zeMemAllocDevice");
    (void)xpu_get_memory_info(handle, &free_now, &total);
    return plugin_fail(AIOS_DEVICE_OUT_OF_MEMORY, result, "zeMemAllocDevice: no %llu bytes left: %llu of %llu are free",
                       (unsigned long long)size, (unsigned long long)free_now, (unsigned long long)total);
}

void xpu_free(void *handle, void *pointer)
{
    xpu_device *device = handle;
    void *base = NULL;
    size_t size = 0;
    if (ze.zeMemGetAddressRange(device->place->context, pointer, &base, &size) == ZE_RESULT_SUCCESS)
        (void)atomic_fetch_sub(&device->memory_taken, size);
    (void)ze.zeMemFree(device->place->context, pointer);
}

aios_status xpu_host_alloc(void *handle, uint64_t size, void **pointer)
{
    xpu_device *device = handle;
    const ze_host_mem_alloc_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC};
    return ZE(zeMemAllocHost, device->place->context, &desc, size, XPU_ALIGNMENT, pointer);
}

void xpu_host_free(void *handle, void *pointer)
{
    (void)ze.zeMemFree(((xpu_device *)handle)->place->context, pointer);
}
