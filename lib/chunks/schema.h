/* schema.h (internal): the tables of chunk_tracker.sqlite.  Samples are counted through the dataset. */
#ifndef AIOS_CHUNKS_SCHEMA_H
#define AIOS_CHUNKS_SCHEMA_H

#define SCHEMA_APPLICATION 0x61696f73 /* "aios", in the file's header */
#define SCHEMA_VERSION     1
#define SCHEMA_OPEN_LAST   ((int64_t)1 << 62) /* the last sample of a dataset whose total is not known */

#define SCHEMA_TABLES                                                                                                                      \
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), block_samples INTEGER NOT NULL, chunk_samples INTEGER NOT NULL,"           \
    " total_samples INTEGER, epochs INTEGER NOT NULL, token INTEGER NOT NULL, sealed INTEGER NOT NULL, committed INTEGER NOT NULL,"        \
    " forgotten INTEGER NOT NULL, needs_resume INTEGER NOT NULL, brain_id TEXT NOT NULL, dataset_name TEXT NOT NULL,"                      \
    " dataset_identity TEXT NOT NULL) STRICT;"                                                                                             \
    "INSERT INTO state VALUES (1, 100000, 4000, NULL, 0, 0, 0, 0, 0, 0, '', '', '');"                                                      \
    "CREATE TABLE free (epoch INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (epoch, last))"                 \
    " STRICT, WITHOUT ROWID;"                                                                                                              \
    "CREATE TABLE session (id INTEGER PRIMARY KEY, process INTEGER NOT NULL, started INTEGER NOT NULL, boot TEXT NOT NULL,"                \
    " space TEXT NOT NULL) STRICT;"                                                                                                        \
    "CREATE TABLE owner (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (session, name)) STRICT;"            \
    "CREATE TABLE device (id INTEGER PRIMARY KEY, gpu_id INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE (gpu_id, name)) STRICT;"             \
    "CREATE TABLE claim (token INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, begun INTEGER NOT NULL, first INTEGER NOT NULL,"               \
    " at INTEGER NOT NULL, end INTEGER NOT NULL, steps INTEGER NOT NULL, split_steps INTEGER NOT NULL, optimizer_step INTEGER NOT NULL,"   \
    " owner INTEGER NOT NULL, device INTEGER NOT NULL, expires REAL NOT NULL, lease REAL NOT NULL, wall REAL NOT NULL) STRICT;"            \
    "CREATE TABLE pending (epoch INTEGER NOT NULL, first INTEGER NOT NULL, samples INTEGER NOT NULL, device INTEGER NOT NULL,"             \
    " optimizer_step INTEGER NOT NULL, steps INTEGER NOT NULL, owner INTEGER NOT NULL, checkpoint INTEGER NOT NULL,"                       \
    " PRIMARY KEY (epoch, first)) STRICT, WITHOUT ROWID;"                                                                                  \
    "CREATE TABLE done (epoch INTEGER NOT NULL, first INTEGER NOT NULL, samples INTEGER NOT NULL, device INTEGER NOT NULL,"                \
    " optimizer_step INTEGER NOT NULL, steps INTEGER NOT NULL, checkpoint INTEGER NOT NULL, PRIMARY KEY (epoch, first))"                   \
    " STRICT, WITHOUT ROWID;"                                                                                                              \
    "CREATE TABLE share (epoch INTEGER NOT NULL, device INTEGER NOT NULL, samples INTEGER NOT NULL, steps INTEGER NOT NULL,"               \
    " PRIMARY KEY (epoch, device)) STRICT, WITHOUT ROWID;"                                                                                 \
    "CREATE TABLE given_up (first INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT;"

#endif
