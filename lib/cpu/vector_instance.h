/* vector_instance.h: the functions of vector.h for one instruction set.  A generated source defines CPU_INSTANCE and
 * includes this.  Each body is written once and made for f32, bf16 and f16 by inlining with a constant type. */
#include "cpu/vector.h"
#include "kernels/dialect.h"

#define INLINE_ static inline __attribute__((always_inline))
enum { VECTOR_F32 = 0, VECTOR_BF16 = 1, VECTOR_F16 = 2 };

INLINE_ const char *row_of(const void *base, i64 ld, i32 row, i32 type)
{
    return (const char *)base + (i64)row * ld * (type == VECTOR_F32 ? 4 : 2);
}

INLINE_ f32 get(const void *row, i32 i, i32 type)
{
    if (type == VECTOR_F32) return ((const f32 *)row)[i];
    return type == VECTOR_BF16 ? load_bf16((const bf16 *)row, i) : load_f16((const f16 *)row, i);
}

INLINE_ void put(void *row, i32 i, f32 value, i32 type)
{
    if (type == VECTOR_F32)
        ((f32 *)row)[i] = value;
    else if (type == VECTOR_BF16)
        store_bf16((bf16 *)row, i, value);
    else
        store_f16((f16 *)row, i, value);
}

#define SIMD_ K_PRAGMA(omp simd)
/* Calls body with each type as a constant. */
#define BY_TYPE_(type, body, ...)                                                                                                          \
    do {                                                                                                                                   \
        if ((type) == VECTOR_F32)                                                                                                          \
            body(__VA_ARGS__, VECTOR_F32);                                                                                                 \
        else if ((type) == VECTOR_BF16)                                                                                                    \
            body(__VA_ARGS__, VECTOR_BF16);                                                                                                \
        else                                                                                                                               \
            body(__VA_ARGS__, VECTOR_F16);                                                                                                 \
    } while (0)

/* ---- conversions ------------------------------------------------------------------------------------------------- */

INLINE_ void widen_as(f32 *to, i64 ld_to, const void *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) {
        f32 *restrict t = to + r * ld_to;
        const char *restrict f = row_of(from, ld_from, r, type);
        SIMD_ for (i32 i = 0; i < n; i++) t[i] = get(f, i, type);
    }
}

static void widen(f32 *to, i64 ld_to, const void *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    BY_TYPE_(type, widen_as, to, ld_to, from, ld_from, rows, n);
}

INLINE_ void narrow_as(void *to, i64 ld_to, const f32 *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) {
        char *restrict t = (char *)row_of(to, ld_to, r, type);
        const f32 *restrict f = from + r * ld_from;
        SIMD_ for (i32 i = 0; i < n; i++) put(t, i, f[i], type);
    }
}

static void narrow(void *to, i64 ld_to, const f32 *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    BY_TYPE_(type, narrow_as, to, ld_to, from, ld_from, rows, n);
}

/* ---- the end of a gemm ------------------------------------------------------------------------------------------- */

/* 0.5 x (1 + tanh(z / 2)) = x / (1 + exp(-z)), z = 2 sqrt(2/pi) (x + 0.044715 x^3), with an exponent that is never positive. */
INLINE_ f32 gelu(f32 x)
{
    f32 z = 1.5957691216f * x * (1.0f + 0.044715f * x * x);
    f32 e = EXP(z < 0.0f ? z : -z);
    return x * (z < 0.0f ? e : 1.0f) / (1.0f + e);
}

INLINE_ void finish_as(const cpu_finish *a, i32 with_gelu, i32 with_bias, i32 type)
{
    for (i32 r = 0; r < a->rows; r++) {
        const f32 *sum = a->sum + r * a->ld_sum, *bias = a->bias;
        char *c = (char *)row_of(a->c, a->ldc, r, type), *aux = with_gelu ? (char *)row_of(a->aux, a->ldc, r, type) : c;
        if (with_gelu) {
            SIMD_ for (i32 i = 0; i < a->n; i++)
            {
                f32 pre = sum[i] + bias[i];
                put(aux, i, pre, type);
                put(c, i, gelu(pre), type);
            }
        } else if (with_bias) {
            SIMD_ for (i32 i = 0; i < a->n; i++) put(c, i, sum[i] + bias[i], type);
        } else if (a->beta != 0.0f) {
            SIMD_ for (i32 i = 0; i < a->n; i++) put(c, i, sum[i] + a->beta * get(c, i, type), type);
        } else {
            SIMD_ for (i32 i = 0; i < a->n; i++) put(c, i, sum[i], type);
        }
    }
}

static void finish(const cpu_finish *a)
{
    if (a->aux)
        BY_TYPE_(a->type, finish_as, a, 1, 1);
    else if (a->bias)
        BY_TYPE_(a->type, finish_as, a, 0, 1);
    else
        BY_TYPE_(a->type, finish_as, a, 0, 0);
}

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

INLINE_ i32 seen_by(const cpu_scores *a, i32 row)
{
    i32 seen = a->seen + row * a->step;
    return seen < 0 ? 0 : seen > a->n ? a->n : seen;
}

INLINE_ f32 row_max(const f32 *s, i32 n)
{
    f32 top = -3.4e38f;
    K_PRAGMA(omp simd reduction(max : top)) for (i32 i = 0; i < n; i++) top = s[i] > top ? s[i] : top;
    return top;
}

static void softmax(const cpu_scores *a, f32 *top, f32 *sum, f32 *out, i64 ld_out, i32 d, i32 first)
{
    for (i32 r = 0; r < a->rows; r++) {
        f32 *s = a->s + r * a->ld, *o = out + r * ld_out, total = 0.0f;
        i32 n = seen_by(a, r);
        f32 peak = row_max(s, n);
        if (!first && top[r] > peak) peak = top[r];
        K_PRAGMA(omp simd reduction(+ : total)) for (i32 i = 0; i < n; i++)
        {
            s[i] = EXP(s[i] - peak);
            total += s[i];
        }
        for (i32 i = n; i < a->n; i++) s[i] = 0.0f;
        if (!first) {
            f32 shrink = EXP(top[r] - peak);
            total += sum[r] * shrink;
            if (shrink != 1.0f) SIMD_ for (i32 i = 0; i < d; i++) o[i] *= shrink;
        }
        top[r] = peak;
        sum[r] = total;
    }
}

static void softmax_backward(const cpu_scores *a, f32 *dp, const f32 *lse, const f32 *delta, f32 scale)
{
    for (i32 r = 0; r < a->rows; r++) {
        f32 *restrict p = a->s + r * a->ld, *restrict g = dp + r * a->ld;
        f32 l = lse[r], mean = delta[r];
        i32 n = seen_by(a, r);
        SIMD_ for (i32 i = 0; i < n; i++)
        {
            f32 e = EXP(p[i] - l);
            p[i] = e;
            g[i] = scale * e * (g[i] - mean);
        }
        for (i32 i = n; i < a->n; i++) p[i] = g[i] = 0.0f;
    }
}

INLINE_ void divide_as(void *to, i64 ld_to, const f32 *from, i64 ld_from, const f32 *sum, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) {
        char *t = (char *)row_of(to, ld_to, r, type);
        const f32 *f = from + r * ld_from;
        f32 inverse = 1.0f / sum[r];
        SIMD_ for (i32 i = 0; i < n; i++) put(t, i, f[i] * inverse, type);
    }
}

static void divide(void *to, i64 ld_to, const f32 *from, i64 ld_from, const f32 *sum, i32 rows, i32 n, i32 type)
{
    BY_TYPE_(type, divide_as, to, ld_to, from, ld_from, sum, rows, n);
}

static void log_sum(f32 *lse, const f32 *top, const f32 *sum, i32 rows)
{
    for (i32 r = 0; r < rows; r++) lse[r] = top[r] + logf(sum[r]);
}

INLINE_ void dots_as(f32 *dots, const void *a, i64 ld_a, const void *b, i64 ld_b, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) {
        const char *x = row_of(a, ld_a, r, type), *y = row_of(b, ld_b, r, type);
        f32 total = 0.0f;
        K_PRAGMA(omp simd reduction(+ : total)) for (i32 i = 0; i < n; i++) total += get(x, i, type) * get(y, i, type);
        dots[r] = total;
    }
}

static void dots(f32 *to, const void *a, i64 ld_a, const void *b, i64 ld_b, i32 rows, i32 n, i32 type)
{
    BY_TYPE_(type, dots_as, to, a, ld_a, b, ld_b, rows, n);
}

const cpu_vector K_CAT(cpu_vector_, CPU_INSTANCE) = {widen, narrow, finish, softmax, softmax_backward, divide, log_sum, dots};
