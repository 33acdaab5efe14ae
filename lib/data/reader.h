/* reader.h: the documents of a corpus, one after the other, in bounded memory.
 *
 * A text file is one document that comes in pieces; the others hold a document per line, object or row, which comes whole.  The
 * formats are described in aios/dataset.h. */
#ifndef AIOS_DATA_READER_H
#define AIOS_DATA_READER_H

#include "data/source.h"

#define READER_PIECE     ((size_t)256 << 10)
#define READER_LINE_MOST ((size_t)64 << 20)

typedef struct reader_options {
    size_t line_most; /* bytes of a line, object or row */
    int skip_bad;     /* leave out what can't be read, count it and warn of the first ones */
} reader_options;
#define READER_OPTIONS_INIT ((reader_options){READER_LINE_MOST, 0})

typedef struct text_piece {
    const char *bytes; /* until the next call */
    size_t size;
    int ends; /* the document is complete */
} text_piece;

typedef struct reader reader;

/* Borrows the list. */
aios_status reader_open(aios_context *context, const source_list *list, const reader_options *options, reader **made);
void reader_close(reader *r);
/* The next piece; *more is 0 where there is none.  Errors: CORRUPT "file:line: what", OUT_OF_RANGE (a line that is too long),
 * UNSUPPORTED (a file of unknown kind that holds no text), IO, OUT_OF_MEMORY. */
aios_status reader_next(reader *r, text_piece *piece, int *more);
uint64_t reader_done(const reader *r);    /* bytes on disk that were read */
uint64_t reader_skipped(const reader *r); /* lines, objects and rows left out */

#endif
