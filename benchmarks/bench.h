/* bench.h: what the benchmarks share: timing, and the most that the processor could do. */
#ifndef AIOS_BENCH_H
#define AIOS_BENCH_H

#include <stddef.h>

double bench_now(void);                        /* monotonic seconds */
void bench_sort(double *values, size_t count); /* ascending */
int bench_cpus(void);                          /* that this process may use */

/* Runs once to warm up, then `runs` times (at most 101).  The best is what the machine can do, the median what it did today:
 * where they are far apart, something else was running. */
typedef struct bench_time {
    double best, median; /* seconds */
} bench_time;
bench_time bench_run(int runs, void (*run)(void *user), void *user);

/* The most f32 operations per second of the vector units, in GFLOP/s, on so many threads: fused multiply-adds in registers
 * alone, on so many independent accumulators that their latency is hidden; the best of fifty short runs. */
double bench_fma_peak(int threads);
const char *bench_fma_instructions(void); /* "avx512", "avx2", "scalar" */

#endif
