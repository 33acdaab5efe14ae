/* A run that was stopped, or killed, goes on as if nothing had happened: bit by bit. */
#include "run.h"

#include "trainer/run_folder.h"

#include <signal.h>
#include <sys/wait.h>

static const char text[] = "the quick brown fox jumps over the lazy dog. ";

/* What a test varies. */
struct plan {
    const char *save_dir, *precision, *accumulation, *optimizer;
    int64_t steps, stop_at; /* stop_at 0: to the end */
    int stop_mode, resume;
    const char *interval;
};

static void set_plan(struct run *r, const struct plan *p)
{
    char steps[32];
    run_options(r, AIOS_SCOPE_TRAIN);
    (void)snprintf(steps, sizeof steps, "%lld", (long long)p->steps);
    run_set_path(r, "save-dir", p->save_dir);
    run_set(r, "precision", p->precision);
    run_set(r, "gradient-accumulation-steps", p->accumulation);
    if (p->optimizer) run_set(r, "optimizer", p->optimizer);
    run_set(r, "steps", steps);
    run_set(r, "lr", "5e-3");
    run_set(r, "lr-warmup-steps", "3");
    run_set(r, "batch-size", "4");
    run_set(r, "checkpoint-interval", p->interval);
    if (strcmp(p->precision, "16-mixed") == 0) {
        run_set(r, "loss-scale", "16777216"); /* so that the scaler has something to do: it shrinks, then grows */
        run_set(r, "loss-scale-growth-interval", "4");
    }
    run_set(r, "resume", p->resume ? "on" : "off");
    r->stop_at = p->stop_at;
    r->stop_mode = p->stop_mode;
}

/* Runs the plan in a process of its own.  Returns its id. */
static pid_t start_process(struct run *r, const struct plan *p)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) return child;
    set_plan(r, p);
    aios_status status = run_train(r), wanted = p->stop_at ? AIOS_STOPPED : AIOS_OK;
    if (status != wanted) (void)fprintf(stderr, "the run gave %s: %s\n", aios_status_name(status), aios_error_message());
    run_end_trainer(r);
    _exit(status != wanted);
}

static void run_process(struct run *r, const struct plan *p)
{
    int result = -1;
    pid_t child = start_process(r, p);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void same_file(const struct run *r, const char *a, const char *b, const char *name)
{
    char path[PATH_SIZE], file[PATH_SIZE / 2];
    size_t size_a, size_b;
    (void)snprintf(file, sizeof file, "%s/%s", a, name);
    run_path(r, file, path);
    char *bytes_a = read_file(path, &size_a);
    (void)snprintf(file, sizeof file, "%s/%s", b, name);
    run_path(r, file, path);
    char *bytes_b = read_file(path, &size_b);
    assert_int_equal(size_a, size_b);
    if (memcmp(bytes_a, bytes_b, size_a) != 0) fail_msg("%s differs between %s and %s", name, a, b);
    free(bytes_a);
    free(bytes_b);
}

/* What the checkpoint says of the run, but for time and options. */
static void same_state(const struct run *r, const char *a, const char *b)
{
    static const char *const keys[] = {"step", "tokens", "next_sample", "bad_steps", "loss", "sequence", "train_samples"};
    char path[PATH_SIZE], file[PATH_SIZE / 2];
    size_t size;
    (void)snprintf(file, sizeof file, "%s/trainer.json", a);
    run_path(r, file, path);
    char *text_a = read_file(path, &size);
    (void)snprintf(file, sizeof file, "%s/trainer.json", b);
    run_path(r, file, path);
    char *text_b = read_file(path, &size);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double x = field_of(text_a, keys[i]), y = field_of(text_b, keys[i]);
        if (memcmp(&x, &y, sizeof x) != 0) fail_msg("%s is %.17g and %.17g", keys[i], x, y);
    }
    free(text_a);
    free(text_b);
}

static void same_checkpoint(const struct run *r, const char *a, const char *b)
{
    same_file(r, a, b, "config.json");
    same_file(r, a, b, "model.safetensors");
    same_file(r, a, b, "optimizer.safetensors");
    same_state(r, a, b);
}

/* Every step from 1 to `steps` stands in the log once, in order. */
static void check_log(const struct run *r, const char *save_dir, int steps)
{
    char path[PATH_SIZE], file[64];
    size_t size;
    int seen = 0;
    (void)snprintf(file, sizeof file, "%s/metrics.jsonl", save_dir);
    run_path(r, file, path);
    char *log = read_file(path, &size);
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "{\"event\": \"step\", ") == line) assert_int_equal(field_of(line, "step"), ++seen);
    assert_int_equal(seen, steps);
    free(log);
}

static void check_resume(const char *precision, const char *accumulation, const char *optimizer, int stop_mode)
{
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", text, 5000);
    struct plan whole = {"whole", precision, accumulation, optimizer, 20, 0, 0, 0, "10"};
    struct plan first = {"parts", precision, accumulation, optimizer, 20, 10, stop_mode, 0, "0"};
    struct plan rest = {"parts", precision, accumulation, optimizer, 20, 0, 0, 1, "0"};
    run_process(&r, &whole);
    run_process(&r, &first);
    same_checkpoint(&r, "whole/checkpoints/step-00000010", "parts/checkpoints/step-00000010");
    run_process(&r, &rest);
    same_checkpoint(&r, "whole/checkpoints/step-00000020", "parts/checkpoints/step-00000020");
    check_log(&r, "parts", 20);
    run_close(&r);
}

static void twenty_steps_are_ten_and_ten_in_f32(void **state)
{
    (void)state;
    check_resume("32", "1", "adamw", AIOS_STOP_GRACEFUL);
}

static void twenty_steps_are_ten_and_ten_in_16_mixed(void **state)
{
    (void)state;
    check_resume("16-mixed", "1", "adamw", AIOS_STOP_GRACEFUL);
}

static void twenty_steps_are_ten_and_ten_in_bf16_mixed(void **state)
{
    (void)state;
    check_resume("bf16-mixed", "1", "adamw", AIOS_STOP_GRACEFUL);
}

static void the_other_optimizers_go_on_too(void **state)
{
    (void)state;
    check_resume("32", "1", "adam-atan2", AIOS_STOP_GRACEFUL);
    check_resume("16-mixed", "1", "sign-sgd", AIOS_STOP_GRACEFUL);
}

static void a_stop_inside_a_step_leaves_nothing_of_it(void **state)
{
    (void)state;
    check_resume("32", "3", "adamw", AIOS_STOP_IMMEDIATE);
}

/* Ends the process as kill -9 does: within a step, or right after a checkpoint. */
static int64_t die_at;
static void die(struct run *r, const char *name, const char *json)
{
    (void)r;
    const char *when = die_at % 2 ? "step" : "checkpoint_save";
    if (strcmp(name, when) == 0 && (int64_t)field_of(json, "step") >= die_at) (void)raise(SIGKILL);
}

/* What is left is a checkpoint of some step, and the end is the same. */
static void a_killed_run_goes_on_from_its_checkpoint(void **state)
{
    (void)state;
    struct run r;
    struct plan whole = {"whole", "32", "1", NULL, 30, 0, 0, 0, "0"}, killed = {"killed", "32", "1", NULL, 30, 0, 0, 0, "2"};
    run_open(&r);
    write_repeated(&r, "text.txt", text, 5000);
    run_process(&r, &whole);
    r.hook = die;
    for (die_at = 3; die_at < 24; die_at += 5) {
        int result;
        pid_t child = start_process(&r, &killed);
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFSIGNALED(result));
        killed.resume = 1;
    }
    r.hook = NULL;
    run_process(&r, &killed);
    same_checkpoint(&r, "whole/checkpoints/step-00000030", "killed/checkpoints/step-00000030");
    check_log(&r, "killed", 30);
    run_close(&r);
}

/* ---- what must not change ---------------------------------------------------------------------------------------- */

static void prepare(struct run *r)
{
    struct plan p = {"run", "32", "1", NULL, 3, 0, 0, 0, "0"};
    run_open(r);
    write_repeated(r, "text.txt", text, 5000);
    write_repeated(r, "other.txt", "another text of another length ", 5000);
    set_plan(r, &p);
    assert_ok(run_train(r));
    run_end_trainer(r);
}

static void bare_options(struct run *r)
{
    aios_options_destroy(r->options);
    assert_ok(aios_options_create(r->context, AIOS_SCOPE_TRAIN, &r->options));
    run_set_path(r, "save-dir", "run");
    run_set(r, "resume", "on");
    r->warnings = 0;
}

static void a_change_that_breaks_the_run_is_refused_with_both_values(void **state)
{
    (void)state;
    struct run r;
    prepare(&r);
    static const struct {
        const char *name, *value, *then, *now;
    } cases[] = {
        {"n-embd", "64", "n_embd 32", "n-embd is 64"},
        {"n-layer", "3", "n_layer 2", "n-layer is 3"},
        {"optimizer", "sign-sgd", "was adamw", "optimizer is sign-sgd"},
        {"max-seq-len", "16", "32 in the checkpoint", "16 now"},
        {"eval-fraction", "0.3", "in the checkpoint", "training samples"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bare_options(&r);
        run_set(&r, cases[i].name, cases[i].value);
        assert_fails(run_train(&r), AIOS_INVALID_ARGUMENT, cases[i].then);
        assert_non_null(strstr(aios_error_message(), cases[i].now));
    }
    bare_options(&r);
    run_set_path(&r, "dataset-file", "other.txt");
    assert_fails(run_train(&r), AIOS_INVALID_ARGUMENT, "the dataset is another one");
    run_close(&r);
}

static void a_change_that_makes_another_run_is_allowed_and_told(void **state)
{
    (void)state;
    struct run r;
    prepare(&r);
    bare_options(&r);
    run_set(&r, "steps", "5");
    run_set(&r, "batch-size", "2");
    assert_ok(run_train(&r));
    assert_int_equal(r.warnings, 2); /* steps shape the cosine */
    assert_int_equal(r.steps_seen, 3 + 2);
    run_end_trainer(&r);
    bare_options(&r);
    run_set(&r, "steps", "6");
    run_set(&r, "batch-size", "2"); /* what it was last */
    assert_ok(run_train(&r));
    assert_int_equal(r.warnings, 1);
    assert_non_null(strstr(r.warning, "steps was 5 and is 6"));
    run_close(&r);
}

static void options_that_are_not_set_are_the_checkpoints(void **state)
{
    (void)state;
    struct run r;
    prepare(&r);
    bare_options(&r);
    assert_ok(run_train(&r)); /* all 3 steps are done already */
    assert_int_equal(r.warnings, 0);
    assert_int_equal(r.steps_seen, 3);
    aios_trainer_metrics m = {.struct_size = sizeof m};
    assert_ok(aios_trainer_get_metrics(r.trainer, &m));
    assert_int_equal(m.step, 3);
    run_close(&r);
}

static void resume_without_a_checkpoint_begins_a_run(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", text, 5000);
    run_set(&r, "steps", "2");
    run_set(&r, "resume", "on");
    assert_ok(run_train(&r));
    assert_int_equal(r.steps_seen, 2);
    run_set(&r, "save-dir", "");
    assert_fails(run_train(&r), AIOS_INVALID_ARGUMENT, "save-dir is empty");
    run_close(&r);
}

static void a_damaged_checkpoint_is_passed_over(void **state)
{
    (void)state;
    struct run r;
    char path[PATH_SIZE];
    size_t size;
    struct plan p = {"run", "32", "1", NULL, 4, 0, 0, 0, "2"};
    run_open(&r);
    write_repeated(&r, "text.txt", text, 5000);
    set_plan(&r, &p);
    assert_ok(run_train(&r));
    run_end_trainer(&r);
    run_path(&r, "run/checkpoints/step-00000004/model.safetensors", path);
    char *bytes = read_file(path, &size);
    bytes[size - 7] ^= 1;
    write_file(path, bytes, size);
    free(bytes);
    bare_options(&r);
    assert_ok(run_train(&r));
    assert_int_equal(r.steps_seen, 4 + 2); /* from step 2 */
    check_log(&r, "run", 4);
    run_close(&r);
}

static void the_log_is_cut_where_the_checkpoint_ends(void **state)
{
    (void)state;
    static const char log[] = "{\"event\": \"run_start\", \"steps\": 9, \"step\": 0}\n{\"event\": \"step\", \"step\": 1}\nno JSON at all\n"
                              "{\"event\": \"warning\", \"message\": \"a \\\"step\\\": 99\"}\n{\"event\": \"step\", \"step\": "
                              "2}\n{\"event\": \"step\", \"step\": 3}\n{\"ev";
    size_t size = sizeof log - 1;
    assert_int_equal(run_log_cut(log, size, 0), strstr(log, "{\"event\": \"step\", \"step\": 1}") - log);
    assert_int_equal(run_log_cut(log, size, 1), strstr(log, "{\"event\": \"step\", \"step\": 2}") - log);
    assert_int_equal(run_log_cut(log, size, 2), strstr(log, "{\"event\": \"step\", \"step\": 3}") - log);
    assert_int_equal(run_log_cut(log, size, 3), size - 4); /* a torn last line goes too */
    assert_int_equal(run_log_cut(log, size - 4, 3), size - 4);
    assert_int_equal(run_log_cut("", 0, 3), 0);
}

int main(void)
{
    use_one_thread();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_steps_are_ten_and_ten_in_f32),
        cmocka_unit_test(twenty_steps_are_ten_and_ten_in_16_mixed),
        cmocka_unit_test(twenty_steps_are_ten_and_ten_in_bf16_mixed),
        cmocka_unit_test(the_other_optimizers_go_on_too),
        cmocka_unit_test(a_stop_inside_a_step_leaves_nothing_of_it),
        cmocka_unit_test(a_killed_run_goes_on_from_its_checkpoint),
        cmocka_unit_test(a_change_that_breaks_the_run_is_refused_with_both_values),
        cmocka_unit_test(a_change_that_makes_another_run_is_allowed_and_told),
        cmocka_unit_test(options_that_are_not_set_are_the_checkpoints),
        cmocka_unit_test(resume_without_a_checkpoint_begins_a_run),
        cmocka_unit_test(a_damaged_checkpoint_is_passed_over),
        cmocka_unit_test(the_log_is_cut_where_the_checkpoint_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
