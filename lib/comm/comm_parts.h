/* comm_parts.h (internal to lib/comm): the two tables that a kind of communicator fills, and what the kinds share.
 *
 * A kind's structures begin with comm_group and communicator.  comm.c checks arguments, so a table's function sees good ones. */
#ifndef AIOS_COMM_COMM_PARTS_H
#define AIOS_COMM_COMM_PARTS_H

#include "base/os.h"
#include "comm.h"

#include <stdatomic.h>

typedef struct comm_group_table {
    void (*destroy)(comm_group *group);
    /* rank is within the group. */
    aios_status (*join)(comm_group *group, int rank, const char *name, aios_stream *stream, communicator **c);
} comm_group_table;

struct comm_group {
    const comm_group_table *table;
    aios_context *context;
    int ranks;
};

/* The contract of each is that of comm_* in comm.h.  After abort every other call of any rank fails with the first failure. */
typedef struct comm_table {
    void (*leave)(communicator *c);
    void (*abort)(communicator *c, aios_status status, const char *message);
    aios_status (*check)(communicator *c);
    aios_status (*barrier)(communicator *c);
    aios_status (*all_reduce)(communicator *c, float *buffer, uint64_t count);
    aios_status (*reduce_scatter)(communicator *c, float *buffer, const uint64_t *offsets);
    aios_status (*all_gather)(communicator *c, float *buffer, const uint64_t *offsets);
    aios_status (*broadcast)(communicator *c, float *buffer, uint64_t count, int root);
    aios_status (*sum_numbers)(communicator *c, double *values, int count);
} comm_table;
/* The rows that every kind fills with functions of the same names. */
#define COMM_COLLECTIVES                                                                                                                   \
    .barrier = barrier, .all_reduce = all_reduce, .reduce_scatter = reduce_scatter, .all_gather = all_gather, .broadcast = broadcast,      \
    .sum_numbers = sum_numbers

struct communicator {
    const comm_table *table;
    int rank, ranks;
    const char *name; /* borrowed */
};

/* How a table's join ends: gives `made` out, or leaves it again where its making failed, whose record stays. */
aios_status comm_end_join(communicator *made, aios_status status, communicator **joined);

#define COMM_RANKS_MOST 256

/* Breaks c's group with this thread's error record, led by rank and name; returns status. */
aios_status comm_abort_own(communicator *c, aios_status status);

/* The first failure of a group. */
typedef struct comm_failure {
    os_mutex mutex;
    atomic_int status; /* AIOS_OK: none */
    char message[512];
} comm_failure;

void comm_failure_init(comm_failure *failure);
void comm_failure_end(comm_failure *failure);
void comm_failure_set(comm_failure *failure, aios_status status, const char *message); /* nothing where one is there */
aios_status comm_failure_get(comm_failure *failure);                                   /* its status, with its record */
static inline int comm_failed(const comm_failure *failure)
{
    return atomic_load(&failure->status) != AIOS_OK;
}

#endif
