/* gauges.h (internal): how a run stands, as Prometheus reads it: a file in its text format for node_exporter's textfile collector. */
#ifndef AIOS_TRAINER_GAUGES_H
#define AIOS_TRAINER_GAUGES_H

#include "base/error.h"
#include <aios/context.h>
#include <jansson.h>

struct gauges;
/* The file is written by the first event, and replaced whole by later ones, after steps, finished chunks and merges at most once in two
 * seconds.  run: the label of all lines. */
aios_status gauges_open(aios_context *context, const char *path, const char *run, struct gauges **gauges);
void gauges_close(struct gauges *gauges); /* NULL is fine */
/* An event of a run. */
aios_status gauges_add(struct gauges *gauges, const char *name, const json_t *fields);

#endif
