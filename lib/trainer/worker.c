#include "worker.h"

#include "checkpoint.h"
#include "graph/parameters.h"
#include "independent.h"
#include "recover.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static int graceful_file(const aios_trainer *t)
{
    static const char name[] = "GRACEFUL_STOP";
    char path[4096];
    const char *slash = strrchr(t->settings.stop_file, '/');
    int folder = slash ? (int)(slash - t->settings.stop_file) + 1 : 0;
    return snprintf(path, sizeof path, "%.*s%s", folder, t->settings.stop_file, name) < (int)sizeof path &&
           os_path_kind(path) != OS_NOTHING;
}

int worker_poll_stop_files(aios_trainer *t)
{
    const struct settings *s = &t->settings;
    if (t->stop_flag && *t->stop_flag) aios_trainer_stop(t, AIOS_STOP_GRACEFUL);
    if (*s->stop_file && os_path_kind(s->stop_file) != OS_NOTHING)
        aios_trainer_stop(t, AIOS_STOP_IMMEDIATE);
    else if (*s->stop_file && graceful_file(t))
        aios_trainer_stop(t, AIOS_STOP_GRACEFUL);
    return atomic_load(&t->stop);
}

/* Who asks for a stop: the program, a file or the clock.  Returns AIOS_STOP_… or 0. */
static int poll_stop(aios_trainer *t)
{
    double limit = t->settings.max_minutes * 60;
    t->time_up = limit > 0 && os_now() - t->run_began >= limit;
    if (t->time_up) aios_trainer_stop(t, AIOS_STOP_GRACEFUL);
    return worker_poll_stop_files(t);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Steps whose gradient is not finite come to an end some time, except while a loss scale above 1 explains them. */
static aios_status judge_gradient(aios_trainer *t, const aios_step_result *result)
{
    struct position *p = &t->position;
    double scale = t->loss_scale; /* that the step ran with */
    t->loss_scale = result->loss_scale;
    t->skipped = result->skipped;
    t->grad_norm = result->norm;
    if (result->finite) {
        p->bad_steps = 0;
        return AIOS_OK;
    }
    int mixed = t->settings.precision == AIOS_PRECISION_16_MIXED;
    if (mixed && scale > 1) return AIOS_OK;
    p->bad_steps++;
    if (p->bad_steps == 1)
        report_warning(t, "step %lld has no finite gradient (loss %g, lr %g): it is skipped; after %lld in a row the run ends",
                       (long long)p->step, p->loss, t->rate, (long long)t->settings.max_nan_steps);
    if (p->bad_steps < t->settings.max_nan_steps) return AIOS_OK;
    return FAIL(AIOS_NOT_FINITE,
                "%lld steps in a row had no finite gradient%s, the last being step %lld with loss %g and lr %g: go on from an earlier "
                "checkpoint with a lower lr, "
                "a longer lr-warmup-steps%s",
                (long long)p->bad_steps, mixed ? ", though the loss scale is down to 1" : "", (long long)p->step, p->loss, t->rate,
                mixed ? " or precision bf16-mixed" : " or a smaller grad-clip");
}

static int wants_immediate_stop(void *user)
{
    return poll_stop(user) == AIOS_STOP_IMMEDIATE;
}

/* Is what became of the step's puzzles told? */
static int is_logged(const aios_trainer *t, int64_t step)
{
    return t->settings.puzzles && (step % t->settings.log_interval == 0 || step == t->settings.steps);
}

static void count_step(aios_trainer *t, const struct step_outcome *outcome)
{
    struct position *p = &t->position;
    p->step++;
    p->tokens += outcome->weight;
    p->next_sample += t->replicas.step_samples;
    for (int i = 0; i < t->replicas.ranks; i++) t->replicas.trained[i] += (int64_t)t->replicas.step_labels[i];
    p->loss = outcome->loss;
    t->solved = outcome->solved;
}

/* outcome->abandoned: an immediate stop left the step out; nothing of it remains.  A step that fails counts where those that are left have
 * made it. */
static aios_status train_step(aios_trainer *t, struct step_outcome *outcome)
{
    int64_t first = t->position.next_sample, step = t->position.step;
    double began = os_now();
    t->rate = schedule_rate(&t->schedule, step);
    int64_t next = step + 1 < t->settings.steps || t->settings.iterate ? first + t->replicas.step_samples : -1;
    struct step_job job = {step + 1, first, next, is_logged(t, step + 1), t->rate, poll_stop(t), wants_immediate_stop, t};
    aios_status status = replicas_step(&t->replicas, &job, outcome);
    if (t->replicas.completed) count_step(t, outcome);
    t->busy += os_now() - began;
    return status;
}

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

static aios_status run_evaluator(aios_trainer *t, struct evaluator *evaluator, const struct evaluator_part *part,
                                 struct evaluator_sums *sums)
{
    return evaluator_run(evaluator, part, t->settings.eval_batches, wants_immediate_stop, t, sums);
}

/* Where no device holds all weights: a copy of them on the first one, for as long as it takes. */
static aios_status evaluate_gathered(aios_trainer *t, struct evaluator_sums *sums)
{
    struct evaluator evaluator;
    TRY_QUIET(replicas_make_whole(&t->replicas));
    if (processes_index(&t->processes) > 0) return AIOS_OK;
    aios_status status = evaluator_open(&evaluator, &t->batches, t->model, leader(t)->parameters, leader(t)->batch, t->sequence);
    if (status == AIOS_OK) status = run_evaluator(t, &evaluator, NULL, sums);
    evaluator_close(&evaluator);
    parameters_drop_whole(leader(t)->parameters);
    return status;
}

/* Each process its part, and the sums of all.  *left_off: one was stopped. */
static aios_status evaluate(aios_trainer *t, struct evaluator_sums *sums, int *left_off)
{
    struct evaluator_part part = {processes_index(&t->processes), processes_count(&t->processes), t->settings.batch_size};
    int gathered = parameters_weight_is_sharded(leader(t)->parameters);
    *sums = (struct evaluator_sums){.loss = 0};
    aios_status status = gathered ? evaluate_gathered(t, sums) : run_evaluator(t, &t->evaluator, &part, sums);
    if (status != AIOS_OK && status != AIOS_STOPPED) return status;
    double numbers[] = {sums->loss,   sums->rows,  sums->hits,          sums->puzzles,
                        sums->solved, sums->halts, (double)sums->bytes, status == AIOS_STOPPED};
    TRY_QUIET(replicas_sum(&t->replicas, numbers, (int)COUNT_OF(numbers)));
    *sums = (struct evaluator_sums){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], (int64_t)numbers[6]};
    *left_off = numbers[7] > 0;
    return AIOS_OK;
}

aios_status worker_evaluate(aios_trainer *t)
{
    struct evaluator_sums sums;
    int left_off;
    if (!batches_eval_count(&t->batches) || t->evaluated_step == t->position.step) return AIOS_OK;
    TRY(evaluate(t, &sums, &left_off), "evaluating after step %lld", (long long)t->position.step);
    if (left_off) return AIOS_OK; /* the loop sees the stop itself */
    t->evaluated_step = t->position.step;
    if (!(sums.rows > 0)) return AIOS_OK;
    t->eval_sums = sums;
    t->position.eval_loss = sums.loss / (sums.puzzles > 0 ? sums.puzzles : sums.rows);
    t->eval_solved = sums.puzzles > 0 ? sums.solved / sums.puzzles : NAN;
    t->eval_accuracy = sums.hits / sums.rows;
    t->eval_nats_per_byte = sums.bytes > 0 ? sums.loss / (double)sums.bytes : NAN;
    report_eval(t, &sums);
    return AIOS_OK;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static int is_due(int64_t interval, int64_t step)
{
    return interval > 0 && step % interval == 0;
}

/* The replicas' weights are compared; a difference ends the run, or is mended by the weights that most of them have. */
static aios_status verify(aios_trainer *t)
{
    aios_status status = replicas_verify(&t->replicas);
    if (status != AIOS_CORRUPT || !t->settings.resync) return status;
    report_warning(t, "after step %lld %s: they are mended", (long long)t->position.step, aios_error_message());
    return replicas_mend(&t->replicas);
}

/* What is due after a step; called again where it failed and the run goes on. */
static aios_status after_step(aios_trainer *t, const aios_step_result *result)
{
    const struct settings *s = &t->settings;
    int64_t step = t->position.step;
    aios_status verdict = AIOS_OK;
    if (t->judged_step != step) {
        t->judged_step = step;
        verdict = judge_gradient(t, result);
    }
    if (t->logged_step != step) { /* also where another process judged it before this one had made it */
        t->logged_step = step;
        if (is_due(s->log_interval, step) || step == s->steps || verdict != AIOS_OK) report_step(t, NULL);
        if (verdict == AIOS_OK && t->replicas.rebalanced) report_balance(t);
    }
    TRY_QUIET(verdict);
    if (is_due(s->verify_interval, step)) TRY(verify(t), "after step %lld", (long long)step);
    if (is_due(s->eval_interval, step)) TRY_QUIET(worker_evaluate(t));
    report_metrics(t, 0);
    if (is_due(s->checkpoint_interval, step) && t->saved_step != step) TRY_QUIET(checkpoint_save(t));
    t->followed_step = step;
    return AIOS_OK;
}

/* Of a run that stops after the epoch that it was in when it began. */
static int epoch_is_over(const aios_trainer *t)
{
    return t->settings.stop_after_epoch && t->position.next_sample / batches_train_count(&t->batches) > (int64_t)t->first_epoch;
}

static int is_over(const aios_trainer *t)
{
    double target = t->settings.target_accuracy;
    if (target > 0 && t->evaluated_step == t->position.step && t->eval_solved >= target) return 1;
    return (t->position.step >= t->settings.steps && !t->settings.iterate) || epoch_is_over(t);
}

/* *stopped: the AIOS_STOP_… that was obeyed, 0 where all steps are done. */
static aios_status loop(aios_trainer *t, int *stopped)
{
    struct step_outcome outcome = {.weight = 0};
    *stopped = 0;
    for (;;) {
        if (t->followed_step != t->position.step) TRY_QUIET(after_step(t, &outcome.result));
        if (is_over(t)) return AIOS_OK;
        TRY(train_step(t, &outcome), "step %lld", (long long)t->position.step + 1);
        if ((*stopped = outcome.stopping)) return AIOS_OK;
    }
}

/* The last evaluation and checkpoint. */
static aios_status wind_up(aios_trainer *t, int stopped)
{
    double up = t->time_up;
    if (stopped) TRY_QUIET(replicas_sum(&t->replicas, &up, 1)); /* each process has a clock of its own */
    t->time_up = up > 0;
    if (!stopped || (t->settings.puzzles && t->time_up)) TRY_QUIET(worker_evaluate(t));
    if (t->saved_step != t->position.step) TRY_QUIET(checkpoint_save(t));
    return AIOS_OK;
}

/* All devices together. */
static aios_status run_steps(aios_trainer *t, int *stopped)
{
    for (;;) {
        aios_status status = loop(t, stopped);
        if (status == AIOS_OK) status = wind_up(t, *stopped);
        if (status == AIOS_OK) return AIOS_OK;
        TRY_QUIET(recover(t, status));
    }
}

static void begin(aios_trainer *t)
{
    t->run_began = os_now();
    t->first_step = t->position.step;
    t->busy = t->reported_busy = 0;
    t->first_tokens = t->position.tokens;
    t->reported_tokens = t->position.tokens;
    report_start(t);
    report_run(t);
    report_metrics(t, 0);
}

static void end(aios_trainer *t, aios_status status, int stopped)
{
    static const char *const outcomes[] = {"failed", "not_finite", "stopped", "complete"};
    int outcome = status == AIOS_NOT_FINITE ? 1 : status != AIOS_OK ? 0 : stopped ? 2 : 3;
    aios_error_record record;
    char message[1024] = "";
    aios_error_save(&record);
    if (status != AIOS_OK) (void)snprintf(message, sizeof message, "%s", aios_error_message());
    report_end(t, outcomes[outcome], status != AIOS_OK ? message : NULL);
    t->position.elapsed = trainer_elapsed(t);
    t->run_began = 0;
    report_metrics(t, 1);
    if (status != AIOS_OK) (void)aios_error_restore(&record);
}

aios_status worker_run(aios_trainer *t)
{
    int stopped = 0;
    begin(t);
    aios_status status = t->replicas.independent ? independent_run(t, &stopped) : run_steps(t, &stopped);
    end(t, status, stopped);
    if (status != AIOS_OK || !stopped) return status;
    atomic_store(&t->stop, 0);
    return FAIL(AIOS_STOPPED, "stopped after step %lld of %lld, as asked; the state is saved in %s", (long long)t->position.step,
                (long long)t->settings.steps, t->folder.checkpoints);
}
