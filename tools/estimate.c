/* aios estimate. */
#include "output.h"
#include "tool.h"

#include <aios/estimate.h>

#include <stdlib.h>
#include <string.h>

#define DEVICES_BESIDE 5 /* that a table has */

enum { OWN_MEMORY }; /* the order of estimate_flags */

/* "24GiB", "512 MiB", "2TiB", a number of bytes.  0: it is none. */
static uint64_t read_size(const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1}, {"B", 1}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
    char *end;
    double number = strtod(text, &end);
    while (*end == ' ') end++;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcmp(end, units[i].name) == 0 && end != text && number > 0 && number * units[i].bytes < 1e18)
            return (uint64_t)(number * units[i].bytes);
    return 0;
}

static aios_device_estimate device_at(const aios_estimate *estimate, uint32_t index)
{
    aios_device_estimate d = {.struct_size = sizeof d};
    (void)aios_estimate_device(estimate, index, &d); /* it is one of them */
    return d;
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t offset;
} parts[] = {{"parameters", offsetof(aios_device_estimate, parameters)}, {"gradients", offsetof(aios_device_estimate, gradients)},
             {"optimizer", offsetof(aios_device_estimate, optimizer)},   {"activations", offsetof(aios_device_estimate, activations)},
             {"workspace", offsetof(aios_device_estimate, workspace)},   {"exchange", offsetof(aios_device_estimate, exchange)},
             {"evaluation", offsetof(aios_device_estimate, evaluation)}, {"total", offsetof(aios_device_estimate, total)},
             {"there is", offsetof(aios_device_estimate, memory)},       {"host", offsetof(aios_device_estimate, host)}};

static uint64_t part_of(const aios_device_estimate *d, size_t part)
{
    uint64_t bytes;
    memcpy(&bytes, (const char *)d + parts[part].offset, sizeof bytes);
    return bytes;
}

/* Devices [first, first + count) beside each other. */
static void print_table(const aios_estimate *estimate, uint32_t first, uint32_t count)
{
    struct grid grid = {.columns = (int)count + 1};
    aios_device_estimate devices[DEVICES_BESIDE];
    char numbers[DEVICES_BESIDE][NUMBER_SIZE];
    const char *cells[DEVICES_BESIDE + 1] = {""};
    for (uint32_t i = 0; i < count; i++) {
        devices[i] = device_at(estimate, first + i);
        cells[i + 1] = devices[i].spec;
    }
    grid_add_cells(&grid, cells, (int)count + 1);
    for (size_t part = 0; part < COUNT_OF(parts); part++) {
        cells[0] = parts[part].name;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t bytes = part_of(&devices[i], part);
            cells[i + 1] = bytes ? show_bytes(bytes, numbers[i]) : "-";
        }
        grid_add_cells(&grid, cells, (int)count + 1);
    }
    grid_print(&grid, stdout);
    grid_free(&grid);
}

static void print_text(const aios_estimate *estimate)
{
    char number[NUMBER_SIZE];
    uint32_t count = aios_estimate_device_count(estimate);
    int64_t largest = aios_estimate_largest_batch(estimate);
    (void)printf("%s parameters, samples of %d tokens\n\n", show_count((int64_t)aios_estimate_parameters(estimate), number),
                 (int)aios_estimate_sequence(estimate));
    for (uint32_t first = 0; first < count; first += DEVICES_BESIDE) {
        if (first) (void)printf("\n");
        print_table(estimate, first, count - first < DEVICES_BESIDE ? count - first : DEVICES_BESIDE);
    }
    (void)printf("\n");
    for (uint32_t i = 0; i < count; i++) {
        aios_device_estimate d = device_at(estimate, i);
        if (d.assumed) (void)printf("%s is not on this machine: %s is assumed\n", d.spec, d.name);
    }
    if (largest > 0)
        (void)printf("largest batch-size that fits: %lld\n", (long long)largest);
    else
        (void)printf(largest == 0 ? "no batch-size fits\n" : "how much memory there is is not known: name it with --memory\n");
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

static json_t *device_json(const aios_device_estimate *d)
{
    json_t *json = json_pack("{ss so sb}", "device", d->spec, "name", json_from_text(d->name), "assumed", d->assumed);
    static const char *const names[] = {"parameters", "gradients",  "optimizer", "activations", "workspace",
                                        "exchange",   "evaluation", "total",     "memory",      "host"};
    for (size_t part = 0; part < COUNT_OF(parts); part++)
        (void)json_object_set_new(json, names[part], json_integer((json_int_t)part_of(d, part)));
    return json;
}

static void print_object(const aios_estimate *estimate)
{
    json_t *devices = json_array();
    for (uint32_t i = 0; i < aios_estimate_device_count(estimate); i++) {
        aios_device_estimate d = device_at(estimate, i);
        (void)json_array_append_new(devices, device_json(&d));
    }
    int64_t largest = aios_estimate_largest_batch(estimate);
    print_json(json_pack("{sI si so so}", "parameters", (json_int_t)aios_estimate_parameters(estimate), "max_seq_len",
                         (int)aios_estimate_sequence(estimate), "largest_batch_size", largest < 0 ? json_null() : json_integer(largest),
                         "devices", devices),
               stdout);
}

int run_estimate(struct tool *tool)
{
    const char *memory = tool->values[OWN_MEMORY];
    uint64_t bytes = memory ? read_size(memory) : 0;
    aios_estimate *estimate;
    if (memory && !bytes)
        return tool_fail(TOOL_USAGE, "--memory is \"%s\": it must be a size above 0, as in 24GiB, 512MiB or a number of bytes", memory);
    aios_status status = aios_estimate_create(tool->context, tool->options, NULL, bytes, &estimate);
    if (status != AIOS_OK) return tool_fail_open(tool, status);
    if (tool_json(tool))
        print_object(estimate);
    else
        print_text(estimate);
    aios_estimate_destroy(estimate);
    return TOOL_DONE;
}
