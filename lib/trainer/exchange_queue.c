#include "exchange_queue.h"

#include "base/os.h"

#include <stdio.h>

struct slot {
    exchange_job job;
    aios_event *ready, *done; /* on the replica's stream, on the queue's */
};

struct exchange_queue {
    aios_context *context;
    aios_stream *work, *stream;
    communicator *comm;
    os_thread thread;
    int started;
    os_mutex mutex;
    os_condition changed;
    struct slot slots[EXCHANGE_JOBS_MOST];
    uint64_t begun, made; /* jobs */
    uint64_t waited;      /* of those whose end the replica's stream waits for; the replica's thread alone */
    int over, failed;
    aios_error_record failure; /* where failed: the first */
};

static aios_status make(const exchange_queue *q, const exchange_job *job)
{
    switch (job->kind) {
    case EXCHANGE_ALL_REDUCE: return comm_all_reduce(q->comm, job->buffer, job->count);
    case EXCHANGE_REDUCE_SCATTER: return comm_reduce_scatter(q->comm, job->buffer, job->offsets);
    case EXCHANGE_ALL_GATHER: return comm_all_gather(q->comm, job->buffer, job->offsets);
    case EXCHANGE_BROADCAST: return comm_broadcast(q->comm, job->buffer, job->count, job->root);
    }
    return FAIL(AIOS_INTERNAL, "no collective has the number %d", (int)job->kind);
}

static aios_status make_slot(const exchange_queue *q, struct slot *slot)
{
    TRY_QUIET(aios_stream_wait_event(q->stream, slot->ready));
    TRY_QUIET(make(q, &slot->job));
    return aios_event_record(slot->done, q->stream);
}

/* The others must not wait for this rank; nothing where the group is broken already. */
static void tell_others(const exchange_queue *q, aios_status status)
{
    char message[512];
    (void)snprintf(message, sizeof message, "rank %d (%s): %s", comm_rank(q->comm), aios_device_spec(aios_stream_device(q->stream)),
                   aios_error_message());
    comm_abort(q->comm, status, message);
}

/* Called and left with the mutex held. */
static void make_next(exchange_queue *q)
{
    struct slot *slot = &q->slots[q->made % EXCHANGE_JOBS_MOST];
    int skip = q->failed;
    os_mutex_unlock(&q->mutex);
    aios_status status = skip ? AIOS_OK : make_slot(q, slot);
    if (status != AIOS_OK) tell_others(q, status);
    os_mutex_lock(&q->mutex);
    if (status != AIOS_OK) {
        aios_error_save(&q->failure);
        q->failed = 1;
    }
    q->made++;
    os_condition_broadcast(&q->changed);
}

static void *run(void *argument)
{
    exchange_queue *q = argument;
    aios_status status = aios_device_set_current(aios_stream_device(q->stream));
    os_mutex_lock(&q->mutex);
    if (status != AIOS_OK) aios_error_save(&q->failure);
    q->failed = status != AIOS_OK;
    while (!q->over) {
        if (q->made < q->begun)
            make_next(q);
        else
            os_condition_wait(&q->changed, &q->mutex);
    }
    os_mutex_unlock(&q->mutex);
    return NULL;
}

aios_status exchange_queue_create(aios_context *context, aios_stream *work, exchange_queue **queue)
{
    aios_status status = AIOS_OK;
    aios_device *device = aios_stream_device(work);
    exchange_queue *q = aios_new(context, exchange_queue);
    *queue = NULL;
    if (!q) return AIOS_OUT_OF_MEMORY;
    q->context = context;
    q->work = work;
    os_mutex_init(&q->mutex);
    os_condition_init(&q->changed);
    ATTEMPT_QUIET(aios_stream_create(device, &q->stream));
    for (int i = 0; i < EXCHANGE_JOBS_MOST; i++) {
        ATTEMPT_QUIET(aios_event_create(device, &q->slots[i].ready));
        ATTEMPT_QUIET(aios_event_create(device, &q->slots[i].done));
    }
    ATTEMPT_QUIET(os_thread_start(&q->thread, "aios-exchange", run, q));
    q->started = 1;
    *queue = q;
    q = NULL;
done:
    exchange_queue_destroy(q);
    return status;
}

void exchange_queue_destroy(exchange_queue *q)
{
    if (!q) return;
    os_mutex_lock(&q->mutex);
    q->over = 1;
    os_condition_broadcast(&q->changed);
    os_mutex_unlock(&q->mutex);
    if (q->started) os_thread_join(q->thread);
    for (int i = 0; i < EXCHANGE_JOBS_MOST; i++) {
        aios_event_destroy(q->slots[i].ready);
        aios_event_destroy(q->slots[i].done);
    }
    aios_stream_destroy(q->stream);
    os_condition_destroy(&q->changed);
    os_mutex_destroy(&q->mutex);
    aios_memory_free(q->context, q);
}

aios_stream *exchange_queue_stream(const exchange_queue *q)
{
    return q->stream;
}

void exchange_queue_use(exchange_queue *q, communicator *comm)
{
    os_mutex_lock(&q->mutex);
    q->comm = comm;
    os_mutex_unlock(&q->mutex);
}

/* Until `count` jobs are made. */
static aios_status wait_made(exchange_queue *q, uint64_t count)
{
    os_mutex_lock(&q->mutex);
    while (q->made < count) os_condition_wait(&q->changed, &q->mutex);
    aios_status status = q->failed ? aios_error_restore(&q->failure) : AIOS_OK;
    os_mutex_unlock(&q->mutex);
    return status;
}

aios_status exchange_begin(exchange_queue *q, const exchange_job *job, uint64_t *ticket)
{
    struct slot *slot = &q->slots[q->begun % EXCHANGE_JOBS_MOST];
    if (q->begun >= EXCHANGE_JOBS_MOST) TRY_QUIET(exchange_end(q, q->begun + 1 - EXCHANGE_JOBS_MOST));
    TRY_QUIET(aios_event_record(slot->ready, q->work));
    slot->job = *job;
    os_mutex_lock(&q->mutex);
    *ticket = ++q->begun;
    os_condition_broadcast(&q->changed);
    os_mutex_unlock(&q->mutex);
    return AIOS_OK;
}

aios_status exchange_end(exchange_queue *q, uint64_t ticket)
{
    TRY_QUIET(wait_made(q, ticket));
    if (ticket <= q->waited) return AIOS_OK;
    q->waited = ticket; /* the stream's order covers those before */
    return aios_stream_wait_event(q->work, q->slots[(ticket - 1) % EXCHANGE_JOBS_MOST].done);
}

aios_status exchange_end_all(exchange_queue *q)
{
    return q->begun ? exchange_end(q, q->begun) : AIOS_OK;
}

void exchange_queue_settle(exchange_queue *q)
{
    (void)wait_made(q, q->begun);
}

aios_status exchange_now(exchange_queue *q, const exchange_job *job)
{
    uint64_t ticket;
    TRY_QUIET(exchange_begin(q, job, &ticket));
    return exchange_end(q, ticket);
}
