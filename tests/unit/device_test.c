/* What the registry, the device handle and its memory pool promise, by a backend that counts (plugins/) and by the CPU. */
#include "gpu/device.h"
#include "gpu/registry.h"
#include "kernels/kernels.h"
#include "plugins/null.h"
#include "test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static aios_context *context;
static struct null_state *null;
static char heard[1024]; /* the last line of the log: warnings are part of what is tested */

static void hear(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    (void)snprintf(heard, sizeof heard, "%s", message);
}

#define PLUGIN(kind) TEST_PLUGINS "/lib" kind ".so"

static void set_path(const char *path)
{
    if (path)
        (void)setenv("AIOS_BACKEND_PATH", path, 1);
    else
        (void)unsetenv("AIOS_BACKEND_PATH");
}

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("\"%s\" does not say \"%s\"", text, words);
}

static void assert_fails(aios_status status, aios_status wanted, const char *words)
{
    if (status != wanted) fail_msg("%s, not %s: %s", aios_status_name(status), aios_status_name(wanted), aios_error_message());
    assert_says(aios_error_message(), words);
}

static void fail_next(int call, aios_status status, int64_t native, const char *message)
{
    null->fail_call = call;
    null->fail_status = status;
    null->fail_native = native;
    null->fail_message = message;
}

static aios_device *open_null(int index)
{
    aios_device *device;
    set_path(PLUGIN("good"));
    assert_ok(aios_device_open(context, index ? "null:1" : "null:0", &device));
    return device;
}

static const aios_backend_entry *find_backend(const aios_device_list *list, const char *path)
{
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++)
        if (strstr(aios_device_list_get_backend(list, i)->path, path)) return aios_device_list_get_backend(list, i);
    fail_msg("no backend at %s is listed", path);
    return NULL;
}

/* ---- registry ---------------------------------------------------------------------------------------------------- */

static void the_cpu_is_always_there_and_missing_plugins_are_told(void **state)
{
    (void)state;
    aios_device_list *list;
    set_path("/nowhere/at/all");
    assert_ok(aios_device_list_create(context, &list));
    assert_true(aios_device_list_count(list) >= 1);
    assert_string_equal(aios_device_list_get(list, 0)->spec, "cpu:0");
    assert_int_equal(aios_device_list_get(list, 0)->id, -1);
    assert_true(aios_device_list_get(list, 0)->memory_free > 0);
    assert_null(aios_device_list_get(list, aios_device_list_count(list)));
    static const char *const vendors[] = {"cuda", "xpu", "hip"};
    for (uint32_t v = 0; v < 3; v++) {
        const aios_backend_entry *entry = aios_device_list_get_backend(list, v + 1);
        assert_string_equal(entry->name, vendors[v]);
        assert_int_equal(entry->status, AIOS_UNAVAILABLE);
        assert_says(entry->reason, "not found in");
    }
    assert_says(find_backend(list, "/nowhere/at/all")->reason, "is not there");
    assert_null(aios_device_list_get_backend(list, aios_device_list_backend_count(list)));
    aios_device_list_destroy(list);
    aios_device_list_destroy(NULL);
    set_path(NULL); /* the installed folders, of which none need be there */
    assert_ok(aios_device_list_create(context, &list));
    aios_device_list_destroy(list);
}

static void every_unusable_plugin_says_why_and_hides_no_other(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        aios_status status;
        const char *words;
    } wrong[] = {
        {PLUGIN("no_symbol"), AIOS_CORRUPT, "no symbol aios_backend_query"},
        {PLUGIN("wrong_abi"), AIOS_ABI_MISMATCH, "backend ABI 7.0"},
        {PLUGIN("incomplete"), AIOS_CORRUPT, "lacks copy"},
        {PLUGIN("no_driver"), AIOS_UNAVAILABLE, "libnull.so.1 not found"},
        {PLUGIN("no_count"), AIOS_UNAVAILABLE, "libnull.so.1 not found"},
        {PLUGIN("silent"), AIOS_DEVICE_ERROR, "gave no reason"},
        {PLUGIN("bad_name"), AIOS_CORRUPT, "No Such Name"},
        {PLUGIN("short_table"), AIOS_ABI_MISMATCH, "16 bytes"},
        {"/proc/self/cmdline", AIOS_UNAVAILABLE, ""},
        {"relative.so", AIOS_INVALID_ARGUMENT, "starts with /"},
    };
    char path[4096] = "";
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        strcat(path, wrong[i].path);
        strcat(path, "::"); /* an empty element is no folder */
    }
    strcat(path, PLUGIN("good"));
    for (int again = 0; again < 2; again++) {
        aios_device_list *list;
        set_path(path);
        assert_ok(aios_device_list_create(context, &list));
        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
            const aios_backend_entry *entry = find_backend(list, wrong[i].path);
            if (entry->status != wrong[i].status) fail_msg("%s: %s: %s", wrong[i].path, aios_status_name(entry->status), entry->reason);
            assert_true(entry->reason[0]);
            assert_says(entry->reason, wrong[i].words);
            assert_int_equal(entry->device_count, 0);
        }
        const aios_backend_entry *good = find_backend(list, PLUGIN("good"));
        assert_int_equal(good->status, AIOS_OK);
        assert_int_equal(good->device_count, 2);
        assert_string_equal(good->version, "1.2.3");
        const aios_device_entry *last = aios_device_list_get(list, aios_device_list_count(list) - 1);
        assert_string_equal(last->spec, "null:1");
        assert_int_equal(last->id, 1);
        assert_string_equal(last->info.name, "Null 1000");
        assert_string_equal(last->info.vendor, "Nobody");
        aios_device_list_destroy(list);
    }
}

static void plugins_of_folders_are_found_by_their_names(void **state)
{
    (void)state;
    char folder[] = "/tmp/aios-device-XXXXXX", first[64], second[64], broken[64], path[256];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(first, sizeof first, "%s/libaios-null.so", folder);
    (void)snprintf(second, sizeof second, "%s/libaios-twin.so", folder);
    (void)snprintf(broken, sizeof broken, "%s/libaios-cuda.so", folder);
    (void)snprintf(path, sizeof path, "%s:%s", folder, folder);
    assert_int_equal(symlink(PLUGIN("good"), first), 0);
    assert_int_equal(symlink(PLUGIN("good"), second), 0);
    FILE *file = fopen(broken, "w");
    assert_non_null(file);
    assert_true(fputs("this is no library", file) >= 0);
    assert_int_equal(fclose(file), 0);
    aios_device_list *list;
    set_path(path);
    assert_ok(aios_device_list_create(context, &list));
    assert_int_equal(find_backend(list, "libaios-null.so")->status, AIOS_OK);
    assert_int_equal(find_backend(list, "libaios-twin.so")->status, AIOS_ALREADY_EXISTS);
    assert_string_equal(find_backend(list, "libaios-cuda.so")->name, "cuda");
    assert_int_equal(find_backend(list, "libaios-cuda.so")->status, AIOS_UNAVAILABLE);
    assert_int_equal(aios_device_list_backend_count(list), 6); /* cpu, cuda, xpu, hip, null, its twin */
    aios_device_list_destroy(list);
    aios_device *device = NULL;
    assert_fails(aios_device_open(context, "cuda:0", &device), AIOS_UNAVAILABLE, "libaios-cuda.so");
    assert_null(device);
    assert_int_equal(unlink(first) | unlink(second) | unlink(broken) | rmdir(folder), 0);
}

static void a_device_that_cannot_be_opened_hides_no_other(void **state)
{
    (void)state;
    aios_device_list *list;
    set_path(PLUGIN("good"));
    null->fail_open_index = 0;
    assert_ok(aios_device_list_create(context, &list));
    null->fail_open_index = -1;
    const aios_backend_entry *entry = find_backend(list, PLUGIN("good"));
    assert_int_equal(entry->status, AIOS_OK);
    assert_says(entry->reason, "null:0: the device is used exclusively");
    const aios_device_entry *last = aios_device_list_get(list, aios_device_list_count(list) - 1);
    assert_string_equal(last->spec, "null:1");
    assert_int_equal(last->id, 1);
    aios_device_list_destroy(list);
}

static void a_plugin_is_asked_once_per_process(void **state)
{
    (void)state;
    null->devices = 1; /* a second query would put it back to 2 */
    aios_device_list *list;
    set_path(PLUGIN("good"));
    assert_ok(aios_device_list_create(context, &list));
    assert_int_equal(find_backend(list, PLUGIN("good"))->device_count, 1);
    aios_device_list_destroy(list);
    null->devices = 2;
}

static void a_device_is_opened_by_name_or_number(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"cpu", "cpu:0"},
                                          {"cpu:0", "cpu:0"},
                                          {"null", "null:0"},
                                          {"null:1", "null:1"},
                                          {"0", "null:0"},
                                          {"1", "null:1"},
                                          {"gpu:1", "null:1"},
                                          {"gpu", "null:0"},
                                          {"0000:fa:01.0", "null:1"},
                                          {"FA:00.0", "null:0"},
                                          {"GPU-00000000-0000-0000-0000-00000000FA01", "null:1"}};
    static const char *const malformed[] = {"",        ":", ":0", "cpu:", "cpu:x", "cpu:-1", "1:2", "cpu:0:0", "averyveryverylongname:0",
                                            "99999999"};
    aios_device *device;
    set_path(PLUGIN("good"));
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_ok(aios_device_open(context, good[i][0], &device));
        assert_string_equal(aios_device_spec(device), good[i][1]);
        aios_device_close(device);
    }
    for (size_t i = 0; i < COUNT_OF(malformed); i++) {
        aios_status status = aios_device_open(context, malformed[i], &device);
        if (status != AIOS_INVALID_ARGUMENT && status != AIOS_NOT_FOUND)
            fail_msg("\"%s\" gives %s", malformed[i], aios_status_name(status));
        assert_null(device);
    }
    assert_fails(aios_device_open(context, "null:2", &device), AIOS_NOT_FOUND, "null:0 … null:1");
    assert_fails(aios_device_open(context, "2", &device), AIOS_NOT_FOUND, "cpu:0");
    assert_fails(aios_device_open(context, "tpu:0", &device), AIOS_NOT_FOUND, "tpu:0");
    assert_fails(aios_device_open(context, "gpu:2", &device), AIOS_NOT_FOUND, "null:1 (gpu:1, Null 1000)");
    assert_fails(aios_device_open(context, "0000:fa:02.0", &device), AIOS_NOT_FOUND, "no device 0000:fa:02.0");
    null->fail_open_index = 1; /* and its number stays its own */
    assert_fails(aios_device_open(context, "gpu:1", &device), AIOS_DEVICE_ERROR, "used exclusively");
    null->fail_open_index = -1;
    assert_fails(aios_device_open(context, "xpu:0", &device), AIOS_UNAVAILABLE, "libaios-xpu.so");
    assert_fails(aios_device_open(NULL, "cpu", &device), AIOS_INVALID_ARGUMENT, "context is NULL");
    assert_fails(aios_device_open(context, NULL, &device), AIOS_INVALID_ARGUMENT, "spec is NULL");
    assert_fails(aios_device_open(context, "cpu", NULL), AIOS_INVALID_ARGUMENT, "device is NULL");
}

/* ---- wrappers ---------------------------------------------------------------------------------------------------- */

static void a_failure_names_device_call_backend_and_native_code(void **state)
{
    (void)state;
    aios_device *device = open_null(1);
    aios_stream *stream;
    assert_ok(aios_stream_create(device, &stream));
    fail_next(NULL_FILL, AIOS_UNSUPPORTED, 801, "no such pattern");
    int word;
    assert_fails(aios_stream_fill(stream, &word, 0, 4), AIOS_UNSUPPORTED, "no such pattern (null:1: filling 4 bytes)");
    assert_string_equal(aios_error_backend(), "null");
    assert_int_equal(aios_error_native_code(), 801);
    assert_ok(aios_stream_fill(stream, &word, 7, 4)); /* that was no failure of the device */
    assert_int_equal(word, 7);
    fail_next(NULL_FILL, AIOS_UNSUPPORTED, 0, NULL);
    assert_fails(aios_stream_fill(stream, &word, 0, 4), AIOS_UNSUPPORTED, "gave no reason");
    fail_next(NULL_COPY, 4711, 0, "a code of the future");
    assert_fails(aios_stream_copy(stream, &word, &(int){1}, 4, AIOS_COPY_HOST_TO_DEVICE), AIOS_DEVICE_ERROR, "a code of the future");
    aios_stream_destroy(stream);
    aios_device_close(device);
}

static void the_first_failure_of_a_device_stays_and_other_devices_go_on(void **state)
{
    (void)state;
    aios_device *device = open_null(0), *other = open_null(1);
    aios_stream *stream, *second = NULL, *fine;
    aios_event *event;
    void *memory = NULL, *more = &memory;
    float ms = 5;
    int word = 0;
    assert_ok(aios_stream_create(device, &stream));
    assert_ok(aios_event_create(device, &event));
    assert_ok(aios_event_record(event, stream));
    assert_ok(aios_device_alloc(device, 100, &memory));
    assert_ok(aios_stream_create(other, &fine));
    assert_int_equal(aios_device_health(device), AIOS_OK);

    fail_next(NULL_STREAM_WAIT, AIOS_DEVICE_LOST, 999, "fell off the bus");
    assert_fails(aios_stream_synchronize(stream), AIOS_DEVICE_LOST, "fell off the bus");
    int copies = null->calls[NULL_COPY], allocs = null->calls[NULL_ALLOC];
    assert_fails(aios_stream_copy(stream, &word, &word, 4, AIOS_COPY_HOST_TO_DEVICE), AIOS_DEVICE_LOST, "null:0 failed earlier");
    assert_says(aios_error_message(), "fell off the bus");
    assert_int_equal(aios_error_native_code(), 999);
    assert_fails(aios_stream_create(device, &second), AIOS_DEVICE_LOST, "fell off the bus");
    assert_null(second);
    assert_fails(aios_device_alloc(device, (uint64_t)32 << 20, &more), AIOS_DEVICE_LOST, "fell off the bus");
    assert_null(more);
    assert_fails(aios_event_elapsed_ms(event, event, &ms), AIOS_DEVICE_LOST, "fell off the bus");
    assert_true(ms == 0);
    assert_fails(aios_device_synchronize(device), AIOS_DEVICE_LOST, "fell off the bus");
    assert_fails(aios_stream_wait_event(stream, event), AIOS_DEVICE_LOST, "fell off the bus");
    assert_fails(aios_device_memory_info(device, NULL, NULL), AIOS_DEVICE_LOST, "fell off the bus");
    assert_fails(aios_device_health(device), AIOS_DEVICE_LOST, "fell off the bus");
    assert_int_equal(null->calls[NULL_COPY], copies); /* the backend is left alone */
    assert_int_equal(null->calls[NULL_ALLOC], allocs);
    assert_ok(aios_stream_synchronize(fine));
    assert_int_equal(aios_device_health(other), AIOS_OK);

    int frees = null->calls[NULL_FREE], closes = null->calls[NULL_CLOSE], ends = null->calls[NULL_STREAM_END];
    aios_device_free(device, memory);
    aios_event_destroy(event);
    aios_stream_destroy(stream);
    aios_device_close(device);
    assert_true(null->calls[NULL_FREE] > frees);
    assert_int_equal(null->calls[NULL_CLOSE], closes + 1);
    assert_int_equal(null->calls[NULL_STREAM_END], ends + 1);
    aios_stream_destroy(fine);
    aios_device_close(other);
}

static void streams_and_events_keep_their_device(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    aios_stream *stream;
    aios_event *event;
    int closes = null->calls[NULL_CLOSE];
    assert_ok(aios_stream_create(device, &stream));
    assert_ok(aios_event_create(device, &event));
    assert_ptr_equal(aios_device_retain(device), device);
    aios_device_close(device);
    aios_device_close(device);
    assert_int_equal(null->calls[NULL_CLOSE], closes);
    assert_ptr_equal(aios_stream_device(stream), device);
    assert_ok(aios_event_record(event, stream));
    aios_stream_destroy(stream);
    assert_int_equal(null->calls[NULL_CLOSE], closes);
    aios_event_destroy(event);
    assert_int_equal(null->calls[NULL_CLOSE], closes + 1);
    aios_device_close(NULL);
    aios_stream_destroy(NULL);
    aios_event_destroy(NULL);
}

static void a_failed_open_leaves_nothing_behind(void **state)
{
    (void)state;
    aios_device *device;
    set_path(PLUGIN("good"));
    fail_next(NULL_OPEN, AIOS_DEVICE_ERROR, 3, "not today");
    assert_fails(aios_device_open(context, "null:0", &device), AIOS_DEVICE_ERROR, "not today (null:0: opening)");
    assert_null(device);
    device = open_null(0);
    aios_stream *stream;
    aios_event *event;
    fail_next(NULL_STREAM, AIOS_OUT_OF_MEMORY, 0, "no stream");
    assert_fails(aios_stream_create(device, &stream), AIOS_OUT_OF_MEMORY, "no stream");
    assert_null(stream);
    fail_next(NULL_EVENT, AIOS_OUT_OF_MEMORY, 0, "no event");
    assert_fails(aios_event_create(device, &event), AIOS_OUT_OF_MEMORY, "no event");
    assert_null(event);
    aios_device_close(device);
}

static void events_of_other_handles_are_refused_or_waited_for(void **state)
{
    (void)state;
    aios_device *one = open_null(0), *two = open_null(1);
    aios_stream *stream_one, *stream_two;
    aios_event *event, *never;
    float ms = 1;
    assert_ok(aios_stream_create(one, &stream_one));
    assert_ok(aios_stream_create(two, &stream_two));
    assert_ok(aios_event_create(one, &event));
    assert_ok(aios_event_create(one, &never));
    assert_fails(aios_event_record(event, stream_two), AIOS_INVALID_ARGUMENT, "null:1");
    int waits = null->calls[NULL_WAIT], blocks = null->calls[NULL_EVENT_WAIT];
    assert_ok(aios_stream_wait_event(stream_one, event)); /* never recorded: nothing to wait for */
    assert_ok(aios_event_synchronize(event));
    assert_int_equal(null->calls[NULL_WAIT], waits);
    assert_int_equal(null->calls[NULL_EVENT_WAIT], blocks);
    assert_ok(aios_event_record(event, stream_one));
    assert_ok(aios_stream_wait_event(stream_one, event));
    assert_int_equal(null->calls[NULL_WAIT], waits + 1);
    assert_ok(aios_stream_wait_event(stream_two, event));
    assert_int_equal(null->calls[NULL_WAIT], waits + 1);
    assert_int_equal(null->calls[NULL_EVENT_WAIT], blocks + 1);
    assert_fails(aios_event_elapsed_ms(never, event, &ms), AIOS_WRONG_STATE, "from was never recorded");
    assert_fails(aios_event_elapsed_ms(event, never, &ms), AIOS_WRONG_STATE, "to was never recorded");
    assert_ok(aios_event_elapsed_ms(event, event, &ms));
    assert_true(ms == 1.5f);
    aios_event_destroy(event);
    aios_event_destroy(never);
    aios_stream_destroy(stream_one);
    aios_stream_destroy(stream_two);
    aios_device_close(one);
    aios_device_close(two);
}

static void wrong_arguments_are_refused_before_the_backend_sees_them(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    aios_stream *stream;
    void *memory = &stream;
    int words[4];
    assert_ok(aios_stream_create(device, &stream));
    int before = null->calls[NULL_COPY] + null->calls[NULL_FILL] + null->calls[NULL_LAUNCH] + null->calls[NULL_ALLOC];
    assert_fails(aios_stream_copy(stream, words, words, 4, 3), AIOS_INVALID_ARGUMENT, "kind is 3");
    assert_fails(aios_stream_copy(stream, NULL, words, 4, 0), AIOS_INVALID_ARGUMENT, "to is NULL");
    assert_fails(aios_stream_copy(stream, words, NULL, 4, 0), AIOS_INVALID_ARGUMENT, "from is NULL");
    assert_fails(aios_stream_copy(NULL, words, words, 4, 0), AIOS_INVALID_ARGUMENT, "stream is NULL");
    assert_fails(aios_stream_fill(stream, words, 0, 6), AIOS_INVALID_ARGUMENT, "multiples of 4");
    assert_fails(aios_stream_fill(stream, (char *)words + 1, 0, 4), AIOS_INVALID_ARGUMENT, "multiples of 4");
    assert_fails(aios_stream_fill(stream, NULL, 0, 4), AIOS_INVALID_ARGUMENT, "to is NULL");
    assert_ok(aios_stream_copy(stream, NULL, NULL, 0, 0));
    assert_ok(aios_stream_fill(stream, NULL, 0, 0));
    assert_fails(aios_stream_launch(stream, aios_kernel_count(), 0, NULL), AIOS_OUT_OF_RANGE, "kernel is");
    assert_fails(aios_stream_launch(stream, 0, 0, NULL), AIOS_INVALID_ARGUMENT, "arguments is NULL");
    const void *const holes[32] = {NULL};
    assert_fails(aios_stream_launch(stream, 0, 0, holes), AIOS_INVALID_ARGUMENT, "argument 0");
    assert_fails(aios_device_alloc(device, 0, &memory), AIOS_INVALID_ARGUMENT, "size is 0");
    assert_null(memory);
    assert_fails(aios_device_alloc(device, 1, NULL), AIOS_INVALID_ARGUMENT, "pointer is NULL");
    assert_fails(aios_device_host_alloc(device, 0, &memory), AIOS_INVALID_ARGUMENT, "size is 0");
    aios_stream *none = stream;
    assert_fails(aios_stream_create(NULL, &none), AIOS_INVALID_ARGUMENT, "device is NULL");
    assert_null(none);
    assert_int_equal(null->calls[NULL_COPY] + null->calls[NULL_FILL] + null->calls[NULL_LAUNCH] + null->calls[NULL_ALLOC], before);
    aios_stream_destroy(stream);
    aios_device_close(device);
}

static void kernels_are_loaded_once_and_before_the_first_launch(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    aios_stream *stream;
    float x[4] = {0};
    assert_ok(aios_stream_create(device, &stream));
    int loads = null->calls[NULL_LOAD], launches = null->calls[NULL_LAUNCH];
    fail_next(NULL_LOAD, AIOS_UNSUPPORTED, 209, "no kernel image for this device");
    assert_fails(launch_scale_add(stream, AIOS_F32, 0, x, x, 1, 4, 1.0f, 0), AIOS_UNSUPPORTED, "no kernel image");
    assert_int_equal(null->calls[NULL_LAUNCH], launches);
    assert_ok(launch_scale_add(stream, AIOS_F32, 0, x, x, 1, 4, 1.0f, 0));
    assert_ok(launch_scale_add(stream, AIOS_F32, 5, x, x, 1, 4, 1.0f, 0));
    assert_int_equal(null->calls[NULL_LOAD], loads + 2);
    assert_int_equal(null->calls[NULL_LAUNCH], launches + 2);
    assert_string_equal(heard, "null launches");      /* the plugin's log is the context's */
    assert_int_equal(null->teams[launches % 64], 12); /* what the device suggests */
    assert_int_equal(null->teams[(launches + 1) % 64], 5);
    assert_string_equal(aios_kernel_get(null->launched[launches % 64])->name, "scale_add_f32");
    aios_stream_destroy(stream);
    aios_device_close(device);
}

static void a_backend_without_gemm_gets_the_portable_kernels(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    aios_stream *stream;
    float a[64], b[64], c[64], aux[64], bias[8];
    aios_gemm gemm = {.struct_size = sizeof gemm,
                      .m = 2,
                      .n = 3,
                      .k = 4,
                      .batch = 3,
                      .lda = 4,
                      .ldb = 3,
                      .ldc = 3,
                      .stride_a = 8,
                      .stride_b = 12,
                      .stride_c = 6,
                      .a = a,
                      .b = b,
                      .c = c,
                      .alpha = 1};
    assert_ok(aios_stream_create(device, &stream));
    int first = null->calls[NULL_LAUNCH];
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_int_equal(null->calls[NULL_LAUNCH], first + 1); /* batches are one launch */
    assert_string_equal(aios_kernel_get(null->launched[first % 64])->name, "gemm_f32");

    gemm.batch = 1;
    gemm.epilogue = AIOS_EPILOGUE_BIAS_GELU;
    gemm.bias = bias;
    gemm.aux = aux;
    first = null->calls[NULL_LAUNCH];
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_string_equal(aios_kernel_get(null->launched[(first + 1) % 64])->name, "bias_gelu_f32");

    null->table.gemm = &null->gemm; /* has no epilogue: the sum goes to aux, and the kernel follows */
    first = null->calls[NULL_LAUNCH];
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_int_equal(null->last_gemm.epilogue, AIOS_EPILOGUE_NONE);
    assert_ptr_equal(null->last_gemm.c, aux);
    assert_int_equal(null->calls[NULL_LAUNCH], first + 1);
    fail_next(NULL_GEMM, AIOS_UNSUPPORTED, 15, "not this shape");
    first = null->calls[NULL_LAUNCH];
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_int_equal(null->calls[NULL_LAUNCH], first + 2);

    gemm.epilogue = AIOS_EPILOGUE_GELU_BACKWARD;
    null->gemm.epilogues |= 1u << AIOS_EPILOGUE_GELU_BACKWARD;
    int gemms = null->calls[NULL_GEMM];
    first = null->calls[NULL_LAUNCH];
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_int_equal(null->last_gemm.epilogue, AIOS_EPILOGUE_GELU_BACKWARD);
    assert_int_equal(null->calls[NULL_LAUNCH], first);
    fail_next(NULL_GEMM, AIOS_UNSUPPORTED, 15, "not fused"); /* asked again without */
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_int_equal(null->last_gemm.epilogue, AIOS_EPILOGUE_NONE);
    assert_int_equal(null->calls[NULL_GEMM], gemms + 3);
    assert_string_equal(aios_kernel_get(null->launched[first % 64])->name, "gelu_backward_f32");
    null->gemm.epilogues = 1u << AIOS_EPILOGUE_NONE;
    fail_next(NULL_GEMM, AIOS_DEVICE_ERROR, 13, "execution failed");
    assert_fails(aios_stream_gemm(stream, &gemm), AIOS_DEVICE_ERROR, "gemm of (2, 4) by (4, 3)");
    null->table.gemm = NULL;
    aios_stream_destroy(stream);
    aios_device_close(device);
}

static void copies_between_devices_take_the_shortest_way(void **state)
{
    (void)state;
    aios_device *one = open_null(0), *two = open_null(1), *cpu;
    aios_stream *stream_one, *stream_two, *stream_cpu;
    size_t size = (10 << 20) + 12; /* over two stages and a bit */
    void *a, *b, *c;
    void *symbol;
    set_path(PLUGIN("good"));
    assert_ok(aios_device_open(context, "cpu", &cpu));
    assert_ok(aios_stream_create(one, &stream_one));
    assert_ok(aios_stream_create(two, &stream_two));
    assert_ok(aios_stream_create(cpu, &stream_cpu));
    assert_ok(aios_device_alloc(one, size, &a));
    assert_ok(aios_device_alloc(two, size, &b));
    assert_ok(aios_device_alloc(cpu, size, &c));
    for (size_t i = 0; i < size / 4; i++) ((uint32_t *)a)[i] = (uint32_t)(i * 2654435761u);
    memset(b, 0, size);
    memset(c, 0, size);
    assert_ok(stream_copy_peer(stream_two, b, stream_one, a, size)); /* the same backend, but it has no way of its own */
    assert_memory_equal(a, b, size);
    assert_ok(stream_copy_peer(stream_cpu, c, stream_two, b, size)); /* the CPU's memory needs no stage */
    assert_memory_equal(a, c, size);
    memset(b, 0, size);
    assert_ok(stream_copy_peer(stream_two, b, stream_cpu, c, size));
    assert_memory_equal(b, c, size);
    memset(b, 0, size);
    symbol = dlsym(dlopen(PLUGIN("good"), RTLD_NOW | RTLD_NOLOAD), "null_peer");
    memcpy(&null->table.copy_peer, &symbol, sizeof symbol);
    int peers = null->calls[NULL_PEER];
    assert_ok(stream_copy_peer(stream_two, b, stream_one, a, size));
    assert_int_equal(null->calls[NULL_PEER], peers + 1);
    assert_memory_equal(a, b, size);
    fail_next(NULL_PEER, AIOS_UNSUPPORTED, 217, "no peer access");
    memset(b, 0, size);
    assert_ok(stream_copy_peer(stream_two, b, stream_one, a, size));
    assert_memory_equal(a, b, size);
    null->table.copy_peer = NULL;
    assert_ok(stream_copy_peer(stream_one, (char *)a + size / 2, stream_one, b, 64));
    assert_memory_equal((char *)a + size / 2, b, 64);
    fail_next(NULL_COPY, AIOS_DEVICE_ERROR, 4, "broken link");
    assert_fails(stream_copy_peer(stream_two, b, stream_one, a, size), AIOS_DEVICE_ERROR, "broken link");
    aios_device_free(one, a);
    aios_device_free(two, b);
    aios_device_free(cpu, c);
    aios_stream_destroy(stream_one);
    aios_stream_destroy(stream_two);
    aios_stream_destroy(stream_cpu);
    aios_device_close(one);
    aios_device_close(two);
    aios_device_close(cpu);
}

static void what_a_backend_cannot_record_is_said(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    aios_stream *stream;
    stream_recording *recording;
    aios_telemetry telemetry;
    assert_ok(aios_stream_create(device, &stream));
    assert_false(device_can_capture(device));
    assert_fails(stream_capture_begin(stream), AIOS_UNSUPPORTED, "null:0");
    assert_fails(stream_capture_end(stream, &recording), AIOS_UNSUPPORTED, "can't record");
    assert_ok(device_read_telemetry(device, &telemetry));
    assert_true(telemetry.power < 0 && telemetry.temperature < 0 && telemetry.utilisation < 0);
    telemetry = (aios_telemetry){offsetof(aios_telemetry, power), 0, 0, 7, 7}; /* of a caller that knows no power */
    assert_ok(aios_device_get_telemetry(device, &telemetry));
    assert_true(telemetry.utilisation == -1 && telemetry.temperature == -1 && telemetry.power == 7);
    telemetry.struct_size = 0;
    assert_int_equal(aios_device_get_telemetry(device, &telemetry), AIOS_ABI_MISMATCH);
    aios_stream_destroy(stream);
    aios_device_close(device);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void memory_is_aligned_counted_and_used_again(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    uint64_t now, peak;
    void *blocks[300];
    int allocs = null->calls[NULL_ALLOC];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        assert_ok(aios_device_alloc(device, 1 + i * 37, &blocks[i]));
        assert_int_equal((uintptr_t)blocks[i] % 256, 0);
        memset(blocks[i], (int)i, 1 + i * 37);
    }
    uint64_t all = 0;
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        for (size_t at = 0; at < 1 + i * 37; at++) assert_int_equal(((unsigned char *)blocks[i])[at], (unsigned char)i);
        all += 1 + i * 37;
    }
    aios_device_memory_used(device, &now, &peak);
    assert_int_equal(now, all);
    assert_int_equal(peak, all);
    assert_true(null->calls[NULL_ALLOC] - allocs <= 2); /* 1.7 MB in segments, not in 300 pieces */
    for (size_t i = 0; i < COUNT_OF(blocks); i += 2) aios_device_free(device, blocks[i]);
    for (size_t i = 1; i < COUNT_OF(blocks); i += 2) aios_device_free(device, blocks[i]);
    aios_device_memory_used(device, &now, &peak);
    assert_int_equal(now, 0);
    assert_int_equal(peak, all);
    allocs = null->calls[NULL_ALLOC];
    void *whole;
    assert_ok(aios_device_alloc(device, 1 << 20, &whole)); /* the pieces have grown together again */
    assert_int_equal(null->calls[NULL_ALLOC], allocs);
    aios_device_free(device, whole);
    aios_device_free(device, NULL);
    aios_device_close(device);
    assert_int_equal(null->memory_used, 0);
}

static void a_full_device_gives_back_what_is_cached_and_then_says_so(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    void *small, *large, *big;
    null->memory_limit = (uint64_t)100 << 20;
    assert_ok(aios_device_alloc(device, 10 << 20, &large)); /* a segment of 64 MiB */
    aios_device_free(device, large);
    assert_true(null->memory_used >= (uint64_t)64 << 20);
    assert_ok(aios_device_alloc(device, 90 << 20, &big)); /* fits when the empty segment is given back */
    assert_fails(aios_device_alloc(device, 20 << 20, &large), AIOS_DEVICE_OUT_OF_MEMORY, "20971520 bytes asked");
    assert_says(aios_error_message(), "of 104857600");
    assert_string_equal(aios_error_backend(), "null");
    assert_null(large);
    assert_ok(aios_device_alloc(device, 9 << 20, &large)); /* no room for a segment, but for this */
    assert_int_equal(aios_device_health(device), AIOS_OK);
    assert_fails(aios_device_alloc(device, UINT64_MAX, &small), AIOS_DEVICE_OUT_OF_MEMORY, "bytes asked");
    assert_fails(aios_device_alloc(device, UINT64_MAX - 300, &small), AIOS_DEVICE_OUT_OF_MEMORY, "bytes asked");
    aios_device_free(device, big);
    aios_device_free(device, large);
    aios_device_free(device, large); /* told, not crashed */
    assert_says(heard, "no memory that this device handed out");
    aios_device_close(device);
    assert_int_equal(null->memory_used, 0);
    null->memory_limit = (uint64_t)256 << 20;
}

static void a_closed_device_gives_back_what_was_forgotten(void **state)
{
    (void)state;
    aios_device *device = open_null(0);
    void *memory;
    assert_ok(aios_device_alloc(device, 5000, &memory));
    assert_ok(aios_device_alloc(device, 50 << 20, &memory));
    aios_device_close(device);
    assert_says(heard, "2 blocks of its memory are still in use");
    assert_int_equal(null->memory_used, 0);
}

/* Random allocations against a plain record of who owns what. */
static void blocks_never_overlap(void **state)
{
    (void)state;
    enum { MOST = 200 };
    struct {
        unsigned char *at;
        size_t size;
    } held[MOST];
    size_t count = 0;
    uint32_t seed = 12345;
    aios_device *device = open_null(0);
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525u + 1013904223u;
        if (count < MOST && (seed >> 16) % 3 != 0) {
            size_t size = 1 + (seed >> 8) % (seed & 64 ? 3000 : (seed & 128 ? 40000 : 1 << 21));
            void *memory;
            if (aios_device_alloc(device, size, &memory) != AIOS_OK) continue; /* full: fine */
            held[count].at = memory;
            held[count].size = size;
            for (size_t i = 0; i < count; i++)
                assert_true(held[count].at + size <= held[i].at || held[i].at + held[i].size <= held[count].at);
            count++;
        } else if (count) {
            size_t victim = (seed >> 4) % count;
            aios_device_free(device, held[victim].at);
            held[victim] = held[--count];
        }
    }
    while (count) aios_device_free(device, held[--count].at);
    aios_device_close(device);
    assert_int_equal(null->memory_used, 0);
}

/* ---- many threads ------------------------------------------------------------------------------------------------ */

static void *scan(void *argument)
{
    for (int i = 0; i < 5; i++) {
        aios_device_list *list;
        if (aios_device_list_create(argument, &list) == AIOS_OK) aios_device_list_destroy(list);
    }
    return NULL;
}

static void several_threads_look_for_plugins(void **state)
{
    (void)state;
    pthread_t threads[4];
    set_path(TEST_PLUGINS "/libno_driver.so:" TEST_PLUGINS "/libwrong_abi.so");
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, scan, context), 0);
    for (int i = 0; i < 4; i++) (void)pthread_join(threads[i], NULL);
}

/* ---- the host's memory runs out ---------------------------------------------------------------------------------- */

struct allowance {
    int left;
};

static void *limited_alloc(void *user, size_t size)
{
    struct allowance *allowance = user;
    return allowance->left-- > 0 ? malloc(size) : NULL;
}

static void *limited_realloc(void *user, void *pointer, size_t size)
{
    struct allowance *allowance = user;
    return allowance->left-- > 0 ? realloc(pointer, size) : NULL;
}

static void limited_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

/* Every allocation on the way fails once; each time the call says so and leaves nothing behind. */
static void every_host_allocation_may_fail(void **state)
{
    (void)state;
    struct allowance allowance = {1 << 30};
    aios_allocator allocator = {sizeof allocator, 0, &allowance, limited_alloc, limited_realloc, limited_free};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *limited;
    options.allocator = &allocator;
    assert_ok(aios_context_create(&options, &limited));
    set_path(PLUGIN("good"));
    int finished = 0;
    for (int allowed = 0; allowed < 200 && !finished; allowed++) {
        aios_device_list *list = NULL;
        aios_device *device = NULL;
        aios_stream *stream = NULL;
        aios_event *event = NULL;
        void *memory = NULL;
        static float x[70000];
        allowance.left = allowed;
        aios_status status = aios_device_list_create(limited, &list);
        if (status == AIOS_OK) status = aios_device_open(limited, "cpu", &device);
        if (status == AIOS_OK) status = aios_stream_create(device, &stream);
        if (status == AIOS_OK) status = aios_event_create(device, &event);
        if (status == AIOS_OK) status = aios_event_record(event, stream);
        if (status == AIOS_OK) status = aios_device_alloc(device, 3000, &memory);
        if (status == AIOS_OK) status = launch_scale_add(stream, AIOS_F32, 0, x, x, 7, 10000, 2.0f, 0);
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY) fail_msg("%s: %s", aios_status_name(status), aios_error_message());
        finished = status == AIOS_OK;
        aios_device_free(device, memory);
        aios_event_destroy(event);
        aios_stream_destroy(stream);
        aios_device_close(device);
        aios_device_list_destroy(list);
    }
    assert_true(finished);
    aios_context_destroy(limited);
}

/* ------------------------------------------------------------------------------------------------------------------ */

static int open_group(void **state)
{
    (void)state;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = hear;
    options.log_level = AIOS_LOG_DEBUG;
    if (aios_context_create(&options, &context) != AIOS_OK) return 1;
    void *library = dlopen(PLUGIN("good"), RTLD_NOW | RTLD_LOCAL);
    null = library ? dlsym(library, "null_state") : NULL;
    aios_device_list *list; /* the plugin's state is set when it is asked first */
    set_path(PLUGIN("good"));
    if (!null || aios_device_list_create(context, &list) != AIOS_OK) return 1;
    aios_device_list_destroy(list);
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    set_path(NULL);
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_is_always_there_and_missing_plugins_are_told),
        cmocka_unit_test(every_unusable_plugin_says_why_and_hides_no_other),
        cmocka_unit_test(plugins_of_folders_are_found_by_their_names),
        cmocka_unit_test(a_device_that_cannot_be_opened_hides_no_other),
        cmocka_unit_test(a_plugin_is_asked_once_per_process),
        cmocka_unit_test(a_device_is_opened_by_name_or_number),
        cmocka_unit_test(a_failure_names_device_call_backend_and_native_code),
        cmocka_unit_test(the_first_failure_of_a_device_stays_and_other_devices_go_on),
        cmocka_unit_test(streams_and_events_keep_their_device),
        cmocka_unit_test(a_failed_open_leaves_nothing_behind),
        cmocka_unit_test(events_of_other_handles_are_refused_or_waited_for),
        cmocka_unit_test(wrong_arguments_are_refused_before_the_backend_sees_them),
        cmocka_unit_test(kernels_are_loaded_once_and_before_the_first_launch),
        cmocka_unit_test(a_backend_without_gemm_gets_the_portable_kernels),
        cmocka_unit_test(copies_between_devices_take_the_shortest_way),
        cmocka_unit_test(what_a_backend_cannot_record_is_said),
        cmocka_unit_test(memory_is_aligned_counted_and_used_again),
        cmocka_unit_test(a_full_device_gives_back_what_is_cached_and_then_says_so),
        cmocka_unit_test(a_closed_device_gives_back_what_was_forgotten),
        cmocka_unit_test(blocks_never_overlap),
        cmocka_unit_test(several_threads_look_for_plugins),
        cmocka_unit_test(every_host_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("device", tests, open_group, close_group);
}
