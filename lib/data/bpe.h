/* bpe.h (internal): byte-level BPE: pieces by a pattern, then pairs merged by rank. */
#ifndef AIOS_DATA_BPE_H
#define AIOS_DATA_BPE_H

#include "tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* (left, right) -> the merged token and its rank; open addressing, left -1 empty. */
struct merge {
    int32_t left, right, rank, merged;
};

struct bpe {
    pcre2_code *pattern;
    struct merge *merges;
    size_t merge_mask; /* slots - 1 */
    int32_t byte_id[256];
    char *blob;        /* bytes of every token, one behind the other */
    uint32_t *start;   /* vocabulary + 1 places in it */
    unsigned char *special;
};

const struct merge *bpe_find_merge(const struct bpe *bpe, int32_t left, int32_t right);
/* bpe_encode.c */
aios_status bpe_encode(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count);

#endif
