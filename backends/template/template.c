/* template.c: a whole backend, and how to write one.
 *
 * Copy this folder, rename it (backends/README.md has the two commands) and replace, from top to bottom, what is done in host memory by
 * calls of your device's runtime.  As it stands it is complete and passes aios-conformance: its "device" is the host's memory behind a
 * driver of worker threads (driver.h), its kernels are the C11 form of kernels/.  So after every function that you have filled you can
 * judge what you have.
 *
 * What the host does for you: arguments are checked, memory is pooled, a device that failed is not called again.  What you promise:
 * the order of each stream, every byte where it belongs, true numbers, and a sentence for every failure. */
#include "driver.h"
#include "kernels.h"
#include "plugin.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT     256u                /* of what alloc returns: at least 64 */
#define MEMORY_TOTAL  ((uint64_t)4 << 30) /* a real device is asked for this */
#define MAX_ARGUMENTS 24                  /* of one kernel */

typedef struct device {
    driver_device *driver;
    _Atomic uint64_t used;        /* bytes of device memory */
    const aios_kernel *kernels;   /* the host's table: it lives as long as the process */
    const template_kernel **ours; /* for each kernel of that table, the one in our module */
    uint32_t kernel_count;
} device;

/* One sentence that names what was asked for; the vendor's own code goes in where it has one. */
static aios_status no_host_memory(const char *what)
{
    return plugin_fail(AIOS_OUT_OF_MEMORY, 0, "%s: the host has no memory or thread left", what);
}

/* ---- device ------------------------------------------------------------------------------------------------------ */

/* Here a real backend opens its vendor's library (plugin_library_open of plugin.h) and, where the driver is missing, returns
 * AIOS_UNAVAILABLE with a sentence that names the file: that is an answer, no failure.  Zero devices is an answer too. */
static aios_status template_device_count(int32_t *count)
{
    *count = 1;
    return AIOS_OK;
}

static aios_status template_open(int32_t index, void **handle)
{
    (void)index; /* there is one */
    device *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    if (driver_device_create(&made->driver)) {
        plugin_free(made);
        return no_host_memory("opening the device");
    }
    *handle = made;
    return AIOS_OK;
}

static void template_close(void *handle)
{
    device *d = handle;
    driver_device_destroy(d->driver);
    plugin_free(d->ours);
    plugin_free(d);
}

/* info arrives zeroed with its size; what a device can't tell stays 0 or "". */
static aios_status template_get_info(void *handle, aios_device_info *info)
{
    (void)handle;
    info->kind = AIOS_DEVICE_INTEGRATED;
    (void)snprintf(info->name, sizeof info->name, "Template device");
    (void)snprintf(info->vendor, sizeof info->vendor, "Nobody");
    (void)snprintf(info->architecture, sizeof info->architecture, "c11");
    info->memory_total = MEMORY_TOTAL;
    info->alignment = ALIGNMENT;
    info->compute_units = 1;
    info->teams = 4; /* enough to fill the device: several per compute unit */
    info->team_size = 1;
    info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    info->host_accessible = 0; /* 1 only where the CPU may use addresses of alloc as they are */
    return AIOS_OK;
}

/* Honest numbers: free goes down by what alloc gives and comes back; the trainer and the reader of an error rely on them. */
static aios_status template_get_memory_info(void *handle, uint64_t *free_bytes, uint64_t *total_bytes)
{
    device *d = handle;
    *free_bytes = MEMORY_TOTAL - atomic_load(&d->used);
    *total_bytes = MEMORY_TOTAL;
    return AIOS_OK;
}

/* Runtimes with a "current device" per thread set it here, and at the start of every other call. */
static aios_status template_set_device(void *handle)
{
    (void)handle;
    return AIOS_OK;
}

static aios_status template_synchronize(void *handle)
{
    driver_device_wait(((device *)handle)->driver);
    return AIOS_OK;
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

static aios_status template_create_stream(void *handle, void **stream)
{
    device *d = handle;
    return driver_stream_create(d->driver, (driver_stream **)stream) ? no_host_memory("creating a stream") : AIOS_OK;
}

static void template_destroy_stream(void *handle, void *stream)
{
    (void)handle;
    driver_stream_destroy(stream);
}

/* Returns when everything that was submitted before is done, and tells of a failure of any of it (AIOS_DEVICE_ERROR, AIOS_DEVICE_LOST). */
static aios_status template_synchronize_stream(void *handle, void *stream)
{
    (void)handle;
    driver_stream_wait(stream);
    return AIOS_OK;
}

static aios_status template_create_event(void *handle, void **event)
{
    (void)handle;
    return driver_event_create((driver_event **)event) ? no_host_memory("creating an event") : AIOS_OK;
}

/* The host destroys an event right after wait_event: what was submitted must still find it. */
static void template_destroy_event(void *handle, void *event)
{
    (void)handle;
    driver_event_release(event);
}

static aios_status template_record_event(void *handle, void *event, void *stream)
{
    (void)handle;
    return driver_event_record(event, stream) ? no_host_memory("recording an event") : AIOS_OK;
}

static aios_status template_wait_event(void *handle, void *stream, void *event)
{
    (void)handle;
    return driver_stream_wait_event(stream, event) ? no_host_memory("waiting for an event") : AIOS_OK;
}

static aios_status template_synchronize_event(void *handle, void *event)
{
    (void)handle;
    driver_event_wait(event);
    return AIOS_OK;
}

static aios_status template_elapsed_ms(void *handle, void *from, void *to, float *ms)
{
    (void)handle;
    *ms = (float)((driver_event_time(to) - driver_event_time(from)) * 1e3);
    return AIOS_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* One block of "device" memory; its size stands before it, since free is not told. */
static aios_status template_alloc(void *handle, uint64_t size, void **pointer)
{
    device *d = handle;
    uint64_t whole = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, before = atomic_load(&d->used);
    do {
        if (size > MEMORY_TOTAL || whole > MEMORY_TOTAL - before)
            return plugin_fail(AIOS_DEVICE_OUT_OF_MEMORY, 0, "%llu bytes were asked for, %llu of %llu are free", (unsigned long long)size,
                               (unsigned long long)(MEMORY_TOTAL - before), (unsigned long long)MEMORY_TOTAL);
    } while (!atomic_compare_exchange_weak(&d->used, &before, before + whole));
    unsigned char *block = aligned_alloc(ALIGNMENT, whole + ALIGNMENT);
    if (!block) {
        (void)atomic_fetch_sub(&d->used, whole);
        return plugin_fail(AIOS_DEVICE_OUT_OF_MEMORY, 0, "the system has no %llu bytes", (unsigned long long)size);
    }
    memcpy(block, &whole, sizeof whole);
    *pointer = block + ALIGNMENT;
    return AIOS_OK;
}

static void template_free(void *handle, void *pointer)
{
    device *d = handle;
    uint64_t whole;
    unsigned char *block = (unsigned char *)pointer - ALIGNMENT;
    memcpy(&whole, block, sizeof whole);
    (void)atomic_fetch_sub(&d->used, whole);
    free(block);
}

/* Memory of the host that the device reaches without a detour ("pinned"); ordinary memory where there is no such thing. */
static aios_status template_host_alloc(void *handle, uint64_t size, void **pointer)
{
    (void)handle;
    *pointer = aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return *pointer ? AIOS_OK : no_host_memory("taking host memory");
}

static void template_host_free(void *handle, void *pointer)
{
    (void)handle;
    free(pointer);
}

struct copy_work {
    void *to;
    const void *from;
    uint64_t size;
};

static void run_copy(void *work)
{
    const struct copy_work *w = work;
    memcpy(w->to, w->from, w->size);
}

/* Any size, any byte offset.  Host memory may be ordinary or of host_alloc. */
static aios_status template_copy(void *handle, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    struct copy_work work = {to, from, size};
    (void)handle;
    (void)kind;
    return driver_submit(stream, run_copy, &work, sizeof work) ? no_host_memory("copying") : AIOS_OK;
}

struct fill_work {
    unsigned char *to;
    uint32_t pattern;
    uint64_t size;
};

static void run_fill(void *work)
{
    const struct fill_work *w = work;
    for (uint64_t i = 0; i < w->size; i += sizeof w->pattern) memcpy(w->to + i, &w->pattern, sizeof w->pattern);
}

static aios_status template_fill(void *handle, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    struct fill_work work = {to, pattern, size};
    (void)handle;
    return driver_submit(stream, run_fill, &work, sizeof work) ? no_host_memory("filling") : AIOS_OK;
}

/* Leave it NULL where devices don't reach one another: the host then goes by way of its own memory. */
static aios_status template_copy_peer(void *handle, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    (void)other;
    return template_copy(handle, stream, to, from, size, AIOS_COPY_DEVICE_TO_DEVICE);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

static const template_kernel *find_kernel(const char *name)
{
    for (uint32_t i = 0; i < template_kernel_count; i++)
        if (strcmp(template_kernels[i].name, name) == 0) return &template_kernels[i];
    return NULL;
}

/* Host and module may come from different versions of kernels.def: better to say so here than to compute nonsense. */
static aios_status check_kernel(const aios_kernel *wanted, const template_kernel *ours)
{
    if (!ours)
        return plugin_fail(AIOS_UNSUPPORTED, 0, "this backend was built without the kernel %s: build it with the host's kernels",
                           wanted->name);
    int same = wanted->argument_count == ours->argument_count && ours->argument_count <= MAX_ARGUMENTS;
    for (uint32_t i = 0; same && i < ours->argument_count; i++) same = wanted->arguments[i].size == ours->sizes[i];
    return same ? AIOS_OK
                : plugin_fail(AIOS_ABI_MISMATCH, 0,
                              "kernel %s takes other arguments here than the host gives: build this backend with the host's kernels",
                              wanted->name);
}

static aios_status template_load_kernels(void *handle, const aios_kernel *kernels, uint32_t count)
{
    device *d = handle;
    d->ours = plugin_alloc(count * sizeof *d->ours);
    if (!d->ours) return AIOS_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        d->ours[i] = find_kernel(kernels[i].name);
        PLUGIN_TRY(check_kernel(&kernels[i], d->ours[i]));
    }
    d->kernels = kernels;
    d->kernel_count = count;
    return AIOS_OK;
}

struct launch_work {
    const template_kernel *kernel;
    uint32_t teams;
    uint64_t values[MAX_ARGUMENTS];
};

static void run_launch(void *work)
{
    const struct launch_work *w = work;
    const void *arguments[MAX_ARGUMENTS];
    for (uint32_t i = 0; i < w->kernel->argument_count; i++) arguments[i] = &w->values[i];
    for (uint32_t team = 0; team < w->teams; team++) w->kernel->run((int32_t)team, (int32_t)w->teams, arguments);
}

/* The values are the caller's only until launch returns, so they are copied; each has the size that the table says. */
static aios_status template_launch(void *handle, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    const device *d = handle;
    struct launch_work work = {.kernel = d->ours[kernel], .teams = teams};
    for (uint32_t i = 0; i < work.kernel->argument_count; i++) memcpy(&work.values[i], arguments[i], work.kernel->sizes[i]);
    return driver_submit(stream, run_launch, &work, sizeof work) ? no_host_memory(work.kernel->name) : AIOS_OK;
}

/* ---- an optional group: recordings ------------------------------------------------------------------------------- */

static aios_status template_capture_begin(void *handle, void *stream)
{
    (void)handle;
    return driver_capture_begin(stream) ? no_host_memory("beginning a recording") : AIOS_OK;
}

static aios_status template_capture_end(void *handle, void *stream, void **recording)
{
    (void)handle;
    return driver_capture_end(stream, (driver_recording **)recording)
               ? plugin_fail(AIOS_WRONG_STATE, 0, "a recording is ended that was not begun")
               : AIOS_OK;
}

static aios_status template_replay(void *handle, void *stream, void *recording)
{
    (void)handle;
    return driver_replay(stream, recording) ? no_host_memory("replaying") : AIOS_OK;
}

static void template_recording_destroy(void *handle, void *recording)
{
    (void)handle;
    driver_recording_destroy(recording);
}

static const aios_capture_group capture = {
    sizeof capture, 0, template_capture_begin, template_capture_end, template_replay, template_recording_destroy};

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* Groups that are missing (gemm, attention, collectives, telemetry) are NULL: the host then uses its portable kernels. */
static const aios_gpu_device table = {
    .struct_size = sizeof table,
    .open = template_open,
    .close = template_close,
    .get_info = template_get_info,
    .get_memory_info = template_get_memory_info,
    .set_device = template_set_device,
    .synchronize = template_synchronize,
    .create_stream = template_create_stream,
    .destroy_stream = template_destroy_stream,
    .synchronize_stream = template_synchronize_stream,
    .create_event = template_create_event,
    .destroy_event = template_destroy_event,
    .record_event = template_record_event,
    .wait_event = template_wait_event,
    .synchronize_event = template_synchronize_event,
    .elapsed_ms = template_elapsed_ms,
    .alloc = template_alloc,
    .free = template_free,
    .host_alloc = template_host_alloc,
    .host_free = template_host_free,
    .copy = template_copy,
    .fill = template_fill,
    .copy_peer = template_copy_peer,
    .load_kernels = template_load_kernels,
    .launch = template_launch,
    .capture = &capture,
};

static const aios_backend backend = {
    .struct_size = sizeof backend,
    .abi = AIOS_BACKEND_ABI,
    .name = "template",
    .vendor = "Nobody",
    .version = PLUGIN_VERSION,
    .device_count = template_device_count,
    .device = &table,
};

aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **found);

/* The one symbol that a plugin exports. */
__attribute__((visibility("default"))) aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host,
                                                                      const aios_backend **found)
{
    PLUGIN_TRY(plugin_begin(host_abi, host));
    *found = &backend;
    return AIOS_OK;
}
