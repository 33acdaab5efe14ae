/* JSON lines, JSON arrays, JSON objects one after the other. */
#include "reader_parts.h"

#include <jansson.h>
#include <string.h>

#define VALUES_MOST ((size_t)1 << 20) /* of one record: they bound the memory that it can ask for */

static int is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t count_values(const char *text, size_t size)
{
    size_t count = 1;
    for (size_t i = 0, in_string = 0; i < size; i++) {
        char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else
            count += c == ',' || c == ':' || c == '[' || c == '{';
    }
    return count;
}

static aios_status take_string(reader *r, const json_t *value, text_piece *piece)
{
    TRY_QUIET(record_add(r, &r->text, json_string_value(value), json_string_length(value)));
    *piece = (text_piece){r->text.size ? r->text.bytes : "", r->text.size, 0};
    return AIOS_OK;
}

static aios_status take_fields(reader *r, uint64_t line, const json_t *object, text_piece *piece)
{
    const json_t *fields[FIELD_COUNT];
    size_t first = FIELD_COUNT;
    for (size_t i = FIELD_COUNT; i-- > 0;) {
        fields[i] = json_object_get(object, READER_FIELDS[i]);
        if (json_is_string(fields[i])) first = i;
    }
    if (first == FIELD_COUNT)
        return reader_refuse(r, AIOS_CORRUPT, line, "the object has none of the fields " READER_FIELD_LIST " with a string");
    TRY_QUIET(take_string(r, fields[first], piece));
    if (first != FIELD_INPUT || !json_is_string(fields[FIELD_OUTPUT])) return AIOS_OK;
    TRY_QUIET(record_add(r, &r->text, "\n", 1));
    return take_string(r, fields[FIELD_OUTPUT], piece);
}

/* r->record holds the text of one value, which began in `line`. */
static aios_status take_document(reader *r, uint64_t line, text_piece *piece)
{
    json_error_t error;
    if (r->record.too_long)
        return reader_refuse(r, AIOS_OUT_OF_RANGE, line, "over %zu bytes: split it, or give the text as .txt", r->options.line_most);
    if (count_values(r->record.bytes, r->record.size) > VALUES_MOST)
        return reader_refuse(r, AIOS_OUT_OF_RANGE, line, "over %zu values in one object", VALUES_MOST);
    json_t *value = json_loadb(r->record.bytes, r->record.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value) {
        if (json_error_code(&error) == json_error_out_of_memory) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to read %s", r->name);
        return reader_refuse(r, AIOS_CORRUPT, line + (uint64_t)(error.line > 1 ? error.line - 1 : 0), "column %d: %s", error.column,
                             error.text);
    }
    aios_status status = json_is_object(value)   ? take_fields(r, line, value, piece)
                         : json_is_string(value) ? take_string(r, value, piece)
                                                 : reader_refuse(r, AIOS_CORRUPT, line, "must be an object or a string");
    json_decref(value);
    return status;
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

/* The bytes up to a line's end, which is taken too. */
static aios_status read_line(reader *r, int *ended)
{
    *ended = 0;
    for (;;) {
        int byte;
        TRY_QUIET(input_peek(r, &byte));
        *ended = byte < 0;
        if (*ended) return AIOS_OK;
        const char *start = r->input + r->at, *end = memchr(start, '\n', r->end - r->at);
        size_t size = end ? (size_t)(end - start) : r->end - r->at;
        TRY_QUIET(record_add(r, &r->record, start, size));
        r->at += size;
        if (!end) continue;
        input_take(r);
        return AIOS_OK;
    }
}

aios_status read_json_line(reader *r, text_piece *piece, int *found)
{
    for (int ended = 0; !ended;) {
        uint64_t line = r->line;
        r->record.size = 0;
        r->record.too_long = 0;
        TRY_QUIET(read_line(r, &ended));
        size_t first = 0;
        while (first < r->record.size && is_blank((unsigned char)r->record.bytes[first])) first++;
        if (first == r->record.size && !r->record.too_long) continue;
        *found = 1;
        return take_document(r, line, piece);
    }
    return AIOS_OK;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static aios_status skip_blanks(reader *r, int *byte)
{
    for (;;) {
        TRY_QUIET(input_peek(r, byte));
        if (!is_blank(*byte)) return AIOS_OK;
        input_take(r);
    }
}

/* One value, by its brackets and quotes alone. */
static aios_status read_value(reader *r, uint64_t line)
{
    size_t depth = 0;
    int in_string = 0, escaped = 0, whole = 0;
    while (!whole) {
        int byte;
        TRY_QUIET(input_peek(r, &byte));
        if (byte < 0) break;
        char c = (char)byte;
        if (in_string) {
            if (!escaped && c == '"') in_string = 0;
            escaped = !escaped && c == '\\';
            whole = !in_string && depth == 0;
        } else if (depth == 0 && r->record.size && (is_blank(byte) || c == ',' || c == ']' || c == '}')) {
            return AIOS_OK; /* the end of a number or word */
        } else {
            in_string = c == '"';
            if (c == '{' || c == '[') depth++;
            if (c == '}' || c == ']') whole = depth <= 1;
            if ((c == '}' || c == ']') && depth) depth--;
        }
        TRY_QUIET(record_add(r, &r->record, &c, 1));
        input_take(r);
    }
    if (!whole && (in_string || depth))
        return FAIL(AIOS_CORRUPT, "%s:%llu: the value that begins here has no end", r->name, (unsigned long long)line);
    return AIOS_OK;
}

/* What stands before a value: nothing, the start of an array, or a comma in it. */
static aios_status read_separator(reader *r, int *byte)
{
    TRY_QUIET(skip_blanks(r, byte));
    if (!r->array_begun) {
        r->array_begun = 1;
        r->in_array = *byte == '[';
        if (!r->in_array) return AIOS_OK;
        input_take(r);
        TRY_QUIET(skip_blanks(r, byte));
    } else if (r->in_array && *byte == ',') {
        input_take(r);
        TRY_QUIET(skip_blanks(r, byte));
        if (*byte == ']') return FAIL(AIOS_CORRUPT, "%s:%llu: a value must follow the comma", r->name, (unsigned long long)r->line);
    } else if (r->in_array && *byte >= 0 && *byte != ']') {
        return FAIL(AIOS_CORRUPT, "%s:%llu: a comma must stand between the values of the array", r->name, (unsigned long long)r->line);
    }
    if (!r->in_array) return AIOS_OK;
    if (*byte < 0) return FAIL(AIOS_CORRUPT, "%s:%llu: the array has no end", r->name, (unsigned long long)r->line);
    if (*byte != ']') return AIOS_OK;
    input_take(r);
    TRY_QUIET(skip_blanks(r, byte));
    if (*byte >= 0) return FAIL(AIOS_CORRUPT, "%s:%llu: something follows the array", r->name, (unsigned long long)r->line);
    return AIOS_OK;
}

aios_status read_json_value(reader *r, text_piece *piece, int *found)
{
    int byte;
    TRY_QUIET(read_separator(r, &byte));
    if (byte < 0) return AIOS_OK;
    uint64_t line = r->line;
    TRY_QUIET(read_value(r, line));
    *found = 1;
    return take_document(r, line, piece);
}
