/* What attention forward and backward promise, on the CPU device and by the portable kernels, against float64. */
#include "gpu/device.h"
#include "storage.h"

static aios_context *context;
static aios_device *cpu;
static aios_stream *stream;

typedef aios_status (*attention_fn)(aios_stream *, const aios_attention *);
struct way {
    const char *name;
    attention_fn forward, backward;
};
static const struct way ways[] = {{"device", aios_stream_attention_forward, aios_stream_attention_backward},
                                  {"portable", fallback_attention_forward, fallback_attention_backward}};

/* ---- a problem with its own memory ------------------------------------------------------------------------------- */

struct shape {
    int32_t batch, heads, kv_heads, head_size, q_len, kv_len, causal, start; /* start -1: none */
};

struct problem {
    aios_attention a;
    int64_t count_q, count_kv, count_out, count_lse;
    int32_t start;
    /* float64: what should come out */
    double *out, *lse, *d_q, *d_k, *d_v;
};

static struct problem make_problem(struct shape s, int32_t type, int32_t pad, rng *r)
{
    struct problem p = {.a = {.struct_size = sizeof p.a,
                              .type = type,
                              .batch = s.batch,
                              .heads = s.heads,
                              .kv_heads = s.kv_heads,
                              .head_size = s.head_size,
                              .q_len = s.q_len,
                              .kv_len = s.kv_len,
                              .kv_capacity = s.kv_len + pad,
                              .causal = s.causal},
                        .start = s.start};
    aios_attention *a = &p.a;
    a->q_stride = (int64_t)s.heads * s.head_size + 3 * pad;
    a->kv_stride = (int64_t)s.kv_heads * s.head_size + 2 * pad;
    a->out_stride = (int64_t)s.heads * s.head_size + pad;
    a->scale = (float)(1 / sqrt(s.head_size));
    p.count_q = s.batch * s.q_len * a->q_stride;
    p.count_kv = s.batch * (int64_t)a->kv_capacity * a->kv_stride;
    p.count_out = s.batch * s.q_len * a->out_stride;
    p.count_lse = (int64_t)s.batch * s.heads * s.q_len;
    a->q = storage_random(p.count_q, type, 2, r);
    a->k = storage_random(p.count_kv, type, 2, r);
    a->v = storage_random(p.count_kv, type, 1, r);
    a->d_out = storage_random(p.count_out, type, 1, r);
    a->out = storage_poison(p.count_out, type);
    a->lse = storage_poison(p.count_lse, AIOS_F32);
    a->d_q = storage_poison(p.count_q, type);
    a->d_k = storage_poison(p.count_kv, type);
    a->d_v = storage_poison(p.count_kv, type);
    uint64_t forward = aios_device_attention_workspace(cpu, a, 0), backward = aios_device_attention_workspace(cpu, a, 1);
    assert_ok(aios_device_alloc(cpu, forward > backward ? forward : backward, &a->workspace));
    memset(a->workspace, 0xff, forward > backward ? forward : backward);
    p.out = calloc((size_t)p.count_out, sizeof(double));
    p.lse = calloc((size_t)p.count_lse, sizeof(double));
    p.d_q = calloc((size_t)p.count_q, sizeof(double));
    p.d_k = calloc((size_t)p.count_kv, sizeof(double));
    p.d_v = calloc((size_t)p.count_kv, sizeof(double));
    return p;
}

static void free_problem(struct problem *p)
{
    aios_attention *a = &p->a;
    aios_device_free(cpu, a->workspace);
    void *const own[] = {(void *)(uintptr_t)a->q,
                         (void *)(uintptr_t)a->k,
                         (void *)(uintptr_t)a->v,
                         (void *)(uintptr_t)a->d_out,
                         a->out,
                         a->lse,
                         a->d_q,
                         a->d_k,
                         a->d_v,
                         p->out,
                         p->lse,
                         p->d_q,
                         p->d_k,
                         p->d_v};
    for (size_t i = 0; i < COUNT_OF(own); i++) free(own[i]);
}

/* ---- float64 ----------------------------------------------------------------------------------------------------- */

static int64_t at_q(const aios_attention *a, int64_t stride, int32_t b, int32_t h, int32_t t)
{
    return ((int64_t)b * a->q_len + t) * stride + (int64_t)h * a->head_size;
}

static int64_t at_kv(const aios_attention *a, int32_t b, int32_t h, int32_t t)
{
    return ((int64_t)b * a->kv_capacity + t) * a->kv_stride + (int64_t)(h / (a->heads / a->kv_heads)) * a->head_size;
}

/* One query: p, then out and lse; with gradients what it adds to them. */
static void reference_row(struct problem *p, int32_t b, int32_t h, int32_t t, double *weights, int backward)
{
    const aios_attention *a = &p->a;
    int32_t d = a->head_size, seen = a->causal ? (p->start > 0 ? p->start : 0) + t + 1 : a->kv_len;
    if (seen > a->kv_len) seen = a->kv_len;
    int64_t q = at_q(a, a->q_stride, b, h, t), out = at_q(a, a->out_stride, b, h, t);
    double top = -INFINITY, sum = 0, delta = 0;
    for (int32_t j = 0; j < seen; j++) {
        double dot = 0;
        for (int32_t i = 0; i < d; i++) dot += storage_get(a->q, q + i, a->type) * storage_get(a->k, at_kv(a, b, h, j) + i, a->type);
        weights[j] = dot * (double)a->scale;
        top = fmax(top, weights[j]);
    }
    for (int32_t j = 0; j < seen; j++) sum += weights[j] = exp(weights[j] - top);
    p->lse[((int64_t)b * a->heads + h) * a->q_len + t] = top + log(sum);
    for (int32_t i = 0; i < d; i++) p->out[out + i] = 0;
    for (int32_t j = 0; j < seen; j++) {
        weights[j] /= sum;
        for (int32_t i = 0; i < d; i++) p->out[out + i] += weights[j] * storage_get(a->v, at_kv(a, b, h, j) + i, a->type);
    }
    if (!backward) return;
    for (int32_t i = 0; i < d; i++) delta += p->out[out + i] * storage_get(a->d_out, out + i, a->type);
    for (int32_t j = 0; j < seen; j++) {
        int64_t k = at_kv(a, b, h, j);
        double dp = 0;
        for (int32_t i = 0; i < d; i++) dp += storage_get(a->d_out, out + i, a->type) * storage_get(a->v, k + i, a->type);
        double ds = (double)a->scale * weights[j] * (dp - delta);
        for (int32_t i = 0; i < d; i++) {
            p->d_q[q + i] += ds * storage_get(a->k, k + i, a->type);
            p->d_k[k + i] += ds * storage_get(a->q, q + i, a->type);
            p->d_v[k + i] += weights[j] * storage_get(a->d_out, out + i, a->type);
        }
    }
}

static void reference(struct problem *p, int backward)
{
    double *weights = malloc((size_t)p->a.kv_len * sizeof *weights);
    for (int32_t b = 0; b < p->a.batch; b++)
        for (int32_t h = 0; h < p->a.heads; h++)
            for (int32_t t = 0; t < p->a.q_len; t++) reference_row(p, b, h, t, weights, backward);
    free(weights);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

/* Errors grow with the size of what is added up, so they are measured against the largest value of the tensor. */
static void assert_rows(const char *what, const struct way *way, const struct problem *p, const void *got, const double *want, int64_t rows,
                        int32_t n, int64_t stride, double slack)
{
    const aios_attention *a = &p->a;
    double largest = 1e-30;
    for (int64_t row = 0; row < rows; row++)
        for (int32_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[row * stride + i]));
    for (int64_t row = 0; row < rows; row++)
        for (int32_t i = 0; i < n; i++) {
            double value = storage_get(got, row * stride + i, a->type), error = fabs(value - want[row * stride + i]);
            if (!(error <= largest * slack))
                fail_msg(
                    "%s %s row %lld column %d is %.8g, not %.8g (largest %.3g); type %d b %d h %d kv %d d %d q %d kv %d causal %d start %d",
                    way->name, what, (long long)row, i, value, want[row * stride + i], largest, a->type, a->batch, a->heads, a->kv_heads,
                    a->head_size, a->q_len, a->kv_len, a->causal, p->start);
        }
}

/* Rounding out to 16 bits also perturbs delta, and with it every gradient. */
static double slack_of(int32_t type)
{
    return type == AIOS_F32 ? 2e-5 : 3 * storage_epsilon(type);
}

static void check_forward(struct problem *p, const struct way *way)
{
    const aios_attention *a = &p->a;
    assert_ok(way->forward(stream, a));
    assert_ok(aios_stream_synchronize(stream));
    assert_rows("out", way, p, a->out, p->out, (int64_t)a->batch * a->q_len, a->heads * a->head_size, a->out_stride, slack_of(a->type));
    for (int64_t i = 0; i < p->count_lse; i++)
        if (!(fabs((double)a->lse[i] - p->lse[i]) <= 2e-5 * (1 + fabs(p->lse[i]))))
            fail_msg("%s lse[%lld] is %.8g, not %.8g", way->name, (long long)i, (double)a->lse[i], p->lse[i]);
}

static void check_backward(struct problem *p, const struct way *way)
{
    const aios_attention *a = &p->a;
    assert_ok(way->backward(stream, a));
    assert_ok(aios_stream_synchronize(stream));
    double slack = slack_of(a->type);
    assert_rows("d_q", way, p, a->d_q, p->d_q, (int64_t)a->batch * a->q_len, a->heads * a->head_size, a->q_stride, slack);
    for (int32_t b = 0; b < a->batch; b++) {
        int64_t base = (int64_t)b * a->kv_capacity * a->kv_stride;
        size_t bytes = storage_size(a->type);
        assert_rows("d_k", way, p, (const char *)a->d_k + (size_t)base * bytes, p->d_k + base, a->kv_len, a->kv_heads * a->head_size,
                    a->kv_stride, slack);
        assert_rows("d_v", way, p, (const char *)a->d_v + (size_t)base * bytes, p->d_v + base, a->kv_len, a->kv_heads * a->head_size,
                    a->kv_stride, slack);
        for (int64_t row = a->kv_len; row < a->kv_capacity; row++) /* beyond kv_len nothing is written */
            assert_true(isnan(storage_get(a->d_k, base + row * a->kv_stride, a->type)));
    }
}

static const struct shape training[] = {
    {1, 1, 1, 1, 1, 1, 1, -1},     {2, 3, 3, 8, 5, 5, 1, -1},      {1, 2, 1, 16, 7, 7, 0, -1},
    {2, 4, 2, 24, 65, 65, 1, -1},  {1, 2, 2, 64, 130, 130, 1, -1}, {1, 6, 2, 5, 64, 64, 1, -1},
    {1, 2, 1, 32, 40, 300, 0, -1}, {2, 1, 1, 33, 300, 300, 1, -1}, {1, 2, 2, 16, 20, 600, 1, -1},
};

static void forward_and_backward_are_right_for_every_type(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 11, 0);
    for (int32_t type = AIOS_F32; type <= AIOS_F16; type++)
        for (size_t s = 0; s < COUNT_OF(training); s++) {
            struct problem p = make_problem(training[s], type, (int32_t)(s % 3), &r);
            reference(&p, 1);
            for (size_t w = 0; w < COUNT_OF(ways); w++) {
                check_forward(&p, &ways[w]);
                check_backward(&p, &ways[w]);
            }
            free_problem(&p);
        }
}

static void decoding_sees_the_keys_up_to_its_position(void **state)
{
    (void)state;
    static const struct shape shapes[] = {{2, 4, 2, 16, 1, 33, 1, 7},     {1, 2, 2, 64, 1, 700, 1, 699}, {2, 2, 1, 8, 5, 50, 1, 20},
                                          {1, 1, 1, 32, 70, 400, 1, 300}, {1, 2, 2, 16, 3, 40, 0, 9},    {1, 1, 1, 8, 4, 9, 1, 0}};
    rng r;
    rng_init(&r, 12, 0);
    for (int32_t type = AIOS_F32; type <= AIOS_F16; type++)
        for (size_t s = 0; s < COUNT_OF(shapes); s++)
            for (size_t w = 0; w < COUNT_OF(ways); w++) {
                struct problem p = make_problem(shapes[s], type, 2, &r);
                p.a.start = &p.start;
                reference(&p, 0);
                check_forward(&p, &ways[w]);
                free_problem(&p);
            }
}

/* Scores of a few hundred: the softmax must not overflow, nor lose what is left of the small ones. */
static void large_scores_stay_finite(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 13, 0);
    struct problem p = make_problem((struct shape){1, 2, 2, 16, 300, 300, 1, -1}, AIOS_F32, 0, &r);
    p.a.scale = 30.0f;
    reference(&p, 0);
    for (size_t w = 0; w < COUNT_OF(ways); w++) {
        assert_ok(ways[w].forward(stream, &p.a));
        for (int64_t i = 0; i < p.count_out; i++) assert_true(fabs((double)((const float *)p.a.out)[i] - p.out[i]) < 1e-3);
    }
    free_problem(&p);
}

/* loss = sum of d_out * out; its slope along one element of q, k or v, by the float64 reference. */
static double slope(struct problem *p, const void *tensor, int64_t i)
{
    float *x = (float *)(uintptr_t)tensor + i, before = *x;
    double loss[2], step = 1.0 / 512;
    for (int side = 0; side < 2; side++) {
        *x = (float)((double)before + (side ? step : -step));
        reference(p, 0);
        loss[side] = 0;
        for (int64_t o = 0; o < p->count_out; o++) loss[side] += p->out[o] * (double)((const float *)p->a.d_out)[o];
    }
    *x = before;
    return (loss[1] - loss[0]) / (2 * step);
}

static void gradients_are_the_slopes_of_forward(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 14, 0);
    struct problem p = make_problem((struct shape){1, 4, 2, 4, 6, 6, 1, -1}, AIOS_F32, 0, &r);
    for (size_t w = 0; w < COUNT_OF(ways); w++) {
        assert_ok(ways[w].forward(stream, &p.a));
        assert_ok(ways[w].backward(stream, &p.a));
        const void *const tensors[] = {p.a.q, p.a.k, p.a.v};
        const float *const gradients[] = {p.a.d_q, p.a.d_k, p.a.d_v};
        for (size_t t = 0; t < COUNT_OF(tensors); t++)
            for (int64_t i = 0; i < (t ? p.count_kv : p.count_q); i += 5) {
                double want = slope(&p, tensors[t], i), got = (double)gradients[t][i];
                if (fabs(got - want) > 1e-4 + 1e-3 * fabs(want))
                    fail_msg("%s tensor %zu [%lld]: %g, slope %g", ways[w].name, t, (long long)i, got, want);
            }
    }
    free_problem(&p);
}

static void results_are_bitwise_repeatable(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 15, 0);
    for (int32_t type = AIOS_F32; type <= AIOS_BF16; type++) {
        struct problem p = make_problem((struct shape){2, 6, 3, 32, 150, 150, 1, -1}, type, 1, &r);
        size_t size_q = (size_t)p.count_q * storage_size(type), size_kv = (size_t)p.count_kv * storage_size(type);
        void *d_q = malloc(size_q), *d_k = malloc(size_kv);
        for (int again = 0; again < 4; again++) {
            assert_ok(aios_stream_attention_forward(stream, &p.a));
            assert_ok(aios_stream_attention_backward(stream, &p.a));
            if (again) {
                assert_memory_equal(d_q, p.a.d_q, size_q);
                assert_memory_equal(d_k, p.a.d_k, size_kv);
            }
            memcpy(d_q, p.a.d_q, size_q);
            memcpy(d_k, p.a.d_k, size_kv);
        }
        free(d_q);
        free(d_k);
        free_problem(&p);
    }
}

#define REFUSE(forward, words, change)                                                                                                     \
    do {                                                                                                                                   \
        aios_attention a = p.a;                                                                                                            \
        change;                                                                                                                            \
        assert_int_not_equal((forward) ? aios_stream_attention_forward(stream, &a) : aios_stream_attention_backward(stream, &a), AIOS_OK); \
        if (!strstr(aios_error_message(), words)) fail_msg("\"%s\" does not say \"%s\"", aios_error_message(), words);                     \
    } while (0)

static void what_makes_no_sense_is_refused_by_name(void **state)
{
    (void)state;
    static const int32_t zero = 0;
    rng r;
    rng_init(&r, 16, 0);
    struct problem p = make_problem((struct shape){1, 4, 2, 4, 6, 6, 1, -1}, AIOS_F32, 0, &r);
    REFUSE(1, "type is 4", a.type = AIOS_U8);
    REFUSE(1, "q_len 0", a.q_len = 0);
    REFUSE(1, "4 heads share 3", a.kv_heads = 3);
    REFUSE(1, "kv_capacity is 5", a.kv_capacity = 5);
    REFUSE(1, "causal is 2", a.causal = 2);
    REFUSE(1, "q_stride 15", a.q_stride = 15);
    REFUSE(1, "lse is NULL", a.lse = NULL);
    REFUSE(1, "workspace is NULL", a.workspace = NULL);
    REFUSE(0, "d_k is NULL", a.d_k = NULL);
    REFUSE(0, "start is given", a.start = &zero);
    REFUSE(1, "struct_size", a.struct_size = 1);
    assert_int_equal(aios_stream_attention_forward(NULL, &p.a), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_device_attention_workspace(NULL, &p.a, 0), 0);
    free_problem(&p);
}

/* ---- two kinds of devices ---------------------------------------------------------------------------------------- */

static int open_cpu(void **state)
{
    (void)state;
    context = test_context();
    assert_ok(aios_device_open(context, "cpu", &cpu));
    assert_ok(aios_stream_create(cpu, &stream));
    return 0;
}

static int close_cpu(void **state)
{
    (void)state;
    aios_stream_destroy(stream);
    aios_device_close(cpu);
    aios_context_destroy(context);
    return 0;
}

/* More threads than heads: backward is cut into smaller units. */
static int open_crowd(void **state)
{
    (void)setenv("AIOS_CPU_THREADS", "7", 1);
    int failed = open_cpu(state);
    (void)unsetenv("AIOS_CPU_THREADS");
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_and_backward_are_right_for_every_type),
        cmocka_unit_test(decoding_sees_the_keys_up_to_its_position),
        cmocka_unit_test(large_scores_stay_finite),
        cmocka_unit_test(gradients_are_the_slopes_of_forward),
        cmocka_unit_test(results_are_bitwise_repeatable),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_name),
    };
    const struct CMUnitTest crowd[] = {
        cmocka_unit_test(forward_and_backward_are_right_for_every_type),
        cmocka_unit_test(results_are_bitwise_repeatable),
    };
    return cmocka_run_group_tests_name("attention", tests, open_cpu, close_cpu) +
           cmocka_run_group_tests_name("attention with 7 threads", crowd, open_crowd, close_cpu);
}
