/* What graph.h promises of values and gradients: every operation alone, then random models of all of them, against the
 * tape of doubles (tape.h), which is itself checked by finite differences. */
#include "network.h"

#include <math.h>

/* Noise is drawn four times from at most one rounding; sums that the library adds in another order, and intermediates that it
 * rounds and the tape does not, stay well inside this many times what was seen. */
#define MARGIN 8.0

#define FUZZ_MODELS 200
#define FUZZ_STEPS  14

#define SHAPE(...) (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static const value NONE = {0, 0};

static struct network begin(void)
{
    struct network n;
    network_begin(&n, "cpu", 20240607);
    return n;
}

static value parameter(struct network *n, const int *shape, int rank)
{
    return net_parameter(n, shape, rank, 1.0, 0.0);
}

/* A loss of every element. */
static void watch(struct network *n, value x)
{
    net_keep(n, x);
    net_bce(n, x, net_numbers(n, net_shape(n, x), net_rank(n, x), 0.0, 1.0), 1.0f);
}

/* Runs the model once and, adding up, three times; judges both; ends it. */
static void judge(struct network *n)
{
    for (int runs = 1; runs <= 3; runs += 2) {
        struct outcome o;
        network_run(n, AIOS_PRECISION_32, 0, 1.0, runs, &o);
        network_judge(n, AIOS_PRECISION_32, 1.0, runs, MARGIN, &o);
        outcome_free(&o);
    }
    network_end(n);
}

/* ---- the judge itself -------------------------------------------------------------------------------------------- */

static double loss_at(struct network *n, struct tape_node *x, size_t k, double moved)
{
    double was = x->value[k];
    x->value[k] = moved;
    tape_forward(n->tape);
    double loss = tape_loss(n->tape);
    x->value[k] = was;
    return loss;
}

/* Step 1e-6: rounding gives 1e-16 / 1e-6 of the loss, curvature 1e-12 f''' / 6, where f''' may reach eps^-1.5 = 3e7 in a
 * norm of a row that is nearly constant. */
static int differences_agree(struct network *n, uint64_t seed, const struct leaf *leaf)
{
    const double h = 1e-6;
    struct tape_node *x = tape_at(n->tape, leaf->node);
    double largest = 1.0;
    for (size_t k = 0; k < x->count; k++) largest = fmax(largest, fabs(x->gradient[k]));
    for (int tries = 0; tries < 3; tries++) {
        size_t k = (size_t)network_draw(n, (int)x->count);
        double slope = (loss_at(n, x, k, x->value[k] + h) - loss_at(n, x, k, x->value[k] - h)) / (2.0 * h);
        if (fabs(slope - x->gradient[k]) > 2e-5 * largest)
            fail_msg("seed %llu: %s[%zu]: %.9g by the tape, %.9g by differences; recipe:%s", (unsigned long long)seed, leaf->name, k,
                     x->gradient[k], slope, n->recipe);
    }
    return 3;
}

static void the_tape_agrees_with_finite_differences(void **state)
{
    (void)state;
    int checked = 0;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct network n;
        network_begin(&n, "cpu", seed);
        network_random(&n, 8);
        tape_forward(n.tape);
        tape_backward(n.tape, 1.0);
        for (int i = 0; !n.detached && i < n.leaf_count; i++) /* differences see through what is detached */
            if (n.leaves[i].kind == LEAF_PARAMETER) checked += differences_agree(&n, seed, &n.leaves[i]);
        network_end(&n);
    }
    assert_true(checked > 300);
}

/* ---- every operation --------------------------------------------------------------------------------------------- */

static void embedding_gathers_rows_and_adds_up_their_gradients(void **state)
{
    (void)state;
    struct network n = begin();
    value table = parameter(&n, SHAPE(7, 5));
    watch(&n, net_embedding(&n, table, net_integers(&n, SHAPE(3, 4), 0, 6)));
    watch(&n, net_embedding(&n, table, net_integers(&n, SHAPE(2), 3, 3))); /* one id twice */
    judge(&n);
}

static void linear_of_both_layouts(void **state)
{
    (void)state;
    for (int in_out = 0; in_out < 2; in_out++)
        for (int bias = 0; bias < 2; bias++)
            for (int gelu = 0; gelu < 2; gelu++) {
                struct network n = begin();
                value x = parameter(&n, SHAPE(3, 5, 7));
                value w = in_out ? parameter(&n, SHAPE(7, 9)) : parameter(&n, SHAPE(9, 7));
                value b = bias ? parameter(&n, SHAPE(9)) : NONE;
                watch(&n, net_linear(&n, x, w, b, in_out, gelu));
                judge(&n);
            }
}

static void linear_of_rows_of_a_table(void **state)
{
    (void)state;
    struct network n = begin();
    value table = parameter(&n, SHAPE(9, 6));
    value rows = net_slice(&n, table, 0, 2, 4); /* a weight (4, 6) that begins inside a parameter */
    value x = net_numbers(&n, SHAPE(2, 3, 6), -1.0, 1.0);
    watch(&n, net_linear(&n, x, rows, NONE, 0, 0));
    watch(&n, net_linear(&n, x, table, NONE, 0, 0));
    judge(&n);
}

static void add_of_equal_and_of_repeated_shapes(void **state)
{
    (void)state;
    struct network n = begin();
    value a = parameter(&n, SHAPE(2, 3, 5));
    watch(&n, net_add(&n, a, parameter(&n, SHAPE(2, 3, 5))));
    watch(&n, net_add(&n, a, parameter(&n, SHAPE(3, 5))));
    watch(&n, net_add(&n, a, parameter(&n, SHAPE(5))));
    watch(&n, net_add(&n, a, net_scale(&n, parameter(&n, SHAPE(3, 5)), 0.5f)));
    watch(&n, net_add(&n, a, net_slice(&n, parameter(&n, SHAPE(8, 5)), 0, 1, 3)));
    judge(&n);
}

static void a_sum_with_itself_counts_twice(void **state)
{
    (void)state;
    struct network n = begin();
    value x = net_scale(&n, parameter(&n, SHAPE(2, 5)), 0.75f);
    value twice = net_add(&n, x, x);
    watch(&n, net_add(&n, twice, twice));
    judge(&n);
}

static void scale_reshape_and_slices_of_each_axis(void **state)
{
    (void)state;
    struct network n = begin();
    value x = parameter(&n, SHAPE(3, 4, 2, 5)), y = net_scale(&n, x, -1.25f);
    for (int axis = 0; axis < 4; axis++) {
        watch(&n, net_slice(&n, x, axis, 1, net_size(&n, x, axis) - 1));
        watch(&n, net_slice(&n, y, axis, 0, 1));
    }
    watch(&n, net_slice(&n, y, -1, 2, 2));
    watch(&n, net_reshape(&n, net_slice(&n, y, 2, 1, 1), SHAPE(12, 5)));
    watch(&n, net_reshape(&n, x, SHAPE(120)));
    judge(&n);
}

static void norms_with_and_without_gain(void **state)
{
    (void)state;
    static const int widths[] = {1, 2, 7, 64, 130};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        struct network n = begin();
        int width = widths[i];
        value x = parameter(&n, SHAPE(2, 3, width)), y = net_scale(&n, x, 2.0f);
        value gain = net_parameter(&n, &width, 1, 0.5, 1.0), bias = parameter(&n, &width, 1);
        watch(&n, net_layernorm(&n, x, gain, bias));
        watch(&n, net_rmsnorm(&n, y, gain));
        watch(&n, net_rmsnorm(&n, y, NONE));
        watch(&n, net_layernorm(&n, net_numbers(&n, SHAPE(4, width), -1.0, 1.0), gain, bias)); /* of what has no gradient */
        judge(&n);
    }
}

static void gelu_and_swiglu(void **state)
{
    (void)state;
    struct network n = begin();
    value x = net_parameter(&n, SHAPE(3, 5, 6), 6.0, 0.0);
    watch(&n, net_gelu(&n, x));
    watch(&n, net_swiglu(&n, x));
    judge(&n);
}

/* As a gated layer of experts has them: the choice of each position, the parts of its experts, and the loss that keeps these busy. */
static void mixtures_of_experts(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {2, 1}, {4, 2}, {5, 5}, {8, 3}}; /* experts, chosen */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int experts = sizes[i][0];
        struct network n = begin();
        value x = net_parameter(&n, SHAPE(3, 7, 6), 2.0, 0.0), router = net_parameter(&n, SHAPE(experts, 6), 1.0, 0.0);
        value up = net_parameter(&n, SHAPE(experts * 4, 6), 1.0, 0.0), down = net_parameter(&n, SHAPE(6, experts * 4), 1.0, 0.0);
        value gates = net_expert_gates(&n, net_linear(&n, x, router, NONE, 0, 0), sizes[i][1]);
        value parts = net_expert_scale(&n, net_linear(&n, x, up, NONE, 0, 0), gates);
        net_expert_balance(&n, gates, net_integers(&n, SHAPE(3, 7), -2, 9), 0.25f);
        watch(&n, net_linear(&n, parts, down, NONE, 0, 0));
        judge(&n);
    }
}

static void attention_of(int batch, int length, int heads, int kv_heads, int d, int causal, float scale, float theta)
{
    struct network n = begin();
    value x = parameter(&n, SHAPE(batch, length, (heads + 2 * kv_heads) * d));
    watch(&n, net_attention(&n, net_scale(&n, x, 1.5f), heads, kv_heads, causal, scale, theta));
    judge(&n);
}

static void attention_of_every_kind(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        attention_of(2, 7, 3, 3, 5, causal, 0.0f, 0.0f);
        attention_of(1, 1, 1, 1, 1, causal, 0.0f, 0.0f);
        attention_of(2, 9, 4, 2, 6, causal, 0.0f, 100.0f); /* rotary, two queries on one key */
        attention_of(1, 33, 3, 1, 10, causal, 0.3f, 10000.0f);
        attention_of(1, 70, 2, 2, 64, causal, 0.0f, 0.0f); /* more than one tile of each size */
        attention_of(3, 17, 1, 1, 80, causal, 0.0f, 10000.0f);
    }
}

static void attention_straight_into_a_loss(void **state)
{
    (void)state;
    for (int reshaped = 0; reshaped < 2; reshaped++) {
        struct network n = begin();
        value x = net_attention(&n, parameter(&n, SHAPE(2, 5, 18)), 3, 3, 1, 0.0f, 0.0f);
        if (reshaped) x = net_reshape(&n, x, SHAPE(10, 6));
        net_cross_entropy(&n, x, reshaped ? net_integers(&n, SHAPE(10), 0, 5) : net_integers(&n, SHAPE(2, 5), 0, 5), 0, 1.0f);
        judge(&n);
    }
}

static void select_by_a_mask(void **state)
{
    (void)state;
    struct network n = begin();
    value mask = net_integers(&n, SHAPE(6), 0, 1);
    value a = net_scale(&n, parameter(&n, SHAPE(6, 2, 3)), 1.5f), b = parameter(&n, SHAPE(6, 2, 3));
    watch(&n, net_select(&n, mask, a, b));
    watch(&n, net_select(&n, mask, a, a));
    watch(&n, net_select(&n, mask, b, net_numbers(&n, SHAPE(2, 3), -1.0, 1.0)));
    watch(&n, net_select(&n, mask, a, net_detach(&n, parameter(&n, SHAPE(3)))));
    watch(&n, net_select(&n, mask, parameter(&n, SHAPE(6)), net_scale(&n, parameter(&n, SHAPE(6)), 0.5f)));
    judge(&n);
}

static void nothing_flows_through_what_is_detached(void **state)
{
    (void)state;
    struct network n = begin();
    value w = parameter(&n, SHAPE(5, 5)), v = parameter(&n, SHAPE(5, 5)), x = parameter(&n, SHAPE(4, 5));
    net_no_gradient(&n, 1);
    value inner = net_gelu(&n, net_linear(&n, x, v, NONE, 0, 0));
    net_no_gradient(&n, 0);
    value both = net_add(&n, net_linear(&n, x, w, NONE, 0, 0), net_detach(&n, net_linear(&n, x, w, NONE, 1, 0)));
    watch(&n, net_add(&n, both, inner));
    net_no_gradient(&n, 1);
    watch(&n, both); /* a loss that is only looked at */
    net_no_gradient(&n, 0);
    judge(&n);
}

static void cross_entropy_of_both_kinds_with_ignored_labels(void **state)
{
    (void)state;
    static const int widths[] = {1, 2, 61, 64, 200};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int stablemax = 0; stablemax < 2; stablemax++) {
            struct network n = begin();
            int width = widths[i];
            value x = parameter(&n, SHAPE(4, 3, 5)), w = net_parameter(&n, SHAPE(width, 5), 2.0, 0.0);
            net_cross_entropy(&n, net_linear(&n, x, w, NONE, 0, 0), net_integers(&n, SHAPE(4, 3), -1, width - 1), stablemax, 1.0f);
            value logits = net_linear(&n, x, w, NONE, 0, 1); /* read by two losses */
            net_cross_entropy(&n, logits, net_integers(&n, SHAPE(4, 3), -1, width - 1), stablemax, 0.5f);
            net_cross_entropy(&n, logits, net_integers(&n, SHAPE(12), -3, width - 1), !stablemax, -0.25f);
            judge(&n);
        }
}

static void counts_of_labels_and_hits_are_right(void **state)
{
    (void)state;
    struct network n = begin();
    value logits = net_numbers(&n, SHAPE(40, 5), -1.0, 1.0), labels = net_integers(&n, SHAPE(40), -1, 4);
    net_cross_entropy(&n, logits, labels, 0, 1.0f);
    aios_parameters *parameters;
    aios_plan *plan;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    float x[200];
    int32_t y[40];
    int rows = 0, hits = 0;
    for (int i = 0; i < 200; i++) x[i] = (float)tape_at(n.tape, logits.node)->value[i];
    for (int i = 0; i < 40; i++) {
        int best = 0;
        y[i] = (int32_t)tape_at(n.tape, labels.node)->value[i];
        for (int k = 1; k < 5; k++)
            if (x[i * 5 + k] > x[i * 5 + best]) best = k;
        rows += y[i] >= 0;
        hits += y[i] == best;
    }
    assert_ok(aios_graph_finish(n.graph));
    assert_ok(aios_parameters_create(n.device, n.graph, NULL, &parameters));
    assert_ok(aios_plan_create(n.graph, parameters, NULL, &plan));
    assert_ok(aios_plan_write(plan, n.leaves[0].name, x, sizeof x));
    assert_ok(aios_plan_write(plan, n.leaves[1].name, y, sizeof y));
    for (int run = 1; run <= 3; run++) {
        assert_ok(aios_plan_run(plan));
        assert_ok(aios_plan_losses(plan, &sums, 0));
        assert_int_equal((int)sums.rows, run * rows);
        assert_int_equal((int)sums.hits, run * hits);
    }
    assert_ok(aios_plan_losses(plan, &sums, 1));
    assert_ok(aios_plan_losses(plan, &sums, 0));
    assert_true(sums.loss == 0.0 && sums.rows == 0.0 && sums.hits == 0.0);
    assert_true(hits > 0 && hits < rows && rows < 40);
    aios_plan_destroy(plan);
    aios_parameters_destroy(parameters);
    network_end(&n);
}

static void binary_cross_entropy_of_large_logits(void **state)
{
    (void)state;
    struct network n = begin();
    value x = net_parameter(&n, SHAPE(5, 8), 30.0, 0.0);
    net_bce(&n, x, net_numbers(&n, SHAPE(5, 8), 0.0, 1.0), 0.5f);
    net_bce(&n, net_scale(&n, x, 3.0f), net_numbers(&n, SHAPE(5, 8), 1.0, 1.0), 2.0f);
    judge(&n);
}

/* ---- random models ----------------------------------------------------------------------------------------------- */

/* A model is recorded twice, the second time with every value kept: nothing but the values that are read may differ. */
static void random_model(uint64_t seed)
{
    struct network n, open;
    struct outcome plain, again, checkpointed, kept;
    network_begin(&n, "cpu", seed);
    network_random(&n, FUZZ_STEPS);
    network_run(&n, AIOS_PRECISION_32, 0, 1.0, 1, &plain);
    network_judge(&n, AIOS_PRECISION_32, 1.0, 1, MARGIN, &plain);
    network_run(&n, AIOS_PRECISION_32, 0, 1.0, 1, &again);
    outcomes_equal(&n, "run again", &plain, &again, plain.count);
    network_run(&n, AIOS_PRECISION_32, 1, 1.0, 1, &checkpointed);
    outcomes_equal(&n, "with gradient checkpointing", &plain, &checkpointed, plain.count);

    network_begin(&open, "cpu", seed);
    open.keep_everything = 1;
    network_random(&open, FUZZ_STEPS);
    network_run(&open, AIOS_PRECISION_32, 0, 1.0, 1, &kept);
    network_judge(&open, AIOS_PRECISION_32, 1.0, 1, MARGIN, &kept);
    outcomes_equal(&n, "with every value kept", &plain, &kept, network_gradient_count(&n));
    assert_true(plain.memory.activations <= plain.memory.unshared && plain.memory.activations <= kept.memory.activations);
    outcome_free(&plain);
    outcome_free(&again);
    outcome_free(&checkpointed);
    outcome_free(&kept);
    network_end(&n);
    network_end(&open);
}

static void random_models_agree_with_the_tape(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= FUZZ_MODELS; seed++) {
        print_message("seed %llu\r", (unsigned long long)seed);
        random_model(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tape_agrees_with_finite_differences),
        cmocka_unit_test(embedding_gathers_rows_and_adds_up_their_gradients),
        cmocka_unit_test(linear_of_both_layouts),
        cmocka_unit_test(linear_of_rows_of_a_table),
        cmocka_unit_test(add_of_equal_and_of_repeated_shapes),
        cmocka_unit_test(a_sum_with_itself_counts_twice),
        cmocka_unit_test(scale_reshape_and_slices_of_each_axis),
        cmocka_unit_test(norms_with_and_without_gain),
        cmocka_unit_test(gelu_and_swiglu),
        cmocka_unit_test(attention_of_every_kind),
        cmocka_unit_test(attention_straight_into_a_loss),
        cmocka_unit_test(select_by_a_mask),
        cmocka_unit_test(nothing_flows_through_what_is_detached),
        cmocka_unit_test(mixtures_of_experts),
        cmocka_unit_test(cross_entropy_of_both_kinds_with_ignored_labels),
        cmocka_unit_test(counts_of_labels_and_hits_are_right),
        cmocka_unit_test(binary_cross_entropy_of_large_logits),
        cmocka_unit_test(random_models_agree_with_the_tape),
    };
    return cmocka_run_group_tests_name("graph gradients", tests, NULL, NULL);
}
