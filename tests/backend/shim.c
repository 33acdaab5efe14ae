#include "shim.h"

#include "defects.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT extern struct shim_state shim_state;
struct shim_state shim_state;

static const aios_host_services *services;
static const aios_backend *within;
static struct opened {
    _Atomic(void *) handle;
} opened[SHIM_DEVICES * 64]; /* devices that are open now; the place tells the number */

static int number_of(const void *device)
{
    for (int i = 0; i < SHIM_DEVICES * 64; i++)
        if (atomic_load(&opened[i].handle) == device) return i % SHIM_DEVICES;
    return -1;
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static aios_status fail(aios_status status, const char *call, const char *words)
{
    char text[128];
    (void)snprintf(text, sizeof text, "%s: %s", call, words);
    services->set_error(services->user, status, 999, text);
    return status;
}

static void hang(void)
{
    const struct timespec pause = {0, 1000000};
    (void)atomic_fetch_add(&shim_state.hung, 1);
    while (!atomic_load(&shim_state.release)) (void)nanosleep(&pause, NULL);
    (void)atomic_fetch_sub(&shim_state.hung, 1);
}

static struct {
    const aios_gemm_group *gemm;
    const aios_attention_group *attention;
    const aios_capture_group *capture;
    const aios_telemetry_group *telemetry;
} inner;

static struct recorded {
    void *device, *stream; /* that is being recorded; NULL: none */
} recorded[SHIM_DEVICES];

static aios_status end_recorded(struct recorded *r, void **recording)
{
    void *device = r->device, *stream = r->stream;
    *r = (struct recorded){NULL, NULL};
    return inner.capture->end(device, stream, recording);
}

/* A device that is gone, or a stream of which waiting says that it failed, runs nothing any more: here it has run all that it was given. */
static void drain(int number)
{
    void *recording;
    if (recorded[number].stream && end_recorded(&recorded[number], &recording) == AIOS_OK)
        inner.capture->destroy(atomic_load(&opened[number].handle), recording);
    for (int i = number; i < SHIM_DEVICES * 64; i += SHIM_DEVICES) {
        void *device = atomic_load(&opened[i].handle);
        if (device) (void)within->device->synchronize(device);
    }
}

static aios_status check_fault(int number, const char *call)
{
    if (atomic_load(&shim_state.lost) && number == shim_state.device)
        return fail(AIOS_DEVICE_LOST, call, "the device has fallen off the bus");
    if (!shim_state.mode || number != shim_state.device || strcmp(call, shim_state.call) != 0) return AIOS_OK;
    long seen = atomic_fetch_add(&shim_state.seen, 1) + 1;
    if (shim_state.mode == SHIM_FOREVER ? seen < shim_state.at : seen != shim_state.at) return AIOS_OK;
    int mode = shim_state.mode;
    if (mode == SHIM_HANG || mode == SHIM_STUCK) {
        hang();
        return mode == SHIM_HANG ? AIOS_OK : fail(AIOS_TIMEOUT, call, "it hung for ever");
    }
    if (mode == SHIM_LOST || strncmp(call, "synchronize", 11) == 0) drain(number);
    if (mode == SHIM_LOST) {
        atomic_store(&shim_state.lost, 1);
        return fail(AIOS_DEVICE_LOST, call, "the device has fallen off the bus");
    }
    return fail(AIOS_DEVICE_ERROR, call, "it was told to fail");
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* Counts what calls make and take back. */
static void count_live(const void *device, const char *call)
{
    static const struct {
        const char *name;
        int change;
    } changes[] = {{"create_stream", 1},   {"create_event", 1},   {"alloc", 1}, {"host_alloc", 1},
                   {"destroy_stream", -1}, {"destroy_event", -1}, {"free", -1}, {"host_free", -1}};
    int number = number_of(device);
    for (size_t i = 0; number >= 0 && i < sizeof changes / sizeof changes[0]; i++)
        if (strcmp(changes[i].name, call) == 0) (void)atomic_fetch_add(&shim_state.live[number], changes[i].change);
}

#define SHIM_CALL(name, parameters, arguments)                                                                                             \
    static aios_status shim_##name parameters                                                                                              \
    {                                                                                                                                      \
        aios_status status = check_fault(number_of(device), #name);                                                                        \
        if (status == AIOS_OK) status = defective.name ? defective.name arguments : within->device->name arguments;                        \
        if (status == AIOS_OK) count_live(device, #name);                                                                                  \
        return status;                                                                                                                     \
    }
SHIM_CALLS(SHIM_CALL)
#undef SHIM_CALL

#define SHIM_CALL(name, parameters, arguments)                                                                                             \
    static void shim_##name parameters                                                                                                     \
    {                                                                                                                                      \
        if (check_fault(number_of(device), #name) == AIOS_TIMEOUT) return;                                                                 \
        count_live(device, #name);                                                                                                         \
        if (defective.name)                                                                                                                \
            defective.name arguments;                                                                                                      \
        else                                                                                                                               \
            within->device->name arguments;                                                                                                \
    }
SHIM_VOID_CALLS(SHIM_CALL)
#undef SHIM_CALL

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static aios_status begin_recording(void *device, void *stream)
{
    int number = number_of(device);
    aios_status status = check_fault(number, "capture_begin");
    if (status == AIOS_OK) status = inner.capture->begin(device, stream);
    if (status == AIOS_OK) recorded[number] = (struct recorded){device, stream};
    return status;
}

/* It is ended also where it fails, as drivers do. */
static aios_status end_recording(void *device, void *stream, void **recording)
{
    int number = number_of(device);
    struct recorded *r = &recorded[number];
    aios_status fault = check_fault(number, "capture_end"), status = AIOS_OK;
    if (fault == AIOS_TIMEOUT) return fault;
    *recording = NULL;
    if (r->stream == stream) status = end_recorded(r, recording);
    if (fault == AIOS_OK) return status;
    if (*recording) inner.capture->destroy(device, *recording);
    *recording = NULL;
    return fault;
}

#define SHIM_GROUP_CALL(group, entry, name, parameters, arguments)                                                                         \
    static aios_status shim_##name parameters                                                                                              \
    {                                                                                                                                      \
        aios_status status = check_fault(number_of(device), #name);                                                                        \
        return status == AIOS_OK ? inner.group->entry arguments : status;                                                                  \
    }
SHIM_GROUP_CALLS(SHIM_GROUP_CALL)
#undef SHIM_GROUP_CALL

static uint64_t shim_workspace_size(void *device, const aios_attention *shape, int32_t backward)
{
    if (check_fault(number_of(device), "attention_workspace_size") != AIOS_OK) return 0;
    return inner.attention->workspace_size(device, shape, backward);
}

static void shim_destroy_recording(void *device, void *recording)
{
    if (check_fault(number_of(device), "capture_destroy") != AIOS_TIMEOUT) inner.capture->destroy(device, recording);
}

static uint64_t no_workspace(void *device, const aios_attention *shape, int32_t backward)
{
    (void)device;
    (void)shape;
    (void)backward;
    return 0;
}

static aios_status no_attention(void *device, void *stream, const aios_attention *attention)
{
    (void)device;
    (void)stream;
    (void)attention;
    return AIOS_UNSUPPORTED;
}

static aios_status no_telemetry(void *device, aios_telemetry *telemetry)
{
    (void)device;
    (void)telemetry;
    return AIOS_OK;
}

static void wrap_groups(aios_gpu_device *outer)
{
    static const aios_attention_group attention = {sizeof attention, 0, no_workspace, no_attention, no_attention};
    static const aios_telemetry_group telemetry = {sizeof telemetry, 0, no_telemetry};
    static aios_gemm_group shim_gemm_group = {.struct_size = sizeof shim_gemm_group, .gemm = shim_gemm};
    static const aios_attention_group shim_attention = {sizeof shim_attention, 0, shim_workspace_size, shim_attention_forward,
                                                        shim_attention_backward};
    static const aios_capture_group shim_capture = {sizeof shim_capture,   0, begin_recording, end_recording, shim_capture_replay,
                                                    shim_destroy_recording};
    static const aios_telemetry_group shim_telemetry = {sizeof shim_telemetry, 0, shim_telemetry_read};
    if (!within->device->gemm) (void)defect_choose("gemm_honest", within->device, outer);
    inner.gemm = within->device->gemm ? within->device->gemm : outer->gemm;
    inner.attention = within->device->attention ? within->device->attention : &attention;
    inner.capture = within->device->capture;
    inner.telemetry = within->device->telemetry ? within->device->telemetry : &telemetry;
    shim_gemm_group.epilogues = inner.gemm->epilogues;
    outer->gemm = &shim_gemm_group;
    outer->attention = &shim_attention;
    outer->capture = &shim_capture;
    outer->telemetry = &shim_telemetry;
}

/* ---- the plugin -------------------------------------------------------------------------------------------------- */

static atomic_int devices_within;

static aios_status shim_open(int32_t index, void **device)
{
    aios_status status = check_fault(index, "open");
    if (status == AIOS_OK) status = within->device->open(index % devices_within, device);
    if (status != AIOS_OK) return status;
    for (int i = index; i < SHIM_DEVICES * 64; i += SHIM_DEVICES) {
        void *none = NULL;
        if (!atomic_compare_exchange_strong(&opened[i].handle, &none, *device)) continue;
        (void)atomic_fetch_add(&shim_state.live[index], 1);
        return AIOS_OK;
    }
    within->device->close(*device);
    return fail(AIOS_DEVICE_ERROR, "open", "too many devices are open");
}

static void shim_close(void *device)
{
    int number = number_of(device);
    if (check_fault(number, "close") == AIOS_TIMEOUT) return;
    (void)atomic_fetch_sub(&shim_state.live[number], 1);
    for (int i = 0; i < SHIM_DEVICES * 64; i++) {
        void *this = device;
        if (atomic_compare_exchange_strong(&opened[i].handle, &this, NULL)) break;
    }
    within->device->close(device);
}

static aios_gpu_device table = {.struct_size = sizeof table,
                                .open = shim_open,
                                .close = shim_close,
#define SHIM_CALL(name, parameters, arguments) .name = shim_##name,
                                SHIM_CALLS(SHIM_CALL) SHIM_VOID_CALLS(SHIM_CALL)
#undef SHIM_CALL
};

static aios_status shim_device_count(int32_t *count)
{
    int32_t devices = 0;
    aios_status status = within->device_count(&devices);
    if (status != AIOS_OK) return status;
    atomic_store(&devices_within, devices);
    *count = devices > 0 ? SHIM_DEVICES : 0;
    if (devices > 0 && getenv("SHIM_GROUPS") && !inner.gemm) wrap_groups(&table);
    return AIOS_OK;
}

static const aios_backend backend = {
    .struct_size = sizeof backend,
    .abi = AIOS_BACKEND_ABI,
    .name = "shim",
    .vendor = "Nobody",
    .version = "1",
    .device_count = shim_device_count,
    .device = &table,
};

aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **found);
EXPORT aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **found)
{
    aios_backend_query_fn query;
    const char *path = getenv("SHIM_BACKEND"), *defect = getenv("SHIM_DEFECT");
    void *library = dlopen(path ? path : "", RTLD_NOW | RTLD_LOCAL), *symbol = library ? dlsym(library, AIOS_BACKEND_QUERY_SYMBOL) : NULL;
    services = host;
    if (!symbol) return fail(AIOS_UNAVAILABLE, "SHIM_BACKEND", "names no plugin");
    memcpy(&query, &symbol, sizeof query);
    aios_status status = query(host_abi, host, &within);
    if (status != AIOS_OK) return status;
    table.capture = within->device->capture;
    if (defect && !defect_choose(defect, within->device, &table)) return fail(AIOS_UNAVAILABLE, "SHIM_DEFECT", "names no defect");
    *found = &backend;
    return AIOS_OK;
}
