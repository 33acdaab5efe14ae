/* add, period_sum, scale_add, copy_strided, select_rows, bias_add, casts */
#include "runner.h"

#include <math.h>

/* rows, n: tiny, odd, around a pack, a block of 4,096 and a team's width */
static const int sizes[][2] = {{1, 1}, {1, 257}, {3, 1}, {5, 33}, {7, 64}, {2, 4099}, {17, 300}, {9, 1031}};
static const uint32_t team_counts[] = {1, 3, 8};
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

/* One addition or product of f32: its rounding. */
#define ONE_ROUNDING 0x1p-23

static void check_add(struct runner *runner, int s, int rows, int n, int period, int in_place)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows * 7 + n + period), "rows %d, n %d, period %d, in place %d", rows, n, period, in_place);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *a = bench_random(&bench, s, total, -2, 2), *b = bench_random(&bench, s, (size_t)period * (size_t)n, -2, 2);
    struct buffer *y = in_place == 1 ? a : in_place == 2 ? b : bench_fill(&bench, s, total, NAN);
    double *want = bench_doubles(&bench, total);
    run_add(&bench, s, team_counts[rows % 3], y, a, b, rows, n, period);
    for (size_t i = 0; i < total; i++) want[i] = a->values[i] + b->values[i % ((size_t)period * (size_t)n)];
    bench_expect(&bench, y, want, ONE_ROUNDING, 0);
    bench_end(&bench);
}

static void check_period_sum(struct runner *runner, int s, int rows, int n, int period)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, period %d", rows, n, period);
    struct buffer *in = bench_random(&bench, s, (size_t)rows * (size_t)n, -2, 2);
    struct buffer *out = bench_random(&bench, AIOS_F32, (size_t)period * (size_t)n, -2, 2);
    double *want = bench_doubles(&bench, out->count);
    run_period_sum(&bench, s, team_counts[n % 3], out, in, rows, n, period);
    for (size_t i = 0; i < out->count; i++) want[i] = out->values[i];
    for (size_t i = 0; i < in->count; i++) want[i % out->count] += in->values[i];
    bench_expect(&bench, out, want, 0, ONE_ROUNDING * 2 * (rows / period + 2)); /* terms below 2, one rounding each */
    bench_end(&bench);
}

static void check_scale_add(struct runner *runner, int s, int rows, int n, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + 3 * n), "rows %d, n %d, accumulate %d", rows, n, accumulate);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -2, 2);
    struct buffer *y = accumulate ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    double *want = bench_doubles(&bench, total);
    run_scale_add(&bench, s, team_counts[n % 3], y, x, rows, n, 0.37f, accumulate);
    for (size_t i = 0; i < total; i++) want[i] = (accumulate ? y->values[i] : 0) + (double)0.37f * x->values[i];
    bench_expect(&bench, y, want, ONE_ROUNDING, ONE_ROUNDING);
    bench_end(&bench);
}

static void check_copy_strided(struct runner *runner, int s, int n, int accumulate)
{
    enum { GROUPS = 3, ROWS = 5 };
    int64_t y_row = n + 3, y_group = y_row * ROWS + 7, x_row = n + 1, x_group = x_row * (ROWS + 2);
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "groups %d, rows %d, n %d, accumulate %d", GROUPS, ROWS, n, accumulate);
    struct buffer *x = bench_random(&bench, s, (size_t)(x_group * GROUPS), -2, 2);
    struct buffer *y = bench_random(&bench, s, (size_t)(y_group * GROUPS), -2, 2);
    double *want = bench_doubles(&bench, y->count);
    run_copy_strided(&bench, s, team_counts[n % 3], y, x, GROUPS, ROWS, n, y_group, y_row, x_group, x_row, accumulate);
    for (size_t i = 0; i < y->count; i++) want[i] = y->values[i]; /* what lies between the rows stays */
    for (int g = 0; g < GROUPS; g++)
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < n; i++) {
                double *to = &want[g * y_group + r * y_row + i];
                *to = (accumulate ? *to : 0) + x->values[g * x_group + r * x_row + i];
            }
    bench_expect(&bench, y, want, ONE_ROUNDING, 0);
    bench_end(&bench);
}

static void check_select_rows(struct runner *runner, int s, int n, int use_a, int use_b)
{
    enum { ROWS = 12, PERIOD = 3, B_PERIOD = 4 };
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "rows %d, n %d, use %d %d", ROWS, n, use_a, use_b);
    struct buffer *mask = bench_indices(&bench, ROWS / PERIOD, 2), *y = bench_fill(&bench, s, (size_t)(ROWS * n), NAN);
    bench_set(mask, 0, 0);
    bench_set(mask, 1, 1);
    struct buffer *a = use_a ? bench_random(&bench, s, (size_t)(ROWS * n), -2, 2) : NULL;
    struct buffer *b = use_b ? bench_random(&bench, s, (size_t)(B_PERIOD * n), -2, 2) : NULL;
    double *want = bench_doubles(&bench, y->count);
    run_select_rows(&bench, s, team_counts[n % 3], y, mask, a, b, ROWS, n, PERIOD, B_PERIOD, use_a, use_b);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < n; i++) {
            int first = mask->values[r / PERIOD] != 0;
            want[r * n + i] = first ? (a ? a->values[r * n + i] : 0) : (b ? b->values[r % B_PERIOD * n + i] : 0);
        }
    bench_expect(&bench, y, want, 0, 0);
    bench_end(&bench);
}

static void check_bias_add(struct runner *runner, int s, int rows, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "rows %d, n %d", rows, n);
    struct buffer *x = bench_random(&bench, s, (size_t)rows * (size_t)n, -2, 2), *bias = bench_random(&bench, s, (size_t)n, -2, 2);
    double *want = bench_doubles(&bench, x->count);
    run_bias_add(&bench, s, team_counts[n % 3], x, bias, rows, n);
    for (size_t i = 0; i < x->count; i++) want[i] = x->values[i] + bias->values[i % (size_t)n];
    bench_expect(&bench, x, want, ONE_ROUNDING, 0);
    bench_end(&bench);
}

/* Every class of number: ties, subnormals, the largest, what rounds to infinity, infinities, NaN. */
static void check_casts(struct runner *runner, int s, int n)
{
    static const double special[] = {0,        -0.0,     1,         -1,      1 + 0x1p-11, 1 + 0x1p-8,          1 + 3 * 0x1p-8,
                                     65504,    65519.99, 0x1p-14,   0x1p-24, 0x1p-25,     3 * 0x1p-25,         -65504,
                                     INFINITY, NAN,      -INFINITY, 3.0e38,  -0x1p-20,    1.0009765625 + 1e-7, 0x1.ffp-15};
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "n %d", n);
    struct buffer *x = bench_random(&bench, AIOS_F32, (size_t)n, -1000, 1000), *y = bench_random(&bench, s, (size_t)n, -1, 1);
    struct buffer *back = bench_fill(&bench, AIOS_F32, (size_t)n, NAN), *exact = bench_fill(&bench, s, (size_t)n, 0);
    for (size_t i = 0; i < sizeof special / sizeof special[0] && i < (size_t)n; i++) bench_set(x, i, special[i]);
    for (size_t i = 0; i < (size_t)n; i++) bench_set(exact, i, x->values[i]);
    run_cast_from_f32(&bench, s, team_counts[n % 3], y, x, n);
    for (size_t i = 0; i < (size_t)n; i++) {
        double want = exact->values[i], got = bench_get(y, i);
        if (s == AIOS_BF16 && fabs(want) < 0x1p-126) continue;
        if (!bench.unjudged && (isnan(want) ? !isnan(got) : got != want))
            bench_fail(&bench, "%s (%s): %.9g became %.9g, not %.9g", bench.kernel, bench.text, x->values[i], got, want);
    }
    run_cast_to_f32(&bench, s, team_counts[n % 3], back, y, n);
    bench_expect(&bench, back, y->values, 0, 0);
    bench_end(&bench);
}

void elementwise_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int i = 0; i < SIZES; i++) {
            int rows = sizes[i][0], n = sizes[i][1];
            if (runner_skips(runner, rows, n)) continue;
            for (int in_place = 0; in_place < 3; in_place++) check_add(runner, s, rows, n, rows, in_place);
            if (rows > 2) check_add(runner, s, rows, n, 2, 0), check_add(runner, s, rows, n, rows - 1, 1);
            check_period_sum(runner, s, rows, n, 1);
            check_period_sum(runner, s, rows, n, rows > 2 ? 2 : rows);
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                check_scale_add(runner, s, rows, n, accumulate);
                check_copy_strided(runner, s, n, accumulate);
            }
            for (int use = 0; use < 4; use++) check_select_rows(runner, s, n, use & 1, use >> 1);
            check_bias_add(runner, s, rows, n);
            check_casts(runner, s, rows * n);
        }
    }
}
