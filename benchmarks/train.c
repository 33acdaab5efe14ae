/* Training speed of GPT-2 on one device: tokens/s, GFLOP/s, and the part of the measured FMA peak.
 *
 *   benchmark_train [--device cpu] [--precision 32] [--seconds 10] [--shapes gpt2:4:64,gpt2:4:256,6x384:4:64,6x384:4:256] [--json]
 *
 * A shape is MODEL:BATCH:TOKENS, MODEL being gpt2 (12 layers, 768 wide) or LAYERSxWIDTH with heads of 64.  FLOPs per token:
 * 6 N + 6 L C T, N being all parameters (embeddings count once, as the head), the usual convention for a causal model. */
#include "bench.h"

#include <aios/aios.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    int layers, width, batch, tokens;
};

struct run {
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    int32_t *ids, *labels;
};

static void check(aios_status status, const char *what)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "benchmark_train: %s: %s\n", what, aios_error_message());
    exit(1);
}

static void open_run(struct run *r, const struct shape *s, const char *device, int precision)
{
    char config[512];
    (void)snprintf(
        config, sizeof config,
        "{\"model_type\": \"gpt2\", \"n_layer\": %d, \"n_head\": %d, \"n_embd\": %d, \"n_positions\": 1024, \"vocab_size\": 50257}",
        s->layers, s->width / 64, s->width);
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer = AIOS_OPTIMIZER_OPTIONS_INIT;
    parameters.precision = precision;
    plan.training = 1;
    if (precision == AIOS_PRECISION_16_MIXED) optimizer.loss_scale = 65536;
    check(aios_context_create(NULL, &r->context), "context");
    check(aios_device_open(r->context, device, &r->device), "device");
    check(aios_model_create(r->context, config, &r->model), "model");
    check(aios_graph_create(r->context, &r->graph), "graph");
    check(aios_model_record(r->model, r->graph, AIOS_MODEL_TRAIN, s->batch, s->tokens), "recording");
    check(aios_parameters_create(r->device, r->graph, &parameters, &r->parameters), "parameters");
    check(aios_parameters_initialize(r->parameters, 1), "initialising");
    check(aios_plan_create(r->graph, r->parameters, &plan, &r->plan), "plan");
    check(aios_optimizer_create(r->parameters, &optimizer, &r->optimizer), "optimizer");
    int n = s->batch * s->tokens;
    r->ids = malloc((size_t)n * sizeof *r->ids);
    r->labels = malloc((size_t)n * sizeof *r->labels);
    if (!r->ids || !r->labels) exit(1);
    uint32_t x = 1;
    for (int i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        r->ids[i] = (int32_t)(x >> 8) % 50257;
        r->labels[i] = (int32_t)((x >> 8) + 1) % 50257;
    }
}

static void close_run(struct run *r)
{
    aios_optimizer_destroy(r->optimizer);
    aios_plan_destroy(r->plan);
    aios_parameters_destroy(r->parameters);
    aios_graph_destroy(r->graph);
    aios_model_destroy(r->model);
    aios_device_close(r->device);
    aios_context_destroy(r->context);
    free(r->ids);
    free(r->labels);
}

static double step(struct run *r, const struct shape *s)
{
    uint64_t bytes = (uint64_t)(s->batch * s->tokens) * 4;
    aios_step_result result = {.struct_size = sizeof result};
    double begin = bench_now();
    check(aios_optimizer_begin(r->optimizer, 1e-4, s->batch * s->tokens), "begin");
    check(aios_plan_write(r->plan, "tokens", r->ids, bytes), "tokens");
    check(aios_plan_write(r->plan, "labels", r->labels, bytes), "labels");
    check(aios_plan_run(r->plan), "run");
    check(aios_optimizer_step(r->optimizer), "step");
    check(aios_optimizer_result(r->optimizer, &result), "result");
    return bench_now() - begin;
}

static void measure(const struct shape *s, const char *device, int precision, double seconds, double peak, int json)
{
    struct run r = {0};
    double times[1000], spent = 0;
    size_t count = 0;
    aios_plan_memory memory = {sizeof memory, 0, 0, 0, 0};
    uint64_t used, most;
    open_run(&r, s, device, precision);
    (void)step(&r, s);
    while (count < 1000 && (spent < seconds || count < 3)) spent += times[count++] = step(&r, s);
    bench_sort(times, count);
    double median = times[count / 2], tokens = (double)s->batch * s->tokens;
    double flops = tokens * (6.0 * (double)aios_parameters_total(r.parameters) + 6.0 * s->layers * s->width * s->tokens);
    check(aios_plan_get_memory(r.plan, &memory), "memory");
    aios_device_memory_used(r.device, &used, &most);
    if (json)
        printf("{\"layers\": %d, \"width\": %d, \"batch\": %d, \"tokens\": %d, \"parameters\": %llu, \"median_s\": %.4f, \"tokens_per_s\": "
               "%.1f, \"gflops\": %.1f, "
               "\"peak_gflops\": %.1f, \"device_bytes\": %llu, \"activation_bytes\": %llu}\n",
               s->layers, s->width, s->batch, s->tokens, (unsigned long long)aios_parameters_total(r.parameters), median, tokens / median,
               flops / median * 1e-9, peak, (unsigned long long)most, (unsigned long long)memory.activations);
    else
        printf("%2dL/%-4d B%d T%-4d %7.1fM  median %8.1f ms of %3zu  best %8.1f  %8.1f tok/s  %7.1f GFLOP/s  %3.0f %% of peak  %5.2f GiB "
               "(activations %.2f)\n",
               s->layers, s->width, s->batch, s->tokens, (double)aios_parameters_total(r.parameters) * 1e-6, median * 1e3, count,
               times[0] * 1e3, tokens / median, flops / median * 1e-9, flops / median * 1e-7 / peak, (double)most / 0x1p30,
               (double)memory.activations / 0x1p30);
    (void)fflush(stdout);
    close_run(&r);
}

static int parse_shape(const char *text, struct shape *s)
{
    if (sscanf(text, "gpt2:%d:%d", &s->batch, &s->tokens) == 2) {
        s->layers = 12;
        s->width = 768;
        return 1;
    }
    return sscanf(text, "%dx%d:%d:%d", &s->layers, &s->width, &s->batch, &s->tokens) == 4;
}

int main(int argc, char **argv)
{
    const char *device = "cpu", *shapes = "gpt2:4:64,gpt2:4:256,6x384:4:64,6x384:4:256", *precision = "32";
    double seconds = 10;
    int json = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = 1;
        else if (i + 1 < argc && strcmp(argv[i], "--device") == 0)
            device = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--precision") == 0)
            precision = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--shapes") == 0)
            shapes = argv[++i];
        else {
            (void)fprintf(stderr, "benchmark_train: unknown argument '%s'; see the head of benchmarks/train.c\n", argv[i]);
            return 2;
        }
    }
    int policy = strcmp(precision, "bf16-mixed") == 0 ? AIOS_PRECISION_BF16_MIXED
                 : strcmp(precision, "16-mixed") == 0 ? AIOS_PRECISION_16_MIXED
                                                      : AIOS_PRECISION_32;
    double peak = bench_fma_peak(bench_cpus());
    if (!json) printf("FMA peak measured: %.0f GFLOP/s on %d threads; precision %s on %s\n", peak, bench_cpus(), precision, device);
    for (const char *at = shapes; *at;) {
        struct shape s;
        if (!parse_shape(at, &s)) {
            (void)fprintf(stderr, "benchmark_train: '%s' is no shape: gpt2:BATCH:TOKENS or LAYERSxWIDTH:BATCH:TOKENS\n", at);
            return 2;
        }
        measure(&s, device, policy, seconds, peak, json);
        at = strchr(at, ',');
        if (!at) break;
        at++;
    }
    return 0;
}
