/* HRM on puzzles: the public calls, on the trainer that texts have too. */
#include "hrm.h"

#include "base/float_scope.h"
#include "base/json.h"
#include "base/options.h"
#include "setup.h"
#include "trainer.h"

#include <string.h>

aios_status hrm_config_int(const aios_model *model, const char *key, int64_t fallback, int64_t *value)
{
    json_t *root;
    const char *config = aios_model_config(model);
    TRY_QUIET(json_parse(config, strlen(config), "the model's configuration", NULL, &root));
    aios_status status = json_get_int_or(root, key, fallback, 0, INT32_MAX, value);
    json_decref(root);
    return status;
}

aios_status hrm_check_kind(const aios_model *model)
{
    json_t *root;
    int causal;
    const char *config = aios_model_config(model);
    if (strcmp(aios_model_name(model), "hrm_actv1") != 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "the model is a %s: a hrm_actv1 is wanted", aios_model_name(model));
    TRY_QUIET(json_parse(config, strlen(config), "the model's configuration", NULL, &root));
    aios_status status = json_get_bool_or(root, "causal", 0, &causal);
    json_decref(root);
    if (status == AIOS_OK && causal)
        status = FAIL(AIOS_INVALID_ARGUMENT, "the model is a hrm_actv1 of texts (causal): one of puzzles is wanted");
    return status;
}

/* ---- engines ----------------------------------------------------------------------------------------------------- */

aios_status hrm_engine_open(aios_context *context, const aios_model *model, aios_device *device, int64_t precision, int32_t mode,
                            int64_t batch, struct hrm_engine *engine)
{
    aios_status status = AIOS_OK;
    aios_graph *graph = NULL;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    int64_t max_steps;
    options.precision = (int32_t)precision;
    options.training = plan.training = mode == AIOS_MODEL_TRAIN;
    *engine = (struct hrm_engine){.context = context, .batch = (int32_t)batch, .length = aios_model_context_length(model)};
    TRY_QUIET(hrm_check_kind(model));
    ATTEMPT_QUIET(hrm_config_int(model, "halt_max_steps", 16, &max_steps));
    engine->max_steps = (int32_t)max_steps;
    ATTEMPT_QUIET(setup_graph(context, model, mode, batch, engine->length, &graph));
    ATTEMPT_QUIET(aios_parameters_create(device, graph, &options, &engine->parameters));
    ATTEMPT_QUIET(aios_plan_create(graph, engine->parameters, &plan, &engine->plan));
done:
    aios_graph_destroy(graph);
    if (status != AIOS_OK) hrm_engine_close(engine);
    return status;
}

void hrm_engine_close(struct hrm_engine *engine)
{
    aios_plan_destroy(engine->plan);
    aios_parameters_destroy(engine->parameters);
    engine->plan = NULL;
    engine->parameters = NULL;
}

/* ---- whole runs -------------------------------------------------------------------------------------------------- */

static aios_status put_scores(const struct evaluator_sums *sums, aios_hrm_scores *scores)
{
    double n = sums->puzzles > 0 ? sums->puzzles : 1;
    aios_hrm_scores filled = {.struct_size = sizeof filled,
                              .examples = (int64_t)sums->puzzles,
                              .exact_accuracy = sums->solved / n,
                              .accuracy = sums->hits / (sums->rows > 0 ? sums->rows : 1),
                              .halt_accuracy = sums->halts / n,
                              .loss = sums->loss / n};
    return aios_struct_write("aios_hrm_scores", scores, &filled, sizeof filled);
}

aios_status aios_hrm_train(aios_context *context, const aios_options *options, const volatile int32_t *stop, aios_hrm_scores *scores)
{
    FLOAT_SCOPE;
    aios_trainer *t = NULL;
    aios_options *own = NULL;
    if (!context || !options) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_train: context and options must not be NULL");
    if (scores) TRY_QUIET(put_scores(&(struct evaluator_sums){.loss = 0}, scores));
    TRY_QUIET(aios_options_copy(context, options, AIOS_SCOPE_HRM, &own));
    aios_status status = aios_trainer_create(context, own, NULL, &t);
    aios_options_destroy(own);
    TRY_QUIET(status);
    t->stop_flag = stop;
    status = aios_trainer_run(t);
    if (status == AIOS_STOPPED && t->time_up) status = AIOS_OK; /* max-minutes is an end like any other */
    if (scores) (void)put_scores(&t->eval_sums, scores);
    aios_trainer_destroy(t);
    return status;
}

struct watch {
    aios_context *context;
    const volatile int32_t *stop;
    const struct evaluator_sums *sums;
    const struct batches *batches;
    double next_event;
};

/* Before each batch. */
static int is_asked_to_stop(void *user)
{
    struct watch *w = user;
    evaluate_tell(w->context, &w->next_event, (int64_t)w->sums->puzzles, batches_eval_count(w->batches));
    return w->stop && *w->stop;
}

static aios_status evaluate(aios_context *context, const struct settings *s, const volatile int32_t *stop, struct evaluator_sums *sums)
{
    aios_status status = AIOS_OK;
    aios_model *model = NULL;
    aios_device *device = NULL;
    struct batches batches = {.context = NULL};
    aios_graph *graph = NULL;
    aios_parameters *parameters = NULL;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    struct evaluator evaluator = {.context = NULL};
    struct watch watch = {context, stop, sums, &batches, 0};
    ATTEMPT_QUIET(batches_open_puzzles(&batches, context, s, 0));
    ATTEMPT_QUIET(aios_model_open(context, s->model, &model));
    ATTEMPT_QUIET(hrm_check_set(model, batches.test, "test"));
    ATTEMPT_QUIET(setup_device(context, s->device, s->precision, &device));
    options.precision = (int32_t)s->precision;
    options.training = 0;
    ATTEMPT_QUIET(setup_graph(context, model, AIOS_MODEL_EVAL, s->global_batch, batches.sequence, &graph));
    ATTEMPT_QUIET(aios_parameters_create(device, graph, &options, &parameters));
    ATTEMPT_QUIET(aios_model_load_weights(model, parameters, s->model));
    ATTEMPT_QUIET(evaluator_open(&evaluator, &batches, model, parameters, s->global_batch, batches.sequence));
    ATTEMPT_QUIET(evaluator_run(&evaluator, NULL, 0, is_asked_to_stop, &watch, sums));
done:
    if (status == AIOS_STOPPED)
        status = FAIL(AIOS_STOPPED, "it was stopped after %lld of %lld puzzles", (long long)sums->puzzles,
                      (long long)batches_eval_count(&batches));
    evaluator_close(&evaluator);
    aios_parameters_destroy(parameters);
    aios_graph_destroy(graph);
    aios_device_close(device);
    aios_model_destroy(model);
    batches_close(&batches);
    return status;
}

aios_status aios_hrm_evaluate(aios_context *context, const aios_options *options, aios_hrm_scores *scores)
{
    return aios_hrm_evaluate_until(context, options, NULL, scores);
}

aios_status aios_hrm_evaluate_until(aios_context *context, const aios_options *options, const volatile int32_t *stop,
                                    aios_hrm_scores *scores)
{
    FLOAT_SCOPE;
    struct settings s;
    struct evaluator_sums sums = {.loss = 0};
    if (!context || !options || !scores)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_evaluate: context, options and scores must not be NULL");
    TRY_QUIET(put_scores(&(struct evaluator_sums){.loss = 0}, scores));
    TRY_QUIET(settings_read(options, AIOS_SCOPE_HRM, &s));
    if (!*s.model || !*s.data_path)
        return FAIL(AIOS_INVALID_ARGUMENT, "option model is '%s' and data-path '%s': both must name a folder", s.model, s.data_path);
    aios_status status = evaluate(context, &s, stop, &sums);
    if (status != AIOS_OK && status != AIOS_STOPPED) return status;
    TRY_QUIET(put_scores(&sums, scores));
    return status;
}

aios_status hrm_check_set(const aios_model *model, const aios_puzzles *set, const char *split)
{
    aios_puzzles_info info = {.struct_size = sizeof info};
    int64_t identifiers;
    TRY_QUIET(hrm_check_kind(model));
    TRY_QUIET(aios_puzzles_get_info(set, &info));
    TRY_QUIET(hrm_config_int(model, "num_puzzle_identifiers", 1, &identifiers));
    if (info.length == aios_model_context_length(model) && info.vocabulary_size <= aios_model_vocabulary_size(model) &&
        info.identifier_count <= identifiers)
        return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT,
                "the %s set has puzzles of %d tokens below %d and %d identifiers; the model has %d, %d and %lld: it was made for others",
                split, info.length, info.vocabulary_size, info.identifier_count, aios_model_context_length(model),
                aios_model_vocabulary_size(model), (long long)identifiers);
}
