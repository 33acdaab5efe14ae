/* ZeRO: a model of which every device holds a part learns what it learns where each holds all of it; checkpoints don't know of stages;
 * memory falls by what the stages promise. */
#include "lose.h"

#include "graph/plan.h"
#include "trainer/checkpoint.h"

#define STEPS 8

static const char *const stages[] = {"none", "zero1", "zero2", "zero3"};

struct layout {
    const char *devices, *batch, *accumulation, *weights; /* weights "": even shares of the samples */
};

static void prepare(struct run *r, const struct layout *layout, const char *stage)
{
    run_open(r);
    write_random(r, "text.txt", 7, 3000);
    run_set(r, "devices", layout->devices);
    run_set(r, "strategy", "ddp");
    run_set(r, "batch-size", layout->batch);
    run_set(r, "gradient-accumulation-steps", layout->accumulation);
    run_set(r, "steps", "8");
    run_set(r, "lr", "1e-3");
    run_set(r, "zero-stage", stage);
    run_set(r, "bucket-mb", "0.02");
    if (!*layout->weights) return;
    run_set(r, "balance", "weights");
    run_set(r, "device-weights", layout->weights);
}

static void assert_same_losses(const struct run *a, const struct run *b, double tolerance)
{
    for (int i = 1; i <= STEPS; i++)
        if (!(fabs(a->losses[i] - b->losses[i]) <= tolerance * a->losses[i]))
            fail_msg("step %d: %.9g and %.9g differ by more than %g", i, a->losses[i], b->losses[i], tolerance);
}

/* Sums in another order: 1e-6 of each loss in f32.  With 16-bit weights a last bit of a master may round to another weight, 2^-8 of it. */
static void every_stage_learns_the_same(void **state)
{
    (void)state;
    static const struct layout layouts[] = {{"cpu:0,cpu:1", "6", "1", ""},
                                            {"cpu:2,cpu:0,cpu:1", "2", "2", ""},
                                            {"cpu:0,cpu:1,cpu:2", "1", "4", "6,2,0.5"},
                                            {"cpu:3,cpu:2,cpu:1,cpu:0", "1", "3", ""}};
    static const struct {
        const char *name;
        double tolerance;
    } precisions[] = {{"32", 1e-6}, {"bf16-mixed", 2e-3}, {"16-mixed", 5e-4}};
    for (size_t p = 0; p < COUNT_OF(precisions); p++)
        for (size_t l = p ? 2 : 0; l < (p ? 3 : COUNT_OF(layouts)); l++) {
            struct run none, sharded;
            prepare(&none, &layouts[l], stages[0]);
            run_set(&none, "precision", precisions[p].name);
            assert_ok(run_train(&none));
            for (int stage = 1; stage <= 3; stage++) {
                prepare(&sharded, &layouts[l], stages[stage]);
                run_set(&sharded, "precision", precisions[p].name);
                run_set(&sharded, "gradient-checkpointing", l % 2 ? "on" : "off");
                run_set(&sharded, "verify-interval", "3");
                assert_ok(run_train(&sharded));
                assert_int_equal(sharded.trainer->replicas.list[0].parameters->stage, stage);
                assert_same_losses(&none, &sharded, precisions[p].tolerance);
                run_close(&sharded);
            }
            run_close(&none);
        }
}

static void a_layout_gives_the_same_bits_each_time(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "1", "4", "6,2,0.5"};
    for (int stage = 0; stage <= 3; stage++) {
        struct run a, b;
        prepare(&a, &layout, stages[stage]);
        prepare(&b, &layout, stages[stage]);
        run_set(&b, "overlap", "off");
        assert_ok(run_train(&a));
        assert_ok(run_train(&b));
        assert_same_losses(&a, &b, 0);
        run_close(&a);
        run_close(&b);
    }
}

/* One decision for all: whose gradient overflows, and whose parts it is in, does not matter. */
static void an_overflow_anywhere_skips_the_step_everywhere(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "4", "1", ""};
    struct run r[4];
    for (int stage = 0; stage <= 3; stage++) {
        prepare(&r[stage], &layout, stages[stage]);
        run_set(&r[stage], "precision", "16-mixed");
        run_set(&r[stage], "loss-scale", "16777216"); /* gradients beyond what f16 holds, until it has fallen */
        assert_ok(run_train(&r[stage]));
        aios_step_result first = {.struct_size = sizeof first}, other = {.struct_size = sizeof other};
        for (int i = 0; i < 3; i++) {
            assert_ok(aios_optimizer_result(r[0].trainer->replicas.list[0].optimizer, &first));
            assert_ok(aios_optimizer_result(r[stage].trainer->replicas.list[i].optimizer, &other));
            assert_true(other.skipped > 0 && other.loss_scale < 16777216);
            assert_true(other.skipped == first.skipped && other.loss_scale == first.loss_scale);
        }
    }
    for (int stage = 0; stage <= 3; stage++) run_close(&r[stage]);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void memory_falls_with_the_stage(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2,cpu:3", "1", "1", ""};
    uint64_t held[4];
    for (int stage = 0; stage <= 3; stage++) {
        struct run r;
        prepare(&r, &layout, stages[stage]);
        run_set(&r, "n-embd", "128");
        run_set(&r, "steps", "1");
        assert_ok(run_train(&r));
        const aios_parameters *p = r.trainer->replicas.list[1].parameters;
        held[stage] = 0;
        aios_device_memory_used(p->device, &held[stage], NULL);
        uint64_t owned = 0;
        for (int i = 0; i < 4; i++) {
            const aios_parameters *other = r.trainer->replicas.list[i].parameters;
            owned += other->owned;
            assert_true(other->owned <= p->padded / 4 + other->bucket_count * BLOCK);
        }
        assert_int_equal(owned, p->padded);
        /* weights, gradients, two moments: 4 parts of 4 bytes; from 1 on three quarters of two go, then of three, then of four */
        uint64_t part = p->padded * 4, slack = 4 * p->bucket_count * BLOCK * 4;
        static const int gone[] = {0, 2, 3, 4};
        if (stage == 1) assert_true(held[0] - held[1] + slack >= part * 3 / 4 * 2);
        if (stage > 1) /* the buckets at work are in the arena */
            assert_true(held[stage] <= held[0] - part * 3 / 4 * (uint64_t)gone[stage] + slack + part / 3 * (uint64_t)(stage - 1));
        run_close(&r);
    }
    assert_true(held[3] < held[2] && held[2] < held[1]);
}

/* Parts follow the memory of the devices: a quarter of it holds a quarter. */
static void parts_follow_memory(void **state)
{
    (void)state;
    static const double shares[] = {1, 1, 2};
    struct run r;
    static const struct layout layout = {"cpu:0", "1", "1", ""};
    prepare(&r, &layout, "none");
    run_set(&r, "steps", "1");
    assert_ok(run_train(&r));
    aios_parameters *plain = r.trainer->replicas.list[0].parameters, *part;
    aios_graph *graph;
    assert_ok(aios_graph_create(r.context, &graph));
    assert_ok(aios_model_record(r.trainer->model, graph, AIOS_MODEL_TRAIN, 1, 32));
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    uint64_t sum = 0, owned[3];
    for (int rank = 0; rank < 3; rank++) {
        struct sharding sharding = {.stage = 3, .rank = rank, .ranks = 3, .bucket_bytes = 1 << 20, .memory_shares = shares};
        assert_ok(parameters_create(plain->device, graph, &options, &sharding, &part));
        sum += owned[rank] = part->owned;
        aios_parameters_destroy(part);
    }
    assert_int_equal(sum, plain->padded);
    assert_true(owned[2] + BLOCK >= owned[0] + owned[1] && owned[2] <= owned[0] + owned[1] + BLOCK);
    aios_graph_destroy(graph);
    run_close(&r);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

static void assert_same_file(const struct run *a, const struct run *b, const char *name)
{
    char path[PATH_SIZE], in[128];
    size_t size, other;
    (void)snprintf(in, sizeof in, "run/checkpoints/step-00000008/%s", name);
    run_path(a, in, path);
    char *x = read_file(path, &size);
    run_path(b, in, path);
    char *y = read_file(path, &other);
    assert_int_equal(size, other);
    assert_memory_equal(x, y, size);
    free(x);
    free(y);
}

/* A stage-3 run saves, each stage loads it and saves it again: the same bytes. */
static void checkpoints_know_no_stage(void **state)
{
    (void)state;
    static const struct layout layouts[] = {{"cpu:0,cpu:1,cpu:2", "4", "1", ""}, {"cpu:0,cpu:1", "6", "1", ""}, {"cpu:1", "12", "1", ""}};
    static const char *const precisions[] = {"32", "bf16-mixed"};
    for (size_t p = 0; p < COUNT_OF(precisions); p++) { /* in 16 bits on the layout that differs most */
        struct run first;
        prepare(&first, &layouts[0], "zero3");
        run_set(&first, "precision", precisions[p]);
        assert_ok(run_train(&first));
        for (int stage = 0; stage <= 3; stage++)
            for (size_t l = p; l < COUNT_OF(layouts) - p; l++) {
                struct run again;
                char from[PATH_SIZE], command[3 * PATH_SIZE];
                prepare(&again, &layouts[l], stages[stage]);
                run_path(&first, "run", from);
                (void)snprintf(command, sizeof command, "cp -r '%s' '%s/run'", from, again.folder);
                assert_int_equal(system(command), 0);
                run_set(&again, "precision", precisions[p]);
                run_set(&again, "resume", "on");
                assert_ok(aios_trainer_create(again.context, again.options, NULL, &again.trainer));
                (void)snprintf(command, sizeof command, "rm -r '%s/run/checkpoints'", again.folder);
                assert_int_equal(system(command), 0);
                assert_ok(checkpoint_save(again.trainer));
                assert_same_file(&first, &again, "model.safetensors");
                assert_same_file(&first, &again, "optimizer.safetensors");
                run_close(&again);
            }
        run_close(&first);
    }
}

/* ---- evaluation, stops ------------------------------------------------------------------------------------------- */

static void evaluations_see_all_weights(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "4", "1", ""};
    double loss[4];
    for (int stage = 0; stage <= 3; stage++) {
        struct run r;
        prepare(&r, &layout, stages[stage]);
        run_set(&r, "eval-fraction", "0.1");
        run_set(&r, "eval-interval", "4");
        assert_ok(run_train(&r));
        assert_int_equal(r.evals, 2);
        float weights[32]; /* what was saved last can be read after a run */
        assert_ok(aios_parameters_read(aios_trainer_parameters(r.trainer), "ln_f.weight", AIOS_VALUE, weights, 32));
        assert_true(fabs((double)weights[0] - 1) < 0.1);
        loss[stage] = r.trainer->position.eval_loss;
        assert_true(fabs(loss[stage] - loss[0]) <= 1e-6 * loss[0]);
        assert_null(r.trainer->replicas.list[0].parameters->whole);
        run_close(&r);
    }
}

static int stop_now(void *user)
{
    (void)user;
    return 1;
}

static void an_immediate_stop_leaves_the_step_out_on_all(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "1", "4", "6,2,0.5"};
    for (int stage = 1; stage <= 3; stage++) {
        struct run whole, r;
        struct step_outcome outcome;
        prepare(&whole, &layout, stages[stage]);
        assert_ok(run_train(&whole));
        prepare(&r, &layout, stages[stage]);
        run_set(&r, "steps", "1");
        assert_ok(run_train(&r));
        struct step_job job = {.step = 1, .first_sample = 12, .next_sample = -1, .rate = 1e-3, .stop = stop_now};
        assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
        assert_true(outcome.abandoned);
        job.stop = NULL;
        assert_ok(replicas_step(&r.trainer->replicas, &job, &outcome));
        assert_true(!outcome.abandoned && fabs(outcome.loss - whole.losses[2]) <= 1e-6 * outcome.loss);
        run_close(&whole);
        run_close(&r);
    }
}

/* Weights that every replica holds are compared, whatever else is in parts. */
static void a_replica_that_went_astray_is_named(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "1", "1", ""};
    static const char *const precisions[] = {"32", "bf16-mixed"};
    for (int stage = 1; stage <= 2; stage++) {
        struct run r;
        prepare(&r, &layout, stages[stage]);
        run_set(&r, "steps", "1");
        run_set(&r, "precision", precisions[stage - 1]);
        assert_ok(run_train(&r));
        assert_ok(replicas_verify(&r.trainer->replicas));
        uint16_t *bits = (uint16_t *)r.trainer->replicas.list[2].parameters->weight + 77; /* a CPU device's memory is the host's */
        *bits ^= 1;
        assert_int_equal(replicas_verify(&r.trainer->replicas), AIOS_CORRUPT);
        assert_non_null(strstr(aios_error_message(), "cpu:2"));
        run_close(&r);
    }
}

static aios_status break_down(const aios_plan *plan, const struct instruction *instruction)
{
    (void)plan;
    return FAIL(AIOS_INTERNAL, "%s broke down", instruction->label);
}

/* In the middle of backward, with sums of some buckets under way: nobody waits for the one that is gone, all say who it was. */
static void a_failure_in_the_middle_is_told_by_all(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "1", "2", ""};
    for (int stage = 0; stage <= 3; stage++) {
        struct run r;
        struct step_outcome outcome;
        struct step_job job = {.step = 1, .first_sample = 6, .next_sample = -1, .rate = 1e-3};
        prepare(&r, &layout, stages[stage]);
        run_set(&r, "steps", "1");
        assert_ok(run_train(&r));
        aios_plan *plan = r.trainer->replicas.list[1].plan;
        const struct plan_point *middle = &plan->points[plan->point_count * 3 / 4];
        plan->instructions[middle->instruction].run = break_down;
        assert_int_equal(replicas_step(&r.trainer->replicas, &job, &outcome), AIOS_INTERNAL);
        assert_non_null(strstr(aios_error_message(), "rank 1 (cpu:1)"));
        assert_non_null(strstr(aios_error_message(), "broke down"));
        for (int i = 0; i < 3; i++) assert_int_equal(r.trainer->replicas.list[i].status, AIOS_INTERNAL);
        run_close(&r);
    }
}

static void what_can_not_be_sharded_is_refused(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1", "1", "1", ""};
    struct run r;
    prepare(&r, &layout, "zero2");
    run_set(&r, "strategy", "parallel-independent");
    assert_int_equal(run_train(&r), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "zero-stage"));
    run_close(&r);
}

/* After step 5, once. */
static int loses;
static void lose_device(struct run *r, const char *name, const char *json)
{
    if (strcmp(name, "step") == 0 && field_of(json, "step") == 5 && loses-- == 1) lose(r, 1);
}

/* Whose part is gone: the others go back to the last checkpoint, or to the beginning, and come to the same. */
static void others_begin_anew_where_a_part_is_lost(void **state)
{
    (void)state;
    static const struct layout layout = {"cpu:0,cpu:1,cpu:2", "1", "2", ""};
    struct run whole, r;
    prepare(&whole, &layout, "none");
    assert_ok(run_train(&whole));
    for (int stage = 1; stage <= 3; stage++)
        for (int saved = 0; saved < 2; saved++) {
            prepare(&r, &layout, stages[stage]);
            if (saved) run_set(&r, "checkpoint-interval", "4");
            loses = 1;
            r.hook = lose_device;
            assert_ok(run_train(&r));
            assert_int_equal(r.trainer->replicas.count, 2);
            assert_int_equal(r.steps_seen, saved ? 9 : 13);
            assert_non_null(strstr(r.warning, saved ? "goes on from step 4, not 5" : "goes on from step 0, not 5"));
            assert_int_equal(r.trainer->position.next_sample, 6 * STEPS);
            assert_same_losses(&whole, &r, 1e-6);
            run_close(&r);
        }
    run_close(&whole);
}

int main(void)
{
    (void)setenv("AIOS_CPU_DEVICES", "4", 1);
    (void)setenv("AIOS_CPU_THREADS", "4", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stage_learns_the_same),
        cmocka_unit_test(a_layout_gives_the_same_bits_each_time),
        cmocka_unit_test(an_overflow_anywhere_skips_the_step_everywhere),
        cmocka_unit_test(memory_falls_with_the_stage),
        cmocka_unit_test(parts_follow_memory),
        cmocka_unit_test(checkpoints_know_no_stage),
        cmocka_unit_test(evaluations_see_all_weights),
        cmocka_unit_test(an_immediate_stop_leaves_the_step_out_on_all),
        cmocka_unit_test(a_replica_that_went_astray_is_named),
        cmocka_unit_test(a_failure_in_the_middle_is_told_by_all),
        cmocka_unit_test(what_can_not_be_sharded_is_refused),
        cmocka_unit_test(others_begin_anew_where_a_part_is_lost),
    };
    return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
