/* Every allocation of a run and of a generator may fail: then the call says so, and nothing is lost. */
#include "run.h"

#include <stdatomic.h>

struct counted {
    atomic_long asked, fail_at; /* fail_at: which one fails; 0 none */
    atomic_long living;
};

static int refuse(struct counted *c)
{
    return atomic_fetch_add(&c->asked, 1) + 1 == atomic_load(&c->fail_at);
}

static void *counted_alloc(void *user, size_t size)
{
    struct counted *c = user;
    void *pointer = refuse(c) ? NULL : malloc(size);
    if (pointer) atomic_fetch_add(&c->living, 1);
    return pointer;
}

static void *counted_realloc(void *user, void *pointer, size_t size)
{
    return refuse(user) ? NULL : realloc(pointer, size);
}

static void counted_free(void *user, void *pointer)
{
    atomic_fetch_sub(&((struct counted *)user)->living, pointer != NULL);
    free(pointer);
}

static void silent(void *user, int32_t level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

static aios_status set_all(aios_options *o, const char *folder, const char *run, int generating)
{
    static const char *const pairs[][2] = {{"n-layer", "1"},       {"n-head", "1"},       {"n-embd", "16"},
                                           {"max-seq-len", "16"},  {"batch-size", "2"},   {"steps", "2"},
                                           {"eval-interval", "1"}, {"eval-batches", "1"}, {"checkpoint-interval", "1"}};
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/text.txt", folder);
    TRY_QUIET(aios_options_set(o, "device", "cpu:0"));
    if (generating) {
        (void)snprintf(path, sizeof path, "%s/model/checkpoints/step-00000002", folder);
        TRY_QUIET(aios_options_set(o, "max-tokens", "4"));
        return aios_options_set(o, "model", path);
    }
    TRY_QUIET(aios_options_set(o, "dataset-file", path));
    (void)snprintf(path, sizeof path, "%s/cache", folder);
    TRY_QUIET(aios_options_set(o, "cache-dir", path));
    (void)snprintf(path, sizeof path, "%s/%s", folder, run);
    TRY_QUIET(aios_options_set(o, "save-dir", path));
    for (size_t i = 0; i < COUNT_OF(pairs); i++) TRY_QUIET(aios_options_set(o, pairs[i][0], pairs[i][1]));
    return AIOS_OK;
}

static int32_t drop(void *user, const char *text, size_t size)
{
    (void)user;
    (void)text;
    return size == 0;
}

/* What a program does from beginning to end. */
static aios_status use_all(aios_context *context, const char *folder, const char *run, int generating)
{
    aios_options *options = NULL;
    aios_trainer *trainer = NULL;
    aios_generator *generator = NULL;
    aios_status status = aios_options_create(context, generating ? AIOS_SCOPE_GENERATE : AIOS_SCOPE_TRAIN, &options);
    if (status == AIOS_OK) status = set_all(options, folder, run, generating);
    if (generating) {
        if (status == AIOS_OK) status = aios_generator_create(context, options, &generator);
        if (status == AIOS_OK) status = aios_generator_run(generator, "the", 3, 1, drop, NULL);
    } else {
        if (status == AIOS_OK) status = aios_trainer_create(context, options, NULL, &trainer);
        if (status == AIOS_OK) status = aios_trainer_run(trainer);
    }
    aios_generator_destroy(generator);
    aios_trainer_destroy(trainer);
    aios_options_destroy(options);
    return status;
}

static aios_status use_with_failure(const char *folder, long fail_at, int generating, long *asked)
{
    struct counted c = {.fail_at = fail_at};
    aios_allocator allocator = {sizeof allocator, 0, &c, counted_alloc, counted_realloc, counted_free};
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context = NULL;
    char run[32], path[PATH_SIZE];
    (void)snprintf(run, sizeof run, fail_at ? "run%ld" : "model", fail_at);
    options.allocator = &allocator;
    options.log = silent;
    aios_error_clear();
    aios_status status = aios_context_create(&options, &context);
    if (status == AIOS_OK) status = use_all(context, folder, run, generating);
    if (status != AIOS_OK && !*aios_error_message()) fail_msg("allocation %ld: %s without a message", fail_at, aios_status_name(status));
    aios_context_destroy(context);
    if (atomic_load(&c.living))
        fail_msg("allocation %ld failed: %ld blocks are left (%s)", fail_at, atomic_load(&c.living), aios_error_message());
    *asked = atomic_load(&c.asked);
    (void)snprintf(path, sizeof path, "%s/%s", folder, run);
    if (fail_at) assert_ok(os_remove_tree(path));
    return status;
}

/* A failure may be survived where the thing is optional (a line of the log); it is never called another error. */
static void check(const char *folder, int generating, long tries)
{
    long count, ignored;
    int failures = 0;
    assert_ok(use_with_failure(folder, 0, generating, &count));
    long stride = count / tries + 1;
    for (long at = 1; at <= count; at += stride) {
        aios_status status = use_with_failure(folder, at, generating, &ignored);
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY && status != AIOS_DEVICE_OUT_OF_MEMORY)
            fail_msg("allocation %ld of %ld failed: %s: %s", at, count, aios_status_name(status), aios_error_message());
        failures += status != AIOS_OK;
    }
    assert_true(failures > 10);
}

static void a_run_and_a_generator_survive_every_failed_allocation(void **state)
{
    (void)state;
    struct run r;
    run_open(&r);
    write_repeated(&r, "text.txt", "the quick brown fox jumps over the lazy dog. ", 3000);
    check(r.folder, 0, 400);
    check(r.folder, 1, 300);
    run_close(&r);
}

int main(void)
{
    use_one_thread();
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_and_a_generator_survive_every_failed_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
