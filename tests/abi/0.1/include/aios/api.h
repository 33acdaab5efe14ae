/* api.h: version, visibility and the conventions that every other header follows.
 *
 * Handles are opaque.  `aios_<noun>_create` and `_open` give an owned handle, `_destroy` and `_close` end it (NULL is
 * allowed and does nothing); every other pointer that a call returns is borrowed and lives as long as its handle.
 * A fallible call returns aios_status and, on failure, leaves its out-parameters NULL or 0 and a message in the calling
 * thread's error record (status.h).  Structures that cross the ABI begin with struct_size: set it with the structure's
 * _INIT macro or _init function, those that a call fills too: it fills as much as the caller knows.  Strings are UTF-8.
 * Sizes are bytes unless a name says otherwise. */
#ifndef AIOS_API_H
#define AIOS_API_H

#include <stddef.h>
#include <stdint.h>

#define AIOS_VERSION_MAJOR  0
#define AIOS_VERSION_MINOR  1
#define AIOS_VERSION_PATCH  0
#define AIOS_VERSION_STRING "0.1.0"

#if defined(_WIN32)
#if defined(AIOS_BUILD)
#define AIOS_API __declspec(dllexport)
#else
#define AIOS_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define AIOS_API __attribute__((visibility("default")))
#else
#define AIOS_API
#endif

#if defined(__GNUC__)
#define AIOS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define AIOS_PRINTF(text, first)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0": the version of the library that is running (AIOS_VERSION_STRING is the one compiled against). */
AIOS_API const char *aios_version(void);

#ifdef __cplusplus
}
#endif
#endif
