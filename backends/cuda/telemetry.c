/* What NVML tells of a device, found there by its PCI address.  Only questions are asked. */
#include "cuda.h"

#include <pthread.h>

struct nvml {
#define SYMBOL PLUGIN_MEMBER
#include "nvml.def"
#undef SYMBOL
};

static struct nvml nvml;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int started;

static aios_status check(int code, const char *call)
{
    enum { NOT_FOUND = 6 };
    if (code == 0) return AIOS_OK;
    return plugin_fail(code == NOT_FOUND ? AIOS_NOT_FOUND : AIOS_UNAVAILABLE, code, "%s: %s (NVML error %d)", call,
                       nvml.nvmlErrorString ? nvml.nvmlErrorString(code) : "failed", code);
}

/* With the mutex held. */
static aios_status start(void)
{
    static const char *const names[] = {"libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1", NULL};
    static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct nvml, need, name)
#include "nvml.def"
#undef SYMBOL
    };
    static const plugin_library library = {"NVML", names, symbols, COUNT_OF(symbols), NULL};
    if (started) return AIOS_OK;
    PLUGIN_TRY(plugin_library_open(&library, &nvml));
    PLUGIN_TRY(check(nvml.nvmlInit_v2(), "nvmlInit"));
    started = 1;
    return AIOS_OK;
}

void cuda_driver_version(char *text, size_t size)
{
    (void)pthread_mutex_lock(&mutex);
    if (start() != AIOS_OK || !nvml.nvmlSystemGetDriverVersion || nvml.nvmlSystemGetDriverVersion(text, (unsigned)size) != 0) text[0] = 0;
    (void)pthread_mutex_unlock(&mutex);
}

static float in_watts(int (*ask)(void *, unsigned *), void *device)
{
    unsigned milliwatts = 0;
    return ask && ask(device, &milliwatts) == 0 ? (float)milliwatts * 1e-3f : -1.0f;
}

static void read_device(void *device, aios_telemetry *telemetry)
{
    enum { SENSOR_GPU = 0 };
    unsigned percent[2] = {0, 0}, celsius = 0; /* percent: of the time that kernels ran, that memory was used */
    telemetry->utilisation = telemetry->temperature = -1.0f;
    if (nvml.nvmlDeviceGetUtilizationRates && nvml.nvmlDeviceGetUtilizationRates(device, percent) == 0)
        telemetry->utilisation = (float)percent[0];
    if (nvml.nvmlDeviceGetTemperature && nvml.nvmlDeviceGetTemperature(device, SENSOR_GPU, &celsius) == 0)
        telemetry->temperature = (float)celsius;
    telemetry->power = in_watts(nvml.nvmlDeviceGetPowerUsage, device);
    telemetry->power_limit = in_watts(nvml.nvmlDeviceGetEnforcedPowerLimit, device);
}

static aios_status read_telemetry(void *device, aios_telemetry *telemetry)
{
    void *found = NULL;
    (void)pthread_mutex_lock(&mutex);
    aios_status status = start();
    if (status == AIOS_OK)
        status =
            check(nvml.nvmlDeviceGetHandleByPciBusId_v2(((cuda_device *)device)->pci_address, &found), "nvmlDeviceGetHandleByPciBusId");
    if (status == AIOS_OK) read_device(found, telemetry);
    (void)pthread_mutex_unlock(&mutex);
    return status;
}

const aios_telemetry_group cuda_telemetry_group = {.struct_size = sizeof cuda_telemetry_group, .read = read_telemetry};
