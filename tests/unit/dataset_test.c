/* What readers and datasets promise. */
#include "data/reader.h"
#include "folder.h"

#include <aios/dataset.h>

#include <zlib.h>

/* ---- readers ----------------------------------------------------------------------------------------------------- */

/* Documents joined by '|'. */
struct collected {
    char text[4096];
    size_t size;
};

static aios_status collect(void *user, const char *text, size_t size, int end)
{
    struct collected *c = user;
    if (c->size + size + 2 < sizeof c->text) {
        memcpy(c->text + c->size, text, size);
        c->size += size;
        if (end) c->text[c->size++] = '|';
        c->text[c->size] = 0;
    }
    return AIOS_OK;
}

static aios_status read_as(aios_context *context, const char *folder, const char *name, const char *text, struct collected *c)
{
    const reader_sink sink = {c, collect, NULL};
    const char *path = test_path(folder, name);
    *c = (struct collected){.size = 0};
    test_file_write(path, text, strlen(text));
    return reader_run(context, path, &sink);
}

static void every_format_gives_its_documents(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *documents;
    } cases[] = {
        {"a.txt", "\xef\xbb\xbfone\r\ntwo", "one\r\ntwo|"},
        {"a.md", "", "|"},
        {"a.jsonl", "{\"text\": \"one\"}\n\n{\"content\": \"tw\\no\", \"id\": 3}\r\n{\"input\": \"q\", \"output\": \"a\"}", "one|tw\no|q\na|"},
        {"b.jsonl", "\"plain\"\n{\"body\": \"x\", \"sentence\": \"y\"}\n", "plain|y|"},
        {"a.json", "[\n {\"text\": \"a ] } \\\" b\"},\n {\"article\": \"c\"}\n]\n", "a ] } \" b|c|"},
        {"b.json", "{\"document\": \"d\"}{\"output\": \"e\"}", "d|e|"},
        {"a.csv", "id,text\n1,\"a \"\"quoted\"\", comma\nand line\"\n2,plain\r\n", "a \"quoted\", comma\nand line|plain|"},
        {"b.csv", "input,x,output\r\nq,1,a\r\n", "q\na|"},
        {"a.tsv", "Text\tn\na, b\t1\n", "a, b|"},
    };
    aios_context *context = test_context();
    char *folder = test_folder_make();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct collected c;
        if (read_as(context, folder, cases[i].name, cases[i].text, &c) != AIOS_OK) fail_msg("%s: %s", cases[i].name, aios_error_message());
        assert_string_equal(c.text, cases[i].documents);
    }
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void a_bad_file_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        aios_status status;
        const char *message;
    } cases[] = {
        {"a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"\n", AIOS_CORRUPT, "a.jsonl:2"},
        {"b.jsonl", "{\"text\": \"a\"}\n\n{\"title\": \"b\"}\n", AIOS_CORRUPT, "b.jsonl:3"},
        {"a.json", "[{\"text\": \"a\"}", AIOS_CORRUPT, "not closed"},
        {"b.json", "nonsense", AIOS_CORRUPT, "b.json:1"},
        {"a.csv", "id,name\n1,2\n", AIOS_CORRUPT, "no column"},
        {"b.csv", "id,text\n1,\"open\n", AIOS_CORRUPT, "not closed"},
        {"c.csv", "id,text\n1\n", AIOS_CORRUPT, "c.csv:2"},
        {"a.parquet", "PAR1", AIOS_UNSUPPORTED, "jsonl"},
        {"a.tar.gz", "x", AIOS_UNSUPPORTED, "unpack"},
        {"bad.txt.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage", AIOS_CORRUPT, "bad.txt.gz"},
    };
    aios_context *context = test_context();
    char *folder = test_folder_make();
    struct collected c;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const reader_sink sink = {&c, collect, NULL};
        const char *path = test_path(folder, cases[i].name);
        size_t size = i == COUNT_OF(cases) - 1 ? 17 : strlen(cases[i].text);
        c = (struct collected){.size = 0};
        test_file_write(path, cases[i].text, size);
        assert_fails(reader_run(context, path, &sink), cases[i].status, cases[i].message);
    }
    assert_fails(reader_run(context, "/nowhere/x", &(reader_sink){&c, collect, NULL}), AIOS_NOT_FOUND, "/nowhere/x");
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void write_gzip(const char *path, const char *text, const char *mode)
{
    gzFile file = gzopen(path, mode);
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)strlen(text)), strlen(text));
    assert_int_equal(gzclose(file), Z_OK);
}

static void a_folder_is_read_in_order_and_unpacked(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    struct collected c = {.size = 0};
    const reader_sink sink = {&c, collect, NULL};
    assert_ok(os_folder_create(test_path(folder, "b")));
    test_file_write(test_path(folder, "c.txt"), "third", 5);
    test_file_write(test_path(folder, ".hidden"), "never", 5);
    write_gzip(test_path(folder, "a.txt.gz"), "first ", "wb");
    write_gzip(test_path(folder, "a.txt.gz"), "member", "ab");
    write_gzip(test_path(folder, "b/x.jsonl.gz"), "{\"text\": \"second\"}\n", "wb");
    assert_ok(reader_run(context, folder, &sink));
    assert_string_equal(c.text, "first member|second|third|");
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void a_truncated_gzip_file_is_told(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make(), *bytes;
    const char *path = test_path(folder, "t.txt.gz");
    struct collected c = {.size = 0};
    const reader_sink sink = {&c, collect, NULL};
    size_t size;
    write_gzip(path, "some text that is long enough to be cut in the middle of its compressed form", "wb");
    assert_ok(os_file_read_all(context, path, 1000, &bytes, &size));
    test_file_write(path, bytes, size - 12);
    assert_fails(reader_run(context, path, &sink), AIOS_CORRUPT, "too early");
    aios_memory_free(context, bytes);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

/* ---- datasets ---------------------------------------------------------------------------------------------------- */

struct fixture {
    aios_context *context;
    aios_tokenizer *tokenizer;
    char *folder, *cache;
    aios_dataset_options options;
    char path[TEST_PATH_MAX];
};

static void set_up(struct fixture *f, const char *text, size_t size)
{
    f->context = test_context();
    f->folder = test_folder_make();
    f->cache = test_folder_make();
    assert_ok(aios_tokenizer_open(f->context, "bytes", &f->tokenizer));
    (void)snprintf(f->path, sizeof f->path, "%s/corpus.txt", f->folder);
    test_file_write(f->path, text, size);
    f->options = (aios_dataset_options)AIOS_DATASET_OPTIONS_INIT;
    f->options.path = f->path;
    f->options.tokenizer = f->tokenizer;
    f->options.cache_folder = f->cache;
    f->options.sequence_length = 4;
    f->options.seed = 7;
}

static void tear_down(struct fixture *f)
{
    aios_tokenizer_close(f->tokenizer);
    test_folder_remove(f->folder);
    test_folder_remove(f->cache);
    aios_context_destroy(f->context);
}

static void labels_are_the_next_tokens_and_the_tail_is_ignored(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *d;
    int32_t x[4], y[4];
    set_up(&f, "abcdef", 6); /* a b c d e f end */
    f.options.shuffle = 0;
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    assert_int_equal(aios_dataset_tokens(d), 7);
    assert_int_equal(aios_dataset_count(d), 2);
    assert_ok(aios_dataset_read(d, 0, x, y));
    assert_memory_equal(x, ((int32_t[]){'a', 'b', 'c', 'd'}), sizeof x);
    assert_memory_equal(y, ((int32_t[]){'b', 'c', 'd', 'e'}), sizeof y);
    assert_ok(aios_dataset_read(d, 1, x, y));
    assert_memory_equal(x, ((int32_t[]){'e', 'f', 256, 256}), sizeof x);
    assert_memory_equal(y, ((int32_t[]){'f', 256, -100, -100}), sizeof y);
    aios_dataset_close(d);
    tear_down(&f);
}

/* Samples are told apart by their first token: the corpus is 0 1 2 … in steps of the sample's length. */
static void an_epoch_has_every_sample_once_in_an_order_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *train, *eval;
    char text[4 * 200];
    int seen[2][256] = {{0}}, moved = 0;
    int32_t x[4], y[4];
    for (int i = 0; i < 800; i++) text[i] = (char)(i / 4);
    set_up(&f, text, sizeof text);
    f.options.eval_fraction = 0.1;
    f.options.split = AIOS_SPLIT_TRAIN;
    assert_ok(aios_dataset_open(f.context, &f.options, &train));
    f.options.split = AIOS_SPLIT_EVAL;
    assert_ok(aios_dataset_open(f.context, &f.options, &eval));
    uint64_t n = aios_dataset_count(train), held = aios_dataset_count(eval);
    assert_int_equal(n + held, 200);
    assert_int_equal(held, 20);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        for (uint64_t i = 0; i < n; i++) {
            assert_ok(aios_dataset_read(train, epoch * n + i, x, y));
            seen[epoch][x[0]]++;
        }
        for (uint64_t i = 0; i < held; i++) {
            assert_ok(aios_dataset_read(eval, i, x, y));
            seen[epoch][x[0]]++;
        }
        for (int i = 0; i < 200; i++) assert_int_equal(seen[epoch][i], 1);
    }
    for (uint64_t i = 0; i < n; i++) {
        int32_t first, second;
        assert_ok(aios_dataset_read(train, i, x, y));
        first = x[0];
        assert_ok(aios_dataset_read(train, n + i, x, y));
        second = x[0];
        moved += first != second;
    }
    assert_true(moved > 150);
    aios_dataset_close(train);
    aios_dataset_close(eval);
    tear_down(&f);
}

static void the_cache_is_used_again_and_made_again_when_the_text_changes(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *d;
    char identity[32];
    set_up(&f, "some text", 9);
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    (void)snprintf(identity, sizeof identity, "%s", aios_dataset_identity(d));
    aios_dataset_close(d);
    assert_int_equal(test_folder_count(f.context, f.cache), 1);
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    assert_string_equal(identity, aios_dataset_identity(d));
    aios_dataset_close(d);
    assert_int_equal(test_folder_count(f.context, f.cache), 1);
    test_file_write(f.path, "other text!", 11);
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    assert_string_not_equal(identity, aios_dataset_identity(d));
    assert_int_equal(aios_dataset_tokens(d), 12);
    aios_dataset_close(d);
    tear_down(&f);
}

static aios_status damage(void *user, const char *name)
{
    const struct fixture *f = user;
    const char *path = test_path(f->cache, name);
    os_file file;
    assert_ok(os_file_append(path, &file));
    assert_ok(os_file_write(file, "x", 1));
    os_file_close(&file);
    return AIOS_OK;
}

static void a_damaged_cache_is_made_again(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *d;
    set_up(&f, "some text", 9);
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    aios_dataset_close(d);
    assert_ok(os_folder_list(f.context, f.cache, damage, &f));
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    assert_int_equal(aios_dataset_tokens(d), 10);
    aios_dataset_close(d);
    tear_down(&f);
}

static int32_t stop_at_once(void *user, uint64_t done, uint64_t total)
{
    (void)user, (void)done, (void)total;
    return 1;
}

static void a_stop_leaves_nothing_behind(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *d;
    set_up(&f, "some text", 9);
    f.options.progress = stop_at_once;
    assert_fails(aios_dataset_open(f.context, &f.options, &d), AIOS_STOPPED, "stopped");
    assert_null(d);
    assert_int_equal(test_folder_count(f.context, f.cache), 0);
    tear_down(&f);
}

static void no_text_and_too_little_text_are_told(void **state)
{
    (void)state;
    struct fixture f;
    aios_dataset *d;
    set_up(&f, "", 0);
    assert_fails(aios_dataset_open(f.context, &f.options, &d), AIOS_OUT_OF_RANGE, "no text");
    test_file_write(f.path, "abcdefgh", 8);
    f.options.eval_fraction = 0.01;
    f.options.split = AIOS_SPLIT_EVAL;
    assert_fails(aios_dataset_open(f.context, &f.options, &d), AIOS_OUT_OF_RANGE, "too few");
    f.options.eval_fraction = 0.9;
    assert_fails(aios_dataset_open(f.context, &f.options, &d), AIOS_OUT_OF_RANGE, "0.9");
    tear_down(&f);
}

/* The most memory that the process ever had, in KiB. */
static long most_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long most = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &most) == 1) break;
    if (file) (void)fclose(file);
    return most;
}

static void memory_does_not_grow_with_the_corpus(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: sanitizers keep memory of their own\n");
    skip();
#endif
    struct fixture f;
    aios_dataset *d;
    set_up(&f, "", 0);
    char line[1024];
    (void)snprintf(f.path, sizeof f.path, "%s/big.txt.gz", f.folder);
    gzFile file = gzopen(f.path, "wb1");
    for (int i = 0; i < (int)sizeof line; i++) line[i] = (char)(i % 6 == 5 ? ' ' : 'a' + i % 23);
    for (int i = 0; i < 150 * 1024; i++) assert_int_equal(gzwrite(file, line, sizeof line), (int)sizeof line);
    assert_int_equal(gzclose(file), Z_OK);
    long before = most_memory();
    assert_ok(aios_dataset_open(f.context, &f.options, &d));
    assert_int_equal(aios_dataset_tokens(d), 150 * 1048576 + 1);
    assert_true(most_memory() - before < 64 * 1024); /* buffers of a few MiB; 150 MiB of text, 300 MiB of tokens */
    aios_dataset_close(d);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_its_documents),
        cmocka_unit_test(a_bad_file_is_told_with_its_line),
        cmocka_unit_test(a_folder_is_read_in_order_and_unpacked),
        cmocka_unit_test(a_truncated_gzip_file_is_told),
        cmocka_unit_test(labels_are_the_next_tokens_and_the_tail_is_ignored),
        cmocka_unit_test(an_epoch_has_every_sample_once_in_an_order_of_its_own),
        cmocka_unit_test(the_cache_is_used_again_and_made_again_when_the_text_changes),
        cmocka_unit_test(a_damaged_cache_is_made_again),
        cmocka_unit_test(a_stop_leaves_nothing_behind),
        cmocka_unit_test(no_text_and_too_little_text_are_told),
        cmocka_unit_test(memory_does_not_grow_with_the_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
