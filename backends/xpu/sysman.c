/* Sysman: how busy, how warm, how hungry, how much memory is left.  Read only.  It is there where the loader has zesInit, or where the
 * user set ZES_ENABLE_SYSMAN=1; the plugin sets no variable. */
#include "xpu.h"

#include <stdlib.h>
#include <string.h>

#define HANDLES_MAX 64

/* ---- finding it -------------------------------------------------------------------------------------------------- */

static int is_same(zes_device_handle_t candidate, const ze_device_uuid_t *uuid)
{
    zes_device_properties_t properties = {.stype = ZES_STRUCTURE_TYPE_DEVICE_PROPERTIES};
    return ze.zesDeviceGetProperties(candidate, &properties) == ZE_RESULT_SUCCESS && memcmp(&properties.core.uuid, uuid, sizeof *uuid) == 0;
}

static zes_device_handle_t search(const ze_device_uuid_t *uuid)
{
    zes_driver_handle_t drivers[16];
    zes_device_handle_t devices[HANDLES_MAX];
    uint32_t driver_count = 0;
    if (ze.zesInit(0) != ZE_RESULT_SUCCESS || ze.zesDriverGet(&driver_count, NULL) != ZE_RESULT_SUCCESS) return NULL;
    driver_count = xpu_least(driver_count, COUNT_OF(drivers));
    if (ze.zesDriverGet(&driver_count, drivers) != ZE_RESULT_SUCCESS) return NULL;
    for (uint32_t d = 0; d < driver_count; d++) {
        uint32_t count;
        if (ZE_LIST(zesDeviceGet, drivers[d], devices, &count) != ZE_RESULT_SUCCESS) continue;
        for (uint32_t i = 0; i < count; i++)
            if (is_same(devices[i], uuid)) return devices[i];
    }
    return NULL;
}

static void take_baseline(xpu_sysman *sysman);

static zes_device_handle_t find(xpu_device *device)
{
    const char *enabled = getenv("ZES_ENABLE_SYSMAN");
    if (device->sysman.looked_for) return device->sysman.device;
    device->sysman.looked_for = 1;
    device->sysman.utilisation = device->sysman.power = -1;
    if (ze.zesInit && ze.zesDriverGet && ze.zesDeviceGet && ze.zesDeviceGetProperties)
        device->sysman.device = search(&device->properties.uuid);
    if (!device->sysman.device && enabled && strcmp(enabled, "1") == 0) device->sysman.device = (zes_device_handle_t)device->place->device;
    if (device->sysman.device) take_baseline(&device->sysman);
    return device->sysman.device;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

int xpu_sysman_memory(xpu_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    zes_mem_handle_t modules[HANDLES_MAX];
    uint32_t count;
    zes_device_handle_t sysman = find(device);
    *free_bytes = *total_bytes = 0;
    if (!sysman || !ze.zesDeviceEnumMemoryModules || !ze.zesMemoryGetProperties || !ze.zesMemoryGetState) return 0;
    if (ZE_LIST(zesDeviceEnumMemoryModules, sysman, modules, &count) != ZE_RESULT_SUCCESS) return 0;
    for (uint32_t i = 0; i < count; i++) {
        zes_mem_properties_t properties = {.stype = ZES_STRUCTURE_TYPE_MEM_PROPERTIES};
        zes_mem_state_t state = {.stype = ZES_STRUCTURE_TYPE_MEM_STATE};
        if (ze.zesMemoryGetProperties(modules[i], &properties) != ZE_RESULT_SUCCESS || properties.location != ZES_MEM_LOC_DEVICE) continue;
        if (ze.zesMemoryGetState(modules[i], &state) != ZE_RESULT_SUCCESS) return 0;
        *free_bytes += state.free;
        *total_bytes += state.size;
    }
    return *total_bytes > 0;
}

/* ---- telemetry --------------------------------------------------------------------------------------------------- */

/* amount per microsecond since the last reading; `last` again where no time has passed. */
static float rate(xpu_activity *before, uint64_t amount, uint64_t microseconds, float last)
{
    float found = last;
    if (before->microseconds && microseconds > before->microseconds)
        found = (float)((double)(amount - before->amount) / (double)(microseconds - before->microseconds));
    if (microseconds > before->microseconds) *before = (xpu_activity){amount, microseconds};
    return found;
}

/* Of the engines that compute, all combined. */
static void read_utilisation(xpu_sysman *sysman, aios_telemetry *telemetry)
{
    zes_engine_handle_t engines[HANDLES_MAX];
    uint32_t count;
    if (!ze.zesDeviceEnumEngineGroups || !ze.zesEngineGetProperties || !ze.zesEngineGetActivity) return;
    if (ZE_LIST(zesDeviceEnumEngineGroups, sysman->device, engines, &count) != ZE_RESULT_SUCCESS) return;
    for (uint32_t i = 0; i < count; i++) {
        zes_engine_properties_t properties = {.stype = ZES_STRUCTURE_TYPE_ENGINE_PROPERTIES};
        zes_engine_stats_t stats;
        if (ze.zesEngineGetProperties(engines[i], &properties) != ZE_RESULT_SUCCESS) continue;
        if (properties.type != ZES_ENGINE_GROUP_COMPUTE_ALL || properties.onSubdevice) continue;
        if (ze.zesEngineGetActivity(engines[i], &stats) != ZE_RESULT_SUCCESS) return;
        float busy = rate(&sysman->engine, stats.activeTime, stats.timestamp, sysman->utilisation / 100);
        sysman->utilisation = busy < 0 ? -1 : busy > 1 ? 100 : busy * 100;
        telemetry->utilisation = sysman->utilisation;
        return;
    }
}

static void read_temperature(const xpu_sysman *sysman, aios_telemetry *telemetry)
{
    zes_temp_handle_t sensors[HANDLES_MAX];
    uint32_t count;
    if (!ze.zesDeviceEnumTemperatureSensors || !ze.zesTemperatureGetProperties || !ze.zesTemperatureGetState) return;
    if (ZE_LIST(zesDeviceEnumTemperatureSensors, sysman->device, sensors, &count) != ZE_RESULT_SUCCESS) return;
    for (uint32_t i = 0; i < count; i++) {
        zes_temp_properties_t properties = {.stype = ZES_STRUCTURE_TYPE_TEMP_PROPERTIES};
        double celsius;
        if (ze.zesTemperatureGetProperties(sensors[i], &properties) != ZE_RESULT_SUCCESS) continue;
        if (properties.type != ZES_TEMP_SENSORS_GLOBAL && properties.type != ZES_TEMP_SENSORS_GPU) continue;
        if (ze.zesTemperatureGetState(sensors[i], &celsius) == ZE_RESULT_SUCCESS && (float)celsius > telemetry->temperature)
            telemetry->temperature = (float)celsius;
    }
}

/* Watts: millijoules and microjoules are the driver's units.  The first domain that is the whole device's. */
static void read_power(xpu_sysman *sysman, aios_telemetry *telemetry)
{
    zes_pwr_handle_t domains[HANDLES_MAX];
    uint32_t count;
    if (!ze.zesDeviceEnumPowerDomains || !ze.zesPowerGetProperties || !ze.zesPowerGetEnergyCounter) return;
    if (ZE_LIST(zesDeviceEnumPowerDomains, sysman->device, domains, &count) != ZE_RESULT_SUCCESS) return;
    for (uint32_t i = 0; i < count; i++) {
        zes_power_properties_t properties = {.stype = ZES_STRUCTURE_TYPE_POWER_PROPERTIES};
        zes_power_energy_counter_t counter;
        zes_power_sustained_limit_t limit = {0, 0, 0};
        if (ze.zesPowerGetProperties(domains[i], &properties) != ZE_RESULT_SUCCESS || properties.onSubdevice) continue;
        if (ze.zesPowerGetEnergyCounter(domains[i], &counter) == ZE_RESULT_SUCCESS)
            telemetry->power = sysman->power = rate(&sysman->energy, counter.energy, counter.timestamp, sysman->power);
        if (ze.zesPowerGetLimits && ze.zesPowerGetLimits(domains[i], &limit, NULL, NULL) == ZE_RESULT_SUCCESS && limit.enabled)
            telemetry->power_limit = (float)limit.power / 1000;
        return;
    }
}

/* Utilisation and power are means since the last reading; the first, since the device was opened. */
static void take_baseline(xpu_sysman *sysman)
{
    aios_telemetry ignored;
    read_utilisation(sysman, &ignored);
    read_power(sysman, &ignored);
}

static aios_status read_telemetry(void *handle, aios_telemetry *telemetry)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    if (find(device)) {
        read_utilisation(&device->sysman, telemetry);
        read_temperature(&device->sysman, telemetry);
        read_power(&device->sysman, telemetry);
    }
    (void)pthread_mutex_unlock(&device->mutex);
    return AIOS_OK;
}

const aios_telemetry_group xpu_telemetry = {sizeof xpu_telemetry, 0, read_telemetry};
