#include "texts.h"

#include "output.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

void bytes_add(struct bytes *to, const char *more, size_t size)
{
    if (to->size + size >= to->capacity) { /* data is never NULL, not even for nothing */
        to->capacity = 2 * (to->size + size) + 4096;
        to->data = need_memory(realloc(to->data, to->capacity));
    }
    if (size) memcpy(to->data + to->size, more, size);
    to->size += size;
    to->data[to->size] = 0;
}

void bytes_clear(struct bytes *bytes)
{
    bytes->size = 0;
    bytes_add(bytes, "", 0);
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){NULL, 0, 0};
}

/* ---- stops -------------------------------------------------------------------------------------------------------- */

/* Where `size` bytes stand in the text; size_t's largest where they do not. */
static size_t find(const struct bytes *in, const char *what, size_t size)
{
    for (size_t at = 0; at + size <= in->size; at++)
        if (memcmp(in->data + at, what, size) == 0) return at;
    return SIZE_MAX;
}

/* How many bytes at the end of what is held may be the beginning of a stop. */
static size_t open_end(const struct stop_filter *filter)
{
    size_t most = 0;
    for (int i = 0; i < filter->count; i++) {
        size_t length = strlen(filter->stops[i]);
        for (size_t n = length - 1; n > most; n--)
            if (n <= filter->held.size && memcmp(filter->held.data + filter->held.size - n, filter->stops[i], n) == 0) most = n;
    }
    return most;
}

static void pass_on(struct stop_filter *filter, size_t size)
{
    if (size) filter->pass(filter->user, filter->held.data, size);
    memmove(filter->held.data, filter->held.data + size, filter->held.size - size);
    filter->held.size -= size;
}

int stop_filter_add(struct stop_filter *filter, const char *text, size_t size)
{
    size_t first = SIZE_MAX;
    if (filter->met) return 1;
    bytes_add(&filter->held, text, size);
    for (int i = 0; i < filter->count; i++) {
        size_t at = find(&filter->held, filter->stops[i], strlen(filter->stops[i]));
        if (at < first) first = at;
    }
    filter->met = first != SIZE_MAX;
    pass_on(filter, filter->met ? first : filter->held.size - open_end(filter));
    return filter->met;
}

void stop_filter_end(struct stop_filter *filter)
{
    if (!filter->met && filter->held.size) pass_on(filter, filter->held.size);
}

void stop_filter_begin(struct stop_filter *filter)
{
    filter->met = 0;
    bytes_clear(&filter->held);
}

int stop_filter_take(struct stop_filter *filter, const struct tool *tool)
{
    for (int i = 0; i < tool->repeated_count; i++) {
        const char *value = tool->repeated[i].value;
        if (strcmp(tool->repeated[i].name, "stop") != 0) continue;
        if (!*value) return tool_fail(TOOL_USAGE, "--stop is empty: it must be a text that ends what the model writes");
        if (filter->count == STOPS_MOST) return tool_fail(TOOL_USAGE, "--stop is given over %d times", STOPS_MOST);
        filter->stops[filter->count++] = value;
    }
    return TOOL_DONE;
}
