/* Memory planning: big buffers first, each at the lowest place where it meets nothing that lives at the same time. */
#include "plan.h"

#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 256

struct placed {
    const struct buffer *buffer;
    uint64_t begin, end;
};

static int bigger_first(const void *a, const void *b)
{
    const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x < y ? -1 : x > y; /* addresses follow the order of creation: the plan is the same every time */
}

static int by_begin(const void *a, const void *b)
{
    uint64_t x = ((const struct placed *)a)->begin, y = ((const struct placed *)b)->begin;
    return x < y ? -1 : x > y;
}

static int together(const struct buffer *a, const struct buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest gap among those that live at the same time, which are sorted by their beginning. */
static uint64_t lowest_gap(const struct placed *busy, size_t count, uint64_t size)
{
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (busy[i].begin >= at && busy[i].begin - at >= size) return at;
        if (busy[i].end > at) at = busy[i].end;
    }
    return at;
}

static void measure_workspace(aios_plan *plan, const struct placed *placed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        for (size_t j = 0; placed[i].buffer->scratch && j < count; j++)
            if (placed[j].buffer->scratch && placed[j].buffer->first <= placed[i].buffer->first &&
                placed[i].buffer->first <= placed[j].buffer->last)
                sum += placed[j].buffer->size;
        if (sum > plan->workspace) plan->workspace = sum;
    }
}

aios_status arena_place(aios_plan *plan)
{
    aios_status status = AIOS_OK;
    size_t count = 0;
    struct buffer **order = aios_memory_array(plan->context, plan->buffer_count, sizeof *order);
    struct placed *placed = aios_memory_array(plan->context, plan->buffer_count, sizeof *placed);
    struct placed *busy = aios_memory_array(plan->context, plan->buffer_count, sizeof *busy);
    if (!order || !placed || !busy) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    for (size_t i = 1; i < plan->buffer_count; i++)
        if (!plan->buffers[i].fixed && plan->buffers[i].first >= 0) order[count++] = &plan->buffers[i];
    if (count) qsort(order, count, sizeof *order, bigger_first);
    for (size_t i = 0; i < count; i++) {
        size_t at_once = 0;
        uint64_t size = u64_align(order[i]->size, ALIGNMENT);
        for (size_t j = 0; j < i; j++)
            if (together(placed[j].buffer, order[i])) busy[at_once++] = placed[j];
        if (at_once) qsort(busy, at_once, sizeof *busy, by_begin);
        order[i]->offset = lowest_gap(busy, at_once, size);
        placed[i] = (struct placed){order[i], order[i]->offset, order[i]->offset + size};
        if (placed[i].end > plan->arena_size) plan->arena_size = placed[i].end;
        plan->unshared += size;
    }
    measure_workspace(plan, placed, count);
done:
    aios_memory_free(plan->context, order);
    aios_memory_free(plan->context, placed);
    aios_memory_free(plan->context, busy);
    return status;
}
