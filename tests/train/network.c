#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- life -------------------------------------------------------------------------------------------------------- */

void network_begin(struct network *n, const char *device, uint64_t seed)
{
    *n = (struct network){.context = test_context(), .tape = tape_create(), .random = seed * 0x9e3779b97f4a7c15u + 1};
    assert_ok(aios_device_open(n->context, device, &n->device));
    assert_ok(aios_graph_create(n->context, &n->graph));
}

void network_end(struct network *n)
{
    aios_graph_destroy(n->graph);
    aios_device_close(n->device);
    aios_context_destroy(n->context);
    tape_destroy(n->tape);
}

static uint64_t next(struct network *n)
{
    uint64_t z = n->random += 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea and Flood, 2014) */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int network_draw(struct network *n, int bound)
{
    return (int)(next(n) % (uint64_t)bound);
}

double network_uniform(struct network *n, double low, double high)
{
    double x = low + (high - low) * (double)(next(n) >> 11) / 9007199254740992.0;
    int exponent;
    double fraction = frexp(x, &exponent);
    x = ldexp(rint(fraction * 256.0) / 256.0, exponent);
    return fabs(x) < 0x1p-10 ? 0x1p-10 : x; /* below, f16 has fewer digits */
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

int net_rank(const struct network *n, value x)
{
    return tape_at(n->tape, x.node)->rank;
}

const int *net_shape(const struct network *n, value x)
{
    return tape_at(n->tape, x.node)->shape;
}

int net_size(const struct network *n, value x, int axis)
{
    return net_shape(n, x)[axis < 0 ? net_rank(n, x) + axis : axis];
}

static void describe(struct network *n, const char *what, value x)
{
    size_t used = strlen(n->recipe);
    const struct tape_node *node = tape_at(n->tape, x.node);
    char shape[64] = "";
    for (int i = 0; i < node->rank; i++)
        (void)snprintf(shape + strlen(shape), sizeof shape - strlen(shape), i ? ",%d" : "%d", node->shape[i]);
    (void)snprintf(n->recipe + used, sizeof n->recipe - used, " %%%d=%s(%%%d,%%%d,%%%d):(%s)", x.node, what, node->input[0], node->input[1],
                   node->input[2], shape);
}

static value made(struct network *n, const char *what, aios_tensor id, int node)
{
    value x = {id, node};
    describe(n, what, x);
    if (!id) fail_msg("%s gave no tensor: %s; recipe:%s", what, aios_error_message(), n->recipe);
    if (n->keep_everything) net_keep(n, x);
    return x;
}

void net_keep(struct network *n, value x)
{
    assert_true(n->kept_count < NETWORK_MOST);
    struct kept *kept = &n->kept[n->kept_count++];
    (void)snprintf(kept->name, sizeof kept->name, "o%d", n->kept_count);
    kept->node = x.node;
    aios_graph_output(n->graph, kept->name, x.id);
}

/* Shapes are copied: the one given may lie in the tape, which moves as it grows. */
struct dimensions {
    int size[TAPE_RANK];
};

static struct dimensions copy_shape(const int *shape, int rank)
{
    struct dimensions d = {{0}};
    assert_in_range(rank, 1, TAPE_RANK);
    memcpy(d.size, shape, (size_t)rank * sizeof *shape);
    return d;
}

static struct leaf *add_leaf(struct network *n, enum leaf_kind kind, const struct dimensions *d, int rank)
{
    assert_true(n->leaf_count < NETWORK_MOST);
    struct leaf *leaf = &n->leaves[n->leaf_count++];
    leaf->kind = kind;
    leaf->node = tape_leaf(n->tape, d->size, rank, kind == LEAF_PARAMETER);
    (void)snprintf(leaf->name, sizeof leaf->name, "leaf%d", n->leaf_count);
    return leaf;
}

value net_parameter(struct network *n, const int *shape, int rank, double scale, double offset)
{
    struct dimensions d = copy_shape(shape, rank);
    struct leaf *leaf = add_leaf(n, LEAF_PARAMETER, &d, rank);
    struct tape_node *x = tape_at(n->tape, leaf->node);
    for (size_t i = 0; i < x->count; i++) x->value[i] = network_uniform(n, offset - scale, offset + scale);
    return (value){aios_graph_parameter(n->graph, leaf->name, d.size, rank, AIOS_INIT_ZERO, 0.0f, AIOS_GROUP_DECAY), leaf->node};
}

value net_numbers(struct network *n, const int *shape, int rank, double low, double high)
{
    struct dimensions d = copy_shape(shape, rank);
    struct leaf *leaf = add_leaf(n, LEAF_NUMBERS, &d, rank);
    struct tape_node *x = tape_at(n->tape, leaf->node);
    for (size_t i = 0; i < x->count; i++) x->value[i] = network_uniform(n, low, high);
    return (value){aios_graph_input(n->graph, leaf->name, AIOS_F32, d.size, rank), leaf->node};
}

value net_integers(struct network *n, const int *shape, int rank, int low, int high)
{
    struct dimensions d = copy_shape(shape, rank);
    struct leaf *leaf = add_leaf(n, LEAF_INTEGERS, &d, rank);
    struct tape_node *x = tape_at(n->tape, leaf->node);
    for (size_t i = 0; i < x->count; i++) x->value[i] = (double)(low + network_draw(n, high - low + 1));
    return (value){aios_graph_input(n->graph, leaf->name, AIOS_I32, d.size, rank), leaf->node};
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

value net_embedding(struct network *n, value table, value ids)
{
    return made(n, "embedding", aios_graph_embedding(n->graph, table.id, ids.id), tape_embedding(n->tape, table.node, ids.node));
}

value net_linear(struct network *n, value x, value weight, value bias, int in_out, int gelu)
{
    int node = tape_linear(n->tape, x.node, weight.node, bias.node, in_out);
    if (gelu) node = tape_gelu(n->tape, node);
    return made(n, gelu ? "linear_gelu" : "linear", aios_graph_linear(n->graph, x.id, weight.id, bias.id, in_out, gelu), node);
}

value net_add(struct network *n, value a, value b)
{
    return made(n, "add", aios_graph_add(n->graph, a.id, b.id), tape_add(n->tape, a.node, b.node));
}

value net_scale(struct network *n, value x, float factor)
{
    return made(n, "scale", aios_graph_scale(n->graph, x.id, factor), tape_scale(n->tape, x.node, (double)factor));
}

#define EPS 1e-5f

value net_layernorm(struct network *n, value x, value weight, value bias)
{
    return made(n, "layernorm", aios_graph_layernorm(n->graph, x.id, weight.id, bias.id, EPS),
                tape_layernorm(n->tape, x.node, weight.node, bias.node, (double)EPS));
}

value net_rmsnorm(struct network *n, value x, value weight)
{
    return made(n, "rmsnorm", aios_graph_rmsnorm(n->graph, x.id, weight.id, EPS), tape_rmsnorm(n->tape, x.node, weight.node, (double)EPS));
}

value net_gelu(struct network *n, value x)
{
    return made(n, "gelu", aios_graph_gelu(n->graph, x.id), tape_gelu(n->tape, x.node));
}

value net_swiglu(struct network *n, value x)
{
    return made(n, "swiglu", aios_graph_swiglu(n->graph, x.id), tape_swiglu(n->tape, x.node));
}

value net_expert_gates(struct network *n, value logits, int chosen)
{
    return made(n, "expert gates", aios_graph_expert_gates(n->graph, logits.id, chosen), tape_expert_gates(n->tape, logits.node, chosen));
}

value net_expert_scale(struct network *n, value x, value gates)
{
    return made(n, "expert scale", aios_graph_expert_scale(n->graph, x.id, gates.id), tape_expert_scale(n->tape, x.node, gates.node));
}

void net_expert_balance(struct network *n, value gates, value labels, float weight)
{
    (void)made(n, "expert balance", aios_graph_expert_balance(n->graph, gates.id, labels.id, weight),
               tape_expert_balance(n->tape, gates.node, labels.node, (double)weight));
}

value net_attention(struct network *n, value qkv, int heads, int kv_heads, int causal, float scale, float theta)
{
    aios_attention_options o = AIOS_ATTENTION_OPTIONS_INIT;
    o.heads = heads;
    o.kv_heads = kv_heads;
    o.causal = causal;
    o.scale = scale;
    o.rope_theta = theta;
    return made(n, "attention", aios_graph_attention(n->graph, qkv.id, &o),
                tape_attention(n->tape, qkv.node, heads, kv_heads, causal, (double)scale, (double)theta));
}

value net_slice(struct network *n, value x, int axis, int start, int length)
{
    int positive = axis < 0 ? axis + net_rank(n, x) : axis;
    return made(n, "slice", aios_graph_slice(n->graph, x.id, axis, start, length), tape_slice(n->tape, x.node, positive, start, length));
}

value net_reshape(struct network *n, value x, const int *shape, int rank)
{
    return made(n, "reshape", aios_graph_reshape(n->graph, x.id, shape, rank), tape_reshape(n->tape, x.node, shape, rank));
}

value net_select(struct network *n, value mask, value a, value b)
{
    return made(n, "select", aios_graph_select(n->graph, mask.id, a.id, b.id), tape_select(n->tape, mask.node, a.node, b.node));
}

value net_detach(struct network *n, value x)
{
    n->detached = 1;
    return made(n, "detach", aios_graph_detach(n->graph, x.id), tape_detach(n->tape, x.node));
}

void net_no_gradient(struct network *n, int begin)
{
    n->detached = 1;
    n->tape->no_gradient += begin ? 1 : -1;
    if (begin)
        aios_graph_begin_no_gradient(n->graph);
    else
        aios_graph_end_no_gradient(n->graph);
}

void net_cross_entropy(struct network *n, value logits, value labels, int stablemax, float weight)
{
    (void)made(n, stablemax ? "stablemax" : "softmax",
               aios_graph_cross_entropy(n->graph, logits.id, labels.id, stablemax ? AIOS_STABLEMAX : AIOS_SOFTMAX, weight),
               tape_cross_entropy(n->tape, logits.node, labels.node, stablemax, (double)weight));
}

void net_bce(struct network *n, value x, value targets, float weight)
{
    (void)made(n, "bce", aios_graph_bce_with_logits(n->graph, x.id, targets.id, weight),
               tape_bce(n->tape, x.node, targets.node, (double)weight));
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void write_leaves(struct network *n, aios_parameters *parameters, aios_plan *plan)
{
    for (int i = 0; i < n->leaf_count; i++) {
        const struct leaf *leaf = &n->leaves[i];
        const struct tape_node *x = tape_at(n->tape, leaf->node);
        float *numbers = malloc(x->count * sizeof *numbers);
        int32_t *integers = malloc(x->count * sizeof *integers);
        assert_true(numbers && integers);
        for (size_t k = 0; k < x->count; k++) {
            numbers[k] = (float)x->value[k];
            integers[k] = (int32_t)x->value[k];
        }
        if (leaf->kind == LEAF_PARAMETER)
            assert_ok(aios_parameters_write(parameters, leaf->name, AIOS_VALUE, numbers, x->count));
        else if (leaf->kind == LEAF_NUMBERS)
            assert_ok(aios_plan_write(plan, leaf->name, numbers, x->count * 4));
        else
            assert_ok(aios_plan_write(plan, leaf->name, integers, x->count * 4));
        free(numbers);
        free(integers);
    }
}

size_t network_gradient_count(const struct network *n)
{
    size_t count = 0;
    for (int i = 0; i < n->leaf_count; i++)
        if (n->leaves[i].kind == LEAF_PARAMETER) count += tape_at(n->tape, n->leaves[i].node)->count;
    return count;
}

static void read_outcome(struct network *n, aios_parameters *parameters, aios_plan *plan, struct outcome *o)
{
    size_t at = 0;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    o->count = network_gradient_count(n);
    for (int i = 0; i < n->kept_count; i++) o->count += tape_at(n->tape, n->kept[i].node)->count;
    o->numbers = malloc((o->count + 1) * sizeof *o->numbers);
    assert_non_null(o->numbers);
    for (int i = 0; i < n->leaf_count; i++) {
        size_t count = tape_at(n->tape, n->leaves[i].node)->count;
        if (n->leaves[i].kind != LEAF_PARAMETER) continue;
        assert_ok(aios_parameters_read(parameters, n->leaves[i].name, AIOS_GRADIENT, o->numbers + at, count));
        at += count;
    }
    for (int i = 0; i < n->kept_count; i++) {
        size_t count = tape_at(n->tape, n->kept[i].node)->count;
        assert_ok(aios_plan_read(plan, n->kept[i].name, o->numbers + at, count * 4));
        at += count;
    }
    assert_ok(aios_plan_losses(plan, &sums, 1));
    o->memory = (aios_plan_memory){.struct_size = sizeof o->memory};
    assert_ok(aios_plan_get_memory(plan, &o->memory));
    o->loss = sums.loss;
    o->rows = sums.rows;
}

void network_run(struct network *n, int32_t precision, int checkpointing, double loss_scale, int runs, struct outcome *outcome)
{
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan_options = AIOS_PLAN_OPTIONS_INIT;
    aios_optimizer_options optimizer_options = AIOS_OPTIMIZER_OPTIONS_INIT;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    options.precision = precision;
    plan_options.training = 1;
    plan_options.gradient_checkpointing = checkpointing;
    optimizer_options.loss_scale = loss_scale;
    if (aios_graph_finish(n->graph) != AIOS_OK) fail_msg("%s; recipe:%s", aios_error_message(), n->recipe);
    assert_ok(aios_parameters_create(n->device, n->graph, &options, &parameters));
    if (aios_plan_create(n->graph, parameters, &plan_options, &plan) != AIOS_OK) fail_msg("%s; recipe:%s", aios_error_message(), n->recipe);
    assert_ok(aios_optimizer_create(parameters, &optimizer_options, &optimizer));
    assert_ok(aios_optimizer_begin(optimizer, 0.0, 1.0)); /* the loss scale, and gradients from zero */
    write_leaves(n, parameters, plan);
    for (int i = 0; i < runs; i++)
        if (aios_plan_run(plan) != AIOS_OK) fail_msg("%s; recipe:%s", aios_error_message(), n->recipe);
    read_outcome(n, parameters, plan, outcome);
    aios_optimizer_destroy(optimizer);
    aios_plan_destroy(plan);
    aios_parameters_destroy(parameters);
}

void outcome_free(struct outcome *outcome)
{
    free(outcome->numbers);
    outcome->numbers = NULL;
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

#define SAMPLES 4 /* of the noise */

/* Copies what read_outcome reads, from the tape; returns the loss. */
static double tape_outcome(struct network *n, double loss_scale, double *to)
{
    size_t at = 0;
    tape_forward(n->tape);
    tape_backward(n->tape, loss_scale);
    for (int i = 0; i < n->leaf_count; i++) {
        const struct tape_node *x = tape_at(n->tape, n->leaves[i].node);
        if (n->leaves[i].kind != LEAF_PARAMETER) continue;
        memcpy(to + at, x->gradient, x->count * sizeof *to);
        at += x->count;
    }
    for (int i = 0; i < n->kept_count; i++) {
        const struct tape_node *x = tape_at(n->tape, n->kept[i].node);
        memcpy(to + at, x->value, x->count * sizeof *to);
        at += x->count;
    }
    return tape_loss(n->tape);
}

/* One tensor: `times` runs of the exact numbers against what the library gave. */
static void judge(const struct network *n, const char *name, const double *exact, const double *noise, const float *got, size_t count,
                  double times, double margin)
{
    double largest = 0.0, spread = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(exact[i]) * times);
        spread = fmax(spread, noise[i] * times);
    }
    double tolerance = margin * spread + ldexp(largest, -20);
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - times * exact[i]) <= tolerance))
            fail_msg("%s[%zu] is %.9g and should be %.9g within %.3g (noise %.3g, largest %.3g); recipe:%s", name, i, (double)got[i],
                     times * exact[i], tolerance, spread, largest, n->recipe);
}

void network_judge(struct network *n, int32_t precision, double loss_scale, int runs, double margin, const struct outcome *o)
{
    static const int32_t storages[] = {AIOS_F32, AIOS_F16, AIOS_BF16};
    double *exact = calloc(o->count + 1, sizeof *exact), *moved = calloc(o->count + 1, sizeof *moved),
           *noise = calloc(o->count + 1, sizeof *noise);
    double loss_noise = 0.0;
    size_t at = 0;
    assert_true(exact && moved && noise);
    tape_quiet(n->tape);
    double loss = tape_outcome(n, loss_scale, exact);
    for (uint64_t sample = 1; sample <= SAMPLES; sample++) {
        tape_noise(n->tape, storages[precision], sample);
        loss_noise = fmax(loss_noise, fabs(tape_outcome(n, loss_scale, moved) - loss));
        for (size_t i = 0; i < o->count; i++) noise[i] = fmax(noise[i], fabs(moved[i] - exact[i]));
    }
    tape_quiet(n->tape);
    for (int i = 0; i < n->leaf_count; i++) {
        const struct tape_node *x = tape_at(n->tape, n->leaves[i].node);
        if (n->leaves[i].kind != LEAF_PARAMETER) continue;
        judge(n, n->leaves[i].name, exact + at, noise + at, o->numbers + at, x->count, runs, margin);
        at += x->count;
    }
    for (int i = 0; i < n->kept_count; i++) {
        const struct tape_node *x = tape_at(n->tape, n->kept[i].node);
        judge(n, n->kept[i].name, exact + at, noise + at, o->numbers + at, x->count, 1, margin);
        at += x->count;
    }
    double tolerance = runs * (margin * loss_noise + ldexp(fabs(loss), -20));
    if (!(fabs(o->loss - runs * loss) <= tolerance))
        fail_msg("the loss is %.9g and should be %.9g within %.3g; recipe:%s", o->loss, runs * loss, tolerance, n->recipe);
    free(exact);
    free(moved);
    free(noise);
}

void outcomes_equal(const struct network *n, const char *what, const struct outcome *a, const struct outcome *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a->numbers[i], &b->numbers[i], sizeof *a->numbers) != 0)
            fail_msg("%s: number %zu of %zu is %.9g and was %.9g; recipe:%s", what, i, count, (double)b->numbers[i], (double)a->numbers[i],
                     n->recipe);
    if (a->loss != b->loss) fail_msg("%s: the loss is %.17g and was %.17g; recipe:%s", what, b->loss, a->loss, n->recipe);
}
