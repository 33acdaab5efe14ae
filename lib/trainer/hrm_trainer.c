/* Training HRM on puzzles: one segment, one update. */
#include "base/float_scope.h"
#include "fields.h"
#include "hrm.h"
#include "run_folder.h"
#include "setup.h"

#include "base/json.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STREAM_EXPLORE = 0x68726d31 };

static const double pi = 3.14159265358979323846;

struct run {
    aios_context *context;
    struct hrm_settings s;
    aios_puzzles *train, *test; /* test may be NULL */
    aios_model *model;
    aios_device *device;
    struct hrm_engine learner, judge; /* judge: its own carry; opened where there is a test set */
    aios_optimizer *optimizer;
    aios_puzzles_position position;
    int32_t *tokens, *labels, *puzzles, *min_steps, *running, *steps_done;
    float *correct, *lm, *q_halt, *q_continue;
    struct run_folder folder;
    int64_t step;
    double began, logged; /* when, and up to which step metrics were told */
    int64_t logged_step;
    aios_hrm_scores scores;
};

/* ---- the model --------------------------------------------------------------------------------------------------- */

static const char *const kinds[] = {"other", "sudoku", "maze", "arc"};

static aios_status make_model(struct run *r)
{
    const struct hrm_settings *s = &r->s;
    aios_puzzles_info info = {.struct_size = sizeof info};
    char *text = NULL;
    TRY_QUIET(aios_puzzles_get_info(r->train, &info));
    if (*s->model) return aios_model_open(r->context, s->model, &r->model);
    json_t *root = json_pack("{ss si si si sI sI sI sI sI sf sI sf sI ss sf sf ss s{ss}}", "model_type", "hrm_actv1", "vocab_size",
                             info.vocabulary_size, "seq_len", info.length, "num_puzzle_identifiers", info.identifier_count, "H_cycles",
                             (json_int_t)s->h_cycles, "L_cycles", (json_int_t)s->l_cycles, "H_layers", (json_int_t)s->h_layers, "L_layers",
                             (json_int_t)s->l_layers, "hidden_size", (json_int_t)s->hidden_size, "expansion", s->expansion, "num_heads",
                             (json_int_t)s->num_heads, "halt_exploration_prob", s->exploration, "halt_max_steps",
                             (json_int_t)s->halt_max_steps, "pos_encodings", s->pos_encodings, "rope_theta", s->rope_theta, "rms_norm_eps",
                             s->rms_norm_eps, "puzzle_kind", kinds[info.kind], "loss", "loss_type", s->loss_type);
    if (!root) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for the model's configuration");
    int64_t width = s->puzzle_emb_ndim < 0 ? s->hidden_size : s->puzzle_emb_ndim;
    aios_status status = json_object_set_new(root, "puzzle_emb_ndim", json_integer(width)) == 0
                             ? json_to_text(r->context, root, JSON_TEXT_PRETTY, &text, NULL)
                             : FAIL(AIOS_OUT_OF_MEMORY, "no memory for the model's configuration");
    json_decref(root);
    if (status == AIOS_OK) status = aios_model_create(r->context, text, &r->model);
    aios_memory_free(r->context, text);
    return status;
}

static aios_status open_learner(struct run *r)
{
    const struct hrm_settings *s = &r->s;
    aios_optimizer_options o = AIOS_OPTIMIZER_OPTIONS_INIT;
    TRY_QUIET(hrm_engine_open(r->context, r->model, r->device, s->precision, AIOS_MODEL_TRAIN, s->batch, &r->learner));
    TRY_QUIET(aios_parameters_initialize(r->learner.parameters, (uint64_t)s->seed));
    if (*s->model) TRY_QUIET(aios_model_load_weights(r->model, r->learner.parameters, s->model));
    o.kind = AIOS_ADAM_ATAN2;
    o.beta1 = s->beta1;
    o.beta2 = s->beta2;
    o.weight_decay = s->weight_decay;
    o.max_norm = 0;
    o.rows_lr_factor = s->lr > 0 ? s->puzzle_lr / s->lr : 0;
    o.rows_weight_decay = s->puzzle_decay;
    if (s->precision == AIOS_PRECISION_16_MIXED) {
        o.loss_scale = 65536;
        o.growth_interval = 2000;
    }
    return aios_optimizer_create(r->learner.parameters, &o, &r->optimizer);
}

static aios_status alloc_batch(struct run *r)
{
    size_t rows = (size_t)r->learner.batch, cells = rows * (size_t)r->learner.length;
    int32_t **integers[] = {&r->puzzles, &r->min_steps, &r->running, &r->steps_done};
    float **numbers[] = {&r->correct, &r->lm, &r->q_halt, &r->q_continue};
    if (!(r->tokens = aios_memory_array(r->context, cells, sizeof *r->tokens))) return AIOS_OUT_OF_MEMORY;
    if (!(r->labels = aios_memory_array(r->context, cells, sizeof *r->labels))) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < COUNT_OF(integers); i++)
        if (!(*integers[i] = aios_memory_array(r->context, rows, sizeof(int32_t)))) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (!(*numbers[i] = aios_memory_array(r->context, rows, sizeof(float)))) return AIOS_OUT_OF_MEMORY;
    memset(r->q_continue, 0, rows * sizeof(float)); /* there is none where a sequence has one step */
    return AIOS_OK;
}

static aios_status open_data(struct run *r)
{
    if (!*r->s.data_path)
        return FAIL(AIOS_INVALID_ARGUMENT, "option data-path is empty: it must name a folder with train/ (aios data makes one)");
    TRY_QUIET(aios_puzzles_open(r->context, r->s.data_path, "train", &r->train));
    aios_status status = aios_puzzles_open(r->context, r->s.data_path, "test", &r->test);
    return status == AIOS_NOT_FOUND ? AIOS_OK : status; /* without a test set there is no evaluation */
}

/* As the reference counts: examples seen in so many visits of every group, over the batch. */
static aios_status count_steps(struct run *r)
{
    aios_puzzles_info info = {.struct_size = sizeof info};
    TRY_QUIET(aios_puzzles_get_info(r->train, &info));
    if (!info.examples) return FAIL(AIOS_NOT_FOUND, "%s/train has no examples", r->s.data_path);
    if (!r->s.epochs) return AIOS_OK;
    double mean = (double)info.examples / (double)info.puzzles;
    r->s.steps = (int64_t)((double)r->s.epochs * (double)info.groups * mean / (double)r->s.batch);
    if (r->s.steps < 1)
        return FAIL(AIOS_OUT_OF_RANGE, "epochs is %lld: with %llu groups and a batch of %lld that is no step", (long long)r->s.epochs,
                    (unsigned long long)info.groups, (long long)r->s.batch);
    return AIOS_OK;
}

static aios_status begin(struct run *r, const aios_options *options)
{
    TRY_QUIET(hrm_settings_read(options, &r->s));
    TRY_QUIET(open_data(r));
    TRY_QUIET(count_steps(r));
    TRY_QUIET(setup_device(r->context, r->s.device, r->s.precision, &r->device));
    TRY_QUIET(make_model(r));
    TRY_QUIET(hrm_check_set(r->model, r->train, "train"));
    if (r->test) TRY_QUIET(hrm_check_set(r->model, r->test, "test"));
    TRY_QUIET(open_learner(r));
    if (r->test) TRY_QUIET(hrm_engine_open(r->context, r->model, r->device, r->s.precision, AIOS_MODEL_EVAL, r->s.batch, &r->judge));
    TRY_QUIET(alloc_batch(r));
    TRY_QUIET(run_folder_open(&r->folder, r->context, r->s.save_dir, ""));
    TRY_QUIET(run_folder_mirror(&r->folder, r->s.tensorboard, r->s.prometheus));
    return run_folder_open_log(&r->folder, 0);
}

static void end(struct run *r)
{
    void *const memory[] = {r->tokens,     r->labels,  r->puzzles, r->min_steps, r->running,
                            r->steps_done, r->correct, r->lm,      r->q_halt,    r->q_continue};
    for (size_t i = 0; i < COUNT_OF(memory); i++) aios_memory_free(r->context, memory[i]);
    aios_optimizer_destroy(r->optimizer);
    hrm_engine_close(&r->learner);
    hrm_engine_close(&r->judge);
    aios_model_destroy(r->model);
    aios_device_close(r->device);
    aios_puzzles_destroy(r->train);
    aios_puzzles_destroy(r->test);
    run_folder_close(&r->folder);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static aios_status tell(struct run *r, const char *name, struct fields *f)
{
    aios_status status = fields_end(f);
    if (status == AIOS_OK) status = run_folder_log(&r->folder, name, f->text.bytes);
    if (status == AIOS_OK) aios_emit(r->context, name, f->text.bytes);
    fields_free(f);
    return status;
}

static aios_status tell_start(struct run *r)
{
    struct fields f;
    aios_puzzles_info info = {.struct_size = sizeof info};
    fields_begin(&f, r->context);
    fields_text(&f, "model", aios_model_name(r->model));
    fields_int(&f, "parameters", (int64_t)aios_parameters_total(r->learner.parameters));
    fields_text(&f, "device", aios_device_spec(r->device));
    fields_int(&f, "steps", r->s.steps);
    fields_int(&f, "batch", r->s.batch);
    TRY_QUIET(aios_puzzles_get_info(r->train, &info));
    fields_int(&f, "train_examples", (int64_t)info.examples);
    info.examples = 0;
    if (r->test) TRY_QUIET(aios_puzzles_get_info(r->test, &info));
    fields_int(&f, "test_examples", (int64_t)info.examples);
    return tell(r, "run_start", &f);
}

static double mean_of(const float *values, int32_t count)
{
    double sum = 0;
    for (int32_t i = 0; i < count; i++) sum += (double)values[i];
    return sum / count;
}

/* Accuracy and steps are those of the sequences that halted with this step. */
static aios_status tell_step(struct run *r, double rate)
{
    struct fields f;
    aios_plan *plan = r->learner.plan;
    uint64_t bytes = (uint64_t)r->learner.batch * 4;
    int32_t rows = r->learner.batch, halted = 0;
    double correct = 0, steps = 0, now = os_now();
    TRY_QUIET(aios_plan_read(plan, "correct", r->correct, bytes));
    TRY_QUIET(aios_plan_read(plan, "running", r->running, bytes));
    TRY_QUIET(aios_plan_read(plan, "steps", r->steps_done, bytes));
    TRY_QUIET(aios_plan_read(plan, "lm_losses", r->lm, bytes));
    TRY_QUIET(aios_plan_read(plan, "q_halt_losses", r->q_halt, bytes));
    if (r->learner.max_steps > 1) TRY_QUIET(aios_plan_read(plan, "q_continue_losses", r->q_continue, bytes));
    for (int32_t i = 0; i < rows; i++) {
        if (r->running[i]) continue;
        halted++;
        correct += (double)r->correct[i];
        steps += r->steps_done[i];
    }
    double lm = mean_of(r->lm, rows), q_halt = mean_of(r->q_halt, rows), q_continue = mean_of(r->q_continue, rows);
    fields_begin(&f, r->context);
    fields_int(&f, "step", r->step);
    fields_number(&f, "loss", lm + 0.5 * (q_halt + q_continue));
    fields_number(&f, "lm_loss", lm);
    fields_number(&f, "q_halt_loss", q_halt);
    fields_number(&f, "q_continue_loss", q_continue);
    fields_number(&f, "lr", rate);
    fields_number(&f, "exact_accuracy", halted ? correct / halted : (double)NAN);
    fields_number(&f, "mean_steps", halted ? steps / halted : (double)NAN);
    fields_number(&f, "elapsed", now - r->began);
    fields_number(&f, "steps_per_second", (double)(r->step - r->logged_step) / (now - r->logged));
    r->logged = now;
    r->logged_step = r->step;
    return tell(r, "step", &f);
}

/* ---- evaluation, checkpoints ------------------------------------------------------------------------------------- */

/* The judge has weights of its own, so that the carry of training stays. */
static aios_status copy_weights(struct run *r)
{
    for (uint32_t i = 0; i < aios_parameters_count(r->learner.parameters); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        TRY_QUIET(aios_parameters_info(r->learner.parameters, i, &info));
        float *values = aios_memory_array(r->context, (size_t)info.count, sizeof *values);
        if (!values) return AIOS_OUT_OF_MEMORY;
        aios_status status = aios_parameters_read(r->learner.parameters, info.name, AIOS_VALUE, values, info.count);
        if (status == AIOS_OK) status = aios_parameters_write(r->judge.parameters, info.name, AIOS_VALUE, values, info.count);
        aios_memory_free(r->context, values);
        TRY_QUIET(status);
    }
    return AIOS_OK;
}

static aios_status evaluate(struct run *r)
{
    struct fields f;
    double began = os_now();
    if (!r->test) return AIOS_OK;
    TRY_QUIET(copy_weights(r));
    TRY(hrm_measure(&r->judge, r->test, r->s.eval_examples, &r->scores), "evaluating at step %lld", (long long)r->step);
    fields_begin(&f, r->context);
    fields_int(&f, "step", r->step);
    fields_number(&f, "exact_accuracy", r->scores.exact_accuracy);
    fields_number(&f, "accuracy", r->scores.accuracy);
    fields_number(&f, "halt_accuracy", r->scores.halt_accuracy);
    fields_number(&f, "loss", r->scores.loss);
    fields_int(&f, "examples", r->scores.examples);
    fields_number(&f, "elapsed", began - r->began);
    return tell(r, "eval", &f);
}

/* Written under another name and renamed, so that a folder of that name is whole. */
static aios_status save(struct run *r)
{
    char path[4096], unfinished[4096];
    struct fields f;
    if (snprintf(path, sizeof path, "%s/step-%08lld", r->folder.checkpoints, (long long)r->step) >= (int)sizeof path - 8)
        return FAIL(AIOS_INVALID_ARGUMENT, "%.60s…: the name is too long", r->folder.checkpoints);
    (void)snprintf(unfinished, sizeof unfinished, "%.4000s.tmp", path);
    TRY_QUIET(os_remove_tree(unfinished));
    TRY_QUIET(os_folder_create(unfinished));
    TRY(aios_model_save_weights(r->model, r->learner.parameters, unfinished, AIOS_F32, 0), "saving step %lld", (long long)r->step);
    TRY_QUIET(os_folder_sync(unfinished));
    TRY_QUIET(os_remove_tree(path));
    TRY_QUIET(os_rename(unfinished, path));
    TRY_QUIET(os_folder_sync(r->folder.checkpoints));
    fields_begin(&f, r->context);
    fields_int(&f, "step", r->step);
    fields_text(&f, "path", path);
    return tell(r, "checkpoint_save", &f);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* The reference's: linear up over the warm-up, then a cosine down to lr_min_ratio at the last step; steps from 1. */
static double rate_of(const struct hrm_settings *s, int64_t step)
{
    if (step < s->warmup) return s->lr * (double)step / (double)s->warmup;
    double progress = s->steps > s->warmup ? (double)(step - s->warmup) / (double)(s->steps - s->warmup) : 1.0;
    return s->lr * (s->lr_min_ratio + (1 - s->lr_min_ratio) * fmax(0, 0.5 * (1 + cos(pi * progress))));
}

/* Redrawn every segment: with the exploration's probability at least 2 … halt_max_steps steps. */
static void explore(struct run *r)
{
    rng random;
    rng_init(&random, (uint64_t)r->s.seed, STREAM_EXPLORE);
    random.counter = (uint64_t)r->step * (uint64_t)r->learner.batch * 2;
    for (int32_t i = 0; i < r->learner.batch; i++) {
        int exploring = rng_uniform(&random) < r->s.exploration;
        int32_t least = r->learner.max_steps > 1 ? 2 + (int32_t)rng_below(&random, (uint64_t)r->learner.max_steps - 1) : 0;
        r->min_steps[i] = exploring ? least : 0;
    }
}

static aios_status check_finite(struct run *r)
{
    aios_step_result result = {.struct_size = sizeof result};
    TRY_QUIET(aios_optimizer_result(r->optimizer, &result));
    if (result.skipped_in_a_row < (double)r->s.max_nan_steps) return AIOS_OK;
    return FAIL(AIOS_NOT_FINITE, "%.0f steps in a row had a gradient that is not finite, the last of them step %lld: try a lower lr",
                result.skipped_in_a_row, (long long)r->step);
}

static aios_status train_step(struct run *r)
{
    double rate = rate_of(&r->s, ++r->step);
    explore(r);
    TRY_QUIET(aios_puzzles_draw(r->train, (uint64_t)r->s.seed, &r->position, r->learner.batch, r->tokens, r->labels, r->puzzles));
    TRY_QUIET(aios_optimizer_begin(r->optimizer, rate, (double)r->s.batch));
    TRY_QUIET(hrm_engine_run(&r->learner, r->tokens, r->labels, r->puzzles, r->learner.max_steps > 1 ? r->min_steps : NULL));
    TRY_QUIET(aios_optimizer_step(r->optimizer));
    if (r->step % r->s.log_interval && r->step < r->s.steps) return AIOS_OK;
    TRY_QUIET(check_finite(r));
    return tell_step(r, rate);
}

static aios_status finish(struct run *r, int stopped)
{
    struct fields f;
    if (!stopped || !r->scores.examples) TRY_QUIET(evaluate(r));
    TRY_QUIET(save(r));
    fields_begin(&f, r->context);
    fields_int(&f, "step", r->step);
    fields_text(&f, "outcome", stopped ? "stopped" : "done");
    fields_number(&f, "exact_accuracy", r->scores.examples ? r->scores.exact_accuracy : (double)NAN);
    fields_number(&f, "elapsed", os_now() - r->began);
    TRY_QUIET(tell(r, "training_complete", &f));
    return stopped ? FAIL(AIOS_STOPPED, "stopped after step %lld of %lld", (long long)r->step, (long long)r->s.steps) : AIOS_OK;
}

static aios_status train(struct run *r, const volatile int32_t *stop)
{
    int stopped = 0, late = 0, reached = 0;
    r->began = r->logged = os_now();
    TRY_QUIET(tell_start(r));
    while (r->step < r->s.steps && !stopped && !late && !reached) {
        TRY(train_step(r), "step %lld", (long long)r->step);
        stopped = stop && *stop;
        late = r->s.max_minutes > 0 && os_now() - r->began > 60 * r->s.max_minutes;
        int due = r->s.eval_interval && r->step % r->s.eval_interval == 0 && r->step < r->s.steps && !stopped && !late;
        if (due) TRY_QUIET(evaluate(r));
        if (due) TRY_QUIET(save(r)); /* checkpoint_every_eval */
        reached = due && r->s.target > 0 && r->scores.examples && r->scores.exact_accuracy >= r->s.target;
    }
    return finish(r, stopped);
}

aios_status aios_hrm_train(aios_context *context, const aios_options *options, const volatile int32_t *stop, aios_hrm_scores *scores)
{
    FLOAT_SCOPE;
    if (!context || !options) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hrm_train: context and options must not be NULL");
    if (scores) TRY_QUIET(aios_struct_write("aios_hrm_scores", scores, &(aios_hrm_scores){.struct_size = sizeof *scores}, sizeof *scores));
    struct run *r = aios_new(context, struct run);
    if (!r) return AIOS_OUT_OF_MEMORY;
    r->context = context;
    r->scores.struct_size = sizeof r->scores;
    aios_status status = begin(r, options);
    if (status == AIOS_OK) status = train(r, stop);
    if (scores) (void)aios_struct_write("aios_hrm_scores", scores, &r->scores, sizeof r->scores);
    end(r);
    aios_memory_free(context, r);
    return status;
}
