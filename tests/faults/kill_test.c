/* Whatever is killed or fails at whatever call of a save, the newest checkpoint loads and is the old or the new one, byte for
 * byte, and the next save leaves nothing behind. */
#include "folder.h"
#include "saves.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static aios_context *context;
static char *reference; /* step 0 and step 1: what the two generations look like */
static char generations[2][TEST_PATH_MAX];

static void ignore_log(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

/* Runs the saver with the n-th call going wrong.  Its exit status; -SIGKILL where it was killed. */
static int run_saver(const char *parent, const char *step, const char *mode, long at, const char *count_file)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char number[24];
        (void)snprintf(number, sizeof number, "%ld", at);
        (void)setenv("LD_PRELOAD", SHIM, 1);
        (void)setenv("AIOS_FAULT_MODE", mode, 1);
        (void)setenv("AIOS_FAULT_AT", number, 1);
        if (count_file) (void)setenv("AIOS_FAULT_COUNT", count_file, 1);
        (void)execl(SAVER, SAVER, parent, step, strcmp(mode, "end") != 0 ? "prune" : NULL, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Which generation a checkpoint holds: 0, 1, or -1 where it is neither, byte for byte. */
static int generation_of(const char *path)
{
    static const char *const files[] = {"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    weights_file *weights;
    if (weights_open(context, path, &weights) != AIOS_OK) return -1;
    weights_close(weights);
    for (int generation = 0; generation < 2; generation++) {
        size_t same = 0;
        for (size_t i = 0; i < COUNT_OF(files); i++)
            same += (size_t)test_files_equal(context, test_path(path, files[i]), test_path(generations[generation], files[i]));
        if (same == COUNT_OF(files)) return generation;
    }
    return -1;
}

static int newest_generation(const char *parent, const char *mode, long at)
{
    char *path;
    uint64_t step;
    if (checkpoint_find_newest(context, parent, 1, &path, &step) != AIOS_OK)
        fail_msg("%s at call %ld left no checkpoint: %s", mode, at, aios_error_message());
    int generation = generation_of(path);
    if (generation < 0) fail_msg("%s at call %ld left a checkpoint that is neither the old nor the new one: %s", mode, at, path);
    aios_memory_free(context, path);
    return generation;
}

static aios_status is_temporary(void *user, const char *name)
{
    if (strncmp(name, ".tmp-", 5) == 0) ++*(int *)user;
    return AIOS_OK;
}

static long count_calls(const char *step)
{
    char *parent = test_folder_make(), *text;
    size_t size;
    assert_ok(save_generation(context, parent, 1, 0));
    assert_int_equal(run_saver(parent, step, "none", 0, test_path(parent, "calls")), 0);
    assert_ok(os_file_read_all(context, test_path(parent, "calls"), 100, &text, &size));
    long calls = atol(text);
    aios_memory_free(context, text);
    test_folder_remove(parent);
    if (calls < 40) fail_msg("a save makes only %ld calls that the shim sees", calls);
    return calls;
}

/* One fault in a save of `step` over a parent that holds step 1.  Returns the generation that is found afterwards. */
static int break_save(const char *step, const char *mode, long at, int expected)
{
    char *parent = test_folder_make();
    int temporaries = 0;
    assert_ok(save_generation(context, parent, 1, 0));
    int code = run_saver(parent, step, mode, at, NULL);
    if (code != expected && !(expected == 10 && code == 0))
        fail_msg("%s at call %ld of saving step %s: the saver ended with %d", mode, at, step, code);
    if (code == 10 && strcmp(mode, "broken") != 0) assert_ok(os_folder_list(context, parent, is_temporary, &temporaries));
    /* Half of the time the next save has to put things right, the other half finding the newest. */
    int found = at % 2 || code == 0 || code == 10 ? newest_generation(parent, mode, at) : -1;
    /* Only a removal or its folder failing can leave the temporary folder. */
    if (temporaries > 0 && found == 0) fail_msg("%s at call %ld left a temporary folder", mode, at);
    if (code == 0) assert_int_equal(found, 1);
    if (run_saver(parent, step, "none", 0, NULL) != 0) fail_msg("%s at call %ld: the next save failed", mode, at);
    assert_int_equal(newest_generation(parent, mode, at), 1);
    int left = test_folder_count(context, parent);
    if (left != 2) fail_msg("%s at call %ld: the next save left %d names in the folder instead of 2", mode, at, left);
    test_folder_remove(parent);
    return found;
}

static void skip_where_sanitized(void)
{
    if (!FAULTS_SKIP) return;
    (void)fprintf(stderr, "skipped: a sanitizer's runtime and the shim exclude each other\n");
    skip();
}

static void break_every_call(const char *mode, int expected)
{
    skip_where_sanitized();
    static const char *const steps[] = {"2", "1"}; /* a new checkpoint, and one in the place of the old */
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
        long calls = count_calls(steps[s]);
        int seen[2] = {0, 0};
        for (long at = 1; at <= calls; at++) {
            int found = break_save(steps[s], mode, at, expected);
            if (found >= 0) seen[found]++;
        }
        if (!seen[0] || !seen[1]) fail_msg("of %ld saves %d kept the old and %d brought the new: both must occur", calls, seen[0], seen[1]);
    }
}

static void a_kill_at_any_call_leaves_the_old_or_the_new_checkpoint(void **state)
{
    (void)state;
    break_every_call("kill", -SIGKILL);
}

static void a_loss_of_power_at_any_call_leaves_the_old_or_the_new_checkpoint(void **state)
{
    (void)state;
    break_every_call("power", -SIGKILL);
}

static void an_io_error_at_any_call_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    break_every_call("eio", 10);
}

static void a_full_disk_at_any_call_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    break_every_call("enospc", 10);
}

static void a_disk_that_breaks_for_good_is_reported_and_loses_nothing(void **state)
{
    (void)state;
    break_every_call("broken", 10);
}

static void a_save_that_returned_survives_a_loss_of_power(void **state)
{
    (void)state;
    skip_where_sanitized();
    static const char *const steps[] = {"2", "1"};
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
        char *parent = test_folder_make();
        assert_ok(save_generation(context, parent, 1, 0));
        assert_int_equal(run_saver(parent, steps[s], "end", 0, NULL), 0);
        assert_int_equal(newest_generation(parent, "a loss of power", 0), 1);
        test_folder_remove(parent);
    }
}

static void without_locks_a_save_works_and_nothing_temporary_is_removed(void **state)
{
    (void)state;
    skip_where_sanitized();
    char *parent = test_folder_make();
    int temporaries = 0;
    assert_ok(save_generation(context, parent, 1, 0));
    assert_ok(os_folder_create(test_path(parent, ".tmp-step-00000001.1.0"))); /* perhaps another machine's */
    assert_int_equal(run_saver(parent, "2", "nolock", 0, NULL), 0);
    assert_int_equal(newest_generation(parent, "nolock", 0), 1);
    assert_ok(os_folder_list(context, parent, is_temporary, &temporaries));
    assert_int_equal(temporaries, 1);
    assert_int_equal(test_folder_count(context, parent), 3);
    test_folder_remove(parent);
}

static int begin(void **state)
{
    (void)state;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = ignore_log;
    if (aios_context_create(&options, &context) != AIOS_OK) return 1;
    reference = test_folder_make();
    assert_ok(save_generation(context, reference, 0, 0));
    assert_ok(save_generation(context, reference, 1, 1));
    for (int i = 0; i < 2; i++) (void)snprintf(generations[i], sizeof generations[i], "%.4000s/step-0000000%d", reference, i);
    return 0;
}

static int end(void **state)
{
    (void)state;
    test_folder_remove(reference);
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_at_any_call_leaves_the_old_or_the_new_checkpoint),
        cmocka_unit_test(a_loss_of_power_at_any_call_leaves_the_old_or_the_new_checkpoint),
        cmocka_unit_test(a_save_that_returned_survives_a_loss_of_power),
        cmocka_unit_test(without_locks_a_save_works_and_nothing_temporary_is_removed),
        cmocka_unit_test(an_io_error_at_any_call_is_reported_and_loses_nothing),
        cmocka_unit_test(a_full_disk_at_any_call_is_reported_and_loses_nothing),
        cmocka_unit_test(a_disk_that_breaks_for_good_is_reported_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
