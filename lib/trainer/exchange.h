/* exchange.h (internal): how the gradients of replicas become one update of them all (ddp).
 *
 * Gradients are summed over the replicas, and each updates all weights and moments itself, so that whoever is left when a device is lost
 * has everything.  Devices of different kind may round an update differently: then each part of the weights has an owner, whose numbers
 * all take, so that replicas stay the same bit by bit.  A step asks three things of every replica, each on its own thread, one after the
 * other; only the first and the last meet the others. */
#ifndef AIOS_TRAINER_EXCHANGE_H
#define AIOS_TRAINER_EXCHANGE_H

#include "replica.h"

/* Parts and kinds of devices, once their communicators are there; all replicas call it. */
aios_status exchange_open(struct replica *r);
/* The gradient becomes the sum over all replicas.  *squares: of its elements, the same number everywhere. */
aios_status exchange_gradients(struct replica *r, double *squares);
/* Weights and moments move.  With no other replica. */
aios_status exchange_update(struct replica *r, double squares);
/* Every replica has the weights of their owners, where that is not so already. */
aios_status exchange_weights(struct replica *r);
/* Every replica has the moments of their owners, so that whichever is saved is what all go on with. */
aios_status exchange_moments(struct replica *r);

#endif
