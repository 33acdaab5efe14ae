#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define RUNS_MOST 101

double bench_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_sort(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
}

int bench_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

bench_time bench_run(int runs, void (*run)(void *user), void *user)
{
    double seconds[RUNS_MOST];
    if (runs > RUNS_MOST) runs = RUNS_MOST;
    run(user);
    for (int i = 0; i < runs; i++) {
        double start = bench_now();
        run(user);
        seconds[i] = bench_now() - start;
    }
    bench_sort(seconds, (size_t)runs);
    return (bench_time){seconds[0], seconds[runs / 2]};
}

/* ---- the peak ---------------------------------------------------------------------------------------------------- */

#define CHAINS 16      /* two units with a latency of 4 or 5 need 8 to 10 */
#define ROUNDS 200000L /* about a millisecond: short enough to find both processors free */

/* One round is CHAINS multiply-adds.  The empty asm makes the compiler believe that x was read and changed, so nothing
 * can be taken out of the loop, and that the sums are used. */
#if defined(__x86_64__)
#include <immintrin.h>

#define FMA_LOOP(type, set, fmadd, constraint)                                                                                             \
    type a[CHAINS], x = set(0.999f), y = set(0.001f);                                                                                      \
    for (int i = 0; i < CHAINS; i++) a[i] = set((float)i);                                                                                 \
    for (long round = 0; round < ROUNDS; round++) {                                                                                        \
        __asm__ volatile("" : constraint(x));                                                                                              \
        _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) a[i] = fmadd(a[i], x, y);                                                \
    }                                                                                                                                      \
    _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : constraint(a[i]))

__attribute__((target("avx512f"), noinline)) static void fma_avx512(void)
{
    FMA_LOOP(__m512, _mm512_set1_ps, _mm512_fmadd_ps, "+v");
}

/* 16 registers: 12 sums, x, y and two to spare. */
#undef CHAINS
#define CHAINS 12
__attribute__((target("avx2,fma"), noinline)) static void fma_avx2(void)
{
    FMA_LOOP(__m256, _mm256_set1_ps, _mm256_fmadd_ps, "+x");
}

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static int has_avx512(void)
{
    return 0;
}

static int has_avx2(void)
{
    return 0;
}

static void fma_avx512(void)
{
}

static void fma_avx2(void)
{
}
#endif

static void fma_scalar(void)
{
    float a[12], x = 0.999f;
    for (int i = 0; i < 12; i++) a[i] = (float)i;
    for (long round = 0; round < ROUNDS; round++) {
        __asm__ volatile("" : "+m"(x));
        float factor = x;
        for (int i = 0; i < 12; i++) a[i] = a[i] * factor + 0.001f;
    }
    for (int i = 0; i < 12; i++) __asm__ volatile("" : "+m"(a[i]));
}

static const struct {
    const char *name;
    int (*there)(void);
    void (*run)(void);
    double flops; /* of one run */
} variants[] = {
    {"avx512", has_avx512, fma_avx512, 2.0 * 16 * 16 * ROUNDS},
    {"avx2", has_avx2, fma_avx2, 2.0 * 8 * 12 * ROUNDS},
    {"scalar", NULL, fma_scalar, 2.0 * 12 * ROUNDS},
};

static size_t chosen_variant(void)
{
    size_t i = 0;
    while (variants[i].there && !variants[i].there()) i++;
    return i;
}

const char *bench_fma_instructions(void)
{
    return variants[chosen_variant()].name;
}

struct runner {
    pthread_t thread;
    pthread_barrier_t *barrier;
    double seconds;
};

static void *run_fma(void *argument)
{
    struct runner *me = argument;
    void (*run)(void) = variants[chosen_variant()].run;
    (void)pthread_barrier_wait(me->barrier);
    double start = bench_now();
    run();
    me->seconds = bench_now() - start;
    return NULL;
}

double bench_fma_peak(int threads)
{
    double best = 0;
    struct runner *runners = calloc((size_t)threads, sizeof *runners);
    pthread_barrier_t barrier;
    if (!runners) return 0;
    for (int run = 0; run < 50; run++) {
        double rate = 0;
        int started = 0;
        (void)pthread_barrier_init(&barrier, NULL, (unsigned)threads);
        for (; started < threads; started++) {
            runners[started].barrier = &barrier;
            if (pthread_create(&runners[started].thread, NULL, run_fma, &runners[started]) != 0) abort(); /* a benchmark may */
        }
        for (int i = 0; i < started; i++) (void)pthread_join(runners[i].thread, NULL);
        for (int i = 0; i < started; i++) rate += variants[chosen_variant()].flops / runners[i].seconds * 1e-9;
        (void)pthread_barrier_destroy(&barrier);
        if (rate > best) best = rate;
    }
    free(runners);
    return best;
}
