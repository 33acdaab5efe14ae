#include "merge.h"

#include <string.h>

#define TILE 4096 /* values whose sums stay in the first cache */

void merge_mean(float *out, const float *const *parts, const double *shares, int count, uint64_t first, uint64_t end)
{
    double sums[TILE];
    for (uint64_t at = first; at < end; at += TILE) {
        uint64_t n = end - at < TILE ? end - at : TILE;
        for (uint64_t i = 0; i < n; i++) sums[i] = shares[0] * (double)parts[0][at + i];
        for (int k = 1; k < count; k++)
            for (uint64_t i = 0; i < n; i++) sums[i] += shares[k] * (double)parts[k][at + i];
        for (uint64_t i = 0; i < n; i++) out[at + i] = (float)sums[i];
    }
}

void merge_outer(float *mean, float *anchor, float *velocity, double lr, double momentum, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        double difference = (double)anchor[i] - (double)mean[i];
        double v = momentum * (double)velocity[i] + difference;
        velocity[i] = (float)v;
        anchor[i] = mean[i] = (float)((double)anchor[i] - lr * (difference + momentum * v));
    }
}

/* The exponent of all ones is that of infinities and of what is no number. */
int merge_is_finite(const float *values, uint64_t count)
{
    uint32_t worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7f800000u;
        worst = bits > worst ? bits : worst;
    }
    return worst < 0x7f800000u;
}
