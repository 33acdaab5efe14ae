/* stream.h: the bytes of a file, plain or gzipped, from its start to its end. */
#ifndef AIOS_DATA_STREAM_H
#define AIOS_DATA_STREAM_H

#include "base/context.h"
#include "base/os.h"

#include <zlib.h>

typedef struct byte_stream {
    aios_context *context;
    const char *path; /* borrowed */
    os_file file;
    uint64_t offset; /* bytes of the file that were read */
    int gzip, in_member, started;
    unsigned char *packed;
    z_stream z;
} byte_stream;

/* Errors: NOT_FOUND, IO, OUT_OF_MEMORY. */
aios_status stream_open(aios_context *context, const char *path, int gzip, byte_stream *s);
void stream_close(byte_stream *s); /* closed already is fine */
/* *got < size at the end alone.  gzip: members one after the other, as gzip -c a b > c writes them, and zeros at the end.
 * Errors: IO, CORRUPT (not gzip, cut off, damaged). */
aios_status stream_read(byte_stream *s, char *to, size_t size, size_t *got);

#endif
