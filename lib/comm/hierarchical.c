#include "hierarchical.h"

#include "comm_parts.h"

#include <stdio.h>
#include <string.h>

#define SCRATCH_ELEMENTS ((uint64_t)4 << 20) /* of a reduce-scatter's rounds */

struct group {
    comm_group base;
    comm_group *inner, *outer;
    int groups, own, first[COMM_RANKS_MOST + 1]; /* first[g]: of group g, global */
    os_mutex mutex;
    communicator *leader; /* of the outer group, while its rank is there: any rank may break it */
};

struct member {
    communicator base;
    struct group *group;
    communicator *inner, *outer; /* NULL: one rank; not the first rank */
    aios_stream *stream;
    float *scratch; /* of the device, SCRATCH_ELEMENTS; NULL before the first */
};

static struct member *member_of(communicator *c)
{
    return (struct member *)(void *)c;
}

/* ---- failures ------------------------------------------------------------------------------------------------------ */

static void abort_both(communicator *base, aios_status status, const char *message)
{
    struct member *c = member_of(base);
    struct group *g = c->group;
    comm_abort(c->inner, status, message);
    os_mutex_lock(&g->mutex);
    comm_abort(g->leader, status, message);
    os_mutex_unlock(&g->mutex);
}

/* The outer group's word is everybody's. */
static aios_status check_both(communicator *base)
{
    struct member *c = member_of(base);
    struct group *g = c->group;
    os_mutex_lock(&g->mutex);
    aios_status status = g->leader ? comm_check(g->leader) : AIOS_OK;
    os_mutex_unlock(&g->mutex);
    if (status == AIOS_OK && c->inner) status = comm_check(c->inner);
    return status;
}

/* What failed in one of the two breaks the other. */
static aios_status spread(struct member *c, aios_status status)
{
    char text[512];
    if (status == AIOS_OK) return status;
    (void)snprintf(text, sizeof text, "%s", aios_error_message());
    abort_both(&c->base, status, text);
    aios_status first = check_both(&c->base);
    return first != AIOS_OK ? first : FAIL(status, "%s", text);
}

/* ---- collectives ---------------------------------------------------------------------------------------------------- */

static aios_status both_barriers(struct member *c)
{
    if (c->inner) TRY_QUIET(comm_barrier(c->inner));
    if (c->outer) TRY_QUIET(comm_barrier(c->outer));
    return c->inner ? comm_barrier(c->inner) : AIOS_OK;
}

static aios_status barrier(communicator *base)
{
    return spread(member_of(base), both_barriers(member_of(base)));
}

static aios_status reduce_both(struct member *c, float *buffer, uint64_t count)
{
    if (c->inner) TRY_QUIET(comm_all_reduce(c->inner, buffer, count));
    if (c->outer) TRY_QUIET(comm_all_reduce(c->outer, buffer, count));
    return c->inner && c->group->groups > 1 ? comm_broadcast(c->inner, buffer, count, 0) : AIOS_OK;
}

static aios_status all_reduce(communicator *base, float *buffer, uint64_t count)
{
    return spread(member_of(base), reduce_both(member_of(base), buffer, count));
}

/* Of round k: of each rank's part a piece of at most `piece` elements, one behind the other.  starts (ranks + 1): where each is. */
static void lay_out_round(const struct member *c, const uint64_t *offsets, uint64_t piece, uint64_t k, uint64_t *starts)
{
    starts[0] = 0;
    for (int r = 0; r < c->base.ranks; r++) {
        uint64_t size = offsets[r + 1] - offsets[r], left = k * piece < size ? size - k * piece : 0;
        starts[r + 1] = starts[r] + (left < piece ? left : piece);
    }
}

static aios_status move(const struct member *c, float *to, const float *from, uint64_t count)
{
    return count ? aios_stream_copy(c->stream, to, from, count * sizeof *to, AIOS_COPY_DEVICE_TO_DEVICE) : AIOS_OK;
}

/* What is not the rank's own stays as it was, so sums are taken in scratch memory. */
static aios_status scatter_round(struct member *c, float *buffer, const uint64_t *offsets, uint64_t piece, uint64_t k)
{
    const struct group *g = c->group;
    uint64_t starts[COMM_RANKS_MOST + 1], groups[COMM_RANKS_MOST + 1];
    int own = c->base.rank, first = g->first[g->own], last = g->first[g->own + 1];
    lay_out_round(c, offsets, piece, k, starts);
    for (int i = 0; i <= g->groups; i++) groups[i] = starts[g->first[i]];
    for (int r = 0; r < c->base.ranks; r++)
        TRY_QUIET(move(c, c->scratch + starts[r], buffer + offsets[r] + k * piece, starts[r + 1] - starts[r]));
    if (c->inner) TRY_QUIET(comm_all_reduce(c->inner, c->scratch, starts[c->base.ranks]));
    if (c->outer) TRY_QUIET(comm_reduce_scatter(c->outer, c->scratch, groups));
    if (c->inner && g->groups > 1) TRY_QUIET(comm_broadcast(c->inner, c->scratch + starts[first], starts[last] - starts[first], 0));
    return move(c, buffer + offsets[own] + k * piece, c->scratch + starts[own], starts[own + 1] - starts[own]);
}

static aios_status scatter_both(struct member *c, float *buffer, const uint64_t *offsets)
{
    uint64_t piece = SCRATCH_ELEMENTS / (uint64_t)c->base.ranks, most = 0;
    void *memory;
    for (int r = 0; r < c->base.ranks; r++)
        if (offsets[r + 1] - offsets[r] > most) most = offsets[r + 1] - offsets[r];
    if (!c->scratch) {
        TRY_QUIET(aios_device_alloc(aios_stream_device(c->stream), SCRATCH_ELEMENTS * sizeof(float), &memory));
        c->scratch = memory;
    }
    for (uint64_t k = 0; k * piece < most; k++) TRY_QUIET(scatter_round(c, buffer, offsets, piece, k));
    return most ? AIOS_OK : both_barriers(c);
}

static aios_status reduce_scatter(communicator *base, float *buffer, const uint64_t *offsets)
{
    return spread(member_of(base), scatter_both(member_of(base), buffer, offsets));
}

static aios_status gather_both(struct member *c, float *buffer, const uint64_t *offsets)
{
    const struct group *g = c->group;
    uint64_t inner[COMM_RANKS_MOST + 1], outer[COMM_RANKS_MOST + 1];
    int first = g->first[g->own], last = g->first[g->own + 1];
    for (int r = first; r <= last; r++) inner[r - first] = offsets[r] - offsets[first];
    for (int i = 0; i <= g->groups; i++) outer[i] = offsets[g->first[i]];
    if (c->inner) TRY_QUIET(comm_all_gather(c->inner, buffer + offsets[first], inner));
    if (c->outer) TRY_QUIET(comm_all_gather(c->outer, buffer, outer));
    if (!c->inner || g->groups == 1) return AIOS_OK;
    TRY_QUIET(comm_broadcast(c->inner, buffer, offsets[first], 0));
    return comm_broadcast(c->inner, buffer + offsets[last], offsets[c->base.ranks] - offsets[last], 0);
}

static aios_status all_gather(communicator *base, float *buffer, const uint64_t *offsets)
{
    return spread(member_of(base), gather_both(member_of(base), buffer, offsets));
}

static aios_status broadcast_both(struct member *c, float *buffer, uint64_t count, int root)
{
    const struct group *g = c->group;
    int of = 0; /* the root's group */
    while (root >= g->first[of + 1]) of++;
    if (c->inner && of == g->own) TRY_QUIET(comm_broadcast(c->inner, buffer, count, root - g->first[of]));
    if (c->outer) TRY_QUIET(comm_broadcast(c->outer, buffer, count, of));
    return c->inner && of != g->own ? comm_broadcast(c->inner, buffer, count, 0) : AIOS_OK;
}

static aios_status broadcast(communicator *base, float *buffer, uint64_t count, int root)
{
    return spread(member_of(base), broadcast_both(member_of(base), buffer, count, root));
}

static aios_status sum_both(struct member *c, double *values, int count)
{
    int is_first = c->base.rank == c->group->first[c->group->own];
    if (c->inner) TRY_QUIET(comm_sum_numbers(c->inner, values, count));
    if (c->outer) TRY_QUIET(comm_sum_numbers(c->outer, values, count));
    if (!c->inner || c->group->groups == 1) return AIOS_OK;
    for (int i = 0; i < count && !is_first; i++) values[i] = 0;
    return comm_sum_numbers(c->inner, values, count);
}

static aios_status sum_numbers(communicator *base, double *values, int count)
{
    return spread(member_of(base), sum_both(member_of(base), values, count));
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static void leave(communicator *base)
{
    struct member *c = member_of(base);
    struct group *g = c->group;
    if (c->outer) {
        os_mutex_lock(&g->mutex);
        g->leader = NULL;
        os_mutex_unlock(&g->mutex);
        comm_leave(c->outer);
    }
    comm_leave(c->inner);
    if (c->scratch) (void)aios_stream_synchronize(c->stream);
    aios_device_free(aios_stream_device(c->stream), c->scratch);
    aios_memory_free(g->base.context, c);
}

static const comm_table table = {
    .leave = leave,
    .abort = abort_both,
    .check = check_both,
    COMM_COLLECTIVES,
};

static aios_status join_both(struct member *c, const char *name)
{
    struct group *g = c->group;
    int rank = c->base.rank - g->first[g->own];
    if (g->inner) TRY_QUIET(comm_join(g->inner, rank, name, c->stream, &c->inner));
    if (!g->outer || rank != 0) return AIOS_OK;
    aios_status status = comm_join(g->outer, g->own, name, c->stream, &c->outer);
    if (status != AIOS_OK) {
        char text[512];
        (void)snprintf(text, sizeof text, "%s", aios_error_message());
        comm_abort(c->inner, status, text); /* the others of its group needn't wait */
        return FAIL(status, "%s", text);
    }
    os_mutex_lock(&g->mutex);
    g->leader = c->outer;
    os_mutex_unlock(&g->mutex);
    return AIOS_OK;
}

static aios_status join(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    struct group *g = (struct group *)(void *)base;
    if (rank < g->first[g->own] || rank >= g->first[g->own + 1])
        return FAIL(AIOS_INVALID_ARGUMENT, "rank %d of group %d: it has ranks %d to %d", rank, g->own, g->first[g->own],
                    g->first[g->own + 1] - 1);
    struct member *c = aios_new(base->context, struct member);
    if (!c) return AIOS_OUT_OF_MEMORY;
    *c = (struct member){.base = {&table, rank, base->ranks, name}, .group = g, .stream = stream};
    return comm_end_join(&c->base, join_both(c, name), joined);
}

static void destroy_group(comm_group *base)
{
    struct group *g = (struct group *)(void *)base;
    comm_group_destroy(g->inner);
    comm_group_destroy(g->outer);
    os_mutex_destroy(&g->mutex);
    aios_memory_free(base->context, g);
}

static aios_status check_layout(const comm_group *inner, const comm_group *outer, const int *sizes, int groups, int own)
{
    int ranks = 0;
    if (groups < 1 || groups > COMM_RANKS_MOST || own < 0 || own >= groups)
        return FAIL(AIOS_INVALID_ARGUMENT, "group %d of %d: 1 to %d groups are allowed", own, groups, COMM_RANKS_MOST);
    for (int i = 0; i < groups; i++) {
        if (sizes[i] < 1 || sizes[i] > COMM_RANKS_MOST - ranks)
            return FAIL(AIOS_INVALID_ARGUMENT, "group %d has %d ranks: at least 1, and %d in all, are allowed", i, sizes[i],
                        COMM_RANKS_MOST);
        ranks += sizes[i];
    }
    if ((inner ? inner->ranks : 1) != sizes[own] || (outer ? outer->ranks : 1) != groups)
        return FAIL(AIOS_INVALID_ARGUMENT, "an inner communicator of %d ranks and an outer one of %d for %d ranks in group %d of %d",
                    inner ? inner->ranks : 1, outer ? outer->ranks : 1, sizes[own], own, groups);
    return AIOS_OK;
}

aios_status comm_hierarchical_create(aios_context *context, comm_group *inner, comm_group *outer, const int *sizes, int groups, int own,
                                     comm_group **group)
{
    static const comm_group_table group_table = {.destroy = destroy_group, .join = join};
    *group = NULL;
    TRY_QUIET(check_layout(inner, outer, sizes, groups, own));
    struct group *g = aios_new(context, struct group);
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->inner = inner;
    g->outer = outer;
    g->groups = groups;
    g->own = own;
    for (int i = 0; i < groups; i++) g->first[i + 1] = g->first[i] + sizes[i];
    g->base = (comm_group){&group_table, context, g->first[groups]};
    os_mutex_init(&g->mutex);
    *group = &g->base;
    return AIOS_OK;
}
