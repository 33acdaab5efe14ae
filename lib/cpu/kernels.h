/* kernels.h: the kernels as the CPU runs them, once per instruction set.  A team is one thread: call every kernel once per thread
 * with team 0 … teams-1; arguments[i] points to the i-th argument's value, in the order of kernels.def.  Indexed by
 * kernel_index() of kernels/kernels.h.  Threads compute with flush-to-zero on: subnormal numbers are many times slower. */
#ifndef AIOS_CPU_KERNELS_H
#define AIOS_CPU_KERNELS_H

#include <stdint.h>

typedef void (*cpu_kernel_fn)(int32_t team, int32_t teams, const void *const *arguments);

extern const cpu_kernel_fn cpu_kernels_baseline[];
#if defined(__x86_64__) || defined(_M_X64)
extern const cpu_kernel_fn cpu_kernels_avx2[];   /* x86-64-v3: AVX2, FMA, F16C */
extern const cpu_kernel_fn cpu_kernels_avx512[]; /* x86-64-v4: AVX-512 F, BW, CD, DQ, VL */
#endif

#endif
