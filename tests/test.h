/* test.h: what every test program shares. */
#ifndef AIOS_TEST_H
#define AIOS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <aios/context.h>

static inline void test_log(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level <= AIOS_LOG_WARNING) (void)fprintf(stderr, "[aios] %s\n", message);
}

/* A context whose warnings reach the test's output. */
static inline aios_context *test_context(void)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context = NULL;
    options.log = test_log;
    if (aios_context_create(&options, &context) != AIOS_OK) fail_msg("%s", aios_error_message());
    return context;
}

/* The call must succeed, or the test fails with the library's own words. */
#define assert_ok(call)                                                                                                                    \
    do {                                                                                                                                   \
        if ((call) != AIOS_OK) fail_msg("%s: %s", #call, aios_error_message());                                                            \
    } while (0)

#endif
