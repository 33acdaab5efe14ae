/* What a run says: events, lines of the log, metrics. */
#include "trainer.h"

#include "balance.h"
#include "base/options.h"
#include "setup.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

double trainer_elapsed(const aios_trainer *t)
{
    return t->position.elapsed + (t->run_began > 0 ? os_now() - t->run_began : 0);
}

/* A log that can't be written is told once; training goes on. */
static void check_log(aios_trainer *t, aios_status status)
{
    if (status == AIOS_OK || t->log_broken) return;
    t->log_broken = 1;
    aios_log(t->context, AIOS_LOG_WARNING, "%s: the run goes on without it", aios_error_message());
}

void report_event(aios_trainer *t, const char *name, struct fields *fields)
{
    fields_number(fields, "elapsed", trainer_elapsed(t));
    aios_status status = fields_end(fields);
    if (status == AIOS_OK) {
        status = run_folder_log(&t->folder, name, fields->text.bytes);
        aios_emit(t->context, name, fields->text.bytes);
    }
    check_log(t, status);
    fields_free(fields);
}

void report_warning(aios_trainer *t, const char *format, ...)
{
    struct fields f;
    char message[768];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fields_begin(&f, t->context);
    fields_text(&f, "message", message);
    report_event(t, "warning", &f);
    aios_log(t->context, AIOS_LOG_WARNING, "%s", message);
}

void report_carry(aios_trainer *t)
{
    if (t->carry_lost)
        report_warning(t, "the checkpoint's puzzles in work are of another batch, precision or way to train: they begin anew");
    t->carry_lost = 0;
}

void report_drop(aios_trainer *t, const char *device, const char *message, int left)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_text(&f, "device", device);
    fields_text(&f, "message", message);
    fields_int(&f, "devices_left", left);
    report_event(t, "device_dropped", &f);
    report_warning(t, "%s is dropped, %s: %s", device, left ? "the others go on" : "and no device is left", message);
}

void report_reform(aios_trainer *t, int before)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_int(&f, "processes", processes_count(&t->processes));
    fields_int(&f, "devices", t->replicas.ranks);
    fields_int(&f, "devices_before", before);
    report_event(t, "reform", &f);
    if (t->replicas.ranks < before && processes_index(&t->processes) == 0)
        report_warning(t, "%d of %d devices are left, in %d processes: the run goes on from step %lld", t->replicas.ranks, before,
                       processes_count(&t->processes), (long long)t->position.step);
}

static void put_devices(const aios_trainer *t, struct fields *f)
{
    char names[REPLICAS_MOST * 16];
    (void)replicas_name(&t->replicas, names, sizeof names);
    fields_text(f, "device", names);
}

/* The micro-batches of a step that each device computes. */
static void put_shares(const aios_trainer *t, struct fields *f)
{
    char shares[REPLICAS_MOST * 24] = "[";
    size_t used = 1;
    for (int i = 0; i < t->replicas.ranks; i++)
        used += (size_t)snprintf(shares + used, sizeof shares - used, "%s%lld", i ? ", " : "", (long long)t->replicas.shares[i]);
    (void)snprintf(shares + used, sizeof shares - used, "]");
    fields_json(f, "micro_batches", shares);
}

void report_balance(aios_trainer *t)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    put_devices(t, &f);
    put_shares(t, &f);
    report_event(t, "balance", &f);
}

/* What each device of one gradient did.  Speeds are known where shares follow them; a rank that waits for others looks busy elsewhere. */
static void report_parts(aios_trainer *t)
{
    const struct replicas *all = &t->replicas;
    double labels = 0, parts = 0, together = t->busy > 0 ? (double)(t->position.tokens - t->first_tokens) / t->busy : 0;
    int measured = t->settings.balance == BALANCE_MEASURED;
    int64_t unit = t->settings.batch_size * (t->settings.puzzles ? 1 : t->sequence); /* of a micro-batch */
    text_buffer list;
    struct fields f, one;
    text_init(&list, t->context);
    (void)text_add(&list, "[");
    for (int i = 0; i < all->ranks; i++) labels += (double)all->trained[i];
    for (int i = 0; i < all->ranks; i++) {
        double speed = measured ? all->peers[i].speed * (double)unit : 0;
        measured = measured && speed > 0;
        parts += speed;
        fields_begin(&one, t->context);
        fields_text(&one, "device", all->peers[i].spec);
        fields_int(&one, "tokens", all->trained[i]);
        fields_number(&one, "share", labels > 0 ? (double)all->trained[i] / labels : (double)NAN);
        fields_number(&one, "tokens_per_second", speed > 0 ? speed : (double)NAN);
        if (fields_end(&one) == AIOS_OK) (void)text_format(&list, "%s%s", i ? ", " : "", one.text.bytes);
        fields_free(&one);
    }
    (void)text_add(&list, "]");
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_json(&f, "devices", list.status == AIOS_OK ? list.bytes : NULL);
    fields_number(&f, "tokens_per_second", together > 0 ? together : (double)NAN);
    fields_number(&f, "efficiency", measured && parts > 0 && together > 0 ? together / parts : (double)NAN);
    report_event(t, "devices", &f);
    text_free(&list);
}

void report_start(aios_trainer *t)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_text(&f, "model", aios_model_name(t->model));
    fields_int(&f, "parameters", (int64_t)aios_parameters_total(leader(t)->parameters));
    put_devices(t, &f);
    fields_text(&f, "strategy", t->replicas.independent ? "parallel-independent" : t->replicas.ranks > 1 ? "ddp" : "single");
    if (t->processes.world) fields_int(&f, "process", processes_index(&t->processes));
    if (t->processes.world) fields_int(&f, "processes", processes_count(&t->processes));
    fields_text(&f, "precision", setup_precision_name(t->settings.precision));
    fields_int(&f, "steps", t->settings.steps);
    fields_int(&f, "step", t->position.step);
    fields_int(&f, "tokens_per_step", t->replicas.step_samples * t->sequence);
    fields_int(&f, "train_samples", batches_train_count(&t->batches));
    fields_int(&f, "eval_samples", batches_eval_count(&t->batches));
    if (t->settings.puzzles) {
        fields_int(&f, "batch", t->replicas.step_samples);
        fields_int(&f, "train_examples", (int64_t)t->batches.puzzles->info.examples);
        fields_int(&f, "test_examples", t->batches.test ? (int64_t)t->batches.test->info.examples : 0);
    }
    if (t->replicas.ranks > 1 && !t->replicas.independent) put_shares(t, &f);
    report_event(t, "run_start", &f);
}

static double seconds_left(const aios_trainer *t)
{
    int64_t done = t->position.step - t->first_step;
    int64_t left = t->settings.steps - t->position.step; /* below 0: it goes on over its steps (iterate) */
    return done > 0 && left >= 0 ? t->busy / (double)done * (double)left : NAN;
}

/* Of puzzles: the parts of the loss, and what became of those that halted with this step. */
static void put_solved(const aios_trainer *t, struct fields *f, double steps_per_second)
{
    const struct solved *s = &t->solved;
    fields_number(f, "lm_loss", s->lm / s->sequences);
    fields_number(f, "q_halt_loss", s->q_halt / s->sequences);
    fields_number(f, "q_continue_loss", s->q_continue / s->sequences);
    fields_number(f, "exact_accuracy", s->halted > 0 ? s->correct / s->halted : NAN);
    fields_number(f, "mean_steps", s->halted > 0 ? s->steps / s->halted : NAN);
    fields_number(f, "steps_per_second", steps_per_second);
}

void report_step(aios_trainer *t, const struct step_place *place)
{
    const struct position *p = &t->position;
    struct fields f;
    double seconds = t->busy - t->reported_busy;
    t->tokens_per_second = seconds > 0 ? (double)(p->tokens - t->reported_tokens) / seconds : NAN;
    double steps_per_second = t->tokens_per_second / (double)t->replicas.step_samples; /* a puzzle counts as one */
    t->reported_busy = t->busy;
    t->reported_tokens = p->tokens;
    fields_begin(&f, t->context);
    fields_int(&f, "step", p->step);
    fields_number(&f, "loss", p->loss);
    fields_number(&f, "lr", t->rate);
    fields_number(&f, "grad_norm", t->grad_norm);
    fields_int(&f, "tokens", p->tokens);
    fields_number(&f, "tokens_per_second", t->tokens_per_second);
    fields_number(&f, "loss_scale", t->loss_scale);
    fields_int(&f, "skipped", (int64_t)t->skipped);
    fields_int(&f, "epoch", place ? place->epoch : p->next_sample / batches_train_count(&t->batches));
    if (place) {
        fields_text(&f, "device", place->device);
        fields_int(&f, "gpu_id", place->gpu);
        fields_int(&f, "block_id", place->block);
        fields_int(&f, "chunk_id", place->chunk);
        fields_int(&f, "sample", place->sample);
        fields_int(&f, "samples", place->samples);
    }
    if (t->settings.puzzles) put_solved(t, &f, steps_per_second);
    fields_number(&f, "eta", seconds_left(t));
    report_event(t, "step", &f);
}

void report_eval(aios_trainer *t, const struct evaluator_sums *sums)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_number(&f, "loss", t->position.eval_loss);
    fields_number(&f, "accuracy", t->eval_accuracy);
    fields_int(&f, "tokens", (int64_t)sums->rows);
    if (sums->puzzles > 0) {
        fields_number(&f, "exact_accuracy", t->eval_solved);
        fields_number(&f, "halt_accuracy", sums->halts / sums->puzzles);
        fields_int(&f, "examples", (int64_t)sums->puzzles);
    } else {
        fields_number(&f, "nats_per_byte", t->eval_nats_per_byte);
    }
    report_event(t, "eval", &f);
}

void report_checkpoint(aios_trainer *t, const char *path, double seconds)
{
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_text(&f, "path", path);
    fields_number(&f, "seconds", seconds);
    report_event(t, "checkpoint_save", &f);
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

void report_metrics(aios_trainer *t, int now)
{
    const struct position *p = &t->position;
    struct fields f;
    os_mutex_lock(&t->mutex);
    t->metrics = (aios_trainer_metrics){sizeof t->metrics, t->run_began > 0, p->step,      t->settings.steps,    p->tokens,         p->loss,
                                        p->eval_loss,      t->rate,          t->grad_norm, t->tokens_per_second, trainer_elapsed(t)};
    os_mutex_unlock(&t->mutex);
    fields_begin(&f, t->context);
    fields_int(&f, "step", p->step);
    fields_int(&f, "steps", t->settings.steps);
    fields_int(&f, "tokens", p->tokens);
    fields_number(&f, "loss", p->loss);
    fields_number(&f, "eval_loss", p->eval_loss);
    fields_number(&f, "eval_accuracy", t->eval_accuracy);
    fields_number(&f, "eval_nats_per_byte", t->eval_nats_per_byte);
    fields_number(&f, "lr", t->rate);
    fields_number(&f, "grad_norm", t->grad_norm);
    fields_number(&f, "tokens_per_second", t->tokens_per_second);
    fields_number(&f, "loss_scale", t->loss_scale);
    fields_int(&f, "skipped", (int64_t)t->skipped);
    fields_number(&f, "elapsed", trainer_elapsed(t));
    aios_status status = fields_end(&f);
    if (status == AIOS_OK) status = run_folder_put_metrics(&t->folder, f.text.bytes, now);
    check_log(t, status);
    fields_free(&f);
}

/* run.json: what the run is and how it stands.  outcome "running" until the end. */
static void put_run(aios_trainer *t, const char *outcome, const char *message)
{
    const aios_device_info *info = aios_device_get_info(leader(t)->device);
    struct fields f;
    char now[32];
    os_time_text(os_wall_time(), now);
    fields_begin(&f, t->context);
    fields_int(&f, "format", 1);
    fields_text(&f, "version", aios_version());
    fields_text(&f, "model", aios_model_name(t->model));
    fields_int(&f, "parameters", (int64_t)aios_parameters_total(leader(t)->parameters));
    put_devices(t, &f);
    fields_text(&f, "device_name", info->name);
    if (t->tokenizer) fields_text(&f, "tokenizer", aios_tokenizer_identity(t->tokenizer));
    fields_text(&f, "started", t->started);
    if (t->resumed_step >= 0) fields_int(&f, "resumed_step", t->resumed_step);
    fields_text(&f, "updated", now);
    fields_text(&f, "outcome", outcome);
    if (message) fields_text(&f, "message", message);
    fields_int(&f, "step", t->position.step);
    fields_int(&f, "tokens", t->position.tokens);
    fields_json(&f, "options", options_write_all(t->options));
    aios_status status = fields_end(&f);
    if (status == AIOS_OK) status = run_folder_put(&t->folder, "run.json", f.text.bytes);
    check_log(t, status);
    fields_free(&f);
}

void report_run(aios_trainer *t)
{
    put_run(t, "running", NULL);
}

void report_end(aios_trainer *t, const char *outcome, const char *message)
{
    struct fields f;
    if (t->replicas.ranks > 1 && !t->replicas.independent) report_parts(t);
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_text(&f, "outcome", outcome);
    fields_number(&f, "loss", t->position.loss);
    fields_int(&f, "tokens", t->position.tokens);
    if (t->settings.puzzles) fields_number(&f, "exact_accuracy", t->eval_solved);
    report_event(t, "training_complete", &f);
    check_log(t, run_folder_sync_log(&t->folder));
    put_run(t, outcome, message);
}
