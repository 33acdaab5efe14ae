/* Streams, recordings and events: work that waits until somebody waits for it. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Thread_local int captures;

/* One record of an event: reached or not. */
struct ticket {
    int references, reached;
    uint64_t time;
    vendor_stream *stream; /* where it is pending; NULL once reached */
};

enum op_kind { OP_WORK, OP_RECORD, OP_WAIT, OP_FLAG_SET, OP_FLAG_CLEAR, OP_FLAG_WAIT };

/* A piece of work; in one queue, in a recording, or in both. */
struct op {
    int references;
    enum op_kind kind;
    const char *what;
    int (*ready)(void *); /* NULL: always */
    const char *(*run)(vendor_device *, void *);
    void (*destroy)(void *);
    void *payload;
    struct ticket *ticket;
    vendor_event *event;
};

struct node {
    struct node *next;
    struct op *op;
};

struct vendor_stream {
    vendor_stream *next;
    vendor_device *device;
    struct node *first, **last;
    uint64_t submitted, completed;
    int running;            /* a thread executes its first piece of work */
    int destroyed;          /* only its work is left */
    int recording;          /* keeps what it is given */
    uint64_t due;           /* when a slow device was to end its last piece of work */
    vendor_stream *capture; /* where its work goes instead; NULL outside a capture */
};

struct vendor_event {
    vendor_event *next;
    vendor_device *device;
    int references; /* the owner's, and one per pending piece of work */
    int destroyed, flag;
    struct ticket *ticket;
};

/* ---- pieces of work ---------------------------------------------------------------------------------------------- */

static void ticket_release(struct ticket *ticket)
{
    if (ticket && --ticket->references == 0) free(ticket);
}

static void event_release(vendor_event *event)
{
    if (!event || --event->references > 0) return;
    ticket_release(event->ticket);
    free(event);
}

static void op_release(struct op *op)
{
    if (--op->references > 0) return;
    if (op->destroy) op->destroy(op->payload);
    ticket_release(op->ticket);
    event_release(op->event);
    free(op);
}

static struct op *op_create(enum op_kind kind, const char *what, struct ticket *ticket, vendor_event *event)
{
    struct op *op = calloc(1, sizeof *op);
    *op = (struct op){.references = 1, .kind = kind, .what = what, .ticket = ticket, .event = event};
    if (ticket) ticket->references++;
    if (event) event->references++;
    return op;
}

static void push(vendor_stream *stream, struct op *op)
{
    struct node *node = malloc(sizeof *node);
    *node = (struct node){NULL, op};
    *stream->last = node;
    stream->last = &node->next;
    stream->submitted++;
}

static void pop(vendor_stream *stream)
{
    struct node *node = stream->first;
    stream->first = node->next;
    if (!stream->first) stream->last = &stream->first;
    stream->completed++;
    op_release(node->op);
    free(node);
}

/* Takes over the caller's reference to op. */
static vendor_status submit(vendor_stream *stream, struct op *op)
{
    vendor_stream *to = stream->capture ? stream->capture : stream;
    if (stream->device->state != VENDOR_OK) {
        op_release(op);
        return refuse(stream->device->state, "%s", stream->device->state_reason);
    }
    if (op->ticket && op->kind != OP_WAIT) op->ticket->stream = to;
    push(to, op);
    return VENDOR_OK;
}

static void stream_free_if_done(vendor_stream *stream)
{
    if (!stream->destroyed || stream->first || stream->running) return;
    vendor_stream **link = &stream->device->streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
    free(stream);
}

/* ---- execution --------------------------------------------------------------------------------------------------- */

#define SECOND UINT64_C(1000000000)
#define LATE   UINT64_C(200000) /* ns by which a thread may wake up too late */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static void reach(struct ticket *ticket)
{
    ticket->reached = 1;
    ticket->time = now();
    ticket->stream = NULL;
}

/* A device that is slower by a factor takes so much longer for each piece of work: than its processor time, so that a machine which is busy
 * with other things slows it down no further, as long as the work itself is done by then. */
static void slow_down(vendor_stream *stream, uint64_t began, uint64_t used)
{
    if (stream->device->speed >= 1) return;
    if (stream->due < began && began - stream->due < LATE) began = stream->due; /* the last one was woken up late */
    stream->due = began + (uint64_t)((double)used / stream->device->speed);
    struct timespec t = {(time_t)(stream->due / SECOND), (long)(stream->due % SECOND)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* The mutex is released while the work runs. */
static void execute_work(vendor_stream *stream, struct op *op)
{
    vendor_device *device = stream->device;
    char reason[256] = "";
    vendor_status fault = inject(device->vendor, device, "work");
    core.running++;
    (void)pthread_mutex_unlock(&core.mutex);
    const char *error = fault == VENDOR_OK ? NULL : vendor_reason();
    uint64_t began = now(), used = read_clock(CLOCK_THREAD_CPUTIME_ID);
    if (!error) {
        error = op->run(device, op->payload);
        if (error) vendor_complain(device, "%s: %s", op->what, error);
        slow_down(stream, began, read_clock(CLOCK_THREAD_CPUTIME_ID) - used);
    }
    if (error) (void)snprintf(reason, sizeof reason, "%s: %s", op->what, error);
    (void)pthread_mutex_lock(&core.mutex);
    core.running--;
    if (error && fault != VENDOR_LOST) fail_device(device, VENDOR_ILLEGAL, reason);
}

static void execute_first(vendor_stream *stream)
{
    struct op *op = stream->first->op;
    op->references++;
    stream->running = 1;
    switch (op->kind) {
    case OP_WORK: execute_work(stream, op); break;
    case OP_RECORD: reach(op->ticket); break;
    case OP_FLAG_SET:
        op->event->flag = 1;
        if (op->ticket) reach(op->ticket);
        break;
    case OP_FLAG_CLEAR: op->event->flag = 0; break;
    case OP_WAIT:
    case OP_FLAG_WAIT: break;
    }
    stream->running = 0;
    if (stream->first) pop(stream); /* a failure dropped all of it */
    op_release(op);
    stream_free_if_done(stream);
    (void)pthread_cond_broadcast(&core.moved);
}

static int is_runnable(const vendor_stream *stream)
{
    if (stream->recording || stream->running || !stream->first) return 0;
    const struct op *op = stream->first->op;
    if (op->kind == OP_WAIT) return op->ticket->reached;
    if (op->kind == OP_FLAG_WAIT) return op->event->flag;
    return !op->ready || op->ready(op->payload);
}

/* Some stream waits for what others, perhaps of other threads, have yet to submit. */
static int something_may_come(void)
{
    for (int i = 0; i < core.device_count; i++)
        for (const vendor_stream *s = core.devices[i].streams; s; s = s->next)
            if (!s->recording && s->first && s->first->op->ready) return 1;
    return 0;
}

static void wait_for_others(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 1000000;
    if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
    (void)pthread_cond_timedwait(&core.moved, &core.mutex, &t);
}

/* May a thread that waits for something else spend its time on it?  On a device that is made slow that time would be the thread's own. */
static int may_help(const vendor_device *device)
{
    return device->speed >= 1 || core.running == 0;
}

/* Any stream with work that can run; of one device, or of all where that is NULL. */
static vendor_stream *draw_runnable(const vendor_device *device)
{
    vendor_stream *found = NULL;
    uint32_t count = 0;
    for (int i = 0; i < core.device_count; i++) {
        if (device ? device != &core.devices[i] : !may_help(&core.devices[i])) continue;
        for (vendor_stream *s = core.devices[i].streams; s; s = s->next)
            if (is_runnable(s) && draw(++count) == 0) found = s;
    }
    return found;
}

/* What stands first in the way of the stream: itself, or the stream that it waits for, and so on. */
static vendor_stream *follow(vendor_stream *stream)
{
    for (int depth = 0; stream && depth < 1000; depth++) {
        if (!stream->first || stream->first->op->kind != OP_WAIT || stream->first->op->ticket->reached) return stream;
        stream = stream->first->op->ticket->stream;
    }
    return stream;
}

/* Does one piece of work towards the end of `wanted` (NULL: any), or waits for a thread that does some; impatient: NOT_READY instead. */
static vendor_status step(vendor_device *device, vendor_stream *wanted, int patient)
{
    if (device->state != VENDOR_OK) return refuse(device->state, "%s", device->state_reason);
    vendor_stream *next = follow(wanted);
    if (next && (!is_runnable(next) || draw(3) == 0)) {
        vendor_stream *other = draw_runnable(next->device);
        if (other) next = other;
    }
    if (!next || !is_runnable(next)) next = draw_runnable(NULL);
    if (next) {
        execute_first(next);
        return VENDOR_OK;
    }
    if (!patient) return VENDOR_NOT_READY;
    if (something_may_come()) {
        wait_for_others();
        return VENDOR_OK;
    }
    if (core.running == 0) return REFUSE(device, VENDOR_DEADLOCK, "something is waited for that no submitted work will ever bring");
    (void)pthread_cond_wait(&core.moved, &core.mutex);
    return VENDOR_OK;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static vendor_status finish(vendor_stream *stream)
{
    vendor_status status = VENDOR_OK;
    uint64_t until = stream->submitted;
    while (status == VENDOR_OK && stream->completed < until) status = step(stream->device, stream, 1);
    if (stream->device->state != VENDOR_OK) status = refuse(stream->device->state, "%s", stream->device->state_reason);
    return status;
}

static vendor_status refuse_capture(const vendor_stream *stream)
{
    if (stream->capture) return REFUSE(stream->device, VENDOR_UNSUPPORTED, "a stream is waited for while it is recorded");
    if (stream->recording) return REFUSE(stream->device, VENDOR_INVALID, "a recording is waited for");
    return VENDOR_OK;
}

vendor_status vendor_stream_synchronize(vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = refuse_capture(stream);
    if (status == VENDOR_OK) status = finish(stream);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_stream_query(vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = refuse_capture(stream);
    if (status == VENDOR_OK && stream->first) status = step(stream->device, stream, 0);
    if (status == VENDOR_OK && stream->first) status = VENDOR_NOT_READY;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_device_synchronize(vendor_device *device)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    for (vendor_stream *s = device->streams; s && status == VENDOR_OK; s = s->next)
        if (s->capture) status = refuse_capture(s);
    while (status == VENDOR_OK) {
        vendor_stream *pending = device->streams;
        while (pending && (pending->recording || !pending->first)) pending = pending->next;
        if (!pending) break;
        status = step(device, pending, 1);
    }
    if (device->state != VENDOR_OK) status = refuse(device->state, "%s", device->state_reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static vendor_stream *make_stream(vendor_device *device, int recording)
{
    vendor_stream *stream = calloc(1, sizeof *stream);
    stream->device = device;
    stream->last = &stream->first;
    stream->recording = recording;
    stream->next = device->streams;
    device->streams = stream;
    return stream;
}

static vendor_status create_stream(vendor_device *device, int recording, vendor_stream **stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    *stream = make_stream(device, recording);
    (void)pthread_mutex_unlock(&core.mutex);
    return VENDOR_OK;
}

vendor_status vendor_stream_create(vendor_device *device, vendor_stream **stream)
{
    return create_stream(device, 0, stream);
}

vendor_status vendor_record_create(vendor_device *device, vendor_stream **recording)
{
    return create_stream(device, 1, recording);
}

static void clear(vendor_stream *stream)
{
    while (stream->first) {
        const struct op *op = stream->first->op;
        if (op->ticket && op->kind != OP_WAIT && stream->recording && op->ticket->stream == stream)
            op->ticket->stream = NULL;
        else if (op->ticket && op->kind != OP_WAIT && !stream->recording)
            reach(op->ticket);
        pop(stream);
    }
}

void vendor_record_clear(vendor_stream *recording)
{
    (void)pthread_mutex_lock(&core.mutex);
    clear(recording);
    (void)pthread_mutex_unlock(&core.mutex);
}

void vendor_stream_destroy(vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    if (stream->capture) vendor_complain(stream->device, "a stream is destroyed while it is recorded");
    if (stream->recording) clear(stream);
    if (stream->first && stream->device->state == VENDOR_OK && !stream->device->faulted)
        vendor_complain(stream->device, "a stream is destroyed while its work is pending (first: %s)", stream->first->op->what);
    stream->destroyed = 1;
    stream_free_if_done(stream);
    (void)pthread_mutex_unlock(&core.mutex);
}

vendor_device *vendor_stream_device(const vendor_stream *stream)
{
    return stream->device;
}

vendor_status vendor_submit(vendor_stream *stream, const char *what, const char *(*run)(vendor_device *, void *), void (*destroy)(void *),
                            void *payload)
{
    return vendor_submit_when(stream, what, NULL, run, destroy, payload);
}

vendor_status vendor_submit_when(vendor_stream *stream, const char *what, int (*ready)(void *), const char *(*run)(vendor_device *, void *),
                                 void (*destroy)(void *), void *payload)
{
    struct op *op = op_create(OP_WORK, what, NULL, NULL);
    op->ready = ready;
    op->run = run;
    op->destroy = destroy;
    op->payload = payload;
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = submit(stream, op);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

/* Every other stream of a lost device must not wait for what will not come. */
void drop_work(vendor_device *device)
{
    for (vendor_stream *s = device->streams; s; s = s->next)
        if (!s->recording) clear(s);
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

vendor_status vendor_capture_begin(vendor_stream *stream)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    if (stream->capture || stream->recording)
        status = REFUSE(stream->device, VENDOR_INVALID, "a recording begins on a stream that is recorded already");
    else
        stream->capture = make_stream(stream->device, 1), captures++;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_capture_end(vendor_stream *stream, vendor_stream **recording)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    *recording = stream->capture;
    if (!stream->capture)
        status = REFUSE(stream->device, VENDOR_INVALID, "a recording ends on a stream that is not recorded");
    else
        captures--;
    stream->capture = NULL;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

int vendor_capturing(const vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    int capturing = stream->capture != NULL;
    (void)pthread_mutex_unlock(&core.mutex);
    return capturing;
}

size_t vendor_record_length(const vendor_stream *recording)
{
    size_t length = 0;
    (void)pthread_mutex_lock(&core.mutex);
    for (const struct node *n = recording->first; n; n = n->next) length++;
    (void)pthread_mutex_unlock(&core.mutex);
    return length;
}

vendor_status vendor_replay(vendor_stream *stream, vendor_stream *recording)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    if (!recording->recording || recording->device != stream->device)
        status = REFUSE(stream->device, VENDOR_INVALID, "what is replayed is no recording of this device");
    for (const struct node *n = recording->first; n && status == VENDOR_OK; n = n->next) {
        n->op->references++;
        status = submit(stream, n->op);
    }
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

vendor_status vendor_event_create(vendor_device *device, vendor_event **event)
{
    *event = calloc(1, sizeof **event);
    (*event)->references = 1;
    (*event)->device = device;
    (void)pthread_mutex_lock(&core.mutex);
    (*event)->next = device->events;
    device->events = *event;
    (void)pthread_mutex_unlock(&core.mutex);
    return VENDOR_OK;
}

void vendor_event_destroy(vendor_event *event)
{
    (void)pthread_mutex_lock(&core.mutex);
    vendor_event **link = &event->device->events;
    while (*link != event) link = &(*link)->next;
    *link = event->next;
    event_release(event);
    (void)pthread_mutex_unlock(&core.mutex);
}

/* A new ticket, that of the event's last record. */
static struct ticket *issue(vendor_event *event)
{
    struct ticket *ticket = calloc(1, sizeof *ticket);
    ticket->references = 1;
    ticket_release(event->ticket);
    event->ticket = ticket;
    return ticket;
}

vendor_status vendor_event_record(vendor_event *event, vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = VENDOR_OK;
    if (event->device != stream->device)
        status = REFUSE(stream->device, VENDOR_INVALID, "an event of another device is recorded on a stream");
    else
        status = submit(stream, op_create(OP_RECORD, "event", issue(event), NULL));
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_event_wait(vendor_event *event, vendor_stream *stream)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    if (event->ticket) status = submit(stream, op_create(OP_WAIT, "wait", event->ticket, NULL));
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_event_synchronize(vendor_event *event)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    struct ticket *ticket = event->ticket;
    if (ticket) ticket->references++;
    while (ticket && !ticket->reached && status == VENDOR_OK) status = step(event->device, ticket->stream, 1);
    ticket_release(ticket);
    if (event->device->state != VENDOR_OK) status = refuse(event->device->state, "%s", event->device->state_reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_event_query(vendor_event *event)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    if (event->ticket && !event->ticket->reached) status = step(event->device, event->ticket->stream, 0);
    if (status == VENDOR_OK && event->ticket && !event->ticket->reached) status = VENDOR_NOT_READY;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_event_time(vendor_event *event, uint64_t *nanoseconds)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    if (!event->ticket)
        status = refuse(VENDOR_INVALID, "the event was never recorded");
    else if (!event->ticket->reached)
        status = refuse(VENDOR_NOT_READY, "the event was not reached");
    else
        *nanoseconds = event->ticket->time;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

/* ---- flags ------------------------------------------------------------------------------------------------------- */

static vendor_status change_flag(vendor_event *event, vendor_stream *stream, int flag)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    struct ticket *ticket = flag ? issue(event) : NULL;
    if (stream) {
        status = submit(stream, op_create(flag ? OP_FLAG_SET : OP_FLAG_CLEAR, "event", ticket, event));
    } else {
        event->flag = flag;
        if (ticket) reach(ticket);
        (void)pthread_cond_broadcast(&core.moved);
    }
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_flag_set(vendor_event *event, vendor_stream *stream)
{
    return change_flag(event, stream, 1);
}

vendor_status vendor_flag_clear(vendor_event *event, vendor_stream *stream)
{
    return change_flag(event, stream, 0);
}

vendor_status vendor_flag_wait(vendor_event *event, vendor_stream *stream)
{
    (void)pthread_mutex_lock(&core.mutex);
    vendor_status status = submit(stream, op_create(OP_FLAG_WAIT, "wait", NULL, event));
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_flag_synchronize(vendor_event *event, int patient)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    while (!event->flag && status == VENDOR_OK) {
        vendor_stream *wanted = event->ticket && !event->ticket->reached ? event->ticket->stream : NULL;
        status = step(event->device, wanted, patient);
        if (!patient) break;
    }
    if (event->device->state != VENDOR_OK) status = refuse(event->device->state, "%s", event->device->state_reason);
    if (status == VENDOR_OK && !event->flag) status = VENDOR_NOT_READY;
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

void stream_report(vendor_device *device)
{
    for (const vendor_stream *s = device->streams; s; s = s->next)
        if (!s->destroyed) vendor_complain(device, "leak: a %s", s->recording ? "recording" : "stream");
    for (const vendor_event *e = device->events; e; e = e->next) vendor_complain(device, "leak: an event");
}
