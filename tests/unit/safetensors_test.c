/* What lib/model/safetensors and lib/model/elements promise.  The fixtures are the public library's (tests/reference/safetensors_check.py).
 */
#include "folder.h"
#include "model/safetensors.h"

#include <math.h>

static aios_context *context;

/* ---- hostile files ----------------------------------------------------------------------------------------------- */

static unsigned char image[65536];

/* A file in memory: header as given, then `data` zero bytes. */
static aios_status open_text(const char *header, size_t data)
{
    safetensors_file *file;
    uint64_t length = strlen(header);
    memcpy(image, &length, 8);
    memcpy(image + 8, header, length);
    memset(image + 8 + length, 0, data);
    aios_status status = safetensors_open_memory(context, "bad.safetensors", image, 8 + (size_t)length + data, &file);
    if (status == AIOS_OK)
        safetensors_close(file);
    else
        assert_null(file);
    return status;
}

#define X(dtype, shape, offsets) "{\"x\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void a_header_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    safetensors_file *file;
    static const unsigned char huge[16] = {255, 255, 255, 255, 255, 255, 255, 127, '{', '}'}, cut[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_fails(safetensors_open_memory(context, "a", huge, 5, &file), AIOS_CORRUPT, "a has 5 bytes");
    assert_fails(safetensors_open_memory(context, "a", NULL, 0, &file), AIOS_CORRUPT, "a has 0 bytes");
    assert_fails(safetensors_open_memory(context, "a", huge, 16, &file), AIOS_CORRUPT, "at most 100000000");
    assert_fails(safetensors_open_memory(context, "a", cut, 16, &file), AIOS_CORRUPT, "a header of 9 bytes does not fit in the file's 16");
    assert_fails(safetensors_open(context, "/nowhere.safetensors", &file), AIOS_NOT_FOUND, "/nowhere.safetensors");
    assert_fails(open_text("", 0), AIOS_CORRUPT, "begins with '{'");
    assert_fails(open_text(" {}", 0), AIOS_CORRUPT, "begins with '{'");
    assert_fails(open_text("[]", 0), AIOS_CORRUPT, "begins with '{'");
    assert_fails(open_text("{]", 0), AIOS_CORRUPT, "bad.safetensors:1:2");
    assert_fails(open_text("{\"a\":[[[[[1]]]]]}", 0), AIOS_OUT_OF_RANGE, "nested deeper than 4");
    assert_fails(open_text("{}", 1), AIOS_CORRUPT, "1 bytes follow the last tensor");
    assert_ok(open_text("{}", 0));
}

static void a_tensor_that_lies_is_refused_by_name(void **state)
{
    (void)state;
    assert_ok(open_text(X("F32", "[2,3]", "[0,24]"), 24));
    assert_fails(open_text(X("F32", "[2,3]", "[0,24]"), 23), AIOS_CORRUPT, "data_offsets [0, 24] must be ordered and inside the 23 bytes");
    assert_fails(open_text(X("F32", "[2,3]", "[0,20]"), 20), AIOS_CORRUPT,
                 "span 20 bytes: dtype and shape make 24 (tensor \"x\" of bad.safetensors)");
    assert_fails(open_text(X("F32", "[2,3]", "[24,0]"), 24), AIOS_CORRUPT, "[24, 0] must be ordered");
    assert_fails(open_text(X("F32", "[2,3]", "[-4,20]"), 24), AIOS_CORRUPT, "integers of 0 or more");
    assert_fails(open_text(X("F32", "[2,3]", "[0,24,24]"), 24), AIOS_CORRUPT, "has 3 numbers");
    assert_fails(open_text(X("F32", "[2,3]", "[0.0,24.0]"), 24), AIOS_CORRUPT, "integers");
    assert_fails(open_text(X("F32", "[2,3]", "{}"), 24), AIOS_CORRUPT, "must be an array");
    assert_fails(open_text(X("F32", "[2,-3]", "[0,24]"), 24), AIOS_CORRUPT, "dimension 1 of shape");
    assert_fails(open_text(X("F32", "[2,\"3\"]", "[0,24]"), 24), AIOS_CORRUPT, "dimension 1 of shape");
    assert_fails(open_text(X("F32", "6", "[0,24]"), 24), AIOS_CORRUPT, "\"shape\" is 6");
    assert_fails(open_text(X("F64", "[4294967296,4294967296]", "[0,0]"), 0), AIOS_CORRUPT, "bigger than 2^64");
    assert_fails(open_text(X("U8", "[9223372036854775807,9223372036854775807]", "[0,1]"), 1), AIOS_CORRUPT, "bigger than 2^64");
    assert_fails(open_text(X("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1), AIOS_UNSUPPORTED, "9 dimensions");
    assert_fails(open_text(X("F8_E4M3", "[1]", "[0,1]"), 1), AIOS_UNSUPPORTED, "F8_E4M3");
    assert_fails(open_text(X("f32", "[1]", "[0,4]"), 4), AIOS_CORRUPT, "dtype \"f32\" is unknown");
    assert_fails(open_text("{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), AIOS_CORRUPT, "\"dtype\" is missing");
    assert_fails(open_text("{\"x\":[]}", 4), AIOS_CORRUPT, "must be an object with dtype");
    assert_fails(open_text("{\"x\":[]}", 4), AIOS_CORRUPT, "must be an object with dtype");
}

static void every_byte_belongs_to_one_tensor(void **state)
{
    (void)state;
#define TWO(a, b)                                                                                                                          \
    "{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
    assert_ok(open_text(TWO("[0,4]", "[4,8]"), 8));
    assert_ok(open_text(TWO("[4,8]", "[0,4]"), 8));
    assert_fails(open_text(TWO("[0,4]", "[3,7]"), 8), AIOS_CORRUPT, "inside another tensor: they must begin at 4");
    assert_fails(open_text(TWO("[0,4]", "[0,4]"), 8), AIOS_CORRUPT, "inside another tensor");
    assert_fails(open_text(TWO("[0,4]", "[5,9]"), 9), AIOS_CORRUPT, "after a hole");
    assert_fails(open_text(TWO("[1,5]", "[5,9]"), 9), AIOS_CORRUPT, "begin at 1, after a hole: they must begin at 0");
    assert_fails(open_text(TWO("[0,4]", "[4,8]"), 9), AIOS_CORRUPT, "1 bytes follow");
    assert_fails(open_text("{\"x\":{},\"x\":{}}", 0), AIOS_CORRUPT, "duplicate");
}

static void metadata_is_strings(void **state)
{
    (void)state;
    assert_ok(open_text("{\"__metadata__\":{\"a\":\"b\"}}", 0));
    assert_fails(open_text("{\"__metadata__\":{\"a\":1}}", 0), AIOS_CORRUPT, "\"a\" of __metadata__ must be a string");
    assert_fails(open_text("{\"__metadata__\":[]}", 0), AIOS_CORRUPT, "must be an object of strings");
}

/* ---- fixtures ---------------------------------------------------------------------------------------------------- */

/* Reads a file, writes what was read, and compares bytes. */
static void rewrite(const char *name)
{
    char *folder = test_folder_make();
    const char *from = test_path(TEST_SOURCE_DIR "/data", name), *to = test_path(folder, "again.safetensors");
    safetensors_file *file;
    safetensors_tensor list[32];
    size_t metadata_count;
    assert_ok(safetensors_open(context, from, &file));
    const safetensors_entry *metadata = safetensors_metadata(file, &metadata_count);
    size_t count = safetensors_count(file);
    assert_true(count <= COUNT_OF(list));
    for (size_t i = 0; i < count; i++) list[i] = *safetensors_get(file, count - 1 - i); /* the writer sorts */
    assert_ok(safetensors_write(context, to, list, count, metadata, metadata_count));
    if (!test_files_equal(context, from, to)) fail_msg("%s is not the same after reading and writing it", name);
    safetensors_close(file);
    test_folder_remove(folder);
}

static void files_of_the_public_library_are_rewritten_byte_for_byte(void **state)
{
    (void)state;
    rewrite("types.safetensors");
    rewrite("plain.safetensors");
    rewrite("none.safetensors");
    rewrite("empty_metadata.safetensors");
    rewrite("rounding.safetensors");
    rewrite("sharded/model-00003-of-00004.safetensors");
}

static void every_type_is_read(void **state)
{
    (void)state;
    safetensors_file *file;
    assert_ok(safetensors_open(context, TEST_DATA "types.safetensors", &file));
    assert_int_equal(safetensors_count(file), 17);
    assert_string_equal(safetensors_metadata_find(file, "format"), "pt");
    assert_string_equal(safetensors_metadata_find(file, "näme"), "😀\n");
    assert_null(safetensors_metadata_find(file, "other"));
    const safetensors_tensor *tensor = safetensors_find(file, "n.int64");
    assert_int_equal(tensor->dtype, ELEMENT_I64);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[0], 2);
    assert_int_equal(tensor->shape[1], 3);
    for (int64_t i = 0; i < 6; i++) assert_memory_equal((const char *)tensor->data + 8 * i, &i, 8);
    static const char *const floats[] = {"n.float16", "n.bfloat16", "n.float32", "n.float64"};
    for (size_t f = 0; f < COUNT_OF(floats); f++) {
        float values[6];
        tensor = safetensors_find(file, floats[f]);
        assert_true(element_is_float(tensor->dtype));
        assert_true(elements_to_f32(tensor->dtype, tensor->data, values, 6));
        for (int i = 0; i < 6; i++) assert_true(values[i] == (float)i);
    }
    assert_int_equal(safetensors_find(file, "scalar")->rank, 0);
    assert_int_equal(safetensors_find(file, "scalar")->bytes, 4);
    assert_int_equal(safetensors_find(file, "empty")->bytes, 0);
    assert_non_null(safetensors_find(file, "näme \"\\\n\x01\x7f/ 😀"));
    assert_null(safetensors_find(file, "n.int6"));
    assert_null(safetensors_get(file, 17));
    safetensors_close(file);
    assert_fails(safetensors_open(context, TEST_DATA "float8.safetensors", &file), AIOS_UNSUPPORTED, "dtype F8_E4M3 is not supported");
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void a_file_is_written_in_pieces_and_in_its_own_order(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "a.safetensors");
    static const float values[4] = {1, 2, 3, 4};
    static const safetensors_tensor list[] = {{.name = "small", .dtype = ELEMENT_U8, .rank = 1, .shape = {2}},
                                              {.name = "b", .dtype = ELEMENT_F32, .rank = 2, .shape = {2, 2}},
                                              {.name = "a", .dtype = ELEMENT_F32, .rank = 1, .shape = {1}},
                                              {.name = "none", .dtype = ELEMENT_BF16, .rank = 1, .shape = {0}}};
    safetensors_writer *writer;
    safetensors_file *file;
    assert_ok(safetensors_writer_begin(context, path, list, 4, NULL, 0, &writer));
    assert_int_equal(safetensors_writer_next(writer), 2);
    assert_ok(safetensors_writer_write(writer, values, 4));
    assert_int_equal(safetensors_writer_next(writer), 1);
    assert_ok(safetensors_writer_write(writer, values, 6));
    assert_int_equal(safetensors_writer_next(writer), 1);
    assert_fails(safetensors_writer_write(writer, values, 11), AIOS_OUT_OF_RANGE, "11 bytes given, 10 left");
    assert_ok(safetensors_writer_write(writer, (const char *)values + 6, 10));
    assert_int_equal(safetensors_writer_next(writer), 0);
    assert_ok(safetensors_writer_write(writer, "xy", 2));
    assert_true(safetensors_writer_next(writer) == SAFETENSORS_END);
    assert_fails(safetensors_writer_write(writer, "z", 1), AIOS_OUT_OF_RANGE, "0 left");
    assert_ok(safetensors_writer_finish(writer));
    assert_ok(safetensors_open(context, path, &file));
    assert_memory_equal(safetensors_find(file, "b")->data, values, 16);
    assert_memory_equal(safetensors_find(file, "small")->data, "xy", 2);
    safetensors_close(file);
    test_folder_remove(folder);
}

static aios_status try_begin(const char *path, const safetensors_tensor *list, size_t count)
{
    safetensors_writer *writer;
    aios_status status = safetensors_writer_begin(context, path, list, count, NULL, 0, &writer);
    assert_null(writer);
    return status;
}

static void a_list_that_no_file_can_hold_is_refused(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "a.safetensors");
    safetensors_tensor list[2] = {{.name = "a", .dtype = ELEMENT_F32, .rank = 1, .shape = {1}}, {.name = "a", .dtype = ELEMENT_U8}};
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "two tensors are named \"a\"");
    list[1].name = "__metadata__";
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "__metadata__");
    list[1].name = "b\xff";
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "UTF-8");
    list[1] = (safetensors_tensor){.name = "b", .dtype = 99};
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "dtype 99");
    list[1] = (safetensors_tensor){.name = "b", .dtype = ELEMENT_F32, .rank = 9};
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "rank is 9");
    list[1] = (safetensors_tensor){.name = "b", .dtype = ELEMENT_F32, .rank = 1, .shape = {-1}};
    assert_fails(try_begin(path, list, 2), AIOS_INVALID_ARGUMENT, "dimension 0 is -1");
    list[1] = (safetensors_tensor){.name = "b", .dtype = ELEMENT_U8, .rank = 1, .shape = {INT64_MAX}};
    assert_fails(try_begin(path, list, 2), AIOS_OUT_OF_RANGE, "2^63");
    assert_int_equal(test_folder_count(context, folder), 0);
    assert_fails(try_begin(test_path(folder, "none/a"), list, 1), AIOS_NOT_FOUND, "none/a");
    test_folder_remove(folder);
}

static void an_unfinished_file_is_removed(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "a.safetensors");
    const safetensors_tensor tensor = {.name = "a", .dtype = ELEMENT_F32, .rank = 1, .shape = {2}};
    safetensors_writer *writer;
    assert_ok(safetensors_writer_begin(context, path, &tensor, 1, NULL, 0, &writer));
    assert_ok(safetensors_writer_write(writer, "1234", 4));
    assert_fails(safetensors_writer_finish(writer), AIOS_WRONG_STATE, "lacks 4 bytes");
    assert_int_equal(test_folder_count(context, folder), 0);
    assert_ok(safetensors_writer_begin(context, path, &tensor, 1, NULL, 0, &writer));
    safetensors_writer_abort(writer);
    safetensors_writer_abort(NULL);
    assert_int_equal(test_folder_count(context, folder), 0);
    test_folder_remove(folder);
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

static void rounding_is_that_of_the_public_libraries(void **state)
{
    (void)state;
    safetensors_file *file;
    assert_ok(safetensors_open(context, TEST_DATA "rounding.safetensors", &file));
    const safetensors_tensor *f32 = safetensors_find(file, "f32");
    static const struct {
        const char *name;
        int dtype;
    } narrow[] = {{"f16", ELEMENT_F16}, {"bf16", ELEMENT_BF16}};
    size_t count = (size_t)f32->shape[0];
    float *values = calloc(count, sizeof *values);
    uint16_t *made = calloc(count, sizeof *made), given;
    assert_true(elements_to_f32(ELEMENT_F32, f32->data, values, count));
    for (size_t n = 0; n < COUNT_OF(narrow); n++) {
        const safetensors_tensor *tensor = safetensors_find(file, narrow[n].name);
        assert_true(elements_from_f32(narrow[n].dtype, values, made, count));
        for (size_t i = 0; i < count; i++) {
            memcpy(&given, (const char *)tensor->data + 2 * i, 2);
            if (isnan(values[i]))
                assert_true((made[i] & 0x7fff) > (narrow[n].dtype == ELEMENT_F16 ? 0x7c00 : 0x7f80));
            else if (made[i] != given)
                fail_msg("%a becomes %04x in %s: it must be %04x", (double)values[i], made[i], narrow[n].name, given);
        }
    }
    free(values);
    free(made);
    safetensors_close(file);
}

/* The value of an f16, from its definition. */
static double half(uint32_t bits)
{
    int exponent = (int)(bits >> 10 & 31);
    double mantissa = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void every_f16_and_bf16_survives_the_way_to_f32_and_back(void **state)
{
    (void)state;
    static uint16_t all[65536], back[65536];
    static float wide[65536];
    for (uint32_t i = 0; i < 65536; i++) all[i] = (uint16_t)i;
    assert_true(elements_to_f32(ELEMENT_F16, all, wide, 65536));
    assert_true(elements_from_f32(ELEMENT_F16, wide, back, 65536));
    for (uint32_t i = 0; i < 65536; i++) {
        if ((i & 0x7c00) != 0x7c00) assert_true((double)wide[i] == half(i));
        if ((i & 0x7fff) > 0x7c00)
            assert_true(isnan(wide[i]) && (back[i] & 0x7fff) > 0x7c00);
        else
            assert_int_equal(back[i], i);
    }
    assert_true(isinf(wide[0x7c00]) && wide[0x7c00] > 0 && isinf(wide[0xfc00]) && wide[0xfc00] < 0);
    assert_true(elements_to_f32(ELEMENT_BF16, all, wide, 65536));
    assert_true(elements_from_f32(ELEMENT_BF16, wide, back, 65536));
    for (uint32_t i = 0; i < 65536; i++) {
        if ((i & 0x7fff) > 0x7f80)
            assert_true(isnan(wide[i]) && (back[i] & 0x7fff) > 0x7f80);
        else
            assert_int_equal(back[i], i);
    }
}

static void f16_rounds_halfway_to_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7bff; i++) { /* between two neighbours: exactly half-way, a little below, a little above */
        float middle = (float)((half(i) + half(i + 1)) / 2), values[3] = {middle, nextafterf(middle, 0), nextafterf(middle, 1e6f)};
        uint16_t out[3];
        assert_true(elements_from_f32(ELEMENT_F16, values, out, 3));
        assert_int_equal(out[0], i + (i & 1));
        assert_int_equal(out[1], i);
        assert_int_equal(out[2], i + 1);
    }
}

static void elements_need_no_alignment_and_integers_have_no_conversion(void **state)
{
    (void)state;
    char bytes[17] = {0};
    float out[2], in[2] = {1.5f, -2};
    double d = 0.25;
    memcpy(bytes + 1, &d, 8);
    assert_true(elements_to_f32(ELEMENT_F64, bytes + 1, out, 1) && out[0] == 0.25f);
    assert_true(elements_from_f32(ELEMENT_BF16, in, bytes + 1, 2));
    assert_true(elements_to_f32(ELEMENT_BF16, bytes + 1, out, 2) && out[0] == 1.5f && out[1] == -2);
    assert_false(elements_to_f32(ELEMENT_I32, bytes, out, 1));
    assert_false(elements_from_f32(ELEMENT_F64, in, bytes, 1));
    assert_int_equal(element_find("BF16"), ELEMENT_BF16);
    assert_int_equal(element_find("bf16"), -1);
    assert_int_equal(element_size(ELEMENT_COUNT), 0);
    assert_int_equal(element_of_storage(AIOS_F16), ELEMENT_F16);
}

static int begin(void **state)
{
    (void)state;
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
        cmocka_unit_test(a_header_that_does_not_fit_is_refused),
        cmocka_unit_test(a_tensor_that_lies_is_refused_by_name),
        cmocka_unit_test(every_byte_belongs_to_one_tensor),
        cmocka_unit_test(metadata_is_strings),
        cmocka_unit_test(files_of_the_public_library_are_rewritten_byte_for_byte),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(a_file_is_written_in_pieces_and_in_its_own_order),
        cmocka_unit_test(a_list_that_no_file_can_hold_is_refused),
        cmocka_unit_test(an_unfinished_file_is_removed),
        cmocka_unit_test(rounding_is_that_of_the_public_libraries),
        cmocka_unit_test(every_f16_and_bf16_survives_the_way_to_f32_and_back),
        cmocka_unit_test(f16_rounds_halfway_to_even),
        cmocka_unit_test(elements_need_no_alignment_and_integers_have_no_conversion),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
