/* Any bytes as a file of a corpus: an error that names the file, or documents; and the same documents with bad lines left out,
 * which then never fails for a bad line.  The first byte chooses the format. */
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

/* Reads all; returns the bytes of the documents. */
static aios_status read_all(aios_context *context, const char *path, int skip_bad, uint64_t *total)
{
    const reader_options options = {1000, skip_bad};
    source_list list;
    reader *r;
    text_piece piece;
    aios_status status = AIOS_OK;
    *total = 0;
    check(source_list_open(context, path, &list) == AIOS_OK);
    check(reader_open(context, &list, &options, &r) == AIOS_OK);
    for (int more = 1; status == AIOS_OK && more;) {
        status = reader_next(r, &piece, &more);
        for (size_t i = 0; status == AIOS_OK && i < piece.size; i++) *total += (unsigned char)piece.bytes[i] < 128 ? 1 : 2;
    }
    if (status != AIOS_OK)
        check(strstr(aios_error_message(), list.items[0].path) != NULL);
    else
        check(reader_done(r) == list.total);
    if (!skip_bad) check(reader_skipped(r) == 0);
    reader_close(r);
    source_list_free(&list);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.other", "a.txt.gz", "a.jsonl.gz"};
    static aios_context *context;
    char path[128];
    os_file file;
    uint64_t strict_total, total;
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
    aios_status strict = read_all(context, path, 0, &strict_total), loose = read_all(context, path, 1, &total);
    if (strict == AIOS_OK) check(loose == AIOS_OK && total == strict_total);
    check(os_remove_tree(folder) == AIOS_OK && os_folder_create(folder) == AIOS_OK);
    return 0;
}
