/* Devices train on chunks of their own and are merged: each sample is in the model once, whatever stops, fails or is resumed. */
#include "ledger.h"

#include "graph/parameters.h"
#include "trainer/trainer.h"

#define SAMPLES 94 /* of 3000 bytes in samples of 32: one epoch */

static void prepare(struct run *r, const char *devices)
{
    run_open(r);
    write_random(r, "text.txt", 7, 3000);
    run_set(r, "devices", devices);
    run_set(r, "strategy", "parallel-independent");
    run_set(r, "batch-size", "2");
    run_set(r, "dataset-chunk-size", "10");
    run_set(r, "merge-interval", "7");
    run_set(r, "steps", "10000");
    run_set(r, "stop-after-epoch", "on");
    run_set(r, "lr", "1e-3");
}

static void read_ledger(const struct run *r, struct ledger *l)
{
    char path[PATH_SIZE];
    run_path(r, "run", path);
    ledger_read(l, path);
}

static int64_t samples_of(const struct run *r)
{
    return batches_train_count(&r->trainer->batches);
}

static void assert_same_replicas(const struct run *r)
{
    const struct replicas *all = &r->trainer->replicas;
    uint64_t bytes = all->list[0].parameters->padded * sizeof(float);
    for (int i = 1; i < all->count; i++)
        for (int b = 0; b < REPLICA_BUFFERS; b++)
            assert_memory_equal(replica_buffer(&all->list[0], b), replica_buffer(&all->list[i], b), bytes);
}

static void an_epoch_is_every_sample_once(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu:0", "cpu:0,cpu:1", "cpu:0,cpu:1,cpu:2"};
    for (size_t i = 0; i < COUNT_OF(devices); i++) {
        struct run r;
        struct ledger l;
        prepare(&r, devices[i]);
        assert_ok(run_train(&r));
        assert_int_equal(samples_of(&r), SAMPLES);
        read_ledger(&r, &l);
        ledger_assert(&l, SAMPLES, 1);
        assert_true(l.merges >= 3);
        assert_same_replicas(&r);
        run_close(&r);
    }
}

static void steps_are_those_of_all_devices(void **state)
{
    (void)state;
    struct run r;
    struct ledger l;
    prepare(&r, "cpu:0,cpu:1");
    run_set(&r, "steps", "120"); /* more than two epochs */
    run_set(&r, "stop-after-epoch", "off");
    run_set(&r, "merge-chunks", "2");
    run_set(&r, "merge-interval", "0");
    run_set(&r, "checkpoint-interval", "50");
    assert_ok(run_train(&r));
    assert_int_equal(r.trainer->position.step, 120);
    assert_int_equal(r.steps_seen, 120);
    assert_int_equal(r.checkpoints, 3);
    read_ledger(&r, &l);
    int sum = 0, most = 0;
    for (int i = 0; i < LEDGER_SAMPLES; i++) {
        sum += l.trained[i];
        most = l.trained[i] > most ? l.trained[i] : most;
    }
    assert_int_equal(most, 1); /* of the running order, which goes on over the epochs */
    for (int i = 0; i < 2 * SAMPLES; i++) assert_int_equal(l.trained[i], 1);
    assert_true(sum > 2 * SAMPLES);
    run_close(&r);
}

/* One device alone, merged with nobody, is the ordinary run bit by bit. */
static void one_device_is_the_single_run(void **state)
{
    (void)state;
    struct run single, alone;
    prepare(&single, "cpu:0");
    run_set(&single, "strategy", "ddp");
    run_set(&single, "steps", "40");
    assert_ok(run_train(&single));
    prepare(&alone, "cpu:0");
    run_set(&alone, "steps", "40");
    assert_ok(run_train(&alone));
    for (int i = 1; i <= 40; i++) assert_true(single.losses[i] == alone.losses[i]);
    assert_memory_equal(replica_buffer(&single.trainer->replicas.list[0], 0), replica_buffer(&alone.trainer->replicas.list[0], 0),
                        single.trainer->replicas.list[0].parameters->padded * sizeof(float));
    run_close(&single);
    run_close(&alone);
}

/* ---- stopping and going on ---------------------------------------------------------------------------------------- */

static void a_stop_loses_nothing(void **state)
{
    (void)state;
    static const struct {
        int mode;
        const char *then; /* the devices that go on */
    } cases[] = {{AIOS_STOP_IMMEDIATE, "cpu:0,cpu:1"},
                 {AIOS_STOP_GRACEFUL, "cpu:0,cpu:1"},
                 {AIOS_STOP_IMMEDIATE, "cpu:2"},
                 {AIOS_STOP_IMMEDIATE, "cpu:3,cpu:1,cpu:0,cpu:2"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct run r;
        struct ledger l;
        prepare(&r, "cpu:0,cpu:1");
        r.stop_at = 17;
        r.stop_mode = cases[i].mode;
        assert_int_equal(run_train(&r), AIOS_STOPPED);
        read_ledger(&r, &l);
        int trained = 0;
        for (int s = 0; s < SAMPLES; s++) {
            assert_in_range(l.trained[s], 0, 1);
            trained += l.trained[s];
        }
        assert_true(trained > 0 && trained < SAMPLES);
        if (cases[i].mode == AIOS_STOP_GRACEFUL) assert_int_equal(trained % 10 ? trained % 10 - SAMPLES % 10 : 0, 0); /* whole chunks */
        run_end_trainer(&r);
        r.stop_at = 0;
        run_set(&r, "resume", "on");
        run_set(&r, "devices", cases[i].then);
        assert_ok(run_train(&r));
        read_ledger(&r, &l);
        ledger_assert(&l, SAMPLES, 1);
        run_close(&r);
    }
}

/* What was trained after the last checkpoint is no part of the weights that are gone on from. */
static void what_no_checkpoint_holds_is_trained_again(void **state)
{
    (void)state;
    struct run r;
    struct ledger l;
    prepare(&r, "cpu:0,cpu:1");
    run_set(&r, "checkpoint-interval", "14");
    r.stop_at = 30;
    r.stop_mode = AIOS_STOP_IMMEDIATE;
    assert_int_equal(run_train(&r), AIOS_STOPPED);
    char path[PATH_SIZE], command[PATH_SIZE + 16];
    int64_t last = r.trainer->position.step;
    run_end_trainer(&r);
    char name[64];
    (void)snprintf(name, sizeof name, "run/checkpoints/step-%08lld", (long long)last);
    run_path(&r, name, path);
    (void)snprintf(command, sizeof command, "rm -r '%s'", path); /* as if killed before its last checkpoint */
    assert_int_equal(system(command), 0);
    r.stop_at = 0;
    run_set(&r, "resume", "on");
    assert_ok(run_train(&r));
    assert_int_equal(r.trainer->resumed_step, 28);
    read_ledger(&r, &l);
    ledger_assert(&l, SAMPLES, 1);
    run_close(&r);
}

static void another_strategys_samples_are_not_trained_again(void **state)
{
    (void)state;
    struct run r;
    struct ledger l;
    prepare(&r, "cpu:0");
    run_set(&r, "strategy", "ddp");
    r.stop_at = 17;
    r.stop_mode = AIOS_STOP_IMMEDIATE;
    assert_int_equal(run_train(&r), AIOS_STOPPED);
    int64_t trained = r.trainer->position.next_sample;
    run_end_trainer(&r);
    r.stop_at = 0;
    run_set(&r, "resume", "on");
    run_set(&r, "devices", "cpu:0,cpu:1");
    run_set(&r, "strategy", "parallel-independent");
    char path[PATH_SIZE];
    run_path(&r, "second.jsonl", path);
    run_set(&r, "log-file", path);
    assert_ok(run_train(&r));
    assert_int_equal(trained, 34);
    size_t size;
    char *text = read_file(path, &size), *save = NULL;
    memset(&l, 0, sizeof l);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) ledger_line(&l, line);
    free(text);
    for (int i = 0; i < SAMPLES; i++) assert_int_equal(l.trained[i], i >= trained);
    run_end_trainer(&r);
    run_set(&r, "strategy", "ddp");
    assert_int_equal(run_train(&r), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "parallel-independent"));
    run_close(&r);
}

/* ---- merging ------------------------------------------------------------------------------------------------------ */

/* An outer step of length 1 without momentum is the mean. */
static void an_outer_step_can_be_the_mean(void **state)
{
    (void)state;
    struct run mean, outer;
    prepare(&mean, "cpu:0");
    assert_ok(run_train(&mean));
    prepare(&outer, "cpu:0");
    run_set(&outer, "merge", "nesterov");
    run_set(&outer, "outer-lr", "1");
    run_set(&outer, "outer-momentum", "0");
    assert_ok(run_train(&outer));
    for (int i = 1; i <= 47; i++) assert_true(fabs(mean.losses[i] - outer.losses[i]) <= 1e-5 * mean.losses[i]);
    run_close(&mean);
    run_close(&outer);
}

static void the_outer_steps_momentum_is_saved(void **state)
{
    (void)state;
    struct run whole, halves;
    prepare(&whole, "cpu:0");
    run_set(&whole, "merge", "nesterov");
    run_set(&whole, "steps", "42");
    assert_ok(run_train(&whole));
    prepare(&halves, "cpu:0");
    run_set(&halves, "merge", "nesterov");
    run_set(&halves, "steps", "42");
    run_set(&halves, "checkpoint-interval", "21");
    assert_ok(run_train(&halves));
    for (int i = 1; i <= 42; i++) assert_true(whole.losses[i] == halves.losses[i]);
    int64_t last = 42;
    char name[64], path[PATH_SIZE], command[PATH_SIZE + 16];
    run_end_trainer(&halves);
    (void)snprintf(name, sizeof name, "run/checkpoints/step-%08lld", (long long)last);
    run_path(&halves, name, path);
    (void)snprintf(command, sizeof command, "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
    memset(halves.losses, 0, sizeof halves.losses);
    run_set(&halves, "resume", "on");
    assert_ok(run_train(&halves));
    for (int i = 22; i <= 42; i++) assert_true(whole.losses[i] == halves.losses[i]);
    run_close(&whole);
    run_close(&halves);
}

/* Breaks a replica while all of them meet. */
static void poison(struct run *r, const char *name, const char *json)
{
    (void)json;
    if (strcmp(name, "merge") == 0 && ++r->evals == 2) r->trainer->replicas.list[1].parameters->master[5] = NAN;
}

static void a_replica_that_is_not_finite_is_left_out(void **state)
{
    (void)state;
    struct run r;
    struct ledger l;
    prepare(&r, "cpu:0,cpu:1");
    r.hook = poison;
    run_set(&r, "max-nan-steps", "1000"); /* a device with nothing but bad steps would be dropped */
    run_set(&r, "merge-interval", "14");
    assert_ok(run_train(&r));
    read_ledger(&r, &l);
    assert_int_equal(l.left_out, 1);
    ledger_assert(&l, SAMPLES, 1);
    assert_same_replicas(&r);
    const struct replica *leader = r.trainer->replicas.list;
    for (uint64_t i = 0; i < leader->parameters->padded; i++) assert_true(isfinite(leader->parameters->master[i]));
    run_close(&r);
}

static void a_checkpoint_says_who_trained_it(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE], name[80];
    size_t size;
    prepare(&r, "cpu:0,cpu:1");
    assert_ok(run_train(&r));
    (void)snprintf(name, sizeof name, "run/checkpoints/step-%08lld/trainer.json", (long long)r.trainer->position.step);
    run_path(&r, name, path);
    char *text = read_file(path, &size);
    const char *list = strstr(text, "\"devices\": [");
    assert_non_null(list);
    const char *one = strstr(list, "\"cpu:0\""), *two = strstr(list, "\"cpu:1\"");
    assert_true(one && two);
    one = strstr(one, "\"tokens\":") + 9;
    two = strstr(two, "\"tokens\":") + 9;
    assert_int_equal(strtoll(one, NULL, 10) + strtoll(two, NULL, 10), r.trainer->position.tokens);
    free(text);
    run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_is_every_sample_once),
        cmocka_unit_test(steps_are_those_of_all_devices),
        cmocka_unit_test(one_device_is_the_single_run),
        cmocka_unit_test(a_stop_loses_nothing),
        cmocka_unit_test(what_no_checkpoint_holds_is_trained_again),
        cmocka_unit_test(another_strategys_samples_are_not_trained_again),
        cmocka_unit_test(an_outer_step_can_be_the_mean),
        cmocka_unit_test(the_outer_steps_momentum_is_saved),
        cmocka_unit_test(a_replica_that_is_not_finite_is_left_out),
        cmocka_unit_test(a_checkpoint_says_who_trained_it),
    };
    (void)setenv("AIOS_CPU_DEVICES", "4", 1);
    (void)setenv("AIOS_CPU_THREADS", "4", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
