/* Command lists, queues and events.
 *
 * A list's commands are dealt out to lanes, streams of the core: between two barriers they run in any order.  A barrier goes to one lane,
 * which first waits for the others; later commands wait for it on whatever lane they are. */
#include "ze_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 3

struct lane {
    vendor_stream *stream;
    int used;   /* since the last barrier that waited for it */
    int behind; /* the gate has to be waited for */
};

struct lanes {
    struct lane lane[LANES];
    vendor_event *gate, *joint;
    uint32_t next;
};

enum command_kind { COMMAND_BARRIER, COMMAND_COPY, COMMAND_FILL, COMMAND_LAUNCH, COMMAND_RESET };

struct command {
    struct command *next;
    enum command_kind kind;
    vendor_event *signal, **waits;
    uint32_t wait_count;
    void *to;
    const void *from;
    size_t size, pattern_size;
    unsigned char pattern[16];
    sim_launch launch;
};

struct sim_list {
    vendor_device *device;
    uint32_t ordinal;
    int immediate, closed, executed;
    atomic_int busy;
    struct lanes lanes;            /* of an immediate list */
    struct command *first, **last; /* of another */
    vendor_event *finished;        /* its last execution */
};

struct sim_queue {
    vendor_device *device;
    uint32_t ordinal;
    struct lanes lanes;
};

struct sim_pool {
    vendor_device *device;
    uint32_t count, taken;
};

struct sim_event {
    struct sim_pool *pool;
    vendor_event *core;
};

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

static void lanes_create(vendor_device *device, struct lanes *lanes)
{
    memset(lanes, 0, sizeof *lanes);
    for (int i = 0; i < LANES; i++) (void)vendor_stream_create(device, &lanes->lane[i].stream);
    (void)vendor_event_create(device, &lanes->gate);
    (void)vendor_event_create(device, &lanes->joint);
}

static void lanes_destroy(struct lanes *lanes)
{
    for (int i = 0; i < LANES; i++) vendor_stream_destroy(lanes->lane[i].stream);
    vendor_event_destroy(lanes->gate);
    vendor_event_destroy(lanes->joint);
}

static vendor_status pass_gate(struct lanes *lanes, struct lane *lane)
{
    if (!lane->behind) return VENDOR_OK;
    lane->behind = 0;
    return vendor_event_wait(lanes->gate, lane->stream);
}

static vendor_status submit(vendor_stream *stream, const struct command *c)
{
    vendor_device *to = NULL, *from = NULL;
    switch (c->kind) {
    case COMMAND_COPY:
        if (vendor_pointer(c->to, &to, NULL, NULL) == VENDOR_HOST_MEMORY) to = NULL;
        if (vendor_pointer(c->from, &from, NULL, NULL) == VENDOR_HOST_MEMORY) from = NULL;
        return vendor_copy(stream, c->to, to, c->from, from, c->size);
    case COMMAND_FILL: return vendor_fill(stream, c->to, c->pattern, c->pattern_size, c->size);
    case COMMAND_LAUNCH: return sim_submit_launch(stream, &c->launch);
    case COMMAND_BARRIER:
    case COMMAND_RESET: break;
    }
    return VENDOR_OK;
}

static vendor_status join(struct lanes *lanes, struct lane *target)
{
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &lanes->lane[i];
        vendor_status status = VENDOR_OK;
        if (lane != target && lane->used) status = vendor_event_record(lanes->joint, lane->stream);
        if (lane != target && lane->used && status == VENDOR_OK) status = vendor_event_wait(lanes->joint, target->stream);
        if (status != VENDOR_OK) return status;
        lane->used = 0;
    }
    return VENDOR_OK;
}

/* All that it leaves behind the flag is nothing: who has seen the flag may destroy the list. */
static vendor_status put_barrier(struct lanes *lanes, const struct command *c, vendor_event *finished)
{
    struct lane *target = &lanes->lane[lanes->next++ % LANES];
    vendor_status status = pass_gate(lanes, target);
    if (status == VENDOR_OK && c->wait_count == 0) status = join(lanes, target);
    for (uint32_t i = 0; i < c->wait_count && status == VENDOR_OK; i++) status = vendor_flag_wait(c->waits[i], target->stream);
    if (status == VENDOR_OK && c->kind == COMMAND_RESET) status = vendor_flag_clear(c->signal, target->stream);
    if (status == VENDOR_OK) status = vendor_event_record(lanes->gate, target->stream);
    if (status == VENDOR_OK && finished) status = vendor_event_record(finished, target->stream);
    if (status == VENDOR_OK && c->kind == COMMAND_BARRIER && c->signal) status = vendor_flag_set(c->signal, target->stream);
    target->used = c->kind == COMMAND_BARRIER && c->signal; /* which the next barrier waits for as well */
    for (int i = 0; i < LANES; i++) lanes->lane[i].behind = &lanes->lane[i] != target;
    return status;
}

static vendor_status put(struct lanes *lanes, const struct command *c, vendor_event *finished)
{
    if (c->kind == COMMAND_BARRIER || c->kind == COMMAND_RESET) return put_barrier(lanes, c, finished);
    struct lane *lane = &lanes->lane[lanes->next++ % LANES];
    vendor_status status = pass_gate(lanes, lane);
    for (uint32_t i = 0; i < c->wait_count && status == VENDOR_OK; i++) status = vendor_flag_wait(c->waits[i], lane->stream);
    if (status == VENDOR_OK) status = submit(lane->stream, c);
    lane->used = 1;
    if (status == VENDOR_OK && c->signal) status = vendor_flag_set(c->signal, lane->stream);
    return status;
}

/* ---- lists ------------------------------------------------------------------------------------------------------- */

static void free_command(struct command *c)
{
    free(c->waits);
    free(c);
}

static ze_result_t keep(struct sim_list *list, const struct command *c)
{
    struct command *kept = malloc(sizeof *kept);
    if (list->closed) vendor_complain(list->device, "a command is appended to a closed list");
    *kept = *c;
    kept->next = NULL;
    *list->last = kept;
    list->last = &kept->next;
    return ZE_RESULT_SUCCESS;
}

/* Runs or keeps a command; takes over c->waits. */
static ze_result_t append(struct sim_list *list, struct command *c, ze_event_handle_t signal, uint32_t count, ze_event_handle_t *waits)
{
    ze_result_t result;
    if (atomic_exchange(&list->busy, 1)) vendor_complain(list->device, "two threads use one command list");
    c->signal = signal ? ((struct sim_event *)signal)->core : NULL;
    c->wait_count = count;
    c->waits = count ? calloc(count, sizeof(vendor_event *)) : NULL;
    for (uint32_t i = 0; i < count; i++) c->waits[i] = ((struct sim_event *)waits[i])->core;
    if (!list->immediate) {
        result = keep(list, c);
    } else {
        result = sim_result(put(&list->lanes, c, NULL));
        free(c->waits);
    }
    atomic_store(&list->busy, 0);
    return result;
}

static struct sim_list *make_list(ze_device_handle_t device, uint32_t ordinal, int immediate)
{
    struct sim_list *made = calloc(1, sizeof *made);
    made->device = sim_core(device);
    made->ordinal = ordinal;
    made->immediate = immediate;
    made->last = &made->first;
    if (immediate)
        lanes_create(made->device, &made->lanes);
    else
        (void)vendor_event_create(made->device, &made->finished);
    return made;
}

ze_result_t zeCommandListCreate(ze_context_handle_t context, ze_device_handle_t device, const ze_command_list_desc_t *desc,
                                ze_command_list_handle_t *list)
{
    (void)context;
    ENTER(sim_core(device));
    *list = (ze_command_list_handle_t)make_list(device, desc->commandQueueGroupOrdinal, 0);
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListCreateImmediate(ze_context_handle_t context, ze_device_handle_t device, const ze_command_queue_desc_t *desc,
                                         ze_command_list_handle_t *list)
{
    (void)context;
    ENTER(sim_core(device));
    *list = (ze_command_list_handle_t)make_list(device, desc->ordinal, 1);
    return ZE_RESULT_SUCCESS;
}

static void check_finished(const struct sim_list *list, const char *what)
{
    if (list->executed && vendor_event_query(list->finished) == VENDOR_NOT_READY)
        vendor_complain(list->device, "a command list is %s while the device may still use it", what);
}

ze_result_t zeCommandListDestroy(ze_command_list_handle_t handle)
{
    struct sim_list *list = (struct sim_list *)handle;
    vendor_status status = vendor_call("xpu", list->device, __func__);
    if (list->immediate) {
        lanes_destroy(&list->lanes);
    } else {
        check_finished(list, "destroyed");
        vendor_event_destroy(list->finished);
    }
    while (list->first) {
        struct command *c = list->first;
        list->first = c->next;
        free_command(c);
    }
    free(list);
    return sim_result(status);
}

ze_result_t zeCommandListClose(ze_command_list_handle_t handle)
{
    struct sim_list *list = (struct sim_list *)handle;
    ENTER(list->device);
    list->closed = 1;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandListAppendBarrier(ze_command_list_handle_t list, ze_event_handle_t signal, uint32_t count, ze_event_handle_t *waits)
{
    struct command c = {.kind = COMMAND_BARRIER};
    ENTER(((struct sim_list *)list)->device);
    return append((struct sim_list *)list, &c, signal, count, waits);
}

ze_result_t zeCommandListAppendSignalEvent(ze_command_list_handle_t list, ze_event_handle_t event)
{
    struct command c = {.kind = COMMAND_BARRIER};
    ENTER(((struct sim_list *)list)->device);
    return append((struct sim_list *)list, &c, event, 0, NULL);
}

ze_result_t zeCommandListAppendWaitOnEvents(ze_command_list_handle_t list, uint32_t count, ze_event_handle_t *events)
{
    struct command c = {.kind = COMMAND_BARRIER};
    ENTER(((struct sim_list *)list)->device);
    return append((struct sim_list *)list, &c, NULL, count, events);
}

ze_result_t zeCommandListAppendEventReset(ze_command_list_handle_t list, ze_event_handle_t event)
{
    struct command c = {.kind = COMMAND_RESET};
    ENTER(((struct sim_list *)list)->device);
    return append((struct sim_list *)list, &c, event, 0, NULL);
}

ze_result_t zeCommandListAppendMemoryCopy(ze_command_list_handle_t list, void *to, const void *from, size_t size, ze_event_handle_t signal,
                                          uint32_t count, ze_event_handle_t *waits)
{
    struct command c = {.kind = COMMAND_COPY, .to = to, .from = from, .size = size};
    ENTER(((struct sim_list *)list)->device);
    return append((struct sim_list *)list, &c, signal, count, waits);
}

ze_result_t zeCommandListAppendMemoryFill(ze_command_list_handle_t list, void *to, const void *pattern, size_t pattern_size, size_t size,
                                          ze_event_handle_t signal, uint32_t count, ze_event_handle_t *waits)
{
    struct command c = {.kind = COMMAND_FILL, .to = to, .size = size, .pattern_size = pattern_size};
    ENTER(((struct sim_list *)list)->device);
    if (pattern_size > sizeof c.pattern) return ZE_RESULT_ERROR_INVALID_SIZE;
    memcpy(c.pattern, pattern, pattern_size);
    return append((struct sim_list *)list, &c, signal, count, waits);
}

ze_result_t zeCommandListAppendLaunchKernel(ze_command_list_handle_t handle, ze_kernel_handle_t kernel, const ze_group_count_t *groups,
                                            ze_event_handle_t signal, uint32_t count, ze_event_handle_t *waits)
{
    struct sim_list *list = (struct sim_list *)handle;
    struct command c = {.kind = COMMAND_LAUNCH};
    ENTER(list->device);
    if (list->ordinal == 0) {
        vendor_complain(list->device, "a kernel is launched on a queue that only copies");
        return ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE;
    }
    if (groups->groupCountY != 1 || groups->groupCountZ != 1) return ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION;
    ze_result_t result = sim_take_launch(kernel, list->device, groups->groupCountX, &c.launch);
    return result == ZE_RESULT_SUCCESS ? append(list, &c, signal, count, waits) : result;
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

ze_result_t zeCommandQueueCreate(ze_context_handle_t context, ze_device_handle_t device, const ze_command_queue_desc_t *desc,
                                 ze_command_queue_handle_t *queue)
{
    (void)context;
    ENTER(sim_core(device));
    struct sim_queue *made = calloc(1, sizeof *made);
    made->device = sim_core(device);
    made->ordinal = desc->ordinal;
    lanes_create(made->device, &made->lanes);
    *queue = (ze_command_queue_handle_t)made;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeCommandQueueDestroy(ze_command_queue_handle_t handle)
{
    struct sim_queue *queue = (struct sim_queue *)handle;
    vendor_status status = vendor_call("xpu", queue->device, __func__);
    lanes_destroy(&queue->lanes);
    free(queue);
    return sim_result(status);
}

static vendor_status execute(struct sim_queue *queue, struct sim_list *list)
{
    const struct command end = {.kind = COMMAND_BARRIER};
    vendor_status status = VENDOR_OK;
    int last_is_barrier = 0;
    for (const struct command *c = list->first; c && status == VENDOR_OK; c = c->next) {
        last_is_barrier = !c->next && c->kind == COMMAND_BARRIER && c->wait_count == 0;
        status = put(&queue->lanes, c, last_is_barrier ? list->finished : NULL);
    }
    if (status == VENDOR_OK && !last_is_barrier) status = put(&queue->lanes, &end, list->finished);
    return status;
}

ze_result_t zeCommandQueueExecuteCommandLists(ze_command_queue_handle_t handle, uint32_t count, ze_command_list_handle_t *lists,
                                              ze_fence_handle_t fence)
{
    struct sim_queue *queue = (struct sim_queue *)handle;
    vendor_status status = VENDOR_OK;
    ENTER(queue->device);
    if (fence) return ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT;
    for (uint32_t i = 0; i < count && status == VENDOR_OK; i++) {
        struct sim_list *list = (struct sim_list *)lists[i];
        if (!list->closed || list->ordinal != queue->ordinal) {
            vendor_complain(list->device, "a list is executed that is open or of another queue group");
            return ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE;
        }
        check_finished(list, "executed");
        list->executed = 1;
        status = execute(queue, list);
    }
    return sim_result(status);
}

ze_result_t zeCommandQueueSynchronize(ze_command_queue_handle_t handle, uint64_t nanoseconds)
{
    struct sim_queue *queue = (struct sim_queue *)handle;
    vendor_status status = VENDOR_OK;
    (void)nanoseconds;
    ENTER(queue->device);
    for (int i = 0; i < LANES && status == VENDOR_OK; i++) status = vendor_stream_synchronize(queue->lanes.lane[i].stream);
    return sim_result(status);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

ze_result_t zeEventPoolCreate(ze_context_handle_t context, const ze_event_pool_desc_t *desc, uint32_t count, ze_device_handle_t *devices,
                              ze_event_pool_handle_t *pool)
{
    (void)context;
    if (count == 0 || !devices) return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    ENTER(sim_core(devices[0]));
    struct sim_pool *made = calloc(1, sizeof *made);
    made->device = sim_core(devices[0]);
    made->count = desc->count;
    *pool = (ze_event_pool_handle_t)made;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventPoolDestroy(ze_event_pool_handle_t handle)
{
    struct sim_pool *pool = (struct sim_pool *)handle;
    vendor_status status = vendor_call("xpu", pool->device, __func__);
    if (pool->taken) vendor_complain(pool->device, "an event pool is destroyed while %u of its events live", (unsigned)pool->taken);
    free(pool);
    return sim_result(status);
}

ze_result_t zeEventCreate(ze_event_pool_handle_t handle, const ze_event_desc_t *desc, ze_event_handle_t *event)
{
    struct sim_pool *pool = (struct sim_pool *)handle;
    ENTER(pool->device);
    if (desc->index >= pool->count) return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    struct sim_event *made = calloc(1, sizeof *made);
    made->pool = pool;
    (void)vendor_event_create(pool->device, &made->core);
    pool->taken++;
    *event = (ze_event_handle_t)made;
    return ZE_RESULT_SUCCESS;
}

ze_result_t zeEventDestroy(ze_event_handle_t handle)
{
    struct sim_event *event = (struct sim_event *)handle;
    vendor_status status = vendor_call("xpu", event->pool->device, __func__);
    vendor_event_destroy(event->core);
    event->pool->taken--;
    free(event);
    return sim_result(status);
}

ze_result_t zeEventHostSynchronize(ze_event_handle_t handle, uint64_t nanoseconds)
{
    struct sim_event *event = (struct sim_event *)handle;
    ENTER(event->pool->device);
    return sim_result(vendor_flag_synchronize(event->core, nanoseconds > 0));
}

ze_result_t zeEventQueryStatus(ze_event_handle_t handle)
{
    struct sim_event *event = (struct sim_event *)handle;
    ENTER(event->pool->device);
    return sim_result(vendor_flag_synchronize(event->core, 0));
}

ze_result_t zeEventHostSignal(ze_event_handle_t handle)
{
    struct sim_event *event = (struct sim_event *)handle;
    ENTER(event->pool->device);
    return sim_result(vendor_flag_set(event->core, NULL));
}

ze_result_t zeEventHostReset(ze_event_handle_t handle)
{
    struct sim_event *event = (struct sim_event *)handle;
    ENTER(event->pool->device);
    return sim_result(vendor_flag_clear(event->core, NULL));
}

ze_result_t zeEventQueryKernelTimestamp(ze_event_handle_t handle, ze_kernel_timestamp_result_t *result)
{
    struct sim_event *event = (struct sim_event *)handle;
    uint64_t nanoseconds = 0;
    ENTER(event->pool->device);
    vendor_status status = vendor_event_time(event->core, &nanoseconds);
    uint64_t ticks = (uint64_t)((double)nanoseconds * 1e-9 * SIM_FREQUENCY) & 0xffffffffu;
    result->global = result->context = (ze_kernel_timestamp_data_t){ticks, ticks};
    return sim_result(status);
}
