/* softmax and stablemax cross-entropy, binary cross-entropy */
#include "reference.h"
#include "runner.h"

#include <math.h>

static const uint32_t team_counts[] = {1, 3, 8};

/* softmax: a logit's rounding in the exponent, |x - top| 2^-24, and a sum of n terms in any order */
#define SOFTMAX_TOLERANCE(c) (1e-6 + (4 * (c).spread + 2 * sqrt((c).n)) * 0x1p-24)
/* stablemax: its compensated sum promises 1e-6 */
#define STABLEMAX_TOLERANCE 1e-6

enum labels { MIXED, ALL_IGNORED, LAST };

struct loss_case {
    int stablemax, rows, n, stride, period, gradient;
    enum labels labels;
    double spread;
};

static void check_loss(struct runner *runner, int s, struct loss_case c)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)(c.rows + c.n), "%s, rows %d, n %d of %d, period %d, gradient %d, labels %d, spread %g",
                c.stablemax ? "stablemax" : "softmax", c.rows, c.n, c.stride, c.period, c.gradient, (int)c.labels, c.spread);
    size_t total = (size_t)c.rows * (size_t)c.stride;
    struct buffer *logits = bench_random(&bench, s, total, -c.spread, c.spread);
    struct buffer *targets = bench_indices(&bench, (size_t)c.rows, (uint32_t)c.n),
                  *loss = bench_fill(&bench, AIOS_F32, (size_t)c.rows, NAN);
    struct buffer *hit = bench_fill(&bench, AIOS_I32, (size_t)c.rows, 7);
    struct buffer *scale = c.gradient ? bench_random(&bench, AIOS_F32, (size_t)((c.rows + c.period - 1) / c.period), 0.5, 2) : NULL;
    double *g = bench_doubles(&bench, (size_t)c.n), tolerance = c.stablemax ? STABLEMAX_TOLERANCE : SOFTMAX_TOLERANCE(c);
    for (int r = 0; r < c.rows; r++) {
        size_t at = (size_t)r * (size_t)c.stride;
        for (int j = c.n; j < c.stride; j++) bench_set(logits, at + (size_t)j, NAN); /* padding is never looked at */
        if (c.labels == ALL_IGNORED || (c.labels == MIXED && r % 3 == 2)) bench_set(targets, (size_t)r, r % 2 ? -100 : -1);
        if (c.labels == LAST) bench_set(targets, (size_t)r, c.n - 1);
        if (r % 4 == 1 && targets->values[r] >= 0) bench_set(logits, at + (size_t)targets->values[r], c.spread * 2); /* a hit */
        if (r % 8 == 5 && targets->values[r] > 0) bench_set(logits, at, c.spread * 2); /* no: as large, and earlier */
        if (c.spread == 0 && targets->values[r] >= 0)
            bench_set(targets, (size_t)r, r % 2 ? 0 : c.n - 1); /* all equal: only the first hits */
    }
    if (c.stablemax)
        run_stablemax_cross_entropy(&bench, s, team_counts[c.n % 3], loss, hit, logits, targets, scale, c.rows, c.n, c.stride, c.period,
                                    c.gradient);
    else
        run_softmax_cross_entropy(&bench, s, team_counts[c.n % 3], loss, hit, logits, targets, scale, c.rows, c.n, c.stride, c.period,
                                  c.gradient);
    for (int r = 0; r < c.rows; r++) {
        size_t at = (size_t)r * (size_t)c.stride;
        int first = 0, target = (int)targets->values[r];
        double want = (c.stablemax ? reference_stablemax_loss : reference_softmax_loss)(g, &first, logits->values + at, c.n, target);
        /* stablemax is relative all the way down to a loss of 0; softmax's log(sum) - x rounds at the size of the logits */
        bench_expect_at(&bench, loss, (size_t)r, want, tolerance, c.stablemax ? 0 : tolerance);
        bench_expect_at(&bench, hit, (size_t)r, first, 0, 0);
        for (int j = 0; j < c.stride; j++) {
            double factor = scale ? scale->values[r / c.period] : 0, slope = j < c.n ? factor * g[j] : 0;
            if (c.gradient)
                bench_expect_at(&bench, logits, at + (size_t)j, slope, tolerance, c.stablemax ? 0 : j == target ? 2 * tolerance : 1e-37);
            else
                bench_expect_at(&bench, logits, at + (size_t)j, logits->values[at + (size_t)j], 0, 0);
        }
    }
    bench_end(&bench);
}

static void check_not_finite(struct runner *runner, int s, int stablemax, double value)
{
    const size_t n = 600;
    struct bench bench;
    bench_begin(&bench, runner, 3, "one %g among the logits, stablemax %d", value, stablemax);
    struct buffer *logits = bench_random(&bench, s, 3 * n, -1, 1), *targets = bench_fill(&bench, AIOS_I32, 3, 5);
    struct buffer *loss = bench_fill(&bench, AIOS_F32, 3, 0), *hit = bench_fill(&bench, AIOS_I32, 3, 0),
                  *scale = bench_fill(&bench, AIOS_F32, 1, 1);
    bench_set(logits, n + 77, value);
    if (stablemax)
        run_stablemax_cross_entropy(&bench, s, 2, loss, hit, logits, targets, scale, 3, (int)n, (int)n, 3, 1);
    else
        run_softmax_cross_entropy(&bench, s, 2, loss, hit, logits, targets, scale, 3, (int)n, (int)n, 3, 1);
    bench_check(&bench, isfinite(bench_get(loss, 0)) && isfinite(bench_get(loss, 2)));
    if (value == -INFINITY) { /* a column that is masked out: probability 0 */
        bench_check(&bench, isfinite(bench_get(loss, 1)) != 0);
        bench_check(&bench, fabs(bench_get(logits, n + 77)) < 1e-30);
    } else {
        bench_check(&bench, !isfinite(bench_get(loss, 1)));
    }
    bench_end(&bench);
}

static void check_bce(struct runner *runner, int s, int n, int gradient)
{
    struct bench bench;
    bench_begin(&bench, runner, (uint64_t)n, "n %d, gradient %d", n, gradient);
    struct buffer *x = bench_random(&bench, s, (size_t)n, -6, 6), *targets = bench_random(&bench, AIOS_F32, (size_t)n, 0, 1);
    struct buffer *loss = bench_fill(&bench, AIOS_F32, (size_t)n, NAN), *dx = gradient ? bench_fill(&bench, s, (size_t)n, NAN) : NULL;
    struct buffer *scale = gradient ? bench_fill(&bench, AIOS_F32, 1, 0.25) : NULL;
    static const double tails[] = {-200, 200, 30, -30, 0, 1e-5};
    for (int i = 0; i < 6 && i < n; i++) bench_set(x, (size_t)i, tails[i]), bench_set(targets, (size_t)i, i & 1);
    run_bce_with_logits(&bench, s, team_counts[n % 3], loss, dx, x, targets, scale, n, gradient);
    for (int i = 0; i < n; i++) {
        double slope, want = reference_bce(&slope, x->values[i], targets->values[i]);
        bench_expect_at(&bench, loss, (size_t)i, want, 1e-6, 1e-6); /* target x and x cancel */
        if (gradient) bench_expect_at(&bench, dx, (size_t)i, 0.25 * slope, 1e-6, 1e-7);
    }
    bench_end(&bench);
}

void loss_cases(struct runner *runner)
{
    EACH_STORAGE(s)
    {
        for (int stablemax = 0; stablemax < 2; stablemax++) {
            for (int gradient = 0; gradient < 2; gradient++) {
                check_loss(runner, s, (struct loss_case){stablemax, 1, 1, 1, 1, gradient, MIXED, 3});
                check_loss(runner, s, (struct loss_case){stablemax, 7, 2, 5, 2, gradient, MIXED, 3});
                check_loss(runner, s, (struct loss_case){stablemax, 17, 257, 264, 4, gradient, MIXED, 9});
                check_loss(runner, s, (struct loss_case){stablemax, 9, 64, 64, 9, gradient, MIXED, 0});
                check_loss(runner, s, (struct loss_case){stablemax, 5, 33, 40, 5, gradient, ALL_IGNORED, 3});
                check_loss(runner, s, (struct loss_case){stablemax, 9, 1000, 1000, 9, gradient, LAST, 40});
            }
            if (!runner->brief) check_loss(runner, s, (struct loss_case){stablemax, 3, 50257, 50304, 3, 1, MIXED, 5});
            check_not_finite(runner, s, stablemax, NAN);
            check_not_finite(runner, s, stablemax, -INFINITY);
        }
        check_not_finite(runner, s, 0, INFINITY);
        check_bce(runner, s, 1, 0);
        check_bce(runner, s, 6, 1);
        check_bce(runner, s, 4501, 1);
    }
}
