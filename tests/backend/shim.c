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
    atomic_store(&shim_state.hung, 1);
    while (!atomic_load(&shim_state.release)) (void)nanosleep(&pause, NULL);
}

/* A device that is gone, or a stream of which waiting says that it failed, runs nothing any more: here it has run all that it was given. */
static void drain(int number)
{
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
    if (shim_state.mode == SHIM_HANG) {
        hang();
        return AIOS_OK;
    }
    if (shim_state.mode == SHIM_LOST || strncmp(call, "synchronize", 11) == 0) drain(number);
    if (shim_state.mode == SHIM_LOST) {
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
        (void)check_fault(number_of(device), #name);                                                                                       \
        count_live(device, #name);                                                                                                         \
        if (defective.name)                                                                                                                \
            defective.name arguments;                                                                                                      \
        else                                                                                                                               \
            within->device->name arguments;                                                                                                \
    }
SHIM_VOID_CALLS(SHIM_CALL)
#undef SHIM_CALL

static aios_status shim_open(int32_t index, void **device)
{
    aios_status status = check_fault(index, "open");
    if (status == AIOS_OK) status = within->device->open(0, device);
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
    (void)check_fault(number, "close");
    (void)atomic_fetch_sub(&shim_state.live[number], 1);
    for (int i = 0; i < SHIM_DEVICES * 64; i++) {
        void *this = device;
        if (atomic_compare_exchange_strong(&opened[i].handle, &this, NULL)) break;
    }
    within->device->close(device);
}

static aios_status shim_device_count(int32_t *count)
{
    *count = SHIM_DEVICES;
    return AIOS_OK;
}

static aios_gpu_device table = {.struct_size = sizeof table,
                                .open = shim_open,
                                .close = shim_close,
#define SHIM_CALL(name, parameters, arguments) .name = shim_##name,
                                SHIM_CALLS(SHIM_CALL) SHIM_VOID_CALLS(SHIM_CALL)
#undef SHIM_CALL
};

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
