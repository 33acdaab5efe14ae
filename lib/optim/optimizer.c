/* The optimizer: a few launches over the flat buffers of an aios_parameters; its scalars live on the device (step.h). */
#include "optimizer.h"

#include "base/float_scope.h"
#include "gpu/device.h"
#include "graph/parameters.h"
#include "kernels/kernels.h"
#include "kernels/step.h"

#include <string.h>

#define GROUPS     4 /* AIOS_GROUP_…, and the tables of rows: */
#define GROUP_ROWS 3

struct aios_optimizer {
    aios_parameters *parameters;
    aios_optimizer_options options;
    float *control, *state, *hyper, *partial; /* device */
    float *host_control[2];                   /* pinned; written in turn */
    aios_event *copied[2];
    int32_t in_use[2], next;
    int32_t parts;
};

static aios_status alloc(aios_optimizer *o, uint64_t count, float **to)
{
    void *memory;
    TRY_QUIET(aios_device_alloc(o->parameters->device, count * sizeof(float), &memory));
    *to = memory;
    return aios_stream_fill(o->parameters->stream, memory, 0, count * sizeof(float));
}

static aios_status check(const aios_optimizer_options *o)
{
    if (o->kind < AIOS_ADAMW || o->kind > AIOS_SIGN_SGD)
        return FAIL(AIOS_INVALID_ARGUMENT, "optimizer kind is %d: 0 to %d are allowed", o->kind, AIOS_SIGN_SGD);
    if (!(o->beta1 >= 0 && o->beta1 < 1) || !(o->beta2 >= 0 && o->beta2 < 1))
        return FAIL(AIOS_OUT_OF_RANGE, "beta1 is %g and beta2 %g: both must be at least 0 and under 1", o->beta1, o->beta2);
    if (!(o->eps >= 0) || !(o->weight_decay >= 0) || !(o->max_norm >= 0))
        return FAIL(AIOS_OUT_OF_RANGE, "eps is %g, weight_decay %g, max_norm %g: none may be negative", o->eps, o->weight_decay,
                    o->max_norm);
    if (!(o->loss_scale > 0) || o->growth_interval < 0)
        return FAIL(AIOS_OUT_OF_RANGE, "loss_scale is %g and growth_interval %d: the first must be above 0, the second not negative",
                    o->loss_scale, o->growth_interval);
    return AIOS_OK;
}

static uint64_t moment_elements(const aios_parameters *p)
{
    uint64_t n = parameters_is_sharded(p, AIOS_MOMENT1) ? p->owned : p->padded;
    return n ? n : BLOCK;
}

static aios_status first_state(aios_optimizer *o)
{
    float first[STATE_SIZE] = {[STATE_LOSS_SCALE] = (float)o->options.loss_scale, [STATE_FINITE] = 1.0f};
    return aios_optimizer_write_state(o, first, STATE_SIZE);
}

static aios_status prepare(aios_optimizer *o)
{
    aios_parameters *p = o->parameters;
    uint64_t n = moment_elements(p);
    if (o->options.kind != AIOS_SIGN_SGD) {
        TRY(alloc(o, n, &p->moment1), "memory for first moments");
        TRY(alloc(o, n, &p->moment2), "memory for second moments");
    }
    TRY_QUIET(alloc(o, CONTROL_SIZE, &o->control));
    TRY_QUIET(alloc(o, STATE_SIZE, &o->state));
    TRY_QUIET(alloc(o, (uint64_t)STEP_MAX_GROUPS * HYPER_ROW, &o->hyper));
    TRY_QUIET(alloc(o, (uint64_t)o->parts * (p->bucket_count ? p->bucket_count : 1), &o->partial));
    for (int k = 0; k < 2; k++) {
        void *host;
        TRY_QUIET(aios_device_host_alloc(p->device, CONTROL_SIZE * sizeof(float), &host));
        o->host_control[k] = host;
        TRY_QUIET(aios_event_create(p->device, &o->copied[k]));
    }
    return first_state(o);
}

aios_status optimizer_reset(aios_optimizer *o)
{
    aios_parameters *p = o->parameters;
    uint64_t bytes = moment_elements(p) * sizeof(float);
    if (p->moment1) TRY_QUIET(aios_stream_fill(p->stream, p->moment1, 0, bytes));
    if (p->moment2) TRY_QUIET(aios_stream_fill(p->stream, p->moment2, 0, bytes));
    return first_state(o);
}

aios_status aios_optimizer_create(aios_parameters *parameters, const aios_optimizer_options *given, aios_optimizer **optimizer)
{
    FLOAT_SCOPE;
    if (!parameters || !optimizer) return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_create: parameters and optimizer must not be NULL");
    *optimizer = NULL;
    aios_optimizer_options options = AIOS_OPTIMIZER_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_optimizer_options", &options, sizeof options, given));
    TRY_QUIET(check(&options));
    if (!parameters->training) return FAIL(AIOS_WRONG_STATE, "aios_optimizer_create: the parameters were created without training");
    if (parameters->has_optimizer) return FAIL(AIOS_WRONG_STATE, "aios_optimizer_create: the parameters have an optimizer already");
    aios_optimizer *made = aios_new(parameters->context, aios_optimizer);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->parameters = parameters;
    parameters->has_optimizer = 1;
    made->options = options;
    int32_t teams = aios_device_get_info(parameters->device)->teams;
    made->parts = teams > 0 ? teams : 1;
    aios_status status = prepare(made);
    if (status != AIOS_OK) {
        aios_optimizer_destroy(made);
        return aios_error_add_frame(status, "making an optimizer");
    }
    *optimizer = made;
    return AIOS_OK;
}

void aios_optimizer_destroy(aios_optimizer *o)
{
    if (!o) return;
    aios_parameters *p = o->parameters;
    (void)aios_stream_synchronize(p->stream);
    for (int k = 0; k < 2; k++) {
        aios_event_destroy(o->copied[k]);
        aios_device_host_free(p->device, o->host_control[k]);
    }
    aios_device_free(p->device, o->control);
    aios_device_free(p->device, o->state);
    aios_device_free(p->device, o->hyper);
    aios_device_free(p->device, o->partial);
    aios_device_free(p->device, p->moment1);
    aios_device_free(p->device, p->moment2);
    p->moment1 = p->moment2 = NULL;
    p->has_optimizer = 0;
    aios_memory_free(p->context, o);
}

aios_status aios_optimizer_begin(aios_optimizer *o, double lr, double weight)
{
    FLOAT_SCOPE;
    if (!o) return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_begin: optimizer is NULL");
    if (!(lr >= 0) || !(weight > 0))
        return FAIL(AIOS_OUT_OF_RANGE, "aios_optimizer_begin: lr is %g and weight %g: lr must not be negative, weight above 0", lr, weight);
    aios_parameters *p = o->parameters;
    int slot = o->next;
    if (o->in_use[slot]) TRY_QUIET(aios_event_synchronize(o->copied[slot]));
    float *c = o->host_control[slot];
    memset(c, 0, CONTROL_SIZE * sizeof *c);
    c[CONTROL_LR] = (float)lr;
    c[CONTROL_MAX_NORM] = (float)o->options.max_norm;
    c[CONTROL_GROWTH_INTERVAL] = (float)o->options.growth_interval;
    c[CONTROL_GROWTH] = 2.0f;
    c[CONTROL_BACKOFF] = 0.5f;
    c[CONTROL_INVERSE_TOKENS] = (float)(1.0 / weight);
    for (int g = 0; g < GROUPS; g++) {
        float *row = c + CONTROL_GROUPS + g * CONTROL_ROW;
        row[GROUP_LR_FACTOR] = 1.0f;
        row[GROUP_BETA1] = (float)o->options.beta1;
        row[GROUP_BETA2] = (float)o->options.beta2;
        row[GROUP_EPS] = (float)o->options.eps;
        row[GROUP_WEIGHT_DECAY] = g == AIOS_GROUP_DECAY ? (float)o->options.weight_decay : 0.0f;
        if (g == AIOS_GROUP_FROZEN) row[GROUP_LR_FACTOR] = 0.0f;
        if (g == GROUP_ROWS) {
            row[GROUP_LR_FACTOR] = (float)o->options.rows_lr_factor;
            row[GROUP_WEIGHT_DECAY] = (float)o->options.rows_weight_decay;
        }
        row[GROUP_ONE_MINUS_BETA1] = (float)(1.0 - o->options.beta1);
        row[GROUP_ONE_MINUS_BETA2] = (float)(1.0 - o->options.beta2);
    }
    TRY_QUIET(aios_stream_copy(p->stream, o->control, c, CONTROL_SIZE * sizeof *c, AIOS_COPY_HOST_TO_DEVICE));
    TRY_QUIET(aios_event_record(o->copied[slot], p->stream));
    o->in_use[slot] = 1;
    o->next = 1 - slot;
    TRY_QUIET(parameters_forget_rows(p));
    uint64_t gradients = parameters_is_sharded(p, AIOS_GRADIENT) ? p->owned : p->padded;
    if (gradients) TRY_QUIET(aios_stream_fill(p->stream, p->gradient, 0, gradients * sizeof(float)));
    return launch_step_begin(p->stream, AIOS_F32, 1, p->scale, o->state, o->control);
}

/* From the partial sums of squares: norm, clipping, finite check, corrections. */
static aios_status prepare_update(aios_optimizer *o, int32_t parts)
{
    return launch_step_prepare(o->parameters->stream, AIOS_F32, 1, o->state, o->hyper, o->control, o->partial, parts, GROUPS);
}

/* Where a run of blocks lies in each flat buffer. */
struct range {
    float *master, *gradient, *m, *v;
    void *weight;
    int32_t *group;
    int32_t blocks;
};

static aios_status update(aios_optimizer *o, const struct range *r)
{
    aios_parameters *p = o->parameters;
    if (r->blocks == 0) return AIOS_OK;
    switch (o->options.kind) {
    case AIOS_ADAMW:
        return launch_adamw(p->stream, p->storage, 0, r->master, r->m, r->v, r->weight, r->gradient, o->hyper, r->group, r->blocks);
    case AIOS_ADAM_ATAN2:
        return launch_adam_atan2(p->stream, p->storage, 0, r->master, r->m, r->v, r->weight, r->gradient, o->hyper, r->group, r->blocks);
    default: return launch_sign_sgd(p->stream, p->storage, 0, r->master, r->weight, r->gradient, o->hyper, r->group, r->blocks);
    }
}

/* Elements [first, first + count) of buffers that are whole. */
static aios_status update_whole(aios_optimizer *o, uint64_t first, uint64_t count)
{
    aios_parameters *p = o->parameters;
    return update(o, &(struct range){p->master + first, p->gradient + first, p->moment1 ? p->moment1 + first : NULL,
                                     p->moment2 ? p->moment2 + first : NULL, (char *)p->weight + first * storage_size(p->storage),
                                     p->group + first / BLOCK, (int32_t)(count / BLOCK)});
}

/* The rows that the step's runs used; no run, nothing to do. */
static aios_status update_tables(aios_optimizer *o)
{
    aios_parameters *p = o->parameters;
    for (size_t i = 0; i < p->count; i++) {
        const struct parameter *x = &p->list[i];
        int kept = x->kept_room > 0;
        if (!x->is_table || (!kept && !p->table_runs)) continue;
        TRY_QUIET(launch_sign_sgd_rows(p->stream, AIOS_F32, 0, x->table, kept ? x->kept_gradient : x->rows_gradient,
                                       kept ? x->kept_ids : x->rows_ids, o->hyper + GROUP_ROWS * HYPER_ROW,
                                       kept ? x->kept_room : x->rows_most, x->shape[1]));
    }
    return AIOS_OK;
}

aios_status aios_optimizer_step(aios_optimizer *o)
{
    FLOAT_SCOPE;
    if (!o) return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_step: optimizer is NULL");
    aios_parameters *p = o->parameters;
    int32_t blocks = (int32_t)(p->padded / BLOCK);
    TRY_QUIET(launch_sum_squares_partial(p->stream, AIOS_F32, 0, o->partial, p->gradient, blocks, o->parts));
    TRY_QUIET(prepare_update(o, o->parts));
    TRY_QUIET(update_whole(o, 0, p->padded));
    return update_tables(o);
}

/* Of the first `count` partial sums on the device; waits. */
static aios_status fetch_sum(aios_optimizer *o, uint64_t count, double *sum)
{
    aios_parameters *p = o->parameters;
    float *partial = aios_memory_array(p->context, (size_t)count, sizeof *partial);
    if (!partial) return AIOS_OUT_OF_MEMORY;
    aios_status status = stream_fetch(p->stream, partial, o->partial, count * sizeof *partial);
    for (uint64_t i = 0; status == AIOS_OK && i < count; i++) *sum += (double)partial[i];
    aios_memory_free(p->context, partial);
    return status;
}

aios_status optimizer_sum_squares(aios_optimizer *o, uint64_t first, uint64_t count, double *squares)
{
    aios_parameters *p = o->parameters;
    *squares = 0;
    if (count == 0) return AIOS_OK;
    TRY_QUIET(launch_sum_squares_partial(p->stream, AIOS_F32, 0, o->partial, p->gradient + first, (int32_t)(count / BLOCK), o->parts));
    return fetch_sum(o, (uint64_t)o->parts, squares);
}

aios_status optimizer_sum_squares_owned(aios_optimizer *o, double *squares)
{
    aios_parameters *p = o->parameters;
    uint64_t rows = 0, parts = (uint64_t)o->parts;
    *squares = 0;
    for (size_t i = 0; i < p->bucket_count; i++) {
        const struct bucket *b = &p->buckets[i];
        if (b->own_count == 0) continue;
        TRY_QUIET(launch_sum_squares_partial(p->stream, AIOS_F32, 0, o->partial + rows++ * parts, parameters_own(p, AIOS_GRADIENT, b),
                                             (int32_t)(b->own_count / BLOCK), o->parts));
    }
    return rows ? fetch_sum(o, rows * parts, squares) : AIOS_OK;
}

static aios_status write_sum(aios_optimizer *o, double squares)
{
    float total = (float)squares;
    aios_parameters *p = o->parameters;
    TRY_QUIET(aios_stream_copy(p->stream, o->partial, &total, sizeof total, AIOS_COPY_HOST_TO_DEVICE));
    TRY_QUIET(aios_stream_synchronize(p->stream)); /* total is this call's */
    return prepare_update(o, 1);
}

aios_status optimizer_update(aios_optimizer *o, double squares, uint64_t first, uint64_t count)
{
    TRY_QUIET(write_sum(o, squares));
    TRY_QUIET(update_whole(o, first, count));
    return update_tables(o);
}

aios_status optimizer_update_owned(aios_optimizer *o, double squares)
{
    aios_parameters *p = o->parameters;
    TRY_QUIET(write_sum(o, squares));
    for (size_t i = 0; i < p->bucket_count; i++) {
        const struct bucket *b = &p->buckets[i];
        TRY_QUIET(
            update(o, &(struct range){parameters_own(p, AIOS_VALUE, b), parameters_own(p, AIOS_GRADIENT, b),
                                      parameters_own(p, AIOS_MOMENT1, b), parameters_own(p, AIOS_MOMENT2, b), parameters_own_weight(p, b),
                                      p->group + b->own_first / BLOCK, (int32_t)(b->own_count / BLOCK)}));
    }
    return update_tables(o);
}

uint32_t aios_optimizer_state_count(void)
{
    return STATE_SIZE;
}

aios_status aios_optimizer_read_state(aios_optimizer *o, float *to, uint32_t count)
{
    if (!o || !to || count != STATE_SIZE)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_read_state: %u numbers asked, there are %d", count, STATE_SIZE);
    return stream_fetch(o->parameters->stream, to, o->state, STATE_SIZE * sizeof *to);
}

aios_status aios_optimizer_write_state(aios_optimizer *o, const float *from, uint32_t count)
{
    if (!o || !from || count != STATE_SIZE)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_write_state: %u numbers given, there are %d", count, STATE_SIZE);
    TRY_QUIET(aios_stream_copy(o->parameters->stream, o->state, from, STATE_SIZE * sizeof *from, AIOS_COPY_HOST_TO_DEVICE));
    return aios_stream_synchronize(o->parameters->stream);
}

aios_status aios_optimizer_result(aios_optimizer *o, aios_step_result *result)
{
    FLOAT_SCOPE;
    float s[STATE_SIZE];
    if (!o || !result) return FAIL(AIOS_INVALID_ARGUMENT, "aios_optimizer_result: optimizer and result must not be NULL");
    TRY_QUIET(aios_optimizer_read_state(o, s, STATE_SIZE));
    aios_step_result filled = {sizeof filled,
                               s[STATE_FINITE] != 0.0f,
                               (double)s[STATE_NORM],
                               (double)s[STATE_LOSS_SCALE],
                               (double)s[STATE_SKIPPED],
                               (double)s[STATE_SKIPPED_ROW]};
    return aios_struct_write("aios_step_result", result, &filled, sizeof filled);
}
