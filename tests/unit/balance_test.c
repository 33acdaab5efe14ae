/* Shares of micro-batches: none is lost, and no other deal ends earlier. */
#include "trainer/balance.h"

#include "test.h"

#include "base/rng.h"

/* The earliest end of all deals, by trying each. */
static double try_all(const double *weights, int64_t *shares, int at, int count, int64_t left)
{
    if (at + 1 == count) {
        shares[at] = left;
        return left < 1 ? 1e300 : balance_time(weights, shares, count);
    }
    double best = 1e300;
    for (int64_t n = 1; n < left; n++) {
        shares[at] = n;
        double time = try_all(weights, shares, at + 1, count, left - n);
        if (time < best) best = time;
    }
    return best;
}

static void no_deal_ends_earlier(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 3, 3);
    for (int n = 0; n < 300; n++) {
        int count = 1 + (int)rng_below(&r, 4);
        int64_t total = count + (int64_t)rng_below(&r, 20), shares[4], tried[4], sum = 0;
        double weights[4];
        for (int i = 0; i < count; i++) weights[i] = 0.05 + rng_uniform(&r) * (double)(1 + rng_below(&r, 8));
        balance_deal(weights, count, total, shares);
        for (int i = 0; i < count; i++) {
            assert_true(shares[i] >= 1);
            sum += shares[i];
        }
        assert_int_equal(sum, total);
        double best = count == 1 ? balance_time(weights, shares, 1) : try_all(weights, tried, 0, count, total);
        assert_true(balance_time(weights, shares, count) <= best * (1 + 1e-12));
    }
}

static void fewer_micro_batches_than_devices_go_to_the_fastest(void **state)
{
    (void)state;
    const double weights[] = {1, 5, 2};
    int64_t shares[3];
    balance_deal(weights, 3, 2, shares);
    assert_int_equal(shares[0], 0);
    assert_int_equal(shares[1] + shares[2], 2);
    assert_true(shares[1] >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_deal_ends_earlier),
        cmocka_unit_test(fewer_micro_batches_than_devices_go_to_the_fastest),
    };
    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
