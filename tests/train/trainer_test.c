/* What a run promises: it learns what can be learned and no more, says what goes wrong, and stops when it is told. */
#include "run.h"

#include <pthread.h>

static const char alphabet[] = "qwertyuiopasdfghjklzxcvbnm"; /* each letter tells the next */

static void a_short_repeated_text_is_learned_by_heart(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "200");
    run_set(&r, "lr", "1e-2");
    run_set(&r, "lr-warmup-steps", "10");
    assert_ok(run_train(&r));
    assert_int_equal(r.steps_seen, 200);
    assert_true(r.losses[1] > 5 && r.losses[1] < 6); /* ln 257 = 5.55: nothing is known yet */
    if (!(r.losses[200] < 0.05)) fail_msg("the loss is %g after 200 steps", r.losses[200]);
    run_close(&r);
}

/* Labels are shifted and attention is causal: what a fair die shows next can't be known.  On text that was not trained on the
 * expected loss is at least ln 64; measured on 4,096 tokens it lies below by luck alone.  A model that is near the floor differs from
 * the uniform one by factors of a deviation under 0.25 (else it would lose 0.03 to it), so the luck is under 0.25 / sqrt(4096) = 0.004;
 * five of it are allowed. */
static void random_tokens_are_never_predicted_better_than_chance(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_random(&r, "text.txt", 64, 80000);
    write_random(&r, "other.txt", 64, 90000); /* the same beginning … */
    char path[PATH_SIZE];
    run_path(&r, "other.txt", path);
    size_t size;
    char *bytes = read_file(path, &size);
    write_file(path, bytes + 80000, 4097); /* … so what comes after it is new */
    free(bytes);
    run_set(&r, "eval-file", path);
    run_set(&r, "eval-batches", "0");
    run_set(&r, "eval-interval", "60");
    run_set(&r, "steps", "240"); /* 61,440 tokens: less than one epoch */
    run_set(&r, "lr", "3e-3");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    assert_int_equal(r.evals, 4);
    assert_true(m.eval_loss > log(64) - 0.02);
    if (!(m.eval_loss < log(64) + 0.1))
        fail_msg("the loss is %g: the letters' frequencies should be known by now (%g)", m.eval_loss, log(64));
    run_close(&r);
}

static void an_absurd_rate_ends_with_advice(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "400");
    run_set(&r, "lr", "1000");
    run_set(&r, "lr-schedule", "constant");
    run_set(&r, "weight-decay", "1000"); /* weights grow by 10^6 each step */
    run_set(&r, "max-nan-steps", "4");
    assert_fails(run_train(&r), AIOS_NOT_FINITE, "4 steps in a row");
    assert_non_null(strstr(aios_error_message(), "lr 1000"));
    assert_non_null(strstr(aios_error_message(), "lower lr"));
    assert_true(r.warnings >= 1);
    char path[PATH_SIZE];
    size_t size;
    run_path(&r, "run/run.json", path);
    char *text = read_file(path, &size);
    assert_non_null(strstr(text, "\"outcome\": \"not_finite\""));
    free(text);
    assert_int_equal(r.checkpoints, 0); /* the newest checkpoint stays the one from before */
    run_close(&r);
}

static void a_loss_scale_that_is_too_big_shrinks_and_is_no_nan(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "precision", "16-mixed");
    run_set(&r, "loss-scale", "16777216"); /* 2^24: gradients of logits are beyond f16 */
    run_set(&r, "max-nan-steps", "1");
    run_set(&r, "steps", "120");
    run_set(&r, "lr", "1e-2");
    assert_ok(run_train(&r));
    char path[PATH_SIZE];
    size_t size;
    run_path(&r, "run/metrics.json", path);
    char *text = read_file(path, &size);
    assert_true(field_of(text, "skipped") >= 1);
    assert_true(field_of(text, "loss_scale") < 16777216 && field_of(text, "loss_scale") >= 1);
    free(text);
    assert_true(r.losses[120] < 1);
    run_close(&r);
}

static void a_loss_scale_of_1_explains_nothing(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "precision", "16-mixed");
    run_set(&r, "loss-scale", "1");
    run_set(&r, "lr", "1000");
    run_set(&r, "max-nan-steps", "3");
    run_set(&r, "steps", "100");
    assert_fails(run_train(&r), AIOS_NOT_FINITE, "3 steps in a row");
    assert_non_null(strstr(aios_error_message(), "the loss scale is down to 1"));
    assert_non_null(strstr(aios_error_message(), "bf16-mixed"));
    run_close(&r);
}

static void checkpointed_activations_change_no_bit(void **state)
{
    (void)state;
    double last[2];
    for (int on = 0; on < 2; on++) {
        struct run r;
        run_open(&r);
        write_repeated(&r, "text.txt", alphabet, 4000);
        run_set(&r, "steps", "5");
        run_set(&r, "gradient-checkpointing", on ? "on" : "off");
        assert_ok(run_train(&r));
        last[on] = r.losses[5];
        run_close(&r);
    }
    assert_true(last[0] == last[1]);
}

/* ---- custom models ----------------------------------------------------------------------------------------------- */

static aios_status record_bigrams(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t sequence)
{
    (void)user;
    (void)mode;
    int32_t shape[] = {batch, sequence};
    aios_tensor table = aios_graph_parameter(g, "table", (int32_t[]){257, 32}, 2, AIOS_INIT_NORMAL, 0.02f, AIOS_GROUP_DECAY);
    aios_tensor head = aios_graph_parameter(g, "head", (int32_t[]){257, 32}, 2, AIOS_INIT_NORMAL, 0.02f, AIOS_GROUP_DECAY);
    aios_tensor x = aios_graph_embedding(g, table, aios_graph_input(g, "tokens", AIOS_I32, shape, 2));
    aios_tensor logits = aios_graph_linear(g, x, head, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
    (void)aios_graph_cross_entropy(g, logits, aios_graph_input(g, "labels", AIOS_I32, shape, 2), AIOS_SOFTMAX, 1.0f);
    return AIOS_OK;
}

static void a_model_of_ones_own_is_trained_and_resumed(void **state)
{
    (void)state;
    struct run r;
    aios_model *model;
    aios_model_functions f = {
        .struct_size = sizeof f, .vocabulary_size = 257, .context_length = 64, .name = "bigrams", .record = record_bigrams};
    run_open(&r);
    assert_ok(aios_model_create_custom(r.context, &f, &model));
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "lr", "2e-2");
    run_set(&r, "resume", "on");
    for (int i = 1; i <= 2; i++) {
        run_set(&r, "steps", i == 1 ? "60" : "120");
        assert_ok(aios_trainer_create(r.context, r.options, model, &r.trainer));
        assert_ok(aios_trainer_run(r.trainer));
        assert_int_equal(r.steps_seen, 60 * i);
        run_end_trainer(&r);
    }
    assert_true(r.losses[120] < 0.1); /* a letter tells the next: bigrams suffice */
    aios_model_destroy(model);
    run_close(&r);
}

static void wrong_options_are_refused_by_name(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 400);
    static const struct {
        const char *name, *value, *text;
        aios_status status;
    } cases[] = {
        {"dataset-file", "", "dataset-file is empty", AIOS_INVALID_ARGUMENT},
        {"dataset-file", "/tmp/no such text", "/tmp/no such text", AIOS_NOT_FOUND},
        {"eval-interval", "5", "eval-interval is 5", AIOS_INVALID_ARGUMENT},
        {"n-head", "3", "n_head 3", AIOS_INVALID_ARGUMENT},
        {"tokenizer", "/tmp/no such folder", "/tmp/no such folder", AIOS_NOT_FOUND},
        {"device", "cuda:99", "cuda:99", AIOS_NOT_FOUND},
        {"model", "/tmp/no such model", "n-layer is for a new model", AIOS_INVALID_ARGUMENT},
        {"loss-scale", "8", "loss-scale is for precision 16-mixed", AIOS_INVALID_ARGUMENT},
        {"eval-file", "/tmp/no such text", "/tmp/no such text", AIOS_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_options(&r, AIOS_SCOPE_TRAIN);
        run_set(&r, cases[i].name, cases[i].value);
        aios_status status = run_train(&r);
        if (status != cases[i].status && !(strcmp(cases[i].name, "device") == 0 && status == AIOS_UNAVAILABLE))
            fail_msg("%s=%s gave %s: %s", cases[i].name, cases[i].value, aios_status_name(status), aios_error_message());
        if (!strstr(aios_error_message(), cases[i].text)) fail_msg("the message lacks \"%s\": %s", cases[i].text, aios_error_message());
    }
    char path[PATH_SIZE];
    run_path(&r, "run", path);
    assert_int_equal(os_path_kind(path), OS_NOTHING); /* nothing is left behind */
    run_close(&r);
}

static void a_folder_belongs_to_one_run_at_a_time_and_to_one_history(void **state)
{
    (void)state;
    struct run r;
    aios_trainer *second = NULL;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 400);
    run_set(&r, "steps", "2");
    assert_ok(run_train(&r));
    assert_fails(aios_trainer_create(r.context, r.options, NULL, &second), AIOS_TIMEOUT, "another run");
    assert_null(second);
    run_end_trainer(&r);
    assert_fails(run_train(&r), AIOS_ALREADY_EXISTS, "step-00000002");
    run_close(&r);
}

static void a_model_limits_the_samples(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "1");
    assert_ok(run_train(&r));
    run_path(&r, "run/checkpoints/step-00000001", path);
    aios_options_destroy(r.options);
    assert_ok(aios_options_create(r.context, AIOS_SCOPE_TRAIN, &r.options));
    run_set_path(&r, "dataset-file", "text.txt");
    run_set_path(&r, "cache-dir", "cache");
    run_set_path(&r, "save-dir", "tuned");
    run_set(&r, "device", "cpu:0");
    run_set(&r, "model", path);
    run_set(&r, "steps", "1");
    run_set(&r, "max-seq-len", "33");
    assert_fails(run_train(&r), AIOS_OUT_OF_RANGE, "32 positions");
    aios_options_destroy(r.options);
    assert_ok(aios_options_create(r.context, AIOS_SCOPE_TRAIN, &r.options));
    run_set_path(&r, "dataset-file", "text.txt");
    run_set_path(&r, "cache-dir", "cache");
    run_set_path(&r, "save-dir", "tuned");
    run_set(&r, "device", "cpu:0");
    run_set(&r, "model", path);
    run_set(&r, "steps", "1");
    double before = r.losses[1];
    assert_ok(run_train(&r));          /* the default of 128 is brought down to the model's 32 */
    assert_true(r.losses[1] < before); /* it goes on from weights that have learned one step */
    run_close(&r);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

static void a_graceful_stop_ends_after_the_step_and_can_go_on(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "12");
    r.stop_at = 5;
    r.stop_mode = AIOS_STOP_GRACEFUL;
    assert_fails(run_train(&r), AIOS_STOPPED, "step 5 of 12");
    assert_int_equal(r.steps_seen, 5);
    assert_int_equal(r.checkpoints, 1);
    r.stop_at = 0;
    assert_ok(aios_trainer_run(r.trainer));
    assert_int_equal(r.steps_seen, 12);
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    assert_int_equal(m.step, 12);
    assert_int_equal(m.running, 0);
    run_close(&r);
}

static void a_stop_before_the_text_is_ready_makes_no_trainer(void **state)
{
    (void)state;
    struct run r;
    volatile int32_t stop = 1;
    aios_trainer *trainer = NULL;
    char folder[PATH_SIZE], cache[PATH_SIZE];
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 400);
    run_path(&r, "run", folder);
    run_path(&r, "cache", cache);
    assert_fails(aios_trainer_create_until(r.context, r.options, NULL, &stop, &trainer), AIOS_STOPPED, "tokenizing");
    assert_null(trainer);
    assert_int_equal(os_path_kind(folder), OS_NOTHING);
    assert_int_equal(rmdir(cache), 0); /* it is empty */
    stop = 0;
    assert_ok(aios_trainer_create_until(r.context, r.options, NULL, &stop, &trainer));
    aios_trainer_destroy(trainer);
    run_close(&r);
}

static void *watch_and_stop(void *argument)
{
    struct run *r = argument;
    aios_trainer_metrics m = {.struct_size = sizeof m};
    while (aios_trainer_get_metrics(r->trainer, &m) == AIOS_OK && m.step < 3) os_sleep(0.001);
    aios_trainer_stop(r->trainer, AIOS_STOP_IMMEDIATE);
    return NULL;
}

static void another_thread_may_watch_and_stop(void **state)
{
    (void)state;
    struct run r;
    pthread_t thread;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "100000");
    run_set(&r, "gradient-accumulation-steps", "2");
    assert_ok(aios_trainer_create(r.context, r.options, NULL, &r.trainer));
    assert_int_equal(pthread_create(&thread, NULL, watch_and_stop, &r), 0);
    assert_int_equal(aios_trainer_run(r.trainer), AIOS_STOPPED);
    pthread_join(thread, NULL);
    assert_true(r.steps_seen >= 3 && r.steps_seen < 100000);
    assert_int_equal(r.checkpoints, 1);
    run_close(&r);
}

static void stop_files_and_the_clock_stop_too(void **state)
{
    (void)state;
    static const char *const files[] = {"STOP", "GRACEFUL_STOP"};
    for (size_t i = 0; i < 3; i++) {
        struct run r;
        char path[PATH_SIZE];
        run_open(&r);
        write_repeated(&r, "text.txt", alphabet, 4000);
        run_set(&r, "steps", "100000");
        run_set_path(&r, "stop-file", "STOP");
        if (i == 2) {
            run_set(&r, "max-minutes", "0.005");
        } else {
            run_path(&r, files[i], path);
            write_file(path, "", 0);
        }
        assert_int_equal(run_train(&r), AIOS_STOPPED);
        assert_true(i == 2 ? r.steps_seen >= 1 : r.steps_seen == 0);
        assert_int_equal(r.checkpoints, 1);
        run_close(&r);
    }
}

/* ---- what a run leaves ------------------------------------------------------------------------------------------- */

static void the_log_has_every_step_once(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    size_t size;
    int expected = 0;
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    run_set(&r, "steps", "9");
    run_set(&r, "log-interval", "3");
    run_set(&r, "checkpoint-interval", "2");
    assert_ok(run_train(&r));
    assert_int_equal(r.steps_seen, 3);
    assert_int_equal(r.checkpoints, 5); /* 2 4 6 8 and 9 */
    run_path(&r, "run/metrics.jsonl", path);
    char *text = read_file(path, &size);
    assert_int_equal(text[size - 1], '\n');
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "{\"event\": \"step\", ") == line) assert_int_equal(field_of(line, "step"), expected += 3);
    assert_int_equal(expected, 9);
    free(text);
    run_path(&r, "run/checkpoints/step-00000008/manifest.json", path);
    assert_int_equal(os_path_kind(path), OS_FILE);
    run_path(&r, "run/checkpoints/step-00000006", path);
    assert_int_equal(os_path_kind(path), OS_NOTHING); /* keep-checkpoints is 2 */
    run_close(&r);
}

static void a_saved_model_evaluates_as_the_run_said(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    run_open(&r);
    write_repeated(&r, "text.txt", alphabet, 4000);
    write_repeated(&r, "other.txt", "qwertyqwerty\n", 1003);
    run_set(&r, "steps", "40");
    run_set(&r, "lr", "1e-2");
    run_set_path(&r, "eval-file", "other.txt");
    run_set(&r, "eval-batches", "0");
    assert_ok(run_train(&r));
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    run_options(&r, AIOS_SCOPE_EVAL);
    run_path(&r, "run/checkpoints/step-00000040", path);
    run_set(&r, "model", path);
    run_set_path(&r, "dataset-file", "other.txt");
    run_set(&r, "eval-batches", "0");
    run_set(&r, "batch-size", "5"); /* another cut into batches: the same tokens */
    aios_evaluation e = {.struct_size = sizeof e};
    assert_ok(aios_evaluate(r.context, r.options, &e));
    assert_true(e.tokens == 1002 || e.tokens == 1003);            /* with the end of text */
    assert_true(fabs(e.loss - m.eval_loss) < 1e-5 * m.eval_loss); /* f32 sums in another order */
    assert_true(fabs(e.perplexity - exp(e.loss)) < 1e-9 * e.perplexity);
    assert_true(fabs(e.nats_per_byte * 1002 - e.loss * (double)e.tokens) < 1e-9 * e.loss * 1002); /* bytes: one per label but the end */
    run_set(&r, "max-seq-len", "64");
    assert_fails(aios_evaluate(r.context, r.options, &e), AIOS_OUT_OF_RANGE, "max-seq-len is 64");
    run_close(&r);
}

static void evaluation_leaves_training_as_it_is(void **state)
{
    (void)state;
    double last[2];
    for (int evaluating = 0; evaluating < 2; evaluating++) {
        struct run r;
        run_open(&r);
        write_repeated(&r, "text.txt", alphabet, 4000);
        run_set(&r, "steps", "10");
        if (evaluating) {
            run_set_path(&r, "eval-file", "text.txt");
            run_set(&r, "eval-interval", "1");
        }
        assert_ok(run_train(&r));
        assert_int_equal(r.evals, evaluating ? 10 : 0);
        last[evaluating] = r.losses[10];
        run_close(&r);
    }
    assert_true(last[0] == last[1]);
}

/* 94 samples of 32 bytes, 47 steps of 2. */
static void an_epoch_can_be_the_end(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_random(&r, "text.txt", 7, 3000);
    run_set(&r, "batch-size", "2");
    run_set(&r, "steps", "1000");
    run_set(&r, "stop-after-epoch", "on");
    r.stop_at = 20;
    r.stop_mode = AIOS_STOP_IMMEDIATE;
    assert_int_equal(run_train(&r), AIOS_STOPPED);
    r.stop_at = 0;
    run_set(&r, "resume", "on");
    assert_ok(run_train(&r));
    assert_int_equal(r.steps_seen, 47);
    assert_ok(run_train(&r)); /* that one is over: the next */
    assert_int_equal(r.steps_seen, 94);
    run_close(&r);
}

static void a_run_can_go_on_over_its_steps(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_random(&r, "text.txt", 7, 3000);
    run_set(&r, "batch-size", "2");
    run_set(&r, "steps", "5");
    run_set(&r, "iterate", "on");
    r.stop_at = 60;
    r.stop_mode = AIOS_STOP_GRACEFUL;
    assert_int_equal(run_train(&r), AIOS_STOPPED);
    assert_int_equal(r.steps_seen, 60);
    run_close(&r);
}

int main(void)
{
    use_one_thread();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_repeated_text_is_learned_by_heart),
        cmocka_unit_test(random_tokens_are_never_predicted_better_than_chance),
        cmocka_unit_test(an_absurd_rate_ends_with_advice),
        cmocka_unit_test(a_loss_scale_that_is_too_big_shrinks_and_is_no_nan),
        cmocka_unit_test(a_loss_scale_of_1_explains_nothing),
        cmocka_unit_test(checkpointed_activations_change_no_bit),
        cmocka_unit_test(a_model_of_ones_own_is_trained_and_resumed),
        cmocka_unit_test(wrong_options_are_refused_by_name),
        cmocka_unit_test(a_folder_belongs_to_one_run_at_a_time_and_to_one_history),
        cmocka_unit_test(a_model_limits_the_samples),
        cmocka_unit_test(a_graceful_stop_ends_after_the_step_and_can_go_on),
        cmocka_unit_test(a_stop_before_the_text_is_ready_makes_no_trainer),
        cmocka_unit_test(another_thread_may_watch_and_stop),
        cmocka_unit_test(stop_files_and_the_clock_stop_too),
        cmocka_unit_test(an_epoch_can_be_the_end),
        cmocka_unit_test(a_run_can_go_on_over_its_steps),
        cmocka_unit_test(the_log_has_every_step_once),
        cmocka_unit_test(a_saved_model_evaluates_as_the_run_said),
        cmocka_unit_test(evaluation_leaves_training_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
