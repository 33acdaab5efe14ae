/* sudoku.h (internal): grids of 4, 6 and 9. */
#ifndef AIOS_DATA_SUDOKU_H
#define AIOS_DATA_SUDOKU_H

#include "base/rng.h"

#include <stdint.h>

#define SUDOKU_CELLS 81

struct sudoku_result {
    int32_t solutions;  /* counted up to what was asked */
    int64_t backtracks; /* wrong guesses */
    uint8_t solution[SUDOKU_CELLS];
};

int sudoku_size_is_known(int32_t size);
/* r: where given, guesses are tried in an order that is drawn, which makes a random grid of an empty one. */
void sudoku_search(int32_t size, const uint8_t *cells, int32_t most, rng *r, struct sudoku_result *result);
/* Rows, columns and digits permuted so that a valid grid stays one; the same for both. */
void sudoku_augment(int32_t size, rng *r, uint8_t *cells, uint8_t *solution);

#endif
