/* What a mixture of experts is made of. */
#include "record.h"

/* The node that made the gates. */
static struct node *choice_of(aios_graph *graph, const char *call, aios_tensor gates)
{
    const struct tensor *g = operand(graph, call, "gates", gates);
    if (!g) return NULL;
    struct node *choice = g->node >= 0 ? &graph->nodes[g->node] : NULL;
    if (choice && choice->op == OP_expert_gates) return choice;
    (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: gates must be what aios_graph_expert_gates returned", call);
    return NULL;
}

aios_tensor aios_graph_expert_gates(aios_graph *graph, aios_tensor logits, int32_t chosen)
{
    static const char call[] = "aios_graph_expert_gates";
    if (!graph || !usable(graph, call) || !(logits = activation(graph, call, "logits", logits))) return 0;
    struct tensor x = graph->tensors[logits];
    if (chosen < 1 || chosen > tensor_last(&x))
        return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: %d of %d experts: 1 to %d can be chosen", call, chosen, tensor_last(&x),
                       tensor_last(&x));
    struct node node = {.op = OP_expert_gates, .input = {logits}, .limit = chosen};
    return add_node(graph, &node, TYPE_ACTIVATION, x.shape, x.rank);
}

aios_tensor aios_graph_expert_scale(aios_graph *graph, aios_tensor x, aios_tensor gates)
{
    static const char call[] = "aios_graph_expert_scale";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x)) || !(gates = activation(graph, call, "gates", gates)))
        return 0;
    struct tensor tx = graph->tensors[x], tg = graph->tensors[gates];
    if (tensor_rows(&tx) != tensor_rows(&tg) || tensor_last(&tx) % tensor_last(&tg)) {
        char xs[64], gs[64];
        tensor_shape_text(&tx, xs);
        tensor_shape_text(&tg, gs);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: x %s must have a part for each of gates %s in its last dimension", call, xs, gs);
    }
    if (tg.count > INT32_MAX) return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: %lld gates: at most 2^31 - 1", call, (long long)tg.count);
    struct node node = {.op = OP_expert_scale, .input = {x, gates}};
    return add_node(graph, &node, TYPE_ACTIVATION, tx.shape, tx.rank);
}

/* ---- only what is chosen ------------------------------------------------------------------------------------------ */

/* x, or NULL and a mistake where its rows are not `each` for every row of gates; 0: as many as are chosen. */
static const struct tensor *rows_of_choices(aios_graph *graph, const char *call, aios_tensor x, aios_tensor gates, int32_t each)
{
    struct node *choice = choice_of(graph, call, gates);
    if (!choice) return NULL;
    const struct tensor *t = &graph->tensors[x];
    int64_t rows = (int64_t)tensor_rows(&graph->tensors[gates]) * (each ? each : choice->limit);
    choice->routed = 1;
    if (tensor_rows(t) == rows) return t;
    char shape[64];
    tensor_shape_text(t, shape);
    (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: x %s has %d rows: %lld are wanted, %s", call, shape, tensor_rows(t), (long long)rows,
                  each ? "one for each row of gates" : "one for each choice (aios_graph_expert_rows)");
    return NULL;
}

aios_tensor aios_graph_expert_rows(aios_graph *graph, aios_tensor x, aios_tensor gates)
{
    static const char call[] = "aios_graph_expert_rows";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    const struct tensor *t = rows_of_choices(graph, call, x, gates, 1);
    if (!t) return 0;
    const struct node *choice = choice_of(graph, call, gates);
    if ((int64_t)tensor_rows(t) * choice->limit > INT32_MAX)
        return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: %d rows for %d experts each: at most 2^31 - 1 in all", call, tensor_rows(t),
                       choice->limit);
    int32_t shape[2] = {tensor_rows(t) * choice->limit, tensor_last(t)};
    struct node node = {.op = OP_expert_rows, .input = {x, gates}};
    return add_node(graph, &node, TYPE_ACTIVATION, shape, 2);
}

aios_tensor aios_graph_expert_linear(aios_graph *graph, aios_tensor x, aios_tensor gates, aios_tensor weight, int32_t parts)
{
    static const char call[] = "aios_graph_expert_linear";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x)) || !parameter(graph, call, "weight", weight, -1)) return 0;
    const struct tensor *t = rows_of_choices(graph, call, x, gates, 0);
    if (!t) return 0;
    const struct tensor *w = &graph->tensors[weight];
    int32_t n = tensor_last(&graph->tensors[gates]), in = tensor_last(t), rows = tensor_rows(t);
    int by_rows = w->rank == 2 && w->shape[1] == in && parts >= 1 && w->shape[0] % ((int64_t)parts * n) == 0;
    int by_columns = w->rank == 2 && w->shape[1] == (int64_t)n * in && parts == 1;
    if (!by_rows && !by_columns) {
        char ws[64];
        tensor_shape_text(w, ws);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT,
                       "%s: weight '%s' %s with %d parts: it must be (parts * %d * width, %d), or with one part (width, %d * %d)", call,
                       graph->tensors[w->root].name, ws, parts, n, in, n, in);
    }
    int32_t shape[2] = {rows, by_rows ? w->shape[0] / n : w->shape[0]};
    struct node node = {.op = OP_expert_linear, .input = {x, weight, gates}, .layout = by_rows, .parts = parts};
    return add_node(graph, &node, TYPE_ACTIVATION, shape, 2);
}

aios_tensor aios_graph_expert_sum(aios_graph *graph, aios_tensor x, aios_tensor gates)
{
    static const char call[] = "aios_graph_expert_sum";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    const struct tensor *t = rows_of_choices(graph, call, x, gates, 0);
    if (!t) return 0;
    struct tensor shape = graph->tensors[gates];
    shape.shape[shape.rank - 1] = tensor_last(t);
    struct node node = {.op = OP_expert_sum, .input = {x, gates}};
    return add_node(graph, &node, TYPE_ACTIVATION, shape.shape, shape.rank);
}

/* ---- balance ------------------------------------------------------------------------------------------------------ */

aios_tensor aios_graph_expert_balance(aios_graph *graph, aios_tensor gates, aios_tensor labels, float weight)
{
    static const char call[] = "aios_graph_expert_balance";
    if (!graph || !usable(graph, call)) return 0;
    const struct tensor *g = operand(graph, call, "gates", gates), *l = g ? operand(graph, call, "labels", labels) : NULL;
    if (!l) return 0;
    const struct node *choice = choice_of(graph, call, gates);
    if (!choice) return 0;
    if (l->type != AIOS_I32 || l->rank != 2 || l->count != tensor_rows(g)) {
        char ls[64];
        tensor_shape_text(l, ls);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: labels %s must be integers (B, L), one for each of %d rows of gates", call, ls,
                       tensor_rows(g));
    }
    struct tensor shape = {.rank = 2, .shape = {l->shape[0], tensor_last(g)}};
    struct node node = {.op = OP_expert_balance,
                        .input = {choice->input[0], labels, gates},
                        .length = l->shape[1],
                        .limit = choice->limit,
                        .weight = weight};
    return add_loss(graph, &node, &shape);
}
