#include "defects.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

aios_gpu_device defective;
const aios_gpu_device *real;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static aios_status free_is_constant(void *device, uint64_t *free_bytes, uint64_t *total)
{
    aios_status status = real->get_memory_info(device, free_bytes, total);
    *free_bytes = *total;
    return status;
}

static aios_status more_free_than_there_is(void *device, uint64_t *free_bytes, uint64_t *total)
{
    aios_status status = real->get_memory_info(device, free_bytes, total);
    *free_bytes = *total + 1;
    return status;
}

static void keep_memory(void *device, void *pointer)
{
    (void)device;
    (void)pointer;
}

static aios_status alloc_misaligned(void *device, uint64_t size, void **pointer)
{
    aios_status status = real->alloc(device, size > UINT64_MAX - 64 ? size : size + 64, pointer);
    if (status == AIOS_OK) *pointer = (char *)*pointer + 32;
    return status;
}

static void free_misaligned(void *device, void *pointer)
{
    real->free(device, (char *)pointer - 32);
}

static aios_status wrong_oom_code(void *device, uint64_t size, void **pointer)
{
    aios_status status = real->alloc(device, size, pointer);
    return status == AIOS_DEVICE_OUT_OF_MEMORY ? AIOS_DEVICE_ERROR : status;
}

static aios_status alignment_unknown(void *device, aios_device_info *info)
{
    aios_status status = real->get_info(device, info);
    info->alignment = 0;
    return status;
}

/* ---- copies and fills -------------------------------------------------------------------------------------------- */

static aios_status copy_drops_last_byte(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    return real->copy(device, stream, to, from, size > 4096 && size % 4 ? size - 1 : size, kind);
}

static aios_status copy_writes_too_much(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    return real->copy(device, stream, to, from, kind == AIOS_COPY_DEVICE_TO_DEVICE && size % 4 ? (size + 3) / 4 * 4 : size, kind);
}

static aios_status fill_spoils_tail(void *device, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    aios_status status = real->fill(device, stream, to, pattern, size);
    if (status != AIOS_OK || size % 16 == 0) return status;
    return real->fill(device, stream, (char *)to + size - 4, pattern & 0xffu, 4);
}

static aios_status fill_repeats_byte(void *device, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    return real->fill(device, stream, to, (pattern & 0xffu) * 0x01010101u, size);
}

static aios_status peer_drops_last_byte(void *device, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    return real->copy_peer(device, stream, to, other, from, size - 1);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static aios_status do_not_wait(void *device)
{
    (void)device;
    return AIOS_OK;
}

static aios_status do_not_wait_for(void *device, void *stream_or_event)
{
    (void)device;
    (void)stream_or_event;
    return AIOS_OK;
}

static aios_status ignore_event(void *device, void *stream, void *event)
{
    (void)device;
    (void)stream;
    (void)event;
    return AIOS_OK;
}

/* Only the first recording of an event counts. */
static aios_status record_once(void *device, void *event, void *stream)
{
    static void *seen[4096];
    static int count;
    for (int i = 0; i < count; i++)
        if (seen[i] == event) return AIOS_OK;
    if (count < 4096) seen[count++] = event;
    return real->record_event(device, event, stream);
}

static aios_status microseconds(void *device, void *from, void *to, float *ms)
{
    aios_status status = real->elapsed_ms(device, from, to, ms);
    *ms *= 1000;
    return status;
}

static aios_status never_return(void *device, void *stream)
{
    (void)device;
    (void)stream;
    while (pause() || 1) {
    }
    return AIOS_OK;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static _Atomic(const aios_kernel *) kernels;

static aios_status keep_kernels(void *device, const aios_kernel *table, uint32_t count)
{
    kernels = table;
    return real->load_kernels(device, table, count);
}

uint32_t find_kernel(const char *name)
{
    const aios_kernel *table = atomic_load(&kernels);
    uint32_t i = 0;
    while (strcmp(table[i].name, name) != 0) i++;
    return i;
}

/* Launches with one value of one kernel changed. */
static aios_status launch_changed(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments,
                                  const char *name, const char *argument, void (*change)(void *value))
{
    const void *changed[24];
    unsigned char value[8];
    const aios_kernel *k = &kernels[kernel];
    if (strcmp(k->name, name) != 0) return real->launch(device, stream, kernel, teams, arguments);
    for (uint32_t i = 0; i < k->argument_count; i++) {
        changed[i] = arguments[i];
        if (strcmp(k->arguments[i].name, argument) != 0) continue;
        memcpy(value, arguments[i], k->arguments[i].size);
        change(value);
        changed[i] = value;
    }
    return real->launch(device, stream, kernel, teams, changed);
}

static void add_a_thousandth(void *value)
{
    *(float *)value *= 1.001f;
}

static void add_one(void *value)
{
    ++*(int32_t *)value;
}

static aios_status wrong_numbers(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    return launch_changed(device, stream, kernel, teams, arguments, "scale_add_f32", "factor", add_a_thousandth);
}

static aios_status writes_outside(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    return launch_changed(device, stream, kernel, teams, arguments, "cast_to_f32_bf16", "n", add_one);
}

/* Reads two bytes of every value of four. */
static aios_status half_of_each_value(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    const void *changed[24];
    uint32_t values[24];
    const aios_kernel *k = &kernels[kernel];
    for (uint32_t i = 0; i < k->argument_count; i++) {
        changed[i] = arguments[i];
        if (k->arguments[i].kind != AIOS_ARG_VALUE || k->arguments[i].size != 4) continue;
        memcpy(&values[i], arguments[i], 4);
        values[i] &= 0xffffu;
        changed[i] = &values[i];
    }
    return real->launch(device, stream, kernel, teams, changed);
}

/* A launch waits, with its caller's pointers, until something else is asked of the stream. */
static struct {
    void *device, *stream;
    uint32_t kernel, teams;
    const void *const *arguments;
} late;

static aios_status flush_late(void)
{
    if (!late.arguments) return AIOS_OK;
    const void *const *arguments = late.arguments;
    late.arguments = NULL;
    return real->launch(late.device, late.stream, late.kernel, late.teams, arguments);
}

static aios_status launch_late(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    static const void *kept[24];
    aios_status status = flush_late();
    memcpy(kept, arguments, kernels[kernel].argument_count * sizeof kept[0]);
    late.device = device, late.stream = stream, late.kernel = kernel, late.teams = teams, late.arguments = kept;
    return status;
}

static aios_status copy_after_late(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    aios_status status = flush_late();
    return status == AIOS_OK ? real->copy(device, stream, to, from, size, kind) : status;
}

/* A module without one kernel: every launch of it does nothing. */
static aios_status skip_kernel(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    return strcmp(kernels[kernel].name, "adamw_f16") == 0 ? AIOS_OK : real->launch(device, stream, kernel, teams, arguments);
}

static aios_status one_team_only(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    if (teams == 1000) return AIOS_OK;
    return real->launch(device, stream, kernel, teams, arguments);
}

static aios_status crash(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    if (strcmp(kernels[kernel].name, "rope_f32") == 0) abort();
    return real->launch(device, stream, kernel, teams, arguments);
}

/* Stops after the fifth step: no case of one kernel sees it, a curve does. */
static aios_status tires(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    static int adamw;
    if (strcmp(kernels[kernel].name, "adamw_f32") == 0 && ++adamw > 5) return AIOS_OK;
    return real->launch(device, stream, kernel, teams, arguments);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static aios_status replay_nothing(void *device, void *stream, void *recording)
{
    (void)device;
    (void)stream;
    (void)recording;
    return AIOS_OK;
}

static aios_status begin_nothing(void *device, void *stream)
{
    (void)device;
    (void)stream;
    return AIOS_OK;
}

static aios_status end_nothing(void *device, void *stream, void **recording)
{
    (void)stream;
    *recording = device;
    return AIOS_OK;
}

static aios_capture_group capture_group;

static aios_status impossible_telemetry(void *device, aios_telemetry *telemetry)
{
    (void)device;
    telemetry->utilisation = 400;
    return AIOS_OK;
}

static aios_status telemetry_not_a_number(void *device, aios_telemetry *telemetry)
{
    (void)device;
    telemetry->power = NAN;
    return AIOS_OK;
}

static aios_telemetry_group telemetry_group = {sizeof telemetry_group, 0, NULL};

/* ---- by name ----------------------------------------------------------------------------------------------------- */

static void choose_group(const char *name, aios_gpu_device *table)
{
    if (strncmp(name, "gemm", 4) == 0) {
        defective.load_kernels = keep_kernels;
        table->gemm = defect_gemm(name);
    } else if (strncmp(name, "capture", 7) == 0) {
        capture_group = *real->capture;
        capture_group.replay = replay_nothing;
        if (strcmp(name, "capture_runs_at_once") == 0)
            capture_group.begin = begin_nothing, capture_group.end = end_nothing, capture_group.destroy = keep_memory;
        table->capture = &capture_group;
    } else if (strncmp(name, "telemetry", 9) == 0) {
        telemetry_group.read = strcmp(name, "telemetry_nan") == 0 ? telemetry_not_a_number : impossible_telemetry;
        table->telemetry = &telemetry_group;
    }
}

#define ENTRY(defect, function, replacement)                                                                                               \
    if (strcmp(name, defect) == 0) defective.function = replacement, found = 1

int defect_choose(const char *name, const aios_gpu_device *within, aios_gpu_device *table)
{
    static const char *const groups[] = {"capture_replays_nothing", "capture_runs_at_once", "telemetry_400", "telemetry_nan"};
    int found = strcmp(name, "none") == 0;
    real = within;
    ENTRY("free_is_constant", get_memory_info, free_is_constant);
    ENTRY("more_free_than_total", get_memory_info, more_free_than_there_is);
    ENTRY("free_keeps", free, keep_memory);
    ENTRY("misaligned", alloc, alloc_misaligned);
    ENTRY("misaligned", free, free_misaligned);
    ENTRY("wrong_oom_code", alloc, wrong_oom_code);
    ENTRY("alignment_unknown", get_info, alignment_unknown);
    ENTRY("copy_drops_last_byte", copy, copy_drops_last_byte);
    ENTRY("copy_writes_too_much", copy, copy_writes_too_much);
    ENTRY("fill_spoils_tail", fill, fill_spoils_tail);
    ENTRY("fill_repeats_byte", fill, fill_repeats_byte);
    ENTRY("peer_drops_last_byte", copy_peer, peer_drops_last_byte);
    ENTRY("synchronize_returns_early", synchronize, do_not_wait);
    ENTRY("synchronize_stream_returns_early", synchronize_stream, do_not_wait_for);
    ENTRY("synchronize_event_returns_early", synchronize_event, do_not_wait_for);
    ENTRY("wait_event_ignored", wait_event, ignore_event);
    ENTRY("event_records_once", record_event, record_once);
    ENTRY("elapsed_in_microseconds", elapsed_ms, microseconds);
    ENTRY("hangs", synchronize_stream, never_return);
    ENTRY("wrong_numbers", launch, wrong_numbers);
    ENTRY("writes_outside", launch, writes_outside);
    ENTRY("half_of_each_value", launch, half_of_each_value);
    ENTRY("arguments_read_late", launch, launch_late);
    ENTRY("arguments_read_late", copy, copy_after_late);
    ENTRY("skips_a_kernel", launch, skip_kernel);
    ENTRY("drops_many_teams", launch, one_team_only);
    ENTRY("crashes", launch, crash);
    ENTRY("tires", launch, tires);
    if (defective.launch) defective.load_kernels = keep_kernels;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) found |= strcmp(name, groups[i]) == 0;
    choose_group(name, table);
    return found || (strncmp(name, "gemm", 4) == 0 && table->gemm);
}
