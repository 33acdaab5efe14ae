/* From a graph to instructions: forward in the order of recording, backward in the reverse. */
#include "builder.h"

#include <string.h>

/* ---- buffers and instructions ------------------------------------------------------------------------------------ */

static aios_status add_buffer(aios_plan *plan, const struct buffer *buffer, int32_t *id)
{
    TRY_QUIET(
        aios_memory_grow(plan->context, (void **)&plan->buffers, &plan->buffer_capacity, plan->buffer_count + 1, sizeof *plan->buffers));
    plan->buffers[plan->buffer_count] = *buffer;
    *id = (int32_t)plan->buffer_count++;
    return AIOS_OK;
}

aios_status new_buffer(struct builder *b, uint64_t size, int32_t *buffer)
{
    return add_buffer(b->plan, &(struct buffer){.size = size ? size : 4, .first = -1, .last = -1}, buffer);
}

aios_status new_scratch(struct builder *b, uint64_t size, int32_t *buffer)
{
    return add_buffer(b->plan, &(struct buffer){.size = size ? size : 4, .first = -1, .last = -1, .scratch = 1}, buffer);
}

aios_status fixed_buffer(struct builder *b, void *address, int32_t *buffer)
{
    return add_buffer(b->plan, &(struct buffer){.fixed = address, .first = -1, .last = -1}, buffer);
}

aios_status emit(struct builder *b, const struct instruction *instruction)
{
    aios_plan *plan = b->plan;
    int32_t index = (int32_t)plan->instruction_count;
    TRY_QUIET(aios_memory_grow(plan->context, (void **)&plan->instructions, &plan->instruction_capacity, plan->instruction_count + 1,
                               sizeof *plan->instructions));
    plan->instructions[plan->instruction_count] = *instruction;
    plan->instructions[plan->instruction_count++].step = b->step;
    for (int k = 0; k < INSTRUCTION_BUFFERS; k++) {
        struct buffer *buffer = &plan->buffers[instruction->buffer[k]];
        if (buffer->first < 0) buffer->first = index;
        buffer->last = index;
    }
    return AIOS_OK;
}

uint64_t value_size(const struct builder *b, aios_tensor x)
{
    const struct tensor *t = tensor_of(b->graph, x);
    uint64_t element = storage_size(t->type == TYPE_ACTIVATION ? b->plan->storage : t->type);
    return (((uint64_t)tensor_rows(t) * (uint64_t)b->pitch[x] * element) + 3) & ~(uint64_t)3;
}

aios_status output_buffer(struct builder *b, const struct node *node, int32_t *buffer)
{
    TRY_QUIET(new_buffer(b, value_size(b, node->output), buffer));
    if (b->recomputing && b->escapes[node->output]) return AIOS_OK;
    b->value[node->output] = *buffer;
    b->value_offset[node->output] = 0;
    return AIOS_OK;
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

int wanted(const struct builder *b, const struct node *node, aios_tensor x)
{
    return x && !node->no_gradient && tensor_of(b->graph, x)->differentiated;
}

static aios_status own_gradient(struct builder *b, aios_tensor x)
{
    TRY_QUIET(new_buffer(b, value_size(b, x), &b->gradient[x]));
    b->plan->buffers[b->gradient[x]].owners = 1;
    return AIOS_OK;
}

aios_status gradient_target(struct builder *b, aios_tensor x, int32_t *buffer, int *accumulate)
{
    int32_t old = b->gradient[x];
    *accumulate = old != 0;
    if (!old)
        TRY_QUIET(own_gradient(b, x));
    else if (b->plan->buffers[old].owners > 1) { /* somebody else has yet to read it */
        b->plan->buffers[old].owners--;
        TRY_QUIET(own_gradient(b, x));
        TRY_QUIET(emit(b, &(struct instruction){.run = run_move,
                                                .label = "copy of a shared gradient",
                                                .buffer = {b->gradient[x], old},
                                                .number = {(int64_t)value_size(b, x)}}));
    }
    *buffer = b->gradient[x];
    return AIOS_OK;
}

aios_status gradient_share(struct builder *b, aios_tensor x, int32_t *buffer)
{
    if (b->gradient[x]) return new_buffer(b, value_size(b, x), buffer);
    TRY_QUIET(own_gradient(b, x));
    *buffer = b->gradient[x];
    return AIOS_OK;
}

/* x's gradient += what is in buffer, which may be that gradient itself. */
static aios_status accumulate_gradient(struct builder *b, aios_tensor x, int32_t buffer)
{
    const struct tensor *t = tensor_of(b->graph, x);
    int accumulate;
    int32_t target;
    TRY_QUIET(gradient_target(b, x, &target, &accumulate));
    return emit(b, &(struct instruction){.run = run_scale_add,
                                         .label = "sum of gradients",
                                         .buffer = {target, buffer},
                                         .number = {tensor_rows(t), b->pitch[x], accumulate},
                                         .real = {1.0f}});
}

aios_status add_share(struct builder *b, aios_tensor x, int32_t buffer)
{
    return buffer == b->gradient[x] ? AIOS_OK : accumulate_gradient(b, x, buffer);
}

aios_status pass_gradient(struct builder *b, aios_tensor x, int32_t buffer)
{
    if (b->gradient[x]) return accumulate_gradient(b, x, buffer);
    b->gradient[x] = buffer;
    b->plan->buffers[buffer].owners++;
    return AIOS_OK;
}

/* The bucket's gradient in the arena, zero before its first share. */
static aios_status bucket_sink(struct builder *b, int32_t bucket)
{
    int32_t *sink = &b->bucket_sink[bucket - 1];
    int64_t bytes = (int64_t)(b->plan->parameters->buckets[bucket - 1].count * sizeof(float));
    if (*sink) return AIOS_OK;
    TRY_QUIET(new_buffer(b, (uint64_t)bytes, sink));
    b->plan->buffers[*sink].gradient_of = bucket;
    return emit(b, &(struct instruction){.run = run_zero, .label = "gradient of a bucket", .buffer = {*sink}, .number = {bytes}});
}

aios_status parameter_sink(struct builder *b, aios_tensor x, int32_t *buffer, int64_t *offset)
{
    const struct tensor *t = tensor_of(b->graph, x);
    const aios_parameters *all = b->plan->parameters;
    const struct parameter *p = parameters_find(all, tensor_of(b->graph, t->root)->name);
    *offset = t->root_offset * 4;
    if (parameters_is_sharded(all, AIOS_GRADIENT)) {
        TRY_QUIET(bucket_sink(b, p->bucket));
        *buffer = b->bucket_sink[p->bucket - 1];
        *offset += (int64_t)((p->offset - all->buckets[p->bucket - 1].first) * sizeof(float));
        return AIOS_OK;
    }
    if (!b->sink[t->root]) {
        TRY_QUIET(fixed_buffer(b, all->gradient + p->offset, &b->sink[t->root]));
        b->plan->buffers[b->sink[t->root]].gradient_of = p->bucket;
    }
    *buffer = b->sink[t->root];
    return AIOS_OK;
}

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

static aios_status same_leaf(const struct tensor *t, const int32_t *shape, int32_t rank, const char *what)
{
    if (t->rank == rank && memcmp(t->shape, shape, (size_t)rank * sizeof *shape) == 0) return AIOS_OK;
    char is[64], was[64];
    struct tensor other = {.rank = rank};
    memcpy(other.shape, shape, (size_t)rank * sizeof *shape);
    tensor_shape_text(t, is);
    tensor_shape_text(&other, was);
    return FAIL(AIOS_INVALID_ARGUMENT, "%s '%s' has shape %s in the graph and %s in the parameters", what, t->name, is, was);
}

static aios_status place_parameter(struct builder *b, aios_tensor x, const struct parameter *found)
{
    const aios_parameters *p = b->plan->parameters;
    uint64_t element = storage_size(p->storage);
    const char *weights = p->weight;
    if (found->table) return fixed_buffer(b, found->table, &b->value[x]);
    if (parameters_weight_is_sharded(p) && b->plan->training) {
        int32_t *stand_in = &b->bucket_weights[found->bucket - 1];
        if (!*stand_in) {
            TRY_QUIET(new_buffer(b, p->buckets[found->bucket - 1].count * element, stand_in));
            b->plan->buffers[*stand_in].weights_of = found->bucket;
        }
        b->value[x] = *stand_in;
        b->value_offset[x] = (int64_t)((found->offset - p->buckets[found->bucket - 1].first) * element);
        return AIOS_OK;
    }
    if (parameters_weight_is_sharded(p)) weights = p->whole;
    if (!weights)
        return FAIL(AIOS_WRONG_STATE, "this device holds a part of the weights: they are gathered before a plan without training");
    return fixed_buffer(b, (char *)weights + found->offset * element, &b->value[x]);
}

static aios_status place_leaf(struct builder *b, aios_tensor x)
{
    const struct tensor *t = tensor_of(b->graph, x);
    const aios_parameters *p = b->plan->parameters;
    if (t->kind == TENSOR_PARAMETER) {
        const struct parameter *found = parameters_find(p, t->name);
        if (!found)
            return FAIL(AIOS_NOT_FOUND, "the graph's parameter '%s' is not among the %zu parameters on the device", t->name, p->count);
        TRY_QUIET(same_leaf(t, found->shape, found->rank, "parameter"));
        return place_parameter(b, x, found);
    }
    if (t->kind == TENSOR_STATE) {
        const struct state *found = parameters_find_state(p, t->name);
        if (!found)
            return FAIL(AIOS_NOT_FOUND, "the graph's state '%s' is not among the %zu states on the device", t->name, p->state_count);
        TRY_QUIET(same_leaf(t, found->shape, found->rank, "state"));
        return fixed_buffer(b, found->memory, &b->value[x]);
    }
    for (size_t i = 0; i < b->plan->input_count; i++)
        if (strcmp(b->plan->inputs[i].name, t->name) == 0) return fixed_buffer(b, b->plan->inputs[i].memory, &b->value[x]);
    return FAIL(AIOS_INTERNAL, "input '%s' was not allocated", t->name);
}

/* ---- analysis ---------------------------------------------------------------------------------------------------- */

/* Logits of an odd vocabulary get rows of a multiple of 64, so that every row starts aligned.  Only where nothing but a
 * cross-entropy or a reader sees the rows, which know of a pitch. */
static void choose_pitches(struct builder *b)
{
    for (size_t x = 1; x < b->graph->tensor_count; x++) b->pitch[x] = tensor_last(&b->graph->tensors[x]);
    for (size_t i = 0; i < b->graph->node_count; i++) {
        const struct node *node = &b->graph->nodes[i];
        if (node->op == OP_cross_entropy) {
            const struct tensor *logits = tensor_of(b->graph, node->input[0]);
            const struct node *producer = logits->node >= 0 ? &b->graph->nodes[logits->node] : NULL;
            if (producer && producer->op == OP_linear && !producer->input[2] && logits->consumers == 1 && tensor_last(logits) % 8)
                b->pitch[node->input[0]] = (tensor_last(logits) + 63) / 64 * 64;
        }
    }
    for (size_t i = 0; i < b->graph->assignment_count; i++) { /* a state has dense rows */
        aios_tensor x = b->graph->assignments[i].value;
        b->pitch[x] = tensor_last(tensor_of(b->graph, x));
    }
}

static void find_escapes(struct builder *b)
{
    const aios_graph *g = b->graph;
    for (size_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < NODE_INPUTS; k++) {
            aios_tensor x = g->nodes[i].input[k];
            if (x && tensor_of(g, x)->node >= 0 && g->nodes[tensor_of(g, x)->node].segment != g->nodes[i].segment) b->escapes[x] = 1;
        }
    for (size_t i = 0; i < g->output_count; i++) b->escapes[g->outputs[i].tensor] = 1;
    for (size_t i = 0; i < g->assignment_count; i++) b->escapes[g->assignments[i].value] = 1;
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

/* Its gradient starts there. */
static int is_loss(const struct node *node)
{
    return node->op == OP_cross_entropy || node->op == OP_bce || node->op == OP_expert_balance;
}

/* Emits the forward of the segment around a node once more, into new buffers. */
static aios_status recompute(struct builder *b, size_t node_index)
{
    const aios_graph *g = b->graph;
    size_t first = node_index, last = node_index;
    while (first > 0 && g->nodes[first - 1].segment == g->nodes[node_index].segment) first--;
    while (last + 1 < g->node_count && g->nodes[last + 1].segment == g->nodes[node_index].segment) last++;
    b->recomputing = 1;
    for (size_t i = first; i <= last; i++) {
        const struct node *node = &g->nodes[i];
        if (is_loss(node)) continue; /* their gradient is there already */
        if (b->escapes[node->output] && !op_has_aux(node)) continue;
        TRY_QUIET(emit_forward(b, i));
    }
    b->recomputing = 0;
    return AIOS_OK;
}

static aios_status walk_backward(struct builder *b, int checkpointing)
{
    const aios_graph *g = b->graph;
    int32_t segment = g->node_count ? g->nodes[g->node_count - 1].segment : 0; /* the last one's values are still there */
    for (size_t i = g->node_count; i-- > 0;) {
        const struct node *node = &g->nodes[i];
        int32_t dy = b->gradient[node->output];
        b->step = (int32_t)(2 * g->node_count - i);
        if (node->no_gradient) continue;
        if (!dy && !is_loss(node)) continue;
        if (checkpointing && node->segment != segment) {
            segment = node->segment;
            TRY_QUIET(recompute(b, i));
        }
        TRY_QUIET(emit_backward(b, i, dy));
        if (dy) b->plan->buffers[dy].owners--;
    }
    b->step++;
    for (size_t x = 1; x < g->tensor_count; x++)
        if (g->tensors[x].kind == TENSOR_PARAMETER && b->gradient[x]) TRY_QUIET(emit_into_sink(b, (aios_tensor)x, b->gradient[x]));
    return AIOS_OK;
}

/* 1: what is in the buffer is a state that an assignment changes. */
static int is_assigned(const struct builder *b, int32_t buffer)
{
    for (size_t i = 0; i < b->graph->assignment_count; i++)
        if (b->value[b->graph->assignments[i].state] == buffer) return 1;
    return 0;
}

static aios_status emit_move(struct builder *b, const char *label, int32_t to, int32_t from, int64_t offset, uint64_t size)
{
    return emit(
        b, &(struct instruction){.run = run_move, .label = label, .buffer = {to, from}, .offset = {0, offset}, .number = {(int64_t)size}});
}

/* All at once: states that are values of others are copied before any changes. */
static aios_status assign_states(struct builder *b)
{
    const aios_graph *g = b->graph;
    aios_status status = AIOS_OK;
    int32_t *copy = aios_memory_array(b->plan->context, g->assignment_count + 1, sizeof *copy);
    if (!copy) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < g->assignment_count; i++) {
        aios_tensor from = g->assignments[i].value;
        if (!is_assigned(b, b->value[from])) continue;
        ATTEMPT_QUIET(new_buffer(b, value_size(b, from), &copy[i]));
        ATTEMPT_QUIET(emit_move(b, "state before the run", copy[i], b->value[from], b->value_offset[from], value_size(b, from)));
    }
    for (size_t i = 0; i < g->assignment_count; i++) {
        aios_tensor to = g->assignments[i].state, from = g->assignments[i].value;
        int32_t source = copy[i] ? copy[i] : b->value[from];
        ATTEMPT_QUIET(emit_move(b, "new state", b->value[to], source, copy[i] ? 0 : b->value_offset[from], value_size(b, from)));
    }
done:
    aios_memory_free(b->plan->context, copy);
    return status;
}

static aios_status keep_outputs(struct builder *b)
{
    const aios_graph *g = b->graph;
    TRY_QUIET(assign_states(b));
    for (size_t i = 0; i < g->output_count; i++) {
        const struct named_output *output = &g->outputs[i];
        const struct tensor *t = tensor_of(g, output->tensor);
        struct plan_output *kept = &b->plan->outputs[b->plan->output_count++];
        *kept = (struct plan_output){.buffer = b->value[output->tensor],
                                     .type = t->type,
                                     .rows = tensor_rows(t),
                                     .n = tensor_last(t),
                                     .pitch = b->pitch[output->tensor],
                                     .offset = b->value_offset[output->tensor]};
        memcpy(kept->name, output->name, sizeof kept->name);
        b->plan->buffers[kept->buffer].last = INT32_MAX; /* nothing reuses it */
    }
    return AIOS_OK;
}

static aios_status walk(struct builder *b, int checkpointing)
{
    for (size_t x = 1; x < b->graph->tensor_count; x++)
        if (b->graph->tensors[x].kind != TENSOR_VALUE) TRY_QUIET(place_leaf(b, (aios_tensor)x));
    choose_pitches(b);
    find_escapes(b);
    TRY_QUIET(fixed_buffer(b, b->plan->losses, &b->losses));
    TRY_QUIET(fixed_buffer(b, b->plan->parameters->scale, &b->scale));
    for (size_t i = 0; i < b->graph->node_count; i++) {
        b->step = (int32_t)i;
        TRY_QUIET(emit_forward(b, i));
    }
    if (b->plan->training) TRY_QUIET(walk_backward(b, checkpointing));
    b->step++;
    return keep_outputs(b);
}

aios_status plan_build(aios_plan *plan, const aios_graph *graph, int checkpointing)
{
    aios_status status = AIOS_OK;
    size_t tensors = graph->tensor_count, nodes = graph->node_count + 1;
    struct builder b = {.plan = plan, .graph = graph};
    b.value = aios_memory_array(plan->context, tensors, sizeof *b.value);
    b.value_offset = aios_memory_array(plan->context, tensors, sizeof *b.value_offset);
    b.pitch = aios_memory_array(plan->context, tensors, sizeof *b.pitch);
    b.gradient = aios_memory_array(plan->context, tensors, sizeof *b.gradient);
    b.escapes = aios_memory_array(plan->context, tensors, sizeof *b.escapes);
    b.packed = aios_memory_array(plan->context, tensors, sizeof *b.packed);
    b.sink = aios_memory_array(plan->context, tensors, sizeof *b.sink);
    b.aux = aios_memory_array(plan->context, nodes, sizeof *b.aux);
    b.bucket_sink = aios_memory_array(plan->context, plan->parameters->bucket_count + 1, sizeof *b.bucket_sink);
    b.bucket_weights = aios_memory_array(plan->context, plan->parameters->bucket_count + 1, sizeof *b.bucket_weights);
    int32_t none;
    if (!b.value || !b.value_offset || !b.pitch || !b.gradient || !b.escapes || !b.packed || !b.sink || !b.aux || !b.bucket_sink ||
        !b.bucket_weights) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    ATTEMPT_QUIET(add_buffer(plan, &(struct buffer){.first = -1, .last = -1}, &none));
    ATTEMPT_QUIET(walk(&b, checkpointing));
    plan->buffers[0] = (struct buffer){.first = -1, .last = -1};
    ATTEMPT_QUIET(pieces_plan(plan, (int32_t)(2 * graph->node_count)));
    ATTEMPT_QUIET(arena_place(plan));
done:
    aios_memory_free(plan->context, b.value);
    aios_memory_free(plan->context, b.value_offset);
    aios_memory_free(plan->context, b.pitch);
    aios_memory_free(plan->context, b.gradient);
    aios_memory_free(plan->context, b.escapes);
    aios_memory_free(plan->context, b.packed);
    aios_memory_free(plan->context, b.sink);
    aios_memory_free(plan->context, b.aux);
    aios_memory_free(plan->context, b.bucket_sink);
    aios_memory_free(plan->context, b.bucket_weights);
    return status;
}
