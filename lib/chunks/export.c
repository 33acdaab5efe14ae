/* chunk_tracker_state.json, written. */
#include "base/json.h"
#include "spans.h"

#include <string.h>

#define DETAIL_MOST 20000 /* chunks that are listed one by one: the file is written at every checkpoint */

/* What is committed of one epoch. */
struct epoch {
    int64_t number, end; /* end: of the samples that can be told of */
    span_list list;
};

static aios_status read_epoch(aios_chunk_tracker *tracker, int64_t number, struct epoch *e)
{
    *e = (struct epoch){number, tracker->grid.total, {NULL, 0, 0}};
    TRY_QUIET(spans_read(&tracker->db, number, 0, INT64_MAX, &e->list));
    if (e->end == 0 && e->list.count > 0) e->end = e->list.spans[e->list.count - 1].first;
    return AIOS_OK;
}

/* ---- lists of numbers -------------------------------------------------------------------------------------------- */

struct writer {
    aios_chunk_tracker *tracker;
    json_text *out;
    int64_t epoch, next; /* next: the lowest block that is not listed yet */
    int64_t chunks, listed;
    int is_all, is_first;
};

static void comma(struct writer *w)
{
    if (!w->is_first) json_text_put(w->out, ", ", 2);
    w->is_first = 0;
}

static aios_status put_range(void *user, int64_t first, int64_t end)
{
    struct writer *w = user;
    comma(w);
    json_text_format(w->out, "[%lld, %lld]", (long long)first, (long long)end);
    return w->out->status;
}

static aios_status put_blocks(struct writer *w, int64_t first, int64_t end)
{
    for (int64_t block = first > w->next ? first : w->next; block < end; block++) {
        comma(w);
        json_text_format(w->out, "%lld", (long long)block);
        w->next = block + 1;
    }
    return w->out->status;
}

/* The blocks that begin before `end` and have ended by then. */
static int64_t blocks_ended(const chunk_grid *grid, int64_t end)
{
    return end == grid->total ? grid_blocks_before(grid, end) : end / grid->block;
}

static aios_status put_whole_blocks(void *user, int64_t first, int64_t end)
{
    struct writer *w = user;
    return put_blocks(w, grid_blocks_before(&w->tracker->grid, first), blocks_ended(&w->tracker->grid, end));
}

static aios_status put_touched_blocks(void *user, int64_t first, int64_t end)
{
    struct writer *w = user;
    return put_blocks(w, first / w->tracker->grid.block, grid_blocks_before(&w->tracker->grid, end));
}

static void put_list(struct writer *w, const struct epoch *e, const char *name, int most_kind, span_visit visit)
{
    json_text_format(w->out, ",\n  \"%s\": [", name);
    w->is_first = 1;
    w->next = 0;
    (void)spans_each_gap(&e->list, most_kind, 0, e->end, visit, w);
    json_text_put(w->out, "]", 1);
}

/* ---- chunks one by one ------------------------------------------------------------------------------------------- */

static aios_status count_chunks(void *user, int64_t first, int64_t end)
{
    struct writer *w = user;
    w->chunks += grid_chunks_before(&w->tracker->grid, end) - grid_chunks_before(&w->tracker->grid, first);
    return AIOS_OK;
}

/* A row of `done`. */
struct row {
    int64_t first, end, gpu_id, optimizer_step, steps;
    int found;
};

static aios_status next_row(database *db, struct row *row)
{
    const db_id id = DB_DONE_WITHIN;
    TRY_QUIET(db_next(db, id, &row->found));
    if (!row->found) return AIOS_OK;
    *row =
        (struct row){db_int(db, id, 0), db_int(db, id, 0) + db_int(db, id, 1), db_int(db, id, 2), db_int(db, id, 3), db_int(db, id, 4), 1};
    return AIOS_OK;
}

/* One chunk, whose samples [first, end) are those of the rows from `row` on. */
static aios_status put_chunk(struct writer *w, int64_t first, int64_t end, struct row *row)
{
    const chunk_grid *grid = &w->tracker->grid;
    int64_t gpu_id = -1, optimizer_step = 0, steps = 0;
    while (row->found && row->first < end) {
        if (row->end > first) {
            gpu_id = row->gpu_id;
            optimizer_step = row->optimizer_step > optimizer_step ? row->optimizer_step : optimizer_step;
            if (row->first >= first) steps += row->steps;
        }
        if (row->end > end) break;
        TRY_QUIET(next_row(&w->tracker->db, row));
    }
    w->listed++;
    comma(w);
    json_text_format(w->out, "\n    {\"block_id\": %lld, \"chunk_id\": %lld, \"gpu_id\": %lld, \"optimizer_step\": %lld, \"steps\": %lld}",
                     (long long)(first / grid->block), (long long)(first % grid->block / grid->chunk), (long long)gpu_id,
                     (long long)optimizer_step, (long long)steps);
    return w->out->status;
}

/* The whole chunks within [from, end), where all is committed. */
static aios_status put_chunks_within(struct writer *w, int64_t from, int64_t end)
{
    const chunk_grid *grid = &w->tracker->grid;
    database *db = &w->tracker->db;
    struct row row = {0};
    int64_t before;
    int found;
    if (end <= from || w->listed == DETAIL_MOST) return AIOS_OK;
    TRY_QUIET(db_get(db, DB_DONE_BEFORE, DB_VALUES(INT(w->epoch), INT(from)), &before, 1, &found));
    TRY_QUIET(db_start(db, DB_DONE_WITHIN, DB_VALUES(INT(w->epoch), INT(before), INT(end))));
    aios_status status = next_row(db, &row);
    for (int64_t chunk = grid_chunks_before(grid, from); status == AIOS_OK && w->listed < DETAIL_MOST; chunk++) {
        int64_t first = grid_chunk_first(grid, chunk);
        if (first >= end || grid_chunk_end(grid, first) > end) break;
        status = put_chunk(w, first, grid_chunk_end(grid, first), &row);
    }
    db_stop(db, DB_DONE_WITHIN);
    return status;
}

static aios_status put_chunks(void *user, int64_t first, int64_t end)
{
    struct writer *w = user;
    int64_t block = w->tracker->grid.block;
    int64_t whole = grid_blocks_before(&w->tracker->grid, first) * block, rest = blocks_ended(&w->tracker->grid, end) * block;
    if (w->is_all || whole > rest) return put_chunks_within(w, first, end);
    TRY_QUIET(put_chunks_within(w, first, whole));
    return put_chunks_within(w, rest, end);
}

static aios_status put_completed(struct writer *w, const struct epoch *e)
{
    w->chunks = 0;
    w->is_first = 1;
    (void)spans_each_gap(&e->list, SPAN_PENDING, 0, e->end, count_chunks, w);
    w->is_all = w->chunks <= DETAIL_MOST;
    json_text_format(w->out, ",\n  \"completed_chunks\": [");
    TRY_QUIET(spans_each_gap(&e->list, SPAN_PENDING, 0, e->end, put_chunks, w));
    json_text_format(w->out, "%s]", w->is_first ? "" : "\n  ");
    return AIOS_OK;
}

static aios_status put_claims(struct writer *w)
{
    const db_id id = DB_CLAIM_LIST;
    database *db = &w->tracker->db;
    int found;
    w->is_first = 1;
    json_text_format(w->out, ",\n  \"in_progress_chunks\": [");
    TRY_QUIET(db_start(db, id, DB_VALUES(INT(0))));
    for (;;) {
        TRY_QUIET(db_next(db, id, &found));
        if (!found) break;
        int64_t first = db_int(db, id, 2), block = w->tracker->grid.block;
        comma(w);
        json_text_format(w->out,
                         "\n    {\"block_id\": %lld, \"chunk_id\": %lld, \"gpu_id\": %lld, \"timestamp\": ", (long long)(first / block),
                         (long long)(first % block / w->tracker->grid.chunk), (long long)db_int(db, id, 7));
        json_text_number(w->out, db_real(db, id, 6));
        json_text_put(w->out, "}", 1);
    }
    db_stop(db, id);
    json_text_format(w->out, "%s]", w->is_first ? "" : "\n  ");
    return AIOS_OK;
}

/* ---- the document ------------------------------------------------------------------------------------------------ */

static void put_text(json_text *out, const char *name, const char *text)
{
    json_text_format(out, "\"%s\": ", name);
    json_text_string(out, text, strlen(text), JSON_TEXT_COMPACT);
}

static void put_or_null(json_text *out, const char *name, int64_t value)
{
    if (value)
        json_text_format(out, "\"%s\": %lld", name, (long long)value);
    else
        json_text_format(out, "\"%s\": null", name);
}

/* What an import goes by. */
static aios_status put_own(struct writer *w, const chunk_state *s, int64_t current)
{
    json_text *out = w->out;
    const chunk_grid *grid = &w->tracker->grid;
    json_text_format(out, ",\n  \"libaios\": {\"version\": 1, \"block_samples\": %lld, \"chunk_samples\": %lld, ", (long long)grid->block,
                     (long long)grid->chunk);
    put_or_null(out, "total_samples", grid->total);
    json_text_format(out, ", ");
    put_text(out, "dataset_identity", w->tracker->dataset_identity);
    json_text_format(out, ", \"checkpoint\": %lld, \"epochs\": %lld, \"epochs_open\": [", (long long)s->committed, (long long)s->epochs);
    for (int64_t number = current; number < s->epochs; number++) {
        struct epoch e;
        TRY_QUIET(read_epoch(w->tracker, number, &e));
        if (e.list.count > 0) {
            json_text_format(out, "%s\n    {\"epoch\": %lld, \"completed\": [", number > current ? "," : "", (long long)number);
            w->is_first = 1;
            (void)spans_each_gap(&e.list, SPAN_PENDING, 0, e.end, put_range, w);
            json_text_format(out, "]}");
        }
        spans_free(&w->tracker->db, &e.list);
    }
    json_text_format(out, "]}\n}\n");
    return AIOS_OK;
}

static aios_status put_document(aios_chunk_tracker *tracker, const chunk_state *s, json_text *out)
{
    struct writer w = {.tracker = tracker, .out = out};
    struct epoch e;
    int64_t current, steps;
    int found;
    TRY_QUIET(checkpoints_first_open(&tracker->db, s, &current));
    TRY_QUIET(db_get(&tracker->db, DB_SHARE_STEPS, NULL, 0, &steps, 1, &found));
    TRY_QUIET(read_epoch(tracker, current, &e));
    if (current == s->epochs) e.end = 0; /* nothing of it has begun */
    w.epoch = current;
    json_text_format(out, "{\n  ");
    put_text(out, "brain_id", tracker->brain_id);
    json_text_format(out, ",\n  ");
    put_text(out, "dataset_name", tracker->dataset_name);
    aios_status status = put_completed(&w, &e);
    put_list(&w, &e, "started_blocks", SPAN_FREE, put_touched_blocks);
    put_list(&w, &e, "completed_blocks", SPAN_PENDING, put_whole_blocks);
    json_text_format(out, ",\n  \"current_epoch\": %lld", (long long)current);
    put_list(&w, &e, "blocks_this_epoch", SPAN_FREE, put_touched_blocks);
    json_text_format(out, ",\n  ");
    put_or_null(out, "total_blocks_in_dataset", grid_blocks_before(&tracker->grid, tracker->grid.total));
    json_text_format(out, ",\n  \"total_steps\": %lld", (long long)steps);
    spans_free(&tracker->db, &e.list);
    TRY_QUIET(status);
    TRY_QUIET(put_claims(&w));
    return put_own(&w, s, current);
}

static aios_status read_document(aios_chunk_tracker *tracker, json_text *out)
{
    chunk_state state;
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    return tracker_leave(tracker, put_document(tracker, &state, out));
}

aios_status export_write(aios_chunk_tracker *tracker, const char *path)
{
    json_text out = JSON_TEXT_INIT(tracker->context);
    os_file lock = OS_FILE_CLOSED;
    aios_status status = AIOS_OK;
    /* From reading to replacing, so that an older state never follows a newer one. */
    if (!tracker->read_only) {
        status = os_lock_take(tracker->lock_path, tracker->busy_seconds, &lock);
        if (status != AIOS_OK && status != AIOS_UNSUPPORTED) return status;
    }
    ATTEMPT_QUIET(read_document(tracker, &out));
    ATTEMPT_QUIET(json_text_end(&out));
    ATTEMPT_QUIET(os_file_replace(path, out.text, out.size));
done:
    json_text_free(&out);
    os_lock_release(&lock);
    return status;
}

aios_status aios_chunk_tracker_export(aios_chunk_tracker *tracker, const char *path)
{
    if (!tracker) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_export: tracker must not be NULL");
    if (!path && tracker->read_only) return FAIL(AIOS_WRONG_STATE, "%s was opened with read_only: give a path to write to", tracker->path);
    return export_write(tracker, path ? path : tracker->json_path);
}
