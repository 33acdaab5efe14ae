#include "stream_driver.h"

#include <pthread.h>
#include <stdatomic.h>

enum call_index {
#define CALL(need, member, parameters, cuda, hip) INDEX_##member,
#include "stream_driver.def"
#undef CALL
};

#define VENDOR                  stream_vendor_calls
#define CALLED(member, ...)     stream_check(VENDOR.calls->member(__VA_ARGS__), VENDOR.names[INDEX_##member])
#define TRY_CALLED(member, ...) PLUGIN_TRY(CALLED(member, __VA_ARGS__))
#define TRY_CURRENT(device)     PLUGIN_TRY(VENDOR.set_device(device))

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* Both vendors number their errors alike.  Those of LOST leave the process without the device, as both manuals say. */
static aios_status classify(int code)
{
    static const struct {
        short first, last;
        aios_status status;
    } classes[] = {
        {1, 1, AIOS_INVALID_ARGUMENT},     /* invalid value */
        {2, 2, AIOS_DEVICE_OUT_OF_MEMORY}, /* out of memory */
        {4, 4, AIOS_DEVICE_LOST},          /* the driver is shutting down */
        {34, 35, AIOS_UNAVAILABLE},        /* stub library, driver too old */
        {46, 46, AIOS_DEVICE_LOST},        /* device unavailable */
        {100, 100, AIOS_UNAVAILABLE},      /* no device */
        {101, 101, AIOS_NOT_FOUND},        /* no such device */
        {200, 200, AIOS_UNSUPPORTED},      /* the code is not for this device or driver */
        {209, 209, AIOS_UNSUPPORTED},      /* no code for this device */
        {214, 214, AIOS_DEVICE_LOST},      /* uncorrectable memory error */
        {218, 218, AIOS_UNSUPPORTED},      /* code that the driver can't read */
        {222, 223, AIOS_UNSUPPORTED},      /* code newer than the driver */
        {500, 500, AIOS_NOT_FOUND},        /* a name */
        {700, 700, AIOS_DEVICE_LOST},      /* illegal address */
        {702, 702, AIOS_DEVICE_LOST},      /* a kernel ran into the watchdog */
        {709, 710, AIOS_DEVICE_LOST},      /* context destroyed, assertion on the device */
        {714, 719, AIOS_DEVICE_LOST},      /* exceptions of a kernel */
        {801, 801, AIOS_UNSUPPORTED},      /* not supported */
        {802, 804, AIOS_UNAVAILABLE},      /* system not ready, driver mismatch */
        {900, 908, AIOS_WRONG_STATE},      /* what a recording can't hold */
    };
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        if (code >= classes[i].first && code <= classes[i].last) return classes[i].status;
    return AIOS_DEVICE_ERROR;
}

aios_status stream_check(int code, const char *call)
{
    if (code == 0) return AIOS_OK;
    const char *words = VENDOR.describe(code);
    return plugin_fail(classify(code), code, "%s: %s (error %d)", call, words && *words ? words : "an error without a name", code);
}

/* For what can't fail: the failure is at least in the log.  A device that is lost says it at every call. */
static void check_quietly(int code, enum call_index call)
{
    if (code == 0) return;
    const char *words = VENDOR.describe(code);
    plugin_log(classify(code) == AIOS_DEVICE_LOST ? AIOS_LOG_DEBUG : AIOS_LOG_WARNING, "%s: %s (error %d)", VENDOR.names[call],
               words && *words ? words : "an error without a name", code);
}
#define QUIETLY(member, ...) check_quietly(VENDOR.calls->member(__VA_ARGS__), INDEX_##member)
/* Gives back what the device has, also where it can't become current any more: the driver may still free its own memory. */
#define GIVE_BACK(device, member, ...)                                                                                                     \
    do {                                                                                                                                   \
        (void)VENDOR.set_device(device);                                                                                                   \
        QUIETLY(member, __VA_ARGS__);                                                                                                      \
    } while (0)

/* ---- device, streams, events ------------------------------------------------------------------------------------- */

aios_status stream_get_memory_info(void *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    size_t free_now = 0, total = 0;
    TRY_CURRENT(device);
    TRY_CALLED(memory_info, &free_now, &total);
    *free_bytes = free_now;
    *total_bytes = total;
    return AIOS_OK;
}

aios_status stream_synchronize_device(void *device)
{
    TRY_CURRENT(device);
    return stream_check(VENDOR.calls->device_synchronize(), VENDOR.names[INDEX_device_synchronize]);
}

aios_status stream_create(void *device, void **stream)
{
    enum { NON_BLOCKING = 1 }; /* not ordered with the stream 0 of other code in this process */
    TRY_CURRENT(device);
    return CALLED(stream_create, stream, NON_BLOCKING);
}

void stream_destroy(void *device, void *stream)
{
    GIVE_BACK(device, stream_destroy, stream);
}

aios_status stream_synchronize(void *device, void *stream)
{
    TRY_CURRENT(device);
    return CALLED(stream_synchronize, stream);
}

aios_status stream_query(void *device, void *stream, int32_t *done)
{
    enum { NOT_READY = 600 };
    TRY_CURRENT(device);
    int code = VENDOR.calls->stream_query(stream);
    *done = code == 0;
    return code == NOT_READY ? AIOS_OK : stream_check(code, VENDOR.names[INDEX_stream_query]);
}

aios_status stream_create_event(void *device, void **event)
{
    enum { WITH_TIME = 0 };
    TRY_CURRENT(device);
    return CALLED(event_create, event, WITH_TIME);
}

void stream_destroy_event(void *device, void *event)
{
    GIVE_BACK(device, event_destroy, event);
}

aios_status stream_record_event(void *device, void *event, void *stream)
{
    TRY_CURRENT(device);
    return CALLED(event_record, event, stream);
}

aios_status stream_wait_event(void *device, void *stream, void *event)
{
    TRY_CURRENT(device);
    return CALLED(stream_wait_event, stream, event, 0);
}

aios_status stream_synchronize_event(void *device, void *event)
{
    TRY_CURRENT(device);
    return CALLED(event_synchronize, event);
}

aios_status stream_elapsed_ms(void *device, void *from, void *to, float *milliseconds)
{
    TRY_CURRENT(device);
    return CALLED(event_elapsed, milliseconds, from, to);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

aios_status stream_alloc(void *device, uint64_t size, void **pointer)
{
    TRY_CURRENT(device);
    return CALLED(memory_alloc, pointer, (size_t)size);
}

void stream_free(void *device, void *pointer)
{
    GIVE_BACK(device, memory_free, pointer);
}

aios_status stream_host_alloc(void *device, uint64_t size, void **pointer)
{
    enum { PORTABLE = 1 }; /* pinned for every device of the vendor */
    TRY_CURRENT(device);
    return CALLED(host_alloc, pointer, (size_t)size, PORTABLE);
}

void stream_host_free(void *device, void *pointer)
{
    GIVE_BACK(device, host_free, pointer);
}

aios_status stream_copy(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    TRY_CURRENT(device);
    switch (kind) {
    case AIOS_COPY_HOST_TO_DEVICE: return CALLED(copy_in, to, from, (size_t)size, stream);
    case AIOS_COPY_DEVICE_TO_HOST: return CALLED(copy_out, to, from, (size_t)size, stream);
    default: return CALLED(copy_within, to, from, (size_t)size, stream);
    }
}

aios_status stream_fill(void *device, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    TRY_CURRENT(device);
    return CALLED(fill, to, pattern, (size_t)(size / 4), stream);
}

/* ---- copies between devices -------------------------------------------------------------------------------------- */

enum { PEERS = 64, PEER_TEST_WORDS = 16411, PEER_ROUNDS = 2 };
enum { PEER_UNKNOWN, PEER_WORKS, PEER_FAILS };
static atomic_uchar peers[PEERS][PEERS]; /* [to][from] */

/* One side of the test. */
struct peer_end {
    void *device, *stream, *memory;
};

static aios_status open_end(struct peer_end *end, void *device)
{
    end->device = device;
    PLUGIN_TRY(stream_create(device, &end->stream));
    return stream_alloc(device, PEER_TEST_WORDS * sizeof(uint32_t), &end->memory);
}

static void close_end(const struct peer_end *end)
{
    if (end->stream && VENDOR.set_device(end->device) == AIOS_OK) QUIETLY(stream_synchronize, end->stream);
    if (end->memory) stream_free(end->device, end->memory);
    if (end->stream) stream_destroy(end->device, end->stream);
}

/* Other words in each round, so that what the last one left behind does not pass. */
static aios_status test_round(const struct peer_end *to, const struct peer_end *from, uint32_t *words, uint32_t round, int *same)
{
    const uint64_t size = PEER_TEST_WORDS * sizeof *words;
    for (uint32_t i = 0; i < PEER_TEST_WORDS; i++) words[i] = (i + 1) * 2654435761u ^ (round ? ~0u : 0u);
    PLUGIN_TRY(stream_copy(from->device, from->stream, from->memory, words, size, AIOS_COPY_HOST_TO_DEVICE));
    PLUGIN_TRY(stream_synchronize(from->device, from->stream));
    PLUGIN_TRY(stream_fill(to->device, to->stream, to->memory, 0xdeadbeefu, size));
    TRY_CURRENT(to->device);
    STREAM_TRY(VENDOR.copy_peer(to->device, to->stream, to->memory, from->device, from->memory, size), VENDOR.copy_peer_name);
    PLUGIN_TRY(stream_copy(to->device, to->stream, words, to->memory, size, AIOS_COPY_DEVICE_TO_HOST));
    PLUGIN_TRY(stream_synchronize(to->device, to->stream));
    *same = 1;
    for (uint32_t i = 0; i < PEER_TEST_WORDS; i++) *same &= words[i] == ((i + 1) * 2654435761u ^ (round ? ~0u : 0u));
    return AIOS_OK;
}

/* Two threads may test one pair at once: both come to the same end. */
static int test_peer(void *device, void *other)
{
    struct peer_end to = {0}, from = {0};
    int same = 1;
    uint32_t *words = plugin_alloc(PEER_TEST_WORDS * sizeof *words);
    aios_status status = words ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    if (status == AIOS_OK) status = open_end(&from, other);
    if (status == AIOS_OK) status = open_end(&to, device);
    if (status == AIOS_OK) VENDOR.enable_peer(device, other);
    for (uint32_t round = 0; round < PEER_ROUNDS && status == AIOS_OK && same; round++)
        status = test_round(&to, &from, words, round, &same);
    close_end(&to);
    close_end(&from);
    plugin_free(words);
    if (status != AIOS_OK || !same)
        plugin_log(AIOS_LOG_WARNING, "copies from device %d to device %d %s: they go through the host's memory",
                   (int)((stream_device *)other)->index, (int)((stream_device *)device)->index,
                   same ? "fail" : "deliver other bytes than were sent");
    return status == AIOS_OK && same;
}

aios_status stream_copy_peer(void *device, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    int32_t here = ((stream_device *)device)->index, there = ((stream_device *)other)->index;
    if (here >= PEERS || there >= PEERS) return AIOS_UNSUPPORTED;
    if (atomic_load(&peers[here][there]) == PEER_UNKNOWN)
        atomic_store(&peers[here][there], (unsigned char)(test_peer(device, other) ? PEER_WORKS : PEER_FAILS));
    if (atomic_load(&peers[here][there]) == PEER_FAILS)
        return plugin_fail(AIOS_UNSUPPORTED, 0, "copies from device %d to device %d failed their test", (int)there, (int)here);
    TRY_CURRENT(device);
    return stream_check(VENDOR.copy_peer(device, stream, to, other, from, size), VENDOR.copy_peer_name);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

aios_status stream_load_kernels(void *device, const aios_kernel *kernels, uint32_t count)
{
    stream_device *d = device;
    const void *code = NULL;
    TRY_CURRENT(device);
    PLUGIN_TRY(VENDOR.choose_code(device, &code));
    if (!d->functions) d->functions = plugin_alloc(count * sizeof *d->functions);
    if (!d->functions) return AIOS_OUT_OF_MEMORY;
    if (!d->module) TRY_CALLED(module_load, &d->module, code);
    for (uint32_t i = 0; i < count; i++) {
        int failed = VENDOR.calls->module_function(&d->functions[i], d->module, kernels[i].name);
        if (failed)
            return plugin_fail(AIOS_NOT_FOUND, failed,
                               "the plugin's code has no kernel %s (%s: error %d): plugin and libaios are of different "
                               "versions",
                               kernels[i].name, VENDOR.names[INDEX_module_function], failed);
    }
    d->kernels = kernels;
    d->kernel_count = count;
    return AIOS_OK;
}

void stream_device_end(stream_device *device)
{
    if (device->module) GIVE_BACK(device, module_unload, device->module);
    plugin_free(device->functions);
    device->module = NULL;
    device->functions = NULL;
}

aios_status stream_launch(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    const stream_device *d = device;
    TRY_CURRENT(device);
    /* the driver reads the arguments and does not write them */
    return CALLED(launch, d->functions[kernel], teams, 1, 1, STREAM_TEAM_SIZE, 1, 1, 0, stream, (void **)(uintptr_t)arguments, NULL);
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

static aios_status begin_capture(void *device, void *stream)
{
    enum { THREAD_LOCAL = 1 }; /* what other threads do meanwhile, to this or other devices, is their business */
    TRY_CURRENT(device);
    PLUGIN_TRY(VENDOR.before_capture(device, stream));
    return CALLED(capture_begin, stream, THREAD_LOCAL);
}

static aios_status end_capture(void *device, void *stream, void **recording)
{
    void *graph = NULL;
    TRY_CURRENT(device);
    TRY_CALLED(capture_end, stream, &graph);
    aios_status status = CALLED(graph_instantiate, recording, graph, 0);
    QUIETLY(graph_free, graph);
    return status;
}

static aios_status replay(void *device, void *stream, void *recording)
{
    TRY_CURRENT(device);
    return CALLED(graph_launch, recording, stream);
}

static void destroy_recording(void *device, void *recording)
{
    GIVE_BACK(device, executable_free, recording);
}

static const aios_capture_group *capture_group(void)
{
    static const aios_capture_group group = {
        .struct_size = sizeof group, .begin = begin_capture, .end = end_capture, .replay = replay, .destroy = destroy_recording};
    const stream_calls *calls = VENDOR.calls;
    int whole = calls->capture_begin && calls->capture_end && calls->graph_instantiate && calls->graph_launch && calls->graph_free &&
                calls->executable_free;
    return whole ? &group : NULL;
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

static aios_status count_devices(int *count)
{
    enum { NO_DEVICE = 100, INVALID_DEVICE = 101 };
    char text[160];
    const char *call = "";
    int code = VENDOR.count_devices(count, &call);
    if (code == 0 && *count > 0) return AIOS_OK;
    if (code == 0 || code == NO_DEVICE || code == INVALID_DEVICE)
        return plugin_fail(AIOS_UNAVAILABLE, code, "the driver sees no device: %s", VENDOR.explain_absence(text, sizeof text));
    return stream_check(code, call);
}

aios_status stream_device_count(int32_t *count)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static int open;
    aios_status status = AIOS_OK;
    int devices = 0;
    (void)pthread_mutex_lock(&mutex);
    if (!open) {
        status = VENDOR.open_driver();
        open = status == AIOS_OK;
        if (open) VENDOR.table->capture = capture_group();
    }
    if (status == AIOS_OK) status = count_devices(&devices);
    (void)pthread_mutex_unlock(&mutex);
    *count = status == AIOS_OK ? devices : 0;
    return status;
}
