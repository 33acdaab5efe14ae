/* mixtures of experts: who is chosen, with what weight, and how busy each is */
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};
static const int sizes[][3] = {{1, 1, 1}, {3, 2, 1}, {7, 8, 2}, {5, 33, 4}, {40, 4, 4}}; /* rows, experts, chosen */
#define SIZES (int)(sizeof sizes / sizeof sizes[0])

/* exp within 1.5 ulp, a sum of n and a division */
#define TOLERANCE(n) (1e-6 + 1e-7 * (n))

/* Independent of the kernel: the chosen ones are picked one by one, the largest first; what is no number is less than all. */
static void choose(const double *x, int n, int chosen, double *gates, double *probabilities, double *choice)
{
    double top = -INFINITY, all = 0, kept = 0;
    for (int i = 0; i < n; i++) top = fmax(top, x[i]), gates[i] = 0;
    for (int j = 0; j < chosen; j++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            int taken = 0;
            for (int k = 0; k < j; k++) taken |= choice[k] == i;
            if (!taken && (best < 0 || x[i] > x[best] || (isnan(x[best]) && !isnan(x[i])))) best = i;
        }
        choice[j] = best;
        gates[best] = exp(x[best] - top);
        kept += gates[best];
    }
    for (int i = 0; i < n; i++) all += exp(x[i] - top);
    for (int i = 0; i < n; i++) probabilities[i] = exp(x[i] - top) / all;
    for (int i = 0; i < n; i++) gates[i] = isnan(x[i]) || (isnan(all) && gates[i] > 0) ? NAN : gates[i] / kept;
}

static void check_gates(struct runner *runner, int s, int rows, int n, int chosen)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, %d of %d experts", rows, chosen, n);
    size_t total = (size_t)rows * (size_t)n, choices = (size_t)rows * (size_t)chosen;
    struct buffer *x = bench_random(&bench, s, total, -3, 3), *gates = bench_fill(&bench, s, total, NAN);
    struct buffer *p = bench_fill(&bench, AIOS_F32, total, NAN), *choice = bench_fill(&bench, AIOS_I32, choices, -7);
    double *want = bench_doubles(&bench, total), *want_p = bench_doubles(&bench, total), *want_choice = bench_doubles(&bench, choices);
    if (n > 2) bench_set(x, 1, 2.5), bench_set(x, 2, 2.5); /* as large: the first one */
    if (n > 3) bench_set(x, (size_t)n, 80), bench_set(x, (size_t)n + 1, -80);
    for (int i = 0; i < n && rows > 4; i++)
        if (i % 4 == 1) bench_set(x, 3 * (size_t)n + (size_t)i, NAN);
    for (int i = 0; i < n && rows > 4; i++) bench_set(x, 4 * (size_t)n + (size_t)i, NAN);
    for (int r = 0; r < rows; r++) choose(x->values + r * n, n, chosen, want + r * n, want_p + r * n, want_choice + r * chosen);
    run_expert_gates_forward(&bench, s, team_counts[n % 3], gates, p, choice, x, rows, n, chosen, 1);
    bench_expect(&bench, gates, want, TOLERANCE(n), 1e-30);
    bench_expect(&bench, p, want_p, TOLERANCE(n), 1e-30);
    bench_expect(&bench, choice, want_choice, 0, 0);
    run_expert_gates_forward(&bench, s, team_counts[n % 3], gates, p, NULL, x, rows, n, chosen, 0);
    bench_expect(&bench, gates, want, TOLERANCE(n), 1e-30);
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

/* Every row to all: without a route. */
static void check_scale(struct runner *runner, int s, int rows, int n, int width)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n + width), "rows %d, all of %d experts, width %d", rows, n, width);
    size_t experts = (size_t)rows * (size_t)n, total = experts * (size_t)width;
    struct buffer *x = bench_random(&bench, s, total, -2, 2), *dy = bench_random(&bench, s, total, -2, 2);
    struct buffer *gates = bench_random(&bench, s, experts, 0, 1);
    struct buffer *y = bench_fill(&bench, s, total, NAN), *dgates = bench_fill(&bench, s, experts, NAN);
    double *want = bench_doubles(&bench, total), *want_gates = bench_doubles(&bench, experts);
    if (n > 1) bench_set(gates, 1, 0);
    run_expert_spread(&bench, s, team_counts[n % 3], y, x, gates, NULL, NULL, rows, n, n, width, 1, 0);
    for (size_t i = 0; i < total; i++) want[i] = x->values[i] * gates->values[i / (size_t)width];
    bench_expect(&bench, y, want, 1e-6, 5e-7);
    run_expert_gate_dots(&bench, s, team_counts[width % 3], dgates, dy, x, NULL, NULL, rows, n, n, width, 0);
    for (size_t i = 0; i < total; i++) want_gates[i / (size_t)width] += dy->values[i] * x->values[i];
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

/* ---- only what is chosen ------------------------------------------------------------------------------------------ */

/* skew: how many of the experts are ever chosen. */
static struct buffer *choices_of(struct bench *bench, int rows, int chosen, int skew)
{
    size_t count = (size_t)rows * (size_t)chosen;
    struct buffer *choice = bench_indices(bench, count, (uint32_t)skew);
    for (size_t i = 0; i < count; i++)
        if (i % (size_t)chosen) bench_set(choice, i, (int)(choice->values[i - 1] + 1) % skew); /* a row's are different */
    return choice;
}

static void sort_choices(const struct buffer *choice, int n, double *place, double *first)
{
    size_t at = 0;
    for (int e = 0; e < n; e++) {
        first[e] = (double)at;
        for (size_t i = 0; i < choice->count; i++)
            if (choice->values[i] == e) place[i] = (double)at++;
    }
    first[n] = (double)at;
}

static void check_order(struct runner *runner, int s, int rows, int n, int chosen, int skew)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, %d of %d experts, %d of them chosen", rows, chosen, n, skew);
    struct buffer *choice = choices_of(&bench, rows, chosen, skew);
    struct buffer *place = bench_fill(&bench, AIOS_I32, choice->count, -7), *first = bench_fill(&bench, AIOS_I32, (size_t)n + 1, -7);
    double *want_place = bench_doubles(&bench, choice->count), *want_first = bench_doubles(&bench, (size_t)n + 1);
    run_expert_order(&bench, s, team_counts[rows % 3], place, first, choice, rows * chosen, n);
    sort_choices(choice, n, want_place, want_first);
    bench_expect(&bench, place, want_place, 0, 0);
    bench_expect(&bench, first, want_first, 0, 0);
    bench_end(&bench);
}

struct routed {
    struct bench bench;
    size_t rows, n, chosen, width;
    struct buffer *gates, *choice, *place;
    double *at; /* place, as the reference has it */
};

static void begin_routed(struct routed *r, struct runner *runner, int s, const int size[4], int use_gates)
{
    bench_begin(&r->bench, runner, (uint64_t)(size[0] + size[3]), "rows %d, %d of %d experts, width %d, gates %d", size[0], size[2],
                size[1], size[3], use_gates);
    r->rows = (size_t)size[0], r->n = (size_t)size[1], r->chosen = (size_t)size[2], r->width = (size_t)size[3];
    r->gates = bench_random(&r->bench, s, r->rows * r->n, 0, 1);
    r->choice = choices_of(&r->bench, size[0], size[2], size[1]);
    r->place = bench_fill(&r->bench, AIOS_I32, r->choice->count, 0);
    r->at = bench_doubles(&r->bench, r->choice->count);
    sort_choices(r->choice, size[1], r->at, bench_doubles(&r->bench, r->n + 1));
    for (size_t i = 0; i < r->choice->count; i++) bench_set(r->place, i, r->at[i]);
}

/* There and back, with gates or without. */
static void check_routed(struct runner *runner, int s, const int size[4], int use_gates)
{
    struct routed r;
    begin_routed(&r, runner, s, size, use_gates);
    size_t thin = r.rows * r.width, wide = thin * r.chosen;
    struct buffer *x = bench_random(&r.bench, s, thin, -2, 2), *parts = bench_random(&r.bench, s, wide, -2, 2);
    struct buffer *y = bench_fill(&r.bench, s, wide, NAN), *sum = bench_fill(&r.bench, s, thin, NAN);
    double *want = bench_doubles(&r.bench, wide), *want_sum = bench_doubles(&r.bench, thin);
    struct buffer *gates = use_gates ? r.gates : NULL, *choice = use_gates ? r.choice : NULL;
    run_expert_spread(&r.bench, s, team_counts[size[0] % 3], y, x, gates, choice, r.place, size[0], size[1], size[2], size[3], use_gates,
                      1);
    for (size_t k = 0; k < wide; k++) {
        size_t item = k / r.width, to = (size_t)r.at[item] * r.width + k % r.width, from = item / r.chosen * r.width + k % r.width;
        double g = use_gates ? r.gates->values[item / r.chosen * r.n + (size_t)r.choice->values[item]] : 1;
        want[to] = g * x->values[from];
        want_sum[from] += g * parts->values[to];
    }
    bench_expect(&r.bench, y, want, 1e-6, 5e-7);
    run_expert_collect(&r.bench, s, team_counts[size[3] % 3], sum, parts, gates, choice, r.place, size[0], size[1], size[2], size[3],
                       use_gates);
    bench_expect(&r.bench, sum, want_sum, 1e-6, 5e-7 * (size[2] + 1));
    bench_end(&r.bench);
}

static void check_gate_dots(struct runner *runner, int s, const int size[4])
{
    struct routed r;
    begin_routed(&r, runner, s, size, 0);
    struct buffer *dy = bench_random(&r.bench, s, r.rows * r.width, -2, 2);
    struct buffer *x = bench_random(&r.bench, s, r.rows * r.chosen * r.width, -2, 2);
    struct buffer *dgates = bench_fill(&r.bench, s, r.rows * r.n, NAN);
    double *want = bench_doubles(&r.bench, r.rows * r.n);
    run_expert_gate_dots(&r.bench, s, team_counts[size[3] % 3], dgates, dy, x, r.choice, r.place, size[0], size[1], size[2], size[3], 1);
    for (size_t item = 0; item < r.choice->count; item++) {
        double *to = &want[item / r.chosen * r.n + (size_t)r.choice->values[item]];
        for (size_t i = 0; i < r.width; i++) *to += dy->values[item / r.chosen * r.width + i] * x->values[(size_t)r.at[item] * r.width + i];
    }
    bench_expect(&r.bench, dgates, want, 1e-6, 5e-7 * (size[3] + 2));
    bench_end(&r.bench);
}

static void check_routes(struct runner *runner, int s)
{
    static const int routed[][4] = {{1, 1, 1, 1}, {3, 2, 1, 5}, {7, 8, 2, 64}, {5, 33, 4, 130}, {40, 4, 4, 1030}};
    check_order(runner, s, 1, 1, 1, 1);
    check_order(runner, s, 40, 4, 4, 4);
    check_order(runner, s, 37, 9, 2, 5);  /* experts that nobody chose */
    check_order(runner, s, 300, 8, 1, 1); /* all to the first */
    check_order(runner, s, 700, 33, 3, 33);
    for (size_t i = 0; i < sizeof routed / sizeof *routed; i++) {
        check_gate_dots(runner, s, routed[i]);
        check_routed(runner, s, routed[i], 0);
        check_routed(runner, s, routed[i], 1);
    }
}

void experts_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int i = 0; i < SIZES; i++) {
            const int *size = sizes[i];
            check_gates(runner, s, size[0], size[1], size[2]);
            for (int accumulate = 0; accumulate < 2; accumulate++) check_gates_backward(runner, s, size[0], size[1], size[2], accumulate);
            check_scale(runner, s, size[0], size[1], 3 + 40 * i);
        }
        check_balance(runner, s, 1, 1, 1, 1);
        check_balance(runner, s, 4, 17, 4, 2);
        check_balance(runner, s, 3, 300, 9, 3);
        check_routes(runner, s);
    }
}
