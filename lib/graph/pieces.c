/* Runs in pieces.  A point is a step of the walk over the graph, not an instruction: devices differ in what they fuse, never in steps. */
#include "plan.h"

#include <stdlib.h>

/* Weights of one bucket from their first use to the last before they are dropped. */
struct interval {
    int32_t bucket, first, last; /* steps */
};

struct pieces {
    aios_plan *plan;
    size_t buckets;
    int32_t *final; /* per bucket: the step that ends its gradient; -1: it has none */
    int32_t *sink;  /* per bucket: its gradient's buffer in the arena; 0: it has none */
    struct interval *intervals;
    size_t interval_count, interval_capacity;
};

/* A point and the step that it lies before. */
struct stop {
    int32_t step;
    struct plan_point point;
};

/* The first instruction of that step or a later one. */
static int32_t instruction_of(const aios_plan *plan, int32_t step)
{
    size_t low = 0, high = plan->instruction_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (plan->instructions[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)low;
}

static aios_status add_point(aios_plan *plan, const struct stop *stop)
{
    TRY_QUIET(aios_memory_grow(plan->context, (void **)&plan->points, &plan->point_capacity, plan->point_count + 1, sizeof *plan->points));
    plan->points[plan->point_count] = stop->point;
    plan->points[plan->point_count++].instruction = instruction_of(plan, stop->step);
    return AIOS_OK;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static aios_status add_use(struct pieces *x, int32_t bucket, int32_t step, int32_t gap)
{
    for (size_t i = x->interval_count; i-- > 0;) { /* the bucket's latest */
        struct interval *last = &x->intervals[i];
        if (last->bucket != bucket) continue;
        if (step - last->last > gap) break;
        last->last = step;
        return AIOS_OK;
    }
    TRY_QUIET(
        aios_memory_grow(x->plan->context, (void **)&x->intervals, &x->interval_capacity, x->interval_count + 1, sizeof *x->intervals));
    x->intervals[x->interval_count++] = (struct interval){bucket, step, step};
    return AIOS_OK;
}

static int by_first(const void *a, const void *b)
{
    const struct interval *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->bucket < y->bucket ? -1 : x->bucket > y->bucket;
}

/* Weights that nobody uses for longer than a bucket's share of the walk are dropped meanwhile. */
static aios_status find_intervals(struct pieces *x, int32_t steps)
{
    const aios_plan *plan = x->plan;
    int32_t gap = steps / 2 / (int32_t)x->buckets + 1;
    for (size_t i = 0; i < plan->instruction_count; i++)
        for (int k = 0; k < INSTRUCTION_BUFFERS; k++) {
            int32_t bucket = plan->buffers[plan->instructions[i].buffer[k]].weights_of;
            if (bucket) TRY_QUIET(add_use(x, bucket, plan->instructions[i].step, gap));
        }
    if (x->interval_count) qsort(x->intervals, x->interval_count, sizeof *x->intervals, by_first);
    return AIOS_OK;
}

/* The interval's own buffer instead of the one that stands for the bucket's weights.  It lives from `begin` on. */
static aios_status give_buffer(aios_plan *plan, const struct interval *interval, int32_t begin, int32_t *buffer)
{
    struct buffer own = {.first = begin, .last = begin};
    for (size_t i = (size_t)instruction_of(plan, interval->first);
         i < plan->instruction_count && plan->instructions[i].step <= interval->last; i++)
        for (int k = 0; k < INSTRUCTION_BUFFERS; k++) {
            int32_t *used = &plan->instructions[i].buffer[k];
            if (plan->buffers[*used].weights_of != interval->bucket) continue;
            own.size = plan->buffers[*used].size;
            own.last = (int32_t)i;
            *used = (int32_t)plan->buffer_count;
        }
    TRY_QUIET(
        aios_memory_grow(plan->context, (void **)&plan->buffers, &plan->buffer_capacity, plan->buffer_count + 1, sizeof *plan->buffers));
    plan->buffers[plan->buffer_count] = own;
    *buffer = (int32_t)plan->buffer_count++;
    return AIOS_OK;
}

/* Every bucket's weights begin to come while the bucket before is in use. */
static aios_status plan_weights(struct pieces *x, struct stop *stops, size_t *count)
{
    aios_plan *plan = x->plan;
    for (size_t i = 0; i < x->interval_count; i++) {
        const struct interval *own = &x->intervals[i];
        int32_t buffer, bucket = own->bucket - 1, begin = i ? x->intervals[i - 1].first : own->first;
        TRY_QUIET(give_buffer(plan, own, instruction_of(plan, begin), &buffer));
        stops[(*count)++] = (struct stop){begin, {POINT_WEIGHTS_BEGIN, bucket, buffer, 0}};
        stops[(*count)++] = (struct stop){own->first, {POINT_WEIGHTS_END, bucket, buffer, 0}};
    }
    for (size_t i = 1; i < plan->buffer_count; i++)
        if (plan->buffers[i].weights_of) plan->buffers[i].first = -1; /* what stood in takes no memory */
    return AIOS_OK;
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

static void find_final(struct pieces *x)
{
    const aios_plan *plan = x->plan;
    for (size_t b = 0; b < x->buckets; b++) x->final[b] = -1;
    for (size_t i = 0; i < plan->instruction_count; i++)
        for (int k = 0; k < INSTRUCTION_BUFFERS; k++) {
            int32_t buffer = plan->instructions[i].buffer[k], bucket = plan->buffers[buffer].gradient_of;
            if (!bucket) continue;
            x->final[bucket - 1] = plan->instructions[i].step;
            if (!plan->buffers[buffer].fixed) x->sink[bucket - 1] = buffer;
        }
}

/* The bucket that becomes final next after (step, bucket); -1 none. */
static int32_t next_final(const struct pieces *x, int32_t step, int32_t bucket)
{
    int32_t best = -1;
    for (int32_t b = 0; b < (int32_t)x->buckets; b++)
        if ((x->final[b] > step || (x->final[b] == step && b > bucket)) && (best < 0 || x->final[b] < x->final[best])) best = b;
    return best;
}

/* A bucket's gradient in the arena goes when the next one is final, or with the run. */
static void plan_gradients(struct pieces *x, struct stop *stops, size_t *count)
{
    aios_plan *plan = x->plan;
    for (int32_t b = next_final(x, 0, -1), next; b >= 0; b = next) {
        next = next_final(x, x->final[b], b);
        int32_t end = next >= 0 ? x->final[next] + 1 : INT32_MAX;
        stops[(*count)++] = (struct stop){x->final[b] + 1, {POINT_GRADIENT_BEGIN, b, x->sink[b], 0}};
        if (!x->sink[b]) continue;
        stops[(*count)++] = (struct stop){end, {POINT_GRADIENT_END, b, x->sink[b], 0}};
        struct buffer *sink = &plan->buffers[x->sink[b]];
        if (instruction_of(plan, end) - 1 > sink->last) sink->last = instruction_of(plan, end) - 1;
    }
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

/* Two rows of points, each in its order, into one. */
static aios_status merge(aios_plan *plan, const struct stop *a, size_t a_count, const struct stop *b, size_t b_count)
{
    while (a_count || b_count) {
        int first = a_count && (!b_count || a->step <= b->step);
        TRY_QUIET(add_point(plan, first ? a++ : b++));
        if (first)
            a_count--;
        else
            b_count--;
    }
    plan->piece_recorders = aios_memory_array(plan->context, plan->point_count + 1, sizeof *plan->piece_recorders);
    if (!plan->piece_recorders) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i <= plan->point_count; i++) plan->piece_recorders[i].off = plan->recorder.off;
    return AIOS_OK;
}

aios_status pieces_plan(aios_plan *plan, int32_t steps)
{
    aios_status status = AIOS_OK;
    struct pieces x = {.plan = plan, .buckets = plan->parameters->bucket_count};
    struct stop *gradients = NULL, *weights = NULL;
    size_t gradient_count = 0, weight_count = 0;
    if (!x.buckets || !plan->training) return AIOS_OK;
    x.final = aios_memory_array(plan->context, x.buckets, sizeof *x.final);
    x.sink = aios_memory_array(plan->context, x.buckets, sizeof *x.sink);
    gradients = aios_memory_array(plan->context, 2 * x.buckets, sizeof *gradients);
    ATTEMPT_QUIET(find_intervals(&x, steps));
    weights = aios_memory_array(plan->context, 2 * x.interval_count + 1, sizeof *weights);
    if (!x.final || !x.sink || !gradients || !weights) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    find_final(&x);
    plan_gradients(&x, gradients, &gradient_count);
    ATTEMPT_QUIET(plan_weights(&x, weights, &weight_count));
    ATTEMPT_QUIET(merge(plan, gradients, gradient_count, weights, weight_count));
done:
    aios_memory_free(plan->context, x.final);
    aios_memory_free(plan->context, x.sink);
    aios_memory_free(plan->context, x.intervals);
    aios_memory_free(plan->context, gradients);
    aios_memory_free(plan->context, weights);
    return status;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

struct piece {
    const aios_plan *plan;
    size_t first, end;
};

static aios_status submit_piece(void *user)
{
    const struct piece *piece = user;
    return plan_submit(piece->plan, piece->first, piece->end);
}

static aios_status run_piece(aios_plan *plan, size_t index, size_t first, size_t end)
{
    struct piece piece = {plan, first, end};
    return end > first ? stream_submit(&plan->piece_recorders[index], plan->stream, submit_piece, &piece, "a piece of a plan") : AIOS_OK;
}

aios_status plan_run_pieces(aios_plan *plan, int idle, point_fn reach, void *user)
{
    size_t at = 0;
    for (size_t i = 0; i < plan->point_count; i++) {
        const struct plan_point *point = &plan->points[i];
        char *memory = point->buffer ? buffer_address(plan, point->buffer) : NULL;
        size_t end = (size_t)point->instruction;
        if (!idle) TRY_QUIET(run_piece(plan, i, at, end));
        if (idle && point->kind == POINT_GRADIENT_BEGIN && memory)
            TRY_QUIET(aios_stream_fill(plan->stream, memory, 0, plan->buffers[point->buffer].size));
        TRY_QUIET(reach(user, point, memory));
        at = end;
    }
    return idle ? AIOS_OK : run_piece(plan, plan->point_count, at, plan->instruction_count);
}
