/* exchange.h (internal): how the gradients of replicas become one update of them all (ddp), and who holds what of the model (ZeRO).
 *
 * The flat buffers are cut into buckets (graph/parameters.h), each into parts that the ranks own.  In the last micro-batch of a step a
 * bucket's gradients are summed on the queue's thread as soon as they are final, while backward goes on.
 *
 *   stage 0   every replica gets the sums, and updates all weights and moments itself, so that whoever is left when a device is lost has
 *             everything.  Devices of different kind may round an update differently: then owners' weights go to all afterwards.
 *   stage 1   a replica gets the sums of its parts, updates those, and has the others' weights from their owners.  Moments are of its
 *             own parts alone, and so are masters beside 16-bit weights.
 *   stage 2   gradients too: each micro-batch's go into the owners' sums and are dropped.
 *   stage 3   weights too: a bucket's are gathered before it is used, in forward and again in backward, and dropped.
 *
 * A step asks three things of every replica, each on its own thread, one after the other; only the first and the last meet the others. */
#ifndef AIOS_TRAINER_EXCHANGE_H
#define AIOS_TRAINER_EXCHANGE_H

#include "graph/parameters.h"
#include "replica.h"

struct exchange;

/* How replica r's parameters are shared; before they are made.  NULL: they are not. */
const struct sharding *exchange_sharding(const struct replica *r, struct sharding *sharding);

/* The queue, for a replica whose parameters are made; r->exchange.  Its stream is what the communicator joins with. */
aios_status exchange_create(struct replica *r);
aios_stream *exchange_stream(const struct replica *r);
/* What the ranks must know of each other, once their communicators are there; all replicas call it. */
aios_status exchange_open(struct replica *r);
/* After r->comm has left. */
void exchange_destroy(struct replica *r);
/* After a failure: returns when nothing uses the replica's buffers any more. */
void exchange_settle(struct replica *r);

/* 1: gradients are exchanged in every micro-batch, so that all replicas run as many; 0: in the last alone. */
int exchange_is_constant(const struct replica *r);
/* One run of the plan with exchange.  idle 1: with nothing to compute, while the others do. */
aios_status exchange_run(struct replica *r, int idle);
/* Every exchange is over: the gradient is the sum over all replicas.  *squares: of its elements, the same number everywhere. */
aios_status exchange_gradients(struct replica *r, double *squares);
/* Every replica has the rows of tables that all of them used, in the order of the step's samples. */
aios_status exchange_rows(struct replica *r);
/* Around a wait for the other replicas: where shares follow speed, that is no part of the replica's own time. */
aios_status exchange_begin_wait(struct replica *r, double *began);
void exchange_end_wait(struct replica *r, double began);
/* Seconds that it waited so since the last call. */
double exchange_take_waited(struct replica *r);
/* Weights and moments move.  With no other replica. */
aios_status exchange_update(struct replica *r, double squares);
/* Every replica has the weights of their owners, where that is not so already. */
aios_status exchange_weights(struct replica *r);

/* ---- whole models: called by all replicas ------------------------------------------------------------------------------ */

/* Weights and moments of rank 0 (at stages 1 to 3 the staged ones of parameters_stage, which are let go) to all. */
aios_status exchange_spread(struct replica *r);
/* Everything that is saved, to rank 0: moments where kinds of devices differ, and at stages 1 to 3 what parameters_stage keeps. */
aios_status exchange_gather(struct replica *r);
/* A checksum of the weights that the replica has or gets from the others. */
aios_status exchange_checksum(struct replica *r, double *crc);
/* At stage 3: all weights into memory of rank 0 (parameters->whole) for an evaluation; nothing elsewhere. */
aios_status exchange_make_whole(struct replica *r);
/* Host memory of the process of rank root to that of all other processes; each one's first replica is the one that has `bytes`. */
aios_status exchange_tell(struct replica *r, char *bytes, uint64_t size, int root);
/* Does each replica have all weights and moments, so that any may be lost? */
int exchange_is_whole(const struct replicas *all);

#endif
