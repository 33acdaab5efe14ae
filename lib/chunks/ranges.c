#include "ranges.h"

aios_status ranges_find(database *db, int64_t epoch, int64_t from, range *found, int *is_found)
{
    int64_t columns[2];
    TRY_QUIET(db_get(db, DB_FREE_FROM, DB_VALUES(INT(epoch), INT(from)), columns, 2, is_found));
    *found = (range){epoch, columns[0], columns[1]};
    return AIOS_OK;
}

aios_status ranges_take(database *db, const range *from, int64_t first, int64_t end)
{
    if (end <= from->last)
        TRY_QUIET(db_run(db, DB_FREE_MOVE_FIRST, DB_VALUES(INT(from->epoch), INT(from->last), INT(end))));
    else
        TRY_QUIET(db_run(db, DB_FREE_DROP, DB_VALUES(INT(from->epoch), INT(from->last))));
    if (first == from->first) return AIOS_OK;
    return db_run(db, DB_FREE_ADD, DB_VALUES(INT(from->epoch), INT(from->first), INT(first - 1)));
}

aios_status ranges_give(database *db, int64_t epoch, int64_t first, int64_t end)
{
    range next;
    int has_next, has_previous;
    int64_t previous;
    if (end <= first) return AIOS_OK;
    TRY_QUIET(ranges_find(db, epoch, first, &next, &has_next));
    if (has_next && next.first < end)
        return FAIL(AIOS_CORRUPT, "%s: samples %lld to %lld of epoch %lld are free and not free", db->path, (long long)first,
                    (long long)end - 1, (long long)epoch);
    TRY_QUIET(db_get(db, DB_FREE_ENDING, DB_VALUES(INT(epoch), INT(first - 1)), &previous, 1, &has_previous));
    if (has_previous) {
        TRY_QUIET(db_run(db, DB_FREE_DROP, DB_VALUES(INT(epoch), INT(first - 1))));
        first = previous;
    }
    if (has_next && next.first == end) return db_run(db, DB_FREE_MOVE_FIRST, DB_VALUES(INT(epoch), INT(next.last), INT(first)));
    return db_run(db, DB_FREE_ADD, DB_VALUES(INT(epoch), INT(first), INT(end - 1)));
}
