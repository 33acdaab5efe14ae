#include "device.h"

#include "base/sizes.h"
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failures ---------------------------------------------------------------------------------------------------- */

aios_status handle_missing(const char *function, const char *argument)
{
    return FAIL(AIOS_INVALID_ARGUMENT, "%s: %s is NULL: it must be given", function, argument);
}

aios_status device_enter(aios_device *device, const char *call)
{
    if (atomic_load_explicit(&device->failed, memory_order_acquire)) {
        aios_status status = aios_error_restore(&device->failure);
        return aios_error_add_frame(status, "%s failed earlier and is not used any more, so %s is refused", device->spec, call);
    }
    host_enter(device->context);
    return AIOS_OK;
}

static void keep_failure(aios_device *device)
{
    os_mutex_lock(&device->mutex);
    if (!atomic_load_explicit(&device->failed, memory_order_relaxed)) {
        aios_error_save(&device->failure);
        atomic_store_explicit(&device->failed, 1, memory_order_release);
    }
    os_mutex_unlock(&device->mutex);
}

aios_status device_leave(aios_device *device, aios_status status, const char *format, ...)
{
    char frame[sizeof device->failure.frames[0]];
    va_list arguments;
    status = host_leave(device->backend, status);
    if (status == AIOS_OK) return AIOS_OK;
    va_start(arguments, format);
    (void)vsnprintf(frame, sizeof frame, format, arguments);
    va_end(arguments);
    (void)aios_error_add_frame(status, "%s: %s", device->spec, frame);
    if (status == AIOS_DEVICE_ERROR || status == AIOS_DEVICE_LOST) keep_failure(device);
    return status;
}

aios_status aios_device_health(const aios_device *device)
{
    CHECK_HANDLE("aios_device_health", device);
    if (!atomic_load_explicit(&((aios_device *)device)->failed, memory_order_acquire)) return AIOS_OK;
    return aios_error_restore(&device->failure);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status source_alloc(void *user, uint64_t size, void **pointer)
{
    aios_device *device = user;
    *pointer = NULL;
    TRY_QUIET(device_enter(device, "taking memory"));
    aios_status status =
        device_leave(device, device->table->alloc(device->handle, size, pointer), "taking %llu bytes of memory", (unsigned long long)size);
    if (status == AIOS_OK && !*pointer) return FAIL(AIOS_INTERNAL, "%s: backend %s gave no memory", device->spec, device->backend->name);
    return status;
}

static void source_free(void *user, void *pointer)
{
    aios_device *device = user;
    host_enter(device->context);
    device->table->free(device->handle, pointer);
    (void)host_leave(device->backend, AIOS_OK);
}

static aios_status source_info(void *user, uint64_t *free_bytes, uint64_t *total_bytes)
{
    return aios_device_memory_info(user, free_bytes, total_bytes);
}

static void destroy(aios_device *device)
{
    aios_context *context = device->context;
    size_t left = memory_pool_destroy(device->pool);
    if (left) aios_log(context, AIOS_LOG_WARNING, "%s is closed while %zu blocks of its memory are still in use", device->spec, left);
    if (device->handle) {
        host_enter(context);
        device->table->close(device->handle);
        (void)host_leave(device->backend, AIOS_OK);
    }
    os_mutex_destroy(&device->mutex);
    os_mutex_destroy(&device->loading);
    aios_memory_free(context, device);
    aios_context_release(context);
}

/* Who made a GPU: by its PCI vendor, else its backend, never by its name.  NULL: what the device says. */
static const char *vendor_name(const aios_device_info *info, const char *backend_vendor)
{
    static const struct {
        uint32_t pci;
        const char *backend, *name;
    } known[] = {{0x10de, "cuda", "NVIDIA"}, {0x1002, "hip", "AMD"}, {0x8086, "xpu", "Intel"}};
    for (size_t i = 0; info->kind != AIOS_DEVICE_CPU && i < COUNT_OF(known); i++)
        if (info->pci_vendor == known[i].pci) return known[i].name;
    for (size_t i = 0; info->kind != AIOS_DEVICE_CPU && i < COUNT_OF(known); i++)
        if (strcmp(info->backend, known[i].backend) == 0) return known[i].name;
    return info->vendor[0] ? NULL : backend_vendor;
}

/* What only the host knows, or a backend may have left out. */
static void complete_info(const aios_backend *backend, int32_t index, aios_device_info *info)
{
    info->struct_size = sizeof *info;
    info->index = index;
    (void)snprintf(info->backend, sizeof info->backend, "%s", backend->name);
    const char *vendor = vendor_name(info, backend->vendor);
    if (vendor) (void)snprintf(info->vendor, sizeof info->vendor, "%s", vendor);
    if (info->teams < 1) info->teams = 1;
    if (info->team_size < 1) info->team_size = 1;
    if (info->alignment < 1) info->alignment = 1;
}

aios_status device_open(aios_context *context, const aios_backend *backend, int32_t index, aios_device **device)
{
    aios_status status = AIOS_OK;
    aios_device *made = aios_new(context, aios_device);
    *device = NULL;
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->references = 1;
    made->context = aios_context_retain(context);
    made->backend = backend;
    made->table = backend->device;
    os_mutex_init(&made->mutex);
    os_mutex_init(&made->loading);
    (void)snprintf(made->spec, sizeof made->spec, "%s:%d", backend->name, (int)index);
    host_enter(context);
    ATTEMPT_QUIET(device_leave(made, made->table->open(index, &made->handle), "opening"));
    made->info.struct_size = sizeof made->info;
    host_enter(context);
    ATTEMPT_QUIET(device_leave(made, made->table->get_info(made->handle, &made->info), "asking what it is"));
    complete_info(backend, index, &made->info);
    memory_source source = {made, source_alloc, source_free, source_info, made->info.alignment, made->info.host_accessible};
    ATTEMPT_QUIET(memory_pool_create(context, &source, &made->pool));
    *device = made;
done:
    if (status != AIOS_OK) {
        aios_error_record record; /* closing may fail in its own words */
        aios_error_save(&record);
        destroy(made);
        (void)aios_error_restore(&record);
    }
    return status;
}

aios_device *aios_device_retain(aios_device *device)
{
    if (device) atomic_fetch_add_explicit(&device->references, 1, memory_order_relaxed);
    return device;
}

void aios_device_close(aios_device *device)
{
    if (device && atomic_fetch_sub_explicit(&device->references, 1, memory_order_acq_rel) == 1) destroy(device);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

const aios_device_info *aios_device_get_info(const aios_device *device)
{
    return device ? &device->info : NULL;
}

const char *aios_device_spec(const aios_device *device)
{
    return device ? device->spec : "";
}

aios_status aios_device_memory_info(aios_device *device, uint64_t *free_bytes, uint64_t *total_bytes)
{
    uint64_t free_now = 0, total = 0;
    if (free_bytes) *free_bytes = 0;
    if (total_bytes) *total_bytes = 0;
    CHECK_HANDLE("aios_device_memory_info", device);
    TRY_QUIET(device_enter(device, "asking for free memory"));
    TRY_QUIET(device_leave(device, device->table->get_memory_info(device->handle, &free_now, &total), "asking for free memory"));
    if (free_bytes) *free_bytes = free_now;
    if (total_bytes) *total_bytes = total;
    return AIOS_OK;
}

aios_status aios_device_set_current(aios_device *device)
{
    CHECK_HANDLE("aios_device_set_current", device);
    TRY_QUIET(device_enter(device, "making it current"));
    return device_leave(device, device->table->set_device(device->handle), "making it current");
}

aios_status aios_device_synchronize(aios_device *device)
{
    CHECK_HANDLE("aios_device_synchronize", device);
    TRY_QUIET(device_enter(device, "waiting for it"));
    return device_leave(device, device->table->synchronize(device->handle), "waiting for it");
}

aios_status device_read_telemetry(aios_device *device, aios_telemetry *telemetry)
{
    *telemetry = (aios_telemetry){sizeof *telemetry, -1, -1, -1, -1};
    if (!device->table->telemetry) return AIOS_OK;
    TRY_QUIET(device_enter(device, "reading telemetry"));
    return device_leave(device, device->table->telemetry->read(device->handle, telemetry), "reading telemetry");
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

aios_status aios_device_alloc(aios_device *device, uint64_t size, void **pointer)
{
    CHECK_HANDLE("aios_device_alloc", pointer);
    *pointer = NULL;
    CHECK_HANDLE("aios_device_alloc", device);
    if (size == 0) return FAIL(AIOS_INVALID_ARGUMENT, "aios_device_alloc: size is 0: at least 1 byte must be asked");
    TRY(memory_pool_alloc(device->pool, size, pointer), "%s: allocating %llu bytes", device->spec, (unsigned long long)size);
    return AIOS_OK;
}

void aios_device_free(aios_device *device, void *pointer)
{
    if (!device || !pointer) return;
    if (!memory_pool_free(device->pool, pointer))
        aios_log(device->context, AIOS_LOG_ERROR, "%s: %p is freed, which is no memory that this device handed out", device->spec, pointer);
}

aios_status aios_device_host_alloc(aios_device *device, uint64_t size, void **pointer)
{
    CHECK_HANDLE("aios_device_host_alloc", pointer);
    *pointer = NULL;
    CHECK_HANDLE("aios_device_host_alloc", device);
    if (size == 0) return FAIL(AIOS_INVALID_ARGUMENT, "aios_device_host_alloc: size is 0: at least 1 byte must be asked");
    TRY_QUIET(device_enter(device, "taking host memory"));
    return device_leave(device, device->table->host_alloc(device->handle, size, pointer), "taking %llu bytes of host memory",
                        (unsigned long long)size);
}

void aios_device_host_free(aios_device *device, void *pointer)
{
    if (!device || !pointer) return;
    host_enter(device->context);
    device->table->host_free(device->handle, pointer);
    (void)host_leave(device->backend, AIOS_OK);
}

void aios_device_memory_used(const aios_device *device, uint64_t *now, uint64_t *peak)
{
    uint64_t current = 0, most = 0, held;
    if (device) memory_pool_used(device->pool, &current, &most, &held);
    if (now) *now = current;
    if (peak) *peak = most;
}
