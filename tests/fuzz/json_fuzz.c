/* Any bytes as JSON: refused with an error, or written in every style to text that reads back as the same value and writes the
 * same text again. */
#include "base/context.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int right)
{
    if (!right) abort();
}

static void round_trip(aios_context *context, const json_t *value, int flags)
{
    char *text, *again;
    size_t size;
    json_t *read;
    check(json_to_text(context, value, flags, &text, &size) == AIOS_OK && strlen(text) == size);
    check(json_parse(text, size, "again", NULL, &read) == AIOS_OK);
    check(json_equal(value, read));
    check(json_to_text(context, read, flags, &again, NULL) == AIOS_OK && strcmp(text, again) == 0);
    if (flags & JSON_TEXT_ASCII)
        for (size_t i = 0; i < size; i++) check((unsigned char)text[i] < 0x7f);
    aios_memory_free(context, text);
    aios_memory_free(context, again);
    json_decref(read);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static aios_context *context;
    json_t *value;
    int64_t number;
    double real;
    const char *string;
    if (!context) check(aios_context_create(NULL, &context) == AIOS_OK);
    aios_error_clear();
    aios_status status = json_parse((const char *)bytes, size, "fuzz", NULL, &value);
    if (status != AIOS_OK) {
        check(!value && aios_error_status() == status && strlen(aios_error_message()) > 5);
        return 0;
    }
    for (int flags = 0; flags < 8; flags++) round_trip(context, value, flags);
    if (json_get_int(value, "a", -5, 5, &number) == AIOS_OK) check(number >= -5 && number <= 5);
    if (json_get_number(value, "a", -5, 5, &real) == AIOS_OK) check(real >= -5 && real <= 5);
    if (json_get_string_or(value, "a", "x", &string) == AIOS_OK) check(string != NULL);
    json_decref(value);
    return 0;
}
