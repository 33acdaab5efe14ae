#include "stand_in_gemm.h"

#include <aios/backend.h>

#include "kernels/dialect.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t sizes[] = {[AIOS_F32] = 4, [AIOS_BF16] = 2, [AIOS_F16] = 2};

static float load(const void *from, int type, int64_t at)
{
    return type == AIOS_F32 ? load_f32(from, at) : type == AIOS_BF16 ? load_bf16(from, at) : load_f16(from, at);
}

static void store(void *to, int type, int64_t at, float value)
{
    if (type == AIOS_F32)
        store_f32(to, at, value);
    else if (type == AIOS_BF16)
        store_bf16(to, at, value);
    else
        store_f16(to, at, value);
}

/* Bytes from the first to the last element. */
static uint64_t extent(int type, int64_t rows, int64_t columns, int64_t ld, int64_t batch, int64_t stride)
{
    return (uint64_t)((columns - 1) * ld + rows + (batch - 1) * stride) * sizes[type];
}

struct extents {
    uint64_t a, b, c, bias, aux; /* 0: not used */
};

static struct extents measure(const stand_in_gemm *g)
{
    int64_t bias = g->epilogue == STAND_IN_SUM_B ? g->n : g->epilogue == STAND_IN_NOTHING || g->epilogue == STAND_IN_GELU_SLOPE ? 0 : g->m;
    int has_aux = g->epilogue == STAND_IN_BIAS_GELU || g->epilogue == STAND_IN_GELU_SLOPE;
    return (struct extents){
        extent(g->type_ab, g->transpose_a ? g->k : g->m, g->transpose_a ? g->m : g->k, g->lda, g->batch, g->stride_a),
        extent(g->type_ab, g->transpose_b ? g->n : g->k, g->transpose_b ? g->k : g->n, g->ldb, g->batch, g->stride_b),
        extent(g->type_c, g->m, g->n, g->ldc, g->batch, g->stride_c),
        (uint64_t)bias * sizes[g->type_c],
        has_aux ? extent(g->type_c, g->m, g->n, g->ld_aux, 1, 0) : 0,
    };
}

/* (rows, depth) of an operand, each row dense: element (r, d) is at r * row + d * deep. */
static void pack(float *to, const void *from, int type, int64_t at, int64_t rows, int64_t depth, int64_t row, int64_t deep)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < depth; d++) to[r * depth + d] = load(from, type, at + r * row + d * deep);
}

static float dot(const float *x, const float *y, int64_t n)
{
    float sum = 0;
    K_PRAGMA(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

static float gelu_slope(float x)
{
    float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x);
}

/* The device's addresses as the host's. */
struct operands {
    const void *a, *b;
    void *c, *bias, *aux;
};

static float finish(const stand_in_gemm *g, const struct operands *o, int64_t m, int64_t n, float value)
{
    int64_t at = n * g->ld_aux + m;
    if (g->epilogue == STAND_IN_BIAS || g->epilogue == STAND_IN_BIAS_GELU) value += load(o->bias, g->type_c, m);
    if (g->epilogue == STAND_IN_GELU_SLOPE) value *= gelu_slope(load(o->aux, g->type_c, at));
    if (g->epilogue != STAND_IN_BIAS_GELU) return value;
    store(o->aux, g->type_c, at, value);
    return gelu(value);
}

static void sum_rows(void *to, int type, const float *from, int64_t rows, int64_t depth)
{
    for (int64_t r = 0; r < rows; r++) {
        float sum = 0;
        for (int64_t d = 0; d < depth; d++) sum += from[r * depth + d];
        store(to, type, r, sum);
    }
}

static const char *multiply(vendor_device *device, void *payload)
{
    const stand_in_gemm *g = payload;
    const struct extents bytes = measure(g);
    const struct operands o = {vendor_bytes(device, g->a, bytes.a), vendor_bytes(device, g->b, bytes.b),
                               vendor_bytes(device, g->c, bytes.c), bytes.bias ? vendor_bytes(device, g->bias, bytes.bias) : NULL,
                               bytes.aux ? vendor_bytes(device, g->aux, bytes.aux) : NULL};
    if (!o.a || !o.b || !o.c || (bytes.bias && !o.bias) || (bytes.aux && !o.aux)) return vendor_reason();
    float *rows = malloc((size_t)(g->m * g->k) * sizeof *rows), *columns = malloc((size_t)(g->n * g->k) * sizeof *columns);
    for (int64_t i = 0; i < g->batch; i++) {
        pack(rows, o.a, g->type_ab, i * g->stride_a, g->m, g->k, g->transpose_a ? g->lda : 1, g->transpose_a ? 1 : g->lda);
        pack(columns, o.b, g->type_ab, i * g->stride_b, g->n, g->k, g->transpose_b ? 1 : g->ldb, g->transpose_b ? g->ldb : 1);
        for (int64_t n = 0; n < g->n; n++)
            for (int64_t m = 0; m < g->m; m++) {
                int64_t at = i * g->stride_c + n * g->ldc + m;
                float value = g->alpha * dot(rows + m * g->k, columns + n * g->k, g->k);
                if (g->beta != 0.0f) value += g->beta * load(o.c, g->type_c, at);
                store(o.c, g->type_c, at, finish(g, &o, m, n, value));
            }
        if (g->epilogue == STAND_IN_SUM_A) sum_rows(o.bias, g->type_c, rows, g->m, g->k);
        if (g->epilogue == STAND_IN_SUM_B) sum_rows(o.bias, g->type_c, columns, g->n, g->k);
    }
    free(rows);
    free(columns);
    return NULL;
}

vendor_status stand_in_gemm_submit(vendor_stream *stream, const char *what, const stand_in_gemm *g)
{
    vendor_device *device = vendor_stream_device(stream);
    if (g->m < 1 || g->n < 1 || g->k < 1 || g->batch < 1 || g->lda < (g->transpose_a ? g->k : g->m) ||
        g->ldb < (g->transpose_b ? g->n : g->k) || g->ldc < g->m) {
        vendor_complain(device, "%s: a shape that can't be: m %lld, n %lld, k %lld, lda %lld, ldb %lld, ldc %lld", what, (long long)g->m,
                        (long long)g->n, (long long)g->k, (long long)g->lda, (long long)g->ldb, (long long)g->ldc);
        return VENDOR_INVALID;
    }
    const struct extents bytes = measure(g);
    vendor_status status = vendor_check(device, what, g->a, bytes.a);
    if (status == VENDOR_OK) status = vendor_check(device, what, g->b, bytes.b);
    if (status == VENDOR_OK) status = vendor_check(device, what, g->c, bytes.c);
    if (status == VENDOR_OK && bytes.bias) status = vendor_check(device, what, g->bias, bytes.bias);
    if (status == VENDOR_OK && bytes.aux) status = vendor_check(device, what, g->aux, bytes.aux);
    if (status != VENDOR_OK) return status;
    stand_in_gemm *kept = malloc(sizeof *kept);
    *kept = *g;
    return vendor_submit(stream, what, multiply, free, kept);
}
