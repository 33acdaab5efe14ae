/* layernorm and rmsnorm, forward and backward */
#include "reference.h"
#include "runner.h"

#include <math.h>

static const int sizes[][2] = {{1, 1}, {1, 257}, {3, 2}, {5, 33}, {23, 64}, {17, 300}, {9, 1100}, {3, 2500}};
static const uint32_t team_counts[] = {1, 3, 8};
static const int part_counts[] = {1, 4, 7};
#define SIZES (int)(sizeof sizes / sizeof sizes[0])
#define EPS   1e-5

/* Sums of n f32 terms may run in any order, one by one in a build without vectors: about sqrt(n) roundings remain. */
#define TOLERANCE (1e-6 + 2 * sqrt(n) * 0x1p-24)

static void check_layernorm(struct runner *runner, int s, int rows, int n, double centre)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, centre %g", rows, n, centre);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, centre - 2, centre + 2), *w = bench_random(&bench, s, (size_t)n, -2, 2);
    struct buffer *b = bench_random(&bench, s, (size_t)n, -2, 2), *y = bench_fill(&bench, s, total, NAN);
    struct buffer *mean = bench_fill(&bench, AIOS_F32, (size_t)rows, NAN), *rstd = bench_fill(&bench, AIOS_F32, (size_t)rows, NAN);
    double *want = bench_doubles(&bench, total), *m = bench_doubles(&bench, (size_t)rows), *r = bench_doubles(&bench, (size_t)rows);
    run_layernorm_forward(&bench, s, team_counts[n % 3], y, mean, rstd, x, w, b, rows, n, (float)EPS);
    for (int i = 0; i < rows; i++)
        reference_layernorm(want + i * n, m + i, r + i, x->values + i * n, w->values, b->values, n, (double)(float)EPS);
    bench_expect(&bench, mean, m, TOLERANCE, 1e-6);
    bench_expect(&bench, rstd, r, n == 1 ? 1e-6 : TOLERANCE * (1 + fabs(centre)), 0); /* x - mean loses what the mean lost */
    if (n > 1) bench_expect(&bench, y, want, TOLERANCE, 2 * TOLERANCE * (1 + fabs(centre)) * 4);
    bench_end(&bench);
}

static void check_layernorm_backward(struct runner *runner, int s, int rows, int n, int parts, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, parts %d, accumulate %d", rows, n, parts, accumulate);
    size_t total = (size_t)rows * (size_t)n, part_size = (size_t)parts * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -2, 2), *w = bench_random(&bench, s, (size_t)n, -2, 2);
    struct buffer *dy = bench_random(&bench, s, total, -2, 2), *mean = bench_fill(&bench, AIOS_F32, (size_t)rows, 0);
    struct buffer *rstd = bench_fill(&bench, AIOS_F32, (size_t)rows, 0);
    struct buffer *dx = accumulate ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    struct buffer *pw = bench_fill(&bench, AIOS_F32, part_size, NAN), *pb = bench_fill(&bench, AIOS_F32, part_size, NAN);
    double *want = bench_doubles(&bench, total), *dw = bench_doubles(&bench, part_size), *db = bench_doubles(&bench, part_size);
    double *y = bench_doubles(&bench, (size_t)n), largest = 1;
    for (int p = 0; p < parts; p++)
        for (int r = rows * p / parts; r < rows * (p + 1) / parts; r++) {
            double m, q;
            reference_layernorm(y, &m, &q, x->values + r * n, NULL, NULL, n, EPS);
            bench_set(mean, (size_t)r, m);
            bench_set(rstd, (size_t)r, q);
            largest = fmax(largest, q);
            reference_layernorm_backward(want + r * n, dw + p * n, db + p * n, dy->values + r * n, x->values + r * n, w->values, n, EPS);
        }
    for (size_t i = 0; accumulate && i < total; i++) want[i] += dx->values[i];
    run_layernorm_backward(&bench, s, team_counts[n % 3], dx, pw, pb, dy, x, w, mean, rstd, rows, n, parts, accumulate);
    bench_expect(&bench, dx, want, TOLERANCE, TOLERANCE * 8 * largest); /* rstd times differences of terms up to 4 */
    bench_expect(&bench, pw, dw, TOLERANCE, TOLERANCE * 4 * rows * (n == 1 ? largest : 1));
    bench_expect(&bench, pb, db, TOLERANCE, TOLERANCE * 2 * rows);
    bench_end(&bench);
}

static void check_rmsnorm(struct runner *runner, int s, int rows, int n, int use_w)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, use_w %d", rows, n, use_w);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -2, 2), *w = use_w ? bench_random(&bench, s, (size_t)n, -2, 2) : NULL;
    struct buffer *y = bench_fill(&bench, s, total, NAN), *rstd = bench_fill(&bench, AIOS_F32, (size_t)rows, NAN);
    double *want = bench_doubles(&bench, total), *r = bench_doubles(&bench, (size_t)rows);
    run_rmsnorm_forward(&bench, s, team_counts[n % 3], y, rstd, x, w, rows, n, (float)EPS, use_w);
    for (int i = 0; i < rows; i++) reference_rmsnorm(want + i * n, r + i, x->values + i * n, w ? w->values : NULL, n, (double)(float)EPS);
    bench_expect(&bench, rstd, r, TOLERANCE, 0);
    bench_expect(&bench, y, want, TOLERANCE, 0);
    bench_end(&bench);
}

static void check_rmsnorm_backward(struct runner *runner, int s, int rows, int n, int parts, int use_w, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, parts %d, use_w %d, accumulate %d", rows, n, parts, use_w,
                accumulate);
    size_t total = (size_t)rows * (size_t)n, part_size = (size_t)parts * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, 0.25, 2), *w = use_w ? bench_random(&bench, s, (size_t)n, -2, 2) : NULL;
    struct buffer *dy = bench_random(&bench, s, total, -2, 2), *rstd = bench_fill(&bench, AIOS_F32, (size_t)rows, 0);
    struct buffer *dx = accumulate ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    struct buffer *pw = use_w ? bench_fill(&bench, AIOS_F32, part_size, NAN) : NULL;
    double *want = bench_doubles(&bench, total), *dw = bench_doubles(&bench, part_size), *y = bench_doubles(&bench, (size_t)n);
    for (int p = 0; p < parts; p++)
        for (int r = rows * p / parts; r < rows * (p + 1) / parts; r++) {
            double q;
            reference_rmsnorm(y, &q, x->values + r * n, NULL, n, EPS);
            bench_set(rstd, (size_t)r, q);
            reference_rmsnorm_backward(want + r * n, dw + p * n, dy->values + r * n, x->values + r * n, w ? w->values : NULL, n, EPS);
        }
    for (size_t i = 0; accumulate && i < total; i++) want[i] += dx->values[i];
    run_rmsnorm_backward(&bench, s, team_counts[n % 3], dx, pw, dy, x, w, rstd, rows, n, parts, use_w, accumulate);
    bench_expect(&bench, dx, want, TOLERANCE, TOLERANCE * 32); /* rstd up to 4 times differences of terms up to 4 */
    if (use_w) bench_expect(&bench, pw, dw, TOLERANCE, TOLERANCE * 4 * rows);
    bench_end(&bench);
}

void norm_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int i = 0; i < SIZES; i++) {
            int rows = sizes[i][0], n = sizes[i][1];
            if (runner_skips(runner, rows, n)) continue;
            check_layernorm(runner, s, rows, n, 0);
            check_layernorm(runner, s, rows, n, 30); /* the variance must not be mean(x^2) - mean^2 */
            for (int use_w = 0; use_w < 2; use_w++) check_rmsnorm(runner, s, rows, n, use_w);
            for (int k = 0; k < 6; k++) {
                check_layernorm_backward(runner, s, rows, n, part_counts[k % 3], k & 1);
                check_rmsnorm_backward(runner, s, rows, n, part_counts[k % 3], k / 3, k & 1);
            }
        }
    }
}
