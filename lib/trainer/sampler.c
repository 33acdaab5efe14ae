#include "sampler.h"

#include <math.h>

aios_status sampler_init(struct sampler *sampler, aios_context *context, int32_t count)
{
    sampler->count = count;
    sampler->heap = aios_memory_array(context, (size_t)count, sizeof *sampler->heap);
    return sampler->heap ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

void sampler_free(struct sampler *sampler, aios_context *context)
{
    aios_memory_free(context, sampler->heap);
    sampler->heap = NULL;
}

static int before(const struct candidate *a, const struct candidate *b)
{
    return a->probability > b->probability || (a->probability == b->probability && a->id < b->id);
}

/* The heap's root is the likeliest. */
static void sift_down(struct candidate *heap, int32_t size, int32_t at)
{
    struct candidate moving = heap[at];
    for (int32_t child = 2 * at + 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &moving)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* Moves the `most` likeliest, or as many as hold `enough`, to the array's end, the likeliest last; returns how many. */
static int32_t take_likeliest(struct candidate *heap, int32_t size, int32_t most, double enough)
{
    double sum = 0;
    int32_t taken = 0, left = size;
    for (int32_t at = size / 2 - 1; at >= 0; at--) sift_down(heap, size, at);
    while (taken < most && (taken == 0 || sum < enough)) {
        struct candidate top = heap[0];
        heap[0] = heap[--left];
        heap[left] = top;
        sum += top.probability;
        taken++;
        if (left > 0) sift_down(heap, left, 0);
    }
    return taken;
}

static int32_t draw(const struct candidate *from, int32_t count, double total, rng *random)
{
    double point = rng_uniform(random) * total;
    int32_t last = from[0].id;
    for (int32_t i = 0; i < count; i++) {
        if (from[i].probability <= 0) continue;
        last = from[i].id;
        point -= from[i].probability;
        if (point < 0) return last;
    }
    return last; /* rounding used up the whole sum */
}

static double sum_of(const struct candidate *from, int32_t count)
{
    double sum = 0;
    for (int32_t i = 0; i < count; i++) sum += from[i].probability;
    return sum;
}

aios_status sampler_choose(struct sampler *sampler, const float *logits, rng *random, int32_t *id)
{
    int32_t best = -1, n = sampler->count, kept = n;
    struct candidate *from = sampler->heap;
    for (int32_t i = 0; i < n; i++)
        if (logits[i] <= INFINITY && (best < 0 || logits[i] > logits[best])) best = i;
    if (best < 0 || !isfinite(logits[best]))
        return FAIL(AIOS_NOT_FINITE, "none of the %d logits is a finite largest one: the model's weights hold NaN or infinity", n);
    *id = best;
    if (sampler->temperature <= 0) return AIOS_OK;
    for (int32_t i = 0; i < n; i++) {
        double p = exp(((double)logits[i] - (double)logits[best]) / sampler->temperature);
        from[i] = (struct candidate){p <= 1.0 ? p : 0.0, i};
    }
    if (sampler->top_k > 0 && sampler->top_k < n) {
        kept = take_likeliest(from, n, (int32_t)sampler->top_k, INFINITY);
        from += n - kept;
    }
    if (sampler->top_p < 1.0) {
        int32_t all = kept;
        kept = take_likeliest(from, all, all, sampler->top_p * sum_of(from, all));
        from += all - kept;
    }
    *id = draw(from, kept, sum_of(from, kept), random);
    return AIOS_OK;
}
