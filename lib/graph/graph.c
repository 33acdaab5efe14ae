#include "record.h"

#include "base/sizes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tensor_shape_text(const struct tensor *t, char text[64])
{
    size_t used = (size_t)snprintf(text, 64, "(");
    for (int32_t i = 0; i < t->rank; i++) used += (size_t)snprintf(text + used, 64 - used, i ? ", %d" : "%d", t->shape[i]);
    (void)snprintf(text + used, 64 - used, ")");
}

/* ---- life, mistakes ---------------------------------------------------------------------------------------------- */

aios_status aios_graph_create(aios_context *context, aios_graph **graph)
{
    if (!context || !graph) return FAIL(AIOS_INVALID_ARGUMENT, "aios_graph_create: context and graph must not be NULL");
    *graph = NULL;
    aios_graph *made = aios_new(context, aios_graph);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->tensor_count = 1;
    if (aios_memory_grow(context, (void **)&made->tensors, &made->tensor_capacity, 1, sizeof *made->tensors) != AIOS_OK) {
        aios_graph_destroy(made);
        return AIOS_OUT_OF_MEMORY;
    }
    memset(&made->tensors[0], 0, sizeof made->tensors[0]);
    *graph = made;
    return AIOS_OK;
}

void aios_graph_destroy(aios_graph *graph)
{
    if (!graph) return;
    aios_context *context = graph->context;
    aios_memory_free(context, graph->tensors);
    aios_memory_free(context, graph->nodes);
    aios_memory_free(context, graph->assignments);
    aios_memory_free(context, graph->outputs);
    aios_memory_free(context, graph);
    aios_context_release(context);
}

aios_tensor keep_mistake(aios_graph *graph)
{
    if (graph->status == AIOS_OK) {
        aios_error_save(&graph->mistake);
        graph->status = graph->mistake.status;
    }
    return 0;
}

aios_status aios_graph_finish(aios_graph *graph)
{
    if (!graph) return FAIL(AIOS_INVALID_ARGUMENT, "aios_graph_finish: graph is NULL");
    if (graph->status != AIOS_OK) return aios_error_restore(&graph->mistake);
    if (graph->no_gradient) return FAIL(AIOS_WRONG_STATE, "a no-gradient region was begun and not ended");
    if (graph->auxiliary) return FAIL(AIOS_WRONG_STATE, "an auxiliary region was begun and not ended");
    graph->finished = 1;
    return AIOS_OK;
}

int usable(aios_graph *graph, const char *call)
{
    if (graph->status != AIOS_OK) return 0;
    if (graph->finished) {
        (void)MISTAKE(graph, AIOS_WRONG_STATE, "%s: the graph is finished, nothing can be added", call);
        return 0;
    }
    return 1;
}

const struct tensor *operand(aios_graph *graph, const char *call, const char *what, aios_tensor x)
{
    if (x > 0 && (size_t)x < graph->tensor_count) return &graph->tensors[x];
    (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: %s is %d, which is no tensor of this graph (there are %zu)", call, what, x,
                  graph->tensor_count - 1);
    return NULL;
}

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

static int set_shape(aios_graph *graph, const char *call, struct tensor *t, const int32_t *shape, int32_t rank)
{
    uint64_t count = 1;
    if (!shape || rank < 1 || rank > AIOS_RANK_MAX) {
        (void)MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: rank is %d: 1 to %d are allowed", call, rank, AIOS_RANK_MAX);
        return 0;
    }
    t->rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] < 1) {
            (void)MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: dimension %d is %d: it must be at least 1", call, i, shape[i]);
            return 0;
        }
        t->shape[i] = shape[i];
        if (!u64_multiply(count, (uint64_t)shape[i], &count) || count > INT64_MAX / 8) {
            (void)MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: the shape has more elements than can be addressed", call);
            return 0;
        }
    }
    t->count = (int64_t)count;
    if (t->count / tensor_last(t) > INT32_MAX) {
        (void)MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: %lld rows: at most %d are allowed", call, (long long)(t->count / tensor_last(t)),
                      INT32_MAX);
        return 0;
    }
    return 1;
}

static aios_tensor add_tensor(aios_graph *graph, const struct tensor *t)
{
    if (aios_memory_grow(graph->context, (void **)&graph->tensors, &graph->tensor_capacity, graph->tensor_count + 1,
                         sizeof *graph->tensors) != AIOS_OK)
        return keep_mistake(graph);
    graph->tensors[graph->tensor_count] = *t;
    return (aios_tensor)graph->tensor_count++;
}

static aios_tensor find_leaf(const aios_graph *graph, const char *name)
{
    for (size_t i = 1; i < graph->tensor_count; i++)
        if (graph->tensors[i].kind != TENSOR_VALUE && strcmp(graph->tensors[i].name, name) == 0) return (aios_tensor)i;
    return 0;
}

/* A leaf of that name: the one that is there if it is the same, else a new one. */
static aios_tensor add_leaf(aios_graph *graph, const char *call, const char *name, struct tensor *t, const int32_t *shape, int32_t rank)
{
    if (!name || !*name || strlen(name) >= NAME_SIZE)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: the name '%.40s' has %zu bytes: 1 to %d are allowed", call, name ? name : "",
                       name ? strlen(name) : 0, NAME_SIZE - 1);
    if (!set_shape(graph, call, t, shape, rank)) return 0;
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    aios_tensor there = find_leaf(graph, name);
    if (there) {
        const struct tensor *old = &graph->tensors[there];
        char was[64], is[64];
        tensor_shape_text(old, was);
        tensor_shape_text(t, is);
        if (old->kind == t->kind && old->type == t->type && strcmp(was, is) == 0) return there;
        return MISTAKE(graph, AIOS_ALREADY_EXISTS, "%s: '%s' is there with shape %s and can't also be %s", call, name, was, is);
    }
    t->node = -1;
    return add_tensor(graph, t);
}

aios_tensor aios_graph_input(aios_graph *graph, const char *name, int32_t type, const int32_t *shape, int32_t rank)
{
    if (!graph || !usable(graph, "aios_graph_input")) return 0;
    if (type != AIOS_F32 && type != AIOS_I32)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "aios_graph_input: type is %d: AIOS_F32 and AIOS_I32 are allowed", type);
    struct tensor t = {.kind = TENSOR_INPUT, .type = type};
    return add_leaf(graph, "aios_graph_input", name, &t, shape, rank);
}

aios_tensor aios_graph_parameter(aios_graph *graph, const char *name, const int32_t *shape, int32_t rank, int32_t init, float init_scale,
                                 int32_t group)
{
    if (!graph || !usable(graph, "aios_graph_parameter")) return 0;
    if (init < AIOS_INIT_ZERO || init > AIOS_INIT_CONSTANT || group < AIOS_GROUP_DECAY || group > AIOS_GROUP_FROZEN)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "aios_graph_parameter: '%s' has init %d, group %d: 0 to %d and 0 to %d are allowed",
                       name ? name : "", init, group, AIOS_INIT_CONSTANT, AIOS_GROUP_FROZEN);
    struct tensor t = {.kind = TENSOR_PARAMETER, .type = TYPE_ACTIVATION, .init = init, .init_scale = init_scale, .group = group};
    aios_tensor made = add_leaf(graph, "aios_graph_parameter", name, &t, shape, rank);
    if (made) {
        graph->tensors[made].root = made;
        graph->tensors[made].differentiated = graph->tensors[made].group != AIOS_GROUP_FROZEN; /* as it was first recorded */
    }
    return made;
}

aios_tensor aios_graph_state(aios_graph *graph, const char *name, int32_t type, const int32_t *shape, int32_t rank)
{
    if (!graph || !usable(graph, "aios_graph_state")) return 0;
    if (type != AIOS_F32 && type != AIOS_I32)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "aios_graph_state: type is %d: AIOS_F32 and AIOS_I32 are allowed", type);
    struct tensor t = {.kind = TENSOR_STATE, .type = type == AIOS_F32 ? TYPE_ACTIVATION : AIOS_I32};
    return add_leaf(graph, "aios_graph_state", name, &t, shape, rank);
}

void aios_graph_assign(aios_graph *graph, aios_tensor state, aios_tensor value)
{
    if (!graph || !usable(graph, "aios_graph_assign")) return;
    const struct tensor *s = operand(graph, "aios_graph_assign", "state", state);
    const struct tensor *v = s ? operand(graph, "aios_graph_assign", "value", value) : NULL;
    if (!s || !v) return;
    if (s->kind != TENSOR_STATE || v->type != s->type || v->count != s->count) {
        char a[64], b[64];
        tensor_shape_text(s, a);
        tensor_shape_text(v, b);
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT,
                      "aios_graph_assign: '%s' %s can't take a value %s: it must be a state, the value of its type and size", s->name, a,
                      b);
        return;
    }
    if (aios_memory_grow(graph->context, (void **)&graph->assignments, &graph->assignment_capacity, graph->assignment_count + 1,
                         sizeof *graph->assignments) != AIOS_OK) {
        (void)keep_mistake(graph);
        return;
    }
    graph->assignments[graph->assignment_count++] = (struct assignment){state, value};
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

aios_tensor add_node(aios_graph *graph, struct node *node, int32_t type, const int32_t *shape, int32_t rank)
{
    struct tensor out = {.kind = TENSOR_VALUE, .type = type, .node = (int32_t)graph->node_count};
    if (!set_shape(graph, "recording an operation", &out, shape, rank)) return 0;
    if (aios_memory_grow(graph->context, (void **)&graph->nodes, &graph->node_capacity, graph->node_count + 1, sizeof *graph->nodes) !=
        AIOS_OK)
        return keep_mistake(graph);
    node->segment = graph->segment;
    node->no_gradient = graph->no_gradient;
    for (int i = 0; i < NODE_INPUTS; i++)
        if (node->input[i]) {
            graph->tensors[node->input[i]].consumers++;
            if (!node->no_gradient && graph->tensors[node->input[i]].differentiated) out.differentiated = 1;
        }
    node->output = add_tensor(graph, &out);
    if (!node->output) return 0;
    graph->nodes[graph->node_count++] = *node;
    return node->output;
}

aios_tensor activation(aios_graph *graph, const char *call, const char *what, aios_tensor x)
{
    const struct tensor *t = operand(graph, call, what, x);
    if (!t) return 0;
    if (t->type == TYPE_ACTIVATION) return x;
    if (t->type == AIOS_I32) return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: %s holds integers: it must hold numbers", call, what);
    struct node node = {.op = OP_cast, .input = {x}};
    struct tensor copy = *t;
    return add_node(graph, &node, TYPE_ACTIVATION, copy.shape, copy.rank);
}

int parameter(aios_graph *graph, const char *call, const char *what, aios_tensor x, int64_t count)
{
    const struct tensor *t = operand(graph, call, what, x);
    char shape[64];
    if (!t) return 0;
    tensor_shape_text(t, shape);
    if (!t->root) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: %s is no parameter: make it with aios_graph_parameter", call, what);
        return 0;
    }
    if (count >= 0 && t->count != count) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: %s '%s' has shape %s: %lld elements are wanted", call, what,
                      graph->tensors[t->root].name, shape, (long long)count);
        return 0;
    }
    return 1;
}

aios_tensor aios_graph_embedding(aios_graph *graph, aios_tensor table, aios_tensor ids)
{
    static const char call[] = "aios_graph_embedding";
    if (!graph || !usable(graph, call) || !parameter(graph, call, "table", table, -1)) return 0;
    const struct tensor *i = operand(graph, call, "ids", ids);
    if (!i) return 0;
    const struct tensor *t = &graph->tensors[table];
    if (t->rank != 2) return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: table has rank %d: it must be (vocabulary, width)", call, t->rank);
    if (i->type != AIOS_I32 || i->rank >= AIOS_RANK_MAX)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: ids must be integers of rank 1 to %d", call, AIOS_RANK_MAX - 1);
    int32_t shape[AIOS_RANK_MAX], rank = i->rank + 1;
    memcpy(shape, i->shape, sizeof shape);
    shape[rank - 1] = t->shape[1];
    struct node node = {.op = OP_embedding, .input = {table, ids}};
    return add_node(graph, &node, TYPE_ACTIVATION, shape, rank);
}

aios_tensor aios_graph_rows(aios_graph *graph, const char *name, int32_t rows, int32_t n, aios_tensor ids)
{
    static const char call[] = "aios_graph_rows";
    if (!graph || !usable(graph, call)) return 0;
    const struct tensor *i = operand(graph, call, "ids", ids);
    if (!i) return 0;
    if (i->type != AIOS_I32 || i->rank >= AIOS_RANK_MAX)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: ids must be integers of rank 1 to %d", call, AIOS_RANK_MAX - 1);
    int32_t shape[AIOS_RANK_MAX] = {0}, rank = i->rank + 1;
    memcpy(shape, i->shape, sizeof i->shape);
    shape[rank - 1] = n;
    struct tensor t = {.kind = TENSOR_PARAMETER, .type = AIOS_F32, .is_table = 1, .differentiated = 1};
    aios_tensor table = add_leaf(graph, call, name, &t, (int32_t[]){rows, n}, 2);
    if (!table) return 0;
    struct node node = {.op = OP_rows, .input = {table, ids}};
    return add_node(graph, &node, TYPE_ACTIVATION, shape, rank);
}

aios_tensor aios_graph_linear(aios_graph *graph, aios_tensor x, aios_tensor weight, aios_tensor bias, int32_t layout,
                              int32_t activation_kind)
{
    static const char call[] = "aios_graph_linear";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x)) || !parameter(graph, call, "weight", weight, -1)) return 0;
    const struct tensor *a = &graph->tensors[x], *w = &graph->tensors[weight];
    if (layout != AIOS_WEIGHT_OUT_IN && layout != AIOS_WEIGHT_IN_OUT)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: layout is %d: 0 or 1", call, layout);
    if (activation_kind != AIOS_ACTIVATION_NONE && activation_kind != AIOS_ACTIVATION_GELU)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: activation is %d: 0 or 1", call, activation_kind);
    int32_t in = layout == AIOS_WEIGHT_IN_OUT ? 0 : 1;
    if (w->rank != 2 || w->shape[in] != tensor_last(a)) {
        char ws[64], xs[64];
        tensor_shape_text(w, ws);
        tensor_shape_text(a, xs);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: weight '%s' %s doesn't fit x %s: its dimension %d must be %d", call,
                       graph->tensors[w->root].name, ws, xs, in, tensor_last(a));
    }
    int32_t out = w->shape[1 - in], shape[AIOS_RANK_MAX], rank = a->rank;
    if (bias && !parameter(graph, call, "bias", bias, out)) return 0;
    memcpy(shape, graph->tensors[x].shape, sizeof shape);
    shape[rank - 1] = out;
    int fused = activation_kind == AIOS_ACTIVATION_GELU && bias; /* the epilogue adds a bias */
    struct node node = {.op = OP_linear, .input = {x, weight, bias}, .layout = layout, .activation = fused};
    aios_tensor y = add_node(graph, &node, TYPE_ACTIVATION, shape, rank);
    return y && activation_kind == AIOS_ACTIVATION_GELU && !fused ? aios_graph_gelu(graph, y) : y;
}

aios_tensor aios_graph_add(aios_graph *graph, aios_tensor a, aios_tensor b)
{
    static const char call[] = "aios_graph_add";
    if (!graph || !usable(graph, call) || !(a = activation(graph, call, "a", a)) || !(b = activation(graph, call, "b", b))) return 0;
    const struct tensor *ta = &graph->tensors[a], *tb = &graph->tensors[b];
    int fits = tb->rank <= ta->rank;
    for (int32_t i = 1; fits && i <= tb->rank; i++) fits = tb->shape[tb->rank - i] == ta->shape[ta->rank - i];
    if (!fits) {
        char as[64], bs[64];
        tensor_shape_text(ta, as);
        tensor_shape_text(tb, bs);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: b %s must have the shape of a %s or its last dimensions", call, bs, as);
    }
    struct tensor copy = *ta;
    struct node node = {.op = OP_add, .input = {a, b}};
    return add_node(graph, &node, TYPE_ACTIVATION, copy.shape, copy.rank);
}

/* An operation from one activation to another of the same shape. */
static aios_tensor same_shape(aios_graph *graph, const char *call, aios_tensor x, struct node *node)
{
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    struct tensor copy = graph->tensors[x];
    node->input[0] = x;
    return add_node(graph, node, TYPE_ACTIVATION, copy.shape, copy.rank);
}

aios_tensor aios_graph_scale(aios_graph *graph, aios_tensor x, float factor)
{
    return same_shape(graph, "aios_graph_scale", x, &(struct node){.op = OP_scale, .factor = factor});
}

aios_tensor aios_graph_gelu(aios_graph *graph, aios_tensor x)
{
    return same_shape(graph, "aios_graph_gelu", x, &(struct node){.op = OP_gelu});
}

static aios_tensor norm(aios_graph *graph, const char *call, enum op op, aios_tensor x, aios_tensor weight, aios_tensor bias, float eps)
{
    if (!graph || !usable(graph, call) || !operand(graph, call, "x", x)) return 0;
    int32_t n = tensor_last(&graph->tensors[x]);
    if (!(eps >= 0.0f)) return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: eps is %g: it must be 0 or more", call, (double)eps);
    if ((op == OP_layernorm || weight) && !parameter(graph, call, "weight", weight, n)) return 0;
    if (op == OP_layernorm && !parameter(graph, call, "bias", bias, n)) return 0;
    return same_shape(graph, call, x, &(struct node){.op = op, .input = {0, weight, bias}, .factor = eps});
}

aios_tensor aios_graph_layernorm(aios_graph *graph, aios_tensor x, aios_tensor weight, aios_tensor bias, float eps)
{
    return norm(graph, "aios_graph_layernorm", OP_layernorm, x, weight, bias, eps);
}

aios_tensor aios_graph_rmsnorm(aios_graph *graph, aios_tensor x, aios_tensor weight, float eps)
{
    return norm(graph, "aios_graph_rmsnorm", OP_rmsnorm, x, weight, 0, eps);
}

aios_tensor aios_graph_swiglu(aios_graph *graph, aios_tensor x)
{
    static const char call[] = "aios_graph_swiglu";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    struct tensor copy = graph->tensors[x];
    int32_t n = tensor_last(&copy);
    if (n % 2)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: the last dimension of x is %d: it must be even, gates then values", call, n);
    copy.shape[copy.rank - 1] = n / 2;
    struct node node = {.op = OP_swiglu, .input = {x}};
    return add_node(graph, &node, TYPE_ACTIVATION, copy.shape, copy.rank);
}

static int check_attention(aios_graph *graph, const struct tensor *t, const aios_attention_options *o, int32_t kv)
{
    static const char call[] = "aios_graph_attention";
    char shape[64];
    tensor_shape_text(t, shape);
    if (o->heads < 1 || kv < 1 || o->heads % kv) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: heads is %d and kv_heads %d: kv_heads must divide heads", call, o->heads, kv);
        return 0;
    }
    int64_t parts = (int64_t)o->heads + 2 * (int64_t)kv; /* heads that lie beside each other */
    if (t->rank != 3 || t->shape[2] % parts) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: qkv is %s: it must be (B, T, (heads + 2 kv_heads) * d) with heads %d, kv_heads %d",
                      call, shape, o->heads, kv);
        return 0;
    }
    if (o->rope_theta != 0.0f && (t->shape[2] / parts % 2 || !(o->rope_theta > 0.0f))) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: rotary positions want an even head size and a base above 0 (size %d, base %g)",
                      call, (int)(t->shape[2] / parts), (double)o->rope_theta);
        return 0;
    }
    if (!o->cache != !o->start) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: cache and start go together", call);
        return 0;
    }
    return 1;
}

static int check_cache(aios_graph *graph, const struct tensor *t, const aios_attention_options *o, int32_t width)
{
    static const char call[] = "aios_graph_attention";
    const struct tensor *c = operand(graph, call, "cache", o->cache), *s = c ? operand(graph, call, "start", o->start) : NULL;
    if (!c || !s) return 0;
    if (c->kind == TENSOR_STATE && c->rank == 3 && c->shape[0] == t->shape[0] && c->shape[2] == width && s->type == AIOS_I32 &&
        s->count == 1)
        return 1;
    char shape[64];
    tensor_shape_text(c, shape);
    (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: cache is %s: it must be a state (%d, capacity, %d), and start one integer", call,
                  shape, t->shape[0], width);
    return 0;
}

aios_tensor aios_graph_attention(aios_graph *graph, aios_tensor qkv, const aios_attention_options *given)
{
    static const char call[] = "aios_graph_attention";
    if (!graph || !usable(graph, call)) return 0;
    aios_attention_options o = AIOS_ATTENTION_OPTIONS_INIT;
    if (aios_struct_read("aios_attention_options", &o, sizeof o, given) != AIOS_OK) return keep_mistake(graph);
    if (!(qkv = activation(graph, call, "qkv", qkv))) return 0;
    struct tensor t = graph->tensors[qkv];
    int32_t kv = o.kv_heads ? o.kv_heads : o.heads;
    if (!check_attention(graph, &t, &o, kv)) return 0;
    int32_t d = t.shape[2] / (o.heads + 2 * kv);
    struct node node = {.op = OP_rope,
                        .input = {qkv},
                        .heads = o.heads,
                        .kv_heads = kv,
                        .head_size = d,
                        .causal = o.causal != 0,
                        .attention_scale = o.scale,
                        .theta = o.rope_theta};
    if (o.cache && !check_cache(graph, &t, &o, 2 * kv * d)) return 0;
    if (o.rope_theta != 0.0f) {
        node.input[1] = o.start;
        if (o.cache) node.input[2] = o.cache; /* its capacity bounds the positions */
        if (!(qkv = add_node(graph, &node, TYPE_ACTIVATION, t.shape, t.rank))) return 0;
    }
    int32_t shape[AIOS_RANK_MAX] = {t.shape[0], t.shape[1], o.heads * d};
    memset(node.input, 0, sizeof node.input);
    node.input[0] = qkv;
    if (o.cache) {
        node.op = OP_cache_append;
        node.input[1] = o.cache;
        node.input[2] = o.start;
        if (!(node.input[3] = add_node(graph, &node, AIOS_I32, (int32_t[]){1}, 1))) return 0;
    }
    node.op = OP_attention;
    return add_node(graph, &node, TYPE_ACTIVATION, shape, 3);
}

aios_tensor aios_graph_slice(aios_graph *graph, aios_tensor x, int32_t axis, int32_t start, int32_t length)
{
    static const char call[] = "aios_graph_slice";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    struct tensor copy = graph->tensors[x];
    if (axis < 0) axis += copy.rank;
    if (axis < 0 || axis >= copy.rank) return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: axis is %d: x has rank %d", call, axis, copy.rank);
    if (start < 0 || length < 1 || start > copy.shape[axis] - length)
        return MISTAKE(graph, AIOS_OUT_OF_RANGE, "%s: entries %d to %lld of axis %d: it has %d", call, start, (long long)start + length - 1,
                       axis, copy.shape[axis]);
    int64_t rows_before = copy.count / copy.shape[0] * start;
    copy.shape[axis] = length;
    struct node node = {.op = OP_slice, .input = {x}, .axis = axis, .start = start};
    if (copy.root && axis == 0) node.op = OP_alias; /* whole rows of a parameter: the same memory */
    aios_tensor y = add_node(graph, &node, TYPE_ACTIVATION, copy.shape, copy.rank);
    if (y && copy.root && axis == 0) {
        graph->tensors[y].root = copy.root;
        graph->tensors[y].root_offset = copy.root_offset + rows_before;
    }
    return y;
}

aios_tensor aios_graph_concat(aios_graph *graph, aios_tensor a, aios_tensor b, int32_t axis)
{
    static const char call[] = "aios_graph_concat";
    if (!graph || !usable(graph, call) || !(a = activation(graph, call, "a", a)) || !(b = activation(graph, call, "b", b))) return 0;
    struct tensor ta = graph->tensors[a], tb = graph->tensors[b];
    if (axis < 0) axis += ta.rank;
    int fits = ta.rank == tb.rank && axis >= 0 && axis < ta.rank;
    for (int32_t i = 0; fits && i < ta.rank; i++) fits = i == axis || ta.shape[i] == tb.shape[i];
    if (!fits || ta.shape[axis] > INT32_MAX - tb.shape[axis]) {
        char as[64], bs[64];
        tensor_shape_text(&ta, as);
        tensor_shape_text(&tb, bs);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: a %s and b %s along axis %d: the other dimensions must be the same", call, as, bs,
                       axis);
    }
    ta.shape[axis] += tb.shape[axis];
    struct node node = {.op = OP_concat, .input = {a, b}, .axis = axis};
    return add_node(graph, &node, TYPE_ACTIVATION, ta.shape, ta.rank);
}

aios_tensor aios_graph_reshape(aios_graph *graph, aios_tensor x, const int32_t *shape, int32_t rank)
{
    static const char call[] = "aios_graph_reshape";
    if (!graph || !usable(graph, call) || !operand(graph, call, "x", x)) return 0;
    struct tensor old = graph->tensors[x], t = old;
    if (!set_shape(graph, call, &t, shape, rank)) return 0;
    if (t.count != old.count) {
        char was[64], is[64];
        tensor_shape_text(&old, was);
        tensor_shape_text(&t, is);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: %s has %lld elements, %s has %lld", call, was, (long long)old.count, is,
                       (long long)t.count);
    }
    struct node node = {.op = OP_alias, .input = {x}};
    aios_tensor y = add_node(graph, &node, old.type, shape, rank);
    if (y) {
        graph->tensors[y].root = old.root;
        graph->tensors[y].root_offset = old.root_offset;
    }
    return y;
}

static aios_tensor select_integers(aios_graph *graph, aios_tensor mask, aios_tensor a, aios_tensor b)
{
    static const char call[] = "aios_graph_select";
    const struct tensor *m = operand(graph, call, "mask", mask), *tb = m ? operand(graph, call, "b", b) : NULL;
    if (!m || !tb) return 0;
    struct tensor ta = graph->tensors[a];
    if (m->type != AIOS_I32 || m->count != ta.shape[0] || tb->type != AIOS_I32 || tb->count != ta.count)
        return MISTAKE(
            graph, AIOS_INVALID_ARGUMENT,
            "%s: mask has %lld entries, a %d rows of %lld integers in all, b %lld: a and b must be integers of one shape, mask one for "
            "each row",
            call, (long long)m->count, ta.shape[0], (long long)ta.count, (long long)tb->count);
    struct node node = {.op = OP_select, .input = {a, b, mask}};
    return add_node(graph, &node, AIOS_I32, ta.shape, ta.rank);
}

aios_tensor aios_graph_select(aios_graph *graph, aios_tensor mask, aios_tensor a, aios_tensor b)
{
    static const char call[] = "aios_graph_select";
    if (!graph || !usable(graph, call)) return 0;
    const struct tensor *first = operand(graph, call, "a", a);
    if (!first) return 0;
    if (first->type == AIOS_I32) return select_integers(graph, mask, a, b);
    if (!(a = activation(graph, call, "a", a)) || !(b = activation(graph, call, "b", b))) return 0;
    const struct tensor *m = operand(graph, call, "mask", mask);
    if (!m) return 0;
    struct tensor ta = graph->tensors[a], tb = graph->tensors[b];
    char as[64], bs[64];
    tensor_shape_text(&ta, as);
    tensor_shape_text(&tb, bs);
    if (m->type != AIOS_I32 || m->count != ta.shape[0])
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: mask must hold %d integers, one for each entry of a %s; it has %lld", call,
                       ta.shape[0], as, (long long)m->count);
    int whole = tb.count == ta.count, one = tb.count == ta.count / ta.shape[0] || tb.count == tensor_last(&ta);
    if (!whole && !one)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: b %s must have the shape of a %s or of one entry of it", call, bs, as);
    if (!whole && tb.differentiated && !graph->no_gradient)
        return MISTAKE(graph, AIOS_UNSUPPORTED, "%s: b %s stands for every entry of a %s and can't have a gradient: detach it", call, bs,
                       as);
    struct node node = {.op = OP_select, .input = {a, b, mask}};
    return add_node(graph, &node, TYPE_ACTIVATION, ta.shape, ta.rank);
}

aios_tensor aios_graph_detach(aios_graph *graph, aios_tensor x)
{
    static const char call[] = "aios_graph_detach";
    if (!graph || !usable(graph, call) || !operand(graph, call, "x", x)) return 0;
    struct tensor copy = graph->tensors[x];
    struct node node = {.op = OP_alias, .input = {x}};
    graph->no_gradient++;
    aios_tensor y = add_node(graph, &node, copy.type, copy.shape, copy.rank);
    graph->no_gradient--;
    return y;
}

void aios_graph_begin_no_gradient(aios_graph *graph)
{
    if (graph && usable(graph, "aios_graph_begin_no_gradient")) graph->no_gradient++;
}

void aios_graph_end_no_gradient(aios_graph *graph)
{
    if (!graph || !usable(graph, "aios_graph_end_no_gradient")) return;
    if (graph->no_gradient)
        graph->no_gradient--;
    else
        (void)MISTAKE(graph, AIOS_WRONG_STATE, "aios_graph_end_no_gradient: no region was begun");
}

/* ---- losses, outputs --------------------------------------------------------------------------------------------- */

aios_tensor add_loss(aios_graph *graph, struct node *node, const struct tensor *shape)
{
    node->auxiliary = graph->auxiliary != 0;
    aios_tensor losses = add_node(graph, node, AIOS_F32, shape->shape, shape->rank);
    if (losses) graph->tensors[losses].differentiated = 0;
    return losses;
}

void aios_graph_begin_auxiliary(aios_graph *graph)
{
    if (graph && usable(graph, "aios_graph_begin_auxiliary")) graph->auxiliary++;
}

void aios_graph_end_auxiliary(aios_graph *graph)
{
    if (!graph || !usable(graph, "aios_graph_end_auxiliary")) return;
    if (graph->auxiliary)
        graph->auxiliary--;
    else
        (void)MISTAKE(graph, AIOS_WRONG_STATE, "aios_graph_end_auxiliary: no region was begun");
}

aios_tensor aios_graph_cross_entropy(aios_graph *graph, aios_tensor logits, aios_tensor labels, int32_t kind, float weight)
{
    static const char call[] = "aios_graph_cross_entropy";
    if (!graph || !usable(graph, call) || !(logits = activation(graph, call, "logits", logits))) return 0;
    const struct tensor *l = operand(graph, call, "labels", labels);
    if (!l) return 0;
    struct tensor x = graph->tensors[logits];
    if (l->type != AIOS_I32 || l->count != tensor_rows(&x)) {
        char ls[64], xs[64];
        tensor_shape_text(l, ls);
        tensor_shape_text(&x, xs);
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: labels %s must be integers, one for each row of logits %s", call, ls, xs);
    }
    if (kind != AIOS_SOFTMAX && kind != AIOS_STABLEMAX) return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: kind is %d: 0 or 1", call, kind);
    struct tensor shape = *l;
    struct node node = {.op = OP_cross_entropy, .input = {logits, labels}, .kind = kind, .weight = weight};
    return add_loss(graph, &node, &shape);
}

aios_tensor aios_graph_sequence_cross_entropy(aios_graph *graph, aios_tensor logits, aios_tensor labels, int32_t kind, float weight)
{
    aios_tensor losses = aios_graph_cross_entropy(graph, logits, labels, kind, weight);
    if (!losses) return 0;
    struct tensor *t = &graph->tensors[losses];
    graph->nodes[t->node].length = (int32_t)(t->count / t->shape[0]);
    t->rank = 1;
    t->count = t->shape[0];
    return losses;
}

aios_tensor aios_graph_sequence_correct(aios_graph *graph, aios_tensor losses)
{
    static const char call[] = "aios_graph_sequence_correct";
    if (!graph || !usable(graph, call)) return 0;
    const struct tensor *t = operand(graph, call, "losses", losses);
    if (!t) return 0;
    struct node *loss = t->node >= 0 ? &graph->nodes[t->node] : NULL;
    if (!loss || loss->op != OP_cross_entropy)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: losses must be what a cross-entropy returned", call);
    int32_t length = loss->length ? loss->length : t->shape[t->rank - 1],
            sequences = (int32_t)(loss->length ? t->count : t->count / length);
    loss->hits_kept = !loss->length;
    struct node node = {.op = OP_sequence_correct, .input = {losses, loss->input[1]}, .length = length};
    return add_node(graph, &node, AIOS_F32, &sequences, 1);
}

aios_tensor aios_graph_bce_with_logits(aios_graph *graph, aios_tensor x, aios_tensor targets, float weight)
{
    static const char call[] = "aios_graph_bce_with_logits";
    if (!graph || !usable(graph, call) || !(x = activation(graph, call, "x", x))) return 0;
    const struct tensor *t = operand(graph, call, "targets", targets);
    if (!t) return 0;
    if (t->type != AIOS_F32 || t->count != graph->tensors[x].count)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: targets has %lld elements of type %d: %lld of AIOS_F32 are wanted", call,
                       (long long)t->count, t->type, (long long)graph->tensors[x].count);
    struct tensor shape = *t;
    struct node node = {.op = OP_bce, .input = {x, targets}, .weight = weight};
    return add_loss(graph, &node, &shape);
}

/* steps (B) i32, and q (B, 2) numbers where it is asked for. */
static int check_halting(aios_graph *graph, const char *call, aios_tensor steps, aios_tensor *q, int32_t max_steps)
{
    const struct tensor *s = operand(graph, call, "steps", steps);
    if (!s || !(*q = activation(graph, call, "q", *q))) return 0;
    const struct tensor *v = &graph->tensors[*q];
    s = &graph->tensors[steps];
    if (s->type == AIOS_I32 && v->count == 2 * s->count && tensor_last(v) == 2 && max_steps > 0) return 1;
    char shape[64];
    tensor_shape_text(v, shape);
    (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT,
                  "%s: steps has %lld entries, q is %s, max_steps %d: steps must be integers, q two for each, max_steps at least 1", call,
                  (long long)s->count, shape, max_steps);
    return 0;
}

aios_tensor aios_graph_count_steps(aios_graph *graph, aios_tensor steps, aios_tensor running)
{
    static const char call[] = "aios_graph_count_steps";
    if (!graph || !usable(graph, call)) return 0;
    const struct tensor *s = operand(graph, call, "steps", steps), *r = s ? operand(graph, call, "running", running) : NULL;
    if (!s || !r) return 0;
    if (s->type != AIOS_I32 || r->type != AIOS_I32 || s->count != r->count)
        return MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: steps has %lld entries, running %lld: both must be integers, as many", call,
                       (long long)s->count, (long long)r->count);
    struct tensor copy = *s;
    struct node node = {.op = OP_halting_steps, .input = {steps, running}};
    return add_node(graph, &node, AIOS_I32, copy.shape, copy.rank);
}

aios_tensor aios_graph_halt(aios_graph *graph, aios_tensor steps, aios_tensor q, aios_tensor min_steps, int32_t max_steps)
{
    static const char call[] = "aios_graph_halt";
    if (!graph || !usable(graph, call) || !check_halting(graph, call, steps, &q, max_steps)) return 0;
    struct tensor s = graph->tensors[steps];
    const struct tensor *m = min_steps ? operand(graph, call, "min_steps", min_steps) : NULL;
    if (min_steps && (!m || m->type != AIOS_I32 || m->count != s.count))
        return m ? MISTAKE(graph, AIOS_INVALID_ARGUMENT, "%s: min_steps has %lld entries: %lld integers are wanted", call,
                           (long long)m->count, (long long)s.count)
                 : 0;
    struct node node = {.op = OP_halting_running, .input = {steps, q, min_steps}, .limit = max_steps};
    aios_tensor running = add_node(graph, &node, AIOS_I32, s.shape, s.rank);
    if (running) graph->tensors[running].differentiated = 0;
    return running;
}

aios_tensor aios_graph_halt_target(aios_graph *graph, aios_tensor steps, aios_tensor next_q, int32_t max_steps)
{
    static const char call[] = "aios_graph_halt_target";
    if (!graph || !usable(graph, call) || !check_halting(graph, call, steps, &next_q, max_steps)) return 0;
    struct tensor s = graph->tensors[steps];
    struct node node = {.op = OP_halting_target, .input = {steps, next_q}, .limit = max_steps};
    aios_tensor target = add_node(graph, &node, AIOS_F32, s.shape, s.rank);
    if (target) graph->tensors[target].differentiated = 0;
    return target;
}

void aios_graph_output(aios_graph *graph, const char *name, aios_tensor x)
{
    if (!graph || !usable(graph, "aios_graph_output") || !operand(graph, "aios_graph_output", "x", x)) return;
    if (!name || !*name || strlen(name) >= NAME_SIZE) {
        (void)MISTAKE(graph, AIOS_INVALID_ARGUMENT, "aios_graph_output: the name must have 1 to %d bytes", NAME_SIZE - 1);
        return;
    }
    for (size_t i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, name) == 0) {
            (void)MISTAKE(graph, AIOS_ALREADY_EXISTS, "aios_graph_output: there is an output '%s' already", name);
            return;
        }
    if (aios_memory_grow(graph->context, (void **)&graph->outputs, &graph->output_capacity, graph->output_count + 1,
                         sizeof *graph->outputs) != AIOS_OK) {
        (void)keep_mistake(graph);
        return;
    }
    struct named_output *output = &graph->outputs[graph->output_count++];
    (void)snprintf(output->name, sizeof output->name, "%s", name);
    output->tensor = x;
    graph->tensors[x].is_output = 1;
}

void aios_graph_mark(aios_graph *graph)
{
    if (graph && usable(graph, "aios_graph_mark")) graph->segment++;
}

int32_t aios_graph_rank(const aios_graph *graph, aios_tensor x)
{
    return graph && x > 0 && (size_t)x < graph->tensor_count ? graph->tensors[x].rank : 0;
}

int32_t aios_graph_dimension(const aios_graph *graph, aios_tensor x, int32_t axis)
{
    int32_t rank = aios_graph_rank(graph, x);
    if (axis < 0) axis += rank;
    return axis >= 0 && axis < rank ? graph->tensors[x].shape[axis] : 0;
}

uint32_t aios_graph_parameter_count(const aios_graph *graph)
{
    uint32_t count = 0;
    for (size_t i = 1; graph && i < graph->tensor_count; i++) count += graph->tensors[i].kind == TENSOR_PARAMETER;
    return count;
}
