/* HRM: options, engines, evaluation. */
#include "hrm.h"

#include "base/float_scope.h"
#include "base/json.h"
#include "setup.h"

#include <string.h>

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* Options that the trainer of texts has too, where the public reference's default is another one. */
static aios_status reference_defaults(const aios_options *options, struct hrm_settings *s)
{
    if (!aios_options_is_set(options, "lr")) s->lr = 1e-4;
    if (!aios_options_is_set(options, "lr-min-ratio")) s->lr_min_ratio = 1.0;
    if (!aios_options_is_set(options, "lr-warmup-steps")) s->warmup = 2000;
    if (!aios_options_is_set(options, "log-interval")) s->log_interval = 10;
    if (aios_options_is_set(options, "steps") && s->epochs)
        return FAIL(AIOS_INVALID_ARGUMENT, "steps is %lld and epochs %lld: give one of them", (long long)s->steps, (long long)s->epochs);
    if (s->halt_max_steps == 1 && aios_options_is_set(options, "halt-exploration-prob"))
        return FAIL(AIOS_INVALID_ARGUMENT, "halt-exploration-prob is %g and halt-max-steps 1: there is nothing to explore", s->exploration);
    return AIOS_OK;
}

aios_status hrm_settings_read(const aios_options *options, struct hrm_settings *s)
{
    static const char *const precisions[] = {"32", "16-mixed", "bf16-mixed"};
    const char *precision;
    const struct {
        const char *name;
        int64_t *to;
    } integers[] = {{"hidden-size", &s->hidden_size},
                    {"num-heads", &s->num_heads},
                    {"h-layers", &s->h_layers},
                    {"l-layers", &s->l_layers},
                    {"h-cycles", &s->h_cycles},
                    {"l-cycles", &s->l_cycles},
                    {"halt-max-steps", &s->halt_max_steps},
                    {"puzzle-emb-ndim", &s->puzzle_emb_ndim},
                    {"global-batch-size", &s->batch},
                    {"epochs", &s->epochs},
                    {"steps", &s->steps},
                    {"lr-warmup-steps", &s->warmup},
                    {"seed", &s->seed},
                    {"eval-interval", &s->eval_interval},
                    {"eval-examples", &s->eval_examples},
                    {"log-interval", &s->log_interval},
                    {"max-nan-steps", &s->max_nan_steps}};
    const struct {
        const char *name;
        double *to;
    } numbers[] = {{"expansion", &s->expansion},
                   {"rope-theta", &s->rope_theta},
                   {"rms-norm-eps", &s->rms_norm_eps},
                   {"halt-exploration-prob", &s->exploration},
                   {"lr", &s->lr},
                   {"lr-min-ratio", &s->lr_min_ratio},
                   {"weight-decay", &s->weight_decay},
                   {"beta1", &s->beta1},
                   {"beta2", &s->beta2},
                   {"puzzle-emb-lr", &s->puzzle_lr},
                   {"puzzle-emb-weight-decay", &s->puzzle_decay},
                   {"max-minutes", &s->max_minutes},
                   {"target-accuracy", &s->target}};
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"data-path", &s->data_path},  {"model", &s->model},
                 {"device", &s->device},        {"save-dir", &s->save_dir},
                 {"precision", &precision},     {"pos-encodings", &s->pos_encodings},
                 {"loss-type", &s->loss_type},  {"tensorboard", &s->tensorboard},
                 {"prometheus", &s->prometheus}};
    for (size_t i = 0; i < COUNT_OF(integers); i++) TRY_QUIET(aios_options_get_int(options, integers[i].name, integers[i].to));
    for (size_t i = 0; i < COUNT_OF(numbers); i++) TRY_QUIET(aios_options_get_float(options, numbers[i].name, numbers[i].to));
    for (size_t i = 0; i < COUNT_OF(texts); i++) TRY_QUIET(aios_options_get_string(options, texts[i].name, texts[i].to));
    for (int64_t i = 0; i < (int64_t)COUNT_OF(precisions); i++)
        if (strcmp(precision, precisions[i]) == 0) s->precision = i;
    return reference_defaults(options, s);
}

aios_status hrm_config_int(const aios_model *model, const char *key, int64_t fallback, int64_t *value)
{
    json_t *root;
    const char *config = aios_model_config(model);
    TRY_QUIET(json_parse(config, strlen(config), "the model's configuration", NULL, &root));
    aios_status status = json_get_int_or(root, key, fallback, 0, INT32_MAX, value);
    json_decref(root);
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
    if (strcmp(aios_model_name(model), "hrm_actv1") != 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "the model is a %s: a hrm_actv1 is wanted", aios_model_name(model));
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

aios_status hrm_engine_run(struct hrm_engine *e, const int32_t *tokens, const int32_t *labels, const int32_t *puzzles,
                           const int32_t *min_steps)
{
    uint64_t rows = (uint64_t)e->batch * 4, cells = rows * (uint64_t)e->length;
    TRY_QUIET(aios_plan_write(e->plan, "tokens", tokens, cells));
    TRY_QUIET(aios_plan_write(e->plan, "labels", labels, cells));
    TRY_QUIET(aios_plan_write(e->plan, "puzzles", puzzles, rows));
    if (min_steps) TRY_QUIET(aios_plan_write(e->plan, "min_steps", min_steps, rows));
    return aios_plan_run(e->plan);
}

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

struct sheet {
    int32_t *tokens, *labels, *puzzles;
    float *correct, *losses, *q;
};

static aios_status take_batch(const aios_puzzles *set, const struct hrm_engine *e, const struct sheet *s, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < e->batch; i++) {
        int64_t at = i * e->length;
        if (i < count) {
            TRY_QUIET(aios_puzzles_example(set, (uint64_t)(first + i), s->tokens + at, s->labels + at, &s->puzzles[i]));
            continue;
        }
        for (int64_t k = 0; k < e->length; k++) s->tokens[at + k] = 0, s->labels[at + k] = -100; /* padding: counts nowhere */
        s->puzzles[i] = 0;
    }
    return AIOS_OK;
}

static aios_status measure_batch(struct hrm_engine *e, const struct sheet *s, int64_t count, aios_hrm_scores *sums, double *labels)
{
    aios_loss_sums losses = {.struct_size = sizeof losses};
    uint64_t bytes = (uint64_t)e->batch * 4;
    TRY_QUIET(aios_parameters_reset_states(e->parameters));
    for (int32_t step = 0; step < e->max_steps; step++) {
        if (step == e->max_steps - 1) TRY_QUIET(aios_plan_losses(e->plan, &losses, 1)); /* the last segment's alone are counted */
        TRY_QUIET(hrm_engine_run(e, s->tokens, s->labels, s->puzzles, NULL));
    }
    TRY_QUIET(aios_plan_losses(e->plan, &losses, 1));
    TRY_QUIET(aios_plan_read(e->plan, "correct", s->correct, bytes));
    TRY_QUIET(aios_plan_read(e->plan, "lm_losses", s->losses, bytes));
    TRY_QUIET(aios_plan_read(e->plan, "q", s->q, 2 * bytes));
    for (int64_t i = 0; i < count; i++) {
        sums->exact_accuracy += (double)s->correct[i];
        sums->loss += (double)s->losses[i];
        sums->halt_accuracy += (s->q[2 * i] >= 0.0f) == (s->correct[i] != 0.0f);
    }
    sums->accuracy += losses.hits;
    *labels += losses.rows;
    sums->examples += count;
    return AIOS_OK;
}

aios_status hrm_measure(struct hrm_engine *e, const aios_puzzles *set, int64_t most, aios_hrm_scores *scores)
{
    aios_status status = AIOS_OK;
    aios_puzzles_info info = {.struct_size = sizeof info};
    TRY_QUIET(aios_puzzles_get_info(set, &info));
    int64_t total = most && most < (int64_t)info.examples ? most : (int64_t)info.examples;
    size_t rows = (size_t)e->batch, cells = rows * (size_t)e->length;
    double labels = 0;
    struct sheet s = {.tokens = aios_memory_array(e->context, cells, sizeof *s.tokens),
                      .labels = aios_memory_array(e->context, cells, sizeof *s.labels),
                      .puzzles = aios_memory_array(e->context, rows, sizeof *s.puzzles),
                      .correct = aios_memory_array(e->context, rows, sizeof *s.correct),
                      .losses = aios_memory_array(e->context, rows, sizeof *s.losses),
                      .q = aios_memory_array(e->context, 2 * rows, sizeof *s.q)};
    *scores = (aios_hrm_scores){.struct_size = sizeof *scores};
    if (!s.tokens || !s.labels || !s.puzzles || !s.correct || !s.losses || !s.q) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    for (int64_t first = 0; first < total; first += e->batch) {
        int64_t count = total - first < e->batch ? total - first : e->batch;
        ATTEMPT_QUIET(take_batch(set, e, &s, first, count));
        ATTEMPT(measure_batch(e, &s, count, scores, &labels), "measuring examples %lld to %lld", (long long)first,
                (long long)(first + count - 1));
    }
    double n = scores->examples ? (double)scores->examples : 1;
    scores->exact_accuracy /= n;
    scores->halt_accuracy /= n;
    scores->loss /= n;
    scores->accuracy /= labels > 0 ? labels : 1;
done:
    aios_memory_free(e->context, s.tokens);
    aios_memory_free(e->context, s.labels);
    aios_memory_free(e->context, s.puzzles);
    aios_memory_free(e->context, s.correct);
    aios_memory_free(e->context, s.losses);
    aios_memory_free(e->context, s.q);
    return status;
}

aios_status aios_hrm_evaluate(aios_context *context, const aios_options *options, aios_hrm_scores *scores)
{
    FLOAT_SCOPE;
    aios_status status = AIOS_OK;
    struct hrm_settings s = {0};
    aios_model *model = NULL;
    aios_device *device = NULL;
    aios_puzzles *set = NULL;
    struct hrm_engine engine = {0};
    aios_hrm_scores measured = {.struct_size = sizeof measured};
    if (!context || !options || !scores) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_evaluate: no argument may be NULL");
    TRY_QUIET(aios_struct_write("aios_hrm_scores", scores, &measured, sizeof measured));
    TRY_QUIET(hrm_settings_read(options, &s));
    if (!*s.model || !*s.data_path)
        return FAIL(AIOS_INVALID_ARGUMENT, "option model is '%s' and data-path '%s': both must name a folder", s.model, s.data_path);
    ATTEMPT_QUIET(aios_puzzles_open(context, s.data_path, "test", &set));
    ATTEMPT_QUIET(aios_model_open(context, s.model, &model));
    ATTEMPT_QUIET(setup_device(context, s.device, s.precision, &device));
    ATTEMPT_QUIET(hrm_engine_open(context, model, device, s.precision, AIOS_MODEL_EVAL, s.batch, &engine));
    ATTEMPT_QUIET(hrm_check_set(model, set, "test"));
    ATTEMPT_QUIET(aios_model_load_weights(model, engine.parameters, s.model));
    ATTEMPT_QUIET(hrm_measure(&engine, set, s.eval_examples, &measured));
    ATTEMPT_QUIET(aios_struct_write("aios_hrm_scores", scores, &measured, sizeof measured));
done:
    hrm_engine_close(&engine);
    aios_device_close(device);
    aios_model_destroy(model);
    aios_puzzles_destroy(set);
    return status;
}

aios_status hrm_check_set(const aios_model *model, const aios_puzzles *set, const char *split)
{
    aios_puzzles_info info = {.struct_size = sizeof info};
    int64_t identifiers;
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
