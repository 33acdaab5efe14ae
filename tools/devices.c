/* aios devices, aios list-gpus. */
#include "output.h"
#include "report.h"
#include "tool.h"

#include <aios/device.h>

#include <string.h>

static int is_gpu(const aios_device_entry *device)
{
    return device->info.kind != AIOS_DEVICE_CPU;
}

json_t *report_device(const aios_device_entry *device)
{
    static const char *const kinds[] = {"discrete", "integrated", "cpu"}, *const types[] = {"f32", "bf16", "f16"};
    const aios_device_info *info = &device->info;
    json_t *storage = need_memory(json_array());
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (info->storage_types >> i & 1) (void)json_array_append_new(storage, json_string(types[i]));
    size_t kind = (size_t)info->kind < COUNT_OF(kinds) ? (size_t)info->kind : 0;
    json_t *id = device->id >= 0 ? json_integer(device->id) : json_null();
    return need_memory(json_pack("{ss so ss ss so so so so so so sI sI si so}", "device", device->spec, "id", id, "backend", info->backend,
                                 "kind", kinds[kind], "vendor", json_from_text(info->vendor), "name", json_from_text(info->name),
                                 "architecture", json_from_text(info->architecture), "driver", json_from_text(info->driver_version), "pci",
                                 json_from_text(info->pci_address), "uuid", json_from_text(info->uuid), "memory_total",
                                 (json_int_t)info->memory_total, "memory_free", (json_int_t)device->memory_free, "compute_units",
                                 info->compute_units, "storage_types", storage));
}

json_t *report_devices(const aios_device_list *list, int gpus_only)
{
    json_t *devices = need_memory(json_array());
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        const aios_device_entry *device = aios_device_list_get(list, i);
        if (!gpus_only || is_gpu(device)) (void)json_array_append_new(devices, report_device(device));
    }
    return devices;
}

json_t *report_backends(const aios_device_list *list)
{
    json_t *backends = need_memory(json_array());
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++) {
        const aios_backend_entry *b = aios_device_list_get_backend(list, i);
        (void)json_array_append_new(backends,
                                    json_pack("{so sb ss so si so so}", "name", json_from_text(b->name), "usable", b->status == AIOS_OK,
                                              "status", aios_status_name(b->status), "reason", json_from_text(b->reason), "devices",
                                              b->device_count, "version", json_from_text(b->version), "path", json_from_text(b->path)));
    }
    return backends;
}

int run_devices(struct tool *tool)
{
    aios_device_list *list;
    struct grid grid = {0, 0, 0, NULL};
    if (aios_device_list_create(tool->context, &list) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    uint32_t count = aios_device_list_count(list);
    if (tool_json(tool)) {
        print_json(json_pack("{so so}", "devices", report_devices(list, 0), "backends", report_backends(list)), stdout);
    } else {
        grid_add(&grid, "Device", "Vendor", "Model", "Memory", "Free", "Architecture", "Driver");
        for (uint32_t i = 0; i < count; i++) {
            char total[NUMBER_SIZE], free_now[NUMBER_SIZE];
            const aios_device_entry *device = aios_device_list_get(list, i);
            const aios_device_info *info = &device->info;
            grid_add(&grid, device->spec, info->vendor, info->name, show_bytes(info->memory_total, total),
                     show_bytes(device->memory_free, free_now), info->architecture, info->driver_version[0] ? info->driver_version : "-");
        }
        grid_print(&grid, stdout);
        grid_free(&grid);
    }
    aios_device_list_destroy(list);
    return count ? TOOL_DONE : tool_fail(TOOL_NO_DEVICE, "no usable device: see aios doctor");
}

static void print_no_gpu(const aios_device_list *list)
{
    struct grid grid = {0, 0, 0, NULL};
    (void)printf("No GPU that libaios can use.\n");
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++) {
        const aios_backend_entry *b = aios_device_list_get_backend(list, i);
        char name[24];
        if (strcmp(b->name, "cpu") == 0) continue;
        (void)snprintf(name, sizeof name, "  %s", b->name);
        grid_add(&grid, name, b->reason[0] ? b->reason : b->status == AIOS_OK ? "no device" : aios_status_name(b->status));
    }
    if (grid.rows == 0) (void)printf("No GPU backend is installed beside the library, nor named by AIOS_BACKEND_PATH.\n");
    grid_print(&grid, stdout);
    grid_free(&grid);
}

int run_list_gpus(struct tool *tool)
{
    aios_device_list *list;
    struct grid grid = {0, 0, 0, NULL};
    if (aios_device_list_create(tool->context, &list) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    grid_add(&grid, "ID", "Vendor", "Model", "VRAM", "Backend");
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        const aios_device_entry *device = aios_device_list_get(list, i);
        char id[16], memory[NUMBER_SIZE];
        if (!is_gpu(device)) continue;
        (void)snprintf(id, sizeof id, "%d", (int)device->id);
        grid_add(&grid, id, device->info.vendor, device->info.name, show_bytes(device->info.memory_total, memory), device->info.backend);
    }
    if (tool_json(tool))
        print_json(json_pack("{so so}", "gpus", report_devices(list, 1), "backends", report_backends(list)), stdout);
    else if (grid.rows > 1)
        grid_print(&grid, stdout);
    else
        print_no_gpu(list);
    grid_free(&grid);
    aios_device_list_destroy(list);
    return TOOL_DONE;
}
