/* declare.h: prototypes of every kernel for the current T, from kernels.def: a body whose parameters disagree does not
 * compile.  Included once per T. */
#include "map.h"
#define P_out(type, name) GLOBAL type *name
#define P_in(type, name) GLOBAL const type *name
#define P_val(type, name) type name
#define P_(kind, type, name) P_##kind(type, name)
#define KERNEL_DEF(name, ...) KERNEL(name, MAP(P_, __VA_ARGS__));
#include "kernels.def"
#undef KERNEL_DEF
#undef P_
#undef P_val
#undef P_in
#undef P_out
