/* float_mode.h (internal): how the calling thread computes: rounding to nearest and no traps, whatever the host has set, so that bits are
 * the same in every host; and flush-to-zero, for subnormal numbers are many times slower and the optimizer's moments decay into them. */
#ifndef AIOS_CPU_FLOAT_MODE_H
#define AIOS_CPU_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#define FLOAT_OWN_ ((uint64_t)0x9fc0) /* every trap masked, to nearest, flush to zero, subnormals are zero */

static inline uint64_t float_mode_get(void)
{
    return _mm_getcsr();
}

static inline void float_mode_set(uint64_t mode)
{
    _mm_setcsr((unsigned)mode);
}
#elif defined(__aarch64__)
#define FLOAT_OWN_ ((uint64_t)1 << 24)

static inline uint64_t float_mode_get(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}

static inline void float_mode_set(uint64_t mode)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#define FLOAT_OWN_ ((uint64_t)0)

static inline uint64_t float_mode_get(void)
{
    return 0;
}

static inline void float_mode_set(uint64_t mode)
{
    (void)mode;
}
#endif

/* Returns the mode that was, for float_mode_set. */
static inline uint64_t float_mode_own(void)
{
    uint64_t before = float_mode_get();
    if (before != FLOAT_OWN_) float_mode_set(FLOAT_OWN_);
    return before;
}

#endif
