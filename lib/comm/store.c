#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MOST  (2 * COMM_RANKS_MOST + 64)
#define STRANGERS     64  /* connections that have not said hello; the oldest makes room */
#define HELLO_SECONDS 5.0 /* to say it */
#define OUT_MOST      (4 * STORE_FRAME_MOST)
#define LOOK_SECONDS  0.05 /* at the longest between looks at what is due */
#define SILENT_BEATS  1.5  /* seconds without a pulse that make a rank suspect when another waits in vain */

#define LATE "the others went on without this rank: it was silent, or came late to the next generation"

enum presence { ABSENT, HERE, LEFT, DEAD };

struct member {
    enum presence presence;
    char name[STORE_NAME];
    double beat;         /* when it last gave a sign of life */
    int silent;          /* 1: longer ago than the deadline */
    int current, joined; /* 1: is in this generation; wants to be in the next */
    int connections[2];  /* of the first and the second kind: how many */
};

struct client {
    os_socket socket;
    double since;
    int known, rank, pulse, closing; /* known: it said hello; closing: after what is to be written */
    unsigned char *in, *out;
    size_t in_size, in_room, out_size, out_room, out_done;
    /* What it waits for: STORE_GET, STORE_JOIN or STORE_PULSE_; 0: nothing. */
    uint32_t waits, generation;
    double until;
    char key[STORE_KEY_MOST + 1];
};

struct entry {
    struct entry *next;
    uint32_t generation, readers;
    size_t size;
    char key[STORE_KEY_MOST + 1];
    unsigned char bytes[];
};

struct store {
    aios_context *context;
    os_thread thread;
    os_socket listener;
    int port, ranks;
    double deadline, looked;
    char token[STORE_TOKEN];
    atomic_int connected, closing;
    struct client *clients[CLIENTS_MOST];
    int count;
    struct member members[COMM_RANKS_MOST];
    uint32_t generation; /* that is next to be joined; the current one is before it */
    double joining;      /* when the next closes; 0: nobody has come */
    aios_status failure; /* of the current one */
    char message[STORE_TEXT_MOST];
    struct entry *entries;
    size_t bytes;
};

/* ---- clients ------------------------------------------------------------------------------------------------------ */

/* sweep() does the rest. */
static void drop(struct client *c)
{
    os_socket_close(&c->socket);
}

static int reserve(store *s, unsigned char **buffer, size_t *room, size_t need)
{
    size_t wanted = *room ? *room : 512;
    if (need <= *room) return 1;
    while (wanted < need) wanted *= 2;
    unsigned char *larger = aios_memory_resize(s->context, *buffer, wanted);
    if (!larger) return 0;
    *buffer = larger;
    *room = wanted;
    return 1;
}

static void flush(struct client *c)
{
    while (c->socket.descriptor >= 0 && c->out_done < c->out_size) {
        long done = os_socket_write_some(c->socket, c->out + c->out_done, c->out_size - c->out_done);
        if (done < 0) drop(c);
        if (done <= 0) return;
        c->out_done += (size_t)done;
    }
    c->out_done = c->out_size = 0;
    if (c->closing) drop(c);
}

static void answer(store *s, struct client *c, aios_status status, const void *body, size_t size)
{
    struct store_head head;
    if (c->socket.descriptor < 0) return;
    c->waits = 0;
    if (c->out_size + sizeof head + size > OUT_MOST || !reserve(s, &c->out, &c->out_room, c->out_size + sizeof head + size)) {
        drop(c); /* it takes nothing */
        return;
    }
    store_put(head.length, (uint32_t)size);
    store_put(head.word, (uint32_t)status);
    memcpy(c->out + c->out_size, &head, sizeof head);
    if (size) memcpy(c->out + c->out_size + sizeof head, body, size);
    c->out_size += sizeof head + size;
    flush(c);
}

static void answer_text(store *s, struct client *c, aios_status status, const char *text)
{
    answer(s, c, status, text, strlen(text));
}

static void refuse(store *s, struct client *c, aios_status status, const char *text)
{
    c->closing = 1;
    answer_text(s, c, status, text);
}

/* ---- generations --------------------------------------------------------------------------------------------------- */

/* The rank that `first` has in the current generation. */
static int current_rank(const store *s, int first)
{
    int rank = 0;
    for (int i = 0; i < first; i++) rank += s->members[i].current;
    return rank;
}

static void fail_generation(store *s, aios_status status, const char *message)
{
    if (s->failure != AIOS_OK || s->generation == 0) return;
    s->failure = status;
    (void)snprintf(s->message, sizeof s->message, "%s", message);
    for (int i = 0; i < s->count; i++) {
        struct client *c = s->clients[i];
        if (c->waits && c->waits != STORE_JOIN && c->generation + 1 == s->generation) answer_text(s, c, s->failure, s->message);
    }
}

static void fail_member(store *s, int first, aios_status status, const char *what)
{
    char text[STORE_TEXT_MOST];
    (void)snprintf(text, sizeof text, "rank %d (%s) %s", current_rank(s, first), s->members[first].name, what);
    fail_generation(s, status, text);
}

static void forget_entries(store *s, uint32_t before)
{
    for (struct entry **at = &s->entries; *at;) {
        struct entry *e = *at;
        if (e->generation >= before) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        s->bytes -= e->size;
        aios_memory_free(s->context, e);
    }
}

static void tell_joined(store *s)
{
    unsigned char list[4 + COMM_RANKS_MOST * (4 + STORE_NAME)];
    uint32_t count = 0;
    for (int i = 0; i < s->ranks; i++) {
        const struct member *m = &s->members[i];
        if (!m->current) continue;
        unsigned char *to = list + 4 + count++ * (4 + STORE_NAME);
        store_put(to, (uint32_t)i);
        memcpy(to + 4, m->name, STORE_NAME);
    }
    store_put(list, count);
    for (int i = 0; i < s->count; i++)
        if (s->clients[i]->waits == STORE_JOIN) answer(s, s->clients[i], AIOS_OK, list, 4 + count * (4 + STORE_NAME));
}

/* What nobody waits for any longer: everybody who may come has, or the time is over. */
static void close_joining(store *s)
{
    for (int i = 0; i < s->ranks; i++) {
        struct member *m = &s->members[i];
        if (m->current && !m->joined) m->presence = m->presence == LEFT ? LEFT : DEAD;
        m->current = m->joined;
        m->joined = 0;
        m->silent = 0;
    }
    s->generation++;
    s->joining = 0;
    s->failure = AIOS_OK;
    forget_entries(s, s->generation - 1);
    tell_joined(s);
}

static void refuse_opening(store *s)
{
    char text[STORE_TEXT_MOST];
    int missing = 0;
    size_t used = 0;
    char names[256] = "";
    for (int i = 0; i < s->ranks; i++) {
        if (s->members[i].joined) continue;
        missing++;
        if (used < sizeof names - 16) used += (size_t)snprintf(names + used, sizeof names - used, "%s%d", used ? ", " : "", i);
    }
    (void)snprintf(text, sizeof text, "%d of %d ranks came in time; missing: %s", s->ranks - missing, s->ranks, names);
    s->joining = 0;
    for (int i = 0; i < s->ranks; i++) s->members[i].joined = 0;
    for (int i = 0; i < s->count; i++)
        if (s->clients[i]->waits == STORE_JOIN) answer_text(s, s->clients[i], AIOS_TIMEOUT, text);
}

static void look_at_joining(store *s, double now)
{
    int missing = 0, joined = 0;
    for (int i = 0; i < s->ranks; i++) {
        const struct member *m = &s->members[i];
        joined += m->joined;
        missing += !m->joined && (s->generation == 0 || (m->current && m->presence == HERE && !m->silent));
    }
    if (joined == 0) s->joining = 0;
    if (joined == 0 || (missing && now < s->joining)) return;
    if (missing && s->generation == 0)
        refuse_opening(s);
    else
        close_joining(s);
}

/* A rank's process is no more. */
static void lose(store *s, int first)
{
    struct member *m = &s->members[first];
    m->joined = 0;
    if (m->presence != HERE) return;
    m->presence = s->generation == 0 ? ABSENT : DEAD;
    if (m->current) fail_member(s, first, AIOS_DEVICE_LOST, "ended: its process closed the connection to the others");
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

struct reader {
    const unsigned char *at;
    size_t left;
    int bad;
};

static uint32_t read_word(struct reader *r)
{
    if (r->left < 4) {
        r->bad = 1;
        return 0;
    }
    uint32_t value = store_take(r->at);
    r->at += 4;
    r->left -= 4;
    return value;
}

static void read_key(struct reader *r, char key[STORE_KEY_MOST + 1])
{
    uint32_t size = read_word(r);
    *key = 0;
    if (r->bad || size > STORE_KEY_MOST || size > r->left) {
        r->bad = 1;
        return;
    }
    memcpy(key, r->at, size);
    key[size] = 0;
    r->at += size;
    r->left -= size;
}

/* 1: the request's generation is the current one; else it is answered. */
static int check_generation(store *s, struct client *c, uint32_t generation)
{
    if (generation + 1 != s->generation)
        answer_text(s, c, AIOS_WRONG_STATE, LATE);
    else if (s->failure != AIOS_OK)
        answer_text(s, c, s->failure, s->message);
    else
        return 1;
    return 0;
}

static struct entry **find(store *s, uint32_t generation, const char *key)
{
    struct entry **at = &s->entries;
    while (*at && ((*at)->generation != generation || strcmp((*at)->key, key) != 0)) at = &(*at)->next;
    return at;
}

/* Answers a waiting STORE_GET where there is a value. */
static void give(store *s, struct client *c)
{
    struct entry **at = find(s, c->generation, c->key), *e = *at;
    if (!e) return;
    answer(s, c, AIOS_OK, e->bytes, e->size);
    if (e->readers == 0 || --e->readers > 0) return;
    *at = e->next;
    s->bytes -= e->size;
    aios_memory_free(s->context, e);
}

static void set(store *s, struct client *c, struct reader *r)
{
    char key[STORE_KEY_MOST + 1];
    uint32_t generation = read_word(r), readers = read_word(r);
    read_key(r, key);
    if (r->bad || r->left > STORE_VALUE_MOST) {
        refuse(s, c, AIOS_CORRUPT, "the store does not understand this request");
        return;
    }
    if (!check_generation(s, c, generation)) return;
    if (*find(s, generation, key) || s->bytes + r->left > STORE_BYTES_MOST) {
        answer_text(s, c, AIOS_WRONG_STATE, "the store has a value of that name already, or is full");
        return;
    }
    struct entry *e = aios_memory_zalloc(s->context, sizeof *e + r->left);
    if (!e) {
        answer_text(s, c, AIOS_OUT_OF_MEMORY, "the store has no memory left");
        return;
    }
    e->generation = generation;
    e->readers = readers;
    e->size = r->left;
    memcpy(e->key, key, sizeof key);
    if (r->left) memcpy(e->bytes, r->at, r->left);
    e->next = s->entries;
    s->entries = e;
    s->bytes += e->size;
    answer(s, c, AIOS_OK, NULL, 0);
    for (int i = 0; i < s->count; i++)
        if (s->clients[i]->waits == STORE_GET) give(s, s->clients[i]);
}

static void get(store *s, struct client *c, struct reader *r, double now)
{
    uint32_t generation = read_word(r), wait = read_word(r);
    read_key(r, c->key);
    if (r->bad) {
        refuse(s, c, AIOS_CORRUPT, "the store does not understand this request");
        return;
    }
    if (!check_generation(s, c, generation)) return;
    c->waits = STORE_GET;
    c->generation = generation;
    c->until = wait ? now + wait * 1e-3 : 0;
    give(s, c);
}

static void join(store *s, struct client *c, struct reader *r, double now)
{
    uint32_t generation = read_word(r), wait = read_word(r);
    struct member *m = &s->members[c->rank];
    int late = s->generation > 0 && !m->current;
    if (r->bad || m->presence != HERE || late || generation != s->generation) {
        answer_text(s, c, AIOS_WRONG_STATE, LATE);
        return;
    }
    m->joined = 1;
    c->waits = STORE_JOIN;
    c->until = 0;
    if (s->joining == 0) s->joining = now + wait * 1e-3;
}

static void pulse(store *s, struct client *c, struct reader *r, double now)
{
    uint32_t generation = read_word(r), knows = read_word(r);
    if (!c->pulse || r->bad) {
        refuse(s, c, AIOS_CORRUPT, "the store does not understand this request");
        return;
    }
    s->members[c->rank].beat = now;
    s->members[c->rank].silent = 0;
    c->waits = STORE_PULSE_;
    c->generation = generation;
    c->until = now + STORE_PULSE;
    if (knows || s->generation == 0) return;
    if (generation + 1 == s->generation && s->failure != AIOS_OK)
        answer_text(s, c, s->failure, s->message);
    else if (!s->members[c->rank].current)
        answer_text(s, c, AIOS_WRONG_STATE, LATE);
}

/* Who waited in vain names the one it waited for; where another has been silent, that one is why. */
static void fail(store *s, struct reader *r, double now)
{
    char text[STORE_TEXT_MOST];
    uint32_t generation = read_word(r);
    aios_status status = (aios_status)read_word(r);
    if (r->bad || generation + 1 != s->generation || status == AIOS_OK) return;
    (void)snprintf(text, sizeof text, "%.*s", (int)(r->left < sizeof text ? r->left : sizeof text - 1), (const char *)r->at);
    for (int i = 0; i < s->ranks && status == AIOS_TIMEOUT; i++) {
        const struct member *m = &s->members[i];
        char what[STORE_TEXT_MOST - 128];
        if (!m->current || m->presence != HERE || now - m->beat < SILENT_BEATS) continue;
        (void)snprintf(what, sizeof what, "gave no sign of life for %.1f s: its process is stopped, or its network link is down (%.250s)",
                       now - m->beat, text);
        fail_member(s, i, AIOS_TIMEOUT, what);
    }
    fail_generation(s, status, text);
}

static void serve(store *s, struct client *c, uint32_t word, struct reader *r, double now)
{
    switch (word) {
    case STORE_SET: set(s, c, r); break;
    case STORE_GET: get(s, c, r, now); break;
    case STORE_JOIN: join(s, c, r, now); break;
    case STORE_PULSE_: pulse(s, c, r, now); break;
    case STORE_FAIL: fail(s, r, now); break;
    case STORE_BYE:
        if (s->members[c->rank].presence == HERE) s->members[c->rank].presence = LEFT;
        break;
    default: refuse(s, c, AIOS_CORRUPT, "the store does not understand this request");
    }
}

/* ---- hello --------------------------------------------------------------------------------------------------------- */

static int same_token(const char *a, const char *b)
{
    int different = 0;
    for (int i = 0; i < STORE_TOKEN; i++) different |= a[i] ^ b[i];
    return !different;
}

static int is_printable(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    if (length == size) return 0;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127) return 0;
    return 1;
}

static void greet(store *s, struct client *c, const struct store_hello *hello, double now)
{
    char text[STORE_TEXT_MOST];
    uint32_t version = store_take(hello->version), rank = store_take(hello->rank), ranks = store_take(hello->ranks);
    c->pulse = store_take(hello->pulse) == 1;
    if (memcmp(hello->magic, STORE_MAGIC, sizeof hello->magic) != 0 || !is_printable(hello->name, sizeof hello->name)) {
        drop(c);
    } else if (version != STORE_VERSION) {
        (void)snprintf(text, sizeof text, "the store speaks version %d and this rank %u: all ranks must run the same libaios",
                       STORE_VERSION, (unsigned)version);
        refuse(s, c, AIOS_ABI_MISMATCH, text);
    } else if (!same_token(hello->token, s->token)) {
        refuse(s, c, AIOS_WRONG_STATE, "another job uses this port (its token is another): give each job its own port");
    } else if (ranks != (uint32_t)s->ranks || rank >= ranks) {
        (void)snprintf(text, sizeof text, "rank %u of %u: this job has %d ranks", (unsigned)rank, (unsigned)ranks, s->ranks);
        refuse(s, c, AIOS_WRONG_STATE, text);
    } else if (s->members[rank].presence == DEAD || s->members[rank].presence == LEFT || s->members[rank].connections[c->pulse]) {
        (void)snprintf(text, sizeof text, "rank %u (%s) came before: each process must have its own rank", (unsigned)rank,
                       s->members[rank].name);
        refuse(s, c, AIOS_ALREADY_EXISTS, text);
    } else {
        struct member *m = &s->members[rank];
        c->known = 1;
        c->rank = (int)rank;
        m->connections[c->pulse]++;
        m->beat = now;
        atomic_fetch_add(&s->connected, 1);
        if (c->pulse) m->presence = HERE;
        memcpy(m->name, hello->name, sizeof m->name);
        answer(s, c, AIOS_OK, NULL, 0);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

/* Bytes of what came that are dealt with; 0: more are wanted. */
static size_t take_one(store *s, struct client *c, double now)
{
    struct store_hello hello;
    struct store_head head;
    if (!c->known) {
        size_t looked = c->in_size < sizeof hello.magic ? c->in_size : sizeof hello.magic;
        if (memcmp(c->in, STORE_MAGIC, looked) != 0) drop(c);
        if (c->in_size < sizeof hello) return 0;
        memcpy(&hello, c->in, sizeof hello);
        greet(s, c, &hello, now);
        return sizeof hello;
    }
    if (c->in_size < sizeof head) return 0;
    memcpy(&head, c->in, sizeof head);
    size_t size = store_take(head.length);
    if (size > STORE_FRAME_MOST || c->closing) {
        drop(c);
        return 0;
    }
    if (c->in_size < sizeof head + size) return 0;
    struct reader r = {c->in + sizeof head, size, 0};
    serve(s, c, store_take(head.word), &r, now);
    return sizeof head + size;
}

static void receive(store *s, struct client *c, double now)
{
    while (c->socket.descriptor >= 0) {
        if (!reserve(s, &c->in, &c->in_room, c->in_size + 4096)) drop(c);
        if (c->socket.descriptor < 0) return;
        long done = os_socket_read_some(c->socket, c->in + c->in_size, c->in_room - c->in_size);
        if (done < 0) drop(c);
        if (done <= 0) return;
        c->in_size += (size_t)done;
        for (size_t used; c->socket.descriptor >= 0 && (used = take_one(s, c, now)) > 0;) {
            c->in_size -= used;
            memmove(c->in, c->in + used, c->in_size);
        }
    }
}

static void accept_all(store *s, double now)
{
    os_socket fresh;
    while (os_socket_accept(s->listener, &fresh)) {
        struct client *oldest = NULL;
        int strangers = 0;
        for (int i = 0; i < s->count; i++) {
            if (s->clients[i]->known) continue;
            strangers++;
            if (!oldest || s->clients[i]->since < oldest->since) oldest = s->clients[i];
        }
        struct client *c = NULL;
        if (strangers >= STRANGERS && oldest) {
            os_socket_close(&oldest->socket);
            c = oldest;
            c->in_size = c->out_size = c->out_done = 0;
            c->closing = 0;
        } else if (s->count < CLIENTS_MOST) {
            c = aios_new(s->context, struct client);
            if (c) s->clients[s->count++] = c;
        }
        if (!c) {
            os_socket_close(&fresh);
            continue;
        }
        c->socket = fresh;
        c->since = now;
    }
}

static void free_client(store *s, struct client *c)
{
    os_socket_close(&c->socket);
    aios_memory_free(s->context, c->in);
    aios_memory_free(s->context, c->out);
    aios_memory_free(s->context, c);
}

/* Those that were dropped; a rank whose second connection is among them is lost. */
static void sweep(store *s)
{
    for (int i = 0; i < s->count;) {
        struct client *c = s->clients[i];
        if (c->socket.descriptor >= 0) {
            i++;
            continue;
        }
        s->clients[i] = s->clients[--s->count];
        int rank = c->known ? c->rank : -1, beat = c->pulse;
        free_client(s, c);
        if (rank < 0) continue;
        s->members[rank].connections[beat]--;
        if (beat) lose(s, rank);
        atomic_fetch_sub(&s->connected, 1);
    }
}

static void look_at_clients(store *s, double now)
{
    for (int i = 0; i < s->count; i++) {
        struct client *c = s->clients[i];
        if (!c->known && !c->closing && now - c->since > HELLO_SECONDS) drop(c);
        if (!c->waits || c->until == 0 || now < c->until) continue;
        if (c->waits == STORE_PULSE_)
            answer(s, c, AIOS_OK, NULL, 0);
        else if (c->waits == STORE_GET)
            answer_text(s, c, AIOS_TIMEOUT, "nobody set the value in time");
    }
}

static void look_at_members(store *s, double now)
{
    char text[128];
    double away = now - s->looked - STORE_PULSE;
    s->looked = now;
    for (int i = 0; i < s->ranks; i++) {
        struct member *m = &s->members[i];
        if (away > 0) m->beat += away; /* this process itself was stopped, or had no processor */
        if (!m->current || m->presence != HERE || m->silent || s->deadline <= 0 || now - m->beat <= s->deadline) continue;
        m->silent = 1;
        (void)snprintf(text, sizeof text, "gave no sign of life for %.1f s: its process is stopped, or its network link is down",
                       now - m->beat);
        fail_member(s, i, AIOS_TIMEOUT, text);
    }
}

static void *run(void *argument)
{
    store *s = argument;
    os_socket_event events[CLIENTS_MOST + 1];
    s->looked = os_now();
    while (!atomic_load(&s->closing)) {
        events[0] = (os_socket_event){.socket = s->listener};
        int count = s->count;
        for (int i = 0; i < count; i++)
            events[1 + i] = (os_socket_event){.socket = s->clients[i]->socket, .writing = s->clients[i]->out_size > 0};
        os_socket_wait(events, 1 + count, LOOK_SECONDS);
        double now = os_now();
        look_at_members(s, now);
        for (int i = 0; i < count; i++) {
            if (events[1 + i].writable) flush(s->clients[i]);
            if (events[1 + i].ready) receive(s, s->clients[i], now);
        }
        look_at_clients(s, now);
        sweep(s);
        look_at_joining(s, now);
        if (events[0].ready) accept_all(s, now);
    }
    return NULL;
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static void free_store(store *s)
{
    for (int i = 0; i < s->count; i++) free_client(s, s->clients[i]);
    forget_entries(s, UINT32_MAX);
    os_socket_close(&s->listener);
    aios_memory_free(s->context, s);
}

/* A host's name may stand for 127.0.1.1 on the host itself: then every interface listens, for the others can't connect to that. */
static int is_for_others(const char *address, os_socket listener)
{
    char own[64];
    os_socket_address(listener, own);
    return address && !os_address_is_loopback(address) && os_address_is_loopback(own);
}

static aios_status listen_first(store *s, const store_options *options)
{
    aios_status status = AIOS_ALREADY_EXISTS;
    for (int i = 0; i < options->ports && status == AIOS_ALREADY_EXISTS; i++) {
        s->port = options->port ? options->port + i : 0;
        status = os_socket_listen(options->address, &s->port, &s->listener);
        if (status != AIOS_OK || !is_for_others(options->address, s->listener)) continue;
        os_socket_close(&s->listener);
        status = os_socket_listen(NULL, &s->port, &s->listener);
    }
    return status;
}

aios_status comm_store_open(aios_context *context, const store_options *options, store **opened)
{
    *opened = NULL;
    store *s = aios_new(context, store);
    if (!s) return AIOS_OUT_OF_MEMORY;
    s->context = context;
    s->ranks = options->ranks;
    s->deadline = options->deadline;
    s->listener = OS_SOCKET_CLOSED;
    (void)snprintf(s->token, sizeof s->token, "%s", options->token);
    aios_status status = listen_first(s, options);
    if (status == AIOS_OK) status = os_thread_start(&s->thread, "aios-store", run, s);
    if (status != AIOS_OK) {
        free_store(s);
        return status;
    }
    *opened = s;
    return AIOS_OK;
}

int comm_store_port(const store *s)
{
    return s->port;
}

void comm_store_close(store *s, double seconds)
{
    if (!s) return;
    for (double until = os_now() + seconds; atomic_load(&s->connected) > 0 && os_now() < until;) os_sleep(0.005);
    atomic_store(&s->closing, 1);
    os_thread_join(s->thread);
    free_store(s);
}
