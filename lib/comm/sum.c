#include "sum.h"

#include <string.h>

#define BLOCK 2048 /* elements that are summed at a time: they stay in the first cache */

static void add(float *restrict to, const float *restrict from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) to[i] += from[i];
}

void comm_sum(float *const *to, int copies, float *const *from, int ranks, uint64_t count)
{
    float sums[BLOCK];
    for (uint64_t at = 0; at < count; at += BLOCK) {
        uint64_t size = count - at < BLOCK ? count - at : BLOCK;
        memcpy(sums, from[0] + at, size * sizeof *sums);
        for (int r = 1; r < ranks; r++) add(sums, from[r] + at, size);
        for (int i = 0; i < copies; i++) memcpy(to[i] + at, sums, size * sizeof *sums);
    }
}
