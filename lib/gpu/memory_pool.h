/* memory_pool.h (internal): device memory in pieces.
 *
 * Vendors' allocators are slow and stop the device, so memory is taken in segments and handed out in blocks: best fit within
 * a segment, neighbours merged when freed.  Small blocks (up to 1 MiB) have segments of their own, so that they don't pin
 * big ones; blocks above 16 MiB go straight to the source and back.  Empty segments are kept until the source has no memory
 * left or the pool is trimmed.  Every address is a multiple of 256.  Any thread may call. */
#ifndef AIOS_GPU_MEMORY_POOL_H
#define AIOS_GPU_MEMORY_POOL_H

#include "base/context.h"

typedef struct memory_pool memory_pool;

/* Where segments come from. */
typedef struct memory_source {
    void *user;
    aios_status (*alloc)(void *user, uint64_t size, void **pointer); /* DEVICE_OUT_OF_MEMORY makes the pool give back first */
    void (*free)(void *user, void *pointer);
    aios_status (*info)(void *user, uint64_t *free_bytes, uint64_t *total_bytes);
    uint64_t alignment; /* of what alloc returns */
    int host_accessible;
} memory_source;

aios_status memory_pool_create(aios_context *context, const memory_source *source, memory_pool **pool);
/* Gives everything back, handed out or not; returns how many blocks were still handed out. */
size_t memory_pool_destroy(memory_pool *pool);

/* size > 0.  Errors: DEVICE_OUT_OF_MEMORY, OUT_OF_MEMORY, the source's. */
aios_status memory_pool_alloc(memory_pool *pool, uint64_t size, void **pointer);
/* 0: the pointer is none that is handed out. */
int memory_pool_free(memory_pool *pool, void *pointer);
/* Gives empty segments back to the source. */
void memory_pool_trim(memory_pool *pool);
/* now, peak: bytes asked for and not yet freed.  held: bytes taken from the source. */
void memory_pool_used(memory_pool *pool, uint64_t *now, uint64_t *peak, uint64_t *held);

#endif
