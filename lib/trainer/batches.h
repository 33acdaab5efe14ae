/* batches.h (internal): the texts of a run as rows of tokens and labels.
 *
 * The order of training samples is a function of one running number (dataset.h).  So the number alone, kept in the checkpoint,
 * resumes the order exactly. */
#ifndef AIOS_TRAINER_BATCHES_H
#define AIOS_TRAINER_BATCHES_H

#include "base/error.h"
#include "settings.h"
#include <aios/dataset.h>

struct batches {
    aios_context *context;
    aios_dataset *train, *held_out; /* each may be NULL: nothing to train or to evaluate on */
    uint32_t *id_bytes;             /* per id of the tokenizer: the bytes of text that it stands for */
    int32_t ids, sequence;
};

/* Opens dataset-file, and eval-file or the held-out part, in samples of `sequence` tokens.  Emits "data" events. */
aios_status batches_open(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                         int32_t sequence);
/* The whole of dataset-file, for evaluation alone. */
aios_status batches_open_eval(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer,
                              int32_t sequence);
void batches_close(struct batches *batches); /* what was zeroed is fine */

int64_t batches_train_count(const struct batches *batches); /* samples of an epoch */
int64_t batches_eval_count(const struct batches *batches);
/* count training samples from the running number `first`: tokens and labels (count, sequence). */
aios_status batches_read_train(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels);
/* Evaluation samples first … first + count - 1; rows past the last have no labels.  *bytes grows by the bytes of text that the
 * labels stand for. */
aios_status batches_read_eval(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels,
                              int64_t *bytes);

/* count tokens that take no part in the loss. */
void batches_fill(int32_t *tokens, int32_t *labels, int64_t count);
/* How many labels take part in the loss. */
int64_t batches_count_labels(const int32_t *labels, int64_t count);

#endif
