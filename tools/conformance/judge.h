/* judge.h: one backend under examination.
 *
 * A case is a function that says what is wrong with judge_fail and returns; what it took through judge_* is given back after it, so it
 * may return anywhere.  Calls go to the backend's own table, not through the library's checked ones, except where the promise is the
 * library's too (training). */
#ifndef CONFORMANCE_JUDGE_H
#define CONFORMANCE_JUDGE_H

#include "gpu/device.h"
#include "runner.h"

#define JUDGE_KEPT 64

enum judge_kind { JUDGE_MEMORY, JUDGE_HOST_MEMORY, JUDGE_STREAM, JUDGE_EVENT, JUDGE_PLAIN };

struct judge {
    aios_context *context;
    aios_device *device; /* the library's handle; the rest is taken out of it */
    const aios_backend *backend;
    const aios_gpu_device *table;
    void *handle;
    aios_device_info info;
    int32_t index;
    uint64_t seed;
    const char *filter;
    int brief; /* 1: small sizes, for devices that are simulated */

    /* of the case that runs */
    int failed, unoffered;
    char words[1024];
    struct {
        enum judge_kind kind;
        void *pointer;
    } kept[JUDGE_KEPT];
    int kept_count;

    struct runner runner;
    void *stream; /* of the runner */
};

typedef void (*judge_case_fn)(struct judge *judge);

/* The first failure of a case counts. */
void judge_fail(struct judge *judge, const char *format, ...) AIOS_PRINTF(2, 3);
/* The backend does not have this, and need not. */
void judge_unoffered(struct judge *judge, const char *format, ...) AIOS_PRINTF(2, 3);

/* The status of a call of the table, its words in the error record. */
#define CALL(call) (host_enter(judge->context), host_leave(judge->backend, (call)))
/* Ends the case where the call fails, with what it was. */
#define MUST(call)                                                                                                                         \
    do {                                                                                                                                   \
        if (CALL(call) != AIOS_OK) {                                                                                                       \
            judge_fail(judge, "%s failed: %s", judge_call_name(#call), aios_error_message());                                              \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)
/* Ends the case where a helper has failed. */
#define NEED(expression)                                                                                                                   \
    do {                                                                                                                                   \
        if (!(expression)) return;                                                                                                         \
    } while (0)
/* Ends the case where what is promised is not so. */
#define EXPECT(condition, ...)                                                                                                             \
    do {                                                                                                                                   \
        if (!(condition)) {                                                                                                                \
            judge_fail(judge, __VA_ARGS__);                                                                                                \
            return;                                                                                                                        \
        }                                                                                                                                  \
    } while (0)

/* "judge->table->copy(judge->handle, …)" -> "copy" */
const char *judge_call_name(const char *call);

/* Each returns NULL, the failure said, where there is none. */
void *judge_memory(struct judge *judge, uint64_t size);
void *judge_host_memory(struct judge *judge, uint64_t size);
void *judge_plain_memory(struct judge *judge, size_t size);
void *judge_stream(struct judge *judge);
void *judge_event(struct judge *judge);
void judge_give_back(struct judge *judge, void *pointer); /* before the case ends */

/* Copies on a stream and waits for it.  0: failed, and said so. */
int judge_upload(struct judge *judge, void *stream, void *to, const void *from, uint64_t size);
int judge_download(struct judge *judge, void *stream, void *to, const void *from, uint64_t size);
int judge_wait(struct judge *judge, void *stream);

/* A pattern of the seed; the place of the first byte that differs from it, or size. */
void judge_pattern(struct judge *judge, uint64_t number, void *to, size_t size);
size_t judge_differs(const void *a, const void *b, size_t size);

/* ---- the cases --------------------------------------------------------------------------------------------------- */

/* Every kernel and the groups that are judged like kernels: verdicts are in judge->runner afterwards.  0: nothing could be run, and why was
 * said.  `theme` is told what runs. */
int kernels_run(struct judge *judge, void (*theme)(const char *name));
void gemm_group_cases(struct judge *judge);
void attention_group_cases(struct judge *judge);
void judge_end_case(struct judge *judge);

#define JUDGE_KERNELS
#define JUDGE_CASE(name, function, promise) void function(struct judge *judge);
#include "cases.def"
#undef JUDGE_CASE
#undef JUDGE_KERNELS

#endif
