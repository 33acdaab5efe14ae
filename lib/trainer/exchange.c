#include "exchange_parts.h"

#include "balance.h"
#include "base/checksum.h"
#include "base/os.h"
#include "gpu/device.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "optim/optimizer.h"

#include <string.h>

/* ---- making ------------------------------------------------------------------------------------------------------ */

const struct sharding *exchange_sharding(const struct replica *r, struct sharding *sharding)
{
    const struct replicas *all = r->all;
    const struct settings *s = all->settings;
    if (all->independent || all->ranks == 1) return NULL;
    *sharding = (struct sharding){.stage = (int)s->zero_stage,
                                  .rank = r->rank,
                                  .ranks = all->ranks,
                                  .bucket_bytes = (uint64_t)(s->bucket_mb * 1048576.0),
                                  .memory_shares = s->zero_stage ? all->memory_shares : NULL};
    return sharding;
}

aios_status exchange_create(struct replica *r)
{
    const aios_parameters *p = r->parameters;
    size_t borders = (size_t)p->ranks + 1, words = sizeof(float) / storage_size(p->storage);
    struct exchange *x = aios_new(r->all->context, struct exchange);
    if (!x) return AIOS_OUT_OF_MEMORY;
    r->exchange = x;
    x->overlap = r->all->settings->overlap != 0;
    x->weight_borders = aios_memory_array(r->all->context, p->bucket_count * borders + 1, sizeof *x->weight_borders);
    x->gradient_tickets = aios_memory_array(r->all->context, p->bucket_count + 1, sizeof *x->gradient_tickets);
    x->weight_tickets = aios_memory_array(r->all->context, p->bucket_count + 1, sizeof *x->weight_tickets);
    if (!x->weight_borders || !x->gradient_tickets || !x->weight_tickets) return AIOS_OUT_OF_MEMORY;
    for (size_t b = 0; b < p->bucket_count; b++)
        for (size_t i = 0; i < borders; i++) x->weight_borders[b * borders + i] = p->buckets[b].borders[i] / words;
    return exchange_queue_create(r->all->context, p->stream, &x->queue);
}

aios_stream *exchange_stream(const struct replica *r)
{
    return exchange_queue_stream(r->exchange->queue);
}

void exchange_destroy(struct replica *r)
{
    struct exchange *x = r->exchange;
    if (!x) return;
    exchange_queue_destroy(x->queue);
    aios_device_free(r->device, x->scratch);
    aios_memory_free(r->all->context, x->weight_borders);
    aios_memory_free(r->all->context, x->gradient_tickets);
    aios_memory_free(r->all->context, x->weight_tickets);
    aios_memory_free(r->all->context, x);
    r->exchange = NULL;
}

void exchange_settle(struct replica *r)
{
    if (r->exchange) exchange_queue_settle(r->exchange->queue);
}

/* Two devices that compute the same bits from the same numbers have the same word. */
static double kind_of(const aios_device *device)
{
    const aios_device_info *info = aios_device_get_info(device);
    checksum kind = CHECKSUM_INIT;
    checksum_add(&kind, info->backend, strlen(info->backend));
    checksum_add(&kind, info->name, strlen(info->name));
    return kind.crc;
}

/* Are all ranks' words the same?  In two rounds, since a sum may be `ranks` times the word of one rank by chance. */
static aios_status compare_kinds(struct replica *r, int *differ)
{
    double own = kind_of(r->device), sum = own, others;
    TRY_QUIET(comm_sum_numbers(r->comm, &sum, 1)); /* exact: below 2^32 each */
    others = sum != own * comm_ranks(r->comm);
    TRY_QUIET(comm_sum_numbers(r->comm, &others, 1));
    *differ = others != 0;
    return AIOS_OK;
}

aios_status exchange_open(struct replica *r)
{
    int differ;
    exchange_queue_use(r->exchange->queue, r->comm);
    TRY_QUIET(compare_kinds(r, &differ));
    if (r == r->all->list) r->all->kinds_differ = differ;
    return AIOS_OK;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

aios_status exchange_begin_wait(struct replica *r, double *began)
{
    *began = 0;
    if (r->all->settings->balance != BALANCE_MEASURED) return AIOS_OK;
    TRY_QUIET(aios_stream_synchronize(r->parameters->stream));
    *began = os_now();
    return AIOS_OK;
}

void exchange_end_wait(struct replica *r, double began)
{
    if (began > 0) r->exchange->waited += os_now() - began;
}

static aios_status end(struct replica *r, uint64_t ticket)
{
    double began;
    TRY_QUIET(exchange_begin_wait(r, &began));
    aios_status status = exchange_end(r->exchange->queue, ticket);
    exchange_end_wait(r, began);
    return status;
}

static aios_status begin(struct replica *r, const exchange_job *job, uint64_t *ticket)
{
    TRY_QUIET(exchange_begin(r->exchange->queue, job, ticket));
    return r->exchange->overlap ? AIOS_OK : end(r, *ticket);
}

static const uint64_t *weight_borders(const struct replica *r, size_t bucket)
{
    return r->exchange->weight_borders + bucket * ((size_t)r->parameters->ranks + 1);
}

aios_status exchange_begin_weights(struct replica *r, size_t bucket, char *memory, uint64_t *ticket)
{
    const aios_parameters *p = r->parameters;
    const struct bucket *b = &p->buckets[bucket];
    uint64_t element = storage_size(p->storage);
    char *own = memory + b->borders[p->rank] * element, *from = parameters_own_weight(p, b);
    if (own != from) TRY_QUIET(aios_stream_copy(p->stream, own, from, b->own_count * element, AIOS_COPY_DEVICE_TO_DEVICE));
    return begin(r, &(exchange_job){EXCHANGE_ALL_GATHER, (float *)(void *)memory, 0, weight_borders(r, bucket), 0}, ticket);
}

static aios_status begin_gradient(struct replica *r, size_t bucket, float *memory, uint64_t *ticket)
{
    const aios_parameters *p = r->parameters;
    const struct bucket *b = &p->buckets[bucket];
    exchange_job job = {EXCHANGE_REDUCE_SCATTER, memory ? memory : p->gradient + b->first, b->count, b->borders, 0};
    if (p->stage == 0) job.kind = EXCHANGE_ALL_REDUCE;
    return begin(r, &job, ticket);
}

/* What came of a micro-batch to the sum of all. */
static aios_status add_gradient(const struct replica *r, size_t bucket, const float *memory)
{
    const aios_parameters *p = r->parameters;
    const struct bucket *b = &p->buckets[bucket];
    if (b->own_count == 0) return AIOS_OK;
    return launch_scale_add(p->stream, AIOS_F32, 0, parameters_own(p, AIOS_GRADIENT, b), memory + b->borders[p->rank],
                            (int32_t)(b->own_count / BLOCK), BLOCK, 1.0f, 1);
}

static aios_status reach(void *user, const struct plan_point *point, void *memory)
{
    struct replica *r = user;
    struct exchange *x = r->exchange;
    size_t bucket = (size_t)point->bucket;
    switch (point->kind) {
    case POINT_WEIGHTS_BEGIN: return exchange_begin_weights(r, bucket, memory, &x->weight_tickets[bucket]);
    case POINT_WEIGHTS_END: return end(r, x->weight_tickets[bucket]);
    case POINT_GRADIENT_BEGIN: return begin_gradient(r, bucket, memory, &x->gradient_tickets[bucket]);
    default: TRY_QUIET(end(r, x->gradient_tickets[bucket])); return add_gradient(r, bucket, memory);
    }
}

int exchange_is_constant(const struct replica *r)
{
    return parameters_is_sharded(r->parameters, AIOS_GRADIENT);
}

aios_status exchange_run(struct replica *r, int idle)
{
    return plan_run_pieces(r->plan, idle, reach, r);
}

double exchange_take_waited(struct replica *r)
{
    double waited = r->exchange->waited;
    r->exchange->waited = 0;
    return waited;
}

/* ---- the update -------------------------------------------------------------------------------------------------- */

aios_status exchange_gradients(struct replica *r, double *squares)
{
    TRY_QUIET(exchange_end_all(r->exchange->queue));
    TRY_QUIET(optimizer_sum_squares_owned(r->optimizer, squares));
    return comm_sum_numbers(r->comm, squares, 1);
}

/* numbers of each sample, from a table's (samples, numbers) */
static aios_status gather_samples(struct replica *r, float *table, uint64_t numbers)
{
    const struct replicas *all = r->all;
    uint64_t borders[REPLICAS_MOST + 1] = {0}, batch = (uint64_t)all->settings->batch_size;
    for (int i = 0; i < all->ranks; i++) borders[i + 1] = borders[i] + (uint64_t)all->shares[i] * batch * numbers;
    return exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_ALL_GATHER, table, 0, borders, 0});
}

aios_status exchange_rows(struct replica *r)
{
    const aios_parameters *p = r->parameters;
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        if (!x->kept_room) continue;
        TRY_QUIET(gather_samples(r, x->kept_gradient, (uint64_t)x->shape[1]));
        TRY_QUIET(gather_samples(r, (float *)(void *)x->kept_ids, 1)); /* moved, never computed with */
    }
    return AIOS_OK;
}

aios_status exchange_update(struct replica *r, double squares)
{
    const aios_parameters *p = r->parameters;
    return p->stage ? optimizer_update_owned(r->optimizer, squares) : optimizer_update(r->optimizer, squares, 0, p->padded);
}

aios_status exchange_gather_flat(struct replica *r, float *flat)
{
    const aios_parameters *p = r->parameters;
    uint64_t ticket;
    for (size_t i = 0; flat && i < p->bucket_count; i++)
        TRY_QUIET(exchange_begin(r->exchange->queue,
                                 &(exchange_job){EXCHANGE_ALL_GATHER, flat + p->buckets[i].first, 0, p->buckets[i].borders, 0}, &ticket));
    return exchange_end_all(r->exchange->queue);
}

static aios_status gather_weights(struct replica *r)
{
    const aios_parameters *p = r->parameters;
    uint64_t ticket;
    for (size_t i = 0; i < p->bucket_count; i++)
        TRY_QUIET(exchange_begin_weights(r, i, (char *)p->weight + p->buckets[i].first * storage_size(p->storage), &ticket));
    return exchange_end_all(r->exchange->queue);
}

/* Between the rows of a table that the step moved and the buffer of their gradients. */
static aios_status move_rows(aios_parameters *p, const struct parameter *x, const int32_t *ids, int into_table)
{
    uint64_t n = (uint64_t)x->shape[1];
    for (int32_t i = 0; i < x->kept_room; i++) {
        float *row = x->table + (uint64_t)ids[i] * n, *kept = x->kept_gradient + (uint64_t)i * n;
        if (ids[i] >= 0)
            TRY_QUIET(aios_stream_copy(p->stream, into_table ? row : kept, into_table ? kept : row, n * sizeof(float),
                                       AIOS_COPY_DEVICE_TO_DEVICE));
    }
    return AIOS_OK;
}

/* Rank 0's rows to all, where devices may round an update differently. */
static aios_status spread_rows(struct replica *r, const struct parameter *x)
{
    aios_parameters *p = r->parameters;
    aios_status status = AIOS_OK;
    int32_t *ids = aios_memory_array(r->all->context, (size_t)x->kept_room, sizeof *ids);
    if (!ids) return AIOS_OUT_OF_MEMORY;
    ATTEMPT_QUIET(stream_fetch(p->stream, ids, x->kept_ids, (uint64_t)x->kept_room * sizeof *ids));
    ATTEMPT_QUIET(move_rows(p, x, ids, 0));
    ATTEMPT_QUIET(exchange_now(r->exchange->queue, &(exchange_job){EXCHANGE_BROADCAST, x->kept_gradient,
                                                                   (uint64_t)x->kept_room * (uint64_t)x->shape[1], NULL, 0}));
    ATTEMPT_QUIET(move_rows(p, x, ids, 1));
done:
    aios_memory_free(r->all->context, ids);
    return status;
}

aios_status exchange_weights(struct replica *r)
{
    aios_parameters *p = r->parameters;
    for (size_t i = 0; i < p->count && r->all->kinds_differ; i++)
        if (p->list[i].kept_room) TRY_QUIET(spread_rows(r, &p->list[i]));
    if (p->stage == 3 || (p->stage == 0 && !r->all->kinds_differ)) return AIOS_OK;
    if (p->stage) return gather_weights(r);
    TRY_QUIET(exchange_gather_flat(r, p->master));
    return parameters_refresh(p, 0, p->padded);
}

int exchange_is_whole(const struct replicas *all)
{
    return all->settings->zero_stage == 0;
}
