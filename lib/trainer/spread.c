/* Weights, moments and the optimizer's state from one replica to the others, and the proof that all have the same. */
#include "carry.h"
#include "exchange.h"

#include "graph/parameters.h"

#include <string.h>

static aios_status spread_one(struct replica *r)
{
    float state[64];
    double numbers[COMM_NUMBERS_MOST] = {0};
    uint32_t count = aios_optimizer_state_count();
    int root = r->all->root;
    TRY_QUIET(exchange_spread(r));
    TRY_QUIET(aios_optimizer_read_state(r->optimizer, state, count));
    for (uint32_t i = 0; i < count && r->rank == root; i++) numbers[i] = (double)state[i];
    TRY_QUIET(comm_sum_numbers(r->comm, numbers, (int)count)); /* the others' are 0 */
    for (uint32_t i = 0; i < count; i++) state[i] = (float)numbers[i];
    return aios_optimizer_write_state(r->optimizer, state, count);
}

/* The first of those that most agree with. */
static int most_common(const double *values, int count)
{
    int best = 0, votes = 0;
    for (int i = 0; i < count; i++) {
        int same = 0;
        for (int k = 0; k < count; k++) same += values[k] == values[i];
        if (same > votes) best = i;
        if (same > votes) votes = same;
    }
    return best;
}

static aios_status compare_one(struct replica *r)
{
    double crcs[REPLICAS_MOST] = {0};
    TRY_QUIET(exchange_checksum(r, &crcs[r->rank]));
    TRY_QUIET(comm_sum_numbers(r->comm, crcs, r->all->ranks)); /* the others' are 0 */
    if (r == r->all->list) memcpy(r->all->checksums, crcs, sizeof crcs);
    return AIOS_OK;
}

aios_status replicas_verify(struct replicas *all)
{
    const double *sums = all->checksums;
    if (!all->group) return AIOS_OK;
    TRY_QUIET(replicas_together(all, compare_one));
    all->root = most_common(sums, all->ranks);
    for (int i = 0; i < all->ranks; i++)
        if (sums[i] != sums[all->root])
            return FAIL(AIOS_CORRUPT, "the weights of replica %d (%s) are not those of replica %d (%s) any more: checksums %08x and %08x",
                        i, all->peers[i].spec, all->root, all->peers[all->root].spec, (unsigned)sums[i], (unsigned)sums[all->root]);
    return AIOS_OK;
}

/* Tables of rows of the first replica to all others. */
static aios_status spread_tables(struct replicas *all)
{
    aios_parameters *from = all->list[0].parameters;
    for (size_t k = 0; k < from->count; k++) {
        const struct parameter *x = &from->list[k];
        if (!x->is_table) continue;
        float *values = aios_memory_array(all->context, x->count, sizeof *values);
        if (!values) return AIOS_OUT_OF_MEMORY;
        aios_status status = aios_parameters_read(from, x->name, AIOS_VALUE, values, x->count);
        for (int i = 1; i < all->count && status == AIOS_OK; i++) {
            status = aios_device_set_current(all->list[i].device);
            if (status == AIOS_OK) status = aios_parameters_write(all->list[i].parameters, x->name, AIOS_VALUE, values, x->count);
        }
        aios_memory_free(all->context, values);
        TRY_QUIET(status);
    }
    return AIOS_OK;
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
    status = spread_tables(all);
done:
    aios_memory_free(all->context, values);
    return status;
}

aios_status replicas_spread(struct replicas *all)
{
    if (all->independent && all->ranks > 1) TRY_QUIET(spread_by_host(all));
    if (!all->group) return carry_spread(all);
    TRY_QUIET(replicas_together(all, spread_one));
    all->root = 0;
    TRY_QUIET(carry_spread(all));
    return replicas_verify(all);
}

aios_status replicas_mend(struct replicas *all)
{
    if (all->list[0].parameters->stage == 0) return replicas_spread(all);
    TRY_QUIET(replicas_together(all, exchange_weights)); /* each part from its owner */
    all->root = 0;
    return replicas_verify(all);
}

static aios_status sum_one(struct replica *r)
{
    struct replicas *all = r->all;
    double zeros[COMM_NUMBERS_MOST] = {0};
    return comm_sum_numbers(r->comm, r == all->list ? all->summed : zeros, all->summed_count);
}

aios_status replicas_sum(struct replicas *all, double *values, int count)
{
    if (processes_count(all->processes) == 1) return AIOS_OK;
    all->summed = values;
    all->summed_count = count;
    return replicas_together(all, sum_one);
}

aios_status replicas_gather(struct replicas *all)
{
    return all->group ? replicas_together(all, exchange_gather) : AIOS_OK;
}

aios_status replicas_make_whole(struct replicas *all)
{
    return all->group ? replicas_together(all, exchange_make_whole) : AIOS_OK;
}
