/* batches.h (internal): what a run trains on, as rows of tokens and labels: texts, or puzzles.
 *
 * The order of training samples is a function of one running number (dataset.h, puzzles/order.h).  So the number alone, kept in the
 * checkpoint, resumes the order exactly.  A text's labels count each for itself, a puzzle counts as a whole: that is what a step's loss is
 * divided by. */
#ifndef AIOS_TRAINER_BATCHES_H
#define AIOS_TRAINER_BATCHES_H

#include "base/error.h"
#include "data/puzzles/order.h"
#include "settings.h"
#include <aios/dataset.h>

struct batches {
    aios_context *context;
    const volatile int32_t *stop; /* of texts that are being opened; NULL: never */
    int32_t sequence;
    aios_dataset *train, *held_out; /* of texts; each may be NULL: nothing to train or to evaluate on */
    uint32_t *id_bytes;             /* per id of the tokenizer: the bytes of text that it stands for */
    int32_t ids;
    aios_puzzles *puzzles, *test; /* likewise, of puzzles */
    puzzle_order *order;
    int64_t test_most; /* puzzles of an evaluation; 0: all */
};

/* Samples in host memory: tokens and labels (count, sequence); identifiers (count) of puzzles, else NULL. */
struct samples {
    int32_t *tokens, *labels, *identifiers;
};
aios_status samples_create(const struct batches *batches, int64_t count, struct samples *samples); /* zeroed where it fails */
void samples_free(aios_context *context, struct samples *samples);                                 /* what was zeroed is fine */
/* From the at-th sample on. */
static inline struct samples samples_from(const struct batches *batches, const struct samples *samples, int64_t at)
{
    return (struct samples){samples->tokens + at * batches->sequence, samples->labels + at * batches->sequence,
                            samples->identifiers ? samples->identifiers + at : NULL};
}

/* Opens dataset-file, and eval-file or the held-out part, in samples of `sequence` tokens.  Emits "data" events.  Where *stop becomes
 * another number than 0 while a text is fetched or tokenized: STOPPED. */
aios_status batches_open(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                         int32_t sequence, const volatile int32_t *stop);
/* The whole of dataset-file, for evaluation alone. */
aios_status batches_open_eval(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                              int32_t sequence, const volatile int32_t *stop);
/* The train set of data-path where that is wanted, and the test set where there is one. */
aios_status batches_open_puzzles(struct batches *batches, aios_context *context, const struct settings *settings, int train);
void batches_close(struct batches *batches); /* what was zeroed is fine */

int64_t batches_train_count(const struct batches *batches); /* samples of an epoch */
int64_t batches_eval_count(const struct batches *batches);
/* What is trained on; and that with the order in which it is. */
const char *batches_identity(const struct batches *batches);
const char *batches_order_identity(const struct batches *batches);
/* Samples of an epoch that are wanted soon. */
static inline void batches_prefetch(const struct batches *b, uint64_t epoch, uint64_t first, uint64_t count)
{
    if (b->train) aios_dataset_prefetch(b->train, epoch, first, count);
}
/* Training samples from the running number `first`. */
aios_status batches_read_train(const struct batches *batches, int64_t first, int64_t count, const struct samples *samples);
/* Evaluation samples first … first + count - 1; rows past the last have no labels.  *bytes grows by the bytes of text that the
 * labels stand for. */
aios_status batches_read_eval(const struct batches *batches, int64_t first, int64_t count, const struct samples *samples, int64_t *bytes);

/* Fills rows `count` … rows - 1: with nothing that counts, or, since a puzzle would be made room for, with the puzzles before once more. */
void batches_fill(const struct batches *batches, const struct samples *samples, int64_t count, int64_t rows);
/* What the loss of `count` samples, filled up to `rows`, is divided by. */
int64_t batches_weigh(const struct batches *batches, const struct samples *samples, int64_t count, int64_t rows);

#endif
