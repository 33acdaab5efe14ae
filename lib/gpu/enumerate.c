/* Every device of every backend, and opening one by a user's word. */
#include "device.h"
#include "device_list.h"
#include "registry.h"

#include <stdio.h>
#include <string.h>

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void add_reason(aios_backend_entry *backend, const char *more)
{
    size_t used = strlen(backend->reason);
    (void)snprintf(backend->reason + used, sizeof backend->reason - used, "%s%s", used ? "; " : "", more);
}

/* A device that can't be opened is told in its backend's reason; the backend stays usable for the others. */
static aios_status add_device(aios_device_list *list, backend_slot *slot, int32_t index, int32_t *id)
{
    aios_device *device = NULL;
    aios_device_entry entry = {.struct_size = sizeof entry};
    size_t hidden = list->hidden_count;
    aios_status status = device_open(list->context, slot->backend, index, &device);
    if (status == AIOS_OUT_OF_MEMORY) return status;
    if (status == AIOS_OK) {
        entry.info = *aios_device_get_info(device);
        memcpy(entry.spec, device->spec, sizeof entry.spec);
        if (aios_device_memory_info(device, &entry.memory_free, NULL) != AIOS_OK) aios_error_clear();
        aios_device_close(device);
        status = device_list_add(list, &entry, id);
    } else {
        char reason[sizeof list->hidden->reason];
        (void)snprintf(entry.spec, sizeof entry.spec, "%s:%d", slot->entry.name, (int)index);
        (void)snprintf(entry.info.backend, sizeof entry.info.backend, "%s", slot->entry.name);
        (void)snprintf(reason, sizeof reason, "%s: %s", entry.spec, aios_error_message());
        entry.info.index = index;
        entry.id = (*id)++;
        status = device_list_hide(list, &entry, status, reason);
    }
    if (list->hidden_count > hidden) add_reason(&slot->entry, list->hidden[hidden].reason);
    return status;
}

static aios_status fill(aios_device_list *list, backend_table *table)
{
    int32_t gpus = 0, cpus = 0;
    for (size_t i = 0; i < table->count; i++) {
        backend_slot *slot = &table->slots[i];
        for (int32_t index = 0; slot->backend && index < slot->entry.device_count; index++)
            TRY_QUIET(add_device(list, slot, index, i == 0 ? &cpus : &gpus));
        TRY_QUIET(aios_memory_grow(list->context, (void **)&list->backends, &list->backend_capacity, list->backend_count + 1,
                                   sizeof *list->backends));
        list->backends[list->backend_count++] = slot->entry;
    }
    return AIOS_OK;
}

aios_status aios_device_list_create(aios_context *context, aios_device_list **list)
{
    backend_table table;
    CHECK_HANDLE("aios_device_list_create", list);
    *list = NULL;
    CHECK_HANDLE("aios_device_list_create", context);
    TRY_QUIET(registry_scan(context, &table));
    aios_status status = device_list_new(context, list);
    if (status == AIOS_OK) status = fill(*list, &table);
    registry_free(&table);
    if (status == AIOS_OK) return AIOS_OK;
    aios_device_list_destroy(*list);
    *list = NULL;
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status say_not_found(const backend_table *table, const char *text)
{
    char there[400] = "", masks[200];
    for (size_t i = 0; i < table->count; i++) {
        const aios_backend_entry *entry = &table->slots[i].entry;
        size_t used = strlen(there);
        if (!table->slots[i].backend || entry->device_count == 0) continue;
        (void)snprintf(there + used, sizeof there - used, "%s%s:0", used ? ", " : "", entry->name);
        used = strlen(there);
        if (entry->device_count > 1)
            (void)snprintf(there + used, sizeof there - used, " … %s:%d", entry->name, (int)entry->device_count - 1);
    }
    device_list_say_masks(masks, sizeof masks);
    return FAIL(AIOS_NOT_FOUND, "there is no device %s; there are %s%s", text, there, masks);
}

/* "cuda:1" is opened without a look at other devices: opening those takes time and memory. */
static aios_status open_named(aios_context *context, const char *text, const device_word *word, aios_device **device)
{
    backend_table table;
    const backend_slot *slot = NULL;
    aios_status status = registry_scan(context, &table);
    if (status != AIOS_OK) return status;
    for (size_t i = 0; i < table.count && !slot; i++)
        if (strcmp(table.slots[i].entry.name, word->backend) == 0 && table.slots[i].entry.status != AIOS_ALREADY_EXISTS)
            slot = &table.slots[i];
    if (slot && !slot->backend)
        status = FAIL(slot->entry.status == AIOS_NOT_FOUND ? AIOS_UNAVAILABLE : slot->entry.status, "device %s can't be used: %s", text,
                      slot->entry.reason);
    else if (!slot || word->index >= slot->entry.device_count)
        status = say_not_found(&table, text);
    else
        status = device_open(context, slot->backend, word->index, device);
    registry_free(&table);
    return status;
}

/* Numbers, addresses and UUIDs are known once every device was asked. */
static aios_status open_listed(aios_context *context, const char *text, const device_word *word, aios_device **device)
{
    aios_status status = AIOS_OK;
    aios_device_list *list;
    device_word named = {.kind = WORD_BACKEND};
    TRY_QUIET(aios_device_list_create(context, &list));
    const aios_device_entry *entry = device_list_find(list, word);
    const hidden_device *hidden = entry ? NULL : device_list_find_hidden(list, word);
    if (!entry && hidden) entry = &hidden->entry; /* opening it says why it can't be */
    if (entry) {
        named.index = entry->info.index;
        memcpy(named.backend, entry->info.backend, sizeof named.backend);
        status = open_named(context, text, &named, device);
    } else {
        status = device_list_missing(list, text, word);
    }
    aios_device_list_destroy(list);
    return status;
}

aios_status aios_device_open(aios_context *context, const char *spec, aios_device **device)
{
    device_word word;
    CHECK_HANDLE("aios_device_open", device);
    *device = NULL;
    CHECK_HANDLE("aios_device_open", context);
    CHECK_HANDLE("aios_device_open", spec);
    TRY_QUIET(device_word_read(spec, &word));
    return word.kind == WORD_BACKEND ? open_named(context, spec, &word, device) : open_listed(context, spec, &word, device);
}
