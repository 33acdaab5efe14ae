/* host.c: a host with signal handlers, a locale, a floating-point mode, an output, threads and children of its own.
 * host TEST FOLDER: 0 passed, 77 can't be tested here. */
#include "training.h"

#include <fcntl.h>
#include <fenv.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static const char *folder;

static uint64_t train_alone(const char *name)
{
    aios_context *context;
    OK(aios_context_create(NULL, &context));
    uint64_t hash = train_in(context, folder, name);
    aios_context_destroy(context);
    return hash;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t caught;
static pthread_t host_thread;
static volatile sig_atomic_t elsewhere;

static void on_signal(int number)
{
    (void)number;
    caught++;
    if (!pthread_equal(pthread_self(), host_thread)) elsewhere++;
}

/* Handlers and mask stay, and the host's signals arrive on the host's thread while the library's compute. */
static int signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGUSR1, SIGUSR2, SIGALRM, SIGFPE, SIGSEGV, SIGABRT, SIGWINCH};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    struct sigaction mine = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, now;
    sigset_t mask, after;
    host_thread = pthread_self();
    for (size_t i = 0; i < COUNT; i++) EXPECT(sigaction(numbers[i], &mine, NULL) == 0);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGUSR2);
    EXPECT(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    EXPECT(ualarm(2000, 2000) == 0);
    (void)train_alone("run");
    (void)ualarm(0, 0);
    EXPECT(caught > 0 && elsewhere == 0);
    for (size_t i = 0; i < COUNT; i++) {
        EXPECT(sigaction(numbers[i], NULL, &now) == 0);
        EXPECT(now.sa_handler == on_signal && (now.sa_flags & SA_RESTART));
    }
    EXPECT(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < NSIG; number++) EXPECT(sigismember(&after, number) == sigismember(&mask, number));
    return 0;
}

/* ---- locale ------------------------------------------------------------------------------------------------------ */

static int commas;

/* A decimal comma shows as digits around a comma without the blank that follows JSON's own. */
static void on_event(void *user, const char *name, const char *json)
{
    (void)user, (void)name;
    for (const char *at = strchr(json, ','); at; at = strchr(at + 1, ',')) commas += at[1] >= '0' && at[1] <= '9';
}

static int comma_in_file(const char *path)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    EXPECT(file);
    commas = 0;
    while (fgets(line, sizeof line, file)) on_event(NULL, "", line);
    (void)fclose(file);
    return commas;
}

static int comma_locale(void)
{
    char path[600];
    uint64_t plain = train_alone("plain");
    aios_context_options how = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    aios_options *options;
    double number;
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) {
        (void)printf("SKIPPED: no locale with a decimal comma is here, nor localedef to make one (Debian: locales)\n");
        return 77;
    }
    (void)snprintf(path, sizeof path, "%.1f", 0.5);
    EXPECT(strcmp(path, "0,5") == 0); /* the host's own numbers are German */
    EXPECT(setenv("AIOS_DEVICE_DEADLINE", "0.5", 1) == 0);
    how.event = on_event;
    OK(aios_context_create(&how, &context));
    options = tiny_options(context, folder, "german");
    OK(aios_options_set(options, "grad-clip", "0.75"));
    OK(aios_options_get_float(options, "grad-clip", &number));
    EXPECT(number == 0.75 && strstr(aios_options_write_json(options), "0.75"));
    EXPECT(aios_options_set(options, "grad-clip", "0,75") == AIOS_INVALID_ARGUMENT);
    OK(aios_options_set_float(options, "grad-clip", 1.0));
    EXPECT(train_tiny(context, options) == plain && commas == 0);
    (void)snprintf(path, sizeof path, "%s/german/metrics.jsonl", folder);
    EXPECT(comma_in_file(path) == 0);
    (void)snprintf(path, sizeof path, "%s/german/checkpoints/step-00000006/trainer.json", folder);
    EXPECT(comma_in_file(path) == 0);

    /* Numbers inside of a text: weights of devices. */
    EXPECT(setenv("AIOS_CPU_DEVICES", "2", 1) == 0);
    OK(aios_options_set(options, "devices", "cpu:0,cpu:1"));
    OK(aios_options_set(options, "balance", "weights"));
    OK(aios_options_set(options, "device-weights", "1,0.5"));
    (void)snprintf(path, sizeof path, "%s/two", folder);
    OK(aios_options_set(options, "save-dir", path));
    OK(aios_options_set_int(options, "gradient-accumulation-steps", 3));
    (void)train_tiny(context, options);
    EXPECT(strcmp(setlocale(LC_NUMERIC, NULL), "de_DE.UTF-8") == 0);
    aios_options_destroy(options);
    aios_context_destroy(context);
    return 0;
}

/* ---- floating point ---------------------------------------------------------------------------------------------- */

/* A host that rounds up, traps what it can and keeps subnormal numbers gets the bits of everybody else, and its mode back. */
static int floating_point(void)
{
    uint64_t plain = train_alone("plain");
    EXPECT(fesetround(FE_UPWARD) == 0);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() & ~(unsigned)(_MM_MASK_INVALID | _MM_MASK_DIV_ZERO | _MM_MASK_OVERFLOW));
    unsigned before = _mm_getcsr() & ~(unsigned)_MM_EXCEPT_MASK;
#endif
    uint64_t strange = train_alone("strange");
    EXPECT(fegetround() == FE_UPWARD);
#if defined(__x86_64__)
    EXPECT((_mm_getcsr() & ~(unsigned)_MM_EXCEPT_MASK) == before);
#endif
    volatile float tiny = FLT_MIN;
    EXPECT(tiny / 2 > 0);
    EXPECT(strange == plain);
    return 0;
}

/* ---- standard output and error, standard streams' descriptors ------------------------------------------------------- */

static int count_descriptors(void)
{
    int count = 0;
    for (int i = 0; i < 1024; i++) count += fcntl(i, F_GETFD) >= 0;
    return count;
}

/* Nothing is written to the host's output, neither while training nor on errors, and no descriptor is left. */
static int output(void)
{
    char path[600];
    aios_context *context;
    aios_device *device;
    struct stat said;
    (void)snprintf(path, sizeof path, "%s/said", folder);
    int out = dup(1), err = dup(2);
    EXPECT(out >= 0 && err >= 0 && freopen(path, "w", stdout) && dup2(1, 2) == 2);
    (void)train_alone("first"); /* what is opened once and kept, such as oneDNN, is open then */
    int before = count_descriptors();
    (void)train_alone("run");
    OK(aios_context_create(NULL, &context));
    EXPECT(aios_device_open(context, "abacus", &device) != AIOS_OK);
    aios_context_destroy(context);
    int after = count_descriptors();
    EXPECT(fflush(stdout) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2);
    EXPECT(stat(path, &said) == 0);
    EXPECT(said.st_size == 0);
    EXPECT(after == before);
    return 0;
}

/* ---- two contexts at once ------------------------------------------------------------------------------------------- */

static void *train_beside(void *argument)
{
    const char *name = ((void **)argument)[0];
    *(uint64_t *)((void **)argument)[1] = train_alone(name);
    return NULL;
}

/* Two contexts that train at once on one machine give the bits of one alone. */
static int contexts(void)
{
    uint64_t alone = train_alone("alone"), hashes[2];
    static char names[2][8] = {"left", "right"};
    pthread_t threads[2];
    void *arguments[2][2];
    for (int i = 0; i < 2; i++) {
        arguments[i][0] = names[i];
        arguments[i][1] = &hashes[i];
        EXPECT(pthread_create(&threads[i], NULL, train_beside, arguments[i]) == 0);
    }
    for (int i = 0; i < 2; i++) EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT(hashes[0] == alone && hashes[1] == alone);
    return 0;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static aios_context *shared_context;
static aios_device *shared_device;
static aios_chunk_tracker *shared_tracker;

static void close_all(void)
{
    aios_chunk_tracker_close(shared_tracker);
    aios_device_close(shared_device);
    aios_context_destroy(shared_context);
}

static void run_child(void (*child)(void))
{
    int status;
    pid_t process = fork();
    EXPECT(process >= 0);
    if (process == 0) {
        (void)alarm(20); /* a hang ends here, by a signal */
        child();
        exit(0); /* and its destructors */
    }
    EXPECT(waitpid(process, &status, 0) == process);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void child_ends(void)
{
}

static void child_closes(void)
{
    close_all();
}

static aios_status fill_something(aios_device *device)
{
    aios_stream *stream;
    void *memory;
    OK(aios_stream_create(device, &stream));
    OK(aios_device_alloc(device, 1 << 16, &memory));
    int32_t kernel = aios_kernel_find("gelu_forward_f32"), rows = 16, n = 64;
    EXPECT(kernel >= 0);
    const void *arguments[] = {&memory, &memory, &rows, &n};
    aios_status status = aios_stream_launch(stream, (uint32_t)kernel, 0, arguments);
    aios_device_free(device, memory);
    aios_stream_destroy(stream);
    return status;
}

static void child_is_refused(void)
{
    aios_chunk_tracker_info info = AIOS_CHUNK_TRACKER_INFO_INIT;
    EXPECT(aios_chunk_tracker_get_info(shared_tracker, &info) == AIOS_WRONG_STATE);
    if (strcmp(getenv("AIOS_TEST_THREADS"), "1") != 0) EXPECT(fill_something(shared_device) == AIOS_WRONG_STATE);
    EXPECT(strstr(aios_error_message(), "fork"));
}

static void child_trains_anew(void)
{
    (void)train_alone("child");
}

/* What a child may do whose parent has used libaios: end, close what it inherited, open everything anew.  The parent goes on. */
static int forked(void)
{
    aios_chunk_tracker_options how = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_claim_options wish = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim claim = AIOS_CHUNK_CLAIM_INIT;
    char chunks[600], threads[16];
    (void)snprintf(chunks, sizeof chunks, "%s/chunks", folder);
    uint64_t before = train_alone("before");
    how.folder = chunks;
    how.total_samples = 100;
    OK(aios_context_create(NULL, &shared_context));
    OK(aios_device_open(shared_context, "cpu", &shared_device));
    OK(fill_something(shared_device));
    (void)snprintf(threads, sizeof threads, "%d", (int)aios_device_get_info(shared_device)->compute_units);
    EXPECT(setenv("AIOS_TEST_THREADS", threads, 1) == 0);
    OK(aios_chunk_tracker_open(shared_context, &how, &shared_tracker));
    OK(aios_chunk_tracker_resume(shared_tracker, 0));
    OK(aios_chunk_tracker_claim(shared_tracker, &wish, &claim));
    run_child(child_ends);
    run_child(child_closes);
    run_child(child_is_refused);
    run_child(child_trains_anew);
    OK(aios_chunk_tracker_heartbeat(shared_tracker, claim.token)); /* the claim is still the parent's */
    OK(fill_something(shared_device));
    close_all();
    EXPECT(train_alone("after") == before);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } tests[] = {{"signals", signals}, {"locale", comma_locale}, {"floating_point", floating_point},
                 {"output", output},   {"contexts", contexts},   {"fork", forked}};
    if (argc != 3) return 2;
    folder = argv[2];
    empty_folder(folder);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strcmp(argv[1], tests[i].name) == 0) return tests[i].run();
    return 2;
}
