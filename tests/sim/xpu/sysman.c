/* Sysman: 50 degrees, one more on each device; 120 of 225 watts, half busy, and memory as it is. */
#include "ze_sim.h"

/* The handles of a device's parts are its own. */
#define ONE(device, count, parts, type)                                                                                                    \
    do {                                                                                                                                   \
        ENTER(sim_core((ze_device_handle_t)(device)));                                                                                     \
        *(count) = 1;                                                                                                                      \
        if (parts) (parts)[0] = (type)(device);                                                                                            \
        return ZE_RESULT_SUCCESS;                                                                                                          \
    } while (0)
#define CORE(part) sim_core((ze_device_handle_t)(part))

ze_result_t zesDeviceEnumMemoryModules(zes_device_handle_t device, uint32_t *count, zes_mem_handle_t *parts)
{
    ONE(device, count, parts, zes_mem_handle_t);
}

ze_result_t zesDeviceEnumEngineGroups(zes_device_handle_t device, uint32_t *count, zes_engine_handle_t *parts)
{
    ONE(device, count, parts, zes_engine_handle_t);
}

ze_result_t zesDeviceEnumTemperatureSensors(zes_device_handle_t device, uint32_t *count, zes_temp_handle_t *parts)
{
    ONE(device, count, parts, zes_temp_handle_t);
}

ze_result_t zesDeviceEnumPowerDomains(zes_device_handle_t device, uint32_t *count, zes_pwr_handle_t *parts)
{
    ONE(device, count, parts, zes_pwr_handle_t);
}

ze_result_t zesMemoryGetProperties(zes_mem_handle_t part, zes_mem_properties_t *properties)
{
    ENTER(CORE(part));
    properties->location = ZES_MEM_LOC_DEVICE;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesMemoryGetState(zes_mem_handle_t part, zes_mem_state_t *state)
{
    ENTER(CORE(part));
    vendor_memory(CORE(part), &state->free, &state->size);
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesEngineGetProperties(zes_engine_handle_t part, zes_engine_properties_t *properties)
{
    ENTER(CORE(part));
    properties->type = ZES_ENGINE_GROUP_COMPUTE_ALL;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesEngineGetActivity(zes_engine_handle_t part, zes_engine_stats_t *stats)
{
    ENTER(CORE(part));
    stats->timestamp = sim_nanoseconds() / 1000;
    stats->activeTime = (stats->timestamp - ((sim_device *)part)->busy_since) / 2;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesTemperatureGetProperties(zes_temp_handle_t part, zes_temp_properties_t *properties)
{
    ENTER(CORE(part));
    properties->type = ZES_TEMP_SENSORS_GPU;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesTemperatureGetState(zes_temp_handle_t part, double *celsius)
{
    ENTER(CORE(part));
    *celsius = 50 + vendor_index(CORE(part));
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesPowerGetProperties(zes_pwr_handle_t part, zes_power_properties_t *properties)
{
    ENTER(CORE(part));
    properties->onSubdevice = 0;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesPowerGetEnergyCounter(zes_pwr_handle_t part, zes_power_energy_counter_t *counter)
{
    ENTER(CORE(part));
    counter->timestamp = sim_nanoseconds() / 1000;
    counter->energy = counter->timestamp * 120;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zesPowerGetLimits(zes_pwr_handle_t part, zes_power_sustained_limit_t *sustained, zes_power_burst_limit_t *burst,
                              zes_power_peak_limit_t *peak)
{
    (void)burst, (void)peak;
    ENTER(CORE(part));
    if (sustained) *sustained = (zes_power_sustained_limit_t){1, 225000, 1000};
    return ZE_RESULT_SUCCESS;
}
