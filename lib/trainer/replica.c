#include "exchange.h"

#include "balance.h"
#include "carry.h"
#include "comm/hierarchical.h"
#include "comm/vendor.h"
#include "graph/parameters.h"
#include "setup.h"

#include "base/os.h"
#include "gpu/device.h"

#include <stdio.h>
#include <string.h>

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static aios_status open_one(struct replicas *all, const char *spec, int selected)
{
    struct replica *r = &all->list[all->count];
    *r = (struct replica){.all = all, .rank = all->count, .selected = selected, .held = -1};
    TRY_QUIET(setup_device(all->context, spec, all->settings->precision, &r->device));
    all->count++;
    device_limit_calls(r->device, all->settings->step_deadline / 2); /* so that it is named before those that wait for it */
    return caps_check(r->device, all->settings);
}

/* May the run do without the device that failed so? */
static int is_dispensable(const struct replicas *all, aios_status status, int others)
{
    return others > 0 && !all->settings->strict &&
           (status == AIOS_DEVICE_ERROR || status == AIOS_DEVICE_LOST || status == AIOS_DEVICE_OUT_OF_MEMORY);
}

static void refuse(struct replicas *all, const char *spec)
{
    struct refusal *x = &all->refused[all->refused_count++];
    (void)snprintf(x->device, sizeof x->device, "%s", spec);
    (void)snprintf(x->message, sizeof x->message, "%s", aios_error_message());
}

/* Of the devices that are selected on a host, those of one of its processes. */
static aios_status check_enough(const struct replicas *all, const aios_hardware *hardware)
{
    const struct launch *l = &all->processes->launch;
    uint32_t count = aios_hardware_device_count(hardware);
    if (count > REPLICAS_MOST) return FAIL(AIOS_OUT_OF_RANGE, "%u devices are selected: at most %d train together", count, REPLICAS_MOST);
    if ((int)count >= l->local_ranks || strncmp(aios_hardware_device(hardware, 0)->spec, "cpu", 3) == 0) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%s started %d processes on this host, and %u devices are selected: each process needs one",
                launch_name(l->launcher), l->local_ranks, count);
}

static int is_mine(const struct replicas *all, uint32_t device, uint32_t count)
{
    const struct launch *l = &all->processes->launch;
    if ((int)count < l->local_ranks) return device == (uint32_t)l->local_rank % count; /* processes share the CPU */
    return device % (uint32_t)l->local_ranks == (uint32_t)l->local_rank;
}

static aios_status open_all(struct replicas *all, const aios_hardware *hardware)
{
    uint32_t count = aios_hardware_device_count(hardware);
    TRY_QUIET(check_enough(all, hardware));
    all->asked_here = 0;
    for (uint32_t i = 0; i < count; i++) all->asked_here += is_mine(all, i, count);
    for (uint32_t i = 0, mine = 0; i < count; i++) {
        const char *spec = aios_hardware_device(hardware, i)->spec;
        int before = all->count;
        if (!is_mine(all, i, count)) continue;
        aios_status status = open_one(all, spec, (int)mine++);
        if (status == AIOS_OK) continue;
        if (!is_dispensable(all, status, before + all->asked_here - (int)mine)) return status;
        refuse(all, spec);
        if (all->count > before) aios_device_close(all->list[--all->count].device);
    }
    return AIOS_OK;
}

aios_status replicas_open(struct replicas *all, aios_context *context, const struct settings *settings, struct processes *processes)
{
    const char *option = *settings->devices ? "devices" : "device", *selection = *settings->devices ? settings->devices : settings->device;
    aios_hardware *hardware;
    *all = (struct replicas){.context = context,
                             .settings = settings,
                             .independent = settings->strategy == STRATEGY_INDEPENDENT,
                             .asked_here = 1,
                             .processes = processes};
    if (all->independent && processes->world)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "strategy is parallel-independent and %s started %d processes: in that strategy one process trains on all "
                    "devices of its host; start it without, or take ddp",
                    launch_name(processes->launch.launcher), processes_count(processes));
    all->list = aios_memory_array(context, REPLICAS_MOST, sizeof *all->list);
    all->refused = aios_memory_array(context, REPLICAS_MOST, sizeof *all->refused);
    if (!all->list || !all->refused) return AIOS_OUT_OF_MEMORY;
    if (!*settings->devices && strcmp(selection, "auto") != 0) return open_one(all, selection, 0); /* with no look at the others */
    TRY(setup_hardware(context, selection, settings->precision, settings->strategy, settings->keep_cpu != 0, &hardware), "option %s",
        option);
    aios_status status = open_all(all, hardware);
    /* Devices of several makes train on their own, unless processes were started to do it together. */
    if (strcmp(aios_hardware_strategy(hardware), "parallel_independent") == 0 && !processes->world) all->independent = 1;
    aios_hardware_destroy(hardware);
    return status;
}

aios_status replicas_name(const struct replicas *all, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < all->ranks && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : "", all->peers[i].spec);
    return used < size ? AIOS_OK : FAIL(AIOS_OUT_OF_RANGE, "the devices' names have over %zu bytes", size);
}

/* ---- who takes part ---------------------------------------------------------------------------------------------- */

/* What a process says of itself. */
struct attendance {
    int count, asked;
    struct peer peers[REPLICAS_MOST];
};

static void describe(const struct replica *r, struct peer *peer)
{
    const struct settings *s = r->all->settings;
    const aios_device_info *info = aios_device_get_info(r->device);
    double memory = (double)info->memory_total, cap = s->max_memory * 1073741824.0;
    *peer = (struct peer){cap > 0 && memory > cap ? cap : memory, r->weight, r->speed, r->selected, "", "", ""};
    (void)snprintf(peer->spec, sizeof peer->spec, "%s", aios_device_spec(r->device));
    (void)snprintf(peer->name, sizeof peer->name, "%s", info->name);
    (void)snprintf(peer->vendor, sizeof peer->vendor, "%s", info->vendor);
}

static aios_status line_up(struct replicas *all, const struct attendance *list, int processes)
{
    int asked = 0;
    all->ranks = 0;
    for (int p = 0; p < processes; p++) {
        if (all->ranks + list[p].count > REPLICAS_MOST)
            return FAIL(AIOS_OUT_OF_RANGE, "%d devices and more are selected: at most %d train together", all->ranks + list[p].count,
                        REPLICAS_MOST);
        if (p == processes_index(all->processes)) all->first_rank = all->ranks;
        all->sizes[p] = list[p].count;
        for (int i = 0; i < list[p].count; i++) {
            struct peer *peer = &all->peers[all->ranks++];
            *peer = list[p].peers[i];
            peer->selected += asked;
        }
        asked += list[p].asked;
    }
    if (!all->asked) all->asked = asked; /* later some may be missing */
    return AIOS_OK;
}

/* Ranks and what is known of each; collective between the processes. */
static aios_status attend(struct replicas *all)
{
    int processes = processes_count(all->processes);
    struct attendance *own = aios_memory_zalloc(all->context, sizeof *own),
                      *list = aios_memory_array(all->context, (size_t)processes, sizeof *list);
    aios_status status = own && list ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    if (status == AIOS_OK) {
        own->count = all->count;
        own->asked = all->asked_here;
        for (int i = 0; i < all->count; i++) describe(&all->list[i], &own->peers[i]);
        status = processes_gather(all->processes, own, sizeof *own, list);
    }
    if (status == AIOS_OK) status = line_up(all, list, processes);
    for (int i = 0; i < all->count; i++) all->list[i].rank = all->first_rank + i;
    aios_memory_free(all->context, own);
    aios_memory_free(all->context, list);
    return status;
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
    if (s->puzzles) o.rows_lr_factor = s->lr > 0 ? s->puzzle_lr / s->lr : 0;
    if (s->puzzles) o.rows_weight_decay = s->puzzle_decay;
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
    for (int i = 0; i < all->ranks; i++) {
        int own = i - all->first_rank;
        int64_t count = micro_batches[i] * all->settings->batch_size;
        all->shares[i] = micro_batches[i];
        if (own >= 0 && own < all->count) all->list[own].first = first;
        if (own >= 0 && own < all->count) all->list[own].count = count;
        first += count;
    }
}

/* The micro-batches of a step for the replicas that there are: by the speed that they showed, or by their weights. */
static void deal_shares(struct replicas *all)
{
    double weights[REPLICAS_MOST];
    int64_t shares[REPLICAS_MOST];
    int measured = all->settings->balance == BALANCE_MEASURED;
    for (int i = 0; i < all->ranks; i++) measured = measured && all->peers[i].speed > 0;
    for (int i = 0; i < all->ranks; i++) weights[i] = measured ? all->peers[i].speed : all->peers[i].weight;
    balance_deal(weights, all->ranks, all->step_samples / all->settings->batch_size, shares);
    replicas_set_shares(all, shares);
}

static aios_status choose_weights(struct replicas *all)
{
    const struct settings *s = all->settings;
    double weights[REPLICAS_MOST];
    if (all->independent && s->balance != BALANCE_EVEN)
        return FAIL(AIOS_INVALID_ARGUMENT, "balance deals the micro-batches of one step to devices, which strategy ddp has: in "
                                           "parallel-independent a fast device takes more chunks by itself");
    if (all->asked > REPLICAS_MOST)
        return FAIL(AIOS_OUT_OF_RANGE, "%d devices are selected: at most %d train together", all->asked, REPLICAS_MOST);
    for (int i = 0; i < all->asked; i++) weights[i] = 1;
    if (s->balance == BALANCE_WEIGHTS) TRY_QUIET(balance_parse(s->device_weights, all->asked, weights));
    if (all->independent && s->collectives == COLLECTIVES_VENDOR)
        return FAIL(AIOS_INVALID_ARGUMENT, "collectives is vendor (or AIOS_DDP_BACKEND says so), which is for strategy ddp: in "
                                           "parallel-independent no gradient leaves its device");
    if (s->balance != BALANCE_WEIGHTS && *s->device_weights)
        return FAIL(AIOS_INVALID_ARGUMENT, "device-weights is \"%s\", which balance weights alone reads: set balance too",
                    s->device_weights);
    for (int i = 0; i < all->ranks; i++) all->peers[i].weight = weights[all->peers[i].selected];
    for (int i = 0; i < all->count; i++) all->list[i].weight = all->peers[all->list[i].rank].weight;
    return AIOS_OK;
}

/* Memory for the samples that it may be dealt. */
static aios_status make_room(struct replica *r)
{
    struct replicas *all = r->all;
    int64_t most = r->count;
    if (all->independent) most = all->step_samples;
    if (!all->independent && all->settings->balance == BALANCE_MEASURED) /* all but one micro-batch for each of the others */
        most = all->step_samples - (all->ranks - 1) * all->settings->batch_size;
    r->held = -1;
    if (r->samples.tokens && r->room >= most) return AIOS_OK;
    samples_free(all->context, &r->samples);
    r->room = most;
    if (samples_create(all->batches, most, &r->samples) == AIOS_OK) return carry_make_room(r);
    return aios_error_add_frame(AIOS_OUT_OF_MEMORY, "the samples of a step: batch-size %lld x gradient-accumulation-steps %lld x %d tokens",
                                (long long)all->settings->batch_size, (long long)all->settings->accumulation, all->sequence);
}

static aios_status make_rooms(struct replicas *all)
{
    if (!all->independent) deal_shares(all);
    for (int i = 0; i < all->count; i++) TRY_QUIET(make_room(&all->list[i]));
    return AIOS_OK;
}

#define INNER_DEADLINES 4 /* a process's own replicas wait while their first waits for other processes */

/* Of this process's devices; NULL where there is one. */
static aios_status make_inner(struct replicas *all, comm_group **group)
{
    double deadline = all->settings->step_deadline * (processes_count(all->processes) > 1 ? INNER_DEADLINES : 1);
    comm_options options = {.ranks = all->count, .deadline = deadline};
    aios_device *devices[REPLICAS_MOST];
    *group = NULL;
    for (int i = 0; i < all->count; i++) devices[i] = all->list[i].device;
    return all->count > 1 ? comm_group_choose(all->context, &options, devices, (int)all->settings->collectives, group) : AIOS_OK;
}

static aios_status choose_group(struct replicas *all)
{
    int processes = processes_count(all->processes);
    comm_options options = {.deadline = all->settings->step_deadline};
    comm_group *inner = NULL, *outer = NULL;
    TRY_QUIET(make_inner(all, &inner));
    all->group = inner;
    if (processes == 1) return AIOS_OK;
    aios_status status = comm_world_choose(all->processes->world, all->context, &options, all->list[0].device, all->count,
                                           (int)all->settings->collectives, &outer);
    if (status == AIOS_OK)
        status = comm_hierarchical_create(all->context, inner, outer, all->sizes, processes, processes_index(all->processes), &all->group);
    if (status != AIOS_OK) comm_group_destroy(outer);
    return status;
}

static aios_status make_group(struct replicas *all)
{
    TRY_QUIET(choose_group(all));
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        TRY_QUIET(exchange_create(r));
        TRY_QUIET(comm_join(all->group, r->rank, aios_device_spec(r->device), exchange_stream(r), &r->comm));
    }
    if (all->count > 1) TRY_QUIET(pool_create(all->context, all->count, NULL, &all->crew));
    return replicas_together(all, exchange_open);
}

static void leave_group(struct replicas *all)
{
    pool_destroy(all->crew);
    all->crew = NULL;
    for (int i = 0; i < all->count; i++) {
        comm_leave(all->list[i].comm);
        exchange_destroy(&all->list[i]);
        all->list[i].comm = NULL;
    }
    comm_group_destroy(all->group);
    all->group = NULL;
}

/* Where replicas hold parts of the model, those follow the memory of their devices. */
static aios_status choose_memory_shares(struct replicas *all)
{
    const struct settings *s = all->settings;
    if (s->zero_stage && all->independent)
        return FAIL(AIOS_INVALID_ARGUMENT, "zero-stage shards one model over devices that step together, which strategy ddp has: in "
                                           "parallel-independent every device holds all of it");
    int known = 1;
    for (int i = 0; i < all->ranks; i++) known &= all->peers[i].memory > 0;
    for (int i = 0; i < all->ranks; i++) all->memory_shares[i] = known ? all->peers[i].memory : 1; /* 1: a device can't tell */
    return AIOS_OK;
}

static void free_model(struct replica *r)
{
    carry_free(r);
    aios_optimizer_destroy(r->optimizer);
    aios_plan_destroy(r->plan);
    aios_parameters_destroy(r->parameters);
    r->optimizer = NULL;
    r->plan = NULL;
    r->parameters = NULL;
    r->room = 0;
}

static void close_one(struct replica *r)
{
    free_model(r);
    aios_device_close(r->device);
    samples_free(r->all->context, &r->samples);
}

/* batch-size times accumulation for each device that was asked for, or that there is. */
static void size_step(struct replicas *all)
{
    int devices = all->settings->keep_global_batch ? all->asked : all->ranks;
    all->step_samples = all->settings->batch_size * all->settings->accumulation * (all->independent ? 1 : devices);
}

static void remove_lost(struct replicas *all)
{
    int left = 0;
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        if (r->lost) {
            close_one(r);
            continue;
        }
        all->list[left++] = *r;
    }
    all->count = left;
    all->leader = 0;
}

/* The model on every device.  Parts of it are dealt to those that are there, so where one has no memory for it, or fails, the others
 * begin anew without it. */
static aios_status make_models(struct replicas *all, const aios_model *model)
{
    TRY_QUIET(choose_memory_shares(all));
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        aios_status status = make_plan(r, model);
        if (status == AIOS_OK) continue;
        (void)aios_error_add_frame(status, "a plan for batch-size %lld and %d tokens on %s", (long long)all->settings->batch_size,
                                   all->sequence, aios_device_spec(r->device));
        if (!is_dispensable(all, status, all->count - 1) || all->processes->world) return status;
        refuse(all, aios_device_spec(r->device));
        r->lost = 1;
        remove_lost(all);
        TRY_QUIET(attend(all));
        for (int k = 0; k < all->count; k++) free_model(&all->list[k]);
        return make_models(all, model);
    }
    return AIOS_OK;
}

aios_status replicas_prepare(struct replicas *all, const aios_model *model, const struct batches *batches, int32_t sequence)
{
    all->model = model;
    all->batches = batches;
    all->sequence = sequence;
    TRY_QUIET(attend(all));
    TRY_QUIET(choose_weights(all));
    TRY_QUIET(make_models(all, model));
    size_step(all);
    return make_rooms(all);
}

aios_status replicas_join(struct replicas *all)
{
    if (all->ranks == 1 || all->independent) return AIOS_OK;
    TRY_QUIET(make_group(all));
    if (all->first_rank > 0) return AIOS_OK;
    return parameters_stage(all->list[0].parameters); /* which is initialised or loaded next, and spread */
}

void replicas_close_joined(struct replicas *all)
{
    for (int i = 0; i < all->count; i++)
        if (!all->list[i].orphan) close_one(&all->list[i]);
}

void replicas_close(struct replicas *all)
{
    if (!all->context) return;
    leave_group(all);
    for (int i = 0; i < all->count; i++) close_one(&all->list[i]);
    carry_image_free(all->context, &all->carried);
    aios_memory_free(all->context, all->list);
    aios_memory_free(all->context, all->refused);
    *all = (struct replicas){.context = NULL};
}

/* ---- without those that are lost ---------------------------------------------------------------------------------- */

void replicas_break(struct replicas *all, aios_status status, const aios_error_record *record)
{
    char message[512];
    if (!all->list[0].comm) return;
    (void)aios_error_restore(record);
    (void)snprintf(message, sizeof message, "%s", aios_error_message());
    comm_abort(all->list[0].comm, status, message);
}

int replicas_find_lost(struct replicas *all)
{
    int lost = 0;
    for (int i = 0; i < all->count; i++) {
        struct replica *r = &all->list[i];
        r->lost = aios_device_health(r->device) != AIOS_OK;
        if (r->lost) aios_error_save(&r->error);
        lost += r->lost;
    }
    return lost;
}

/* Parts for those that are left.  What was held in parts is not whole without the lost: it is made anew. */
static aios_status share_anew(struct replicas *all)
{
    int in_parts = all->settings->zero_stage != 0;
    for (int i = 0; i < all->count; i++) {
        struct sharding sharding;
        if (in_parts)
            free_model(&all->list[i]);
        else
            TRY_QUIET(parameters_share_anew(all->list[i].parameters, exchange_sharding(&all->list[i], &sharding)));
    }
    return in_parts ? make_models(all, all->model) : AIOS_OK;
}

/* What a step that was left in the middle has summed. */
static aios_status forget_sums(struct replica *r)
{
    aios_loss_sums sums = {.struct_size = sizeof sums};
    return aios_plan_losses(r->plan, &sums, 1);
}

static aios_status shrink(struct replicas *all)
{
    remove_lost(all);
    TRY_QUIET(attend(all));
    TRY_QUIET(share_anew(all));
    size_step(all);
    return make_rooms(all);
}

aios_status replicas_drop_lost(struct replicas *all)
{
    leave_group(all);
    TRY_QUIET(processes_reform(all->processes));
    TRY_QUIET(carry_hold(all)); /* of those that are left; the others' puzzles begin anew */
    TRY_QUIET(shrink(all));
    TRY_QUIET(replicas_join(all));
    return replicas_together(all, forget_sums);
}

aios_status replicas_leave_out(struct replicas *all)
{
    for (int i = 0; i < all->count; i++) {
        const struct replica *r = &all->list[i];
        if (!r->lost) continue;
        (void)aios_error_restore(&r->error);
        refuse(all, aios_device_spec(r->device));
    }
    leave_group(all);
    return shrink(all);
}

aios_status replicas_separate(struct replicas *all)
{
    leave_group(all);
    all->independent = 1;
    size_step(all);
    return make_rooms(all);
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
    aios_error_save(&r->error); /* before anything else fails */
    if (r->comm) {
        char message[512];
        (void)snprintf(message, sizeof message, "rank %d (%s): %s", r->rank, aios_device_spec(r->device), aios_error_message());
        comm_abort(r->comm, r->status, message); /* nothing where the group is broken already */
        exchange_settle(r);
    }
}

aios_status replicas_together(struct replicas *all, aios_status (*run)(struct replica *))
{
    struct together x = {all, run};
    if (!all->crew)
        run_one(&x, 0, 1);
    else
        pool_run(all->crew, run_one, &x);
    for (int i = 0; i < all->count; i++)
        if (all->list[i].status != AIOS_OK) return aios_error_restore(&all->list[i].error);
    return AIOS_OK;
}
