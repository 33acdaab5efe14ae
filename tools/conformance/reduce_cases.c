/* column sums, sums of everything, hits */
#include "runner.h"

#include <math.h>
#include <string.h>

static const int sizes[][2] = {{1, 1}, {1, 257}, {3, 1}, {5, 33}, {70, 300}, {19, 2500}};
static const uint32_t team_counts[] = {1, 3, 8};
static const int part_counts[] = {1, 4, 7};
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

static void check_columns(struct runner *runner, int s, int rows, int n, int parts)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, parts %d", rows, n, parts);
    struct buffer *in = bench_random(&bench, s, (size_t)rows * (size_t)n, -2, 2), *out = bench_random(&bench, AIOS_F32, (size_t)n, -2, 2);
    struct buffer *partial = bench_fill(&bench, AIOS_F32, (size_t)parts * (size_t)n, NAN);
    double *want = bench_doubles(&bench, partial->count), *sum = bench_doubles(&bench, (size_t)n);
    run_column_partial(&bench, s, team_counts[(rows + parts) % 3], partial, in, rows, n, parts);
    for (int p = 0; p < parts; p++)
        for (int r = rows * p / parts; r < rows * (p + 1) / parts; r++)
            for (int i = 0; i < n; i++) want[p * n + i] += in->values[r * n + i];
    bench_expect(&bench, partial, want, 0, 0x1p-23 * 2 * rows); /* terms below 2 */
    run_column_reduce(&bench, s, team_counts[n % 3], out, partial, parts, n);
    for (int i = 0; i < n; i++) {
        sum[i] = out->values[i];
        for (int p = 0; p < parts; p++) sum[i] += partial->values[p * n + i];
    }
    bench_expect(&bench, out, sum, 0, 0x1p-23 * 2 * (rows + parts));
    bench_end(&bench);
}

static void check_sums(struct runner *runner, int s, int blocks, int odd, int parts)
{
    struct bench bench;
    int n = blocks * 1024 - odd;
    bench_begin(&bench, runner, (uint64_t)(blocks + parts), "blocks %d, n %d, parts %d", blocks, n, parts);
    struct buffer *in = bench_random(&bench, AIOS_F32, (size_t)blocks * 1024, -1, 3), *out = bench_fill(&bench, AIOS_F32, 1, 5);
    struct buffer *partial = bench_fill(&bench, AIOS_F32, (size_t)parts, NAN);
    double *want = bench_doubles(&bench, (size_t)parts), *squares = bench_doubles(&bench, (size_t)parts), sum = 5;
    for (int p = 0; p < parts; p++)
        for (int i = 1024 * (blocks * p / parts); i < 1024 * (blocks * (p + 1) / parts); i++) {
            want[p] += i < n ? in->values[i] : 0;
            squares[p] += in->values[i] * in->values[i];
        }
    run_sum_partial(&bench, s, team_counts[parts % 3], partial, in, n, parts);
    bench_expect(&bench, partial, want, 1e-5, 1e-2); /* a block of 1,024 with mean 1, added in any order */
    run_sum_squares_partial(&bench, s, team_counts[parts % 3], partial, in, blocks, parts);
    bench_expect(&bench, partial, squares, 4e-6, 0); /* 1,024 positive terms in any order: 2 sqrt(1024) 2^-24 */
    run_sum_reduce(&bench, s, 2, out, partial, parts, 0.25f);
    for (int p = 0; p < parts; p++) sum += 0.25 * partial->values[p];
    bench_expect(&bench, out, &sum, 1e-6, 0);
    bench_end(&bench);
}

static void check_not_finite(struct runner *runner, int s, double value)
{
    struct bench bench;
    bench_begin(&bench, runner, 1, "one %g among 3 blocks", value);
    struct buffer *in = bench_random(&bench, AIOS_F32, 3 * 1024, -1, 1), *partial = bench_fill(&bench, AIOS_F32, 3, 0);
    bench_set(in, 1500, value);
    run_sum_squares_partial(&bench, s, 2, partial, in, 3, 3);
    bench_check(&bench, isfinite(bench_get(partial, 0)) && !isfinite(bench_get(partial, 1)) && isfinite(bench_get(partial, 2)));
    if (value > 0) bench_check(&bench, isinf(bench_get(partial, 1)));
    run_sum_partial(&bench, s, 2, partial, in, 3 * 1024, 3);
    bench_check(&bench, isfinite(bench_get(partial, 0)) && !isfinite(bench_get(partial, 1)) && isfinite(bench_get(partial, 2)));
    bench_end(&bench);
}

static void check_count_hits(struct runner *runner, int s, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "n %d", n);
    struct buffer *hit = bench_indices(&bench, (size_t)n, 2), *targets = bench_indices(&bench, (size_t)n, 9);
    struct buffer *out = bench_fill(&bench, AIOS_F32, 2, 100);
    double want[2] = {100, 100};
    for (int i = 0; i < n; i += 3) bench_set(targets, (size_t)i, i % 2 ? -100 : -1);
    for (int i = 0; i < n; i++) want[0] += hit->values[i] == 1, want[1] += targets->values[i] >= 0;
    run_count_hits(&bench, s, 3, out, hit, targets, n);
    bench_expect(&bench, out, want, 0, 0);
    bench_end(&bench);
}

/* Same parts, same bits, however many teams. */
static void check_repeatable(struct runner *runner, int s)
{
    float first[2][600];
    for (int round = 0; round < 2; round++) {
        struct bench bench;
        bench_begin(&bench, runner, 7, "repeatable");
        struct buffer *in = bench_random(&bench, s, 100 * 300, -2, 2), *partial = bench_fill(&bench, AIOS_F32, 600, NAN);
        run_column_partial(&bench, s, round ? 5 : 1, partial, in, 100, 300, 2);
        for (size_t i = 0; i < 600; i++) first[round][i] = (float)bench_get(partial, i);
        if (round) bench_check(&bench, memcmp(first[0], first[1], sizeof first[0]) == 0);
        bench_end(&bench);
    }
}

void reduce_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int i = 0; i < SIZES; i++)
            for (int k = 0; k < 3 && !runner_skips(runner, sizes[i][0], sizes[i][1]); k++)
                check_columns(runner, s, sizes[i][0], sizes[i][1], part_counts[k]);
        for (int k = 0; k < 3; k++) {
            check_sums(runner, s, 1, 1023, part_counts[k]);
            check_sums(runner, s, 9, 5, part_counts[k]);
            check_sums(runner, s, 12, 0, part_counts[k]);
        }
        check_not_finite(runner, s, NAN);
        check_not_finite(runner, s, INFINITY);
        check_count_hits(runner, s, 1);
        check_count_hits(runner, s, 300);
        check_repeatable(runner, s);
    }
}
