/* stand_in_gemm.h: BLAS's product of column-major matrices, as a piece of a simulated stream's work; for the stand-ins of the vendors'
 * BLAS libraries. */
#ifndef STAND_IN_GEMM_H
#define STAND_IN_GEMM_H

#include "vendor.h"

/* What comes behind the sums.  SUM_A and SUM_B write the sums over k of op(a), m of them, or of op(b), n of them, to bias. */
enum {
    STAND_IN_NOTHING,
    STAND_IN_BIAS,       /* adds bias[m] */
    STAND_IN_BIAS_GELU,  /* and keeps that in aux (m, n), gives its gelu */
    STAND_IN_GELU_SLOPE, /* multiplies by the slope of gelu at aux */
    STAND_IN_SUM_A,
    STAND_IN_SUM_B
};

/* c = alpha op(a) op(b) + beta c, each of `batch` times; op(a) (m, k), op(b) (k, n), c (m, n).  Element (i, j) of a stored matrix is at
 * i + j * ld; the next of the batch is `stride` elements further.  Types: AIOS_F32, AIOS_BF16, AIOS_F16 of backend.h. */
typedef struct stand_in_gemm {
    int type_ab, type_c, transpose_a, transpose_b;
    int64_t m, n, k, batch, lda, ldb, ldc, stride_a, stride_b, stride_c;
    float alpha, beta;
    const void *a, *b;
    void *c;
    int epilogue; /* STAND_IN_… */
    int64_t ld_aux;
    void *bias, *aux; /* of the type of c */
} stand_in_gemm;

/* Checks the operands' memory now and multiplies when the stream gets there.  INVALID, with a complaint, where an operand is not wholly
 * memory of the stream's device or a leading dimension is too small. */
vendor_status stand_in_gemm_submit(vendor_stream *stream, const char *what, const stand_in_gemm *gemm);

#endif
