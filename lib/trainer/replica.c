#include "exchange.h"

#include "balance.h"
#include "comm/vendor.h"
#include "graph/parameters.h"
#include "setup.h"

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
    struct sharding sharding;
    aios_graph *graph = NULL;
    aios_status status = AIOS_OK;
    parameters.precision = (int32_t)s->precision;
    plan.training = 1;
    plan.gradient_checkpointing = s->gradient_checkpointing != 0;
    ATTEMPT_QUIET(setup_graph(r->all->context, model, AIOS_MODEL_TRAIN, r->batch, r->all->sequence, &graph));
    if (!r->parameters) ATTEMPT_QUIET(parameters_create(r->device, graph, &parameters, exchange_sharding(r, &sharding), &r->parameters));
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

void replicas_set_shares(struct replicas *all, const int64_t *micro_batches)
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
        if (s->collectives == COLLECTIVES_VENDOR)
            return FAIL(AIOS_INVALID_ARGUMENT, "collectives is vendor, which adds up the gradients of strategy ddp: in "
                                               "parallel-independent no gradient leaves its device");
        for (int i = 0; i < all->count; i++) all->list[i].room = all->step_samples;
        return AIOS_OK;
    }
    for (int i = 0; i < all->count; i++) weights[i] = 1;
    if (s->balance == BALANCE_WEIGHTS) TRY_QUIET(balance_parse(s->device_weights, all->count, weights));
    if (s->balance != BALANCE_WEIGHTS && *s->device_weights)
        return FAIL(AIOS_INVALID_ARGUMENT, "device-weights is \"%s\", which balance weights alone reads: set balance too",
                    s->device_weights);
    balance_deal(weights, all->count, s->accumulation * all->count, shares);
    replicas_set_shares(all, shares);
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

static aios_status make_group(struct replicas *all)
{
    comm_options options = {.ranks = all->count, .deadline = all->settings->step_deadline};
    aios_device *devices[REPLICAS_MOST];
    for (int i = 0; i < all->count; i++) devices[i] = all->list[i].device;
    TRY_QUIET(comm_group_choose(all->context, &options, devices, (int)all->settings->collectives, &all->group));
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        TRY_QUIET(exchange_create(r));
        TRY_QUIET(comm_join(all->group, i, aios_device_spec(r->device), exchange_stream(r), &r->comm));
    }
    TRY_QUIET(pool_create(all->context, all->count, NULL, &all->crew));
    return replicas_together(all, exchange_open);
}

/* Where replicas hold parts of the model, those follow the memory of their devices. */
static aios_status choose_memory_shares(struct replicas *all)
{
    const struct settings *s = all->settings;
    if (s->zero_stage && all->independent)
        return FAIL(AIOS_INVALID_ARGUMENT, "zero-stage shards one model over devices that step together, which strategy ddp has: in "
                                           "parallel-independent every device holds all of it");
    int known = 1;
    for (int i = 0; i < all->count; i++) {
        double memory = (double)aios_device_get_info(all->list[i].device)->memory_total, cap = s->max_memory * 1073741824.0;
        all->memory_shares[i] = cap > 0 && cap < memory ? cap : memory;
        known &= memory > 0;
    }
    for (int i = 0; i < all->count && !known; i++) all->memory_shares[i] = 1; /* a device can't tell */
    return AIOS_OK;
}

int replicas_complete_without(const struct replicas *all, int lost)
{
    const aios_parameters *p = all->list[lost].parameters;
    return all->count > 1 && !all->independent && (p->stage == 0 || p->owned == 0);
}

aios_status replicas_prepare(struct replicas *all, const aios_model *model, const struct batches *batches, int32_t sequence)
{
    const struct settings *s = all->settings;
    all->batches = batches;
    all->sequence = sequence;
    all->step_samples = s->batch_size * s->accumulation * (all->independent ? 1 : all->count);
    TRY_QUIET(choose_shares(all));
    TRY_QUIET(choose_memory_shares(all));
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        TRY_QUIET(make_share(r));
        TRY(make_plan(r, model), "a plan for batch-size %lld and %d tokens on %s", (long long)s->batch_size, sequence,
            aios_device_spec(r->device));
    }
    if (all->count == 1 || all->independent) return AIOS_OK;
    TRY_QUIET(make_group(all));
    return parameters_stage(all->list[0].parameters); /* which is initialised or loaded next, and spread */
}

static void close_one(struct replica *r)
{
    comm_leave(r->comm);
    exchange_destroy(r);
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
        exchange_settle(r);
    }
    aios_error_save(&r->error);
}

aios_status replicas_together(struct replicas *all, aios_status (*run)(struct replica *))
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
