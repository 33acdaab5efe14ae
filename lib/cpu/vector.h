/* vector.h (internal): the loops that stand around oneDNN's matrix products in gemm and attention, compiled once per
 * instruction set as the kernels are.  Matrices are rows of `ld` elements; type is AIOS_F32, AIOS_BF16 or AIOS_F16. */
#ifndef AIOS_CPU_VECTOR_H
#define AIOS_CPU_VECTOR_H

#include <stdint.h>

/* c = sum + beta * c, or with bias (n, f32): pre = sum + bias, stored to aux where that is given, and c = gelu(pre) or pre.
 * sum may be c or aux, where they are f32. */
typedef struct cpu_finish {
    const float *sum;
    int64_t ld_sum;
    void *c, *aux;
    int64_t ldc; /* of aux too */
    const float *bias;
    int32_t rows, n, type;
    float beta;
} cpu_finish;

/* A block of scores (rows, n) against keys; row r sees its first `seen + r * step` keys of the block (clamped to 0 … n). */
typedef struct cpu_scores {
    float *s;
    int64_t ld;
    int32_t rows, n, seen, step;
} cpu_scores;

typedef struct cpu_vector {
    void (*widen)(float *to, int64_t ld_to, const void *from, int64_t ld_from, int32_t rows, int32_t n, int32_t type);
    void (*narrow)(void *to, int64_t ld_to, const float *from, int64_t ld_from, int32_t rows, int32_t n, int32_t type);
    void (*finish)(const cpu_finish *finish);

    /* Online softmax (Milakov, Gimelshein, 2018): s becomes exp(s - top), unseen keys 0; top and sum (rows) are brought up
     * to date and the rows of out (rows, d) are scaled to the new top.  first: there is nothing before this block. */
    void (*softmax)(const cpu_scores *scores, float *top, float *sum, float *out, int64_t ld_out, int32_t d, int32_t first);
    /* s becomes p = exp(s - lse), dp becomes scale * p * (dp - delta), both 0 where unseen. */
    void (*softmax_backward)(const cpu_scores *scores, float *dp, const float *lse, const float *delta, float scale);
    /* to[r] = from[r] / sum[r], stored as type. */
    void (*divide)(void *to, int64_t ld_to, const float *from, int64_t ld_from, const float *sum, int32_t rows, int32_t n, int32_t type);
    /* lse[r] = top[r] + log(sum[r]). */
    void (*log_sum)(float *lse, const float *top, const float *sum, int32_t rows);
    /* dots[r] = sum over i of a[r][i] * b[r][i]. */
    void (*dots)(float *dots, const void *a, int64_t ld_a, const void *b, int64_t ld_b, int32_t rows, int32_t n, int32_t type);
} cpu_vector;

extern const cpu_vector cpu_vector_baseline;
#if defined(__x86_64__) || defined(_M_X64)
extern const cpu_vector cpu_vector_avx2;
extern const cpu_vector cpu_vector_avx512;
#endif

#endif
