/* aios train. */
#include "output.h"
#include "progress.h"
#include "spawn.h"
#include "system.h"
#include "tool.h"

#include <aios/trainer.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define OPENING_SECONDS 5 /* that a run which is not begun has to stop in */

struct training {
    struct progress progress;
    FILE *human;   /* where people read; NULL: nowhere */
    int json;      /* events go to standard output */
    int no_reader; /* standard output was closed */
    int follows;   /* 1: another process of the run speaks */
    aios_trainer *trainer;
};

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* {"event": "step", …}: the library's own text with one more field in front, so that no number is rounded. */
static void print_event(const char *name, const char *json)
{
    const char *fields = json + 1 + strspn(json + 1, " \n\t");
    (void)printf("{\"event\": \"%s\"%s%s\n", name, *fields == '}' ? "" : ", ", fields);
}

/* Nobody reads any more: what is done so far is saved, then the process ends as a closed pipe ends it. */
static void check_reader(struct training *training)
{
    if (training->no_reader || !ferror(stdout) || !training->trainer) return;
    training->no_reader = 1;
    aios_trainer_stop(training->trainer, AIOS_STOP_GRACEFUL);
}

static void on_event(void *user, const char *name, const char *json)
{
    struct training *training = user;
    if (spawn_follows(name, json)) training->follows = 1;
    if (training->follows) return;
    if (training->json) {
        print_event(name, json);
        (void)fflush(stdout);
    }
    progress_event(&training->progress, name, json);
    check_reader(training);
}

static void around_log(void *user, int after)
{
    struct training *training = user;
    if (after)
        progress_show(&training->progress);
    else
        progress_hide(&training->progress);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static aios_trainer *volatile stoppable; /* NULL: the run is not begun */
static volatile int32_t stopped_early;
static volatile sig_atomic_t silent;

static void ask_to_stop(int count)
{
    if (!stoppable) { /* nothing can be lost: the second one ends the command as ever */
        stopped_early = 1;
        system_release_stops();
        /* What waits for other processes, or in a driver, does not look. */
        system_end_in(OPENING_SECONDS, "\naios: interrupted before the first step\n");
        return;
    }
    if (!silent)
        system_note(count == 1 ? "\naios: stopping after this step and saving; once more stops after the micro-batch\n"
                               : "\naios: stopping after this micro-batch and saving; once more ends at once without saving\n");
    aios_trainer_stop(stoppable, count == 1 ? AIOS_STOP_GRACEFUL : AIOS_STOP_IMMEDIATE);
}

/* ---- what comes next --------------------------------------------------------------------------------------------- */

/* The command as it was given, so that it goes on from the checkpoint. */
static void print_resume(const struct tool *tool, const char *folder, FILE *to)
{
    int64_t resume = 0;
    (void)fputs("resume     aios", to);
    for (int i = 1; i < tool->given_count; i++) {
        (void)fputc(' ', to);
        print_quoted(to, tool->given[i]);
    }
    if (!aios_options_is_set(tool->options, "save-dir")) {
        (void)fputs(" --save-dir ", to);
        print_quoted(to, folder);
    }
    (void)aios_options_get_int(tool->options, "resume", &resume);
    (void)fputs(resume ? "\n" : " --resume\n", to);
}

static void print_next(const struct tool *tool, const struct training *training, aios_status status)
{
    const char *checkpoint = training->progress.checkpoint;
    if (!training->human || training->follows) return;
    if (checkpoint[0]) {
        (void)fprintf(training->human, "checkpoint %s\nsample     aios generate --model ", checkpoint);
        print_quoted(training->human, checkpoint);
        (void)fputc('\n', training->human);
    }
    if (status == AIOS_STOPPED) print_resume(tool, aios_trainer_folder(training->trainer), training->human);
}

static FILE *human_output(const struct tool *tool)
{
    if (tool_quiet(tool)) return NULL;
    if (!tool_json(tool)) return stdout;
    /* Beside JSON that goes elsewhere a person may watch the bar. */
    return system_is_terminal(stderr) && !system_is_terminal(stdout) ? stderr : NULL;
}

/* Opens the run, which may tokenize a text first.  With AIOS_OK stops are caught. */
static aios_status begin(struct tool *tool, struct training *training)
{
    silent = tool_quiet(tool);
    system_catch_stops(ask_to_stop);
    aios_status status = aios_trainer_create_until(tool->context, tool->options, NULL, &stopped_early, &training->trainer);
    if (status == AIOS_OK)
        stoppable = training->trainer;
    else
        system_release_stops();
    system_end_in(0, NULL);
    if (status != AIOS_OK) return status;
    if (stopped_early) { /* when the text was ready: it is obeyed after a step */
        system_catch_stops(ask_to_stop);
        ask_to_stop(1);
    }
    return AIOS_OK;
}

static int finish(struct tool *tool, struct training *training, aios_status status)
{
    int number = system_stop_signal();
    if (status != AIOS_OK && status != AIOS_STOPPED) return tool_fail_library(TOOL_ERROR);
    print_next(tool, training, status);
    if (training->no_reader) system_die_of_closed_pipe();
    return status == AIOS_STOPPED && number ? TOOL_SIGNAL + number : TOOL_DONE;
}

int run_train(struct tool *tool)
{
    int code = spawn_begin(tool);
    if (code != SPAWN_HERE) return code;
    struct training training = {.human = human_output(tool), .json = tool_json(tool)};
    progress_init(&training.progress, training.human);
    system_survive_closed_pipe();
    tool_listen(tool, on_event, around_log, &training);
    aios_status status = begin(tool, &training);
    if (status != AIOS_OK) {
        progress_hide(&training.progress);
        if (status == AIOS_STOPPED && stopped_early)
            return tool_fail(TOOL_SIGNAL + system_stop_signal(), "interrupted while the text was prepared, before the first step: %s",
                             aios_error_message());
        return tool_fail_open(tool, status);
    }
    status = aios_trainer_run(training.trainer);
    system_release_stops();
    progress_hide(&training.progress);
    code = finish(tool, &training, status);
    stoppable = NULL;
    aios_trainer_destroy(training.trainer);
    return code;
}
