/* aios generate. */
#include "output.h"
#include "system.h"
#include "tool.h"

#include <aios/trainer.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT_MOST ((size_t)64 << 20)

struct bytes {
    char *data;
    size_t size, capacity;
};

static void add_bytes(struct bytes *to, const char *more, size_t size)
{
    if (to->size + size >= to->capacity) { /* data is never NULL, not even for nothing */
        to->capacity = 2 * (to->size + size) + 4096;
        to->data = need_memory(realloc(to->data, to->capacity));
    }
    if (size) memcpy(to->data + to->size, more, size);
    to->size += size;
}

static volatile sig_atomic_t stop;

static void ask_to_stop(int count)
{
    stop = count;
}

/* Text goes out as it comes; with --json it is kept for the object. */
static int32_t take_text(void *user, const char *text, size_t size)
{
    struct bytes *kept = user;
    if (kept) {
        add_bytes(kept, text, size);
    } else {
        (void)fwrite(text, 1, size, stdout);
        (void)fflush(stdout);
    }
    return stop || ferror(stdout);
}

static int read_prompt(struct tool *tool, struct bytes *prompt)
{
    const char *given = "";
    char part[4096];
    if (aios_options_get_string(tool->options, "prompt", &given) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    if (strcmp(given, "-") != 0) {
        add_bytes(prompt, given, strlen(given));
        return TOOL_DONE;
    }
    for (size_t got; (got = fread(part, 1, sizeof part, stdin)) > 0;) {
        add_bytes(prompt, part, got);
        if (prompt->size > PROMPT_MOST) return tool_fail(TOOL_USAGE, "the prompt on standard input is longer than 64 MiB");
    }
    if (ferror(stdin)) return tool_fail(TOOL_USAGE, "the prompt can't be read from standard input");
    return TOOL_DONE;
}

static void print_sample(const struct bytes *prompt, const struct bytes *text, int64_t index, uint64_t seed)
{
    print_json_line(json_pack("{sI sI so so}", "sample", (json_int_t)index, "seed", (json_int_t)seed, "prompt",
                              json_from_bytes(prompt->data, prompt->size), "text", json_from_bytes(text->data, text->size)),
                    stdout);
}

static int run_samples(struct tool *tool, aios_generator *generator, const struct bytes *prompt)
{
    int64_t samples = 1, given = 0;
    struct bytes text = {NULL, 0, 0};
    int code = TOOL_DONE, json = tool_json(tool);
    if (aios_options_get_int(tool->options, "samples", &samples) != AIOS_OK ||
        aios_options_get_int(tool->options, "sample-seed", &given) != AIOS_OK)
        return tool_fail_library(TOOL_ERROR);
    uint64_t first = given ? (uint64_t)given : system_seed();
    for (int64_t i = 0; i < samples && code == TOOL_DONE && !stop && !ferror(stdout); i++) {
        text.size = 0;
        if (!json) {
            if (i) (void)printf("--------\n");
            (void)fwrite(prompt->data, 1, prompt->size, stdout);
            (void)fflush(stdout);
        }
        aios_status status = aios_generator_run(generator, prompt->data, prompt->size, first + (uint64_t)i, take_text, json ? &text : NULL);
        if (!json) (void)printf("\n");
        if (status != AIOS_OK && !stop)
            code = tool_fail_library(status == AIOS_INVALID_ARGUMENT ? TOOL_USAGE : TOOL_ERROR);
        else if (json)
            print_sample(prompt, &text, i, first + (uint64_t)i);
    }
    free(text.data);
    return code == TOOL_DONE && stop ? TOOL_SIGNAL + system_stop_signal() : code;
}

int run_generate(struct tool *tool)
{
    aios_generator *generator = NULL;
    struct bytes prompt = {NULL, 0, 0};
    int code = read_prompt(tool, &prompt);
    if (code == TOOL_DONE) {
        aios_status status = aios_generator_create(tool->context, tool->options, &generator);
        if (status != AIOS_OK) {
            code = tool_fail_open(tool, status);
        }
    }
    if (code == TOOL_DONE) {
        system_catch_stops(ask_to_stop);
        code = run_samples(tool, generator, &prompt);
        system_release_stops();
    }
    aios_generator_destroy(generator);
    free(prompt.data);
    return code;
}
