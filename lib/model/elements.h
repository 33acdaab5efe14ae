/* elements.h: the element types of weight files, and their conversion to and from f32.
 *
 * The names are safetensors'; the order is that in which its Rust library sorts tensors (smallest alignment first). */
#ifndef AIOS_MODEL_ELEMENTS_H
#define AIOS_MODEL_ELEMENTS_H

#include <stddef.h>
#include <stdint.h>

/* name, bytes */
#define ELEMENT_LIST(X)                                                                                                                    \
    X(BOOL, 1)                                                                                                                             \
    X(U8, 1)                                                                                                                               \
    X(I8, 1)                                                                                                                               \
    X(I16, 2)                                                                                                                              \
    X(U16, 2)                                                                                                                              \
    X(F16, 2)                                                                                                                              \
    X(BF16, 2)                                                                                                                             \
    X(I32, 4)                                                                                                                              \
    X(U32, 4)                                                                                                                              \
    X(F32, 4)                                                                                                                              \
    X(F64, 8)                                                                                                                              \
    X(I64, 8)                                                                                                                              \
    X(U64, 8)

enum {
#define ELEMENT_ENUM_(name, bytes) ELEMENT_##name,
    ELEMENT_LIST(ELEMENT_ENUM_)
#undef ELEMENT_ENUM_
        ELEMENT_COUNT
};

const char *element_name(int element); /* "BF16"; "?" for a number that is none */
size_t element_size(int element);      /* bytes; 0 for a number that is none */
int element_find(const char *name);    /* ELEMENT_…; -1 where libaios has no such type */
int element_is_float(int element);
int element_of_storage(int32_t storage); /* of AIOS_F32, AIOS_BF16, …; -1 for another number */

/* count elements of F64, F32, F16 or BF16 to f32 and back (F32, F16, BF16), each rounded to nearest, ties to even; too big for
 * the type is infinity, NaN stays NaN.  Neither side need be aligned; they must not overlap.  Returns 1, or 0 for a type that
 * has no conversion.  Exact and rounded alike whether or not the thread flushes subnormal numbers to zero, except subnormal
 * f32 results of F64. */
int elements_to_f32(int element, const void *from, float *to, size_t count);
int elements_from_f32(int element, const float *from, void *to, size_t count);

#endif
