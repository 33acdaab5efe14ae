/* carry.h (internal): what the puzzles of a batch carry from step to step, wherever the row is that each is worked at.
 *
 * It is the states of the training graph, each with the batch as its first dimension; a text's graph has none, and then nothing here does
 * anything.  A replica's plan works at one micro-batch at a time, so the states wait in a buffer of the device, each micro-batch's twice:
 * what a step makes of them is put beside what it began with, and takes its place when the step is made.  A step that is left out or fails
 * leaves them as they were; the graph's own states mean nothing between runs.  By the number of a sample in the step (a row) a carry is
 * the same on any number of devices and processes. */
#ifndef AIOS_TRAINER_CARRY_H
#define AIOS_TRAINER_CARRY_H

#include "replica.h"

/* Room for the replica's share: all puzzles are to be taken anew.  Also for the rows of tables that a step uses. */
aios_status carry_make_room(struct replica *r);
void carry_free(struct replica *r);

/* A step: a run of each of its micro-batches m, from 0 on, is between take and keep; without commit it has not been. */
void carry_begin(struct replica *r);
aios_status carry_take(struct replica *r, int64_t m);
aios_status carry_keep(struct replica *r, int64_t m);
void carry_commit(struct replica *r);
/* Draws how long each puzzle of the micro-batch is thought about at the least, for any number of devices alike, and writes it. */
aios_status carry_explore(struct replica *r, int64_t m);
/* Adds what became of the puzzles of the last run to r->solved; waits for it. */
aios_status carry_measure(struct replica *r);

/* An image for all rows of a step, zeros: puzzles that are taken anew.  Without a tensor where nothing is carried. */
aios_status carry_image_create(const struct replicas *all, struct carry_image *image);
void carry_image_free(aios_context *context, struct carry_image *image);

/* All of these are called by all processes. */

/* Everything that all replicas of all processes carry. */
aios_status carry_gather(struct replicas *all, struct carry_image *image);
/* replicas_set_shares, and what is carried goes where it belongs. */
aios_status carry_deal(struct replicas *all, const int64_t *micro_batches);
/* all->carried becomes what this process's replicas carry, unless it waits to be spread already: before the replicas are others. */
aios_status carry_hold(struct replicas *all);
/* What waits in any process's all->carried goes to the replicas whose rows it is of; other rows are left as they are. */
aios_status carry_spread(struct replicas *all);

#endif
