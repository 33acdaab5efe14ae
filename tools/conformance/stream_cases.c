/* streams.*, events.*, copy.*, fill.*: order, waiting, and every byte */
#include "gpu/host.h"
#include "judge.h"

#include <string.h>

/* ---- copies and fills -------------------------------------------------------------------------------------------- */

#define GUARD 64

static const uint32_t copy_lengths[] = {1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 63, 64, 65, 100, 255, 256, 257, 1000, 4095, 4097, 65537, 1048577};

/* Host -> device at one offset -> device at another -> host, guards on both sides. */
static void copy_round(struct judge *judge, void *stream, unsigned char *host[3], void *const device[2], uint32_t size, uint32_t offset)
{
    uint32_t other = (offset * 5 + 1) % 17, whole = size + 2 * GUARD + 17;
    unsigned char *a = device[0], *b = device[1];
    judge_pattern(judge, size + offset, host[0], whole);
    for (int which = 0; which < 2; which++) { /* another byte for each, so that copying too much shows */
        memset(host[1], which ? 0x77 : 0x33, whole);
        NEED(judge_upload(judge, stream, device[which], host[1], whole));
    }
    MUST(judge->table->copy(judge->handle, stream, a + GUARD + offset, host[0] + offset, size, AIOS_COPY_HOST_TO_DEVICE));
    MUST(judge->table->copy(judge->handle, stream, b + GUARD + other, a + GUARD + offset, size, AIOS_COPY_DEVICE_TO_DEVICE));
    NEED(judge_download(judge, stream, host[2] + other, b + GUARD + other, size));
    size_t at = judge_differs(host[2] + other, host[0] + offset, size);
    EXPECT(at == size, "a copy of %u bytes to offset %u, on to offset %u and back: byte %zu is wrong", size, offset, other, at);
    for (int which = 0; which < 2; which++) {
        uint32_t start = GUARD + (which ? other : offset);
        memset(host[1], which ? 0x77 : 0x33, whole);
        NEED(judge_download(judge, stream, host[2], device[which], whole));
        at = judge_differs(host[2], host[1], start);
        EXPECT(at == start, "a copy of %u bytes to offset %u also wrote %zu bytes before it", size, start, start - at);
        at = judge_differs(host[2] + start + size, host[1] + start + size, whole - start - size);
        EXPECT(at == whole - start - size, "a copy of %u bytes to offset %u also wrote %zu bytes behind it", size, start, at + 1);
    }
}

static void copy_all(struct judge *judge, int from_host_alloc)
{
    enum { MOST = 1048577 + 2 * GUARD + 17 };
    unsigned char *host[3];
    void *stream = judge_stream(judge), *device[2];
    NEED(stream);
    for (int i = 0; i < 3; i++) NEED(host[i] = from_host_alloc ? judge_host_memory(judge, MOST) : judge_plain_memory(judge, MOST));
    for (int i = 0; i < 2; i++) NEED(device[i] = judge_memory(judge, MOST));
    for (size_t i = 0; i < sizeof copy_lengths / sizeof copy_lengths[0]; i++)
        for (uint32_t offset = 0; offset < 4 && !judge->failed; offset += copy_lengths[i] > 5000 ? 3 : 1)
            copy_round(judge, stream, host, device, copy_lengths[i], offset);
}

void copy_sizes(struct judge *judge)
{
    copy_all(judge, 0);
}

void copy_host_memory(struct judge *judge)
{
    copy_all(judge, 1);
}

void fill_sizes(struct judge *judge)
{
    static const uint32_t words[] = {1, 2, 3, 15, 16, 17, 63, 65, 255, 1025, 16385, 300001};
    static const uint32_t patterns[] = {0, 0xdeadbeefu, 0x01020304u, 0xffffffffu};
    enum { MOST = 300001 * 4 + 2 * GUARD + 16 };
    unsigned char *host = judge_plain_memory(judge, MOST), *want = judge_plain_memory(judge, MOST);
    void *stream = judge_stream(judge);
    unsigned char *device = stream ? judge_memory(judge, MOST) : NULL;
    NEED(host && want && device);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (uint32_t p = 0; p < 4; p++) {
            uint32_t size = words[i] * 4, start = GUARD + 4 * p, whole = size + 2 * GUARD + 16;
            memset(want, 0x55, whole);
            NEED(judge_upload(judge, stream, device, want, whole));
            for (uint32_t k = 0; k < words[i]; k++) memcpy(want + start + 4 * k, &patterns[p], 4);
            MUST(judge->table->fill(judge->handle, stream, device + start, patterns[p], size));
            NEED(judge_download(judge, stream, host, device, whole));
            size_t at = judge_differs(host, want, whole);
            EXPECT(at == whole, "fill of %u bytes with %08x: byte %lld of the block is %02x, not %02x", size, patterns[p],
                   (long long)at - start, host[at], want[at]);
        }
}

/* ---- work that takes a while ------------------------------------------------------------------------------------- */

struct heavy {
    void *block;
    uint64_t size;
    int fills;
};

static int submit_heavy(struct judge *judge, const struct heavy *heavy, void *stream, uint32_t last)
{
    for (int i = 0; i < heavy->fills; i++)
        if (CALL(judge->table->fill(judge->handle, stream, heavy->block, i + 1 < heavy->fills ? 0xbadbad00u : last, heavy->size)) !=
            AIOS_OK) {
            judge_fail(judge, "fill failed: %s", aios_error_message());
            return 0;
        }
    return 1;
}

/* So many fills that they take some milliseconds, as far as waiting can be trusted. */
static int make_heavy(struct judge *judge, struct heavy *heavy, void *stream)
{
    heavy->size = judge->brief ? (uint64_t)2 << 20 : (uint64_t)16 << 20;
    heavy->block = judge_memory(judge, heavy->size);
    if (!heavy->block) return 0;
    for (heavy->fills = 4; heavy->fills < (judge->brief ? 16 : 128); heavy->fills *= 2) {
        double begin = os_now();
        if (!submit_heavy(judge, heavy, stream, 0) || !judge_wait(judge, stream)) return 0;
        if (os_now() - begin > 5e-3) break;
    }
    return 1;
}

/* 1: every word of the host memory is `word`. */
static int expect_words(struct judge *judge, const uint32_t *host, uint64_t size, uint32_t word, const char *what)
{
    for (uint64_t i = 0; i < size / 4; i++)
        if (host[i] != word) {
            judge_fail(judge, "%s: word %llu is %08x, not %08x", what, (unsigned long long)i, host[i], word);
            return 0;
        }
    return 1;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

void streams_order(struct judge *judge)
{
    enum { SIZE = 1 << 16, ROUNDS = 50 };
    void *stream = judge_stream(judge), *a = judge_memory(judge, SIZE), *b = judge_memory(judge, SIZE);
    uint32_t *host = judge_host_memory(judge, SIZE * ROUNDS);
    NEED(stream && a && b && host);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        MUST(judge->table->fill(judge->handle, stream, a, i, SIZE));
        MUST(judge->table->copy(judge->handle, stream, b, a, SIZE, AIOS_COPY_DEVICE_TO_DEVICE));
        MUST(judge->table->fill(judge->handle, stream, a, 0xffffffffu, SIZE));
        MUST(judge->table->copy(judge->handle, stream, host + i * (SIZE / 4), b, SIZE, AIOS_COPY_DEVICE_TO_HOST));
    }
    NEED(judge_wait(judge, stream));
    for (uint32_t i = 0; i < ROUNDS; i++)
        NEED(expect_words(judge, host + i * (SIZE / 4), SIZE, i, "fill, copy, fill and copy on one stream were not done in turn"));
}

/* Submits heavy work that ends in host memory, waits as `how` says and looks. */
enum waiting { BY_STREAM, BY_DEVICE, BY_EVENT };

static void wait_and_look(struct judge *judge, enum waiting how, const char *words)
{
    struct heavy heavy;
    void *streams[2] = {judge_stream(judge), judge_stream(judge)}, *event = judge_event(judge);
    NEED(streams[0] && streams[1] && event && make_heavy(judge, &heavy, streams[0]));
    uint32_t *host = judge_host_memory(judge, heavy.size), word = 0x600d600du;
    NEED(host);
    for (int round = 0; round < 3; round++) {
        memset(host, 0, heavy.size);
        NEED(submit_heavy(judge, &heavy, streams[round % 2], ++word));
        MUST(judge->table->copy(judge->handle, streams[round % 2], host, heavy.block, heavy.size, AIOS_COPY_DEVICE_TO_HOST));
        if (how == BY_EVENT) {
            MUST(judge->table->record_event(judge->handle, event, streams[round % 2]));
            MUST(judge->table->synchronize_event(judge->handle, event));
        } else if (how == BY_STREAM) {
            MUST(judge->table->synchronize_stream(judge->handle, streams[round % 2]));
        } else {
            MUST(judge->table->synchronize(judge->handle));
        }
        int good = expect_words(judge, host, heavy.size, word, words);
        NEED(good);
    }
}

void streams_synchronize_stream(struct judge *judge)
{
    wait_and_look(judge, BY_STREAM, "synchronize_stream returned before the work was done");
}

void streams_synchronize(struct judge *judge)
{
    wait_and_look(judge, BY_DEVICE, "synchronize returned before the work was done");
}

void events_synchronize(struct judge *judge)
{
    wait_and_look(judge, BY_EVENT, "synchronize_event returned before the work was done");
}

/* Two threads, each with a stream and memory of its own. */
struct side {
    struct judge *judge;
    uint32_t number;
    char wrong[200];
};

static void run_side(struct side *side)
{
    struct judge *judge = side->judge;
    enum { SIZE = 100000 };
    const aios_gpu_device *t = judge->table;
    void *stream = NULL, *memory[2] = {NULL, NULL}, *event = NULL;
    static _Thread_local uint32_t host[SIZE / 4];
    aios_status status = CALL(t->set_device(judge->handle));
    if (status == AIOS_OK) status = CALL(t->create_stream(judge->handle, &stream));
    if (status == AIOS_OK) status = CALL(t->create_event(judge->handle, &event));
    for (uint32_t round = 0; round < 40 && status == AIOS_OK && !side->wrong[0]; round++) {
        uint32_t word = side->number << 16 | round;
        for (int i = 0; i < 2 && status == AIOS_OK; i++) status = CALL(t->alloc(judge->handle, SIZE, &memory[i]));
        if (status == AIOS_OK) status = CALL(t->fill(judge->handle, stream, memory[0], word, SIZE));
        if (status == AIOS_OK) status = CALL(t->copy(judge->handle, stream, memory[1], memory[0], SIZE, AIOS_COPY_DEVICE_TO_DEVICE));
        if (status == AIOS_OK) status = CALL(t->copy(judge->handle, stream, host, memory[1], SIZE, AIOS_COPY_DEVICE_TO_HOST));
        if (status == AIOS_OK) status = CALL(t->record_event(judge->handle, event, stream));
        if (status == AIOS_OK) status = CALL(t->synchronize_stream(judge->handle, stream));
        for (uint32_t i = 0; i < SIZE / 4 && status == AIOS_OK && !side->wrong[0]; i++)
            if (host[i] != word)
                (void)snprintf(side->wrong, sizeof side->wrong, "word %u of round %u is %08x, not %08x", i, round, host[i], word);
        for (int i = 0; i < 2; i++, memory[i - 1] = NULL)
            if (memory[i]) t->free(judge->handle, memory[i]);
    }
    if (status != AIOS_OK) (void)snprintf(side->wrong, sizeof side->wrong, "%.190s", aios_error_message());
    if (event) t->destroy_event(judge->handle, event);
    if (stream) t->destroy_stream(judge->handle, stream);
}

static void *start_side(void *argument)
{
    run_side(argument);
    return NULL;
}

void streams_threads(struct judge *judge)
{
    struct side sides[2] = {{.judge = judge, .number = 1}, {.judge = judge, .number = 2}};
    os_thread threads[2];
    for (int i = 0; i < 2; i++)
        EXPECT(os_thread_start(&threads[i], "judge", start_side, &sides[i]) == AIOS_OK, "no thread: %s", aios_error_message());
    for (int i = 0; i < 2; i++) os_thread_join(threads[i]);
    for (int i = 0; i < 2; i++) EXPECT(!sides[i].wrong[0], "with two threads at work: %s", sides[i].wrong);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* One stream works for a while and records; the other waits, and copies what the first one left. */
static void follow(struct judge *judge, int record_before, int destroy_early, const char *words)
{
    struct heavy heavy;
    void *first = judge_stream(judge), *second = judge_stream(judge);
    NEED(first && second && make_heavy(judge, &heavy, first));
    uint32_t *host = judge_host_memory(judge, heavy.size), word = 0xc0ffee00u;
    NEED(host);
    for (int round = 0; round < 4; round++) {
        void *event = judge_event(judge);
        NEED(event);
        if (record_before) {
            MUST(judge->table->record_event(judge->handle, event, first));
            NEED(judge_wait(judge, first));
        }
        NEED(submit_heavy(judge, &heavy, first, ++word));
        MUST(judge->table->record_event(judge->handle, event, first));
        MUST(judge->table->wait_event(judge->handle, second, event));
        if (destroy_early) judge_give_back(judge, event);
        MUST(judge->table->copy(judge->handle, second, host, heavy.block, heavy.size, AIOS_COPY_DEVICE_TO_HOST));
        NEED(judge_wait(judge, second));
        NEED(expect_words(judge, host, heavy.size, word, words));
        NEED(judge_wait(judge, first));
        if (!destroy_early) judge_give_back(judge, event);
    }
}

void events_wait(struct judge *judge)
{
    follow(judge, 0, 0, "the stream did not wait for the event");
}

void events_record_again(struct judge *judge)
{
    follow(judge, 1, 0, "the stream waited for the event's first recording, not for the last");
}

void events_destroy_early(struct judge *judge)
{
    follow(judge, 0, 1, "the stream did not wait for an event that was destroyed after wait_event");
}

void events_elapsed(struct judge *judge)
{
    struct heavy heavy;
    void *stream = judge_stream(judge), *from = judge_event(judge), *to = judge_event(judge);
    float ms = -1, none = -1;
    NEED(stream && from && to && make_heavy(judge, &heavy, stream));
    double begin = os_now();
    MUST(judge->table->record_event(judge->handle, from, stream));
    NEED(submit_heavy(judge, &heavy, stream, 1));
    MUST(judge->table->record_event(judge->handle, to, stream));
    NEED(judge_wait(judge, stream));
    double wall = (os_now() - begin) * 1e3;
    MUST(judge->table->elapsed_ms(judge->handle, from, to, &ms));
    MUST(judge->table->elapsed_ms(judge->handle, from, from, &none));
    EXPECT(ms > 0 && ms <= wall * 1.05 + 0.5, "elapsed_ms says %g ms for work that took %g ms with its submission", (double)ms, wall);
    EXPECT(none == 0, "elapsed_ms of an event and itself is %g", (double)none);
}
