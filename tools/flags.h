/* flags.h: command lines, read by the tables: the library's options, the command's own flags and the global ones. */
#ifndef AIOS_TOOLS_FLAGS_H
#define AIOS_TOOLS_FLAGS_H

#include "tool.h"

/* Reads arguments into tool: first the global flags and the command's name, then the command's flags and arguments.
 * --config is applied before every flag, wherever it stands.  Returns TOOL_DONE, or complains. */
int flags_read(struct tool *tool, int count, char **arguments);

/* The option of the table by its name or alias, '_' being '-'; 0 where there is none. */
int option_find(const char *name, aios_option_info *info);

enum { VALUE_NONE, VALUE_TEXT, VALUE_NUMBER, VALUE_CHOICE, VALUE_SWITCH, VALUE_FILE, VALUE_FOLDER, VALUE_DEVICE };
/* What an option's value is, for help and completion, and what the help calls it. */
int option_value_kind(const aios_option_info *info);
const char *option_value_name(const aios_option_info *info);
/* "1 to 65536"; of INT and FLOAT. */
void option_show_range(const aios_option_info *info, char *to, size_t size);

#endif
