/* storage.h: numbers of each storage type, converted here independently of the library. */
#ifndef AIOS_TEST_STORAGE_H
#define AIOS_TEST_STORAGE_H

#include "base/rng.h"
#include "test.h"
#include <aios/device.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double storage_get(const void *base, int64_t i, int32_t type)
{
    if (type == AIOS_F32) return ((const float *)base)[i];
    uint16_t half = ((const uint16_t *)base)[i];
    if (type == AIOS_BF16) return float_of((uint32_t)half << 16);
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double size = exponent == 31 ? (mantissa ? NAN : INFINITY) : exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return half & 0x8000 ? -size : size;
}

/* value must be a number of ordinary size. */
static inline void storage_put(void *base, int64_t i, double value, int32_t type)
{
    if (type == AIOS_F32) {
        ((float *)base)[i] = (float)value;
    } else if (type == AIOS_BF16) {
        uint32_t bits = bits_of((float)value);
        ((uint16_t *)base)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    } else {
        int exponent;
        double fraction = frexp(fabs(value), &exponent); /* [0.5, 1) */
        long mantissa = lrint(ldexp(fraction, exponent < -13 ? 24 + exponent : 11));
        uint16_t half = (uint16_t)(exponent < -13 ? mantissa : (long)(exponent + 13) * 1024 + mantissa);
        ((uint16_t *)base)[i] = (uint16_t)(half | (value < 0 ? 0x8000 : 0));
    }
}

static inline size_t storage_size(int32_t type)
{
    return type == AIOS_F32 ? 4 : 2;
}

/* Half the distance between neighbours of 1. */
static inline double storage_epsilon(int32_t type)
{
    return type == AIOS_F32 ? 0x1p-24 : type == AIOS_BF16 ? 0x1p-8 : 0x1p-11;
}

/* count random numbers of mean 0 and the given size. */
static inline void *storage_random(int64_t count, int32_t type, double size, rng *r)
{
    void *base = malloc((size_t)count * storage_size(type));
    for (int64_t i = 0; i < count; i++) storage_put(base, i, size * (2 * rng_uniform(r) - 1), type);
    return base;
}

/* count elements that no result may leave in place. */
static inline void *storage_poison(int64_t count, int32_t type)
{
    void *base = malloc((size_t)count * storage_size(type));
    memset(base, 0xff, (size_t)count * storage_size(type)); /* NaN in every type */
    return base;
}

#endif
