#include "independent.h"

#include "checkpoint.h"
#include "crew.h"
#include "worker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CHUNKS_EACH    8    /* that the devices should have of a small dataset */
#define BEAT_SECONDS   10.0 /* between renewals of a lease, which is 60 */
#define WATCH_SECONDS  0.2  /* between looks of the watching thread */
#define ORPHAN_SECONDS 5.0  /* that a thread which hangs has to come back at the end */

/* ---- the tracker ------------------------------------------------------------------------------------------------- */

static uint64_t chunk_samples(const aios_trainer *t)
{
    int64_t wanted = t->settings.chunk_samples, step = t->replicas.step_samples;
    if (wanted) return (uint64_t)wanted;
    int64_t each = batches_train_count(&t->batches) / (CHUNKS_EACH * t->replicas.count);
    each = each / step * step; /* whole steps */
    if (each < step) each = step;
    return (uint64_t)(each < AIOS_CHUNK_SAMPLES ? each : AIOS_CHUNK_SAMPLES);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* What another strategy trained before: the first next_sample samples of the running order. */
static aios_status adopt(aios_trainer *t, uint64_t next_sample)
{
    aios_chunk_claim_options options = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    uint64_t total = (uint64_t)batches_train_count(&t->batches), number;
    options.owner = "adopted";
    for (;;) {
        aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
        TRY_QUIET(aios_chunk_tracker_claim(t->tracker, &options, &claim));
        if (claim.outcome != AIOS_CHUNK_CLAIMED) break;
        uint64_t first = claim.epoch * total + claim.first, end = claim.epoch * total + claim.end;
        if (end <= next_sample) {
            TRY_QUIET(aios_chunk_tracker_complete(t->tracker, claim.token, 0, (uint64_t)t->position.step));
            continue;
        }
        TRY_QUIET(aios_chunk_tracker_release(t->tracker, claim.token, first < next_sample ? next_sample - first : 0, 0,
                                             (uint64_t)t->position.step));
        break;
    }
    TRY_QUIET(aios_chunk_tracker_seal(t->tracker, &number));
    return aios_chunk_tracker_commit(t->tracker, number);
}

aios_status independent_open(aios_trainer *t, uint64_t sealed, int64_t next_sample)
{
    const struct settings *s = &t->settings;
    aios_chunk_tracker_options options = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    options.folder = t->folder.path;
    options.brain_id = base_name(t->folder.path);
    options.dataset_name = base_name(s->puzzles ? s->data_path : s->dataset_file);
    options.dataset_identity = batches_order_identity(&t->batches);
    options.block_samples = (uint64_t)s->block_samples;
    options.chunk_samples = chunk_samples(t);
    if (options.chunk_samples > options.block_samples) options.chunk_samples = options.block_samples;
    options.total_samples = (uint64_t)batches_train_count(&t->batches);
    TRY_QUIET(aios_chunk_tracker_open(t->context, &options, &t->tracker));
    TRY_QUIET(aios_chunk_tracker_resume(t->tracker, sealed));
    if (sealed == 0 && next_sample > 0) TRY(adopt(t, (uint64_t)next_sample), "taking over what was trained before");
    TRY_QUIET(aios_chunk_tracker_get_info(t->tracker, &info));
    t->first_epoch = info.current_epoch;
    return AIOS_OK;
}

void independent_close(aios_trainer *t)
{
    aios_chunk_tracker_close(t->tracker);
    aios_memory_free(t->context, t->velocity);
    t->tracker = NULL;
    t->velocity = NULL;
}

/* ---- claims ------------------------------------------------------------------------------------------------------ */

/* The tracker's verdict on a claim: what was lost is told at the next meeting. */
static aios_status judge_claim(struct worker *w, aios_status status)
{
    struct crew *crew = w->crew;
    if (status == AIOS_OK) return AIOS_OK;
    if (status != AIOS_WRONG_STATE) {
        crew_fail(crew);
        return AIOS_STOPPED;
    }
    crew_lock(crew);
    w->stale = 1;
    w->has_claim = 0;
    crew->meet_now = 1;
    crew_unlock(crew);
    return AIOS_OK;
}

static aios_status claim_chunk(struct worker *w, int *meet)
{
    struct crew *crew = w->crew;
    const struct settings *s = &crew->t->settings;
    aios_chunk_claim_options options = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
    options.gpu_id = w->index;
    options.owner = options.device = w->owner;
    options.start_block = (uint64_t)s->start_block;
    options.start_chunk = (uint64_t)s->start_chunk;
    options.last_epoch = crew->last_epoch;
    if (aios_chunk_tracker_claim(crew->t->tracker, &options, &claim) != AIOS_OK) {
        crew_fail(crew);
        return AIOS_STOPPED;
    }
    crew_lock(crew);
    w->finished = claim.outcome == AIOS_CHUNK_FINISHED;
    w->has_claim = w->live && claim.outcome == AIOS_CHUNK_CLAIMED;
    w->claim = claim;
    w->done = w->claim_steps = 0;
    if (claim.outcome == AIOS_CHUNK_CLAIMED) /* what the next claim, whoever's, will most likely be */
        batches_prefetch(&crew->t->batches, claim.epoch, claim.end, chunk_samples(crew->t));
    if (claim.outcome == AIOS_CHUNK_WAIT) {
        w->waiting = 1;
        (void)os_condition_wait_for(&crew->changed, &crew->mutex, claim.wait_seconds < 0.5 ? claim.wait_seconds : 0.5);
        w->waiting = 0;
        for (int i = 0; i < crew->count; i++) *meet |= crew->list[i].live && crew->list[i].barrier > w->barrier;
    }
    *meet |= w->finished;
    crew_unlock(crew);
    return AIOS_OK;
}

static void report_chunk(struct worker *w)
{
    aios_trainer *t = w->crew->t;
    struct fields f;
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_text(&f, "device", w->owner);
    fields_int(&f, "gpu_id", w->index);
    fields_int(&f, "epoch", (int64_t)w->claim.epoch);
    fields_int(&f, "block_id", (int64_t)w->claim.block);
    fields_int(&f, "chunk_id", (int64_t)w->claim.chunk);
    fields_int(&f, "samples", (int64_t)w->done);
    fields_int(&f, "steps", (int64_t)w->claim_steps);
    report_event(t, "chunk_complete", &f);
}

/* The tracker learns of a step, which was the run's number `step`. */
static aios_status tell_tracker(struct worker *w, uint64_t step)
{
    struct crew *crew = w->crew;
    aios_trainer *t = crew->t;
    uint64_t size = w->claim.end - w->claim.first;
    if (w->done < size) return judge_claim(w, aios_chunk_tracker_progress(t->tracker, w->claim.token, w->done, w->claim_steps, step));
    TRY_QUIET(judge_claim(w, aios_chunk_tracker_complete(t->tracker, w->claim.token, w->claim_steps, step)));
    crew_lock(crew);
    if (w->has_claim && !w->stale) {
        report_chunk(w);
        w->chunks++;
        if (t->settings.merge_chunks && ++crew->chunks >= t->settings.merge_chunks) crew->meet_now = 1;
    }
    w->has_claim = 0;
    crew_unlock(crew);
    return AIOS_OK;
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

enum next { NEXT_OVER, NEXT_MEET, NEXT_CLAIM, NEXT_STEP };

static enum next choose_next(struct worker *w, int64_t *step)
{
    struct crew *crew = w->crew;
    int stop = atomic_load(&crew->t->stop);
    enum next next = NEXT_STEP;
    crew_lock(crew);
    w->seen = os_now();
    if (!w->live || crew->over)
        next = NEXT_OVER;
    else if (w->stale || stop == AIOS_STOP_IMMEDIATE || crew->time_up || crew->meet_now || crew->begun >= crew->meet_at)
        next = NEXT_MEET;
    else if (!w->has_claim)
        next = stop ? NEXT_MEET : NEXT_CLAIM;
    else {
        *step = crew->begun++;
        w->in_step = 1;
    }
    crew_unlock(crew);
    return next;
}

static int leave_off(void *user)
{
    struct worker *w = user;
    return !crew_alive(w) || atomic_load(&w->crew->t->stop) == AIOS_STOP_IMMEDIATE;
}

/* Under the mutex.  Steps without a finite gradient come to an end, except while a loss scale above 1 explains them. */
static aios_status judge_worker(struct worker *w, const aios_step_result *result)
{
    aios_trainer *t = w->crew->t;
    int explained = t->settings.precision == AIOS_PRECISION_16_MIXED && w->loss_scale > 1;
    w->loss_scale = t->loss_scale = result->loss_scale;
    t->skipped = result->skipped;
    t->grad_norm = result->norm;
    w->bad_steps = result->finite ? 0 : w->bad_steps + !explained;
    if (result->finite || explained) return AIOS_OK;
    if (w->bad_steps == 1)
        report_warning(t,
                       "step %lld on %s has no finite gradient (loss %g, lr %g): it is skipped; after %lld in a row the device is dropped",
                       (long long)t->position.step, w->owner, t->position.loss, t->rate, (long long)t->settings.max_nan_steps);
    if (w->bad_steps < t->settings.max_nan_steps) return AIOS_OK;
    return FAIL(AIOS_NOT_FINITE,
                "%s: %lld steps in a row had no finite gradient, the last with loss %g and lr %g: go on from an earlier "
                "checkpoint with a lower lr or a longer lr-warmup-steps",
                w->owner, (long long)w->bad_steps, t->position.loss, t->rate);
}

static void count_step(struct worker *w, int64_t samples, double rate, const struct step_outcome *outcome)
{
    aios_trainer *t = w->crew->t;
    struct position *p = &t->position;
    p->step++;
    p->tokens += outcome->weight;
    p->loss = outcome->loss;
    if (outcome->solved.sequences > 0) t->solved = outcome->solved;
    t->rate = rate;
    t->busy = os_now() - t->run_began;
    w->done += (uint64_t)samples;
    w->claim_steps++;
    w->fresh_steps++;
    w->fresh_tokens += outcome->weight;
    w->steps++;
    w->tokens += outcome->weight;
    w->samples += samples;
}

static aios_status train_step(struct worker *w, int64_t step)
{
    struct crew *crew = w->crew;
    aios_trainer *t = crew->t;
    int64_t epoch_first = (int64_t)w->claim.epoch * batches_train_count(&t->batches), most = t->replicas.step_samples;
    int64_t left = (int64_t)(w->claim.end - w->claim.first - w->done), samples = left < most ? left : most;
    int64_t next = left - samples < most ? left - samples : most, first = epoch_first + (int64_t)(w->claim.first + w->done);
    double began = os_now(), rate = schedule_rate(&t->schedule, step);
    int logged = t->settings.puzzles && (step + 1) % t->settings.log_interval == 0;
    struct step_job job = {step + 1, first, first + samples, logged, rate, 0, leave_off, w};
    struct step_outcome outcome;
    TRY(replica_step_alone(w->replica, &job, samples, next, &outcome), "step %lld on %s", (long long)step + 1, w->owner);
    crew_lock(crew);
    int go_on = w->live && !crew->over;
    w->working += os_now() - began;
    if (!go_on || outcome.abandoned) {
        if (w->in_step) crew->begun--;
        w->in_step = 0;
        crew_unlock(crew);
        return go_on ? AIOS_OK : AIOS_STOPPED;
    }
    w->in_step = 0;
    count_step(w, samples, rate, &outcome);
    aios_status verdict = judge_worker(w, &outcome.result);
    if (t->position.step % t->settings.log_interval == 0 || t->position.step == t->settings.steps || verdict != AIOS_OK) {
        struct step_place place = {w->owner, w->index, (int64_t)w->claim.epoch, (int64_t)w->claim.block, (int64_t)w->claim.chunk,
                                   first,    samples};
        report_step(t, &place);
    }
    report_metrics(t, 0);
    uint64_t number = (uint64_t)t->position.step;
    crew_unlock(crew);
    TRY_QUIET(verdict);
    return tell_tracker(w, number);
}

/* Until it is time to meet. */
static aios_status train(struct worker *w)
{
    int64_t step = 0;
    for (int meet = 0; !meet;) {
        switch (choose_next(w, &step)) {
        case NEXT_OVER: return AIOS_STOPPED;
        case NEXT_MEET: return AIOS_OK;
        case NEXT_CLAIM: TRY_QUIET(claim_chunk(w, &meet)); break;
        case NEXT_STEP: TRY_QUIET(train_step(w, step)); break;
        }
    }
    return AIOS_OK;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct crew *crew = w->crew;
    int end = 0;
    aios_status status = aios_device_set_current(w->replica->device);
    while (status == AIOS_OK && !end) {
        status = train(w);
        if (status == AIOS_OK) status = meeting(w, &end);
    }
    if (status != AIOS_OK && status != AIOS_STOPPED) crew_drop(w);
    crew_lock(crew);
    w->ended = 1;
    os_condition_broadcast(&crew->changed);
    crew_unlock(crew);
    return NULL;
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

static int running(const struct crew *crew, int live_only)
{
    int running = 0;
    for (int i = 0; i < crew->count; i++) running += !crew->list[i].ended && (crew->list[i].live || !live_only);
    return running;
}

/* Renews the leases of those that live; returns one that shows no life, or NULL. */
static struct worker *look_after(struct crew *crew, int beat)
{
    double deadline = crew->t->settings.step_deadline, now = os_now();
    struct worker *hangs = NULL;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        crew_lock(crew);
        int claims = w->live && w->has_claim;
        uint64_t token = w->claim.token;
        if (w->live && !w->ended && !w->waiting && deadline > 0 && now - w->seen > deadline) hangs = w;
        crew_unlock(crew);
        /* One that is refused is the worker's own to notice. */
        if (claims && beat && hangs != w) (void)aios_chunk_tracker_heartbeat(crew->t->tracker, token);
    }
    return hangs;
}

/* The calling thread of the run, until every thread ended, or hangs and was dropped. */
static void watch(struct crew *crew)
{
    aios_trainer *t = crew->t;
    double beat = os_now();
    crew_lock(crew);
    while (running(crew, 1)) {
        (void)os_condition_wait_for(&crew->changed, &crew->mutex, WATCH_SECONDS);
        if (t->settings.max_minutes > 0 && os_now() - t->run_began >= t->settings.max_minutes * 60) crew->time_up = 1;
        crew_unlock(crew);
        (void)worker_poll_stop_files(t);
        int is_beat = os_now() - beat >= BEAT_SECONDS;
        struct worker *hangs = look_after(crew, is_beat);
        if (is_beat) beat = os_now();
        if (hangs) {
            (void)FAIL(AIOS_TIMEOUT, "%s shows no sign of life since %g s (step-deadline)", hangs->owner, t->settings.step_deadline);
            crew_drop(hangs);
        }
        crew_lock(crew);
    }
    for (double until = os_now() + ORPHAN_SECONDS; running(crew, 0) && os_now() < until;)
        (void)os_condition_wait_for(&crew->changed, &crew->mutex, WATCH_SECONDS);
    crew_unlock(crew);
}

/* What each device did, and how near all together came to the sum of what each can do alone. */
static void report_devices(struct crew *crew)
{
    aios_trainer *t = crew->t;
    double wall = crew->ended - crew->began, parts = 0, tokens = 0;
    text_buffer list;
    struct fields f;
    text_init(&list, t->context);
    (void)text_add(&list, "[");
    for (int i = 0; i < crew->count; i++) tokens += (double)crew->list[i].tokens;
    for (int i = 0; i < crew->count; i++) {
        const struct worker *w = &crew->list[i];
        double speed = w->working > 0 ? (double)w->tokens / w->working : 0;
        struct fields one;
        parts += speed;
        fields_begin(&one, t->context);
        fields_text(&one, "device", w->owner);
        fields_bool(&one, "dropped", !w->live);
        fields_int(&one, "steps", w->steps);
        fields_int(&one, "tokens", w->tokens);
        fields_int(&one, "chunks", w->chunks);
        fields_number(&one, "share", tokens > 0 ? (double)w->tokens / tokens : 0);
        fields_number(&one, "tokens_per_second", speed);
        if (fields_end(&one) == AIOS_OK) (void)text_format(&list, "%s%s", i ? ", " : "", one.text.bytes);
        fields_free(&one);
    }
    (void)text_add(&list, "]");
    fields_begin(&f, t->context);
    fields_int(&f, "step", t->position.step);
    fields_json(&f, "devices", list.status == AIOS_OK ? list.bytes : NULL);
    fields_number(&f, "tokens_per_second", wall > 0 ? tokens / wall : 0);
    fields_number(&f, "efficiency", wall > 0 && parts > 0 ? tokens / wall / parts : 0);
    report_event(t, "devices", &f);
    text_free(&list);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void start_workers(struct crew *crew)
{
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        crew_lock(crew);
        w->ended = 0;
        crew_unlock(crew);
        if (os_thread_start(&w->thread, "aios worker", work, w) == AIOS_OK) continue;
        crew_lock(crew);
        w->ended = 1;
        crew_unlock(crew);
        crew_drop(w);
        w->crew = NULL; /* there is no thread to join */
    }
}

/* 1: no thread is left. */
static int join_workers(struct crew *crew)
{
    int all = 1;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        crew_lock(crew);
        int ended = w->ended;
        crew_unlock(crew);
        if (ended && w->crew) os_thread_join(w->thread);
        w->replica->orphan = !ended;
        all &= ended;
    }
    return all;
}

/* What the threads that are left don't use. */
static void leave_orphans(struct crew *crew)
{
    aios_trainer *t = crew->t;
    for (int i = 0; i < crew->count; i++) {
        struct worker *w = &crew->list[i];
        if (w->replica->orphan) continue;
        aios_memory_free(t->context, w->staged);
        w->staged = NULL;
    }
    t->orphans = 1;
    report_warning(t, "a thread hangs in a device's driver: its memory is left to it");
}

aios_status independent_run(aios_trainer *t, int *stopped)
{
    struct crew *crew = aios_new(t->context, struct crew);
    *stopped = 0;
    if (!crew) return AIOS_OUT_OF_MEMORY;
    aios_status status = crew_create(t, crew);
    if (status == AIOS_OK) {
        crew->last_epoch = t->settings.stop_after_epoch ? t->first_epoch : AIOS_CHUNK_EVERY;
        crew->begun = t->position.step;
        crew->meet_at = meeting_due(t, t->position.step);
        start_workers(crew);
        watch(crew);
        crew->ended = os_now();
        *stopped = atomic_load(&t->stop) ? atomic_load(&t->stop) : crew->time_up ? AIOS_STOP_GRACEFUL : 0;
        report_devices(crew);
        if (crew->failed) status = aios_error_restore(&crew->failure);
        if (!join_workers(crew)) {
            leave_orphans(crew);
            return status;
        }
    }
    crew_destroy(crew);
    aios_memory_free(t->context, crew);
    return status;
}
