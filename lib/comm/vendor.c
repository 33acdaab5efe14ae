/* The ranks of one vendor's devices, by NCCL or RCCL.
 *
 * A rank that never comes, fails or is gone lets the others' devices wait for ever inside such a library.  So before each collective the
 * ranks meet on the host, where a deadline names who is missing, with nothing of their own left on the stream; while it runs, each rank's
 * thread looks whether another has failed, and then aborts its own part. */
#include "vendor.h"

#include "comm_parts.h"
#include "gpu/collectives.h"
#include "gpu/device.h"

#include <string.h>

#define YIELDS        2000    /* looks at the device before the thread sleeps between them */
#define SLEEP_SECONDS 0.00005 /* a small part of what a collective of over a thousandth of a second takes */

enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST };
static const char *const kind_names[] = {"all-reduce", "reduce-scatter", "all-gather", "broadcast"};

struct group {
    comm_group base;
    comm_group *host;
    double deadline;
    int demanded;
    comm_failure refusal; /* of the first rank of this process that could not be made */
    atomic_int inside;    /* ranks whose devices may read the others' buffers */
    atomic_int has_told;  /* that the host does it */
};

enum state { NEW, CONNECTED, BY_HOST };

struct member {
    communicator base;
    struct group *group;
    communicator *host;
    aios_stream *stream;
    device_rank *rank;
    enum state state;
};

/* One collective. */
struct job {
    enum kind kind;
    float *buffer;
    uint64_t count;
    const uint64_t *offsets;
    int root;
};

static struct member *member_of(communicator *c)
{
    return (struct member *)(void *)c;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static aios_status too_late(const struct member *m, const char *what)
{
    return FAIL(AIOS_TIMEOUT, "%s with the other devices has not ended within %g s, though all ranks had come: a device hangs", what,
                m->group->deadline);
}

static void pause_between(int looks)
{
    if (looks < YIELDS)
        os_thread_yield();
    else
        os_sleep(SLEEP_SECONDS);
}

/* Until what the rank began is done. */
static aios_status wait_through(struct member *m, const char *what)
{
    double began = os_now();
    int done = 0;
    for (int looks = 0;; looks += looks < YIELDS) {
        TRY_QUIET(device_rank_query(m->rank, &done));
        if (done) return AIOS_OK;
        TRY_QUIET(comm_check(m->host));
        if (m->state == NEW && comm_failed(&m->group->refusal)) return comm_failure_get(&m->group->refusal);
        if (m->group->deadline > 0 && os_now() - began > m->group->deadline) return too_late(m, what);
        pause_between(looks);
    }
}

/* Breaks the group, and returns its first failure, which may be an earlier one. */
static aios_status fail_all(struct member *m, aios_status status)
{
    if (status == AIOS_OK) return status;
    (void)comm_abort_own(m->host, status);
    return comm_check(m->host);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

#define WORD_BYTES 4 /* of the id in a number: exact */
#define ID_NUMBERS (AIOS_COLLECTIVE_ID_BYTES / WORD_BYTES)

/* Rank 0's, to all by way of the host; the last number counts who failed. */
static aios_status share_id(struct member *m, uint8_t id[AIOS_COLLECTIVE_ID_BYTES], aios_status *made)
{
    aios_error_record record;
    double numbers[ID_NUMBERS] = {0};
    *made = m->base.rank == 0 ? device_collectives_id(aios_stream_device(m->stream), id) : AIOS_OK;
    if (*made != AIOS_OK) aios_error_save(&record);
    for (int i = 0; i < ID_NUMBERS && m->base.rank == 0 && *made == AIOS_OK; i++) {
        uint32_t word;
        memcpy(&word, id + i * WORD_BYTES, sizeof word);
        numbers[i] = word;
    }
    TRY_QUIET(comm_sum_numbers(m->host, numbers, ID_NUMBERS)); /* the others' are 0 */
    for (int i = 0; i < ID_NUMBERS; i++) {
        uint32_t word = (uint32_t)numbers[i];
        memcpy(id + i * WORD_BYTES, &word, sizeof word);
    }
    if (*made != AIOS_OK) (void)aios_error_restore(&record);
    return AIOS_OK;
}

/* How many ranks could not do their part; `own` comes with its record, which the other ranks of the process then see. */
static aios_status count_failures(struct member *m, aios_status own, int *failures)
{
    double failed = own != AIOS_OK;
    if (own != AIOS_OK) comm_failure_set(&m->group->refusal, own, aios_error_message());
    TRY_QUIET(comm_sum_numbers(m->host, &failed, 1));
    *failures = (int)failed;
    return AIOS_OK;
}

static aios_status make_rank(struct member *m, const uint8_t id[AIOS_COLLECTIVE_ID_BYTES], int *failures)
{
    aios_status own = device_rank_create(m->stream, id, m->base.rank, m->base.ranks, &m->rank);
    TRY_QUIET(count_failures(m, own, failures));
    if (*failures) return AIOS_OK;
    own = wait_through(m, "making a communicator");
    TRY_QUIET(comm_check(m->host));
    return count_failures(m, own, failures);
}

/* The host does it from now on, on all ranks alike. */
static aios_status leave_to_host(struct member *m)
{
    struct group *g = m->group;
    if (comm_failed(&g->refusal) && !atomic_exchange(&g->has_told, 1)) {
        (void)comm_failure_get(&g->refusal);
        aios_log(g->base.context, AIOS_LOG_WARNING, "collectives go through host memory: %s", aios_error_message());
    }
    device_rank_destroy(m->rank);
    m->rank = NULL;
    m->state = BY_HOST;
    return aios_device_health(aios_stream_device(m->stream));
}

/* A rank of another process may have the reason. */
static aios_status say_demanded(struct member *m)
{
    if (!comm_failed(&m->group->refusal)) return comm_barrier(m->host);
    return fail_all(m, aios_error_add_frame(comm_failure_get(&m->group->refusal), "option collectives is vendor"));
}

static aios_status connect(struct member *m)
{
    uint8_t id[AIOS_COLLECTIVE_ID_BYTES] = {0};
    aios_status own;
    int failures;
    if (m->state != NEW) return AIOS_OK;
    TRY_QUIET(share_id(m, id, &own));
    TRY_QUIET(count_failures(m, own, &failures));
    if (!failures) TRY_QUIET(make_rank(m, id, &failures));
    if (failures) return m->group->demanded ? say_demanded(m) : fail_all(m, leave_to_host(m));
    m->state = CONNECTED;
    return AIOS_OK;
}

/* ---- collectives -------------------------------------------------------------------------------------------------- */

/* A word of what is wanted, which sums of 256 ranks keep exact. */
static double describe(const struct member *m, const struct job *job)
{
    uint64_t word = 14695981039346656037u;
    word = (word ^ (uint64_t)job->kind) * 1099511628211u;
    word = (word ^ job->count) * 1099511628211u;
    word = (word ^ (uint64_t)job->root) * 1099511628211u;
    for (int r = 0; job->offsets && r <= m->base.ranks; r++) word = (word ^ job->offsets[r]) * 1099511628211u;
    return (double)(word >> 24);
}

/* All ranks have come and want the same, as far as this one can tell; if not, another one can. */
static aios_status agree(struct member *m, const struct job *job)
{
    double own = describe(m, job), sum = own;
    TRY_QUIET(fail_all(m, aios_stream_synchronize(m->stream)));
    TRY_QUIET(comm_sum_numbers(m->host, &sum, 1));
    if (sum == own * m->base.ranks) return AIOS_OK;
    return fail_all(m, FAIL(AIOS_WRONG_STATE, "it calls %s of %llu elements with root %d, and not all other ranks do",
                            kind_names[job->kind], (unsigned long long)job->count, job->root));
}

static aios_status submit(struct member *m, const struct job *job)
{
    switch (job->kind) {
    case ALL_REDUCE: return device_rank_all_reduce(m->rank, job->buffer, job->count);
    case REDUCE_SCATTER: return device_rank_reduce_scatter(m->rank, job->buffer, job->offsets);
    case ALL_GATHER: return device_rank_all_gather(m->rank, job->buffer, job->offsets);
    default: return device_rank_broadcast(m->rank, job->buffer, job->count, job->root);
    }
}

/* A failure here: nothing of the rank is under way any more, and the others' neither, so that buffers may be freed. */
static aios_status give_up(struct member *m, aios_status status)
{
    double began = os_now();
    status = fail_all(m, status);
    aios_error_record record;
    aios_error_save(&record);
    device_rank_abort(m->rank);
    (void)aios_stream_synchronize(m->stream);
    atomic_fetch_sub(&m->group->inside, 1);
    for (int looks = 0; atomic_load(&m->group->inside) > 0 && (m->group->deadline <= 0 || os_now() - began < m->group->deadline);
         looks += looks < YIELDS)
        pause_between(looks);
    return aios_error_restore(&record);
}

static aios_status run(struct member *m, const struct job *job)
{
    TRY_QUIET(connect(m));
    if (m->state == BY_HOST) return AIOS_OK;
    TRY_QUIET(agree(m, job));
    atomic_fetch_add(&m->group->inside, 1);
    aios_status status = submit(m, job);
    if (status == AIOS_OK) status = wait_through(m, kind_names[job->kind]);
    if (status != AIOS_OK) return give_up(m, status);
    atomic_fetch_sub(&m->group->inside, 1);
    return AIOS_OK;
}

static aios_status all_reduce(communicator *base, float *buffer, uint64_t count)
{
    struct member *m = member_of(base);
    TRY_QUIET(run(m, &(struct job){.kind = ALL_REDUCE, .buffer = buffer, .count = count}));
    return m->state == BY_HOST ? comm_all_reduce(m->host, buffer, count) : AIOS_OK;
}

static aios_status reduce_scatter(communicator *base, float *buffer, const uint64_t *offsets)
{
    struct member *m = member_of(base);
    TRY_QUIET(run(m, &(struct job){.kind = REDUCE_SCATTER, .buffer = buffer, .count = offsets[base->ranks], .offsets = offsets}));
    return m->state == BY_HOST ? comm_reduce_scatter(m->host, buffer, offsets) : AIOS_OK;
}

static aios_status all_gather(communicator *base, float *buffer, const uint64_t *offsets)
{
    struct member *m = member_of(base);
    TRY_QUIET(run(m, &(struct job){.kind = ALL_GATHER, .buffer = buffer, .count = offsets[base->ranks], .offsets = offsets}));
    return m->state == BY_HOST ? comm_all_gather(m->host, buffer, offsets) : AIOS_OK;
}

static aios_status broadcast(communicator *base, float *buffer, uint64_t count, int root)
{
    struct member *m = member_of(base);
    TRY_QUIET(run(m, &(struct job){.kind = BROADCAST, .buffer = buffer, .count = count, .root = root}));
    return m->state == BY_HOST ? comm_broadcast(m->host, buffer, count, root) : AIOS_OK;
}

/* ---- what the host's communicator does ---------------------------------------------------------------------------- */

static void abort_group(communicator *base, aios_status status, const char *message)
{
    comm_abort(member_of(base)->host, status, message);
}

static aios_status check(communicator *base)
{
    return comm_check(member_of(base)->host);
}

static aios_status barrier(communicator *base)
{
    return comm_barrier(member_of(base)->host);
}

static aios_status sum_numbers(communicator *base, double *values, int count)
{
    return comm_sum_numbers(member_of(base)->host, values, count);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static void leave(communicator *base)
{
    struct member *m = member_of(base);
    device_rank_destroy(m->rank);
    comm_leave(m->host);
    aios_memory_free(m->group->base.context, m);
}

static aios_status join(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    static const comm_table table = {
        .leave = leave,
        .abort = abort_group,
        .check = check,
        COMM_COLLECTIVES,
    };
    struct group *group = (struct group *)(void *)base;
    struct member *m = aios_new(base->context, struct member);
    if (!m) return AIOS_OUT_OF_MEMORY;
    *m = (struct member){.base = {&table, rank, base->ranks, name}, .group = group, .stream = stream};
    return comm_end_join(&m->base, comm_join(group->host, rank, name, stream, &m->host), joined);
}

static void destroy_group(comm_group *base)
{
    struct group *g = (struct group *)(void *)base;
    comm_group_destroy(g->host);
    comm_failure_end(&g->refusal);
    aios_memory_free(base->context, base);
}

aios_status comm_vendor_create(aios_context *context, comm_group *host, double deadline, int demanded, comm_group **group)
{
    static const comm_group_table group_table = {.destroy = destroy_group, .join = join};
    struct group *g = aios_new(context, struct group);
    *group = NULL;
    if (!g) {
        comm_group_destroy(host);
        return AIOS_OUT_OF_MEMORY;
    }
    g->base = (comm_group){&group_table, context, host->ranks};
    g->host = host;
    comm_failure_init(&g->refusal);
    g->deadline = deadline;
    g->demanded = demanded;
    *group = &g->base;
    return AIOS_OK;
}
