/* Sudoku: puzzles that are made, their symmetries, and the public CSV of hard ones. */
#include "sudoku.h"
#include "puzzles.h"

#include "base/os.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define TRIES_PER_PUZZLE 20000

enum { STREAM_SUDOKU = 0x73756431, STREAM_AUGMENT = 0x73756432 };

/* ---- symmetries -------------------------------------------------------------------------------------------------- */

/* A permutation of lines that keeps bands of `height` together. */
static void draw_lines(rng *r, int32_t size, int32_t height, int32_t lines[9])
{
    int32_t bands[9], count = size / height;
    for (int32_t i = 0; i < count; i++) bands[i] = i;
    rng_shuffle(r, bands, count);
    for (int32_t i = 0; i < count; i++) {
        for (int32_t k = 0; k < height; k++) lines[i * height + k] = bands[i] * height + k;
        rng_shuffle(r, lines + i * height, height);
    }
}

/* Transposing exchanges bands and stacks, so the boxes must be square. */
void sudoku_augment(int32_t size, rng *r, uint8_t *cells, uint8_t *solution)
{
    int32_t digits[10] = {0}, rows[9], columns[9], height = size == 9 ? 3 : 2, width = size / height;
    uint8_t from[2][SUDOKU_CELLS];
    for (int32_t i = 1; i <= size; i++) digits[i] = i;
    rng_shuffle(r, digits + 1, size);
    int transpose = height == width && rng_below(r, 2);
    draw_lines(r, size, height, rows);
    draw_lines(r, size, width, columns);
    memcpy(from[0], cells, (size_t)(size * size));
    memcpy(from[1], solution, (size_t)(size * size));
    for (int32_t y = 0; y < size; y++)
        for (int32_t x = 0; x < size; x++) {
            int32_t at = transpose ? columns[x] * size + rows[y] : rows[y] * size + columns[x];
            cells[y * size + x] = (uint8_t)digits[from[0][at]];
            solution[y * size + x] = (uint8_t)digits[from[1][at]];
        }
}

/* ---- sets -------------------------------------------------------------------------------------------------------- */

struct maker {
    aios_puzzles *set;
    int32_t size;
};

/* Adds a puzzle unless it was there; tokens are values + 1. */
static aios_status add(struct maker *m, const uint8_t *cells, const uint8_t *solution, int *fresh)
{
    uint8_t in[SUDOKU_CELLS], out[SUDOKU_CELLS];
    for (int32_t i = 0; i < m->size * m->size; i++) {
        in[i] = (uint8_t)(cells[i] + 1);
        out[i] = (uint8_t)(solution[i] + 1);
    }
    TRY_QUIET(puzzles_remember(m->set, in, fresh));
    if (!*fresh) return AIOS_OK;
    TRY_QUIET(puzzles_add(m->set, in, out));
    return puzzles_end_puzzle(m->set, 0);
}

/* A puzzle and its augmentations: one group.  An augmentation that was there is drawn again a few times, then left out. */
static aios_status add_group(struct maker *m, const uint8_t *cells, const uint8_t *solution, int32_t augmentations, rng *r, int *fresh)
{
    TRY_QUIET(add(m, cells, solution, fresh));
    if (!*fresh) return AIOS_OK;
    for (int32_t k = 0; k < augmentations; k++) {
        int new = 0;
        for (int32_t attempt = 0; attempt < 5 && !new; attempt++) {
            uint8_t a[SUDOKU_CELLS], b[SUDOKU_CELLS];
            memcpy(a, cells, (size_t)(m->size * m->size));
            memcpy(b, solution, (size_t)(m->size * m->size));
            sudoku_augment(m->size, r, a, b);
            TRY_QUIET(add(m, a, b, &new));
        }
    }
    return puzzles_end_group(m->set);
}

/* A random grid, and clues of it taken away in any order while its solution stays the only one. */
static void make_puzzle(const aios_sudoku_options *o, rng *r, uint8_t *cells, uint8_t *solution)
{
    struct sudoku_result found;
    int32_t order[SUDOKU_CELLS], count = o->size * o->size, clues = count;
    const uint8_t empty[SUDOKU_CELLS] = {0};
    sudoku_search(o->size, empty, 1, r, &found);
    memcpy(solution, found.solution, (size_t)count);
    memcpy(cells, solution, (size_t)count);
    for (int32_t i = 0; i < count; i++) order[i] = i;
    rng_shuffle(r, order, count);
    for (int32_t i = 0; i < count && clues > o->clues; i++) {
        uint8_t kept = cells[order[i]];
        cells[order[i]] = 0;
        sudoku_search(o->size, cells, 2, NULL, &found);
        if (found.solutions == 1)
            clues--;
        else
            cells[order[i]] = kept;
    }
}

static aios_status make_puzzles(struct maker *m, const aios_sudoku_options *o)
{
    rng r, augment;
    rng_init(&r, o->seed, STREAM_SUDOKU);
    rng_init(&augment, o->seed, STREAM_AUGMENT);
    uint64_t tries = 0;
    while (m->set->info.groups < o->count) {
        uint8_t cells[SUDOKU_CELLS], solution[SUDOKU_CELLS];
        struct sudoku_result found;
        int fresh;
        if (tries++ > TRIES_PER_PUZZLE * (m->set->info.groups + 1))
            return FAIL(AIOS_NOT_FOUND, "%llu different puzzles of size %d were found where %llu are wanted: fewer, or easier ones",
                        (unsigned long long)m->set->info.groups, o->size, (unsigned long long)o->count);
        make_puzzle(o, &r, cells, solution);
        sudoku_search(o->size, cells, 2, NULL, &found);
        if (found.backtracks >= o->min_backtracks) TRY_QUIET(add_group(m, cells, solution, o->augmentations, &augment, &fresh));
    }
    return AIOS_OK;
}

static aios_status begin(aios_context *context, struct maker *m)
{
    return puzzles_create(context, AIOS_PUZZLE_SUDOKU, m->size * m->size, m->size + 2, &m->set);
}

aios_status aios_puzzles_make_sudoku(aios_context *context, const aios_sudoku_options *given, const aios_puzzles *other,
                                     aios_puzzles **puzzles)
{
    aios_status status = AIOS_OK;
    aios_sudoku_options o = AIOS_SUDOKU_OPTIONS_INIT;
    if (!context || !puzzles) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_make_sudoku: context and puzzles must not be NULL");
    *puzzles = NULL;
    TRY_QUIET(aios_struct_read("aios_sudoku_options", &o, sizeof o, given));
    if (!sudoku_size_is_known(o.size)) return FAIL(AIOS_OUT_OF_RANGE, "size is %d: a Sudoku has 4, 6 or 9", o.size);
    if (o.clues < 0 || o.clues > o.size * o.size || o.min_backtracks < 0 || o.augmentations < 0)
        return FAIL(AIOS_OUT_OF_RANGE, "clues is %d, min_backtracks %d, augmentations %d: none may be negative, clues at most %d", o.clues,
                    o.min_backtracks, o.augmentations, o.size * o.size);
    struct maker m = {NULL, o.size};
    TRY_QUIET(begin(context, &m));
    ATTEMPT_QUIET(puzzles_remember_all(m.set, other));
    ATTEMPT_QUIET(make_puzzles(&m, &o));
    puzzles_forget(m.set);
    *puzzles = m.set;
    m.set = NULL;
done:
    aios_puzzles_destroy(m.set);
    return status;
}

/* ---- the CSV ----------------------------------------------------------------------------------------------------- */

struct line {
    const char *question, *answer;
    double rating;
};

/* The field that begins at *at, ended by a comma or the line's end; *at moves behind it. */
static const char *take_field(const char **at, const char *end, size_t *length)
{
    const char *start = *at, *comma = memchr(start, ',', (size_t)(end - start));
    *length = (size_t)((comma ? comma : end) - start);
    *at = comma ? comma + 1 : end;
    return start;
}

static int read_cells(const char *text, uint8_t *cells, int blanks)
{
    for (int i = 0; i < 81; i++) {
        int blank = text[i] == '.' || text[i] == '0';
        if (blank ? !blanks : text[i] < '1' || text[i] > '9') return 0;
        cells[i] = blank ? 0 : (uint8_t)(text[i] - '0');
    }
    return 1;
}

/* The answer fills the question's blanks and breaks no rule. */
static int fits(const uint8_t *cells, const uint8_t *solution)
{
    struct sudoku_result found;
    for (int i = 0; i < 81; i++)
        if (cells[i] && cells[i] != solution[i]) return 0;
    sudoku_search(9, solution, 1, NULL, &found);
    return found.solutions == 1;
}

static aios_status read_line(const char *path, uint64_t number, const char *at, const char *end, struct line *line, uint8_t *cells,
                             uint8_t *solution)
{
    size_t source, question, answer, rating;
    char text[32] = "";
    (void)take_field(&at, end, &source);
    line->question = take_field(&at, end, &question);
    line->answer = take_field(&at, end, &answer);
    const char *value = take_field(&at, end, &rating);
    if (question != 81 || answer != 81 || rating == 0 || rating >= sizeof text)
        return FAIL(AIOS_CORRUPT, "%s:%llu: question of %zu, answer of %zu, rating of %zu characters: 81, 81 and a number are wanted", path,
                    (unsigned long long)number, question, answer, rating);
    memcpy(text, value, rating);
    if (!text_to_double(text, &line->rating))
        return FAIL(AIOS_CORRUPT, "%s:%llu: rating is '%s': a number is wanted", path, (unsigned long long)number, text);
    if (!read_cells(line->question, cells, 1) || !read_cells(line->answer, solution, 0) || !fits(cells, solution))
        return FAIL(AIOS_CORRUPT, "%s:%llu: the answer does not solve the question", path, (unsigned long long)number);
    return AIOS_OK;
}

static aios_status read_lines(struct maker *m, const char *path, const os_map *map, uint64_t most, double min_rating, int32_t augmentations,
                              uint64_t seed)
{
    const char *at = map->size ? (const char *)map->address : "", *end = at + map->size;
    rng r;
    rng_init(&r, seed, STREAM_AUGMENT);
    for (uint64_t number = 1; at < end && (most == 0 || m->set->info.groups < most); number++) {
        uint8_t cells[SUDOKU_CELLS], solution[SUDOKU_CELLS];
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *last = stop ? stop : end;
        int fresh;
        struct line line;
        if (last > at && last[-1] == '\r') last--;
        if (number == 1 && ((size_t)(last - at) != 29 || memcmp(at, "source,question,answer,rating", 29) != 0))
            return FAIL(AIOS_CORRUPT, "%s:1: the heading must be 'source,question,answer,rating'", path);
        if (number > 1 && last > at) {
            TRY_QUIET(read_line(path, number, at, last, &line, cells, solution));
            if (line.rating >= min_rating) TRY_QUIET(add_group(m, cells, solution, augmentations, &r, &fresh));
        }
        at = stop ? stop + 1 : end;
    }
    if (m->set->info.groups == 0) return FAIL(AIOS_NOT_FOUND, "%s: no puzzle with a rating of %g or more", path, min_rating);
    return AIOS_OK;
}

aios_status aios_puzzles_read_sudoku_csv(aios_context *context, const char *path, uint64_t most, double min_rating, int32_t augmentations,
                                         uint64_t seed, aios_puzzles **puzzles)
{
    aios_status status = AIOS_OK;
    os_map map = {NULL, 0};
    struct maker m = {NULL, 9};
    if (!context || !path || !puzzles || augmentations < 0)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_puzzles_read_sudoku_csv: context, path and puzzles must not be NULL, augmentations not below 0");
    *puzzles = NULL;
    TRY_QUIET(os_map_open(path, &map));
    ATTEMPT_QUIET(begin(context, &m));
    ATTEMPT_QUIET(read_lines(&m, path, &map, most, min_rating, augmentations, seed));
    puzzles_forget(m.set);
    *puzzles = m.set;
    m.set = NULL;
done:
    os_map_close(&map);
    aios_puzzles_destroy(m.set);
    return status;
}
