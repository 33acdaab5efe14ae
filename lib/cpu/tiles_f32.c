/* Products of f32. */
#include "tiles.h"

#define TILES      tiles_f32
#define TILES_BF16 0
#if defined(__AVX512F__)
#define TILES_THERE 1
#else
#define TILES_THERE 0
#endif

#include "tiles_body.h"
