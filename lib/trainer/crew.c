#include "crew.h"

#include "merge_tables.h"

#include <stdio.h>
#include <string.h>

#define LOOK_SECONDS 0.25 /* between looks at who is still there */

aios_status crew_create(aios_trainer *t, struct crew *crew)
{
    *crew = (struct crew){.t = t, .count = t->replicas.count, .began = os_now()};
    os_mutex_init(&crew->mutex);
    os_condition_init(&crew->changed);
    size_t count = (size_t)crew->count, values = leader(t)->parameters->padded;
    crew->list = aios_memory_array(t->context, count, sizeof *crew->list);
    crew->merge_order = aios_memory_array(t->context, count, sizeof *crew->merge_order);
    crew->parts = aios_memory_array(t->context, count, sizeof *crew->parts);
    crew->shares = aios_memory_array(t->context, count, sizeof *crew->shares);
    if (t->settings.merge == MERGE_NESTEROV) crew->anchor = aios_memory_array(t->context, values, sizeof *crew->anchor);
    if (!crew->list || !crew->merge_order || !crew->parts || !crew->shares || (t->settings.merge == MERGE_NESTEROV && !crew->anchor))
        return AIOS_OUT_OF_MEMORY;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        *w = (struct worker){.crew = crew, .replica = &t->replicas.list[i], .index = i, .live = 1, .ended = 1, .seen = os_now()};
        w->loss_scale = t->loss_scale;
        (void)snprintf(w->owner, sizeof w->owner, "%s", aios_device_spec(w->replica->device));
        w->staged = aios_memory_array(t->context, values, sizeof *w->staged);
        if (!w->staged) return AIOS_OUT_OF_MEMORY;
    }
    TRY_QUIET(merge_tables_open(crew));
    return crew->anchor ? replica_read(leader(t), 0, crew->anchor) : AIOS_OK;
}

void crew_destroy(struct crew *crew)
{
    aios_context *context = crew->t->context;
    merge_tables_close(crew);
    for (int i = 0; crew->list && i < crew->count; i++) aios_memory_free(context, crew->list[i].staged);
    aios_memory_free(context, crew->list);
    aios_memory_free(context, crew->merge_order);
    aios_memory_free(context, crew->parts);
    aios_memory_free(context, crew->shares);
    aios_memory_free(context, crew->anchor);
    os_condition_destroy(&crew->changed);
    os_mutex_destroy(&crew->mutex);
}

int crew_live(const struct crew *crew)
{
    int live = 0;
    for (int i = 0; i < crew->count; i++) live += crew->list[i].live;
    return live;
}

int crew_alive(struct worker *w)
{
    crew_lock(w->crew);
    int alive = w->live && !w->crew->over;
    w->seen = os_now();
    crew_unlock(w->crew);
    return alive;
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

void crew_fail(struct crew *crew)
{
    crew_lock(crew);
    if (!crew->failed) aios_error_save(&crew->failure);
    crew->failed = crew->over = 1;
    os_condition_broadcast(&crew->changed);
    crew_unlock(crew);
}

void crew_take_back(struct worker *w)
{
    struct crew *crew = w->crew;
    struct position *p = &crew->t->position;
    crew->begun -= w->fresh_steps + w->in_step;
    p->step -= w->fresh_steps;
    p->tokens -= w->fresh_tokens;
    w->steps -= w->fresh_steps;
    w->tokens -= w->fresh_tokens;
    w->fresh_steps = w->fresh_tokens = w->in_step = 0;
    w->has_claim = w->finished = 0;
    crew->returned = 1;
}

void crew_drop(struct worker *w)
{
    struct crew *crew = w->crew;
    aios_error_record record;
    aios_error_save(&record);
    crew_lock(crew);
    int first = w->live && !crew->over;
    if (first) {
        char message[512];
        (void)snprintf(message, sizeof message, "%s", aios_error_message());
        w->live = 0;
        w->returns = w->gave; /* what was merged stays */
        if (!w->gave) crew_take_back(w);
        report_drop(crew->t, w->owner, message, crew_live(crew));
    }
    int now = first && !w->returns, last = crew_live(crew) == 0;
    os_condition_broadcast(&crew->changed);
    crew_unlock(crew);
    if (now && aios_chunk_tracker_abandon(crew->t->tracker, w->owner) != AIOS_OK) crew_fail(crew);
    (void)aios_error_restore(&record);
    if (first && (last || crew->t->settings.strict)) crew_fail(crew);
}

/* ---- together ---------------------------------------------------------------------------------------------------- */

static int all_at(const struct crew *crew, int64_t barrier)
{
    for (int i = 0; i < crew->count; i++)
        if (crew->list[i].live && crew->list[i].barrier < barrier) return 0;
    return 1;
}

aios_status crew_barrier(struct worker *w)
{
    struct crew *crew = w->crew;
    crew_lock(crew);
    int64_t barrier = ++w->barrier;
    w->waiting = 1;
    os_condition_broadcast(&crew->changed);
    while (w->live && !crew->over && !all_at(crew, barrier)) (void)os_condition_wait_for(&crew->changed, &crew->mutex, LOOK_SECONDS);
    int go_on = w->live && !crew->over;
    w->waiting = 0;
    w->seen = os_now();
    crew_unlock(crew);
    return go_on ? AIOS_OK : AIOS_STOPPED;
}

static int is_first(const struct worker *w)
{
    for (int i = 0; i < w->index; i++)
        if (w->crew->list[i].live) return 0;
    return w->live;
}

aios_status crew_once(struct worker *w, aios_status (*run)(struct worker *w))
{
    struct crew *crew = w->crew;
    aios_status status = AIOS_OK;
    crew_lock(crew);
    int64_t own = ++w->onces;
    w->waiting = 1;
    while (w->live && !crew->over && crew->onces < own) {
        if (!is_first(w)) {
            (void)os_condition_wait_for(&crew->changed, &crew->mutex, LOOK_SECONDS);
            continue;
        }
        crew_unlock(crew);
        status = run(w);
        if (status != AIOS_OK && status != AIOS_STOPPED && aios_device_health(w->replica->device) == AIOS_OK &&
            status != AIOS_DEVICE_ERROR && status != AIOS_DEVICE_LOST && status != AIOS_DEVICE_OUT_OF_MEMORY) {
            crew_fail(crew);
            status = AIOS_STOPPED;
        }
        crew_lock(crew);
        if (status != AIOS_OK) break;
        crew->onces = own;
        os_condition_broadcast(&crew->changed);
    }
    if (status == AIOS_OK && (!w->live || crew->over)) status = AIOS_STOPPED;
    w->waiting = 0;
    w->seen = os_now();
    crew_unlock(crew);
    return status;
}
