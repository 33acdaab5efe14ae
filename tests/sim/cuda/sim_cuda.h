/* sim_cuda.h: what the stand-ins of NVIDIA's libraries share.  libcuda.so.1 has it; libcublasLt.so.13 is linked to that. */
#ifndef SIM_CUDA_H
#define SIM_CUDA_H

#include "vendor.h"

/* Prototypes from the plugin's own lists: a stand-in that sees a call otherwise does not compile. */
#define EXPORT                                    __attribute__((visibility("default")))
#define SYMBOL(need, result, name, parameters)    EXPORT result name parameters;
#define CALL(need, member, parameters, cuda, hip) EXPORT int cuda parameters;
struct algorithm; /* cublasLtMatmulHeuristicResult_t */
#include "common/stream_driver.def"
#include "cuda/cublaslt.def"
#include "cuda/driver.def"
#include "cuda/nvml.def"
#undef CALL
#undef SYMBOL

/* The device whose primary context is current on this thread; NULL: none. */
EXPORT vendor_device *sim_cuda_current(void);

/* "0000:3B:00.0": where the n-th simulated device of the machine is plugged in, whatever CUDA_VISIBLE_DEVICES shows. */
EXPORT void sim_cuda_address(const vendor_device *device, char *text, size_t size);

#endif
