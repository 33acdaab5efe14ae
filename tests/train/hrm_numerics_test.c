/* HRM ACT v1 against an independent float64 implementation: losses, every gradient, updated weights, carry and halting. */
#include "base/rng.h"
#include "reference_hrm.h"
#include "test.h"

#include <aios/model.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 5
/* f32 through a dozen norm-separated blocks: 2^-24 per rounding, some hundred of them in a row, against the tensor's largest value */
#define TOLERANCE 4e-5

struct subject {
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
};

static const double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, decay = 0.1, puzzle_lr = 1e-2, puzzle_decay = 0.2;

static void begin(struct subject *s, const char *config, int32_t mode, int32_t batch, int training)
{
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    *s = (struct subject){.context = test_context()};
    options.training = plan_options.training = training;
    assert_ok(aios_device_open(s->context, "cpu", &s->device));
    assert_ok(aios_model_create(s->context, config, &s->model));
    assert_ok(aios_graph_create(s->context, &s->graph));
    assert_ok(aios_model_record(s->model, s->graph, mode, batch, aios_model_context_length(s->model)));
    assert_ok(aios_parameters_create(s->device, s->graph, &options, &s->parameters));
    assert_ok(aios_parameters_initialize(s->parameters, 3));
    assert_ok(aios_plan_create(s->graph, s->parameters, &plan_options, &s->plan));
    if (!training) return;
    aios_optimizer_options o = AIOS_OPTIMIZER_OPTIONS_INIT;
    o.kind = AIOS_ADAM_ATAN2;
    o.beta1 = beta1;
    o.beta2 = beta2;
    o.weight_decay = decay;
    o.max_norm = 0;
    o.rows_lr_factor = puzzle_lr / lr;
    o.rows_weight_decay = puzzle_decay;
    assert_ok(aios_optimizer_create(s->parameters, &o, &s->optimizer));
}

static void end(struct subject *s)
{
    aios_optimizer_destroy(s->optimizer);
    aios_plan_destroy(s->plan);
    aios_parameters_destroy(s->parameters);
    aios_graph_destroy(s->graph);
    aios_model_destroy(s->model);
    aios_device_close(s->device);
    aios_context_destroy(s->context);
}

/* The same random numbers in both. */
static void fill(struct subject *s, struct reference_hrm *m, const char *name, double *values, size_t count, double deviation, rng *r)
{
    float *narrow = malloc(count * sizeof *narrow);
    assert_non_null(narrow);
    (void)m;
    for (size_t i = 0; i < count; i++) values[i] = (double)(narrow[i] = (float)(deviation * rng_normal(r)));
    assert_ok(aios_parameters_write(s->parameters, name, AIOS_VALUE, narrow, count));
    free(narrow);
}

static void fill_all(struct subject *s, struct reference_hrm *m)
{
    rng r;
    rng_init(&r, 12, 34);
    for (size_t i = 0; i < m->tensor_count; i++) {
        const struct hrm_tensor *t = &m->tensors[i];
        int q = strstr(t->name, "q_head") != NULL;
        fill(s, m, t->name, m->value + t->offset, t->count, q ? 0.3 : 1 / sqrt(t->columns), &r);
    }
    const struct hrm_sizes *z = &m->sizes;
    fill(s, m, "model.inner.H_init", m->h_init, (size_t)z->hidden, 1, &r);
    fill(s, m, "model.inner.L_init", m->l_init, (size_t)z->hidden, 1, &r);
    if (z->puzzle_positions)
        fill(s, m, "model.inner.puzzle_emb.weights", m->puzzles, (size_t)(z->identifiers * z->puzzle_positions * z->hidden), 0.2, &r);
}

static void expect_close(const char *what, const char *name, const float *got, const double *want, size_t count, double tolerance)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance * largest + 1e-12))
            fail_msg("%s of %s, element %zu: %.9g, float64 says %.9g (largest %.3g)", what, name, i, (double)got[i], want[i], largest);
}

static void expect_tensors(struct subject *s, const struct reference_hrm *m, int32_t kind, const char *what, const double *all)
{
    float *got = malloc(m->total * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < m->tensor_count; i++) {
        const struct hrm_tensor *t = &m->tensors[i];
        assert_ok(aios_parameters_read(s->parameters, t->name, kind, got, t->count));
        expect_close(what, t->name, got, all + t->offset, t->count, TOLERANCE);
    }
    free(got);
}

/* atan2 is as steep at 0 as it gets: an element whose gradient is nothing but rounding may go either way. */
static void expect_weights(struct subject *s, struct reference_hrm *m)
{
    float *got = malloc(m->total * sizeof *got);
    assert_non_null(got);
    for (size_t i = 0; i < m->tensor_count; i++) {
        const struct hrm_tensor *t = &m->tensors[i];
        double largest = 0, *v = m->value + t->offset;
        size_t unsure = 0;
        assert_ok(aios_parameters_read(s->parameters, t->name, AIOS_VALUE, got, t->count));
        for (size_t k = 0; k < t->count; k++) largest = fmax(largest, fabs(m->moment1[t->offset + k]));
        for (size_t k = 0; k < t->count; k++) {
            int tiny = fabs(m->moment1[t->offset + k]) < 0.01 * largest;
            unsure += (size_t)tiny;
            double allowed = tiny ? 2 * lr : 5e-3 * lr + 2e-7 * fabs(v[k]);
            if (!(fabs((double)got[k] - v[k]) <= allowed))
                fail_msg("%s, element %zu after the step: %.9g, float64 says %.9g", t->name, k, (double)got[k], v[k]);
            v[k] = (double)got[k]; /* the next step starts from the same weights */
        }
        assert_true(unsure < t->count || largest == 0);
    }
    free(got);
}

static void expect_output(struct subject *s, const char *name, const double *want, double factor)
{
    float got[BATCH * 2];
    size_t count = strcmp(name, "q") == 0 ? 2 * BATCH : BATCH;
    assert_ok(aios_plan_read(s->plan, name, got, count * 4));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - factor * want[i]) <= 1e-4 * (1 + fabs(want[i]))))
            fail_msg("%s[%zu] is %.9g, float64 says %.9g", name, i, (double)got[i], factor * want[i]);
}

static void expect_integers(struct subject *s, const char *name, const int32_t *want)
{
    int32_t got[BATCH];
    assert_ok(aios_plan_read(s->plan, name, got, sizeof got));
    for (int i = 0; i < BATCH; i++)
        if (got[i] != want[i]) fail_msg("%s[%d] is %d, float64 says %d", name, i, got[i], want[i]);
}

static void expect_puzzle_rows(struct subject *s, struct reference_hrm *m)
{
    const struct hrm_sizes *z = &m->sizes;
    size_t count = (size_t)(z->identifiers * z->puzzle_positions * z->hidden), flips = 0;
    float *got = malloc(count * sizeof *got);
    assert_non_null(got);
    assert_ok(aios_parameters_read(s->parameters, "model.inner.puzzle_emb.weights", AIOS_VALUE, got, count));
    for (size_t i = 0; i < count; i++) {
        int flipped = fabs((double)got[i] - m->puzzles[i]) > 1e-6;
        flips += (size_t)flipped;
        if (flipped && (fabs((double)got[i] - m->puzzles[i]) > 2.001 * puzzle_lr || fabs(m->puzzle_gradient[i]) > 1e-4))
            fail_msg("puzzle row element %zu: %.9g, float64 says %.9g", i, (double)got[i], m->puzzles[i]);
        m->puzzles[i] = (double)got[i];
    }
    assert_true(flips <= count / 50); /* signs of gradients that are all but 0 */
    free(got);
}

struct batch {
    int32_t tokens[BATCH * 32], labels[BATCH * 32], ids[BATCH], min_steps[BATCH];
};

static void draw_batch(struct batch *b, const struct hrm_sizes *z, rng *r)
{
    for (int i = 0; i < BATCH * z->length; i++) {
        b->tokens[i] = (int32_t)rng_below(r, (uint64_t)z->vocabulary);
        b->labels[i] = rng_below(r, 6) ? (int32_t)rng_below(r, (uint64_t)z->vocabulary) : -100;
    }
    for (int i = 0; i < z->length; i++) b->labels[i] = -100; /* the first sequence has nothing that counts */
    for (int i = 0; i < BATCH; i++) {
        b->ids[i] = (int32_t)rng_below(r, (uint64_t)z->identifiers);
        b->min_steps[i] = rng_below(r, 2) ? 2 + (int32_t)rng_below(r, (uint64_t)z->halt_max_steps - 1) : 0;
    }
}

static void check_training(const struct hrm_sizes *z, const char *config, int segments)
{
    struct subject s;
    struct reference_hrm m;
    struct batch b;
    rng r;
    int halted = 0, went_on = 0;
    rng_init(&r, 5, 6);
    begin(&s, config, AIOS_MODEL_TRAIN, BATCH, 1);
    hrm_create(&m, z, BATCH);
    fill_all(&s, &m);
    for (int k = 0; k < segments; k++) {
        uint64_t cells = (uint64_t)(BATCH * z->length) * 4;
        draw_batch(&b, z, &r);
        hrm_segment(&m, b.tokens, b.labels, b.ids, b.min_steps);
        assert_ok(aios_optimizer_begin(s.optimizer, lr, BATCH));
        assert_ok(aios_plan_write(s.plan, "tokens", b.tokens, cells));
        assert_ok(aios_plan_write(s.plan, "labels", b.labels, cells));
        assert_ok(aios_plan_write(s.plan, "puzzles", b.ids, sizeof b.ids));
        assert_ok(aios_plan_write(s.plan, "min_steps", b.min_steps, sizeof b.min_steps));
        assert_ok(aios_plan_run(s.plan));
        expect_output(&s, "lm_losses", m.lm_loss, 1);
        expect_output(&s, "q_halt_losses", m.q_halt_loss, 1);
        expect_output(&s, "q_continue_losses", m.q_continue_loss, 1);
        expect_output(&s, "q", m.q, 1);
        expect_output(&s, "correct", m.correct, 1);
        expect_integers(&s, "steps", m.count);
        expect_integers(&s, "running", m.running);
        expect_tensors(&s, &m, AIOS_GRADIENT, "gradient", m.gradient);
        assert_ok(aios_optimizer_step(s.optimizer));
        hrm_step(&m, lr, beta1, beta2, decay, puzzle_lr, puzzle_decay);
        expect_weights(&s, &m);
        if (z->puzzle_positions) expect_puzzle_rows(&s, &m);
        for (int i = 0; i < BATCH; i++) halted += !m.running[i], went_on += m.running[i];
    }
    assert_true(halted > 0 && went_on > 0);
    float init[64];
    assert_ok(aios_parameters_read(s.parameters, "model.inner.H_init", AIOS_VALUE, init, (uint64_t)z->hidden));
    for (int i = 0; i < z->hidden; i++) assert_true((double)init[i] == m.h_init[i]); /* never trained */
    hrm_destroy(&m);
    end(&s);
}

static void segments_agree_with_float64(void **state)
{
    (void)state;
    const struct hrm_sizes z = {.hidden = 16,
                                .heads = 2,
                                .inner = 256,
                                .h_layers = 2,
                                .l_layers = 1,
                                .h_cycles = 2,
                                .l_cycles = 2,
                                .halt_max_steps = 3,
                                .vocabulary = 11,
                                .length = 7,
                                .identifiers = 4,
                                .puzzle_positions = 1,
                                .rope = 1,
                                .stablemax = 1,
                                .theta = 10000,
                                .eps = 1e-5};
    check_training(
        &z,
        "{\"model_type\": \"hrm_actv1\", \"hidden_size\": 16, \"num_heads\": 2, \"H_layers\": 2, \"L_layers\": 1, \"halt_max_steps\": 3,"
        " \"vocab_size\": 11, \"seq_len\": 7, \"num_puzzle_identifiers\": 4}",
        7);
}

static void the_other_options_agree_with_float64(void **state)
{
    (void)state;
    const struct hrm_sizes z = {.hidden = 16,
                                .heads = 4,
                                .inner = 256,
                                .h_layers = 1,
                                .l_layers = 1,
                                .h_cycles = 1,
                                .l_cycles = 3,
                                .halt_max_steps = 4,
                                .vocabulary = 5,
                                .length = 6,
                                .identifiers = 3,
                                .puzzle_positions = 2,
                                .rope = 0,
                                .stablemax = 0,
                                .theta = 10000,
                                .eps = 1e-3};
    check_training(
        &z,
        "{\"model_type\": \"hrm_actv1\", \"hidden_size\": 16, \"num_heads\": 4, \"H_layers\": 1, \"L_layers\": 1, \"H_cycles\": 1,"
        " \"L_cycles\": 3, \"halt_max_steps\": 4, \"vocab_size\": 5, \"seq_len\": 6, \"num_puzzle_identifiers\": 3,"
        " \"puzzle_emb_ndim\": 32, \"pos_encodings\": \"learned\", \"rms_norm_eps\": 1e-3,"
        " \"loss\": {\"loss_type\": \"softmax_cross_entropy\"}}",
        6);
}

/* reference/hrm.md, and a published training log */
static void the_sudoku_configuration_has_the_published_number_of_parameters(void **state)
{
    (void)state;
    struct subject s;
    begin(&s, "{\"model_type\": \"hrm_actv1\", \"vocab_size\": 11, \"seq_len\": 81}", AIOS_MODEL_EVAL, 1, 0);
    assert_int_equal(aios_parameters_total(s.parameters), 27275266);
    float bias[2], head[1024];
    assert_ok(aios_parameters_read(s.parameters, "model.inner.q_head.bias", AIOS_VALUE, bias, 2));
    assert_ok(aios_parameters_read(s.parameters, "model.inner.q_head.weight", AIOS_VALUE, head, 1024));
    assert_true(bias[0] == -5.0f && bias[1] == -5.0f && head[0] == 0.0f && head[1023] == 0.0f);
    end(&s);
}

static void evaluation_runs_to_the_last_step(void **state)
{
    (void)state;
    struct subject s;
    int32_t tokens[BATCH * 7] = {0}, ids[BATCH] = {0}, running[BATCH], steps[BATCH];
    begin(&s,
          "{\"model_type\": \"hrm_actv1\", \"hidden_size\": 16, \"num_heads\": 2, \"H_layers\": 1, \"L_layers\": 1, \"halt_max_steps\": 5,"
          " \"vocab_size\": 11, \"seq_len\": 7}",
          AIOS_MODEL_EVAL, BATCH, 0);
    const float eager[2] = {5, -5}; /* halting is wanted at once */
    assert_ok(aios_parameters_write(s.parameters, "model.inner.q_head.bias", AIOS_VALUE, eager, 2));
    for (int k = 1; k <= 11; k++) {
        assert_ok(aios_plan_write(s.plan, "tokens", tokens, sizeof tokens));
        assert_ok(aios_plan_write(s.plan, "labels", tokens, sizeof tokens));
        assert_ok(aios_plan_write(s.plan, "puzzles", ids, sizeof ids));
        assert_ok(aios_plan_run(s.plan));
        assert_ok(aios_plan_read(s.plan, "running", running, sizeof running));
        assert_ok(aios_plan_read(s.plan, "steps", steps, sizeof steps));
        for (int i = 0; i < BATCH; i++) {
            assert_int_equal(steps[i], (k - 1) % 5 + 1);
            assert_int_equal(running[i], k % 5 != 0);
        }
    }
    end(&s);
}

static void a_table_gets_one_run_in_a_step(void **state)
{
    (void)state;
    struct subject s;
    begin(&s,
          "{\"model_type\": \"hrm_actv1\", \"hidden_size\": 16, \"num_heads\": 2, \"H_layers\": 1, \"L_layers\": 1, \"vocab_size\": 3,"
          " \"seq_len\": 4}",
          AIOS_MODEL_TRAIN, 2, 1);
    assert_ok(aios_optimizer_begin(s.optimizer, lr, 2));
    assert_ok(aios_plan_run(s.plan));
    assert_int_equal(aios_plan_run(s.plan), AIOS_WRONG_STATE);
    assert_ok(aios_optimizer_step(s.optimizer));
    assert_ok(aios_optimizer_begin(s.optimizer, lr, 2));
    assert_ok(aios_plan_run(s.plan));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_agree_with_float64),
        cmocka_unit_test(the_other_options_agree_with_float64),
        cmocka_unit_test(the_sudoku_configuration_has_the_published_number_of_parameters),
        cmocka_unit_test(evaluation_runs_to_the_last_step),
        cmocka_unit_test(a_table_gets_one_run_in_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
