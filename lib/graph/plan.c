/* The handle of a plan: creation, inputs, runs, outputs. */
#include "plan.h"

#include "base/float_scope.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- creation ---------------------------------------------------------------------------------------------------- */

/* Device memory that lives as long as the plan. */
static aios_status own(aios_plan *plan, uint64_t size, void **memory)
{
    TRY_QUIET(aios_memory_grow(plan->context, (void **)&plan->owned, &plan->owned_capacity, plan->owned_count + 1, sizeof *plan->owned));
    TRY_QUIET(aios_device_alloc(plan->parameters->device, size, memory));
    plan->owned[plan->owned_count++] = *memory;
    return AIOS_OK;
}

static aios_status own_buffer(aios_plan *plan, uint64_t size, int32_t *buffer)
{
    void *memory;
    TRY_QUIET(
        aios_memory_grow(plan->context, (void **)&plan->buffers, &plan->buffer_capacity, plan->buffer_count + 1, sizeof *plan->buffers));
    TRY_QUIET(own(plan, size, &memory));
    plan->buffers[plan->buffer_count] = (struct buffer){.fixed = memory, .first = -1, .last = -1};
    *buffer = (int32_t)plan->buffer_count++;
    return AIOS_OK;
}

aios_status plan_rope_table(aios_plan *plan, struct rope_table *table)
{
    aios_status status = AIOS_OK;
    int32_t half = table->head_size / 2;
    size_t count = (size_t)table->positions * (size_t)half;
    float *angles = aios_memory_array(plan->context, count * 2, sizeof *angles);
    if (!angles) return AIOS_OUT_OF_MEMORY;
    for (int32_t p = 0; p < table->positions; p++)
        for (int32_t i = 0; i < half; i++) {
            /* as the public implementations: frequencies and angles rounded to f32 */
            float frequency = (float)pow((double)table->theta, -2.0 * i / table->head_size);
            float angle = (float)p * frequency;
            angles[(size_t)p * (size_t)half + (size_t)i] = cosf(angle);
            angles[count + (size_t)p * (size_t)half + (size_t)i] = sinf(angle);
        }
    ATTEMPT_QUIET(own_buffer(plan, count * 4, &table->cosine));
    ATTEMPT_QUIET(own_buffer(plan, count * 4, &table->sine));
    ATTEMPT_QUIET(aios_stream_copy(plan->stream, plan->buffers[table->cosine].fixed, angles, count * 4, AIOS_COPY_HOST_TO_DEVICE));
    ATTEMPT_QUIET(aios_stream_copy(plan->stream, plan->buffers[table->sine].fixed, angles + count, count * 4, AIOS_COPY_HOST_TO_DEVICE));
    ATTEMPT_QUIET(aios_stream_synchronize(plan->stream));
done:
    aios_memory_free(plan->context, angles);
    return status;
}

/* The rows of the smallest table that a tensor chooses from. */
static int32_t rows_of_table(const aios_graph *graph, aios_tensor ids)
{
    int32_t least = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        if ((node->op != OP_embedding && node->op != OP_rows) || node->input[1] != ids) continue;
        int32_t rows = tensor_of(graph, node->input[0])->shape[0];
        if (!least || rows < least) least = rows;
    }
    return least;
}

static aios_status make_inputs(aios_plan *plan, const aios_graph *graph)
{
    aios_device *device = plan->parameters->device;
    for (size_t i = 1; i < graph->tensor_count; i++) {
        const struct tensor *t = &graph->tensors[i];
        if (t->kind != TENSOR_INPUT) continue;
        struct plan_input *input = &plan->inputs[plan->input_count++];
        input->size = (uint64_t)t->count * 4;
        input->type = t->type;
        input->rows = rows_of_table(graph, (aios_tensor)i);
        memcpy(input->name, t->name, sizeof input->name);
        TRY(own(plan, input->size, &input->memory), "input %s", t->name);
        TRY_QUIET(aios_stream_fill(plan->stream, input->memory, 0, input->size));
        for (int k = 0; k < 2; k++) {
            TRY(aios_device_host_alloc(device, input->size, &input->host[k]), "input %s", t->name);
            TRY_QUIET(aios_event_create(device, &input->copied[k]));
        }
    }
    return AIOS_OK;
}

static aios_status prepare(aios_plan *plan, const aios_graph *graph, int checkpointing)
{
    size_t inputs = 0;
    void *losses, *arena = NULL;
    for (size_t i = 1; i < graph->tensor_count; i++) inputs += graph->tensors[i].kind == TENSOR_INPUT;
    plan->inputs = aios_memory_array(plan->context, inputs + 1, sizeof *plan->inputs);
    plan->outputs = aios_memory_array(plan->context, graph->output_count + 1, sizeof *plan->outputs);
    if (!plan->inputs || !plan->outputs) return AIOS_OUT_OF_MEMORY;
    TRY_QUIET(make_inputs(plan, graph));
    TRY_QUIET(own(plan, LOSS_COUNT * 4, &losses));
    plan->losses = losses;
    TRY_QUIET(aios_stream_fill(plan->stream, losses, 0, LOSS_COUNT * 4));
    TRY_QUIET(plan_build(plan, graph, checkpointing));
    if (plan->arena_size) TRY(own(plan, plan->arena_size, &arena), "%llu bytes of activations", (unsigned long long)plan->arena_size);
    plan->arena = arena;
    return aios_stream_synchronize(plan->stream);
}

aios_status aios_plan_create(const aios_graph *graph, aios_parameters *parameters, const aios_plan_options *given, aios_plan **plan)
{
    FLOAT_SCOPE;
    if (!graph || !parameters || !plan) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_create: graph, parameters and plan must not be NULL");
    *plan = NULL;
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_plan_options", &options, sizeof options, given));
    if (!graph->finished) return FAIL(AIOS_WRONG_STATE, "aios_plan_create: finish the graph first (aios_graph_finish)");
    if (options.training && !parameters->training)
        return FAIL(AIOS_WRONG_STATE, "aios_plan_create: a training plan wants parameters that were created with training 1");
    aios_plan *made = aios_new(parameters->context, aios_plan);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(parameters->context);
    made->parameters = parameters;
    made->stream = parameters->stream;
    made->storage = parameters->storage;
    made->training = options.training != 0;
    made->recorder.off = !options.capture;
    int32_t teams = aios_device_get_info(parameters->device)->teams;
    made->parts = teams > 0 ? teams : 1;
    aios_status status = prepare(made, graph, options.gradient_checkpointing != 0);
    if (status != AIOS_OK) {
        aios_plan_destroy(made);
        return aios_error_add_frame(status, "planning a graph of %zu operations for %s", graph->node_count,
                                    aios_device_spec(parameters->device));
    }
    *plan = made;
    return AIOS_OK;
}

void aios_plan_destroy(aios_plan *plan)
{
    if (!plan) return;
    aios_device *device = plan->parameters->device;
    (void)aios_stream_synchronize(plan->stream);
    stream_recorder_end(&plan->recorder);
    for (size_t i = 0; plan->piece_recorders && i <= plan->point_count; i++) stream_recorder_end(&plan->piece_recorders[i]);
    aios_memory_free(plan->context, plan->piece_recorders);
    aios_memory_free(plan->context, plan->points);
    aios_memory_free(plan->context, plan->counts);
    for (size_t i = 0; i < plan->input_count; i++)
        for (int k = 0; k < 2; k++) {
            aios_event_destroy(plan->inputs[i].copied[k]);
            aios_device_host_free(device, plan->inputs[i].host[k]);
        }
    for (size_t i = 0; i < plan->owned_count; i++) aios_device_free(device, plan->owned[i]);
    aios_device_free(device, plan->readout);
    aios_memory_free(plan->context, plan->owned);
    aios_memory_free(plan->context, plan->ropes);
    aios_memory_free(plan->context, plan->buffers);
    aios_memory_free(plan->context, plan->instructions);
    aios_memory_free(plan->context, plan->inputs);
    aios_memory_free(plan->context, plan->outputs);
    aios_context *context = plan->context;
    aios_memory_free(context, plan);
    aios_context_release(context);
}

/* ---- inputs, runs ------------------------------------------------------------------------------------------------ */

/* A kernel would read what lies behind the table. */
static aios_status check_ids(const struct plan_input *input, const char *data)
{
    for (uint64_t at = 0; input->rows && at < input->size; at += sizeof(int32_t)) {
        int32_t id;
        memcpy(&id, data + at, sizeof id);
        if (id < 0 || id >= input->rows)
            return FAIL(AIOS_OUT_OF_RANGE, "input '%s': number %llu is %d: 0 to %d are allowed", input->name, (unsigned long long)at / 4,
                        id, input->rows - 1);
    }
    return AIOS_OK;
}

aios_status aios_plan_write(aios_plan *plan, const char *name, const void *data, uint64_t size)
{
    struct plan_input *input = NULL;
    if (!plan || !name || !data) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_write: plan, name and data must not be NULL");
    for (size_t i = 0; i < plan->input_count && !input; i++)
        if (strcmp(plan->inputs[i].name, name) == 0) input = &plan->inputs[i];
    if (!input) return FAIL(AIOS_NOT_FOUND, "the graph has no input '%s'", name);
    if (size != input->size)
        return FAIL(AIOS_INVALID_ARGUMENT, "input '%s' has %llu bytes, not %llu", name, (unsigned long long)input->size,
                    (unsigned long long)size);
    TRY_QUIET(check_ids(input, data));
    int slot = input->next;
    if (input->in_use[slot]) TRY(aios_event_synchronize(input->copied[slot]), "input %s", name);
    memcpy(input->host[slot], data, size);
    TRY(aios_stream_copy(plan->stream, input->memory, input->host[slot], size, AIOS_COPY_HOST_TO_DEVICE), "input %s", name);
    TRY_QUIET(aios_event_record(input->copied[slot], plan->stream));
    input->in_use[slot] = 1;
    input->next = 1 - slot;
    return AIOS_OK;
}

aios_status plan_submit(const aios_plan *plan, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const struct instruction *instruction = &plan->instructions[i];
        aios_status status = instruction->run(plan, instruction);
        if (status != AIOS_OK)
            return aios_error_add_frame(status, "instruction %zu of %zu: %s", i, plan->instruction_count, instruction->label);
    }
    return AIOS_OK;
}

static aios_status submit_all(void *user)
{
    const aios_plan *plan = user;
    return plan_submit(plan, 0, plan->instruction_count);
}

aios_status aios_plan_run(aios_plan *plan)
{
    FLOAT_SCOPE;
    if (!plan) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_run: plan is NULL");
    if (plan->training && parameters_is_sharded(plan->parameters, AIOS_GRADIENT))
        return FAIL(AIOS_WRONG_STATE, "aios_plan_run: the plan's gradients are shared with other ranks, which take part in every run");
    if (plan->tables && plan->parameters->table_runs++)
        return FAIL(AIOS_WRONG_STATE, "aios_plan_run: a table of rows has its gradient already: one run in a step (aios_optimizer_begin)");
    return stream_submit(&plan->recorder, plan->stream, submit_all, plan, "a plan");
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

static aios_status find_output(const aios_plan *plan, const char *name, const struct plan_output **output)
{
    for (size_t i = 0; i < plan->output_count; i++)
        if (strcmp(plan->outputs[i].name, name) == 0) {
            *output = &plan->outputs[i];
            return AIOS_OK;
        }
    return FAIL(AIOS_NOT_FOUND, "the graph has no output '%s' (aios_graph_output)", name);
}

static aios_status need_readout(aios_plan *plan, uint64_t size)
{
    void *memory;
    if (plan->readout_size >= size) return AIOS_OK;
    aios_device_free(plan->parameters->device, plan->readout);
    plan->readout = NULL;
    plan->readout_size = 0;
    TRY(aios_device_alloc(plan->parameters->device, size, &memory), "reading an output");
    plan->readout = memory;
    plan->readout_size = size;
    return AIOS_OK;
}

/* Rows of an output as dense f32 (or i32) on the host. */
static aios_status read_rows(aios_plan *plan, const struct plan_output *output, uint64_t first, uint64_t rows, void *to)
{
    uint64_t element = storage_size(output->type == TYPE_ACTIVATION ? plan->storage : output->type);
    uint64_t n = (uint64_t)output->n, count = rows * n;
    char *from = buffer_address(plan, output->buffer) + output->offset + first * (uint64_t)output->pitch * element;
    if ((uint64_t)output->pitch != n && rows > 1) { /* row by row through a dense copy */
        TRY_QUIET(need_readout(plan, count * 8));
        char *dense = (char *)(plan->readout + count);
        TRY_QUIET(launch_copy_strided(plan->stream, plan->storage, 0, dense, from, 1, (int32_t)rows, output->n, 0, output->n, 0,
                                      output->pitch, 0));
        from = dense;
    }
    if (output->type == TYPE_ACTIVATION && plan->storage != AIOS_F32) {
        if (count > INT32_MAX)
            return FAIL(AIOS_OUT_OF_RANGE, "output '%s' has %llu elements: at most 2^31 - 1 are read at once", output->name,
                        (unsigned long long)count);
        TRY_QUIET(need_readout(plan, count * 8));
        TRY_QUIET(launch_cast_to_f32(plan->stream, plan->storage, 0, plan->readout, from, (int32_t)count));
        from = (char *)plan->readout;
    }
    return stream_fetch(plan->stream, to, from, count * 4);
}

aios_status aios_plan_read(aios_plan *plan, const char *name, void *to, uint64_t size)
{
    const struct plan_output *output = NULL;
    if (!plan || !name || !to) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_read: plan, name and to must not be NULL");
    TRY_QUIET(find_output(plan, name, &output));
    uint64_t wanted = (uint64_t)output->rows * (uint64_t)output->n * 4;
    if (size != wanted)
        return FAIL(AIOS_INVALID_ARGUMENT, "output '%s' has %llu bytes, not %llu", name, (unsigned long long)wanted,
                    (unsigned long long)size);
    TRY(read_rows(plan, output, 0, (uint64_t)output->rows, to), "output %s", name);
    return AIOS_OK;
}

aios_status aios_plan_read_row(aios_plan *plan, const char *name, uint64_t row, float *to, uint64_t count)
{
    const struct plan_output *output = NULL;
    if (!plan || !name || !to) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_read_row: plan, name and to must not be NULL");
    TRY_QUIET(find_output(plan, name, &output));
    if (row >= (uint64_t)output->rows || count != (uint64_t)output->n || output->type == AIOS_I32)
        return FAIL(AIOS_OUT_OF_RANGE, "row %llu with %llu numbers of output '%s', which has %d rows of %d", (unsigned long long)row,
                    (unsigned long long)count, name, output->rows, output->n);
    TRY(read_rows(plan, output, row, 1, to), "output %s", name);
    return AIOS_OK;
}

aios_status aios_plan_losses(aios_plan *plan, aios_loss_sums *sums, int32_t reset)
{
    float values[LOSS_COUNT];
    if (!plan || !sums) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_losses: plan and sums must not be NULL");
    TRY(stream_fetch(plan->stream, values, plan->losses, sizeof values), "reading the loss");
    if (reset) TRY_QUIET(aios_stream_fill(plan->stream, plan->losses, 0, sizeof values));
    aios_loss_sums filled = {sizeof filled, 0, (double)values[LOSS_SUM], (double)values[LOSS_ROWS], (double)values[LOSS_HITS]};
    return aios_struct_write("aios_loss_sums", sums, &filled, sizeof filled);
}

aios_status aios_plan_get_memory(const aios_plan *plan, aios_plan_memory *memory)
{
    if (!plan || !memory) return FAIL(AIOS_INVALID_ARGUMENT, "aios_plan_get_memory: plan and memory must not be NULL");
    aios_plan_memory filled = {sizeof filled, (uint32_t)plan->instruction_count, plan->arena_size, plan->unshared, plan->workspace};
    return aios_struct_write("aios_plan_memory", memory, &filled, sizeof filled);
}
