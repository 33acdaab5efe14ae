/* tokenizer.h (internal): what a kind of tokenizer fills in. */
#ifndef AIOS_DATA_TOKENIZER_H
#define AIOS_DATA_TOKENIZER_H

#include <aios/tokenizer.h>

#include "base/context.h"

#include <stdatomic.h>

/* One file that save writes back byte for byte. */
struct tokenizer_file {
    const char *name; /* static */
    char *text;
    size_t size;
};

struct tokenizer_kind {
    const char *name;
    aios_status (*encode)(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count);
    /* The bytes of an id that is in range. */
    void (*piece)(const aios_tokenizer *t, int32_t id, const char **bytes, size_t *size);
    void (*destroy)(aios_tokenizer *t);
};

struct aios_tokenizer {
    aios_context *context;
    atomic_uint references;
    const struct tokenizer_kind *kind;
    int32_t vocabulary, end_of_text;
    char identity[20];
    struct tokenizer_file files[2];
    size_t file_count;
    void *state; /* of the kind */
};

/* bpe.c: fills in a tokenizer from its files (vocab.json and merges.txt, or tokenizer.json), which it takes over. */
aios_status bpe_open(aios_tokenizer *t, const char *folder, int from_tokenizer_json);

#endif
