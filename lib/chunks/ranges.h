/* ranges.h (internal): the free samples of an epoch, as few intervals as there can be.  Each call takes a handful of searches. */
#ifndef AIOS_CHUNKS_RANGES_H
#define AIOS_CHUNKS_RANGES_H

#include "database.h"

typedef struct range {
    int64_t epoch, first, last; /* both within */
} range;

/* The free range that holds sample `from` of the epoch, or the first after it. */
aios_status ranges_find(database *db, int64_t epoch, int64_t from, range *found, int *is_found);
/* Takes [first, end) out of a free range that holds all of it. */
aios_status ranges_take(database *db, const range *from, int64_t first, int64_t end);
/* Makes [first, end) free, none of which is; end <= first: nothing. */
aios_status ranges_give(database *db, int64_t epoch, int64_t first, int64_t end);

#endif
