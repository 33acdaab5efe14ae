/* device.*, memory.*: what the device says of itself and what it gives */
#include "gpu/host.h"
#include "judge.h"

#include <string.h>

#define MIB ((uint64_t)1 << 20)

/* ---- what it says ------------------------------------------------------------------------------------------------ */

static int is_text(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static int get_raw_info(struct judge *judge, aios_device_info *info)
{
    *info = (aios_device_info){.struct_size = sizeof *info};
    if (CALL(judge->table->get_info(judge->handle, info)) == AIOS_OK) return 1;
    judge_fail(judge, "get_info failed: %s", aios_error_message());
    return 0;
}

void device_info(struct judge *judge)
{
    const uint32_t kernel_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    aios_device_info a, b;
    NEED(get_raw_info(judge, &a));
    NEED(get_raw_info(judge, &b));
    EXPECT(memcmp(&a, &b, sizeof a) == 0, "get_info tells something else the second time");
    EXPECT(is_text(a.name, sizeof a.name) && is_text(a.vendor, sizeof a.vendor) && is_text(a.architecture, sizeof a.architecture) &&
               is_text(a.driver_version, sizeof a.driver_version) && is_text(a.pci_address, sizeof a.pci_address) &&
               is_text(a.uuid, sizeof a.uuid),
           "a text of get_info has no end within its field");
    EXPECT(a.name[0], "get_info gives no name");
    EXPECT(a.kind >= AIOS_DEVICE_DISCRETE && a.kind <= AIOS_DEVICE_CPU, "kind is %d: it must be an AIOS_DEVICE_ constant", (int)a.kind);
    EXPECT(a.memory_total >= MIB, "memory_total is %llu bytes: no device has less than 1 MiB", (unsigned long long)a.memory_total);
    EXPECT(a.alignment >= 64 && (a.alignment & (a.alignment - 1)) == 0, "alignment is %llu: it must be a power of two of at least 64",
           (unsigned long long)a.alignment);
    EXPECT(a.compute_units >= 1, "compute_units is %d: at least 1", (int)a.compute_units);
    EXPECT(a.teams >= 1 && a.teams <= 1 << 24, "teams is %d: how many fill the device, at least 1", (int)a.teams);
    EXPECT(a.team_size >= 1 && a.team_size <= 1024, "team_size is %d: lanes of a team, 1 to 1024", (int)a.team_size);
    EXPECT(a.storage_types & 1u << AIOS_F32, "storage_types is %#x: f32 must be in it", (unsigned)a.storage_types);
    EXPECT((a.storage_types & ~kernel_types) == 0, "storage_types is %#x: there are kernels for f32, bf16 and f16 alone",
           (unsigned)a.storage_types);
    EXPECT((a.fast_gemm_types & ~a.storage_types) == 0, "fast_gemm_types is %#x, storage_types %#x: the first must be part of the second",
           (unsigned)a.fast_gemm_types, (unsigned)a.storage_types);
    EXPECT(a.host_accessible == 0 || a.host_accessible == 1, "host_accessible is %d: 0 or 1", (int)a.host_accessible);
}

static int memory_info(struct judge *judge, uint64_t *free_bytes, uint64_t *total)
{
    *free_bytes = *total = 0;
    if (CALL(judge->table->get_memory_info(judge->handle, free_bytes, total)) == AIOS_OK) return 1;
    judge_fail(judge, "get_memory_info failed: %s", aios_error_message());
    return 0;
}

void device_memory_info(struct judge *judge)
{
    uint64_t free_bytes, total, again;
    NEED(memory_info(judge, &free_bytes, &total));
    EXPECT(total > 0, "get_memory_info says that there are 0 bytes in all");
    EXPECT(free_bytes <= total, "%llu bytes free of %llu", (unsigned long long)free_bytes, (unsigned long long)total);
    EXPECT(total <= judge->info.memory_total && total >= judge->info.memory_total / 2,
           "get_memory_info says %llu bytes in all, get_info %llu", (unsigned long long)total,
           (unsigned long long)judge->info.memory_total);
    NEED(judge_memory(judge, 16 * MIB));
    NEED(memory_info(judge, &free_bytes, &again));
    EXPECT(again == total, "the total was %llu bytes and is %llu", (unsigned long long)total, (unsigned long long)again);
}

static void *use_elsewhere(void *argument)
{
    struct judge *judge = argument;
    uint32_t got[64] = {0}, want[64];
    for (int i = 0; i < 64; i++) want[i] = 0xa5a50001u;
    if (CALL(judge->table->set_device(judge->handle)) != AIOS_OK) {
        judge_fail(judge, "set_device failed on another thread: %s", aios_error_message());
        return NULL;
    }
    void *stream = judge_stream(judge), *memory = stream ? judge_memory(judge, sizeof got) : NULL;
    if (!memory) return NULL;
    if (CALL(judge->table->fill(judge->handle, stream, memory, want[0], sizeof want)) != AIOS_OK)
        judge_fail(judge, "fill failed on another thread: %s", aios_error_message());
    else if (judge_download(judge, stream, got, memory, sizeof got) && memcmp(got, want, sizeof got) != 0)
        judge_fail(judge, "what another thread filled with %08x reads as %08x", want[0], got[0]);
    return NULL;
}

void device_set_device(struct judge *judge)
{
    os_thread thread;
    MUST(judge->table->set_device(judge->handle));
    EXPECT(os_thread_start(&thread, "judge", use_elsewhere, judge) == AIOS_OK, "no thread: %s", aios_error_message());
    os_thread_join(thread);
}

static void open_and_close(struct judge *judge)
{
    void *handle = NULL, *stream = NULL, *event = NULL, *memory = NULL;
    MUST(judge->table->open(judge->index, &handle));
    EXPECT(handle, "open succeeded and gave no device");
    if (CALL(judge->table->create_stream(handle, &stream)) != AIOS_OK || CALL(judge->table->create_event(handle, &event)) != AIOS_OK ||
        CALL(judge->table->alloc(handle, 4 * MIB, &memory)) != AIOS_OK ||
        CALL(judge->table->fill(handle, stream, memory, 1, 4 * MIB)) != AIOS_OK ||
        CALL(judge->table->record_event(handle, event, stream)) != AIOS_OK || CALL(judge->table->synchronize(handle)) != AIOS_OK)
        judge_fail(judge, "a device that was opened again does not work: %s", aios_error_message());
    host_enter(judge->context);
    if (memory) judge->table->free(handle, memory);
    if (event) judge->table->destroy_event(handle, event);
    if (stream) judge->table->destroy_stream(handle, stream);
    judge->table->close(handle);
    (void)host_leave(judge->backend, AIOS_OK);
}

/* The first round may keep what a vendor keeps for ever.  The CPU's memory is everybody's: its number can't be held to this. */
void device_reopen(struct judge *judge)
{
    uint64_t before, after, total;
    for (int i = 0; i < 2 && !judge->failed; i++) open_and_close(judge);
    NEED(memory_info(judge, &before, &total));
    for (int i = 0; i < 16 && !judge->failed; i++) open_and_close(judge);
    NEED(!judge->failed && memory_info(judge, &after, &total));
    EXPECT(judge->info.kind == AIOS_DEVICE_CPU || after + 32 * MIB >= before,
           "%llu bytes were free, and %llu after opening and closing 16 times", (unsigned long long)before, (unsigned long long)after);
}

/* ---- what it gives ----------------------------------------------------------------------------------------------- */

void memory_alignment(struct judge *judge)
{
    static const uint64_t sizes[] = {1, 3, 64, 255, 257, 4097, 65535, 1000003};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    void *blocks[COUNT], *stream = judge_stream(judge);
    NEED(stream);
    for (size_t i = 0; i < COUNT; i++) {
        NEED(blocks[i] = judge_memory(judge, sizes[i]));
        EXPECT((uintptr_t)blocks[i] % judge->info.alignment == 0, "alloc of %llu bytes gave %p, which is not aligned to %llu",
               (unsigned long long)sizes[i], blocks[i], (unsigned long long)judge->info.alignment);
        unsigned char *bytes = judge_plain_memory(judge, (size_t)sizes[i]);
        NEED(bytes);
        memset(bytes, (int)(i + 1), (size_t)sizes[i]);
        NEED(judge_upload(judge, stream, blocks[i], bytes, sizes[i]));
    }
    for (size_t i = 0; i < COUNT; i++) {
        unsigned char *bytes = judge_plain_memory(judge, (size_t)sizes[i]);
        NEED(bytes && judge_download(judge, stream, bytes, blocks[i], sizes[i]));
        for (uint64_t k = 0; k < sizes[i]; k++)
            EXPECT(bytes[k] == i + 1, "byte %llu of a block of %llu bytes was overwritten by another block", (unsigned long long)k,
                   (unsigned long long)sizes[i]);
    }
}

void memory_host(struct judge *judge)
{
    unsigned char *bytes = judge_host_memory(judge, 100001);
    NEED(bytes);
    EXPECT((uintptr_t)bytes % 16 == 0, "host_alloc gave %p, which is not aligned to 16", (void *)bytes);
    memset(bytes, 0x3c, 100001);
    EXPECT(bytes[0] == 0x3c && bytes[100000] == 0x3c, "memory of host_alloc does not keep what the host writes");
}

/* A quarter of the block is for what vendors round to and other processes do meanwhile. */
static int accounts_once(struct judge *judge, void *stream, uint64_t size, uint64_t seen[3])
{
    uint64_t total;
    if (!memory_info(judge, &seen[0], &total)) return 0;
    void *memory = judge_memory(judge, size);
    if (!memory) return 0;
    if (CALL(judge->table->fill(judge->handle, stream, memory, 0x11111111u, size)) != AIOS_OK) {
        judge_fail(judge, "fill failed: %s", aios_error_message());
        return 0;
    }
    if (!judge_wait(judge, stream) || !memory_info(judge, &seen[1], &total)) return 0;
    judge_give_back(judge, memory);
    return memory_info(judge, &seen[2], &total);
}

void memory_accounting(struct judge *judge)
{
    uint64_t seen[3] = {0}, free_bytes, total, slack;
    void *stream = judge_stream(judge);
    NEED(stream && memory_info(judge, &free_bytes, &total));
    uint64_t size = free_bytes / 4 < 256 * MIB ? free_bytes / 4 / 4096 * 4096 : 256 * MIB;
    slack = size / 4;
    EXPECT(size > 0, "only %llu bytes are free", (unsigned long long)free_bytes);
    for (int attempt = 0; attempt < 3; attempt++) {
        NEED(accounts_once(judge, stream, size, seen));
        if (judge->info.kind == AIOS_DEVICE_CPU) return; /* its memory is everybody's: others take and give meanwhile */
        if (seen[1] + size <= seen[0] + slack && seen[1] + size + slack >= seen[0] && seen[2] + slack >= seen[0]) return;
    }
    judge_fail(judge, "%llu bytes were free, %llu after taking %llu, %llu after giving them back", (unsigned long long)seen[0],
               (unsigned long long)seen[1], (unsigned long long)size, (unsigned long long)seen[2]);
}

void memory_exhaustion(struct judge *judge)
{
    const uint64_t sizes[] = {judge->info.memory_total + MIB, judge->info.memory_total * 64, UINT64_MAX / 2};
    uint32_t words[256], got[256] = {0};
    for (int i = 0; i < 256; i++) words[i] = 0xfeedf00du;
    for (size_t i = 0; i < 3; i++) {
        void *pointer = NULL;
        aios_status status = CALL(judge->table->alloc(judge->handle, sizes[i], &pointer));
        if (status == AIOS_OK) judge->table->free(judge->handle, pointer);
        EXPECT(status != AIOS_OK, "alloc gave %llu bytes, and the device has %llu", (unsigned long long)sizes[i],
               (unsigned long long)judge->info.memory_total);
        EXPECT(status == AIOS_DEVICE_OUT_OF_MEMORY, "alloc of %llu bytes said %s (%s): it must be DEVICE_OUT_OF_MEMORY",
               (unsigned long long)sizes[i], aios_status_name(status), aios_error_message());
        void *stream = judge_stream(judge), *memory = stream ? judge_memory(judge, sizeof words) : NULL;
        NEED(memory);
        MUST(judge->table->fill(judge->handle, stream, memory, words[0], sizeof words));
        NEED(judge_download(judge, stream, got, memory, sizeof got));
        EXPECT(memcmp(got, words, sizeof got) == 0, "after an alloc that failed the device does not work");
    }
}
