/* run.h: tiny runs for the tests of training: a folder of its own, texts, options, events. */
#ifndef AIOS_TEST_RUN_H
#define AIOS_TEST_RUN_H

#include "folder.h"

#include <aios/aios.h>

#include <math.h>

#define PATH_SIZE 600

/* A run of a test: where it is, what it said. */
struct run {
    char *folder; /* of the test: texts, caches, runs */
    aios_context *context;
    aios_options *options;
    aios_trainer *trainer;
    int64_t steps_seen, stop_at; /* stop_at > 0: asks for stop_mode after that step */
    int stop_mode;
    int warnings, evals, checkpoints;
    char warning[512];
    void (*hook)(struct run *r, const char *name, const char *json); /* sees every event first, on the thread that it came from */
    double losses[4096];                                             /* per step, from 1 */
};

static inline double field_of(const char *json, const char *name)
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(json, key);
    return at ? strtod(at + strlen(key), NULL) : NAN;
}

static inline void take_event(void *user, const char *name, const char *json)
{
    struct run *r = user;
    if (r->hook) r->hook(r, name, json);
    if (strcmp(name, "warning") == 0) {
        r->warnings++;
        (void)snprintf(r->warning, sizeof r->warning, "%s", json);
    }
    r->evals += strcmp(name, "eval") == 0;
    r->checkpoints += strcmp(name, "checkpoint_save") == 0;
    if (strcmp(name, "step") != 0) return;
    int64_t step = (int64_t)field_of(json, "step");
    r->steps_seen++;
    if (step > 0 && step < 4096) r->losses[step] = strstr(json, "\"loss\": null") ? NAN : field_of(json, "loss");
    if (r->stop_at && step == r->stop_at) aios_trainer_stop(r->trainer, r->stop_mode);
}

static inline void take_log(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level <= AIOS_LOG_WARNING) (void)fprintf(stderr, "[aios] %s\n", message);
}

/* One thread computes: many tests share few cores. */
static inline void use_one_thread(void)
{
    char count[16];
    (void)snprintf(count, sizeof count, "%d", os_cpu_count());
    (void)setenv("AIOS_CPU_DEVICES", count, 1);
}

static inline void run_set(struct run *r, const char *name, const char *value)
{
    assert_ok(aios_options_set(r->options, name, value));
}

static inline void run_path(const struct run *r, const char *name, char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "%s/%s", r->folder, name);
}

static inline void run_set_path(struct run *r, const char *option, const char *name)
{
    char path[PATH_SIZE];
    run_path(r, name, path);
    run_set(r, option, path);
}

static inline void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is not there", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long length = ftell(f);
    char *bytes = malloc((size_t)length + 1);
    assert_non_null(bytes);
    rewind(f);
    assert_int_equal(fread(bytes, 1, (size_t)length, f), length);
    bytes[length] = 0;
    *size = (size_t)length;
    (void)fclose(f);
    return bytes;
}

/* count bytes of a text that repeats. */
static inline void write_repeated(const struct run *r, const char *name, const char *text, size_t count)
{
    char path[PATH_SIZE], *bytes = malloc(count);
    size_t period = strlen(text);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) bytes[i] = text[i % period];
    run_path(r, name, path);
    write_file(path, bytes, count);
    free(bytes);
}

/* count bytes, each one of `letters` letters, independent of all others. */
static inline void write_random(const struct run *r, const char *name, int letters, size_t count)
{
    char path[PATH_SIZE], *bytes = malloc(count);
    uint64_t x = 88172645463325252u; /* xorshift64 */
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (char)('0' + (x >> 33) % (uint64_t)letters);
    }
    run_path(r, name, path);
    write_file(path, bytes, count);
    free(bytes);
}

/* The options of a tiny model: 2 blocks, 32 wide, samples of 32 tokens, on the CPU.  The text is `text` in the test's folder. */
static inline void run_options(struct run *r, uint32_t scope)
{
    aios_options_destroy(r->options);
    assert_ok(aios_options_create(r->context, scope, &r->options));
    run_set(r, "device", "cpu:0");
    if (scope == AIOS_SCOPE_GENERATE) return;
    run_set_path(r, "dataset-file", "text.txt");
    run_set_path(r, "cache-dir", "cache");
    if (scope != AIOS_SCOPE_TRAIN) return;
    run_set_path(r, "save-dir", "run");
    run_set(r, "n-layer", "2");
    run_set(r, "n-head", "2");
    run_set(r, "n-embd", "32");
    run_set(r, "max-seq-len", "32");
    run_set(r, "eval-fraction", "0");
}

static inline void run_open(struct run *r)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    memset(r, 0, sizeof *r);
    r->folder = test_folder_make();
    options.log = take_log;
    options.event = take_event;
    options.event_user = r;
    assert_ok(aios_context_create(&options, &r->context));
    run_options(r, AIOS_SCOPE_TRAIN);
}

static inline void run_close(struct run *r)
{
    aios_trainer_destroy(r->trainer);
    aios_options_destroy(r->options);
    test_folder_remove(r->folder);
    aios_context_destroy(r->context);
}

/* Creates, runs; the trainer stays open. */
static inline aios_status run_train(struct run *r)
{
    aios_trainer_destroy(r->trainer);
    r->trainer = NULL;
    aios_status status = aios_trainer_create(r->context, r->options, NULL, &r->trainer);
    return status == AIOS_OK ? aios_trainer_run(r->trainer) : status;
}

static inline void run_end_trainer(struct run *r)
{
    aios_trainer_destroy(r->trainer);
    r->trainer = NULL;
}

#endif
