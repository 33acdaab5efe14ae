/* order.h (internal): the running order of a set's examples in training, by number.
 *
 * An epoch is as many samples as the public reference counts for one: groups x the mean examples of a puzzle.  Its visits follow each other
 * until that many are there, so sample n of all epochs is found without those before it, from any thread. */
#ifndef AIOS_DATA_PUZZLE_ORDER_H
#define AIOS_DATA_PUZZLE_ORDER_H

#include "puzzles.h"

typedef struct puzzle_order puzzle_order;

/* The set is borrowed until destroy.  Errors: NOT_FOUND where it has no examples. */
aios_status puzzle_order_create(const aios_puzzles *set, uint64_t seed, puzzle_order **order);
void puzzle_order_destroy(puzzle_order *order);         /* NULL is fine */
uint64_t puzzle_order_epoch(const puzzle_order *order); /* samples */
/* Sample n: inputs and labels (length). */
aios_status puzzle_order_read(puzzle_order *order, uint64_t n, int32_t *inputs, int32_t *labels, int32_t *identifier);
/* A word for set and order: the same where sample n is the same for every n. */
const char *puzzle_order_identity(const puzzle_order *order);

#endif
