/* aios data text: a corpus made ready to train on, and what it is: samples, blocks, chunks. */
#include "data.h"
#include "output.h"
#include "progress.h"
#include "system.h"

#include <aios/chunk_tracker.h>
#include <aios/dataset.h>

#include <string.h>

/* What samples of an epoch are cut into. */
struct cutting {
    uint64_t samples, block, chunk;                  /* in all; of one */
    uint64_t blocks, last_block, chunks, last_chunk; /* the last ones may be short */
};

static struct cutting cut(uint64_t samples, uint64_t block, uint64_t chunk)
{
    struct cutting g = {.samples = samples, .block = block, .chunk = chunk < block ? chunk : block};
    uint64_t per_block = (block + g.chunk - 1) / g.chunk;
    g.blocks = (samples + block - 1) / block;
    g.last_block = samples - (g.blocks - 1) * block;
    g.chunks = (g.blocks - 1) * per_block + (g.last_block + g.chunk - 1) / g.chunk;
    g.last_chunk = g.last_block % g.chunk ? g.last_block % g.chunk : g.chunk;
    return g;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int32_t is_stopped(void *user, uint64_t done, uint64_t total)
{
    const volatile int32_t *stop = user;
    (void)done;
    (void)total;
    return *stop;
}

static aios_status open_text(struct tool *tool, aios_dataset **dataset)
{
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    const char *tokenizer = "";
    int64_t length = 0, seed = 0, shuffle = 0;
    aios_options *from = tool->options;
    aios_status status = aios_options_get_string(from, "dataset-file", &o.path);
    if (status == AIOS_OK) status = aios_options_get_string(from, "tokenizer", &tokenizer);
    if (status == AIOS_OK) status = aios_options_get_string(from, "cache-dir", &o.cache_folder);
    if (status == AIOS_OK) status = aios_options_get_int(from, "max-seq-len", &length);
    if (status == AIOS_OK) status = aios_options_get_int(from, "seed", &seed);
    if (status == AIOS_OK) status = aios_options_get_int(from, "shuffle", &shuffle);
    if (status == AIOS_OK) status = aios_options_get_float(from, "eval-fraction", &o.eval_fraction);
    if (status == AIOS_OK) status = aios_tokenizer_open(tool->context, *tokenizer ? tokenizer : "bytes", &o.tokenizer);
    o.sequence_length = (int32_t)length;
    o.seed = (uint64_t)seed;
    o.shuffle = shuffle != 0;
    o.split = o.eval_fraction > 0 ? AIOS_SPLIT_TRAIN : AIOS_SPLIT_ALL;
    o.progress = is_stopped;
    o.progress_user = (void *)(uintptr_t)system_catch_first_stop();
    if (status == AIOS_OK) status = aios_dataset_open(tool->context, &o, dataset);
    system_release_stops();
    aios_tokenizer_close(o.tokenizer);
    return status;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void print_text(const char *path, const aios_dataset *d, const struct cutting *g)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];
    const char *cache = aios_dataset_cache_path(d);
    (void)printf("%s\n", path);
    (void)printf("text      %s in %s documents\n", show_bytes(aios_dataset_text_bytes(d), a),
                 show_count((int64_t)aios_dataset_document_count(d), b));
    (void)printf("tokens    %s of %.2f bytes, kept in %s\n", show_count((int64_t)aios_dataset_tokens(d), a),
                 aios_dataset_bytes_per_token(d), *cache ? cache : "no file");
    (void)printf("samples   %s of %d tokens to train on\n", show_count((int64_t)g->samples, a), aios_dataset_sequence_length(d));
    (void)printf("blocks    %s of %s samples, the last one of %s\n", show_count((int64_t)g->blocks, a), show_count((int64_t)g->block, b),
                 show_count((int64_t)g->last_block, c));
    (void)printf("chunks    %s of %s samples, the last one of %s\n", show_count((int64_t)g->chunks, a), show_count((int64_t)g->chunk, b),
                 show_count((int64_t)g->last_chunk, c));
    (void)printf("identity  %s\n", aios_dataset_order_identity(d));
}

static json_t *describe(const char *path, const aios_dataset *d, const struct cutting *g)
{
    return json_pack("{so sI sI sI so sI si sI sI sI sI sI sI ss}", "dataset", json_from_text(path), "text_bytes",
                     (json_int_t)aios_dataset_text_bytes(d), "documents", (json_int_t)aios_dataset_document_count(d), "tokens",
                     (json_int_t)aios_dataset_tokens(d), "cache", json_from_text(aios_dataset_cache_path(d)), "samples",
                     (json_int_t)g->samples, "sample_tokens", (int)aios_dataset_sequence_length(d), "block_samples", (json_int_t)g->block,
                     "blocks", (json_int_t)g->blocks, "last_block_samples", (json_int_t)g->last_block, "chunk_samples",
                     (json_int_t)g->chunk, "chunks", (json_int_t)g->chunks, "last_chunk_samples", (json_int_t)g->last_chunk, "identity",
                     aios_dataset_order_identity(d));
}

int run_data_text(struct tool *tool)
{
    struct progress progress;
    aios_dataset *d = NULL;
    const char *path = "";
    int64_t block = 0, chunk = 0;
    if (aios_options_get_string(tool->options, "dataset-file", &path) != AIOS_OK ||
        aios_options_get_int(tool->options, "dataset-block-size", &block) != AIOS_OK ||
        aios_options_get_int(tool->options, "dataset-chunk-size", &chunk) != AIOS_OK)
        return tool_fail_library(TOOL_ERROR);
    if (!*path) return tool_fail(TOOL_USAGE, "--dataset-file is missing: it names the text");
    progress_follow(&progress, tool);
    aios_status status = open_text(tool, &d);
    progress_hide(&progress);
    if (status == AIOS_STOPPED) return tool_fail_library(TOOL_SIGNAL + system_stop_signal());
    if (status != AIOS_OK) return tool_fail_open(tool, status);
    struct cutting g = cut(aios_dataset_count(d), (uint64_t)block, chunk ? (uint64_t)chunk : AIOS_CHUNK_SAMPLES);
    if (tool_json(tool))
        print_json(describe(path, d, &g), stdout);
    else if (!tool_quiet(tool))
        print_text(path, d, &g);
    aios_dataset_close(d);
    return TOOL_DONE;
}
