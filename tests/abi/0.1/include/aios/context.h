/* context.h: what a program that embeds libaios decides once: where memory, log lines and events go.
 *
 * Everything else is created from a context and holds a reference to it, so a context may be destroyed before them.  Two
 * contexts share nothing but the plugins, which the process loads once.  Source: the sqlite3 and libgit2 practice. */
#ifndef AIOS_CONTEXT_H
#define AIOS_CONTEXT_H

#include <aios/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_context aios_context;

/* All three or none.  Called from any thread; memory is 16-byte aligned; alloc(0) is never asked for. */
typedef struct aios_allocator {
    uint32_t struct_size;
    uint32_t reserved;
    void *user;
    void *(*alloc)(void *user, size_t size);
    void *(*realloc)(void *user, void *pointer, size_t size);
    void (*free)(void *user, void *pointer);
} aios_allocator;

/* One line without the newline; level is AIOS_LOG_….  Called from any thread, one call at a time per context. */
typedef void (*aios_log_fn)(void *user, int32_t level, const char *message);

/* Something happened: `name` says what ("step", "eval", "checkpoint_save"), `json` is an object with its fields (listed
 * in trainer.h and hardware.h).  Called from any thread, one call at a time per context; both strings live for
 * the call.  The function must not call back into the handle that reports, except aios_trainer_stop. */
typedef void (*aios_event_fn)(void *user, const char *name, const char *json);

typedef struct aios_context_options {
    uint32_t struct_size;
    int32_t log_level;               /* the most talkative level that is passed on; AIOS_LOG_INFO */
    const aios_allocator *allocator; /* copied; NULL: malloc */
    aios_log_fn log;                 /* NULL: nothing is logged; the library never prints */
    void *log_user;
    aios_event_fn event; /* NULL: no events */
    void *event_user;
    /* Seconds that a call into a device's driver may take (device.h); below 0: for ever; 0: what AIOS_DEVICE_DEADLINE in the environment
     * says (0 there: for ever), else 300. */
    double device_deadline;
} aios_context_options;

#define AIOS_CONTEXT_OPTIONS_INIT                                                                                                          \
    {                                                                                                                                      \
        sizeof(aios_context_options), AIOS_LOG_INFO, NULL, NULL, NULL, NULL, NULL, 0                                                       \
    }
AIOS_API void aios_context_options_init(aios_context_options *options);

/* A new context.  options may be NULL.  Errors: INVALID_ARGUMENT (also an AIOS_DEVICE_DEADLINE that is no number), ABI_MISMATCH,
 * OUT_OF_MEMORY. */
AIOS_API aios_status aios_context_create(const aios_context_options *options, aios_context **context);

/* Gives up the caller's reference. */
AIOS_API void aios_context_destroy(aios_context *context);

#ifdef __cplusplus
}
#endif
#endif
