/* The loader, the devices of all its drivers, errors, and the table. */
#include "xpu.h"

#include <stdio.h>
#include <string.h>

struct level_zero ze;

static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct level_zero, need, name)
#include "level_zero.def"
#undef SYMBOL
};
static const char *const names[] = {"libze_loader.so.1", NULL};
static const plugin_library loader = {"Level Zero loader", names, symbols, COUNT_OF(symbols), NULL};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static const struct {
    ze_result_t result;
    aios_status status;
    const char *text;
} results[] = {
    {ZE_RESULT_ERROR_DEVICE_LOST, AIOS_DEVICE_LOST, "the device hung, was reset or was removed"},
    {ZE_RESULT_ERROR_DEVICE_REQUIRES_RESET, AIOS_DEVICE_LOST, "the device needs a reset"},
    {ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY, AIOS_OUT_OF_MEMORY, "out of host memory"},
    {ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, AIOS_DEVICE_OUT_OF_MEMORY, "out of device memory"},
    {ZE_RESULT_ERROR_UNSUPPORTED_SIZE, AIOS_DEVICE_OUT_OF_MEMORY, "larger than the device allows"},
    {ZE_RESULT_ERROR_MODULE_BUILD_FAILURE, AIOS_DEVICE_ERROR, "the module does not build"},
    {ZE_RESULT_ERROR_MODULE_LINK_FAILURE, AIOS_DEVICE_ERROR, "the module does not link"},
    {ZE_RESULT_ERROR_DEVICE_IN_LOW_POWER_STATE, AIOS_DEVICE_ERROR, "the device is in a low-power state"},
    {ZE_RESULT_ERROR_INSUFFICIENT_PERMISSIONS, AIOS_UNAVAILABLE, "this user may not use the device (on Linux: the group render)"},
    {ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE, AIOS_UNAVAILABLE, "a library that the driver needs is missing"},
    {ZE_RESULT_ERROR_UNSUPPORTED_VERSION, AIOS_UNSUPPORTED, "the driver is too old"},
    {ZE_RESULT_ERROR_UNSUPPORTED_FEATURE, AIOS_UNSUPPORTED, "the driver can't do this"},
    {ZE_RESULT_ERROR_UNINITIALIZED, AIOS_DEVICE_ERROR, "the driver is not initialised"},
    {ZE_RESULT_ERROR_INVALID_KERNEL_NAME, AIOS_NOT_FOUND, "the module has no kernel of that name"},
    {ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE, AIOS_DEVICE_ERROR, "the kernel's argument has another size"},
    {ZE_RESULT_ERROR_INVALID_ARGUMENT, AIOS_DEVICE_ERROR, "invalid argument"},
};

aios_status xpu_check(ze_result_t result, const char *call)
{
    if (result == ZE_RESULT_SUCCESS) return AIOS_OK;
    for (size_t i = 0; i < COUNT_OF(results); i++)
        if (results[i].result == result)
            return plugin_fail(results[i].status, result, "%s: %s (0x%x)", call, results[i].text, (unsigned)result);
    return plugin_fail(AIOS_DEVICE_ERROR, result, "%s: failed (0x%x)", call, (unsigned)result);
}

/* ---- the devices ------------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    int initialised; /* the loader was asked, once for ever: a second call after a failed zeInit may crash in it */
    aios_status status;
    char reason[400];
    xpu_place places[XPU_PLACES_MAX];
    int32_t count;
} process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* What tells a device from others, whichever driver shows it. */
typedef struct identity {
    ze_device_properties_t properties;
    ze_pci_ext_properties_t pci;
    int has_pci;
} identity;

static int identify(ze_device_handle_t device, identity *it)
{
    it->properties = (ze_device_properties_t){.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES};
    it->pci = (ze_pci_ext_properties_t){.stype = ZE_STRUCTURE_TYPE_PCI_EXT_PROPERTIES};
    it->has_pci = ze.zeDevicePciGetPropertiesExt && ze.zeDevicePciGetPropertiesExt(device, &it->pci) == ZE_RESULT_SUCCESS;
    return ze.zeDeviceGetProperties(device, &it->properties) == ZE_RESULT_SUCCESS;
}

/* Two drivers may show one device.  The parts of a device, which one driver may show, have one address. */
static int is_shown(ze_driver_handle_t driver, const identity *candidate)
{
    for (int32_t i = 0; i < process.count; i++) {
        identity other;
        if (process.places[i].driver == driver || !identify(process.places[i].device, &other)) continue;
        if (candidate->has_pci && other.has_pci
                ? memcmp(&candidate->pci.address, &other.pci.address, sizeof other.pci.address) == 0
                : memcmp(&candidate->properties.uuid, &other.properties.uuid, sizeof(ze_device_uuid_t)) == 0)
            return 1;
    }
    return 0;
}

static int is_wrapped(ze_driver_handle_t driver)
{
    enum { HANDLE_DRIVER = 0 };
    void *theirs = driver;
    if (!ze.zelLoaderTranslateHandle) return 1; /* an old loader: it may be */
    return ze.zelLoaderTranslateHandle(HANDLE_DRIVER, driver, &theirs) != ZE_RESULT_SUCCESS || theirs != (void *)driver;
}

/* Discrete devices come first, each kind in the order of the drivers. */
static void add_place(xpu_place place)
{
    int32_t at = process.count++;
    for (; at > 0 && !place.is_integrated && process.places[at - 1].is_integrated; at--) process.places[at] = process.places[at - 1];
    process.places[at] = place;
}

static aios_status add_driver(ze_driver_handle_t driver)
{
    ze_device_handle_t devices[XPU_PLACES_MAX];
    uint32_t count;
    ze_context_handle_t context = NULL;
    PLUGIN_TRY(xpu_check(ZE_LIST(zeDeviceGet, driver, devices, &count), "zeDeviceGet"));
    for (uint32_t i = 0; i < count && process.count < XPU_PLACES_MAX; i++) {
        identity it;
        if (!identify(devices[i], &it)) {
            plugin_log(AIOS_LOG_WARNING, "xpu: a device that Level Zero lists does not say what it is: it is left out");
            continue;
        }
        if (it.properties.type != ZE_DEVICE_TYPE_GPU || is_shown(driver, &it)) continue;
        const ze_context_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC};
        if (!context) PLUGIN_TRY(ZE(zeContextCreate, driver, &desc, &context));
        add_place(
            (xpu_place){driver, devices[i], context, (it.properties.flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED) != 0, is_wrapped(driver)});
    }
    return AIOS_OK;
}

static void keep_reason(aios_status status, const char *reason)
{
    process.status = status;
    (void)snprintf(process.reason, sizeof process.reason, "%s", reason);
}

/* One driver that fails hides no other. */
static void find_devices(void)
{
    ze_driver_handle_t drivers[16];
    uint32_t count = 0;
    aios_status failed = AIOS_OK;
    ze_result_t result = ze.zeInit(ZE_INIT_FLAG_GPU_ONLY);
    const char *call = result == ZE_RESULT_SUCCESS ? "zeDriverGet" : "zeInit";
    if (result == ZE_RESULT_SUCCESS) result = ze.zeDriverGet(&count, NULL);
    count = xpu_least(count, COUNT_OF(drivers));
    if (result == ZE_RESULT_SUCCESS && count) result = ze.zeDriverGet(&count, drivers);
    if (result == ZE_RESULT_ERROR_UNINITIALIZED || (result == ZE_RESULT_SUCCESS && count == 0)) {
        keep_reason(AIOS_UNAVAILABLE, "no Intel GPU driver: the Level Zero loader found none with a device (is the package with "
                                      "libze_intel_gpu.so.1 installed, and may this user open /dev/dri/renderD*?)");
        return;
    }
    if (result != ZE_RESULT_SUCCESS) {
        char reason[128];
        (void)snprintf(reason, sizeof reason, "the Level Zero driver does not start: %s gives 0x%x", call, (unsigned)result);
        keep_reason(result == ZE_RESULT_ERROR_DEVICE_LOST ? AIOS_DEVICE_LOST : AIOS_UNAVAILABLE, reason);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        aios_status status = add_driver(drivers[i]);
        if (status != AIOS_OK) failed = status;
        if (status != AIOS_OK) plugin_log(AIOS_LOG_WARNING, "xpu: Level Zero driver %u of %u can't be used", i, count);
    }
    if (failed != AIOS_OK && process.count == 0) keep_reason(failed, "no Level Zero driver can list its devices");
}

aios_status xpu_places(const xpu_place **places, int32_t *count)
{
    aios_status status = AIOS_OK;
    (void)pthread_mutex_lock(&process.mutex);
    if (!process.initialised) {
        status = plugin_library_open(&loader, &ze);
        if (status == AIOS_OK) process.initialised = 1, find_devices();
    }
    if (status == AIOS_OK && process.status != AIOS_OK) status = plugin_fail(process.status, 0, "%s", process.reason);
    *places = process.places;
    *count = status == AIOS_OK ? process.count : 0;
    (void)pthread_mutex_unlock(&process.mutex);
    return status;
}

static aios_status device_count(int32_t *count)
{
    const xpu_place *places;
    return xpu_places(&places, count);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const aios_gpu_device table = {
    .struct_size = sizeof table,
    .open = xpu_open,
    .close = xpu_close,
    .get_info = xpu_get_info,
    .get_memory_info = xpu_get_memory_info,
    .set_device = xpu_set_device,
    .synchronize = xpu_synchronize,
    .create_stream = xpu_create_stream,
    .destroy_stream = xpu_destroy_stream,
    .synchronize_stream = xpu_synchronize_stream,
    .create_event = xpu_create_event,
    .destroy_event = xpu_destroy_event,
    .record_event = xpu_record_event,
    .wait_event = xpu_wait_event,
    .synchronize_event = xpu_synchronize_event,
    .elapsed_ms = xpu_elapsed_ms,
    .alloc = xpu_alloc,
    .free = xpu_free,
    .host_alloc = xpu_host_alloc,
    .host_free = xpu_host_free,
    .copy = xpu_copy,
    .fill = xpu_fill,
    .copy_peer = xpu_copy_peer,
    .load_kernels = xpu_load_kernels,
    .launch = xpu_launch,
    .gemm = &xpu_gemm,
    .capture = &xpu_capture,
    .telemetry = &xpu_telemetry,
};
static const aios_backend backend = {sizeof backend, AIOS_BACKEND_ABI, "xpu", "Intel", PLUGIN_VERSION, device_count, &table};

__attribute__((visibility("default"))) aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host,
                                                                      const aios_backend **out);
aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **out)
{
    PLUGIN_TRY(plugin_begin(host_abi, host));
    *out = &backend;
    return AIOS_OK;
}
