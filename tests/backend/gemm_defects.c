/* A gemm by the kernels of the backend within, right or wrong. */
#include "defects.h"

#include <string.h>

enum { HONEST, WITHOUT_BIAS, WITHOUT_BETA, WITHOUT_SLOPE, FORGETS_A_ROW_OF_A, ADDS_TO_AUX_OF_B, DEFECTS };
static const char *const names[DEFECTS] = {"gemm_honest",        "gemm_without_bias",       "gemm_without_beta",
                                           "gemm_without_slope", "gemm_forgets_a_row_of_a", "gemm_adds_to_aux_of_b"};
static int defect;

static uint32_t find_typed(const char *name, int type)
{
    static const char *const types[] = {"f32", "bf16", "f16"};
    char text[64];
    size_t length = strlen(name);
    memcpy(text, name, length);
    strcpy(text + length, types[type]);
    return find_kernel(text);
}

static aios_status product(void *device, void *stream, const aios_gemm *g, void *c)
{
    float beta = defect == WITHOUT_BETA ? 0.0f : g->beta;
    const void *arguments[] = {&c,           &g->a,           &g->b,           &g->m,     &g->n,        &g->k,
                               &g->batch,    &g->lda,         &g->ldb,         &g->ldc,   &g->stride_a, &g->stride_b,
                               &g->stride_c, &g->transpose_a, &g->transpose_b, &g->alpha, &beta};
    return real->launch(device, stream, find_typed(g->type_c != g->type_ab ? "gemm_f32_" : "gemm_", g->type_ab), 4, arguments);
}

static aios_status add_bias(void *device, void *stream, const aios_gemm *g)
{
    const void *gelu[] = {&g->c, &g->aux, &g->bias, &g->m, &g->n}, *add[] = {&g->c, &g->bias, &g->m, &g->n};
    int has_gelu = g->epilogue == AIOS_EPILOGUE_BIAS_GELU;
    if (defect == WITHOUT_BIAS) return AIOS_OK;
    return real->launch(device, stream, find_typed(has_gelu ? "bias_gelu_" : "bias_add_", g->type_ab), 4, has_gelu ? gelu : add);
}

static aios_status multiply_slope(void *device, void *stream, const aios_gemm *g)
{
    const int32_t overwrite = 0;
    const void *arguments[] = {&g->c, &g->c, &g->aux, &g->m, &g->n, &overwrite};
    if (defect == WITHOUT_SLOPE) return AIOS_OK;
    return real->launch(device, stream, find_typed("gelu_backward_", g->type_c), 4, arguments);
}

/* aux = the column sums of dy (k, columns), added up row by row. */
static aios_status sum_columns(void *device, void *stream, const aios_gemm *g)
{
    int of_a = g->epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A;
    const int32_t one = 1, columns = of_a ? g->m : g->n;
    int64_t row_bytes = (of_a ? g->lda : g->ldb) * (g->type_ab == AIOS_F32 ? 4 : 2);
    const char *row = of_a ? g->a : g->b;
    aios_status status = AIOS_OK;
    if (of_a || defect != ADDS_TO_AUX_OF_B) status = real->fill(device, stream, g->aux, 0, (uint64_t)columns * 4);
    for (int32_t k = of_a && defect == FORGETS_A_ROW_OF_A ? 1 : 0; k < g->k && status == AIOS_OK; k++) {
        const char *at = row + k * row_bytes;
        const void *arguments[] = {&g->aux, &at, &one, &columns, &one};
        status = real->launch(device, stream, find_typed("period_sum_", g->type_ab), 4, arguments);
    }
    return status;
}

static aios_status multiply(void *device, void *stream, const aios_gemm *g)
{
    aios_status status = product(device, stream, g, g->epilogue == AIOS_EPILOGUE_BIAS_GELU ? g->aux : g->c);
    if (status != AIOS_OK) return status;
    switch (g->epilogue) {
    case AIOS_EPILOGUE_BIAS:
    case AIOS_EPILOGUE_BIAS_GELU: return add_bias(device, stream, g);
    case AIOS_EPILOGUE_GELU_BACKWARD: return multiply_slope(device, stream, g);
    case AIOS_EPILOGUE_BIAS_GRADIENT_A:
    case AIOS_EPILOGUE_BIAS_GRADIENT_B: return sum_columns(device, stream, g);
    default: return AIOS_OK;
    }
}

const aios_gemm_group *defect_gemm(const char *name)
{
    static const aios_gemm_group group = {
        .struct_size = sizeof group, .epilogues = ((1u << AIOS_EPILOGUE_RESIDUAL) - 1) & ~1u, .gemm = multiply};
    for (defect = 0; defect < DEFECTS; defect++)
        if (strcmp(name, names[defect]) == 0) return &group;
    return NULL;
}
