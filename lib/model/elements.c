#include "elements.h"

#include <aios/backend.h>

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} elements[ELEMENT_COUNT] = {
#define ELEMENT_ROW_(name, bytes) {#name, bytes},
    ELEMENT_LIST(ELEMENT_ROW_)
#undef ELEMENT_ROW_
};

static int known(int element)
{
    return element >= 0 && element < ELEMENT_COUNT;
}

const char *element_name(int element)
{
    return known(element) ? elements[element].name : "?";
}

size_t element_size(int element)
{
    return known(element) ? elements[element].size : 0;
}

int element_find(const char *name)
{
    for (int i = 0; i < ELEMENT_COUNT; i++)
        if (strcmp(elements[i].name, name) == 0) return i;
    return -1;
}

int element_is_float(int element)
{
    return element == ELEMENT_F64 || element == ELEMENT_F32 || element == ELEMENT_F16 || element == ELEMENT_BF16;
}

int element_of_storage(int32_t storage)
{
    switch (storage) {
    case AIOS_F32: return ELEMENT_F32;
    case AIOS_BF16: return ELEMENT_BF16;
    case AIOS_F16: return ELEMENT_F16;
    case AIOS_I32: return ELEMENT_I32;
    case AIOS_U8: return ELEMENT_U8;
    default: return -1;
    }
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* By masks, not branches, so that the loops below vectorise. */
static uint32_t choose(int condition, uint32_t yes, uint32_t no)
{
    uint32_t mask = 0u - (uint32_t)condition;
    return (yes & mask) | (no & ~mask);
}

/* Neither passes through a subnormal f32: the thread may flush them. */
static uint32_t f16_to_bits(uint32_t half)
{
    uint32_t sign = (half & 0x8000) << 16, magnitude = half & 0x7fff;
    uint32_t normal = (magnitude << 13) + (112u << 23);
    uint32_t tiny = bits_of((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t special = normal + (112u << 23);
    return sign | choose(magnitude < 0x400, tiny, choose(magnitude >= 0x7c00, special, normal));
}

static uint16_t bits_to_f16(uint32_t bits)
{
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    /* 0.5 has an f16 subnormal's unit in its last place, so that the sum rounds to it. */
    uint32_t tiny = bits_of(float_of(choose(magnitude < 0x38800000, magnitude, 0)) + 0.5f) - 0x3f000000;
    uint32_t special = choose(magnitude > 0x7f800000, 0x7e00 | (magnitude >> 13 & 0x3ff), 0x7c00);
    return (uint16_t)(sign | choose(magnitude < 0x38800000, tiny, choose(magnitude >= 0x47800000, special, normal)));
}

static uint16_t bits_to_bf16(uint32_t bits)
{
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    return (uint16_t)choose((bits & 0x7fffffff) > 0x7f800000, quiet, rounded);
}

static uint32_t load_u16(const unsigned char *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

int elements_to_f32(int element, const void *from, float *to, size_t count)
{
    const unsigned char *bytes = from;
    switch (element) {
    case ELEMENT_F32:
        if (count) memcpy(to, from, count * sizeof *to);
        return 1;
    case ELEMENT_F16:
        for (size_t i = 0; i < count; i++) to[i] = float_of(f16_to_bits(load_u16(bytes + 2 * i)));
        return 1;
    case ELEMENT_BF16:
        for (size_t i = 0; i < count; i++) to[i] = float_of(load_u16(bytes + 2 * i) << 16);
        return 1;
    case ELEMENT_F64:
        for (size_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, bytes + 8 * i, sizeof value);
            to[i] = (float)value;
        }
        return 1;
    default: return 0;
    }
}

int elements_from_f32(int element, const float *from, void *to, size_t count)
{
    unsigned char *bytes = to;
    switch (element) {
    case ELEMENT_F32:
        if (count) memcpy(to, from, count * sizeof *from);
        return 1;
    case ELEMENT_F16:
        for (size_t i = 0; i < count; i++) {
            uint16_t value = bits_to_f16(bits_of(from[i]));
            memcpy(bytes + 2 * i, &value, sizeof value);
        }
        return 1;
    case ELEMENT_BF16:
        for (size_t i = 0; i < count; i++) {
            uint16_t value = bits_to_bf16(bits_of(from[i]));
            memcpy(bytes + 2 * i, &value, sizeof value);
        }
        return 1;
    default: return 0;
    }
}
