#include "reader_parts.h"

#include <stdarg.h>
#include <string.h>

#define WARNINGS_MOST 10
#define LOOK_BYTES    4096 /* at the start of a file of unknown kind */

const char *const READER_FIELDS[FIELD_COUNT] = {"text", "content", "sentence", "document", "article", "body", "input", "output"};

aios_status reader_open(aios_context *context, const source_list *list, const reader_options *options, reader **made)
{
    *made = NULL;
    reader *r = aios_new(context, reader);
    if (!r) return AIOS_OUT_OF_MEMORY;
    r->context = aios_context_retain(context);
    r->list = list;
    r->options = options ? *options : READER_OPTIONS_INIT;
    r->stream = (byte_stream){.context = context, .file = OS_FILE_CLOSED};
    if (!(r->input = aios_memory_alloc(context, READER_PIECE))) {
        reader_close(r);
        return AIOS_OUT_OF_MEMORY;
    }
    *made = r;
    return AIOS_OK;
}

void reader_close(reader *r)
{
    if (!r) return;
    aios_context *context = r->context;
    stream_close(&r->stream);
    archive_reader_close(r->archive);
    aios_memory_free(context, r->name);
    aios_memory_free(context, r->input);
    aios_memory_free(context, r->record.bytes);
    aios_memory_free(context, r->text.bytes);
    aios_memory_free(context, r->field_ends);
    aios_memory_free(context, r);
    aios_context_release(context);
}

uint64_t reader_done(const reader *r)
{
    return r->done_files + (r->archive ? archive_reader_done(r->archive) : r->source ? r->stream.offset : 0);
}

uint64_t reader_skipped(const reader *r)
{
    return r->skipped;
}

aios_status reader_refuse(reader *r, aios_status status, uint64_t line, const char *format, ...)
{
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    r->bad = 1;
    return FAIL(status, "%s:%llu: %s", r->name, (unsigned long long)line, what);
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

aios_status input_fill(reader *r)
{
    r->at = r->end = 0;
    TRY_QUIET(stream_read(&r->stream, r->input, READER_PIECE, &r->end));
    r->unpacked += r->end;
    return unpacked_check(r->source->path, r->source->stamp.size, r->unpacked);
}

aios_status record_add(reader *r, record *to, const char *bytes, size_t size)
{
    if (size > r->options.line_most - to->size) {
        to->too_long = 1;
        return AIOS_OK;
    }
    if (size == 0) return AIOS_OK;
    TRY_QUIET(aios_memory_grow(r->context, (void **)&to->bytes, &to->capacity, to->size + size, 1));
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
    return AIOS_OK;
}

static aios_status check_kind(const reader *r)
{
    const unsigned char *start = (const unsigned char *)r->input;
    size_t size = r->end < LOOK_BYTES ? r->end : LOOK_BYTES;
    if (!r->gzip && size >= 3 && start[0] == 0x1f && start[1] == 0x8b && start[2] == 8)
        return FAIL(AIOS_UNSUPPORTED, "%s is compressed: give it a name that ends with .gz", r->name);
    if (r->format == SOURCE_UNKNOWN && size && memchr(start, 0, size))
        return FAIL(AIOS_UNSUPPORTED, "%s does not look like text: take it out of the folder, or give it a name that ends with .txt",
                    r->name);
    return AIOS_OK;
}

/* The file's path, and for one in an archive its name there. */
static aios_status set_name(reader *r, const char *path, const char *member)
{
    size_t size = strlen(path) + strlen(member) + 2;
    TRY_QUIET(aios_memory_grow(r->context, (void **)&r->name, &r->name_capacity, size, 1));
    (void)snprintf(r->name, size, "%s%s%s", path, *member ? "/" : "", member);
    return AIOS_OK;
}

static aios_status begin_text(reader *r)
{
    r->is_open = 1;
    r->line = 1;
    r->in_array = r->array_begun = 0;
    r->column_count = 0;
    TRY_QUIET(input_fill(r));
    TRY_QUIET(check_kind(r));
    if (r->end >= 3 && memcmp(r->input, "\xef\xbb\xbf", 3) == 0) r->at = 3;
    return AIOS_OK;
}

static aios_status begin_source(reader *r)
{
    const source *s = &r->list->items[r->next_file++];
    int is_archive = s->format == SOURCE_ZIP || s->format == SOURCE_TAR;
    r->format = s->format;
    r->gzip = s->gzip;
    r->unpacked = 0;
    TRY_QUIET(set_name(r, s->path, ""));
    TRY_QUIET(is_archive
                  ? archive_reader_open(r->context, s->path, s->format == SOURCE_ZIP ? ARCHIVE_ZIP : ARCHIVE_TAR, s->gzip, &r->archive)
                  : stream_open(r->context, s->path, s->gzip, &r->stream));
    r->source = s;
    return is_archive ? AIOS_OK : begin_text(r);
}

static void end_source(reader *r)
{
    archive_reader_close(r->archive);
    r->archive = NULL;
    r->done_files += r->source->stamp.size;
    r->source = NULL;
}

/* The next file in the archive, or the archive's end. */
static aios_status begin_member(reader *r)
{
    const char *member;
    int more;
    TRY_QUIET(archive_reader_next(r->archive, &member, &more));
    if (!more) {
        end_source(r);
        return AIOS_OK;
    }
    TRY_QUIET(set_name(r, r->source->path, member));
    TRY_QUIET(source_find_format(r->name, &r->format, &r->gzip));
    if (r->format == SOURCE_ZIP || r->format == SOURCE_TAR)
        return FAIL(AIOS_UNSUPPORTED, "%s: an archive in an archive is not read: unpack the outer one into a folder and give that",
                    r->name);
    TRY_QUIET(stream_open_member(r->context, r->archive, r->name, r->gzip, &r->stream));
    return begin_text(r);
}

static void end_text(reader *r)
{
    stream_close(&r->stream);
    r->is_open = 0;
    if (!r->archive) end_source(r);
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

/* Pieces, then an empty one that ends the document. */
static aios_status read_text(reader *r, text_piece *piece)
{
    if (r->at == r->end) TRY_QUIET(input_fill(r));
    *piece = (text_piece){r->input + r->at, r->end - r->at, r->at == r->end};
    r->at = r->end;
    return AIOS_OK;
}

static aios_status read_record(reader *r, text_piece *piece, int *found)
{
    r->record.size = r->text.size = 0;
    r->record.too_long = r->text.too_long = 0;
    switch (r->format) {
    case SOURCE_JSON_LINES: return read_json_line(r, piece, found);
    case SOURCE_JSON: return read_json_value(r, piece, found);
    default: return read_row(r, piece, found);
    }
}

/* A record that can't be read: goes on behind it where that is wanted. */
static aios_status skip_bad(reader *r, aios_status status)
{
    if (!r->bad || !r->options.skip_bad) return status;
    r->bad = 0;
    if (r->skipped++ < WARNINGS_MOST) aios_log(r->context, AIOS_LOG_WARNING, "left out: %s", aios_error_message());
    aios_error_clear();
    return AIOS_OK;
}

static aios_status next_in_file(reader *r, text_piece *piece, int *more)
{
    if (r->format == SOURCE_TEXT || r->format == SOURCE_UNKNOWN) {
        TRY_QUIET(read_text(r, piece));
        *more = 1;
        if (piece->ends) end_text(r);
        return AIOS_OK;
    }
    int found = 0;
    aios_status status = read_record(r, piece, &found);
    if (status != AIOS_OK) return skip_bad(r, status);
    if (found) {
        piece->ends = 1;
        *more = 1;
    } else {
        end_text(r);
    }
    return AIOS_OK;
}

aios_status reader_next(reader *r, text_piece *piece, int *more)
{
    *more = 0;
    *piece = (text_piece){NULL, 0, 0};
    while (!*more) {
        if (!r->source && r->next_file == r->list->count) break;
        if (r->is_open)
            TRY_QUIET(next_in_file(r, piece, more));
        else if (r->source)
            TRY_QUIET(begin_member(r));
        else
            TRY_QUIET(begin_source(r));
    }
    return AIOS_OK;
}
