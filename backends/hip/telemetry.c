/* What ROCm SMI tells of a device, found there by its PCI address.  Only questions are asked. */
#include "hip.h"

#include <pthread.h>

struct smi {
#define SYMBOL PLUGIN_MEMBER
#include "smi.def"
#undef SYMBOL
};

static struct smi smi;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int opened;

static aios_status open_smi(void)
{
    /* ROCm 7, 6 and 5; Debian counts its own way */
    static const char *const names[] = {"librocm_smi64.so.7", "librocm_smi64.so.6", "librocm_smi64.so.5", "librocm_smi64.so.1", NULL};
    static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct smi, need, name)
#include "smi.def"
#undef SYMBOL
    };
    static const plugin_library library = {"ROCm SMI", names, symbols, COUNT_OF(symbols), NULL};
    PLUGIN_TRY(plugin_library_open(&library, &smi));
    int code = smi.rsmi_init(0);
    return code ? plugin_fail(AIOS_UNAVAILABLE, code, "ROCm SMI does not start (rsmi_init: error %d)", code) : AIOS_OK;
}

static aios_status find_device(uint64_t pci, uint32_t *found)
{
    uint32_t count = 0;
    (void)smi.rsmi_num_monitor_devices(&count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t address = 0;
        if (smi.rsmi_dev_pci_id_get(i, &address) != 0) continue;
        /* bits 28 to 31 are the partition, the lowest three the function */
        if ((address & 0xffffffff0000fff8u) != pci) continue;
        *found = i;
        return AIOS_OK;
    }
    return plugin_fail(AIOS_UNAVAILABLE, 0, "ROCm SMI knows %u devices, none at PCI %04x:%02x:%02x", (unsigned)count, (unsigned)(pci >> 32),
                       (unsigned)(pci >> 8 & 0xff), (unsigned)(pci >> 3 & 0x1f));
}

static float read_power(uint32_t device)
{
    uint64_t microwatts = 0;
    int kind = 0;
    if (smi.rsmi_dev_power_get && smi.rsmi_dev_power_get(device, &microwatts, &kind) == 0) return (float)microwatts * 1e-6f;
    if (smi.rsmi_dev_power_ave_get && smi.rsmi_dev_power_ave_get(device, 0, &microwatts) == 0) return (float)microwatts * 1e-6f;
    return -1.0f;
}

static void read_device(uint32_t device, aios_telemetry *telemetry)
{
    enum { SENSOR_EDGE = 0, SENSOR_JUNCTION = 1, METRIC_CURRENT = 0 };
    uint32_t percent = 0;
    uint64_t limit = 0;
    int64_t millidegrees = 0;
    telemetry->utilisation = telemetry->temperature = telemetry->power_limit = -1.0f;
    if (smi.rsmi_dev_busy_percent_get && smi.rsmi_dev_busy_percent_get(device, &percent) == 0) telemetry->utilisation = (float)percent;
    if (smi.rsmi_dev_temp_metric_get && (smi.rsmi_dev_temp_metric_get(device, SENSOR_EDGE, METRIC_CURRENT, &millidegrees) == 0 ||
                                         smi.rsmi_dev_temp_metric_get(device, SENSOR_JUNCTION, METRIC_CURRENT, &millidegrees) == 0))
        telemetry->temperature = (float)millidegrees * 1e-3f;
    telemetry->power = read_power(device);
    if (smi.rsmi_dev_power_cap_get && smi.rsmi_dev_power_cap_get(device, 0, &limit) == 0) telemetry->power_limit = (float)limit * 1e-6f;
}

static aios_status read_telemetry(void *device, aios_telemetry *telemetry)
{
    uint32_t found = 0;
    aios_status status = AIOS_OK;
    (void)pthread_mutex_lock(&mutex);
    if (!opened) {
        status = open_smi();
        opened = status == AIOS_OK;
    }
    if (status == AIOS_OK) status = find_device(((hip_device *)device)->pci, &found);
    if (status == AIOS_OK) read_device(found, telemetry);
    (void)pthread_mutex_unlock(&mutex);
    return status;
}

const aios_telemetry_group hip_telemetry_group = {.struct_size = sizeof hip_telemetry_group, .read = read_telemetry};
