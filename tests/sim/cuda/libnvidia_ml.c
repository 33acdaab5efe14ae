/* libnvidia-ml.so.1 on simulated devices: numbers that a test can tell apart. */
#include "sim_cuda.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* nvmlReturn_t */
enum { CODE_SUCCESS = 0, CODE_NOT_FOUND = 6, CODE_GPU_IS_LOST = 15, CODE_UNKNOWN = 999 };

static int enter(vendor_device *device, const char *call)
{
    vendor_status status = vendor_call("cuda", device, call);
    if (status == VENDOR_FAULT && vendor_fault_code()) return vendor_fault_code();
    return status == VENDOR_OK || status == VENDOR_ILLEGAL ? CODE_SUCCESS : status == VENDOR_LOST ? CODE_GPU_IS_LOST : CODE_UNKNOWN;
}

EXPORT int nvmlInit_v2(void)
{
    return enter(NULL, "nvmlInit_v2");
}

EXPORT const char *nvmlErrorString(int code)
{
    return code == CODE_SUCCESS       ? "Success"
           : code == CODE_NOT_FOUND   ? "Not Found"
           : code == CODE_GPU_IS_LOST ? "GPU is lost"
                                      : "Unknown Error";
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    (void)snprintf(text, size, "580.00.00");
    return enter(NULL, "nvmlSystemGetDriverVersion");
}

/* NVML shows every device, whatever CUDA_VISIBLE_DEVICES says. */
EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **handle)
{
    char text[32];
    for (int i = 0; i < vendor_count("cuda", NULL); i++) {
        vendor_device *device = vendor_get("cuda", NULL, i);
        sim_cuda_address(device, text, sizeof text);
        if (strcasecmp(text, address) != 0) continue;
        *handle = device;
        return enter(device, "nvmlDeviceGetHandleByPciBusId_v2");
    }
    return CODE_NOT_FOUND;
}

EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned percent[2])
{
    percent[0] = 50;
    percent[1] = 20;
    return enter(device, "nvmlDeviceGetUtilizationRates");
}

EXPORT int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    *celsius = 40 + (unsigned)vendor_index(device);
    return sensor ? CODE_UNKNOWN : enter(device, "nvmlDeviceGetTemperature");
}

EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts)
{
    *milliwatts = 123000;
    return enter(device, "nvmlDeviceGetPowerUsage");
}

EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *milliwatts)
{
    *milliwatts = 700000;
    return enter(device, "nvmlDeviceGetEnforcedPowerLimit");
}
