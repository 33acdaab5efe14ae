#include "checksum.h"

#include "context.h"
#include "os.h"

#include <zlib.h>

#define PIECE ((size_t)1 << 20)

void checksum_add(checksum *sum, const void *bytes, size_t size)
{
    if (size) sum->crc = (uint32_t)crc32_z(sum->crc, bytes, size);
    sum->size += size;
}

aios_status checksum_file(aios_context *context, const char *path, checksum *sum)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    void *piece = NULL;
    size_t got = PIECE;
    *sum = CHECKSUM_INIT;
    ATTEMPT_QUIET(os_file_open(path, &file));
    if (!(piece = aios_memory_alloc(context, PIECE))) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    while (got == PIECE) {
        ATTEMPT(os_file_read_at(file, sum->size, piece, PIECE, &got), "reading %s", path);
        checksum_add(sum, piece, got);
    }
done:
    aios_memory_free(context, piece);
    os_file_close(&file);
    return status;
}
