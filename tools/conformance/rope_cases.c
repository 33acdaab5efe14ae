/* rope, cache_append */
#include "reference.h"
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};

static void check_rope(struct runner *runner, int s, int heads, int d, int rest, int in_place, int use_start, int inverse)
{
    enum { BATCH = 2, SEQ = 5, POSITIONS = 12 };
    int n = heads * d + rest, rows = BATCH * SEQ, pairs = d / 2;
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(n + d), "heads %d of %d, rest %d, in place %d, start %d, inverse %d", heads, d, rest, in_place,
                use_start, inverse);
    struct buffer *x = bench_random(&bench, s, (size_t)(rows * n), -2, 2);
    struct buffer *y = in_place ? x : bench_fill(&bench, s, x->count, NAN);
    struct buffer *c = bench_random(&bench, AIOS_F32, (size_t)(POSITIONS * pairs), -1, 1);
    struct buffer *sine = bench_random(&bench, AIOS_F32, (size_t)(POSITIONS * pairs), -1, 1);
    struct buffer *start = use_start ? bench_fill(&bench, AIOS_I32, 1, 6) : NULL;
    double *want = bench_doubles(&bench, x->count);
    run_rope(&bench, s, team_counts[n % 3], y, x, c, sine, start, rows, n, SEQ, heads, d, use_start, inverse);
    for (int r = 0; r < rows; r++) {
        int at = (r % SEQ + (use_start ? 6 : 0)) * pairs;
        reference_rope(want + r * n, x->values + r * n, c->values + at, sine->values + at, n, heads, d, inverse);
    }
    bench_expect(&bench, y, want, 0x1p-22, 0x1p-22); /* two products, one sum: below 4 */
    bench_end(&bench);
}

static void check_cache_append(struct runner *runner, int s, int seq, int n)
{
    enum { BATCH = 3, CAPACITY = 9, START = 2 };
    int x_stride = n + 5;
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(n + seq), "seq %d, n %d", seq, n);
    struct buffer *cache = bench_random(&bench, s, (size_t)(BATCH * CAPACITY * n), -2, 2);
    struct buffer *x = bench_random(&bench, s, (size_t)(BATCH * seq * x_stride), -2, 2), *start = bench_fill(&bench, AIOS_I32, 1, START);
    double *want = bench_doubles(&bench, cache->count);
    run_cache_append(&bench, s, team_counts[n % 3], cache, x, start, BATCH, seq, n, CAPACITY, x_stride);
    for (size_t i = 0; i < cache->count; i++) want[i] = cache->values[i];
    for (int b = 0; b < BATCH; b++)
        for (int t = 0; t < seq; t++)
            for (int i = 0; i < n; i++) want[(b * CAPACITY + START + t) * n + i] = x->values[(b * seq + t) * x_stride + i];
    bench_expect(&bench, cache, want, 0, 0);
    bench_end(&bench);
}

void rope_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int bits = 0; bits < 8; bits++) {
            check_rope(runner, s, 3, 64, 70, bits & 1, bits >> 1 & 1, bits >> 2);
            check_rope(runner, s, 1, 2, 0, bits & 1, bits >> 1 & 1, bits >> 2);
            check_rope(runner, s, 5, 34, 3, bits & 1, bits >> 1 & 1, bits >> 2);
        }
        check_cache_append(runner, s, 1, 1);
        check_cache_append(runner, s, 7, 65);
        check_cache_append(runner, s, 3, 1029);
    }
}
