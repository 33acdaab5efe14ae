/* Evaluation of a saved model on several devices, each a processor's part: one result, whoever did what; an end before the end. */
#include "run.h"

#include "test.h"

#define DEVICES "cpu:0,cpu:1,cpu:2"

static const char *const alphabet = "abcdefghijklmnopqrstuvwxyz\n";

/* What the events of the devices say. */
struct parts {
    int64_t tokens, shards;
    int devices;
    volatile int32_t *stop; /* set with the first of them; NULL: none */
};
static struct parts parts;

static void take_part(struct run *r, const char *name, const char *json)
{
    (void)r;
    if (strcmp(name, "eval_device") != 0) return;
    parts.devices++;
    parts.tokens += (int64_t)field_of(json, "tokens");
    parts.shards += (int64_t)field_of(json, "shards");
    if (parts.stop) __atomic_store_n(parts.stop, 1, __ATOMIC_RELAXED);
}

/* A model of a few steps, and options to evaluate it. */
static void open_model(struct run *r)
{
    char path[PATH_SIZE];
    run_open(r);
    write_repeated(r, "text.txt", alphabet, 4000);
    write_random(r, "other.txt", 7, 3000);
    run_set(r, "steps", "5");
    assert_ok(run_train(r));
    run_end_trainer(r);
    run_options(r, AIOS_SCOPE_EVAL);
    run_path(r, "run/checkpoints/step-00000005", path);
    run_set(r, "model", path);
    run_set_path(r, "dataset-file", "other.txt");
    run_set(r, "eval-batches", "0");
    run_set(r, "batch-size", "2");
    run_set(r, "keep-cpu", "on");
    r->hook = take_part;
}

static aios_evaluation evaluate(struct run *r, const char *devices)
{
    aios_evaluation e = AIOS_EVALUATION_INIT;
    parts = (struct parts){.devices = 0};
    run_set(r, "devices", devices);
    assert_ok(aios_evaluate(r->context, r->options, &e));
    return e;
}

static void the_result_does_not_depend_on_who_did_what(void **state)
{
    (void)state;
    struct run r;
    open_model(&r);
    aios_evaluation one = evaluate(&r, "cpu:0");
    for (int n = 0; n < 5; n++) {
        aios_evaluation all = evaluate(&r, DEVICES);
        assert_memory_equal(&all.tokens, &one.tokens, offsetof(aios_evaluation, choice_accuracy) - offsetof(aios_evaluation, tokens));
        assert_int_equal(all.devices, 3);
        assert_int_equal(parts.devices, 3);
        assert_int_equal(parts.tokens, one.tokens);
        assert_int_equal(parts.shards, (one.samples + 1) / 2);
    }
    run_close(&r);
}

static void a_stop_ends_it_with_what_was_done(void **state)
{
    (void)state;
    struct run r;
    volatile int32_t stop = 1;
    aios_evaluation e = AIOS_EVALUATION_INIT;
    open_model(&r);
    aios_evaluation one = evaluate(&r, "cpu:0");
    run_set(&r, "devices", DEVICES);
    assert_int_equal(aios_evaluate_until(r.context, r.options, &stop, &e), AIOS_STOPPED);
    assert_non_null(strstr(aios_error_message(), "stopped after 0 of"));
    assert_int_equal(e.tokens, 0);
    assert_true(isnan(e.loss));

    run_set(&r, "sequential", "on"); /* each device does everything: the first one's counts */
    stop = 0;
    parts.stop = &stop;
    assert_int_equal(aios_evaluate_until(r.context, r.options, &stop, &e), AIOS_STOPPED);
    assert_non_null(strstr(aios_error_message(), "stopped after 1 of 3 devices"));
    assert_int_equal(e.devices, 1);
    assert_int_equal(e.tokens, one.tokens);
    assert_true(e.loss == one.loss);
    parts.stop = NULL;
    stop = 0;
    assert_ok(aios_evaluate_until(r.context, r.options, &stop, &e));
    assert_int_equal(e.tokens, 3 * one.tokens);
    run_close(&r);
}

/* Sets the stop while the devices work: at whatever moment that is, what is told is of whole micro-batches. */
static void *stop_soon(void *stop)
{
    os_sleep(0.01);
    __atomic_store_n((volatile int32_t *)stop, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void a_stop_in_the_middle_leaves_whole_micro_batches(void **state)
{
    (void)state;
    struct run r;
    volatile int32_t stop = 0;
    os_thread thread;
    aios_evaluation e = AIOS_EVALUATION_INIT;
    open_model(&r);
    write_random(&r, "long.txt", 7, 200000);
    run_set_path(&r, "dataset-file", "long.txt");
    run_set(&r, "devices", DEVICES);
    parts = (struct parts){.devices = 0};
    assert_ok(os_thread_start(&thread, "stop", stop_soon, (void *)(uintptr_t)&stop));
    assert_int_equal(aios_evaluate_until(r.context, r.options, &stop, &e), AIOS_STOPPED);
    os_thread_join(thread);
    assert_int_equal(e.tokens, parts.tokens);
    assert_int_equal(e.tokens % 64, 0);
    assert_in_range(e.tokens, 0, 199000);
    assert_int_equal(e.samples * 32, e.tokens);
    run_close(&r);
}

static void questions_count_when_all_their_choices_are_done(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    open_model(&r);
    static const char lines[] = "\xef\xbb\xbf{\"context\": \"abc\", \"choices\": [\"def\", \"xyz\"], \"answer\": 0}\r\n\r\n"
                                "{\"context\": \"uvw\", \"choices\": [\"xyz\", \"abc\", \"a\"], \"answer\": \"xyz\"}\r\n";
    run_path(&r, "questions.jsonl", path);
    write_file(path, lines, sizeof lines - 1);
    run_set(&r, "dataset-file", "");
    run_set(&r, "task-file", path);
    aios_evaluation one = evaluate(&r, "cpu:0"), all = evaluate(&r, DEVICES);
    assert_int_equal(one.questions, 2);
    assert_memory_equal(&all.questions, &one.questions, 3 * sizeof one.questions);
    assert_true(all.loss == one.loss);
    run_close(&r);
}

int main(void)
{
    use_one_thread();
    (void)setenv("AIOS_CPU_DEVICES", "3", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_result_does_not_depend_on_who_did_what),
        cmocka_unit_test(a_stop_ends_it_with_what_was_done),
        cmocka_unit_test(a_stop_in_the_middle_leaves_whole_micro_batches),
        cmocka_unit_test(questions_count_when_all_their_choices_are_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
