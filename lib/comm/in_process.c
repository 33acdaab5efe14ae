/* The ranks of one process.  A collective is cut into chunks; each rank shows the others a window of each chunk: its device's own memory
 * where the host can reach it, else staging memory that the device copies to and from.  Of each chunk a rank does its share, reading all
 * windows and writing those that need it, and meets the others once a chunk.  While one chunk is added up, the next comes from the
 * devices and the last goes back. */
#include "comm_parts.h"
#include "stage.h"
#include "sum.h"

#include <stdio.h>
#include <string.h>

#define SLOTS         3 /* of staging memory: coming, being added up, going */
#define CHUNK_DEFAULT ((uint64_t)2 << 20)
#define SPINS         2000 /* looks at the others before the thread sleeps */

enum kind { BARRIER, ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, NUMBERS };
static const char *const kind_names[] = {"barrier", "all-reduce", "reduce-scatter", "all-gather", "broadcast", "sum of numbers"};

/* What a rank asks of the others; written before a meeting, read after it. */
struct post {
    int kind, root;
    uint64_t count;
    uint64_t signature; /* of the offsets */
    float *direct;      /* NULL: staged */
    const double *numbers;
};

struct group {
    comm_group base;
    comm_options options;
    struct member **members; /* by rank */
    os_mutex mutex;
    os_condition condition;
    atomic_int arrived;
    atomic_uint generation;
    atomic_int looking; /* ranks that read what others show */
    comm_failure failure;
};

struct member {
    communicator base;
    struct group *group;
    aios_stream *stream;
    comm_stage stage;
    struct post post;
    double numbers[COMM_NUMBERS_MOST];
};

static struct member *member_of(communicator *c)
{
    return (struct member *)(void *)c;
}

/* ---- breaking ---------------------------------------------------------------------------------------------------- */

static void break_group(struct group *g, aios_status status, const char *message)
{
    comm_failure_set(&g->failure, status, message);
    os_mutex_lock(&g->mutex);
    os_condition_broadcast(&g->condition);
    os_mutex_unlock(&g->mutex);
}

static void abort_group(communicator *c, aios_status status, const char *message)
{
    break_group(member_of(c)->group, status, message);
}

static aios_status check_group(communicator *c)
{
    struct group *g = member_of(c)->group;
    return comm_failed(&g->failure) ? comm_failure_get(&g->failure) : AIOS_OK;
}

/* The rank's own failure becomes everybody's; the first one wins. */
static aios_status fail_all(struct member *c, aios_status status)
{
    if (status == AIOS_OK) return status;
    (void)comm_abort_own(&c->base, status);
    return comm_failure_get(&c->group->failure);
}

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

static void say_missing(struct member *c, char *text, size_t size)
{
    const struct group *g = c->group;
    (void)snprintf(text, size, "%d of %d ranks came to the %s of rank %d (%s) within %g s: the others' devices hang or their threads ended",
                   atomic_load(&g->arrived), g->options.ranks, kind_names[c->post.kind], c->base.rank, c->base.name, g->options.deadline);
}

static aios_status wait_asleep(struct member *c, unsigned generation)
{
    struct group *g = c->group;
    double until = g->options.deadline > 0 ? os_now() + g->options.deadline : 0;
    char text[512];
    int late = 0;
    os_mutex_lock(&g->mutex);
    while (atomic_load(&g->generation) == generation && !comm_failed(&g->failure) && !late) {
        if (until > 0)
            late = !os_condition_wait_for(&g->condition, &g->mutex, until - os_now()) && os_now() >= until;
        else
            os_condition_wait(&g->condition, &g->mutex);
    }
    int met = atomic_load(&g->generation) != generation; /* whatever broke afterwards */
    os_mutex_unlock(&g->mutex);
    if (met) return AIOS_OK;
    if (late) {
        say_missing(c, text, sizeof text);
        break_group(g, AIOS_TIMEOUT, text);
    }
    return comm_failure_get(&g->failure);
}

/* Returns when every rank has called it; what they wrote before is then seen. */
static aios_status meet(struct member *c)
{
    struct group *g = c->group;
    unsigned generation = atomic_load(&g->generation);
    if (comm_failed(&g->failure)) return comm_failure_get(&g->failure);
    if (atomic_fetch_add(&g->arrived, 1) + 1 == g->options.ranks) {
        atomic_store(&g->arrived, 0);
        os_mutex_lock(&g->mutex);
        atomic_fetch_add(&g->generation, 1);
        os_condition_broadcast(&g->condition);
        os_mutex_unlock(&g->mutex);
        return AIOS_OK;
    }
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&g->generation) != generation) return AIOS_OK;
        os_cpu_relax();
    }
    return wait_asleep(c, generation);
}

/* Others' posts and windows are looked at only while the group is whole, and who fails waits in settle: nothing is freed under a reader. */
static int begin_looking(struct group *g)
{
    atomic_fetch_add(&g->looking, 1);
    if (!comm_failed(&g->failure)) return 1;
    atomic_fetch_sub(&g->looking, 1);
    return 0;
}

static void end_looking(struct group *g)
{
    atomic_fetch_sub(&g->looking, 1);
}

static aios_status settle(struct group *g, aios_status status)
{
    while (status != AIOS_OK && atomic_load(&g->looking) > 0) os_thread_yield();
    return status;
}

/* All ranks must want the same. */
static aios_status check_posts(struct member *c)
{
    const struct group *g = c->group;
    const struct post *own = &c->post;
    for (int r = 0; r < g->options.ranks; r++) {
        const struct post *other = &g->members[r]->post;
        if (other->kind == own->kind && other->count == own->count && other->root == own->root && other->signature == own->signature)
            continue;
        return FAIL(AIOS_WRONG_STATE, "it calls %s of %llu elements with root %d, and rank %d (%s) %s of %llu elements with root %d%s",
                    kind_names[own->kind], (unsigned long long)own->count, own->root, r, g->members[r]->base.name, kind_names[other->kind],
                    (unsigned long long)other->count, other->root, other->count == own->count ? " and other parts" : "");
    }
    return AIOS_OK;
}

static aios_status post(struct member *c, struct post p)
{
    struct group *g = c->group;
    if (comm_failed(&g->failure)) return comm_failure_get(&g->failure);
    c->post = p;
    TRY_QUIET(meet(c));
    if (!begin_looking(g)) return comm_failure_get(&g->failure);
    aios_status status = check_posts(c);
    end_looking(g);
    return fail_all(c, status);
}

/* ---- a chunk ----------------------------------------------------------------------------------------------------- */

struct range {
    uint64_t from, to; /* elements of the buffer */
};

static struct range cut(struct range a, struct range b)
{
    struct range r = {a.from > b.from ? a.from : b.from, a.to < b.to ? a.to : b.to};
    if (r.to < r.from) r.to = r.from;
    return r;
}

struct collective {
    struct member *c;
    float *buffer;
    const uint64_t *offsets;
    uint64_t count, chunk; /* elements */
};

static struct range chunk_of(const struct collective *x, uint64_t k)
{
    return cut((struct range){k * x->chunk, (k + 1) * x->chunk}, (struct range){0, x->count});
}

static struct range part_of(const struct collective *x, int rank)
{
    return (struct range){x->offsets[rank], x->offsets[rank + 1]};
}

/* What the others need of this rank's part of the chunk. */
static struct range coming(const struct collective *x, struct range chunk)
{
    const struct member *c = x->c;
    if (c->post.kind == ALL_GATHER) return cut(chunk, part_of(x, c->base.rank));
    if (c->post.kind == BROADCAST && c->base.rank != c->post.root) return (struct range){chunk.from, chunk.from};
    return chunk;
}

/* What the rank gets of the chunk: [0] and [1]. */
static void going(const struct collective *x, struct range chunk, struct range to[2])
{
    const struct member *c = x->c;
    struct range none = {chunk.from, chunk.from};
    to[0] = chunk;
    to[1] = none;
    if (c->post.kind == REDUCE_SCATTER) to[0] = cut(chunk, part_of(x, c->base.rank));
    if (c->post.kind == BROADCAST && c->base.rank == c->post.root) to[0] = none;
    if (c->post.kind == ALL_GATHER) {
        to[0] = cut(chunk, (struct range){0, x->offsets[c->base.rank]});
        to[1] = cut(chunk, (struct range){x->offsets[c->base.rank + 1], x->count});
    }
}

/* Where rank r shows element `at` of chunk k. */
static float *window(const struct collective *x, int r, uint64_t k, uint64_t at)
{
    const struct member *other = x->c->group->members[r];
    if (other->post.direct) return other->post.direct + at;
    return other->stage.memory + (k % SLOTS) * x->chunk + (at - k * x->chunk);
}

static aios_status copy_in(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    struct range r = coming(x, chunk_of(x, k));
    if (c->post.direct) return AIOS_OK;
    TRY_QUIET(stage_claim(&c->stage, k));
    TRY_QUIET(stage_bring(&c->stage, window(x, c->base.rank, k, r.from), x->buffer + r.from, r.to - r.from));
    return stage_brought(&c->stage, k);
}

static aios_status copy_out(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    struct range r[2];
    if (c->post.direct) return AIOS_OK;
    going(x, chunk_of(x, k), r);
    for (int i = 0; i < 2; i++)
        TRY_QUIET(stage_send(&c->stage, x->buffer + r[i].from, window(x, c->base.rank, k, r[i].from), r[i].to - r[i].from));
    return stage_sent(&c->stage, k);
}

/* Sums the windows' elements [r) in the order of the ranks and writes them to the windows of ranks [first, last). */
static void sum_windows(const struct collective *x, uint64_t k, struct range r, int first, int last)
{
    float *windows[COMM_RANKS_MOST];
    int ranks = x->c->base.ranks;
    if (r.to == r.from) return;
    for (int other = 0; other < ranks; other++) windows[other] = window(x, other, k, r.from);
    comm_sum(windows + first, last - first, windows, ranks, r.to - r.from);
}

static void copy_windows(const struct collective *x, uint64_t k, int from, struct range r)
{
    int rank = x->c->base.rank;
    if (from != rank && r.to > r.from) memcpy(window(x, rank, k, r.from), window(x, from, k, r.from), (r.to - r.from) * sizeof(float));
}

/* The rank's share of chunk k. */
static void work(const struct collective *x, uint64_t k)
{
    const struct member *c = x->c;
    struct range chunk = chunk_of(x, k);
    uint64_t size = chunk.to - chunk.from, ranks = (uint64_t)c->group->options.ranks, rank = (uint64_t)c->base.rank;
    switch (c->post.kind) {
    case ALL_REDUCE:
        sum_windows(x, k, (struct range){chunk.from + size * rank / ranks, chunk.from + size * (rank + 1) / ranks}, 0, (int)ranks);
        break;
    case REDUCE_SCATTER: sum_windows(x, k, cut(chunk, part_of(x, c->base.rank)), c->base.rank, c->base.rank + 1); break;
    case ALL_GATHER:
        for (int from = 0; from < (int)ranks; from++) copy_windows(x, k, from, cut(chunk, part_of(x, from)));
        break;
    default: copy_windows(x, k, c->post.root, chunk);
    }
}

static aios_status do_share(const struct collective *x, uint64_t k)
{
    struct group *g = x->c->group;
    if (!begin_looking(g)) return comm_failure_get(&g->failure);
    work(x, k);
    end_looking(g);
    return AIOS_OK;
}

/* Meeting k says: everybody shows chunk k, and has done its share of chunk k - 1. */
static aios_status run_chunks(const struct collective *x)
{
    struct member *c = x->c;
    uint64_t chunks = (x->count + x->chunk - 1) / x->chunk;
    TRY_QUIET(fail_all(c, copy_in(x, 0)));
    for (uint64_t k = 0; k <= chunks; k++) {
        if (k + 1 < chunks) TRY_QUIET(fail_all(c, copy_in(x, k + 1)));
        if (k < chunks && !c->post.direct) TRY_QUIET(fail_all(c, stage_await(&c->stage, k)));
        TRY_QUIET(meet(c));
        if (k > 0) TRY_QUIET(fail_all(c, copy_out(x, k - 1)));
        if (k < chunks) TRY_QUIET(do_share(x, k));
    }
    return AIOS_OK;
}

/* ---- collectives -------------------------------------------------------------------------------------------------- */

static aios_status run_parts(struct member *c, int kind, float *buffer, uint64_t count, const uint64_t *offsets, int root)
{
    struct group *g = c->group;
    uint64_t signature = 0;
    for (int r = 0; offsets && r <= g->options.ranks; r++) signature = signature * 1099511628211u ^ offsets[r];
    if (!c->stage.memory) TRY_QUIET(fail_all(c, aios_stream_synchronize(c->stream)));
    TRY_QUIET(post(c, (struct post){kind, root, count, signature, c->stage.memory ? NULL : buffer, NULL}));
    if (count == 0) return meet(c);
    struct collective x = {c, buffer, offsets, count, count};
    for (int r = 0; r < g->options.ranks; r++)
        if (g->members[r]->stage.memory) x.chunk = g->options.chunk_bytes / sizeof(float);
    TRY_QUIET(run_chunks(&x));
    if (c->stage.memory) TRY_QUIET(fail_all(c, stage_end(&c->stage, (count + x.chunk - 1) / x.chunk)));
    return AIOS_OK;
}

static aios_status run(struct member *c, int kind, float *buffer, uint64_t count, const uint64_t *offsets, int root)
{
    return settle(c->group, run_parts(c, kind, buffer, count, offsets, root));
}

static aios_status post_and_meet(struct member *c, struct post p)
{
    TRY_QUIET(post(c, p));
    return meet(c); /* nobody posts anew before all have looked */
}

static aios_status barrier(communicator *base)
{
    struct member *c = member_of(base);
    return settle(c->group, post_and_meet(c, (struct post){.kind = BARRIER}));
}

static aios_status all_reduce(communicator *c, float *buffer, uint64_t count)
{
    return run(member_of(c), ALL_REDUCE, buffer, count, NULL, 0);
}

static aios_status reduce_scatter(communicator *c, float *buffer, const uint64_t *offsets)
{
    return run(member_of(c), REDUCE_SCATTER, buffer, offsets[c->ranks], offsets, 0);
}

static aios_status all_gather(communicator *c, float *buffer, const uint64_t *offsets)
{
    return run(member_of(c), ALL_GATHER, buffer, offsets[c->ranks], offsets, 0);
}

static aios_status broadcast(communicator *c, float *buffer, uint64_t count, int root)
{
    return run(member_of(c), BROADCAST, buffer, count, NULL, root);
}

static aios_status add_numbers(struct member *c, double *values, int count)
{
    struct group *g = c->group;
    TRY_QUIET(post(c, (struct post){.kind = NUMBERS, .count = (uint64_t)count}));
    if (!begin_looking(g)) return comm_failure_get(&g->failure);
    for (int i = 0; i < count; i++) {
        values[i] = 0;
        for (int r = 0; r < g->options.ranks; r++) values[i] += g->members[r]->numbers[i];
    }
    end_looking(g);
    return meet(c);
}

static aios_status sum_numbers(communicator *base, double *values, int count)
{
    struct member *c = member_of(base);
    memcpy(c->numbers, values, (size_t)count * sizeof *values);
    return settle(c->group, add_numbers(c, values, count));
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static void leave(communicator *base)
{
    struct member *c = member_of(base);
    char text[256];
    (void)snprintf(text, sizeof text, "rank %d (%s) left the group", base->rank, base->name);
    if (c->group->members[base->rank] == c) break_group(c->group, AIOS_WRONG_STATE, text); /* for those who wait for it */
    stage_close(&c->stage);
    aios_memory_free(c->group->base.context, c);
}

static const comm_table table = {
    .leave = leave,
    .abort = abort_group,
    .check = check_group,
    COMM_COLLECTIVES,
};

static aios_status join(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    struct group *group = (struct group *)(void *)base;
    struct member *c = aios_new(base->context, struct member);
    if (!c) return AIOS_OUT_OF_MEMORY;
    *c = (struct member){.base = {&table, rank, base->ranks, name}, .group = group, .stream = stream};
    aios_status status = stage_open(&c->stage, stream, group->options.always_stage, SLOTS, group->options.chunk_bytes);
    if (status != AIOS_OK) {
        leave(&c->base);
        return aios_error_add_frame(status, "joining as rank %d (%s)", rank, name);
    }
    os_mutex_lock(&group->mutex);
    int taken = group->members[rank] != NULL;
    if (!taken) group->members[rank] = c;
    os_mutex_unlock(&group->mutex);
    if (taken) {
        leave(&c->base);
        return FAIL(AIOS_ALREADY_EXISTS, "rank %d (%s) has joined before", rank, name);
    }
    *joined = &c->base;
    return AIOS_OK;
}

static void destroy_group(comm_group *base)
{
    struct group *g = (struct group *)(void *)base;
    comm_failure_end(&g->failure);
    os_condition_destroy(&g->condition);
    os_mutex_destroy(&g->mutex);
    aios_memory_free(base->context, g->members);
    aios_memory_free(base->context, g);
}

aios_status comm_group_create(aios_context *context, const comm_options *options, comm_group **group)
{
    static const comm_group_table group_table = {.destroy = destroy_group, .join = join};
    *group = NULL;
    if (options->ranks < 1 || options->ranks > COMM_RANKS_MOST)
        return FAIL(AIOS_INVALID_ARGUMENT, "a group of %d ranks: 1 to %d are allowed", options->ranks, COMM_RANKS_MOST);
    struct group *g = aios_new(context, struct group);
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->base = (comm_group){&group_table, context, options->ranks};
    g->options = *options;
    if (!g->options.chunk_bytes) g->options.chunk_bytes = CHUNK_DEFAULT;
    g->options.chunk_bytes = (g->options.chunk_bytes + 63) / 64 * 64;
    os_mutex_init(&g->mutex);
    os_condition_init(&g->condition);
    comm_failure_init(&g->failure);
    g->members = aios_memory_array(context, (size_t)options->ranks, sizeof *g->members);
    if (!g->members) {
        destroy_group(&g->base);
        return AIOS_OUT_OF_MEMORY;
    }
    *group = &g->base;
    return AIOS_OK;
}
