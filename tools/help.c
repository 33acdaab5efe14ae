#include "help.h"

#include "../lib/base/names.h"
#include "flags.h"
#include "output.h"
#include "system.h"

#include <string.h>

#define TEXT_COLUMN 32

static int page_width(FILE *to)
{
    int width = system_is_terminal(to) ? system_terminal_width(to) : 100;
    return width > 110 ? 110 : width < 60 ? 60 : width;
}

/* "  --name VALUE" and, in its column, what it does. */
static void print_entry(FILE *to, const char *left, const char *text, int width)
{
    int length = text_columns(left, strlen(left));
    (void)fputs(left, to);
    if (length + 2 > TEXT_COLUMN)
        (void)fprintf(to, "\n%*s", TEXT_COLUMN, "");
    else
        (void)fprintf(to, "%*s", TEXT_COLUMN - length, "");
    print_wrapped(to, text, TEXT_COLUMN, TEXT_COLUMN, width);
}

static void print_option(FILE *to, const aios_option_info *info, int width)
{
    char left[256], text[512], range[64] = "";
    if (info->type == AIOS_OPTION_BOOL)
        (void)snprintf(left, sizeof left, "  --[no-]%s", info->name);
    else
        (void)snprintf(left, sizeof left, "  --%s %s", info->name, option_value_name(info));
    if (info->type == AIOS_OPTION_INT || info->type == AIOS_OPTION_FLOAT) option_show_range(info, range, sizeof range);
    (void)snprintf(text, sizeof text, "%s%s%s%s%s%s%s%s", info->help, info->default_text[0] ? " (" : "", info->default_text,
                   range[0] ? "; " : "", range, info->default_text[0] ? ")" : "", info->alias[0] ? "; also --" : "", info->alias);
    print_entry(to, left, text, width);
}

static void print_flags(FILE *to, const struct flag *flags, int count, int width)
{
    char left[128];
    for (int i = 0; i < count; i++) {
        (void)snprintf(left, sizeof left, "  --%s%s%s", flags[i].name, flags[i].value ? " " : "", flags[i].value ? flags[i].value : "");
        print_entry(to, left, flags[i].help, width);
    }
}

static void print_options(FILE *to, uint32_t scope, int width)
{
    const char *section = "";
    for (uint32_t i = 0; scope && i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, &info) != AIOS_OK || !(info.scopes & scope)) continue;
        if (strcmp(section, info.section) != 0) (void)fprintf(to, "\n%s\n", info.section);
        section = info.section;
        print_option(to, &info, width);
    }
}

static void print_exit_codes(FILE *to)
{
    (void)fputs("\nExit codes\n"
                "  0    done\n"
                "  1    an error while working\n"
                "  2    wrong use: a flag, an option, or input that is not there\n"
                "  3    no usable device, or not the one that was asked for\n"
                "  130  stopped by Ctrl-C, 143 by a termination signal, 129 by a hang-up; train saved a checkpoint\n",
                to);
}

static void print_overview(FILE *to, int width)
{
    char left[64];
    (void)fprintf(to, "aios %s: trains neural networks on the devices of this machine\n\nUsage: aios COMMAND [FLAGS]\n\nCommands\n",
                  aios_version());
    for (int i = 0; i < command_count; i++) {
        (void)snprintf(left, sizeof left, "  %-12s", commands[i].name);
        (void)fputs(left, to);
        (void)fprintf(to, "%s\n", commands[i].summary);
    }
    (void)fputs("\nFlags of every command\n", to);
    print_flags(to, global_flags, global_flag_count, width);
    print_exit_codes(to);
    (void)fputs("\naios COMMAND --help describes a command.  A first run:\n"
                "  aios train --dataset-file notes.txt --save-dir runs/notes\n",
                to);
}

void help_print(const struct command *command, FILE *to)
{
    int width = page_width(to);
    if (!command) {
        print_overview(to, width);
        return;
    }
    (void)fprintf(to, "aios %s: %s\n\nUsage: aios %s%s%s [FLAGS]\n", command->name, command->summary, command->name,
                  command->arguments[0] ? " " : "", command->arguments);
    if (command->notes) (void)fprintf(to, "\n%s", command->notes);
    if (command->examples) (void)fprintf(to, "\nExamples\n%s", command->examples);
    print_options(to, command->scope, width);
    if (command->flag_count) {
        (void)fputs("\nFlags\n", to);
        print_flags(to, command->flags, command->flag_count, width);
    }
    (void)fputs("\nFlags of every command\n", to);
    print_flags(to, global_flags, global_flag_count, width);
    if (command->scope) print_exit_codes(to);
}

int run_help(struct tool *tool)
{
    if (tool->own && tool->argument_count) return tool_fail(TOOL_USAGE, "help --man takes no COMMAND: the page has all of them");
    if (tool->own) {
        man_print(stdout);
        return TOOL_DONE;
    }
    const struct command *command = tool->argument_count ? command_find(tool->arguments[0]) : NULL;
    if (tool->argument_count && !command) {
        name_search search;
        name_search_init(&search, tool->arguments[0]);
        for (int i = 0; i < command_count; i++) name_search_offer(&search, commands[i].name);
        return search.best ? tool_fail(TOOL_USAGE, "no command \"%s\" to describe: did you mean %s?", tool->arguments[0], search.best)
                           : tool_fail(TOOL_USAGE, "no command \"%s\" to describe: aios help lists them", tool->arguments[0]);
    }
    help_print(command, stdout);
    return TOOL_DONE;
}
