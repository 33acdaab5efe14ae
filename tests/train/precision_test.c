/* What plan.h promises of "16-mixed" and "bf16-mixed": activations and weights in use are rounded to the storage type and no
 * worse than that, masters stay in f32, a loss scale keeps f16's gradients and gives way when they overflow. */
#include "network.h"

#include <math.h>
#include <stdlib.h>

/* As in graph_gradients_test.c, but a backend may round a few more intermediates to the storage type (attention's probabilities,
 * a product before its bias) than the tape does. */
#define MARGIN 8.0

#define FUZZ_MODELS 100
#define FUZZ_STEPS  10

/* f16 holds numbers from 6e-8: gradients of random models are scaled up, and stay below 65504. */
#define SCALE_OF(precision) ((precision) == AIOS_PRECISION_16_MIXED ? 64.0 : 1.0)

static const int32_t precisions[] = {AIOS_PRECISION_16_MIXED, AIOS_PRECISION_BF16_MIXED};

/* ---- random models ----------------------------------------------------------------------------------------------- */

static void random_models_lose_what_rounding_explains(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= FUZZ_MODELS; seed++)
        for (size_t p = 0; p < 2; p++) {
            struct network n;
            struct outcome plain, checkpointed;
            double scale = SCALE_OF(precisions[p]);
            print_message("seed %llu\r", (unsigned long long)seed);
            network_begin(&n, "cpu", seed + 7000);
            network_random(&n, FUZZ_STEPS);
            network_run(&n, precisions[p], 0, scale, 1, &plain);
            network_judge(&n, precisions[p], scale, 1, MARGIN, &plain);
            network_run(&n, precisions[p], 1, scale, 1, &checkpointed);
            outcomes_equal(&n, "with gradient checkpointing", &plain, &checkpointed, plain.count);
            outcome_free(&plain);
            outcome_free(&checkpointed);
            network_end(&n);
        }
}

/* ---- masters and weights in use ---------------------------------------------------------------------------------- */

/* A model that shows its weights: y = w, loss sum of BCE. */
struct mirror {
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
};

#define WEIGHTS 500

static void begin(struct mirror *m, int32_t precision, const aios_optimizer_options *options)
{
    int32_t shape[] = {1, WEIGHTS};
    aios_parameters_options parameters_options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    *m = (struct mirror){.context = test_context()};
    parameters_options.precision = precision;
    plan_options.training = 1;
    assert_ok(aios_device_open(m->context, "cpu", &m->device));
    assert_ok(aios_graph_create(m->context, &m->graph));
    aios_tensor w = aios_graph_parameter(m->graph, "w", shape, 2, AIOS_INIT_NORMAL, 1.0f, AIOS_GROUP_DECAY);
    aios_tensor y = aios_graph_scale(m->graph, w, 1.0f);
    aios_graph_output(m->graph, "y", y);
    (void)aios_graph_bce_with_logits(m->graph, y, aios_graph_input(m->graph, "targets", AIOS_F32, shape, 2), 1.0f);
    assert_ok(aios_graph_finish(m->graph));
    assert_ok(aios_parameters_create(m->device, m->graph, &parameters_options, &m->parameters));
    assert_ok(aios_plan_create(m->graph, m->parameters, &plan_options, &m->plan));
    assert_ok(aios_optimizer_create(m->parameters, options, &m->optimizer));
    assert_ok(aios_parameters_initialize(m->parameters, 3));
}

static void end(struct mirror *m)
{
    aios_optimizer_destroy(m->optimizer);
    aios_plan_destroy(m->plan);
    aios_parameters_destroy(m->parameters);
    aios_graph_destroy(m->graph);
    aios_device_close(m->device);
    aios_context_destroy(m->context);
}

/* To the nearest with so many bits, ties to even; exact for what is normal in the storage type. */
static float rounded(float x, int bits)
{
    int exponent;
    double fraction = frexp((double)x, &exponent);
    return (float)ldexp(nearbyint(ldexp(fraction, bits)), exponent - bits);
}

static void weights_in_use_are_the_masters_rounded(struct mirror *m, int bits)
{
    float master[WEIGHTS], used[WEIGHTS];
    assert_ok(aios_plan_run(m->plan));
    assert_ok(aios_parameters_read(m->parameters, "w", AIOS_VALUE, master, WEIGHTS));
    assert_ok(aios_plan_read(m->plan, "y", used, sizeof used));
    for (int i = 0; i < WEIGHTS; i++)
        if (fabsf(master[i]) > 1e-4f && used[i] != rounded(master[i], bits))
            fail_msg("weight %d is %.9g in use and %.9g as master", i, (double)used[i], (double)master[i]);
}

static void weights_in_use_follow_the_masters(void **state)
{
    (void)state;
    for (size_t p = 0; p < 2; p++)
        for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
            struct mirror m;
            float values[WEIGHTS];
            int bits = precisions[p] == AIOS_PRECISION_16_MIXED ? 11 : 8;
            aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
            options.kind = kind;
            begin(&m, precisions[p], &options);
            weights_in_use_are_the_masters_rounded(&m, bits); /* initialised */
            for (int i = 0; i < WEIGHTS; i++) values[i] = 0.37f * (float)(i - 200) / 7.0f;
            assert_ok(aios_parameters_write(m.parameters, "w", AIOS_VALUE, values, WEIGHTS));
            weights_in_use_are_the_masters_rounded(&m, bits); /* written */
            for (int step = 0; step < 3; step++) {
                assert_ok(aios_optimizer_begin(m.optimizer, 0.03, 1.0));
                assert_ok(aios_plan_run(m.plan));
                assert_ok(aios_optimizer_step(m.optimizer));
                weights_in_use_are_the_masters_rounded(&m, bits); /* trained */
            }
            end(&m);
        }
}

/* 2^-12 is lost beside 1 in bf16 and f16: only an f32 master adds it up. */
static void updates_below_the_storages_rounding_add_up(void **state)
{
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        struct mirror m;
        float values[WEIGHTS], after[WEIGHTS], targets[WEIGHTS];
        aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
        options.kind = AIOS_SIGN_SGD;
        options.weight_decay = 0.0;
        begin(&m, precisions[p], &options);
        for (int i = 0; i < WEIGHTS; i++) {
            values[i] = 1.0f;
            targets[i] = 1.0f;
        }
        assert_ok(aios_parameters_write(m.parameters, "w", AIOS_VALUE, values, WEIGHTS));
        assert_ok(aios_plan_write(m.plan, "targets", targets, sizeof targets));
        for (int step = 0; step < 64; step++) {
            assert_ok(aios_optimizer_begin(m.optimizer, 0x1p-12, 1.0));
            assert_ok(aios_plan_run(m.plan));
            assert_ok(aios_optimizer_step(m.optimizer));
        }
        assert_ok(aios_parameters_read(m.parameters, "w", AIOS_VALUE, after, WEIGHTS));
        for (int i = 0; i < WEIGHTS; i++) assert_true(after[i] == 1.0f + 0x1p-6f);
        weights_in_use_are_the_masters_rounded(&m, precisions[p] == AIOS_PRECISION_16_MIXED ? 11 : 8);
        end(&m);
    }
}

/* ---- loss scale -------------------------------------------------------------------------------------------------- */

/* From 2^24 the gradients (about 0.5 * 2^24) overflow f16: steps are skipped and the scale halves until they fit, and all the
 * while no weight is touched; then training goes on. */
static void overflow_skips_until_the_scale_fits(void **state)
{
    (void)state;
    struct mirror m;
    float before[WEIGHTS], after[WEIGHTS];
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    aios_step_result result = {.struct_size = sizeof result};
    int skipped = 0;
    options.loss_scale = 0x1p24;
    options.growth_interval = 1000;
    begin(&m, AIOS_PRECISION_16_MIXED, &options);
    assert_ok(aios_parameters_read(m.parameters, "w", AIOS_VALUE, before, WEIGHTS));
    for (;;) {
        assert_ok(aios_optimizer_begin(m.optimizer, 0.01, 1.0));
        assert_ok(aios_plan_run(m.plan));
        assert_ok(aios_optimizer_step(m.optimizer));
        assert_ok(aios_optimizer_result(m.optimizer, &result));
        assert_ok(aios_parameters_read(m.parameters, "w", AIOS_VALUE, after, WEIGHTS));
        if (result.finite) break;
        assert_memory_equal(before, after, sizeof before);
        assert_true(result.loss_scale == ldexp(1.0, 24 - ++skipped));
        assert_true(skipped < 24);
    }
    assert_in_range(skipped, 7, 10); /* 0.95 * 2^16 fits in 65504, 0.95 * 2^17 does not; weights of two deviations and more */
    assert_true(result.skipped == skipped && result.skipped_in_a_row == 0.0 && isfinite(result.norm));
    for (int i = 0; i < WEIGHTS; i++) assert_true(after[i] != before[i] && fabsf(after[i] - before[i]) < 0.02f);
    end(&m);
}

/* With mean losses of 2^-20 and without a scale f16 has no gradient left; with one it has. */
static void the_scale_keeps_small_gradients(void **state)
{
    (void)state;
    for (int scaled = 0; scaled < 2; scaled++) {
        struct mirror m;
        float gradient[WEIGHTS];
        aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
        int zeros = 0;
        options.loss_scale = scaled ? 0x1p20 : 1.0;
        begin(&m, AIOS_PRECISION_16_MIXED, &options);
        assert_ok(aios_optimizer_begin(m.optimizer, 0.01, 0x1p26));
        assert_ok(aios_plan_run(m.plan));
        assert_ok(aios_parameters_read(m.parameters, "w", AIOS_GRADIENT, gradient, WEIGHTS));
        for (int i = 0; i < WEIGHTS; i++) zeros += gradient[i] == 0.0f;
        assert_int_equal(zeros, scaled ? 0 : WEIGHTS);
        end(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_models_lose_what_rounding_explains),
        cmocka_unit_test(weights_in_use_follow_the_masters),
        cmocka_unit_test(updates_below_the_storages_rounding_add_up),
        cmocka_unit_test(overflow_skips_until_the_scale_fits),
        cmocka_unit_test(the_scale_keeps_small_gradients),
    };
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
