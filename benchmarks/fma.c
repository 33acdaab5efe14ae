/* The most f32 operations per second that the processor's vector units can do, on one and on all threads.
 *
 *   benchmark_fma */
#include "bench.h"

#include <stdio.h>

int main(void)
{
    int threads = bench_cpus();
    double one = bench_fma_peak(1), all = threads > 1 ? bench_fma_peak(threads) : one;
    printf("{\"benchmark\": \"fma\", \"instructions\": \"%s\", \"gflops_1_thread\": %.1f, \"threads\": %d, \"gflops\": %.1f}\n",
           bench_fma_instructions(), one, threads, all);
    return 0;
}
