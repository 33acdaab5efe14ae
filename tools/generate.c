/* aios generate. */
#include "output.h"
#include "system.h"
#include "texts.h"
#include "tool.h"

#include <aios/trainer.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_PROMPTS, OWN_STOP }; /* the order of generate_flags */

#define PROMPT_MOST ((size_t)64 << 20)

static volatile sig_atomic_t stop;

static void ask_to_stop(int count)
{
    stop = count;
}

struct sample {
    const struct bytes *prompt;
    struct bytes text; /* with --json: kept for the object */
    struct stop_filter filter;
    int json, shown; /* shown: the prompt was printed */
};

/* Not before the first of the text: a prompt that is refused isn't repeated. */
static void show_prompt(struct sample *sample)
{
    if (!sample->shown) (void)fwrite(sample->prompt->data, 1, sample->prompt->size, stdout);
    sample->shown = 1;
}

/* Text goes out as it comes. */
static void pass_text(void *user, const char *text, size_t size)
{
    struct sample *sample = user;
    if (sample->json) {
        bytes_add(&sample->text, text, size);
    } else {
        show_prompt(sample);
        (void)fwrite(text, 1, size, stdout);
        (void)fflush(stdout);
    }
}

static int32_t take_text(void *user, const char *text, size_t size)
{
    struct sample *sample = user;
    return stop_filter_add(&sample->filter, text, size) || stop || ferror(stdout);
}

/* ---- prompts ------------------------------------------------------------------------------------------------------ */

struct prompts {
    struct bytes *list;
    int64_t count, capacity;
};

static struct bytes *add_prompt(struct prompts *prompts, const char *text, size_t size)
{
    if (prompts->count == prompts->capacity) {
        prompts->capacity = 2 * prompts->capacity + 16;
        prompts->list = need_memory(realloc(prompts->list, (size_t)prompts->capacity * sizeof *prompts->list));
    }
    struct bytes *prompt = &prompts->list[prompts->count++];
    *prompt = (struct bytes){NULL, 0, 0};
    bytes_add(prompt, text, size);
    return prompt;
}

static int read_all(FILE *file, const char *name, struct bytes *to)
{
    char part[4096];
    for (size_t got; (got = fread(part, 1, sizeof part, file)) > 0;) {
        bytes_add(to, part, got);
        if (to->size > PROMPT_MOST) return tool_fail(TOOL_USAGE, "%s is longer than 64 MiB", name);
    }
    if (ferror(file)) return tool_fail(TOOL_USAGE, "%s can't be read", name);
    return TOOL_DONE;
}

/* A line is a prompt, as it is, or JSON: a text, or an object with "prompt". */
static int add_line(struct prompts *prompts, const char *line, size_t size, int json)
{
    if (!json) {
        (void)add_prompt(prompts, line, size);
        return TOOL_DONE;
    }
    json_t *value = json_loadb(line, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL),
           *text = json_is_object(value) ? json_object_get(value, "prompt") : value;
    int good = json_is_string(text);
    if (good) (void)add_prompt(prompts, json_string_value(text), json_string_length(text));
    json_decref(value);
    return good ? TOOL_DONE : TOOL_USAGE;
}

static int read_lines(struct prompts *prompts, const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (!file) return tool_fail(TOOL_USAGE, "--prompts %s can't be opened: it must be a file with a prompt on each line", path);
    struct bytes text = {NULL, 0, 0};
    size_t length = strlen(path);
    int json = length > 6 && strcmp(path + length - 6, ".jsonl") == 0, number = 0;
    int code = read_all(file, path, &text);
    if (file != stdin) (void)fclose(file);
    size_t at = text.size >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* the mark of UTF-8 */
    for (size_t size, next; at < text.size && code == TOOL_DONE; at = next) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        size = end ? (size_t)(end - text.data) - at : text.size - at;
        next = at + size + 1;
        number++;
        if (size && text.data[at + size - 1] == '\r') size--;
        if (size && add_line(prompts, text.data + at, size, json))
            code = tool_fail(TOOL_USAGE, "%s, line %d: a JSON text or an object with \"prompt\" is wanted", path, number);
    }
    bytes_free(&text);
    if (code == TOOL_DONE && prompts->count == 0)
        code = tool_fail(TOOL_USAGE, "--prompts %s has no prompt: one on each line is wanted", path);
    return code;
}

/* Those of --prompt and of --prompts; where there is none, the option's. */
static int read_prompts(struct tool *tool, struct prompts *prompts)
{
    const char *given = "";
    int code = TOOL_DONE;
    for (int i = 0; i < tool->repeated_count && code == TOOL_DONE; i++) {
        if (strcmp(tool->repeated[i].name, "prompt") != 0) continue;
        given = tool->repeated[i].value;
        int from_input = strcmp(given, "-") == 0;
        struct bytes *prompt = add_prompt(prompts, given, from_input ? 0 : strlen(given));
        if (from_input) code = read_all(stdin, "the prompt on standard input", prompt);
    }
    if (code == TOOL_DONE && tool->values[OWN_PROMPTS]) code = read_lines(prompts, tool->values[OWN_PROMPTS]);
    if (code != TOOL_DONE || prompts->count) return code;
    if (aios_options_get_string(tool->options, "prompt", &given) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    (void)add_prompt(prompts, given, strlen(given));
    return TOOL_DONE;
}

/* ---- samples ------------------------------------------------------------------------------------------------------ */

static void finish_sample(struct sample *sample, int64_t index, uint64_t seed)
{
    stop_filter_end(&sample->filter);
    if (!sample->json) {
        show_prompt(sample);
        (void)printf("\n");
        return;
    }
    print_json_line(json_pack("{sI sI so so ss}", "sample", (json_int_t)index, "seed", (json_int_t)seed, "prompt",
                              json_from_bytes(sample->prompt->data, sample->prompt->size), "text",
                              json_from_bytes(sample->text.data, sample->text.size), "stopped_by", sample->filter.met ? "stop" : "end"),
                    stdout);
}

static int run_samples(struct tool *tool, aios_generator *generator, struct sample *sample, const struct prompts *prompts)
{
    int64_t samples = 1, given = 0, done = 0;
    int code = TOOL_DONE;
    if (aios_options_get_int(tool->options, "samples", &samples) != AIOS_OK ||
        aios_options_get_int(tool->options, "sample-seed", &given) != AIOS_OK)
        return tool_fail_library(TOOL_ERROR);
    uint64_t first = given ? (uint64_t)given : system_seed();
    for (; done < samples * prompts->count && code == TOOL_DONE && !stop && !ferror(stdout); done++) {
        uint64_t seed = first + (uint64_t)(done % samples);
        sample->prompt = &prompts->list[done / samples];
        sample->shown = 0;
        bytes_clear(&sample->text);
        stop_filter_begin(&sample->filter);
        if (done && !sample->json) (void)printf("--------\n");
        aios_status status = aios_generator_run(generator, sample->prompt->data, sample->prompt->size, seed, take_text, sample);
        if (status == AIOS_OK)
            finish_sample(sample, done % samples, seed);
        else
            code = tool_fail_library(status == AIOS_INVALID_ARGUMENT ? TOOL_USAGE : TOOL_ERROR);
    }
    return code == TOOL_DONE && stop ? TOOL_SIGNAL + system_stop_signal() : code;
}

int run_generate(struct tool *tool)
{
    aios_generator *generator = NULL;
    struct prompts prompts = {NULL, 0, 0};
    struct sample sample = {.json = tool_json(tool), .filter = {.pass = pass_text, .user = &sample}};
    int code = read_prompts(tool, &prompts);
    if (code == TOOL_DONE) code = stop_filter_take(&sample.filter, tool);
    if (code == TOOL_DONE) {
        aios_status status = aios_generator_create(tool->context, tool->options, &generator);
        if (status != AIOS_OK) code = tool_fail_open(tool, status);
    }
    if (code == TOOL_DONE) {
        system_catch_stops(ask_to_stop);
        code = run_samples(tool, generator, &sample, &prompts);
        system_release_stops();
    }
    aios_generator_destroy(generator);
    for (int64_t i = 0; i < prompts.count; i++) bytes_free(&prompts.list[i]);
    free(prompts.list);
    bytes_free(&sample.text);
    bytes_free(&sample.filter.held);
    return code;
}
