/* What each operation becomes: forward beside backward. */
#include "builder.h"

#include "gpu/device.h"

#include <math.h>

#define T(x)      tensor_of(b->graph, x)
#define VALUE(x)  b->value[x]
#define OFFSET(x) b->value_offset[x]

static int32_t rows_of(const struct builder *b, aios_tensor x)
{
    return tensor_rows(T(x));
}

static int32_t last_of(const struct builder *b, aios_tensor x)
{
    return tensor_last(T(x));
}

/* Partial sums of a reduction over so many rows. */
static int32_t parts_for(const struct builder *b, int32_t rows)
{
    return rows < b->plan->parts ? rows : b->plan->parts;
}

/* An instruction y = f(x): both dense, rows x n of x. */
static struct instruction unary(const struct builder *b, run_fn run, const char *label, int32_t y, aios_tensor x)
{
    return (struct instruction){
        .run = run, .label = label, .buffer = {y, VALUE(x)}, .offset = {0, OFFSET(x)}, .number = {rows_of(b, x), last_of(b, x)}};
}

/* dx = f(dy, x) for a kernel that can add: rows and n as given. */
static aios_status unary_backward(struct builder *b, const struct node *node, run_fn run, const char *label, int32_t dy, int32_t rows,
                                  int32_t n)
{
    aios_tensor x = node->input[0];
    int32_t dx;
    int accumulate;
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    return emit(
        b, &(struct instruction){
               .run = run, .label = label, .buffer = {dx, dy, VALUE(x)}, .offset = {0, 0, OFFSET(x)}, .number = {rows, n, accumulate}});
}

aios_status emit_into_sink(struct builder *b, aios_tensor x, int32_t buffer)
{
    int32_t sink;
    int64_t offset;
    TRY_QUIET(parameter_sink(b, x, &sink, &offset));
    return emit(b, &(struct instruction){.run = run_period_sum,
                                         .label = "gradient of a parameter",
                                         .buffer = {sink, buffer},
                                         .offset = {offset},
                                         .number = {rows_of(b, x), last_of(b, x), rows_of(b, x)}});
}

/* ---- cast, alias, slice ------------------------------------------------------------------------------------------ */

static aios_status forward_cast(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    if (T(x)->count > INT32_MAX)
        return FAIL(AIOS_OUT_OF_RANGE, "an input of %lld numbers: at most 2^31 - 1 are converted", (long long)T(x)->count);
    return emit(b, &(struct instruction){.run = run_cast, .label = "cast", .buffer = {y, VALUE(x)}, .number = {T(x)->count}});
}

static aios_status backward_cast(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy; /* what is cast is an input */
    return AIOS_OK;
}

static aios_status forward_alias(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], y = node->output;
    if (b->recomputing && b->escapes[y]) return AIOS_OK;
    VALUE(y) = VALUE(x);
    OFFSET(y) = OFFSET(x);
    if (T(y)->root) OFFSET(y) += (T(y)->root_offset - T(x)->root_offset) * (int64_t)storage_size(b->plan->storage);
    return AIOS_OK;
}

static aios_status backward_alias(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    if (!wanted(b, node, node->input[0])) return AIOS_OK;
    if (T(node->output)->root) return emit_into_sink(b, node->output, dy); /* maybe fewer rows than the parameter */
    return pass_gradient(b, node->input[0], dy);
}

/* Both sides of a slice as groups x rows x n, where the sliced axis is the rows' (or n itself for the last axis). */
static struct instruction slice_copy(const struct builder *b, const struct node *node, int32_t dense, int32_t whole, int into_whole)
{
    const struct tensor *x = T(node->input[0]), *y = T(node->output);
    int64_t groups = 1, inner = 1;
    for (int32_t i = 0; i < node->axis; i++) groups *= x->shape[i];
    for (int32_t i = node->axis + 1; i < x->rank; i++) inner *= x->shape[i];
    int64_t dense_group = y->shape[node->axis] * inner, whole_group = x->shape[node->axis] * inner;
    int64_t offset = node->start * inner * (int64_t)storage_size(b->plan->storage);
    struct instruction i = {
        .run = run_copy, .label = "slice", .number = {groups, y->shape[node->axis], inner, dense_group, inner, whole_group, inner, 0}};
    if (into_whole) {
        i.buffer[0] = whole;
        i.buffer[1] = dense;
        i.offset[0] = offset;
        i.number[3] = whole_group;
        i.number[5] = dense_group;
        i.number[7] = 1;
    } else {
        i.buffer[0] = dense;
        i.buffer[1] = whole;
        i.offset[1] = offset + OFFSET(node->input[0]);
    }
    return i;
}

static aios_status forward_slice(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction copy = slice_copy(b, node, y, VALUE(node->input[0]), 0);
    return emit(b, &copy);
}

static aios_status backward_slice(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0];
    int32_t dx;
    int accumulate;
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    if (!accumulate)
        TRY_QUIET(
            emit(b, &(struct instruction){
                        .run = run_zero, .label = "gradient outside a slice", .buffer = {dx}, .number = {(int64_t)value_size(b, x)}}));
    struct instruction copy = slice_copy(b, node, dy, dx, 1);
    return emit(b, &copy);
}

/* ---- embedding --------------------------------------------------------------------------------------------------- */

static aios_status forward_embedding(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor table = node->input[0], ids = node->input[1];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    return emit(b, &(struct instruction){.run = run_embedding,
                                         .label = "embedding",
                                         .buffer = {y, VALUE(table), VALUE(ids)},
                                         .offset = {0, OFFSET(table), OFFSET(ids)},
                                         .number = {(int32_t)T(ids)->count, last_of(b, table)}});
}

static aios_status backward_embedding(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor table = node->input[0], ids = node->input[1];
    int32_t sink;
    int64_t offset;
    if (!wanted(b, node, table)) return AIOS_OK;
    TRY_QUIET(parameter_sink(b, table, &sink, &offset));
    return emit(b, &(struct instruction){.run = run_embedding_backward,
                                         .label = "embedding gradient",
                                         .buffer = {sink, dy, VALUE(ids)},
                                         .offset = {offset, 0, OFFSET(ids)},
                                         .number = {(int32_t)T(ids)->count, last_of(b, table), T(table)->shape[0]}});
}

/* ---- linear ------------------------------------------------------------------------------------------------------ */

static aios_gemm gemm_shape(const struct builder *b, int32_t m, int32_t n, int32_t k)
{
    return (aios_gemm){.struct_size = sizeof(aios_gemm),
                       .type_ab = b->plan->storage,
                       .type_c = b->plan->storage,
                       .m = m,
                       .n = n,
                       .k = k,
                       .batch = 1,
                       .alpha = 1.0f};
}

/* A weight that is applied so often is packed before its first product, once per run. */
#define PACKED_USES 3

static uint64_t packed_size(const struct builder *b, aios_tensor w, const struct instruction *product)
{
    if (T(w)->kind != TENSOR_PARAMETER || T(w)->consumers < PACKED_USES || b->plan->buffers[VALUE(w)].weights_of) return 0;
    return aios_device_gemm_packed_size(b->plan->parameters->device, &product->shape.gemm);
}

static aios_status packed_weight(struct builder *b, aios_tensor w, struct instruction *product)
{
    int32_t *packed = &b->packed[w][product->shape.gemm.transpose_b];
    uint64_t size = packed_size(b, w, product);
    if (!size) return AIOS_OK;
    if (!*packed) {
        struct instruction i = {.run = run_gemm_pack, .label = "packing a weight", .offset = {0, OFFSET(w)}, .shape = product->shape};
        i.shape.gemm.epilogue = AIOS_EPILOGUE_NONE;
        TRY_QUIET(new_buffer(b, size, packed));
        i.buffer[0] = *packed;
        i.buffer[1] = VALUE(w);
        TRY_QUIET(emit(b, &i));
    }
    product->buffer[5] = *packed;
    return AIOS_OK;
}

/* y (M, N) = x (M, K) W + bias, as it is before buffer 0 and the epilogue are chosen. */
static struct instruction product_of(const struct builder *b, const struct node *node)
{
    aios_tensor x = node->input[0], w = node->input[1], bias = node->input[2];
    struct instruction i = {.run = run_gemm,
                            .label = "linear",
                            .buffer = {0, VALUE(x), VALUE(w), bias ? VALUE(bias) : 0},
                            .offset = {0, OFFSET(x), OFFSET(w), bias ? OFFSET(bias) : 0}};
    i.shape.gemm = gemm_shape(b, rows_of(b, x), last_of(b, node->output), last_of(b, x));
    i.shape.gemm.transpose_b = node->layout == AIOS_WEIGHT_OUT_IN;
    i.shape.gemm.lda = b->pitch[x];
    i.shape.gemm.ldb = last_of(b, w);
    i.shape.gemm.ldc = b->pitch[node->output];
    return i;
}

/* The epilogue by which the device does, on the way of a linear, what the next node alone makes of it: a sum with as much (its other side
 * is *with), SwiGLU.  NONE: the linear has a value of its own. */
static int32_t swallowed_by_next(const struct builder *b, size_t index, aios_tensor *with)
{
    const struct node *node = &b->graph->nodes[index], *next = node + 1;
    aios_tensor y = node->output;
    const aios_device *device = b->plan->parameters->device;
    if (node->op != OP_linear || index + 1 == b->graph->node_count || node->activation || T(y)->consumers != 1 || T(y)->is_output ||
        b->escapes[y] || b->pitch[y] != last_of(b, y) || next->segment != node->segment)
        return AIOS_EPILOGUE_NONE;
    if (next->op == OP_add && (next->input[0] == y || next->input[1] == y)) {
        *with = next->input[next->input[0] == y];
        return T(*with)->count == T(y)->count && device_fuses(device, AIOS_EPILOGUE_RESIDUAL) ? AIOS_EPILOGUE_RESIDUAL : AIOS_EPILOGUE_NONE;
    }
    if (next->op != OP_swiglu || next->input[0] != y || node->input[2] || (b->plan->training && !node->no_gradient))
        return AIOS_EPILOGUE_NONE; /* backward reads what SwiGLU was given */
    struct instruction product = product_of(b, node);
    product.shape.gemm.epilogue = AIOS_EPILOGUE_SWIGLU;
    return packed_size(b, node->input[1], &product) ? AIOS_EPILOGUE_SWIGLU : AIOS_EPILOGUE_NONE;
}

/* The linear before the node, whose value is y, with that epilogue. */
static aios_status emit_swallowed(struct builder *b, size_t index, int32_t epilogue, aios_tensor with, int32_t y)
{
    const struct node *node = &b->graph->nodes[index], *linear = node - 1;
    struct instruction i = product_of(b, linear);
    i.label = epilogue == AIOS_EPILOGUE_RESIDUAL ? "linear and sum" : "linear and swiglu";
    i.buffer[0] = y;
    i.shape.gemm.epilogue = epilogue;
    i.shape.gemm.ldc = b->pitch[node->output];
    if (with) {
        i.buffer[4] = VALUE(with);
        i.offset[4] = OFFSET(with);
    }
    TRY_QUIET(packed_weight(b, linear->input[1], &i));
    return emit(b, &i);
}

static aios_status forward_linear(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor with;
    if (swallowed_by_next(b, index, &with)) return AIOS_OK;
    struct instruction i = product_of(b, node);
    TRY_QUIET(output_buffer(b, node, &i.buffer[0]));
    if (node->activation) {
        TRY_QUIET(new_buffer(b, value_size(b, node->output), &i.buffer[4]));
        b->aux[index][0] = i.buffer[4];
    }
    i.shape.gemm.epilogue = node->activation ? AIOS_EPILOGUE_BIAS_GELU : node->input[2] ? AIOS_EPILOGUE_BIAS : AIOS_EPILOGUE_NONE;
    TRY_QUIET(packed_weight(b, node->input[1], &i));
    return emit(b, &i);
}

/* dW += x^T dy, stored (K, N), or dy^T x, stored (N, K); with the bias's gradient where the device sums it on the way */
static aios_status weight_gradient(struct builder *b, const struct node *node, int32_t dy, int32_t bias_sum)
{
    aios_tensor x = node->input[0], w = node->input[1];
    int32_t m = rows_of(b, x), k = last_of(b, x), n = last_of(b, node->output), sink;
    int64_t offset;
    TRY_QUIET(parameter_sink(b, w, &sink, &offset));
    int in_out = node->layout == AIOS_WEIGHT_IN_OUT;
    struct instruction i = {.run = run_gemm, .label = "weight gradient"};
    i.shape.gemm = in_out ? gemm_shape(b, k, n, m) : gemm_shape(b, n, k, m);
    i.buffer[0] = sink;
    i.offset[0] = offset;
    i.buffer[in_out ? 1 : 2] = VALUE(x);
    i.offset[in_out ? 1 : 2] = OFFSET(x);
    i.buffer[in_out ? 2 : 1] = dy;
    i.buffer[4] = bias_sum;
    if (bias_sum) i.shape.gemm.epilogue = in_out ? AIOS_EPILOGUE_BIAS_GRADIENT_B : AIOS_EPILOGUE_BIAS_GRADIENT_A;
    i.shape.gemm.transpose_a = 1;
    i.shape.gemm.type_c = AIOS_F32;
    i.shape.gemm.lda = in_out ? b->pitch[x] : b->pitch[node->output];
    i.shape.gemm.ldb = in_out ? b->pitch[node->output] : b->pitch[x];
    i.shape.gemm.ldc = last_of(b, w);
    i.shape.gemm.beta = 1.0f;
    return emit(b, &i);
}

/* dbias += column sums of dy: on the way of the weight's gradient, or in a pass of its own. */
static aios_status parameter_gradients(struct builder *b, const struct node *node, int32_t dy)
{
    aios_tensor w = node->input[1], bias = node->input[2];
    int32_t m = rows_of(b, node->input[0]), n = last_of(b, node->output), sink, sums, parts = parts_for(b, m);
    int64_t offset;
    int32_t epilogue = node->layout == AIOS_WEIGHT_IN_OUT ? AIOS_EPILOGUE_BIAS_GRADIENT_B : AIOS_EPILOGUE_BIAS_GRADIENT_A;
    if (!bias || !wanted(b, node, bias)) return wanted(b, node, w) ? weight_gradient(b, node, dy, 0) : AIOS_OK;
    TRY_QUIET(parameter_sink(b, bias, &sink, &offset));
    if (wanted(b, node, w) && device_fuses(b->plan->parameters->device, epilogue)) {
        TRY_QUIET(new_buffer(b, (uint64_t)n * 4, &sums));
        TRY_QUIET(weight_gradient(b, node, dy, sums));
        return emit(b,
                    &(struct instruction){
                        .run = run_column_reduce, .label = "bias gradient", .buffer = {sink, sums}, .offset = {offset}, .number = {1, n}});
    }
    TRY_QUIET(new_scratch(b, (uint64_t)parts * (uint64_t)n * 4, &sums));
    TRY_QUIET(emit(
        b, &(struct instruction){
               .run = run_column_sum, .label = "bias gradient", .buffer = {sink, sums, dy}, .offset = {offset}, .number = {m, n, parts}}));
    return wanted(b, node, w) ? weight_gradient(b, node, dy, 0) : AIOS_OK;
}

/* The linear whose GELU made x, where x's gradient has this one share and what forward left before the GELU is at hand. */
static int32_t *gelu_before(struct builder *b, const struct node *node, aios_tensor x)
{
    int32_t producer = T(x)->node;
    if (producer < 0 || T(x)->consumers != 1 || b->gradient[x]) return NULL;
    const struct node *made = &b->graph->nodes[producer];
    if (made->op != OP_linear || !made->activation || made->no_gradient || made->segment != node->segment) return NULL;
    return &b->aux[producer][0];
}

static aios_status backward_linear(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1];
    int32_t m = rows_of(b, x), k = last_of(b, x), n = last_of(b, node->output);
    if (node->activation && b->aux[index][0]) { /* through the GELU, in place where nobody else reads dy */
        int32_t d = dy;
        if (b->plan->buffers[dy].owners > 1) TRY_QUIET(new_buffer(b, value_size(b, node->output), &d));
        TRY_QUIET(
            emit(b, &(struct instruction){
                        .run = run_gelu_backward, .label = "gelu gradient", .buffer = {d, dy, b->aux[index][0]}, .number = {m, n, 0}}));
        dy = d;
    }
    TRY_QUIET(parameter_gradients(b, node, dy));
    if (!wanted(b, node, x)) return AIOS_OK;
    int32_t dx, *before = gelu_before(b, node, x);
    int accumulate;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    struct instruction i = {.run = run_gemm, .label = "input gradient", .buffer = {dx, dy, VALUE(w)}, .offset = {0, 0, OFFSET(w)}};
    i.shape.gemm = gemm_shape(b, m, k, n);
    i.shape.gemm.transpose_b = node->layout == AIOS_WEIGHT_IN_OUT;
    i.shape.gemm.lda = b->pitch[node->output];
    i.shape.gemm.ldb = last_of(b, w);
    i.shape.gemm.ldc = b->pitch[x];
    i.shape.gemm.beta = accumulate ? 1.0f : 0.0f;
    if (before) {
        i.label = "input gradient through gelu";
        i.shape.gemm.epilogue = AIOS_EPILOGUE_GELU_BACKWARD;
        i.buffer[4] = *before;
        *before = 0; /* done: x's producer finds its gradient before the GELU */
    }
    return emit(b, &i);
}

/* ---- add, scale, select ------------------------------------------------------------------------------------------ */

static aios_status forward_add(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], z = node->input[1];
    int32_t y, n = last_of(b, x), rows = rows_of(b, x), period = rows_of(b, z);
    TRY_QUIET(output_buffer(b, node, &y));
    aios_tensor with;
    int32_t epilogue = index ? swallowed_by_next(b, index - 1, &with) : AIOS_EPILOGUE_NONE;
    if (epilogue) return emit_swallowed(b, index, epilogue, with, y);
    return emit(b, &(struct instruction){.run = run_add,
                                         .label = "add",
                                         .buffer = {y, VALUE(x), VALUE(z)},
                                         .offset = {0, OFFSET(x), OFFSET(z)},
                                         .number = {rows, n, period}});
}

/* The gradient of the side that repeats: a sum in f32, straight into a parameter's or by way of scratch. */
static aios_status backward_repeated(struct builder *b, const struct node *node, int32_t dy)
{
    aios_tensor x = node->input[0], z = node->input[1];
    struct instruction sum = {.run = run_period_sum,
                              .label = "gradient of a repeated operand",
                              .buffer = {0, dy},
                              .number = {rows_of(b, x), last_of(b, x), rows_of(b, z)}};
    if (T(z)->root) {
        TRY_QUIET(parameter_sink(b, z, &sum.buffer[0], &sum.offset[0]));
        return emit(b, &sum);
    }
    int32_t share;
    uint64_t bytes = (uint64_t)T(z)->count * 4;
    TRY_QUIET(new_scratch(b, bytes, &sum.buffer[0]));
    TRY_QUIET(emit(b, &(struct instruction){.run = run_zero, .label = "zero", .buffer = {sum.buffer[0]}, .number = {(int64_t)bytes}}));
    TRY_QUIET(emit(b, &sum));
    TRY_QUIET(gradient_share(b, z, &share));
    TRY_QUIET(emit(b, &(struct instruction){.run = run_cast, .label = "cast", .buffer = {share, sum.buffer[0]}, .number = {T(z)->count}}));
    return add_share(b, z, share);
}

static aios_status backward_add(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], z = node->input[1];
    if (wanted(b, node, z) && T(z)->count != T(x)->count) TRY_QUIET(backward_repeated(b, node, dy));
    if (wanted(b, node, x)) TRY_QUIET(pass_gradient(b, x, dy));
    if (wanted(b, node, z) && T(z)->count == T(x)->count) TRY_QUIET(pass_gradient(b, z, dy));
    return AIOS_OK;
}

static aios_status forward_scale(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction i = unary(b, run_scale_add, "scale", y, node->input[0]);
    i.real[0] = node->factor;
    return emit(b, &i);
}

static aios_status backward_scale(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0];
    int32_t dx;
    int accumulate;
    if (!wanted(b, node, x)) return AIOS_OK;
    TRY_QUIET(gradient_target(b, x, &dx, &accumulate));
    return emit(b, &(struct instruction){.run = run_scale_add,
                                         .label = "scale gradient",
                                         .buffer = {dx, dy},
                                         .number = {rows_of(b, x), last_of(b, x), accumulate},
                                         .real = {node->factor}});
}

/* As rows x n, so that every entry of the first dimension is whole rows. */
static void select_rows(const struct builder *b, aios_tensor x, int32_t *rows, int32_t *n)
{
    *n = T(x)->rank == 1 ? 1 : last_of(b, x);
    *rows = (int32_t)(T(x)->count / *n);
}

static aios_status forward_select(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], z = node->input[1], mask = node->input[2];
    int32_t y, n, rows;
    select_rows(b, x, &rows, &n);
    TRY_QUIET(output_buffer(b, node, &y));
    if (T(x)->type == AIOS_I32)
        return emit(b, &(struct instruction){.run = run_select_i32,
                                             .label = "select",
                                             .buffer = {y, VALUE(mask), VALUE(x), VALUE(z)},
                                             .offset = {0, OFFSET(mask), OFFSET(x), OFFSET(z)},
                                             .number = {T(x)->shape[0], T(x)->count / T(x)->shape[0]}});
    return emit(b, &(struct instruction){.run = run_select,
                                         .label = "select",
                                         .buffer = {y, VALUE(mask), VALUE(x), VALUE(z)},
                                         .offset = {0, OFFSET(mask), OFFSET(x), OFFSET(z)},
                                         .number = {rows, n, rows / T(x)->shape[0], (int32_t)(T(z)->count / n), 1, 1}});
}

/* Each side gets dy where it was taken and zero elsewhere. */
static aios_status backward_select(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], mask = node->input[2];
    int32_t n, rows;
    select_rows(b, x, &rows, &n);
    for (int side = 0; side < 2; side++) {
        int32_t share;
        if (!wanted(b, node, node->input[side])) continue;
        TRY_QUIET(gradient_share(b, node->input[side], &share));
        TRY_QUIET(emit(b, &(struct instruction){.run = run_select,
                                                .label = "select gradient",
                                                .buffer = {share, VALUE(mask), dy, dy},
                                                .offset = {0, OFFSET(mask)},
                                                .number = {rows, n, rows / T(x)->shape[0], rows, side == 0, side == 1}}));
        TRY_QUIET(add_share(b, node->input[side], share));
    }
    return AIOS_OK;
}

/* ---- norms, activations ------------------------------------------------------------------------------------------ */

static aios_status forward_layernorm(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1], bias = node->input[2];
    uint64_t per_row = (uint64_t)rows_of(b, x) * 4;
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    TRY_QUIET(new_buffer(b, per_row, &b->aux[index][0]));
    TRY_QUIET(new_buffer(b, per_row, &b->aux[index][1]));
    return emit(b, &(struct instruction){.run = run_layernorm,
                                         .label = "layernorm",
                                         .real = {node->factor},
                                         .number = {rows_of(b, x), last_of(b, x)},
                                         .buffer = {y, b->aux[index][0], b->aux[index][1], VALUE(x), VALUE(w), VALUE(bias)},
                                         .offset = {0, 0, 0, OFFSET(x), OFFSET(w), OFFSET(bias)}});
}

/* Where dx goes: the kernels write it always, so it is scratch where nobody wants it. */
static aios_status norm_target(struct builder *b, const struct node *node, int32_t *dx, int *accumulate)
{
    *accumulate = 0;
    return wanted(b, node, node->input[0]) ? gradient_target(b, node->input[0], dx, accumulate)
                                           : new_scratch(b, value_size(b, node->input[0]), dx);
}

static aios_status backward_layernorm(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1], bias = node->input[2];
    int32_t rows = rows_of(b, x), n = last_of(b, x), parts = parts_for(b, rows);
    uint64_t partial = (uint64_t)parts * (uint64_t)n * 4;
    struct instruction i = {.run = run_layernorm_backward, .label = "layernorm gradient", .number = {rows, n, parts}};
    int accumulate;
    TRY_QUIET(norm_target(b, node, &i.buffer[0], &accumulate));
    i.number[3] = accumulate;
    TRY_QUIET(new_scratch(b, partial, &i.buffer[1]));
    TRY_QUIET(new_scratch(b, partial, &i.buffer[2]));
    i.buffer[3] = dy;
    i.buffer[4] = VALUE(x);
    i.offset[4] = OFFSET(x);
    i.buffer[5] = VALUE(w);
    i.offset[5] = OFFSET(w);
    i.buffer[6] = b->aux[index][0];
    i.buffer[7] = b->aux[index][1];
    if (wanted(b, node, w)) TRY_QUIET(parameter_sink(b, w, &i.buffer[8], &i.offset[8]));
    if (wanted(b, node, bias)) TRY_QUIET(parameter_sink(b, bias, &i.buffer[9], &i.offset[9]));
    return emit(b, &i);
}

static aios_status forward_rmsnorm(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    TRY_QUIET(new_buffer(b, (uint64_t)rows_of(b, x) * 4, &b->aux[index][0]));
    return emit(b, &(struct instruction){.run = run_rmsnorm,
                                         .label = "rmsnorm",
                                         .real = {node->factor},
                                         .number = {rows_of(b, x), last_of(b, x)},
                                         .buffer = {y, b->aux[index][0], VALUE(x), w ? VALUE(w) : 0},
                                         .offset = {0, 0, OFFSET(x), w ? OFFSET(w) : 0}});
}

static aios_status backward_rmsnorm(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], w = node->input[1];
    int32_t rows = rows_of(b, x), n = last_of(b, x), parts = parts_for(b, rows);
    struct instruction i = {.run = run_rmsnorm_backward, .label = "rmsnorm gradient", .number = {rows, n, parts}};
    int accumulate;
    TRY_QUIET(norm_target(b, node, &i.buffer[0], &accumulate));
    i.number[3] = accumulate;
    if (w) TRY_QUIET(new_scratch(b, (uint64_t)parts * (uint64_t)n * 4, &i.buffer[1]));
    i.buffer[2] = dy;
    i.buffer[3] = VALUE(x);
    i.offset[3] = OFFSET(x);
    i.buffer[4] = w ? VALUE(w) : 0;
    i.offset[4] = w ? OFFSET(w) : 0;
    i.buffer[5] = b->aux[index][0];
    if (wanted(b, node, w)) TRY_QUIET(parameter_sink(b, w, &i.buffer[6], &i.offset[6]));
    return emit(b, &i);
}

static aios_status forward_gelu(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    struct instruction i = unary(b, run_gelu, "gelu", y, node->input[0]);
    return emit(b, &i);
}

static aios_status backward_gelu(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    return unary_backward(b, node, run_gelu_backward, "gelu gradient", dy, rows_of(b, node->output), last_of(b, node->output));
}

static aios_status forward_swiglu(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    aios_tensor with;
    int32_t epilogue = index ? swallowed_by_next(b, index - 1, &with) : AIOS_EPILOGUE_NONE;
    if (epilogue) return emit_swallowed(b, index, epilogue, 0, y);
    struct instruction i = unary(b, run_swiglu, "swiglu", y, node->input[0]);
    i.number[1] = last_of(b, node->output);
    return emit(b, &i);
}

static aios_status backward_swiglu(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    return unary_backward(b, node, run_swiglu_backward, "swiglu gradient", dy, rows_of(b, node->output), last_of(b, node->output));
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

static aios_status find_rope(struct builder *b, float theta, int32_t d, int32_t positions, const struct rope_table **found)
{
    aios_plan *plan = b->plan;
    for (size_t i = 0; i < plan->rope_count; i++)
        if (plan->ropes[i].theta == theta && plan->ropes[i].head_size == d && plan->ropes[i].positions >= positions) {
            *found = &plan->ropes[i];
            return AIOS_OK;
        }
    struct rope_table table = {.theta = theta, .head_size = d, .positions = positions};
    TRY_QUIET(plan_rope_table(plan, &table));
    TRY_QUIET(aios_memory_grow(plan->context, (void **)&plan->ropes, &plan->rope_capacity, plan->rope_count + 1, sizeof *plan->ropes));
    plan->ropes[plan->rope_count] = table;
    *found = &plan->ropes[plan->rope_count++];
    return AIOS_OK;
}

static aios_status rope(struct builder *b, const struct node *node, int32_t y, int32_t x, int64_t x_offset, int inverse)
{
    const struct tensor *t = T(node->output);
    aios_tensor start = node->input[1];
    const struct rope_table *table;
    TRY_QUIET(find_rope(b, node->theta, node->head_size, node->input[2] ? T(node->input[2])->shape[1] : t->shape[1], &table));
    return emit(b, &(struct instruction){
                       .run = run_rope,
                       .label = "rope",
                       .buffer = {y, x, table->cosine, table->sine, start ? VALUE(start) : 0},
                       .offset = {0, x_offset},
                       .number = {tensor_rows(t), tensor_last(t), t->shape[1], node->heads + node->kv_heads, node->head_size, inverse}});
}

static aios_status forward_rope(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t y;
    TRY_QUIET(output_buffer(b, node, &y));
    return rope(b, node, y, VALUE(node->input[0]), OFFSET(node->input[0]), 0);
}

static aios_status backward_rope(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    int32_t share;
    if (!wanted(b, node, node->input[0])) return AIOS_OK;
    TRY_QUIET(gradient_share(b, node->input[0], &share));
    TRY_QUIET(rope(b, node, share, dy, 0, 1));
    return add_share(b, node->input[0], share);
}

/* The new keys and values, which lie beside each other in qkv as in the cache. */
static aios_status forward_cache_append(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor qkv = node->input[0], cache = node->input[1], start = node->input[2];
    const struct tensor *t = T(qkv);
    int64_t keys = (int64_t)node->heads * node->head_size * (int64_t)storage_size(b->plan->storage);
    return emit(b, &(struct instruction){.run = run_cache_append,
                                         .label = "cache",
                                         .buffer = {VALUE(cache), VALUE(qkv), VALUE(start)},
                                         .offset = {0, OFFSET(qkv) + keys},
                                         .number = {t->shape[0], t->shape[1], T(cache)->shape[2], T(cache)->shape[1], t->shape[2]}});
}

static aios_status backward_cache_append(struct builder *b, size_t index, int32_t dy)
{
    (void)b, (void)index, (void)dy; /* a state is not differentiated */
    return AIOS_OK;
}

static aios_attention attention_shape(const struct builder *b, const struct node *node)
{
    const struct tensor *t = T(node->input[0]);
    aios_tensor cache = node->input[1];
    int32_t d = node->head_size, capacity = cache ? T(cache)->shape[1] : t->shape[1];
    return (aios_attention){.struct_size = sizeof(aios_attention),
                            .type = b->plan->storage,
                            .batch = t->shape[0],
                            .heads = node->heads,
                            .kv_heads = node->kv_heads,
                            .head_size = d,
                            .q_len = t->shape[1],
                            .kv_len = capacity,
                            .kv_capacity = capacity,
                            .causal = node->causal || cache,
                            .q_stride = t->shape[2],
                            .kv_stride = cache ? T(cache)->shape[2] : t->shape[2],
                            .out_stride = (int64_t)node->heads * d,
                            .scale = node->attention_scale != 0.0f ? node->attention_scale : 1.0f / sqrtf((float)d)};
}

/* The addresses of queries, keys and values inside qkv or the cache. */
static void attention_sources(const struct builder *b, const struct node *node, struct instruction *i)
{
    aios_tensor qkv = node->input[0], cache = node->input[1];
    int64_t element = (int64_t)storage_size(b->plan->storage), q = (int64_t)node->heads * node->head_size * element;
    int64_t kv = (int64_t)node->kv_heads * node->head_size * element;
    i->buffer[2] = VALUE(qkv);
    i->offset[2] = OFFSET(qkv);
    i->buffer[3] = i->buffer[4] = cache ? VALUE(cache) : VALUE(qkv);
    i->offset[3] = cache ? 0 : OFFSET(qkv) + q;
    i->offset[4] = i->offset[3] + kv;
}

static aios_status forward_attention(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    struct instruction i = {.run = run_attention, .label = "attention"};
    i.shape.attention = attention_shape(b, node);
    const aios_attention *a = &i.shape.attention;
    TRY_QUIET(output_buffer(b, node, &i.buffer[0]));
    TRY_QUIET(new_buffer(b, (uint64_t)a->batch * (uint64_t)a->heads * (uint64_t)a->q_len * 4, &b->aux[index][0]));
    i.buffer[1] = b->aux[index][0];
    attention_sources(b, node, &i);
    if (node->input[2]) i.buffer[5] = VALUE(node->input[2]);
    uint64_t workspace = aios_device_attention_workspace(b->plan->parameters->device, a, 0);
    if (workspace) TRY_QUIET(new_scratch(b, workspace, &i.buffer[6]));
    b->aux[index][1] = i.buffer[0];
    return emit(b, &i);
}

static aios_status backward_attention(struct builder *b, size_t index, int32_t dy)
{
    const struct node *node = &b->graph->nodes[index];
    struct instruction i = {.run = run_attention_backward, .label = "attention gradient"};
    int32_t share;
    if (node->input[1]) return FAIL(AIOS_UNSUPPORTED, "attention over a cache has no gradient: record it in a no-gradient region");
    if (!wanted(b, node, node->input[0])) return AIOS_OK;
    i.shape.attention = attention_shape(b, node);
    attention_sources(b, node, &i);
    TRY_QUIET(gradient_share(b, node->input[0], &share));
    i.buffer[0] = i.buffer[8] = i.buffer[9] = share;
    i.offset[8] = i.offset[3] - i.offset[2];
    i.offset[9] = i.offset[4] - i.offset[2];
    i.buffer[1] = b->aux[index][0];
    i.buffer[5] = b->aux[index][1];
    i.buffer[7] = dy;
    uint64_t workspace = aios_device_attention_workspace(b->plan->parameters->device, &i.shape.attention, 1);
    if (workspace) TRY_QUIET(new_scratch(b, workspace, &i.buffer[6]));
    TRY_QUIET(emit(b, &i));
    return add_share(b, node->input[0], share);
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

/* 1: nobody but the loss ever reads what x's buffer holds, so the gradient may take its place.  Attention reads its output in
 * the backward pass. */
static int exclusive(const struct builder *b, aios_tensor x)
{
    for (;;) {
        const struct tensor *t = T(x);
        if (t->consumers != 1 || t->is_output || b->escapes[x] || t->node < 0 || t->root) return 0;
        if (b->graph->nodes[t->node].op != OP_alias) return b->graph->nodes[t->node].op != OP_attention;
        x = b->graph->nodes[t->node].input[0];
    }
}

aios_status loss_scale(struct builder *b, const struct node *node, int32_t *scale)
{
    *scale = b->scale;
    if (node->weight == 1.0f || !b->plan->training) return AIOS_OK;
    TRY_QUIET(new_buffer(b, 4, scale));
    return emit(b,
                &(struct instruction){.run = run_scale_loss, .label = "loss scale", .buffer = {*scale, b->scale}, .real = {node->weight}});
}

static aios_status forward_cross_entropy(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor logits = node->input[0], labels = node->input[1];
    int32_t rows = rows_of(b, logits), n = last_of(b, logits);
    int gradient = b->plan->training && wanted(b, node, logits);
    struct instruction i = {.run = run_cross_entropy,
                            .label = "cross-entropy",
                            .real = {node->weight},
                            .number = {rows, n, b->pitch[logits], node->kind, gradient}};
    TRY_QUIET(output_buffer(b, node, &i.buffer[0]));
    if (!node->length) TRY_QUIET((node->hits_kept ? new_buffer : new_scratch)(b, (uint64_t)rows * 4, &i.buffer[1]));
    if (node->hits_kept) b->aux[index][1] = i.buffer[1];
    i.buffer[2] = VALUE(logits);
    i.offset[2] = OFFSET(logits);
    if (gradient && !exclusive(b, logits)) {
        TRY_QUIET(new_buffer(b, value_size(b, logits), &i.buffer[2]));
        TRY_QUIET(emit(b, &(struct instruction){.run = run_move,
                                                .label = "copy of logits",
                                                .buffer = {i.buffer[2], VALUE(logits)},
                                                .offset = {0, OFFSET(logits)},
                                                .number = {(int64_t)value_size(b, logits)}}));
        i.offset[2] = 0;
    }
    i.buffer[3] = VALUE(labels);
    i.offset[3] = OFFSET(labels);
    TRY_QUIET(loss_scale(b, node, &i.buffer[4]));
    TRY_QUIET(new_scratch(b, (uint64_t)b->plan->parts * 4, &i.buffer[5]));
    i.buffer[6] = node->auxiliary ? 0 : b->losses;
    b->aux[index][0] = gradient ? i.buffer[2] : 0;
    return node->length ? emit_sequence_loss(b, index, &i) : emit(b, &i);
}

static aios_status backward_cross_entropy(struct builder *b, size_t index, int32_t dy)
{
    (void)dy; /* the gradient starts here; forward computed it already */
    const struct node *node = &b->graph->nodes[index];
    return b->aux[index][0] ? pass_gradient(b, node->input[0], b->aux[index][0]) : AIOS_OK;
}

static aios_status forward_bce(struct builder *b, size_t index)
{
    const struct node *node = &b->graph->nodes[index];
    aios_tensor x = node->input[0], targets = node->input[1];
    int gradient = b->plan->training && wanted(b, node, x);
    struct instruction i = {.run = run_bce, .label = "binary cross-entropy", .real = {node->weight}, .number = {T(x)->count, gradient}};
    TRY_QUIET(output_buffer(b, node, &i.buffer[0]));
    TRY_QUIET(new_buffer(b, value_size(b, x), &i.buffer[1]));
    i.buffer[2] = VALUE(x);
    i.offset[2] = OFFSET(x);
    i.buffer[3] = VALUE(targets);
    i.offset[3] = OFFSET(targets);
    TRY_QUIET(loss_scale(b, node, &i.buffer[4]));
    TRY_QUIET(new_scratch(b, (uint64_t)b->plan->parts * 4, &i.buffer[5]));
    i.buffer[6] = node->auxiliary ? 0 : b->losses;
    b->aux[index][0] = gradient ? i.buffer[1] : 0;
    return emit(b, &i);
}

static aios_status backward_bce(struct builder *b, size_t index, int32_t dy)
{
    return backward_cross_entropy(b, index, dy);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

aios_status emit_forward(struct builder *b, size_t node)
{
    switch (b->graph->nodes[node].op) {
#define FORWARD_(name)                                                                                                                     \
    case OP_##name: return forward_##name(b, node);
        OP_LIST(FORWARD_)
#undef FORWARD_
    case OP_COUNT: break;
    }
    return FAIL(AIOS_INTERNAL, "node %zu has no operation", node);
}

aios_status emit_backward(struct builder *b, size_t node, int32_t dy)
{
    switch (b->graph->nodes[node].op) {
#define BACKWARD_(name)                                                                                                                    \
    case OP_##name: return backward_##name(b, node, dy);
        OP_LIST(BACKWARD_)
#undef BACKWARD_
    case OP_COUNT: break;
    }
    return FAIL(AIOS_INTERNAL, "node %zu has no operation", node);
}

int op_has_aux(const struct node *node)
{
    return node->op == OP_layernorm || node->op == OP_rmsnorm || node->op == OP_attention || (node->op == OP_linear && node->activation);
}
