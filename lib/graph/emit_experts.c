/* What a mixture of experts becomes: forward beside backward. */
#include "builder.h"

#define T(x)      tensor_of(b->graph, x)
#define VALUE(x)  b->value[x]
#define OFFSET(x) b->value_offset[x]

/* ---- gates ------------------------------------------------------------------------------------------------------- */

/* aux: the probabilities, which the balance looks at. */
aios_status forward_expert_gates(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    TRY_QUIET(new_buffer(b, (uint64_t)T(x)->count * 4, &b->aux[index][0]));
    return emit(b, &(struct instruction){.run = run_expert_gates,
                                         .label = "gates of experts",
                                         .buffer = {y, b->aux[index][0], VALUE(x)},
                                         .offset = {0, 0, OFFSET(x)},
                                         .number = {tensor_rows(T(x)), tensor_last(T(x)), node->limit}});
}

aios_status backward_expert_gates(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], gates = node->output;
    int32_t dx;
    int accumulate;
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    return emit(b, &(struct instruction){.run = run_expert_gates_backward,
                                         .label = "gradient of gates",
                                         .buffer = {dx, dy, VALUE(gates)},
                                         .offset = {0, 0, OFFSET(gates)},
                                         .number = {tensor_rows(T(x)), tensor_last(T(x)), accumulate}});
}

/* ---- parts times gates ------------------------------------------------------------------------------------------- */

/* y = x times gates, by expert. */
static struct instruction scale(const struct builder *b, const struct node *node, int32_t y, int32_t x, int64_t x_offset, int accumulate)
{
    aios_tensor gates = node->input[1];
    int32_t n = tensor_last(T(gates));
    return (struct instruction){.run = run_expert_scale,
                                .label = "experts by gates",
                                .buffer = {y, x, VALUE(gates)},
                                .offset = {0, x_offset, OFFSET(gates)},
                                .number = {tensor_rows(T(gates)), n, tensor_last(T(node->input[0])) / n, accumulate}};
}

aios_status forward_expert_scale(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction i = scale(b, node, y, VALUE(node->input[0]), OFFSET(node->input[0]), 0);
    return emit(b, &i);
}

aios_status backward_expert_scale(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], gates = node->input[1];
    int32_t dx, dg;
    int accumulate;
    if (wanted(b, node, gates)) {
        TRY_QUIET(gradient_target(b, gates, &dg, &accumulate));
        struct instruction i = scale(b, node, dg, dy, 0, accumulate);
        i.run = run_expert_scale_gates;
        i.label = "gradient of gates by parts";
        i.buffer[2] = VALUE(x);
        i.offset[2] = OFFSET(x);
        TRY_QUIET(emit(b, &i));
    }
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    struct instruction i = scale(b, node, dx, dy, 0, accumulate);
    return emit(b, &i);
}

/* ---- balance ----------------------------------------------------------------------------------------------------- */

aios_status forward_expert_balance(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor logits = node->input[0], labels = node->input[1], gates = node->input[2];
    int32_t n = tensor_last(T(gates)), sequences = T(labels)->shape[0];
    int gradient = b->plan->training && wanted(b, node, logits);
    struct instruction i = {.run = run_expert_balance,
                            .label = "balance of experts",
                            .real = {node->weight},
                            .number = {sequences, node->length, n, node->limit, gradient}};
    TRY_QUIET(output_buffer(b, node, &i.buffer[0]));
    TRY_QUIET(new_buffer(b, value_size(b, logits), &i.buffer[1]));
    TRY_QUIET(new_scratch(b, (uint64_t)sequences * (uint64_t)n * 4, &i.buffer[2]));
    i.buffer[3] = VALUE(labels);
    i.offset[3] = OFFSET(labels);
    TRY_QUIET(loss_scale(b, node, &i.buffer[4]));
    TRY_QUIET(new_scratch(b, (uint64_t)b->plan->parts * 4, &i.buffer[5]));
    i.buffer[6] = node->auxiliary ? 0 : b->losses;
    i.buffer[7] = VALUE(gates);
    i.offset[7] = OFFSET(gates);
    i.buffer[8] = b->aux[T(gates)->node][0];
    b->aux[index][0] = gradient ? i.buffer[1] : 0;
    return emit(b, &i);
}

aios_status backward_expert_balance(struct builder *b, size_t index, int32_t dy)
{
    (void)dy; /* the gradient starts here; forward computed it already */
    const struct node *node = &b->graph->nodes[index];
    return b->aux[index][0] ? pass_gradient(b, node->input[0], b->aux[index][0]) : AIOS_OK;
}
