/* aios eval. */
#include "output.h"
#include "progress.h"
#include "system.h"
#include "tool.h"

#include <aios/trainer.h>

#include <math.h>
#include <string.h>

struct listener {
    struct progress progress;
    json_t *devices; /* [eval_device] */
};

static void take_event(void *user, const char *name, const char *json)
{
    struct listener *listener = user;
    if (strcmp(name, "eval_device") == 0)
        (void)json_array_append_new(listener->devices, json_loads(json, 0, NULL));
    else
        progress_event(&listener->progress, name, json);
}

static void around_log(void *user, int after)
{
    struct listener *listener = user;
    (after ? progress_show : progress_hide)(&listener->progress);
}

static double number_of(const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static void print_devices(const json_t *devices)
{
    struct grid grid = {0, 0, 0, NULL};
    size_t index;
    json_t *event;
    if (json_array_size(devices) < 2) return;
    grid_add(&grid, "Device", "Tokens", "Loss", "Seconds", "Tokens/s", "Loading", "");
    json_array_foreach ((json_t *)(uintptr_t)devices, index, event) {
        char tokens[NUMBER_SIZE], loss[NUMBER_SIZE], seconds[32], speed[NUMBER_SIZE], load[32];
        (void)snprintf(seconds, sizeof seconds, "%.2f", number_of(event, "seconds"));
        (void)snprintf(load, sizeof load, "%.2f s", number_of(event, "load_seconds"));
        grid_add(&grid, json_string_value(json_object_get(event, "device")), show_count((int64_t)number_of(event, "tokens"), tokens),
                 show_loss(number_of(event, "loss"), loss), seconds, show_short(number_of(event, "tokens_per_second"), speed), load,
                 json_is_null(json_object_get(event, "error")) ? "" : "failed");
    }
    (void)printf("\n");
    grid_print(&grid, stdout);
    grid_free(&grid);
}

static void print_text(const aios_evaluation *e)
{
    char number[NUMBER_SIZE];
    if (!e->tokens) return; /* stopped before the first micro-batch */
    if (e->questions) {
        (void)printf("questions      %s\n", show_count(e->questions, number));
        (void)printf("acc            %.2f %% of the right choices have the greatest log-likelihood\n", 100 * e->choice_accuracy);
        (void)printf("acc_norm       %.2f %% by log-likelihood per character\n", 100 * e->choice_accuracy_norm);
    }
    (void)printf("tokens         %s%s\n", show_count(e->tokens, number), e->questions ? " of right choices" : "");
    (void)printf("loss           %s nats per token\n", show_loss(e->loss, number));
    (void)printf("perplexity     %.4g\n", e->perplexity);
    if (isfinite(e->accuracy)) (void)printf("accuracy       %.2f %% of the next tokens\n", 100 * e->accuracy);
    if (isfinite(e->exact_accuracy))
        (void)printf("exact          %.2f %% of %s %s, every token right\n", 100 * e->exact_accuracy, show_count(e->samples, number),
                     e->questions ? "answers" : "samples");
    if (isfinite(e->nats_per_byte) && e->nats_per_byte > 0)
        (void)printf("nats per byte  %.4f (%.4f bits)\n", e->nats_per_byte, e->nats_per_byte / 0.69314718055994531);
}

static json_t *report(const aios_evaluation *e, json_t *devices, int stopped)
{
    json_t *all = json_pack("{sI so so so so so sI sO sb}", "tokens", (json_int_t)e->tokens, "loss", json_from_number(e->loss),
                            "perplexity", json_from_number(e->perplexity), "accuracy", json_from_number(e->accuracy), "exact_accuracy",
                            json_from_number(e->exact_accuracy), "nats_per_byte", json_from_number(e->nats_per_byte), "samples",
                            (json_int_t)e->samples, "devices", devices, "stopped", stopped);
    if (e->questions)
        (void)json_object_update_new(need_memory(all), json_pack("{sI so so}", "questions", (json_int_t)e->questions, "acc",
                                                                 json_from_number(e->choice_accuracy), "acc_norm",
                                                                 json_from_number(e->choice_accuracy_norm)));
    return need_memory(all);
}

int run_eval(struct tool *tool)
{
    struct listener listener = {.devices = need_memory(json_array())};
    aios_evaluation e = {.struct_size = sizeof e};
    int code = TOOL_DONE;
    progress_init_aside(&listener.progress, tool);
    tool_listen(tool, take_event, around_log, &listener);
    aios_status status = aios_evaluate_until(tool->context, tool->options, system_catch_first_stop(), &e);
    system_release_stops();
    tool_listen(tool, NULL, NULL, NULL);
    progress_hide(&listener.progress);
    if (status == AIOS_STOPPED) code = tool_fail_library(TOOL_SIGNAL + system_stop_signal());
    if (status != AIOS_OK && status != AIOS_STOPPED) {
        code = tool_fail_open(tool, status);
    } else if (tool_json(tool)) {
        print_json(report(&e, listener.devices, status == AIOS_STOPPED), stdout);
    } else {
        print_text(&e);
        print_devices(listener.devices);
    }
    json_decref(listener.devices);
    return code;
}
