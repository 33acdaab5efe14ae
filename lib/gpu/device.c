#include "device.h"

#include "base/sizes.h"
#include "cpu/cpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failures ---------------------------------------------------------------------------------------------------- */

aios_status handle_missing(const char *function, const char *argument)
{
    return FAIL(AIOS_INVALID_ARGUMENT, "%s: %s is NULL: it must be given", function, argument);
}

static aios_status refuse(aios_device *device, const char *what)
{
    aios_status status = aios_error_restore(&device->failure);
    return aios_error_add_frame(status, "%s failed earlier and is not used any more, so %s is refused", device->spec, what);
}

aios_status device_check(aios_device *device, const char *what)
{
    return atomic_load_explicit(&device->failed, memory_order_acquire) ? refuse(device, what) : AIOS_OK;
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

static aios_status failed(aios_device *device, aios_status status, const char *what)
{
    (void)aios_error_add_frame(status, "%s: %s", device->spec, what);
    if (status == AIOS_DEVICE_ERROR || status == AIOS_DEVICE_LOST) keep_failure(device);
    return status;
}

static call_proxy *take_proxy(aios_device *device)
{
    call_proxy *proxy;
    os_mutex_lock(&device->mutex);
    proxy = proxy_pop(&device->proxies);
    os_mutex_unlock(&device->mutex);
    if (!proxy) (void)proxy_create(device->context, device->backend, &proxy);
    return proxy;
}

static void put_proxy(aios_device *device, call_proxy *proxy)
{
    os_mutex_lock(&device->mutex);
    proxy_push(&device->proxies, proxy);
    os_mutex_unlock(&device->mutex);
}

static aios_status call_here(aios_device *device, driver_call *call)
{
    call->table = device->table;
    return call_make(device->context, device->backend, device->handle, call);
}

static aios_status call_through(aios_device *device, call_proxy *proxy, driver_call *call)
{
    call_proxy **held = call->held;
    call->table = device->table;
    aios_status status = proxy_call(&proxy, device->handle, call, device->deadline);
    int keeps = held && (call->kind == CALL_capture_begin ? status == AIOS_OK
                                                          : *held && call->kind != CALL_capture_end && call->kind != CALL_destroy_stream);
    if (held) *held = keeps ? proxy : NULL;
    if (!proxy)
        atomic_store(&device->given_up, 1);
    else if (!keeps)
        put_proxy(device, proxy);
    return status;
}

aios_status device_call(aios_device *device, driver_call *call, const char *format, ...)
{
    aios_status status;
    char what[sizeof device->failure.frames[0]];
    int refused = atomic_load_explicit(&device->failed, memory_order_acquire);
    if (refused) {
        status = device->failure.status;
    } else if (device->deadline > 0) {
        call_proxy *proxy = call->held && *call->held ? *call->held : take_proxy(device);
        status = proxy ? call_through(device, proxy, call) : aios_error_status();
    } else {
        status = call_here(device, call);
    }
    if (status == AIOS_OK) return AIOS_OK;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (refused) return refuse(device, what);
    return failed(device, status, what);
}

void device_release(aios_device *device, driver_call *call)
{
    if (atomic_load(&device->given_up)) {
        if (call->held && *call->held) put_proxy(device, *call->held);
        if (call->held) *call->held = NULL;
        return;
    }
    call_proxy *proxy = NULL;
    if (device->deadline > 0) proxy = call->held && *call->held ? *call->held : take_proxy(device);
    if (!proxy) {
        (void)call_here(device, call);
        return;
    }
    (void)call_through(device, proxy, call);
    if (!atomic_load(&device->given_up)) return;
    (void)failed(device, AIOS_DEVICE_LOST, "giving back what it has");
    aios_log(device->context, AIOS_LOG_ERROR, "%s", aios_error_message());
}

void device_limit_calls(aios_device *device, double seconds)
{
    if (device->deadline > 0 && seconds > 0 && seconds < device->deadline) device->deadline = seconds;
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
    driver_call call = {.kind = CALL_alloc, .size = size};
    TRY_QUIET(device_call(device, &call, "taking %llu bytes of memory", (unsigned long long)size));
    *pointer = call.made;
    return *pointer ? AIOS_OK : FAIL(AIOS_INTERNAL, "%s: backend %s gave no memory", device->spec, device->backend->name);
}

static void source_free(void *user, void *pointer)
{
    device_release(user, &(driver_call){.kind = CALL_free, .object = pointer});
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
    if (device->handle) device_release(device, &(driver_call){.kind = CALL_close});
    while (device->proxies) proxy_destroy(proxy_pop(&device->proxies));
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
    made->deadline = backend == &cpu_backend ? 0 : aios_context_device_deadline(context); /* what runs here is the host's own code */
    os_mutex_init(&made->mutex);
    os_mutex_init(&made->loading);
    (void)snprintf(made->spec, sizeof made->spec, "%s:%d", backend->name, (int)index);
    driver_call opening = {.kind = CALL_open, .number = index};
    ATTEMPT_QUIET(device_call(made, &opening, "opening"));
    made->handle = opening.made;
    made->info.struct_size = sizeof made->info;
    driver_call asking = {.kind = CALL_get_info, .out = &made->info, .out_size = sizeof made->info};
    ATTEMPT_QUIET(device_call(made, &asking, "asking what it is"));
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

aios_status device_adopt(aios_context *context, const aios_backend *backend, const aios_gpu_device *table, void *handle,
                         const aios_device_info *info, aios_device **device)
{
    *device = NULL;
    aios_device *made = aios_new(context, aios_device);
    if (!made) {
        table->close(handle);
        return AIOS_OUT_OF_MEMORY;
    }
    made->references = 1;
    made->context = aios_context_retain(context);
    made->backend = backend;
    made->table = table;
    made->handle = handle;
    made->info = *info;
    os_mutex_init(&made->mutex);
    os_mutex_init(&made->loading);
    (void)snprintf(made->spec, sizeof made->spec, "%s:%d", info->backend, (int)info->index);
    memory_source source = {made, source_alloc, source_free, source_info, info->alignment, 0};
    aios_status status = memory_pool_create(context, &source, &made->pool);
    if (status == AIOS_OK)
        *device = made;
    else
        destroy(made);
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
    driver_call call = {.kind = CALL_get_memory_info};
    if (free_bytes) *free_bytes = 0;
    if (total_bytes) *total_bytes = 0;
    CHECK_HANDLE("aios_device_memory_info", device);
    TRY_QUIET(device_call(device, &call, "asking for free memory"));
    if (free_bytes) *free_bytes = call.counts[0];
    if (total_bytes) *total_bytes = call.counts[1];
    return AIOS_OK;
}

aios_status aios_device_set_current(aios_device *device)
{
    CHECK_HANDLE("aios_device_set_current", device);
    driver_call call = {.kind = CALL_set_device};
    TRY_QUIET(device_call(device, &call, "making it current"));
    if (device->deadline == 0) return AIOS_OK;
    /* The driver answers, but what is current is a matter of each thread. */
    aios_status status = call_here(device, &call);
    return status == AIOS_OK ? AIOS_OK : failed(device, status, "making it current on this thread");
}

aios_status aios_device_synchronize(aios_device *device)
{
    CHECK_HANDLE("aios_device_synchronize", device);
    return device_call(device, &(driver_call){.kind = CALL_synchronize}, "waiting for it");
}

aios_status device_read_telemetry(aios_device *device, aios_telemetry *telemetry)
{
    *telemetry = (aios_telemetry){sizeof *telemetry, -1, -1, -1, -1};
    if (!device->table->telemetry) return AIOS_OK;
    return device_call(device, &(driver_call){.kind = CALL_telemetry_read, .out = telemetry, .out_size = sizeof *telemetry},
                       "reading telemetry");
}

aios_status aios_device_get_telemetry(aios_device *device, aios_telemetry *telemetry)
{
    CHECK_HANDLE("aios_device_get_telemetry", device);
    CHECK_HANDLE("aios_device_get_telemetry", telemetry);
    uint32_t size = telemetry->struct_size;
    if (size < sizeof size) return FAIL(AIOS_ABI_MISMATCH, "aios_telemetry.struct_size is %u: set it to sizeof(aios_telemetry)", size);
    aios_telemetry now;
    TRY_QUIET(device_read_telemetry(device, &now));
    memcpy(telemetry, &now, size < sizeof now ? size : sizeof now);
    telemetry->struct_size = size;
    return AIOS_OK;
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
    driver_call call = {.kind = CALL_host_alloc, .size = size};
    TRY_QUIET(device_call(device, &call, "taking %llu bytes of host memory", (unsigned long long)size));
    *pointer = call.made;
    return AIOS_OK;
}

void aios_device_host_free(aios_device *device, void *pointer)
{
    if (device && pointer) device_release(device, &(driver_call){.kind = CALL_host_free, .object = pointer});
}

void aios_device_memory_used(const aios_device *device, uint64_t *now, uint64_t *peak)
{
    uint64_t current = 0, most = 0, held;
    if (device) memory_pool_used(device->pool, &current, &most, &held);
    if (now) *now = current;
    if (peak) *peak = most;
}
