/* What the simulated devices promise: see vendor.h. */
#include "test.h"
#include "vendor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char report[] = "/tmp/aios-vendor-XXXXXX";

/* How many lines of the report hold the words, since the last time that any were asked for. */
static int complaints(const char *words)
{
    char line[600];
    int count = 0;
    FILE *file = fopen(report, "r+");
    while (file && fgets(line, sizeof line, file)) count += strstr(line, words) != NULL;
    if (file && ftruncate(fileno(file), 0) != 0) count = -1;
    if (file) (void)fclose(file);
    return count;
}

static vendor_device *cuda(int index)
{
    return vendor_get("cuda", NULL, index);
}

static void devices_are_counted_and_masked(void **state)
{
    (void)state;
    assert_int_equal(vendor_count("cuda", NULL), 3);
    assert_int_equal(vendor_count("hip", NULL), 1);
    assert_int_equal(vendor_count("xpu", NULL), 0);
    assert_int_equal(vendor_count("cuda", "2,0"), 2);
    assert_int_equal(vendor_count("cuda", "1,7,0"), 1); /* the first wrong number ends it */
    assert_int_equal(vendor_count("cuda", ""), 0);
    assert_int_equal(vendor_index(vendor_get("cuda", "2,0", 0)), 2);
}

static void memory_is_limited_and_counted(void **state)
{
    uint64_t left, total;
    void *a, *b;
    (void)state;
    assert_int_equal(vendor_alloc(cuda(0), 48 << 20, 0, &a), VENDOR_OK);
    assert_int_equal(vendor_alloc(cuda(0), 48 << 20, 0, &b), VENDOR_NO_MEMORY);
    vendor_memory(cuda(0), &left, &total);
    assert_int_equal(left, 16 << 20);
    assert_int_equal(total, 64 << 20);
    assert_int_equal(vendor_free(cuda(0), a), VENDOR_OK);
    assert_int_equal(vendor_free(cuda(0), a), VENDOR_INVALID);
    assert_int_equal(complaints("is freed"), 1);
}

static void fresh_memory_is_nan(void **state)
{
    void *p;
    float values[4] = {0};
    (void)state;
    assert_int_equal(vendor_alloc(cuda(0), 16, 0, &p), VENDOR_OK);
    assert_int_equal(vendor_copy_now(cuda(0), values, NULL, p, cuda(0), 16), VENDOR_OK);
    for (int i = 0; i < 4; i++) assert_true(values[i] != values[i]);
    assert_int_equal(vendor_free(cuda(0), p), VENDOR_OK);
}

static void wrong_pointers_and_sizes_are_refused(void **state)
{
    void *here, *there, *pinned;
    char host[64] = "";
    vendor_stream *stream;
    (void)state;
    assert_int_equal(vendor_stream_create(cuda(0), &stream), VENDOR_OK);
    assert_int_equal(vendor_alloc(cuda(0), 64, 0, &here), VENDOR_OK);
    assert_int_equal(vendor_alloc(cuda(1), 64, 0, &there), VENDOR_OK);
    assert_int_equal(vendor_host_alloc(cuda(0), 64, &pinned), VENDOR_OK);
    assert_int_equal(vendor_copy(stream, here, cuda(0), host, NULL, 65), VENDOR_INVALID);
    assert_int_equal(complaints("ends after 64"), 1);
    assert_int_equal(vendor_copy(stream, there, cuda(0), host, NULL, 64), VENDOR_INVALID);
    assert_int_equal(complaints("given no access"), 1);
    assert_int_equal(vendor_copy(stream, here, NULL, host, NULL, 64), VENDOR_INVALID);
    assert_int_equal(complaints("host memory is expected"), 1);
    assert_int_equal(vendor_copy(stream, host, cuda(0), here, cuda(0), 64), VENDOR_INVALID);
    assert_int_equal(complaints("no memory that a device can reach"), 1);
    assert_int_equal(vendor_copy(stream, pinned, cuda(0), here, cuda(0), 64), VENDOR_OK);
    assert_int_equal(vendor_enable_peer(cuda(0), cuda(1)), VENDOR_OK);
    assert_int_equal(vendor_copy(stream, there, cuda(0), here, cuda(0), 64), VENDOR_OK);
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_OK);
    assert_int_equal(vendor_disable_peer(cuda(0), cuda(1)), VENDOR_OK);
    vendor_stream_destroy(stream);
    assert_int_equal(vendor_host_free(cuda(0), pinned), VENDOR_OK);
    assert_int_equal(vendor_free(cuda(0), here), VENDOR_OK);
    assert_int_equal(vendor_free(cuda(1), there), VENDOR_OK);
}

static const char *write_behind(vendor_device *device, void *payload)
{
    char *bytes = vendor_bytes(device, payload, 10);
    bytes[10] = 1;
    return NULL;
}

static void writing_behind_an_allocation_is_seen(void **state)
{
    vendor_stream *stream;
    void *p;
    (void)state;
    assert_int_equal(vendor_stream_create(cuda(0), &stream), VENDOR_OK);
    assert_int_equal(vendor_alloc(cuda(0), 10, 0, &p), VENDOR_OK);
    assert_int_equal(vendor_submit(stream, "bad", write_behind, NULL, p), VENDOR_OK);
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_OK);
    assert_int_equal(vendor_free(cuda(0), p), VENDOR_OK);
    assert_int_equal(complaints("wrote behind"), 1);
    vendor_stream_destroy(stream);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static char happened[64];

static const char *note(vendor_device *device, void *payload)
{
    size_t length = strlen(happened);
    (void)device;
    happened[length] = *(const char *)payload;
    happened[length + 1] = 0;
    return NULL;
}

static void submit(vendor_stream *stream, const char *letters)
{
    for (; *letters; letters++) assert_int_equal(vendor_submit(stream, "note", note, NULL, (void *)(uintptr_t)letters), VENDOR_OK);
}

static void work_waits_until_it_is_waited_for(void **state)
{
    vendor_stream *stream;
    (void)state;
    happened[0] = 0;
    assert_int_equal(vendor_stream_create(cuda(0), &stream), VENDOR_OK);
    submit(stream, "abc");
    usleep(1000);
    assert_string_equal(happened, "");
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_OK);
    assert_string_equal(happened, "abc");
    vendor_stream_destroy(stream);
}

static void events_order_streams(int other)
{
    vendor_stream *a, *b;
    vendor_event *event;
    int mixed = 0;
    assert_int_equal(vendor_stream_create(cuda(0), &a), VENDOR_OK);
    assert_int_equal(vendor_stream_create(cuda(other), &b), VENDOR_OK);
    assert_int_equal(vendor_event_create(cuda(0), &event), VENDOR_OK);
    for (int i = 0; i < 40; i++) {
        happened[0] = 0;
        submit(a, "123");
        assert_int_equal(vendor_event_record(event, a), VENDOR_OK);
        submit(a, "45");
        submit(b, "x");
        assert_int_equal(vendor_event_wait(event, b), VENDOR_OK);
        submit(b, "y");
        assert_int_equal(vendor_stream_synchronize(b), VENDOR_OK);
        assert_int_equal(vendor_event_query(event), VENDOR_OK);
        assert_true(strchr(happened, '3') < strchr(happened, 'y'));
        assert_true(strchr(happened, '1') < strchr(happened, '2') && strchr(happened, '2') < strchr(happened, '3'));
        mixed |= 1 << (strchr(happened, 'x') - happened);
        assert_int_equal(vendor_stream_synchronize(a), VENDOR_OK);
    }
    if (other == 0) assert_true((mixed & (mixed - 1)) != 0); /* not always in one order */
    vendor_event_destroy(event);
    vendor_stream_destroy(a);
    vendor_stream_destroy(b);
}

static void streams_interleave_but_events_order_them(void **state)
{
    (void)state;
    events_order_streams(0);
    events_order_streams(1);
}

static void flags_are_set_by_work_and_a_wait_for_nothing_is_told(void **state)
{
    vendor_stream *a, *b;
    vendor_event *flag;
    (void)state;
    happened[0] = 0;
    assert_int_equal(vendor_stream_create(cuda(0), &a), VENDOR_OK);
    assert_int_equal(vendor_stream_create(cuda(0), &b), VENDOR_OK);
    assert_int_equal(vendor_event_create(cuda(0), &flag), VENDOR_OK);
    assert_int_equal(vendor_flag_wait(flag, a), VENDOR_OK);
    submit(a, "2");
    assert_int_equal(vendor_stream_query(a), VENDOR_NOT_READY);
    assert_int_equal(vendor_flag_synchronize(flag, 0), VENDOR_NOT_READY);
    assert_int_equal(vendor_stream_synchronize(a), VENDOR_DEADLOCK);
    assert_int_equal(complaints("no submitted work will ever bring"), 1);
    submit(b, "1");
    assert_int_equal(vendor_flag_set(flag, b), VENDOR_OK);
    assert_int_equal(vendor_stream_synchronize(a), VENDOR_OK);
    assert_string_equal(happened, "12");
    assert_int_equal(vendor_flag_synchronize(flag, 1), VENDOR_OK);
    assert_int_equal(vendor_flag_clear(flag, NULL), VENDOR_OK);
    assert_int_equal(vendor_flag_synchronize(flag, 0), VENDOR_NOT_READY);
    vendor_event_destroy(flag);
    vendor_stream_destroy(a);
    vendor_stream_destroy(b);
}

static void recordings_replay(void **state)
{
    vendor_stream *stream, *recording;
    void *p, *memory;
    int host = 0;
    (void)state;
    happened[0] = 0;
    assert_int_equal(vendor_alloc(cuda(0), 4, 0, &memory), VENDOR_OK);
    assert_int_equal(vendor_stream_create(cuda(0), &stream), VENDOR_OK);
    assert_int_equal(vendor_capture_begin(stream), VENDOR_OK);
    submit(stream, "ab");
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_UNSUPPORTED);
    assert_int_equal(vendor_alloc(cuda(0), 10, 0, &p), VENDOR_UNSUPPORTED);
    assert_int_equal(vendor_copy(stream, memory, cuda(0), &host, NULL, 4), VENDOR_UNSUPPORTED);
    assert_int_equal(vendor_capture_end(stream, &recording), VENDOR_OK);
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_OK);
    assert_string_equal(happened, "");
    assert_int_equal(vendor_replay(stream, recording), VENDOR_OK);
    assert_int_equal(vendor_replay(stream, recording), VENDOR_OK);
    vendor_stream_destroy(recording);
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_OK);
    assert_string_equal(happened, "abab");
    vendor_stream_destroy(stream);
    assert_int_equal(vendor_free(cuda(0), memory), VENDOR_OK);
    assert_int_equal(complaints(""), 3);
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static const char *go_wrong(vendor_device *device, void *payload)
{
    (void)device, (void)payload;
    return "it went wrong";
}

static void calls_fail_by_name_and_number(void **state)
{
    (void)state;
    assert_int_equal(vendor_call("cuda", cuda(0), "cuOther"), VENDOR_OK);
    assert_int_equal(vendor_call("cuda", cuda(0), "cuThing_v2"), VENDOR_OK);
    assert_int_equal(vendor_call("cuda", cuda(1), "cuThing_v2"), VENDOR_OK);
    assert_int_equal(vendor_call("cuda", cuda(0), "cuThing_v2"), VENDOR_FAULT); /* the second */
    assert_int_equal(vendor_fault_code(), 42);
    assert_int_equal(vendor_call("cuda", cuda(0), "cuThing_v2"), VENDOR_OK);
    assert_int_equal(vendor_call("hip", NULL, "hipInit"), VENDOR_FAULT);
    assert_int_equal(vendor_call("hip", NULL, "hipInit"), VENDOR_FAULT);
    assert_int_equal(complaints(""), 0);
}

static void failed_work_and_a_lost_device_stay(void **state)
{
    vendor_stream *stream, *other;
    (void)state;
    happened[0] = 0;
    assert_int_equal(vendor_stream_create(cuda(1), &stream), VENDOR_OK);
    assert_int_equal(vendor_submit(stream, "bad work", go_wrong, NULL, NULL), VENDOR_OK);
    submit(stream, "never");
    assert_int_equal(vendor_call("cuda", cuda(1), "cuOther"), VENDOR_OK); /* nobody knows yet */
    assert_int_equal(vendor_stream_synchronize(stream), VENDOR_ILLEGAL);
    assert_int_equal(vendor_call("cuda", cuda(1), "cuOther"), VENDOR_ILLEGAL);
    assert_string_equal(vendor_reason(), "bad work: it went wrong");
    assert_string_equal(happened, "");
    vendor_stream_destroy(stream);
    assert_int_equal(vendor_call("cuda", cuda(0), "cuOther"), VENDOR_OK); /* the others go on */
    assert_int_equal(complaints("bad work"), 1);

    assert_int_equal(vendor_stream_create(cuda(2), &other), VENDOR_OK);
    assert_int_equal(vendor_call("cuda", cuda(2), "cuLose"), VENDOR_LOST);
    assert_int_equal(vendor_stream_synchronize(other), VENDOR_LOST);
    assert_int_equal(vendor_call("cuda", cuda(2), "cuOther"), VENDOR_LOST);
    vendor_stream_destroy(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_counted_and_masked),
        cmocka_unit_test(memory_is_limited_and_counted),
        cmocka_unit_test(fresh_memory_is_nan),
        cmocka_unit_test(wrong_pointers_and_sizes_are_refused),
        cmocka_unit_test(writing_behind_an_allocation_is_seen),
        cmocka_unit_test(work_waits_until_it_is_waited_for),
        cmocka_unit_test(streams_interleave_but_events_order_them),
        cmocka_unit_test(flags_are_set_by_work_and_a_wait_for_nothing_is_told),
        cmocka_unit_test(recordings_replay),
        cmocka_unit_test(calls_fail_by_name_and_number),
        cmocka_unit_test(failed_work_and_a_lost_device_stay),
    };
    int file = mkstemp(report);
    if (file < 0 || close(file) != 0) return 1;
    (void)setenv("AIOS_SIM_REPORT", report, 1);
    (void)setenv("AIOS_SIM",
                 "cuda:3,hip:1;memory=cuda=64MiB;speed=hip:0=0.5;fault=cuThing=42@cuda:0:2:once;fault=hipInit@hip:forever;"
                 "fault=cuLose@cuda:2:lost;seed=5",
                 1);
    int failed = cmocka_run_group_tests_name("simulated devices", tests, NULL, NULL);
    (void)unlink(report);
    (void)unsetenv("AIOS_SIM_REPORT");
    return failed;
}
