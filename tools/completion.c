/* aios completion bash: a script made from the same tables as the flags. */
#include "flags.h"
#include "tool.h"

#include <string.h>

/* How the script completes a value: words, files or folders. */
static void print_value_case(const char *name, int kind, const char *choices)
{
    (void)printf("        --%s) ", name);
    switch (kind) {
    case VALUE_FILE: (void)printf("kind=file"); break;
    case VALUE_FOLDER: (void)printf("kind=folder"); break;
    case VALUE_DEVICE: (void)printf("words='auto cpu cpu:0 gpu:0 cuda:0 xpu:0 hip:0'"); break;
    case VALUE_CHOICE:
        (void)printf("words='");
        for (const char *c = choices; *c; c++) (void)putchar(*c == '|' ? ' ' : *c);
        (void)printf("'");
        break;
    default: (void)printf("kind=none");
    }
    (void)printf(" ;;\n");
}

static void print_flag_names(const struct command *command)
{
    (void)printf("        %s) words='", command->name);
    for (uint32_t i = 0; command->scope && i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, &info) != AIOS_OK || !(info.scopes & command->scope)) continue;
        (void)printf("--%s ", info.name);
        if (info.type == AIOS_OPTION_BOOL) (void)printf("--no-%s ", info.name);
    }
    for (int i = 0; i < command->flag_count; i++) (void)printf("--%s ", command->flags[i].name);
    (void)printf("' ;;\n");
}

/* A flag whose name an option has too is completed as that. */
static void print_flag_values(const struct flag *flags, int count)
{
    aios_option_info info;
    for (int i = 0; i < count; i++) {
        int kind = flags[i].choices[0] ? VALUE_CHOICE : flags[i].value && strcmp(flags[i].value, "FILE") == 0 ? VALUE_FILE : VALUE_TEXT;
        if (flags[i].value && !option_find(flags[i].name, &info)) print_value_case(flags[i].name, kind, flags[i].choices);
    }
}

static void print_values(void)
{
    (void)printf("    case $flag in\n");
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT;
        if (aios_option_get_info(i, &info) != AIOS_OK || info.type == AIOS_OPTION_BOOL) continue;
        print_value_case(info.name, option_value_kind(&info), info.choices);
        if (info.alias[0]) print_value_case(info.alias, option_value_kind(&info), info.choices);
    }
    print_flag_values(global_flags, global_flag_count);
    for (int i = 0; i < command_count; i++) print_flag_values(commands[i].flags, commands[i].flag_count);
    (void)printf("        *) kind=flags ;;\n    esac\n");
}

static void print_command_words(void)
{
    (void)printf("    local commands='");
    for (int i = 0; i < command_count; i++) (void)printf("%s%s", i ? " " : "", commands[i].name);
    (void)printf("'\n    local globals='");
    for (int i = 0; i < global_flag_count; i++) (void)printf("%s--%s", i ? " " : "", global_flags[i].name);
    (void)printf("'\n");
}

/* bash splits --name=value at the '=', so the flag is the word before it. */
static void print_bash(void)
{
    (void)printf("# Completes aios in bash: source <(aios completion bash)\n"
                 "_aios()\n{\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} command='' words='' kind=words i\n");
    print_command_words();
    (void)printf("    COMPREPLY=()\n"
                 "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                 "        case ${COMP_WORDS[i]} in\n"
                 "            --log-level|--config) ((i++)); [[ ${COMP_WORDS[i]} == '=' ]] && ((i++)) ;;\n"
                 "            -*) ;;\n"
                 "            *) command=${COMP_WORDS[i]}; break ;;\n"
                 "        esac\n"
                 "    done\n"
                 "    if [[ $flag == '=' ]]; then\n        flag=${COMP_WORDS[COMP_CWORD-2]}\n"
                 "    elif [[ $cur == '=' ]]; then\n        cur=''\n    fi\n"
                 "    flag=${flag//_/-}\n");
    print_values();
    (void)printf("    if [[ $kind == flags && -z $command ]]; then\n"
                 "        words=\"$globals $commands\"\n"
                 "    elif [[ $kind == flags ]]; then\n        case $command in\n");
    for (int i = 0; i < command_count; i++) {
        (void)printf("    ");
        print_flag_names(&commands[i]);
    }
    (void)printf("        esac\n"
                 "        [[ $command == help ]] && words=\"$commands $words\"\n"
                 "        [[ $command == completion ]] && words=\"bash $words\"\n"
                 "        [[ $command == resolve && $cur != -* ]] && words=\"cpu gpu:0 cuda:0 xpu:0 hip:0 $words\"\n"
                 "        words=\"$words $globals\"\n"
                 "    fi\n"
                 "    local IFS=$' \\t\\n'\n"
                 "    case $kind in\n"
                 "        none) ;;\n"
                 "        file) compopt -o filenames 2>/dev/null; IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
                 "        folder) compopt -o filenames 2>/dev/null; IFS=$'\\n'; COMPREPLY=($(compgen -d -- \"$cur\")) ;;\n"
                 "        *) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
                 "    esac\n"
                 "}\n"
                 "complete -F _aios aios\n");
}

int run_completion(struct tool *tool)
{
    const char *shell = tool->argument_count ? tool->arguments[0] : NULL;
    if (!shell) return tool_fail(TOOL_USAGE, "completion needs a shell: aios completion bash");
    if (strcmp(shell, "bash") != 0) return tool_fail(TOOL_USAGE, "completion for \"%s\" is not there: bash is", shell);
    print_bash();
    return TOOL_DONE;
}
