/* spans.h (internal): what of an epoch is not trained, and the gaps between, which are. */
#ifndef AIOS_CHUNKS_SPANS_H
#define AIOS_CHUNKS_SPANS_H

#include "tracker.h"

enum { SPAN_FREE = 0, SPAN_CLAIMED = 1, SPAN_PENDING = 2 };

typedef struct span {
    int64_t first, last;
    int kind;
} span;

/* Those of an epoch that touch samples [from, end), in order, none of which overlap.  Inside a transaction.  Context memory. */
typedef struct span_list {
    span *spans;
    size_t count, capacity;
} span_list;
aios_status spans_read(database *db, int64_t epoch, int64_t from, int64_t end, span_list *list);
void spans_free(database *db, span_list *list);

/* Calls visit with each [first, end) within [from, end) that no span of kind up to most_kind touches. */
typedef aios_status (*span_visit)(void *user, int64_t first, int64_t end);
aios_status spans_each_gap(const span_list *list, int most_kind, int64_t from, int64_t end, span_visit visit, void *user);

#endif
