/* event_file.h (internal): a run's numbers as TensorBoard reads them.
 *
 * A file events.out.tfevents.TIME.aios.PROCESS in the folder: records of TensorFlow's TFRecord (length, masked CRC-32C of it, the bytes,
 * masked CRC-32C of these), each an Event of tensorflow/core/util/event.proto, encoded by hand: wall_time = 1, step = 2, file_version = 3,
 * summary = 5 (Value = 1: tag = 1, simple_value = 2), session_log = 7 (status = 1: START = 1).  Numbers of "step" events have the tags
 * train/NAME, those of "eval" events eval/NAME. */
#ifndef AIOS_TRAINER_EVENT_FILE_H
#define AIOS_TRAINER_EVENT_FILE_H

#include "base/error.h"
#include <aios/context.h>
#include <jansson.h>

struct event_file;
/* A file of its own in the folder, which is made where missing.  With step >= 0 readers forget what other files of the folder tell of
 * steps behind it: a run that goes on makes these again. */
aios_status event_file_open(aios_context *context, const char *folder, int64_t step, struct event_file **file);
void event_file_close(struct event_file *file); /* NULL is fine */
/* An event of a run: what has a number of "step" or "eval" is written, all else is passed over. */
aios_status event_file_add(struct event_file *file, const char *name, const json_t *fields);

#endif
