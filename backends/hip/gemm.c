/* Matrix products by rocBLAS, where it can be opened; without it each call says UNSUPPORTED and the host takes its portable kernels.
 * rocBLAS has no epilogues: the host adds bias and GELU with kernels of its own. */
#include "hip.h"

#include <pthread.h>

struct rocblas {
#define SYMBOL PLUGIN_MEMBER
#include "rocblas.def"
#undef SYMBOL
};

/* rocblas_operation, rocblas_datatype, rocblas_status, rocblas_atomics_mode */
enum { OPERATION_NONE = 111, OPERATION_TRANSPOSE = 112 };
enum { TYPE_F16 = 150, TYPE_F32 = 151, TYPE_BF16 = 168 };
enum { STATUS_SUCCESS = 0, STATUS_NOT_IMPLEMENTED = 2, STATUS_MEMORY_ERROR = 5, STATUS_ARCHITECTURE_MISMATCH = 14 };
enum { ATOMICS_NOT_ALLOWED = 0 };

static struct rocblas rocblas;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int usable;

/* A handle keeps a stream and scratch memory for it, so there is one per stream that has multiplied. */
struct handle {
    struct handle *next;
    void *stream, *handle;
};

struct hip_gemm {
    pthread_mutex_t mutex;
    struct handle *handles;
};

/* rocBLAS brings its own libamdhip64 with it: of another release, that would be a second runtime in the process. */
static void open_rocblas(void)
{
    static const char *const names_7[] = {"librocblas.so.5", NULL};
    static const char *const names_6[] = {"librocblas.so.4", NULL};
    static const char *const names_5[] = {"librocblas.so.3", "librocblas.so.0", NULL};
    static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct rocblas, need, name)
#include "rocblas.def"
#undef SYMBOL
    };
    int release = hip_version / 10000000;
    const plugin_library library = {"rocBLAS", release >= 7 ? names_7 : release == 6 ? names_6 : names_5, symbols, COUNT_OF(symbols), NULL};
    usable = plugin_library_open(&library, &rocblas) == AIOS_OK;
    if (!usable) plugin_log(AIOS_LOG_INFO, "no rocBLAS (%s): matrix products run on the portable kernel", library.names[0]);
}

aios_status hip_gemm_create(struct hip_gemm **gemm)
{
    struct hip_gemm *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    (void)pthread_mutex_init(&made->mutex, NULL);
    *gemm = made;
    return AIOS_OK;
}

static aios_status check(int code, const char *call)
{
    if (code == STATUS_SUCCESS) return AIOS_OK;
    aios_status status = code == STATUS_NOT_IMPLEMENTED || code == STATUS_ARCHITECTURE_MISMATCH ? AIOS_UNSUPPORTED
                         : code == STATUS_MEMORY_ERROR                                          ? AIOS_DEVICE_OUT_OF_MEMORY
                                                                                                : AIOS_DEVICE_ERROR;
    return plugin_fail(status, code, "%s: %s (rocBLAS status %d)", call,
                       rocblas.rocblas_status_to_string ? rocblas.rocblas_status_to_string(code) : "failed", code);
}

static aios_status make_handle(void *stream, struct handle **made)
{
    struct handle *handle = plugin_alloc(sizeof *handle);
    if (!handle) return AIOS_OUT_OF_MEMORY;
    aios_status status = check(rocblas.rocblas_create_handle(&handle->handle), "rocblas_create_handle");
    if (status != AIOS_OK) {
        plugin_free(handle);
        return status;
    }
    handle->stream = stream;
    status = check(rocblas.rocblas_set_stream(handle->handle, stream), "rocblas_set_stream");
    /* sums in a fixed order: a run repeats bit by bit */
    if (status == AIOS_OK && rocblas.rocblas_set_atomics_mode)
        status = check(rocblas.rocblas_set_atomics_mode(handle->handle, ATOMICS_NOT_ALLOWED), "rocblas_set_atomics_mode");
    if (status != AIOS_OK) {
        (void)rocblas.rocblas_destroy_handle(handle->handle);
        plugin_free(handle);
        return status;
    }
    *made = handle;
    return AIOS_OK;
}

static aios_status find_handle(struct hip_gemm *gemm, void *stream, void **found)
{
    aios_status status = AIOS_OK;
    (void)pthread_mutex_lock(&gemm->mutex);
    struct handle *handle = gemm->handles;
    while (handle && handle->stream != stream) handle = handle->next;
    if (!handle) {
        status = make_handle(stream, &handle);
        if (status == AIOS_OK) {
            handle->next = gemm->handles;
            gemm->handles = handle;
        }
    }
    if (status == AIOS_OK) *found = handle->handle;
    (void)pthread_mutex_unlock(&gemm->mutex);
    return status;
}

void hip_gemm_forget_stream(struct hip_gemm *gemm, void *stream)
{
    struct handle *gone = NULL;
    (void)pthread_mutex_lock(&gemm->mutex);
    for (struct handle **at = &gemm->handles; *at; at = &(*at)->next) {
        if ((*at)->stream != stream) continue;
        gone = *at;
        *at = gone->next;
        break;
    }
    (void)pthread_mutex_unlock(&gemm->mutex);
    if (!gone) return;
    (void)rocblas.rocblas_destroy_handle(gone->handle);
    plugin_free(gone);
}

void hip_gemm_destroy(struct hip_gemm *gemm)
{
    if (!gemm) return;
    while (gemm->handles) hip_gemm_forget_stream(gemm, gemm->handles->stream);
    (void)pthread_mutex_destroy(&gemm->mutex);
    plugin_free(gemm);
}

aios_status hip_gemm_prepare(void *device, void *stream)
{
    void *handle;
    (void)pthread_once(&once, open_rocblas);
    return usable ? find_handle(((hip_device *)device)->gemm, stream, &handle) : AIOS_OK;
}

static int operation(int32_t transpose)
{
    return transpose ? OPERATION_TRANSPOSE : OPERATION_NONE;
}

/* rocBLAS stores columns: a row-major c = a b is its c' = b' a'. */
static aios_status multiply(void *device, void *stream, const aios_gemm *g)
{
    static const int types[] = {[AIOS_F32] = TYPE_F32, [AIOS_BF16] = TYPE_BF16, [AIOS_F16] = TYPE_F16};
    void *handle = NULL;
    (void)pthread_once(&once, open_rocblas);
    if (!usable) return AIOS_UNSUPPORTED;
    if (g->lda > INT32_MAX || g->ldb > INT32_MAX || g->ldc > INT32_MAX) return AIOS_UNSUPPORTED;
    PLUGIN_TRY(stream_vendor_calls.set_device(device));
    PLUGIN_TRY(find_handle(((hip_device *)device)->gemm, stream, &handle));
    int ab = types[g->type_ab], c = types[g->type_c];
    return check(rocblas.rocblas_gemm_strided_batched_ex(handle, operation(g->transpose_b), operation(g->transpose_a), g->n, g->m, g->k,
                                                         &g->alpha, g->b, ab, (int32_t)g->ldb, g->stride_b, g->a, ab, (int32_t)g->lda,
                                                         g->stride_a, &g->beta, g->c, c, (int32_t)g->ldc, g->stride_c, g->c, c,
                                                         (int32_t)g->ldc, g->stride_c, g->batch, TYPE_F32, 0, 0, 0),
                 "rocblas_gemm_strided_batched_ex");
}

const aios_gemm_group hip_gemm_group = {.struct_size = sizeof hip_gemm_group, .epilogues = 0, .gemm = multiply};
