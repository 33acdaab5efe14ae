#include "encoder.h"

#include <stdlib.h>

#define NONE        (-1)
#define OUT_IDS     1024
#define CACHE_SLOTS ((size_t)1 << 14)
#define CACHE_BYTES 22
#define CACHE_IDS   8

/* One part of a word, in a list; rank is that of the merge with the next part. */
typedef struct symbol {
    int32_t id, merged;
    int32_t before, next;
    uint32_t rank;
} symbol;

typedef struct cached_word {
    uint64_t hash;
    uint8_t size, count; /* size 0: free */
    char bytes[CACHE_BYTES];
    int32_t ids[CACHE_IDS];
} cached_word;

struct encoder {
    const aios_tokenizer *tokenizer;
    aios_context *context;
    encoder_put put;
    void *user;
    matcher matcher;
    cached_word *cache;
    char *held; /* text whose words can't be told yet */
    size_t held_size, held_capacity;
    int begun;
    symbol *symbols;
    size_t symbol_capacity;
    uint64_t *heap; /* rank << 32 | place of the left part: the lowest rank, then the leftmost */
    size_t heap_size, heap_capacity;
    int32_t out[OUT_IDS];
    size_t out_count;
};

aios_status encoder_create(const aios_tokenizer *tokenizer, int cached, encoder_put put, void *user, encoder **made)
{
    aios_status status = AIOS_OK;
    *made = NULL;
    encoder *e = aios_new(tokenizer->context, encoder);
    if (!e) return AIOS_OUT_OF_MEMORY;
    e->tokenizer = tokenizer;
    e->context = aios_context_retain(tokenizer->context);
    e->put = put;
    e->user = user;
    if (tokenizer->stage_count) ATTEMPT_QUIET(matcher_init(&e->matcher, e->context));
    if (cached && !tokenizer->bytes) {
        e->cache = aios_memory_array(e->context, CACHE_SLOTS, sizeof *e->cache);
        if (!e->cache) status = AIOS_OUT_OF_MEMORY;
    }
done:
    if (status == AIOS_OK)
        *made = e;
    else
        encoder_destroy(e);
    return status;
}

void encoder_destroy(encoder *e)
{
    if (!e) return;
    aios_context *context = e->context;
    matcher_free(&e->matcher);
    aios_memory_free(context, e->cache);
    aios_memory_free(context, e->held);
    aios_memory_free(context, e->symbols);
    aios_memory_free(context, e->heap);
    aios_memory_free(context, e);
    aios_context_release(context);
}

static aios_status flush(encoder *e)
{
    size_t count = e->out_count;
    e->out_count = 0;
    return count ? e->put(e->user, e->out, count) : AIOS_OK;
}

static inline aios_status put_id(encoder *e, int32_t id)
{
    e->out[e->out_count++] = id;
    return e->out_count == OUT_IDS ? flush(e) : AIOS_OK;
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

static void push(encoder *e, uint64_t entry)
{
    size_t i = e->heap_size++;
    for (; i > 0 && e->heap[(i - 1) / 2] > entry; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = entry;
}

static uint64_t pop(encoder *e)
{
    uint64_t first = e->heap[0], last = e->heap[--e->heap_size];
    size_t i = 0, n = e->heap_size;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && e->heap[child + 1] < e->heap[child]) child++;
        if (e->heap[child] >= last) break;
        e->heap[i] = e->heap[child];
    }
    e->heap[i] = last;
    return first;
}

static void rank_pair(encoder *e, int32_t place)
{
    symbol *s = &e->symbols[place];
    const merge *m = s->next == NONE ? NULL : vocabulary_merge(&e->tokenizer->vocabulary, s->id, e->symbols[s->next].id);
    s->rank = m ? m->rank : RANK_NONE;
    if (!m) return;
    s->merged = m->id;
    push(e, (uint64_t)m->rank << 32 | (uint32_t)place);
}

static aios_status reserve_symbols(encoder *e, size_t size)
{
    TRY_QUIET(aios_memory_grow(e->context, (void **)&e->symbols, &e->symbol_capacity, size, sizeof *e->symbols));
    /* One entry per pair and two per merge. */
    return aios_memory_grow(e->context, (void **)&e->heap, &e->heap_capacity, 3 * size, sizeof *e->heap);
}

/* Leaves the word's ids in the list that begins at symbol 0. */
static aios_status merge_word(encoder *e, const char *bytes, size_t size)
{
    TRY_QUIET(reserve_symbols(e, size));
    symbol *symbols = e->symbols;
    e->heap_size = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t place = (int32_t)i;
        symbols[i] = (symbol){e->tokenizer->vocabulary.byte_ids[(unsigned char)bytes[i]], NONE, place - 1, i + 1 < size ? place + 1 : NONE,
                              RANK_NONE};
    }
    for (size_t i = 0; i + 1 < size; i++) rank_pair(e, (int32_t)i);
    while (e->heap_size) {
        uint64_t entry = pop(e);
        int32_t place = (int32_t)(uint32_t)entry;
        symbol *left = &symbols[place];
        if (left->rank != (uint32_t)(entry >> 32)) continue; /* the pair is gone */
        symbol *right = &symbols[left->next];
        left->id = left->merged;
        left->next = right->next;
        right->rank = RANK_NONE;
        if (left->next != NONE) symbols[left->next].before = place;
        rank_pair(e, place);
        if (left->before != NONE) rank_pair(e, left->before);
    }
    return AIOS_OK;
}

static aios_status put_merged(encoder *e, cached_word *slot, uint64_t hash, const char *bytes, size_t size)
{
    size_t count = 0;
    TRY_QUIET(merge_word(e, bytes, size));
    for (int32_t i = 0; i != NONE; i = e->symbols[i].next) {
        if (slot && count < CACHE_IDS) slot->ids[count] = e->symbols[i].id;
        count++;
        TRY_QUIET(put_id(e, e->symbols[i].id));
    }
    if (!slot) return AIOS_OK;
    slot->size = count <= CACHE_IDS ? (uint8_t)size : 0;
    slot->count = (uint8_t)count;
    slot->hash = hash;
    memcpy(slot->bytes, bytes, size);
    return AIOS_OK;
}

static aios_status put_word(encoder *e, const char *bytes, size_t size)
{
    const vocabulary *v = &e->tokenizer->vocabulary;
    if (size == 0) return AIOS_OK;
    if (size == 1) return put_id(e, v->byte_ids[(unsigned char)*bytes]);
    if (e->tokenizer->ignore_merges) {
        int32_t whole = vocabulary_find(v, bytes, size);
        if (whole >= 0 && !v->tokens[whole].special) return put_id(e, whole);
    }
    if (!e->cache || size > CACHE_BYTES) return put_merged(e, NULL, 0, bytes, size);
    uint64_t hash = hash_bytes(bytes, size);
    cached_word *slot = &e->cache[hash & (CACHE_SLOTS - 1)];
    if (slot->hash != hash || slot->size != size || memcmp(slot->bytes, bytes, size) != 0) return put_merged(e, slot, hash, bytes, size);
    for (size_t i = 0; i < slot->count; i++) TRY_QUIET(put_id(e, slot->ids[i]));
    return AIOS_OK;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* The length of the UTF-8 character at the start; 0: none is there; -1: it may be one, but the text ends. */
static int character_length(const unsigned char *c, size_t size)
{
    if (c[0] < 0x80) return 1;
    int length = c[0] >= 0xc2 && c[0] <= 0xdf ? 2 : (c[0] & 0xf0) == 0xe0 ? 3 : c[0] >= 0xf0 && c[0] <= 0xf4 ? 4 : 0;
    if (length == 0) return 0;
    unsigned low = c[0] == 0xe0 ? 0xa0 : c[0] == 0xf0 ? 0x90 : 0x80, high = c[0] == 0xed ? 0x9f : c[0] == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < length; i++, low = 0x80, high = 0xbf) {
        if ((size_t)i >= size) return -1;
        if (c[i] < low || c[i] > high) return 0;
    }
    return length;
}

/* How much of the text is UTF-8; *why: what character_length says of the byte behind it, 1 at the end of the text. */
static size_t measure_run(const char *text, size_t size, int *why)
{
    size_t i = 0;
    *why = 1;
    while (i < size) {
        uint64_t eight;
        if (size - i >= 8) {
            memcpy(&eight, text + i, 8);
            if ((eight & 0x8080808080808080u) == 0) {
                i += 8;
                continue;
            }
        }
        int length = character_length((const unsigned char *)text + i, size - i);
        if (length <= 0) {
            *why = length;
            break;
        }
        i += (size_t)length;
    }
    return i;
}

/* The greatest length up to most that ends between two characters. */
static size_t whole_characters(const char *text, size_t most)
{
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    return most;
}

/* A piece of text goes through stage number `index` and those behind it. */
static aios_status put_piece(encoder *e, size_t index, const char *text, size_t size)
{
    const aios_tokenizer *t = e->tokenizer;
    if (index >= t->stage_count) return put_word(e, text, size);
    while (size) {
        int found;
        size_t start, end;
        TRY_QUIET(pattern_match(t->stages[index].pattern, &e->matcher, text, size, 0, &found, &start, &end));
        if (found == MATCH_NONE) start = end = size;
        if (start && !t->stages[index].drop_gaps) TRY_QUIET(put_piece(e, index + 1, text, start));
        if (end > start) TRY_QUIET(put_piece(e, index + 1, text + start, end - start));
        text += end;
        size -= end;
    }
    return AIOS_OK;
}

/* The first stage, on a run of UTF-8.  Stops where what follows the run could change a word; *used tells where. */
static aios_status put_run(encoder *e, const char *text, size_t size, int open, size_t *used)
{
    const aios_tokenizer *t = e->tokenizer;
    *used = 0;
    while (*used < size) {
        const char *at = text + *used;
        size_t left = size - *used, window = left > ENCODER_WINDOW ? whole_characters(at, ENCODER_WINDOW) : left, start = 0, end = 0;
        int found = MATCH_PARTIAL, more = open || window < left, full = window < left || left == ENCODER_WINDOW;
        if (t->stage_count)
            TRY_QUIET(pattern_match(t->stages[0].pattern, &e->matcher, at, window, more, &found, &start, &end));
        else if (!more)
            found = MATCH_NONE;
        if (more && found != MATCH_FOUND) {
            if (!full) return AIOS_OK;
            found = MATCH_NONE;
            if (t->stage_count) TRY_QUIET(pattern_match(t->stages[0].pattern, &e->matcher, at, window, 0, &found, &start, &end));
        }
        if (found == MATCH_NONE) start = end = window;
        if (start && !(t->stage_count && t->stages[0].drop_gaps)) TRY_QUIET(put_piece(e, 1, at, start));
        if (end > start) TRY_QUIET(put_piece(e, 1, at + start, end - start));
        *used += end;
    }
    return AIOS_OK;
}

/* open: more text may follow.  *used: how much of the text has its ids. */
static aios_status put_text(encoder *e, const char *text, size_t size, int open, size_t *used)
{
    *used = 0;
    if (e->tokenizer->bytes) {
        for (; *used < size; ++*used) TRY_QUIET(put_id(e, (unsigned char)text[*used]));
        return AIOS_OK;
    }
    while (*used < size) {
        int why;
        size_t run = measure_run(text + *used, size - *used, &why), done;
        int cut = *used + run < size;              /* something stands behind the run … */
        int unknown = open && (!cut || why == -1); /* … or may come to stand there */
        TRY_QUIET(put_run(e, text + *used, run, unknown, &done));
        *used += done;
        if (done < run || (cut && unknown)) break;
        if (cut) TRY_QUIET(put_word(e, text + (*used)++, 1));
    }
    return AIOS_OK;
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

static aios_status hold(encoder *e, const char *bytes, size_t size)
{
    if (size == 0) return AIOS_OK;
    TRY_QUIET(aios_memory_grow(e->context, (void **)&e->held, &e->held_capacity, e->held_size + size, 1));
    memcpy(e->held + e->held_size, bytes, size);
    e->held_size += size;
    return AIOS_OK;
}

static aios_status begin(encoder *e, char first)
{
    if (e->begun) return AIOS_OK;
    e->begun = 1;
    return e->tokenizer->prefix_space && first != ' ' ? hold(e, " ", 1) : AIOS_OK;
}

aios_status encoder_add(encoder *e, const char *bytes, size_t size)
{
    size_t used = 0;
    if (size == 0) return AIOS_OK;
    TRY_QUIET(begin(e, *bytes));
    if (e->held_size == 0) {
        TRY_QUIET(put_text(e, bytes, size, 1, &used));
        return hold(e, bytes + used, size - used);
    }
    TRY_QUIET(hold(e, bytes, size));
    TRY_QUIET(put_text(e, e->held, e->held_size, 1, &used));
    memmove(e->held, e->held + used, e->held_size - used);
    e->held_size -= used;
    return AIOS_OK;
}

aios_status encoder_end(encoder *e)
{
    size_t used = 0;
    aios_status status = put_text(e, e->held, e->held_size, 0, &used);
    e->held_size = 0;
    e->begun = 0;
    return status == AIOS_OK ? flush(e) : status;
}

aios_status encoder_text(encoder *e, const char *bytes, size_t size)
{
    size_t used;
    if (e->tokenizer->prefix_space && size && *bytes != ' ') {
        TRY_QUIET(encoder_add(e, bytes, size));
        return encoder_end(e);
    }
    TRY_QUIET(put_text(e, bytes, size, 0, &used));
    return flush(e);
}

aios_status encoder_put_id(encoder *e, int32_t id)
{
    TRY_QUIET(put_id(e, id));
    return flush(e);
}
