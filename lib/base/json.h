/* json.h: JSON in and out, over jansson.
 *
 * Documents come from files that anybody may have written: duplicate keys, deep nesting and sizes beyond the limits are
 * refused with file, line and column.  Values are jansson's (json_decref ends them, from malloc: libaios never sets
 * jansson's global allocator); text is the context's memory.  No function here is bound to a thread; a json_t is used by
 * one thread at a time. */
#ifndef AIOS_BASE_JSON_H
#define AIOS_BASE_JSON_H

#include "error.h"
#include <aios/context.h>

#include <jansson.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct json_limits {
    uint64_t bytes;  /* of text */
    uint32_t depth;  /* of arrays and objects in each other */
    uint64_t values; /* numbers, strings, arrays, … in all: they bound the memory that a document can ask for */
} json_limits;
#define JSON_LIMITS_DEFAULT ((json_limits){(uint64_t)64 << 20, 64, (uint64_t)1 << 22})

/* One array or object.  name stands for the text in messages ("run/config.json").  limits NULL: JSON_LIMITS_DEFAULT.
 * Errors: CORRUPT "name:line:column: what", OUT_OF_RANGE above a limit, OUT_OF_MEMORY. */
aios_status json_parse(const char *text, size_t size, const char *name, const json_limits *limits, json_t **value);
/* The same for a file.  Errors: also NOT_FOUND, IO. */
aios_status json_read_file(aios_context *context, const char *path, const json_limits *limits, json_t **value);

/* ---- typed members of an object ----------------------------------------------------------------------------------
 * Each error names the key, its value and what would be right; wrap the call in TRY to name the file.
 * Errors: CORRUPT where the key is missing or null or the value has another type, OUT_OF_RANGE.
 * The _or forms give `fallback` (not checked against the range) where the key is missing or null. */

aios_status json_get_int(const json_t *object, const char *key, int64_t least, int64_t most, int64_t *value);
aios_status json_get_int_or(const json_t *object, const char *key, int64_t fallback, int64_t least, int64_t most, int64_t *value);
/* An integer counts as a number. */
aios_status json_get_number(const json_t *object, const char *key, double least, double most, double *value);
aios_status json_get_number_or(const json_t *object, const char *key, double fallback, double least, double most, double *value);
aios_status json_get_bool(const json_t *object, const char *key, int *value);
aios_status json_get_bool_or(const json_t *object, const char *key, int fallback, int *value);
/* Borrowed from the object. */
aios_status json_get_string(const json_t *object, const char *key, const char **value);
aios_status json_get_string_or(const json_t *object, const char *key, const char *fallback, const char **value);
aios_status json_get_object(const json_t *object, const char *key, json_t **value);
aios_status json_get_array(const json_t *object, const char *key, json_t **value);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

enum {
    JSON_TEXT_COMPACT = 0, /* {"a":1,"b":[2,3]}, as serde_json writes */
    JSON_TEXT_PRETTY = 1,  /* indented by 2, as Python's json.dumps(value, indent=2) */
    JSON_TEXT_ASCII = 2,   /* \uXXXX for everything outside ASCII, as Python does unasked */
    JSON_TEXT_SORTED = 4,  /* keys in byte order; else in the order in which they were set */
    JSON_TEXT_CONFIG = 7,  /* as Hugging Face writes config.json */
};

/* Text that grows.  Its first failure stays in status and later calls do nothing, so that only the end is checked. */
typedef struct json_text {
    aios_context *context;
    char *text; /* not ended by 0 before json_text_end */
    size_t size, capacity;
    aios_status status;
} json_text;
#define JSON_TEXT_INIT(context_) ((json_text){context_, NULL, 0, 0, AIOS_OK})
void json_text_put(json_text *out, const char *bytes, size_t size);
void json_text_format(json_text *out, const char *format, ...) AIOS_PRINTF(2, 3); /* at most 255 bytes */
void json_text_string(json_text *out, const char *utf8, size_t size, int flags);  /* with quotes and escapes */
void json_text_number(json_text *out, double value); /* the shortest digits that read back as value, as Python's repr */
void json_text_value(json_text *out, const json_t *value, int flags);
aios_status json_text_end(json_text *out); /* adds the final 0; on failure frees the text */
void json_text_free(json_text *out);

/* One value as text of the context's memory, a 0 behind it.  size may be NULL.  The same value gives the same bytes,
 * whatever the locale.  Errors: OUT_OF_MEMORY, INVALID_ARGUMENT for text that is no UTF-8 or nesting above 64. */
aios_status json_to_text(aios_context *context, const json_t *value, int flags, char **text, size_t *size);
/* Text and a final newline, through os_file_replace: a reader sees the old file or the new one. */
aios_status json_write_file(aios_context *context, const char *path, const json_t *value, int flags);

#endif
