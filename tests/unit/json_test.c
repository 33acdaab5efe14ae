/* What lib/base/json promises. */
#include "base/json.h"
#include "folder.h"

#include <locale.h>

static aios_context *context;

static json_t *parse(const char *text)
{
    json_t *value;
    assert_ok(json_parse(text, strlen(text), "text", NULL, &value));
    return value;
}

static aios_status try_parse(const char *text, const json_limits *limits)
{
    json_t *value;
    aios_status status = json_parse(text, strlen(text), "a.json", limits, &value);
    assert_null(value);
    return status;
}

static void broken_documents_are_refused_with_file_line_and_column(void **state)
{
    (void)state;
    assert_fails(try_parse("{\"a\": 1,\n \"b\": }", NULL), AIOS_CORRUPT, "a.json:2:7: ");
    assert_fails(try_parse("{\"a\": 1,\n \"a\": 2}", NULL), AIOS_CORRUPT, "a.json:2:4: duplicate object key");
    assert_fails(try_parse("{\"a\": 1, \"\\u0061\": 2}", NULL), AIOS_CORRUPT, "duplicate");
    assert_fails(try_parse("", NULL), AIOS_CORRUPT, "a.json:1:0");
    assert_fails(try_parse("{} {}", NULL), AIOS_CORRUPT, "a.json:1:4");
    assert_fails(try_parse("{\"a\": \"\xff\"}", NULL), AIOS_CORRUPT, "byte 0xff");
    assert_fails(try_parse("{\"a\": 9223372036854775808}", NULL), AIOS_CORRUPT, "too big integer");
    assert_fails(try_parse("[NaN]", NULL), AIOS_CORRUPT, "a.json:1");
}

static void limits_are_held_before_memory_is_taken(void **state)
{
    (void)state;
    char deep[401] = {0};
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    assert_fails(try_parse(deep, NULL), AIOS_OUT_OF_RANGE, "a.json:1:65: nested deeper than 64");
    assert_fails(try_parse("[[1, 2], [3]]", &(json_limits){100, 1, 100}), AIOS_OUT_OF_RANGE, "a.json:1:2: nested deeper than 1");
    assert_fails(try_parse("[1,2,3,4,5]", &(json_limits){100, 8, 4}), AIOS_OUT_OF_RANGE, "more than 4 values");
    assert_fails(try_parse("[1,2,3,4,5]", &(json_limits){10, 8, 40}), AIOS_OUT_OF_RANGE, "11 bytes: at most 10");
    json_decref(parse("{\"[[[[,,,,\\\"[[[\": \"]]]]\"}"));
}

static void a_getter_names_key_value_and_range(void **state)
{
    (void)state;
    json_t *object = parse("{\"n\": 12, \"big\": 70000, \"x\": 0.5, \"s\": \"text\", \"t\": true, \"z\": null, \"o\": {}, \"l\": [1, 2]}"),
           *found;
    int64_t n;
    double x;
    int flag;
    const char *text;
    assert_ok(json_get_int(object, "n", 1, 100, &n));
    assert_int_equal(n, 12);
    assert_fails(json_get_int(object, "big", 1, 1024, &n), AIOS_OUT_OF_RANGE, "\"big\" is 70000: it must be an integer from 1 to 1024");
    assert_int_equal(n, 0);
    assert_fails(json_get_int(object, "none", 1, 4, &n), AIOS_CORRUPT, "\"none\" is missing: it must be an integer from 1 to 4");
    assert_fails(json_get_int(object, "z", 1, 4, &n), AIOS_CORRUPT, "\"z\" is missing");
    assert_fails(json_get_int(object, "x", 1, 4, &n), AIOS_CORRUPT, "\"x\" is 0.5: ");
    assert_fails(json_get_int(object, "s", 1, 4, &n), AIOS_CORRUPT, "\"s\" is the string \"text\"");
    assert_ok(json_get_int_or(object, "none", -7, 1, 4, &n));
    assert_int_equal(n, -7);
    assert_ok(json_get_int_or(object, "z", 3, 1, 4, &n));
    assert_int_equal(n, 3);
    assert_fails(json_get_int_or(object, "n", 3, 1, 4, &n), AIOS_OUT_OF_RANGE, "\"n\" is 12");
    assert_ok(json_get_number(object, "x", 0, 1, &x));
    assert_true(x == 0.5);
    assert_ok(json_get_number(object, "n", 0, 100, &x));
    assert_true(x == 12);
    assert_fails(json_get_number(object, "x", 1, 2, &x), AIOS_OUT_OF_RANGE, "a number from 1 to 2");
    assert_ok(json_get_number_or(object, "none", 1e-5, 0, 1, &x));
    assert_true(x == 1e-5);
    assert_ok(json_get_bool(object, "t", &flag));
    assert_int_equal(flag, 1);
    assert_ok(json_get_bool_or(object, "none", 1, &flag));
    assert_int_equal(flag, 1);
    assert_fails(json_get_bool(object, "n", &flag), AIOS_CORRUPT, "true or false");
    assert_ok(json_get_string(object, "s", &text));
    assert_string_equal(text, "text");
    assert_ok(json_get_string_or(object, "none", "other", &text));
    assert_string_equal(text, "other");
    assert_fails(json_get_string(object, "l", &text), AIOS_CORRUPT, "an array of 2");
    assert_ok(json_get_object(object, "o", &found));
    assert_fails(json_get_object(object, "t", &found), AIOS_CORRUPT, "true: it must be an object");
    assert_ok(json_get_array(object, "l", &found));
    assert_int_equal(json_array_size(found), 2);
    assert_fails(json_get_array(object, "o", &found), AIOS_CORRUPT, "an object: it must be an array");
    json_decref(object);
}

static void a_config_is_written_as_python_writes_it(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    json_t *value;
    assert_ok(json_read_file(context, TEST_DATA "config.json", NULL, &value));
    assert_ok(json_write_file(context, test_path(folder, "config.json"), value, JSON_TEXT_CONFIG));
    assert_true(test_files_equal(context, TEST_DATA "config.json", test_path(folder, "config.json")));
    assert_int_equal(test_folder_count(context, folder), 1);
    json_decref(value);
    test_folder_remove(folder);
}

static void text_keeps_the_order_of_keys_unless_sorted(void **state)
{
    (void)state;
    json_t *value = parse("{\"b\": [1, {\"z\": null}], \"a\": \"\\u0001\\u00e9\\u007f/\"}");
    char *text;
    size_t size;
    assert_ok(json_to_text(context, value, JSON_TEXT_COMPACT, &text, &size));
    assert_string_equal(text, "{\"b\":[1,{\"z\":null}],\"a\":\"\\u0001é\x7f/\"}");
    assert_int_equal(size, strlen(text));
    aios_memory_free(context, text);
    assert_ok(json_to_text(context, value, JSON_TEXT_ASCII | JSON_TEXT_SORTED, &text, NULL));
    assert_string_equal(text, "{\"a\":\"\\u0001\\u00e9\\u007f/\",\"b\":[1,{\"z\":null}]}");
    aios_memory_free(context, text);
    json_decref(value);
}

static void numbers_read_back_as_they_were(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u; /* xorshift64 */
    for (int i = 0; i < 20000; i++) {
        double value, again;
        json_text out = JSON_TEXT_INIT(context);
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        memcpy(&value, &seed, sizeof value);
        if (value != value || value - value != 0) continue;
        if (i % 2) value = (double)(float)(i * 0.001); /* numbers that people write */
        json_text_number(&out, value);
        assert_ok(json_text_end(&out));
        again = strtod(out.text, NULL);
        if (memcmp(&value, &again, sizeof value) != 0) fail_msg("%.17g was written as %s", value, out.text);
        json_text_free(&out);
    }
}

static void what_json_cannot_hold_is_refused(void **state)
{
    (void)state;
    json_text out = JSON_TEXT_INIT(context);
    char *text;
    json_t *deep = json_array(), *loop;
    json_text_number(&out, strtod("inf", NULL));
    assert_fails(json_text_end(&out), AIOS_INVALID_ARGUMENT, "inf");
    out = JSON_TEXT_INIT(context);
    json_text_string(&out, "a\xc0\x80", 3, 0); /* overlong 0 */
    assert_fails(json_text_end(&out), AIOS_INVALID_ARGUMENT, "byte 1");
    for (int i = 0; i < 80; i++) {
        loop = json_array();
        assert_int_equal(json_array_append_new(loop, deep), 0);
        deep = loop;
    }
    assert_fails(json_to_text(context, deep, 0, &text, NULL), AIOS_INVALID_ARGUMENT, "nested");
    assert_null(text);
    assert_fails(json_to_text(context, NULL, 0, &text, NULL), AIOS_INVALID_ARGUMENT, "NULL");
    json_decref(deep);
}

static void a_file_that_is_missing_or_too_big_is_told_by_name(void **state)
{
    (void)state;
    json_t *value;
    assert_fails(json_read_file(context, "/nowhere/x.json", NULL, &value), AIOS_NOT_FOUND, "/nowhere/x.json");
    assert_fails(json_read_file(context, TEST_DATA "config.json", &(json_limits){100, 9, 99}, &value), AIOS_OUT_OF_RANGE, "at most 100");
}

static int begin(void **state)
{
    (void)state;
    (void)setlocale(LC_ALL, "de_DE.UTF-8"); /* a decimal comma where the machine has it: nothing may depend on it */
    context = test_context();
    return 0;
}

static int end(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_documents_are_refused_with_file_line_and_column),
        cmocka_unit_test(limits_are_held_before_memory_is_taken),
        cmocka_unit_test(a_getter_names_key_value_and_range),
        cmocka_unit_test(a_config_is_written_as_python_writes_it),
        cmocka_unit_test(text_keeps_the_order_of_keys_unless_sorted),
        cmocka_unit_test(numbers_read_back_as_they_were),
        cmocka_unit_test(what_json_cannot_hold_is_refused),
        cmocka_unit_test(a_file_that_is_missing_or_too_big_is_told_by_name),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
