/* Whole models between ranks: the start, checkpoints, comparisons, evaluations.  A model of which every rank holds a part goes bucket by
 * bucket through a scratch buffer of one bucket. */
#include "exchange_parts.h"

#include "base/checksum.h"
#include "gpu/device.h"

#include <string.h>

static aios_status need_scratch(struct replica *r)
{
    const aios_parameters *p = r->parameters;
    uint64_t largest = BLOCK;
    void *memory;
    for (size_t i = 0; i < p->bucket_count; i++)
        if (p->buckets[i].count > largest) largest = p->buckets[i].count;
    TRY(aios_device_alloc(r->device, largest * sizeof(float), &memory), "memory for one bucket of gradients");
    r->exchange->scratch = memory;
    return AIOS_OK;
}

static void free_scratch(struct replica *r)
{
    (void)aios_stream_synchronize(r->parameters->stream);
    aios_device_free(r->device, r->exchange->scratch);
    r->exchange->scratch = NULL;
}

/* ---- one bucket -------------------------------------------------------------------------------------------------- */

/* A bucket of a kind of which everybody holds a part, into scratch. */
static aios_status gather_bucket(struct replica *r, int32_t kind, const struct bucket *b)
{
    const aios_parameters *p = r->parameters;
    float *scratch = r->exchange->scratch;
    TRY_QUIET(aios_stream_copy(p->stream, scratch + b->borders[p->rank], parameters_own(p, kind, b), b->own_count * sizeof(float),
                               AIOS_COPY_DEVICE_TO_DEVICE));
    return exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_ALL_GATHER, scratch, 0, b->borders, 0});
}

/* A bucket of rank 0's staged numbers to the owners of its parts. */
static aios_status scatter_bucket(struct replica *r, int32_t kind, const struct bucket *b)
{
    const aios_parameters *p = r->parameters;
    float *scratch = r->exchange->scratch;
    if (p->rank == 0) {
        TRY_QUIET(aios_stream_copy(p->stream, scratch, p->staged[kind] + b->first, b->count * sizeof(float), AIOS_COPY_HOST_TO_DEVICE));
        TRY_QUIET(aios_stream_synchronize(p->stream));
    }
    TRY_QUIET(exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_BROADCAST, scratch, b->count, NULL, 0}));
    return aios_stream_copy(p->stream, parameters_own(p, kind, b), scratch + b->borders[p->rank], b->own_count * sizeof(float),
                            AIOS_COPY_DEVICE_TO_DEVICE);
}

/* Calls one for every bucket of every kind that is saved and that ranks hold parts of. */
static aios_status for_shards(struct replica *r, aios_status (*one)(struct replica *, int32_t, const struct bucket *))
{
    const aios_parameters *p = r->parameters;
    for (int32_t kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < p->bucket_count; i++)
            if (kind != AIOS_GRADIENT && parameters_is_sharded(p, kind) && parameters_flat(p, kind))
                TRY_QUIET(one(r, kind, &p->buckets[i]));
    return AIOS_OK;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static aios_status spread_flat(struct replica *r)
{
    const aios_parameters *p = r->parameters;
    for (int32_t kind = 0; kind < KINDS; kind++) {
        float *flat = parameters_flat(p, kind);
        if (kind != AIOS_GRADIENT && flat && !parameters_is_sharded(p, kind))
            TRY_QUIET(exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_BROADCAST, flat, p->padded, NULL, r->all->root}));
    }
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        if (x->is_table)
            TRY_QUIET(exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_BROADCAST, x->table, x->count, NULL, r->all->root}));
    }
    return AIOS_OK;
}

aios_status exchange_spread(struct replica *r)
{
    aios_parameters *p = r->parameters;
    aios_status status = AIOS_OK;
    TRY_QUIET(spread_flat(r));
    if (p->stage == 0) return parameters_refresh(p, 0, p->padded);
    TRY_QUIET(need_scratch(r));
    ATTEMPT_QUIET(for_shards(r, scatter_bucket));
    ATTEMPT_QUIET(parameters_refresh_own(p));
    ATTEMPT_QUIET(exchange_weights(r));
done:
    free_scratch(r);
    parameters_unstage(p);
    return status;
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

static aios_status gather_staged(struct replica *r, int32_t kind, const struct bucket *b)
{
    const aios_parameters *p = r->parameters;
    TRY_QUIET(gather_bucket(r, kind, b));
    if (p->rank != 0) return AIOS_OK;
    return stream_fetch(p->stream, p->staged[kind] + b->first, r->exchange->scratch, b->count * sizeof(float));
}

aios_status exchange_gather(struct replica *r)
{
    aios_parameters *p = r->parameters;
    aios_status status = AIOS_OK;
    if (p->stage == 0 && r->all->kinds_differ) {
        TRY_QUIET(exchange_gather_flat(r, p->moment1));
        TRY_QUIET(exchange_gather_flat(r, p->moment2));
        return aios_stream_synchronize(p->stream);
    }
    if (p->stage == 0) return AIOS_OK;
    TRY_QUIET(need_scratch(r));
    if (p->rank == 0) ATTEMPT_QUIET(parameters_stage(p));
    ATTEMPT_QUIET(for_shards(r, gather_staged));
done:
    free_scratch(r);
    return status;
}

/* ---- comparisons ------------------------------------------------------------------------------------------------- */

#define PIECE_BYTES ((uint64_t)4 << 20) /* that come to the host at a time */

static aios_status add_to_checksum(struct replica *r, const void *memory, uint64_t bytes, char *piece, checksum *sum)
{
    for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
        uint64_t size = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        TRY_QUIET(aios_stream_copy(r->parameters->stream, piece, (const char *)memory + at, size, AIOS_COPY_DEVICE_TO_HOST));
        TRY_QUIET(aios_stream_synchronize(r->parameters->stream));
        checksum_add(sum, piece, size);
    }
    return AIOS_OK;
}

/* At stage 3, of what the replica would compute with. */
static aios_status checksum_shards(struct replica *r, char *piece, checksum *sum)
{
    const aios_parameters *p = r->parameters;
    uint64_t ticket;
    for (size_t i = 0; i < p->bucket_count; i++) {
        TRY_QUIET(exchange_begin_weights(r, i, (char *)r->exchange->scratch, &ticket));
        TRY_QUIET(exchange_end(r->exchange->queue, ticket));
        TRY_QUIET(add_to_checksum(r, r->exchange->scratch, p->buckets[i].count * storage_size(p->storage), piece, sum));
    }
    return AIOS_OK;
}

aios_status exchange_checksum(struct replica *r, double *crc)
{
    const aios_parameters *p = r->parameters;
    checksum sum = CHECKSUM_INIT;
    aios_status status = AIOS_OK;
    void *piece;
    TRY_QUIET(aios_device_host_alloc(r->device, PIECE_BYTES, &piece));
    if (parameters_weight_is_sharded(p)) {
        ATTEMPT_QUIET(need_scratch(r));
        ATTEMPT_QUIET(checksum_shards(r, piece, &sum));
    } else if (parameters_is_sharded(p, AIOS_VALUE))
        ATTEMPT_QUIET(add_to_checksum(r, p->weight, p->padded * storage_size(p->storage), piece, &sum));
    else
        ATTEMPT_QUIET(add_to_checksum(r, p->master, p->padded * sizeof(float), piece, &sum));
    *crc = sum.crc;
done:
    free_scratch(r);
    aios_device_host_free(r->device, piece);
    return status;
}

/* ---- host memory ------------------------------------------------------------------------------------------------- */

aios_status exchange_tell(struct replica *r, char *bytes, uint64_t size, int root)
{
    aios_status status = AIOS_OK;
    aios_stream *stream = r->parameters->stream;
    int takes = r == r->all->list && r->rank != root;
    void *piece;
    TRY(aios_device_alloc(r->device, PIECE_BYTES, &piece), "memory for a message between processes");
    for (uint64_t at = 0; at < size; at += PIECE_BYTES) {
        uint64_t part = size - at < PIECE_BYTES ? size - at : PIECE_BYTES, words = (part + sizeof(float) - 1) / sizeof(float);
        if (r->rank == root) {
            ATTEMPT_QUIET(aios_stream_copy(stream, piece, bytes + at, part, AIOS_COPY_HOST_TO_DEVICE));
            ATTEMPT_QUIET(aios_stream_synchronize(stream));
        }
        ATTEMPT_QUIET(exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_BROADCAST, piece, words, NULL, root}));
        if (takes) ATTEMPT_QUIET(stream_fetch(stream, bytes + at, piece, part));
    }
done:
    (void)aios_stream_synchronize(stream);
    aios_device_free(r->device, piece);
    return status;
}

/* ---- evaluations ------------------------------------------------------------------------------------------------- */

aios_status exchange_make_whole(struct replica *r)
{
    aios_parameters *p = r->parameters;
    aios_status status = AIOS_OK;
    uint64_t element = storage_size(p->storage), ticket;
    if (!parameters_weight_is_sharded(p)) return AIOS_OK;
    if (p->rank == 0 && !p->whole)
        TRY(aios_device_alloc(r->device, p->padded * element, &p->whole), "memory for all weights, which an evaluation wants");
    TRY_QUIET(need_scratch(r));
    for (size_t i = 0; i < p->bucket_count; i++) {
        const struct bucket *b = &p->buckets[i];
        ATTEMPT_QUIET(exchange_begin_weights(r, i, (char *)r->exchange->scratch, &ticket));
        ATTEMPT_QUIET(exchange_end(r->exchange->queue, ticket));
        if (p->rank == 0)
            ATTEMPT_QUIET(aios_stream_copy(p->stream, (char *)p->whole + b->first * element, r->exchange->scratch, b->count * element,
                                           AIOS_COPY_DEVICE_TO_DEVICE));
    }
done:
    free_scratch(r);
    return status;
}
