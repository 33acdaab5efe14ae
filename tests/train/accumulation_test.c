/* Gradient accumulation is the big batch: not nearly, but up to the rounding of sums in another order. */
#include "run.h"

struct outcome {
    double loss, norm;
    float *gradient, *weights;
    uint64_t count;
};

static void read_all(aios_parameters *p, int32_t kind, float *to)
{
    for (uint32_t i = 0; i < aios_parameters_count(p); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        assert_ok(aios_parameters_info(p, i, &info));
        assert_ok(aios_parameters_read(p, info.name, kind, to, info.count));
        to += info.count;
    }
}

/* steps of the same 8 samples each, cut into micro-batches of `batch`. */
static struct outcome train(size_t text, const char *batch, const char *accumulation, const char *steps, const char *optimizer)
{
    struct run r;
    struct outcome o = {0};
    run_open(&r);
    write_repeated(&r, "text.txt", "the quick brown fox jumps over the lazy dog. ", text);
    run_set(&r, "batch-size", batch);
    run_set(&r, "gradient-accumulation-steps", accumulation);
    run_set(&r, "steps", steps);
    run_set(&r, "optimizer", optimizer);
    run_set(&r, "shuffle", "off");
    run_set(&r, "lr", "1e-3");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    aios_parameters *p = aios_trainer_parameters(r.trainer);
    o.loss = m.loss;
    o.norm = m.grad_norm;
    o.count = aios_parameters_total(p);
    o.gradient = malloc(o.count * sizeof *o.gradient);
    o.weights = malloc(o.count * sizeof *o.weights);
    assert_true(o.gradient && o.weights);
    read_all(p, AIOS_GRADIENT, o.gradient);
    read_all(p, AIOS_VALUE, o.weights);
    run_close(&r);
    return o;
}

static void free_outcome(struct outcome *o)
{
    free(o->gradient);
    free(o->weights);
}

/* The largest difference, as a part of the largest value. */
static double difference(const float *a, const float *b, uint64_t count)
{
    double most = 0, largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
    }
    return most / largest;
}

static void check(const char *steps)
{
    static const char *const cuts[][2] = {{"8", "1"}, {"4", "2"}, {"1", "8"}, {"2", "4"}};
    struct outcome whole = train(1000, cuts[0][0], cuts[0][1], steps, "adamw");
    for (size_t i = 1; i < 4; i++) {
        struct outcome cut = train(1000, cuts[i][0], cuts[i][1], steps, "adamw");
        assert_int_equal(cut.count, whole.count);
        assert_true(fabs(cut.loss - whole.loss) < 1e-6 * whole.loss); /* sums of 256 f32 numbers of 6e-8 each */
        assert_true(fabs(cut.norm - whole.norm) < 1e-5 * whole.norm);
        double d = difference(whole.gradient, cut.gradient, whole.count);
        if (!(d < 1e-5)) fail_msg("batch %s x %s: the gradients differ by %g of the largest", cuts[i][0], cuts[i][1], d);
        /* AdamW's first step is the sign of each gradient: where that is rounding noise alone, weights part by 2 lr */
        d = difference(whole.weights, cut.weights, whole.count);
        assert_true(d < 3e-3);
        free_outcome(&cut);
    }
    free_outcome(&whole);
}

static void gradients_and_losses_of_one_step_are_the_big_batchs(void **state)
{
    (void)state;
    check("1");
}

/* 228 labels are 7 samples and 4 labels of an eighth: a mean of means would weigh the four too much, a mean over 256 too little. */
static void a_short_sample_weighs_what_its_labels_weigh(void **state)
{
    (void)state;
    struct outcome whole = train(228, "8", "1", "1", "adamw"), cut = train(228, "1", "8", "1", "adamw"),
                   more = train(228, "4", "2", "4", "sign-sgd"), one = train(228, "8", "1", "4", "sign-sgd");
    assert_true(fabs(whole.loss - log(257)) < 0.1); /* nothing is known yet */
    assert_true(fabs(cut.loss - whole.loss) < 1e-6 * whole.loss);
    assert_true(difference(whole.gradient, cut.gradient, whole.count) < 1e-5);
    assert_true(fabs(more.loss - one.loss) < 1e-4 * one.loss); /* three updates have gone by */
    free_outcome(&whole);
    free_outcome(&cut);
    free_outcome(&more);
    free_outcome(&one);
}

int main(void)
{
    use_one_thread();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_and_losses_of_one_step_are_the_big_batchs),
        cmocka_unit_test(a_short_sample_weighs_what_its_labels_weigh),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
