#include "device_list.h"

#include "base/os.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAMED_MOST 8 /* devices that a message lists */

/* ---- making ------------------------------------------------------------------------------------------------------ */

aios_status device_list_new(aios_context *context, aios_device_list **list)
{
    *list = aios_new(context, aios_device_list);
    if (!*list) return AIOS_OUT_OF_MEMORY;
    (*list)->context = aios_context_retain(context);
    return AIOS_OK;
}

void aios_device_list_destroy(aios_device_list *list)
{
    if (!list) return;
    aios_context *context = list->context;
    aios_memory_free(context, list->entries);
    aios_memory_free(context, list->backends);
    aios_memory_free(context, list->hidden);
    aios_memory_free(context, list);
    aios_context_release(context);
}

aios_status device_list_hide(aios_device_list *list, const aios_device_entry *device, aios_status status, const char *reason)
{
    TRY_QUIET(
        aios_memory_grow(list->context, (void **)&list->hidden, &list->hidden_capacity, list->hidden_count + 1, sizeof *list->hidden));
    hidden_device *hidden = &list->hidden[list->hidden_count++];
    hidden->entry = *device;
    hidden->status = status;
    (void)snprintf(hidden->reason, sizeof hidden->reason, "%s", reason);
    return AIOS_OK;
}

/* Two backends may show one device; the parts of a device that one backend shows may share its address. */
static const aios_device_entry *find_twin(const aios_device_list *list, const aios_device_info *info)
{
    for (size_t i = 0; i < list->count; i++) {
        const aios_device_info *other = &list->entries[i].info;
        if (strcmp(other->backend, info->backend) != 0 && pci_address_equal(other->pci_address, info->pci_address))
            return &list->entries[i];
    }
    return NULL;
}

aios_status device_list_add(aios_device_list *list, const aios_device_entry *device, int32_t *id)
{
    const aios_device_entry *twin = find_twin(list, &device->info);
    if (twin) {
        aios_device_entry hidden = *device;
        char reason[256];
        hidden.id = -1;
        (void)snprintf(reason, sizeof reason, "%s is the device at %s that %s is: it is listed once", device->spec,
                       device->info.pci_address, twin->spec);
        return device_list_hide(list, &hidden, AIOS_ALREADY_EXISTS, reason);
    }
    TRY_QUIET(aios_memory_grow(list->context, (void **)&list->entries, &list->capacity, list->count + 1, sizeof *list->entries));
    list->entries[list->count] = *device;
    list->entries[list->count++].id = device->info.kind == AIOS_DEVICE_CPU ? -1 : (*id)++;
    return AIOS_OK;
}

aios_status device_list_make(aios_context *context, const aios_device_info *devices, size_t count, aios_device_list **list)
{
    aios_status status = AIOS_OK;
    int32_t id = 0;
    TRY_QUIET(device_list_new(context, list));
    for (size_t i = 0; i < count && status == AIOS_OK; i++) {
        aios_device_entry entry = {.struct_size = sizeof entry, .memory_free = devices[i].memory_total, .info = devices[i]};
        (void)snprintf(entry.spec, sizeof entry.spec, "%s:%d", devices[i].backend, (int)devices[i].index);
        status = device_list_add(*list, &entry, &id);
    }
    if (status == AIOS_OK) return AIOS_OK;
    aios_device_list_destroy(*list);
    *list = NULL;
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

uint32_t aios_device_list_count(const aios_device_list *list)
{
    return list ? (uint32_t)list->count : 0;
}

uint32_t aios_device_list_backend_count(const aios_device_list *list)
{
    return list ? (uint32_t)list->backend_count : 0;
}

const aios_device_entry *aios_device_list_get(const aios_device_list *list, uint32_t index)
{
    return list && index < list->count ? &list->entries[index] : NULL;
}

const aios_backend_entry *aios_device_list_get_backend(const aios_device_list *list, uint32_t index)
{
    return list && index < list->backend_count ? &list->backends[index] : NULL;
}

/* ---- by a user's word -------------------------------------------------------------------------------------------- */

const aios_device_entry *device_list_find(const aios_device_list *list, const device_word *word)
{
    for (size_t i = 0; i < list->count; i++)
        if (device_word_matches(word, &list->entries[i])) return &list->entries[i];
    return NULL;
}

const hidden_device *device_list_find_hidden(const aios_device_list *list, const device_word *word)
{
    for (size_t i = 0; i < list->hidden_count; i++)
        if (device_word_matches(word, &list->hidden[i].entry)) return &list->hidden[i];
    return NULL;
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

void device_list_say_masks(char *text, size_t size)
{
    static const char *const masks[] = {"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
                                        "ZE_AFFINITY_MASK"};
    text[0] = 0;
    for (size_t i = 0; i < COUNT_OF(masks); i++) {
        const char *value = os_environment(masks[i]);
        if (value) add_text(text, size, "; %s is \"%.60s\", and numbers count what it shows", masks[i], value);
    }
}

void device_list_say(const aios_device_list *list, char *text, size_t size)
{
    size_t told = 0;
    text[0] = 0;
    for (; told < list->count && told < NAMED_MOST; told++) {
        const aios_device_entry *entry = &list->entries[told];
        char one[128] = "";
        add_text(one, sizeof one, "%s", entry->spec);
        if (entry->id >= 0) add_text(one, sizeof one, " (gpu:%d, %.40s)", (int)entry->id, entry->info.name);
        if (strlen(text) + strlen(one) + sizeof ",  and 4294967295 more" > size) break; /* whole names alone */
        add_text(text, size, "%s%s", told ? ", " : "", one);
    }
    if (list->count > told) add_text(text, size, " and %zu more", list->count - told);
}

aios_status device_list_missing(const aios_device_list *list, const char *text, const device_word *word)
{
    char there[400], masks[200];
    const hidden_device *hidden = device_list_find_hidden(list, word);
    if (hidden) return FAIL(hidden->status, "device %s can't be used: %s", text, hidden->reason);
    for (size_t i = 0; i < list->backend_count; i++) {
        const aios_backend_entry *backend = &list->backends[i];
        if (word->kind == WORD_BACKEND && strcmp(backend->name, word->backend) == 0 && backend->status != AIOS_OK &&
            backend->status != AIOS_ALREADY_EXISTS)
            return FAIL(AIOS_UNAVAILABLE, "device %s can't be used: %s", text, backend->reason);
    }
    device_list_say(list, there, sizeof there);
    device_list_say_masks(masks, sizeof masks);
    return FAIL(AIOS_NOT_FOUND, "there is no device %s; there are %s%s", text, there, masks);
}

/* ---- planning ----------------------------------------------------------------------------------------------------- */

static double weight_of(const aios_device_info *info)
{
    static const struct {
        const char *vendor;
        double factor;
    } makes[] = {{"AMD", 0.8}, {"Intel", 0.5}};
    if (info->kind == AIOS_DEVICE_CPU) return 0;
    double weight = (double)info->memory_total;
    for (size_t i = 0; i < COUNT_OF(makes); i++)
        if (strcmp(info->vendor, makes[i].vendor) == 0) weight *= makes[i].factor;
    return weight;
}

double aios_device_list_get_weight(const aios_device_list *list, uint32_t index)
{
    double sum = 0;
    uint32_t count = aios_device_list_count(list);
    for (uint32_t i = 0; i < count; i++) sum += weight_of(&aios_device_list_get(list, i)->info);
    return index < count && sum > 0 ? weight_of(&aios_device_list_get(list, index)->info) / sum : 0;
}
