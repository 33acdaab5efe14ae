#include "mixed.h"

#include "comm_parts.h"
#include "hierarchical.h"
#include "vendor.h"

#include <stdio.h>

/* Whoever waits for the first rank of its group waits as long as that waits for other groups: longer than the meeting of all, which has
 * the deadline and names who did not come to it. */
#define PATIENCE 4

struct group {
    comm_group base;
    comm_group *all;    /* every rank meets here first */
    comm_group *outer;  /* of the groups' first ranks */
    comm_group **parts; /* (groups): hierarchical, over outer */
    int groups, first[COMM_RANKS_MOST + 1];
};

struct member {
    communicator base;
    struct group *group;
    communicator *all, *part;
};

static struct member *member_of(communicator *c)
{
    return (struct member *)(void *)c;
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void abort_both(communicator *base, aios_status status, const char *message)
{
    struct member *m = member_of(base);
    comm_abort(m->all, status, message);
    comm_abort(m->part, status, message);
}

static aios_status check(communicator *base)
{
    return comm_check(member_of(base)->all);
}

/* The first failure of the whole process, with who had it. */
static aios_status spread(struct member *m, aios_status status)
{
    char text[512];
    if (status == AIOS_OK) return status;
    (void)snprintf(text, sizeof text, "%s", aios_error_message());
    abort_both(&m->base, status, text);
    return comm_check(m->all);
}

/* ---- collectives -------------------------------------------------------------------------------------------------- */

static aios_status barrier(communicator *base)
{
    return spread(member_of(base), comm_barrier(member_of(base)->all));
}

static aios_status sum_numbers(communicator *base, double *values, int count)
{
    return spread(member_of(base), comm_sum_numbers(member_of(base)->all, values, count));
}

static aios_status all_reduce(communicator *base, float *buffer, uint64_t count)
{
    TRY_QUIET(barrier(base));
    return spread(member_of(base), comm_all_reduce(member_of(base)->part, buffer, count));
}

static aios_status reduce_scatter(communicator *base, float *buffer, const uint64_t *offsets)
{
    TRY_QUIET(barrier(base));
    return spread(member_of(base), comm_reduce_scatter(member_of(base)->part, buffer, offsets));
}

static aios_status all_gather(communicator *base, float *buffer, const uint64_t *offsets)
{
    TRY_QUIET(barrier(base));
    return spread(member_of(base), comm_all_gather(member_of(base)->part, buffer, offsets));
}

static aios_status broadcast(communicator *base, float *buffer, uint64_t count, int root)
{
    TRY_QUIET(barrier(base));
    return spread(member_of(base), comm_broadcast(member_of(base)->part, buffer, count, root));
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static void leave(communicator *base)
{
    struct member *m = member_of(base);
    comm_leave(m->part);
    comm_leave(m->all);
    aios_memory_free(m->group->base.context, m);
}

static aios_status join_both(struct member *m, aios_stream *stream)
{
    const struct group *g = m->group;
    int of = 0;
    while (m->base.rank >= g->first[of + 1]) of++;
    TRY_QUIET(comm_join(g->all, m->base.rank, m->base.name, stream, &m->all));
    return comm_join(g->parts[of], m->base.rank, m->base.name, stream, &m->part);
}

static aios_status join(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    static const comm_table table = {
        .leave = leave,
        .abort = abort_both,
        .check = check,
        COMM_COLLECTIVES,
    };
    struct member *m = aios_new(base->context, struct member);
    if (!m) return AIOS_OUT_OF_MEMORY;
    *m = (struct member){.base = {&table, rank, base->ranks, name}, .group = (struct group *)(void *)base};
    return comm_end_join(&m->base, join_both(m, stream), joined);
}

static void destroy_group(comm_group *base)
{
    struct group *g = (struct group *)(void *)base;
    for (int i = 0; g->parts && i < g->groups; i++) comm_group_destroy(g->parts[i]);
    comm_group_destroy(g->outer);
    comm_group_destroy(g->all);
    aios_memory_free(base->context, g->parts);
    aios_memory_free(base->context, g);
}

/* The outer group as each part has it: it stays when the part goes. */
struct lent {
    comm_group base;
    comm_group *outer;
};

static aios_status join_lent(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    return comm_join(((struct lent *)(void *)base)->outer, rank, name, stream, joined);
}

static void destroy_lent(comm_group *base)
{
    aios_memory_free(base->context, base);
}

static aios_status lend(comm_group *outer, comm_group **lent)
{
    static const comm_group_table group_table = {.destroy = destroy_lent, .join = join_lent};
    struct lent *made = aios_new(outer->context, struct lent);
    *lent = NULL;
    if (!made) return AIOS_OUT_OF_MEMORY;
    *made = (struct lent){{&group_table, outer->context, outer->ranks}, outer};
    *lent = &made->base;
    return AIOS_OK;
}

static aios_status make_inner(aios_context *context, const comm_options *options, int demanded, comm_group **inner)
{
    comm_group *host;
    TRY_QUIET(comm_group_create(context, options, &host));
    return comm_vendor_create(context, host, options->deadline, demanded, inner);
}

static aios_status make_part(struct group *g, const comm_options *options, const int *sizes, int i, int by_vendor, int demanded)
{
    comm_options patient = *options;
    comm_group *inner = NULL, *lent = NULL;
    aios_context *context = g->base.context;
    patient.ranks = sizes[i];
    patient.deadline *= PATIENCE;
    aios_status status = by_vendor ? make_inner(context, &patient, demanded, &inner) : AIOS_OK;
    if (status == AIOS_OK) status = lend(g->outer, &lent);
    if (status == AIOS_OK) status = comm_hierarchical_create(context, inner, lent, sizes, g->groups, i, &g->parts[i]);
    if (status == AIOS_OK) return status;
    comm_group_destroy(inner);
    comm_group_destroy(lent);
    return status;
}

static aios_status make_parts(struct group *g, const comm_options *options, const int *sizes, const int *by_vendor, int demanded)
{
    comm_options between = *options;
    between.ranks = g->groups;
    TRY_QUIET(comm_group_create(g->base.context, options, &g->all));
    TRY_QUIET(comm_group_create(g->base.context, &between, &g->outer));
    g->parts = aios_memory_array(g->base.context, (size_t)g->groups, sizeof *g->parts);
    if (!g->parts) return AIOS_OUT_OF_MEMORY;
    for (int i = 0; i < g->groups; i++) TRY_QUIET(make_part(g, options, sizes, i, by_vendor[i], demanded));
    return AIOS_OK;
}

aios_status comm_mixed_create(aios_context *context, const comm_options *options, const int *sizes, const int *by_vendor, int groups,
                              int demanded, comm_group **group)
{
    static const comm_group_table group_table = {.destroy = destroy_group, .join = join};
    struct group *g = aios_new(context, struct group);
    *group = NULL;
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->base = (comm_group){&group_table, context, options->ranks};
    g->groups = groups;
    for (int i = 0; i < groups; i++) g->first[i + 1] = g->first[i] + sizes[i];
    aios_status status = make_parts(g, options, sizes, by_vendor, demanded);
    if (status == AIOS_OK)
        *group = &g->base;
    else
        destroy_group(&g->base);
    return status;
}
