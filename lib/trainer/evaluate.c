/* Evaluation: what training and a saved model share. */
#include "evaluate.h"

#include "base/os.h"
#include "hrm.h"
#include "setup.h"

#include <stdio.h>
#include <string.h>

#define EVENT_SECONDS 0.5

static aios_status prepare_puzzles(struct evaluator *e, const aios_model *model)
{
    int64_t segments;
    TRY_QUIET(hrm_config_int(model, "halt_max_steps", 16, &segments));
    e->segments = (int32_t)segments;
    e->numbers = aios_memory_array(e->context, (size_t)e->batch * 3, sizeof *e->numbers);
    return e->numbers ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

aios_status evaluator_open(struct evaluator *e, const struct batches *batches, const aios_model *model, aios_parameters *parameters,
                           int64_t batch, int32_t sequence)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    aios_context *context = batches->context;
    *e = (struct evaluator){.context = context, .batches = batches, .parameters = parameters, .batch = batch};
    aios_status status = samples_create(batches, batch, &e->samples);
    if (status == AIOS_OK && e->samples.identifiers) status = prepare_puzzles(e, model);
    if (status == AIOS_OK) status = setup_plan(context, model, AIOS_MODEL_EVAL, batch, sequence, &options, parameters, &e->plan);
    if (status != AIOS_OK) evaluator_close(e);
    return status;
}

void evaluator_close(struct evaluator *e)
{
    if (!e->context) return;
    aios_plan_destroy(e->plan);
    samples_free(e->context, &e->samples);
    aios_memory_free(e->context, e->numbers);
    *e = (struct evaluator){.context = NULL};
}

/* The samples in memory through the plan once. */
static aios_status run_samples(struct evaluator *e)
{
    uint64_t rows = (uint64_t)e->batch * sizeof(int32_t), size = rows * (uint64_t)e->batches->sequence;
    TRY_QUIET(aios_plan_write(e->plan, "tokens", e->samples.tokens, size));
    TRY_QUIET(aios_plan_write(e->plan, "labels", e->samples.labels, size));
    if (e->samples.identifiers) TRY_QUIET(aios_plan_write(e->plan, "puzzles", e->samples.identifiers, rows));
    return aios_plan_run(e->plan);
}

/* All segments of each puzzle, of which the last one's answer counts; the first `count` rows are puzzles. */
static aios_status run_puzzles(struct evaluator *e, int64_t count, struct evaluator_sums *sums)
{
    float *correct = e->numbers, *q = e->numbers + e->batch;
    uint64_t bytes = (uint64_t)e->batch * sizeof *q;
    aios_loss_sums part = {.struct_size = sizeof part};
    TRY_QUIET(aios_parameters_reset_states(e->parameters));
    for (int32_t segment = 1; segment <= e->segments; segment++) {
        if (segment == e->segments) TRY_QUIET(aios_plan_losses(e->plan, &part, 1));
        TRY_QUIET(run_samples(e));
    }
    TRY_QUIET(aios_plan_losses(e->plan, &part, 1));
    sums->rows += part.rows;
    sums->hits += part.hits;
    TRY_QUIET(aios_plan_read(e->plan, "lm_losses", correct, bytes));
    for (int64_t i = 0; i < count; i++) sums->loss += (double)correct[i];
    TRY_QUIET(aios_plan_read(e->plan, "correct", correct, bytes));
    TRY_QUIET(aios_plan_read(e->plan, "q", q, 2 * bytes));
    for (int64_t i = 0; i < count; i++) {
        sums->puzzles += 1;
        sums->solved += (double)correct[i];
        sums->halts += (q[2 * i] >= 0.0f) == (correct[i] != 0.0f);
    }
    return AIOS_OK;
}

aios_status evaluator_run_texts(struct evaluator *e, struct evaluator_sums *sums)
{
    aios_loss_sums part = {.struct_size = sizeof part};
    TRY_QUIET(run_samples(e));
    TRY_QUIET(aios_plan_losses(e->plan, &part, 1)); /* each time: a long f32 sum on the device would round */
    sums->loss += part.loss;
    sums->rows += part.rows;
    sums->hits += part.hits;
    return AIOS_OK;
}

void evaluate_tell(aios_context *context, double *next, int64_t done, int64_t total)
{
    double now = os_now();
    char json[80];
    if (*next > 0 && now >= *next) {
        (void)snprintf(json, sizeof json, "{\"done\": %lld, \"total\": %lld}", (long long)done, (long long)total);
        aios_emit(context, "evaluating", json);
    }
    if (*next <= now) *next = now + EVENT_SECONDS;
}

static aios_status run_batch(struct evaluator *e, int64_t first, struct evaluator_sums *sums)
{
    int64_t left = batches_eval_count(e->batches) - first;
    TRY_QUIET(batches_read_eval(e->batches, first, e->batch, &e->samples, &sums->bytes));
    return e->segments ? run_puzzles(e, left < e->batch ? left : e->batch, sums) : evaluator_run_texts(e, sums);
}

aios_status evaluator_run(struct evaluator *e, const struct evaluator_part *part, int64_t most, evaluator_stop_fn stop, void *user,
                          struct evaluator_sums *sums)
{
    int64_t samples = batches_eval_count(e->batches), unit = part ? part->unit : e->batch;
    int index = part ? part->index : 0, count = part ? part->count : 1;
    aios_loss_sums old = {.struct_size = sizeof old};
    *sums = (struct evaluator_sums){.loss = 0};
    TRY_QUIET(aios_plan_losses(e->plan, &old, 1));
    for (int64_t u = 0; u * unit < samples && (most == 0 || u < most); u++) {
        if (stop && stop(user)) return FAIL(AIOS_STOPPED, "the evaluation was stopped");
        if (u % count != index) continue;
        for (int64_t at = u * unit; at < (u + 1) * unit && at < samples; at += e->batch) TRY_QUIET(run_batch(e, at, sums));
    }
    return AIOS_OK;
}
