/* HRM on puzzles by the trainer of texts: any split of a batch, on any devices, with stops in between, is one device without a stop.  A
 * list of devices as the program's argument is trained on instead of the CPU's own. */
#include "lose.h"

#include "data/puzzles/puzzles.h"
#include "graph/parameters.h"
#include "trainer/carry.h"
#include "trainer/checkpoint_folder.h"

#define STEPS  14
#define LENGTH 12
#define TABLE  "model.inner.puzzle_emb.weights"

static const char *devices = "cpu:0,cpu:1";

static int count_devices(void)
{
    int count = 1;
    for (const char *c = devices; *c; c++) count += *c == ',';
    return count;
}

/* Groups of two puzzles with identifiers of their own and one to three examples: each label is the input plus its puzzle's number. */
static void write_puzzles(const struct run *r, const char *split, int groups)
{
    aios_puzzles *set;
    char path[PATH_SIZE];
    uint64_t x = 88172645463325252u;
    assert_ok(puzzles_create(r->context, AIOS_PUZZLE_OTHER, LENGTH, 9, &set));
    for (int p = 0; p < 2 * groups; p++) {
        for (int e = 0; e < 1 + p % 3; e++) {
            uint8_t input[LENGTH], label[LENGTH];
            for (int i = 0; i < LENGTH; i++) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                input[i] = (uint8_t)(1 + (x >> 40) % 8);
                label[i] = (uint8_t)(1 + (input[i] + p % 2) % 8);
            }
            assert_ok(puzzles_add(set, input, label));
        }
        assert_ok(puzzles_end_puzzle(set, p));
        if (p % 2) assert_ok(puzzles_end_group(set));
    }
    run_path(r, "puzzles", path);
    assert_ok(aios_puzzles_save(set, path, split));
    aios_puzzles_destroy(set);
}

static void set_number(struct run *r, const char *option, int value)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", value);
    run_set(r, option, text);
}

static void set_options(struct run *r)
{
    static const char *const values[][2] = {{"hidden-size", "16"},
                                            {"num-heads", "2"},
                                            {"h-layers", "1"},
                                            {"l-layers", "1"},
                                            {"halt-max-steps", "3"},
                                            {"lr", "1e-2"},
                                            {"puzzle-emb-lr", "1e-2"},
                                            {"log-interval", "1"},
                                            {"keep-cpu", "on"},
                                            {"lr-warmup-steps", "3"},
                                            {"device", "cpu:0"},
                                            {"strategy", "ddp"},
                                            {"halt-exploration-prob", "0.4"}};
    aios_options_destroy(r->options);
    assert_ok(aios_options_create(r->context, AIOS_SCOPE_HRM, &r->options));
    for (size_t i = 0; i < COUNT_OF(values); i++) run_set(r, values[i][0], values[i][1]);
    run_set_path(r, "data-path", "puzzles");
    run_set_path(r, "save-dir", "run");
    set_number(r, "global-batch-size", 12);
    set_number(r, "steps", STEPS);
}

static void prepare(struct run *r)
{
    run_open(r);
    write_puzzles(r, "train", 12);
    write_puzzles(r, "test", 5);
    set_options(r);
}

static void assert_same_losses(const struct run *a, const struct run *b, double tolerance)
{
    for (int i = 1; i <= STEPS; i++)
        if (!(fabs(a->losses[i] - b->losses[i]) <= tolerance * a->losses[i]))
            fail_msg("step %d: %.9g and %.9g differ by more than %g", i, a->losses[i], b->losses[i], tolerance);
}

/* Every value of the leader of one run beside the other's, the tables of puzzles among them; and, of states, that puzzles are where they
 * were. */
static void assert_same_values(const struct run *a, const struct run *b, double tolerance)
{
    aios_parameters *p = aios_trainer_parameters(a->trainer), *q = aios_trainer_parameters(b->trainer);
    for (uint32_t i = 0; i < aios_parameters_count(p); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        assert_ok(aios_parameters_info(p, i, &info));
        float *x = malloc(info.count * sizeof *x), *y = malloc(info.count * sizeof *y);
        double largest = 0;
        assert_true(x && y);
        assert_ok(aios_parameters_read(p, info.name, AIOS_VALUE, x, info.count));
        assert_ok(aios_parameters_read(q, info.name, AIOS_VALUE, y, info.count));
        for (uint64_t k = 0; k < info.count; k++) largest = fmax(largest, fabs((double)x[k] - (double)y[k]));
        if (!(largest <= tolerance)) fail_msg("%s: values differ by %g", info.name, largest);
        free(x);
        free(y);
    }
}

/* One device with the whole batch, against several, accumulation, unequal shares, a model in parts.  Sums in another order differ in their
 * last bits, which fourteen updates of Adam-atan2, whose step does not shrink with the gradient, carry on. */
static void any_split_is_the_whole_batch(void **state)
{
    (void)state;
    struct run whole, part;
    int count = count_devices();
    prepare(&whole);
    assert_ok(run_train(&whole));
    assert_true(whole.losses[STEPS] < 0.9 * whole.losses[1]);
    for (int way = 0; way < 6; way++) {
        if (way && way < 3 && 12 % (2 * count)) continue;
        prepare(&part);
        if (way >= 3) set_number(&part, "zero-stage", way - 2);
        if (way != 1) run_set(&part, "devices", devices);
        if (way == 1) run_set(&part, "gradient-accumulation-steps", "4");
        if (way == 2) {
            run_set(&part, "gradient-accumulation-steps", "2");
            run_set(&part, "balance", "weights");
            run_set(&part, "device-weights", count == 2 ? "3,1" : "3,1,2");
        }
        assert_ok(run_train(&part));
        assert_same_losses(&whole, &part, 1e-5);
        assert_same_values(&whole, &part, 2e-4);
        run_close(&part);
    }
    run_close(&whole);
}

/* Stopped after any step, the run goes on with the same bits: weights, moments, tables, the puzzles in work, their order.  Devices of
 * several makes each compute the optimizer's corrections, in the last bit in their own way, and go on from the first one's. */
static void a_run_that_was_stopped_goes_on_as_if_it_were_not(void **state)
{
    (void)state;
    struct run whole, r;
    int same = strcmp(devices, "cpu:0,cpu:1") == 0;
    prepare(&whole);
    run_set(&whole, "devices", devices);
    assert_ok(run_train(&whole));
    for (int stop = 1; stop < STEPS; stop += 4) {
        prepare(&r);
        run_set(&r, "devices", devices);
        r.stop_at = stop;
        r.stop_mode = AIOS_STOP_GRACEFUL;
        assert_int_equal(run_train(&r), AIOS_STOPPED);
        run_end_trainer(&r);
        r.stop_at = 0;
        run_set(&r, "resume", "on");
        assert_ok(run_train(&r));
        assert_int_equal(r.warnings, 0);
        assert_same_losses(&whole, &r, same ? 0 : 1e-6);
        assert_same_values(&whole, &r, same ? 0 : 2e-5);
        run_close(&r);
    }
    run_close(&whole);
}

/* An evaluation in between changes nothing of what is carried. */
static void an_evaluation_leaves_no_trace(void **state)
{
    (void)state;
    struct run whole, r;
    prepare(&whole);
    assert_ok(run_train(&whole));
    prepare(&r);
    run_set(&r, "eval-interval", "3");
    assert_ok(run_train(&r));
    assert_int_equal(r.evals, 5); /* the last one at the end */
    assert_same_losses(&whole, &r, 0);
    run_close(&whole);
    run_close(&r);
}

static int stop_now(void *user)
{
    (void)user;
    return 1;
}

/* What a step that is left out made of the puzzles is forgotten with it. */
static void a_step_that_is_left_out_leaves_no_trace(void **state)
{
    (void)state;
    struct run whole, r;
    struct step_outcome outcome;
    prepare(&whole);
    run_set(&whole, "gradient-accumulation-steps", "3");
    assert_ok(run_train(&whole));
    for (int way = 0; way < 2; way++) {
        prepare(&r);
        run_set(&r, "gradient-accumulation-steps", "3");
        if (way) run_set(&r, "devices", "cpu:0,cpu:1");
        set_number(&r, "steps", 5);
        assert_ok(run_train(&r));
        struct step_job job = {.step = 6, .first_sample = 60, .next_sample = -1, .rate = 1e-2, .stop = stop_now};
        assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
        assert_true(outcome.abandoned);
        job.stop = NULL;
        assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
        assert_false(outcome.abandoned);
        if (!(fabs(outcome.loss - whole.losses[6]) <= 1e-5 * outcome.loss)) fail_msg("%.9g and %.9g", outcome.loss, whole.losses[6]);
        run_close(&r);
    }
    run_close(&whole);
}

static int lost;
static struct carry_image before, after; /* what was carried after step 5, and when step 6 begins without the lost device */

static void lose_after_step_5(struct run *r, const char *name, const char *json)
{
    if (strcmp(name, "balance") == 0 && lost) assert_ok(carry_gather(&r->trainer->replicas, &after));
    if (strcmp(name, "step") == 0 && field_of(json, "step") == 5 && !lost) {
        lost = 1;
        assert_ok(carry_gather(&r->trainer->replicas, &before));
        lose(r, 1);
    }
}

/* Of the first six rows, which the lost device had not, everything; of its own nothing. */
static void assert_half_is_carried(aios_context *context)
{
    assert_true(before.count > 0 && before.count == after.count);
    for (size_t i = 0; i < before.count; i++) {
        size_t half = before.tensors[i].bytes / 2;
        int anything = 0;
        for (size_t k = 0; k < half; k++) anything |= before.values[i][half + k];
        assert_true(anything);
        assert_memory_equal(before.values[i], after.values[i], half);
        for (size_t k = 0; k < half; k++) assert_int_equal(after.values[i][half + k], 0);
    }
    carry_image_free(context, &before);
    carry_image_free(context, &after);
}

/* The other takes over its puzzles, which begin anew, in two micro-batches; its own are where they were before the step that was lost. */
static void a_lost_device_leaves_its_puzzles_to_the_others(void **state)
{
    (void)state;
    struct run r;
    prepare(&r);
    run_set(&r, "devices", "cpu:0,cpu:1");
    lost = 0;
    r.hook = lose_after_step_5;
    assert_ok(run_train(&r));
    assert_half_is_carried(r.context);
    assert_int_equal(r.trainer->replicas.count, 1);
    assert_int_equal(r.trainer->replicas.list[0].count, 12);
    assert_int_equal(r.trainer->replicas.list[0].batch, 6);
    assert_int_equal(r.steps_seen, STEPS);
    assert_true(r.losses[STEPS] < r.losses[1]);
    run_close(&r);
}

/* Devices on chunks of their own: rows of puzzles that one of them trained are in the merged table as it left them, and all learn. */
static void independent_devices_share_their_puzzles(void **state)
{
    (void)state;
    struct run r;
    prepare(&r);
    run_set(&r, "devices", devices);
    run_set(&r, "strategy", "parallel-independent");
    set_number(&r, "global-batch-size", 4 * count_devices());
    set_number(&r, "merge-interval", 7);
    set_number(&r, "steps", 140);
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    float rows[24 * 16];
    assert_ok(aios_parameters_read(aios_trainer_parameters(r.trainer), TABLE, AIOS_VALUE, rows, COUNT_OF(rows)));
    int used = 0;
    for (int i = 0; i < 24; i++) used += rows[i * 16] != 0;
    assert_true(used > 18); /* of 24, each drawn several times */
    if (!(m.eval_loss < 1.6)) fail_msg("the loss is %g, that of knowing nothing %g", m.eval_loss, log(8));
    for (int i = 1; i < r.trainer->replicas.count; i++) {
        float others[24 * 16];
        assert_ok(aios_parameters_read(r.trainer->replicas.list[i].parameters, TABLE, AIOS_VALUE, others, COUNT_OF(others)));
        assert_memory_equal(rows, others, sizeof rows);
    }
    run_close(&r);
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *words;
    } cases[] = {
        {"global-batch-size", "13", "is 13: 2 devices"}, {"epochs", "3", "give one of them"}, {"data-path", "", "data-path is empty"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct run r;
        prepare(&r);
        run_set(&r, "devices", "cpu:0,cpu:1");
        run_set(&r, cases[i].option, cases[i].value);
        assert_int_equal(run_train(&r), AIOS_INVALID_ARGUMENT);
        if (!strstr(aios_error_message(), cases[i].words)) fail_msg("%s", aios_error_message());
        run_close(&r);
    }
}

/* Another batch, or another number of micro-batches per device: the first says so, the second is the same run. */
static void a_checkpoint_fits_any_number_of_devices(void **state)
{
    (void)state;
    struct run whole, r;
    prepare(&whole);
    assert_ok(run_train(&whole));
    prepare(&r);
    r.stop_at = 6;
    r.stop_mode = AIOS_STOP_GRACEFUL;
    assert_int_equal(run_train(&r), AIOS_STOPPED);
    run_end_trainer(&r);
    r.stop_at = 0;
    run_set(&r, "resume", "on");
    run_set(&r, "devices", devices);
    assert_ok(run_train(&r));
    assert_same_losses(&whole, &r, 1e-5);
    run_end_trainer(&r);
    r.warnings = 0;
    set_number(&r, "global-batch-size", 24);
    set_number(&r, "steps", STEPS + 2);
    assert_ok(run_train(&r));
    assert_true(r.warnings >= 1);
    run_close(&r);
    run_close(&whole);
}

int main(int count, char **words)
{
    if (count > 1) devices = words[1];
    (void)setenv("AIOS_CPU_DEVICES", "2", 1);
    (void)setenv("AIOS_CPU_THREADS", "2", 1);
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(an_evaluation_leaves_no_trace),
        cmocka_unit_test(a_step_that_is_left_out_leaves_no_trace),
        cmocka_unit_test(a_lost_device_leaves_its_puzzles_to_the_others),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    const struct CMUnitTest together[] = {
        cmocka_unit_test(any_split_is_the_whole_batch),
        cmocka_unit_test(a_run_that_was_stopped_goes_on_as_if_it_were_not),
        cmocka_unit_test(a_checkpoint_fits_any_number_of_devices),
        cmocka_unit_test(independent_devices_share_their_puzzles),
    };
    int failed = count > 1 ? 0 : cmocka_run_group_tests_name("hrm_puzzles", alone, NULL, NULL);
    return failed + cmocka_run_group_tests_name("hrm_puzzles together", together, NULL, NULL);
}
