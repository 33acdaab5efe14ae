#include "product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t product_type_size(int type)
{
    return type == TYPE_F32 ? 4 : type == TYPE_F16 || type == TYPE_BF16 ? 2 : 0;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static uint64_t rows_of(const struct layout *l, int transpose)
{
    return transpose ? l->columns : l->rows;
}

static uint64_t columns_of(const struct layout *l, int transpose)
{
    return transpose ? l->rows : l->columns;
}

static int has_bias(const struct description *d)
{
    return (d->fixed.epilogue & EPILOGUE_BIAS) != 0;
}

static int has_gradient(const struct description *d)
{
    return d->fixed.epilogue == EPILOGUE_BGRADA || d->fixed.epilogue == EPILOGUE_BGRADB;
}

static int has_aux(const struct description *d)
{
    return (d->fixed.epilogue & 128) != 0;
}

const char *product_check(const struct description *d, const struct layout *a, const struct layout *b, const struct layout *c,
                          const struct layout *out)
{
    int e = d->fixed.epilogue;
    if (rows_of(a, d->fixed.transpose_a) != out->rows || columns_of(b, d->fixed.transpose_b) != out->columns ||
        columns_of(a, d->fixed.transpose_a) != rows_of(b, d->fixed.transpose_b))
        return "the layouts do not multiply";
    if (memcmp(c, out, sizeof *c) != 0) return "C and D have different layouts";
    if (a->batches != b->batches || a->batches != out->batches) return "the layouts have different numbers of batches";
    if (a->type != b->type || (out->type != a->type && out->type != TYPE_F32)) return "types that do not go together";
    if (e != EPILOGUE_DEFAULT && e != EPILOGUE_BIAS && e != EPILOGUE_GELU_AUX_BIAS && e != EPILOGUE_DGELU && !has_gradient(d))
        return "an epilogue that the simulation does not know";
    if (has_aux(d) && d->fixed.aux_ld < (int64_t)out->rows) return "an auxiliary matrix with too short columns";
    return NULL;
}

int product_supported(const struct description *d, const struct layout *a, const struct layout *out)
{
    int bias_type = d->fixed.bias_type < 0 ? out->type : d->fixed.bias_type;
    if (has_aux(d) && d->fixed.aux_ld % 8 != 0) return 0;
    if ((has_bias(d) || has_gradient(d)) && bias_type != out->type) return 0;
    return d->fixed.epilogue == EPILOGUE_DEFAULT || a->batches == 1;
}

static uint64_t layout_bytes(const struct layout *l)
{
    uint64_t last = (l->columns - 1) * (uint64_t)l->ld + l->rows + (uint64_t)(l->batches - 1) * (uint64_t)l->stride;
    return last * product_type_size(l->type);
}

void product_sizes(const struct product *p, uint64_t sizes[PRODUCT_POINTERS])
{
    const struct description *d = &p->description;
    uint64_t aux = ((p->d.columns - 1) * (uint64_t)d->fixed.aux_ld + p->d.rows) * product_type_size(p->d.type);
    sizes[PRODUCT_A] = layout_bytes(&p->a);
    sizes[PRODUCT_B] = layout_bytes(&p->b);
    sizes[PRODUCT_D] = layout_bytes(&p->d);
    uint64_t bias = has_bias(d) || d->fixed.epilogue == EPILOGUE_BGRADA ? p->d.rows : has_gradient(d) ? p->d.columns : 0;
    sizes[PRODUCT_BIAS] = bias * product_type_size(p->d.type);
    sizes[PRODUCT_AUX] = has_aux(d) ? aux : 0;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
}

static float read_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    float f = magnitude >= 0x7c00u ? from_bits(magnitude << 13 | 0x7f800000u) : ldexpf((float)magnitude, -24);
    if (magnitude >= 0x400u && magnitude < 0x7c00u) f = from_bits((magnitude << 13) + 0x38000000u);
    return from_bits(to_bits(f) | sign);
}

static uint16_t round_f16(float f)
{
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) return (uint16_t)(sign | (uint32_t)(int)rintf(ldexpf(from_bits(u), 24)));
    return (uint16_t)(sign | (u + 0xfffu + (u >> 13 & 1u) - 0x38000000u) >> 13);
}

static uint16_t round_bf16(float f)
{
    uint32_t u = to_bits(f);
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static float load(const void *from, uint64_t i, int type)
{
    uint16_t half;
    float f;
    if (type == TYPE_F32) {
        memcpy(&f, (const char *)from + i * 4, 4);
        return f;
    }
    memcpy(&half, (const char *)from + i * 2, 2);
    return type == TYPE_F16 ? read_f16(half) : from_bits((uint32_t)half << 16);
}

static void store(void *to, uint64_t i, int type, float f)
{
    uint16_t half = type == TYPE_F16 ? round_f16(f) : round_bf16(f);
    if (type == TYPE_F32)
        memcpy((char *)to + i * 4, &f, 4);
    else
        memcpy((char *)to + i * 2, &half, 2);
}

/* op(l) as dense columns of f32. */
static float *unpack(const struct layout *l, const void *from, uint64_t offset, int transpose)
{
    uint64_t rows = rows_of(l, transpose), columns = columns_of(l, transpose);
    float *to = malloc(rows * columns * sizeof *to);
    for (uint64_t j = 0; j < columns; j++)
        for (uint64_t i = 0; i < rows; i++)
            to[j * rows + i] = load(from, offset + (transpose ? i * (uint64_t)l->ld + j : j * (uint64_t)l->ld + i), l->type);
    return to;
}

static float gelu(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
}

static float gelu_slope(float x)
{
    float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x);
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

static void write_column(const struct product *p, void *const bytes[], uint64_t offset, uint64_t j, const float *sums)
{
    const struct description *d = &p->description;
    for (uint64_t i = 0; i < p->d.rows; i++) {
        uint64_t at = offset + j * (uint64_t)p->d.ld + i;
        float value = p->alpha * sums[i];
        if (p->beta != 0) value += p->beta * load(bytes[PRODUCT_D], at, p->d.type);
        if (has_bias(d)) value += load(bytes[PRODUCT_BIAS], i, p->d.type);
        uint64_t aux = j * (uint64_t)d->fixed.aux_ld + i;
        if (d->fixed.epilogue == EPILOGUE_DGELU) value *= gelu_slope(load(bytes[PRODUCT_AUX], aux, p->d.type));
        if (d->fixed.epilogue == EPILOGUE_GELU_AUX_BIAS) {
            store(bytes[PRODUCT_AUX], aux, p->d.type, value);
            value = gelu(value);
        }
        store(bytes[PRODUCT_D], at, p->d.type, value);
    }
}

/* The sums over k of a (m, k), one for each row, or of b (k, n), one for each column. */
static void sum_gradient(const struct product *p, void *to, const float *a, const float *b, uint64_t k)
{
    uint64_t m = p->d.rows, of_a = p->description.fixed.epilogue == EPILOGUE_BGRADA, count = of_a ? m : p->d.columns;
    for (uint64_t i = 0; i < count; i++) {
        float sum = 0;
        for (uint64_t l = 0; l < k; l++) sum += of_a ? a[l * m + i] : b[i * k + l];
        store(to, i, p->d.type, sum);
    }
}

static void multiply(const struct product *p, void *const bytes[], uint64_t batch)
{
    const struct description *d = &p->description;
    uint64_t m = p->d.rows, n = p->d.columns, k = columns_of(&p->a, d->fixed.transpose_a);
    float *a = unpack(&p->a, bytes[PRODUCT_A], batch * (uint64_t)p->a.stride, d->fixed.transpose_a);
    float *b = unpack(&p->b, bytes[PRODUCT_B], batch * (uint64_t)p->b.stride, d->fixed.transpose_b);
    float *sums = malloc(m * sizeof *sums);
    for (uint64_t j = 0; j < n; j++) {
        memset(sums, 0, m * sizeof *sums);
        for (uint64_t l = 0; l < k; l++) {
            const float *column = a + l * m, factor = b[j * k + l];
            for (uint64_t i = 0; i < m; i++) sums[i] += column[i] * factor;
        }
        write_column(p, bytes, batch * (uint64_t)p->d.stride, j, sums);
    }
    if (has_gradient(d)) sum_gradient(p, bytes[PRODUCT_BIAS], a, b, k);
    free(sums);
    free(b);
    free(a);
}

const char *product_run(vendor_device *device, void *payload)
{
    const struct product *p = payload;
    uint64_t sizes[PRODUCT_POINTERS];
    void *bytes[PRODUCT_POINTERS] = {NULL};
    product_sizes(p, sizes);
    for (int i = 0; i < PRODUCT_POINTERS; i++) {
        if (sizes[i] == 0) continue;
        bytes[i] = vendor_bytes(device, p->pointers[i], sizes[i]);
        if (!bytes[i]) return vendor_reason();
    }
    for (int batch = 0; batch < p->d.batches; batch++) multiply(p, bytes, (uint64_t)batch);
    return NULL;
}
