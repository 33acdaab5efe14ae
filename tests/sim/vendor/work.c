/* Copies, fills and kernels: checked when they are submitted, and again when they run. */
#include "internal.h"

#include "team_sim.h"
#include <aios/backend.h>
#include <aios/device.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- copies ------------------------------------------------------------------------------------------------------ */

struct copy {
    void *to;
    const void *from;
    vendor_device *to_device, *from_device;
    uint64_t size;
};

/* With the mutex held. */
static const char *check_side(vendor_device *device, const void *pointer, uint64_t size, char reason[256])
{
    if (device) return check_pointer(device, pointer, size, reason);
    const vendor_device *owner = range_owner(pointer);
    if (!owner) return NULL;
    (void)snprintf(reason, 256, "%p is memory of %s:%d and host memory is expected", pointer, owner->vendor, owner->index);
    return reason;
}

static const char *check_copy(const struct copy *copy, char reason[256])
{
    const char *error = check_side(copy->to_device, copy->to, copy->size, reason);
    return error ? error : check_side(copy->from_device, copy->from, copy->size, reason);
}

static const char *run_copy(vendor_device *device, void *payload)
{
    static _Thread_local char reason[256];
    struct copy *copy = payload;
    (void)pthread_mutex_lock(&core.mutex);
    const char *error = check_copy(copy, reason);
    char *to = host_side(copy->to);
    const char *from = host_side(copy->from);
    (void)pthread_mutex_unlock(&core.mutex);
    (void)device;
    if (error) return error;
    memmove(to, from, copy->size);
    int broken = core.peer == PEER_BROKEN && copy->to_device && copy->from_device && copy->to_device != copy->from_device;
    if (broken) to[copy->size / 2] = (char)~to[copy->size / 2];
    return NULL;
}

static vendor_status refuse_copy(vendor_device *device, const struct copy *copy)
{
    char reason[256];
    (void)pthread_mutex_lock(&core.mutex);
    const char *error = check_copy(copy, reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return error ? REFUSE(device, VENDOR_INVALID, "copy: %s", error) : VENDOR_OK;
}

/* Such memory is gone or another's when the recording is replayed. */
static int is_pageable(const void *pointer, const vendor_device *device)
{
    return !device && vendor_pointer(pointer, NULL, NULL, NULL) != VENDOR_HOST_MEMORY;
}

vendor_status vendor_copy(vendor_stream *stream, void *to, vendor_device *to_device, const void *from, vendor_device *from_device,
                          uint64_t size)
{
    struct copy *copy = malloc(sizeof *copy);
    *copy = (struct copy){to, from, to_device, from_device, size};
    vendor_device *device = vendor_stream_device(stream);
    vendor_status status = refuse_copy(device, copy);
    if (status == VENDOR_OK && vendor_capturing(stream) && (is_pageable(to, to_device) || is_pageable(from, from_device)))
        status = REFUSE(device, VENDOR_UNSUPPORTED, "copy: a recording can't hold a copy of host memory that is not pinned");
    if (status == VENDOR_OK) return vendor_submit(stream, "copy", run_copy, free, copy);
    free(copy);
    return status;
}

vendor_status vendor_copy_now(vendor_device *device, void *to, vendor_device *to_device, const void *from, vendor_device *from_device,
                              uint64_t size)
{
    struct copy copy = {to, from, to_device, from_device, size};
    vendor_status status = refuse_copy(device, &copy);
    if (status == VENDOR_OK && run_copy(device, &copy)) status = VENDOR_INVALID;
    return status;
}

struct fill {
    void *to;
    uint64_t pattern_size, size;
    unsigned char pattern[16];
};

static const char *run_fill(vendor_device *device, void *payload)
{
    const struct fill *fill = payload;
    char *to = vendor_bytes(device, fill->to, fill->size);
    if (!to) return vendor_reason();
    for (uint64_t i = 0; i < fill->size; i += fill->pattern_size) memcpy(to + i, fill->pattern, fill->pattern_size);
    return NULL;
}

vendor_status vendor_fill(vendor_stream *stream, void *to, const void *pattern, uint64_t pattern_size, uint64_t size)
{
    vendor_device *device = vendor_stream_device(stream);
    if (pattern_size == 0 || pattern_size > 16 || (pattern_size & (pattern_size - 1)) != 0 || size % pattern_size != 0)
        return REFUSE(device, VENDOR_INVALID, "fill: %llu bytes by a pattern of %llu", (unsigned long long)size,
                      (unsigned long long)pattern_size);
    vendor_status status = vendor_check(device, "fill", to, size);
    if (status != VENDOR_OK) return status;
    struct fill *fill = malloc(sizeof *fill);
    *fill = (struct fill){.to = to, .pattern_size = pattern_size, .size = size};
    memcpy(fill->pattern, pattern, pattern_size);
    return vendor_submit(stream, "fill", run_fill, free, fill);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

#define ARGUMENTS_MAX 32

struct launch {
    const aios_kernel *kernel;
    int index;
    uint32_t teams;
    uint64_t values[ARGUMENTS_MAX];
};

int vendor_kernel_find(const char *name)
{
    return aios_kernel_find(name);
}

uint32_t vendor_kernel_arguments(int kernel)
{
    return aios_kernel_get((uint32_t)kernel)->argument_count;
}

uint64_t vendor_kernel_argument_size(int kernel, uint32_t argument)
{
    return aios_kernel_get((uint32_t)kernel)->arguments[argument].size;
}

static void *pointer_of(uint64_t value)
{
    void *pointer;
    memcpy(&pointer, &value, sizeof pointer);
    return pointer;
}

/* Turns the device's addresses into those of their bytes. */
static const char *find_bytes(vendor_device *device, const struct launch *launch, uint64_t values[], char reason[256])
{
    for (uint32_t i = 0; i < launch->kernel->argument_count; i++) {
        values[i] = launch->values[i];
        if (launch->kernel->arguments[i].kind == AIOS_ARG_VALUE || values[i] == 0) continue;
        void *bytes = vendor_bytes(device, pointer_of(values[i]), 1);
        if (!bytes) {
            (void)snprintf(reason, 256, "argument %s: %.200s", launch->kernel->arguments[i].name, vendor_reason());
            return reason;
        }
        memcpy(&values[i], &bytes, sizeof bytes);
    }
    return NULL;
}

/* A thread keeps its lanes' stacks from launch to launch, to its end. */
static pthread_key_t lanes;
static pthread_once_t lanes_made = PTHREAD_ONCE_INIT;

static void end_lanes(void *user)
{
    (void)user;
    team_sim_end();
}

static void make_lanes_key(void)
{
    (void)pthread_key_create(&lanes, end_lanes);
}

static const char *run_launch(vendor_device *device, void *payload)
{
    static _Thread_local char reason[256];
    const struct launch *launch = payload;
    uint64_t values[ARGUMENTS_MAX];
    const void *arguments[ARGUMENTS_MAX];
    const char *error = find_bytes(device, launch, values, reason);
    if (error) return error;
    for (uint32_t i = 0; i < launch->kernel->argument_count; i++) arguments[i] = &values[i];
    (void)pthread_once(&lanes_made, make_lanes_key);
    (void)pthread_setspecific(lanes, &lanes);
    error = team_sim_launch((uint32_t)launch->index, launch->teams, arguments);
    if (error) return error;
    (void)pthread_mutex_lock(&core.mutex);
    error = check_guards(device, reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return error;
}

static vendor_status refuse_launch(vendor_device *device, const struct launch *launch, uint32_t team_size, uint32_t count,
                                   const uint64_t *sizes)
{
    const aios_kernel *kernel = launch->kernel;
    if (team_size != VENDOR_TEAM_SIZE)
        return REFUSE(device, VENDOR_INVALID, "%s: launched with teams of %u: it is compiled for %d", kernel->name, (unsigned)team_size,
                      VENDOR_TEAM_SIZE);
    if (launch->teams == 0) return REFUSE(device, VENDOR_INVALID, "%s: launched with no teams", kernel->name);
    if (count != kernel->argument_count || count > ARGUMENTS_MAX)
        return REFUSE(device, VENDOR_INVALID, "%s: launched with %u arguments: it has %u", kernel->name, (unsigned)count,
                      (unsigned)kernel->argument_count);
    for (uint32_t i = 0; sizes && i < count; i++)
        if (sizes[i] != kernel->arguments[i].size)
            return REFUSE(device, VENDOR_INVALID, "%s: argument %s has %llu bytes: it must have %u", kernel->name,
                          kernel->arguments[i].name, (unsigned long long)sizes[i], (unsigned)kernel->arguments[i].size);
    return VENDOR_OK;
}

vendor_status vendor_launch(vendor_stream *stream, int kernel, uint32_t teams, uint32_t team_size, const void *const *arguments,
                            uint32_t count, const uint64_t *sizes)
{
    vendor_device *device = vendor_stream_device(stream);
    char reason[256];
    uint64_t bytes[ARGUMENTS_MAX];
    struct launch launch = {.kernel = aios_kernel_get((uint32_t)kernel), .index = kernel, .teams = teams};
    vendor_status status = refuse_launch(device, &launch, team_size, count, sizes);
    if (status != VENDOR_OK) return status;
    for (uint32_t i = 0; i < count; i++) memcpy(&launch.values[i], arguments[i], launch.kernel->arguments[i].size);
    if (find_bytes(device, &launch, bytes, reason)) return REFUSE(device, VENDOR_INVALID, "%s: %s", launch.kernel->name, reason);
    struct launch *kept = malloc(sizeof *kept);
    *kept = launch;
    return vendor_submit(stream, launch.kernel->name, run_launch, free, kept);
}
