/* status.h: the error record of the calling thread.
 *
 * A failing call stores what went wrong in a record that belongs to the calling thread: a sentence that names the thing,
 * the value that was wrong and what would be right; the frames that the calls above it added; and, for a device failure,
 * the backend and its native code.  The record is fixed-size memory: storing an error never allocates.  It stays until
 * the next failure on that thread or aios_error_clear; a success does not touch it. */
#ifndef AIOS_STATUS_H
#define AIOS_STATUS_H

#include <aios/api.h>
#include <aios/backend.h> /* aios_status and its codes, which plugins share */

#ifdef __cplusplus
extern "C" {
#endif

/* "AIOS_INVALID_ARGUMENT" for AIOS_INVALID_ARGUMENT; "AIOS_STATUS_UNKNOWN" for a code of a newer library. */
AIOS_API const char *aios_status_name(aios_status status);

/* The last error of this thread as one line: the message, then each frame in parentheses, innermost first.  "" where
 * there was none.  Valid until the next failure on this thread. */
AIOS_API const char *aios_error_message(void);

/* The code of the last error of this thread; AIOS_OK where there was none. */
AIOS_API aios_status aios_error_status(void);

/* The backend ("cuda") and its own error code, where the failure came from a device call; "" and 0 elsewhere. */
AIOS_API const char *aios_error_backend(void);
AIOS_API int64_t aios_error_native_code(void);

/* The frames that calls added on the way up ("opening run/config.json"), innermost first; NULL past the last. */
AIOS_API const char *aios_error_frame(uint32_t index);

/* Forgets the last error of this thread. */
AIOS_API void aios_error_clear(void);

#ifdef __cplusplus
}
#endif
#endif
