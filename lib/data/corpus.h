/* corpus.h (internal): a tokenized corpus in a file: made once, then mapped. */
#ifndef AIOS_DATA_CORPUS_H
#define AIOS_DATA_CORPUS_H

#include <aios/dataset.h>

#include "base/os.h"

/* The file: this header, then the tokens, u16 where the vocabulary fits, else u32. */
struct corpus_header {
    char magic[8];          /* "aiostok1" */
    uint32_t width;         /* bytes of a token */
    int32_t vocabulary;
    uint64_t source;        /* hash of path, sizes, times and tokenizer: what it was made from */
    uint64_t content;       /* hash of the tokens */
    uint64_t tokens, bytes; /* bytes of source text */
};

typedef struct corpus {
    struct corpus_header header;
    os_map map;
} corpus;

/* Finds the corpus in the cache or makes it.  options is checked already. */
aios_status corpus_open(aios_context *context, const aios_dataset_options *options, corpus *c);
void corpus_close(corpus *c);
static inline int32_t corpus_token(const corpus *c, uint64_t i)
{
    const unsigned char *at = c->map.address + sizeof c->header;
    return c->header.width == 2 ? ((const uint16_t *)(const void *)at)[i] : ((const int32_t *)(const void *)at)[i];
}

#endif
