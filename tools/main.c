/* aios: the command. */
#include "flags.h"
#include "help.h"
#include "output.h"
#include "system.h"
#include "tool.h"

#include <aios/hardware.h>

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* ---- errors ------------------------------------------------------------------------------------------------------ */

int tool_fail(int code, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line) line[text_whole(line, sizeof line - 1)] = 0;
    for (char *c = line; *c; c++)
        if (*c == '\n') *c = ' ';
    (void)fflush(stdout);
    (void)fprintf(stderr, "aios: %s\n", line);
    return code;
}

int tool_fail_library(int code)
{
    return tool_fail(code, "%s", aios_error_message());
}

/* 1 where a device of the list is not there or can't be used.  In a context of its own: nothing is told twice. */
static int one_is_missing(const char *devices)
{
    aios_context *context;
    aios_hardware *hardware = NULL;
    if (aios_context_create(NULL, &context) != AIOS_OK) return 0;
    aios_status status = aios_hardware_resolve(context, NULL, devices, NULL, &hardware);
    aios_hardware_destroy(hardware);
    aios_context_destroy(context);
    return status == AIOS_NOT_FOUND || status == AIOS_UNAVAILABLE;
}

/* 1 where the device that the options name can't be opened. */
static int device_is_missing(struct tool *tool)
{
    const char *spec = NULL;
    aios_device *device = NULL;
    if (tool->options && aios_options_get_string(tool->options, "devices", &spec) == AIOS_OK && *spec) return one_is_missing(spec);
    if (!tool->options || aios_options_get_string(tool->options, "device", &spec) != AIOS_OK || strcmp(spec, "auto") == 0) return 0;
    if (aios_device_open(tool->context, spec, &device) != AIOS_OK) return 1;
    aios_device_close(device);
    return 0;
}

static int open_code(struct tool *tool, aios_status status)
{
    switch (status) {
    case AIOS_DEVICE_ERROR:
    case AIOS_DEVICE_LOST: return TOOL_NO_DEVICE;
    case AIOS_INVALID_ARGUMENT:
    case AIOS_OUT_OF_RANGE:
    case AIOS_NOT_FOUND:
    case AIOS_ALREADY_EXISTS:
    case AIOS_UNSUPPORTED: return device_is_missing(tool) ? TOOL_NO_DEVICE : TOOL_USAGE;
    case AIOS_UNAVAILABLE: return device_is_missing(tool) ? TOOL_NO_DEVICE : TOOL_ERROR;
    default: return TOOL_ERROR;
    }
}

int tool_fail_open(struct tool *tool, aios_status status)
{
    char message[2048]; /* looking for the device may write another one */
    (void)snprintf(message, sizeof message, "%s", aios_error_message());
    return tool_fail(open_code(tool, status), "%s", message);
}

/* ---- the library's words ----------------------------------------------------------------------------------------- */

static void take_log(void *user, int32_t level, const char *message)
{
    static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
    struct tool *tool = user;
    if (level > tool->log_level) return;
    if (tool->around_log) tool->around_log(tool->user, 0);
    (void)fprintf(stderr, "aios: %s%s\n", level >= 0 && level < (int32_t)COUNT_OF(words) ? words[level] : "", message);
    if (tool->around_log) tool->around_log(tool->user, 1);
}

void tool_listen(struct tool *tool, aios_event_fn on_event, void (*around_log)(void *user, int after), void *user)
{
    tool->on_event = on_event;
    tool->around_log = around_log;
    tool->user = user;
}

static void take_event(void *user, const char *name, const char *json)
{
    struct tool *tool = user;
    if (tool->on_event) tool->on_event(tool->user, name, json);
}

/* ---- version ----------------------------------------------------------------------------------------------------- */

int run_version(struct tool *tool)
{
    if (tool_json(tool))
        print_json(json_pack("{ss ss}", "command", AIOS_VERSION_STRING, "library", aios_version()), stdout);
    else if (strcmp(AIOS_VERSION_STRING, aios_version()) == 0)
        (void)printf("aios %s\n", aios_version());
    else
        (void)printf("aios %s (libaios %s)\n", AIOS_VERSION_STRING, aios_version());
    return TOOL_DONE;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static int run(struct tool *tool)
{
    int code = flags_read(tool, tool->given_count - 1, tool->given + 1);
    if (code) return code;
    if (tool->global >> FLAG_VERSION & 1) return run_version(tool);
    if (tool->global >> FLAG_HELP & 1) {
        help_print(tool->command, stdout);
        return TOOL_DONE;
    }
    if (tool->command) return tool->command->run(tool);
    help_print(NULL, stderr);
    return TOOL_USAGE;
}

/* What was printed must have arrived: a full disk is an error, a reader that left is none to speak of. */
static int close_output(int code)
{
    errno = 0;
    int failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0) failed = 1;
    if (!failed) return code;
    if (errno == 0 && fputc('\n', stdout) != EOF) (void)fflush(stdout); /* it failed some time ago: why, the next one tells */
    if (errno == EPIPE || (errno == 0 && code == TOOL_SIGNAL + 13)) system_die_of_closed_pipe();
    return code ? code : tool_fail(TOOL_ERROR, "writing to standard output: %s", errno ? strerror(errno) : "failed");
}

int main(int count, char **arguments)
{
    struct tool tool = {.log_level = AIOS_LOG_WARNING, .given = arguments, .given_count = count};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log_level = AIOS_LOG_DEBUG; /* --log-level is read later; take_log chooses */
    options.log = take_log;
    options.log_user = &tool;
    options.event = take_event;
    options.event_user = &tool;
    if (aios_context_create(&options, &tool.context) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    int code = run(&tool);
    tool_listen(&tool, NULL, NULL, NULL);
    aios_options_destroy(tool.options);
    aios_context_destroy(tool.context);
    return close_output(code);
}
