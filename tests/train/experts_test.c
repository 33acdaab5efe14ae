/* What graph.h promises of experts that compute their own rows alone: the numbers and gradients of a mixture in which every expert computes
 * every row and those that were not chosen weigh nothing, in doubles; however the rows fall.
 *
 *   experts_test [DEVICE …]      "cpu" where none is named */
#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As in graph_gradients_test.c. */
#define MARGIN 8.0
/* f16 holds numbers from 6e-8. */
#define SCALE_OF(precision) ((precision) == AIOS_PRECISION_16_MIXED ? 64.0 : 1.0)
#define SHAPE(...)          (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static const value NONE = {0, 0};
static const char *device = "cpu";
static int quick; /* 1: a simulated device, which takes a second for what the CPU does at once */

struct layer {
    int batch, length, hidden, width, experts, chosen;
};

/* Every expert's matrices are those of one big product, so that is what the tape has: all computed, then multiplied by the gates. */
static value gated_experts(struct network *n, const struct layer *l, value x, value gates)
{
    value up = net_parameter(n, SHAPE(2 * l->experts * l->width, l->hidden), 1.0, 0.0);
    value down = net_parameter(n, SHAPE(l->hidden, l->experts * l->width), 1.0, 0.0);
    aios_tensor rows = aios_graph_expert_rows(n->graph, x.id, gates.id);
    rows = aios_graph_swiglu(n->graph, aios_graph_expert_linear(n->graph, rows, gates.id, up.id, 2));
    int every = tape_swiglu(n->tape, tape_linear(n->tape, x.node, up.node, 0, 0));
    value y = {aios_graph_expert_sum(n->graph, aios_graph_expert_linear(n->graph, rows, gates.id, down.id, 1), gates.id),
               tape_linear(n->tape, tape_expert_scale(n->tape, every, gates.node), down.node, 0, 0)};
    if (!y.id) fail_msg("%s", aios_error_message());
    return y;
}

/* Experts of rows alone, with another activation; read twice, so that gradients add up. */
static value plain_experts(struct network *n, const struct layer *l, value x, value gates)
{
    value up = net_parameter(n, SHAPE(l->experts * l->width, l->hidden), 1.0, 0.0);
    aios_tensor rows = aios_graph_expert_rows(n->graph, x.id, gates.id);
    rows = aios_graph_gelu(n->graph, aios_graph_expert_linear(n->graph, rows, gates.id, up.id, 1));
    int every = tape_expert_scale(n->tape, tape_gelu(n->tape, tape_linear(n->tape, x.node, up.node, 0, 0)), gates.node);
    int sum = tape_slice(n->tape, every, 2, 0, l->width);
    for (int e = 1; e < l->experts; e++) sum = tape_add(n->tape, sum, tape_slice(n->tape, every, 2, e * l->width, l->width));
    value y = {aios_graph_expert_sum(n->graph, rows, gates.id), sum};
    if (!y.id) fail_msg("%s", aios_error_message());
    return y;
}

static void watch(struct network *n, value x)
{
    net_keep(n, x);
    net_bce(n, x, net_numbers(n, net_shape(n, x), net_rank(n, x), 0.0, 1.0), 1.0f);
}

/* A row's logits are a shuffle of numbers far apart: no rounding changes who is chosen. */
static void shuffle_logits(struct network *n, value logits, int experts)
{
    struct tape_node *t = tape_at(n->tape, logits.node);
    for (size_t i = 0; i < t->count; i++) t->value[i] = 0.25 * (double)(i % (size_t)experts) - 0.5;
    for (size_t first = 0; first < t->count; first += (size_t)experts)
        for (int i = experts - 1; i > 0; i--) {
            int k = network_draw(n, i + 1);
            double was = t->value[first + (size_t)i];
            t->value[first + (size_t)i] = t->value[first + (size_t)k];
            t->value[first + (size_t)k] = was;
        }
}

static value begin(struct network *n, const struct layer *l, value *x)
{
    network_begin(n, device, (uint64_t)(l->experts * 100 + l->chosen));
    *x = net_parameter(n, SHAPE(l->batch, l->length, l->hidden), 1.0, 0.0);
    value logits = net_parameter(n, SHAPE(l->batch, l->length, l->experts), 1.0, 0.0);
    shuffle_logits(n, logits, l->experts);
    return logits;
}

static void end_of_model(struct network *n, const struct layer *l, value x, value logits)
{
    value gates = net_expert_gates(n, logits, l->chosen);
    net_expert_balance(n, gates, net_integers(n, SHAPE(l->batch, l->length), -2, 9), 0.25f);
    value y = gated_experts(n, l, x, gates);
    aios_graph_mark(n->graph);
    watch(n, y);
    watch(n, plain_experts(n, l, y, gates));
}

static const int32_t precisions[] = {AIOS_PRECISION_32, AIOS_PRECISION_16_MIXED, AIOS_PRECISION_BF16_MIXED};

/* In every precision, recomputed or not, once and adding up, with the same bits in each run. */
static void judge(struct network *n)
{
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        struct outcome first, second, recomputed, thrice;
        double scale = SCALE_OF(precisions[p]);
        network_run(n, precisions[p], 0, scale, 1, &first);
        network_judge(n, precisions[p], scale, 1, MARGIN, &first);
        network_run(n, precisions[p], 1, scale, 1, &recomputed);
        outcomes_equal(n, "with gradient checkpointing", &first, &recomputed, first.count);
        outcome_free(&recomputed);
        if (!quick) {
            network_run(n, precisions[p], 0, scale, 1, &second);
            outcomes_equal(n, "again", &first, &second, first.count);
            outcome_free(&second);
            network_run(n, precisions[p], 0, scale, 3, &thrice);
            network_judge(n, precisions[p], scale, 3, MARGIN, &thrice);
            outcome_free(&thrice);
        }
        outcome_free(&first);
    }
    network_end(n);
}

static void the_chosen_alone_are_as_good_as_all(void **state)
{
    (void)state;
    static const struct layer layers[] = {{1, 75, 6, 8, 2, 1}, {2, 9, 8, 12, 4, 2}, {3, 7, 6, 4, 1, 1}, {3, 7, 6, 4, 2, 1},
                                          {3, 7, 6, 5, 5, 5},  {3, 7, 6, 4, 8, 3},  {1, 1, 6, 4, 16, 2}};
    for (size_t i = 0; i < (quick ? 2 : sizeof layers / sizeof *layers); i++) {
        struct network n;
        value x, logits = begin(&n, &layers[i], &x);
        end_of_model(&n, &layers[i], x, logits);
        judge(&n);
    }
}

/* All rows to the same `chosen` experts: the others have none, and no gradient. */
static void all_rows_to_the_same_experts(void **state)
{
    (void)state;
    static const struct layer layers[] = {{3, 7, 6, 4, 4, 1}, {2, 40, 6, 4, 6, 2}};
    for (size_t i = 0; i < (quick ? 1 : sizeof layers / sizeof *layers); i++) {
        const struct layer *l = &layers[i];
        struct network n;
        value x, logits = begin(&n, l, &x);
        struct tape_node *t = tape_at(n.tape, logits.node);
        for (size_t k = 0; k < t->count; k++)
            t->value[k] = (int)(k % (size_t)l->experts) >= l->experts - l->chosen ? 1.0 + 0.25 * (double)(k % 2) : 0.0;
        end_of_model(&n, l, x, logits);
        judge(&n);
    }
}

/* The library's gradient against the slope of the loss of doubles in which all experts are computed. */
static void gradients_are_the_slopes_of_the_loss(void **state)
{
    (void)state;
    const struct layer l = {3, 7, 6, 4, 5, 2};
    const double h = 1e-5; /* curvature gives 1e-10, rounding 1e-16 * loss / h = 1e-9; f32's digits are what counts */
    struct network n;
    struct outcome o;
    size_t at = 0;
    value x, logits = begin(&n, &l, &x);
    end_of_model(&n, &l, x, logits);
    network_run(&n, AIOS_PRECISION_32, 0, 1.0, 1, &o);
    for (int i = 0; i < n.leaf_count; i++) {
        struct tape_node *leaf = tape_at(n.tape, n.leaves[i].node);
        if (n.leaves[i].kind != LEAF_PARAMETER) continue;
        for (size_t k = 0; k < leaf->count; k += 3) {
            double was = leaf->value[k], loss[2];
            for (int side = 0; side < 2; side++) {
                leaf->value[k] = was + (side ? h : -h);
                tape_forward(n.tape);
                loss[side] = tape_loss(n.tape);
            }
            leaf->value[k] = was;
            double slope = (loss[1] - loss[0]) / (2 * h), got = (double)o.numbers[at + k];
            if (!(fabs(got - slope) <= 1e-5 * fmax(1.0, fabs(slope))))
                fail_msg("%s[%zu]: the gradient is %.9g, the slope %.9g", n.leaves[i].name, k, got, slope);
        }
        at += leaf->count;
    }
    outcome_free(&o);
    network_end(&n);
}

/* A row of NaN is its own ruin alone: its experts' other rows are as they were. */
static void a_row_that_is_no_number_spoils_no_other(void **state)
{
    (void)state;
    const struct layer l = {1, 30, 6, 4, 4, 2};
    struct outcome good, bad;
    struct network n;
    for (int round = 0; round < 2; round++) {
        value x, logits = begin(&n, &l, &x);
        value gates = net_expert_gates(&n, logits, l.chosen);
        if (round) {
            for (int e = 0; e < l.experts; e++) tape_at(n.tape, logits.node)->value[5 * l.experts + e] = NAN;
            tape_at(n.tape, logits.node)->value[9 * l.experts + 1] = NAN;
        }
        watch(&n, gated_experts(&n, &l, x, gates));
        network_run(&n, AIOS_PRECISION_32, 0, 1.0, 1, round ? &bad : &good);
        if (!round) network_end(&n);
    }
    size_t first = network_gradient_count(&n);
    for (int row = 0; row < l.length; row++)
        for (int i = 0; i < l.hidden; i++) {
            float was = good.numbers[first + (size_t)(row * l.hidden + i)], is = bad.numbers[first + (size_t)(row * l.hidden + i)];
            assert_true(row == 5 || row == 9 ? isnan(is) : fabsf(is - was) <= 1e-6f * (1.0f + fabsf(was)));
        }
    outcome_free(&good);
    outcome_free(&bad);
    network_end(&n);
}

static void expect_mistake(aios_graph *graph, aios_tensor x, const char *words)
{
    assert_int_equal(x, 0);
    assert_int_not_equal(aios_graph_finish(graph), AIOS_OK);
    if (!strstr(aios_error_message(), words)) fail_msg("'%s' does not say '%s'", aios_error_message(), words);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    for (int mistake = 0; mistake < 5; mistake++) {
        struct network n;
        network_begin(&n, device, 1);
        value x = net_parameter(&n, SHAPE(2, 3, 4), 1.0, 0.0), w = net_parameter(&n, SHAPE(15, 4), 1.0, 0.0);
        value gates = net_expert_gates(&n, net_linear(&n, x, net_parameter(&n, SHAPE(5, 4), 1.0, 0.0), NONE, 0, 0), 2);
        aios_graph *g = n.graph;
        aios_tensor rows = mistake < 2 ? 0 : aios_graph_expert_rows(g, x.id, gates.id);
        switch (mistake) {
        case 0: expect_mistake(g, aios_graph_expert_rows(g, x.id, x.id), "what aios_graph_expert_gates returned"); break;
        case 1: expect_mistake(g, aios_graph_expert_linear(g, x.id, gates.id, w.id, 1), "x (2, 3, 4) has 6 rows: 12 are wanted"); break;
        case 2:
            expect_mistake(g, aios_graph_expert_linear(g, rows, gates.id, w.id, 2),
                           "(15, 4) with 2 parts: it must be (parts * 5 * width, 4)");
            break;
        case 3: expect_mistake(g, aios_graph_expert_sum(g, x.id, gates.id), "one for each choice"); break;
        default: expect_mistake(g, aios_graph_expert_rows(g, rows, gates.id), "has 12 rows: 6 are wanted"); break;
        }
        network_end(&n);
    }
}

int main(int count, char **words)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chosen_alone_are_as_good_as_all),  cmocka_unit_test(all_rows_to_the_same_experts),
        cmocka_unit_test(gradients_are_the_slopes_of_the_loss), cmocka_unit_test(a_row_that_is_no_number_spoils_no_other),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    int failed = 0;
    for (int i = 1; i < count || i == 1; i++) {
        if (i < count) device = words[i];
        quick = strncmp(device, "cpu", 3) != 0;
        failed += cmocka_run_group_tests_name(device, tests, NULL, NULL);
    }
    return failed;
}
