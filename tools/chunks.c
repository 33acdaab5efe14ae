/* aios chunks: how far a dataset is trained, by epoch, block and device, and who works on it. */
#include "output.h"
#include "tool.h"

#include <aios/chunk_tracker.h>

#include <string.h>

enum { BLOCKS_SHOWN = 20, EPOCHS_SHOWN = 10 };

/* The folder that STATE stands for: itself, or the one that holds the database or JSON file. */
static const char *folder_of(const char *state, char *folder, size_t size)
{
    static const char *const files[] = {"chunk_tracker.sqlite", "chunk_tracker_state.json"};
    const char *slash = strrchr(state, '/'), *name = slash ? slash + 1 : state;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (strcmp(name, files[i]) != 0) continue;
        (void)snprintf(folder, size, "%.*s", slash ? (int)(slash - state) + (slash == state) : 1, slash ? state : ".");
        return folder;
    }
    return state;
}

/* ---- what there is ------------------------------------------------------------------------------------------------ */

/* Calls visit for every block of an epoch that has a sample trained or claimed, in order. */
typedef void (*block_visit)(void *user, uint64_t block, const aios_chunk_progress *progress);
static aios_status each_block(aios_chunk_tracker *tracker, uint64_t epoch, block_visit visit, void *user)
{
    aios_chunk_progress all = AIOS_CHUNK_PROGRESS_INIT, p = AIOS_CHUNK_PROGRESS_INIT;
    uint64_t touched = 0;
    aios_status status = aios_chunk_tracker_get_epoch(tracker, epoch, &all);
    for (uint64_t block = 0; status == AIOS_OK && touched < all.trained + all.claimed; block++) {
        status = aios_chunk_tracker_get_block(tracker, epoch, block, &p);
        if (status == AIOS_OK && p.trained + p.claimed > 0) visit(user, block, &p);
        touched += p.trained + p.claimed;
    }
    return status == AIOS_OUT_OF_RANGE ? AIOS_OK : status; /* somebody trained on between two calls */
}

static json_t *number_or_null(uint64_t number)
{
    return number ? json_integer((json_int_t)number) : json_null();
}

/* ---- as JSON ------------------------------------------------------------------------------------------------------ */

static json_t *report_progress(const char *name, uint64_t number, const aios_chunk_progress *p)
{
    return need_memory(json_pack("{sI sb so sI sI sI so sI sI so sI sI}", name, (json_int_t)number, "complete", p->complete, "samples",
                                 number_or_null(p->samples), "samples_trained", (json_int_t)p->trained, "samples_committed",
                                 (json_int_t)p->committed, "samples_claimed", (json_int_t)p->claimed, "chunks", number_or_null(p->chunks),
                                 "chunks_trained", (json_int_t)p->chunks_trained, "chunks_committed", (json_int_t)p->chunks_committed,
                                 "blocks", number_or_null(p->blocks), "blocks_trained", (json_int_t)p->blocks_trained, "blocks_committed",
                                 (json_int_t)p->blocks_committed));
}

static void report_block(void *user, uint64_t block, const aios_chunk_progress *progress)
{
    (void)json_array_append_new(user, report_progress("block_id", block, progress));
}

static json_t *report_devices_of(aios_chunk_tracker *tracker, uint64_t epoch)
{
    json_t *devices = need_memory(json_array());
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    for (uint32_t i = 0; aios_chunk_tracker_get_share(tracker, epoch, i, &share) == AIOS_OK; i++)
        (void)json_array_append_new(devices, json_pack("{so si sI sI sI}", "device", json_from_text(share.device), "gpu_id",
                                                       (int)share.gpu_id, "samples_committed", (json_int_t)share.committed,
                                                       "samples_pending", (json_int_t)share.pending, "steps", (json_int_t)share.steps));
    return devices;
}

static json_t *report_claims(aios_chunk_tracker *tracker)
{
    json_t *claims = need_memory(json_array());
    aios_chunk_holder h = AIOS_CHUNK_HOLDER_INIT;
    for (uint32_t i = 0; aios_chunk_tracker_get_holder(tracker, i, &h) == AIOS_OK; i++)
        (void)json_array_append_new(claims, json_pack("{sI sI sI sI sI sI sI so si so sI sf sf}", "token", (json_int_t)h.token, "epoch",
                                                      (json_int_t)h.epoch, "block_id", (json_int_t)h.block, "chunk_id", (json_int_t)h.chunk,
                                                      "first", (json_int_t)h.first, "end", (json_int_t)h.end, "samples_trained",
                                                      (json_int_t)h.trained, "device", json_from_text(h.device), "gpu_id", (int)h.gpu_id,
                                                      "owner", json_from_text(h.owner), "process", (json_int_t)h.process, "lease_seconds",
                                                      h.lease_seconds, "claimed_at", h.claimed_at));
    return claims;
}

static int print_report(aios_chunk_tracker *tracker, const aios_chunk_tracker_info *info)
{
    json_t *epochs = need_memory(json_array()), *blocks = need_memory(json_array());
    aios_status status = AIOS_OK;
    for (uint64_t epoch = 0; epoch < info->epochs && status == AIOS_OK; epoch++) {
        aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
        status = aios_chunk_tracker_get_epoch(tracker, epoch, &p);
        json_t *entry = report_progress("epoch", epoch, &p);
        (void)json_object_set_new(entry, "devices", report_devices_of(tracker, epoch));
        (void)json_array_append_new(epochs, entry);
    }
    if (status == AIOS_OK && info->current_epoch < info->epochs) status = each_block(tracker, info->current_epoch, report_block, blocks);
    json_t *report = json_pack("{so so so so sI sI so so sI sI sI sb sI so so so}", "path", json_from_text(info->path), "brain_id",
                               json_from_text(info->brain_id), "dataset_name", json_from_text(info->dataset_name), "dataset_identity",
                               json_from_text(info->dataset_identity), "block_samples", (json_int_t)info->block_samples, "chunk_samples",
                               (json_int_t)info->chunk_samples, "total_samples", number_or_null(info->total_samples),
                               "total_blocks_in_dataset", number_or_null(info->total_blocks), "current_epoch",
                               (json_int_t)info->current_epoch, "checkpoint_sealed", (json_int_t)info->sealed, "checkpoint_committed",
                               (json_int_t)info->committed, "needs_resume", info->needs_resume, "total_steps", (json_int_t)info->steps,
                               "epochs", epochs, "blocks_this_epoch", blocks, "in_progress_chunks", report_claims(tracker));
    if (status != AIOS_OK) {
        json_decref(report);
        return tool_fail_library(TOOL_ERROR);
    }
    print_json(need_memory(report), stdout);
    return TOOL_DONE;
}

/* ---- for people --------------------------------------------------------------------------------------------------- */

static void add_progress(struct grid *grid, const char *name, const aios_chunk_progress *p)
{
    char chunks[NUMBER_SIZE], total[NUMBER_SIZE], of[2 * NUMBER_SIZE + 8], samples[NUMBER_SIZE], committed[NUMBER_SIZE],
        claimed[NUMBER_SIZE], part[32] = "-";
    (void)snprintf(of, sizeof of, "%s of %s", show_count((int64_t)p->chunks_trained, chunks),
                   p->chunks ? show_count((int64_t)p->chunks, total) : "?");
    if (p->samples) (void)snprintf(part, sizeof part, "%.1f %%", 100.0 * (double)p->trained / (double)p->samples);
    grid_add(grid, name, of, show_count((int64_t)p->trained, samples), part, show_count((int64_t)p->committed, committed),
             show_count((int64_t)p->claimed, claimed));
}

struct block_table {
    struct grid grid;
    uint64_t complete, left;
};

static void add_block(void *user, uint64_t block, const aios_chunk_progress *p)
{
    struct block_table *table = user;
    char name[NUMBER_SIZE];
    if (p->complete)
        table->complete++;
    else if (table->grid.rows > BLOCKS_SHOWN)
        table->left++;
    else
        add_progress(&table->grid, show_count((int64_t)block, name), p);
}

static aios_status print_epochs(aios_chunk_tracker *tracker, const aios_chunk_tracker_info *info)
{
    struct grid grid = {0, 0, 0, NULL};
    struct block_table table = {{0, 0, 0, NULL}, 0, 0};
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    aios_status status = AIOS_OK;
    uint64_t from = info->epochs > EPOCHS_SHOWN ? info->epochs - EPOCHS_SHOWN : 0;
    grid_add(&grid, "Epoch", "Chunks trained", "Samples trained", "Part", "Committed", "Claimed");
    for (uint64_t epoch = from; epoch < info->epochs && status == AIOS_OK; epoch++) {
        char name[NUMBER_SIZE];
        status = aios_chunk_tracker_get_epoch(tracker, epoch, &p);
        if (status == AIOS_OK) add_progress(&grid, show_count((int64_t)epoch, name), &p);
    }
    (void)printf("\n");
    grid_print(&grid, stdout);
    grid_free(&grid);
    if (status != AIOS_OK || info->current_epoch >= info->epochs) return status;
    grid_add(&table.grid, "Block", "Chunks trained", "Samples trained", "Part", "Committed", "Claimed");
    status = each_block(tracker, info->current_epoch, add_block, &table);
    (void)printf("\nBlocks of epoch %llu: %llu complete", (unsigned long long)info->current_epoch, (unsigned long long)table.complete);
    (void)printf(table.grid.rows > 1 ? ", in work:\n" : "\n");
    if (table.grid.rows > 1) grid_print(&table.grid, stdout);
    if (table.left) (void)printf("and %llu more\n", (unsigned long long)table.left);
    grid_free(&table.grid);
    return status;
}

static void print_devices(aios_chunk_tracker *tracker)
{
    struct grid grid = {0, 0, 0, NULL};
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    uint64_t all = 0;
    for (uint32_t i = 0; aios_chunk_tracker_get_share(tracker, AIOS_CHUNK_EVERY, i, &share) == AIOS_OK; i++)
        all += share.committed + share.pending;
    grid_add(&grid, "Device", "ID", "Samples trained", "Share", "Committed", "Steps");
    for (uint32_t i = 0; aios_chunk_tracker_get_share(tracker, AIOS_CHUNK_EVERY, i, &share) == AIOS_OK; i++) {
        char id[16], samples[NUMBER_SIZE], committed[NUMBER_SIZE], steps[NUMBER_SIZE], part[32];
        (void)snprintf(id, sizeof id, share.gpu_id >= 0 ? "%d" : "-", (int)share.gpu_id);
        (void)snprintf(part, sizeof part, "%.1f %%", 100.0 * (double)(share.committed + share.pending) / (double)all);
        grid_add(&grid, share.device[0] ? share.device : "-", id, show_count((int64_t)(share.committed + share.pending), samples), part,
                 show_count((int64_t)share.committed, committed), show_count((int64_t)share.steps, steps));
    }
    if (grid.rows > 1) (void)printf("\n");
    if (grid.rows > 1) grid_print(&grid, stdout);
    grid_free(&grid);
}

static void print_claims(aios_chunk_tracker *tracker)
{
    struct grid grid = {0, 0, 0, NULL};
    aios_chunk_holder h = AIOS_CHUNK_HOLDER_INIT;
    grid_add(&grid, "Claim", "Epoch", "Block", "Chunk", "Done", "Device", "Process", "Lease");
    for (uint32_t i = 0; aios_chunk_tracker_get_holder(tracker, i, &h) == AIOS_OK; i++) {
        char token[NUMBER_SIZE], epoch[NUMBER_SIZE], block[NUMBER_SIZE], chunk[NUMBER_SIZE], done[48], process[NUMBER_SIZE],
            lease[NUMBER_SIZE];
        (void)snprintf(done, sizeof done, "%llu of %llu", (unsigned long long)h.trained, (unsigned long long)(h.end - h.first));
        (void)snprintf(process, sizeof process, h.process ? "%lld" : "gone", (long long)h.process);
        (void)snprintf(lease, sizeof lease, h.lease_seconds > 0 ? "%.0f s" : "passed", h.lease_seconds);
        grid_add(&grid, show_count((int64_t)h.token, token), show_count((int64_t)h.epoch, epoch), show_count((int64_t)h.block, block),
                 show_count((int64_t)h.chunk, chunk), done, h.device[0] ? h.device : h.owner, process, lease);
    }
    if (grid.rows > 1) (void)printf("\n");
    if (grid.rows > 1) grid_print(&grid, stdout);
    grid_free(&grid);
}

static int print_text(aios_chunk_tracker *tracker, const aios_chunk_tracker_info *info)
{
    char total[NUMBER_SIZE], blocks[NUMBER_SIZE], block[NUMBER_SIZE], chunk[NUMBER_SIZE], steps[NUMBER_SIZE];
    if (info->dataset_name[0]) (void)printf("dataset     %s\n", info->dataset_name);
    if (info->brain_id[0]) (void)printf("brain       %s\n", info->brain_id);
    if (info->total_samples)
        (void)printf("samples     %s in %s blocks\n", show_count((int64_t)info->total_samples, total),
                     show_count((int64_t)info->total_blocks, blocks));
    else
        (void)printf("samples     not known yet\n");
    (void)printf("block       %s samples, in chunks of %s\n", show_count((int64_t)info->block_samples, block),
                 show_count((int64_t)info->chunk_samples, chunk));
    (void)printf("checkpoint  %llu committed%s\n", (unsigned long long)info->committed,
                 info->needs_resume ? "; a later one was sealed: it counts if training resumes from it" : "");
    (void)printf("steps       %s\n", show_count((int64_t)info->steps, steps));
    if (print_epochs(tracker, info) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    print_devices(tracker);
    print_claims(tracker);
    return TOOL_DONE;
}

int run_chunks(struct tool *tool)
{
    aios_chunk_tracker_options options = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    aios_chunk_tracker *tracker;
    char folder[4096];
    if (tool->argument_count == 0)
        return tool_fail(TOOL_USAGE, "chunks needs a STATE: a run's folder, or its chunk_tracker.sqlite or chunk_tracker_state.json");
    options.folder = folder_of(tool->arguments[0], folder, sizeof folder);
    options.read_only = 1;
    aios_status status = aios_chunk_tracker_open(tool->context, &options, &tracker);
    if (status != AIOS_OK) return tool_fail_library(status == AIOS_NOT_FOUND ? TOOL_USAGE : TOOL_ERROR);
    int code = TOOL_ERROR;
    if (aios_chunk_tracker_get_info(tracker, &info) != AIOS_OK)
        code = tool_fail_library(TOOL_ERROR);
    else
        code = tool_json(tool) ? print_report(tracker, &info) : print_text(tracker, &info);
    aios_chunk_tracker_close(tracker);
    return code;
}
