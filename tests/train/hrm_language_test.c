/* The language variant of HRM learns language, not copying, and any split of its work gives the same.  A list of devices as the
 * program's argument is trained on beside the CPU's own. */
#include "run.h"

#define STEPS 6

static const char *devices = "cpu:0,cpu:1";

static void open_run(struct run *r, const char *steps)
{
    run_open(r);
    aios_options_destroy(r->options);
    assert_ok(aios_options_create(r->context, AIOS_SCOPE_TRAIN, &r->options));
    run_set(r, "device", "cpu:0");
    run_set_path(r, "dataset-file", "text.txt");
    run_set_path(r, "cache-dir", "cache");
    run_set_path(r, "save-dir", "run");
    run_set(r, "model-type", "hrm_actv1");
    run_set(r, "hidden-size", "32");
    run_set(r, "num-heads", "2");
    run_set(r, "h-layers", "1");
    run_set(r, "l-layers", "1");
    run_set(r, "max-seq-len", "32");
    run_set(r, "eval-fraction", "0");
    run_set(r, "lr", "3e-3");
    run_set(r, "steps", steps);
}

/* As for GPT-2 (trainer_test.c), with the same bounds: labels are shifted and attention is causal, so what a fair die shows next can't be
 * known.  Earlier segments' losses and halting are not in the loss. */
static void random_tokens_are_never_predicted_better_than_chance(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    size_t size;
    open_run(&r, "160");
    write_random(&r, "text.txt", 64, 60000);
    write_random(&r, "other.txt", 64, 70000); /* the same beginning … */
    run_path(&r, "other.txt", path);
    char *bytes = read_file(path, &size);
    write_file(path, bytes + 60000, 4097); /* … so what comes after it is new */
    free(bytes);
    run_set(&r, "eval-file", path);
    run_set(&r, "eval-batches", "0");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    assert_true(m.eval_loss > log(64) - 0.02);
    if (!(m.eval_loss < log(64) + 0.1)) fail_msg("the loss is %g, that of chance %g", m.eval_loss, log(64));
    assert_true(r.losses[1] > 5 && r.losses[1] < 6.2); /* ln 257 = 5.55: nothing is known yet */
    run_close(&r);
}

/* Nats of a letter of which nothing but the letters' frequencies is known. */
static double unigram_entropy(const char *bytes, size_t size)
{
    double counts[256] = {0}, entropy = 0;
    for (size_t i = 0; i < size; i++) counts[(unsigned char)bytes[i]] += 1;
    for (int i = 0; i < 256; i++)
        if (counts[i] > 0) entropy -= counts[i] / (double)size * log(counts[i] / (double)size);
    return entropy;
}

static void prose_is_predicted_better_than_by_frequencies(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    size_t size;
    open_run(&r, "200");
    char *text = read_file(TEST_SOURCE_DIR "/../docs/architecture.md", &size);
    double entropy = unigram_entropy(text, size);
    run_path(&r, "text.txt", path);
    write_file(path, text, size);
    free(text);
    run_set(&r, "eval-fraction", "0.1");
    run_set(&r, "lr", "1e-2");
    run_set(&r, "lr-warmup-steps", "20");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    if (!(m.eval_loss < entropy - 0.3)) fail_msg("the loss is %g on text that is new, the letters' entropy %g", m.eval_loss, entropy);
    run_close(&r);
}

/* The last bits of sums in another order, which the steps carry on. */
static void assert_same_losses(const struct run *a, const struct run *b, double tolerance)
{
    for (int i = 1; i <= STEPS; i++)
        if (!(fabs(a->losses[i] - b->losses[i]) <= tolerance * a->losses[i]))
            fail_msg("step %d: %.9g and %.9g differ by more than %g", i, a->losses[i], b->losses[i], tolerance);
}

static int count_devices(void)
{
    int count = 1;
    for (const char *c = devices; *c; c++) count += *c == ',';
    return count;
}

static int experts; /* 1: the gated layers are mixtures */

static void train_with(struct run *r, const char *names, int batch, const char *option, const char *value)
{
    char text[16];
    open_run(r, "6");
    if (experts) run_set(r, "use-moe", "on");
    if (experts) run_set(r, "num-experts", "4");
    write_random(r, "text.txt", 7, 6000);
    (void)snprintf(text, sizeof text, "%d", batch);
    run_set(r, "batch-size", text);
    run_set(r, "devices", names);
    run_set(r, "keep-cpu", "on");
    run_set(r, "strategy", "ddp");
    if (option) run_set(r, option, value);
    assert_ok(run_train(r));
}

/* One device with the whole batch, against accumulation, recomputation, several devices, shards of the model. */
static void compare_splits(void)
{
    static const char *const ways[][2] = {{"bucket-mb", "0.02"}, {"zero-stage", "zero2"}, {"zero-stage", "zero3"}};
    struct run whole, part;
    int count = count_devices();
    train_with(&whole, "cpu:0", 2 * count, NULL, NULL);
    train_with(&part, "cpu:0", 2 * count, "gradient-checkpointing", "on");
    assert_same_losses(&whole, &part, 0);
    run_close(&part);
    train_with(&part, "cpu:0", 2, "gradient-accumulation-steps", count == 2 ? "2" : count == 3 ? "3" : "4");
    assert_same_losses(&whole, &part, count <= 4 ? 1e-6 : 1);
    run_close(&part);
    for (size_t i = experts ? 2 : 0; i < sizeof ways / sizeof *ways; i++) {
        train_with(&part, devices, 2, ways[i][0], ways[i][1]);
        assert_same_losses(&whole, &part, 3e-6);
        run_close(&part);
    }
    run_close(&whole);
}

static void any_split_is_the_whole_batch(void **state)
{
    (void)state;
    compare_splits();
}

/* Its balance is that of each text, so it does not depend on who has which. */
static void a_mixture_of_experts_is_the_same_in_every_mode(void **state)
{
    (void)state;
    experts = 1;
    compare_splits();
    experts = 0;
}

/* Devices on chunks of their own are merged; what can be known of the letters they learn together. */
static void independent_devices_learn_together(void **state)
{
    (void)state;
    struct run r;
    open_run(&r, "160");
    write_repeated(&r, "text.txt", "qwertyuiopasdfghjklzxcvbnm", 20000);
    run_set(&r, "devices", devices);
    run_set(&r, "keep-cpu", "on");
    run_set(&r, "strategy", "parallel-independent");
    run_set(&r, "merge-interval", "20");
    run_set(&r, "eval-fraction", "0.1");
    run_set(&r, "lr", "1e-2");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    if (!(m.eval_loss < 0.5)) fail_msg("the loss is %g: each letter tells the next", m.eval_loss);
    run_close(&r);
}

/* They learn, and the loss that keeps them busy is not told. */
static void experts_learn_and_their_balance_is_not_told(void **state)
{
    (void)state;
    struct run r;
    open_run(&r, "60");
    write_repeated(&r, "text.txt", "qwertyuiopasdfghjklzxcvbnm", 9000);
    run_set(&r, "use-moe", "on");
    run_set(&r, "num-experts", "4");
    run_set(&r, "num-experts-per-tok", "1");
    run_set(&r, "lr", "1e-2");
    assert_ok(run_train(&r));
    assert_true(r.losses[60] < 0.5 * r.losses[1]);
    assert_true(r.losses[1] < 6.2); /* the balance is not told */
    run_close(&r);
    open_run(&r, "1");
    write_random(&r, "text.txt", 7, 3000);
    run_set(&r, "num-experts", "4");
    assert_int_equal(aios_trainer_create(r.context, r.options, NULL, &r.trainer), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "set use-moe too"));
    run_close(&r);
}

static void a_size_of_another_architecture_is_refused(void **state)
{
    (void)state;
    struct run r;
    open_run(&r, "1");
    write_random(&r, "text.txt", 7, 3000);
    run_set(&r, "n-layer", "2");
    assert_int_equal(aios_trainer_create(r.context, r.options, NULL, &r.trainer), AIOS_INVALID_ARGUMENT);
    assert_non_null(strstr(aios_error_message(), "n-layer is for model-type gpt2: model-type is hrm_actv1"));
    run_close(&r);
}

int main(int count, char **words)
{
    if (count > 1) devices = words[1];
    (void)setenv("AIOS_CPU_DEVICES", "2", 1);
    (void)setenv("AIOS_CPU_THREADS", "2", 1);
    const struct CMUnitTest alone[] = {
        cmocka_unit_test(random_tokens_are_never_predicted_better_than_chance),
        cmocka_unit_test(prose_is_predicted_better_than_by_frequencies),
        cmocka_unit_test(experts_learn_and_their_balance_is_not_told),
        cmocka_unit_test(a_size_of_another_architecture_is_refused),
    };
    const struct CMUnitTest together[] = {
        cmocka_unit_test(any_split_is_the_whole_batch),
        cmocka_unit_test(a_mixture_of_experts_is_the_same_in_every_mode),
        cmocka_unit_test(independent_devices_learn_together),
    };
    int failed = count > 1 ? 0 : cmocka_run_group_tests_name("hrm_language", alone, NULL, NULL);
    return failed + cmocka_run_group_tests_name("hrm_language together", together, NULL, NULL);
}
