/* Any bytes as an archive: an error that names it, or text, in bounded memory, and nothing but the archive on the disk.  The first byte
 * chooses the format. */
#include "base/context.h"
#include "base/os.h"
#include "data/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char folder[64];

static void remove_folder(void)
{
    (void)os_remove_tree(folder);
}

static void check(int right)
{
    if (!right) abort();
}

static aios_status count_name(void *user, const char *name)
{
    (void)name;
    ++*(int *)user;
    return AIOS_OK;
}

static void read_all(aios_context *context, const char *path)
{
    const reader_options options = {1000, 1};
    source_list list;
    reader *r;
    text_piece piece;
    aios_status status = AIOS_OK;
    uint64_t total = 0;
    check(source_list_open(context, path, &list) == AIOS_OK);
    check(reader_open(context, &list, &options, &r) == AIOS_OK);
    for (int more = 1; status == AIOS_OK && more;) {
        status = reader_next(r, &piece, &more);
        for (size_t i = 0; status == AIOS_OK && i < piece.size; i++) total += (unsigned char)piece.bytes[i] < 128 ? 1 : 2;
        check(reader_done(r) <= list.total);
    }
    check(total <= ((uint64_t)160 << 20)); /* what is never refused, each byte counted twice, and a piece more */
    if (status != AIOS_OK) {
        check(strstr(aios_error_message(), list.items[0].path) != NULL);
        for (const char *c = aios_error_message(); *c; c++) check((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
    reader_close(r);
    source_list_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"a.zip", "a.tar", "a.tar.gz", "a.tgz"};
    static aios_context *context;
    char path[128];
    os_file file;
    int files = 0;
    if (!context) {
        check(aios_context_create(NULL, &context) == AIOS_OK);
        (void)snprintf(folder, sizeof folder, "%s/aios-fuzz-%d", os_path_kind("/dev/shm") == OS_FOLDER ? "/dev/shm" : "/tmp",
                       os_process_id());
        check(os_folder_create(folder) == AIOS_OK && atexit(remove_folder) == 0);
    }
    if (size == 0) return 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, names[bytes[0] % COUNT_OF(names)]);
    check(os_file_create(path, &file) == AIOS_OK && os_file_write(file, bytes + 1, size - 1) == AIOS_OK);
    os_file_close(&file);
    read_all(context, path);
    check(os_folder_list(context, folder, count_name, &files) == AIOS_OK && files == 1);
    check(os_remove(path) == AIOS_OK);
    return 0;
}
