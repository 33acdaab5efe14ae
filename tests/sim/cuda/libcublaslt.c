/* libcublasLt.so.13 on simulated devices: products in f32, with the epilogues, and as particular as the real one about what it is told:
 * an algorithm is for exactly the description, layouts and alignments that it was chosen for. */
#include "sim_cuda.h"
#include "stand_in_gemm.h"

#include <aios/backend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cublasStatus_t */
enum { STATUS_SUCCESS = 0, STATUS_INVALID_VALUE = 7, STATUS_EXECUTION_FAILED = 13, STATUS_INTERNAL_ERROR = 14, STATUS_NOT_SUPPORTED = 15 };

/* cudaDataType, cublasComputeType_t, cublasLtEpilogue_t */
enum { TYPE_F32 = 0, TYPE_F16 = 2, TYPE_BF16 = 14 };
enum { COMPUTE_F32 = 68 };
enum {
    EPILOGUE_DEFAULT = 1,
    EPILOGUE_BIAS = 4,
    EPILOGUE_GELU_AUX_BIAS = 32 | 128 | 4,
    EPILOGUE_DGELU = 64 | 128,
    EPILOGUE_BGRADA = 256,
    EPILOGUE_BGRADB = 512
};

struct description {
    struct {
        int64_t aux_ld;
        int transpose_a, transpose_b, epilogue, bias_type; /* bias_type -1: that of D */
    } fixed;                                               /* what an algorithm depends on */
    void *bias, *aux;
};

struct layout {
    uint64_t rows, columns;
    int64_t ld, stride;
    int type, batches;
};

struct handle {
    vendor_device *device;
};

struct preference {
    uint64_t workspace;
    uint32_t alignment[4];
};

struct choice { /* cublasLtMatmulAlgo_t */
    uint64_t magic, hash, workspace;
    uint32_t alignment[4];
    uint64_t reserved[3];
};

struct algorithm {
    struct choice choice;
    size_t workspace_size;
    int state;
    float waves;
    int reserved[4];
};

#define MAGIC ((uint64_t)0x616c676f726974)

static int enter(const char *call)
{
    vendor_device *device = sim_cuda_current();
    vendor_status status = vendor_call("cuda", device, call);
    if (status == VENDOR_FAULT && vendor_fault_code()) return vendor_fault_code();
    return status == VENDOR_OK ? STATUS_SUCCESS : status == VENDOR_FAULT ? STATUS_INTERNAL_ERROR : STATUS_EXECUTION_FAILED;
}

#define ENTER(call)                                                                                                                        \
    do {                                                                                                                                   \
        int entered = enter(call);                                                                                                         \
        if (entered) return entered;                                                                                                       \
    } while (0)

static int complain(const char *what)
{
    vendor_complain(sim_cuda_current(), "cuBLASLt: %s", what);
    return STATUS_INVALID_VALUE;
}

static int type_of(int type)
{
    return type == TYPE_F32 ? AIOS_F32 : type == TYPE_F16 ? AIOS_F16 : type == TYPE_BF16 ? AIOS_BF16 : -1;
}

static int epilogue_of(int epilogue)
{
    switch (epilogue) {
    case EPILOGUE_DEFAULT: return STAND_IN_NOTHING;
    case EPILOGUE_BIAS: return STAND_IN_BIAS;
    case EPILOGUE_GELU_AUX_BIAS: return STAND_IN_BIAS_GELU;
    case EPILOGUE_DGELU: return STAND_IN_GELU_SLOPE;
    case EPILOGUE_BGRADA: return STAND_IN_SUM_A;
    case EPILOGUE_BGRADB: return STAND_IN_SUM_B;
    default: return -1;
    }
}

/* ---- handles and descriptions ------------------------------------------------------------------------------------ */

EXPORT int cublasLtCreate(void **handle)
{
    ENTER("cublasLtCreate");
    if (!sim_cuda_current()) return complain("a handle is made where no context is current");
    struct handle *made = calloc(1, sizeof *made);
    made->device = sim_cuda_current();
    *handle = made;
    return STATUS_SUCCESS;
}

EXPORT int cublasLtDestroy(void *handle)
{
    free(handle);
    return enter("cublasLtDestroy");
}

EXPORT int cublasLtMatmulDescCreate(void **description, int compute, int scale)
{
    ENTER("cublasLtMatmulDescCreate");
    if (compute != COMPUTE_F32 || scale != TYPE_F32) return complain("sums in another type than f32");
    struct description *made = calloc(1, sizeof *made);
    made->fixed.epilogue = EPILOGUE_DEFAULT;
    made->fixed.bias_type = -1;
    *description = made;
    return STATUS_SUCCESS;
}

EXPORT int cublasLtMatmulDescDestroy(void *description)
{
    free(description);
    return enter("cublasLtMatmulDescDestroy");
}

static int set(void *field, size_t field_size, const void *value, size_t size)
{
    if (size != field_size) return complain("an attribute is set with a value of the wrong size");
    memcpy(field, value, size);
    return STATUS_SUCCESS;
}

EXPORT int cublasLtMatmulDescSetAttribute(void *description, int attribute, const void *value, size_t size)
{
    struct description *d = description;
    ENTER("cublasLtMatmulDescSetAttribute");
    switch (attribute) {
    case 3: return set(&d->fixed.transpose_a, sizeof d->fixed.transpose_a, value, size);
    case 4: return set(&d->fixed.transpose_b, sizeof d->fixed.transpose_b, value, size);
    case 7: return set(&d->fixed.epilogue, sizeof d->fixed.epilogue, value, size);
    case 8: return set(&d->bias, sizeof d->bias, value, size);
    case 11: return set(&d->aux, sizeof d->aux, value, size);
    case 12: return set(&d->fixed.aux_ld, sizeof d->fixed.aux_ld, value, size);
    case 26: return set(&d->fixed.bias_type, sizeof d->fixed.bias_type, value, size);
    default: return complain("an attribute of a description that the simulation does not know");
    }
}

EXPORT int cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t ld)
{
    ENTER("cublasLtMatrixLayoutCreate");
    if (type_of(type) < 0 || rows == 0 || columns == 0 || ld < (int64_t)rows) return complain("an impossible layout");
    struct layout *made = calloc(1, sizeof *made);
    *made = (struct layout){.type = type, .rows = rows, .columns = columns, .ld = ld, .batches = 1};
    *layout = made;
    return STATUS_SUCCESS;
}

EXPORT int cublasLtMatrixLayoutDestroy(void *layout)
{
    free(layout);
    return enter("cublasLtMatrixLayoutDestroy");
}

EXPORT int cublasLtMatrixLayoutSetAttribute(void *layout, int attribute, const void *value, size_t size)
{
    struct layout *l = layout;
    ENTER("cublasLtMatrixLayoutSetAttribute");
    switch (attribute) {
    case 5: return set(&l->batches, sizeof l->batches, value, size);
    case 6: return set(&l->stride, sizeof l->stride, value, size);
    default: return complain("an attribute of a layout that the simulation does not know");
    }
}

EXPORT int cublasLtMatmulPreferenceCreate(void **preference)
{
    ENTER("cublasLtMatmulPreferenceCreate");
    struct preference *made = calloc(1, sizeof *made);
    for (int i = 0; i < 4; i++) made->alignment[i] = 256;
    *preference = made;
    return STATUS_SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceDestroy(void *preference)
{
    free(preference);
    return enter("cublasLtMatmulPreferenceDestroy");
}

EXPORT int cublasLtMatmulPreferenceSetAttribute(void *preference, int attribute, const void *value, size_t size)
{
    struct preference *p = preference;
    ENTER("cublasLtMatmulPreferenceSetAttribute");
    if (attribute == 1) return set(&p->workspace, sizeof p->workspace, value, size);
    if (attribute >= 5 && attribute <= 8) return set(&p->alignment[attribute - 5], sizeof p->alignment[0], value, size);
    return complain("an attribute of a preference that the simulation does not know");
}

EXPORT const char *cublasLtGetStatusString(int status)
{
    switch (status) {
    case STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_?";
    }
}

/* ---- what goes together ------------------------------------------------------------------------------------------- */

static uint64_t rows_of(const struct layout *l, int transpose)
{
    return transpose ? l->columns : l->rows;
}

static uint64_t columns_of(const struct layout *l, int transpose)
{
    return transpose ? l->rows : l->columns;
}

static const char *find_contradiction(const struct description *d, const struct layout *a, const struct layout *b, const struct layout *c,
                                      const struct layout *out)
{
    if (rows_of(a, d->fixed.transpose_a) != out->rows || columns_of(b, d->fixed.transpose_b) != out->columns ||
        columns_of(a, d->fixed.transpose_a) != rows_of(b, d->fixed.transpose_b))
        return "the layouts do not multiply";
    if (memcmp(c, out, sizeof *c) != 0) return "C and D have different layouts";
    if (a->batches != b->batches || a->batches != out->batches) return "the layouts have different numbers of batches";
    if (a->type != b->type || (out->type != a->type && out->type != TYPE_F32)) return "types that do not go together";
    if (epilogue_of(d->fixed.epilogue) < 0) return "an epilogue that the simulation does not know";
    if ((d->fixed.epilogue & 128) && d->fixed.aux_ld < (int64_t)out->rows) return "an auxiliary matrix with too short columns";
    return NULL;
}

/* Whether the real library has an algorithm for it, as far as its manual says. */
static int is_supported(const struct description *d, const struct layout *a, const struct layout *out)
{
    int bias_type = d->fixed.bias_type < 0 ? out->type : d->fixed.bias_type;
    if ((d->fixed.epilogue & 128) && d->fixed.aux_ld % 8 != 0) return 0;
    if (d->fixed.epilogue != EPILOGUE_DEFAULT && d->fixed.epilogue != EPILOGUE_DGELU && bias_type != out->type) return 0;
    return d->fixed.epilogue == EPILOGUE_DEFAULT || a->batches == 1;
}

/* ---- algorithms -------------------------------------------------------------------------------------------------- */

static uint64_t hash(uint64_t seed, const void *from, size_t size)
{
    const unsigned char *bytes = from;
    for (size_t i = 0; i < size; i++) seed = (seed ^ bytes[i]) * 1099511628211u;
    return seed;
}

static uint64_t hash_all(const struct description *d, const struct layout *a, const struct layout *b, const struct layout *c)
{
    uint64_t h = hash(14695981039346656037u, &d->fixed, sizeof d->fixed);
    h = hash(h, a, sizeof *a);
    h = hash(h, b, sizeof *b);
    return hash(h, c, sizeof *c);
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, void *description, void *a, void *b, void *c, void *d, void *preference, int wanted,
                                          struct algorithm *results, int *found)
{
    const struct preference *p = preference;
    ENTER("cublasLtMatmulAlgoGetHeuristic");
    *found = 0;
    if (!handle || wanted < 1) return STATUS_INVALID_VALUE;
    const char *wrong = find_contradiction(description, a, b, c, d);
    if (wrong) return complain(wrong);
    if (!is_supported(description, a, c)) return STATUS_NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    results->choice.magic = MAGIC;
    results->choice.hash = hash_all(description, a, b, c);
    results->choice.workspace = results->workspace_size = p->workspace / 2;
    memcpy(results->choice.alignment, p->alignment, sizeof p->alignment);
    *found = 1;
    return STATUS_SUCCESS;
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

static int is_aligned(const void *pointer, uint32_t alignment)
{
    return (uintptr_t)pointer % alignment == 0;
}

EXPORT int cublasLtMatmul(void *handle, void *description, const void *alpha, const void *a, void *layout_a, const void *b, void *layout_b,
                          const void *beta, const void *c, void *layout_c, void *d, void *layout_d, const void *algorithm, void *workspace,
                          size_t workspace_size, void *stream)
{
    const struct description *desc = description;
    const struct handle *h = handle;
    const struct choice *choice = algorithm;
    ENTER("cublasLtMatmul");
    if (h->device != sim_cuda_current() || vendor_stream_device(stream) != h->device) return complain("handle, stream and context differ");
    const char *wrong = find_contradiction(desc, layout_a, layout_b, layout_c, layout_d);
    if (wrong) return complain(wrong);
    if (c != d) return complain("the simulation adds in place only");
    if (!choice || choice->magic != MAGIC || choice->hash != hash_all(desc, layout_a, layout_b, layout_c))
        return complain("an algorithm that was chosen for another product");
    if (!is_aligned(a, choice->alignment[0]) || !is_aligned(b, choice->alignment[1]) || !is_aligned(d, choice->alignment[3]))
        return complain("an algorithm that was chosen for a better alignment");
    if (workspace_size < choice->workspace) return complain("less scratch memory than the algorithm needs");
    if (workspace_size && vendor_check(h->device, "cublasLtMatmul: workspace", workspace, workspace_size) != VENDOR_OK)
        return STATUS_INVALID_VALUE;

    const struct layout *la = layout_a, *lb = layout_b, *ld = layout_d;
    stand_in_gemm g = {.type_ab = type_of(la->type),
                       .type_c = type_of(ld->type),
                       .transpose_a = desc->fixed.transpose_a,
                       .transpose_b = desc->fixed.transpose_b,
                       .m = (int64_t)ld->rows,
                       .n = (int64_t)ld->columns,
                       .k = (int64_t)columns_of(la, desc->fixed.transpose_a),
                       .batch = ld->batches,
                       .lda = la->ld,
                       .ldb = lb->ld,
                       .ldc = ld->ld,
                       .stride_a = la->stride,
                       .stride_b = lb->stride,
                       .stride_c = ld->stride,
                       .a = a,
                       .b = b,
                       .c = d,
                       .epilogue = epilogue_of(desc->fixed.epilogue),
                       .ld_aux = desc->fixed.aux_ld,
                       .bias = desc->bias,
                       .aux = desc->aux};
    memcpy(&g.alpha, alpha, sizeof g.alpha);
    memcpy(&g.beta, beta, sizeof g.beta);
    vendor_status status = stand_in_gemm_submit(stream, "cublasLtMatmul", &g);
    return status == VENDOR_OK ? STATUS_SUCCESS : status == VENDOR_INVALID ? STATUS_INVALID_VALUE : STATUS_EXECUTION_FAILED;
}
