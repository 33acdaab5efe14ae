/* float_scope.h (internal): the default floating-point environment for the rest of a function's block: rounding to nearest, no traps.
 *
 * A host may have another; then strtod, printf and every sum would round as it likes, and bits would differ from host to host.  What was
 * is restored at the end of the block, with the host's own exception flags.  Public functions that compute begin with FLOAT_SCOPE. */
#ifndef AIOS_BASE_FLOAT_SCOPE_H
#define AIOS_BASE_FLOAT_SCOPE_H

#include <fenv.h>

static inline fenv_t float_scope_enter(void)
{
    fenv_t before;
    (void)fegetenv(&before);
    (void)fesetenv(FE_DFL_ENV);
    return before;
}

static inline void float_scope_leave(const fenv_t *before)
{
    (void)fesetenv(before);
}

#define FLOAT_SCOPE                                                                                                                        \
    __attribute__((cleanup(float_scope_leave))) const fenv_t float_scope_ = float_scope_enter();                                           \
    (void)float_scope_

#endif
