/* What the operations on whole sequences and on tables become: forward beside backward. */
#include "builder.h"

#define T(x)      tensor_of(b->graph, x)
#define VALUE(x)  b->value[x]
#define OFFSET(x) b->value_offset[x]

static aios_status no_backward(void)
{
    return AIOS_OK; /* whole numbers and targets: nothing flows back */
}

/* ---- rows of a table --------------------------------------------------------------------------------------------- */

aios_status forward_rows(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor table = node->input[0], ids = node->input[1];
    int32_t y, wide = 0, count = (int32_t)T(ids)->count, n = T(table)->shape[1];
    TRY_QUIET(output_buffer(b, node, &y));
    if (b->plan->storage != AIOS_F32) TRY_QUIET(new_scratch(b, (uint64_t)count * (uint64_t)n * 4, &wide));
    return emit(b, &(struct instruction){.run = run_rows,
                                         .label = "rows",
                                         .buffer = {y, VALUE(table), VALUE(ids), wide},
                                         .offset = {0, OFFSET(table), OFFSET(ids)},
                                         .number = {count, n}});
}

/* The optimizer finds gradient and ids beside the table. */
aios_status backward_rows(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor table = node->input[0], ids = node->input[1];
    const struct parameter *p = parameters_find(b->plan->parameters, T(table)->name);
    int32_t gradient, used;
    if (!wanted(b, node, table)) return AIOS_OK;
    if (T(ids)->count > p->rows_most)
        return FAIL(AIOS_OUT_OF_RANGE, "%lld rows of '%s' in a run: the parameters were made for %d", (long long)T(ids)->count, p->name,
                    p->rows_most);
    if (b->plan->tables++) return FAIL(AIOS_UNSUPPORTED, "'%s' is looked up twice with a gradient: once in a graph is possible", p->name);
    TRY_QUIET(fixed_buffer(b, p->rows_gradient, &gradient));
    TRY_QUIET(fixed_buffer(b, p->rows_ids, &used));
    return emit(b, &(struct instruction){.run = run_rows_backward,
                                         .label = "gradient of rows",
                                         .buffer = {gradient, used, dy, VALUE(ids)},
                                         .offset = {0, 0, 0, OFFSET(ids)},
                                         .number = {(int32_t)T(ids)->count, T(table)->shape[1], p->rows_most}});
}

/* ---- concatenation ----------------------------------------------------------------------------------------------- */

/* One side of y and its part of y, as groups x 1 x n. */
static struct instruction part_copy(const struct builder *b, const struct node *node, int side, int32_t whole, int32_t part, int into_whole)
{
    const struct tensor *y = T(node->output), *x = T(node->input[side]);
    int64_t groups = 1, inner = 1;
    for (int32_t i = 0; i < node->axis; i++) groups *= y->shape[i];
    for (int32_t i = node->axis + 1; i < y->rank; i++) inner *= y->shape[i];
    int64_t whole_group = y->shape[node->axis] * inner, part_group = x->shape[node->axis] * inner;
    int64_t at = side ? T(node->input[0])->shape[node->axis] * inner * (int64_t)storage_size(b->plan->storage) : 0;
    struct instruction i = {.run = run_copy, .label = "concat"};
    i.buffer[0] = into_whole ? whole : part;
    i.buffer[1] = into_whole ? part : whole;
    i.offset[into_whole ? 0 : 1] = at;
    i.number[0] = groups;
    i.number[1] = x->shape[node->axis];
    i.number[2] = inner;
    i.number[3] = into_whole ? whole_group : part_group;
    i.number[5] = into_whole ? part_group : whole_group;
    i.number[4] = i.number[6] = inner;
    return i;
}

aios_status forward_concat(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    for (int side = 0; side < 2; side++) {
        struct instruction copy = part_copy(b, node, side, y, VALUE(node->input[side]), 1);
        copy.offset[1] = OFFSET(node->input[side]);
        TRY_QUIET(emit(b, &copy));
    }
    return AIOS_OK;
}

aios_status backward_concat(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    for (int side = 0; side < 2; side++) {
        int32_t dx;
        int accumulate;
        if (!wanted(b, node, node->input[side])) continue;
        TRY_QUIET(gradient_target(b, node->input[side], &dx, &accumulate));
        struct instruction copy = part_copy(b, node, side, dy, dx, 0);
        copy.number[7] = accumulate;
        TRY_QUIET(emit(b, &copy));
    }
    return AIOS_OK;
}

/* ---- losses of sequences ----------------------------------------------------------------------------------------- */

/* Turns the instruction of a cross-entropy, which has everything else, into one of whole sequences. */
aios_status emit_sequence_loss(struct builder *b, size_t index, struct instruction *loss)
{
    const struct node *node = &b->graph->nodes[index];
    uint64_t sequences = (uint64_t)T(node->output)->count, rows = (uint64_t)T(node->input[1])->count;
    loss->run = run_sequence_cross_entropy;
    loss->label = "cross-entropy of sequences";
    loss->number[5] = node->length;
    loss->buffer[8] = loss->buffer[4];
    TRY_QUIET(new_scratch(b, sequences * 4, &loss->buffer[4]));
    TRY_QUIET(new_scratch(b, rows * 4, &loss->buffer[7]));
    TRY_QUIET(new_buffer(b, rows * 4, &loss->buffer[1]));
    b->aux[index][1] = loss->buffer[1];
    return emit(b, loss);
}

aios_status forward_sequence_correct(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor losses = node->input[0], labels = node->input[1];
    int32_t y, hit = b->aux[T(losses)->node][1];
    TRY_QUIET(output_buffer(b, node, &y));
    return emit(b, &(struct instruction){.run = run_sequence_correct,
                                         .label = "correct sequences",
                                         .buffer = {y, hit, VALUE(labels)},
                                         .offset = {0, 0, OFFSET(labels)},
                                         .number = {T(node->output)->count, node->length}});
}

aios_status backward_sequence_correct(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy;
    return no_backward();
}

/* ---- halting ----------------------------------------------------------------------------------------------------- */

aios_status forward_halting_steps(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor steps = node->input[0], running = node->input[1];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    return emit(b, &(struct instruction){.run = run_halting_steps,
                                         .label = "steps",
                                         .buffer = {y, VALUE(steps), VALUE(running)},
                                         .offset = {0, OFFSET(steps), OFFSET(running)},
                                         .number = {T(steps)->count}});
}

aios_status backward_halting_steps(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy;
    return no_backward();
}

aios_status forward_halting_running(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor steps = node->input[0], q = node->input[1], least = node->input[2];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    return emit(b, &(struct instruction){.run = run_halting_running,
                                         .label = "halting",
                                         .buffer = {y, VALUE(steps), VALUE(q), least ? VALUE(least) : 0},
                                         .offset = {0, OFFSET(steps), OFFSET(q), least ? OFFSET(least) : 0},
                                         .number = {T(steps)->count, node->limit, least != 0}});
}

aios_status backward_halting_running(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy;
    return no_backward();
}

aios_status forward_halting_target(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor steps = node->input[0], q = node->input[1];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    return emit(b, &(struct instruction){.run = run_halting_target,
                                         .label = "halting target",
                                         .buffer = {y, VALUE(steps), VALUE(q)},
                                         .offset = {0, OFFSET(steps), OFFSET(q)},
                                         .number = {T(steps)->count, node->limit}});
}

aios_status backward_halting_target(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy;
    return no_backward();
}
