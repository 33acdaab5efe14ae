/* Weights, moments and the optimizer's state from one replica to the others, and the proof that all have the same. */
#include "exchange.h"

#include "graph/parameters.h"

static aios_status spread_one(struct replica *r)
{
    float state[64];
    double numbers[COMM_NUMBERS_MOST] = {0};
    uint32_t count = aios_optimizer_state_count();
    TRY_QUIET(exchange_spread(r));
    TRY_QUIET(aios_optimizer_read_state(r->optimizer, state, count));
    for (uint32_t i = 0; i < count && r->rank == 0; i++) numbers[i] = (double)state[i];
    TRY_QUIET(comm_sum_numbers(r->comm, numbers, (int)count)); /* the others' are 0 */
    for (uint32_t i = 0; i < count; i++) state[i] = (float)numbers[i];
    return aios_optimizer_write_state(r->optimizer, state, count);
}

static aios_status verify_one(struct replica *r)
{
    double crcs[REPLICAS_MOST] = {0};
    TRY_QUIET(exchange_checksum(r, &crcs[r->rank]));
    TRY_QUIET(comm_sum_numbers(r->comm, crcs, r->all->count));
    for (int i = 1; i < r->all->count; i++)
        if (crcs[i] != crcs[0])
            return FAIL(AIOS_DEVICE_ERROR, "the weights of replica %d (%s) are no longer those of replica 0 (%s): checksums %08x and %08x",
                        i, aios_device_spec(r->all->list[i].device), aios_device_spec(r->all->list[0].device), (unsigned)crcs[i],
                        (unsigned)crcs[0]);
    return AIOS_OK;
}

aios_status replicas_verify(struct replicas *all)
{
    return all->group ? replicas_together(all, verify_one) : AIOS_OK;
}

/* Through host memory: replicas that train on their own have no communicators. */
static aios_status spread_by_host(struct replicas *all)
{
    float state[64];
    aios_status status = AIOS_OK;
    uint32_t numbers = aios_optimizer_state_count();
    uint64_t count = all->list[0].parameters->padded;
    float *values = aios_memory_array(all->context, count, sizeof *values);
    if (!values) return AIOS_OUT_OF_MEMORY;
    ATTEMPT_QUIET(aios_optimizer_read_state(all->list[0].optimizer, state, numbers));
    for (int i = 1; i < all->count; i++) ATTEMPT_QUIET(aios_optimizer_write_state(all->list[i].optimizer, state, numbers));
    for (int b = 0; b < REPLICA_BUFFERS; b++) {
        if (!replica_buffer(&all->list[0], b)) continue;
        ATTEMPT_QUIET(replica_read(&all->list[0], b, values));
        for (int i = 1; i < all->count; i++) ATTEMPT_QUIET(replica_write(&all->list[i], b, values));
    }
done:
    aios_memory_free(all->context, values);
    return status;
}

aios_status replicas_spread(struct replicas *all)
{
    if (all->count == 1) return AIOS_OK;
    if (all->independent) return spread_by_host(all);
    TRY_QUIET(replicas_together(all, spread_one));
    return replicas_together(all, verify_one);
}

aios_status replicas_gather(struct replicas *all)
{
    return all->group ? replicas_together(all, exchange_gather) : AIOS_OK;
}

aios_status replicas_make_whole(struct replicas *all)
{
    return all->group ? replicas_together(all, exchange_make_whole) : AIOS_OK;
}
