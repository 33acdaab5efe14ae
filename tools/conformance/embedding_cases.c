/* embedding_forward, embedding_backward */
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};

static void check_embedding(struct runner *runner, int s, int rows, int n, int vocabulary)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, vocabulary %d", rows, n, vocabulary);
    struct buffer *ids = bench_indices(&bench, (size_t)rows, (uint32_t)vocabulary);
    struct buffer *table = bench_random(&bench, s, (size_t)vocabulary * (size_t)n, -2, 2);
    struct buffer *y = bench_fill(&bench, s, (size_t)rows * (size_t)n, NAN);
    struct buffer *dtable = bench_random(&bench, AIOS_F32, table->count, -2, 2);
    double *want = bench_doubles(&bench, table->count), *rows_want = bench_doubles(&bench, y->count);
    bench_set(ids, 0, vocabulary - 1);
    for (int r = 1; r < rows; r += 3) bench_set(ids, (size_t)r, vocabulary / 2); /* many of one id */
    run_embedding_forward(&bench, s, team_counts[rows % 3], y, table, ids, rows, n);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) rows_want[r * n + i] = table->values[(int)ids->values[r] * n + i];
    bench_expect(&bench, y, rows_want, 0, 0);
    run_embedding_backward(&bench, s, team_counts[n % 3], dtable, y, ids, rows, n, vocabulary);
    for (size_t i = 0; i < table->count; i++) want[i] = dtable->values[i];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) want[(int)ids->values[r] * n + i] += y->values[r * n + i];
    bench_expect(&bench, dtable, want, 0x1p-24 * rows, 0x1p-23 * rows); /* half an ulp of every partial sum */
    bench_end(&bench);
}

void embedding_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        check_embedding(runner, s, 1, 1, 1);
        check_embedding(runner, s, 40, 515, 3);
        if (runner->brief) continue;
        check_embedding(runner, s, 300, 33, 11);
        check_embedding(runner, s, 600, 5, 1537);
        check_embedding(runner, s, 270, 8, 33003);
    }
}
