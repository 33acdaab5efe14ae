/* Gradients are exchanged while backward goes on.  No clock is asked: the first bucket's sum refuses to come to an end before backward has
 * submitted its last instruction, on every device.  overlap_test DEVICES, cpu:0,cpu:1 where there is none. */
#include "run.h"

#include "comm/comm_parts.h"
#include "graph/plan.h"
#include "trainer/exchange_queue.h"
#include "trainer/trainer.h"

#include <stdatomic.h>

#define RANKS   2
#define SECONDS 20.0 /* that a test waits for what must come */

static const char *devices = "cpu:0,cpu:1";

/* ---- the queue --------------------------------------------------------------------------------------------------- */

struct ranks {
    aios_context *context;
    aios_device *device;
    aios_stream *stream[RANKS];
    comm_group *group;
    communicator *comm[RANKS];
    exchange_queue *queue[RANKS];
    float *values[RANKS];
};

enum { COUNT = 4096 };

static void ranks_open(struct ranks *x)
{
    comm_options options = {.ranks = RANKS, .deadline = SECONDS};
    memset(x, 0, sizeof *x);
    assert_ok(aios_context_create(NULL, &x->context));
    assert_ok(aios_device_open(x->context, "cpu:0", &x->device));
    assert_ok(comm_group_create(x->context, &options, &x->group));
    for (int r = 0; r < RANKS; r++) {
        void *memory;
        assert_ok(aios_stream_create(x->device, &x->stream[r]));
        assert_ok(exchange_queue_create(x->context, x->stream[r], &x->queue[r]));
        assert_ok(comm_join(x->group, r, "cpu:0", exchange_queue_stream(x->queue[r]), &x->comm[r]));
        exchange_queue_use(x->queue[r], x->comm[r]);
        assert_ok(aios_device_alloc(x->device, COUNT * sizeof(float), &memory));
        x->values[r] = memory;
        for (int i = 0; i < COUNT; i++) x->values[r][i] = (float)(r + 1);
    }
}

static void ranks_close(struct ranks *x)
{
    for (int r = 0; r < RANKS; r++) {
        comm_leave(x->comm[r]);
        exchange_queue_destroy(x->queue[r]);
        aios_device_free(x->device, x->values[r]);
        aios_stream_destroy(x->stream[r]);
    }
    comm_group_destroy(x->group);
    aios_device_close(x->device);
    aios_context_destroy(x->context);
}

/* More jobs than there is room for are begun by one rank before the other begins any but the oldest. */
static void who_begins_does_not_wait(void **state)
{
    (void)state;
    struct ranks x;
    uint64_t ticket[RANKS];
    exchange_job job = {EXCHANGE_ALL_REDUCE, NULL, COUNT / EXCHANGE_JOBS_MOST, NULL, 0};
    ranks_open(&x);
    for (int r = 0; r < RANKS; r++)
        for (int i = 0; i < EXCHANGE_JOBS_MOST; i++) {
            job.buffer = x.values[r] + i * (COUNT / EXCHANGE_JOBS_MOST);
            assert_ok(exchange_begin(x.queue[r], &job, &ticket[r]));
        }
    for (int r = 0; r < RANKS; r++) {
        assert_ok(exchange_end(x.queue[r], 1));
        assert_ok(exchange_end(x.queue[r], ticket[r]));
        assert_ok(exchange_end_all(x.queue[r]));
        for (int i = 0; i < COUNT; i++) assert_true(x.values[r][i] == 3.0f);
    }
    ranks_close(&x);
}

static void a_failure_ends_all_jobs(void **state)
{
    (void)state;
    struct ranks x;
    uint64_t ticket;
    ranks_open(&x);
    exchange_job sum = {EXCHANGE_ALL_REDUCE, x.values[0], COUNT, NULL, 0};
    for (int i = 0; i < 3; i++) assert_ok(exchange_begin(x.queue[0], &sum, &ticket));
    comm_abort(x.comm[1], AIOS_DEVICE_LOST, "rank 1 (cpu:0): it is gone");
    assert_int_equal(exchange_end(x.queue[0], 1), AIOS_DEVICE_LOST);
    assert_non_null(strstr(aios_error_message(), "it is gone"));
    assert_int_equal(exchange_end_all(x.queue[0]), AIOS_DEVICE_LOST);
    exchange_queue_settle(x.queue[0]);
    ranks_close(&x);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

static struct {
    run_fn last;            /* of the plans' instructions */
    atomic_int submitted;   /* of them: how many replicas came to it */
    atomic_int began, held; /* sums; those that were held until then */
    aios_status (*sum)(communicator *, float *, uint64_t);
} watch;

static aios_status watch_last(const aios_plan *plan, const struct instruction *instruction)
{
    atomic_fetch_add(&watch.submitted, 1);
    return watch.last(plan, instruction);
}

/* The first of each rank. */
static aios_status watch_sum(communicator *c, float *buffer, uint64_t count)
{
    double began = os_now();
    if (atomic_fetch_add(&watch.began, 1) < RANKS && atomic_load(&watch.submitted) < RANKS) {
        while (atomic_load(&watch.submitted) < RANKS)
            if (os_now() - began > SECONDS) return FAIL(AIOS_TIMEOUT, "backward waits for the first sum");
        atomic_fetch_add(&watch.held, 1);
    }
    return watch.sum(c, buffer, count);
}

static void prepare(struct run *r, const char *overlap, const char *accumulation)
{
    run_open(r);
    write_random(r, "text.txt", 7, 3000);
    run_set(r, "devices", devices);
    run_set(r, "strategy", "ddp");
    run_set(r, "keep-cpu", "on");
    run_set(r, "batch-size", "2");
    run_set(r, "gradient-accumulation-steps", accumulation);
    run_set(r, "steps", "1");
    run_set(r, "bucket-mb", "0.02");
    run_set(r, "overlap", overlap);
    assert_ok(run_train(r));
}

static void replace_sums(struct run *r, comm_table tables[RANKS], aios_status (*sum)(communicator *, float *, uint64_t))
{
    for (int i = 0; i < RANKS; i++) {
        communicator *comm = r->trainer->replicas.list[i].comm;
        tables[i] = *comm->table;
        watch.sum = tables[i].all_reduce;
        tables[i].all_reduce = sum;
        comm->table = &tables[i];
    }
}

static void backward_does_not_wait_for_the_first_bucket(void **state)
{
    (void)state;
    struct run r;
    comm_table tables[RANKS];
    struct step_job job = {.step = 1, .first_sample = 4, .next_sample = -1, .rate = 1e-3};
    struct step_outcome outcome;
    prepare(&r, "on", "1");
    assert_int_equal(r.trainer->replicas.count, RANKS);
    replace_sums(&r, tables, watch_sum);
    for (int i = 0; i < RANKS; i++) {
        struct replica *replica = &r.trainer->replicas.list[i];
        struct instruction *last = &replica->plan->instructions[replica->plan->points[replica->plan->point_count - 1].instruction - 1];
        replica->plan->recorder.off = 1; /* instructions are submitted one by one */
        for (size_t k = 0; k <= replica->plan->point_count; k++) {
            stream_recorder_end(&replica->plan->piece_recorders[k]);
            replica->plan->piece_recorders[k].off = 1;
        }
        watch.last = last->run;
        last->run = watch_last;
    }
    assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
    assert_int_equal(atomic_load(&watch.submitted), RANKS);
    assert_true(atomic_load(&watch.began) >= 4 * RANKS); /* buckets */
    assert_true(atomic_load(&watch.held) <= RANKS);
    run_close(&r);
}

static aios_status count_sum(communicator *c, float *buffer, uint64_t count)
{
    atomic_fetch_add(&watch.began, 1);
    return watch.sum(c, buffer, count);
}

/* However many micro-batches there are, each bucket is exchanged once in a step. */
static void accumulation_exchanges_once(void **state)
{
    (void)state;
    struct run r;
    comm_table tables[RANKS];
    struct step_job job = {.step = 1, .first_sample = 12, .next_sample = -1, .rate = 1e-3};
    struct step_outcome outcome;
    prepare(&r, "on", "3");
    atomic_store(&watch.began, 0);
    replace_sums(&r, tables, count_sum);
    assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
    assert_int_equal(atomic_load(&watch.began), RANKS * r.trainer->replicas.list[0].parameters->bucket_count);
    run_close(&r);
}

static void overlap_changes_no_bit(void **state)
{
    (void)state;
    struct run on, off;
    prepare(&on, "on", "1");
    prepare(&off, "off", "1");
    assert_true(on.losses[1] == off.losses[1]);
    run_close(&on);
    run_close(&off);
}

int main(int count, char **words)
{
    if (count > 1) devices = words[1];
    (void)setenv("AIOS_CPU_DEVICES", "2", 1);
    (void)setenv("AIOS_CPU_THREADS", "2", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_begins_does_not_wait),
        cmocka_unit_test(a_failure_ends_all_jobs),
        cmocka_unit_test(backward_does_not_wait_for_the_first_bucket),
        cmocka_unit_test(accumulation_exchanges_once),
        cmocka_unit_test(overlap_changes_no_bit),
    };
    return cmocka_run_group_tests_name("overlap", tests, NULL, NULL);
}
