/* data.h: the kinds of `aios data` that are no puzzles. */
#ifndef AIOS_TOOLS_DATA_H
#define AIOS_TOOLS_DATA_H

#include "tool.h"

/* `aios data text`: a corpus made ready to train on, and what it is. */
int run_data_text(struct tool *tool);

#endif
