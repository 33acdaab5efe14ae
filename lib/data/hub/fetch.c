#include "fetch.h"

#include "base/json.h"
#include "base/os.h"
#include "base/text.h"

#include <string.h>

#define LIST_MOST     ((size_t)64 << 20) /* bytes of the server's list of files */
#define PIECE         ((size_t)1 << 20)
#define LOCK_SECONDS  0.25
#define EVENT_SECONDS 0.5
#define DOWNLOADS     3 /* of a file whose checksum is wrong */

typedef struct fetch {
    hub *hub;
    http *http;
    uint64_t before, total; /* bytes of files that are done; of all that are to come */
    const char *name;       /* the file that is coming */
    double told;
} fetch;

/* ---- progress ---------------------------------------------------------------------------------------------------- */

static void emit(fetch *f, uint64_t done)
{
    text_buffer json;
    text_init(&json, f->hub->context);
    (void)text_add(&json, "{\"phase\": \"fetching\", \"dataset\": ");
    (void)text_add_json(&json, f->hub->spec.text);
    (void)text_add(&json, ", \"file\": ");
    (void)text_add_json(&json, f->name);
    (void)text_format(&json, ", \"done\": %llu, \"total\": %llu}", (unsigned long long)done, (unsigned long long)f->total);
    if (json.status == AIOS_OK) aios_emit(f->hub->context, "data", json.bytes);
    text_free(&json);
    f->told = os_now();
}

static aios_status report(void *user, uint64_t done)
{
    fetch *f = user;
    const hub_options *o = &f->hub->options;
    if (!f->name) done = 0; /* of the list, which nobody counts */
    if (f->name && os_now() - f->told >= EVENT_SECONDS) emit(f, f->before + done);
    if (o->progress && o->progress(o->progress_user, f->before + done, f->total))
        return FAIL(AIOS_STOPPED, "fetching %s was stopped: what came is kept", f->hub->spec.text);
    return AIOS_OK;
}

/* ---- the list of files ------------------------------------------------------------------------------------------- */

static int is_hash(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

static aios_status take_file(hub *h, const json_t *entry)
{
    const char *name, *hash;
    json_t *lfs = json_object_get(entry, "lfs");
    const json_t *from = json_is_object(lfs) ? lfs : entry;
    int64_t size;
    TRY_QUIET(json_get_string(entry, "rfilename", &name));
    TRY_QUIET(json_get_int(from, "size", 0, INT64_MAX, &size));
    TRY_QUIET(json_get_string(from, json_is_object(lfs) ? "sha256" : "blobId", &hash));
    if (!is_hash(hash, json_is_object(lfs) ? 64 : 40)) return FAIL(AIOS_CORRUPT, "what should be a checksum is none");
    return hub_files_add(&h->files, name, (uint64_t)size, hash);
}

static aios_status read_list(hub *h, const char *text, size_t size, const char *url)
{
    aios_status status = AIOS_OK;
    json_t *all = NULL, *list, *entry;
    const char *commit;
    size_t i;
    ATTEMPT_QUIET(json_parse(text, size, url, NULL, &all));
    ATTEMPT(json_get_string(all, "sha", &commit), "the answer of %s", url);
    if (!is_hash(commit, 40)) {
        status = FAIL(AIOS_CORRUPT, "the answer of %s: \"sha\" is no commit", url);
        goto done;
    }
    memcpy(h->commit, commit, 41);
    ATTEMPT(json_get_array(all, "siblings", &list), "the answer of %s", url);
    json_array_foreach (list, i, entry) ATTEMPT(take_file(h, entry), "file %zu in the answer of %s", i, url);
done:
    json_decref(all);
    return status;
}

static aios_status ask_for_list(fetch *f)
{
    hub *h = f->hub;
    char url[1024], *text;
    size_t size;
    (void)snprintf(url, sizeof url, "%s/api/datasets/%s/revision/%s?blobs=true", h->endpoint, h->spec.repo, h->spec.revision);
    TRY(http_get(f->http, url, LIST_MOST, &text, &size), "asking for the files of %s, which is not in the cache %s", h->spec.text,
        h->cache);
    aios_status status = read_list(h, text, size, url);
    aios_memory_free(h->context, text);
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* The blob of a file, or a file beside it. */
static aios_status blob_path(const hub *h, const hub_file *file, const char *ending, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/blobs/%s%s", h->folder, file->hash, ending) < PATH_MAX) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "the name of the hub's cache folder is too long");
}

static int is_here(const hub *h, const hub_file *file)
{
    char path[PATH_MAX];
    uint64_t size;
    if (blob_path(h, file, "", path) == AIOS_OK && os_path_kind(path) == OS_FILE && os_file_size(path, &size) == AIOS_OK &&
        size == file->size)
        return 1;
    return 0;
}

static aios_status hash_file(aios_context *context, const char *path, const hub_file *file, char text[DIGEST_TEXT])
{
    aios_status status = AIOS_OK;
    os_file from = OS_FILE_CLOSED;
    digest d;
    char start[32];
    size_t got = 1;
    char *piece = aios_memory_alloc(context, PIECE);
    if (!piece) return AIOS_OUT_OF_MEMORY;
    digest_init(&d);
    if (strlen(file->hash) == 40) { /* git's: of a line with its 0, and the file */
        digest_init_sha1(&d);
        digest_add(&d, start, (size_t)snprintf(start, sizeof start, "blob %llu", (unsigned long long)file->size) + 1);
    }
    ATTEMPT_QUIET(os_file_open(path, &from));
    for (uint64_t at = 0; got > 0; at += got) {
        ATTEMPT(os_file_read_at(from, at, piece, PIECE, &got), "reading %s", path);
        digest_add(&d, piece, got);
    }
    digest_end(&d, text);
done:
    os_file_close(&from);
    aios_memory_free(context, piece);
    return status;
}

/* An address holds a few letters as they are. */
static aios_status file_url(const hub *h, const hub_file *file, char *url, size_t size)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
    size_t used = (size_t)snprintf(url, size, "%s/datasets/%s/resolve/%s/", h->endpoint, h->spec.repo, h->commit);
    for (const char *c = file->name; *c; c++) {
        if (used + 4 > size) return FAIL(AIOS_OUT_OF_RANGE, "%s: the name of %.100s… is too long", h->spec.text, file->name);
        used += (size_t)(strchr(plain, *c) ? snprintf(url + used, size - used, "%c", *c)
                                           : snprintf(url + used, size - used, "%%%02X", (unsigned)(unsigned char)*c));
    }
    return AIOS_OK;
}

static aios_status download(fetch *f, const hub_file *file)
{
    hub *h = f->hub;
    char url[4096], part[PATH_MAX], blob[PATH_MAX], hash[DIGEST_TEXT];
    TRY_QUIET(blob_path(h, file, "", blob));
    TRY_QUIET(blob_path(h, file, ".incomplete", part));
    TRY_QUIET(file_url(h, file, url, sizeof url));
    for (int i = 0; i < DOWNLOADS; i++) {
        TRY_QUIET(http_get_file(f->http, url, file->size, part));
        TRY_QUIET(hash_file(h->context, part, file, hash));
        if (strcmp(hash, file->hash) == 0) return os_rename(part, blob);
        TRY_QUIET(os_remove(part));
        aios_log(h->context, AIOS_LOG_WARNING, "%s: what came has checksum %s instead of %s: fetching it again", url, hash, file->hash);
    }
    return FAIL(AIOS_CORRUPT, "%s: what came has checksum %s instead of %s, %d times", url, hash, file->hash, DOWNLOADS);
}

/* One process at a time brings a file, be it ours or another program of the hub's: the lock is the one that they take. */
static aios_status bring(fetch *f, const hub_file *file)
{
    hub *h = f->hub;
    char path[PATH_MAX];
    os_file lock = OS_FILE_CLOSED;
    const char *name = strrchr(h->folder, '/') + 1;
    if (snprintf(path, sizeof path, "%s/.locks/%s/%s.lock", h->cache, name, file->hash) >= (int)sizeof path)
        return FAIL(AIOS_OUT_OF_RANGE, "the name of the hub's cache folder is too long");
    for (aios_status status = AIOS_TIMEOUT; status == AIOS_TIMEOUT;) {
        status = os_lock_take(path, LOCK_SECONDS, &lock);
        if (status != AIOS_OK && status != AIOS_UNSUPPORTED && status != AIOS_TIMEOUT) return status;
        if (status != AIOS_OK) aios_error_clear();
        if (status == AIOS_TIMEOUT) TRY_QUIET(report(f, 0));
    }
    aios_status status = is_here(h, file) ? AIOS_OK : download(f, file);
    os_lock_release(&lock);
    return status;
}

static aios_status bring_missing(fetch *f)
{
    hub *h = f->hub;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/blobs", h->folder);
    TRY_QUIET(os_folder_create(path));
    (void)snprintf(path, sizeof path, "%s/.locks/%s", h->cache, strrchr(h->folder, '/') + 1);
    TRY_QUIET(os_folder_create(path));
    for (size_t i = 0; i < h->files.count; i++)
        if (h->files.items[i].chosen && !is_here(h, &h->files.items[i])) f->total += h->files.items[i].size;
    for (size_t i = 0; i < h->files.count; i++) {
        const hub_file *file = &h->files.items[i];
        if (!file->chosen || is_here(h, file)) continue;
        f->name = file->name;
        TRY(bring(f, file), "fetching %s of %s", file->name, h->spec.text);
        f->before += file->size;
        emit(f, f->before);
    }
    return AIOS_OK;
}

/* ---- links ------------------------------------------------------------------------------------------------------- */

static aios_status link_file(const hub *h, const hub_file *file)
{
    char path[PATH_MAX], target[PATH_MAX], blob[PATH_MAX];
    size_t used = 0;
    TRY_QUIET(hub_snapshot_path(h, file->name, path));
    char *slash = strrchr(path, '/');
    *slash = 0;
    TRY_QUIET(os_folder_create(path));
    *slash = '/';
    for (const char *c = file->name; c; c = strchr(c + 1, '/')) used += (size_t)snprintf(target + used, sizeof target - used, "../");
    (void)snprintf(target + used, sizeof target - used, "../blobs/%s", file->hash);
    aios_status status = os_path_kind(path) == OS_FILE ? AIOS_OK : os_link_create(target, path);
    if (status == AIOS_ALREADY_EXISTS && os_path_kind(path) != OS_FILE) { /* a link to what was deleted */
        TRY_QUIET(os_remove(path));
        status = os_link_create(target, path);
    }
    if (status == AIOS_ALREADY_EXISTS) { /* another process was faster */
        aios_error_clear();
        return AIOS_OK;
    }
    if (status != AIOS_UNSUPPORTED) return status;
    aios_error_clear(); /* a file system without links: the file itself, as the hub's own programs do */
    TRY_QUIET(blob_path(h, file, "", blob));
    return os_rename(blob, path);
}

static aios_status link_all(const hub *h)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < h->files.count; i++)
        if (h->files.items[i].chosen) TRY_QUIET(link_file(h, &h->files.items[i]));
    (void)snprintf(path, sizeof path, "%s/blobs", h->folder); /* before the name that stands for all of it */
    TRY_QUIET(os_folder_sync(path));
    if (strcmp(h->spec.revision, h->commit) == 0) return AIOS_OK;
    (void)snprintf(path, sizeof path, "%s/refs", h->folder);
    TRY_QUIET(os_folder_create(path));
    (void)snprintf(path, sizeof path, "%s/refs/%s", h->folder, h->spec.revision);
    return os_file_replace(path, h->commit, strlen(h->commit));
}

aios_status hub_fetch(hub *h)
{
    aios_status status = AIOS_OK;
    fetch f = {.hub = h};
    ATTEMPT(http_open(h->context, &h->options, &f.http), "%s is not in the cache %s", h->spec.text, h->cache);
    ATTEMPT_QUIET(http_set_token(f.http, os_environment("HF_TOKEN")));
    http_set_progress(f.http, report, &f);
    ATTEMPT_QUIET(ask_for_list(&f));
    ATTEMPT_QUIET(hub_files_choose(&h->files, &h->spec));
    ATTEMPT_QUIET(bring_missing(&f));
    ATTEMPT(link_all(h), "keeping %s in %s", h->spec.text, h->folder);
done:
    http_close(f.http);
    return status;
}
