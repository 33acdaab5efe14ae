#include "stream.h"

#include "archive.h"
#include "base/sizes.h"

#include <string.h>

#define PACKED ((size_t)64 << 10)

static void *take_memory(void *context, uInt count, uInt size)
{
    size_t bytes;
    return size_multiply(count, size, &bytes) ? aios_memory_alloc(context, bytes) : NULL;
}

static void give_memory(void *context, void *pointer)
{
    aios_memory_free(context, pointer);
}

aios_status unpacked_check(const char *path, uint64_t packed, uint64_t unpacked)
{
    if (unpacked <= UNPACKED_FREE || unpacked / UNPACKED_RATIO <= packed) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "%s: %llu bytes came out of %llu, which no text does (at most %u for one): decompress it if it is right",
                path, (unsigned long long)unpacked, (unsigned long long)packed, UNPACKED_RATIO);
}

static aios_status begin_gzip(byte_stream *s)
{
    s->packed = aios_memory_alloc(s->context, PACKED);
    s->z.zalloc = take_memory;
    s->z.zfree = give_memory;
    s->z.opaque = s->context;
    s->gzip = s->packed && inflateInit2(&s->z, 16 + MAX_WBITS) == Z_OK;
    if (s->gzip) return AIOS_OK;
    stream_close(s);
    return FAIL(AIOS_OUT_OF_MEMORY, "no memory to decompress %s", s->path);
}

aios_status stream_open(aios_context *context, const char *path, int gzip, byte_stream *s)
{
    *s = (byte_stream){.context = context, .path = path, .file = OS_FILE_CLOSED};
    TRY_QUIET(os_file_open(path, &s->file));
    return gzip ? begin_gzip(s) : AIOS_OK;
}

aios_status stream_open_member(aios_context *context, archive_reader *archive, const char *name, int gzip, byte_stream *s)
{
    *s = (byte_stream){.context = context, .path = name, .file = OS_FILE_CLOSED, .archive = archive};
    return gzip ? begin_gzip(s) : AIOS_OK;
}

void stream_close(byte_stream *s)
{
    if (s->gzip) (void)inflateEnd(&s->z);
    s->gzip = 0;
    aios_memory_free(s->context, s->packed);
    s->packed = NULL;
    os_file_close(&s->file);
}

static aios_status read_file(byte_stream *s, void *to, size_t size, size_t *got)
{
    if (s->archive)
        TRY_QUIET(archive_reader_read(s->archive, to, size, got));
    else
        TRY(os_file_read_at(s->file, s->offset, to, size, got), "reading %s", s->path);
    s->offset += *got;
    return AIOS_OK;
}

static aios_status refill(byte_stream *s)
{
    size_t got;
    TRY_QUIET(read_file(s, s->packed, PACKED, &got));
    s->z.next_in = s->packed;
    s->z.avail_in = (uInt)got;
    return AIOS_OK;
}

/* Between members: the next one, or the end of the file. */
static aios_status find_member(byte_stream *s, int *found)
{
    *found = 0;
    for (;;) {
        if (s->z.avail_in == 0) TRY_QUIET(refill(s));
        if (s->z.avail_in == 0) break;
        if (s->started && *s->z.next_in == 0) { /* padding */
            s->z.next_in++;
            s->z.avail_in--;
            continue;
        }
        if (*s->z.next_in != 0x1f)
            return s->started ? FAIL(AIOS_CORRUPT, "%s: something that is not gzip follows the compressed text", s->path)
                              : FAIL(AIOS_CORRUPT, "%s is not a gzip file", s->path);
        (void)inflateReset(&s->z);
        *found = s->in_member = s->started = 1;
        return AIOS_OK;
    }
    return s->started ? AIOS_OK : FAIL(AIOS_CORRUPT, "%s is empty, which no gzip file is", s->path);
}

static aios_status inflate_some(byte_stream *s)
{
    if (s->z.avail_in == 0) TRY_QUIET(refill(s));
    if (s->z.avail_in == 0) return FAIL(AIOS_CORRUPT, "%s is cut off: its gzip data has no end", s->path);
    int answer = inflate(&s->z, Z_NO_FLUSH);
    if (answer == Z_STREAM_END) s->in_member = 0;
    if (answer == Z_OK || answer == Z_STREAM_END || answer == Z_BUF_ERROR) return AIOS_OK;
    if (answer == Z_MEM_ERROR) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to decompress %s", s->path);
    return FAIL(AIOS_CORRUPT, "%s: damaged gzip data before byte %llu: %s", s->path, (unsigned long long)(s->offset - s->z.avail_in),
                s->z.msg ? s->z.msg : "no reason given");
}

aios_status stream_read(byte_stream *s, char *to, size_t size, size_t *got)
{
    *got = 0;
    if (!s->gzip) return read_file(s, to, size, got);
    while (*got < size) {
        int found = 1;
        if (!s->in_member) TRY_QUIET(find_member(s, &found));
        if (!found) break;
        size_t room = size - *got < (1u << 30) ? size - *got : 1u << 30;
        s->z.next_out = (unsigned char *)to + *got;
        s->z.avail_out = (uInt)room;
        TRY_QUIET(inflate_some(s));
        *got += room - s->z.avail_out;
        s->unpacked += room - s->z.avail_out;
        TRY_QUIET(unpacked_check(s->path, s->offset, s->unpacked));
    }
    return AIOS_OK;
}
