/* rng.h: random numbers from a counter: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC'11).  The n-th number of (seed, stream) never depends on how many were drawn before, so every position can be resumed. */
#ifndef AIOS_BASE_RNG_H
#define AIOS_BASE_RNG_H

#include <stdint.h>

/* Four 32-bit numbers for one counter. */
void rng_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);

/* A position in a stream; copy it to save it. */
typedef struct rng {
    uint64_t seed, stream, counter;
    uint32_t block[4];
    uint32_t left; /* of block */
} rng;
void rng_init(rng *r, uint64_t seed, uint64_t stream);
uint32_t rng_u32(rng *r);
uint64_t rng_u64(rng *r);
uint64_t rng_below(rng *r, uint64_t bound); /* 0 … bound-1, unbiased; bound > 0 */
double rng_uniform(rng *r);                 /* [0, 1) with 53 bits */
double rng_normal(rng *r);                  /* mean 0, variance 1 */
/* to[i] = deviation * the i-th normal number of (seed, stream), counted from the block `counter` on, four to a block.  f32, many times
 * faster than rng_normal, and the same bits on every machine.  Source: lib/base/normals.c. */
void rng_normals(uint64_t seed, uint64_t stream, uint64_t counter, float *to, uint64_t count, float deviation);
/* Truncated to +-2 deviations and rescaled so that the deviation after truncation is 1 (JAX's). */
double rng_truncated_normal(rng *r);

/* A permutation of 0 … count-1 that needs no memory: where position i goes.  Feistel network over the next power of four,
 * walking cycles back into range. */
uint64_t rng_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t i);

#endif
