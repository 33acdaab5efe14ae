/* report.h: devices and backends as JSON, for the commands that list them. */
#ifndef AIOS_TOOLS_REPORT_H
#define AIOS_TOOLS_REPORT_H

#include <aios/device.h>
#include <jansson.h>

json_t *report_device(const aios_device_entry *device);
enum { REPORT_GPUS = 1, REPORT_CPUS = 2 };
json_t *report_devices(const aios_device_list *list, int which); /* REPORT_…, added up */
json_t *report_backends(const aios_device_list *list);

#endif
