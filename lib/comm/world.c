#include "world_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_DEFAULT "127.0.0.1"
#define PORT_DEFAULT    29500
#define TOKEN_DEFAULT   "aios"
#define OPEN_DEFAULT    300.0 /* seconds to open where there is no deadline */
#define HELLO_SECONDS   2.0   /* that a port has to answer like a store */
#define SLACK           5.0   /* seconds that the store has beyond a request's own time */
#define ABORT_SECONDS   2.0   /* that a failure may take to come back from the store */
#define CLOSE_MOST      60.0  /* seconds that the host waits for the others to leave */

struct comm_world {
    aios_context *context;
    comm_world_options options; /* its texts are the ones below */
    char name[STORE_NAME], address[256], token[STORE_TOKEN], local[64];
    int port; /* of the store */
    store *store;
    os_socket calls, beat; /* the two connections */
    os_mutex calling, writing;
    os_thread watcher;
    int watching;
    atomic_int closing;

    os_mutex mutex; /* of all below */
    os_condition changed;
    uint32_t generation;
    comm_failure failure;
    aios_error_record lost; /* the store is gone: it fails every generation */
    world_listener *listeners;

    int rank, ranks, first[COMM_RANKS_MOST];
    char names[COMM_RANKS_MOST][STORE_NAME];
    int groups, texts; /* made in this generation */
};

/* ---- failures ------------------------------------------------------------------------------------------------------ */

static void fail_locked(comm_world *w, aios_status status, const char *message)
{
    if (comm_failed(&w->failure)) return;
    comm_failure_set(&w->failure, status, message);
    os_condition_broadcast(&w->changed);
    for (world_listener *l = w->listeners; l; l = l->next) l->failed(l->user);
}

static void fail_generation(comm_world *w, uint32_t generation, aios_status status, const char *message)
{
    os_mutex_lock(&w->mutex);
    if (w->generation == generation) fail_locked(w, status, message);
    os_mutex_unlock(&w->mutex);
}

/* With this thread's record, which says what a connection to the store met. */
static aios_status lose_store(comm_world *w, aios_status status)
{
    (void)aios_error_add_frame(status, "asking the store at %s, port %d", w->address, w->port);
    char text[STORE_TEXT_MOST];
    (void)snprintf(text, sizeof text, "the store at %s, port %d, %s", w->address, w->port,
                   status == AIOS_TIMEOUT ? "does not answer: its process is stopped, or the network link to it is down"
                                          : "is gone: its process ended");
    status = FAIL(status == AIOS_TIMEOUT ? AIOS_TIMEOUT : AIOS_DEVICE_LOST, "%s", text);
    os_mutex_lock(&w->mutex);
    if (w->lost.status == AIOS_OK) aios_error_save(&w->lost);
    fail_locked(w, status, text);
    os_mutex_unlock(&w->mutex);
    return status;
}

aios_status comm_world_check(comm_world *w)
{
    return comm_failed(&w->failure) ? comm_failure_get(&w->failure) : AIOS_OK;
}

aios_status world_await_failure(comm_world *w, double seconds)
{
    double until = os_now() + seconds;
    os_mutex_lock(&w->mutex);
    while (!comm_failed(&w->failure) && os_now() < until) (void)os_condition_wait_for(&w->changed, &w->mutex, until - os_now());
    os_mutex_unlock(&w->mutex);
    return comm_world_check(w);
}

void world_listen(comm_world *w, world_listener *listener)
{
    os_mutex_lock(&w->mutex);
    listener->next = w->listeners;
    w->listeners = listener;
    if (comm_failed(&w->failure)) listener->failed(listener->user);
    os_mutex_unlock(&w->mutex);
}

void world_unlisten(comm_world *w, world_listener *listener)
{
    os_mutex_lock(&w->mutex);
    for (world_listener **at = &w->listeners; *at; at = &(*at)->next) {
        if (*at != listener) continue;
        *at = listener->next;
        break;
    }
    os_mutex_unlock(&w->mutex);
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

struct request {
    unsigned char bytes[512]; /* head and all but a value */
    size_t size;
};

static void add_word(struct request *r, uint32_t word)
{
    store_put(r->bytes + r->size, word);
    r->size += 4;
}

static void begin_request(struct request *r, uint32_t word)
{
    r->size = 4;
    add_word(r, word);
}

static void add_key(struct request *r, const char *key)
{
    size_t size = strlen(key);
    add_word(r, (uint32_t)size);
    memcpy(r->bytes + r->size, key, size);
    r->size += size;
}

static aios_status write_request(os_socket s, struct request *r, const void *value, size_t size, double seconds)
{
    store_put(r->bytes, (uint32_t)(r->size - sizeof(struct store_head) + size));
    TRY_QUIET(os_socket_write(s, r->bytes, r->size, seconds));
    return os_socket_write(s, value, size, seconds);
}

/* *failed: AIOS_OK, or what the store said, with its words in *text. */
static aios_status read_answer(comm_world *w, os_socket s, double seconds, aios_status *said, comm_bytes *answer)
{
    struct store_head head;
    *answer = (comm_bytes){NULL, 0};
    TRY_QUIET(os_socket_read(s, &head, sizeof head, seconds));
    size_t size = store_take(head.length);
    if (size > STORE_FRAME_MOST) return FAIL(AIOS_CORRUPT, "the store sends %zu bytes: at most %zu are possible", size, STORE_FRAME_MOST);
    *said = (aios_status)store_take(head.word);
    answer->bytes = aios_memory_zalloc(w->context, size + 1);
    if (!answer->bytes) return AIOS_OUT_OF_MEMORY;
    answer->size = size;
    aios_status status = os_socket_read(s, answer->bytes, size, seconds);
    if (status != AIOS_OK) {
        aios_memory_free(w->context, answer->bytes);
        *answer = (comm_bytes){NULL, 0};
    }
    return status;
}

/* seconds: that the request itself may take; 0: for ever. */
static aios_status ask(comm_world *w, struct request *r, const void *value, size_t size, double seconds, comm_bytes *answer)
{
    aios_status said = AIOS_OK;
    *answer = (comm_bytes){NULL, 0};
    os_mutex_lock(&w->calling);
    if (w->calls.descriptor < 0) {
        os_mutex_unlock(&w->calling);
        return aios_error_restore(&w->lost);
    }
    aios_status status = write_request(w->calls, r, value, size, w->options.deadline);
    if (status == AIOS_OK) status = read_answer(w, w->calls, seconds > 0 ? seconds + SLACK : 0, &said, answer);
    if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY) {
        os_socket_close(&w->calls); /* half an answer is of no use */
        status = lose_store(w, status);
    }
    os_mutex_unlock(&w->calling);
    if (status != AIOS_OK || said == AIOS_OK) return status;
    status = FAIL(said, "%s", answer->bytes);
    aios_memory_free(w->context, answer->bytes);
    *answer = (comm_bytes){NULL, 0};
    return status;
}

aios_status world_set(comm_world *w, const char *key, int readers, const void *bytes, size_t size)
{
    struct request r;
    comm_bytes nothing;
    if (size > STORE_VALUE_MOST) return FAIL(AIOS_OUT_OF_RANGE, "%zu bytes for the store: at most %zu", size, STORE_VALUE_MOST);
    begin_request(&r, STORE_SET);
    add_word(&r, w->generation);
    add_word(&r, (uint32_t)readers);
    add_key(&r, key);
    aios_status status = ask(w, &r, bytes, size, w->options.deadline, &nothing);
    aios_memory_free(w->context, nothing.bytes);
    return status;
}

static uint32_t milliseconds(double seconds)
{
    if (seconds <= 0) return 0;
    return seconds > 4e6 ? 4000000000u : (uint32_t)(seconds * 1e3) + 1;
}

aios_status world_get(comm_world *w, const char *key, double seconds, comm_bytes *got)
{
    struct request r;
    begin_request(&r, STORE_GET);
    add_word(&r, w->generation);
    add_word(&r, milliseconds(seconds));
    add_key(&r, key);
    return ask(w, &r, NULL, 0, seconds, got);
}

/* ---- the second connection ------------------------------------------------------------------------------------------ */

static aios_status send_beat(comm_world *w, uint32_t generation, int knows)
{
    struct request r;
    begin_request(&r, STORE_PULSE_);
    add_word(&r, generation);
    add_word(&r, (uint32_t)knows);
    os_mutex_lock(&w->writing);
    aios_status status = write_request(w->beat, &r, NULL, 0, w->options.deadline);
    os_mutex_unlock(&w->writing);
    return status;
}

static aios_status beat_once(comm_world *w)
{
    aios_status said = AIOS_OK;
    comm_bytes answer;
    os_mutex_lock(&w->mutex);
    uint32_t generation = w->generation;
    int knows = comm_failed(&w->failure);
    os_mutex_unlock(&w->mutex);
    TRY_QUIET(send_beat(w, generation, knows));
    TRY_QUIET(read_answer(w, w->beat, w->options.deadline > 0 ? w->options.deadline + STORE_PULSE : 0, &said, &answer));
    if (said != AIOS_OK) fail_generation(w, generation, said, answer.bytes);
    aios_memory_free(w->context, answer.bytes);
    return AIOS_OK;
}

static void *watch(void *argument)
{
    comm_world *w = argument;
    aios_status status = AIOS_OK;
    while (status == AIOS_OK && !atomic_load(&w->closing)) status = beat_once(w);
    if (!atomic_load(&w->closing)) (void)lose_store(w, status);
    return NULL;
}

void comm_world_abort(comm_world *w, aios_status status, const char *message)
{
    struct request r;
    aios_error_record record;
    aios_error_save(&record); /* the caller's, which often is what is told */
    os_mutex_lock(&w->mutex);
    uint32_t generation = w->generation;
    os_mutex_unlock(&w->mutex);
    begin_request(&r, STORE_FAIL);
    add_word(&r, generation);
    add_word(&r, (uint32_t)status);
    size_t size = strlen(message) < STORE_TEXT_MOST ? strlen(message) : STORE_TEXT_MOST - 1;
    os_mutex_lock(&w->writing);
    aios_status sent = write_request(w->beat, &r, message, size, ABORT_SECONDS);
    os_mutex_unlock(&w->writing);
    if (sent == AIOS_OK) (void)world_await_failure(w, ABORT_SECONDS);
    fail_generation(w, generation, status, message); /* where the store has no word for it */
    (void)aios_error_restore(&record);
}

/* ---- joining a generation -------------------------------------------------------------------------------------------- */

static aios_status take_ranks(comm_world *w, const comm_bytes *list)
{
    const unsigned char *at = (const unsigned char *)list->bytes;
    size_t one = 4 + STORE_NAME;
    uint32_t count = list->size < 4 ? 0 : store_take(at);
    if (count < 1 || count > COMM_RANKS_MOST || list->size != 4 + count * one)
        return FAIL(AIOS_CORRUPT, "the store's list of ranks is damaged");
    int own = -1, me = w->options.rank;
    for (uint32_t i = 0; i < count; i++) {
        w->first[i] = (int)store_take(at + 4 + i * one);
        memcpy(w->names[i], at + 8 + i * one, STORE_NAME);
        w->names[i][STORE_NAME - 1] = 0;
        if (w->first[i] == me) own = (int)i;
    }
    if (own < 0) return FAIL(AIOS_CORRUPT, "the store's list of ranks lacks this one");
    w->rank = own;
    w->ranks = (int)count;
    w->groups = w->texts = 0;
    return AIOS_OK;
}

static aios_status join(comm_world *w, uint32_t generation, double seconds)
{
    struct request r;
    comm_bytes list;
    begin_request(&r, STORE_JOIN);
    add_word(&r, generation);
    add_word(&r, milliseconds(seconds));
    TRY_QUIET(ask(w, &r, NULL, 0, seconds, &list));
    os_mutex_lock(&w->mutex);
    aios_status status = take_ranks(w, &list);
    if (status == AIOS_OK) {
        w->generation = generation;
        atomic_store(&w->failure.status, AIOS_OK);
        if (w->lost.status != AIOS_OK) fail_locked(w, w->lost.status, w->lost.message);
    }
    os_mutex_unlock(&w->mutex);
    aios_memory_free(w->context, list.bytes);
    return status;
}

aios_status comm_world_reform(comm_world *w, double grace, int *left, int *left_count)
{
    int old[COMM_RANKS_MOST], ranks = w->ranks, gone = 0, at = 0;
    memcpy(old, w->first, sizeof old);
    TRY(join(w, w->generation + 1, grace > 0 ? grace : STORE_PULSE), "reforming the group of %d ranks", ranks);
    for (int r = 0; r < ranks; r++) {
        if (at < w->ranks && w->first[at] == old[r]) {
            at++;
            continue;
        }
        if (left) left[gone] = r;
        gone++;
    }
    if (left_count) *left_count = gone;
    return AIOS_OK;
}

/* ---- finding the store ----------------------------------------------------------------------------------------------- */

static aios_status say_hello(comm_world *w, os_socket s, int beat)
{
    struct store_hello hello = {.magic = STORE_MAGIC};
    comm_bytes answer;
    aios_status said = AIOS_OK;
    store_put(hello.version, STORE_VERSION);
    store_put(hello.pulse, (uint32_t)beat);
    store_put(hello.rank, (uint32_t)w->options.rank);
    store_put(hello.ranks, (uint32_t)w->options.ranks);
    memcpy(hello.token, w->token, sizeof hello.token);
    memcpy(hello.name, w->name, sizeof hello.name);
    TRY_QUIET(os_socket_write(s, &hello, sizeof hello, HELLO_SECONDS));
    TRY_QUIET(read_answer(w, s, HELLO_SECONDS, &said, &answer));
    aios_status status = said == AIOS_OK ? AIOS_OK : FAIL(said, "%s", answer.bytes);
    aios_memory_free(w->context, answer.bytes);
    return status;
}

static aios_status connect_store(comm_world *w, int port, double seconds, int beat, os_socket *s)
{
    TRY_QUIET(os_socket_connect(w->address, port, seconds < HELLO_SECONDS ? seconds : HELLO_SECONDS, s));
    aios_status status = say_hello(w, *s, beat);
    if (status != AIOS_OK) os_socket_close(s);
    return status;
}

/* Whether another try, or another port, may help. */
static int is_worth_another(const comm_world *w, aios_status status)
{
    if (status == AIOS_WRONG_STATE) return w->options.port_taken; /* another job's */
    return status == AIOS_IO || status == AIOS_TIMEOUT || status == AIOS_CORRUPT || status == AIOS_NOT_FOUND;
}

static aios_status find_store(comm_world *w, double until)
{
    int first = w->options.port, count = 1;
    if (w->store) {
        first = comm_store_port(w->store);
    } else if (w->options.port_taken) {
        first++;
        count = STORE_PORTS_AFTER;
    }
    for (double pause = 0.01;; pause = pause < 0.3 ? pause * 1.5 : pause) {
        aios_status status = AIOS_IO;
        for (int i = 0; i < count; i++) {
            w->port = first + i;
            status = connect_store(w, w->port, until - os_now(), 0, &w->calls);
            if (status == AIOS_OK || !is_worth_another(w, status)) return status;
        }
        if (os_now() >= until)
            return FAIL(AIOS_TIMEOUT, "no store of this job at %s, port %d%s, within the deadline: is rank 0 running there? (%s)",
                        w->address, w->options.port, count > 1 ? " and the 16 after it" : "", aios_error_message());
        os_sleep(pause);
    }
}

static aios_status host(aios_context *context, const char *address, int port, int ports, int ranks, const char *token, double deadline,
                        store **opened)
{
    store_options options = {.address = address, .port = port, .ports = ports, .ranks = ranks, .token = token, .deadline = deadline};
    aios_status status = comm_store_open(context, &options, opened);
    if (status == AIOS_UNAVAILABLE) { /* a name for this host that only others know */
        options.address = NULL;
        status = comm_store_open(context, &options, opened);
    }
    return status;
}

/* A host's name may stand for 127.0.1.1 on the host itself: others can't connect to that. */
static void find_local_address(comm_world *w)
{
    os_socket_address(w->calls, w->local);
    if (!os_address_is_loopback(w->address) && os_address_is_loopback(w->local)) os_host_address(w->local);
}

/* ---- making ---------------------------------------------------------------------------------------------------------- */

static aios_status check_options(const comm_world_options *o)
{
    if (o->ranks < 1 || o->ranks > COMM_RANKS_MOST)
        return FAIL(AIOS_INVALID_ARGUMENT, "%d ranks: 1 to %d are allowed", o->ranks, COMM_RANKS_MOST);
    if (o->rank < 0 || o->rank >= o->ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "rank %d of %d: it must be from 0 to %d", o->rank, o->ranks, o->ranks - 1);
    if (o->port < 0 || o->port > 65535 - STORE_PORTS_AFTER)
        return FAIL(AIOS_OUT_OF_RANGE, "port %d: 1 to %d are allowed, 0 is %d", o->port, 65535 - STORE_PORTS_AFTER, PORT_DEFAULT);
    if (o->token && strlen(o->token) >= STORE_TOKEN)
        return FAIL(AIOS_OUT_OF_RANGE, "the job's token has %zu bytes: at most %d are allowed", strlen(o->token), STORE_TOKEN - 1);
    if (o->address && strlen(o->address) >= sizeof((comm_world *)0)->address)
        return FAIL(AIOS_OUT_OF_RANGE, "the master's address has %zu bytes: at most %zu", strlen(o->address),
                    sizeof((comm_world *)0)->address - 1);
    return AIOS_OK;
}

static void take_options(comm_world *w, const comm_world_options *options)
{
    char machine[64];
    w->options = *options;
    if (!w->options.port) w->options.port = PORT_DEFAULT;
    os_host_name(machine);
    if (options->name)
        (void)snprintf(w->name, sizeof w->name, "%s", options->name);
    else
        (void)snprintf(w->name, sizeof w->name, "%.50s, process %d", machine, os_process_id());
    (void)snprintf(w->address, sizeof w->address, "%s", options->address ? options->address : ADDRESS_DEFAULT);
    (void)snprintf(w->token, sizeof w->token, "%s", options->token ? options->token : TOKEN_DEFAULT);
}

static aios_status open_world(comm_world *w)
{
    double seconds = w->options.deadline > 0 ? w->options.deadline : OPEN_DEFAULT, until = os_now() + seconds;
    int taken = w->options.port_taken != 0;
    if (w->options.host_store)
        TRY(host(w->context, w->address, w->options.port + taken, taken ? STORE_PORTS_AFTER : 1, w->options.ranks, w->token,
                 w->options.deadline, &w->store),
            "opening the store of %d ranks", w->options.ranks);
    TRY(find_store(w, until), "rank %d of %d looks for the others", w->options.rank, w->options.ranks);
    TRY(connect_store(w, w->port, seconds, 1, &w->beat), "rank %d of %d looks for the others", w->options.rank, w->options.ranks);
    find_local_address(w);
    w->generation = UINT32_MAX; /* that before the first */
    TRY_QUIET(os_thread_start(&w->watcher, "aios-watch", watch, w));
    w->watching = 1;
    return join(w, 0, until > os_now() + STORE_PULSE ? until - os_now() : STORE_PULSE);
}

aios_status comm_world_open(aios_context *context, const comm_world_options *options, comm_world **opened)
{
    *opened = NULL;
    TRY_QUIET(check_options(options));
    comm_world *w = aios_new(context, comm_world);
    if (!w) return AIOS_OUT_OF_MEMORY;
    w->context = context;
    w->calls = w->beat = OS_SOCKET_CLOSED;
    os_mutex_init(&w->calling);
    os_mutex_init(&w->writing);
    os_mutex_init(&w->mutex);
    os_condition_init(&w->changed);
    comm_failure_init(&w->failure);
    take_options(w, options);
    aios_status status = open_world(w);
    if (status != AIOS_OK) {
        aios_error_record record;
        aios_error_save(&record);
        comm_world_close(w);
        return aios_error_restore(&record);
    }
    *opened = w;
    return AIOS_OK;
}

void comm_world_close(comm_world *w)
{
    if (!w) return;
    double patience = w->options.deadline > 0 && w->options.deadline < CLOSE_MOST ? w->options.deadline : CLOSE_MOST;
    if (!w->watching || comm_failed(&w->failure)) patience = ABORT_SECONDS;
    atomic_store(&w->closing, 1);
    if (w->watching) {
        struct request r;
        begin_request(&r, STORE_BYE);
        os_mutex_lock(&w->writing);
        (void)write_request(w->beat, &r, NULL, 0, ABORT_SECONDS);
        os_mutex_unlock(&w->writing);
        os_socket_shut(w->beat);
        os_thread_join(w->watcher);
    }
    os_socket_close(&w->beat);
    os_socket_close(&w->calls);
    comm_store_close(w->store, patience);
    comm_failure_end(&w->failure);
    os_condition_destroy(&w->changed);
    os_mutex_destroy(&w->mutex);
    os_mutex_destroy(&w->writing);
    os_mutex_destroy(&w->calling);
    aios_memory_free(w->context, w);
}

int comm_world_rank(const comm_world *w)
{
    return w->rank;
}

int comm_world_ranks(const comm_world *w)
{
    return w->ranks;
}

int comm_world_generation(const comm_world *w)
{
    return (int)w->generation;
}

int comm_world_first_rank(const comm_world *w, int rank)
{
    return w->first[rank];
}

const char *comm_world_name(const comm_world *w, int rank)
{
    return w->names[rank];
}

aios_context *world_context(const comm_world *w)
{
    return w->context;
}

double world_deadline(const comm_world *w)
{
    return w->options.deadline;
}

const char *world_local_address(const comm_world *w)
{
    return w->local;
}

int world_next_group(comm_world *w)
{
    return w->groups++;
}

/* ---- few bytes ------------------------------------------------------------------------------------------------------- */

aios_status comm_world_broadcast(comm_world *w, int root, const void *bytes, size_t size, comm_bytes *got)
{
    char key[STORE_KEY_MOST];
    *got = (comm_bytes){NULL, 0};
    if (root < 0 || root >= w->ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "root %d of %d ranks: it must be from 0 to %d", root, w->ranks, w->ranks - 1);
    (void)snprintf(key, sizeof key, "text/%d", w->texts++);
    if (w->rank == root) TRY(world_set(w, key, w->ranks, bytes, size), "sending %zu bytes to the other ranks", size);
    TRY(world_get(w, key, w->options.deadline, got), "waiting for rank %d (%s) to send its bytes", root, w->names[root]);
    return AIOS_OK;
}

aios_status comm_world_gather(comm_world *w, const void *bytes, size_t size, comm_bytes *all)
{
    char key[STORE_KEY_MOST];
    int number = w->texts++;
    aios_status status = AIOS_OK;
    for (int r = 0; r < w->ranks; r++) all[r] = (comm_bytes){NULL, 0};
    (void)snprintf(key, sizeof key, "text/%d/%d", number, w->rank);
    ATTEMPT(world_set(w, key, w->ranks, bytes, size), "giving %zu bytes to the other ranks", size);
    for (int r = 0; r < w->ranks; r++) {
        (void)snprintf(key, sizeof key, "text/%d/%d", number, r);
        ATTEMPT(world_get(w, key, w->options.deadline, &all[r]), "waiting for rank %d (%s) to give its bytes", r, w->names[r]);
    }
done:
    for (int r = 0; r < w->ranks && status != AIOS_OK; r++) {
        aios_memory_free(w->context, all[r].bytes);
        all[r] = (comm_bytes){NULL, 0};
    }
    return status;
}

/* ---- a store without a rank -------------------------------------------------------------------------------------------- */

struct comm_host {
    aios_context *context;
    store *store;
};

aios_status comm_host_open(aios_context *context, const char *address, int *port, int ranks, const char *token, double deadline,
                           comm_host **opened)
{
    *opened = NULL;
    comm_world_options check = {.ranks = ranks, .port = *port, .token = token, .address = address};
    TRY_QUIET(check_options(&check));
    comm_host *h = aios_new(context, comm_host);
    if (!h) return AIOS_OUT_OF_MEMORY;
    h->context = context;
    aios_status status =
        host(context, address ? address : ADDRESS_DEFAULT, *port, 1, ranks, token ? token : TOKEN_DEFAULT, deadline, &h->store);
    if (status != AIOS_OK) {
        aios_memory_free(context, h);
        return aios_error_add_frame(status, "opening the store of %d ranks", ranks);
    }
    *port = comm_store_port(h->store);
    *opened = h;
    return AIOS_OK;
}

void comm_host_close(comm_host *h)
{
    if (!h) return;
    comm_store_close(h->store, 0);
    aios_memory_free(h->context, h);
}
