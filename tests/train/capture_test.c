/* What recording a plan and the backward epilogues of gemm must not change, on a CPU device that got both: its calls are kept in a list
 * between begin and end of a recording, and gone through at a replay. */
#include "gpu/device.h"
#include "test.h"

#include <aios/model.h>
#include <aios/plan.h>

#include <math.h>
#include <string.h>

enum { LAUNCH, GEMM, COPY, FILL };

struct call {
    int kind;
    void *stream, *to;
    const void *from;
    uint64_t size;
    int32_t copy;
    uint32_t pattern, kernel, teams;
    unsigned char values[32][8];
    aios_gemm gemm;
};

#define CALLS 4096
static struct call calls[CALLS];
static struct {
    const aios_gpu_device *real;
    int recording, count, begins, replays, direct, bias_gradients, gelu_backwards;
    aios_status refuse_begin, refuse_end, refuse_launch, refuse_replay;
} fake;

static struct call *keep(int kind, void *stream)
{
    assert_true(fake.count < CALLS);
    calls[fake.count] = (struct call){.kind = kind, .stream = stream};
    return &calls[fake.count++];
}

static aios_status fake_launch(void *device, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    if (!fake.recording) {
        fake.direct++;
        return fake.real->launch(device, stream, kernel, teams, arguments);
    }
    if (fake.refuse_launch) return fake.refuse_launch;
    const aios_kernel *entry = aios_kernel_get(kernel);
    struct call *call = keep(LAUNCH, stream);
    call->kernel = kernel;
    call->teams = teams;
    for (uint32_t i = 0; i < entry->argument_count; i++) memcpy(call->values[i], arguments[i], entry->arguments[i].size);
    return AIOS_OK;
}

/* The epilogues that the CPU lacks, in loops of their own: the network is f32. */
static aios_status multiply(void *device, void *stream, const aios_gemm *gemm)
{
    aios_gemm plain = gemm_without_epilogue(gemm);
    if (gemm->epilogue < AIOS_EPILOGUE_GELU_BACKWARD || gemm->epilogue > AIOS_EPILOGUE_BIAS_GRADIENT_B)
        return fake.real->gemm->gemm(device, stream, gemm);
    aios_status status = fake.real->gemm->gemm(device, stream, &plain);
    if (status != AIOS_OK) return status;
    float *c = gemm->c, *aux = gemm->aux;
    if (gemm->epilogue == AIOS_EPILOGUE_GELU_BACKWARD) {
        fake.gelu_backwards++;
        for (int32_t row = 0; row < gemm->m; row++)
            for (int32_t i = 0; i < gemm->n; i++) {
                double x = (double)aux[row * gemm->ldc + i], slope = 0.79788456080286535588, t = tanh(slope * (x + 0.044715 * x * x * x));
                c[row * gemm->ldc + i] *= (float)(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope * (1 + 3 * 0.044715 * x * x));
            }
        return AIOS_OK;
    }
    int of_a = gemm->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A;
    const float *dy = of_a ? gemm->a : gemm->b;
    fake.bias_gradients++;
    for (int32_t i = 0; i < (of_a ? gemm->m : gemm->n); i++) {
        double sum = 0;
        for (int32_t k = 0; k < gemm->k; k++) sum += (double)dy[k * (of_a ? gemm->lda : gemm->ldb) + i];
        aux[i] = (float)sum;
    }
    return AIOS_OK;
}

static aios_status fake_gemm(void *device, void *stream, const aios_gemm *gemm)
{
    if (!fake.recording) return multiply(device, stream, gemm);
    keep(GEMM, stream)->gemm = *gemm;
    return AIOS_OK;
}

static aios_status fake_copy(void *device, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    if (!fake.recording) return fake.real->copy(device, stream, to, from, size, kind);
    assert_int_equal(kind, AIOS_COPY_DEVICE_TO_DEVICE); /* what the host holds may change before a replay */
    struct call *call = keep(COPY, stream);
    call->to = to;
    call->from = from;
    call->size = size;
    call->copy = kind;
    return AIOS_OK;
}

static aios_status fake_fill(void *device, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    if (!fake.recording) return fake.real->fill(device, stream, to, pattern, size);
    struct call *call = keep(FILL, stream);
    call->to = to;
    call->pattern = pattern;
    call->size = size;
    return AIOS_OK;
}

static aios_status fake_synchronize(void *device, void *stream)
{
    assert_false(fake.recording); /* an error on real devices */
    return fake.real->synchronize_stream(device, stream);
}

static aios_status fake_alloc(void *device, uint64_t size, void **pointer)
{
    assert_false(fake.recording);
    return fake.real->alloc(device, size, pointer);
}

static aios_status begin_recording(void *device, void *stream)
{
    (void)device, (void)stream;
    fake.begins++;
    if (fake.refuse_begin) return fake.refuse_begin;
    fake.recording = 1;
    fake.count = 0;
    return AIOS_OK;
}

static aios_status end_recording(void *device, void *stream, void **recording)
{
    (void)device, (void)stream;
    fake.recording = 0;
    *recording = calls;
    return fake.refuse_end;
}

static aios_status replay(void *device, void *stream, void *recording)
{
    assert_ptr_equal(recording, calls);
    if (fake.refuse_replay) return fake.refuse_replay;
    fake.replays++;
    for (int i = 0; i < fake.count; i++) {
        const struct call *call = &calls[i];
        const void *arguments[32];
        aios_status status = AIOS_OK;
        assert_ptr_equal(call->stream, stream);
        for (int k = 0; k < 32; k++) arguments[k] = call->values[k];
        if (call->kind == LAUNCH) status = fake.real->launch(device, stream, call->kernel, call->teams, arguments);
        if (call->kind == GEMM) status = multiply(device, stream, &call->gemm);
        if (call->kind == COPY) status = fake.real->copy(device, stream, call->to, call->from, call->size, call->copy);
        if (call->kind == FILL) status = fake.real->fill(device, stream, call->to, call->pattern, call->size);
        if (status != AIOS_OK) return status;
    }
    return AIOS_OK;
}

static void forget(void *device, void *recording)
{
    (void)device, (void)recording;
}

static aios_context *context;
static aios_gpu_device table;
static aios_gemm_group gemm_group;
static const aios_capture_group capture_group = {sizeof capture_group, 0, begin_recording, end_recording, replay, forget};

static aios_device *open_device(int fused)
{
    aios_device *device;
    assert_ok(aios_device_open(context, "cpu", &device));
    memset(&fake, 0, sizeof fake);
    fake.real = device->table;
    table = *device->table;
    gemm_group = *device->table->gemm;
    gemm_group.gemm = fake_gemm;
    if (fused)
        for (int32_t e = AIOS_EPILOGUE_GELU_BACKWARD; e < AIOS_EPILOGUE_RESIDUAL; e++) gemm_group.epilogues |= 1u << e;
    table.gemm = &gemm_group;
    table.capture = &capture_group;
    table.attention = NULL; /* portable kernels: launches */
    table.launch = fake_launch;
    table.copy = fake_copy;
    table.fill = fake_fill;
    table.synchronize_stream = fake_synchronize;
    table.alloc = fake_alloc;
    device->table = &table;
    return device;
}

#define BATCH   3
#define LENGTH  10
#define STEPS   5
#define WEIGHTS 61 * 24

struct curve {
    double loss[STEPS];
    float weights[WEIGHTS]; /* of the embedding */
};

static const char gpt2[] = "{\"model_type\":\"gpt2\",\"vocab_size\":61,\"n_positions\":16,\"n_embd\":24,\"n_layer\":2,\"n_head\":3}";

/* Five steps of two micro-batches; the loss is read after each. */
static struct curve train(aios_device *device, int capture, int checkpointing)
{
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    struct curve curve;
    aios_parameters_options parameter_options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer_options = AIOS_OPTIMIZER_OPTIONS_INIT;
    options.training = 1;
    options.capture = capture;
    options.gradient_checkpointing = checkpointing;
    assert_ok(aios_model_create(context, gpt2, &model));
    assert_ok(aios_graph_create(context, &graph));
    assert_ok(aios_model_record(model, graph, AIOS_MODEL_TRAIN, BATCH, LENGTH));
    assert_ok(aios_parameters_create(device, graph, &parameter_options, &parameters));
    assert_ok(aios_parameters_initialize(parameters, 7));
    assert_ok(aios_plan_create(graph, parameters, &options, &plan));
    assert_ok(aios_optimizer_create(parameters, &optimizer_options, &optimizer));
    for (int step = 0; step < STEPS; step++) {
        aios_loss_sums sums = {.struct_size = sizeof sums};
        assert_ok(aios_optimizer_begin(optimizer, 1e-2, 2.0 * BATCH * LENGTH));
        for (int micro = 0; micro < 2; micro++) {
            int32_t ids[BATCH * LENGTH], labels[BATCH * LENGTH];
            for (int i = 0; i < BATCH * LENGTH; i++) {
                ids[i] = (i * 7 + step * 5 + micro * 3) % 61;
                labels[i] = (ids[i] * 3 + 1) % 61;
            }
            assert_ok(aios_plan_write(plan, "tokens", ids, sizeof ids));
            assert_ok(aios_plan_write(plan, "labels", labels, sizeof labels));
            assert_ok(aios_plan_run(plan));
        }
        assert_ok(aios_optimizer_step(optimizer));
        assert_ok(aios_plan_losses(plan, &sums, 1));
        curve.loss[step] = sums.loss;
    }
    assert_ok(aios_parameters_read(parameters, "wte.weight", AIOS_VALUE, curve.weights, WEIGHTS));
    aios_optimizer_destroy(optimizer);
    aios_plan_destroy(plan);
    aios_parameters_destroy(parameters);
    aios_graph_destroy(graph);
    aios_model_destroy(model);
    return curve;
}

static void a_replayed_step_has_the_same_bits(void **state)
{
    (void)state;
    for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
        aios_device *device = open_device(0);
        struct curve direct = train(device, 0, checkpointing);
        assert_int_equal(fake.begins, 0);
        struct curve replayed = train(device, 1, checkpointing);
        assert_int_equal(fake.begins, 1);
        assert_int_equal(fake.replays, 2 * STEPS - 1); /* all runs but the first */
        assert_true(direct.loss[STEPS - 1] < direct.loss[0]);
        assert_memory_equal(&direct, &replayed, sizeof direct);
        aios_device_close(device);
    }
}

static void a_recording_that_fails_leaves_the_run_as_it_was(void **state)
{
    (void)state;
    aios_device *device = open_device(0);
    struct curve direct = train(device, 0, 0);
    aios_status *const refusals[] = {&fake.refuse_begin, &fake.refuse_end, &fake.refuse_launch, &fake.refuse_replay};
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        fake.begins = fake.replays = 0;
        *refusals[i] = AIOS_UNSUPPORTED;
        struct curve curve = train(device, 1, 0);
        *refusals[i] = AIOS_OK;
        assert_memory_equal(&direct, &curve, sizeof direct);
        assert_int_equal(fake.begins, 1); /* not tried again */
        assert_int_equal(fake.replays, 0);
    }
    aios_device_close(device);
}

static void fused_backward_epilogues_give_the_same_curve(void **state)
{
    (void)state;
    for (int checkpointing = 0; checkpointing < 2; checkpointing++) {
        aios_device *device = open_device(0);
        struct curve apart = train(device, 0, checkpointing);
        aios_device_close(device);
        device = open_device(1);
        struct curve fused = train(device, 1, checkpointing);
        /* Two layers: the GELU of each, and a bias with each of four weights. */
        assert_int_equal(fake.gelu_backwards, 2 * 2 * STEPS);
        assert_int_equal(fake.bias_gradients, 2 * 8 * STEPS);
        /* The same sums in another order: a few roundings of f32, which five steps of Adam may widen. */
        for (int step = 0; step < STEPS; step++)
            if (!(fabs(fused.loss[step] / apart.loss[step] - 1) < 1e-5))
                fail_msg("step %d: %g and %g", step, fused.loss[step], apart.loss[step]);
        aios_device_close(device);
    }
}

static int begin(void **state)
{
    (void)state;
    context = test_context();
    return 0;
}

static int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replayed_step_has_the_same_bits),
        cmocka_unit_test(a_recording_that_fails_leaves_the_run_as_it_was),
        cmocka_unit_test(fused_backward_epilogues_give_the_same_curve),
    };
    return cmocka_run_group_tests_name("capture", tests, begin, end);
}
