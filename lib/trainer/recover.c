#include "recover.h"

#include "carry.h"
#include "checkpoint.h"
#include "exchange.h"
#include "resume.h"

#include <stdio.h>

/* Each that is lost, with its own failure: the step's may be that of whoever waited for it. */
static void report_lost(aios_trainer *t, int left)
{
    for (int i = 0; i < t->replicas.count; i++) {
        const struct replica *r = &t->replicas.list[i];
        if (!r->lost) continue;
        (void)aios_error_restore(&r->error);
        report_drop(t, aios_device_spec(r->device), aios_error_message(), left);
    }
}

/* Those that were left out while the others shared the model anew. */
static void report_refused(aios_trainer *t, int before)
{
    const struct replicas *all = &t->replicas;
    for (int i = before; i < all->refused_count; i++) report_drop(t, all->refused[i].device, all->refused[i].message, all->ranks);
}

static void report_shares(aios_trainer *t, int64_t samples_before)
{
    int64_t samples = t->replicas.step_samples;
    report_balance(t);
    if (samples != samples_before)
        report_warning(t, "a step has %lld samples from now on, before it had %lld (keep-global-batch is off)", (long long)samples,
                       (long long)samples_before);
}

/* The state of the newest checkpoint, or of the beginning, in the first replica. */
static aios_status rewind_run(aios_trainer *t)
{
    struct fields f;
    int64_t from = t->position.step;
    carry_image_free(t->context, &t->replicas.carried); /* the checkpoint's is next */
    aios_status status = t->folder.follows ? AIOS_OK : resume_rewind(t);
    TRY_QUIET(processes_agree(&t->processes, status));
    TRY_QUIET(resume_stand(t, 0));
    t->replicas.root = 0; /* not who was ahead */
    TRY_QUIET(run_folder_open_log(&t->folder, t->position.step));
    report_carry(t);
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_int(&f, "from_step", from);
    report_event(t, "rewind", &f);
    report_warning(t, "the devices that are left have not all of the state: the run goes on from step %lld, not %lld",
                   (long long)t->position.step, (long long)from);
    return AIOS_OK;
}

/* A process may have made the step that another had not: the others follow it. */
static aios_status catch_up(aios_trainer *t)
{
    int64_t steps[REPLICAS_MOST];
    int root = 0, count = processes_count(&t->processes);
    TRY_QUIET(processes_gather(&t->processes, &t->position.step, sizeof *steps, steps));
    for (int i = 1; i < count; i++)
        if (steps[i] > steps[root]) root = i;
    t->replicas.root = 0;
    for (int i = 0; i < root; i++) t->replicas.root += t->replicas.sizes[i];
    return resume_stand(t, root);
}

/* Process 0 writes; it may be another one than before. */
static aios_status keep_writing(aios_trainer *t)
{
    if (!t->folder.follows || processes_index(&t->processes) > 0) return AIOS_OK;
    TRY_QUIET(run_folder_take_over(&t->folder));
    return run_folder_open_log(&t->folder, t->position.step);
}

static aios_status move_evaluator(aios_trainer *t)
{
    if (!batches_eval_count(&t->batches) || parameters_weight_is_sharded(leader(t)->parameters)) return AIOS_OK;
    TRY_QUIET(aios_device_set_current(leader(t)->device));
    return evaluator_open(&t->evaluator, &t->batches, t->model, leader(t)->parameters, leader(t)->batch, t->sequence);
}

static aios_status go_on(aios_trainer *t)
{
    struct replicas *all = &t->replicas;
    int64_t samples = all->step_samples;
    int ranks = all->ranks, refused = all->refused_count;
    evaluator_close(&t->evaluator); /* its plan may be on a device that goes */
    t->evaluator = (struct evaluator){.context = NULL};
    TRY_QUIET(checkpoint_keep_contributions(t));
    aios_status status = replicas_drop_lost(all);
    report_refused(t, refused);
    TRY_QUIET(status);
    TRY_QUIET(catch_up(t));
    TRY_QUIET(keep_writing(t));
    if (!exchange_is_whole(all)) TRY_QUIET(rewind_run(t));
    if (t->processes.world) report_reform(t, ranks); /* a rewind of the log would take it away */
    TRY_QUIET(replicas_spread(all));                 /* the loss may have come between two replicas' ends of the step */
    TRY_QUIET(move_evaluator(t));
    report_shares(t, samples);
    report_run(t);
    return AIOS_OK;
}

/* Is it something that others can do without the one that has it?  In one process health says so; another process only tells. */
static int is_loss(const aios_trainer *t, aios_status status, int lost)
{
    if (lost && !t->processes.lost) return 1;
    return t->processes.world && !t->processes.lost &&
           (status == AIOS_DEVICE_LOST || status == AIOS_DEVICE_ERROR || status == AIOS_TIMEOUT || status == AIOS_WRONG_STATE);
}

aios_status recover(aios_trainer *t, aios_status status)
{
    aios_error_record record;
    struct replicas *all = &t->replicas;
    aios_error_save(&record);
    for (;;) {
        int lost = replicas_find_lost(all);
        if (lost) report_lost(t, all->ranks - lost);
        if (!is_loss(t, status, lost) || lost == all->count || t->settings.strict || all->independent) break;
        replicas_break(all, status, &record); /* other processes may wait for what this one will not do */
        status = go_on(t);
        if (status == AIOS_OK) return AIOS_OK;
        aios_error_save(&record); /* another one may have been lost on the way */
    }
    (void)aios_error_restore(&record);
    processes_break(&t->processes, status);
    return aios_error_restore(&record);
}
