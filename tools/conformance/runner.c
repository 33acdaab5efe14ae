#include "runner.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD      256
#define GUARD_BYTE 0x5a

void *run_null = NULL;

static void *need(void *memory)
{
    if (memory) return memory;
    (void)fprintf(stderr, "conformance: the host has no memory left\n");
    exit(3);
}

void *host_alloc(struct runner *runner, size_t size)
{
    (void)runner;
    return aligned_alloc(256, (size + 255) / 256 * 256);
}

void host_free(struct runner *runner, void *pointer)
{
    (void)runner;
    free(pointer);
}

int host_copy(struct runner *runner, void *to, const void *from, size_t size)
{
    (void)runner;
    memcpy(to, from, size);
    return 0;
}

int runner_has(const struct runner *runner, int storage)
{
    if (runner->brief > 1) return storage == AIOS_F32;
    return !runner->storage_types || (runner->storage_types >> storage & 1u);
}

int runner_skips(const struct runner *runner, int rows, int n)
{
    return runner->brief && rows * n > (runner->brief > 1 ? 260 : 600);
}

const char *storage_name(int storage)
{
    static const char *const names[] = {"f32", "bf16", "f16", "i32"};
    return names[storage];
}

double storage_epsilon(int storage)
{
    return storage == AIOS_F32 ? 0x1p-24 : storage == AIOS_BF16 ? 0x1p-8 : storage == AIOS_F16 ? 0x1p-11 : 0;
}

/* ---- storage types, written without the kernels' conversions ------------------------------------------------------- */

static size_t element_size(int type)
{
    return type == AIOS_F32 || type == AIOS_I32 ? 4 : 2;
}

static double decode(int type, const unsigned char *p)
{
    uint16_t h;
    if (type == AIOS_I32) {
        int32_t i;
        memcpy(&i, p, 4);
        return i;
    }
    if (type == AIOS_F32) {
        float f;
        memcpy(&f, p, 4);
        return (double)f;
    }
    memcpy(&h, p, 2);
    int exponent_bits = type == AIOS_BF16 ? 8 : 5, fraction_bits = 15 - exponent_bits;
    int bias = (1 << (exponent_bits - 1)) - 1, exponent = (h >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = h & ((1 << fraction_bits) - 1), sign = h >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - fraction_bits);
    return sign * ldexp(1 + ldexp(fraction, -fraction_bits), exponent - bias);
}

static void encode(int type, unsigned char *p, double v)
{
    if (type == AIOS_I32) {
        int32_t i = (int32_t)v;
        memcpy(p, &i, 4);
        return;
    }
    if (type == AIOS_F32) {
        float f = (float)v;
        memcpy(p, &f, 4);
        return;
    }
    int exponent_bits = type == AIOS_BF16 ? 8 : 5, fraction_bits = 15 - exponent_bits, exponent;
    int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    unsigned h = signbit(v) ? 0x8000u : 0, all = (unsigned)top << fraction_bits;
    double a = fabs(v);
    if (isnan(v)) {
        h |= all | 1u << (fraction_bits - 1);
    } else if (a > 0) {
        (void)frexp(a, &exponent);
        exponent = isinf(a) || exponent - 1 > bias ? bias + 1 : exponent - 1 < 1 - bias ? 1 - bias : exponent - 1;
        double units = isinf(a) ? 0 : nearbyint(ldexp(a, fraction_bits - exponent)); /* ties to even */
        unsigned bits = exponent > bias ? all : (unsigned)((exponent + bias - 1) * (1 << fraction_bits)) + (unsigned)units;
        h |= bits > all ? all : bits;
    }
    uint16_t out = (uint16_t)h;
    memcpy(p, &out, 2);
}

/* ---- a bench ----------------------------------------------------------------------------------------------------- */

void bench_begin(struct bench *bench, struct runner *runner, uint64_t seed, const char *text, ...)
{
    va_list arguments;
    memset(bench, 0, sizeof *bench);
    bench->runner = runner;
    seed += runner->seed;
    bench->seed = seed * 0x9e3779b97f4a7c15u + 1;
    va_start(arguments, text);
    int used = snprintf(bench->text, sizeof bench->text, "%s, seed %llu: ", runner->name, (unsigned long long)seed);
    (void)vsnprintf(bench->text + used, sizeof bench->text - (size_t)used, text, arguments);
    va_end(arguments);
}

void bench_end(struct bench *bench)
{
    for (int i = 0; i < bench->count; i++) {
        struct buffer *b = &bench->buffers[i];
        free(b->host);
        free(b->before);
        free(b->values);
        bench->runner->free(bench->runner, b->device);
    }
    for (int i = 0; i < bench->scratch_count; i++) free(bench->scratch[i]);
}

static uint64_t next_random(struct bench *bench)
{
    uint64_t z = bench->seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double bench_uniform(struct bench *bench, double low, double high)
{
    return low + (high - low) * ((double)(next_random(bench) >> 11) * 0x1p-53);
}

uint32_t bench_below(struct bench *bench, uint32_t bound)
{
    return (uint32_t)(next_random(bench) % bound);
}

static struct buffer *add_buffer(struct bench *bench, int type, size_t count)
{
    if (bench->count == BENCH_BUFFERS) abort(); /* a case wants more than a bench has */
    struct buffer *b = &bench->buffers[bench->count++];
    size_t size = count * element_size(type) + (size_t)2 * GUARD;
    b->type = type;
    b->count = count;
    b->host = need(malloc(size));
    b->before = need(malloc(size));
    b->values = need(calloc(count + 1, sizeof(double)));
    b->device = bench->runner->alloc(bench->runner, size);
    if (b->device) b->data = (char *)b->device + GUARD;
    memset(b->host, GUARD_BYTE, size);
    return b;
}

struct buffer *bench_random(struct bench *bench, int type, size_t count, double low, double high)
{
    struct buffer *b = add_buffer(bench, type, count);
    for (size_t i = 0; i < count; i++) bench_set(b, i, bench_uniform(bench, low, high));
    return b;
}

struct buffer *bench_indices(struct bench *bench, size_t count, uint32_t bound)
{
    struct buffer *b = add_buffer(bench, AIOS_I32, count);
    for (size_t i = 0; i < count; i++) bench_set(b, i, bench_below(bench, bound));
    return b;
}

struct buffer *bench_fill(struct bench *bench, int type, size_t count, double value)
{
    struct buffer *b = add_buffer(bench, type, count);
    for (size_t i = 0; i < count; i++) bench_set(b, i, value);
    return b;
}

void bench_set(struct buffer *buffer, size_t i, double value)
{
    unsigned char *p = buffer->host + GUARD + i * element_size(buffer->type);
    encode(buffer->type, p, value);
    buffer->values[i] = decode(buffer->type, p);
}

double bench_get(const struct buffer *buffer, size_t i)
{
    return decode(buffer->type, buffer->host + GUARD + i * element_size(buffer->type));
}

double *bench_doubles(struct bench *bench, size_t count)
{
    if (bench->scratch_count == (int)(sizeof bench->scratch / sizeof bench->scratch[0])) abort();
    double *p = need(calloc(count + 1, sizeof *p));
    return bench->scratch[bench->scratch_count++] = p;
}

static int is_written(const struct buffer *buffer, struct buffer *const *written, int count)
{
    for (int i = 0; i < count; i++)
        if (written[i] == buffer) return 1;
    return 0;
}

static void check_memory(struct bench *bench, const struct buffer *b, int written, int index)
{
    size_t size = b->count * element_size(b->type), at = 0;
    while (at < GUARD && b->host[at] == GUARD_BYTE && b->host[GUARD + size + at] == GUARD_BYTE) at++;
    if (at < GUARD)
        bench_fail(bench, "%s (%s): buffer %d was written %zu bytes outside", bench->kernel, bench->text, index,
                   b->host[at] != GUARD_BYTE ? GUARD - at : at + 1);
    else if (!written && memcmp(b->host, b->before, size + (size_t)2 * GUARD) != 0)
        bench_fail(bench, "%s (%s): input buffer %d was changed", bench->kernel, bench->text, index);
}

void bench_fail(struct bench *bench, const char *format, ...)
{
    struct kernel_verdict *verdict = &bench->runner->kernels[bench->id];
    va_list arguments;
    if (verdict->failures++) return; /* the first says most */
    va_start(arguments, format);
    (void)vsnprintf(verdict->failure, sizeof verdict->failure, format, arguments);
    va_end(arguments);
}

static int is_wanted(const struct runner *r, const char *kernel)
{
    return !r->only || strstr(kernel, r->only) != NULL;
}

int bench_upload(struct bench *bench, int id, const char *kernel)
{
    struct runner *r = bench->runner;
    bench->id = id;
    bench->kernel = kernel;
    bench->unjudged = !is_wanted(r, kernel);
    for (int i = 0; i < bench->count && !bench->unjudged; i++) {
        struct buffer *b = &bench->buffers[i];
        size_t size = b->count * element_size(b->type) + (size_t)2 * GUARD;
        memcpy(b->before, b->host, size);
        for (size_t k = 0; k < b->count; k++) b->values[k] = bench_get(b, k);
        bench->unjudged = !b->device || r->upload(r, b->device, b->host, size);
        if (bench->unjudged) bench_fail(bench, "%s (%s): copying to the device: %s", kernel, bench->text, r->error);
    }
    return !bench->unjudged;
}

void bench_download(struct bench *bench, int storage, int failed, struct buffer *const *written, int count)
{
    struct runner *r = bench->runner;
    for (int i = 0; i < bench->count && !failed; i++) {
        struct buffer *b = &bench->buffers[i];
        failed = r->download(r, b->host, b->device, b->count * element_size(b->type) + (size_t)2 * GUARD);
        if (!failed) check_memory(bench, b, is_written(b, written, count), i);
    }
    bench->unjudged = failed;
    if (failed) bench_fail(bench, "%s, %s (%s): %s", bench->kernel, storage_name(storage), bench->text, r->error);
    r->kernels[bench->id].runs[storage] += !failed;
}

void bench_run(struct bench *bench, enum kernel_id kernel, int storage, uint32_t teams, const void *const *arguments,
               struct buffer *const *pointers, const char *kinds, int count)
{
    struct buffer *written[BENCH_BUFFERS];
    int outputs = 0;
    for (int i = 0; i < count; i++)
        if (pointers[i] && kinds[i] == 'o') written[outputs++] = pointers[i];
    if (!bench_upload(bench, (int)kernel, bench->kernel)) return;
    int failed = bench->runner->launch(bench->runner, kernel_index(kernel, storage), teams, arguments);
    bench_download(bench, storage, failed, written, outputs);
}

void bench_expect_at(struct bench *bench, const struct buffer *buffer, size_t i, double want, double relative, double absolute)
{
    if (bench->unjudged) return;
    double got = bench_get(buffer, i), epsilon = storage_epsilon(buffer->type);
    double tiny = buffer->type == AIOS_F16 ? 0x1p-25 : buffer->type == AIOS_I32 ? 0 : 0x1p-126; /* subnormals may be flushed */
    double allowed = bench->runner->slack * (relative * fabs(want) + absolute) + 1.01 * epsilon * fabs(want) + tiny;
    if (buffer->type == AIOS_F16 && fabs(want) >= 65520) want = copysign(INFINITY, want);
    int good = isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= allowed;
    if (!good)
        bench_fail(bench, "%s (%s): element %zu of buffer %d (%s) is %.9g, not %.9g: off by %.3g, allowed %.3g", bench->kernel, bench->text,
                   i, (int)(buffer - bench->buffers), storage_name(buffer->type), got, want, fabs(got - want), allowed);
}

void bench_expect(struct bench *bench, const struct buffer *buffer, const double *want, double relative, double absolute)
{
    for (size_t i = 0; i < buffer->count; i++) bench_expect_at(bench, buffer, i, want[i], relative, absolute);
}

const char *runner_failure(const struct runner *runner)
{
    for (int i = 0; i < VERDICT_COUNT; i++)
        if (runner->kernels[i].failures) return runner->kernels[i].failure;
    return NULL;
}

const char *runner_forgotten(const struct runner *runner)
{
    for (int i = 0; i < KERNEL_COUNT; i++)
        for (int s = 0; s < KERNEL_STORAGE_TYPES; s++)
            if (!runner->kernels[i].runs[s] && runner_has(runner, s)) return aios_kernel_get(kernel_index((enum kernel_id)i, s))->name;
    return NULL;
}
