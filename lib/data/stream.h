/* stream.h: the bytes of a file, or of a file in an archive, plain or gzipped, from its start to its end. */
#ifndef AIOS_DATA_STREAM_H
#define AIOS_DATA_STREAM_H

#include "base/context.h"
#include "base/os.h"

#include <zlib.h>

struct archive_reader;

typedef struct byte_stream {
    aios_context *context;
    const char *path; /* borrowed */
    os_file file;
    struct archive_reader *archive; /* borrowed; NULL: the file is a file */
    uint64_t offset;                /* bytes of the file that were read */
    uint64_t unpacked;              /* bytes that a gzip gave */
    int gzip, in_member, started;
    unsigned char *packed;
    z_stream z;
} byte_stream;

/* Errors: NOT_FOUND, IO, OUT_OF_MEMORY. */
aios_status stream_open(aios_context *context, const char *path, int gzip, byte_stream *s);
/* The file that the archive is at. */
aios_status stream_open_member(aios_context *context, struct archive_reader *archive, const char *name, int gzip, byte_stream *s);
void stream_close(byte_stream *s); /* closed already is fine */
/* *got < size at the end alone.  gzip: members one after the other, as gzip -c a b > c writes them, and zeros at the end.
 * Errors: IO, CORRUPT (not gzip, cut off, damaged), OUT_OF_RANGE (unpacked_check). */
aios_status stream_read(byte_stream *s, char *to, size_t size, size_t *got);

#define UNPACKED_FREE  ((uint64_t)64 << 20)
#define UNPACKED_RATIO 250u
/* Text gets 3 to 10 times smaller, logs up to 100 times.  What is meant to fill a disk gets 1,000 times smaller, and more in layers: over
 * UNPACKED_FREE bytes, more than UNPACKED_RATIO for each packed one are refused.  Errors: OUT_OF_RANGE. */
aios_status unpacked_check(const char *path, uint64_t packed, uint64_t unpacked);

#endif
