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

static aios_status check_epilogue(const aios_gemm *g)
{
    if (g->epilogue < AIOS_EPILOGUE_NONE || g->epilogue > AIOS_EPILOGUE_BIAS_GELU)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: epilogue is %d: it must be an AIOS_EPILOGUE_ constant, 0 to 2", (int)g->epilogue);
    if (g->epilogue == AIOS_EPILOGUE_NONE) return AIOS_OK;
    if (g->batch != 1 || g->beta != 0.0f)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: an epilogue with batch %d and beta %g: batch must be 1 and beta 0", (int)g->batch,
                    (double)g->beta);
    if (!g->bias) return FAIL(AIOS_INVALID_ARGUMENT, "gemm: bias is NULL: epilogue %d adds it", (int)g->epilogue);
    if (g->epilogue == AIOS_EPILOGUE_BIAS_GELU && (!g->aux || g->aux == g->c))
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: aux is %s: the sum before gelu goes there", g->aux ? "c" : "NULL");
    return AIOS_OK;
}

static aios_status check_gemm(const aios_gemm *g)
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
    TRY_QUIET(check_matrix("a", g->a, g->lda, g->transpose_a ? g->m : g->k, g->stride_a, g->batch));
    TRY_QUIET(check_matrix("b", g->b, g->ldb, g->transpose_b ? g->k : g->n, g->stride_b, g->batch));
    TRY_QUIET(check_matrix("c", g->c, g->ldc, g->n, g->stride_c, g->batch));
    if (g->batch > 1 && g->stride_c == 0)
        return FAIL(AIOS_INVALID_ARGUMENT, "gemm: stride_c is 0: %d batches would overwrite one another", (int)g->batch);
    return check_epilogue(g);
}

aios_status aios_stream_gemm(aios_stream *stream, const aios_gemm *given)
{
    aios_gemm gemm = {.struct_size = sizeof gemm};
    CHECK_HANDLE("aios_stream_gemm", stream);
    CHECK_HANDLE("aios_stream_gemm", given);
    TRY_QUIET(aios_struct_read("aios_gemm", &gemm, sizeof gemm, given));
    TRY_QUIET(check_gemm(&gemm));

    aios_device *device = stream->device;
    const aios_gemm_group *group = device->table->gemm;
    TRY_QUIET(device_enter(device, "gemm"));
    if (!group) return fallback_gemm(stream, &gemm);

    int fused = gemm.epilogue == AIOS_EPILOGUE_NONE || (group->epilogues >> gemm.epilogue & 1u);
    aios_gemm plain = gemm;
    if (!fused) {
        plain.epilogue = AIOS_EPILOGUE_NONE;
        if (gemm.epilogue == AIOS_EPILOGUE_BIAS_GELU) plain.c = gemm.aux;
    }
    aios_status status = device_leave(device, group->gemm(device->handle, stream->handle, &plain), "gemm of (%d, %d) by (%d, %d)",
                                      (int)gemm.m, (int)gemm.k, (int)gemm.k, (int)gemm.n);
    if (status == AIOS_UNSUPPORTED) return fallback_gemm(stream, &gemm);
    return status == AIOS_OK && !fused ? fallback_epilogue(stream, &gemm) : status;
}
