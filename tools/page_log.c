/* The log of a run, read for a page.  What is missing stays missing: nothing is made up. */
#include "page.h"

#include "output.h"
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MOST ((size_t)16 << 20)

/* ---- points ------------------------------------------------------------------------------------------------------- */

void points_add(struct points *points, double x, double y)
{
    if (!isfinite(x)) return;
    if (points->count == points->capacity) {
        points->capacity = 2 * points->capacity + 256;
        points->x = need_memory(realloc(points->x, points->capacity * sizeof *points->x));
        points->y = need_memory(realloc(points->y, points->capacity * sizeof *points->y));
    }
    points->x[points->count] = x;
    points->y[points->count++] = y;
}

void points_cut(struct points *points, double x)
{
    while (points->count && points->x[points->count - 1] >= x) points->count--;
}

void points_free(struct points *points)
{
    free(points->x);
    free(points->y);
    *points = (struct points){NULL, NULL, 0, 0};
}

/* ---- fields ------------------------------------------------------------------------------------------------------- */

double run_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

const char *run_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static struct run_device *device_of(struct run_log *log, const char *name)
{
    for (int i = 0; i < log->device_count; i++)
        if (strncmp(log->devices[i].name, name, sizeof log->devices[i].name - 1) == 0) return &log->devices[i];
    if (!*name || log->device_count == RUN_DEVICES_MOST) return NULL;
    struct run_device *device = &log->devices[log->device_count++];
    *device = (struct run_device){.units = NAN, .share = NAN, .steps = NAN, .chunks = NAN, .alone = NAN, .dropped_at = NAN};
    (void)snprintf(device->name, sizeof device->name, "%s", name);
    return device;
}

/* A device's place by its name; of several processes a name may come more than once: "cuda:0 (2)" is what the second is called.  -1: none.
 */
static int place_of(struct run_log *log, const char *name, int length, int times)
{
    char text[80];
    int used = snprintf(text, sizeof text, "%.*s", length > 40 ? (int)text_whole(name, 40) : length, name);
    if (times > 1) (void)snprintf(text + used, sizeof text - (size_t)used, " (%d)", times);
    const struct run_device *device = device_of(log, text);
    return device ? (int)(device - log->devices) : -1;
}

/* Who trains from now on, "cuda:0,hip:0" in the order in which events list what is each one's; 1 where others did before. */
static int take_order(struct run_log *log, const char *names)
{
    int order[RUN_DEVICES_MOST] = {0}, count = 0;
    for (const char *at = names; *at && count < RUN_DEVICES_MOST;) {
        int length = (int)strcspn(at, ","), times = 1;
        for (const char *before = names; before < at; before += strcspn(before, ",") + 1)
            times += (int)strcspn(before, ",") == length && strncmp(before, at, (size_t)length) == 0;
        order[count++] = place_of(log, at, length, times);
        at += length + (at[length] == ',');
    }
    int other = count != log->order_count || memcmp(order, log->order, (size_t)count * sizeof *order) != 0;
    log->order_count = count;
    memcpy(log->order, order, (size_t)count * sizeof *order);
    return other;
}

/* What devices do from now on is counted apart from what they did before. */
static void begin_part(struct run_log *log)
{
    for (int i = 0; i < log->device_count; i++) log->devices[i].part = log->devices[i].done.count;
}

/* What was done after a step is done again; NaN: nothing is. */
static void forget_after(struct run_log *log, double step)
{
    if (isfinite(step)) points_cut(&log->totals, step + 0.5);
    for (int i = 0; isfinite(step) && i < log->device_count; i++) points_cut(&log->devices[i].done, step + 0.5);
    begin_part(log);
}

static void add_mark(struct run_log *log, int kind, const json_t *event, const char *text)
{
    double step = run_number(event, "step");
    if (log->mark_count == log->mark_capacity) {
        log->mark_capacity = 2 * log->mark_capacity + 64;
        log->marks = need_memory(realloc(log->marks, log->mark_capacity * sizeof *log->marks));
    }
    log->marks[log->mark_count++] = (struct mark){kind, isfinite(step) ? step : log->step, log->elapsed, need_memory(strdup(text))};
}

/* ---- events ------------------------------------------------------------------------------------------------------- */

static void keep(json_t **place, json_t *event)
{
    json_decref(*place);
    *place = json_incref(event);
}

/* Parts of a step by micro-batches, in the order of the devices that the event names. */
static void take_shares(struct run_log *log, const json_t *event)
{
    const json_t *list = json_object_get(event, "micro_batches");
    double sum = 0;
    memset(log->shares, 0, sizeof log->shares);
    log->shares_known = json_is_array(list) && json_array_size(list) == (size_t)log->order_count;
    for (int i = 0; log->shares_known && i < log->order_count; i++) {
        double own = json_number_value(json_array_get(list, (size_t)i));
        if (!(own > 0)) continue;
        sum += own;
        if (log->order[i] >= 0) log->shares[log->order[i]] += own;
    }
    for (int i = 0; sum > 0 && i < log->device_count; i++) log->shares[i] /= sum;
}

static void take_start(struct run_log *log, json_t *event)
{
    char text[1024];
    int again = log->start != NULL;
    keep(&log->start, event);
    if (json_object_get(event, "train_examples")) log->unit = "puzzles";
    (void)take_order(log, run_text(event, "device"));
    for (int i = 0; i < log->order_count; i++) /* one that was lost is there again */
        if (log->order[i] >= 0) log->devices[log->order[i]].dropped_at = NAN;
    take_shares(log, event);
    forget_after(log, run_number(event, "step"));
    log->restarted = again;
    (void)snprintf(text, sizeof text, "%s on %s", again ? "goes on" : "starts", run_text(event, "device"));
    add_mark(log, MARK_START, event, text);
}

static void take_speed(struct run_log *log, const json_t *event, double speed, double units)
{
    double step = run_number(event, "step");
    struct run_device *device = device_of(log, run_text(event, "device"));
    if (device && units > 0) points_add(&device->work, log->elapsed, units);
    if (device && units > 0) points_add(&device->done, step, units);
    if (device) return; /* each on its own: by time, when all is read */
    points_add(&log->curves[CURVE_SPEED], log->elapsed, speed);
    for (int i = 0; log->shares_known && log->device_count > 1 && i < log->device_count; i++) {
        struct run_device *one = &log->devices[i];
        if (log->shares[i] > 0 || one->speed.count) points_add(&one->speed, log->elapsed, log->shares[i] * speed);
        if (units > 0) points_add(&one->done, step, log->shares[i] * units);
    }
}

static void add_to(struct points *curve, double step, double y)
{
    points_cut(curve, step);
    points_add(curve, step, y);
}

static void take_step(struct run_log *log, json_t *event)
{
    static const struct {
        int curve;
        const char *key;
    } keys[] = {{CURVE_LOSS, "loss"},
                {CURVE_RATE, "lr"},
                {CURVE_GRADIENT, "grad_norm"},
                {CURVE_EXACT, "exact_accuracy"},
                {CURVE_SEGMENTS, "mean_steps"}};
    double step = run_number(event, "step");
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (json_object_get(event, keys[i].key)) add_to(&log->curves[keys[i].curve], step, run_number(event, keys[i].key));
    double batch = run_number(log->start, "batch"), speed = run_number(event, "tokens_per_second"), units = run_number(event, "tokens");
    if (strcmp(log->unit, "puzzles") == 0) {
        units = step * batch;
        if (!isfinite(speed)) speed = run_number(event, "steps_per_second") * batch;
    }
    double before = log->totals.count ? log->totals.y[log->totals.count - 1] : 0;
    if (isfinite(units)) points_add(&log->totals, step, log->units = units);
    take_speed(log, event, speed, units - before);
    keep(&log->last_step, event);
}

static void take_eval(struct run_log *log, const json_t *event)
{
    char text[160], loss[NUMBER_SIZE];
    double step = run_number(event, "step"), accuracy = run_number(event, "accuracy"), exact = run_number(event, "exact_accuracy");
    add_to(&log->curves[CURVE_EVAL_LOSS], step, run_number(event, "loss"));
    if (isfinite(accuracy)) add_to(&log->curves[CURVE_EVAL_ACCURACY], step, accuracy);
    if (isfinite(exact)) add_to(&log->curves[CURVE_EVAL_EXACT], step, exact);
    (void)snprintf(text, sizeof text, "evaluation: loss %s", show_loss(run_number(event, "loss"), loss));
    add_mark(log, MARK_EVAL, event, text);
}

static void take_merge(struct run_log *log, const json_t *event)
{
    char text[512] = "merge of ";
    size_t index, used = strlen(text);
    json_t *name;
    json_array_foreach (json_object_get(event, "devices"), index, name) {
        const char *device = json_string_value(name);
        if (device && used < sizeof text) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", index ? ", " : "", device);
    }
    add_mark(log, MARK_MERGE, event, text);
}

static void take_drop(struct run_log *log, const json_t *event)
{
    char text[1024];
    struct run_device *device = device_of(log, run_text(event, "device"));
    if (device && !isfinite(device->dropped_at)) device->dropped_at = log->elapsed;
    (void)snprintf(text, sizeof text, "%s is dropped: %s", run_text(event, "device"), run_text(event, "message"));
    add_mark(log, MARK_DROP, event, text);
}

static double sum_from(const struct points *points, size_t first)
{
    double sum = 0;
    for (size_t i = first; i < points->count; i++) sum += points->y[i];
    return sum;
}

/* What a device did since its part began, as the run itself counts it: the logged steps were a guess, or are not all. */
static void correct_part(struct run_device *device, double step, double units)
{
    double guess = sum_from(&device->done, device->part);
    if (!isfinite(units) || units < 0) return;
    for (size_t i = device->part; guess > 0 && i < device->done.count; i++) device->done.y[i] *= units / guess;
    if (!(guess > 0) && units > 0) points_add(&device->done, step, units);
}

/* The parts of all, as the run itself counts them: by name, the second of a name being another process's. */
static void take_devices(struct run_log *log, const json_t *event)
{
    size_t index, before;
    json_t *entry, *other, *list = json_object_get(event, "devices");
    double step = run_number(event, "step");
    for (int i = 0; i < log->device_count; i++) log->devices[i].alone = NAN;
    json_array_foreach (list, index, entry) {
        const char *name = run_text(entry, "device");
        int times = 1;
        json_array_foreach (list, before, other) times += before < index && strcmp(run_text(other, "device"), name) == 0;
        int place = place_of(log, name, (int)strlen(name), times);
        if (place < 0) continue;
        struct run_device *device = &log->devices[place];
        correct_part(device, isfinite(step) ? step : log->step, run_number(entry, "tokens"));
        device->steps = run_number(entry, "steps");
        device->chunks = run_number(entry, "chunks");
        device->alone = run_number(entry, "tokens_per_second");
    }
    log->together = run_number(event, "tokens_per_second");
    log->efficiency = run_number(event, "efficiency");
}

/* A device's loss is an event and a warning. */
static int repeats_drop(const struct run_log *log, const char *message)
{
    const struct mark *last = log->mark_count ? &log->marks[log->mark_count - 1] : NULL;
    const char *words = last && last->kind == MARK_DROP ? strstr(last->text, " is dropped") : NULL;
    return words && strncmp(message, last->text, (size_t)(words - last->text) + strlen(" is dropped")) == 0;
}

static void take_other(struct run_log *log, const char *name, const json_t *event)
{
    char text[1200];
    if (strcmp(name, "checkpoint_save") == 0) {
        (void)snprintf(text, sizeof text, "checkpoint %s", run_text(event, "path"));
        add_mark(log, MARK_CHECKPOINT, event, text);
    } else if (strcmp(name, "reform") == 0) {
        (void)snprintf(text, sizeof text, "goes on with %.0f of %.0f devices", run_number(event, "devices"),
                       run_number(event, "devices_before"));
        add_mark(log, MARK_RECOVERY, event, text);
    } else if (strcmp(name, "rewind") == 0) {
        (void)snprintf(text, sizeof text, "goes back from step %.0f to the checkpoint of step %.0f", run_number(event, "from_step"),
                       run_number(event, "step"));
        forget_after(log, run_number(event, "step"));
        add_mark(log, MARK_RECOVERY, event, text);
    } else if (strcmp(name, "balance") == 0) {
        if (json_object_get(event, "device") && take_order(log, run_text(event, "device"))) begin_part(log); /* the run counts anew, too */
        take_shares(log, event);
        add_mark(log, MARK_BALANCE, event, "the devices' shares change");
    } else if (strcmp(name, "warning") == 0 && !repeats_drop(log, run_text(event, "message"))) {
        add_mark(log, MARK_WARNING, event, run_text(event, "message"));
    }
}

/* Seconds of training; a run that counts them anew when it goes on is put behind what there was. */
static void take_time(struct run_log *log, const json_t *event)
{
    double elapsed = run_number(event, "elapsed"), step = run_number(event, "step");
    if (isfinite(elapsed)) {
        if (log->restarted && elapsed + log->offset < log->elapsed) log->offset = log->elapsed;
        log->restarted = 0;
        log->elapsed = elapsed + log->offset > log->elapsed ? elapsed + log->offset : log->elapsed;
    }
    if (isfinite(step)) log->step = step;
}

static void take_event(struct run_log *log, json_t *event)
{
    const char *name = run_text(event, "event");
    int start = strcmp(name, "run_start") == 0;
    if (!start) take_time(log, event);
    if (start)
        take_start(log, event);
    else if (strcmp(name, "step") == 0)
        take_step(log, event);
    else if (strcmp(name, "eval") == 0)
        take_eval(log, event);
    else if (strcmp(name, "merge") == 0)
        take_merge(log, event);
    else if (strcmp(name, "device_dropped") == 0)
        take_drop(log, event);
    else if (strcmp(name, "devices") == 0)
        take_devices(log, event);
    else if (strcmp(name, "training_complete") == 0)
        keep(&log->complete, event);
    else
        take_other(log, name, event);
}

/* ---- after the last ----------------------------------------------------------------------------------------------- */

/* Units per second in equal parts of the time: single steps of devices on their own say nothing about it. */
static void spread_work(const struct run_log *log, const struct points *work, int parts, double *sums, struct points *speed)
{
    double width = log->elapsed / parts;
    double *own = need_memory(calloc((size_t)parts, sizeof *own));
    for (size_t i = 0; i < work->count; i++) {
        int part = (int)(work->x[i] / width);
        own[part < parts ? part : parts - 1] += work->y[i];
    }
    for (int p = 0; p < parts; p++) {
        points_add(speed, (p + 0.5) * width, own[p] / width);
        sums[p] += own[p] / width;
    }
    free(own);
}

static void count_work(struct run_log *log)
{
    size_t events = 0;
    double units = 0;
    for (int i = 0; i < log->device_count; i++) {
        struct run_device *d = &log->devices[i];
        if (d->done.count) units += d->units = sum_from(&d->done, 0);
        events += d->work.count;
    }
    for (int i = 0; i < log->device_count; i++)
        if (isfinite(log->devices[i].units) && units > 0) log->devices[i].share = log->devices[i].units / units;
    int parts = events / 12 > 60 ? 60 : (int)(events / 12);
    if (parts < 2 || !(log->elapsed > 0)) return;
    double *sums = need_memory(calloc((size_t)parts, sizeof *sums));
    for (int i = 0; i < log->device_count; i++)
        if (log->devices[i].work.count) spread_work(log, &log->devices[i].work, parts, sums, &log->devices[i].speed);
    for (int p = 0; p < parts; p++) points_add(&log->curves[CURVE_SPEED], (p + 0.5) * log->elapsed / parts, sums[p]);
    free(sums);
}

/* The model's configuration, from the newest checkpoint that is still there. */
static void read_config(struct run_log *log, const char *folder)
{
    char path[4608];
    for (size_t i = log->mark_count; i-- > 0 && !log->config;) {
        const struct mark *mark = &log->marks[i];
        if (mark->kind != MARK_CHECKPOINT) continue;
        const char *name = strrchr(mark->text, '/');
        (void)snprintf(path, sizeof path, "%s/checkpoints/%s/config.json", folder, name ? name + 1 : mark->text);
        log->config = json_load_file(path, 0, NULL);
    }
}

/* ---- the file ----------------------------------------------------------------------------------------------------- */

static int read_line(FILE *file, char **line, size_t *capacity, size_t *size)
{
    *size = 0;
    for (int c; (c = getc(file)) != EOF && *size < LINE_MOST;) {
        if (*size + 2 > *capacity) *line = need_memory(realloc(*line, *capacity = 2 * *capacity + 4096));
        (*line)[(*size)++] = (char)c;
        if (c == '\n') break;
    }
    return *size > 0;
}

static void read_events(struct run_log *log, FILE *file)
{
    char *line = NULL;
    size_t capacity = 0, size;
    while (read_line(file, &line, &capacity, &size)) {
        json_t *event = json_loadb(line, size, 0, NULL);
        log->lines++;
        if (json_is_object(event))
            take_event(log, event);
        else
            log->unreadable++;
        json_decref(event);
    }
    free(line);
}

static FILE *open_log(struct run_log *log, const char *path, char *folder, size_t size)
{
    char name[4608];
    json_error_t error;
    (void)snprintf(folder, size, "%s", path);
    (void)snprintf(name, sizeof name, "%s/run.json", path);
    log->run = json_load_file(name, 0, &error);
    (void)snprintf(name, sizeof name, "%s/metrics.jsonl", path);
    FILE *file = fopen(name, "rbe");
    const char *elsewhere = run_text(json_object_get(log->run, "options"), "log-file");
    if (!file && *elsewhere) file = fopen(elsewhere, "rbe");
    if (file) return file;
    size_t length = strlen(path);
    if (length < 7 || strcmp(path + length - 6, ".jsonl") != 0) return NULL; /* a folder can be opened, too */
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, size, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    (void)snprintf(name, sizeof name, "%s/run.json", folder);
    json_decref(log->run);
    log->run = json_load_file(name, 0, &error);
    return fopen(path, "rbe");
}

int run_log_read(struct run_log *log, const char *path)
{
    char folder[4096];
    *log = (struct run_log){.unit = "tokens", .together = NAN, .efficiency = NAN, .units = 0, .step = NAN};
    FILE *file = open_log(log, path, folder, sizeof folder);
    if (!file) {
        run_log_free(log);
        return tool_fail(TOOL_USAGE, "%s holds no metrics.jsonl: report needs the folder of a run (its save-dir), or its log", path);
    }
    read_events(log, file);
    (void)fclose(file);
    if (log->lines == log->unreadable) {
        run_log_free(log);
        return tool_fail(TOOL_USAGE, "the log of %s has no event: nothing was trained there yet", path);
    }
    count_work(log);
    read_config(log, folder);
    return TOOL_DONE;
}

void run_log_free(struct run_log *log)
{
    json_decref(log->run);
    json_decref(log->start);
    json_decref(log->complete);
    json_decref(log->last_step);
    json_decref(log->config);
    for (int i = 0; i < CURVES; i++) points_free(&log->curves[i]);
    points_free(&log->totals);
    for (int i = 0; i < log->device_count; i++) {
        points_free(&log->devices[i].work);
        points_free(&log->devices[i].done);
        points_free(&log->devices[i].speed);
    }
    for (size_t i = 0; i < log->mark_count; i++) free(log->marks[i].text);
    free(log->marks);
}
