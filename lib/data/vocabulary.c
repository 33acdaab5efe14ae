#include "vocabulary.h"

void vocabulary_init(vocabulary *v, aios_context *context)
{
    *v = (vocabulary){.context = context};
}

void vocabulary_free(vocabulary *v)
{
    aios_memory_free(v->context, v->bytes);
    aios_memory_free(v->context, v->tokens);
    aios_memory_free(v->context, v->slots);
    aios_memory_free(v->context, v->merges);
    *v = (vocabulary){.context = v->context};
}

/* The slot that holds these bytes, or the free one where they belong. */
static size_t find_slot(const vocabulary *v, const char *bytes, size_t size)
{
    size_t mask = v->slot_count - 1, i = (size_t)hash_bytes(bytes, size) & mask;
    for (; v->slots[i] >= 0; i = (i + 1) & mask) {
        const token *t = &v->tokens[v->slots[i]];
        if (t->size == size && memcmp(v->bytes + t->offset, bytes, size) == 0) break;
    }
    return i;
}

static aios_status grow_slots(vocabulary *v)
{
    size_t old_count = v->slot_count;
    int32_t *old = v->slots;
    if (2 * (v->found_count + 1) <= v->slot_count) return AIOS_OK;
    size_t count = old_count ? 2 * old_count : 1024;
    int32_t *slots = aios_memory_array(v->context, count, sizeof *slots);
    if (!slots) return AIOS_OUT_OF_MEMORY;
    memset(slots, 0xff, count * sizeof *slots);
    v->slots = slots;
    v->slot_count = count;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] < 0) continue;
        const token *t = &v->tokens[old[i]];
        slots[find_slot(v, v->bytes + t->offset, t->size)] = old[i];
    }
    aios_memory_free(v->context, old);
    return AIOS_OK;
}

aios_status vocabulary_add(vocabulary *v, int64_t id, const char *bytes, size_t size, int findable)
{
    if (id < 0 || id >= VOCABULARY_IDS_MOST)
        return FAIL(AIOS_OUT_OF_RANGE, "token \"%.*s\" has id %lld: ids go from 0 to %d", (int)(size < 40 ? size : 40), bytes,
                    (long long)id, VOCABULARY_IDS_MOST - 1);
    if (size == 0 || size > UINT32_MAX) return FAIL(AIOS_CORRUPT, "the token with id %lld has no text", (long long)id);
    if ((size_t)id < v->size && v->tokens[id].size)
        return FAIL(AIOS_CORRUPT, "tokens \"%.*s\" and \"%.*s\" have the same id %lld",
                    (int)(v->tokens[id].size < 40 ? v->tokens[id].size : 40), v->bytes + v->tokens[id].offset, (int)(size < 40 ? size : 40),
                    bytes, (long long)id);
    TRY_QUIET(aios_memory_grow(v->context, (void **)&v->bytes, &v->byte_capacity, v->byte_count + size, 1));
    TRY_QUIET(aios_memory_grow(v->context, (void **)&v->tokens, &v->token_capacity, (size_t)id + 1, sizeof *v->tokens));
    if (findable) TRY_QUIET(grow_slots(v));
    while (v->size <= (size_t)id) v->tokens[v->size++] = (token){0, 0, 0};
    memcpy(v->bytes + v->byte_count, bytes, size);
    v->tokens[id] = (token){v->byte_count, (uint32_t)size, 0};
    v->byte_count += size;
    if (!findable) return AIOS_OK;
    size_t slot = find_slot(v, bytes, size);
    if (v->slots[slot] >= 0) return AIOS_OK;
    v->slots[slot] = (int32_t)id;
    v->found_count++;
    return AIOS_OK;
}

int32_t vocabulary_find(const vocabulary *v, const char *bytes, size_t size)
{
    return v->slot_count && size ? v->slots[find_slot(v, bytes, size)] : -1;
}

aios_status vocabulary_find_bytes(vocabulary *v)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        v->byte_ids[i] = vocabulary_find(v, &byte, 1);
        if (v->byte_ids[i] < 0)
            return FAIL(AIOS_CORRUPT, "the vocabulary has no token for byte 0x%02x: a byte-level one has a token for each of the 256 bytes",
                        i);
    }
    return AIOS_OK;
}

aios_status vocabulary_reserve_merges(vocabulary *v, size_t count)
{
    v->merge_slots = 16;
    while (v->merge_slots < 2 * (count + 1)) v->merge_slots *= 2;
    if (!(v->merges = aios_memory_array(v->context, v->merge_slots, sizeof *v->merges))) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < v->merge_slots; i++) v->merges[i].rank = RANK_NONE;
    return AIOS_OK;
}

static aios_status find_part(const vocabulary *v, const char *bytes, size_t size, int32_t *id)
{
    *id = vocabulary_find(v, bytes, size);
    if (*id >= 0) return AIOS_OK;
    return FAIL(AIOS_CORRUPT, "token \"%.*s\" is not in the vocabulary", (int)(size < 80 ? size : 80), bytes);
}

aios_status vocabulary_add_merge(vocabulary *v, uint32_t rank, const char *left, size_t left_size, const char *right, size_t right_size)
{
    merge m = {.rank = rank};
    TRY_QUIET(find_part(v, left, left_size, &m.left));
    TRY_QUIET(find_part(v, right, right_size, &m.right));
    char small[256], *both = small;
    size_t size = left_size + right_size;
    if (size > sizeof small && !(both = aios_memory_alloc(v->context, size))) return AIOS_OUT_OF_MEMORY;
    memcpy(both, left, left_size);
    memcpy(both + left_size, right, right_size);
    aios_status status = find_part(v, both, size, &m.id);
    if (both != small) aios_memory_free(v->context, both);
    TRY_QUIET(status);
    const merge *known = vocabulary_merge(v, m.left, m.right);
    size_t mask = v->merge_slots - 1, i = (size_t)hash_mix((uint64_t)(uint32_t)m.left << 32 | (uint32_t)m.right, 1) & mask;
    if (known) i = (size_t)(known - v->merges);
    while (!known && v->merges[i].rank != RANK_NONE) i = (i + 1) & mask;
    v->merges[i] = m;
    return AIOS_OK;
}
