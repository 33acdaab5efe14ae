/* Streams: an immediate command list each, and recordings: closed command lists that are executed again and again. */
#include "xpu.h"

/* ---- order ------------------------------------------------------------------------------------------------------- */

typedef struct xpu_recording {
    ze_command_list_handle_t list; /* waits for go first and signals done last */
    xpu_slot *go, *done;
    int failed;       /* a replay was submitted in part */
    xpu_slot *passed; /* of the last replay: its stream has seen done; NULL before the first */
} xpu_recording;

aios_status xpu_ordered_list(xpu_stream *stream, ze_command_list_handle_t *list)
{
    int recorded = stream->recording != NULL;
    *list = recorded ? stream->recording->list : stream->immediate;
    if (stream->dirty[recorded]) PLUGIN_TRY(ZE(zeCommandListAppendBarrier, *list, NULL, 0, NULL));
    stream->dirty[recorded] = 0;
    return AIOS_OK;
}

void xpu_appended(xpu_stream *stream)
{
    stream->dirty[stream->recording != NULL] = 1;
}

aios_status xpu_signal(xpu_stream *stream, xpu_slot *slot)
{
    PLUGIN_TRY(ZE(zeCommandListAppendBarrier, stream->immediate, slot->event, 0, NULL));
    stream->dirty[0] = 0;
    return AIOS_OK;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static ze_command_queue_desc_t queue_desc(const xpu_device *device)
{
    return (ze_command_queue_desc_t){
        .stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC, .ordinal = device->compute_ordinal, .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS};
}

aios_status xpu_create_stream(void *handle, void **stream)
{
    xpu_device *device = handle;
    const ze_command_queue_desc_t desc = queue_desc(device);
    xpu_stream *made = plugin_alloc(sizeof *made);
    *stream = NULL;
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->device = device;
    aios_status status = ZE(zeCommandListCreateImmediate, device->place->context, device->place->device, &desc, &made->immediate);
    if (status != AIOS_OK) {
        plugin_free(made);
        return status;
    }
    (void)pthread_mutex_lock(&device->mutex);
    made->next = device->streams;
    device->streams = made;
    (void)pthread_mutex_unlock(&device->mutex);
    *stream = made;
    return AIOS_OK;
}

void xpu_destroy_stream(void *handle, void *stream_handle)
{
    xpu_device *device = handle;
    xpu_stream *stream = stream_handle;
    if (xpu_synchronize_stream(device, stream) != AIOS_OK) /* a list must not be destroyed while the device uses it */
        plugin_log(AIOS_LOG_DEBUG, "xpu:%d: a stream failed before it was destroyed", (int)device->index);
    (void)pthread_mutex_lock(&device->mutex);
    xpu_stream **link = &device->streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
    (void)pthread_mutex_unlock(&device->mutex);
    if (stream->recording) xpu_capture.destroy(device, stream->recording);
    (void)ze.zeCommandListDestroy(stream->immediate);
    plugin_free(stream);
}

/* Signals a slot behind the stream's work; the caller holds the mutex and gives the slot back. */
static aios_status mark(xpu_device *device, xpu_stream *stream, xpu_slot **slot)
{
    PLUGIN_TRY(xpu_slot_take(device, slot));
    aios_status status = xpu_signal(stream, *slot);
    if (status == AIOS_OK) return AIOS_OK;
    xpu_slot_retire(device, *slot);
    *slot = NULL;
    return status;
}

static void give_back(xpu_device *device, xpu_slot *slot)
{
    (void)pthread_mutex_lock(&device->mutex);
    xpu_slot_retire(device, slot);
    (void)pthread_mutex_unlock(&device->mutex);
}

aios_status xpu_synchronize_stream(void *handle, void *stream)
{
    xpu_device *device = handle;
    xpu_slot *slot = NULL;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = mark(device, stream, &slot);
    (void)pthread_mutex_unlock(&device->mutex);
    if (status != AIOS_OK) return status;
    status = xpu_slot_wait(device, slot);
    give_back(device, slot);
    return status;
}

/* One slot per stream, held together in a list, so that the streams are waited for without the mutex. */
aios_status xpu_synchronize(void *handle)
{
    xpu_device *device = handle;
    xpu_slot *first = NULL, *slot, *next;
    aios_status status = xpu_status(device);
    (void)pthread_mutex_lock(&device->mutex);
    for (xpu_stream *stream = device->streams; stream && status == AIOS_OK; stream = stream->next) {
        status = mark(device, stream, &slot);
        if (status != AIOS_OK) break;
        slot->next = first;
        first = slot;
    }
    (void)pthread_mutex_unlock(&device->mutex);
    for (slot = first; slot; slot = next) {
        next = slot->next;
        if (status == AIOS_OK) status = xpu_slot_wait(device, slot);
        give_back(device, slot);
    }
    return status;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static aios_status append_copy(xpu_stream *stream, void *to, const void *from, uint64_t size)
{
    ze_command_list_handle_t list;
    PLUGIN_TRY(xpu_ordered_list(stream, &list));
    PLUGIN_TRY(ZE(zeCommandListAppendMemoryCopy, list, to, from, size, NULL, 0, NULL));
    xpu_appended(stream);
    return AIOS_OK;
}

aios_status xpu_copy(void *handle, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    xpu_device *device = handle;
    (void)kind; /* the driver knows whose the addresses are */
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = append_copy(stream, to, from, size);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

static aios_status append_fill(xpu_stream *stream, void *to, uint32_t pattern, uint64_t size)
{
    ze_command_list_handle_t list;
    PLUGIN_TRY(xpu_ordered_list(stream, &list));
    PLUGIN_TRY(ZE(zeCommandListAppendMemoryFill, list, to, &pattern, sizeof pattern, size, NULL, 0, NULL));
    xpu_appended(stream);
    return AIOS_OK;
}

aios_status xpu_fill(void *handle, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    xpu_device *device = handle;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = append_fill(stream, to, pattern, size);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

static void destroy_recording(void *handle, void *recording_handle)
{
    xpu_device *device = handle;
    xpu_recording *recording = recording_handle;
    aios_status status = recording->passed ? xpu_slot_wait(device, recording->passed) : AIOS_OK;
    if (recording->failed) status = ZE(zeCommandQueueSynchronize, device->queue, 1000000000);
    if (status != AIOS_OK) plugin_log(AIOS_LOG_ERROR, "xpu:%d: a recording failed as it was destroyed", (int)device->index);
    (void)pthread_mutex_lock(&device->mutex);
    if (recording->list) (void)ze.zeCommandListDestroy(recording->list);
    if (recording->go) xpu_slot_free(device, recording->go);
    if (recording->done) xpu_slot_free(device, recording->done);
    if (recording->passed) xpu_slot_free(device, recording->passed);
    (void)pthread_mutex_unlock(&device->mutex);
    plugin_free(recording);
}

static aios_status make_recording(xpu_device *device, xpu_recording *recording)
{
    const ze_command_queue_desc_t queue = queue_desc(device);
    const ze_command_list_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC, .commandQueueGroupOrdinal = device->compute_ordinal};
    const xpu_place *place = device->place;
    if (!device->queue) PLUGIN_TRY(ZE(zeCommandQueueCreate, place->context, place->device, &queue, &device->queue));
    PLUGIN_TRY(xpu_slot_take(device, &recording->go));
    PLUGIN_TRY(xpu_slot_take(device, &recording->done));
    PLUGIN_TRY(ZE(zeCommandListCreate, place->context, place->device, &desc, &recording->list));
    return ZE(zeCommandListAppendBarrier, recording->list, NULL, 1, &recording->go->event);
}

static aios_status begin_recording(void *handle, void *stream_handle)
{
    xpu_device *device = handle;
    xpu_stream *stream = stream_handle;
    if (stream->recording) return plugin_fail(AIOS_WRONG_STATE, 0, "the stream is being recorded already");
    xpu_recording *made = plugin_alloc(sizeof *made);
    if (!made) return AIOS_OUT_OF_MEMORY;
    (void)pthread_mutex_lock(&device->mutex);
    aios_status status = make_recording(device, made);
    if (status == AIOS_OK) stream->recording = made, stream->dirty[1] = 0;
    (void)pthread_mutex_unlock(&device->mutex);
    if (status != AIOS_OK) destroy_recording(device, made);
    return status;
}

static aios_status close_recording(xpu_recording *recording)
{
    PLUGIN_TRY(ZE(zeCommandListAppendBarrier, recording->list, recording->done->event, 0, NULL));
    return ZE(zeCommandListClose, recording->list);
}

static aios_status end_recording(void *handle, void *stream_handle, void **recording)
{
    xpu_device *device = handle;
    xpu_stream *stream = stream_handle;
    xpu_recording *made = stream->recording;
    *recording = NULL;
    if (!made) return plugin_fail(AIOS_WRONG_STATE, 0, "the stream is not being recorded");
    (void)pthread_mutex_lock(&device->mutex);
    stream->recording = NULL;
    aios_status status = close_recording(made);
    (void)pthread_mutex_unlock(&device->mutex);
    if (status == AIOS_OK)
        *recording = made;
    else
        destroy_recording(device, made);
    return status;
}

static aios_status submit(xpu_device *device, xpu_stream *stream, xpu_recording *recording)
{
    ze_command_list_handle_t list;
    xpu_slot *passed;
    PLUGIN_TRY(xpu_slot_take(device, &passed));
    recording->failed = 1; /* until the last of these has worked */
    PLUGIN_TRY(xpu_signal(stream, recording->go));
    PLUGIN_TRY(ZE(zeCommandQueueExecuteCommandLists, device->queue, 1, &recording->list, NULL));
    PLUGIN_TRY(xpu_ordered_list(stream, &list));
    PLUGIN_TRY(ZE(zeCommandListAppendBarrier, list, passed->event, 1, &recording->done->event));
    recording->passed = passed;
    recording->failed = 0;
    return AIOS_OK;
}

/* A driver may change a list while it submits it, so the last replay must be behind the device. */
static aios_status replay(void *handle, void *stream_handle, void *recording_handle)
{
    xpu_device *device = handle;
    xpu_recording *recording = recording_handle;
    xpu_stream *stream = stream_handle;
    if (stream->recording) return plugin_fail(AIOS_WRONG_STATE, 0, "a recording can't be replayed on a stream that is being recorded");
    if (recording->failed) return plugin_fail(AIOS_WRONG_STATE, 0, "the recording's last replay failed: it can't be replayed again");
    if (recording->passed) {
        PLUGIN_TRY(xpu_slot_wait(device, recording->passed));
        PLUGIN_TRY(ZE(zeEventHostReset, recording->go->event));
        PLUGIN_TRY(ZE(zeEventHostReset, recording->done->event));
    }
    (void)pthread_mutex_lock(&device->mutex);
    if (recording->passed) xpu_slot_retire(device, recording->passed);
    recording->passed = NULL;
    aios_status status = submit(device, stream, recording);
    (void)pthread_mutex_unlock(&device->mutex);
    return status;
}

const aios_capture_group xpu_capture = {sizeof xpu_capture, 0, begin_recording, end_recording, replay, destroy_recording};
