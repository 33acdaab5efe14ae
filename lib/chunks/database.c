#include "database.h"

#include "base/os.h"
#include "schema.h"

#include <stdio.h>
#include <string.h>

static const char *const sql[DB_STATEMENT_COUNT] = {
#define STATEMENT(name, text) [DB_##name] = (text),
#include "chunks/statements.def"
#undef STATEMENT
};

/* ---- failures ---------------------------------------------------------------------------------------------------- */

aios_status db_fail(const database *db, int code, const char *doing)
{
    const char *words = db->handle && sqlite3_extended_errcode(db->handle) == code ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_NOMEM: return FAIL(AIOS_OUT_OF_MEMORY, "%s: no memory for %s", db->path, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return FAIL(AIOS_TIMEOUT, "%s: another process held the database for over %g s, during %s", db->path, db->busy_seconds, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return FAIL(AIOS_CORRUPT, "%s: %s (%s). It is left as it is: put back a copy, or open the tracker with recover to set it aside",
                    db->path, words, doing);
    case SQLITE_FULL: return FAIL(AIOS_IO, "%s: the disk is full (%s)", db->path, doing);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH: return FAIL(AIOS_IO, "%s: %s (%s): the file and its folder must be writable", db->path, words, doing);
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return FAIL(AIOS_CORRUPT, "%s: %s (%s): the database holds what the tracker never writes", db->path, words, doing);
    default: return FAIL(AIOS_IO, "%s: %s (%s)", db->path, words, doing);
    }
}

/* SQLite's own waits grow to 100 ms, where calls of the others take 50 us. */
static int wait_for_others(void *user, int count)
{
    database *db = user;
    if (count == 0) db->busy_since = os_now();
    if (os_now() - db->busy_since > db->busy_seconds) return 0;
    os_sleep(count < 20 ? 50e-6 : count < 200 ? 500e-6 : 5e-3);
    return 1;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

aios_status db_execute(database *db, const char *text)
{
    int code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? AIOS_OK : db_fail(db, code, "setting it up");
}

/* A database on a read-only file system that was closed well has no log, and SQLite opens it when told that nobody writes. */
static int open_immutable(database *db)
{
    char uri[4096 * 3 + 32] = "file:";
    size_t size = strlen(uri), length = strlen(db->path);
    if (length > 4096) return SQLITE_CANTOPEN;
    for (const char *c = db->path; *c; c++)
        size += (size_t)snprintf(uri + size, sizeof uri - size, *c == '?' || *c == '#' || *c == '%' ? "%%%02X" : "%c", (unsigned char)*c);
    (void)snprintf(uri + size, sizeof uri - size, "?immutable=1");
    (void)sqlite3_close(db->handle);
    db->handle = NULL;
    return sqlite3_open_v2(uri, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
}

static aios_status check_format(database *db)
{
    int64_t numbers[2] = {0, 0};
    static const char *const pragmas[] = {"PRAGMA application_id", "PRAGMA user_version"};
    for (int i = 0; i < 2; i++) {
        sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(db->handle, pragmas[i], -1, &statement, NULL);
        if (code == SQLITE_OK) code = sqlite3_step(statement);
        if (code == SQLITE_ROW) numbers[i] = sqlite3_column_int64(statement, 0);
        aios_status status = code == SQLITE_ROW ? AIOS_OK : db_fail(db, code, "reading its header");
        (void)sqlite3_finalize(statement);
        TRY_QUIET(status);
    }
    if (numbers[0] != SCHEMA_APPLICATION)
        return FAIL(
            AIOS_CORRUPT,
            "%s: this is no chunk tracker's database (application id %lld instead of %d). It is left as it is: move it away, put back a "
            "copy, or open the tracker with recover to set it aside",
            db->path, (long long)numbers[0], SCHEMA_APPLICATION);
    if (numbers[1] > SCHEMA_VERSION)
        return FAIL(AIOS_UNSUPPORTED, "%s has format %lld: this libaios reads up to %d, so open it with a newer one", db->path,
                    (long long)numbers[1], SCHEMA_VERSION);
    return AIOS_OK;
}

/* The database is made under another name, so that under its own it is whole: an empty file there is a damaged one. */
static aios_status create(database *db)
{
    char begin[96];
    (void)snprintf(begin, sizeof begin, "PRAGMA application_id = %d; PRAGMA user_version = %d; BEGIN;", SCHEMA_APPLICATION, SCHEMA_VERSION);
    TRY_QUIET(db_execute(db, "PRAGMA synchronous = FULL;"));
    TRY_QUIET(db_execute(db, begin));
    return db_execute(db, SCHEMA_TABLES "COMMIT;");
}

static int is_wal(void *user, int count, char **values, char **names)
{
    (void)names;
    *(int *)user = count == 1 && values[0] && strcmp(values[0], "wal") == 0;
    return 0;
}

static aios_status use_wal(database *db)
{
    int wal = 0;
    int code = sqlite3_exec(db->handle, "PRAGMA journal_mode = WAL", is_wal, &wal, NULL);
    if (code != SQLITE_OK) return db_fail(db, code, "setting it up");
    db->rollback = !wal;
    db->full = -1; /* not said yet */
    if (!wal)
        aios_log(db->context, AIOS_LOG_WARNING,
                 "%s: its file system has no shared memory for SQLite's log, so every call waits for the disk", db->path);
    return AIOS_OK;
}

aios_status db_open(database *db, aios_context *context, const char *path, double busy_seconds, int read_only, int create_it)
{
    memset(db, 0, sizeof *db);
    db->context = context;
    db->busy_seconds = busy_seconds;
    db->path = aios_memory_strdup(context, path);
    if (!db->path) return aios_error_status();
    int flags = read_only ? SQLITE_OPEN_READONLY : create_it ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE;
    int code = sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) return db_fail(db, code, "opening it");
    (void)sqlite3_extended_result_codes(db->handle, 1);
    (void)sqlite3_busy_handler(db->handle, wait_for_others, db);
    if (create_it) return create(db);
    code = sqlite3_exec(db->handle, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    if ((code & 0xff) == SQLITE_CANTOPEN && read_only) {
        code = open_immutable(db);
        if (code == SQLITE_OK) code = sqlite3_exec(db->handle, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) return db_fail(db, code, "opening it");
    TRY_QUIET(check_format(db));
    return read_only ? AIOS_OK : use_wal(db);
}

void db_close(database *db)
{
    for (int i = 0; i < DB_STATEMENT_COUNT; i++) {
        (void)sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    (void)sqlite3_close(db->handle);
    db->handle = NULL;
    aios_memory_free(db->context, db->path);
    db->path = NULL;
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

aios_status db_begin(database *db, int writes, int full)
{
    full = full || db->rollback; /* where a loss of power without it could damage the file */
    if (writes && full != db->full) {
        TRY_QUIET(db_execute(db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
        db->full = full;
    }
    return db_run(db, writes ? DB_BEGIN : DB_BEGIN_READ, NULL, 0);
}

aios_status db_end(database *db, aios_status status)
{
    if (status == AIOS_OK) status = db_run(db, DB_COMMIT, NULL, 0);
    if (status == AIOS_OK) return AIOS_OK;
    /* SQLite itself has rolled back after some failures; a rollback can fail for nothing that the next call would not say. */
    if (!sqlite3_get_autocommit(db->handle)) (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

aios_status db_start(database *db, db_id id, const db_value *values, size_t count)
{
    sqlite3_stmt *statement = db->statements[id];
    int code = SQLITE_OK;
    if (!statement) {
        code = sqlite3_prepare_v3(db->handle, sql[id], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[id], NULL);
        if (code != SQLITE_OK) return db_fail(db, code, sql[id]);
        statement = db->statements[id];
    }
    for (int i = 0; i < (int)count && code == SQLITE_OK; i++) {
        const db_value *v = &values[i];
        if (v->kind == DB_VALUE_INT)
            code = sqlite3_bind_int64(statement, i + 1, v->integer);
        else if (v->kind == DB_VALUE_REAL)
            code = sqlite3_bind_double(statement, i + 1, v->real);
        else
            code = sqlite3_bind_text(statement, i + 1, v->text, -1, SQLITE_STATIC);
    }
    return code == SQLITE_OK ? AIOS_OK : db_fail(db, code, sql[id]);
}

void db_stop(database *db, db_id id)
{
    (void)sqlite3_reset(db->statements[id]);
}

aios_status db_next(database *db, db_id id, int *found)
{
    int code = sqlite3_step(db->statements[id]);
    *found = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE) return AIOS_OK;
    aios_status status = db_fail(db, code, sql[id]);
    db_stop(db, id);
    return status;
}

const char *db_text(const database *db, db_id id, int column)
{
    const unsigned char *text = sqlite3_column_text(db->statements[id], column);
    return text ? (const char *)text : "";
}

aios_status db_run(database *db, db_id id, const db_value *values, size_t count)
{
    int found;
    TRY_QUIET(db_start(db, id, values, count));
    do TRY_QUIET(db_next(db, id, &found));
    while (found);
    db_stop(db, id);
    return AIOS_OK;
}

aios_status db_get(database *db, db_id id, const db_value *values, size_t count, int64_t *columns, size_t column_count, int *found)
{
    memset(columns, 0, column_count * sizeof *columns);
    *found = 0;
    TRY_QUIET(db_start(db, id, values, count));
    TRY_QUIET(db_next(db, id, found));
    for (int i = 0; *found && i < (int)column_count; i++) columns[i] = db_int(db, id, i);
    db_stop(db, id);
    return AIOS_OK;
}
