/* dialect.h: one kernel body, five targets.
 *
 *   CUDA      nvcc -x cu                    a team is a block of TEAM_SIZE threads
 *   HIP       clang -x hip, no headers      likewise
 *   OpenCL C  clang -x cl, to SPIR-V        likewise
 *   C11       the CPU device                a team is one thread; TEAM_FOR is a loop that the compiler vectorises
 *   C11 SIM   tests only (AIOS_SIM)         a whole team, one coroutine per lane, real barriers
 *
 * The unit of work is the team: TEAM_ROWS deals rows (or blocks, tiles, heads) out to teams, TEAM_FOR and TEAM_PACKS walk
 * the inside of a row with all lanes.  What a lane must not do: leave a loop that holds a barrier (TEAM_SUM, TEAM_MAX and
 * TEAM_BARRIER are barriers) earlier than the rest of its team; read what another lane wrote without a barrier in between.
 *
 * Arithmetic is f32; LOAD and STORE convert the storage type T, and the bodies are compiled once per T.  Indices are i32
 * inside a row, i64 for the row's offset.  Only C99 that all five understand; no vendor's name outside this file. */
#ifndef AIOS_KERNELS_DIALECT_H
#define AIOS_KERNELS_DIALECT_H

#define K_CAT_(a, b) a##b
#define K_CAT(a, b) K_CAT_(a, b)
#define K_PRAGMA(x) _Pragma(#x)

#if defined(__OPENCL_C_VERSION__) || defined(__OPENCL_VERSION__)
#define K_OPENCL 1
#elif defined(__HIP__)
#define K_HIP 1
#elif defined(__CUDACC__)
#define K_CUDA 1
#elif defined(AIOS_SIM)
#define K_SIM 1
#else
#define K_CPU 1
#endif
#ifndef K_CPU
#define K_GPU_FORM 1 /* whole teams */
#endif

#ifndef TEAM_SIZE
#define TEAM_SIZE 256
#endif

/* ---- per target: qualifiers, scalar types, identity, barrier, mathematics ---------------------------------------- */

#if defined(K_OPENCL)
typedef int i32; typedef long i64; typedef uint u32; typedef ulong u64; typedef ushort u16; typedef float f32;
#define GLOBAL __global
#define FN static inline
#define RESTRICT restrict
#define KERNEL_ATTRIBUTES __kernel __attribute__((reqd_work_group_size(TEAM_SIZE, 1, 1)))
#define LOCAL_ARRAY(type, name, count) __local type name[count] __attribute__((aligned(16)))
#define LOCAL_PTR __local
#define TEAM_LANE ((i32)get_local_id(0))
#define TEAM_INDEX ((i32)get_group_id(0))
#define TEAM_COUNT ((i32)get_num_groups(0))
#define TEAM_BARRIER() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define AS_F32(u) as_float(u)
#define AS_U32(f) as_uint(f)
#define FMA(a, b, c) fma(a, b, c)
#define SQRT(x) sqrt(x)
#define RSQRT(x) rsqrt(x)
#define DIVIDE(a, b) ((a) / (b))
#define EXP(x) native_exp2((x) * 1.44269504f)
#define LOG(x) log(x)
#define LOG1P(x) log1p(x)
#define UNROLL __attribute__((opencl_unroll_hint))

#elif defined(K_HIP)
typedef int i32; typedef long long i64; typedef unsigned u32; typedef unsigned long long u64;
typedef unsigned short u16; typedef float f32;
#define GLOBAL
#define FN static __attribute__((device, always_inline)) inline
#define RESTRICT __restrict__
#define KERNEL_ATTRIBUTES extern "C" __attribute__((global, amdgpu_flat_work_group_size(TEAM_SIZE, TEAM_SIZE)))
#define LOCAL_ARRAY(type, name, count) static __attribute__((shared, aligned(16))) type name[count]
#define LOCAL_PTR
#define TEAM_LANE ((i32)__builtin_amdgcn_workitem_id_x())
#define TEAM_INDEX ((i32)__builtin_amdgcn_workgroup_id_x())
#define TEAM_COUNT ((i32)(__builtin_amdgcn_grid_size_x() / TEAM_SIZE))
#define TEAM_BARRIER()                                                                                                  \
    (__builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup"), __builtin_amdgcn_s_barrier(),                               \
     __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup"))
FN f32 AS_F32(u32 u) { return __builtin_bit_cast(f32, u); }
FN u32 AS_U32(f32 f) { return __builtin_bit_cast(u32, f); }
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define SQRT(x) __builtin_sqrtf(x)
#define RSQRT(x) __builtin_amdgcn_rsqf(x)
#define DIVIDE(a, b) ((a) * __builtin_amdgcn_rcpf(b))
#define EXP(x) __builtin_amdgcn_exp2f((x) * 1.44269504f)
#define LOG(x) __builtin_logf(x)
#define UNROLL _Pragma("unroll")

#elif defined(K_CUDA)
typedef int i32; typedef long long i64; typedef unsigned u32; typedef unsigned long long u64;
typedef unsigned short u16; typedef float f32;
#define GLOBAL
#define FN static __device__ __forceinline__
#define RESTRICT __restrict__
#define KERNEL_ATTRIBUTES extern "C" __global__ __launch_bounds__(TEAM_SIZE)
#define LOCAL_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define LOCAL_PTR
#define TEAM_LANE ((i32)threadIdx.x)
#define TEAM_INDEX ((i32)blockIdx.x)
#define TEAM_COUNT ((i32)gridDim.x)
#define TEAM_BARRIER() __syncthreads()
#define AS_F32(u) __uint_as_float(u)
#define AS_U32(f) __float_as_uint(f)
#define FMA(a, b, c) fmaf(a, b, c)
#define SQRT(x) __fsqrt_rn(x)
#define RSQRT(x) rsqrtf(x)
#define DIVIDE(a, b) __fdividef(a, b)
#define EXP(x) __expf(x)
#define LOG(x) logf(x)
#define LOG1P(x) log1pf(x)
#define UNROLL _Pragma("unroll")

#else /* C11 */
#include <math.h>
#include <stdint.h>
#include <string.h>
typedef int32_t i32; typedef int64_t i64; typedef uint32_t u32; typedef uint64_t u64; typedef uint16_t u16;
typedef float f32;
#define GLOBAL
#define FN static inline __attribute__((always_inline, unused))
#define RESTRICT restrict
#define LOCAL_PTR
FN f32 AS_F32(u32 u) { f32 f; memcpy(&f, &u, 4); return f; }
FN u32 AS_U32(f32 f) { u32 u; memcpy(&u, &f, 4); return u; }
#ifdef __FP_FAST_FMAF
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c)) /* fmaf() would be a call */
#endif
#define SQRT(x) __builtin_sqrtf(x) /* inline only with -fno-math-errno */
#define RSQRT(x) (1.0f / __builtin_sqrtf(x))
#define DIVIDE(a, b) ((a) / (b))
#define UNROLL
/* exp by range reduction and a polynomial: 1.1 ulp, vectorises, needs no vector library and no -ffast-math.  For x <= 88
 * only: softmax, sigmoid and tanh are written with a non-positive exponent.  0 below -87.7; NaN stays NaN, whatever its
 * bits, because the power of two is a factor of its own.  One clamp: with two, gcc threads the jumps. */
FN f32 EXP(f32 x)
{
    x = -88.0296919f > x ? -88.0296919f : x;
    f32 t = FMA(x, 1.44269504f, 12583039.0f); /* 1.5 * 2^23 + 127: rounds, and leaves the exponent's bits at the end */
    f32 k = t - 12583039.0f;
    f32 r = FMA(k, -0.693145752f, x);
    r = FMA(k, -1.42860677e-6f, r);
    f32 p = 0.00138145399f;
    p = FMA(p, r, 0.00836874513f);
    p = FMA(p, r, 0.0416683908f);
    p = FMA(p, r, 0.166665204f);
    p = FMA(p, r, 0.499999934f);
    p = FMA(p, r, 1.0f);
    p = FMA(p, r, 1.0f);
    return p * AS_F32(AS_U32(t) << 23);
}
#define LOG(x) logf(x) /* once per row */
#define LOG1P(x) log1pf(x)
#if defined(K_SIM)
extern _Thread_local i32 sim_lane, sim_team, sim_teams;
void sim_barrier(void);
/* Poisoned memory that is shared by the team and dead after it. */
void *sim_local(int id, size_t bytes);
#define KERNEL_ATTRIBUTES static
#define LOCAL_ARRAY(type, name, count) type *name = sim_local(__COUNTER__, sizeof(type) * (size_t)(count))
#define TEAM_LANE sim_lane
#define TEAM_INDEX sim_team
#define TEAM_COUNT sim_teams
#define TEAM_BARRIER() sim_barrier()
#endif
#endif

#ifndef LOG1P /* exact where 1 + x rounds, after Kahan */
FN f32 k_log1p_(f32 x)
{
    f32 u = 1.0f + x, d = u - 1.0f;
    return d == 0.0f ? x : u > 3.0e38f ? u : LOG(u) * (x / d);
}
#define LOG1P(x) k_log1p_(x)
#endif

#define F32_LOWEST (-3.402823466e38f)

/* ---- storage types ----------------------------------------------------------------------------------------------- */

typedef u16 bf16;
typedef u16 f16;

FN f32 load_f32(GLOBAL const f32 *p, i64 i) { return p[i]; }
FN void store_f32(GLOBAL f32 *p, i64 i, f32 v) { p[i] = v; }
FN f32 load_bf16(GLOBAL const bf16 *p, i64 i) { return AS_F32((u32)p[i] << 16); }

FN u16 round_bf16(f32 v) /* nearest even; a NaN stays a NaN */
{
#if defined(K_CUDA)
    u16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v));
    return r;
#else
    u32 u = AS_U32(v);
    u32 r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (u16)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : r);
#endif
}
FN void store_bf16(GLOBAL bf16 *p, i64 i, f32 v) { p[i] = round_bf16(v); }

#if defined(K_OPENCL)
FN f32 load_f16(GLOBAL const f16 *p, i64 i) { return vload_half((size_t)i, (GLOBAL const half *)p); }
FN void store_f16(GLOBAL f16 *p, i64 i, f32 v) { vstore_half_rte(v, (size_t)i, (GLOBAL half *)p); }
#elif defined(K_HIP)
FN f32 load_f16(GLOBAL const f16 *p, i64 i) { return (f32)__builtin_bit_cast(_Float16, p[i]); }
FN void store_f16(GLOBAL f16 *p, i64 i, f32 v) { p[i] = __builtin_bit_cast(u16, (_Float16)v); }
#elif defined(K_CUDA)
FN f32 load_f16(GLOBAL const f16 *p, i64 i)
{
    f32 r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(p[i]));
    return r;
}
FN void store_f16(GLOBAL f16 *p, i64 i, f32 v)
{
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v));
    p[i] = r;
}
#else /* C11: integer conversions vectorise in every compiler; _Float16 does so only with AVX512-FP16 */
FN f32 load_f16(GLOBAL const f16 *p, i64 i)
{
    u32 h = p[i], s = (h & 0x8000u) << 16, m = h & 0x7fffu;
    f32 normal = AS_F32((m << 13) + 0x38000000u);
    f32 tiny = (f32)(i32)m * 5.9604644775390625e-8f;
    u32 inf = (m << 13) | 0x7f800000u;
    u32 r = m >= 0x7c00u ? inf : m < 0x400u ? AS_U32(tiny) : AS_U32(normal);
    return AS_F32(r | s);
}
FN u16 round_f16(f32 v)
{
    u32 u = AS_U32(v), s = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    u32 normal = (a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13;
    u32 tiny = AS_U32(AS_F32(a) + 0.5f) - 0x3f000000u; /* the addition rounds to 2^-24 */
    u32 big = a > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return (u16)(s | (a >= 0x477ff000u ? big : a < 0x38800000u ? tiny : normal));
}
FN void store_f16(GLOBAL f16 *p, i64 i, f32 v) { p[i] = round_f16(v); }
#endif

#define NAME(name) K_CAT(K_CAT(name, _), T) /* a function that exists once per T */
#define LOAD(p, i) K_CAT(load_, T)(p, i)
#define STORE(p, i, v) K_CAT(store_, T)(p, i, v)

/* ---- packs: 16 bytes of T per lane and access on a GPU, one element on the CPU, where the loop itself is vectorised ---
 * LOAD_PACK(p, i, n) reads p[i … i + PACK), STORE_PACK writes it; what lies at n and beyond is not touched and reads as 0.
 * Rows may have any length and alignment: whole, aligned packs move as one, the others element by element.  EACH(k) walks a
 * pack; INSIDE(i, k, n) tells whether element k is a real one. */

#if defined(K_GPU_FORM)
#define PACK_f32 4
#define PACK_bf16 8
#define PACK_f16 8
#define INSIDE(i, k, n) ((i) + (k) < (n))
#else
#define PACK_f32 1
#define PACK_bf16 1
#define PACK_f16 1
#define INSIDE(i, k, n) 1
#endif
#define PACK K_CAT(PACK_, T)
#define EACH(k) UNROLL for (i32 k = 0; k < PACK; k++)
typedef struct { f32 f[PACK_f32]; } pack_f32;
typedef struct { f32 f[PACK_bf16]; } pack_bf16;
typedef struct { f32 f[PACK_f16]; } pack_f16;
#define PACK_OF K_CAT(pack_, T)

#if defined(K_GPU_FORM)
#if defined(K_SIM)
#define K_ALIGNED_(p) 0
#else
#define K_ALIGNED_(p) (((u64)(p) & 15u) == 0)
#if defined(K_HIP)
typedef u32 k_quad_ __attribute__((ext_vector_type(4)));
#else
typedef uint4 k_quad_;
#endif
FN pack_f32 load_whole_f32(GLOBAL const f32 *p)
{
    k_quad_ q = *(GLOBAL const k_quad_ *)p;
    pack_f32 r;
    r.f[0] = AS_F32(q.x), r.f[1] = AS_F32(q.y), r.f[2] = AS_F32(q.z), r.f[3] = AS_F32(q.w);
    return r;
}
FN void store_whole_f32(GLOBAL f32 *p, pack_f32 v)
{
    k_quad_ q;
    q.x = AS_U32(v.f[0]), q.y = AS_U32(v.f[1]), q.z = AS_U32(v.f[2]), q.w = AS_U32(v.f[3]);
    *(GLOBAL k_quad_ *)p = q;
}
FN pack_bf16 load_whole_bf16(GLOBAL const bf16 *p)
{
    k_quad_ q = *(GLOBAL const k_quad_ *)p;
    pack_bf16 r;
    r.f[0] = AS_F32(q.x << 16), r.f[1] = AS_F32(q.x & 0xffff0000u), r.f[2] = AS_F32(q.y << 16), r.f[3] = AS_F32(q.y & 0xffff0000u);
    r.f[4] = AS_F32(q.z << 16), r.f[5] = AS_F32(q.z & 0xffff0000u), r.f[6] = AS_F32(q.w << 16), r.f[7] = AS_F32(q.w & 0xffff0000u);
    return r;
}
FN u32 k_two_bf16_(f32 low, f32 high) { return (u32)round_bf16(low) | (u32)round_bf16(high) << 16; }
FN void store_whole_bf16(GLOBAL bf16 *p, pack_bf16 v)
{
    k_quad_ q;
    q.x = k_two_bf16_(v.f[0], v.f[1]), q.y = k_two_bf16_(v.f[2], v.f[3]);
    q.z = k_two_bf16_(v.f[4], v.f[5]), q.w = k_two_bf16_(v.f[6], v.f[7]);
    *(GLOBAL k_quad_ *)p = q;
}
#if defined(K_OPENCL)
FN pack_f16 load_whole_f16(GLOBAL const f16 *p)
{
    float8 h = vload_half8(0, (GLOBAL const half *)p);
    pack_f16 r;
    r.f[0] = h.s0, r.f[1] = h.s1, r.f[2] = h.s2, r.f[3] = h.s3, r.f[4] = h.s4, r.f[5] = h.s5, r.f[6] = h.s6, r.f[7] = h.s7;
    return r;
}
FN void store_whole_f16(GLOBAL f16 *p, pack_f16 v)
{
    vstore_half8_rte((float8)(v.f[0], v.f[1], v.f[2], v.f[3], v.f[4], v.f[5], v.f[6], v.f[7]), 0, (GLOBAL half *)p);
}
#else
FN pack_f16 load_whole_f16(GLOBAL const f16 *p)
{
    k_quad_ q = *(GLOBAL const k_quad_ *)p;
    f16 h[8] = {(f16)q.x, (f16)(q.x >> 16), (f16)q.y, (f16)(q.y >> 16), (f16)q.z, (f16)(q.z >> 16), (f16)q.w, (f16)(q.w >> 16)};
    pack_f16 r;
    UNROLL for (i32 k = 0; k < 8; k++) r.f[k] = load_f16(h, k);
    return r;
}
FN void store_whole_f16(GLOBAL f16 *p, pack_f16 v)
{
    f16 h[8];
    UNROLL for (i32 k = 0; k < 8; k++) store_f16(h, k, v.f[k]);
    k_quad_ q;
    q.x = h[0] | (u32)h[1] << 16, q.y = h[2] | (u32)h[3] << 16, q.z = h[4] | (u32)h[5] << 16, q.w = h[6] | (u32)h[7] << 16;
    *(GLOBAL k_quad_ *)p = q;
}
#endif
#endif
#if defined(K_SIM)
#define K_WHOLE_LOAD_(type, p, i, n)
#define K_WHOLE_STORE_(type, p, i, n, v)
#else
#define K_WHOLE_LOAD_(type, p, i, n) if ((i) + PACK_##type <= (n) && K_ALIGNED_((p) + (i))) return load_whole_##type((p) + (i));
#define K_WHOLE_STORE_(type, p, i, n, v)                                                                                \
    if ((i) + PACK_##type <= (n) && K_ALIGNED_((p) + (i))) { store_whole_##type((p) + (i), v); return; }
#endif
#define K_PACK_IO_(type)                                                                                                \
    FN pack_##type load_pack_##type(GLOBAL const type *p, i32 i, i32 n)                                                 \
    {                                                                                                                   \
        K_WHOLE_LOAD_(type, p, i, n)                                                                                    \
        pack_##type r;                                                                                                  \
        UNROLL for (i32 k = 0; k < PACK_##type; k++) r.f[k] = i + k < n ? load_##type(p, i + k) : 0.0f;                 \
        return r;                                                                                                       \
    }                                                                                                                   \
    FN void store_pack_##type(GLOBAL type *p, i32 i, i32 n, pack_##type v)                                              \
    {                                                                                                                   \
        K_WHOLE_STORE_(type, p, i, n, v)                                                                                \
        UNROLL for (i32 k = 0; k < PACK_##type; k++) if (i + k < n) store_##type(p, i + k, v.f[k]);                     \
    }
K_PACK_IO_(f32)
K_PACK_IO_(bf16)
K_PACK_IO_(f16)
#define LOAD_PACK(p, i, n) K_CAT(load_pack_, T)(p, i, n)
#define STORE_PACK(p, i, n, v) K_CAT(store_pack_, T)(p, i, n, v)
/* f32 data beside a pack of T: PACK floats */
FN void k_load_wide_(f32 *to, i32 count, GLOBAL const f32 *p, i32 i, i32 n)
{
    UNROLL for (i32 k = 0; k < count; k += 4) {
        pack_f32 q = load_pack_f32(p, i + k, n);
        to[k] = q.f[0], to[k + 1] = q.f[1], to[k + 2] = q.f[2], to[k + 3] = q.f[3];
    }
}
FN void k_store_wide_(GLOBAL f32 *p, i32 i, i32 n, const f32 *from, i32 count)
{
    UNROLL for (i32 k = 0; k < count; k += 4) {
        pack_f32 q;
        q.f[0] = from[k], q.f[1] = from[k + 1], q.f[2] = from[k + 2], q.f[3] = from[k + 3];
        store_pack_f32(p, i + k, n, q);
    }
}
#define LOAD_WIDE(to, p, i, n) k_load_wide_((to).f, PACK, p, i, n)
#define STORE_WIDE(p, i, n, from) k_store_wide_(p, i, n, (from).f, PACK)
#else /* no address of a pack is taken here: gcc would keep it in memory and give up on the loop */
FN pack_f32 load_pack_f32(const f32 *p, i32 i) { return (pack_f32){{p[i]}}; }
FN pack_bf16 load_pack_bf16(const bf16 *p, i32 i) { return (pack_bf16){{load_bf16(p, i)}}; }
FN pack_f16 load_pack_f16(const f16 *p, i32 i) { return (pack_f16){{load_f16(p, i)}}; }
#define LOAD_PACK(p, i, n) K_CAT(load_pack_, T)(p, i)
#define STORE_PACK(p, i, n, v) K_CAT(store_, T)(p, i, (v).f[0])
#define LOAD_WIDE(to, p, i, n) ((void)((to).f[0] = (p)[i]))
#define STORE_WIDE(p, i, n, from) ((void)((p)[i] = (from).f[0]))
#endif

/* ---- kernels, loops and reductions ------------------------------------------------------------------------------- */

#define KERNEL_NAME(name) NAME(name)
#define KERNEL(name, ...) K_KERNEL_(KERNEL_NAME(name), __VA_ARGS__)
/* A kernel that lives on registers: half of a multiprocessor's for a team, so that two work in turn. */
#if defined(K_CUDA)
#define KERNEL_TILED(name, ...) extern "C" __global__ __launch_bounds__(TEAM_SIZE, 2) void KERNEL_NAME(name)(__VA_ARGS__)
#else
#define KERNEL_TILED(name, ...) KERNEL(name, __VA_ARGS__)
#endif

#if defined(K_GPU_FORM)

#define K_KERNEL_(full, ...) KERNEL_ATTRIBUTES void full(__VA_ARGS__)
/* One team walks rows; the lanes of a team walk a row. */
#define TEAM_ROWS(r, rows) for (i32 r = TEAM_INDEX; r < (rows); r += TEAM_COUNT)
#define TEAM_FOR(i, n) for (i32 i = TEAM_LANE; i < (n); i += TEAM_SIZE)
#define TEAM_FOR_PLAIN(i, n) TEAM_FOR(i, n)
#define TEAM_FOR_SUM(i, n, ...) TEAM_FOR(i, n)
#define TEAM_FOR_MAX(i, n, ...) TEAM_FOR(i, n)
#define TEAM_PACKS(i, n) for (i32 i = TEAM_LANE * PACK; i < (n); i += TEAM_SIZE * PACK)
#define TEAM_PACKS_SUM(i, n, ...) TEAM_PACKS(i, n)
#define TEAM_PACKS_MAX_OR(i, n, top, any) TEAM_PACKS(i, n)
/* All (i, j), j fastest: neighbouring lanes have neighbouring j. */
#define TEAM_GRID(i, j, ni, nj)                                                                                         \
    for (i32 k_cell_ = TEAM_LANE; k_cell_ < (ni) * (nj); k_cell_ += TEAM_SIZE)                                          \
        for (i32 i = k_cell_ / (nj), j = k_cell_ % (nj), k_once_ = 1; k_once_; k_once_ = 0)
#define TEAM_LEADER if (TEAM_LANE == 0)
#define TEAM_SCRATCH LOCAL_ARRAY(f32, team_scratch_, TEAM_SIZE + 32)
/* Columns that a lane owns over many rows: a tile is one pack per lane, kept in registers. */
#define OWN_COLUMNS (TEAM_SIZE * PACK)
#define OWN_ARRAY(name) f32 name[PACK]
#define OWN(name, i, k) name[k]

#define K_ADD_(a, b) ((a) + (b))
#define K_MAX_(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
#if defined(K_CUDA) || defined(K_HIP)
/* lanes of a warp by shuffle, warps through scratch */
#if defined(K_HIP)
#define K_WARP_ ((i32)__builtin_amdgcn_wavefrontsize())
FN f32 k_shuffle_xor_(f32 x, i32 d)
{
    i32 self = (i32)__builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
    return __builtin_bit_cast(f32, __builtin_amdgcn_ds_bpermute((self ^ d) << 2, __builtin_bit_cast(i32, x)));
}
#else
#define K_WARP_ 32
#define k_shuffle_xor_(x, d) __shfl_xor_sync(0xffffffffu, x, d)
#endif
#define K_REDUCER_(fn, op)                                                                                              \
    FN f32 fn(LOCAL_PTR f32 *s, f32 x)                                                                                  \
    {                                                                                                                   \
        for (i32 d = K_WARP_ / 2; d > 0; d >>= 1) {                                                                     \
            f32 y = k_shuffle_xor_(x, d);                                                                               \
            x = op(x, y);                                                                                               \
        }                                                                                                               \
        TEAM_BARRIER();                                                                                                 \
        if (TEAM_LANE % K_WARP_ == 0) s[TEAM_LANE / K_WARP_] = x;                                                       \
        TEAM_BARRIER();                                                                                                 \
        x = s[0];                                                                                                       \
        for (i32 w = 1; w < TEAM_SIZE / K_WARP_; w++) x = op(x, s[w]);                                                  \
        return x;                                                                                                       \
    }
#else
/* two levels through scratch, which no lane reads across two calls: no sub-groups needed */
#define K_REDUCER_(fn, op)                                                                                              \
    FN f32 fn(LOCAL_PTR f32 *s, f32 x)                                                                                  \
    {                                                                                                                   \
        i32 lane = TEAM_LANE;                                                                                           \
        s[lane] = x;                                                                                                    \
        TEAM_BARRIER();                                                                                                 \
        if (lane < 16) {                                                                                                \
            for (i32 k = lane + 16; k < TEAM_SIZE; k += 16) x = op(x, s[k]);                                            \
            s[TEAM_SIZE + lane] = x;                                                                                    \
        }                                                                                                               \
        TEAM_BARRIER();                                                                                                 \
        x = s[TEAM_SIZE];                                                                                               \
        for (i32 k = 1; k < 16; k++) x = op(x, s[TEAM_SIZE + k]);                                                       \
        return x;                                                                                                       \
    }
#endif
K_REDUCER_(k_team_sum_, K_ADD_)
K_REDUCER_(k_team_max_, K_MAX_)
/* Every lane gets the sum (maximum) of all lanes' x.  A barrier. */
#define TEAM_SUM(x) k_team_sum_(team_scratch_, x)
#define TEAM_MAX(x) k_team_max_(team_scratch_, x)

#else /* C11, a team of one */

#define K_KERNEL_(full, ...) static void full(i32 team_index_, i32 team_count_, __VA_ARGS__)
#define TEAM_INDEX team_index_
#define TEAM_COUNT team_count_
#define TEAM_BARRIER() ((void)0)
#define LOCAL_ARRAY(type, name, count) type name[count] __attribute__((aligned(64)))
/* a contiguous share of the rows: no false sharing, first touch stays local */
#define TEAM_ROWS(r, rows)                                                                                              \
    for (i32 r = (i32)((i64)(rows) * team_index_ / team_count_),                                                        \
             r##_end = (i32)((i64)(rows) * (team_index_ + 1) / team_count_);                                            \
         r < r##_end; r++)
#define TEAM_FOR(i, n) K_PRAGMA(omp simd) for (i32 i = 0; i < (n); i++)
#define TEAM_FOR_PLAIN(i, n) for (i32 i = 0; i < (n); i++) /* a body that doesn't vectorise: calls */
#define TEAM_FOR_SUM(i, n, ...) K_PRAGMA(omp simd reduction(+ : __VA_ARGS__)) for (i32 i = 0; i < (n); i++)
#define TEAM_FOR_MAX(i, n, ...) K_PRAGMA(omp simd reduction(max : __VA_ARGS__)) for (i32 i = 0; i < (n); i++)
#define TEAM_PACKS(i, n) TEAM_FOR(i, n)
#define TEAM_PACKS_SUM(i, n, ...) TEAM_FOR_SUM(i, n, __VA_ARGS__)
#define TEAM_PACKS_MAX_OR(i, n, top, any) K_PRAGMA(omp simd reduction(max : top) reduction(| : any)) for (i32 i = 0; i < (n); i++)
#define TEAM_GRID(i, j, ni, nj) for (i32 i = 0; i < (ni); i++) K_PRAGMA(omp simd) for (i32 j = 0; j < (nj); j++)
#define TEAM_LEADER
#define TEAM_SCRATCH const i32 team_scratch_ = 0
#define TEAM_SUM(x) ((void)team_scratch_, (x)) /* forgetting TEAM_SCRATCH fails here too */
#define TEAM_MAX(x) ((void)team_scratch_, (x))
#define OWN_COLUMNS 1024
#define OWN_ARRAY(name) f32 name[OWN_COLUMNS] __attribute__((aligned(64)))
#define OWN(name, i, k) name[i]

#endif

/* Flat work, where rows mean nothing: blocks of FLAT elements of `total`, element at + i for i < count. */
#define FLAT 4096
#define TEAM_FLAT(block, total) TEAM_ROWS(block, (i32)(((total) + FLAT - 1) / FLAT))
#define FLAT_AT(block) ((i64)(block) * FLAT)
#define FLAT_COUNT(block, total) ((i32)((total) - FLAT_AT(block) < FLAT ? (total) - FLAT_AT(block) : FLAT))

/* The part p of `parts` of n things: [first, last). */
#define PART_FIRST(p, parts, n) ((i32)((i64)(n) * (p) / (parts)))

#endif
