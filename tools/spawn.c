#include "spawn.h"

#include "output.h"
#include "system.h"

#include <aios/hardware.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RANKS_MOST    64
#define RESTARTS_MOST 3
#define PATH_ROOM     4096

struct team {
    struct tool *tool;
    int ranks, threads; /* threads: of each where they share the CPU, 0: as it is */
    char folder[PATH_ROOM];
    int64_t ids[RANKS_MOST]; /* 0: ended */
    int codes[RANKS_MOST];
};

static struct team *volatile led;

static int is_asked(const struct tool *tool)
{
    const char *asked = getenv("AIOS_DDP_SPAWN"), *rank = getenv("AIOS_RANK");
    return !(rank && *rank) && ((tool->own & 1) || (asked && strcmp(asked, "1") == 0));
}

static const char *text_of(const struct tool *tool, const char *name)
{
    const char *value = "";
    (void)aios_options_get_string(tool->options, name, &value);
    return value;
}

static int is_on(const struct tool *tool, const char *name)
{
    int64_t value = 0;
    (void)aios_options_get_int(tool->options, name, &value);
    return value != 0;
}

/* ---- how many ---------------------------------------------------------------------------------------------------- */

static int count_ranks(struct team *team)
{
    struct tool *tool = team->tool;
    const char *devices = text_of(tool, "devices"), *selection = *devices ? devices : text_of(tool, "device");
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_hardware *hardware;
    options.strategy = "ddp";
    options.keep_cpu = is_on(tool, "keep-cpu");
    aios_status status = aios_hardware_resolve(tool->context, NULL, selection, &options, &hardware);
    if (status != AIOS_OK) return tool_fail_open(tool, status);
    int count = (int)aios_hardware_device_count(hardware), cpu = strncmp(aios_hardware_device(hardware, 0)->spec, "cpu", 3) == 0;
    aios_hardware_destroy(hardware);
    char *end = NULL;
    long asked = tool->world_size ? strtol(tool->world_size, &end, 10) : count;
    if (!tool->world_size && count > RANKS_MOST)
        return tool_fail(TOOL_USAGE, "%d devices are selected: --spawn starts at most %d processes", count, RANKS_MOST);
    if ((end && *end) || asked < 1 || asked > RANKS_MOST)
        return tool_fail(TOOL_USAGE, "--world-size is %s: 1 to %d processes can be started", tool->world_size, RANKS_MOST);
    team->ranks = (int)asked;
    if (team->ranks > count && !cpu)
        return tool_fail(TOOL_USAGE, "--world-size is %d, and %d device%s selected: each process needs one (--devices)", team->ranks, count,
                         count == 1 ? " is" : "s are");
    struct system_cpu usable;
    system_get_cpu(&usable);
    if (cpu && !getenv("AIOS_CPU_THREADS")) team->threads = usable.usable / team->ranks > 0 ? usable.usable / team->ranks : 1;
    return TOOL_DONE;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* The library's own name for a run without one, which its processes are told: runs/20261121-081500, or with -2 and so on behind it. */
static int make_own_folder(struct team *team)
{
    time_t now = time(NULL);
    struct tm day;
    size_t length = strftime(team->folder, sizeof team->folder, "runs/%Y%m%d-%H%M%S", gmtime_r(&now, &day));
    int made = system_make_folders(team->folder);
    for (int i = 2; made > 0; i++) {
        (void)snprintf(team->folder + length, sizeof team->folder - length, "-%d", i);
        made = system_make_folders(team->folder);
    }
    return made;
}

static int choose_folder(struct team *team)
{
    const char *given = text_of(team->tool, "save-dir");
    char logs[PATH_ROOM + 8];
    if (*given) (void)snprintf(team->folder, sizeof team->folder, "%.*s", folder_size(given), given);
    int failed = *given ? 0 : make_own_folder(team);
    (void)snprintf(logs, sizeof logs, "%s/logs", team->folder);
    return !failed && system_make_folders(logs) >= 0 ? TOOL_DONE : tool_fail(TOOL_ERROR, "the folder %s can't be made", logs);
}

/* The command as it was given, without what only this process does.  To be freed; NULL: no memory. */
static const char **copy_arguments(const struct team *team, int resume)
{
    const struct tool *tool = team->tool;
    size_t count = 0;
    const char **to = calloc((size_t)tool->given_count + 4, sizeof *to);
    for (int i = 0; to && i < tool->given_count; i++)
        if (strcmp(tool->given[i], "--spawn") != 0) to[count++] = tool->given[i];
    if (to && !*text_of(tool, "save-dir")) {
        to[count++] = "--save-dir";
        to[count++] = team->folder;
    }
    if (to && resume) to[count] = "--resume";
    return to;
}

static int64_t start_rank(const struct team *team, int rank, int port, const char *job, int resume)
{
    enum { VARIABLES = 9 };
    char text[VARIABLES][160], output[PATH_ROOM + 32];
    char *variables[VARIABLES + 1] = {NULL};
    const char **arguments = copy_arguments(team, resume);
    if (!arguments) return -1;
    const struct {
        const char *name;
        int value;
    } numbers[] = {{"AIOS_RANK", rank},
                   {"AIOS_RANKS", team->ranks},
                   {"AIOS_LOCAL_RANK", rank},
                   {"AIOS_LOCAL_RANKS", team->ranks},
                   {"MASTER_PORT", port}};
    int count = 0;
    for (size_t i = 0; i < COUNT_OF(numbers); i++, count++)
        (void)snprintf(text[count], sizeof text[0], "%s=%d", numbers[i].name, numbers[i].value);
    (void)snprintf(text[count++], sizeof text[0], "MASTER_ADDR=127.0.0.1");
    (void)snprintf(text[count++], sizeof text[0], "AIOS_JOB=%s", job);
    if (team->threads) (void)snprintf(text[count++], sizeof text[0], "AIOS_CPU_THREADS=%d", team->threads);
    for (int i = 0; i < count; i++) variables[i] = text[i];
    (void)snprintf(output, sizeof output, "%s/logs/rank-%d.log", team->folder, rank);
    int64_t id = system_start((char *const *)(uintptr_t)arguments, variables, rank ? output : NULL);
    free(arguments);
    return id;
}

static int start_all(struct team *team, int resume)
{
    char job[64];
    int port = system_free_port();
    (void)snprintf(job, sizeof job, "spawn-%llx", (unsigned long long)system_seed());
    (void)fprintf(stderr, "{\"ddp\": \"%s\", \"world_size\": %d, \"master_port\": %d, \"logs\": \"%s/logs\"}\n",
                  resume ? "restarting_workers" : "spawning_workers", team->ranks, port, team->folder);
    for (int rank = 0; rank < team->ranks; rank++) {
        team->ids[rank] = start_rank(team, rank, port, job, resume);
        if (team->ids[rank] > 0) continue;
        for (int r = 0; r < rank; r++) system_signal(team->ids[r], SIGKILL);
        return tool_fail(TOOL_ERROR, "process %d of %d can't be started", rank, team->ranks);
    }
    return TOOL_DONE;
}

/* ---- looking after them ------------------------------------------------------------------------------------------ */

static void pass_on(int count)
{
    struct team *team = led;
    (void)count;
    for (int rank = 0; team && rank < team->ranks; rank++)
        if (team->ids[rank] > 0) system_signal(team->ids[rank], system_stop_signal());
}

static void await_all(struct team *team)
{
    int code = 0;
    for (int64_t id; (id = system_wait(&code)) > 0;)
        for (int rank = 0; rank < team->ranks; rank++) {
            if (team->ids[rank] != id) continue;
            team->ids[rank] = 0;
            team->codes[rank] = code;
            if (code > 128 && !system_stop_signal())
                (void)fprintf(stderr, "aios: rank %d of %d was ended by signal %d\n", rank, team->ranks, code - 128);
            else if (code && rank > 0 && !system_stop_signal()) /* rank 0 speaks here */
                (void)fprintf(stderr, "aios: rank %d of %d failed: see %s/logs/rank-%d.log\n", rank, team->ranks, team->folder, rank);
        }
}

/* Is there a step in the log, or, where few steps are logged, a checkpoint? */
static int has_trained(const struct team *team)
{
    char path[PATH_ROOM + 32], line[512];
    const char *given = text_of(team->tool, "log-file");
    int trained = 0;
    (void)snprintf(path, sizeof path, "%s%s", *given ? given : team->folder, *given ? "" : "/metrics.jsonl");
    FILE *log = fopen(path, "r");
    while (log && !trained && fgets(line, sizeof line, log))
        trained = strstr(line, "{\"event\": \"step\"") == line || strstr(line, "{\"event\": \"checkpoint_save\"") == line;
    if (log) (void)fclose(log);
    return trained;
}

/* What became of all: 0 where those that were left completed the run. */
static int judge(const struct team *team, int *died)
{
    int code = team->codes[0];
    *died = 0;
    for (int rank = 0; rank < team->ranks; rank++) {
        *died |= team->codes[rank] > 128;
        if (team->codes[rank] == 0) code = 0;
    }
    return code;
}

static int run_team(struct team *team)
{
    int died = 0, code = start_all(team, 0);
    for (int restart = 0; code == TOOL_DONE; restart++) {
        await_all(team);
        code = judge(team, &died);
        if (code == TOOL_DONE || system_stop_signal() || is_on(team->tool, "strict")) return code;
        if (!has_trained(team)) return SPAWN_HERE;
        if (!died || restart == RESTARTS_MOST) return code;
        code = start_all(team, 1);
    }
    return code;
}

static int run(struct tool *tool)
{
    struct team team = {.tool = tool};
    int code = count_ranks(&team);
    if (code == TOOL_DONE && team.ranks == 1) return SPAWN_HERE; /* one is this one */
    if (code == TOOL_DONE) code = choose_folder(&team);
    if (code != TOOL_DONE) return code;
    led = &team;
    system_catch_stops(pass_on);
    code = run_team(&team);
    system_release_stops();
    led = NULL;
    if (code == SPAWN_HERE && !aios_options_is_set(tool->options, "strategy")) /* that of the processes, whatever the makes are */
        (void)aios_options_set(tool->options, "strategy", "ddp");
    if (code == SPAWN_HERE)
        (void)fprintf(
            stderr,
            "{\"ddp\": \"fallback\", \"to\": \"one process\"}\naios: no process got to its first step: the devices are trained in one "
            "process instead (--strict: not so)\n");
    return code;
}

/* ---- the beginning ----------------------------------------------------------------------------------------------- */

/* The name that an earlier program knew option collectives by. */
static int hear_backend(struct tool *tool)
{
    static const char *const words[][2] = {{"nccl", "vendor"}, {"rccl", "vendor"}, {"gloo", "host"}};
    const char *backend = getenv("AIOS_DDP_BACKEND");
    if (!backend || !*backend || aios_options_is_set(tool->options, "collectives")) return SPAWN_HERE;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(backend, words[i][0]) == 0) {
            (void)aios_options_set(tool->options, "collectives", words[i][1]);
            return SPAWN_HERE;
        }
    return tool_fail(TOOL_USAGE, "AIOS_DDP_BACKEND is \"%s\": it must be nccl, rccl or gloo", backend);
}

int spawn_begin(struct tool *tool)
{
    int code = is_asked(tool) ? run(tool) : SPAWN_HERE;
    if (code != SPAWN_HERE) return code;
    if (!aios_options_is_set(tool->options, "launcher")) (void)aios_options_set(tool->options, "launcher", "auto");
    return hear_backend(tool);
}

int spawn_follows(const char *name, const char *json)
{
    static const char key[] = "\"process\": ";
    const char *at = strcmp(name, "run_start") == 0 ? strstr(json, key) : NULL;
    if (strcmp(name, "launcher") == 0 && strstr(json, "\"rank\": 0,")) (void)fprintf(stderr, "%s\n", json);
    return at && atoi(at + sizeof key - 1) > 0;
}
