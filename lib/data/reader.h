/* reader.h (internal): documents out of files of several formats, with bounded memory. */
#ifndef AIOS_DATA_READER_H
#define AIOS_DATA_READER_H

#include "base/context.h"

/* Longest line, JSON value or CSV field. */
#define READER_RECORD_MOST ((size_t)64 << 20)

/* What a source gives: text of a document in pieces, `end` 1 with the last (which may be empty).  Whatever it returns other
 * than AIOS_OK ends the reading with that. */
typedef struct reader_sink {
    void *user;
    aios_status (*text)(void *user, const char *text, size_t size, int end);
    /* A file begins; and so many of its bytes on disk are read.  Non-zero stops with AIOS_STOPPED. */
    int32_t (*progress)(void *user, const char *path, uint64_t done);
} reader_sink;

/* Reads a file, or a folder and what is below it in the order of names.  .gz and .dz are unpacked; .jsonl, .ndjson, .json, .csv and .tsv give
 * the fields text, content, sentence, document, article, body, or input and output; anything else is text, one document a file.
 * Errors: NOT_FOUND, UNSUPPORTED (names the file and what to do), CORRUPT (file, line), STOPPED, IO, OUT_OF_MEMORY. */
aios_status reader_run(aios_context *context, const char *path, const reader_sink *sink);

/* ---- between the files of the reader ----------------------------------------------------------------------------- */

/* One open file, unpacked. */
typedef struct reader_stream {
    aios_context *context;
    const reader_sink *sink;
    const char *path;
    void *file; /* gzFile */
    char *buffer;
    size_t begin, end; /* of what is unread in buffer */
    uint64_t line;     /* of the next byte, from 1 */
} reader_stream;
#define READER_BUFFER ((size_t)1 << 18)

/* More bytes into the buffer; begin == end afterwards: the file is over. */
aios_status stream_fill(reader_stream *s);
/* The next byte, or -1 at the end. */
aios_status stream_next(reader_stream *s, int *byte);

/* The place of a field's name in order of preference; -1 for no field of ours. */
int field_rank(const char *name, size_t length);
enum { FIELD_INPUT = 6, FIELD_OUTPUT = 7, FIELD_COUNT = 8 };

aios_status read_json(reader_stream *s, int lines); /* lines 1: one value a line */
aios_status read_csv(reader_stream *s, char separator);

#endif
