/* gelu, bias_gelu, swiglu and their gradients */
#include "reference.h"
#include "runner.h"

#include <math.h>

static const int sizes[][2] = {{1, 1}, {1, 257}, {3, 1}, {5, 33}, {2, 4099}, {17, 300}};
static const uint32_t team_counts[] = {1, 3, 8};
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

/* exp within 1.5 ulp, some ten roundings: relative where nothing cancels; slopes cross zero, so they have an absolute part too */
#define VALUE_TOLERANCE 1e-6
#define SLOPE_TOLERANCE 1e-6

/* The tails where a formula with tanh cancels or overflows. */
static void put_tails(struct buffer *x)
{
    static const double tails[] = {0, -0.5, -3, -4.5, -5.5, 5.5, -9, 12, 19.9, -20.1, 1e-6, -1e-6, 100, -100, 1000, -1000, 30000, -30000};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0] && i < x->count; i++) bench_set(x, i, tails[i]);
}

static void check_gelu(struct runner *runner, int s, int rows, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d", rows, n);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -6, 6), *y = bench_fill(&bench, s, total, NAN);
    double *want = bench_doubles(&bench, total);
    put_tails(x);
    run_gelu_forward(&bench, s, team_counts[n % 3], y, x, rows, n);
    /* x enters the exponent: an ulp of 2u there is |2u| 2^-24 of the result; the tail below -5 is tiny */
    for (size_t i = 0; i < total; i++)
        bench_expect_at(&bench, y, i, want[i] = reference_gelu(x->values[i]), VALUE_TOLERANCE, x->values[i] < -2 ? 1e-7 : 0);
    bench_end(&bench);
}

static void check_gelu_backward(struct runner *runner, int s, int rows, int n, int mode) /* 1 accumulates, 2 in place */
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, mode %d", rows, n, mode);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -6, 6), *dy = bench_random(&bench, s, total, -2, 2);
    struct buffer *dx = mode == 2 ? dy : mode == 1 ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    double *want = bench_doubles(&bench, total);
    put_tails(x);
    run_gelu_backward(&bench, s, team_counts[n % 3], dx, dy, x, rows, n, mode == 1);
    for (size_t i = 0; i < total; i++) want[i] = dy->values[i] * reference_gelu_slope(x->values[i]) + (mode == 1 ? dx->values[i] : 0);
    bench_expect(&bench, dx, want, SLOPE_TOLERANCE, 2 * SLOPE_TOLERANCE);
    bench_end(&bench);
}

static void check_bias_gelu(struct runner *runner, int s, int rows, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d", rows, n);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *pre = bench_random(&bench, s, total, -3, 3), *bias = bench_random(&bench, s, (size_t)n, -2, 2);
    struct buffer *y = bench_fill(&bench, s, total, NAN);
    run_bias_gelu(&bench, s, team_counts[n % 3], y, pre, bias, rows, n);
    for (size_t i = 0; i < total; i++) {
        double sum = pre->values[i] + bias->values[i % (size_t)n];
        bench_expect_at(&bench, pre, i, sum, 0x1p-23, 0);
        /* y may be computed before the sum is rounded to its type or after; the slope of gelu is below 1.13 */
        bench_expect_at(&bench, y, i, reference_gelu(sum), VALUE_TOLERANCE, 1e-6 + 1.2 * storage_epsilon(s) * fabs(sum));
    }
    bench_end(&bench);
}

static void check_swiglu(struct runner *runner, int s, int rows, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d", rows, n);
    struct buffer *x = bench_random(&bench, s, (size_t)rows * (size_t)n * 2, -6, 6),
                  *y = bench_fill(&bench, s, (size_t)rows * (size_t)n, NAN);
    double *want = bench_doubles(&bench, y->count);
    bench_set(x, 0, -80);
    run_swiglu_forward(&bench, s, team_counts[n % 3], y, x, rows, n);
    for (int r = 0; r < rows; r++) reference_swiglu(want + r * n, x->values + 2 * r * n, n);
    bench_expect(&bench, y, want, VALUE_TOLERANCE, 1e-30);
    bench_end(&bench);
}

static void check_swiglu_backward(struct runner *runner, int s, int rows, int n, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, accumulate %d", rows, n, accumulate);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, 2 * total, -6, 6), *dy = bench_random(&bench, s, total, -2, 2);
    struct buffer *dx = accumulate ? bench_random(&bench, s, 2 * total, -2, 2) : bench_fill(&bench, s, 2 * total, NAN);
    double *want = bench_doubles(&bench, 2 * total);
    put_tails(x);
    run_swiglu_backward(&bench, s, team_counts[n % 3], dx, dy, x, rows, n, accumulate);
    for (int r = 0; r < rows; r++) reference_swiglu_backward(want + 2 * r * n, dy->values + r * n, x->values + 2 * r * n, n);
    for (size_t i = 0; i < 2 * total; i++) want[i] += accumulate ? dx->values[i] : 0;
    bench_expect(&bench, dx, want, SLOPE_TOLERANCE, 6 * 2 * SLOPE_TOLERANCE); /* dy times up */
    bench_end(&bench);
}

static void check_not_finite(struct runner *runner, int s)
{
    struct bench bench;
    bench_begin(&bench, runner, 1, "NaN and infinity");
    struct buffer *x = bench_random(&bench, s, 40, -1, 1), *y = bench_fill(&bench, s, 40, 0);
    bench_set(x, 3, NAN);
    bench_set(x, 5, INFINITY);
    run_gelu_forward(&bench, s, 2, y, x, 1, 40);
    bench_check(&bench, isnan(bench_get(y, 3)) && bench_get(y, 5) == INFINITY && isfinite(bench_get(y, 4)));
    run_swiglu_forward(&bench, s, 2, y, x, 1, 20);
    bench_check(&bench, isnan(bench_get(y, 3)) && !isfinite(bench_get(y, 5)) && isfinite(bench_get(y, 4)));
    bench_end(&bench);
}

void activation_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        check_not_finite(runner, s);
        for (int i = 0; i < SIZES; i++) {
            int rows = sizes[i][0], n = sizes[i][1];
            if (runner_skips(runner, rows, n)) continue;
            check_gelu(runner, s, rows, n);
            for (int mode = 0; mode < 3; mode++) check_gelu_backward(runner, s, rows, n, mode);
            check_bias_gelu(runner, s, rows, n);
            check_swiglu(runner, s, rows, n);
            for (int accumulate = 0; accumulate < 2; accumulate++) check_swiglu_backward(runner, s, rows, n, accumulate);
        }
    }
}
