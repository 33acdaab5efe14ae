/* The kernels of lib/kernels, as nvcc compiled them. */
#include "cuda.h"
#include "embed.h"

EMBED(cuda_fatbin, CUDA_FATBIN);
