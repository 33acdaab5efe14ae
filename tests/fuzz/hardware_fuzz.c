/* Any bytes as a selection of devices, in words, JSON or a saved file: refused with a sentence, or resolved to devices that are there,
 * each once, with JSON that can be read. */
#include "base/json.h"
#include "hardware/hardware.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int right)
{
    if (!right) abort();
}

/* The devices of this machine play no part here. */
aios_status aios_device_list_create(aios_context *context, aios_device_list **list)
{
    return device_list_make(context, NULL, 0, list);
}

static aios_device_list *make_list(aios_context *context)
{
    static const char *const backends[] = {"cpu", "cpu", "cuda", "cuda", "xpu", "hip"};
    aios_device_info devices[COUNT_OF(backends)];
    aios_device_list *list;
    memset(devices, 0, sizeof devices);
    for (int i = 0; i < (int)COUNT_OF(backends); i++) {
        aios_device_info *info = &devices[i];
        info->kind = i < 2 ? AIOS_DEVICE_CPU : AIOS_DEVICE_DISCRETE;
        info->index = i > 0 && strcmp(backends[i], backends[i - 1]) == 0;
        info->storage_types = i == 5 ? 1u << AIOS_F32 : 7;
        (void)snprintf(info->backend, sizeof info->backend, "%s", backends[i]);
        (void)snprintf(info->name, sizeof info->name, "device %d", i);
        (void)snprintf(info->vendor, sizeof info->vendor, "%s", backends[i]);
        if (i > 1) (void)snprintf(info->pci_address, sizeof info->pci_address, "0000:0%d:00.0", i);
        if (i > 1) (void)snprintf(info->uuid, sizeof info->uuid, "GPU-000000000000000%d", i);
    }
    check(device_list_make(context, devices, COUNT_OF(devices), &list) == AIOS_OK);
    return list;
}

static void judge(const aios_hardware *h, aios_status status)
{
    json_t *value;
    if (status != AIOS_OK) {
        check(!h && aios_error_status() == status && strlen(aios_error_message()) > 5);
        return;
    }
    uint32_t count = aios_hardware_device_count(h);
    check(count > 0 && aios_hardware_inference_count(h) > 0 && aios_hardware_inference_count(h) <= count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++) check(strcmp(aios_hardware_device(h, i)->spec, aios_hardware_device(h, j)->spec) != 0);
    check((strcmp(aios_hardware_strategy(h), "auto") == 0) == (count == 1));
    const char *json = aios_hardware_json(h);
    check(json_parse(json, strlen(json), "json", NULL, &value) == AIOS_OK);
    check(json_array_size(json_object_get(value, "specs")) == count);
    json_decref(value);
}

/* The same bytes as what a file has. */
static void read_saved(aios_context *context, const aios_device_list *list, const char *text, size_t size)
{
    json_t *value;
    aios_hardware *h = NULL;
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    device_selection saved = {.context = context};
    if (json_parse(text, size, "fuzz", NULL, &value) != AIOS_OK) return;
    aios_status status = selection_read_saved(&saved, value);
    json_decref(value);
    if (status == AIOS_OK) {
        options.fallback = 1;
        check(aios_hardware_resolve(context, list, "cpu", &options, &h) == AIOS_OK);
        selection_free(&h->selection);
        h->selection = saved;
        h->device_count = 0;
        h->precision = NULL;
        (void)hardware_apply(h, list);
        aios_hardware_destroy(h);
    } else {
        selection_free(&saved);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const systems[] = {NULL, "windows", "linux", "macos"};
    static aios_context *context;
    static aios_device_list *list;
    aios_hardware *h = NULL;
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    if (!context) {
        check(aios_context_create(NULL, &context) == AIOS_OK);
        list = make_list(context);
    }
    char *text = malloc(size + 1);
    check(text != NULL);
    if (size) memcpy(text, bytes, size);
    text[size] = 0;
    options.fallback = (int32_t)(size & 1);
    options.os = systems[size >> 1 & 3];
    options.batch_size = (int32_t)(size & 8);
    aios_error_clear();
    aios_status status = aios_hardware_resolve(context, list, text, &options, &h);
    judge(h, status);
    aios_hardware_destroy(h);
    read_saved(context, list, text, size);
    free(text);
    return 0;
}
