#include "text.h"

#include "sizes.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a growing string -------------------------------------------------------------------------------------------- */

void text_init(text_buffer *text, aios_context *context)
{
    *text = (text_buffer){context, NULL, 0, 0, AIOS_OK};
}

void text_free(text_buffer *text)
{
    if (text->context) aios_memory_free(text->context, text->bytes);
    *text = (text_buffer){text->context, NULL, 0, 0, AIOS_OK};
}

void text_clear(text_buffer *text)
{
    text->size = 0;
    if (text->bytes) text->bytes[0] = 0;
}

static char *reserve(text_buffer *text, size_t more)
{
    size_t need;
    if (text->status != AIOS_OK) return NULL;
    if (!size_add(text->size, more, &need) || !size_add(need, 1, &need))
        text->status = FAIL(AIOS_OUT_OF_MEMORY, "no memory: a text of %zu and %zu bytes", text->size, more);
    else
        text->status = aios_memory_grow(text->context, (void **)&text->bytes, &text->capacity, need, 1);
    return text->status == AIOS_OK ? text->bytes + text->size : NULL;
}

aios_status text_add_bytes(text_buffer *text, const void *more, size_t size)
{
    char *to = reserve(text, size);
    if (!to) return text->status;
    if (size) memcpy(to, more, size);
    to[size] = 0;
    text->size += size;
    return AIOS_OK;
}

aios_status text_add(text_buffer *text, const char *more)
{
    return text_add_bytes(text, more, strlen(more));
}

aios_status text_format(text_buffer *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) return text->status = FAIL(AIOS_INVALID_ARGUMENT, "the format \"%s\" can't be written", format);
    char *to = reserve(text, (size_t)length);
    if (!to) return text->status;
    va_start(arguments, format);
    (void)vsnprintf(to, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)length;
    return AIOS_OK;
}

aios_status text_add_json(text_buffer *text, const char *more)
{
    (void)text_add_bytes(text, "\"", 1);
    for (const char *from = more; *from;) {
        size_t plain = 0;
        while (from[plain] && from[plain] != '"' && from[plain] != '\\' && (unsigned char)from[plain] >= 0x20) plain++;
        (void)text_add_bytes(text, from, plain);
        from += plain;
        if (!*from) break;
        switch (*from) {
        case '"': (void)text_add(text, "\\\""); break;
        case '\\': (void)text_add(text, "\\\\"); break;
        case '\n': (void)text_add(text, "\\n"); break;
        case '\r': (void)text_add(text, "\\r"); break;
        case '\t': (void)text_add(text, "\\t"); break;
        default: (void)text_format(text, "\\u%04x", (unsigned)(unsigned char)*from);
        }
        from++;
    }
    return text_add_bytes(text, "\"", 1);
}

aios_status text_add_double(text_buffer *text, double value)
{
    char number[TEXT_DOUBLE_MAX];
    if (!isfinite(value)) return text_add(text, "null");
    text_from_double(value, number);
    (void)text_add(text, number);
    return strpbrk(number, ".e") ? text->status : text_add(text, ".0");
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static const char *decimal_point(void)
{
    const char *point = localeconv()->decimal_point;
    return point && *point ? point : ".";
}

void text_from_double(double value, char to[TEXT_DOUBLE_MAX])
{
    const char *point = decimal_point();
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(to, TEXT_DOUBLE_MAX, "%.*g", digits, value);
        if (strtod(to, NULL) == value) break;
    }
    char *found = strstr(to, point);
    if (!found) return;
    size_t length = strlen(point);
    *found = '.';
    memmove(found + 1, found + length, strlen(found + length) + 1);
}

/* Where the decimal number at `from` ends, NULL where there is none; whole: 1 where it has neither point nor exponent. */
static const char *skip_number(const char *from, int *whole)
{
    int digits = 0;
    *whole = 1;
    if (*from == '+' || *from == '-') from++;
    for (; *from >= '0' && *from <= '9'; from++) digits++;
    if (*from == '.') {
        *whole = 0;
        for (from++; *from >= '0' && *from <= '9'; from++) digits++;
    }
    if (!digits) return NULL;
    if (*from != 'e' && *from != 'E') return from;
    *whole = 0;
    from++;
    if (*from == '+' || *from == '-') from++;
    if (*from < '0' || *from > '9') return NULL;
    while (*from >= '0' && *from <= '9') from++;
    return from;
}

const char *text_take_double(const char *from, double *value)
{
    int whole;
    const char *end = skip_number(from, &whole), *point = decimal_point();
    char copy[256];
    if (!end || (size_t)(end - from) > sizeof copy - 16) return NULL;
    const char *dot = memchr(from, '.', (size_t)(end - from));
    if (!dot) dot = end;
    if (snprintf(copy, sizeof copy, "%.*s%s%.*s", (int)(dot - from), from, dot < end ? point : "", dot < end ? (int)(end - dot - 1) : 0,
                 dot < end ? dot + 1 : "") >= (int)sizeof copy)
        return NULL;
    *value = strtod(copy, NULL);
    return end;
}

int text_to_double(const char *from, double *value)
{
    double number;
    const char *end = text_take_double(from, &number);
    if (!end || *end) return 0;
    *value = number;
    return 1;
}

int text_to_int(const char *from, int64_t *value)
{
    int whole, negative = *from == '-';
    const char *end = skip_number(from, &whole);
    double number;
    if (!end || *end) return 0;
    if (!whole) {
        const double exact = 9007199254740992.0; /* 2^53: every whole number up to it is a double */
        if (!strpbrk(from, "eE") || !text_to_double(from, &number) || fabs(number) > exact || number != trunc(number)) return 0;
        *value = (int64_t)number;
        return 1;
    }
    int64_t sum = 0;
    for (from += *from == '-' || *from == '+'; *from; from++) {
        int digit = *from - '0';
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, negative ? -digit : digit, &sum)) return 0;
    }
    *value = sum;
    return 1;
}

int text_is_utf8(const char *bytes, size_t size)
{
    const unsigned char *b = (const unsigned char *)bytes, *end = b + size;
    while (b < end) {
        unsigned lead = *b++, code, most;
        if (lead < 0x80) continue;
        int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || end - b < more) return 0;
        code = lead & (0x3fu >> more);
        most = more == 3 ? 0x10000 : more == 2 ? 0x800 : 0x80; /* the least code that needs so many bytes */
        for (; more; more--, b++) {
            if ((*b & 0xc0) != 0x80) return 0;
            code = code << 6 | (*b & 0x3fu);
        }
        if (code < most || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 0;
    }
    return 1;
}
