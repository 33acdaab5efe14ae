/* What a resolution says of itself: lines, JSON, the event. */
#include "hardware.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void clean_text(char *text)
{
    if (text_is_utf8(text, strlen(text))) return;
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80) *text = '?';
}

void identity_of(const aios_device_entry *entry, device_identity *identity)
{
    const aios_device_info *info = &entry->info;
    const struct {
        char *to;
        size_t size;
        const char *from;
    } fields[] = {
        {identity->spec, sizeof identity->spec, entry->spec},      {identity->pci_address, sizeof identity->pci_address, info->pci_address},
        {identity->vendor, sizeof identity->vendor, info->vendor}, {identity->uuid, sizeof identity->uuid, info->uuid},
        {identity->name, sizeof identity->name, info->name},
    };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        (void)snprintf(fields[i].to, fields[i].size, "%s", fields[i].from);
        clean_text(fields[i].to);
    }
}

aios_status hardware_say(aios_hardware *hardware, line_list *lines, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    clean_text(line);
    TRY_QUIET(aios_memory_grow(hardware->context, (void **)&lines->lines, &lines->capacity, lines->count + 1, sizeof *lines->lines));
    lines->lines[lines->count] = aios_memory_strdup(hardware->context, line);
    if (!lines->lines[lines->count]) return AIOS_OUT_OF_MEMORY;
    lines->count++;
    return AIOS_OK;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

/* A member of an object: "key": in front of its value, a comma before the second. */
static void key(json_text *out, const char *name)
{
    json_text_format(out, "%s\"%s\": ", out->size > 1 ? ", " : "", name);
}

static void text(json_text *out, const char *value)
{
    if (value)
        json_text_string(out, value, strlen(value), JSON_TEXT_COMPACT);
    else
        json_text_put(out, "null", 4);
}

static void begin_list(json_text *out, const char *name)
{
    key(out, name);
    json_text_put(out, "[", 1);
}

static void item(json_text *out, const char *value)
{
    if (out->status == AIOS_OK && out->text[out->size - 1] != '[') json_text_put(out, ", ", 2);
    text(out, value);
}

static void put_lines(json_text *out, const char *name, const line_list *list)
{
    begin_list(out, name);
    for (size_t i = 0; i < list->count; i++) item(out, list->lines[i]);
    json_text_put(out, "]", 1);
}

static void put_requested(json_text *out, const aios_hardware *h)
{
    begin_list(out, "requested");
    for (size_t i = 0; i < h->selection.count; i++) item(out, h->selection.devices[i].word);
    json_text_put(out, "]", 1);
}

static void put_specs(json_text *out, const char *name, const aios_hardware *h, const uint32_t *indices, size_t count)
{
    begin_list(out, name);
    for (size_t i = 0; i < count; i++) item(out, h->devices[indices ? indices[i] : i].spec);
    json_text_put(out, "]", 1);
}

static void put_warnings(json_text *out, const aios_hardware *h)
{
    begin_list(out, "warnings");
    for (int i = 0; i < WARNING_COUNT; i++)
        if (h->warned >> i & 1) item(out, warning_token(i));
    json_text_put(out, "]", 1);
}

/* The ids of the GPUs, a CPU beside them by its name; "auto" for the CPU. */
static void put_devices(json_text *out, const aios_hardware *h)
{
    key(out, "devices");
    if (strcmp(h->accelerator, "cpu") == 0) {
        text(out, "auto");
        return;
    }
    for (size_t i = 0; i < h->device_count; i++) {
        json_text_put(out, i ? ", " : "[", i ? 2 : 1);
        if (h->devices[i].id >= 0)
            json_text_format(out, "%d", (int)h->devices[i].id);
        else
            text(out, h->devices[i].spec);
    }
    json_text_put(out, "]", 1);
}

static void put_count(json_text *out, const char *name, int64_t count)
{
    key(out, name);
    if (count)
        json_text_format(out, "%lld", (long long)count);
    else
        text(out, NULL);
}

aios_status hardware_write_json(aios_hardware *h)
{
    json_text out = JSON_TEXT_INIT(h->context);
    json_text_put(&out, "{", 1);
    key(&out, "accelerator"), text(&out, h->accelerator);
    put_devices(&out, h);
    key(&out, "strategy"), text(&out, h->strategy);
    key(&out, "precision"), text(&out, h->precision);
    put_count(&out, "effective_batch_size", h->effective_batch_size);
    put_lines(&out, "notes", &h->notes);
    put_warnings(&out, h);
    put_specs(&out, "specs", h, NULL, h->device_count);
    put_specs(&out, "inference", h, h->inference, h->inference_count);
    put_count(&out, "learning_rate_scale", h->learning_rate_scale);
    put_count(&out, "loader_workers", h->loader_workers);
    key(&out, "platform"), text(&out, h->platform);
    put_requested(&out, h);
    put_lines(&out, "changes", &h->changes);
    json_text_put(&out, "}", 1);
    TRY_QUIET(json_text_end(&out));
    h->json = out.text;
    return AIOS_OK;
}

void hardware_emit(const aios_hardware *h, int failed)
{
    json_text out = JSON_TEXT_INIT(h->context);
    char reason[1024] = "";
    if (failed) (void)snprintf(reason, sizeof reason, "%s", aios_error_message());
    clean_text(reason);
    json_text_put(&out, "{", 1);
    key(&out, "platform"), text(&out, h->platform);
    put_requested(&out, h);
    put_specs(&out, "effective", h, NULL, failed ? 0 : h->device_count);
    put_warnings(&out, h);
    key(&out, "strategy"), text(&out, failed ? NULL : h->strategy);
    key(&out, "precision"), text(&out, failed ? NULL : h->precision);
    key(&out, "error"), text(&out, failed ? reason : NULL);
    json_text_put(&out, "}", 1);
    if (json_text_end(&out) == AIOS_OK) aios_emit(h->context, "hardware_resolve", out.text);
    json_text_free(&out);
}
