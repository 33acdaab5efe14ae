/* A selection in a file: the words, what each device was, precision and operating system. */
#include "base/os.h"
#include "hardware.h"

#include <stdio.h>
#include <string.h>

#define FORMAT        "aios-selection"
#define FORMAT_NUMBER 1
#define FILE_BYTES    (1u << 20)

/* The texts of an identity, by the names that they have in the file. */
static const struct {
    const char *key;
    size_t offset, size;
} fields[] = {
#define FIELD(key)                                                                                                                         \
    {                                                                                                                                      \
#key, offsetof(device_identity, key), sizeof((device_identity *)0)->key                                                            \
    }
    FIELD(spec), FIELD(name), FIELD(vendor), FIELD(pci_address), FIELD(uuid),
#undef FIELD
};

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* null where it is not known what the device is. */
static json_t *identity_json(const device_identity *identity)
{
    json_t *object = identity->spec[0] ? json_object() : json_null();
    for (size_t i = 0; identity->spec[0] && i < COUNT_OF(fields); i++)
        if (json_object_set_new(object, fields[i].key, json_string((const char *)identity + fields[i].offset)) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

static json_t *selection_json(const aios_hardware *h)
{
    json_t *words = json_array(), *identities = json_array();
    int failed = 0;
    for (size_t i = 0; i < h->selection.count; i++) {
        failed |= json_array_append_new(words, json_string(h->selection.devices[i].word));
        failed |= json_array_append_new(identities, identity_json(&h->selection.devices[i].identity));
    }
    json_t *value = json_pack("{ss si ss s{so ss} so}", "format", FORMAT, "version", FORMAT_NUMBER, "platform", h->platform, "hardware",
                              "selected_devices", words, "precision", h->precision, "identities", identities);
    if (!failed) return value;
    json_decref(value);
    return NULL;
}

aios_status aios_hardware_save(const aios_hardware *hardware, const char *path)
{
    if (!hardware) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hardware_save: hardware is NULL: it must be given");
    if (!path || !path[0]) return FAIL(AIOS_INVALID_ARGUMENT, "aios_hardware_save: path is %s: it must be given", path ? "empty" : "NULL");
    json_t *value = selection_json(hardware);
    if (!value) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to write the selection of devices");
    aios_status status = json_write_file(hardware->context, path, value, JSON_TEXT_PRETTY);
    json_decref(value);
    TRY(status, "saving the selection of devices");
    return AIOS_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static aios_status read_identity(const json_t *from, device_identity *identity)
{
    if (json_is_null(from)) return AIOS_OK;
    if (!json_is_object(from)) return FAIL(AIOS_CORRUPT, "an element of identities is no object: it must be one, or null");
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const char *value;
        TRY_QUIET(json_get_string(from, fields[i].key, &value));
        if (strlen(value) >= fields[i].size)
            return FAIL(AIOS_CORRUPT, "%s has %zu bytes: at most %zu", fields[i].key, strlen(value), fields[i].size - 1);
        (void)snprintf((char *)identity + fields[i].offset, fields[i].size, "%s", value);
    }
    return AIOS_OK;
}

aios_status selection_read_saved(device_selection *to, const json_t *value)
{
    const char *format, *platform;
    int64_t number;
    size_t index;
    json_t *identities, *identity;
    TRY_QUIET(json_get_string(value, "format", &format));
    if (strcmp(format, FORMAT) != 0) return FAIL(AIOS_CORRUPT, "format is \"%.64s\": it must be " FORMAT, format);
    TRY_QUIET(json_get_int(value, "version", 1, INT32_MAX, &number));
    if (number != FORMAT_NUMBER) return FAIL(AIOS_UNSUPPORTED, "version is %lld: this libaios reads %d", (long long)number, FORMAT_NUMBER);
    TRY_QUIET(json_get_string(value, "platform", &platform));
    if (!platform_find(platform)) return FAIL(AIOS_CORRUPT, "platform is \"%.64s\": it must be linux, windows or macos", platform);
    (void)snprintf(to->platform, sizeof to->platform, "%s", platform_find(platform));
    TRY_QUIET(selection_read_json(to, value));
    TRY_QUIET(json_get_array(value, "identities", &identities));
    if (json_array_size(identities) != to->count)
        return FAIL(AIOS_CORRUPT, "identities has %zu elements: it must have %zu, one for each of selected_devices",
                    json_array_size(identities), to->count);
    json_array_foreach (identities, index, identity) TRY_QUIET(read_identity(identity, &to->devices[index].identity));
    return AIOS_OK;
}

aios_status selection_load(device_selection *to, const char *path)
{
    json_limits limits = JSON_LIMITS_DEFAULT;
    json_t *value;
    limits.bytes = FILE_BYTES;
    TRY(json_read_file(to->context, path, &limits, &value), "loading the selection of devices");
    aios_status status = selection_read_saved(to, value);
    json_decref(value);
    TRY(status, "loading the selection of devices from %s", path);
    return AIOS_OK;
}
