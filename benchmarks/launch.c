/* What a call into a driver costs with and without a deadline, which has each call made by another thread (context.h, device_deadline):
 * launches one after the other, and launches with a wait behind each.  JSON lines; microseconds a launch, of the best of `runs`.
 *
 *   benchmark_launch DEVICE [launches] [runs]
 *
 * The kernel fills four bytes, so the rest is the way there. */
#include "bench.h"

#include <aios/aios.h>

#include <stdio.h>
#include <stdlib.h>

static struct {
    aios_stream *stream;
    void *memory;
    uint32_t kernel;
    int launches;
} job;

static void check(aios_status status, const char *what)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "benchmark_launch: %s: %s\n", what, aios_error_message());
    exit(1);
}

static void launch(void)
{
    const int32_t rows = 1, columns = 1, accumulate = 0;
    const float factor = 1;
    const void *arguments[] = {&job.memory, &job.memory, &rows, &columns, &factor, &accumulate};
    check(aios_stream_launch(job.stream, job.kernel, 1, arguments), "launch");
}

static void launch_all(void *user)
{
    (void)user;
    for (int i = 0; i < job.launches; i++) launch();
    check(aios_stream_synchronize(job.stream), "synchronize");
}

static void launch_and_wait(void *user)
{
    (void)user;
    for (int i = 0; i < job.launches; i++) {
        launch();
        check(aios_stream_synchronize(job.stream), "synchronize");
    }
}

static void measure(const char *spec, double deadline, int runs)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    aios_device *device;
    options.device_deadline = deadline;
    check(aios_context_create(&options, &context), "context");
    check(aios_device_open(context, spec, &device), "open");
    check(aios_stream_create(device, &job.stream), "stream");
    check(aios_device_alloc(device, 256, &job.memory), "memory");
    check(aios_stream_fill(job.stream, job.memory, 0, 256), "fill");
    job.kernel = (uint32_t)aios_kernel_find("scale_add_f32");
    bench_time one = bench_run(runs, launch_all, NULL), waited = bench_run(runs, launch_and_wait, NULL);
    (void)printf("{\"device\": \"%s\", \"deadline\": %g, \"launch_us\": %.3f, \"launch_and_wait_us\": %.3f}\n", spec,
                 deadline > 0 ? deadline : 0, 1e6 * one.best / job.launches, 1e6 * waited.best / job.launches);
    aios_device_free(device, job.memory);
    aios_stream_destroy(job.stream);
    aios_device_close(device);
    aios_context_destroy(context);
}

int main(int count, char **words)
{
    int runs = count > 3 ? atoi(words[3]) : 11;
    job.launches = count > 2 ? atoi(words[2]) : 1000;
    if (count < 2 || runs < 1 || runs > 101 || job.launches < 1) {
        (void)fprintf(stderr, "benchmark_launch DEVICE [launches] [runs]: cuda:0 1000 11\n");
        return 2;
    }
    measure(words[1], -1, runs);
    measure(words[1], 300, runs);
    return 0;
}
