/* mixtures of experts: who is chosen, with what weight, and how busy each is */
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};
static const int sizes[][3] = {{1, 1, 1}, {3, 2, 1}, {7, 8, 2}, {5, 33, 4}, {40, 4, 4}}; /* rows, experts, chosen */
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

/* exp within 1.5 ulp, a sum of n and a division */
#define TOLERANCE(n) (1e-6 + 1e-7 * (n))

/* Independent of the kernel: the chosen ones are picked one by one. */
static void choose(const double *x, int n, int chosen, double *gates, double *probabilities)
{
    double top = x[0], all = 0, kept = 0;
    for (int i = 0; i < n; i++) top = fmax(top, x[i]);
    for (int i = 0; i < n; i++) gates[i] = 0;
    for (int k = 0; k < chosen; k++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (gates[i] == 0 && (best < 0 || x[i] > x[best])) best = i;
        gates[best] = exp(x[best] - top);
        kept += gates[best];
    }
    for (int i = 0; i < n; i++) all += exp(x[i] - top);
    for (int i = 0; i < n; i++) probabilities[i] = exp(x[i] - top) / all;
    for (int i = 0; i < n; i++) gates[i] /= kept;
}

static void check_gates(struct runner *runner, int s, int rows, int n, int chosen)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, %d of %d experts", rows, chosen, n);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *x = bench_random(&bench, s, total, -3, 3), *gates = bench_fill(&bench, s, total, NAN);
    struct buffer *p = bench_fill(&bench, AIOS_F32, total, NAN);
    double *want = bench_doubles(&bench, total), *want_p = bench_doubles(&bench, total);
    if (n > 2) bench_set(x, 1, 2.5), bench_set(x, 2, 2.5); /* as large: the first one */
    if (n > 3) bench_set(x, (size_t)n, 80), bench_set(x, (size_t)n + 1, -80);
    run_expert_gates_forward(&bench, s, team_counts[n % 3], gates, p, x, rows, n, chosen);
    for (int r = 0; r < rows; r++) choose(x->values + r * n, n, chosen, want + r * n, want_p + r * n);
    bench_expect(&bench, gates, want, TOLERANCE(n), 1e-30);
    bench_expect(&bench, p, want_p, TOLERANCE(n), 1e-30);
    bench_end(&bench);
}

static void check_gates_backward(struct runner *runner, int s, int rows, int n, int chosen, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, %d of %d experts, accumulate %d", rows, chosen, n, accumulate);
    size_t total = (size_t)rows * (size_t)n;
    struct buffer *gates = bench_random(&bench, s, total, 0, 1), *dy = bench_random(&bench, s, total, -2, 2);
    struct buffer *dx = accumulate ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    double *want = bench_doubles(&bench, total);
    for (size_t i = 0; i < total; i++)
        if ((int)(i % (size_t)n) >= chosen) bench_set(gates, i, 0);
    run_expert_gates_backward(&bench, s, team_counts[n % 3], dx, dy, gates, rows, n, accumulate);
    for (size_t i = 0; i < total; i++) {
        size_t first = i / (size_t)n * (size_t)n;
        double mean = 0;
        for (size_t j = first; j < first + (size_t)n; j++) mean += gates->values[j] * dy->values[j];
        want[i] = gates->values[i] * (dy->values[i] - mean) + (accumulate ? dx->values[i] : 0);
    }
    bench_expect(&bench, dx, want, TOLERANCE(n), 4e-7 * (n + 2));
    bench_end(&bench);
}

static void check_scale(struct runner *runner, int s, int rows, int n, int width, int accumulate)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n + width), "rows %d, %d experts of %d, accumulate %d", rows, n, width, accumulate);
    size_t experts = (size_t)rows * (size_t)n, total = experts * (size_t)width;
    struct buffer *x = bench_random(&bench, s, total, -2, 2), *dy = bench_random(&bench, s, total, -2, 2);
    struct buffer *gates = bench_random(&bench, s, experts, 0, 1);
    struct buffer *y = accumulate ? bench_random(&bench, s, total, -2, 2) : bench_fill(&bench, s, total, NAN);
    struct buffer *dgates = accumulate ? bench_random(&bench, s, experts, -2, 2) : bench_fill(&bench, s, experts, NAN);
    double *want = bench_doubles(&bench, total), *want_gates = bench_doubles(&bench, experts);
    if (n > 1) bench_set(gates, 1, 0);
    run_expert_scale(&bench, s, team_counts[n % 3], y, x, gates, rows, n, width, accumulate);
    for (size_t i = 0; i < total; i++) want[i] = x->values[i] * gates->values[i / (size_t)width] + (accumulate ? y->values[i] : 0);
    bench_expect(&bench, y, want, 1e-6, 5e-7);
    run_expert_scale_gates(&bench, s, team_counts[width % 3], dgates, dy, x, rows, n, width, accumulate);
    for (size_t i = 0; i < total; i++) want_gates[i / (size_t)width] += dy->values[i] * x->values[i];
    for (size_t i = 0; i < experts; i++) want_gates[i] += accumulate ? dgates->values[i] : 0;
    bench_expect(&bench, dgates, want_gates, 1e-6, 5e-7 * (width + 2));
    bench_end(&bench);
}

static void check_balance(struct runner *runner, int s, int sequences, int length, int n, int chosen)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(sequences + length + n), "%d sequences of %d, %d of %d experts", sequences, length, chosen, n);
    size_t rows = (size_t)sequences * (size_t)length, total = rows * (size_t)n, parts = (size_t)sequences * (size_t)n;
    struct buffer *gates = bench_random(&bench, s, total, 0.1, 1), *p = bench_random(&bench, AIOS_F32, total, 0, 1);
    struct buffer *targets = bench_indices(&bench, rows, 9), *scale = bench_random(&bench, AIOS_F32, 1, 0.1, 2);
    struct buffer *share = bench_fill(&bench, AIOS_F32, parts, NAN), *loss = bench_fill(&bench, AIOS_F32, parts, NAN);
    struct buffer *dx = bench_fill(&bench, s, total, NAN);
    double *want_share = bench_doubles(&bench, parts), *want_loss = bench_doubles(&bench, parts), *want = bench_doubles(&bench, total);
    for (size_t i = 0; i < rows; i++)
        if (i / (size_t)length % 3 == 1 || i % 5 == 3) bench_set(targets, i, -100); /* sequence 1 has nothing that counts */
    for (size_t i = 0; i < total; i++)
        if ((i * 7 + i / (size_t)n) % (size_t)n >= (size_t)chosen) bench_set(gates, i, 0);
    run_expert_balance(&bench, s, team_counts[n % 3], share, loss, gates, p, targets, sequences, length, n, chosen);
    for (size_t k = 0; k < parts; k++) {
        double counted = 0, uses = 0, sum = 0;
        for (size_t t = k / (size_t)n * (size_t)length, end = t + (size_t)length; t < end; t++) {
            size_t at = t * (size_t)n + k % (size_t)n;
            if (targets->values[t] < 0) continue;
            counted += 1;
            uses += gates->values[at] > 0;
            sum += p->values[at];
        }
        want_share[k] = counted > 0 ? n * uses / (chosen * counted) : 0;
        want_loss[k] = want_share[k] * sum;
    }
    bench_expect(&bench, share, want_share, 1e-6, 0);
    bench_expect(&bench, loss, want_loss, 1e-6 + 1e-7 * length, 0);
    run_expert_balance_backward(&bench, s, team_counts[length % 3], dx, p, share, targets, scale, (int)rows, length, n);
    for (size_t i = 0; i < total; i++) {
        size_t t = i / (size_t)n;
        const double *part = want_share + t / (size_t)length * (size_t)n, *row = p->values + t * (size_t)n;
        double mean = 0;
        for (int j = 0; j < n; j++) mean += row[j] * part[j];
        want[i] = targets->values[t] < 0 ? 0 : scale->values[0] * p->values[i] * (part[i % (size_t)n] - mean);
    }
    bench_expect(&bench, dx, want, 1e-6, 2e-6 * (n + 2));
    bench_end(&bench);
}

void experts_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int i = 0; i < SIZES; i++) {
            const int *size = sizes[i];
            check_gates(runner, s, size[0], size[1], size[2]);
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                check_gates_backward(runner, s, size[0], size[1], size[2], accumulate);
                check_scale(runner, s, size[0], size[1], 3 + 40 * i, accumulate);
            }
        }
        check_balance(runner, s, 1, 1, 1, 1);
        check_balance(runner, s, 4, 17, 4, 2);
        check_balance(runner, s, 3, 300, 9, 3);
    }
}
