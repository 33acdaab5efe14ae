/* Whichever allocation fails, the call says so, gives back what it took, and leaves what was there. */
#include "folder.h"
#include "gpu/device_list.h"
#include "saves.h"

#include <aios/hardware.h>

static long blocks, asked, fail_at;

static void *fail_alloc(void *user, size_t size)
{
    (void)user;
    if (++asked == fail_at) return NULL;
    void *block = malloc(size);
    blocks += block != NULL;
    return block;
}

static void *fail_realloc(void *user, void *block, size_t size)
{
    (void)user;
    if (++asked == fail_at) return NULL;
    return realloc(block, size);
}

static void fail_free(void *user, void *block)
{
    (void)user;
    blocks -= block != NULL;
    free(block);
}

/* Calls `run` with the first, second, … allocation failing until none does any more. */
static void fail_each(aios_status (*run)(aios_context *context, const char *folder), const char *folder)
{
    const aios_allocator allocator = {sizeof allocator, 0, NULL, fail_alloc, fail_realloc, fail_free};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    long failures = 0;
    options.allocator = &allocator;
    fail_at = 0;
    assert_ok(aios_context_create(&options, &context));
    long base = blocks;
    for (long n = 1;; n++) {
        asked = 0;
        fail_at = n;
        aios_status status = run(context, folder);
        fail_at = 0;
        if (blocks != base) fail_msg("allocation %ld failed and %ld blocks are lost", n, blocks - base);
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY)
            fail_msg("allocation %ld failed and the call says %s: %s", n, aios_status_name(status), aios_error_message());
        failures += status != AIOS_OK;
        if (asked < n) {
            assert_int_equal(status, AIOS_OK);
            break;
        }
    }
    assert_true(failures > 3);
    aios_context_destroy(context);
    assert_int_equal(blocks, base - 1);
}

static aios_status open_types(aios_context *context, const char *folder)
{
    safetensors_file *file;
    (void)folder;
    aios_status status = safetensors_open(context, TEST_DATA "types.safetensors", &file);
    if (status != AIOS_OK) assert_null(file);
    safetensors_close(file);
    return status;
}

static aios_status open_shards(aios_context *context, const char *folder)
{
    weights_file *weights;
    (void)folder;
    aios_status status = weights_open(context, TEST_DATA "sharded", &weights);
    if (status != AIOS_OK) assert_null(weights);
    weights_close(weights);
    return status;
}

static aios_status write_shards(aios_context *context, const char *folder)
{
    static const float values[8];
    static const safetensors_tensor list[] = {{.name = "a", .dtype = ELEMENT_F32, .rank = 1, .shape = {8}, .data = values, .bytes = 32},
                                              {.name = "b", .dtype = ELEMENT_F32, .rank = 1, .shape = {8}, .data = values, .bytes = 32}};
    int fail_here = (int)fail_at;
    aios_status status = weights_write(context, folder, list, 2, NULL, 0, 32);
    fail_at = 0;
    int left = test_folder_count(context, folder);
    if (status != AIOS_OK && left != 0 && left != 3) fail_msg("allocation %d failed and %d files are left", fail_here, left);
    assert_ok(os_remove_tree(folder));
    assert_ok(os_folder_create(folder));
    return status;
}

static aios_status save_again(aios_context *context, const char *folder)
{
    long fail_here = fail_at;
    fail_at = 0;
    assert_ok(save_generation(context, folder, 1, 0));
    asked = 0;
    fail_at = fail_here;
    aios_status status = save_generation(context, folder, 1, 1);
    long used = asked;
    fail_at = 0;
    char *path;
    uint64_t step;
    assert_ok(checkpoint_find_newest(context, folder, 1, &path, &step));
    aios_memory_free(context, path);
    assert_int_equal(test_folder_count(context, folder), 2); /* .lock and the checkpoint */
    asked = used;
    return status;
}

static aios_status find_and_prune(aios_context *context, const char *folder)
{
    char *path;
    uint64_t step;
    aios_status status = checkpoint_find_newest(context, folder, 1, &path, &step);
    if (status != AIOS_OK) assert_null(path);
    aios_memory_free(context, path);
    return status != AIOS_OK ? status : checkpoint_prune(context, folder, 1);
}

static aios_status resolve_devices(aios_context *context, const char *folder)
{
    static const aios_device_info devices[] = {
        {.kind = AIOS_DEVICE_CPU, .backend = "cpu", .storage_types = 7, .name = "processor"},
        {.backend = "cuda", .storage_types = 7, .name = "one", .vendor = "NVIDIA", .pci_address = "0000:01:00.0"},
        {.backend = "hip", .storage_types = 7, .name = "other", .vendor = "AMD", .pci_address = "0000:02:00.0"},
    };
    aios_device_list *list;
    aios_hardware *hardware = NULL;
    aios_status status = device_list_make(context, devices, COUNT_OF(devices), &list);
    if (status != AIOS_OK) return status;
    status = aios_hardware_resolve(context, list, "{\"selected_devices\": [\"gpu:0\", \"cpu\", \"hip:0\"]}", NULL, &hardware);
    if (status == AIOS_OK) status = aios_hardware_save(hardware, test_path(folder, "devices.json"));
    aios_hardware_destroy(hardware);
    hardware = NULL;
    if (status == AIOS_OK) status = aios_hardware_load(context, list, test_path(folder, "devices.json"), NULL, &hardware);
    if (status != AIOS_OK) assert_null(hardware);
    aios_hardware_destroy(hardware);
    aios_device_list_destroy(list);
    return status;
}

static void resolving_and_keeping_a_selection(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    fail_each(resolve_devices, folder);
    test_folder_remove(folder);
}

static void opening_a_file(void **state)
{
    (void)state;
    fail_each(open_types, NULL);
}

static void opening_shards(void **state)
{
    (void)state;
    fail_each(open_shards, NULL);
}

static void writing_shards(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    fail_each(write_shards, folder);
    test_folder_remove(folder);
}

static void saving_a_checkpoint(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    fail_each(save_again, folder);
    test_folder_remove(folder);
}

static void finding_and_pruning(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_context *context = test_context();
    for (uint64_t step = 1; step < 4; step++) assert_ok(save_generation(context, folder, step, 0));
    aios_context_destroy(context);
    fail_each(find_and_prune, folder);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolving_and_keeping_a_selection),
        cmocka_unit_test(opening_a_file),
        cmocka_unit_test(opening_shards),
        cmocka_unit_test(writing_shards),
        cmocka_unit_test(saving_a_checkpoint),
        cmocka_unit_test(finding_and_pruning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
