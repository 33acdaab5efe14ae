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
