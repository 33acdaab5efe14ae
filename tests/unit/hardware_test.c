/* From a selection to accelerator, devices, strategy and precision: each row and rule of AI Studio's page and of the GUI guide, on
 * devices that are made up. */
#include "folder.h"

#include "base/json.h"
#include "gpu/device_list.h"
#include <aios/hardware.h>

#define F32_BIT  (1u << AIOS_F32)
#define BF16_BIT (1u << AIOS_BF16)
#define F16_BIT  (1u << AIOS_F16)
#define ALL_BITS (F32_BIT | BF16_BIT | F16_BIT)

static aios_context *context;
static char logged[4096], events[8192];
static int event_count;

static void hear_log(void *user, int32_t level, const char *message)
{
    (void)user;
    size_t used = strlen(logged);
    (void)snprintf(logged + used, sizeof logged - used, "%d %s\n", (int)level, message);
}

static void hear_event(void *user, const char *name, const char *json)
{
    (void)user;
    event_count++;
    (void)snprintf(events, sizeof events, "%s %s", name, json);
}

static void forget(void)
{
    logged[0] = events[0] = 0;
    event_count = 0;
}

/* ---- made-up machines -------------------------------------------------------------------------------------------- */

static aios_device_info cpu(int index)
{
    aios_device_info info = {
        .struct_size = sizeof info, .index = index, .kind = AIOS_DEVICE_CPU, .backend = "cpu", .storage_types = ALL_BITS};
    (void)snprintf(info.name, sizeof info.name, "AMD EPYC");
    (void)snprintf(info.vendor, sizeof info.vendor, "AuthenticAMD");
    return info;
}

static aios_device_info gpu(const char *backend, int index, const char *vendor, const char *name, int serial)
{
    aios_device_info info = {.struct_size = sizeof info, .index = index, .storage_types = ALL_BITS, .memory_total = (uint64_t)24 << 30};
    (void)snprintf(info.backend, sizeof info.backend, "%s", backend);
    (void)snprintf(info.vendor, sizeof info.vendor, "%s", vendor);
    (void)snprintf(info.name, sizeof info.name, "%s", name);
    (void)snprintf(info.pci_address, sizeof info.pci_address, "0000:%02x:00.0", 0x30 + serial);
    (void)snprintf(info.uuid, sizeof info.uuid, "GPU-5fd4b087-86f3-7a43-b711-4771313a%04x", serial);
    return info;
}

static aios_device_list *list_of(const aios_device_info *devices, size_t count)
{
    aios_device_list *list;
    assert_ok(device_list_make(context, devices, count, &list));
    return list;
}

static aios_device_list *no_gpu(void)
{
    const aios_device_info devices[] = {cpu(0)};
    return list_of(devices, 1);
}

static aios_device_list *nvidia(int count)
{
    aios_device_info devices[32] = {cpu(0)};
    for (int i = 0; i < count; i++) devices[i + 1] = gpu("cuda", i, "NVIDIA", "NVIDIA GeForce RTX 3090", i);
    return list_of(devices, (size_t)count + 1);
}

/* gpu:0 and gpu:1 NVIDIA, gpu:2 Intel, gpu:3 AMD. */
static aios_device_list *all_vendors(void)
{
    const aios_device_info devices[] = {
        cpu(0), gpu("cuda", 0, "NVIDIA", "NVIDIA GeForce RTX 3090", 0), gpu("cuda", 1, "NVIDIA", "NVIDIA GeForce RTX 2080 Ti", 1),
        gpu("xpu", 0, "Intel", "Intel(R) Arc(TM) A770 Graphics", 2), gpu("hip", 0, "AMD", "AMD Radeon RX 7900 XTX", 3)};
    return list_of(devices, COUNT_OF(devices));
}

/* ---- reading results --------------------------------------------------------------------------------------------- */

static json_t *read_json(const char *text)
{
    json_t *value;
    assert_ok(json_parse(text, strlen(text), "json", NULL, &value));
    return value;
}

/* The member of a JSON object as compact text. */
static const char *member(const char *object, const char *key)
{
    static char shown[2048];
    char *text;
    json_t *value = read_json(object);
    json_t *found = json_object_get(value, key);
    if (!found) fail_msg("no %s in %s", key, object);
    assert_ok(json_to_text(context, found, JSON_TEXT_COMPACT, &text, NULL));
    (void)snprintf(shown, sizeof shown, "%s", text);
    aios_memory_free(context, text);
    json_decref(value);
    return shown;
}

static int has_note(const aios_hardware *h, const char *note)
{
    for (uint32_t i = 0; i < aios_hardware_note_count(h); i++)
        if (strcmp(aios_hardware_note(h, i), note) == 0) return 1;
    return 0;
}

static int has_warning(const aios_hardware *h, const char *token)
{
    for (uint32_t i = 0; i < aios_hardware_warning_count(h); i++)
        if (strcmp(aios_hardware_warning(h, i), token) == 0) return 1;
    return 0;
}

static aios_hardware *resolve(const aios_device_list *list, const char *selection, const aios_hardware_options *options)
{
    aios_hardware *h;
    if (aios_hardware_resolve(context, list, selection, options, &h) != AIOS_OK)
        fail_msg("%s: %s", selection ? selection : "NULL", aios_error_message());
    return h;
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

static void every_row_of_the_table(void **state)
{
    (void)state;
    static const struct {
        const char *selection, *os, *strategy, *accelerator, *devices, *specs, *resolved, *note, *warning;
    } rows[] = {
        {"gpu:0", NULL, NULL, "gpu", "[0]", "[\"cuda:0\"]", "auto", NULL, NULL},
        {"gpu:1", NULL, NULL, "gpu", "[1]", "[\"cuda:1\"]", "auto", NULL, NULL},
        {"gpu:0,gpu:1", NULL, NULL, "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "ddp", "Multi-GPU (DDP) will be used automatically.", NULL},
        {"gpu:1 gpu:0", NULL, NULL, "gpu", "[1,0]", "[\"cuda:1\",\"cuda:0\"]", "ddp", "Multi-GPU (DDP) will be used automatically.", NULL},
        {"cpu", NULL, NULL, "cpu", "\"auto\"", "[\"cpu:0\"]", "auto", NULL, NULL},
        {"gpu:0,cpu", NULL, NULL, "gpu", "[0]", "[\"cuda:0\"]", "auto", "CPU ignored", "mixed_device_selection"},
        {"cpu,gpu:0,gpu:1", NULL, NULL, "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "ddp", "CPU ignored", "mixed_device_selection"},
        {"0,3", NULL, NULL, "gpu", "[0,3]", "[\"cuda:0\",\"hip:0\"]", "parallel_independent",
         "GPUs of several vendors: each trains on its own chunks (parallel_independent).", NULL},
        {"0,3", NULL, "ddp", "gpu", "[0,3]", "[\"cuda:0\",\"hip:0\"]", "ddp",
         "GPUs of several vendors exchange gradients by way of host memory.", NULL},
        {"0,1", NULL, "parallel_independent", "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "parallel_independent", NULL, NULL},
        {"0,1", NULL, "parallel-independent", "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "parallel_independent", NULL, NULL},
        {"0,1", NULL, "auto", "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "ddp", NULL, NULL},
        {"0", NULL, "ddp", "gpu", "[0]", "[\"cuda:0\"]", "auto", "One device: ddp has nothing to distribute", NULL},
        {"0", "windows", NULL, "gpu", "[0]", "[\"cuda:0\"]", "auto", NULL, NULL},
        {"0,1", "windows", NULL, "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "parallel_independent",
         "Windows: each device trains on its own chunks (parallel_independent).", "windows_single_gpu_fallback"},
        {"0,1", "Windows", "ddp", "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "ddp", NULL, "windows_single_gpu_fallback"},
        {"0,1", "macos", NULL, "gpu", "[0,1]", "[\"cuda:0\",\"cuda:1\"]", "ddp", NULL, NULL},
        {"cuda:0,xpu:0,hip:0", NULL, NULL, "gpu", "[0,2,3]", "[\"cuda:0\",\"xpu:0\",\"hip:0\"]", "parallel_independent", NULL, NULL},
        {NULL, NULL, NULL, "gpu", "[0]", "[\"cuda:0\"]", "auto", NULL, NULL},
        {"auto", NULL, NULL, "gpu", "[0]", "[\"cuda:0\"]", "auto", NULL, NULL},
    };
    aios_device_list *list = all_vendors();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
        options.os = rows[i].os ? rows[i].os : "linux";
        options.strategy = rows[i].strategy;
        aios_hardware *h = resolve(list, rows[i].selection, &options);
        const char *json = aios_hardware_json(h);
        assert_string_equal(aios_hardware_accelerator(h), rows[i].accelerator);
        assert_string_equal(member(json, "devices"), rows[i].devices);
        assert_string_equal(member(json, "specs"), rows[i].specs);
        assert_string_equal(aios_hardware_strategy(h), rows[i].resolved);
        if (rows[i].note && !has_note(h, rows[i].note)) fail_msg("row %zu lacks the note \"%s\": %s", i, rows[i].note, json);
        if (rows[i].warning && !has_warning(h, rows[i].warning)) fail_msg("row %zu lacks the warning %s: %s", i, rows[i].warning, json);
        assert_int_equal(aios_hardware_warning_count(h), rows[i].warning != NULL);
        aios_hardware_destroy(h);
    }
    aios_device_list_destroy(list);
}

static void the_default_is_the_first_gpu_else_the_cpu(void **state)
{
    (void)state;
    static const char *const defaults[] = {NULL, "auto", "{\"hardware\": {}}", "{\"precision\": \"32\"}", "{\"selected_devices\": null}"};
    aios_device_list *none = no_gpu(), *some = nvidia(2);
    for (size_t i = 0; i < COUNT_OF(defaults); i++) {
        aios_hardware *h = resolve(none, defaults[i], NULL);
        assert_string_equal(aios_hardware_accelerator(h), "cpu");
        assert_string_equal(aios_hardware_requested(h, 0), "cpu");
        assert_int_equal(aios_hardware_warning_count(h), 0);
        aios_hardware_destroy(h);
        h = resolve(some, defaults[i], NULL);
        assert_string_equal(member(aios_hardware_json(h), "devices"), "[0]");
        assert_string_equal(aios_hardware_requested(h, 0), "gpu:0");
        assert_string_equal(aios_hardware_precision(h), "32");
        aios_hardware_destroy(h);
    }
    aios_device_list_destroy(none);
    aios_device_list_destroy(some);
}

static void several_cpu_devices_work_together_when_named(void **state)
{
    (void)state;
    const aios_device_info devices[] = {cpu(0), cpu(1)};
    aios_device_list *list = list_of(devices, 2);
    aios_hardware *h = resolve(list, "cpu", NULL);
    assert_int_equal(aios_hardware_device_count(h), 1);
    aios_hardware_destroy(h);
    h = resolve(list, "cpu:0,cpu:1", NULL);
    assert_string_equal(aios_hardware_accelerator(h), "cpu");
    assert_string_equal(member(aios_hardware_json(h), "devices"), "\"auto\"");
    assert_string_equal(aios_hardware_strategy(h), "ddp");
    assert_true(has_note(h, "Multi-device (DDP) will be used automatically."));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

static void beside_gpus_the_cpu_trains_where_it_is_asked_for(void **state)
{
    (void)state;
    aios_device_list *list = all_vendors();
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.os = "linux";
    options.batch_size = 4;
    options.keep_cpu = 1;
    aios_hardware *h = resolve(list, "cpu,gpu:0,hip:0", &options);
    assert_string_equal(aios_hardware_accelerator(h), "gpu");
    assert_string_equal(member(aios_hardware_json(h), "devices"), "[\"cpu:0\",0,3]");
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cpu:0\",\"cuda:0\",\"hip:0\"]");
    assert_string_equal(member(aios_hardware_json(h), "inference"), "[\"cuda:0\",\"hip:0\"]");
    assert_string_equal(aios_hardware_strategy(h), "parallel_independent");
    assert_true(has_note(h, "GPU and CPU: each trains on its own chunks (parallel_independent)."));
    assert_int_equal(aios_hardware_warning_count(h), 0);
    aios_hardware_destroy(h);

    options.strategy = "ddp";
    h = resolve(list, "gpu:0,cpu", &options);
    assert_string_equal(aios_hardware_strategy(h), "ddp");
    assert_true(has_note(h, "GPU and CPU exchange gradients by way of host memory."));
    assert_true(has_note(h, "Effective batch size: 8 (4 × 2 devices)"));
    aios_hardware_destroy(h);

    options.os = "windows";
    h = resolve(list, "cpu,gpu:0", &options); /* one GPU: nothing to fall back from */
    assert_string_equal(member(aios_hardware_json(h), "inference"), "[\"cuda:0\"]");
    assert_int_equal(aios_hardware_warning_count(h), 0);
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

static void cuda_ids_of_the_environment_are_the_default(void **state)
{
    (void)state;
    static const char *const ids[][2] = {{"1", "[\"cuda:1\"]"},
                                         {"1,0", "[\"cuda:1\",\"cuda:0\"]"},
                                         {" 0 ,hip:0", "[\"cuda:0\",\"hip:0\"]"},
                                         {" , ", "[\"cuda:0\"]"},
                                         {"", "[\"cuda:0\"]"}};
    static const char *const wrong[][2] = {{"0,7", "no device cuda:7"}, {"0;1", "(AIOS_CUDA_IDS)"}, {"0,0", "cuda:0 is selected twice"}};
    aios_device_list *list = all_vendors();
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        assert_int_equal(setenv("AIOS_CUDA_IDS", ids[i][0], 1), 0);
        aios_hardware *h = resolve(list, i % 2 ? "auto" : NULL, NULL);
        assert_string_equal(member(aios_hardware_json(h), "specs"), ids[i][1]);
        assert_int_equal(has_note(h, "No device was named: AIOS_CUDA_IDS selects them."), i < 3);
        aios_hardware_destroy(h);
        h = resolve(list, "xpu:0", NULL); /* who names one means that one */
        assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"xpu:0\"]");
        aios_hardware_destroy(h);
    }
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        aios_hardware *h;
        assert_int_equal(setenv("AIOS_CUDA_IDS", wrong[i][0], 1), 0);
        assert_int_not_equal(aios_hardware_resolve(context, list, NULL, NULL, &h), AIOS_OK);
        if (!strstr(aios_error_message(), wrong[i][1])) fail_msg("%s: %s", wrong[i][0], aios_error_message());
    }
    assert_int_equal(unsetenv("AIOS_CUDA_IDS"), 0);
    aios_device_list_destroy(list);
}

/* ---- words --------------------------------------------------------------------------------------------------------- */

static void a_device_has_many_names(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"gpu:3", "hip:0"},
        {"3", "hip:0"},
        {"hip:0", "hip:0"},
        {"hip", "hip:0"},
        {"xpu:0", "xpu:0"},
        {"0000:33:00.0", "hip:0"},
        {"33:00.0", "hip:0"},
        {"00000000:33:00.0", "hip:0"},
        {"0000:32:00.0", "xpu:0"},
        {"GPU-5fd4b087-86f3-7a43-b711-4771313a0003", "hip:0"},
        {"gpu-5FD4B087-86F3-7A43-B711-4771313A0003", "hip:0"},
        {"5fd4b087-86f3-7a43-b711-4771313a0001", "cuda:1"},
        {"5fd4b08786f37a43b7114771313a0001", "cuda:1"},
        {"cpu:0", "cpu:0"},
        {" , gpu:2 ,\n", "xpu:0"},
        {"[\"gpu:2\"]", "xpu:0"},
        {"[2]", "xpu:0"},
        {" {\"selected_devices\": [\"gpu:2\"]}", "xpu:0"},
        {"{\"selected_devices\": \"gpu:2\"}", "xpu:0"},
        {"{\"hardware\": {\"selected_devices\": [\"gpu:2\"], \"precision\": \"32\"}, \"model\": {}}", "xpu:0"},
    };
    aios_device_list *list = all_vendors();
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        aios_hardware *h = resolve(list, names[i][0], NULL);
        assert_int_equal(aios_hardware_device_count(h), 1);
        assert_string_equal(aios_hardware_device(h, 0)->spec, names[i][1]);
        assert_null(aios_hardware_device(h, 1));
        aios_hardware_destroy(h);
    }
    aios_device_list_destroy(list);
}

static void a_wrong_selection_is_refused_in_one_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *selection;
        aios_status status;
        const char *says;
    } rows[] = {
        {"", AIOS_INVALID_ARGUMENT, "No device selected"},
        {" , ", AIOS_INVALID_ARGUMENT, "No device selected"},
        {"[]", AIOS_INVALID_ARGUMENT, "No device selected"},
        {"{\"hardware\": {\"selected_devices\": []}}", AIOS_INVALID_ARGUMENT, "No device selected"},
        {"gpu:0,gpu:0", AIOS_ALREADY_EXISTS, "cuda:0 is selected twice, the second time as \"gpu:0\""},
        {"gpu:0,cuda:0", AIOS_ALREADY_EXISTS, "xpu:0 (gpu:2"},
        {"cpu,cpu:0", AIOS_ALREADY_EXISTS, "cpu:0 is selected twice"},
        {"gpu:4", AIOS_NOT_FOUND, "there is no device gpu:4; there are cpu:0, cuda:0 (gpu:0, NVIDIA GeForce RTX 3090), cuda:1"},
        {"hip:1", AIOS_NOT_FOUND, "hip:0 (gpu:3, AMD Radeon RX 7900 XTX)"},
        {"tpu:0", AIOS_NOT_FOUND, "no device tpu:0"},
        {"0000:99:00.0", AIOS_NOT_FOUND, "no device 0000:99:00.0"},
        {"GPU-00000000-0000-0000-0000-000000000000", AIOS_NOT_FOUND, "no device GPU-0000"},
        {"gpu:", AIOS_INVALID_ARGUMENT, "\"gpu:\""},
        {"gpu:-1", AIOS_INVALID_ARGUMENT, "\"gpu:-1\": a device is"},
        {"gpu:1.5", AIOS_INVALID_ARGUMENT, "\"gpu:1.5\""},
        {"gpu:99999999999", AIOS_INVALID_ARGUMENT, "gpu:99999999999"},
        {"GPU:0", AIOS_INVALID_ARGUMENT, "\"GPU:0\""},
        {"-1", AIOS_INVALID_ARGUMENT, "\"-1\""},
        {"gpu:0;gpu:1", AIOS_INVALID_ARGUMENT, "\"gpu:0;gpu:1\""},
        {"gpu:\xff", AIOS_INVALID_ARGUMENT, "printable ASCII"},
        {"[\"gpu:0 \"]", AIOS_INVALID_ARGUMENT, "printable ASCII"},
        {"[\"\"]", AIOS_INVALID_ARGUMENT, "a device is"},
        {"[1.5]", AIOS_INVALID_ARGUMENT, "selected_devices[0]"},
        {"[-1]", AIOS_INVALID_ARGUMENT, "\"-1\""},
        {"{\"selected_devices\": 7}", AIOS_INVALID_ARGUMENT, "list of texts"},
        {"{\"hardware\": []}", AIOS_INVALID_ARGUMENT, "must be an object"},
        {"{\"hardware\": {\"devices\": [0]}}", AIOS_INVALID_ARGUMENT, "no member \"devices\""},
        {"{\"hardware\": {\"precision\": 32}}", AIOS_CORRUPT, "precision"},
        {"{\"hardware\": {\"precision\": \"fp8\"}}", AIOS_INVALID_ARGUMENT, "32, 16-mixed or bf16-mixed"},
        {"{\"hardware\": ", AIOS_CORRUPT, "selection:1:"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         AIOS_INVALID_ARGUMENT, "at most 95"},
    };
    aios_device_list *list = all_vendors();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aios_hardware *h = (aios_hardware *)list;
        forget();
        assert_fails(aios_hardware_resolve(context, list, rows[i].selection, NULL, &h), rows[i].status, rows[i].says);
        assert_null(h);
        assert_int_equal(event_count, 1);
        assert_string_not_equal(member(strchr(events, '{'), "error"), "null");
        assert_string_equal(member(strchr(events, '{'), "effective"), "[]");
    }
    aios_device_list_destroy(list);
}

static void what_exists_is_told_in_whole_names(void **state)
{
    (void)state;
    static const char *const wrong[] = {"gpu:99", "gpu:0,0"};
    aios_device_info devices[12];
    for (int i = 0; i < 12; i++) devices[i] = gpu("xpu", i, "Intel", "Intel(R) Data Center GPU Max 1550, one of many", i);
    aios_device_list *list = list_of(devices, 12);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        aios_hardware *h;
        char more[64];
        int named = 0;
        assert_int_not_equal(aios_hardware_resolve(context, list, wrong[i], NULL, &h), AIOS_OK);
        for (const char *at = aios_error_message(); (at = strstr(at, "Intel(R)")); at++) named++;
        assert_in_range(named, 3, 8);
        (void)snprintf(more, sizeof more, "Max 1550, one o) and %d more", 12 - named);
        if (!strstr(aios_error_message(), more)) fail_msg("no \"%s\" in: %s", more, aios_error_message());
    }
    aios_device_list_destroy(list);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    aios_device_list *list = all_vendors();
    aios_hardware_options options;
    aios_hardware *h;
    aios_hardware_options_init(&options);
    options.os = "beos";
    assert_fails(aios_hardware_resolve(context, list, "0", &options, &h), AIOS_INVALID_ARGUMENT, "linux, windows or macos");
    aios_hardware_options_init(&options);
    options.strategy = "fsdp";
    assert_fails(aios_hardware_resolve(context, list, "0", &options, &h), AIOS_INVALID_ARGUMENT, "auto, ddp or parallel_independent");
    aios_hardware_options_init(&options);
    options.precision = "fp16";
    assert_fails(aios_hardware_resolve(context, list, "0", &options, &h), AIOS_INVALID_ARGUMENT, "32, 16-mixed or bf16-mixed");
    aios_hardware_options_init(&options);
    options.batch_size = -1;
    assert_fails(aios_hardware_resolve(context, list, "0", &options, &h), AIOS_OUT_OF_RANGE, "batch_size is -1");
    aios_hardware_options_init(&options);
    options.num_workers = -2;
    assert_fails(aios_hardware_resolve(context, list, "0", &options, &h), AIOS_OUT_OF_RANGE, "num_workers is -2");
    assert_fails(aios_hardware_resolve(NULL, list, "0", NULL, &h), AIOS_INVALID_ARGUMENT, "context is NULL");
    assert_fails(aios_hardware_resolve(context, list, "0", NULL, NULL), AIOS_INVALID_ARGUMENT, "hardware is NULL");
    aios_device_list_destroy(list);
}

/* ---- precision ------------------------------------------------------------------------------------------------------ */

static void a_precision_must_be_one_that_every_device_can_do(void **state)
{
    (void)state;
    aios_device_info devices[] = {cpu(0), gpu("cuda", 0, "NVIDIA", "Tesla P100", 0), gpu("cuda", 1, "NVIDIA", "H200", 1)};
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_hardware *h;
    devices[1].storage_types = F32_BIT | F16_BIT;
    aios_device_list *list = list_of(devices, 3);
    options.precision = "bf16-mixed";
    assert_fails(aios_hardware_resolve(context, list, "0,1", &options, &h), AIOS_UNSUPPORTED,
                 "cuda:0 (Tesla P100) can't do precision bf16-mixed: it can do 32, 16-mixed");
    h = resolve(list, "1", &options);
    assert_string_equal(aios_hardware_precision(h), "bf16-mixed");
    aios_hardware_destroy(h);
    h = resolve(list, "{\"hardware\": {\"selected_devices\": [\"gpu:0\"], \"precision\": \"16-mixed\"}}", NULL);
    assert_string_equal(aios_hardware_precision(h), "16-mixed");
    aios_hardware_destroy(h);
    options.precision = "32"; /* goes before the JSON's */
    h = resolve(list, "{\"selected_devices\": [\"gpu:0\"], \"precision\": \"bf16-mixed\"}", &options);
    assert_string_equal(aios_hardware_precision(h), "32");
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

/* ---- numbers -------------------------------------------------------------------------------------------------------- */

static void the_notes_count_batch_rate_and_workers(void **state)
{
    (void)state;
    aios_device_list *list = all_vendors();
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.os = "linux";
    options.batch_size = 32;
    options.num_workers = 4;
    aios_hardware *h = resolve(list, "0,1", &options);
    assert_int_equal(aios_hardware_effective_batch_size(h), 64);
    assert_int_equal(aios_hardware_learning_rate_scale(h), 2);
    assert_int_equal(aios_hardware_loader_workers(h), 8);
    assert_true(has_note(h, "Effective batch size: 64 (32 × 2 GPUs)"));
    assert_true(has_note(h, "Linear scaling rule: with 2 times the batch, a learning rate for one device may be multiplied by 2."));
    assert_true(has_note(h, "Data loading workers: 8 (4 × 2 GPUs)"));
    aios_hardware_destroy(h);

    h = resolve(list, "0", &options);
    assert_int_equal(aios_hardware_effective_batch_size(h), 32);
    assert_int_equal(aios_hardware_loader_workers(h), 4);
    assert_int_equal(aios_hardware_note_count(h), 0);
    aios_hardware_destroy(h);

    h = resolve(list, "0,3", &options); /* each vendor's step is its own */
    assert_int_equal(aios_hardware_effective_batch_size(h), 32);
    assert_int_equal(aios_hardware_learning_rate_scale(h), 1);
    assert_true(has_note(h, "Effective batch size: 32 on each of 2 GPUs, which step independently"));
    aios_hardware_destroy(h);

    options.batch_size = INT32_MAX; /* no overflow */
    h = resolve(list, "0,1", &options);
    assert_true(aios_hardware_effective_batch_size(h) == 2 * (int64_t)INT32_MAX);
    aios_hardware_destroy(h);

    h = resolve(list, "0,1", NULL); /* not known */
    assert_int_equal(aios_hardware_effective_batch_size(h), 0);
    assert_string_equal(member(aios_hardware_json(h), "effective_batch_size"), "null");
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

/* ---- inference, platforms ------------------------------------------------------------------------------------------ */

static void inference_and_lists_stop_at_eight_devices(void **state)
{
    (void)state;
    aios_device_list *list = nvidia(10);
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.os = "linux";
    aios_hardware *h = resolve(list, "0,1,2,3,4,5,6,7", &options);
    assert_int_equal(aios_hardware_inference_count(h), 8);
    assert_false(has_warning(h, "device_selection_truncated"));
    aios_hardware_destroy(h);
    h = resolve(list, "9,0,1,2,3,4,5,6,7", &options);
    assert_int_equal(aios_hardware_device_count(h), 9); /* training uses all */
    assert_int_equal(aios_hardware_inference_count(h), 8);
    assert_string_equal(aios_hardware_inference_device(h, 0)->spec, "cuda:9");
    assert_null(aios_hardware_inference_device(h, 8));
    assert_true(has_warning(h, "device_selection_truncated"));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

static void windows_infers_on_the_first_cuda_device(void **state)
{
    (void)state;
    aios_device_list *list = all_vendors();
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.os = "windows";
    aios_hardware *h = resolve(list, "xpu:0,cuda:1,cuda:0", &options);
    assert_int_equal(aios_hardware_inference_count(h), 1);
    assert_string_equal(aios_hardware_inference_device(h, 0)->spec, "cuda:1");
    assert_int_equal(aios_hardware_device_count(h), 3);
    aios_hardware_destroy(h);
    h = resolve(list, "hip:0,xpu:0", &options);
    assert_string_equal(aios_hardware_inference_device(h, 0)->spec, "hip:0");
    assert_true(has_warning(h, "windows_single_gpu_fallback"));
    aios_hardware_destroy(h);
    h = resolve(list, "cuda:1", &options);
    assert_int_equal(aios_hardware_warning_count(h), 0);
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
}

/* ---- warnings and events -------------------------------------------------------------------------------------------- */

static void a_token_has_one_sentence(void **state)
{
    (void)state;
    static const char *const promised[] = {"cuda_devices_unavailable", "device_selection_truncated", "mixed_device_selection",
                                           "empty_selection_defaulted", "windows_single_gpu_fallback"};
    for (size_t i = 0; i < COUNT_OF(promised); i++) assert_non_null(aios_warning_message(promised[i]));
    for (uint32_t i = 0; i < aios_warning_count(); i++) {
        const char *sentence = aios_warning_message(aios_warning_token(i));
        assert_non_null(sentence);
        assert_int_equal(sentence[strlen(sentence) - 1], '.');
        for (uint32_t j = 0; j < i; j++) assert_string_not_equal(sentence, aios_warning_message(aios_warning_token(j)));
    }
    assert_null(aios_warning_token(aios_warning_count()));
    assert_null(aios_warning_message("no_such_token"));
    assert_null(aios_warning_message(NULL));
}

static void an_attempt_is_one_event_and_a_warning_a_log_line(void **state)
{
    (void)state;
    aios_device_list *list = all_vendors();
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.os = "windows";
    forget();
    aios_hardware *h = resolve(list, "cpu,0,3", &options);
    const char *json = strchr(events, '{');
    assert_int_equal(event_count, 1);
    assert_int_equal(strncmp(events, "hardware_resolve {", 18), 0);
    assert_string_equal(member(json, "platform"), "\"windows\"");
    assert_string_equal(member(json, "requested"), "[\"cpu\",\"0\",\"3\"]");
    assert_string_equal(member(json, "effective"), "[\"cuda:0\",\"hip:0\"]");
    assert_string_equal(member(json, "warnings"), "[\"mixed_device_selection\",\"windows_single_gpu_fallback\"]");
    assert_string_equal(member(json, "error"), "null");
    for (uint32_t i = 0; i < aios_hardware_warning_count(h); i++)
        assert_non_null(strstr(logged, aios_warning_message(aios_hardware_warning(h, i))));
    assert_int_equal(logged[0], '0' + AIOS_LOG_WARNING);
    aios_hardware_destroy(h);
    forget();
    assert_fails(aios_hardware_resolve(context, list, "0,7", &options, &h), AIOS_NOT_FOUND, "gpu");
    assert_int_equal(event_count, 1);
    assert_string_equal(member(strchr(events, '{'), "requested"), "[\"0\",\"7\"]");
    assert_string_equal(member(strchr(events, '{'), "effective"), "[]");
    assert_non_null(strstr(member(strchr(events, '{'), "error"), "no device 7"));
    aios_device_list_destroy(list);
}

static void with_fallback_it_goes_on_with_what_is_there(void **state)
{
    (void)state;
    static const struct {
        int gpus;
        const char *selection, *specs, *warnings;
    } rows[] = {
        {1, "", "[\"cuda:0\"]", "[\"empty_selection_defaulted\"]"},
        {0, "[]", "[\"cpu:0\"]", "[\"empty_selection_defaulted\"]"},
        {2, "1,5", "[\"cuda:1\"]", "[\"selected_device_missing\"]"},
        {2, "1,cuda:1", "[\"cuda:1\"]", "[]"},
        {0, "gpu:0", "[\"cpu:0\"]", "[\"cuda_devices_unavailable\",\"selected_device_missing\"]"},
        {1, "gpu:3", "[\"cuda:0\"]", "[\"empty_selection_defaulted\",\"selected_device_missing\"]"},
        {0, "gpu:0,cpu", "[\"cpu:0\"]", "[\"selected_device_missing\"]"},
    };
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.fallback = 1;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aios_device_list *list = nvidia(rows[i].gpus);
        aios_hardware *h = resolve(list, rows[i].selection, &options);
        assert_string_equal(member(aios_hardware_json(h), "specs"), rows[i].specs);
        assert_string_equal(member(aios_hardware_json(h), "warnings"), rows[i].warnings);
        aios_hardware_destroy(h);
        aios_device_list_destroy(list);
    }
    aios_hardware *h;
    aios_device_list *list = nvidia(1);
    assert_fails(aios_hardware_resolve(context, list, "nonsense!", &options, &h), AIOS_INVALID_ARGUMENT, "a device is");
    aios_device_list_destroy(list);
}

/* ---- a selection that is kept ---------------------------------------------------------------------------------------- */

static aios_hardware *load(const aios_device_list *list, const char *path, const char *os)
{
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_hardware *h;
    options.os = os;
    assert_ok(aios_hardware_load(context, list, path, &options, &h));
    return h;
}

static void a_saved_selection_means_the_same_devices_wherever_they_are(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "devices.json");
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_device_list *list = all_vendors();
    options.os = "linux";
    options.precision = "bf16-mixed";
    aios_hardware *h = resolve(list, "gpu:1,hip:0,cpu", &options);
    assert_ok(aios_hardware_save(h, path));
    aios_hardware_destroy(h);

    h = load(list, path, "linux"); /* nothing changed */
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cuda:1\",\"hip:0\"]");
    assert_string_equal(member(aios_hardware_json(h), "requested"), "[\"gpu:1\",\"hip:0\",\"cpu\"]");
    assert_string_equal(aios_hardware_precision(h), "bf16-mixed");
    assert_int_equal(aios_hardware_change_count(h), 0);
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);

    /* cuda:1 became cuda:0, as its neighbour was taken out, and the AMD device is gone. */
    const aios_device_info fewer[] = {cpu(0), gpu("cuda", 0, "NVIDIA", "NVIDIA GeForce RTX 2080 Ti", 1)};
    list = list_of(fewer, 2);
    h = load(list, path, "linux");
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cuda:0\"]");
    assert_string_equal(member(aios_hardware_json(h), "requested"), "[\"gpu:1\",\"hip:0\",\"cpu\"]");
    assert_int_equal(aios_hardware_change_count(h), 2);
    assert_string_equal(aios_hardware_change(h, 0), "gpu:1 (NVIDIA GeForce RTX 2080 Ti) was cuda:1 and is cuda:0 now");
    assert_string_equal(aios_hardware_change(h, 1), "hip:0 (AMD Radeon RX 7900 XTX) is gone: it stays selected and is left out");
    assert_true(has_warning(h, "selected_device_missing"));
    assert_ok(aios_hardware_save(h, path));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);

    list = all_vendors(); /* and it comes back */
    h = load(list, path, "linux");
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cuda:1\",\"hip:0\"]");
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);

    list = no_gpu();
    h = load(list, path, "linux");
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cpu:0\"]");
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
    assert_int_equal(test_folder_count(context, folder), 1); /* no temporary file is left */
    test_folder_remove(folder);
}

static void another_device_in_the_same_place_is_not_the_selected_one(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "devices.json");
    aios_device_list *list = nvidia(1);
    aios_hardware *h = resolve(list, "gpu:0", NULL);
    assert_ok(aios_hardware_save(h, path));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
    aios_device_info other[] = {cpu(0), gpu("cuda", 0, "NVIDIA", "NVIDIA GeForce RTX 3090", 0)};
    (void)snprintf(other[1].uuid, sizeof other[1].uuid, "GPU-ffffffff-86f3-7a43-b711-477131300000");
    list = list_of(other, 2);
    h = load(list, path, "linux");
    assert_true(has_warning(h, "selected_device_missing"));
    assert_true(has_warning(h, "empty_selection_defaulted"));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
    test_folder_remove(folder);
}

static void a_changed_operating_system_is_told_and_the_devices_recognised(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    const char *path = test_path(folder, "devices.json");
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    aios_device_list *list = nvidia(2);
    options.os = "windows";
    aios_hardware *h = resolve(list, "0,1", &options);
    assert_ok(aios_hardware_save(h, path));
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);

    aios_device_info devices[] = {cpu(0), gpu("cuda", 0, "NVIDIA", "NVIDIA GeForce RTX 3090", 0),
                                  gpu("cuda", 1, "NVIDIA", "NVIDIA GeForce RTX 3090", 1)};
    (void)snprintf(devices[1].uuid, sizeof devices[1].uuid, "GPU-ffffffff-86f3-7a43-b711-477131300000"); /* another driver's idea */
    list = list_of(devices, 3);
    h = load(list, path, "linux");
    assert_string_equal(member(aios_hardware_json(h), "warnings"), "[\"operating_system_changed\"]");
    assert_string_equal(member(aios_hardware_json(h), "specs"), "[\"cuda:0\",\"cuda:1\"]");
    assert_string_equal(aios_hardware_change(h, 0), "the selection was saved on windows and this is linux");
    assert_string_equal(aios_hardware_strategy(h), "ddp");
    assert_ok(aios_hardware_save(h, path)); /* which settles it */
    aios_hardware_destroy(h);
    h = load(list, path, "linux");
    assert_int_equal(aios_hardware_warning_count(h), 0);
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
    test_folder_remove(folder);
}

static void a_broken_file_is_named(void **state)
{
    (void)state;
    static const char *const broken[][2] = {
        {"", "devices.json"},
        {"{", "devices.json:1"},
        {"[]", "format"},
        {"{\"format\": \"x\"}", "aios-selection"},
        {"{\"format\": \"aios-selection\", \"version\": 1, \"platform\": \"beos\"}", "platform"},
        {"{\"format\": \"aios-selection\", \"version\": 1, \"platform\": \"linux\", \"hardware\": {\"selected_devices\": [\"cpu\"]}}",
         "identities"},
        {"{\"format\": \"aios-selection\", \"version\": 1, \"platform\": \"linux\", \"hardware\": {\"selected_devices\": [\"cpu\"]}, "
         "\"identities\": []}",
         "it must have 1"},
        {"{\"format\": \"aios-selection\", \"version\": 1, \"platform\": \"linux\", \"hardware\": {\"selected_devices\": [\"cpu\"]}, "
         "\"identities\": [7]}",
         "no object"},
        {"{\"format\": \"aios-selection\", \"version\": 1, \"platform\": \"linux\", \"hardware\": {\"selected_devices\": [\"cpu\"]}, "
         "\"identities\": [{\"spec\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}]}",
         "at most 31"},
    };
    char *folder = test_folder_make();
    const char *path = test_path(folder, "devices.json");
    aios_device_list *list = nvidia(1);
    aios_hardware *h;
    assert_fails(aios_hardware_load(context, list, path, NULL, &h), AIOS_NOT_FOUND, path);
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        test_file_write(path, broken[i][0], strlen(broken[i][0]));
        assert_fails(aios_hardware_load(context, list, path, NULL, &h), AIOS_CORRUPT, broken[i][1]);
        assert_non_null(strstr(aios_error_message(), path));
        assert_null(h);
    }
    static const char newer[] = "{\"format\": \"aios-selection\", \"version\": 2}";
    test_file_write(path, newer, sizeof newer - 1);
    assert_fails(aios_hardware_load(context, list, path, NULL, &h), AIOS_UNSUPPORTED, "version is 2: this libaios reads 1");
    assert_fails(aios_hardware_load(context, list, NULL, NULL, &h), AIOS_INVALID_ARGUMENT, "path is NULL");
    h = resolve(list, "cpu", NULL);
    assert_fails(aios_hardware_save(h, NULL), AIOS_INVALID_ARGUMENT, "path is NULL");
    assert_fails(aios_hardware_save(NULL, path), AIOS_INVALID_ARGUMENT, "hardware is NULL");
    assert_fails(aios_hardware_save(h, test_path(folder, "no/such/folder")), AIOS_NOT_FOUND, "saving the selection");
    aios_hardware_destroy(h);
    aios_device_list_destroy(list);
    test_folder_remove(folder);
}

/* ---- the list ---------------------------------------------------------------------------------------------------------- */

static void a_device_that_two_backends_show_is_listed_once(void **state)
{
    (void)state;
    aios_device_info devices[] = {cpu(0),
                                  gpu("cuda", 0, "NVIDIA", "NVIDIA H200", 0),
                                  gpu("xpu", 0, "Intel", "Intel Max", 1),
                                  gpu("xpu", 1, "Intel", "Intel Max", 1),
                                  gpu("hip", 0, "NVIDIA", "NVIDIA H200", 0),
                                  gpu("hip", 1, "AMD", "AMD MI300X", 4)};
    (void)snprintf(devices[4].pci_address, sizeof devices[4].pci_address, "00000000:30:00.0"); /* spelled otherwise */
    aios_device_list *list = list_of(devices, COUNT_OF(devices));
    static const char *const expected[] = {"cpu:0", "cuda:0", "xpu:0", "xpu:1", "hip:1"}; /* two tiles at one address stay */
    aios_hardware *h;
    assert_int_equal(aios_device_list_count(list), COUNT_OF(expected));
    for (uint32_t i = 0; i < COUNT_OF(expected); i++) {
        assert_string_equal(aios_device_list_get(list, i)->spec, expected[i]);
        assert_int_equal(aios_device_list_get(list, i)->id, (int32_t)i - 1);
    }
    assert_fails(aios_hardware_resolve(context, list, "hip:0", NULL, &h), AIOS_ALREADY_EXISTS,
                 "hip:0 is the device at 00000000:30:00.0 that cuda:0 is");
    aios_device_list_destroy(list);
}

static void a_name_that_is_no_utf8_does_no_harm(void **state)
{
    (void)state;
    const aios_device_info devices[] = {cpu(0), gpu("cuda", 0, "NVIDIA", "H\xff\xfe 200", 0)};
    aios_device_list *list = list_of(devices, 2);
    char *folder = test_folder_make();
    const char *path = test_path(folder, "devices.json");
    aios_hardware *h = resolve(list, "0", NULL);
    assert_string_equal(aios_hardware_device(h, 0)->info.name, "H?? 200");
    assert_ok(aios_hardware_save(h, path));
    aios_hardware_destroy(h);
    h = load(list, path, NULL);
    assert_int_equal(aios_hardware_change_count(h), 0);
    aios_hardware_destroy(h);
    assert_fails(aios_hardware_resolve(context, list, "9", NULL, &h), AIOS_NOT_FOUND, "no device 9");
    assert_int_equal(strncmp(member(strchr(events, '{'), "error"), "\"there is no", 12), 0);
    aios_device_list_destroy(list);
    test_folder_remove(folder);
}

static void without_a_list_it_looks_at_this_machine(void **state)
{
    (void)state;
    aios_hardware *h;
    assert_ok(aios_hardware_resolve(context, NULL, "cpu", NULL, &h));
    assert_string_equal(aios_hardware_device(h, 0)->spec, "cpu:0");
    assert_string_equal(aios_hardware_platform(h), "linux");
    aios_hardware_destroy(h);
    aios_hardware_destroy(NULL);
    assert_string_equal(aios_hardware_json(NULL), "{}");
}

static void a_mask_is_named_where_a_device_is_missing(void **state)
{
    (void)state;
    aios_device_list *list = nvidia(1);
    aios_hardware *h;
    assert_int_equal(setenv("CUDA_VISIBLE_DEVICES", "3", 1), 0);
    aios_status status = aios_hardware_resolve(context, list, "cuda:3", NULL, &h);
    assert_int_equal(unsetenv("CUDA_VISIBLE_DEVICES"), 0);
    assert_int_equal(status, AIOS_NOT_FOUND);
    assert_non_null(strstr(aios_error_message(), "CUDA_VISIBLE_DEVICES is \"3\""));
    aios_device_list_destroy(list);
}

static int open_group(void **state)
{
    (void)state;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = hear_log;
    options.event = hear_event;
    return aios_context_create(&options, &context) != AIOS_OK;
}

static int close_group(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_table),
        cmocka_unit_test(the_default_is_the_first_gpu_else_the_cpu),
        cmocka_unit_test(several_cpu_devices_work_together_when_named),
        cmocka_unit_test(beside_gpus_the_cpu_trains_where_it_is_asked_for),
        cmocka_unit_test(cuda_ids_of_the_environment_are_the_default),
        cmocka_unit_test(a_device_has_many_names),
        cmocka_unit_test(a_wrong_selection_is_refused_in_one_sentence),
        cmocka_unit_test(what_exists_is_told_in_whole_names),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(a_precision_must_be_one_that_every_device_can_do),
        cmocka_unit_test(the_notes_count_batch_rate_and_workers),
        cmocka_unit_test(inference_and_lists_stop_at_eight_devices),
        cmocka_unit_test(windows_infers_on_the_first_cuda_device),
        cmocka_unit_test(a_token_has_one_sentence),
        cmocka_unit_test(an_attempt_is_one_event_and_a_warning_a_log_line),
        cmocka_unit_test(with_fallback_it_goes_on_with_what_is_there),
        cmocka_unit_test(a_saved_selection_means_the_same_devices_wherever_they_are),
        cmocka_unit_test(another_device_in_the_same_place_is_not_the_selected_one),
        cmocka_unit_test(a_changed_operating_system_is_told_and_the_devices_recognised),
        cmocka_unit_test(a_broken_file_is_named),
        cmocka_unit_test(a_device_that_two_backends_show_is_listed_once),
        cmocka_unit_test(a_name_that_is_no_utf8_does_no_harm),
        cmocka_unit_test(without_a_list_it_looks_at_this_machine),
        cmocka_unit_test(a_mask_is_named_where_a_device_is_missing),
    };
    return cmocka_run_group_tests(tests, open_group, close_group);
}
