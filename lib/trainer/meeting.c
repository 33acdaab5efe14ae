/* The workers meet: their weights, moments and optimizer's states become one, then one of them evaluates and saves. */
#include "checkpoint.h"
#include "crew.h"
#include "independent.h"
#include "merge.h"
#include "merge_tables.h"
#include "worker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- who takes part ---------------------------------------------------------------------------------------------- */

static int64_t next_multiple(int64_t interval, int64_t step)
{
    return interval > 0 ? (step / interval + 1) * interval : INT64_MAX;
}

int64_t meeting_due(const aios_trainer *t, int64_t step)
{
    const struct settings *s = &t->settings;
    int64_t due = s->iterate ? INT64_MAX : s->steps;
    const int64_t intervals[] = {s->merge_interval, s->checkpoint_interval, s->eval_interval};
    for (size_t i = 0; i < COUNT_OF(intervals); i++) {
        int64_t next = next_multiple(intervals[i], step);
        due = next < due ? next : due;
    }
    return due;
}

/* Leaves a replica out of the merge: it goes on from the others' weights, and what it trained is trained again. */
static aios_status leave_out(struct worker *w, const char *why)
{
    struct crew *crew = w->crew;
    aios_trainer *t = crew->t;
    report_warning(
        t, "the weights of %s %s: they are left out of the merge, and the %lld steps that it trained since the last one are done again",
        w->owner, why, (long long)w->fresh_steps);
    crew_take_back(w);
    w->stale = 0;
    return aios_chunk_tracker_abandon(t->tracker, w->owner);
}

/* Under the mutex.  The parts of the buffer that is merged, and who adds up which slice of them. */
static void list_parts(struct crew *crew)
{
    double tokens = 0;
    crew->givers = crew->mergers = 0;
    crew->summed = 0;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        if (!w->live) continue;
        crew->merge_order[crew->mergers++] = w;
        if (!w->gave) continue;
        crew->parts[crew->givers] = w->staged;
        crew->shares[crew->givers++] = (double)w->fresh_tokens;
        tokens += (double)w->fresh_tokens;
    }
    for (int i = 0; i < crew->givers; i++) crew->shares[i] = tokens > 0 ? crew->shares[i] / tokens : 1.0 / crew->givers;
    crew->merged = crew->givers ? (float *)(uintptr_t)crew->parts[0] : NULL;
}

/* The weights are in host memory: which of them are merged? */
static aios_status choose_givers(struct worker *caller)
{
    struct crew *crew = caller->crew;
    uint64_t count = caller->replica->parameters->padded;
    int left_out = 0, good = 0, gave = 0;
    crew_lock(crew);
    crew->merge_began = os_now();
    aios_status status = AIOS_OK;
    for (int i = 0; i < crew->count && status == AIOS_OK; i++) {
        struct worker *w = &crew->list[i];
        w->gave = 0;
        if (!w->live) continue;
        int finite = merge_is_finite(w->staged, count);
        w->usable = finite && !w->stale;
        w->gave = w->usable && w->fresh_tokens > 0;
        good += w->usable;
        gave += w->gave;
        left_out += !w->usable;
        if (!w->usable) status = leave_out(w, finite ? "hold samples that were given to another device meanwhile" : "are not finite");
    }
    /* Whoever was left out needs weights, also where the others have none that are new. */
    for (int i = 0; i < crew->count && left_out && !gave; i++) crew->list[i].gave = crew->list[i].live && crew->list[i].usable;
    list_parts(crew);
    crew_unlock(crew);
    if (status == AIOS_OK && !good)
        return FAIL(AIOS_NOT_FINITE, "no device has weights that can be gone on from: go on from the last checkpoint with a lower lr");
    return status;
}

static aios_status choose_parts(struct worker *caller)
{
    crew_lock(caller->crew);
    list_parts(caller->crew);
    crew_unlock(caller->crew);
    return AIOS_OK;
}

/* ---- one buffer -------------------------------------------------------------------------------------------------- */

/* Its slice of the sums. */
static void add_up(struct worker *w, int buffer)
{
    struct crew *crew = w->crew;
    const struct settings *s = &crew->t->settings;
    uint64_t count = w->replica->parameters->padded, slice = 0;
    while (crew->merge_order[slice] != w) slice++;
    uint64_t first = count / (uint64_t)crew->mergers * slice;
    uint64_t end = slice + 1 == (uint64_t)crew->mergers ? count : count / (uint64_t)crew->mergers * (slice + 1);
    merge_mean(crew->merged, crew->parts, crew->shares, crew->givers, first, end);
    if (buffer == 0 && crew->anchor) merge_outer(crew->merged, crew->anchor, crew->t->velocity, s->outer_lr, s->outer_momentum, first, end);
    crew_lock(crew);
    crew->summed++;
    crew_unlock(crew);
}

static aios_status merge_buffer(struct worker *w, int buffer)
{
    struct crew *crew = w->crew;
    if (!replica_buffer(w->replica, buffer)) return AIOS_OK;
    TRY(replica_read(w->replica, buffer, w->staged), "reading the weights of %s to merge them", w->owner);
    TRY_QUIET(crew_barrier(w));
    TRY_QUIET(crew_once(w, buffer == 0 ? choose_givers : choose_parts));
    if (crew->merged) {
        add_up(w, buffer);
        TRY_QUIET(crew_barrier(w));
        if (crew->summed != crew->mergers) return FAIL(AIOS_INTERNAL, "%s: a slice of the merge is missing", w->owner);
        TRY(replica_write(w->replica, buffer, crew->merged), "giving the merged weights to %s", w->owner);
    }
    return crew_barrier(w);
}

/* The counts of steps behind the bias corrections by the weights of the moments; the smallest loss scale. */
static aios_status merge_states(struct worker *w)
{
    struct crew *crew = w->crew;
    float merged[STATE_SIZE];
    TRY_QUIET(aios_optimizer_read_state(w->replica->optimizer, w->state, STATE_SIZE));
    TRY_QUIET(crew_barrier(w));
    memcpy(merged, w->state, sizeof merged);
    for (int k = STATE_CORRECTIONS; k < STATE_SIZE; k++) merged[k] = 0;
    double tokens = 0;
    crew_lock(crew);
    for (int i = 0; i < crew->count; i++) tokens += crew->list[i].live && crew->list[i].gave ? (double)crew->list[i].fresh_tokens : 0;
    for (int i = 0; i < crew->count; i++) {
        const struct worker *other = &crew->list[i];
        if (!other->live) continue;
        if (other->state[STATE_LOSS_SCALE] < merged[STATE_LOSS_SCALE]) merged[STATE_LOSS_SCALE] = other->state[STATE_LOSS_SCALE];
        if (!other->gave) continue;
        for (int k = STATE_CORRECTIONS; k < STATE_SIZE; k++) merged[k] += (float)((double)other->fresh_tokens / tokens) * other->state[k];
    }
    crew_unlock(crew);
    if (merged[STATE_LOSS_SCALE] != w->state[STATE_LOSS_SCALE]) merged[STATE_GOOD_STEPS] = 0;
    w->loss_scale = (double)merged[STATE_LOSS_SCALE];
    if (tokens > 0) TRY_QUIET(aios_optimizer_write_state(w->replica->optimizer, merged, STATE_SIZE));
    return crew_barrier(w);
}

/* ---- afterwards -------------------------------------------------------------------------------------------------- */

static void report_merge(struct crew *crew)
{
    aios_trainer *t = crew->t;
    struct fields f;
    char devices[REPLICAS_MOST * 40] = "[", tokens[REPLICAS_MOST * 24] = "[";
    size_t d = 1, n = 1;
    for (int i = 0; i < crew->count; i++) {
        const struct worker *w = &crew->list[i];
        if (!w->gave) continue;
        d += (size_t)snprintf(devices + d, sizeof devices - d, "%s\"%s\"", d > 1 ? ", " : "", w->owner);
        n += (size_t)snprintf(tokens + n, sizeof tokens - n, "%s%lld", n > 1 ? ", " : "", (long long)w->fresh_tokens);
    }
    (void)snprintf(devices + d, sizeof devices - d, "]");
    (void)snprintf(tokens + n, sizeof tokens - n, "]");
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_json(&f, "devices", devices);
    fields_json(&f, "tokens", tokens);
    fields_number(&f, "seconds", os_now() - crew->merge_began);
    report_event(t, "merge", &f);
}

/* Under the mutex.  Is there anything left to do? */
static int is_over(const struct crew *crew)
{
    const aios_trainer *t = crew->t;
    int stop = atomic_load(&t->stop), finished = 1, claims = 0;
    for (int i = 0; i < crew->count; i++) {
        finished &= !crew->list[i].live || crew->list[i].finished;
        claims += crew->list[i].live && crew->list[i].has_claim;
    }
    if (stop == AIOS_STOP_IMMEDIATE || crew->time_up || (stop && !claims)) return 1;
    if (!t->settings.iterate && t->position.step >= t->settings.steps) return 1;
    return finished && !crew->returned;
}

/* Under the mutex.  What they trained is in every replica now, and their claims, at the end, are others'. */
static aios_status settle(struct crew *crew)
{
    aios_trainer *t = crew->t;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        if (w->live && w->has_claim && crew->end) {
            TRY_QUIET(aios_chunk_tracker_release(t->tracker, w->claim.token, w->done, w->claim_steps, (uint64_t)t->position.step));
            w->has_claim = 0;
        }
        t->replicas.trained[w->index] += w->gave ? w->fresh_tokens : 0;
        w->fresh_steps = w->fresh_tokens = 0;
    }
    TRY_QUIET(aios_chunk_tracker_share(t->tracker));
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        if (w->returns) TRY_QUIET(aios_chunk_tracker_abandon(t->tracker, w->owner));
        w->gave = w->returns = 0;
    }
    return AIOS_OK;
}

static int is_due(int64_t interval, int64_t step)
{
    return interval > 0 && step > 0 && step % interval == 0;
}

/* The caller leads from now on.  The evaluator reads the leader's weights, so a new leader has one of its own. */
static aios_status lead(struct worker *w)
{
    aios_trainer *t = w->crew->t;
    TRY_QUIET(aios_device_set_current(w->replica->device));
    if (t->replicas.leader == w->replica->rank) return AIOS_OK;
    t->replicas.leader = w->replica->rank;
    if (!batches_eval_count(&t->batches)) return AIOS_OK;
    if (!t->retired) t->retired = aios_memory_array(t->context, REPLICAS_MOST, sizeof *t->retired);
    if (!t->retired) return AIOS_OUT_OF_MEMORY;
    if (t->evaluator.context) t->retired[t->retired_count++] = t->evaluator;
    t->evaluator = (struct evaluator){.context = NULL};
    return evaluator_open(&t->evaluator, &t->batches, t->model, leader(t)->parameters, leader(t)->batch, t->sequence);
}

static aios_status conclude(struct worker *w)
{
    struct crew *crew = w->crew;
    aios_trainer *t = crew->t;
    TRY(lead(w), "taking over from a device that was dropped");
    crew_lock(crew);
    int64_t step = t->position.step;
    int merged = 0;
    for (int i = 0; i < crew->count; i++) merged += crew->list[i].gave;
    if (merged) report_merge(crew);
    crew->end = is_over(crew);
    crew->returned = 0;
    aios_status status = settle(crew);
    crew_unlock(crew);
    TRY_QUIET(status);
    t->loss_scale = w->loss_scale;
    if ((crew->end && !atomic_load(&t->stop)) || is_due(t->settings.eval_interval, step)) TRY_QUIET(worker_evaluate(t));
    if ((crew->end || is_due(t->settings.checkpoint_interval, step)) && t->saved_step != step) TRY_QUIET(checkpoint_save(t));
    crew_lock(crew);
    crew->meet_at = meeting_due(t, step);
    crew->begun = step;
    crew->meet_now = 0;
    crew->chunks = 0;
    crew_unlock(crew);
    return AIOS_OK;
}

aios_status meeting(struct worker *w, int *end)
{
    struct crew *crew = w->crew;
    TRY_QUIET(crew_barrier(w));
    for (int buffer = 0; buffer < REPLICA_BUFFERS; buffer++) TRY_QUIET(merge_buffer(w, buffer));
    TRY_QUIET(merge_tables(w));
    TRY_QUIET(merge_states(w));
    TRY_QUIET(crew_once(w, conclude));
    *end = crew->end;
    return crew_barrier(w);
}
