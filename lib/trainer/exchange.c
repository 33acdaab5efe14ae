#include "exchange.h"

#include "base/checksum.h"
#include "graph/parameters.h"
#include "optim/optimizer.h"

#include <string.h>

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

/* Even parts of the flat buffers, on whole blocks. */
aios_status exchange_open(struct replica *r)
{
    int ranks = comm_ranks(r->comm), differ;
    uint64_t blocks = r->parameters->padded / BLOCK;
    TRY_QUIET(compare_kinds(r, &differ));
    if (r->rank != 0) return AIOS_OK;
    r->all->kinds_differ = differ;
    for (int i = 0; i <= ranks; i++) r->all->parts[i] = blocks * (uint64_t)i / (uint64_t)ranks * BLOCK;
    return AIOS_OK;
}

aios_status exchange_gradients(struct replica *r, double *squares)
{
    const uint64_t *parts = r->all->parts;
    uint64_t first = parts[r->rank], count = parts[r->rank + 1] - first;
    TRY_QUIET(comm_all_reduce(r->comm, r->parameters->gradient, r->parameters->padded));
    TRY_QUIET(optimizer_sum_squares(r->optimizer, first, count, squares));
    return comm_sum_numbers(r->comm, squares, 1);
}

aios_status exchange_update(struct replica *r, double squares)
{
    return optimizer_update(r->optimizer, squares, 0, r->parameters->padded);
}

aios_status exchange_weights(struct replica *r)
{
    const uint64_t *parts = r->all->parts;
    if (!r->all->kinds_differ) return AIOS_OK;
    TRY_QUIET(comm_all_gather(r->comm, r->parameters->master, parts));
    TRY_QUIET(parameters_refresh(r->parameters, 0, parts[r->rank]));
    return parameters_refresh(r->parameters, parts[r->rank + 1], r->parameters->padded - parts[r->rank + 1]);
}

aios_status exchange_moments(struct replica *r)
{
    aios_parameters *p = r->parameters;
    if (!r->all->kinds_differ) return AIOS_OK;
    if (p->moment1) TRY_QUIET(comm_all_gather(r->comm, p->moment1, r->all->parts));
    if (p->moment2) TRY_QUIET(comm_all_gather(r->comm, p->moment2, r->all->parts));
    return aios_stream_synchronize(p->stream);
}
