/* call.h: for a C11 instance of the kernels (lib/cpu, tests/sim): what a launch interface needs.  CALL_T(T) makes, for every
 * kernel of the storage type T, a function that takes its arguments' addresses; CALL_TABLE lists them by
 * kernel_index().  Include after all.kc. */
#ifndef AIOS_KERNELS_CALL_H
#define AIOS_KERNELS_CALL_H

#if defined(K_SIM) /* the team is the coroutine's own */
#define CALL_TEAM(team, teams)
#else
#define CALL_TEAM(team, teams) team, teams,
#endif
#define CALL_INDEX_(kind, type, name) at_##name
#define CALL_VALUE_out(type, name) *(type *const *)arguments[at_##name]
#define CALL_VALUE_in(type, name) *(const type *const *)arguments[at_##name]
#define CALL_VALUE_val(type, name) *(const type *)arguments[at_##name]
#define CALL_VALUE_(kind, type, name) CALL_VALUE_##kind(type, name)
#define CALL_(full, ...)                                                                                                \
    static void K_CAT(call_, full)(i32 team, i32 teams, const void *const *arguments)                                   \
    {                                                                                                                   \
        enum { MAP(CALL_INDEX_, __VA_ARGS__) };                                                                         \
        (void)team, (void)teams;                                                                                        \
        full(CALL_TEAM(team, teams) MAP(CALL_VALUE_, __VA_ARGS__));                                                     \
    }
#define CALL(full, ...) CALL_(full, __VA_ARGS__)
#define CALL_ROWS_(name) call_##name##_f32, call_##name##_bf16, call_##name##_f16,

#define KERNEL_DEF(name, ...) CALL(KERNEL_NAME(name), __VA_ARGS__)
#define T f32
#include "kernels.def"
#undef T
#define T bf16
#include "kernels.def"
#undef T
#define T f16
#include "kernels.def"
#undef T
#undef KERNEL_DEF

#endif
