/* Pending samples and the checkpoints that hold them. */
#include "schema.h"
#include "tracker.h"

/* ---- sharing and sealing ----------------------------------------------------------------------------------------- */

/* What live claims have reported becomes pending; the claims go on behind it.  Dead processes lose theirs before. */
static aios_status gather(aios_chunk_tracker *tracker)
{
    database *db = &tracker->db;
    int64_t c[8];
    int found;
    TRY_QUIET(owners_sweep(tracker));
    for (;;) {
        TRY_QUIET(db_get(db, DB_CLAIM_REPORTED, NULL, 0, c, 8, &found));
        if (!found) return AIOS_OK;
        TRY_QUIET(
            db_run(db, DB_PENDING_ADD, DB_VALUES(INT(c[1]), INT(c[2]), INT(c[3] - c[2]), INT(c[7]), INT(c[5]), INT(c[4]), INT(c[6]))));
        TRY_QUIET(db_run(db, DB_CLAIM_SPLIT, DB_VALUES(INT(c[0]))));
    }
}

aios_status aios_chunk_tracker_share(aios_chunk_tracker *tracker)
{
    chunk_state state;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_share: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
    aios_status status = gather(tracker);
    if (status == AIOS_OK) status = db_run(&tracker->db, DB_PENDING_SHARE, NULL, 0);
    return tracker_leave(tracker, status);
}

aios_status aios_chunk_tracker_seal(aios_chunk_tracker *tracker, uint64_t *checkpoint)
{
    chunk_state state;
    if (!tracker || !checkpoint) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_seal: tracker and checkpoint must not be NULL");
    *checkpoint = 0;
    TRY_QUIET(tracker_enter(tracker, TRACKER_SYNCS, &state));
    aios_status status = gather(tracker);
    if (status == AIOS_OK) status = db_run(&tracker->db, DB_PENDING_SEAL, DB_VALUES(INT(state.sealed + 1)));
    if (status == AIOS_OK) status = db_run(&tracker->db, DB_STATE_SET_SEALED, DB_VALUES(INT(state.sealed + 1)));
    TRY_QUIET(tracker_leave(tracker, status));
    *checkpoint = (uint64_t)state.sealed + 1;
    return AIOS_OK;
}

/* ---- committing -------------------------------------------------------------------------------------------------- */

aios_status checkpoints_commit(database *db, int64_t checkpoint)
{
    TRY_QUIET(db_run(db, DB_COMMIT_SHARES, DB_VALUES(INT(checkpoint))));
    TRY_QUIET(db_run(db, DB_COMMIT_DONE, DB_VALUES(INT(checkpoint))));
    return db_run(db, DB_COMMIT_PENDING, DB_VALUES(INT(checkpoint)));
}

/* Whether a number was sealed and can still be gone on from. */
static aios_status check_number(database *db, const chunk_state *s, uint64_t checkpoint)
{
    int64_t numbers[2];
    int found;
    if (checkpoint > (uint64_t)s->sealed)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s: checkpoint %llu was never sealed here: the last was %lld", db->path,
                    (unsigned long long)checkpoint, (long long)s->sealed);
    TRY_QUIET(db_get(db, DB_GIVEN_UP, DB_VALUES(INT(checkpoint)), numbers, 2, &found));
    if (found)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "%s: checkpoint %llu was given up when training went on from %lld: its samples have been free since", db->path,
                    (unsigned long long)checkpoint, (long long)numbers[0] - 1);
    return AIOS_OK;
}

/* The file is for people: its failure must not look like that of the commit. */
static void write_json(aios_chunk_tracker *tracker)
{
    if (export_write(tracker, tracker->json_path) != AIOS_OK)
        aios_log(tracker->context, AIOS_LOG_WARNING, "%s is not up to date: %s", tracker->json_path, aios_error_message());
}

static aios_status commit_in(database *db, const chunk_state *s, uint64_t checkpoint)
{
    if (checkpoint == 0) return FAIL(AIOS_INVALID_ARGUMENT, "checkpoint is 0: it must be a number that aios_chunk_tracker_seal gave");
    TRY_QUIET(check_number(db, s, checkpoint));
    TRY_QUIET(checkpoints_commit(db, (int64_t)checkpoint));
    return (int64_t)checkpoint > s->committed ? db_run(db, DB_STATE_SET_COMMITTED, DB_VALUES(INT(checkpoint))) : AIOS_OK;
}

aios_status aios_chunk_tracker_commit(aios_chunk_tracker *tracker, uint64_t checkpoint)
{
    chunk_state state;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_commit: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_SYNCS, &state));
    TRY_QUIET(tracker_leave(tracker, commit_in(&tracker->db, &state, checkpoint)));
    write_json(tracker);
    return AIOS_OK;
}

/* ---- resuming ---------------------------------------------------------------------------------------------------- */

/* Frees what was committed after the checkpoint. */
static aios_status roll_back(database *db, int64_t checkpoint)
{
    int64_t row[5] = {-1, -1};
    int found;
    for (;;) {
        TRY_QUIET(db_get(db, DB_DONE_LATER, DB_VALUES(INT(checkpoint), INT(row[0]), INT(row[1])), row, 5, &found));
        if (!found) return AIOS_OK;
        TRY_QUIET(ranges_give(db, row[0], row[1], row[1] + row[2]));
        TRY_QUIET(db_run(db, DB_DONE_DROP, DB_VALUES(INT(row[0]), INT(row[1]))));
        TRY_QUIET(db_run(db, DB_SHARE_ADD, DB_VALUES(INT(row[0]), INT(row[3]), INT(-row[2]), INT(-row[4]))));
    }
}

/* Ends every claim and frees every sample that is pending. */
static aios_status free_all(database *db)
{
    int64_t row[4];
    int found;
    for (;;) {
        TRY_QUIET(db_get(db, DB_CLAIM_FIRST, NULL, 0, row, 4, &found));
        if (!found) break;
        TRY_QUIET(ranges_give(db, row[1], row[2], row[3]));
        TRY_QUIET(db_run(db, DB_CLAIM_DROP, DB_VALUES(INT(row[0]))));
    }
    for (;;) {
        TRY_QUIET(db_get(db, DB_PENDING_FIRST, NULL, 0, row, 3, &found));
        if (!found) return AIOS_OK;
        TRY_QUIET(ranges_give(db, row[0], row[1], row[1] + row[2]));
        TRY_QUIET(db_run(db, DB_PENDING_DROP, DB_VALUES(INT(row[0]), INT(row[1]))));
    }
}

static aios_status check_others(aios_chunk_tracker *tracker)
{
    int64_t claims, pending;
    int found;
    TRY_QUIET(owners_sweep(tracker));
    TRY_QUIET(db_get(&tracker->db, DB_CLAIM_OF_OTHERS, DB_VALUES(INT(tracker->session)), &claims, 1, &found));
    TRY_QUIET(db_get(&tracker->db, DB_PENDING_OTHERS, DB_VALUES(INT(tracker->session)), &pending, 1, &found));
    if (claims == 0 && pending == 0) return AIOS_OK;
    return FAIL(AIOS_WRONG_STATE,
                "%s: other live processes or trackers have %lld claims and %lld pieces that no checkpoint holds: they must end first",
                tracker->db.path, (long long)claims, (long long)pending);
}

static aios_status resume_in(aios_chunk_tracker *tracker, const chunk_state *s, uint64_t checkpoint)
{
    database *db = &tracker->db;
    int64_t number = (int64_t)checkpoint;
    TRY_QUIET(check_number(db, s, checkpoint));
    if (number < s->forgotten)
        return FAIL(AIOS_OUT_OF_RANGE, "%s: checkpoint %lld can't be gone on from: those before %lld were forgotten", db->path,
                    (long long)number, (long long)s->forgotten);
    TRY_QUIET(check_others(tracker));
    TRY_QUIET(checkpoints_commit(db, number));
    TRY_QUIET(free_all(db));
    if (s->committed > number) TRY_QUIET(roll_back(db, number));
    if (s->sealed > number) TRY_QUIET(db_run(db, DB_GIVE_UP, DB_VALUES(INT(number + 1), INT(s->sealed))));
    TRY_QUIET(db_run(db, DB_STATE_SET_COMMITTED, DB_VALUES(INT(number))));
    return db_run(db, DB_STATE_SET_NEEDS_RESUME, DB_VALUES(INT(0)));
}

aios_status aios_chunk_tracker_resume(aios_chunk_tracker *tracker, uint64_t checkpoint)
{
    chunk_state state;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_resume: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_SYNCS, &state));
    TRY_QUIET(tracker_leave(tracker, resume_in(tracker, &state, checkpoint)));
    write_json(tracker);
    return AIOS_OK;
}

/* ---- forgetting -------------------------------------------------------------------------------------------------- */

aios_status checkpoints_first_open(database *db, const chunk_state *s, int64_t *epoch)
{
    static const db_id questions[] = {DB_FREE_EPOCH, DB_CLAIM_EPOCH, DB_PENDING_EPOCH};
    *epoch = s->epochs;
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        int64_t lowest;
        int found;
        TRY_QUIET(db_get(db, questions[i], NULL, 0, &lowest, 1, &found));
        if (found && lowest < *epoch) *epoch = lowest;
    }
    return AIOS_OK;
}

static aios_status forget_in(database *db, const chunk_state *s, uint64_t checkpoint, int64_t *dropped)
{
    int64_t epoch;
    TRY_QUIET(check_number(db, s, checkpoint));
    if (checkpoint > (uint64_t)s->committed)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s: checkpoint %llu can't be the oldest that is kept: the last committed is %lld", db->path,
                    (unsigned long long)checkpoint, (long long)s->committed);
    if ((int64_t)checkpoint > s->forgotten) TRY_QUIET(db_run(db, DB_STATE_SET_FORGOTTEN, DB_VALUES(INT(checkpoint))));
    TRY_QUIET(checkpoints_first_open(db, s, &epoch));
    TRY_QUIET(db_run(db, DB_DONE_FORGET, DB_VALUES(INT(epoch), INT(checkpoint))));
    *dropped = sqlite3_changes(db->handle);
    return AIOS_OK;
}

aios_status aios_chunk_tracker_forget(aios_chunk_tracker *tracker, uint64_t checkpoint)
{
    int64_t dropped = 0;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_forget: tracker must not be NULL");
    do { /* in bites, so that nobody waits for long */
        chunk_state state;
        TRY_QUIET(tracker_enter(tracker, TRACKER_WRITES, &state));
        TRY_QUIET(tracker_leave(tracker, forget_in(&tracker->db, &state, checkpoint, &dropped)));
    } while (dropped > 0);
    return AIOS_OK;
}

/* ---- the total --------------------------------------------------------------------------------------------------- */

static aios_status check_trained(database *db, const chunk_state *s, int64_t total)
{
    int64_t end;
    int found;
    for (int64_t epoch = 0; epoch < s->epochs; epoch++) {
        static const db_id ends[] = {DB_DONE_END, DB_PENDING_END, DB_CLAIM_END};
        for (size_t i = 0; i < COUNT_OF(ends); i++) {
            TRY_QUIET(db_get(db, ends[i], DB_VALUES(INT(epoch)), &end, 1, &found));
            if (found && end > total)
                return FAIL(AIOS_INVALID_ARGUMENT, "total_samples is %lld: %s has samples trained up to %lld", (long long)total, db->path,
                            (long long)end);
        }
    }
    return AIOS_OK;
}

aios_status tracker_set_total(database *db, chunk_state *s, int64_t total)
{
    int64_t row[3];
    int found;
    if (total < 1 || total > SCHEMA_OPEN_LAST)
        return FAIL(AIOS_INVALID_ARGUMENT, "total_samples is %lld: it must be from 1 to 2^62", (long long)total);
    if (s->total == total) return AIOS_OK;
    if (s->total)
        return FAIL(AIOS_INVALID_ARGUMENT, "total_samples is %lld: %s knows that the dataset has %lld", (long long)total, db->path,
                    (long long)s->total);
    TRY_QUIET(check_trained(db, s, total));
    for (;;) {
        TRY_QUIET(db_get(db, DB_FREE_BEYOND, DB_VALUES(INT(total)), row, 3, &found));
        if (!found) break;
        TRY_QUIET(db_run(db, DB_FREE_DROP, DB_VALUES(INT(row[0]), INT(row[2]))));
        if (row[1] < total) TRY_QUIET(db_run(db, DB_FREE_ADD, DB_VALUES(INT(row[0]), INT(row[1]), INT(total - 1))));
    }
    for (;;) {
        TRY_QUIET(db_get(db, DB_CLAIM_BEYOND, DB_VALUES(INT(total)), row, 2, &found));
        if (!found) break;
        TRY_QUIET(db_run(db, DB_CLAIM_CUT, DB_VALUES(INT(row[0]), INT(row[1] > total ? row[1] : total))));
    }
    s->total = total;
    return db_run(db, DB_STATE_SET_TOTAL, DB_VALUES(INT(total)));
}

aios_status aios_chunk_tracker_set_total(aios_chunk_tracker *tracker, uint64_t total_samples)
{
    chunk_state state;
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_set_total: tracker must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_SYNCS, &state));
    int64_t total = total_samples > INT64_MAX ? -1 : (int64_t)total_samples;
    return tracker_leave(tracker, tracker_set_total(&tracker->db, &state, total));
}
