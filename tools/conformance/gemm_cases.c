/* gemm, gemm_f32 */
#include "reference.h"
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 40}; /* many teams and few tiles: the smaller tiles */

static void check_gemm(struct runner *runner, int s, int wide, const int *size, int batch, int ta, int tb, double beta)
{
    struct bench bench;
    int m = size[0], n = size[1], k = size[2];
    bench_begin(&bench, runner, (uint64_t)(m + n + k), "wide %d, %d times %d x %d x %d, transposed %d %d, beta %g", wide, batch, m, n, k,
                ta, tb, beta);
    int lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    int stride_a = lda * (ta ? k : m) + 5, stride_b = ldb * (tb ? n : k), stride_c = ldc * m + 1;
    struct buffer *a = bench_random(&bench, s, (size_t)(stride_a * batch), -1, 1);
    struct buffer *b = bench_random(&bench, s, (size_t)(stride_b * batch), -1, 1);
    struct buffer *c = beta != 0 ? bench_random(&bench, wide ? AIOS_F32 : s, (size_t)(stride_c * batch), -1, 1)
                                 : bench_fill(&bench, wide ? AIOS_F32 : s, (size_t)(stride_c * batch), NAN); /* beta 0 does not read */
    double *want = bench_doubles(&bench, c->count);
    for (size_t i = 0; i < c->count; i++) want[i] = c->values[i]; /* between the rows nothing is written */
    for (int i = 0; i < batch; i++)
        reference_gemm(want + i * stride_c, a->values + i * stride_a, b->values + i * stride_b, m, n, k, lda, ldb, ldc, ta, tb, 0.75, beta);
    if (wide)
        run_gemm_f32(&bench, s, team_counts[m % 3], c, a, b, m, n, k, batch, lda, ldb, ldc, stride_a, stride_b, stride_c, ta, tb, 0.75f,
                     (float)beta);
    else
        run_gemm(&bench, s, team_counts[m % 3], c, a, b, m, n, k, batch, lda, ldb, ldc, stride_a, stride_b, stride_c, ta, tb, 0.75f,
                 (float)beta);
    bench_expect(&bench, c, want, 1e-6, 0x1p-24 * k); /* k products below 1: half a rounding of each partial sum */
    bench_end(&bench);
}

void gemm_cases(struct runner *runner)
{
    static const int sizes[][3] = {{1, 1, 1},    {5, 3, 2},    {1, 70, 33},     {65, 1, 17},
                                   {50, 45, 37}, {64, 64, 64}, {150, 130, 100}, {33, 71, 129}};
    EACH_STORAGE(s)
    {
        for (int i = 0; i < (runner->brief ? 6 : 8); i++)
            for (int t = 0; t < 4; t++)
                for (int wide = 0; wide < 2; wide++) {
                    check_gemm(runner, s, wide, sizes[i], 1, t & 1, t >> 1, 0);
                    check_gemm(runner, s, wide, sizes[i], i < 5 ? 3 : 1, t & 1, t >> 1, 0.5);
                }
    }
}
