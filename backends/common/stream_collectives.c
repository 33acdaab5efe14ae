/* Collectives by NCCL and RCCL.  Communicators are non-blocking (since NCCL 2.14): each call begins something and ncclCommGetAsyncError
 * says whether it goes on, so that no thread is ever stuck in the library because another rank does not come. */
#include "stream_driver.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#define VENDOR stream_vendor_calls

struct nccl_id { /* ncclUniqueId */
    uint8_t bytes[AIOS_COLLECTIVE_ID_BYTES];
};

struct library {
#define SYMBOL PLUGIN_MEMBER
#include "stream_collectives.def"
#undef SYMBOL
};

/* ncclConfig_t as it began, with 2.14; later releases read `size` bytes of it and take their defaults for the rest. */
struct config {
    size_t size;
    unsigned magic, version;
    int blocking, undefined;
};
#define CONFIG_MAGIC   0xcafebeefu
#define CONFIG_VERSION 21400

/* ncclResult_t, ncclDataType_t, ncclRedOp_t */
enum { SUCCESS = 0, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, IN_PROGRESS = 7 };
enum { TYPE_F16 = 6, TYPE_F32 = 7, TYPE_BF16 = 9, OPERATION_SUM = 0 };
static const struct {
    int code;
    size_t size;
} types[] = {[AIOS_F32] = {TYPE_F32, 4}, [AIOS_BF16] = {TYPE_BF16, 2}, [AIOS_F16] = {TYPE_F16, 2}};

struct communicator {
    void *handle; /* NULL: aborted */
    int rank, ranks;
    int busy; /* something was begun that query has not yet found done */
};

static struct library library;

/* ---- the library ------------------------------------------------------------------------------------------------- */

static aios_status say_failed(int code, const char *call, void *handle)
{
    const char *last = library.ncclGetLastError ? library.ncclGetLastError(handle) : NULL;
    aios_status status = code == INVALID_ARGUMENT ? AIOS_INVALID_ARGUMENT : code == INVALID_USAGE ? AIOS_UNSUPPORTED : AIOS_UNAVAILABLE;
    return plugin_fail(status, code, "%s: %s%s%s (%s error %d)", call, library.ncclGetErrorString(code), last && *last ? ": " : "",
                       last ? last : "", VENDOR.collectives, code);
}

static aios_status check(int code, const char *call, void *handle)
{
    return code == SUCCESS || code == IN_PROGRESS ? AIOS_OK : say_failed(code, call, handle);
}

/* Of a collective.  Where the device has failed, it says more than the library, which only knows that a call of the driver did. */
static aios_status check_on(void *device, void *stream, int code, const char *call, void *handle)
{
    int32_t through;
    if (code == SUCCESS || code == IN_PROGRESS) return AIOS_OK;
    PLUGIN_TRY(stream_query(device, stream, &through));
    return say_failed(code, call, handle);
}

static aios_status load(void)
{
    static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct library, need, name)
#include "stream_collectives.def"
#undef SYMBOL
    };
    const plugin_library file = {VENDOR.collectives, VENDOR.collectives_files, symbols, COUNT_OF(symbols), VENDOR.collectives_override};
    PLUGIN_TRY(plugin_library_open(&file, &library));
    if (!VENDOR.shares_runtime(library.hipGetDeviceCount))
        return plugin_fail(AIOS_UNAVAILABLE, 0, "the %s that was found is linked to another release of the runtime than the one in use",
                           VENDOR.collectives);
    return AIOS_OK;
}

/* Tried again by each call until it succeeds: the library may be installed meanwhile. */
static aios_status open_library(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static int usable;
    aios_status status = AIOS_OK;
    (void)pthread_mutex_lock(&mutex);
    if (!usable) {
        status = load();
        usable = status == AIOS_OK;
    }
    (void)pthread_mutex_unlock(&mutex);
    return status;
}

/* NCCL's numbers: 2804 is 2.8.4, 21005 is 2.10.5. */
static aios_status get_version(void *device, char *text, uint64_t size)
{
    int version = 0;
    (void)device;
    PLUGIN_TRY(open_library());
    PLUGIN_TRY(check(library.ncclGetVersion(&version), "ncclGetVersion", NULL));
    int thousands = version < 10000 ? 1000 : 10000;
    (void)snprintf(text, size, "%s %d.%d.%d", VENDOR.collectives, version / thousands, version % thousands / 100, version % 100);
    return AIOS_OK;
}

static aios_status get_unique_id(void *device, uint8_t *id)
{
    PLUGIN_TRY(open_library());
    PLUGIN_TRY(VENDOR.set_device(device));
    return check(library.ncclGetUniqueId(id), "ncclGetUniqueId", NULL);
}

/* ---- communicators ----------------------------------------------------------------------------------------------- */

static aios_status create(void *device, const uint8_t *id, int32_t rank, int32_t ranks, void **communicator)
{
    struct config config = {sizeof config, CONFIG_MAGIC, CONFIG_VERSION, 0, INT_MIN};
    struct nccl_id given;
    PLUGIN_TRY(open_library());
    PLUGIN_TRY(VENDOR.set_device(device));
    struct communicator *c = plugin_alloc(sizeof *c);
    if (!c) return AIOS_OUT_OF_MEMORY;
    for (int i = 0; i < AIOS_COLLECTIVE_ID_BYTES; i++) given.bytes[i] = id[i];
    *c = (struct communicator){NULL, rank, ranks, 1};
    aios_status status = check(library.ncclCommInitRankConfig(&c->handle, ranks, given, rank, &config), "ncclCommInitRankConfig", NULL);
    if (status == AIOS_OK && !c->handle) status = plugin_fail(AIOS_UNAVAILABLE, 0, "ncclCommInitRankConfig gave no communicator");
    if (status != AIOS_OK) {
        plugin_free(c);
        return status;
    }
    *communicator = c;
    return AIOS_OK;
}

static aios_status query(void *device, void *stream, void *communicator, int32_t *done)
{
    struct communicator *c = communicator;
    int code = SUCCESS;
    int32_t through;
    *done = 0;
    if (!c->handle) return plugin_fail(AIOS_WRONG_STATE, 0, "the communicator was aborted");
    int asked = library.ncclCommGetAsyncError(c->handle, &code);
    PLUGIN_TRY(stream_query(device, stream, &through));
    PLUGIN_TRY(check(asked, "ncclCommGetAsyncError", c->handle));
    PLUGIN_TRY(check(code, "a collective", c->handle));
    *done = code == SUCCESS && through;
    if (*done) c->busy = 0;
    return AIOS_OK;
}

static aios_status end(struct communicator *c, int (*how)(void *), const char *call)
{
    void *handle = c->handle;
    c->handle = NULL;
    return check(how(handle), call, NULL);
}

static aios_status abort_communicator(void *device, void *communicator)
{
    struct communicator *c = communicator;
    if (!c->handle) return AIOS_OK;
    PLUGIN_TRY(VENDOR.set_device(device));
    return end(c, library.ncclCommAbort, "ncclCommAbort");
}

static void destroy(void *device, void *communicator)
{
    struct communicator *c = communicator;
    (void)VENDOR.set_device(device);
    if (c->handle && c->busy) (void)end(c, library.ncclCommAbort, "ncclCommAbort");
    if (c->handle) (void)end(c, library.ncclCommDestroy, "ncclCommDestroy");
    plugin_free(c);
}

/* ---- collectives ------------------------------------------------------------------------------------------------- */

static aios_status begin(void *device, struct communicator *c)
{
    if (!c->handle) return plugin_fail(AIOS_WRONG_STATE, 0, "the communicator was aborted");
    if (c->busy) return plugin_fail(AIOS_WRONG_STATE, 0, "the communicator is at work: query has not said that it is done");
    PLUGIN_TRY(VENDOR.set_device(device));
    c->busy = 1;
    return AIOS_OK;
}

static aios_status all_reduce(void *device, void *stream, void *communicator, void *buffer, uint64_t count, int32_t type)
{
    struct communicator *c = communicator;
    PLUGIN_TRY(begin(device, c));
    return check_on(device, stream,
                    library.ncclAllReduce(buffer, buffer, (size_t)count, types[type].code, OPERATION_SUM, c->handle, stream),
                    "ncclAllReduce", c->handle);
}

static aios_status broadcast(void *device, void *stream, void *communicator, void *buffer, uint64_t count, int32_t type, int32_t root)
{
    struct communicator *c = communicator;
    PLUGIN_TRY(begin(device, c));
    return check_on(device, stream, library.ncclBroadcast(buffer, buffer, (size_t)count, types[type].code, root, c->handle, stream),
                    "ncclBroadcast", c->handle);
}

static int are_even(const struct communicator *c, const uint64_t *offsets)
{
    for (int r = 1; r < c->ranks; r++)
        if (offsets[r + 1] - offsets[r] != offsets[1]) return 0;
    return 1;
}

/* One collective for each part, which the library runs as one piece of work. */
static aios_status for_each_part(void *device, void *stream, struct communicator *c, char *buffer, const uint64_t *offsets, int32_t type,
                                 int reduces)
{
    int code = library.ncclGroupStart();
    for (int r = 0; r < c->ranks && code == SUCCESS; r++) {
        char *part = buffer + offsets[r] * types[type].size;
        size_t count = (size_t)(offsets[r + 1] - offsets[r]);
        if (!count) continue;
        code = reduces ? library.ncclReduce(part, part, count, types[type].code, OPERATION_SUM, r, c->handle, stream)
                       : library.ncclBroadcast(part, part, count, types[type].code, r, c->handle, stream);
        if (code == IN_PROGRESS) code = SUCCESS;
    }
    int ended = library.ncclGroupEnd();
    PLUGIN_TRY(check_on(device, stream, code, reduces ? "ncclReduce" : "ncclBroadcast", c->handle));
    return check_on(device, stream, ended, "ncclGroupEnd", c->handle);
}

static aios_status reduce_scatter(void *device, void *stream, void *communicator, void *buffer, const uint64_t *offsets, int32_t type)
{
    struct communicator *c = communicator;
    PLUGIN_TRY(begin(device, c));
    if (!are_even(c, offsets)) return for_each_part(device, stream, c, buffer, offsets, type, 1);
    char *own = (char *)buffer + offsets[c->rank] * types[type].size;
    return check_on(device, stream,
                    library.ncclReduceScatter(buffer, own, (size_t)offsets[1], types[type].code, OPERATION_SUM, c->handle, stream),
                    "ncclReduceScatter", c->handle);
}

static aios_status all_gather(void *device, void *stream, void *communicator, void *buffer, const uint64_t *offsets, int32_t type)
{
    struct communicator *c = communicator;
    PLUGIN_TRY(begin(device, c));
    if (!are_even(c, offsets)) return for_each_part(device, stream, c, buffer, offsets, type, 0);
    const char *own = (const char *)buffer + offsets[c->rank] * types[type].size;
    return check_on(device, stream, library.ncclAllGather(own, buffer, (size_t)offsets[1], types[type].code, c->handle, stream),
                    "ncclAllGather", c->handle);
}

const aios_collective_group stream_collective_group = {.struct_size = sizeof stream_collective_group,
                                                       .types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16,
                                                       .get_version = get_version,
                                                       .get_unique_id = get_unique_id,
                                                       .create = create,
                                                       .query = query,
                                                       .abort = abort_communicator,
                                                       .destroy = destroy,
                                                       .all_reduce = all_reduce,
                                                       .reduce_scatter = reduce_scatter,
                                                       .all_gather = all_gather,
                                                       .broadcast = broadcast};
