#include "sudoku.h"

#include <aios/puzzles.h>

#include "base/error.h"

#include <string.h>

/* Values as bits; a unit is a row, a column or a box. */
struct board {
    int32_t size, cells;
    uint16_t left[SUDOKU_CELLS]; /* candidates of a cell; one bit: decided */
    uint8_t set[SUDOKU_CELLS];   /* 1: its value was taken out of its units */
    uint16_t seen[3][9];         /* values that the rows, columns and boxes have */
};

struct search {
    struct sudoku_result *result;
    int32_t most;
    rng *r;
};

int sudoku_size_is_known(int32_t size)
{
    return size == 4 || size == 6 || size == 9;
}

static int32_t box_rows(int32_t size)
{
    return size == 9 ? 3 : 2;
}

static int32_t unit_of(int32_t size, int kind, int32_t cell)
{
    int32_t row = cell / size, column = cell % size, height = box_rows(size), width = size / height;
    return kind == 0 ? row : kind == 1 ? column : row / height * height + column / width;
}

/* 0: it contradicts. */
static int decide(struct board *b, int32_t cell, uint16_t bit)
{
    for (int kind = 0; kind < 3; kind++) {
        uint16_t *seen = &b->seen[kind][unit_of(b->size, kind, cell)];
        if (*seen & bit) return 0;
        *seen |= bit;
    }
    b->left[cell] = bit;
    b->set[cell] = 1;
    return 1;
}

/* Decides cells with one value left; 0 where a cell has none. */
static int decide_singles(struct board *b, int *progress)
{
    for (int32_t i = 0; i < b->cells; i++) {
        if (b->set[i]) continue;
        uint16_t left = b->left[i];
        for (int kind = 0; kind < 3; kind++) left &= (uint16_t)~b->seen[kind][unit_of(b->size, kind, i)];
        b->left[i] = left;
        if (!left) return 0;
        if (!(left & (left - 1))) {
            if (!decide(b, i, left)) return 0;
            *progress = 1;
        }
    }
    return 1;
}

/* Decides values that have one cell left in a unit; 0 where a value has none. */
static int decide_hidden(struct board *b, int *progress)
{
    for (int kind = 0; kind < 3; kind++) {
        uint16_t once[9] = {0}, twice[9] = {0};
        for (int32_t i = 0; i < b->cells; i++) {
            int32_t unit = unit_of(b->size, kind, i);
            if (b->set[i]) continue;
            twice[unit] |= once[unit] & b->left[i];
            once[unit] |= b->left[i];
        }
        uint16_t all = (uint16_t)((1u << b->size) - 1);
        for (int32_t u = 0; u < b->size; u++)
            if ((once[u] | b->seen[kind][u]) != all) return 0;
        for (int32_t i = 0; i < b->cells; i++) {
            int32_t unit = unit_of(b->size, kind, i);
            uint16_t only = (uint16_t)(once[unit] & ~twice[unit] & b->left[i]);
            if (b->set[i] || !only) continue;
            if (only & (only - 1) || !decide(b, i, only)) return 0;
            *progress = 1;
        }
        if (*progress) return 1; /* candidates are to be looked at again first */
    }
    return 1;
}

static int propagate(struct board *b)
{
    for (int progress = 1; progress;) {
        progress = 0;
        if (!decide_singles(b, &progress)) return 0;
        if (!progress && !decide_hidden(b, &progress)) return 0;
    }
    return 1;
}

static int32_t bit_count(uint16_t x)
{
    return __builtin_popcount(x);
}

/* The open cell with the fewest values; -1 where all are decided. */
static int32_t choose(const struct board *b)
{
    int32_t best = -1;
    for (int32_t i = 0; i < b->cells; i++)
        if (!b->set[i] && (best < 0 || bit_count(b->left[i]) < bit_count(b->left[best]))) best = i;
    return best;
}

static void keep_solution(struct search *s, const struct board *b)
{
    if (s->result->solutions++) return;
    for (int32_t i = 0; i < b->cells; i++) s->result->solution[i] = (uint8_t)(__builtin_ctz(b->left[i]) + 1);
}

static void explore(struct search *s, struct board *b)
{
    int32_t order[9];
    if (!propagate(b)) {
        s->result->backtracks++;
        return;
    }
    int32_t cell = choose(b);
    if (cell < 0) {
        keep_solution(s, b);
        return;
    }
    for (int32_t v = 0; v < b->size; v++) order[v] = v;
    if (s->r)
        for (int32_t i = b->size - 1; i > 0; i--) {
            int32_t j = (int32_t)rng_below(s->r, (uint64_t)i + 1), kept = order[i];
            order[i] = order[j];
            order[j] = kept;
        }
    for (int32_t k = 0; k < b->size && s->result->solutions < s->most; k++) {
        uint16_t bit = (uint16_t)(1u << order[k]);
        struct board next = *b;
        if (!(b->left[cell] & bit)) continue;
        if (decide(&next, cell, bit))
            explore(s, &next);
        else
            s->result->backtracks++;
    }
}

void sudoku_search(int32_t size, const uint8_t *cells, int32_t most, rng *r, struct sudoku_result *result)
{
    struct search s = {result, most, r};
    struct board b = {.size = size, .cells = size * size};
    memset(result, 0, sizeof *result);
    for (int32_t i = 0; i < b.cells; i++) b.left[i] = (uint16_t)((1u << size) - 1);
    for (int32_t i = 0; i < b.cells; i++)
        if (cells[i] && !decide(&b, i, (uint16_t)(1u << (cells[i] - 1)))) return; /* clues contradict: no solution */
    explore(&s, &b);
}

aios_status aios_sudoku_solve(int32_t size, const uint8_t *cells, int32_t most, uint8_t *solution, int32_t *solutions, int64_t *backtracks)
{
    struct sudoku_result result;
    if (!cells || !solution || !solutions)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_sudoku_solve: cells, solution and solutions must not be NULL");
    if (!sudoku_size_is_known(size) || most < 1)
        return FAIL(AIOS_OUT_OF_RANGE, "aios_sudoku_solve: size is %d and most %d: size must be 4, 6 or 9, most at least 1", size, most);
    for (int32_t i = 0; i < size * size; i++)
        if (cells[i] > size) return FAIL(AIOS_OUT_OF_RANGE, "cell %d is %d: 0 (blank) to %d are allowed", i, cells[i], size);
    sudoku_search(size, cells, most, NULL, &result);
    memcpy(solution, result.solution, (size_t)(size * size));
    *solutions = result.solutions;
    if (backtracks) *backtracks = result.backtracks;
    return AIOS_OK;
}
