/* text.h: a string that grows, and numbers as text whatever the host's locale. */
#ifndef AIOS_BASE_TEXT_H
#define AIOS_BASE_TEXT_H

#include "context.h"

/* ---- a growing string -------------------------------------------------------------------------------------------- */

/* Always 0-terminated once something was added.  The first failure stays: add what you like, then look at status once. */
typedef struct text_buffer {
    aios_context *context;
    char *bytes; /* NULL while empty */
    size_t size, capacity;
    aios_status status;
} text_buffer;

void text_init(text_buffer *text, aios_context *context);
void text_free(text_buffer *text);
void text_clear(text_buffer *text); /* keeps the memory and the failure */
/* Each returns text->status.  Errors: OUT_OF_MEMORY. */
aios_status text_add(text_buffer *text, const char *more);
aios_status text_add_bytes(text_buffer *text, const void *more, size_t size);
aios_status text_format(text_buffer *text, const char *format, ...) AIOS_PRINTF(2, 3);
/* "more" in quotes, escaped as JSON wants it; more is UTF-8. */
aios_status text_add_json(text_buffer *text, const char *more);
/* The shortest decimal that reads back as the same double, with a '.' or an 'e' in it; null where it is not finite. */
aios_status text_add_double(text_buffer *text, double value);

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

#define TEXT_DOUBLE_MAX 40
/* The shortest decimal that reads back as the same finite value: "0.0002", "1e-08", "8". */
void text_from_double(double value, char to[TEXT_DOUBLE_MAX]);
/* 1 where all of `from` is a decimal number, such as -12, .5 or 1e-3 (no hexadecimal, nan, inf or blanks).  A number that
 * is too big for a double becomes an infinity. */
int text_to_double(const char *from, double *value);
/* The same for a number at the beginning of a text; returns where it ends, NULL where there is none. */
const char *text_take_double(const char *from, double *value);
/* 1 where all of `from` is a whole number that fits: -12, 1e6 or 1.5e3. */
int text_to_int(const char *from, int64_t *value);
/* 1 where the bytes are UTF-8: shortest forms, no surrogates, at most U+10FFFF. */
int text_is_utf8(const char *bytes, size_t size);

#endif
