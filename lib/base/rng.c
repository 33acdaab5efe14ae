#include "rng.h"

#include <math.h>

void rng_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void rng_init(rng *r, uint64_t seed, uint64_t stream)
{
    *r = (rng){.seed = seed, .stream = stream};
}

uint32_t rng_u32(rng *r)
{
    if (r->left == 0) {
        rng_block(r->seed, r->stream, r->counter++, r->block);
        r->left = 4;
    }
    return r->block[4 - r->left--];
}

uint64_t rng_u64(rng *r)
{
    uint64_t low = rng_u32(r);
    return low | (uint64_t)rng_u32(r) << 32;
}

uint64_t rng_below(rng *r, uint64_t bound)
{
    uint64_t reject = (0 - bound) % bound; /* 2^64 mod bound */
    uint64_t x;
    do x = rng_u64(r);
    while (x < reject);
    return x % bound;
}

double rng_uniform(rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

double rng_normal(rng *r)
{
    double u = 1.0 - rng_uniform(r), v = rng_uniform(r); /* Box-Muller; u in (0, 1] */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

double rng_truncated_normal(rng *r)
{
    double x;
    do x = rng_normal(r);
    while (fabs(x) > 2.0);
    return x / 0.87962566103423978; /* the deviation of a normal cut at 2 */
}

uint64_t rng_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t i)
{
    unsigned half = 1;
    while (half < 32 && (uint64_t)1 << (2 * half) < count) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 6; round++) {
            uint32_t f[4];
            rng_block(seed, stream, right | round << 48, f);
            uint64_t next = left ^ (f[0] & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= count);
    return i;
}
