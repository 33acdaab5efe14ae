/* cuda.h (internal): the parts of libaios-cuda. */
#ifndef AIOS_CUDA_H
#define AIOS_CUDA_H

#include "stream_driver.h"

struct cuda_driver {
    stream_calls calls;
#define SYMBOL PLUGIN_MEMBER
#include "driver.def"
#undef SYMBOL
};
extern struct cuda_driver cuda;

typedef struct cuda_device {
    stream_device base;
    int handle;     /* CUdevice */
    void *context;  /* the primary one, which other CUDA code of the process shares */
    int capability; /* 90 is 9.0 */
    char pci_address[32];
    struct cuda_gemm *gemm;
} cuda_device;

/* Every device's kernels: one fatbin, from which the driver takes what fits. */
extern const unsigned char cuda_fatbin[];

extern const aios_gemm_group cuda_gemm_group;
aios_status cuda_gemm_create(struct cuda_gemm **gemm);
/* What a recording can't hold: opening cuBLASLt, memory for the stream's scratch.  Where cuBLASLt is missing there is nothing to do. */
aios_status cuda_gemm_prepare(cuda_device *device, void *stream);
void cuda_gemm_forget_stream(cuda_device *device, void *stream);
void cuda_gemm_destroy(cuda_device *device);

extern const aios_telemetry_group cuda_telemetry_group;
/* "580.82.07", "" where NVML does not tell. */
void cuda_driver_version(char *text, size_t size);

#endif
