#include "carry.h"

#include "base/rng.h"
#include "exchange.h"
#include "gpu/device.h"
#include "graph/plan.h"

#include <string.h>

enum { STREAM_EXPLORE = 0x68726d31 };
#define DRAWS 4 /* random numbers of a row and step, at the most */

/* ---- states ------------------------------------------------------------------------------------------------------ */

static uint64_t states_size(const aios_parameters *p)
{
    uint64_t size = 0;
    for (size_t i = 0; i < p->state_count; i++) size += p->states[i].size;
    return size;
}

/* What micro-batch m carries, or (made 1) what the step that is running makes of it. */
static char *slot(const struct replica *r, int64_t m, int made)
{
    return r->carry + (uint64_t)(2 * m + (r->carry_sides[m] ^ made)) * states_size(r->parameters);
}

/* Between all states and memory of the device that has them one behind the other. */
static aios_status move_states(aios_parameters *p, char *memory, int into_states)
{
    for (size_t i = 0; i < p->state_count; i++) {
        struct state *s = &p->states[i];
        TRY_QUIET(aios_stream_copy(p->stream, into_states ? s->memory : memory, into_states ? memory : s->memory, s->size,
                                   AIOS_COPY_DEVICE_TO_DEVICE));
        memory += s->size;
    }
    return AIOS_OK;
}

void carry_begin(struct replica *r)
{
    r->carry_made = 0;
}

aios_status carry_take(struct replica *r, int64_t m)
{
    return r->carry ? move_states(r->parameters, slot(r, m, 0), 1) : AIOS_OK;
}

aios_status carry_keep(struct replica *r, int64_t m)
{
    aios_parameters *p = r->parameters;
    int64_t first = r->all->independent ? 0 : r->first;
    if (r->carry) TRY_QUIET(move_states(p, slot(r, m, 1), 0));
    r->carry_made = m + 1;
    return p->has_tables ? parameters_keep_rows(p, (int32_t)(first + m * r->batch)) : AIOS_OK;
}

void carry_commit(struct replica *r)
{
    for (int64_t m = 0; r->carry && m < r->carry_made; m++) r->carry_sides[m] ^= 1;
    r->carry_made = 0;
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

static int has_input(const aios_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->input_count; i++)
        if (strcmp(plan->inputs[i].name, name) == 0) return 1;
    return 0;
}

static aios_status room_for_rows(struct replica *r)
{
    int64_t most = r->all->independent ? (r->room + r->batch - 1) / r->batch * r->batch : r->all->step_samples;
    if (most > INT32_MAX) return FAIL(AIOS_OUT_OF_RANGE, "a step of %lld puzzles: at most 2^31 - 1 are possible", (long long)most);
    return parameters_room_for_rows(r->parameters, (int32_t)most);
}

aios_status carry_make_room(struct replica *r)
{
    aios_context *context = r->all->context;
    aios_parameters *p = r->parameters;
    size_t slots = (size_t)((r->room + r->batch - 1) / r->batch);
    uint64_t bytes = 2 * (uint64_t)slots * states_size(p);
    void *memory = NULL;
    carry_free(r);
    TRY_QUIET(aios_device_set_current(r->device));
    if (has_input(r->plan, "min_steps")) {
        r->least = aios_memory_array(context, (size_t)r->batch, sizeof *r->least);
        if (!r->least) return AIOS_OUT_OF_MEMORY;
    }
    if (p->has_tables) TRY_QUIET(room_for_rows(r));
    if (!p->state_count || !slots) return AIOS_OK;
    r->carry_sides = aios_memory_zalloc(context, slots);
    if (!r->carry_sides) return AIOS_OUT_OF_MEMORY;
    TRY(aios_device_alloc(r->device, bytes, &memory), "memory for what %zu micro-batches carry", slots);
    r->carry = memory;
    return aios_stream_fill(p->stream, memory, 0, bytes);
}

void carry_free(struct replica *r)
{
    if (r->carry && r->parameters) (void)aios_stream_synchronize(r->parameters->stream);
    aios_device_free(r->device, r->carry);
    aios_memory_free(r->all->context, r->carry_sides);
    aios_memory_free(r->all->context, r->least);
    r->carry = NULL;
    r->carry_sides = NULL;
    r->least = NULL;
    r->carry_made = 0;
}

/* ---- a run ------------------------------------------------------------------------------------------------------- */

/* With the exploration's probability at least 2 … halt_max_steps segments, drawn anew every step. */
aios_status carry_explore(struct replica *r, int64_t m)
{
    const struct replicas *all = r->all;
    int64_t rows = all->independent ? all->step_samples * all->count : all->step_samples;
    int64_t first = all->independent ? all->step_samples * r->rank : r->first;
    rng random;
    rng_init(&random, (uint64_t)all->settings->seed, STREAM_EXPLORE);
    for (int64_t i = 0; i < r->batch; i++) {
        random.counter = (uint64_t)(r->job.step * rows + first + m * r->batch + i) * DRAWS;
        int exploring = rng_uniform(&random) < all->settings->exploration;
        int32_t least = 2 + (int32_t)rng_below(&random, (uint64_t)all->settings->halt_max_steps - 1);
        r->least[i] = exploring ? least : 0;
    }
    return aios_plan_write(r->plan, "min_steps", r->least, (uint64_t)r->batch * sizeof *r->least);
}

static aios_status add_losses(struct replica *r, const char *output, float *values, double *sum)
{
    TRY_QUIET(aios_plan_read(r->plan, output, values, (uint64_t)r->batch * sizeof *values));
    for (int64_t i = 0; i < r->batch; i++) *sum += (double)values[i];
    return AIOS_OK;
}

static aios_status measure(struct replica *r, float *values, int32_t *steps, int32_t *running)
{
    uint64_t bytes = (uint64_t)r->batch * sizeof *values;
    struct solved *s = &r->solved;
    TRY_QUIET(add_losses(r, "lm_losses", values, &s->lm));
    TRY_QUIET(add_losses(r, "q_halt_losses", values, &s->q_halt));
    if (r->least) TRY_QUIET(add_losses(r, "q_continue_losses", values, &s->q_continue));
    TRY_QUIET(aios_plan_read(r->plan, "correct", values, bytes));
    TRY_QUIET(aios_plan_read(r->plan, "steps", steps, bytes));
    TRY_QUIET(aios_plan_read(r->plan, "running", running, bytes));
    s->sequences += (double)r->batch;
    for (int64_t i = 0; i < r->batch; i++) {
        if (running[i]) continue;
        s->halted += 1;
        s->correct += (double)values[i];
        s->steps += steps[i];
    }
    return AIOS_OK;
}

aios_status carry_measure(struct replica *r)
{
    aios_context *context = r->all->context;
    size_t rows = (size_t)r->batch;
    float *values = aios_memory_array(context, rows, sizeof *values);
    int32_t *steps = aios_memory_array(context, rows, sizeof *steps), *running = aios_memory_array(context, rows, sizeof *running);
    aios_status status = values && steps && running ? measure(r, values, steps, running) : AIOS_OUT_OF_MEMORY;
    aios_memory_free(context, values);
    aios_memory_free(context, steps);
    aios_memory_free(context, running);
    return status;
}

/* ---- all replicas ------------------------------------------------------------------------------------------------ */

/* Bytes of one row of a state. */
static uint64_t row_size(const aios_parameters *p, const struct state *s)
{
    uint64_t size = storage_size(s->type == TYPE_ACTIVATION ? p->storage : s->type);
    for (int32_t d = 1; d < s->rank; d++) size *= (uint64_t)s->shape[d];
    return size;
}

static int element_type(const aios_parameters *p, const struct state *s)
{
    int32_t type = s->type == TYPE_ACTIVATION ? p->storage : s->type;
    return type == AIOS_I32 ? ELEMENT_I32 : type == AIOS_BF16 ? ELEMENT_BF16 : type == AIOS_F16 ? ELEMENT_F16 : ELEMENT_F32;
}

aios_status carry_image_create(const struct replicas *all, struct carry_image *image)
{
    const aios_parameters *p = all->list[0].parameters;
    int64_t rows = all->step_samples;
    *image = (struct carry_image){.rows = rows};
    if (!p->state_count || all->independent) return AIOS_OK;
    image->tensors = aios_memory_array(all->context, p->state_count, sizeof *image->tensors);
    image->values = aios_memory_array(all->context, p->state_count, sizeof *image->values);
    if (!image->tensors || !image->values) goto full;
    for (size_t i = 0; i < p->state_count; i++) {
        const struct state *s = &p->states[i];
        safetensors_tensor *t = &image->tensors[i];
        *t = (safetensors_tensor){.name = s->name, .dtype = element_type(p, s), .rank = s->rank, .bytes = (uint64_t)rows * row_size(p, s)};
        for (int32_t d = 0; d < s->rank; d++) t->shape[d] = d ? s->shape[d] : rows;
        image->values[i] = aios_memory_zalloc(all->context, t->bytes + 1);
        t->data = image->values[i];
        image->count++;
        if (!image->values[i]) goto full;
    }
    return AIOS_OK;
full:
    carry_image_free(all->context, image);
    return AIOS_OUT_OF_MEMORY;
}

void carry_image_free(aios_context *context, struct carry_image *image)
{
    for (size_t i = 0; i < image->count; i++) aios_memory_free(context, image->values[i]);
    aios_memory_free(context, image->values);
    aios_memory_free(context, image->tensors);
    *image = (struct carry_image){.rows = 0};
}

/* Between the image and what one micro-batch carries; rows that the image has not are left alone. */
static aios_status move_slot(struct replica *r, const struct carry_image *image, int64_t m, int into_slot)
{
    aios_parameters *p = r->parameters;
    int64_t first = r->first + m * r->batch, rows = image->rows - first < r->batch ? image->rows - first : r->batch;
    char *device = slot(r, m, 0);
    for (size_t i = 0; i < p->state_count && rows > 0; i++) {
        uint64_t size = row_size(p, &p->states[i]);
        char *host = image->values[i] + (uint64_t)first * size;
        TRY_QUIET(aios_stream_copy(p->stream, into_slot ? device : host, into_slot ? host : device, (uint64_t)rows * size,
                                   into_slot ? AIOS_COPY_HOST_TO_DEVICE : AIOS_COPY_DEVICE_TO_HOST));
        device += p->states[i].size;
    }
    return aios_stream_synchronize(p->stream);
}

/* Between the image and all replicas of this process that are not lost. */
static aios_status move_all(struct replicas *all, const struct carry_image *image, int into_slots)
{
    for (int i = 0; i < all->count && image->count; i++) {
        struct replica *r = &all->list[i];
        if (r->lost || !r->carry) continue;
        TRY_QUIET(aios_device_set_current(r->device));
        for (int64_t m = 0; m < r->count / r->batch; m++)
            TRY(move_slot(r, image, m, into_slots), "what the puzzles on %s carry", aios_device_spec(r->device));
    }
    return AIOS_OK;
}

/* Of this process's rows. */
static aios_status gather_own(struct replicas *all, struct carry_image *image)
{
    const struct replica *first = all->list, *last = &all->list[all->count - 1];
    TRY_QUIET(carry_image_create(all, image));
    image->first = first->first;
    image->own = last->first + last->count - first->first;
    aios_status status = move_all(all, image, 0);
    if (status != AIOS_OK) carry_image_free(all->context, image);
    return status;
}

/* ---- between processes ------------------------------------------------------------------------------------------- */

struct offer {
    int64_t first, own;
};

static aios_status tell_one(struct replica *r)
{
    const struct replicas *all = r->all;
    return exchange_tell(r, all->told, all->told_bytes, all->teller);
}

/* Rows of all states of the image, from the process whose first rank is teller to all others. */
static aios_status tell_rows(struct replicas *all, const struct carry_image *image, int teller, int64_t first, int64_t rows)
{
    const aios_parameters *p = all->list[0].parameters;
    all->teller = teller;
    for (size_t i = 0; i < image->count; i++) {
        uint64_t size = row_size(p, &p->states[i]);
        all->told = image->values[i] + (uint64_t)first * size;
        all->told_bytes = (uint64_t)rows * size;
        TRY_QUIET(replicas_together(all, tell_one));
    }
    return AIOS_OK;
}

static void copy_own(const struct replicas *all, const struct carry_image *from, struct carry_image *to)
{
    const aios_parameters *p = all->list[0].parameters;
    for (size_t i = 0; i < from->count; i++) {
        uint64_t size = row_size(p, &p->states[i]);
        int64_t rows = (from->first + from->own < to->rows ? from->first + from->own : to->rows) - from->first;
        if (rows > 0)
            memcpy(to->values[i] + (uint64_t)from->first * size, from->values[i] + (uint64_t)from->first * size, (uint64_t)rows * size);
    }
}

/* Every process's own rows become those of all.  *image without a tensor: nobody has any. */
static aios_status share(struct replicas *all, struct carry_image *image)
{
    struct offer offers[REPLICAS_MOST], own = {image->first, image->count ? image->own : 0};
    int processes = processes_count(all->processes), offered = 0;
    struct carry_image whole;
    aios_status status = AIOS_OK;
    if (processes == 1 || !all->list[0].parameters->state_count || all->independent) return AIOS_OK;
    TRY_QUIET(processes_gather(all->processes, &own, sizeof own, offers));
    for (int i = 0; i < processes; i++) offered += offers[i].own > 0;
    if (!offered) return AIOS_OK;
    TRY_QUIET(carry_image_create(all, &whole));
    copy_own(all, image, &whole);
    for (int i = 0, rank = 0; i < processes; rank += all->sizes[i++]) {
        int64_t end = offers[i].first + offers[i].own < whole.rows ? offers[i].first + offers[i].own : whole.rows;
        if (end > offers[i].first) ATTEMPT_QUIET(tell_rows(all, &whole, rank, offers[i].first, end - offers[i].first));
    }
    whole.own = whole.rows;
    carry_image_free(all->context, image);
    *image = whole;
    return AIOS_OK;
done:
    carry_image_free(all->context, &whole);
    return status;
}

aios_status carry_gather(struct replicas *all, struct carry_image *image)
{
    TRY_QUIET(gather_own(all, image));
    aios_status status = share(all, image);
    if (status != AIOS_OK) carry_image_free(all->context, image);
    return status;
}

aios_status carry_deal(struct replicas *all, const int64_t *micro_batches)
{
    struct carry_image image;
    TRY_QUIET(carry_gather(all, &image));
    replicas_set_shares(all, micro_batches);
    aios_status status = move_all(all, &image, 1);
    carry_image_free(all->context, &image);
    return status;
}

/* Another process may have made a step that this one had computed and not yet made: then it is made. */
static aios_status commit_made(struct replicas *all)
{
    int64_t made[REPLICAS_MOST], last = 0;
    TRY_QUIET(processes_gather(all->processes, &all->made, sizeof *made, made));
    for (int i = 0; i < processes_count(all->processes); i++)
        if (made[i] > last) last = made[i];
    for (int i = 0; i < all->count && last > all->made; i++)
        if (all->list[i].job.step == last) carry_commit(&all->list[i]);
    return AIOS_OK;
}

aios_status carry_hold(struct replicas *all)
{
    TRY_QUIET(commit_made(all));
    return all->carried.count ? AIOS_OK : gather_own(all, &all->carried);
}

aios_status carry_spread(struct replicas *all)
{
    aios_status status = share(all, &all->carried);
    if (status == AIOS_OK) status = move_all(all, &all->carried, 1);
    if (status == AIOS_OK) carry_image_free(all->context, &all->carried);
    return status;
}
