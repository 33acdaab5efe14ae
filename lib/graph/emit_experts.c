/* What a mixture of experts becomes: forward beside backward. */
#include "builder.h"

#define T(x)      tensor_of(b->graph, x)
#define VALUE(x)  b->value[x]
#define OFFSET(x) b->value_offset[x]

/* ---- gates ------------------------------------------------------------------------------------------------------- */

enum { AUX_PROBABILITIES, AUX_ROUTE, AUX_COUNTS };

/* Which rows are whose: on the device choice, place and first of kernels.def one behind the other; and first once more where the host
 * finds it, at aux[AUX_COUNTS] of the plan's counts. */
static aios_status new_route(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_plan *plan = b->plan;
    uint64_t rows = (uint64_t)tensor_rows(T(node->output)), n = (uint64_t)tensor_last(T(node->output));
    int32_t *aux = b->aux[index];
    TRY_QUIET(
        aios_memory_grow(plan->context, (void **)&plan->counts, &plan->count_capacity, plan->count_count + n + 1, sizeof *plan->counts));
    aux[AUX_COUNTS] = (int32_t)plan->count_count;
    plan->count_count += n + 1;
    plan->recorder.off = 1; /* the host reads in the middle of a run */
    return new_buffer(b, (rows * (uint64_t)node->limit * 2 + n + 1) * 4, &aux[AUX_ROUTE]);
}

/* aux: the probabilities, which the balance looks at; the route, where experts compute their own rows. */
aios_status forward_expert_gates(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0];
    int32_t y, rows = tensor_rows(T(x)), n = tensor_last(T(x)), *aux = b->aux[index];
    TRY_QUIET(output_buffer(b, node, &y));
    TRY_QUIET(new_buffer(b, (uint64_t)T(x)->count * 4, &aux[AUX_PROBABILITIES]));
    if (node->routed) TRY_QUIET(new_route(b, index));
    TRY_QUIET(emit(b, &(struct instruction){.run = run_expert_gates,
                                            .label = "gates of experts",
                                            .buffer = {y, aux[AUX_PROBABILITIES], VALUE(x), aux[AUX_ROUTE]},
                                            .offset = {0, 0, OFFSET(x)},
                                            .number = {rows, n, node->limit}}));
    if (!node->routed) return AIOS_OK;
    return emit(b, &(struct instruction){.run = run_expert_route,
                                         .label = "rows of experts",
                                         .buffer = {aux[AUX_ROUTE]},
                                         .number = {rows, n, node->limit, aux[AUX_COUNTS]}});
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

/* Each row's part for each expert: as if all were chosen, in the order of the experts. */
static struct instruction scale(const struct builder *b, const struct node *node, run_fn run, const char *label, int32_t y, int32_t x,
                                int64_t x_offset)
{
    aios_tensor gates = node->input[1];
    int32_t n = tensor_last(T(gates));
    return (struct instruction){.run = run,
                                .label = label,
                                .buffer = {y, x, VALUE(gates)},
                                .offset = {0, x_offset, OFFSET(gates)},
                                .number = {tensor_rows(T(gates)), n, n, tensor_last(T(node->input[0])) / n}};
}

/* The gradient of the gates, which `i` writes to a share of it: it reads what they weigh. */
static aios_status emit_gate_dots(struct builder *b, const struct node *node, struct instruction *i)
{
    aios_tensor x = node->input[0], gates = node->input[1];
    int32_t share = i->buffer[0];
    i->buffer[2] = VALUE(x);
    i->offset[2] = OFFSET(x);
    TRY_QUIET(emit(b, i));
    return add_share(b, gates, share);
}

aios_status forward_expert_scale(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction i = scale(b, node, run_expert_spread, "experts by gates", y, VALUE(node->input[0]), OFFSET(node->input[0]));
    return emit(b, &i);
}

aios_status backward_expert_scale(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], gates = node->input[1];
    int32_t share;
    if (wanted(b, node, gates)) {
        TRY_QUIET(gradient_share(b, gates, &share));
        struct instruction i = scale(b, node, run_expert_gate_dots, "gradient of gates by parts", share, dy, 0);
        TRY_QUIET(emit_gate_dots(b, node, &i));
    }
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_share(b, x, &share));
    struct instruction i = scale(b, node, run_expert_spread, "gradient of parts", share, dy, 0);
    TRY_QUIET(emit(b, &i));
    return add_share(b, x, share);
}

/* ---- only what is chosen ------------------------------------------------------------------------------------------ */

static int32_t aux_of(const struct builder *b, aios_tensor gates, int which)
{
    return b->aux[T(gates)->node][which];
}

/* From rows to the rows of their experts, or back; `weighed`: times the gates. */
static struct instruction along_route(const struct builder *b, const struct node *node, run_fn run, const char *label, int32_t y, int32_t x,
                                      int64_t x_offset, int weighed)
{
    aios_tensor gates = node->input[1];
    return (struct instruction){
        .run = run,
        .label = label,
        .buffer = {y, x, weighed ? VALUE(gates) : 0, aux_of(b, gates, AUX_ROUTE)},
        .offset = {0, x_offset, weighed ? OFFSET(gates) : 0},
        .number = {tensor_rows(T(gates)), tensor_last(T(gates)), b->graph->nodes[T(gates)->node].limit, tensor_last(T(node->input[0]))}};
}

static aios_status forward_along_route(struct builder *b, size_t index, run_fn run, const char *label, int weighed)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction i = along_route(b, node, run, label, y, VALUE(node->input[0]), OFFSET(node->input[0]), weighed);
    return emit(b, &i);
}

static aios_status backward_along_route(struct builder *b, size_t index, run_fn run, const char *label, int32_t dy, int weighed)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t share;
    if (!wanted(b, node, node->input[0])) return AIOS_OK;
    TRY_QUIET(gradient_share(b, node->input[0], &share));
    struct instruction i = along_route(b, node, run, label, share, dy, 0, weighed);
    TRY_QUIET(emit(b, &i));
    return add_share(b, node->input[0], share);
}

aios_status forward_expert_rows(struct builder *b, size_t index)
{
    return forward_along_route(b, index, run_expert_spread, "rows for experts", 0);
}

aios_status backward_expert_rows(struct builder *b, size_t index, int32_t dy)
{
    return backward_along_route(b, index, run_expert_collect, "gradient of rows for experts", dy, 0);
}

aios_status forward_expert_sum(struct builder *b, size_t index)
{
    return forward_along_route(b, index, run_expert_collect, "sum of experts", 1);
}

aios_status backward_expert_sum(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor gates = node->input[1];
    int32_t share;
    if (wanted(b, node, gates)) {
        TRY_QUIET(gradient_share(b, gates, &share));
        struct instruction i = along_route(b, node, run_expert_gate_dots, "gradient of gates by experts", share, dy, 0, 0);
        TRY_QUIET(emit_gate_dots(b, node, &i));
    }
    return backward_along_route(b, index, run_expert_spread, "gradient of experts", dy, 1);
}

/* ---- their products ----------------------------------------------------------------------------------------------- */

/* Of expert_linear: x (R, in) times (width, in) of each expert, `parts` times beside each other. */
struct product {
    int32_t in, out, width;
    int64_t ld, next_expert, next_part; /* of the weights, elements */
};

static struct product product_of(const struct builder *b, const struct node *node)
{
    int32_t n = tensor_last(T(node->input[2]));
    struct product p = {.in = tensor_last(T(node->input[0])), .out = tensor_last(T(node->output)), .ld = tensor_last(T(node->input[1]))};
    p.width = p.out / node->parts;
    p.next_expert = node->layout ? (int64_t)p.width * p.in : p.in;
    p.next_part = n * p.next_expert;
    return p;
}

/* One part's products, expert by expert.  shape: without what depends on how many rows are whose. */
static aios_status multiply(struct builder *b, const struct node *node, const char *label, const aios_gemm *shape, const int32_t buffer[3],
                            const int64_t offset[3], int of_weights)
{
    aios_tensor gates = node->input[2];
    struct instruction i = {.run = run_expert_product,
                            .label = label,
                            .buffer = {buffer[0], buffer[1], buffer[2]},
                            .offset = {offset[0], offset[1], offset[2]},
                            .number = {tensor_last(T(gates)), aux_of(b, gates, AUX_COUNTS), product_of(b, node).next_expert, of_weights}};
    i.shape.gemm = *shape;
    i.shape.gemm.struct_size = sizeof i.shape.gemm;
    i.shape.gemm.type_ab = b->plan->storage;
    i.shape.gemm.type_c = of_weights ? AIOS_F32 : b->plan->storage;
    i.shape.gemm.batch = 1;
    i.shape.gemm.alpha = 1.0f;
    return emit(b, &i);
}

/* y (R, width) = x (R, in) w^T (in, width) */
aios_status forward_expert_linear(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1];
    struct product p = product_of(b, node);
    int64_t element = (int64_t)storage_size(b->plan->storage);
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    for (int32_t part = 0; part < node->parts; part++)
        TRY_QUIET(multiply(b, node, "experts",
                           &(aios_gemm){.n = p.width, .k = p.in, .transpose_b = 1, .lda = p.in, .ldb = p.ld, .ldc = p.out},
                           (int32_t[]){y, VALUE(x), VALUE(w)},
                           (int64_t[]){part * p.width * element, OFFSET(x), OFFSET(w) + part * p.next_part * element}, 0));
    return AIOS_OK;
}

/* dw (width, in) += dy^T (width, R) x (R, in) */
static aios_status expert_weight_gradient(struct builder *b, const struct node *node, int32_t dy)
{
    aios_tensor x = node->input[0], w = node->input[1];
    struct product p = product_of(b, node);
    int32_t sink;
    int64_t offset, element = (int64_t)storage_size(b->plan->storage);
    TRY_QUIET(parameter_sink(b, w, &sink, &offset));
    for (int32_t part = 0; part < node->parts; part++)
        TRY_QUIET(multiply(b, node, "weight gradient of experts",
                           &(aios_gemm){.m = p.width, .n = p.in, .transpose_a = 1, .lda = p.out, .ldb = p.in, .ldc = p.ld, .beta = 1.0f},
                           (int32_t[]){sink, dy, VALUE(x)},
                           (int64_t[]){offset + part * p.next_part * 4, part * p.width * element, OFFSET(x)}, 1));
    return AIOS_OK;
}

/* dx (R, in) = dy (R, width) w (width, in), summed over the parts */
aios_status backward_expert_linear(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1];
    struct product p = product_of(b, node);
    int64_t element = (int64_t)storage_size(b->plan->storage);
    int32_t dx;
    int accumulate;
    if (wanted(b, node, w)) TRY_QUIET(expert_weight_gradient(b, node, dy));
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    for (int32_t part = 0; part < node->parts; part++)
        TRY_QUIET(multiply(
            b, node, "input gradient of experts",
            &(aios_gemm){.n = p.in, .k = p.width, .lda = p.out, .ldb = p.ld, .ldc = p.in, .beta = part || accumulate ? 1.0f : 0.0f},
            (int32_t[]){dx, dy, VALUE(w)}, (int64_t[]){0, part * p.width * element, OFFSET(w) + part * p.next_part * element}, 0));
    return AIOS_OK;
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
    i.buffer[8] = b->aux[T(gates)->node][AUX_PROBABILITIES];
    b->aux[index][0] = gradient ? i.buffer[1] : 0;
    return emit(b, &i);
}

aios_status backward_expert_balance(struct builder *b, size_t index, int32_t dy)
{
    (void)dy; /* the gradient starts here; forward computed it already */
    const struct node *node = &b->graph->nodes[index];
    return b->aux[index][0] ? pass_gradient(b, node->input[0], b->aux[index][0]) : AIOS_OK;
}
