/* checksum.h: size and CRC-32 (zlib's: ISO 3309, the polynomial of gzip) of bytes that come in pieces.  It tells damage, not malice. */
#ifndef AIOS_BASE_CHECKSUM_H
#define AIOS_BASE_CHECKSUM_H

#include "error.h"
#include <aios/context.h>

typedef struct checksum {
    uint64_t size;
    uint32_t crc;
} checksum;
#define CHECKSUM_INIT ((checksum){0, 0})

void checksum_add(checksum *sum, const void *bytes, size_t size);
/* Of a whole file, read in pieces of 1 MiB.  Errors: NOT_FOUND, IO, OUT_OF_MEMORY. */
aios_status checksum_file(aios_context *context, const char *path, checksum *sum);

#endif
