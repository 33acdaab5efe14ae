/* gemm: c is made in parts, which the threads claim one after the other.  bf16 is multiplied by tiles.h where the processor has AVX-512
 * BF16, or with AMX by oneDNN; f32 by oneDNN, or by tiles.h with AVX-512 where b is packed already; what neither does goes through f32
 * copies. */
#include "device.h"
#include "tiles.h"

#include <string.h>

/* What has an epilogue or is converted is made in blocks, of which one is finished while it is still in a cache.  oneDNN packs the edges of
 * every block anew, so they are large; but smaller where the edges are widened into copies before. */
#define ONEDNN_ROWS    1024
#define ONEDNN_COLUMNS 960
#define WIDE_ROWS      512
#define WIDE_COLUMNS   480
#define WIDE_DEPTH     512
#define WIDE_SUM       ((size_t)WIDE_ROWS * WIDE_COLUMNS)
#define WIDE_A         ((size_t)WIDE_ROWS * WIDE_DEPTH)
#define WIDE_B         ((size_t)WIDE_COLUMNS * WIDE_DEPTH)
/* Floats of each thread: a block, or what its making takes; behind it the bias of its columns. */
#define SCRATCH      ((size_t)TILES_SCRATCH)
#define SCRATCH_BIAS 1024
/* Below this one thread is done before a second has woken up. */
#define ALONE_PRODUCTS 65536.0
/* Where cutting costs nothing. */
#define TILES_PER_THREAD 4

_Static_assert(SCRATCH >= WIDE_SUM + WIDE_A + WIDE_B && SCRATCH >= (size_t)ONEDNN_ROWS * ONEDNN_COLUMNS, "every way has room");
_Static_assert(SCRATCH_BIAS >= ONEDNN_COLUMNS && SCRATCH_BIAS >= WIDE_COLUMNS && SCRATCH_BIAS >= TILES_COLUMNS, "and a bias");

/* What is the best for each way of multiplying: whole units of rows and columns, which its inner kernel makes at once; blocks of c; how
 * many products take as long as reading and packing an element of a, stored (m, k) or (k, m), or of b. */
static const struct way {
    int32_t unit_rows, unit_columns, block_rows, block_columns;
    double pack_a[2], pack_b;
} ways[] = {
    [CPU_GEMM_WIDENED] = {8, 48, WIDE_ROWS, WIDE_COLUMNS, {24, 24}, 24},
    [CPU_GEMM_TILES] = {TILE_ROWS, TILE_COLUMNS, TILES_ROWS, TILES_COLUMNS, {1, 8}, 8},
    [CPU_GEMM_ONEDNN] = {8, 48, ONEDNN_ROWS, ONEDNN_COLUMNS, {24, 24}, 24},
};

struct job {
    const cpu_device *device;
    const aios_gemm *g;
    enum cpu_gemm by;
    int32_t columns;                 /* of c */
    int32_t grid_rows, grid_columns; /* tiles of each batch */
    atomic_llong next;               /* tile to claim */
    atomic_int failure;              /* oneDNN's status */
};

/* A range of c that one thread makes: rows [m0, m1), columns [n0, n1). */
struct tile {
    int32_t m0, m1, n0, n1;
};

aios_status cpu_need_scratch(cpu_device *device)
{
    if (!device->scratch) device->scratch = os_pages_alloc((size_t)device->threads * (SCRATCH + SCRATCH_BIAS) * sizeof(float));
    return device->scratch ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

float *cpu_scratch(const cpu_device *device, int thread)
{
    return device->scratch ? device->scratch + (size_t)thread * (SCRATCH + SCRATCH_BIAS) : NULL;
}

static const tiles *tiles_of(const aios_gemm *g)
{
    return g->type_ab == AIOS_F32 ? &tiles_f32 : &tiles_bf16;
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static const char *at(const void *base, int32_t type, int64_t element)
{
    return (const char *)base + element * (type == AIOS_F32 ? 4 : 2);
}

/* op(a)[row, depth …] and op(b)[depth, column …], wherever they are stored. */
static const char *part_of_a(const aios_gemm *g, const char *a, int32_t row, int32_t depth)
{
    return at(a, g->type_ab, g->transpose_a ? depth * g->lda + row : row * g->lda + depth);
}

static const char *part_of_b(const aios_gemm *g, const char *b, int32_t depth, int32_t column)
{
    return at(b, g->type_ab, g->transpose_b ? column * g->ldb + depth : depth * g->ldb + column);
}

static char trans(int32_t transposed)
{
    return transposed ? 'T' : 'N';
}

/* sum (rows, columns) = alpha op(a) op(b) + beta sum, of the block at (row, column), types as oneDNN takes them. */
static void multiply_direct(struct job *job, const char *a, const char *b, struct tile t, float *sum, int64_t ld_sum, float beta)
{
    const aios_gemm *g = job->g;
    const void *pa = part_of_a(g, a, t.m0, 0), *pb = part_of_b(g, b, 0, t.n0);
    int32_t m = t.m1 - t.m0, n = t.n1 - t.n0;
    int status;
    if (g->type_ab == AIOS_F32)
        status = job->device->dnn.dnnl_sgemm(trans(g->transpose_a), trans(g->transpose_b), m, n, g->k, g->alpha, pa, g->lda, pb, g->ldb,
                                             beta, sum, ld_sum);
    else
        status = job->device->dnn.dnnl_gemm_bf16bf16f32(trans(g->transpose_a), trans(g->transpose_b), m, n, g->k, g->alpha, pa, g->lda, pb,
                                                        g->ldb, beta, sum, ld_sum);
    if (status != 0) atomic_store(&job->failure, status);
}

/* The same through f32 copies of the parts of a and b. */
static void multiply_widened(struct job *job, const char *a, const char *b, struct tile t, float *sum, int64_t ld_sum, float beta,
                             float *scratch)
{
    const aios_gemm *g = job->g;
    const cpu_vector *vector = job->device->vector;
    float *wide_a = scratch, *wide_b = scratch + WIDE_A;
    int32_t m = t.m1 - t.m0, n = t.n1 - t.n0;
    for (int32_t depth = 0; depth < g->k; depth += WIDE_DEPTH) {
        int32_t k = least(WIDE_DEPTH, g->k - depth);
        int32_t rows_a = g->transpose_a ? k : m, columns_a = g->transpose_a ? m : k;
        int32_t rows_b = g->transpose_b ? n : k, columns_b = g->transpose_b ? k : n;
        vector->widen(wide_a, columns_a, part_of_a(g, a, t.m0, depth), g->lda, rows_a, columns_a, g->type_ab);
        vector->widen(wide_b, columns_b, part_of_b(g, b, depth, t.n0), g->ldb, rows_b, columns_b, g->type_ab);
        int status = job->device->dnn.dnnl_sgemm(trans(g->transpose_a), trans(g->transpose_b), m, n, k, g->alpha, wide_a, columns_a, wide_b,
                                                 columns_b, depth ? 1.0f : beta, sum, ld_sum);
        if (status != 0) atomic_store(&job->failure, status);
    }
}

/* 1: tiles.h does the epilogue as well. */
static int ends_in_product(const struct job *job)
{
    const aios_gemm *g = job->g;
    if (job->by != CPU_GEMM_TILES) return 0;
    switch (g->epilogue) {
    case AIOS_EPILOGUE_NONE:
    case AIOS_EPILOGUE_SWIGLU: return 1;
    case AIOS_EPILOGUE_BIAS: return g->alpha == 1.0f;
    case AIOS_EPILOGUE_BIAS_GELU: return g->alpha == 1.0f && g->type_c == AIOS_BF16;
    case AIOS_EPILOGUE_RESIDUAL: return g->type_c == AIOS_BF16;
    default: return 0;
    }
}

/* c (rows, columns of the block) = alpha op(a) op(b) + beta c, or with a bias op(a) op(b) + bias. */
static void multiply_tiles(const struct job *job, const char *a, const char *b, struct tile t, void *c, int64_t ldc, int32_t type_c,
                           float beta, const float *bias, float *scratch)
{
    const aios_gemm *g = job->g;
    tiles_block block = {
        .a = part_of_a(g, a, t.m0, 0),
        .b = part_of_b(g, b, 0, t.n0),
        .lda = g->lda,
        .ldb = g->ldb,
        .transpose_a = g->transpose_a,
        .transpose_b = g->transpose_b,
        .m = t.m1 - t.m0,
        .n = t.n1 - t.n0,
        .k = g->k,
        .alpha = g->alpha,
        .beta = beta,
        .c = c,
        .ldc = ldc,
        .type_c = type_c,
        .bias = bias,
        .aux = g->epilogue == AIOS_EPILOGUE_BIAS_GELU && ends_in_product(job) ? (uint16_t *)g->aux + t.m0 * g->ldc + t.n0 : NULL,
        .residual = g->epilogue == AIOS_EPILOGUE_RESIDUAL && ends_in_product(job) ? (const uint16_t *)g->aux + t.m0 * g->ldc + t.n0 : NULL,
        .ups = g->epilogue == AIOS_EPILOGUE_SWIGLU ? job->columns / TILE_COLUMNS : 0,
        .packed = g->packed_b ? (const uint32_t *)g->packed_b + (size_t)(t.n0 / TILE_COLUMNS) * tiles_panel(tiles_of(g), g->k) : NULL,
    };
    tiles_of(g)->multiply(&block, scratch);
}

/* One block of c with all that belongs to it. */
static void make_block(struct job *job, const char *a, const char *b, char *c, struct tile t, float *scratch)
{
    const aios_gemm *g = job->g;
    int32_t m = t.m1 - t.m0, n = t.n1 - t.n0;
    int has_bias = g->bias && g->epilogue != AIOS_EPILOGUE_NONE && g->epilogue != AIOS_EPILOGUE_SWIGLU,
        residual = g->epilogue == AIOS_EPILOGUE_RESIDUAL, gelu = g->epilogue == AIOS_EPILOGUE_BIAS_GELU;
    char *to = (char *)at(c, g->type_c, t.m0 * g->ldc + t.n0), *aux = gelu ? (char *)at(g->aux, g->type_c, t.m0 * g->ldc + t.n0) : NULL;
    int in_place = g->type_c == AIOS_F32;
    float *sum = in_place ? (float *)(void *)(gelu ? aux : to) : scratch;
    int64_t ld_sum = in_place ? g->ldc : ways[job->by].block_columns;
    float beta = residual ? 1.0f : in_place ? g->beta : 0.0f;
    const float *bias = has_bias ? scratch + SCRATCH : NULL;
    if (has_bias && g->type_ab == AIOS_F32)
        bias = (const float *)g->bias + t.n0;
    else if (has_bias)
        job->device->vector->widen(scratch + SCRATCH, 0, at(g->bias, g->type_ab, t.n0), 0, 1, n, g->type_ab);
    if (ends_in_product(job)) {
        multiply_tiles(job, a, b, t, to, g->ldc, g->type_c, g->beta, bias, scratch);
        return;
    }
    if (residual) job->device->vector->widen(sum, ld_sum, at(g->aux, g->type_c, t.m0 * g->ldc + t.n0), g->ldc, m, n, g->type_c);
    if (job->by == CPU_GEMM_TILES)
        multiply_tiles(job, a, b, t, sum, ld_sum, AIOS_F32, beta, NULL, scratch);
    else if (job->by == CPU_GEMM_ONEDNN)
        multiply_direct(job, a, b, t, sum, ld_sum, beta);
    else
        multiply_widened(job, a, b, t, sum, ld_sum, beta, scratch + WIDE_SUM);
    if (in_place && !has_bias) return;
    cpu_finish finish = {sum, ld_sum, to, aux, g->ldc, bias, m, n, g->type_c, residual ? 0.0f : g->beta};
    job->device->vector->finish(&finish);
}

/* Blocks of even sizes, so that none is a thin rest. */
static int32_t even_step(int32_t size, int32_t most, int32_t unit)
{
    int32_t parts = (size + most - 1) / most, step = (size + parts - 1) / parts;
    return least(most, (step + unit - 1) / unit * unit);
}

static void make_tile(struct job *job, int32_t batch, struct tile t, float *scratch)
{
    const aios_gemm *g = job->g;
    const char *a = at(g->a, g->type_ab, batch * g->stride_a), *b = at(g->b, g->type_ab, batch * g->stride_b);
    char *c = (char *)at(g->c, g->type_c, batch * g->stride_c);
    const struct way *way = &ways[job->by];
    if (t.m0 >= t.m1 || t.n0 >= t.n1) return;
    if (job->by == CPU_GEMM_ONEDNN && g->type_c == AIOS_F32 && g->epilogue == AIOS_EPILOGUE_NONE) {
        make_block(job, a, b, c, t, scratch);
        return;
    }
    /* What tiles.h leaves to be finished is short of columns, so that it is still in a cache: a is not packed anew for them. */
    int narrow = job->by == CPU_GEMM_TILES && !g->transpose_a && !ends_in_product(job);
    int32_t rows = even_step(t.m1 - t.m0, way->block_rows, way->unit_rows),
            columns = narrow ? way->unit_columns : even_step(t.n1 - t.n0, way->block_columns, way->unit_columns);
    for (int32_t m = t.m0; m < t.m1; m += rows)
        for (int32_t n = t.n0; n < t.n1; n += columns)
            make_block(job, a, b, c, (struct tile){m, least(m + rows, t.m1), n, least(n + columns, t.n1)}, scratch);
}

/* Where part i of `parts` of size begins: on a whole unit, and no part more than one unit longer than another. */
static int32_t share(int32_t size, int32_t unit, int32_t i, int32_t parts)
{
    int64_t units = (size + unit - 1) / unit;
    return least(size, (int32_t)(units * i / parts) * unit);
}

static void make_share(void *user, int index, int count)
{
    struct job *job = user;
    const aios_gemm *g = job->g;
    int32_t per_batch = job->grid_rows * job->grid_columns;
    int64_t items = (int64_t)g->batch * per_batch;
    float *scratch = cpu_scratch(job->device, index);
    int32_t unit_m = ways[job->by].unit_rows, unit_n = ways[job->by].unit_columns;
    int own = job->by == CPU_GEMM_TILES;
    onednn_scope before = {0};
    if (!own) before = onednn_enter(&job->device->dnn);
    (void)count;
    for (int64_t item; (item = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < items;) {
        int32_t row = (int32_t)(item % per_batch) / job->grid_columns, column = (int32_t)(item % per_batch) % job->grid_columns;
        struct tile t = {share(g->m, unit_m, row, job->grid_rows), share(g->m, unit_m, row + 1, job->grid_rows),
                         share(job->columns, unit_n, column, job->grid_columns),
                         share(job->columns, unit_n, column + 1, job->grid_columns)};
        make_tile(job, (int32_t)(item / per_batch), t, scratch);
    }
    if (!own) onednn_leave(&job->device->dnn, &before);
}

static int32_t largest_share(int32_t size, int32_t unit, int32_t parts)
{
    int32_t units = (size + unit - 1) / unit;
    return (units + parts - 1) / parts * unit; /* cppcheck-suppress zerodiv ; the caller's parts are at least 1 */
}

/* The grid whose largest tile costs least: its products, and reading and packing its edges. */
static void choose_grid(struct job *job, int32_t threads)
{
    const aios_gemm *g = job->g;
    const struct way *way = &ways[job->by];
    double best = -1;
    job->grid_rows = job->grid_columns = 1;
    if (g->batch % threads == 0 || g->batch >= 4 * threads) return; /* whole batches deal out evenly */
    for (int32_t rows = threads; rows >= 1; rows--) {
        int32_t columns = threads / rows;
        double m = largest_share(g->m, way->unit_rows, rows), n = largest_share(job->columns, way->unit_columns, columns);
        double cost = m * n + way->pack_a[g->transpose_a != 0] * m + (g->packed_b ? 1 : way->pack_b) * n;
        if (best >= 0 && cost >= best) continue;
        best = cost;
        job->grid_rows = rows;
        job->grid_columns = columns;
    }
}

/* More tiles than threads, so that one whose processor somebody else uses makes fewer: what tiles.h would pack anew for each is not
 * cut. */
static void cut_finer(struct job *job, int32_t threads)
{
    const aios_gemm *g = job->g;
    int32_t rows = largest_share(g->m, TILE_ROWS, job->grid_rows), panels = (job->columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
    if (job->by != CPU_GEMM_TILES || threads == 1) return;
    job->grid_rows *= (rows + TILES_ROWS - 1) / TILES_ROWS;
    int32_t columns = TILES_PER_THREAD * threads / job->grid_rows;
    if (!g->transpose_a && columns > job->grid_columns) job->grid_columns = least(columns, panels);
}

static enum cpu_gemm way_of(const cpu_device *device, int32_t type)
{
    return type == AIOS_F32 ? device->f32 : type == AIOS_BF16 ? device->bf16 : CPU_GEMM_WIDENED;
}

/* oneDNN packs f32 as well as we do: its b is ours only where that is done already. */
static enum cpu_gemm chosen(const cpu_device *device, const aios_gemm *g)
{
    return g->type_ab == AIOS_F32 && !g->packed_b ? CPU_GEMM_ONEDNN : way_of(device, g->type_ab);
}

static uint64_t cpu_packed_size(void *handle, const aios_gemm *g)
{
    const cpu_device *device = handle;
    if (way_of(device, g->type_ab) != CPU_GEMM_TILES) return 0;
    if (g->epilogue == AIOS_EPILOGUE_SWIGLU && (g->type_ab != AIOS_BF16 || g->n % (2 * TILE_COLUMNS))) return 0;
    return ((uint64_t)g->n + TILE_COLUMNS - 1) / TILE_COLUMNS * tiles_panel(tiles_of(g), g->k) * sizeof(uint32_t);
}

static aios_status compute(cpu_device *device, struct job *job)
{
    const aios_gemm *g = job->g;
    job->by = chosen(device, g);
    if (job->by != CPU_GEMM_TILES) TRY_QUIET(cpu_need_onednn(device));
    job->by = chosen(device, g); /* oneDNN may have turned out to have no bf16 */
    if (g->type_ab != AIOS_F32 || job->by == CPU_GEMM_TILES) TRY_QUIET(cpu_need_scratch(device));
    if (g->epilogue == AIOS_EPILOGUE_RESIDUAL && g->alpha != 1.0f)
        return FAIL(AIOS_UNSUPPORTED, "gemm: the residual is added to sums times 1, not %g", (double)g->alpha);
    if (g->epilogue == AIOS_EPILOGUE_SWIGLU && !cpu_packed_size(device, g))
        return FAIL(AIOS_UNSUPPORTED, "gemm: SwiGLU of type %d, n %d: bf16 of whole panels is done", (int)g->type_ab, (int)g->n);
    job->columns = g->epilogue == AIOS_EPILOGUE_SWIGLU ? g->n / 2 : g->n;
    choose_grid(job, device->threads);
    cut_finer(job, device->threads);
    if ((double)g->m * g->n * g->k * g->batch < ALONE_PRODUCTS)
        make_share(job, 0, 1);
    else
        TRY_QUIET(cpu_run(device, make_share, job));
    int failure = atomic_load(&job->failure);
    if (failure == 1)
        return FAIL(AIOS_OUT_OF_MEMORY, "oneDNN has no memory for a gemm of (%d, %d) by (%d, %d)", (int)g->m, (int)g->k, (int)g->k,
                    (int)g->n);
    if (failure)
        return FAIL(AIOS_INTERNAL, "oneDNN refused a gemm of (%d, %d) by (%d, %d) with status %d", (int)g->m, (int)g->k, (int)g->k,
                    (int)g->n, failure);
    return AIOS_OK;
}

static aios_status cpu_gemm(void *handle, void *stream, const aios_gemm *gemm)
{
    cpu_device *device = handle;
    struct job job = {.device = device, .g = gemm};
    (void)stream;
    os_mutex_lock(&device->mutex);
    aios_status status = compute(device, &job);
    os_mutex_unlock(&device->mutex);
    return status;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

struct packing {
    const tiles *by;
    tiles_block b;
    uint32_t *packed;
};

static void pack_share(void *user, int index, int count)
{
    const struct packing *p = user;
    int64_t panels = ((int64_t)p->b.n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    p->by->pack(&p->b, p->packed, (int32_t)(panels * index / count), (int32_t)(panels * (index + 1) / count));
}

static aios_status cpu_pack(void *handle, void *stream, const aios_gemm *g, void *packed)
{
    cpu_device *device = handle;
    struct packing packing = {tiles_of(g), {.b = g->b, .ldb = g->ldb, .transpose_b = g->transpose_b, .n = g->n, .k = g->k}, packed};
    (void)stream;
    if (!cpu_packed_size(device, g)) return FAIL(AIOS_UNSUPPORTED, "gemm: this processor takes b of type %d as it is", (int)g->type_ab);
    os_mutex_lock(&device->mutex);
    aios_status status = cpu_run(device, pack_share, &packing);
    os_mutex_unlock(&device->mutex);
    return status;
}

const aios_gemm_group cpu_gemm_group = {
    .struct_size = sizeof cpu_gemm_group,
    .epilogues = 1u << AIOS_EPILOGUE_NONE | 1u << AIOS_EPILOGUE_BIAS | 1u << AIOS_EPILOGUE_BIAS_GELU | 1u << AIOS_EPILOGUE_RESIDUAL |
                 1u << AIOS_EPILOGUE_SWIGLU,
    .gemm = cpu_gemm,
    .packed_size = cpu_packed_size,
    .pack = cpu_pack,
};
