/* sizes.h: size arithmetic that cannot wrap around.  Each returns 1 when the result fits, 0 when it does not. */
#ifndef AIOS_BASE_SIZES_H
#define AIOS_BASE_SIZES_H

#include <stddef.h>
#include <stdint.h>

static inline int size_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline int size_multiply(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

static inline int u64_add(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline int u64_multiply(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* The next multiple of a power of two. */
static inline uint64_t u64_align(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

#endif
