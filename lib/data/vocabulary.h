/* vocabulary.h: the tokens of a byte-level BPE and its merges, in tables that are read without a lock. */
#ifndef AIOS_DATA_VOCABULARY_H
#define AIOS_DATA_VOCABULARY_H

#include "base/context.h"

#include <string.h>

#define VOCABULARY_IDS_MOST (1 << 24)
#define RANK_NONE           UINT32_MAX

/* An id's bytes; size 0: the id stands for nothing. */
typedef struct token {
    uint64_t offset;
    uint32_t size;
    uint32_t special; /* stands for an event, not for text */
} token;

/* left then right become id; the lowest rank goes first. */
typedef struct merge {
    int32_t left, right;
    uint32_t rank;
    int32_t id;
} merge;

typedef struct vocabulary {
    aios_context *context;
    char *bytes;
    size_t byte_count, byte_capacity;
    token *tokens; /* by id */
    size_t size, token_capacity;
    int32_t *slots; /* hash table of ids by their bytes; -1: free */
    size_t slot_count, found_count;
    merge *merges; /* hash table by (left, right); rank RANK_NONE: free */
    size_t merge_slots;
    int32_t byte_ids[256];
} vocabulary;

void vocabulary_init(vocabulary *v, aios_context *context);
void vocabulary_free(vocabulary *v);

/* Gives id its bytes (at least one); findable: vocabulary_find answers them with this id (the first id where two have the same).
 * Errors: CORRUPT (the id is taken), OUT_OF_RANGE, OUT_OF_MEMORY. */
aios_status vocabulary_add(vocabulary *v, int64_t id, const char *bytes, size_t size, int findable);
/* -1 where no token has these bytes. */
int32_t vocabulary_find(const vocabulary *v, const char *bytes, size_t size);
/* Looks up the token of every single byte.  Errors: CORRUPT naming the byte that has none. */
aios_status vocabulary_find_bytes(vocabulary *v);

/* Room for count merges, once.  Errors: OUT_OF_MEMORY. */
aios_status vocabulary_reserve_merges(vocabulary *v, size_t count);
/* A pair that is there already gets the new rank, as in the tokenizers library.  Errors: CORRUPT (an unknown token). */
aios_status vocabulary_add_merge(vocabulary *v, uint32_t rank, const char *left, size_t left_size, const char *right, size_t right_size);

static inline const char *vocabulary_bytes(const vocabulary *v, int32_t id, size_t *size)
{
    *size = v->tokens[id].size;
    return v->bytes + v->tokens[id].offset;
}

/* Eight bytes a step: multiply and fold, after wyhash. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    a = (a ^ b) * 0x9e3779b97f4a7c15u;
    return a ^ a >> 32;
}

static inline uint64_t hash_bytes(const char *bytes, size_t size)
{
    uint64_t hash = hash_mix(size, 0x2545f4914f6cdd1du), part;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&part, bytes, 8);
        hash = hash_mix(hash, part);
    }
    part = 0;
    for (size_t i = 0; i < size; i++) part |= (uint64_t)(unsigned char)bytes[i] << 8 * i;
    return hash_mix(hash, part);
}

/* The merge of a pair, or NULL. */
static inline const merge *vocabulary_merge(const vocabulary *v, int32_t left, int32_t right)
{
    size_t mask = v->merge_slots - 1;
    for (size_t i = (size_t)hash_mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right, 1) & mask;; i = (i + 1) & mask) {
        const merge *m = &v->merges[i];
        if (m->rank == RANK_NONE) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}

#endif
