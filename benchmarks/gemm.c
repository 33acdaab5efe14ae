/* Matrix products and attention at GPT-2's shapes (124M, batch 4 of 256 tokens): aios_stream_gemm beside oneDNN, OpenBLAS
 * and BLIS called as their users do, each on all threads.  JSON lines; gflops is of the best of `runs`.
 *
 *   benchmark_gemm [runs]
 *
 * Attention counts the products that a causal mask leaves: 2 of them forward, 5 backward (the scores are made again),
 * each 2 B H T (T/2) d. */
#include "bench.h"

#include <aios/aios.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*dnnl_fn)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float, float *,
                       int64_t);
typedef void (*cblas_fn)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);

static const struct {
    const char *name;
    int32_t m, n, k, transpose_a, transpose_b;
    float beta;
    int32_t epilogue;
} shapes[] = {
    {"qkv forward", 1024, 2304, 768, 0, 1, 0, AIOS_EPILOGUE_BIAS},
    {"projection forward", 1024, 768, 768, 0, 1, 0, AIOS_EPILOGUE_BIAS},
    {"fc forward", 1024, 3072, 768, 0, 1, 0, AIOS_EPILOGUE_BIAS_GELU},
    {"fc projection forward", 1024, 768, 3072, 0, 1, 0, AIOS_EPILOGUE_BIAS},
    {"head forward", 1024, 50257, 768, 0, 1, 0, AIOS_EPILOGUE_NONE},
    {"fc backward to input", 1024, 768, 3072, 0, 0, 0, AIOS_EPILOGUE_NONE},
    {"fc backward to weight", 3072, 768, 1024, 1, 0, 1, AIOS_EPILOGUE_NONE},
    {"head backward to input", 1024, 768, 50257, 0, 0, 0, AIOS_EPILOGUE_NONE},
    {"head backward to weight", 50257, 768, 1024, 1, 0, 1, AIOS_EPILOGUE_NONE},
};

static struct {
    aios_stream *stream;
    dnnl_fn dnnl;
    cblas_fn cblas;
    aios_gemm gemm;
    aios_attention attention;
} job;

static void check(aios_status status, const char *what)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "benchmark_gemm: %s: %s\n", what, aios_error_message());
    exit(1);
}

static void run_aios(void *user)
{
    (void)user;
    check(aios_stream_gemm(job.stream, &job.gemm), "gemm");
    check(aios_stream_synchronize(job.stream), "synchronize");
}

static void run_dnnl(void *user)
{
    const aios_gemm *g = &job.gemm;
    (void)user;
    (void)job.dnnl(g->transpose_a ? 'T' : 'N', g->transpose_b ? 'T' : 'N', g->m, g->n, g->k, 1, g->a, g->lda, g->b, g->ldb, g->beta, g->c,
                   g->ldc);
}

static void run_cblas(void *user)
{
    enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
    const aios_gemm *g = &job.gemm;
    (void)user;
    job.cblas(ROW_MAJOR, g->transpose_a ? TRANSPOSED : PLAIN, g->transpose_b ? TRANSPOSED : PLAIN, g->m, g->n, g->k, 1, g->a, (int)g->lda,
              g->b, (int)g->ldb, g->beta, g->c, (int)g->ldc);
}

static void *load(const char *const *names, const char *symbol)
{
    for (; *names; names++) {
        void *library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
        void *found = library ? dlsym(library, symbol) : NULL;
        if (found) return found;
    }
    return NULL;
}

static void *filled(aios_device *device, int64_t count, int32_t type)
{
    void *memory;
    uint32_t seed = 1;
    check(aios_device_alloc(device, (uint64_t)count * 4, &memory), "alloc");
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        float value = (float)(seed >> 8) / 8388608.0f - 1.0f;
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (type == AIOS_F32)
            ((float *)memory)[i] = value;
        else
            ((uint16_t *)memory)[i] = (uint16_t)(type == AIOS_BF16 ? bits >> 16 : 0x2c00 | (seed >> 24)); /* f16: 0.06 to 0.08 */
    }
    return memory;
}

static void report(const char *what, const char *library, const char *type, double flops, bench_time time, double peak)
{
    printf("{\"benchmark\": \"%s\", \"library\": \"%s\", \"type\": \"%s\", \"best_ms\": %.3f, \"median_ms\": %.3f, \"gflops\": %.1f, "
           "\"of_fma_peak\": %.3f}\n",
           what, library, type, time.best * 1e3, time.median * 1e3, flops / time.best * 1e-9, flops / time.best * 1e-9 / peak);
    (void)fflush(stdout);
}

static void measure_gemm(aios_device *device, size_t s, int runs, double peak)
{
    static const char *const openblas[] = {"libopenblas.so.0", "libopenblas.so", NULL}, *const blis[] = {"libblis.so.4", "libblis.so",
                                                                                                         NULL};
    static const char *const onednn[] = {"libdnnl.so.3", "libdnnl.so.2", NULL}, *const types[] = {"f32", "bf16", "f16"};
    int32_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
    double flops = 2.0 * m * n * k;
    for (int32_t type = AIOS_F32; type <= AIOS_F16; type++) {
        int32_t type_c = shapes[s].beta != 0 ? AIOS_F32 : type; /* weight gradients are f32 */
        void *a = filled(device, (int64_t)m * k, type), *b = filled(device, (int64_t)n * k, type),
             *c = filled(device, (int64_t)m * n, AIOS_F32);
        void *aux = filled(device, (int64_t)m * n, AIOS_F32), *bias = filled(device, n, type);
        job.gemm = (aios_gemm){.struct_size = sizeof job.gemm,
                               .type_ab = type,
                               .type_c = type_c,
                               .transpose_a = shapes[s].transpose_a,
                               .transpose_b = shapes[s].transpose_b,
                               .m = m,
                               .n = n,
                               .k = k,
                               .batch = 1,
                               .epilogue = shapes[s].epilogue,
                               .lda = shapes[s].transpose_a ? m : k,
                               .ldb = shapes[s].transpose_b ? k : n,
                               .ldc = n,
                               .a = a,
                               .b = b,
                               .c = c,
                               .bias = bias,
                               .aux = aux,
                               .alpha = 1,
                               .beta = shapes[s].beta};
        report(shapes[s].name, "aios", types[type], flops, bench_run(runs, run_aios, NULL), peak);
        if (type == AIOS_F32) {
            void *symbol = load(onednn, "dnnl_sgemm");
            memcpy(&job.dnnl, &symbol, sizeof symbol);
            if (job.dnnl) report(shapes[s].name, "onednn", "f32", flops, bench_run(runs, run_dnnl, NULL), peak);
            symbol = load(openblas, "cblas_sgemm");
            memcpy(&job.cblas, &symbol, sizeof symbol);
            if (job.cblas) report(shapes[s].name, "openblas", "f32", flops, bench_run(runs, run_cblas, NULL), peak);
            symbol = load(blis, "cblas_sgemm");
            memcpy(&job.cblas, &symbol, sizeof symbol);
            if (job.cblas) report(shapes[s].name, "blis", "f32", flops, bench_run(runs, run_cblas, NULL), peak);
        }
        void *const own[] = {a, b, c, aux, bias};
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) aios_device_free(device, own[i]);
    }
}

static void run_forward(void *user)
{
    (void)user;
    check(aios_stream_attention_forward(job.stream, &job.attention), "attention");
    check(aios_stream_synchronize(job.stream), "synchronize");
}

static void run_backward(void *user)
{
    (void)user;
    check(aios_stream_attention_backward(job.stream, &job.attention), "attention");
    check(aios_stream_synchronize(job.stream), "synchronize");
}

static void measure_attention(aios_device *device, int32_t batch, int32_t tokens, int32_t type, int runs, double peak)
{
    static const char *const types[] = {"f32", "bf16", "f16"};
    int32_t heads = 12, d = 64, width = heads * d;
    int64_t rows = (int64_t)batch * tokens;
    char *qkv = filled(device, rows * width * 3, type), *d_qkv = filled(device, rows * width * 3, type);
    int64_t third = (int64_t)width * (type == AIOS_F32 ? 4 : 2);
    aios_attention *a = &job.attention;
    *a = (aios_attention){.struct_size = sizeof *a,
                          .type = type,
                          .batch = batch,
                          .heads = heads,
                          .kv_heads = heads,
                          .head_size = d,
                          .q_len = tokens,
                          .kv_len = tokens,
                          .kv_capacity = tokens,
                          .causal = 1,
                          .q_stride = 3 * width,
                          .kv_stride = 3 * width,
                          .out_stride = width,
                          .scale = 0.125f,
                          .q = qkv,
                          .k = qkv + third,
                          .v = qkv + 2 * third,
                          .out = filled(device, rows * width, type),
                          .lse = filled(device, rows * heads, AIOS_F32),
                          .d_out = filled(device, rows * width, type),
                          .d_q = d_qkv,
                          .d_k = d_qkv + third,
                          .d_v = d_qkv + 2 * third};
    uint64_t forward = aios_device_attention_workspace(device, a, 0), backward = aios_device_attention_workspace(device, a, 1);
    check(aios_device_alloc(device, forward > backward ? forward : backward, &a->workspace), "workspace");
    double product = 2.0 * batch * heads * tokens * (tokens / 2.0) * d;
    char name[64];
    bench_time there = bench_run(runs, run_forward, NULL), back = bench_run(runs, run_backward, NULL);
    (void)snprintf(name, sizeof name, "attention forward B%d T%d", batch, tokens);
    report(name, "aios", types[type], 2 * product, there, peak);
    (void)snprintf(name, sizeof name, "attention backward B%d T%d", batch, tokens);
    report(name, "aios", types[type], 5 * product, back, peak);
    (void)snprintf(name, sizeof name, "attention B%d T%d", batch, tokens);
    report(name, "aios", types[type], 7 * product, (bench_time){there.best + back.best, there.median + back.median}, peak);
    void *const own[] = {qkv, d_qkv, a->out, a->lse, (void *)(uintptr_t)a->d_out, a->workspace};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) aios_device_free(device, own[i]);
}

int main(int argc, char **argv)
{
    int runs = argc > 1 ? atoi(argv[1]) : 7;
    aios_context *context;
    aios_device *device;
    if (argc > 2 || runs < 1) {
        (void)fprintf(stderr, "benchmark_gemm [runs]: runs is at least 1\n");
        return 2;
    }
    double peak = bench_fma_peak(bench_cpus());
    printf("{\"benchmark\": \"fma\", \"instructions\": \"%s\", \"threads\": %d, \"gflops\": %.1f}\n", bench_fma_instructions(),
           bench_cpus(), peak);
    check(aios_context_create(NULL, &context), "context");
    check(aios_device_open(context, "cpu", &device), "device");
    check(aios_stream_create(device, &job.stream), "stream");
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) measure_gemm(device, s, runs, peak);
    for (int32_t type = AIOS_F32; type <= AIOS_F16; type++) {
        measure_attention(device, 4, 64, type, runs, peak);
        measure_attention(device, 4, 256, type, runs, peak);
        measure_attention(device, 1, 1024, type, runs, peak);
    }
    aios_stream_destroy(job.stream);
    aios_device_close(device);
    aios_context_destroy(context);
    return 0;
}
