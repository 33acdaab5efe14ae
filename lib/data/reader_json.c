/* Documents from JSON: a value a line, or values one after the other, or an array of them; a value is an object with one of the
 * known fields, or a string.  Only one value is in memory at a time. */
#include "reader.h"

#include "base/json.h"

#include <string.h>

struct record {
    char *bytes;
    size_t size, capacity;
    uint64_t line; /* where it begins */
};

static aios_status add_byte(reader_stream *s, struct record *r, int byte)
{
    if (r->size >= READER_RECORD_MOST)
        return FAIL(AIOS_OUT_OF_RANGE, "%s:%llu: a value of over %zu bytes", s->path, (unsigned long long)r->line, READER_RECORD_MOST);
    TRY_QUIET(aios_memory_grow(s->context, (void **)&r->bytes, &r->capacity, r->size + 1, 1));
    r->bytes[r->size++] = (char)byte;
    return AIOS_OK;
}

static aios_status give(reader_stream *s, const json_t *text, int end)
{
    return s->sink->text(s->sink->user, json_string_value(text), json_string_length(text), end);
}

static aios_status give_object(reader_stream *s, const json_t *object, uint64_t line)
{
    static const char *const fields[] = {"text", "content", "sentence", "document", "article", "body"};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (json_is_string(json_object_get(object, fields[i]))) return give(s, json_object_get(object, fields[i]), 1);
    const json_t *input = json_object_get(object, "input"), *output = json_object_get(object, "output");
    if (!json_is_string(input) && !json_is_string(output))
        return FAIL(AIOS_CORRUPT, "%s:%llu: none of the fields text, content, sentence, document, article, body, input, output is there with a string", s->path,
                    (unsigned long long)line);
    if (json_is_string(input)) TRY_QUIET(give(s, input, !json_is_string(output)));
    if (json_is_string(input) && json_is_string(output)) TRY_QUIET(s->sink->text(s->sink->user, "\n", 1, 0));
    return json_is_string(output) ? give(s, output, 1) : AIOS_OK;
}

static aios_status give_value(reader_stream *s, const struct record *r)
{
    aios_status status;
    json_error_t error;
    json_t *value = json_loadb(r->bytes, r->size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value) return FAIL(AIOS_CORRUPT, "%s:%llu: %s", s->path, (unsigned long long)(r->line + (uint64_t)(error.line > 0 ? error.line - 1 : 0)), error.text);
    if (json_is_string(value)) status = give(s, value, 1);
    else if (json_is_object(value)) status = give_object(s, value, r->line);
    else status = FAIL(AIOS_CORRUPT, "%s:%llu: an object with a field \"text\", or a string, is wanted", s->path, (unsigned long long)r->line);
    json_decref(value);
    return status;
}

static aios_status read_lines(reader_stream *s, struct record *r)
{
    for (int byte = 0; byte >= 0;) {
        int blank = 1;
        r->size = 0;
        r->line = s->line;
        for (;;) {
            TRY_QUIET(stream_next(s, &byte));
            if (byte < 0 || byte == '\n') break;
            blank &= byte == ' ' || byte == '\t' || byte == '\r';
            TRY_QUIET(add_byte(s, r, byte));
        }
        if (!blank) TRY_QUIET(give_value(s, r));
    }
    return AIOS_OK;
}

/* The rest of a value that began with `byte`: up to the bracket that closes it, or the end of a string or word. */
static aios_status collect(reader_stream *s, struct record *r, int byte)
{
    int depth = 0, quoted = 0, escaped = 0;
    for (;;) {
        TRY_QUIET(add_byte(s, r, byte));
        if (quoted) {
            if (escaped) escaped = 0;
            else if (byte == '\\') escaped = 1;
            else if (byte == '"') quoted = 0;
        } else if (byte == '"') {
            quoted = 1;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (byte == '}' || byte == ']') {
            depth--;
        }
        if (depth <= 0 && !quoted && (byte == '"' || byte == '}' || byte == ']')) return AIOS_OK;
        TRY_QUIET(stream_next(s, &byte));
        if (byte < 0) return AIOS_OK; /* the parser says what is missing */
    }
}

static aios_status read_values(reader_stream *s, struct record *r)
{
    int in_array = 0, byte;
    for (;;) {
        uint64_t line = s->line;
        TRY_QUIET(stream_next(s, &byte));
        if (byte < 0) break;
        if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == ',') continue;
        if (byte == '[' && !in_array) {
            in_array = 1;
            continue;
        }
        if (byte == ']' && in_array) {
            in_array = 0;
            continue;
        }
        r->size = 0;
        r->line = line;
        if (byte != '{' && byte != '"')
            return FAIL(AIOS_CORRUPT, "%s:%llu: '%c' begins no object or string", s->path, (unsigned long long)line, byte >= 32 && byte < 127 ? byte : '?');
        TRY_QUIET(collect(s, r, byte));
        TRY_QUIET(give_value(s, r));
    }
    if (in_array) return FAIL(AIOS_CORRUPT, "%s:%llu: the array is not closed", s->path, (unsigned long long)s->line);
    return AIOS_OK;
}

aios_status read_json(reader_stream *s, int lines)
{
    struct record r = {NULL, 0, 0, 1};
    aios_status status = lines ? read_lines(s, &r) : read_values(s, &r);
    aios_memory_free(s->context, r.bytes);
    return status;
}
