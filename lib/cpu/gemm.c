/* gemm by oneDNN: c is dealt out in tiles, one per thread; each thread multiplies its own with oneDNN on one thread. */
#include "device.h"

#include <string.h>

/* oneDNN's inner kernel makes 48 columns by 8 rows of c. */
#define UNIT_ROWS    8
#define UNIT_COLUMNS 48
/* What has an epilogue or is converted is made in blocks, of which one is finished while it is still in a cache.  oneDNN packs the edges of
 * every block anew, so they are large; but smaller where the edges are widened into copies before. */
#define BLOCK_ROWS    1024
#define BLOCK_COLUMNS 960
#define WIDE_ROWS     512
#define WIDE_COLUMNS  480
#define WIDE_DEPTH    512
#define SCRATCH_SUM   ((size_t)WIDE_ROWS * WIDE_COLUMNS)
#define SCRATCH_A     ((size_t)WIDE_ROWS * WIDE_DEPTH)
#define SCRATCH_B     ((size_t)WIDE_COLUMNS * WIDE_DEPTH)
#define SCRATCH_BLOCK ((size_t)BLOCK_ROWS * BLOCK_COLUMNS) /* room for those three too */
#define SCRATCH       (SCRATCH_BLOCK + BLOCK_COLUMNS)      /* a block, or what is widened; its bias */
/* Below this one thread is done before a second has woken up. */
#define ALONE_PRODUCTS 65536.0
/* Reading and packing an element of a tile's edge takes as long as this many products. */
#define EDGE_COST 24.0

_Static_assert(SCRATCH_SUM + SCRATCH_A + SCRATCH_B <= SCRATCH_BLOCK, "what is widened has room where a block would be");

struct job {
    const cpu_device *device;
    const aios_gemm *g;
    int32_t grid_rows, grid_columns; /* tiles of each batch */
    atomic_int failure;              /* oneDNN's status */
};

/* A range of c that one thread makes: rows [m0, m1), columns [n0, n1). */
struct tile {
    int32_t m0, m1, n0, n1;
};

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
    float *wide_a = scratch, *wide_b = scratch + SCRATCH_A;
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

/* One block of c with all that belongs to it. */
static void make_block(struct job *job, const char *a, const char *b, char *c, struct tile t, float *scratch)
{
    const aios_gemm *g = job->g;
    int direct = g->type_ab == AIOS_F32 || (g->type_ab == AIOS_BF16 && job->device->dnn.dnnl_gemm_bf16bf16f32);
    int gelu = g->epilogue == AIOS_EPILOGUE_BIAS_GELU;
    char *to = (char *)at(c, g->type_c, t.m0 * g->ldc + t.n0), *aux = gelu ? (char *)at(g->aux, g->type_c, t.m0 * g->ldc + t.n0) : NULL;
    int in_place = g->type_c == AIOS_F32;
    float *sum = in_place ? (float *)(void *)(gelu ? aux : to) : scratch;
    int64_t ld_sum = in_place ? g->ldc : direct ? BLOCK_COLUMNS : WIDE_COLUMNS;
    float beta = in_place ? g->beta : 0.0f;

    if (direct)
        multiply_direct(job, a, b, t, sum, ld_sum, beta);
    else
        multiply_widened(job, a, b, t, sum, ld_sum, beta, scratch + SCRATCH_SUM);
    if (in_place && g->epilogue == AIOS_EPILOGUE_NONE) return;

    cpu_finish finish = {sum, ld_sum, to, aux, g->ldc, NULL, t.m1 - t.m0, t.n1 - t.n0, g->type_c, g->beta};
    if (g->epilogue != AIOS_EPILOGUE_NONE) {
        if (g->type_ab == AIOS_F32) {
            finish.bias = (const float *)g->bias + t.n0;
        } else {
            float *wide = scratch + SCRATCH_BLOCK;
            job->device->vector->widen(wide, 0, at(g->bias, g->type_ab, t.n0), 0, 1, finish.n, g->type_ab);
            finish.bias = wide;
        }
    }
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
    int direct = g->type_ab == AIOS_F32 || (g->type_ab == AIOS_BF16 && job->device->dnn.dnnl_gemm_bf16bf16f32);
    if (t.m0 >= t.m1 || t.n0 >= t.n1) return;
    if (direct && g->type_c == AIOS_F32 && g->epilogue == AIOS_EPILOGUE_NONE) {
        make_block(job, a, b, c, t, scratch);
        return;
    }
    int32_t rows = even_step(t.m1 - t.m0, direct ? BLOCK_ROWS : WIDE_ROWS, UNIT_ROWS),
            columns = even_step(t.n1 - t.n0, direct ? BLOCK_COLUMNS : WIDE_COLUMNS, UNIT_COLUMNS);
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
    float *scratch = job->device->scratch ? job->device->scratch + (size_t)index * SCRATCH : NULL;
    onednn_scope before = onednn_enter(&job->device->dnn);
    for (int64_t item = items * index / count; item < items * (index + 1) / count; item++) {
        int32_t row = (int32_t)(item % per_batch) / job->grid_columns, column = (int32_t)(item % per_batch) % job->grid_columns;
        struct tile t = {share(g->m, UNIT_ROWS, row, job->grid_rows), share(g->m, UNIT_ROWS, row + 1, job->grid_rows),
                         share(g->n, UNIT_COLUMNS, column, job->grid_columns), share(g->n, UNIT_COLUMNS, column + 1, job->grid_columns)};
        make_tile(job, (int32_t)(item / per_batch), t, scratch);
    }
    onednn_leave(&job->device->dnn, &before);
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
    double best = -1;
    job->grid_rows = job->grid_columns = 1;
    if (g->batch % threads == 0 || g->batch >= 4 * threads) return; /* whole batches deal out evenly */
    for (int32_t rows = threads; rows >= 1; rows--) {
        int32_t columns = threads / rows;
        double m = largest_share(g->m, UNIT_ROWS, rows), n = largest_share(g->n, UNIT_COLUMNS, columns);
        double cost = m * n + EDGE_COST * (m + n);
        if (best >= 0 && cost >= best) continue;
        best = cost;
        job->grid_rows = rows;
        job->grid_columns = columns;
    }
}

static aios_status compute(cpu_device *device, struct job *job)
{
    const aios_gemm *g = job->g;
    TRY_QUIET(cpu_need_onednn(device));
    if (!device->scratch && g->type_ab != AIOS_F32) {
        device->scratch = aios_memory_alloc(device->context, (size_t)device->threads * SCRATCH * sizeof(float));
        if (!device->scratch) return AIOS_OUT_OF_MEMORY;
    }
    choose_grid(job, device->threads);
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

const aios_gemm_group cpu_gemm_group = {
    sizeof cpu_gemm_group,
    1u << AIOS_EPILOGUE_NONE | 1u << AIOS_EPILOGUE_BIAS | 1u << AIOS_EPILOGUE_BIAS_GELU,
    cpu_gemm,
};
