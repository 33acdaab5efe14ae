/* Plugins for the tests of the registry and of the wrappers.  PLUGIN_KIND says what is wrong with this one. */
#include "null.h"

#include <stdlib.h>
#include <string.h>

#define GOOD        0
#define NO_SYMBOL   1
#define WRONG_ABI   2
#define INCOMPLETE  3
#define NO_DRIVER   4
#define NO_COUNT    5
#define SILENT      6
#define BAD_NAME    7
#define SHORT_TABLE 8

#define EXPORT __attribute__((visibility("default")))
aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **backend);

#if PLUGIN_KIND == NO_SYMBOL
EXPORT extern const int nothing_to_see;
const int nothing_to_see = 1;
#else

static const aios_host_services *services;
EXPORT extern struct null_state null_state;
struct null_state null_state;

static aios_status called(int call)
{
    null_state.calls[call]++;
    if (null_state.fail_call != call) return AIOS_OK;
    null_state.fail_call = NULL_CALLS;
    if (null_state.fail_message)
        services->set_error(services->user, null_state.fail_status, null_state.fail_native, null_state.fail_message);
    return null_state.fail_status;
}

static aios_status device_count(int32_t *count)
{
    *count = null_state.devices;
#if PLUGIN_KIND == NO_COUNT
    services->set_error(services->user, AIOS_UNAVAILABLE, 999, "no driver: libnull.so.1 not found");
    return AIOS_UNAVAILABLE;
#else
    return called(NULL_COUNT);
#endif
}

static aios_status null_open(int32_t index, void **device)
{
    if (index == null_state.fail_open_index) {
        services->set_error(services->user, AIOS_DEVICE_ERROR, 46, "the device is used exclusively by another process");
        return AIOS_DEVICE_ERROR;
    }
    aios_status status = called(NULL_OPEN);
    *device = status == AIOS_OK ? services->alloc(services->user, 16) : NULL;
    if (*device) *(int32_t *)*device = index;
    return status;
}

static void null_close(void *device)
{
    (void)called(NULL_CLOSE);
    services->free(services->user, device);
}

static aios_status null_get_info(void *device, aios_device_info *info)
{
    info->kind = AIOS_DEVICE_DISCRETE;
    info->alignment = 64;
    info->teams = 12;
    info->team_size = 32;
    memcpy(info->name, "Null 1000", 10);
    memcpy(info->pci_address, "0000:fa:0n.0", 13);
    memcpy(info->uuid, "GPU-00000000-0000-0000-0000-00000000fa0n", 41);
    info->pci_address[9] = info->uuid[39] = (char)('0' + *(int32_t *)device % 10);
    return AIOS_OK;
}

static aios_status null_memory(void *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    (void)device;
    *free_bytes = null_state.memory_limit - null_state.memory_used;
    *total_bytes = null_state.memory_limit;
    return AIOS_OK;
}

static aios_status null_set(void *device)
{
    (void)device;
    return AIOS_OK;
}

static aios_status null_synchronize(void *device)
{
    (void)device;
    return called(NULL_SYNCHRONIZE);
}

static aios_status null_create_stream(void *device, void **stream)
{
    *stream = device;
    return called(NULL_STREAM);
}

static void null_destroy_stream(void *device, void *stream)
{
    (void)device;
    (void)stream;
    (void)called(NULL_STREAM_END);
}

static aios_status null_synchronize_stream(void *device, void *stream)
{
    (void)device;
    (void)stream;
    return called(NULL_STREAM_WAIT);
}

static aios_status null_create_event(void *device, void **event)
{
    *event = device;
    return called(NULL_EVENT);
}

static void null_destroy_event(void *device, void *event)
{
    (void)device;
    (void)event;
    (void)called(NULL_EVENT_END);
}

static aios_status null_record(void *device, void *event, void *stream)
{
    (void)device;
    (void)event;
    (void)stream;
    return called(NULL_RECORD);
}

static aios_status null_wait(void *device, void *stream, void *event)
{
    (void)device;
    (void)stream;
    (void)event;
    return called(NULL_WAIT);
}

static aios_status null_synchronize_event(void *device, void *event)
{
    (void)device;
    (void)event;
    return called(NULL_EVENT_WAIT);
}

static aios_status null_elapsed(void *device, void *from, void *to, float *ms)
{
    (void)device;
    (void)from;
    (void)to;
    *ms = 1.5f;
    return called(NULL_ELAPSED);
}

static aios_status null_alloc(void *device, uint64_t size, void **pointer)
{
    (void)device;
    aios_status status = called(NULL_ALLOC);
    if (status != AIOS_OK) return status;
    if (size > null_state.memory_limit - null_state.memory_used) {
        services->set_error(services->user, AIOS_DEVICE_OUT_OF_MEMORY, 2, "out of memory");
        return AIOS_DEVICE_OUT_OF_MEMORY;
    }
    char *block = services->alloc(services->user, size + 64); /* 64 bytes for the size */
    memcpy(block, &size, sizeof size);
    *pointer = block + 64;
    null_state.memory_used += size;
    return AIOS_OK;
}

static void null_free(void *device, void *pointer)
{
    uint64_t size;
    (void)device;
    (void)called(NULL_FREE);
    if (!pointer) return;
    memcpy(&size, (char *)pointer - 64, sizeof size);
    null_state.memory_used -= size;
    services->free(services->user, (char *)pointer - 64);
}

static aios_status null_copy(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    (void)device;
    (void)stream;
    (void)kind;
    aios_status status = called(NULL_COPY);
    if (status == AIOS_OK) memcpy(to, from, size);
    return status;
}

static aios_status null_fill(void *device, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    (void)device;
    (void)stream;
    for (uint64_t i = 0; i < size; i += 4) memcpy((char *)to + i, &pattern, 4);
    return called(NULL_FILL);
}

static aios_status null_load(void *device, const aios_kernel *kernels, uint32_t count)
{
    (void)device;
    if (!kernels || !count) return AIOS_INTERNAL;
    return called(NULL_LOAD);
}

static aios_status null_launch(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    (void)device;
    (void)stream;
    (void)arguments;
    int nth = null_state.calls[NULL_LAUNCH] % 64;
    null_state.launched[nth] = kernel;
    null_state.teams[nth] = teams;
    services->log(services->user, AIOS_LOG_DEBUG, "null launches");
    return called(NULL_LAUNCH);
}

static aios_status null_gemm(void *device, void *stream, const aios_gemm *gemm)
{
    (void)device;
    (void)stream;
    null_state.last_gemm = *gemm;
    return called(NULL_GEMM);
}

aios_status null_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size);
EXPORT aios_status null_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    (void)device;
    (void)stream;
    (void)other;
    aios_status status = called(NULL_PEER);
    if (status == AIOS_OK) memcpy(to, from, size);
    return status;
}

static const aios_gpu_device entries = {
    .struct_size = sizeof entries,
    .open = null_open,
    .close = null_close,
    .get_info = null_get_info,
    .get_memory_info = null_memory,
    .set_device = null_set,
    .synchronize = null_synchronize,
    .create_stream = null_create_stream,
    .destroy_stream = null_destroy_stream,
    .synchronize_stream = null_synchronize_stream,
    .create_event = null_create_event,
    .destroy_event = null_destroy_event,
    .record_event = null_record,
    .wait_event = null_wait,
    .synchronize_event = null_synchronize_event,
    .elapsed_ms = null_elapsed,
    .alloc = null_alloc,
    .free = null_free,
    .host_alloc = null_alloc,
    .host_free = null_free,
    .copy = null_copy,
    .fill = null_fill,
    .load_kernels = null_load,
    .launch = null_launch,
};

EXPORT aios_status aios_backend_query(uint32_t host_abi, const aios_host_services *host, const aios_backend **backend)
{
    static aios_backend me = {sizeof me, AIOS_BACKEND_ABI, "null", "Nobody", "1.2.3", device_count, &null_state.table};
    services = host;
    if (host_abi >> 16 != AIOS_BACKEND_ABI_MAJOR) return AIOS_ABI_MISMATCH;
    null_state.devices = 2;
    null_state.fail_call = NULL_CALLS;
    null_state.fail_open_index = -1;
    null_state.memory_limit = (uint64_t)256 << 20;
    null_state.table = entries;
    null_state.gemm =
        (aios_gemm_group){.struct_size = offsetof(aios_gemm_group, packed_size), .epilogues = 1u << AIOS_EPILOGUE_NONE, .gemm = null_gemm};
#if PLUGIN_KIND == WRONG_ABI
    me.abi = 7u << 16;
#elif PLUGIN_KIND == INCOMPLETE
    null_state.table.copy = NULL;
#elif PLUGIN_KIND == NO_DRIVER
    host->set_error(host->user, AIOS_UNAVAILABLE, 0, "no driver: libnull.so.1 not found");
    return AIOS_UNAVAILABLE;
#elif PLUGIN_KIND == SILENT
    return AIOS_DEVICE_ERROR;
#elif PLUGIN_KIND == BAD_NAME
    me.name = "No Such Name";
#elif PLUGIN_KIND == SHORT_TABLE
    null_state.table.struct_size = 16;
#endif
    *backend = &me;
    return AIOS_OK;
}
#endif
