/* What the learning rate schedule and the sampler promise. */
#include "test.h"
#include "trainer/sampler.h"
#include "trainer/schedule.h"

#include <math.h>
#include <string.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-15 * fabs(b)) /* a few roundings of a double */

static void warm_up_rises_in_equal_parts_to_the_rate(void **state)
{
    (void)state;
    struct schedule s = {.lr = 0.4, .min_ratio = 0.1, .warmup = 4, .steps = 100, .kind = SCHEDULE_COSINE};
    NEAR(schedule_rate(&s, 0), 0.1);
    NEAR(schedule_rate(&s, 1), 0.2);
    NEAR(schedule_rate(&s, 2), 0.3);
    NEAR(schedule_rate(&s, 3), 0.4);
    NEAR(schedule_rate(&s, 4), 0.4);
}

static void cosine_passes_the_numbers_made_by_hand(void **state)
{
    (void)state;
    struct schedule s = {.lr = 1, .min_ratio = 0.2, .warmup = 10, .steps = 15, .kind = SCHEDULE_COSINE};
    NEAR(schedule_rate(&s, 10), 1.0);
    NEAR(schedule_rate(&s, 11), 0.88284271247461903); /* 0.2 + 0.8 * (1 + sqrt(2) / 2) / 2 */
    NEAR(schedule_rate(&s, 12), 0.6);
    NEAR(schedule_rate(&s, 13), 0.31715728752538102);
    NEAR(schedule_rate(&s, 14), 0.2);
    NEAR(schedule_rate(&s, 15), 0.2);
    NEAR(schedule_rate(&s, 1000000), 0.2);
}

static void linear_falls_in_equal_parts(void **state)
{
    (void)state;
    struct schedule s = {.lr = 2, .min_ratio = 0, .warmup = 0, .steps = 5, .kind = SCHEDULE_LINEAR};
    NEAR(schedule_rate(&s, 0), 2.0);
    NEAR(schedule_rate(&s, 1), 1.5);
    NEAR(schedule_rate(&s, 2), 1.0);
    NEAR(schedule_rate(&s, 3), 0.5);
    assert_true(schedule_rate(&s, 4) == 0.0);
}

static void constant_stays_and_short_runs_have_the_rate(void **state)
{
    (void)state;
    struct schedule s = {.lr = 3, .min_ratio = 0.1, .warmup = 2, .steps = 50, .kind = SCHEDULE_CONSTANT};
    NEAR(schedule_rate(&s, 0), 1.5);
    NEAR(schedule_rate(&s, 49), 3.0);
    struct schedule one = {.lr = 3, .min_ratio = 0.1, .warmup = 0, .steps = 1, .kind = SCHEDULE_COSINE};
    NEAR(schedule_rate(&one, 0), 3.0);
    struct schedule warming = {.lr = 3, .min_ratio = 0.1, .warmup = 6, .steps = 3, .kind = SCHEDULE_COSINE};
    NEAR(schedule_rate(&warming, 2), 1.5);
}

/* ---- sampler ----------------------------------------------------------------------------------------------------- */

static int32_t choose(aios_context *context, const float *logits, int32_t n, double temperature, int64_t top_k, double top_p, rng *r)
{
    struct sampler s = {.temperature = temperature, .top_k = top_k, .top_p = top_p};
    int32_t id = -1;
    assert_ok(sampler_init(&s, context, n));
    assert_ok(sampler_choose(&s, logits, r, &id));
    sampler_free(&s, context);
    return id;
}

static void temperature_0_takes_the_first_largest(void **state)
{
    (void)state;
    aios_context *context = test_context();
    const float logits[] = {1, 5, NAN, 5, -INFINITY};
    rng r;
    rng_init(&r, 1, 0);
    for (int i = 0; i < 10; i++) assert_int_equal(choose(context, logits, 5, 0, 0, 1, &r), 1);
    aios_context_destroy(context);
}

static void frequencies_follow_the_softmax(void **state)
{
    (void)state;
    aios_context *context = test_context();
    const float logits[] = {0, logf(2), logf(3), logf(4)};
    struct sampler s = {.temperature = 1, .top_p = 1};
    int32_t counts[4] = {0}, id, n = 20000;
    rng r;
    rng_init(&r, 7, 0);
    assert_ok(sampler_init(&s, context, 4));
    for (int32_t i = 0; i < n; i++) {
        assert_ok(sampler_choose(&s, logits, &r, &id));
        counts[id]++;
    }
    for (int i = 0; i < 4; i++) { /* five standard errors */
        double p = (i + 1) / 10.0;
        assert_true(fabs(counts[i] - n * p) < 5 * sqrt(n * p * (1 - p)));
    }
    sampler_free(&s, context);
    aios_context_destroy(context);
}

static void top_k_and_top_p_keep_the_likeliest_only(void **state)
{
    (void)state;
    aios_context *context = test_context();
    const float logits[] = {logf(1), logf(4), logf(2), logf(3)}; /* probabilities 0.1 0.4 0.2 0.3 */
    int seen[4] = {0};
    rng r;
    rng_init(&r, 3, 0);
    for (int i = 0; i < 300; i++) seen[choose(context, logits, 4, 1, 2, 1, &r)]++;
    assert_true(seen[1] && seen[3] && !seen[0] && !seen[2]);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 300; i++) seen[choose(context, logits, 4, 1, 0, 0.75, &r)]++; /* 0.4 + 0.3 < 0.75: the next one crosses it */
    assert_true(seen[1] && seen[3] && seen[2] && !seen[0]);
    for (int i = 0; i < 50; i++) assert_int_equal(choose(context, logits, 4, 1, 0, 0, &r), 1);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 300; i++) seen[choose(context, logits, 4, 1, 3, 0.7, &r)]++; /* of 0.4 0.3 0.2: 0.7 of 0.9 is 0.63 */
    assert_true(seen[1] && seen[3] && !seen[2] && !seen[0]);
    aios_context_destroy(context);
}

static void logits_without_a_number_are_an_error(void **state)
{
    (void)state;
    aios_context *context = test_context();
    const float bad[][2] = {{NAN, NAN}, {INFINITY, 0}, {-INFINITY, -INFINITY}};
    struct sampler s = {.temperature = 1, .top_p = 1};
    rng r;
    rng_init(&r, 3, 0);
    assert_ok(sampler_init(&s, context, 2));
    for (size_t i = 0; i < 3; i++) {
        int32_t id;
        assert_int_equal(sampler_choose(&s, bad[i], &r, &id), AIOS_NOT_FINITE);
    }
    sampler_free(&s, context);
    aios_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_rises_in_equal_parts_to_the_rate),
        cmocka_unit_test(cosine_passes_the_numbers_made_by_hand),
        cmocka_unit_test(linear_falls_in_equal_parts),
        cmocka_unit_test(constant_stays_and_short_runs_have_the_rate),
        cmocka_unit_test(temperature_0_takes_the_first_largest),
        cmocka_unit_test(frequencies_follow_the_softmax),
        cmocka_unit_test(top_k_and_top_p_keep_the_likeliest_only),
        cmocka_unit_test(logits_without_a_number_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
