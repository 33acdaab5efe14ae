/* names.h: the nearest of some names, for errors that say what may have been meant.  Stands alone: the command is built with
 * the same source. */
#ifndef AIOS_BASE_NAMES_H
#define AIOS_BASE_NAMES_H

#include <stddef.h>

/* How many characters must be put in, left out, replaced or swapped with their neighbour to get from a to b. */
size_t name_distance(const char *a, const char *b);

/* The search for the name that somebody who wrote `wanted` may have meant: offer every name, then read `best`, which is NULL
 * where nothing comes close. */
typedef struct name_search {
    const char *wanted, *best;
    size_t best_distance;
} name_search;
void name_search_init(name_search *search, const char *wanted);
void name_search_offer(name_search *search, const char *name); /* borrowed */

#endif
