/* What happens when the host's memory runs out at any allocation of recording, planning, training and reading: the call that
 * needed it says so, everything that was made can be destroyed, nothing is lost, and the next attempt succeeds. */
#include "test.h"

#include <aios/model.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE(...) (int32_t[]){__VA_ARGS__}, (int32_t)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* ---- an allocator that fails ------------------------------------------------------------------------------------- */

struct memory {
    atomic_long asked, live;
    long fail_at;   /* the allocation that fails, from 1; 0: none */
    int fail_after; /* 1: and every later one */
};

static int fails(struct memory *m)
{
    long number = atomic_fetch_add(&m->asked, 1) + 1;
    return m->fail_at && (number == m->fail_at || (m->fail_after && number > m->fail_at));
}

static void *allocate(void *user, size_t size)
{
    struct memory *m = user;
    if (size == 0) abort(); /* context.h: never asked for */
    void *pointer = fails(m) ? NULL : malloc(size);
    if (pointer) atomic_fetch_add(&m->live, 1);
    return pointer;
}

static void *reallocate(void *user, void *pointer, size_t size)
{
    struct memory *m = user;
    if (size == 0 || !pointer) abort();
    return fails(m) ? NULL : realloc(pointer, size);
}

static void release(void *user, void *pointer)
{
    struct memory *m = user;
    atomic_fetch_sub(&m->live, 1);
    free(pointer);
}

/* ---- the scenario ------------------------------------------------------------------------------------------------ */

struct things {
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *graph, *own;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    const char *reached;
};

#define STEP(call)                                                                                                                         \
    do {                                                                                                                                   \
        t->reached = #call;                                                                                                                \
        aios_status status_ = (call);                                                                                                      \
        if (status_ != AIOS_OK) return status_;                                                                                            \
    } while (0)

static const char config[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, \"n_embd\": 8, \"vocab_size\": 19, \"n_positions\": 6}";

/* Every operation that GPT-2 has not. */
static aios_status record_own(struct things *t)
{
    aios_graph *g = t->own;
    aios_attention_options options = AIOS_ATTENTION_OPTIONS_INIT;
    options.heads = 2;
    options.kv_heads = 1;
    options.rope_theta = 100.0f;
    aios_tensor x = aios_graph_input(g, "x", AIOS_F32, SHAPE(2, 3, 8)), mask = aios_graph_input(g, "mask", AIOS_I32, SHAPE(2));
    aios_tensor h = aios_graph_state(g, "carry", AIOS_F32, SHAPE(2, 3, 8)),
                w = aios_graph_parameter(g, "w", SHAPE(8, 4), AIOS_INIT_ONE, 0.0f, 0);
    for (int i = 0; i < 3; i++) {
        aios_tensor y =
            aios_graph_rmsnorm(g, aios_graph_add(g, aios_graph_attention(g, h, &options), aios_graph_slice(g, x, 2, 0, 4)), 0, 1e-5f);
        y = aios_graph_reshape(g, aios_graph_linear(g, y, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_GELU), SHAPE(2, 3, 8));
        h = aios_graph_select(g, mask, aios_graph_scale(g, y, 2.0f), aios_graph_detach(g, y));
    }
    (void)aios_graph_bce_with_logits(g, h, x, 0.5f);
    aios_graph_assign(g, aios_graph_state(g, "carry", AIOS_F32, SHAPE(2, 3, 8)), h);
    aios_graph_output(g, "h", aios_graph_swiglu(g, h));
    return aios_graph_finish(g);
}

static aios_status train(struct things *t)
{
    int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8}, labels[] = {2, 3, 4, -1, 6, 7, 8, 18};
    float gradient[64];
    aios_loss_sums sums = {.struct_size = sizeof sums};
    aios_step_result result = {.struct_size = sizeof result};
    STEP(aios_parameters_initialize(t->parameters, 1));
    STEP(aios_optimizer_begin(t->optimizer, 0.01, 7.0));
    STEP(aios_plan_write(t->plan, "tokens", tokens, sizeof tokens));
    STEP(aios_plan_write(t->plan, "labels", labels, sizeof labels));
    STEP(aios_plan_run(t->plan));
    STEP(aios_parameters_read(t->parameters, "h.1.attn.c_proj.weight", AIOS_GRADIENT, gradient, 64));
    STEP(aios_optimizer_step(t->optimizer));
    STEP(aios_optimizer_result(t->optimizer, &result));
    STEP(aios_plan_losses(t->plan, &sums, 1));
    return AIOS_OK;
}

static aios_status scenario(struct memory *memory, struct things *t, int32_t precision)
{
    aios_allocator allocator = {sizeof allocator, 0, memory, allocate, reallocate, release};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    options.allocator = &allocator;
    parameters.precision = precision;
    plan.training = plan.gradient_checkpointing = 1;
    STEP(aios_context_create(&options, &t->context));
    STEP(aios_device_open(t->context, "cpu", &t->device));
    STEP(aios_model_create(t->context, config, &t->model));
    STEP(aios_graph_create(t->context, &t->graph));
    STEP(aios_model_record(t->model, t->graph, AIOS_MODEL_TRAIN, 2, 4));
    STEP(aios_graph_create(t->context, &t->own));
    STEP(record_own(t));
    STEP(aios_parameters_create(t->device, t->own, &parameters, &t->parameters));
    STEP(aios_plan_create(t->own, t->parameters, &plan, &t->plan));
    aios_plan_destroy(t->plan);
    aios_parameters_destroy(t->parameters);
    t->plan = NULL;
    t->parameters = NULL;
    STEP(aios_parameters_create(t->device, t->graph, &parameters, &t->parameters));
    STEP(aios_plan_create(t->graph, t->parameters, &plan, &t->plan));
    STEP(aios_optimizer_create(t->parameters, NULL, &t->optimizer));
    return train(t);
}

static void destroy(struct things *t)
{
    aios_optimizer_destroy(t->optimizer);
    aios_plan_destroy(t->plan);
    aios_parameters_destroy(t->parameters);
    aios_graph_destroy(t->graph);
    aios_graph_destroy(t->own);
    aios_model_destroy(t->model);
    aios_device_close(t->device);
    aios_context_destroy(t->context);
}

static void fail_everywhere(int32_t precision, int fail_after)
{
    long at = 0;
    for (;;) {
        struct memory memory = {.fail_at = ++at, .fail_after = fail_after};
        struct things things = {0};
        aios_error_clear();
        aios_status status = scenario(&memory, &things, precision);
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY && status != AIOS_DEVICE_OUT_OF_MEMORY)
            fail_msg("allocation %ld, in %s: %s: %s", at, things.reached, aios_status_name(status), aios_error_message());
        if (status != AIOS_OK && !strstr(aios_error_message(), "memory"))
            fail_msg("allocation %ld, in %s: '%s' doesn't speak of memory", at, things.reached, aios_error_message());
        destroy(&things);
        if (memory.live) fail_msg("allocation %ld, in %s: %ld pieces of memory are lost", at, things.reached, (long)memory.live);
        if (memory.asked < at) break; /* it was never reached: there are no more */
        if (status == AIOS_OK) fail_msg("allocation %ld failed and nobody said so", at);
    }
    print_message("%ld allocations\n", at - 1);
    assert_true(at > 50);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    fail_everywhere(AIOS_PRECISION_32, 0);
    fail_everywhere(AIOS_PRECISION_BF16_MIXED, 0);
}

static void memory_may_run_out_for_good(void **state)
{
    (void)state;
    fail_everywhere(AIOS_PRECISION_32, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(memory_may_run_out_for_good),
    };
    return cmocka_run_group_tests_name("allocation faults", tests, NULL, NULL);
}
