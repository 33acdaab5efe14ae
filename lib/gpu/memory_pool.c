#include "memory_pool.h"

#include "base/os.h"
#include "base/sizes.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_SANITIZED 1
#endif
#endif
#ifdef POOL_SANITIZED
#include <sanitizer/asan_interface.h>
#define HIDE(pool, address, size)                                                                                                          \
    do {                                                                                                                                   \
        if ((pool)->source.host_accessible) ASAN_POISON_MEMORY_REGION(address, size);                                                      \
    } while (0)
#define SHOW(pool, address, size)                                                                                                          \
    do {                                                                                                                                   \
        if ((pool)->source.host_accessible) ASAN_UNPOISON_MEMORY_REGION(address, size);                                                    \
    } while (0)
#else
#define HIDE(pool, address, size) ((void)0)
#define SHOW(pool, address, size) ((void)0)
#endif

#define GRAIN         ((uint64_t)256)
#define SMALL_MOST    ((uint64_t)1 << 20)
#define SMALL_SEGMENT ((uint64_t)2 << 20)
#define LARGE_MOST    ((uint64_t)16 << 20)
#define LARGE_SEGMENT ((uint64_t)64 << 20)

enum { SMALL, LARGE, DIRECT, KINDS };
#define BINS 192 /* four per power of two, from GRAIN on */

struct block {
    struct segment *segment;
    struct block *before, *after;  /* neighbours in the segment */
    struct block *next, *previous; /* free: in its bin; used: in its hash chain (next alone) */
    char *address;
    uint64_t size, asked; /* asked 0: free */
};

struct segment {
    struct segment *next, *previous;
    void *base; /* what the source gave; blocks start on the next GRAIN */
    uint64_t size;
    int kind;
    struct block *first;
};

struct memory_pool {
    aios_context *context;
    memory_source source;
    os_mutex mutex;
    struct segment *segments;
    struct block *bins[DIRECT][BINS];
    struct block **hash;
    size_t hash_size, used_blocks;
    uint64_t now, peak, held;
};

/* ---- free blocks ------------------------------------------------------------------------------------------------- */

static unsigned bin_of(uint64_t size)
{
    uint64_t grains = size / GRAIN;
    unsigned power = 63u - (unsigned)__builtin_clzll(grains);
    unsigned quarter = (unsigned)(power >= 2 ? grains >> (power - 2) & 3 : grains << (2 - power) & 3);
    unsigned bin = power * 4 + quarter;
    return bin < BINS ? bin : BINS - 1;
}

static void bin_insert(memory_pool *pool, struct block *block)
{
    struct block **head = &pool->bins[block->segment->kind][bin_of(block->size)];
    block->asked = 0;
    block->previous = NULL;
    block->next = *head;
    if (*head) (*head)->previous = block;
    *head = block;
}

static void bin_remove(memory_pool *pool, struct block *block)
{
    if (block->previous)
        block->previous->next = block->next;
    else
        pool->bins[block->segment->kind][bin_of(block->size)] = block->next;
    if (block->next) block->next->previous = block->previous;
    block->next = block->previous = NULL;
}

static struct block *find_fit(memory_pool *pool, int kind, uint64_t size)
{
    for (unsigned bin = bin_of(size); bin < BINS; bin++) {
        struct block *best = NULL;
        for (struct block *b = pool->bins[kind][bin]; b; b = b->next)
            if (b->size >= size && (!best || b->size < best->size)) best = b;
        if (best) return best;
    }
    return NULL;
}

/* ---- used blocks, by address ------------------------------------------------------------------------------------- */

static size_t slot_of(const memory_pool *pool, const void *address)
{
    return (size_t)((uintptr_t)address / GRAIN * 0x9E3779B97F4A7C15u >> 20) & (pool->hash_size - 1);
}

static aios_status hash_reserve(memory_pool *pool)
{
    if (pool->used_blocks < pool->hash_size) return AIOS_OK;
    size_t old_size = pool->hash_size;
    struct block **old = pool->hash;
    struct block **grown = aios_memory_array(pool->context, old_size ? old_size * 2 : 64, sizeof(struct block *));
    if (!grown) return AIOS_OUT_OF_MEMORY;
    pool->hash = grown;
    pool->hash_size = old_size ? old_size * 2 : 64;
    for (size_t i = 0; i < old_size; i++)
        for (struct block *b = old[i], *next; b; b = next) {
            size_t slot = slot_of(pool, b->address);
            next = b->next;
            b->next = grown[slot];
            grown[slot] = b;
        }
    aios_memory_free(pool->context, old);
    return AIOS_OK;
}

static void hash_insert(memory_pool *pool, struct block *block)
{
    struct block **head = &pool->hash[slot_of(pool, block->address)];
    block->next = *head;
    *head = block;
    pool->used_blocks++;
}

static struct block *hash_take(memory_pool *pool, const void *address)
{
    if (!pool->hash_size) return NULL;
    for (struct block **link = &pool->hash[slot_of(pool, address)]; *link; link = &(*link)->next)
        if ((*link)->address == address) {
            struct block *found = *link;
            *link = found->next;
            found->next = NULL;
            pool->used_blocks--;
            return found;
        }
    return NULL;
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

static void segment_release(memory_pool *pool, struct segment *segment)
{
    if (segment->previous)
        segment->previous->next = segment->next;
    else
        pool->segments = segment->next;
    if (segment->next) segment->next->previous = segment->previous;
    for (struct block *b = segment->first, *after; b; b = after) {
        after = b->after;
        SHOW(pool, b->address, b->size);
        aios_memory_free(pool->context, b);
    }
    pool->source.free(pool->source.user, segment->base);
    pool->held -= segment->size;
    aios_memory_free(pool->context, segment);
}

static uint64_t slack(const memory_pool *pool)
{
    return pool->source.alignment >= GRAIN ? 0 : GRAIN;
}

/* A new segment whose one block is `size` bytes and in no list. */
static aios_status segment_create(memory_pool *pool, int kind, uint64_t size, struct block **block)
{
    aios_status status = AIOS_OK;
    struct segment *segment = aios_new(pool->context, struct segment);
    struct block *first = aios_new(pool->context, struct block);
    if (!segment || !first) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    segment->size = size + slack(pool);
    segment->kind = kind;
    ATTEMPT_QUIET(pool->source.alloc(pool->source.user, segment->size, &segment->base));
    first->segment = segment;
    first->address = (char *)segment->base + (0 - (uintptr_t)segment->base) % GRAIN;
    first->size = size;
    segment->first = first;
    segment->next = pool->segments;
    if (pool->segments) pool->segments->previous = segment;
    pool->segments = segment;
    pool->held += segment->size;
    *block = first;
done:
    if (status != AIOS_OK) {
        aios_memory_free(pool->context, segment);
        aios_memory_free(pool->context, first);
    }
    return status;
}

static int release_empty(memory_pool *pool)
{
    int any = 0;
    for (struct segment *s = pool->segments, *next; s; s = next) {
        next = s->next;
        if (s->first->after || s->first->asked) continue;
        bin_remove(pool, s->first);
        segment_release(pool, s);
        any = 1;
    }
    return any;
}

static void say_full(memory_pool *pool, uint64_t size)
{
    uint64_t free_bytes = 0, total_bytes = 0;
    aios_error_record record;
    aios_error_save(&record);
    aios_status told = pool->source.info(pool->source.user, &free_bytes, &total_bytes);
    if (told != AIOS_OK) {
        (void)aios_error_restore(&record);
        return;
    }
    (void)FAIL(AIOS_DEVICE_OUT_OF_MEMORY, "%llu bytes asked, %llu free of %llu; %llu are handed out already", (unsigned long long)size,
               (unsigned long long)free_bytes, (unsigned long long)total_bytes, (unsigned long long)pool->now);
    aios_error_set_native(record.backend, record.native);
}

static aios_status take_segment(memory_pool *pool, int kind, uint64_t size, struct block **block)
{
    uint64_t whole = kind == SMALL ? SMALL_SEGMENT : kind == LARGE ? LARGE_SEGMENT : size;
    aios_status status = segment_create(pool, kind, whole, block);
    if (status == AIOS_DEVICE_OUT_OF_MEMORY && release_empty(pool)) status = segment_create(pool, kind, whole, block);
    if (status == AIOS_DEVICE_OUT_OF_MEMORY && whole > size) status = segment_create(pool, kind, size, block);
    return status;
}

/* Cuts what is over `size` off a block that is in no list. */
static aios_status split(memory_pool *pool, struct block *block, uint64_t size)
{
    if (block->size - size < GRAIN) return AIOS_OK;
    struct block *rest = aios_new(pool->context, struct block);
    if (!rest) return AIOS_OUT_OF_MEMORY;
    rest->segment = block->segment;
    rest->address = block->address + size;
    rest->size = block->size - size;
    rest->before = block;
    rest->after = block->after;
    if (rest->after) rest->after->before = rest;
    block->after = rest;
    block->size = size;
    bin_insert(pool, rest);
    return AIOS_OK;
}

/* Merges `right` into `left`; both are in no list. */
static void merge(memory_pool *pool, struct block *left, struct block *right)
{
    left->size += right->size;
    left->after = right->after;
    if (left->after) left->after->before = left;
    aios_memory_free(pool->context, right);
}

static void give_back(memory_pool *pool, struct block *block)
{
    if (block->segment->kind == DIRECT) {
        segment_release(pool, block->segment);
        return;
    }
    HIDE(pool, block->address, block->size);
    block->asked = 0;
    if (block->after && !block->after->asked) {
        bin_remove(pool, block->after);
        merge(pool, block, block->after);
    }
    if (block->before && !block->before->asked) {
        struct block *before = block->before;
        bin_remove(pool, before);
        merge(pool, before, block);
        block = before;
    }
    bin_insert(pool, block);
}

/* NULL with *status where there is none. */
static struct block *take(memory_pool *pool, uint64_t size, uint64_t rounded, aios_status *status)
{
    int kind = rounded <= SMALL_MOST ? SMALL : rounded <= LARGE_MOST ? LARGE : DIRECT;
    struct block *block = kind == DIRECT ? NULL : find_fit(pool, kind, rounded);
    *status = hash_reserve(pool);
    if (*status != AIOS_OK) return NULL;
    if (block) {
        bin_remove(pool, block);
    } else {
        *status = take_segment(pool, kind, rounded, &block);
        if (*status == AIOS_DEVICE_OUT_OF_MEMORY) say_full(pool, size);
        if (*status != AIOS_OK) return NULL;
        HIDE(pool, block->address, block->size);
    }
    block->asked = size;
    *status = split(pool, block, rounded);
    if (*status == AIOS_OK) return block;
    give_back(pool, block);
    return NULL;
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

aios_status memory_pool_create(aios_context *context, const memory_source *source, memory_pool **pool)
{
    *pool = aios_new(context, memory_pool);
    if (!*pool) return AIOS_OUT_OF_MEMORY;
    (*pool)->context = aios_context_retain(context);
    (*pool)->source = *source;
    os_mutex_init(&(*pool)->mutex);
    return AIOS_OK;
}

size_t memory_pool_destroy(memory_pool *pool)
{
    if (!pool) return 0;
    aios_context *context = pool->context;
    size_t left = pool->used_blocks;
    while (pool->segments) segment_release(pool, pool->segments);
    os_mutex_destroy(&pool->mutex);
    aios_memory_free(context, pool->hash);
    aios_memory_free(context, pool);
    aios_context_release(context);
    return left;
}

aios_status memory_pool_alloc(memory_pool *pool, uint64_t size, void **pointer)
{
    aios_status status;
    uint64_t rounded;
    *pointer = NULL;
    if (!u64_add(size, 2 * GRAIN, &rounded)) rounded = UINT64_MAX - 2 * GRAIN;
    rounded = u64_align(rounded - 2 * GRAIN, GRAIN);
    os_mutex_lock(&pool->mutex);
    struct block *block = take(pool, size, rounded, &status);
    if (block) {
        SHOW(pool, block->address, size);
        hash_insert(pool, block);
        pool->now += size;
        if (pool->now > pool->peak) pool->peak = pool->now;
        *pointer = block->address;
    }
    os_mutex_unlock(&pool->mutex);
    return status;
}

int memory_pool_free(memory_pool *pool, void *pointer)
{
    os_mutex_lock(&pool->mutex);
    struct block *block = hash_take(pool, pointer);
    if (block) {
        pool->now -= block->asked;
        give_back(pool, block);
    }
    os_mutex_unlock(&pool->mutex);
    return block != NULL;
}

void memory_pool_trim(memory_pool *pool)
{
    os_mutex_lock(&pool->mutex);
    (void)release_empty(pool);
    os_mutex_unlock(&pool->mutex);
}

void memory_pool_used(memory_pool *pool, uint64_t *now, uint64_t *peak, uint64_t *held)
{
    os_mutex_lock(&pool->mutex);
    *now = pool->now;
    *peak = pool->peak;
    *held = pool->held;
    os_mutex_unlock(&pool->mutex);
}
