/* Which kind of communicator suits the devices of a process. */
#include "vendor.h"

#include "comm_parts.h"
#include "gpu/collectives.h"
#include "mixed.h"

#include <stdio.h>
#include <string.h>

/* The devices of one backend. */
struct kind {
    const char *backend;
    int count;
    aios_status status; /* of their vendor's collectives */
    char text[512];     /* "NCCL 2.28.9", or why not */
};

struct choice {
    aios_context *context;
    aios_device *const *devices;
    int count, kinds;
    struct kind list[COMM_RANKS_MOST];
};

static const char *backend_of(const aios_device *device)
{
    return aios_device_get_info(device)->backend;
}

/* Two handles of one GPU: the libraries refuse two ranks on it. */
static aios_status check_distinct(const struct choice *x, const struct kind *kind)
{
    for (int i = 0; i < x->count; i++)
        for (int k = i + 1; k < x->count; k++)
            if (strcmp(backend_of(x->devices[i]), kind->backend) == 0 &&
                strcmp(aios_device_spec(x->devices[i]), aios_device_spec(x->devices[k])) == 0)
                return FAIL(AIOS_UNSUPPORTED, "two replicas are on %s: the vendor's collectives take one for each device",
                            aios_device_spec(x->devices[i]));
    return AIOS_OK;
}

static void judge(const struct choice *x, struct kind *kind, aios_device *device)
{
    char version[COLLECTIVES_VERSION_MAX];
    kind->status = device_collectives_version(device, version);
    if (kind->status == AIOS_OK) kind->status = check_distinct(x, kind);
    (void)snprintf(kind->text, sizeof kind->text, "%s", kind->status == AIOS_OK ? version : aios_error_message());
}

static void sort_by_kind(struct choice *x)
{
    for (int i = 0; i < x->count; i++) {
        int k = 0;
        while (k < x->kinds && strcmp(x->list[k].backend, backend_of(x->devices[i])) != 0) k++;
        if (k == x->kinds) x->list[x->kinds++] = (struct kind){.backend = backend_of(x->devices[i])};
        x->list[k].count++;
        if (x->list[k].count == 1) judge(x, &x->list[k], x->devices[i]);
    }
}

/* Every kind that has several devices must have the vendor's, and one at all. */
static aios_status check_demand(const struct choice *x)
{
    int usable = 0;
    for (int k = 0; k < x->kinds; k++) {
        const struct kind *kind = &x->list[k];
        usable += kind->status == AIOS_OK;
        if (kind->count > 1 && kind->status != AIOS_OK)
            return FAIL(kind->status, "option collectives is vendor, and the %d devices of backend %s can't: %s; auto takes the host there",
                        kind->count, kind->backend, kind->text);
    }
    if (usable) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "option collectives is vendor, and no device has any: %s; auto takes the host", x->list[0].text);
}

/* UNSUPPORTED is no news: such a backend never has them. */
static void tell(const struct choice *x)
{
    for (int k = 0; k < x->kinds; k++) {
        const struct kind *kind = &x->list[k];
        if (kind->count < 2) continue;
        if (kind->status == AIOS_OK)
            aios_log(x->context, AIOS_LOG_INFO, "collectives between the %d devices of backend %s: %s", kind->count, kind->backend,
                     kind->text);
        else
            aios_log(x->context, kind->status == AIOS_UNAVAILABLE ? AIOS_LOG_WARNING : AIOS_LOG_INFO,
                     "collectives between the %d devices of backend %s go through host memory: %s", kind->count, kind->backend, kind->text);
    }
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

/* Ranks that are together: those of one kind, one behind the other, by its vendor's collectives; else each by itself. */
struct layout {
    int groups, sizes[COMM_RANKS_MOST], by_vendor[COMM_RANKS_MOST], vendors;
};

static const struct kind *kind_of(const struct choice *x, int rank)
{
    int k = 0;
    while (strcmp(x->list[k].backend, backend_of(x->devices[rank])) != 0) k++;
    return &x->list[k];
}

static int is_run(const struct choice *x, int first, int count)
{
    for (int i = first; i < first + count; i++)
        if (i >= x->count || strcmp(backend_of(x->devices[i]), backend_of(x->devices[first])) != 0) return 0;
    return 1;
}

static void lay_out(const struct choice *x, int least, struct layout *layout)
{
    *layout = (struct layout){.groups = 0};
    for (int at = 0; at < x->count;) {
        const struct kind *kind = kind_of(x, at);
        int together = kind->status == AIOS_OK && kind->count >= least && is_run(x, at, kind->count);
        layout->sizes[layout->groups] = together ? kind->count : 1;
        layout->by_vendor[layout->groups] = together;
        layout->vendors += together;
        at += layout->sizes[layout->groups++];
    }
}

static aios_status make(const struct choice *x, const comm_options *options, int collectives, comm_group **group)
{
    struct layout layout = {.groups = 0};
    int demanded = collectives == COLLECTIVES_VENDOR;
    comm_group *host;
    if (collectives != COLLECTIVES_HOST) lay_out(x, demanded ? 1 : 2, &layout);
    if (demanded && !layout.vendors)
        return FAIL(AIOS_UNSUPPORTED, "option collectives is vendor, and the devices of one backend are not named one behind the other");
    if (layout.vendors && layout.groups > 1)
        return comm_mixed_create(x->context, options, layout.sizes, layout.by_vendor, layout.groups, demanded, group);
    TRY_QUIET(comm_group_create(x->context, options, &host));
    *group = host;
    return layout.vendors ? comm_vendor_create(x->context, host, options->deadline, demanded, group) : AIOS_OK;
}

aios_status comm_group_choose(aios_context *context, const comm_options *options, aios_device *const *devices, int collectives,
                              comm_group **group)
{
    *group = NULL;
    if (options->ranks < 1 || options->ranks > COMM_RANKS_MOST) return comm_group_create(context, options, group); /* says so */
    struct choice *x = aios_new(context, struct choice);
    if (!x) return AIOS_OUT_OF_MEMORY;
    *x = (struct choice){.context = context, .devices = devices, .count = options->ranks};
    aios_status status = AIOS_OK;
    if (collectives != COLLECTIVES_HOST) sort_by_kind(x);
    if (collectives == COLLECTIVES_VENDOR) ATTEMPT_QUIET(check_demand(x));
    ATTEMPT_QUIET(make(x, options, collectives, group));
    if (collectives == COLLECTIVES_AUTO) tell(x);
done:
    aios_memory_free(context, x);
    return status;
}

/* ---- between processes ------------------------------------------------------------------------------------------- */

/* What each process tells the others of its first device. */
struct candidate {
    int32_t devices, status;
    char backend[16], identity[192], text[256]; /* identity: which device of all machines; text: as kind's */
};

static void describe(aios_device *device, int devices, struct candidate *own)
{
    const aios_device_info *info = aios_device_get_info(device);
    os_process process;
    char version[COLLECTIVES_VERSION_MAX];
    memset(own, 0, sizeof *own);
    own->devices = devices;
    own->status = device_collectives_version(device, version);
    (void)snprintf(own->text, sizeof own->text, "%s", own->status == AIOS_OK ? version : aios_error_message());
    (void)snprintf(own->backend, sizeof own->backend, "%s", info->backend);
    os_process_self(&process); /* a GPU that tells no UUID is one of this boot's */
    (void)snprintf(own->identity, sizeof own->identity, "%s %s", info->uuid[0] ? "" : process.boot,
                   info->uuid[0] ? info->uuid : info->pci_address);
}

static aios_status compare(const struct candidate *all, int ranks)
{
    for (int r = 0; r < ranks; r++) {
        if (all[r].status != AIOS_OK) return FAIL(all[r].status, "rank %d (%s): %s", r, all[r].backend, all[r].text);
        if (strcmp(all[r].backend, all[0].backend) != 0 || strcmp(all[r].text, all[0].text) != 0)
            return FAIL(AIOS_UNSUPPORTED, "rank 0 (%s) has %s and rank %d (%s) %s", all[0].backend, all[0].text, r, all[r].backend,
                        all[r].text);
        for (int k = 0; k < r; k++)
            if (strcmp(all[k].identity, all[r].identity) == 0)
                return FAIL(AIOS_UNSUPPORTED, "ranks %d and %d are on one device: the vendor's collectives take one rank for each", k, r);
    }
    return AIOS_OK;
}

static aios_status gather(comm_world *world, aios_context *context, const struct candidate *own, struct candidate *all)
{
    int ranks = comm_world_ranks(world);
    aios_status status = AIOS_OK;
    comm_bytes *bytes = aios_memory_array(context, (size_t)ranks, sizeof *bytes);
    if (!bytes) return AIOS_OUT_OF_MEMORY;
    ATTEMPT_QUIET(comm_world_gather(world, own, sizeof *own, bytes));
    for (int r = 0; r < ranks; r++) {
        if (bytes[r].size == sizeof *all)
            memcpy(&all[r], bytes[r].bytes, sizeof *all);
        else
            status = FAIL(AIOS_ABI_MISMATCH, "rank %d tells of its device in %zu bytes: another release of libaios?", r, bytes[r].size);
        aios_memory_free(context, bytes[r].bytes);
    }
done:
    aios_memory_free(context, bytes);
    return status;
}

/* AIOS_OK: the vendor's it is; else why not. */
static aios_status judge_processes(comm_world *world, aios_context *context, aios_device *device, int devices, int *demandable,
                                   aios_status *verdict)
{
    int ranks = comm_world_ranks(world);
    struct candidate own, *all = aios_memory_array(context, (size_t)ranks, sizeof *all);
    if (!all) return AIOS_OUT_OF_MEMORY;
    describe(device, devices, &own);
    aios_status status = gather(world, context, &own, all);
    *demandable = 1;
    for (int r = 0; r < ranks && status == AIOS_OK; r++) *demandable &= all[r].devices == 1;
    *verdict = status == AIOS_OK ? compare(all, ranks) : AIOS_OK;
    aios_memory_free(context, all);
    return status;
}

static void tell_processes(aios_context *context, aios_status verdict)
{
    if (verdict == AIOS_OK)
        aios_log(context, AIOS_LOG_INFO, "collectives between the processes: their devices' vendor's");
    else
        aios_log(context, verdict == AIOS_UNAVAILABLE ? AIOS_LOG_WARNING : AIOS_LOG_INFO,
                 "collectives between the processes go through host memory: %s", aios_error_message());
}

aios_status comm_world_choose(comm_world *world, aios_context *context, const comm_options *options, aios_device *device, int devices,
                              int collectives, comm_group **group)
{
    int demandable = 0;
    aios_status verdict = AIOS_UNSUPPORTED;
    comm_group *host;
    *group = NULL;
    if (collectives != COLLECTIVES_HOST) {
        TRY_QUIET(judge_processes(world, context, device, devices, &demandable, &verdict));
        if (verdict != AIOS_OK && demandable && collectives == COLLECTIVES_VENDOR)
            return aios_error_add_frame(verdict, "option collectives is vendor; auto takes the host");
        if (comm_world_rank(world) == 0) tell_processes(context, verdict);
    }
    TRY_QUIET(comm_world_group(world, options, &host));
    *group = host;
    if (verdict != AIOS_OK) return AIOS_OK;
    return comm_vendor_create(context, host, options->deadline, demandable && collectives == COLLECTIVES_VENDOR, group);
}
