/* aios data: texts made ready, and sets of puzzles in the layout of the public HRM reference. */
#include "data.h"
#include "output.h"
#include "tool.h"

#include <aios/puzzles.h>

#include <string.h>

struct wish {
    struct tool *tool;
    const char *output, *csv, *test_csv, *training, *evaluation;
    int64_t train, test, augmentations, size, clues, backtracks, path, openings, seed;
    double rating;
};

struct sets {
    aios_puzzles *train, *test;
};

static int read_wish(struct tool *tool, struct wish *w)
{
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {{"train-count", &w->train}, {"test-count", &w->test},   {"augmentations", &w->augmentations},
                   {"puzzle-size", &w->size},  {"clues", &w->clues},       {"min-backtracks", &w->backtracks},
                   {"min-path", &w->path},     {"openings", &w->openings}, {"seed", &w->seed}};
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"output-dir", &w->output},
                 {"csv-file", &w->csv},
                 {"test-csv-file", &w->test_csv},
                 {"training-dir", &w->training},
                 {"evaluation-dir", &w->evaluation}};
    int good = aios_options_get_float(tool->options, "min-rating", &w->rating) == AIOS_OK;
    w->tool = tool;
    for (size_t i = 0; good && i < COUNT_OF(numbers); i++)
        good = aios_options_get_int(tool->options, numbers[i].name, numbers[i].to) == AIOS_OK;
    for (size_t i = 0; good && i < COUNT_OF(texts); i++)
        good = aios_options_get_string(tool->options, texts[i].name, texts[i].to) == AIOS_OK;
    if (!good) return tool_fail_library(TOOL_ERROR);
    if (!*w->output) return tool_fail(TOOL_USAGE, "--output-dir is missing: it names the folder that gets train/ and test/");
    return TOOL_DONE;
}

/* An option that this kind of puzzle doesn't know is refused, not ignored. */
static int refuse_others(const struct wish *w, const char *kind, const char *const *others, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (aios_options_is_set(w->tool->options, others[i]))
            return tool_fail(TOOL_USAGE, "--%s is not for %s: leave it out", others[i], kind);
    return TOOL_DONE;
}

/* Options of puzzles are for puzzles, the others for texts; both have a seed. */
static int refuse_other_half(const struct tool *tool, const char *kind, int is_text)
{
    aios_option_info info = AIOS_OPTION_INFO_INIT;
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        if (aios_option_get_info(i, &info) != AIOS_OK || !(info.scopes & AIOS_SCOPE_DATA) || strcmp(info.name, "seed") == 0) continue;
        int is_of_puzzles = strcmp(info.section, "Puzzles") == 0;
        if (is_of_puzzles == is_text && aios_options_is_set(tool->options, info.name))
            return tool_fail(TOOL_USAGE, "--%s is not for %s: leave it out", info.name, kind);
    }
    return TOOL_DONE;
}

/* ---- kinds ------------------------------------------------------------------------------------------------------- */

static aios_status read_csv(const struct wish *w, struct sets *s)
{
    uint64_t seed = (uint64_t)w->seed;
    aios_status status =
        aios_puzzles_read_sudoku_csv(w->tool->context, w->csv, (uint64_t)w->train, w->rating, (int32_t)w->augmentations, seed, &s->train);
    if (status == AIOS_OK && *w->test_csv)
        status = aios_puzzles_read_sudoku_csv(w->tool->context, w->test_csv, (uint64_t)w->test, w->rating, 0, seed, &s->test);
    return status;
}

static int make_sudoku(const struct wish *w, struct sets *s)
{
    static const char *const others[] = {"min-path", "openings", "training-dir", "evaluation-dir"};
    static const char *const made[] = {"puzzle-size", "clues", "min-backtracks"};
    aios_sudoku_options o = AIOS_SUDOKU_OPTIONS_INIT;
    aios_status status = AIOS_OK;
    int code = refuse_others(w, "sudoku", others, COUNT_OF(others));
    if (code == TOOL_DONE && *w->csv) code = refuse_others(w, "sudoku with --csv-file", made, COUNT_OF(made));
    if (code == TOOL_DONE && !*w->csv && *w->test_csv) return tool_fail(TOOL_USAGE, "--test-csv-file goes with --csv-file");
    if (code != TOOL_DONE) return code;
    if (w->size) o.size = (int32_t)w->size;
    o.clues = (int32_t)w->clues;
    o.min_backtracks = (int32_t)w->backtracks;
    if (*w->csv) {
        status = read_csv(w, s);
    } else {
        o.count = (uint64_t)w->test;
        o.seed = (uint64_t)w->seed + 1;
        if (o.count) status = aios_puzzles_make_sudoku(w->tool->context, &o, NULL, &s->test);
        o.count = (uint64_t)w->train;
        o.seed = (uint64_t)w->seed;
        o.augmentations = (int32_t)w->augmentations;
        if (status == AIOS_OK) status = aios_puzzles_make_sudoku(w->tool->context, &o, s->test, &s->train);
    }
    return status == AIOS_OK ? TOOL_DONE : tool_fail_open(w->tool, status);
}

static int make_mazes(const struct wish *w, struct sets *s)
{
    static const char *const others[] = {"clues",      "min-backtracks", "csv-file",      "test-csv-file",
                                         "min-rating", "training-dir",   "evaluation-dir"};
    aios_maze_options o = AIOS_MAZE_OPTIONS_INIT;
    aios_status status = AIOS_OK;
    int code = refuse_others(w, "maze", others, COUNT_OF(others));
    if (code != TOOL_DONE) return code;
    if (w->augmentations > 7 || (w->augmentations && w->augmentations < 7))
        return tool_fail(TOOL_USAGE, "--augmentations is %lld: a maze has 7 turned and mirrored forms, 7 or 0 are possible",
                         (long long)w->augmentations);
    if (w->size) o.size = (int32_t)w->size;
    o.min_length = (int32_t)w->path;
    o.openings = (int32_t)w->openings;
    o.count = (uint64_t)w->test;
    o.seed = (uint64_t)w->seed + 1;
    if (o.count) status = aios_puzzles_make_mazes(w->tool->context, &o, NULL, &s->test);
    o.count = (uint64_t)w->train;
    o.seed = (uint64_t)w->seed;
    o.dihedral = w->augmentations == 7;
    if (status == AIOS_OK) status = aios_puzzles_make_mazes(w->tool->context, &o, s->test, &s->train);
    return status == AIOS_OK ? TOOL_DONE : tool_fail_open(w->tool, status);
}

static int read_arc(const struct wish *w, struct sets *s)
{
    static const char *const others[] = {"clues",    "min-backtracks", "csv-file",    "test-csv-file", "min-rating",
                                         "min-path", "openings",       "train-count", "test-count",    "puzzle-size"};
    int code = refuse_others(w, "arc", others, COUNT_OF(others));
    if (code != TOOL_DONE) return code;
    if (!*w->training && !*w->evaluation)
        return tool_fail(TOOL_USAGE, "arc wants --training-dir, --evaluation-dir or both: folders of tasks, NAME.json");
    aios_status status = aios_puzzles_read_arc(w->tool->context, *w->training ? w->training : NULL, *w->evaluation ? w->evaluation : NULL,
                                               (int32_t)w->augmentations, (uint64_t)w->seed, &s->train, &s->test);
    return status == AIOS_OK ? TOOL_DONE : tool_fail_open(w->tool, status);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static json_t *describe(const aios_puzzles *set)
{
    aios_puzzles_info i = {.struct_size = sizeof i};
    (void)aios_puzzles_get_info(set, &i);
    return json_pack("{sI sI sI si si si}", "examples", (json_int_t)i.examples, "puzzles", (json_int_t)i.puzzles, "groups",
                     (json_int_t)i.groups, "vocabulary", i.vocabulary_size, "length", i.length, "identifiers", i.identifier_count);
}

static void print_set(const char *split, const aios_puzzles *set)
{
    aios_puzzles_info i = {.struct_size = sizeof i};
    char examples[NUMBER_SIZE], groups[NUMBER_SIZE];
    (void)aios_puzzles_get_info(set, &i);
    (void)printf("%-6s %s examples of %d tokens, vocabulary %d, from %s puzzles\n", split, show_count((int64_t)i.examples, examples),
                 i.length, i.vocabulary_size, show_count((int64_t)i.groups, groups));
}

static int save(const struct wish *w, const struct sets *s)
{
    if (aios_puzzles_save(s->train, w->output, "train") != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (s->test && aios_puzzles_save(s->test, w->output, "test") != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (tool_json(w->tool)) {
        print_json(json_pack("{so so so}", "folder", json_from_text(w->output), "train", describe(s->train), "test",
                             s->test ? describe(s->test) : json_null()),
                   stdout);
    } else if (!tool_quiet(w->tool)) {
        (void)printf("%s\n", w->output);
        print_set("train", s->train);
        if (s->test) print_set("test", s->test);
    }
    return TOOL_DONE;
}

int run_data(struct tool *tool)
{
    static const struct {
        const char *name;
        int (*make)(const struct wish *w, struct sets *s);
    } kinds[] = {{"sudoku", make_sudoku}, {"maze", make_mazes}, {"arc", read_arc}};
    struct wish w = {0};
    struct sets s = {NULL, NULL};
    size_t kind = 0;
    const char *given = tool->argument_count ? tool->arguments[0] : "";
    int is_text = strcmp(given, "text") == 0;
    while (kind < COUNT_OF(kinds) && strcmp(kinds[kind].name, given) != 0) kind++;
    if (kind == COUNT_OF(kinds) && !is_text)
        return tool_fail(TOOL_USAGE, "data makes text, sudoku, maze or arc: \"%s\" is none of them", given);
    int code = refuse_other_half(tool, given, is_text);
    if (is_text) return code == TOOL_DONE ? run_data_text(tool) : code;
    if (code == TOOL_DONE) code = read_wish(tool, &w);
    if (code == TOOL_DONE) code = kinds[kind].make(&w, &s);
    if (code == TOOL_DONE) code = save(&w, &s);
    aios_puzzles_destroy(s.train);
    aios_puzzles_destroy(s.test);
    return code;
}
