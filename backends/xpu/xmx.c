/* Matrix products on the matrix units (XMX) of the devices that have them: xmx.kc.  Elsewhere, and for f32, each call says UNSUPPORTED and
 * the host takes its portable kernels. */
#include "xpu.h"

#include "embed.h"

#include <assert.h>
#include <string.h>

EMBED(xpu_xmx8, XPU_XMX8);
EMBED(xpu_xmx16, XPU_XMX16);

/* The sums of a big tile fill what a thread has of registers otherwise. */
#define BUILD_FLAGS XPU_BUILD_FLAGS " -ze-opt-large-register-file"

#define BIG_TILE   128 /* of c, down and across: xmx.kc */
#define SMALL_TILE 64

static_assert(AIOS_EPILOGUE_BIAS == 1 && AIOS_EPILOGUE_BIAS_GELU == 2 && AIOS_EPILOGUE_GELU_BACKWARD == 3, "xmx.kc has these numbers");

/* ---- which devices have them ------------------------------------------------------------------------------------- */

/* Intel's drivers since 24.05 tell it:
 * https://github.com/intel/compute-runtime/blob/master/level_zero/doc/experimental_extensions/MODULE_DP_SUPPORT.md */
#define DP_EXTENSION "ZE_intel_experimental_device_module_dp_properties"
#define DP_STRUCTURE ((ze_structure_type_t)0x00030013)
#define DP_HAS_DPAS  2u
typedef struct dp_properties {
    ze_structure_type_t stype;
    void *pNext;
    uint32_t flags;
} dp_properties;

static int has_extension(ze_driver_handle_t driver, const char *name)
{
    uint32_t count = 0;
    int found = 0;
    if (!ze.zeDriverGetExtensionProperties || ze.zeDriverGetExtensionProperties(driver, &count, NULL) != ZE_RESULT_SUCCESS) return 0;
    ze_driver_extension_properties_t *list = count ? plugin_alloc(count * sizeof *list) : NULL;
    if (list && ze.zeDriverGetExtensionProperties(driver, &count, list) == ZE_RESULT_SUCCESS)
        for (uint32_t i = 0; i < count; i++) found |= strcmp(list[i].name, name) == 0;
    plugin_free(list);
    return found;
}

void xpu_xmx_find(xpu_device *device, const char *architecture, uint32_t least_sub_group)
{
    dp_properties dp = {.stype = DP_STRUCTURE};
    ze_device_module_properties_t module = {.stype = ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES, .pNext = &dp};
    int there;
    if (has_extension(device->place->driver, DP_EXTENSION))
        there = ze.zeDeviceGetModuleProperties(device->place->device, &module) == ZE_RESULT_SUCCESS && dp.flags & DP_HAS_DPAS;
    else /* older drivers know no other devices that have them */
        there = strcmp(architecture, "dg2") == 0 || strcmp(architecture, "pvc") == 0;
    device->xmx.lanes = there && (least_sub_group == 8 || least_sub_group == 16) ? least_sub_group : 0;
}

uint32_t xpu_xmx_types(const xpu_device *device)
{
    return device->xmx.lanes ? 1u << AIOS_BF16 | 1u << AIOS_F16 : 0;
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

/* Built at the first product.  Where the driver's compiler refuses it, the device does without. */
static aios_status get_module(xpu_device *device)
{
    const unsigned char *from = device->xmx.lanes == 8 ? xpu_xmx8 : xpu_xmx16;
    const unsigned char *end = device->xmx.lanes == 8 ? xpu_xmx8_end : xpu_xmx16_end;
    ze_result_t result;
    if (device->xmx.module) return AIOS_OK;
    aios_status status = xpu_module_create(device, from, end, BUILD_FLAGS, &device->xmx.module, &result);
    if (result != ZE_RESULT_ERROR_MODULE_BUILD_FAILURE && result != ZE_RESULT_ERROR_MODULE_LINK_FAILURE) return status;
    plugin_log(AIOS_LOG_WARNING, "xpu:%d: the driver does not build the kernels for its matrix units: products run on the portable kernel",
               (int)device->index);
    device->xmx.lanes = 0;
    return AIOS_UNSUPPORTED;
}

typedef struct argument {
    size_t size;
    const void *value;
} argument;

static aios_status get_kernel(xpu_device *device, const aios_gemm *g, uint32_t arguments, ze_kernel_handle_t *kernel)
{
    static const char *const names[XMX_KERNELS] = {"xmx_gemm_bf16", "xmx_gemm_f16", "xmx_gemm_f32_bf16", "xmx_gemm_f32_f16"};
    int index = (g->type_ab == AIOS_F16) + 2 * (g->type_c == AIOS_F32);
    PLUGIN_TRY(get_module(device));
    if (!device->xmx.kernels[index])
        PLUGIN_TRY(xpu_kernel_create(device->xmx.module, names[index], arguments, &device->xmx.kernels[index]));
    *kernel = device->xmx.kernels[index];
    return AIOS_OK;
}

void xpu_xmx_destroy(xpu_device *device)
{
    for (int i = 0; i < XMX_KERNELS; i++)
        if (device->xmx.kernels[i]) (void)ze.zeKernelDestroy(device->xmx.kernels[i]);
    if (device->xmx.module) (void)ze.zeModuleDestroy(device->xmx.module);
}

/* ---- gemm -------------------------------------------------------------------------------------------------------- */

static int64_t count_tiles(const aios_gemm *g, int32_t size)
{
    return ((g->m + (int64_t)size - 1) / size) * ((g->n + (int64_t)size - 1) / size);
}

static aios_status append_gemm(xpu_device *device, xpu_stream *stream, const aios_gemm *g)
{
    static const void *const none = NULL;
    int has_bias = g->epilogue == AIOS_EPILOGUE_BIAS || g->epilogue == AIOS_EPILOGUE_BIAS_GELU;
    int has_aux = g->epilogue == AIOS_EPILOGUE_BIAS_GELU || g->epilogue == AIOS_EPILOGUE_GELU_BACKWARD;
    int64_t tiles = count_tiles(g, BIG_TILE);
    int32_t big = tiles * g->batch >= device->cores; /* else smaller tiles keep more of the device busy */
    if (!big) tiles = count_tiles(g, SMALL_TILE);
    if (tiles * g->batch > INT32_MAX) return AIOS_UNSUPPORTED;
    const int32_t tile_count = (int32_t)tiles;
    const argument arguments[] = {
        {sizeof(void *), &g->c},
        {sizeof(void *), &g->a},
        {sizeof(void *), &g->b},
        {sizeof(void *), has_bias ? (const void *)&g->bias : &none},
        {sizeof(void *), has_aux ? (const void *)&g->aux : &none},
        {4, &g->m},
        {4, &g->n},
        {4, &g->k},
        {8, &g->lda},
        {8, &g->ldb},
        {8, &g->ldc},
        {8, &g->stride_a},
        {8, &g->stride_b},
        {8, &g->stride_c},
        {4, &g->transpose_a},
        {4, &g->transpose_b},
        {4, &g->alpha},
        {4, &g->beta},
        {4, &g->epilogue},
        {4, &tile_count},
        {4, &big},
    };
    ze_kernel_handle_t kernel;
    PLUGIN_TRY(get_kernel(device, g, COUNT_OF(arguments), &kernel));
    for (uint32_t i = 0; i < COUNT_OF(arguments); i++) {
        int absent = arguments[i].value == &none;
        PLUGIN_TRY(ZE(zeKernelSetArgumentValue, kernel, i, arguments[i].size, absent ? NULL : arguments[i].value));
    }
    return xpu_append_launch(stream, kernel, (uint32_t)(tiles * g->batch));
}

static aios_status multiply(void *handle, void *stream, const aios_gemm *g)
{
    xpu_device *device = handle;
    aios_status status = AIOS_UNSUPPORTED;
    if (g->type_ab == AIOS_F32 || (g->type_c == AIOS_F32 && g->epilogue != AIOS_EPILOGUE_NONE)) return AIOS_UNSUPPORTED;
    (void)pthread_mutex_lock(&device->mutex);
    if (device->xmx.lanes) status = append_gemm(device, stream, g);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

const aios_gemm_group xpu_gemm = {
    .struct_size = sizeof xpu_gemm,
    .epilogues = 1u << AIOS_EPILOGUE_BIAS | 1u << AIOS_EPILOGUE_BIAS_GELU | 1u << AIOS_EPILOGUE_GELU_BACKWARD,
    .gemm = multiply,
};
