/* What tokenizers promise.  Expected ids come from tests/reference/tokenizer.json, made by two other implementations. */
#include "base/json.h"
#include "base/os.h"
#include "base/rng.h"
#include "data/digest.h"
#include "data/encoder.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>

#define DATA TEST_SOURCE_DIR "/data"
#define SEED 20261121u

static aios_context *context;
static char *folder;

static int set_up(void **state)
{
    (void)state;
    context = test_context();
    folder = test_folder_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_folder_remove(folder);
    aios_context_destroy(context);
    return 0;
}

static aios_tokenizer *open_tokenizer(const char *spec)
{
    aios_tokenizer *t;
    assert_ok(aios_tokenizer_open(context, spec, &t));
    return t;
}

/* NULL with a message where the data folder is not at hand. */
static aios_tokenizer *open_gpt2(void)
{
    char path[1024];
    const char *data = getenv("AIOS_TEST_DATA");
    (void)snprintf(path, sizeof path, "%s/gpt2", data ? data : "");
    if (data && os_path_kind(path) == OS_FOLDER) return open_tokenizer(path);
    print_message("AIOS_TEST_DATA/gpt2 is not there: GPT-2's vocabulary is not tested\n");
    return NULL;
}

static int32_t *encode(const aios_tokenizer *t, const char *text, size_t size, size_t *count)
{
    int32_t *ids = malloc((size + 1) * sizeof *ids);
    assert_ok(aios_tokenizer_encode(t, text, size, ids, size + 1, count));
    assert_true(*count <= size + 1);
    return ids;
}

static void write_file(const char *name, const char *text)
{
    test_file_write(test_path(folder, name), text, strlen(text));
}

static void remove_file(const char *name)
{
    assert_ok(os_remove(test_path(folder, name)));
}

static char *read_text(const char *path)
{
    char *text;
    size_t size;
    assert_ok(os_file_read_all(context, path, 1 << 20, &text, &size));
    return text;
}

/* ---- the reference ----------------------------------------------------------------------------------------------- */

static size_t from_hex(const char *hex, char *to)
{
    size_t count = strlen(hex) / 2;
    for (size_t i = 0; i < count; i++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        to[i] = (char)byte;
    }
    return count;
}

static void check_reference(const aios_tokenizer *t, const char *name)
{
    json_t *root, *cases;
    size_t checked = 0;
    assert_ok(json_read_file(context, TEST_SOURCE_DIR "/reference/tokenizer.json", NULL, &root));
    assert_ok(json_get_array(root, "cases", &cases));
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *one = json_array_get(cases, c), *expected = json_object_get(json_object_get(one, "ids"), name);
        const char *hex = json_string_value(json_object_get(one, "text"));
        char text[4096];
        size_t count, size = from_hex(hex, text);
        if (!expected) continue;
        int32_t *ids = encode(t, text, size, &count);
        if (count != json_array_size(expected))
            fail_msg("%s, text %s: %zu ids instead of %zu", name, hex, count, json_array_size(expected));
        for (size_t i = 0; i < count; i++)
            if (ids[i] != json_integer_value(json_array_get(expected, i))) fail_msg("%s, text %s: id %zu is %d", name, hex, i, (int)ids[i]);
        free(ids);
        checked++;
    }
    json_decref(root);
    assert_true(checked > 80);
}

static void ids_are_those_of_other_implementations(void **state)
{
    (void)state;
    aios_tokenizer *t = open_tokenizer(DATA "/bpe");
    check_reference(t, "bpe");
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 481);
    assert_int_equal(aios_tokenizer_end_of_text(t), 480);
    aios_tokenizer_close(t);
    t = open_tokenizer(DATA "/bpe_split/tokenizer.json");
    check_reference(t, "bpe_split");
    assert_int_equal(aios_tokenizer_end_of_text(t), 480);
    aios_tokenizer_close(t);
    if (!(t = open_gpt2())) return;
    check_reference(t, "gpt2");
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 50257);
    assert_int_equal(aios_tokenizer_end_of_text(t), 50256);
    aios_tokenizer_close(t);
}

static void a_space_is_put_before_the_text_where_the_files_say_so(void **state)
{
    (void)state;
    char *vocab = read_text(DATA "/bpe/vocab.json"), *merges = read_text(DATA "/bpe/merges.txt");
    write_file("vocab.json", vocab);
    write_file("merges.txt", merges);
    write_file("tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\", \"add_prefix_space\": true}");
    aios_tokenizer *t = open_tokenizer(folder);
    check_reference(t, "prefixed");
    aios_tokenizer_close(t);
    write_file("tokenizer_config.json", "{\"tokenizer_class\": \"CLIPTokenizer\"}");
    assert_int_equal(aios_tokenizer_open(context, folder, &t), AIOS_UNSUPPORTED);
    assert_non_null(strstr(aios_error_message(), "CLIPTokenizer"));
    write_file("tokenizer_config.json", "{\"eos_token\": {\"content\": \"th\"}}");
    t = open_tokenizer(folder);
    assert_int_equal(aios_tokenizer_end_of_text(t), aios_tokenizer_find(t, "th", 2));
    aios_tokenizer_close(t);
    remove_file("tokenizer_config.json");
    remove_file("vocab.json");
    remove_file("merges.txt");
    aios_memory_free(context, vocab);
    aios_memory_free(context, merges);
}

/* ---- any bytes, in any pieces ------------------------------------------------------------------------------------ */

static size_t random_text(rng *r, char *to, size_t most)
{
    static const char *const parts[] = {"the ",     " and", "\n\n",  "   ", "'ll",          "'",   "\xe4\xbd\xa0", "\xf0\x9f\x98\x80",
                                        "\xc3\xa9", "123",  "\t \t", "!?",  "\xe2\x80\x83", "\r\n"};
    size_t size = 0, wanted = (size_t)rng_below(r, most);
    while (size + 4 < wanted) {
        uint64_t kind = rng_below(r, 8);
        if (kind == 0) {
            to[size++] = (char)rng_below(r, 256);
        } else if (kind == 1) {
            to[size++] = (char)('a' + rng_below(r, 26));
        } else {
            const char *part = parts[rng_below(r, COUNT_OF(parts))];
            memcpy(to + size, part, strlen(part));
            size += strlen(part);
        }
    }
    return size;
}

static void check_round_trip(const aios_tokenizer *t, const char *text, size_t size)
{
    size_t count, length;
    int32_t *ids = encode(t, text, size, &count);
    char *back = malloc(size + 1);
    assert_ok(aios_tokenizer_decode(t, ids, count, back, size, &length));
    assert_int_equal(length, size);
    assert_memory_equal(back, text, size);
    free(back);
    free(ids);
}

static void decoding_gives_back_any_bytes(void **state)
{
    (void)state;
    aios_tokenizer *tokenizers[] = {open_tokenizer("bytes"), open_tokenizer(DATA "/bpe"), open_tokenizer(DATA "/bpe_split"), open_gpt2()};
    rng r;
    rng_init(&r, SEED, 1);
    print_message("seed %u\n", SEED);
    for (int i = 0; i < 2000; i++) {
        char text[400];
        size_t size = random_text(&r, text, sizeof text);
        for (size_t k = 0; k < COUNT_OF(tokenizers); k++)
            if (tokenizers[k]) check_round_trip(tokenizers[k], text, size);
    }
    for (size_t k = 0; k < COUNT_OF(tokenizers); k++) aios_tokenizer_close(tokenizers[k]);
}

typedef struct id_list {
    int32_t *ids;
    size_t count, capacity;
} id_list;

static aios_status collect(void *user, const int32_t *ids, size_t count)
{
    id_list *list = user;
    TRY_QUIET(aios_memory_grow(context, (void **)&list->ids, &list->capacity, list->count + count, sizeof *list->ids));
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return AIOS_OK;
}

static void check_pieces(const aios_tokenizer *t, rng *r, const char *text, size_t size, size_t piece_most)
{
    size_t count;
    int32_t *ids = encode(t, text, size, &count);
    id_list list = {NULL, 0, 0};
    encoder *e;
    assert_ok(encoder_create(t, 1, collect, &list, &e));
    for (size_t at = 0; at < size;) {
        size_t piece = 1 + (size_t)rng_below(r, piece_most);
        if (piece > size - at) piece = size - at;
        assert_ok(encoder_add(e, text + at, piece));
        at += piece;
    }
    assert_ok(encoder_end(e));
    assert_int_equal(list.count, count);
    if (count) assert_memory_equal(list.ids, ids, count * sizeof *ids);
    encoder_destroy(e);
    aios_memory_free(context, list.ids);
    free(ids);
}

static void ids_do_not_depend_on_the_pieces_in_which_a_document_comes(void **state)
{
    (void)state;
    aios_tokenizer *tokenizers[] = {open_tokenizer("bytes"), open_tokenizer(DATA "/bpe"), open_tokenizer(DATA "/bpe_split")};
    rng r;
    rng_init(&r, SEED, 2);
    for (int i = 0; i < 1000; i++) {
        char text[300];
        size_t size = random_text(&r, text, sizeof text);
        for (size_t k = 0; k < COUNT_OF(tokenizers); k++) check_pieces(tokenizers[k], &r, text, size, 1 + (size_t)i % 40);
    }
    for (size_t k = 0; k < COUNT_OF(tokenizers); k++) aios_tokenizer_close(tokenizers[k]);
}

static void words_longer_than_the_window_are_cut_and_lose_nothing(void **state)
{
    (void)state;
    static const char *const units[] = {"a", "\xe4\xbd\xa0", " ", "=", "\n", "9"};
    aios_tokenizer *t = open_tokenizer(DATA "/bpe"), *split = open_tokenizer(DATA "/bpe_split");
    size_t size = 2 * ENCODER_WINDOW + 1234;
    char *text = malloc(size);
    rng r;
    rng_init(&r, SEED, 3);
    for (size_t u = 0; u < COUNT_OF(units); u++) {
        size_t unit = strlen(units[u]), whole = size / unit * unit;
        for (size_t i = 0; i < whole; i++) text[i] = units[u][i % unit];
        check_round_trip(t, text, whole);
        check_pieces(t, &r, text, whole, 100000);
        check_pieces(split, &r, text, whole, 100000);
    }
    free(text);
    aios_tokenizer_close(t);
    aios_tokenizer_close(split);
}

static void every_text_of_the_plays_comes_back(void **state)
{
    (void)state;
    char path[1024], *text;
    size_t size;
    aios_tokenizer *t = open_gpt2();
    if (!t) skip();
    (void)snprintf(path, sizeof path, "%s/text/tinyshakespeare.txt", getenv("AIOS_TEST_DATA"));
    assert_ok(os_file_read_all(context, path, 1 << 24, &text, &size));
    double start = os_now();
    size_t count;
    int32_t *ids = encode(t, text, size, &count);
    print_message("%.1f MB/s\n", (double)size / 1e6 / (os_now() - start));
    assert_int_equal(count, 338025); /* tiktoken's and tokenizers' count */
    free(ids);
    check_round_trip(t, text, size);
    aios_memory_free(context, text);
    aios_tokenizer_close(t);
}

/* ---- bytes, counts, special tokens ------------------------------------------------------------------------------- */

static void bytes_are_their_own_ids(void **state)
{
    (void)state;
    aios_tokenizer *t = open_tokenizer("bytes");
    int32_t ids[4], with_end[] = {'a', 256, 'b'};
    char text[4];
    size_t count;
    assert_int_equal(aios_tokenizer_vocabulary_size(t), 257);
    assert_int_equal(aios_tokenizer_end_of_text(t), 256);
    assert_string_equal(aios_tokenizer_name(t), "bytes");
    assert_ok(aios_tokenizer_encode(t, "a\0\xff", 3, ids, 4, &count));
    assert_int_equal(count, 3);
    assert_int_equal(ids[0], 97);
    assert_int_equal(ids[1], 0);
    assert_int_equal(ids[2], 255);
    assert_ok(aios_tokenizer_decode(t, with_end, 3, text, 4, &count));
    assert_int_equal(count, 2);
    assert_memory_equal(text, "ab", 2);
    with_end[1] = 257;
    assert_int_equal(aios_tokenizer_decode(t, with_end, 3, text, 4, &count), AIOS_OUT_OF_RANGE);
    with_end[1] = -1;
    assert_int_equal(aios_tokenizer_decode(t, with_end, 3, text, 4, &count), AIOS_OUT_OF_RANGE);
    assert_int_equal(count, 0);
    aios_tokenizer_close(t);
}

static void a_count_is_told_whatever_the_room(void **state)
{
    (void)state;
    aios_tokenizer *t = open_tokenizer(DATA "/bpe");
    static const char text[] = "to be, or not to be";
    int32_t all[32], some[3] = {-7, -7, -7};
    size_t count, need, length;
    char back[32];
    assert_ok(aios_tokenizer_encode(t, text, sizeof text - 1, NULL, 0, &need));
    assert_ok(aios_tokenizer_encode(t, text, sizeof text - 1, all, 32, &count));
    assert_int_equal(count, need);
    assert_ok(aios_tokenizer_encode(t, text, sizeof text - 1, some, 2, &count));
    assert_int_equal(count, need);
    assert_memory_equal(some, all, 2 * sizeof *some);
    assert_int_equal(some[2], -7);
    assert_ok(aios_tokenizer_decode(t, all, need, NULL, 0, &length));
    assert_int_equal(length, sizeof text - 1);
    memset(back, '#', sizeof back);
    assert_ok(aios_tokenizer_decode(t, all, need, back, 4, &length));
    assert_int_equal(length, sizeof text - 1);
    assert_memory_equal(back, "to b#", 5);
    assert_ok(aios_tokenizer_encode(t, NULL, 0, NULL, 0, &count));
    assert_int_equal(count, 0);
    assert_int_equal(aios_tokenizer_encode(t, NULL, 1, NULL, 0, &count), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_tokenizer_encode(t, text, 1, NULL, 1, &count), AIOS_INVALID_ARGUMENT);
    aios_tokenizer_close(t);
}

static void special_tokens_are_known_only_where_asked_for(void **state)
{
    (void)state;
    aios_tokenizer *t = open_tokenizer(DATA "/bpe");
    static const char text[] = "<|endoftext|>a<|endoftext|><|endof";
    int32_t ids[64];
    size_t count;
    char back[64];
    assert_ok(aios_tokenizer_encode(t, text, sizeof text - 1, ids, 64, &count));
    for (size_t i = 0; i < count; i++) assert_int_not_equal(ids[i], 480);
    assert_ok(aios_tokenizer_encode_special(t, text, sizeof text - 1, ids, 64, &count));
    assert_true(count > 4);
    assert_int_equal(ids[0], 480);
    assert_int_equal(ids[1], aios_tokenizer_find(t, "a", 1));
    assert_int_equal(ids[2], 480);
    assert_ok(aios_tokenizer_decode(t, ids, 3, back, sizeof back, &count));
    assert_int_equal(count, 1); /* special tokens become nothing */
    assert_int_equal(back[0], 'a');
    assert_int_equal(aios_tokenizer_find(t, "no such token", 13), -1);
    aios_tokenizer_close(t);
}

static void *encode_many(void *user)
{
    const aios_tokenizer *t = user;
    static const char text[] = "All the world's a stage, And all the men and women merely players";
    size_t first = 0;
    for (int i = 0; i < 200; i++) {
        int32_t ids[128];
        size_t count;
        if (aios_tokenizer_encode(t, text, sizeof text - 1, ids, 128, &count) != AIOS_OK || (i && count != first)) return user;
        first = count;
    }
    return NULL;
}

static void several_threads_may_use_one_tokenizer(void **state)
{
    (void)state;
    aios_tokenizer *t = open_tokenizer(DATA "/bpe");
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT_OF(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_many, t), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    aios_tokenizer_close(aios_tokenizer_retain(t));
    aios_tokenizer_close(t);
    aios_tokenizer_close(NULL);
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

static void a_saved_tokenizer_opens_as_the_same_one(void **state)
{
    (void)state;
    static const char *const specs[] = {"bytes", DATA "/bpe", DATA "/bpe/vocab.json", DATA "/bpe_split", DATA "/bpe_split/tokenizer.json"};
    for (size_t i = 0; i < COUNT_OF(specs); i++) {
        const char *target = test_path(folder, "saved");
        assert_ok(os_folder_create(target));
        aios_tokenizer *t = open_tokenizer(specs[i]), *again;
        assert_ok(aios_tokenizer_save(t, target));
        assert_non_null(aios_tokenizer_file_name(t, 0));
        assert_null(aios_tokenizer_file_name(t, 4));
        again = open_tokenizer(target);
        assert_string_equal(aios_tokenizer_identity(again), aios_tokenizer_identity(t));
        assert_int_equal(strlen(aios_tokenizer_identity(t)), 64);
        assert_int_equal(aios_tokenizer_vocabulary_size(again), aios_tokenizer_vocabulary_size(t));
        aios_tokenizer_close(t);
        aios_tokenizer_close(again);
        assert_ok(os_remove_tree(target));
    }
    aios_tokenizer *a = open_tokenizer(DATA "/bpe"), *b = open_tokenizer(DATA "/bpe_split");
    assert_string_not_equal(aios_tokenizer_identity(a), aios_tokenizer_identity(b));
    aios_tokenizer_close(a);
    aios_tokenizer_close(b);
}

/* ---- files that are wrong ---------------------------------------------------------------------------------------- */

static char *replace(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    if (!at) fail_msg("\"%s\" is not in the file that the test changes", old);
    size_t before = (size_t)(at - text), size = strlen(text) + strlen(new) + 1;
    char *made = malloc(size);
    memcpy(made, text, before);
    (void)snprintf(made + before, size - before, "%s%s", new, at + strlen(old));
    return made;
}

static void check_refused(const char *file, const char *text, const char *old, const char *new, aios_status wanted, const char *named)
{
    aios_tokenizer *t;
    char *changed = replace(text, old, new);
    write_file(file, changed);
    aios_status status = aios_tokenizer_open(context, folder, &t);
    if (status != wanted || !strstr(aios_error_message(), named))
        fail_msg("%s -> %s: status %d, %s", old, new, (int)status, aios_error_message());
    assert_null(t);
    free(changed);
}

static void what_tokenizer_json_asks_for_is_honoured_or_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *old, *new;
        aios_status status;
        const char *named;
    } cases[] = {
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", AIOS_UNSUPPORTED, "NFC"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", AIOS_UNSUPPORTED, "Unigram"},
        {"\"dropout\":null", "\"dropout\":0.1", AIOS_UNSUPPORTED, "dropout"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", AIOS_UNSUPPORTED, "byte_fallback"},
        {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", AIOS_UNSUPPORTED, "</w>"},
        {"\"behavior\":\"Isolated\"", "\"behavior\":\"MergedWithNext\"", AIOS_UNSUPPORTED, "MergedWithNext"},
        {"\"type\":\"Split\"", "\"type\":\"Whitespace\"", AIOS_UNSUPPORTED, "Whitespace"},
        {"\"type\":\"ByteLevel\",\"add_prefix_space\":false", "\"type\":\"ByteLevel\",\"add_prefix_space\":true", AIOS_UNSUPPORTED,
         "add_prefix_space"},
        {"(?i:", "(?<=x)(?i:", AIOS_UNSUPPORTED, "group"},
        {"(?i:", "\\\\b(?i:", AIOS_UNSUPPORTED, "escape"},
        {"(?i:", "^(?i:", AIOS_UNSUPPORTED, "anchor"},
        {"(?i:", "x*|(?i:", AIOS_UNSUPPORTED, "nothing"},
        {"(?i:", "((?i:", AIOS_CORRUPT, "byte"},
        {"\"!\":0", "\"!\":1", AIOS_CORRUPT, "same id"},
        {"\"!\":0", "\"!!!!!\":0", AIOS_CORRUPT, "0x21"},
        {"\"!\":0", "\"!\":99999999", AIOS_OUT_OF_RANGE, "99999999"},
        {"\"!\":0", "\"!\":\"x\"", AIOS_CORRUPT, "integer"},
        {"\"merges\":[", "\"merges\":[[\"qq\",\"z\"],", AIOS_CORRUPT, "qq"},
        {"\"merges\":[", "\"merges\":[[\"q\"],", AIOS_CORRUPT, "merge number 0"},
        {"\"merges\":[", "\"merges\":[\"a b c\",", AIOS_CORRUPT, "one space"},
        {"\"model\":{", "\"nodel\":{", AIOS_CORRUPT, "model"},
        {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Metaspace\"", AIOS_UNSUPPORTED, "Metaspace"},
    };
    char *text = read_text(DATA "/bpe_split/tokenizer.json");
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_refused("tokenizer.json", text, cases[i].old, cases[i].new, cases[i].status, cases[i].named);
    aios_memory_free(context, text);
    write_file("tokenizer.json", "{\"model\": ");
    aios_tokenizer *t;
    assert_int_equal(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT);
    remove_file("tokenizer.json");
}

static void merges_may_be_written_either_way(void **state)
{
    (void)state;
    char *text = read_text(DATA "/bpe_split/tokenizer.json"), *changed = replace(text, "[[\"\xc4\xa0\",\"t\"]", "[\"\xc4\xa0 t\"");
    write_file("tokenizer.json", changed);
    aios_tokenizer *t = open_tokenizer(folder);
    check_reference(t, "bpe_split");
    aios_tokenizer_close(t);
    remove_file("tokenizer.json");
    aios_memory_free(context, text);
    free(changed);
}

static void wrong_vocab_and_merges_files_are_refused(void **state)
{
    (void)state;
    aios_tokenizer *t;
    char *vocab = read_text(DATA "/bpe/vocab.json"), *merges = read_text(DATA "/bpe/merges.txt");
    write_file("vocab.json", vocab);
    assert_int_equal(aios_tokenizer_open(context, folder, &t), AIOS_NOT_FOUND);
    assert_non_null(strstr(aios_error_message(), "merges.txt"));
    check_refused("merges.txt", merges, "#version: 0.2\n", "#version: 0.2\nab\n", AIOS_CORRUPT, "line 2");
    check_refused("merges.txt", merges, "#version: 0.2\n", "#version: 0.2\nzz q\n", AIOS_CORRUPT, "zz");
    check_refused("merges.txt", merges, "#version: 0.2\n", "#version: 0.2\n\xc4  q\n", AIOS_CORRUPT, "line 2");
    write_file("merges.txt", merges);
    check_refused("vocab.json", vocab, "\"!\": 0", "\"!\": 1", AIOS_CORRUPT, "same id");
    check_refused("vocab.json", vocab, "\"!\": 0", "\"!!!!\": 0", AIOS_CORRUPT, "0x21");
    write_file("vocab.json", "[1]");
    assert_int_equal(aios_tokenizer_open(context, folder, &t), AIOS_CORRUPT);
    remove_file("vocab.json");
    remove_file("merges.txt");
    assert_int_equal(aios_tokenizer_open(context, folder, &t), AIOS_NOT_FOUND);
    assert_int_equal(aios_tokenizer_open(context, "/nowhere/at/all", &t), AIOS_NOT_FOUND);
    assert_int_equal(aios_tokenizer_open(context, "", &t), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_tokenizer_open(context, NULL, &t), AIOS_INVALID_ARGUMENT);
    aios_memory_free(context, vocab);
    aios_memory_free(context, merges);
}

static void the_digest_is_sha256(void **state)
{
    (void)state;
    digest d;
    char text[DIGEST_TEXT];
    digest_init(&d);
    digest_add(&d, "abc", 3);
    digest_end(&d, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4's example */
    digest_init(&d);
    for (int i = 0; i < 1000; i++) digest_add(&d, "aaaaaaaaa", 9);
    for (int i = 0; i < 991; i++)
        digest_add(&d, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                   100);
    while (d.size < 1000000) digest_add(&d, "a", 1);
    digest_end(&d, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"); /* a million times "a" */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_is_sha256),
        cmocka_unit_test(ids_are_those_of_other_implementations),
        cmocka_unit_test(a_space_is_put_before_the_text_where_the_files_say_so),
        cmocka_unit_test(decoding_gives_back_any_bytes),
        cmocka_unit_test(ids_do_not_depend_on_the_pieces_in_which_a_document_comes),
        cmocka_unit_test(words_longer_than_the_window_are_cut_and_lose_nothing),
        cmocka_unit_test(every_text_of_the_plays_comes_back),
        cmocka_unit_test(bytes_are_their_own_ids),
        cmocka_unit_test(a_count_is_told_whatever_the_room),
        cmocka_unit_test(special_tokens_are_known_only_where_asked_for),
        cmocka_unit_test(several_threads_may_use_one_tokenizer),
        cmocka_unit_test(a_saved_tokenizer_opens_as_the_same_one),
        cmocka_unit_test(what_tokenizer_json_asks_for_is_honoured_or_refused_by_name),
        cmocka_unit_test(merges_may_be_written_either_way),
        cmocka_unit_test(wrong_vocab_and_merges_files_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
