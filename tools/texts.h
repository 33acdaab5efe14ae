/* texts.h: texts that grow, and what a model writes up to where it is to stop. */
#ifndef AIOS_TOOLS_TEXTS_H
#define AIOS_TOOLS_TEXTS_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    char *data; /* ended by a 0 that is not counted; NULL before the first */
    size_t size, capacity;
};
void bytes_add(struct bytes *to, const char *more, size_t size);
void bytes_clear(struct bytes *bytes);
void bytes_free(struct bytes *bytes);

/* Passes text on until one of the stops comes, which is not passed on; what may become one is held back. */
enum { STOPS_MOST = 16 };
struct stop_filter {
    const char *stops[STOPS_MOST];
    int count, met; /* met: 1 from the first stop on */
    struct bytes held;
    void (*pass)(void *user, const char *text, size_t size);
    void *user;
};
int stop_filter_add(struct stop_filter *filter, const char *text, size_t size); /* returns met */
void stop_filter_end(struct stop_filter *filter);                               /* passes on what is held back */
void stop_filter_begin(struct stop_filter *filter);                             /* another text */

/* Takes the values of --stop of the command line.  Returns TOOL_DONE, or complains. */
struct tool;
int stop_filter_take(struct stop_filter *filter, const struct tool *tool);

#endif
