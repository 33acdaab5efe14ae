/* Training speed of the 27M-parameter HRM (hidden 512, 4 + 4 layers, 2 x 2 cycles) on 9x9 Sudokus: a step is one segment of a batch, its
 * look ahead for the halting target, the gradient and the update.
 *
 *   benchmark_hrm [--device cpu] [--precision 32] [--batch 8] [--seconds 30] [--json | --turns]
 *
 * With --turns a step waits for a line of standard input and answers with a line: its seconds.  So a peer can take turns with it.
 *
 * FLOPs of a step: 2 per parameter of each of block and position, forward, for the 24 block evaluations of the segment and the 24 of the
 * look ahead, of whose last one only the first position is looked at, and twice as many for the 8 that are differentiated; attention's
 * products besides.  hrm_pytorch.py is the peer. */
#include "bench.h"

#include <aios/aios.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH 81
#define WIDTH  512
#define INTER  1536
#define CONFIG                                                                                                                             \
    "{\"model_type\": \"hrm_actv1\", \"vocab_size\": 11, \"seq_len\": 81, \"num_puzzle_identifiers\": 1, \"puzzle_emb_ndim\": 512, "       \
    "\"H_cycles\": 2, \"L_cycles\": 2, \"H_layers\": 4, \"L_layers\": 4, \"hidden_size\": 512, \"expansion\": 4, \"num_heads\": 8, "       \
    "\"halt_exploration_prob\": 0.1, \"halt_max_steps\": 16, \"pos_encodings\": \"rope\", \"rope_theta\": 10000, \"rms_norm_eps\": "       \
    "1e-5, \"loss\": {\"loss_type\": \"stablemax_cross_entropy\"}}"

struct run {
    aios_context *context;
    aios_device *device;
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    int32_t *tokens, *labels, *zeros;
    int batch;
};

static void check(aios_status status, const char *what)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "benchmark_hrm: %s: %s\n", what, aios_error_message());
    exit(1);
}

/* Digits at random: the work does not depend on them. */
static void make_puzzles(struct run *r)
{
    uint32_t x = 1;
    int cells = r->batch * LENGTH;
    r->tokens = malloc((size_t)cells * sizeof *r->tokens);
    r->labels = malloc((size_t)cells * sizeof *r->labels);
    r->zeros = calloc((size_t)r->batch, sizeof *r->zeros);
    if (!r->tokens || !r->labels || !r->zeros) exit(1);
    for (int i = 0; i < cells; i++) {
        x = x * 1664525u + 1013904223u;
        r->labels[i] = 2 + (int32_t)((x >> 8) % 9);
        r->tokens[i] = (x >> 28) < 5 ? r->labels[i] : 1;
    }
}

static void open_run(struct run *r, const char *device, int precision)
{
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer = AIOS_OPTIMIZER_OPTIONS_INIT;
    parameters.precision = precision;
    plan.training = 1;
    optimizer.kind = AIOS_ADAM_ATAN2;
    optimizer.max_norm = 0;
    if (precision == AIOS_PRECISION_16_MIXED) optimizer.loss_scale = 65536;
    check(aios_context_create(NULL, &r->context), "context");
    check(aios_device_open(r->context, device, &r->device), "device");
    check(aios_model_create(r->context, CONFIG, &r->model), "model");
    check(aios_graph_create(r->context, &r->graph), "graph");
    check(aios_model_record(r->model, r->graph, AIOS_MODEL_TRAIN, r->batch, LENGTH), "recording");
    check(aios_parameters_create(r->device, r->graph, &parameters, &r->parameters), "parameters");
    check(aios_parameters_initialize(r->parameters, 1), "initialising");
    check(aios_plan_create(r->graph, r->parameters, &plan, &r->plan), "plan");
    check(aios_optimizer_create(r->parameters, &optimizer, &r->optimizer), "optimizer");
    make_puzzles(r);
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
    free(r->tokens);
    free(r->labels);
    free(r->zeros);
}

static double step(struct run *r)
{
    uint64_t rows = (uint64_t)r->batch * 4, cells = rows * LENGTH;
    aios_step_result result = {.struct_size = sizeof result};
    double began = bench_now();
    check(aios_optimizer_begin(r->optimizer, 1e-4, r->batch), "begin");
    check(aios_plan_write(r->plan, "tokens", r->tokens, cells), "tokens");
    check(aios_plan_write(r->plan, "labels", r->labels, cells), "labels");
    check(aios_plan_write(r->plan, "puzzles", r->zeros, rows), "puzzles");
    check(aios_plan_write(r->plan, "min_steps", r->zeros, rows), "min_steps");
    check(aios_plan_run(r->plan), "run");
    check(aios_optimizer_step(r->optimizer), "step");
    check(aios_optimizer_result(r->optimizer, &result), "result");
    return bench_now() - began;
}

static double step_flops(int batch)
{
    double positions = LENGTH + 1, block = 2.0 * (4.0 * WIDTH * WIDTH + 3.0 * WIDTH * INTER) + 4.0 * WIDTH * positions;
    double after_attention = 2.0 * (WIDTH * WIDTH + 3.0 * WIDTH * INTER);
    return batch * (positions * block * (24 + 24 + 2 * 8) - (positions - 1) * after_attention);
}

static void measure(struct run *r, double seconds, double peak, int json)
{
    double times[1000], spent = 0;
    size_t count = 0;
    aios_plan_memory memory = {.struct_size = sizeof memory};
    uint64_t used, most;
    (void)step(r);
    while (count < 1000 && (spent < seconds || count < 3)) spent += times[count++] = step(r);
    bench_sort(times, count);
    double median = times[count / 2], gflops = step_flops(r->batch) / median * 1e-9;
    check(aios_plan_get_memory(r->plan, &memory), "memory");
    aios_device_memory_used(r->device, &used, &most);
    if (json)
        printf("{\"batch\": %d, \"parameters\": %llu, \"median_s\": %.4f, \"steps\": %zu, \"sequences_per_s\": %.3f, \"gflops\": %.1f, "
               "\"peak_gflops\": %.1f, \"device_bytes\": %llu, \"activation_bytes\": %llu}\n",
               r->batch, (unsigned long long)aios_parameters_total(r->parameters), median, count, r->batch / median, gflops, peak,
               (unsigned long long)most, (unsigned long long)memory.activations);
    else
        printf("batch %d: median %.1f ms of %zu, best %.1f; %.2f sequences/s; %.1f GFLOP/s, %.0f %% of peak; %.2f GiB (activations %.2f)\n",
               r->batch, median * 1e3, count, times[0] * 1e3, r->batch / median, gflops, 100 * gflops / peak, (double)most / 0x1p30,
               (double)memory.activations / 0x1p30);
}

static void take_turns(struct run *r)
{
    char line[16];
    (void)step(r);
    while (fgets(line, sizeof line, stdin)) {
        printf("%.6f\n", step(r));
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    const char *device = "cpu", *precision = "32";
    struct run r = {.batch = 8};
    double seconds = 30;
    int json = 0, turns = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = 1;
        else if (strcmp(argv[i], "--turns") == 0)
            turns = 1;
        else if (i + 1 < argc && strcmp(argv[i], "--device") == 0)
            device = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--precision") == 0)
            precision = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--batch") == 0)
            r.batch = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[++i]);
        else {
            (void)fprintf(stderr, "benchmark_hrm: unknown argument '%s'; see the head of benchmarks/hrm.c\n", argv[i]);
            return 2;
        }
    }
    int policy = strcmp(precision, "bf16-mixed") == 0 ? AIOS_PRECISION_BF16_MIXED
                 : strcmp(precision, "16-mixed") == 0 ? AIOS_PRECISION_16_MIXED
                                                      : AIOS_PRECISION_32;
    open_run(&r, device, policy);
    if (turns) {
        take_turns(&r);
    } else {
        double peak = bench_fma_peak(bench_cpus());
        if (!json) printf("FMA peak measured: %.0f GFLOP/s on %d threads; precision %s on %s\n", peak, bench_cpus(), precision, device);
        measure(&r, seconds, peak, json);
    }
    close_run(&r);
    return 0;
}
