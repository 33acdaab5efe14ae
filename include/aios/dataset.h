/* dataset.h: a text corpus as training samples.
 *
 * The corpus is read and tokenized once into a cache file, documents parted by the tokenizer's end-of-text id; after that every
 * sample is a random access, memory stays bounded however large the corpus, and a position is one number.  Read from any
 * number of threads.  Sources: .txt and other text, .jsonl and .json, .csv and .tsv, each also as .gz, and folders of them. */
#ifndef AIOS_DATASET_H
#define AIOS_DATASET_H

#include <aios/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_dataset aios_dataset;

enum { AIOS_SPLIT_ALL = 0, AIOS_SPLIT_TRAIN = 1, AIOS_SPLIT_EVAL = 2 };
#define AIOS_IGNORED_LABEL (-100)

typedef struct aios_dataset_options {
    uint32_t struct_size;
    int32_t sequence_length;    /* tokens of a sample */
    const char *path;           /* file or folder */
    aios_tokenizer *tokenizer;  /* retained */
    const char *cache_folder;   /* NULL or "": the user's cache folder ($XDG_CACHE_HOME/aios, ~/.cache/aios) */
    double eval_fraction;       /* of the samples held out: every k-th, k = 1 / eval_fraction rounded; 0: none */
    uint64_t seed;              /* of the order */
    int32_t split;              /* AIOS_SPLIT_… */
    int32_t shuffle;            /* 1: each epoch in an order of its own; 0: as they stand */
    /* Called while the corpus is tokenized with source bytes done and in all (0: not known); non-zero stops.  May be NULL. */
    int32_t (*progress)(void *user, uint64_t done, uint64_t total);
    void *progress_user;
} aios_dataset_options;
#define AIOS_DATASET_OPTIONS_INIT {sizeof(aios_dataset_options), 128, NULL, NULL, NULL, 0.0, 0, AIOS_SPLIT_ALL, 1, NULL, NULL}

/* Errors: NOT_FOUND, CORRUPT (names file and line), UNSUPPORTED for a format, OUT_OF_RANGE for an empty corpus or split, STOPPED, IO. */
AIOS_API aios_status aios_dataset_open(aios_context *context, const aios_dataset_options *options, aios_dataset **dataset);
AIOS_API void aios_dataset_close(aios_dataset *dataset);

AIOS_API uint64_t aios_dataset_count(const aios_dataset *dataset);  /* samples of the split */
AIOS_API uint64_t aios_dataset_tokens(const aios_dataset *dataset); /* of the corpus */
AIOS_API double aios_dataset_bytes_per_token(const aios_dataset *dataset); /* of the source text */
/* 16 hexadecimal digits over the tokens and the tokenizer: another corpus has another. */
AIOS_API const char *aios_dataset_identity(const aios_dataset *dataset);

/* The n-th sample since the start of training, n / count being the epoch: inputs and next-token labels, sequence_length each.  Beyond
 * the corpus's last token inputs are end-of-text (0 where there is none) and labels AIOS_IGNORED_LABEL.  A pure function of n. */
AIOS_API aios_status aios_dataset_read(const aios_dataset *dataset, uint64_t n, int32_t *inputs, int32_t *labels);

#ifdef __cplusplus
}
#endif
#endif
