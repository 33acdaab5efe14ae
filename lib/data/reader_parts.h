/* reader_parts.h: what the formats of a reader share. */
#ifndef AIOS_DATA_READER_PARTS_H
#define AIOS_DATA_READER_PARTS_H

#include "data/archive.h"
#include "data/reader.h"
#include "data/stream.h"

/* A growing run of bytes with a limit. */
typedef struct record {
    char *bytes;
    size_t size, capacity;
    int too_long; /* what came above the limit was dropped */
} record;

struct reader {
    aios_context *context;
    const source_list *list;
    reader_options options;
    size_t next_file;
    const source *source;    /* NULL between files */
    archive_reader *archive; /* where that is one */
    int is_open;             /* of what follows: a file, or one in the archive; else between them */
    char *name;              /* "corpus.zip/a.jsonl", for messages */
    size_t name_capacity;
    int format, gzip;
    byte_stream stream;
    uint64_t unpacked; /* bytes that the source gave */
    char *input;       /* READER_PIECE bytes, of which at … end are unread */
    size_t at, end;
    uint64_t line;       /* the line that `at` is in, from 1 */
    uint64_t done_files; /* bytes of the files before this one */
    uint64_t skipped;
    record record; /* a line, an object, or the fields of a row behind each other */
    record text;   /* a document made of two fields */
    int bad;       /* the failure that is being returned concerns one record, behind which reading can go on */
    int in_array, array_begun;
    size_t *field_ends, field_count, field_capacity; /* of a row */
    size_t column_count, columns[2];                 /* of the header; the ones that hold text */
    int column_kinds;                                /* how many of columns */
};

/* What a line, object or row is asked for, the most wanted first.  Input and output are joined. */
enum { FIELD_INPUT = 6, FIELD_OUTPUT = 7, FIELD_COUNT = 8 };
extern const char *const READER_FIELDS[FIELD_COUNT];
#define READER_FIELD_LIST "text, content, sentence, document, article, body, input, output"

/* The next byte, or -1 at the end of the file; counts lines. */
aios_status input_fill(reader *r);
static inline aios_status input_peek(reader *r, int *byte)
{
    if (r->at == r->end) TRY_QUIET(input_fill(r));
    *byte = r->at < r->end ? (unsigned char)r->input[r->at] : -1;
    return AIOS_OK;
}
static inline void input_take(reader *r)
{
    r->line += r->input[r->at++] == '\n';
}

aios_status record_add(reader *r, record *to, const char *bytes, size_t size);

/* Fails for one record: "file:line: what". */
aios_status reader_refuse(reader *r, aios_status status, uint64_t line, const char *format, ...) AIOS_PRINTF(4, 5);

/* One record of the format: *found 0 at the end of the file. */
aios_status read_json_line(reader *r, text_piece *piece, int *found);
aios_status read_json_value(reader *r, text_piece *piece, int *found);
aios_status read_row(reader *r, text_piece *piece, int *found); /* .csv and .tsv */

#endif
