/* What lib/comm/hierarchical.h promises: ranks as threads of several processes, with one sum for all of them, and one failure. */
#include "comm/hierarchical.h"

#include "comm/engine.h"
#include "comm/world.h"
#include "comm_check.h"
#include "processes.h"

#define PROCESSES    3
#define THREADS_MOST 3

static const int sizes[PROCESSES] = {2, 1, 3};
static const int first[PROCESSES + 1] = {0, 2, 3, 6};

struct setting {
    int port;
    double deadline;
    aios_status (*run)(communicator *c, aios_stream *stream);
};

struct rank {
    const struct setting *setting;
    comm_group *group;
    aios_stream *stream;
    int rank;
    os_thread thread;
    aios_status status;
    aios_error_record error;
};

static void *run_thread(void *argument)
{
    struct rank *r = argument;
    static const char *const names[] = {"cpu:0", "cpu:1", "cpu:2", "cpu:3", "cpu:4", "cpu:5"};
    communicator *c = NULL;
    r->status = comm_join(r->group, r->rank, names[r->rank], r->stream, &c);
    if (r->status == AIOS_OK) r->status = r->setting->run(c, r->stream);
    aios_error_save(&r->error);
    comm_leave(c);
    return NULL;
}

/* All threads of one process; the first failure. */
static aios_status run_threads(const struct setting *s, comm_group *group, aios_device *device, int process)
{
    struct rank all[THREADS_MOST];
    for (int i = 0; i < sizes[process]; i++) {
        all[i] = (struct rank){.setting = s, .group = group, .rank = first[process] + i};
        TRY_QUIET(aios_stream_create(device, &all[i].stream));
        TRY_QUIET(os_thread_start(&all[i].thread, "rank", run_thread, &all[i]));
    }
    for (int i = 0; i < sizes[process]; i++) os_thread_join(all[i].thread);
    for (int i = 0; i < sizes[process]; i++) aios_stream_destroy(all[i].stream);
    for (int i = 0; i < sizes[process]; i++) { /* all have the same to say */
        if (all[i].status != all[0].status)
            return FAIL(AIOS_INTERNAL, "thread %d has status %d: %s", i, all[i].status, all[i].error.message);
        if (all[i].status != AIOS_OK && strcmp(all[i].error.message, all[0].error.message) != 0)
            return FAIL(AIOS_INTERNAL, "thread %d says \"%s\", thread 0 \"%s\"", i, all[i].error.message, all[0].error.message);
    }
    return all[0].status == AIOS_OK ? AIOS_OK : aios_error_restore(&all[0].error);
}

static aios_status make_group(aios_context *context, const struct setting *s, comm_world *world, int process, comm_group **group)
{
    comm_options inner_options = {.ranks = sizes[process], .deadline = 4 * s->deadline, .chunk_bytes = 16384},
                 outer_options = {.chunk_bytes = 16384};
    comm_group *inner = NULL, *outer = NULL;
    if (sizes[process] > 1) TRY_QUIET(comm_group_create(context, &inner_options, &inner));
    aios_status status = comm_world_group(world, &outer_options, &outer);
    if (status == AIOS_OK) status = comm_hierarchical_create(context, inner, outer, sizes, PROCESSES, process, group);
    if (status == AIOS_OK) return AIOS_OK;
    comm_group_destroy(inner);
    comm_group_destroy(outer);
    return status;
}

static aios_status run_process(int process, void *user)
{
    struct setting *s = user;
    aios_device *device = NULL;
    comm_world *world = NULL;
    comm_group *group = NULL;
    char name[16];
    (void)snprintf(name, sizeof name, "process %d", process);
    comm_world_options options = {
        .rank = process, .ranks = PROCESSES, .name = name, .port = s->port, .deadline = s->deadline, .host_store = process == 0};
    aios_context *context = test_context();
    aios_status status = aios_device_open(context, "cpu", &device);
    if (status == AIOS_OK) status = comm_world_open(context, &options, &world);
    if (status == AIOS_OK) status = make_group(context, s, world, process, &group);
    if (status == AIOS_OK) status = run_threads(s, group, device, process);
    aios_error_record record;
    aios_error_save(&record);
    comm_group_destroy(group);
    comm_world_close(world);
    aios_device_close(device);
    aios_context_destroy(context);
    return status == AIOS_OK ? AIOS_OK : aios_error_restore(&record);
}

static void run_all(struct process *all, aios_status (*run)(communicator *, aios_stream *), double deadline)
{
    struct setting s = {.port = process_free_port(), .deadline = deadline, .run = run};
    for (int p = 0; p < PROCESSES; p++) process_start(&all[p], p, run_process, &s);
    for (int p = 0; p < PROCESSES; p++) process_end(&all[p]);
}

/* Within each process in the order of its ranks, then in the order of the processes. */
static float sum_by_groups(int ranks, uint64_t i, int n)
{
    float sum = 0;
    (void)ranks;
    for (int p = 0; p < PROCESSES; p++) {
        float own = comm_check_value(first[p], i, n);
        for (int r = first[p] + 1; r < first[p + 1]; r++) own += comm_check_value(r, i, n);
        sum = p ? sum + own : own;
    }
    return sum;
}

static aios_status all_collectives(communicator *c, aios_stream *stream)
{
    return comm_check_sizes(c, stream, sum_by_groups);
}

static void sums_are_taken_group_by_group(void **state)
{
    (void)state;
    struct process all[PROCESSES];
    run_all(all, all_collectives, 60);
    for (int p = 0; p < PROCESSES; p++)
        if (!all[p].exited || all[p].status != AIOS_OK) fail_msg("process %d: %s", p, all[p].message);
}

static void expect_all(const struct process *all, aios_status status, const char *words)
{
    for (int p = 0; p < PROCESSES; p++)
        if (!all[p].exited || all[p].status != status || !strstr(all[p].message, words) || all[p].seconds > 15)
            fail_msg("process %d, status %d after %.1f s: %s", p, all[p].status, all[p].seconds, all[p].message);
}

/* Rank 5 is a thread that talks to no other process. */
static aios_status fail_inside(communicator *c, aios_stream *stream)
{
    float x[64] = {0};
    (void)stream;
    for (int n = 0; n < 40; n++) {
        if (comm_rank(c) == 5 && n == 20) comm_abort(c, AIOS_NOT_FINITE, "injected");
        TRY_QUIET(comm_all_reduce(c, x, 64));
    }
    return AIOS_OK;
}

static void a_failure_of_any_thread_reaches_all_processes(void **state)
{
    (void)state;
    struct process all[PROCESSES];
    run_all(all, fail_inside, 60);
    expect_all(all, AIOS_NOT_FINITE, "injected");
}

static aios_status stay_away(communicator *c, aios_stream *stream)
{
    (void)stream;
    if (comm_rank(c) != 2) return comm_barrier(c);
    for (int n = 0; n < 100 && comm_check(c) == AIOS_OK; n++) os_sleep(0.1);
    return comm_check(c);
}

static void a_process_that_does_not_come_is_named(void **state)
{
    (void)state;
    struct process all[PROCESSES];
    run_all(all, stay_away, 3);
    expect_all(all, AIOS_TIMEOUT, "rank 1 (process 1) did not come to its barrier within 3 s");
}

static aios_status die(communicator *c, aios_stream *stream)
{
    float x[64] = {0};
    (void)stream;
    aios_status status = AIOS_OK;
    for (int n = 0; n < 100000 && status == AIOS_OK; n++) {
        if (comm_rank(c) == 4 && n == 20) (void)kill(getpid(), SIGKILL);
        status = comm_all_reduce(c, x, 64);
    }
    return status;
}

static void a_process_that_is_killed_is_named(void **state)
{
    (void)state;
    struct process all[PROCESSES];
    run_all(all, die, 60);
    assert_int_equal(all[2].exited, 0);
    all[2] = all[1];
    expect_all(all, AIOS_DEVICE_LOST, "rank 2 (process 2) ended");
}

static void what_makes_no_group_is_refused(void **state)
{
    (void)state;
    static const int none[2] = {1, 0}, two[2] = {2, 1};
    aios_context *context = test_context();
    comm_group *group;
    assert_int_equal(comm_hierarchical_create(context, NULL, NULL, none, 2, 0, &group), AIOS_INVALID_ARGUMENT);
    assert_int_equal(comm_hierarchical_create(context, NULL, NULL, two, 1, 0, &group),
                     AIOS_INVALID_ARGUMENT); /* 2 ranks without an inner one */
    assert_int_equal(comm_hierarchical_create(context, NULL, NULL, two, 2, 2, &group), AIOS_INVALID_ARGUMENT);
    assert_null(group);
    aios_context_destroy(context);
}

static int begin(void **state)
{
    const engine_table *engine;
    (void)state;
    (void)setenv("AIOS_BACKEND_PATH", TEST_ENGINE_FOLDER, 1);
    if (engine_load(&engine) == AIOS_OK) return 0;
    print_message("skipped: %s\n", aios_error_message());
    exit(77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_taken_group_by_group),         cmocka_unit_test(a_failure_of_any_thread_reaches_all_processes),
        cmocka_unit_test(a_process_that_does_not_come_is_named), cmocka_unit_test(a_process_that_is_killed_is_named),
        cmocka_unit_test(what_makes_no_group_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
