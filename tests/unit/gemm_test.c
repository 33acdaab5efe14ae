/* What aios_stream_gemm promises, on the CPU device and by the portable kernels, against a float64 triple loop. */
#include "gpu/device.h"
#include "storage.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static aios_context *context;
static aios_device *cpu;
static aios_stream *stream;

typedef aios_status (*gemm_fn)(aios_stream *, const aios_gemm *);

/* A product with its own memory; c is NaN where beta is 0. */
struct product {
    aios_gemm g;
    void *c_before;
    int64_t count_c;
};

static int64_t count_of(int32_t rows, int64_t ld, int64_t stride, int32_t batch)
{
    return (int64_t)(rows - 1) * ld + ld + stride * (batch - 1);
}

static struct product make_product(int32_t m, int32_t n, int32_t k, int32_t batch, int ta, int tb, int32_t ab, int32_t c, int32_t pad,
                                   rng *r)
{
    struct product p = {.g = {.struct_size = sizeof p.g,
                              .type_ab = ab,
                              .type_c = c,
                              .transpose_a = ta,
                              .transpose_b = tb,
                              .m = m,
                              .n = n,
                              .k = k,
                              .batch = batch,
                              .alpha = 1.0f}};
    aios_gemm *g = &p.g;
    int32_t rows_a = ta ? k : m, rows_b = tb ? n : k;
    g->lda = (ta ? m : k) + pad;
    g->ldb = (tb ? k : n) + 2 * pad;
    g->ldc = n + 3 * pad;
    g->stride_a = rows_a * g->lda + pad;
    g->stride_b = rows_b * g->ldb;
    g->stride_c = m * g->ldc + pad;
    p.count_c = count_of(m, g->ldc, g->stride_c, batch);
    g->a = storage_random(count_of(rows_a, g->lda, g->stride_a, batch), ab, 1, r);
    g->b = storage_random(count_of(rows_b, g->ldb, g->stride_b, batch), ab, 1, r);
    g->c = storage_poison(p.count_c, c);
    p.c_before = malloc((size_t)p.count_c * storage_size(c));
    return p;
}

static void set_beta(struct product *p, float beta, rng *r)
{
    p->g.beta = beta;
    free(p->g.c);
    p->g.c = storage_random(p->count_c, p->g.type_c, 1, r);
}

static int sums_of_a(const aios_gemm *g)
{
    return g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A;
}

static int is_bias_gradient(const aios_gemm *g)
{
    return sums_of_a(g) || g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_B;
}

static void set_epilogue(struct product *p, int32_t epilogue, rng *r)
{
    p->g.epilogue = epilogue;
    if (is_bias_gradient(&p->g)) {
        p->g.aux = storage_poison(sums_of_a(&p->g) ? p->g.m : p->g.n, AIOS_F32);
        return;
    }
    if (epilogue == AIOS_EPILOGUE_GELU_BACKWARD || epilogue == AIOS_EPILOGUE_RESIDUAL) {
        p->g.aux = storage_random(p->count_c, p->g.type_c, 1, r);
        return;
    }
    p->g.bias = storage_random(p->g.n, p->g.type_ab, 1, r);
    p->g.aux = storage_poison(p->count_c, p->g.type_c);
}

static void free_product(struct product *p)
{
    free((void *)(uintptr_t)p->g.a);
    free((void *)(uintptr_t)p->g.b);
    free(p->g.c);
    free((void *)(uintptr_t)p->g.bias);
    free(p->g.aux);
    free(p->c_before);
}

static void assert_near(double got, double want, double tolerance, const char *what, const aios_gemm *g, int32_t row, int32_t column)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s[%d][%d] is %.9g, not %.9g within %.2g; m %d n %d k %d batch %d ta %d tb %d types %d %d alpha %g beta %g epilogue %d",
                 what, row, column, got, want, tolerance, g->m, g->n, g->k, g->batch, g->transpose_a, g->transpose_b, g->type_ab, g->type_c,
                 (double)g->alpha, (double)g->beta, g->epilogue);
}

static double gelu_slope(double x)
{
    double slope = 0.79788456080286535588, cube = 0.044715, t = tanh(slope * (x + cube * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope * (1 + 3 * cube * x * x);
}

/* The sums over k of the side that is dy. */
static void check_bias_gradient(const aios_gemm *g)
{
    int of_a = sums_of_a(g);
    for (int32_t i = 0; i < (of_a ? g->m : g->n); i++) {
        double want = 0, size = 0;
        for (int32_t k = 0; k < g->k; k++) {
            double v = of_a ? storage_get(g->a, k * g->lda + i, g->type_ab) : storage_get(g->b, k * g->ldb + i, g->type_ab);
            want += v;
            size += fabs(v);
        }
        assert_near(storage_get(g->aux, i, AIOS_F32), want, size * 0x1p-24 * (4 + g->k / 8.0), "aux", g, 0, i);
    }
}

static void check_element(const struct product *p, int32_t batch, int32_t row, int32_t column)
{
    const aios_gemm *g = &p->g;
    double sum = 0, size = 0;
    for (int32_t i = 0; i < g->k; i++) {
        double a = storage_get(g->a, batch * g->stride_a + (g->transpose_a ? i * g->lda + row : row * g->lda + i), g->type_ab);
        double b = storage_get(g->b, batch * g->stride_b + (g->transpose_b ? column * g->ldb + i : i * g->ldb + column), g->type_ab);
        sum += a * b;
        size += fabs(a * b);
    }
    int64_t at = batch * g->stride_c + row * g->ldc + column;
    double want = (double)g->alpha * sum;
    size = fabs((double)g->alpha) * size + 1e-6;
    if (g->beta != 0.0f) {
        double before = storage_get(p->c_before, at, g->type_c);
        want += (double)g->beta * before;
        size += fabs((double)g->beta * before);
    }
    double rounded = fabs(want) * storage_epsilon(g->type_c) * 0x1p24 / 4; /* the portable kernel stores the sum before it goes on */
    if (g->epilogue == AIOS_EPILOGUE_GELU_BACKWARD) {
        double slope = gelu_slope(storage_get(g->aux, at, g->type_c));
        size = (size + rounded) * 1.2; /* the slope is at most 1.13 */
        want *= slope;
    }
    if (g->epilogue == AIOS_EPILOGUE_RESIDUAL) {
        double residual = storage_get(g->aux, row * g->ldc + column, g->type_c);
        rounded += fabs(want + residual) * storage_epsilon(g->type_c) * 0x1p24 / 4; /* and once more before the bias */
        size += rounded + fabs(residual);
        want += residual;
    }
    if (g->epilogue == AIOS_EPILOGUE_BIAS || g->epilogue == AIOS_EPILOGUE_BIAS_GELU || (g->epilogue == AIOS_EPILOGUE_RESIDUAL && g->bias)) {
        double bias = storage_get(g->bias, column, g->type_ab);
        size += rounded;
        want += bias;
        size += fabs(bias);
    }
    /* The sum of k products in f32, in any order: k/2 roundings of at most the sum of their sizes, on average far fewer. */
    double tolerance = size * 0x1p-24 * (4 + g->k / 8.0) + fabs(want) * storage_epsilon(g->type_c) * 2;
    if (g->epilogue == AIOS_EPILOGUE_BIAS_GELU) {
        assert_near(storage_get(g->aux, at, g->type_c), want, tolerance, "aux", g, row, column);
        /* The portable kernel reads the rounded sum back; the slope of gelu is at most 1.13. */
        double gelu = 0.5 * want * (1 + tanh(0.79788456080286535588 * (want + 0.044715 * want * want * want)));
        assert_near(storage_get(g->c, at, g->type_c), gelu, 1.2 * tolerance + 2e-6 + fabs(gelu) * storage_epsilon(g->type_c), "c", g, row,
                    column);
    } else {
        assert_near(storage_get(g->c, at, g->type_c), want, tolerance, "c", g, row, column);
    }
}

/* Every element of a small product, a sample of a large one; and what lies between the rows stays as it was. */
static void check_product(const struct product *p)
{
    const aios_gemm *g = &p->g;
    int64_t elements = (int64_t)g->batch * g->m * g->n, step = elements * g->k > 300000 ? elements * g->k / 300000 : 1;
    for (int64_t e = 0; e < elements; e += step)
        check_element(p, (int32_t)(e / g->n / g->m), (int32_t)(e / g->n % g->m), (int32_t)(e % g->n));
    check_element(p, g->batch - 1, g->m - 1, g->n - 1);
    if (is_bias_gradient(g)) check_bias_gradient(g);
    size_t size = storage_size(g->type_c);
    for (int32_t row = 0; row < g->m; row++) {
        size_t gap = (size_t)(row * g->ldc + g->n) * size;
        assert_memory_equal((char *)g->c + gap, (char *)p->c_before + gap, (size_t)(g->ldc - g->n) * size);
    }
}

/* The same with b packed, where the device does that. */
static void run_packed(const struct product *p)
{
    struct product other = *p;
    aios_gemm *g = &other.g;
    size_t bytes = (size_t)p->count_c * storage_size(g->type_c);
    uint64_t size = g->batch == 1 ? aios_device_gemm_packed_size(cpu, g) : 0;
    if (!size) return;
    void *packed = malloc(size);
    g->c = malloc(bytes);
    memcpy(g->c, p->c_before, bytes);
    assert_ok(aios_stream_gemm_pack(stream, g, packed));
    g->packed_b = packed;
    assert_ok(aios_stream_gemm(stream, g));
    assert_ok(aios_stream_synchronize(stream));
    check_product(&other);
    free(g->c);
    free(packed);
}

static void run_product(struct product *p, gemm_fn gemm)
{
    memcpy(p->c_before, p->g.c, (size_t)p->count_c * storage_size(p->g.type_c));
    assert_ok(gemm(stream, &p->g));
    assert_ok(aios_stream_synchronize(stream));
    check_product(p);
    if (gemm == aios_stream_gemm) run_packed(p);
}

static const int32_t types[][2] = {
    {AIOS_F32, AIOS_F32}, {AIOS_BF16, AIOS_BF16}, {AIOS_F16, AIOS_F16}, {AIOS_BF16, AIOS_F32}, {AIOS_F16, AIOS_F32}};
static const int32_t sizes[][3] = {{1, 1, 1}, {2, 3, 5}, {7, 49, 33}, {17, 1, 64}, {1, 97, 31}, {65, 48, 8}, {100, 150, 130}};

static void sweep(gemm_fn gemm)
{
    rng r;
    rng_init(&r, 1, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t s = 0; s < COUNT_OF(sizes); s++)
            for (int transposes = 0; transposes < 4; transposes++)
                for (int variant = 0; variant < 4; variant++) {
                    struct product p = make_product(sizes[s][0], sizes[s][1], sizes[s][2], 1, transposes & 1, transposes >> 1, types[t][0],
                                                    types[t][1], variant == 1 ? 3 : 0, &r);
                    if (variant == 2) set_beta(&p, 1.0f, &r);
                    if (variant == 3) set_beta(&p, -0.5f, &r), p.g.alpha = 0.75f;
                    run_product(&p, gemm);
                    free_product(&p);
                }
}

static void every_type_size_transpose_and_scale_is_right(void **state)
{
    (void)state;
    sweep(aios_stream_gemm);
}

static void the_portable_kernels_are_right_too(void **state)
{
    (void)state;
    sweep(fallback_gemm);
}

static void batch_strides(gemm_fn gemm)
{
    rng r;
    rng_init(&r, 2, 0);
    static const int32_t batches[] = {2, 3, 7, 16};
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t b = 0; b < COUNT_OF(batches); b++)
            for (int variant = 0; variant < 3; variant++) {
                struct product p = make_product(33, 50, 40, batches[b], 0, 1, types[t][0], types[t][1], 5, &r);
                if (variant == 1) set_beta(&p, 1.0f, &r);
                if (variant == 2) p.g.stride_b = 0; /* one b for all */
                run_product(&p, gemm);
                free_product(&p);
            }
}

static void batches_are_strides_apart(void **state)
{
    (void)state;
    batch_strides(aios_stream_gemm);
    batch_strides(fallback_gemm);
}

static void epilogues(gemm_fn gemm, int with_mixed)
{
    rng r;
    rng_init(&r, 3, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t s = 0; s < COUNT_OF(sizes); s++)
            for (int32_t epilogue = AIOS_EPILOGUE_BIAS; epilogue <= AIOS_EPILOGUE_BIAS_GELU; epilogue++)
                for (int32_t pad = 0; pad < 2; pad++) {
                    if (types[t][0] != types[t][1] && !with_mixed) continue;
                    struct product p = make_product(sizes[s][0], sizes[s][1], sizes[s][2], 1, 0, 1, types[t][0], types[t][1], pad, &r);
                    set_epilogue(&p, epilogue, &r);
                    run_product(&p, gemm);
                    free_product(&p);
                }
}

static void epilogues_add_the_bias_and_apply_gelu(void **state)
{
    (void)state;
    epilogues(aios_stream_gemm, 1);
    epilogues(fallback_gemm, 0);
}

static void backward_epilogues(gemm_fn gemm)
{
    rng r;
    rng_init(&r, 7, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t s = 0; s < COUNT_OF(sizes); s++)
            for (int32_t pad = 0; pad < 2; pad++)
                for (int32_t epilogue = AIOS_EPILOGUE_GELU_BACKWARD; epilogue < AIOS_EPILOGUE_RESIDUAL; epilogue++) {
                    struct product p = make_product(sizes[s][0], sizes[s][1], sizes[s][2], 1, epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A,
                                                    epilogue == AIOS_EPILOGUE_GELU_BACKWARD && pad, types[t][0], types[t][1], pad, &r);
                    set_epilogue(&p, epilogue, &r);
                    if (is_bias_gradient(&p.g) && p.g.type_c == AIOS_F32) set_beta(&p, 1.0f, &r);
                    if (!is_bias_gradient(&p.g) || p.g.type_c == AIOS_F32) run_product(&p, gemm);
                    free_product(&p);
                }
}

static void residuals(gemm_fn gemm, int with_mixed)
{
    rng r;
    rng_init(&r, 9, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t s = 0; s < COUNT_OF(sizes); s++)
            for (int variant = 0; variant < 8; variant++) {
                struct product p = make_product(sizes[s][0], sizes[s][1], sizes[s][2], 1, variant >> 2, variant >> 1 & 1, types[t][0],
                                                types[t][1], variant, &r);
                set_epilogue(&p, AIOS_EPILOGUE_RESIDUAL, &r);
                if (variant & 1 && (with_mixed || types[t][0] == types[t][1])) p.g.bias = storage_random(p.g.n, p.g.type_ab, 1, &r);
                if (variant == 6 && with_mixed) p.g.alpha = 0.75f;
                run_product(&p, gemm);
                free_product(&p);
            }
}

static void a_residual_is_added_with_a_bias_and_without(void **state)
{
    (void)state;
    residuals(aios_stream_gemm, 1);
    residuals(fallback_gemm, 0);
}

/* silu(gate) * up of the two halves of a product, in float64. */
static void check_gated(const struct product *p, int32_t row, int32_t column)
{
    const aios_gemm *g = &p->g;
    double sum[2] = {0}, size[2] = {0};
    for (int half = 0; half < 2; half++)
        for (int32_t i = 0; i < g->k; i++) {
            int32_t n = column + half * g->n / 2;
            double a = storage_get(g->a, row * g->lda + i, g->type_ab);
            double b = storage_get(g->b, g->transpose_b ? n * g->ldb + i : i * g->ldb + n, g->type_ab);
            sum[half] += a * b;
            size[half] += fabs(a * b);
        }
    double silu = sum[0] / (1 + exp(-sum[0])), want = silu * sum[1], rounding = 0x1p-24 * (4 + g->k / 8.0);
    double tolerance = rounding * (1.1 * size[0] * fabs(sum[1]) + size[1] * fabs(silu)) + fabs(want) * 0x1p-8; /* slopes are below 1.1 */
    assert_near(storage_get(g->c, row * g->ldc + column, g->type_c), want, tolerance + 1e-30, "c", g, row, column);
}

static void swiglu_ends_a_product_where_the_device_can(void **state)
{
    (void)state;
    static const int32_t shapes[][3] = {{1, 128, 1}, {7, 128, 33}, {24, 256, 64}, {25, 384, 3205}, {130, 1024, 96}, {1700, 128, 40}};
    rng r;
    rng_init(&r, 10, 0);
    int checked = 0;
    for (size_t s = 0; s < COUNT_OF(shapes); s++)
        for (int variant = 0; variant < 4; variant++) {
            struct product p = make_product(shapes[s][0], shapes[s][1], shapes[s][2], 1, 0, variant & 1, AIOS_BF16, AIOS_BF16, variant, &r);
            aios_gemm *g = &p.g;
            g->epilogue = AIOS_EPILOGUE_SWIGLU;
            uint64_t size = aios_device_gemm_packed_size(cpu, g);
            void *packed = malloc(size + 1), *c = g->c;
            g->ldc = g->n / 2 + variant;
            memcpy(p.c_before, c, (size_t)p.count_c * storage_size(g->type_c));
            if (size) assert_ok(aios_stream_gemm_pack(stream, g, packed));
            g->packed_b = packed;
            if (size) {
                assert_ok(aios_stream_gemm(stream, g));
                for (int32_t e = 0; e<g->m * g->n / 2; e += g->m> 200 ? 97 : 1) check_gated(&p, e / (g->n / 2), e % (g->n / 2));
                for (int32_t row = 0; row < g->m && variant; row++) {
                    size_t gap = (size_t)(row * g->ldc + g->n / 2) * 2;
                    assert_memory_equal((char *)c + gap, (char *)p.c_before + gap, (size_t)variant * 2);
                }
            } else {
                assert_int_equal(aios_stream_gemm(stream, g), AIOS_UNSUPPORTED);
            }
            checked += size != 0;
            free(packed);
            free_product(&p);
        }
    if (!checked) print_message("this processor has no products of bf16 to end\n");
}

static void backward_epilogues_apply_the_slope_and_sum_the_columns(void **state)
{
    (void)state;
    backward_epilogues(aios_stream_gemm);
    backward_epilogues(fallback_gemm);
}

/* On two threads, larger than one block of the CPU's gemm in each direction. */
static void products_of_many_blocks_are_right(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 4, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (int variant = 0; variant < 3; variant++) {
            struct product p = make_product(2080, 1013, 600, 1, variant == 1, variant != 2, types[t][0], types[t][1], 1, &r);
            if (variant == 0) set_epilogue(&p, AIOS_EPILOGUE_BIAS_GELU, &r);
            if (variant == 1) set_epilogue(&p, AIOS_EPILOGUE_BIAS, &r);
            if (variant == 2) set_beta(&p, 1.0f, &r);
            run_product(&p, aios_stream_gemm);
            free_product(&p);
        }
}

/* Longer sums than a block of them, and one product too many for pairs. */
static void long_sums_are_right(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 8, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int variant = 0; variant < 4; variant++) {
                struct product p = make_product(41, 83, 3205, 1, transposes & 1, transposes >> 1, types[t][0], types[t][1], 1, &r);
                if (variant == 1) set_beta(&p, -0.5f, &r), p.g.alpha = 0.75f;
                if (variant == 2) set_epilogue(&p, AIOS_EPILOGUE_BIAS, &r);
                if (variant == 3) set_epilogue(&p, AIOS_EPILOGUE_RESIDUAL, &r);
                run_product(&p, aios_stream_gemm);
                free_product(&p);
            }
}

static void results_are_bitwise_repeatable(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 5, 0);
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        struct product p = make_product(200, 300, 400, 1, 0, 1, types[t][0], types[t][1], 0, &r);
        assert_ok(aios_stream_gemm(stream, &p.g));
        memcpy(p.c_before, p.g.c, (size_t)p.count_c * storage_size(p.g.type_c));
        for (int again = 0; again < 5; again++) {
            assert_ok(aios_stream_gemm(stream, &p.g));
            assert_memory_equal(p.c_before, p.g.c, (size_t)p.count_c * storage_size(p.g.type_c));
        }
        free_product(&p);
    }
}

static void refuse(const aios_gemm *g, const char *words)
{
    assert_int_not_equal(aios_stream_gemm(stream, g), AIOS_OK);
    if (!strstr(aios_error_message(), words)) fail_msg("\"%s\" does not say \"%s\"", aios_error_message(), words);
}

#define REFUSE(words, change)                                                                                                              \
    do {                                                                                                                                   \
        aios_gemm g = p.g;                                                                                                                 \
        change;                                                                                                                            \
        refuse(&g, words);                                                                                                                 \
    } while (0)

static void what_makes_no_sense_is_refused_by_name(void **state)
{
    (void)state;
    rng r;
    rng_init(&r, 6, 0);
    struct product p = make_product(4, 5, 6, 2, 0, 0, AIOS_F32, AIOS_F32, 0, &r);
    float aux[20] = {0};
    REFUSE("type_ab is 3", g.type_ab = AIOS_I32);
    REFUSE("type_c is 1", g.type_c = AIOS_BF16);
    REFUSE("m 0", g.m = 0);
    REFUSE("k -1", g.k = -1);
    REFUSE("lda is 5", g.lda = 5);
    REFUSE("ldb is 4", g.ldb = 4);
    REFUSE("ldc is 4", g.ldc = 4);
    REFUSE("a is NULL", g.a = NULL);
    REFUSE("c is NULL", g.c = NULL);
    REFUSE("transpose_a is 2", g.transpose_a = 2);
    REFUSE("stride_c is 0", g.stride_c = 0);
    REFUSE("stride_a is -1", g.stride_a = -1);
    REFUSE("batch must be 1", g.epilogue = AIOS_EPILOGUE_BIAS);
    REFUSE("bias is NULL", (g.epilogue = AIOS_EPILOGUE_BIAS, g.batch = 1));
    REFUSE("aux is NULL", (g.epilogue = AIOS_EPILOGUE_BIAS_GELU, g.batch = 1, g.bias = g.a));
    REFUSE("aux is c", (g.epilogue = AIOS_EPILOGUE_BIAS_GELU, g.batch = 1, g.bias = g.a, g.aux = g.c));
    REFUSE("epilogue is 8", g.epilogue = 8);
    REFUSE("aux is NULL", (g.epilogue = AIOS_EPILOGUE_RESIDUAL, g.batch = 1));
    REFUSE("aux is c", (g.epilogue = AIOS_EPILOGUE_RESIDUAL, g.batch = 1, g.aux = g.c));
    REFUSE("beta must be 0", (g.epilogue = AIOS_EPILOGUE_RESIDUAL, g.batch = 1, g.aux = aux, g.beta = 1));
    REFUSE("packed_b NULL", (g.epilogue = AIOS_EPILOGUE_SWIGLU, g.batch = 1, g.n = 4));
    REFUSE("n 5", (g.epilogue = AIOS_EPILOGUE_SWIGLU, g.batch = 1, g.packed_b = aux));
    REFUSE("transpose_a 1", (g.epilogue = AIOS_EPILOGUE_SWIGLU, g.batch = 1, g.n = 4, g.packed_b = aux, g.transpose_a = 1));
    REFUSE("no SwiGLU", (g.epilogue = AIOS_EPILOGUE_SWIGLU, g.batch = 1, g.n = 4, g.packed_b = aux));
    REFUSE("packed_b with 2 batches", g.packed_b = aux);
    REFUSE("beta must be 0", (g.epilogue = AIOS_EPILOGUE_GELU_BACKWARD, g.batch = 1, g.beta = 1, g.aux = aux));
    REFUSE("aux is NULL", (g.epilogue = AIOS_EPILOGUE_GELU_BACKWARD, g.batch = 1));
    REFUSE("transpose_a 0", (g.epilogue = AIOS_EPILOGUE_BIAS_GRADIENT_A, g.batch = 1, g.aux = aux));
    REFUSE("transpose_b 1", (g.epilogue = AIOS_EPILOGUE_BIAS_GRADIENT_B, g.batch = 1, g.aux = aux, g.transpose_b = 1, g.ldb = 6));
    REFUSE("aux is c", (g.epilogue = AIOS_EPILOGUE_BIAS_GRADIENT_B, g.batch = 1, g.aux = g.c));
    REFUSE("type_c 1", (g.epilogue = AIOS_EPILOGUE_BIAS_GRADIENT_B, g.batch = 1, g.aux = aux, g.type_ab = g.type_c = AIOS_BF16));
    REFUSE("struct_size", g.struct_size = 0);
    assert_int_equal(aios_stream_gemm(NULL, &p.g), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_stream_gemm(stream, NULL), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_device_health(cpu), AIOS_OK);
    free_product(&p);
}

/* ---- signals ------------------------------------------------------------------------------------------------------ */

static uintptr_t stack_low, stack_high;
static volatile sig_atomic_t signals_seen, signals_astray;

static void see_signal(int number)
{
    (void)number;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    signals_seen++;
    if (here < stack_low || here >= stack_high) signals_astray++;
}

/* Generated code of a BLAS may keep data in the stack register, and a handler's frame would land in the heap. */
static void a_signal_finds_the_thread_on_its_stack(void **state)
{
    (void)state;
    pthread_attr_t attributes;
    void *base;
    size_t size;
    assert_int_equal(pthread_getattr_np(pthread_self(), &attributes), 0);
    assert_int_equal(pthread_attr_getstack(&attributes, &base, &size), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
    stack_low = (uintptr_t)base;
    stack_high = stack_low + size;

    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = see_signal;
    action.sa_flags = SA_RESTART;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    rng r;
    rng_init(&r, 8, 0);
    static const int32_t small[][3] = {{32, 96, 32}, {32, 32, 128}, {32, 256, 32}, {64, 16, 64}, {7, 5, 3}, {200, 300, 100}};
    for (size_t i = 0; i < COUNT_OF(small); i++)
        for (int transposed = 0; transposed < 4; transposed++) {
            struct product p =
                make_product(small[i][0], small[i][1], small[i][2], 1, transposed & 1, transposed >> 1, AIOS_F32, AIOS_F32, 0, &r);
            for (int n = 0; n < 300; n++) assert_ok(aios_stream_gemm(stream, &p.g));
            free_product(&p);
        }
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_true(signals_seen > 0);
    assert_int_equal(signals_astray, 0);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_size_transpose_and_scale_is_right),
        cmocka_unit_test(the_portable_kernels_are_right_too),
        cmocka_unit_test(batches_are_strides_apart),
        cmocka_unit_test(epilogues_add_the_bias_and_apply_gelu),
        cmocka_unit_test(a_residual_is_added_with_a_bias_and_without),
        cmocka_unit_test(swiglu_ends_a_product_where_the_device_can),
        cmocka_unit_test(backward_epilogues_apply_the_slope_and_sum_the_columns),
        cmocka_unit_test(products_of_many_blocks_are_right),
        cmocka_unit_test(long_sums_are_right),
        cmocka_unit_test(results_are_bitwise_repeatable),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_name),
        cmocka_unit_test(a_signal_finds_the_thread_on_its_stack),
    };
    return cmocka_run_group_tests_name("gemm", tests, open_cpu, close_cpu);
}
