#include "reference_gpt2.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PER_LAYER 12

static double *doubles(size_t count)
{
    double *memory = calloc(count ? count : 1, sizeof *memory);
    if (!memory) {
        (void)fprintf(stderr, "reference_gpt2: no memory for %zu numbers\n", count);
        exit(1);
    }
    return memory;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

/* In the order in which layer_tensor and the code below count them. */
enum { LN1_W, LN1_B, ATTN_W, ATTN_B, PROJ_W, PROJ_B, LN2_W, LN2_B, FC_W, FC_B, OUT_W, OUT_B };
enum { WTE, WPE, FIRST_LAYER };

static void add_tensor(struct reference_gpt2 *m, const char *name, int rank, int rows, int columns)
{
    struct reference_tensor *t = &m->tensors[m->tensor_count++];
    *t = (struct reference_tensor){
        .rank = rank, .shape = {rows, columns}, .count = (size_t)rows * (size_t)(rank == 2 ? columns : 1), .offset = m->total};
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    m->total += t->count;
}

static void add_layer(struct reference_gpt2 *m, int layer)
{
    static const char *const names[PER_LAYER] = {"ln_1.weight",        "ln_1.bias",        "attn.c_attn.weight", "attn.c_attn.bias",
                                                 "attn.c_proj.weight", "attn.c_proj.bias", "ln_2.weight",        "ln_2.bias",
                                                 "mlp.c_fc.weight",    "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};
    int c = m->sizes.width, f = m->sizes.inner;
    int shapes[PER_LAYER][2] = {{c, 0}, {c, 0}, {c, 3 * c}, {3 * c, 0}, {c, c}, {c, 0}, {c, 0}, {c, 0}, {c, f}, {f, 0}, {f, c}, {c, 0}};
    for (int i = 0; i < PER_LAYER; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "h.%d.%s", layer, names[i]);
        add_tensor(m, name, shapes[i][1] ? 2 : 1, shapes[i][0], shapes[i][1]);
    }
}

void reference_create(struct reference_gpt2 *m, const struct reference_sizes *sizes)
{
    *m = (struct reference_gpt2){.sizes = *sizes};
    m->tensors = calloc((size_t)(sizes->layers * PER_LAYER + 4), sizeof *m->tensors);
    if (!m->tensors) exit(1);
    add_tensor(m, "wte.weight", 2, sizes->vocabulary, sizes->width);
    add_tensor(m, "wpe.weight", 2, sizes->positions, sizes->width);
    for (int layer = 0; layer < sizes->layers; layer++) add_layer(m, layer);
    add_tensor(m, "ln_f.weight", 1, sizes->width, 0);
    add_tensor(m, "ln_f.bias", 1, sizes->width, 0);
    m->value = doubles(m->total);
    m->gradient = doubles(m->total);
    m->moment1 = doubles(m->total);
    m->moment2 = doubles(m->total);
}

void reference_destroy(struct reference_gpt2 *m)
{
    free(m->tensors);
    free(m->value);
    free(m->gradient);
    free(m->moment1);
    free(m->moment2);
}

static size_t layer_tensor(int layer, int which)
{
    return (size_t)(FIRST_LAYER + layer * PER_LAYER + which);
}

static double *value_of(const struct reference_gpt2 *m, size_t tensor)
{
    return m->value + m->tensors[tensor].offset;
}

static double *gradient_of(const struct reference_gpt2 *m, size_t tensor)
{
    return m->gradient + m->tensors[tensor].offset;
}

/* ---- the layers: forward beside backward ------------------------------------------------------------------------- */

/* y (M, N) = x (M, K) w (K, N) + b */
static void conv1d(double *y, const double *x, const double *w, const double *b, int rows, int in, int out)
{
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            double sum = b[o];
            for (int i = 0; i < in; i++) sum += x[r * in + i] * w[i * out + o];
            y[r * out + o] = sum;
        }
}

static void conv1d_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w, int rows, int in,
                            int out)
{
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            double d = dy[r * out + o];
            db[o] += d;
            for (int i = 0; i < in; i++) {
                dx[r * in + i] += d * w[i * out + o];
                dw[i * out + o] += d * x[r * in + i];
            }
        }
}

static void row_statistics(const double *x, int n, double eps, double *mean, double *rstd)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) sum += x[i];
    *mean = sum / n;
    for (int i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *rstd = 1.0 / sqrt(squares / n + eps);
}

static void layernorm(double *y, const double *x, const double *w, const double *b, int rows, int n, double eps)
{
    for (int r = 0; r < rows; r++) {
        double mean, rstd;
        row_statistics(x + r * n, n, eps, &mean, &rstd);
        for (int i = 0; i < n; i++) y[r * n + i] = (x[r * n + i] - mean) * rstd * w[i] + b[i];
    }
}

/* With h = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - h mean(g h)).  Adds. */
static void layernorm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w, int rows, int n,
                               double eps)
{
    for (int r = 0; r < rows; r++) {
        double mean, rstd, g_mean = 0.0, gh_mean = 0.0;
        row_statistics(x + r * n, n, eps, &mean, &rstd);
        for (int i = 0; i < n; i++) {
            double h = (x[r * n + i] - mean) * rstd, g = dy[r * n + i] * w[i];
            g_mean += g / n;
            gh_mean += g * h / n;
            dw[i] += dy[r * n + i] * h;
            db[i] += dy[r * n + i];
        }
        for (int i = 0; i < n; i++) {
            double h = (x[r * n + i] - mean) * rstd;
            dx[r * n + i] += rstd * (dy[r * n + i] * w[i] - g_mean - h * gh_mean);
        }
    }
}

#define GELU_SCALE 0.7978845608028654 /* sqrt(2 / pi) */
#define GELU_CUBE  0.044715

static double gelu(double x)
{
    return 0.5 * x * (1.0 + tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x)));
}

static double gelu_slope(double x)
{
    double t = tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
}

/* p (B, H, T, T) = softmax over what is not in the future of q k^T / sqrt(d); y (B, T, C) = p v; qkv (B, T, 3C) */
static void attention(double *y, double *p, const double *qkv, int batch, int length, int heads, int width)
{
    int d = width / heads;
    double scale = 1.0 / sqrt((double)d);
    for (int b = 0; b < batch; b++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < length; t++) {
                const double *q = qkv + (b * length + t) * 3 * width + h * d;
                double *row = p + ((b * heads + h) * length + t) * length, *out = y + (b * length + t) * width + h * d, top = -INFINITY,
                       sum = 0.0;
                for (int s = 0; s <= t; s++) {
                    const double *k = qkv + (b * length + s) * 3 * width + width + h * d;
                    row[s] = 0.0;
                    for (int i = 0; i < d; i++) row[s] += q[i] * k[i] * scale;
                    top = fmax(top, row[s]);
                }
                for (int s = 0; s <= t; s++) sum += row[s] = exp(row[s] - top);
                for (int i = 0; i < d; i++) out[i] = 0.0;
                for (int s = 0; s <= t; s++) {
                    const double *v = qkv + (b * length + s) * 3 * width + 2 * width + h * d;
                    row[s] /= sum;
                    for (int i = 0; i < d; i++) out[i] += row[s] * v[i];
                }
            }
}

static void attention_backward(double *dqkv, const double *dy, const double *p, const double *qkv, int batch, int length, int heads,
                               int width)
{
    int d = width / heads, stride = 3 * width;
    double scale = 1.0 / sqrt((double)d);
    for (int b = 0; b < batch; b++)
        for (int h = 0; h < heads; h++)
            for (int t = 0; t < length; t++) {
                const double *row = p + ((b * heads + h) * length + t) * length, *d_out = dy + (b * length + t) * width + h * d;
                int at = (b * length + t) * stride + h * d;
                double through = 0.0; /* sum over s of p dp */
                for (int s = 0; s <= t; s++)
                    for (int i = 0; i < d; i++) through += row[s] * d_out[i] * qkv[(b * length + s) * stride + 2 * width + h * d + i];
                for (int s = 0; s <= t; s++) {
                    int from = (b * length + s) * stride + h * d;
                    double dp = 0.0;
                    for (int i = 0; i < d; i++) dp += d_out[i] * qkv[from + 2 * width + i];
                    double ds = row[s] * (dp - through) * scale;
                    for (int i = 0; i < d; i++) {
                        dqkv[at + i] += ds * qkv[from + width + i];
                        dqkv[from + width + i] += ds * qkv[at + i];
                        dqkv[from + 2 * width + i] += row[s] * d_out[i];
                    }
                }
            }
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

/* What forward leaves for backward, per layer: everything that a formula reads. */
struct layer {
    double *in, *ln1, *qkv, *p, *mixed, *middle, *ln2, *fc, *activated;
};

struct activations {
    struct layer *layers;
    double *last, *ln_f, *logits;
    int batch, length, rows;
};

static void alloc_activations(struct activations *a, const struct reference_sizes *s, int batch, int length)
{
    *a = (struct activations){.batch = batch, .length = length, .rows = batch * length};
    size_t rows = (size_t)a->rows, c = (size_t)s->width, f = (size_t)s->inner;
    a->layers = calloc((size_t)s->layers + 1, sizeof *a->layers);
    if (!a->layers) exit(1);
    for (int i = 0; i < s->layers; i++)
        a->layers[i] =
            (struct layer){doubles(rows * c), doubles(rows * c), doubles(rows * c * 3), doubles(rows * (size_t)(length * s->heads)),
                           doubles(rows * c), doubles(rows * c), doubles(rows * c),     doubles(rows * f),
                           doubles(rows * f)};
    a->last = doubles(rows * c);
    a->ln_f = doubles(rows * c);
    a->logits = doubles(rows * (size_t)s->vocabulary);
}

static void free_activations(struct activations *a, int layers)
{
    for (int i = 0; i < layers; i++) {
        struct layer *l = &a->layers[i];
        free(l->in);
        free(l->ln1);
        free(l->qkv);
        free(l->p);
        free(l->mixed);
        free(l->middle);
        free(l->ln2);
        free(l->fc);
        free(l->activated);
    }
    free(a->layers);
    free(a->last);
    free(a->ln_f);
    free(a->logits);
}

static void block(const struct reference_gpt2 *m, int index, struct activations *a, double *x)
{
    const struct reference_sizes *s = &m->sizes;
    struct layer *l = &a->layers[index];
    int rows = a->rows, c = s->width, f = s->inner;
    double *w[PER_LAYER], *y = doubles((size_t)(rows * c));
    for (int i = 0; i < PER_LAYER; i++) w[i] = value_of(m, layer_tensor(index, i));
    memcpy(l->in, x, (size_t)(rows * c) * sizeof *x);
    layernorm(l->ln1, x, w[LN1_W], w[LN1_B], rows, c, s->eps);
    conv1d(l->qkv, l->ln1, w[ATTN_W], w[ATTN_B], rows, c, 3 * c);
    attention(l->mixed, l->p, l->qkv, a->batch, a->length, s->heads, c);
    conv1d(y, l->mixed, w[PROJ_W], w[PROJ_B], rows, c, c);
    for (int i = 0; i < rows * c; i++) x[i] += y[i];
    memcpy(l->middle, x, (size_t)(rows * c) * sizeof *x);
    layernorm(l->ln2, x, w[LN2_W], w[LN2_B], rows, c, s->eps);
    conv1d(l->fc, l->ln2, w[FC_W], w[FC_B], rows, c, f);
    for (int i = 0; i < rows * f; i++) l->activated[i] = gelu(l->fc[i]);
    conv1d(y, l->activated, w[OUT_W], w[OUT_B], rows, f, c);
    for (int i = 0; i < rows * c; i++) x[i] += y[i];
    free(y);
}

/* dx comes in as the gradient of the block's output and leaves as that of its input. */
static void block_backward(const struct reference_gpt2 *m, int index, const struct activations *a, double *dx)
{
    const struct reference_sizes *s = &m->sizes;
    const struct layer *l = &a->layers[index];
    int rows = a->rows, c = s->width, f = s->inner;
    double *w[PER_LAYER], *g[PER_LAYER], *inner = doubles((size_t)(rows * f)), *outer = doubles((size_t)(rows * c));
    double *qkv = doubles((size_t)(rows * c * 3)), *mixed = doubles((size_t)(rows * c)), *ln1 = doubles((size_t)(rows * c));
    for (int i = 0; i < PER_LAYER; i++) {
        w[i] = value_of(m, layer_tensor(index, i));
        g[i] = gradient_of(m, layer_tensor(index, i));
    }
    conv1d_backward(inner, g[OUT_W], g[OUT_B], dx, l->activated, w[OUT_W], rows, f, c);
    for (int i = 0; i < rows * f; i++) inner[i] *= gelu_slope(l->fc[i]);
    conv1d_backward(outer, g[FC_W], g[FC_B], inner, l->ln2, w[FC_W], rows, c, f);
    layernorm_backward(dx, g[LN2_W], g[LN2_B], outer, l->middle, w[LN2_W], rows, c, s->eps);
    conv1d_backward(mixed, g[PROJ_W], g[PROJ_B], dx, l->mixed, w[PROJ_W], rows, c, c);
    attention_backward(qkv, mixed, l->p, l->qkv, a->batch, a->length, s->heads, c);
    conv1d_backward(ln1, g[ATTN_W], g[ATTN_B], qkv, l->ln1, w[ATTN_W], rows, c, 3 * c);
    layernorm_backward(dx, g[LN1_W], g[LN1_B], ln1, l->in, w[LN1_W], rows, c, s->eps);
    free(inner);
    free(outer);
    free(qkv);
    free(mixed);
    free(ln1);
}

/* Leaves factor (p - [label]) in the logits. */
static struct reference_result losses(double *logits, const int32_t *labels, int rows, int n, double factor, double *row_losses)
{
    struct reference_result result = {0};
    for (int r = 0; r < rows; r++) {
        double *x = logits + r * n, top = x[0], sum = 0.0;
        int best = 0;
        for (int i = 1; i < n; i++)
            if (x[i] > x[best]) best = i;
        top = x[best];
        for (int i = 0; i < n; i++) sum += exp(x[i] - top);
        double loss = labels[r] < 0 ? 0.0 : log(sum) + top - x[labels[r]];
        if (row_losses) row_losses[r] = loss;
        result.loss += loss;
        result.rows += labels[r] >= 0;
        result.hits += labels[r] == best;
        for (int i = 0; i < n; i++) x[i] = labels[r] < 0 ? 0.0 : factor * (exp(x[i] - top) / sum - (i == labels[r]));
    }
    return result;
}

/* From the gradient of the logits to every parameter's.  The tied head adds to the embedding's. */
static void backward(struct reference_gpt2 *m, const struct activations *a, const int32_t *tokens)
{
    const struct reference_sizes *s = &m->sizes;
    int rows = a->rows, c = s->width, n = s->vocabulary;
    size_t ln_f = m->tensor_count - 2;
    double *dx = doubles((size_t)(rows * c)), *d_ln_f = doubles((size_t)(rows * c)), *wte = value_of(m, WTE), *d_wte = gradient_of(m, WTE);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            for (int i = 0; i < c; i++) {
                d_ln_f[r * c + i] += a->logits[r * n + v] * wte[v * c + i];
                d_wte[v * c + i] += a->logits[r * n + v] * a->ln_f[r * c + i];
            }
    layernorm_backward(dx, gradient_of(m, ln_f), gradient_of(m, ln_f + 1), d_ln_f, a->last, value_of(m, ln_f), rows, c, s->eps);
    for (int layer = s->layers - 1; layer >= 0; layer--) block_backward(m, layer, a, dx);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < c; i++) {
            d_wte[tokens[r] * c + i] += dx[r * c + i];
            gradient_of(m, WPE)[r % a->length * c + i] += dx[r * c + i];
        }
    free(dx);
    free(d_ln_f);
}

struct reference_result reference_run(struct reference_gpt2 *m, const int32_t *tokens, const int32_t *labels, int batch, int length,
                                      double factor, double *logits, double *row_losses)
{
    const struct reference_sizes *s = &m->sizes;
    struct activations a;
    alloc_activations(&a, s, batch, length);
    int rows = a.rows, c = s->width, n = s->vocabulary;
    size_t ln_f = m->tensor_count - 2;
    double *x = a.last, *wte = value_of(m, WTE), *wpe = value_of(m, WPE);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < c; i++) x[r * c + i] = wte[tokens[r] * c + i] + wpe[r % length * c + i];
    for (int layer = 0; layer < s->layers; layer++) block(m, layer, &a, x);
    layernorm(a.ln_f, x, value_of(m, ln_f), value_of(m, ln_f + 1), rows, c, s->eps);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++) {
            double sum = 0.0;
            for (int i = 0; i < c; i++) sum += a.ln_f[r * c + i] * wte[v * c + i];
            a.logits[r * n + v] = sum;
        }
    if (logits) memcpy(logits, a.logits, (size_t)(rows * n) * sizeof *logits);
    struct reference_result result = losses(a.logits, labels, rows, n, factor, row_losses);
    if (factor != 0.0) backward(m, &a, tokens);
    free_activations(&a, s->layers);
    return result;
}

/* ---- AdamW ------------------------------------------------------------------------------------------------------- */

double reference_adamw_step(struct reference_gpt2 *m, const struct reference_adamw *o)
{
    double squares = 0.0, clip = 1.0;
    for (size_t i = 0; i < m->total; i++) squares += m->gradient[i] * m->gradient[i];
    double norm = sqrt(squares);
    if (o->max_norm > 0.0 && o->max_norm / (norm + 1e-6) < 1.0) clip = o->max_norm / (norm + 1e-6);
    m->steps++;
    for (size_t k = 0; k < m->tensor_count; k++) {
        const struct reference_tensor *t = &m->tensors[k];
        double keep = t->rank == 2 ? 1.0 - o->lr * o->weight_decay : 1.0;
        for (size_t i = t->offset; i < t->offset + t->count; i++) {
            double g = m->gradient[i] * clip;
            m->moment1[i] = o->beta1 * m->moment1[i] + (1.0 - o->beta1) * g;
            m->moment2[i] = o->beta2 * m->moment2[i] + (1.0 - o->beta2) * g * g;
            double first = m->moment1[i] / (1.0 - pow(o->beta1, m->steps)), second = m->moment2[i] / (1.0 - pow(o->beta2, m->steps));
            m->value[i] = keep * m->value[i] - o->lr * first / (sqrt(second) + o->eps);
            m->gradient[i] = 0.0;
        }
    }
    return norm;
}
