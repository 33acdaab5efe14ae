/* The runner on a device: every kernel against float64, and how launches behave. */
#include "gpu/host.h"
#include "judge.h"

#include <string.h>

/* ---- the runner's hooks ------------------------------------------------------------------------------------------ */

static int keep_error(struct runner *runner)
{
    (void)snprintf(runner->error, sizeof runner->error, "%.255s", aios_error_message());
    return -1;
}

static int launch_on_device(struct runner *runner, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    struct judge *judge = runner->user;
    if (CALL(judge->table->launch(judge->handle, judge->stream, kernel, teams, arguments)) != AIOS_OK) return keep_error(runner);
    return CALL(judge->table->synchronize_stream(judge->handle, judge->stream)) == AIOS_OK ? 0 : keep_error(runner);
}

/* From the library's pool, which asks the device for bigger pieces: a case takes thousands. */
static void *alloc_on_device(struct runner *runner, size_t size)
{
    void *pointer = NULL;
    struct judge *judge = runner->user;
    if (aios_device_alloc(judge->device, size, &pointer) != AIOS_OK) (void)keep_error(runner);
    return pointer;
}

static void free_on_device(struct runner *runner, void *pointer)
{
    aios_device_free(((struct judge *)runner->user)->device, pointer);
}

static int copy_for_runner(struct runner *runner, void *to, const void *from, size_t size, int32_t kind)
{
    struct judge *judge = runner->user;
    if (CALL(judge->table->copy(judge->handle, judge->stream, to, from, size, kind)) != AIOS_OK) return keep_error(runner);
    return CALL(judge->table->synchronize_stream(judge->handle, judge->stream)) == AIOS_OK ? 0 : keep_error(runner);
}

static int upload_to_device(struct runner *runner, void *to, const void *from, size_t size)
{
    return copy_for_runner(runner, to, from, size, AIOS_COPY_HOST_TO_DEVICE);
}

static int download_from_device(struct runner *runner, void *to, const void *from, size_t size)
{
    return copy_for_runner(runner, to, from, size, AIOS_COPY_DEVICE_TO_HOST);
}

static void open_runner(struct judge *judge)
{
    /* A GPU's exp, division and reciprocal root are good to a few units in the last place, the CPU's to one. */
    double slack = judge->info.kind == AIOS_DEVICE_CPU ? 1 : 4;
    judge->runner = (struct runner){.name = judge->info.backend,
                                    .seed = judge->seed,
                                    .only = judge->filter,
                                    .storage_types = judge->info.storage_types,
                                    .slack = slack,
                                    .brief = judge->brief,
                                    .user = judge,
                                    .launch = launch_on_device,
                                    .alloc = alloc_on_device,
                                    .free = free_on_device,
                                    .upload = upload_to_device,
                                    .download = download_from_device};
}

static void gemm_group(struct runner *runner)
{
    struct judge *judge = runner->user;
    if (judge->table->gemm) gemm_group_cases(judge);
}

static void attention_group(struct runner *runner)
{
    struct judge *judge = runner->user;
    if (judge->table->attention) attention_group_cases(judge);
}

int kernels_run(struct judge *judge, void (*theme)(const char *name))
{
    static const struct {
        const char *name;
        void (*run)(struct runner *runner);
    } themes[] = {
#define THEME(name) {"kernels: " #name, name##_cases},
        RUNNER_THEMES(THEME)
#undef THEME
            {"gemm", gemm_group},
        {"attention", attention_group},
    };
    open_runner(judge);
    if (device_load_kernels(judge->device) != AIOS_OK) {
        judge_fail(judge, "load_kernels failed: %s", aios_error_message());
        return 0;
    }
    judge->stream = judge_stream(judge);
    if (!judge->stream) return 0;
    for (size_t i = 0; i < sizeof themes / sizeof themes[0]; i++) {
        theme(themes[i].name);
        themes[i].run(&judge->runner);
    }
    return 1;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

#define N 70001

/* What arguments[] points to; wiped out as soon as launch has returned. */
static struct {
    void *y;
    const void *x;
    int32_t rows, n;
    float factor;
    int32_t accumulate;
} values;

/* y = factor * x, one row. */
static void launch_scale(struct judge *judge, void *stream, uint32_t teams, void *y, const void *x, float factor)
{
    const void *arguments[] = {&values.y, &values.x, &values.rows, &values.n, &values.factor, &values.accumulate};
    values.y = y, values.x = x, values.rows = 1, values.n = N, values.factor = factor, values.accumulate = 0;
    aios_status status = CALL(judge->table->launch(judge->handle, stream, kernel_index(KERNEL_scale_add, AIOS_F32), teams, arguments));
    memset(&values, 0, sizeof values);
    EXPECT(status == AIOS_OK, "launch of scale_add_f32 failed: %s", aios_error_message());
}

static int open_buffers(struct judge *judge, void **stream, float **host, void *x[2])
{
    *stream = judge_stream(judge);
    *host = judge_plain_memory(judge, N * sizeof(float));
    x[0] = judge_memory(judge, N * sizeof(float));
    x[1] = judge_memory(judge, N * sizeof(float));
    if (!*stream || !*host || !x[0] || !x[1]) return 0;
    for (int i = 0; i < N; i++) (*host)[i] = (float)(i % 1000 + 1);
    return judge_upload(judge, *stream, x[0], *host, N * sizeof(float));
}

void launch_arguments(struct judge *judge)
{
    float *host;
    void *stream, *x[2];
    NEED(device_load_kernels(judge->device) == AIOS_OK && open_buffers(judge, &stream, &host, x));
    for (int i = 0; i < 16; i++) { /* doubling back and forth: an argument read too late or from a neighbour shows */
        launch_scale(judge, stream, 7, x[1 - i % 2], x[i % 2], 2.0f);
        NEED(!judge->failed);
    }
    NEED(judge_download(judge, stream, host, x[0], N * sizeof(float)));
    for (int i = 0; i < N; i++) {
        float want = (float)(i % 1000 + 1) * 65536.0f;
        EXPECT(host[i] == want, "sixteen launches that double: element %d is %g, not %g: were argument values read after launch returned?",
               i, (double)host[i], (double)want);
    }
}

void launch_teams(struct judge *judge)
{
    const uint32_t teams[] = {1, 2, 3, 31, 256, 1000, (uint32_t)judge->info.teams};
    float *host;
    void *stream, *x[2];
    NEED(device_load_kernels(judge->device) == AIOS_OK && open_buffers(judge, &stream, &host, x));
    for (size_t t = 0; t < sizeof teams / sizeof teams[0]; t++) {
        MUST(judge->table->fill(judge->handle, stream, x[1], 0xffffffffu, N * sizeof(float)));
        launch_scale(judge, stream, teams[t], x[1], x[0], 3.0f);
        NEED(!judge->failed && judge_download(judge, stream, host, x[1], N * sizeof(float)));
        for (int i = 0; i < N; i++)
            EXPECT(host[i] == (float)(i % 1000 + 1) * 3.0f, "with %u teams element %d is %g, not %g", teams[t], i, (double)host[i],
                   (double)((float)(i % 1000 + 1) * 3.0f));
    }
}
