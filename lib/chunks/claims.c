/* Claims: from the lowest free samples to pending ones. */
#include "tracker.h"

#include <string.h>

#define SWEEP_SECONDS 0.5 /* between looks at whether the other processes live: it is read from /proc */
#define WAIT_SECONDS  0.1 /* the longest that a worker is sent away for: others may be done before */

void aios_chunk_claim_options_init(aios_chunk_claim_options *options)
{
    if (options) *options = (aios_chunk_claim_options)AIOS_CHUNK_CLAIM_OPTIONS_INIT;
}

/* ---- claiming ---------------------------------------------------------------------------------------------------- */

/* What a claim asks for, in the tracker's terms. */
struct wish {
    const char *owner, *device;
    int64_t gpu_id, bound, last_epoch;
};

static aios_status check_name(const char *what, const char *name)
{
    size_t length = strlen(name);
    if (length < AIOS_CHUNK_NAME_MAX) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s has %zu bytes: at most %d are allowed", what, length, AIOS_CHUNK_NAME_MAX - 1);
}

static aios_status read_wish(const aios_chunk_tracker *tracker, const aios_chunk_claim_options *given, struct wish *wish)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_chunk_claim_options", &o, sizeof o, given));
    uint64_t chunks = (uint64_t)grid_chunks_per_block(&tracker->grid), blocks = (uint64_t)INT64_MAX / 4 / (uint64_t)tracker->grid.block;
    wish->owner = o.owner ? o.owner : "";
    wish->device = o.device ? o.device : "";
    wish->gpu_id = o.gpu_id;
    TRY_QUIET(check_name("owner", wish->owner));
    TRY_QUIET(check_name("device", wish->device));
    if (o.start_block > blocks)
        return FAIL(AIOS_INVALID_ARGUMENT, "start_block is %llu: at most %llu is counted", (unsigned long long)o.start_block,
                    (unsigned long long)blocks);
    if (o.start_chunk >= chunks)
        return FAIL(AIOS_INVALID_ARGUMENT, "start_chunk is %llu: a block has %llu chunks, counted from 0",
                    (unsigned long long)o.start_chunk, (unsigned long long)chunks);
    wish->bound = (int64_t)o.start_block * tracker->grid.block + (int64_t)o.start_chunk * tracker->grid.chunk;
    wish->last_epoch = o.last_epoch > INT64_MAX ? INT64_MAX : (int64_t)o.last_epoch;
    return AIOS_OK;
}

static aios_status return_expired(database *db, double now)
{
    int64_t claim[4];
    int found;
    for (;;) {
        TRY_QUIET(db_get(db, DB_CLAIM_EXPIRED, DB_VALUES(REAL(now)), claim, 4, &found));
        if (!found) return AIOS_OK;
        TRY_QUIET(ranges_give(db, claim[1], claim[2], claim[3]));
        TRY_QUIET(db_run(db, DB_CLAIM_DROP, DB_VALUES(INT(claim[0]))));
    }
}

/* The lowest free range at or after the bound in the lowest epoch that has one. */
static aios_status find_free(database *db, const chunk_state *s, const struct wish *wish, range *free_range, int *found)
{
    int64_t columns[3];
    TRY_QUIET(db_get(db, DB_FREE_FIRST, DB_VALUES(INT(wish->last_epoch)), columns, 3, found));
    *free_range = (range){columns[0], columns[1], columns[2]};
    if (!*found || (wish->bound <= free_range->last)) return AIOS_OK;
    for (int64_t epoch = columns[0]; epoch < s->epochs && epoch <= wish->last_epoch; epoch++) {
        TRY_QUIET(ranges_find(db, epoch, wish->bound, free_range, found));
        if (*found) return AIOS_OK;
    }
    return AIOS_OK;
}

/* Where nothing is free: the next epoch begins, unless one is ahead already or the total isn't known. */
static aios_status begin_epoch(database *db, chunk_state *s, const struct wish *wish, int *begun)
{
    int64_t claims[2];
    int found;
    *begun = 0;
    if (s->epochs > wish->last_epoch || s->total == 0 || wish->bound >= s->total) return AIOS_OK;
    TRY_QUIET(db_get(db, DB_CLAIM_COUNT, NULL, 0, claims, 2, &found));
    if (claims[0] > 0 && claims[1] < s->epochs - 1) return AIOS_OK;
    *begun = 1;
    return tracker_add_epoch(db, s);
}

static aios_status find(aios_chunk_tracker *tracker, chunk_state *s, const struct wish *wish, range *free_range, int *found)
{
    database *db = &tracker->db;
    double now = os_now();
    int begun, is_fresh = now - tracker->swept > SWEEP_SECONDS;
    TRY_QUIET(return_expired(db, now));
    if (is_fresh) TRY_QUIET(owners_sweep(tracker));
    TRY_QUIET(find_free(db, s, wish, free_range, found));
    if (!*found && !is_fresh) {
        TRY_QUIET(owners_sweep(tracker));
        TRY_QUIET(find_free(db, s, wish, free_range, found));
    }
    if (*found) return AIOS_OK;
    TRY_QUIET(begin_epoch(db, s, wish, &begun));
    return begun ? find_free(db, s, wish, free_range, found) : AIOS_OK;
}

/* Nothing is free: whether something may be again. */
static aios_status tell_wait(database *db, const struct wish *wish, aios_chunk_claim *claim)
{
    int found;
    claim->outcome = AIOS_CHUNK_FINISHED;
    TRY_QUIET(db_start(db, DB_CLAIM_EARLIEST, DB_VALUES(INT(wish->last_epoch), INT(wish->bound))));
    TRY_QUIET(db_next(db, DB_CLAIM_EARLIEST, &found));
    if (found && sqlite3_column_type(db->statements[DB_CLAIM_EARLIEST], 0) != SQLITE_NULL) {
        double left = db_real(db, DB_CLAIM_EARLIEST, 0) - os_now();
        claim->outcome = AIOS_CHUNK_WAIT;
        claim->wait_seconds = left < 0.01 ? 0.01 : left > WAIT_SECONDS ? WAIT_SECONDS : left;
    }
    db_stop(db, DB_CLAIM_EARLIEST);
    return AIOS_OK;
}

static aios_status claim_in(aios_chunk_tracker *tracker, chunk_state *s, const struct wish *wish, aios_chunk_claim *claim)
{
    database *db = &tracker->db;
    int64_t owner, device;
    range from;
    int found;
    if (s->needs_resume)
        return FAIL(
            AIOS_WRONG_STATE,
            "%s: an earlier run sealed checkpoint %lld and did not commit it: call aios_chunk_tracker_resume with the checkpoint that "
            "training goes on from",
            db->path, (long long)s->sealed);
    TRY_QUIET(find(tracker, s, wish, &from, &found));
    if (!found) return tell_wait(db, wish, claim);
    int64_t first = from.first > wish->bound ? from.first : wish->bound, end = grid_chunk_end(&tracker->grid, first);
    if (end > from.last) end = from.last + 1;
    TRY_QUIET(owners_find(db, tracker->session, wish->owner, 1, &owner));
    TRY_QUIET(owners_find_device(db, wish->gpu_id, wish->device, &device));
    TRY_QUIET(ranges_take(db, &from, first, end));
    TRY_QUIET(db_run(db, DB_STATE_SET_TOKEN, DB_VALUES(INT(s->token + 1))));
    TRY_QUIET(db_run(db, DB_CLAIM_ADD,
                     DB_VALUES(INT(s->token + 1), INT(from.epoch), INT(first), INT(end), INT(owner), INT(device),
                               REAL(os_now() + tracker->lease), REAL(tracker->lease), REAL(os_wall_time()))));
    *claim = (aios_chunk_claim){.struct_size = sizeof *claim,
                                .outcome = AIOS_CHUNK_CLAIMED,
                                .token = (uint64_t)s->token + 1,
                                .epoch = (uint64_t)from.epoch,
                                .block = (uint64_t)(first / tracker->grid.block),
                                .chunk = (uint64_t)(first % tracker->grid.block / tracker->grid.chunk),
                                .offset = (uint64_t)(first % tracker->grid.block % tracker->grid.chunk),
                                .first = (uint64_t)first,
                                .end = (uint64_t)end};
    return AIOS_OK;
}

aios_status aios_chunk_tracker_claim(aios_chunk_tracker *tracker, const aios_chunk_claim_options *options, aios_chunk_claim *claim)
{
    aios_chunk_claim made = AIOS_CHUNK_CLAIM_INIT;
    chunk_state state;
    struct wish wish;
    if (!tracker || !claim) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_claim: tracker and claim must not be NULL");
    TRY_QUIET(aios_struct_write("aios_chunk_claim", claim, &made, sizeof made));
    TRY_QUIET(read_wish(tracker, options, &wish));
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    TRY_QUIET(tracker_leave(tracker, claim_in(tracker, &state, &wish, &made)));
    return aios_struct_write("aios_chunk_claim", claim, &made, sizeof made);
}

/* ---- on a claim -------------------------------------------------------------------------------------------------- */

struct claim_row {
    int64_t token, epoch, begun, first, at, end, steps, split_steps, optimizer_step, owner, device;
};

static aios_status get_claim(database *db, uint64_t token, struct claim_row *row)
{
    int64_t c[10];
    int found = 0;
    if (token <= INT64_MAX) TRY_QUIET(db_get(db, DB_CLAIM_GET, DB_VALUES(INT(token)), c, 10, &found));
    if (!found)
        return FAIL(AIOS_WRONG_STATE,
                    "claim %llu is no more: it was completed or released, its lease passed and its samples were given out again, or it was "
                    "ended by resume, abandon or close",
                    (unsigned long long)token);
    *row = (struct claim_row){(int64_t)token, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]};
    return AIOS_OK;
}

/* Takes what the worker reports into the row. */
static aios_status report(struct claim_row *row, uint64_t samples, uint64_t steps, uint64_t optimizer_step)
{
    uint64_t most = (uint64_t)(row->end - row->begun);
    if (samples > most)
        return FAIL(AIOS_OUT_OF_RANGE, "samples is %llu: claim %lld has %llu", (unsigned long long)samples, (long long)row->token,
                    (unsigned long long)most);
    if (row->begun + (int64_t)samples < row->at)
        return FAIL(AIOS_OUT_OF_RANGE, "samples is %llu: %lld of claim %lld were reported before", (unsigned long long)samples,
                    (long long)(row->at - row->begun), (long long)row->token);
    if (steps > INT64_MAX || optimizer_step > INT64_MAX)
        return FAIL(AIOS_OUT_OF_RANGE, "steps and optimizer_step are %llu and %llu: at most 2^63 - 1 is counted", (unsigned long long)steps,
                    (unsigned long long)optimizer_step);
    row->at = row->begun + (int64_t)samples;
    row->steps = (int64_t)steps < row->split_steps ? row->split_steps : (int64_t)steps;
    row->optimizer_step = (int64_t)optimizer_step;
    return AIOS_OK;
}

/* Ends a claim: what is before `at` is pending, what is behind it free. */
static aios_status end_claim(database *db, const struct claim_row *row)
{
    if (row->at > row->first)
        TRY_QUIET(db_run(db, DB_PENDING_ADD,
                         DB_VALUES(INT(row->epoch), INT(row->first), INT(row->at - row->first), INT(row->device), INT(row->optimizer_step),
                                   INT(row->steps - row->split_steps), INT(row->owner))));
    TRY_QUIET(ranges_give(db, row->epoch, row->at, row->end));
    return db_run(db, DB_CLAIM_DROP, DB_VALUES(INT(row->token)));
}

aios_status aios_chunk_tracker_heartbeat(aios_chunk_tracker *tracker, uint64_t token)
{
    chunk_state state;
    struct claim_row row;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_heartbeat: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = get_claim(&tracker->db, token, &row);
    if (status == AIOS_OK) status = db_run(&tracker->db, DB_CLAIM_RENEW, DB_VALUES(INT(token), REAL(os_now())));
    return tracker_leave(tracker, status);
}

aios_status aios_chunk_tracker_progress(aios_chunk_tracker *tracker, uint64_t token, uint64_t samples, uint64_t steps,
                                        uint64_t optimizer_step)
{
    chunk_state state;
    struct claim_row row;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_progress: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = get_claim(&tracker->db, token, &row);
    if (status == AIOS_OK) status = report(&row, samples, steps, optimizer_step);
    if (status == AIOS_OK)
        status = db_run(&tracker->db, DB_CLAIM_PROGRESS,
                        DB_VALUES(INT(token), REAL(os_now()), INT(row.at), INT(row.steps), INT(row.optimizer_step)));
    return tracker_leave(tracker, status);
}

aios_status aios_chunk_tracker_complete(aios_chunk_tracker *tracker, uint64_t token, uint64_t steps, uint64_t optimizer_step)
{
    chunk_state state;
    struct claim_row row;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_complete: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = get_claim(&tracker->db, token, &row);
    if (status == AIOS_OK) status = report(&row, (uint64_t)(row.end - row.begun), steps, optimizer_step);
    if (status == AIOS_OK) status = end_claim(&tracker->db, &row);
    return tracker_leave(tracker, status);
}

aios_status aios_chunk_tracker_release(aios_chunk_tracker *tracker, uint64_t token, uint64_t samples, uint64_t steps,
                                       uint64_t optimizer_step)
{
    chunk_state state;
    struct claim_row row;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_release: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = get_claim(&tracker->db, token, &row);
    if (status == AIOS_OK) status = report(&row, samples, steps, optimizer_step);
    if (status == AIOS_OK) status = end_claim(&tracker->db, &row);
    return tracker_leave(tracker, status);
}

aios_status aios_chunk_tracker_abandon(aios_chunk_tracker *tracker, const char *owner)
{
    chunk_state state;
    int64_t id;
    if (!tracker || !owner) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_abandon: tracker and owner must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = owners_find(&tracker->db, tracker->session, owner, 0, &id);
    if (status == AIOS_OK && id) status = owners_lose(&tracker->db, id);
    return tracker_leave(tracker, status);
}
