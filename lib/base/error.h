/* error.h: how libaios code fails.
 *
 *   return FAIL(AIOS_OUT_OF_RANGE, "batch-size is %d: it must be at least 1", n);
 *   TRY(read_header(f), "reading %s", path);              returns on failure, with a frame
 *   ATTEMPT(read_header(f), "reading %s", path);          status = …; goto done on failure
 *
 * ATTEMPT wants a variable `aios_status status = AIOS_OK` and a label `done` where everything is cleaned up. */
#ifndef AIOS_BASE_ERROR_H
#define AIOS_BASE_ERROR_H

#include <aios/status.h>

/* Starts a new error record for this thread; returns status. */
aios_status aios_error_set(aios_status status, const char *format, ...) AIOS_PRINTF(2, 3);
/* The same for a failure of the operating system: appends strerror(error_number). */
aios_status aios_error_set_os(aios_status status, int error_number, const char *format, ...) AIOS_PRINTF(3, 4);
/* Names backend and native code in the record that was just set. */
void aios_error_set_native(const char *backend, int64_t native);
/* Adds a frame; returns status. */
aios_status aios_error_add_frame(aios_status status, const char *format, ...) AIOS_PRINTF(2, 3);

/* An error record, to carry a failure from one thread to another. */
typedef struct aios_error_record {
    aios_status status;
    uint32_t frame_count;
    int64_t native;
    char backend[16];
    char message[640];
    char frames[8][200];
} aios_error_record;
void aios_error_save(aios_error_record *record);
aios_status aios_error_restore(const aios_error_record *record); /* returns its status */

#define FAIL(...)    aios_error_set(__VA_ARGS__)
#define FAIL_OS(...) aios_error_set_os(__VA_ARGS__)
#define TRY(call, ...)                                                                                                                     \
    do {                                                                                                                                   \
        aios_status try_status_ = (call);                                                                                                  \
        if (try_status_ != AIOS_OK) return aios_error_add_frame(try_status_, __VA_ARGS__);                                                 \
    } while (0)
#define ATTEMPT(call, ...)                                                                                                                 \
    do {                                                                                                                                   \
        status = (call);                                                                                                                   \
        if (status != AIOS_OK) {                                                                                                           \
            aios_error_add_frame(status, __VA_ARGS__);                                                                                     \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)
/* Passing a failure on where a frame would say nothing new. */
#define TRY_QUIET(call)                                                                                                                    \
    do {                                                                                                                                   \
        aios_status try_status_ = (call);                                                                                                  \
        if (try_status_ != AIOS_OK) return try_status_;                                                                                    \
    } while (0)
#define ATTEMPT_QUIET(call)                                                                                                                \
    do {                                                                                                                                   \
        status = (call);                                                                                                                   \
        if (status != AIOS_OK) goto done;                                                                                                  \
    } while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
