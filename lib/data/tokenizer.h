/* tokenizer.h (internal): what an opened tokenizer holds. */
#ifndef AIOS_DATA_TOKENIZER_H
#define AIOS_DATA_TOKENIZER_H

#include "data/digest.h"
#include "data/pattern.h"
#include "data/vocabulary.h"

#include <aios/tokenizer.h>
#include <stdatomic.h>

#define TOKENIZER_STAGES_MOST 8
#define TOKENIZER_FILES_MOST  4

/* Cuts pieces of text into smaller ones: matches and what lies between them. */
typedef struct stage {
    pattern *pattern;
    int drop_gaps; /* what lies between is left out */
} stage;

/* A token that is no word of the model, or one that stands for an event such as the end of text. */
typedef struct added_token {
    char *text;
    size_t size;
    int32_t id;
    int plain; /* 0: it wants lstrip, rstrip or single_word */
} added_token;

typedef struct tokenizer_file {
    const char *name; /* static */
    char *bytes;
    size_t size;
} tokenizer_file;

struct aios_tokenizer {
    atomic_uint references;
    aios_context *context;
    char identity[DIGEST_TEXT];
    int bytes; /* one id per byte: no vocabulary, no stages */
    int32_t size, end_of_text;
    vocabulary vocabulary;
    stage stages[TOKENIZER_STAGES_MOST];
    size_t stage_count;
    int prefix_space, ignore_merges;
    added_token *added; /* the longest first */
    size_t added_count, added_capacity;
    tokenizer_file files[TOKENIZER_FILES_MOST];
    size_t file_count;
};

/* tokenizer_files.c: fills a zeroed tokenizer from a folder or file. */
aios_status tokenizer_load(aios_tokenizer *t, const char *path);

/* The bytes of text that an id stands for: 0 for special ones and the end of text. */
static inline uint64_t tokenizer_id_bytes(const aios_tokenizer *t, int32_t id)
{
    if (id < 0 || id >= t->size || id == t->end_of_text) return 0;
    return t->bytes ? 1 : t->vocabulary.tokens[id].special ? 0 : t->vocabulary.tokens[id].size;
}

#endif
