/* What the tokenizers promise: every byte string comes back, and BPE gives GPT-2's ids. */
#include "base/json.h"
#include "base/rng.h"
#include "folder.h"

#include <aios/tokenizer.h>

/* A byte alphabet in GPT-2's spelling with a few merges: "he", "ll", "hell", "hello", " w" (written with U+0120). */
static void write_small(const char *folder, const char *extra_vocabulary, const char *merges)
{
    static char vocabulary[16384];
    size_t used = (size_t)snprintf(vocabulary, sizeof vocabulary, "{");
    int next = 256;
    for (int b = 0; b < 256; b++) {
        int printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174, code = printable ? b : next++;
        used += (size_t)snprintf(vocabulary + used, sizeof vocabulary - used, "\"\\u%04x\": %d, ", (unsigned)code, b);
    }
    used += (size_t)snprintf(vocabulary + used, sizeof vocabulary - used, "\"he\": 256, \"ll\": 257, \"hell\": 258, \"hello\": 259, \"\\u0120w\": 260%s}", extra_vocabulary);
    test_file_write(test_path(folder, "vocab.json"), vocabulary, used);
    test_file_write(test_path(folder, "merges.txt"), merges, strlen(merges));
}

#define MERGES "#version: 0.2\nh e\nl l\nhe ll\nhell o\n\xc4\xa0 w\n"

static size_t encode(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity)
{
    size_t count = 0;
    assert_ok(aios_tokenizer_encode(t, text, size, ids, capacity, &count));
    return count;
}

static void assert_round_trip(const aios_tokenizer *t, const char *text, size_t size)
{
    int32_t *ids = calloc(size + 1, sizeof *ids);
    char *back = calloc(size + 1, 1);
    size_t length = 0, count = encode(t, text, size, ids, size);
    assert_true(count <= size);
    assert_ok(aios_tokenizer_decode(t, ids, count, back, size, &length));
    assert_int_equal(length, size);
    assert_memory_equal(back, text, size);
    free(ids);
    free(back);
}

static void bytes_are_their_own_ids(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_tokenizer *t;
    int32_t ids[4];
    char all[256];
    assert_ok(aios_tokenizer_open(context, "bytes", &t));
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 257);
    assert_int_equal(aios_tokenizer_end_of_text(t), 256);
    assert_int_equal(encode(t, "a\xff", 2, ids, 4), 2);
    assert_int_equal(ids[0], 'a');
    assert_int_equal(ids[1], 255);
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    assert_round_trip(t, all, sizeof all);
    aios_tokenizer_close(t);
    aios_context_destroy(context);
}

static void a_capacity_that_is_too_small_tells_what_is_needed(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_tokenizer *t;
    int32_t ids[3] = {-1, -1, -1};
    char text[2] = {'x', 'x'};
    size_t size;
    assert_ok(aios_tokenizer_open(context, "bytes", &t));
    assert_int_equal(encode(t, "abcde", 5, ids, 2), 5);
    assert_int_equal(ids[1], 'b');
    assert_int_equal(ids[2], -1);
    assert_ok(aios_tokenizer_decode(t, (int32_t[]){'a', 256, 'b', 'c'}, 4, text, 1, &size));
    assert_int_equal(size, 3);
    assert_int_equal(text[1], 'x');
    assert_fails(aios_tokenizer_decode(t, (int32_t[]){257}, 1, text, 1, &size), AIOS_OUT_OF_RANGE, "257");
    aios_tokenizer_close(t);
    aios_context_destroy(context);
}

static void pairs_merge_by_rank_inside_words_only(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    aios_tokenizer *t;
    int32_t ids[32];
    write_small(folder, "", MERGES);
    assert_ok(aios_tokenizer_open(context, folder, &t));
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 261);
    assert_int_equal(encode(t, "hello we", 8, ids, 32), 3);
    assert_int_equal(ids[0], 259);
    assert_int_equal(ids[1], 260);
    assert_int_equal(ids[2], 'e');
    assert_int_equal(encode(t, "hel lo", 6, ids, 32), 5); /* he l, blank l o */
    assert_round_trip(t, "h\xc3( \xff\xfe he\0llo \xf0\x9f\x98", 18);
    aios_tokenizer_close(t);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    aios_tokenizer *t;
    char text[600];
    uint64_t seed = 20261121;
    rng r;
    write_small(folder, "", MERGES);
    assert_ok(aios_tokenizer_open(context, folder, &t));
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_init(&r, seed, 0);
    for (int round = 0; round < 400; round++) {
        static const char letters[] = "helo w\n\t'";
        size_t size = rng_below(&r, sizeof text);
        for (size_t i = 0; i < size; i++) text[i] = round % 2 ? (char)rng_u32(&r) : letters[rng_below(&r, sizeof letters - 1)];
        assert_round_trip(t, text, size);
    }
    aios_tokenizer_close(t);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void a_long_word_takes_no_quadratic_time(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    aios_tokenizer *t;
    size_t size = 2000000; /* a scan of all pairs for each merge would take hours */
    char *text = malloc(size);
    write_small(folder, "", MERGES);
    assert_ok(aios_tokenizer_open(context, folder, &t));
    for (size_t i = 0; i < size; i++) text[i] = "hello"[i % 5];
    assert_round_trip(t, text, size);
    free(text);
    aios_tokenizer_close(t);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void what_is_wrong_with_the_files_is_named(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    aios_tokenizer *t;
    assert_fails(aios_tokenizer_open(context, "/nowhere", &t), AIOS_NOT_FOUND, "/nowhere");
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_NOT_FOUND, "vocab.json");
    write_small(folder, ", \"x y\": 260", MERGES);
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT, "260");
    write_small(folder, ", \"zz\": 300", MERGES);
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT, "261");
    write_small(folder, "", "#version: 0.2\nh q\n");
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT, "hq");
    write_small(folder, "", "#version: 0.2\nhe\n");
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT, "two tokens");
    test_file_write(test_path(folder, "vocab.json"), "{\"a\": 0}", 8);
    assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT, "merge");
    assert_null(t);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

static void saving_and_opening_gives_the_same_tokenizer(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *from = test_folder_make(), *to = test_folder_make();
    aios_tokenizer *t, *again;
    write_small(from, "", MERGES);
    assert_ok(aios_tokenizer_open(context, from, &t));
    assert_ok(aios_tokenizer_save(t, to));
    assert_true(test_files_equal(context, test_path(from, "vocab.json"), test_path(to, "vocab.json")));
    assert_ok(aios_tokenizer_open(context, to, &again));
    assert_string_equal(aios_tokenizer_identity(t), aios_tokenizer_identity(again));
    aios_tokenizer_close(t);
    aios_tokenizer_close(again);
    test_folder_remove(to);
    to = test_folder_make();
    assert_ok(aios_tokenizer_open(context, "bytes", &t));
    assert_ok(aios_tokenizer_save(t, to));
    assert_ok(aios_tokenizer_open(context, to, &again));
    assert_string_equal(aios_tokenizer_name(again), "bytes");
    aios_tokenizer_close(t);
    aios_tokenizer_close(again);
    test_folder_remove(from);
    test_folder_remove(to);
    aios_context_destroy(context);
}

static void tokenizer_json_is_followed_or_refused(void **state)
{
    (void)state;
    aios_context *context = test_context();
    char *folder = test_folder_make();
    static const char *const parts[] = {
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}",
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\p{N}{1,3}| ?\\\\p{L}+|\\\\s+|.\"}, \"behavior\": \"Isolated\"}, "
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}",
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", "{\"type\": \"Whitespace\"}"};
    aios_tokenizer *t;
    char *vocabulary;
    size_t size;
    int32_t ids[32];
    write_small(folder, "", MERGES);
    assert_ok(os_file_read_all(context, test_path(folder, "vocab.json"), UINT64_MAX, &vocabulary, &size));
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        static char text[32768];
        int length = snprintf(text, sizeof text,
                              "{\"added_tokens\": [{\"id\": 261, \"content\": \"<|endoftext|>\", \"special\": true}], \"normalizer\": null, \"pre_tokenizer\": %s, "
                              "\"model\": {\"type\": \"BPE\", \"vocab\": %s, \"merges\": [\"h e\", \"l l\", [\"he\", \"ll\"], [\"hell\", \"o\"]]}}",
                              parts[i], vocabulary);
        test_file_write(test_path(folder, "tokenizer.json"), text, (size_t)length);
        if (i >= 2) {
            assert_fails(aios_tokenizer_open(context, folder, &t), AIOS_UNSUPPORTED, i == 2 ? "add_prefix_space" : "pre_tokenizer");
            continue;
        }
        assert_ok(aios_tokenizer_open(context, folder, &t));
        assert_int_equal(aios_tokenizer_end_of_text(t), 261);
        assert_int_equal(encode(t, "hello12345", 10, ids, 32), 6);
        assert_int_equal(ids[0], 259);
        assert_round_trip(t, "hello <|endoftext|> 12\xff", 23);
        aios_tokenizer_close(t);
    }
    aios_memory_free(context, vocabulary);
    test_folder_remove(folder);
    aios_context_destroy(context);
}

/* Ids that Hugging Face's tokenizers gave: tests/reference/tokenizer.py. */
static void gpt2_gives_the_ids_of_the_public_implementation(void **state)
{
    (void)state;
    const char *data = getenv("AIOS_TEST_DATA");
    char folder[TEST_PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/gpt2", data ? data : "");
    if (!data || os_path_kind(folder) != OS_FOLDER) {
        print_message("skipped: AIOS_TEST_DATA names no folder with gpt2/vocab.json and merges.txt\n");
        skip();
    }
    aios_context *context = test_context();
    aios_tokenizer *t;
    json_t *rows, *row;
    size_t index;
    assert_ok(aios_tokenizer_open(context, folder, &t));
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 50257);
    assert_int_equal(aios_tokenizer_end_of_text(t), 50256);
    assert_ok(json_read_file(context, TEST_SOURCE_DIR "/reference/gpt2_ids.json", NULL, &rows));
    assert_true(json_array_size(rows) > 20);
    json_array_foreach(rows, index, row) {
        const char *hex = json_string_value(json_object_get(row, "text"));
        const json_t *ids = json_object_get(row, "ids");
        char text[2048];
        int32_t got[2048];
        size_t size = strlen(hex) / 2;
        for (size_t i = 0; i < size; i++) text[i] = (char)strtol((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
        size_t count = encode(t, text, size, got, COUNT_OF(got));
        if (count != json_array_size(ids)) fail_msg("text %zu: %zu ids instead of %zu", index, count, json_array_size(ids));
        for (size_t i = 0; i < count; i++)
            if (got[i] != json_integer_value(json_array_get(ids, i))) fail_msg("text %zu: id %zu is %d", index, i, got[i]);
        assert_round_trip(t, text, size);
    }
    json_decref(rows);
    aios_tokenizer_close(t);
    aios_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_their_own_ids),
        cmocka_unit_test(a_capacity_that_is_too_small_tells_what_is_needed),
        cmocka_unit_test(pairs_merge_by_rank_inside_words_only),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(a_long_word_takes_no_quadratic_time),
        cmocka_unit_test(what_is_wrong_with_the_files_is_named),
        cmocka_unit_test(saving_and_opening_gives_the_same_tokenizer),
        cmocka_unit_test(tokenizer_json_is_followed_or_refused),
        cmocka_unit_test(gpt2_gives_the_ids_of_the_public_implementation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
