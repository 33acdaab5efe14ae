/* expect.h: what a runner found, as cmocka's failure. */
#ifndef AIOS_TEST_EXPECT_H
#define AIOS_TEST_EXPECT_H

#include "runner.h"
#include "test.h"

#define EXPECT_GOOD(runner)                                                                                                                \
    do {                                                                                                                                   \
        if (runner_failure(runner)) fail_msg("%s", runner_failure(runner));                                                                \
    } while (0)
#define EXPECT_EVERY_KERNEL_RAN(runner)                                                                                                    \
    do {                                                                                                                                   \
        if (runner_forgotten(runner)) fail_msg("no case ran the kernel %s", runner_forgotten(runner));                                     \
    } while (0)

#endif
