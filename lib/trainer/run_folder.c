#include "run_folder.h"

#include "base/context.h"
#include "base/json.h"
#include "base/text.h"
#include "event_file.h"
#include "gauges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_SECONDS 2.0
#define RUNS_MOST       1000 /* in one second of the day */

static char *join(aios_context *context, const char *folder, const char *name)
{
    text_buffer path;
    text_init(&path, context);
    (void)text_format(&path, "%s/%s", folder, name);
    if (path.status != AIOS_OK) text_free(&path);
    return path.bytes;
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

/* runs/20261121-081500, with -2 and so on behind it where that is taken. */
static aios_status make_own(struct run_folder *folder)
{
    char time[32], digits[16], path[64];
    size_t count = 0;
    os_time_text(os_wall_time(), time); /* 2026-11-21T08:15:00Z */
    for (const char *at = time; *at && count < 14; at++)
        if (*at >= '0' && *at <= '9') digits[count++] = *at;
    digits[count] = 0;
    TRY(os_folder_create("runs"), "making a folder for the run");
    for (int i = 1; i <= RUNS_MOST; i++) {
        int length = snprintf(path, sizeof path, "runs/%.8s-%s", digits, digits + 8);
        if (i > 1) (void)snprintf(path + length, sizeof path - (size_t)length, "-%d", i);
        aios_status status = os_folder_create_new(path);
        if (status == AIOS_ALREADY_EXISTS) continue;
        if (status != AIOS_OK) return aios_error_add_frame(status, "making a folder for the run");
        folder->made = 1;
        folder->path = aios_memory_strdup(folder->context, path);
        return folder->path ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    }
    return FAIL(AIOS_ALREADY_EXISTS, "%s and its like are all there: name a folder with save-dir", path);
}

static aios_status take_lock(struct run_folder *folder)
{
    char *path = join(folder->context, folder->path, ".lock");
    if (!path) return AIOS_OUT_OF_MEMORY;
    aios_status status = os_lock_take(path, 0, &folder->lock);
    aios_memory_free(folder->context, path);
    if (status == AIOS_TIMEOUT)
        return FAIL(AIOS_TIMEOUT, "another run is training into %s: wait for it, stop it, or name another save-dir", folder->path);
    if (status != AIOS_UNSUPPORTED) return status;
    aios_log(folder->context, AIOS_LOG_WARNING, "%s lies on a file system without locks: see to it that one run at a time writes there",
             folder->path);
    return AIOS_OK;
}

static aios_status make_folder(struct run_folder *folder, const char *path)
{
    if (!*path) return make_own(folder);
    folder->path = aios_memory_strdup(folder->context, path);
    if (!folder->path) return AIOS_OUT_OF_MEMORY;
    os_path_trim(folder->path);
    folder->made = os_path_kind(path) == OS_NOTHING;
    TRY(os_folder_create(path), "making the folder of the run");
    return AIOS_OK;
}

static aios_status name_files(struct run_folder *folder, const char *log_path)
{
    aios_context *context = folder->context;
    folder->checkpoints = join(context, folder->path, "checkpoints");
    folder->log_path = *log_path ? aios_memory_strdup(context, log_path) : join(context, folder->path, "metrics.jsonl");
    if (!folder->checkpoints || !folder->log_path) return AIOS_OUT_OF_MEMORY;
    return AIOS_OK;
}

aios_status run_folder_open(struct run_folder *folder, aios_context *context, const char *path, const char *log_path)
{
    *folder = (struct run_folder){.context = context, .lock = OS_FILE_CLOSED, .log = OS_FILE_CLOSED, .metrics_written = -1e9};
    aios_status status = make_folder(folder, path);
    if (status == AIOS_OK) status = name_files(folder, log_path);
    if (status == AIOS_OK) status = take_lock(folder);
    if (status != AIOS_OK) run_folder_close(folder);
    return status;
}

aios_status run_folder_follow(struct run_folder *folder, aios_context *context, const char *path, const char *log_path)
{
    *folder = (struct run_folder){.context = context, .lock = OS_FILE_CLOSED, .log = OS_FILE_CLOSED, .metrics_written = -1e9, .follows = 1};
    folder->path = aios_memory_strdup(context, path);
    return folder->path ? name_files(folder, log_path) : AIOS_OUT_OF_MEMORY;
}

aios_status run_folder_take_over(struct run_folder *folder)
{
    TRY_QUIET(take_lock(folder));
    folder->follows = 0;
    return AIOS_OK;
}

void run_folder_close(struct run_folder *folder)
{
    if (!folder->context) return;
    os_file_close(&folder->log);
    os_lock_release(&folder->lock);
    aios_memory_free(folder->context, folder->path);
    aios_memory_free(folder->context, folder->checkpoints);
    aios_memory_free(folder->context, folder->log_path);
    event_file_close(folder->event_file);
    gauges_close(folder->gauges);
    aios_memory_free(folder->context, folder->tensorboard);
    folder->path = folder->checkpoints = folder->log_path = folder->tensorboard = NULL;
    folder->event_file = NULL;
    folder->gauges = NULL;
    folder->context = NULL;
}

void run_folder_discard(struct run_folder *folder)
{
    aios_error_record record;
    if (!folder->context) return;
    aios_error_save(&record);
    char *lock = folder->made ? join(folder->context, folder->path, ".lock") : NULL;
    if (lock) {
        os_file_close(&folder->log);
        if (os_remove(lock) == AIOS_OK) (void)os_remove(folder->path);
        aios_memory_free(folder->context, lock);
    }
    run_folder_close(folder);
    (void)aios_error_restore(&record);
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

static int is_later(const char *line, size_t size, int64_t step)
{
    static const char key[] = "\"step\": ";
    for (size_t at = 0; at + sizeof key - 1 < size; at++) {
        int64_t value = 0;
        if (memcmp(line + at, key, sizeof key - 1) != 0) continue;
        for (at += sizeof key - 1; at < size && line[at] >= '0' && line[at] <= '9' && value < INT64_MAX / 10 - 1; at++)
            value = value * 10 + (line[at] - '0');
        return value > step;
    }
    return 0;
}

size_t run_log_cut(const char *text, size_t size, int64_t step)
{
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        if (!end || is_later(text + at, (size_t)(end - text) - at, step)) return at;
        at = (size_t)(end - text) + 1;
    }
    return size;
}

static aios_status cut_log(struct run_folder *folder, int64_t step)
{
    os_map map;
    uint64_t length;
    size_t keep;
    if (os_path_kind(folder->log_path) != OS_FILE) return AIOS_OK;
    TRY_QUIET(os_map_open(folder->log_path, &map));
    keep = run_log_cut((const char *)map.address, map.size, step);
    os_map_close(&map);
    TRY_QUIET(os_file_length(folder->log, &length));
    return keep < length ? os_file_truncate(folder->log, keep) : AIOS_OK;
}

aios_status run_folder_mirror(struct run_folder *folder, const char *tensorboard, const char *prometheus)
{
    const char *slash = strrchr(folder->path, '/');
    if (*tensorboard && !(folder->tensorboard = aios_memory_strdup(folder->context, tensorboard))) return AIOS_OUT_OF_MEMORY;
    return *prometheus ? gauges_open(folder->context, prometheus, slash && slash[1] ? slash + 1 : folder->path, &folder->gauges) : AIOS_OK;
}

/* One of its own for each time that the log is opened: readers put them together. */
static aios_status open_event_file(struct run_folder *folder, int64_t step)
{
    if (!folder->tensorboard) return AIOS_OK;
    event_file_close(folder->event_file);
    folder->event_file = NULL;
    return event_file_open(folder->context, folder->tensorboard, step, &folder->event_file);
}

/* The folder of a log that is not the run's own. */
static aios_status make_parent(const struct run_folder *folder)
{
    const char *slash = strrchr(folder->log_path, '/');
    char *parent = slash && slash > folder->log_path ? aios_memory_strdup(folder->context, folder->log_path) : NULL;
    if (!parent) return slash && slash > folder->log_path ? AIOS_OUT_OF_MEMORY : AIOS_OK;
    parent[slash - folder->log_path] = 0;
    aios_status status = os_folder_create(parent);
    aios_memory_free(folder->context, parent);
    return status;
}

aios_status run_folder_open_log(struct run_folder *folder, int64_t step)
{
    if (folder->follows) return AIOS_OK;
    os_file_close(&folder->log);
    TRY(make_parent(folder), "making the folder of the log %s", folder->log_path);
    TRY(os_file_append(folder->log_path, &folder->log), "opening the log of the run");
    if (step >= 0) TRY(cut_log(folder, step), "cutting the log %s after step %lld", folder->log_path, (long long)step);
    return open_event_file(folder, step);
}

/* To what mirrors the log. */
static aios_status mirror(struct run_folder *folder, const char *name, const char *json)
{
    json_t *fields;
    if (!folder->event_file && !folder->gauges) return AIOS_OK;
    TRY_QUIET(json_parse(json, strlen(json), name, NULL, &fields));
    aios_status status = folder->event_file ? event_file_add(folder->event_file, name, fields) : AIOS_OK;
    if (status == AIOS_OK && folder->gauges) status = gauges_add(folder->gauges, name, fields);
    json_decref(fields);
    return status;
}

aios_status run_folder_log(struct run_folder *folder, const char *name, const char *json)
{
    text_buffer line;
    if (folder->follows) return AIOS_OK;
    text_init(&line, folder->context);
    (void)text_format(&line, "{\"event\": \"%s\"%s", name, json[1] == '}' ? "" : ", ");
    (void)text_add(&line, json + 1);
    (void)text_add(&line, "\n");
    aios_status status = line.status;
    if (status == AIOS_OK) status = os_file_write(folder->log, line.bytes, line.size);
    text_free(&line);
    if (status != AIOS_OK) return aios_error_add_frame(status, "writing %s", folder->log_path);
    return mirror(folder, name, json);
}

aios_status run_folder_sync_log(struct run_folder *folder)
{
    if (folder->follows) return AIOS_OK;
    TRY(os_file_sync(folder->log), "writing %s", folder->log_path);
    return AIOS_OK;
}

/* ---- reports ----------------------------------------------------------------------------------------------------- */

aios_status run_folder_put(struct run_folder *folder, const char *name, const char *text)
{
    if (folder->follows) return AIOS_OK;
    char *path = join(folder->context, folder->path, name);
    text_buffer whole;
    text_init(&whole, folder->context);
    (void)text_add(&whole, text);
    (void)text_add(&whole, "\n");
    aios_status status = path ? whole.status : AIOS_OUT_OF_MEMORY;
    if (status == AIOS_OK) status = os_file_replace(path, whole.bytes, whole.size);
    text_free(&whole);
    aios_memory_free(folder->context, path);
    return status;
}

aios_status run_folder_put_metrics(struct run_folder *folder, const char *json, int now)
{
    double time = os_now();
    if (folder->follows) return AIOS_OK;
    if (!now && time - folder->metrics_written < METRICS_SECONDS) return AIOS_OK;
    folder->metrics_written = time;
    return run_folder_put(folder, "metrics.json", json);
}
