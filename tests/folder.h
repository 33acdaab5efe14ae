/* folder.h: folders and files of a test. */
#ifndef AIOS_TEST_FOLDER_H
#define AIOS_TEST_FOLDER_H

#include "base/context.h"
#include "base/os.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_PATH_MAX 4096
#define TEST_DATA     TEST_SOURCE_DIR "/data/"

/* A new empty folder, in memory where the system has such a place: tests wait for no disk.  Ends with test_folder_remove. */
static inline char *test_folder_make(void)
{
    const char *base = getenv("TMPDIR");
    char *path = calloc(1, TEST_PATH_MAX);
    assert_non_null(path);
    if (!base || !*base) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(path, TEST_PATH_MAX, "%s/aios-test-XXXXXX", base);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void test_folder_remove(char *path)
{
    assert_ok(os_remove_tree(path));
    free(path);
}

/* folder/name, in memory that the next 8 calls leave alone. */
static inline const char *test_path(const char *folder, const char *name)
{
    static char paths[8][TEST_PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, TEST_PATH_MAX, "%s/%s", folder, name);
    return path;
}

static inline void test_file_write(const char *path, const void *bytes, size_t size)
{
    os_file file;
    assert_ok(os_file_create(path, &file));
    assert_ok(os_file_write(file, bytes, size));
    os_file_close(&file);
}

/* Whether two files hold the same bytes. */
static inline int test_files_equal(aios_context *context, const char *a, const char *b)
{
    char *x = NULL, *y = NULL;
    size_t m, n;
    assert_ok(os_file_read_all(context, a, UINT64_MAX, &x, &m));
    assert_ok(os_file_read_all(context, b, UINT64_MAX, &y, &n));
    int equal = m == n && memcmp(x, y, n) == 0;
    aios_memory_free(context, x);
    aios_memory_free(context, y);
    return equal;
}

static inline aios_status test_count_name(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return AIOS_OK;
}

static inline int test_folder_count(aios_context *context, const char *path)
{
    int count = 0;
    assert_ok(os_folder_list(context, path, test_count_name, &count));
    return count;
}

/* The call must fail with this status, and its message must hold this text. */
#define assert_fails(call, status_, text)                                                                                                  \
    do {                                                                                                                                   \
        aios_status got_ = (call);                                                                                                         \
        if (got_ != (status_)) fail_msg("%s: %s instead of %s: %s", #call, aios_status_name(got_), #status_, aios_error_message());        \
        if (!strstr(aios_error_message(), text)) fail_msg("%s: \"%s\" is not in: %s", #call, text, aios_error_message());                  \
    } while (0)

#endif
