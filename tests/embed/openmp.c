/* openmp.c: a host that uses OpenMP itself, in parallel regions beside libaios and around it.  openmp FOLDER */
#include "training.h"

#include <omp.h>

enum { THREADS = 3, N = 1000 };

/* The host's own work: what it gives is known. */
static long sum_squares(void)
{
    long sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(THREADS)
    for (long i = 0; i < N; i++) sum += i * i;
    return sum;
}

static uint64_t train(const char *folder, const char *name)
{
    aios_context *context;
    OK(aios_context_create(NULL, &context));
    uint64_t hash = train_in(context, folder, name);
    aios_context_destroy(context);
    return hash;
}

int main(int argc, char **argv)
{
    uint64_t hashes[THREADS] = {0};
    long sums[THREADS] = {0}, right = (long)(N - 1) * N * (2 * N - 1) / 6;
    if (argc != 2) return 2;
    empty_folder(argv[1]);
    omp_set_num_threads(THREADS);
    omp_set_dynamic(0);
    EXPECT(sum_squares() == right);
    uint64_t alone = train(argv[1], "alone");
    EXPECT(omp_get_max_threads() == THREADS && omp_get_dynamic() == 0);

    /* One thread of a region trains while the others compute. */
#pragma omp parallel num_threads(THREADS)
    {
        int me = omp_get_thread_num();
        if (me == 0) hashes[0] = train(argv[1], "beside");
        for (long i = 0; i < N; i++) sums[me] += i * i;
    }
    for (int i = 0; i < THREADS; i++) EXPECT(sums[i] == right);
    EXPECT(hashes[0] == alone);

    /* And each of them trains in a context of its own. */
#pragma omp parallel num_threads(THREADS)
    {
        char name[32];
        int me = omp_get_thread_num();
        (void)snprintf(name, sizeof name, "thread%d", me);
        hashes[me] = train(argv[1], name);
    }
    for (int i = 0; i < THREADS; i++) EXPECT(hashes[i] == alone);
    EXPECT(omp_get_max_threads() == THREADS && sum_squares() == right);
    return 0;
}
