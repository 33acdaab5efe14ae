/* The instructions of a plan.  Each comment gives the buffers, then the numbers. */
#include "plan.h"

#include "kernels/kernels.h"

/* The address of the k-th buffer; NULL where the instruction has none. */
#define AT(k)     ((void *)(i->buffer[k] ? buffer_address(plan, i->buffer[k]) + i->offset[k] : NULL))
#define NUMBER(k) ((int32_t)i->number[k])
#define STREAM    plan->stream, plan->storage, 0

/* y, table, ids; rows, n */
aios_status run_embedding(const aios_plan *plan, const struct instruction *i)
{
    return launch_embedding_forward(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1));
}

/* dtable, dy, ids; rows, n, vocabulary */
aios_status run_embedding_backward(const aios_plan *plan, const struct instruction *i)
{
    return launch_embedding_backward(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* y, a, b; rows, n, period */
aios_status run_add(const aios_plan *plan, const struct instruction *i)
{
    return launch_add(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* out, in; rows, n, period */
aios_status run_period_sum(const aios_plan *plan, const struct instruction *i)
{
    return launch_period_sum(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* y, x; rows, n, accumulate; factor */
aios_status run_scale_add(const aios_plan *plan, const struct instruction *i)
{
    return launch_scale_add(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1), i->real[0], NUMBER(2));
}

/* the loss's own scale, the step's scale; weight */
aios_status run_scale_loss(const aios_plan *plan, const struct instruction *i)
{
    return launch_scale_add(plan->stream, AIOS_F32, 0, AT(0), AT(1), 1, 1, i->real[0], 0);
}

/* y, x; groups, rows, n, y_group, y_row, x_group, x_row, accumulate */
aios_status run_copy(const aios_plan *plan, const struct instruction *i)
{
    return launch_copy_strided(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1), NUMBER(2), i->number[3], i->number[4], i->number[5],
                               i->number[6], NUMBER(7));
}

/* to, from; bytes */
aios_status run_move(const aios_plan *plan, const struct instruction *i)
{
    return aios_stream_copy(plan->stream, AT(0), AT(1), (uint64_t)i->number[0], AIOS_COPY_DEVICE_TO_DEVICE);
}

/* to; bytes */
aios_status run_zero(const aios_plan *plan, const struct instruction *i)
{
    return aios_stream_fill(plan->stream, AT(0), 0, (uint64_t)i->number[0]);
}

/* y, x f32; n */
aios_status run_cast(const aios_plan *plan, const struct instruction *i)
{
    return launch_cast_from_f32(STREAM, AT(0), AT(1), NUMBER(0));
}

/* y, mask, a, b; rows, n, period, b_period, use_a, use_b */
aios_status run_select(const aios_plan *plan, const struct instruction *i)
{
    return launch_select_rows(STREAM, AT(0), AT(1), AT(2), AT(3), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3), NUMBER(4), NUMBER(5));
}

/* packed, b */
aios_status run_gemm_pack(const aios_plan *plan, const struct instruction *i)
{
    aios_gemm gemm = i->shape.gemm;
    gemm.b = AT(1);
    return aios_stream_gemm_pack(plan->stream, &gemm, AT(0));
}

/* c, a, b, bias, aux, packed b */
aios_status run_gemm(const aios_plan *plan, const struct instruction *i)
{
    aios_gemm gemm = i->shape.gemm;
    gemm.c = AT(0);
    gemm.a = AT(1);
    gemm.b = AT(2);
    gemm.bias = AT(3);
    gemm.aux = AT(4);
    gemm.packed_b = AT(5);
    return aios_stream_gemm(plan->stream, &gemm);
}

/* out += column sums of in; out, partial, in; rows, n, parts */
aios_status run_column_sum(const aios_plan *plan, const struct instruction *i)
{
    TRY_QUIET(launch_column_partial(STREAM, AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2)));
    return launch_column_reduce(STREAM, AT(0), AT(1), NUMBER(2), NUMBER(1));
}

/* out += the parts; out, partial; parts, n */
aios_status run_column_reduce(const aios_plan *plan, const struct instruction *i)
{
    return launch_column_reduce(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1));
}

/* y, x; rows, n */
aios_status run_gelu(const aios_plan *plan, const struct instruction *i)
{
    return launch_gelu_forward(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1));
}

/* dx, dy, x; rows, n, accumulate */
aios_status run_gelu_backward(const aios_plan *plan, const struct instruction *i)
{
    return launch_gelu_backward(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* y, x; rows, n */
aios_status run_swiglu(const aios_plan *plan, const struct instruction *i)
{
    return launch_swiglu_forward(STREAM, AT(0), AT(1), NUMBER(0), NUMBER(1));
}

/* dx, dy, x; rows, n, accumulate */
aios_status run_swiglu_backward(const aios_plan *plan, const struct instruction *i)
{
    return launch_swiglu_backward(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* y, mean, rstd, x, w, b; rows, n; eps */
aios_status run_layernorm(const aios_plan *plan, const struct instruction *i)
{
    return launch_layernorm_forward(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), NUMBER(0), NUMBER(1), i->real[0]);
}

/* dx, partial_w, partial_b, dy, x, w, mean, rstd, dw, db; rows, n, parts, accumulate */
aios_status run_layernorm_backward(const aios_plan *plan, const struct instruction *i)
{
    TRY_QUIET(launch_layernorm_backward(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7), NUMBER(0), NUMBER(1), NUMBER(2),
                                        NUMBER(3)));
    if (i->buffer[8]) TRY_QUIET(launch_column_reduce(STREAM, AT(8), AT(1), NUMBER(2), NUMBER(1)));
    if (i->buffer[9]) TRY_QUIET(launch_column_reduce(STREAM, AT(9), AT(2), NUMBER(2), NUMBER(1)));
    return AIOS_OK;
}

/* y, rstd, x, w; rows, n; eps */
aios_status run_rmsnorm(const aios_plan *plan, const struct instruction *i)
{
    return launch_rmsnorm_forward(STREAM, AT(0), AT(1), AT(2), AT(3), NUMBER(0), NUMBER(1), i->real[0], i->buffer[3] != 0);
}

/* dx, partial_w, dy, x, w, rstd, dw; rows, n, parts, accumulate */
aios_status run_rmsnorm_backward(const aios_plan *plan, const struct instruction *i)
{
    TRY_QUIET(launch_rmsnorm_backward(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), NUMBER(0), NUMBER(1), NUMBER(2), i->buffer[4] != 0,
                                      NUMBER(3)));
    if (i->buffer[6]) TRY_QUIET(launch_column_reduce(STREAM, AT(6), AT(1), NUMBER(2), NUMBER(1)));
    return AIOS_OK;
}

/* y, x, cosine, sine, start; rows, n, seq, heads, head_size, inverse */
aios_status run_rope(const aios_plan *plan, const struct instruction *i)
{
    return launch_rope(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3), NUMBER(4), i->buffer[4] != 0,
                       NUMBER(5));
}

/* cache, x, start; batch, seq, n, capacity, x_stride */
aios_status run_cache_append(const aios_plan *plan, const struct instruction *i)
{
    return launch_cache_append(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3), NUMBER(4));
}

/* out, lse, q, k, v, start, workspace */
aios_status run_attention(const aios_plan *plan, const struct instruction *i)
{
    aios_attention attention = i->shape.attention;
    attention.out = AT(0);
    attention.lse = AT(1);
    attention.q = AT(2);
    attention.k = AT(3);
    attention.v = AT(4);
    attention.start = AT(5);
    attention.workspace = AT(6);
    return aios_stream_attention_forward(plan->stream, &attention);
}

/* d_q, lse, q, k, v, out, workspace, d_out, d_k, d_v */
aios_status run_attention_backward(const aios_plan *plan, const struct instruction *i)
{
    aios_attention attention = i->shape.attention;
    attention.d_q = AT(0);
    attention.lse = AT(1);
    attention.q = AT(2);
    attention.k = AT(3);
    attention.v = AT(4);
    attention.out = AT(5);
    attention.workspace = AT(6);
    attention.d_out = AT(7);
    attention.d_k = AT(8);
    attention.d_v = AT(9);
    return aios_stream_attention_backward(plan->stream, &attention);
}

/* Adds `count` losses to what aios_plan_losses tells; an auxiliary loss has no sums. */
static aios_status tell_loss(const aios_plan *plan, const struct instruction *i, int32_t count)
{
    float *sums = AT(6);
    TRY_QUIET(launch_sum_partial(STREAM, AT(5), AT(0), count, plan->parts));
    return launch_sum_reduce(STREAM, sums + LOSS_SUM, AT(5), plan->parts, i->real[0]);
}

static aios_status tell_labels(const aios_plan *plan, const struct instruction *i, int32_t count)
{
    float *sums = AT(6);
    TRY_QUIET(tell_loss(plan, i, count));
    return launch_count_hits(STREAM, sums + LOSS_HITS, AT(1), AT(3), NUMBER(0));
}

/* loss, hit, logits, targets, scale, partial, sums; rows, n, pitch, kind, gradient; weight */
aios_status run_cross_entropy(const aios_plan *plan, const struct instruction *i)
{
    int32_t rows = NUMBER(0);
    if (NUMBER(3) == AIOS_STABLEMAX)
        TRY_QUIET(launch_stablemax_cross_entropy(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), rows, NUMBER(1), NUMBER(2), rows, NUMBER(4)));
    else
        TRY_QUIET(launch_softmax_cross_entropy(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), rows, NUMBER(1), NUMBER(2), rows, NUMBER(4)));
    return i->buffer[6] ? tell_labels(plan, i, rows) : AIOS_OK;
}

/* loss, dx, x, targets, scale, partial, sums; n, gradient; weight */
aios_status run_bce(const aios_plan *plan, const struct instruction *i)
{
    TRY_QUIET(launch_bce_with_logits(STREAM, AT(0), AT(1), AT(2), AT(3), AT(4), NUMBER(0), NUMBER(1)));
    return i->buffer[6] ? tell_loss(plan, i, NUMBER(0)) : AIOS_OK;
}

/* means, hit, logits, targets, scale of sequences, partial, sums, losses of rows, scale; rows, n, pitch, kind, gradient, length; weight */
aios_status run_sequence_cross_entropy(const aios_plan *plan, const struct instruction *i)
{
    int32_t rows = NUMBER(0), length = NUMBER(5), sequences = rows / length;
    TRY_QUIET(launch_sequence_scale(STREAM, AT(4), AT(3), AT(8), sequences, length));
    if (NUMBER(3) == AIOS_STABLEMAX)
        TRY_QUIET(launch_stablemax_cross_entropy(STREAM, AT(7), AT(1), AT(2), AT(3), AT(4), rows, NUMBER(1), NUMBER(2), length, NUMBER(4)));
    else
        TRY_QUIET(launch_softmax_cross_entropy(STREAM, AT(7), AT(1), AT(2), AT(3), AT(4), rows, NUMBER(1), NUMBER(2), length, NUMBER(4)));
    TRY_QUIET(launch_sequence_mean(STREAM, AT(0), AT(7), AT(3), sequences, length));
    return i->buffer[6] ? tell_labels(plan, i, sequences) : AIOS_OK;
}

/* correct, hit, targets; sequences, length */
aios_status run_sequence_correct(const aios_plan *plan, const struct instruction *i)
{
    return launch_sequence_correct(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1));
}

/* y, table, ids, f32 scratch where y is narrower; rows, n */
aios_status run_rows(const aios_plan *plan, const struct instruction *i)
{
    void *wide = i->buffer[3] ? AT(3) : AT(0);
    TRY_QUIET(launch_embedding_forward(plan->stream, AIOS_F32, 0, wide, AT(1), AT(2), NUMBER(0), NUMBER(1)));
    return i->buffer[3] ? launch_cast_from_f32(STREAM, AT(0), AT(3), NUMBER(0) * NUMBER(1)) : AIOS_OK;
}

/* gradient f32, ids of the gradient, dy, ids; rows, n, room.  Rows beyond `rows` get the id -1. */
aios_status run_rows_backward(const aios_plan *plan, const struct instruction *i)
{
    uint64_t rows = (uint64_t)i->number[0], room = (uint64_t)i->number[2];
    if (room > rows) TRY_QUIET(aios_stream_fill(plan->stream, (char *)AT(1) + rows * 4, 0xff, (room - rows) * 4));
    TRY_QUIET(aios_stream_copy(plan->stream, AT(1), AT(3), rows * 4, AIOS_COPY_DEVICE_TO_DEVICE));
    if (plan->storage != AIOS_F32) return launch_cast_to_f32(STREAM, AT(0), AT(2), NUMBER(0) * NUMBER(1));
    return aios_stream_copy(plan->stream, AT(0), AT(2), rows * (uint64_t)i->number[1] * 4, AIOS_COPY_DEVICE_TO_DEVICE);
}

/* y, mask, a, b; rows, n */
aios_status run_select_i32(const aios_plan *plan, const struct instruction *i)
{
    return launch_select_rows_i32(STREAM, AT(0), AT(1), AT(2), AT(3), NUMBER(0), NUMBER(1));
}

/* y, steps, running; n */
aios_status run_halting_steps(const aios_plan *plan, const struct instruction *i)
{
    return launch_halting_steps(STREAM, AT(0), AT(1), AT(2), NUMBER(0));
}

/* running, steps, q, min_steps; n, max_steps, early */
aios_status run_halting_running(const aios_plan *plan, const struct instruction *i)
{
    return launch_halting_running(STREAM, AT(0), AT(1), AT(2), AT(3), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* target, steps, q; n, max_steps */
aios_status run_halting_target(const aios_plan *plan, const struct instruction *i)
{
    return launch_halting_target(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1));
}

/* gates, probabilities, logits, choice; rows, n, chosen */
aios_status run_expert_gates(const aios_plan *plan, const struct instruction *i)
{
    return launch_expert_gates_forward(STREAM, AT(0), AT(1), AT(3), AT(2), NUMBER(0), NUMBER(1), NUMBER(2), i->buffer[3] != 0);
}

/* dx, dy, gates; rows, n, accumulate */
aios_status run_expert_gates_backward(const aios_plan *plan, const struct instruction *i)
{
    return launch_expert_gates_backward(STREAM, AT(0), AT(1), AT(2), NUMBER(0), NUMBER(1), NUMBER(2));
}

/* What the device counted is where its products will write. */
static aios_status check_counts(const int32_t *first, int32_t n, int32_t count)
{
    int sound = first[0] == 0 && first[n] == count;
    for (int32_t e = 0; e < n; e++) sound &= first[e] <= first[e + 1];
    return sound ? AIOS_OK
                 : FAIL(AIOS_INTERNAL, "%d rows of %d experts came back as %d to %d: the device did not count them", (int)count, (int)n,
                        (int)first[0], (int)first[n]);
}

/* place and first of kernels.def behind the choice that the route begins with */
static int32_t *place_in(const struct instruction *i, int32_t *choice)
{
    return choice ? choice + i->number[0] * i->number[2] : NULL;
}

/* route; rows, n, chosen, place in the plan's counts */
aios_status run_expert_route(const aios_plan *plan, const struct instruction *i)
{
    int32_t n = NUMBER(1), count = NUMBER(0) * NUMBER(2), *choice = AT(0), *place = place_in(i, choice), *first = place + count;
    TRY_QUIET(launch_expert_order(STREAM, place, first, choice, count, n));
    TRY_QUIET(stream_fetch(plan->stream, plan->counts + i->number[3], first, ((uint64_t)n + 1) * 4));
    return check_counts(plan->counts + i->number[3], n, count);
}

/* y, x, gates, route; rows, n, chosen, width.  Without a route every row goes to all, without gates it is not weighed. */
aios_status run_expert_spread(const aios_plan *plan, const struct instruction *i)
{
    int32_t *choice = AT(3);
    return launch_expert_spread(STREAM, AT(0), AT(1), AT(2), choice, place_in(i, choice), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3),
                                i->buffer[2] != 0, choice != NULL);
}

/* the same */
aios_status run_expert_collect(const aios_plan *plan, const struct instruction *i)
{
    int32_t *choice = AT(3);
    return launch_expert_collect(STREAM, AT(0), AT(1), AT(2), choice, place_in(i, choice), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3),
                                 i->buffer[2] != 0);
}

/* dgates, dy, x, route; rows, n, chosen, width */
aios_status run_expert_gate_dots(const aios_plan *plan, const struct instruction *i)
{
    int32_t *choice = AT(3);
    return launch_expert_gate_dots(STREAM, AT(0), AT(1), AT(2), choice, place_in(i, choice), NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3),
                                   choice != NULL);
}

#define EXPERT_ROWS 64

/* How many of so many rows go into one product.  A vendor's library looks for the best way of each new shape, which takes longer than a
 * small product: so what counts is cut into a multiple of 64 and a rest, and the shapes are soon all known.  The host needs none. */
static int32_t rows_at_once(const aios_plan *plan, int32_t left)
{
    if (left < EXPERT_ROWS || aios_device_get_info(plan->parameters->device)->host_accessible) return left;
    return left / EXPERT_ROWS * EXPERT_ROWS;
}

/* c, a, b; n, place in the plan's counts, elements between the weights of two experts, 1: c is their gradient, 0: b is they */
aios_status run_expert_product(const aios_plan *plan, const struct instruction *i)
{
    const int32_t *first = plan->counts + i->number[1];
    aios_gemm gemm = i->shape.gemm;
    int64_t element = (int64_t)storage_size(plan->storage);
    for (int32_t e = 0; e < NUMBER(0); e++)
        for (int32_t row = first[e], rows; row < first[e + 1]; row += rows) {
            rows = rows_at_once(plan, first[e + 1] - row);
            gemm.a = (char *)AT(1) + row * gemm.lda * element;
            if (NUMBER(3)) {
                gemm.k = rows;
                gemm.b = (char *)AT(2) + row * gemm.ldb * element;
                gemm.c = (char *)AT(0) + e * i->number[2] * 4;
            } else {
                gemm.m = rows;
                gemm.b = (char *)AT(2) + e * i->number[2] * element;
                gemm.c = (char *)AT(0) + row * gemm.ldc * element;
            }
            TRY_QUIET(aios_stream_gemm(plan->stream, &gemm));
        }
    return AIOS_OK;
}

/* losses, dx, share, targets, scale, partial, sums, gates, probabilities; sequences, length, n, chosen, gradient; weight */
aios_status run_expert_balance(const aios_plan *plan, const struct instruction *i)
{
    int32_t sequences = NUMBER(0), length = NUMBER(1), n = NUMBER(2);
    TRY_QUIET(launch_expert_balance(STREAM, AT(2), AT(0), AT(7), AT(8), AT(3), sequences, length, n, NUMBER(3)));
    if (NUMBER(4)) TRY_QUIET(launch_expert_balance_backward(STREAM, AT(1), AT(8), AT(2), AT(3), AT(4), sequences * length, length, n));
    return i->buffer[6] ? tell_loss(plan, i, sequences * n) : AIOS_OK;
}
