#include "fields.h"

#include <string.h>

void fields_begin(struct fields *fields, aios_context *context)
{
    text_init(&fields->text, context);
    (void)text_add(&fields->text, "{");
}

static void name_next(struct fields *fields, const char *name)
{
    if (fields->text.size > 1) (void)text_add(&fields->text, ", ");
    (void)text_add_json(&fields->text, name);
    (void)text_add(&fields->text, ": ");
}

void fields_int(struct fields *fields, const char *name, int64_t value)
{
    name_next(fields, name);
    (void)text_format(&fields->text, "%lld", (long long)value);
}

void fields_number(struct fields *fields, const char *name, double value)
{
    name_next(fields, name);
    (void)text_add_double(&fields->text, value);
}

void fields_bool(struct fields *fields, const char *name, int value)
{
    name_next(fields, name);
    (void)text_add(&fields->text, value ? "true" : "false");
}

void fields_text(struct fields *fields, const char *name, const char *value)
{
    name_next(fields, name);
    if (text_is_utf8(value, strlen(value))) {
        (void)text_add_json(&fields->text, value);
        return;
    }
    char *plain = aios_memory_strdup(fields->text.context, value);
    if (!plain) {
        fields->text.status = AIOS_OUT_OF_MEMORY;
        return;
    }
    for (char *at = plain; *at; at++)
        if ((unsigned char)*at >= 0x80) *at = '?';
    (void)text_add_json(&fields->text, plain);
    aios_memory_free(fields->text.context, plain);
}

void fields_json(struct fields *fields, const char *name, const char *json)
{
    name_next(fields, name);
    (void)text_add(&fields->text, json ? json : "null");
}

aios_status fields_end(struct fields *fields)
{
    return text_add(&fields->text, "}");
}

void fields_free(struct fields *fields)
{
    text_free(&fields->text);
}
