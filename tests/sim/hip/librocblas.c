/* The stand-in for rocBLAS: handles, and the one product that the plugin asks for. */
#include "stand_in_gemm.h"

#include <aios/backend.h>

#include <stdlib.h>

enum { SUCCESS = 0, INVALID_HANDLE = 1, NOT_IMPLEMENTED = 2, INVALID_SIZE = 4, INTERNAL_ERROR = 6, MEMORY_ERROR = 5 };
enum { NONE = 111, TRANSPOSE = 112, F16 = 150, F32 = 151, BF16 = 168 };

struct handle {
    vendor_stream *stream;
    int atomics;
};

VENDOR_API int rocblas_create_handle(void **handle);
VENDOR_API int rocblas_destroy_handle(void *handle);
VENDOR_API int rocblas_set_stream(void *handle, void *stream);
VENDOR_API int rocblas_set_atomics_mode(void *handle, int mode);
VENDOR_API const char *rocblas_status_to_string(int status);
VENDOR_API int rocblas_gemm_strided_batched_ex(void *handle, int operation_a, int operation_b, int32_t m, int32_t n, int32_t k,
                                               const void *alpha, const void *a, int type_a, int32_t lda, int64_t stride_a, const void *b,
                                               int type_b, int32_t ldb, int64_t stride_b, const void *beta, const void *c, int type_c,
                                               int32_t ldc, int64_t stride_c, void *d, int type_d, int32_t ldd, int64_t stride_d,
                                               int32_t batch, int compute_type, int algorithm, int32_t solution, uint32_t flags);

static int answer(vendor_status status)
{
    return status == VENDOR_OK ? SUCCESS : status == VENDOR_FAULT && vendor_fault_code() ? vendor_fault_code() : INTERNAL_ERROR;
}

int rocblas_create_handle(void **handle)
{
    vendor_status status = vendor_call("hip", NULL, "rocblas_create_handle");
    if (status != VENDOR_OK) return answer(status);
    struct handle *made = calloc(1, sizeof *made);
    made->atomics = 1;
    *handle = made;
    return SUCCESS;
}

int rocblas_destroy_handle(void *handle)
{
    free(handle);
    return SUCCESS;
}

int rocblas_set_stream(void *handle, void *stream)
{
    ((struct handle *)handle)->stream = stream;
    return SUCCESS;
}

int rocblas_set_atomics_mode(void *handle, int mode)
{
    ((struct handle *)handle)->atomics = mode;
    return SUCCESS;
}

const char *rocblas_status_to_string(int status)
{
    return status == NOT_IMPLEMENTED  ? "rocblas_status_not_implemented"
           : status == MEMORY_ERROR   ? "rocblas_status_memory_error"
           : status == INVALID_SIZE   ? "rocblas_status_invalid_size"
           : status == INVALID_HANDLE ? "rocblas_status_invalid_handle"
                                      : "rocblas_status_internal_error";
}

static int storage(int type)
{
    return type == F32 ? AIOS_F32 : type == BF16 ? AIOS_BF16 : type == F16 ? AIOS_F16 : -1;
}

int rocblas_gemm_strided_batched_ex(void *handle, int operation_a, int operation_b, int32_t m, int32_t n, int32_t k, const void *alpha,
                                    const void *a, int type_a, int32_t lda, int64_t stride_a, const void *b, int type_b, int32_t ldb,
                                    int64_t stride_b, const void *beta, const void *c, int type_c, int32_t ldc, int64_t stride_c, void *d,
                                    int type_d, int32_t ldd, int64_t stride_d, int32_t batch, int compute_type, int algorithm,
                                    int32_t solution, uint32_t flags)
{
    const struct handle *h = handle;
    const char *what = "rocblas_gemm_strided_batched_ex";
    if (!h || !h->stream) return INVALID_HANDLE;
    vendor_device *device = vendor_stream_device(h->stream);
    vendor_status status = vendor_call("hip", device, what);
    if (status != VENDOR_OK) return answer(status);
    int ab = storage(type_a), type = storage(type_c);
    if (ab < 0 || type < 0 || type_b != type_a || type_d != type_c || compute_type != F32 || (type != ab && type != AIOS_F32))
        return NOT_IMPLEMENTED;
    if (h->atomics || c != d || ldc != ldd || stride_c != stride_d || algorithm || solution || flags)
        vendor_complain(device, "%s: not in place, or not repeatable", what);
    stand_in_gemm gemm = {.type_ab = ab,
                          .type_c = type,
                          .transpose_a = operation_a == TRANSPOSE,
                          .transpose_b = operation_b == TRANSPOSE,
                          .m = m,
                          .n = n,
                          .k = k,
                          .batch = batch,
                          .lda = lda,
                          .ldb = ldb,
                          .ldc = ldc,
                          .stride_a = stride_a,
                          .stride_b = stride_b,
                          .stride_c = stride_c,
                          .alpha = *(const float *)alpha,
                          .beta = *(const float *)beta,
                          .a = a,
                          .b = b,
                          .c = d};
    status = stand_in_gemm_submit(h->stream, what, &gemm);
    return status == VENDOR_INVALID ? INVALID_SIZE : answer(status);
}
