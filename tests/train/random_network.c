/* Random models: any operation on any value that is there, with shared weights, diamonds and residuals. */
#include "network.h"

#include <math.h>

#define POOL_MOST 64

struct recipe {
    struct network *n;
    value pool[POOL_MOST];
    int count;
    value tables[2], matrices[POOL_MOST];
    int matrix_count;
};

static value pick(struct recipe *r)
{
    /* half the time what came last, so that models grow deep */
    return r->pool[network_draw(r->n, 2) ? r->count - 1 : network_draw(r->n, r->count)];
}

static void put(struct recipe *r, value x)
{
    if (r->count < POOL_MOST) r->pool[r->count++] = x;
}

/* A value of x's shape from the pool, x itself where chance has it; else a new parameter. */
static value alike(struct recipe *r, value x)
{
    struct network *n = r->n;
    for (int tries = 0; tries < 8; tries++) {
        value y = r->pool[network_draw(n, r->count)];
        int same = net_rank(n, x) == net_rank(n, y);
        for (int i = 0; same && i < net_rank(n, x); i++) same = net_size(n, x, i) == net_size(n, y, i);
        if (same) return y;
    }
    return net_parameter(n, net_shape(n, x), net_rank(n, x), 1.0, 0.0);
}

static value linear_of(struct recipe *r, value x, int out)
{
    struct network *n = r->n;
    int in = net_size(n, x, -1), in_out = network_draw(n, 2);
    value weight = {0, 0}, bias = {0, 0};
    for (int i = 0; i < r->matrix_count && !weight.id; i++) { /* a matrix that fits is shared */
        value w = r->matrices[i];
        if (net_size(n, w, in_out ? 0 : 1) == in && (!out || net_size(n, w, in_out ? 1 : 0) == out) && network_draw(n, 2)) weight = w;
    }
    if (!out) out = 1 + network_draw(n, 12);
    if (!weight.id) {
        weight = net_parameter(n, in_out ? (int[]){in, out} : (int[]){out, in}, 2, 1.7 / sqrt((double)in), 0.0);
        r->matrices[r->matrix_count++] = weight;
    }
    if (network_draw(n, 2)) bias = net_parameter(n, (int[]){net_size(n, weight, in_out ? 1 : 0)}, 1, 0.5, 0.0);
    return net_linear(n, x, weight, bias, in_out, network_draw(n, 3) == 0);
}

static value add_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int rank = net_rank(n, x), drop = network_draw(n, rank);
    if (drop == 0 || network_draw(n, 2)) return net_add(n, x, alike(r, x));
    value small = net_parameter(n, net_shape(n, x) + drop, rank - drop, 1.0, 0.0);
    if (network_draw(n, 2)) small = net_scale(n, small, 0.5f); /* no parameter itself, then */
    return net_add(n, x, small);
}

static value norm_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int width = net_size(n, x, -1);
    value none = {0, 0};
    switch (network_draw(n, 3)) {
    case 0: return net_rmsnorm(n, x, none);
    case 1: return net_rmsnorm(n, x, net_parameter(n, &width, 1, 0.5, 1.0));
    default: return net_layernorm(n, x, net_parameter(n, &width, 1, 0.5, 1.0), net_parameter(n, &width, 1, 0.5, 0.0));
    }
}

static value attention_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int kv = 1 + network_draw(n, 2), heads = kv * (1 + network_draw(n, 3)), d = 1 + network_draw(n, 7);
    if (net_rank(n, x) != 3) {
        int width = net_size(n, x, -1), rows = (int)(tape_at(n->tape, x.node)->count / (size_t)width);
        x = net_reshape(n, x, (int[]){1, rows, width}, 3);
    }
    value qkv = linear_of(r, x, (heads + 2 * kv) * d);
    float scale = network_draw(n, 3) == 0 ? 0.7f : 0.0f, theta = d % 2 == 0 && network_draw(n, 2) ? 100.0f : 0.0f;
    return net_attention(n, qkv, heads, kv, network_draw(n, 2), scale, theta);
}

static value slice_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int rank = net_rank(n, x), axis = network_draw(n, rank), size = net_size(n, x, axis), start = network_draw(n, size);
    return net_slice(n, x, network_draw(n, 2) ? axis : axis - rank, start, 1 + network_draw(n, size - start));
}

static value reshape_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int count = (int)tape_at(n->tape, x.node)->count, width = net_size(n, x, -1), first = net_size(n, x, 0);
    switch (network_draw(n, 4)) {
    case 0: return net_reshape(n, x, &count, 1);
    case 1: return net_reshape(n, x, (int[]){count / width, width}, 2);
    case 2: return net_reshape(n, x, (int[]){first, 1, count / first}, 3);
    default: return net_reshape(n, x, (int[]){1, count / width, 1, width}, 4);
    }
}

static value select_of(struct recipe *r, value x)
{
    struct network *n = r->n;
    int first = net_size(n, x, 0), rank = net_rank(n, x);
    value mask = net_integers(n, &first, 1, 0, 1);
    if (rank > 1 && network_draw(n, 3) == 0) { /* one entry for all */
        value one = net_parameter(n, net_shape(n, x) + 1, rank - 1, 1.0, 0.0);
        return net_select(n, mask, x, net_detach(n, one));
    }
    return net_select(n, mask, x, alike(r, x));
}

static value no_gradient_of(struct recipe *r, value x)
{
    net_no_gradient(r->n, 1);
    value y = norm_of(r, linear_of(r, x, 0));
    net_no_gradient(r->n, 0);
    return y;
}

static value embedding_of(struct recipe *r)
{
    struct network *n = r->n;
    int which = network_draw(n, 2), rank = 1 + network_draw(n, 2);
    if (!r->tables[which].id) r->tables[which] = net_parameter(n, (int[]){4 + network_draw(n, 5), 1 + network_draw(n, 12)}, 2, 1.0, 0.0);
    value ids = net_integers(n, (int[]){1 + network_draw(n, 3), 1 + network_draw(n, 5)}, rank, 0, net_size(n, r->tables[which], 0) - 1);
    return net_embedding(n, r->tables[which], ids);
}

static value step(struct recipe *r)
{
    struct network *n = r->n;
    value x = pick(r);
    switch (network_draw(n, 16)) {
    case 0: return embedding_of(r);
    case 1:
    case 2: return linear_of(r, x, 0);
    case 3:
    case 4: return add_of(r, x);
    case 5: return net_scale(n, x, (float)network_uniform(n, -1.5, 1.5));
    case 6:
    case 7: return norm_of(r, x);
    case 8: return net_gelu(n, x);
    case 9: return net_size(n, x, -1) % 2 ? linear_of(r, x, 8) : net_swiglu(n, x);
    case 10:
    case 11: return attention_of(r, x);
    case 12: return slice_of(r, x);
    case 13: return reshape_of(r, x);
    case 14: return select_of(r, x);
    default: return network_draw(n, 2) ? net_detach(n, x) : no_gradient_of(r, x);
    }
}

static void loss(struct recipe *r, value x, float weight)
{
    struct network *n = r->n;
    int rank = net_rank(n, x), kind = network_draw(n, 3);
    if (kind == 2 || rank == 1) {
        value targets = net_numbers(n, net_shape(n, x), rank, 0.0, 1.0);
        net_bce(n, x, targets, weight);
        return;
    }
    value labels = net_integers(n, net_shape(n, x), rank - 1, -1, net_size(n, x, -1) - 1);
    net_cross_entropy(n, x, labels, kind, weight);
}

void network_random(struct network *n, int steps)
{
    struct recipe r = {.n = n};
    static const float weights[] = {1.0f, 0.5f, 0.25f};
    int batch = 1 + network_draw(n, 3), length = 1 + network_draw(n, 6), width = 1 + network_draw(n, 12);
    put(&r, net_numbers(n, (int[]){batch, length, width}, 3, -1.0, 1.0));
    put(&r, net_parameter(n, (int[]){length, width}, 2, 1.0, 0.0));
    put(&r, embedding_of(&r));
    for (int i = 0; i < steps; i++) {
        if (network_draw(n, 4) == 0) aios_graph_mark(n->graph);
        put(&r, step(&r));
    }
    loss(&r, r.pool[r.count - 1], 1.0f);
    for (int i = network_draw(n, 3); i > 0; i--) loss(&r, pick(&r), weights[network_draw(n, 3)]);
}
