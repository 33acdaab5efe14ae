/* kernels.h: what kernels.def gives the host: the list as an enum, indices, and one typed launcher per kernel.
 *
 *   aios_status launch_rmsnorm_forward(aios_stream *stream, int storage, uint32_t teams, void *y, void *rstd, const void *x, …)
 *
 * storage is AIOS_F32, AIOS_BF16 or AIOS_F16; teams 0 lets the device choose.  Pointers are device memory; arguments are read before
 * the call returns.  Errors: those of aios_stream_launch. */
#ifndef AIOS_KERNELS_KERNELS_H
#define AIOS_KERNELS_KERNELS_H

#include <aios/device.h>

#include "kernels/map.h"

#define KERNEL_DEF(name, ...) KERNEL_##name,
enum kernel_id {
#include "kernels/kernels.def"
    KERNEL_COUNT
};
#undef KERNEL_DEF

#define KERNEL_STORAGE_TYPES 3

/* The index of a kernel in every backend's table. */
static inline uint32_t kernel_index(enum kernel_id kernel, int storage)
{
    return (uint32_t)kernel * KERNEL_STORAGE_TYPES + (uint32_t)storage;
}

#define LAUNCH_TYPE_i32                     int32_t
#define LAUNCH_TYPE_i64                     int64_t
#define LAUNCH_TYPE_f32                     float
#define LAUNCH_PARAMETER_out(type, name)    void *name
#define LAUNCH_PARAMETER_in(type, name)     const void *name
#define LAUNCH_PARAMETER_val(type, name)    LAUNCH_TYPE_##type name
#define LAUNCH_PARAMETER_(kind, type, name) LAUNCH_PARAMETER_##kind(type, name)
#define LAUNCH_ADDRESS_(kind, type, name)   &name
#define KERNEL_DEF(kname, ...)                                                                                                             \
    static inline aios_status launch_##kname(aios_stream *stream, int storage, uint32_t teams, MAP(LAUNCH_PARAMETER_, __VA_ARGS__))        \
    {                                                                                                                                      \
        const void *arguments[] = {MAP(LAUNCH_ADDRESS_, __VA_ARGS__)};                                                                     \
        return aios_stream_launch(stream, kernel_index(KERNEL_##kname, storage), teams, arguments);                                        \
    }
#include "kernels/kernels.def"
#undef KERNEL_DEF

#endif
