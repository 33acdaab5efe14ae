#include "checkpoint_manifest.h"

#include "base/checksum.h"
#include "base/context.h"
#include "base/json.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define FORMAT 1

typedef struct making {
    aios_context *context;
    const char *folder, *skip;
    json_text out;
    size_t count;
} making;

static aios_status sync_file(const char *path)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    ATTEMPT_QUIET(os_file_open(path, &file));
    ATTEMPT(os_file_sync(file), "writing %s", path);
done:
    os_file_close(&file);
    return status;
}

static aios_status add_file(void *user, const char *name)
{
    making *m = user;
    char path[OS_PATH_MAX];
    checksum sum;
    if (m->skip && strcmp(name, m->skip) == 0) return AIOS_OK;
    if (*name == '.')
        return FAIL(AIOS_INVALID_ARGUMENT, "%s in %s: names that begin with a dot are not kept in a checkpoint", name, m->folder);
    if (strcmp(name, MANIFEST_NAME) == 0)
        return FAIL(AIOS_ALREADY_EXISTS, "%s has a " MANIFEST_NAME " already: it is written last, by the commit", m->folder);
    TRY_QUIET(os_path_join(path, m->folder, name));
    if (os_path_kind(path) != OS_FILE) return FAIL(AIOS_INVALID_ARGUMENT, "%s is no file: a checkpoint holds files only", path);
    TRY_QUIET(sync_file(path));
    TRY_QUIET(checksum_file(m->context, path, &sum));
    json_text_format(&m->out, "%s\n    ", m->count++ ? "," : "");
    json_text_string(&m->out, name, strlen(name), JSON_TEXT_COMPACT);
    json_text_format(&m->out, ": {\"size\": %llu, \"crc32\": \"%08x\"}", (unsigned long long)sum.size, (unsigned)sum.crc);
    return m->out.status;
}

aios_status manifest_make(aios_context *context, const char *folder, uint64_t step, const char *skip)
{
    aios_status status = AIOS_OK;
    making m = {context, folder, skip, JSON_TEXT_INIT(context), 0};
    os_file file = OS_FILE_CLOSED;
    char path[OS_PATH_MAX], created[32];
    os_time_text(os_wall_time(), created);
    json_text_format(&m.out, "{\n  \"format\": %d,\n  \"step\": %llu,\n  \"created\": \"%s\",\n  \"files\": {", FORMAT,
                     (unsigned long long)step, created);
    ATTEMPT(os_folder_list(context, folder, add_file, &m), "completing %s", folder);
    json_text_format(&m.out, "%s}\n}\n", m.count ? "\n  " : "");
    ATTEMPT_QUIET(json_text_end(&m.out));
    ATTEMPT_QUIET(os_path_join(path, folder, MANIFEST_NAME));
    ATTEMPT_QUIET(os_file_create(path, &file));
    ATTEMPT(os_file_write(file, m.out.text, m.out.size), "writing %s", path);
    ATTEMPT(os_file_sync(file), "writing %s", path);
    ATTEMPT_QUIET(os_folder_sync(folder));
done:
    os_file_close(&file);
    json_text_free(&m.out);
    return status;
}

/* "9ae0daaf": eight digits of base 16. */
static aios_status read_crc(const json_t *entry, uint32_t *crc)
{
    const char *text;
    TRY_QUIET(json_get_string(entry, "crc32", &text));
    if (strlen(text) != 8 || strspn(text, "0123456789abcdef") != 8)
        return FAIL(AIOS_CORRUPT, "\"crc32\" is \"%.20s\": it must be 8 hexadecimal digits", text);
    *crc = 0;
    for (; *text; text++) *crc = *crc << 4 | (uint32_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    return AIOS_OK;
}

static aios_status check_file(aios_context *context, const char *folder, const char *name, const json_t *entry, int checksums)
{
    char path[OS_PATH_MAX];
    checksum sum = CHECKSUM_INIT;
    int64_t size = 0;
    uint32_t crc = 0;
    if (!*name || *name == '.' || strpbrk(name, "/\\")) return FAIL(AIOS_CORRUPT, "\"%.80s\" is no name of a file in the checkpoint", name);
    TRY(json_get_int(entry, "size", 0, INT64_MAX, &size), "\"%.80s\"", name);
    TRY(read_crc(entry, &crc), "\"%.80s\"", name);
    TRY_QUIET(os_path_join(path, folder, name));
    if (os_path_kind(path) != OS_FILE) return FAIL(AIOS_NOT_FOUND, "%s is missing", path);
    TRY_QUIET(checksums ? checksum_file(context, path, &sum) : os_file_size(path, &sum.size));
    if (sum.size != (uint64_t)size)
        return FAIL(AIOS_CORRUPT, "%s has %llu bytes: the manifest says %lld", path, (unsigned long long)sum.size, (long long)size);
    if (checksums && sum.crc != crc)
        return FAIL(AIOS_CORRUPT, "%s is damaged: its CRC-32 is %08x, the manifest says %08x", path, (unsigned)sum.crc, (unsigned)crc);
    return AIOS_OK;
}

aios_status manifest_check(aios_context *context, const char *folder, int checksums, uint64_t *step)
{
    aios_status status = AIOS_OK;
    json_t *manifest = NULL, *files, *entry;
    char path[OS_PATH_MAX];
    const char *name;
    int64_t number;
    TRY_QUIET(os_path_join(path, folder, MANIFEST_NAME));
    ATTEMPT_QUIET(json_read_file(context, path, NULL, &manifest));
    ATTEMPT(json_get_int(manifest, "format", 1, INT64_MAX, &number), "reading %s", path);
    if (number != FORMAT) {
        status = FAIL(AIOS_UNSUPPORTED, "%s has format %lld: this library reads format %d", path, (long long)number, FORMAT);
        goto done;
    }
    ATTEMPT(json_get_int(manifest, "step", 0, INT64_MAX, &number), "reading %s", path);
    if (step) *step = (uint64_t)number;
    ATTEMPT(json_get_object(manifest, "files", &files), "reading %s", path);
    json_object_foreach (files, name, entry) ATTEMPT(check_file(context, folder, name, entry, checksums), "checking %s", path);
done:
    json_decref(manifest);
    return status;
}
