/* Whatever call of the chunk tracker's to the disk or for memory fails: the caller is told, nothing is lost, the next call works.
 *
 * Disk calls fail in a layer between SQLite and the system (a VFS), so that this runs under sanitizers too. */
#include "../folder.h"

#include <aios/chunk_tracker.h>

#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- failing memory ------------------------------------------------------------------------------------------------ */

static long asked, fail_at, blocks;

static int is_due(void)
{
    return ++asked == fail_at;
}

static void *fail_alloc(void *user, size_t size)
{
    (void)user;
    if (is_due()) return NULL;
    blocks++;
    return malloc(size);
}

static void *fail_realloc(void *user, void *block, size_t size)
{
    (void)user;
    if (is_due()) return NULL;
    blocks += block == NULL;
    return realloc(block, size);
}

static void fail_free(void *user, void *block)
{
    (void)user;
    blocks -= block != NULL;
    free(block);
}

/* SQLite's memory goes the same way; it keeps its own count of sizes. */
static sqlite3_mem_methods sqlite_memory;

static void *fail_sqlite_alloc(int size)
{
    return is_due() ? NULL : sqlite_memory.xMalloc(size);
}

static void *fail_sqlite_realloc(void *block, int size)
{
    return is_due() ? NULL : sqlite_memory.xRealloc(block, size);
}

/* ---- a failing disk ------------------------------------------------------------------------------------------------ */

static long disk_calls, disk_fail_at;
static int disk_stays_broken, disk_code;

static int disk_fails(void)
{
    disk_calls++;
    return disk_fail_at && (disk_calls == disk_fail_at || (disk_stays_broken && disk_calls > disk_fail_at));
}

struct failing_file {
    sqlite3_file base;
    sqlite3_file *real;
};

#define REAL(file) (((struct failing_file *)(file))->real)

static int file_close(sqlite3_file *f)
{
    int code = REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
    sqlite3_free(REAL(f));
    return code;
}

static int file_read(sqlite3_file *f, void *to, int size, sqlite3_int64 at)
{
    return disk_fails() ? SQLITE_IOERR_READ : REAL(f)->pMethods->xRead(REAL(f), to, size, at);
}

static int file_write(sqlite3_file *f, const void *from, int size, sqlite3_int64 at)
{
    return disk_fails() ? disk_code : REAL(f)->pMethods->xWrite(REAL(f), from, size, at);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return disk_fails() ? SQLITE_IOERR_TRUNCATE : REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int file_sync(sqlite3_file *f, int flags)
{
    return disk_fails() ? SQLITE_IOERR_FSYNC : REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}

static int file_lock(sqlite3_file *f, int kind)
{
    return disk_fails() ? SQLITE_IOERR_LOCK : REAL(f)->pMethods->xLock(REAL(f), kind);
}

static int file_unlock(sqlite3_file *f, int kind)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), kind);
}

static int file_reserved(sqlite3_file *f, int *is)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), is);
}

static int file_control(sqlite3_file *f, int what, void *argument)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), what, argument);
}

static int file_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int file_traits(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int file_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **to)
{
    return disk_fails() ? SQLITE_IOERR_SHMMAP : REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, to);
}

static int file_shm_lock(sqlite3_file *f, int first, int count, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), first, count, flags);
}

static void file_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int file_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static sqlite3_vfs *real_vfs, failing_vfs;

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    static const sqlite3_io_methods methods = {2,           file_close,   file_read,     file_write,       file_truncate,  file_sync,
                                               file_size,   file_lock,    file_unlock,   file_reserved,    file_control,   file_sector,
                                               file_traits, file_shm_map, file_shm_lock, file_shm_barrier, file_shm_unmap, NULL,
                                               NULL};
    (void)vfs;
    f->pMethods = NULL;
    if (disk_fails()) return SQLITE_CANTOPEN;
    REAL(f) = sqlite3_malloc(real_vfs->szOsFile);
    if (!REAL(f)) return SQLITE_NOMEM;
    memset(REAL(f), 0, (size_t)real_vfs->szOsFile);
    int code = real_vfs->xOpen(real_vfs, name, REAL(f), flags, out);
    if (code == SQLITE_OK)
        f->pMethods = &methods;
    else
        sqlite3_free(REAL(f));
    return code;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    (void)vfs;
    return disk_fails() ? SQLITE_IOERR_DELETE : real_vfs->xDelete(real_vfs, name, sync);
}

/* ---- what is broken ------------------------------------------------------------------------------------------------ */

enum { TOTAL = 64, CHUNK = 8 };

static aios_status open_tracker(aios_context *context, const char *folder, aios_chunk_tracker **tracker)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    o.folder = folder;
    o.block_samples = 16;
    o.chunk_samples = CHUNK;
    o.total_samples = TOTAL;
    o.busy_seconds = 0.05;
    return aios_chunk_tracker_open(context, &o, tracker);
}

/* One of everything.  *committed is the number of a checkpoint whose commit returned. */
static aios_status use(aios_chunk_tracker *t, uint64_t *committed)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    aios_chunk_holder holder = AIOS_CHUNK_HOLDER_INIT;
    uint64_t checkpoint;
    o.owner = "w";
    TRY_QUIET(aios_chunk_tracker_claim(t, &o, &c));
    TRY_QUIET(aios_chunk_tracker_complete(t, c.token, 1, 1));
    TRY_QUIET(aios_chunk_tracker_claim(t, &o, &c));
    TRY_QUIET(aios_chunk_tracker_heartbeat(t, c.token));
    TRY_QUIET(aios_chunk_tracker_progress(t, c.token, 2, 1, 1));
    TRY_QUIET(aios_chunk_tracker_get_holder(t, 0, &holder));
    TRY_QUIET(aios_chunk_tracker_share(t));
    TRY_QUIET(aios_chunk_tracker_seal(t, &checkpoint));
    TRY_QUIET(aios_chunk_tracker_commit(t, checkpoint));
    *committed = checkpoint;
    TRY_QUIET(aios_chunk_tracker_release(t, c.token, 3, 1, 1));
    TRY_QUIET(aios_chunk_tracker_get_info(t, &info));
    TRY_QUIET(aios_chunk_tracker_get_epoch(t, 0, &p));
    TRY_QUIET(aios_chunk_tracker_get_block(t, 0, 1, &p));
    TRY_QUIET(aios_chunk_tracker_get_share(t, 0, 0, &share));
    TRY_QUIET(aios_chunk_tracker_export(t, NULL));
    TRY_QUIET(aios_chunk_tracker_forget(t, checkpoint));
    TRY_QUIET(aios_chunk_tracker_abandon(t, "w"));
    return aios_chunk_tracker_resume(t, checkpoint);
}

/* After whatever failed: the state is whole, holds the commits that returned, and goes on. */
static void check(const char *folder, uint64_t committed, long at)
{
    aios_context *context;
    aios_chunk_tracker *t;
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    uint64_t second = 0;
    assert_ok(aios_context_create(NULL, &context));
    if (open_tracker(context, folder, &t) != AIOS_OK) fail_msg("call %ld failed, and then opening: %s", at, aios_error_message());
    assert_ok(aios_chunk_tracker_get_info(t, &info));
    if (info.committed < committed) fail_msg("call %ld failed, and commit %d is lost", at, (int)committed);
    assert_ok(aios_chunk_tracker_resume(t, info.committed));
    assert_ok(aios_chunk_tracker_get_epoch(t, 0, &p));
    if (p.committed != info.committed * 10) fail_msg("call %ld failed, and %d samples are committed", at, (int)p.committed);
    assert_int_equal(p.trained, p.committed);
    assert_int_equal(p.claimed, 0);
    assert_ok(use(t, &second));
    aios_chunk_tracker_close(t);
    aios_context_destroy(context);
}

/* Opens, uses and closes a tracker of an empty folder; gives what came of it. */
static aios_status run(aios_context *context, const char *folder, uint64_t *committed)
{
    aios_chunk_tracker *t;
    *committed = 0;
    aios_status status = open_tracker(context, folder, &t);
    if (status != AIOS_OK) {
        assert_null(t);
        return status;
    }
    status = use(t, committed);
    aios_chunk_tracker_close(t);
    return status;
}

static void each_allocation_that_fails_is_reported(void **state)
{
    (void)state;
    const aios_allocator allocator = {sizeof allocator, 0, NULL, fail_alloc, fail_realloc, fail_free};
    long failures = 0;
    for (long n = 1;; n++) {
        char *folder = test_folder_make();
        aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
        aios_context *context;
        uint64_t committed;
        options.allocator = &allocator;
        fail_at = 0;
        assert_ok(aios_context_create(&options, &context));
        long before = blocks;
        asked = 0;
        fail_at = n;
        aios_status status = run(context, folder, &committed);
        long last = asked;
        fail_at = 0;
        if (blocks != before) fail_msg("allocation %ld failed and %ld blocks are lost", n, blocks - before);
        /* SQLite itself goes on without some of its memory, and says "can't open" where it had none for a file's name. */
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY && status != AIOS_IO)
            fail_msg("allocation %ld failed: %s: %s", n, aios_status_name(status), aios_error_message());
        failures += status != AIOS_OK;
        check(folder, committed, n);
        aios_context_destroy(context);
        test_folder_remove(folder);
        if (last < n) break;
        if (n > 100) n += 9; /* later ones are much alike */
    }
    assert_true(failures > 100);
}

/* What a process that the disk failed has to say. */
struct report {
    aios_status status;
    uint64_t committed;
    long calls;
    char message[1024];
};

/* In a process of its own: a disk that takes nothing any more does not take its end either, which is seen when it is gone. */
static void run_apart(const char *folder, struct report *report)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        aios_context *context;
        if (aios_context_create(NULL, &context) != AIOS_OK) _exit(1);
        disk_calls = 0;
        report->status = run(context, folder, &report->committed);
        report->calls = disk_calls;
        (void)snprintf(report->message, sizeof report->message, "%s", aios_error_message());
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void break_disk(int code, int stays)
{
    struct report *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long failures = 0;
    assert_true(report != MAP_FAILED);
    disk_code = code;
    disk_stays_broken = stays;
    for (long n = 1; n == 1 || report->calls >= n - 1; n++) {
        char *folder = test_folder_make();
        disk_fail_at = n;
        run_apart(folder, report);
        disk_fail_at = 0;
        if (report->status != AIOS_OK && report->status != AIOS_IO)
            fail_msg("disk call %ld failed: %s: %s", n, aios_status_name(report->status), report->message);
        if (report->status != AIOS_OK && !strstr(report->message, "chunk_tracker.sqlite"))
            fail_msg("disk call %ld failed, and the message does not name the file: %s", n, report->message);
        failures += report->status != AIOS_OK;
        check(folder, report->committed, n);
        test_folder_remove(folder);
    }
    (void)munmap(report, sizeof *report);
    assert_true(failures > 50);
}

static void each_disk_call_that_fails_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    break_disk(SQLITE_IOERR_WRITE, 0);
}

static void a_full_disk_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    break_disk(SQLITE_FULL, 1);
}

static void a_database_that_is_held_is_waited_for_and_then_named(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_context *context;
    aios_chunk_tracker *t;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    sqlite3 *other;
    assert_ok(aios_context_create(NULL, &context));
    assert_ok(open_tracker(context, folder, &t));
    assert_int_equal(sqlite3_open(test_path(folder, "chunk_tracker.sqlite"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_fails(aios_chunk_tracker_claim(t, NULL, &c), AIOS_TIMEOUT, "another process held the database for over 0.05 s");
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_ok(aios_chunk_tracker_claim(t, NULL, &c));
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    aios_chunk_tracker_close(t);
    aios_context_destroy(context);
    test_folder_remove(folder);
}

static void a_folder_that_cant_be_written_is_named(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_context *context;
    aios_chunk_tracker *t;
    test_file_write(test_path(folder, "file"), "x", 1);
    assert_ok(aios_context_create(NULL, &context));
    aios_status status = open_tracker(context, test_path(folder, "file"), &t);
    assert_true(status != AIOS_OK);
    assert_non_null(strstr(aios_error_message(), "/file"));
    assert_null(t);
    if (geteuid() != 0) { /* nothing is forbidden to root */
        assert_int_equal(chmod(folder, 0555), 0);
        assert_fails(open_tracker(context, folder, &t), AIOS_IO, "chunk_tracker.lock");
        assert_int_equal(chmod(folder, 0755), 0);
    }
    aios_context_destroy(context);
    test_folder_remove(folder);
}

static int begin(void **state)
{
    (void)state;
    sqlite3_mem_methods memory;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) != SQLITE_OK) return 1;
    memory = sqlite_memory;
    memory.xMalloc = fail_sqlite_alloc;
    memory.xRealloc = fail_sqlite_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) return 1;
    real_vfs = sqlite3_vfs_find(NULL);
    failing_vfs = *real_vfs;
    failing_vfs.zName = "failing";
    failing_vfs.szOsFile = (int)sizeof(struct failing_file);
    failing_vfs.xOpen = vfs_open;
    failing_vfs.xDelete = vfs_delete;
    return sqlite3_vfs_register(&failing_vfs, 1) != SQLITE_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_that_is_held_is_waited_for_and_then_named),
        cmocka_unit_test(a_folder_that_cant_be_written_is_named),
        cmocka_unit_test(each_disk_call_that_fails_is_reported_and_loses_nothing),
        cmocka_unit_test(a_full_disk_is_reported_and_loses_nothing),
        cmocka_unit_test(each_allocation_that_fails_is_reported),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
