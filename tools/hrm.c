/* aios hrm: puzzles and the Hierarchical Reasoning Model. */
#include "output.h"
#include "progress.h"
#include "spawn.h"
#include "system.h"
#include "tool.h"

#include <aios/hrm.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MOST 65536

enum { SPAWN, WATCH }; /* bits of tool->own */

static volatile sig_atomic_t asked;
static volatile int32_t stop;
static int follows; /* 1: another process of the run speaks */

static void ask_to_stop(int count)
{
    asked = count;
    stop = 1;
}

/* ---- train ------------------------------------------------------------------------------------------------------- */

static double number_of(const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static const char *show_part(double part, char to[NUMBER_SIZE])
{
    (void)snprintf(to, NUMBER_SIZE, isfinite(part) ? "%.2f %%" : "-", 100 * part);
    return to;
}

static void print_step(long long step, const json_t *e)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE], halted[96] = "none halted";
    double segments = number_of(e, "mean_steps");
    if (isfinite(segments))
        (void)snprintf(halted, sizeof halted, "solved %s of those that halted after %.1f segments",
                       show_part(number_of(e, "exact_accuracy"), b), segments);
    (void)printf("step %6lld  loss %s  %s  %.1f steps/s  %s\n", step, show_loss(number_of(e, "loss"), a), halted,
                 number_of(e, "steps_per_second"), show_time(number_of(e, "elapsed"), c));
}

static void print_event(const char *name, const json_t *e)
{
    char a[NUMBER_SIZE], b[NUMBER_SIZE], c[NUMBER_SIZE];
    long long step = (long long)json_integer_value(json_object_get(e, "step"));
    if (strcmp(name, "run_start") == 0)
        (void)printf("%s, %s parameters, on %s; %s puzzles to learn from, %lld to test with\n",
                     json_string_value(json_object_get(e, "model")), show_count(json_integer_value(json_object_get(e, "parameters")), a),
                     json_string_value(json_object_get(e, "device")),
                     show_count(json_integer_value(json_object_get(e, "train_examples")), b),
                     (long long)json_integer_value(json_object_get(e, "test_examples")));
    else if (strcmp(name, "step") == 0)
        print_step(step, e);
    else if (strcmp(name, "eval") == 0)
        (void)printf("test at %lld: %s of %lld puzzles solved, %s of their cells right, %s of halts judged right\n", step,
                     show_part(number_of(e, "exact_accuracy"), a), (long long)json_integer_value(json_object_get(e, "examples")),
                     show_part(number_of(e, "accuracy"), b), show_part(number_of(e, "halt_accuracy"), c));
    else if (strcmp(name, "device_dropped") == 0)
        (void)printf("%s is dropped: %s\n", json_string_value(json_object_get(e, "device")),
                     json_string_value(json_object_get(e, "message")));
    else if (strcmp(name, "checkpoint_save") == 0)
        (void)printf("saved %s\n", json_string_value(json_object_get(e, "path")));
}

static void on_event(void *user, const char *name, const char *json)
{
    struct tool *tool = user;
    if (spawn_follows(name, json)) follows = 1;
    if (follows) return;
    json_t *event = json_loads(json, 0, NULL);
    if (!event) return;
    if (tool_json(tool)) {
        json_t *line = need_memory(json_pack("{ss}", "event", name));
        (void)json_object_update(line, event);
        print_json_line(line, stdout);
    } else if (!tool_quiet(tool)) {
        print_event(name, event);
    }
    (void)fflush(stdout);
    json_decref(event);
}

static int train(struct tool *tool)
{
    int code = spawn_begin(tool);
    if (code != SPAWN_HERE) return code;
    tool_listen(tool, on_event, NULL, tool);
    system_catch_stops(ask_to_stop);
    aios_status status = aios_hrm_train(tool->context, tool->options, &stop, NULL);
    system_release_stops();
    tool_listen(tool, NULL, NULL, NULL);
    if (status == AIOS_OK) return TOOL_DONE;
    if (status == AIOS_STOPPED && asked) return TOOL_SIGNAL + system_stop_signal();
    return status == AIOS_NOT_FINITE ? tool_fail_library(TOOL_ERROR) : tool_fail_open(tool, status);
}

/* ---- eval -------------------------------------------------------------------------------------------------------- */

static int evaluate(struct tool *tool)
{
    aios_hrm_scores s = {.struct_size = sizeof s};
    char a[NUMBER_SIZE];
    struct progress progress;
    progress_follow(&progress, tool);
    aios_status status = aios_hrm_evaluate_until(tool->context, tool->options, system_catch_first_stop(), &s);
    system_release_stops();
    tool_listen(tool, NULL, NULL, NULL);
    progress_hide(&progress);
    int stopped = status == AIOS_STOPPED, code = stopped ? tool_fail_library(TOOL_SIGNAL + system_stop_signal()) : TOOL_DONE;
    if (status != AIOS_OK && !stopped) return tool_fail_open(tool, status);
    if (tool_json(tool)) {
        print_json(json_pack("{sI so so so so sb}", "examples", (json_int_t)s.examples, "exact_accuracy",
                             json_from_number(s.exact_accuracy), "accuracy", json_from_number(s.accuracy), "halt_accuracy",
                             json_from_number(s.halt_accuracy), "loss", json_from_number(s.loss), "stopped", stopped),
                   stdout);
        return code;
    }
    if (!s.examples) return code; /* stopped before the first batch */
    (void)printf("puzzles        %lld\n", (long long)s.examples);
    (void)printf("solved         %s\n", show_part(s.exact_accuracy, a));
    (void)printf("cells right    %s\n", show_part(s.accuracy, a));
    (void)printf("halts right    %s\n", show_part(s.halt_accuracy, a));
    (void)printf("loss           %.4f nats per cell\n", s.loss);
    return code;
}

/* ---- solve ------------------------------------------------------------------------------------------------------- */

struct grid_text {
    int32_t cells[CELLS_MOST];
    int count, side, maze;
};

static const char maze_letters[] = "# SGo"; /* tokens 1 … 5 */

static char letter_of(const struct grid_text *g, int32_t token)
{
    if (g->maze) return token >= 1 && token <= 5 ? maze_letters[token - 1] : '?';
    return token == 1 ? '.' : token >= 2 && token <= 10 ? (char)('0' + token - 1) : '?';
}

/* A blank is floor in a maze and means nothing in a Sudoku; 1 where the letter is a cell. */
static int cell_of(const struct grid_text *g, char c, int32_t *token)
{
    const char *found = c ? strchr(maze_letters, c) : NULL;
    if (g->maze) {
        *token = found ? (int32_t)(found - maze_letters) + 1 : 0;
        return found != NULL;
    }
    *token = c == '.' || c == '0' || c == '_' ? 1 : c - '0' + 1;
    return *token == 1 || (c >= '1' && c <= '9');
}

static int read_cells(const char *text, size_t size, struct grid_text *g)
{
    for (size_t i = 0; i < size; i++) {
        int32_t token;
        if (cell_of(g, text[i], &token)) {
            if (g->count == CELLS_MOST) return tool_fail(TOOL_USAGE, "the grid has more than %d cells", CELLS_MOST);
            g->cells[g->count++] = token;
        } else if (!strchr(" \t\r\n|-+", text[i])) {
            return tool_fail(TOOL_USAGE, "the grid has a '%c' at %zu: %s are its cells", text[i], i,
                             g->maze ? "# space S and G" : "digits, and . or 0 for a blank,");
        }
    }
    while (g->side * g->side < g->count) g->side++;
    return TOOL_DONE;
}

static int read_grid(const struct tool *tool, struct grid_text *g)
{
    static char text[2 * CELLS_MOST];
    if (tool->argument_count < 2) return tool_fail(TOOL_USAGE, "solve wants a grid: its cells row by row, or - for standard input");
    if (strcmp(tool->arguments[1], "-") != 0) return read_cells(tool->arguments[1], strlen(tool->arguments[1]), g);
    size_t size = fread(text, 1, sizeof text, stdin);
    if (ferror(stdin) || size == sizeof text)
        return tool_fail(TOOL_USAGE, "the grid can't be read from standard input, or is longer than 128 KiB");
    return read_cells(text, size, g);
}

static void print_grid(const struct grid_text *g, const int32_t *cells)
{
    for (int i = 0; i < g->count; i++) {
        (void)putchar(letter_of(g, cells[i]));
        if ((i + 1) % g->side == 0 || i + 1 == g->count)
            (void)putchar('\n');
        else if (!g->maze)
            (void)putchar(' ');
    }
}

static int32_t on_segment(void *user, const aios_hrm_segment *segment)
{
    (void)printf("segment %d: halt %.3f, go on %.3f\n", segment->step, segment->halt, segment->go_on);
    print_grid(user, segment->answers);
    (void)putchar('\n');
    return asked != 0;
}

static json_t *grid_json(const struct grid_text *g, const int32_t *cells)
{
    static char text[CELLS_MOST + 1];
    for (int i = 0; i < g->count; i++) text[i] = letter_of(g, cells[i]);
    return json_stringn(text, (size_t)g->count);
}

static int print_answer(const struct tool *tool, const struct grid_text *g, const int32_t *answers, int32_t steps, double halt)
{
    if (tool_json(tool)) {
        print_json(json_pack("{so so si so}", "grid", grid_json(g, g->cells), "answer", grid_json(g, answers), "steps", steps,
                             "halt_probability", json_from_number(halt)),
                   stdout);
        return TOOL_DONE;
    }
    print_grid(g, answers);
    if (!tool_quiet(tool)) (void)printf("\n%d segment%s, probability of halting %.3f\n", steps, steps == 1 ? "" : "s", halt);
    return TOOL_DONE;
}

static int is_maze(const aios_hrm_solver *solver)
{
    json_t *config = json_loads(aios_model_config(aios_hrm_solver_model(solver)), 0, NULL);
    const char *kind = json_string_value(json_object_get(config, "puzzle_kind"));
    int maze = kind && strcmp(kind, "maze") == 0;
    json_decref(config);
    return maze;
}

static int solve(struct tool *tool)
{
    aios_hrm_solver *solver = NULL;
    struct grid_text *g = need_memory(calloc(1, sizeof *g));
    int32_t *answers = need_memory(calloc(CELLS_MOST, sizeof *answers)), steps = 0;
    int watching = (tool->own >> WATCH & 1) && !tool_json(tool);
    double halt = 0;
    aios_status status = aios_hrm_solver_create(tool->context, tool->options, &solver);
    int code = status == AIOS_OK ? TOOL_DONE : tool_fail_open(tool, status);
    if (code == TOOL_DONE) {
        g->maze = is_maze(solver);
        code = read_grid(tool, g);
    }
    if (code == TOOL_DONE) {
        status = aios_hrm_solver_run(solver, g->cells, (uint64_t)g->count, 0, watching ? on_segment : NULL, g, answers, &steps, &halt);
        code = status == AIOS_OK ? print_answer(tool, g, answers, steps, halt) : tool_fail_open(tool, status);
    }
    aios_hrm_solver_destroy(solver);
    free(answers);
    free(g);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* What a verb would ignore is refused. */
static int refuse_unused(const struct tool *tool, const char *verb, const char *used)
{
    for (uint32_t i = 0; *used && i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        char word[80];
        if (aios_option_get_info(i, &info) != AIOS_OK || !(info.scopes & AIOS_SCOPE_HRM) || !aios_options_is_set(tool->options, info.name))
            continue;
        (void)snprintf(word, sizeof word, " %s ", info.name);
        if (!strstr(used, word)) return tool_fail(TOOL_USAGE, "--%s is not for hrm %s: leave it out", info.name, verb);
    }
    return TOOL_DONE;
}

int run_hrm(struct tool *tool)
{
    static const struct {
        const char *name, *options; /* "": all */
        int arguments, watch;
        int (*run)(struct tool *tool);
    } verbs[] = {{"train", "", 1, 0, train},
                 {"eval", " model data-path device precision global-batch-size eval-examples ", 1, 0, evaluate},
                 {"solve", " model device precision ", 2, 1, solve}};
    const char *given = tool->argument_count ? tool->arguments[0] : "";
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, given) != 0) continue;
        if (tool->argument_count > verbs[i].arguments)
            return tool_fail(TOOL_USAGE, "hrm %s takes no further argument: \"%s\" is one", given, tool->arguments[verbs[i].arguments]);
        if (((tool->own >> SPAWN & 1) || tool->world_size) && verbs[i].run != train)
            return tool_fail(TOOL_USAGE, "--%s is for hrm train alone", tool->world_size ? "world-size" : "spawn");
        if ((tool->own >> WATCH & 1) && !verbs[i].watch) return tool_fail(TOOL_USAGE, "--watch is for hrm solve alone");
        int code = refuse_unused(tool, given, verbs[i].options);
        return code == TOOL_DONE ? verbs[i].run(tool) : code;
    }
    return tool_fail(TOOL_USAGE, "hrm knows train, eval and solve: \"%s\" is none of them", given);
}
