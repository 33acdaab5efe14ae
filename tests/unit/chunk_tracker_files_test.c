/* The chunk tracker's files: what is exported is imported, and what is damaged or another's is an error that changes nothing. */
#include "chunk_tracker.h"

#include <sqlite3.h>

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void the_json_has_the_documented_layout(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    o.brain_id = "brain \"7\"";
    o.dataset_name = "t\xc3\xa4st";
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 4; i++) {
        aios_chunk_claim c = claim_as(t, "w", i, 0);
        assert_ok(aios_chunk_tracker_complete(t, c.token, (uint64_t)i + 1, (uint64_t)i * 10));
    }
    (void)claim_as(t, "w", 9, 0);
    (void)save(t);
    assert_json(*state, "\"brain_id\": \"brain \\\"7\\\"\"");
    assert_json(*state, "\"dataset_name\": \"t\xc3\xa4st\"");
    assert_json(*state, "{\"block_id\": 1, \"chunk_id\": 0, \"gpu_id\": 3, \"optimizer_step\": 30, \"steps\": 4}");
    assert_json(*state, "\"started_blocks\": [0, 1]");
    assert_json(*state, "\"completed_blocks\": [0]");
    assert_json(*state, "\"current_epoch\": 0");
    assert_json(*state, "\"blocks_this_epoch\": [0, 1]");
    assert_json(*state, "\"total_blocks_in_dataset\": 3");
    assert_json(*state, "\"total_steps\": 10");
    assert_json(*state, "{\"block_id\": 1, \"chunk_id\": 1, \"gpu_id\": 9, \"timestamp\": ");
    aios_chunk_claim c = claim_as(t, "w", 0, 0);
    complete(t, &c); /* no checkpoint holds it: the file must not say that it is done */
    aios_chunk_tracker_close(t);
    assert_json(*state, "\"completed_blocks\": [0]");
    assert_json(*state, "\"completed\": [[0, 28]]");
}

static void what_is_exported_is_imported_exactly(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45), plain = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    o.brain_id = "b";
    o.dataset_identity = "0123";
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 9; i++) {
        aios_chunk_claim c = claim_as(t, "w", i % 2, AIOS_CHUNK_EVERY);
        complete(t, &c);
    }
    aios_chunk_claim c = claim_as(t, "w", 0, AIOS_CHUNK_EVERY);
    assert_ok(aios_chunk_tracker_release(t, c.token, 1, 1, 1));
    (void)save(t);
    aios_chunk_tracker_close(t);
    char *before = read_json(*state);
    assert_ok(os_remove(test_path(*state, "chunk_tracker.sqlite")));
    plain.folder = *state;
    t = open_tracker(&plain);
    assert_string_equal(info_of(t).brain_id, "b");
    assert_int_equal(info_of(t).committed, 1);
    assert_int_equal(info_of(t).epochs, 2);
    assert_true(progress_of(t, 0).complete);
    assert_ok(aios_chunk_tracker_export(t, NULL));
    char *after = read_json(*state);
    assert_string_equal(before, after);
    assert_claim(claim_as(t, "w", 0, AIOS_CHUNK_EVERY), 1, 0, 2, 17, 20);
    assert_ok(aios_chunk_tracker_resume(t, 1));
    assert_fails(aios_chunk_tracker_resume(t, 0), AIOS_OUT_OF_RANGE, "forgotten");
    aios_chunk_tracker_close(t);
    aios_memory_free(context, before);
    aios_memory_free(context, after);
}

static void a_stream_is_exported_and_imported_too(void **state)
{
    aios_chunk_tracker_options o = small(*state, 0);
    aios_chunk_tracker *t = open_tracker(&o);
    for (int i = 0; i < 2; i++) {
        aios_chunk_claim c = claim(t);
        complete(t, &c);
    }
    (void)save(t);
    aios_chunk_tracker_close(t);
    assert_json(*state, "\"total_blocks_in_dataset\": null");
    assert_ok(os_remove(test_path(*state, "chunk_tracker.sqlite")));
    t = open_tracker(&o);
    assert_int_equal(info_of(t).total_samples, 0);
    assert_claim(claim(t), 0, 0, 2, 16, 20);
    aios_chunk_tracker_close(t);
}

static void the_json_lists_the_chunks_of_unfinished_blocks_alone_where_there_are_many(void **state)
{
    aios_chunk_tracker_options o = small(*state, 1000000);
    o.block_samples = 1000000;
    o.chunk_samples = 999950;
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim_as(t, "w", 2, 0);
    complete(t, &c);
    (void)save(t);
    aios_chunk_tracker_close(t);
    o = small(*state, 1000000); /* now it is 149,994 chunks that are done, one of them in block 49,997 */
    t = open_tracker(&o);
    assert_int_equal(progress_of(t, 0).chunks_committed, 49997 * 3 + 1);
    assert_int_equal(progress_of(t, 0).blocks_committed, 49997);
    aios_chunk_tracker_close(t);
    assert_json(
        *state,
        "\"completed_chunks\": [\n    {\"block_id\": 49997, \"chunk_id\": 0, \"gpu_id\": 2, \"optimizer_step\": 10, \"steps\": 0}\n  ]");
    assert_json(*state, "49995, 49996]");
    assert_json(*state, "49995, 49996, 49997]");
    assert_json(*state, "\"completed\": [[0, 999950]]");
    o.block_samples = 1000000; /* and if even those are too many, the first of them */
    aios_chunk_tracker_close(open_tracker(&o));
    assert_json(*state, "\"chunk_id\": 19999, \"gpu_id\": 2, \"optimizer_step\": 10, \"steps\": 0}\n  ]");
}

static int warnings;

static void count_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    warnings += level == AIOS_LOG_WARNING && strstr(message, "chunk_tracker_state.json is not up to date") != NULL;
}

static void a_json_file_that_cant_be_written_does_not_undo_the_commit(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *listening;
    aios_chunk_tracker *t;
    options.log = count_warning;
    assert_ok(aios_context_create(&options, &listening));
    assert_ok(aios_chunk_tracker_open(listening, &o, &t));
    assert_ok(os_folder_create(test_path(*state, "chunk_tracker_state.json/in the way")));
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    assert_int_equal(warnings, 0);
    (void)save(t);
    assert_int_equal(warnings, 1);
    assert_int_equal(progress_of(t, 0).committed, 8);
    assert_fails(aios_chunk_tracker_export(t, NULL), AIOS_IO, "chunk_tracker_state.json");
    assert_int_equal(test_folder_count(listening, *state), 5); /* database, log, index, lock, the folder: nothing temporary */
    aios_chunk_tracker_close(t);
    aios_context_destroy(listening);
}

static void earlier_files_are_imported_in_old_spellings(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_share share = AIOS_CHUNK_SHARE_INIT;
    write_json(*state,
               "{\"brain_id\": \"old\", \"dataset_name\": \"d\", \"completed_chunks\": ["
               "{\"block_id\": 0, \"chunk_id\": 0, \"gpu_id\": 1, \"step\": 7, \"samples_trained\": 3},"
               "{\"block_id\": 0, \"chunk_id\": 0, \"gpu_id\": 0, \"step\": 8, \"samples_trained\": 4},"
               "{\"block_id\": 2, \"chunk_id\": 0, \"gpu_id\": 1, \"optimizer_step\": 9, \"true_steps\": 5}],"
               "\"started_blocks\": [0, 1, 2], \"completed_blocks\": [0, 1, 2], \"current_epoch\": 0, \"blocks_this_epoch\": [0, 2],"
               "\"total_blocks_in_dataset\": 3, \"total_true_steps\": 20, \"in_progress_chunks\": [{\"block_id\": 1, \"chunk_id\": 0,"
               "\"gpu_id\": 0, \"timestamp\": 1700000000.5}]}");
    aios_chunk_tracker *t = open_tracker(&o);
    assert_string_equal(info_of(t).brain_id, "old");
    assert_int_equal(progress_of(t, 0).committed, 13); /* a block is complete by its chunks alone */
    assert_int_equal(info_of(t).steps, 20);
    assert_ok(aios_chunk_tracker_get_share(t, 0, 0, &share));
    assert_int_equal(share.gpu_id, 1);
    assert_int_equal(share.committed, 13);
    assert_ok(aios_chunk_tracker_resume(t, 0)); /* no checkpoint of theirs has a number */
    assert_claim(claim(t), 0, 0, 1, 8, 16);
    aios_chunk_tracker_close(t);
    assert_json(*state, "{\"block_id\": 2, \"chunk_id\": 0, \"gpu_id\": 1, \"optimizer_step\": 9, \"steps\": 5}");
    assert_json(*state, "\"completed_blocks\": [2]");
}

static void a_second_epoch_of_an_earlier_file_is_trained(void **state)
{
    aios_chunk_tracker_options o = small(*state, 40);
    write_json(*state, "{\"completed_chunks\": [{\"block_id\": 0, \"chunk_id\": 0}, {\"block_id\": 1, \"chunk_id\": 0}],"
                       "\"current_epoch\": 1, \"blocks_this_epoch\": [1], \"total_samples_trained\": 3}");
    aios_chunk_tracker *t = open_tracker(&o);
    assert_int_equal(info_of(t).current_epoch, 1);
    assert_int_equal(progress_of(t, 1).committed, 8);
    assert_claim(claim_as(t, "", 0, 1), 1, 0, 0, 0, 8);
    aios_chunk_tracker_close(t);
}

static void a_damaged_json_is_an_error_and_stays(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "chunk_tracker_state.json"},
        {"{\"completed_chunks\": [{\"block_id\": 0, \"chu", "chunk_tracker_state.json:1:"},
        {"[]", "chunk_tracker_state.json"},
        {"{}", "neither completed_chunks nor current_epoch"},
        {"{\"completed_chunks\": 3}", "completed_chunks"},
        {"{\"completed_chunks\": [3]}", "completed_chunks[0]"},
        {"{\"completed_chunks\": [{\"block_id\": 0}]}", "chunk_id"},
        {"{\"completed_chunks\": [{\"block_id\": -1, \"chunk_id\": 0}]}", "block_id"},
        {"{\"completed_chunks\": [{\"block_id\": 0, \"chunk_id\": 3}]}", "a block of 20 samples has 3 chunks of 8"},
        {"{\"completed_chunks\": [], \"libaios\": 4}", "libaios"},
        {"{\"current_epoch\": 0, \"libaios\": {\"version\": 1, \"block_samples\": 20, \"chunk_samples\": 8, \"checkpoint\": 0, \"epochs\": "
         "1,"
         "\"total_samples\": 45, \"epochs_open\": [{\"epoch\": 0, \"completed\": [[8, 46]]}]}}",
         "completed[0]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aios_chunk_tracker_options o = small(*state, 45);
        aios_chunk_tracker *t;
        write_json(*state, cases[i].text);
        assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, cases[i].part);
        assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, cases[i].part); /* and is not reset by having failed */
        char *text = read_json(*state);
        assert_string_equal(text, cases[i].text);
        aios_memory_free(context, text);
    }
    write_json(*state, "{\"current_epoch\": 0, \"libaios\": {\"version\": 2}}");
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t;
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_UNSUPPORTED, "version 2");
    write_json(*state, "{");
    o.recover = 1;
    t = open_tracker(&o);
    aios_chunk_tracker_close(t);
    assert_int_equal(os_path_kind(test_path(*state, "chunk_tracker_state.json.damaged-1")), OS_FILE);
}

/* ---- the database ------------------------------------------------------------------------------------------------ */

static void fill_tracker(const char *folder)
{
    aios_chunk_tracker_options o = small(folder, 45);
    aios_chunk_tracker *t = open_tracker(&o);
    aios_chunk_claim c = claim(t);
    complete(t, &c);
    (void)save(t);
    aios_chunk_tracker_close(t);
}

static void a_damaged_database_is_an_error_and_stays(void **state)
{
    static const struct {
        size_t keep; /* bytes of it */
        int at;      /* from here on it is overwritten; -1: not */
    } cases[] = {{0, -1}, {100, -1}, {5000, -1}, {SIZE_MAX, 0}, {SIZE_MAX, 4096}, {SIZE_MAX, 8192}};
    char path[TEST_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/chunk_tracker.sqlite", (char *)*state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aios_chunk_tracker_options o = small(*state, 45);
        aios_chunk_tracker *t;
        char *bytes, *after, aside[64];
        size_t size, left;
        fill_tracker(*state);
        assert_ok(os_file_read_all(context, path, UINT64_MAX, &bytes, &size));
        if (cases[i].at >= 0) memset(bytes + cases[i].at, 0xa5, 1000);
        if (cases[i].keep < size) size = cases[i].keep;
        test_file_write(path, bytes, size);
        aios_status status = aios_chunk_tracker_open(context, &o, &t);
        if (status != AIOS_CORRUPT) fail_msg("case %d: %s: %s", (int)i, aios_status_name(status), aios_error_message());
        assert_non_null(strstr(aios_error_message(), "chunk_tracker.sqlite"));
        assert_non_null(strstr(aios_error_message(), "recover"));
        assert_ok(os_file_read_all(context, path, UINT64_MAX, &after, &left));
        assert_int_equal(left, size);
        assert_memory_equal(after, bytes, size);
        aios_memory_free(context, after);
        aios_memory_free(context, bytes);
        o.recover = 1; /* the JSON file knows what the last checkpoint held */
        t = open_tracker(&o);
        assert_int_equal(progress_of(t, 0).committed, 8);
        assert_int_equal(info_of(t).committed, 1);
        aios_chunk_tracker_close(t);
        (void)snprintf(aside, sizeof aside, "chunk_tracker.sqlite.damaged-%d", (int)i + 1);
        assert_int_equal(os_path_kind(test_path(*state, aside)), OS_FILE);
        assert_ok(os_remove(path));
        assert_ok(os_remove(test_path(*state, "chunk_tracker_state.json")));
    }
}

static void other_databases_and_newer_formats_are_refused(void **state)
{
    aios_chunk_tracker_options o = small(*state, 45);
    aios_chunk_tracker *t;
    sqlite3 *db;
    const char *path = test_path(*state, "chunk_tracker.sqlite");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, "no chunk tracker's database");
    assert_int_equal(sqlite3_exec(db, "PRAGMA application_id = 1634299763; PRAGMA user_version = 2", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_UNSUPPORTED, "has format 2: this libaios reads up to 1");
    assert_ok(os_remove(path));
    test_file_write(test_path(*state, "chunk_tracker.sqlite-wal"), "x", 1);
    assert_fails(aios_chunk_tracker_open(context, &o, &t), AIOS_CORRUPT, "is missing, and its log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_json_has_the_documented_layout),
        TEST(what_is_exported_is_imported_exactly),
        TEST(a_stream_is_exported_and_imported_too),
        TEST(the_json_lists_the_chunks_of_unfinished_blocks_alone_where_there_are_many),
        TEST(a_json_file_that_cant_be_written_does_not_undo_the_commit),
        TEST(earlier_files_are_imported_in_old_spellings),
        TEST(a_second_epoch_of_an_earlier_file_is_trained),
        TEST(a_damaged_json_is_an_error_and_stays),
        TEST(a_damaged_database_is_an_error_and_stays),
        TEST(other_databases_and_newer_formats_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
