/* carry.h (internal): what the puzzles of a batch carry from step to step, wherever the row is that each is worked at.
 *
 * It is the states of the training graph, each with the batch as its first dimension; a text's graph has none, and then nothing here does
 * anything.  A replica's plan works at one micro-batch at a time: where its share has several, the others' states wait in a buffer of the
 * device.  By the number of a sample in the step (a row) a carry is the same on any number of devices. */
#ifndef AIOS_TRAINER_CARRY_H
#define AIOS_TRAINER_CARRY_H

#include "model/safetensors.h"
#include "replica.h"

/* Room for the replica's share: all puzzles are to be taken anew.  Also for the rows of tables that a step uses. */
aios_status carry_make_room(struct replica *r);
void carry_free(struct replica *r);

/* Around a run of micro-batch m of a step. */
aios_status carry_take(struct replica *r, int64_t m);
aios_status carry_keep(struct replica *r, int64_t m);
/* Draws how long each puzzle of the micro-batch is thought about at the least, for any number of devices alike, and writes it. */
aios_status carry_explore(struct replica *r, int64_t m);
/* Adds what became of the puzzles of the last run to r->solved; waits for it. */
aios_status carry_measure(struct replica *r);

/* Everything that all replicas carry, in host memory by row: for checkpoints, and where shares change. */
struct carry_image {
    safetensors_tensor *tensors; /* "z_H" (rows, …) … */
    char **values;
    size_t count;
    int64_t rows;
};
aios_status carry_gather(struct replicas *all, struct carry_image *image);
/* Rows beyond those of the image are taken anew. */
aios_status carry_scatter(struct replicas *all, const struct carry_image *image);
void carry_image_free(aios_context *context, struct carry_image *image);
/* replicas_set_shares, and what is carried goes where it belongs. */
aios_status carry_deal(struct replicas *all, const int64_t *micro_batches);

/* All states in host memory, while something else uses them. */
uint64_t carry_size(const aios_parameters *parameters);
aios_status carry_stash(aios_parameters *parameters, char *to);
aios_status carry_restore(aios_parameters *parameters, const char *from);

#endif
