/* archive.h: the files in a .zip, .tar or .tar.gz, one after the other in the archive's own order, in bounded memory.
 *
 * libarchive reads them; it is opened when the first archive is.  What it is given is taken for hostile: a member's name goes into
 * messages and tells the format, and is never a path; only regular files are read; checksums (zip's, gzip's) count; nothing is written;
 * and text that is much bigger than the file it came from ends in an error (unpacked_check). */
#ifndef AIOS_DATA_ARCHIVE_H
#define AIOS_DATA_ARCHIVE_H

#include "base/context.h"

enum { ARCHIVE_ZIP, ARCHIVE_TAR };

typedef struct archive_reader archive_reader;

/* gzip: of a .tar.  Errors: UNAVAILABLE (no libarchive, with what to do), NOT_FOUND, IO, CORRUPT, OUT_OF_MEMORY. */
aios_status archive_reader_open(aios_context *context, const char *path, int kind, int gzip, archive_reader **made);
void archive_reader_close(archive_reader *a); /* NULL is fine */
/* Goes to the next regular file that is not hidden; *more is 0 where there is none.  *name, fit to be printed, lives until the next call.
 * Errors: CORRUPT (damaged, cut off, something behind its end), UNSUPPORTED (encrypted), IO, OUT_OF_MEMORY. */
aios_status archive_reader_next(archive_reader *a, const char **name, int *more);
/* Bytes of that file; *got < size at its end alone.  Errors: as archive_reader_next. */
aios_status archive_reader_read(archive_reader *a, char *to, size_t size, size_t *got);
/* About how many bytes of the archive's file were read: never more than it has. */
uint64_t archive_reader_done(const archive_reader *a);

#endif
