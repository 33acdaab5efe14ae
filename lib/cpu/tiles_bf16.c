/* Products of bf16: vdpbf16ps adds the products of 16 pairs to 16 sums. */
#include "tiles.h"

#define TILES      tiles_bf16
#define TILES_BF16 1
#if defined(__AVX512BF16__)
#define TILES_THERE 1
#else
#define TILES_THERE 0
#endif

#include "tiles_body.h"
