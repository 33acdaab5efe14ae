/* chunk_tracker_state.json, read: what libaios wrote, and what earlier programs did. */
#include "base/json.h"
#include "schema.h"
#include "tracker.h"

#include <limits.h>
#include <string.h>

/* The file while it is read. */
struct reader {
    database *db;
    chunk_grid grid;
    int64_t epoch, label; /* of what is marked; label: its checkpoint */
    int64_t steps;        /* of the chunks that were marked */
};

/* Marks what is free of [first, end) as committed. */
static aios_status mark(struct reader *r, int64_t epoch, int64_t first, int64_t end, int64_t device, int64_t optimizer_step, int64_t steps)
{
    range found;
    int is_found;
    for (;;) {
        TRY_QUIET(ranges_find(r->db, epoch, first, &found, &is_found));
        if (!is_found || found.first >= end) return AIOS_OK;
        int64_t from = found.first > first ? found.first : first, to = found.last + 1 < end ? found.last + 1 : end;
        TRY_QUIET(ranges_take(r->db, &found, from, to));
        TRY_QUIET(db_run(r->db, DB_DONE_ADD,
                         DB_VALUES(INT(epoch), INT(from), INT(to - from), INT(device), INT(optimizer_step), INT(steps), INT(r->label))));
        TRY_QUIET(db_run(r->db, DB_SHARE_ADD, DB_VALUES(INT(epoch), INT(device), INT(to - from), INT(steps))));
        r->steps += steps;
        steps = 0;
        first = to;
    }
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

/* The first of the spellings that the object has; 0 where it has none. */
static aios_status get_spelled(const json_t *object, const char *const *names, int64_t *value)
{
    *value = 0;
    for (; *names; names++)
        if (json_object_get(object, *names)) return json_get_int_or(object, *names, 0, 0, INT64_MAX, value);
    return AIOS_OK;
}

static aios_status read_chunk(struct reader *r, const json_t *entry)
{
    static const char *const step_names[] = {"optimizer_step", "step", NULL};
    static const char *const steps_names[] = {"steps", "samples_trained", "true_steps", NULL};
    int64_t block, chunk, gpu_id, optimizer_step, steps, device, chunks = grid_chunks_per_block(&r->grid);
    TRY_QUIET(json_get_int(entry, "block_id", 0, INT64_MAX / 4 / r->grid.block, &block));
    TRY_QUIET(json_get_int(entry, "chunk_id", 0, INT64_MAX, &chunk));
    TRY_QUIET(json_get_int_or(entry, "gpu_id", -1, INT32_MIN, INT32_MAX, &gpu_id));
    TRY_QUIET(get_spelled(entry, step_names, &optimizer_step));
    TRY_QUIET(get_spelled(entry, steps_names, &steps));
    if (chunk >= chunks)
        return FAIL(AIOS_CORRUPT,
                    "chunk_id is %lld: a block of %lld samples has %lld chunks of %lld: give the sizes that the file was made with",
                    (long long)chunk, (long long)r->grid.block, (long long)chunks, (long long)r->grid.chunk);
    int64_t first = block * r->grid.block + chunk * r->grid.chunk;
    TRY_QUIET(owners_find_device(r->db, gpu_id, "", &device));
    return mark(r, r->epoch, first, grid_chunk_end(&r->grid, first), device, optimizer_step, steps);
}

static int holds(const json_t *list, int64_t number)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_integer_value(json_array_get(list, i)) == number) return 1;
    return 0;
}

/* only: count the chunks of these blocks alone; NULL: of all. */
static aios_status read_chunks(struct reader *r, const json_t *root, const json_t *only)
{
    json_t *list;
    size_t left = 0;
    if (!json_object_get(root, "completed_chunks")) return AIOS_OK;
    TRY_QUIET(json_get_array(root, "completed_chunks", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        if (!json_is_object(entry)) return FAIL(AIOS_CORRUPT, "completed_chunks[%zu] is no object", i);
        if (only && !holds(only, json_integer_value(json_object_get(entry, "block_id")))) {
            left++;
            continue;
        }
        TRY(read_chunk(r, entry), "completed_chunks[%zu]", i);
    }
    if (left > 0) aios_log(r->db->context, AIOS_LOG_INFO, "%zu completed chunks of earlier epochs were left out", left);
    return AIOS_OK;
}

/* ---- what libaios wrote ------------------------------------------------------------------------------------------ */

static aios_status read_epoch(struct reader *r, const json_t *entry, int64_t epochs)
{
    int64_t epoch, device, most = r->grid.total ? r->grid.total : SCHEMA_OPEN_LAST;
    json_t *ranges;
    if (!json_is_object(entry)) return FAIL(AIOS_CORRUPT, "it is no object");
    TRY_QUIET(json_get_int(entry, "epoch", 0, epochs - 1, &epoch));
    TRY_QUIET(json_get_array(entry, "completed", &ranges));
    TRY_QUIET(owners_find_device(r->db, -1, "", &device));
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        const json_t *pair = json_array_get(ranges, i), *first = json_array_get(pair, 0), *end = json_array_get(pair, 1);
        if (!json_is_integer(first) || !json_is_integer(end) || json_integer_value(first) < 0 ||
            json_integer_value(end) <= json_integer_value(first) || json_integer_value(end) > most)
            return FAIL(AIOS_CORRUPT, "completed[%zu] must be two samples, the second above the first and at most %lld", i,
                        (long long)most);
        TRY_QUIET(mark(r, epoch, json_integer_value(first), json_integer_value(end), device, 0, 0));
    }
    return AIOS_OK;
}

/* An open epoch is free before its list is read; one that is not listed is complete. */
static aios_status open_epochs(struct reader *r, const json_t *open, int64_t epochs)
{
    int64_t last = r->grid.total ? r->grid.total - 1 : SCHEMA_OPEN_LAST;
    for (size_t i = 0; i < json_array_size(open); i++) {
        int64_t epoch;
        TRY(json_get_int(json_array_get(open, i), "epoch", 0, epochs - 1, &epoch), "epochs_open[%zu]", i);
        TRY_QUIET(db_run(r->db, DB_FREE_ADD, DB_VALUES(INT(epoch), INT(0), INT(last))));
    }
    return db_run(r->db, DB_STATE_SET_EPOCHS, DB_VALUES(INT(epochs)));
}

static aios_status read_own(struct reader *r, const json_t *root, const json_t *own)
{
    int64_t version, epochs, current, block, chunk;
    const char *brain, *name, *identity;
    json_t *open;
    TRY_QUIET(json_get_int(own, "version", 1, INT64_MAX, &version));
    if (version > 1)
        return FAIL(AIOS_UNSUPPORTED, "the file has version %lld: this libaios reads version 1, so use a newer one", (long long)version);
    TRY_QUIET(json_get_int(own, "block_samples", 1, (int64_t)1 << 40, &block));
    TRY_QUIET(json_get_int(own, "chunk_samples", 1, block, &chunk));
    TRY_QUIET(json_get_int_or(own, "total_samples", 0, 1, SCHEMA_OPEN_LAST, &r->grid.total));
    TRY_QUIET(json_get_int(own, "checkpoint", 0, INT64_MAX - 1, &r->label));
    TRY_QUIET(json_get_int(own, "epochs", 1, INT32_MAX, &epochs));
    TRY_QUIET(json_get_int(root, "current_epoch", 0, epochs, &current));
    TRY_QUIET(json_get_array(own, "epochs_open", &open));
    TRY_QUIET(json_get_string_or(own, "dataset_identity", "", &identity));
    TRY_QUIET(json_get_string_or(root, "brain_id", "", &brain));
    TRY_QUIET(json_get_string_or(root, "dataset_name", "", &name));
    r->grid.block = block; /* those of the file: its chunks are numbered so */
    r->grid.chunk = chunk;
    r->epoch = current;
    if (r->grid.total) TRY_QUIET(db_run(r->db, DB_STATE_SET_TOTAL, DB_VALUES(INT(r->grid.total))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_NAMES, DB_VALUES(TEXT(brain), TEXT(name), TEXT(identity))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_SEALED, DB_VALUES(INT(r->label))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_COMMITTED, DB_VALUES(INT(r->label))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_FORGOTTEN, DB_VALUES(INT(r->label))));
    TRY_QUIET(open_epochs(r, open, epochs));
    TRY_QUIET(read_chunks(r, root, NULL));
    for (size_t i = 0; i < json_array_size(open); i++) TRY(read_epoch(r, json_array_get(open, i), epochs), "epochs_open[%zu]", i);
    return AIOS_OK;
}

/* ---- what earlier programs wrote --------------------------------------------------------------------------------- */

static aios_status read_earlier(struct reader *r, const json_t *root, int is_look)
{
    const char *brain, *name;
    int64_t blocks;
    json_t *only = NULL;
    if (!json_object_get(root, "completed_chunks") && !json_object_get(root, "current_epoch"))
        return FAIL(AIOS_CORRUPT, "this is no chunk tracker's state: it has neither completed_chunks nor current_epoch");
    TRY_QUIET(json_get_int_or(root, "current_epoch", 0, 0, INT32_MAX - 1, &r->epoch));
    TRY_QUIET(json_get_string_or(root, "brain_id", "", &brain));
    TRY_QUIET(json_get_string_or(root, "dataset_name", "", &name));
    TRY_QUIET(json_get_int_or(root, "total_blocks_in_dataset", 0, 0, INT64_MAX / 4 / r->grid.block, &blocks));
    if (r->epoch > 0) TRY_QUIET(json_get_array(root, "blocks_this_epoch", &only));
    if (is_look && r->grid.total == 0) r->grid.total = blocks * r->grid.block;
    if (r->grid.total) TRY_QUIET(db_run(r->db, DB_STATE_SET_TOTAL, DB_VALUES(INT(r->grid.total))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_NAMES, DB_VALUES(TEXT(brain), TEXT(name), TEXT(""))));
    TRY_QUIET(db_run(r->db, DB_FREE_ADD, DB_VALUES(INT(r->epoch), INT(0), INT(r->grid.total ? r->grid.total - 1 : SCHEMA_OPEN_LAST))));
    TRY_QUIET(db_run(r->db, DB_STATE_SET_EPOCHS, DB_VALUES(INT(r->epoch + 1))));
    return read_chunks(r, root, only);
}

/* Steps that no chunk of the file accounts for. */
static aios_status add_steps(struct reader *r, const json_t *root)
{
    static const char *const names[] = {"total_steps", "total_true_steps", "total_samples_trained", NULL};
    int64_t total, device;
    TRY_QUIET(get_spelled(root, names, &total));
    if (total <= r->steps) return AIOS_OK;
    TRY_QUIET(owners_find_device(r->db, -1, "", &device));
    return db_run(r->db, DB_SHARE_ADD, DB_VALUES(INT(r->epoch), INT(device), INT(0), INT(total - r->steps)));
}

static aios_status read_root(struct reader *r, const json_t *root, int is_look)
{
    const json_t *own = json_object_get(root, "libaios");
    if (!json_is_object(root)) return FAIL(AIOS_CORRUPT, "it must be an object");
    if (own && !json_is_object(own)) return FAIL(AIOS_CORRUPT, "\"libaios\" must be an object");
    TRY_QUIET(own ? read_own(r, root, own) : read_earlier(r, root, is_look));
    return add_steps(r, root);
}

aios_status import_read(database *db, const char *path, chunk_grid *grid, int is_look)
{
    json_t *root;
    struct reader r = {.db = db, .grid = *grid};
    r.grid.block = r.grid.block ? r.grid.block : AIOS_CHUNK_BLOCK_SAMPLES;
    r.grid.chunk = r.grid.chunk ? r.grid.chunk : AIOS_CHUNK_SAMPLES;
    if (r.grid.chunk > r.grid.block)
        return FAIL(AIOS_INVALID_ARGUMENT, "chunk_samples is %lld: it must be from 1 to block_samples, which is %lld",
                    (long long)r.grid.chunk, (long long)r.grid.block);
    /* The lists of blocks of 100 million chunks. */
    const json_limits limits = {(uint64_t)1 << 29, 16, (uint64_t)1 << 24};
    aios_status status = json_read_file(db->context, path, &limits, &root);
    if (status == AIOS_OK) {
        status = read_root(&r, root, is_look);
        json_decref(root);
    }
    if (status == AIOS_OUT_OF_RANGE) { /* a number that can't be is what a damaged file holds */
        aios_error_record record;
        aios_error_save(&record);
        record.status = AIOS_CORRUPT;
        status = aios_error_restore(&record);
    }
    if (status != AIOS_OK) return aios_error_add_frame(status, "importing %s, which is left as it is", path);
    grid->block = grid->block ? grid->block : r.grid.block;
    grid->chunk = grid->chunk ? grid->chunk : r.grid.chunk;
    return AIOS_OK;
}
