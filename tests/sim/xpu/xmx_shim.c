/* What the SPIR-V of backends/xpu/xmx.kc imports, for PoCL, which has neither sub-groups nor matrix units: written after the text of
 * cl_intel_subgroup_matrix_multiply_accumulate, not after any device.  A sub-group is XMX_LANES neighbours of a work-group; its lanes see
 * each other's rows of a through local memory, so every work-item of the group must make the same calls, as those of xmx.kc do. Compiled
 * for the target of SPIR-V; the names are those of OpenCL C. */
typedef unsigned short u16;
typedef unsigned u32;
typedef int int8 __attribute__((ext_vector_type(8)));
typedef float float8 __attribute__((ext_vector_type(8)));
#if XMX_LANES == 8
typedef int8 xmx_rows;
#define MANGLED(name) name "Dv8_iS_Dv8_f"
#else
typedef short xmx_rows __attribute__((ext_vector_type(8)));
#define MANGLED(name) name "Dv8_sDv8_iDv8_f"
#endif
typedef u32 uint8 __attribute__((ext_vector_type(8)));
typedef u16 ushort8 __attribute__((ext_vector_type(8)));
#define LOCAL  __attribute__((address_space(3)))
#define ROWS   8
#define DEPTHS 16

unsigned long get_local_id(u32 dimension) __asm__("_Z12get_local_idj");
void barrier(u32 fence) __asm__("_Z7barrierj") __attribute__((convergent));
u32 get_sub_group_id(void) __asm__("_Z16get_sub_group_idv");
u32 get_sub_group_local_id(void) __asm__("_Z22get_sub_group_local_idv");
uint8 block_read(const LOCAL u32 *p) __asm__("_Z27intel_sub_group_block_read8PU3AS3Kj");
ushort8 block_read_us(const LOCAL u16 *p) __asm__("_Z30intel_sub_group_block_read_us8PU3AS3Kt");
float8 mad_bf16(xmx_rows a, int8 b, float8 c) __asm__(MANGLED("_Z40intel_sub_group_bf16_bf16_matrix_mad_k16")) __attribute__((convergent));
float8 mad_f16(xmx_rows a, int8 b, float8 c) __asm__(MANGLED("_Z38intel_sub_group_f16_f16_matrix_mad_k16")) __attribute__((convergent));

/* PoCL takes a kernel's own arrays for local memory, and this one for all work-groups' together: it is told to run them one by one. */
static LOCAL u32 shared[256 * ROWS];

#define INLINE __attribute__((always_inline))

INLINE u32 get_sub_group_id(void)
{
    return (u32)get_local_id(0) / XMX_LANES;
}

INLINE u32 get_sub_group_local_id(void)
{
    return (u32)get_local_id(0) % XMX_LANES;
}

/* Number i of a lane lies behind all lanes' numbers i - 1. */
#define BLOCK_READ(result, p)                                                                                                              \
    do {                                                                                                                                   \
        for (int i = 0; i < 8; i++) (result)[i] = (p)[(u32)i * XMX_LANES + get_sub_group_local_id()];                                      \
    } while (0)

INLINE uint8 block_read(const LOCAL u32 *p)
{
    uint8 result;
    BLOCK_READ(result, p);
    return result;
}

INLINE ushort8 block_read_us(const LOCAL u16 *p)
{
    ushort8 result;
    BLOCK_READ(result, p);
    return result;
}

static INLINE float as_float(u32 bits)
{
    union {
        u32 bits;
        float value;
    } x = {bits};
    return x.value;
}

static INLINE float value_of(u32 half, int is_bf16)
{
    u32 magnitude = half & 0x7fffu;
    if (is_bf16) return as_float(half << 16);
    float value =
        magnitude < 0x400u ? (float)magnitude * 0x1p-24f : as_float((magnitude << 13) + (magnitude < 0x7c00u ? 0x38000000u : 0x70000000u));
    return half & 0x8000u ? -value : value;
}

/* Depth k of row i of a: of 8 lanes each holds two depths, of 16 one.  Depths 2 k and 2 k + 1 of its column of b are word k of each lane.
 */
static INLINE float8 multiply(xmx_rows a, int8 b, float8 c, int is_bf16)
{
    u32 me = (u32)get_local_id(0), first = me / XMX_LANES * XMX_LANES;
    barrier(1);
    for (int i = 0; i < ROWS; i++) shared[me * ROWS + i] = (u32)a[i];
    barrier(1);
    for (int i = 0; i < ROWS; i++) {
        float sum = c[i];
        for (int k = 0; k < DEPTHS; k++) {
            u32 word = shared[(first + k * XMX_LANES / DEPTHS) * ROWS + i], column = (u32)b[k / 2];
            u32 row = XMX_LANES == 8 ? word >> 16 * (k % 2) : word;
            sum += value_of(row & 0xffffu, is_bf16) * value_of(column >> 16 * (k % 2) & 0xffffu, is_bf16);
        }
        c[i] = sum;
    }
    return c;
}

INLINE float8 mad_bf16(xmx_rows a, int8 b, float8 c)
{
    return multiply(a, b, c, 1);
}

INLINE float8 mad_f16(xmx_rows a, int8 b, float8 c)
{
    return multiply(a, b, c, 0);
}
