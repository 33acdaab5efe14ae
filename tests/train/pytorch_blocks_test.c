/* The two transformer blocks of tests/reference/pytorch_blocks.json, as HRM and Llama use them, recorded on the public graph:
 * logits, losses, every gradient and one step of the optimizer are PyTorch's in float64. */
#include "pytorch.h"

#include <aios/plan.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of a tensor's largest number: a rounding of f32 is 6e-8, and a number passes some tens of operations. */
#define TOLERANCE 1e-5

struct block {
    json_t *document, *part;
    int hrm, batch, length, width, heads, inner, vocabulary;
    int32_t kv_heads;
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
};

/* ---- the models -------------------------------------------------------------------------------------------------- */

static aios_tensor parameter(struct block *b, const char *name)
{
    for (size_t k = 0; k < json_array_size(pytorch_get(b->part, "tensors")); k++) {
        int32_t shape[2], rank;
        size_t count;
        if (strcmp(pytorch_tensor(b->part, k, shape, &rank, &count), name) == 0)
            return aios_graph_parameter(b->graph, name, shape, rank, AIOS_INIT_ZERO, 0.0f, AIOS_GROUP_DECAY);
    }
    fail_msg("the reference has no tensor %s", name);
    return 0;
}

static aios_tensor linear(struct block *b, aios_tensor x, const char *weight, aios_tensor bias)
{
    return aios_graph_linear(b->graph, x, parameter(b, weight), bias, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
}

static aios_tensor attend(struct block *b, aios_tensor x)
{
    aios_attention_options o = AIOS_ATTENTION_OPTIONS_INIT;
    o.heads = b->heads;
    o.kv_heads = b->kv_heads;
    o.causal = !b->hrm;
    o.rope_theta = (float)pytorch_number(b->document, "rope_theta");
    return linear(b, aios_graph_attention(b->graph, linear(b, x, "qkv", 0), &o), "o", 0);
}

static aios_tensor mix(struct block *b, aios_tensor x)
{
    return linear(b, aios_graph_swiglu(b->graph, linear(b, x, "gate_up", 0)), "down", 0);
}

static void record(struct block *b)
{
    aios_graph *g = b->graph;
    float eps = (float)pytorch_number(b->document, "rms_eps");
    int32_t shape[] = {b->batch, b->length};
    aios_tensor x = aios_graph_embedding(g, parameter(b, "embed"), aios_graph_input(g, "tokens", AIOS_I32, shape, 2));
    x = aios_graph_scale(g, x, sqrtf((float)b->width));
    if (b->hrm) {
        x = aios_graph_rmsnorm(g, aios_graph_add(g, x, attend(b, x)), 0, eps);
        x = aios_graph_rmsnorm(g, aios_graph_add(g, x, mix(b, x)), 0, eps);
    } else {
        x = aios_graph_add(g, x, attend(b, aios_graph_rmsnorm(g, x, parameter(b, "norm_1"), eps)));
        x = aios_graph_add(g, x, mix(b, aios_graph_rmsnorm(g, x, parameter(b, "norm_2"), eps)));
    }
    aios_tensor logits = linear(b, x, "head", 0);
    aios_tensor first = aios_graph_reshape(g, aios_graph_slice(g, x, 1, 0, 1), (int32_t[]){b->batch, b->width}, 2);
    aios_tensor q = linear(b, first, "q_head", parameter(b, "q_bias"));
    aios_tensor labels = aios_graph_input(g, "labels", AIOS_I32, shape, 2);
    aios_tensor targets = aios_graph_input(g, "q_targets", AIOS_F32, (int32_t[]){b->batch, 2}, 2);
    aios_graph_output(g, "row_losses", aios_graph_cross_entropy(g, logits, labels, b->hrm ? AIOS_STABLEMAX : AIOS_SOFTMAX, 1.0f));
    aios_graph_output(g, "bce", aios_graph_bce_with_logits(g, q, targets, 0.5f));
    aios_graph_output(g, "logits", logits);
    aios_graph_output(g, "q", q);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static void begin(struct block *b, const char *part, int hrm)
{
    *b = (struct block){.document = pytorch_open("pytorch_blocks.json"), .hrm = hrm, .context = test_context()};
    b->part = pytorch_get(b->document, part);
    b->batch = (int)pytorch_number(b->document, "batch");
    b->length = (int)pytorch_number(b->document, "sequence");
    b->width = (int)pytorch_number(b->document, "width");
    b->heads = (int)pytorch_number(b->document, "heads");
    b->inner = (int)pytorch_number(b->document, "inner");
    b->vocabulary = (int)pytorch_number(b->document, "vocabulary");
    b->kv_heads = (int32_t)pytorch_number(b->part, "kv_heads");
    assert_ok(aios_device_open(b->context, "cpu", &b->device));
    assert_ok(aios_graph_create(b->context, &b->graph));
    record(b);
    assert_ok(aios_graph_finish(b->graph));
    assert_ok(aios_parameters_create(b->device, b->graph, NULL, &b->parameters));
    assert_int_equal(aios_parameters_count(b->parameters), json_array_size(pytorch_get(b->part, "tensors")));
}

static void end(struct block *b)
{
    aios_parameters_destroy(b->parameters);
    aios_graph_destroy(b->graph);
    aios_device_close(b->device);
    aios_context_destroy(b->context);
    json_decref(b->document);
}

static void write_weights(struct block *b)
{
    for (size_t k = 0; k < json_array_size(pytorch_get(b->part, "tensors")); k++) {
        int32_t shape[2], rank;
        size_t count;
        const char *name = pytorch_tensor(b->part, k, shape, &rank, &count);
        float *values = malloc(count * sizeof *values);
        assert_non_null(values);
        pytorch_fill(b->part, k, values);
        assert_ok(aios_parameters_write(b->parameters, name, AIOS_VALUE, values, count));
        free(values);
    }
}

static void write_batch(struct block *b, aios_plan *plan)
{
    int32_t integers[64];
    double numbers[8];
    float targets[8];
    size_t count = (size_t)(b->batch * b->length), q = (size_t)b->batch * 2;
    assert_true(count <= 64 && q <= 8);
    pytorch_integers(b->part, "tokens", integers, count);
    assert_ok(aios_plan_write(plan, "tokens", integers, count * 4));
    pytorch_integers(b->part, "labels", integers, count);
    assert_ok(aios_plan_write(plan, "labels", integers, count * 4));
    pytorch_numbers(b->part, "q_targets", numbers, q);
    for (size_t i = 0; i < q; i++) targets[i] = (float)numbers[i];
    assert_ok(aios_plan_write(plan, "q_targets", targets, q * 4));
}

static void compare_tensors(struct block *b, const json_t *summaries, int32_t kind, int squares)
{
    for (size_t k = 0; k < json_array_size(pytorch_get(b->part, "tensors")); k++) {
        int32_t shape[2], rank;
        size_t count;
        const char *name = pytorch_tensor(b->part, k, shape, &rank, &count);
        float *values = malloc(count * sizeof *values);
        assert_non_null(values);
        assert_ok(aios_parameters_read(b->parameters, name, kind, values, count));
        pytorch_compare(summaries, name, values, count, TOLERANCE, squares);
        free(values);
    }
}

static void compare_outputs(struct block *b, aios_plan *plan)
{
    size_t rows = (size_t)(b->batch * b->length), count = rows * (size_t)b->vocabulary;
    float logits[2048], losses[64], q[8], bce[8];
    double wanted[64], sum = 0.0;
    assert_true(count <= 2048 && rows <= 64);
    assert_ok(aios_plan_read(plan, "logits", logits, count * 4));
    pytorch_compare(b->part, "logits", logits, count, TOLERANCE, 1);
    assert_ok(aios_plan_read(plan, "row_losses", losses, rows * 4));
    pytorch_numbers(b->part, "row_losses", wanted, rows);
    for (size_t i = 0; i < rows; i++) assert_true(fabs((double)losses[i] - wanted[i]) <= TOLERANCE * 4.0);
    assert_ok(aios_plan_read(plan, "q", q, (uint64_t)b->batch * 8));
    assert_ok(aios_plan_read(plan, "bce", bce, (uint64_t)b->batch * 8));
    pytorch_numbers(b->part, "q", wanted, (size_t)b->batch * 2);
    for (int i = 0; i < b->batch * 2; i++) {
        assert_true(fabs((double)q[i] - wanted[i]) <= TOLERANCE * 2.0);
        sum += (double)bce[i];
    }
    assert_true(fabs(sum - pytorch_number(b->part, "bce")) <= TOLERANCE * sum);
}

static void judge(const char *part, int hrm, int checkpointing)
{
    struct block b;
    aios_plan *plan;
    aios_optimizer *optimizer;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    begin(&b, part, hrm);
    const json_t *rule = pytorch_get(b.part, "optimizer");
    double rows = pytorch_number(b.part, "rows");
    options.kind = hrm ? AIOS_ADAM_ATAN2 : AIOS_SIGN_SGD;
    options.beta1 = pytorch_number(rule, "beta1");
    options.beta2 = pytorch_number(rule, "beta2");
    options.weight_decay = pytorch_number(rule, "weight_decay");
    options.max_norm = 0.0;
    plan_options.training = 1;
    plan_options.gradient_checkpointing = checkpointing;
    assert_ok(aios_plan_create(b.graph, b.parameters, &plan_options, &plan));
    assert_ok(aios_optimizer_create(b.parameters, &options, &optimizer));
    write_weights(&b);
    write_batch(&b, plan);
    assert_ok(aios_optimizer_begin(optimizer, pytorch_number(rule, "lr"), rows));
    assert_ok(aios_plan_run(plan));
    compare_outputs(&b, plan);
    assert_ok(aios_plan_losses(plan, &sums, 1));
    assert_true(fabs(sums.loss / rows - pytorch_number(b.part, "loss")) <= TOLERANCE * sums.loss / rows);
    assert_int_equal((int)sums.rows, (int)rows);
    assert_int_equal((int)sums.hits, (int)pytorch_number(b.part, "hits"));
    compare_tensors(&b, pytorch_get(b.part, "gradients"), AIOS_GRADIENT, 1);
    assert_ok(aios_optimizer_step(optimizer));
    compare_tensors(&b, pytorch_get(rule, "after"), AIOS_VALUE, 0);
    aios_optimizer_destroy(optimizer);
    aios_plan_destroy(plan);
    end(&b);
}

static void the_block_of_hrm_is_pytorchs(void **state)
{
    (void)state;
    judge("hrm_block", 1, 0);
    judge("hrm_block", 1, 1);
}

static void the_block_of_llama_is_pytorchs(void **state)
{
    (void)state;
    judge("llama_block", 0, 0);
    judge("llama_block", 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_block_of_hrm_is_pytorchs),
        cmocka_unit_test(the_block_of_llama_is_pytorchs),
    };
    return cmocka_run_group_tests_name("PyTorch's blocks", tests, NULL, NULL);
}
