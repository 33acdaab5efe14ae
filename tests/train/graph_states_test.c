/* What graph.h and plan.h promise of what lives from run to run, of what is read after a run, and of the memory in between. */
#include "test.h"

#include <aios/plan.h>

#include <math.h>
#include <string.h>

#define SHAPE(...) (int32_t[]){__VA_ARGS__}, (int32_t)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

struct subject {
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
};

static struct subject begin(void)
{
    struct subject s = {.context = test_context()};
    assert_ok(aios_device_open(s.context, "cpu", &s.device));
    assert_ok(aios_graph_create(s.context, &s.graph));
    return s;
}

static void plan(struct subject *s, int32_t precision, int training, int checkpointing)
{
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    options.precision = precision;
    plan_options.training = training;
    plan_options.gradient_checkpointing = checkpointing;
    assert_ok(aios_graph_finish(s->graph));
    if (!s->parameters) assert_ok(aios_parameters_create(s->device, s->graph, &options, &s->parameters));
    assert_ok(aios_plan_create(s->graph, s->parameters, &plan_options, &s->plan));
}

static void end(struct subject *s)
{
    aios_plan_destroy(s->plan);
    aios_parameters_destroy(s->parameters);
    aios_graph_destroy(s->graph);
    aios_device_close(s->device);
    aios_context_destroy(s->context);
}

static void run_with(struct subject *s, const char *input, const void *data, uint64_t size)
{
    assert_ok(aios_plan_write(s->plan, input, data, size));
    assert_ok(aios_plan_run(s->plan));
}

static void expect(struct subject *s, const char *output, const float *wanted, size_t count)
{
    float got[64];
    assert_true(count <= 64);
    assert_ok(aios_plan_read(s->plan, output, got, count * 4));
    for (size_t i = 0; i < count; i++)
        if (got[i] != wanted[i]) fail_msg("%s[%zu] is %g and should be %g", output, i, (double)got[i], (double)wanted[i]);
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static void a_state_is_zero_at_first_then_what_was_assigned(void **state)
{
    (void)state;
    for (int32_t precision = 0; precision < 3; precision++) { /* small integers are the same in each */
        struct subject s = begin();
        aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(3)), sum = aios_graph_state(s.graph, "sum", AIOS_F32, SHAPE(3));
        aios_tensor next = aios_graph_add(s.graph, x, sum), seen = aios_graph_scale(s.graph, sum, 1.0f);
        aios_graph_assign(s.graph, sum, next); /* the state is read as it was, wherever the assignment is recorded */
        aios_tensor twice = aios_graph_scale(s.graph, sum, 2.0f);
        aios_graph_output(s.graph, "seen", seen);
        aios_graph_output(s.graph, "next", next);
        aios_graph_output(s.graph, "twice", twice);
        plan(&s, precision, 0, 0);
        run_with(&s, "x", (float[]){1, 2, 3}, 12);
        expect(&s, "seen", (float[]){0, 0, 0}, 3);
        run_with(&s, "x", (float[]){10, 20, 30}, 12);
        expect(&s, "seen", (float[]){1, 2, 3}, 3);
        expect(&s, "twice", (float[]){2, 4, 6}, 3);
        expect(&s, "next", (float[]){11, 22, 33}, 3);
        assert_ok(aios_plan_run(s.plan)); /* the input stays */
        expect(&s, "next", (float[]){21, 42, 63}, 3);
        assert_ok(aios_parameters_reset_states(s.parameters));
        assert_ok(aios_plan_run(s.plan));
        expect(&s, "next", (float[]){10, 20, 30}, 3);
        end(&s);
    }
}

static void states_of_integers(void **state)
{
    (void)state;
    struct subject s = begin();
    aios_tensor x = aios_graph_input(s.graph, "x", AIOS_I32, SHAPE(2, 2)), last = aios_graph_state(s.graph, "last", AIOS_I32, SHAPE(4));
    aios_tensor mask = aios_graph_reshape(s.graph, last, SHAPE(4));
    aios_graph_output(s.graph, "chosen",
                      aios_graph_select(s.graph, mask, aios_graph_input(s.graph, "a", AIOS_F32, SHAPE(4)),
                                        aios_graph_input(s.graph, "b", AIOS_F32, SHAPE(4))));
    aios_graph_assign(s.graph, last, aios_graph_reshape(s.graph, x, SHAPE(4)));
    plan(&s, AIOS_PRECISION_32, 0, 0);
    assert_ok(aios_plan_write(s.plan, "a", (float[]){1, 2, 3, 4}, 16));
    assert_ok(aios_plan_write(s.plan, "b", (float[]){-1, -2, -3, -4}, 16));
    run_with(&s, "x", (int32_t[]){1, 0, 0, 7}, 16);
    expect(&s, "chosen", (float[]){-1, -2, -3, -4}, 4);
    assert_ok(aios_plan_run(s.plan));
    expect(&s, "chosen", (float[]){1, -2, -3, 4}, 4);
    end(&s);
}

/* All assignments happen after the run, each from what the run saw, in whatever order they are recorded. */
static void states_can_change_places(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        struct subject s = begin();
        aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(2));
        aios_tensor a = aios_graph_state(s.graph, "a", AIOS_F32, SHAPE(2)), b = aios_graph_state(s.graph, "b", AIOS_F32, SHAPE(2));
        aios_tensor c = aios_graph_state(s.graph, "c", AIOS_F32, SHAPE(1, 2)), next = aios_graph_add(s.graph, a, x);
        aios_graph_output(s.graph, "was_a", aios_graph_scale(s.graph, a, 1.0f));
        aios_graph_output(s.graph, "was_b", aios_graph_scale(s.graph, b, 1.0f));
        aios_graph_output(s.graph, "was_c", aios_graph_scale(s.graph, c, 1.0f));
        if (order) aios_graph_assign(s.graph, a, b);
        aios_graph_assign(s.graph, c, next);
        aios_graph_assign(s.graph, b, aios_graph_reshape(s.graph, c, SHAPE(2)));
        if (!order) aios_graph_assign(s.graph, a, b);
        plan(&s, AIOS_PRECISION_32, 0, 0);
        run_with(&s, "x", (float[]){1, 2}, 8); /* (0, 0, 0) -> (0, 0, 1) */
        run_with(&s, "x", (float[]){3, 4}, 8); /* -> (0, 1, 3) */
        run_with(&s, "x", (float[]){5, 6}, 8); /* -> (1, 3, 5) */
        run_with(&s, "x", (float[]){7, 8}, 8); /* sees (1, 3, 5) */
        expect(&s, "was_a", (float[]){1, 2}, 2);
        expect(&s, "was_b", (float[]){3, 4}, 2);
        expect(&s, "was_c", (float[]){5, 6}, 2);
        end(&s);
    }
}

static void a_state_assigned_to_itself_stays(void **state)
{
    (void)state;
    struct subject s = begin();
    aios_tensor x = aios_graph_state(s.graph, "x", AIOS_F32, SHAPE(2, 3));
    aios_graph_output(s.graph, "y", aios_graph_scale(s.graph, x, 3.0f));
    aios_graph_assign(s.graph, x, aios_graph_reshape(s.graph, x, SHAPE(6)));
    plan(&s, AIOS_PRECISION_32, 0, 0);
    assert_ok(aios_plan_run(s.plan));
    assert_ok(aios_plan_run(s.plan));
    expect(&s, "y", (float[]){0, 0, 0, 0, 0, 0}, 6);
    end(&s);
}

/* Logits of an odd vocabulary may be padded in memory; a state is not. */
static void logits_can_be_a_state(void **state)
{
    (void)state;
    struct subject s = begin();
    aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(3, 2)), last = aios_graph_state(s.graph, "last", AIOS_F32, SHAPE(3, 5));
    aios_tensor w = aios_graph_parameter(s.graph, "w", SHAPE(5, 2), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
    aios_graph_output(s.graph, "was", aios_graph_scale(s.graph, last, 1.0f));
    aios_tensor logits = aios_graph_linear(s.graph, x, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
    (void)aios_graph_cross_entropy(s.graph, logits, aios_graph_input(s.graph, "labels", AIOS_I32, SHAPE(3)), AIOS_SOFTMAX, 1.0f);
    aios_graph_assign(s.graph, last, logits);
    plan(&s, AIOS_PRECISION_32, 1, 0);
    assert_ok(aios_parameters_initialize(s.parameters, 1));
    run_with(&s, "x", (float[]){1, 2, 3, 4, 5, 6}, 24);
    assert_ok(aios_plan_run(s.plan));
    expect(&s, "was", (float[]){3, 3, 3, 3, 3, 7, 7, 7, 7, 7, 11, 11, 11, 11, 11}, 15);
    end(&s);
}

static void plans_of_one_model_share_states_by_name(void **state)
{
    (void)state;
    struct subject s = begin(), other;
    aios_tensor sum = aios_graph_state(s.graph, "sum", AIOS_F32, SHAPE(2));
    aios_graph_assign(s.graph, sum, aios_graph_add(s.graph, sum, aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(2))));
    plan(&s, AIOS_PRECISION_32, 0, 0);
    other = s;
    other.plan = NULL;
    assert_ok(aios_graph_create(s.context, &other.graph));
    aios_graph_output(other.graph, "y", aios_graph_scale(other.graph, aios_graph_state(other.graph, "sum", AIOS_F32, SHAPE(2)), 10.0f));
    plan(&other, AIOS_PRECISION_32, 0, 0);
    run_with(&s, "x", (float[]){1, 2}, 8);
    run_with(&s, "x", (float[]){3, 4}, 8);
    assert_ok(aios_plan_run(other.plan));
    expect(&other, "y", (float[]){40, 60}, 2);
    aios_plan_destroy(other.plan);
    aios_graph_destroy(other.graph);
    end(&s);
}

static void a_plan_wants_leaves_that_the_parameters_have(void **state)
{
    (void)state;
    static const struct {
        const char *parameter, *state;
        int32_t size;
        aios_status status;
        const char *word;
    } cases[] = {
        {"w", "s", 2, AIOS_OK, ""},
        {"v", "s", 2, AIOS_NOT_FOUND, "'v'"},
        {"w", "t", 2, AIOS_NOT_FOUND, "'t'"},
        {"w", "s", 3, AIOS_INVALID_ARGUMENT, "'w' has shape (3, 2) in the graph and (2, 2) in the parameters"},
    };
    struct subject s = begin();
    (void)aios_graph_parameter(s.graph, "w", SHAPE(2, 2), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
    (void)aios_graph_state(s.graph, "s", AIOS_F32, SHAPE(2));
    plan(&s, AIOS_PRECISION_32, 0, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        aios_graph *graph;
        aios_plan *made;
        assert_ok(aios_graph_create(s.context, &graph));
        (void)aios_graph_parameter(graph, cases[i].parameter, SHAPE(cases[i].size, 2), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
        (void)aios_graph_state(graph, cases[i].state, AIOS_F32, SHAPE(2));
        assert_int_equal(aios_plan_create(graph, s.parameters, NULL, &made), AIOS_WRONG_STATE); /* not finished */
        assert_ok(aios_graph_finish(graph));
        assert_int_equal(aios_plan_create(graph, s.parameters, NULL, &made), cases[i].status);
        if (cases[i].status != AIOS_OK) {
            assert_null(made);
            if (!strstr(aios_error_message(), cases[i].word)) fail_msg("'%s' doesn't say %s", aios_error_message(), cases[i].word);
        }
        aios_plan_destroy(made);
        aios_graph_destroy(graph);
    }
    end(&s);
}

/* A carry h' = gelu(W [h] + x) in a training plan: the gradient is that of the old state, also where the block is computed again. */
static void gradients_are_of_the_state_before_the_run(void **state)
{
    (void)state;
    float gradients[2][16], carries[2][8];
    for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
        struct subject s = begin();
        aios_tensor h = aios_graph_state(s.graph, "h", AIOS_F32, SHAPE(2, 4)), x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(2, 4));
        aios_tensor w = aios_graph_parameter(s.graph, "w", SHAPE(4, 4), AIOS_INIT_NORMAL, 0.5f, AIOS_GROUP_DECAY);
        for (int i = 0; i < 3; i++) {
            aios_graph_mark(s.graph);
            h = aios_graph_gelu(s.graph,
                                aios_graph_add(s.graph, aios_graph_linear(s.graph, h, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE), x));
            if (i == 0) aios_graph_assign(s.graph, aios_graph_state(s.graph, "h", AIOS_F32, SHAPE(2, 4)), h);
        }
        aios_graph_output(s.graph, "h", h);
        (void)aios_graph_bce_with_logits(s.graph, h, aios_graph_input(s.graph, "target", AIOS_F32, SHAPE(2, 4)), 1.0f);
        plan(&s, AIOS_PRECISION_32, 1, checkpointing);
        assert_ok(aios_parameters_initialize(s.parameters, 5));
        run_with(&s, "x", (float[]){1, -1, 0.5f, 2, 0.25f, -0.5f, 1, 3}, 32);
        assert_ok(aios_plan_run(s.plan));
        assert_ok(aios_plan_run(s.plan));
        assert_ok(aios_parameters_read(s.parameters, "w", AIOS_GRADIENT, gradients[checkpointing], 16));
        assert_ok(aios_plan_read(s.plan, "h", carries[checkpointing], 32));
        end(&s);
    }
    assert_memory_equal(gradients[0], gradients[1], sizeof gradients[0]);
    assert_memory_equal(carries[0], carries[1], sizeof carries[0]);
    assert_true(gradients[0][0] != 0.0f);
}

/* ---- inputs and outputs ------------------------------------------------------------------------------------------ */

static void outputs_of_every_type_can_be_read(void **state)
{
    (void)state;
    for (int32_t precision = 0; precision < 3; precision++) {
        struct subject s = begin();
        aios_tensor ids = aios_graph_input(s.graph, "ids", AIOS_I32, SHAPE(4)), x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(4, 3));
        aios_tensor w = aios_graph_parameter(s.graph, "w", SHAPE(5, 3), AIOS_INIT_CONSTANT, 0.5f, AIOS_GROUP_DECAY);
        aios_tensor logits = aios_graph_linear(s.graph, x, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE); /* rows of five: padded */
        aios_graph_output(s.graph, "logits", logits);
        aios_graph_output(s.graph, "losses", aios_graph_cross_entropy(s.graph, logits, ids, AIOS_SOFTMAX, 1.0f));
        aios_graph_output(s.graph, "ids again", ids);
        aios_graph_output(s.graph, "x again", x);
        aios_graph_output(s.graph, "w again", w);
        aios_graph_output(s.graph, "row", aios_graph_slice(s.graph, w, 0, 3, 1));
        plan(&s, precision, 1, 0);
        assert_ok(aios_parameters_initialize(s.parameters, 1));
        assert_ok(aios_plan_write(s.plan, "x", (float[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 48));
        run_with(&s, "ids", (int32_t[]){0, -1, 4, 2}, 16);
        int32_t again[4];
        float losses[4], row[5];
        assert_ok(aios_plan_read(s.plan, "ids again", again, sizeof again));
        assert_memory_equal(again, ((int32_t[]){0, -1, 4, 2}), sizeof again);
        expect(&s, "logits", (float[]){3, 3, 3, 3, 3, 7.5f, 7.5f, 7.5f, 7.5f, 7.5f, 12, 12, 12, 12, 12, 16.5f, 16.5f, 16.5f, 16.5f, 16.5f},
               20);
        expect(&s, "x again", (float[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 12);
        expect(&s, "row", (float[]){0.5f, 0.5f, 0.5f}, 3);
        assert_ok(aios_plan_read(s.plan, "losses", losses, sizeof losses));
        for (int i = 0; i < 4; i++) assert_true(fabs((double)losses[i] - (i == 1 ? 0.0 : log(5.0))) < 1e-6);
        assert_ok(aios_plan_read_row(s.plan, "logits", 2, row, 5));
        for (int i = 0; i < 5; i++) assert_true(row[i] == 12.0f);
        assert_int_equal(aios_plan_read_row(s.plan, "logits", 4, row, 5), AIOS_OUT_OF_RANGE);
        assert_non_null(strstr(aios_error_message(), "row 4"));
        assert_int_equal(aios_plan_read_row(s.plan, "logits", 0, row, 4), AIOS_OUT_OF_RANGE);
        assert_int_equal(aios_plan_read(s.plan, "logits", row, sizeof row), AIOS_INVALID_ARGUMENT);
        assert_non_null(strstr(aios_error_message(), "'logits' has 80 bytes, not 20"));
        assert_int_equal(aios_plan_read(s.plan, "nothing", row, sizeof row), AIOS_NOT_FOUND);
        assert_non_null(strstr(aios_error_message(), "'nothing'"));
        assert_int_equal(aios_plan_write(s.plan, "y", row, sizeof row), AIOS_NOT_FOUND);
        assert_int_equal(aios_plan_write(s.plan, "x", row, sizeof row), AIOS_INVALID_ARGUMENT);
        assert_non_null(strstr(aios_error_message(), "'x' has 48 bytes, not 20"));
        end(&s);
    }
}

static void what_was_written_last_is_what_a_run_sees(void **state)
{
    (void)state;
    struct subject s = begin();
    aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(1)), sum = aios_graph_state(s.graph, "sum", AIOS_F32, SHAPE(1));
    aios_tensor next = aios_graph_add(s.graph, sum, x);
    aios_graph_assign(s.graph, sum, next);
    aios_graph_output(s.graph, "sum", next);
    plan(&s, AIOS_PRECISION_32, 0, 0);
    float total = 0.0f;
    for (int i = 0; i < 100; i++) { /* writes run ahead of runs */
        float number = (float)i, unseen = -1000.0f;
        assert_ok(aios_plan_write(s.plan, "x", &unseen, 4));
        assert_ok(aios_plan_write(s.plan, "x", &unseen, 4));
        run_with(&s, "x", &number, 4);
        number = 1e9f; /* the data was copied */
        total += (float)i;
    }
    expect(&s, "sum", &total, 1);
    end(&s);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

enum { WHOLE, MARKED, DETACHED };

/* blocks of x + W2 gelu(W1 norm(x)) and a loss */
static aios_plan_memory memory_of(int blocks, int training, int how)
{
    struct subject s = begin();
    aios_plan_memory memory = {.struct_size = sizeof memory};
    aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(64, 32));
    aios_tensor up = aios_graph_parameter(s.graph, "up", SHAPE(128, 32), AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    aios_tensor down = aios_graph_parameter(s.graph, "down", SHAPE(32, 128), AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    for (int i = 0; i < blocks; i++) {
        if (how == DETACHED && i < blocks - 1) aios_graph_begin_no_gradient(s.graph);
        aios_graph_mark(s.graph);
        aios_tensor h =
            aios_graph_linear(s.graph, aios_graph_rmsnorm(s.graph, x, 0, 1e-5f), up, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_GELU);
        x = aios_graph_add(s.graph, x, aios_graph_linear(s.graph, h, down, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE));
        if (how == DETACHED && i < blocks - 1) aios_graph_end_no_gradient(s.graph);
    }
    (void)aios_graph_bce_with_logits(s.graph, x, aios_graph_input(s.graph, "target", AIOS_F32, SHAPE(64, 32)), 1.0f);
    plan(&s, AIOS_PRECISION_32, training, how == MARKED);
    assert_ok(aios_plan_get_memory(s.plan, &memory));
    end(&s);
    return memory;
}

static void memory_is_reused_where_lifetimes_do_not_meet(void **state)
{
    (void)state;
    aios_plan_memory whole = memory_of(12, 1, WHOLE), marked = memory_of(12, 1, MARKED), detached = memory_of(12, 1, DETACHED);
    aios_plan_memory forward = memory_of(12, 0, WHOLE), longer = memory_of(24, 0, WHOLE), one = memory_of(1, 1, WHOLE);
    assert_true(whole.activations < whole.unshared && whole.instructions > 0);
    assert_true(marked.activations * 2 < whole.activations);  /* blocks are computed again, not kept */
    assert_true(forward.activations * 4 < whole.activations); /* nothing is kept for a backward pass */
    assert_true(longer.activations == forward.activations);   /* nor does depth matter */
    const uint64_t packed = 2 * 128 * 64 * 4;                 /* both weights in the device's own order, of whole panels */
    assert_true(detached.activations <= one.activations + 64 * 32 * 4 + packed); /* nothing of the blocks without gradient is kept … */
    assert_true(detached.activations == memory_of(24, 1, DETACHED).activations); /* … of however many */
    assert_true(whole.workspace <= whole.activations);
}

/* ---- what a device does on the way ------------------------------------------------------------------------------- */

#define ROWS  20
#define WIDTH 64

/* x + down(swiglu(up(x))), five times with the same weights.  What is an output has a value of its own, so that nothing is done on the way.
 */
static struct subject layers(int32_t precision, int apart)
{
    struct subject s = begin();
    aios_tensor x = aios_graph_input(s.graph, "x", AIOS_F32, SHAPE(ROWS, WIDTH));
    aios_tensor up = aios_graph_parameter(s.graph, "up", SHAPE(4 * WIDTH, WIDTH), AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    aios_tensor down = aios_graph_parameter(s.graph, "down", SHAPE(2 * WIDTH, WIDTH), AIOS_INIT_NORMAL, 0.1f, AIOS_GROUP_DECAY);
    for (int i = 0; i < 5; i++) {
        char names[2][8];
        (void)snprintf(names[0], sizeof names[0], "up%d", i);
        (void)snprintf(names[1], sizeof names[1], "down%d", i);
        aios_tensor h = aios_graph_linear(s.graph, x, up, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
        if (apart) aios_graph_output(s.graph, names[0], h);
        h = aios_graph_linear(s.graph, aios_graph_swiglu(s.graph, h), down, 0, AIOS_WEIGHT_IN_OUT, AIOS_ACTIVATION_NONE);
        if (apart) aios_graph_output(s.graph, names[1], h);
        x = i % 2 ? aios_graph_add(s.graph, h, x) : aios_graph_add(s.graph, x, h);
    }
    aios_graph_output(s.graph, "y", x);
    plan(&s, precision, 0, 0);
    return s;
}

static double run_layers(struct subject *s, uint64_t seed, const float *x, float *y)
{
    double most = 0;
    assert_ok(aios_parameters_initialize(s->parameters, seed));
    run_with(s, "x", x, ROWS * WIDTH * sizeof *x);
    assert_ok(aios_plan_read(s->plan, "y", y, ROWS * WIDTH * sizeof *y));
    for (int i = 0; i < ROWS * WIDTH; i++) most = fmax(most, fabs((double)y[i]));
    return most;
}

static void sums_and_swiglu_on_the_way_of_a_product_are_what_they_are_apart(void **state)
{
    (void)state;
    float x[ROWS * WIDTH], y[2][ROWS * WIDTH], first[ROWS * WIDTH] = {0};
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = (float)(i * 37 % 101 - 50) / 50;
    for (int32_t precision = 0; precision < 3; precision++) {
        struct subject together = layers(precision, 0), apart = layers(precision, 1);
        aios_plan_memory less = {.struct_size = sizeof less}, more = {.struct_size = sizeof more};
        assert_ok(aios_plan_get_memory(together.plan, &less));
        assert_ok(aios_plan_get_memory(apart.plan, &more));
        assert_true(less.instructions < more.instructions);
        for (uint64_t seed = 1; seed <= 3; seed++) { /* new weights are seen by the next run */
            double size = run_layers(&together, seed, x, y[0]), tolerance = precision == AIOS_PRECISION_32 ? 1e-5 : 0.03;
            assert_true(size > 1 && fabs(run_layers(&apart, seed, x, y[1]) - size) < tolerance * size);
            for (int i = 0; i < ROWS * WIDTH; i++)
                if (!(fabs((double)(y[0][i] - y[1][i])) <= tolerance * size))
                    fail_msg("precision %d, seed %d: %g and %g of %g", (int)precision, (int)seed, (double)y[0][i], (double)y[1][i], size);
            assert_memory_not_equal(y[0], first, sizeof first);
            memcpy(first, y[0], sizeof first);
        }
        end(&together);
        end(&apart);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_is_zero_at_first_then_what_was_assigned),
        cmocka_unit_test(states_of_integers),
        cmocka_unit_test(states_can_change_places),
        cmocka_unit_test(a_state_assigned_to_itself_stays),
        cmocka_unit_test(logits_can_be_a_state),
        cmocka_unit_test(plans_of_one_model_share_states_by_name),
        cmocka_unit_test(a_plan_wants_leaves_that_the_parameters_have),
        cmocka_unit_test(gradients_are_of_the_state_before_the_run),
        cmocka_unit_test(outputs_of_every_type_can_be_read),
        cmocka_unit_test(what_was_written_last_is_what_a_run_sees),
        cmocka_unit_test(memory_is_reused_where_lifetimes_do_not_meet),
        cmocka_unit_test(sums_and_swiglu_on_the_way_of_a_product_are_what_they_are_apart),
    };
    return cmocka_run_group_tests_name("graph states", tests, NULL, NULL);
}
