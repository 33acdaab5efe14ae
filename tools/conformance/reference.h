/* reference.h: what the kernels compute, in float64, as plain as the formulas: written from the papers and from kernels.def, not
 * from the kernels.  Matrices are dense rows unless a stride is given. */
#ifndef CONFORMANCE_REFERENCE_H
#define CONFORMANCE_REFERENCE_H

#include <stddef.h>

double reference_gelu(double x);
double reference_gelu_slope(double x);
/* x = [gate | up], both n; dx likewise. */
void reference_swiglu(double *y, const double *x, int n);
void reference_swiglu_backward(double *dx, const double *dy, const double *x, int n);

/* One row.  w, b NULL: 1, 0.  Backward adds to dw and db (NULL: not wanted). */
void reference_layernorm(double *y, double *mean, double *rstd, const double *x, const double *w, const double *b, int n, double eps);
void reference_layernorm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w, int n,
                                  double eps);
void reference_rmsnorm(double *y, double *rstd, const double *x, const double *w, int n, double eps);
void reference_rmsnorm_backward(double *dx, double *dw, const double *dy, const double *x, const double *w, int n, double eps);

/* One row of `heads` heads at one position; c, s (d/2). */
void reference_rope(double *y, const double *x, const double *c, const double *s, int n, int heads, int d, int inverse);

struct reference_attention {
    int batch, heads, kv_heads, d, q_len, kv_len, kv_capacity, q_stride, kv_stride, y_stride, causal, start;
    double scale;
};
/* Elements that belong to no head are left alone. */
void reference_attention(double *y, double *lse, const double *q, const double *k, const double *v, const struct reference_attention *a);
void reference_attention_backward(double *dq, double *dk, double *dv, double *delta, const double *dy, const double *q, const double *k,
                                  const double *v, const struct reference_attention *a);

/* One row; gradient (n) is d loss / d x, NULL: not wanted.  hit: 1 where the first largest is the target's. */
double reference_softmax_loss(double *gradient, int *hit, const double *x, int n, int target);
double reference_stablemax_loss(double *gradient, int *hit, const double *x, int n, int target);
double reference_bce(double *slope, double x, double target);

/* c = alpha op(a) op(b) + beta c */
void reference_gemm(double *c, const double *a, const double *b, int m, int n, int k, long lda, long ldb, long ldc, int ta, int tb,
                    double alpha, double beta);

#endif
