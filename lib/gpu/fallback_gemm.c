/* gemm by the portable kernels, for devices whose backend has none. */
#include "device.h"

#include "kernels/kernels.h"

aios_gemm gemm_without_epilogue(const aios_gemm *gemm)
{
    aios_gemm plain = *gemm;
    plain.epilogue = AIOS_EPILOGUE_NONE;
    if (gemm->epilogue == AIOS_EPILOGUE_BIAS_GELU) plain.c = gemm->aux;
    return plain;
}

/* The kernels want dense rows: where a stored row is longer than that, row by row. */
static aios_status finish_c(aios_stream *stream, const aios_gemm *g)
{
    int32_t rows = g->ldc == g->n ? g->m : 1;
    char *c = g->c, *aux = g->aux;
    for (int32_t row = 0; row < g->m; row += rows) {
        if (g->epilogue == AIOS_EPILOGUE_BIAS_GELU)
            TRY_QUIET(launch_bias_gelu(stream, g->type_c, 0, c, aux, g->bias, rows, g->n));
        else if (g->epilogue == AIOS_EPILOGUE_GELU_BACKWARD)
            TRY_QUIET(launch_gelu_backward(stream, g->type_c, 0, c, c, aux, rows, g->n, 0));
        else if (g->epilogue == AIOS_EPILOGUE_RESIDUAL)
            TRY_QUIET(launch_add(stream, g->type_c, 0, c, c, aux, rows, g->n, rows));
        if (g->epilogue == AIOS_EPILOGUE_BIAS || (g->epilogue == AIOS_EPILOGUE_RESIDUAL && g->bias))
            TRY_QUIET(launch_bias_add(stream, g->type_c, 0, c, g->bias, rows, g->n));
        c += g->ldc * dtype_size[g->type_c];
        if (aux) aux += g->ldc * dtype_size[g->type_c];
    }
    return AIOS_OK;
}

/* aux = the column sums of dy (k, columns).  One part keeps the launch free of scratch; a plan that knows that its device lacks the
 * epilogue sums in more of them (emit.c). */
static aios_status sum_columns(aios_stream *stream, const aios_gemm *g, const char *dy, int64_t ld, int32_t columns)
{
    if (ld == columns) return launch_column_partial(stream, g->type_ab, 0, g->aux, dy, g->k, columns, 1);
    TRY_QUIET(aios_stream_fill(stream, g->aux, 0, (uint64_t)columns * 4));
    for (int32_t row = 0; row < g->k; row++, dy += ld * dtype_size[g->type_ab])
        TRY_QUIET(launch_period_sum(stream, g->type_ab, 0, g->aux, dy, 1, columns, 1));
    return AIOS_OK;
}

aios_status fallback_epilogue(aios_stream *stream, const aios_gemm *g)
{
    switch (g->epilogue) {
    case AIOS_EPILOGUE_NONE: return AIOS_OK;
    case AIOS_EPILOGUE_BIAS_GRADIENT_A: return sum_columns(stream, g, g->a, g->lda, g->m);
    case AIOS_EPILOGUE_BIAS_GRADIENT_B: return sum_columns(stream, g, g->b, g->ldb, g->n);
    case AIOS_EPILOGUE_GELU_BACKWARD: return finish_c(stream, g);
    case AIOS_EPILOGUE_RESIDUAL:
        if (!g->bias) return finish_c(stream, g);
        break;
    default: break;
    }
    if (g->type_c != g->type_ab) /* the kernels read the bias in c's type */
        return FAIL(AIOS_UNSUPPORTED, "gemm: an epilogue on %s whose c is %s while a is %s: give both one type", stream->device->spec,
                    dtype_name[g->type_c], dtype_name[g->type_ab]);
    return finish_c(stream, g);
}

aios_status fallback_gemm(aios_stream *stream, const aios_gemm *g)
{
    void *c = gemm_without_epilogue(g).c;
    if (g->type_c == g->type_ab)
        TRY_QUIET(launch_gemm(stream, g->type_ab, 0, c, g->a, g->b, g->m, g->n, g->k, g->batch, g->lda, g->ldb, g->ldc, g->stride_a,
                              g->stride_b, g->stride_c, g->transpose_a, g->transpose_b, g->alpha, g->beta));
    else
        TRY_QUIET(launch_gemm_f32(stream, g->type_ab, 0, c, g->a, g->b, g->m, g->n, g->k, g->batch, g->lda, g->ldb, g->ldc, g->stride_a,
                                  g->stride_b, g->stride_c, g->transpose_a, g->transpose_b, g->alpha, g->beta));
    return fallback_epilogue(stream, g);
}
