/* What lib/base promises. */
#include "base/context.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/sizes.h"
#include "test.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void an_error_keeps_message_frames_and_code(void **state)
{
    (void)state;
    aios_error_set(AIOS_CORRUPT, "value %d", 7);
    aios_error_add_frame(AIOS_CORRUPT, "reading %s", "x");
    assert_int_equal(aios_error_status(), AIOS_CORRUPT);
    assert_string_equal(aios_error_message(), "value 7 (reading x)");
    assert_string_equal(aios_error_frame(0), "reading x");
    assert_null(aios_error_frame(1));
    aios_error_clear();
    assert_string_equal(aios_error_message(), "");
}

static void more_frames_and_longer_texts_than_fit_are_cut(void **state)
{
    (void)state;
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = 0;
    aios_error_set(AIOS_IO, "%s", big);
    for (int i = 0; i < 20; i++) aios_error_add_frame(AIOS_IO, "%s", big);
    assert_non_null(strstr(aios_error_message(), "aaa"));
    aios_error_clear();
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (aios_status s = AIOS_OK; s <= AIOS_INTERNAL; s++) assert_string_not_equal(aios_status_name(s), "AIOS_STATUS_UNKNOWN");
    assert_string_equal(aios_status_name(12345), "AIOS_STATUS_UNKNOWN");
}

static void a_newer_structure_with_unknown_fields_is_refused(void **state)
{
    (void)state;
    struct {
        aios_context_options options;
        uint64_t newer;
    } given = {AIOS_CONTEXT_OPTIONS_INIT, 0};
    aios_context *context = NULL;
    given.options.struct_size = sizeof given;
    assert_int_equal(aios_context_create(&given.options, &context), AIOS_OK);
    aios_context_destroy(context);
    given.newer = 1;
    assert_int_equal(aios_context_create(&given.options, &context), AIOS_ABI_MISMATCH);
    assert_null(context);
    given.options.struct_size = 0;
    assert_int_equal(aios_context_create(&given.options, &context), AIOS_ABI_MISMATCH);
}

static void a_deadline_for_devices_is_a_number_of_seconds(void **state)
{
    (void)state;
    static const char *const wrong[] = {"soon", "3 s", "-1", "nan"};
    aios_context *context;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(setenv("AIOS_DEVICE_DEADLINE", wrong[i], 1), 0);
        assert_int_equal(aios_context_create(NULL, &context), AIOS_INVALID_ARGUMENT);
        assert_non_null(strstr(aios_error_message(), wrong[i]));
    }
    assert_int_equal(setenv("AIOS_DEVICE_DEADLINE", "2.5", 1), 0);
    assert_int_equal(aios_context_create(NULL, &context), AIOS_OK);
    assert_true(aios_context_device_deadline(context) == 2.5);
    aios_context_destroy(context);
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT; /* the program knows better than its environment */
    options.device_deadline = -1;
    assert_int_equal(aios_context_create(&options, &context), AIOS_OK);
    assert_true(aios_context_device_deadline(context) == 0);
    aios_context_destroy(context);
    assert_int_equal(unsetenv("AIOS_DEVICE_DEADLINE"), 0);
}

static void replacing_a_file_leaves_old_or_new_and_nothing_beside(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char folder[] = "/tmp/aios-base-XXXXXX", path[64];
    char *text;
    size_t size;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.txt", folder);
    assert_int_equal(os_file_replace(path, "one", 3), AIOS_OK);
    assert_int_equal(os_file_replace(path, "second", 6), AIOS_OK);
    assert_int_equal(os_file_read_all(context, path, 100, &text, &size), AIOS_OK);
    assert_int_equal(size, 6);
    assert_string_equal(text, "second");
    aios_memory_free(context, text);
    assert_int_equal(os_file_read_all(context, path, 5, &text, &size), AIOS_OUT_OF_RANGE);
    assert_int_equal(os_remove(path), AIOS_OK);
    assert_int_equal(os_remove(folder), AIOS_OK);
    assert_int_equal(os_file_read_all(context, path, 5, &text, &size), AIOS_NOT_FOUND);
    aios_context_destroy(context);
}

static void a_path_has_one_slash_before_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *name, *path;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/a///", "b/c", "/a/b/c"}, {"/", "b", "/b"}, {"//", "b", "/b"}, {".", "b", "./b"}};
    char path[OS_PATH_MAX], longest[OS_PATH_MAX] = "";
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_ok(os_path_join(path, cases[i].folder, cases[i].name));
        assert_string_equal(path, cases[i].path);
    }
    memset(longest, 'x', OS_PATH_MAX - 3);
    assert_ok(os_path_join(path, longest, "y"));
    assert_int_equal(strlen(path), OS_PATH_MAX - 1);
    assert_int_equal(os_path_join(path, longest, "yz"), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "longer than 4095 bytes"));
    os_path_trim(strcpy(path, "/a//"));
    assert_string_equal(path, "/a");
    os_path_trim(strcpy(path, "//"));
    assert_string_equal(path, "/");
}

static void sizes_that_wrap_are_told(void **state)
{
    (void)state;
    size_t out;
    assert_true(size_multiply(3, 4, &out) && out == 12);
    assert_false(size_multiply(SIZE_MAX / 2, 3, &out));
    assert_false(size_add(SIZE_MAX, 1, &out));
}

static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    uint32_t out[4];
    rng_block(0, 0, 0, out); /* known answers of Random123's philox4x32-10 */
    assert_int_equal(out[0], 0x6627e8d5);
    assert_int_equal(out[1], 0xe169c58d);
    assert_int_equal(out[2], 0xbc57ac4c);
    assert_int_equal(out[3], 0x9b00dbd8);
    rng_block(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    assert_int_equal(out[0], 0x408f276d);
}

static void a_permutation_visits_everything_once(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 17, 1000, 4097};
    for (size_t c = 0; c < COUNT_OF(counts); c++) {
        unsigned char *seen = calloc(counts[c], 1);
        int moved = 0;
        for (uint64_t i = 0; i < counts[c]; i++) {
            uint64_t j = rng_permute(7, 3, counts[c], i);
            assert_true(j < counts[c]);
            assert_int_equal(seen[j]++, 0);
            moved += i != j;
        }
        if (counts[c] > 100) assert_true(moved > (int)(counts[c] / 2));
        free(seen);
    }
}

static void normals_have_mean_0_and_variance_1(void **state)
{
    (void)state;
    rng r;
    double sum = 0, squares = 0, cut = 0;
    int n = 100000; /* the standard error of the mean is 0.0032, of the variance 0.0045: five of each are allowed */
    rng_init(&r, 42, 0);
    for (int i = 0; i < n; i++) {
        double x = rng_normal(&r), y = rng_truncated_normal(&r);
        sum += x;
        squares += x * x;
        cut += y * y;
        assert_true(y <= 2.28 && y >= -2.28);
    }
    assert_true(sum / n < 0.016 && sum / n > -0.016);
    assert_true(squares / n > 0.978 && squares / n < 1.022);
    assert_true(cut / n > 0.98 && cut / n < 1.02);
}

/* Box and Muller's formula in float64 from the same words; an f32 radius and angle leave a few units in the last place. */
static void fast_normals_are_those_of_the_formula(void **state)
{
    (void)state;
    enum { COUNT = 100003 }; /* no multiple of what is made at a time */
    float *x = malloc((COUNT + 1) * sizeof *x);
    assert_non_null(x);
    x[COUNT] = 7.0f;
    rng_normals(3, 4, 1000, x, COUNT, 0.5f);
    for (int i = 0; i < COUNT; i++) {
        uint32_t words[4];
        rng_block(3, 4, 1000 + (uint64_t)i / 4, words);
        double u = ((words[i & 2] >> 8) + 1.0) * 0x1p-24, turns = (words[(i & 2) + 1] >> 8) * 0x1p-24;
        double radius = 0.5 * sqrt(-2.0 * log(u)), angle = 6.283185307179586476925 * turns;
        double want = radius * (i & 1 ? sin(angle) : cos(angle));
        if (!(fabs(x[i] - want) <= 4e-7 * radius)) fail_msg("number %d is %.9g, not %.9g", i, (double)x[i], want);
    }
    assert_true(x[COUNT] == 7.0f);
    float later[40];
    rng_normals(3, 4, 1010, later, 40, 0.5f);
    assert_memory_equal(later, x + 40, sizeof later);
    free(x);
}

static atomic_int visits[8];

static void visit(void *user, int index, int count)
{
    (void)user;
    assert_int_equal(count, 4);
    atomic_fetch_add(&visits[index], 1);
}

static void a_pool_runs_each_index_once_per_job(void **state)
{
    (void)state;
    aios_context *context = test_context();
    thread_pool *pool;
    assert_int_equal(pool_create(context, 4, NULL, &pool), AIOS_OK);
    for (int job = 0; job < 2000; job++) {
        pool_run(pool, visit, NULL);
        if (job % 500 == 0) os_sleep(0.01); /* long enough that the workers sleep */
    }
    for (int i = 0; i < 4; i++) assert_int_equal(visits[i], 2000);
    pool_destroy(pool);
    aios_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_keeps_message_frames_and_code),
        cmocka_unit_test(more_frames_and_longer_texts_than_fit_are_cut),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(a_newer_structure_with_unknown_fields_is_refused),
        cmocka_unit_test(a_deadline_for_devices_is_a_number_of_seconds),
        cmocka_unit_test(replacing_a_file_leaves_old_or_new_and_nothing_beside),
        cmocka_unit_test(a_path_has_one_slash_before_its_name),
        cmocka_unit_test(sizes_that_wrap_are_told),
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(a_permutation_visits_everything_once),
        cmocka_unit_test(normals_have_mean_0_and_variance_1),
        cmocka_unit_test(fast_normals_are_those_of_the_formula),
        cmocka_unit_test(a_pool_runs_each_index_once_per_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
