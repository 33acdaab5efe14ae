#include "device.h"

/* Recorded, or why not.  What is submitted meanwhile does not run. */
static aios_status record(stream_recorder *recorder, aios_stream *stream, aios_status (*submit)(void *user), void *user)
{
    TRY_QUIET(stream_capture_begin(stream));
    aios_status submitted = submit(user);
    aios_status ended = stream_capture_end(stream, &recorder->recording);
    if (submitted == AIOS_OK) return ended;
    stream_recording_destroy(recorder->recording);
    recorder->recording = NULL;
    return submitted;
}

aios_status stream_submit(stream_recorder *recorder, aios_stream *stream, aios_status (*submit)(void *user), void *user, const char *what)
{
    aios_device *device = stream->device;
    if (recorder->off || !device_can_capture(device)) return submit(user);
    if (!recorder->recording && recorder->warm_runs++ == 0) return submit(user);
    aios_status status = recorder->recording ? AIOS_OK : record(recorder, stream, submit, user);
    if (status == AIOS_OK) status = stream_replay(stream, recorder->recording);
    if (status == AIOS_OK || aios_device_health(device) != AIOS_OK) return status;
    aios_log(device->context, AIOS_LOG_WARNING, "%s: %s is launched piece by piece, since recording it failed: %s", device->spec, what,
             aios_error_message());
    stream_recorder_end(recorder);
    recorder->off = 1;
    return submit(user);
}

void stream_recorder_end(stream_recorder *recorder)
{
    stream_recording_destroy(recorder->recording);
    recorder->recording = NULL;
}
