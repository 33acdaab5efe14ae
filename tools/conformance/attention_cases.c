/* attention, forward and backward: any head size, masks, shared key heads, a cache with a start, strides wider than the heads */
#include "reference.h"
#include "runner.h"

#include <math.h>
#include <string.h>

static const uint32_t team_counts[] = {1, 3, 8};

/* Scores are sums of d products of size 1 times scale, a rounding of which enters the exponent; sums over kv_len terms. */
#define FORWARD_TOLERANCE  4e-6
#define BACKWARD_TOLERANCE 2e-5

/* The stored y and lse stand in for exact ones, and p is rounded nowhere: what a storage type adds is the rounding of dq, dk, dv. */
static void check_attention(struct runner *runner, int s, struct reference_attention a)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(a.d + a.q_len), "batch %d, heads %d/%d of %d, q %d, kv %d/%d, causal %d, start %d", a.batch,
                a.heads, a.kv_heads, a.d, a.q_len, a.kv_len, a.kv_capacity, a.causal, a.start);
    int use_start = a.start > 0;
    size_t q_size = (size_t)(a.batch * a.q_len * a.q_stride), kv_size = (size_t)(a.batch * a.kv_capacity * a.kv_stride);
    size_t y_size = (size_t)(a.batch * a.q_len * a.y_stride), rows = (size_t)(a.batch * a.heads * a.q_len);
    struct buffer *q = bench_random(&bench, s, q_size, -1.5, 1.5), *k = bench_random(&bench, s, kv_size, -1.5, 1.5);
    struct buffer *v = bench_random(&bench, s, kv_size, -1.5, 1.5), *y = bench_random(&bench, s, y_size, -2, 2);
    struct buffer *lse = bench_fill(&bench, AIOS_F32, rows, NAN), *start = use_start ? bench_fill(&bench, AIOS_I32, 1, a.start) : NULL;
    double *want = bench_doubles(&bench, y_size), *want_lse = bench_doubles(&bench, rows);
    memcpy(want, y->values, y_size * sizeof *want); /* between the heads nothing is written */
    reference_attention(want, want_lse, q->values, k->values, v->values, &a);
    run_attention_forward(&bench, s, team_counts[a.d % 3], y, lse, q, k, v, start, a.batch, a.heads, a.kv_heads, a.d, a.q_len, a.kv_len,
                          a.kv_capacity, a.q_stride, a.kv_stride, a.y_stride, a.causal, use_start, (float)a.scale);
    bench_expect(&bench, lse, want_lse, FORWARD_TOLERANCE, FORWARD_TOLERANCE);
    bench_expect(&bench, y, want, FORWARD_TOLERANCE, FORWARD_TOLERANCE);
    bench_end(&bench);
}

static void check_attention_backward(struct runner *runner, int s, struct reference_attention a)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(a.d + a.q_len), "batch %d, heads %d/%d of %d, q %d, kv %d/%d, causal %d", a.batch, a.heads,
                a.kv_heads, a.d, a.q_len, a.kv_len, a.kv_capacity, a.causal);
    size_t q_size = (size_t)(a.batch * a.q_len * a.q_stride), kv_size = (size_t)(a.batch * a.kv_capacity * a.kv_stride);
    size_t y_size = (size_t)(a.batch * a.q_len * a.y_stride), rows = (size_t)(a.batch * a.heads * a.q_len);
    struct buffer *q = bench_random(&bench, s, q_size, -1.5, 1.5), *k = bench_random(&bench, s, kv_size, -1.5, 1.5);
    struct buffer *v = bench_random(&bench, s, kv_size, -1.5, 1.5), *dy = bench_random(&bench, s, y_size, -2, 2);
    struct buffer *y = bench_fill(&bench, s, y_size, 0), *lse = bench_fill(&bench, AIOS_F32, rows, 0);
    struct buffer *delta = bench_fill(&bench, AIOS_F32, rows, NAN), *dq = bench_random(&bench, s, q_size, -2, 2);
    struct buffer *dk = bench_random(&bench, s, kv_size, -2, 2), *dv = bench_random(&bench, s, kv_size, -2, 2);
    double *out = bench_doubles(&bench, y_size), *log_sum = bench_doubles(&bench, rows), *want_delta = bench_doubles(&bench, rows);
    double *want_q = bench_doubles(&bench, q_size), *want_k = bench_doubles(&bench, kv_size), *want_v = bench_doubles(&bench, kv_size);
    reference_attention(out, log_sum, q->values, k->values, v->values, &a);
    for (size_t i = 0; i < y_size; i++) bench_set(y, i, out[i]);
    for (size_t i = 0; i < rows; i++) bench_set(lse, i, log_sum[i]);
    run_attention_delta(&bench, s, team_counts[a.d % 3], delta, dy, y, a.batch, a.heads, a.d, a.q_len, a.y_stride);
    reference_attention_backward(want_q, want_k, want_v, want_delta, dy->values, q->values, k->values, v->values, &a);
    bench_expect(&bench, delta, want_delta, 1e-5, a.d * 2 * (1e-6 + 1.5 * storage_epsilon(s))); /* y was rounded to its type */
    for (size_t i = 0; i < rows; i++) bench_set(delta, i, want_delta[i]);
    memcpy(out, dq->values, q_size * sizeof *out > y_size * sizeof *out ? y_size * sizeof *out : q_size * sizeof *out);
    run_attention_backward_q(&bench, s, team_counts[a.d % 3], dq, dy, q, k, v, lse, delta, a.batch, a.heads, a.kv_heads, a.d, a.q_len,
                             a.kv_len, a.kv_capacity, a.q_stride, a.kv_stride, a.y_stride, a.causal, (float)a.scale);
    double size = a.scale * a.d * 2 * sqrt(a.kv_len); /* of a gradient, roughly: what errors are relative to */
    for (size_t i = 0; i < q_size; i++)
        bench_expect_at(&bench, dq, i, (int)(i % (size_t)a.q_stride) < a.heads * a.d ? want_q[i] : dq->values[i], BACKWARD_TOLERANCE,
                        BACKWARD_TOLERANCE * size);
    run_attention_backward_kv(&bench, s, team_counts[a.q_len % 3], dk, dv, dy, q, k, v, lse, delta, a.batch, a.heads, a.kv_heads, a.d,
                              a.q_len, a.kv_len, a.kv_capacity, a.q_stride, a.kv_stride, a.y_stride, a.causal, (float)a.scale);
    for (size_t i = 0; i < kv_size; i++) {
        int position = (int)(i / (size_t)a.kv_stride) % a.kv_capacity;
        int real = (int)(i % (size_t)a.kv_stride) < a.kv_heads * a.d && position < a.kv_len;
        bench_expect_at(&bench, dk, i, real ? want_k[i] : dk->values[i], BACKWARD_TOLERANCE, BACKWARD_TOLERANCE * size * a.heads);
        bench_expect_at(&bench, dv, i, real ? want_v[i] : dv->values[i], BACKWARD_TOLERANCE, BACKWARD_TOLERANCE * 4 * a.heads);
    }
    bench_end(&bench);
}

static struct reference_attention shape(int heads, int kv_heads, int d, int q_len, int kv_len, int causal, int start)
{
    struct reference_attention a = {2,         heads,        kv_heads,  d,      q_len, kv_len,     kv_len,
                                    heads * d, kv_heads * d, heads * d, causal, start, 1 / sqrt(d)};
    a.scale = (double)(float)a.scale;
    return a;
}

void attention_cases(struct runner *runner)
{
    static const int head_sizes[] = {1, 8, 33, 64, 128};
    EACH_STORAGE(s)
    {
        for (int i = 0; i < 5; i++) {
            int d = head_sizes[i], length = runner->brief ? 35 : 70;
            if ((runner->brief && d == 128 && s != AIOS_F32) || (runner->brief > 1 && d != 33)) continue;
            for (int causal = 0; causal < 2; causal++) {
                struct reference_attention a = shape(2, 2, d, 9, 9, causal, 0);
                check_attention(runner, s, a);
                check_attention_backward(runner, s, a);
                a = shape(4, 2, d, length, length, causal, 0); /* several tiles, shared key heads, parts of a packed row */
                a.q_stride = a.kv_stride = (4 + 2 * 2) * d;
                a.y_stride = 4 * d + 3;
                check_attention(runner, s, a);
                check_attention_backward(runner, s, a);
            }
            struct reference_attention a = shape(3, 1, d, 1, 50, 1, 40); /* one new token and a cache */
            a.kv_capacity = 60;
            check_attention(runner, s, a);
            a.q_len = 7;
            a.start = 33;
            check_attention(runner, s, a);
        }
        check_attention(runner, s, shape(1, 1, 16, 1, 1, 1, 0));
        check_attention_backward(runner, s, shape(1, 1, 16, 1, 1, 1, 0));
        check_attention_backward(runner, s, shape(2, 1, 24, 5, 75, 0, 0)); /* fewer queries than keys */
        check_attention_backward(runner, s, shape(2, 1, 24, 5, 75, 1, 0)); /* keys that nobody sees: gradient 0 */
        if (!runner->brief) check_attention_backward(runner, s, shape(2, 2, 65, 200, 200, 1, 0));
    }
}
