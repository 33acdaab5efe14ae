/* Attention in blocks (Dao et al., "FlashAttention", 2022): blocks of queries are multiplied by blocks of keys, the softmax runs along,
 * and backward makes the probabilities again from lse.  A unit of work is done by one thread from beginning to end and in a fixed order, so
 * results do not depend on who does it.
 *
 * 16-bit types are multiplied as f32 copies, but bf16 as it is where the processor does that: twice as fast, and summed in f32 all the
 * same.  The probabilities and their gradients are rounded to bf16 then. */
#include "device.h"
#include "tiles.h"

#include <string.h>

#define QUERIES        96 /* of a block */
#define KEYS           256
#define ALONE_PRODUCTS 65536.0
#define NARROW_SCORES  (QUERIES * KEYS / 2) /* floats of a block of scores in bf16 */
#define LINE           16                   /* floats of a cache line: parts of the workspace begin on one */

struct worker;

struct job {
    const cpu_device *device;
    const aios_attention *a;
    int64_t start;
    float *workspace;
    uint64_t per_thread; /* floats */
    int32_t query_blocks, key_blocks;
    int phase;
    int narrow;      /* bf16 is multiplied as it is */
    atomic_int next; /* unit to claim */
    int32_t units;
    void (*unit)(const struct worker *worker, int32_t unit, float *workspace);
    atomic_int failure;
};

enum { WHOLE, QUERY_SIDE, KEY_SIDE };

/* ---- where things lie -------------------------------------------------------------------------------------------- */

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t width(const aios_attention *a)
{
    return a->type == AIOS_F32 ? 4 : 2;
}

static void *query_row(const aios_attention *a, const void *base, int64_t stride, int32_t b, int32_t h, int32_t t)
{
    return (char *)base + (((int64_t)b * a->q_len + t) * stride + (int64_t)h * a->head_size) * width(a);
}

static void *key_row(const aios_attention *a, const void *base, int32_t b, int32_t kv_head, int32_t t)
{
    return (char *)base + (((int64_t)b * a->kv_capacity + t) * a->kv_stride + (int64_t)kv_head * a->head_size) * width(a);
}

static uint64_t lines(uint64_t floats)
{
    return (floats + LINE - 1) / LINE * LINE;
}

/* Cuts `floats` off the thread's workspace. */
static float *cut(float **workspace, uint64_t floats)
{
    float *part = *workspace;
    *workspace += lines(floats);
    return part;
}

/* Keys that the queries before `end` see at most. */
static int32_t keys_seen(const struct job *job, int32_t end)
{
    int64_t seen = job->a->causal ? job->start + end : job->a->kv_len;
    return (int32_t)(seen < job->a->kv_len ? seen : job->a->kv_len);
}

static cpu_scores block_scores(const struct job *job, float *s, int32_t q0, int32_t q1, int32_t k0, int32_t k1)
{
    int64_t seen = job->a->causal ? job->start + q0 + 1 - k0 : k1 - k0;
    if (seen > k1 - k0 + QUERIES) seen = k1 - k0 + QUERIES;
    return (cpu_scores){s, KEYS, q1 - q0, k1 - k0, (int32_t)seen, job->a->causal};
}

/* A matrix as it is stored, and, unless bf16 is multiplied as it is, as f32: itself, or a copy. */
struct view {
    const float *at;
    int64_t ld;
    const void *stored;
    int64_t ld_stored;
};

/* Who works: a thread of the device. */
struct worker {
    struct job *job;
    int index;
};

static struct view view_of(const struct job *job, const void *base, int64_t ld, int32_t rows, float *wide)
{
    const aios_attention *a = job->a;
    if (job->narrow) return (struct view){NULL, 0, base, ld};
    if (a->type == AIOS_F32) return (struct view){base, ld, base, ld};
    job->device->vector->widen(wide, a->head_size, base, ld, rows, a->head_size, a->type);
    return (struct view){wide, a->head_size, base, ld};
}

/* The same matrix from a later row on. */
static struct view rows_from(const struct job *job, const struct view *all, int32_t row)
{
    return (struct view){job->narrow ? NULL : all->at + row * all->ld, all->ld,
                         (const char *)all->stored + row * all->ld_stored * width(job->a), all->ld_stored};
}

/* A block of scores that has become something to multiply by; bf16 is rounded into `narrow`. */
static struct view view_of_scores(const struct job *job, const float *s, int32_t rows, int32_t keys, void *narrow)
{
    if (job->narrow) job->device->vector->narrow(narrow, KEYS, s, KEYS, rows, keys, AIOS_BF16);
    return (struct view){s, KEYS, narrow, KEYS};
}

/* c (m, n) = alpha op(a) op(b) + beta c. */
static void multiply(const struct worker *w, char ta, char tb, int32_t m, int32_t n, int32_t k, float alpha, const struct view *a,
                     const struct view *b, float beta, float *c, int64_t ldc)
{
    struct job *job = w->job;
    const onednn *dnn = &job->device->dnn;
    int status = 0;
    if (!job->narrow) {
        status = dnn->dnnl_sgemm(ta, tb, m, n, k, alpha, a->at, a->ld, b->at, b->ld, beta, c, ldc);
    } else if (job->device->bf16 == CPU_GEMM_ONEDNN) {
        status = dnn->dnnl_gemm_bf16bf16f32(ta, tb, m, n, k, alpha, a->stored, a->ld_stored, b->stored, b->ld_stored, beta, c, ldc);
    } else {
        tiles_block block = {.a = a->stored,
                             .b = b->stored,
                             .lda = a->ld_stored,
                             .ldb = b->ld_stored,
                             .transpose_a = ta == 'T',
                             .transpose_b = tb == 'T',
                             .m = m,
                             .n = n,
                             .k = k,
                             .alpha = alpha,
                             .beta = beta,
                             .c = c,
                             .ldc = ldc,
                             .type_c = AIOS_F32};
        tiles_bf16.multiply(&block, cpu_scratch(job->device, w->index));
    }
    if (status != 0) atomic_store(&job->failure, status);
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static uint64_t forward_floats(const aios_attention *a, int narrow)
{
    uint64_t d = (uint64_t)a->head_size, floats = lines(QUERIES * KEYS) + lines(QUERIES * d) + 2 * lines(QUERIES);
    if (narrow) return floats + lines(NARROW_SCORES);
    return a->type == AIOS_F32 ? floats : floats + lines(QUERIES * d) + 2 * lines(KEYS * d);
}

static void forward_unit(const struct worker *worker, int32_t unit, float *workspace)
{
    struct job *job = worker->job;
    const aios_attention *a = job->a;
    const cpu_vector *vector = job->device->vector;
    /* The last queries see the most keys: they come first, so that no long unit is left for the end. */
    int32_t heads = a->batch * a->heads, head = unit % heads, d = a->head_size;
    int32_t q0 = (job->query_blocks - 1 - unit / heads) * QUERIES, q1 = least(q0 + QUERIES, a->q_len), rows = q1 - q0;
    int32_t b = head / a->heads, h = head % a->heads, kv_head = h / (a->heads / a->kv_heads);
    float *s = cut(&workspace, QUERIES * KEYS), *out = cut(&workspace, (uint64_t)QUERIES * (uint64_t)d);
    float *top = cut(&workspace, QUERIES), *sum = cut(&workspace, QUERIES);
    float *wide_q = NULL, *wide_k = NULL, *wide_v = NULL, *narrow = NULL;
    if (job->narrow) {
        narrow = cut(&workspace, NARROW_SCORES);
    } else if (a->type != AIOS_F32) {
        wide_q = cut(&workspace, (uint64_t)QUERIES * (uint64_t)d);
        wide_k = cut(&workspace, (uint64_t)KEYS * (uint64_t)d);
        wide_v = cut(&workspace, (uint64_t)KEYS * (uint64_t)d);
    }
    struct view q = view_of(job, query_row(a, a->q, a->q_stride, b, h, q0), a->q_stride, rows, wide_q);
    int32_t end = keys_seen(job, q1);
    for (int32_t k0 = 0; k0 < end; k0 += KEYS) {
        int32_t k1 = least(k0 + KEYS, end), keys = k1 - k0;
        struct view k = view_of(job, key_row(a, a->k, b, kv_head, k0), a->kv_stride, keys, wide_k);
        struct view v = view_of(job, key_row(a, a->v, b, kv_head, k0), a->kv_stride, keys, wide_v);
        cpu_scores scores = block_scores(job, s, q0, q1, k0, k1);
        multiply(worker, 'N', 'T', rows, keys, d, a->scale, &q, &k, 0.0f, s, KEYS);
        vector->softmax(&scores, top, sum, out, d, d, k0 == 0);
        struct view p = view_of_scores(job, s, rows, keys, narrow);
        multiply(worker, 'N', 'N', rows, d, keys, 1.0f, &p, &v, k0 == 0 ? 0.0f : 1.0f, out, d);
    }
    vector->divide(query_row(a, a->out, a->out_stride, b, h, q0), a->out_stride, out, d, sum, rows, d, a->type);
    vector->log_sum(a->lse + (int64_t)head * a->q_len + q0, top, sum, rows);
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

/* p = softmax, dp = dout v', ds = scale p (dp - delta), dq = ds k, dk = ds' q, dv = p' dout. */

static uint64_t backward_floats(const aios_attention *a, int narrow)
{
    uint64_t d = (uint64_t)a->head_size, all = (uint64_t)a->kv_len * d, floats = 2 * lines(QUERIES * KEYS) + lines(QUERIES);
    if (narrow) return floats + 2 * lines(NARROW_SCORES) + lines(QUERIES * d) + 2 * lines(all);
    return a->type == AIOS_F32 ? floats : floats + 3 * lines(QUERIES * d) + 4 * lines(all);
}

/* What a thread works with for one head of keys. */
struct side {
    int32_t b, kv_head, k0, k1; /* keys */
    float *s, *dp, *delta, *wide_q, *wide_do, *wide_dq, *narrow_s, *narrow_dp;
    struct view k, v;
    float *dk, *dv; /* accumulated here */
    int64_t ld;     /* of dk, dv */
};

static void zero_rows(float *base, int64_t ld, int32_t rows, int32_t n)
{
    for (int32_t r = 0; r < rows; r++) memset(base + r * ld, 0, (size_t)n * sizeof *base);
}

static void open_side(struct job *job, struct side *w, float *workspace)
{
    const aios_attention *a = job->a;
    uint64_t block = (uint64_t)QUERIES * (uint64_t)a->head_size, all = (uint64_t)a->kv_len * (uint64_t)a->head_size;
    int32_t keys = w->k1 - w->k0;
    float *wide_k = NULL, *wide_v = NULL;
    w->s = cut(&workspace, QUERIES * KEYS);
    w->dp = cut(&workspace, QUERIES * KEYS);
    w->delta = cut(&workspace, QUERIES);
    if (job->narrow) {
        w->narrow_s = cut(&workspace, NARROW_SCORES);
        w->narrow_dp = cut(&workspace, NARROW_SCORES);
    } else if (a->type != AIOS_F32) {
        w->wide_q = cut(&workspace, block);
        w->wide_do = cut(&workspace, block);
        wide_k = cut(&workspace, all);
        wide_v = cut(&workspace, all);
    }
    if (a->type != AIOS_F32) {
        w->wide_dq = cut(&workspace, block);
        w->dk = cut(&workspace, all);
        w->dv = cut(&workspace, all);
        w->ld = a->head_size;
    } else {
        w->dk = key_row(a, a->d_k, w->b, w->kv_head, w->k0);
        w->dv = key_row(a, a->d_v, w->b, w->kv_head, w->k0);
        w->ld = a->kv_stride;
    }
    w->k = view_of(job, key_row(a, a->k, w->b, w->kv_head, w->k0), a->kv_stride, keys, wide_k);
    w->v = view_of(job, key_row(a, a->v, w->b, w->kv_head, w->k0), a->kv_stride, keys, wide_v);
    if (job->phase == QUERY_SIDE) return;
    zero_rows(w->dk, w->ld, keys, a->head_size);
    zero_rows(w->dv, w->ld, keys, a->head_size);
}

static void close_side(const struct job *job, const struct side *w)
{
    const aios_attention *a = job->a;
    int32_t keys = w->k1 - w->k0, d = a->head_size;
    if (a->type == AIOS_F32 || job->phase == QUERY_SIDE) return;
    job->device->vector->narrow(key_row(a, a->d_k, w->b, w->kv_head, w->k0), a->kv_stride, w->dk, d, keys, d, a->type);
    job->device->vector->narrow(key_row(a, a->d_v, w->b, w->kv_head, w->k0), a->kv_stride, w->dv, d, keys, d, a->type);
}

/* One block of queries of head h against the keys of the side. */
static void backward_block(const struct worker *worker, const struct side *w, int32_t h, int32_t q0)
{
    struct job *job = worker->job;
    const aios_attention *a = job->a;
    const cpu_vector *vector = job->device->vector;
    int32_t q1 = least(q0 + QUERIES, a->q_len), rows = q1 - q0, d = a->head_size, end = least(w->k1, keys_seen(job, q1));
    int want_dq = job->phase != KEY_SIDE, want_dk = job->phase != QUERY_SIDE;
    if (end <= w->k0 && !want_dq) return;
    const void *dout = query_row(a, a->d_out, a->out_stride, w->b, h, q0);
    struct view q = view_of(job, query_row(a, a->q, a->q_stride, w->b, h, q0), a->q_stride, rows, w->wide_q);
    struct view o = view_of(job, dout, a->out_stride, rows, w->wide_do);
    void *dq_to = query_row(a, a->d_q, a->q_stride, w->b, h, q0);
    float *dq = a->type == AIOS_F32 ? dq_to : w->wide_dq;
    int64_t ld_dq = a->type == AIOS_F32 ? a->q_stride : d;
    const float *lse = a->lse + ((int64_t)w->b * a->heads + h) * a->q_len + q0;
    vector->dots(w->delta, dout, a->out_stride, query_row(a, a->out, a->out_stride, w->b, h, q0), a->out_stride, rows, d, a->type);
    for (int32_t k0 = w->k0; k0 < end; k0 += KEYS) {
        int32_t k1 = least(k0 + KEYS, end), keys = k1 - k0, at = k0 - w->k0;
        struct view k = rows_from(job, &w->k, at), v = rows_from(job, &w->v, at);
        cpu_scores scores = block_scores(job, w->s, q0, q1, k0, k1);
        multiply(worker, 'N', 'T', rows, keys, d, a->scale, &q, &k, 0.0f, w->s, KEYS);
        multiply(worker, 'N', 'T', rows, keys, d, 1.0f, &o, &v, 0.0f, w->dp, KEYS);
        vector->softmax_backward(&scores, w->dp, lse, w->delta, a->scale);
        struct view ds = view_of_scores(job, w->dp, rows, keys, w->narrow_dp);
        if (want_dq) multiply(worker, 'N', 'N', rows, d, keys, 1.0f, &ds, &k, k0 == w->k0 ? 0.0f : 1.0f, dq, ld_dq);
        if (!want_dk) continue;
        struct view p = view_of_scores(job, w->s, rows, keys, w->narrow_s);
        multiply(worker, 'T', 'N', keys, d, rows, 1.0f, &p, &o, 1.0f, w->dv + at * w->ld, w->ld);
        multiply(worker, 'T', 'N', keys, d, rows, 1.0f, &ds, &q, 1.0f, w->dk + at * w->ld, w->ld);
    }
    if (want_dq && a->type != AIOS_F32) vector->narrow(dq_to, a->q_stride, dq, d, rows, d, a->type);
}

/* WHOLE: a head of keys with all that looks at it.  Where there are fewer of those than threads, d_q and then d_k, d_v are made
 * apart, in smaller units and with the scores made twice. */
static void backward_unit(const struct worker *worker, int32_t unit, float *workspace)
{
    struct job *job = worker->job;
    const aios_attention *a = job->a;
    int32_t group = a->heads / a->kv_heads, heads = a->batch * (job->phase == QUERY_SIDE ? a->heads : a->kv_heads);
    int32_t head = unit % heads, block = unit / heads;
    struct side w = {.k0 = 0, .k1 = a->kv_len};
    if (job->phase == QUERY_SIDE) {
        w.b = head / a->heads;
        w.kv_head = head % a->heads / group;
        open_side(job, &w, workspace);
        backward_block(worker, &w, head % a->heads, (job->query_blocks - 1 - block) * QUERIES);
        return;
    }
    w.b = head / a->kv_heads;
    w.kv_head = head % a->kv_heads;
    if (job->phase == KEY_SIDE) {
        w.k0 = block * KEYS;
        w.k1 = least(w.k0 + KEYS, a->kv_len);
    }
    open_side(job, &w, workspace);
    for (int32_t h = w.kv_head * group; h < (w.kv_head + 1) * group; h++)
        for (int32_t q0 = 0; q0 < a->q_len; q0 += QUERIES) backward_block(worker, &w, h, q0);
    close_side(job, &w);
}

/* ---- the group --------------------------------------------------------------------------------------------------- */

static int is_narrow(const cpu_device *device, const aios_attention *a)
{
    return a->type == AIOS_BF16 && device->bf16 != CPU_GEMM_WIDENED;
}

static uint64_t thread_floats(const cpu_device *device, const aios_attention *a, int32_t backward)
{
    int narrow = is_narrow(device, a);
    return backward ? backward_floats(a, narrow) : forward_floats(a, narrow);
}

static uint64_t cpu_workspace_size(void *handle, const aios_attention *shape, int32_t backward)
{
    const cpu_device *device = handle;
    return (thread_floats(device, shape, backward) * (uint64_t)device->threads + LINE) * sizeof(float);
}

static void claim_units(void *user, int index, int count)
{
    struct job *job = user;
    struct worker worker = {job, index};
    int own = job->narrow && job->device->bf16 == CPU_GEMM_TILES;
    onednn_scope before = {0};
    if (!own) before = onednn_enter(&job->device->dnn);
    (void)count;
    for (int32_t unit; (unit = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < job->units;)
        job->unit(&worker, unit, job->workspace + (uint64_t)index * job->per_thread);
    if (!own) onednn_leave(&job->device->dnn, &before);
}

static aios_status run_phase(cpu_device *device, struct job *job, int phase, int32_t units)
{
    const aios_attention *a = job->a;
    job->phase = phase;
    job->units = units;
    atomic_store(&job->next, 0);
    if ((double)a->batch * a->heads * a->q_len * a->kv_len * a->head_size < ALONE_PRODUCTS)
        claim_units(job, 0, 1);
    else
        TRY_QUIET(cpu_run(device, claim_units, job));
    int failure = atomic_load(&job->failure);
    if (failure == 1) return FAIL(AIOS_OUT_OF_MEMORY, "oneDNN has no memory for attention");
    if (failure) return FAIL(AIOS_INTERNAL, "oneDNN refused a product of attention with status %d", failure);
    return AIOS_OK;
}

static aios_status compute(cpu_device *device, const aios_attention *a, int32_t backward)
{
    struct job job = {.device = device, .a = a, .start = a->start ? *a->start : 0};
    job.narrow = is_narrow(device, a);
    if (!job.narrow || device->bf16 == CPU_GEMM_ONEDNN) TRY_QUIET(cpu_need_onednn(device)); /* which may turn out to have no bf16 */
    if (job.narrow && device->bf16 == CPU_GEMM_TILES) TRY_QUIET(cpu_need_scratch(device));
    if (job.start < 0) return FAIL(AIOS_OUT_OF_RANGE, "attention: start is %lld: it must not be negative", (long long)job.start);
    job.per_thread = thread_floats(device, a, backward);
    job.workspace = (float *)a->workspace + (0 - (uintptr_t)a->workspace) % (LINE * sizeof(float)) / sizeof(float);
    job.query_blocks = (a->q_len + QUERIES - 1) / QUERIES;
    job.key_blocks = (a->kv_len + KEYS - 1) / KEYS;
    job.unit = backward ? backward_unit : forward_unit;
    if (!backward) return run_phase(device, &job, WHOLE, a->batch * a->heads * job.query_blocks);
    if (a->batch * a->kv_heads >= device->threads) return run_phase(device, &job, WHOLE, a->batch * a->kv_heads);
    TRY_QUIET(run_phase(device, &job, QUERY_SIDE, a->batch * a->heads * job.query_blocks));
    return run_phase(device, &job, KEY_SIDE, a->batch * a->kv_heads * job.key_blocks);
}

static aios_status run(void *handle, const aios_attention *attention, int32_t backward)
{
    cpu_device *device = handle;
    os_mutex_lock(&device->mutex);
    aios_status status = compute(device, attention, backward);
    os_mutex_unlock(&device->mutex);
    return status;
}

static aios_status cpu_attention_forward(void *handle, void *stream, const aios_attention *attention)
{
    (void)stream;
    return run(handle, attention, 0);
}

static aios_status cpu_attention_backward(void *handle, void *stream, const aios_attention *attention)
{
    (void)stream;
    return run(handle, attention, 1);
}

const aios_attention_group cpu_attention_group = {sizeof cpu_attention_group, 0, cpu_workspace_size, cpu_attention_forward,
                                                  cpu_attention_backward};
