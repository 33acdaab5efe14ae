/* What lib/trainer/checkpoint_folder promises, but for being killed: tests/faults does that. */
#include "base/checksum.h"
#include "folder.h"
#include "trainer/checkpoint_folder.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static aios_context *context;
static char warnings[8192];

static void keep_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level <= AIOS_LOG_WARNING) (void)snprintf(warnings + strlen(warnings), sizeof warnings - strlen(warnings), "%s\n", message);
}

static aios_status try_save(const char *parent, const char *name, uint64_t step, const char *text)
{
    checkpoint_writer *writer;
    TRY_QUIET(checkpoint_begin(context, parent, name, step, &writer));
    assert_ok(checkpoint_writer_put(writer, "config.json", "{}", 2));
    assert_ok(checkpoint_writer_put(writer, "weights", text, strlen(text)));
    return checkpoint_commit(writer);
}

static void save(const char *parent, uint64_t step, const char *text)
{
    char name[CHECKPOINT_NAME_MAX];
    checkpoint_step_name(step, name);
    assert_ok(try_save(parent, name, step, text));
}

/* The newest checkpoint must have this step and these weights; 0 and NULL: there is none. */
static void expect_newest(const char *parent, int verify, uint64_t step, const char *text)
{
    char *path, *bytes;
    size_t size;
    uint64_t found;
    aios_status status = checkpoint_find_newest(context, parent, verify, &path, &found);
    if (!text) {
        assert_int_equal(status, AIOS_NOT_FOUND);
        assert_null(path);
        return;
    }
    if (status != AIOS_OK) fail_msg("%s", aios_error_message());
    assert_int_equal(found, step);
    assert_ok(checkpoint_verify(context, path));
    assert_ok(os_file_read_all(context, test_path(path, "weights"), 1000, &bytes, &size));
    assert_string_equal(bytes, text);
    aios_memory_free(context, bytes);
    aios_memory_free(context, path);
}

static void expect_warning(const char *text)
{
    if (!strstr(warnings, text)) fail_msg("\"%s\" is not in the warnings: %s", text, warnings);
    warnings[0] = 0;
}

static void the_newest_is_found_by_number_not_by_spelling(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    checkpoint_entry *entries;
    size_t count;
    save(parent, 99999999, "a");
    save(parent, 100000000, "b");
    save(parent, 2, "c");
    assert_ok(try_save(parent, "step-10", 10, "short"));
    assert_ok(try_save(parent, "best", 500, "best"));
    expect_newest(parent, 1, 100000000, "b");
    assert_ok(checkpoint_list(context, parent, &entries, &count));
    assert_int_equal(count, 4);
    assert_string_equal(entries[0].name, "step-00000002");
    assert_string_equal(entries[1].name, "step-10");
    assert_string_equal(entries[2].name, "step-99999999");
    assert_int_equal(entries[3].step, 100000000);
    for (size_t i = 0; i < count; i++) assert_int_equal(entries[i].complete, 1);
    checkpoint_list_free(context, entries);
    assert_ok(checkpoint_verify(context, test_path(parent, "best")));
    test_folder_remove(parent);
}

static void nothing_has_the_final_name_before_the_commit(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    const char *deep = test_path(parent, "run/checkpoints");
    checkpoint_writer *writer;
    assert_ok(checkpoint_begin(context, deep, "step-00000001", 1, &writer));
    test_file_write(test_path(checkpoint_writer_path(writer), "weights"), "x", 1);
    expect_newest(deep, 0, 0, NULL);
    checkpoint_abort(writer);
    checkpoint_abort(NULL);
    assert_int_equal(test_folder_count(context, deep), 1); /* .lock */
    expect_newest(test_path(parent, "nowhere"), 0, 0, NULL);
    test_folder_remove(parent);
}

static void names_and_files_that_are_not_right_are_refused(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    checkpoint_writer *writer;
    assert_fails(checkpoint_begin(context, parent, "", 1, &writer), AIOS_INVALID_ARGUMENT, "checkpoint name \"\"");
    assert_fails(checkpoint_begin(context, parent, "../x", 1, &writer), AIOS_INVALID_ARGUMENT, "\"../x\"");
    assert_fails(checkpoint_begin(context, parent, ".x", 1, &writer), AIOS_INVALID_ARGUMENT, "no '.' first");
    assert_fails(checkpoint_begin(context, parent, "step-00000002", 1, &writer), AIOS_INVALID_ARGUMENT, "can't have step 1");
    assert_null(writer);
    assert_ok(checkpoint_begin(context, parent, "a", 1, &writer));
    assert_fails(checkpoint_writer_put(writer, "../x", "", 0), AIOS_INVALID_ARGUMENT, "\"../x\"");
    assert_fails(checkpoint_writer_put(writer, ".x", "", 0), AIOS_INVALID_ARGUMENT, "\".x\"");
    assert_ok(checkpoint_writer_put(writer, "manifest.json", "", 0));
    assert_fails(checkpoint_commit(writer), AIOS_ALREADY_EXISTS, "has a manifest.json already");
    assert_ok(checkpoint_begin(context, parent, "a", 1, &writer));
    assert_ok(os_folder_create(test_path(checkpoint_writer_path(writer), "below")));
    assert_fails(checkpoint_commit(writer), AIOS_INVALID_ARGUMENT, "is no file");
    assert_ok(checkpoint_begin(context, parent, "a", 1, &writer));
    test_file_write(test_path(checkpoint_writer_path(writer), ".hidden"), "", 0);
    assert_fails(checkpoint_commit(writer), AIOS_INVALID_ARGUMENT, ".hidden");
    assert_int_equal(test_folder_count(context, parent), 1);
    test_folder_remove(parent);
}

static void the_manifest_says_sizes_and_checksums(void **state)
{
    (void)state;
    char *parent = test_folder_make(), *text;
    size_t size;
    save(parent, 7, "123456789");
    assert_ok(os_file_read_all(context, test_path(parent, "step-00000007/manifest.json"), 1000, &text, &size));
    assert_non_null(strstr(text, "{\n  \"format\": 1,\n  \"step\": 7,\n  \"created\": \"20"));
    assert_non_null(strstr(text, "    \"weights\": {\"size\": 9, \"crc32\": \"cbf43926\"}\n  }\n}\n")); /* CRC-32's check value */
    aios_memory_free(context, text);
    test_folder_remove(parent);
}

static void damage_is_skipped_with_a_warning_and_deleted_by_nobody(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    for (uint64_t step = 1; step <= 6; step++) save(parent, step, "good");
    warnings[0] = 0;
    assert_ok(os_remove(test_path(parent, "step-00000006/manifest.json")));
    test_file_write(test_path(parent, "step-00000005/manifest.json"), "{\"format\": 1, \"st", 17);
    assert_ok(os_remove(test_path(parent, "step-00000004/config.json")));
    test_file_write(test_path(parent, "step-00000003/weights"), "goo", 3);
    test_file_write(test_path(parent, "step-00000002/weights"), "g00d", 4);
    expect_newest(parent, 1, 1, "good");
    assert_non_null(strstr(warnings, "step-00000002/weights is damaged: its CRC-32 is "));
    assert_non_null(strstr(warnings, "step-00000003/weights has 3 bytes: the manifest says 4"));
    assert_non_null(strstr(warnings, "step-00000004/config.json is missing"));
    assert_non_null(strstr(warnings, "step-00000005/manifest.json:1:17: "));
    expect_warning("step-00000006/manifest.json: No such file");
    assert_int_equal(test_folder_count(context, parent), 7);
    assert_ok(checkpoint_prune(context, parent, 1)); /* 2 is complete as far as sizes tell: 1 goes */
    assert_int_equal(os_path_kind(test_path(parent, "step-00000006")), OS_FOLDER);
    assert_int_equal(os_path_kind(test_path(parent, "step-00000003")), OS_FOLDER);
    assert_int_equal(os_path_kind(test_path(parent, "step-00000001")), OS_NOTHING);
    warnings[0] = 0;
    test_folder_remove(parent);
}

static void refuse_manifest(const char *parent, const char *text, aios_status expected, const char *message)
{
    test_file_write(test_path(parent, "step-00000001/manifest.json"), text, strlen(text));
    assert_fails(checkpoint_verify(context, test_path(parent, "step-00000001")), expected, message);
    expect_newest(parent, 0, 0, NULL);
}

static void a_hostile_manifest_is_refused(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    save(parent, 1, "good");
    refuse_manifest(parent, "{}", AIOS_CORRUPT, "\"format\" is missing");
    refuse_manifest(parent, "{\"format\": 2}", AIOS_UNSUPPORTED, "has format 2: this library reads format 1");
    refuse_manifest(parent, "{\"format\": 1, \"step\": -1}", AIOS_OUT_OF_RANGE, "\"step\" is -1");
    refuse_manifest(parent, "{\"format\": 1, \"step\": 1}", AIOS_CORRUPT, "\"files\" is missing");
#define FILES(text) "{\"format\": 1, \"step\": 1, \"files\": {" text "}}"
    refuse_manifest(parent, FILES("\"../x\": {\"size\": 1, \"crc32\": \"00000000\"}"), AIOS_CORRUPT, "\"../x\" is no name");
    refuse_manifest(parent, FILES("\"weights\": 4"), AIOS_CORRUPT, "\"size\" is missing");
    refuse_manifest(parent, FILES("\"weights\": {\"size\": 4, \"crc32\": \"0000000g\"}"), AIOS_CORRUPT, "8 hexadecimal digits");
    refuse_manifest(parent, FILES("\"weights\": {\"size\": 5, \"crc32\": \"00000000\"}"), AIOS_CORRUPT, "the manifest says 5");
    test_file_write(test_path(parent, "step-00000001/manifest.json"), FILES(""), strlen(FILES("")));
    assert_ok(checkpoint_verify(context, test_path(parent, "step-00000001")));
    assert_ok(os_rename(test_path(parent, "step-00000001"), test_path(parent, "step-00000009")));
    warnings[0] = 0;
    expect_newest(parent, 0, 0, NULL);
    expect_warning("says step 1");
    test_folder_remove(parent);
}

static void pruning_keeps_the_newest_complete_ones(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    for (uint64_t step = 1; step <= 6; step++) save(parent, step, "x");
    assert_ok(try_save(parent, "best", 1, "x"));
    assert_ok(os_remove(test_path(parent, "step-00000005/weights")));       /* does not count */
    assert_ok(os_remove(test_path(parent, "step-00000002/manifest.json"))); /* not ours */
    assert_fails(checkpoint_prune(context, parent, 0), AIOS_INVALID_ARGUMENT, "keep is 0");
    assert_ok(checkpoint_prune(context, parent, 2));
    static const struct {
        const char *name;
        int kind;
    } after[] = {{"step-00000006", OS_FOLDER}, {"step-00000005", OS_FOLDER},  {"step-00000004", OS_FOLDER}, {"step-00000003", OS_NOTHING},
                 {"step-00000002", OS_FOLDER}, {"step-00000001", OS_NOTHING}, {"best", OS_FOLDER}};
    for (size_t i = 0; i < COUNT_OF(after); i++) assert_int_equal(os_path_kind(test_path(parent, after[i].name)), after[i].kind);
    assert_int_equal(test_folder_count(context, parent), 6);
    assert_ok(checkpoint_prune(context, test_path(parent, "nowhere"), 2));
    test_folder_remove(parent);
}

static void saving_a_step_again_replaces_it(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    save(parent, 5, "old");
    save(parent, 5, "new");
    expect_newest(parent, 1, 5, "new");
    assert_int_equal(test_folder_count(context, parent), 2);
    assert_int_equal(test_folder_count(context, test_path(parent, "step-00000005")), 3); /* two files and the manifest */
    test_folder_remove(parent);
}

static void a_foreign_folder_of_that_name_is_kept(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    test_file_write(test_path(parent, "best"), "mine", 4);
    assert_ok(try_save(parent, "best", 5, "new"));
    assert_ok(checkpoint_verify(context, test_path(parent, "best")));
    expect_warning("it is kept as ");
    assert_int_equal(test_folder_count(context, parent), 3);
    test_folder_remove(parent);
}

static void a_replacement_that_died_half_way_is_put_right(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    save(parent, 5, "old");
    assert_ok(os_rename(test_path(parent, "step-00000005"), test_path(parent, ".old-step-00000005")));
    warnings[0] = 0;
    expect_newest(parent, 1, 5, "old"); /* died before the new one came in */
    expect_warning("is restored");
    assert_ok(os_rename(test_path(parent, "step-00000005"), test_path(parent, ".old-step-00000005")));
    save(parent, 5, "new");
    expect_newest(parent, 1, 5, "new");
    save(parent, 4, "old"); /* died after */
    assert_ok(os_rename(test_path(parent, "step-00000004"), test_path(parent, ".old-step-00000005")));
    expect_newest(parent, 1, 5, "new");
    assert_int_equal(test_folder_count(context, parent), 2);
    save(parent, 4, "old"); /* the new one was damaged since: the old one is better */
    save(parent, 3, "x");
    assert_ok(os_rename(test_path(parent, "step-00000004"), test_path(parent, ".old-step-00000004")));
    assert_ok(os_rename(test_path(parent, "step-00000003"), test_path(parent, "step-00000004")));
    assert_ok(os_remove(test_path(parent, "step-00000004/weights")));
    assert_ok(os_remove_tree(test_path(parent, "step-00000005")));
    warnings[0] = 0;
    expect_newest(parent, 1, 4, "old");
    expect_warning("is damaged");
    test_folder_remove(parent);
}

/* A process that begins a save, tells so, and waits to be killed or told to commit. */
static pid_t start_saver(const char *parent, int tell[2], int told[2])
{
    assert_int_equal(pipe(tell), 0);
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    if (child) return child;
    checkpoint_writer *writer;
    char byte;
    if (checkpoint_begin(context, parent, "step-00000009", 9, &writer) != AIOS_OK) _exit(1);
    if (checkpoint_writer_put(writer, "weights", "child", 5) != AIOS_OK) _exit(2);
    if (write(tell[1], "x", 1) != 1 || read(told[0], &byte, 1) != 1) _exit(3);
    _exit(checkpoint_commit(writer) == AIOS_OK ? 0 : 4);
}

static void processes_that_save_at_once_leave_each_other_alone(void **state)
{
    (void)state;
    char *parent = test_folder_make(), byte;
    int tell[2], told[2], code;
    pid_t child = start_saver(parent, tell, told);
    assert_int_equal(read(tell[0], &byte, 1), 1);
    save(parent, 9, "parent"); /* the same step, while the child has its own half done */
    assert_ok(checkpoint_prune(context, parent, 1));
    assert_int_equal(test_folder_count(context, parent), 3);
    expect_newest(parent, 1, 9, "parent");
    assert_int_equal(write(told[1], "x", 1), 1);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    expect_newest(parent, 1, 9, "child");
    assert_int_equal(test_folder_count(context, parent), 2);
    for (int i = 0; i < 2; i++) (void)(close(tell[i]) + close(told[i]));
    test_folder_remove(parent);
}

static void the_temporary_folder_of_a_dead_process_is_pruned(void **state)
{
    (void)state;
    char *parent = test_folder_make(), byte;
    int tell[2], told[2];
    checkpoint_writer *mine;
    pid_t child = start_saver(parent, tell, told);
    assert_int_equal(read(tell[0], &byte, 1), 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    save(parent, 1, "x");
    assert_ok(checkpoint_begin(context, parent, "step-00000002", 2, &mine));
    assert_int_equal(test_folder_count(context, parent), 4);
    assert_ok(checkpoint_prune(context, parent, 1));
    assert_int_equal(test_folder_count(context, parent), 3);
    assert_ok(checkpoint_writer_put(mine, "weights", "mine", 4));
    assert_ok(checkpoint_commit(mine));
    expect_newest(parent, 1, 2, "mine");
    for (int i = 0; i < 2; i++) (void)(close(tell[i]) + close(told[i]));
    test_folder_remove(parent);
}

static void a_lock_has_one_holder(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "lock");
    os_file first, second;
    assert_ok(os_lock_take(path, 0, &first));
    assert_fails(os_lock_take(path, 0.05, &second), AIOS_TIMEOUT, "is locked by another process and was not released within 0.05 s");
    assert_int_equal(second.descriptor, -1);
    os_lock_release(&first);
    os_lock_release(&first);
    assert_ok(os_lock_take(path, 0, &second));
    os_lock_release(&second);
    assert_fails(os_lock_take(test_path(folder, "none/lock"), 0, &second), AIOS_NOT_FOUND, "none/lock");
    test_folder_remove(folder);
}

enum { SAVERS = 4, SAVES = 12 };
static const char *shared_parent;

/* Saves steps of its own and one name that all save, and prunes, while others do the same. */
static void *save_often(void *user)
{
    uint64_t first = (uint64_t)(uintptr_t)user;
    for (uint64_t i = 0; i < SAVES; i++) {
        char name[CHECKPOINT_NAME_MAX];
        uint64_t step = i * SAVERS + first + 1;
        checkpoint_writer *writer;
        checkpoint_step_name(step, name);
        if (i % 3 == 0) (void)snprintf(name, sizeof name, "best");
        if (checkpoint_begin(context, shared_parent, name, step, &writer) != AIOS_OK) return (void *)1;
        if (checkpoint_writer_put(writer, "weights", name, strlen(name)) != AIOS_OK) return (void *)2;
        if (checkpoint_commit(writer) != AIOS_OK) return (void *)3;
        if (checkpoint_prune(context, shared_parent, 2) != AIOS_OK) return (void *)4;
    }
    return NULL;
}

static void many_savers_and_pruners_leave_the_newest(void **state)
{
    (void)state;
    char *parent = test_folder_make();
    pthread_t threads[SAVERS];
    void *failed;
    shared_parent = parent;
    for (uintptr_t i = 0; i < SAVERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, save_often, (void *)i), 0);
    for (int i = 0; i < SAVERS; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    expect_newest(parent, 1, SAVERS * SAVES, "step-00000048");
    assert_ok(checkpoint_verify(context, test_path(parent, "best")));
    assert_ok(checkpoint_prune(context, parent, 2));
    assert_int_equal(test_folder_count(context, parent), 4); /* .lock, best, two steps */
    test_folder_remove(parent);
}

static void a_checksum_is_zlibs_in_any_pieces(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    size_t size = ((size_t)1 << 20) + 12345; /* more than one piece */
    unsigned char *bytes = malloc(size);
    checksum whole = CHECKSUM_INIT, pieces = CHECKSUM_INIT, file;
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(i * i >> 3);
    checksum_add(&whole, bytes, size);
    for (size_t at = 0; at < size; at += 1000) checksum_add(&pieces, bytes + at, size - at < 1000 ? size - at : 1000);
    test_file_write(test_path(folder, "a"), bytes, size);
    assert_ok(checksum_file(context, test_path(folder, "a"), &file));
    assert_memory_equal(&whole, &pieces, sizeof(uint64_t) + sizeof(uint32_t));
    assert_memory_equal(&whole, &file, sizeof(uint64_t) + sizeof(uint32_t));
    assert_int_equal(file.size, size);
    assert_fails(checksum_file(context, test_path(folder, "b"), &file), AIOS_NOT_FOUND, "/b");
    free(bytes);
    test_folder_remove(folder);
}

static int begin(void **state)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    (void)state;
    options.log = keep_warning;
    return aios_context_create(&options, &context);
}

static int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_is_found_by_number_not_by_spelling),
        cmocka_unit_test(nothing_has_the_final_name_before_the_commit),
        cmocka_unit_test(names_and_files_that_are_not_right_are_refused),
        cmocka_unit_test(the_manifest_says_sizes_and_checksums),
        cmocka_unit_test(damage_is_skipped_with_a_warning_and_deleted_by_nobody),
        cmocka_unit_test(a_hostile_manifest_is_refused),
        cmocka_unit_test(pruning_keeps_the_newest_complete_ones),
        cmocka_unit_test(saving_a_step_again_replaces_it),
        cmocka_unit_test(a_foreign_folder_of_that_name_is_kept),
        cmocka_unit_test(a_replacement_that_died_half_way_is_put_right),
        cmocka_unit_test(processes_that_save_at_once_leave_each_other_alone),
        cmocka_unit_test(the_temporary_folder_of_a_dead_process_is_pruned),
        cmocka_unit_test(a_lock_has_one_holder),
        cmocka_unit_test(many_savers_and_pruners_leave_the_newest),
        cmocka_unit_test(a_checksum_is_zlibs_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
