/* What puzzles.h promises: puzzles are right, different and the same for a seed; folders are read with suspicion. */
#include "data/puzzles/npy.h"
#include "data/puzzles/order.h"
#include "data/puzzles/puzzles.h"
#include "data/puzzles/sudoku.h"
#include "folder.h"

static aios_context *context;

static aios_puzzles_info info_of(const aios_puzzles *set)
{
    aios_puzzles_info info = {.struct_size = sizeof info};
    assert_ok(aios_puzzles_get_info(set, &info));
    return info;
}

/* ---- Sudoku ------------------------------------------------------------------------------------------------------ */

/* Independent of the solver: every value once in each row, column and box. */
static int is_grid(int size, const int32_t *labels)
{
    int height = size == 9 ? 3 : 2, width = size / height;
    for (int a = 0; a < size * size; a++) {
        if (labels[a] < 2 || labels[a] > size + 1) return 0;
        for (int b = 0; b < a; b++) {
            int together = a / size == b / size || a % size == b % size ||
                           (a / size / height == b / size / height && a % size / width == b % size / width);
            if (together && labels[a] == labels[b]) return 0;
        }
    }
    return 1;
}

/* By brute force, in cell order: how many solutions, up to 2. */
static int count_solutions(int size, int32_t *cells, int at)
{
    int found = 0, height = size == 9 ? 3 : 2, width = size / height;
    while (at < size * size && cells[at] > 1) at++;
    if (at == size * size) return 1;
    for (int32_t v = 2; v <= size + 1 && found < 2; v++) {
        int free = 1;
        for (int b = 0; b < size * size && free; b++)
            free = cells[b] != v || !(b / size == at / size || b % size == at % size ||
                                      (b / size / height == at / size / height && b % size / width == at % size / width));
        cells[at] = v;
        if (free) found += count_solutions(size, cells, at + 1);
        cells[at] = 1;
    }
    return found;
}

static aios_puzzles *make_sudoku(int size, uint64_t count, uint64_t seed, int augmentations, const aios_puzzles *other)
{
    aios_sudoku_options o = AIOS_SUDOKU_OPTIONS_INIT;
    aios_puzzles *set = NULL;
    o.size = size;
    o.count = count;
    o.seed = seed;
    o.augmentations = augmentations;
    assert_ok(aios_puzzles_make_sudoku(context, &o, other, &set));
    return set;
}

static void every_sudoku_has_exactly_one_solution_which_its_labels_are(void **state)
{
    (void)state;
    const int sizes[] = {4, 6, 9};
    for (int k = 0; k < 3; k++) {
        int size = sizes[k];
        aios_puzzles *set = make_sudoku(size, 20, 11, 3, NULL);
        int32_t in[81], out[81], id;
        assert_int_equal(info_of(set).vocabulary_size, size + 2);
        assert_int_equal(info_of(set).groups, 20);
        assert_true(info_of(set).examples > 60);
        for (uint64_t i = 0; i < info_of(set).examples; i++) {
            assert_ok(aios_puzzles_example(set, i, in, out, &id));
            assert_true(is_grid(size, out));
            for (int c = 0; c < size * size; c++) assert_true(in[c] == 1 || in[c] == out[c]);
            if (size < 9 || i % 8 == 0) assert_int_equal(count_solutions(size, in, 0), 1);
            assert_int_equal(id, 0);
        }
        aios_puzzles_destroy(set);
    }
}

static void without_a_number_of_clues_no_clue_can_be_spared(void **state)
{
    (void)state;
    aios_puzzles *set = make_sudoku(6, 5, 3, 0, NULL);
    int32_t in[36], out[36];
    for (uint64_t i = 0; i < 5; i++) {
        assert_ok(aios_puzzles_example(set, i, in, out, NULL));
        for (int c = 0; c < 36; c++) {
            int32_t kept = in[c];
            if (kept == 1) continue;
            in[c] = 1;
            assert_true(count_solutions(6, in, 0) >= 2);
            in[c] = kept;
        }
    }
    aios_puzzles_destroy(set);
}

static void a_seed_is_a_set_and_the_other_set_shares_none_of_it(void **state)
{
    (void)state;
    aios_puzzles *a = make_sudoku(4, 200, 5, 2, NULL), *b = make_sudoku(4, 200, 5, 2, NULL), *c = make_sudoku(4, 200, 6, 2, a);
    assert_int_equal(info_of(a).examples, info_of(b).examples);
    assert_memory_equal(a->inputs, b->inputs, info_of(a).examples * 16);
    for (uint64_t i = 0; i < info_of(c).examples; i++)
        for (uint64_t j = 0; j < info_of(a).examples; j++) assert_memory_not_equal(c->inputs + i * 16, a->inputs + j * 16, 16);
    for (uint64_t i = 0; i < info_of(a).examples; i++)
        for (uint64_t j = 0; j < i; j++) assert_memory_not_equal(a->inputs + i * 16, a->inputs + j * 16, 16);
    aios_puzzles_destroy(a);
    aios_puzzles_destroy(b);
    aios_puzzles_destroy(c);
}

static void harder_sets_need_the_guesses_that_were_asked_for(void **state)
{
    (void)state;
    aios_sudoku_options o = AIOS_SUDOKU_OPTIONS_INIT;
    aios_puzzles *set;
    o.count = 5;
    o.min_backtracks = 6;
    assert_ok(aios_puzzles_make_sudoku(context, &o, NULL, &set));
    for (uint64_t i = 0; i < 5; i++) {
        uint8_t cells[81], solution[81];
        int32_t solutions;
        int64_t backtracks;
        for (int c = 0; c < 81; c++) cells[c] = (uint8_t)(set->inputs[i * 81 + (uint64_t)c] - 1);
        assert_ok(aios_sudoku_solve(9, cells, 2, solution, &solutions, &backtracks));
        assert_int_equal(solutions, 1);
        assert_true(backtracks >= 6);
    }
    aios_puzzles_destroy(set);
}

static void the_solver_tells_none_one_and_several(void **state)
{
    (void)state;
    uint8_t cells[81] = {0}, solution[81];
    int32_t solutions;
    assert_ok(aios_sudoku_solve(4, cells, 300, solution, &solutions, NULL));
    assert_int_equal(solutions, 288); /* all there are: Felgenhauer and Jarvis */
    cells[0] = cells[1] = 3;
    assert_ok(aios_sudoku_solve(4, cells, 2, solution, &solutions, NULL));
    assert_int_equal(solutions, 0);
    cells[0] = 5;
    assert_int_equal(aios_sudoku_solve(4, cells, 2, solution, &solutions, NULL), AIOS_OUT_OF_RANGE);
    assert_int_equal(aios_sudoku_solve(5, cells, 2, solution, &solutions, NULL), AIOS_OUT_OF_RANGE);
}

static void the_public_csv_is_read_and_its_lies_are_refused(void **state)
{
    (void)state;
    static const char question[] = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
    static const char answer[] = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
    char *folder = test_folder_make(), text[1024];
    const char *path = test_path(folder, "a.csv");
    aios_puzzles *set;
    (void)snprintf(text, sizeof text, "source,question,answer,rating\r\nx,%s,%s,12\r\ny,%s,%s,3\n", question, answer, answer, answer);
    assert_ok(os_file_replace(path, text, strlen(text)));
    assert_ok(aios_puzzles_read_sudoku_csv(context, path, 0, 10, 4, 1, &set));
    assert_int_equal(info_of(set).groups, 1);
    assert_int_equal(info_of(set).puzzles, 5);
    assert_int_equal(set->inputs[0], 6);
    assert_int_equal(set->inputs[2], 1);
    aios_puzzles_destroy(set);
    (void)snprintf(text, sizeof text, "source,question,answer,rating\nx,%s,%s,12\n", question, question);
    assert_ok(os_file_replace(path, text, strlen(text)));
    assert_int_equal(aios_puzzles_read_sudoku_csv(context, path, 0, 0, 0, 1, &set), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "a.csv:2: the answer does not solve"));
    (void)snprintf(text, sizeof text, "question,answer\n");
    assert_ok(os_file_replace(path, text, strlen(text)));
    assert_int_equal(aios_puzzles_read_sudoku_csv(context, path, 0, 0, 0, 1, &set), AIOS_CORRUPT);
    test_folder_remove(folder);
}

/* ---- mazes ------------------------------------------------------------------------------------------------------- */

/* Shortest paths from S to G by relaxation, independent of the maker's search: length, and how many up to 2. */
static int shortest(const int32_t *cells, int size, int *ways)
{
    int distance[1024], count[1024], total = size * size, goal = 0;
    for (int i = 0; i < total; i++) {
        distance[i] = cells[i] == 3 ? 0 : 1 << 20;
        count[i] = cells[i] == 3;
        if (cells[i] == 4) goal = i;
    }
    for (int round = 1; round < total; round++)
        for (int i = size; i < total - size; i++) {
            const int near[4] = {i - 1, i + 1, i - size, i + size};
            if (cells[i] == 1 || distance[i] < round) continue;
            int sum = 0;
            for (int k = 0; k < 4; k++) sum += distance[near[k]] == round - 1 ? count[near[k]] : 0;
            if (sum) {
                distance[i] = round;
                count[i] = sum > 2 ? 2 : sum;
            }
        }
    *ways = count[goal];
    return distance[goal];
}

static void every_maze_has_one_shortest_path_which_its_labels_mark(void **state)
{
    (void)state;
    aios_maze_options o = AIOS_MAZE_OPTIONS_INIT;
    aios_puzzles *set;
    o.size = 14;
    o.count = 20;
    o.min_length = 15;
    o.openings = 12;
    o.dihedral = 1;
    assert_ok(aios_puzzles_make_mazes(context, &o, NULL, &set));
    assert_int_equal(info_of(set).examples, 160);
    for (uint64_t i = 0; i < 160; i++) {
        int32_t in[196], out[196];
        int ways, marked = 0, length;
        assert_ok(aios_puzzles_example(set, i, in, out, NULL));
        length = shortest(in, 14, &ways);
        assert_int_equal(ways, 1);
        assert_true(length >= 15);
        for (int c = 0; c < 196; c++) {
            marked += out[c] == 5;
            assert_true(out[c] == in[c] || (out[c] == 5 && in[c] == 2));
            if (out[c] == 5) { /* on the path: two neighbours are on it too */
                int on = 0;
                const int near[4] = {c - 1, c + 1, c - 14, c + 14};
                for (int k = 0; k < 4; k++) on += out[near[k]] >= 3;
                assert_true(on >= 2);
            }
        }
        assert_int_equal(marked, length - 1);
    }
    aios_puzzles_destroy(set);
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

static void an_epoch_visits_every_group_once_and_a_position_goes_on(void **state)
{
    (void)state;
    aios_puzzles *set = make_sudoku(4, 37, 2, 3, NULL);
    int32_t in[37 * 16], out[37 * 16], ids[37], again[5 * 16];
    aios_puzzles_position at = {0, 0};
    for (int epoch = 0; epoch < 3; epoch++) {
        int seen[37] = {0};
        assert_ok(aios_puzzles_draw(set, 9, &at, 37, in, out, ids));
        for (int i = 0; i < 37; i++) {
            uint64_t example = 0, group = 0;
            for (int found = 0; !found; example += (uint64_t)!found) {
                found = 1;
                for (int c = 0; c < 16; c++) found = found && set->inputs[example * 16 + (uint64_t)c] == in[i * 16 + c];
            }
            while (set->group_first[group + 1] <= example) group++;
            seen[group]++;
        }
        for (int g = 0; g < 37; g++) assert_int_equal(seen[g], 1);
    }
    assert_ok(aios_puzzles_draw(set, 9, &at, 3, in, out, ids));
    aios_puzzles_position saved = at;
    assert_ok(aios_puzzles_draw(set, 9, &at, 5, in, out, ids));
    assert_ok(aios_puzzles_draw(set, 9, &saved, 5, again, out, ids));
    assert_memory_equal(in, again, sizeof again);
    aios_puzzles_destroy(set);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

/* The running order is the visits, one behind the other, whoever reads it and in whatever order. */
static void sample_n_is_found_without_those_before_it(void **state)
{
    (void)state;
    enum { EPOCHS = 3, ROOM = 16 };
    aios_puzzles *single = make_sudoku(4, 30, 3, 2, NULL), *several;
    puzzle_order *order;
    int32_t inputs[ROOM], labels[ROOM], identifier, drawn[30 * ROOM], answers[30 * ROOM], identifiers[30];
    aios_puzzles_position position = {0, 0};
    assert_ok(puzzle_order_create(single, 5, &order));
    assert_int_equal(puzzle_order_epoch(order), 30);
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        assert_ok(aios_puzzles_draw(single, 5, &position, 30, drawn, answers, identifiers));
        for (uint64_t i = 30; i-- > 0;) { /* backwards: as good as any */
            assert_ok(puzzle_order_read(order, 30 * epoch + i, inputs, labels, &identifier));
            assert_memory_equal(inputs, drawn + ROOM * i, sizeof inputs);
            assert_memory_equal(labels, answers + ROOM * i, sizeof labels);
        }
    }
    puzzle_order_destroy(order);
    aios_puzzles_destroy(single);

    assert_ok(puzzles_create(context, AIOS_PUZZLE_OTHER, 1, 200, &several)); /* puzzle p has 1 + p % 3 examples, told by their number */
    for (uint8_t p = 0, e = 1; p < 20; p++) {
        for (int k = 0; k < 1 + p % 3; k++, e++) assert_ok(puzzles_add(several, &e, &e));
        assert_ok(puzzles_end_puzzle(several, p));
        if (p % 2) assert_ok(puzzles_end_group(several));
    }
    assert_ok(puzzle_order_create(several, 5, &order));
    uint64_t epoch = puzzle_order_epoch(order);
    assert_int_equal(epoch, 19); /* 10 groups x 39 examples of 20 puzzles */
    for (uint64_t n = 0, sample = 0, e = 0; e < EPOCHS; e++, n = e * epoch, sample = 0)
        for (uint64_t visit = 0; sample < epoch; visit++) {
            struct puzzle_visit want = puzzles_visit(several, 5, e, visit);
            for (uint64_t k = 0; k < want.count && sample < epoch; k++, sample++) {
                assert_ok(puzzle_order_read(order, n + sample, inputs, labels, &identifier));
                assert_int_equal(identifier, want.puzzle);
                assert_in_range(inputs[0] - 1, want.example, want.example + want.count - 1);
            }
        }
    puzzle_order_destroy(order);
    aios_puzzles_destroy(several);
}

static void a_saved_set_is_read_back(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_puzzles *set = make_sudoku(6, 9, 4, 2, NULL), *read;
    assert_ok(aios_puzzles_save(set, folder, "train"));
    assert_ok(aios_puzzles_open(context, folder, "train", &read));
    aios_puzzles_info a = info_of(set), b = info_of(read);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(set->inputs, read->inputs, a.examples * 36);
    assert_memory_equal(set->labels, read->labels, a.examples * 36);
    assert_memory_equal(set->puzzle_first, read->puzzle_first, (a.puzzles + 1) * sizeof *set->puzzle_first);
    assert_memory_equal(set->group_first, read->group_first, (a.groups + 1) * sizeof *set->group_first);
    aios_puzzles_destroy(set);
    aios_puzzles_destroy(read);
    test_folder_remove(folder);
}

/* Any byte of any file changed, any file cut: an error or a set whose tokens are in range, never more. */
static void a_damaged_folder_is_refused_or_harmless(void **state)
{
    (void)state;
    static const char *const files[] = {"train/dataset.json",
                                        "train/all__inputs.npy",
                                        "train/all__labels.npy",
                                        "train/all__puzzle_identifiers.npy",
                                        "train/all__puzzle_indices.npy",
                                        "train/all__group_indices.npy"};
    char *folder = test_folder_make();
    aios_puzzles *set = make_sudoku(4, 3, 4, 1, NULL), *read;
    int refused = 0;
    assert_ok(aios_puzzles_save(set, folder, "train"));
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        const char *path = test_path(folder, files[f]);
        char *text;
        size_t size;
        assert_ok(os_file_read_all(context, path, 1 << 20, &text, &size));
        for (size_t i = 0; i < size; i++) {
            char kept = text[i];
            text[i] = (char)(kept ^ (i % 2 ? 0x41 : 0x0f));
            assert_ok(os_file_replace(path, text, i % 5 ? size : i));
            aios_status status = aios_puzzles_open(context, folder, "train", &read);
            refused += status != AIOS_OK;
            if (status == AIOS_OK) {
                int32_t in[64], out[64], ids[4];
                aios_puzzles_position at = {0, 0};
                if (info_of(read).length == 16) assert_ok(aios_puzzles_draw(read, 1, &at, 4, in, out, ids));
                aios_puzzles_destroy(read);
            }
            text[i] = kept;
        }
        assert_ok(os_file_replace(path, text, size));
        aios_memory_free(context, text);
    }
    assert_true(refused > 300);
    assert_ok(aios_puzzles_open(context, folder, "train", &read));
    aios_puzzles_destroy(read);
    aios_puzzles_destroy(set);
    test_folder_remove(folder);
}

static void npy_headers_are_not_trusted(void **state)
{
    (void)state;
    struct npy array;
    unsigned char file[256];
    static const struct {
        const char *header;
        aios_status status;
    } cases[] = {
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", AIOS_OK},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }", AIOS_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", AIOS_UNSUPPORTED},
        {"{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }", AIOS_UNSUPPORTED},
        {"{'descr': '<i4', 'fortran_order': True, 'shape': (1, 2), }", AIOS_UNSUPPORTED},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }", AIOS_CORRUPT},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387906,), }", AIOS_CORRUPT},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (99999999999999999999,), }", AIOS_CORRUPT},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (-2,), }", AIOS_CORRUPT},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2", AIOS_CORRUPT},
        {"{'descr': '<i4', 'shape': (2,), }", AIOS_CORRUPT},
        {"{'descr': '", AIOS_UNSUPPORTED},
        {"{'fortran_order': False, 'shape': (1, 1, 2), 'descr': '<i4'}", AIOS_UNSUPPORTED},
    };
    for (size_t k = 0; k < COUNT_OF(cases); k++) {
        size_t length = strlen(cases[k].header);
        const int32_t values[2] = {-7, 70000};
        memcpy(file, "\x93NUMPY\x01\x00", 8);
        file[8] = (unsigned char)length;
        file[9] = 0;
        memcpy(file + 10, cases[k].header, length);
        memcpy(file + 10 + length, values, 8);
        assert_int_equal(npy_parse("a.npy", file, 10 + length + 8, &array), cases[k].status);
        if (cases[k].status != AIOS_OK) continue;
        assert_int_equal(npy_get(&array, 0), -7);
        assert_int_equal(npy_get(&array, 1), 70000);
    }
    assert_int_equal(npy_parse("a.npy", file, 9, &array), AIOS_CORRUPT);
}

/* The largest header that is taken, which ends within its type. */
static void npy_headers_are_not_read_behind(void **state)
{
    (void)state;
    enum { LENGTH = 65536 };
    static const char end[] = "'descr':'|u";
    struct npy array;
    unsigned char *file = malloc(12 + LENGTH);
    assert_non_null(file);
    memset(file, ' ', 12 + LENGTH);
    memcpy(file, "\x93NUMPY\x02\x00\x00\x00\x01\x00", 12);
    memcpy(file + 12 + LENGTH - strlen(end), end, strlen(end));
    assert_int_equal(npy_parse("a.npy", file, 12 + LENGTH, &array), AIOS_UNSUPPORTED);
    free(file);
}

static void a_folder_is_needed(void **state)
{
    (void)state;
    aios_puzzles *set;
    assert_fails(aios_puzzles_open(context, NULL, "train", &set), AIOS_INVALID_ARGUMENT, "must not be NULL");
    assert_fails(aios_puzzles_open(context, "folder", NULL, &set), AIOS_INVALID_ARGUMENT, "must not be NULL");
}

/* ---- ARC --------------------------------------------------------------------------------------------------------- */

static void a_turned_grid_is_what_numpy_makes_of_it(void **state)
{
    (void)state;
    const uint8_t from[6] = {1, 2, 3, 4, 5, 6}; /* 2 x 3 */
    static const uint8_t turned[8][6] = {{1, 2, 3, 4, 5, 6}, {3, 6, 2, 5, 1, 4}, {6, 5, 4, 3, 2, 1}, {4, 1, 5, 2, 6, 3},
                                         {3, 2, 1, 6, 5, 4}, {4, 5, 6, 1, 2, 3}, {1, 4, 2, 5, 3, 6}, {6, 3, 5, 2, 4, 1}};
    for (int way = 0; way < 8; way++) {
        uint8_t to[6];
        grid_turn(to, from, 2, 3, way);
        assert_memory_equal(to, turned[way], 6);
    }
}

static void arc_tasks_are_laid_out_with_ends_and_identifiers(void **state)
{
    (void)state;
    static const char task[] = "{\"train\": [{\"input\": [[1, 2], [3, 4]], \"output\": [[5]]}, {\"input\": [[6]], \"output\": [[7, 8]]}],"
                               " \"test\": [{\"input\": [[9]], \"output\": [[0]]}]}";
    char *folder = test_folder_make();
    aios_puzzles *train, *test;
    int32_t in[900], out[900], id;
    assert_ok(os_file_replace(test_path(folder, "t.json"), task, strlen(task)));
    assert_ok(aios_puzzles_read_arc(context, NULL, folder, 3, 1, &train, &test));
    assert_int_equal(info_of(train).identifier_count, 5);
    assert_int_equal(info_of(train).examples, 8);
    assert_int_equal(info_of(train).groups, 1);
    assert_int_equal(info_of(test).examples, 4);
    assert_ok(aios_puzzles_example(test, 0, in, out, &id));
    assert_int_equal(id, 1);
    assert_int_equal(in[0], 11);
    assert_int_equal(in[1], 1);
    assert_int_equal(in[30], 1);
    assert_int_equal(in[31], 0);
    assert_int_equal(out[0], 2);
    assert_int_equal(out[2], -100);
    for (uint64_t i = 0; i < 8; i++) { /* anywhere in the 30 x 30, every cell is there */
        int cells = 0;
        assert_ok(aios_puzzles_example(train, i, in, out, &id));
        for (int c = 0; c < 900; c++) cells += in[c] >= 2;
        assert_true(cells == 4 || cells == 1);
        assert_int_equal(id, 1 + (int)(i / 2));
    }
    aios_puzzles_destroy(train);
    aios_puzzles_destroy(test);
    static const char broken[] = "{\"train\": [{\"input\": [[1, 2], [3]], \"output\": [[5]]}], \"test\": []}";
    assert_ok(os_file_replace(test_path(folder, "t.json"), broken, strlen(broken)));
    assert_int_equal(aios_puzzles_read_arc(context, folder, NULL, 0, 1, &train, &test), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "row 1 of a grid has 1 cells"));
    test_folder_remove(folder);
}

static void the_public_arc_tasks_are_read(void **state)
{
    (void)state;
    const char *data = getenv("AIOS_TEST_DATA");
    char training[TEST_PATH_MAX], evaluation[TEST_PATH_MAX];
    aios_puzzles *train, *test;
    (void)snprintf(training, sizeof training, "%s/arc-agi-1/training", data ? data : "");
    (void)snprintf(evaluation, sizeof evaluation, "%s/arc-agi-1/evaluation", data ? data : "");
    if (os_path_kind(training) != OS_FOLDER) {
        print_message("AIOS_TEST_DATA has no arc-agi-1: skipped\n");
        skip();
    }
    assert_ok(aios_puzzles_read_arc(context, training, evaluation, 2, 1, &train, &test));
    assert_int_equal(info_of(train).groups, 800);
    assert_int_equal(info_of(test).groups, 400);
    assert_int_equal(info_of(train).puzzles, 2400);
    assert_int_equal(info_of(train).identifier_count, 2401);
    aios_puzzles_destroy(train);
    aios_puzzles_destroy(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sudoku_has_exactly_one_solution_which_its_labels_are),
        cmocka_unit_test(without_a_number_of_clues_no_clue_can_be_spared),
        cmocka_unit_test(a_seed_is_a_set_and_the_other_set_shares_none_of_it),
        cmocka_unit_test(harder_sets_need_the_guesses_that_were_asked_for),
        cmocka_unit_test(the_solver_tells_none_one_and_several),
        cmocka_unit_test(the_public_csv_is_read_and_its_lies_are_refused),
        cmocka_unit_test(every_maze_has_one_shortest_path_which_its_labels_mark),
        cmocka_unit_test(an_epoch_visits_every_group_once_and_a_position_goes_on),
        cmocka_unit_test(sample_n_is_found_without_those_before_it),
        cmocka_unit_test(a_saved_set_is_read_back),
        cmocka_unit_test(a_damaged_folder_is_refused_or_harmless),
        cmocka_unit_test(npy_headers_are_not_trusted),
        cmocka_unit_test(npy_headers_are_not_read_behind),
        cmocka_unit_test(a_folder_is_needed),
        cmocka_unit_test(a_turned_grid_is_what_numpy_makes_of_it),
        cmocka_unit_test(arc_tasks_are_laid_out_with_ends_and_identifiers),
        cmocka_unit_test(the_public_arc_tasks_are_read),
    };
    context = test_context();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    aios_context_destroy(context);
    return failed;
}
