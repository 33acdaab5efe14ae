/* Several devices train one model: the numbers are those of one device with the whole batch, and each replica has the same bits. */
#include "lose.h"

#include "graph/parameters.h"

#define STEPS 12

/* A run whose global batch is 12 samples, on the devices given. */
static void prepare(struct run *r, const char *devices, const char *batch, const char *accumulation)
{
    run_open(r);
    write_random(r, "text.txt", 7, 3000);
    run_set(r, "devices", devices);
    run_set(r, "batch-size", batch);
    run_set(r, "gradient-accumulation-steps", accumulation);
    run_set(r, "steps", "12");
    run_set(r, "lr", "1e-3");
}

static void train(struct run *r, const char *devices, const char *batch, const char *accumulation)
{
    prepare(r, devices, batch, accumulation);
    assert_ok(run_train(r));
}

static void assert_same_losses(const struct run *a, const struct run *b, double tolerance)
{
    for (int i = 1; i <= STEPS; i++)
        if (!(fabs(a->losses[i] - b->losses[i]) <= tolerance * a->losses[i]))
            fail_msg("step %d: %.9g and %.9g differ by more than %g", i, a->losses[i], b->losses[i], tolerance);
}

/* The last bits of sums in another order, which twelve steps carry on: 1e-6 relative on each loss. */
static void any_split_is_the_whole_batch(void **state)
{
    (void)state;
    static const char *const splits[][3] = {
        {"cpu:0,cpu:1", "6", "1"}, {"cpu:1,cpu:0,cpu:2", "2", "2"}, {"cpu:3,cpu:2,cpu:1,cpu:0", "1", "3"}};
    struct run whole, part;
    train(&whole, "cpu:0", "12", "1");
    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        train(&part, splits[i][0], splits[i][1], splits[i][2]);
        assert_same_losses(&whole, &part, 1e-6);
        run_close(&part);
    }
    run_close(&whole);
}

static void unequal_shares_change_nothing(void **state)
{
    (void)state;
    struct run whole, part;
    train(&whole, "cpu:0", "12", "1");
    prepare(&part, "cpu:0,cpu:1,cpu:2", "1", "4");
    run_set(&part, "balance", "weights");
    run_set(&part, "device-weights", "6,2,0.5");
    assert_ok(run_train(&part));
    static const int64_t shares[] = {9, 2, 1};
    for (int i = 0; i < 3; i++) assert_int_equal(part.trainer->replicas.list[i].count, shares[i]);
    assert_same_losses(&whole, &part, 1e-6);
    run_close(&part);

    prepare(&part, "cpu:0,cpu:1,cpu:2", "1", "4");
    run_set(&part, "balance", "measured");
    assert_ok(run_train(&part));
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(part.trainer->replicas.list[i].speed > 0);
        sum += part.trainer->replicas.list[i].count;
    }
    assert_int_equal(sum, 12);
    assert_same_losses(&whole, &part, 1e-6);
    run_close(&part);
    run_close(&whole);
}

static void assert_equal_buffers(const struct replica *a, const struct replica *b, int moments)
{
    uint64_t bytes = a->parameters->padded * sizeof(float); /* a CPU device's memory is the host's */
    assert_int_equal(a->parameters->padded, b->parameters->padded);
    assert_memory_equal(a->parameters->master, b->parameters->master, bytes);
    assert_memory_equal(a->parameters->weight, b->parameters->weight, a->parameters->padded * storage_size(a->parameters->storage));
    if (!moments) return;
    assert_memory_equal(a->parameters->moment1, b->parameters->moment1, bytes);
    assert_memory_equal(a->parameters->moment2, b->parameters->moment2, bytes);
}

static void replicas_are_the_same_bit_by_bit(void **state)
{
    (void)state;
    static const char *const precisions[] = {"32", "bf16-mixed", "16-mixed"}, *const optimizers[] = {"adamw", "adam-atan2", "sign-sgd"};
    for (size_t i = 0; i < 3; i++) {
        struct run r;
        prepare(&r, "cpu:0,cpu:1,cpu:2", "4", "1");
        run_set(&r, "precision", precisions[i]);
        run_set(&r, "optimizer", optimizers[i]);
        assert_ok(run_train(&r));
        const struct replica *list = r.trainer->replicas.list;
        for (int k = 1; k < 3; k++) assert_equal_buffers(&list[0], &list[k], i < 2); /* the moments were gathered for the checkpoint */
        run_close(&r);
    }
}

static void a_layout_gives_the_same_bits_each_time(void **state)
{
    (void)state;
    struct run a, b;
    train(&a, "cpu:0,cpu:1,cpu:2", "4", "1");
    train(&b, "cpu:0,cpu:1,cpu:2", "4", "1");
    assert_same_losses(&a, &b, 0);
    assert_equal_buffers(a.trainer->replicas.list, b.trainer->replicas.list, 1);
    run_close(&a);
    run_close(&b);
}

static void an_overflow_anywhere_skips_the_step_everywhere(void **state)
{
    (void)state;
    struct run r;
    prepare(&r, "cpu:0,cpu:1", "6", "1");
    run_set(&r, "precision", "16-mixed");
    run_set(&r, "loss-scale", "16777216"); /* gradients beyond what f16 holds, until it has fallen */
    assert_ok(run_train(&r));
    aios_step_result one = {.struct_size = sizeof one}, two = {.struct_size = sizeof two};
    assert_ok(aios_optimizer_result(r.trainer->replicas.list[0].optimizer, &one));
    assert_ok(aios_optimizer_result(r.trainer->replicas.list[1].optimizer, &two));
    assert_true(one.skipped > 0 && one.loss_scale < 16777216);
    assert_true(one.skipped == two.skipped && one.loss_scale == two.loss_scale);
    assert_equal_buffers(&r.trainer->replicas.list[0], &r.trainer->replicas.list[1], 1);
    run_close(&r);
}

/* ---- resume ------------------------------------------------------------------------------------------------------- */

static void go_on(struct run *r, const char *devices, const char *batch)
{
    run_end_trainer(r);
    run_set(r, "devices", devices);
    run_set(r, "batch-size", batch);
    run_set(r, "resume", "on");
    run_set(r, "max-minutes", "0");
    assert_ok(run_train(r));
}

static void a_stopped_run_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    struct run whole, part;
    train(&whole, "cpu:0,cpu:1", "6", "1");
    prepare(&part, "cpu:0,cpu:1", "6", "1");
    part.stop_at = 5;
    part.stop_mode = AIOS_STOP_GRACEFUL;
    assert_int_equal(run_train(&part), AIOS_STOPPED);
    part.stop_at = 0;
    go_on(&part, "cpu:0,cpu:1", "6");
    assert_same_losses(&whole, &part, 0);
    assert_equal_buffers(whole.trainer->replicas.list, part.trainer->replicas.list, 1);
    run_close(&whole);
    run_close(&part);
}

static void a_run_goes_on_with_other_devices(void **state)
{
    (void)state;
    static const char *const others[][2] = {{"cpu:0", "12"}, {"cpu:0,cpu:1,cpu:2", "4"}};
    struct run whole, part;
    train(&whole, "cpu:0", "12", "1");
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        prepare(&part, "cpu:0,cpu:1", "6", "1");
        part.stop_at = 5;
        part.stop_mode = AIOS_STOP_GRACEFUL;
        assert_int_equal(run_train(&part), AIOS_STOPPED);
        part.stop_at = 0;
        go_on(&part, others[i][0], others[i][1]);
        assert_same_losses(&whole, &part, 1e-6);
        run_close(&part);
    }
    run_close(&whole);
}

static int stop_now(void *user)
{
    (void)user;
    return 1;
}

static void an_immediate_stop_leaves_the_step_out_on_all(void **state)
{
    (void)state;
    struct run whole, r;
    train(&whole, "cpu:0,cpu:1", "2", "3");
    prepare(&r, "cpu:0,cpu:1", "2", "3");
    run_set(&r, "steps", "1");
    assert_ok(run_train(&r));
    struct step_job job = {.step = 1, .first_sample = 12, .next_sample = -1, .rate = 1e-3, .stop = stop_now};
    struct step_outcome outcome;
    assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
    assert_true(outcome.abandoned);
    job.stop = NULL;
    assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome)); /* as if it had not been */
    assert_false(outcome.abandoned);
    assert_true(fabs(outcome.loss - whole.losses[2]) <= 1e-6 * outcome.loss);
    run_close(&whole);
    run_close(&r);
}

/* ---- mistakes and failures ---------------------------------------------------------------------------------------- */

static void devices_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *devices;
        aios_status status;
        const char *named;
    } cases[] = {{"cpu:0,cpu:0", AIOS_ALREADY_EXISTS, "twice"},
                 {",", AIOS_INVALID_ARGUMENT, "No device selected"},
                 {"cpu:0;cpu:1", AIOS_INVALID_ARGUMENT, "a device is"},
                 {"cpu:0,cpu:99", AIOS_NOT_FOUND, "cpu:99"},
                 {"cpu:0,tpu:0", AIOS_NOT_FOUND, "tpu"},
                 {"[\"cpu:0\", \"cpu:0\"]", AIOS_ALREADY_EXISTS, "twice"}};
    static const char *const weights[] = {"", "1", "1,", "1,2,3", "1,0", "1,x", "1 2", "1,-2", "1,inf"};
    for (size_t i = 0; i < COUNT_OF(weights); i++) {
        struct run r;
        prepare(&r, "cpu:0,cpu:1", "1", "1");
        run_set(&r, "balance", "weights");
        run_set(&r, "device-weights", weights[i]);
        assert_int_equal(run_train(&r), AIOS_INVALID_ARGUMENT);
        assert_non_null(strstr(aios_error_message(), "2 numbers above 0"));
        run_close(&r);
    }
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct run r;
        prepare(&r, cases[i].devices, "1", "1");
        aios_status status = run_train(&r);
        if (status != cases[i].status || !strstr(aios_error_message(), cases[i].named))
            fail_msg("%s: status %d, %s", cases[i].devices, (int)status, aios_error_message());
        run_close(&r);
    }
}

static void a_replica_that_went_astray_is_named(void **state)
{
    (void)state;
    struct run r;
    prepare(&r, "cpu:0,cpu:1,cpu:2", "4", "1");
    assert_ok(run_train(&r));
    assert_ok(replicas_verify(&r.trainer->replicas));
    uint32_t *bits = (uint32_t *)(void *)&r.trainer->replicas.list[2].parameters->master[77];
    *bits ^= 1; /* the smallest difference there can be */
    assert_int_equal(replicas_verify(&r.trainer->replicas), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "replica 2 (cpu:2)"));
    run_close(&r);
}

/* After step 5: the weights of replica `astray`, below 0 none, are no longer the others'. */
static int astray;
static void go_astray(struct run *r, const char *name, const char *json)
{
    if (strcmp(name, "step") == 0 && field_of(json, "step") == 5 && astray >= 0)
        r->trainer->replicas.list[astray].parameters->master[77] += 1;
}

static void replicas_that_went_astray_take_the_weights_of_most(void **state)
{
    (void)state;
    struct run whole, r;
    train(&whole, "cpu:0,cpu:1,cpu:2", "4", "1");
    for (astray = 0; astray < 3; astray += 2) {
        prepare(&r, "cpu:0,cpu:1,cpu:2", "4", "1");
        run_set(&r, "verify-interval", "5");
        run_set(&r, "on-divergence", "resync");
        r.hook = go_astray;
        assert_ok(run_train(&r));
        assert_int_equal(r.warnings, 1);
        assert_non_null(strstr(r.warning, astray ? "replica 2 (cpu:2)" : "replica 0 (cpu:0)"));
        assert_same_losses(&whole, &r, 0);
        run_close(&r);

        prepare(&r, "cpu:0,cpu:1,cpu:2", "4", "1");
        run_set(&r, "verify-interval", "5");
        r.hook = go_astray;
        assert_int_equal(run_train(&r), AIOS_CORRUPT);
        run_close(&r);
    }
    run_close(&whole);
}

/* After step 5 the device of replica `lost` fails whatever it is asked. */
static int lost;
static void lose_device(struct run *r, const char *name, const char *json)
{
    if (strcmp(name, "step") == 0 && field_of(json, "step") == 5) lose(r, lost);
}

static void others_take_over_the_work_of_a_lost_device(void **state)
{
    (void)state;
    struct run whole, r;
    train(&whole, "cpu:0,cpu:1,cpu:2", "2", "2");
    for (lost = 0; lost < 3; lost++) {
        prepare(&r, "cpu:0,cpu:1,cpu:2", "2", "2");
        run_set(&r, "eval-fraction", "0.1");
        run_set(&r, "eval-interval", "6");
        r.hook = lose_device;
        assert_ok(run_train(&r));
        assert_int_equal(r.trainer->replicas.count, 2);
        assert_int_equal(r.trainer->position.next_sample, 12 * STEPS);
        assert_int_equal(r.evals, 2);
        assert_int_equal(r.warnings, 1);
        assert_non_null(strstr(r.warning, "fell off the bus"));
        run_close(&r);

        prepare(&r, "cpu:0,cpu:1,cpu:2", "2", "2");
        r.hook = lose_device;
        assert_ok(run_train(&r));
        assert_same_losses(&whole, &r, 1e-6);
        run_close(&r);
    }
    run_close(&whole);
}

static void a_loss_ends_a_strict_run_and_may_make_steps_smaller(void **state)
{
    (void)state;
    struct run r;
    lost = 1;
    prepare(&r, "cpu:0,cpu:1,cpu:2", "2", "2");
    run_set(&r, "strict", "on");
    r.hook = lose_device;
    assert_int_equal(run_train(&r), AIOS_DEVICE_LOST);
    assert_int_equal(r.trainer->position.step, 5);
    run_close(&r);
    prepare(&r, "cpu:0,cpu:1,cpu:2", "2", "2");
    run_set(&r, "keep-global-batch", "off");
    r.hook = lose_device;
    assert_ok(run_train(&r));
    assert_int_equal(r.trainer->position.next_sample, 5 * 12 + 7 * 8);
    assert_non_null(strstr(r.warning, "a step has 8 samples from now on, before it had 12"));
    run_close(&r);
}

static void a_device_that_fails_is_named_by_all(void **state)
{
    (void)state;
    struct run r;
    prepare(&r, "cpu:0,cpu:1,cpu:2", "4", "1");
    run_set(&r, "steps", "1");
    assert_ok(run_train(&r));
    struct replica *broken = &r.trainer->replicas.list[1];
    aios_plan *plan = broken->plan;
    broken->plan = NULL; /* its calls fail */
    struct step_job job = {.step = 1, .first_sample = 12, .next_sample = -1, .rate = 1e-3};
    struct step_outcome outcome;
    assert_int_equal(replicas_step(&r.trainer->replicas, &job, &outcome), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "rank 1 (cpu:1)"));
    for (int i = 0; i < 3; i++) assert_int_equal(r.trainer->replicas.list[i].status, AIOS_INVALID_ARGUMENT);
    broken->plan = plan;
    run_close(&r);
}

int main(void)
{
    (void)setenv("AIOS_CPU_DEVICES", "4", 1);
    (void)setenv("AIOS_CPU_THREADS", "4", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_is_the_whole_batch),
        cmocka_unit_test(unequal_shares_change_nothing),
        cmocka_unit_test(replicas_are_the_same_bit_by_bit),
        cmocka_unit_test(a_layout_gives_the_same_bits_each_time),
        cmocka_unit_test(an_overflow_anywhere_skips_the_step_everywhere),
        cmocka_unit_test(a_stopped_run_goes_on_with_the_same_bits),
        cmocka_unit_test(a_run_goes_on_with_other_devices),
        cmocka_unit_test(an_immediate_stop_leaves_the_step_out_on_all),
        cmocka_unit_test(devices_that_make_no_sense_are_refused),
        cmocka_unit_test(a_replica_that_went_astray_is_named),
        cmocka_unit_test(replicas_that_went_astray_take_the_weights_of_most),
        cmocka_unit_test(others_take_over_the_work_of_a_lost_device),
        cmocka_unit_test(a_loss_ends_a_strict_run_and_may_make_steps_smaller),
        cmocka_unit_test(a_device_that_fails_is_named_by_all),
    };
    return cmocka_run_group_tests_name("replicas", tests, NULL, NULL);
}
