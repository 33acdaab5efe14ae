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

/* f16 by the processor's own instruction where it has it: the compilers don't find it in a loop. */
#if defined(__F16C__)
#include <immintrin.h>
INLINE_ i32 widen_f16(f32 *to, const u16 *from, i32 n)
{
    i32 i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + i))));
    return i;
}

INLINE_ i32 narrow_f16(u16 *to, const f32 *from, i32 n)
{
    i32 i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}
#else
INLINE_ i32 widen_f16(f32 *to, const u16 *from, i32 n)
{
    (void)to, (void)from, (void)n;
    return 0;
}

INLINE_ i32 narrow_f16(u16 *to, const f32 *from, i32 n)
{
    (void)to, (void)from, (void)n;
    return 0;
}
#endif

INLINE_ void widen_row(f32 *restrict to, const void *restrict from, i32 n, i32 type)
{
    i32 begin = type == VECTOR_F16 ? widen_f16(to, (const u16 *)from, n) : 0;
    SIMD_ for (i32 i = begin; i < n; i++) to[i] = get(from, i, type);
}

INLINE_ void narrow_row(void *restrict to, const f32 *restrict from, i32 n, i32 type)
{
    i32 begin = type == VECTOR_F16 ? narrow_f16((u16 *)to, from, n) : 0;
    SIMD_ for (i32 i = begin; i < n; i++) put(to, i, from[i], type);
}

INLINE_ void widen_as(f32 *to, i64 ld_to, const void *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) widen_row(to + r * ld_to, row_of(from, ld_from, r, type), n, type);
}

static void widen(f32 *to, i64 ld_to, const void *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    BY_TYPE_(type, widen_as, to, ld_to, from, ld_from, rows, n);
}

INLINE_ void narrow_as(void *to, i64 ld_to, const f32 *from, i64 ld_from, i32 rows, i32 n, i32 type)
{
    for (i32 r = 0; r < rows; r++) narrow_row((char *)row_of(to, ld_to, r, type), from + r * ld_from, n, type);
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

#define CHUNK 256 /* columns that wait in f32 for their conversion */

/* f32 is finished in place; the 16-bit types a chunk at a time, so that the conversion is a loop of its own. */
static void finish_chunk(const cpu_finish *a, i32 row, i32 begin, i32 n)
{
    f32 pre_chunk[CHUNK], out_chunk[CHUNK];
    i32 wide = a->type == VECTOR_F32;
    i64 at = (row * a->ldc + begin) * (wide ? 4 : 2);
    char *c = (char *)a->c + at, *aux = a->aux ? (char *)a->aux + at : c;
    const f32 *sum = a->sum + row * a->ld_sum + begin, *bias = a->bias ? a->bias + begin : sum;
    f32 *out = wide ? (f32 *)(void *)c : out_chunk, *pre = wide ? (f32 *)(void *)aux : pre_chunk;
    if (a->aux) {
        SIMD_ for (i32 i = 0; i < n; i++)
        {
            f32 x = sum[i] + bias[i];
            pre[i] = x;
            out[i] = gelu(x);
        }
    } else if (a->bias) {
        SIMD_ for (i32 i = 0; i < n; i++) out[i] = sum[i] + bias[i];
    } else if (a->beta != 0.0f) {
        if (!wide) widen(out, 0, c, 0, 1, n, a->type);
        SIMD_ for (i32 i = 0; i < n; i++) out[i] = sum[i] + a->beta * out[i];
    } else {
        SIMD_ for (i32 i = 0; i < n; i++) out[i] = sum[i];
    }
    if (wide) return;
    narrow(c, 0, out, 0, 1, n, a->type);
    if (a->aux) narrow(aux, 0, pre, 0, 1, n, a->type);
}

static void finish(const cpu_finish *a)
{
    for (i32 row = 0; row < a->rows; row++)
        for (i32 begin = 0; begin < a->n; begin += CHUNK) finish_chunk(a, row, begin, a->n - begin < CHUNK ? a->n - begin : CHUNK);
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
