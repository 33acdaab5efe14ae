/* The manual page of aios, made from the same tables as help and flags. */
#include "flags.h"
#include "help.h"
#include "tool.h"

#include <string.h>

/* Text as roff wants it: no line begins with a control character, '-' is the one of the keyboard, and UTF-8 is named by its code. */
static void put_text(FILE *to, const char *text)
{
    int line_begins = 1;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (line_begins && (*c == '.' || *c == '\'')) (void)fputs("\\&", to);
        line_begins = *c == '\n';
        if (*c == '\\')
            (void)fputs("\\e", to);
        else if (*c == '-')
            (void)fputs("\\-", to);
        else if (*c == '\'')
            (void)fputs("\\(aq", to);
        else if (*c < 0x80)
            (void)fputc(*c, to);
        else if (*c == 0xe2 && c[1] == 0x80 && c[2] == 0xa6)
            (void)fputs("...", to), c += 2;
        else if ((*c & 0xe0) == 0xc0 && c[1])
            (void)fprintf(to, "\\[u%04X]", (*c & 0x1fu) << 6 | (c[1] & 0x3fu)), c++;
        else if ((*c & 0xf0) == 0xe0 && c[1] && c[2])
            (void)fprintf(to, "\\[u%04X]", (*c & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu)), c += 2;
    }
}

static void put_entry(FILE *to, const char *name, const char *value, const char *text)
{
    (void)fputs(".TP\n\\fB\\-\\-", to);
    put_text(to, name);
    (void)fputs("\\fR", to);
    if (value && *value) {
        (void)fputs(" \\fI", to);
        put_text(to, value);
        (void)fputs("\\fR", to);
    }
    (void)fputs("\n", to);
    put_text(to, text);
    (void)fputs("\n", to);
}

static void put_flags(FILE *to, const struct flag *flags, int count)
{
    for (int i = 0; i < count; i++) put_entry(to, flags[i].name, flags[i].value, flags[i].help);
}

/* Text that keeps its lines. */
static void put_lines(FILE *to, const char *text)
{
    (void)fputs(".nf\n", to);
    put_text(to, text);
    (void)fputs(".fi\n", to);
}

static void put_option(FILE *to, const aios_option_info *info)
{
    char text[1024], range[64] = "", name[96];
    int is_switch = info->type == AIOS_OPTION_BOOL;
    if (info->type == AIOS_OPTION_INT || info->type == AIOS_OPTION_FLOAT) option_show_range(info, range, sizeof range);
    (void)snprintf(name, sizeof name, is_switch ? "[no-]%s" : "%s", info->name);
    (void)snprintf(text, sizeof text, "%s%s%s%s%s%s%s", info->help, info->default_text[0] ? "; default " : "", info->default_text,
                   range[0] ? "; " : "", range, info->alias[0] ? "; also --" : "", info->alias);
    put_entry(to, name, is_switch ? "" : option_value_name(info), text);
}

/* Which commands take an option, in small letters behind its section. */
static void put_options(FILE *to)
{
    const char *section = "";
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, &info) != AIOS_OK) continue;
        if (strcmp(section, info.section) != 0) {
            (void)fputs(".SS ", to);
            put_text(to, info.section);
            (void)fputs("\n", to);
        }
        section = info.section;
        put_option(to, &info);
        (void)fputs("(", to);
        for (int c = 0, taken = 0; c < command_count; c++) {
            if (!(commands[c].scope & info.scopes)) continue;
            (void)fprintf(to, "%s%s", taken++ ? ", " : "", commands[c].name);
        }
        (void)fputs(")\n", to);
    }
}

static void put_command(FILE *to, const struct command *command)
{
    (void)fprintf(to, ".SS aios %s", command->name);
    if (command->arguments[0]) (void)fputs(" ", to);
    put_text(to, command->arguments);
    (void)fputs("\n", to);
    put_text(to, command->summary);
    (void)fputs(".\n", to);
    if (command->notes) {
        (void)fputs(".PP\n", to);
        put_lines(to, command->notes);
    }
    put_flags(to, command->flags, command->flag_count);
    if (command->examples) {
        (void)fputs(".PP\n", to);
        put_lines(to, command->examples);
    }
}

void man_print(FILE *to)
{
    (void)fprintf(to,
                  ".\\\" Made by aios help \\-\\-man\n.TH AIOS 1 \"2026-11-21\" \"aios %s\" \"User Commands\"\n.SH NAME\naios \\- train "
                  "neural networks on the "
                  "devices of this machine\n.SH SYNOPSIS\n.B aios\n.I COMMAND\n.RI [ FLAGS ]\n.SH DESCRIPTION\n"
                  "aios trains, measures and asks neural networks on NVIDIA, AMD and Intel GPUs and on CPUs, on several of them at once.\n"
                  ".SH COMMANDS\n",
                  aios_version());
    for (int i = 0; i < command_count; i++) put_command(to, &commands[i]);
    (void)fputs(".SH FLAGS OF EVERY COMMAND\n", to);
    put_flags(to, global_flags, global_flag_count);
    (void)fputs(
        ".SH OPTIONS\nEach is a flag of the commands that stand in brackets behind it, and a member of the file of\n.BR \\-\\-config .\n",
        to);
    put_options(to);
    (void)fputs(
        ".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nan error while working\n.TP\n.B 2\nwrong use: a flag, an option, or input that is "
        "not "
        "there\n.TP\n.B 3\nno usable device, or not the one that was asked for\n.TP\n.B 130, 143, 129\nstopped by Ctrl\\-C, a termination "
        "signal, a hang\\-up\n.SH SEE ALSO\nThe guides in the folder docs of the source, and in share/doc where it is installed.\n",
        to);
}
