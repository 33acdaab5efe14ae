/* Looking: totals, progress of an epoch or a block, devices, claims. */
#include "spans.h"

#include <string.h>

/* ---- the tracker ------------------------------------------------------------------------------------------------- */

static aios_status get_info(aios_chunk_tracker *tracker, const chunk_state *s, aios_chunk_tracker_info *info)
{
    database *db = &tracker->db;
    int64_t epoch, claims[2], steps;
    int found;
    TRY_QUIET(checkpoints_first_open(db, s, &epoch));
    TRY_QUIET(db_get(db, DB_CLAIM_COUNT, NULL, 0, claims, 2, &found));
    TRY_QUIET(db_get(db, DB_SHARE_STEPS, NULL, 0, &steps, 1, &found));
    *info = (aios_chunk_tracker_info){.struct_size = sizeof *info,
                                      .needs_resume = s->needs_resume != 0,
                                      .block_samples = (uint64_t)tracker->grid.block,
                                      .chunk_samples = (uint64_t)tracker->grid.chunk,
                                      .total_samples = (uint64_t)s->total,
                                      .total_blocks = (uint64_t)grid_blocks_before(&tracker->grid, s->total),
                                      .epochs = (uint64_t)s->epochs,
                                      .current_epoch = (uint64_t)epoch,
                                      .sealed = (uint64_t)s->sealed,
                                      .committed = (uint64_t)s->committed,
                                      .forgotten = (uint64_t)s->forgotten,
                                      .claims = (uint64_t)claims[0],
                                      .steps = (uint64_t)steps,
                                      .brain_id = tracker->brain_id,
                                      .dataset_name = tracker->dataset_name,
                                      .dataset_identity = tracker->dataset_identity,
                                      .path = tracker->path};
    return AIOS_OK;
}

aios_status aios_chunk_tracker_get_info(aios_chunk_tracker *tracker, aios_chunk_tracker_info *info)
{
    aios_chunk_tracker_info made = AIOS_CHUNK_TRACKER_INFO_INIT;
    chunk_state state;
    if (!tracker || !info) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_get_info: tracker and info must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    TRY_QUIET(tracker_leave(tracker, get_info(tracker, &state, &made)));
    return aios_struct_write("aios_chunk_tracker_info", info, &made, sizeof made);
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

/* What lies whole within the gaps that are visited. */
struct sums {
    const chunk_grid *grid;
    int64_t samples, chunks, blocks;
};

static int64_t count_whole(int64_t begin_before_first, int64_t begin_before_end, int last_ends)
{
    int64_t count = begin_before_end - begin_before_first - (last_ends ? 0 : 1);
    return count > 0 ? count : 0;
}

static aios_status add_gap(void *user, int64_t first, int64_t end)
{
    struct sums *sums = user;
    const chunk_grid *grid = sums->grid;
    int chunk_ends = end == grid_chunk_end(grid, end - 1), block_ends = end == grid->total || end % grid->block == 0;
    sums->samples += end - first;
    sums->chunks += count_whole(grid_chunks_before(grid, first), grid_chunks_before(grid, end), chunk_ends);
    sums->blocks += count_whole(grid_blocks_before(grid, first), grid_blocks_before(grid, end), block_ends);
    return AIOS_OK;
}

/* Of samples [from, end); end 0: to the end that is not known. */
static aios_status get_progress(aios_chunk_tracker *tracker, int64_t epoch, int64_t from, int64_t end, aios_chunk_progress *p)
{
    const chunk_grid *grid = &tracker->grid;
    struct sums trained = {grid, 0, 0, 0}, committed = {grid, 0, 0, 0};
    span_list list;
    int64_t to = end ? end : INT64_MAX;
    TRY_QUIET(spans_read(&tracker->db, epoch, from, to, &list));
    /* Where the total is not known, the last span has no end and nothing is behind it. */
    (void)spans_each_gap(&list, SPAN_CLAIMED, from, end || list.count == 0 ? end : list.spans[list.count - 1].last + 1, add_gap, &trained);
    (void)spans_each_gap(&list, SPAN_PENDING, from, end || list.count == 0 ? end : list.spans[list.count - 1].last + 1, add_gap,
                         &committed);
    for (size_t i = 0; i < list.count; i++) {
        int64_t first = list.spans[i].first > from ? list.spans[i].first : from,
                last = list.spans[i].last < to - 1 ? list.spans[i].last : to - 1;
        if (list.spans[i].kind == SPAN_CLAIMED) p->claimed += (uint64_t)(last - first + 1);
    }
    spans_free(&tracker->db, &list);
    p->trained = (uint64_t)trained.samples;
    p->committed = (uint64_t)committed.samples;
    p->chunks_trained = (uint64_t)trained.chunks;
    p->chunks_committed = (uint64_t)committed.chunks;
    p->blocks_trained = (uint64_t)trained.blocks;
    p->blocks_committed = (uint64_t)committed.blocks;
    if (end) {
        p->samples = (uint64_t)(end - from);
        p->chunks = (uint64_t)(grid_chunks_before(grid, end) - grid_chunks_before(grid, from));
        p->blocks = (uint64_t)(grid_blocks_before(grid, end) - grid_blocks_before(grid, from));
        p->complete = p->trained == p->samples;
    }
    return AIOS_OK;
}

static aios_status check_epoch(const aios_chunk_tracker *tracker, const chunk_state *s, uint64_t epoch)
{
    if (epoch < (uint64_t)s->epochs) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "%s: epoch %llu has not begun: there are %lld, counted from 0", tracker->path, (unsigned long long)epoch,
                (long long)s->epochs);
}

static aios_status get_block(aios_chunk_tracker *tracker, const chunk_state *s, uint64_t epoch, uint64_t block, aios_chunk_progress *p)
{
    uint64_t most = s->total ? (uint64_t)grid_blocks_before(&tracker->grid, s->total) : (uint64_t)(INT64_MAX / 4 / tracker->grid.block);
    TRY_QUIET(check_epoch(tracker, s, epoch));
    if (block >= most)
        return FAIL(AIOS_OUT_OF_RANGE, "%s: block %llu: there are %llu, counted from 0", tracker->path, (unsigned long long)block,
                    (unsigned long long)most);
    int64_t from = (int64_t)block * tracker->grid.block, end = from + tracker->grid.block;
    return get_progress(tracker, (int64_t)epoch, from, s->total && end > s->total ? s->total : end, p);
}

aios_status aios_chunk_tracker_get_epoch(aios_chunk_tracker *tracker, uint64_t epoch, aios_chunk_progress *progress)
{
    aios_chunk_progress made = AIOS_CHUNK_PROGRESS_INIT;
    chunk_state state;
    if (!tracker || !progress) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_get_epoch: tracker and progress must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    aios_status status = check_epoch(tracker, &state, epoch);
    if (status == AIOS_OK) status = get_progress(tracker, (int64_t)epoch, 0, state.total, &made);
    TRY_QUIET(tracker_leave(tracker, status));
    return aios_struct_write("aios_chunk_progress", progress, &made, sizeof made);
}

aios_status aios_chunk_tracker_get_block(aios_chunk_tracker *tracker, uint64_t epoch, uint64_t block, aios_chunk_progress *progress)
{
    aios_chunk_progress made = AIOS_CHUNK_PROGRESS_INIT;
    chunk_state state;
    if (!tracker || !progress) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_get_block: tracker and progress must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    TRY_QUIET(tracker_leave(tracker, get_block(tracker, &state, epoch, block, &made)));
    return aios_struct_write("aios_chunk_progress", progress, &made, sizeof made);
}

/* ---- devices, claims --------------------------------------------------------------------------------------------- */

static aios_status get_share(aios_chunk_tracker *tracker, uint64_t epoch, uint32_t index, aios_chunk_share *share)
{
    database *db = &tracker->db;
    int found;
    TRY_QUIET(db_start(db, DB_SHARE_LIST, DB_VALUES(INT(epoch > INT64_MAX ? -1 : (int64_t)epoch), INT(index))));
    TRY_QUIET(db_next(db, DB_SHARE_LIST, &found));
    if (found) {
        share->gpu_id = (int32_t)db_int(db, DB_SHARE_LIST, 0);
        (void)snprintf(share->device, sizeof share->device, "%s", db_text(db, DB_SHARE_LIST, 1));
        share->committed = (uint64_t)db_int(db, DB_SHARE_LIST, 2);
        share->pending = (uint64_t)db_int(db, DB_SHARE_LIST, 3);
        share->steps = (uint64_t)db_int(db, DB_SHARE_LIST, 4);
    }
    db_stop(db, DB_SHARE_LIST);
    return found ? AIOS_OK : FAIL(AIOS_NOT_FOUND, "%s: fewer than %llu devices trained", tracker->path, (unsigned long long)index + 1);
}

aios_status aios_chunk_tracker_get_share(aios_chunk_tracker *tracker, uint64_t epoch, uint32_t index, aios_chunk_share *share)
{
    aios_chunk_share made = AIOS_CHUNK_SHARE_INIT;
    chunk_state state;
    if (!tracker || !share) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_get_share: tracker and share must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    TRY_QUIET(tracker_leave(tracker, get_share(tracker, epoch, index, &made)));
    return aios_struct_write("aios_chunk_share", share, &made, sizeof made);
}

static aios_status get_holder(aios_chunk_tracker *tracker, uint32_t index, aios_chunk_holder *h)
{
    database *db = &tracker->db;
    const db_id id = DB_CLAIM_LIST;
    os_process self;
    int found;
    TRY_QUIET(db_start(db, id, DB_VALUES(INT(index))));
    TRY_QUIET(db_next(db, id, &found));
    if (found) {
        int64_t first = db_int(db, id, 2);
        os_process_self(&self);
        h->token = (uint64_t)db_int(db, id, 0);
        h->epoch = (uint64_t)db_int(db, id, 1);
        h->block = (uint64_t)(first / tracker->grid.block);
        h->chunk = (uint64_t)(first % tracker->grid.block / tracker->grid.chunk);
        h->first = (uint64_t)first;
        h->end = (uint64_t)db_int(db, id, 3);
        h->trained = (uint64_t)(db_int(db, id, 4) - first);
        h->lease_seconds = db_real(db, id, 5) - os_now();
        h->claimed_at = db_real(db, id, 6);
        h->gpu_id = (int32_t)db_int(db, id, 7);
        (void)snprintf(h->device, sizeof h->device, "%s", db_text(db, id, 8));
        (void)snprintf(h->owner, sizeof h->owner, "%s", db_text(db, id, 9));
        h->process = strcmp(db_text(db, id, 12), self.boot) == 0 ? db_int(db, id, 10) : 0;
    }
    db_stop(db, id);
    return found ? AIOS_OK : FAIL(AIOS_NOT_FOUND, "%s: there are fewer than %llu claims", tracker->path, (unsigned long long)index + 1);
}

aios_status aios_chunk_tracker_get_holder(aios_chunk_tracker *tracker, uint32_t index, aios_chunk_holder *holder)
{
    aios_chunk_holder made = AIOS_CHUNK_HOLDER_INIT;
    chunk_state state;
    if (!tracker || !holder) return FAIL(AIOS_INVALID_ARGUMENT, "aios_chunk_tracker_get_holder: tracker and holder must not be NULL");
    TRY_QUIET(tracker_enter(tracker, TRACKER_READS, &state));
    TRY_QUIET(tracker_leave(tracker, get_holder(tracker, index, &made)));
    return aios_struct_write("aios_chunk_holder", holder, &made, sizeof made);
}
