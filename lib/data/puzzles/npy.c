#include "npy.h"

#include "base/os.h"
#include "base/sizes.h"

#include <stdio.h>
#include <string.h>

#define HEADER_MOST 65536

/* ---- the header: a Python dictionary ----------------------------------------------------------------------------- */

/* The text behind 'key': in the header; NULL where it has none. */
static const char *find_key(const char *header, const char *key)
{
    char quoted[32];
    (void)snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *at = strstr(header, quoted);
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ' ') at++;
    return at;
}

static aios_status read_type(const char *name, const char *text, struct npy *array)
{
    if (!text || text[0] != '\'' || (text[1] != '|' && text[1] != '<' && text[1] != '>') || (text[2] != 'u' && text[2] != 'i') ||
        !text[3] || text[4] != '\'')
        return FAIL(AIOS_UNSUPPORTED, "%s: descr is %.12s: whole numbers such as '|u1', '<i4' are wanted", name, text ? text : "missing");
    array->size = text[3] - '0';
    array->is_signed = text[2] == 'i';
    if (array->size != 1 && array->size != 2 && array->size != 4 && array->size != 8)
        return FAIL(AIOS_CORRUPT, "%s: numbers of %c bytes: 1, 2, 4 or 8 are possible", name, text[3]);
    if (text[1] == '>' && array->size > 1) return FAIL(AIOS_UNSUPPORTED, "%s: big-endian numbers: save it little-endian", name);
    return AIOS_OK;
}

/* "(12, 81)" or "(12,)" */
static aios_status read_shape(const char *name, const char *text, struct npy *array)
{
    if (!text || *text != '(') return FAIL(AIOS_CORRUPT, "%s: the header has no shape", name);
    text++;
    array->count = 1;
    for (array->rank = 0; *text != ')'; array->rank++) {
        uint64_t n = 0;
        if (array->rank == 2) return FAIL(AIOS_UNSUPPORTED, "%s: more than two dimensions: one or two are wanted", name);
        if (*text < '0' || *text > '9') return FAIL(AIOS_CORRUPT, "%s: the shape has '%.8s' where a number is wanted", name, text);
        for (; *text >= '0' && *text <= '9'; text++)
            if (!u64_multiply(n, 10, &n) || !u64_add(n, (uint64_t)(*text - '0'), &n))
                return FAIL(AIOS_CORRUPT, "%s: a dimension has more than 64 bits", name);
        if (!u64_multiply(array->count, n, &array->count))
            return FAIL(AIOS_CORRUPT, "%s: the shape has more elements than can be counted", name);
        array->shape[array->rank] = n;
        while (*text == ',' || *text == ' ') text++;
    }
    if (array->rank == 0) return FAIL(AIOS_UNSUPPORTED, "%s: no dimension: one or two are wanted", name);
    return AIOS_OK;
}

aios_status npy_parse(const char *name, const unsigned char *bytes, size_t size, struct npy *array)
{
    char header[HEADER_MOST + 1];
    *array = (struct npy){0};
    if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0) return FAIL(AIOS_CORRUPT, "%s: not a .npy file", name);
    int version = bytes[6];
    if (version < 1 || version > 3) return FAIL(AIOS_UNSUPPORTED, "%s: version %d of the format: 1, 2 and 3 are known", name, version);
    size_t start = version == 1 ? 10 : 12, length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1) length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (length > HEADER_MOST || length > size - start)
        return FAIL(AIOS_CORRUPT, "%s: a header of %zu bytes in a file of %zu: at most %d are allowed", name, length, size, HEADER_MOST);
    memcpy(header, bytes + start, length);
    header[length] = 0;
    TRY_QUIET(read_type(name, find_key(header, "descr"), array));
    TRY_QUIET(read_shape(name, find_key(header, "shape"), array));
    const char *order = find_key(header, "fortran_order");
    if (!order) return FAIL(AIOS_CORRUPT, "%s: the header has no fortran_order", name);
    if (strncmp(order, "False", 5) != 0 && array->rank == 2)
        return FAIL(AIOS_UNSUPPORTED, "%s: columns first (fortran_order): rows first is wanted", name);
    uint64_t wanted;
    if (!u64_multiply(array->count, (uint64_t)array->size, &wanted) || wanted != size - start - length)
        return FAIL(AIOS_CORRUPT, "%s: %llu numbers of %d bytes are announced, %zu bytes are there", name, (unsigned long long)array->count,
                    array->size, size - start - length);
    array->data = bytes + start + length;
    return AIOS_OK;
}

int64_t npy_get(const struct npy *array, uint64_t index)
{
    uint64_t value = 0;
    int bits = 8 * array->size;
    memcpy(&value, array->data + index * (uint64_t)array->size, (size_t)array->size); /* little-endian machines, as all of libaios */
    if (array->is_signed && bits < 64 && value >> (bits - 1)) value |= ~(uint64_t)0 << bits;
    return (int64_t)value;
}

aios_status npy_write(const char *path, const void *data, uint64_t rows, uint64_t columns, int size)
{
    aios_status status = AIOS_OK;
    char dictionary[160], header[256];
    os_file file = OS_FILE_CLOSED;
    uint64_t bytes = rows * (columns ? columns : 1) * (uint64_t)size;
    if (columns)
        (void)snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (%llu, %llu), }",
                       size == 1 ? "|u1" : "<i4", (unsigned long long)rows, (unsigned long long)columns);
    else
        (void)snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (%llu,), }",
                       size == 1 ? "|u1" : "<i4", (unsigned long long)rows);
    size_t length = 192 - 10; /* the data begins on a multiple of 64 */
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)length;
    header[9] = 0;
    (void)snprintf(header + 10, length, "%-*s", (int)length - 1, dictionary);
    header[10 + length - 1] = '\n';
    ATTEMPT_QUIET(os_file_create(path, &file));
    ATTEMPT_QUIET(os_file_write(file, header, 10 + length));
    if (bytes) ATTEMPT_QUIET(os_file_write(file, data, (size_t)bytes));
    ATTEMPT_QUIET(os_file_sync(file));
done:
    os_file_close(&file);
    return status;
}
