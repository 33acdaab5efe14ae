/* ARC-AGI tasks, laid out and augmented as the public HRM reference does (dataset/build_arc_dataset.py). */
#include "puzzles.h"

#include "base/json.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define SIDE         30
#define CELLS        (SIDE * SIDE)
#define PAIRS_MOST   64
#define RETRIES      5 /* draws per augmentation before it is given up */
#define VOCABULARY   12
#define END          1
#define FIRST_COLOUR 2

enum { STREAM_ARC = 0x61726331 };

struct grid {
    int32_t rows, columns;
    uint8_t cells[CELLS]; /* colours, rows x columns */
};

struct pair {
    struct grid in, out;
    int test;
};

struct task {
    int32_t count;
    struct pair pairs[PAIRS_MOST];
};

struct reader {
    aios_context *context;
    aios_puzzles *train, *test;
    const char *folder;
    int evaluation;
    int32_t augmentations, next_identifier;
    rng r;
    struct task task, form;
    aios_puzzles *forms; /* only remembers what was seen of a task */
};

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static aios_status read_grid(const json_t *value, struct grid *grid)
{
    size_t rows = json_array_size(value), columns = json_array_size(json_array_get(value, 0));
    if (rows < 1 || rows > SIDE || columns < 1 || columns > SIDE)
        return FAIL(AIOS_CORRUPT, "a grid of %zu rows, the first of %zu cells: 1 to %d are allowed", rows, columns, SIDE);
    grid->rows = (int32_t)rows;
    grid->columns = (int32_t)columns;
    for (size_t r = 0; r < rows; r++) {
        const json_t *row = json_array_get(value, r);
        if (json_array_size(row) != columns)
            return FAIL(AIOS_CORRUPT, "row %zu of a grid has %zu cells, the first has %zu", r, json_array_size(row), columns);
        for (size_t c = 0; c < columns; c++) {
            const json_t *cell = json_array_get(row, c);
            json_int_t colour = json_integer_value(cell);
            if (!json_is_integer(cell) || colour < 0 || colour > 9)
                return FAIL(AIOS_CORRUPT, "cell %zu, %zu of a grid is no colour: whole numbers from 0 to 9 are", r, c);
            grid->cells[r * columns + c] = (uint8_t)colour;
        }
    }
    return AIOS_OK;
}

static aios_status read_pairs(const json_t *root, const char *key, struct task *task)
{
    json_t *list;
    TRY_QUIET(json_get_array(root, key, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        if (task->count == PAIRS_MOST) return FAIL(AIOS_OUT_OF_RANGE, "more than %d pairs", PAIRS_MOST);
        struct pair *to = &task->pairs[task->count++];
        to->test = strcmp(key, "test") == 0;
        TRY(read_grid(json_object_get(pair, "input"), &to->in), "%s[%zu].input", key, i);
        TRY(read_grid(json_object_get(pair, "output"), &to->out), "%s[%zu].output", key, i);
    }
    return AIOS_OK;
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

/* A grid at (top, left) of 30 x 30, with a row and a column of END behind it where there is room. */
static void lay_out(const struct grid *grid, int32_t top, int32_t left, uint8_t *to)
{
    int32_t bottom = top + grid->rows, right = left + grid->columns;
    memset(to, 0, CELLS);
    for (int32_t r = 0; r < grid->rows; r++)
        for (int32_t c = 0; c < grid->columns; c++)
            to[(top + r) * SIDE + left + c] = (uint8_t)(grid->cells[r * grid->columns + c] + FIRST_COLOUR);
    if (bottom < SIDE) memset(to + bottom * SIDE + left, END, (size_t)grid->columns);
    if (right < SIDE)
        for (int32_t r = top; r < bottom; r++) to[r * SIDE + right] = END;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static aios_status add_pair(aios_puzzles *set, const struct pair *pair, rng *r, int translate)
{
    uint8_t in[CELLS], out[CELLS];
    int32_t top = 0, left = 0;
    if (translate) {
        top = (int32_t)rng_below(r, (uint64_t)(SIDE - larger(pair->in.rows, pair->out.rows) + 1));
        left = (int32_t)rng_below(r, (uint64_t)(SIDE - larger(pair->in.columns, pair->out.columns) + 1));
    }
    lay_out(&pair->in, top, left, in);
    lay_out(&pair->out, top, left, out);
    return puzzles_add(set, in, out);
}

/* The pairs of one form that go into a set: a puzzle.  Of a train puzzle one pair stays at the top left. */
static aios_status add_form(struct reader *a, const struct task *task, int test, int32_t identifier)
{
    aios_puzzles *set = test ? a->test : a->train;
    int32_t count = 0;
    for (int32_t i = 0; i < task->count; i++) count += a->evaluation ? task->pairs[i].test == test : !test;
    if (!count) return AIOS_OK;
    int32_t still = (int32_t)rng_below(&a->r, (uint64_t)count);
    for (int32_t i = 0, k = 0; i < task->count; i++) {
        if (a->evaluation ? task->pairs[i].test != test : test) continue;
        TRY_QUIET(add_pair(set, &task->pairs[i], &a->r, !test && k != still));
        k++;
    }
    return puzzles_end_puzzle(set, identifier);
}

/* ---- augmentation ------------------------------------------------------------------------------------------------ */

static void turn_grid(struct grid *to, const struct grid *from, int32_t way, const int32_t *colours)
{
    int exchanged = way == 1 || way == 3 || way == 6 || way == 7;
    to->rows = exchanged ? from->columns : from->rows;
    to->columns = exchanged ? from->rows : from->columns;
    grid_turn(to->cells, from->cells, from->rows, from->columns, way);
    for (int32_t i = 0; i < to->rows * to->columns; i++) to->cells[i] = (uint8_t)colours[to->cells[i]];
}

static void draw_form(struct reader *a)
{
    int32_t colours[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, way = (int32_t)rng_below(&a->r, 8);
    rng_shuffle(&a->r, colours + 1, 9);
    a->form.count = a->task.count;
    for (int32_t i = 0; i < a->task.count; i++) {
        a->form.pairs[i].test = a->task.pairs[i].test;
        turn_grid(&a->form.pairs[i].in, &a->task.pairs[i].in, way, colours);
        turn_grid(&a->form.pairs[i].out, &a->task.pairs[i].out, way, colours);
    }
}

/* A form is known by what all its grids look like. */
static aios_status remember_form(struct reader *a, const struct task *task, int *fresh)
{
    uint8_t all[CELLS] = {0}, grid[CELLS];
    for (int32_t i = 0; i < task->count; i++)
        for (int side = 0; side < 2; side++) {
            lay_out(side ? &task->pairs[i].out : &task->pairs[i].in, 0, 0, grid);
            for (int32_t k = 0; k < CELLS; k++) all[k] = (uint8_t)(all[k] * 31 + grid[k]);
        }
    return puzzles_remember(a->forms, all, fresh);
}

static aios_status add_task(struct reader *a)
{
    int fresh;
    uint64_t puzzles[2] = {a->train->info.puzzles, a->test->info.puzzles};
    int32_t forms = 0;
    puzzles_forget(a->forms);
    TRY_QUIET(remember_form(a, &a->task, &fresh));
    for (int test = 0; test < 2; test++) TRY_QUIET(add_form(a, &a->task, test, a->next_identifier));
    a->next_identifier++;
    for (int64_t attempt = 0; forms < a->augmentations && attempt < (int64_t)RETRIES * a->augmentations; attempt++) {
        draw_form(a);
        TRY_QUIET(remember_form(a, &a->form, &fresh));
        if (!fresh) continue;
        for (int test = 0; test < 2; test++) TRY_QUIET(add_form(a, &a->form, test, a->next_identifier));
        a->next_identifier++;
        forms++;
    }
    if (a->train->info.puzzles > puzzles[0]) TRY_QUIET(puzzles_end_group(a->train));
    if (a->test->info.puzzles > puzzles[1]) TRY_QUIET(puzzles_end_group(a->test));
    return AIOS_OK;
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static aios_status read_task(void *user, const char *name)
{
    aios_status status = AIOS_OK;
    struct reader *a = user;
    char path[OS_PATH_MAX];
    json_t *root = NULL;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 5, ".json") != 0) return AIOS_OK;
    TRY_QUIET(os_path_join(path, a->folder, name));
    TRY_QUIET(json_read_file(a->context, path, NULL, &root));
    a->task.count = 0;
    ATTEMPT(read_pairs(root, "train", &a->task), "reading %s", path);
    ATTEMPT(read_pairs(root, "test", &a->task), "reading %s", path);
    ATTEMPT_QUIET(add_task(a));
done:
    json_decref(root);
    return status;
}

static aios_status read_folder(struct reader *a, const char *folder, int evaluation)
{
    uint64_t before = a->train->info.groups + a->test->info.groups;
    if (!folder) return AIOS_OK;
    a->folder = folder;
    a->evaluation = evaluation;
    TRY(os_folder_list(a->context, folder, read_task, a), "reading the tasks of %s", folder);
    if (a->train->info.groups + a->test->info.groups == before) return FAIL(AIOS_NOT_FOUND, "%s: no task (NAME.json) is there", folder);
    return AIOS_OK;
}

aios_status aios_puzzles_read_arc(aios_context *context, const char *training, const char *evaluation, int32_t augmentations, uint64_t seed,
                                  aios_puzzles **train, aios_puzzles **test)
{
    aios_status status = AIOS_OK;
    if (!context || !train || !test || (!training && !evaluation) || augmentations < 0)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_puzzles_read_arc: context, train, test and one folder must not be NULL, augmentations not below 0");
    *train = *test = NULL;
    struct reader *a = aios_new(context, struct reader);
    if (!a) return AIOS_OUT_OF_MEMORY;
    a->context = context;
    a->augmentations = augmentations;
    a->next_identifier = 1; /* 0 is no puzzle */
    rng_init(&a->r, seed, STREAM_ARC);
    ATTEMPT_QUIET(puzzles_create(context, AIOS_PUZZLE_ARC, CELLS, VOCABULARY, &a->train));
    ATTEMPT_QUIET(puzzles_create(context, AIOS_PUZZLE_ARC, CELLS, VOCABULARY, &a->test));
    ATTEMPT_QUIET(puzzles_create(context, AIOS_PUZZLE_ARC, CELLS, VOCABULARY, &a->forms));
    ATTEMPT_QUIET(read_folder(a, training, 0));
    ATTEMPT_QUIET(read_folder(a, evaluation, 1));
    a->train->info.identifier_count = a->test->info.identifier_count = a->next_identifier;
    *train = a->train;
    a->train = NULL;
    if (a->test->info.examples) {
        *test = a->test;
        a->test = NULL;
    }
done:
    aios_puzzles_destroy(a->train);
    aios_puzzles_destroy(a->test);
    aios_puzzles_destroy(a->forms);
    aios_memory_free(context, a);
    return status;
}
