/* tile.h: products of tiles in local memory, what gemm and attention are made of.
 *
 * A tile of results has TILE_M(rm) rows and TILE_N columns.  On a GPU a lane holds rm x 4 of them in registers; on the CPU
 * the one lane holds all, and the product works on blocks of 4 x 2 vectors.  Operands are slabs of up to TILE_DEPTH,
 * k-major: a[k * TILE_LD(rm) + row], b[k * TILE_LD(4) + column], zero where the matrix has ended.
 *
 * A lane's results: TILE_EACH(r, c, rm) walks them; they stand at row TILE_ROW(r, rm), column TILE_COLUMN(c) of the tile and
 * in acc[TILE_SLOT(r, c)]. */
#ifndef AIOS_KERNELS_TILE_H
#define AIOS_KERNELS_TILE_H

#if defined(K_GPU_FORM)

#if TEAM_SIZE == 256
#define TILE_SIDE 16
#elif TEAM_SIZE == 64
#define TILE_SIDE 8
#else
#error "TEAM_SIZE is 64 or 256"
#endif
#define TILE_DEPTH 16
#define TILE_M(rm) (TILE_SIDE * (rm))
#define TILE_N (TILE_SIDE * 4)
#define TILE_LD(rm) (TILE_M(rm) + 4) /* + 4: a slab is also written down its columns, which must not share a bank */
#define TILE_LANE_RESULTS(acc, rm) f32 acc[(rm) * 4]
#define TILE_EACH(r, c, rm)                                                                                             \
    UNROLL for (i32 r = 0; r < (rm); r++)                                                                               \
    UNROLL for (i32 c = 0; c < 4; c++)
#define TILE_ROW(r, rm) (TEAM_LANE / TILE_SIDE * (rm) + (r))
#define TILE_COLUMN(c) (TEAM_LANE % TILE_SIDE * 4 + (c))
#define TILE_SLOT(r, c) ((r) * 4 + (c))
#define TILE_SPLIT 4 /* lanes that share a column of a tile in a reduction down it */

/* acc += a b; rows and columns: how many are real (all are computed). */
#define TILE_PRODUCT_(rm)                                                                                               \
    FN void tile_product_##rm(f32 *acc, LOCAL_PTR const f32 *a, LOCAL_PTR const f32 *b, i32 depth, i32 rows, i32 columns) \
    {                                                                                                                   \
        i32 row = TILE_ROW(0, rm), column = TILE_COLUMN(0);                                                             \
        (void)rows, (void)columns;                                                                                      \
        for (i32 k = 0; k < depth; k++) {                                                                               \
            f32 x[rm], y[4];                                                                                            \
            UNROLL for (i32 r = 0; r < rm; r++) x[r] = a[k * TILE_LD(rm) + row + r];                                    \
            UNROLL for (i32 c = 0; c < 4; c++) y[c] = b[k * TILE_LD(4) + column + c];                                   \
            TILE_EACH(r, c, rm) acc[TILE_SLOT(r, c)] = FMA(x[r], y[c], acc[TILE_SLOT(r, c)]);                           \
        }                                                                                                               \
    }

#else

#define TILE_DEPTH 64
#define TILE_M(rm) (16 * (rm))
#define TILE_N 64
#define TILE_LD(rm) TILE_M(rm)
#define TILE_LANE_RESULTS(acc, rm) f32 acc[TILE_M(rm) * TILE_N] __attribute__((aligned(64)))
#define TILE_EACH(r, c, rm) for (i32 r = 0; r < TILE_M(rm); r++) K_PRAGMA(omp simd) for (i32 c = 0; c < TILE_N; c++)
#define TILE_ROW(r, rm) (r)
#define TILE_COLUMN(c) (c)
#define TILE_SLOT(r, c) ((r) * TILE_N + (c))
#define TILE_SPLIT 1

#if defined(__AVX512F__)
#define TILE_VECTOR 16
#elif defined(__AVX__)
#define TILE_VECTOR 8
#else
#define TILE_VECTOR 4
#endif
typedef f32 tile_vector __attribute__((vector_size(4 * TILE_VECTOR)));

/* 4 x 2 vectors of acc += a b; every pointer is aligned to a vector. */
FN void tile_block(f32 *acc, const f32 *a, i32 lda, const f32 *b, i32 depth)
{
    tile_vector *c0 = (tile_vector *)acc, *c1 = (tile_vector *)(acc + TILE_N);
    tile_vector *c2 = (tile_vector *)(acc + 2 * TILE_N), *c3 = (tile_vector *)(acc + 3 * TILE_N);
    tile_vector s00 = c0[0], s01 = c0[1], s10 = c1[0], s11 = c1[1], s20 = c2[0], s21 = c2[1], s30 = c3[0], s31 = c3[1];
    for (i32 k = 0; k < depth; k++) {
        const tile_vector *y = (const tile_vector *)(b + k * TILE_N);
        const f32 *x = a + k * lda;
        s00 += x[0] * y[0], s01 += x[0] * y[1];
        s10 += x[1] * y[0], s11 += x[1] * y[1];
        s20 += x[2] * y[0], s21 += x[2] * y[1];
        s30 += x[3] * y[0], s31 += x[3] * y[1];
    }
    c0[0] = s00, c0[1] = s01, c1[0] = s10, c1[1] = s11, c2[0] = s20, c2[1] = s21, c3[0] = s30, c3[1] = s31;
}

/* to[k * ld + w] = from[w * TILE_DEPTH + k], w and k < 4 */
typedef f32 tile_quad __attribute__((vector_size(16)));
#if defined(__clang__)
#define TILE_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef i32 tile_quad_index __attribute__((vector_size(16)));
#define TILE_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (tile_quad_index){i, j, k, l})
#endif
FN void tile_turn(f32 *to, i32 ld, const f32 *from)
{
    tile_quad a = *(const tile_quad *)from, b = *(const tile_quad *)(from + TILE_DEPTH);
    tile_quad c = *(const tile_quad *)(from + 2 * TILE_DEPTH), d = *(const tile_quad *)(from + 3 * TILE_DEPTH);
    tile_quad ab0 = TILE_SHUFFLE(a, b, 0, 4, 1, 5), ab2 = TILE_SHUFFLE(a, b, 2, 6, 3, 7);
    tile_quad cd0 = TILE_SHUFFLE(c, d, 0, 4, 1, 5), cd2 = TILE_SHUFFLE(c, d, 2, 6, 3, 7);
    *(tile_quad *)to = TILE_SHUFFLE(ab0, cd0, 0, 1, 4, 5);
    *(tile_quad *)(to + ld) = TILE_SHUFFLE(ab0, cd0, 2, 3, 6, 7);
    *(tile_quad *)(to + 2 * ld) = TILE_SHUFFLE(ab2, cd2, 0, 1, 4, 5);
    *(tile_quad *)(to + 3 * ld) = TILE_SHUFFLE(ab2, cd2, 2, 3, 6, 7);
}

#define TILE_PRODUCT_(rm)                                                                                               \
    static void tile_product_##rm(f32 *acc, const f32 *a, const f32 *b, i32 depth, i32 rows, i32 columns)               \
    {                                                                                                                   \
        for (i32 j = 0; j < columns; j += 2 * TILE_VECTOR)                                                              \
            for (i32 i = 0; i < rows; i += 4) tile_block(acc + i * TILE_N + j, a + i, TILE_LD(rm), b + j, depth);       \
    }

#endif

TILE_PRODUCT_(4)
TILE_PRODUCT_(8)

#define TILE_SLAB(name, rm) LOCAL_ARRAY(f32, name, TILE_DEPTH * TILE_LD(rm))
#define TILE_DEPTH_OF(k, end) ((end) - (k) < TILE_DEPTH ? (end) - (k) : TILE_DEPTH)

#endif

/* to[k * ld + w] = from[w * wide + k * deep], zero for w >= width or k >= depth: a slab of `full` columns.  One of the two
 * strides is 1: packs of 16 bytes lie along that one.  Included once per T. */
#if defined(T)
#if defined(K_GPU_FORM)
FN void NAME(tile_load)(LOCAL_PTR f32 *to, i32 ld, i32 full, GLOBAL const T *from, i64 wide, i64 deep, i32 width, i32 depth)
{
    for (i32 e = TEAM_LANE; e < full * TILE_DEPTH / PACK; e += TEAM_SIZE) {
        i32 k = deep == 1 ? e % (TILE_DEPTH / PACK) * PACK : e / (full / PACK);
        i32 w = deep == 1 ? e / (TILE_DEPTH / PACK) : e % (full / PACK) * PACK;
        GLOBAL const T *row = from + (deep == 1 ? w * wide : k * deep);
        PACK_OF v = LOAD_PACK(row, deep == 1 ? k : w, deep == 1 ? (w < width ? depth : 0) : (k < depth ? width : 0));
        EACH(p) to[(deep == 1 ? k + p : k) * ld + (deep == 1 ? w : w + p)] = v.f[p];
    }
}
#else
static void NAME(tile_load)(f32 *to, i32 ld, i32 full, const T *from, i64 wide, i64 deep, i32 width, i32 depth)
{
    if (wide == 1) {
        for (i32 k = 0; k < depth; k++) {
            f32 *RESTRICT row = to + k * ld;
            const T *RESTRICT source = from + k * deep;
            TEAM_FOR(w, width) row[w] = LOAD(source, w);
            for (i32 w = width; w < full; w++) row[w] = 0.0f;
        }
        return;
    }
    for (i32 w0 = 0; w0 < full; w0 += 16) {
        f32 rows[16 * TILE_DEPTH] __attribute__((aligned(64)));
        for (i32 w = 0; w < 16; w++) {
            f32 *RESTRICT row = rows + w * TILE_DEPTH;
            const T *RESTRICT source = from + (w0 + w) * wide;
            i32 real = w0 + w < width ? depth : 0;
            TEAM_FOR(k, real) row[k] = LOAD(source, k);
            for (i32 k = real; k < (depth + 3) / 4 * 4; k++) row[k] = 0.0f;
        }
        for (i32 k = 0; k < depth; k += 4)
            for (i32 w = 0; w < 16; w += 4) tile_turn(to + k * ld + w0 + w, ld, rows + w * TILE_DEPTH + k);
    }
}
#endif
#endif
