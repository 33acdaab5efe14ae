/* Copies between two devices of one driver.  What zeDeviceCanAccessPeer promises is tried before it is believed. */
#include "xpu.h"

#include <string.h>

#define TRIAL_BYTES 4096

typedef struct trial {
    void *theirs, *ours, *their_stream, *our_stream;
    uint32_t sent[TRIAL_BYTES / 4], got[TRIAL_BYTES / 4];
} trial;

static aios_status run_trial(xpu_device *device, xpu_device *other, trial *t)
{
    PLUGIN_TRY(xpu_alloc(other, TRIAL_BYTES, &t->theirs));
    PLUGIN_TRY(xpu_alloc(device, TRIAL_BYTES, &t->ours));
    PLUGIN_TRY(xpu_create_stream(other, &t->their_stream));
    PLUGIN_TRY(xpu_create_stream(device, &t->our_stream));
    PLUGIN_TRY(xpu_copy(other, t->their_stream, t->theirs, t->sent, TRIAL_BYTES, AIOS_COPY_HOST_TO_DEVICE));
    PLUGIN_TRY(xpu_synchronize_stream(other, t->their_stream));
    PLUGIN_TRY(xpu_copy(device, t->our_stream, t->ours, t->theirs, TRIAL_BYTES, AIOS_COPY_DEVICE_TO_DEVICE));
    PLUGIN_TRY(xpu_copy(device, t->our_stream, t->got, t->ours, TRIAL_BYTES, AIOS_COPY_DEVICE_TO_HOST));
    return xpu_synchronize_stream(device, t->our_stream);
}

static void end_trial(xpu_device *device, xpu_device *other, trial *t)
{
    if (t->our_stream) (void)xpu_synchronize_stream(device, t->our_stream);
    if (t->our_stream) xpu_destroy_stream(device, t->our_stream);
    if (t->their_stream) xpu_destroy_stream(other, t->their_stream);
    if (t->ours) xpu_free(device, t->ours);
    if (t->theirs) xpu_free(other, t->theirs);
    plugin_free(t);
}

/* 1 or -1; a device that fails in the trial fails again, in its own words, in what follows. */
static int try_peer(xpu_device *device, xpu_device *other)
{
    ze_bool_t can = 0;
    if (device->place->context != other->place->context) return -1;
    aios_status status = ZE(zeDeviceCanAccessPeer, device->place->device, other->place->device, &can);
    if (status == AIOS_OK && !can) return -1;
    trial *t = status == AIOS_OK ? plugin_alloc(sizeof *t) : NULL;
    int same = 1;
    if (t) {
        for (uint32_t i = 0; i < TRIAL_BYTES / 4; i++) t->sent[i] = (i + 1) * 2654435761u;
        status = run_trial(device, other, t);
        same = status != AIOS_OK || memcmp(t->sent, t->got, TRIAL_BYTES) == 0;
        end_trial(device, other, t);
        if (status == AIOS_OK && same) return 1;
    }
    plugin_log(AIOS_LOG_WARNING, "copies from device %d to device %d %s: they go through the host's memory", (int)other->index,
               (int)device->index, same ? "fail" : "deliver other bytes than were sent");
    return -1;
}

aios_status xpu_copy_peer(void *handle, void *stream, void *to, void *other_handle, const void *from, uint64_t size)
{
    xpu_device *device = handle, *other = other_handle;
    int found = atomic_load(&device->peers[other->index]);
    if (found == 0) {
        found = try_peer(device, other);
        atomic_store(&device->peers[other->index], found);
    }
    if (found < 0) return plugin_fail(AIOS_UNSUPPORTED, 0, "xpu:%d can't read the memory of xpu:%d", (int)device->index, (int)other->index);
    return xpu_copy(handle, stream, to, from, size, AIOS_COPY_DEVICE_TO_DEVICE);
}
