/* exchange_queue.h (internal): a thread that makes one replica's collectives, in the order in which they were begun, while the replica's
 * own thread goes on submitting work.
 *
 * The communicator is joined to the queue's stream.  begin lets that stream wait for what the replica's stream holds, end lets the
 * replica's stream wait for the collective; between them the buffer is the queue's.  The communicator may be used by the replica's thread
 * while nothing is under way, for numbers.  Every function is for the replica's thread. */
#ifndef AIOS_TRAINER_EXCHANGE_QUEUE_H
#define AIOS_TRAINER_EXCHANGE_QUEUE_H

#include "comm/comm.h"

enum exchange_kind { EXCHANGE_ALL_REDUCE, EXCHANGE_REDUCE_SCATTER, EXCHANGE_ALL_GATHER, EXCHANGE_BROADCAST };

typedef struct exchange_job {
    enum exchange_kind kind;
    float *buffer;
    uint64_t count;          /* all-reduce, broadcast */
    const uint64_t *offsets; /* reduce-scatter, all-gather: as comm.h says; borrowed until the end */
    int root;                /* broadcast */
} exchange_job;

typedef struct exchange_queue exchange_queue;

/* work: the replica's stream. */
aios_status exchange_queue_create(aios_context *context, aios_stream *work, exchange_queue **queue);
void exchange_queue_destroy(exchange_queue *queue); /* before the communicator's group; NULL is fine */
aios_stream *exchange_queue_stream(const exchange_queue *queue);
/* Once, before the first begin. */
void exchange_queue_use(exchange_queue *queue, communicator *comm);

/* *ticket is what end takes.  At most EXCHANGE_JOBS_MOST are under way; another waits for the oldest. */
#define EXCHANGE_JOBS_MOST 64
aios_status exchange_begin(exchange_queue *queue, const exchange_job *job, uint64_t *ticket);
/* Errors: the first failure of any job; those after it were not made. */
aios_status exchange_end(exchange_queue *queue, uint64_t ticket);
/* Of all that were begun. */
aios_status exchange_end_all(exchange_queue *queue);
/* Returns when no job is under way, whatever became of them. */
void exchange_queue_settle(exchange_queue *queue);
/* Begin and end. */
aios_status exchange_now(exchange_queue *queue, const exchange_job *job);

#endif
