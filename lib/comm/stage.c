#include "stage.h"

#include "base/error.h"

aios_status stage_open(comm_stage *s, aios_stream *stream, int always, int slots, uint64_t slot_bytes)
{
    aios_device *device = aios_stream_device(stream);
    void *memory;
    *s = (comm_stage){.stream = stream, .slots = slots};
    if (!always && aios_device_get_info(device)->host_accessible) return AIOS_OK;
    TRY_QUIET(aios_stream_create(device, &s->out));
    TRY_QUIET(aios_device_host_alloc(device, (uint64_t)slots * slot_bytes, &memory));
    s->memory = memory;
    for (int i = 0; i < slots; i++) {
        TRY_QUIET(aios_event_create(device, &s->came[i]));
        TRY_QUIET(aios_event_create(device, &s->gone[i]));
    }
    return AIOS_OK;
}

void stage_close(comm_stage *s)
{
    if (!s->stream) return;
    if (s->out) {
        (void)aios_stream_synchronize(s->stream);
        aios_stream_destroy(s->out);
    }
    for (int i = 0; i < s->slots; i++) {
        aios_event_destroy(s->came[i]);
        aios_event_destroy(s->gone[i]);
    }
    if (s->memory) aios_device_host_free(aios_stream_device(s->stream), s->memory);
}

static uint64_t slot_of(const comm_stage *s, uint64_t k)
{
    return k % (uint64_t)s->slots;
}

aios_status stage_claim(comm_stage *s, uint64_t k)
{
    return k < (uint64_t)s->slots ? AIOS_OK : aios_stream_wait_event(s->stream, s->gone[slot_of(s, k)]);
}

aios_status stage_bring(comm_stage *s, float *to, const float *from, uint64_t count)
{
    return count ? aios_stream_copy(s->stream, to, from, count * sizeof *to, AIOS_COPY_DEVICE_TO_HOST) : AIOS_OK;
}

aios_status stage_brought(comm_stage *s, uint64_t k)
{
    return aios_event_record(s->came[slot_of(s, k)], s->stream);
}

aios_status stage_await(comm_stage *s, uint64_t k)
{
    return aios_event_synchronize(s->came[slot_of(s, k)]);
}

aios_status stage_send(comm_stage *s, float *to, const float *from, uint64_t count)
{
    return count ? aios_stream_copy(s->out, to, from, count * sizeof *to, AIOS_COPY_HOST_TO_DEVICE) : AIOS_OK;
}

aios_status stage_sent(comm_stage *s, uint64_t k)
{
    return aios_event_record(s->gone[slot_of(s, k)], s->out);
}

aios_status stage_end(comm_stage *s, uint64_t chunks)
{
    return chunks ? aios_stream_wait_event(s->stream, s->gone[slot_of(s, chunks - 1)]) : AIOS_OK;
}
