/* What the readers of a corpus promise. */
#include "base/os.h"
#include "base/rng.h"
#include "data/reader.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

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

static const char *path_of(const char *name)
{
    return test_path(folder, name);
}

static void write_bytes(const char *name, const void *bytes, size_t size)
{
    test_file_write(path_of(name), bytes, size);
}

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

/* Appends a member, as gzip -c >> does. */
static void write_gzip(const char *name, const char *text, size_t size)
{
    gzFile file = gzopen(path_of(name), "ab");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, text, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

/* All documents, each followed by '|'. */
typedef struct outcome {
    aios_status status;
    char text[4096];
    size_t size, documents;
    uint64_t skipped, done;
} outcome;

static outcome read_with(const char *name, const reader_options *options)
{
    outcome o = {.status = AIOS_OK};
    source_list list;
    reader *r = NULL;
    o.status = source_list_open(context, path_of(name), &list);
    if (o.status != AIOS_OK) return o;
    assert_ok(reader_open(context, &list, options, &r));
    for (int more = 1; o.status == AIOS_OK && more;) {
        text_piece piece;
        o.status = reader_next(r, &piece, &more);
        if (o.status != AIOS_OK || !more) continue;
        assert_true(o.size + piece.size + 1 < sizeof o.text);
        if (piece.size) memcpy(o.text + o.size, piece.bytes, piece.size);
        o.size += piece.size;
        if (piece.ends) o.text[o.size++] = '|';
        o.documents += piece.ends != 0;
    }
    o.skipped = reader_skipped(r);
    o.done = reader_done(r);
    if (o.status == AIOS_OK) assert_int_equal(o.done, list.total);
    reader_close(r);
    source_list_free(&list);
    return o;
}

static void check_reads(const char *name, const char *expected)
{
    outcome o = read_with(name, NULL);
    if (o.status != AIOS_OK) fail_msg("%s: %s", name, aios_error_message());
    if (strcmp(o.text, expected) != 0) fail_msg("%s: read \"%s\" instead of \"%s\"", name, o.text, expected);
}

static void check_refuses(const char *name, aios_status status, const char *named)
{
    outcome o = read_with(name, NULL);
    if (o.status != status || !strstr(aios_error_message(), named))
        fail_msg("%s: status %d instead of %d, \"%s\" must name \"%s\"", name, (int)o.status, (int)status, aios_error_message(), named);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void a_text_file_is_one_document_as_it_stands(void **state)
{
    (void)state;
    write_text("a.txt", "one\r\ntwo\n\nthree");
    check_reads("a.txt", "one\r\ntwo\n\nthree|");
    write_text("b.txt", "\xef\xbb\xbfmarked \xef\xbb\xbf");
    check_reads("b.txt", "marked \xef\xbb\xbf|");
    write_text("README", "no extension");
    check_reads("README", "no extension|");
    write_text("empty.txt", "");
    check_reads("empty.txt", "|");
    write_bytes("nul.txt", "a\0b", 3);
    assert_int_equal(read_with("nul.txt", NULL).size, 4);
}

static void files_of_a_folder_come_in_order_without_hidden_ones(void **state)
{
    (void)state;
    assert_ok(os_folder_create(path_of("b/deep")));
    write_text("c.txt", "3");
    write_text("a.txt", "1");
    write_text("b/deep/x.jsonl", "{\"text\": \"2\"}\n{\"text\": \"2b\"}");
    write_text(".hidden.txt", "no");
    assert_ok(os_folder_create(path_of(".git")));
    write_text(".git/x.txt", "no");
    check_reads("", "1|2|2b|3|");
    assert_ok(os_folder_create(path_of("none")));
    check_refuses("none", AIOS_NOT_FOUND, "no file");
    check_refuses("nowhere", AIOS_NOT_FOUND, "nowhere");
}

static void what_is_no_text_is_refused_with_advice(void **state)
{
    (void)state;
    write_text("a.parquet", "PAR1");
    check_refuses("a.parquet", AIOS_UNSUPPORTED, ".jsonl");
    check_refuses("", AIOS_UNSUPPORTED, "a.parquet");
    assert_ok(os_remove(path_of("a.parquet")));
    write_text("a.7z", "x");
    check_refuses("a.7z", AIOS_UNSUPPORTED, "unpack");
    write_bytes("data.blob", "a\0b", 3);
    check_refuses("data.blob", AIOS_UNSUPPORTED, "data.blob");
    write_bytes("packed.txt", "\x1f\x8b\x08\0", 4);
    check_refuses("packed.txt", AIOS_UNSUPPORTED, ".gz");
}

/* ---- gzip -------------------------------------------------------------------------------------------------------- */

static void gzip_members_are_read_one_after_the_other(void **state)
{
    (void)state;
    write_gzip("a.txt.gz", "one ", 4);
    write_gzip("a.txt.gz", "two", 3);
    check_reads("a.txt.gz", "one two|");
    write_gzip("a.jsonl.gz", "{\"text\": \"x\"}\n", 14);
    check_reads("a.jsonl.gz", "x|");
    write_gzip("words.dict.dz", "meaning", 7);
    check_reads("words.dict.dz", "meaning|");
}

static void wrong_gzip_is_an_error(void **state)
{
    (void)state;
    char *packed, text[2000];
    size_t size;
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 26);
    write_gzip("a.txt.gz", text, sizeof text);
    assert_ok(os_file_read_all(context, path_of("a.txt.gz"), 10000, &packed, &size));
    for (size_t cut = 1; cut < size; cut += 7) {
        write_bytes("cut.txt.gz", packed, cut);
        assert_int_equal(read_with("cut.txt.gz", NULL).status, AIOS_CORRUPT);
    }
    check_refuses("cut.txt.gz", AIOS_CORRUPT, "cut off");
    packed[size / 2] ^= 0x55;
    write_bytes("bad.txt.gz", packed, size);
    check_refuses("bad.txt.gz", AIOS_CORRUPT, "bad.txt.gz");
    write_text("no.txt.gz", "plain");
    check_refuses("no.txt.gz", AIOS_CORRUPT, "not a gzip file");
    write_text("empty.txt.gz", "");
    check_refuses("empty.txt.gz", AIOS_CORRUPT, "empty");
    aios_memory_free(context, packed);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void json_lines_give_their_first_wanted_field(void **state)
{
    (void)state;
    write_text("a.jsonl", "\xef\xbb\xbf{\"id\": 1, \"text\": \"a\\n\\u00e9\"}\r\n\n  \n{\"content\": \"b\", \"body\": \"no\"}\n\"plain\"\n"
                          "{\"input\": \"q\", \"output\": \"answer\"}\n{\"input\": \"alone\", \"output\": null}\n{\"text\": null, "
                          "\"article\": \"c\"}\n{\"output\": \"d\"}");
    check_reads("a.jsonl", "a\n\xc3\xa9|b|plain|q\nanswer|alone|c|d|");
    write_text("nul.ndjson", "{\"text\": \"a\\u0000b\"}\n");
    assert_int_equal(read_with("nul.ndjson", NULL).size, 4);
}

static void a_bad_line_is_named_or_left_out_and_counted(void **state)
{
    (void)state;
    const reader_options skip = {READER_LINE_MOST, 1};
    static const char *const bad[] = {"{\"text\": \"x\"",     "{\"title\": \"x\"}", "{\"text\": 5}", "[1]", "5",
                                      "{\"text\": \"\xff\"}", "{\"text\": \"x\"} y"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "{\"text\": \"a\"}\n\n%s\n{\"text\": \"b\"}\n", bad[i]);
        write_text("a.jsonl", text);
        check_refuses("a.jsonl", AIOS_CORRUPT, "a.jsonl:3: ");
        outcome o = read_with("a.jsonl", &skip);
        assert_int_equal(o.status, AIOS_OK);
        assert_string_equal(o.text, "a|b|");
        assert_int_equal(o.skipped, 1);
    }
}

static void a_line_above_the_limit_is_refused_or_left_out(void **state)
{
    (void)state;
    const reader_options strict = {1000, 0}, skip = {1000, 1};
    char *text = malloc(600000);
    int size = snprintf(text, 600000, "{\"text\": \"a\"}\n{\"text\": \"");
    memset(text + size, 'x', 500000);
    (void)snprintf(text + size + 500000, 1000, "\"}\n{\"text\": \"b\"}\n");
    write_text("a.jsonl", text);
    assert_int_equal(read_with("a.jsonl", &strict).status, AIOS_OUT_OF_RANGE);
    assert_non_null(strstr(aios_error_message(), "a.jsonl:2: "));
    assert_string_equal(read_with("a.jsonl", &skip).text, "a|b|");
    write_text("a.json", text);
    assert_int_equal(read_with("a.json", &strict).status, AIOS_OUT_OF_RANGE);
    assert_string_equal(read_with("a.json", &skip).text, "a|b|");
    size = snprintf(text, 600000, "text\na\n");
    memset(text + size, 'x', 500000);
    (void)snprintf(text + size + 500000, 1000, "\nb\n");
    write_text("a.csv", text);
    assert_int_equal(read_with("a.csv", &strict).status, AIOS_OUT_OF_RANGE);
    assert_string_equal(read_with("a.csv", &skip).text, "a|b|");
    free(text);
}

static void json_files_hold_an_array_or_values(void **state)
{
    (void)state;
    write_text("a.json", " [ {\"text\": \"a]}\\\"\"},\n\"b\" , {\"x\": [1, {\"y\": 2}], \"text\": \"c\"} ]\n");
    check_reads("a.json", "a]}\"|b|c|");
    write_text("b.json", "{\n  \"text\": \"a\"\n}\n{\"text\": \"b\"}{\"text\": \"c\"}\n");
    check_reads("b.json", "a|b|c|");
    write_text("none.json", "[]");
    check_reads("none.json", "");
    write_text("empty.json", " \n");
    check_reads("empty.json", "");
    write_text("c.json", "[\n\"a\",\n\"b\"\n");
    check_refuses("c.json", AIOS_CORRUPT, "no end");
    write_text("d.json", "[\"a\" \"b\"]");
    check_refuses("d.json", AIOS_CORRUPT, "comma");
    write_text("e.json", "[\"a\",]");
    check_refuses("e.json", AIOS_CORRUPT, "comma");
    write_text("f.json", "[\"a\"] x");
    check_refuses("f.json", AIOS_CORRUPT, "follows the array");
    write_text("g.json", "[\n\n5, \"a\"]");
    check_refuses("g.json", AIOS_CORRUPT, "g.json:3");
    const reader_options skip = {READER_LINE_MOST, 1};
    outcome o = read_with("g.json", &skip);
    assert_string_equal(o.text, "a|");
    assert_int_equal(o.skipped, 1);
    write_text("h.json", "{\"text\": \"a\"}\n{\"text\": \"b");
    check_refuses("h.json", AIOS_CORRUPT, "h.json:2");
    write_text("i.json", "{\"text\": \"a\", }");
    check_refuses("i.json", AIOS_CORRUPT, "i.json:1");
}

/* ---- separated values -------------------------------------------------------------------------------------------- */

static void rows_follow_rfc_4180(void **state)
{
    (void)state;
    write_text("a.csv", "\xef\xbb\xbfid,text,note\r\n1,plain,x\r\n2,\"two\r\nlines, \"\"quoted\"\"\",y\r\n\r\n3,,\"\"\r\n4,\"last\",z");
    check_reads("a.csv", "plain|two\r\nlines, \"quoted\"||last|");
    write_text("a.tsv", "Content\tid\na,b\t1\n\"c\td\"\t2\n");
    check_reads("a.tsv", "a,b|c\td|");
    write_text("pair.csv", "output,input\nanswer,question\n");
    check_reads("pair.csv", "question\nanswer|");
    write_text("one.csv", "text\na\nb \"kept\" c\n");
    check_reads("one.csv", "a|b \"kept\" c|");
    write_text("only.csv", "text\n");
    check_reads("only.csv", "");
    write_text("empty.csv", "");
    check_reads("empty.csv", "");
}

static void wrong_rows_are_named(void **state)
{
    (void)state;
    const reader_options skip = {READER_LINE_MOST, 1};
    write_text("a.csv", "id,text\n1,\"a\nb\"\n2\n3,c\n");
    check_refuses("a.csv", AIOS_CORRUPT, "a.csv:4: the row has 1 fields");
    outcome o = read_with("a.csv", &skip);
    assert_string_equal(o.text, "a\nb|c|");
    assert_int_equal(o.skipped, 1);
    write_text("b.csv", "id,text\n1,\"a\" b,c\n2,d\n");
    check_refuses("b.csv", AIOS_CORRUPT, "b.csv:2");
    assert_string_equal(read_with("b.csv", &skip).text, "d|");
    write_text("c.csv", "id,text\n1,a\n2,\"b\n3,c\n");
    check_refuses("c.csv", AIOS_CORRUPT, "c.csv:3: a quoted field");
    assert_string_equal(read_with("c.csv", &skip).text, "a|");
    write_text("d.csv", "id,title\n1,a\n");
    check_refuses("d.csv", AIOS_CORRUPT, "none of the columns");
    assert_int_equal(read_with("d.csv", &skip).status, AIOS_CORRUPT);
}

/* ---- size -------------------------------------------------------------------------------------------------------- */

static void a_document_of_any_length_comes_in_pieces(void **state)
{
    (void)state;
    size_t size = 3 * READER_PIECE + 77, seen = 0;
    char *text = malloc(size);
    rng r;
    rng_init(&r, 20261121, 0);
    for (size_t i = 0; i < size; i++) text[i] = (char)rng_below(&r, 256);
    memcpy(text, "start", 5);
    write_bytes("big.txt", text, size);
    source_list list;
    reader *reading;
    text_piece piece;
    int more, ends = 0;
    assert_ok(source_list_open(context, path_of("big.txt"), &list));
    assert_ok(reader_open(context, &list, NULL, &reading));
    for (;;) {
        assert_ok(reader_next(reading, &piece, &more));
        if (!more) break;
        assert_true(piece.size <= READER_PIECE);
        if (piece.size) assert_memory_equal(piece.bytes, text + seen, piece.size);
        seen += piece.size;
        ends += piece.ends;
    }
    assert_int_equal(seen, size);
    assert_int_equal(ends, 1);
    reader_close(reading);
    source_list_free(&list);
    free(text);
}

/* Damaged files must end in an error or in text, whatever is in them. */
static void any_bytes_end_in_an_error_or_in_text(void **state)
{
    (void)state;
    static const char *const names[] = {"f.jsonl", "f.json", "f.csv", "f.tsv", "f.txt"};
    static const char *const parts[] = {"{\"text\": ", "\"",   "a",        "}", "[", "]",    ",", "\n",   "\\",  "\\u0041",
                                        "\t",          "text", "\"text\"", "{", ":", "\r\n", "5", "null", "\xff"};
    const reader_options skip = {200, 1};
    aios_context_options quiet = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *loud = context;
    rng r;
    rng_init(&r, 20261121, 1);
    print_message("seed 20261121\n");
    assert_ok(aios_context_create(&quiet, &context));
    for (int i = 0; i < 1500; i++) {
        char text[400] = "text\n";
        size_t size = 5;
        for (uint64_t n = rng_below(&r, 40); n > 0; n--) {
            const char *part = parts[rng_below(&r, COUNT_OF(parts))];
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
        }
        const char *name = names[(size_t)i % COUNT_OF(names)];
        size_t start = (i / 5) % 2 ? 5 : 0;
        write_bytes(name, text + start, size - start);
        outcome o = read_with(name, i % 2 ? &skip : NULL);
        assert_true(o.status == AIOS_OK || o.status == AIOS_CORRUPT || o.status == AIOS_OUT_OF_RANGE);
    }
    aios_context_destroy(context);
    context = loud;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_text_file_is_one_document_as_it_stands),
        TEST(files_of_a_folder_come_in_order_without_hidden_ones),
        TEST(what_is_no_text_is_refused_with_advice),
        TEST(gzip_members_are_read_one_after_the_other),
        TEST(wrong_gzip_is_an_error),
        TEST(json_lines_give_their_first_wanted_field),
        TEST(a_bad_line_is_named_or_left_out_and_counted),
        TEST(a_line_above_the_limit_is_refused_or_left_out),
        TEST(json_files_hold_an_array_or_values),
        TEST(rows_follow_rfc_4180),
        TEST(wrong_rows_are_named),
        TEST(a_document_of_any_length_comes_in_pieces),
        TEST(any_bytes_end_in_an_error_or_in_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
