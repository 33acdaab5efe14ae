#include "batches.h"

#include "base/context.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define NO_LABEL (-1) /* as every negative one: takes no part in the loss */

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int32_t is_stopped(void *user, uint64_t done, uint64_t total)
{
    const volatile int32_t *stop = user;
    (void)done;
    (void)total;
    return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

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
    options.progress = is_stopped;
    options.progress_user = (void *)(uintptr_t)b->stop;
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
                         int32_t sequence, const volatile int32_t *stop)
{
    struct settings s = *settings;
    *batches = (struct batches){.context = context, .sequence = sequence, .stop = stop};
    if (*s.eval_file) s.eval_fraction = 0;
    aios_status status = open_training(batches, &s, tokenizer);
    if (status == AIOS_OK) status = measure_ids(batches, tokenizer);
    if (status != AIOS_OK) batches_close(batches);
    return status;
}

aios_status batches_open_eval(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                              int32_t sequence, const volatile int32_t *stop)
{
    *batches = (struct batches){.context = context, .sequence = sequence, .stop = stop};
    aios_status status = open_dataset(batches, settings, settings->dataset_file, AIOS_SPLIT_ALL, tokenizer, &batches->held_out);
    if (status == AIOS_OK) status = measure_ids(batches, tokenizer);
    if (status != AIOS_OK) batches_close(batches);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "option dataset-file");
}

aios_status batches_open_puzzles(struct batches *b, aios_context *context, const struct settings *s, int train)
{
    aios_status status = AIOS_OK;
    aios_puzzles_info info = {.struct_size = sizeof info};
    *b = (struct batches){.context = context, .test_most = s->eval_examples};
    if (!*s->data_path)
        return FAIL(AIOS_INVALID_ARGUMENT, "option data-path is empty: it must name a folder with train/ and test/ (aios data makes one)");
    if (train) {
        ATTEMPT(aios_puzzles_open(context, s->data_path, "train", &b->puzzles), "option data-path");
        ATTEMPT(puzzle_order_create(b->puzzles, (uint64_t)s->seed, &b->order), "the train set of %s", s->data_path);
    }
    status = aios_puzzles_open(context, s->data_path, "test", &b->test);
    if (status == AIOS_NOT_FOUND && train) status = AIOS_OK; /* without a test set there is no evaluation */
    if (status == AIOS_OK) status = aios_puzzles_get_info(train ? b->puzzles : b->test, &info);
    b->sequence = info.length;
done:
    if (status != AIOS_OK) batches_close(b);
    return status;
}

void batches_close(struct batches *batches)
{
    if (!batches->context) return;
    puzzle_order_destroy(batches->order);
    aios_puzzles_destroy(batches->puzzles);
    aios_puzzles_destroy(batches->test);
    aios_dataset_close(batches->train);
    aios_dataset_close(batches->held_out);
    aios_memory_free(batches->context, batches->id_bytes);
    *batches = (struct batches){.context = NULL};
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static int is_puzzles(const struct batches *b)
{
    return b->puzzles || b->test;
}

aios_status samples_create(const struct batches *b, int64_t count, struct samples *samples)
{
    size_t rows = (size_t)count, cells = rows * (size_t)b->sequence; /* below 2^53 */
    samples->tokens = aios_memory_array(b->context, cells, sizeof *samples->tokens);
    samples->labels = aios_memory_array(b->context, cells, sizeof *samples->labels);
    samples->identifiers = is_puzzles(b) ? aios_memory_array(b->context, rows, sizeof *samples->identifiers) : NULL;
    if (samples->tokens && samples->labels && (samples->identifiers || !is_puzzles(b))) return AIOS_OK;
    samples_free(b->context, samples);
    return AIOS_OUT_OF_MEMORY;
}

void samples_free(aios_context *context, struct samples *samples)
{
    aios_memory_free(context, samples->tokens);
    aios_memory_free(context, samples->labels);
    aios_memory_free(context, samples->identifiers);
    *samples = (struct samples){NULL, NULL, NULL};
}

/* count tokens that take no part in the loss. */
static void fill_blank(int32_t *tokens, int32_t *labels, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = 0;
        labels[i] = NO_LABEL;
    }
}

void batches_fill(const struct batches *b, const struct samples *samples, int64_t count, int64_t rows)
{
    size_t size = (size_t)b->sequence * sizeof *samples->tokens;
    for (int64_t i = count; i < rows; i++) {
        struct samples to = samples_from(b, samples, i), from = samples_from(b, samples, i - count);
        if (!samples->identifiers) {
            fill_blank(to.tokens, to.labels, b->sequence);
            continue;
        }
        memcpy(to.tokens, from.tokens, size);
        memcpy(to.labels, from.labels, size);
        *to.identifiers = *from.identifiers;
    }
}

int64_t batches_weigh(const struct batches *b, const struct samples *samples, int64_t count, int64_t rows)
{
    int64_t counted = 0;
    if (samples->identifiers) return rows;
    for (int64_t i = 0; i < count * b->sequence; i++) counted += samples->labels[i] >= 0;
    return counted;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int64_t batches_train_count(const struct batches *b)
{
    if (b->order) return (int64_t)puzzle_order_epoch(b->order);
    return b->train ? (int64_t)aios_dataset_count(b->train) : 0;
}

int64_t batches_eval_count(const struct batches *b)
{
    if (!b->test) return b->held_out ? (int64_t)aios_dataset_count(b->held_out) : 0;
    int64_t there = (int64_t)b->test->info.examples;
    return b->test_most && b->test_most < there ? b->test_most : there;
}

const char *batches_identity(const struct batches *b)
{
    return b->order ? puzzle_order_identity(b->order) : aios_dataset_identity(b->train);
}

const char *batches_order_identity(const struct batches *b)
{
    return b->order ? puzzle_order_identity(b->order) : aios_dataset_order_identity(b->train);
}

aios_status batches_read_train(const struct batches *b, int64_t first, int64_t count, const struct samples *samples)
{
    for (int64_t i = 0; i < count; i++) {
        struct samples to = samples_from(b, samples, i);
        uint64_t n = (uint64_t)(first + i);
        TRY(b->order ? puzzle_order_read(b->order, n, to.tokens, to.labels, to.identifiers)
                     : aios_dataset_read(b->train, n, to.tokens, to.labels),
            "training sample %lld", (long long)(first + i));
    }
    return AIOS_OK;
}

static int64_t count_bytes(const struct batches *batches, const int32_t *labels)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < batches->sequence; i++)
        if (labels[i] >= 0 && labels[i] < batches->ids) bytes += batches->id_bytes[labels[i]];
    return bytes;
}

static aios_status read_eval(const struct batches *b, uint64_t sample, const struct samples *to, int64_t *bytes)
{
    if (b->test) return aios_puzzles_example(b->test, sample, to->tokens, to->labels, to->identifiers);
    TRY_QUIET(aios_dataset_read(b->held_out, sample, to->tokens, to->labels));
    *bytes += count_bytes(b, to->labels);
    return AIOS_OK;
}

aios_status batches_read_eval(const struct batches *b, int64_t first, int64_t count, const struct samples *samples, int64_t *bytes)
{
    int64_t there = batches_eval_count(b);
    for (int64_t i = 0; i < count; i++) {
        struct samples to = samples_from(b, samples, i);
        if (first + i < there) {
            TRY(read_eval(b, (uint64_t)(first + i), &to, bytes), "evaluation sample %lld", (long long)(first + i));
            continue;
        }
        fill_blank(to.tokens, to.labels, b->sequence);
        if (to.identifiers) *to.identifiers = 0;
    }
    return AIOS_OK;
}
