#include "flags.h"

#include "../lib/base/names.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MOST   64
#define CONFIG_MOST (16u << 20)

/* A flag as it was given: --name, or --name=value. */
struct given {
    const char *text; /* as written */
    char name[NAME_MOST];
    const char *value; /* behind '='; NULL where there is none */
};

/* ---- the tables -------------------------------------------------------------------------------------------------- */

int option_find(const char *name, aios_option_info *info)
{
    for (uint32_t i = 0; name[0] && i < aios_option_count(); i++) {
        *info = (aios_option_info)AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, info) == AIOS_OK && (strcmp(info->name, name) == 0 || strcmp(info->alias, name) == 0)) return 1;
    }
    return 0;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), part = strlen(end);
    return length >= part && strcmp(text + length - part, end) == 0;
}

int option_value_kind(const aios_option_info *info)
{
    switch (info->type) {
    case AIOS_OPTION_BOOL: return VALUE_SWITCH;
    case AIOS_OPTION_CHOICE: return VALUE_CHOICE;
    case AIOS_OPTION_INT:
    case AIOS_OPTION_FLOAT: return VALUE_NUMBER;
    default: break;
    }
    if (ends_with(info->name, "-file") || strcmp(info->name, "prometheus") == 0) return VALUE_FILE;
    if (strcmp(info->name, "tensorboard") == 0) return VALUE_FOLDER;
    if (ends_with(info->name, "-dir") || strcmp(info->name, "model") == 0 || strcmp(info->name, "tokenizer") == 0) return VALUE_FOLDER;
    return strcmp(info->name, "device") == 0 ? VALUE_DEVICE : VALUE_TEXT;
}

const char *option_value_name(const aios_option_info *info)
{
    switch (option_value_kind(info)) {
    case VALUE_SWITCH: return "";
    case VALUE_CHOICE: return info->choices;
    case VALUE_NUMBER: return info->type == AIOS_OPTION_INT ? "N" : "X";
    case VALUE_FILE: return "FILE";
    case VALUE_FOLDER: return "FOLDER";
    case VALUE_DEVICE: return "DEVICE";
    default: return "TEXT";
    }
}

/* Numbers as the table means them: 1000000000000, not 1e+12. */
void option_show_range(const aios_option_info *info, char *to, size_t size)
{
    const double limits[2] = {info->minimum, info->maximum};
    for (size_t i = 0, used = 0; i < 2 && used < size; i++, used = strlen(to)) {
        int whole = info->type == AIOS_OPTION_INT || limits[i] >= 1e5;
        (void)snprintf(to + used, size - used, "%s%.*g", i ? " to " : "", whole ? 17 : 10, limits[i]);
    }
}

static int index_of(const struct flag *flags, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(flags[i].name, name) == 0) return i;
    return -1;
}

static int unknown_flag(const struct tool *tool, const struct given *flag)
{
    aios_option_info info = AIOS_OPTION_INFO_INIT;
    name_search search;
    const char *command = tool->command ? tool->command->name : "";
    if (option_find(flag->name, &info) && tool->command)
        return tool_fail(TOOL_USAGE, "--%s is no flag of %s: see aios %s --help", flag->name, command, command);
    name_search_init(&search, flag->name);
    for (uint32_t i = 0; tool->command && i < aios_option_count(); i++) {
        if (aios_option_get_info(i, &info) != AIOS_OK || !(info.scopes & tool->command->scope)) continue;
        name_search_offer(&search, info.name);
        if (info.alias[0]) name_search_offer(&search, info.alias);
    }
    for (int i = 0; i < global_flag_count; i++) name_search_offer(&search, global_flags[i].name);
    for (int i = 0; tool->command && i < tool->command->flag_count; i++) name_search_offer(&search, tool->command->flags[i].name);
    if (search.best) return tool_fail(TOOL_USAGE, "unknown flag %s: did you mean --%s?", flag->text, search.best);
    return tool_fail(TOOL_USAGE, "unknown flag %s: see aios %s%s--help", flag->text, command, *command ? " " : "");
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Takes "--name" or "--name=value" apart, or "-h" and "-o".  0 where it is no flag. */
static int split(const char *text, struct given *flag)
{
    static const char *const letters[][2] = {{"-h", "help"}, {"-o", "output"}};
    *flag = (struct given){text, "", NULL};
    for (size_t i = 0; i < COUNT_OF(letters); i++)
        if (strcmp(text, letters[i][0]) == 0) {
            (void)snprintf(flag->name, sizeof flag->name, "%s", letters[i][1]);
            return 1;
        }
    if (text[0] != '-' || text[1] == 0) return 0;
    const char *name = text + (text[1] == '-' ? 2 : 1);
    size_t length = strcspn(name, "=");
    if (name[length]) flag->value = name + length + 1;
    if (text[1] == '-')
        for (size_t i = 0; i < length && i + 1 < NAME_MOST; i++) flag->name[i] = name[i] == '_' ? '-' : name[i];
    return 1;
}

/* The value of a flag that must have one: behind '=', or the next argument. */
static int take_value(const struct given *flag, const char *what, int count, char **arguments, int *at, const char **value)
{
    aios_option_info info;
    struct given next;
    *value = flag->value;
    if (flag->value) return TOOL_DONE;
    int missing = *at + 1 >= count;
    if (!missing && strncmp(arguments[*at + 1], "--", 2) == 0 && split(arguments[*at + 1], &next))
        missing = option_find(next.name, &info) || index_of(global_flags, global_flag_count, next.name) >= 0;
    if (missing) return tool_fail(TOOL_USAGE, "--%s needs a value: --%s %s", flag->name, flag->name, what);
    *value = arguments[++*at];
    return TOOL_DONE;
}

static int read_log_level(struct tool *tool, const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"}; /* AIOS_LOG_… */
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        if (strcmp(text, levels[i]) != 0) continue;
        tool->log_level = (int32_t)i;
        return TOOL_DONE;
    }
    return tool_fail(TOOL_USAGE, "--log-level is \"%s\": it must be error, warning, info or debug", text);
}

static int read_global(struct tool *tool, int index, const struct given *flag, int count, char **arguments, int *at)
{
    const char *value = NULL;
    if (!global_flags[index].value && flag->value) return tool_fail(TOOL_USAGE, "--%s takes no value", flag->name);
    if (global_flags[index].value) {
        int failed = take_value(flag, global_flags[index].value, count, arguments, at, &value);
        if (failed) return failed;
    }
    tool->global |= 1u << index;
    if (index == FLAG_LOG_LEVEL) return read_log_level(tool, value);
    if (index == FLAG_CONFIG) tool->config = value;
    return TOOL_DONE;
}

static int is_switch_text(const char *text)
{
    static const char *const texts[] = {"on", "off", "true", "false", "yes", "no", "1", "0"};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (strcasecmp(text, texts[i]) == 0) return 1;
    return 0;
}

static int set_option(struct tool *tool, const char *name, const char *value)
{
    return aios_options_set(tool->options, name, value) == AIOS_OK ? TOOL_DONE : tool_fail_library(TOOL_USAGE);
}

/* For commands that take it several times. */
static void remember(struct tool *tool, const char *name, const char *value)
{
    if (tool->repeated_count == TOOL_REPEATED_MOST) return; /* as many as arguments that are taken */
    tool->repeated[tool->repeated_count].name = name;
    tool->repeated[tool->repeated_count++].value = value;
}

/* A flag of the library's table.  apply 0: only steps over its value. */
static int read_option(struct tool *tool, const aios_option_info *info, const struct given *flag, int apply, int count, char **arguments,
                       int *at)
{
    const char *value;
    if (info->type == AIOS_OPTION_BOOL && !flag->value) {
        int follows = *at + 1 < count && is_switch_text(arguments[*at + 1]);
        value = follows ? arguments[++*at] : "on";
    } else {
        int failed = take_value(flag, option_value_name(info), count, arguments, at, &value);
        if (failed) return failed;
    }
    if (apply && strcmp(info->name, "prompt") == 0) remember(tool, info->name, value);
    return apply ? set_option(tool, flag->name, value) : TOOL_DONE;
}

/* ---- an earlier program's flags ------------------------------------------------------------------------------------ */

/* "0,1" as "cuda:0,cuda:1". */
static int set_cuda_ids(struct tool *tool, const char *ids)
{
    char devices[1024];
    size_t used = 0;
    if (!strpbrk(ids, "0123456789") || strspn(ids, "0123456789, ") != strlen(ids))
        return tool_fail(TOOL_USAGE, "--cuda-ids is \"%s\": numbers of CUDA devices with commas are wanted, as in 0,1", ids);
    for (const char *at = ids; *at && used < sizeof devices;) {
        int length = (int)strspn(at, "0123456789");
        if (length) used += (size_t)snprintf(devices + used, sizeof devices - used, "%scuda:%.*s", used ? "," : "", length, at);
        at += length;
        at += strspn(at, ", ");
    }
    if (used >= sizeof devices) return tool_fail(TOOL_USAGE, "--cuda-ids has more devices than a machine can have: %.40s…", ids);
    return set_option(tool, "devices", devices);
}

static int set_linear(struct tool *tool, const char *value)
{
    static const char *const offs[] = {"off", "false", "no", "0"};
    for (size_t i = 0; i < COUNT_OF(offs); i++)
        if (strcasecmp(value, offs[i]) == 0) return set_option(tool, "shuffle", "on");
    if (is_switch_text(value)) return set_option(tool, "shuffle", "off");
    return tool_fail(TOOL_USAGE, "--linear-dataset is \"%s\": it must be on or off", value);
}

static int keep_brain_name(struct tool *tool, const char *value)
{
    tool->brain_name = value;
    return TOOL_DONE;
}

static int keep_bundle_dir(struct tool *tool, const char *value)
{
    tool->bundle_dir = value;
    return TOOL_DONE;
}

static int keep_world_size(struct tool *tool, const char *value)
{
    tool->world_size = value;
    return TOOL_DONE;
}

/* Flags of the commands that train that the options have under another name or not as such.  value NULL: it has none, and stands for `as`.
 */
static const struct spelling {
    const char *name, *value, *option, *as;
    int (*set)(struct tool *tool, const char *value);
} spellings[] = {
    {"ddp", NULL, "strategy", "ddp", NULL},
    {"parallel-independent", NULL, "strategy", "parallel-independent", NULL},
    {"gpu-ids", "DEVICE,…", "devices", NULL, NULL},
    {"cuda-ids", "N,…", NULL, NULL, set_cuda_ids},
    {"linear-dataset", "on|off", NULL, NULL, set_linear},
    {"brain-name", "NAME", NULL, NULL, keep_brain_name},
    {"bundle-dir", "FOLDER", NULL, NULL, keep_bundle_dir},
    {"world-size", "N", NULL, NULL, keep_world_size},
};

static const struct spelling *find_spelling(const struct tool *tool, const char *name)
{
    uint32_t scope = tool->command->scope;
    for (size_t i = 0; (scope == AIOS_SCOPE_TRAIN || scope == AIOS_SCOPE_HRM) && i < COUNT_OF(spellings); i++)
        if (strcmp(spellings[i].name, name) == 0 && (scope == AIOS_SCOPE_TRAIN || spellings[i].set != set_linear)) return &spellings[i];
    return NULL;
}

static int read_spelling(struct tool *tool, const struct spelling *spelling, const struct given *flag, int apply, int count,
                         char **arguments, int *at)
{
    const char *value = spelling->as;
    if (!spelling->value && flag->value) return tool_fail(TOOL_USAGE, "--%s takes no value", flag->name);
    if (spelling->value) {
        int failed = take_value(flag, spelling->value, count, arguments, at, &value);
        if (failed) return failed;
    }
    if (!apply) return TOOL_DONE;
    return spelling->set ? spelling->set(tool, value) : set_option(tool, spelling->option, value);
}

/* What needs all flags: the folder of a brain, and that as many devices are named as there are to be. */
static int finish_spellings(struct tool *tool)
{
    char folder[4096];
    const char *devices;
    if (tool->bundle_dir && !tool->brain_name)
        return tool_fail(TOOL_USAGE, "--bundle-dir needs --brain-name: the run's folder is one in it");
    if (tool->brain_name && aios_options_is_set(tool->options, "save-dir"))
        return tool_fail(TOOL_USAGE, "--brain-name and --save-dir both name the run's folder: leave one out");
    if (tool->brain_name) {
        if (!*tool->brain_name || strchr(tool->brain_name, '/') || tool->brain_name[0] == '.')
            return tool_fail(TOOL_USAGE, "--brain-name is \"%s\": it must be a folder's name", tool->brain_name);
        const char *above = tool->bundle_dir ? tool->bundle_dir : "artifacts/brains/actv1";
        if (snprintf(folder, sizeof folder, "%.*s/%s", folder_size(above), above, tool->brain_name) >= (int)sizeof folder)
            return tool_fail(TOOL_USAGE, "--bundle-dir is too long");
        int failed = set_option(tool, "save-dir", folder);
        if (failed) return failed;
    }
    if (!tool->world_size || (tool->own & 1) || getenv("AIOS_DDP_SPAWN") || getenv("AIOS_RANK") || getenv("WORLD_SIZE")) return TOOL_DONE;
    if (aios_options_get_string(tool->options, "devices", &devices) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    int named = 1;
    char *end;
    for (const char *c = devices; *c; c++) named += *c == ',';
    if (strtol(tool->world_size, &end, 10) == named && !*end) return TOOL_DONE;
    return tool_fail(TOOL_USAGE, "--world-size is %s, and %d device%s named: name each one (--cuda-ids, --gpu-ids, --devices)",
                     tool->world_size, named, named == 1 ? " is" : "s are");
}

/* ---- flags --------------------------------------------------------------------------------------------------------- */

static int read_flag(struct tool *tool, const struct given *flag, int apply, int count, char **arguments, int *at)
{
    const struct command *command = tool->command;
    aios_option_info info;
    int index = index_of(global_flags, global_flag_count, flag->name);
    if (index >= 0) return read_global(tool, index, flag, count, arguments, at);
    if (!command) return unknown_flag(tool, flag);
    index = index_of(command->flags, command->flag_count, flag->name);
    if (index >= 0) {
        const char *what = command->flags[index].value;
        if (flag->value && !what) return tool_fail(TOOL_USAGE, "--%s takes no value", flag->name);
        tool->own |= 1u << index;
        int failed = what ? take_value(flag, what, count, arguments, at, &tool->values[index]) : TOOL_DONE;
        if (!failed && what && apply) remember(tool, command->flags[index].name, tool->values[index]);
        return failed;
    }
    const struct spelling *spelling = find_spelling(tool, flag->name);
    if (spelling) return read_spelling(tool, spelling, flag, apply, count, arguments, at);
    if (option_find(flag->name, &info) && info.scopes & command->scope) return read_option(tool, &info, flag, apply, count, arguments, at);
    if (strncmp(flag->name, "no-", 3) == 0 && option_find(flag->name + 3, &info) && info.scopes & command->scope) {
        if (info.type != AIOS_OPTION_BOOL) return tool_fail(TOOL_USAGE, "--%s: %s is no switch that can be off", flag->name, info.name);
        if (flag->value) return tool_fail(TOOL_USAGE, "--%s takes no value: --%s=%s", flag->name, info.name, flag->value);
        return apply ? set_option(tool, info.name, "off") : TOOL_DONE;
    }
    return unknown_flag(tool, flag);
}

static int take_argument(struct tool *tool, const char *argument)
{
    const struct command *command = tool->command;
    if (tool->argument_count < command->arguments_most) {
        tool->arguments[tool->argument_count++] = argument;
        return TOOL_DONE;
    }
    if (command->arguments_most)
        return tool_fail(TOOL_USAGE, "%s takes %d argument%s: \"%s\" is too many", command->name, command->arguments_most,
                         command->arguments_most == 1 ? "" : "s", argument);
    return tool_fail(TOOL_USAGE, "%s takes no arguments besides flags: \"%s\" is one (aios %s --help lists the flags)", command->name,
                     argument, command->name);
}

static int read_command(struct tool *tool, int apply, int count, char **arguments)
{
    struct given flag;
    int only_arguments = 0, failed = TOOL_DONE;
    tool->argument_count = 0;
    for (int i = 0; i < count && !failed; i++) {
        if (!only_arguments && strcmp(arguments[i], "--") == 0)
            only_arguments = 1;
        else if (!only_arguments && split(arguments[i], &flag))
            failed = read_flag(tool, &flag, apply, count, arguments, &i);
        else
            failed = take_argument(tool, arguments[i]);
    }
    return failed;
}

static int read_config(struct tool *tool)
{
    if (!tool->command->scope) return tool_fail(TOOL_USAGE, "--config has no use with %s: it takes no options", tool->command->name);
    FILE *file = fopen(tool->config, "rbe");
    if (!file) return tool_fail(TOOL_USAGE, "--config %s can't be opened: it must be a JSON file of options", tool->config);
    size_t size = 0, capacity = 4096;
    char *text = need_memory(malloc(capacity));
    for (size_t got; (got = fread(text + size, 1, capacity - size - 1, file)) > 0 && size < CONFIG_MOST;) {
        size += got;
        if (capacity - size < 2) text = need_memory(realloc(text, capacity *= 2));
    }
    int broken = ferror(file), code = TOOL_DONE;
    (void)fclose(file);
    text[size] = 0;
    if (broken || size >= CONFIG_MOST || strlen(text) != size)
        code = tool_fail(TOOL_USAGE, "--config %s is no readable JSON file", tool->config);
    else if (aios_options_read_json(tool->options, strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text) != AIOS_OK) /* UTF-8's mark */
        code = tool_fail(TOOL_USAGE, "%s: %s", tool->config, aios_error_message());
    free(text);
    return code;
}

int flags_read(struct tool *tool, int count, char **arguments)
{
    struct given flag;
    int i = 0, failed;
    for (; i < count && split(arguments[i], &flag); i++)
        if ((failed = read_flag(tool, &flag, 0, count, arguments, &i))) return failed;
    if (i == count) return TOOL_DONE;
    tool->command = command_find(arguments[i]);
    if (!tool->command) {
        name_search search;
        name_search_init(&search, arguments[i]);
        for (int c = 0; c < command_count; c++) name_search_offer(&search, commands[c].name);
        if (search.best) return tool_fail(TOOL_USAGE, "unknown command \"%s\": did you mean %s?", arguments[i], search.best);
        return tool_fail(TOOL_USAGE, "unknown command \"%s\": aios help lists them", arguments[i]);
    }
    count -= i + 1;
    arguments += i + 1;
    /* Twice: the first pass finds --config and --help, the second sets the options over what the file says. */
    if ((failed = read_command(tool, 0, count, arguments)) || tool->global >> FLAG_HELP & 1) return failed;
    if (tool_json(tool) && tool->command->plain) return tool_fail(TOOL_USAGE, "%s has no JSON form: leave --json out", tool->command->name);
    if (tool->command->scope && aios_options_create(tool->context, tool->command->scope, &tool->options) != AIOS_OK)
        return tool_fail_library(TOOL_ERROR);
    if (tool->config && (failed = read_config(tool))) return failed;
    if ((failed = read_command(tool, 1, count, arguments))) return failed;
    return tool->command->scope == AIOS_SCOPE_TRAIN ? finish_spellings(tool) : TOOL_DONE;
}
