/* packing.h: archives as a test wants them, right and wrong ones. */
#ifndef AIOS_TEST_PACKING_H
#define AIOS_TEST_PACKING_H

#include "folder.h"

#include <zlib.h>

typedef struct packing {
    unsigned char *bytes;
    size_t size, capacity;
    unsigned char *table; /* of a zip, which stands behind its files */
    size_t table_size, table_capacity;
    int count;
} packing;

static inline void packing_put(unsigned char **bytes, size_t *size, size_t *capacity, const void *more, size_t count)
{
    while (*size + count > *capacity) {
        *capacity = *capacity ? 2 * *capacity : 4096;
        *bytes = realloc(*bytes, *capacity);
        assert_non_null(*bytes);
    }
    if (count) memcpy(*bytes + *size, more, count);
    *size += count;
}

static inline void packing_add(packing *p, const void *more, size_t count)
{
    packing_put(&p->bytes, &p->size, &p->capacity, more, count);
}

static inline void packing_free(packing *p)
{
    free(p->bytes);
    free(p->table);
    *p = (packing){0};
}

static inline void packing_write(packing *p, const char *path)
{
    test_file_write(path, p->bytes, p->size);
    packing_free(p);
}

/* ---- tar (POSIX.1-1988 ustar) ------------------------------------------------------------------------------------ */

/* type: '0' a file, '2' a link to `text`, '5' a folder. */
static inline void tar_add(packing *p, const char *name, char type, const void *text, size_t size)
{
    char header[512] = {0};
    static const char zeros[512] = {0};
    unsigned sum = 0;
    (void)snprintf(header, 100, "%s", name);
    memcpy(header + 100, "0000644", 7);
    memcpy(header + 108, "0000000", 7);
    memcpy(header + 116, "0000000", 7);
    (void)snprintf(header + 124, 12, "%011lo", type == '0' ? (unsigned long)size : 0ul);
    memcpy(header + 136, "00000000000", 11);
    header[156] = type;
    if (type == '2') (void)snprintf(header + 157, 100, "%s", (const char *)text);
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < sizeof header; i++) sum += (unsigned char)header[i];
    (void)snprintf(header + 148, 8, "%06o", sum);
    packing_add(p, header, sizeof header);
    if (type != '0') return;
    packing_add(p, text, size);
    packing_add(p, zeros, (512 - size % 512) % 512);
}

static inline void tar_end(packing *p)
{
    static const char zeros[1024] = {0};
    packing_add(p, zeros, sizeof zeros);
}

static inline void gzip_write(const char *path, const void *bytes, size_t size)
{
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

/* ---- zip (PKWARE's APPNOTE) -------------------------------------------------------------------------------------- */

static inline void zip_u16(unsigned char *to, unsigned value)
{
    to[0] = (unsigned char)value;
    to[1] = (unsigned char)(value >> 8);
}

static inline void zip_u32(unsigned char *to, size_t value)
{
    zip_u16(to, (unsigned)(value & 0xffff));
    zip_u16(to + 2, (unsigned)(value >> 16 & 0xffff));
}

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8, ZIP_ENCRYPTED = 0x100 /* flag it so */, ZIP_WRONG_CRC = 0x200, ZIP_UTF8 = 0x400 };

static inline void zip_add(packing *p, const char *name, int how, const void *text, size_t size)
{
    unsigned char local[30] = {'P', 'K', 3, 4, 20}, central[46] = {'P', 'K', 1, 2, 20, 3, 20};
    int method = how & 0xff;
    unsigned char *packed = malloc(compressBound(size) + 64);
    size_t packed_size = size;
    assert_non_null(packed);
    if (method == ZIP_DEFLATED) {
        z_stream z = {0};
        assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
        z.next_in = (unsigned char *)(uintptr_t)text;
        z.avail_in = (uInt)size;
        z.next_out = packed;
        z.avail_out = (uInt)(compressBound(size) + 64);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        packed_size = z.total_out;
        (void)deflateEnd(&z);
    } else if (size) {
        memcpy(packed, text, size);
    }
    zip_u16(local + 6, (how & ZIP_ENCRYPTED ? 1u : 0u) | (how & ZIP_UTF8 ? 0x800u : 0u));
    zip_u16(local + 8, (unsigned)method);
    zip_u32(local + 14, (size_t)crc32(0, text, (uInt)size) ^ (how & ZIP_WRONG_CRC ? 1 : 0));
    zip_u32(local + 18, packed_size);
    zip_u32(local + 22, size);
    zip_u16(local + 26, (unsigned)strlen(name));
    memcpy(central + 6, local + 4, 26); /* from the version to the length of the name */
    zip_u32(central + 38, 0100644u << 16);
    zip_u32(central + 42, p->size);
    packing_add(p, local, sizeof local);
    packing_add(p, name, strlen(name));
    packing_add(p, packed, packed_size);
    packing_put(&p->table, &p->table_size, &p->table_capacity, central, sizeof central);
    packing_put(&p->table, &p->table_size, &p->table_capacity, name, strlen(name));
    p->count++;
    free(packed);
}

static inline void zip_end(packing *p)
{
    unsigned char end[22] = {'P', 'K', 5, 6};
    zip_u16(end + 8, (unsigned)p->count);
    zip_u16(end + 10, (unsigned)p->count);
    zip_u32(end + 12, p->table_size);
    zip_u32(end + 16, p->size);
    packing_add(p, p->table, p->table_size);
    packing_add(p, end, sizeof end);
}

#endif
