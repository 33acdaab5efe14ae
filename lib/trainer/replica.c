#include "replica.h"

#include "balance.h"
#include "graph/parameters.h"
#include "optim/optimizer.h"
#include "setup.h"

#include "base/checksum.h"
#include "base/os.h"
#include "gpu/device.h"

#include <stdio.h>
#include <string.h>

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static aios_status open_one(struct replicas *all, const char *spec)
{
    struct replica *r = &all->list[all->count];
    *r = (struct replica){.all = all, .rank = all->count, .held = -1};
    TRY_QUIET(setup_device(all->context, spec, all->settings->precision, &r->device));
    all->count++;
    return caps_check(r->device, all->settings);
}

static aios_status open_all(struct replicas *all, const aios_hardware *hardware)
{
    uint32_t count = aios_hardware_device_count(hardware);
    if (count > REPLICAS_MOST) return FAIL(AIOS_OUT_OF_RANGE, "%u devices are selected: at most %d train together", count, REPLICAS_MOST);
    for (uint32_t i = 0; i < count; i++) TRY_QUIET(open_one(all, aios_hardware_device(hardware, i)->spec));
    return AIOS_OK;
}

aios_status replicas_open(struct replicas *all, aios_context *context, const struct settings *settings)
{
    const char *option = *settings->devices ? "devices" : "device", *selection = *settings->devices ? settings->devices : settings->device;
    aios_hardware *hardware;
    *all = (struct replicas){.context = context, .settings = settings, .independent = settings->strategy == STRATEGY_INDEPENDENT};
    all->list = aios_memory_array(context, REPLICAS_MOST, sizeof *all->list);
    if (!all->list) return AIOS_OUT_OF_MEMORY;
    if (!*settings->devices && strcmp(selection, "auto") != 0) return open_one(all, selection); /* with no look at the others */
    TRY(setup_hardware(context, selection, settings->precision, settings->strategy, settings->keep_cpu != 0, &hardware), "option %s",
        option);
    aios_status status = open_all(all, hardware);
    if (strcmp(aios_hardware_strategy(hardware), "parallel_independent") == 0) all->independent = 1;
    aios_hardware_destroy(hardware);
    return status;
}

aios_status replicas_name(const struct replicas *all, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < all->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "", aios_device_spec(all->list[i].device));
    return used < size ? AIOS_OK : FAIL(AIOS_OUT_OF_RANGE, "the devices' names have over %zu bytes", size);
}

/* ---- memory and plans -------------------------------------------------------------------------------------------- */

static aios_status make_optimizer(struct replica *r)
{
    const struct settings *s = r->all->settings;
    aios_optimizer_options o = AIOS_OPTIMIZER_OPTIONS_INIT;
    o.kind = (int32_t)s->optimizer;
    o.beta1 = s->beta1;
    o.beta2 = s->beta2;
    o.eps = s->adam_eps;
    o.weight_decay = s->weight_decay;
    o.max_norm = s->grad_clip;
    if (s->precision == AIOS_PRECISION_16_MIXED) {
        o.loss_scale = s->loss_scale;
        o.growth_interval = (int32_t)s->growth_interval;
    }
    return aios_optimizer_create(r->parameters, &o, &r->optimizer);
}

static aios_status make_plan_of(struct replica *r, const aios_model *model)
{
    const struct settings *s = r->all->settings;
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_plan_options plan = AIOS_PLAN_OPTIONS_INIT;
    aios_graph *graph = NULL;
    aios_status status = AIOS_OK;
    parameters.precision = (int32_t)s->precision;
    plan.training = 1;
    plan.gradient_checkpointing = s->gradient_checkpointing != 0;
    ATTEMPT_QUIET(setup_graph(r->all->context, model, AIOS_MODEL_TRAIN, r->batch, r->all->sequence, &graph));
    if (!r->parameters) ATTEMPT_QUIET(aios_parameters_create(r->device, graph, &parameters, &r->parameters));
    if (!r->optimizer) ATTEMPT_QUIET(make_optimizer(r));
    ATTEMPT_QUIET(aios_plan_create(graph, r->parameters, &plan, &r->plan));
    ATTEMPT_QUIET(caps_check_memory(r->device, s));
done:
    aios_graph_destroy(graph);
    return status;
}

/* The largest smaller micro-batch that deals the same samples. */
static int64_t smaller_batch(int64_t batch)
{
    int64_t smaller = batch / 2;
    while (smaller > 1 && batch % smaller) smaller--;
    return smaller;
}

/* A device that has no memory for a micro-batch takes smaller ones: their gradients add up to the same. */
static aios_status make_plan(struct replica *r, const aios_model *model)
{
    aios_status status;
    TRY_QUIET(aios_device_set_current(r->device));
    r->batch = r->all->settings->batch_size;
    while ((status = make_plan_of(r, model)) == AIOS_DEVICE_OUT_OF_MEMORY && r->parameters && r->optimizer && r->batch > 1) {
        aios_plan_destroy(r->plan);
        r->plan = NULL;
        r->batch = smaller_batch(r->batch);
    }
    return status;
}

/* Cuts the step's samples into the replicas' shares, in their order. */
static void set_shares(struct replicas *all, const int64_t *micro_batches)
{
    int64_t first = 0;
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        r->first = first;
        r->count = micro_batches[i] * all->settings->batch_size;
        first += r->count;
    }
}

static aios_status choose_shares(struct replicas *all)
{
    const struct settings *s = all->settings;
    double weights[REPLICAS_MOST];
    int64_t shares[REPLICAS_MOST];
    if (all->independent) {
        if (s->balance != BALANCE_EVEN)
            return FAIL(AIOS_INVALID_ARGUMENT, "balance deals the micro-batches of one step to devices, which strategy ddp has: in "
                                               "parallel-independent a fast device takes more chunks by itself");
        for (int i = 0; i < all->count; i++) all->list[i].room = all->step_samples;
        return AIOS_OK;
    }
    for (int i = 0; i < all->count; i++) weights[i] = 1;
    if (s->balance == BALANCE_WEIGHTS) TRY_QUIET(balance_parse(s->device_weights, all->count, weights));
    if (s->balance != BALANCE_WEIGHTS && *s->device_weights)
        return FAIL(AIOS_INVALID_ARGUMENT, "device-weights is \"%s\", which balance weights alone reads: set balance too",
                    s->device_weights);
    balance_deal(weights, all->count, s->accumulation * all->count, shares);
    set_shares(all, shares);
    for (int i = 0; i < all->count; i++) /* what measuring may give it: all but one for each of the others */
        all->list[i].room = s->balance == BALANCE_MEASURED ? all->step_samples - (all->count - 1) * s->batch_size : all->list[i].count;
    return AIOS_OK;
}

static aios_status make_share(struct replica *r)
{
    struct replicas *all = r->all;
    size_t count = (size_t)r->room * (size_t)all->sequence; /* below 2^53 */
    r->tokens = aios_memory_array(all->context, count, sizeof *r->tokens);
    r->labels = aios_memory_array(all->context, count, sizeof *r->labels);
    if (r->tokens && r->labels) return AIOS_OK;
    return aios_error_add_frame(AIOS_OUT_OF_MEMORY, "the samples of a step: batch-size %lld x gradient-accumulation-steps %lld x %d tokens",
                                (long long)all->settings->batch_size, (long long)all->settings->accumulation, all->sequence);
}

/* Even parts of the flat buffers, on whole blocks. */
static aios_status make_group(struct replicas *all)
{
    comm_options options = {.ranks = all->count, .deadline = all->settings->step_deadline};
    uint64_t blocks = all->list[0].parameters->padded / BLOCK;
    TRY_QUIET(comm_group_create(all->context, &options, &all->group));
    all->parts = aios_memory_array(all->context, (size_t)all->count + 1, sizeof *all->parts);
    if (!all->parts) return AIOS_OUT_OF_MEMORY;
    for (int i = 0; i <= all->count; i++) all->parts[i] = blocks * (uint64_t)i / (uint64_t)all->count * BLOCK;
    for (int i = 0; i < all->count; i++)
        TRY_QUIET(comm_join(all->group, i, aios_device_spec(all->list[i].device), all->list[i].parameters->stream, &all->list[i].comm));
    return pool_create(all->context, all->count, NULL, &all->crew);
}

aios_status replicas_prepare(struct replicas *all, const aios_model *model, const struct batches *batches, int32_t sequence)
{
    const struct settings *s = all->settings;
    all->batches = batches;
    all->sequence = sequence;
    all->step_samples = s->batch_size * s->accumulation * (all->independent ? 1 : all->count);
    TRY_QUIET(choose_shares(all));
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        TRY_QUIET(make_share(r));
        TRY(make_plan(r, model), "a plan for batch-size %lld and %d tokens on %s", (long long)s->batch_size, sequence,
            aios_device_spec(r->device));
    }
    return all->count > 1 && !all->independent ? make_group(all) : AIOS_OK;
}

static void close_one(struct replica *r)
{
    comm_leave(r->comm);
    aios_optimizer_destroy(r->optimizer);
    aios_plan_destroy(r->plan);
    aios_parameters_destroy(r->parameters);
    aios_device_close(r->device);
    aios_memory_free(r->all->context, r->tokens);
    aios_memory_free(r->all->context, r->labels);
}

void replicas_close_joined(struct replicas *all)
{
    for (int i = 0; i < all->count; i++)
        if (!all->list[i].orphan) close_one(&all->list[i]);
}

void replicas_close(struct replicas *all)
{
    if (!all->context) return;
    pool_destroy(all->crew);
    for (int i = 0; i < all->count; i++) close_one(&all->list[i]);
    comm_group_destroy(all->group);
    aios_memory_free(all->context, all->parts);
    aios_memory_free(all->context, all->list);
    *all = (struct replicas){.context = NULL};
}

/* ---- a replica's flat buffers and the host ------------------------------------------------------------------------ */

float *replica_buffer(const struct replica *r, int buffer)
{
    float *const buffers[REPLICA_BUFFERS] = {r->parameters->master, r->parameters->moment1, r->parameters->moment2};
    return buffers[buffer];
}

aios_status replica_read(struct replica *r, int buffer, float *values)
{
    aios_parameters *p = r->parameters;
    TRY_QUIET(aios_device_set_current(r->device));
    return stream_fetch(p->stream, values, replica_buffer(r, buffer), p->padded * sizeof(float));
}

aios_status replica_write(struct replica *r, int buffer, const float *values)
{
    aios_parameters *p = r->parameters;
    TRY_QUIET(aios_device_set_current(r->device));
    TRY_QUIET(aios_stream_copy(p->stream, replica_buffer(r, buffer), values, p->padded * sizeof(float), AIOS_COPY_HOST_TO_DEVICE));
    TRY_QUIET(aios_stream_synchronize(p->stream));
    return buffer == 0 ? parameters_refresh(r->parameters, 0, r->parameters->padded) : AIOS_OK;
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

struct together {
    struct replicas *all;
    aios_status (*run)(struct replica *r);
};

static void run_one(void *user, int index, int count)
{
    struct together *x = user;
    struct replica *r = &x->all->list[index];
    (void)count;
    r->status = aios_device_set_current(r->device);
    if (r->status == AIOS_OK) r->status = x->run(r);
    if (r->status == AIOS_OK) return;
    if (r->comm) {
        char message[512];
        (void)snprintf(message, sizeof message, "rank %d (%s): %s", r->rank, aios_device_spec(r->device), aios_error_message());
        comm_abort(r->comm, r->status, message); /* nothing where the group is broken already */
    }
    aios_error_save(&r->error);
}

/* Every replica on its own thread, the leader on this one.  Whatever failed first is in every record. */
static aios_status run_together(struct replicas *all, aios_status (*run)(struct replica *))
{
    struct together x = {all, run};
    if (all->count == 1)
        run_one(&x, 0, 1);
    else
        pool_run(all->crew, run_one, &x);
    for (int i = 0; i < all->count; i++)
        if (all->list[i].status != AIOS_OK) return aios_error_restore(&all->list[i].error);
    return AIOS_OK;
}

/* Everything outside the replica's own part came from the others. */
static aios_status refresh_others(struct replica *r)
{
    const uint64_t *parts = r->all->parts;
    TRY_QUIET(parameters_refresh(r->parameters, 0, parts[r->rank]));
    return parameters_refresh(r->parameters, parts[r->rank + 1], r->parameters->padded - parts[r->rank + 1]);
}

static aios_status spread_one(struct replica *r)
{
    aios_parameters *p = r->parameters;
    float state[64];
    double numbers[COMM_NUMBERS_MOST] = {0};
    uint32_t count = aios_optimizer_state_count();
    TRY_QUIET(comm_broadcast(r->comm, p->master, p->padded, 0));
    if (p->moment1) TRY_QUIET(comm_broadcast(r->comm, p->moment1, p->padded, 0));
    if (p->moment2) TRY_QUIET(comm_broadcast(r->comm, p->moment2, p->padded, 0));
    TRY_QUIET(aios_optimizer_read_state(r->optimizer, state, count));
    for (uint32_t i = 0; i < count && r->rank == 0; i++) numbers[i] = (double)state[i];
    TRY_QUIET(comm_sum_numbers(r->comm, numbers, (int)count)); /* the others' are 0 */
    for (uint32_t i = 0; i < count; i++) state[i] = (float)numbers[i];
    TRY_QUIET(aios_optimizer_write_state(r->optimizer, state, count));
    return parameters_refresh(p, 0, p->padded);
}

#define VERIFY_BYTES ((uint64_t)4 << 20) /* that come to the host at a time */

static aios_status checksum_weights(struct replica *r, checksum *weights)
{
    const aios_parameters *p = r->parameters;
    uint64_t bytes = p->padded * sizeof(float);
    aios_status status = AIOS_OK;
    void *piece;
    TRY_QUIET(aios_device_host_alloc(r->device, VERIFY_BYTES, &piece));
    for (uint64_t at = 0; at < bytes; at += VERIFY_BYTES) {
        uint64_t size = bytes - at < VERIFY_BYTES ? bytes - at : VERIFY_BYTES;
        ATTEMPT_QUIET(aios_stream_copy(p->stream, piece, (const char *)p->master + at, size, AIOS_COPY_DEVICE_TO_HOST));
        ATTEMPT_QUIET(aios_stream_synchronize(p->stream));
        checksum_add(weights, piece, size);
    }
done:
    aios_device_host_free(r->device, piece);
    return status;
}

static aios_status verify_one(struct replica *r)
{
    double crcs[REPLICAS_MOST] = {0};
    checksum own = CHECKSUM_INIT;
    TRY_QUIET(checksum_weights(r, &own));
    crcs[r->rank] = own.crc;
    TRY_QUIET(comm_sum_numbers(r->comm, crcs, r->all->count));
    for (int i = 1; i < r->all->count; i++)
        if (crcs[i] != crcs[0])
            return FAIL(AIOS_DEVICE_ERROR, "the weights of replica %d (%s) are no longer those of replica 0 (%s): checksums %08x and %08x",
                        i, aios_device_spec(r->all->list[i].device), aios_device_spec(r->all->list[0].device), (unsigned)crcs[i],
                        (unsigned)crcs[0]);
    return AIOS_OK;
}

aios_status replicas_verify(struct replicas *all)
{
    return all->group ? run_together(all, verify_one) : AIOS_OK;
}

/* Through host memory: replicas that train on their own have no communicators. */
static aios_status spread_by_host(struct replicas *all)
{
    float state[64];
    aios_status status = AIOS_OK;
    uint32_t numbers = aios_optimizer_state_count();
    uint64_t count = all->list[0].parameters->padded;
    float *values = aios_memory_array(all->context, count, sizeof *values);
    if (!values) return AIOS_OUT_OF_MEMORY;
    ATTEMPT_QUIET(aios_optimizer_read_state(all->list[0].optimizer, state, numbers));
    for (int i = 1; i < all->count; i++) ATTEMPT_QUIET(aios_optimizer_write_state(all->list[i].optimizer, state, numbers));
    for (int b = 0; b < REPLICA_BUFFERS; b++) {
        if (!replica_buffer(&all->list[0], b)) continue;
        ATTEMPT_QUIET(replica_read(&all->list[0], b, values));
        for (int i = 1; i < all->count; i++) ATTEMPT_QUIET(replica_write(&all->list[i], b, values));
    }
done:
    aios_memory_free(all->context, values);
    return status;
}

aios_status replicas_spread(struct replicas *all)
{
    if (all->count == 1) return AIOS_OK;
    if (all->independent) return spread_by_host(all);
    TRY_QUIET(run_together(all, spread_one));
    return run_together(all, verify_one);
}

static aios_status gather_one(struct replica *r)
{
    if (r->parameters->moment1) TRY_QUIET(comm_all_gather(r->comm, r->parameters->moment1, r->all->parts));
    if (r->parameters->moment2) TRY_QUIET(comm_all_gather(r->comm, r->parameters->moment2, r->all->parts));
    return aios_stream_synchronize(r->parameters->stream);
}

aios_status replicas_gather_moments(struct replicas *all)
{
    return all->group ? run_together(all, gather_one) : AIOS_OK;
}

#define PAUSE_SECONDS 0.02 /* between looks at whether to wait on */

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Samples [first, first + count) of the running order, unless they are here already.  Rows without labels fill the last micro-batch. */
static aios_status read_samples(struct replica *r, int64_t first, int64_t count)
{
    int64_t rows = (count + r->batch - 1) / r->batch * r->batch, sequence = r->all->sequence;
    if (r->held == first && r->held_count == count) return AIOS_OK;
    r->held = -1;
    TRY_QUIET(batches_read_train(r->all->batches, first, count, r->tokens, r->labels));
    batches_fill(r->tokens + count * sequence, r->labels + count * sequence, (rows - count) * sequence);
    r->held = first;
    r->held_count = count;
    return AIOS_OK;
}

static aios_status read_share(struct replica *r, int64_t step_first)
{
    return read_samples(r, step_first + r->first, r->count);
}

/* The sums over all replicas. */
static aios_status sum(struct replica *r, double *values, int count)
{
    return r->comm ? comm_sum_numbers(r->comm, values, count) : AIOS_OK;
}

/* Of the samples in memory.  stop may be NULL; it is asked between micro-batches: 1 leaves off, with *left_off 1. */
static aios_status run_micro_batches(struct replica *r, int (*stop)(void *user), void *user, int *left_off)
{
    int64_t size = r->batch * r->all->sequence, batches = (r->held_count + r->batch - 1) / r->batch;
    uint64_t bytes = (uint64_t)size * sizeof *r->tokens;
    double began = os_now();
    *left_off = 0;
    for (int64_t m = 0; m < batches && !*left_off; m++) {
        TRY_QUIET(aios_plan_write(r->plan, "tokens", r->tokens + m * size, bytes));
        TRY_QUIET(aios_plan_write(r->plan, "labels", r->labels + m * size, bytes));
        TRY_QUIET(aios_plan_run(r->plan));
        if (m + 1 < batches && stop && stop(user)) *left_off = 1;
    }
    if (r->all->settings->balance == BALANCE_MEASURED && r->comm) TRY_QUIET(aios_stream_synchronize(r->parameters->stream));
    r->seconds = os_now() - began;
    return AIOS_OK;
}

/* Pauses for as long as a cap asks.  job->stop ends the pause. */
static void keep_caps(struct replica *r, double seconds, int (*stop)(void *user), void *user)
{
    const struct settings *s = r->all->settings;
    caps_begin_pause(&r->pause, s, seconds);
    while (caps_must_wait(&r->pause, r->all->context, r->device, s) && !(stop && stop(user))) os_sleep(PAUSE_SECONDS);
}

/* Gradients of all, an optimizer for each part, weights for all. */
static aios_status update_parts(struct replica *r)
{
    aios_parameters *p = r->parameters;
    const uint64_t *parts = r->all->parts;
    uint64_t first = parts[r->rank], count = parts[r->rank + 1] - first;
    double squares;
    TRY_QUIET(comm_reduce_scatter(r->comm, p->gradient, parts));
    TRY_QUIET(optimizer_sum_squares(r->optimizer, first, count, &squares));
    TRY_QUIET(sum(r, &squares, 1));
    TRY_QUIET(optimizer_update(r->optimizer, squares, first, count));
    TRY_QUIET(comm_all_gather(r->comm, p->master, parts));
    return refresh_others(r);
}

/* Replica 0 asks for all; the others look whether it was told to stop. */
static int is_abandoned(void *user)
{
    struct replica *r = user;
    const struct step_job *job = &r->all->job;
    if (r->rank == 0 && job->stop && job->stop(job->user)) atomic_store(&r->all->abandon, 1);
    return atomic_load(&r->all->abandon);
}

static aios_status no_labels(const struct replica *r)
{
    return FAIL(AIOS_INVALID_ARGUMENT, "the samples of the step have no token to predict: %s is too short", r->all->settings->dataset_file);
}

static aios_status step_one(struct replica *r)
{
    double began = os_now();
    struct replicas *all = r->all;
    const struct step_job *job = &all->job;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    aios_step_result result = {.struct_size = sizeof result};
    int left_off;
    TRY_QUIET(read_share(r, job->first_sample));
    double weight = (double)batches_count_labels(r->labels, r->count * all->sequence);
    r->trained_tokens = (int64_t)weight;
    TRY_QUIET(sum(r, &weight, 1));
    if (weight == 0) return no_labels(r);
    TRY_QUIET(aios_optimizer_begin(r->optimizer, job->rate, weight));
    TRY_QUIET(run_micro_batches(r, is_abandoned, r, &left_off));
    double abandoned = atomic_load(&all->abandon); /* it may have come between two replicas' looks: all must do the same */
    TRY_QUIET(sum(r, &abandoned, 1));
    if (abandoned == 0) TRY_QUIET(r->comm ? update_parts(r) : aios_optimizer_step(r->optimizer));
    /* The device works: time to read what the next step needs.  If that fails, the next step says so itself. */
    if (abandoned == 0 && job->next_sample >= 0) (void)read_share(r, job->next_sample);
    TRY_QUIET(aios_plan_losses(r->plan, &sums, 1));
    TRY_QUIET(aios_optimizer_result(r->optimizer, &result));
    TRY_QUIET(sum(r, &sums.loss, 1));
    if (r->rank == 0) all->outcome = (struct step_outcome){abandoned != 0, (int64_t)weight, sums.loss / weight, result};
    keep_caps(r, os_now() - began, r->rank == 0 ? job->stop : NULL, job->user);
    return AIOS_OK;
}

aios_status replica_step_alone(struct replica *r, const struct step_job *job, int64_t count, int64_t next_count,
                               struct step_outcome *outcome)
{
    aios_loss_sums sums = {.struct_size = sizeof sums};
    aios_step_result result = {.struct_size = sizeof result};
    double began = os_now();
    int left_off;
    TRY_QUIET(read_samples(r, job->first_sample, count));
    double weight = (double)batches_count_labels(r->labels, count * r->all->sequence);
    if (weight == 0) return no_labels(r);
    TRY_QUIET(aios_optimizer_begin(r->optimizer, job->rate, weight));
    TRY_QUIET(run_micro_batches(r, job->stop, job->user, &left_off));
    if (!left_off) TRY_QUIET(aios_optimizer_step(r->optimizer));
    if (!left_off && next_count > 0) (void)read_samples(r, job->next_sample, next_count);
    TRY_QUIET(aios_plan_losses(r->plan, &sums, 1));
    TRY_QUIET(aios_optimizer_result(r->optimizer, &result));
    *outcome = (struct step_outcome){left_off, (int64_t)weight, sums.loss / weight, result};
    keep_caps(r, os_now() - began, job->stop, job->user);
    return AIOS_OK;
}

/* Shares for the speeds that the devices have shown, where that saves a twentieth of the step. */
static void rebalance(struct replicas *all)
{
    double speeds[REPLICAS_MOST];
    int64_t now[REPLICAS_MOST], better[REPLICAS_MOST];
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        now[i] = r->count / all->settings->batch_size;
        if (now[i] == 0 || !(r->seconds > 0)) return; /* fewer micro-batches than devices: nothing to deal */
        double speed = (double)now[i] / r->seconds;
        r->speed = r->speed > 0 ? 0.5 * r->speed + 0.5 * speed : speed;
        speeds[i] = r->speed;
    }
    balance_deal(speeds, all->count, all->settings->accumulation * all->count, better);
    if (balance_time(speeds, better, all->count) >= 0.95 * balance_time(speeds, now, all->count)) return;
    set_shares(all, better);
    all->rebalanced = 1;
}

aios_status replicas_step(struct replicas *all, const struct step_job *job, struct step_outcome *outcome)
{
    all->job = *job;
    all->rebalanced = 0;
    atomic_store(&all->abandon, 0);
    TRY_QUIET(run_together(all, step_one));
    *outcome = all->outcome;
    /* The first step pays for what is made at first use. */
    if (!outcome->abandoned && all->steps++ > 0 && all->settings->balance == BALANCE_MEASURED && all->count > 1) rebalance(all);
    return AIOS_OK;
}
