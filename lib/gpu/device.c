#include "device.h"

#include "base/sizes.h"
#include "host.h"
#include "registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

/* What only the host knows, or a backend may have left out. */
static void complete_info(const aios_backend *backend, int32_t index, aios_device_info *info)
{
    info->struct_size = sizeof *info;
    info->index = index;
    (void)snprintf(info->backend, sizeof info->backend, "%s", backend->name);
    if (!info->vendor[0] && backend->vendor) (void)snprintf(info->vendor, sizeof info->vendor, "%s", backend->vendor);
    if (info->teams < 1) info->teams = 1;
    if (info->team_size < 1) info->team_size = 1;
    if (info->alignment < 1) info->alignment = 1;
}

static aios_status open_device(aios_context *context, const aios_backend *backend, int32_t index, aios_device **device)
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

/* "cuda:1" -> "cuda", 1; "2" -> "", 2; "cpu" -> "cpu", 0. */
static aios_status read_spec(const char *spec, char name[16], int32_t *index)
{
    size_t length = strcspn(spec, ":");
    const char *digits = spec + length;
    *index = 0;
    name[0] = 0;
    if (*digits == ':')
        digits++;
    else if (length && strspn(spec, "0123456789") == length)
        digits = spec, length = 0;
    else
        digits = "0";
    size_t count = strlen(digits);
    if ((length == 0 && digits != spec) || length > 15 || count == 0 || count > 6 || strspn(digits, "0123456789") != count)
        return FAIL(AIOS_INVALID_ARGUMENT, "device \"%s\": a device is \"cpu:0\", \"cuda:1\" or a GPU's number as in \"0\"", spec);
    memcpy(name, spec, length);
    name[length] = 0;
    *index = (int32_t)strtol(digits, NULL, 10);
    return AIOS_OK;
}

static void add_text(char *text, size_t size, const char *format, ...) AIOS_PRINTF(3, 4);
static void add_text(char *text, size_t size, const char *format, ...)
{
    va_list arguments;
    size_t used = strlen(text);
    va_start(arguments, format);
    (void)vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static aios_status say_not_found(const backend_table *table, const char *spec)
{
    char there[400] = "";
    for (size_t i = 0; i < table->count; i++) {
        const backend_slot *slot = &table->slots[i];
        if (!slot->backend || slot->entry.device_count == 0) continue;
        add_text(there, sizeof there, "%s%s:0", there[0] ? ", " : "", slot->entry.name);
        if (slot->entry.device_count > 1) add_text(there, sizeof there, " … %s:%d", slot->entry.name, (int)slot->entry.device_count - 1);
    }
    return FAIL(AIOS_NOT_FOUND, "there is no device %s; there are %s", spec, there);
}

static aios_status find_device(const backend_table *table, const char *spec, const char *name, int32_t *index, const aios_backend **backend)
{
    for (size_t i = 0; i < table->count; i++) {
        const backend_slot *slot = &table->slots[i];
        if (name[0] ? strcmp(slot->entry.name, name) != 0 : i == 0) continue; /* the CPU, at 0, has no GPU number */
        if (!slot->backend && name[0] && slot->entry.status != AIOS_ALREADY_EXISTS)
            return FAIL(slot->entry.status == AIOS_NOT_FOUND ? AIOS_UNAVAILABLE : slot->entry.status, "device %s can't be used: %s", spec,
                        slot->entry.reason);
        if (!slot->backend) continue;
        if (*index < slot->entry.device_count) {
            *backend = slot->backend;
            return AIOS_OK;
        }
        if (name[0]) break;
        *index -= slot->entry.device_count;
    }
    return say_not_found(table, spec);
}

aios_status aios_device_open(aios_context *context, const char *spec, aios_device **device)
{
    aios_status status = AIOS_OK;
    backend_table table;
    const aios_backend *backend = NULL;
    char name[16];
    int32_t index;
    CHECK_HANDLE("aios_device_open", device);
    *device = NULL;
    CHECK_HANDLE("aios_device_open", context);
    CHECK_HANDLE("aios_device_open", spec);
    TRY_QUIET(read_spec(spec, name, &index));
    TRY_QUIET(registry_scan(context, &table));
    ATTEMPT_QUIET(find_device(&table, spec, name, &index, &backend));
    ATTEMPT_QUIET(open_device(context, backend, index, device));
done:
    registry_free(&table);
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

/* ---- the list ---------------------------------------------------------------------------------------------------- */

struct aios_device_list {
    aios_context *context;
    backend_table table;
    aios_device_entry *entries;
    size_t count, capacity;
};

/* A device that can't be opened is told in its backend's reason; the backend stays usable for the others. */
static aios_status add_device(aios_device_list *list, backend_slot *slot, int32_t index, int32_t id)
{
    aios_device *device = NULL;
    aios_status status = open_device(list->context, slot->backend, index, &device);
    if (status == AIOS_OUT_OF_MEMORY) return status;
    if (status != AIOS_OK) {
        add_text(slot->entry.reason, sizeof slot->entry.reason, "%s%s:%d: %s", slot->entry.reason[0] ? "; " : "", slot->entry.name,
                 (int)index, aios_error_message());
        return AIOS_OK;
    }
    ATTEMPT_QUIET(aios_memory_grow(list->context, (void **)&list->entries, &list->capacity, list->count + 1, sizeof *list->entries));
    aios_device_entry *entry = &list->entries[list->count++];
    memset(entry, 0, sizeof *entry);
    entry->struct_size = sizeof *entry;
    entry->id = id;
    entry->info = device->info;
    memcpy(entry->spec, device->spec, sizeof entry->spec);
    if (aios_device_memory_info(device, &entry->memory_free, NULL) != AIOS_OK) aios_error_clear();
done:
    aios_device_close(device);
    return status;
}

static aios_status fill_list(aios_device_list *list)
{
    int32_t gpu = 0;
    TRY_QUIET(registry_scan(list->context, &list->table));
    for (size_t i = 0; i < list->table.count; i++) {
        backend_slot *slot = &list->table.slots[i];
        for (int32_t index = 0; slot->backend && index < slot->entry.device_count; index++)
            TRY_QUIET(add_device(list, slot, index, i == 0 ? -1 : gpu++));
    }
    return AIOS_OK;
}

aios_status aios_device_list_create(aios_context *context, aios_device_list **list)
{
    CHECK_HANDLE("aios_device_list_create", list);
    *list = NULL;
    CHECK_HANDLE("aios_device_list_create", context);
    aios_device_list *made = aios_new(context, aios_device_list);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->table.context = context;
    aios_status status = fill_list(made);
    if (status == AIOS_OK)
        *list = made;
    else
        aios_device_list_destroy(made);
    return status;
}

void aios_device_list_destroy(aios_device_list *list)
{
    if (!list) return;
    aios_context *context = list->context;
    registry_free(&list->table);
    aios_memory_free(context, list->entries);
    aios_memory_free(context, list);
    aios_context_release(context);
}

uint32_t aios_device_list_count(const aios_device_list *list)
{
    return list ? (uint32_t)list->count : 0;
}

uint32_t aios_device_list_backend_count(const aios_device_list *list)
{
    return list ? (uint32_t)list->table.count : 0;
}

const aios_device_entry *aios_device_list_get(const aios_device_list *list, uint32_t index)
{
    return list && index < list->count ? &list->entries[index] : NULL;
}

const aios_backend_entry *aios_device_list_get_backend(const aios_device_list *list, uint32_t index)
{
    return list && index < list->table.count ? &list->table.slots[index].entry : NULL;
}
