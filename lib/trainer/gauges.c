#include "gauges.h"

#include "base/context.h"
#include "base/os.h"
#include "base/text.h"

#include <math.h>
#include <string.h>

#define SECONDS_BETWEEN 2.0
#define DEVICES_MOST    64

enum { KIND_VALUE, KIND_COUNT, KIND_TIME }; /* the field's number; how many such events; when the newest came */

static const struct metric {
    const char *event, *field, *name, *type, *help;
    int kind;
} metrics[] = {
    {"run_start", "parameters", "aios_model_parameters", "gauge", "Parameters of the model.", KIND_VALUE},
    {"run_start", "steps", "aios_steps_planned", "gauge", "Steps of the whole run.", KIND_VALUE},
    {"step", "step", "aios_step", "gauge", "Optimizer steps that are done.", KIND_VALUE},
    {"step", "epoch", "aios_epoch", "gauge", "Epoch of the newest step, from 0.", KIND_VALUE},
    {"step", "loss", "aios_loss", "gauge", "Training loss of the newest step, in nats.", KIND_VALUE},
    {"step", "lr", "aios_learning_rate", "gauge", "Learning rate of the newest step.", KIND_VALUE},
    {"step", "grad_norm", "aios_gradient_norm", "gauge", "2-norm of the newest gradient before clipping.", KIND_VALUE},
    {"step", "loss_scale", "aios_loss_scale", "gauge", "Scale of the loss in 16-mixed.", KIND_VALUE},
    {"step", "skipped", "aios_skipped_steps", "gauge", "Steps that were left out since their gradient was not finite.", KIND_VALUE},
    {"step", "tokens", "aios_tokens", "gauge", "Tokens that were trained on since step 0.", KIND_VALUE},
    {"step", "tokens_per_second", "aios_tokens_per_second", "gauge", "Tokens per second of the newest steps.", KIND_VALUE},
    {"step", "steps_per_second", "aios_steps_per_second", "gauge", "Steps per second of the newest steps.", KIND_VALUE},
    {"step", "exact_accuracy", "aios_exact_accuracy", "gauge", "Part of the puzzles of the newest steps that were solved.", KIND_VALUE},
    {"step", "elapsed", "aios_training_seconds", "gauge", "Seconds of training.", KIND_VALUE},
    {"step", "eta", "aios_remaining_seconds", "gauge", "Seconds that the run will still take at this speed.", KIND_VALUE},
    {"eval", "step", "aios_eval_step", "gauge", "Step of the newest evaluation.", KIND_VALUE},
    {"eval", "loss", "aios_eval_loss", "gauge", "Loss of the newest evaluation, in nats.", KIND_VALUE},
    {"eval", "accuracy", "aios_eval_accuracy", "gauge", "Part of the tokens that the newest evaluation had right.", KIND_VALUE},
    {"eval", "exact_accuracy", "aios_eval_exact_accuracy", "gauge", "Part of the puzzles that the newest evaluation solved.", KIND_VALUE},
    {"checkpoint_save", "step", "aios_checkpoint_step", "gauge", "Step of the newest checkpoint.", KIND_VALUE},
    {"checkpoint_save", "", "aios_checkpoint_timestamp_seconds", "gauge", "When the newest checkpoint was written.", KIND_TIME},
    {"checkpoint_save", "", "aios_checkpoints_total", "counter", "Checkpoints that this process wrote.", KIND_COUNT},
    {"merge", "", "aios_merges_total", "counter", "Merges of devices that train on their own.", KIND_COUNT},
    {"device_dropped", "", "aios_devices_dropped_total", "counter", "Devices that failed and were left out.", KIND_COUNT},
    {"warning", "", "aios_warnings_total", "counter", "Warnings.", KIND_COUNT},
};

struct gauges {
    aios_context *context;
    char *path, *run, *model, *strategy, *precision;
    double values[COUNT_OF(metrics)];
    int known[COUNT_OF(metrics)];
    int active;
    double written; /* os_now() */
    char devices[DEVICES_MOST][32];
    int up[DEVICES_MOST], device_count;
};

/* ---- what is known ------------------------------------------------------------------------------------------------ */

static void take_text(struct gauges *g, char **to, const json_t *fields, const char *key)
{
    const char *text = json_string_value(json_object_get(fields, key));
    aios_memory_free(g->context, *to);
    *to = aios_memory_strdup(g->context, text ? text : "");
}

static void take_devices(struct gauges *g, const char *names)
{
    g->device_count = 0;
    while (names && *names && g->device_count < DEVICES_MOST) {
        size_t length = strcspn(names, ",");
        int again = 0;
        char *to = g->devices[g->device_count];
        (void)snprintf(to, sizeof g->devices[0], "%.*s", length < 31 ? (int)length : 31, names);
        for (int i = 0; i < g->device_count; i++) again |= strcmp(g->devices[i], to) == 0; /* of another process: one line has room */
        g->up[g->device_count] = 1;
        g->device_count += !again;
        names += length + (names[length] == ',');
    }
}

static void take_event(struct gauges *g, const char *name, const json_t *fields)
{
    for (size_t i = 0; i < COUNT_OF(metrics); i++) {
        const struct metric *m = &metrics[i];
        const json_t *value = json_object_get(fields, m->field);
        if (strcmp(m->event, name) != 0 || (m->kind == KIND_VALUE && !value)) continue;
        double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
        g->values[i] = m->kind == KIND_VALUE ? number : m->kind == KIND_TIME ? os_wall_time() : g->values[i] + 1;
        g->known[i] = 1;
    }
    if (strcmp(name, "run_start") == 0) {
        take_text(g, &g->model, fields, "model");
        take_text(g, &g->strategy, fields, "strategy");
        take_text(g, &g->precision, fields, "precision");
        take_devices(g, json_string_value(json_object_get(fields, "device")));
        g->active = 1;
    } else if (strcmp(name, "device_dropped") == 0) {
        const char *device = json_string_value(json_object_get(fields, "device"));
        for (int i = 0; device && i < g->device_count; i++)
            if (strcmp(g->devices[i], device) == 0) g->up[i] = 0;
    } else if (strcmp(name, "training_complete") == 0) {
        g->active = 0;
    }
}

/* ---- the file ----------------------------------------------------------------------------------------------------- */

static void put_label(text_buffer *to, const char *name, const char *value)
{
    (void)text_format(to, "%s=\"", name);
    for (const char *at = value ? value : ""; *at; at++) {
        char plain[2] = {*at, 0};
        (void)text_add(to, *at == '\\' ? "\\\\" : *at == '"' ? "\\\"" : *at == '\n' ? "\\n" : plain);
    }
    (void)text_add(to, "\"");
}

static void put_head(text_buffer *to, const char *name, const char *type, const char *help)
{
    (void)text_format(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_line(const struct gauges *g, text_buffer *to, const char *name, const char *label, const char *text, double value)
{
    (void)text_format(to, "%s{", name);
    put_label(to, "run", g->run);
    if (label) (void)text_add(to, ",");
    if (label) put_label(to, label, text);
    (void)text_add(to, "} ");
    if (isfinite(value))
        (void)text_add_double(to, value);
    else
        (void)text_add(to, "NaN");
    (void)text_add(to, "\n");
}

static void put_all(const struct gauges *g, text_buffer *to)
{
    put_head(to, "aios_run_info", "gauge", "What the run is.");
    (void)text_add(to, "aios_run_info{");
    put_label(to, "run", g->run);
    const char *const labels[][2] = {
        {"model", g->model}, {"strategy", g->strategy}, {"precision", g->precision}, {"version", aios_version()}};
    for (size_t i = 0; i < COUNT_OF(labels); i++) {
        (void)text_add(to, ",");
        put_label(to, labels[i][0], labels[i][1]);
    }
    (void)text_add(to, "} 1\n");
    put_head(to, "aios_run_active", "gauge", "1 while the run trains, 0 after its end.");
    put_line(g, to, "aios_run_active", NULL, NULL, g->active);
    put_head(to, "aios_last_update_timestamp_seconds", "gauge",
             "When this file was written: an old time with aios_run_active 1 is a dead run.");
    put_line(g, to, "aios_last_update_timestamp_seconds", NULL, NULL, os_wall_time());
    for (size_t i = 0; i < COUNT_OF(metrics); i++) {
        if (!g->known[i] && metrics[i].kind != KIND_COUNT) continue;
        put_head(to, metrics[i].name, metrics[i].type, metrics[i].help);
        put_line(g, to, metrics[i].name, NULL, NULL, g->values[i]);
    }
    if (g->device_count) put_head(to, "aios_device_up", "gauge", "1 for a device that trains, 0 for one that was left out.");
    for (int i = 0; i < g->device_count; i++) put_line(g, to, "aios_device_up", "device", g->devices[i], g->up[i]);
}

static aios_status write_file(struct gauges *g)
{
    text_buffer text;
    text_init(&text, g->context);
    put_all(g, &text);
    aios_status status = text.status;
    if (status == AIOS_OK) status = os_file_replace(g->path, text.bytes, text.size);
    text_free(&text);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "writing the file of option prometheus");
}

/* These come again and again; what is rare may be followed by a long silence, and is written at once. */
static int is_frequent(const char *name)
{
    static const char *const frequent[] = {"step", "chunk_complete", "merge"};
    for (size_t i = 0; i < COUNT_OF(frequent); i++)
        if (strcmp(name, frequent[i]) == 0) return 1;
    return 0;
}

aios_status gauges_add(struct gauges *g, const char *name, const json_t *fields)
{
    double now = os_now();
    take_event(g, name, fields);
    if (is_frequent(name) && now - g->written < SECONDS_BETWEEN) return AIOS_OK;
    g->written = now;
    return write_file(g);
}

aios_status gauges_open(aios_context *context, const char *path, const char *run, struct gauges **gauges)
{
    struct gauges *g = aios_new(context, struct gauges);
    *gauges = NULL;
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->context = context;
    g->written = -1e9;
    g->path = aios_memory_strdup(context, path);
    g->run = aios_memory_strdup(context, run);
    if (!g->path || !g->run) {
        gauges_close(g);
        return AIOS_OUT_OF_MEMORY;
    }
    *gauges = g;
    return AIOS_OK;
}

void gauges_close(struct gauges *g)
{
    if (!g) return;
    char *const texts[] = {g->path, g->run, g->model, g->strategy, g->precision};
    for (size_t i = 0; i < COUNT_OF(texts); i++) aios_memory_free(g->context, texts[i]);
    aios_memory_free(g->context, g);
}
