/* Encoding: the pattern cuts text into pieces; in each, the pair of lowest rank is merged until none is left. */
#include "bpe.h"

#include <string.h>

#define CACHE_SLOTS 16384
#define CACHE_BYTES 24
#define CACHE_IDS 6
#define CACHE_FROM 2048 /* shorter texts are not worth it */

/* A symbol of the piece that is merged; a list, since merging takes symbols out of the middle. */
struct symbol {
    int32_t id, previous, next;
};

/* A pair that could be merged, in a heap by (rank, place): of equal ranks the leftmost goes first. */
struct candidate {
    int32_t rank, place, left, right;
};

struct cached {
    unsigned char size, count;
    char bytes[CACHE_BYTES];
    int32_t ids[CACHE_IDS];
};

struct encoder {
    aios_context *context;
    const struct bpe *bpe;
    int32_t *ids;
    size_t capacity, count;
    struct symbol *symbols;
    struct candidate *heap;
    size_t symbol_capacity, heap_capacity, heap_count;
    struct cached *cache;
};

static int before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void push(struct encoder *e, int32_t place)
{
    const struct symbol *s = &e->symbols[place];
    if (s->next < 0) return;
    const struct merge *m = bpe_find_merge(e->bpe, s->id, e->symbols[s->next].id);
    if (!m) return;
    struct candidate c = {m->rank, place, m->left, m->right};
    size_t at = e->heap_count++;
    for (; at > 0 && before(&c, &e->heap[(at - 1) / 2]); at = (at - 1) / 2) e->heap[at] = e->heap[(at - 1) / 2];
    e->heap[at] = c;
}

static struct candidate pop(struct encoder *e)
{
    struct candidate top = e->heap[0], last = e->heap[--e->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < e->heap_count; at = child) {
        if (child + 1 < e->heap_count && before(&e->heap[child + 1], &e->heap[child])) child++;
        if (!before(&e->heap[child], &last)) break;
        e->heap[at] = e->heap[child];
    }
    e->heap[at] = last;
    return top;
}

static void put(struct encoder *e, int32_t id)
{
    if (e->count < e->capacity) e->ids[e->count] = id;
    e->count++;
}

static aios_status merge_piece(struct encoder *e, const char *text, size_t size)
{
    /* each merge removes a symbol and adds at most two candidates */
    TRY_QUIET(aios_memory_grow(e->context, (void **)&e->symbols, &e->symbol_capacity, size, sizeof *e->symbols));
    TRY_QUIET(aios_memory_grow(e->context, (void **)&e->heap, &e->heap_capacity, 3 * size, sizeof *e->heap));
    e->heap_count = 0;
    for (size_t i = 0; i < size; i++)
        e->symbols[i] = (struct symbol){e->bpe->byte_id[(unsigned char)text[i]], (int32_t)i - 1, i + 1 < size ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i + 1 < size; i++) push(e, (int32_t)i);
    while (e->heap_count) {
        struct candidate c = pop(e);
        struct symbol *s = &e->symbols[c.place];
        if (s->id != c.left || s->next < 0 || e->symbols[s->next].id != c.right) continue; /* merged meanwhile */
        struct symbol *gone = &e->symbols[s->next];
        s->id = bpe_find_merge(e->bpe, c.left, c.right)->merged;
        s->next = gone->next;
        gone->id = -1;
        if (s->next >= 0) e->symbols[s->next].previous = c.place;
        push(e, c.place);
        if (s->previous >= 0) push(e, s->previous);
    }
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) put(e, e->symbols[i].id);
    return AIOS_OK;
}

static struct cached *cache_slot(struct encoder *e, const char *text, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    if (!e->cache || size > CACHE_BYTES) return NULL;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return &e->cache[(hash >> 17) % CACHE_SLOTS];
}

static aios_status encode_piece(struct encoder *e, const char *text, size_t size)
{
    if (size > INT32_MAX / 4) return FAIL(AIOS_OUT_OF_RANGE, "a word of %zu bytes: at most %d can be tokenized", size, INT32_MAX / 4);
    struct cached *slot = cache_slot(e, text, size);
    if (slot && slot->size == size && memcmp(slot->bytes, text, size) == 0) {
        for (int i = 0; i < slot->count; i++) put(e, slot->ids[i]);
        return AIOS_OK;
    }
    TRY_QUIET(merge_piece(e, text, size));
    if (!slot) return AIOS_OK;
    int count = 0;
    slot->size = 0;
    for (int32_t i = 0; i >= 0; i = e->symbols[i].next) {
        if (count == CACHE_IDS) return AIOS_OK;
        slot->ids[count++] = e->symbols[i].id;
    }
    slot->size = (unsigned char)size;
    slot->count = (unsigned char)count;
    memcpy(slot->bytes, text, size);
    return AIOS_OK;
}

/* Bytes that are no UTF-8 match nothing: each is a piece of its own. */
static aios_status encode_gap(struct encoder *e, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) TRY_QUIET(encode_piece(e, text + i, 1));
    return AIOS_OK;
}

static aios_status encode_text(struct encoder *e, pcre2_match_data *match, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        int found = pcre2_match(e->bpe->pattern, (PCRE2_SPTR)text, size, at, 0, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH) return encode_gap(e, text + at, size - at);
        if (found < 0) {
            PCRE2_UCHAR reason[128];
            (void)pcre2_get_error_message(found, reason, sizeof reason);
            return FAIL(AIOS_INTERNAL, "cutting text into words at byte %zu: %s", at, (const char *)reason);
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        TRY_QUIET(encode_gap(e, text + at, span[0] - at));
        if (span[1] == span[0]) { /* a pattern that matches nothing would not move on */
            TRY_QUIET(encode_gap(e, text + span[0], 1));
            at = span[0] + 1;
            continue;
        }
        TRY_QUIET(encode_piece(e, text + span[0], span[1] - span[0]));
        at = span[1];
    }
    return AIOS_OK;
}

aios_status bpe_encode(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count)
{
    aios_status status = AIOS_OK;
    struct encoder e = {.context = t->context, .bpe = t->state, .ids = ids, .capacity = capacity};
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(e.bpe->pattern, NULL);
    if (!match) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for matching");
    if (size >= CACHE_FROM && !(e.cache = aios_memory_array(t->context, CACHE_SLOTS, sizeof *e.cache))) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    ATTEMPT_QUIET(encode_text(&e, match, text, size));
    *count = e.count;
done:
    pcre2_match_data_free(match);
    aios_memory_free(t->context, e.symbols);
    aios_memory_free(t->context, e.heap);
    aios_memory_free(t->context, e.cache);
    return status;
}
