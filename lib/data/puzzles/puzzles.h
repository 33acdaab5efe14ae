/* puzzles.h (internal): a set of puzzles in memory, and how it grows. */
#ifndef AIOS_DATA_PUZZLES_H
#define AIOS_DATA_PUZZLES_H

#include <aios/puzzles.h>

#include "base/context.h"
#include "base/rng.h"

#define PUZZLE_LENGTH_MAX 65536 /* 256 x 256 */
#define PUZZLE_IGNORED    (-100)

struct aios_puzzles {
    aios_context *context;
    aios_puzzles_info info;
    uint8_t *inputs, *labels; /* (examples, length) */
    size_t input_capacity, label_capacity;
    int32_t *identifiers; /* per puzzle */
    size_t identifier_capacity;
    uint64_t *puzzle_first; /* per puzzle and one more: its first example */
    size_t puzzle_capacity;
    uint64_t *group_first; /* per group and one more: its first puzzle */
    size_t group_capacity;
    uint64_t *table; /* hashes of inputs, open addressing, 0 empty; only while it grows */
    size_t table_size, table_used;
};

aios_status puzzles_create(aios_context *context, int32_t kind, int32_t length, int32_t vocabulary, aios_puzzles **puzzles);
/* An example of the puzzle that is being added. */
aios_status puzzles_add(aios_puzzles *set, const uint8_t *input, const uint8_t *label);
aios_status puzzles_end_puzzle(aios_puzzles *set, int32_t identifier);
aios_status puzzles_end_group(aios_puzzles *set);

/* Remembers an input; *fresh 0 where it was there.  A hash of 64 bits stands for it: a stranger with the same one is only left out. */
aios_status puzzles_remember(aios_puzzles *set, const uint8_t *input, int *fresh);
aios_status puzzles_remember_all(aios_puzzles *set, const aios_puzzles *other); /* other may be NULL; its shape must be the same */
void puzzles_forget(aios_puzzles *set);

/* What a visit of an epoch comes to: one puzzle of a group, whose examples are taken in an order of their own. */
struct puzzle_visit {
    uint64_t puzzle, example, count, shuffle; /* its first example, how many it has */
};
struct puzzle_visit puzzles_visit(const aios_puzzles *set, uint64_t seed, uint64_t epoch, uint64_t visit);
void puzzles_take(const aios_puzzles *set, const struct puzzle_visit *visit, uint64_t which, int32_t *inputs, int32_t *labels,
                  int32_t *identifier);

void rng_shuffle(rng *r, int32_t *values, int32_t count);
/* to = from turned or mirrored, one of 8 ways: 0 as it is, 1 to 3 quarter turns to the left, 4 left-right, 5 up-down, 6 transposed, 7 along
 * the other diagonal.  to has the size of from, rows and columns exchanged for 1, 3, 6, 7. */
void grid_turn(uint8_t *to, const uint8_t *from, int32_t rows, int32_t columns, int32_t way);

#endif
