/* hip.h (internal): the parts of libaios-hip.  hip.c: the driver and what a device is; code.c: the kernels; gemm.c: rocBLAS; telemetry.c:
 * ROCm SMI.  Streams, memory and launches are backends/common/stream_driver.c's. */
#ifndef AIOS_HIP_H
#define AIOS_HIP_H

#include "stream_driver.h"

struct hip_driver {
    stream_calls calls;
#define SYMBOL PLUGIN_MEMBER
#include "driver.def"
#undef SYMBOL
};
extern struct hip_driver hip;
extern int hip_version; /* of the runtime: 60241134 is 6.2 */

typedef struct hip_device {
    stream_device base;
    char architecture[32]; /* "gfx942" */
    uint64_t pci;          /* domain << 32 | bus << 8 | device << 3: ROCm SMI's way to write it */
    struct hip_gemm *gemm;
} hip_device;

/* The code object of an architecture.  Errors: UNSUPPORTED, which lists those that there are. */
aios_status hip_find_code(const char *architecture, const void **code);

extern const aios_gemm_group hip_gemm_group;
aios_status hip_gemm_create(struct hip_gemm **gemm);
/* Makes the handle of a stream. */
aios_status hip_gemm_prepare(void *device, void *stream);
void hip_gemm_forget_stream(struct hip_gemm *gemm, void *stream);
void hip_gemm_destroy(struct hip_gemm *gemm);

extern const aios_telemetry_group hip_telemetry_group;

#endif
