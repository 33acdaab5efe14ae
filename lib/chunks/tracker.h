/* tracker.h (internal): what the files of the chunk tracker share.
 *
 * tracker.c opens, owners.c knows who lives, claims.c and checkpoints.c change the state, look.c and export.c tell it, import.c reads JSON.
 * Samples are int64_t here: SQLite has no others, and a total is at most SCHEMA_OPEN_LAST. */
#ifndef AIOS_CHUNKS_TRACKER_H
#define AIOS_CHUNKS_TRACKER_H

#include "base/context.h"
#include "base/os.h"
#include "chunks/database.h"
#include "chunks/ranges.h"
#include <aios/chunk_tracker.h>

/* How samples are cut.  total 0: not known. */
typedef struct chunk_grid {
    int64_t block, chunk, total;
} chunk_grid;

/* The one row of `state`. */
typedef struct chunk_state {
    int64_t block_samples, chunk_samples, total, epochs, token, sealed, committed, forgotten, needs_resume;
} chunk_state;

struct aios_chunk_tracker {
    aios_context *context;
    os_mutex mutex; /* around all below that changes, and the database */
    database db;
    char *folder, *path, *json_path, *lock_path;
    char *brain_id, *dataset_name, *dataset_identity;
    chunk_grid grid; /* total is read anew by every call */
    double lease, busy_seconds, swept;
    int read_only, durable;
    int64_t session;
    int process; /* that opened it: SQLite's connection is of no use in a fork */
};

/* ---- grid.c */
int64_t grid_chunk_end(const chunk_grid *grid, int64_t sample); /* of the chunk that holds it */
int64_t grid_chunks_per_block(const chunk_grid *grid);
/* Blocks, and chunks, that begin before `sample`. */
int64_t grid_blocks_before(const chunk_grid *grid, int64_t sample);
int64_t grid_chunks_before(const chunk_grid *grid, int64_t sample);
/* The number of a sample's chunk, counted through the dataset. */
int64_t grid_chunk_of(const chunk_grid *grid, int64_t sample);
int64_t grid_chunk_first(const chunk_grid *grid, int64_t chunk);

/* ---- tracker.c */

/* Every public call: the mutex, a transaction, the state.  A failure leaves nothing taken; else tracker_leave ends it. */
enum { TRACKER_READS = 0, TRACKER_WRITES = 1, TRACKER_SYNCS = 2 };
aios_status tracker_enter(aios_chunk_tracker *tracker, int how, chunk_state *state);
aios_status tracker_leave(aios_chunk_tracker *tracker, aios_status status);
aios_status tracker_state(database *db, chunk_state *state);
/* Sets the total inside a transaction. */
aios_status tracker_set_total(database *db, chunk_state *state, int64_t total);
/* Adds the next epoch, all of it free. */
aios_status tracker_add_epoch(database *db, chunk_state *state);

/* ---- owners.c */
aios_status owners_add_session(aios_chunk_tracker *tracker);
aios_status owners_find(database *db, int64_t session, const char *name, int make, int64_t *owner); /* 0: none */
aios_status owners_find_device(database *db, int64_t gpu_id, const char *name, int64_t *device);
/* Ends claims and frees pending samples that nobody else has: of an owner; of a session, which is then no more; of dead ones. */
aios_status owners_lose(database *db, int64_t owner);
aios_status owners_end_session(database *db, int64_t session);
aios_status owners_sweep(aios_chunk_tracker *tracker);

/* ---- checkpoints.c */

/* The first epoch of which something is free, claimed or pending; epochs where there is none. */
aios_status checkpoints_first_open(database *db, const chunk_state *state, int64_t *epoch);
aios_status checkpoints_commit(database *db, int64_t checkpoint);

/* ---- export.c, import.c */

/* Writes what is committed, to path.  The mutex is not held. */
aios_status export_write(aios_chunk_tracker *tracker, const char *path);
/* Reads a JSON file into a database that is new.  Inside a transaction.  grid: what the caller chose, 0 for what is not, which gets what
 * the file says or the default.  is_look: nobody trains with it, so a total that is known by block alone will do. */
aios_status import_read(database *db, const char *path, chunk_grid *grid, int is_look);

#endif
