#include "spans.h"

#include <string.h>

aios_status spans_read(database *db, int64_t epoch, int64_t from, int64_t end, span_list *list)
{
    aios_status status;
    int found;
    memset(list, 0, sizeof *list);
    TRY_QUIET(db_start(db, DB_OPEN_SPANS, DB_VALUES(INT(epoch), INT(from), INT(end))));
    for (;;) {
        status = db_next(db, DB_OPEN_SPANS, &found);
        if (status == AIOS_OK && found)
            status = aios_memory_grow(db->context, (void **)&list->spans, &list->capacity, list->count + 1, sizeof *list->spans);
        if (status != AIOS_OK || !found) break;
        list->spans[list->count++] = (span){db_int(db, DB_OPEN_SPANS, 0), db_int(db, DB_OPEN_SPANS, 1), (int)db_int(db, DB_OPEN_SPANS, 2)};
    }
    db_stop(db, DB_OPEN_SPANS);
    if (status != AIOS_OK) spans_free(db, list);
    return status;
}

void spans_free(database *db, span_list *list)
{
    aios_memory_free(db->context, list->spans);
    memset(list, 0, sizeof *list);
}

aios_status spans_each_gap(const span_list *list, int most_kind, int64_t from, int64_t end, span_visit visit, void *user)
{
    int64_t at = from;
    for (size_t i = 0; i < list->count && at < end; i++) {
        const span *s = &list->spans[i];
        if (s->kind > most_kind || s->last < at) continue;
        if (s->first > at) TRY_QUIET(visit(user, at, s->first < end ? s->first : end));
        at = s->last + 1;
    }
    return at < end ? visit(user, at, end) : AIOS_OK;
}
