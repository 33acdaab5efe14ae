/* device.h (internal): one CPU device. */
#ifndef AIOS_CPU_DEVICE_H
#define AIOS_CPU_DEVICE_H

#include "base/context.h"
#include "base/os.h"
#include "base/pool.h"
#include "kernels.h"
#include "onednn.h"
#include "vector.h"

#include <stdatomic.h>

/* What multiplies matrices: oneDNN, f32 copies of them; tiles.h; oneDNN, them as they are. */
enum cpu_gemm { CPU_GEMM_WIDENED, CPU_GEMM_TILES, CPU_GEMM_ONEDNN };

typedef struct cpu_device {
    aios_context *context;
    int32_t index, devices, threads;
    const char *architecture;
    const cpu_kernel_fn *kernels;
    uint32_t kernel_count;
    const cpu_vector *vector;
    enum cpu_gemm f32, bf16; /* what multiplies each */

    os_mutex mutex; /* of all below: one call computes at a time */
    thread_pool *pool;
    onednn dnn;
    int dnn_state;  /* 0: not looked for yet, 1: there, -1: not there */
    float *scratch; /* of all threads, for products of the 16-bit types; made when first needed */
} cpu_device;

/* Runs run(user, index, threads) on the device's threads, subnormal numbers flushed to zero, one caller at a time.  The
 * caller holds the mutex. */
aios_status cpu_run(cpu_device *device, void (*run)(void *user, int index, int count), void *user);

/* Opens oneDNN where that was not tried yet.  Errors: UNSUPPORTED, so that the portable kernels are used instead; the log
 * says so once.  The caller holds the mutex. */
aios_status cpu_need_onednn(cpu_device *device);

/* Makes the threads' memory for products of the 16-bit types.  The caller holds the mutex. */
aios_status cpu_need_scratch(cpu_device *device);
/* A thread's part of it: TILES_SCRATCH floats and what gemm.c adds. */
float *cpu_scratch(const cpu_device *device, int thread);

extern const aios_gemm_group cpu_gemm_group;
extern const aios_attention_group cpu_attention_group;

#endif
