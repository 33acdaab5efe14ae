/* A selection from a user's words or JSON. */
#include "hardware.h"

#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MOST (64u << 10)
#define GAPS      ", \t\r\n"

void selection_free(device_selection *selection)
{
    aios_memory_free(selection->context, selection->devices);
    selection->devices = NULL;
    selection->count = selection->capacity = 0;
}

aios_status selection_add(device_selection *to, const char *word, size_t length)
{
    char shown[DEVICE_WORD_SIZE];
    device_word parsed;
    int printable = 1;
    for (size_t i = 0; i < length; i++) printable &= word[i] > ' ' && word[i] < 0x7f;
    if (!printable) return FAIL(AIOS_INVALID_ARGUMENT, "selected device %zu has bytes that are no printable ASCII", to->count + 1);
    if (length >= sizeof shown)
        return FAIL(AIOS_INVALID_ARGUMENT, "selected device %zu has %zu characters: at most %d", to->count + 1, length,
                    DEVICE_WORD_SIZE - 1);
    if (to->count == SELECTED_MOST) return FAIL(AIOS_OUT_OF_RANGE, "more than %d devices are selected", SELECTED_MOST);
    memcpy(shown, word, length);
    shown[length] = 0;
    TRY_QUIET(device_word_read(shown, &parsed));
    TRY_QUIET(aios_memory_grow(to->context, (void **)&to->devices, &to->capacity, to->count + 1, sizeof *to->devices));
    selected_device *added = &to->devices[to->count++];
    memset(added, 0, sizeof *added);
    memcpy(added->word, shown, length + 1);
    return AIOS_OK;
}

static aios_status read_words(device_selection *to, const char *text)
{
    if (strcmp(text, "auto") == 0) {
        to->by_default = 1;
        return AIOS_OK;
    }
    for (text += strspn(text, GAPS); *text; text += strspn(text, GAPS)) {
        size_t length = strcspn(text, GAPS);
        TRY_QUIET(selection_add(to, text, length));
        text += length;
    }
    return AIOS_OK;
}

aios_status selection_read_environment(device_selection *to)
{
    char word[DEVICE_WORD_SIZE];
    const char *ids = os_environment("AIOS_CUDA_IDS");
    if (!ids) return AIOS_OK;
    for (ids += strspn(ids, GAPS); *ids; ids += strspn(ids, GAPS)) {
        size_t length = strcspn(ids, GAPS);
        int is_number = strspn(ids, "0123456789") >= length;
        int size = snprintf(word, sizeof word, "%s%.*s", is_number ? "cuda:" : "", (int)(length < sizeof word ? length : sizeof word), ids);
        TRY(selection_add(to, word, (size_t)size), "AIOS_CUDA_IDS");
        ids += length;
    }
    return AIOS_OK;
}

static aios_status read_list(device_selection *to, const json_t *list)
{
    size_t index;
    json_t *value;
    char number[32];
    json_array_foreach (list, index, value) {
        if (json_is_string(value)) {
            TRY_QUIET(selection_add(to, json_string_value(value), json_string_length(value)));
        } else if (json_is_integer(value)) {
            (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
            TRY_QUIET(selection_add(to, number, strlen(number)));
        } else {
            return FAIL(AIOS_INVALID_ARGUMENT, "selected_devices[%zu] is no device: each is a text like \"gpu:0\"", index);
        }
    }
    return AIOS_OK;
}

static aios_status read_devices(device_selection *to, const json_t *value)
{
    if (!value || json_is_null(value)) {
        to->by_default = 1;
        return AIOS_OK;
    }
    if (json_is_array(value)) return read_list(to, value);
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return FAIL(AIOS_INVALID_ARGUMENT, "selected_devices must be a list of texts: [\"gpu:0\", \"gpu:1\"]");
    return read_words(to, json_string_value(value));
}

aios_status selection_read_json(device_selection *to, const json_t *value)
{
    const char *key, *precision = "";
    json_t *member;
    if (json_is_array(value)) return read_list(to, value);
    const json_t *hardware = json_object_get(value, "hardware");
    if (!hardware) hardware = value;
    if (!json_is_object(hardware)) return FAIL(AIOS_INVALID_ARGUMENT, "hardware must be an object: {\"selected_devices\": [\"gpu:0\"]}");
    json_object_foreach ((json_t *)(uintptr_t)hardware, key, member) {
        if (strcmp(key, "selected_devices") != 0 && strcmp(key, "precision") != 0)
            return FAIL(AIOS_INVALID_ARGUMENT, "hardware has no member \"%.64s\": selected_devices and precision are its members", key);
    }
    TRY_QUIET(json_get_string_or(hardware, "precision", "", &precision));
    if (strlen(precision) >= sizeof to->precision)
        return FAIL(AIOS_INVALID_ARGUMENT, "precision is \"%.64s\": it must be 32, 16-mixed or bf16-mixed", precision);
    (void)snprintf(to->precision, sizeof to->precision, "%s", precision);
    return read_devices(to, json_object_get(hardware, "selected_devices"));
}

aios_status selection_read(device_selection *to, const char *text)
{
    const char *start = text + strspn(text, GAPS);
    size_t size = strlen(start);
    json_limits limits = JSON_LIMITS_DEFAULT;
    json_t *value;
    limits.bytes = TEXT_MOST;
    if (size > TEXT_MOST) return FAIL(AIOS_OUT_OF_RANGE, "the selection has %zu bytes: at most %u", size, TEXT_MOST);
    if (*start != '{' && *start != '[') return read_words(to, start);
    TRY_QUIET(json_parse(start, size, "selection", &limits, &value));
    aios_status status = selection_read_json(to, value);
    json_decref(value);
    return status;
}
