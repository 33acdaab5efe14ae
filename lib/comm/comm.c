#include "comm_parts.h"

#include <stdio.h>

/* ---- failures ---------------------------------------------------------------------------------------------------- */

void comm_failure_init(comm_failure *failure)
{
    os_mutex_init(&failure->mutex);
    atomic_init(&failure->status, AIOS_OK);
}

void comm_failure_end(comm_failure *failure)
{
    os_mutex_destroy(&failure->mutex);
}

void comm_failure_set(comm_failure *failure, aios_status status, const char *message)
{
    os_mutex_lock(&failure->mutex);
    if (!comm_failed(failure)) {
        (void)snprintf(failure->message, sizeof failure->message, "%s", message);
        atomic_store(&failure->status, status);
    }
    os_mutex_unlock(&failure->mutex);
}

aios_status comm_failure_get(comm_failure *failure)
{
    os_mutex_lock(&failure->mutex);
    aios_status status = FAIL(atomic_load(&failure->status), "%s", failure->message);
    os_mutex_unlock(&failure->mutex);
    return status;
}

aios_status comm_abort_own(communicator *c, aios_status status)
{
    char text[512];
    if (status == AIOS_OK) return status;
    (void)snprintf(text, sizeof text, "rank %d (%s): %s", c->rank, c->name, aios_error_message());
    c->table->abort(c, status, text);
    return status;
}

/* A wrong argument breaks the group as any failure of a rank does; what comes back is the group's first. */
static aios_status refuse(communicator *c, aios_status status)
{
    (void)comm_abort_own(c, status);
    return c->table->barrier(c);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

void comm_group_destroy(comm_group *group)
{
    if (group) group->table->destroy(group);
}

aios_status comm_join(comm_group *group, int rank, const char *name, aios_stream *stream, communicator **c)
{
    *c = NULL;
    if (rank < 0 || rank >= group->ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "rank %d of a group of %d: it must be from 0 to %d", rank, group->ranks, group->ranks - 1);
    return group->table->join(group, rank, name, stream, c);
}

aios_status comm_end_join(communicator *made, aios_status status, communicator **joined)
{
    aios_error_record record;
    if (status == AIOS_OK) {
        *joined = made;
        return status;
    }
    aios_error_save(&record);
    made->table->leave(made);
    return aios_error_restore(&record);
}

void comm_leave(communicator *c)
{
    if (c) c->table->leave(c);
}

int comm_rank(const communicator *c)
{
    return c->rank;
}

int comm_ranks(const communicator *c)
{
    return c->ranks;
}

void comm_abort(communicator *c, aios_status status, const char *message)
{
    if (c) c->table->abort(c, status, message);
}

aios_status comm_check(communicator *c)
{
    return c->table->check(c);
}

/* ---- collectives -------------------------------------------------------------------------------------------------- */

static aios_status check_offsets(const communicator *c, const uint64_t *offsets)
{
    if (offsets[0] != 0) return FAIL(AIOS_INVALID_ARGUMENT, "the parts begin at %llu: it must be 0", (unsigned long long)offsets[0]);
    for (int r = 0; r < c->ranks; r++)
        if (offsets[r + 1] < offsets[r])
            return FAIL(AIOS_INVALID_ARGUMENT, "the part of rank %d is from %llu to %llu: it must not end before it begins", r,
                        (unsigned long long)offsets[r], (unsigned long long)offsets[r + 1]);
    return AIOS_OK;
}

aios_status comm_barrier(communicator *c)
{
    return c->table->barrier(c);
}

aios_status comm_all_reduce(communicator *c, float *buffer, uint64_t count)
{
    return c->table->all_reduce(c, buffer, count);
}

aios_status comm_reduce_scatter(communicator *c, float *buffer, const uint64_t *offsets)
{
    aios_status status = check_offsets(c, offsets);
    return status == AIOS_OK ? c->table->reduce_scatter(c, buffer, offsets) : refuse(c, status);
}

aios_status comm_all_gather(communicator *c, float *buffer, const uint64_t *offsets)
{
    aios_status status = check_offsets(c, offsets);
    return status == AIOS_OK ? c->table->all_gather(c, buffer, offsets) : refuse(c, status);
}

aios_status comm_broadcast(communicator *c, float *buffer, uint64_t count, int root)
{
    if (root < 0 || root >= c->ranks)
        return refuse(c, FAIL(AIOS_INVALID_ARGUMENT, "root %d of %d ranks: it must be from 0 to %d", root, c->ranks, c->ranks - 1));
    return c->table->broadcast(c, buffer, count, root);
}

aios_status comm_sum_numbers(communicator *c, double *values, int count)
{
    if (count < 0 || count > COMM_NUMBERS_MOST)
        return refuse(c, FAIL(AIOS_OUT_OF_RANGE, "%d numbers to sum: 0 to %d are allowed", count, COMM_NUMBERS_MOST));
    return c->table->sum_numbers(c, values, count);
}
