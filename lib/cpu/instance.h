/* instance.h: every kernel as C11, for one instruction set.  A generated source defines CPU_INSTANCE and includes this. */
#include "kernels/all.kc"

#include "cpu/kernels.h"
#include "kernels/call.h"

#define KERNEL_DEF(name, ...) CALL_ROWS_(name)
const cpu_kernel_fn K_CAT(cpu_kernels_, CPU_INSTANCE)[] = {
#include "kernels/kernels.def"
};
#undef KERNEL_DEF
