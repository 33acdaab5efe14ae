/* null.h: a backend that counts what it is asked and does it in host memory, launches excepted, which it writes down.  The test finds
 * its state with the symbol null_state and makes calls fail. */
#ifndef AIOS_TEST_NULL_H
#define AIOS_TEST_NULL_H

#include <aios/backend.h>

enum {
    NULL_COUNT,
    NULL_OPEN,
    NULL_CLOSE,
    NULL_SYNCHRONIZE,
    NULL_STREAM,
    NULL_STREAM_END,
    NULL_STREAM_WAIT,
    NULL_EVENT,
    NULL_EVENT_END,
    NULL_RECORD,
    NULL_WAIT,
    NULL_EVENT_WAIT,
    NULL_ELAPSED,
    NULL_ALLOC,
    NULL_FREE,
    NULL_COPY,
    NULL_FILL,
    NULL_PEER,
    NULL_LOAD,
    NULL_LAUNCH,
    NULL_GEMM,
    NULL_CALLS
};

struct null_state {
    int32_t devices;
    int calls[NULL_CALLS];
    /* The next call of this kind fails so; after that it is NULL_CALLS again. */
    int fail_call;
    aios_status fail_status;
    int64_t fail_native;
    const char *fail_message; /* NULL: says nothing */
    int fail_open_index;      /* the device that can't be opened; -1: none */
    uint64_t memory_limit, memory_used;
    uint32_t launched[64], teams[64]; /* kernels, in order */
    aios_gpu_device table;            /* groups may be put in and taken out */
    aios_gemm_group gemm;
    aios_gemm last_gemm;
};

#endif
