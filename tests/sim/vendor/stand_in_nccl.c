/* The stand-in for NCCL and for RCCL, which has the same interface: compiled into libnccl.so.2 with STAND_IN_CUDA defined and into
 * librccl.so.1 with STAND_IN_HIP.
 *
 * Communicators are those of ranks in threads of one process, refuse the id of another process, and are not blocking: what a call begins
 * goes on in the background, here at the second or third question after it (ncclCommGetAsyncError), and who doesn't ask is told so.  A
 * collective is a piece of work on each rank's stream that stands still until all ranks have it at the head of theirs; a rank that never
 * comes, was aborted, or whose device is gone, lets the others stand for ever, as on real devices, until they abort.  An aborted rank's
 * buffers are NaN.  Sums are taken from the last rank to the first: another order than that of the host's. */
#include "stand_in.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RANKS_MOST 32
#define PARTS_MOST 64

/* ncclResult_t, ncclDataType_t */
enum { SUCCESS = 0, DEVICE_ERROR = 1, SYSTEM_ERROR = 2, INTERNAL_ERROR = 3, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, IN_PROGRESS = 7 };
enum { F32 = 7, SUM = 0 };
enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, REDUCE };

struct id {
    char bytes[128];
};
#define SYMBOL(need, result, name, parameters) VENDOR_API result name parameters;
#define nccl_id                                id
#define hipGetDeviceCount                      unused_hipGetDeviceCount
#include "stream_collectives.def"
#undef hipGetDeviceCount
#undef nccl_id
#undef SYMBOL

struct config {
    size_t size;
    unsigned magic, version;
    int blocking;
};

/* One collective of a rank. */
struct wish {
    enum kind kind;
    const void *from;
    void *to;
    size_t count; /* of the whole, or of each rank's part */
    int root;
};

/* What one call, or one group of calls, makes all ranks do together. */
struct meeting {
    struct clique *clique;
    struct meeting *next;
    unsigned long number;
    int references;
    int arrived[RANKS_MOST], gone[RANKS_MOST];
    const struct part *runner; /* does it for all; NULL: not yet known */
    struct wish wishes[RANKS_MOST][PARTS_MOST];
    int counts[RANKS_MOST];
    vendor_device *devices[RANKS_MOST];
    int running, done, different;
};

struct clique {
    struct clique *next;
    struct id id;
    int ranks, joined, references, refused;
    struct communicator *members[RANKS_MOST];
    struct meeting *meetings;
};

struct part {
    struct meeting *meeting;
    struct communicator *communicator; /* NULL: aborted or destroyed */
    int rank, ran;
};

struct communicator {
    struct communicator *next;
    struct clique *clique;
    vendor_device *device;
    int rank, questions, error, known; /* known: was told that it is made */
    unsigned long number;              /* of collectives that were begun */
    struct part *part;                 /* the last */
    vendor_stream *pending;            /* where that is to be submitted */
};

/* Of all below; taken after the core's own lock, so nothing of the core is called with it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static struct clique *cliques;
static struct communicator *communicators;

static _Thread_local int depth, failed_in_group;
static _Thread_local struct communicator *grouped;
static _Thread_local vendor_stream *grouped_stream;
static _Thread_local struct wish wishes[PARTS_MOST];
static _Thread_local int wish_count;
static _Thread_local char last_error[256];

static int begin(vendor_device *device, const char *call)
{
    vendor_status status = vendor_call(STAND_IN_VENDOR, device, call);
    if (status == VENDOR_OK) return SUCCESS;
    (void)snprintf(last_error, sizeof last_error, "%s", vendor_reason());
    if (status != VENDOR_FAULT) return DEVICE_ERROR;
    return vendor_fault_code() ? vendor_fault_code() : INTERNAL_ERROR;
}

/* ---- library ----------------------------------------------------------------------------------------------------- */

int ncclGetVersion(int *version)
{
    *version = 22809;
    return begin(NULL, "ncclGetVersion");
}

const char *ncclGetErrorString(int code)
{
    static const char *const words[] = {"no error",
                                        "unhandled device error (run with NCCL_DEBUG=INFO for details)",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "operation in progress"};
    return code >= 0 && code <= IN_PROGRESS ? words[code] : "unknown result code";
}

const char *ncclGetLastError(void *communicator)
{
    (void)communicator;
    return last_error;
}

int ncclGetUniqueId(void *id)
{
    static unsigned long made;
    int begun = begin(NULL, "ncclGetUniqueId");
    if (begun) return begun;
    (void)pthread_mutex_lock(&mutex);
    memset(id, 0x5a, sizeof(struct id));
    made++;
    memcpy(id, &made, sizeof made);
    ((struct id *)id)->bytes[64] = (char)getpid();
    ((struct id *)id)->bytes[65] = (char)(getpid() >> 8);
    (void)pthread_mutex_unlock(&mutex);
    return SUCCESS;
}

/* ---- communicators ----------------------------------------------------------------------------------------------- */

static struct clique *find_clique(const struct id *id, int ranks)
{
    struct clique *q = cliques;
    while (q && memcmp(&q->id, id, sizeof *id) != 0) q = q->next;
    if (q) return q->ranks == ranks ? q : NULL;
    q = calloc(1, sizeof *q);
    q->id = *id;
    q->ranks = ranks;
    q->next = cliques;
    cliques = q;
    return q;
}

/* With the mutex held. */
static void release_clique(struct clique *q)
{
    struct clique **link = &cliques;
    if (--q->references > 0) return;
    while (*link != q) link = &(*link)->next;
    *link = q->next;
    free(q);
}

static int join(struct clique *q, int rank, vendor_device *device, struct communicator **made)
{
    if (!q || rank < 0 || rank >= q->ranks || q->members[rank]) return INVALID_ARGUMENT;
    for (int r = 0; r < q->ranks; r++) q->refused |= q->members[r] && q->members[r]->device == device;
    struct communicator *c = calloc(1, sizeof *c);
    *c = (struct communicator){.next = communicators, .clique = q, .device = device, .rank = rank, .questions = 2};
    communicators = c;
    q->members[rank] = c;
    q->joined++;
    q->references++;
    *made = c;
    return IN_PROGRESS;
}

int ncclCommInitRankConfig(void **communicator, int ranks, struct id id, int rank, void *config)
{
    const struct config *wanted = config;
    vendor_device *device = stand_in_current();
    int begun = begin(device, "ncclCommInitRankConfig");
    if (begun) return begun;
    if (!device || !wanted || wanted->magic != 0xcafebeef || wanted->size < sizeof *wanted || wanted->version < 21400 ||
        wanted->blocking != 0 || ranks < 1 || ranks > RANKS_MOST) {
        vendor_complain(device, "ncclCommInitRankConfig: a configuration that is none, a blocking communicator, or no device");
        return INVALID_ARGUMENT;
    }
    if (id.bytes[64] != (char)getpid() || id.bytes[65] != (char)(getpid() >> 8)) {
        (void)snprintf(last_error, sizeof last_error, "the id is another process's, which this stand-in can't reach");
        return SYSTEM_ERROR;
    }
    (void)pthread_mutex_lock(&mutex);
    int code = join(find_clique(&id, ranks), rank, device, (struct communicator **)communicator);
    (void)pthread_mutex_unlock(&mutex);
    if (code == INVALID_ARGUMENT) vendor_complain(device, "ncclCommInitRankConfig: rank %d of %d is none or taken", rank, ranks);
    return code;
}

/* Leaves its clique; what others and the stream's work know of it stays until they are done with it. */
static void leave(struct communicator *c)
{
    struct communicator **link = &communicators;
    while (*link != c) link = &(*link)->next;
    *link = c->next;
    if (c->part) c->part->communicator = NULL;
    c->clique->members[c->rank] = NULL;
    for (struct meeting *m = c->clique->meetings; m; m = m->next)
        if (!m->done) m->gone[c->rank] = 1;
    release_clique(c->clique);
    free(c);
}

static void wait_for_runs(struct clique *q)
{
    for (struct meeting *m = q->meetings; m; m = m->next)
        while (m->running && !m->done) {
            (void)pthread_cond_wait(&ended, &mutex);
            m = q->meetings;
            if (!m) return;
        }
}

static void release_meeting(struct meeting *m)
{
    struct meeting **link = &m->clique->meetings;
    if (--m->references > 0) return;
    while (*link != m) link = &(*link)->next;
    *link = m->next;
    release_clique(m->clique);
    free(m);
}

/* What was begun and never submitted. */
static void drop_pending(struct communicator *c)
{
    if (!c->pending) return;
    struct meeting *m = c->part->meeting;
    free(c->part);
    c->part = NULL;
    m->gone[c->rank] = 1;
    release_meeting(m);
}

static int end(struct communicator *c, const char *call, int aborts)
{
    vendor_device *device = c->device;
    int begun = begin(device, call);
    (void)pthread_mutex_lock(&mutex);
    c->clique->references++;
    struct clique *q = c->clique;
    int busy = c->pending || (c->part && c->part->communicator && !c->part->ran);
    drop_pending(c);
    wait_for_runs(q);
    leave(c);
    release_clique(q);
    (void)pthread_mutex_unlock(&mutex);
    if (!aborts && busy) vendor_complain(device, "%s: the communicator has work that is not done", call);
    return begun;
}

int ncclCommAbort(void *communicator)
{
    return end(communicator, "ncclCommAbort", 1);
}

int ncclCommDestroy(void *communicator)
{
    return end(communicator, "ncclCommDestroy", 0);
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

/* Who may run a meeting that is not done is the only one to, so that nobody else passes before it is. */
static int may_run(const struct part *p)
{
    struct meeting *m = p->meeting;
    if (!p->communicator || m->done) return 1;
    m->arrived[p->rank] = 1;
    for (int r = 0; r < m->clique->ranks; r++)
        if (!m->arrived[r] || m->gone[r]) return 0;
    if (m->different || (m->runner && m->runner != p)) return 0;
    m->runner = p;
    return 1;
}

static int ready(void *payload)
{
    (void)pthread_mutex_lock(&mutex);
    int may = may_run(payload);
    (void)pthread_mutex_unlock(&mutex);
    return may;
}

static void drop(void *payload)
{
    struct part *p = payload;
    (void)pthread_mutex_lock(&mutex);
    if (!p->ran) p->meeting->gone[p->rank] = 1;
    if (p->meeting->runner == p) p->meeting->runner = NULL;
    if (p->communicator && p->communicator->part == p) p->communicator->part = NULL;
    release_meeting(p->meeting);
    free(p);
    (void)pthread_mutex_unlock(&mutex);
}

static float *bytes(const struct meeting *m, int rank, const void *pointer, size_t count)
{
    return vendor_bytes(m->devices[rank], pointer, count * sizeof(float));
}

/* Adds up `count` elements that lie `offset` elements behind each rank's from. */
static int add_up(const struct meeting *m, int k, size_t offset, size_t count, float *sums)
{
    memset(sums, 0, count * sizeof *sums);
    for (int r = m->clique->ranks - 1; r >= 0; r--) {
        const float *from = bytes(m, r, (const float *)m->wishes[r][k].from + offset, count);
        if (!from) return 0;
        for (size_t i = 0; i < count; i++) sums[i] += from[i];
    }
    return 1;
}

static int give(const struct meeting *m, int k, int rank, size_t offset, const float *values, size_t count)
{
    float *to = bytes(m, rank, (float *)m->wishes[rank][k].to + offset, count);
    if (to) memmove(to, values, count * sizeof *values);
    return to != NULL;
}

static int reduce_parts(const struct meeting *m, int k, float *sums)
{
    size_t each = m->wishes[0][k].count;
    int ranks = m->clique->ranks;
    /* in place: nothing is written before all is read */
    for (int r = 0; r < ranks; r++)
        if (!add_up(m, k, (size_t)r * each, each, sums + (size_t)r * each)) return 0;
    for (int r = 0; r < ranks; r++)
        if (!give(m, k, r, 0, sums + (size_t)r * each, each)) return 0;
    return 1;
}

static int gather_parts(const struct meeting *m, int k, float *all)
{
    size_t each = m->wishes[0][k].count;
    for (int r = 0; r < m->clique->ranks; r++) {
        const float *from = bytes(m, r, m->wishes[r][k].from, each);
        if (!from) return 0;
        memcpy(all + (size_t)r * each, from, each * sizeof *all);
    }
    for (int r = 0; r < m->clique->ranks; r++)
        if (!give(m, k, r, 0, all, (size_t)m->clique->ranks * each)) return 0;
    return 1;
}

static int run_wish(const struct meeting *m, int k, float *space)
{
    const struct wish *w = &m->wishes[0][k];
    const float *from;
    switch (w->kind) {
    case REDUCE_SCATTER: return reduce_parts(m, k, space);
    case ALL_GATHER: return gather_parts(m, k, space);
    case REDUCE: return add_up(m, k, 0, w->count, space) && give(m, k, w->root, 0, space, w->count);
    case BROADCAST:
        from = bytes(m, w->root, m->wishes[w->root][k].from, w->count);
        if (!from) return 0;
        memcpy(space, from, w->count * sizeof *space);
        break;
    default:
        if (!add_up(m, k, 0, w->count, space)) return 0;
    }
    for (int r = 0; r < m->clique->ranks; r++)
        if (!give(m, k, r, 0, space, w->count)) return 0;
    return 1;
}

static size_t elements(const struct wish *w, int ranks)
{
    return w->count * (w->kind == REDUCE_SCATTER || w->kind == ALL_GATHER ? (size_t)ranks : 1);
}

static int run_all(const struct meeting *m)
{
    int whole = 1;
    for (int k = 0; k < m->counts[0] && whole; k++) {
        float *space = malloc(elements(&m->wishes[0][k], m->clique->ranks) * sizeof *space);
        whole = run_wish(m, k, space);
        free(space);
    }
    return whole;
}

/* What an aborted collective leaves behind. */
static void scribble(vendor_device *device, const struct meeting *m, int rank)
{
    for (int k = 0; k < m->counts[rank]; k++) {
        const struct wish *w = &m->wishes[rank][k];
        size_t count = w->kind == ALL_GATHER ? elements(w, m->clique->ranks) : w->count;
        float *to = vendor_bytes(device, w->to, count * sizeof *to);
        for (size_t i = 0; to && i < count; i++) to[i] = NAN;
    }
}

/* Whose stream comes first does it for all. */
static const char *run(vendor_device *device, void *payload)
{
    struct part *p = payload;
    struct meeting *m = p->meeting;
    (void)pthread_mutex_lock(&mutex);
    int first = p->communicator && !m->done && m->runner == p, aborted = !p->communicator && !m->done;
    if (first) m->running = 1;
    p->ran = 1;
    (void)pthread_mutex_unlock(&mutex);
    if (aborted) scribble(device, m, p->rank);
    if (!first) return NULL;
    int whole = run_all(m);
    (void)pthread_mutex_lock(&mutex);
    m->done = whole;
    m->running = 0;
    if (!whole) m->different = 1; /* a device went away meanwhile: the others stand still */
    (void)pthread_cond_broadcast(&ended);
    (void)pthread_mutex_unlock(&mutex);
    return NULL;
}

/* ---- submission -------------------------------------------------------------------------------------------------- */

static struct meeting *find_meeting(struct clique *q, unsigned long number)
{
    struct meeting *m = q->meetings;
    while (m && m->number != number) m = m->next;
    if (m) return m;
    m = calloc(1, sizeof *m);
    m->clique = q;
    m->number = number;
    m->next = q->meetings;
    q->meetings = m;
    q->references++;
    for (int r = 0; r < q->ranks; r++) m->gone[r] = q->members[r] == NULL;
    return m;
}

static int same_wishes(const struct meeting *m, int a, int b)
{
    if (m->counts[a] != m->counts[b]) return 0;
    for (int k = 0; k < m->counts[a]; k++) {
        const struct wish *x = &m->wishes[a][k], *y = &m->wishes[b][k];
        if (x->kind != y->kind || x->count != y->count || x->root != y->root) return 0;
    }
    return 1;
}

/* Begins what this thread has wished for: it is submitted at a later question. */
static int launch(struct communicator *c, vendor_stream *stream)
{
    struct part *p = calloc(1, sizeof *p);
    (void)pthread_mutex_lock(&mutex);
    struct meeting *m = find_meeting(c->clique, c->number++);
    m->references++;
    memcpy(m->wishes[c->rank], wishes, sizeof wishes);
    m->counts[c->rank] = wish_count;
    m->devices[c->rank] = c->device;
    for (int r = 0; r < c->clique->ranks && !m->different; r++) m->different = m->devices[r] && !same_wishes(m, r, c->rank);
    int different = m->different;
    *p = (struct part){m, c, c->rank, 0};
    c->part = p;
    c->pending = stream;
    c->questions = (int)(c->number % 3);
    (void)pthread_mutex_unlock(&mutex);
    wish_count = 0;
    if (different) vendor_complain(c->device, "the ranks of a communicator want different collectives: they would wait for ever");
    return IN_PROGRESS;
}

static int submit_pending(struct communicator *c)
{
    static const char *const names[] = {"ncclAllReduce", "ncclReduceScatter", "ncclAllGather", "ncclBroadcast", "ncclReduce"};
    vendor_stream *stream = c->pending;
    const char *what = names[c->part->meeting->wishes[c->rank][0].kind];
    c->pending = NULL;
    vendor_status status = vendor_submit_when(stream, what, ready, run, drop, c->part);
    return status == VENDOR_OK ? SUCCESS : DEVICE_ERROR;
}

/* The communicator is its thread's own: only what the ranks share needs the mutex. */
int ncclCommGetAsyncError(void *communicator, int *code)
{
    struct communicator *c = communicator;
    int begun = begin(c->device, "ncclCommGetAsyncError");
    if (begun) return begun;
    (void)pthread_mutex_lock(&mutex);
    int refused = c->clique->refused, made = c->clique->joined == c->clique->ranks;
    (void)pthread_mutex_unlock(&mutex);
    *code = refused ? INVALID_USAGE : c->error;
    if (refused) (void)snprintf(last_error, sizeof last_error, "Duplicate GPU detected");
    if (*code) return SUCCESS;
    *code = IN_PROGRESS;
    if (!made || c->questions-- > 0) return SUCCESS;
    c->known = 1;
    *code = c->error = c->pending ? submit_pending(c) : SUCCESS;
    return SUCCESS;
}

static int refuse(vendor_device *device, const char *call, const char *why)
{
    vendor_complain(device, "%s: %s", call, why);
    failed_in_group = INVALID_USAGE;
    return INVALID_USAGE;
}

static int wish(const char *call, struct wish w, int type, int operation, struct communicator *c, vendor_stream *stream)
{
    int begun = begin(c->device, call), ranks = c->clique->ranks;
    size_t whole = elements(&w, ranks) * sizeof(float), part = w.count * sizeof(float);
    if (begun) return begun;
    if (!c->known || c->pending) return refuse(c->device, call, "the communicator is at work: ncclCommGetAsyncError was to be asked first");
    if (stand_in_current() != c->device) return refuse(c->device, call, "another device is current");
    if (vendor_stream_device(stream) != c->device) return refuse(c->device, call, "the stream is another device's");
    if (type != F32 || operation != SUM) return refuse(c->device, call, "only sums of f32 are known here");
    if (wish_count == PARTS_MOST || (grouped && grouped != c)) return refuse(c->device, call, "too much in one group");
    if (w.root < 0 || w.root >= ranks) return refuse(c->device, call, "there is no such root");
    if (vendor_check(c->device, call, w.from, w.kind == ALL_GATHER ? part : whole) != VENDOR_OK ||
        vendor_check(c->device, call, w.to, w.kind == REDUCE_SCATTER ? part : whole) != VENDOR_OK)
        return INVALID_ARGUMENT;
    wishes[wish_count++] = w;
    if (!depth) return launch(c, stream);
    grouped = c;
    grouped_stream = stream;
    return SUCCESS;
}

int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, void *communicator, void *stream)
{
    return wish("ncclAllReduce", (struct wish){ALL_REDUCE, from, to, count, 0}, type, operation, communicator, stream);
}

int ncclReduceScatter(const void *from, void *to, size_t count_each, int type, int operation, void *communicator, void *stream)
{
    return wish("ncclReduceScatter", (struct wish){REDUCE_SCATTER, from, to, count_each, 0}, type, operation, communicator, stream);
}

int ncclAllGather(const void *from, void *to, size_t count_each, int type, void *communicator, void *stream)
{
    return wish("ncclAllGather", (struct wish){ALL_GATHER, from, to, count_each, 0}, type, SUM, communicator, stream);
}

int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, void *communicator, void *stream)
{
    return wish("ncclBroadcast", (struct wish){BROADCAST, from, to, count, root}, type, SUM, communicator, stream);
}

int ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root, void *communicator, void *stream)
{
    return wish("ncclReduce", (struct wish){REDUCE, from, to, count, root}, type, operation, communicator, stream);
}

int ncclGroupStart(void)
{
    int begun = begin(stand_in_current(), "ncclGroupStart");
    if (begun) return begun;
    depth++;
    failed_in_group = SUCCESS;
    return SUCCESS;
}

int ncclGroupEnd(void)
{
    struct communicator *c = grouped;
    int begun = begin(stand_in_current(), "ncclGroupEnd"), code = begun ? begun : failed_in_group;
    if (depth == 0) return begun ? begun : refuse(stand_in_current(), "ncclGroupEnd", "no group was begun");
    grouped = NULL;
    if (--depth > 0) return SUCCESS;
    if (!code && c) return launch(c, grouped_stream);
    wish_count = 0;
    return code;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

__attribute__((destructor)) static void report(void)
{
    for (const struct communicator *c = communicators; c; c = c->next)
        if (!vendor_hangs(c->device)) vendor_complain(c->device, "leak: a communicator, rank %d of %d", c->rank, c->clique->ranks);
}
