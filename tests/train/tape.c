#include "tape.h"

#include <aios/backend.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tape ---------------------------------------------------------------------------------------------------- */

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        (void)fprintf(stderr, "tape: no memory for %zu elements\n", count);
        exit(1);
    }
    return memory;
}

tape *tape_create(void)
{
    tape *t = zeros(1, sizeof *t);
    t->count = 1;
    t->capacity = 1;
    t->nodes = zeros(1, sizeof *t->nodes);
    return t;
}

void tape_destroy(tape *t)
{
    for (int i = 1; t && i < t->count; i++) {
        free(t->nodes[i].value);
        free(t->nodes[i].gradient);
        free(t->nodes[i].extra);
    }
    if (t) free(t->nodes);
    free(t);
}

struct tape_node *tape_at(const tape *t, int node)
{
    return &t->nodes[node];
}

static int last_of(const struct tape_node *n)
{
    return n->shape[n->rank - 1];
}

static size_t rows_of(const struct tape_node *n)
{
    return n->count / (size_t)last_of(n);
}

/* Adds a node of that shape; its gradient is wanted where an input's is. */
static int add_node(tape *t, struct tape_node n, const int *shape, int rank)
{
    n.rank = rank;
    n.count = 1;
    for (int i = 0; i < rank; i++) {
        n.shape[i] = shape[i];
        n.count *= (size_t)shape[i];
    }
    if (n.op != TAPE_LEAF) {
        n.constant = 1;
        for (int k = 0; k < 3; k++)
            if (n.input[k] && !t->nodes[n.input[k]].constant) n.constant = t->no_gradient != 0;
    }
    n.value = zeros(n.count, sizeof *n.value);
    n.gradient = zeros(n.count, sizeof *n.gradient);
    if (t->count == t->capacity) {
        t->capacity *= 2;
        t->nodes = realloc(t->nodes, (size_t)t->capacity * sizeof *t->nodes);
        if (!t->nodes) exit(1);
    }
    t->nodes[t->count] = n;
    return t->count++;
}

static int same_shape(tape *t, struct tape_node n, int x)
{
    int shape[TAPE_RANK], rank = t->nodes[x].rank;
    memcpy(shape, t->nodes[x].shape, sizeof shape);
    return add_node(t, n, shape, rank);
}

/* ---- noise ------------------------------------------------------------------------------------------------------- */

void tape_quiet(tape *t)
{
    t->storage_unit = t->storage_least = t->unit = 0.0;
}

void tape_noise(tape *t, int storage, uint64_t seed)
{
    t->unit = ldexp(1.0, -24);
    t->storage_unit = storage == AIOS_BF16 ? ldexp(1.0, -8) : storage == AIOS_F16 ? ldexp(1.0, -11) : t->unit;
    t->storage_least = storage == AIOS_F16 ? ldexp(1.0, -25) : 0.0; /* below 2^-14 its values stand 2^-24 apart */
    t->random = seed * 2 + 1;
}

/* [-1, 1) */
static double draw(tape *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (double)(t->random >> 11) / 4503599627370496.0 - 1.0;
}

/* One operation's rounding. */
static double jog(tape *t, double x)
{
    return t->unit == 0.0 ? x : x * (1.0 + t->unit * draw(t));
}

static void store(tape *t, double *x, size_t count)
{
    if (t->unit == 0.0) return;
    for (size_t i = 0; i < count; i++)
        if (x[i] != 0.0) x[i] += (fabs(x[i]) * t->storage_unit + t->storage_least) * draw(t);
}

/* ---- leaves, embedding ------------------------------------------------------------------------------------------- */

int tape_leaf(tape *t, const int *shape, int rank, int differentiated)
{
    return add_node(t, (struct tape_node){.op = TAPE_LEAF, .constant = !differentiated}, shape, rank);
}

int tape_embedding(tape *t, int table, int ids)
{
    int shape[TAPE_RANK], rank = t->nodes[ids].rank;
    memcpy(shape, t->nodes[ids].shape, sizeof shape);
    shape[rank] = t->nodes[table].shape[1];
    return add_node(t, (struct tape_node){.op = TAPE_EMBEDDING, .input = {table, ids}}, shape, rank + 1);
}

static void embedding(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *table = &t->nodes[n->input[0]], *ids = &t->nodes[n->input[1]];
    size_t width = (size_t)last_of(n);
    for (size_t r = 0; r < ids->count; r++)
        for (size_t i = 0; i < width; i++) {
            size_t from = (size_t)ids->value[r] * width + i;
            if (backward)
                table->gradient[from] += jog(t, n->gradient[r * width + i]);
            else
                n->value[r * width + i] = table->value[from];
        }
}

/* ---- linear ------------------------------------------------------------------------------------------------------ */

int tape_linear(tape *t, int x, int weight, int bias, int in_out)
{
    int shape[TAPE_RANK], rank = t->nodes[x].rank;
    memcpy(shape, t->nodes[x].shape, sizeof shape);
    shape[rank - 1] = t->nodes[weight].shape[in_out ? 1 : 0];
    return add_node(t, (struct tape_node){.op = TAPE_LINEAR, .input = {x, weight, bias}, .layout = in_out}, shape, rank);
}

static void linear(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *w = &t->nodes[n->input[1]], *b = n->input[2] ? &t->nodes[n->input[2]] : NULL;
    size_t rows = rows_of(n), in = (size_t)last_of(x), out = (size_t)last_of(n);
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++) {
            double dy = n->gradient[r * out + o], sum = b ? b->value[o] : 0.0;
            for (size_t i = 0; i < in; i++) {
                size_t at = n->layout ? i * out + o : o * in + i;
                if (backward) {
                    x->gradient[r * in + i] += jog(t, dy * w->value[at]);
                    w->gradient[at] += jog(t, dy * x->value[r * in + i]);
                } else {
                    sum += jog(t, x->value[r * in + i] * w->value[at]);
                }
            }
            if (!backward)
                n->value[r * out + o] = sum;
            else if (b)
                b->gradient[o] += jog(t, dy);
        }
}

/* ---- add, scale, alias, slice, select ---------------------------------------------------------------------------- */

int tape_add(tape *t, int a, int b)
{
    return same_shape(t, (struct tape_node){.op = TAPE_ADD, .input = {a, b}}, a);
}

static void add(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *a = &t->nodes[n->input[0]], *b = &t->nodes[n->input[1]];
    for (size_t i = 0; i < n->count; i++) {
        if (backward) {
            a->gradient[i] += jog(t, n->gradient[i]);
            b->gradient[i % b->count] += jog(t, n->gradient[i]);
        } else {
            n->value[i] = a->value[i] + b->value[i % b->count];
        }
    }
}

int tape_scale(tape *t, int x, double factor)
{
    return same_shape(t, (struct tape_node){.op = TAPE_SCALE, .input = {x}, .factor = factor}, x);
}

int tape_reshape(tape *t, int x, const int *shape, int rank)
{
    return add_node(t, (struct tape_node){.op = TAPE_ALIAS, .input = {x}, .factor = 1.0}, shape, rank);
}

int tape_detach(tape *t, int x)
{
    int y = same_shape(t, (struct tape_node){.op = TAPE_ALIAS, .input = {x}, .factor = 1.0}, x);
    t->nodes[y].constant = 1;
    return y;
}

static void scale(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    for (size_t i = 0; i < n->count; i++) {
        if (backward)
            x->gradient[i] += n->op == TAPE_ALIAS ? n->gradient[i] : jog(t, n->factor * n->gradient[i]);
        else
            n->value[i] = n->factor * x->value[i];
    }
}

int tape_slice(tape *t, int x, int axis, int start, int length)
{
    int shape[TAPE_RANK], rank = t->nodes[x].rank;
    memcpy(shape, t->nodes[x].shape, sizeof shape);
    shape[axis] = length;
    return add_node(t, (struct tape_node){.op = TAPE_SLICE, .input = {x}, .axis = axis, .start = start}, shape, rank);
}

static void slice(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    size_t inner = 1, length = (size_t)n->shape[n->axis], whole = (size_t)x->shape[n->axis];
    for (int i = n->axis + 1; i < n->rank; i++) inner *= (size_t)n->shape[i];
    for (size_t i = 0; i < n->count; i++) {
        size_t group = i / (length * inner), entry = i / inner % length,
               at = (group * whole + (size_t)n->start + entry) * inner + i % inner;
        if (backward)
            x->gradient[at] += n->gradient[i];
        else
            n->value[i] = x->value[at];
    }
}

int tape_select(tape *t, int mask, int a, int b)
{
    return same_shape(t, (struct tape_node){.op = TAPE_SELECT, .input = {a, b, mask}}, a);
}

static void selection(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *a = &t->nodes[n->input[0]], *b = &t->nodes[n->input[1]], *mask = &t->nodes[n->input[2]];
    size_t entry = n->count / (size_t)n->shape[0];
    for (size_t i = 0; i < n->count; i++) {
        struct tape_node *from = mask->value[i / entry] != 0.0 ? a : b;
        if (backward)
            from->gradient[i % from->count] += n->gradient[i];
        else
            n->value[i] = from->value[i % from->count];
    }
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

int tape_layernorm(tape *t, int x, int weight, int bias, double eps)
{
    return same_shape(t, (struct tape_node){.op = TAPE_LAYERNORM, .input = {x, weight, bias}, .factor = eps}, x);
}

/* h = (x - mean) / s, y = h w + b;  dx = (g - mean g - h mean(g h)) / s with g = dy w */
static void layernorm(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *w = &t->nodes[n->input[1]], *b = &t->nodes[n->input[2]];
    size_t width = (size_t)last_of(n);
    for (size_t r = 0; r < rows_of(n); r++) {
        const double *xr = x->value + r * width, *dy = n->gradient + r * width;
        double mean = 0.0, variance = 0.0, g_sum = 0.0, gh_sum = 0.0;
        for (size_t i = 0; i < width; i++) mean += jog(t, xr[i]) / (double)width;
        for (size_t i = 0; i < width; i++) variance += jog(t, (xr[i] - mean) * (xr[i] - mean)) / (double)width;
        double s = jog(t, sqrt(variance + n->factor));
        for (size_t i = 0; i < width; i++) {
            double h = jog(t, (xr[i] - mean) / s);
            if (!backward)
                n->value[r * width + i] = jog(t, h * w->value[i]) + b->value[i];
            else {
                w->gradient[i] += jog(t, dy[i] * h);
                b->gradient[i] += jog(t, dy[i]);
                g_sum += jog(t, dy[i] * w->value[i]);
                gh_sum += jog(t, dy[i] * w->value[i] * h);
            }
        }
        for (size_t i = 0; backward && i < width; i++) {
            double h = (xr[i] - mean) / s;
            x->gradient[r * width + i] +=
                (jog(t, dy[i] * w->value[i]) - jog(t, g_sum / (double)width) - jog(t, h * gh_sum / (double)width)) / s;
        }
    }
}

int tape_rmsnorm(tape *t, int x, int weight, double eps)
{
    return same_shape(t, (struct tape_node){.op = TAPE_RMSNORM, .input = {x, weight}, .factor = eps}, x);
}

/* y = x w / s;  dx = g / s - x mean(g x) / s^3 with g = dy w */
static void rmsnorm(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *w = n->input[1] ? &t->nodes[n->input[1]] : NULL;
    size_t width = (size_t)last_of(n);
    for (size_t r = 0; r < rows_of(n); r++) {
        const double *xr = x->value + r * width, *dy = n->gradient + r * width;
        double square = 0.0, gx = 0.0;
        for (size_t i = 0; i < width; i++) square += jog(t, xr[i] * xr[i]) / (double)width;
        double s = jog(t, sqrt(square + n->factor));
        for (size_t i = 0; i < width; i++) {
            double gain = w ? w->value[i] : 1.0;
            if (!backward)
                n->value[r * width + i] = jog(t, xr[i] / s * gain);
            else
                gx += jog(t, dy[i] * gain * xr[i]) / (double)width;
            if (backward && w) w->gradient[i] += jog(t, dy[i] * xr[i] / s);
        }
        for (size_t i = 0; backward && i < width; i++)
            x->gradient[r * width + i] += jog(t, dy[i] * (w ? w->value[i] : 1.0) / s) - jog(t, xr[i] * gx / (s * s * s));
    }
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

int tape_gelu(tape *t, int x)
{
    return same_shape(t, (struct tape_node){.op = TAPE_GELU, .input = {x}}, x);
}

static void gelu(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    double c = sqrt(2.0 / 3.14159265358979323846);
    for (size_t i = 0; i < n->count; i++) {
        double v = x->value[i], u = jog(t, c * (v + 0.044715 * v * v * v)), th = tanh(u);
        double slope = 0.5 * (1.0 + jog(t, th)) + 0.5 * v * (1.0 - th * th) * c * (1.0 + 3.0 * 0.044715 * v * v);
        if (backward)
            x->gradient[i] += jog(t, n->gradient[i] * slope);
        else
            n->value[i] = 0.5 * (v + jog(t, v * th));
    }
}

int tape_swiglu(tape *t, int x)
{
    int shape[TAPE_RANK], rank = t->nodes[x].rank;
    memcpy(shape, t->nodes[x].shape, sizeof shape);
    shape[rank - 1] /= 2;
    return add_node(t, (struct tape_node){.op = TAPE_SWIGLU, .input = {x}}, shape, rank);
}

static void swiglu(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    size_t half = (size_t)last_of(n);
    for (size_t i = 0; i < n->count; i++) {
        size_t gate = i / half * 2 * half + i % half, up = gate + half;
        double g = x->value[gate], u = x->value[up], s = jog(t, 1.0 / (1.0 + exp(-g))), dy = n->gradient[i];
        if (backward) {
            x->gradient[gate] += jog(t, dy * u * (s + g * s * (1.0 - s)));
            x->gradient[up] += jog(t, dy * g * s);
        } else {
            n->value[i] = jog(t, g * s * u);
        }
    }
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

int tape_attention(tape *t, int qkv, int heads, int kv_heads, int causal, double scale, double theta)
{
    const struct tape_node *x = &t->nodes[qkv];
    int d = x->shape[2] / (heads + 2 * kv_heads), length = x->shape[1];
    size_t pairs = (size_t)x->shape[0] * (size_t)heads * (size_t)length * (size_t)length;
    int y = add_node(t,
                     (struct tape_node){.op = TAPE_ATTENTION,
                                        .input = {qkv},
                                        .heads = heads,
                                        .kv_heads = kv_heads,
                                        .causal = causal,
                                        .factor = scale == 0.0 ? 1.0 / sqrt((double)d) : scale,
                                        .theta = theta},
                     (int[]){x->shape[0], length, heads * d}, 3);
    t->nodes[y].extra = zeros(pairs, sizeof(double));
    return y;
}

/* Rotates one head in place: (a, b) -> (a c - b s, b c + a s); back with sign -1. */
static void rotate(tape *t, double *head, int d, int position, double theta, double sign)
{
    for (int i = 0; theta != 0.0 && i < d / 2; i++) {
        double angle = jog(t, (double)position * pow(theta, -2.0 * i / d)), c = cos(angle), s = sign * sin(angle);
        double a = head[i], b = head[i + d / 2];
        head[i] = jog(t, a * c) - jog(t, b * s);
        head[i + d / 2] = jog(t, b * c) + jog(t, a * s);
    }
}

/* One head of one batch row: q, k, v are rotated copies (T, d), p its probabilities (T, T). */
struct head {
    double *q, *k, *v, *dq, *dk, *dv, *p;
    int length, d;
};

static void attend(tape *t, const struct tape_node *n, struct head *h, double *y, size_t stride)
{
    for (int i = 0; i < h->length; i++) {
        double top = -INFINITY, sum = 0.0, *p = h->p + (size_t)i * (size_t)h->length;
        int seen = n->causal ? i + 1 : h->length;
        for (int j = 0; j < seen; j++) {
            p[j] = 0.0;
            for (int e = 0; e < h->d; e++) p[j] += jog(t, h->q[i * h->d + e] * h->k[j * h->d + e]);
            p[j] = jog(t, p[j] * n->factor);
            if (p[j] > top) top = p[j];
        }
        for (int j = 0; j < seen; j++) sum += p[j] = jog(t, exp(p[j] - top));
        for (int j = 0; j < seen; j++) p[j] = jog(t, p[j] / sum);
        for (int e = 0; e < h->d; e++) {
            double out = 0.0;
            for (int j = 0; j < seen; j++) out += jog(t, p[j] * h->v[j * h->d + e]);
            y[(size_t)i * stride + (size_t)e] = out;
        }
    }
}

/* dv = p^T dy;  ds = p (dp - sum p dp) with dp = dy v^T;  dq = ds k, dk = ds^T q */
static void attend_backward(tape *t, const struct tape_node *n, struct head *h, const double *dy, size_t stride)
{
    for (int i = 0; i < h->length; i++) {
        const double *p = h->p + (size_t)i * (size_t)h->length, *row = dy + (size_t)i * stride;
        int seen = n->causal ? i + 1 : h->length;
        double sum = 0.0;
        for (int j = 0; j < seen; j++)
            for (int e = 0; e < h->d; e++) sum += jog(t, p[j] * row[e] * h->v[j * h->d + e]);
        for (int j = 0; j < seen; j++) {
            double dp = 0.0;
            for (int e = 0; e < h->d; e++) dp += jog(t, row[e] * h->v[j * h->d + e]);
            double ds = jog(t, p[j] * (dp - sum) * n->factor);
            for (int e = 0; e < h->d; e++) {
                h->dq[i * h->d + e] += jog(t, ds * h->k[j * h->d + e]);
                h->dk[j * h->d + e] += jog(t, ds * h->q[i * h->d + e]);
                h->dv[j * h->d + e] += jog(t, p[j] * row[e]);
            }
        }
    }
}

static void attention(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    int length = n->shape[1], d = n->shape[2] / n->heads;
    size_t row = (size_t)x->shape[2], stride = (size_t)n->shape[2], size = (size_t)(length * d);
    double *memory = zeros(6 * size, sizeof *memory);
    for (int b = 0; b < n->shape[0]; b++)
        for (int head = 0; head < n->heads; head++) {
            size_t first = (size_t)(b * length) * row, group = (size_t)(head / (n->heads / n->kv_heads));
            size_t at[3] = {(size_t)(head * d), ((size_t)n->heads + group) * (size_t)d,
                            ((size_t)(n->heads + n->kv_heads) + group) * (size_t)d};
            struct head h = {
                memory, memory + size, memory + 2 * size, memory + 3 * size, memory + 4 * size, memory + 5 * size, NULL, length, d};
            double *copy[3] = {h.q, h.k, h.v}, *gradient[3] = {h.dq, h.dk, h.dv};
            size_t y = (size_t)(b * length) * stride + (size_t)(head * d);
            h.p = n->extra + ((size_t)b * (size_t)n->heads + (size_t)head) * (size_t)(length * length);
            memset(memory, 0, 6 * size * sizeof *memory);
            for (int part = 0; part < 3; part++)
                for (int i = 0; i < length; i++) {
                    for (int e = 0; e < d; e++) copy[part][i * d + e] = x->value[first + (size_t)i * row + at[part] + (size_t)e];
                    if (part < 2) rotate(t, copy[part] + i * d, d, i, n->theta, 1.0);
                    if (part < 2 && n->theta != 0.0) store(t, copy[part] + i * d, (size_t)d);
                }
            if (!backward) {
                attend(t, n, &h, n->value + y, stride);
                continue;
            }
            attend_backward(t, n, &h, n->gradient + y, stride);
            for (int part = 0; part < 3; part++)
                for (int i = 0; i < length; i++) {
                    store(t, gradient[part] + i * d, (size_t)d);
                    if (part < 2) rotate(t, gradient[part] + i * d, d, i, n->theta, -1.0);
                    for (int e = 0; e < d; e++) x->gradient[first + (size_t)i * row + at[part] + (size_t)e] += gradient[part][i * d + e];
                }
        }
    free(memory);
}

/* ---- losses ------------------------------------------------------------------------------------------------------ */

int tape_cross_entropy(tape *t, int logits, int labels, int stablemax, double weight)
{
    return same_shape(t, (struct tape_node){.op = TAPE_CROSS_ENTROPY, .input = {logits, labels}, .kind = stablemax, .factor = weight},
                      labels);
}

/* p = s(x) / sum s;  d loss / d x_j = s'_j / sum s - [j = label] s'_j / s_j */
static void cross_entropy(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *labels = &t->nodes[n->input[1]];
    size_t width = (size_t)last_of(x);
    for (size_t r = 0; r < n->count; r++) {
        const double *v = x->value + r * width;
        double top = -INFINITY, sum = 0.0, own = 0.0, rest = 0.0;
        n->value[r] = 0.0;
        if (labels->value[r] < 0.0) continue;
        size_t label = (size_t)labels->value[r];
        for (size_t j = 0; j < width; j++) top = v[j] > top ? v[j] : top;
        for (size_t j = 0; j < width; j++) {
            double s = jog(t, !n->kind ? exp(v[j] - top) : v[j] >= 0.0 ? v[j] + 1.0 : 1.0 / (1.0 - v[j]));
            sum += s;
            if (j == label)
                own = s;
            else
                rest += s;
        }
        n->value[r] = log1p(rest / own);
        for (size_t j = 0; backward && j < width; j++) {
            double s = !n->kind ? exp(v[j] - top) : v[j] >= 0.0 ? v[j] + 1.0 : 1.0 / (1.0 - v[j]);
            double slope = !n->kind ? s : v[j] >= 0.0 ? 1.0 : s * s;
            x->gradient[r * width + j] += n->gradient[r] * jog(t, j == label ? -slope * rest / (own * sum) : slope / sum);
        }
    }
}

int tape_bce(tape *t, int x, int targets, double weight)
{
    return same_shape(t, (struct tape_node){.op = TAPE_BCE, .input = {x, targets}, .factor = weight}, targets);
}

static void bce(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *targets = &t->nodes[n->input[1]];
    for (size_t i = 0; i < n->count; i++) {
        double v = x->value[i], target = targets->value[i];
        if (backward)
            x->gradient[i] += n->gradient[i] * (jog(t, 1.0 / (1.0 + exp(-v))) - target);
        else
            n->value[i] = (v > 0.0 ? v : 0.0) - target * v + log1p(exp(-fabs(v)));
    }
}

/* ---- experts ----------------------------------------------------------------------------------------------------- */

int tape_expert_gates(tape *t, int logits, int chosen)
{
    return same_shape(t, (struct tape_node){.op = TAPE_EXPERT_GATES, .input = {logits}, .kind = chosen}, logits);
}

/* The softmax over those that have fewer than `chosen` before them. */
static void expert_gates(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]];
    size_t experts = (size_t)last_of(n);
    for (size_t first = 0; first < n->count; first += experts) {
        double sum = 0, mean = 0, *g = n->value + first;
        for (size_t i = 0; i < experts && !backward; i++) {
            int before = 0;
            for (size_t j = 0; j < experts; j++) {
                double u = x->value[first + j], v = x->value[first + i];
                before += u > v || (u == v && j < i);
            }
            g[i] = before < n->kind ? jog(t, exp(x->value[first + i])) : 0;
            sum += g[i];
        }
        for (size_t i = 0; i < experts && !backward; i++) g[i] /= sum;
        for (size_t i = 0; i < experts && backward; i++) mean += g[i] * n->gradient[first + i];
        for (size_t i = 0; i < experts && backward; i++) x->gradient[first + i] += jog(t, g[i] * (n->gradient[first + i] - mean));
    }
}

int tape_expert_scale(tape *t, int x, int gates)
{
    return same_shape(t, (struct tape_node){.op = TAPE_EXPERT_SCALE, .input = {x, gates}}, x);
}

static void expert_scale(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *gates = &t->nodes[n->input[1]];
    size_t width = n->count / gates->count;
    for (size_t i = 0; i < n->count; i++) {
        double *gate = &gates->value[i / width];
        if (backward) {
            x->gradient[i] += jog(t, n->gradient[i] * *gate);
            gates->gradient[i / width] += jog(t, n->gradient[i] * x->value[i]);
        } else {
            n->value[i] = jog(t, x->value[i] * *gate);
        }
    }
}

int tape_expert_balance(tape *t, int gates, int labels, double weight)
{
    const struct tape_node *g = &t->nodes[gates], *l = &t->nodes[labels];
    int shape[TAPE_RANK] = {l->shape[0], last_of(g)};
    return add_node(t, (struct tape_node){.op = TAPE_EXPERT_BALANCE, .input = {g->input[0], labels, gates}, .factor = weight}, shape, 2);
}

/* n times the part of the choices times the sum of the probabilities, of each sequence and expert; the parts are constants. */
static void expert_balance(tape *t, struct tape_node *n, int backward)
{
    struct tape_node *x = &t->nodes[n->input[0]], *labels = &t->nodes[n->input[1]], *gates = &t->nodes[n->input[2]];
    int experts = n->shape[1], length = labels->shape[1];
    for (size_t k = 0; k < n->count && !backward; k++) n->value[k] = 0;
    for (int s = 0; s < n->shape[0]; s++) {
        double part[64] = {0}, chosen = 0;
        for (int k = s * length; k < (s + 1) * length; k++)
            for (int e = 0; e < experts && labels->value[k] >= 0; e++) part[e] += gates->value[k * experts + e] > 0;
        for (int e = 0; e < experts; e++) chosen += part[e];
        for (int k = s * length; k < (s + 1) * length; k++) {
            double sum = 0, mean = 0;
            const double *logits = x->value + k * experts;
            for (int e = 0; e < experts; e++) sum += exp(logits[e]);
            for (int e = 0; e < experts && chosen > 0; e++) mean += exp(logits[e]) / sum * experts * part[e] / chosen;
            for (int e = 0; e < experts && labels->value[k] >= 0; e++) {
                double p = jog(t, exp(logits[e]) / sum), share = experts * part[e] / chosen;
                if (backward)
                    x->gradient[k * experts + e] += n->gradient[s * experts + e] * jog(t, p * (share - mean));
                else
                    n->value[s * experts + e] += share * p;
            }
        }
    }
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static void compute(tape *t, struct tape_node *n, int backward)
{
    switch (n->op) {
    case TAPE_LEAF: return;
    case TAPE_EMBEDDING: embedding(t, n, backward); return;
    case TAPE_LINEAR: linear(t, n, backward); return;
    case TAPE_ADD: add(t, n, backward); return;
    case TAPE_SCALE:
    case TAPE_ALIAS: scale(t, n, backward); return;
    case TAPE_LAYERNORM: layernorm(t, n, backward); return;
    case TAPE_RMSNORM: rmsnorm(t, n, backward); return;
    case TAPE_GELU: gelu(t, n, backward); return;
    case TAPE_SWIGLU: swiglu(t, n, backward); return;
    case TAPE_ATTENTION: attention(t, n, backward); return;
    case TAPE_SLICE: slice(t, n, backward); return;
    case TAPE_SELECT: selection(t, n, backward); return;
    case TAPE_CROSS_ENTROPY: cross_entropy(t, n, backward); return;
    case TAPE_BCE: bce(t, n, backward); return;
    case TAPE_EXPERT_GATES: expert_gates(t, n, backward); return;
    case TAPE_EXPERT_SCALE: expert_scale(t, n, backward); return;
    case TAPE_EXPERT_BALANCE: expert_balance(t, n, backward); return;
    }
}

static int is_loss(const struct tape_node *n)
{
    return n->op == TAPE_CROSS_ENTROPY || n->op == TAPE_BCE || n->op == TAPE_EXPERT_BALANCE;
}

static int only_moves(const struct tape_node *n)
{
    return n->op == TAPE_ALIAS || n->op == TAPE_SLICE || n->op == TAPE_SELECT || n->op == TAPE_EMBEDDING;
}

void tape_forward(tape *t)
{
    for (int i = 1; i < t->count; i++) {
        struct tape_node *n = &t->nodes[i];
        compute(t, n, 0);
        if (n->op != TAPE_LEAF && !only_moves(n) && !is_loss(n)) store(t, n->value, n->count);
    }
}

double tape_loss(const tape *t)
{
    double loss = 0.0;
    for (int i = 1; i < t->count; i++)
        for (size_t k = 0; is_loss(&t->nodes[i]) && k < t->nodes[i].count; k++) loss += t->nodes[i].factor * t->nodes[i].value[k];
    return loss;
}

/* A parameter that an operation reads as an activation gets its gradient in the storage type, as activations do; weights, gains,
 * tables and what is repeated get theirs in f32. */
static void store_parameters(tape *t, const struct tape_node *n)
{
    for (int k = 0; k < 2; k++) {
        struct tape_node *x = &t->nodes[n->input[k]];
        int activation = k == 0 ? n->op != TAPE_EMBEDDING : (n->op == TAPE_ADD && x->count == n->count) || n->op == TAPE_SELECT;
        if (n->input[k] && activation && x->op == TAPE_LEAF && !x->constant) store(t, x->gradient, x->count);
    }
}

void tape_backward(tape *t, double loss_scale)
{
    for (int i = 1; i < t->count; i++) {
        struct tape_node *n = &t->nodes[i];
        for (size_t k = 0; k < n->count; k++) n->gradient[k] = is_loss(n) && !n->constant ? loss_scale * n->factor : 0.0;
    }
    for (int i = t->count - 1; i > 0; i--) {
        struct tape_node *n = &t->nodes[i];
        if (n->constant || n->op == TAPE_LEAF) continue;
        if (!is_loss(n)) store(t, n->gradient, n->count);
        compute(t, n, 1);
        store_parameters(t, n);
    }
}
