/* run_folder.h (internal): the folder of a run: who may write into it, its log and its reports.
 *
 * One process trains into a folder at a time: it holds FOLDER/.lock.  Lines of the log are appended; a resumed run cuts off what
 * a run that died had logged after its checkpoint, so that every step stands there once.  metrics.json and run.json
 * are replaced whole. */
#ifndef AIOS_TRAINER_RUN_FOLDER_H
#define AIOS_TRAINER_RUN_FOLDER_H

#include "base/os.h"
#include <aios/context.h>

struct run_folder {
    aios_context *context;
    char *path, *checkpoints, *log_path;
    os_file lock, log;
    double metrics_written; /* os_now() of the last metrics.json */
    int made;               /* 1: the folder was not there before */
    int follows;            /* 1: another process writes; what is written here is dropped */
    char *tensorboard;      /* folder of event files; NULL: none are written */
    struct event_file *event_file;
    struct gauges *gauges; /* NULL: none are written */
};

/* Makes the folder where missing and takes its lock.  path "": runs/ and the time of day.  log_path "": metrics.jsonl in it.
 * Errors: TIMEOUT where another run holds it, IO. */
aios_status run_folder_open(struct run_folder *folder, aios_context *context, const char *path, const char *log_path);
/* The folder that another process of the run holds: its names alone. */
aios_status run_folder_follow(struct run_folder *folder, aios_context *context, const char *path, const char *log_path);
/* From follower to writer, where the writer is no more.  Errors: as open. */
aios_status run_folder_take_over(struct run_folder *folder);
void run_folder_close(struct run_folder *folder); /* what was zeroed or never opened is fine */
/* Closes it and removes a folder that was made and holds nothing yet.  Keeps the thread's error record. */
void run_folder_discard(struct run_folder *folder);

/* What is logged goes to others, too: tensorboard is a folder of TensorBoard's event files, prometheus a text file of Prometheus; "": not.
 * Before the log is opened. */
aios_status run_folder_mirror(struct run_folder *folder, const char *tensorboard, const char *prometheus);
/* Opens the log to append; with step >= 0 cuts it before the first line of a later step. */
aios_status run_folder_open_log(struct run_folder *folder, int64_t step);
/* One line: {"event": NAME, then the fields of the object json. */
aios_status run_folder_log(struct run_folder *folder, const char *name, const char *json);
aios_status run_folder_sync_log(struct run_folder *folder);

/* Replaces a file of the folder by text and a newline.  Errors: IO. */
aios_status run_folder_put(struct run_folder *folder, const char *name, const char *text);
/* metrics.json, at most once in two seconds unless `now`. */
aios_status run_folder_put_metrics(struct run_folder *folder, const char *json, int now);

/* The offset of the first line whose "step" is above `step`, or of a torn last line; size where there is none. */
size_t run_log_cut(const char *text, size_t size, int64_t step);

#endif
