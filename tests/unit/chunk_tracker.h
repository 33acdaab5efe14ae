/* chunk_tracker.h: short forms for the tests of the chunk tracker. */
#ifndef AIOS_TEST_CHUNK_TRACKER_H
#define AIOS_TEST_CHUNK_TRACKER_H

#include "../folder.h"

#include <aios/chunk_tracker.h>

static aios_context *context;

/* Blocks of 20 samples in chunks of 8: 8, 8, 4. */
static inline aios_chunk_tracker_options small(const char *folder, uint64_t total)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    o.folder = folder;
    o.block_samples = 20;
    o.chunk_samples = 8;
    o.total_samples = total;
    o.busy_seconds = 5;
    return o;
}

static inline aios_chunk_tracker *open_tracker(const aios_chunk_tracker_options *o)
{
    aios_chunk_tracker *tracker;
    assert_ok(aios_chunk_tracker_open(context, o, &tracker));
    return tracker;
}

static inline aios_chunk_claim claim_as(aios_chunk_tracker *tracker, const char *owner, int32_t gpu_id, uint64_t last_epoch)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    char device[16];
    (void)snprintf(device, sizeof device, "cuda:%d", (int)gpu_id);
    o.owner = owner;
    o.gpu_id = gpu_id;
    o.device = gpu_id < 0 ? "" : device;
    o.last_epoch = last_epoch;
    assert_ok(aios_chunk_tracker_claim(tracker, &o, &c));
    return c;
}

static inline aios_chunk_claim claim(aios_chunk_tracker *tracker)
{
    return claim_as(tracker, "", -1, 0);
}

static inline void complete(aios_chunk_tracker *tracker, const aios_chunk_claim *c)
{
    assert_ok(aios_chunk_tracker_complete(tracker, c->token, 2, 10));
}

static inline uint64_t save(aios_chunk_tracker *tracker)
{
    uint64_t checkpoint;
    assert_ok(aios_chunk_tracker_seal(tracker, &checkpoint));
    assert_ok(aios_chunk_tracker_commit(tracker, checkpoint));
    return checkpoint;
}

static inline aios_chunk_progress progress_of(aios_chunk_tracker *tracker, uint64_t epoch)
{
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    assert_ok(aios_chunk_tracker_get_epoch(tracker, epoch, &p));
    return p;
}

static inline aios_chunk_tracker_info info_of(aios_chunk_tracker *tracker)
{
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    assert_ok(aios_chunk_tracker_get_info(tracker, &info));
    return info;
}

static inline void assert_claim(aios_chunk_claim c, uint64_t epoch, uint64_t block, uint64_t chunk, uint64_t first, uint64_t end)
{
    if (c.outcome != AIOS_CHUNK_CLAIMED || c.epoch != epoch || c.block != block || c.chunk != chunk || c.first != first || c.end != end)
        fail_msg("outcome %d, epoch %d, block %d, chunk %d, samples %d to %d", (int)c.outcome, (int)c.epoch, (int)c.block, (int)c.chunk,
                 (int)c.first, (int)c.end);
}

static inline char *read_json(const char *folder)
{
    char *text;
    size_t size;
    assert_ok(os_file_read_all(context, test_path(folder, "chunk_tracker_state.json"), UINT64_MAX, &text, &size));
    return text;
}

static inline void assert_json(const char *folder, const char *part)
{
    char *text = read_json(folder);
    if (!strstr(text, part)) fail_msg("%s is not in %s", part, text);
    aios_memory_free(context, text);
}

static inline void write_json(const char *folder, const char *text)
{
    test_file_write(test_path(folder, "chunk_tracker_state.json"), text, strlen(text));
}

/* Each test has a folder of its own. */
static inline int make_folder(void **state)
{
    *state = test_folder_make();
    return 0;
}

static inline int remove_folder(void **state)
{
    test_folder_remove(*state);
    return 0;
}

static inline int begin(void **state)
{
    (void)state;
    return aios_context_create(NULL, &context) != AIOS_OK;
}

static inline int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

#endif
