/* What lib/model/weights_file promises.  The sharded fixture is what huggingface_hub and transformers write. */
#include "folder.h"
#include "model/weights_file.h"

static aios_context *context;

#define TENSOR(name_, length)                                                                                                              \
    {                                                                                                                                      \
        .name = name_, .dtype = ELEMENT_F32, .rank = 1, .shape = {length}, .data = ramp, .bytes = 4 * (length)                             \
    }
static const float ramp[20] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
static const safetensors_tensor model[] = {TENSOR("transformer.wte", 6),      TENSOR("transformer.wpe", 6),
                                           TENSOR("transformer.h.0.big", 20), TENSOR("transformer.h.0.b", 2),
                                           TENSOR("transformer.h.0.a", 6),    TENSOR("transformer.é", 2)};
static const char *const shard_files[] = {"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                                          "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                                          "model.safetensors.index.json"};

static void shards_are_those_of_hugging_face_byte_for_byte(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 40));
    for (size_t i = 0; i < COUNT_OF(shard_files); i++)
        if (!test_files_equal(context, test_path(folder, shard_files[i]), test_path(TEST_DATA "sharded", shard_files[i])))
            fail_msg("%s is not Hugging Face's", shard_files[i]);
    assert_int_equal(test_folder_count(context, folder), 5);
    test_folder_remove(folder);
}

static void check_model(const char *path, size_t count)
{
    weights_file *weights;
    const safetensors_tensor *tensor;
    assert_ok(weights_open(context, path, &weights));
    assert_int_equal(weights_count(weights), count);
    assert_string_equal(weights_metadata_find(weights, "format"), "pt");
    for (size_t i = 1; i < count; i++) assert_true(strcmp(weights_get(weights, i - 1)->name, weights_get(weights, i)->name) < 0);
    assert_null(weights_get(weights, count));
    assert_ok(weights_require(weights, "transformer.wte", 1, (int64_t[]){6}, &tensor));
    assert_memory_equal(tensor->data, ramp, 24);
    assert_fails(weights_require(weights, "transformer.wte", 2, (int64_t[]){2, 3}, &tensor), AIOS_CORRUPT,
                 "has shape [6]: it must be [2, 3]");
    assert_fails(weights_require(weights, "lm_head", 0, NULL, &tensor), AIOS_NOT_FOUND, "no tensor \"lm_head\"");
    assert_null(weights_find(weights, "lm_head"));
    weights_close(weights);
}

static void one_file_shards_and_an_index_are_read_alike(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    check_model(TEST_DATA "sharded", 6);
    check_model(TEST_DATA "sharded/model.safetensors.index.json", 6);
    check_model(TEST_DATA "sharded/model-00001-of-00004.safetensors", 1);
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 0));
    assert_int_equal(test_folder_count(context, folder), 1);
    check_model(folder, 6);
    assert_ok(weights_write(context, folder, model, 2, NULL, 0, 1000)); /* all below the limit: no index */
    assert_int_equal(test_folder_count(context, folder), 1);
    check_model(folder, 2);
    test_folder_remove(folder);
}

static void a_save_removes_the_weights_of_an_earlier_one_and_nothing_else(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    test_file_write(test_path(folder, "model.safetensors.backup"), "x", 1);
    test_file_write(test_path(folder, "config.json"), "{}", 2);
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 40));
    assert_int_equal(test_folder_count(context, folder), 7);
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 0));
    assert_int_equal(test_folder_count(context, folder), 3);
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 80));
    assert_int_equal(os_path_kind(test_path(folder, "model.safetensors")), OS_NOTHING);
    check_model(folder, 6);
    test_folder_remove(folder);
}

/* The sharded fixture in a folder of its own, with one text in the index replaced. */
static char *copy_fixture(const char *from, const char *to)
{
    char *folder = test_folder_make();
    for (size_t i = 0; i < COUNT_OF(shard_files); i++) {
        char *bytes, *found;
        size_t size;
        assert_ok(os_file_read_all(context, test_path(TEST_DATA "sharded", shard_files[i]), 1 << 20, &bytes, &size));
        found = i == 4 && from ? strstr(bytes, from) : NULL;
        if (found) {
            char changed[2048];
            int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(found - bytes), bytes, to, found + strlen(from));
            test_file_write(test_path(folder, shard_files[i]), changed, (size_t)length);
        } else {
            assert_true(i < 4 || !from);
            test_file_write(test_path(folder, shard_files[i]), bytes, size);
        }
        aios_memory_free(context, bytes);
    }
    return folder;
}

static void refuse_index(const char *from, const char *to, aios_status expected, const char *text)
{
    char *folder = copy_fixture(from, to);
    weights_file *weights;
    assert_fails(weights_open(context, folder, &weights), expected, text);
    assert_null(weights);
    test_folder_remove(folder);
}

static void an_index_that_disagrees_with_its_shards_is_refused(void **state)
{
    (void)state;
    refuse_index("model-00001-of-00004", "../evil", AIOS_CORRUPT, "a file of the same folder must be named");
    refuse_index("model-00001-of-00004", "/etc/passwd", AIOS_CORRUPT, "a file of the same folder must be named");
    refuse_index("model-00001-of-00004", "c:\\\\x", AIOS_CORRUPT, "a file of the same folder must be named");
    refuse_index("model-00001-of-00004", "model-00009-of-00004", AIOS_NOT_FOUND, "shard model-00009-of-00004.safetensors is missing from");
    refuse_index("model-00001-of-00004", "model-00002-of-00004", AIOS_CORRUPT, "\"transformer.wte\" is missing from shard model-00002");
    refuse_index("\"transformer.wpe\"", "\"transformer.xyz\"", AIOS_CORRUPT,
                 "tensor \"transformer.wpe\" is in shard model-00003-of-00004.safetensors and not in the index");
    refuse_index("\"transformer.h.0.b\": \"model-00003", "\"transformer.h.0.b\": \"model-00004", AIOS_CORRUPT,
                 "\"transformer.h.0.b\" is in shard model-00003-of-00004.safetensors: the index says model-00004");
    refuse_index("\"weight_map\"", "\"weights\"", AIOS_CORRUPT, "\"weight_map\" is missing");
    refuse_index("\"model-00001-of-00004.safetensors\"", "7", AIOS_CORRUPT, "must be a string");
    refuse_index("{", "[", AIOS_CORRUPT, "model.safetensors.index.json:");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    (void)state;
    char *folder = copy_fixture(NULL, NULL);
    weights_file *weights;
    safetensors_tensor twice[2] = {model[0], model[2]};
    assert_ok(safetensors_write(context, test_path(folder, shard_files[1]), twice, 2, NULL, 0));
    assert_fails(weights_open(context, folder, &weights), AIOS_CORRUPT,
                 "\"transformer.wte\" is in shard model-00002-of-00004.safetensors: the index says model-00001");
    test_folder_remove(folder);
}

static void a_folder_without_weights_says_what_is_wanted(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    weights_file *weights;
    assert_fails(weights_open(context, folder, &weights), AIOS_NOT_FOUND, "has neither model.safetensors nor");
    assert_fails(weights_open(context, test_path(folder, "none"), &weights), AIOS_NOT_FOUND, "none is not there");
    test_file_write(test_path(folder, "pytorch_model.bin"), "x", 1);
    assert_fails(weights_open(context, folder, &weights), AIOS_UNSUPPORTED, "save the model as safetensors");
    test_folder_remove(folder);
}

static void an_unfinished_save_leaves_what_was_there(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    weights_writer *writer;
    safetensors_tensor twice[2] = {model[0], model[0]};
    assert_ok(weights_write(context, folder, model, COUNT_OF(model), NULL, 0, 40));
    assert_ok(weights_writer_begin(context, folder, model, COUNT_OF(model), NULL, 0, 40, &writer));
    assert_int_equal(weights_writer_next(writer), 0);
    assert_ok(weights_writer_write(writer, ramp, 24));
    assert_int_equal(weights_writer_next(writer), 2);
    assert_fails(weights_writer_finish(writer), AIOS_WRONG_STATE, "shard 2 of 4 lacks bytes");
    assert_int_equal(test_folder_count(context, folder), 5);
    check_model(folder, 6);
    assert_fails(weights_write(context, folder, twice, 2, NULL, 0, 24), AIOS_INVALID_ARGUMENT, "two tensors are named");
    assert_fails(weights_write(context, test_path(folder, "none"), model, 1, NULL, 0, 0), AIOS_NOT_FOUND, "is no folder");
    twice[0].bytes = 4;
    assert_fails(weights_write(context, folder, twice, 1, NULL, 0, 0), AIOS_INVALID_ARGUMENT, "has 4 bytes");
    assert_int_equal(test_folder_count(context, folder), 5);
    test_folder_remove(folder);
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
        cmocka_unit_test(shards_are_those_of_hugging_face_byte_for_byte),
        cmocka_unit_test(one_file_shards_and_an_index_are_read_alike),
        cmocka_unit_test(a_save_removes_the_weights_of_an_earlier_one_and_nothing_else),
        cmocka_unit_test(an_index_that_disagrees_with_its_shards_is_refused),
        cmocka_unit_test(a_tensor_in_two_shards_is_refused),
        cmocka_unit_test(a_folder_without_weights_says_what_is_wanted),
        cmocka_unit_test(an_unfinished_save_leaves_what_was_there),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
