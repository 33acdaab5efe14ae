/* What plan.h promises of the optimizer: AdamW, Adam-atan2 and sign-SGD as in float64, groups, clipping, the loss scale and its
 * skipped steps, and a state that is restored to the bit.  Gradients are written by the test, so nothing else takes part. */
#include "test.h"

#include <aios/plan.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values are about 1 and lose 6e-8 in each of ten steps; the update itself is right to some 1e-6 of lr = 0.01. */
#define TOLERANCE 2e-6

/* ---- parameters with gradients of the test's own ------------------------------------------------------------------ */

struct entry {
    const char *name;
    int32_t shape[2], rank, group;
    size_t count, offset;
};

/* More and less than a block of 1,024, of both groups, in turn. */
static const struct entry entries[] = {
    {"matrix", {33, 40}, 2, AIOS_GROUP_DECAY, 1320, 0}, {"bias", {7}, 1, AIOS_GROUP_NO_DECAY, 7, 1320},
    {"one", {1}, 1, AIOS_GROUP_DECAY, 1, 1327},         {"block", {1024}, 1, AIOS_GROUP_NO_DECAY, 1024, 1328},
    {"odd", {3, 683}, 2, AIOS_GROUP_DECAY, 2049, 2352},
};
#define ENTRIES (sizeof entries / sizeof *entries)
#define TOTAL   4401

struct subject {
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_optimizer *optimizer;
    aios_optimizer_options options;
};

/* In [-1, 1) from a number. */
static double formula(uint64_t i)
{
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) / 4503599627370496.0 - 1.0;
}

static void write_all(struct subject *s, int32_t kind, const float *from)
{
    for (size_t i = 0; i < ENTRIES; i++)
        assert_ok(aios_parameters_write(s->parameters, entries[i].name, kind, from + entries[i].offset, entries[i].count));
}

static void read_all(struct subject *s, int32_t kind, float *to)
{
    for (size_t i = 0; i < ENTRIES; i++)
        assert_ok(aios_parameters_read(s->parameters, entries[i].name, kind, to + entries[i].offset, entries[i].count));
}

static void begin(struct subject *s, const aios_optimizer_options *options)
{
    float values[TOTAL];
    *s = (struct subject){.context = test_context(), .options = *options};
    assert_ok(aios_device_open(s->context, "cpu", &s->device));
    assert_ok(aios_graph_create(s->context, &s->graph));
    for (size_t i = 0; i < ENTRIES; i++)
        assert_true(aios_graph_parameter(s->graph, entries[i].name, entries[i].shape, entries[i].rank, AIOS_INIT_ZERO, 0.0f,
                                         entries[i].group) != 0);
    assert_ok(aios_graph_finish(s->graph));
    assert_ok(aios_parameters_create(s->device, s->graph, NULL, &s->parameters));
    assert_ok(aios_optimizer_create(s->parameters, options, &s->optimizer));
    for (size_t i = 0; i < TOTAL; i++) values[i] = (float)formula(i);
    write_all(s, AIOS_VALUE, values);
}

static void end(struct subject *s)
{
    aios_optimizer_destroy(s->optimizer);
    aios_parameters_destroy(s->parameters);
    aios_graph_destroy(s->graph);
    aios_device_close(s->device);
    aios_context_destroy(s->context);
}

/* The gradient of a step: of very different sizes, and zero here and there. */
static double gradient_at(size_t i, uint64_t step)
{
    return i % 97 == 5 ? 0.0 : formula(1000003 * (step + 1) + i) * pow(10.0, (double)(i % 5) - 3.0);
}

static void write_gradient(struct subject *s, uint64_t step, double loss_scale)
{
    float gradient[TOTAL];
    for (size_t i = 0; i < TOTAL; i++) gradient[i] = (float)gradient_at(i, step) * (float)loss_scale;
    write_all(s, AIOS_GRADIENT, gradient);
}

static aios_step_result step_with(struct subject *s, uint64_t step, double lr, double loss_scale)
{
    aios_step_result result = {.struct_size = sizeof result};
    assert_ok(aios_optimizer_begin(s->optimizer, lr, 1.0));
    write_gradient(s, step, loss_scale);
    assert_ok(aios_optimizer_step(s->optimizer));
    assert_ok(aios_optimizer_result(s->optimizer, &result));
    return result;
}

/* A step whose gradient has one number that is not finite. */
static aios_step_result broken_step(struct subject *s, float poison, size_t where)
{
    aios_step_result result = {.struct_size = sizeof result};
    float gradient[TOTAL] = {0};
    gradient[where] = poison;
    assert_ok(aios_optimizer_begin(s->optimizer, 0.01, 1.0));
    write_all(s, AIOS_GRADIENT, gradient);
    assert_ok(aios_optimizer_step(s->optimizer));
    assert_ok(aios_optimizer_result(s->optimizer, &result));
    return result;
}

static aios_optimizer_options options_of(int32_t kind)
{
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    options.kind = kind;
    options.max_norm = 0.0;
    return options;
}

/* ---- the rules in float64 ---------------------------------------------------------------------------------------- */

struct exact {
    double value[TOTAL], moment1[TOTAL], moment2[TOTAL];
    int steps;
};

static void exact_begin(struct exact *e)
{
    memset(e, 0, sizeof *e);
    for (size_t i = 0; i < TOTAL; i++) e->value[i] = (double)(float)formula(i);
}

/* Returns the norm before clipping. */
static double exact_step(struct exact *e, const aios_optimizer_options *o, uint64_t step, double lr)
{
    double squares = 0.0, clip = 1.0;
    for (size_t i = 0; i < TOTAL; i++) squares += gradient_at(i, step) * gradient_at(i, step);
    double norm = sqrt(squares);
    if (o->max_norm > 0.0 && norm + 1e-6 > o->max_norm) clip = o->max_norm / (norm + 1e-6); /* torch.nn.utils.clip_grad_norm_ */
    e->steps++;
    for (size_t k = 0; k < ENTRIES; k++)
        for (size_t i = entries[k].offset; i < entries[k].offset + entries[k].count; i++) {
            double g = clip * (double)(float)gradient_at(i, step), decay = entries[k].group == AIOS_GROUP_DECAY ? o->weight_decay : 0.0;
            double *m = &e->moment1[i], *v = &e->moment2[i], *p = &e->value[i];
            *m = o->beta1 * *m + (1.0 - o->beta1) * g;
            *v = o->beta2 * *v + (1.0 - o->beta2) * g * g;
            double c1 = 1.0 / (1.0 - pow(o->beta1, e->steps)), c2 = 1.0 / (1.0 - pow(o->beta2, e->steps));
            *p *= 1.0 - lr * decay;
            if (o->kind == AIOS_ADAMW)
                *p -= lr * c1 * *m / (sqrt(c2 * *v) + o->eps);
            else if (o->kind == AIOS_ADAM_ATAN2)
                *p -= lr * c1 * atan2(*m, sqrt(c2 * *v));
            else
                *p -= lr * (double)((g > 0.0) - (g < 0.0));
        }
    return norm;
}

static void compare(struct subject *s, int32_t kind, const double *wanted, double tolerance)
{
    float got[TOTAL];
    read_all(s, kind, got);
    for (size_t i = 0; i < TOTAL; i++)
        if (!(fabs((double)got[i] - wanted[i]) <= tolerance * (kind == AIOS_VALUE ? 1.0 : fabs(wanted[i]) + 1e-12)))
            fail_msg("kind %d, number %zu is %.9g and should be %.9g", kind, i, (double)got[i], wanted[i]);
}

static void compare_rule(const aios_optimizer_options *o)
{
    static struct exact e;
    struct subject s;
    begin(&s, o);
    exact_begin(&e);
    for (uint64_t step = 0; step < 10; step++) {
        double lr = 0.01 / (double)(step + 1), norm = exact_step(&e, o, step, lr);
        aios_step_result result = step_with(&s, step, lr, 1.0);
        assert_int_equal(result.finite, 1);
        assert_true(fabs(result.norm - norm) <= 1e-6 * norm);
        compare(&s, AIOS_VALUE, e.value, TOLERANCE);
        /* a moment that changes its sign is a difference of larger ones: of 1e-5 of its own size still */
        if (o->kind != AIOS_SIGN_SGD) compare(&s, AIOS_MOMENT2, e.moment2, 3e-6);
    }
    end(&s);
}

static void each_rule_is_that_of_float64(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        aios_optimizer_options options = options_of(kind);
        compare_rule(&options);
        options.weight_decay = 0.0;
        options.beta1 = 0.0;
        options.beta2 = 0.999;
        options.eps = 1e-3;
        compare_rule(&options);
    }
}

static void a_gradient_above_max_norm_is_scaled_down(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        aios_optimizer_options options = options_of(kind);
        options.eps = 1e-2; /* so that AdamW sees the size of a gradient */
        options.max_norm = 0.5;
        compare_rule(&options);
        options.max_norm = 1e6; /* never reached */
        compare_rule(&options);
    }
}

static void beginning_a_step_clears_gradients(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_ADAMW);
    struct subject s;
    float got[TOTAL];
    begin(&s, &options);
    write_gradient(&s, 1, 1.0);
    assert_ok(aios_optimizer_begin(s.optimizer, 0.1, 1.0));
    read_all(&s, AIOS_GRADIENT, got);
    for (size_t i = 0; i < TOTAL; i++) assert_true(got[i] == 0.0f);
    end(&s);
}

static void a_rate_of_zero_leaves_every_weight(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        aios_optimizer_options options = options_of(kind);
        struct subject s;
        float got[TOTAL];
        begin(&s, &options);
        (void)step_with(&s, 0, 0.0, 1.0);
        read_all(&s, AIOS_VALUE, got);
        for (size_t i = 0; i < TOTAL; i++) assert_true(got[i] == (float)formula(i));
        end(&s);
    }
}

/* ---- loss scale -------------------------------------------------------------------------------------------------- */

/* Powers of two are divided out without rounding. */
static void a_loss_scale_changes_no_bit(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        struct subject plain, scaled;
        float a[TOTAL], b[TOTAL];
        aios_optimizer_options options = options_of(kind);
        options.max_norm = 1.0;
        begin(&plain, &options);
        options.loss_scale = 4096.0;
        begin(&scaled, &options);
        for (uint64_t step = 0; step < 4; step++) {
            aios_step_result x = step_with(&plain, step, 0.01, 1.0), y = step_with(&scaled, step, 0.01, 4096.0);
            assert_true(x.norm == y.norm && x.loss_scale == 1.0 && y.loss_scale == 4096.0);
        }
        read_all(&plain, AIOS_VALUE, a);
        read_all(&scaled, AIOS_VALUE, b);
        assert_memory_equal(a, b, sizeof a);
        end(&plain);
        end(&scaled);
    }
}

static void a_gradient_that_is_not_finite_is_as_if_it_had_never_been(void **state)
{
    (void)state;
    static const float poisons[] = {INFINITY, -INFINITY, NAN};
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++)
        for (size_t p = 0; p < 3; p++) {
            struct subject good, bad;
            float a[TOTAL], b[TOTAL];
            aios_optimizer_options options = options_of(kind);
            options.loss_scale = 1024.0;
            options.growth_interval = 100;
            begin(&good, &options);
            begin(&bad, &options);
            (void)step_with(&good, 0, 0.01, 1024.0);
            (void)step_with(&bad, 0, 0.01, 1024.0);
            for (size_t i = 0; i < ENTRIES; i++) { /* in every tensor, in its last element */
                aios_step_result r = broken_step(&bad, poisons[p], entries[i].offset + entries[i].count - 1);
                assert_int_equal(r.finite, 0);
                assert_true(!isfinite(r.norm));
                assert_true(r.loss_scale == ldexp(1024.0, -(int)i - 1) && r.skipped == (double)(i + 1) &&
                            r.skipped_in_a_row == (double)(i + 1));
            }
            (void)step_with(&good, 1, 0.01, 1024.0);
            aios_step_result r = step_with(&bad, 1, 0.01, 32.0);
            assert_true(r.finite == 1 && r.skipped == (double)ENTRIES && r.skipped_in_a_row == 0.0 && r.loss_scale == 32.0);
            read_all(&good, AIOS_VALUE, a);
            read_all(&bad, AIOS_VALUE, b);
            assert_memory_equal(a, b, sizeof a);
            end(&good);
            end(&bad);
        }
}

static void the_scale_doubles_after_the_interval(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_ADAMW);
    struct subject s;
    options.loss_scale = 8.0;
    options.growth_interval = 3;
    begin(&s, &options);
    static const double wanted[] = {8, 8, 16, 16, 16, 32};
    for (uint64_t step = 0; step < 6; step++)
        assert_true(step_with(&s, step, 0.001, step ? wanted[step - 1] : 8.0).loss_scale == wanted[step]);
    assert_true(step_with(&s, 6, 0.001, 32.0).loss_scale == 32.0);
    assert_true(step_with(&s, 7, 0.001, 32.0).loss_scale == 32.0);
    assert_true(broken_step(&s, INFINITY, 3).loss_scale == 16.0); /* the count begins again */
    assert_true(step_with(&s, 8, 0.001, 16.0).loss_scale == 16.0);
    assert_true(step_with(&s, 9, 0.001, 16.0).loss_scale == 16.0);
    assert_true(step_with(&s, 10, 0.001, 16.0).loss_scale == 32.0);
    end(&s);
}

static void without_an_interval_the_scale_stays(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_SIGN_SGD);
    struct subject s;
    options.loss_scale = 8.0;
    begin(&s, &options);
    for (uint64_t step = 0; step < 5; step++) assert_true(step_with(&s, step, 0.001, 8.0).loss_scale == 8.0);
    aios_step_result r = broken_step(&s, NAN, 0);
    assert_true(r.loss_scale == 8.0 && r.finite == 0 && r.skipped == 1.0);
    end(&s);
}

/* The squares of finite numbers may be more than f32 holds: such a step is skipped, never a source of infinities. */
static void a_norm_that_overflows_skips_the_step(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_ADAMW);
    struct subject s;
    float got[TOTAL];
    begin(&s, &options);
    assert_int_equal(broken_step(&s, 1e30f, 17).finite, 0);
    read_all(&s, AIOS_VALUE, got);
    for (size_t i = 0; i < TOTAL; i++) assert_true(got[i] == (float)formula(i));
    end(&s);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

static void a_restored_optimizer_goes_on_to_the_bit(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        struct subject s, restored;
        float saved[3][TOTAL], numbers[64], a[TOTAL], b[TOTAL];
        int32_t kinds = kind == AIOS_SIGN_SGD ? 1 : 3;
        static const int32_t which[] = {AIOS_VALUE, AIOS_MOMENT1, AIOS_MOMENT2};
        aios_optimizer_options options = options_of(kind);
        options.loss_scale = 64.0;
        options.growth_interval = 4;
        options.max_norm = 1.0;
        begin(&s, &options);
        (void)step_with(&s, 0, 0.01, 64.0);
        (void)broken_step(&s, NAN, 2);
        for (uint64_t step = 1; step < 4; step++) (void)step_with(&s, step, 0.01, 32.0);
        for (int32_t k = 0; k < kinds; k++) read_all(&s, which[k], saved[k]);
        assert_in_range(aios_optimizer_state_count(), 1, 64);
        assert_ok(aios_optimizer_read_state(s.optimizer, numbers, aios_optimizer_state_count()));

        begin(&restored, &options);
        for (int32_t k = 0; k < kinds; k++) write_all(&restored, which[k], saved[k]);
        assert_ok(aios_optimizer_write_state(restored.optimizer, numbers, aios_optimizer_state_count()));
        for (uint64_t step = 4; step < 8; step++) {
            aios_step_result x = step_with(&s, step, 0.01, step < 5 ? 32.0 : 64.0),
                             y = step_with(&restored, step, 0.01, step < 5 ? 32.0 : 64.0);
            assert_memory_equal(&x, &y, sizeof x);
            assert_true(x.loss_scale == 64.0 && x.skipped == 1.0);
        }
        for (int32_t k = 0; k < kinds; k++) {
            read_all(&s, which[k], a);
            read_all(&restored, which[k], b);
            assert_memory_equal(a, b, sizeof a);
        }
        end(&s);
        end(&restored);
    }
}

static void parameters_take_another_optimizer_after_the_first(void **state)
{
    (void)state;
    for (int32_t kind = AIOS_ADAMW; kind <= AIOS_SIGN_SGD; kind++) {
        aios_optimizer_options options = options_of(kind), other = options_of(AIOS_ADAMW);
        struct subject s;
        aios_optimizer *second;
        float x[7];
        begin(&s, &options);
        assert_int_equal(aios_optimizer_create(s.parameters, &other, &second), AIOS_WRONG_STATE);
        assert_null(second);
        other.kind = AIOS_SIGN_SGD;
        assert_int_equal(aios_optimizer_create(s.parameters, &other, &second), AIOS_WRONG_STATE);
        aios_optimizer_destroy(s.optimizer);
        assert_int_equal(aios_parameters_read(s.parameters, "bias", AIOS_MOMENT1, x, 7), AIOS_WRONG_STATE);
        assert_ok(aios_optimizer_create(s.parameters, &other, &s.optimizer));
        assert_int_equal(aios_parameters_read(s.parameters, "bias", AIOS_MOMENT1, x, 7), AIOS_WRONG_STATE); /* sign-SGD has none */
        end(&s);
    }
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void refuse(struct subject *s, const aios_optimizer_options *options, aios_status status, const char *word)
{
    aios_optimizer *made;
    assert_int_equal(aios_optimizer_create(s->parameters, options, &made), status);
    assert_null(made);
    if (!strstr(aios_error_message(), word)) fail_msg("'%s' doesn't name %s", aios_error_message(), word);
}

#define REFUSE(field, number, status, word)                                                                                                \
    do {                                                                                                                                   \
        aios_optimizer_options o_ = AIOS_OPTIMIZER_OPTIONS_INIT;                                                                           \
        o_.field = (number);                                                                                                               \
        refuse(&s, &o_, status, word);                                                                                                     \
    } while (0)

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_ADAMW);
    struct subject s;
    begin(&s, &options);
    aios_optimizer_destroy(s.optimizer);
    s.optimizer = NULL;
    REFUSE(kind, 3, AIOS_INVALID_ARGUMENT, "3");
    REFUSE(kind, -1, AIOS_INVALID_ARGUMENT, "-1");
    REFUSE(beta1, 1.0, AIOS_OUT_OF_RANGE, "beta1");
    REFUSE(beta2, -0.1, AIOS_OUT_OF_RANGE, "beta2");
    REFUSE(beta2, (double)NAN, AIOS_OUT_OF_RANGE, "beta2");
    REFUSE(eps, -1e-9, AIOS_OUT_OF_RANGE, "eps");
    REFUSE(weight_decay, -1.0, AIOS_OUT_OF_RANGE, "weight_decay");
    REFUSE(max_norm, -1.0, AIOS_OUT_OF_RANGE, "max_norm");
    REFUSE(loss_scale, 0.0, AIOS_OUT_OF_RANGE, "loss_scale");
    REFUSE(growth_interval, -5, AIOS_OUT_OF_RANGE, "growth_interval");
    end(&s);
}

static void steps_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    aios_optimizer_options options = options_of(AIOS_ADAMW);
    struct subject s;
    float numbers[64] = {0};
    begin(&s, &options);
    assert_int_equal(aios_optimizer_begin(s.optimizer, -1e-3, 1.0), AIOS_OUT_OF_RANGE);
    assert_int_equal(aios_optimizer_begin(s.optimizer, (double)NAN, 1.0), AIOS_OUT_OF_RANGE);
    assert_int_equal(aios_optimizer_begin(s.optimizer, 1e-3, 0.0), AIOS_OUT_OF_RANGE);
    assert_int_equal(aios_optimizer_read_state(s.optimizer, numbers, 3), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_optimizer_write_state(s.optimizer, numbers, aios_optimizer_state_count() + 1), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_parameters_write(s.parameters, "bias", AIOS_GRADIENT, numbers, 6), AIOS_OUT_OF_RANGE);
    assert_non_null(strstr(aios_error_message(), "'bias' has 7 elements, not 6"));
    assert_int_equal(aios_parameters_read(s.parameters, "nobody", AIOS_VALUE, numbers, 6), AIOS_NOT_FOUND);
    assert_non_null(strstr(aios_error_message(), "nobody"));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_is_that_of_float64),
        cmocka_unit_test(a_gradient_above_max_norm_is_scaled_down),
        cmocka_unit_test(beginning_a_step_clears_gradients),
        cmocka_unit_test(a_rate_of_zero_leaves_every_weight),
        cmocka_unit_test(a_loss_scale_changes_no_bit),
        cmocka_unit_test(a_gradient_that_is_not_finite_is_as_if_it_had_never_been),
        cmocka_unit_test(the_scale_doubles_after_the_interval),
        cmocka_unit_test(without_an_interval_the_scale_stays),
        cmocka_unit_test(a_norm_that_overflows_skips_the_step),
        cmocka_unit_test(a_restored_optimizer_goes_on_to_the_bit),
        cmocka_unit_test(parameters_take_another_optimizer_after_the_first),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(steps_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests_name("optimizer numerics", tests, NULL, NULL);
}
