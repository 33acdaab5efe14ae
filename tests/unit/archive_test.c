/* What reading archives promises: the files in them as if they had been unpacked, and nothing else from anybody's bytes. */
#include "counted.h"
#include "data/reader.h"
#include "packing.h"

#include <aios/dataset.h>

#define BOMB ((size_t)70 << 20)

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

/* All documents, each followed by '|'; what is beyond the room is read and not kept. */
static aios_status read_all(const char *name, char *text, size_t room)
{
    source_list list;
    reader *r = NULL;
    size_t size = 0;
    *text = 0;
    TRY_QUIET(source_list_open(context, path_of(name), &list));
    aios_status status = reader_open(context, &list, NULL, &r);
    for (int more = 1; status == AIOS_OK && more;) {
        text_piece piece;
        status = reader_next(r, &piece, &more);
        assert_true(reader_done(r) <= list.total);
        if (status != AIOS_OK || !more || size + piece.size + 2 > room) continue;
        if (piece.size) memcpy(text + size, piece.bytes, piece.size);
        size += piece.size;
        if (piece.ends) text[size++] = '|';
        text[size] = 0;
    }
    if (status == AIOS_OK) assert_int_equal(reader_done(r), list.total);
    reader_close(r);
    source_list_free(&list);
    return status;
}

static void check_reads(const char *name, const char *expected)
{
    char text[4096];
    if (read_all(name, text, sizeof text) != AIOS_OK) fail_msg("%s: %s", name, aios_error_message());
    assert_string_equal(text, expected);
}

static void check_refuses(const char *name, aios_status status, const char *words)
{
    char text[4096];
    assert_fails(read_all(name, text, sizeof text), status, words);
}

/* ---- what is read ------------------------------------------------------------------------------------------------ */

static const char LINES[] = "{\"text\": \"two\"}\n{\"text\": \"three\"}\n", ROWS[] = "id,text\n1,four\n";

static void files_in_an_archive_are_read_in_its_order(void **state)
{
    (void)state;
    packing p = {0};
    char *packed;
    size_t size;
    gzip_write(path_of("rows.gz"), ROWS, sizeof ROWS - 1);
    assert_ok(os_file_read_all(context, path_of("rows.gz"), 1000, &packed, &size));
    zip_add(&p, "z.txt", ZIP_DEFLATED, "one", 3);
    zip_add(&p, "deep/er/a.jsonl", ZIP_STORED, LINES, sizeof LINES - 1);
    zip_add(&p, "b.csv.gz", ZIP_STORED, packed, size);
    zip_add(&p, "empty.txt", ZIP_STORED, "", 0);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_reads("a.zip", "one|two|three|four||");
    tar_add(&p, "z.txt", '0', "one", 3);
    tar_add(&p, "deep", '5', "", 0);
    tar_add(&p, "deep/er/a.jsonl", '0', LINES, sizeof LINES - 1);
    tar_add(&p, "b.csv.gz", '0', packed, size);
    tar_end(&p);
    gzip_write(path_of("a.tar.gz"), p.bytes, p.size);
    gzip_write(path_of("a.TGZ"), p.bytes, p.size);
    packing_write(&p, path_of("a.tar"));
    check_reads("a.tar", "one|two|three|four|");
    check_reads("a.tar.gz", "one|two|three|four|");
    check_reads("a.TGZ", "one|two|three|four|");
    aios_memory_free(context, packed);
}

static void archives_in_a_folder_are_files_of_it(void **state)
{
    (void)state;
    packing p = {0};
    assert_ok(os_folder_create(path_of("corpus")));
    test_file_write(path_of("corpus/a.txt"), "1", 1);
    test_file_write(path_of("corpus/c.txt"), "4", 1);
    zip_add(&p, "x.txt", ZIP_DEFLATED, "2", 1);
    zip_add(&p, "y.txt", ZIP_DEFLATED, "3", 1);
    zip_end(&p);
    packing_write(&p, path_of("corpus/b.zip"));
    check_reads("corpus", "1|2|3|4|");
}

/* Whatever the host's locale: one that is lost takes the format with it. */
static void names_of_any_language_tell_the_format(void **state)
{
    (void)state;
    packing p = {0};
    zip_add(&p, "l\xc3\xafnes.jsonl", ZIP_DEFLATED | ZIP_UTF8, LINES, sizeof LINES - 1);
    zip_add(&p, "r\xf6ws.csv", ZIP_STORED, ROWS, sizeof ROWS - 1); /* of an old program, in Latin 1 */
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_reads("a.zip", "two|three|four|");
}

static void what_is_no_file_or_hidden_is_left_out(void **state)
{
    (void)state;
    packing p = {0};
    tar_add(&p, "./a.txt", '0', "yes", 3);
    tar_add(&p, "link.txt", '2', "/etc/passwd", 0);
    tar_add(&p, "device", '3', "", 0);
    tar_add(&p, ".hidden.txt", '0', "no", 2);
    tar_add(&p, ".git/config.txt", '0', "no", 2);
    tar_add(&p, "__MACOSX/b.txt", '0', "no", 2);
    tar_end(&p);
    packing_write(&p, path_of("a.tar"));
    check_reads("a.tar", "yes|");
    zip_add(&p, "a/", ZIP_STORED, "", 0);
    zip_add(&p, "a/.DS_Store", ZIP_STORED, "\0\0", 2);
    zip_add(&p, "a/b.txt", ZIP_STORED, "yes", 3);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_reads("a.zip", "yes|");
}

static void tars_behind_each_other_are_read_to_the_last(void **state)
{
    (void)state;
    packing p = {0};
    tar_add(&p, "a.txt", '0', "1", 1);
    tar_end(&p);
    tar_add(&p, "b.txt", '0', "2", 1);
    tar_end(&p);
    packing_write(&p, path_of("a.tar"));
    check_reads("a.tar", "1|2|");
}

static void a_dataset_of_an_archive_is_the_one_of_its_files(void **state)
{
    (void)state;
    packing p = {0};
    aios_tokenizer *bytes;
    aios_dataset *packed, *plain;
    char text[3000], path[TEST_PATH_MAX], cache[TEST_PATH_MAX];
    int32_t x[64], y[64], v[64], w[64];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 26);
    assert_ok(os_folder_create(path_of("files")));
    for (char name[] = "files/0.txt"; name[6] <= '9'; name[6]++) {
        test_file_write(path_of(name), text + (name[6] - '0') * 100, 2000);
        zip_add(&p, name + 6, ZIP_DEFLATED, text + (name[6] - '0') * 100, 2000);
    }
    zip_end(&p);
    packing_write(&p, path_of("files.zip"));
    assert_ok(aios_tokenizer_open(context, "bytes", &bytes));
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    (void)snprintf(cache, sizeof cache, "%s/cache", folder);
    o.tokenizer = bytes;
    o.cache_folder = cache;
    o.sequence_length = 64;
    (void)snprintf(path, sizeof path, "%s/files", folder);
    o.path = path;
    assert_ok(aios_dataset_open(context, &o, &plain));
    (void)snprintf(path, sizeof path, "%s/files.zip", folder);
    assert_ok(aios_dataset_open(context, &o, &packed));
    assert_int_equal(aios_dataset_count(packed), aios_dataset_count(plain));
    for (uint64_t i = 0; i < aios_dataset_count(plain); i++) {
        assert_ok(aios_dataset_read(packed, i, x, y));
        assert_ok(aios_dataset_read(plain, i, v, w));
        assert_memory_equal(x, v, sizeof x);
        assert_memory_equal(y, w, sizeof y);
    }
    aios_dataset_close(plain);
    aios_dataset_close(packed);
    aios_tokenizer_close(bytes);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void a_file_in_an_archive_is_named_in_errors(void **state)
{
    (void)state;
    packing p = {0};
    zip_add(&p, "in/bad.jsonl", ZIP_STORED, "{\"text\": \"a\"}\nbad\n", 18);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_CORRUPT, "a.zip/in/bad.jsonl:2");
    zip_add(&p, "t.parquet", ZIP_STORED, "PAR1", 4);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_UNSUPPORTED, "a.zip/t.parquet: .parquet files are not read: write its text column");
    zip_add(&p, "inner.tar", ZIP_STORED, "", 0);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_UNSUPPORTED, "an archive in an archive");
    test_file_write(path_of("a.zip.gz"), "", 0);
    check_refuses("a.zip.gz", AIOS_UNSUPPORTED, "decompress");
}

/* A name is told, printable, and is never a path. */
static void names_are_words_alone(void **state)
{
    (void)state;
    packing p = {0};
    assert_ok(os_folder_create(path_of("in")));
    tar_add(&p, "../../escaped.txt", '0', "1", 1);
    tar_add(&p, "/tmp/aios-absolute-escaped.txt", '0', "2", 1);
    tar_add(&p, "..", '0', "3", 1);
    tar_add(&p, "a\x1b[2J\n\xff.jsonl", '0', "bad", 3);
    tar_end(&p);
    packing_write(&p, path_of("in/a.tar"));
    check_refuses("in/a.tar", AIOS_CORRUPT, "a.tar/a?[2J??.jsonl:1");
    assert_int_equal(test_folder_count(context, path_of("in")), 1);
    assert_int_equal(test_folder_count(context, folder), 1);
    assert_int_equal(os_path_kind("/tmp/aios-absolute-escaped.txt"), OS_NOTHING);
}

static void wrong_checksums_and_encryption_are_refused(void **state)
{
    (void)state;
    packing p = {0};
    zip_add(&p, "a.txt", ZIP_DEFLATED | ZIP_WRONG_CRC, "hello", 5);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_CORRUPT, "CRC");
    zip_add(&p, "a.txt", ZIP_DEFLATED | ZIP_ENCRYPTED, "hello", 5);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_UNSUPPORTED, "a.txt is encrypted");
}

/* Cut off anywhere, an archive is no shorter archive. */
static void an_archive_that_was_cut_off_is_refused(void **state)
{
    (void)state;
    packing p = {0};
    char *whole, text[4096];
    size_t size;
    zip_add(&p, "a.txt", ZIP_DEFLATED, "hello hello hello", 17);
    zip_add(&p, "b.txt", ZIP_STORED, "b", 1);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    tar_add(&p, "a.txt", '0', "hello", 5);
    tar_add(&p, "b.txt", '0', "b", 1);
    tar_end(&p);
    gzip_write(path_of("a.tar.gz"), p.bytes, p.size);
    p.size -= 1024;
    test_file_write(path_of("cut.tar"), p.bytes, p.size); /* between two files: no other sign than the end mark */
    check_refuses("cut.tar", AIOS_CORRUPT, "the mark at the end");
    p.size += 1024;
    packing_write(&p, path_of("a.tar"));
    const struct {
        const char *name, *cut;
    } archives[] = {{"a.zip", "cut.zip"}, {"a.tar.gz", "cut.tar.gz"}, {"a.tar", "cut.tar"}};
    for (size_t i = 0; i < COUNT_OF(archives); i++) {
        check_reads(archives[i].name, i == 0 ? "hello hello hello|b|" : "hello|b|");
        assert_ok(os_file_read_all(context, path_of(archives[i].name), 100000, &whole, &size));
        for (size_t cut = 0; cut < size - (i == 2 ? 512 : 0); cut += i == 2 ? 64 : 1) { /* half an end mark is one */
            test_file_write(path_of(archives[i].cut), whole, cut);
            if (read_all(archives[i].cut, text, sizeof text) != AIOS_CORRUPT) fail_msg("%s, %zu of %zu bytes", archives[i].name, cut, size);
        }
        aios_memory_free(context, whole);
    }
}

static void what_follows_a_tar_is_refused(void **state)
{
    (void)state;
    packing p = {0};
    tar_add(&p, "a.txt", '0', "hello", 5);
    tar_end(&p);
    packing_add(&p, "something that is no tar and that nobody should lose without a word", 66);
    packing_write(&p, path_of("a.tar"));
    check_refuses("a.tar", AIOS_CORRUPT, "a.tar");
}

/* Whatever the bytes, the outcome is an error or text; a flipped bit of the contents never passes for text. */
static void any_flipped_bit_is_an_error_or_harmless(void **state)
{
    (void)state;
    packing p = {0};
    char *whole, text[4096];
    size_t size;
    zip_add(&p, "a.txt", ZIP_DEFLATED, "hello hello hello", 17);
    zip_add(&p, "b.txt", ZIP_STORED, "second", 6);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    assert_ok(os_file_read_all(context, path_of("a.zip"), 100000, &whole, &size));
    for (size_t bit = 0; bit < 8 * size; bit++) {
        whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
        test_file_write(path_of("bad.zip"), whole, size);
        whole[bit / 8] = (char)(whole[bit / 8] ^ 1 << bit % 8);
        if (read_all("bad.zip", text, sizeof text) != AIOS_OK) continue;
        /* A name, a time, a number that nobody needs: the text is right, or a file of another name is no text or hidden. */
        if (!strstr("hello hello hello|second|", text)) fail_msg("bit %zu: %s", bit, text);
    }
    aios_memory_free(context, whole);
}

static void what_unpacks_to_far_more_is_refused(void **state)
{
    (void)state;
    packing p = {0};
    char *zeros = calloc(1, BOMB);
    assert_non_null(zeros);
    memset(zeros, ' ', BOMB);
    zip_add(&p, "a.txt", ZIP_DEFLATED, zeros, BOMB);
    zip_end(&p);
    packing_write(&p, path_of("a.zip"));
    check_refuses("a.zip", AIOS_OUT_OF_RANGE, "a.zip");
    gzip_write(path_of("a.txt.gz"), zeros, BOMB);
    check_refuses("a.txt.gz", AIOS_OUT_OF_RANGE, "which no text does");
    tar_add(&p, ".hidden", '0', zeros, BOMB);
    tar_end(&p);
    gzip_write(path_of("a.tar.gz"), p.bytes, p.size);
    check_refuses("a.tar.gz", AIOS_OUT_OF_RANGE, "a.tar.gz");
    packing_free(&p);
    gzip_write(path_of("small.txt.gz"), zeros, 1 << 20); /* as much for its size, but no harm */
    char text[16];
    assert_ok(read_all("small.txt.gz", text, sizeof text));
    free(zeros);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    packing p = {0};
    counted c = {0, 0, 0};
    int failed = 0;
    tar_add(&p, "a.txt", '0', "hello", 5);
    tar_add(&p, "b.jsonl", '0', LINES, sizeof LINES - 1);
    tar_end(&p);
    gzip_write(path_of("a.tar.gz"), p.bytes, p.size);
    packing_free(&p);
    aios_context *whole = context;
    for (long at = 1; at == 1 || c.asked >= c.fail_at; at++) {
        char text[100];
        context = counted_context(&c, at);
        aios_status status = read_all("a.tar.gz", text, sizeof text);
        aios_context_destroy(context);
        context = whole;
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY) fail_msg("allocation %ld: %s", at, aios_error_message());
        failed += status != AIOS_OK;
        assert_int_equal(c.living, 0);
    }
    assert_true(failed > 8);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_in_an_archive_are_read_in_its_order),
        TEST(archives_in_a_folder_are_files_of_it),
        TEST(names_of_any_language_tell_the_format),
        TEST(what_is_no_file_or_hidden_is_left_out),
        TEST(tars_behind_each_other_are_read_to_the_last),
        TEST(a_dataset_of_an_archive_is_the_one_of_its_files),
        TEST(a_file_in_an_archive_is_named_in_errors),
        TEST(names_are_words_alone),
        TEST(wrong_checksums_and_encryption_are_refused),
        TEST(an_archive_that_was_cut_off_is_refused),
        TEST(what_follows_a_tar_is_refused),
        TEST(any_flipped_bit_is_an_error_or_harmless),
        TEST(what_unpacks_to_far_more_is_refused),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
