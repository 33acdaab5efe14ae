/* aios chat: a conversation with a model, turn by turn. */
#include "output.h"
#include "system.h"
#include "texts.h"
#include "tool.h"

#include <aios/trainer.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_SYSTEM, OWN_USER, OWN_ASSISTANT, OWN_STOP }; /* the order of chat_flags */

static volatile sig_atomic_t stop;

static void ask_to_stop(int count)
{
    stop = count;
}

struct turn {
    char *said, *answer;
};

struct chat {
    struct tool *tool;
    aios_generator *generator;
    struct stop_filter filter;
    struct bytes answer, prompt, stop_word;
    const char *user, *assistant; /* what stands before each one's words */
    char *system;                 /* what stands before all */
    struct turn *turns;
    size_t count, capacity;
    int person; /* 1: at a terminal */
    uint64_t seed;
};

/* ---- the transcript ----------------------------------------------------------------------------------------------- */

static void add_text(struct bytes *to, const char *text)
{
    bytes_add(to, text, strlen(text));
}

/* The turns from `first` on, and what is said now. */
static void write_prompt(struct chat *chat, size_t first, const char *said)
{
    struct bytes *to = &chat->prompt;
    bytes_clear(to);
    if (*chat->system) add_text(to, chat->system);
    if (*chat->system) add_text(to, "\n");
    for (size_t i = first; i <= chat->count; i++) {
        const char *const parts[] = {chat->user, " ", i < chat->count ? chat->turns[i].said : said, "\n", chat->assistant};
        for (size_t k = 0; k < COUNT_OF(parts); k++) add_text(to, parts[k]);
        if (i == chat->count) break;
        add_text(to, " ");
        add_text(to, chat->turns[i].answer);
        add_text(to, "\n");
    }
}

static void forget_turns(struct chat *chat, size_t from)
{
    while (chat->count > from) {
        free(chat->turns[--chat->count].said);
        free(chat->turns[chat->count].answer);
    }
}

/* A model's first blank belongs to "Assistant:". */
static char *trimmed(const char *text, size_t size)
{
    while (size && strchr(" \n\r\t", *text)) text++, size--;
    while (size && strchr(" \n\r\t", text[size - 1])) size--;
    char *copy = need_memory(malloc(size + 1));
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

static void keep_turn(struct chat *chat, const char *said)
{
    if (chat->count == chat->capacity) {
        chat->capacity = 2 * chat->capacity + 16;
        chat->turns = need_memory(realloc(chat->turns, chat->capacity * sizeof *chat->turns));
    }
    chat->turns[chat->count++] = (struct turn){need_memory(strdup(said)), trimmed(chat->answer.data, chat->answer.size)};
}

/* ---- an answer ---------------------------------------------------------------------------------------------------- */

static void pass_text(void *user, const char *text, size_t size)
{
    struct chat *chat = user;
    int first = chat->answer.size == 0;
    while (first && size && *text == ' ') text++, size--;
    bytes_add(&chat->answer, text, size);
    if (tool_json(chat->tool)) return;
    (void)fwrite(text, 1, size, stdout);
    (void)fflush(stdout);
}

static int32_t take_text(void *user, const char *text, size_t size)
{
    struct chat *chat = user;
    return stop_filter_add(&chat->filter, text, size) || stop || ferror(stdout);
}

/* A conversation that is too long for the model loses its oldest turns. */
static aios_status generate(struct chat *chat, const char *said)
{
    aios_status status = AIOS_INVALID_ARGUMENT;
    for (size_t first = 0; first <= chat->count && status == AIOS_INVALID_ARGUMENT; first++) {
        write_prompt(chat, first, said);
        bytes_clear(&chat->answer);
        stop_filter_begin(&chat->filter);
        status = aios_generator_run(chat->generator, chat->prompt.data, chat->prompt.size, chat->seed + chat->count, take_text, chat);
    }
    return status;
}

static int answer(struct chat *chat, const char *said)
{
    stop = 0;
    system_catch_stops(ask_to_stop);
    aios_status status = generate(chat, said);
    system_release_stops();
    if (status != AIOS_OK) {
        (void)tool_fail_library(TOOL_ERROR);
        return chat->person && status == AIOS_INVALID_ARGUMENT ? TOOL_DONE : TOOL_ERROR; /* too long: say it shorter */
    }
    stop_filter_end(&chat->filter);
    keep_turn(chat, said);
    if (tool_json(chat->tool))
        print_json_line(json_pack("{sI sI so so}", "turn", (json_int_t)chat->count, "seed", (json_int_t)(chat->seed + chat->count - 1),
                                  "user", json_from_text(said), "assistant", json_from_text(chat->turns[chat->count - 1].answer)),
                        stdout);
    else
        (void)printf("\n");
    (void)fflush(stdout);
    return stop && !chat->person ? TOOL_SIGNAL + system_stop_signal() : TOOL_DONE;
}

/* ---- commands ----------------------------------------------------------------------------------------------------- */

enum { GO_ON = -1, LEAVE = -2 };

static int show_history(struct chat *chat, const char *rest)
{
    (void)rest;
    if (*chat->system) (void)printf("%s\n", chat->system);
    for (size_t i = 0; i < chat->count; i++)
        (void)printf("%s %s\n%s %s\n", chat->user, chat->turns[i].said, chat->assistant, chat->turns[i].answer);
    return GO_ON;
}

static int forget(struct chat *chat, const char *rest)
{
    (void)rest;
    forget_turns(chat, 0);
    return GO_ON;
}

static int undo(struct chat *chat, const char *rest)
{
    (void)rest;
    if (chat->count) forget_turns(chat, chat->count - 1);
    return GO_ON;
}

static int retry(struct chat *chat, const char *rest)
{
    (void)rest;
    if (!chat->count) return tool_fail(GO_ON, "there is nothing to answer again yet");
    struct turn last = chat->turns[--chat->count];
    size_t before = chat->count;
    chat->seed += 1000003; /* another answer */
    int code = answer(chat, last.said);
    if (chat->count == before) { /* there was none: the one that was stays */
        chat->turns[chat->count++] = last;
    } else {
        free(last.said);
        free(last.answer);
    }
    return code == TOOL_DONE ? GO_ON : code;
}

static int set_system(struct chat *chat, const char *rest)
{
    free(chat->system);
    chat->system = need_memory(strdup(rest));
    return GO_ON;
}

/* 0: the first seed of a new conversation, else the one that is asked for. */
static aios_status take_seed(struct chat *chat)
{
    int64_t seed = 0;
    aios_status status = aios_options_get_int(chat->tool->options, "sample-seed", &seed);
    chat->seed = seed ? (uint64_t)seed : system_seed() % ((uint64_t)1 << 52);
    return status;
}

/* Options are read when a generator is made: another one, of the same model.  One that is refused changes nothing. */
static aios_status change_option(struct chat *chat, const char *name, const char *value)
{
    aios_options *options = NULL;
    aios_generator *other = NULL;
    struct tool *tool = chat->tool;
    const char *before = aios_options_write_json(tool->options);
    aios_status status = aios_options_create(tool->context, tool->command->scope, &options);
    if (status == AIOS_OK && before) status = aios_options_read_json(options, before);
    if (status == AIOS_OK) status = aios_options_set(options, name, value);
    if (status == AIOS_OK) status = aios_generator_create(tool->context, options, &other);
    if (status != AIOS_OK) {
        (void)tool_fail_library(TOOL_USAGE);
        aios_options_destroy(options);
        return status;
    }
    aios_generator_destroy(chat->generator);
    aios_options_destroy(tool->options);
    chat->generator = other;
    tool->options = options;
    return AIOS_OK;
}

static int set_option(struct chat *chat, const char *rest)
{
    char name[64];
    size_t length = strcspn(rest, " ");
    (void)snprintf(name, sizeof name, "%.*s", (int)length, rest);
    while (rest[length] == ' ') length++;
    for (char *at = name; *at; at++) *at = *at == '_' ? '-' : *at;
    if (strcmp(name, "samples") == 0 || strcmp(name, "prompt") == 0)
        return tool_fail(GO_ON, "%s is not for chat, where each line is a prompt with one answer", name);
    if (change_option(chat, name, rest + length) == AIOS_OK && strcmp(name, "sample-seed") == 0) (void)take_seed(chat);
    return GO_ON;
}

static int save(struct chat *chat, const char *rest)
{
    FILE *to = *rest ? fopen(rest, "wbe") : NULL;
    if (!to) return tool_fail(GO_ON, *rest ? "%s can't be written: %s" : "/save needs a file%s%s", rest, *rest ? strerror(errno) : "");
    for (size_t i = 0; i < chat->count; i++)
        print_json_line(
            json_pack("{so so}", "user", json_from_text(chat->turns[i].said), "assistant", json_from_text(chat->turns[i].answer)), to);
    if (fclose(to)) return tool_fail(GO_ON, "%s can't be written: %s", rest, strerror(errno));
    return GO_ON;
}

static int leave(struct chat *chat, const char *rest)
{
    (void)chat, (void)rest;
    return LEAVE;
}

static int show_help(struct chat *chat, const char *rest);

static const struct {
    const char *name, *help;
    int (*run)(struct chat *chat, const char *rest);
} chat_commands[] = {
    {"help", "list these", show_help},
    {"history", "show the conversation so far", show_history},
    {"reset", "forget it", forget},
    {"undo", "forget the last turn", undo},
    {"retry", "answer the last words again, in another way", retry},
    {"system", "TEXT: what stands before the conversation", set_system},
    {"set", "NAME VALUE: change an option, as in /set temperature 0.5", set_option},
    {"save", "FILE: write the conversation as JSON lines", save},
    {"quit", "leave, as the end of the input does", leave},
};

static int show_help(struct chat *chat, const char *rest)
{
    (void)chat, (void)rest;
    for (size_t i = 0; i < COUNT_OF(chat_commands); i++) (void)printf("/%-8s %s\n", chat_commands[i].name, chat_commands[i].help);
    (void)printf("A \\ at the end of a line goes on with the next one; Ctrl-C ends an answer.\n");
    return GO_ON;
}

static int run_line(struct chat *chat, const char *line)
{
    size_t length = strcspn(line, " ");
    if (*line != '/') {
        int code = *line ? answer(chat, line) : TOOL_DONE;
        return code == TOOL_DONE ? GO_ON : code;
    }
    for (size_t i = 0; i < COUNT_OF(chat_commands); i++) {
        if (strlen(chat_commands[i].name) != length - 1 || strncmp(line + 1, chat_commands[i].name, length - 1) != 0) continue;
        while (line[length] == ' ') length++;
        return chat_commands[i].run(chat, line + length);
    }
    return tool_fail(GO_ON, "\"%.*s\" is no command: /help lists them", (int)length, line);
}

/* ---- the conversation --------------------------------------------------------------------------------------------- */

/* What follows on standard input up to the end of the line, without it.  0 at the end of the input. */
static int add_line(struct chat *chat, const char *prompt, struct bytes *line)
{
    char *edited = NULL;
    int c;
    if (chat->person && system_edit_line(prompt, &edited)) {
        if (edited) add_text(line, edited);
        free(edited);
        return edited != NULL;
    }
    if (chat->person) (void)fputs(prompt, stdout);
    (void)fflush(stdout);
    size_t before = line->size;
    while ((c = getchar()) != EOF && c != '\n') bytes_add(line, &(char){(char)c}, 1);
    if (c == '\n' && line->size > before && line->data[line->size - 1] == '\r') line->data[--line->size] = 0;
    return c != EOF || line->size > before;
}

/* A line without its end, joined with the next where it ends in '\'.  0 at the end of the input. */
static int read_line(struct chat *chat, struct bytes *line)
{
    bytes_clear(line);
    for (const char *prompt = "> ";; prompt = "  ") {
        if (!add_line(chat, prompt, line)) return line->size > 0;
        if (line->size == 0 || line->data[line->size - 1] != '\\') return 1;
        line->data[line->size - 1] = '\n';
    }
}

static int converse(struct chat *chat)
{
    struct bytes line = {NULL, 0, 0};
    int code = GO_ON;
    for (int i = 0; i < chat->tool->repeated_count && code == GO_ON; i++)
        if (strcmp(chat->tool->repeated[i].name, "prompt") == 0) code = run_line(chat, chat->tool->repeated[i].value);
    if (chat->person && !tool_quiet(chat->tool)) (void)printf("/help lists what else can be said; /quit or Ctrl-D leaves.\n");
    while (code == GO_ON && !ferror(stdout) && read_line(chat, &line)) code = run_line(chat, line.data);
    bytes_free(&line);
    return code < 0 ? TOOL_DONE : code;
}

/* The model's answer ends where it begins to write the other's words. */
static int set_stops(struct chat *chat)
{
    add_text(&chat->stop_word, "\n");
    add_text(&chat->stop_word, chat->user);
    chat->filter.stops[chat->filter.count++] = chat->stop_word.data;
    return stop_filter_take(&chat->filter, chat->tool);
}

int run_chat(struct tool *tool)
{
    if (aios_options_is_set(tool->options, "samples"))
        return tool_fail(TOOL_USAGE, "--samples is not for chat, which answers once: /retry asks for another answer");
    struct chat chat = {.tool = tool, .user = "User:", .assistant = "Assistant:", .filter = {.pass = pass_text, .user = &chat}};
    if (tool->values[OWN_USER]) chat.user = tool->values[OWN_USER];
    if (tool->values[OWN_ASSISTANT]) chat.assistant = tool->values[OWN_ASSISTANT];
    chat.system = need_memory(strdup(tool->values[OWN_SYSTEM] ? tool->values[OWN_SYSTEM] : ""));
    chat.person = system_is_terminal(stdin) && system_is_terminal(stdout) && !tool_json(tool);
    int code = set_stops(&chat);
    if (code == TOOL_DONE && take_seed(&chat) != AIOS_OK) code = tool_fail_library(TOOL_ERROR);
    if (code == TOOL_DONE) {
        aios_status status = aios_generator_create(tool->context, tool->options, &chat.generator);
        code = status == AIOS_OK ? converse(&chat) : tool_fail_open(tool, status);
    }
    aios_generator_destroy(chat.generator);
    forget_turns(&chat, 0);
    free(chat.turns);
    free(chat.system);
    bytes_free(&chat.answer);
    bytes_free(&chat.prompt);
    bytes_free(&chat.stop_word);
    bytes_free(&chat.filter.held);
    return code;
}
