/* help.h: what --help says, made from the tables. */
#ifndef AIOS_TOOLS_HELP_H
#define AIOS_TOOLS_HELP_H

#include "tool.h"

/* The help of one command; NULL: of aios. */
void help_print(const struct command *command, FILE *to);

/* The manual page, in roff. */
void man_print(FILE *to);

#endif
