/* tiles_body.h: products of f32 or of bf16, as whoever includes this defines: TILES (what it is called), TILES_BF16, TILES_THERE (the
 * compiler has the instructions).  A unit is a number of f32, or two of bf16 that are multiplied at once.  b is packed in panels of 64
 * columns, as units that stand one under the other in it; a is read as it is stored where its units stand side by side, else it is packed
 * too.  A tile of 6 by 64 sums stays in registers over all its products. */
#if TILES_THERE

#include "aios/backend.h"

#include <immintrin.h>
#include <string.h>

#define INLINE       static inline __attribute__((always_inline))
#define LANES        16 /* sums of a register, and pairs of one */
#define VECTORS      (TILE_COLUMNS / LANES)
#define PACKED_TILES 8
#define ROWS_THROUGH (4 * TILE_ROWS)

/* A loop that is written out, so that what it indexes can be registers. */
#if defined(__clang__)
#define EACH_OF(i, n, step) _Pragma("clang loop unroll(full)") for (int32_t i = 0; i < (n); i += (step))
#else
#define EACH_OF(i, n, step) _Pragma("GCC unroll 16") for (int32_t i = 0; i < (n); i += (step))
#endif
#define EACH(i, n) EACH_OF(i, n, 1)

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The first n of 16, of 32; none or all where n is outside. */
static __mmask16 first16(int32_t n)
{
    return (__mmask16)(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1);
}

/* 16 units out of columns side by side, whose first row is at `from` and which have `rows` more from there on; 16 out of one row, which has
 * `left` more elements. */
#if TILES_BF16
typedef uint16_t element;
#define UNIT 2

INLINE __m512i units_across(const element *from, int64_t ld, int32_t rows, __mmask16 there)
{
    __m512i first = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from));
    __m512i second = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rows > 1 ? there : 0, from + ld));
    return _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
}

INLINE __m512i units_along(const element *from, int32_t left)
{
    return _mm512_maskz_loadu_epi16(left >= 32 ? 0xffffffffu : (1u << left) - 1, from);
}
#else
typedef float element;
#define UNIT 1

INLINE __m512i units_across(const element *from, int64_t ld, int32_t rows, __mmask16 there)
{
    (void)ld, (void)rows;
    return _mm512_maskz_loadu_epi32(there, from);
}

INLINE __m512i units_along(const element *from, int32_t left)
{
    return _mm512_maskz_loadu_epi32(first16(left), from);
}
#endif

static int32_t units_of(int32_t k)
{
    return (k + UNIT - 1) / UNIT;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* to[unit][column] of b stored (k, n), the columns side by side. */
static void pack_rows(uint32_t *to, const element *b, int64_t ld, int32_t k, int32_t n)
{
    for (int32_t row = 0; row < k; row += UNIT, to += TILE_COLUMNS) EACH(v, VECTORS)
    _mm512_storeu_si512(to + v * LANES, units_across(b + row * ld + v * LANES, ld, k - row, first16(n - v * LANES)));
}

/* The same of b stored (n, k): 16 by 16 units are transposed at once, 1, 2, 4 and 8 apart. */
static void pack_columns(uint32_t *to, const element *b, int64_t ld, int32_t k, int32_t n)
{
    for (int32_t column = 0; column < TILE_COLUMNS; column += LANES)
        for (int32_t depth = 0; depth < k; depth += UNIT * LANES) {
            uint32_t *out = to + depth / UNIT * TILE_COLUMNS + column;
            int32_t units = least(LANES, units_of(k - depth));
            __m512i x[LANES], y[LANES];
            EACH(i, LANES) x[i] = column + i < n ? units_along(b + (column + i) * ld + depth, k - depth) : _mm512_setzero_si512();
            EACH_OF(i, LANES, 2)
            {
                y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
                y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
            }
            EACH_OF(i, LANES, 4)
            {
                x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
                x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
                x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
                x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
            }
            EACH(i, 4)
            {
                y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
                y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
                y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
                y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
            }
            EACH(i, 8)
            {
                x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
                x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
            }
            for (int32_t i = 0; i < units; i++) _mm512_storeu_si512(out + i * TILE_COLUMNS, x[i]);
        }
}

/* Lanes [6 tile, 6 tile + 6) of 48 units. */
#define TILE_OF(units, tile)                                                                                                               \
    _mm512_castsi512_si256(_mm512_alignr_epi32((units)[(6 * (tile) / LANES + 1) % 3], (units)[6 * (tile) / LANES], 6 * (tile) % LANES))

/* to[tile][unit][row] of a stored (k, m), 6 rows to a tile: 8 tiles are taken out of 48 units that stand side by side. */
static void pack_a(uint32_t *to, const element *a, int64_t ld, int32_t k, int32_t m)
{
    const int32_t columns = PACKED_TILES * TILE_ROWS;
    int64_t tile = (int64_t)units_of(k) * TILE_ROWS;
    for (int32_t begin = 0; begin < m; begin += columns, to += PACKED_TILES * tile) {
        int32_t count = least(PACKED_TILES, (m - begin + TILE_ROWS - 1) / TILE_ROWS);
        for (int32_t row = 0; row < k; row += UNIT) {
            const element *from = a + row * ld + begin;
            uint32_t *out = to + row / UNIT * TILE_ROWS;
            __m512i units[3];
            for (int32_t next = 16; next < 16 + UNIT; next++) /* rows of a are too far apart for the processor to see where this goes */
                for (size_t byte = 0; byte < (size_t)columns * sizeof *from; byte += 64)
                    _mm_prefetch((const char *)(from + next * ld) + byte, _MM_HINT_T0);
            EACH(i, 3) units[i] = units_across(from + i * LANES, ld, k - row, first16(m - begin - i * LANES));
            __m256i six[PACKED_TILES] = {TILE_OF(units, 0), TILE_OF(units, 1), TILE_OF(units, 2), TILE_OF(units, 3),
                                         TILE_OF(units, 4), TILE_OF(units, 5), TILE_OF(units, 6), TILE_OF(units, 7)};
            EACH(i, PACKED_TILES)
            if (i < count) _mm256_mask_storeu_epi32(out + i * tile, 0x3f, six[i]);
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* Of c (rows, columns) at one place: what is summed, where it goes. */
struct tile {
    const char *a;
    int64_t row, unit, next; /* bytes between the rows of a, between its units, and from where its next tile would be to where it is */
    const uint32_t *b;
    int32_t depth;
    const float *before; /* what the sums are added to (the sums so far, c, a bias), or NULL */
    int64_t ld_before;
    const uint16_t *residual; /* added to them, as bf16 in rows of ldc; or NULL */
    char *c;
    int64_t ldc;
    int32_t type_c;
    float alpha, beta;
};

/* sum + unit of a * units of b */
INLINE __m512 multiply_unit(__m512 sum, uint32_t a, __m512i b)
{
#if TILES_BF16
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)b);
#else
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)a)), _mm512_castsi512_ps(b), sum);
#endif
}

INLINE float *place_f32(const struct tile *t, int32_t row, int32_t column)
{
    return (float *)(void *)t->c + row * t->ldc + column;
}

#if TILES_BF16
INLINE uint16_t *place_bf16(const struct tile *t, int32_t row, int32_t column)
{
    return (uint16_t *)(void *)t->c + row * t->ldc + column;
}

INLINE __m512 wide16(__mmask16 there, const uint16_t *from)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from)), 16));
}

INLINE void store_bf16(uint16_t *to, __mmask16 there, __m512 x)
{
    __m256i narrow = (__m256i)_mm512_cvtneps_pbh(x);
    if (there == 0xffff) /* a mask is slow */
        _mm256_storeu_si256((__m256i *)(void *)to, narrow);
    else
        _mm256_mask_storeu_epi16(to, there, narrow);
}
#endif

/* c = sums + beta * c of some of its columns: what few tiles need. */
static __attribute__((noinline)) void store(const struct tile *t, const __m512 *sums, int32_t rows, int32_t vectors, int32_t column,
                                            __mmask16 there)
{
    __m512 beta = _mm512_set1_ps(t->beta);
    __mmask16 old = t->beta != 0.0f ? there : 0;
    for (int32_t row = 0; row < rows; row++)
        for (int32_t v = 0; v < vectors; v++, sums++) {
#if TILES_BF16
            if (t->type_c != AIOS_F32) {
                uint16_t *narrow = place_bf16(t, row, column + v * LANES);
                store_bf16(narrow, there, _mm512_fmadd_ps(beta, wide16(old, narrow), *sums));
                continue;
            }
#endif
            float *wide = place_f32(t, row, column + v * LANES);
            _mm512_mask_storeu_ps(wide, there, _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(old, wide), *sums));
        }
}

/* The tile's sums over all its products.  Most tiles go from the registers to where they belong: a detour costs as much as 20 units. */
INLINE void multiply(const struct tile *t, int32_t rows, int32_t vectors, int32_t column, __mmask16 there)
{
    __m512 sum[TILE_ROWS][VECTORS];
    const char *a = t->a;
    const uint32_t *b = t->b + column;
    EACH(r, rows)
    EACH(v, vectors)
    {
        sum[r][v] = _mm512_setzero_ps();
        if (t->before) _mm_prefetch((const char *)(t->before + r * t->ld_before + column + v * LANES), _MM_HINT_T0);
#if TILES_BF16
        if (t->residual && v % 2 == 0) _mm_prefetch((const char *)(t->residual + r * t->ldc + column + v * LANES), _MM_HINT_T0);
#endif
    }
    for (int32_t left = t->depth / UNIT; left > 0; left--, a += t->unit, b += TILE_COLUMNS) {
        __m512i of_b[VECTORS];
        EACH(v, vectors) of_b[v] = _mm512_loadu_si512(b + v * LANES);
        EACH(r, rows)
        {
            uint32_t unit;
            memcpy(&unit, a + r * t->row, sizeof unit);
            EACH(v, vectors) sum[r][v] = multiply_unit(sum[r][v], unit, of_b[v]);
        }
    }
    if (t->depth % UNIT) { /* one that has no other: 0 stands beside it in b */
        EACH(r, rows)
        {
            uint16_t one;
            memcpy(&one, a + r * t->row, sizeof one);
            EACH(v, vectors) sum[r][v] = multiply_unit(sum[r][v], one, _mm512_loadu_si512(b + v * LANES));
        }
    }
    if (t->before) {
        EACH(r, rows)
        EACH(v, vectors)
        sum[r][v] = _mm512_add_ps(sum[r][v], _mm512_maskz_loadu_ps(there, t->before + r * t->ld_before + column + v * LANES));
    }
#if TILES_BF16
    if (t->residual) {
        EACH(r, rows)
        EACH(v, vectors) sum[r][v] = _mm512_add_ps(sum[r][v], wide16(there, t->residual + r * t->ldc + column + v * LANES));
    }
#endif
    if (t->alpha != 1.0f) {
        __m512 alpha = _mm512_set1_ps(t->alpha);
        EACH(r, rows)
        EACH(v, vectors) sum[r][v] = _mm512_mul_ps(sum[r][v], alpha);
    }
    if (there != 0xffff || t->beta != 0.0f) {
        __m512 sums[TILE_ROWS * VECTORS];
        EACH(r, rows)
        EACH(v, vectors) sums[r * vectors + v] = sum[r][v];
        store(t, sums, rows, vectors, column, there);
        return;
    }
#if TILES_BF16
    if (t->type_c != AIOS_F32) {
        EACH(r, rows)
        EACH(v, vectors) store_bf16(place_bf16(t, r, column + v * LANES), 0xffff, sum[r][v]);
        return;
    }
#endif
    EACH(r, rows)
    EACH(v, vectors) _mm512_storeu_ps(place_f32(t, r, column + v * LANES), sum[r][v]);
}

/* `rows` rows further down. */
INLINE void descend(struct tile *t, int32_t rows)
{
    t->a += rows * t->row;
    t->c += rows * t->ldc * (t->type_c == AIOS_F32 ? 4 : 2);
    if (t->before) t->before += rows * t->ld_before;
    if (t->residual) t->residual += rows * t->ldc;
}

/* All m rows of a panel, the last ones one after the other where they are fewer than a tile has. */
static void multiply_panel(struct tile t, int32_t m)
{
    for (; m >= TILE_ROWS; m -= TILE_ROWS) {
        multiply(&t, TILE_ROWS, VECTORS, 0, 0xffff);
        descend(&t, TILE_ROWS);
        t.a += t.next;
    }
    for (; m > 0; m--) {
        multiply(&t, 1, VECTORS, 0, 0xffff);
        descend(&t, 1);
    }
}

/* The same of a panel of fewer columns. */
static void multiply_thin_panel(struct tile t, int32_t m, int32_t n)
{
    for (; m >= TILE_ROWS; m -= TILE_ROWS) {
        for (int32_t column = 0; column < n; column += LANES) multiply(&t, TILE_ROWS, 1, column, first16(n - column));
        descend(&t, TILE_ROWS);
        t.a += t.next;
    }
    for (; m > 0; m--) {
        for (int32_t column = 0; column < n; column += LANES) multiply(&t, 1, 1, column, first16(n - column));
        descend(&t, 1);
    }
}

static void multiply_rows(struct tile t, int32_t m, int32_t n)
{
    if (n == TILE_COLUMNS)
        multiply_panel(t, m);
    else
        multiply_thin_panel(t, m, n);
}

/* ---- SwiGLU, GELU ------------------------------------------------------------------------------------------------ */

#if TILES_BF16

/* 2^x, to 3e-6 of it: 2^floor(x) times the polynomial that is best for the rest. */
INLINE __m512 power_of_2(__m512 x)
{
    static const float terms[] = {0.0135341679f, 0.0520114606f, 0.241442757f, 0.693003834f, 1.00000259f};
    __m512 rest = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC), sum = _mm512_set1_ps(terms[0]);
    EACH(i, 4) sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(terms[i + 1]));
    return _mm512_scalef_ps(sum, x);
}

/* 1 / (1 + exp(-x)), to 2^-13 of it: what it is a factor of becomes bf16. */
INLINE __m512 sigmoid(__m512 x)
{
    return _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), power_of_2(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f)))));
}

/* x / (1 + exp(-2 sqrt(2/pi) (x + 0.044715 x^3))) */
INLINE __m512 gelu(__m512 x)
{
    __m512 slope = _mm512_set1_ps(1.5957691216f), cube = _mm512_set1_ps(1.5957691216f * 0.044715f);
    return _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), cube, slope))));
}

INLINE void gate_row(uint16_t *c, const float *gate, const float *up)
{
    EACH(v, VECTORS)
    {
        __m512 x = _mm512_load_ps(gate + v * LANES);
        store_bf16(c + v * LANES, 0xffff, _mm512_mul_ps(_mm512_mul_ps(x, sigmoid(x)), _mm512_load_ps(up + v * LANES)));
    }
}

INLINE void gelu_row(uint16_t *c, uint16_t *aux, const float *sums, int32_t n)
{
    EACH(v, VECTORS)
    {
        __mmask16 there = first16(n - v * LANES);
        __m512 x = _mm512_load_ps(sums + v * LANES);
        store_bf16(c + v * LANES, there, gelu(x));
        store_bf16(aux + v * LANES, there, x);
    }
}

/* Columns of c that are a function of sums: of the panels of gates, t.b, and of ups, SwiGLU; without ups GELU, and the sums go to aux. Some
 * rows at a time, whose sums wait in a near cache. */
static void multiply_through(struct tile t, const uint32_t *ups, uint16_t *aux, int32_t m, int32_t n)
{
    _Alignas(64) float sums[2][ROWS_THROUGH * TILE_COLUMNS];
    struct tile part = t;
    part.type_c = AIOS_F32;
    part.ldc = TILE_COLUMNS;
    for (int32_t rows; m > 0; m -= rows) {
        rows = least(ROWS_THROUGH, m);
        for (int32_t half = 0; half < (ups ? 2 : 1); half++) {
            part.b = half ? ups : t.b;
            part.c = (char *)sums[half];
            multiply_rows(part, rows, n);
        }
        for (int32_t row = 0; row < rows && ups; row++)
            gate_row(place_bf16(&t, row, 0), sums[0] + row * TILE_COLUMNS, sums[1] + row * TILE_COLUMNS);
        for (int32_t row = 0; row < rows && !ups; row++)
            gelu_row(place_bf16(&t, row, 0), aux + row * t.ldc, sums[0] + row * TILE_COLUMNS, n);
        part.a += rows * part.row + rows / TILE_ROWS * part.next;
        if (part.before) part.before += rows * part.ld_before;
        t.c += rows * t.ldc * 2;
        if (aux) aux += rows * t.ldc;
    }
}

#endif

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* Panel `column` / 64 of op(b), products [from, from + depth). */
static void pack_b(const tiles_block *g, uint32_t *to, int32_t from, int32_t depth, int32_t column)
{
    const element *b = (const element *)g->b + (g->transpose_b ? column * g->ldb + from : from * g->ldb + column);
    (g->transpose_b ? pack_columns : pack_rows)(to, b, g->ldb, depth, least(TILE_COLUMNS, g->n - column));
}

/* Products [from, from + depth) of every sum of the block. */
static void multiply_part(const tiles_block *g, float *sums, int32_t from, int32_t depth)
{
    uint32_t *packed_a = (uint32_t *)(void *)(sums + TILES_ROWS * TILES_COLUMNS), *packed_b = packed_a + TILES_ROWS * TILES_DEPTH_TA;
    const element *a = (const element *)g->a + (g->transpose_a ? from * g->lda : from);
    int32_t size = g->type_c == AIOS_F32 ? 4 : 2;
    size_t panel = tiles_panel(&TILES, g->k);
    struct tile t = {.b = packed_b, .depth = depth, .row = g->lda * (int64_t)sizeof *a, .unit = 4};
    if (g->transpose_a) {
        pack_a(packed_a, a, g->lda, depth, g->m);
        t.row = 4, t.unit = 4 * TILE_ROWS;
        t.next = ((int64_t)units_of(depth) - 1) * 4 * TILE_ROWS;
    }
    /* Sums wait for the next part in c where it can hold them; its own elements are the first of them where they are added as they are. */
    int32_t first = from == 0, last = from + depth == g->k, in_c = g->type_c == AIOS_F32 && g->alpha == 1.0f;
    int32_t added = in_c && g->beta == 1.0f, waiting = !first || added, to_c = last || in_c;
    t.ld_before = first && g->bias ? 0 : in_c ? g->ldc : TILES_COLUMNS;
    t.ldc = to_c ? g->ldc : TILES_COLUMNS;
    t.type_c = to_c ? g->type_c : AIOS_F32;
    t.alpha = last ? g->alpha : 1.0f;
    t.beta = (in_c ? first && !added : last) ? g->beta : 0.0f;
    for (int32_t column = 0; column < g->n; column += TILE_COLUMNS) {
        if (g->packed)
            t.b = g->packed + (size_t)(column / TILE_COLUMNS) * panel + (size_t)from / UNIT * TILE_COLUMNS;
        else
            pack_b(g, packed_b, from, depth, column);
        int32_t n = least(TILE_COLUMNS, g->n - column);
        t.a = g->transpose_a ? (const char *)packed_a : (const char *)a;
        t.c = to_c ? (char *)g->c + column * size : (char *)(sums + column);
        t.before = first && g->bias ? g->bias + column : !waiting ? NULL : in_c ? (const float *)(const void *)t.c : sums + column;
#if TILES_BF16
        t.residual = last && g->residual ? g->residual + column : NULL;
        if (g->ups || (g->aux && last)) {
            multiply_through(t, g->ups ? t.b + (size_t)g->ups * panel : NULL, g->ups ? NULL : g->aux + column, g->m, n);
            continue;
        }
#endif
        multiply_rows(t, g->m, n);
    }
}

static void pack_panels(const tiles_block *g, uint32_t *packed, int32_t first, int32_t end)
{
    for (int32_t i = first; i < end; i++) pack_b(g, packed + (size_t)i * tiles_panel(&TILES, g->k), 0, g->k, i * TILE_COLUMNS);
}

static void multiply_block(const tiles_block *g, float *scratch)
{
    int32_t units = units_of(g->k), most = g->transpose_a ? TILES_DEPTH_TA : TILES_DEPTH;
    int32_t parts = units > most && !g->ups ? (units + most - 1) / most : 1, step = (units + parts - 1) / parts * UNIT, from = 0;
    do {
        int32_t depth = least(step, g->k - from);
        multiply_part(g, scratch, from, depth);
        from += depth;
    } while (from < g->k);
}

#else

/* Nobody calls them: the compiler knows of no such processor. */
static void multiply_block(const tiles_block *g, float *scratch)
{
    (void)g, (void)scratch;
}

static void pack_panels(const tiles_block *g, uint32_t *packed, int32_t first, int32_t end)
{
    (void)g, (void)packed, (void)first, (void)end;
}

#endif

const tiles TILES = {TILES_BF16 ? 2 : 1, multiply_block, pack_panels};
