/* spawn.h: one process per device, started and looked after by the command itself. */
#ifndef AIOS_TOOLS_SPAWN_H
#define AIOS_TOOLS_SPAWN_H

#include "tool.h"

/* Is the command to start processes: flag --spawn or AIOS_DDP_SPAWN=1, and not one of them itself? */
int spawn_is_asked(const struct tool *tool);
/* Starts them and returns the exit code when all have ended; SPAWN_FALL_BACK where none of them got to its first step, and a run in
 * this process may. */
#define SPAWN_FALL_BACK (-1)
int spawn_run(struct tool *tool);

#endif
