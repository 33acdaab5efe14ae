#include "batches.h"

#include "base/context.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define NO_LABEL (-1) /* as every negative one: takes no part in the loss */

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status open_dataset(struct batches *b, const struct settings *settings, const char *path, int32_t split,
                                aios_tokenizer *tokenizer, aios_dataset **dataset)
{
    aios_dataset_options options = AIOS_DATASET_OPTIONS_INIT;
    int training = split == AIOS_SPLIT_TRAIN;
    options.path = path;
    options.tokenizer = tokenizer;
    options.cache_folder = *settings->cache_dir ? settings->cache_dir : NULL;
    options.sequence_length = b->sequence;
    options.split = settings->eval_fraction > 0 && path == settings->dataset_file ? split : AIOS_SPLIT_ALL;
    options.eval_fraction = options.split == AIOS_SPLIT_ALL ? 0 : settings->eval_fraction;
    options.seed = (uint64_t)settings->seed;
    options.shuffle = training && settings->shuffle;
    TRY_QUIET(aios_dataset_open(b->context, &options, dataset));
    if (aios_dataset_count(*dataset) > 0) return AIOS_OK;
    aios_dataset_close(*dataset);
    *dataset = NULL;
    return FAIL(AIOS_OUT_OF_RANGE, "%s has no sample of %d tokens here", path, b->sequence);
}

static aios_status measure_ids(struct batches *b, const aios_tokenizer *tokenizer)
{
    b->ids = aios_tokenizer_vocabulary_size(tokenizer);
    b->id_bytes = aios_memory_array(b->context, (size_t)b->ids, sizeof *b->id_bytes);
    if (!b->id_bytes) return AIOS_OUT_OF_MEMORY;
    int32_t end = aios_tokenizer_end_of_text(tokenizer);
    for (int32_t id = 0; id < b->ids; id++) {
        size_t size = 0;
        aios_status status = id == end ? AIOS_OK : aios_tokenizer_decode(tokenizer, &id, 1, NULL, 0, &size);
        if (status != AIOS_OK && status != AIOS_OUT_OF_RANGE) return status; /* out of range: a gap in the vocabulary */
        b->id_bytes[id] = status == AIOS_OK ? (uint32_t)size : 0;
    }
    return AIOS_OK;
}

static aios_status open_training(struct batches *b, const struct settings *s, aios_tokenizer *tokenizer)
{
    int own_file = *s->eval_file != 0;
    TRY(open_dataset(b, s, s->dataset_file, AIOS_SPLIT_TRAIN, tokenizer, &b->train), "option dataset-file");
    if (!own_file && s->eval_fraction <= 0) return AIOS_OK;
    aios_status status = open_dataset(b, s, own_file ? s->eval_file : s->dataset_file, AIOS_SPLIT_EVAL, tokenizer, &b->held_out);
    if (status == AIOS_OUT_OF_RANGE && !own_file) return AIOS_OK; /* too short for a held-out part */
    return status == AIOS_OK ? status : aios_error_add_frame(status, own_file ? "option eval-file" : "option dataset-file");
}

aios_status batches_open(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                         int32_t sequence)
{
    struct settings s = *settings;
    *batches = (struct batches){.context = context, .sequence = sequence};
    if (*s.eval_file) s.eval_fraction = 0;
    aios_status status = open_training(batches, &s, tokenizer);
    if (status == AIOS_OK) status = measure_ids(batches, tokenizer);
    if (status != AIOS_OK) batches_close(batches);
    return status;
}

aios_status batches_open_eval(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                              int32_t sequence)
{
    *batches = (struct batches){.context = context, .sequence = sequence};
    aios_status status = open_dataset(batches, settings, settings->dataset_file, AIOS_SPLIT_ALL, tokenizer, &batches->held_out);
    if (status == AIOS_OK) status = measure_ids(batches, tokenizer);
    if (status != AIOS_OK) batches_close(batches);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "option dataset-file");
}

void batches_close(struct batches *batches)
{
    if (!batches->context) return;
    aios_dataset_close(batches->train);
    aios_dataset_close(batches->held_out);
    aios_memory_free(batches->context, batches->id_bytes);
    *batches = (struct batches){.context = NULL};
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int64_t batches_train_count(const struct batches *batches)
{
    return batches->train ? (int64_t)aios_dataset_count(batches->train) : 0;
}

int64_t batches_eval_count(const struct batches *batches)
{
    return batches->held_out ? (int64_t)aios_dataset_count(batches->held_out) : 0;
}

aios_status batches_read_train(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels)
{
    for (int64_t i = 0; i < count; i++)
        TRY(aios_dataset_read(batches->train, (uint64_t)(first + i), tokens + i * batches->sequence, labels + i * batches->sequence),
            "training sample %lld", (long long)(first + i));
    return AIOS_OK;
}

void batches_fill(int32_t *tokens, int32_t *labels, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = 0;
        labels[i] = NO_LABEL;
    }
}

static int64_t count_bytes(const struct batches *batches, const int32_t *labels)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < batches->sequence; i++)
        if (labels[i] >= 0 && labels[i] < batches->ids) bytes += batches->id_bytes[labels[i]];
    return bytes;
}

aios_status batches_read_eval(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels, int64_t *bytes)
{
    int64_t there = batches_eval_count(batches);
    for (int64_t i = 0; i < count; i++) {
        int32_t *x = tokens + i * batches->sequence, *y = labels + i * batches->sequence;
        if (first + i < there) {
            TRY(aios_dataset_read(batches->held_out, (uint64_t)(first + i), x, y), "evaluation sample %lld", (long long)(first + i));
            *bytes += count_bytes(batches, y);
        } else {
            batches_fill(x, y, batches->sequence);
        }
    }
    return AIOS_OK;
}

int64_t batches_count_labels(const int32_t *labels, int64_t count)
{
    int64_t counted = 0;
    for (int64_t i = 0; i < count; i++) counted += labels[i] >= 0;
    return counted;
}
