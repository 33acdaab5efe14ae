/* counted.h: memory that counts what lives, and runs out once. */
#ifndef AIOS_TEST_COUNTED_H
#define AIOS_TEST_COUNTED_H

#include "test.h"

#include <stdlib.h>

typedef struct counted {
    long asked, fail_at, living;
} counted;

static inline void *counted_alloc(void *user, size_t size)
{
    counted *c = user;
    void *pointer = ++c->asked == c->fail_at ? NULL : malloc(size);
    c->living += pointer != NULL;
    return pointer;
}

static inline void *counted_realloc(void *user, void *pointer, size_t size)
{
    counted *c = user;
    return ++c->asked == c->fail_at ? NULL : realloc(pointer, size);
}

static inline void counted_free(void *user, void *pointer)
{
    ((counted *)user)->living -= pointer != NULL;
    free(pointer);
}

/* A context whose allocation number `at` fails, its own not counted. */
static inline aios_context *counted_context(counted *c, long at)
{
    aios_allocator allocator = {sizeof allocator, 0, c, counted_alloc, counted_realloc, counted_free};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context = NULL;
    options.allocator = &allocator;
    *c = (counted){-1, at, 0};
    assert_ok(aios_context_create(&options, &context));
    return context;
}

#endif
