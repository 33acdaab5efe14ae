/* Evaluation of a saved model on several devices: a queue of shards, one worker per device.
 *
 * A shard is one micro-batch; its sums are kept under its number and added in the order of the numbers, so the result does not
 * depend on which device did what.  A device that fails gives its shard back, and the others do it. */
#include "evaluate.h"
#include "fields.h"
#include "questions.h"
#include "setup.h"
#include <aios/trainer.h>

#include "base/context.h"
#include "base/float_scope.h"
#include "base/os.h"

#include <math.h>
#include <string.h>

struct shard {
    struct evaluator_sums sums;
    int64_t samples, correct; /* correct -1: the model does not tell */
    int done;
};

struct fan;
struct fan_worker {
    struct fan *fan;
    os_thread thread;
    int started;
    char spec[64];
    aios_device *device;
    aios_graph *graph;
    aios_parameters *parameters;
    struct evaluator evaluator;
    float *losses, *correct; /* (batch, sequence), (batch): of the last run */
    struct shard sums;       /* of its own shards, in the order in which it did them */
    int64_t shards;
    double load_seconds, seconds;
    aios_status status;
    aios_error_record error;
};

struct fan {
    aios_context *context;
    struct settings settings;
    aios_model *model;
    aios_tokenizer *tokenizer;
    struct batches batches;
    struct questions questions; /* of a task-file; else count 0 */
    int32_t sequence;
    int64_t rows, count; /* samples; shards */
    struct shard *shards;
    double *row_losses, *row_correct; /* of questions' rows */
    struct fan_worker *workers;
    int worker_count, run;
    const volatile int32_t *stop; /* NULL: never */
    os_mutex mutex;
    os_condition changed;
    int64_t next, done, *returned; /* returned: shards of devices that failed */
    int returned_count, busy;
    double next_event;
};

static int is_stopped(const struct fan *f)
{
    return f->stop && __atomic_load_n(f->stop, __ATOMIC_RELAXED);
}

/* ---- a shard ------------------------------------------------------------------------------------------------------ */

static aios_status open_worker(struct fan_worker *w)
{
    struct fan *f = w->fan;
    const struct settings *s = &f->settings;
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    TRY_QUIET(setup_device(f->context, w->spec, s->precision, &w->device));
    (void)snprintf(w->spec, sizeof w->spec, "%s", aios_device_spec(w->device));
    TRY_QUIET(setup_graph(f->context, f->model, AIOS_MODEL_EVAL, s->batch_size, f->sequence, &w->graph));
    parameters.precision = (int32_t)s->precision;
    parameters.training = 0;
    TRY_QUIET(aios_parameters_create(w->device, w->graph, &parameters, &w->parameters));
    TRY_QUIET(aios_model_load_weights(f->model, w->parameters, s->model));
    TRY_QUIET(evaluator_open(&w->evaluator, &f->batches, f->model, w->parameters, s->batch_size, f->sequence));
    w->losses = aios_memory_array(f->context, (size_t)s->batch_size * (size_t)f->sequence, sizeof *w->losses);
    w->correct = aios_memory_array(f->context, (size_t)s->batch_size, sizeof *w->correct);
    return w->losses && w->correct ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static void close_worker(struct fan_worker *w)
{
    evaluator_close(&w->evaluator);
    aios_parameters_destroy(w->parameters);
    aios_graph_destroy(w->graph);
    aios_device_close(w->device);
    aios_memory_free(w->fan->context, w->losses);
    aios_memory_free(w->fan->context, w->correct);
}

/* Sums of each question's row.  Two workers never have the same row. */
static aios_status read_rows(struct fan_worker *w, int64_t first, int64_t count)
{
    struct fan *f = w->fan;
    TRY(aios_plan_read(w->evaluator.plan, "losses", w->losses, (uint64_t)w->evaluator.batch * (uint64_t)f->sequence * sizeof *w->losses),
        "the losses of model %s's positions, which questions need", aios_model_name(f->model));
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int32_t k = 0; k < f->sequence; k++)
            if (w->evaluator.samples.labels[i * f->sequence + k] >= 0) sum += (double)w->losses[i * f->sequence + k];
        f->row_losses[first + i] = sum;
        f->row_correct[first + i] = (double)w->correct[i];
    }
    return AIOS_OK;
}

static aios_status run_shard(struct fan_worker *w, int64_t index, struct shard *shard)
{
    struct fan *f = w->fan;
    struct evaluator *e = &w->evaluator;
    int64_t first = index * e->batch, count = f->rows - first < e->batch ? f->rows - first : e->batch;
    *shard = (struct shard){.samples = count};
    if (f->questions.count)
        questions_read(&f->questions, first, e->batch, e->samples.tokens, e->samples.labels);
    else
        TRY_QUIET(batches_read_eval(&f->batches, first, e->batch, &e->samples, &shard->sums.bytes));
    TRY_QUIET(evaluator_run_texts(e, &shard->sums));
    aios_status status = aios_plan_read(e->plan, "correct", w->correct, (uint64_t)e->batch * sizeof *w->correct);
    if (status != AIOS_OK && status != AIOS_NOT_FOUND) return status;
    for (int64_t i = 0; i < count && status == AIOS_OK; i++) shard->correct += w->correct[i] > 0;
    if (status == AIOS_NOT_FOUND) shard->correct = -1;
    if (f->questions.count) TRY_QUIET(read_rows(w, first, count));
    shard->done = 1;
    return AIOS_OK;
}

static void add_shard(struct shard *to, const struct shard *more)
{
    to->sums.loss += more->sums.loss;
    to->sums.rows += more->sums.rows;
    to->sums.hits += more->sums.hits;
    to->sums.bytes += more->sums.bytes;
    to->samples += more->samples;
    to->correct = more->correct < 0 || to->correct < 0 ? -1 : to->correct + more->correct;
}

/* ---- a worker ----------------------------------------------------------------------------------------------------- */

/* The next shard, or -1 where all are done or a stop is asked for; waits while another device has one that may come back. */
static int64_t take_shard(struct fan *f)
{
    int64_t index = -1;
    os_mutex_lock(&f->mutex);
    while (!f->returned_count && f->next == f->count && f->busy) os_condition_wait(&f->changed, &f->mutex);
    if (is_stopped(f))
        index = -1;
    else if (f->returned_count)
        index = f->returned[--f->returned_count];
    else if (f->next < f->count)
        index = f->next++;
    f->busy += index >= 0;
    os_mutex_unlock(&f->mutex);
    return index;
}

static void give_shard(struct fan *f, int64_t index, aios_status status)
{
    os_mutex_lock(&f->mutex);
    f->busy--;
    if (status == AIOS_OK)
        evaluate_tell(f->context, &f->next_event, ++f->done, f->count);
    else
        f->returned[f->returned_count++] = index;
    os_condition_broadcast(&f->changed);
    os_mutex_unlock(&f->mutex);
}

static aios_status work(struct fan_worker *w)
{
    double began = os_now();
    if (is_stopped(w->fan)) return AIOS_OK;
    aios_status status = open_worker(w);
    w->load_seconds = os_now() - began;
    for (int64_t index; status == AIOS_OK && (index = take_shard(w->fan)) >= 0;) {
        began = os_now();
        status = run_shard(w, index, &w->fan->shards[index]);
        w->seconds += os_now() - began;
        if (status == AIOS_OK) add_shard(&w->sums, &w->fan->shards[index]);
        w->shards += status == AIOS_OK;
        give_shard(w->fan, index, status);
    }
    return status;
}

static void *run_worker(void *argument)
{
    struct fan_worker *w = argument;
    w->status = work(w);
    aios_error_save(&w->error);
    return NULL;
}

/* One event per device and run, and a warning where it failed. */
static void report_worker(const struct fan_worker *w)
{
    struct fan *f = w->fan;
    struct fields e;
    const struct evaluator_sums *s = &w->sums.sums;
    char words[512] = "";
    if (w->status != AIOS_OK) {
        (void)aios_error_restore(&w->error);
        (void)snprintf(words, sizeof words, "%s", aios_error_message());
    }
    fields_begin(&e, f->context);
    fields_text(&e, "device", w->spec);
    fields_int(&e, "run", f->run);
    fields_int(&e, "shards", w->shards);
    fields_int(&e, "samples", w->sums.samples);
    fields_int(&e, "tokens", (int64_t)s->rows);
    fields_number(&e, "loss", s->rows > 0 ? s->loss / s->rows : (double)NAN);
    fields_number(&e, "accuracy", s->rows > 0 ? s->hits / s->rows : (double)NAN);
    fields_number(&e, "load_seconds", w->load_seconds);
    fields_number(&e, "seconds", w->seconds);
    fields_number(&e, "tokens_per_second", w->seconds > 0 ? s->rows / w->seconds : (double)NAN);
    if (w->status == AIOS_OK)
        fields_json(&e, "error", NULL);
    else
        fields_text(&e, "error", words);
    if (fields_end(&e) == AIOS_OK) aios_emit(f->context, "eval_device", e.text.bytes);
    fields_free(&e);
    if (w->status != AIOS_OK && f->worker_count > 1)
        aios_log(f->context, AIOS_LOG_WARNING, "%s is left out of the evaluation: %s", w->spec, words);
}

/* ---- a run -------------------------------------------------------------------------------------------------------- */

/* Workers first … first + count - 1 do all shards; the first on this thread. */
static aios_status run_all(struct fan *f, struct fan_worker *workers, int count)
{
    f->next = f->done = f->returned_count = f->busy = 0;
    for (int64_t i = 0; i < f->count; i++) f->shards[i].done = 0;
    for (int i = 1; i < count; i++)
        workers[i].started = os_thread_start(&workers[i].thread, "aios-eval", run_worker, &workers[i]) == AIOS_OK;
    (void)run_worker(workers);
    for (int i = 1; i < count; i++) {
        if (workers[i].started)
            os_thread_join(workers[i].thread);
        else
            (void)run_worker(&workers[i]); /* no thread was to be had: what is left, after the others */
    }
    for (int i = 0; i < count; i++) report_worker(&workers[i]);
    if (f->done == f->count) return AIOS_OK;
    if (is_stopped(f))
        return FAIL(AIOS_STOPPED, "it was stopped after %lld of %lld micro-batches", (long long)f->done, (long long)f->count);
    for (int i = 0; i < count; i++)
        if (workers[i].status != AIOS_OK) return aios_error_restore(&workers[i].error);
    return FAIL(AIOS_INTERNAL, "the evaluation ended after %lld of %lld shards", (long long)f->done, (long long)f->count);
}

/* Are all rows of a question done? */
static int is_done(const struct fan *f, const struct question *one)
{
    int64_t batch = f->settings.batch_size;
    for (int64_t i = one->first / batch; i <= (one->first + one->choices - 1) / batch; i++)
        if (!f->shards[i].done) return 0;
    return 1;
}

/* Of what is done. */
static void sum_up(const struct fan *f, struct shard *sums, aios_evaluation *r)
{
    struct shard all = {.samples = 0}, right = {.samples = 0}; /* right: of the right choices alone */
    double hits = 0, hits_norm = 0;
    for (int64_t i = 0; i < f->count; i++)
        if (f->shards[i].done) add_shard(&all, &f->shards[i]);
    for (int64_t i = 0; i < f->questions.count; i++) {
        const struct question *one = &f->questions.list[i];
        int64_t row = one->first + one->answer;
        int norm;
        if (!is_done(f, one)) continue;
        hits += questions_judge(&f->questions, one, f->row_losses, &norm);
        hits_norm += norm;
        right.samples++;
        right.correct += f->row_correct[row] > 0;
        right.sums.loss += f->row_losses[row];
        right.sums.rows += f->questions.rows[row].answer_count;
    }
    if (f->questions.count) {
        right.correct = all.correct < 0 ? -1 : right.correct;
        right.sums.hits = NAN;
        r->choice_accuracy += hits;
        r->choice_accuracy_norm += hits_norm;
        r->questions += right.samples;
        all = right;
    }
    add_shard(sums, &all);
}

/* Each device does everything, one after the other; those that fail do not count, nor one that is stopped where another was not. */
static aios_status run_in_turn(struct fan *f, struct shard *sums, aios_evaluation *r)
{
    aios_status failed = AIOS_OK;
    aios_error_record error;
    for (int i = 0; i < f->worker_count && failed != AIOS_STOPPED; i++, f->run++) {
        aios_status status =
            is_stopped(f) ? FAIL(AIOS_STOPPED, "it was stopped after %d of %d devices", i, f->worker_count) : run_all(f, &f->workers[i], 1);
        if (status != AIOS_OK) {
            failed = status;
            aios_error_save(&error);
        }
        if (status == AIOS_OK || (status == AIOS_STOPPED && !r->devices)) sum_up(f, sums, r);
        r->devices += status == AIOS_OK;
        r->devices_failed += status != AIOS_OK && status != AIOS_STOPPED;
    }
    return failed == AIOS_STOPPED || !r->devices ? aios_error_restore(&error) : AIOS_OK;
}

static aios_status run_together(struct fan *f, struct shard *sums, aios_evaluation *r)
{
    aios_status status = run_all(f, f->workers, f->worker_count);
    sum_up(f, sums, r);
    for (int i = 0; i < f->worker_count; i++) {
        r->devices += f->workers[i].status == AIOS_OK;
        r->devices_failed += f->workers[i].status != AIOS_OK;
    }
    return status;
}

/* ---- aios_evaluate ------------------------------------------------------------------------------------------------ */

static aios_status add_workers(struct fan *f)
{
    const struct settings *s = &f->settings;
    aios_hardware *hardware = NULL;
    f->worker_count = 1;
    if (*s->devices) {
        TRY(setup_hardware(f->context, s->devices, s->precision, STRATEGY_AUTO, s->keep_cpu != 0, &hardware), "option devices");
        f->worker_count = (int)(s->keep_cpu ? aios_hardware_device_count(hardware) : aios_hardware_inference_count(hardware));
    }
    f->workers = aios_memory_array(f->context, (size_t)f->worker_count, sizeof *f->workers);
    for (int i = 0; f->workers && i < f->worker_count; i++) {
        const aios_device_entry *entry =
            s->keep_cpu ? aios_hardware_device(hardware, (uint32_t)i) : aios_hardware_inference_device(hardware, (uint32_t)i);
        const char *spec = entry ? entry->spec : s->device; /* none: one device, which hardware was not asked for */
        f->workers[i] = (struct fan_worker){.fan = f};
        (void)snprintf(f->workers[i].spec, sizeof f->workers[i].spec, "%s", spec);
    }
    aios_hardware_destroy(hardware);
    return f->workers ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static aios_status open_questions(struct fan *f)
{
    TRY_QUIET(questions_open(&f->questions, f->context, f->settings.task_file, f->tokenizer, f->sequence));
    f->rows = f->questions.row_count;
    f->batches = (struct batches){.context = f->context, .sequence = f->sequence};
    f->row_losses = aios_memory_array(f->context, (size_t)f->rows, sizeof *f->row_losses);
    f->row_correct = aios_memory_array(f->context, (size_t)f->rows, sizeof *f->row_correct);
    return f->row_losses && f->row_correct ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static aios_status open_fan(struct fan *f, const aios_options *options)
{
    struct settings *s = &f->settings;
    TRY_QUIET(settings_read(options, AIOS_SCOPE_EVAL, s));
    if (!*s->model) return FAIL(AIOS_INVALID_ARGUMENT, "model is empty: name the folder of a model or checkpoint");
    if (!*s->dataset_file == !*s->task_file)
        return FAIL(AIOS_INVALID_ARGUMENT, *s->task_file
                                               ? "dataset-file and task-file are both set: one of them is evaluated at a time"
                                               : "dataset-file is empty: name a text to evaluate on, or questions with task-file");
    TRY_QUIET(aios_model_open(f->context, s->model, &f->model));
    /* Questions take the model's whole context unless they are told otherwise. */
    if (*s->task_file && !aios_options_is_set(options, "max-seq-len")) s->max_seq_len = aios_model_context_length(f->model);
    TRY_QUIET(setup_sequence(f->model, s, options, &f->sequence));
    TRY_QUIET(setup_tokenizer(f->context, s->tokenizer, s->model, &f->tokenizer));
    TRY_QUIET(setup_check_vocabulary(f->model, f->tokenizer));
    TRY_QUIET(add_workers(f));
    if (*s->task_file) {
        TRY_QUIET(open_questions(f));
    } else {
        TRY_QUIET(batches_open_eval(&f->batches, f->context, s, f->tokenizer, f->sequence, f->stop));
        f->rows = batches_eval_count(&f->batches);
        int64_t most = s->eval_batches * s->batch_size;
        if (most > 0 && most < f->rows) f->rows = most;
    }
    f->count = (f->rows + s->batch_size - 1) / s->batch_size;
    f->shards = aios_memory_array(f->context, (size_t)f->count + 1, sizeof *f->shards);
    f->returned = aios_memory_array(f->context, (size_t)f->worker_count, sizeof *f->returned);
    return f->shards && f->returned ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static aios_status evaluate(struct fan *f, const aios_options *options, aios_evaluation *result)
{
    struct shard sums = {.samples = 0};
    aios_error_record error;
    aios_evaluation r = {.struct_size = result->struct_size};
    aios_status status = open_fan(f, options);
    if (status == AIOS_OK) status = f->settings.sequential ? run_in_turn(f, &sums, &r) : run_together(f, &sums, &r);
    if (status != AIOS_OK && status != AIOS_STOPPED) return status;
    const struct evaluator_sums *s = &sums.sums;
    if (status == AIOS_OK && !(s->rows > 0))
        return FAIL(AIOS_INVALID_ARGUMENT, "%s has no token to predict: it needs at least two",
                    f->questions.count ? f->settings.task_file : f->settings.dataset_file);
    aios_error_save(&error); /* what a stop's is */
    r.tokens = (int64_t)s->rows;
    r.loss = s->loss / s->rows;
    r.perplexity = exp(r.loss);
    r.accuracy = s->hits / s->rows;
    r.nats_per_byte = s->bytes > 0 ? s->loss / (double)s->bytes : NAN;
    r.samples = sums.samples;
    r.exact_accuracy = sums.correct >= 0 ? (double)sums.correct / (double)sums.samples : NAN;
    r.choice_accuracy /= (double)r.questions; /* NaN without */
    r.choice_accuracy_norm /= (double)r.questions;
    TRY_QUIET(aios_struct_write("aios_evaluation", result, &r, sizeof r));
    return status == AIOS_OK ? AIOS_OK : aios_error_restore(&error);
}

aios_status aios_evaluate(aios_context *context, const aios_options *options, aios_evaluation *evaluation)
{
    return aios_evaluate_until(context, options, NULL, evaluation);
}

aios_status aios_evaluate_until(aios_context *context, const aios_options *options, const volatile int32_t *stop,
                                aios_evaluation *evaluation)
{
    FLOAT_SCOPE;
    if (!context || !options || !evaluation)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_evaluate: context, options and evaluation must not be NULL");
    TRY_QUIET(aios_struct_write("aios_evaluation", evaluation, &(aios_evaluation){0}, sizeof *evaluation));
    struct fan f = {.context = context, .stop = stop};
    os_mutex_init(&f.mutex);
    os_condition_init(&f.changed);
    aios_status status = evaluate(&f, options, evaluation);
    for (int i = 0; f.workers && i < f.worker_count; i++) close_worker(&f.workers[i]);
    void *const memory[] = {f.workers, f.shards, f.returned, f.row_losses, f.row_correct};
    for (size_t i = 0; i < COUNT_OF(memory); i++) aios_memory_free(context, memory[i]);
    questions_close(&f.questions);
    batches_close(&f.batches);
    aios_tokenizer_close(f.tokenizer);
    aios_model_destroy(f.model);
    os_condition_destroy(&f.changed);
    os_mutex_destroy(&f.mutex);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "evaluating");
}
