/* aios resolve. */
#include "output.h"
#include "tool.h"

#include <aios/hardware.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    OWN_BATCH_SIZE,
    OWN_NUM_WORKERS,
    OWN_PRECISION,
    OWN_STRATEGY,
    OWN_KEEP_CPU,
    OWN_OS,
    OWN_SAVE,
    OWN_LOAD
}; /* the order of resolve_flags */

static int read_number(const struct tool *tool, int flag, int32_t *number)
{
    const char *text = tool->values[flag];
    char *end;
    if (!text) return TOOL_DONE;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < 1 || value > INT32_MAX)
        return tool_fail(TOOL_USAGE, "--%s is \"%s\": it must be a whole number from 1 to %ld", tool->command->flags[flag].name, text,
                         (long)INT32_MAX);
    *number = (int32_t)value;
    return TOOL_DONE;
}

/* The arguments as one selection. */
static char *join_arguments(const struct tool *tool)
{
    size_t size = 1;
    for (int i = 0; i < tool->argument_count; i++) size += strlen(tool->arguments[i]) + 1;
    char *text = need_memory(calloc(1, size));
    for (int i = 0; i < tool->argument_count; i++) {
        if (i) strcat(text, ",");
        strcat(text, tool->arguments[i]);
    }
    return text;
}

static void print_line(const char *name, const char *value)
{
    (void)printf("%-22s%s\n", name, value);
}

static void print_devices(const aios_hardware *h)
{
    uint32_t count = aios_hardware_device_count(h);
    for (uint32_t i = 0; i < count && i < 8; i++) {
        const aios_device_entry *device = aios_hardware_device(h, i);
        char line[256];
        (void)snprintf(line, sizeof line, "%s (%s)", device->spec, device->info.name);
        print_line(i ? "" : "devices", line);
    }
    if (count > 8) (void)printf("%-22sand %u more\n", "", (unsigned)count - 8);
}

static void print_text(const aios_hardware *h)
{
    char number[NUMBER_SIZE];
    print_line("accelerator", aios_hardware_accelerator(h));
    print_devices(h);
    print_line("strategy", aios_hardware_strategy(h));
    print_line("precision", aios_hardware_precision(h));
    if (aios_hardware_effective_batch_size(h))
        print_line("effective batch size", show_count(aios_hardware_effective_batch_size(h), number));
    for (uint32_t i = 0; i < aios_hardware_change_count(h); i++) print_line("changed", aios_hardware_change(h, i));
    for (uint32_t i = 0; i < aios_hardware_note_count(h); i++) print_line("note", aios_hardware_note(h, i));
    for (uint32_t i = 0; i < aios_hardware_warning_count(h); i++) print_line("warning", aios_hardware_warning(h, i));
}

static int resolve(struct tool *tool, const aios_hardware_options *options, aios_hardware **hardware)
{
    const char *load = tool->values[OWN_LOAD];
    if (load && tool->argument_count) return tool_fail(TOOL_USAGE, "--load and devices were both given: one of them selects");
    char *selection = join_arguments(tool);
    aios_status status = load ? aios_hardware_load(tool->context, NULL, load, options, hardware)
                              : aios_hardware_resolve(tool->context, NULL, selection, options, hardware);
    free(selection);
    if (status == AIOS_OK) return TOOL_DONE;
    return tool_fail_library(status == AIOS_OUT_OF_MEMORY || status == AIOS_IO ? TOOL_ERROR : TOOL_USAGE);
}

int run_resolve(struct tool *tool)
{
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_hardware *hardware = NULL;
    json_error_t error;
    int code = read_number(tool, OWN_BATCH_SIZE, &options.batch_size);
    if (!code) code = read_number(tool, OWN_NUM_WORKERS, &options.num_workers);
    options.precision = tool->values[OWN_PRECISION];
    options.strategy = tool->values[OWN_STRATEGY];
    options.keep_cpu = (int32_t)(tool->own >> OWN_KEEP_CPU & 1);
    options.os = tool->values[OWN_OS];
    if (!code) code = resolve(tool, &options, &hardware);
    if (!code && tool->values[OWN_SAVE] && aios_hardware_save(hardware, tool->values[OWN_SAVE]) != AIOS_OK)
        code = tool_fail_library(TOOL_ERROR);
    if (!code && tool_json(tool))
        print_json(json_loads(aios_hardware_json(hardware), 0, &error), stdout);
    else if (!code)
        print_text(hardware);
    aios_hardware_destroy(hardware);
    return code;
}
