/* HRM ACT v1 against what the public PyTorch implementation computes (tests/reference/pytorch_hrm.py): two segments of a training batch. */
#include "pytorch.h"

#include <aios/model.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH  4
#define LENGTH 5
/* both sides are f32: a dozen blocks, each some roundings of 2^-24, against the largest of what is compared */
#define TOLERANCE 5e-5

struct subject {
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
};

static void begin(struct subject *s, const json_t *document)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer = AIOS_OPTIMIZER_OPTIONS_INIT;
    json_t *config = json_deep_copy(pytorch_get(document, "config"));
    assert_int_equal(json_object_set_new(config, "model_type", json_string("hrm_actv1")), 0);
    char *text = json_dumps(config, 0);
    *s = (struct subject){.context = test_context()};
    assert_ok(aios_device_open(s->context, "cpu", &s->device));
    assert_ok(aios_model_create(s->context, text, &s->model));
    assert_ok(aios_graph_create(s->context, &s->graph));
    assert_ok(aios_model_record(s->model, s->graph, AIOS_MODEL_TRAIN, BATCH, LENGTH));
    assert_ok(aios_parameters_create(s->device, s->graph, NULL, &s->parameters));
    options.training = 1;
    assert_ok(aios_plan_create(s->graph, s->parameters, &options, &s->plan));
    assert_ok(aios_optimizer_create(s->parameters, &optimizer, &s->optimizer));
    free(text);
    json_decref(config);
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

/* The reference's own names and shapes: every tensor of it is one of the library's, and the other way round. */
static void write_weights(struct subject *s, const json_t *document)
{
    size_t tensors = json_array_size(pytorch_get(document, "tensors"));
    float values[16384];
    assert_int_equal(tensors, aios_parameters_count(s->parameters));
    for (size_t i = 0; i < tensors; i++) {
        int32_t shape[2], rank;
        size_t count;
        const char *name = pytorch_tensor(document, i, shape, &rank, &count);
        assert_true(count <= 16384);
        pytorch_fill(document, i, values);
        assert_ok(aios_parameters_write(s->parameters, name, AIOS_VALUE, values, count));
    }
}

static void run_segment(struct subject *s, const json_t *document, size_t segment)
{
    static const char *const names[][2] = {{"inputs", "tokens"}, {"labels", "labels"}, {"puzzles", "puzzles"}};
    const int32_t none[BATCH] = {0};
    assert_ok(aios_optimizer_begin(s->optimizer, 1e-3, BATCH));
    for (int k = 0; k < 3; k++) {
        const json_t *rows = json_array_get(pytorch_get(document, names[k][0]), segment);
        int32_t values[BATCH * LENGTH];
        size_t count = 0;
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            if (json_is_integer(row)) values[count++] = (int32_t)json_integer_value(row);
            for (size_t t = 0; t < json_array_size(row); t++) values[count++] = (int32_t)json_integer_value(json_array_get(row, t));
        }
        assert_ok(aios_plan_write(s->plan, names[k][1], values, count * 4));
    }
    assert_ok(aios_plan_write(s->plan, "min_steps", none, sizeof none));
    assert_ok(aios_plan_run(s->plan));
}

static void expect_losses(struct subject *s, const json_t *want)
{
    static const char *const names[] = {"lm_losses", "q_halt_losses", "q_continue_losses"};
    double sums[3];
    pytorch_numbers(want, "losses", sums, 3);
    for (int k = 0; k < 3; k++) {
        float rows[BATCH];
        double sum = 0;
        assert_ok(aios_plan_read(s->plan, names[k], rows, sizeof rows));
        for (int i = 0; i < BATCH; i++) sum += (double)rows[i];
        if (!(fabs(sum - sums[k]) <= TOLERANCE * (1 + fabs(sums[k])))) fail_msg("%s: %.9g, PyTorch says %.9g", names[k], sum, sums[k]);
    }
}

static void expect_halting(struct subject *s, const json_t *want)
{
    int32_t steps[BATCH], running[BATCH];
    float q[2 * BATCH];
    assert_ok(aios_plan_read(s->plan, "steps", steps, sizeof steps));
    assert_ok(aios_plan_read(s->plan, "running", running, sizeof running));
    assert_ok(aios_plan_read(s->plan, "q", q, sizeof q));
    for (size_t i = 0; i < BATCH; i++) {
        assert_int_equal(steps[i], json_integer_value(json_array_get(pytorch_get(want, "steps"), i)));
        assert_int_equal(!running[i], json_integer_value(json_array_get(pytorch_get(want, "halted"), i)));
        for (size_t k = 0; k < 2; k++) {
            double wanted = json_number_value(json_array_get(json_array_get(pytorch_get(want, "q"), i), k));
            if (!(fabs((double)q[2 * i + k] - wanted) <= TOLERANCE * (1 + fabs(wanted))))
                fail_msg("q[%zu][%zu]: %.9g, PyTorch says %.9g", i, k, (double)q[2 * i + k], wanted);
        }
    }
}

static void expect_gradients(struct subject *s, const json_t *want)
{
    const json_t *gradients = pytorch_get(want, "gradients");
    float values[16384];
    size_t compared = 0;
    for (uint32_t i = 0; i < aios_parameters_count(s->parameters); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        assert_ok(aios_parameters_info(s->parameters, i, &info));
        if (!json_object_get(gradients, info.name)) continue; /* H_init, L_init, the table: buffers there */
        assert_ok(aios_parameters_read(s->parameters, info.name, AIOS_GRADIENT, values, info.count));
        pytorch_compare(gradients, info.name, values, info.count, TOLERANCE, 1);
        compared++;
    }
    assert_int_equal(compared + 1, json_object_size(gradients)); /* + model.inner.puzzle_emb, whose sign alone matters */
}

static void two_segments_are_those_of_the_public_implementation(void **state)
{
    (void)state;
    json_t *document = pytorch_open("pytorch_hrm.json");
    struct subject s;
    begin(&s, document);
    write_weights(&s, document);
    for (size_t segment = 0; segment < 2; segment++) {
        const json_t *want = json_array_get(pytorch_get(document, "segments"), segment);
        run_segment(&s, document, segment);
        expect_losses(&s, want);
        expect_halting(&s, want);
        expect_gradients(&s, want);
    }
    end(&s);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_segments_are_those_of_the_public_implementation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
