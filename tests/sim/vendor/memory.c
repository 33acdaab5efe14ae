/* Device memory: a range of addresses that nobody can touch, and the bytes behind it elsewhere. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE      ((uint64_t)4096)
#define GUARD     ((uint64_t)512) /* at least so much behind an allocation */
#define POISON    0x7fc17fc1u     /* NaN in f32, bf16 and f16, a huge index in i32 */
#define GUARD_HAS 0xa5

int memory_start(vendor_device *device)
{
    /* many times its memory, so that addresses are long not used again */
    device->range_size = (device->memory * 8 + ((uint64_t)1 << 30)) / PAGE * PAGE;
    void *range = mmap(NULL, device->range_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *backing = mmap(NULL, device->range_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED || backing == MAP_FAILED) return 0;
    device->range = range;
    device->backing = backing;
    return 1;
}

vendor_device *range_owner(const void *pointer)
{
    for (int i = 0; i < core.device_count; i++) {
        uintptr_t offset = (uintptr_t)pointer - (uintptr_t)core.devices[i].range;
        if (offset < core.devices[i].range_size) return &core.devices[i];
    }
    return NULL;
}

static struct allocation *find(const vendor_device *device, const void *pointer)
{
    uint64_t offset = (uint64_t)((const char *)pointer - device->range);
    for (struct allocation *a = device->allocations; a; a = a->next)
        if (offset >= a->offset && offset < a->offset + a->size) return a;
    return NULL;
}

static struct host_allocation *find_host(const void *pointer, vendor_device **owner)
{
    for (int i = 0; i < core.device_count; i++) {
        for (struct host_allocation *h = core.devices[i].host_allocations; h; h = h->next) {
            if ((uintptr_t)pointer - (uintptr_t)h->address >= h->size) continue;
            *owner = &core.devices[i];
            return h;
        }
    }
    return NULL;
}

/* ---- taking and giving back -------------------------------------------------------------------------------------- */

/* The first gap of that many bytes at or behind `from`: where to link it in; 0 where there is none. */
static int find_gap(vendor_device *device, uint64_t from, uint64_t pages, struct allocation ***link, uint64_t *page)
{
    uint64_t at = from;
    struct allocation **next = &device->allocations;
    for (; *next; next = &(*next)->next) {
        uint64_t begin = (*next)->page, end = begin + (*next)->pages + PAGE; /* a page between two that nobody can touch */
        if (end <= at) continue;
        if (begin >= at + pages + PAGE) break;
        at = end;
    }
    *link = next;
    *page = at;
    return at + pages <= device->range_size;
}

static void poison(char *bytes, uint64_t size)
{
    static const uint32_t word = POISON;
    for (uint64_t i = 0; i < size / 4; i++) memcpy(bytes + i * 4, &word, 4);
    memset(bytes + size / 4 * 4, 0xc1, (size_t)(size % 4));
}

static vendor_status take(vendor_device *device, uint64_t size, uint64_t alignment, void **pointer)
{
    struct allocation **link;
    uint64_t page, room = size + GUARD + (alignment > PAGE ? alignment : 0), pages = (room + PAGE - 1) / PAGE * PAGE;
    if (!find_gap(device, device->cursor, pages, &link, &page) && !find_gap(device, 0, pages, &link, &page))
        return refuse(VENDOR_NO_MEMORY, "the device's addresses are fragmented");
    struct allocation *made = calloc(1, sizeof *made);
    if (!made || mprotect(device->backing + page, pages, PROT_READ | PROT_WRITE) != 0) {
        free(made);
        return refuse(VENDOR_NO_MEMORY, "the host that simulates the device has no memory");
    }
    uintptr_t at = ((uintptr_t)device->range + page + alignment - 1) & ~(uintptr_t)(alignment - 1);
    *made = (struct allocation){*link, at - (uintptr_t)device->range, size, page, pages};
    *link = made;
    device->cursor = page + pages;
    device->used += size;
    char *bytes = device->backing + made->offset;
    poison(bytes, size);
    memset(bytes + size, GUARD_HAS, (size_t)(page + pages - made->offset - size));
    *pointer = (void *)at;
    return VENDOR_OK;
}

vendor_status vendor_alloc(vendor_device *device, uint64_t size, uint64_t alignment, void **pointer)
{
    vendor_status status;
    *pointer = NULL;
    if (alignment == 0) alignment = 256;
    if (size == 0 || (alignment & (alignment - 1)) != 0)
        return REFUSE(device, VENDOR_INVALID, "%llu bytes aligned to %llu are asked for", (unsigned long long)size,
                      (unsigned long long)alignment);
    if (captures > 0) return REFUSE(device, VENDOR_UNSUPPORTED, "memory is asked for while this thread records a stream");
    (void)pthread_mutex_lock(&core.mutex);
    if (size > device->memory - device->used)
        status = refuse(VENDOR_NO_MEMORY, "%llu bytes asked, %llu free", (unsigned long long)size,
                        (unsigned long long)(device->memory - device->used));
    else
        status = take(device, size, alignment, pointer);
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

static int guard_is_whole(const vendor_device *device, const struct allocation *a)
{
    const unsigned char *guard = (const unsigned char *)device->backing + a->offset + a->size;
    for (uint64_t i = 0; i < GUARD; i++)
        if (guard[i] != GUARD_HAS) return 0;
    return 1;
}

const char *check_guards(vendor_device *device, char reason[256])
{
    for (struct allocation *a = device->allocations; a; a = a->next) {
        if (guard_is_whole(device, a)) continue;
        memset(device->backing + a->offset + a->size, GUARD_HAS, GUARD); /* tell it once */
        (void)snprintf(reason, 256, "wrote behind an allocation of %llu bytes", (unsigned long long)a->size);
        return reason;
    }
    return NULL;
}

const char *vendor_check_guards(vendor_device *device)
{
    static _Thread_local char reason[256];
    (void)pthread_mutex_lock(&core.mutex);
    const char *wrong = check_guards(device, reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return wrong;
}

vendor_status vendor_free(vendor_device *device, void *pointer)
{
    vendor_status status = VENDOR_OK;
    (void)pthread_mutex_lock(&core.mutex);
    uint64_t offset = (uint64_t)((char *)pointer - device->range);
    struct allocation **link = &device->allocations;
    while (*link && (*link)->offset != offset) link = &(*link)->next;
    struct allocation *a = *link;
    if (!a) {
        status = REFUSE(device, VENDOR_INVALID, "%p is freed, which is no allocation of this device", pointer);
    } else {
        if (!guard_is_whole(device, a))
            vendor_complain(device, "something wrote behind an allocation of %llu bytes", (unsigned long long)a->size);
        *link = a->next;
        device->used -= a->size;
        (void)madvise(device->backing + a->page, a->pages, MADV_DONTNEED);
        (void)mprotect(device->backing + a->page, a->pages, PROT_NONE);
        free(a);
    }
    (void)pthread_mutex_unlock(&core.mutex);
    return status;
}

vendor_status vendor_host_alloc(vendor_device *device, uint64_t size, void **pointer)
{
    *pointer = NULL;
    if (size == 0) return REFUSE(device, VENDOR_INVALID, "0 bytes of host memory are asked for");
    if (captures > 0) return REFUSE(device, VENDOR_UNSUPPORTED, "host memory is asked for while this thread records a stream");
    struct host_allocation *made = calloc(1, sizeof *made);
    void *address = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
    if (!made || !address) {
        free(made);
        free(address);
        return refuse(VENDOR_NO_MEMORY, "the host has no %llu bytes", (unsigned long long)size);
    }
    poison(address, size);
    (void)pthread_mutex_lock(&core.mutex);
    *made = (struct host_allocation){device->host_allocations, address, size};
    device->host_allocations = made;
    (void)pthread_mutex_unlock(&core.mutex);
    *pointer = address;
    return VENDOR_OK;
}

vendor_status vendor_host_free(vendor_device *device, void *pointer)
{
    (void)pthread_mutex_lock(&core.mutex);
    struct host_allocation **link = &device->host_allocations;
    while (*link && (*link)->address != pointer) link = &(*link)->next;
    struct host_allocation *found = *link;
    if (found) *link = found->next;
    (void)pthread_mutex_unlock(&core.mutex);
    if (!found) return REFUSE(device, VENDOR_INVALID, "host memory %p is freed, which is none of this device's", pointer);
    free(found->address);
    free(found);
    return VENDOR_OK;
}

/* ---- pointers ---------------------------------------------------------------------------------------------------- */

int vendor_pointer(const void *pointer, vendor_device **device, void **base, uint64_t *size)
{
    int kind = VENDOR_UNKNOWN_MEMORY;
    void *begin = NULL;
    uint64_t bytes = 0;
    (void)pthread_mutex_lock(&core.mutex);
    vendor_device *owner = range_owner(pointer);
    struct allocation *a = owner ? find(owner, pointer) : NULL;
    struct host_allocation *h = owner ? NULL : find_host(pointer, &owner);
    if (a) kind = VENDOR_DEVICE_MEMORY, begin = owner->range + a->offset, bytes = a->size;
    if (h) kind = VENDOR_HOST_MEMORY, begin = h->address, bytes = h->size;
    (void)pthread_mutex_unlock(&core.mutex);
    if (device) *device = kind == VENDOR_UNKNOWN_MEMORY ? NULL : owner;
    if (base) *base = begin;
    if (size) *size = bytes;
    return kind;
}

const char *check_pointer(vendor_device *device, const void *pointer, uint64_t size, char reason[256])
{
    vendor_device *owner = range_owner(pointer), *host = NULL;
    const struct allocation *a = owner ? find(owner, pointer) : NULL;
    const struct host_allocation *h = owner ? NULL : find_host(pointer, &host);
    uint64_t left = a   ? a->offset + a->size - (uint64_t)((const char *)pointer - owner->range)
                    : h ? h->size - (uint64_t)((const char *)pointer - (const char *)h->address)
                        : 0;
    if (owner && !a)
        (void)snprintf(reason, 256, "%p is an address of %s:%d where nothing is allocated", pointer, owner->vendor, owner->index);
    else if (!owner && !h)
        (void)snprintf(reason, 256, "%p is no memory that a device can reach", pointer);
    else if (owner && owner != device && !(device->peers >> (owner - core.devices) & 1u))
        (void)snprintf(reason, 256, "%p is memory of %s:%d, to which %s:%d was given no access", pointer, owner->vendor, owner->index,
                       device->vendor, device->index);
    else if (size > left)
        (void)snprintf(reason, 256, "%llu bytes at %p, where an allocation ends after %llu", (unsigned long long)size, pointer,
                       (unsigned long long)left);
    else
        return NULL;
    return reason;
}

void *host_side(const void *pointer)
{
    vendor_device *owner = range_owner(pointer);
    uintptr_t address = (uintptr_t)pointer;
    return (void *)(owner ? address - (uintptr_t)owner->range + (uintptr_t)owner->backing : address);
}

void *vendor_bytes(vendor_device *device, const void *pointer, uint64_t size)
{
    char reason[256];
    (void)pthread_mutex_lock(&core.mutex);
    void *bytes = host_side(pointer);
    if (check_pointer(device, pointer, size, reason)) {
        (void)refuse(VENDOR_INVALID, "%s", reason);
        bytes = NULL;
    }
    (void)pthread_mutex_unlock(&core.mutex);
    return bytes;
}

vendor_status vendor_check(vendor_device *device, const char *what, const void *pointer, uint64_t size)
{
    char reason[256];
    (void)pthread_mutex_lock(&core.mutex);
    const char *wrong = check_pointer(device, pointer, size, reason);
    (void)pthread_mutex_unlock(&core.mutex);
    return wrong ? REFUSE(device, VENDOR_INVALID, "%s: %s", what, wrong) : VENDOR_OK;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

void memory_report(vendor_device *device)
{
    for (const struct allocation *a = device->allocations; a; a = a->next)
        vendor_complain(device, "leak: an allocation of %llu bytes", (unsigned long long)a->size);
    for (const struct host_allocation *h = device->host_allocations; h; h = h->next)
        vendor_complain(device, "leak: host memory of %llu bytes", (unsigned long long)h->size);
}
