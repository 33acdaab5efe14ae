/* Matrix products by cuBLASLt, where it can be opened; without it each call says UNSUPPORTED and the host takes its portable kernels.
 * cuBLASLt stores columns: a row-major c = a b is its c' = b' a', so its A is b and its bias, one per row, is one per column here. */
#include "cuda.h"

#include <pthread.h>
#include <string.h>

struct algorithm { /* cublasLtMatmulHeuristicResult_t */
    uint64_t data[8];
    size_t workspace_size;
    int state;
    float waves;
    int reserved[4];
};

struct cublaslt {
#define SYMBOL PLUGIN_MEMBER
#include "cublaslt.def"
#undef SYMBOL
};

/* Constants of cublasLt.h and library_types.h, and cublasStatus_t. */
enum { TYPE_F32 = 0, TYPE_F16 = 2, TYPE_BF16 = 14 };
enum { COMPUTE_F32 = 68 }; /* f32 is f32: rounding to TF32 would have to be asked for */
enum { OPERATION_TRANSPOSE = 1 };
enum { DESC_TRANSPOSE_A = 3, DESC_TRANSPOSE_B = 4, DESC_EPILOGUE = 7, DESC_BIAS = 8, DESC_AUX = 11, DESC_AUX_LD = 12, DESC_BIAS_TYPE = 26 };
enum { LAYOUT_BATCHES = 5, LAYOUT_STRIDE = 6 };
enum { PREFERENCE_WORKSPACE = 1, PREFERENCE_ALIGNMENT_A = 5 };
enum {
    EPILOGUE_DEFAULT = 1,
    EPILOGUE_BIAS = 4,
    EPILOGUE_GELU_AUX_BIAS = 32 | 128 | 4,
    EPILOGUE_DGELU = 64 | 128,
    EPILOGUE_BGRADA = 256,
    EPILOGUE_BGRADB = 512
};
enum { STATUS_SUCCESS = 0, STATUS_ALLOCATION_FAILED = 3, STATUS_ARCHITECTURE_MISMATCH = 8, STATUS_NOT_SUPPORTED = 15 };

#define WORKSPACE ((size_t)32 << 20) /* what NVIDIA advises for Hopper; less makes some shapes slower */
#define BUCKETS   256

static struct cublaslt lt;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int usable;

/* cuBLASLt's B is our a. */
static const struct {
    int code, bias, aux;
} epilogues[AIOS_EPILOGUE_COUNT] = {
    [AIOS_EPILOGUE_NONE] = {EPILOGUE_DEFAULT, 0, 0},
    [AIOS_EPILOGUE_BIAS] = {EPILOGUE_BIAS, 1, 0},
    [AIOS_EPILOGUE_BIAS_GELU] = {EPILOGUE_GELU_AUX_BIAS, 1, 1},
    [AIOS_EPILOGUE_GELU_BACKWARD] = {EPILOGUE_DGELU, 0, 1},
    [AIOS_EPILOGUE_BIAS_GRADIENT_A] = {EPILOGUE_BGRADB, 1, 0},
    [AIOS_EPILOGUE_BIAS_GRADIENT_B] = {EPILOGUE_BGRADA, 1, 0},
};

static int is_gradient(int32_t epilogue)
{
    return epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_A || epilogue == AIOS_EPILOGUE_BIAS_GRADIENT_B;
}

/* What a product's algorithm and descriptors depend on.  Without padding: compared as bytes. */
struct shape {
    int64_t lda, ldb, ldc, stride_a, stride_b, stride_c;
    int32_t m, n, k, batch;
    int32_t type_ab, type_c, transpose_a, transpose_b, epilogue;
    uint32_t alignment[4]; /* of b, a, c and what it adds to */
    int32_t workspace;     /* bytes of scratch memory that the algorithm may use */
};

struct product {
    struct product *next;
    struct shape shape;
    void *description, *b, *a, *c;
    struct algorithm algorithm;
    int found; /* 0: cuBLASLt has no algorithm for it */
};

/* Work of two streams must not share scratch memory. */
struct scratch {
    struct scratch *next;
    void *stream, *memory;
    size_t size;
};

struct cuda_gemm {
    pthread_mutex_t mutex; /* also of the descriptors, whose pointers are set for each call */
    void *handle;
    struct product *products[BUCKETS];
    struct scratch *scratches;
};

/* ---- opening, errors --------------------------------------------------------------------------------------------- */

static void open_cublaslt(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
    static const plugin_symbol symbols[] = {
#define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct cublaslt, need, name)
#include "cublaslt.def"
#undef SYMBOL
    };
    static const plugin_library library = {"cuBLASLt", names, symbols, COUNT_OF(symbols), "AIOS_CUBLASLT"};
    usable = plugin_library_open(&library, &lt) == AIOS_OK;
    if (!usable) plugin_log(AIOS_LOG_INFO, "no cuBLASLt (%s, %s): matrix products run on the portable kernel", names[0], names[1]);
}

static aios_status check(int code, const char *call)
{
    if (code == STATUS_SUCCESS) return AIOS_OK;
    aios_status status = code == STATUS_NOT_SUPPORTED || code == STATUS_ARCHITECTURE_MISMATCH ? AIOS_UNSUPPORTED
                         : code == STATUS_ALLOCATION_FAILED                                   ? AIOS_DEVICE_OUT_OF_MEMORY
                                                                                              : AIOS_DEVICE_ERROR;
    return plugin_fail(status, code, "%s: %s (cuBLAS status %d)", call,
                       lt.cublasLtGetStatusString ? lt.cublasLtGetStatusString(code) : "failed", code);
}
#define TRY_LT(function, ...) PLUGIN_TRY(check(lt.function(__VA_ARGS__), #function))

aios_status cuda_gemm_create(struct cuda_gemm **gemm)
{
    struct cuda_gemm *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    (void)pthread_mutex_init(&made->mutex, NULL);
    *gemm = made;
    return AIOS_OK;
}

/* ---- scratch memory ---------------------------------------------------------------------------------------------- */

/* A device without room for scratch memory has algorithms that need none. */
static aios_status make_scratch(cuda_device *device, struct scratch *scratch)
{
    scratch->size = WORKSPACE;
    aios_status status = stream_alloc(device, scratch->size, &scratch->memory);
    if (status != AIOS_DEVICE_OUT_OF_MEMORY) return status;
    plugin_log(AIOS_LOG_INFO, "no %zu bytes of scratch memory for cuBLASLt are free: products go without", scratch->size);
    scratch->memory = NULL;
    scratch->size = 0;
    return AIOS_OK;
}

static aios_status find_scratch(cuda_device *device, void *stream, const struct scratch **found)
{
    struct scratch *scratch = device->gemm->scratches;
    while (scratch && scratch->stream != stream) scratch = scratch->next;
    if (!scratch) {
        scratch = plugin_alloc(sizeof *scratch);
        if (!scratch) return AIOS_OUT_OF_MEMORY;
        aios_status status = make_scratch(device, scratch);
        if (status != AIOS_OK) {
            plugin_free(scratch);
            return status;
        }
        scratch->stream = stream;
        scratch->next = device->gemm->scratches;
        device->gemm->scratches = scratch;
    }
    *found = scratch;
    return AIOS_OK;
}

void cuda_gemm_forget_stream(cuda_device *device, void *stream)
{
    struct scratch *gone = NULL;
    (void)pthread_mutex_lock(&device->gemm->mutex);
    for (struct scratch **at = &device->gemm->scratches; *at; at = &(*at)->next) {
        if ((*at)->stream != stream) continue;
        gone = *at;
        *at = gone->next;
        break;
    }
    (void)pthread_mutex_unlock(&device->gemm->mutex);
    if (!gone) return;
    if (gone->memory) stream_free(device, gone->memory);
    plugin_free(gone);
}

/* ---- descriptions ------------------------------------------------------------------------------------------------ */

static uint32_t alignment_of(const void *pointer)
{
    uintptr_t low = (uintptr_t)pointer & (~(uintptr_t)pointer + 1);
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

static struct shape shape_of(const aios_gemm *g, size_t workspace)
{
    struct shape s;
    memset(&s, 0, sizeof s);
    s.lda = g->lda, s.ldb = g->ldb, s.ldc = g->ldc;
    s.m = g->m, s.n = g->n, s.k = g->k, s.batch = g->batch;
    if (g->batch > 1) s.stride_a = g->stride_a, s.stride_b = g->stride_b, s.stride_c = g->stride_c;
    s.type_ab = g->type_ab, s.type_c = g->type_c;
    s.transpose_a = g->transpose_a, s.transpose_b = g->transpose_b;
    s.epilogue = g->epilogue;
    s.workspace = (int32_t)workspace;
    s.alignment[0] = alignment_of(g->b);
    s.alignment[1] = alignment_of(g->a);
    s.alignment[2] = s.alignment[3] = alignment_of(g->c);
    return s;
}

static uint32_t bucket_of(const struct shape *shape)
{
    const unsigned char *bytes = (const unsigned char *)shape;
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < sizeof *shape; i++) hash = (hash ^ bytes[i]) * 16777619u;
    return hash % BUCKETS;
}

static int type_of(int32_t type)
{
    return type == AIOS_F32 ? TYPE_F32 : type == AIOS_BF16 ? TYPE_BF16 : TYPE_F16;
}

/* A matrix of rows as stored is one of columns, the other way round. */
static aios_status make_layout(void **layout, int32_t type, int32_t rows, int32_t columns, int64_t ld, int32_t batch, int64_t stride)
{
    TRY_LT(cublasLtMatrixLayoutCreate, layout, type_of(type), (uint64_t)columns, (uint64_t)rows, ld);
    if (batch == 1) return AIOS_OK;
    TRY_LT(cublasLtMatrixLayoutSetAttribute, *layout, LAYOUT_BATCHES, &batch, sizeof batch);
    TRY_LT(cublasLtMatrixLayoutSetAttribute, *layout, LAYOUT_STRIDE, &stride, sizeof stride);
    return AIOS_OK;
}

static aios_status describe(struct product *p)
{
    const struct shape *s = &p->shape;
    int transpose = OPERATION_TRANSPOSE, epilogue = epilogues[s->epilogue].code;
    int bias_type = is_gradient(s->epilogue) ? TYPE_F32 : type_of(s->type_ab);
    TRY_LT(cublasLtMatmulDescCreate, &p->description, COMPUTE_F32, TYPE_F32);
    if (s->transpose_b) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_TRANSPOSE_A, &transpose, sizeof transpose);
    if (s->transpose_a) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_TRANSPOSE_B, &transpose, sizeof transpose);
    TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (epilogues[s->epilogue].bias) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_BIAS_TYPE, &bias_type, sizeof bias_type);
    if (epilogues[s->epilogue].aux) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_AUX_LD, &s->ldc, sizeof s->ldc);
    PLUGIN_TRY(make_layout(&p->b, s->type_ab, s->transpose_b ? s->n : s->k, s->transpose_b ? s->k : s->n, s->ldb, s->batch, s->stride_b));
    PLUGIN_TRY(make_layout(&p->a, s->type_ab, s->transpose_a ? s->k : s->m, s->transpose_a ? s->m : s->k, s->lda, s->batch, s->stride_a));
    return make_layout(&p->c, s->type_c, s->m, s->n, s->ldc, s->batch, s->stride_c);
}

static aios_status set_pointers(const struct product *p, const aios_gemm *g)
{
    const void *bias = is_gradient(g->epilogue) ? g->aux : g->bias;
    if (epilogues[g->epilogue].bias) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_BIAS, &bias, sizeof bias);
    if (epilogues[g->epilogue].aux) TRY_LT(cublasLtMatmulDescSetAttribute, p->description, DESC_AUX, &g->aux, sizeof g->aux);
    return AIOS_OK;
}

static aios_status search(const struct cuda_gemm *gemm, struct product *p, void *preference)
{
    const size_t most = (size_t)p->shape.workspace;
    int found = 0;
    TRY_LT(cublasLtMatmulPreferenceSetAttribute, preference, PREFERENCE_WORKSPACE, &most, sizeof most);
    for (int i = 0; i < 4; i++)
        TRY_LT(cublasLtMatmulPreferenceSetAttribute, preference, PREFERENCE_ALIGNMENT_A + i, &p->shape.alignment[i], sizeof(uint32_t));
    int code =
        lt.cublasLtMatmulAlgoGetHeuristic(gemm->handle, p->description, p->b, p->a, p->c, p->c, preference, 1, &p->algorithm, &found);
    p->found = code == STATUS_SUCCESS && found == 1 && p->algorithm.state == STATUS_SUCCESS;
    return code == STATUS_NOT_SUPPORTED ? AIOS_OK : check(code, "cublasLtMatmulAlgoGetHeuristic");
}

static aios_status choose_algorithm(const struct cuda_gemm *gemm, struct product *p)
{
    void *preference = NULL;
    TRY_LT(cublasLtMatmulPreferenceCreate, &preference);
    aios_status status = search(gemm, p, preference);
    (void)lt.cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static void destroy_product(struct product *p)
{
    if (p->c) (void)lt.cublasLtMatrixLayoutDestroy(p->c);
    if (p->a) (void)lt.cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) (void)lt.cublasLtMatrixLayoutDestroy(p->b);
    if (p->description) (void)lt.cublasLtMatmulDescDestroy(p->description);
    plugin_free(p);
}

/* The choice of an algorithm takes longer than a small product, so it is kept. */
static aios_status find_product(struct cuda_gemm *gemm, const aios_gemm *g, size_t workspace, struct product **found)
{
    struct shape shape = shape_of(g, workspace);
    struct product **bucket = &gemm->products[bucket_of(&shape)], *p = *bucket;
    while (p && memcmp(&p->shape, &shape, sizeof shape) != 0) p = p->next;
    if (!p) {
        p = plugin_alloc(sizeof *p);
        if (!p) return AIOS_OUT_OF_MEMORY;
        p->shape = shape;
        aios_status status = describe(p);
        if (status == AIOS_OK) status = set_pointers(p, g);
        if (status == AIOS_OK) status = choose_algorithm(gemm, p);
        if (status != AIOS_OK) {
            destroy_product(p);
            return status;
        }
        p->next = *bucket;
        *bucket = p;
    }
    *found = p;
    return p->found ? set_pointers(p, g)
                    : plugin_fail(AIOS_UNSUPPORTED, 0, "cuBLASLt has no algorithm for (%d, %d) by (%d, %d) with epilogue %d", (int)g->m,
                                  (int)g->k, (int)g->k, (int)g->n, (int)g->epilogue);
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

/* With the mutex held. */
static aios_status prepare(cuda_device *device, void *stream, const struct scratch **scratch)
{
    if (!device->gemm->handle) TRY_LT(cublasLtCreate, &device->gemm->handle);
    return find_scratch(device, stream, scratch);
}

static aios_status run(cuda_device *device, void *stream, const aios_gemm *g)
{
    struct cuda_gemm *gemm = device->gemm;
    struct product *p = NULL;
    const struct scratch *scratch = NULL;
    PLUGIN_TRY(prepare(device, stream, &scratch));
    PLUGIN_TRY(find_product(gemm, g, scratch->size, &p));
    TRY_LT(cublasLtMatmul, gemm->handle, p->description, &g->alpha, g->b, p->b, g->a, p->a, &g->beta, g->c, p->c, g->c, p->c, &p->algorithm,
           scratch->memory, scratch->size, stream);
    return AIOS_OK;
}

static aios_status multiply(void *device, void *stream, const aios_gemm *g)
{
    cuda_device *d = device;
    (void)pthread_once(&once, open_cublaslt);
    if (!usable) return AIOS_UNSUPPORTED;
    if (is_gradient(g->epilogue) && g->alpha != 1) return AIOS_UNSUPPORTED; /* whether alpha is part of the sums is not documented */
    PLUGIN_TRY(stream_vendor_calls.set_device(device));
    (void)pthread_mutex_lock(&d->gemm->mutex);
    aios_status status = run(d, stream, g);
    (void)pthread_mutex_unlock(&d->gemm->mutex);
    return status;
}

aios_status cuda_gemm_prepare(cuda_device *device, void *stream)
{
    const struct scratch *scratch = NULL;
    (void)pthread_once(&once, open_cublaslt);
    if (!usable) return AIOS_OK;
    PLUGIN_TRY(stream_vendor_calls.set_device(device));
    (void)pthread_mutex_lock(&device->gemm->mutex);
    aios_status status = prepare(device, stream, &scratch);
    (void)pthread_mutex_unlock(&device->gemm->mutex);
    return status;
}

void cuda_gemm_destroy(cuda_device *device)
{
    struct cuda_gemm *gemm = device->gemm;
    while (gemm->scratches) cuda_gemm_forget_stream(device, gemm->scratches->stream);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct product *p = gemm->products[i], *next; p; p = next) {
            next = p->next;
            destroy_product(p);
        }
    }
    if (gemm->handle) (void)lt.cublasLtDestroy(gemm->handle);
    (void)pthread_mutex_destroy(&gemm->mutex);
    plugin_free(gemm);
}

const aios_gemm_group cuda_gemm_group = {.struct_size = sizeof cuda_gemm_group,
                                         .epilogues = 1u << AIOS_EPILOGUE_BIAS | 1u << AIOS_EPILOGUE_BIAS_GELU |
                                                      1u << AIOS_EPILOGUE_GELU_BACKWARD | 1u << AIOS_EPILOGUE_BIAS_GRADIENT_A |
                                                      1u << AIOS_EPILOGUE_BIAS_GRADIENT_B,
                                         .gemm = multiply};
