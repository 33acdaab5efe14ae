/* The ranks of several processes.  A collective is cut into the ranks' parts, and each part into pieces: of round k every rank owns one
 * piece. In phase A a rank gets what it needs to make its piece (the others' numbers for it, or the root's), in phase B it gives the piece
 * to the others.  So every connection is busy in both directions, each byte crosses it once a phase, and sums are taken by one rank in the
 * order of the ranks.  Phase B of a round runs beside phase A of the next, and copies from and to the device beside both. */
#include "engine.h"
#include "stage.h"
#include "sum.h"
#include "world_parts.h"

#include <stdio.h>
#include <string.h>

#define SLOTS         4 /* of staging memory: coming, phase A, phase B, going */
#define CHUNK_DEFAULT ((uint64_t)4 << 20)
#define PIECE_LEAST   1024 /* elements */
#define REASON_WAIT   0.5  /* seconds that the store has to say why a connection closed */
#define MAGIC         0x41494f53u

enum kind { BARRIER, ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST, NUMBERS };
static const char *const kind_names[] = {"barrier", "all-reduce", "reduce-scatter", "all-gather", "broadcast", "sum of numbers"};
enum { SLOT_HEAD, SLOT_A, SLOT_B };

/* What a rank asks of the others: the first message of a call. */
struct head {
    uint32_t magic;
    int32_t kind, root;
    uint64_t count, signature; /* of the offsets */
    double numbers[COMM_NUMBERS_MOST];
};

struct peer {
    engine_buffer *head_out, *head_in;
    engine_buffer *a_out, *a_in, *b_out, *b_in; /* of the call that runs */
    struct head head;
};

struct group {
    comm_group base;
    comm_options options;
    comm_world *world;
    const engine_table *engine;
    int number;
    uint64_t piece; /* elements, at the most */
    atomic_int joined;
};

struct member {
    communicator base;
    struct group *group;
    comm_stage stage;
    engine_mesh *mesh;
    struct head head;
    struct peer *peers; /* by rank */
    float *scratch;     /* (2, ranks, piece): what others give for the own piece */
    os_mutex mutex;
    engine_buffer *waiting; /* to be interrupted when the generation fails */
    world_listener listener;
};

static struct member *member_of(communicator *c)
{
    return (struct member *)(void *)c;
}

/* ---- failures ------------------------------------------------------------------------------------------------------ */

static void interrupt(void *user)
{
    struct member *c = user;
    os_mutex_lock(&c->mutex);
    if (c->waiting) c->group->engine->interrupt(c->waiting);
    os_mutex_unlock(&c->mutex);
}

static void abort_group(communicator *c, aios_status status, const char *message)
{
    comm_world_abort(member_of(c)->group->world, status, message);
}

static aios_status check_group(communicator *c)
{
    return comm_world_check(member_of(c)->group->world);
}

/* The rank's own failure becomes everybody's; the first one wins. */
static aios_status fail_all(struct member *c, aios_status status)
{
    if (status == AIOS_OK) return status;
    aios_status first = comm_world_check(c->group->world);
    if (first != AIOS_OK) return first;
    (void)comm_abort_own(&c->base, status);
    return comm_world_check(c->group->world);
}

/* What the engine said of a peer.  A connection closes for a reason that the store knows better, mostly. */
static aios_status explain(struct member *c, int said, int peer, double waited, const engine_error *error)
{
    const struct group *g = c->group;
    const char *name = comm_world_name(g->world, peer);
    if (said == ENGINE_DONE) return AIOS_OK;
    if (g->options.deadline > 0 && waited >= g->options.deadline)
        return FAIL(AIOS_TIMEOUT, "rank %d (%s) did not come to its %s within %g s: its device hangs or its thread ended", peer, name,
                    kind_names[c->head.kind], g->options.deadline);
    TRY_QUIET(world_await_failure(g->world, REASON_WAIT));
    if (said == ENGINE_CLOSED) return FAIL(AIOS_WRONG_STATE, "rank %d (%s) left the group", peer, name);
    return FAIL(AIOS_DEVICE_LOST, "the connection to rank %d (%s) broke: %s", peer, name, error->text);
}

static aios_status wait_message(struct member *c, engine_buffer *buffer, int peer, int sent)
{
    const struct group *g = c->group;
    engine_error error = {""};
    double began = os_now();
    os_mutex_lock(&c->mutex);
    c->waiting = buffer;
    os_mutex_unlock(&c->mutex);
    aios_status status = comm_world_check(g->world); /* a failure from now on interrupts */
    int said = ENGINE_DONE;
    if (status == AIOS_OK)
        said = sent ? g->engine->wait_sent(buffer, g->options.deadline, &error)
                    : g->engine->wait_received(buffer, g->options.deadline, &error);
    os_mutex_lock(&c->mutex);
    c->waiting = NULL;
    os_mutex_unlock(&c->mutex);
    return status == AIOS_OK ? explain(c, said, peer, os_now() - began, &error) : status;
}

static aios_status send_to(struct member *c, int peer, engine_buffer *buffer, uint64_t slot, uint64_t offset, uint64_t bytes)
{
    engine_error error = {""};
    return explain(c, c->group->engine->send(buffer, peer, slot, offset, bytes, &error), peer, 0, &error);
}

static aios_status receive_from(struct member *c, int peer, engine_buffer *buffer, uint64_t slot, uint64_t offset, uint64_t bytes)
{
    engine_error error = {""};
    return explain(c, c->group->engine->receive(buffer, peer, slot, offset, bytes, &error), peer, 0, &error);
}

/* The ranks after the own one first, so that not all talk to the same one. */
static int peer_at(const struct member *c, int i)
{
    return (c->base.rank + i) % c->base.ranks;
}

/* ---- the first message --------------------------------------------------------------------------------------------- */

/* All ranks must want the same. */
static aios_status check_heads(const struct member *c)
{
    const struct head *own = &c->head;
    for (int r = 0; r < c->base.ranks; r++) {
        const struct head *other = &c->peers[r].head;
        if (r == c->base.rank) continue;
        if (other->magic != MAGIC || other->kind < BARRIER || other->kind > NUMBERS)
            return FAIL(AIOS_CORRUPT, "a stranger, or another libaios, is connected as rank %d", r);
        if (other->kind == own->kind && other->count == own->count && other->root == own->root && other->signature == own->signature)
            continue;
        return FAIL(AIOS_WRONG_STATE, "it calls %s of %llu elements with root %d, and rank %d (%s) %s of %llu elements with root %d%s",
                    kind_names[own->kind], (unsigned long long)own->count, own->root, r, comm_world_name(c->group->world, r),
                    kind_names[other->kind], (unsigned long long)other->count, other->root,
                    other->count == own->count ? " and other parts" : "");
    }
    return AIOS_OK;
}

/* Returns when every rank has called it. */
static aios_status exchange_heads(struct member *c)
{
    int ranks = c->base.ranks;
    for (int i = 1; i < ranks; i++) {
        int r = peer_at(c, i);
        TRY_QUIET(receive_from(c, r, c->peers[r].head_in, SLOT_HEAD, 0, sizeof(struct head)));
        TRY_QUIET(send_to(c, r, c->peers[r].head_out, SLOT_HEAD, 0, sizeof(struct head)));
    }
    for (int i = 1; i < ranks; i++) TRY_QUIET(wait_message(c, c->peers[peer_at(c, i)].head_in, peer_at(c, i), 0));
    for (int i = 1; i < ranks; i++) TRY_QUIET(wait_message(c, c->peers[peer_at(c, i)].head_out, peer_at(c, i), 1));
    return check_heads(c);
}

static aios_status post(struct member *c, int kind, uint64_t count, uint64_t signature, int root)
{
    TRY_QUIET(comm_world_check(c->group->world));
    c->head.magic = MAGIC;
    c->head.kind = kind;
    c->head.root = root;
    c->head.count = count;
    c->head.signature = signature;
    return fail_all(c, exchange_heads(c));
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

struct collective {
    struct member *c;
    float *buffer, *memory; /* the device's; what the engine reads and writes: the same, or staging memory */
    const uint64_t *offsets;
    uint64_t rounds;
    int kind, root;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Elements of rank r's piece of round k. */
static uint64_t piece_count(const struct collective *x, int r, uint64_t k)
{
    uint64_t size = x->offsets[r + 1] - x->offsets[r], piece = x->c->group->piece;
    return k * piece < size ? least(piece, size - k * piece) : 0;
}

/* Where it is: in the buffer, and in the memory. */
static uint64_t piece_at(const struct collective *x, int r, uint64_t k)
{
    return x->offsets[r] + k * x->c->group->piece;
}

static uint64_t window_at(const struct collective *x, int r, uint64_t k)
{
    const struct member *c = x->c;
    if (!c->stage.memory) return piece_at(x, r, k);
    return ((k % SLOTS) * (uint64_t)c->base.ranks + (uint64_t)r) * c->group->piece;
}

static uint64_t scratch_at(const struct collective *x, int r, uint64_t k)
{
    return ((k % 2) * (uint64_t)x->c->base.ranks + (uint64_t)r) * x->c->group->piece;
}

static int is_reducing(const struct collective *x)
{
    return x->kind == ALL_REDUCE || x->kind == REDUCE_SCATTER;
}

/* 1: rank `from` sends rank `to` something in phase A, and it is the piece of rank `to`. */
static int sends_in_a(const struct collective *x, int from, int to)
{
    if (from == to) return 0;
    return is_reducing(x) || (x->kind == BROADCAST && from == x->root);
}

/* The same of phase B, and it is the piece of rank `from`. */
static int sends_in_b(const struct collective *x, int from, int to)
{
    return from != to && x->kind != REDUCE_SCATTER && !(x->kind == BROADCAST && to == x->root);
}

static aios_status post_a(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    int own = c->base.rank;
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        const struct peer *p = &c->peers[r];
        uint64_t in = sends_in_a(x, r, own) ? piece_count(x, own, k) : 0, out = sends_in_a(x, own, r) ? piece_count(x, r, k) : 0;
        uint64_t at = is_reducing(x) ? scratch_at(x, r, k) : window_at(x, own, k);
        if (in) TRY_QUIET(receive_from(c, r, p->a_in, SLOT_A, at * sizeof(float), in * sizeof(float)));
        if (out) TRY_QUIET(send_to(c, r, p->a_out, SLOT_A, window_at(x, r, k) * sizeof(float), out * sizeof(float)));
    }
    return AIOS_OK;
}

static aios_status wait_a(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    int own = c->base.rank;
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        if (sends_in_a(x, r, own) && piece_count(x, own, k)) TRY_QUIET(wait_message(c, c->peers[r].a_in, r, 0));
    }
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        if (sends_in_a(x, own, r) && piece_count(x, r, k)) TRY_QUIET(wait_message(c, c->peers[r].a_out, r, 1));
    }
    return AIOS_OK;
}

static void sum_piece(const struct collective *x, uint64_t k)
{
    const struct member *c = x->c;
    float *from[COMM_RANKS_MOST], *to = x->memory + window_at(x, c->base.rank, k);
    uint64_t count = piece_count(x, c->base.rank, k);
    if (!count) return;
    for (int r = 0; r < c->base.ranks; r++) from[r] = r == c->base.rank ? to : c->scratch + scratch_at(x, r, k);
    comm_sum(&to, 1, from, c->base.ranks, count);
}

static aios_status post_b(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    int own = c->base.rank;
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        const struct peer *p = &c->peers[r];
        uint64_t in = sends_in_b(x, r, own) ? piece_count(x, r, k) : 0, out = sends_in_b(x, own, r) ? piece_count(x, own, k) : 0;
        if (in) TRY_QUIET(receive_from(c, r, p->b_in, SLOT_B, window_at(x, r, k) * sizeof(float), in * sizeof(float)));
        if (out) TRY_QUIET(send_to(c, r, p->b_out, SLOT_B, window_at(x, own, k) * sizeof(float), out * sizeof(float)));
    }
    return AIOS_OK;
}

static aios_status wait_b(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    int own = c->base.rank;
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        if (sends_in_b(x, r, own) && piece_count(x, r, k)) TRY_QUIET(wait_message(c, c->peers[r].b_in, r, 0));
    }
    for (int i = 1; i < c->base.ranks; i++) {
        int r = peer_at(c, i);
        if (sends_in_b(x, own, r) && piece_count(x, own, k)) TRY_QUIET(wait_message(c, c->peers[r].b_out, r, 1));
    }
    return AIOS_OK;
}

/* What the others need of rank r's piece comes from this rank's device. */
static int comes(const struct collective *x, int r)
{
    if (is_reducing(x)) return 1;
    return x->kind == ALL_GATHER ? r == x->c->base.rank : x->c->base.rank == x->root;
}

/* Rank r's piece goes back to this rank's device. */
static int goes(const struct collective *x, int r)
{
    if (x->kind == REDUCE_SCATTER) return r == x->c->base.rank;
    if (x->kind == ALL_GATHER) return r != x->c->base.rank;
    return x->kind == ALL_REDUCE || x->c->base.rank != x->root;
}

static aios_status copy_in(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    if (!c->stage.memory) return AIOS_OK;
    TRY_QUIET(stage_claim(&c->stage, k));
    for (int r = 0; r < c->base.ranks; r++)
        if (comes(x, r))
            TRY_QUIET(stage_bring(&c->stage, x->memory + window_at(x, r, k), x->buffer + piece_at(x, r, k), piece_count(x, r, k)));
    return stage_brought(&c->stage, k);
}

static aios_status copy_out(const struct collective *x, uint64_t k)
{
    struct member *c = x->c;
    if (!c->stage.memory) return AIOS_OK;
    for (int r = 0; r < c->base.ranks; r++)
        if (goes(x, r))
            TRY_QUIET(stage_send(&c->stage, x->buffer + piece_at(x, r, k), x->memory + window_at(x, r, k), piece_count(x, r, k)));
    return stage_sent(&c->stage, k);
}

/* Step t: round t + 1 comes, round t is in phase A, t - 1 goes to phase B, t - 2 goes back. */
static aios_status run_rounds(const struct collective *x)
{
    struct member *c = x->c;
    TRY_QUIET(copy_in(x, 0));
    for (uint64_t t = 0; t < x->rounds + 2; t++) {
        if (t + 1 < x->rounds) TRY_QUIET(copy_in(x, t + 1));
        if (t < x->rounds && c->stage.memory) TRY_QUIET(stage_await(&c->stage, t));
        if (t < x->rounds) TRY_QUIET(post_a(x, t));
        if (t >= 1 && t - 1 < x->rounds) {
            TRY_QUIET(wait_a(x, t - 1));
            if (is_reducing(x)) sum_piece(x, t - 1);
            TRY_QUIET(post_b(x, t - 1));
        }
        if (t >= 2) {
            TRY_QUIET(wait_b(x, t - 2));
            TRY_QUIET(copy_out(x, t - 2));
        }
    }
    return c->stage.memory ? stage_end(&c->stage, x->rounds) : AIOS_OK;
}

/* ---- collectives ---------------------------------------------------------------------------------------------------- */

static aios_status create_buffer(struct member *c, void *memory, uint64_t bytes, engine_buffer **buffer)
{
    engine_error error = {""};
    if (c->group->engine->create_buffer(c->mesh, memory, bytes, buffer, &error) != ENGINE_DONE)
        return FAIL(AIOS_INTERNAL, "a buffer of the engine: %s", error.text);
    return AIOS_OK;
}

static uint64_t stage_count(const struct member *c, int slots)
{
    return (uint64_t)slots * (uint64_t)c->base.ranks * c->group->piece;
}

static aios_status open_lanes(const struct collective *x)
{
    struct member *c = x->c;
    uint64_t bytes = (c->stage.memory ? stage_count(c, SLOTS) : x->offsets[c->base.ranks]) * sizeof(float);
    if (is_reducing(x) && !c->scratch) {
        c->scratch = os_pages_alloc(stage_count(c, 2) * sizeof(float));
        if (!c->scratch) return AIOS_OUT_OF_MEMORY;
    }
    for (int r = 0; r < c->base.ranks; r++) {
        struct peer *p = &c->peers[r];
        if (r == c->base.rank) continue;
        TRY_QUIET(create_buffer(c, x->memory, bytes, &p->a_out));
        if (is_reducing(x))
            TRY_QUIET(create_buffer(c, c->scratch, stage_count(c, 2) * sizeof(float), &p->a_in));
        else
            TRY_QUIET(create_buffer(c, x->memory, bytes, &p->a_in));
        TRY_QUIET(create_buffer(c, x->memory, bytes, &p->b_out));
        TRY_QUIET(create_buffer(c, x->memory, bytes, &p->b_in));
    }
    return AIOS_OK;
}

static void close_buffer(const struct member *c, engine_buffer **buffer)
{
    if (*buffer) c->group->engine->destroy_buffer(*buffer);
    *buffer = NULL;
}

/* After it the engine touches neither the caller's memory nor ours. */
static void close_lanes(const struct collective *x)
{
    for (int r = 0; r < x->c->base.ranks; r++) {
        struct peer *p = &x->c->peers[r];
        close_buffer(x->c, &p->a_out);
        close_buffer(x->c, &p->a_in);
        close_buffer(x->c, &p->b_out);
        close_buffer(x->c, &p->b_in);
    }
}

static aios_status run(communicator *base, int kind, float *buffer, const uint64_t *offsets, int root)
{
    struct member *c = member_of(base);
    struct collective x = {
        .c = c, .buffer = buffer, .memory = c->stage.memory ? c->stage.memory : buffer, .offsets = offsets, .kind = kind, .root = root};
    uint64_t signature = 0, most = 0, piece = c->group->piece;
    for (int r = 0; r <= base->ranks; r++) signature = signature * 1099511628211u ^ offsets[r];
    for (int r = 0; r < base->ranks; r++)
        if (offsets[r + 1] - offsets[r] > most) most = offsets[r + 1] - offsets[r];
    x.rounds = (most + piece - 1) / piece;
    if (!c->stage.memory) TRY_QUIET(fail_all(c, aios_stream_synchronize(c->stage.stream)));
    TRY_QUIET(post(c, kind, offsets[base->ranks], signature, root));
    if (x.rounds == 0 || base->ranks == 1) return AIOS_OK;
    aios_status status = open_lanes(&x);
    if (status == AIOS_OK) status = run_rounds(&x);
    close_lanes(&x);
    return fail_all(c, status);
}

static aios_status run_even(communicator *c, int kind, float *buffer, uint64_t count, int root)
{
    uint64_t offsets[COMM_RANKS_MOST + 1], ranks = (uint64_t)c->ranks;
    for (uint64_t r = 0; r <= ranks; r++) offsets[r] = count / ranks * r + least(r, count % ranks);
    return run(c, kind, buffer, offsets, root);
}

static aios_status barrier(communicator *c)
{
    return post(member_of(c), BARRIER, 0, 0, 0);
}

static aios_status all_reduce(communicator *c, float *buffer, uint64_t count)
{
    return run_even(c, ALL_REDUCE, buffer, count, 0);
}

static aios_status reduce_scatter(communicator *c, float *buffer, const uint64_t *offsets)
{
    return run(c, REDUCE_SCATTER, buffer, offsets, 0);
}

static aios_status all_gather(communicator *c, float *buffer, const uint64_t *offsets)
{
    return run(c, ALL_GATHER, buffer, offsets, 0);
}

static aios_status broadcast(communicator *c, float *buffer, uint64_t count, int root)
{
    return run_even(c, BROADCAST, buffer, count, root);
}

static aios_status sum_numbers(communicator *base, double *values, int count)
{
    struct member *c = member_of(base);
    memcpy(c->head.numbers, values, (size_t)count * sizeof *values);
    TRY_QUIET(post(c, NUMBERS, (uint64_t)count, 0, 0));
    for (int i = 0; i < count; i++) {
        values[i] = 0;
        for (int r = 0; r < base->ranks; r++) values[i] += r == base->rank ? c->head.numbers[i] : c->peers[r].head.numbers[i];
    }
    return AIOS_OK;
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static void leave(communicator *base)
{
    struct member *c = member_of(base);
    struct group *g = c->group;
    world_unlisten(g->world, &c->listener);
    for (int r = 0; c->peers && r < base->ranks; r++) {
        close_buffer(c, &c->peers[r].head_out);
        close_buffer(c, &c->peers[r].head_in);
    }
    if (c->mesh) g->engine->close(c->mesh);
    stage_close(&c->stage);
    os_pages_free(c->scratch);
    os_mutex_destroy(&c->mutex);
    aios_memory_free(g->base.context, c->peers);
    aios_memory_free(g->base.context, c);
}

static const comm_table table = {
    .leave = leave,
    .abort = abort_group,
    .check = check_group,
    COMM_COLLECTIVES,
};

/* Under "group/rank": where each peer finds this rank, one after the other. */
static aios_status publish_addresses(struct member *c)
{
    const struct group *g = c->group;
    size_t room = (size_t)c->base.ranks * ENGINE_ADDRESS_MOST;
    engine_error error;
    char key[STORE_KEY_MOST];
    char *all = aios_memory_zalloc(g->base.context, room);
    if (!all) return AIOS_OUT_OF_MEMORY;
    aios_status status = AIOS_OK;
    for (int r = 0; r < c->base.ranks && status == AIOS_OK; r++) {
        size_t size;
        if (r == c->base.rank) continue;
        char bytes[ENGINE_ADDRESS_MOST];
        if (g->engine->address(c->mesh, r, bytes, &size, &error) != ENGINE_DONE)
            status = FAIL(AIOS_IO, "the address for rank %d: %s", r, error.text);
        else if (size >= ENGINE_ADDRESS_MOST)
            status = FAIL(AIOS_INTERNAL, "the engine's address has %zu bytes", size);
        else {
            all[(size_t)r * ENGINE_ADDRESS_MOST] = (char)size;
            memcpy(all + (size_t)r * ENGINE_ADDRESS_MOST + 1, bytes, size);
        }
    }
    (void)snprintf(key, sizeof key, "group/%d/%d", g->number, c->base.rank);
    if (status == AIOS_OK) status = world_set(g->world, key, c->base.ranks - 1, all, room);
    aios_memory_free(g->base.context, all);
    return status;
}

static aios_status connect_peer(struct member *c, int peer)
{
    const struct group *g = c->group;
    engine_error error;
    char key[STORE_KEY_MOST];
    comm_bytes all;
    (void)snprintf(key, sizeof key, "group/%d/%d", g->number, peer);
    TRY(world_get(g->world, key, g->options.deadline, &all), "waiting for rank %d (%s)", peer, comm_world_name(g->world, peer));
    const char *at = all.bytes + (size_t)c->base.rank * ENGINE_ADDRESS_MOST;
    aios_status status = AIOS_OK;
    if (all.size != (size_t)c->base.ranks * ENGINE_ADDRESS_MOST)
        status = FAIL(AIOS_CORRUPT, "the addresses of rank %d (%s) are damaged", peer, comm_world_name(g->world, peer));
    else if (g->engine->connect(c->mesh, peer, at + 1, (unsigned char)*at, &error) != ENGINE_DONE)
        status = FAIL(AIOS_IO, "connecting to rank %d (%s): %s", peer, comm_world_name(g->world, peer), error.text);
    aios_memory_free(g->base.context, all.bytes);
    return status;
}

static aios_status connect_all(struct member *c)
{
    const struct group *g = c->group;
    engine_error error;
    if (c->base.ranks == 1) return AIOS_OK;
    if (g->engine->open(world_local_address(g->world), c->base.rank, c->base.ranks, g->options.deadline, &c->mesh, &error) != ENGINE_DONE)
        return FAIL(AIOS_IO, "listening for the other ranks at %s: %s", world_local_address(g->world), error.text);
    TRY_QUIET(publish_addresses(c));
    for (int r = 0; r < c->base.ranks; r++)
        if (r != c->base.rank) TRY_QUIET(connect_peer(c, r));
    for (int r = 0; r < c->base.ranks; r++) {
        if (r == c->base.rank) continue;
        TRY_QUIET(create_buffer(c, &c->head, sizeof c->head, &c->peers[r].head_out));
        TRY_QUIET(create_buffer(c, &c->peers[r].head, sizeof c->head, &c->peers[r].head_in));
    }
    return AIOS_OK;
}

static aios_status join(comm_group *base, int rank, const char *name, aios_stream *stream, communicator **joined)
{
    struct group *g = (struct group *)(void *)base;
    if (rank != comm_world_rank(g->world))
        return FAIL(AIOS_INVALID_ARGUMENT, "rank %d: this process is rank %d of %d", rank, comm_world_rank(g->world), base->ranks);
    if (atomic_exchange(&g->joined, 1)) return FAIL(AIOS_ALREADY_EXISTS, "rank %d (%s) has joined before", rank, name);
    struct member *c = aios_new(base->context, struct member);
    if (!c) return AIOS_OUT_OF_MEMORY;
    *c = (struct member){.base = {&table, rank, base->ranks, name}, .group = g};
    os_mutex_init(&c->mutex);
    c->peers = aios_memory_array(base->context, (size_t)base->ranks, sizeof *c->peers);
    aios_status status = c->peers ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    c->listener = (world_listener){.failed = interrupt, .user = c};
    world_listen(g->world, &c->listener);
    if (c->peers) memset(c->peers, 0, (size_t)base->ranks * sizeof *c->peers);
    if (status == AIOS_OK) status = stage_open(&c->stage, stream, g->options.always_stage, SLOTS, stage_count(c, 1) * sizeof(float));
    if (status == AIOS_OK) status = connect_all(c);
    if (status == AIOS_OK) status = post(c, BARRIER, 0, 0, 0); /* everybody is who it should be */
    if (status != AIOS_OK) {
        status = fail_all(c, status);
        leave(&c->base);
        return aios_error_add_frame(status, "joining as rank %d (%s)", rank, name);
    }
    *joined = &c->base;
    return AIOS_OK;
}

static void destroy_group(comm_group *base)
{
    aios_memory_free(base->context, base);
}

aios_status comm_world_group(comm_world *world, const comm_options *options, comm_group **group)
{
    static const comm_group_table group_table = {.destroy = destroy_group, .join = join};
    const engine_table *engine = NULL;
    *group = NULL;
    if (comm_world_ranks(world) > 1) TRY_QUIET(engine_load(&engine));
    struct group *g = aios_new(world_context(world), struct group);
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->base = (comm_group){&group_table, world_context(world), comm_world_ranks(world)};
    g->options = *options;
    g->world = world;
    g->engine = engine;
    g->number = world_next_group(world);
    if (g->options.deadline == 0) g->options.deadline = world_deadline(world);
    uint64_t chunk = g->options.chunk_bytes ? g->options.chunk_bytes : CHUNK_DEFAULT;
    g->piece = chunk / sizeof(float) / (uint64_t)g->base.ranks / 16 * 16;
    if (g->piece < PIECE_LEAST) g->piece = PIECE_LEAST;
    *group = &g->base;
    return AIOS_OK;
}
