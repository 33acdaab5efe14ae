/* Comma- and tab-separated values: RFC 4180, with \n or \r\n at the end of a row. */
#include "reader_parts.h"

#include <string.h>
#include <strings.h>

static aios_status end_field(reader *r)
{
    TRY_QUIET(aios_memory_grow(r->context, (void **)&r->field_ends, &r->field_capacity, r->field_count + 1, sizeof *r->field_ends));
    r->field_ends[r->field_count++] = r->record.size;
    return AIOS_OK;
}

/* Behind the opening quote up to the closing one, which is taken too. */
static aios_status read_quoted(reader *r, uint64_t line)
{
    for (;;) {
        int byte;
        TRY_QUIET(input_peek(r, &byte));
        if (byte < 0) return reader_refuse(r, AIOS_CORRUPT, line, "a quoted field of the row that begins here has no closing quote");
        if (byte == '"') {
            input_take(r);
            TRY_QUIET(input_peek(r, &byte));
            if (byte != '"') return AIOS_OK;
        }
        char c = (char)byte;
        TRY_QUIET(record_add(r, &r->record, &c, 1));
        input_take(r);
    }
}

static aios_status read_plain(reader *r, int separator)
{
    for (;;) {
        int byte;
        TRY_QUIET(input_peek(r, &byte));
        if (byte < 0 || byte == separator || byte == '\n') return AIOS_OK;
        char c = (char)byte;
        TRY_QUIET(record_add(r, &r->record, &c, 1));
        input_take(r);
    }
}

/* Whatever is left of a row that is wrong. */
static aios_status skip_line(reader *r)
{
    for (;;) {
        int byte;
        TRY_QUIET(input_peek(r, &byte));
        if (byte < 0) return AIOS_OK;
        input_take(r);
        if (byte == '\n') return AIOS_OK;
    }
}

/* A row's fields; *found 0 at the end of the file. */
static aios_status read_fields(reader *r, uint64_t *line, int *found)
{
    int separator = r->format == SOURCE_TSV ? '\t' : ',', byte;
    *line = r->line;
    r->field_count = 0;
    r->record.size = 0;
    r->record.too_long = 0;
    TRY_QUIET(input_peek(r, &byte));
    *found = byte >= 0;
    if (!*found) return AIOS_OK;
    for (;;) {
        size_t start = r->record.size;
        int quoted;
        TRY_QUIET(input_peek(r, &byte));
        quoted = byte == '"';
        if (quoted) {
            input_take(r);
            TRY_QUIET(read_quoted(r, *line));
            TRY_QUIET(input_peek(r, &byte));
            if (byte == '\r') {
                input_take(r);
                TRY_QUIET(input_peek(r, &byte));
                if (byte >= 0 && byte != '\n') byte = 'x';
            }
            if (byte >= 0 && byte != separator && byte != '\n') {
                TRY_QUIET(skip_line(r));
                return reader_refuse(r, AIOS_CORRUPT, *line, "field %zu: text follows the closing quote (quotes in a field are doubled)",
                                     r->field_count + 1);
            }
        } else {
            TRY_QUIET(read_plain(r, separator));
            TRY_QUIET(input_peek(r, &byte));
            if (byte != separator && r->record.size > start && r->record.bytes[r->record.size - 1] == '\r') r->record.size--;
        }
        TRY_QUIET(end_field(r));
        if (byte >= 0) input_take(r);
        if (byte != separator) return AIOS_OK;
    }
}

static const char *get_field(const reader *r, size_t index, size_t *size)
{
    size_t start = index ? r->field_ends[index - 1] : 0;
    *size = r->field_ends[index] - start;
    return r->record.bytes ? r->record.bytes + start : "";
}

/* The column of that name; column_count where there is none. */
static size_t find_column(const reader *r, const char *name)
{
    for (size_t i = 0; i < r->field_count; i++) {
        size_t size;
        const char *bytes = get_field(r, i, &size);
        if (size == strlen(name) && strncasecmp(bytes, name, size) == 0) return i;
    }
    return r->field_count;
}

static aios_status read_header(reader *r, int *found)
{
    uint64_t line;
    TRY_QUIET(read_fields(r, &line, found));
    if (!*found) return AIOS_OK;
    r->column_count = r->field_count;
    r->column_kinds = 0;
    r->columns[1] = find_column(r, READER_FIELDS[FIELD_OUTPUT]);
    for (size_t i = 0; i < FIELD_COUNT && !r->column_kinds; i++) {
        r->columns[0] = find_column(r, READER_FIELDS[i]);
        if (r->columns[0] < r->column_count) r->column_kinds = i == FIELD_INPUT && r->columns[1] < r->column_count ? 2 : 1;
    }
    if (r->column_kinds) return AIOS_OK;
    size_t size = r->record.size < 120 ? r->record.size : 120, first;
    (void)get_field(r, 0, &first);
    return FAIL(AIOS_CORRUPT, "%s:1: the header row has none of the columns " READER_FIELD_LIST " (its first is \"%.*s\")", r->name,
                (int)(first < size ? first : size), r->record.bytes ? r->record.bytes : "");
}

aios_status read_row(reader *r, text_piece *piece, int *found)
{
    uint64_t line;
    *found = 1;
    if (!r->column_count) {
        aios_status status = read_header(r, found);
        r->bad = 0; /* without a header nothing can be read */
        if (status != AIOS_OK || !*found) return status;
    }
    do TRY_QUIET(read_fields(r, &line, found));
    while (*found && r->field_count == 1 && r->record.size == 0 && !r->record.too_long); /* empty lines */
    if (!*found) return AIOS_OK;
    if (r->record.too_long)
        return reader_refuse(r, AIOS_OUT_OF_RANGE, line, "the row has over %zu bytes: is a quote missing?", r->options.line_most);
    if (r->field_count != r->column_count)
        return reader_refuse(r, AIOS_CORRUPT, line, "the row has %zu fields: the header has %zu", r->field_count, r->column_count);
    piece->bytes = get_field(r, r->columns[0], &piece->size);
    if (r->column_kinds == 1) return AIOS_OK;
    size_t size;
    const char *answer = get_field(r, r->columns[1], &size);
    TRY_QUIET(record_add(r, &r->text, piece->bytes, piece->size));
    TRY_QUIET(record_add(r, &r->text, "\n", 1));
    TRY_QUIET(record_add(r, &r->text, answer, size));
    if (r->text.too_long) return reader_refuse(r, AIOS_OUT_OF_RANGE, line, "the row has over %zu bytes", r->options.line_most);
    piece->bytes = r->text.bytes;
    piece->size = r->text.size;
    return AIOS_OK;
}
