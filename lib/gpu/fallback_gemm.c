/* gemm by the portable kernels, for devices whose backend has none. */
#include "device.h"

#include "kernels/kernels.h"

/* Where a stored row of c is longer than n, row by row: the kernels want dense rows. */
aios_status fallback_epilogue(aios_stream *stream, const aios_gemm *g)
{
    if (g->epilogue == AIOS_EPILOGUE_NONE) return AIOS_OK;
    if (g->type_c != g->type_ab)
        return FAIL(AIOS_UNSUPPORTED, "gemm: an epilogue on %s whose c is %s while a is %s: give both one type", stream->device->spec,
                    dtype_name[g->type_c], dtype_name[g->type_ab]);
    int32_t rows = g->ldc == g->n ? g->m : 1;
    char *c = g->c, *aux = g->aux;
    for (int32_t row = 0; row < g->m; row += rows) {
        if (g->epilogue == AIOS_EPILOGUE_BIAS_GELU) {
            TRY_QUIET(launch_bias_gelu(stream, g->type_c, 0, c, aux, g->bias, rows, g->n));
            aux += g->ldc * dtype_size[g->type_c];
        } else {
            TRY_QUIET(launch_bias_add(stream, g->type_c, 0, c, g->bias, rows, g->n));
        }
        c += g->ldc * dtype_size[g->type_c];
    }
    return AIOS_OK;
}

aios_status fallback_gemm(aios_stream *stream, const aios_gemm *g)
{
    const char *a = g->a, *b = g->b;
    char *c = g->epilogue == AIOS_EPILOGUE_BIAS_GELU ? g->aux : g->c;
    for (int32_t i = 0; i < g->batch; i++) {
        if (g->type_c == g->type_ab)
            TRY_QUIET(launch_gemm(stream, g->type_ab, 0, c, a, b, g->m, g->n, g->k, g->lda, g->ldb, g->ldc, g->transpose_a, g->transpose_b,
                                  g->alpha, g->beta));
        else
            TRY_QUIET(launch_gemm_f32(stream, g->type_ab, 0, c, a, b, g->m, g->n, g->k, g->lda, g->ldb, g->ldc, g->transpose_a,
                                      g->transpose_b, g->alpha, g->beta));
        a += g->stride_a * dtype_size[g->type_ab];
        b += g->stride_b * dtype_size[g->type_ab];
        c += g->stride_c * dtype_size[g->type_c];
    }
    return fallback_epilogue(stream, g);
}
