/* background.h: a thread that does small tasks one after the other, for work that nobody waits for.  Tasks beyond its room are left out. */
#ifndef AIOS_DATA_BACKGROUND_H
#define AIOS_DATA_BACKGROUND_H

#include "base/context.h"

#include <stdatomic.h>

#define BACKGROUND_ROOM      16  /* tasks that wait */
#define BACKGROUND_TASK_MOST 512 /* bytes of one */

typedef struct background background;

/* Runs one task, a copy of what was added; ends early where *ending is not 0. */
typedef void (*background_run)(const void *task, const atomic_int *ending);

/* Errors: OUT_OF_MEMORY, UNAVAILABLE (no thread). */
aios_status background_start(aios_context *context, const char *name, background_run run, background **made);
/* From any thread; size is at most BACKGROUND_TASK_MOST.  Returns 0 where there was no room. */
int background_add(background *b, const void *task, size_t size);
/* Waits for the task that runs; leaves out those that wait.  NULL is fine. */
void background_stop(background *b);

#endif
