/* Evaluation: what training and a saved model share. */
#include "evaluate.h"

#include "setup.h"

aios_status evaluator_open(struct evaluator *evaluator, aios_context *context, const aios_model *model, aios_parameters *parameters,
                           int64_t batch, int32_t sequence)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    *evaluator = (struct evaluator){.context = context, .batch = batch, .sequence = sequence};
    evaluator->tokens = aios_memory_array(context, (size_t)batch * (size_t)sequence, sizeof *evaluator->tokens);
    evaluator->labels = aios_memory_array(context, (size_t)batch * (size_t)sequence, sizeof *evaluator->labels);
    aios_status status = evaluator->tokens && evaluator->labels ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    if (status == AIOS_OK) status = setup_plan(context, model, AIOS_MODEL_EVAL, batch, sequence, &options, parameters, &evaluator->plan);
    if (status != AIOS_OK) evaluator_close(evaluator);
    return status;
}

void evaluator_close(struct evaluator *evaluator)
{
    if (!evaluator->context) return;
    aios_plan_destroy(evaluator->plan);
    aios_memory_free(evaluator->context, evaluator->tokens);
    aios_memory_free(evaluator->context, evaluator->labels);
    *evaluator = (struct evaluator){.context = NULL};
}

aios_status evaluator_run_rows(struct evaluator *evaluator, struct evaluator_sums *sums)
{
    uint64_t size = (uint64_t)evaluator->batch * (uint64_t)evaluator->sequence * sizeof(int32_t);
    aios_loss_sums part = {.struct_size = sizeof part};
    TRY_QUIET(aios_plan_write(evaluator->plan, "tokens", evaluator->tokens, size));
    TRY_QUIET(aios_plan_write(evaluator->plan, "labels", evaluator->labels, size));
    TRY_QUIET(aios_plan_run(evaluator->plan));
    TRY_QUIET(aios_plan_losses(evaluator->plan, &part, 1)); /* each time: a long f32 sum on the device would round */
    sums->loss += part.loss;
    sums->rows += part.rows;
    sums->hits += part.hits;
    return AIOS_OK;
}

static aios_status run_batch(struct evaluator *evaluator, const struct batches *batches, int64_t first, struct evaluator_sums *sums)
{
    TRY_QUIET(batches_read_eval(batches, first, evaluator->batch, evaluator->tokens, evaluator->labels, &sums->bytes));
    return evaluator_run_rows(evaluator, sums);
}

aios_status evaluator_run(struct evaluator *evaluator, const struct batches *batches, const struct evaluator_part *part, int64_t most,
                          evaluator_stop_fn stop, void *user, struct evaluator_sums *sums)
{
    int64_t samples = batches_eval_count(batches), unit = part ? part->unit : evaluator->batch;
    int index = part ? part->index : 0, count = part ? part->count : 1;
    aios_loss_sums old = {.struct_size = sizeof old};
    *sums = (struct evaluator_sums){.loss = 0};
    TRY_QUIET(aios_plan_losses(evaluator->plan, &old, 1));
    for (int64_t u = 0; u * unit < samples && (most == 0 || u < most); u++) {
        if (stop && stop(user)) return FAIL(AIOS_STOPPED, "the evaluation was stopped");
        if (u % count != index) continue;
        for (int64_t at = u * unit; at < (u + 1) * unit && at < samples; at += evaluator->batch)
            TRY_QUIET(run_batch(evaluator, batches, at, sums));
    }
    return AIOS_OK;
}
