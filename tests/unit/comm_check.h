/* comm_check.h: every collective of a communicator against sums that are taken here. */
#ifndef AIOS_TEST_COMM_CHECK_H
#define AIOS_TEST_COMM_CHECK_H

#include "base/rng.h"
#include "comm/comm.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define COMM_CHECK_RANKS 8

/* The sum of element i over all ranks in round n, added in the order that the communicator promises. */
typedef float (*comm_check_sum)(int ranks, uint64_t i, int n);

/* What element i of rank r holds in round n: of sizes for which the order of summing matters. */
static inline float comm_check_value(int r, uint64_t i, int n)
{
    uint32_t words[4];
    rng_block(11, (uint64_t)r, i * 64 + (uint64_t)n, words);
    return (float)((int32_t)words[0]) * (words[1] & 1 ? 1e-9f : 1e-3f);
}

static inline float comm_check_flat_sum(int ranks, uint64_t i, int n)
{
    float sum = comm_check_value(0, i, n);
    for (int r = 1; r < ranks; r++) sum += comm_check_value(r, i, n);
    return sum;
}

static inline aios_status comm_check_element(const communicator *c, const float *x, uint64_t i, float want, const char *what)
{
    if (memcmp(&x[i], &want, sizeof want) == 0) return AIOS_OK;
    return FAIL(AIOS_INTERNAL, "%s, rank %d of %d: element %llu is %.9g, not %.9g", what, comm_rank(c), comm_ranks(c),
                (unsigned long long)i, (double)x[i], (double)want);
}

/* Each of `ranks` additions may be wrong by half a unit in the last place of a partial sum, which is at most the sum of magnitudes. */
static inline aios_status comm_check_sum_double(int ranks, uint64_t i, int n, float sum)
{
    double exact = 0, size = 0;
    for (int r = 0; r < ranks; r++) exact += (double)comm_check_value(r, i, n), size += fabs((double)comm_check_value(r, i, n));
    if (fabs((double)sum - exact) <= ranks * 0.5 * (double)FLT_EPSILON * size) return AIOS_OK;
    return FAIL(AIOS_INTERNAL, "element %llu is %.9g, in float64 %.17g", (unsigned long long)i, (double)sum, exact);
}

static inline void comm_check_fill(const communicator *c, float *x, uint64_t count, int n)
{
    for (uint64_t i = 0; i < count; i++) x[i] = comm_check_value(comm_rank(c), i, n);
}

static inline aios_status comm_check_reductions(communicator *c, aios_stream *stream, float *x, const uint64_t *offsets, int n,
                                                comm_check_sum sum)
{
    int ranks = comm_ranks(c), rank = comm_rank(c);
    uint64_t count = offsets[ranks];
    comm_check_fill(c, x, count, n);
    TRY_QUIET(comm_all_reduce(c, x, count));
    TRY_QUIET(aios_stream_synchronize(stream));
    for (uint64_t i = 0; i < count; i++) TRY_QUIET(comm_check_element(c, x, i, sum(ranks, i, n), "all_reduce"));
    for (uint64_t i = 0; i < count; i++) TRY_QUIET(comm_check_sum_double(ranks, i, n, x[i]));
    comm_check_fill(c, x, count, n);
    TRY_QUIET(comm_reduce_scatter(c, x, offsets));
    TRY_QUIET(aios_stream_synchronize(stream));
    for (uint64_t i = 0; i < count; i++) {
        int own = i >= offsets[rank] && i < offsets[rank + 1];
        TRY_QUIET(comm_check_element(c, x, i, own ? sum(ranks, i, n) : comm_check_value(rank, i, n), "reduce_scatter"));
    }
    TRY_QUIET(comm_all_gather(c, x, offsets));
    TRY_QUIET(aios_stream_synchronize(stream));
    for (uint64_t i = 0; i < count; i++) TRY_QUIET(comm_check_element(c, x, i, sum(ranks, i, n), "all_gather"));
    return AIOS_OK;
}

/* Every collective on count elements of x, memory of the stream's device that the host reaches. */
static inline aios_status comm_check_all(communicator *c, aios_stream *stream, float *x, uint64_t count, int n, comm_check_sum sum)
{
    int ranks = comm_ranks(c);
    uint64_t offsets[COMM_CHECK_RANKS + 1];
    for (int k = 0; k <= ranks; k++) offsets[k] = count * (uint64_t)(k * k) / (uint64_t)(ranks * ranks); /* uneven, some empty */
    TRY_QUIET(comm_check_reductions(c, stream, x, offsets, n, sum));
    for (int root = 0; root < ranks; root++) {
        comm_check_fill(c, x, count, n);
        TRY_QUIET(comm_broadcast(c, x, count, root));
        TRY_QUIET(aios_stream_synchronize(stream));
        for (uint64_t i = 0; i < count; i++) TRY_QUIET(comm_check_element(c, x, i, comm_check_value(root, i, n), "broadcast"));
    }
    double numbers[2] = {comm_rank(c) + 1, 0.5};
    TRY_QUIET(comm_sum_numbers(c, numbers, 2));
    if (numbers[0] != ranks * (ranks + 1) / 2.0 || numbers[1] != ranks * 0.5) return FAIL(AIOS_INTERNAL, "sum_numbers: %g", numbers[0]);
    return comm_barrier(c);
}

static inline aios_status comm_check_sizes(communicator *c, aios_stream *stream, comm_check_sum sum)
{
    static const uint64_t counts[] = {1, 7, 1000, 4096, 16384, 100003};
    aios_device *device = aios_stream_device(stream);
    void *x;
    TRY_QUIET(aios_device_alloc(device, counts[COUNT_OF(counts) - 1] * sizeof(float), &x));
    aios_status status = AIOS_OK;
    for (size_t k = 0; k < COUNT_OF(counts) && status == AIOS_OK; k++) status = comm_check_all(c, stream, x, counts[k], (int)k, sum);
    aios_device_free(device, x);
    return status;
}

#endif
