/* exchange_parts.h (internal to exchange*.c): what one replica's exchange is made of. */
#ifndef AIOS_TRAINER_EXCHANGE_PARTS_H
#define AIOS_TRAINER_EXCHANGE_PARTS_H

#include "exchange.h"
#include "exchange_queue.h"

struct exchange {
    exchange_queue *queue;
    int overlap;
    uint64_t *weight_borders;                    /* (buckets, ranks + 1): of what forward reads, in words of a float */
    uint64_t *gradient_tickets, *weight_tickets; /* (buckets) */
    double waited;
    float *scratch; /* device: one bucket, while a whole model is moved */
};

/* The owners' weights of a bucket into memory that has room for all of it. */
aios_status exchange_begin_weights(struct replica *r, size_t bucket, char *memory, uint64_t *ticket);
/* Every bucket of a buffer that is whole on all ranks becomes its owners'; flat may be NULL. */
aios_status exchange_gather_flat(struct replica *r, float *flat);

#endif
