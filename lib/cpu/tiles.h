/* tiles.h (internal): products of matrices by AVX-512, f32 and bf16, in code of our own.
 *
 *   tiles_body.h   the code, for units of 4 bytes: a number in f32, a pair of them in bf16
 *   tiles_f32.c, tiles_bf16.c   that code for each */
#ifndef AIOS_CPU_TILES_H
#define AIOS_CPU_TILES_H

#include "vector.h"

#include <stddef.h>

/* c is made in tiles of so many rows and columns: ranges that begin and end on them are the fastest. */
#define TILE_ROWS    6
#define TILE_COLUMNS 64
/* Blocks of c, and how many units of k are summed before the next ones are looked at: fewer where a is packed too. */
#define TILES_ROWS     768
#define TILES_COLUMNS  768
#define TILES_DEPTH    1536
#define TILES_DEPTH_TA 768
/* Floats of scratch memory: the sums of a block, and the packed parts of a and b. */
#define TILES_SCRATCH (TILES_ROWS * TILES_COLUMNS + TILES_ROWS * TILES_DEPTH_TA + TILE_COLUMNS * TILES_DEPTH)

/* c (m, n) = alpha op(a) op(b) + beta c, op(a) (m, k) and op(b) (k, n); ld are elements between rows as stored.  type_c is
 * AIOS_F32 or that of a and b; with a bias (n), which every row of c begins with, alpha is 1 and beta 0.  c may be the first TILES_ROWS *
 * TILES_COLUMNS floats of scratch, with rows of TILES_COLUMNS.  The last three are for bf16 alone. */
typedef struct tiles_block {
    const void *a, *b;
    int64_t lda, ldb;
    int32_t transpose_a, transpose_b; /* 1: a is stored (k, m); b is stored (n, k) */
    int32_t m, n, k;
    float alpha, beta;
    void *c;
    int64_t ldc;
    int32_t type_c;
    const float *bias;        /* or NULL */
    const uint32_t *packed;   /* b as pack has it, from this block's first panel on; or NULL */
    const uint16_t *residual; /* (m, n), rows of ldc, which c begins with besides; type_c is AIOS_BF16, alpha 1 and beta 0; or NULL */
    uint16_t *aux; /* (m, n), rows of ldc: the sums go there, as bf16, and gelu of them to c; alpha 1, beta 0, type_c AIOS_BF16; or NULL */
    int32_t ups;   /* SwiGLU of n whole panels, into bf16: `packed` has the gates', and so many panels further on the ups'; 0: none */
} tiles_block;

/* Only where the processor has AVX-512, for bf16 with its BF16 instructions. */
typedef struct tiles {
    int32_t unit; /* elements of one */
    /* One block: at most TILES_ROWS by TILES_COLUMNS, or by any n where k is at most such a depth.  scratch: TILES_SCRATCH floats. */
    void (*multiply)(const tiles_block *block, float *scratch);
    /* b of g (k, n; its a and c have no part in it) as it is multiplied, in n / 64 panels of tiles_panel units: those from `first` on,
     * before `end`, into their places in `packed`. */
    void (*pack)(const tiles_block *g, uint32_t *packed, int32_t first, int32_t end);
} tiles;

extern const tiles tiles_f32, tiles_bf16;

/* Units of a panel of k rows. */
static inline size_t tiles_panel(const tiles *by, int32_t k)
{
    return ((size_t)k + (size_t)by->unit - 1) / (size_t)by->unit * TILE_COLUMNS;
}

#endif
