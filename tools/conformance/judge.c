#include "judge.h"

#include "gpu/host.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void say(struct judge *judge, const char *format, va_list arguments)
{
    if (!judge->failed && !judge->unoffered) (void)vsnprintf(judge->words, sizeof judge->words, format, arguments);
}

void judge_fail(struct judge *judge, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(judge, format, arguments);
    va_end(arguments);
    judge->failed = 1;
}

void judge_unoffered(struct judge *judge, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(judge, format, arguments);
    va_end(arguments);
    judge->unoffered = 1;
}

const char *judge_call_name(const char *call)
{
    static _Thread_local char name[64];
    const char *end = strchr(call, '('), *begin = end;
    while (begin > call && begin[-1] != '>') begin--;
    (void)snprintf(name, sizeof name, "%.*s", (int)(end - begin), begin);
    return name;
}

/* ---- what a case takes ------------------------------------------------------------------------------------------- */

static void *keep(struct judge *judge, enum judge_kind kind, void *pointer)
{
    if (!pointer) {
        judge_fail(judge, "a call succeeded and gave nothing");
        return NULL;
    }
    if (judge->kept_count == JUDGE_KEPT) abort(); /* a case takes more than the judge remembers */
    judge->kept[judge->kept_count].kind = kind;
    judge->kept[judge->kept_count++].pointer = pointer;
    return pointer;
}

static void *keep_call(struct judge *judge, enum judge_kind kind, const char *call, aios_status status, void *const *pointer)
{
    if (status == AIOS_OK) return keep(judge, kind, *pointer);
    judge_fail(judge, "%s failed: %s", call, aios_error_message());
    return NULL;
}

void *judge_memory(struct judge *judge, uint64_t size)
{
    void *pointer = NULL;
    return keep_call(judge, JUDGE_MEMORY, "alloc", CALL(judge->table->alloc(judge->handle, size, &pointer)), &pointer);
}

void *judge_host_memory(struct judge *judge, uint64_t size)
{
    void *pointer = NULL;
    return keep_call(judge, JUDGE_HOST_MEMORY, "host_alloc", CALL(judge->table->host_alloc(judge->handle, size, &pointer)), &pointer);
}

void *judge_plain_memory(struct judge *judge, size_t size)
{
    void *pointer = calloc(1, size);
    return keep_call(judge, JUDGE_PLAIN, "malloc", AIOS_OK, &pointer); /* cppcheck-suppress memleak ; it is kept */
}

void *judge_stream(struct judge *judge)
{
    void *pointer = NULL;
    return keep_call(judge, JUDGE_STREAM, "create_stream", CALL(judge->table->create_stream(judge->handle, &pointer)), &pointer);
}

void *judge_event(struct judge *judge)
{
    void *pointer = NULL;
    return keep_call(judge, JUDGE_EVENT, "create_event", CALL(judge->table->create_event(judge->handle, &pointer)), &pointer);
}

static void give_back(struct judge *judge, enum judge_kind kind, void *pointer)
{
    host_enter(judge->context);
    switch (kind) {
    case JUDGE_MEMORY: judge->table->free(judge->handle, pointer); break;
    case JUDGE_HOST_MEMORY: judge->table->host_free(judge->handle, pointer); break;
    case JUDGE_STREAM: judge->table->destroy_stream(judge->handle, pointer); break;
    case JUDGE_EVENT: judge->table->destroy_event(judge->handle, pointer); break;
    case JUDGE_PLAIN: free(pointer); break;
    }
    (void)host_leave(judge->backend, AIOS_OK);
}

void judge_give_back(struct judge *judge, void *pointer)
{
    for (int i = judge->kept_count; i-- > 0;)
        if (judge->kept[i].pointer == pointer) {
            enum judge_kind kind = judge->kept[i].kind;
            judge->kept[i] = judge->kept[--judge->kept_count];
            give_back(judge, kind, pointer);
            return;
        }
    abort(); /* the case never had it */
}

void judge_end_case(struct judge *judge)
{
    /* Streams first: their work may still use the rest, where waiting for them is what is broken. */
    for (int i = judge->kept_count; i-- > 0;) {
        if (judge->kept[i].kind != JUDGE_STREAM) continue;
        (void)CALL(judge->table->synchronize_stream(judge->handle, judge->kept[i].pointer));
        judge_give_back(judge, judge->kept[i].pointer);
        i = judge->kept_count;
    }
    while (judge->kept_count > 0) {
        judge->kept_count--;
        give_back(judge, judge->kept[judge->kept_count].kind, judge->kept[judge->kept_count].pointer);
    }
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

int judge_wait(struct judge *judge, void *stream)
{
    if (CALL(judge->table->synchronize_stream(judge->handle, stream)) == AIOS_OK) return 1;
    judge_fail(judge, "synchronize_stream failed: %s", aios_error_message());
    return 0;
}

static int copy_and_wait(struct judge *judge, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    if (CALL(judge->table->copy(judge->handle, stream, to, from, size, kind)) != AIOS_OK) {
        judge_fail(judge, "copy of %llu bytes failed: %s", (unsigned long long)size, aios_error_message());
        return 0;
    }
    return judge_wait(judge, stream);
}

int judge_upload(struct judge *judge, void *stream, void *to, const void *from, uint64_t size)
{
    return copy_and_wait(judge, stream, to, from, size, AIOS_COPY_HOST_TO_DEVICE);
}

int judge_download(struct judge *judge, void *stream, void *to, const void *from, uint64_t size)
{
    return copy_and_wait(judge, stream, to, from, size, AIOS_COPY_DEVICE_TO_HOST);
}

void judge_pattern(struct judge *judge, uint64_t number, void *to, size_t size)
{
    uint64_t x = (judge->seed + number) * 0x9e3779b97f4a7c15u + 1;
    unsigned char *bytes = to;
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift64 */
        bytes[i] = (unsigned char)(x >> 56);
    }
}

size_t judge_differs(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;
    size_t i = 0;
    while (i < size && x[i] == y[i]) i++;
    return i;
}
