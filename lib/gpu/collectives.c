#include "collectives.h"

#include "device.h"

#include <string.h>

struct device_rank {
    aios_device *device;
    aios_stream *stream;
    void *handle; /* the backend's */
    int rank, ranks;
    int aborted;
};

/* ---- the library ------------------------------------------------------------------------------------------------- */

aios_status device_collectives_version(aios_device *device, char text[COLLECTIVES_VERSION_MAX])
{
    const aios_collective_group *group = device->table->collectives;
    memset(text, 0, COLLECTIVES_VERSION_MAX);
    if (!group || !(group->types >> AIOS_F32 & 1u))
        return FAIL(AIOS_UNSUPPORTED, "backend %s has no collectives for f32", device->backend->name);
    driver_call call = {.kind = CALL_collectives_version, .out = text, .out_size = COLLECTIVES_VERSION_MAX};
    return device_call(device, &call, "looking for its vendor's collectives");
}

aios_status device_collectives_id(aios_device *device, uint8_t id[AIOS_COLLECTIVE_ID_BYTES])
{
    memset(id, 0, AIOS_COLLECTIVE_ID_BYTES);
    driver_call call = {.kind = CALL_collectives_id, .out = id, .out_size = AIOS_COLLECTIVE_ID_BYTES};
    return device_call(device, &call, "making the id of a communicator");
}

/* ---- a rank ------------------------------------------------------------------------------------------------------ */

aios_status device_rank_create(aios_stream *stream, const uint8_t id[AIOS_COLLECTIVE_ID_BYTES], int rank, int ranks, device_rank **made)
{
    aios_device *device = stream->device;
    *made = NULL;
    if (ranks < 1 || ranks > DEVICE_RANKS_MOST || rank < 0 || rank >= ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "rank %d of %d: up to %d ranks, numbered from 0, are allowed", rank, ranks, DEVICE_RANKS_MOST);
    device_rank *r = aios_new(device->context, device_rank);
    if (!r) return AIOS_OUT_OF_MEMORY;
    driver_call call = {
        .kind = CALL_collectives_create, .in = id, .in_size = AIOS_COLLECTIVE_ID_BYTES, .number = rank, .word = (uint32_t)ranks};
    aios_status status = device_call(device, &call, "becoming rank %d of %d", rank, ranks);
    if (status != AIOS_OK) {
        aios_memory_free(device->context, r);
        return status;
    }
    *r = (device_rank){aios_device_retain(device), stream, call.made, rank, ranks, 0};
    *made = r;
    return AIOS_OK;
}

aios_status device_rank_query(device_rank *r, int *done)
{
    *done = 0;
    if (r->aborted) return FAIL(AIOS_WRONG_STATE, "rank %d was aborted: it is only good for being destroyed", r->rank);
    driver_call call = {.kind = CALL_collectives_query, CALL_ON(r->stream), .object = r->handle};
    TRY_QUIET(device_call(r->device, &call, "asking whether a collective is done"));
    *done = call.number != 0;
    return AIOS_OK;
}

void device_rank_abort(device_rank *r)
{
    if (r->aborted) return;
    r->aborted = 1;
    device_release(r->device, &(driver_call){.kind = CALL_collectives_abort, .object = r->handle});
}

void device_rank_destroy(device_rank *r)
{
    if (!r) return;
    aios_device *device = r->device;
    device_release(device, &(driver_call){.kind = CALL_collectives_destroy, .object = r->handle});
    aios_memory_free(device->context, r);
    aios_device_close(device);
}

/* ---- collectives ------------------------------------------------------------------------------------------------- */

static aios_status check_buffer(const char *what, const device_rank *r, const float *buffer, uint64_t count)
{
    if (r->aborted) return FAIL(AIOS_WRONG_STATE, "%s: rank %d was aborted: it is only good for being destroyed", what, r->rank);
    if (!buffer && count) return FAIL(AIOS_INVALID_ARGUMENT, "%s of %llu elements: buffer is NULL", what, (unsigned long long)count);
    return AIOS_OK;
}

static aios_status check_offsets(const char *what, const device_rank *r, const uint64_t *offsets)
{
    for (int i = 0; i <= r->ranks; i++)
        if (i ? offsets[i] < offsets[i - 1] : offsets[0] != 0)
            return FAIL(AIOS_INVALID_ARGUMENT, "%s: offset %d is %llu: they must rise from 0", what, i, (unsigned long long)offsets[i]);
    return AIOS_OK;
}

/* count 0: nothing is submitted, on any rank. */
static aios_status run(const char *what, int kind, device_rank *r, float *buffer, uint64_t count, int root)
{
    TRY_QUIET(check_buffer(what, r, buffer, count));
    if (count == 0) return device_check(r->device, what);
    driver_call call = {
        .kind = kind, CALL_ON(r->stream), .object = r->handle, .to = buffer, .size = count, .number = AIOS_F32, .word = (uint32_t)root};
    return device_call(r->device, &call, "%s of %llu elements", what, (unsigned long long)count);
}

static aios_status run_parts(const char *what, int kind, device_rank *r, float *buffer, const uint64_t *offsets)
{
    uint64_t count = offsets[r->ranks];
    TRY_QUIET(check_offsets(what, r, offsets));
    TRY_QUIET(check_buffer(what, r, buffer, count));
    if (count == 0) return device_check(r->device, what);
    driver_call call = {.kind = kind,
                        CALL_ON(r->stream),
                        .object = r->handle,
                        .to = buffer,
                        .in = offsets,
                        .in_size = (uint32_t)((size_t)(r->ranks + 1) * sizeof *offsets),
                        .number = AIOS_F32};
    return device_call(r->device, &call, "%s of %llu elements", what, (unsigned long long)count);
}

aios_status device_rank_all_reduce(device_rank *r, float *buffer, uint64_t count)
{
    return run("all-reduce", CALL_all_reduce, r, buffer, count, 0);
}

aios_status device_rank_reduce_scatter(device_rank *r, float *buffer, const uint64_t *offsets)
{
    return run_parts("reduce-scatter", CALL_reduce_scatter, r, buffer, offsets);
}

aios_status device_rank_all_gather(device_rank *r, float *buffer, const uint64_t *offsets)
{
    return run_parts("all-gather", CALL_all_gather, r, buffer, offsets);
}

aios_status device_rank_broadcast(device_rank *r, float *buffer, uint64_t count, int root)
{
    if (root < 0 || root >= r->ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "broadcast: root is %d: it must be from 0 to %d", root, r->ranks - 1);
    return run("broadcast", CALL_broadcast, r, buffer, count, root);
}
