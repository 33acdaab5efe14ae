/* Events.  A Level Zero event must be reset before it can be signalled again, and a reset while a stream still has to wait for it
 * would be missed.  So each record takes a fresh one, a slot; every wait signals a slot of its own when it has passed; and a slot
 * is reset when itself and its waits are signalled. */
#include "xpu.h"

static aios_status add_block(xpu_device *device)
{
    const ze_event_pool_desc_t pool = {.stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC,
                                       .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE | ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP,
                                       .count = XPU_SLOT_BLOCK};
    ze_device_handle_t handle = device->place->device;
    xpu_slot_block *block = plugin_alloc(sizeof *block);
    if (!block) return AIOS_OUT_OF_MEMORY;
    aios_status status = ZE(zeEventPoolCreate, device->place->context, &pool, 1, &handle, &block->pool);
    if (status != AIOS_OK) {
        plugin_free(block);
        return status;
    }
    block->next = device->blocks;
    device->blocks = block;
    for (; block->count < XPU_SLOT_BLOCK; block->count++) {
        xpu_slot *slot = &block->slots[block->count];
        const ze_event_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_EVENT_DESC,
                                      .index = block->count,
                                      .signal = ZE_EVENT_SCOPE_FLAG_HOST,
                                      .wait = ZE_EVENT_SCOPE_FLAG_HOST};
        PLUGIN_TRY(ZE(zeEventCreate, block->pool, &desc, &slot->event));
        slot->next = device->free_slots;
        device->free_slots = slot;
    }
    return AIOS_OK;
}

static int is_passed(const xpu_slot *slot)
{
    if (slot->pins || ze.zeEventQueryStatus(slot->event) != ZE_RESULT_SUCCESS) return 0;
    for (const xpu_slot *wait = slot->waits; wait; wait = wait->next)
        if (ze.zeEventQueryStatus(wait->event) != ZE_RESULT_SUCCESS) return 0;
    return 1;
}

/* One that can't be reset stays out of use until the device is closed. */
void xpu_slot_free(xpu_device *device, xpu_slot *slot)
{
    slot->waits = NULL;
    if (ze.zeEventHostReset(slot->event) != ZE_RESULT_SUCCESS) return;
    slot->next = device->free_slots;
    device->free_slots = slot;
}

static void reclaim(xpu_device *device)
{
    for (xpu_slot **link = &device->retired_slots; *link;) {
        xpu_slot *slot = *link, *wait = slot->waits;
        if (!is_passed(slot)) {
            link = &slot->next;
            continue;
        }
        *link = slot->next;
        for (xpu_slot *next; wait; wait = next) {
            next = wait->next;
            xpu_slot_free(device, wait);
        }
        xpu_slot_free(device, slot);
    }
}

aios_status xpu_slot_take(xpu_device *device, xpu_slot **slot)
{
    *slot = NULL;
    if (!device->free_slots) reclaim(device);
    if (!device->free_slots) PLUGIN_TRY(add_block(device));
    *slot = device->free_slots;
    device->free_slots = (*slot)->next;
    (*slot)->next = NULL;
    return AIOS_OK;
}

void xpu_slot_retire(xpu_device *device, xpu_slot *slot)
{
    slot->next = device->retired_slots;
    device->retired_slots = slot;
}

/* In slices: a device that is lost may never signal. */
aios_status xpu_slot_wait(xpu_device *device, xpu_slot *slot)
{
    const uint64_t slice = 1000000000;
    for (;;) {
        ze_result_t result = ze.zeEventHostSynchronize(slot->event, slice);
        if (result != ZE_RESULT_NOT_READY) return xpu_check(result, "zeEventHostSynchronize");
        PLUGIN_TRY(xpu_status(device));
    }
}

void xpu_slots_destroy(xpu_device *device)
{
    while (device->blocks) {
        xpu_slot_block *block = device->blocks;
        device->blocks = block->next;
        for (uint32_t i = 0; i < block->count; i++) (void)ze.zeEventDestroy(block->slots[i].event);
        (void)ze.zeEventPoolDestroy(block->pool);
        plugin_free(block);
    }
}

/* ---- the table's ------------------------------------------------------------------------------------------------- */

aios_status xpu_create_event(void *device, void **event)
{
    (void)device;
    *event = plugin_alloc(sizeof(xpu_event));
    return *event ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

void xpu_destroy_event(void *handle, void *event_handle)
{
    xpu_device *device = handle;
    xpu_event *event = event_handle;
    (void)pthread_mutex_lock(&device->mutex);
    if (event->slot) xpu_slot_retire(device, event->slot);
    (void)pthread_mutex_unlock(&device->mutex);
    plugin_free(event);
}

static aios_status record(xpu_device *device, xpu_event *event, xpu_stream *stream)
{
    xpu_slot *slot;
    if (stream->recording) return plugin_fail(AIOS_WRONG_STATE, 0, "an event can't be recorded on a stream that is being recorded");
    PLUGIN_TRY(xpu_slot_take(device, &slot));
    aios_status status = xpu_signal(stream, slot);
    if (status != AIOS_OK) {
        xpu_slot_free(device, slot);
        return status;
    }
    if (event->slot) xpu_slot_retire(device, event->slot);
    event->slot = slot;
    return AIOS_OK;
}

aios_status xpu_record_event(void *handle, void *event, void *stream)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = record(device, event, stream);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

static aios_status let_wait(xpu_device *device, xpu_stream *stream, xpu_event *event)
{
    ze_command_list_handle_t list;
    xpu_slot *passed;
    if (stream->recording) return plugin_fail(AIOS_WRONG_STATE, 0, "a stream that is being recorded can't wait for an event");
    if (!event->slot) return AIOS_OK;
    /* A barrier that waits for events does not wait for the commands before it, hence one before. */
    PLUGIN_TRY(xpu_ordered_list(stream, &list));
    PLUGIN_TRY(xpu_slot_take(device, &passed));
    aios_status status = ZE(zeCommandListAppendBarrier, list, passed->event, 1, &event->slot->event);
    if (status != AIOS_OK) {
        xpu_slot_free(device, passed);
        return status;
    }
    passed->next = event->slot->waits;
    event->slot->waits = passed;
    return AIOS_OK;
}

aios_status xpu_wait_event(void *handle, void *stream, void *event)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = let_wait(device, stream, event);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

aios_status xpu_synchronize_event(void *handle, void *event)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    xpu_slot *slot = ((xpu_event *)event)->slot;
    if (slot) slot->pins++;
    (void)pthread_mutex_unlock(&device->mutex);
    if (!slot) return AIOS_OK;
    aios_status status = xpu_slot_wait(device, slot);
    (void)pthread_mutex_lock(&device->mutex);
    slot->pins--;
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

/* The counter of 32 bits wraps: a difference is right up to half its range, minutes. */
aios_status xpu_elapsed_ms(void *handle, void *from, void *to, float *ms)
{
    xpu_device *device = handle;
    ze_kernel_timestamp_result_t first, last;
    PLUGIN_TRY(ZE(zeEventQueryKernelTimestamp, ((xpu_event *)from)->slot->event, &first));
    PLUGIN_TRY(ZE(zeEventQueryKernelTimestamp, ((xpu_event *)to)->slot->event, &last));
    uint32_t bits = device->properties.kernelTimestampValidBits;
    uint32_t unused = bits > 0 && bits < 64 ? 64 - bits : 0;
    int64_t ticks = (int64_t)((last.global.kernelEnd - first.global.kernelEnd) << unused) >> unused;
    uint64_t frequency = device->properties.timerResolution ? device->properties.timerResolution : 1000000000;
    *ms = (float)((double)ticks * 1e3 / (double)frequency);
    return AIOS_OK;
}
