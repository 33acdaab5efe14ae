/* What lib/comm promises: sums in the order of the ranks, for every kind of rank, and failures that reach everybody. */
#include "comm/comm.h"

#include "base/os.h"
#include "comm_check.h"
#include "test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MOST 5

static aios_context *context;
static aios_device *device;

/* One rank's thread: joins, runs the test's function, leaves. */
struct rank {
    comm_group *group;
    int rank, ranks;
    aios_status (*run)(struct rank *r, communicator *c);
    const void *user;
    aios_stream *stream;
    os_thread thread;
    aios_status status;
    char message[512];
};

static void *run_rank(void *argument)
{
    struct rank *r = argument;
    static const char *const names[RANKS_MOST] = {"cpu:0", "cpu:1", "cpu:2", "cpu:3", "cpu:4"};
    communicator *c;
    r->status = comm_join(r->group, r->rank, names[r->rank], r->stream, &c);
    if (r->status == AIOS_OK) r->status = r->run(r, c);
    if (r->status != AIOS_OK) (void)snprintf(r->message, sizeof r->message, "%s", aios_error_message());
    comm_leave(c);
    return NULL;
}

static void run_ranks(struct rank *all, const comm_options *options, aios_status (*run)(struct rank *, communicator *), const void *user)
{
    comm_group *group;
    assert_ok(comm_group_create(context, options, &group));
    for (int r = 0; r < options->ranks; r++) {
        all[r] = (struct rank){.group = group, .rank = r, .ranks = options->ranks, .run = run, .user = user};
        assert_ok(aios_stream_create(device, &all[r].stream));
    }
    for (int r = 0; r < options->ranks; r++) assert_ok(os_thread_start(&all[r].thread, "rank", run_rank, &all[r]));
    for (int r = 0; r < options->ranks; r++) {
        os_thread_join(all[r].thread);
        aios_stream_destroy(all[r].stream);
    }
    comm_group_destroy(group);
}

static float *make_buffer(uint64_t count)
{
    void *memory;
    return aios_device_alloc(device, count * sizeof(float), &memory) == AIOS_OK ? memory : NULL;
}

/* ---- collectives -------------------------------------------------------------------------------------------------- */

static aios_status all_sizes(struct rank *r, communicator *c)
{
    return comm_check_sizes(c, r->stream, comm_check_flat_sum);
}

static void check_collectives(int stage)
{
    for (int ranks = 1; ranks <= RANKS_MOST; ranks++) {
        struct rank all[RANKS_MOST];
        comm_options options = {.ranks = ranks, .deadline = 60, .chunk_bytes = 16384, .always_stage = stage};
        run_ranks(all, &options, all_sizes, NULL);
        for (int r = 0; r < ranks; r++)
            if (all[r].status != AIOS_OK) fail_msg("%s", all[r].message);
    }
}

static void sums_are_taken_in_the_order_of_the_ranks(void **state)
{
    (void)state;
    check_collectives(0);
}

static void staged_ranks_get_the_same(void **state)
{
    (void)state;
    check_collectives(1);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static aios_status unequal_counts(struct rank *r, communicator *c)
{
    float x[8] = {0};
    return comm_all_reduce(c, x, r->rank == 1 ? 7 : 8);
}

static aios_status unequal_parts(struct rank *r, communicator *c)
{
    float x[8] = {0};
    uint64_t offsets[] = {0, r->rank == 1 ? 3 : 4, 8};
    return comm_reduce_scatter(c, x, offsets);
}

static aios_status unequal_kinds(struct rank *r, communicator *c)
{
    float x[8] = {0};
    return r->rank ? comm_broadcast(c, x, 8, 0) : comm_all_reduce(c, x, 8);
}

static void ranks_that_want_different_things_are_told(void **state)
{
    (void)state;
    static const struct {
        aios_status (*run)(struct rank *, communicator *);
        const char *named;
    } cases[] = {{unequal_counts, "of 7 elements"}, {unequal_parts, "other parts"}, {unequal_kinds, "broadcast"}};
    for (size_t k = 0; k < COUNT_OF(cases); k++) {
        struct rank all[RANKS_MOST];
        comm_options options = {.ranks = 2, .deadline = 60};
        run_ranks(all, &options, cases[k].run, NULL);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(all[r].status, AIOS_WRONG_STATE);
            if (!strstr(all[r].message, cases[k].named)) fail_msg("\"%s\" doesn't say %s", all[r].message, cases[k].named);
        }
    }
}

static aios_status falling_parts(struct rank *r, communicator *c)
{
    float x[8] = {0};
    uint64_t offsets[3] = {0, 9, 8};
    return r->rank ? comm_barrier(c) : comm_reduce_scatter(c, x, offsets);
}

static aios_status late_parts(struct rank *r, communicator *c)
{
    float x[8] = {0};
    uint64_t offsets[3] = {1, 4, 8};
    return r->rank ? comm_barrier(c) : comm_all_gather(c, x, offsets);
}

static aios_status no_root(struct rank *r, communicator *c)
{
    float x[8] = {0};
    return r->rank ? comm_barrier(c) : comm_broadcast(c, x, 8, 2);
}

static aios_status many_numbers(struct rank *r, communicator *c)
{
    double numbers[COMM_NUMBERS_MOST + 1] = {0};
    return r->rank ? comm_barrier(c) : comm_sum_numbers(c, numbers, COMM_NUMBERS_MOST + 1);
}

static void a_wrong_argument_reaches_all_and_names_the_rank(void **state)
{
    (void)state;
    static const struct {
        aios_status (*run)(struct rank *, communicator *);
        aios_status status;
        const char *message;
    } cases[] = {
        {falling_parts, AIOS_INVALID_ARGUMENT, "rank 0 (cpu:0): the part of rank 1 is from 9 to 8: it must not end before it begins"},
        {late_parts, AIOS_INVALID_ARGUMENT, "rank 0 (cpu:0): the parts begin at 1: it must be 0"},
        {no_root, AIOS_INVALID_ARGUMENT, "rank 0 (cpu:0): root 2 of 2 ranks: it must be from 0 to 1"},
        {many_numbers, AIOS_OUT_OF_RANGE, "rank 0 (cpu:0): 65 numbers to sum: 0 to 64 are allowed"},
    };
    for (size_t k = 0; k < COUNT_OF(cases); k++) {
        struct rank all[RANKS_MOST];
        comm_options options = {.ranks = 2, .deadline = 60};
        run_ranks(all, &options, cases[k].run, NULL);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(all[r].status, cases[k].status);
            assert_string_equal(all[r].message, cases[k].message);
        }
    }
}

static aios_status stay_away(struct rank *r, communicator *c)
{
    if (r->rank < 2) return comm_barrier(c);
    os_sleep(0.5);
    return AIOS_OK;
}

static aios_status leave_early(struct rank *r, communicator *c)
{
    return r->rank == 2 ? AIOS_OK : comm_barrier(c);
}

static void a_rank_that_leaves_is_waited_for_by_nobody(void **state)
{
    (void)state;
    struct rank all[RANKS_MOST];
    comm_options options = {.ranks = 3};
    run_ranks(all, &options, leave_early, NULL);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(all[r].status, AIOS_WRONG_STATE);
        assert_string_equal(all[r].message, "rank 2 (cpu:2) left the group");
    }
}

/* Rank 1 fails somewhere in the middle of many collectives and frees its buffer at once. */
static aios_status fail_somewhere(struct rank *r, communicator *c)
{
    enum { COUNT = 20000 };
    float *x = make_buffer(COUNT);
    aios_status status = x ? AIOS_OK : AIOS_DEVICE_OUT_OF_MEMORY;
    if (x) memset(x, 0, COUNT * sizeof *x);
    for (int n = 0; n < 40 && status == AIOS_OK; n++) {
        if (r->rank == 1 && n == 20) comm_abort(c, AIOS_DEVICE_ERROR, "injected");
        status = comm_all_reduce(c, x, COUNT);
    }
    aios_device_free(device, x);
    return status;
}

static void a_failure_in_the_middle_reaches_all(void **state)
{
    (void)state;
    for (int stage = 0; stage < 2; stage++) {
        struct rank all[RANKS_MOST];
        comm_options options = {.ranks = 4, .chunk_bytes = 4096, .always_stage = stage};
        run_ranks(all, &options, fail_somewhere, NULL);
        for (int r = 0; r < 4; r++) {
            assert_int_equal(all[r].status, AIOS_DEVICE_ERROR);
            assert_string_equal(all[r].message, "injected");
        }
    }
}

static void a_rank_that_does_not_come_is_missed_after_the_deadline(void **state)
{
    (void)state;
    struct rank all[RANKS_MOST];
    comm_options options = {.ranks = 3, .deadline = 0.1};
    double began = os_now();
    run_ranks(all, &options, stay_away, NULL);
    assert_true(os_now() - began < 30);
    assert_int_equal(all[2].status, AIOS_OK);
    for (int r = 0; r < 2; r++) {
        assert_int_equal(all[r].status, AIOS_TIMEOUT);
        assert_non_null(strstr(all[r].message, "2 of 3 ranks"));
    }
}

static aios_status abort_others(struct rank *r, communicator *c)
{
    if (r->rank == 1) {
        comm_abort(c, AIOS_DEVICE_LOST, "cpu:1 went away");
        comm_abort(c, AIOS_IO, "something later");
    }
    return comm_barrier(c);
}

static void an_abort_ends_waiting_for_all(void **state)
{
    (void)state;
    struct rank all[RANKS_MOST];
    comm_options options = {.ranks = 4};
    run_ranks(all, &options, abort_others, NULL);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(all[r].status, AIOS_DEVICE_LOST);
        assert_string_equal(all[r].message, "cpu:1 went away");
    }
}

static void what_makes_no_group_is_refused(void **state)
{
    (void)state;
    comm_group *group;
    communicator *c, *twin;
    aios_stream *stream;
    comm_options options = {.ranks = 0};
    assert_int_equal(comm_group_create(context, &options, &group), AIOS_INVALID_ARGUMENT);
    assert_null(group);
    options.ranks = 2;
    assert_ok(comm_group_create(context, &options, &group));
    assert_ok(aios_stream_create(device, &stream));
    assert_int_equal(comm_join(group, 2, "x", stream, &c), AIOS_INVALID_ARGUMENT);
    assert_ok(comm_join(group, 1, "x", stream, &c));
    assert_int_equal(comm_join(group, 1, "y", stream, &twin), AIOS_ALREADY_EXISTS);
    assert_int_equal(comm_rank(c), 1);
    assert_int_equal(comm_ranks(c), 2);
    comm_leave(c);
    comm_leave(NULL);
    aios_stream_destroy(stream);
    comm_group_destroy(group);
}

static int begin(void **state)
{
    (void)state;
    context = test_context();
    assert_ok(aios_device_open(context, "cpu", &device));
    return 0;
}

static int end(void **state)
{
    (void)state;
    aios_device_close(device);
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_taken_in_the_order_of_the_ranks),
        cmocka_unit_test(staged_ranks_get_the_same),
        cmocka_unit_test(ranks_that_want_different_things_are_told),
        cmocka_unit_test(a_rank_that_does_not_come_is_missed_after_the_deadline),
        cmocka_unit_test(a_wrong_argument_reaches_all_and_names_the_rank),
        cmocka_unit_test(a_rank_that_leaves_is_waited_for_by_nobody),
        cmocka_unit_test(a_failure_in_the_middle_reaches_all),
        cmocka_unit_test(an_abort_ends_waiting_for_all),
        cmocka_unit_test(what_makes_no_group_is_refused),
    };
    return cmocka_run_group_tests_name("comm", tests, begin, end);
}
