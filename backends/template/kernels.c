/* Every kernel of kernels/, as C11: a team is one thread.  A backend of yours compiles kernels/all.kc with its device's compiler instead,
 * and finds a kernel in the module by the name that load_kernels is given. */
#include "kernels/all.kc"

#include "kernels.h"
#include "kernels/call.h"

#define SIZE_(kind, type, name) SIZE_##kind(type)
#define SIZE_out(type)          sizeof(type *)
#define SIZE_in(type)           sizeof(type *)
#define SIZE_val(type)          sizeof(type)
#define KERNEL_DEF(name, ...)   static const uint8_t sizes_##name[] = {MAP(SIZE_, __VA_ARGS__)};
#define T                       f32
#include "kernels/kernels.def"
#undef T
#undef KERNEL_DEF

#define ROW_(name, type)                                                                                                                   \
    {                                                                                                                                      \
#name "_" #type, call_##name##_##type, sizeof sizes_##name, sizes_##name                                                           \
    }
#define KERNEL_DEF(name, ...) ROW_(name, f32), ROW_(name, bf16), ROW_(name, f16),
const template_kernel template_kernels[] = {
#include "kernels/kernels.def"
};
#undef KERNEL_DEF
const uint32_t template_kernel_count = sizeof template_kernels / sizeof template_kernels[0];
