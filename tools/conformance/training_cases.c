/* training.*: ten steps of a small GPT-2, on the device and on the CPU */
#include "judge.h"

#include <aios/model.h>

#include <math.h>
#include <string.h>

#define STEPS    10
#define BATCH    2
#define LENGTH   16
#define POSITION (BATCH * LENGTH)

static const char config[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, \"n_embd\": 32, \"vocab_size\": 61, \"n_positions\": 16}";

struct training {
    aios_model *model;
    aios_graph *graph;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
};

static aios_status build(struct training *t, struct judge *judge, aios_device *device, int32_t precision)
{
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer = AIOS_OPTIMIZER_OPTIONS_INIT;
    parameters.precision = precision;
    plan.training = 1;
    if (precision == AIOS_PRECISION_16_MIXED) optimizer.loss_scale = 1024.0;
    TRY_QUIET(aios_model_create(judge->context, config, &t->model));
    TRY_QUIET(aios_graph_create(judge->context, &t->graph));
    TRY_QUIET(aios_model_record(t->model, t->graph, AIOS_MODEL_TRAIN, BATCH, LENGTH));
    TRY_QUIET(aios_parameters_create(device, t->graph, &parameters, &t->parameters));
    TRY_QUIET(aios_plan_create(t->graph, t->parameters, &plan, &t->plan));
    TRY_QUIET(aios_optimizer_create(t->parameters, &optimizer, &t->optimizer));
    return aios_parameters_initialize(t->parameters, judge->seed + 1);
}

static aios_status train(struct training *t, struct judge *judge, double losses[STEPS])
{
    for (int step = 0; step < STEPS; step++) {
        int32_t tokens[POSITION], labels[POSITION];
        unsigned char bytes[POSITION + 1];
        aios_loss_sums sums = {.struct_size = sizeof sums};
        judge_pattern(judge, (uint64_t)step % 3, bytes, sizeof bytes); /* three batches again and again: they can be learned */
        for (int i = 0; i < POSITION; i++) tokens[i] = bytes[i] % 61, labels[i] = i % 7 ? bytes[i + 1] % 61 : -1;
        TRY_QUIET(aios_optimizer_begin(t->optimizer, 3e-3, POSITION));
        TRY_QUIET(aios_plan_write(t->plan, "tokens", tokens, sizeof tokens));
        TRY_QUIET(aios_plan_write(t->plan, "labels", labels, sizeof labels));
        TRY_QUIET(aios_plan_run(t->plan));
        TRY_QUIET(aios_optimizer_step(t->optimizer));
        TRY_QUIET(aios_plan_losses(t->plan, &sums, 1));
        losses[step] = sums.loss / sums.rows;
    }
    return AIOS_OK;
}

static aios_status train_on(struct judge *judge, aios_device *device, int32_t precision, double losses[STEPS])
{
    struct training t = {0};
    aios_status status = build(&t, judge, device, precision);
    if (status == AIOS_OK) status = train(&t, judge, losses);
    aios_optimizer_destroy(t.optimizer);
    aios_plan_destroy(t.plan);
    aios_parameters_destroy(t.parameters);
    aios_graph_destroy(t.graph);
    aios_model_destroy(t.model);
    return status;
}

/* tolerance: of a loss of about 4.  Sums are taken in another order, so a step's gradients differ in their last bits; AdamW's division
 * makes more of that where a gradient is near 0, and ten steps carry it on. */
static void compare(struct judge *judge, int32_t precision, int type, double tolerance)
{
    double got[STEPS] = {0}, want[STEPS] = {0};
    aios_device *cpu = NULL;
    if (!(judge->info.storage_types >> type & 1u)) {
        judge_unoffered(judge, "the device has no kernels for %s", storage_name(type));
        return;
    }
    EXPECT(aios_device_open(judge->context, "cpu:0", &cpu) == AIOS_OK, "the CPU, to compare with: %s", aios_error_message());
    aios_status status = train_on(judge, cpu, precision, want);
    aios_device_close(cpu);
    EXPECT(status == AIOS_OK, "training on the CPU, to compare with: %s", aios_error_message());
    EXPECT(train_on(judge, judge->device, precision, got) == AIOS_OK, "training failed: %s", aios_error_message());
    for (int step = 0; step < STEPS; step++)
        EXPECT(fabs(got[step] - want[step]) <= tolerance, "step %d: the loss is %.7g, the CPU's %.7g: off by %.2g, allowed %.2g", step + 1,
               got[step], want[step], fabs(got[step] - want[step]), tolerance);
    EXPECT(got[STEPS - 1] < got[0] - 0.1, "the loss went from %.4f to %.4f: nothing was learned", got[0], got[STEPS - 1]);
}

void training_32(struct judge *judge)
{
    compare(judge, AIOS_PRECISION_32, AIOS_F32, 2e-4);
}

void training_bf16(struct judge *judge)
{
    compare(judge, AIOS_PRECISION_BF16_MIXED, AIOS_BF16, 4e-2);
}

void training_16(struct judge *judge)
{
    compare(judge, AIOS_PRECISION_16_MIXED, AIOS_F16, 1e-2);
}
