/* npy.h (internal): NumPy's file format (numpy.lib.format, versions 1 to 3), whole numbers of one or two dimensions.
 *
 * Files come from anywhere: header, shape and size are checked against the file before a value is read. */
#ifndef AIOS_DATA_NPY_H
#define AIOS_DATA_NPY_H

#include "base/error.h"
#include <aios/context.h>

#include <stddef.h>
#include <stdint.h>

struct npy {
    const unsigned char *data; /* inside the bytes that were given */
    int rank;
    uint64_t shape[2], count;
    int size, is_signed; /* of an element: 1, 2, 4 or 8 bytes */
};

/* name stands for the bytes in messages.  Errors: CORRUPT, UNSUPPORTED (big-endian, Fortran order, other types, other ranks). */
aios_status npy_parse(const char *name, const unsigned char *bytes, size_t size, struct npy *array);
int64_t npy_get(const struct npy *array, uint64_t index); /* values above 2^63 - 1 wrap to negative */
/* Writes a file of version 1.0: shape (rows) or, columns > 0, (rows, columns); element size 1 (unsigned) or 4 (signed). */
aios_status npy_write(const char *path, const void *data, uint64_t rows, uint64_t columns, int size);

#endif
