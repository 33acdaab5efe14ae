/* What the library promises of GPT-2's numbers: logits, loss and every gradient are those of a float64 implementation
 * (reference_gpt2.h) and of PyTorch, whatever the sizes, with checkpointing, in micro-batches, on any number of threads. */
#include "pytorch.h"
#include "reference_gpt2.h"
#include "test.h"

#include <aios/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of a tensor's largest number.  A rounding of f32 is 6e-8; sums have up to some hundred terms and a number passes some tens of
 * operations, so that 1e-6 is what random roundings add up to; ten times that. */
#define TOLERANCE_F32 1e-5
/* A rounding of bf16 is 4e-3, of f16 5e-4, after each of those tens of operations: their root times the rounding, doubled. */
#define TOLERANCE_BF16 6e-2
#define TOLERANCE_F16  8e-3

struct sizes {
    struct reference_sizes model;
    int batch, length;
};

static const struct sizes configurations[] = {
    {{2, 3, 30, 120, 61, 9, 1e-5}, 2, 7}, /* nothing is a multiple of a vector or a tile */
    {{1, 4, 64, 256, 100, 16, 1e-5}, 3, 16},
    {{3, 1, 8, 20, 257, 40, 1e-3}, 1, 33}, /* an inner width of its own */
    {{1, 2, 6, 24, 3, 1, 1e-5}, 4, 1},     /* one position, three tokens */
};
#define CONFIGURATIONS (sizeof configurations / sizeof *configurations)

/* ---- a model in both --------------------------------------------------------------------------------------------- */

struct subject {
    struct sizes sizes;
    struct reference_gpt2 reference;
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *train, *decode;
    aios_parameters *parameters;
    aios_optimizer *optimizer;
    int32_t *tokens, *labels;
    int32_t precision;
};

/* Odd but fixed: uniform in [-1, 1) by a multiplicative hash. */
static double formula(uint32_t i, uint32_t k)
{
    uint32_t u = (i + 1) * 2654435761u ^ (k + 7) * 2246822519u;
    u ^= u >> 15;
    u *= 2246822519u;
    u ^= u >> 13;
    return (double)(u >> 8) / 8388608.0 - 1.0;
}

/* Nearest number with so many significant bits. */
static double rounded(double x, int bits)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    return ldexp(rint(ldexp(fraction, bits)), exponent - bits);
}

static void fill_reference(struct subject *s)
{
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        int gain = t->rank == 1 && strstr(t->name, "ln_") && strstr(t->name, "weight");
        double scale = t->rank == 2 ? 1.0 / sqrt((double)t->shape[strcmp(t->name, "wte.weight") == 0 ? 1 : 0]) : 0.3;
        for (size_t i = 0; i < t->count; i++) /* eight bits: the same in every storage */
            s->reference.value[t->offset + i] = rounded((gain ? 1.0 : 0.0) + scale * formula((uint32_t)i, (uint32_t)k), 8);
    }
}

static void write_weights(struct subject *s)
{
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        float *values = malloc(t->count * sizeof *values);
        assert_non_null(values);
        for (size_t i = 0; i < t->count; i++) values[i] = (float)s->reference.value[t->offset + i];
        assert_ok(aios_parameters_write(s->parameters, t->name, AIOS_VALUE, values, t->count));
        free(values);
    }
}

static void make_batch(struct subject *s, uint32_t seed)
{
    for (int i = 0; i < s->sizes.batch * s->sizes.length; i++) {
        s->tokens[i] = (int32_t)((formula((uint32_t)i, seed) + 1.0) * 0.5 * s->sizes.model.vocabulary);
        s->labels[i] = i % 5 == 3 ? -100 : (int32_t)((formula((uint32_t)i, seed + 99) + 1.0) * 0.5 * s->sizes.model.vocabulary);
    }
}

static void begin(struct subject *s, const struct sizes *sizes, const char *device, int32_t precision,
                  const aios_optimizer_options *optimizer)
{
    char config[512];
    const struct reference_sizes *m = &sizes->model;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    *s = (struct subject){.sizes = *sizes, .context = test_context(), .precision = precision};
    options.precision = precision;
    reference_create(&s->reference, m);
    (void)snprintf(config, sizeof config,
                   "{\"model_type\": \"gpt2\", \"n_layer\": %d, \"n_head\": %d, \"n_embd\": %d, \"n_inner\": %d, \"vocab_size\": %d, "
                   "\"n_positions\": %d, \"layer_norm_epsilon\": %g}",
                   m->layers, m->heads, m->width, m->inner, m->vocabulary, m->positions, m->eps);
    assert_ok(aios_device_open(s->context, device, &s->device));
    assert_ok(aios_model_create(s->context, config, &s->model));
    assert_ok(aios_graph_create(s->context, &s->train));
    assert_ok(aios_graph_create(s->context, &s->decode));
    assert_ok(aios_model_record(s->model, s->train, AIOS_MODEL_TRAIN, sizes->batch, sizes->length));
    assert_ok(aios_model_record(s->model, s->decode, AIOS_MODEL_DECODE, sizes->batch, sizes->length));
    assert_ok(aios_parameters_create(s->device, s->decode, &options, &s->parameters));
    assert_int_equal(aios_parameters_count(s->parameters), s->reference.tensor_count);
    assert_int_equal(aios_parameters_total(s->parameters), s->reference.total);
    assert_ok(aios_optimizer_create(s->parameters, optimizer, &s->optimizer));
    s->tokens = calloc((size_t)(sizes->batch * sizes->length), sizeof *s->tokens);
    s->labels = calloc((size_t)(sizes->batch * sizes->length), sizeof *s->labels);
    assert_true(s->tokens && s->labels);
    fill_reference(s);
    write_weights(s);
    make_batch(s, 1);
}

static void end(struct subject *s)
{
    aios_optimizer_destroy(s->optimizer);
    aios_parameters_destroy(s->parameters);
    aios_graph_destroy(s->train);
    aios_graph_destroy(s->decode);
    aios_model_destroy(s->model);
    aios_device_close(s->device);
    aios_context_destroy(s->context);
    reference_destroy(&s->reference);
    free(s->tokens);
    free(s->labels);
}

static aios_plan *training_plan(struct subject *s, int checkpointing)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    aios_plan *plan;
    options.training = 1;
    options.gradient_checkpointing = checkpointing;
    assert_ok(aios_plan_create(s->train, s->parameters, &options, &plan));
    return plan;
}

static void run(struct subject *s, aios_plan *plan)
{
    uint64_t size = (uint64_t)(s->sizes.batch * s->sizes.length) * 4;
    assert_ok(aios_plan_write(plan, "tokens", s->tokens, size));
    assert_ok(aios_plan_write(plan, "labels", s->labels, size));
    assert_ok(aios_plan_run(plan));
}

/* All gradients, in the reference's order; the caller frees. */
static float *gradients(struct subject *s)
{
    float *all = malloc(s->reference.total * sizeof *all);
    assert_non_null(all);
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        assert_ok(aios_parameters_read(s->parameters, t->name, AIOS_GRADIENT, all + t->offset, t->count));
    }
    return all;
}

static void compare(const char *name, const float *got, const double *wanted, size_t count, double tolerance)
{
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(wanted[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - wanted[i]) <= tolerance * largest))
            fail_msg("%s[%zu] is %.9g and should be %.9g within %g of %.3g", name, i, (double)got[i], wanted[i], tolerance, largest);
}

/* The gradients on the device against the reference's; both hold `scale` times the loss's. */
static void compare_gradients(struct subject *s, double tolerance)
{
    float *got = gradients(s);
    double largest = 0.0;
    for (size_t i = 0; i < s->reference.total; i++) largest = fmax(largest, fabs(s->reference.gradient[i]));
    assert_true(largest > 0.0);
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        compare(t->name, got + t->offset, s->reference.gradient + t->offset, t->count, tolerance);
    }
    free(got);
}

static void clear(double *x, size_t count)
{
    memset(x, 0, count * sizeof *x);
}

/* ---- the judge itself -------------------------------------------------------------------------------------------- */

static double reference_loss(struct subject *s, size_t i, double moved)
{
    double was = s->reference.value[i];
    s->reference.value[i] = moved;
    double loss = reference_run(&s->reference, s->tokens, s->labels, s->sizes.batch, s->sizes.length, 0.0, NULL, NULL).loss;
    s->reference.value[i] = was;
    return loss;
}

/* Central differences: step^2 f''' / 6 = 1e-10 f''' and rounding 1e-16 * loss / step = 1e-9. */
static void the_reference_agrees_with_finite_differences(void **state)
{
    (void)state;
    const double h = 1e-5;
    for (size_t c = 0; c < CONFIGURATIONS; c++) {
        struct subject s;
        begin(&s, &configurations[c], "cpu", AIOS_PRECISION_32, NULL);
        (void)reference_run(&s.reference, s.tokens, s.labels, s.sizes.batch, s.sizes.length, 1.0, NULL, NULL);
        for (size_t k = 0; k < s.reference.tensor_count; k++) {
            const struct reference_tensor *t = &s.reference.tensors[k];
            for (uint32_t tries = 0; tries < 4; tries++) {
                size_t i = t->offset + (size_t)((formula(tries, (uint32_t)k) + 1.0) * 0.5 * (double)t->count);
                double value = s.reference.value[i],
                       slope = (reference_loss(&s, i, value + h) - reference_loss(&s, i, value - h)) / (2.0 * h);
                if (fabs(slope - s.reference.gradient[i]) > 1e-6 * (1.0 + fabs(slope)))
                    fail_msg("%s[%zu]: %.9g by hand, %.9g by differences", t->name, i - t->offset, s.reference.gradient[i], slope);
            }
        }
        end(&s);
    }
}

/* ---- one batch --------------------------------------------------------------------------------------------------- */

static void gradients_of(const struct sizes *sizes, int32_t precision, double loss_scale, double tolerance)
{
    struct subject s;
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    options.loss_scale = loss_scale;
    begin(&s, sizes, "cpu", precision, &options);
    aios_plan *plan = training_plan(&s, 0);
    struct reference_result wanted =
        reference_run(&s.reference, s.tokens, s.labels, sizes->batch, sizes->length, loss_scale / 3.0, NULL, NULL);
    assert_ok(aios_optimizer_begin(s.optimizer, 0.0, 3.0));
    run(&s, plan);
    assert_ok(aios_plan_losses(plan, &sums, 1));
    assert_int_equal((int)sums.rows, wanted.rows);
    if (precision == AIOS_PRECISION_32) assert_int_equal((int)sums.hits, wanted.hits);
    if (!(fabs(sums.loss - wanted.loss) <= tolerance * wanted.loss))
        fail_msg("the loss is %.9g and should be %.9g", sums.loss, wanted.loss);
    compare_gradients(&s, tolerance);
    aios_plan_destroy(plan);
    end(&s);
}

static void loss_and_every_gradient_are_the_references(void **state)
{
    (void)state;
    for (size_t c = 0; c < CONFIGURATIONS; c++) gradients_of(&configurations[c], AIOS_PRECISION_32, 1.0, TOLERANCE_F32);
}

/* f16 loses gradients below 6e-8: they are scaled up, as training does. */
static void loss_and_gradients_in_half_precision(void **state)
{
    (void)state;
    for (size_t c = 0; c < 3; c++) {
        gradients_of(&configurations[c], AIOS_PRECISION_BF16_MIXED, 1.0, TOLERANCE_BF16);
        gradients_of(&configurations[c], AIOS_PRECISION_16_MIXED, 256.0, TOLERANCE_F16);
    }
}

static void an_evaluation_has_the_loss_of_training(void **state)
{
    (void)state;
    struct subject s;
    aios_graph *graph;
    aios_plan *evaluation;
    aios_loss_sums a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    begin(&s, &configurations[0], "cpu", AIOS_PRECISION_32, NULL);
    assert_ok(aios_graph_create(s.context, &graph));
    assert_ok(aios_model_record(s.model, graph, AIOS_MODEL_EVAL, s.sizes.batch, s.sizes.length));
    assert_ok(aios_plan_create(graph, s.parameters, NULL, &evaluation));
    aios_plan *plan = training_plan(&s, 0);
    run(&s, plan);
    run(&s, evaluation);
    assert_ok(aios_plan_losses(plan, &a, 1));
    assert_ok(aios_plan_losses(evaluation, &b, 1));
    assert_true(a.loss == b.loss && a.rows == b.rows && a.hits == b.hits);
    aios_plan_destroy(plan);
    aios_plan_destroy(evaluation);
    aios_graph_destroy(graph);
    end(&s);
}

static void checkpointing_changes_no_bit(void **state)
{
    (void)state;
    static const int32_t precisions[] = {AIOS_PRECISION_32, AIOS_PRECISION_16_MIXED, AIOS_PRECISION_BF16_MIXED};
    for (size_t c = 0; c < CONFIGURATIONS; c++)
        for (size_t p = 0; p < 3; p++) {
            struct subject s;
            float *got[2];
            aios_plan_memory memory[2] = {{.struct_size = sizeof memory[0]}, {.struct_size = sizeof memory[0]}};
            begin(&s, &configurations[c], "cpu", precisions[p], NULL);
            for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
                aios_plan *plan = training_plan(&s, checkpointing);
                assert_ok(aios_optimizer_begin(s.optimizer, 0.0, 1.0));
                run(&s, plan);
                got[checkpointing] = gradients(&s);
                assert_ok(aios_plan_get_memory(plan, &memory[checkpointing]));
                aios_plan_destroy(plan);
            }
            assert_memory_equal(got[0], got[1], s.reference.total * sizeof **got);
            if (s.sizes.model.layers > 2) assert_true(memory[1].activations < memory[0].activations);
            free(got[0]);
            free(got[1]);
            end(&s);
        }
}

static void micro_batches_add_up(void **state)
{
    (void)state;
    for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
        struct subject s;
        aios_loss_sums sums = {.struct_size = sizeof sums};
        double loss = 0.0;
        begin(&s, &configurations[0], "cpu", AIOS_PRECISION_32, NULL);
        aios_plan *plan = training_plan(&s, checkpointing);
        assert_ok(aios_optimizer_begin(s.optimizer, 0.0, 50.0));
        for (uint32_t micro = 0; micro < 4; micro++) {
            make_batch(&s, 10 + micro);
            run(&s, plan);
            loss += reference_run(&s.reference, s.tokens, s.labels, s.sizes.batch, s.sizes.length, 1.0 / 50.0, NULL, NULL).loss;
        }
        assert_ok(aios_plan_losses(plan, &sums, 1));
        assert_true(fabs(sums.loss - loss) <= TOLERANCE_F32 * loss);
        compare_gradients(&s, TOLERANCE_F32);
        assert_ok(aios_optimizer_begin(s.optimizer, 0.0, 1.0)); /* and begin from zero again */
        clear(s.reference.gradient, s.reference.total);
        run(&s, plan);
        (void)reference_run(&s.reference, s.tokens, s.labels, s.sizes.batch, s.sizes.length, 1.0, NULL, NULL);
        compare_gradients(&s, TOLERANCE_F32);
        aios_plan_destroy(plan);
        end(&s);
    }
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static void write_decode(struct subject *s, aios_plan *plan, int first, int length)
{
    int32_t tokens[64], positions[64];
    assert_true(s->sizes.batch * length <= 64);
    for (int i = 0; i < length; i++) positions[i] = first + i;
    for (int b = 0; b < s->sizes.batch; b++)
        for (int i = 0; i < length; i++) tokens[b * length + i] = s->tokens[b * s->sizes.length + first + i];
    assert_ok(aios_plan_write(plan, "tokens", tokens, (uint64_t)(s->sizes.batch * length) * 4));
    assert_ok(aios_plan_write(plan, "positions", positions, (uint64_t)length * 4));
    assert_ok(aios_plan_write(plan, "start", positions, 4));
    assert_ok(aios_plan_run(plan));
}

/* The whole prompt at once; then its first tokens at once and the others one by one, over keys and values in the cache. */
static void decoded_logits_are_the_references(void **state)
{
    (void)state;
    static const double tolerances[] = {TOLERANCE_F32, TOLERANCE_F16, TOLERANCE_BF16};
    for (size_t c = 0; c < CONFIGURATIONS; c++)
        for (int32_t precision = 0; precision < 3; precision++) {
            struct subject s;
            begin(&s, &configurations[c], "cpu", precision, NULL);
            int batch = s.sizes.batch, length = s.sizes.length, v = s.sizes.model.vocabulary, half = (length + 1) / 2;
            size_t count = (size_t)(batch * length * v);
            double *wanted = malloc(count * sizeof *wanted);
            float *got = malloc(count * sizeof *got);
            aios_plan *whole, *begun, *one;
            aios_graph *graphs[2];
            assert_true(wanted && got);
            (void)reference_run(&s.reference, s.tokens, s.labels, batch, length, 0.0, wanted, NULL);
            assert_ok(aios_plan_create(s.decode, s.parameters, NULL, &whole));
            write_decode(&s, whole, 0, length);
            assert_ok(aios_plan_read(whole, "logits", got, count * 4));
            compare("logits", got, wanted, count, tolerances[precision]);

            assert_ok(aios_parameters_reset_states(s.parameters));
            for (int i = 0; i < 2; i++) {
                assert_ok(aios_graph_create(s.context, &graphs[i]));
                assert_ok(aios_model_record(s.model, graphs[i], AIOS_MODEL_DECODE, batch, i ? 1 : half));
            }
            assert_ok(aios_plan_create(graphs[0], s.parameters, NULL, &begun));
            assert_ok(aios_plan_create(graphs[1], s.parameters, NULL, &one));
            write_decode(&s, begun, 0, half);
            for (int i = half; i < length; i++) {
                write_decode(&s, one, i, 1);
                for (int b = 0; b < batch; b++) {
                    assert_ok(aios_plan_read_row(one, "logits", (uint64_t)b, got, (uint64_t)v));
                    compare("logits of a step", got, wanted + (b * length + i) * v, (size_t)v, tolerances[precision]);
                }
            }
            aios_plan_destroy(whole);
            aios_plan_destroy(begun);
            aios_plan_destroy(one);
            aios_graph_destroy(graphs[0]);
            aios_graph_destroy(graphs[1]);
            free(wanted);
            free(got);
            end(&s);
        }
}

/* ---- repeatability ----------------------------------------------------------------------------------------------- */

/* Three steps of training on a device; all weights. */
static float *trained(const char *device, int32_t precision, size_t *count)
{
    struct subject s;
    begin(&s, &configurations[1], device, precision, NULL);
    aios_plan *plan = training_plan(&s, 0);
    float *all = malloc(s.reference.total * sizeof *all);
    assert_non_null(all);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(aios_optimizer_begin(s.optimizer, 0.01, 40.0));
        make_batch(&s, i);
        run(&s, plan);
        assert_ok(aios_optimizer_step(s.optimizer));
    }
    for (size_t k = 0; k < s.reference.tensor_count; k++) {
        const struct reference_tensor *t = &s.reference.tensors[k];
        assert_ok(aios_parameters_read(s.parameters, t->name, AIOS_VALUE, all + t->offset, t->count));
    }
    *count = s.reference.total;
    aios_plan_destroy(plan);
    end(&s);
    return all;
}

static void training_repeats_to_the_bit_on_any_number_of_threads(void **state)
{
    (void)state;
    static const struct {
        const char *devices, *threads, *device;
    } setups[] = {{"1", "1", "cpu"}, {"1", "2", "cpu"}, {"1", "3", "cpu"}, {"2", "4", "cpu:1"}};
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
        for (int32_t precision = 0; precision < 3; precision++) {
            size_t count;
            assert_int_equal(setenv("AIOS_CPU_DEVICES", setups[i].devices, 1), 0);
            assert_int_equal(setenv("AIOS_CPU_THREADS", setups[i].threads, 1), 0);
            float *once = trained(setups[i].device, precision, &count), *twice = trained(setups[i].device, precision, &count);
            assert_memory_equal(once, twice, count * sizeof *once);
            free(once);
            free(twice);
        }
    assert_int_equal(unsetenv("AIOS_CPU_DEVICES"), 0);
    assert_int_equal(unsetenv("AIOS_CPU_THREADS"), 0);
}

/* ---- training ---------------------------------------------------------------------------------------------------- */

/* Losses of 30 steps.  AdamW divides by the root of the second moment, so a gradient that is all rounding moves a weight as far
 * as any other: eps is large enough that such weights stay where they are. */
static void the_loss_curve_is_the_references(void **state)
{
    (void)state;
    struct subject s;
    const struct reference_adamw adamw = {3e-3, 0.9, 0.95, 1e-4, 0.1, 1.0};
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    double first = 0.0, last = 0.0;
    options.eps = adamw.eps;
    begin(&s, &configurations[0], "cpu", AIOS_PRECISION_32, &options);
    aios_plan *plan = training_plan(&s, 1);
    for (uint32_t step = 0; step < 30; step++) {
        aios_loss_sums sums = {.struct_size = sizeof sums};
        aios_step_result result = {.struct_size = sizeof result};
        make_batch(&s, step % 3);
        struct reference_result wanted = reference_run(&s.reference, s.tokens, s.labels, s.sizes.batch, s.sizes.length, 0.1, NULL, NULL);
        double norm = reference_adamw_step(&s.reference, &adamw);
        assert_ok(aios_optimizer_begin(s.optimizer, adamw.lr, 10.0));
        run(&s, plan);
        assert_ok(aios_optimizer_step(s.optimizer));
        assert_ok(aios_plan_losses(plan, &sums, 1));
        assert_ok(aios_optimizer_result(s.optimizer, &result));
        if (!(fabs(sums.loss - wanted.loss) <= 1e-4 * wanted.loss))
            fail_msg("step %u: the loss is %.9g and should be %.9g", step, sums.loss, wanted.loss);
        if (!(fabs(result.norm - norm) <= 1e-3 * norm)) fail_msg("step %u: the norm is %.9g and should be %.9g", step, result.norm, norm);
        if (step == 0) first = wanted.loss;
        last = wanted.loss;
    }
    assert_true(last < 0.7 * first);
    aios_plan_destroy(plan);
    end(&s);
}

/* ---- PyTorch ----------------------------------------------------------------------------------------------------- */

static void read_sizes(const json_t *document, struct sizes *sizes)
{
    const json_t *model = pytorch_get(document, "model");
    sizes->model = (struct reference_sizes){(int)pytorch_number(model, "n_layer"),      (int)pytorch_number(model, "n_head"),
                                            (int)pytorch_number(model, "n_embd"),       4 * (int)pytorch_number(model, "n_embd"),
                                            (int)pytorch_number(model, "vocab_size"),   (int)pytorch_number(model, "n_positions"),
                                            pytorch_number(model, "layer_norm_epsilon")};
    sizes->batch = (int)pytorch_number(document, "batch");
    sizes->length = (int)pytorch_number(document, "sequence");
}

/* PyTorch's weights and batch in both models. */
static void take_pytorch(struct subject *s, const json_t *document)
{
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        float *values = malloc(t->count * sizeof *values);
        int32_t shape[2], rank;
        size_t count;
        assert_non_null(values);
        assert_string_equal(pytorch_tensor(document, k, shape, &rank, &count), t->name);
        assert_int_equal(count, t->count);
        pytorch_fill(document, k, values);
        for (size_t i = 0; i < count; i++) s->reference.value[t->offset + i] = (double)values[i];
        free(values);
    }
    write_weights(s);
    pytorch_integers(document, "tokens", s->tokens, (size_t)(s->sizes.batch * s->sizes.length));
    pytorch_integers(document, "labels", s->labels, (size_t)(s->sizes.batch * s->sizes.length));
}

/* Both float64: they differ by rounding in the order of sums alone. */
static void the_reference_is_pytorchs(void **state)
{
    (void)state;
    json_t *document = pytorch_open("pytorch_gpt2.json");
    struct subject s;
    struct sizes sizes;
    read_sizes(document, &sizes);
    begin(&s, &sizes, "cpu", AIOS_PRECISION_32, NULL);
    take_pytorch(&s, document);
    double rows = pytorch_number(document, "rows"), row_losses[64], wanted[64];
    struct reference_result got = reference_run(&s.reference, s.tokens, s.labels, sizes.batch, sizes.length, 1.0 / rows, NULL, row_losses);
    pytorch_numbers(document, "row_losses", wanted, (size_t)(sizes.batch * sizes.length));
    for (int i = 0; i < sizes.batch * sizes.length; i++) assert_true(fabs(row_losses[i] - wanted[i]) < 1e-12);
    assert_true(fabs(got.loss / rows - pytorch_number(document, "loss")) < 1e-13);
    assert_int_equal(got.rows, (int)rows);
    assert_int_equal(got.hits, (int)pytorch_number(document, "hits"));
    double squares = 0.0;
    for (size_t i = 0; i < s.reference.total; i++) squares += s.reference.gradient[i] * s.reference.gradient[i];
    assert_true(fabs(sqrt(squares) - pytorch_number(document, "gradient_norm")) < 1e-12);
    end(&s);
    json_decref(document);
}

static void compare_tensors(struct subject *s, const json_t *summaries, int32_t kind, double tolerance, int squares)
{
    for (size_t k = 0; k < s->reference.tensor_count; k++) {
        const struct reference_tensor *t = &s->reference.tensors[k];
        float *values = malloc(t->count * sizeof *values);
        assert_non_null(values);
        assert_ok(aios_parameters_read(s->parameters, t->name, kind, values, t->count));
        pytorch_compare(summaries, t->name, values, t->count, tolerance, squares);
        free(values);
    }
}

static void logits_gradients_and_ten_steps_are_pytorchs(void **state)
{
    (void)state;
    json_t *document = pytorch_open("pytorch_gpt2.json");
    const json_t *adamw = pytorch_get(document, "adamw");
    struct subject s;
    struct sizes sizes;
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    double losses[64], norms[64], rows = pytorch_number(document, "rows");
    int steps = (int)pytorch_number(adamw, "steps");
    assert_in_range(steps, 1, 64);
    pytorch_numbers(adamw, "losses", losses, (size_t)steps);
    pytorch_numbers(adamw, "norms", norms, (size_t)steps);
    options.beta1 = pytorch_number(adamw, "beta1");
    options.beta2 = pytorch_number(adamw, "beta2");
    options.eps = pytorch_number(adamw, "eps");
    options.weight_decay = pytorch_number(adamw, "weight_decay");
    options.max_norm = pytorch_number(adamw, "max_norm");
    read_sizes(document, &sizes);
    begin(&s, &sizes, "cpu", AIOS_PRECISION_32, &options);
    take_pytorch(&s, document);

    aios_plan *decode;
    size_t count = (size_t)(sizes.batch * sizes.length * sizes.model.vocabulary);
    float *logits = malloc(count * sizeof *logits);
    assert_non_null(logits);
    assert_ok(aios_plan_create(s.decode, s.parameters, NULL, &decode));
    write_decode(&s, decode, 0, sizes.length);
    assert_ok(aios_plan_read(decode, "logits", logits, count * 4));
    pytorch_compare(document, "logits", logits, count, TOLERANCE_F32, 1);
    free(logits);
    aios_plan_destroy(decode);

    aios_plan *plan = training_plan(&s, 0);
    for (int step = 0; step < steps; step++) {
        aios_loss_sums sums = {.struct_size = sizeof sums};
        aios_step_result result = {.struct_size = sizeof result};
        assert_ok(aios_optimizer_begin(s.optimizer, pytorch_number(adamw, "lr"), rows));
        run(&s, plan);
        if (step == 0) compare_tensors(&s, pytorch_get(document, "gradients"), AIOS_GRADIENT, TOLERANCE_F32, 1);
        assert_ok(aios_optimizer_step(s.optimizer));
        if (step == 0) compare_tensors(&s, pytorch_get(adamw, "first"), AIOS_VALUE, TOLERANCE_F32, 1);
        assert_ok(aios_plan_losses(plan, &sums, 1));
        assert_ok(aios_optimizer_result(s.optimizer, &result));
        if (step == 0) assert_int_equal((int)sums.hits, (int)pytorch_number(document, "hits"));
        assert_true(fabs(sums.loss / rows - losses[step]) <= 1e-4 * losses[step]);
        assert_true(fabs(result.norm - norms[step]) <= 1e-4 * norms[step]);
    }
    compare_tensors(&s, pytorch_get(adamw, "last"), AIOS_VALUE, 1e-3, 1); /* ten steps on, rounding has grown */
    aios_plan_destroy(plan);
    end(&s);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_agrees_with_finite_differences),
        cmocka_unit_test(the_reference_is_pytorchs),
        cmocka_unit_test(loss_and_every_gradient_are_the_references),
        cmocka_unit_test(loss_and_gradients_in_half_precision),
        cmocka_unit_test(an_evaluation_has_the_loss_of_training),
        cmocka_unit_test(checkpointing_changes_no_bit),
        cmocka_unit_test(micro_batches_add_up),
        cmocka_unit_test(decoded_logits_are_the_references),
        cmocka_unit_test(training_repeats_to_the_bit_on_any_number_of_threads),
        cmocka_unit_test(the_loss_curve_is_the_references),
        cmocka_unit_test(logits_gradients_and_ten_steps_are_pytorchs),
    };
    return cmocka_run_group_tests_name("GPT-2 numerics", tests, NULL, NULL);
}
