/* aios options: the table, for people, programs and docs/options.md. */
#include "flags.h"
#include "output.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    uint32_t scope;
    const char *command;
} scopes[] = {{AIOS_SCOPE_TRAIN, "train"}, {AIOS_SCOPE_EVAL, "eval"}, {AIOS_SCOPE_GENERATE, "generate"}, {AIOS_SCOPE_DATA, "data"}, {AIOS_SCOPE_HRM, "hrm"}};

static aios_option_info option_at(uint32_t index)
{
    aios_option_info info = AIOS_OPTION_INFO_INIT;
    (void)aios_option_get_info(index, &info);
    return info;
}

static const char *commands_of(const aios_option_info *info, const char *separator, char *to, size_t size)
{
    to[0] = 0;
    for (size_t i = 0; i < COUNT_OF(scopes); i++) {
        size_t used = strlen(to);
        if (info->scopes & scopes[i].scope) (void)snprintf(to + used, size - used, "%s%s", used ? separator : "", scopes[i].command);
    }
    return to;
}

/* The range or the choices, each choice between two `mark`s. */
static const char *allowed(const aios_option_info *info, const char *mark, char *to, size_t size)
{
    to[0] = 0;
    if (info->type == AIOS_OPTION_STRING) {
        (void)snprintf(to, size, "text");
    } else if (info->type == AIOS_OPTION_BOOL) {
        (void)snprintf(to, size, "%son%s, %soff%s", mark, mark, mark, mark);
    } else if (info->type == AIOS_OPTION_CHOICE) {
        for (const char *at = info->choices; *at;) {
            size_t part = strcspn(at, "|"), used = strlen(to);
            (void)snprintf(to + used, size - used, "%s%s%.*s%s", used ? ", " : "", mark, (int)part, at, mark);
            at += part + (at[part] == '|');
        }
    } else {
        option_show_range(info, to, size);
    }
    return to;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static json_t *default_of(const aios_option_info *info)
{
    switch (info->type) {
    case AIOS_OPTION_INT: return json_integer((json_int_t)strtod(info->default_text, NULL));
    case AIOS_OPTION_FLOAT: return json_real(strtod(info->default_text, NULL));
    case AIOS_OPTION_BOOL: return json_boolean(strcmp(info->default_text, "on") == 0);
    default: return json_string(info->default_text);
    }
}

static json_t *report_option(const aios_option_info *info)
{
    static const char *const types[] = {"int", "float", "bool", "string", "choice"};
    json_t *option = json_pack("{ss ss ss ss so}", "name", info->name, "section", info->section, "help", info->help, "type",
                               types[info->type], "default", default_of(info));
    json_t *used_by = need_memory(json_array()), *choices = need_memory(json_array());
    for (size_t i = 0; i < COUNT_OF(scopes); i++)
        if (info->scopes & scopes[i].scope) (void)json_array_append_new(used_by, json_string(scopes[i].command));
    for (const char *at = info->choices; *at;) {
        size_t part = strcspn(at, "|");
        (void)json_array_append_new(choices, json_stringn(at, part));
        at += part + (at[part] == '|');
    }
    (void)json_object_set_new(need_memory(option), "commands", used_by);
    if (info->type == AIOS_OPTION_INT || info->type == AIOS_OPTION_FLOAT) {
        int whole = info->type == AIOS_OPTION_INT;
        (void)json_object_set_new(option, "minimum", whole ? json_integer((json_int_t)info->minimum) : json_real(info->minimum));
        (void)json_object_set_new(option, "maximum", whole ? json_integer((json_int_t)info->maximum) : json_real(info->maximum));
    }
    if (json_array_size(choices))
        (void)json_object_set_new(option, "choices", choices);
    else
        json_decref(choices);
    if (info->alias[0]) (void)json_object_set_new(option, "alias", json_string(info->alias));
    return option;
}

static void print_options_json(void)
{
    json_t *options = need_memory(json_array());
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = option_at(i);
        (void)json_array_append_new(options, report_option(&info));
    }
    print_json(json_pack("{so}", "options", options), stdout);
}

/* ---- Markdown and text ------------------------------------------------------------------------------------------- */

static void print_options_markdown(void)
{
    const char *section = "";
    char used_by[64], range[256];
    (void)printf(
        "# Options\n\n"
        "Every option of `aios train`, `aios eval` and `aios generate`, of `aios_options_set` and of the JSON that `--config` reads.\n"
        "Made by `aios options --markdown` from `lib/base/options.def`: do not edit.\n\n"
        "As a flag an option is `--name value` or `--name=value`; one that is on or off is `--name` or `--no-name`. In names `_` and `-`\n"
        "are the same. A later flag overrides an earlier one, and every flag overrides `--config`.\n");
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = option_at(i);
        if (strcmp(section, info.section) != 0)
            (void)printf("\n## %s\n\n| Option | Default | Allowed | Commands | Meaning |\n|---|---|---|---|---|\n", info.section);
        section = info.section;
        (void)printf("| `%s`%s%s%s | %s%s%s | %s | %s | %s |\n", info.name, info.alias[0] ? ", `" : "", info.alias,
                     info.alias[0] ? "`" : "", info.default_text[0] ? "`" : "", info.default_text, info.default_text[0] ? "`" : "",
                     allowed(&info, "`", range, sizeof range), commands_of(&info, ", ", used_by, sizeof used_by), info.help);
    }
}

static void print_options_text(void)
{
    struct grid grid = {0, 0, 0, NULL};
    char name[64], used_by[64], range[256];
    const char *section = "";
    grid_add(&grid, "Option", "Default", "Allowed", "Commands", "Meaning");
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = option_at(i);
        if (strcmp(section, info.section) != 0) grid_add(&grid, info.section);
        section = info.section;
        (void)snprintf(name, sizeof name, "  %s", info.name);
        grid_add(&grid, name, info.default_text[0] ? info.default_text : "-", allowed(&info, "", range, sizeof range),
                 commands_of(&info, " ", used_by, sizeof used_by), info.help);
    }
    grid_print(&grid, stdout);
    grid_free(&grid);
}

int run_options(struct tool *tool)
{
    int markdown = (int)(tool->own & 1);
    if (markdown && tool_json(tool)) return tool_fail(TOOL_USAGE, "--markdown and --json exclude each other");
    if (markdown)
        print_options_markdown();
    else if (tool_json(tool))
        print_options_json();
    else
        print_options_text();
    return TOOL_DONE;
}
