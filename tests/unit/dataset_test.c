/* What a dataset promises: every sample once, the same ones again, bounded memory, and a cache that is right or made anew. */
#include "base/os.h"
#include "base/rng.h"
#include "counted.h"
#include "data/encoder.h"
#include "data/token_store.h"
#include "folder.h"

#include <aios/dataset.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SEED 20261121u
#define BPE  TEST_SOURCE_DIR "/data/bpe"

static aios_context *context;
static aios_tokenizer *bytes;
static char *folder, cache[TEST_PATH_MAX];
static int warnings;

static void count_warnings(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)message;
    warnings += level == AIOS_LOG_WARNING;
}

static int set_up(void **state)
{
    (void)state;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = count_warnings;
    warnings = 0;
    folder = test_folder_make();
    (void)snprintf(cache, sizeof cache, "%s", test_path(folder, "cache"));
    return aios_context_create(&options, &context) != AIOS_OK || aios_tokenizer_open(context, "bytes", &bytes) != AIOS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    aios_tokenizer_close(bytes);
    test_folder_remove(folder);
    aios_context_destroy(context);
    return 0;
}

static const char *path_of(const char *name)
{
    return test_path(folder, name);
}

static void write_text(const char *name, const char *text)
{
    test_file_write(path_of(name), text, strlen(text));
}

/* count bytes "abc…" in a file. */
static void write_letters(const char *name, size_t count)
{
    char *text = malloc(count + 1);
    for (size_t i = 0; i < count; i++) text[i] = (char)('a' + i % 26);
    text[count] = 0;
    write_text(name, text);
    free(text);
}

static aios_dataset_options options_for(const char *name, int32_t length)
{
    static char path[TEST_PATH_MAX]; /* test_path's are used again after some calls */
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    o.path = path;
    o.tokenizer = bytes;
    o.cache_folder = cache;
    o.sequence_length = length;
    o.seed = SEED;
    o.shuffle = 0;
    return o;
}

static aios_dataset *open_dataset(const aios_dataset_options *o)
{
    aios_dataset *d;
    assert_ok(aios_dataset_open(context, o, &d));
    return d;
}

static int files_in_cache(void)
{
    return os_path_kind(cache) == OS_FOLDER ? test_folder_count(context, cache) : 0;
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static void samples_are_the_tokens_in_order_and_labels_the_next_ones(void **state)
{
    (void)state;
    write_letters("a.txt", 10); /* 11 tokens with the end of text: 10 labels */
    aios_dataset_options o = options_for("a.txt", 4);
    aios_dataset *d = open_dataset(&o);
    int32_t inputs[4], labels[4];
    static const int32_t last_inputs[] = {'i', 'j', 256, 256}, last_labels[] = {'j', 256, -100, -100};
    assert_int_equal(aios_dataset_tokens(d), 11);
    assert_int_equal(aios_dataset_document_count(d), 1);
    assert_int_equal(aios_dataset_text_bytes(d), 10);
    assert_int_equal(aios_dataset_count(d), 3);
    assert_int_equal(aios_dataset_sequence_length(d), 4);
    for (uint64_t i = 0; i < 2; i++) {
        assert_ok(aios_dataset_read(d, i, inputs, labels));
        for (int32_t k = 0; k < 4; k++) {
            assert_int_equal(inputs[k], 'a' + (int32_t)i * 4 + k);
            assert_int_equal(labels[k], 'a' + (int32_t)i * 4 + k + 1);
        }
    }
    assert_ok(aios_dataset_read(d, 2 + 3 * 5, inputs, labels)); /* of the sixth epoch */
    assert_memory_equal(inputs, last_inputs, sizeof inputs);
    assert_memory_equal(labels, last_labels, sizeof labels);
    aios_dataset_close(d);
}

static void every_token_but_the_first_is_a_label_once(void **state)
{
    (void)state;
    for (size_t size = 1; size < 40; size++) {
        write_letters("a.txt", size);
        aios_dataset_options o = options_for("a.txt", 8);
        aios_dataset *d = open_dataset(&o);
        uint64_t seen = 0;
        assert_int_equal(aios_dataset_count(d), (size + 7) / 8);
        for (uint64_t i = 0; i < aios_dataset_count(d); i++) {
            int32_t inputs[8], labels[8];
            assert_ok(aios_dataset_read(d, i, inputs, labels));
            for (int k = 0; k < 8; k++) {
                if (labels[k] == AIOS_IGNORED_LABEL) continue;
                seen++;
                assert_int_equal(labels[k], seen < size ? 'a' + (int32_t)(seen % 26) : 256);
            }
        }
        assert_int_equal(seen, size);
        aios_dataset_close(d);
    }
}

static void a_corpus_shorter_than_a_sample_is_one_sample(void **state)
{
    (void)state;
    write_text("a.txt", "x");
    aios_dataset_options o = options_for("a.txt", 16);
    o.eval_fraction = 0.1;
    aios_dataset *d = open_dataset(&o), *held;
    int32_t inputs[16], labels[16];
    assert_int_equal(aios_dataset_count(d), 1);
    assert_ok(aios_dataset_read(d, 0, inputs, labels));
    assert_int_equal(inputs[0], 'x');
    assert_int_equal(labels[0], 256);
    assert_int_equal(labels[1], AIOS_IGNORED_LABEL);
    assert_int_equal(inputs[15], 256);
    assert_fails(aios_dataset_open_split(d, AIOS_SPLIT_EVAL, 0, 0, &held), AIOS_OUT_OF_RANGE, "too few");
    assert_null(held);
    o.split = AIOS_SPLIT_EVAL;
    assert_fails(aios_dataset_open(context, &o, &held), AIOS_OUT_OF_RANGE, "too few");
    assert_null(held);
    aios_dataset_close(d);
}

static void documents_end_with_the_end_of_text(void **state)
{
    (void)state;
    write_text("a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"\"}\n{\"text\": \"c\"}\n");
    aios_dataset_options o = options_for("a.jsonl", 8);
    aios_dataset *d = open_dataset(&o);
    int32_t inputs[8], labels[8];
    static const int32_t expected[] = {'a', 'b', 256, 'c', 256, 256, 256, 256};
    assert_int_equal(aios_dataset_tokens(d), 5);
    assert_int_equal(aios_dataset_document_count(d), 2);
    assert_ok(aios_dataset_read(d, 0, inputs, labels));
    assert_memory_equal(inputs, expected, sizeof inputs);
    aios_dataset_close(d);
}

static void nothing_to_learn_from_is_an_error(void **state)
{
    (void)state;
    aios_dataset *d;
    write_text("a.txt", "");
    aios_dataset_options o = options_for("a.txt", 8);
    assert_fails(aios_dataset_open(context, &o, &d), AIOS_OUT_OF_RANGE, "no text");
    assert_null(d);
    assert_int_equal(files_in_cache(), 0);
    o = options_for("nowhere", 8);
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_NOT_FOUND);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    aios_dataset *d;
    write_letters("a.txt", 10);
    const aios_dataset_options good = options_for("a.txt", 8);
    aios_dataset_options o = good;
    o.sequence_length = 0;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_OUT_OF_RANGE);
    assert_non_null(strstr(aios_error_message(), "sequence_length"));
    o = good;
    o.eval_fraction = 0.6;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_OUT_OF_RANGE);
    o.eval_fraction = (double)NAN;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_OUT_OF_RANGE);
    o = good;
    o.split = 3;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_INVALID_ARGUMENT);
    o = good;
    o.tokenizer = NULL;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_INVALID_ARGUMENT);
    o = good;
    o.path = NULL;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_INVALID_ARGUMENT);
    o = good;
    o.struct_size = 0;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_ABI_MISMATCH);
    assert_int_equal(aios_dataset_open(context, NULL, &d), AIOS_INVALID_ARGUMENT);
    aios_dataset_close(NULL);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static void an_epoch_has_every_sample_once_in_an_order_of_its_own(void **state)
{
    (void)state;
    write_letters("a.txt", 8 * 100);
    aios_dataset_options o = options_for("a.txt", 8);
    o.shuffle = 1;
    aios_dataset *d = open_dataset(&o), *again = open_dataset(&o), *other;
    uint64_t same_as_before = 0, same_as_other = 0, count = aios_dataset_count(d);
    assert_ok(aios_dataset_open_split(d, AIOS_SPLIT_ALL, 1, SEED + 1, &other));
    assert_int_equal(count, 100);
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        unsigned char seen[100] = {0};
        for (uint64_t i = 0; i < count; i++) {
            uint64_t order = epoch * count + i, sample = aios_dataset_sample(d, order);
            assert_true(sample < count);
            assert_int_equal(seen[sample]++, 0);
            assert_int_equal(aios_dataset_sample(again, order), sample);
            same_as_before += sample == aios_dataset_sample(d, i);
            same_as_other += sample == aios_dataset_sample(other, order);
        }
    }
    /* 100 of epoch 0 with itself; else about one per epoch is the same by chance, and 15 is far beyond that */
    assert_true(same_as_before < 115);
    assert_true(same_as_other < 15);
    assert_true(aios_dataset_sample(d, UINT64_MAX) < count);
    aios_dataset_close(other);
    aios_dataset_close(again);
    aios_dataset_close(d);
}

static void check_splits(size_t letters, double fraction)
{
    write_letters("a.txt", letters);
    aios_dataset_options o = options_for("a.txt", 4);
    o.eval_fraction = fraction;
    aios_dataset *all = open_dataset(&o), *train, *held = NULL;
    assert_ok(aios_dataset_open_split(all, AIOS_SPLIT_TRAIN, 1, SEED, &train));
    uint64_t count = aios_dataset_count(all), trained = aios_dataset_count(train), kept = count - trained;
    if (kept) assert_ok(aios_dataset_open_split(all, AIOS_SPLIT_EVAL, 0, SEED, &held));
    unsigned char *seen = calloc(count, 1);
    assert_int_equal(aios_dataset_count(held), kept);
    assert_int_equal(kept, (uint64_t)(fraction * (double)count + 1e-9));
    for (uint64_t i = 0; i < trained; i++) assert_int_equal(seen[aios_dataset_sample(train, i)]++, 0);
    for (uint64_t i = 0; i < kept; i++) assert_int_equal(seen[aios_dataset_sample(held, i)]++, 0);
    for (uint64_t i = 0; i < count; i++) assert_int_equal(seen[i], 1);
    uint64_t train_bytes, held_bytes = 0, all_bytes, summed = 0;
    assert_ok(aios_dataset_split_bytes(all, &all_bytes));
    assert_ok(aios_dataset_split_bytes(train, &train_bytes));
    if (held) assert_ok(aios_dataset_split_bytes(held, &held_bytes));
    assert_int_equal(all_bytes, letters - 1); /* the first is no label */
    assert_int_equal(train_bytes + held_bytes, all_bytes);
    for (uint64_t i = 0; i < kept; i++) {
        int32_t inputs[4], labels[4];
        assert_ok(aios_dataset_read(held, i, inputs, labels));
        summed += aios_dataset_label_bytes(held, labels, 4);
    }
    assert_int_equal(summed, held_bytes);
    free(seen);
    aios_dataset_close(held);
    aios_dataset_close(train);
    aios_dataset_close(all);
}

static void splits_share_no_sample_and_lose_none(void **state)
{
    (void)state;
    static const double fractions[] = {0, 0.02, 0.1, 0.3, 0.333333, 0.5, 1e-9};
    static const size_t sizes[] = {1, 5, 8, 39, 400, 4001};
    for (size_t f = 0; f < COUNT_OF(fractions); f++)
        for (size_t s = 0; s < COUNT_OF(sizes); s++) check_splits(sizes[s], fractions[f]);
    write_letters("a.txt", 4 * 100);
    aios_dataset_options o = options_for("a.txt", 4);
    o.eval_fraction = 0.1;
    o.split = AIOS_SPLIT_EVAL;
    aios_dataset *held = open_dataset(&o);
    for (uint64_t i = 0; i < 10; i++) assert_int_equal(aios_dataset_sample(held, i), 10 * i + 9); /* of every ten the last */
    aios_dataset_close(held);
}

static void bytes_are_counted_exactly_for_any_tokenizer(void **state)
{
    (void)state;
    aios_tokenizer *bpe;
    static const char text[] = "To be, or not to be: that is the question.\nWhether 'tis nobler \xe2\x80\x94 \xff\n";
    write_text("a.txt", text);
    assert_ok(aios_tokenizer_open(context, BPE, &bpe));
    aios_dataset_options o = options_for("a.txt", 5);
    o.tokenizer = bpe;
    aios_dataset *d = open_dataset(&o);
    int32_t inputs[5], labels[5];
    uint64_t sum = 0, all;
    size_t first;
    assert_ok(aios_dataset_read(d, 0, inputs, labels));
    assert_ok(aios_tokenizer_decode(bpe, inputs, 1, NULL, 0, &first));
    for (uint64_t i = 0; i < aios_dataset_count(d); i++) {
        assert_ok(aios_dataset_read(d, i, inputs, labels));
        sum += aios_dataset_label_bytes(d, labels, 5);
    }
    assert_ok(aios_dataset_split_bytes(d, &all));
    assert_int_equal(aios_dataset_text_bytes(d), sizeof text - 1);
    assert_int_equal(sum, sizeof text - 1 - first);
    assert_int_equal(all, sum);
    aios_dataset_close(d);
    aios_tokenizer_close(bpe);
}

static void ids_above_16_bits_are_kept(void **state)
{
    (void)state;
    aios_tokenizer *large;
    char *text, *at;
    size_t size;
    assert_ok(os_file_read_all(context, TEST_SOURCE_DIR "/data/bpe_split/tokenizer.json", 1 << 20, &text, &size));
    at = strstr(text, "{\"id\":480,");
    assert_non_null(at);
    char *changed = malloc(size + 16);
    (void)snprintf(changed, size + 16, "%.*s{\"id\":70000,%s", (int)(at - text), text, at + 10);
    write_text("tokenizer.json", changed);
    assert_ok(aios_tokenizer_open(context, path_of("tokenizer.json"), &large));
    assert_int_equal(aios_tokenizer_end_of_text(large), 70000);
    write_text("a.txt", "hi");
    aios_dataset_options o = options_for("a.txt", 64);
    o.tokenizer = large;
    aios_dataset *d = open_dataset(&o);
    int32_t inputs[64], labels[64];
    assert_ok(aios_dataset_read(d, 0, inputs, labels));
    assert_int_equal(inputs[aios_dataset_tokens(d) - 1], 70000);
    assert_int_equal(labels[aios_dataset_tokens(d) - 2], 70000);
    aios_dataset_close(d);
    aios_tokenizer_close(large);
    aios_memory_free(context, text);
    free(changed);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static int32_t count_calls(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    ++*(int *)user;
    return 0;
}

/* Whether opening made the cache anew. */
static int builds(aios_dataset_options o)
{
    int calls = 0;
    o.progress = count_calls;
    o.progress_user = &calls;
    aios_dataset_close(open_dataset(&o));
    return calls > 0;
}

static void a_cache_is_used_again_while_nothing_changed(void **state)
{
    (void)state;
    aios_tokenizer *bpe;
    write_letters("a.txt", 1000);
    aios_dataset_options o = options_for("a.txt", 8);
    assert_true(builds(o));
    assert_false(builds(o));
    o.sequence_length = 16; /* of no concern to the tokens */
    assert_false(builds(o));
    assert_int_equal(files_in_cache(), 1);
    write_letters("a.txt", 1001);
    assert_true(builds(o));
    assert_false(builds(o));
    write_letters("a.txt", 1001); /* same size and text, written later */
    assert_true(builds(o));
    assert_int_equal(files_in_cache(), 1);
    assert_ok(aios_tokenizer_open(context, BPE, &bpe));
    o.tokenizer = bpe;
    assert_true(builds(o));
    o.tokenizer = bytes;
    assert_false(builds(o));
    assert_int_equal(files_in_cache(), 2);
    aios_tokenizer_close(bpe);
    assert_int_equal(warnings, 0);
}

static void tokens_made_without_bad_lines_do_not_serve_the_strict(void **state)
{
    (void)state;
    aios_dataset *d;
    write_text("a.jsonl", "{\"text\": \"ab\"}\nbad\n");
    aios_dataset_options o = options_for("a.jsonl", 8);
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "a.jsonl:2"));
    o.skip_bad_lines = 1;
    d = open_dataset(&o);
    assert_int_equal(aios_dataset_skipped(d), 1);
    assert_true(warnings > 0);
    aios_dataset_close(d);
    o.skip_bad_lines = 0;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_CORRUPT);
}

static char *cache_file(const aios_dataset_options *o, size_t *size)
{
    char *content;
    aios_dataset *d = open_dataset(o);
    char *path = strdup(aios_dataset_cache_path(d));
    aios_dataset_close(d);
    assert_ok(os_file_read_all(context, path, 1 << 20, &content, size));
    aios_memory_free(context, content);
    return path;
}

static void a_damaged_cache_is_found_and_made_again(void **state)
{
    (void)state;
    size_t size, got;
    write_letters("a.txt", 3000);
    aios_dataset_options o = options_for("a.txt", 8);
    char *path = cache_file(&o, &size), *good, *bad = malloc(size);
    assert_ok(os_file_read_all(context, path, 1 << 20, &good, &got));
    for (size_t at = 0; at < size; at += at < size - 400 ? 97 : 3) { /* tokens, table and trailer */
        memcpy(bad, good, size);
        bad[at] = (char)(bad[at] ^ 0x40);
        assert_ok(os_file_replace(path, bad, size));
        assert_true(builds(o));
    }
    static const size_t cuts[] = {0, 1, 100, 1000};
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        assert_ok(os_file_replace(path, good, i ? size - cuts[i] : 0));
        assert_true(builds(o));
    }
    assert_true(warnings > 10);
    assert_false(builds(o));
    aios_memory_free(context, good);
    free(bad);
    free(path);
}

static void damage_behind_an_open_store_is_told_when_read(void **state)
{
    (void)state;
    source_list sources;
    token_store *s;
    const char *path = path_of("store");
    int32_t tokens[8];
    write_letters("a.txt", 100000);
    assert_ok(source_list_open(context, path_of("a.txt"), &sources));
    store_wish wish = {bytes, &sources, "x", 0, NULL, NULL};
    assert_ok(store_build(context, path, &wish));
    assert_ok(store_open(context, path, &wish, &s));
    assert_non_null(s);
    os_file file;
    for (size_t b = 0; b < 4; b++) s->checked[b] = 0; /* as in a store too large to be checked when it is opened */
    char *content;
    size_t size;
    assert_ok(os_file_read_all(context, path, 1 << 20, &content, &size));
    content[70000] ^= 1;
    assert_ok(os_file_create(path, &file)); /* the same file, in place */
    assert_ok(os_file_write(file, content, size));
    os_file_close(&file);
    assert_ok(store_read(s, 0, 8, tokens));
    assert_int_equal(tokens[7], 'h');
    assert_int_equal(store_read(s, 33000, 8, tokens), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "delete it"));
    assert_int_equal(store_read(s, 32764, 8, tokens), AIOS_CORRUPT); /* across two blocks */
    aios_memory_free(context, content);
    store_close(s);
    source_list_free(&sources);
}

static int32_t stop_late(void *user, uint64_t done, uint64_t total)
{
    (void)total;
    (void)user;
    return done > 200000;
}

static void a_stop_leaves_nothing_behind(void **state)
{
    (void)state;
    aios_dataset *d;
    write_letters("a.txt", 1000000);
    aios_dataset_options o = options_for("a.txt", 8);
    o.progress = stop_late;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_STOPPED);
    assert_null(d);
    assert_int_equal(files_in_cache(), 0);
    o.progress = NULL;
    assert_true(builds(o));
}

/* What a process that was killed left goes with the next one that makes the same store, at once; what somebody writes stays. */
static void leftovers_of_the_dead_are_removed(void **state)
{
    (void)state;
    aios_dataset *d;
    char store[TEST_PATH_MAX], dead[TEST_PATH_MAX + 16], live[TEST_PATH_MAX + 16];
    os_file lock = OS_FILE_CLOSED;
    write_letters("a.txt", 1000);
    aios_dataset_options o = options_for("a.txt", 8);
    assert_ok(aios_dataset_open(context, &o, &d));
    (void)snprintf(store, sizeof store, "%s", aios_dataset_cache_path(d));
    aios_dataset_close(d);
    assert_ok(os_remove(store));
    (void)snprintf(dead, sizeof dead, "%s.tmp.1.a", store);
    (void)snprintf(live, sizeof live, "%s.tmp.1.b", store);
    assert_ok(os_file_replace(dead, "half", 4));
    assert_ok(os_lock_take(live, 0, &lock));
    assert_true(builds(o));
    assert_int_equal(os_path_kind(dead), OS_NOTHING);
    assert_int_equal(os_path_kind(live), OS_FILE);
    os_lock_release(&lock);
    assert_ok(os_remove(live));
}

static int32_t change_source(void *user, uint64_t done, uint64_t total)
{
    (void)total;
    if (done && *(int *)user) {
        *(int *)user = 0;
        write_letters("a.txt", 500000);
    }
    return 0;
}

static void a_source_that_changes_meanwhile_is_an_error(void **state)
{
    (void)state;
    aios_dataset *d;
    int todo = 1;
    write_letters("a.txt", 1000000);
    aios_dataset_options o = options_for("a.txt", 8);
    o.progress = change_source;
    o.progress_user = &todo;
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_CORRUPT);
    assert_non_null(strstr(aios_error_message(), "changed while"));
    assert_int_equal(files_in_cache(), 0);
}

static void a_temporary_cache_leaves_nothing_behind(void **state)
{
    (void)state;
    char *before = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL;
    write_letters("a.txt", 100);
    aios_dataset_options o = options_for("a.txt", 8);
    o.temporary_cache = 1;
    assert_ok(os_folder_create(cache));
    assert_int_equal(setenv("TMPDIR", cache, 1), 0);
    aios_dataset *d = open_dataset(&o);
    assert_int_equal(files_in_cache(), 0);
    assert_string_equal(aios_dataset_cache_path(d), "");
    assert_int_equal(aios_dataset_sample(d, 3), 3);
    aios_dataset_close(d);
    if (before)
        assert_int_equal(setenv("TMPDIR", before, 1), 0);
    else
        assert_int_equal(unsetenv("TMPDIR"), 0);
    free(before);
}

static void the_default_cache_is_the_users(void **state)
{
    (void)state;
    char expected[TEST_PATH_MAX + 8], lock[TEST_PATH_MAX + 80];
    char *before = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL;
    write_letters("a.txt", 100);
    aios_dataset_options o = options_for("a.txt", 8);
    o.cache_folder = NULL;
    assert_int_equal(setenv("XDG_CACHE_HOME", cache, 1), 0);
    aios_dataset *d = open_dataset(&o);
    (void)snprintf(expected, sizeof expected, "%s/aios/", cache);
    assert_memory_equal(aios_dataset_cache_path(d), expected, strlen(expected));
    (void)snprintf(lock, sizeof lock, "%s.lock", aios_dataset_cache_path(d));
    assert_ok(os_remove(aios_dataset_cache_path(d)));
    aios_dataset_close(d);
    assert_ok(os_folder_create(lock)); /* nothing can be written: a temporary one, with a warning */
    d = open_dataset(&o);
    assert_string_equal(aios_dataset_cache_path(d), "");
    assert_int_equal(warnings, 1);
    assert_int_equal(aios_dataset_sample(d, 3), 3);
    aios_dataset_close(d);
    (void)snprintf(expected, sizeof expected, "%s/aios", cache);
    o.cache_folder = expected; /* but a folder that is asked for has to be fit for it */
    assert_int_equal(aios_dataset_open(context, &o, &d), AIOS_IO);
    o.cache_folder = NULL;
    warnings = 0;
    write_text("file", "in the way");
    assert_int_equal(setenv("XDG_CACHE_HOME", path_of("file"), 1), 0);
    d = open_dataset(&o); /* can't be made: a temporary one, with a warning */
    assert_string_equal(aios_dataset_cache_path(d), "");
    assert_int_equal(warnings, 1);
    aios_dataset_close(d);
    o.cache_folder = ""; /* the same */
    d = open_dataset(&o);
    assert_int_equal(warnings, 2);
    aios_dataset_close(d);
    o.cache_folder = path_of("file/below");
    assert_int_not_equal(aios_dataset_open(context, &o, &d), AIOS_OK);
    if (before)
        assert_int_equal(setenv("XDG_CACHE_HOME", before, 1), 0);
    else
        assert_int_equal(unsetenv("XDG_CACHE_HOME"), 0);
    free(before);
}

static void the_identity_follows_the_text_not_the_place(void **state)
{
    (void)state;
    char first[65], *last = malloc(300001);
    aios_dataset *d;
    assert_ok(os_folder_create(path_of("one")));
    assert_ok(os_folder_create(path_of("two")));
    write_letters("one/a.txt", 300000);
    write_letters("two/a.txt", 300000);
    aios_dataset_options o = options_for("one", 8);
    d = open_dataset(&o);
    (void)snprintf(first, sizeof first, "%s", aios_dataset_identity(d));
    assert_int_equal(strlen(first), 64);
    aios_dataset_close(d);
    o = options_for("two", 8);
    d = open_dataset(&o);
    assert_string_equal(aios_dataset_identity(d), first);
    aios_dataset_close(d);
    memset(last, 'x', 300000);
    last[300000] = 0;
    for (int i = 0; i < 299999; i++) last[i] = (char)('a' + i % 26);
    write_text("two/a.txt", last); /* another last byte */
    d = open_dataset(&o);
    assert_string_not_equal(aios_dataset_identity(d), first);
    aios_dataset_close(d);
    free(last);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *read_all(void *user)
{
    const aios_dataset *d = user;
    int32_t inputs[8], labels[8];
    for (uint64_t i = 0; i < 2 * aios_dataset_count(d); i++) {
        if (aios_dataset_read(d, i, inputs, labels) != AIOS_OK) return user;
        if (inputs[0] != 'a' + (int32_t)(aios_dataset_sample(d, i) * 8 % 26)) return user;
    }
    return NULL;
}

static void *open_one(void *user)
{
    aios_dataset *d;
    if (aios_dataset_open(context, user, &d) != AIOS_OK) return user;
    void *failed = read_all(d) ? user : NULL;
    aios_dataset_close(d);
    return failed;
}

static void run_threads(void *(*run)(void *), void *user)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, run, user), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

static void several_threads_may_open_and_read(void **state)
{
    (void)state;
    write_letters("a.txt", 200000);
    aios_dataset_options o = options_for("a.txt", 8);
    o.shuffle = 1;
    run_threads(open_one, &o); /* one builds, the others wait */
    assert_int_equal(files_in_cache(), 1);
    aios_dataset *d = open_dataset(&o);
    run_threads(read_all, d);
    aios_dataset_close(d);
}

static void write_big_gzip(const char *name, size_t megabytes)
{
    static const char line[] = "the quick brown fox jumps over the lazy dog and says nothing much\n";
    char *text = malloc(1 << 20);
    gzFile file = gzopen(path_of(name), "wb1");
    assert_non_null(file);
    for (size_t i = 0; i < 1 << 20; i++) text[i] = line[i % (sizeof line - 1)];
    for (size_t i = 0; i < megabytes; i++) assert_int_equal(gzwrite(file, text, 1 << 20), 1 << 20);
    assert_int_equal(gzclose(file), Z_OK);
    free(text);
}

/* ---- no memory --------------------------------------------------------------------------------------------------- */

/* From nothing to a sample and back to text. */
static aios_status use_all(aios_context *own, const char *spec)
{
    aios_status status = AIOS_OK;
    aios_tokenizer *t = NULL;
    aios_dataset *d = NULL, *other = NULL;
    int32_t inputs[8], labels[8];
    char text[256];
    size_t size;
    uint64_t sum;
    ATTEMPT_QUIET(aios_tokenizer_open(own, spec, &t));
    aios_dataset_options o = options_for("in", 8);
    o.tokenizer = t;
    o.eval_fraction = 0.5;
    ATTEMPT_QUIET(aios_dataset_open(own, &o, &d));
    ATTEMPT_QUIET(aios_dataset_open_split(d, AIOS_SPLIT_EVAL, 1, 1, &other));
    ATTEMPT_QUIET(aios_dataset_split_bytes(other, &sum));
    ATTEMPT_QUIET(aios_dataset_read(other, 0, inputs, labels));
    ATTEMPT_QUIET(aios_tokenizer_decode(t, inputs, 8, text, sizeof text, &size));
    ATTEMPT_QUIET(aios_tokenizer_encode(t, text, size, inputs, 8, &size));
done:
    aios_dataset_close(other);
    aios_dataset_close(d);
    aios_tokenizer_close(t);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const specs[] = {BPE, TEST_SOURCE_DIR "/data/bpe_split"};
    assert_ok(os_folder_create(path_of("in")));
    write_text("in/a.jsonl", "{\"text\": \"some text\"}\n{\"input\": \"more\", \"output\": \"of it\"}\n");
    write_text("in/b.csv", "text,id\n\"and, more\",1\n");
    write_text("in/c.txt", "To be, or not to be: that is the question\n");
    write_big_gzip("in/d.txt.gz", 0);
    for (size_t s = 0; s < COUNT_OF(specs); s++) {
        aios_status status = AIOS_OUT_OF_MEMORY;
        int failed = 0;
        counted c = {0, 0, 0};
        for (long at = 1; at == 1 || c.asked >= c.fail_at; at++) {
            aios_context *own = counted_context(&c, at);
            status = use_all(own, specs[s]);
            aios_context_destroy(own);
            if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY) fail_msg("allocation %ld: %s", at, aios_error_message());
            failed += status != AIOS_OK;
            assert_int_equal(c.living, 0);
            assert_true(files_in_cache() <= 1);
            assert_ok(os_remove_tree(cache));
        }
        assert_int_equal(status, AIOS_OK); /* the last round: none failed any more */
        print_message("%d failures\n", failed);
        assert_true(failed > 50);
    }
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static long peak_kilobytes(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    long peak = 0;
    char line[256];
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld kB", &peak) == 1) break;
    if (file) (void)fclose(file);
    return peak;
}

static aios_status count_ids(void *user, const int32_t *ids, size_t count)
{
    (void)ids;
    *(uint64_t *)user += count;
    return AIOS_OK;
}

/* Reads and tokenizes without keeping the tokens; returns their number. */
static uint64_t stream_through(const char *name, const aios_tokenizer *t)
{
    source_list sources;
    reader *r;
    encoder *e;
    text_piece piece;
    int more;
    uint64_t count = 0;
    assert_ok(source_list_open(context, path_of(name), &sources));
    assert_ok(reader_open(context, &sources, NULL, &r));
    assert_ok(encoder_create(t, 1, count_ids, &count, &e));
    for (;;) {
        assert_ok(reader_next(r, &piece, &more));
        if (!more) break;
        assert_ok(encoder_add(e, piece.bytes, piece.size));
        if (piece.ends) assert_ok(encoder_end(e));
    }
    encoder_destroy(e);
    reader_close(r);
    source_list_free(&sources);
    return count;
}

static void memory_stays_bounded_however_large_the_corpus(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    size_t megabytes = 20;
    int measured = 0;
#else
    size_t megabytes = 300;
    int measured = 1;
#endif
    aios_tokenizer *bpe;
    assert_ok(aios_tokenizer_open(context, BPE, &bpe));
    write_big_gzip("big.txt.gz", megabytes);
    write_big_gzip("medium.txt.gz", megabytes / 10);
    long before = peak_kilobytes();
    assert_int_equal(stream_through("big.txt.gz", bytes), (uint64_t)megabytes << 20);
    aios_dataset_options o = options_for("medium.txt.gz", 128);
    o.tokenizer = bpe;
    aios_dataset *d = open_dataset(&o);
    assert_int_equal(aios_dataset_text_bytes(d), (uint64_t)(megabytes / 10) << 20);
    long grown = peak_kilobytes() - before;
    print_message("%ld KiB of memory\n", grown);
    if (measured) assert_true(grown < 64 << 10);
    aios_dataset_close(d);
    aios_tokenizer_close(bpe);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_stays_bounded_however_large_the_corpus),
        TEST(samples_are_the_tokens_in_order_and_labels_the_next_ones),
        TEST(every_token_but_the_first_is_a_label_once),
        TEST(a_corpus_shorter_than_a_sample_is_one_sample),
        TEST(documents_end_with_the_end_of_text),
        TEST(nothing_to_learn_from_is_an_error),
        TEST(wrong_options_are_named),
        TEST(an_epoch_has_every_sample_once_in_an_order_of_its_own),
        TEST(splits_share_no_sample_and_lose_none),
        TEST(bytes_are_counted_exactly_for_any_tokenizer),
        TEST(ids_above_16_bits_are_kept),
        TEST(a_cache_is_used_again_while_nothing_changed),
        TEST(tokens_made_without_bad_lines_do_not_serve_the_strict),
        TEST(a_damaged_cache_is_found_and_made_again),
        TEST(damage_behind_an_open_store_is_told_when_read),
        TEST(a_stop_leaves_nothing_behind),
        TEST(leftovers_of_the_dead_are_removed),
        TEST(a_source_that_changes_meanwhile_is_an_error),
        TEST(a_temporary_cache_leaves_nothing_behind),
        TEST(the_default_cache_is_the_users),
        TEST(the_identity_follows_the_text_not_the_place),
        TEST(several_threads_may_open_and_read),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
