/* Opening and closing. */
#include "tracker.h"

#include "schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_BYTES ((uint64_t)8 << 20) /* databases up to this size are read whole when they are opened: some 20 ms */

void aios_chunk_tracker_options_init(aios_chunk_tracker_options *options)
{
    if (options) *options = (aios_chunk_tracker_options)AIOS_CHUNK_TRACKER_OPTIONS_INIT;
}

/* ---- every call -------------------------------------------------------------------------------------------------- */

aios_status tracker_state(database *db, chunk_state *s)
{
    int64_t c[9];
    int found;
    TRY_QUIET(db_get(db, DB_STATE_GET, NULL, 0, c, 9, &found));
    if (!found)
        return FAIL(AIOS_CORRUPT, "%s has lost its state row: put back a copy, or open the tracker with recover to set it aside", db->path);
    *s = (chunk_state){c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]};
    return AIOS_OK;
}

aios_status tracker_enter(aios_chunk_tracker *tracker, int how, chunk_state *state)
{
    if (how != TRACKER_READS && tracker->read_only)
        return FAIL(AIOS_WRONG_STATE, "%s was opened with read_only: nothing can be changed", tracker->path);
    if (tracker->process != os_process_id())
        return FAIL(AIOS_WRONG_STATE,
                    "%s was opened by process %d, of which this one is a fork: run another program (exec) and open it there", tracker->path,
                    tracker->process);
    os_mutex_lock(&tracker->mutex);
    aios_status status = db_begin(&tracker->db, how != TRACKER_READS, how == TRACKER_SYNCS || tracker->durable);
    if (status == AIOS_OK) {
        status = tracker_state(&tracker->db, state);
        if (status != AIOS_OK) status = db_end(&tracker->db, status);
    }
    if (status == AIOS_OK)
        tracker->grid.total = state->total;
    else
        os_mutex_unlock(&tracker->mutex);
    return status;
}

aios_status tracker_leave(aios_chunk_tracker *tracker, aios_status status)
{
    status = db_end(&tracker->db, status);
    os_mutex_unlock(&tracker->mutex);
    return status;
}

aios_status tracker_add_epoch(database *db, chunk_state *s)
{
    int64_t last = s->total ? s->total - 1 : SCHEMA_OPEN_LAST;
    TRY_QUIET(db_run(db, DB_FREE_ADD, DB_VALUES(INT(s->epochs), INT(0), INT(last))));
    return db_run(db, DB_STATE_SET_EPOCHS, DB_VALUES(INT(++s->epochs)));
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static aios_status check_size(const char *name, uint64_t size)
{
    uint64_t most = (uint64_t)1 << 40;
    if (size <= most) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s is %llu: at most %llu is counted", name, (unsigned long long)size, (unsigned long long)most);
}

static aios_status check_seconds(const char *name, double seconds, double least)
{
    if (isfinite(seconds) && seconds >= least) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s is %g: it must be %g or more", name, seconds, least);
}

static aios_status check_options(const aios_chunk_tracker_options *o)
{
    if (!o->folder || !*o->folder)
        return FAIL(AIOS_INVALID_ARGUMENT, "folder is %s: it must name the tracker's folder", o->folder ? "\"\"" : "NULL");
    if (o->durability < AIOS_CHUNK_DURABLE_AT_CHECKPOINTS || o->durability > AIOS_CHUNK_DURABLE_EVERY_CALL)
        return FAIL(AIOS_INVALID_ARGUMENT, "durability is %d: it must be an AIOS_CHUNK_DURABLE_ value", (int)o->durability);
    TRY_QUIET(check_size("block_samples", o->block_samples));
    TRY_QUIET(check_size("chunk_samples", o->chunk_samples));
    TRY_QUIET(check_seconds("lease_seconds", o->lease_seconds, 0.001));
    TRY_QUIET(check_seconds("busy_seconds", o->busy_seconds, 0));
    if (o->total_samples > (uint64_t)SCHEMA_OPEN_LAST)
        return FAIL(AIOS_INVALID_ARGUMENT, "total_samples is %llu: at most 2^62 is counted", (unsigned long long)o->total_samples);
    return AIOS_OK;
}

static aios_status check_grid(const chunk_grid *grid)
{
    if (grid->block > 0 && grid->chunk > 0 && grid->chunk <= grid->block) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "chunk_samples is %lld: it must be from 1 to block_samples, which is %lld", (long long)grid->chunk,
                (long long)grid->block);
}

static aios_status set_text(aios_chunk_tracker *tracker, char **to, const char *from)
{
    aios_memory_free(tracker->context, *to);
    *to = aios_memory_strdup(tracker->context, from ? from : "");
    return *to ? AIOS_OK : aios_error_status();
}

/* What the caller says about the dataset, against what is stored. */
static aios_status settle(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o, chunk_state *s)
{
    database *db = &tracker->db;
    int found;
    TRY_QUIET(db_start(db, DB_STATE_TEXT, NULL, 0));
    TRY_QUIET(db_next(db, DB_STATE_TEXT, &found));
    const char *const given[] = {o->brain_id, o->dataset_name, o->dataset_identity};
    char **const kept[] = {&tracker->brain_id, &tracker->dataset_name, &tracker->dataset_identity};
    aios_status status = AIOS_OK;
    for (int i = 0; i < 3 && status == AIOS_OK; i++) status = set_text(tracker, kept[i], db_text(db, DB_STATE_TEXT, i));
    db_stop(db, DB_STATE_TEXT);
    TRY_QUIET(status);
    if (o->dataset_identity && *o->dataset_identity && *tracker->dataset_identity &&
        strcmp(o->dataset_identity, tracker->dataset_identity) != 0)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "%s belongs to another dataset (\"%s\", identity %s): \"%s\" has identity %s. Use another folder", tracker->path,
                    tracker->dataset_name, tracker->dataset_identity, o->dataset_name ? o->dataset_name : "", o->dataset_identity);
    for (int i = 0; i < 3; i++)
        if (given[i] && *given[i]) TRY_QUIET(set_text(tracker, kept[i], given[i]));
    tracker->grid.block = o->block_samples ? (int64_t)o->block_samples : s->block_samples;
    tracker->grid.chunk = o->chunk_samples ? (int64_t)o->chunk_samples : s->chunk_samples;
    TRY_QUIET(check_grid(&tracker->grid));
    if (tracker->read_only) return AIOS_OK;
    TRY_QUIET(
        db_run(db, DB_STATE_SET_NAMES, DB_VALUES(TEXT(tracker->brain_id), TEXT(tracker->dataset_name), TEXT(tracker->dataset_identity))));
    TRY_QUIET(db_run(db, DB_STATE_SET_SIZES, DB_VALUES(INT(tracker->grid.block), INT(tracker->grid.chunk))));
    return o->total_samples ? tracker_set_total(db, s, (int64_t)o->total_samples) : AIOS_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* NULL: with a record of why. */
static char *join(aios_context *context, const char *folder, const char *name)
{
    char path[OS_PATH_MAX];
    return os_path_join(path, folder, name) == AIOS_OK ? aios_memory_strdup(context, path) : NULL;
}

/* Renames a damaged file to NAME.damaged-N, the first N that is free, with the files that SQLite has beside it. */
static aios_status set_aside(aios_chunk_tracker *tracker, const char *path)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    char to[4096], from[4096], suffix[32] = "";
    int n = 0;
    do {
        (void)snprintf(suffix, sizeof suffix, ".damaged-%d", ++n);
        if (snprintf(to, sizeof to, "%s%s", path, suffix) >= (int)sizeof to)
            return FAIL(AIOS_INVALID_ARGUMENT, "%s: the name is too long", path);
    } while (os_path_kind(to) != OS_NOTHING);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (snprintf(from, sizeof from, "%s%s", path, parts[i]) >= (int)sizeof from ||
            snprintf(to, sizeof to, "%s%s%s", path, suffix, parts[i]) >= (int)sizeof to)
            return FAIL(AIOS_INVALID_ARGUMENT, "%s: the name is too long", path);
        if (os_path_kind(from) != OS_NOTHING) TRY_QUIET(os_rename(from, to));
    }
    aios_log(tracker->context, AIOS_LOG_WARNING, "%s is kept aside as %s%s, as recover asks: %s", path, path, suffix, aios_error_message());
    return os_folder_sync(tracker->folder);
}

/* Tables, what the JSON file holds, the first epoch. */
static aios_status fill(aios_chunk_tracker *tracker, database *db, const aios_chunk_tracker_options *o, int has_json)
{
    chunk_grid grid = {(int64_t)o->block_samples, (int64_t)o->chunk_samples, (int64_t)o->total_samples};
    chunk_state s;
    TRY_QUIET(db_begin(db, 1, 1));
    aios_status status = has_json ? import_read(db, tracker->json_path, &grid, tracker->read_only) : AIOS_OK;
    if (status == AIOS_OK && !has_json) {
        grid.block = grid.block ? grid.block : AIOS_CHUNK_BLOCK_SAMPLES;
        grid.chunk = grid.chunk ? grid.chunk : AIOS_CHUNK_SAMPLES;
    }
    if (status == AIOS_OK) status = check_grid(&grid);
    if (status == AIOS_OK) status = db_run(db, DB_STATE_SET_SIZES, DB_VALUES(INT(grid.block), INT(grid.chunk)));
    if (status == AIOS_OK) status = tracker_state(db, &s);
    if (status == AIOS_OK && s.epochs == 0) status = tracker_add_epoch(db, &s);
    return db_end(db, status);
}

/* Makes the database under another name and renames it, so that under its own it is always whole. */
static aios_status make_database(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o, const char *temporary, int has_json)
{
    database db = {0};
    aios_status status = AIOS_OK;
    ATTEMPT_QUIET(os_remove(temporary));
    ATTEMPT_QUIET(db_open(&db, tracker->context, temporary, o->busy_seconds, 0, 1));
    ATTEMPT_QUIET(fill(tracker, &db, o, has_json));
    db_close(&db);
    ATTEMPT_QUIET(os_rename(temporary, tracker->path));
    ATTEMPT_QUIET(os_folder_sync(tracker->folder));
done:
    db_close(&db);
    if (status != AIOS_OK) {
        aios_error_record record;
        aios_error_save(&record);
        (void)os_remove(temporary);
        (void)aios_error_restore(&record);
    }
    return status;
}

static aios_status make(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    char *temporary = join(tracker->context, tracker->folder, ".chunk_tracker.sqlite.new");
    if (!temporary) return aios_error_status();
    int has_json = os_path_kind(tracker->json_path) != OS_NOTHING;
    aios_status status = make_database(tracker, o, temporary, has_json);
    if (status == AIOS_CORRUPT && has_json && o->recover) {
        status = set_aside(tracker, tracker->json_path);
        if (status == AIOS_OK) status = make_database(tracker, o, temporary, 0);
    }
    aios_memory_free(tracker->context, temporary);
    return status;
}

/* What SQLite's check found.  A page that it could not read may be whole: that is for db_fail to say. */
static aios_status judge(const aios_chunk_tracker *tracker, const char *words)
{
    static const char unread[] = "unable to get the page. error code=";
    const char *found = words ? strstr(words, unread) : NULL;
    int code = found ? atoi(found + strlen(unread)) : SQLITE_CORRUPT;
    if (words && strcmp(words, "ok") == 0) return AIOS_OK;
    if ((code & 0xff) != SQLITE_CORRUPT && (code & 0xff) != SQLITE_NOTADB) return db_fail(&tracker->db, code, "checking it");
    return FAIL(AIOS_CORRUPT, "%s: %s. It is left as it is: put back a copy, or open the tracker with recover to set it aside",
                tracker->path, words ? words : "its check says nothing");
}

static aios_status check_whole(aios_chunk_tracker *tracker)
{
    uint64_t size;
    sqlite3_stmt *statement = NULL;
    TRY_QUIET(os_file_size(tracker->path, &size));
    if (size > CHECK_BYTES) return AIOS_OK;
    int code = sqlite3_prepare_v2(tracker->db.handle, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    aios_status status =
        code == SQLITE_ROW ? judge(tracker, (const char *)sqlite3_column_text(statement, 0)) : db_fail(&tracker->db, code, "checking it");
    (void)sqlite3_finalize(statement);
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Where no other session lives, what none of them sealed is nowhere any more; what they sealed waits for resume. */
static aios_status begin_alone(aios_chunk_tracker *tracker)
{
    database *db = &tracker->db;
    int64_t row[3] = {-1, -1}, count;
    int found;
    TRY_QUIET(db_get(db, DB_SESSION_OTHERS, DB_VALUES(INT(tracker->session)), &count, 1, &found));
    if (count > 0) return AIOS_OK;
    for (;;) {
        TRY_QUIET(db_get(db, DB_PENDING_UNSEALED, DB_VALUES(INT(row[0]), INT(row[1])), row, 3, &found));
        if (!found) break;
        TRY_QUIET(ranges_give(db, row[0], row[1], row[1] + row[2]));
        TRY_QUIET(db_run(db, DB_PENDING_DROP, DB_VALUES(INT(row[0]), INT(row[1]))));
    }
    TRY_QUIET(db_get(db, DB_PENDING_SEALED, NULL, 0, &count, 1, &found));
    return count > 0 ? db_run(db, DB_STATE_SET_NEEDS_RESUME, DB_VALUES(INT(1))) : AIOS_OK;
}

static aios_status begin(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    chunk_state s;
    int writes = !tracker->read_only;
    TRY_QUIET(db_begin(&tracker->db, writes, writes));
    aios_status status = tracker_state(&tracker->db, &s);
    if (status == AIOS_OK) status = settle(tracker, o, &s);
    if (status == AIOS_OK && writes) status = owners_add_session(tracker);
    if (status == AIOS_OK && writes) status = owners_sweep(tracker);
    if (status == AIOS_OK && writes) status = begin_alone(tracker);
    return db_end(&tracker->db, status);
}

static aios_status open_database(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    TRY_QUIET(db_open(&tracker->db, tracker->context, tracker->path, o->busy_seconds, tracker->read_only, 0));
    if (!tracker->read_only) TRY_QUIET(check_whole(tracker));
    return begin(tracker, o);
}

static int has_part(const aios_chunk_tracker *tracker, const char *part)
{
    char path[4096];
    return snprintf(path, sizeof path, "%s%s", tracker->path, part) < (int)sizeof path && os_path_kind(path) != OS_NOTHING;
}

static aios_status open_to_write(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    for (int attempt = 0;; attempt++) {
        aios_status status = AIOS_OK;
        if (os_path_kind(tracker->path) == OS_NOTHING && !has_part(tracker, "-wal"))
            status = make(tracker, o);
        else if (os_path_kind(tracker->path) == OS_NOTHING)
            status = FAIL(AIOS_CORRUPT,
                          "%s is missing, and its log %s-wal is there: put the database back, or open with recover to set the log aside",
                          tracker->path, tracker->path);
        if (status == AIOS_OK) status = open_database(tracker, o);
        if (status != AIOS_CORRUPT || !o->recover || attempt > 0) return status;
        db_close(&tracker->db);
        TRY_QUIET(set_aside(tracker, tracker->path));
    }
}

static aios_status open_to_read(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    if (os_path_kind(tracker->path) != OS_NOTHING) return open_database(tracker, o);
    if (os_path_kind(tracker->json_path) == OS_NOTHING)
        return FAIL(AIOS_NOT_FOUND, "%s holds neither chunk_tracker.sqlite nor chunk_tracker_state.json", tracker->folder);
    TRY_QUIET(db_open(&tracker->db, tracker->context, ":memory:", o->busy_seconds, 0, 1));
    TRY_QUIET(fill(tracker, &tracker->db, o, 1));
    return begin(tracker, o);
}

static aios_status open_in(aios_chunk_tracker *tracker, const aios_chunk_tracker_options *o)
{
    os_file lock = OS_FILE_CLOSED;
    aios_status status;
    tracker->folder = aios_memory_strdup(tracker->context, o->folder);
    tracker->path = join(tracker->context, o->folder, "chunk_tracker.sqlite");
    tracker->json_path = join(tracker->context, o->folder, "chunk_tracker_state.json");
    tracker->lock_path = join(tracker->context, o->folder, "chunk_tracker.lock");
    if (tracker->folder) os_path_trim(tracker->folder);
    if (!tracker->folder || !tracker->path || !tracker->json_path || !tracker->lock_path) return aios_error_status();
    if (tracker->read_only) return open_to_read(tracker, o);
    TRY_QUIET(os_folder_create(tracker->folder));
    const char *network = os_path_network(tracker->folder);
    if (network)
        aios_log(tracker->context, AIOS_LOG_WARNING,
                 "%s lies on a network file system (%s): only processes of one machine may use this tracker at a time", tracker->folder,
                 network);
    status = os_lock_take(tracker->lock_path, o->busy_seconds, &lock);
    if (status != AIOS_OK && status != AIOS_UNSUPPORTED) return status;
    status = open_to_write(tracker, o);
    os_lock_release(&lock);
    return status;
}

static void free_tracker(aios_chunk_tracker *tracker)
{
    aios_context *context = tracker->context;
    char *const texts[] = {tracker->folder,   tracker->path,         tracker->json_path,       tracker->lock_path,
                           tracker->brain_id, tracker->dataset_name, tracker->dataset_identity};
    db_close(&tracker->db);
    for (size_t i = 0; i < COUNT_OF(texts); i++) aios_memory_free(context, texts[i]);
    os_mutex_destroy(&tracker->mutex);
    aios_memory_free(context, tracker);
    aios_context_release(context);
}

aios_status aios_chunk_tracker_open(aios_context *context, const aios_chunk_tracker_options *options, aios_chunk_tracker **tracker)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    if (!context || !tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_open: context and tracker must not be NULL");
    *tracker = NULL;
    TRY_QUIET(aios_struct_read("aios_chunk_tracker_options", &o, sizeof o, options));
    TRY_QUIET(check_options(&o));
    aios_chunk_tracker *made = aios_new(context, aios_chunk_tracker);
    if (!made) return aios_error_status();
    made->context = aios_context_retain(context);
    os_mutex_init(&made->mutex);
    made->lease = o.lease_seconds;
    made->busy_seconds = o.busy_seconds;
    made->read_only = o.read_only != 0;
    made->process = os_process_id();
    made->durable = o.durability == AIOS_CHUNK_DURABLE_EVERY_CALL;
    aios_status status = open_in(made, &o);
    if (status != AIOS_OK) {
        free_tracker(made);
        return aios_error_add_frame(status, "opening the chunk tracker of %s", o.folder);
    }
    *tracker = made;
    return AIOS_OK;
}

void aios_chunk_tracker_close(aios_chunk_tracker *tracker)
{
    chunk_state state;
    if (!tracker || tracker->process != os_process_id())
        return; /* in a fork the claims are the parent's, and to close is to touch the file */
    if (!tracker->read_only) {
        aios_status status = tracker_enter(tracker, TRACKER_WRITES, &state);
        if (status == AIOS_OK) status = tracker_leave(tracker, owners_end_session(&tracker->db, tracker->session));
        if (status == AIOS_OK) status = export_write(tracker, tracker->json_path);
        if (status != AIOS_OK) aios_log(tracker->context, AIOS_LOG_WARNING, "closing %s: %s", tracker->path, aios_error_message());
    }
    free_tracker(tracker);
}
