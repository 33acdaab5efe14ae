/* sim_cuda.h: what the stand-ins of NVIDIA's libraries share.  libcuda.so.1 has it; libcublasLt.so.13 is linked to that. */
#ifndef SIM_CUDA_H
#define SIM_CUDA_H

#include "vendor.h"

#define EXPORT __attribute__((visibility("default")))

/* The device whose primary context is current on this thread; NULL: none. */
vendor_device *sim_cuda_current(void);

/* "0000:3B:00.0": where the n-th simulated device of the machine is plugged in, whatever CUDA_VISIBLE_DEVICES shows. */
void sim_cuda_address(const vendor_device *device, char *text, size_t size);

#endif
