#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local aios_error_record last;
static _Thread_local char last_line[sizeof last.message + sizeof last.frames];

const char *aios_version(void)
{
    return AIOS_VERSION_STRING;
}

const char *aios_status_name(aios_status status)
{
    switch (status) {
#define NAME_(name, code, text)                                                                                                            \
    case code: return "AIOS_" #name;
        AIOS_STATUS_LIST(NAME_)
#undef NAME_
    }
    return "AIOS_STATUS_UNKNOWN";
}

static void begin(aios_status status)
{
    last.status = status;
    last.frame_count = 0;
    last.native = 0;
    last.backend[0] = 0;
}

aios_status aios_error_set(aios_status status, const char *format, ...)
{
    va_list arguments;
    char text[sizeof last.message]; /* an argument may point into the old record */
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    begin(status);
    memcpy(last.message, text, sizeof text);
    return status;
}

aios_status aios_error_set_os(aios_status status, int error_number, const char *format, ...)
{
    va_list arguments;
    char text[sizeof last.message], reason[128];
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    begin(status);
    if (length < 0) length = 0;
    size_t used = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *what = strerror_r(error_number, reason, sizeof reason);
#else
    const char *what = strerror_r(error_number, reason, sizeof reason) == 0 ? reason : "unknown error";
#endif
    (void)snprintf(text + used, sizeof text - used, ": %s", what);
    memcpy(last.message, text, sizeof text);
    last.native = error_number;
    return status;
}

void aios_error_set_native(const char *backend, int64_t native)
{
    (void)snprintf(last.backend, sizeof last.backend, "%s", backend);
    last.native = native;
}

aios_status aios_error_add_frame(aios_status status, const char *format, ...)
{
    if (last.frame_count < COUNT_OF(last.frames)) {
        va_list arguments;
        char text[sizeof last.frames[0]];
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        memcpy(last.frames[last.frame_count++], text, sizeof text);
    }
    return status;
}

void aios_error_save(aios_error_record *record)
{
    *record = last;
}

aios_status aios_error_restore(const aios_error_record *record)
{
    last = *record;
    return last.status;
}

const char *aios_error_message(void)
{
    size_t used = 0;
    last_line[0] = 0;
    if (last.status == AIOS_OK) return last_line;
    used += (size_t)snprintf(last_line, sizeof last_line, "%s", last.message);
    for (uint32_t i = 0; i < last.frame_count && used < sizeof last_line; i++)
        used += (size_t)snprintf(last_line + used, sizeof last_line - used, " (%s)", last.frames[i]);
    return last_line;
}

aios_status aios_error_status(void)
{
    return last.status;
}

const char *aios_error_backend(void)
{
    return last.backend;
}

int64_t aios_error_native_code(void)
{
    return last.native;
}

const char *aios_error_frame(uint32_t index)
{
    return index < last.frame_count ? last.frames[index] : NULL;
}

void aios_error_clear(void)
{
    begin(AIOS_OK);
    last.message[0] = 0;
}
