#include "reader.h"

#include "base/os.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* ---- streams ----------------------------------------------------------------------------------------------------- */

aios_status stream_fill(reader_stream *s)
{
    int error;
    s->begin = s->end = 0;
    if (s->sink->progress && s->sink->progress(s->sink->user, s->path, (uint64_t)gzoffset(s->file)))
        return FAIL(AIOS_STOPPED, "reading %s was stopped", s->path);
    int got = gzread(s->file, s->buffer, (unsigned)READER_BUFFER);
    if (got < 0 || (got == 0 && (gzerror(s->file, &error), error == Z_BUF_ERROR))) {
        const char *reason = gzerror(s->file, &error);
        if (error == Z_ERRNO) return FAIL_OS(AIOS_IO, errno, "reading %s", s->path);
        return FAIL(AIOS_CORRUPT, "%s, about line %llu: %s", s->path, (unsigned long long)s->line, error == Z_BUF_ERROR ? "the compressed data ends too early" : reason);
    }
    s->end = (size_t)got;
    return AIOS_OK;
}

aios_status stream_next(reader_stream *s, int *byte)
{
    *byte = -1;
    if (s->begin == s->end) TRY_QUIET(stream_fill(s));
    if (s->begin == s->end) return AIOS_OK;
    *byte = (unsigned char)s->buffer[s->begin++];
    s->line += *byte == '\n';
    return AIOS_OK;
}

static void skip_byte_order_mark(reader_stream *s)
{
    if (s->end - s->begin >= 3 && memcmp(s->buffer + s->begin, "\xef\xbb\xbf", 3) == 0) s->begin += 3;
}

/* ---- formats ----------------------------------------------------------------------------------------------------- */

int field_rank(const char *name, size_t length)
{
    static const char *const fields[FIELD_COUNT] = {"text", "content", "sentence", "document", "article", "body", "input", "output"};
    for (int i = 0; i < FIELD_COUNT; i++)
        if (strlen(fields[i]) == length && strncasecmp(fields[i], name, length) == 0) return i;
    return -1;
}

static aios_status read_text(reader_stream *s)
{
    while (s->begin < s->end) {
        TRY_QUIET(s->sink->text(s->sink->user, s->buffer + s->begin, s->end - s->begin, 0));
        TRY_QUIET(stream_fill(s));
    }
    return s->sink->text(s->sink->user, "", 0, 1);
}

/* 1: the name without .gz or .dz ends so. */
static int ends(const char *path, const char *extension)
{
    size_t length = strlen(path), tail = strlen(extension);
    if (length > 3 && (strcasecmp(path + length - 3, ".gz") == 0 || strcasecmp(path + length - 3, ".dz") == 0)) length -= 3;
    return length >= tail && strncasecmp(path + length - tail, extension, tail) == 0;
}

static aios_status check_format(const char *path)
{
    static const char *const tables[] = {".parquet", ".arrow", ".feather", ".orc"}, *const archives[] = {".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"};
    for (size_t i = 0; i < COUNT_OF(tables); i++)
        if (ends(path, tables[i])) return FAIL(AIOS_UNSUPPORTED, "%s: %s is not read; export it as .jsonl with a field \"text\"", path, tables[i]);
    for (size_t i = 0; i < COUNT_OF(archives); i++)
        if (ends(path, archives[i])) return FAIL(AIOS_UNSUPPORTED, "%s: %s is not read; unpack it into a folder, or use .gz", path, archives[i]);
    return AIOS_OK;
}

static aios_status read_format(reader_stream *s)
{
    if (ends(s->path, ".jsonl") || ends(s->path, ".ndjson")) return read_json(s, 1);
    if (ends(s->path, ".json")) return read_json(s, 0);
    if (ends(s->path, ".csv")) return read_csv(s, ',');
    if (ends(s->path, ".tsv")) return read_csv(s, '\t');
    return read_text(s);
}

static aios_status read_file(aios_context *context, const char *path, const reader_sink *sink)
{
    aios_status status = AIOS_OK;
    reader_stream s = {.context = context, .sink = sink, .path = path, .line = 1};
    TRY_QUIET(check_format(path));
    if (!(s.buffer = aios_memory_alloc(context, READER_BUFFER))) return AIOS_OUT_OF_MEMORY;
    s.file = gzopen(path, "rbe");
    if (!s.file) {
        status = FAIL_OS(errno == ENOENT ? AIOS_NOT_FOUND : AIOS_IO, errno, "opening %s", path);
        goto done;
    }
    (void)gzbuffer(s.file, (unsigned)READER_BUFFER);
    ATTEMPT_QUIET(stream_fill(&s));
    skip_byte_order_mark(&s);
    ATTEMPT_QUIET(read_format(&s));
done:
    if (s.file) (void)gzclose_r(s.file);
    aios_memory_free(context, s.buffer);
    return status;
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

struct folder {
    aios_context *context;
    const char *path;
    const reader_sink *sink;
    int depth;
};

static aios_status read_path(aios_context *context, const char *path, const reader_sink *sink, int depth);

static aios_status visit(void *user, const char *name)
{
    const struct folder *f = user;
    char path[PATH_MAX];
    if (name[0] == '.') return AIOS_OK;
    if (snprintf(path, sizeof path, "%s/%s", f->path, name) >= (int)sizeof path) return FAIL(AIOS_IO, "%s: a name in it is too long", f->path);
    return read_path(f->context, path, f->sink, f->depth + 1);
}

static aios_status read_path(aios_context *context, const char *path, const reader_sink *sink, int depth)
{
    switch (os_path_kind(path)) {
    case OS_FILE: return read_file(context, path, sink);
    case OS_FOLDER: {
        struct folder f = {context, path, sink, depth};
        if (depth > 32) return FAIL(AIOS_UNSUPPORTED, "%s: folders are nested over 32 deep", path);
        return os_folder_list(context, path, visit, &f);
    }
    case OS_OTHER: return FAIL(AIOS_UNSUPPORTED, "%s is neither file nor folder", path);
    default: return FAIL(AIOS_NOT_FOUND, "there is no file or folder %s", path);
    }
}

aios_status reader_run(aios_context *context, const char *path, const reader_sink *sink)
{
    return read_path(context, path, sink, 0);
}
