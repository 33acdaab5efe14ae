#include "resume.h"

#include "checkpoint.h"
#include "checkpoint_folder.h"

#include "base/options.h"
#include "kernels/step.h"
#include "optim/optimizer.h"

#include <math.h>
#include <string.h>

/* What belongs to one call of the program, not to the run. */
static const char *const own[] = {"resume", "save-dir", "stop-file", "max-minutes", "launcher"};

/* What a process may have for itself. */
static const char *const local[] = {"device",    "devices",     "cache-dir",  "save-dir",  "log-file",
                                    "stop-file", "tensorboard", "prometheus", "max-memory"};

/* What the numbers of a run depend on. */
static const char *const exact[] = {"batch-size",
                                    "global-batch-size",
                                    "halt-exploration-prob",
                                    "puzzle-emb-lr",
                                    "puzzle-emb-weight-decay",
                                    "gradient-accumulation-steps",
                                    "seed",
                                    "shuffle",
                                    "lr",
                                    "lr-warmup-steps",
                                    "lr-schedule",
                                    "lr-min-ratio",
                                    "weight-decay",
                                    "beta1",
                                    "beta2",
                                    "adam-eps",
                                    "grad-clip",
                                    "precision",
                                    "loss-scale-growth-interval",
                                    "device"};

static aios_status merge(aios_trainer *t, const aios_options *given, const json_t *saved)
{
    aios_status status = AIOS_OK;
    aios_options *mine = NULL;
    char *text = NULL;
    json_t *kept = json_copy((json_t *)(uintptr_t)saved);
    if (!kept) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for the checkpoint's options");
    for (size_t i = 0; i < COUNT_OF(own); i++) (void)json_object_del(kept, own[i]);
    if (aios_options_is_set(given, "device")) (void)json_object_del(kept, "devices"); /* which would win */
    ATTEMPT_QUIET(json_to_text(t->context, kept, JSON_TEXT_COMPACT, &text, NULL));
    ATTEMPT_QUIET(aios_options_create(t->context, t->scope, &t->options));
    ATTEMPT(aios_options_read_json(t->options, text), "reading the checkpoint's options");
    ATTEMPT_QUIET(aios_options_copy(t->context, given, t->scope, &mine));
    const char *set = aios_options_write_json(mine);
    status = set ? aios_options_read_json(t->options, set) : AIOS_OUT_OF_MEMORY;
done:
    aios_options_destroy(mine);
    aios_memory_free(t->context, text);
    json_decref(kept);
    return status;
}

/* The value of an option as JSON text, to be freed; NULL where there is none. */
static char *value_text(aios_context *context, const json_t *object, const char *name)
{
    char *text = NULL;
    const json_t *value = json_object_get(object, name);
    if (json_is_string(value)) return aios_memory_strdup(context, json_string_value(value));
    if (json_is_boolean(value)) return aios_memory_strdup(context, json_is_true(value) ? "on" : "off");
    json_text out = JSON_TEXT_INIT(context);
    if (value) json_text_value(&out, value, JSON_TEXT_COMPACT);
    if (value && json_text_end(&out) == AIOS_OK) text = out.text;
    return text;
}

/* A scaler goes on from the scale that it found. */
static aios_status check_scale(const aios_options *now, const aios_options *given, const json_t *saved)
{
    const char *precision, *was;
    double scale, then;
    if (!aios_options_is_set(given, "loss-scale")) return AIOS_OK;
    TRY_QUIET(json_get_string(saved, "precision", &was));
    TRY_QUIET(aios_options_get_string(now, "precision", &precision));
    TRY_QUIET(json_get_number(saved, "loss-scale", 0, HUGE_VAL, &then));
    TRY_QUIET(aios_options_get_float(now, "loss-scale", &scale));
    if (strcmp(was, precision) != 0 || scale == then) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT,
                "loss-scale is %g and was %g: it is where a run begins; this one goes on from the checkpoint's scale", scale, then);
}

aios_status resume_options(aios_trainer *t, const aios_options *given, const json_t *state)
{
    json_t *saved;
    const char *then, *now;
    TRY(json_get_object(state, "options", &saved), "reading the checkpoint");
    TRY_QUIET(merge(t, given, saved));
    TRY_QUIET(json_get_string(saved, "optimizer", &then));
    TRY_QUIET(aios_options_get_string(t->options, "optimizer", &now));
    if (strcmp(then, now) != 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "optimizer is %s and was %s: the checkpoint's moments are no use to another optimizer", now,
                    then);
    return check_scale(t->options, given, saved);
}

static void report_change(aios_trainer *t, const json_t *saved, const json_t *now, const char *name)
{
    const json_t *before = json_object_get(saved, name), *after = json_object_get(now, name);
    if ((!before && !after) || json_equal(before, after)) return;
    char *then = value_text(t->context, saved, name), *is = value_text(t->context, now, name);
    report_warning(t, "%s was %s and is %s: from here the run is another one than it would have been", name, then ? then : "not there",
                   is ? is : "not there");
    aios_memory_free(t->context, then);
    aios_memory_free(t->context, is);
}

void resume_report_changes(aios_trainer *t, const json_t *state)
{
    const json_t *saved = json_object_get(state, "options");
    const char *text = options_write_all(t->options);
    json_t *now = NULL;
    if (!text || json_parse(text, strlen(text), "options", NULL, &now) != AIOS_OK) return;
    for (size_t i = 0; i < COUNT_OF(exact); i++) report_change(t, saved, now, exact[i]);
    if (t->settings.lr_schedule != SCHEDULE_CONSTANT && (!t->settings.puzzles || t->settings.lr_min_ratio < 1))
        report_change(t, saved, now, "steps");
    json_decref(now);
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static aios_status check_size(const json_t *config, const aios_options *given, const char *option, const char *key)
{
    int64_t now, then;
    if (!aios_options_is_set(given, option)) return AIOS_OK;
    TRY_QUIET(aios_options_get_int(given, option, &now));
    TRY_QUIET(json_get_int_or(config, key, now, 0, INT64_MAX, &then));
    if (then == now) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s is %lld, the checkpoint's model has %s %lld", option, (long long)now, key, (long long)then);
}

/* Numbers and names that both configurations have. */
static aios_status check_config(const json_t *config, const char *folder, const aios_trainer *t)
{
    aios_status status = AIOS_OK;
    aios_model *other = NULL;
    json_t *theirs = NULL, *value;
    const char *key, *text;
    ATTEMPT_QUIET(aios_model_open(t->context, folder, &other));
    text = aios_model_config(other);
    ATTEMPT_QUIET(json_parse(text, strlen(text), folder, NULL, &theirs));
    json_object_foreach (theirs, key, value) {
        const json_t *own_value = json_object_get(config, key);
        int counts = json_is_integer(value) || json_is_boolean(value) || strcmp(key, "model_type") == 0;
        if (!counts || !own_value || json_equal(value, own_value)) continue;
        char *a = value_text(t->context, theirs, key), *b = value_text(t->context, config, key);
        status = FAIL(AIOS_INVALID_ARGUMENT, "model %s has %s %s, the checkpoint's model %s", folder, key, a ? a : "?", b ? b : "?");
        aios_memory_free(t->context, a);
        aios_memory_free(t->context, b);
        break;
    }
done:
    aios_model_destroy(other);
    json_decref(theirs);
    return status;
}

aios_status resume_check_model(const aios_trainer *t, const aios_options *given)
{
    static const char *const sizes[][2] = {{"n-layer", "n_layer"},     {"n-head", "n_head"},
                                           {"n-embd", "n_embd"},       {"hidden-size", "hidden_size"},
                                           {"num-heads", "num_heads"}, {"h-layers", "H_layers"},
                                           {"l-layers", "L_layers"},   {"h-cycles", "H_cycles"},
                                           {"l-cycles", "L_cycles"},   {"halt-max-steps", "halt_max_steps"}};
    aios_status status = AIOS_OK;
    json_t *config = NULL;
    const char *text = aios_model_config(t->model), *folder = "";
    ATTEMPT_QUIET(json_parse(text, strlen(text), "the checkpoint's config.json", NULL, &config));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) ATTEMPT_QUIET(check_size(config, given, sizes[i][0], sizes[i][1]));
    ATTEMPT_QUIET(aios_options_get_string(given, "model", &folder));
    if (*folder) ATTEMPT_QUIET(check_config(config, folder, t));
done:
    json_decref(config);
    return status;
}

/* A scaler that was not there, or another one, begins anew. */
static aios_status take_loss_scale(aios_trainer *t, const json_t *state)
{
    const char *then, *now;
    float numbers[STATE_SIZE];
    TRY_QUIET(json_get_string(json_object_get(state, "options"), "precision", &then));
    TRY_QUIET(aios_options_get_string(t->options, "precision", &now));
    if (strcmp(then, now) == 0) return AIOS_OK;
    TRY_QUIET(aios_optimizer_read_state(leader(t)->optimizer, numbers, STATE_SIZE));
    numbers[STATE_LOSS_SCALE] = t->settings.precision == AIOS_PRECISION_16_MIXED ? (float)t->settings.loss_scale : 1.0f;
    numbers[STATE_GOOD_STEPS] = 0;
    return aios_optimizer_write_state(leader(t)->optimizer, numbers, STATE_SIZE);
}

/* ---- the state of the run ---------------------------------------------------------------------------------------- */

aios_status resume_load(aios_trainer *t, const char *checkpoint, const json_t *state)
{
    aios_step_result result = {.struct_size = sizeof result};
    if (checkpoint) {
        TRY_QUIET(checkpoint_load(t, checkpoint, state));
        TRY_QUIET(take_loss_scale(t, state));
        t->saved_step = t->position.step;
    } else if (*t->settings.model) {
        TRY_QUIET(aios_model_load_weights(t->model, leader(t)->parameters, t->settings.model));
    } else {
        TRY_QUIET(aios_parameters_initialize(leader(t)->parameters, (uint64_t)t->settings.seed));
    }
    TRY_QUIET(aios_optimizer_result(leader(t)->optimizer, &result));
    t->loss_scale = result.loss_scale;
    t->skipped = result.skipped;
    t->judged_step = t->followed_step = t->logged_step = t->position.step;
    return AIOS_OK;
}

/* What processes tell each other of where the run stands. */
struct stand {
    struct position position;
    double loss_scale, skipped, grad_norm;
    int64_t judged_step, followed_step, evaluated_step, saved_step;
};

aios_status resume_stand(aios_trainer *t, int root)
{
    struct stand mine = {t->position,    t->loss_scale,    t->skipped,        t->grad_norm,
                         t->judged_step, t->followed_step, t->evaluated_step, t->saved_step},
                 all[REPLICAS_MOST];
    if (processes_count(&t->processes) == 1) return AIOS_OK;
    TRY_QUIET(processes_gather(&t->processes, &mine, sizeof mine, all));
    double elapsed = t->position.elapsed;
    t->position = all[root].position;
    t->position.elapsed = elapsed;
    t->loss_scale = all[root].loss_scale;
    t->skipped = all[root].skipped;
    t->grad_norm = all[root].grad_norm;
    t->judged_step = all[root].judged_step;
    t->followed_step = all[0].followed_step; /* what it has not written is not done, whatever the others think */
    t->evaluated_step = all[0].evaluated_step;
    t->saved_step = all[0].saved_step;
    return AIOS_OK;
}

aios_status resume_load_first(aios_trainer *t, const char *checkpoint, const json_t *state)
{
    aios_status status = processes_index(&t->processes) == 0 ? resume_load(t, checkpoint, state) : AIOS_OK;
    TRY_QUIET(processes_agree(&t->processes, status));
    return resume_stand(t, 0);
}

aios_status resume_options_text(aios_trainer *t, char **text)
{
    json_t *options;
    const char *all = options_write_all(t->options);
    *text = NULL;
    if (!all) return AIOS_OUT_OF_MEMORY;
    TRY_QUIET(json_parse(all, strlen(all), "options", NULL, &options));
    for (size_t i = 0; i < COUNT_OF(local); i++) (void)json_object_del(options, local[i]);
    aios_status status = json_to_text(t->context, options, JSON_TEXT_COMPACT, text, NULL);
    json_decref(options);
    return status;
}

aios_status resume_rewind(aios_trainer *t)
{
    char *checkpoint = NULL;
    json_t *state = NULL;
    uint64_t step;
    double elapsed = t->position.elapsed;
    aios_status status = checkpoint_find_newest(t->context, t->folder.checkpoints, 1, &checkpoint, &step);
    if (status == AIOS_NOT_FOUND) status = AIOS_OK;
    if (status == AIOS_OK && checkpoint) status = checkpoint_read_state(t->context, checkpoint, &state);
    t->position = (struct position){.loss = NAN, .eval_loss = NAN};
    t->saved_step = t->evaluated_step = -1;
    json_decref(t->contributions);
    t->contributions = NULL;
    if (status == AIOS_OK) status = optimizer_reset(leader(t)->optimizer);
    if (status == AIOS_OK) status = resume_load(t, checkpoint, state);
    t->position.elapsed = elapsed; /* what this process trained is trained again */
    if (t->first_step > t->position.step) t->first_step = t->position.step;
    t->reported_tokens = t->position.tokens;
    json_decref(state);
    aios_memory_free(t->context, checkpoint);
    return status;
}
