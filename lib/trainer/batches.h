/* batches.h (internal): the texts of a run as rows of tokens and labels.
 *
 * The order of training samples is a function of one running number: sample n of a run is sample n mod count of epoch n / count.
 * So the number alone, kept in the checkpoint, resumes the order exactly. */
#ifndef AIOS_TRAINER_BATCHES_H
#define AIOS_TRAINER_BATCHES_H

#include "base/error.h"
#include "settings.h"
#include <aios/dataset.h>

#define IDENTITY_SIZE 160

struct batches {
    aios_context *context;
    aios_dataset *train, *held_out; /* held_out NULL: nothing to evaluate on; it may be train itself */
    aios_tokenizer *tokenizer;
    uint8_t *token_bytes;           /* per id: bytes of text that it stands for */
    int32_t vocabulary, sequence;
};

/* Opens dataset-file, and eval-file or the held-out part.  sequence: tokens of a sample.  Emits "data" events. */
aios_status batches_open(struct batches *batches, aios_context *context, const struct settings *settings, aios_tokenizer *tokenizer, int32_t sequence);
void batches_close(struct batches *batches); /* what was zeroed is fine */

int64_t batches_train_count(const struct batches *batches); /* samples of an epoch */
int64_t batches_eval_count(const struct batches *batches);
/* count training samples from the running number `first`: tokens and labels (count, sequence); labels of padding are -1. */
aios_status batches_read_train(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels);
/* Evaluation samples first … first + count - 1; rows past the last are padding.  *bytes grows by the text that the labels stand for. */
aios_status batches_read_eval(const struct batches *batches, int64_t first, int64_t count, int32_t *tokens, int32_t *labels, int64_t *bytes);

/* What the training data is, as one line: equal for equal samples. */
void batches_identity(const struct batches *batches, char text[IDENTITY_SIZE]);
int64_t labels_count(const int32_t *labels, int64_t count); /* those that are not ignored */

#endif
