#include "kernels/kernels.h"

#include <string.h>

#define SIZE_out(type) sizeof(void *)
#define SIZE_in(type)  sizeof(void *)
#define SIZE_val(type) sizeof(LAUNCH_TYPE_##type)
#define KIND_out       AIOS_ARG_OUT
#define KIND_in        AIOS_ARG_IN
#define KIND_val       AIOS_ARG_VALUE
#define ARGUMENT_(kind, type, name)                                                                                                        \
    {                                                                                                                                      \
#name, KIND_##kind, SIZE_##kind(type)                                                                                              \
    }
#define KERNEL_DEF(kname, ...) static const aios_kernel_argument kname##_arguments[] = {MAP(ARGUMENT_, __VA_ARGS__)};
#include "kernels/kernels.def"
#undef KERNEL_DEF

#define ROW_(kname, storage)                                                                                                               \
    {                                                                                                                                      \
#kname "_" #storage, kname##_arguments, sizeof kname##_arguments / sizeof kname##_arguments[0], 0                                  \
    }
#define KERNEL_DEF(kname, ...) ROW_(kname, f32), ROW_(kname, bf16), ROW_(kname, f16),
static const aios_kernel kernels[] = {
#include "kernels/kernels.def"
};
#undef KERNEL_DEF

uint32_t aios_kernel_count(void)
{
    return sizeof kernels / sizeof kernels[0];
}

int32_t aios_kernel_find(const char *name)
{
    if (name == NULL) return -1;
    for (uint32_t i = 0; i < aios_kernel_count(); i++)
        if (strcmp(kernels[i].name, name) == 0) return (int32_t)i;
    return -1;
}

const aios_kernel *aios_kernel_get(uint32_t kernel)
{
    return kernel < aios_kernel_count() ? &kernels[kernel] : NULL;
}
