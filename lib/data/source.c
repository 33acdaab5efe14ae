#include "source.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MOST 64
#define END_BYTES  ((size_t)65536)

/* ---- formats ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *extension;
    int format;
} FORMATS[] = {
    {"txt", SOURCE_TEXT},          {"text", SOURCE_TEXT}, {"md", SOURCE_TEXT}, {"jsonl", SOURCE_JSON_LINES},
    {"ndjson", SOURCE_JSON_LINES}, {"json", SOURCE_JSON}, {"csv", SOURCE_CSV}, {"tsv", SOURCE_TSV},
    {"zip", SOURCE_ZIP},           {"tar", SOURCE_TAR},   {"tgz", SOURCE_TAR},
};

#define COLUMNS    "write its text column as .jsonl or .csv first"
#define UNPACK     "unpack it into a folder and give that"
#define RECOMPRESS "decompress it, or compress it with gzip"
#define NO_TEXT    "it holds no text: take it out of the folder"

static const struct {
    const char *extension, *advice;
} REFUSED[] = {
    {"parquet", COLUMNS},
    {"arrow", COLUMNS},
    {"feather", COLUMNS},
    {"orc", COLUMNS},
    {"avro", COLUMNS},
    {"xlsx", COLUMNS},
    {"xls", COLUMNS},
    {"sqlite", COLUMNS},
    {"db", COLUMNS},
    {"7z", UNPACK},
    {"rar", UNPACK},
    {"bz2", RECOMPRESS},
    {"xz", RECOMPRESS},
    {"zst", RECOMPRESS},
    {"lz4", RECOMPRESS},
    {"pdf", "extract its text as .txt first"},
    {"docx", "save it as .txt first"},
    {"safetensors", NO_TEXT},
    {"pt", NO_TEXT},
    {"pth", NO_TEXT},
    {"bin", NO_TEXT},
    {"pkl", NO_TEXT},
    {"npy", NO_TEXT},
    {"npz", NO_TEXT},
    {"h5", NO_TEXT},
    {"png", NO_TEXT},
    {"jpg", NO_TEXT},
    {"jpeg", NO_TEXT},
    {"gif", NO_TEXT},
    {"webp", NO_TEXT},
    {"mp3", NO_TEXT},
    {"wav", NO_TEXT},
    {"mp4", NO_TEXT},
};

/* The part of a name behind its last dot, up to `end`; its length is 0 where there is none. */
static const char *find_extension(const char *name, size_t end, size_t *length)
{
    for (size_t i = end; i-- > 0 && name[i] != '/';) {
        if (name[i] != '.') continue;
        *length = end - i - 1;
        return name + i + 1;
    }
    *length = 0;
    return name + end;
}

static int is_extension(const char *extension, size_t length, const char *wanted)
{
    return strlen(wanted) == length && strncasecmp(extension, wanted, length) == 0;
}

aios_status source_find_format(const char *name, int *format, int *gzip)
{
    size_t end = strlen(name), length;
    const char *extension = find_extension(name, end, &length);
    *gzip = is_extension(extension, length, "gz") || is_extension(extension, length, "dz");
    if (*gzip) extension = find_extension(name, end - length - 1, &length);
    *format = SOURCE_UNKNOWN;
    for (size_t i = 0; i < COUNT_OF(FORMATS); i++)
        if (is_extension(extension, length, FORMATS[i].extension)) *format = FORMATS[i].format;
    for (size_t i = 0; i < COUNT_OF(REFUSED); i++)
        if (is_extension(extension, length, REFUSED[i].extension))
            return FAIL(AIOS_UNSUPPORTED, "%s: .%s files are not read: %s", name, REFUSED[i].extension, REFUSED[i].advice);
    int is_tgz = is_extension(extension, length, "tgz");
    if (*gzip && (*format == SOURCE_ZIP || is_tgz))
        return FAIL(AIOS_UNSUPPORTED, "%s: a compressed file in gzip is not read: decompress it once", name);
    *gzip |= is_tgz;
    return AIOS_OK;
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

aios_status source_list_add(source_list *list, const char *path)
{
    TRY_QUIET(aios_memory_grow(list->context, (void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items));
    source *s = &list->items[list->count];
    *s = (source){.path = aios_memory_strdup(list->context, path)};
    if (!s->path) return AIOS_OUT_OF_MEMORY;
    list->count++;
    size_t root = strlen(list->root);
    const char *slash = strrchr(s->path, '/');
    s->name = s->path[root] == '/' ? s->path + root + 1 : slash ? slash + 1 : s->path;
    TRY_QUIET(source_find_format(s->path, &s->format, &s->gzip));
    TRY_QUIET(os_file_get_stamp(s->path, &s->stamp));
    list->total += s->stamp.size;
    return AIOS_OK;
}

typedef struct walk {
    source_list *list;
    const char *folder;
    int depth;
} walk;

static aios_status visit(void *user, const char *name)
{
    walk *w = user;
    char path[PATH_MAX];
    if (*name == '.') return AIOS_OK;
    const char *slash = strcmp(w->folder, "/") == 0 ? "" : "/";
    if (snprintf(path, sizeof path, "%s%s%s", w->folder, slash, name) >= (int)sizeof path)
        return FAIL(AIOS_OUT_OF_RANGE, "%s/%s: the name is too long", w->folder, name);
    int kind = os_path_kind(path);
    if (kind == OS_FILE) return source_list_add(w->list, path);
    if (kind != OS_FOLDER) return FAIL(AIOS_UNSUPPORTED, "%s is neither a file nor a folder: take it out of the folder", path);
    if (w->depth == DEPTH_MOST)
        return FAIL(AIOS_UNSUPPORTED, "%s lies deeper than %d folders: does a link point upwards?", path, DEPTH_MOST);
    walk below = {w->list, path, w->depth + 1};
    return os_folder_list(w->list->context, path, visit, &below);
}

/* Links above a file are followed, but its own name is kept: it tells the format. */
static aios_status resolve_file(const char *path, char root[PATH_MAX])
{
    char folder[PATH_MAX];
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder) return FAIL(AIOS_OUT_OF_RANGE, "%s: the name is too long", path);
    char *slash = strrchr(folder, '/');
    size_t start = slash ? (size_t)(slash - folder) + 1 : 0;
    if (slash)
        slash[slash == folder] = 0;
    else
        memcpy(folder, ".", 2);
    TRY_QUIET(os_path_absolute(folder, root, PATH_MAX));
    size_t used = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (snprintf(root + used, PATH_MAX - used, "/%s", path + start) >= (int)(PATH_MAX - used))
        return FAIL(AIOS_OUT_OF_RANGE, "%s: the full name is too long", path);
    return AIOS_OK;
}

aios_status source_list_begin(aios_context *context, const char *root, const char *key, source_list *list)
{
    *list = (source_list){.context = context};
    list->root = aios_memory_strdup(context, root);
    list->key = aios_memory_strdup(context, key);
    return list->root && list->key ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const source *)a)->name, ((const source *)b)->name);
}

void source_list_sort(source_list *list)
{
    if (list->count) qsort(list->items, list->count, sizeof *list->items, compare_names);
}

aios_status source_list_open(aios_context *context, const char *path, source_list *list)
{
    aios_status status = AIOS_OK;
    char root[PATH_MAX];
    *list = (source_list){.context = context};
    int kind = os_path_kind(path);
    if (kind == OS_NOTHING) return FAIL(AIOS_NOT_FOUND, "%s: no such file or folder", path);
    if (kind == OS_OTHER) return FAIL(AIOS_UNSUPPORTED, "%s is neither a file nor a folder", path);
    TRY_QUIET(kind == OS_FILE ? resolve_file(path, root) : os_path_absolute(path, root, sizeof root));
    ATTEMPT_QUIET(source_list_begin(context, root, root, list));
    if (kind == OS_FILE) {
        ATTEMPT_QUIET(source_list_add(list, root));
    } else {
        walk top = {list, list->root, 0};
        ATTEMPT_QUIET(os_folder_list(context, root, visit, &top));
        if (list->count == 0) status = FAIL(AIOS_NOT_FOUND, "folder %s holds no file", path);
    }
done:
    if (status != AIOS_OK) source_list_free(list);
    return status;
}

void source_list_free(source_list *list)
{
    for (size_t i = 0; i < list->count; i++) aios_memory_free(list->context, list->items[i].path);
    aios_memory_free(list->context, list->items);
    aios_memory_free(list->context, list->root);
    aios_memory_free(list->context, list->key);
    *list = (source_list){.context = list->context};
}

/* ---- identity ---------------------------------------------------------------------------------------------------- */

static aios_status add_ends(digest *d, const source *s, char *piece)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    size_t got;
    uint64_t size = s->stamp.size;
    ATTEMPT_QUIET(os_file_open(s->path, &file));
    ATTEMPT(os_file_read_at(file, 0, piece, END_BYTES, &got), "reading %s", s->path);
    digest_add(d, piece, got);
    if (size > END_BYTES) {
        ATTEMPT(os_file_read_at(file, size > 2 * END_BYTES ? size - END_BYTES : END_BYTES, piece, END_BYTES, &got), "reading %s", s->path);
        digest_add(d, piece, got);
    }
done:
    os_file_close(&file);
    return status;
}

static aios_status identify(const source_list *list, int here, char text[DIGEST_TEXT])
{
    aios_status status = AIOS_OK;
    digest d;
    digest_init(&d);
    char *piece = aios_memory_alloc(list->context, END_BYTES);
    if (!piece) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < list->count; i++) {
        const source *s = &list->items[i];
        digest_add_text(&d, here ? s->path : s->name);
        digest_add_u64(&d, s->stamp.size);
        if (here) digest_add_u64(&d, (uint64_t)s->stamp.modified_ns);
        ATTEMPT_QUIET(add_ends(&d, s, piece));
    }
    digest_end(&d, text);
done:
    aios_memory_free(list->context, piece);
    return status;
}

aios_status source_list_identify(const source_list *list, char text[DIGEST_TEXT])
{
    return identify(list, 0, text);
}

aios_status source_list_identify_here(const source_list *list, char text[DIGEST_TEXT])
{
    return identify(list, 1, text);
}

aios_status source_list_check(const source_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const source *s = &list->items[i];
        os_file_stamp now;
        TRY_QUIET(os_file_get_stamp(s->path, &now));
        if (now.size != s->stamp.size || now.modified_ns != s->stamp.modified_ns || now.inode != s->stamp.inode)
            return FAIL(AIOS_CORRUPT, "%s changed while it was read: try again when it is complete", s->path);
    }
    return AIOS_OK;
}
