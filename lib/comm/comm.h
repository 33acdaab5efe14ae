/* comm.h (internal): collectives between the ranks of a training run, whatever their devices are.
 *
 * A communicator is one rank's handle; every collective is called by all ranks, in the same order, each from its own thread, and
 * blocks the thread until the rank's part is done.  Buffers are device memory of the rank's stream (comm_join): what was submitted to the
 * stream before is in them, and what is submitted after sees the result.  Sums are taken in the order of the ranks, so equal
 * layouts give equal bits, on every rank.
 *
 * A rank that fails, or does not come within the deadline, breaks the group: every call of every rank, running or later, returns
 * that first failure, which names the rank; when a call has returned, no other rank reads its buffer any more.  A broken group is only good
 * for being destroyed; the ranks that are left make a new one. */
#ifndef AIOS_COMM_COMM_H
#define AIOS_COMM_COMM_H

#include "base/context.h"
#include <aios/device.h>

typedef struct comm_group comm_group;
typedef struct communicator communicator;

typedef struct comm_options {
    int ranks;
    double deadline;      /* seconds that a rank waits for the others; 0: for ever */
    uint64_t chunk_bytes; /* that go through host memory at a time; 0: chosen */
    int always_stage;     /* 1: through staging memory even where the host can reach the device's; for tests */
} comm_options;

/* The group of the threads of one process, meeting in host memory.  Errors: OUT_OF_MEMORY, INVALID_ARGUMENT. */
aios_status comm_group_create(aios_context *context, const comm_options *options, comm_group **group);
void comm_group_destroy(comm_group *group); /* after its communicators; NULL is fine */

/* Rank `rank` of the group, by one thread, once.  name ("cuda:0") is for messages; borrowed.  Doesn't wait for the others. */
aios_status comm_join(comm_group *group, int rank, const char *name, aios_stream *stream, communicator **c);
/* Ranks that wait for this one from now on get WRONG_STATE.  NULL is fine. */
void comm_leave(communicator *c);
int comm_rank(const communicator *c);
int comm_ranks(const communicator *c);

/* Breaks the group with that status and sentence; from any thread.  The first failure stays. */
void comm_abort(communicator *c, aios_status status, const char *message);
/* The group's first failure, as far as it is known here; AIOS_OK: none.  Waits for nobody; from any thread. */
aios_status comm_check(communicator *c);

aios_status comm_barrier(communicator *c);
/* buffer (count) = the sum of all ranks' buffers. */
aios_status comm_all_reduce(communicator *c, float *buffer, uint64_t count);
/* offsets (ranks + 1), the same on all ranks, rising from 0 to the count of elements: rank r owns [offsets[r], offsets[r+1]).
 * reduce_scatter: the own part of buffer becomes the sum, the rest is as it was.  all_gather: every part becomes its owner's. */
aios_status comm_reduce_scatter(communicator *c, float *buffer, const uint64_t *offsets);
aios_status comm_all_gather(communicator *c, float *buffer, const uint64_t *offsets);
/* Every buffer becomes root's. */
aios_status comm_broadcast(communicator *c, float *buffer, uint64_t count, int root);
/* Few numbers in host memory, as losses and counts of tokens: values become the sums. */
#define COMM_NUMBERS_MOST 64
aios_status comm_sum_numbers(communicator *c, double *values, int count);

#endif
