/* database.h (internal): the chunk tracker's SQLite file: opening it, transactions, statements, failures.
 *
 * Every statement stands in statements.def and is prepared once, when it is first run.  A database belongs to one thread at a time. */
#ifndef AIOS_CHUNKS_DATABASE_H
#define AIOS_CHUNKS_DATABASE_H

#include "base/context.h"

#include <sqlite3.h>

typedef enum db_id {
#define STATEMENT(name, sql) DB_##name,
#include "chunks/statements.def"
#undef STATEMENT
    DB_STATEMENT_COUNT
} db_id;

typedef struct database {
    aios_context *context;
    sqlite3 *handle;
    sqlite3_stmt *statements[DB_STATEMENT_COUNT];
    char *path;
    double busy_seconds, busy_since;
    int full, rollback; /* rollback: the file system can't do WAL */
} database;

/* A value for a statement's parameter. */
typedef struct db_value {
    enum { DB_VALUE_INT, DB_VALUE_REAL, DB_VALUE_TEXT } kind;
    int64_t integer;
    double real;
    const char *text;
} db_value;
#define INT(value)     ((db_value){DB_VALUE_INT, (int64_t)(value), 0, NULL})
#define REAL(value)    ((db_value){DB_VALUE_REAL, 0, (value), NULL})
#define TEXT(value)    ((db_value){DB_VALUE_TEXT, 0, 0, (value)}) /* lives until the statement has run */
#define DB_VALUES(...) (const db_value[]){__VA_ARGS__}, sizeof((const db_value[]){__VA_ARGS__}) / sizeof(db_value)

/* Opens a database file that is there (create 0) or makes one (create 1).  Ends with db_close, also after a failure.
 * Errors: those of aios_chunk_tracker_open. */
aios_status db_open(database *db, aios_context *context, const char *path, double busy_seconds, int read_only, int create);
void db_close(database *db); /* what was zeroed is fine */

/* Statements run between db_begin and db_end.  db_end commits where status is AIOS_OK, else rolls back; its result is status, or
 * that of a failed commit.  full: wait until the disk has it. */
aios_status db_begin(database *db, int writes, int full);
aios_status db_end(database *db, aios_status status);

/* Runs to the end; rows are dropped. */
aios_status db_run(database *db, db_id id, const db_value *values, size_t count);
/* The first row's columns, which are integers (NULL: 0).  *found 0: there is none, and the columns are 0. */
aios_status db_get(database *db, db_id id, const db_value *values, size_t count, int64_t *columns, size_t column_count, int *found);
/* Row after row: db_start, then db_next until *found is 0, reading columns between; db_stop at the end or before it. */
aios_status db_start(database *db, db_id id, const db_value *values, size_t count);
aios_status db_next(database *db, db_id id, int *found);
void db_stop(database *db, db_id id);
static inline int64_t db_int(const database *db, db_id id, int column)
{
    return sqlite3_column_int64(db->statements[id], column);
}
static inline double db_real(const database *db, db_id id, int column)
{
    return sqlite3_column_double(db->statements[id], column);
}
/* "" for NULL.  Until the next db_next. */
const char *db_text(const database *db, db_id id, int column);

/* SQL that is run once: the schema, pragmas. */
aios_status db_execute(database *db, const char *sql);
/* Says what SQLite said about db; code is its result code. */
aios_status db_fail(const database *db, int code, const char *doing);

#endif
