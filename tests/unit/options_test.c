/* What options and lib/base/text promise. */
#include "base/context.h"
#include "base/names.h"
#include "base/options.h"
#include "base/text.h"
#include "test.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALL (AIOS_SCOPE_TRAIN | AIOS_SCOPE_EVAL | AIOS_SCOPE_GENERATE | AIOS_SCOPE_DATA | AIOS_SCOPE_HRM)

static aios_options *make(aios_context *context, uint32_t scopes)
{
    aios_options *options = NULL;
    assert_ok(aios_options_create(context, scopes, &options));
    return options;
}

/* The call fails with this code, and its message holds each of the parts. */
#define assert_fails(call, code, ...)                                                                                                      \
    do {                                                                                                                                   \
        aios_error_clear();                                                                                                                \
        assert_int_equal(call, code);                                                                                                      \
        assert_message((const char *const[]){__VA_ARGS__, NULL});                                                                          \
    } while (0)

static void assert_message(const char *const *parts)
{
    for (; *parts; parts++)
        if (!strstr(aios_error_message(), *parts)) fail_msg("\"%s\" is not in: %s", *parts, aios_error_message());
}

static int64_t int_of(const aios_options *options, const char *name)
{
    int64_t value;
    assert_ok(aios_options_get_int(options, name, &value));
    return value;
}

static double float_of(const aios_options *options, const char *name)
{
    double value;
    assert_ok(aios_options_get_float(options, name, &value));
    return value;
}

static const char *string_of(const aios_options *options, const char *name)
{
    const char *value;
    assert_ok(aios_options_get_string(options, name, &value));
    return value;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static void every_row_of_the_table_is_sound(void **state)
{
    (void)state;
    aios_context *context = test_context();
    const char *section = "";
    assert_true(aios_option_count() > 40);
    for (uint32_t i = 0; i < aios_option_count(); i++) {
        aios_option_info info = AIOS_OPTION_INFO_INIT, other = AIOS_OPTION_INFO_INIT;
        assert_ok(aios_option_get_info(i, &info));
        assert_true(info.scopes && !(info.scopes & ~(uint32_t)ALL));
        assert_true(info.help[0] && strlen(info.name) < 40);
        assert_int_equal(strspn(info.name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(info.name));
        assert_int_equal(info.type == AIOS_OPTION_CHOICE, info.choices[0] != 0);
        if (info.type == AIOS_OPTION_INT || info.type == AIOS_OPTION_FLOAT) assert_true(info.minimum < info.maximum);
        assert_true(fabs(info.maximum) <= 9007199254740992.0); /* exact as a double, so that the check is */
        aios_options *options = make(context, info.scopes);
        if (aios_options_set(options, info.name, info.default_text) != AIOS_OK) fail_msg("%s", aios_error_message());
        aios_options_destroy(options);
        for (uint32_t j = 0; j < i; j++) {
            assert_ok(aios_option_get_info(j, &other));
            assert_string_not_equal(info.name, other.name);
            assert_false(info.alias[0] && strcmp(info.alias, other.name) == 0);
            /* Sections are contiguous: once left, a section does not come again. */
            if (strcmp(section, info.section) != 0) assert_string_not_equal(info.section, other.section);
        }
        section = info.section;
    }
    aios_context_destroy(context);
}

static void information_is_sized_and_bounded(void **state)
{
    (void)state;
    aios_option_info info = AIOS_OPTION_INFO_INIT;
    struct {
        uint32_t struct_size;
        int32_t type;
        uint32_t canary;
    } older = {8, -1, 77};
    assert_int_equal(aios_option_get_info(aios_option_count(), &info), AIOS_OUT_OF_RANGE);
    assert_int_equal(aios_option_get_info(0, NULL), AIOS_INVALID_ARGUMENT);
    assert_ok(aios_option_get_info(0, (aios_option_info *)(void *)&older));
    assert_int_equal(older.type, AIOS_OPTION_STRING);
    assert_int_equal(older.struct_size, 8);
    assert_int_equal(older.canary, 77);
    info.struct_size = 0;
    assert_fails(aios_option_get_info(0, &info), AIOS_ABI_MISMATCH, "aios_option_info");
}

/* ---- set and get ------------------------------------------------------------------------------------------------- */

static void an_unset_option_has_its_default(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    assert_int_equal(int_of(options, "batch-size"), 8);
    assert_true(float_of(options, "lr") == 2e-4);
    assert_true(float_of(options, "steps") == 200.0);
    assert_int_equal(int_of(options, "shuffle"), 1);
    assert_int_equal(int_of(options, "resume"), 0);
    assert_string_equal(string_of(options, "precision"), "32");
    assert_string_equal(string_of(options, "model"), "");
    assert_int_equal(aios_options_is_set(options, "batch-size"), 0);
    assert_string_equal(aios_options_write_json(options), "{}");
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void texts_are_read_as_a_flag_gives_them(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    static const struct {
        const char *name, *text;
        double value;
    } numbers[] = {
        {"batch-size", "16", 16},
        {"batch_size", "+17", 17},
        {"steps", "1e6", 1000000},
        {"steps", "1.5E3", 1500},
        {"steps", "1e12", 1e12},
        {"seed", "0", 0},
        {"seed", "-0", 0},
        {"lr", "1e-3", 1e-3},
        {"lr", ".5", .5},
        {"lr", "3.", 3},
        {"lr", "0", 0},
        {"n_ctx", "64", 64},
        {"max-seq-len", "65", 65},
        {"gradient-accumulation-steps", "04", 4},
        {"seed", "9007199254740991", 9007199254740991.0},
    };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        assert_ok(aios_options_set(options, numbers[i].name, numbers[i].text));
        assert_true(float_of(options, numbers[i].name) == numbers[i].value);
        assert_int_equal(aios_options_is_set(options, numbers[i].name), 1);
    }
    static const char *const yes[] = {"on", "true", "yes", "1", "On", "TRUE"}, *const no[] = {"off", "false", "no", "0", "Off", "NO"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        assert_ok(aios_options_set(options, "resume", yes[i]));
        assert_int_equal(int_of(options, "resume"), 1);
        assert_ok(aios_options_set(options, "resume", no[i]));
        assert_int_equal(int_of(options, "resume"), 0);
    }
    assert_ok(aios_options_set(options, "amp", "bf16-mixed"));
    assert_string_equal(string_of(options, "precision"), "bf16-mixed");
    assert_ok(aios_options_set(options, "prompt", "Grüße \"\n"));
    assert_string_equal(string_of(options, "prompt"), "Grüße \"\n");
    assert_ok(aios_options_set(options, "prompt", ""));
    assert_string_equal(string_of(options, "prompt"), "");
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void numbers_are_set_by_their_own_calls(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    assert_ok(aios_options_set_int(options, "steps", 1000));
    assert_ok(aios_options_set_int(options, "lr", 1));
    assert_ok(aios_options_set_int(options, "resume", 1));
    assert_ok(aios_options_set_float(options, "batch-size", 12.0));
    assert_ok(aios_options_set_float(options, "beta1", 0.8));
    assert_int_equal(int_of(options, "steps"), 1000);
    assert_true(float_of(options, "lr") == 1.0);
    assert_int_equal(int_of(options, "resume"), 1);
    assert_int_equal(int_of(options, "batch-size"), 12);
    assert_fails(aios_options_set_int(options, "resume", 2), AIOS_INVALID_ARGUMENT, "resume", "\"2\"", "on or off");
    assert_fails(aios_options_set_int(options, "model", 2), AIOS_INVALID_ARGUMENT, "model", "2", "text");
    assert_fails(aios_options_set_int(options, "seed", INT64_MIN), AIOS_OUT_OF_RANGE, "seed", "-9223372036854775808", "from 0");
    assert_fails(aios_options_set_int(options, "seed", INT64_MAX), AIOS_OUT_OF_RANGE, "9007199254740991");
    assert_fails(aios_options_set_float(options, "steps", 1.5), AIOS_INVALID_ARGUMENT, "steps", "1.5", "whole");
    assert_fails(aios_options_set_float(options, "steps", (double)INFINITY), AIOS_OUT_OF_RANGE, "steps", "inf");
    assert_fails(aios_options_set_float(options, "steps", (double)NAN), AIOS_INVALID_ARGUMENT, "steps", "nan");
    assert_fails(aios_options_set_float(options, "lr", (double)NAN), AIOS_OUT_OF_RANGE, "lr", "nan", "finite");
    assert_fails(aios_options_set_float(options, "shuffle", 1.0), AIOS_INVALID_ARGUMENT, "shuffle", "on or off");
    assert_fails(aios_options_set_float(options, "precision", 16.5), AIOS_INVALID_ARGUMENT, "precision", "16.5");
    assert_int_equal(int_of(options, "steps"), 1000); /* a refused value changes nothing */
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void a_wrong_value_names_option_value_and_what_is_right(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    assert_fails(aios_options_set(options, "batch-size", "0"), AIOS_OUT_OF_RANGE, "batch-size is 0", "from 1 to 65536");
    assert_fails(aios_options_set(options, "batch-size", "1e30"), AIOS_OUT_OF_RANGE, "batch-size is 1e30", "from 1 to 65536");
    assert_fails(aios_options_set(options, "steps", "99999999999999999999"), AIOS_OUT_OF_RANGE, "from 1 to 1000000000000");
    assert_fails(aios_options_set(options, "lr", "-1e-9"), AIOS_OUT_OF_RANGE, "lr is -1e-9", "from 0 to 1000");
    assert_fails(aios_options_set(options, "eval-fraction", "0.6"), AIOS_OUT_OF_RANGE, "from 0 to 0.5");
    assert_fails(aios_options_set(options, "lr", "1e999"), AIOS_OUT_OF_RANGE, "finite");
    assert_fails(aios_options_set(options, "precision", "16"), AIOS_INVALID_ARGUMENT, "precision is \"16\"", "32, 16-mixed, bf16-mixed");
    assert_fails(aios_options_set(options, "precision", ""), AIOS_INVALID_ARGUMENT, "one of");
    assert_fails(aios_options_set(options, "precision", "32|16-mixed"), AIOS_INVALID_ARGUMENT, "one of");
    assert_fails(aios_options_set(options, "resume", "maybe"), AIOS_INVALID_ARGUMENT, "resume is \"maybe\"", "on or off");
    static const char *const no_numbers[] = {"", " 8", "8 ", "0x8", "8k", "nan", "inf", "-", "1e", ".", "1_000", "--8", "1e5.0"};
    for (size_t i = 0; i < COUNT_OF(no_numbers); i++) {
        assert_fails(aios_options_set(options, "batch-size", no_numbers[i]), AIOS_INVALID_ARGUMENT, "batch-size is \"", "whole number");
        assert_fails(aios_options_set(options, "lr", no_numbers[i]), AIOS_INVALID_ARGUMENT, "lr is \"", "finite number");
    }
    assert_fails(aios_options_set(options, "batch-size", "8.0"), AIOS_INVALID_ARGUMENT, "whole number");
    assert_fails(aios_options_set(options, "batch-size", "15e-1"), AIOS_INVALID_ARGUMENT, "whole number");
    assert_fails(aios_options_set(options, "prompt", "\xff"), AIOS_INVALID_ARGUMENT, "prompt", "UTF-8");
    assert_string_equal(aios_options_write_json(options), "{}");
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void an_unknown_name_is_answered_with_the_nearest(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *train = make(context, AIOS_SCOPE_TRAIN), *generate = make(context, AIOS_SCOPE_GENERATE);
    static const struct {
        const char *wrong, *right;
    } cases[] = {{"bath-size", "batch-size"},
                 {"batchsize", "batch-size"},
                 {"stpes", "steps"},
                 {"learning-rat", ""},
                 {"rl", "lr"},
                 {"warmup", "lr-warmup-steps"},
                 {"presicion", "precision"},
                 {"devcie", "device"},
                 {"xyzzy-plugh", ""},
                 {"", ""},
                 {"grad-accum", ""},
                 {"gradient-accumulation", "gradient-accumulation-steps"},
                 {"n_ctxt", "n-ctx"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_fails(aios_options_set(train, cases[i].wrong, "1"), AIOS_NOT_FOUND, cases[i].wrong);
        const char *nearest = strstr(aios_error_message(), "nearest is \"");
        if (!cases[i].right[0]) {
            assert_null(nearest);
            continue;
        }
        if (!nearest) fail_msg("%s", aios_error_message());
        assert_memory_equal(nearest + 12, cases[i].right, strlen(cases[i].right));
    }
    char long_name[500];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_fails(aios_options_set(train, long_name, "1"), AIOS_NOT_FOUND, "no option \"xxx");
    assert_fails(aios_options_set(generate, "lr", "1"), AIOS_NOT_FOUND, "\"lr\" belongs to train and hrm, not to generate");
    assert_fails(aios_options_set(train, "top-k", "1"), AIOS_NOT_FOUND, "belongs to generate, not to train");
    assert_int_equal(aios_options_is_set(train, "top-k"), 0);
    assert_int_equal(aios_options_is_set(train, "nonsense"), 0);
    aios_options_destroy(train);
    aios_options_destroy(generate);
    aios_context_destroy(context);
}

static void a_getter_of_the_wrong_kind_names_the_right_one(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    int64_t integer = 5;
    double number = 5;
    const char *text = "5";
    assert_fails(aios_options_get_int(options, "lr", &integer), AIOS_INVALID_ARGUMENT, "lr", "aios_options_get_float");
    assert_fails(aios_options_get_float(options, "resume", &number), AIOS_INVALID_ARGUMENT, "aios_options_get_int");
    assert_fails(aios_options_get_string(options, "steps", &text), AIOS_INVALID_ARGUMENT, "aios_options_get_int");
    assert_fails(aios_options_get_int(options, "precision", &integer), AIOS_INVALID_ARGUMENT, "aios_options_get_string");
    assert_int_equal(integer, 0);
    assert_true(number == 0);
    assert_null(text);
    assert_int_equal(aios_options_get_int(NULL, "steps", &integer), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_options_set(options, NULL, "1"), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_options_set(options, "steps", NULL), AIOS_INVALID_ARGUMENT);
    aios_options_destroy(options);
    assert_int_equal(aios_options_create(context, 0, &options), AIOS_INVALID_ARGUMENT);
    assert_null(options);
    aios_context_destroy(context);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void json_gives_back_what_was_set_bit_by_bit(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL), *back = make(context, ALL);
    static const double rates[] = {2e-4, 0.1, 1.0 / 3.0, 5e-324, 2.2250738585072014e-308, 999.99999999999989, 0.30000000000000004, 0, 1000};
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        assert_ok(aios_options_set_float(options, "lr", rates[i]));
        assert_ok(aios_options_read_json(back, aios_options_write_json(options)));
        double read = float_of(back, "lr");
        assert_memory_equal(&read, &rates[i], sizeof read);
    }
    assert_ok(aios_options_set(options, "prompt", "a\"b\\c\n\t\x01\x1f é 😀"));
    assert_ok(aios_options_set(options, "seed", "9007199254740991"));
    assert_ok(aios_options_set(options, "shuffle", "off"));
    assert_ok(aios_options_set(options, "precision", "32")); /* its default, and yet set */
    char *first = aios_memory_strdup(context, aios_options_write_json(options));
    assert_ok(aios_options_read_json(back, first));
    assert_string_equal(aios_options_write_json(back), first);
    assert_string_equal(string_of(back, "prompt"), "a\"b\\c\n\t\x01\x1f é 😀");
    assert_int_equal(int_of(back, "seed"), 9007199254740991);
    assert_int_equal(int_of(back, "shuffle"), 0);
    assert_int_equal(aios_options_is_set(back, "precision"), 1);
    assert_int_equal(aios_options_is_set(back, "steps"), 0);
    aios_memory_free(context, first);
    aios_options_destroy(options);
    aios_options_destroy(back);
    aios_context_destroy(context);
}

static void json_reads_like_a_person_writes_it(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, AIOS_SCOPE_TRAIN);
    assert_ok(aios_options_read_json(options, " { \"batch_size\": 4, \"lr\": 1, \"steps\": 1e3, \"resume\": true, \"amp\": 32,\n"
                                              "\"n_embd\": \"64\", \"shuffle\": 0, \"tokenizer\": \"bytes\" } "));
    assert_string_equal(aios_options_write_json(options),
                        "{\"n-embd\": 64, \"tokenizer\": \"bytes\", \"shuffle\": false, \"steps\": 1000, \"batch-size\": 4, "
                        "\"lr\": 1.0, \"precision\": \"32\", \"resume\": true}");
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void json_is_all_or_nothing(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, AIOS_SCOPE_TRAIN);
    assert_ok(aios_options_read_json(options, "{\"steps\": 7, \"model\": \"m\"}"));
    static const struct {
        const char *json;
        aios_status code;
        const char *part;
    } cases[] = {
        {"{\"steps\": 8, \"batch-size\": 0}", AIOS_OUT_OF_RANGE, "batch-size is 0"},
        {"{\"model\": \"other\", \"stepss\": 1}", AIOS_NOT_FOUND, "nearest is \"steps\""},
        {"{\"model\": \"other\", \"top-k\": 1}", AIOS_NOT_FOUND, "belongs to generate"},
        {"{\"steps\": 1, \"steps\": 2}", AIOS_CORRUPT, "duplicate"},
        {"{\"batch-size\": 1, \"batch_size\": 2}", AIOS_INVALID_ARGUMENT, "twice"},
        {"{\"amp\": \"32\", \"precision\": \"32\"}", AIOS_INVALID_ARGUMENT, "twice"},
        {"{\"steps\": null}", AIOS_INVALID_ARGUMENT, "steps is null"},
        {"{\"steps\": [1]}", AIOS_INVALID_ARGUMENT, "an array"},
        {"{\"steps\": {}}", AIOS_INVALID_ARGUMENT, "an object"},
        {"{\"steps\": true}", AIOS_INVALID_ARGUMENT, "steps is true"},
        {"{\"steps\": 1.5}", AIOS_INVALID_ARGUMENT, "steps is 1.5"},
        {"{\"model\": 5}", AIOS_INVALID_ARGUMENT, "model is the number 5"},
        {"{\"model\": false}", AIOS_INVALID_ARGUMENT, "model is false"},
        {"{\"model\": \"a\\u0000b\"}", AIOS_CORRUPT, "line 1"},
        {"{\"steps\": 99999999999999999999}", AIOS_CORRUPT, "line 1"},
        {"[1]", AIOS_CORRUPT, "object"},
        {"{\"steps\": 8", AIOS_CORRUPT, "line 1"},
        {"{\"steps\": 8} x", AIOS_CORRUPT, "end of file"},
        {"", AIOS_CORRUPT, "no JSON"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_fails(aios_options_read_json(options, cases[i].json), cases[i].code, cases[i].part);
        assert_string_equal(aios_options_write_json(options), "{\"model\": \"m\", \"steps\": 7}");
    }
    aios_options_destroy(options);
    aios_context_destroy(context);
}

static void a_copy_takes_its_scopes_along_and_stands_alone(void **state)
{
    (void)state;
    aios_context *context = test_context();
    aios_options *options = make(context, ALL), *copy = NULL;
    assert_ok(aios_options_read_json(options, "{\"model\": \"m\", \"steps\": 7, \"top-k\": 3}"));
    assert_ok(aios_options_copy(context, options, AIOS_SCOPE_TRAIN, &copy));
    aios_options_destroy(options);
    assert_string_equal(aios_options_write_json(copy), "{\"model\": \"m\", \"steps\": 7}");
    assert_non_null(strstr(options_write_all(copy), "\"batch-size\": 8"));
    assert_null(strstr(options_write_all(copy), "top-k"));
    assert_fails(aios_options_copy(context, copy, AIOS_SCOPE_GENERATE, &options), AIOS_INVALID_ARGUMENT, "for train", "for generate");
    assert_null(options);
    aios_options_destroy(copy);
    aios_context_destroy(context);
}

/* ---- memory and locale ------------------------------------------------------------------------------------------- */

struct failing {
    int left; /* allocations until the failure; < 0: none fails */
    int live;
};

static void *failing_alloc(void *user, size_t size)
{
    struct failing *f = user;
    if (f->left == 0) return NULL;
    if (f->left > 0) f->left--;
    void *pointer = malloc(size);
    f->live += pointer != NULL;
    return pointer;
}

static void *failing_realloc(void *user, void *pointer, size_t size)
{
    struct failing *f = user;
    if (f->left == 0) return NULL;
    if (f->left > 0) f->left--;
    return realloc(pointer, size);
}

static void failing_free(void *user, void *pointer)
{
    ((struct failing *)user)->live--;
    free(pointer);
}

static aios_status use_everything(aios_context *context)
{
    aios_options *options = NULL, *copy = NULL;
    aios_status status = AIOS_OK;
    ATTEMPT_QUIET(aios_options_create(context, ALL, &options));
    ATTEMPT_QUIET(aios_options_set(options, "model", "somewhere"));
    ATTEMPT_QUIET(aios_options_set(options, "model", "elsewhere"));
    ATTEMPT_QUIET(aios_options_read_json(options, "{\"prompt\": \"hello\", \"precision\": \"32\"}"));
    ATTEMPT_QUIET(aios_options_copy(context, options, AIOS_SCOPE_TRAIN, &copy));
    if (!aios_options_write_json(options) || !options_write_all(copy)) status = AIOS_OUT_OF_MEMORY;
done:
    aios_options_destroy(copy);
    aios_options_destroy(options);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct failing f = {-1, 0};
    aios_allocator allocator = {sizeof allocator, 0, &f, failing_alloc, failing_realloc, failing_free};
    aios_context_options given = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context = NULL;
    aios_status status = AIOS_OUT_OF_MEMORY;
    given.allocator = &allocator;
    assert_ok(aios_context_create(&given, &context));
    int live = f.live, n;
    for (n = 0; status != AIOS_OK; n++) {
        f.left = n;
        aios_error_clear();
        status = use_everything(context);
        assert_int_equal(status, aios_error_status());
        if (status != AIOS_OK) assert_int_equal(status, AIOS_OUT_OF_MEMORY);
        assert_int_equal(f.live, live);
        assert_true(n < 100);
    }
    assert_true(n > 8);
    f.left = -1;
    aios_context_destroy(context);
    assert_int_equal(f.live, 0);
}

static void the_hosts_locale_changes_no_number(void **state)
{
    (void)state;
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "ru_RU.UTF-8"};
    size_t i = 0;
    while (i < COUNT_OF(commas) && !setlocale(LC_NUMERIC, commas[i])) i++;
    if (i == COUNT_OF(commas)) {
        print_message("no locale with a decimal comma on this machine\n");
        skip();
    }
    aios_context *context = test_context();
    aios_options *options = make(context, ALL);
    assert_ok(aios_options_set(options, "lr", "0.25"));
    assert_ok(aios_options_read_json(options, "{\"beta1\": 0.5}"));
    assert_string_equal(aios_options_write_json(options), "{\"lr\": 0.25, \"beta1\": 0.5}");
    assert_fails(aios_options_set(options, "lr", "0,25"), AIOS_INVALID_ARGUMENT, "0,25");
    (void)setlocale(LC_NUMERIC, "C");
    aios_options_destroy(options);
    aios_context_destroy(context);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void distance_counts_changes_of_one_character(void **state)
{
    (void)state;
    assert_int_equal(name_distance("", ""), 0);
    assert_int_equal(name_distance("", "abc"), 3);
    assert_int_equal(name_distance("kitten", "sitting"), 3);
    assert_int_equal(name_distance("steps", "stpes"), 1);
    assert_int_equal(name_distance("ab", "ba"), 1);
    assert_int_equal(name_distance("abcdef", "abcdef"), 0);
    assert_int_equal(name_distance("ca", "abc"), 3); /* optimal string alignment; 2 with moves over gaps */
}

static void a_text_grows_and_keeps_zero_bytes_out_of_json(void **state)
{
    (void)state;
    aios_context *context = test_context();
    text_buffer text;
    text_init(&text, context);
    for (int i = 0; i < 1000; i++) assert_ok(text_format(&text, "%d,", i));
    assert_int_equal(text.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(text.bytes), text.size);
    text_clear(&text);
    assert_string_equal(text.bytes, "");
    assert_ok(text_add_json(&text, "\x7f\"\\/\r"));
    assert_string_equal(text.bytes, "\"\x7f\\\"\\\\/\\r\"");
    text_clear(&text);
    assert_ok(text_add_double(&text, (double)NAN));
    assert_ok(text_add_double(&text, 3));
    assert_ok(text_add_double(&text, 1e300));
    assert_string_equal(text.bytes, "null3.01e+300");
    text_free(&text);
    aios_context_destroy(context);
}

static void utf8_is_told_from_other_bytes(void **state)
{
    (void)state;
    static const char *const good[] = {"", "a", "é", "€", "😀", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"};
    static const char *const bad[] = {
        "\x80",    "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
        "\xe2\x82"};
    for (size_t i = 0; i < COUNT_OF(good); i++) assert_true(text_is_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++) assert_false(text_is_utf8(bad[i], strlen(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table_is_sound),
        cmocka_unit_test(information_is_sized_and_bounded),
        cmocka_unit_test(an_unset_option_has_its_default),
        cmocka_unit_test(texts_are_read_as_a_flag_gives_them),
        cmocka_unit_test(numbers_are_set_by_their_own_calls),
        cmocka_unit_test(a_wrong_value_names_option_value_and_what_is_right),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_nearest),
        cmocka_unit_test(a_getter_of_the_wrong_kind_names_the_right_one),
        cmocka_unit_test(json_gives_back_what_was_set_bit_by_bit),
        cmocka_unit_test(json_reads_like_a_person_writes_it),
        cmocka_unit_test(json_is_all_or_nothing),
        cmocka_unit_test(a_copy_takes_its_scopes_along_and_stands_alone),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_hosts_locale_changes_no_number),
        cmocka_unit_test(distance_counts_changes_of_one_character),
        cmocka_unit_test(a_text_grows_and_keeps_zero_bytes_out_of_json),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
