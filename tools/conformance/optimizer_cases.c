/* step_begin, step_prepare, adamw, adam_atan2, sign_sgd, sign_sgd_rows */
#include "kernels/step.h"
#include "runner.h"

#include <math.h>
#include <string.h>

static const uint32_t team_counts[] = {1, 3, 8};
enum { BLOCK = 1024, GROUPS = 3 };

/* ---- the step's scalars ------------------------------------------------------------------------------------------ */

struct step {
    double loss_scale, good, interval, max_norm, sum; /* sum of squares */
};

static struct buffer *make_control(struct bench *bench, const struct step *step)
{
    struct buffer *control = bench_fill(bench, AIOS_F32, CONTROL_SIZE, 0);
    bench_set(control, CONTROL_LR, 0.02);
    bench_set(control, CONTROL_MAX_NORM, step->max_norm);
    bench_set(control, CONTROL_GROWTH_INTERVAL, step->interval);
    bench_set(control, CONTROL_GROWTH, 2);
    bench_set(control, CONTROL_BACKOFF, 0.5);
    bench_set(control, CONTROL_INVERSE_TOKENS, 1.0 / 512);
    for (size_t g = 0; g < GROUPS; g++) {
        size_t row = CONTROL_GROUPS + CONTROL_ROW * g;
        double beta1 = g == 2 ? 0 : 0.9, beta2 = 0.999 - 0.04 * (double)g;
        bench_set(control, row + GROUP_LR_FACTOR, 1 + (double)g);
        bench_set(control, row + GROUP_BETA1, beta1);
        bench_set(control, row + GROUP_BETA2, beta2);
        bench_set(control, row + GROUP_EPS, 1e-8);
        bench_set(control, row + GROUP_WEIGHT_DECAY, 0.1 * (double)g);
        bench_set(control, row + GROUP_ONE_MINUS_BETA1, 1 - beta1);
        bench_set(control, row + GROUP_ONE_MINUS_BETA2, 1 - beta2);
    }
    return control;
}

static void expect(struct bench *bench, const struct buffer *buffer, size_t i, double want)
{
    bench_expect_at(bench, buffer, i, want, 3e-6, 1e-12); /* 300 equal partial sums, added one by one */
}

static void expect_hyper(struct bench *bench, const struct buffer *hyper, const struct buffer *state, const struct buffer *control,
                         double gradient_scale, int finite, int step_number)
{
    for (size_t g = 0; g < GROUPS; g++) {
        const double *c = control->values + CONTROL_GROUPS + CONTROL_ROW * g;
        size_t row = HYPER_ROW * g;
        double lr = control->values[CONTROL_LR] * c[GROUP_LR_FACTOR];
        double q1 = 1 - pow(c[GROUP_BETA1], step_number), q2 = 1 - pow(c[GROUP_BETA2], step_number);
        expect(bench, hyper, row + HYPER_LR, lr);
        expect(bench, hyper, row + HYPER_BETA1, c[GROUP_BETA1]);
        expect(bench, hyper, row + HYPER_BETA2, c[GROUP_BETA2]);
        expect(bench, hyper, row + HYPER_EPS, c[GROUP_EPS]);
        expect(bench, hyper, row + HYPER_KEEP, 1 - lr * c[GROUP_WEIGHT_DECAY]);
        expect(bench, hyper, row + HYPER_SKIP, !finite);
        expect(bench, hyper, row + HYPER_ONE_MINUS_BETA1, c[GROUP_ONE_MINUS_BETA1]);
        expect(bench, hyper, row + HYPER_ONE_MINUS_BETA2, c[GROUP_ONE_MINUS_BETA2]);
        if (!finite) continue;
        expect(bench, hyper, row + HYPER_GRADIENT_SCALE, gradient_scale);
        /* beta in f32 is off by 3e-8, 1 - beta by as much: t times that, relatively */
        bench_expect_at(bench, hyper, row + HYPER_CORRECTION1, 1 / q1, 1e-6 * step_number, 0);
        bench_expect_at(bench, hyper, row + HYPER_CORRECTION2, 1 / q2, 1e-4, 0);
        bench_expect_at(bench, state, STATE_CORRECTIONS + 2 * g, q1, 1e-6 * step_number, 0);
        bench_expect_at(bench, state, STATE_CORRECTIONS + 2 * g + 1, q2, 1e-4, 0);
    }
}

static void check_step(struct runner *runner, int s, struct step step, int parts)
{
    struct bench bench;
    bench_begin(&bench, runner, 5, "loss scale %g, good %g, interval %g, max norm %g, sum %g, parts %d", step.loss_scale, step.good,
                step.interval, step.max_norm, step.sum, parts);
    struct buffer *control = make_control(&bench, &step), *state = bench_fill(&bench, AIOS_F32, STATE_SIZE, 0);
    struct buffer *hyper = bench_fill(&bench, AIOS_F32, HYPER_ROW * GROUPS, NAN), *scale = bench_fill(&bench, AIOS_F32, 1, NAN);
    struct buffer *partial = bench_fill(&bench, AIOS_F32, (size_t)parts, step.sum / parts);
    bench_set(state, STATE_LOSS_SCALE, step.loss_scale);
    bench_set(state, STATE_GOOD_STEPS, step.good);
    bench_set(state, STATE_SKIPPED, 4);
    bench_set(state, STATE_SKIPPED_ROW, 2);
    run_step_begin(&bench, s, 2, scale, state, control);
    expect(&bench, scale, 0, step.loss_scale / 512);
    run_step_prepare(&bench, s, 3, state, hyper, control, partial, parts, GROUPS);
    int finite = isfinite(step.sum), grow = finite && step.interval > 0 && step.good + 1 >= step.interval;
    double norm = sqrt(step.sum) / step.loss_scale, clip = step.max_norm > 0 ? fmin(1, step.max_norm / (norm + 1e-6)) : 1;
    if (finite) expect(&bench, state, STATE_NORM, norm);
    expect(&bench, state, STATE_FINITE, finite);
    expect(&bench, state, STATE_SKIPPED, finite ? 4 : 5);
    expect(&bench, state, STATE_SKIPPED_ROW, finite ? 0 : 3);
    expect(&bench, state, STATE_LOSS_SCALE, step.loss_scale * (grow ? 2 : !finite && step.interval > 0 ? 0.5 : 1));
    expect(&bench, state, STATE_GOOD_STEPS, grow || !finite ? 0 : step.good + 1);
    expect_hyper(&bench, hyper, state, control, clip / step.loss_scale, finite, 1);
    if (!finite)
        for (size_t i = STATE_CORRECTIONS; i < STATE_SIZE; i++) expect(&bench, state, i, 0);
    bench_end(&bench);
}

static void check_corrections(struct runner *runner, int s)
{
    struct bench bench;
    struct step step = {1, 0, 0, 1, 4};
    bench_begin(&bench, runner, 6, "seven steps");
    struct buffer *control = make_control(&bench, &step), *state = bench_fill(&bench, AIOS_F32, STATE_SIZE, 0);
    struct buffer *hyper = bench_fill(&bench, AIOS_F32, HYPER_ROW * GROUPS, NAN), *partial = bench_fill(&bench, AIOS_F32, 1, 4);
    bench_set(state, STATE_LOSS_SCALE, 1);
    for (int t = 1; t <= 7; t++) {
        run_step_prepare(&bench, s, 1, state, hyper, control, partial, 1, GROUPS);
        expect_hyper(&bench, hyper, state, control, 1 / (2 + 1e-6), 1, t);
    }
    bench_end(&bench);
}

/* ---- the optimizers ---------------------------------------------------------------------------------------------- */

enum optimizer { ADAMW, ADAM_ATAN2, SIGN_SGD };

struct flat {
    struct buffer *master, *m, *v, *weight, *grad, *hyper, *group;
};

static struct flat make_flat(struct bench *bench, int s, int blocks, int shared)
{
    size_t n = (size_t)blocks * BLOCK;
    struct flat f = {bench_random(bench, AIOS_F32, n, -1, 1),     bench_random(bench, AIOS_F32, n, -0.01, 0.01),
                     bench_random(bench, AIOS_F32, n, 0, 1e-4),   NULL,
                     bench_random(bench, AIOS_F32, n, -1, 1),     bench_fill(bench, AIOS_F32, HYPER_ROW * GROUPS, 0),
                     bench_indices(bench, (size_t)blocks, GROUPS)};
    f.weight = shared ? f.master : bench_random(bench, s, n, -1, 1);
    for (size_t g = 0; g < GROUPS; g++) {
        const double rows[][2] = {{HYPER_LR, 0.01 * (double)(g + 1)},
                                  {HYPER_BETA1, 0.9},
                                  {HYPER_BETA2, 0.95},
                                  {HYPER_EPS, 1e-8},
                                  {HYPER_KEEP, 1 - 0.001 * (double)g},
                                  {HYPER_CORRECTION1, 10 - (double)g},
                                  {HYPER_CORRECTION2, 20},
                                  {HYPER_GRADIENT_SCALE, 0.125},
                                  {HYPER_SKIP, g == 1},
                                  {HYPER_ONE_MINUS_BETA1, 0.1},
                                  {HYPER_ONE_MINUS_BETA2, 0.05}};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) bench_set(f.hyper, HYPER_ROW * g + (size_t)rows[i][0], rows[i][1]);
    }
    static const double moments[][3] = {{0, 0, 0},        {0.01, 0, 0},     {-0.01, 0, 0}, {0, 1e-4, 0},
                                        {1e-12, 1e-6, 0}, {1e-9, 1e-18, 0}, {-0.0, 0, 0}};
    for (size_t b = 0; b < (size_t)blocks; b++)
        for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
            bench_set(f.m, b * BLOCK + i, moments[i][0]);
            bench_set(f.v, b * BLOCK + i, moments[i][1]);
            bench_set(f.grad, b * BLOCK + i, moments[i][2]);
        }
    return f;
}

static double sign_of(double x)
{
    return (x > 0) - (x < 0);
}

static void check_optimizer(struct runner *runner, int s, enum optimizer which, int blocks, int shared)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)blocks, "blocks %d, optimizer %d, weight %s", blocks, (int)which, shared ? "is master" : "apart");
    struct flat f = make_flat(&bench, s, blocks, shared);
    uint32_t teams = team_counts[blocks % 3];
    if (which == ADAMW) run_adamw(&bench, s, teams, f.master, f.m, f.v, f.weight, f.grad, f.hyper, f.group, blocks);
    if (which == ADAM_ATAN2) run_adam_atan2(&bench, s, teams, f.master, f.m, f.v, f.weight, f.grad, f.hyper, f.group, blocks);
    if (which == SIGN_SGD) run_sign_sgd(&bench, s, teams, f.master, f.weight, f.grad, f.hyper, f.group, blocks);
    for (size_t i = 0; i < f.master->count; i++) {
        const double *h = f.hyper->values + HYPER_ROW * (size_t)f.group->values[i / BLOCK];
        double p = f.master->values[i], m = f.m->values[i], v = f.v->values[i], g = f.grad->values[i], w = f.weight->values[i];
        if (h[HYPER_SKIP] == 0) {
            double rate = h[HYPER_LR] * (which == SIGN_SGD ? 1 : h[HYPER_CORRECTION1]), direction = sign_of(g);
            if (which != SIGN_SGD) {
                g *= h[HYPER_GRADIENT_SCALE];
                m = h[HYPER_BETA1] * m + h[HYPER_ONE_MINUS_BETA1] * g;
                v = h[HYPER_BETA2] * v + h[HYPER_ONE_MINUS_BETA2] * g * g;
                double root = sqrt(v * h[HYPER_CORRECTION2]);
                direction = which == ADAMW ? m / (root + h[HYPER_EPS]) : atan2(m, root);
            }
            w = p = p * h[HYPER_KEEP] - rate * direction;
            /* an update is relative to its own size, up to rate * direction */
            bench_expect_at(&bench, f.master, i, p, 2e-7, 2e-6 * fabs(rate * direction));
        } else {
            bench_expect_at(&bench, f.master, i, p, 0, 0);
        }
        bench_expect_at(&bench, f.m, i, m, 1e-6, 1e-9); /* b1 m and (1 - b1) g may cancel */
        bench_expect_at(&bench, f.v, i, v, 1e-6, 0);
        bench_expect_at(&bench, f.weight, i, w, 2e-7, 1e-6);
    }
    bench_end(&bench);
}

static void check_sign_sgd_rows(struct runner *runner, int s, int rows, int n, int table_rows, int skip)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(rows + n), "rows %d, n %d, table of %d, skip %d", rows, n, table_rows, skip);
    struct buffer *table = bench_random(&bench, AIOS_F32, (size_t)table_rows * (size_t)n, -1, 1),
                  *hyper = bench_fill(&bench, AIOS_F32, HYPER_ROW, 0);
    struct buffer *grad = bench_random(&bench, AIOS_F32, (size_t)rows * (size_t)n, -1, 1);
    struct buffer *ids = bench_indices(&bench, (size_t)rows, (uint32_t)table_rows);
    double *sum = bench_doubles(&bench, table->count), *want = bench_doubles(&bench, table->count),
           *used = bench_doubles(&bench, (size_t)table_rows);
    bench_set(hyper, HYPER_LR, 0.01);
    bench_set(hyper, HYPER_KEEP, 0.99);
    bench_set(hyper, HYPER_SKIP, skip);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++)
            bench_set(grad, (size_t)(r * n + i), i % 5 == 0 ? 0 : floor(grad->values[r * n + i] * 8)); /* sums that are exactly 0 */
    run_sign_sgd_rows(&bench, s, team_counts[n % 3], table, grad, ids, hyper, rows, n);
    for (int r = 0; r < rows; r++) {
        used[(int)ids->values[r]] = 1;
        for (int i = 0; i < n; i++) sum[(int)ids->values[r] * n + i] += grad->values[r * n + i];
    }
    for (size_t i = 0; i < table->count; i++) {
        want[i] = table->values[i];
        if (used[i / (size_t)n] != 0 && !skip) want[i] = want[i] * hyper->values[HYPER_KEEP] - hyper->values[HYPER_LR] * sign_of(sum[i]);
    }
    bench_expect(&bench, table, want, 2e-7, 1e-8);
    bench_end(&bench);
}

void optimizer_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        check_step(runner, s, (struct step){1, 0, 0, 0, 4}, 1);
        check_step(runner, s, (struct step){1024, 3, 5, 1, 1e9}, 7);
        check_step(runner, s, (struct step){1024, 4, 5, 1, 1e9}, 300);
        check_step(runner, s, (struct step){8, 4, 5, 100, 4}, 7);
        check_step(runner, s, (struct step){1024, 4, 5, 1, INFINITY}, 7);
        check_step(runner, s, (struct step){1, 0, 0, 1, NAN}, 7);
        check_corrections(runner, s);
        for (int which = ADAMW; which <= SIGN_SGD; which++)
            for (int blocks = 1; blocks < 12; blocks += 5)
                check_optimizer(runner, s, (enum optimizer)which, blocks, s == AIOS_F32 && blocks > 1);
        check_sign_sgd_rows(runner, s, 1, 1, 1, 0);
        check_sign_sgd_rows(runner, s, 40, 33, 7, 0);
        check_sign_sgd_rows(runner, s, 300, 259, 400, 0);
        check_sign_sgd_rows(runner, s, 9, 65, 4, 1);
    }
}
