#include "reference_hrm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *make(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) abort();
    return memory;
}

static double *doubles(size_t count)
{
    return make(count, sizeof(double));
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static void add_tensor(struct reference_hrm *m, const char *name, int rows, int columns)
{
    struct hrm_tensor *t = &m->tensors[m->tensor_count++];
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->columns = columns;
    t->offset = m->total;
    t->count = (size_t)rows * (size_t)columns;
    m->total += t->count;
}

static const char *const parts[] = {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"};

static void add_module(struct reference_hrm *m, char module, int layers)
{
    const struct hrm_sizes *s = &m->sizes;
    const int shapes[4][2] = {{3 * s->hidden, s->hidden}, {s->hidden, s->hidden}, {2 * s->inner, s->hidden}, {s->hidden, s->inner}};
    char name[96];
    for (int layer = 0; layer < layers; layer++)
        for (int k = 0; k < 4; k++) {
            (void)snprintf(name, sizeof name, "model.inner.%c_level.layers.%d.%s.weight", module, layer, parts[k]);
            add_tensor(m, name, shapes[k][0], shapes[k][1]);
        }
}

void hrm_create(struct reference_hrm *m, const struct hrm_sizes *sizes, int batch)
{
    memset(m, 0, sizeof *m);
    m->sizes = *sizes;
    m->batch = batch;
    m->tensors = make((size_t)(4 * (sizes->h_layers + sizes->l_layers) + 8), sizeof *m->tensors);
    add_tensor(m, "model.inner.embed_tokens.embedding_weight", sizes->vocabulary, sizes->hidden);
    if (!sizes->rope) add_tensor(m, "model.inner.embed_pos.embedding_weight", sizes->length + sizes->puzzle_positions, sizes->hidden);
    add_tensor(m, "model.inner.lm_head.weight", sizes->vocabulary, sizes->hidden);
    add_tensor(m, "model.inner.q_head.weight", 2, sizes->hidden);
    add_tensor(m, "model.inner.q_head.bias", 1, 2);
    add_module(m, 'H', sizes->h_layers);
    add_module(m, 'L', sizes->l_layers);
    size_t puzzles = (size_t)sizes->identifiers * (size_t)(sizes->puzzle_positions * sizes->hidden), b = (size_t)batch;
    size_t carry = b * (size_t)((sizes->length + sizes->puzzle_positions) * sizes->hidden), cells = b * (size_t)sizes->length;
    double **arrays[] = {&m->value,           &m->gradient,    &m->moment1,         &m->moment2, &m->puzzles,
                         &m->puzzle_gradient, &m->h_init,      &m->l_init,          &m->z_h,     &m->z_l,
                         &m->lm_loss,         &m->q_halt_loss, &m->q_continue_loss, &m->q,       &m->correct};
    size_t hidden = (size_t)sizes->hidden;
    const size_t counts[] = {m->total, m->total, m->total, m->total, puzzles, puzzles, hidden, hidden, carry, carry, b, b, b, 2 * b, b};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) *arrays[i] = doubles(counts[i]);
    m->puzzle_used = make((size_t)sizes->identifiers, sizeof *m->puzzle_used);
    m->tokens = make(cells, sizeof *m->tokens);
    m->labels = make(cells, sizeof *m->labels);
    m->ids = make(b, sizeof *m->ids);
    m->count = make(b, sizeof *m->count);
    m->running = make(b, sizeof *m->running);
}

void hrm_destroy(struct reference_hrm *m)
{
    void *const all[] = {m->tensors,         m->value,           m->gradient, m->moment1, m->moment2, m->puzzles,
                         m->puzzle_gradient, m->puzzle_used,     m->h_init,   m->l_init,  m->z_h,     m->z_l,
                         m->tokens,          m->labels,          m->ids,      m->count,   m->running, m->lm_loss,
                         m->q_halt_loss,     m->q_continue_loss, m->q,        m->correct};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

const struct hrm_tensor *hrm_find(const struct reference_hrm *m, const char *name)
{
    for (size_t i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    abort();
}

static size_t layer_offset(const struct reference_hrm *m, char module, int layer, int part)
{
    char name[96];
    (void)snprintf(name, sizeof name, "model.inner.%c_level.layers.%d.%s.weight", module, layer, parts[part]);
    return hrm_find(m, name)->offset;
}

/* ---- pieces: y (rows, out) = x (rows, in) W^T, RMS norm ----------------------------------------------------------- */

static void linear(double *y, const double *x, const double *w, int rows, int in, int out)
{
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            double sum = 0;
            for (int i = 0; i < in; i++) sum += x[r * in + i] * w[o * in + i];
            y[r * out + o] = sum;
        }
}

/* dx += dy W, dw += dy^T x */
static void linear_backward(double *dx, double *dw, const double *dy, const double *x, const double *w, int rows, int in, int out)
{
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++)
            for (int i = 0; i < in; i++) {
                dx[r * in + i] += dy[r * out + o] * w[o * in + i];
                dw[o * in + i] += dy[r * out + o] * x[r * in + i];
            }
}

static void norm(double *y, const double *x, int rows, int n, double eps)
{
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += x[r * n + i] * x[r * n + i];
        for (int i = 0; i < n; i++) y[r * n + i] = x[r * n + i] / sqrt(sum / n + eps);
    }
}

/* In place: d becomes the gradient of x. */
static void norm_backward(double *d, const double *x, int rows, int n, double eps)
{
    for (int r = 0; r < rows; r++) {
        double sum = 0, dot = 0;
        for (int i = 0; i < n; i++) sum += x[r * n + i] * x[r * n + i], dot += d[r * n + i] * x[r * n + i];
        double scale = 1 / sqrt(sum / n + eps);
        for (int i = 0; i < n; i++) d[r * n + i] = scale * d[r * n + i] - x[r * n + i] * dot * scale * scale * scale / n;
    }
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* Rotates the queries and keys of qkv (T, 3 hidden); direction -1 is the gradient. */
static void rotate(const struct hrm_sizes *s, double *qkv, int positions, int direction)
{
    int d = s->hidden / s->heads, half = d / 2;
    for (int t = 0; t < positions && s->rope; t++)
        for (int head = 0; head < 2 * s->heads; head++)
            for (int i = 0; i < half; i++) {
                double angle = direction * t * pow(s->theta, -2.0 * i / d), *a = &qkv[t * 3 * s->hidden + head * d + i], *b = a + half;
                double x = *a, y = *b;
                *a = x * cos(angle) - y * sin(angle);
                *b = y * cos(angle) + x * sin(angle);
            }
}

static void attention(const struct hrm_sizes *s, double *out, double *p, const double *qkv, int positions)
{
    int d = s->hidden / s->heads, w = 3 * s->hidden;
    for (int head = 0; head < s->heads; head++)
        for (int t = 0; t < positions; t++) {
            double *row = &p[(head * positions + t) * positions], sum = 0;
            for (int u = 0; u < positions; u++) {
                double dot = 0;
                for (int i = 0; i < d; i++) dot += qkv[t * w + head * d + i] * qkv[u * w + s->hidden + head * d + i];
                row[u] = exp(dot / sqrt(d));
                sum += row[u];
            }
            for (int u = 0; u < positions; u++) row[u] /= sum;
            for (int i = 0; i < d; i++) {
                out[t * s->hidden + head * d + i] = 0;
                for (int u = 0; u < positions; u++) out[t * s->hidden + head * d + i] += row[u] * qkv[u * w + 2 * s->hidden + head * d + i];
            }
        }
}

static void attention_backward(const struct hrm_sizes *s, double *dqkv, const double *dout, const double *p, const double *qkv,
                               int positions)
{
    int d = s->hidden / s->heads, w = 3 * s->hidden;
    double *dp = doubles((size_t)positions);
    for (int head = 0; head < s->heads; head++)
        for (int t = 0; t < positions; t++) {
            const double *row = &p[(head * positions + t) * positions], *go = &dout[t * s->hidden + head * d];
            double mean = 0;
            for (int u = 0; u < positions; u++) {
                dp[u] = 0;
                for (int i = 0; i < d; i++) {
                    dp[u] += go[i] * qkv[u * w + 2 * s->hidden + head * d + i];
                    dqkv[u * w + 2 * s->hidden + head * d + i] += row[u] * go[i];
                }
                mean += row[u] * dp[u];
            }
            for (int u = 0; u < positions; u++)
                for (int i = 0; i < d; i++) {
                    double g = row[u] * (dp[u] - mean) / sqrt(d);
                    dqkv[t * w + head * d + i] += g * qkv[u * w + s->hidden + head * d + i];
                    dqkv[u * w + s->hidden + head * d + i] += g * qkv[t * w + head * d + i];
                }
        }
    free(dp);
}

/* ---- blocks: what forward leaves for backward --------------------------------------------------------------------- */

struct block {
    double *in, *qkv, *p, *heads, *sum1, *x1, *gate_up, *gated, *sum2;
};

static struct block block_create(const struct hrm_sizes *s, int positions)
{
    size_t t = (size_t)positions, h = (size_t)s->hidden, inner = (size_t)s->inner;
    return (struct block){doubles(t * h),         doubles(3 * t * h), doubles((size_t)s->heads * t * t),
                          doubles(t * h),         doubles(t * h),     doubles(t * h),
                          doubles(2 * t * inner), doubles(t * inner), doubles(t * h)};
}

static void block_destroy(struct block *b)
{
    double *const all[] = {b->in, b->qkv, b->p, b->heads, b->sum1, b->x1, b->gate_up, b->gated, b->sum2};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void block_forward(const struct reference_hrm *m, struct block *b, char module, int layer, double *x, int positions)
{
    const struct hrm_sizes *s = &m->sizes;
    int h = s->hidden, n = positions * h;
    const double *v = m->value;
    memcpy(b->in, x, (size_t)n * sizeof *x);
    linear(b->qkv, x, v + layer_offset(m, module, layer, 0), positions, h, 3 * h);
    rotate(s, b->qkv, positions, 1);
    attention(s, b->heads, b->p, b->qkv, positions);
    linear(b->sum1, b->heads, v + layer_offset(m, module, layer, 1), positions, h, h);
    for (int i = 0; i < n; i++) b->sum1[i] += x[i];
    norm(b->x1, b->sum1, positions, h, s->eps);
    linear(b->gate_up, b->x1, v + layer_offset(m, module, layer, 2), positions, h, 2 * s->inner);
    for (int t = 0; t < positions; t++)
        for (int i = 0; i < s->inner; i++) {
            double g = b->gate_up[t * 2 * s->inner + i];
            b->gated[t * s->inner + i] = g / (1 + exp(-g)) * b->gate_up[t * 2 * s->inner + s->inner + i];
        }
    linear(b->sum2, b->gated, v + layer_offset(m, module, layer, 3), positions, s->inner, h);
    for (int i = 0; i < n; i++) b->sum2[i] += b->x1[i];
    norm(x, b->sum2, positions, h, s->eps);
}

/* d: gradient of the output, becomes that of the input. */
static void block_backward(struct reference_hrm *m, const struct block *b, char module, int layer, double *d, int positions)
{
    const struct hrm_sizes *s = &m->sizes;
    int h = s->hidden, inner = s->inner;
    size_t n = (size_t)(positions * h), offset[4];
    for (int k = 0; k < 4; k++) offset[k] = layer_offset(m, module, layer, k);
    double *dgated = doubles((size_t)(positions * inner)), *dgate_up = doubles((size_t)(2 * positions * inner));
    double *dheads = doubles(n), *dqkv = doubles(3 * n);
    norm_backward(d, b->sum2, positions, h, s->eps);
    linear_backward(dgated, m->gradient + offset[3], d, b->gated, m->value + offset[3], positions, inner, h);
    for (int t = 0; t < positions; t++)
        for (int i = 0; i < inner; i++) {
            double g = b->gate_up[t * 2 * inner + i], up = b->gate_up[t * 2 * inner + inner + i], sigmoid = 1 / (1 + exp(-g));
            dgate_up[t * 2 * inner + i] = dgated[t * inner + i] * up * (sigmoid + g * sigmoid * (1 - sigmoid));
            dgate_up[t * 2 * inner + inner + i] = dgated[t * inner + i] * g * sigmoid;
        }
    linear_backward(d, m->gradient + offset[2], dgate_up, b->x1, m->value + offset[2], positions, h, 2 * inner);
    norm_backward(d, b->sum1, positions, h, s->eps);
    linear_backward(dheads, m->gradient + offset[1], d, b->heads, m->value + offset[1], positions, h, h);
    attention_backward(s, dqkv, dheads, b->p, b->qkv, positions);
    rotate(s, dqkv, positions, -1);
    linear_backward(d, m->gradient + offset[0], dqkv, b->in, m->value + offset[0], positions, h, 3 * h);
    free(dgated);
    free(dgate_up);
    free(dheads);
    free(dqkv);
}

/* ---- one sequence ------------------------------------------------------------------------------------------------ */

struct scratch {
    struct block *h, *l;
    double *x;
    int positions;
};

static void apply(const struct reference_hrm *m, struct block *blocks, char module, int layers, double *z, const double *a, const double *b,
                  int positions)
{
    for (int i = 0; i < positions * m->sizes.hidden; i++) z[i] += a[i] + (b ? b[i] : 0);
    for (int layer = 0; layer < layers; layer++) block_forward(m, &blocks[layer], module, layer, z, positions);
}

static void think(const struct reference_hrm *m, const struct scratch *w, double *z_h, double *z_l)
{
    const struct hrm_sizes *s = &m->sizes;
    for (int h = 0; h < s->h_cycles; h++) {
        for (int l = 0; l < s->l_cycles; l++) apply(m, w->l, 'L', s->l_layers, z_l, z_h, w->x, w->positions);
        apply(m, w->h, 'H', s->h_layers, z_h, z_l, NULL, w->positions);
    }
}

static double embed_scale(const struct hrm_sizes *s)
{
    return sqrt(s->hidden) * (s->rope ? 1 : 0.707106781);
}

static void embed(const struct reference_hrm *m, double *x, const int32_t *tokens, int id)
{
    const struct hrm_sizes *s = &m->sizes;
    const double *table = m->value + hrm_find(m, "model.inner.embed_tokens.embedding_weight")->offset;
    const double *places = s->rope ? NULL : m->value + hrm_find(m, "model.inner.embed_pos.embedding_weight")->offset;
    for (int t = 0; t < s->length + s->puzzle_positions; t++)
        for (int i = 0; i < s->hidden; i++) {
            double e = t < s->puzzle_positions ? m->puzzles[(id * s->puzzle_positions + t) * s->hidden + i]
                                               : table[tokens[t - s->puzzle_positions] * s->hidden + i];
            x[t * s->hidden + i] = embed_scale(s) * (e + (places ? places[t * s->hidden + i] : 0));
        }
}

static void embed_backward(struct reference_hrm *m, const double *dx, const int32_t *tokens, int id)
{
    const struct hrm_sizes *s = &m->sizes;
    double *table = m->gradient + hrm_find(m, "model.inner.embed_tokens.embedding_weight")->offset;
    double *places = s->rope ? NULL : m->gradient + hrm_find(m, "model.inner.embed_pos.embedding_weight")->offset;
    m->puzzle_used[id] = 1;
    for (int t = 0; t < s->length + s->puzzle_positions; t++)
        for (int i = 0; i < s->hidden; i++) {
            double d = embed_scale(s) * dx[t * s->hidden + i];
            if (t < s->puzzle_positions)
                m->puzzle_gradient[(id * s->puzzle_positions + t) * s->hidden + i] += d;
            else
                table[tokens[t - s->puzzle_positions] * s->hidden + i] += d;
            if (places) places[t * s->hidden + i] += d;
        }
}

static void judge(const struct reference_hrm *m, const double *z_h, double q[2])
{
    const double *bias = m->value + hrm_find(m, "model.inner.q_head.bias")->offset;
    linear(q, z_h, m->value + hrm_find(m, "model.inner.q_head.weight")->offset, 1, m->sizes.hidden, 2);
    q[0] += bias[0];
    q[1] += bias[1];
}

static double stable(const struct hrm_sizes *s, double x)
{
    return !s->stablemax ? exp(x) : x >= 0 ? x + 1 : 1 / (1 - x);
}

static double stable_slope(const struct hrm_sizes *s, double x)
{
    return !s->stablemax ? exp(x) : x >= 0 ? 1 : 1 / ((1 - x) * (1 - x));
}

/* Mean loss over the labels that count; dz gets its gradient times factor. */
static double answer_loss(struct reference_hrm *m, const double *z, const int32_t *labels, double factor, double *dz, double *correct)
{
    const struct hrm_sizes *s = &m->sizes;
    size_t at = hrm_find(m, "model.inner.lm_head.weight")->offset;
    int v = s->vocabulary, counted = 0;
    double loss = 0, *logits = doubles((size_t)v), *d = doubles((size_t)v);
    for (int t = 0; t < s->length; t++) counted += labels[t] >= 0;
    *correct = 1;
    for (int t = 0; t < s->length; t++) {
        const double *row = z + (t + s->puzzle_positions) * s->hidden;
        double sum = 0;
        int best = 0;
        if (labels[t] < 0) continue;
        linear(logits, row, m->value + at, 1, s->hidden, v);
        for (int k = 0; k < v; k++) sum += stable(s, logits[k]), best = logits[k] > logits[best] ? k : best;
        if (best != labels[t]) *correct = 0;
        loss -= log(stable(s, logits[labels[t]]) / sum) / counted;
        for (int k = 0; k < v; k++)
            d[k] = factor / counted *
                   (stable_slope(s, logits[k]) / sum - (k == labels[t] ? stable_slope(s, logits[k]) / stable(s, logits[k]) : 0));
        linear_backward(dz + (t + s->puzzle_positions) * s->hidden, m->gradient + at, d, row, m->value + at, 1, s->hidden, v);
    }
    free(logits);
    free(d);
    return loss;
}

static double bce(double x, double target)
{
    return fmax(x, 0) - target * x + log1p(exp(-fabs(x)));
}

static void run_sequence(struct reference_hrm *m, const struct scratch *w, int b, int min_steps)
{
    const struct hrm_sizes *s = &m->sizes;
    size_t n = (size_t)(w->positions * s->hidden);
    double *z_h = m->z_h + (size_t)b * n, *z_l = m->z_l + (size_t)b * n, *q = m->q + 2 * b, next[2], factor = 1.0 / m->batch;
    double *dz = doubles(n), *copy_h = doubles(n), *copy_l = doubles(n), dq[2];
    const int32_t *tokens = m->tokens + b * s->length;
    embed(m, w->x, tokens, m->ids[b]);
    think(m, w, z_h, z_l); /* the blocks keep the last application of each module, which is the one with gradient */
    judge(m, z_h, q);
    m->lm_loss[b] = answer_loss(m, z_h, m->labels + b * s->length, factor, dz, &m->correct[b]);
    int last = m->count[b] >= s->halt_max_steps;
    m->running[b] = !((last || q[0] > q[1]) && m->count[b] >= min_steps);
    /* backward before the look ahead, which overwrites the blocks; the target needs the look ahead, so that comes from other blocks */
    struct scratch ahead = *w;
    ahead.h = make((size_t)s->h_layers, sizeof *ahead.h);
    ahead.l = make((size_t)s->l_layers, sizeof *ahead.l);
    for (int i = 0; i < s->h_layers; i++) ahead.h[i] = block_create(s, w->positions);
    for (int i = 0; i < s->l_layers; i++) ahead.l[i] = block_create(s, w->positions);
    memcpy(copy_h, z_h, n * sizeof *copy_h);
    memcpy(copy_l, z_l, n * sizeof *copy_l);
    think(m, &ahead, copy_h, copy_l);
    judge(m, copy_h, next);
    double target = 1 / (1 + exp(-(last ? next[0] : fmax(next[0], next[1]))));
    m->q_halt_loss[b] = bce(q[0], m->correct[b]);
    m->q_continue_loss[b] = bce(q[1], target);
    dq[0] = 0.5 * factor * (1 / (1 + exp(-q[0])) - m->correct[b]);
    dq[1] = 0.5 * factor * (1 / (1 + exp(-q[1])) - target);
    size_t head = hrm_find(m, "model.inner.q_head.weight")->offset, bias = hrm_find(m, "model.inner.q_head.bias")->offset;
    linear_backward(dz, m->gradient + head, dq, z_h, m->value + head, 1, s->hidden, 2);
    for (int k = 0; k < 2; k++) m->gradient[bias + (size_t)k] += dq[k];
    for (int layer = s->h_layers; layer-- > 0;) block_backward(m, &w->h[layer], 'H', layer, dz, w->positions);
    for (int layer = s->l_layers; layer-- > 0;) block_backward(m, &w->l[layer], 'L', layer, dz, w->positions);
    embed_backward(m, dz, tokens, m->ids[b]);
    for (int i = 0; i < s->h_layers; i++) block_destroy(&ahead.h[i]);
    for (int i = 0; i < s->l_layers; i++) block_destroy(&ahead.l[i]);
    free(ahead.h);
    free(ahead.l);
    free(dz);
    free(copy_h);
    free(copy_l);
}

static void replace(struct reference_hrm *m, int b, const int32_t *tokens, const int32_t *labels, int id)
{
    const struct hrm_sizes *s = &m->sizes;
    int positions = s->length + s->puzzle_positions;
    for (int t = 0; t < positions; t++) {
        memcpy(m->z_h + (b * positions + t) * s->hidden, m->h_init, (size_t)s->hidden * sizeof(double));
        memcpy(m->z_l + (b * positions + t) * s->hidden, m->l_init, (size_t)s->hidden * sizeof(double));
    }
    memcpy(m->tokens + b * s->length, tokens + b * s->length, (size_t)s->length * sizeof *tokens);
    memcpy(m->labels + b * s->length, labels + b * s->length, (size_t)s->length * sizeof *labels);
    m->ids[b] = id;
    m->count[b] = 0;
}

void hrm_segment(struct reference_hrm *m, const int32_t *tokens, const int32_t *labels, const int32_t *ids, const int32_t *min_steps)
{
    const struct hrm_sizes *s = &m->sizes;
    struct scratch w = {.positions = s->length + s->puzzle_positions};
    w.x = doubles((size_t)(w.positions * s->hidden));
    w.h = make((size_t)s->h_layers, sizeof *w.h);
    w.l = make((size_t)s->l_layers, sizeof *w.l);
    for (int i = 0; i < s->h_layers; i++) w.h[i] = block_create(s, w.positions);
    for (int i = 0; i < s->l_layers; i++) w.l[i] = block_create(s, w.positions);
    memset(m->gradient, 0, m->total * sizeof(double));
    memset(m->puzzle_gradient, 0, (size_t)(s->identifiers * s->puzzle_positions * s->hidden) * sizeof(double));
    memset(m->puzzle_used, 0, (size_t)s->identifiers * sizeof(int));
    for (int b = 0; b < m->batch; b++) {
        if (!m->running[b]) replace(m, b, tokens, labels, ids[b]);
        m->count[b]++;
        run_sequence(m, &w, b, min_steps[b]);
    }
    for (int i = 0; i < s->h_layers; i++) block_destroy(&w.h[i]);
    for (int i = 0; i < s->l_layers; i++) block_destroy(&w.l[i]);
    free(w.h);
    free(w.l);
    free(w.x);
}

void hrm_step(struct reference_hrm *m, double lr, double beta1, double beta2, double decay, double puzzle_lr, double puzzle_decay)
{
    int width = m->sizes.puzzle_positions * m->sizes.hidden;
    m->steps++;
    for (size_t i = 0; i < m->total; i++) {
        double g = m->gradient[i];
        m->value[i] *= 1 - lr * decay;
        m->moment1[i] += (1 - beta1) * (g - m->moment1[i]);
        m->moment2[i] += (1 - beta2) * (g * g - m->moment2[i]);
        m->value[i] -= lr / (1 - pow(beta1, m->steps)) * atan2(m->moment1[i], sqrt(m->moment2[i]) / sqrt(1 - pow(beta2, m->steps)));
    }
    for (int id = 0; id < m->sizes.identifiers; id++)
        for (int i = 0; i < width && m->puzzle_used[id]; i++) {
            double *w = &m->puzzles[id * width + i], g = m->puzzle_gradient[id * width + i];
            *w = *w * (1 - puzzle_lr * puzzle_decay) - puzzle_lr * (g > 0 ? 1 : g < 0 ? -1 : 0);
        }
}
