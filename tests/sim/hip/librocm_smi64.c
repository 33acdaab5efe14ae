/* The stand-in for ROCm SMI: one monitor per simulated device, in another order than HIP's. */
#include "vendor.h"

enum { FIRST_BUS = 0xa3, OK = 0, INVALID = 1 };

VENDOR_API int rsmi_init(uint64_t flags);
VENDOR_API int rsmi_num_monitor_devices(uint32_t *count);
VENDOR_API int rsmi_dev_pci_id_get(uint32_t device, uint64_t *address);
VENDOR_API int rsmi_dev_busy_percent_get(uint32_t device, uint32_t *percent);
VENDOR_API int rsmi_dev_temp_metric_get(uint32_t device, uint32_t sensor, int metric, int64_t *millidegrees);
VENDOR_API int rsmi_dev_power_ave_get(uint32_t device, uint32_t sensor, uint64_t *microwatts);
VENDOR_API int rsmi_dev_power_cap_get(uint32_t device, uint32_t sensor, uint64_t *microwatts);

static uint32_t count(void)
{
    return (uint32_t)vendor_count("hip", NULL);
}

/* Of the simulated device. */
static uint32_t index_of(uint32_t monitor)
{
    return count() - 1 - monitor;
}

int rsmi_init(uint64_t flags)
{
    (void)flags;
    return vendor_call("hip", NULL, "rsmi_init") == VENDOR_OK ? OK : INVALID;
}

int rsmi_num_monitor_devices(uint32_t *devices)
{
    *devices = count();
    return OK;
}

int rsmi_dev_pci_id_get(uint32_t device, uint64_t *address)
{
    if (device >= count()) return INVALID;
    *address = (uint64_t)(FIRST_BUS + index_of(device)) << 8;
    return OK;
}

int rsmi_dev_busy_percent_get(uint32_t device, uint32_t *percent)
{
    *percent = 50 + index_of(device);
    return device < count() ? OK : INVALID;
}

/* As an MI300: no edge sensor. */
int rsmi_dev_temp_metric_get(uint32_t device, uint32_t sensor, int metric, int64_t *millidegrees)
{
    if (sensor != 1 || metric != 0 || device >= count()) return INVALID;
    *millidegrees = 41500 + 1000 * (int64_t)index_of(device);
    return OK;
}

int rsmi_dev_power_ave_get(uint32_t device, uint32_t sensor, uint64_t *microwatts)
{
    if (sensor != 0 || device >= count()) return INVALID;
    *microwatts = 300000000 + 1000000ull * index_of(device);
    return OK;
}

int rsmi_dev_power_cap_get(uint32_t device, uint32_t sensor, uint64_t *microwatts)
{
    if (sensor != 0 || device >= count()) return INVALID;
    *microwatts = 750000000;
    return OK;
}
