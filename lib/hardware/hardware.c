#include "hardware.h"

#include "base/float_scope.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- options ----------------------------------------------------------------------------------------------------- */

void aios_hardware_options_init(aios_hardware_options *options)
{
    if (options) *options = (aios_hardware_options)AIOS_HARDWARE_OPTIONS_INIT;
}

const char *platform_find(const char *name)
{
    static const char *const known[][2] = {
        {"linux", "linux"}, {"windows", "windows"}, {"macos", "macos"}, {"win32", "windows"}, {"darwin", "macos"},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcasecmp(known[i][0], name) == 0) return known[i][1];
    return NULL;
}

static aios_status read_strategy(aios_hardware *h, const char *asked)
{
    static const char *const known[][2] = {
        {"ddp", "ddp"}, {"parallel_independent", "parallel_independent"}, {"parallel-independent", "parallel_independent"}};
    if (!asked || strcmp(asked, "auto") == 0) return AIOS_OK;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i][0], asked) == 0) h->asked_strategy = known[i][1];
    if (h->asked_strategy) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "strategy is \"%.64s\": it must be auto, ddp or parallel_independent", asked);
}

static aios_status read_options(aios_hardware *h, const aios_hardware_options *given)
{
    aios_hardware_options o = AIOS_HARDWARE_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_hardware_options", &o, sizeof o, given));
    if (o.os && !platform_find(o.os)) return FAIL(AIOS_INVALID_ARGUMENT, "os is \"%.64s\": it must be linux, windows or macos", o.os);
    if (o.os) h->platform = platform_find(o.os);
    if (o.batch_size < 0)
        return FAIL(AIOS_OUT_OF_RANGE, "batch_size is %d: it must be at least 1, or 0 where it is not known", (int)o.batch_size);
    if (o.num_workers < 0)
        return FAIL(AIOS_OUT_OF_RANGE, "num_workers is %d: it must be at least 1, or 0 where it is not known", (int)o.num_workers);
    h->batch_size = o.batch_size;
    h->num_workers = o.num_workers;
    h->fallback |= o.fallback != 0;
    h->keep_cpu = o.keep_cpu != 0;
    h->precision = o.precision;
    return read_strategy(h, o.strategy);
}

/* ---- an attempt -------------------------------------------------------------------------------------------------- */

static aios_hardware *new_attempt(aios_context *context)
{
    aios_hardware *h = aios_new(context, aios_hardware);
    if (!h) return NULL;
    h->context = aios_context_retain(context);
    h->selection.context = context;
    h->platform = os_name();
    return h;
}

static aios_status apply(aios_hardware *h, const aios_device_list *list)
{
    aios_device_list *own = NULL;
    if (!list) TRY(aios_device_list_create(h->context, &own), "looking for devices");
    aios_status status = hardware_apply(h, list ? list : own);
    aios_device_list_destroy(own);
    return status == AIOS_OK ? hardware_write_json(h) : status;
}

/* Tells the attempt's outcome; a failed one ends here. */
static aios_status conclude(aios_hardware *h, aios_status status, aios_hardware **hardware)
{
    aios_error_record record;
    aios_error_save(&record);
    hardware_emit(h, status != AIOS_OK);
    if (status == AIOS_OK) {
        *hardware = h;
        return AIOS_OK;
    }
    aios_hardware_destroy(h);
    return aios_error_restore(&record);
}

static aios_status check_arguments(const char *function, aios_context *context, aios_hardware **hardware)
{
    if (!hardware) return FAIL(AIOS_INVALID_ARGUMENT, "%s: hardware is NULL: it must be given", function);
    *hardware = NULL;
    return context ? AIOS_OK : FAIL(AIOS_INVALID_ARGUMENT, "%s: context is NULL: it must be given", function);
}

aios_status aios_hardware_resolve(aios_context *context, const aios_device_list *list, const char *selection,
                                  const aios_hardware_options *options, aios_hardware **hardware)
{
    FLOAT_SCOPE;
    TRY_QUIET(check_arguments("aios_hardware_resolve", context, hardware));
    aios_hardware *h = new_attempt(context);
    if (!h) return AIOS_OUT_OF_MEMORY;
    aios_status status = read_options(h, options);
    h->selection.by_default = !selection;
    if (status == AIOS_OK && selection) status = selection_read(&h->selection, selection);
    if (status == AIOS_OK) status = apply(h, list);
    return conclude(h, status, hardware);
}

aios_status aios_hardware_load(aios_context *context, const aios_device_list *list, const char *path, const aios_hardware_options *options,
                               aios_hardware **hardware)
{
    FLOAT_SCOPE;
    TRY_QUIET(check_arguments("aios_hardware_load", context, hardware));
    if (!path) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hardware_load: path is NULL: it must be given");
    aios_hardware *h = new_attempt(context);
    if (!h) return AIOS_OUT_OF_MEMORY;
    h->fallback = 1;
    aios_status status = read_options(h, options);
    if (status == AIOS_OK) status = selection_load(&h->selection, path);
    if (status == AIOS_OK) status = apply(h, list);
    return conclude(h, status, hardware);
}

static void free_lines(aios_context *context, line_list *lines)
{
    for (size_t i = 0; i < lines->count; i++) aios_memory_free(context, lines->lines[i]);
    aios_memory_free(context, lines->lines);
}

void aios_hardware_destroy(aios_hardware *hardware)
{
    if (!hardware) return;
    aios_context *context = hardware->context;
    selection_free(&hardware->selection);
    free_lines(context, &hardware->notes);
    free_lines(context, &hardware->changes);
    aios_memory_free(context, hardware->devices);
    aios_memory_free(context, hardware->json);
    aios_memory_free(context, hardware);
    aios_context_release(context);
}

/* ---- reading it -------------------------------------------------------------------------------------------------- */

const char *aios_hardware_accelerator(const aios_hardware *hardware)
{
    return hardware ? hardware->accelerator : "";
}

const char *aios_hardware_strategy(const aios_hardware *hardware)
{
    return hardware ? hardware->strategy : "";
}

const char *aios_hardware_precision(const aios_hardware *hardware)
{
    return hardware ? hardware->precision : "";
}

const char *aios_hardware_platform(const aios_hardware *hardware)
{
    return hardware ? hardware->platform : "";
}

uint32_t aios_hardware_device_count(const aios_hardware *hardware)
{
    return hardware ? (uint32_t)hardware->device_count : 0;
}

const aios_device_entry *aios_hardware_device(const aios_hardware *hardware, uint32_t index)
{
    return hardware && index < hardware->device_count ? &hardware->devices[index] : NULL;
}

uint32_t aios_hardware_inference_count(const aios_hardware *hardware)
{
    return hardware ? hardware->inference_count : 0;
}

const aios_device_entry *aios_hardware_inference_device(const aios_hardware *hardware, uint32_t index)
{
    return hardware && index < hardware->inference_count ? &hardware->devices[hardware->inference[index]] : NULL;
}

int64_t aios_hardware_effective_batch_size(const aios_hardware *hardware)
{
    return hardware ? hardware->effective_batch_size : 0;
}

int32_t aios_hardware_learning_rate_scale(const aios_hardware *hardware)
{
    return hardware ? hardware->learning_rate_scale : 0;
}

int64_t aios_hardware_loader_workers(const aios_hardware *hardware)
{
    return hardware ? hardware->loader_workers : 0;
}

uint32_t aios_hardware_requested_count(const aios_hardware *hardware)
{
    return hardware ? (uint32_t)hardware->selection.count : 0;
}

const char *aios_hardware_requested(const aios_hardware *hardware, uint32_t index)
{
    return hardware && index < hardware->selection.count ? hardware->selection.devices[index].word : NULL;
}

uint32_t aios_hardware_note_count(const aios_hardware *hardware)
{
    return hardware ? (uint32_t)hardware->notes.count : 0;
}

const char *aios_hardware_note(const aios_hardware *hardware, uint32_t index)
{
    return hardware && index < hardware->notes.count ? hardware->notes.lines[index] : NULL;
}

uint32_t aios_hardware_change_count(const aios_hardware *hardware)
{
    return hardware ? (uint32_t)hardware->changes.count : 0;
}

const char *aios_hardware_change(const aios_hardware *hardware, uint32_t index)
{
    return hardware && index < hardware->changes.count ? hardware->changes.lines[index] : NULL;
}

uint32_t aios_hardware_warning_count(const aios_hardware *hardware)
{
    uint32_t count = 0;
    for (int i = 0; hardware && i < WARNING_COUNT; i++) count += hardware->warned >> i & 1;
    return count;
}

const char *aios_hardware_warning(const aios_hardware *hardware, uint32_t index)
{
    for (int i = 0; hardware && i < WARNING_COUNT; i++)
        if (hardware->warned >> i & 1 && index-- == 0) return warning_token(i);
    return NULL;
}

const char *aios_hardware_json(const aios_hardware *hardware)
{
    return hardware ? hardware->json : "{}";
}
