#include "parameters.h"

#include "base/float_scope.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/rng.h"
#include "gpu/device.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Elements that go through host memory at a time. */
#define PIECE ((uint64_t)1 << 18)

size_t storage_size(int32_t storage)
{
    return storage == AIOS_BF16 || storage == AIOS_F16 ? 2 : storage == AIOS_U8 ? 1 : 4;
}

const struct parameter *parameters_find(const aios_parameters *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].name, name) == 0) return &p->list[i];
    return NULL;
}

const struct state *parameters_find_state(const aios_parameters *p, const char *name)
{
    for (size_t i = 0; i < p->state_count; i++)
        if (strcmp(p->states[i].name, name) == 0) return &p->states[i];
    return NULL;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

/* The most rows of a table that a node of the graph looks up. */
static int32_t most_rows(const aios_graph *graph, aios_tensor table)
{
    int64_t most = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == OP_rows && graph->nodes[i].input[0] == table) {
            int64_t count = tensor_of(graph, graph->nodes[i].input[1])->count;
            most = count > most ? count : most;
        }
    return (int32_t)most;
}

static aios_status list_leaves(aios_parameters *p, const aios_graph *graph)
{
    size_t states = 0;
    for (size_t i = 1; i < graph->tensor_count; i++) states += graph->tensors[i].kind == TENSOR_STATE;
    p->list = aios_memory_array(p->context, aios_graph_parameter_count(graph) + 1, sizeof *p->list);
    p->states = aios_memory_array(p->context, states + 1, sizeof *p->states);
    if (!p->list || !p->states) return AIOS_OUT_OF_MEMORY;
    for (size_t i = graph->tensor_count; i-- > 1;) {
        const struct tensor *t = &graph->tensors[i];
        if (t->kind == TENSOR_PARAMETER) {
            struct parameter *x = &p->list[p->count++];
            *x = (struct parameter){.rank = t->rank,
                                    .init = t->init,
                                    .group = t->group,
                                    .init_scale = t->init_scale,
                                    .count = (uint64_t)t->count,
                                    .offset = p->padded};
            memcpy(x->name, t->name, sizeof x->name);
            memcpy(x->shape, t->shape, sizeof x->shape);
            if (t->is_table) {
                x->is_table = p->has_tables = 1;
                x->rows_most = most_rows(graph, (aios_tensor)i);
                continue;
            }
            p->total += t->group == AIOS_GROUP_FROZEN ? 0 : x->count;
            p->padded += (x->count + BLOCK - 1) / BLOCK * BLOCK;
        } else if (t->kind == TENSOR_STATE) {
            struct state *x = &p->states[p->state_count++];
            *x = (struct state){.type = t->type, .rank = t->rank};
            memcpy(x->name, t->name, sizeof x->name);
            memcpy(x->shape, t->shape, sizeof x->shape);
            x->size = ((uint64_t)t->count * storage_size(t->type == TYPE_ACTIVATION ? p->storage : t->type) + 3) & ~(uint64_t)3;
        }
    }
    return AIOS_OK;
}

static aios_status alloc_zero(aios_parameters *p, const char *what, uint64_t size, void *to)
{
    void *memory = NULL;
    TRY(aios_device_alloc(p->device, size, &memory), "memory for %s", what);
    memcpy(to, &memory, sizeof memory);
    return aios_stream_fill(p->stream, memory, 0, size);
}

static aios_status alloc_table(aios_parameters *p, struct parameter *x)
{
    TRY_QUIET(alloc_zero(p, x->name, x->count * 4, &x->table));
    if (!p->training) return AIOS_OK;
    TRY_QUIET(alloc_zero(p, "the gradient of rows", (uint64_t)x->rows_most * (uint64_t)x->shape[1] * 4, &x->rows_gradient));
    TRY_QUIET(alloc_zero(p, "the ids of rows", (uint64_t)x->rows_most * 4, &x->rows_ids));
    return aios_stream_fill(p->stream, x->rows_ids, 0xff, (uint64_t)x->rows_most * 4);
}

static aios_status alloc_buffers(aios_parameters *p)
{
    uint64_t n = p->padded ? p->padded : BLOCK, own = p->owned ? p->owned : BLOCK;
    TRY_QUIET(alloc_zero(p, "weights", (parameters_is_sharded(p, AIOS_VALUE) ? own : n) * 4, &p->master));
    p->weight = p->master;
    if (p->storage != AIOS_F32) {
        p->weight = NULL;
        TRY_QUIET(alloc_zero(p, "weights in use", (parameters_weight_is_sharded(p) ? own : n) * storage_size(p->storage), &p->weight));
    }
    if (p->training) TRY_QUIET(alloc_zero(p, "gradients", (parameters_is_sharded(p, AIOS_GRADIENT) ? own : n) * 4, &p->gradient));
    TRY_QUIET(alloc_zero(p, "parameter groups", n / BLOCK * 4, &p->group));
    TRY_QUIET(alloc_zero(p, "the loss scale", 256, &p->scale));
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].is_table) TRY_QUIET(alloc_table(p, &p->list[i]));
    for (size_t i = 0; i < p->state_count; i++) TRY_QUIET(alloc_zero(p, p->states[i].name, p->states[i].size, &p->states[i].memory));
    return AIOS_OK;
}

#define GROUPS_PIECE ((uint64_t)1 << 16) /* blocks whose groups go to the device at a time */

/* The groups of the blocks [first, first + count). */
static void fill_groups(const aios_parameters *p, uint64_t first, uint64_t count, int32_t *groups)
{
    memset(groups, 0, count * sizeof *groups);
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        uint64_t from = x->offset / BLOCK, end = (x->offset + x->count + BLOCK - 1) / BLOCK;
        if (x->is_table) continue;
        if (from < first) from = first;
        if (end > first + count) end = first + count;
        for (uint64_t b = from; b < end; b++) groups[b - first] = x->group;
    }
}

static aios_status write_groups(aios_parameters *p)
{
    aios_status status = AIOS_OK;
    uint64_t blocks = p->padded / BLOCK, most = blocks < GROUPS_PIECE ? blocks : GROUPS_PIECE;
    if (blocks == 0) return AIOS_OK;
    int32_t *groups = aios_memory_array(p->context, most, sizeof *groups);
    float one = 1.0f;
    if (!groups) return AIOS_OUT_OF_MEMORY;
    for (uint64_t first = 0; first < blocks; first += most) {
        uint64_t count = blocks - first < most ? blocks - first : most;
        fill_groups(p, first, count, groups);
        ATTEMPT_QUIET(aios_stream_copy(p->stream, p->group + first, groups, count * 4, AIOS_COPY_HOST_TO_DEVICE));
        ATTEMPT_QUIET(aios_stream_synchronize(p->stream));
    }
    ATTEMPT_QUIET(aios_stream_copy(p->stream, p->scale, &one, 4, AIOS_COPY_HOST_TO_DEVICE));
    ATTEMPT_QUIET(aios_stream_synchronize(p->stream));
done:
    aios_memory_free(p->context, groups);
    return status;
}

/* ---- sharing ------------------------------------------------------------------------------------------------------ */

int parameters_is_sharded(const aios_parameters *p, int32_t kind)
{
    if (kind == AIOS_VALUE) return p->stage >= 3 || (p->stage >= 1 && p->storage != AIOS_F32);
    return p->stage >= (kind == AIOS_GRADIENT ? 2 : 1);
}

int parameters_weight_is_sharded(const aios_parameters *p)
{
    return p->stage >= 3;
}

float *parameters_flat(const aios_parameters *p, int32_t kind)
{
    float *const flat[KINDS] = {
        [AIOS_VALUE] = p->master, [AIOS_GRADIENT] = p->gradient, [AIOS_MOMENT1] = p->moment1, [AIOS_MOMENT2] = p->moment2};
    return flat[kind];
}

float *parameters_own(const aios_parameters *p, int32_t kind, const struct bucket *bucket)
{
    float *flat = parameters_flat(p, kind);
    return flat ? flat + (parameters_is_sharded(p, kind) ? bucket->local : bucket->own_first) : NULL;
}

void *parameters_own_weight(const aios_parameters *p, const struct bucket *bucket)
{
    return (char *)p->weight + (parameters_weight_is_sharded(p) ? bucket->local : bucket->own_first) * storage_size(p->storage);
}

/* Every rank's part of a bucket, on whole blocks, by the shares. */
static aios_status cut_bucket(aios_parameters *p, const struct sharding *sharding, struct bucket *bucket)
{
    double sum = 0, before = 0;
    uint64_t blocks = bucket->count / BLOCK;
    bucket->borders = aios_memory_array(p->context, (size_t)p->ranks + 1, sizeof *bucket->borders);
    if (!bucket->borders) return AIOS_OUT_OF_MEMORY;
    for (int r = 0; r < p->ranks; r++) sum += sharding->memory_shares ? sharding->memory_shares[r] : 1.0;
    for (int r = 0; r < p->ranks; r++) {
        bucket->borders[r] = (uint64_t)((double)blocks * (before / sum) + 0.5) * BLOCK;
        before += sharding->memory_shares ? sharding->memory_shares[r] : 1.0;
    }
    bucket->borders[p->ranks] = bucket->count;
    bucket->own_first = bucket->first + bucket->borders[p->rank];
    bucket->own_count = bucket->borders[p->rank + 1] - bucket->borders[p->rank];
    bucket->local = p->owned;
    p->owned += bucket->own_count;
    return AIOS_OK;
}

static aios_status make_buckets(aios_parameters *p, const struct sharding *sharding)
{
    p->stage = sharding->stage;
    p->rank = sharding->rank;
    p->ranks = sharding->ranks;
    p->buckets = aios_memory_array(p->context, p->count + 1, sizeof *p->buckets);
    if (!p->buckets) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < p->count; i++) {
        struct parameter *x = &p->list[i];
        struct bucket *last = p->bucket_count ? &p->buckets[p->bucket_count - 1] : NULL;
        if (x->is_table) continue;
        if (!last || last->count * sizeof(float) >= sharding->bucket_bytes) {
            last = &p->buckets[p->bucket_count++];
            last->first = x->offset;
        }
        last->count = x->offset + (x->count + BLOCK - 1) / BLOCK * BLOCK - last->first;
        x->bucket = (int32_t)p->bucket_count; /* from 1 on */
    }
    for (size_t i = 0; i < p->bucket_count; i++) TRY_QUIET(cut_bucket(p, sharding, &p->buckets[i]));
    return AIOS_OK;
}

aios_status parameters_share_anew(aios_parameters *p, const struct sharding *sharding)
{
    static const struct sharding alone = {.ranks = 1};
    if (!sharding) sharding = &alone;
    p->rank = sharding->rank;
    p->ranks = sharding->ranks;
    p->owned = 0;
    for (size_t i = 0; i < p->bucket_count; i++) {
        aios_memory_free(p->context, p->buckets[i].borders);
        TRY_QUIET(cut_bucket(p, sharding, &p->buckets[i]));
    }
    return AIOS_OK;
}

aios_status parameters_stage(aios_parameters *p)
{
    for (int32_t kind = 0; kind < KINDS; kind++) {
        if (kind == AIOS_GRADIENT || !parameters_is_sharded(p, kind) || !parameters_flat(p, kind) || p->staged[kind]) continue;
        p->staged[kind] = aios_memory_array(p->context, p->padded, sizeof *p->staged[kind]);
        if (!p->staged[kind])
            return aios_error_add_frame(AIOS_OUT_OF_MEMORY,
                                        "host memory for all of a sharded model's numbers while they are read or written");
    }
    return AIOS_OK;
}

void parameters_unstage(aios_parameters *p)
{
    for (int kind = 0; kind < KINDS; kind++) {
        aios_memory_free(p->context, p->staged[kind]);
        p->staged[kind] = NULL;
    }
}

void parameters_drop_whole(aios_parameters *p)
{
    aios_device_free(p->device, p->whole);
    p->whole = NULL;
}

/* ---- rows of a step ---------------------------------------------------------------------------------------------- */

aios_status parameters_room_for_rows(aios_parameters *p, int32_t rows)
{
    for (size_t i = 0; i < p->count; i++) {
        struct parameter *x = &p->list[i];
        if (!x->is_table || !p->training) continue;
        aios_device_free(p->device, x->kept_gradient);
        aios_device_free(p->device, x->kept_ids);
        x->kept_gradient = NULL;
        x->kept_ids = NULL;
        x->kept_room = rows;
        TRY_QUIET(alloc_zero(p, "the gradient of a step's rows", (uint64_t)rows * (uint64_t)x->shape[1] * 4, &x->kept_gradient));
        TRY_QUIET(alloc_zero(p, "the ids of a step's rows", (uint64_t)rows * 4, &x->kept_ids));
    }
    return parameters_forget_rows(p);
}

aios_status parameters_keep_rows(aios_parameters *p, int32_t at)
{
    for (size_t i = 0; i < p->count; i++) {
        struct parameter *x = &p->list[i];
        uint64_t rows = (uint64_t)x->rows_most, n = (uint64_t)x->shape[1];
        if (!x->kept_room) continue;
        if (at + x->rows_most > x->kept_room)
            return FAIL(AIOS_INTERNAL, "rows %d to %d of a step with %d", at, at + x->rows_most, x->kept_room);
        TRY_QUIET(
            aios_stream_copy(p->stream, x->kept_gradient + (uint64_t)at * n, x->rows_gradient, rows * n * 4, AIOS_COPY_DEVICE_TO_DEVICE));
        TRY_QUIET(aios_stream_copy(p->stream, x->kept_ids + at, x->rows_ids, rows * 4, AIOS_COPY_DEVICE_TO_DEVICE));
    }
    p->table_runs = 0;
    return AIOS_OK;
}

aios_status parameters_forget_rows(aios_parameters *p)
{
    p->table_runs = 0;
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].kept_room) TRY_QUIET(aios_stream_fill(p->stream, p->list[i].kept_ids, 0xff, (uint64_t)p->list[i].kept_room * 4));
    return AIOS_OK;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

aios_status aios_parameters_create(aios_device *device, const aios_graph *graph, const aios_parameters_options *given,
                                   aios_parameters **parameters)
{
    return parameters_create(device, graph, given, NULL, parameters);
}

aios_status parameters_create(aios_device *device, const aios_graph *graph, const aios_parameters_options *given,
                              const struct sharding *sharding, aios_parameters **parameters)
{
    aios_status status = AIOS_OK;
    if (!device || !graph || !parameters)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_create: device, graph and parameters must not be NULL");
    *parameters = NULL;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_parameters_options", &options, sizeof options, given));
    if (!graph->finished) return FAIL(AIOS_WRONG_STATE, "aios_parameters_create: finish the graph first (aios_graph_finish)");
    static const int32_t storages[] = {
        [AIOS_PRECISION_32] = AIOS_F32, [AIOS_PRECISION_16_MIXED] = AIOS_F16, [AIOS_PRECISION_BF16_MIXED] = AIOS_BF16};
    static const char *const names[] = {"32", "16-mixed", "bf16-mixed"};
    if (options.precision < 0 || options.precision > AIOS_PRECISION_BF16_MIXED)
        return FAIL(AIOS_INVALID_ARGUMENT, "precision is %d: 0 (32), 1 (16-mixed) and 2 (bf16-mixed) are allowed", options.precision);
    if (!(aios_device_get_info(device)->storage_types & 1u << storages[options.precision]))
        return FAIL(AIOS_UNSUPPORTED, "%s (%s) can't do precision %s", aios_device_spec(device), aios_device_get_info(device)->name,
                    names[options.precision]);

    aios_parameters *p = aios_new(graph->context, aios_parameters);
    if (!p) return AIOS_OUT_OF_MEMORY;
    p->context = aios_context_retain(graph->context);
    p->device = aios_device_retain(device);
    p->storage = storages[options.precision];
    p->training = options.training != 0;
    p->ranks = 1;
    ATTEMPT_QUIET(aios_stream_create(device, &p->stream));
    ATTEMPT_QUIET(list_leaves(p, graph));
    if (sharding) ATTEMPT_QUIET(make_buckets(p, sharding));
    ATTEMPT(alloc_buffers(p), "a model of %llu parameters on %s", (unsigned long long)p->total, aios_device_spec(device));
    ATTEMPT_QUIET(write_groups(p));
    *parameters = p;
    p = NULL;
done:
    aios_parameters_destroy(p);
    return status;
}

void aios_parameters_destroy(aios_parameters *p)
{
    if (!p) return;
    if (p->stream) (void)aios_stream_synchronize(p->stream);
    for (size_t i = 0; i < p->state_count; i++) aios_device_free(p->device, p->states[i].memory);
    for (size_t i = 0; i < p->count; i++) {
        aios_device_free(p->device, p->list[i].table);
        aios_device_free(p->device, p->list[i].rows_gradient);
        aios_device_free(p->device, p->list[i].rows_ids);
        aios_device_free(p->device, p->list[i].kept_gradient);
        aios_device_free(p->device, p->list[i].kept_ids);
    }
    if (p->weight != p->master) aios_device_free(p->device, p->weight);
    aios_device_free(p->device, p->master);
    aios_device_free(p->device, p->gradient);
    aios_device_free(p->device, p->whole);
    aios_device_free(p->device, p->group);
    aios_device_free(p->device, p->scale);
    aios_stream_destroy(p->stream);
    aios_device_close(p->device);
    parameters_unstage(p);
    for (size_t i = 0; i < p->bucket_count; i++) aios_memory_free(p->context, p->buckets[i].borders);
    aios_memory_free(p->context, p->buckets);
    aios_memory_free(p->context, p->list);
    aios_memory_free(p->context, p->states);
    aios_context *context = p->context;
    aios_memory_free(context, p);
    aios_context_release(context);
}

aios_device *aios_parameters_device(const aios_parameters *p)
{
    return p ? p->device : NULL;
}

uint32_t aios_parameters_count(const aios_parameters *p)
{
    return p ? (uint32_t)p->count : 0;
}

uint64_t aios_parameters_total(const aios_parameters *p)
{
    return p ? p->total : 0;
}

aios_status aios_parameters_info(const aios_parameters *p, uint32_t index, aios_parameter_info *info)
{
    if (!p || !info) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_info: parameters and info must not be NULL");
    if (index >= p->count) return FAIL(AIOS_OUT_OF_RANGE, "parameter %u: there are %zu", index, p->count);
    const struct parameter *x = &p->list[p->count - 1 - index]; /* in the order of recording */
    aios_parameter_info filled = {sizeof filled, x->rank, {0}, x->group, 0, x->count, x->name};
    memcpy(filled.shape, x->shape, sizeof filled.shape);
    return aios_struct_write("aios_parameter_info", info, &filled, sizeof filled);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static aios_status cast_weights(aios_parameters *p, char *to, const float *from, uint64_t count)
{
    for (uint64_t most = 1u << 30, done = 0, part; done < count && p->storage != AIOS_F32; done += part) {
        part = count - done < most ? count - done : most;
        TRY_QUIET(launch_cast_from_f32(p->stream, p->storage, 0, to + done * storage_size(p->storage), from + done, (int32_t)part));
    }
    return AIOS_OK;
}

aios_status parameters_refresh(aios_parameters *p, uint64_t offset, uint64_t count)
{
    return cast_weights(p, (char *)p->weight + offset * storage_size(p->storage), p->master + offset, count);
}

aios_status parameters_refresh_own(aios_parameters *p)
{
    for (size_t i = 0; i < p->bucket_count; i++) {
        const struct bucket *b = &p->buckets[i];
        TRY_QUIET(cast_weights(p, parameters_own_weight(p, b), parameters_own(p, AIOS_VALUE, b), b->own_count));
    }
    return AIOS_OK;
}

/* Numbers [start, start + count) of a parameter, made on the host.  A piece has its own stretch of the parameter's random stream, so
 * pieces are made in any order, by any number of threads, with the same values. */
struct piece {
    const struct parameter *parameter;
    uint64_t start, count, stream;
};

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

static void fill_piece(const struct piece *piece, uint64_t seed, float *to)
{
    const struct parameter *x = piece->parameter;
    rng r;
    rng_init(&r, seed, piece->stream);
    r.counter = piece->start * 2; /* a number takes one block, or another for each that was thrown away (5 % are): no two pieces meet */
    switch (x->init) {
    case AIOS_INIT_NORMAL: rng_normals(seed, piece->stream, r.counter, to, piece->count, x->init_scale); break;
    case AIOS_INIT_TRUNCATED_NORMAL:
        for (uint64_t i = 0; i < piece->count; i++) to[i] = (float)(rng_truncated_normal(&r) * (double)x->init_scale);
        break;
    case AIOS_INIT_ONE:
    case AIOS_INIT_CONSTANT:
        for (uint64_t i = 0; i < piece->count; i++) to[i] = x->init == AIOS_INIT_ONE ? 1.0f : x->init_scale;
        break;
    default: memset(to, 0, piece->count * sizeof *to);
    }
}

/* Pieces that are made together, one by each thread, and then copied. */
struct wave {
    uint64_t seed;
    struct piece *pieces;
    float *numbers; /* (threads, PIECE) */
    int count;
};

static void fill_share(void *user, int index, int count)
{
    struct wave *w = user;
    (void)count;
    if (index < w->count) fill_piece(&w->pieces[index], w->seed, w->numbers + (uint64_t)index * PIECE);
}

static aios_status send_wave(aios_parameters *p, struct wave *w, thread_pool *pool)
{
    pool_run(pool, fill_share, w);
    for (int i = 0; i < w->count; i++) {
        const struct piece *piece = &w->pieces[i];
        uint64_t offset = piece->parameter->offset + piece->start;
        if (p->staged[AIOS_VALUE]) {
            memcpy(p->staged[AIOS_VALUE] + offset, w->numbers + (uint64_t)i * PIECE, piece->count * 4);
            continue;
        }
        TRY(aios_stream_copy(p->stream, p->master + offset, w->numbers + (uint64_t)i * PIECE, piece->count * 4, AIOS_COPY_HOST_TO_DEVICE),
            "initialising %s", piece->parameter->name);
        TRY_QUIET(parameters_refresh(p, offset, piece->count));
    }
    w->count = 0;
    return aios_stream_synchronize(p->stream);
}

static aios_status send_all(aios_parameters *p, struct wave *w, thread_pool *pool)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        if (x->is_table) TRY_QUIET(aios_stream_fill(p->stream, x->table, 0, x->count * 4));
        for (uint64_t start = 0; !x->is_table && start < x->count; start += PIECE) {
            uint64_t count = x->count - start < PIECE ? x->count - start : PIECE;
            w->pieces[w->count++] = (struct piece){x, start, count, hash_name(x->name)};
            if (w->count == pool_threads(pool)) TRY_QUIET(send_wave(p, w, pool));
        }
    }
    return send_wave(p, w, pool);
}

/* Is the device's own part all that it has of that?  Tables are whole everywhere: updates touch single rows. */
static int is_apart(const aios_parameters *p, const struct parameter *x, int32_t kind)
{
    return !x->is_table && parameters_is_sharded(p, kind);
}

static aios_status not_staged(const char *name)
{
    return FAIL(AIOS_WRONG_STATE, "this device holds a part of %s: its numbers are gathered first", name);
}

aios_status aios_parameters_initialize(aios_parameters *p, uint64_t seed)
{
    FLOAT_SCOPE;
    aios_status status = AIOS_OK;
    if (!p) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_initialize: parameters is NULL");
    if (parameters_is_sharded(p, AIOS_VALUE) && !p->staged[AIOS_VALUE]) return not_staged("the parameters");
    uint64_t pieces = p->total / PIECE + p->count;
    int threads = os_cpu_count();
    if ((uint64_t)threads > pieces || p->total < PIECE) threads = 1;
    struct wave wave = {.seed = seed};
    thread_pool *pool = NULL;
    ATTEMPT_QUIET(pool_create(p->context, threads, NULL, &pool));
    wave.pieces = aios_memory_array(p->context, (size_t)threads, sizeof *wave.pieces);
    wave.numbers = aios_memory_array(p->context, (size_t)threads * PIECE, sizeof *wave.numbers);
    if (!wave.pieces || !wave.numbers) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    status = send_all(p, &wave, pool);
done:
    (void)aios_stream_synchronize(p->stream); /* a copy may still read the numbers */
    aios_memory_free(p->context, wave.numbers);
    aios_memory_free(p->context, wave.pieces);
    pool_destroy(pool);
    return status;
}

#define ANY_COUNT UINT64_MAX

static aios_status locate(aios_parameters *p, const char *name, int32_t kind, uint64_t count, float **at, const struct parameter **found)
{
    if (!p || !name) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters: parameters and name must not be NULL");
    static const char *const what[] = {"values", "gradients: make the parameters with training 1",
                                       "moments: make an optimizer that has them first", "moments: make an optimizer that has them first"};
    if (kind < AIOS_VALUE || kind > AIOS_MOMENT2) return FAIL(AIOS_INVALID_ARGUMENT, "kind is %d: 0 to %d are allowed", kind, AIOS_MOMENT2);
    float *flat = parameters_flat(p, kind);
    if (!flat) return FAIL(AIOS_WRONG_STATE, "these parameters have no %s", what[kind]);
    *found = parameters_find(p, name);
    if (!*found) return FAIL(AIOS_NOT_FOUND, "no parameter is called '%s'", name);
    if ((*found)->is_table && kind != AIOS_VALUE) return FAIL(AIOS_WRONG_STATE, "'%s' is a table of rows: it has values alone", name);
    if (count != ANY_COUNT && (*found)->count != count)
        return FAIL(AIOS_OUT_OF_RANGE, "'%s' has %llu elements, not %llu", name, (unsigned long long)(*found)->count,
                    (unsigned long long)count);
    if (is_apart(p, *found, kind)) {
        if (!p->staged[kind]) return not_staged(name);
        flat = p->staged[kind];
    }
    *at = (*found)->is_table ? (*found)->table : flat + (*found)->offset;
    return AIOS_OK;
}

aios_status aios_parameters_read(aios_parameters *p, const char *name, int32_t kind, float *to, uint64_t count)
{
    float *at;
    const struct parameter *x;
    if (!to) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_read: to is NULL");
    TRY_QUIET(locate(p, name, kind, count, &at, &x));
    if (p->staged[kind] && !x->is_table) {
        memcpy(to, at, count * sizeof *to);
        return AIOS_OK;
    }
    TRY(stream_fetch(p->stream, to, at, count * 4), "reading %s", name);
    return AIOS_OK;
}

aios_status aios_parameters_write(aios_parameters *p, const char *name, int32_t kind, const float *from, uint64_t count)
{
    float *at;
    const struct parameter *x;
    if (!from) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_write: from is NULL");
    TRY_QUIET(locate(p, name, kind, count, &at, &x));
    if (p->staged[kind] && !x->is_table) {
        memcpy(at, from, count * sizeof *from);
        return AIOS_OK;
    }
    TRY(aios_stream_copy(p->stream, at, from, count * 4, AIOS_COPY_HOST_TO_DEVICE), "writing %s", name);
    for (uint64_t done = 0; kind == AIOS_VALUE && !x->is_table && done < count; done += PIECE)
        TRY_QUIET(parameters_refresh(p, x->offset + done, count - done < PIECE ? count - done : PIECE));
    return aios_stream_synchronize(p->stream);
}

aios_status aios_parameters_data(aios_parameters *p, const char *name, int32_t kind, float **data, uint64_t *count)
{
    const struct parameter *x;
    float *at;
    if (!data || !count) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_data: data and count must not be NULL");
    *data = NULL;
    *count = 0;
    TRY_QUIET(locate(p, name, kind, ANY_COUNT, &at, &x));
    if (is_apart(p, x, kind)) return FAIL(AIOS_WRONG_STATE, "'%s' lies on several devices, a part on each", name);
    TRY_QUIET(aios_stream_synchronize(p->stream));
    *data = at;
    *count = x->count;
    return AIOS_OK;
}

aios_status aios_parameters_reset_states(aios_parameters *p)
{
    if (!p) return FAIL(AIOS_INVALID_ARGUMENT, "aios_parameters_reset_states: parameters is NULL");
    for (size_t i = 0; i < p->state_count; i++)
        TRY(aios_stream_fill(p->stream, p->states[i].memory, 0, p->states[i].size), "state %s", p->states[i].name);
    return AIOS_OK;
}
