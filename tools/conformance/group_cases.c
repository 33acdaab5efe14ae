/* What a backend may offer beside the kernels: gemm, attention, capture, telemetry, collectives, copies between devices. */
#include "base/os.h"
#include "gpu/host.h"
#include "judge.h"
#include "reference.h"

#include <math.h>
#include <string.h>

static int keep_error(struct runner *runner)
{
    (void)snprintf(runner->error, sizeof runner->error, "%.255s", aios_error_message());
    return -1;
}

/* 0: done.  UNSUPPORTED is an answer: the library then takes its portable kernels. */
static int finish(struct bench *bench, aios_status status)
{
    struct judge *judge = bench->runner->user;
    if (status == AIOS_UNSUPPORTED) bench->unjudged = 1;
    if (status != AIOS_OK) return keep_error(bench->runner);
    return CALL(judge->table->synchronize_stream(judge->handle, judge->stream)) == AIOS_OK ? 0 : keep_error(bench->runner);
}

/* ---- gemm -------------------------------------------------------------------------------------------------------- */

struct gemm_shape {
    int m, n, k, batch, ta, tb, epilogue;
    double beta;
    int packed; /* 1: b is packed before */
};

/* The buffers of one product; aux is what the epilogue says: the sum before gelu, its slope's argument, a bias's gradient. */
struct gemm_case {
    struct gemm_shape shape;
    aios_gemm g;
    struct buffer *a, *b, *c, *bias, *aux, *packed;
    double *want, *want_aux;
};

static int is_bias_gradient(int epilogue)
{
    return epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A || epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_B;
}

/* The column sums of dy as stored: a (k, m) or b (k, n). */
static void reference_bias_gradient(struct gemm_case *x)
{
    int of_a = x->shape.epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A;
    for (size_t i = 0; i < x->aux->count; i++)
        for (int64_t k = 0; k < x->shape.k; k++)
            x->want_aux[i] += of_a ? x->a->values[k * x->g.lda + (int64_t)i] : x->b->values[k * x->g.ldb + (int64_t)i];
}

static void gemm_reference(struct gemm_case *x)
{
    const struct gemm_shape *s = &x->shape;
    const aios_gemm *g = &x->g;
    for (int i = 0; i < s->batch; i++)
        reference_gemm(x->want + i * g->stride_c, x->a->values + i * g->stride_a, x->b->values + i * g->stride_b, s->m, s->n, s->k, g->lda,
                       g->ldb, g->ldc, s->ta, s->tb, (double)g->alpha, (double)g->beta);
    if (is_bias_gradient(s->epilogue)) reference_bias_gradient(x);
    for (int64_t i = 0; i < s->m * g->ldc && s->epilogue; i++) {
        int64_t column = i % g->ldc;
        if (column >= s->n) continue;
        if (x->bias) x->want[i] += x->bias->values[column];
        if (s->epilogue == AIOS_EPILOGUE_RESIDUAL) x->want[i] += x->aux->values[i];
        if (s->epilogue == AIOS_EPILOGUE_BIAS_GELU) x->want_aux[i] = x->want[i], x->want[i] = reference_gelu(x->want[i]);
        if (s->epilogue == AIOS_EPILOGUE_GELU_BACKWARD) x->want[i] *= reference_gelu_slope(x->aux->values[i]);
    }
}

/* Bias, of size 1, gelu and its slope may be taken of what was stored before. */
static double stored_before(const struct gemm_case *x, size_t i)
{
    double step = 1.2 * storage_epsilon(x->c->type);
    switch (x->shape.epilogue) {
    case AIOS_EPILOGUE_BIAS: return step * (fabs(x->want[i]) + 1);
    case AIOS_EPILOGUE_RESIDUAL: return 2 * step * (fabs(x->want[i]) + 3); /* and twice, with a bias */
    case AIOS_EPILOGUE_BIAS_GELU: return step * (fabs(x->want_aux[i]) + 1);
    case AIOS_EPILOGUE_GELU_BACKWARD: return step * fabs(x->want[i]);
    default: return 0;
    }
}

static void expect_gemm(struct bench *bench, const struct gemm_case *x)
{
    double rounding =
        0x1p-24 * x->shape.k * 1.2; /* k products below 1: half a rounding of each partial sum; gelu's slope is at most 1.13 */
    for (size_t i = 0; i < x->c->count; i++) {
        int real = (int64_t)i % x->g.ldc < x->shape.n;
        double before = real ? stored_before(x, i) : 0;
        bench_expect_at(bench, x->c, i, real ? x->want[i] : x->c->values[i], real ? 1e-6 : 0, real ? rounding + before : 0);
        if (x->shape.epilogue == AIOS_EPILOGUE_BIAS_GELU)
            bench_expect_at(bench, x->aux, i, real ? x->want_aux[i] : x->aux->values[i], real ? 1e-6 : 0, real ? rounding + before : 0);
    }
    for (size_t i = 0; is_bias_gradient(x->shape.epilogue) && i < x->aux->count; i++)
        bench_expect_at(bench, x->aux, i, x->want_aux[i], 1e-6, rounding);
}

static void make_gemm(struct bench *bench, int type_ab, int type_c, struct gemm_case *x)
{
    struct gemm_shape s = x->shape;
    aios_gemm g = {.struct_size = sizeof g,
                   .type_ab = type_ab,
                   .type_c = type_c,
                   .transpose_a = s.ta,
                   .transpose_b = s.tb,
                   .m = s.m,
                   .n = s.n,
                   .k = s.k,
                   .batch = s.batch,
                   .epilogue = s.epilogue,
                   .alpha = s.epilogue ? 1.0f : 0.75f,
                   .beta = (float)s.beta};
    g.lda = (s.ta ? s.m : s.k) + 8, g.ldb = (s.tb ? s.k : s.n) + 8, g.ldc = s.n + (s.epilogue ? 0 : 8);
    g.stride_a = g.lda * (s.ta ? s.k : s.m), g.stride_b = g.ldb * (s.tb ? s.n : s.k), g.stride_c = g.ldc * s.m;
    size_t size_c = (size_t)(g.stride_c * s.batch);
    x->a = bench_random(bench, type_ab, (size_t)(g.stride_a * s.batch), -1, 1);
    x->b = bench_random(bench, type_ab, (size_t)(g.stride_b * s.batch), -1, 1);
    x->c = s.beta != 0 ? bench_random(bench, type_c, size_c, -1, 1) : bench_fill(bench, type_c, size_c, NAN);
    if (s.epilogue == AIOS_EPILOGUE_BIAS || s.epilogue == AIOS_EPILOGUE_BIAS_GELU || (s.epilogue == AIOS_EPILOGUE_RESIDUAL && s.tb))
        x->bias = bench_random(bench, type_ab, (size_t)s.n, -1, 1);
    if (s.epilogue == AIOS_EPILOGUE_BIAS_GELU) x->aux = bench_fill(bench, type_c, size_c, NAN);
    if (s.epilogue == AIOS_EPILOGUE_GELU_BACKWARD || s.epilogue == AIOS_EPILOGUE_RESIDUAL)
        x->aux = bench_random(bench, type_c, size_c, -3, 3);
    if (is_bias_gradient(s.epilogue))
        x->aux = bench_fill(bench, AIOS_F32, (size_t)(s.epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A ? s.m : s.n), NAN);
    g.a = x->a->data, g.b = x->b->data, g.c = x->c->data;
    g.bias = x->bias ? x->bias->data : NULL, g.aux = x->aux ? x->aux->data : NULL;
    x->g = g;
    x->want = bench_doubles(bench, size_c);
    x->want_aux = bench_doubles(bench, size_c + (size_t)(s.m + s.n));
}

/* Bytes of b as the backend packs it; 0 where it doesn't. */
static uint64_t packed_size(const struct judge *judge, const aios_gemm *g)
{
    const aios_gemm_group *group = judge->table->gemm;
    if (group->struct_size < sizeof *group || !group->packed_size || !group->pack) return 0;
    return group->packed_size(judge->handle, g);
}

static int multiply(struct judge *judge, struct bench *bench, const aios_gemm *g)
{
    const aios_gemm_group *group = judge->table->gemm;
    aios_status status = AIOS_OK;
    if (g->packed_b) status = CALL(group->pack(judge->handle, judge->stream, g, (void *)(uintptr_t)g->packed_b));
    if (status == AIOS_OK) status = CALL(group->gemm(judge->handle, judge->stream, g));
    return finish(bench, status);
}

static void check_gemm(struct judge *judge, int type_ab, int type_c, struct gemm_shape s)
{
    struct bench bench;
    struct gemm_case x = {.shape = s};
    bench_begin(&bench, &judge->runner, (uint64_t)(s.m + s.n + s.k),
                "%s to %s, %d x %d x %d, batch %d, transposed %d %d, epilogue %d, beta %g%s", storage_name(type_ab), storage_name(type_c),
                s.m, s.n, s.k, s.batch, s.ta, s.tb, s.epilogue, s.beta, s.packed ? ", b packed" : "");
    make_gemm(&bench, type_ab, type_c, &x);
    if (s.packed) x.packed = bench_fill(&bench, AIOS_F32, (size_t)(packed_size(judge, &x.g) + 3) / 4, NAN);
    if (s.packed) x.g.packed_b = x.packed->data;
    int reads_aux = s.epilogue == AIOS_EPILOGUE_GELU_BACKWARD || s.epilogue == AIOS_EPILOGUE_RESIDUAL;
    struct buffer *written[] = {x.c, reads_aux ? NULL : x.aux, x.packed};
    if (bench_upload(&bench, VERDICT_GEMM, "gemm")) {
        int failed = multiply(judge, &bench, &x.g);
        if (!bench.unjudged) bench_download(&bench, type_ab, failed, written, 3);
    }
    if (!bench.unjudged) {
        for (size_t i = 0; i < x.c->count; i++) x.want[i] = x.c->values[i];
        gemm_reference(&x);
        expect_gemm(&bench, &x);
    }
    bench_end(&bench);
}

/* As it is, and with b packed where the backend packs such a b. */
static void check_both(struct judge *judge, int type_ab, int type_c, struct gemm_shape s)
{
    aios_gemm g = {.struct_size = sizeof g,
                   .type_ab = type_ab,
                   .type_c = type_c,
                   .transpose_b = s.tb,
                   .m = 1,
                   .n = s.n,
                   .k = s.k,
                   .batch = 1,
                   .ldb = (s.tb ? s.k : s.n) + 8,
                   .epilogue = s.epilogue};
    check_gemm(judge, type_ab, type_c, s);
    s.packed = s.batch == 1 && packed_size(judge, &g) != 0;
    if (s.packed) check_gemm(judge, type_ab, type_c, s);
}

/* c (m, n / 2) of a packed b. */
static void check_swiglu(struct judge *judge, int type, int m, int n, int k, int tb)
{
    aios_gemm g = {.struct_size = sizeof g, .type_ab = type, .type_c = type, .transpose_b = tb, .m = m, .n = n, .k = k, .batch = 1};
    g.epilogue = AIOS_EPILOGUE_SWIGLU;
    g.alpha = 1.0f;
    g.lda = k + 8, g.ldb = (tb ? k : n) + 8, g.ldc = n / 2 + 8;
    uint64_t size = packed_size(judge, &g);
    if (!size) return;
    struct bench bench;
    bench_begin(&bench, &judge->runner, (uint64_t)(m + n + k), "SwiGLU of %s, %d x %d x %d, transposed %d", storage_name(type), m, n, k,
                tb);
    struct buffer *a = bench_random(&bench, type, (size_t)(g.lda * m), -1, 1);
    struct buffer *b = bench_random(&bench, type, (size_t)(g.ldb * (tb ? n : k)), -1, 1);
    struct buffer *c = bench_fill(&bench, type, (size_t)(g.ldc * m), NAN),
                  *packed = bench_fill(&bench, AIOS_F32, (size_t)(size + 3) / 4, NAN);
    double *sums = bench_doubles(&bench, (size_t)(m * n)), rounding = 0x1p-24 * k * 1.2;
    g.a = a->data, g.b = b->data, g.c = c->data, g.packed_b = packed->data;
    if (bench_upload(&bench, VERDICT_GEMM, "gemm"))
        bench_download(&bench, type, multiply(judge, &bench, &g), (struct buffer *[]){c, packed}, 2);
    reference_gemm(sums, a->values, b->values, m, n, k, g.lda, g.ldb, n, 0, tb, 1, 0);
    for (size_t i = 0; i < c->count; i++) {
        int64_t column = (int64_t)i % g.ldc, at = (int64_t)i / g.ldc * n + column;
        int real = column < n / 2;
        double gate = real ? sums[at] : 0, up = real ? sums[at + n / 2] : 0, want = gate / (1 + exp(-gate)) * up;
        bench_expect_at(&bench, c, i, real ? want : c->values[i], real ? 1e-6 : 0,
                        real ? rounding * (1.1 * fabs(up) + fabs(gate)) + 0x1p-12 * fabs(want) : 0); /* silu's slope is at most 1.1 */
    }
    bench_end(&bench);
}

static void check_epilogues(struct judge *judge, int type, struct gemm_shape s)
{
    uint32_t offered = judge->table->gemm->epilogues;
    for (s.epilogue = AIOS_EPILOGUE_BIAS; s.epilogue < AIOS_EPILOGUE_SWIGLU; s.epilogue++) {
        if (!(offered >> s.epilogue & 1u)) continue;
        if (s.epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A && !s.ta) continue;
        if (s.epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_B && s.tb) continue;
        s.beta = is_bias_gradient(s.epilogue) ? 1 : 0;
        check_both(judge, type, is_bias_gradient(s.epilogue) ? AIOS_F32 : type, s);
    }
    if (offered >> AIOS_EPILOGUE_SWIGLU & 1u && !s.ta) check_swiglu(judge, type, s.m, 128 * (1 + s.n / 128), s.k, s.tb);
}

void gemm_group_cases(struct judge *judge)
{
    static const int sizes[][3] = {{1, 1, 1}, {5, 3, 2}, {64, 64, 64}, {33, 71, 129}, {128, 96, 40}, {1, 200, 64}, {150, 130, 100}};
    for (int type = AIOS_F32; type <= AIOS_F16; type++)
        for (size_t i = 0; i < (judge->brief ? 4 : sizeof sizes / sizeof sizes[0]) && runner_has(&judge->runner, type); i++)
            for (int t = 0; t < 4; t++) {
                struct gemm_shape s = {sizes[i][0], sizes[i][1], sizes[i][2], 1, t & 1, t >> 1, AIOS_EPILOGUE_NONE, 0, 0};
                check_epilogues(judge, type, s);
                check_both(judge, type, type, s);
                if (type != AIOS_F32) check_both(judge, type, AIOS_F32, s);
                s.beta = 0.5;
                check_both(judge, type, type, s);
                check_gemm(judge, type, AIOS_F32, s);
                s.batch = 3;
                check_gemm(judge, type, type, s);
            }
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* Scores are sums of d products of size 1 times scale, a rounding of which enters the exponent; sums over kv_len terms.  A fused kernel may
 * round the probabilities to the storage type before it multiplies them with v, of size 1.5: that is the last term. */
#define FORWARD_TOLERANCE(storage)  (4e-6 + ((storage) == AIOS_F32 ? 0 : 2 * storage_epsilon(storage)))
#define BACKWARD_TOLERANCE(storage) (2e-5 + ((storage) == AIOS_F32 ? 0 : 2 * storage_epsilon(storage)))

static aios_attention describe(int type, const struct reference_attention *a)
{
    aios_attention d = {.struct_size = sizeof d,
                        .type = type,
                        .batch = a->batch,
                        .heads = a->heads,
                        .kv_heads = a->kv_heads,
                        .head_size = a->d,
                        .q_len = a->q_len,
                        .kv_len = a->kv_len,
                        .kv_capacity = a->kv_capacity,
                        .causal = a->causal,
                        .q_stride = a->q_stride,
                        .kv_stride = a->kv_stride,
                        .out_stride = a->y_stride,
                        .scale = (float)a->scale};
    return d;
}

struct attention_buffers {
    size_t q_size, kv_size, y_size, rows;
    struct buffer *q, *k, *v, *y, *lse, *workspace;
    double *want, *want_lse;
};

static struct attention_buffers make_buffers(struct judge *judge, struct bench *bench, int type, const struct reference_attention *a,
                                             aios_attention *d, int backward)
{
    struct attention_buffers b = {.q_size = (size_t)(a->batch * a->q_len * a->q_stride),
                                  .kv_size = (size_t)(a->batch * a->kv_capacity * a->kv_stride),
                                  .y_size = (size_t)(a->batch * a->q_len * a->y_stride),
                                  .rows = (size_t)(a->batch * a->heads * a->q_len)};
    b.q = bench_random(bench, type, b.q_size, -1.5, 1.5);
    b.k = bench_random(bench, type, b.kv_size, -1.5, 1.5);
    b.v = bench_random(bench, type, b.kv_size, -1.5, 1.5);
    b.y = bench_random(bench, type, b.y_size, -2, 2);
    b.lse = bench_fill(bench, AIOS_F32, b.rows, NAN);
    uint64_t size = judge->table->attention->workspace_size(judge->handle, d, backward);
    b.workspace = size ? bench_fill(bench, AIOS_F32, (size_t)(size + 3) / 4, NAN) : NULL;
    b.want = bench_doubles(bench, b.y_size);
    b.want_lse = bench_doubles(bench, b.rows);
    memcpy(b.want, b.y->values, b.y_size * sizeof *b.want); /* between the heads nothing is written */
    reference_attention(b.want, b.want_lse, b.q->values, b.k->values, b.v->values, a);
    d->q = b.q->data, d->k = b.k->data, d->v = b.v->data, d->out = b.y->data, d->lse = b.lse->data;
    d->workspace = b.workspace ? b.workspace->data : NULL;
    return b;
}

static void check_forward(struct judge *judge, int type, struct reference_attention a)
{
    struct bench bench;
    bench_begin(&bench, &judge->runner, (uint64_t)(a.d + a.q_len), "%s, heads %d/%d of %d, q %d, kv %d/%d, causal %d, start %d",
                storage_name(type), a.heads, a.kv_heads, a.d, a.q_len, a.kv_len, a.kv_capacity, a.causal, a.start);
    aios_attention d = describe(type, &a);
    struct buffer *start = a.start ? bench_fill(&bench, AIOS_I32, 1, a.start) : NULL;
    d.start = start ? start->data : NULL;
    struct attention_buffers b = make_buffers(judge, &bench, type, &a, &d, 0);
    struct buffer *written[] = {b.y, b.lse, b.workspace};
    if (bench_upload(&bench, VERDICT_ATTENTION_FORWARD, "attention.forward")) {
        int failed = finish(&bench, CALL(judge->table->attention->forward(judge->handle, judge->stream, &d)));
        if (!bench.unjudged) bench_download(&bench, type, failed, written, b.workspace ? 3 : 2);
    }
    bench_expect(&bench, b.lse, b.want_lse, 4e-6, 4e-6);
    bench_expect(&bench, b.y, b.want, FORWARD_TOLERANCE(type), FORWARD_TOLERANCE(type));
    bench_end(&bench);
}

static void check_backward(struct judge *judge, int type, struct reference_attention a)
{
    struct bench bench;
    bench_begin(&bench, &judge->runner, (uint64_t)(a.d + a.q_len), "%s, heads %d/%d of %d, q %d, kv %d/%d, causal %d", storage_name(type),
                a.heads, a.kv_heads, a.d, a.q_len, a.kv_len, a.kv_capacity, a.causal);
    aios_attention d = describe(type, &a);
    struct attention_buffers b = make_buffers(judge, &bench, type, &a, &d, 1);
    struct buffer *dy = bench_random(&bench, type, b.y_size, -2, 2), *dq = bench_random(&bench, type, b.q_size, -2, 2);
    struct buffer *dk = bench_random(&bench, type, b.kv_size, -2, 2), *dv = bench_random(&bench, type, b.kv_size, -2, 2);
    struct buffer *written[] = {dq, dk, dv, b.workspace};
    double *want_q = bench_doubles(&bench, b.q_size), *want_k = bench_doubles(&bench, b.kv_size),
           *want_v = bench_doubles(&bench, b.kv_size);
    double *delta = bench_doubles(&bench, b.rows);
    for (size_t i = 0; i < b.y_size; i++) bench_set(b.y, i, b.want[i]);
    for (size_t i = 0; i < b.rows; i++) bench_set(b.lse, i, b.want_lse[i]);
    d.d_out = dy->data, d.d_q = dq->data, d.d_k = dk->data, d.d_v = dv->data;
    reference_attention_backward(want_q, want_k, want_v, delta, dy->values, b.q->values, b.k->values, b.v->values, &a);
    if (bench_upload(&bench, VERDICT_ATTENTION_BACKWARD, "attention.backward")) {
        int failed = finish(&bench, CALL(judge->table->attention->backward(judge->handle, judge->stream, &d)));
        if (!bench.unjudged) bench_download(&bench, type, failed, written, b.workspace ? 4 : 3);
    }
    /* What errors are relative to: a gradient's size, roughly; out was rounded to its type, which enters dq and dk through delta. */
    double size = a.scale * a.d * 2 * sqrt(a.kv_len), tolerance = BACKWARD_TOLERANCE(type);
    for (size_t i = 0; i < b.q_size; i++) {
        int real = (int)(i % (size_t)a.q_stride) < a.heads * a.d;
        bench_expect_at(&bench, dq, i, real ? want_q[i] : dq->values[i], real ? tolerance : 0, real ? tolerance * size : 0);
    }
    for (size_t i = 0; i < b.kv_size; i++) {
        int position = (int)(i / (size_t)a.kv_stride) % a.kv_capacity;
        int real = (int)(i % (size_t)a.kv_stride) < a.kv_heads * a.d && position < a.kv_len;
        bench_expect_at(&bench, dk, i, real ? want_k[i] : dk->values[i], real ? tolerance : 0, real ? tolerance * size * a.heads : 0);
        bench_expect_at(&bench, dv, i, real ? want_v[i] : dv->values[i], real ? tolerance : 0, real ? tolerance * 4 * a.heads : 0);
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

void attention_group_cases(struct judge *judge)
{
    static const int head_sizes[] = {8, 33, 64, 128};
    for (int type = AIOS_F32; type <= AIOS_F16; type++)
        for (size_t i = 0; i < sizeof head_sizes / sizeof head_sizes[0] && runner_has(&judge->runner, type); i++) {
            int d = head_sizes[i], length = judge->brief ? 35 : 70;
            for (int causal = 0; causal < 2; causal++) {
                check_forward(judge, type, shape(2, 2, d, 9, 9, causal, 0));
                check_backward(judge, type, shape(2, 2, d, 9, 9, causal, 0));
                struct reference_attention a = shape(4, 2, d, length, length, causal, 0); /* shared key heads, parts of a packed row */
                a.q_stride = a.kv_stride = (4 + 2 * 2) * d;
                check_forward(judge, type, a);
                check_backward(judge, type, a);
            }
            struct reference_attention a = shape(3, 1, d, 1, 50, 1, 40); /* one new token and a cache */
            a.kv_capacity = 60;
            check_forward(judge, type, a);
        }
}

/* ---- copies between devices -------------------------------------------------------------------------------------- */

void peer_copy(struct judge *judge)
{
    enum { SIZE = 300007 };
    int32_t count = 0;
    void *other = NULL, *from = NULL;
    if (!judge->table->copy_peer) {
        judge_unoffered(judge, "copy_peer is NULL");
        return;
    }
    unsigned char *host[2] = {judge_plain_memory(judge, SIZE), judge_plain_memory(judge, SIZE)};
    void *stream = judge_stream(judge), *to = judge_memory(judge, SIZE);
    NEED(host[0] && host[1] && stream && to);
    MUST(judge->backend->device_count(&count));
    MUST(judge->table->open(count > 1 ? (judge->index + 1) % count : judge->index, &other));
    aios_status status = CALL(judge->table->alloc(other, SIZE, &from));
    void *its_stream = NULL;
    if (status == AIOS_OK) status = CALL(judge->table->create_stream(other, &its_stream));
    judge_pattern(judge, 1, host[0], SIZE);
    if (status == AIOS_OK) status = CALL(judge->table->copy(other, its_stream, from, host[0], SIZE, AIOS_COPY_HOST_TO_DEVICE));
    if (status == AIOS_OK) status = CALL(judge->table->synchronize_stream(other, its_stream));
    if (status == AIOS_OK) status = CALL(judge->table->copy_peer(judge->handle, stream, to, other, from, SIZE));
    if (status == AIOS_UNSUPPORTED)
        judge_unoffered(judge, "%s", aios_error_message());
    else if (status != AIOS_OK)
        judge_fail(judge, "copying from device %d to device %d failed: %s", (int)(count > 1 ? (judge->index + 1) % count : judge->index),
                   (int)judge->index, aios_error_message());
    else if (judge_download(judge, stream, host[1], to, SIZE) && judge_differs(host[0], host[1], SIZE) != SIZE)
        judge_fail(judge, "byte %zu of %d is wrong after copy_peer", judge_differs(host[0], host[1], SIZE), SIZE);
    if (its_stream) judge->table->destroy_stream(other, its_stream);
    if (from) judge->table->free(other, from);
    judge->table->close(other);
}

/* ---- capture ----------------------------------------------------------------------------------------------------- */

#define CAPTURED 5000

/* y = 3 x by a kernel, z = y by a copy, w by a fill. */
static void submit_captured(struct judge *judge, void *stream, void *const memory[4])
{
    int32_t rows = 1, n = CAPTURED, accumulate = 0;
    float factor = 3.0f;
    const void *arguments[] = {&memory[1], &memory[0], &rows, &n, &factor, &accumulate};
    MUST(judge->table->launch(judge->handle, stream, kernel_index(KERNEL_scale_add, AIOS_F32), 4, arguments));
    MUST(judge->table->copy(judge->handle, stream, memory[2], memory[1], CAPTURED * 4, AIOS_COPY_DEVICE_TO_DEVICE));
    MUST(judge->table->fill(judge->handle, stream, memory[3], 0x3f800000u, CAPTURED * 4));
}

static void replay_and_look(struct judge *judge, void *stream, void *const memory[4], float *host, void *recording)
{
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < CAPTURED; i++) host[i] = (float)(i + round);
        NEED(judge_upload(judge, stream, memory[0], host, CAPTURED * 4));
        MUST(judge->table->fill(judge->handle, stream, memory[3], 0, CAPTURED * 4));
        MUST(judge->table->capture->replay(judge->handle, stream, recording));
        NEED(judge_download(judge, stream, host, memory[2], CAPTURED * 4));
        for (int i = 0; i < CAPTURED; i++)
            EXPECT(host[i] == 3.0f * (float)(i + round), "replay %d: element %d is %g, not %g", round, i, (double)host[i],
                   3.0 * (double)(i + round));
        NEED(judge_download(judge, stream, host, memory[3], CAPTURED * 4));
        for (int i = 0; i < CAPTURED; i++) EXPECT(host[i] == 1.0f, "replay %d: the last thing recorded, a fill, was not done", round);
    }
}

void capture_replay(struct judge *judge)
{
    const aios_capture_group *capture = judge->table->capture;
    void *stream = judge_stream(judge), *memory[4], *recording = NULL;
    float *host = judge_plain_memory(judge, CAPTURED * 4);
    if (!capture) {
        judge_unoffered(judge, "there is no capture group");
        return;
    }
    NEED(stream && host);
    for (int i = 0; i < 4; i++) {
        NEED(memory[i] = judge_memory(judge, CAPTURED * 4));
        MUST(judge->table->fill(judge->handle, stream, memory[i], 0, CAPTURED * 4));
    }
    EXPECT(device_load_kernels(judge->device) == AIOS_OK, "load_kernels failed: %s", aios_error_message());
    NEED(judge_wait(judge, stream));
    MUST(capture->begin(judge->handle, stream));
    submit_captured(judge, stream, memory);
    MUST(capture->end(judge->handle, stream, &recording));
    EXPECT(recording, "capture end succeeded and gave no recording");
    if (!judge->failed && judge_download(judge, stream, host, memory[3], CAPTURED * 4) && host[0] != 0.0f)
        judge_fail(judge, "what was recorded was also done at once");
    if (!judge->failed) replay_and_look(judge, stream, memory, host, recording);
    (void)CALL(judge->table->synchronize_stream(judge->handle, stream));
    capture->destroy(judge->handle, recording);
}

/* ---- telemetry, collectives -------------------------------------------------------------------------------------- */

void telemetry_ranges(struct judge *judge)
{
    aios_telemetry t = {.struct_size = sizeof t, .utilisation = -1, .temperature = -1, .power = -1, .power_limit = -1};
    if (!judge->table->telemetry) {
        judge_unoffered(judge, "there is no telemetry group");
        return;
    }
    aios_status status = CALL(judge->table->telemetry->read(judge->handle, &t));
    if (status == AIOS_UNSUPPORTED || status == AIOS_UNAVAILABLE) {
        judge_unoffered(judge, "%s", aios_error_message());
        return;
    }
    EXPECT(status == AIOS_OK, "read failed: %s", aios_error_message());
    EXPECT(t.utilisation <= 100, "utilisation is %g %%", (double)t.utilisation);
    EXPECT(t.temperature <= 150, "temperature is %g degrees", (double)t.temperature);
    EXPECT(t.power <= 5000 && t.power_limit <= 5000, "power is %g of %g watts", (double)t.power, (double)t.power_limit);
}

/* Asks until it is done.  0: it failed, or is not done within ten seconds. */
static int through(struct judge *judge, void *stream, void *communicator)
{
    double until = os_now() + 10;
    int32_t done = 0;
    while (!done && os_now() < until) {
        if (CALL(judge->table->collectives->query(judge->handle, stream, communicator, &done)) != AIOS_OK) {
            judge_fail(judge, "query failed: %s", aios_error_message());
            return 0;
        }
        if (!done) os_sleep(0.0002);
    }
    if (!done) judge_fail(judge, "a collective of one rank is not done after 10 s");
    return done;
}

static void run_one_rank(struct judge *judge, void *stream, void *communicator, void *buffer, uint64_t count)
{
    const aios_collective_group *group = judge->table->collectives;
    const uint64_t offsets[] = {0, count};
    void *device = judge->handle;
    NEED(through(judge, stream, communicator));
    MUST(group->all_reduce(device, stream, communicator, buffer, count, AIOS_F32));
    NEED(through(judge, stream, communicator));
    MUST(group->broadcast(device, stream, communicator, buffer, count, AIOS_F32, 0));
    NEED(through(judge, stream, communicator));
    MUST(group->reduce_scatter(device, stream, communicator, buffer, offsets, AIOS_F32));
    NEED(through(judge, stream, communicator));
    MUST(group->all_gather(device, stream, communicator, buffer, offsets, AIOS_F32));
    NEED(through(judge, stream, communicator));
}

void collectives_one_rank(struct judge *judge)
{
    enum { COUNT = 1001 };
    const aios_collective_group *group = judge->table->collectives;
    uint8_t id[AIOS_COLLECTIVE_ID_BYTES];
    char version[64] = "";
    void *communicator = NULL;
    float *host[2] = {judge_plain_memory(judge, COUNT * 4), judge_plain_memory(judge, COUNT * 4)};
    if (!group) {
        judge_unoffered(judge, "there is no group of collectives");
        return;
    }
    void *stream = judge_stream(judge), *buffer = judge_memory(judge, COUNT * 4);
    NEED(host[0] && host[1] && stream && buffer);
    for (int i = 0; i < COUNT; i++) host[0][i] = (float)i * 0.5f;
    NEED(judge_upload(judge, stream, buffer, host[0], COUNT * 4));
    aios_status status = CALL(group->get_version(judge->handle, version, sizeof version));
    if (status == AIOS_UNSUPPORTED || status == AIOS_UNAVAILABLE) {
        judge_unoffered(judge, "%s", aios_error_message());
        return;
    }
    EXPECT(status == AIOS_OK && version[0], "get_version failed: %s", aios_error_message());
    MUST(group->get_unique_id(judge->handle, id));
    MUST(group->create(judge->handle, id, 0, 1, &communicator));
    run_one_rank(judge, stream, communicator, buffer, COUNT);
    if (!judge->failed && judge_download(judge, stream, host[1], buffer, COUNT * 4) &&
        judge_differs(host[0], host[1], COUNT * 4) != COUNT * 4)
        judge_fail(judge, "a collective of one rank changed the values");
    group->destroy(judge->handle, communicator);
}
