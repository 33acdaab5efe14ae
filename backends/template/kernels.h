/* kernels.h: the kernels of this backend, by name, with the sizes of their arguments. */
#ifndef TEMPLATE_KERNELS_H
#define TEMPLATE_KERNELS_H

#include <stdint.h>

typedef struct template_kernel {
    const char *name; /* "rmsnorm_forward_bf16" */
    /* Team `team` of `teams`; arguments[i] points to the i-th argument's value. */
    void (*run)(int32_t team, int32_t teams, const void *const *arguments);
    uint32_t argument_count;
    const uint8_t *sizes;
} template_kernel;

extern const template_kernel template_kernels[];
extern const uint32_t template_kernel_count;

#endif
