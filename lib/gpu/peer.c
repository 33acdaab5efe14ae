/* Copies between devices, and recordings. */
#include "device.h"

#define STAGE_BYTES ((uint64_t)4 << 20)

/* Two halves of host memory: while one is written to the second device, the first device fills the other. */
static aios_status copy_staged(aios_stream *stream, char *to, aios_stream *from_stream, const char *from, uint64_t size)
{
    aios_status status = AIOS_OK;
    void *stage[2] = {NULL, NULL};
    uint64_t most = size < STAGE_BYTES ? size : STAGE_BYTES;
    ATTEMPT_QUIET(aios_device_host_alloc(from_stream->device, most, &stage[0]));
    if (size > most) ATTEMPT_QUIET(aios_device_host_alloc(from_stream->device, most, &stage[1]));
    uint64_t read = 0;
    for (uint64_t written = 0, turn = 0; written < size; turn++) {
        uint64_t part = size - written < most ? size - written : most;
        if (read == written) {
            ATTEMPT_QUIET(aios_stream_copy(from_stream, stage[turn % 2], from + read, part, AIOS_COPY_DEVICE_TO_HOST));
            read += part;
        }
        ATTEMPT_QUIET(aios_stream_synchronize(from_stream));
        ATTEMPT_QUIET(aios_stream_copy(stream, to + written, stage[turn % 2], part, AIOS_COPY_HOST_TO_DEVICE));
        if (read < size) {
            uint64_t next = size - read < most ? size - read : most;
            ATTEMPT_QUIET(aios_stream_copy(from_stream, stage[(turn + 1) % 2], from + read, next, AIOS_COPY_DEVICE_TO_HOST));
            read += next;
        }
        ATTEMPT_QUIET(aios_stream_synchronize(stream));
        written += part;
    }
done:
    if (status != AIOS_OK) { /* nothing may still write to what is freed */
        aios_error_record record;
        aios_error_save(&record);
        (void)aios_stream_synchronize(from_stream);
        (void)aios_stream_synchronize(stream);
        (void)aios_error_restore(&record);
    }
    aios_device_host_free(from_stream->device, stage[0]);
    aios_device_host_free(from_stream->device, stage[1]);
    return status;
}

/* stream waits for what from_stream holds, or from_stream for what stream holds. */
static aios_status order(aios_stream *later, aios_stream *earlier)
{
    aios_event *event;
    if (later == earlier) return AIOS_OK;
    TRY_QUIET(aios_event_create(earlier->device, &event));
    aios_status status = aios_event_record(event, earlier);
    if (status == AIOS_OK) status = aios_stream_wait_event(later, event);
    aios_event_destroy(event);
    return status;
}

/* One side's memory is the host's: the other side's device copies, and nothing is staged. */
static aios_status copy_direct(aios_stream *stream, void *to, aios_stream *from_stream, const void *from, uint64_t size)
{
    if (stream->device->info.host_accessible) {
        TRY_QUIET(aios_stream_synchronize(stream)); /* what still reads the destination */
        TRY_QUIET(aios_stream_copy(from_stream, to, from, size, AIOS_COPY_DEVICE_TO_HOST));
        return aios_stream_synchronize(from_stream);
    }
    TRY_QUIET(aios_stream_synchronize(from_stream));
    TRY_QUIET(aios_stream_copy(stream, to, from, size, AIOS_COPY_HOST_TO_DEVICE));
    return aios_stream_synchronize(stream);
}

aios_status stream_copy_peer(aios_stream *stream, void *to, aios_stream *from_stream, const void *from, uint64_t size)
{
    CHECK_HANDLE("stream_copy_peer", stream);
    CHECK_HANDLE("stream_copy_peer", from_stream);
    if (size == 0) return AIOS_OK;
    CHECK_HANDLE("stream_copy_peer", to);
    CHECK_HANDLE("stream_copy_peer", from);
    aios_device *device = stream->device, *other = from_stream->device;
    if (device == other) {
        TRY_QUIET(order(stream, from_stream));
        return aios_stream_copy(stream, to, from, size, AIOS_COPY_DEVICE_TO_DEVICE);
    }
    if (device->backend == other->backend && device->table->copy_peer) {
        TRY_QUIET(order(stream, from_stream));
        driver_call call = {.kind = CALL_copy_peer, CALL_ON(stream), .to = to, .other = other->handle, .from = from, .size = size};
        aios_status status = device_call(device, &call, "copying %llu bytes from %s", (unsigned long long)size, other->spec);
        if (status != AIOS_UNSUPPORTED) return status;
    }
    int direct = device->info.host_accessible || other->info.host_accessible;
    TRY(direct ? copy_direct(stream, to, from_stream, from, size) : copy_staged(stream, to, from_stream, from, size),
        "copying %llu bytes from %s to %s", (unsigned long long)size, other->spec, device->spec);
    return AIOS_OK;
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

struct stream_recording {
    aios_device *device;
    void *handle;
};

int device_can_capture(const aios_device *device)
{
    return device->table->capture != NULL;
}

static aios_status no_capture(const aios_device *device)
{
    return FAIL(AIOS_UNSUPPORTED, "%s: backend %s can't record a stream", device->spec, device->backend->name);
}

aios_status stream_capture_begin(aios_stream *stream)
{
    aios_device *device = stream->device;
    if (!device->table->capture) return no_capture(device);
    TRY_QUIET(device_load_kernels(device)); /* loading inside a recording is an error on some devices */
    return device_call(device, &(driver_call){.kind = CALL_capture_begin, CALL_ON(stream)}, "beginning a recording");
}

/* A device that failed meanwhile records on until it is told to end. */
static aios_status abandon_capture(aios_stream *stream)
{
    aios_device *device = stream->device;
    driver_call call = {.kind = CALL_capture_end, CALL_ON(stream)};
    device_release(device, &call);
    if (call.made) device_release(device, &(driver_call){.kind = CALL_capture_destroy, .object = call.made});
    return device_check(device, "ending a recording");
}

aios_status stream_capture_end(aios_stream *stream, stream_recording **recording)
{
    aios_device *device = stream->device;
    *recording = NULL;
    if (!device->table->capture) return no_capture(device);
    if (atomic_load(&device->failed)) return abandon_capture(stream);
    stream_recording *made = aios_new(device->context, stream_recording);
    if (!made) {
        (void)abandon_capture(stream);
        return AIOS_OUT_OF_MEMORY;
    }
    driver_call call = {.kind = CALL_capture_end, CALL_ON(stream)};
    aios_status status = device_call(device, &call, "ending a recording");
    if (status != AIOS_OK) {
        aios_memory_free(device->context, made);
        return status;
    }
    made->handle = call.made;
    made->device = aios_device_retain(device);
    *recording = made;
    return AIOS_OK;
}

aios_status stream_replay(aios_stream *stream, stream_recording *recording)
{
    aios_device *device = stream->device;
    if (recording->device != device)
        return FAIL(AIOS_INVALID_ARGUMENT, "replaying on %s what was recorded on %s: both must be one device handle", device->spec,
                    recording->device->spec);
    return device_call(device, &(driver_call){.kind = CALL_capture_replay, CALL_ON(stream), .object = recording->handle},
                       "replaying a recording");
}

void stream_recording_destroy(stream_recording *recording)
{
    if (!recording) return;
    aios_device *device = recording->device;
    device_release(device, &(driver_call){.kind = CALL_capture_destroy, .object = recording->handle});
    aios_memory_free(device->context, recording);
    aios_device_close(device);
}
