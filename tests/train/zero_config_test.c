/* Option zero-config: DeepSpeed's keys as options, the ones that can't be honoured by name. */
#include "run.h"

#include "trainer/trainer.h"
#include "trainer/zero_config.h"

static char warnings[4096];

static void keep_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    size_t used = strlen(warnings);
    if (level == AIOS_LOG_WARNING) (void)snprintf(warnings + used, sizeof warnings - used, "%s\n", message);
}

struct fixture {
    char *folder;
    aios_context *context;
    aios_options *given, *options;
};

static int setup(void **state)
{
    static struct fixture f;
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    options.log = keep_warning;
    f.folder = test_folder_make();
    f.options = NULL;
    warnings[0] = 0;
    assert_ok(aios_context_create(&options, &f.context));
    assert_ok(aios_options_create(f.context, AIOS_SCOPE_TRAIN, &f.given));
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    aios_options_destroy(f->options);
    aios_options_destroy(f->given);
    aios_context_destroy(f->context);
    test_folder_remove(f->folder);
    return 0;
}

static aios_status read_text(struct fixture *f, const char *json)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/zero.json", f->folder);
    write_file(path, json, strlen(json));
    assert_ok(aios_options_set(f->given, "zero-config", path));
    aios_options_destroy(f->options);
    f->options = NULL;
    return zero_config_options(f->context, f->given, &f->options);
}

static const char *text_of(const struct fixture *f, const char *name)
{
    const char *text;
    assert_ok(aios_options_get_string(f->options, name, &text));
    return text;
}

static double number_of(const struct fixture *f, const char *name)
{
    double number;
    int64_t integer;
    if (aios_options_get_int(f->options, name, &integer) == AIOS_OK) return (double)integer;
    assert_ok(aios_options_get_float(f->options, name, &number));
    return number;
}

static void every_key_that_is_known_is_honoured(void **state)
{
    struct fixture *f = *state;
    assert_ok(read_text(f, "{\"zero_optimization\": {\"stage\": 2, \"reduce_bucket_size\": 2621440, \"allgather_bucket_size\": 2621440,"
                           " \"overlap_comm\": false, \"contiguous_gradients\": true, \"offload_optimizer\": {\"device\": \"none\"}},"
                           " \"train_micro_batch_size_per_gpu\": 4, \"gradient_accumulation_steps\": 3, \"gradient_clipping\": 0.5,"
                           " \"fp16\": {\"loss_scale_window\": 500, \"enabled\": true, \"initial_scale_power\": 12, \"loss_scale\": 0},"
                           " \"bf16\": {\"enabled\": \"auto\"}, \"steps_per_print\": 7,"
                           " \"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": 3e-5, \"betas\": [0.8, 0.999], \"eps\": 1e-7,"
                           " \"weight_decay\": 0.01}},"
                           " \"scheduler\": {\"type\": \"WarmupLR\", \"params\": {\"warmup_min_lr\": 0, \"warmup_max_lr\": 3e-5,"
                           " \"warmup_num_steps\": 100, \"warmup_type\": \"linear\"}}}"));
    assert_string_equal(text_of(f, "zero-stage"), "zero2");
    assert_string_equal(text_of(f, "precision"), "16-mixed");
    assert_string_equal(text_of(f, "optimizer"), "adamw");
    assert_string_equal(text_of(f, "lr-schedule"), "constant");
    static const struct {
        const char *name;
        double value;
    } numbers[] = {{"bucket-mb", 10},
                   {"overlap", 0},
                   {"batch-size", 4},
                   {"gradient-accumulation-steps", 3},
                   {"grad-clip", 0.5},
                   {"loss-scale", 4096},
                   {"loss-scale-growth-interval", 500},
                   {"log-interval", 7},
                   {"lr", 3e-5},
                   {"beta1", 0.8},
                   {"beta2", 0.999},
                   {"adam-eps", 1e-7},
                   {"weight-decay", 0.01},
                   {"lr-warmup-steps", 100}};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        if (number_of(f, numbers[i].name) != numbers[i].value) fail_msg("%s is %g", numbers[i].name, number_of(f, numbers[i].name));
    assert_string_equal(warnings, "");
}

static void auto_leaves_what_the_options_say(void **state)
{
    struct fixture *f = *state;
    assert_ok(aios_options_set(f->given, "lr", "1e-3"));
    assert_ok(aios_options_set(f->given, "zero-stage", "3"));
    assert_ok(read_text(f, "{\"optimizer\": {\"params\": {\"lr\": \"auto\", \"betas\": \"auto\"}}, \"fp16\": {\"enabled\": \"auto\"},"
                           " \"zero_optimization\": {\"stage\": 3}, \"train_batch_size\": \"auto\"}"));
    assert_true(number_of(f, "lr") == 1e-3 && number_of(f, "beta2") == 0.95);
    assert_string_equal(text_of(f, "precision"), "32");
    assert_string_equal(warnings, "");
}

static void what_is_not_known_is_named_once(void **state)
{
    struct fixture *f = *state;
    assert_ok(read_text(f, "{\"zero_optimization\": {\"stage\": 1, \"sub_group_size\": 1e9, \"stages\": 2}, \"aio\": {\"depth\": 4},"
                           " \"train_batch_size\": 64}"));
    static const char *const named[] = {"zero_optimization.sub_group_size", "zero_optimization.stages is not known",
                                        "aio.depth is not known", "train_batch_size"};
    for (size_t i = 0; i < COUNT_OF(named); i++) assert_non_null(strstr(warnings, named[i]));
    assert_string_equal(text_of(f, "zero-stage"), "zero1");
}

static void what_can_not_be_honoured_is_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *json, *first, *second;
        aios_status status;
    } cases[] = {
        {"{\"zero_optimization\": {\"offload_optimizer\": {\"device\": \"cpu\"}}}", "offload_optimizer", "cpu", AIOS_UNSUPPORTED},
        {"{\"zero_optimization\": {\"offload_param\": {\"device\": \"nvme\"}}}", "offload_param", "nvme", AIOS_UNSUPPORTED},
        {"{\"zero_optimization\": {\"stage\": 4}}", "zero_optimization.stage is 4:", "0, 1, 2 or 3", AIOS_INVALID_ARGUMENT},
        {"{\"zero_optimization\": {\"reduce_bucket_size\": 1000, \"allgather_bucket_size\": 2000}}", "1000", "2000", AIOS_UNSUPPORTED},
        {"{\"zero_optimization\": {\"contiguous_gradients\": false}}", "contiguous_gradients", "0", AIOS_UNSUPPORTED},
        {"{\"optimizer\": {\"type\": \"Lamb\"}}", "Lamb", "AdamW", AIOS_UNSUPPORTED},
        {"{\"optimizer\": {\"params\": {\"betas\": [0.9]}}}", "betas is [0.9]:", "two numbers", AIOS_INVALID_ARGUMENT},
        {"{\"optimizer\": {\"params\": {\"lr\": \"fast\"}}}", "lr", "a number", AIOS_INVALID_ARGUMENT},
        {"{\"scheduler\": {\"type\": \"OneCycle\"}}", "OneCycle", "WarmupLR", AIOS_UNSUPPORTED},
        {"{\"scheduler\": {\"params\": {\"warmup_type\": \"log\"}}}", "warmup_type", "linear", AIOS_UNSUPPORTED},
        {"{\"scheduler\": {\"params\": {\"warmup_max_lr\": 1}}, \"optimizer\": {\"params\": {\"lr\": 2}}}", "warmup_max_lr",
         "optimizer.params.lr", AIOS_INVALID_ARGUMENT},
        {"{\"fp16\": {\"enabled\": true}, \"bf16\": {\"enabled\": true}}", "fp16.enabled", "bf16.enabled", AIOS_INVALID_ARGUMENT},
        {"{\"fp16\": {\"enabled\": true, \"initial_scale_power\": 99}}", "initial_scale_power", "24", AIOS_INVALID_ARGUMENT},
        {"{\"fp16\": {\"loss_scale\": 128}}", "fp16.loss_scale", "128", AIOS_UNSUPPORTED},
        {"{\"train_micro_batch_size_per_gpu\": 2.5}", "train_micro_batch_size_per_gpu", "whole", AIOS_INVALID_ARGUMENT},
        {"{\"train_micro_batch_size_per_gpu\": 0}", "train_micro_batch_size_per_gpu", "batch-size", AIOS_OUT_OF_RANGE},
        {"{\"gradient_clipping\": 2}", "grad-clip is 1", "gradient_clipping", AIOS_INVALID_ARGUMENT},
        {"[1]", "no JSON object", "zero.json", AIOS_CORRUPT},
        {"{\"stage\"", "zero.json:1", "", AIOS_CORRUPT},
    };
    assert_ok(aios_options_set(f->given, "grad-clip", "1"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aios_status status = read_text(f, cases[i].json);
        if (status != cases[i].status || !strstr(aios_error_message(), cases[i].first) || !strstr(aios_error_message(), cases[i].second))
            fail_msg("%s: %d, %s", cases[i].json, (int)status, status == AIOS_OK ? "accepted" : aios_error_message());
        assert_null(f->options);
    }
    assert_ok(aios_options_set(f->given, "zero-config", "/nowhere/zero.json"));
    assert_int_equal(zero_config_options(f->context, f->given, &f->options), AIOS_NOT_FOUND);
}

/* The files that come with libaios, in a run. */
static void the_files_that_are_shipped_train(void **state)
{
    (void)state;
    for (int stage = 1; stage <= 3; stage++) {
        struct run r;
        char path[PATH_SIZE];
        run_open(&r);
        write_random(&r, "text.txt", 7, 2000);
        (void)snprintf(path, sizeof path, "%s/../config/deepspeed_zero%d.json", TEST_SOURCE_DIR, stage);
        run_set(&r, "zero-config", path);
        run_set(&r, "devices", "cpu:0,cpu:1");
        run_set(&r, "steps", "2");
        assert_ok(run_train(&r));
        assert_int_equal(r.warnings, 0);
        assert_int_equal(r.trainer->settings.zero_stage, stage);
        assert_true(r.losses[2] > 0);
        run_close(&r);
    }
}

int main(void)
{
    (void)setenv("AIOS_CPU_DEVICES", "2", 1);
    (void)setenv("AIOS_CPU_THREADS", "2", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_key_that_is_known_is_honoured, setup, teardown),
        cmocka_unit_test_setup_teardown(auto_leaves_what_the_options_say, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_known_is_named_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_can_not_be_honoured_is_refused, setup, teardown),
        cmocka_unit_test(the_files_that_are_shipped_train),
    };
    return cmocka_run_group_tests_name("zero-config", tests, NULL, NULL);
}
