/* Who claims: sessions are open trackers, owners are the workers in them. */
#include "tracker.h"

#include <string.h>

aios_status owners_add_session(aios_chunk_tracker *tracker)
{
    os_process self;
    os_process_self(&self);
    TRY_QUIET(db_run(&tracker->db, DB_SESSION_ADD, DB_VALUES(INT(self.id), INT(self.started), TEXT(self.boot), TEXT(self.space))));
    tracker->session = sqlite3_last_insert_rowid(tracker->db.handle);
    return AIOS_OK;
}

aios_status owners_find(database *db, int64_t session, const char *name, int make, int64_t *owner)
{
    int found;
    TRY_QUIET(db_get(db, DB_OWNER_FIND, DB_VALUES(INT(session), TEXT(name)), owner, 1, &found));
    if (found || !make) return AIOS_OK;
    TRY_QUIET(db_run(db, DB_OWNER_ADD, DB_VALUES(INT(session), TEXT(name))));
    *owner = sqlite3_last_insert_rowid(db->handle);
    return AIOS_OK;
}

aios_status owners_find_device(database *db, int64_t gpu_id, const char *name, int64_t *device)
{
    int found;
    TRY_QUIET(db_get(db, DB_DEVICE_FIND, DB_VALUES(INT(gpu_id), TEXT(name)), device, 1, &found));
    if (found) return AIOS_OK;
    TRY_QUIET(db_run(db, DB_DEVICE_ADD, DB_VALUES(INT(gpu_id), TEXT(name))));
    *device = sqlite3_last_insert_rowid(db->handle);
    return AIOS_OK;
}

aios_status owners_lose(database *db, int64_t owner)
{
    int64_t claim[4], row[3];
    int found;
    for (;;) {
        TRY_QUIET(db_get(db, DB_CLAIM_OF_OWNER, DB_VALUES(INT(owner)), claim, 4, &found));
        if (!found) break;
        TRY_QUIET(ranges_give(db, claim[1], claim[2], claim[3]));
        TRY_QUIET(db_run(db, DB_CLAIM_DROP, DB_VALUES(INT(claim[0]))));
    }
    row[0] = row[1] = -1;
    for (;;) {
        TRY_QUIET(db_get(db, DB_PENDING_OF_OWNER, DB_VALUES(INT(owner), INT(row[0]), INT(row[1])), row, 3, &found));
        if (!found) return AIOS_OK;
        TRY_QUIET(ranges_give(db, row[0], row[1], row[1] + row[2]));
        TRY_QUIET(db_run(db, DB_PENDING_DROP, DB_VALUES(INT(row[0]), INT(row[1]))));
    }
}

aios_status owners_end_session(database *db, int64_t session)
{
    int64_t owner;
    int found;
    for (;;) {
        TRY_QUIET(db_get(db, DB_OWNER_FIRST, DB_VALUES(INT(session)), &owner, 1, &found));
        if (!found) break;
        TRY_QUIET(owners_lose(db, owner));
        TRY_QUIET(db_run(db, DB_OWNER_DROP, DB_VALUES(INT(owner))));
    }
    return db_run(db, DB_SESSION_DROP, DB_VALUES(INT(session)));
}

aios_status owners_sweep(aios_chunk_tracker *tracker)
{
    database *db = &tracker->db;
    int64_t id = 0;
    int found;
    for (;;) {
        os_process process;
        TRY_QUIET(db_start(db, DB_SESSION_AFTER, DB_VALUES(INT(id))));
        TRY_QUIET(db_next(db, DB_SESSION_AFTER, &found));
        if (found) {
            memset(&process, 0, sizeof process);
            id = db_int(db, DB_SESSION_AFTER, 0);
            process.id = db_int(db, DB_SESSION_AFTER, 1);
            process.started = (uint64_t)db_int(db, DB_SESSION_AFTER, 2);
            (void)snprintf(process.boot, sizeof process.boot, "%s", db_text(db, DB_SESSION_AFTER, 3));
            (void)snprintf(process.space, sizeof process.space, "%s", db_text(db, DB_SESSION_AFTER, 4));
        }
        db_stop(db, DB_SESSION_AFTER);
        if (!found) break;
        if (id != tracker->session && os_process_is_gone(&process)) TRY_QUIET(owners_end_session(db, id));
    }
    tracker->swept = os_now();
    return AIOS_OK;
}
