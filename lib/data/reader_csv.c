/* Documents from CSV (RFC 4180): the header names the columns; the best known one of each row is the document. */
#include "reader.h"

#include <string.h>

struct csv {
    reader_stream *s;
    char separator;
    char *field;
    size_t size, capacity;
    int last;               /* 1: the field ended its row */
    int over;               /* 1: the file ended */
    int column_of[FIELD_COUNT];
    char *kept[FIELD_COUNT]; /* of input and output, which make one document */
    size_t kept_size[FIELD_COUNT], kept_capacity[FIELD_COUNT];
};

static aios_status add_byte(struct csv *c, int byte)
{
    if (c->size >= READER_RECORD_MOST) return FAIL(AIOS_OUT_OF_RANGE, "%s:%llu: a field of over %zu bytes", c->s->path, (unsigned long long)c->s->line, READER_RECORD_MOST);
    TRY_QUIET(aios_memory_grow(c->s->context, (void **)&c->field, &c->capacity, c->size + 2, 1));
    c->field[c->size++] = (char)byte;
    return AIOS_OK;
}

/* The next field into c->field. */
static aios_status next_field(struct csv *c)
{
    int byte, quoted = 0, closed = 0;
    uint64_t line = c->s->line;
    c->size = 0;
    c->last = 0;
    for (;;) {
        TRY_QUIET(stream_next(c->s, &byte));
        if (byte < 0) {
            if (quoted) return FAIL(AIOS_CORRUPT, "%s:%llu: a quoted field is not closed", c->s->path, (unsigned long long)line);
            c->last = c->over = 1;
            return AIOS_OK;
        }
        if (quoted) {
            if (byte != '"') TRY_QUIET(add_byte(c, byte));
            else {
                quoted = 0;
                closed = 1;
            }
        } else if (byte == '"' && closed) { /* "" inside quotes is one */
            TRY_QUIET(add_byte(c, byte));
            quoted = 1;
            closed = 0;
        } else if (byte == '"' && c->size == 0) {
            quoted = 1;
        } else if (byte == c->separator) {
            return AIOS_OK;
        } else if (byte == '\n') {
            if (c->size && c->field[c->size - 1] == '\r' && !closed) c->size--;
            c->last = 1;
            return AIOS_OK;
        } else if (closed && byte != '\r') {
            return FAIL(AIOS_CORRUPT, "%s:%llu: '%c' after a closing quote: a separator is wanted", c->s->path, (unsigned long long)c->s->line, byte >= 32 && byte < 127 ? byte : '?');
        } else if (!closed) {
            TRY_QUIET(add_byte(c, byte));
        }
    }
}

static aios_status read_header(struct csv *c)
{
    int known = 0;
    for (int i = 0; i < FIELD_COUNT; i++) c->column_of[i] = -1;
    for (int column = 0; !c->last || column == 0; column++) {
        TRY_QUIET(next_field(c));
        size_t size = c->size && c->field[c->size - 1] == '\r' ? c->size - 1 : c->size;
        int rank = size ? field_rank(c->field, size) : -1;
        if (rank >= 0) {
            c->column_of[rank] = column;
            known = 1;
        }
    }
    if (!known) return FAIL(AIOS_CORRUPT, "%s:1: no column is called text, content, sentence, document, article, body, input or output", c->s->path);
    return AIOS_OK;
}

static aios_status keep(struct csv *c, int rank)
{
    TRY_QUIET(aios_memory_grow(c->s->context, (void **)&c->kept[rank], &c->kept_capacity[rank], c->size + 1, 1));
    if (c->size) memcpy(c->kept[rank], c->field, c->size);
    c->kept_size[rank] = c->size;
    return AIOS_OK;
}

static aios_status give_row(struct csv *c)
{
    const reader_sink *sink = c->s->sink;
    for (int rank = 0; rank < FIELD_INPUT; rank++)
        if (c->column_of[rank] >= 0) return sink->text(sink->user, c->kept[rank], c->kept_size[rank], 1);
    int both = c->column_of[FIELD_INPUT] >= 0 && c->column_of[FIELD_OUTPUT] >= 0;
    if (c->column_of[FIELD_INPUT] >= 0) TRY_QUIET(sink->text(sink->user, c->kept[FIELD_INPUT], c->kept_size[FIELD_INPUT], !both));
    if (both) TRY_QUIET(sink->text(sink->user, "\n", 1, 0));
    return c->column_of[FIELD_OUTPUT] >= 0 ? sink->text(sink->user, c->kept[FIELD_OUTPUT], c->kept_size[FIELD_OUTPUT], 1) : AIOS_OK;
}

static aios_status read_rows(struct csv *c)
{
    TRY_QUIET(read_header(c));
    while (!c->over) {
        uint64_t line = c->s->line;
        int columns = 0, empty = 1;
        for (int i = 0; i < FIELD_COUNT; i++) c->kept_size[i] = SIZE_MAX;
        do {
            TRY_QUIET(next_field(c));
            empty &= c->size == 0;
            for (int rank = 0; rank < FIELD_COUNT; rank++)
                if (c->column_of[rank] == columns) TRY_QUIET(keep(c, rank));
            columns++;
        } while (!c->last);
        if (columns == 1 && empty) continue; /* an empty line, or the end */
        for (int rank = 0; rank < FIELD_COUNT; rank++)
            if (c->column_of[rank] >= 0 && c->kept_size[rank] == SIZE_MAX)
                return FAIL(AIOS_CORRUPT, "%s:%llu: the row has %d columns, the text stands in column %d", c->s->path, (unsigned long long)line, columns, c->column_of[rank] + 1);
        TRY_QUIET(give_row(c));
    }
    return AIOS_OK;
}

aios_status read_csv(reader_stream *s, char separator)
{
    struct csv c = {.s = s, .separator = separator};
    aios_status status = read_rows(&c);
    for (int i = 0; i < FIELD_COUNT; i++) aios_memory_free(s->context, c.kept[i]);
    aios_memory_free(s->context, c.field);
    return status;
}
