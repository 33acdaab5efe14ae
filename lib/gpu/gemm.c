#include "device.h"

#include "base/sizes.h"

const uint32_t dtype_size[AIOS_DTYPE_COUNT] = {4, 2, 2, 4, 1};
const char *const dtype_name[AIOS_DTYPE_COUNT] = {"f32", "bf16", "f16", "i32", "u8"};

/* lda … as a reader of the caller's code would look for it. */
static aios_status check_matrix(const char *name, const void *pointer, int64_t ld, int64_t columns, int64_t stride, int32_t batch)
{
    if (!pointer) return FAIL(AIOS_INVALID_ARGUMENT, "gemm: %s is NULL", name);
    if (ld < columns)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: ld%s is %lld: a stored row of %s has %lld elements", name, (long long)ld, name,
                    (long long)columns);
    if (batch > 1 && stride < 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: stride_%s is %lld: it must not be negative", name, (long long)stride);
    return AIOS_OK;
}

/* aux: where the epilogue reads or writes beside c. */
static aios_status check_aux(const aios_gemm *g, const char *holds)
{
    if (g->aux && g->aux != g->c) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "gemm: aux is %s: %s", g->aux ? "c" : "NULL", holds);
}

static aios_status check_bias_gradient(const aios_gemm *g)
{
    int of_a = g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A;
    if (of_a ? !g->transpose_a : g->transpose_b)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "gemm: a bias gradient of %s with transpose_%s %d: the sums go down the columns of %s as stored, (k, %s)",
                    of_a ? "a" : "b", of_a ? "a" : "b", (int)(of_a ? g->transpose_a : g->transpose_b), of_a ? "a" : "b", of_a ? "m" : "n");
    if (g->type_c != AIOS_F32)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: a bias gradient with type_c %d: c must be AIOS_F32", (int)g->type_c);
    return check_aux(g, "the bias gradient goes there");
}

static aios_status check_epilogue(const aios_gemm *g)
{
    if (g->epilogue < AIOS_EPILOGUE_NONE || g->epilogue >= AIOS_EPILOGUE_COUNT)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: epilogue is %d: it must be an AIOS_EPILOGUE_ constant, 0 to %d", (int)g->epilogue,
                    AIOS_EPILOGUE_COUNT - 1);
    if (g->epilogue == AIOS_EPILOGUE_NONE) return AIOS_OK;
    if (g->batch != 1)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: epilogue %d with batch %d: batch must be 1", (int)g->epilogue, (int)g->batch);
    if (g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A || g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_B) return check_bias_gradient(g);
    if (g->beta != 0.0f)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: epilogue %d with beta %g: beta must be 0", (int)g->epilogue, (double)g->beta);
    if (g->epilogue == AIOS_EPILOGUE_GELU_BACKWARD) return check_aux(g, "the values before gelu are read there");
    if (g->epilogue == AIOS_EPILOGUE_RESIDUAL) return check_aux(g, "what is added is read there");
    if (g->epilogue == AIOS_EPILOGUE_SWIGLU)
        return g->packed_b && g->n % 2 == 0 && !g->transpose_a
                   ? AIOS_OK
                   : FAIL(AIOS_INVALID_ARGUMENT,
                          "gemm: SwiGLU of n %d, transpose_a %d, packed_b %s: n must be even, a stored (m, k), b packed", (int)g->n,
                          (int)g->transpose_a, g->packed_b ? "given" : "NULL");
    if (!g->bias) return FAIL(AIOS_INVALID_ARGUMENT, "gemm: bias is NULL: epilogue %d adds it", (int)g->epilogue);
    return g->epilogue == AIOS_EPILOGUE_BIAS_GELU ? check_aux(g, "the sum before gelu goes there") : AIOS_OK;
}

static aios_status check_sizes(const aios_gemm *g)
{
    if (g->type_ab < AIOS_F32 || g->type_ab > AIOS_F16)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: type_ab is %d: it must be AIOS_F32, AIOS_BF16 or AIOS_F16", (int)g->type_ab);
    if (g->type_c != g->type_ab && g->type_c != AIOS_F32)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: type_c is %d with type_ab %d: it must be that or AIOS_F32", (int)g->type_c,
                    (int)g->type_ab);
    if (g->m < 1 || g->n < 1 || g->k < 1 || g->batch < 1)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: m %d, n %d, k %d, batch %d: each must be at least 1", (int)g->m, (int)g->n, (int)g->k,
                    (int)g->batch);
    if ((g->transpose_a & ~1) || (g->transpose_b & ~1))
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: transpose_a is %d, transpose_b %d: each must be 0 or 1", (int)g->transpose_a,
                    (int)g->transpose_b);
    return AIOS_OK;
}

static aios_status check_b(const aios_gemm *g)
{
    return check_matrix("b", g->b, g->ldb, g->transpose_b ? g->k : g->n, g->stride_b, g->batch);
}

static aios_status check_gemm(const aios_gemm *g)
{
    TRY_QUIET(check_sizes(g));
    TRY_QUIET(check_matrix("a", g->a, g->lda, g->transpose_a ? g->m : g->k, g->stride_a, g->batch));
    TRY_QUIET(check_b(g));
    TRY_QUIET(check_matrix("c", g->c, g->ldc, g->epilogue == AIOS_EPILOGUE_SWIGLU ? g->n / 2 : g->n, g->stride_c, g->batch));
    if (g->batch > 1 && g->stride_c == 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: stride_c is 0: %d batches would overwrite one another", (int)g->batch);
    if (g->packed_b && g->batch > 1 && g->stride_b)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: packed_b with %d batches, stride_b %lld: they must have one b, stride_b 0", (int)g->batch,
                    (long long)g->stride_b);
    return check_epilogue(g);
}

int device_fuses(const aios_device *device, int32_t epilogue)
{
    const aios_gemm_group *group = device->table->gemm;
    return group && (epilogue == AIOS_EPILOGUE_NONE || (group->epilogues >> epilogue & 1u));
}

static aios_status call_backend(aios_device *device, aios_stream *stream, const aios_gemm *g)
{
    driver_call call = {.kind = CALL_gemm, CALL_ON(stream), .in = g, .in_size = sizeof *g};
    return device_call(device, &call, "gemm of (%d, %d) by (%d, %d)", (int)g->m, (int)g->k, (int)g->k, (int)g->n);
}

aios_status aios_stream_gemm(aios_stream *stream, const aios_gemm *given)
{
    aios_gemm gemm = {.struct_size = sizeof gemm};
    CHECK_HANDLE("aios_stream_gemm", stream);
    CHECK_HANDLE("aios_stream_gemm", given);
    TRY_QUIET(aios_struct_read("aios_gemm", &gemm, sizeof gemm, given));
    TRY_QUIET(check_gemm(&gemm));

    aios_device *device = stream->device;
    if (!device->table->gemm && gemm.epilogue != AIOS_EPILOGUE_SWIGLU) {
        TRY_QUIET(device_check(device, "gemm"));
        return fallback_gemm(stream, &gemm);
    }
    if (device_fuses(device, gemm.epilogue)) {
        aios_status status = call_backend(device, stream, &gemm);
        if (status != AIOS_UNSUPPORTED) return status;
    }
    if (gemm.epilogue == AIOS_EPILOGUE_SWIGLU)
        return FAIL(AIOS_UNSUPPORTED, "gemm: %s has no SwiGLU of (%d, %d) by (%d, %d): ask aios_device_gemm_packed_size first",
                    device->spec, (int)gemm.m, (int)gemm.k, (int)gemm.k, (int)gemm.n);
    if (gemm.epilogue != AIOS_EPILOGUE_NONE) {
        aios_gemm plain = gemm_without_epilogue(&gemm);
        aios_status status = call_backend(device, stream, &plain);
        if (status == AIOS_OK) return fallback_epilogue(stream, &gemm);
        if (status != AIOS_UNSUPPORTED) return status;
    }
    return fallback_gemm(stream, &gemm);
}

/* ---- a b that is packed ------------------------------------------------------------------------------------------ */

static const aios_gemm_group *packing(const aios_device *device)
{
    const aios_gemm_group *group = device->table->gemm;
    return group && group->struct_size >= sizeof *group && group->packed_size && group->pack ? group : NULL;
}

/* What says all about b; the rest may be left out. */
static aios_status read_b(const aios_gemm *given, aios_gemm *b)
{
    *b = (aios_gemm){.struct_size = sizeof *b};
    TRY_QUIET(aios_struct_read("aios_gemm", b, sizeof *b, given));
    b->type_c = AIOS_F32;
    b->m = b->batch = 1;
    return check_sizes(b);
}

uint64_t aios_device_gemm_packed_size(aios_device *device, const aios_gemm *given)
{
    aios_gemm b;
    if (!device || !given || !packing(device) || read_b(given, &b) != AIOS_OK || !device_fuses(device, b.epilogue)) return 0;
    driver_call call = {.kind = CALL_gemm_packed_size, .in = &b, .in_size = sizeof b};
    return device_call(device, &call, "asking for the size of a packed matrix") == AIOS_OK ? call.counts[0] : 0;
}

aios_status aios_stream_gemm_pack(aios_stream *stream, const aios_gemm *given, void *packed)
{
    aios_gemm b;
    CHECK_HANDLE("aios_stream_gemm_pack", stream);
    CHECK_HANDLE("aios_stream_gemm_pack", given);
    CHECK_HANDLE("aios_stream_gemm_pack", packed);
    TRY_QUIET(read_b(given, &b));
    TRY_QUIET(check_b(&b));
    if (!packing(stream->device))
        return FAIL(AIOS_UNSUPPORTED, "gemm: %s takes b as it is (aios_device_gemm_packed_size is 0)", stream->device->spec);
    driver_call call = {.kind = CALL_gemm_pack, CALL_ON(stream), .in = &b, .in_size = sizeof b, .to = packed};
    return device_call(stream->device, &call, "packing a matrix of (%d, %d)", (int)b.k, (int)b.n);
}
