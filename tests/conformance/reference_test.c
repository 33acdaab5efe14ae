/* The float64 references' gradients against finite differences of their own forward: what judges the kernels is judged first. */
#include "reference.h"
#include "test.h"

#include <math.h>
#include <string.h>

enum { MOST = 400 };

/* A forward as a scalar: sum over the outputs of weight * output, with the outputs' gradient = weight. */
typedef double (*scalar_fn)(const double *x, void *user);

static double weight(int i)
{
    return sin(1.7 * i + 0.3);
}

static void fill(double *x, int n, double phase, double size)
{
    for (int i = 0; i < n; i++) x[i] = size * sin(phase + 2.399 * i);
}

/* Central differences are exact to h^2 = 1e-10 of the third derivative, and lose 1e-16 / h to rounding. */
static void expect_gradient(scalar_fn f, void *user, double *x, const double *gradient, int n)
{
    const double h = 1e-5;
    for (int i = 0; i < n; i++) {
        double keep = x[i];
        x[i] = keep + h;
        double above = f(x, user);
        x[i] = keep - h;
        double below = f(x, user);
        x[i] = keep;
        double slope = (above - below) / (2 * h);
        if (!(fabs(slope - gradient[i]) <= 1e-6 * (1 + fabs(slope))))
            fail_msg("element %d: %.12g by differences, %.12g by formula", i, slope, gradient[i]);
    }
}

static double gelu_of(const double *x, void *user)
{
    (void)user;
    return reference_gelu(*x);
}

static void gelu_slope_is_the_derivative(void **state)
{
    (void)state;
    for (double x = -8; x < 8; x += 0.37) {
        double slope = reference_gelu_slope(x);
        expect_gradient(gelu_of, NULL, &x, &slope, 1);
    }
}

enum { N = 9 };

static double swiglu_of(const double *x, void *user)
{
    double y[N], sum = 0;
    (void)user;
    reference_swiglu(y, x, N);
    for (int i = 0; i < N; i++) sum += weight(i) * y[i];
    return sum;
}

static void swiglu_backward_is_the_derivative(void **state)
{
    (void)state;
    double x[2 * N], dy[N], dx[2 * N];
    fill(x, 2 * N, 1, 3);
    for (int i = 0; i < N; i++) dy[i] = weight(i);
    reference_swiglu_backward(dx, dy, x, N);
    expect_gradient(swiglu_of, NULL, x, dx, 2 * N);
}

/* x = [row | w | b] */
static double layernorm_of(const double *x, void *user)
{
    double y[N], mean, rstd, sum = 0;
    (void)user;
    reference_layernorm(y, &mean, &rstd, x, x + N, x + 2 * N, N, 1e-3);
    for (int i = 0; i < N; i++) sum += weight(i) * y[i];
    return sum;
}

static double rmsnorm_of(const double *x, void *user)
{
    double y[N], rstd, sum = 0;
    (void)user;
    reference_rmsnorm(y, &rstd, x, x + N, N, 1e-3);
    for (int i = 0; i < N; i++) sum += weight(i) * y[i];
    return sum;
}

static void norm_backwards_are_the_derivatives(void **state)
{
    (void)state;
    double x[3 * N], dy[N], gradient[3 * N] = {0};
    fill(x, 3 * N, 2, 2);
    for (int i = 0; i < N; i++) dy[i] = weight(i);
    reference_layernorm_backward(gradient, gradient + N, gradient + 2 * N, dy, x, x + N, N, 1e-3);
    expect_gradient(layernorm_of, NULL, x, gradient, 3 * N);
    memset(gradient, 0, sizeof gradient);
    reference_rmsnorm_backward(gradient, gradient + N, dy, x, x + N, N, 1e-3);
    expect_gradient(rmsnorm_of, NULL, x, gradient, 2 * N);
}

struct rope_shape {
    double c[4], s[4];
};

static double rope_of(const double *x, void *user)
{
    const struct rope_shape *shape = user;
    double y[20], sum = 0;
    reference_rope(y, x, shape->c, shape->s, 20, 2, 8, 0);
    for (int i = 0; i < 20; i++) sum += weight(i) * y[i];
    return sum;
}

static void inverse_rope_is_the_derivative(void **state)
{
    (void)state;
    struct rope_shape shape;
    double x[20], dy[20], dx[20];
    for (int i = 0; i < 4; i++) shape.c[i] = cos(0.4 * i), shape.s[i] = sin(0.4 * i);
    fill(x, 20, 3, 2);
    for (int i = 0; i < 20; i++) dy[i] = weight(i);
    reference_rope(dx, dy, shape.c, shape.s, 20, 2, 8, 1);
    expect_gradient(rope_of, &shape, x, dx, 20);
}

static double attention_of(const double *x, void *user)
{
    const struct reference_attention *a = user;
    double y[MOST], lse[MOST], sum = 0;
    int q_size = a->batch * a->q_len * a->q_stride, kv_size = a->batch * a->kv_capacity * a->kv_stride;
    reference_attention(y, lse, x, x + q_size, x + q_size + kv_size, a);
    for (int i = 0; i < a->batch * a->q_len * a->y_stride; i++) sum += weight(i) * y[i];
    return sum;
}

static void attention_backward_is_the_derivative(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct reference_attention a = {2, 4, 2, 3, 5, 6, 7, 12, 6, 12, causal, 0, 0.6};
        double x[MOST], gradient[MOST] = {0}, dy[MOST], delta[MOST];
        int q_size = a.batch * a.q_len * a.q_stride, kv_size = a.batch * a.kv_capacity * a.kv_stride;
        assert_true(q_size + 2 * kv_size <= MOST);
        fill(x, q_size + 2 * kv_size, 4, 1.5);
        for (int i = 0; i < q_size; i++) dy[i] = weight(i);
        reference_attention_backward(gradient, gradient + q_size, gradient + q_size + kv_size, delta, dy, x, x + q_size,
                                     x + q_size + kv_size, &a);
        expect_gradient(attention_of, &a, x, gradient, q_size + 2 * kv_size);
    }
}

static double softmax_of(const double *x, void *user)
{
    int hit;
    return reference_softmax_loss(NULL, &hit, x, N, *(const int *)user);
}

static double stablemax_of(const double *x, void *user)
{
    int hit;
    return reference_stablemax_loss(NULL, &hit, x, N, *(const int *)user);
}

static double bce_of(const double *x, void *user)
{
    double slope;
    return reference_bce(&slope, *x, *(const double *)user);
}

static void loss_gradients_are_the_derivatives(void **state)
{
    (void)state;
    double x[N], gradient[N];
    fill(x, N, 5, 3);
    for (int target = -1; target < N; target++) {
        int hit;
        (void)reference_softmax_loss(gradient, &hit, x, N, target);
        expect_gradient(softmax_of, &target, x, gradient, N);
        (void)reference_stablemax_loss(gradient, &hit, x, N, target);
        expect_gradient(stablemax_of, &target, x, gradient, N);
    }
    for (double v = -5; v < 5; v += 0.7) {
        double target = 0.3, slope;
        (void)reference_bce(&slope, v, target);
        expect_gradient(bce_of, &target, &v, &slope, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gelu_slope_is_the_derivative),         cmocka_unit_test(swiglu_backward_is_the_derivative),
        cmocka_unit_test(norm_backwards_are_the_derivatives),   cmocka_unit_test(inverse_rope_is_the_derivative),
        cmocka_unit_test(attention_backward_is_the_derivative), cmocka_unit_test(loss_gradients_are_the_derivatives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
