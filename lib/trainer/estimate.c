/* Memory of a run, by making what it would make on devices without memory (gpu/rehearsal.h). */
#include <aios/estimate.h>

#include "base/float_scope.h"
#include "base/options.h"
#include "evaluate.h"
#include "exchange.h"
#include "gpu/device_list.h"
#include "gpu/rehearsal.h"
#include "graph/plan.h"
#include "hrm.h"
#include "setup.h"
#include "zero_config.h"

#include <string.h>

#define BATCH_MOST 65536 /* of option batch-size */

struct aios_estimate {
    struct processes alone; /* the one that there is */
    aios_context *context;
    aios_options *options;
    struct settings settings; /* borrows from options */
    struct batches batches;   /* of nothing, but in samples of a length */
    aios_model *model;
    int32_t sequence;
    int count, independent;
    aios_device_entry entries[REPLICAS_MOST];
    aios_device_estimate devices[REPLICAS_MOST];
    uint64_t parameters;
    int64_t largest_batch;
};

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static aios_status add_device(aios_estimate *e, const aios_device_entry *entry, int assumed)
{
    if (e->count == REPLICAS_MOST) return FAIL(AIOS_OUT_OF_RANGE, "more than %d devices are selected", REPLICAS_MOST);
    aios_device_estimate *d = &e->devices[e->count];
    *d = (aios_device_estimate){.struct_size = sizeof *d, .assumed = assumed, .memory = entry->memory_free};
    memcpy(d->spec, entry->spec, sizeof d->spec);
    memcpy(d->name, entry->info.name, sizeof d->name);
    e->entries[e->count++] = *entry;
    return AIOS_OK;
}

static aios_status take_resolved(aios_estimate *e, const aios_hardware *hardware)
{
    for (uint32_t i = 0; i < aios_hardware_device_count(hardware); i++) TRY_QUIET(add_device(e, aios_hardware_device(hardware, i), 0));
    e->independent = e->count > 1 && strcmp(aios_hardware_strategy(hardware), "parallel_independent") == 0;
    return AIOS_OK;
}

static aios_status add_word(aios_estimate *e, const aios_device_list *list, const char *text)
{
    device_word word;
    aios_device_entry typical;
    TRY_QUIET(device_word_read(text, &word));
    const aios_device_entry *here = device_list_find(list, &word);
    if (here) return add_device(e, here, 0);
    if (word.kind != WORD_BACKEND || rehearsal_typical(word.backend, word.index, &typical) != AIOS_OK)
        return device_list_missing(list, text, &word);
    return add_device(e, &typical, 1);
}

/* As aios_resolve leaves out the CPU beside GPUs. */
static void leave_out_cpu(aios_estimate *e)
{
    int gpus = 0, kept = 0;
    for (int i = 0; i < e->count; i++) gpus += e->entries[i].info.kind != AIOS_DEVICE_CPU;
    for (int i = 0; i < e->count; i++) {
        if (gpus && !e->settings.keep_cpu && e->entries[i].info.kind == AIOS_DEVICE_CPU) continue;
        e->entries[kept] = e->entries[i];
        e->devices[kept++] = e->devices[i];
    }
    e->count = kept;
}

/* Words of which some mean no device of this machine. */
static aios_status take_words(aios_estimate *e, const char *text)
{
    aios_device_list *list;
    aios_status status = AIOS_OK;
    TRY_QUIET(aios_device_list_create(e->context, &list));
    while (*(text += strspn(text, ", \t"))) {
        char word[DEVICE_WORD_SIZE];
        size_t length = strcspn(text, ", \t");
        if (length >= sizeof word) {
            status = FAIL(AIOS_INVALID_ARGUMENT, "a device's name has %zu characters: at most %d", length, DEVICE_WORD_SIZE - 1);
            goto done;
        }
        memcpy(word, text, length);
        word[length] = 0;
        ATTEMPT_QUIET(add_word(e, list, word));
        text += length;
    }
    leave_out_cpu(e);
    int makes_differ = 0;
    for (int i = 1; i < e->count; i++) makes_differ |= strcmp(e->entries[i].info.backend, e->entries[0].info.backend) != 0;
    e->independent = e->count > 1 && e->settings.strategy != STRATEGY_DDP && (makes_differ || e->settings.strategy == STRATEGY_INDEPENDENT);
done:
    aios_device_list_destroy(list);
    return status;
}

static aios_status choose_devices(aios_estimate *e)
{
    const struct settings *s = &e->settings;
    const char *option = *s->devices ? "devices" : "device", *selection = *s->devices ? s->devices : s->device;
    aios_hardware *hardware;
    aios_status status = setup_hardware(e->context, selection, s->precision, s->strategy, s->keep_cpu != 0, &hardware);
    if (status == AIOS_OK) {
        status = take_resolved(e, hardware);
        aios_hardware_destroy(hardware);
    } else if ((status == AIOS_NOT_FOUND || status == AIOS_UNAVAILABLE) && *selection != '[' && *selection != '{') {
        status = take_words(e, selection);
    }
    return status == AIOS_OK ? status : aios_error_add_frame(status, "option %s", option);
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

static uint64_t used(const struct replica *r)
{
    uint64_t now = 0;
    aios_device_memory_used(r->device, &now, NULL);
    return now;
}

static int has_evaluation(const aios_estimate *e)
{
    return *e->settings.eval_file || e->settings.eval_fraction > 0;
}

/* What comes and goes in the run beside what stays: in this order there as here. */
static aios_status rehearse_moments(aios_estimate *e, struct replica *r, uint64_t *evaluation)
{
    aios_parameters *p = r->parameters;
    struct evaluator evaluator = {.context = NULL};
    uint64_t before = used(r), peak = 0, largest = BLOCK;
    void *scratch = NULL, *whole = NULL;
    aios_status status = AIOS_OK;
    int evaluates = r->rank == 0 && has_evaluation(e), gathers = parameters_weight_is_sharded(p);
    for (size_t i = 0; i < p->bucket_count; i++)
        if (p->buckets[i].count > largest) largest = p->buckets[i].count;
    if (evaluates && gathers) {
        ATTEMPT_QUIET(aios_device_alloc(r->device, p->padded * storage_size(p->storage), &whole));
        p->whole = whole;
    }
    if (evaluates && !gathers) ATTEMPT_QUIET(evaluator_open(&evaluator, &e->batches, e->model, p, r->batch, e->sequence));
    *evaluation = used(r) - before;
    if (p->stage) {
        ATTEMPT_QUIET(aios_device_alloc(r->device, largest * sizeof(float), &scratch));
        aios_device_free(r->device, scratch);
    }
    if (evaluates && gathers) ATTEMPT_QUIET(evaluator_open(&evaluator, &e->batches, e->model, p, r->batch, e->sequence));
    aios_device_memory_used(r->device, NULL, &peak);
    if (evaluates && gathers) *evaluation = peak - before;
done:
    evaluator_close(&evaluator);
    parameters_drop_whole(p);
    return status;
}

static uint64_t flat_bytes(const aios_parameters *p, int32_t kind)
{
    return parameters_flat(p, kind) ? (parameters_is_sharded(p, kind) ? p->owned : p->padded) * sizeof(float) : 0;
}

static uint64_t table_bytes(const aios_parameters *p)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->count; i++) bytes += p->list[i].is_table ? p->list[i].count * sizeof(float) : 0;
    return bytes;
}

static aios_status fill_in(aios_estimate *e, struct replica *r, aios_device_estimate *d)
{
    const aios_parameters *p = r->parameters;
    uint64_t copy = p->storage == AIOS_F32 ? 0 : storage_size(p->storage), held = used(r);
    d->parameters = flat_bytes(p, AIOS_VALUE) + table_bytes(p) + (parameters_weight_is_sharded(p) ? p->owned : p->padded) * copy;
    d->gradients = flat_bytes(p, AIOS_GRADIENT);
    d->optimizer = flat_bytes(p, AIOS_MOMENT1) + flat_bytes(p, AIOS_MOMENT2);
    d->activations = r->plan->arena_size - r->plan->workspace;
    d->workspace = held - d->parameters - d->gradients - d->optimizer - d->activations;
    TRY_QUIET(rehearse_moments(e, r, &d->evaluation));
    aios_device_memory_used(r->device, NULL, &d->total);
    d->exchange = d->total - held - d->evaluation;
    d->host = rehearsal_pinned(r->device);
    return AIOS_OK;
}

static aios_status prepare(aios_estimate *e, struct replicas *all, const struct settings *settings)
{
    *all = (struct replicas){
        .context = e->context, .settings = settings, .independent = e->independent, .asked_here = e->count, .processes = &e->alone};
    e->alone = (struct processes){.context = e->context, .launch = {.ranks = 1, .local_ranks = 1}};
    all->list = aios_memory_array(e->context, REPLICAS_MOST, sizeof *all->list);
    all->refused = aios_memory_array(e->context, REPLICAS_MOST, sizeof *all->refused);
    if (!all->list || !all->refused) return AIOS_OUT_OF_MEMORY;
    for (int i = 0; i < e->count; i++) {
        all->list[i] = (struct replica){.all = all, .rank = i, .selected = i, .held = -1};
        TRY_QUIET(rehearsal_open(e->context, &e->entries[i], &all->list[i].device));
        all->count++;
    }
    return replicas_prepare(all, e->model, &e->batches, e->sequence);
}

/* Where gradients meet: memory of the host alone. */
static aios_status join(struct replicas *all)
{
    comm_options options = {.ranks = all->count};
    if (all->count == 1 || all->independent) return AIOS_OK;
    TRY_QUIET(comm_group_create(all->context, &options, &all->group));
    for (int i = 0; i < all->count; i++)
        TRY_QUIET(comm_join(all->group, i, aios_device_spec(all->list[i].device), all->list[i].parameters->stream, &all->list[i].comm));
    return AIOS_OK;
}

/* The parts of every device, with that batch and stage. */
static aios_status rehearse(aios_estimate *e, int64_t batch, int64_t stage, aios_device_estimate *devices)
{
    struct replicas all;
    struct settings settings = e->settings;
    settings.batch_size = batch;
    settings.zero_stage = stage;
    settings.strict = 1; /* no device is left out */
    settings.max_memory = settings.max_power = settings.max_temperature = 0;
    aios_status status = prepare(e, &all, &settings);
    if (status == AIOS_OK) status = join(&all);
    for (int i = 0; i < all.count && status == AIOS_OK; i++) status = fill_in(e, &all.list[i], &devices[i]);
    if (status == AIOS_OK) e->parameters = aios_parameters_total(all.list[0].parameters);
    replicas_close(&all);
    return status;
}

/* Buckets in the arena are told apart by an arena without them. */
static aios_status measure(aios_estimate *e)
{
    aios_device_estimate *plain = aios_memory_array(e->context, REPLICAS_MOST, sizeof *plain);
    if (!plain) return AIOS_OUT_OF_MEMORY;
    aios_status status = rehearse(e, e->settings.batch_size, e->settings.zero_stage, e->devices);
    if (status == AIOS_OK && e->settings.zero_stage >= 2 && e->count > 1) {
        status = rehearse(e, e->settings.batch_size, 0, plain);
        for (int i = 0; i < e->count && status == AIOS_OK; i++) {
            aios_device_estimate *d = &e->devices[i];
            uint64_t buckets = d->activations > plain[i].activations ? d->activations - plain[i].activations : 0;
            d->activations -= buckets;
            d->exchange += buckets;
        }
    }
    aios_memory_free(e->context, plain);
    return status;
}

/* ---- the largest batch ------------------------------------------------------------------------------------------- */

static aios_status fits(aios_estimate *e, int64_t batch, int *yes)
{
    aios_device_estimate *devices = aios_memory_array(e->context, REPLICAS_MOST, sizeof *devices);
    if (!devices) return AIOS_OUT_OF_MEMORY;
    aios_status status = rehearse(e, batch, e->settings.zero_stage, devices);
    *yes = 1;
    for (int i = 0; i < e->count; i++) *yes &= devices[i].total <= e->devices[i].memory;
    aios_memory_free(e->context, devices);
    if (status != AIOS_UNSUPPORTED && status != AIOS_OUT_OF_RANGE) return status;
    *yes = 0; /* a tensor that is too big for the kernels' indices */
    return AIOS_OK;
}

static aios_status find_largest(aios_estimate *e)
{
    int64_t good = 0, bad = 1;
    int yes = 1;
    e->largest_batch = -1;
    for (int i = 0; i < e->count; i++)
        if (!e->devices[i].memory) return AIOS_OK;
    while (bad <= BATCH_MOST) {
        TRY_QUIET(fits(e, bad, &yes));
        if (!yes) break;
        good = bad;
        bad *= 2;
    }
    while (good + 1 < bad && bad <= BATCH_MOST) {
        int64_t middle = good + (bad - good) / 2;
        TRY_QUIET(fits(e, middle, &yes));
        if (yes)
            good = middle;
        else
            bad = middle;
    }
    e->largest_batch = good;
    return AIOS_OK;
}

/* ---- the handle -------------------------------------------------------------------------------------------------- */

static aios_status choose_model(aios_estimate *e, const aios_options *given, aios_model *model)
{
    const struct settings *s = &e->settings;
    aios_tokenizer *tokenizer;
    if (model)
        e->model = aios_model_retain(model);
    else if (*s->model)
        TRY_QUIET(aios_model_open(e->context, s->model, &e->model));
    else {
        TRY_QUIET(setup_tokenizer(e->context, s->tokenizer, NULL, &tokenizer));
        aios_status status = setup_new_model(e->context, s, tokenizer, &e->model);
        aios_tokenizer_close(tokenizer);
        if (status != AIOS_OK) return status;
    }
    TRY_QUIET(setup_sequence(e->model, s, given, &e->sequence));
    if (hrm_check_kind(e->model) != AIOS_OK) return AIOS_OK;
    e->sequence = aios_model_context_length(e->model); /* puzzles are read whole */
    return AIOS_OK;
}

static aios_status estimate(aios_estimate *e, const aios_options *given, aios_model *model, uint64_t memory)
{
    TRY_QUIET(zero_config_options(e->context, given, &e->options));
    TRY_QUIET(settings_read(e->options, AIOS_SCOPE_TRAIN, &e->settings));
    TRY_QUIET(choose_model(e, given, model));
    e->batches = (struct batches){.context = e->context, .sequence = e->sequence};
    TRY_QUIET(choose_devices(e));
    for (int i = 0; i < e->count && memory; i++) {
        e->devices[i].memory = memory;
        if (e->devices[i].assumed) e->entries[i].info.memory_total = memory;
    }
    TRY_QUIET(measure(e));
    return find_largest(e);
}

aios_status aios_estimate_create(aios_context *context, const aios_options *options, aios_model *model, uint64_t memory,
                                 aios_estimate **made)
{
    FLOAT_SCOPE;
    if (!context || !options || !made)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_estimate_create: context, options and estimate must not be NULL");
    *made = NULL;
    aios_estimate *e = aios_new(context, aios_estimate);
    if (!e) return AIOS_OUT_OF_MEMORY;
    e->context = aios_context_retain(context);
    aios_status status = estimate(e, options, model, memory);
    if (status != AIOS_OK) {
        aios_estimate_destroy(e);
        return aios_error_add_frame(status, "estimating memory");
    }
    *made = e;
    return AIOS_OK;
}

void aios_estimate_destroy(aios_estimate *e)
{
    if (!e) return;
    aios_context *context = e->context;
    aios_model_destroy(e->model);
    aios_options_destroy(e->options);
    aios_memory_free(context, e);
    aios_context_release(context);
}

uint32_t aios_estimate_device_count(const aios_estimate *e)
{
    return e ? (uint32_t)e->count : 0;
}

aios_status aios_estimate_device(const aios_estimate *e, uint32_t index, aios_device_estimate *info)
{
    if (!e || !info) return FAIL(AIOS_INVALID_ARGUMENT, "aios_estimate_device: estimate and info must not be NULL");
    if (index >= (uint32_t)e->count) return FAIL(AIOS_OUT_OF_RANGE, "device %u of an estimate: there are %d", index, e->count);
    return aios_struct_write("aios_device_estimate", info, &e->devices[index], sizeof *info);
}

uint64_t aios_estimate_parameters(const aios_estimate *e)
{
    return e ? e->parameters : 0;
}

int32_t aios_estimate_sequence(const aios_estimate *e)
{
    return e ? e->sequence : 0;
}

int64_t aios_estimate_largest_batch(const aios_estimate *e)
{
    return e ? e->largest_batch : 0;
}
