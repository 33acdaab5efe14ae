#include "stand_in.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL(need, member, parameters, cuda, hip) int sim_##member parameters;
#include "stream_driver.def"
#undef CALL

#if defined(STAND_IN_CUDA)
#define NAME_(cuda, hip) cuda
#else
#define NAME_(cuda, hip) hip
#endif

/* The vendor's name of each: another name of the same function. */
#define CALL(need, member, parameters, cuda, hip)                                                                                          \
    extern __typeof__(sim_##member) NAME_(cuda, hip) __attribute__((alias("sim_" #member), visibility("default")));
#include "stream_driver.def"
#undef CALL

#define TEXT_(name) #name
#define TEXT(name)  TEXT_(name)
enum call_index {
#define CALL(need, member, parameters, cuda, hip) INDEX_##member,
#include "stream_driver.def"
#undef CALL
};
static const char *const names[] = {
#define CALL(need, member, parameters, cuda, hip) TEXT(NAME_(cuda, hip)),
#include "stream_driver.def"
#undef CALL
};

int stand_in_code(vendor_status status)
{
    switch (status) {
    case VENDOR_OK: return CODE_OK;
    case VENDOR_INVALID: return CODE_INVALID_VALUE;
    case VENDOR_NO_MEMORY: return CODE_OUT_OF_MEMORY;
    case VENDOR_NOT_READY: return CODE_NOT_READY;
    case VENDOR_UNSUPPORTED: return CODE_CAPTURE_UNSUPPORTED; /* the only thing of a stream that is ever refused so */
    case VENDOR_FAULT: return vendor_fault_code() ? vendor_fault_code() : CODE_UNKNOWN;
    case VENDOR_ILLEGAL: return CODE_ILLEGAL_ADDRESS;
    case VENDOR_LOST: return CODE_LAUNCH_FAILED;
    default: return CODE_UNKNOWN;
    }
}

const char *stand_in_words(int code)
{
    static const struct {
        int code;
        const char *words;
    } texts[] = {{CODE_OK, "no error"},
                 {CODE_INVALID_VALUE, "invalid argument"},
                 {CODE_OUT_OF_MEMORY, "out of memory"},
                 {CODE_INVALID_DEVICE, "invalid device ordinal"},
                 {CODE_INVALID_IMAGE, "device kernel image is invalid"},
                 {CODE_INVALID_CONTEXT, "invalid device context"},
                 {CODE_NO_BINARY, "no kernel image is available for execution on the device"},
                 {CODE_INVALID_HANDLE, "invalid resource handle"},
                 {CODE_NOT_FOUND, "named symbol not found"},
                 {CODE_NOT_READY, "device not ready"},
                 {CODE_ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
                 {CODE_LAUNCH_FAILED, "unspecified launch failure"},
                 {CODE_NOT_SUPPORTED, "operation not supported"},
                 {CODE_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code) return texts[i].words;
    return "unknown error";
}

int stand_in_begin(vendor_device *device, const char *call)
{
    char name[64];
    const char *version = strstr(call, "_v");
    (void)snprintf(name, sizeof name, "%.*s", version ? (int)(version - call) : (int)strlen(call), call);
    return stand_in_code(vendor_call(STAND_IN_VENDOR, device, name));
}

/* Returns where the call is to fail before it did anything. */
#define BEGIN(device, member)                                                                                                              \
    do {                                                                                                                                   \
        int begun_ = stand_in_begin(device, names[INDEX_##member]);                                                                        \
        if (begun_) return begun_;                                                                                                         \
    } while (0)
/* A stream or event that is none; the plugins never use the default stream 0. */
#define NEED(handle, member)                                                                                                               \
    do {                                                                                                                                   \
        if (!(handle)) {                                                                                                                   \
            vendor_complain(NULL, "%s: a handle is NULL", names[INDEX_##member]);                                                          \
            return CODE_INVALID_HANDLE;                                                                                                    \
        }                                                                                                                                  \
    } while (0)
#define CURRENT(device, member)                                                                                                            \
    vendor_device *device = stand_in_current();                                                                                            \
    if (!device) return CODE_INVALID_CONTEXT;                                                                                              \
    BEGIN(device, member)
#define OF_STREAM(device, stream, member)                                                                                                  \
    NEED(stream, member);                                                                                                                  \
    vendor_device *device = vendor_stream_device(stream);                                                                                  \
    NEED_CONTEXT(device, member);                                                                                                          \
    BEGIN(device, member)
/* NVIDIA's driver takes a stream in its own context alone. */
#if defined(STAND_IN_CUDA)
#define NEED_CONTEXT(device, member)                                                                                                       \
    do {                                                                                                                                   \
        if (stand_in_current() != (device)) {                                                                                              \
            vendor_complain(device, "%s: the context of another device is current", names[INDEX_##member]);                                \
            return CODE_INVALID_CONTEXT;                                                                                                   \
        }                                                                                                                                  \
    } while (0)
#else
#define NEED_CONTEXT(device, member) (void)0
#endif

/* Says whether this is a failure that the call itself was given, before giving back what it was to give back anyway. */
#define END(device, member, give_back)                                                                                                     \
    do {                                                                                                                                   \
        int begun_ = stand_in_begin(device, names[INDEX_##member]);                                                                        \
        give_back;                                                                                                                         \
        return begun_;                                                                                                                     \
    } while (0)

/* ---- device, memory ---------------------------------------------------------------------------------------------- */

int sim_device_synchronize(void)
{
    CURRENT(device, device_synchronize);
    return stand_in_code(vendor_device_synchronize(device));
}

int sim_memory_info(size_t *free_bytes, size_t *total_bytes)
{
    uint64_t left, total;
    CURRENT(device, memory_info);
    vendor_memory(device, &left, &total);
    *free_bytes = left;
    *total_bytes = total;
    return CODE_OK;
}

int sim_memory_alloc(void **pointer, size_t size)
{
    CURRENT(device, memory_alloc);
    return stand_in_code(vendor_alloc(device, size, 0, pointer));
}

int sim_memory_free(void *pointer)
{
    vendor_device *device = NULL;
    (void)vendor_pointer(pointer, &device, NULL, NULL);
    if (!device) device = stand_in_current();
    int begun = stand_in_begin(device, names[INDEX_memory_free]);
    int code = stand_in_code(vendor_free(device, pointer));
    return begun ? begun : code;
}

int sim_host_alloc(void **pointer, size_t size, unsigned flags)
{
    CURRENT(device, host_alloc);
    if (flags != 1) vendor_complain(device, "%s: flags are %u: 1, portable, is expected", names[INDEX_host_alloc], flags);
    return stand_in_code(vendor_host_alloc(device, size, pointer));
}

int sim_host_free(void *pointer)
{
    vendor_device *device = NULL;
    (void)vendor_pointer(pointer, &device, NULL, NULL);
    if (!device) device = stand_in_current();
    int begun = stand_in_begin(device, names[INDEX_host_free]);
    int code = stand_in_code(vendor_host_free(device, pointer));
    return begun ? begun : code;
}

int sim_copy_in(void *to, const void *from, size_t size, void *stream)
{
    OF_STREAM(device, stream, copy_in);
    return stand_in_code(vendor_copy(stream, to, device, from, NULL, size));
}

int sim_copy_out(void *to, const void *from, size_t size, void *stream)
{
    OF_STREAM(device, stream, copy_out);
    return stand_in_code(vendor_copy(stream, to, NULL, from, device, size));
}

int sim_copy_within(void *to, const void *from, size_t size, void *stream)
{
    OF_STREAM(device, stream, copy_within);
    return stand_in_code(vendor_copy(stream, to, device, from, device, size));
}

int sim_fill(void *to, unsigned pattern, size_t words, void *stream)
{
    OF_STREAM(device, stream, fill);
    (void)device;
    return stand_in_code(vendor_fill(stream, to, &pattern, sizeof pattern, words * sizeof pattern));
}

/* ---- streams, events --------------------------------------------------------------------------------------------- */

int sim_stream_create(void **stream, unsigned flags)
{
    CURRENT(device, stream_create);
    if (flags != 1) vendor_complain(device, "%s: flags are %u: 1, non-blocking, is expected", names[INDEX_stream_create], flags);
    return stand_in_code(vendor_stream_create(device, (vendor_stream **)stream));
}

int sim_stream_destroy(void *stream)
{
    NEED(stream, stream_destroy);
    END(vendor_stream_device(stream), stream_destroy, vendor_stream_destroy(stream));
}

int sim_stream_synchronize(void *stream)
{
    OF_STREAM(device, stream, stream_synchronize);
    (void)device;
    return stand_in_code(vendor_stream_synchronize(stream));
}

int sim_stream_query(void *stream)
{
    OF_STREAM(device, stream, stream_query);
    (void)device;
    return stand_in_code(vendor_stream_query(stream));
}

int sim_stream_wait_event(void *stream, void *event, unsigned flags)
{
    OF_STREAM(device, stream, stream_wait_event);
    NEED(event, stream_wait_event);
    if (flags) vendor_complain(device, "%s: flags are %u: they must be 0", names[INDEX_stream_wait_event], flags);
    return stand_in_code(vendor_event_wait(event, stream));
}

int sim_event_create(void **event, unsigned flags)
{
    CURRENT(device, event_create);
    if (flags > 3) vendor_complain(device, "%s: flags are %u: at most 3", names[INDEX_event_create], flags);
    return stand_in_code(vendor_event_create(device, (vendor_event **)event));
}

int sim_event_destroy(void *event)
{
    NEED(event, event_destroy);
    END(stand_in_current(), event_destroy, vendor_event_destroy(event));
}

int sim_event_record(void *event, void *stream)
{
    OF_STREAM(device, stream, event_record);
    NEED(event, event_record);
    (void)device;
    return stand_in_code(vendor_event_record(event, stream));
}

int sim_event_synchronize(void *event)
{
    NEED(event, event_synchronize);
    BEGIN(stand_in_current(), event_synchronize);
    return stand_in_code(vendor_event_synchronize(event));
}

int sim_event_elapsed(float *milliseconds, void *from, void *to)
{
    uint64_t began = 0, ended = 0;
    NEED(from && to, event_elapsed);
    BEGIN(stand_in_current(), event_elapsed);
    vendor_status status = vendor_event_time(from, &began);
    if (status == VENDOR_OK) status = vendor_event_time(to, &ended);
    if (status == VENDOR_OK) *milliseconds = (float)(((double)ended - (double)began) * 1e-6);
    return stand_in_code(status);
}

/* ---- modules, launches ------------------------------------------------------------------------------------------- */

struct function {
    struct function *next;
    vendor_device *device;
    int kernel;
    stand_in_kernel described;
};

struct module {
    vendor_device *device;
    void *image;
    struct function *functions;
};

int sim_module_load(void **module, const void *bytes)
{
    void *image = NULL;
    CURRENT(device, module_load);
    int code = stand_in_image_open(device, bytes, &image);
    if (code) return code;
    struct module *made = calloc(1, sizeof *made);
    *made = (struct module){.device = device, .image = image};
    *module = made;
    return CODE_OK;
}

int sim_module_unload(void *module)
{
    struct module *m = module;
    NEED(m, module_unload);
    int begun = stand_in_begin(m->device, names[INDEX_module_unload]);
    for (struct function *next, *f = m->functions; f; f = next) {
        next = f->next;
        free(f);
    }
    stand_in_image_close(m->image);
    free(m);
    return begun;
}

int sim_module_function(void **function, void *module, const char *name)
{
    struct module *m = module;
    struct function found = {.next = NULL};
    NEED(m, module_function);
    BEGIN(m->device, module_function);
    int code = stand_in_image_find(m->image, name, &found.described);
    if (code) return code;
    found.next = m->functions;
    found.device = m->device;
    found.kernel = vendor_kernel_find(name);
    if (found.kernel < 0) return CODE_NOT_FOUND;
    struct function *kept = malloc(sizeof *kept);
    *kept = found;
    m->functions = kept;
    *function = kept;
    return CODE_OK;
}

int sim_launch(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
               unsigned local_bytes, void *stream, void **arguments, void **extra)
{
    const struct function *f = function;
    NEED(f, launch);
    OF_STREAM(device, stream, launch);
    if (f->device != device) {
        vendor_complain(device, "%s: the function is of another device than the stream", names[INDEX_launch]);
        return CODE_INVALID_HANDLE;
    }
    if (grid_x == 0 || grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || local_bytes || extra || !arguments) {
        vendor_complain(device, "%s: a launch that is no row of teams", names[INDEX_launch]);
        return CODE_INVALID_VALUE;
    }
    return stand_in_code(
        vendor_launch(stream, f->kernel, grid_x, block_x, (const void *const *)arguments, f->described.argument_count, f->described.sizes));
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

/* A graph and what is made of it share the recording. */
struct graph {
    vendor_device *device;
    vendor_stream *recording;
    int uses;
};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void give_back(struct graph *graph)
{
    (void)pthread_mutex_lock(&mutex);
    int left = --graph->uses;
    (void)pthread_mutex_unlock(&mutex);
    if (left) return;
    vendor_stream_destroy(graph->recording);
    free(graph);
}

int sim_capture_begin(void *stream, int mode)
{
    OF_STREAM(device, stream, capture_begin);
    if (mode < 0 || mode > 2) vendor_complain(device, "%s: mode is %d: 0 to 2", names[INDEX_capture_begin], mode);
    return stand_in_code(vendor_capture_begin(stream));
}

int sim_capture_end(void *stream, void **graph)
{
    vendor_stream *recording = NULL;
    NEED(stream, capture_end);
    vendor_device *device = vendor_stream_device(stream);
    int begun = stand_in_begin(device, names[INDEX_capture_end]);
    int code = stand_in_code(vendor_capture_end(stream, &recording));
    if (begun || code) { /* the recording ends whatever happens */
        if (recording) vendor_stream_destroy(recording);
        return begun ? begun : code;
    }
    struct graph *made = malloc(sizeof *made);
    *made = (struct graph){device, recording, 1};
    *graph = made;
    return CODE_OK;
}

int sim_graph_instantiate(void **executable, void *graph, unsigned long long flags)
{
    struct graph *g = graph;
    NEED(g, graph_instantiate);
    BEGIN(g->device, graph_instantiate);
    if (flags) vendor_complain(g->device, "%s: flags are %llu: they must be 0", names[INDEX_graph_instantiate], flags);
    (void)pthread_mutex_lock(&mutex);
    g->uses++;
    (void)pthread_mutex_unlock(&mutex);
    *executable = g;
    return CODE_OK;
}

int sim_graph_launch(void *executable, void *stream)
{
    struct graph *g = executable;
    NEED(g, graph_launch);
    OF_STREAM(device, stream, graph_launch);
    (void)device;
    return stand_in_code(vendor_replay(stream, g->recording));
}

int sim_graph_free(void *graph)
{
    NEED(graph, graph_free);
    END(((struct graph *)graph)->device, graph_free, give_back(graph));
}

int sim_executable_free(void *executable)
{
    NEED(executable, executable_free);
    END(((struct graph *)executable)->device, executable_free, give_back(executable));
}
