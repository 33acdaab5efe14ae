/* What a dataset promises to workers that share it out by chunks: any range by number, from any thread, each sample once in an epoch, the
 * next chunk in memory before it is wanted, and no state file of another order of samples. */
#include "folder.h"

#include <aios/chunk_tracker.h>
#include <aios/dataset.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED    20261121u
#define LENGTH  8
#define THREADS 4

static aios_context *context;
static aios_tokenizer *bytes;
static char *folder;

static int set_up(void **state)
{
    (void)state;
    context = test_context();
    folder = test_folder_make();
    return aios_tokenizer_open(context, "bytes", &bytes) != AIOS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    aios_tokenizer_close(bytes);
    test_folder_remove(folder);
    aios_context_destroy(context);
    return 0;
}

/* Samples are LENGTH bytes of a text in which no two are alike. */
static aios_dataset *open_numbers(size_t lines, const char *where, int32_t shuffle, double eval_fraction, uint64_t seed)
{
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    aios_dataset *d;
    char path[TEST_PATH_MAX], cache[TEST_PATH_MAX], *text = malloc(lines * LENGTH + 1);
    for (size_t i = 0; i < lines; i++) (void)snprintf(text + i * LENGTH, LENGTH + 1, "%07zu\n", i);
    (void)snprintf(path, sizeof path, "%s/numbers.txt", where);
    (void)snprintf(cache, sizeof cache, "%s/cache", where);
    test_file_write(path, text, lines * LENGTH);
    free(text);
    o.path = path;
    o.tokenizer = bytes;
    o.cache_folder = cache;
    o.sequence_length = LENGTH;
    o.shuffle = shuffle;
    o.eval_fraction = eval_fraction;
    o.split = eval_fraction > 0 ? AIOS_SPLIT_TRAIN : AIOS_SPLIT_ALL;
    o.seed = seed;
    assert_ok(aios_dataset_open(context, &o, &d));
    return d;
}

/* The number that a sample holds. */
static int line_of(const int32_t *inputs)
{
    int line = 0;
    for (int k = 0; k < LENGTH - 1; k++) line = 10 * line + inputs[k] - '0';
    return line;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static void a_range_is_the_same_samples_as_one_by_one(void **state)
{
    (void)state;
    for (int32_t shuffle = 0; shuffle < 2; shuffle++) {
        aios_dataset *d = open_numbers(1000, folder, shuffle, 0.1, SEED);
        uint64_t count = aios_dataset_count(d);
        static int32_t inputs[100 * LENGTH], labels[100 * LENGTH];
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            for (uint64_t first = 0; first < count; first += 100) {
                uint64_t n = count - first < 100 ? count - first : 100;
                assert_ok(aios_dataset_read_range(d, epoch, first, n, inputs, labels));
                for (uint64_t i = 0; i < n; i++) {
                    int32_t x[LENGTH], y[LENGTH];
                    assert_ok(aios_dataset_read(d, epoch * count + first + i, x, y));
                    assert_memory_equal(inputs + i * LENGTH, x, sizeof x);
                    assert_memory_equal(labels + i * LENGTH, y, sizeof y);
                }
            }
        }
        aios_dataset_close(d);
    }
}

static void a_range_beyond_the_epoch_is_refused(void **state)
{
    (void)state;
    aios_dataset *d = open_numbers(10, folder, 0, 0, SEED);
    int32_t x[2 * LENGTH], y[2 * LENGTH];
    assert_int_equal(aios_dataset_count(d), 10);
    assert_ok(aios_dataset_read_range(d, 0, 8, 2, x, y));
    assert_ok(aios_dataset_read_range(d, 0, 10, 0, x, y));
    assert_fails(aios_dataset_read_range(d, 0, 9, 2, x, y), AIOS_OUT_OF_RANGE, "samples 9 to 11 are asked for: an epoch has 10");
    assert_fails(aios_dataset_read_range(d, 0, 11, 0, x, y), AIOS_OUT_OF_RANGE, "an epoch has 10");
    assert_fails(aios_dataset_read_range(d, 0, UINT64_MAX, 2, x, y), AIOS_OUT_OF_RANGE, "an epoch has 10");
    assert_fails(aios_dataset_read_range(d, UINT64_MAX / 10, 0, 1, x, y), AIOS_OUT_OF_RANGE, "at most");
    assert_fails(aios_dataset_read_range(d, 0, 0, 1, NULL, y), AIOS_INVALID_ARGUMENT, "inputs");
    aios_dataset_prefetch(d, UINT64_MAX, UINT64_MAX, UINT64_MAX); /* advice never fails */
    aios_dataset_prefetch(d, 0, 9, 100);
    aios_dataset_prefetch(NULL, 0, 0, 1);
    aios_dataset_close(d);
}

/* ---- with a tracker ---------------------------------------------------------------------------------------------- */

typedef struct crew {
    aios_dataset *dataset;
    aios_chunk_tracker *tracker;
    unsigned char *seen; /* by number of the line, changed by one thread each: no line is given twice */
    _Atomic int failures;
    _Atomic uint64_t last_block;
} crew;

static void *train_chunks(void *user)
{
    crew *c = user;
    for (;;) {
        aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
        aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
        int32_t inputs[5 * LENGTH], labels[5 * LENGTH];
        o.last_epoch = 0;
        if (aios_chunk_tracker_claim(c->tracker, &o, &claim) != AIOS_OK) c->failures++;
        if (claim.outcome == AIOS_CHUNK_WAIT) {
            os_thread_yield();
            continue;
        }
        if (claim.outcome != AIOS_CHUNK_CLAIMED) return NULL;
        aios_dataset_prefetch(c->dataset, claim.epoch, claim.end, 30);
        for (uint64_t at = claim.first; at < claim.end; at += 5) {
            uint64_t n = claim.end - at < 5 ? claim.end - at : 5;
            if (aios_dataset_read_range(c->dataset, claim.epoch, at, n, inputs, labels) != AIOS_OK) c->failures++;
            for (uint64_t i = 0; i < n; i++) c->seen[line_of(inputs + i * LENGTH)]++;
        }
        if (claim.block > c->last_block) c->last_block = claim.block;
        if (aios_chunk_tracker_complete(c->tracker, claim.token, 1, 1) != AIOS_OK) c->failures++;
    }
}

static void threads_that_claim_chunks_read_every_sample_once(void **state)
{
    (void)state;
    enum { LINES = 1013, BLOCK = 100, CHUNK = 30 };
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    unsigned char seen[LINES] = {0};
    crew c = {.dataset = open_numbers(LINES, folder, 1, 0, SEED), .seen = seen};
    os_thread threads[THREADS];
    o.folder = test_path(folder, "tracker");
    o.dataset_identity = aios_dataset_order_identity(c.dataset);
    o.total_samples = aios_dataset_count(c.dataset);
    o.block_samples = BLOCK;
    o.chunk_samples = CHUNK;
    assert_ok(aios_chunk_tracker_open(context, &o, &c.tracker));
    for (int i = 0; i < THREADS; i++) assert_ok(os_thread_start(&threads[i], "trains", train_chunks, &c));
    for (int i = 0; i < THREADS; i++) os_thread_join(threads[i]);
    assert_int_equal(c.failures, 0);
    for (int i = 0; i < LINES; i++) assert_int_equal(seen[i], 1);
    assert_int_equal(c.last_block, LINES / BLOCK); /* the short one */
    aios_chunk_tracker_close(c.tracker);
    aios_dataset_close(c.dataset);
}

static void a_state_file_serves_no_other_order_of_samples(void **state)
{
    (void)state;
    aios_dataset *d = open_numbers(100, folder, 1, 0.1, SEED), *other;
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker *tracker;
    char elsewhere[TEST_PATH_MAX];
    o.folder = test_path(folder, "tracker");
    o.dataset_identity = aios_dataset_order_identity(d);
    o.total_samples = aios_dataset_count(d);
    assert_ok(aios_chunk_tracker_open(context, &o, &tracker));
    aios_chunk_tracker_close(tracker);

    const struct {
        aios_dataset *dataset;
        int same;
    } others[] = {{open_numbers(100, folder, 1, 0.1, SEED), 1},
                  {open_numbers(100, folder, 1, 0.1, SEED + 1), 0},
                  {open_numbers(100, folder, 0, 0.1, SEED), 0},
                  {open_numbers(100, folder, 1, 0.2, SEED), 0}};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        o.dataset_identity = aios_dataset_order_identity(others[i].dataset);
        o.total_samples = 0;
        if (others[i].same) {
            assert_ok(aios_chunk_tracker_open(context, &o, &tracker));
            aios_chunk_tracker_close(tracker);
        } else {
            assert_fails(aios_chunk_tracker_open(context, &o, &tracker), AIOS_INVALID_ARGUMENT, "dataset");
        }
        aios_dataset_close(others[i].dataset);
    }
    assert_ok(aios_dataset_open_split(d, AIOS_SPLIT_EVAL, 1, SEED, &other));
    assert_string_not_equal(aios_dataset_order_identity(other), aios_dataset_order_identity(d));
    assert_string_equal(aios_dataset_identity(other), aios_dataset_identity(d));
    aios_dataset_close(other);

    /* The same corpus in another place is the same; one of the same name with other text is not. */
    (void)snprintf(elsewhere, sizeof elsewhere, "%s", test_path(folder, "elsewhere"));
    assert_ok(os_folder_create(elsewhere));
    other = open_numbers(100, elsewhere, 1, 0.1, SEED);
    assert_string_equal(aios_dataset_order_identity(other), aios_dataset_order_identity(d));
    aios_dataset_close(other);
    other = open_numbers(101, elsewhere, 1, 0.1, SEED);
    assert_string_not_equal(aios_dataset_order_identity(other), aios_dataset_order_identity(d));
    aios_dataset_close(other);
    aios_dataset_close(d);
}

/* ---- prefetch ---------------------------------------------------------------------------------------------------- */

/* How many pages of a part of a file are in memory. */
static size_t resident(const char *path, size_t offset, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = size / page, count = 0;
    unsigned char *in = calloc(pages, 1);
    int file = open(path, O_RDONLY);
    void *address = mmap(NULL, size, PROT_READ, MAP_SHARED, file, (off_t)offset);
    assert_true(file >= 0 && address != MAP_FAILED && mincore(address, size, in) == 0);
    for (size_t i = 0; i < pages; i++) count += in[i] & 1;
    (void)munmap(address, size);
    (void)close(file);
    free(in);
    return count;
}

/* Whether the system can be made to forget a file that was written; where it can't (a file system in memory) nothing is to be fetched. */
static int evict(const char *path, size_t size)
{
    int file = open(path, O_RDONLY);
    assert_true(file >= 0 && fsync(file) == 0 && posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
    (void)close(file);
    return resident(path, 0, size) == 0;
}

static void the_next_chunk_is_in_memory_before_it_is_read(void **state)
{
    (void)state;
    enum { LINES = 1 << 20, FROM = LINES / 2, CHUNK = 1 << 16, MEGABYTE = 1 << 20 };
    char on_disk[] = "/var/tmp/aios-test-XXXXXX";
    if (!mkdtemp(on_disk)) skip();
    aios_dataset *d = open_numbers(LINES, on_disk, 0, 0, SEED);
    const char *cache = aios_dataset_cache_path(d);
    size_t first = (size_t)FROM * LENGTH * 2, size = (size_t)CHUNK * LENGTH * 2, pages = size / (size_t)sysconf(_SC_PAGESIZE);
    int can_evict = evict(cache, first + size + 2 * MEGABYTE);
    aios_dataset_prefetch(d, 0, FROM, CHUNK);
    size_t wanted = 0, beyond = resident(cache, first + size + MEGABYTE, MEGABYTE);
    for (int i = 0; i < 500 && wanted != pages; i++) {
        wanted = resident(cache, first, size);
        if (wanted != pages) os_sleep(0.01);
    }
    aios_dataset_close(d);
    assert_ok(os_remove_tree(on_disk));
    if (!can_evict) skip();
    assert_int_equal(wanted, pages);
    assert_int_equal(beyond, 0);
}

static void *ask_and_read(void *user)
{
    const aios_dataset *d = user;
    int32_t x[LENGTH], y[LENGTH];
    for (uint64_t epoch = 0; epoch < 40; epoch++) { /* more wishes than there is room for */
        aios_dataset_prefetch(d, epoch, 17 * epoch, 500);
        assert_ok(aios_dataset_read_range(d, epoch, 17 * epoch, 1, x, y));
    }
    return NULL;
}

static void wishes_of_many_threads_end_with_the_dataset(void **state)
{
    (void)state;
    aios_dataset *d = open_numbers(5000, folder, 1, 0.1, SEED), *other;
    os_thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_ok(os_thread_start(&threads[i], "asks", ask_and_read, d));
    for (int i = 0; i < THREADS; i++) os_thread_join(threads[i]);
    assert_ok(aios_dataset_open_split(d, AIOS_SPLIT_EVAL, 1, SEED, &other));
    aios_dataset_prefetch(d, 3, 0, UINT64_MAX);
    aios_dataset_close(d); /* the wish is about it, the tokens are the other's too */
    aios_dataset_prefetch(other, 0, 0, 10);
    aios_dataset_close(other);
}

/* What reading ahead finds damaged is told to who reads it, and to nobody else. */
static void damage_is_told_by_reading_alone(void **state)
{
    (void)state;
    enum { LINES = (16 << 20) / LENGTH + 16384 }; /* a cache of over 16 MiB is not checked when it is opened */
    aios_dataset *d = open_numbers(LINES, folder, 0, 0, SEED);
    int32_t x[LENGTH], y[LENGTH];
    int raw = open(aios_dataset_cache_path(d), O_WRONLY);
    assert_int_equal(pwrite(raw, "!", 1, 65536 * 3), 1);
    (void)close(raw);
    aios_error_clear();
    aios_dataset_prefetch(d, 0, 0, 65536);
    assert_ok(aios_dataset_read_range(d, 0, 0, 1, x, y));
    assert_string_equal(aios_error_message(), "");
    assert_fails(aios_dataset_read_range(d, 0, 3 * 65536 / 2 / LENGTH, 1, x, y), AIOS_CORRUPT, "delete it");
    aios_dataset_close(d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_range_is_the_same_samples_as_one_by_one),
        TEST(a_range_beyond_the_epoch_is_refused),
        TEST(threads_that_claim_chunks_read_every_sample_once),
        TEST(a_state_file_serves_no_other_order_of_samples),
        TEST(the_next_chunk_is_in_memory_before_it_is_read),
        TEST(wishes_of_many_threads_end_with_the_dataset),
        TEST(damage_is_told_by_reading_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
