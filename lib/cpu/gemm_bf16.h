/* gemm_bf16.h (internal): products of bf16 matrices by the processor's own instruction for them (AVX-512 BF16). */
#ifndef AIOS_CPU_GEMM_BF16_H
#define AIOS_CPU_GEMM_BF16_H

#include "vector.h"

#include <stddef.h>

/* c is made in tiles of so many rows and columns: ranges that begin and end on them are the fastest. */
#define BF16_ROWS    6
#define BF16_COLUMNS 64
/* Blocks of c, and how many of their products are summed before the next ones are looked at: fewer where a is packed too. */
#define BF16_BLOCK_ROWS     768
#define BF16_BLOCK_COLUMNS  768
#define BF16_BLOCK_DEPTH    3072
#define BF16_BLOCK_DEPTH_TA 1536
/* Floats of scratch memory: the sums of a block, and the packed parts of a and b. */
#define BF16_SCRATCH                                                                                                                       \
    (BF16_BLOCK_ROWS * BF16_BLOCK_COLUMNS + BF16_BLOCK_ROWS * BF16_BLOCK_DEPTH_TA / 2 + BF16_COLUMNS * BF16_BLOCK_DEPTH / 2)

/* c (m, n) = alpha op(a) op(b) + beta c, op(a) (m, k) and op(b) (k, n); ld are elements between rows as stored.  type_c is
 * AIOS_F32 or AIOS_BF16; with a bias (n), which every row of c begins with, alpha is 1 and beta 0.  c may be the first BF16_BLOCK_ROWS *
 * BF16_BLOCK_COLUMNS floats of scratch, with rows of BF16_BLOCK_COLUMNS. */
typedef struct bf16_block {
    const uint16_t *a, *b;
    int64_t lda, ldb;
    int32_t transpose_a, transpose_b; /* 1: a is stored (k, m); b is stored (n, k) */
    int32_t m, n, k;
    float alpha, beta;
    void *c;
    int64_t ldc;
    int32_t type_c;
    const float *bias;        /* or NULL */
    const uint16_t *residual; /* (m, n), rows of ldc, which c begins with besides; type_c is AIOS_BF16, alpha 1 and beta 0; or NULL */
    uint16_t *aux; /* (m, n), rows of ldc: the sums go there, as bf16, and gelu of them to c; alpha 1, beta 0, type_c AIOS_BF16; or NULL */
    int32_t ups;   /* SwiGLU of n whole panels, into bf16: `packed` has the gates', and so many panels further on the ups'; 0: none */
    const uint32_t *packed; /* b as bf16_pack has it, from this block's first panel on; or NULL */
} bf16_block;

/* b of g (k, n; its a and c have no part in it) as it is multiplied, in n / 64 panels of bf16_panel(k) elements: those from `first` on,
 * before `end`, into their places in `packed`. */
static inline size_t bf16_panel(int32_t k)
{
    return ((size_t)k + 1) / 2 * BF16_COLUMNS;
}
void bf16_pack(const bf16_block *g, uint32_t *packed, int32_t first, int32_t end);

/* One block: at most BF16_BLOCK_ROWS by BF16_BLOCK_COLUMNS, or by any n where k is at most such a depth.  scratch: BF16_SCRATCH floats.
 * Only where the processor has AVX-512 with its BF16 instructions. */
void bf16_multiply(const bf16_block *block, float *scratch);

#endif
