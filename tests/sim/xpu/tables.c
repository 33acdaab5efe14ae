/* The tables that the loader asks for, all of those in its headers.  What is not named stays NULL: a call of it is
 * ZE_RESULT_ERROR_UNSUPPORTED_FEATURE, which the loader says. */
#include "ze_sim.h"

#include <string.h>

/* TABLE(function, type, table->pfn… = …;) */
#define TABLE(function, type, ...)                                                                                                         \
    ze_result_t function(ze_api_version_t version, type *table)                                                                            \
    {                                                                                                                                      \
        (void)version;                                                                                                                     \
        memset(table, 0, sizeof *table);                                                                                                   \
        __VA_ARGS__                                                                                                                        \
        return ZE_RESULT_SUCCESS;                                                                                                          \
    }
#define SET(member, function) table->member = function;

/* clang-format off */
TABLE(zeGetGlobalProcAddrTable, ze_global_dditable_t,
    SET(pfnInit, zeInit))
TABLE(zeGetDriverProcAddrTable, ze_driver_dditable_t,
    SET(pfnGet, zeDriverGet)
    SET(pfnGetApiVersion, zeDriverGetApiVersion)
    SET(pfnGetProperties, zeDriverGetProperties)
    SET(pfnGetExtensionProperties, zeDriverGetExtensionProperties))
TABLE(zeGetDeviceProcAddrTable, ze_device_dditable_t,
    SET(pfnGet, zeDeviceGet)
    SET(pfnGetProperties, zeDeviceGetProperties)
    SET(pfnGetComputeProperties, zeDeviceGetComputeProperties)
    SET(pfnGetModuleProperties, zeDeviceGetModuleProperties)
    SET(pfnGetCommandQueueGroupProperties, zeDeviceGetCommandQueueGroupProperties)
    SET(pfnGetMemoryProperties, zeDeviceGetMemoryProperties)
    SET(pfnCanAccessPeer, zeDeviceCanAccessPeer)
    SET(pfnGetStatus, zeDeviceGetStatus)
    SET(pfnPciGetPropertiesExt, zeDevicePciGetPropertiesExt))
TABLE(zeGetDeviceExpProcAddrTable, ze_device_exp_dditable_t, )
TABLE(zeGetContextProcAddrTable, ze_context_dditable_t,
    SET(pfnCreate, zeContextCreate)
    SET(pfnDestroy, zeContextDestroy))
TABLE(zeGetCommandQueueProcAddrTable, ze_command_queue_dditable_t,
    SET(pfnCreate, zeCommandQueueCreate)
    SET(pfnDestroy, zeCommandQueueDestroy)
    SET(pfnExecuteCommandLists, zeCommandQueueExecuteCommandLists)
    SET(pfnSynchronize, zeCommandQueueSynchronize))
TABLE(zeGetCommandListProcAddrTable, ze_command_list_dditable_t,
    SET(pfnCreate, zeCommandListCreate)
    SET(pfnCreateImmediate, zeCommandListCreateImmediate)
    SET(pfnDestroy, zeCommandListDestroy)
    SET(pfnClose, zeCommandListClose)
    SET(pfnAppendBarrier, zeCommandListAppendBarrier)
    SET(pfnAppendMemoryCopy, zeCommandListAppendMemoryCopy)
    SET(pfnAppendMemoryFill, zeCommandListAppendMemoryFill)
    SET(pfnAppendSignalEvent, zeCommandListAppendSignalEvent)
    SET(pfnAppendWaitOnEvents, zeCommandListAppendWaitOnEvents)
    SET(pfnAppendEventReset, zeCommandListAppendEventReset)
    SET(pfnAppendLaunchKernel, zeCommandListAppendLaunchKernel))
TABLE(zeGetImageProcAddrTable, ze_image_dditable_t, )
TABLE(zeGetImageExpProcAddrTable, ze_image_exp_dditable_t, )
TABLE(zeGetFenceProcAddrTable, ze_fence_dditable_t, )
TABLE(zeGetEventPoolProcAddrTable, ze_event_pool_dditable_t,
    SET(pfnCreate, zeEventPoolCreate)
    SET(pfnDestroy, zeEventPoolDestroy))
TABLE(zeGetEventProcAddrTable, ze_event_dditable_t,
    SET(pfnCreate, zeEventCreate)
    SET(pfnDestroy, zeEventDestroy)
    SET(pfnHostSignal, zeEventHostSignal)
    SET(pfnHostSynchronize, zeEventHostSynchronize)
    SET(pfnQueryStatus, zeEventQueryStatus)
    SET(pfnHostReset, zeEventHostReset)
    SET(pfnQueryKernelTimestamp, zeEventQueryKernelTimestamp))
TABLE(zeGetEventExpProcAddrTable, ze_event_exp_dditable_t, )
TABLE(zeGetModuleProcAddrTable, ze_module_dditable_t,
    SET(pfnCreate, zeModuleCreate)
    SET(pfnDestroy, zeModuleDestroy))
TABLE(zeGetModuleBuildLogProcAddrTable, ze_module_build_log_dditable_t,
    SET(pfnDestroy, zeModuleBuildLogDestroy)
    SET(pfnGetString, zeModuleBuildLogGetString))
TABLE(zeGetKernelProcAddrTable, ze_kernel_dditable_t,
    SET(pfnCreate, zeKernelCreate)
    SET(pfnDestroy, zeKernelDestroy)
    SET(pfnSetGroupSize, zeKernelSetGroupSize)
    SET(pfnSetArgumentValue, zeKernelSetArgumentValue)
    SET(pfnGetProperties, zeKernelGetProperties))
TABLE(zeGetKernelExpProcAddrTable, ze_kernel_exp_dditable_t, )
TABLE(zeGetSamplerProcAddrTable, ze_sampler_dditable_t, )
TABLE(zeGetPhysicalMemProcAddrTable, ze_physical_mem_dditable_t, )
TABLE(zeGetMemProcAddrTable, ze_mem_dditable_t,
    SET(pfnAllocDevice, zeMemAllocDevice)
    SET(pfnAllocHost, zeMemAllocHost)
    SET(pfnFree, zeMemFree)
    SET(pfnGetAddressRange, zeMemGetAddressRange))
TABLE(zeGetVirtualMemProcAddrTable, ze_virtual_mem_dditable_t, )
TABLE(zeGetFabricVertexExpProcAddrTable, ze_fabric_vertex_exp_dditable_t, )
TABLE(zeGetFabricEdgeExpProcAddrTable, ze_fabric_edge_exp_dditable_t, )
TABLE(zetGetDeviceProcAddrTable, zet_device_dditable_t, )
TABLE(zetGetContextProcAddrTable, zet_context_dditable_t, )
TABLE(zetGetCommandListProcAddrTable, zet_command_list_dditable_t, )
TABLE(zetGetModuleProcAddrTable, zet_module_dditable_t, )
TABLE(zetGetKernelProcAddrTable, zet_kernel_dditable_t, )
TABLE(zetGetMetricGroupProcAddrTable, zet_metric_group_dditable_t, )
TABLE(zetGetMetricGroupExpProcAddrTable, zet_metric_group_exp_dditable_t, )
TABLE(zetGetMetricProcAddrTable, zet_metric_dditable_t, )
TABLE(zetGetMetricStreamerProcAddrTable, zet_metric_streamer_dditable_t, )
TABLE(zetGetMetricQueryPoolProcAddrTable, zet_metric_query_pool_dditable_t, )
TABLE(zetGetMetricQueryProcAddrTable, zet_metric_query_dditable_t, )
TABLE(zetGetTracerExpProcAddrTable, zet_tracer_exp_dditable_t, )
TABLE(zetGetDebugProcAddrTable, zet_debug_dditable_t, )
TABLE(zesGetDriverProcAddrTable, zes_driver_dditable_t, )
TABLE(zesGetDeviceProcAddrTable, zes_device_dditable_t,
    SET(pfnEnumEngineGroups, zesDeviceEnumEngineGroups)
    SET(pfnEnumMemoryModules, zesDeviceEnumMemoryModules)
    SET(pfnEnumPowerDomains, zesDeviceEnumPowerDomains)
    SET(pfnEnumTemperatureSensors, zesDeviceEnumTemperatureSensors))
TABLE(zesGetSchedulerProcAddrTable, zes_scheduler_dditable_t, )
TABLE(zesGetPerformanceFactorProcAddrTable, zes_performance_factor_dditable_t, )
TABLE(zesGetPowerProcAddrTable, zes_power_dditable_t,
    SET(pfnGetProperties, zesPowerGetProperties)
    SET(pfnGetEnergyCounter, zesPowerGetEnergyCounter)
    SET(pfnGetLimits, zesPowerGetLimits))
TABLE(zesGetFrequencyProcAddrTable, zes_frequency_dditable_t, )
TABLE(zesGetEngineProcAddrTable, zes_engine_dditable_t,
    SET(pfnGetProperties, zesEngineGetProperties)
    SET(pfnGetActivity, zesEngineGetActivity))
TABLE(zesGetStandbyProcAddrTable, zes_standby_dditable_t, )
TABLE(zesGetFirmwareProcAddrTable, zes_firmware_dditable_t, )
TABLE(zesGetMemoryProcAddrTable, zes_memory_dditable_t,
    SET(pfnGetProperties, zesMemoryGetProperties)
    SET(pfnGetState, zesMemoryGetState))
TABLE(zesGetFabricPortProcAddrTable, zes_fabric_port_dditable_t, )
TABLE(zesGetTemperatureProcAddrTable, zes_temperature_dditable_t,
    SET(pfnGetProperties, zesTemperatureGetProperties)
    SET(pfnGetState, zesTemperatureGetState))
TABLE(zesGetPsuProcAddrTable, zes_psu_dditable_t, )
TABLE(zesGetFanProcAddrTable, zes_fan_dditable_t, )
TABLE(zesGetLedProcAddrTable, zes_led_dditable_t, )
TABLE(zesGetRasProcAddrTable, zes_ras_dditable_t, )
TABLE(zesGetDiagnosticsProcAddrTable, zes_diagnostics_dditable_t, )
/* clang-format on */
