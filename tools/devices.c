/* aios devices, aios list-gpus. */
#include "output.h"
#include "report.h"
#include "tool.h"

#include <aios/device.h>

#include <stdlib.h>
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
    json_t *capability = is_gpu(device) ? json_from_text(info->architecture) : json_null();
    return need_memory(json_pack("{so ss ss si so so sI sI so so so so so ss si so}", "id", id, "device", device->spec, "backend",
                                 info->backend, "device_id", info->index, "name", json_from_text(info->name), "vendor",
                                 json_from_text(info->vendor), "vram_total", (json_int_t)info->memory_total, "vram_available",
                                 (json_int_t)device->memory_free, "compute_capability", capability, "architecture",
                                 json_from_text(info->architecture), "pci_address", json_from_text(info->pci_address), "uuid",
                                 json_from_text(info->uuid), "driver_version", json_from_text(info->driver_version), "kind", kinds[kind],
                                 "compute_units", info->compute_units, "storage_types", storage));
}

json_t *report_devices(const aios_device_list *list, int which)
{
    json_t *devices = need_memory(json_array());
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        const aios_device_entry *device = aios_device_list_get(list, i);
        if (which & (is_gpu(device) ? REPORT_GPUS : REPORT_CPUS)) (void)json_array_append_new(devices, report_device(device));
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

/* aios devices --weights */
static void print_weights(const struct tool *tool, const aios_device_list *list)
{
    struct grid grid = {0, 0, 0, NULL};
    json_t *weights = need_memory(json_array());
    grid_add(&grid, "Device", "Vendor", "Memory", "Weight");
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        char total[NUMBER_SIZE], weight[NUMBER_SIZE];
        const aios_device_entry *device = aios_device_list_get(list, i);
        double part = aios_device_list_get_weight(list, i);
        (void)json_array_append_new(weights, json_pack("{ss sf}", "device", device->spec, "weight", part));
        (void)snprintf(weight, sizeof weight, "%.3f", part);
        grid_add(&grid, device->spec, device->info.vendor, show_bytes(device->info.memory_total, total), weight);
    }
    if (tool_json(tool))
        print_json(json_pack("{so}", "weights", json_incref(weights)), stdout);
    else
        grid_print(&grid, stdout);
    json_decref(weights);
    grid_free(&grid);
}

int run_devices(struct tool *tool)
{
    aios_device_list *list;
    struct grid grid = {0, 0, 0, NULL};
    if (aios_device_list_create(tool->context, &list) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    uint32_t count = aios_device_list_count(list);
    if (tool->own) {
        print_weights(tool, list);
    } else if (tool_json(tool)) {
        print_json(json_pack("{so so}", "devices", report_devices(list, REPORT_GPUS | REPORT_CPUS), "backends", report_backends(list)),
                   stdout);
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

/* The name without the vendor's, which has a column of its own: "Intel(R) Arc" -> "Arc". */
static const char *model_name(const aios_device_info *info)
{
    const char *name = info->name;
    size_t length = strlen(info->vendor);
    if (length == 0 || strncmp(name, info->vendor, length) != 0) return name;
    name += length;
    if (strncmp(name, "(R)", 3) == 0) name += 3;
    return *name == ' ' && name[1] ? name + 1 : info->name;
}

/* "24 GiB", "15.9 GiB" */
static const char *show_vram(uint64_t bytes, char to[NUMBER_SIZE])
{
    char *point = strstr(show_bytes(bytes, to), ".0 ");
    if (point) memmove(point, point + 2, strlen(point + 2) + 1);
    return to;
}

/* The variables by which a user shows a vendor's driver some of its devices alone. */
static const char *const masks[] = {"CUDA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
                                    "GPU_DEVICE_ORDINAL"};

static json_t *report_masks(void)
{
    json_t *set = need_memory(json_object());
    for (size_t i = 0; i < COUNT_OF(masks); i++)
        if (getenv(masks[i])) (void)json_object_set_new(set, masks[i], json_from_text(getenv(masks[i])));
    return set;
}

static void print_masks(void)
{
    for (size_t i = 0; i < COUNT_OF(masks); i++)
        if (getenv(masks[i])) (void)printf("%s is \"%s\": numbers count what it shows.\n", masks[i], getenv(masks[i]));
}

/* Devices of a usable backend that are not listed, and why. */
static void print_left_out(const aios_device_list *list)
{
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++) {
        const aios_backend_entry *b = aios_device_list_get_backend(list, i);
        if (b->status == AIOS_OK && b->reason[0]) (void)printf("Left out: %s\n", b->reason);
    }
}

static void print_gpus(const aios_device_list *list)
{
    struct grid grid = {0, 0, 0, NULL};
    grid_add(&grid, "ID", "Vendor", "Model", "VRAM", "Backend");
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        const aios_device_entry *device = aios_device_list_get(list, i);
        char id[16], memory[NUMBER_SIZE];
        if (!is_gpu(device)) continue;
        (void)snprintf(id, sizeof id, "%d", (int)device->id);
        grid_add(&grid, id, device->info.vendor, model_name(&device->info), show_vram(device->info.memory_total, memory),
                 device->info.backend);
    }
    if (grid.rows > 1) {
        grid_print(&grid, stdout);
        print_left_out(list);
    } else {
        print_no_gpu(list);
    }
    grid_free(&grid);
}

int run_list_gpus(struct tool *tool)
{
    aios_device_list *list;
    if (aios_device_list_create(tool->context, &list) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (tool_json(tool)) {
        print_json(json_pack("{so so so so}", "gpus", report_devices(list, REPORT_GPUS), "cpus", report_devices(list, REPORT_CPUS),
                             "backends", report_backends(list), "visibility", report_masks()),
                   stdout);
    } else {
        print_gpus(list);
        print_masks();
    }
    aios_device_list_destroy(list);
    return TOOL_DONE;
}
