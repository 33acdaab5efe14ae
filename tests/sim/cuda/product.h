/* product.h: the arithmetic behind the stand-in of cuBLASLt: matrices of columns, f32, f16 and bf16, its epilogues. */
#ifndef SIM_PRODUCT_H
#define SIM_PRODUCT_H

#include "vendor.h"

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
    } fixed;                                               /* what an algorithm depends on; compared as bytes */
    void *bias, *aux;                                      /* bias: read, or the bias's gradient */
};

struct layout {
    uint64_t rows, columns;
    int64_t ld, stride;
    int type, batches;
};

enum { PRODUCT_A, PRODUCT_B, PRODUCT_D, PRODUCT_BIAS, PRODUCT_AUX, PRODUCT_POINTERS };

struct product {
    struct description description;
    struct layout a, b, d;
    float alpha, beta;
    const void *pointers[PRODUCT_POINTERS];
};

uint64_t product_type_size(int type); /* 0: unknown */
/* What contradicts itself, or NULL. */
const char *product_check(const struct description *description, const struct layout *a, const struct layout *b, const struct layout *c,
                          const struct layout *d);
/* Whether the real library has an algorithm for it. */
int product_supported(const struct description *description, const struct layout *a, const struct layout *d);
/* Bytes behind each pointer; 0 where it is not used. */
void product_sizes(const struct product *product, uint64_t sizes[PRODUCT_POINTERS]);
/* For vendor_submit. */
const char *product_run(vendor_device *device, void *product);

#endif
