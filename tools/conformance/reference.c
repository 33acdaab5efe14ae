#include "reference.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

double reference_gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / PI) * (x + 0.044715 * x * x * x)));
}

double reference_gelu_slope(double x)
{
    double t = tanh(sqrt(2 / PI) * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / PI) * (1 + 3 * 0.044715 * x * x);
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

void reference_swiglu(double *y, const double *x, int n)
{
    for (int i = 0; i < n; i++) y[i] = x[i] * logistic(x[i]) * x[n + i];
}

void reference_swiglu_backward(double *dx, const double *dy, const double *x, int n)
{
    for (int i = 0; i < n; i++) {
        double s = logistic(x[i]);
        dx[i] = dy[i] * x[n + i] * (s + x[i] * s * (1 - s));
        dx[n + i] = dy[i] * x[i] * s;
    }
}

void reference_layernorm(double *y, double *mean, double *rstd, const double *x, const double *w, const double *b, int n, double eps)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *rstd = 1 / sqrt(squares / n + eps);
    for (int i = 0; i < n; i++) y[i] = (x[i] - *mean) * *rstd * (w ? w[i] : 1) + (b ? b[i] : 0);
}

/* Through the Jacobian: d xhat_i / d x_j = rstd (delta_ij - 1/n - xhat_i xhat_j / n) */
void reference_layernorm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w, int n, double eps)
{
    double mean, rstd, *xhat = malloc(sizeof(double) * (size_t)n);
    reference_layernorm(xhat, &mean, &rstd, x, NULL, NULL, n, eps);
    double a = 0, b = 0;
    for (int i = 0; i < n; i++) {
        a += dy[i] * (w ? w[i] : 1);
        b += dy[i] * (w ? w[i] : 1) * xhat[i];
        if (dw) dw[i] += dy[i] * xhat[i];
        if (db) db[i] += dy[i];
    }
    for (int j = 0; j < n; j++) dx[j] = rstd * (dy[j] * (w ? w[j] : 1) - a / n - xhat[j] * b / n);
    free(xhat);
}

void reference_rmsnorm(double *y, double *rstd, const double *x, const double *w, int n, double eps)
{
    double squares = 0;
    for (int i = 0; i < n; i++) squares += x[i] * x[i];
    *rstd = 1 / sqrt(squares / n + eps);
    for (int i = 0; i < n; i++) y[i] = x[i] * *rstd * (w ? w[i] : 1);
}

void reference_rmsnorm_backward(double *dx, double *dw, const double *dy, const double *x, const double *w, int n, double eps)
{
    double squares = 0, dot = 0;
    for (int i = 0; i < n; i++) squares += x[i] * x[i];
    double r = 1 / sqrt(squares / n + eps);
    for (int i = 0; i < n; i++) dot += dy[i] * (w ? w[i] : 1) * x[i];
    for (int i = 0; i < n; i++) {
        dx[i] = r * dy[i] * (w ? w[i] : 1) - r * r * r / n * dot * x[i];
        if (dw) dw[i] += dy[i] * x[i] * r;
    }
}

void reference_rope(double *y, const double *x, const double *c, const double *s, int n, int heads, int d, int inverse)
{
    for (int i = 0; i < n; i++) y[i] = x[i];
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < d / 2; i++) {
            double a = x[h * d + i], b = x[h * d + d / 2 + i], sine = inverse ? -s[i] : s[i];
            y[h * d + i] = a * c[i] - b * sine;
            y[h * d + d / 2 + i] = b * c[i] + a * sine;
        }
}

/* Probabilities of one query; returns the log of the sum of exponentials. */
static double attend(double *p, const double *q, const double *k, const struct reference_attention *a, int t)
{
    int seen = a->causal && a->start + t + 1 < a->kv_len ? a->start + t + 1 : a->kv_len;
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < a->kv_len; j++) {
        double s = 0;
        for (int i = 0; i < a->d; i++) s += q[i] * k[(size_t)j * (size_t)a->kv_stride + (size_t)i];
        p[j] = j < seen ? s * a->scale : -INFINITY;
        top = fmax(top, p[j]);
    }
    for (int j = 0; j < a->kv_len; j++) sum += p[j] = exp(p[j] - top);
    for (int j = 0; j < a->kv_len; j++) p[j] /= sum;
    return top + log(sum); /* cppcheck-suppress invalidFunctionArg */
}

static size_t q_at(const struct reference_attention *a, int b, int t, int h, int stride)
{
    return ((size_t)b * (size_t)a->q_len + (size_t)t) * (size_t)stride + (size_t)(h * a->d);
}

static size_t kv_at(const struct reference_attention *a, int b, int h)
{
    return (size_t)b * (size_t)a->kv_capacity * (size_t)a->kv_stride + (size_t)(h / (a->heads / a->kv_heads) * a->d);
}

void reference_attention(double *y, double *lse, const double *q, const double *k, const double *v, const struct reference_attention *a)
{
    double *p = malloc(sizeof(double) * (size_t)a->kv_len);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->q_len; t++) {
                size_t kv = kv_at(a, b, h), out = q_at(a, b, t, h, a->y_stride);
                lse[(b * a->heads + h) * a->q_len + t] = attend(p, q + q_at(a, b, t, h, a->q_stride), k + kv, a, t);
                for (int i = 0; i < a->d; i++) {
                    double sum = 0;
                    for (int j = 0; j < a->kv_len; j++) sum += p[j] * v[kv + (size_t)j * (size_t)a->kv_stride + (size_t)i];
                    y[out + (size_t)i] = sum;
                }
            }
    free(p);
}

/* Through the softmax's Jacobian: ds_j = p_j (dp_j - sum over l of p_l dp_l); that sum is delta. */
void reference_attention_backward(double *dq, double *dk, double *dv, double *delta, const double *dy, const double *q, const double *k,
                                  const double *v, const struct reference_attention *a)
{
    double *p = malloc(sizeof(double) * (size_t)a->kv_len), *dp = malloc(sizeof(double) * (size_t)a->kv_len);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->heads; h++)
            for (int t = 0; t < a->q_len; t++) {
                const double *g = dy + q_at(a, b, t, h, a->y_stride), *qr = q + q_at(a, b, t, h, a->q_stride);
                double *dqr = dq + q_at(a, b, t, h, a->q_stride), sum = 0;
                attend(p, qr, k + kv_at(a, b, h), a, t);
                for (int i = 0; i < a->d; i++) dqr[i] = 0;
                for (int j = 0; j < a->kv_len; j++) {
                    size_t at = kv_at(a, b, h) + (size_t)j * (size_t)a->kv_stride;
                    dp[j] = 0;
                    for (int i = 0; i < a->d; i++) {
                        dp[j] += g[i] * v[at + (size_t)i];
                        dv[at + (size_t)i] += p[j] * g[i];
                    }
                    sum += p[j] * dp[j];
                }
                delta[(b * a->heads + h) * a->q_len + t] = sum;
                for (int j = 0; j < a->kv_len; j++) {
                    size_t at = kv_at(a, b, h) + (size_t)j * (size_t)a->kv_stride;
                    double ds = p[j] * (dp[j] - sum) * a->scale;
                    for (int i = 0; i < a->d; i++) {
                        dqr[i] += ds * k[at + (size_t)i];
                        dk[at + (size_t)i] += ds * qr[i];
                    }
                }
            }
    free(p);
    free(dp);
}

static int find_first_largest(const double *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

double reference_softmax_loss(double *gradient, int *hit, const double *x, int n, int target)
{
    double top = -INFINITY, sum = 0;
    *hit = target >= 0 && find_first_largest(x, n) == target;
    for (int i = 0; gradient && i < n; i++) gradient[i] = 0;
    if (target < 0) return 0;
    for (int i = 0; i < n; i++) top = fmax(top, x[i]);
    for (int i = 0; i < n; i++) sum += exp(x[i] - top);
    for (int i = 0; gradient && i < n; i++) gradient[i] = exp(x[i] - top) / sum - (i == target);
    return log(sum) + top - x[target];
}

double reference_stablemax_loss(double *gradient, int *hit, const double *x, int n, int target)
{
    double sum = 0, rest = 0;
    *hit = target >= 0 && find_first_largest(x, n) == target;
    for (int i = 0; gradient && i < n; i++) gradient[i] = 0;
    if (target < 0) return 0;
    double own = x[target] >= 0 ? x[target] + 1 : 1 / (1 - x[target]);
    for (int i = 0; i < n; i++) sum += x[i] >= 0 ? x[i] + 1 : 1 / (1 - x[i]);
    for (int i = 0; i < n; i++) rest += i == target ? 0 : x[i] >= 0 ? x[i] + 1 : 1 / (1 - x[i]);
    for (int i = 0; gradient && i < n; i++) {
        double slope = x[i] >= 0 ? 1 : 1 / ((1 - x[i]) * (1 - x[i]));
        gradient[i] = slope / sum - (i == target ? slope / own : 0);
    }
    return log1p(rest / own);
}

double reference_bce(double *slope, double x, double target)
{
    *slope = logistic(x) - target;
    return x > 0 ? log1p(exp(-x)) + x - target * x : log1p(exp(x)) - target * x;
}

void reference_gemm(double *c, const double *a, const double *b, int m, int n, int k, long lda, long ldb, long ldc, int ta, int tb,
                    double alpha, double beta)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++) sum += a[ta ? l * lda + i : i * lda + l] * b[tb ? j * ldb + l : l * ldb + j];
            c[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
}
