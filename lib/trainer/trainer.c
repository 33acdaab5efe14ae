/* A run: opening, closing, looking at it from other threads. */
#include "base/float_scope.h"
#include "checkpoint.h"
#include "hrm.h"
#include "independent.h"
#include "resume.h"
#include "setup.h"
#include "worker.h"
#include "zero_config.h"

#include "base/options.h"
#include "checkpoint_folder.h"
#include "data/hub/hub.h"
#include "graph/parameters.h"

#include <math.h>
#include <string.h>

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* Sizes are for a new model, and each architecture has its own. */
static aios_status check_sizes(const aios_options *given, const struct settings *s)
{
    static const struct {
        const char *option, *type;
    } sizes[] = {{"n-layer", "gpt2"},
                 {"n-head", "gpt2"},
                 {"n-embd", "gpt2"},
                 {"hidden-size", "hrm_actv1"},
                 {"num-heads", "hrm_actv1"},
                 {"expansion", "hrm_actv1"},
                 {"h-layers", "hrm_actv1"},
                 {"l-layers", "hrm_actv1"},
                 {"h-cycles", "hrm_actv1"},
                 {"l-cycles", "hrm_actv1"},
                 {"halt-max-steps", "hrm_actv1"},
                 {"pos-encodings", "hrm_actv1"},
                 {"rope-theta", "hrm_actv1"},
                 {"rms-norm-eps", "hrm_actv1"},
                 {"loss-type", "hrm_actv1"},
                 {"use-moe", "hrm_actv1"},
                 {"num-experts", "hrm_actv1"},
                 {"num-experts-per-tok", "hrm_actv1"},
                 {"moe-balance-weight", "hrm_actv1"}};
    static const char *const experts[] = {"num-experts", "num-experts-per-tok", "moe-balance-weight"};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (!aios_options_is_set(given, sizes[i].option)) continue;
        if (*s->model) return FAIL(AIOS_INVALID_ARGUMENT, "%s is for a new model: model %s has its own sizes", sizes[i].option, s->model);
        if (strcmp(sizes[i].type, s->model_type) != 0)
            return FAIL(AIOS_INVALID_ARGUMENT, "%s is for model-type %s: model-type is %s", sizes[i].option, sizes[i].type, s->model_type);
    }
    for (size_t i = 0; i < COUNT_OF(experts) && !s->use_moe; i++)
        if (aios_options_is_set(given, experts[i]))
            return FAIL(AIOS_INVALID_ARGUMENT, "%s is for a mixture of experts: set use-moe too", experts[i]);
    return AIOS_OK;
}

static aios_status check_texts(const aios_options *given, const struct settings *s)
{
    if (!*s->dataset_file) return FAIL(AIOS_INVALID_ARGUMENT, "dataset-file is empty: name a text to learn from");
    if (!hub_is_spec(s->dataset_file) && os_path_kind(s->dataset_file) == OS_NOTHING)
        return FAIL(AIOS_NOT_FOUND, "dataset-file %s is not there", s->dataset_file);
    if (s->eval_interval > 0 && !*s->eval_file && s->eval_fraction <= 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "eval-interval is %lld, but there is nothing to evaluate on: set eval-file or eval-fraction",
                    (long long)s->eval_interval);
    if (*s->eval_file && aios_options_is_set(given, "eval-fraction") && s->eval_fraction > 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "eval-file is %s and eval-fraction %g: set one of them", s->eval_file, s->eval_fraction);
    return AIOS_OK;
}

static aios_status check_puzzles(const aios_options *given, const struct settings *s)
{
    if (!*s->data_path)
        return FAIL(AIOS_INVALID_ARGUMENT, "option data-path is empty: it must name a folder with train/ and test/ (aios data makes one)");
    if (s->halt_max_steps == 1 && aios_options_is_set(given, "halt-exploration-prob"))
        return FAIL(AIOS_INVALID_ARGUMENT, "halt-exploration-prob is %g and halt-max-steps 1: there is nothing to explore", s->exploration);
    if (aios_options_is_set(given, "epochs") && s->epochs && aios_options_is_set(given, "steps"))
        return FAIL(AIOS_INVALID_ARGUMENT, "steps is %lld and epochs %lld: give one of them", (long long)s->steps, (long long)s->epochs);
    return AIOS_OK;
}

/* Every option against the others.  given: what the caller has set, which may be less than what holds. */
static aios_status check_options(const aios_options *given, const struct settings *s, const char *checkpoint)
{
    static const char *const scales[] = {"loss-scale", "loss-scale-growth-interval"};
    if (s->puzzles) TRY_QUIET(check_puzzles(given, s));
    if (!s->puzzles) TRY_QUIET(check_texts(given, s));
    for (size_t i = 0; s->precision != AIOS_PRECISION_16_MIXED && i < COUNT_OF(scales); i++)
        if (aios_options_is_set(given, scales[i]))
            return FAIL(AIOS_INVALID_ARGUMENT, "%s is for precision 16-mixed: precision is %s", scales[i],
                        setup_precision_name(s->precision));
    return checkpoint ? AIOS_OK : check_sizes(given, s);
}

static aios_status take_options(aios_trainer *t, const aios_options *given)
{
    TRY_QUIET(aios_options_copy(t->context, given, t->scope, &t->options));
    TRY_QUIET(settings_complete(t->options, t->scope));
    TRY_QUIET(settings_read(t->options, t->scope, &t->settings));
    if (!t->settings.resume) return check_options(given, &t->settings, NULL);
    if (!*t->settings.save_dir)
        return FAIL(AIOS_INVALID_ARGUMENT, "resume is on and save-dir is empty: name the folder of the run that goes on");
    return AIOS_OK;
}

/* ---- the newest checkpoint --------------------------------------------------------------------------------------- */

/* *path NULL: a new run. */
static aios_status find_checkpoint(aios_trainer *t, char **path)
{
    checkpoint_entry *entries = NULL;
    size_t count = 0;
    uint64_t step;
    *path = NULL;
    if (t->settings.resume) {
        aios_status status = checkpoint_find_newest(t->context, t->folder.checkpoints, 1, path, &step);
        return status == AIOS_NOT_FOUND ? AIOS_OK : status;
    }
    TRY_QUIET(checkpoint_list(t->context, t->folder.checkpoints, &entries, &count));
    aios_status status = AIOS_OK;
    if (count)
        status = FAIL(AIOS_ALREADY_EXISTS, "%s has a run already (%s): set resume to go on with it, or name another save-dir",
                      t->folder.path, entries[count - 1].name);
    checkpoint_list_free(t->context, entries);
    return status;
}

static aios_status take_checkpoint_options(aios_trainer *t, const aios_options *given, const char *checkpoint, json_t **state)
{
    TRY_QUIET(checkpoint_read_state(t->context, checkpoint, state));
    aios_options_destroy(t->options);
    t->options = NULL;
    TRY(resume_options(t, given, *state), "going on from %s", checkpoint);
    TRY_QUIET(settings_complete(t->options, t->scope));
    return settings_read(t->options, t->scope, &t->settings);
}

/* ---- model, data, memory ----------------------------------------------------------------------------------------- */

/* Where tokenizer and weights come from: the checkpoint, the folder of option model, or nowhere. */
static const char *source_folder(const aios_trainer *t, const char *checkpoint)
{
    return checkpoint ? checkpoint : *t->settings.model ? t->settings.model : NULL;
}

/* Which fits the sets of puzzles that are open. */
static aios_status open_puzzle_model(aios_trainer *t, const aios_options *given, aios_model *model, const char *checkpoint)
{
    const char *folder = source_folder(t, checkpoint);
    if (model)
        t->model = aios_model_retain(model);
    else if (folder)
        TRY_QUIET(aios_model_open(t->context, folder, &t->model));
    else
        TRY_QUIET(setup_puzzle_model(t->context, &t->settings, &t->batches.puzzles->info, &t->model));
    if (checkpoint) TRY(resume_check_model(t, given), "going on from %s", checkpoint);
    TRY_QUIET(hrm_check_set(t->model, t->batches.puzzles, "train"));
    if (t->batches.test) TRY_QUIET(hrm_check_set(t->model, t->batches.test, "test"));
    TRY_QUIET(hrm_config_int(t->model, "halt_max_steps", 16, &t->settings.halt_max_steps)); /* of a model that is there, not the option */
    t->sequence = t->batches.sequence;
    return AIOS_OK;
}

/* Each device takes an equal part of the global batch, in as many micro-batches as are asked for; epochs are as many steps as the public
 * reference makes of them. */
static aios_status size_puzzles(aios_trainer *t, const aios_options *given)
{
    struct settings *s = &t->settings;
    int devices = 0, asked[REPLICAS_MOST];
    if (processes_count(&t->processes) > REPLICAS_MOST)
        return FAIL(AIOS_OUT_OF_RANGE, "%d processes were started: at most %d devices train together", processes_count(&t->processes),
                    REPLICAS_MOST);
    TRY_QUIET(processes_gather(&t->processes, &t->replicas.asked_here, sizeof *asked, asked));
    for (int i = 0; i < processes_count(&t->processes); i++) devices += asked[i];
    int64_t parts = s->accumulation * devices;
    double samples = (double)s->epochs * (double)batches_train_count(&t->batches);
    if (s->global_batch % parts)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "global-batch-size is %lld: %d devices with gradient-accumulation-steps %lld need a multiple of %lld",
                    (long long)s->global_batch, devices, (long long)s->accumulation, (long long)parts);
    s->batch_size = s->global_batch / parts;
    if (!s->epochs || aios_options_is_set(given, "steps")) return AIOS_OK;
    s->steps = (int64_t)(samples / (double)s->global_batch);
    if (s->steps >= 1) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "epochs is %lld: with %llu groups and a batch of %lld that is no step", (long long)s->epochs,
                (unsigned long long)t->batches.puzzles->info.groups, (long long)s->global_batch);
}

static aios_status open_model(aios_trainer *t, const aios_options *given, aios_model *model, const char *checkpoint)
{
    const char *folder = source_folder(t, checkpoint), *tokenizer = t->settings.tokenizer;
    if (checkpoint && !aios_options_is_set(given, "tokenizer")) tokenizer = "";
    TRY_QUIET(setup_tokenizer(t->context, tokenizer, folder, &t->tokenizer));
    if (model)
        t->model = aios_model_retain(model);
    else if (folder)
        TRY_QUIET(aios_model_open(t->context, folder, &t->model));
    else
        TRY_QUIET(setup_new_model(t->context, &t->settings, t->tokenizer, &t->model));
    if (checkpoint) TRY(resume_check_model(t, given), "going on from %s", checkpoint);
    TRY_QUIET(setup_check_vocabulary(t->model, t->tokenizer));
    return setup_sequence(t->model, &t->settings, given, &t->sequence);
}

static aios_status make_velocity(aios_trainer *t)
{
    if (!t->replicas.independent || t->settings.merge != MERGE_NESTEROV || t->velocity) return AIOS_OK;
    t->velocity = aios_memory_zalloc(t->context, leader(t)->parameters->padded * sizeof *t->velocity);
    return t->velocity ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

/* *met: what fails is not the state that is loaded. */
static aios_status load_weights(aios_trainer *t, const char *checkpoint, const json_t *state, int *met)
{
    *met = 1;
    TRY_QUIET(replicas_join(&t->replicas));
    *met = 0;
    TRY_QUIET(make_velocity(t));
    TRY_QUIET(resume_load_first(t, checkpoint, state));
    *met = 1;
    return replicas_spread(&t->replicas);
}

/* Where the devices can't begin together: without those that fail, and where none does, each on its own. */
static aios_status begin_together(aios_trainer *t, const char *checkpoint, const json_t *state)
{
    int met;
    aios_error_record record;
    struct replicas *all = &t->replicas;
    while (load_weights(t, checkpoint, state, &met) != AIOS_OK) {
        aios_error_save(&record);
        int lost = replicas_find_lost(all), can_separate = met && all->group && !t->settings.zero_stage;
        if (t->settings.strict || t->processes.world || lost == all->count || (lost == 0 && !can_separate))
            return aios_error_restore(&record);
        (void)aios_error_restore(&record);
        (void)snprintf(t->fallback, sizeof t->fallback, "%s", aios_error_message());
        TRY_QUIET(lost ? replicas_leave_out(all) : replicas_separate(all));
    }
    if (checkpoint) t->resumed_step = t->position.step;
    if (all->independent) TRY_QUIET(independent_open(t, t->position.chunks, t->position.next_sample));
    if (!all->independent) t->first_epoch = (uint64_t)(t->position.next_sample / batches_train_count(&t->batches));
    return AIOS_OK;
}

/* What is otherwise than it was asked for. */
static void report_fallbacks(aios_trainer *t)
{
    const struct replicas *all = &t->replicas;
    for (int i = 0; i < all->refused_count; i++) report_drop(t, all->refused[i].device, all->refused[i].message, all->count);
    if (*t->fallback && all->independent)
        report_warning(t, "the devices can't work on one gradient, each trains on chunks of its own (parallel-independent): %s",
                       t->fallback);
}

/* A device that takes smaller micro-batches than asked for says so once. */
static void report_batches(aios_trainer *t)
{
    for (int i = 0; i < t->replicas.count; i++) {
        const struct replica *r = &t->replicas.list[i];
        if (r->batch < t->settings.batch_size)
            report_warning(
                t, "%s has no memory for micro-batches of %lld samples: it takes %lld at a time, more often; the gradient is the same",
                aios_device_spec(r->device), (long long)t->settings.batch_size, (long long)r->batch);
    }
}

static void set_schedule(aios_trainer *t)
{
    const struct settings *s = &t->settings;
    t->schedule = (struct schedule){
        .lr = s->lr, .min_ratio = s->lr_min_ratio, .warmup = s->lr_warmup_steps, .steps = s->steps, .kind = (int)s->lr_schedule};
}

/* ---- the handle -------------------------------------------------------------------------------------------------- */

/* The folder, and the checkpoint to go on from: process 0 finds them, the others are told. */
static aios_status open_folder(aios_trainer *t, char **checkpoint)
{
    char *path = NULL, *found = NULL;
    const struct settings *s = &t->settings;
    struct processes *p = &t->processes;
    int first = processes_index(p) == 0;
    aios_status status = first ? run_folder_open(&t->folder, t->context, s->save_dir, s->log_file) : AIOS_OK;
    if (status == AIOS_OK && first) status = find_checkpoint(t, checkpoint);
    TRY_QUIET(processes_agree(p, status));
    if (processes_count(p) == 1) return AIOS_OK;
    status = processes_tell(p, 0, first ? t->folder.path : "", &path);
    if (status == AIOS_OK) status = processes_tell(p, 0, *checkpoint ? *checkpoint : "", &found);
    if (status == AIOS_OK && !first) status = run_folder_follow(&t->folder, t->context, path, s->log_file);
    aios_memory_free(t->context, path);
    if (first || !found || !*found)
        aios_memory_free(t->context, found);
    else
        *checkpoint = found;
    return status;
}

/* What each process does by itself. */
static aios_status open_parts(aios_trainer *t, const aios_options *given, aios_model *model, const char *checkpoint, json_t **state)
{
    if (checkpoint) TRY_QUIET(take_checkpoint_options(t, given, checkpoint, state));
    TRY_QUIET(check_options(given, &t->settings, checkpoint));
    if (t->settings.puzzles) {
        TRY_QUIET(batches_open_puzzles(&t->batches, t->context, &t->settings, 1));
        TRY_QUIET(open_puzzle_model(t, given, model, checkpoint));
        return replicas_open(&t->replicas, t->context, &t->settings, &t->processes);
    }
    TRY_QUIET(open_model(t, given, model, checkpoint));
    TRY_QUIET(replicas_open(&t->replicas, t->context, &t->settings, &t->processes));
    TRY_QUIET(batches_open(&t->batches, t->context, &t->settings, t->tokenizer, t->sequence, t->stop_flag));
    if (t->settings.eval_interval > 0 && !batches_eval_count(&t->batches))
        return FAIL(AIOS_INVALID_ARGUMENT, "eval-interval is %lld, but nothing is held out: %s is too short for eval-fraction %g",
                    (long long)t->settings.eval_interval, t->settings.dataset_file, t->settings.eval_fraction);
    return AIOS_OK;
}

/* All processes must train the same on the same. */
static aios_status compare_processes(aios_trainer *t)
{
    char *numbers = NULL;
    if (processes_count(&t->processes) == 1) return AIOS_OK;
    TRY_QUIET(resume_options_text(t, &numbers));
    aios_status status = processes_compare(&t->processes, numbers, "list of options");
    aios_memory_free(t->context, numbers);
    TRY_QUIET(status);
    TRY_QUIET(processes_compare(&t->processes, aios_model_config(t->model), "model"));
    TRY_QUIET(processes_compare(&t->processes, batches_order_identity(&t->batches), "dataset"));
    return processes_compare(&t->processes, aios_version(), "version of libaios");
}

static aios_status open_run(aios_trainer *t, const aios_options *given, aios_model *model, char **checkpoint, json_t **state)
{
    TRY_QUIET(take_options(t, given));
    TRY_QUIET(processes_open(&t->processes, t->context, &t->settings));
    TRY_QUIET(open_folder(t, checkpoint));
    aios_status status = open_parts(t, given, model, *checkpoint, state);
    if (status == AIOS_STOPPED) return status; /* others may have long to go on: they are told, not waited for */
    TRY_QUIET(processes_agree(&t->processes, status));
    if (t->settings.puzzles) TRY_QUIET(processes_agree(&t->processes, size_puzzles(t, given)));
    TRY_QUIET(compare_processes(t));
    TRY_QUIET(processes_agree(&t->processes, replicas_prepare(&t->replicas, t->model, &t->batches, t->sequence)));
    TRY_QUIET(begin_together(t, *checkpoint, *state));
    if (batches_eval_count(&t->batches) && !parameters_weight_is_sharded(leader(t)->parameters))
        TRY_QUIET(evaluator_open(&t->evaluator, &t->batches, t->model, leader(t)->parameters, leader(t)->batch, t->sequence));
    set_schedule(t);
    TRY_QUIET(run_folder_mirror(&t->folder, t->settings.tensorboard, t->settings.prometheus));
    /* Nothing is left of a run that died before its first checkpoint; a log of the caller's own may hold other runs. */
    TRY_QUIET(run_folder_open_log(&t->folder, *checkpoint || !*t->settings.log_file ? t->position.step : -1));
    if (*checkpoint) resume_report_changes(t, *state);
    report_fallbacks(t);
    report_carry(t);
    report_batches(t);
    return AIOS_OK;
}

static aios_trainer *make(aios_context *context)
{
    char now[32];
    aios_trainer *t = aios_new(context, aios_trainer);
    if (!t) return NULL;
    t->context = aios_context_retain(context);
    os_mutex_init(&t->mutex);
    atomic_init(&t->stop, 0);
    t->position.loss = t->position.eval_loss = NAN;
    t->eval_solved = t->grad_norm = t->rate = t->tokens_per_second = t->eval_accuracy = t->eval_nats_per_byte = NAN;
    t->saved_step = t->evaluated_step = t->resumed_step = -1;
    os_time_text(os_wall_time(), now);
    t->started = aios_memory_strdup(context, now);
    return t;
}

aios_status aios_trainer_create(aios_context *context, const aios_options *options, aios_model *model, aios_trainer **trainer)
{
    return aios_trainer_create_until(context, options, model, NULL, trainer);
}

aios_status aios_trainer_create_until(aios_context *context, const aios_options *options, aios_model *model, const volatile int32_t *stop,
                                      aios_trainer **trainer)
{
    FLOAT_SCOPE;
    if (!context || !options || !trainer)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_trainer_create: context, options and trainer must not be NULL");
    *trainer = NULL;
    char *checkpoint = NULL;
    json_t *state = NULL;
    aios_options *given; /* with what a configuration file says */
    uint32_t scope = options_scopes(options) & AIOS_SCOPE_TRAIN ? AIOS_SCOPE_TRAIN : AIOS_SCOPE_HRM;
    TRY_QUIET(scope == AIOS_SCOPE_TRAIN ? zero_config_options(context, options, &given)
                                        : aios_options_copy(context, options, scope, &given));
    aios_trainer *t = make(context);
    if (t) {
        t->scope = scope;
        t->stop_flag = stop;
    }
    aios_status status = t && t->started ? open_run(t, given, model, &checkpoint, &state) : AIOS_OUT_OF_MEMORY;
    aios_options_destroy(given);
    json_decref(state);
    aios_memory_free(context, checkpoint);
    if (status != AIOS_OK) {
        if (t) processes_break(&t->processes, status);
        if (t) run_folder_discard(&t->folder);
        aios_trainer_destroy(t);
        return status;
    }
    t->metrics = (aios_trainer_metrics){sizeof t->metrics,
                                        0,
                                        t->position.step,
                                        t->settings.steps,
                                        t->position.tokens,
                                        t->position.loss,
                                        t->position.eval_loss,
                                        NAN,
                                        NAN,
                                        NAN,
                                        t->position.elapsed};
    t->stop_flag = NULL;
    *trainer = t;
    return AIOS_OK;
}

void aios_trainer_destroy(aios_trainer *t)
{
    if (!t) return;
    independent_close(t);
    evaluator_close(&t->evaluator);
    run_folder_close(&t->folder);
    if (t->orphans) { /* a thread that hangs in a driver may come back, and uses the rest */
        replicas_close_joined(&t->replicas);
        return;
    }
    for (int i = 0; i < t->retired_count; i++) evaluator_close(&t->retired[i]);
    aios_memory_free(t->context, t->retired);
    json_decref(t->contributions);
    replicas_close(&t->replicas);
    processes_close(&t->processes, AIOS_OK);
    batches_close(&t->batches);
    aios_memory_free(t->context, t->started);
    aios_tokenizer_close(t->tokenizer);
    aios_model_destroy(t->model);
    aios_options_destroy(t->options);
    os_mutex_destroy(&t->mutex);
    aios_context *context = t->context;
    aios_memory_free(context, t);
    aios_context_release(context);
}

aios_status aios_trainer_run(aios_trainer *trainer)
{
    FLOAT_SCOPE;
    if (!trainer) return FAIL(AIOS_INVALID_ARGUMENT, "aios_trainer_run: trainer is NULL");
    if (atomic_exchange(&trainer->runs, 1))
        return FAIL(AIOS_WRONG_STATE, "aios_trainer_run: the trainer runs already, on another thread or around this callback");
    aios_status status = worker_run(trainer);
    atomic_store(&trainer->runs, 0);
    return status;
}

void aios_trainer_stop(aios_trainer *trainer, int32_t mode)
{
    if (!trainer || (mode != AIOS_STOP_GRACEFUL && mode != AIOS_STOP_IMMEDIATE)) return;
    int old = atomic_load(&trainer->stop);
    while (old < mode && !atomic_compare_exchange_weak(&trainer->stop, &old, mode)) continue;
}

aios_status aios_trainer_get_metrics(aios_trainer *trainer, aios_trainer_metrics *metrics)
{
    if (!trainer || !metrics) return FAIL(AIOS_INVALID_ARGUMENT, "aios_trainer_get_metrics: trainer and metrics must not be NULL");
    os_mutex_lock(&trainer->mutex);
    aios_status status = aios_struct_write("aios_trainer_metrics", metrics, &trainer->metrics, sizeof trainer->metrics);
    os_mutex_unlock(&trainer->mutex);
    return status;
}

const char *aios_trainer_folder(const aios_trainer *trainer)
{
    return trainer ? trainer->folder.path : "";
}

aios_parameters *aios_trainer_parameters(aios_trainer *trainer)
{
    return trainer ? leader(trainer)->parameters : NULL;
}
