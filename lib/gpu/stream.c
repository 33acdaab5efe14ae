#include "device.h"

#include <string.h>

#define LANDING_BYTES ((uint64_t)1 << 20)

/* ---- streams ----------------------------------------------------------------------------------------------------- */

aios_status aios_stream_create(aios_device *device, aios_stream **stream)
{
    CHECK_HANDLE("aios_stream_create", stream);
    *stream = NULL;
    CHECK_HANDLE("aios_stream_create", device);
    aios_stream *made = aios_new(device->context, aios_stream);
    if (!made) return AIOS_OUT_OF_MEMORY;
    driver_call call = {.kind = CALL_create_stream};
    aios_status status = device_call(device, &call, "creating a stream");
    if (status != AIOS_OK) {
        aios_memory_free(device->context, made);
        return status;
    }
    made->handle = call.made;
    made->device = aios_device_retain(device);
    *stream = made;
    return AIOS_OK;
}

void aios_stream_destroy(aios_stream *stream)
{
    if (!stream) return;
    aios_device *device = stream->device;
    int failed = atomic_load(&device->failed);
    if (aios_stream_synchronize(stream) != AIOS_OK && !failed)
        aios_log(device->context, AIOS_LOG_ERROR, "%s: a stream failed as it was destroyed: %s", device->spec, aios_error_message());
    device_release(device, &(driver_call){.kind = CALL_destroy_stream, CALL_ON(stream)});
    aios_device_host_free(device, stream->landing);
    aios_memory_free(device->context, stream);
    aios_device_close(device);
}

aios_status aios_stream_synchronize(aios_stream *stream)
{
    CHECK_HANDLE("aios_stream_synchronize", stream);
    aios_device *device = stream->device;
    /* A device that failed may still copy from and to the host's memory: who waits in order to free that must not be told too early. */
    if (atomic_load(&device->failed)) device_release(device, &(driver_call){.kind = CALL_synchronize_stream, CALL_ON(stream)});
    return device_call(device, &(driver_call){.kind = CALL_synchronize_stream, CALL_ON(stream)}, "waiting for a stream");
}

aios_device *aios_stream_device(const aios_stream *stream)
{
    return stream ? stream->device : NULL;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

aios_status aios_event_create(aios_device *device, aios_event **event)
{
    CHECK_HANDLE("aios_event_create", event);
    *event = NULL;
    CHECK_HANDLE("aios_event_create", device);
    aios_event *made = aios_new(device->context, aios_event);
    if (!made) return AIOS_OUT_OF_MEMORY;
    driver_call call = {.kind = CALL_create_event};
    aios_status status = device_call(device, &call, "creating an event");
    if (status != AIOS_OK) {
        aios_memory_free(device->context, made);
        return status;
    }
    made->handle = call.made;
    made->device = aios_device_retain(device);
    *event = made;
    return AIOS_OK;
}

void aios_event_destroy(aios_event *event)
{
    if (!event) return;
    aios_device *device = event->device;
    device_release(device, &(driver_call){.kind = CALL_destroy_event, .object = event->handle});
    aios_memory_free(device->context, event);
    aios_device_close(device);
}

aios_status aios_event_record(aios_event *event, aios_stream *stream)
{
    CHECK_HANDLE("aios_event_record", event);
    CHECK_HANDLE("aios_event_record", stream);
    aios_device *device = stream->device;
    if (event->device != device)
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_event_record: the event is of %s and the stream of %s, opened apart: both must be of one device handle",
                    event->device->spec, device->spec);
    TRY_QUIET(
        device_call(device, &(driver_call){.kind = CALL_record_event, CALL_ON(stream), .object = event->handle}, "recording an event"));
    atomic_store(&event->recorded, 1);
    return AIOS_OK;
}

/* An event that was never recorded is reached: waiting for it does nothing. */
aios_status aios_stream_wait_event(aios_stream *stream, aios_event *event)
{
    CHECK_HANDLE("aios_stream_wait_event", stream);
    CHECK_HANDLE("aios_stream_wait_event", event);
    aios_device *device = stream->device;
    TRY_QUIET(device_check(device, "letting a stream wait"));
    if (!atomic_load(&event->recorded)) return AIOS_OK;
    if (event->device != device) return aios_event_synchronize(event); /* a backend knows its own device's events alone */
    return device_call(device, &(driver_call){.kind = CALL_wait_event, CALL_ON(stream), .object = event->handle},
                       "letting a stream wait for an event");
}

aios_status aios_event_synchronize(aios_event *event)
{
    CHECK_HANDLE("aios_event_synchronize", event);
    aios_device *device = event->device;
    TRY_QUIET(device_check(device, "waiting for an event"));
    if (!atomic_load(&event->recorded)) return AIOS_OK;
    return device_call(device, &(driver_call){.kind = CALL_synchronize_event, .object = event->handle}, "waiting for an event");
}

aios_status aios_event_elapsed_ms(aios_event *from, aios_event *to, float *milliseconds)
{
    CHECK_HANDLE("aios_event_elapsed_ms", milliseconds);
    *milliseconds = 0;
    CHECK_HANDLE("aios_event_elapsed_ms", from);
    CHECK_HANDLE("aios_event_elapsed_ms", to);
    if (from->device != to->device)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_event_elapsed_ms: the events are of %s and %s: both must be of one device handle",
                    from->device->spec, to->device->spec);
    if (!atomic_load(&from->recorded) || !atomic_load(&to->recorded))
        return FAIL(AIOS_WRONG_STATE, "aios_event_elapsed_ms: %s was never recorded", atomic_load(&from->recorded) ? "to" : "from");
    aios_device *device = from->device;
    driver_call call = {.kind = CALL_elapsed_ms, .object = from->handle, .other = to->handle};
    TRY_QUIET(device_call(device, &call, "asking the time between events"));
    *milliseconds = call.milliseconds;
    return AIOS_OK;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

aios_status aios_stream_copy(aios_stream *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    static const char *const kinds[] = {"host to device", "device to host", "device to device"};
    CHECK_HANDLE("aios_stream_copy", stream);
    if (kind < AIOS_COPY_HOST_TO_DEVICE || kind > AIOS_COPY_DEVICE_TO_DEVICE)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_stream_copy: kind is %d: it must be an AIOS_COPY_ constant, 0 to 2", (int)kind);
    aios_device *device = stream->device;
    TRY_QUIET(device_check(device, "copying"));
    if (size == 0) return AIOS_OK;
    CHECK_HANDLE("aios_stream_copy", to);
    CHECK_HANDLE("aios_stream_copy", from);
    driver_call call = {.kind = CALL_copy, CALL_ON(stream), .to = to, .from = from, .size = size, .number = kind};
    return device_call(device, &call, "copying %llu bytes %s", (unsigned long long)size, kinds[kind]);
}

aios_status stream_fetch(aios_stream *stream, void *to, const void *from, uint64_t size)
{
    aios_device *device = stream->device;
    if (device->deadline == 0) {
        TRY_QUIET(aios_stream_copy(stream, to, from, size, AIOS_COPY_DEVICE_TO_HOST));
        return aios_stream_synchronize(stream);
    }
    if (!stream->landing) TRY_QUIET(aios_device_host_alloc(device, LANDING_BYTES, &stream->landing));
    for (uint64_t done = 0; done < size;) {
        uint64_t part = size - done < LANDING_BYTES ? size - done : LANDING_BYTES;
        TRY_QUIET(aios_stream_copy(stream, stream->landing, (const char *)from + done, part, AIOS_COPY_DEVICE_TO_HOST));
        TRY_QUIET(aios_stream_synchronize(stream));
        memcpy((char *)to + done, stream->landing, part);
        done += part;
    }
    return AIOS_OK;
}

aios_status aios_stream_fill(aios_stream *stream, void *to, uint32_t pattern, uint64_t size)
{
    CHECK_HANDLE("aios_stream_fill", stream);
    if (size % 4 || (uintptr_t)to % 4)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_stream_fill: %llu bytes at %p: size and address must be multiples of 4",
                    (unsigned long long)size, to);
    aios_device *device = stream->device;
    TRY_QUIET(device_check(device, "filling"));
    if (size == 0) return AIOS_OK;
    CHECK_HANDLE("aios_stream_fill", to);
    driver_call call = {.kind = CALL_fill, CALL_ON(stream), .to = to, .word = pattern, .size = size};
    return device_call(device, &call, "filling %llu bytes", (unsigned long long)size);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

aios_status device_load_kernels(aios_device *device)
{
    if (atomic_load_explicit(&device->kernels_loaded, memory_order_acquire)) return AIOS_OK;
    aios_status status = AIOS_OK;
    os_mutex_lock(&device->loading);
    if (!atomic_load_explicit(&device->kernels_loaded, memory_order_relaxed)) {
        driver_call call = {.kind = CALL_load_kernels};
        status = device_call(device, &call, "loading its %u kernels", (unsigned)aios_kernel_count());
        if (status == AIOS_OK) atomic_store_explicit(&device->kernels_loaded, 1, memory_order_release);
    }
    os_mutex_unlock(&device->loading);
    return status;
}

aios_status aios_stream_launch(aios_stream *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    CHECK_HANDLE("aios_stream_launch", stream);
    if (kernel >= aios_kernel_count())
        return FAIL(AIOS_OUT_OF_RANGE, "aios_stream_launch: kernel is %u: there are %u", (unsigned)kernel, (unsigned)aios_kernel_count());
    CHECK_HANDLE("aios_stream_launch", arguments);
    const aios_kernel *entry = aios_kernel_get(kernel);
    for (uint32_t i = 0; i < entry->argument_count; i++)
        if (!arguments[i])
            return FAIL(AIOS_INVALID_ARGUMENT, "aios_stream_launch: %s: the address of argument %u (%s) is NULL", entry->name, (unsigned)i,
                        entry->arguments[i].name);
    aios_device *device = stream->device;
    TRY_QUIET(device_load_kernels(device));
    if (teams == 0) teams = (uint32_t)device->info.teams;
    driver_call call = {.kind = CALL_launch, CALL_ON(stream), .kernel = kernel, .word = teams, .arguments = arguments};
    return device_call(device, &call, "launching %s on %u teams", entry->name, (unsigned)teams);
}
