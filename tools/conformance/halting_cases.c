/* sequences that are answered as a whole, and adaptive computation time */
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};

static void check_select_i32(struct runner *runner, int s, int rows, int n)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d", rows, n);
    size_t count = (size_t)rows * (size_t)n;
    struct buffer *mask = bench_indices(&bench, (size_t)rows, 2), *y = bench_fill(&bench, AIOS_I32, count, 7);
    struct buffer *a = bench_indices(&bench, count, 0x7fffffff), *b = bench_indices(&bench, count, 1000);
    bench_set(mask, 0, 0);
    bench_set(a, count - 1, -100); /* the bits of a NaN */
    run_select_rows_i32(&bench, s, team_counts[n % 3], y, mask, a, b, rows, n);
    for (size_t i = 0; i < count; i++) bench_expect_at(&bench, y, i, mask->values[i / (size_t)n] != 0 ? a->values[i] : b->values[i], 0, 0);
    bench_end(&bench);
}

static void check_sequences(struct runner *runner, int s, int sequences, int length)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(sequences + length), "%d sequences of %d", sequences, length);
    size_t rows = (size_t)sequences * (size_t)length, many = (size_t)sequences;
    struct buffer *targets = bench_indices(&bench, rows, 9), *hit = bench_indices(&bench, rows, 2);
    struct buffer *losses = bench_random(&bench, AIOS_F32, rows, 0, 3), *scale = bench_random(&bench, AIOS_F32, 1, 0.1, 2);
    struct buffer *weight = bench_fill(&bench, AIOS_F32, many, NAN), *mean = bench_fill(&bench, AIOS_F32, many, NAN),
                  *correct = bench_fill(&bench, AIOS_F32, many, NAN);
    for (size_t i = 0; i < rows; i++) {
        size_t sequence = i / (size_t)length;
        if (sequence % 4 == 1 || i % 5 == 3) bench_set(targets, i, -100); /* sequence 1 has nothing that counts */
        if (targets->values[i] < 0) bench_set(hit, i, 0), bench_set(losses, i, 0);
        if (sequence % 4 == 2 && targets->values[i] >= 0) bench_set(hit, i, 1);
    }
    run_sequence_scale(&bench, s, team_counts[length % 3], weight, targets, scale, sequences, length);
    run_sequence_mean(&bench, s, team_counts[length % 3], mean, losses, targets, sequences, length);
    run_sequence_correct(&bench, s, team_counts[length % 3], correct, hit, targets, sequences, length);
    for (size_t k = 0; k < many; k++) {
        double counted = 0, hits = 0, sum = 0;
        for (size_t i = k * (size_t)length; i < (k + 1) * (size_t)length; i++) {
            counted += targets->values[i] >= 0;
            hits += hit->values[i];
            sum += losses->values[i];
        }
        bench_expect_at(&bench, weight, k, scale->values[0] / fmax(counted, 1), 1e-7, 0);
        bench_expect_at(&bench, mean, k, sum / fmax(counted, 1), 1e-7 * (2 + sqrt(length)), 0); /* a sum of `length` in any order */
        bench_expect_at(&bench, correct, k, hits == counted, 0, 0);
    }
    bench_end(&bench);
}

static void check_halting(struct runner *runner, int s, int n, int early)
{
    enum { LAST = 4 };
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "n %d, early %d", n, early);
    size_t many = (size_t)n;
    struct buffer *steps = bench_indices(&bench, many, LAST), *running = bench_indices(&bench, many, 2);
    struct buffer *least = early ? bench_indices(&bench, many, LAST + 1) : NULL, *q = bench_random(&bench, s, 2 * many, -3, 3);
    struct buffer *next = bench_fill(&bench, AIOS_I32, many, 7), *halted = bench_fill(&bench, AIOS_I32, many, 7),
                  *target = bench_fill(&bench, AIOS_F32, many, NAN);
    if (n > 2) bench_set(q, 4, 1), bench_set(q, 5, 1); /* as large: goes on */
    if (n > 3) bench_set(q, 6, 200), bench_set(q, 7, -200);
    run_halting_steps(&bench, s, team_counts[n % 3], next, steps, running, n);
    run_halting_running(&bench, s, team_counts[n % 3], halted, next, q, least, n, LAST, early);
    run_halting_target(&bench, s, team_counts[n % 3], target, next, q, n, LAST);
    for (size_t i = 0; i < many; i++) {
        double step = (running->values[i] != 0 ? steps->values[i] : 0) + 1, halt = q->values[2 * i], on = q->values[2 * i + 1];
        int last = step >= LAST, stop = early ? (last || halt > on) && step >= least->values[i] : last;
        double best = last ? halt : fmax(halt, on);
        bench_expect_at(&bench, next, i, step, 0, 0);
        bench_expect_at(&bench, halted, i, !stop, 0, 0);
        bench_expect_at(&bench, target, i, 1 / (1 + exp(-best)), 1e-6, 1e-7);
    }
    bench_end(&bench);
}

void halting_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        check_select_i32(runner, s, 1, 1);
        check_select_i32(runner, s, 7, 81);
        check_select_i32(runner, s, 5, 900);
        check_sequences(runner, s, 1, 1);
        check_sequences(runner, s, 9, 17);
        check_sequences(runner, s, 6, 900);
        for (int early = 0; early < 2; early++) {
            check_halting(runner, s, 1, early);
            check_halting(runner, s, 37, early);
            check_halting(runner, s, 5000, early);
        }
    }
}
