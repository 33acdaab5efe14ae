/* collectives.h (internal): the collectives group of a device's backend, NCCL or RCCL: backend.h has its contract.
 *
 * A device_rank is one rank of a vendor's communicator.  One thread makes its calls.  Nothing here waits for other ranks: after create
 * and after each collective, query says when it is done. */
#ifndef AIOS_GPU_COLLECTIVES_H
#define AIOS_GPU_COLLECTIVES_H

#include <aios/device.h>

#define DEVICE_RANKS_MOST 256

typedef struct device_rank device_rank;

/* "NCCL 2.28.9".  Errors: UNSUPPORTED, the backend has no such group; UNAVAILABLE, the library's absence. */
#define COLLECTIVES_VERSION_MAX 64
aios_status device_collectives_version(aios_device *device, char text[COLLECTIVES_VERSION_MAX]);
/* The group was asked before: it is there. */
aios_status device_collectives_id(aios_device *device, uint8_t id[AIOS_COLLECTIVE_ID_BYTES]);

/* Errors: those of the library, OUT_OF_MEMORY.  The stream is that of all the rank's collectives; borrowed. */
aios_status device_rank_create(aios_stream *stream, const uint8_t id[AIOS_COLLECTIVE_ID_BYTES], int rank, int ranks, device_rank **made);
/* What is under way is aborted first.  NULL is fine. */
void device_rank_destroy(device_rank *r);
aios_status device_rank_query(device_rank *r, int *done);
/* Ends what is under way.  Afterwards the rank is only good for being destroyed.  A second time does nothing. */
void device_rank_abort(device_rank *r);

/* In place, f32.  offsets (ranks + 1) as backend.h says. */
aios_status device_rank_all_reduce(device_rank *r, float *buffer, uint64_t count);
aios_status device_rank_reduce_scatter(device_rank *r, float *buffer, const uint64_t *offsets);
aios_status device_rank_all_gather(device_rank *r, float *buffer, const uint64_t *offsets);
aios_status device_rank_broadcast(device_rank *r, float *buffer, uint64_t count, int root);

#endif
