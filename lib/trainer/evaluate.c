/* Evaluation: the loop that training shares, and aios_evaluate over a saved model. */
#include "evaluate.h"

#include "base/float_scope.h"
#include "setup.h"
#include <aios/trainer.h>

#include <math.h>
#include <string.h>

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

static aios_status run_batch(struct evaluator *evaluator, const struct batches *batches, int64_t first, struct evaluator_sums *sums)
{
    uint64_t size = (uint64_t)evaluator->batch * (uint64_t)evaluator->sequence * sizeof(int32_t);
    aios_loss_sums part = {.struct_size = sizeof part};
    TRY_QUIET(batches_read_eval(batches, first, evaluator->batch, evaluator->tokens, evaluator->labels, &sums->bytes));
    TRY_QUIET(aios_plan_write(evaluator->plan, "tokens", evaluator->tokens, size));
    TRY_QUIET(aios_plan_write(evaluator->plan, "labels", evaluator->labels, size));
    TRY_QUIET(aios_plan_run(evaluator->plan));
    TRY_QUIET(aios_plan_losses(evaluator->plan, &part, 1)); /* each time: a long f32 sum on the device would round */
    sums->loss += part.loss;
    sums->rows += part.rows;
    sums->hits += part.hits;
    return AIOS_OK;
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

/* ---- a saved model ----------------------------------------------------------------------------------------------- */

struct evaluation {
    aios_context *context;
    struct settings settings;
    aios_device *device;
    aios_model *model;
    aios_tokenizer *tokenizer;
    aios_graph *graph;
    aios_parameters *parameters;
    struct batches batches;
    struct evaluator evaluator;
};

static aios_status choose_sequence(const struct evaluation *e, const aios_options *options, int32_t *sequence)
{
    int64_t wanted = e->settings.max_seq_len, most = aios_model_context_length(e->model);
    if (wanted > most && aios_options_is_set(options, "max-seq-len"))
        return FAIL(AIOS_OUT_OF_RANGE, "max-seq-len is %lld: model %s has %lld positions", (long long)wanted, e->settings.model,
                    (long long)most);
    *sequence = (int32_t)(wanted < most ? wanted : most);
    return AIOS_OK;
}

static aios_status evaluate(struct evaluation *e, const aios_options *options, aios_evaluation *result)
{
    struct settings *s = &e->settings;
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    struct evaluator_sums sums;
    int32_t sequence = 0;
    TRY_QUIET(settings_read(options, AIOS_SCOPE_EVAL, s));
    if (!*s->model) return FAIL(AIOS_INVALID_ARGUMENT, "model is empty: name the folder of a model or checkpoint");
    if (!*s->dataset_file) return FAIL(AIOS_INVALID_ARGUMENT, "dataset-file is empty: name a text to evaluate on");
    TRY_QUIET(aios_model_open(e->context, s->model, &e->model));
    TRY_QUIET(choose_sequence(e, options, &sequence));
    TRY_QUIET(setup_tokenizer(e->context, s->tokenizer, s->model, &e->tokenizer));
    TRY_QUIET(setup_check_vocabulary(e->model, e->tokenizer));
    TRY_QUIET(setup_device(e->context, s->device, s->precision, &e->device));
    TRY_QUIET(batches_open_eval(&e->batches, e->context, s, e->tokenizer, sequence));
    TRY_QUIET(setup_graph(e->context, e->model, AIOS_MODEL_EVAL, s->batch_size, sequence, &e->graph));
    parameters.precision = (int32_t)s->precision;
    parameters.training = 0;
    TRY_QUIET(aios_parameters_create(e->device, e->graph, &parameters, &e->parameters));
    TRY_QUIET(aios_model_load_weights(e->model, e->parameters, s->model));
    TRY_QUIET(evaluator_open(&e->evaluator, e->context, e->model, e->parameters, s->batch_size, sequence));
    TRY_QUIET(evaluator_run(&e->evaluator, &e->batches, NULL, s->eval_batches, NULL, NULL, &sums));
    if (!(sums.rows > 0)) return FAIL(AIOS_INVALID_ARGUMENT, "%s has no token to predict: it needs at least two", s->dataset_file);
    double loss = sums.loss / sums.rows;
    aios_evaluation filled = {result->struct_size,
                              0,
                              (int64_t)sums.rows,
                              loss,
                              exp(loss),
                              sums.hits / sums.rows,
                              sums.bytes > 0 ? sums.loss / (double)sums.bytes : NAN};
    return aios_struct_write("aios_evaluation", result, &filled, sizeof filled);
}

aios_status aios_evaluate(aios_context *context, const aios_options *options, aios_evaluation *evaluation)
{
    FLOAT_SCOPE;
    if (!context || !options || !evaluation)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_evaluate: context, options and evaluation must not be NULL");
    TRY_QUIET(aios_struct_write("aios_evaluation", evaluation, &(aios_evaluation){0}, sizeof *evaluation));
    struct evaluation e = {.context = context};
    aios_status status = evaluate(&e, options, evaluation);
    evaluator_close(&e.evaluator);
    aios_parameters_destroy(e.parameters);
    aios_graph_destroy(e.graph);
    batches_close(&e.batches);
    aios_tokenizer_close(e.tokenizer);
    aios_model_destroy(e.model);
    aios_device_close(e.device);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "evaluating");
}
