#include "json.h"

#include "context.h"
#include "os.h"
#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MOST 64

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* jansson recurses per level and takes memory per value, so both are counted before it sees the text. */
static aios_status count_values(const char *text, size_t size, const char *name, const json_limits *limits)
{
    uint64_t values = 1, depth = 0;
    size_t line = 1, start = 0;
    int in_string = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\n') {
            line++;
            start = i + 1;
        }
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
            continue;
        }
        if (c == '"')
            in_string = 1;
        else if (c == ']' || c == '}')
            depth -= depth > 0;
        else if (c == '[' || c == '{')
            depth++;
        if (c == ',' || c == ':' || c == '[' || c == '{') values++;
        if (depth > limits->depth)
            return FAIL(AIOS_OUT_OF_RANGE, "%s:%zu:%zu: nested deeper than %u levels", name, line, i - start + 1, (unsigned)limits->depth);
        if (values > limits->values)
            return FAIL(AIOS_OUT_OF_RANGE, "%s:%zu:%zu: more than %llu values", name, line, i - start + 1,
                        (unsigned long long)limits->values);
    }
    return AIOS_OK;
}

aios_status json_parse(const char *text, size_t size, const char *name, const json_limits *limits, json_t **value)
{
    json_limits chosen = limits ? *limits : JSON_LIMITS_DEFAULT;
    json_error_t error;
    *value = NULL;
    if (size > chosen.bytes)
        return FAIL(AIOS_OUT_OF_RANGE, "%s has %zu bytes: at most %llu are read", name, size, (unsigned long long)chosen.bytes);
    TRY_QUIET(count_values(text, size, name, &chosen));
    *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (*value) return AIOS_OK;
    if (json_error_code(&error) == json_error_out_of_memory)
        return FAIL(AIOS_OUT_OF_MEMORY, "no memory to read %s (%zu bytes)", name, size);
    return FAIL(AIOS_CORRUPT, "%s:%d:%d: %s", name, error.line, error.column, error.text);
}

aios_status json_read_file(aios_context *context, const char *path, const json_limits *limits, json_t **value)
{
    json_limits chosen = limits ? *limits : JSON_LIMITS_DEFAULT;
    char *text;
    size_t size;
    *value = NULL;
    TRY_QUIET(os_file_read_all(context, path, chosen.bytes, &text, &size));
    aios_status status = json_parse(text, size, path, &chosen, value);
    aios_memory_free(context, text);
    return status;
}

/* ---- typed members ----------------------------------------------------------------------------------------------- */

typedef struct description {
    char text[80];
} description;

static description describe(const json_t *value)
{
    description d;
    switch (json_typeof(value)) {
    case JSON_OBJECT: (void)snprintf(d.text, sizeof d.text, "an object"); break;
    case JSON_ARRAY: (void)snprintf(d.text, sizeof d.text, "an array of %zu", json_array_size(value)); break;
    case JSON_STRING: (void)snprintf(d.text, sizeof d.text, "the string \"%.48s\"", json_string_value(value)); break;
    case JSON_INTEGER: (void)snprintf(d.text, sizeof d.text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: text_from_double(json_real_value(value), d.text); break;
    case JSON_TRUE: (void)snprintf(d.text, sizeof d.text, "true"); break;
    case JSON_FALSE: (void)snprintf(d.text, sizeof d.text, "false"); break;
    default: (void)snprintf(d.text, sizeof d.text, "null");
    }
    return d;
}

/* The member, or NULL where it is missing or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *found = json_object_get(object, key);
    return json_is_null(found) ? NULL : found;
}

static aios_status refuse_missing(const char *key, const char *wanted)
{
    return FAIL(AIOS_CORRUPT, "\"%s\" is missing: it must be %s", key, wanted);
}

static aios_status refuse_type(const char *key, const json_t *found, const char *wanted)
{
    return FAIL(AIOS_CORRUPT, "\"%s\" is %s: it must be %s", key, describe(found).text, wanted);
}

static aios_status take_int(const json_t *found, const char *key, int64_t least, int64_t most, int64_t *value)
{
    char wanted[96];
    (void)snprintf(wanted, sizeof wanted, "an integer from %lld to %lld", (long long)least, (long long)most);
    if (!found) return refuse_missing(key, wanted);
    if (!json_is_integer(found)) return refuse_type(key, found, wanted);
    int64_t number = json_integer_value(found);
    if (number < least || number > most) return FAIL(AIOS_OUT_OF_RANGE, "\"%s\" is %lld: it must be %s", key, (long long)number, wanted);
    *value = number;
    return AIOS_OK;
}

aios_status json_get_int(const json_t *object, const char *key, int64_t least, int64_t most, int64_t *value)
{
    *value = 0;
    return take_int(member(object, key), key, least, most, value);
}

aios_status json_get_int_or(const json_t *object, const char *key, int64_t fallback, int64_t least, int64_t most, int64_t *value)
{
    const json_t *found = member(object, key);
    *value = fallback;
    return found ? take_int(found, key, least, most, value) : AIOS_OK;
}

static aios_status take_number(const json_t *found, const char *key, double least, double most, double *value)
{
    char wanted[2 * TEXT_DOUBLE_MAX + 24], low[TEXT_DOUBLE_MAX], high[TEXT_DOUBLE_MAX];
    text_from_double(least, low);
    text_from_double(most, high);
    (void)snprintf(wanted, sizeof wanted, "a number from %s to %s", low, high);
    if (!found) return refuse_missing(key, wanted);
    if (!json_is_number(found)) return refuse_type(key, found, wanted);
    double number = json_number_value(found);
    if (!(number >= least && number <= most)) return FAIL(AIOS_OUT_OF_RANGE, "\"%s\" is %.17g: it must be %s", key, number, wanted);
    *value = number;
    return AIOS_OK;
}

aios_status json_get_number(const json_t *object, const char *key, double least, double most, double *value)
{
    *value = 0;
    return take_number(member(object, key), key, least, most, value);
}

aios_status json_get_number_or(const json_t *object, const char *key, double fallback, double least, double most, double *value)
{
    const json_t *found = member(object, key);
    *value = fallback;
    return found ? take_number(found, key, least, most, value) : AIOS_OK;
}

static aios_status take_bool(const json_t *found, const char *key, int *value)
{
    if (!found) return refuse_missing(key, "true or false");
    if (!json_is_boolean(found)) return refuse_type(key, found, "true or false");
    *value = json_is_true(found);
    return AIOS_OK;
}

aios_status json_get_bool(const json_t *object, const char *key, int *value)
{
    *value = 0;
    return take_bool(member(object, key), key, value);
}

aios_status json_get_bool_or(const json_t *object, const char *key, int fallback, int *value)
{
    const json_t *found = member(object, key);
    *value = fallback;
    return found ? take_bool(found, key, value) : AIOS_OK;
}

static aios_status take_string(const json_t *found, const char *key, const char **value)
{
    if (!found) return refuse_missing(key, "a string");
    if (!json_is_string(found)) return refuse_type(key, found, "a string");
    *value = json_string_value(found);
    return AIOS_OK;
}

aios_status json_get_string(const json_t *object, const char *key, const char **value)
{
    *value = NULL;
    return take_string(member(object, key), key, value);
}

aios_status json_get_string_or(const json_t *object, const char *key, const char *fallback, const char **value)
{
    const json_t *found = member(object, key);
    *value = fallback;
    return found ? take_string(found, key, value) : AIOS_OK;
}

static aios_status take_kind(const json_t *object, const char *key, json_type type, const char *wanted, json_t **value)
{
    json_t *found = json_object_get(object, key);
    *value = NULL;
    if (!found || json_is_null(found)) return refuse_missing(key, wanted);
    if (json_typeof(found) != type) return refuse_type(key, found, wanted);
    *value = found;
    return AIOS_OK;
}

aios_status json_get_object(const json_t *object, const char *key, json_t **value)
{
    return take_kind(object, key, JSON_OBJECT, "an object", value);
}

aios_status json_get_array(const json_t *object, const char *key, json_t **value)
{
    return take_kind(object, key, JSON_ARRAY, "an array", value);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

void json_text_put(json_text *out, const char *bytes, size_t size)
{
    if (out->status != AIOS_OK) return;
    out->status = aios_memory_grow(out->context, (void **)&out->text, &out->capacity, out->size + size + 1, 1);
    if (out->status != AIOS_OK) return;
    if (size) memcpy(out->text + out->size, bytes, size);
    out->size += size;
}

void json_text_format(json_text *out, const char *format, ...)
{
    char piece[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof piece) {
        if (out->status == AIOS_OK) out->status = FAIL(AIOS_INTERNAL, "a piece of JSON has %d bytes: at most 255 fit", length);
        return;
    }
    json_text_put(out, piece, (size_t)length);
}

/* The code point at bytes and its length; 0 where the bytes are no UTF-8. */
static size_t decode(const unsigned char *bytes, size_t left, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = bytes[0] < 0x80 ? 1 : bytes[0] >> 5 == 6 ? 2 : bytes[0] >> 4 == 14 ? 3 : bytes[0] >> 3 == 30 ? 4 : 0;
    if (length == 0 || length > left) return 0;
    *point = length == 1 ? bytes[0] : bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] >> 6 != 2) return 0;
        *point = *point << 6 | (bytes[i] & 0x3fu);
    }
    return *point < least[length] || *point > 0x10ffff || (*point >= 0xd800 && *point < 0xe000) ? 0 : length;
}

static void put_escaped(json_text *out, uint32_t point)
{
    if (point >= 0x10000)
        json_text_format(out, "\\u%04x\\u%04x", 0xd800u + ((point - 0x10000) >> 10), 0xdc00u + ((point - 0x10000) & 0x3ff));
    else
        json_text_format(out, "\\u%04x", (unsigned)point);
}

void json_text_string(json_text *out, const char *utf8, size_t size, int flags)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    json_text_put(out, "\"", 1);
    for (size_t i = 0, length; i < size; i += length) {
        uint32_t point;
        length = decode((const unsigned char *)utf8 + i, size - i, &point);
        if (length == 0) {
            if (out->status == AIOS_OK) out->status = FAIL(AIOS_INVALID_ARGUMENT, "\"%.64s\" is no UTF-8 at byte %zu", utf8, i);
            return;
        }
        const char *found = point && point < 0x80 ? strchr(escaped, (int)point) : NULL;
        if (found)
            json_text_put(out, (char[]){'\\', letter[found - escaped]}, 2);
        else if (point < 0x20 || ((flags & JSON_TEXT_ASCII) && point >= 0x7f))
            put_escaped(out, point);
        else
            json_text_put(out, utf8 + i, length);
    }
    json_text_put(out, "\"", 1);
}

void json_text_number(json_text *out, double value)
{
    char text[40], digits[24];
    int count = 0, exponent = 0;
    if (!isfinite(value)) {
        if (out->status == AIOS_OK) out->status = FAIL(AIOS_INVALID_ARGUMENT, "%g can't be written as JSON: it must be finite", value);
        return;
    }
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, fabs(value));
        if (strtod(text, NULL) == fabs(value)) break;
    }
    /* Digits alone: the decimal point is the locale's. */
    const char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && count < 20) digits[count++] = *at;
    if (*at == 'e') exponent = (int)strtol(at + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0') count--;
    if (signbit(value)) json_text_put(out, "-", 1);
    if (exponent < -4 || exponent >= 16) {
        json_text_put(out, digits, 1);
        if (count > 1) json_text_put(out, ".", 1);
        json_text_put(out, digits + 1, (size_t)(count - 1));
        json_text_format(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) json_text_put(out, "0.000", (size_t)(1 - exponent));
    for (int i = 0; i < count || i <= exponent; i++) {
        json_text_put(out, i < count ? &digits[i] : "0", 1);
        if (i == exponent) json_text_put(out, ".", 1);
    }
    if (count <= exponent + 1) json_text_put(out, "0", 1);
}

static void put_value(json_text *out, const json_t *value, int flags, int depth);

static void put_line(json_text *out, int flags, int depth)
{
    if (!(flags & JSON_TEXT_PRETTY)) return;
    json_text_put(out, "\n", 1);
    for (int i = 0; i < depth; i++) json_text_put(out, "  ", 2);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_object(json_text *out, json_t *object, int flags, int depth)
{
    size_t count = json_object_size(object), at = 0;
    const char *key, **keys;
    json_t *unused;
    if (out->status != AIOS_OK) return;
    if (!(keys = aios_memory_array(out->context, count, sizeof *keys))) {
        out->status = AIOS_OUT_OF_MEMORY;
        return;
    }
    json_object_foreach (object, key, unused) keys[at++] = key;
    if (count && (flags & JSON_TEXT_SORTED)) qsort(keys, count, sizeof *keys, by_key);
    json_text_put(out, "{", 1);
    for (at = 0; at < count && out->status == AIOS_OK; at++) {
        if (at) json_text_put(out, ",", 1);
        put_line(out, flags, depth + 1);
        json_text_string(out, keys[at], strlen(keys[at]), flags);
        json_text_put(out, ": ", flags & JSON_TEXT_PRETTY ? 2 : 1);
        put_value(out, json_object_get(object, keys[at]), flags, depth + 1);
    }
    if (count) put_line(out, flags, depth);
    json_text_put(out, "}", 1);
    aios_memory_free(out->context, keys);
}

static void put_array(json_text *out, const json_t *array, int flags, int depth)
{
    size_t count = json_array_size(array);
    json_text_put(out, "[", 1);
    for (size_t i = 0; i < count && out->status == AIOS_OK; i++) {
        if (i) json_text_put(out, ",", 1);
        put_line(out, flags, depth + 1);
        put_value(out, json_array_get(array, i), flags, depth + 1);
    }
    if (count) put_line(out, flags, depth);
    json_text_put(out, "]", 1);
}

static void put_value(json_text *out, const json_t *value, int flags, int depth)
{
    if (out->status != AIOS_OK) return;
    if (!value || depth > DEPTH_MOST) {
        out->status = value ? FAIL(AIOS_INVALID_ARGUMENT, "a JSON value is nested deeper than %d levels", DEPTH_MOST)
                            : FAIL(AIOS_INVALID_ARGUMENT, "a JSON value is NULL: building it failed");
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_object(out, (json_t *)value, flags, depth); break;
    case JSON_ARRAY: put_array(out, value, flags, depth); break;
    case JSON_STRING: json_text_string(out, json_string_value(value), json_string_length(value), flags); break;
    case JSON_INTEGER: json_text_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: json_text_number(out, json_real_value(value)); break;
    case JSON_TRUE: json_text_put(out, "true", 4); break;
    case JSON_FALSE: json_text_put(out, "false", 5); break;
    default: json_text_put(out, "null", 4);
    }
}

void json_text_value(json_text *out, const json_t *value, int flags)
{
    put_value(out, value, flags, 0);
}

aios_status json_text_end(json_text *out)
{
    json_text_put(out, "", 0);
    if (out->status != AIOS_OK)
        json_text_free(out);
    else
        out->text[out->size] = 0;
    return out->status;
}

void json_text_free(json_text *out)
{
    aios_memory_free(out->context, out->text);
    out->text = NULL;
    out->size = out->capacity = 0;
}

aios_status json_to_text(aios_context *context, const json_t *value, int flags, char **text, size_t *size)
{
    json_text out = JSON_TEXT_INIT(context);
    *text = NULL;
    json_text_value(&out, value, flags);
    TRY_QUIET(json_text_end(&out));
    *text = out.text;
    if (size) *size = out.size;
    return AIOS_OK;
}

aios_status json_write_file(aios_context *context, const char *path, const json_t *value, int flags)
{
    json_text out = JSON_TEXT_INIT(context);
    json_text_value(&out, value, flags);
    json_text_put(&out, "\n", 1);
    TRY(json_text_end(&out), "writing %s", path);
    aios_status status = os_file_replace(path, out.text, out.size);
    json_text_free(&out);
    return status;
}
