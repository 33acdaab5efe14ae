/* tool.h: what the commands of `aios` share.  The command stands on the public headers of libaios alone. */
#ifndef AIOS_TOOLS_TOOL_H
#define AIOS_TOOLS_TOOL_H

#include <aios/context.h>
#include <aios/options.h>

#include <stdint.h>
#include <stdio.h>

/* 128 + a signal's number, beside these, where a signal ended the work. */
enum { TOOL_DONE = 0, TOOL_ERROR = 1, TOOL_USAGE = 2, TOOL_NO_DEVICE = 3, TOOL_SIGNAL = 128 };

#define COUNT_OF(array)     (sizeof(array) / sizeof((array)[0]))
#define TOOL_ARGUMENTS_MOST 256
#define TOOL_FLAGS_MOST     8 /* of a command's own */
#define TOOL_REPEATED_MOST  256

struct tool;

/* A flag that is no option of the library's table.  value: what the help calls its value; NULL: it has none. */
struct flag {
    const char *name, *value, *choices, *help;
};

struct command {
    const char *name, *summary;
    const char *arguments; /* how the usage line writes them; "" for none */
    int arguments_most;
    uint32_t scope;           /* AIOS_SCOPE_…: the options that it takes as flags; 0: none */
    int plain;                /* 1: it has no machine-readable form, so --json is refused */
    const struct flag *flags; /* its own; bit i of tool.own is flags[i] */
    int flag_count;
    const char *examples, *notes; /* of its help; NULL for none */
    int (*run)(struct tool *tool);
};

extern const struct command commands[];
extern const int command_count;
extern const struct flag global_flags[];
extern const int global_flag_count;
enum { FLAG_JSON, FLAG_QUIET, FLAG_LOG_LEVEL, FLAG_CONFIG, FLAG_HELP, FLAG_VERSION }; /* their order */

struct tool {
    aios_context *context;
    const struct command *command;
    aios_options *options;               /* of command->scope; NULL where that is 0 */
    uint32_t global, own;                /* flags that were given */
    const char *values[TOOL_FLAGS_MOST]; /* of the command's own flags; NULL where not given */
    /* Values of the command's own flags and of --prompt, in their order, for flags that may come several times. */
    struct {
        const char *name, *value;
    } repeated[TOOL_REPEATED_MOST];
    int repeated_count;
    int32_t log_level;
    const char *config;
    const char *brain_name, *bundle_dir, *world_size; /* as an earlier program spelled them (flags.c); NULL where not given */
    const char *arguments[TOOL_ARGUMENTS_MOST];
    int argument_count;
    char **given; /* argv, to say how to go on */
    int given_count;
    /* What a command does with events, and around a log line; NULL: nothing. */
    aios_event_fn on_event;
    void (*around_log)(void *user, int after);
    void *user;
};

static inline int tool_json(const struct tool *tool)
{
    return (int)(tool->global >> FLAG_JSON & 1);
}

static inline int tool_quiet(const struct tool *tool)
{
    return (int)(tool->global >> FLAG_QUIET & 1);
}

/* From now on events and log lines go through these; user is theirs until the command ends. */
void tool_listen(struct tool *tool, aios_event_fn on_event, void (*around_log)(void *user, int after), void *user);

/* "aios: …" on stderr; returns code. */
int tool_fail(int code, const char *format, ...) AIOS_PRINTF(2, 3);
/* The same with the library's last error. */
int tool_fail_library(int code);
/* The same for a library call that opens what the flags name; the code is 2 where they were wrong, 3 where it is the device,
 * else 1. */
int tool_fail_open(struct tool *tool, aios_status status);

const struct command *command_find(const char *name);

int run_chat(struct tool *tool);
int run_chunks(struct tool *tool);
int run_completion(struct tool *tool);
int run_data(struct tool *tool);
int run_devices(struct tool *tool);
int run_doctor(struct tool *tool);
int run_estimate(struct tool *tool);
int run_eval(struct tool *tool);
int run_generate(struct tool *tool);
int run_help(struct tool *tool);
int run_hrm(struct tool *tool);
int run_hrm_hf(struct tool *tool);
int run_list_gpus(struct tool *tool);
int run_merge(struct tool *tool);
int run_options(struct tool *tool);
int run_report(struct tool *tool);
int run_resolve(struct tool *tool);
int run_train(struct tool *tool);
int run_version(struct tool *tool);

#endif
