/* spawn.h: one process per device, started and looked after by the command itself. */
#ifndef AIOS_TOOLS_SPAWN_H
#define AIOS_TOOLS_SPAWN_H

#include "tool.h"

/* What a training begins with.  Where processes are asked for (--spawn, which is the command's first flag, or AIOS_DDP_SPAWN=1): starts
 * them and returns the exit code when all have ended.  SPAWN_HERE: this process is to train, as one of those or alone, or because none of
 * them got to its first step; the options have what the environment says. */
#define SPAWN_HERE (-1)
int spawn_begin(struct tool *tool);

/* Of several processes the first one speaks: is the event another one's start?  Says to standard error what launched them. */
int spawn_follows(const char *name, const char *json);

#endif
