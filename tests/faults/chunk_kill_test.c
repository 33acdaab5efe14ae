/* Whatever process is killed at whatever instant: no chunk is lost, none is in the final weights twice.
 *
 * "Weights" are how often each sample was trained: training a sample adds one, a checkpoint is the whole array in a file with the tracker's
 * number.  AIOS_KILLS sets how often is killed (150); a run prints its seed. */
#include "../folder.h"

#include <aios/chunk_tracker.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { CHUNK = 8, BLOCK = 80, SAMPLES = 1612, EPOCHS = 2, WORKERS = 4, PROCESSES = 8, THREADS = 4 };

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static int kills_wanted(void)
{
    const char *text = getenv("AIOS_KILLS");
    return text ? atoi(text) : 150;
}

/* ---- in the children, where no assertion reaches the test --------------------------------------------------------- */

static void must(aios_status status, const char *what)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "process %d: %s: %s\n", (int)getpid(), what, aios_error_message());
    _exit(3);
}

static aios_chunk_tracker *open_in_child(const char *folder, uint64_t samples, aios_context **context)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker *tracker = NULL;
    o.folder = folder;
    o.block_samples = BLOCK;
    o.chunk_samples = CHUNK;
    o.total_samples = samples;
    must(aios_context_create(NULL, context), "context");
    must(aios_chunk_tracker_open(*context, &o, &tracker), "opening");
    return tracker;
}

static aios_chunk_claim claim_in_child(aios_chunk_tracker *tracker, const char *owner, uint64_t last_epoch)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    o.owner = owner;
    o.last_epoch = last_epoch;
    must(aios_chunk_tracker_claim(tracker, &o, &c), "claiming");
    return c;
}

/* ---- a trainer that dies and resumes ------------------------------------------------------------------------------- */

struct weights {
    uint64_t checkpoint;
    unsigned char trained[EPOCHS][SAMPLES];
};

static void train(struct weights *weights, const aios_chunk_claim *c, uint64_t *at, uint64_t count)
{
    for (; count > 0 && *at < c->end - c->first; count--, ++*at) weights->trained[c->epoch][c->first + *at]++;
}

static void save(aios_chunk_tracker *tracker, struct weights *weights, const char *path)
{
    must(aios_chunk_tracker_seal(tracker, &weights->checkpoint), "sealing");
    must(os_file_replace(path, weights, sizeof *weights), "saving");
    must(aios_chunk_tracker_commit(tracker, weights->checkpoint), "committing");
}

static void run_trainer(const char *folder, const char *path)
{
    aios_context *context;
    struct weights weights = {0};
    os_file file;
    size_t size;
    aios_chunk_tracker *tracker = open_in_child(folder, SAMPLES, &context);
    if (os_path_kind(path) == OS_FILE) {
        must(os_file_open(path, &file), "loading");
        must(os_file_read_at(file, 0, &weights, sizeof weights, &size), "loading");
        os_file_close(&file);
        if (size != sizeof weights) _exit(4);
    }
    must(aios_chunk_tracker_resume(tracker, weights.checkpoint), "resuming");
    for (;;) {
        aios_chunk_claim c = claim_in_child(tracker, "a", EPOCHS - 1);
        uint64_t at = 0;
        if (c.outcome == AIOS_CHUNK_FINISHED) break;
        if (c.outcome != AIOS_CHUNK_CLAIMED) _exit(5);
        for (int part = (int)draw(3); part > 0; part--) {
            train(&weights, &c, &at, draw(CHUNK));
            must(aios_chunk_tracker_progress(tracker, c.token, at, at, at), "reporting");
            if (draw(8) == 0) save(tracker, &weights, path);
        }
        if (draw(10) == 0) { /* a stop in the middle */
            must(aios_chunk_tracker_release(tracker, c.token, at, at, at), "releasing");
        } else {
            train(&weights, &c, &at, CHUNK);
            must(aios_chunk_tracker_complete(tracker, c.token, at, at), "completing");
        }
        if (draw(10) == 0) save(tracker, &weights, path);
    }
    save(tracker, &weights, path);
    if (draw(2)) aios_chunk_tracker_close(tracker);
    _exit(0);
}

/* One life: 1 where it came to its end, 0 where it was killed. */
static int live(const char *folder, const char *path, unsigned microseconds)
{
    int status;
    (void)draw(2); /* another life, other numbers */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) run_trainer(folder, path);
    if (microseconds) {
        const struct timespec time = {0, (long)microseconds * 1000};
        (void)nanosleep(&time, NULL);
        (void)kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) fail_msg("a trainer ended with %d", WEXITSTATUS(status));
    return WIFEXITED(status);
}

static int kill_until_finished(const char *folder, int most)
{
    char path[TEST_PATH_MAX];
    struct weights weights;
    os_file file;
    size_t size;
    int kills = 0;
    (void)snprintf(path, sizeof path, "%s/weights", folder);
    while (!live(folder, path, kills < most ? 1000 + draw(40000) : 0)) kills++;
    assert_ok(os_file_open(path, &file));
    assert_ok(os_file_read_at(file, 0, &weights, sizeof weights, &size));
    os_file_close(&file);
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        for (int i = 0; i < SAMPLES; i++)
            if (weights.trained[epoch][i] != 1) fail_msg("sample %d of epoch %d was trained %d times", i, epoch, weights.trained[epoch][i]);
    return kills;
}

static void a_trainer_that_is_killed_and_resumed_trains_every_sample_once(void **state)
{
    (void)state;
    for (int kills = 0, wanted = kills_wanted(); kills < wanted;) {
        char *folder = test_folder_make();
        kills += kill_until_finished(folder, wanted - kills);
        test_folder_remove(folder);
    }
}

/* ---- workers that die among others --------------------------------------------------------------------------------- */

struct board {
    int stop;
    unsigned char trained[WORKERS][SAMPLES]; /* each in its process's memory: gone with it */
};
static struct board *board;

static void run_worker(const char *folder, int number)
{
    aios_context *context;
    aios_chunk_tracker *tracker = open_in_child(folder, SAMPLES, &context);
    while (!__atomic_load_n(&board->stop, __ATOMIC_ACQUIRE)) {
        aios_chunk_claim c = claim_in_child(tracker, "w", 0);
        if (c.outcome != AIOS_CHUNK_CLAIMED) {
            os_sleep(0.001);
            continue;
        }
        for (uint64_t i = c.first; i < c.end; i++) board->trained[number][i]++;
        must(aios_chunk_tracker_complete(tracker, c.token, 1, 1), "completing");
    }
    _exit(0);
}

static pid_t start_worker(const char *folder, int number)
{
    memset(board->trained[number], 0, sizeof board->trained[number]);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) run_worker(folder, number);
    return child;
}

static int all_is_trained(aios_chunk_tracker *tracker)
{
    aios_chunk_progress p = AIOS_CHUNK_PROGRESS_INIT;
    assert_ok(aios_chunk_tracker_get_epoch(tracker, 0, &p));
    return p.complete;
}

static void what_a_killed_worker_had_is_trained_by_the_others(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_context *context;
    aios_chunk_tracker *tracker;
    pid_t workers[WORKERS];
    uint64_t checkpoint;
    int status;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    for (int i = 0; i < WORKERS; i++) workers[i] = start_worker(folder, i);
    for (int kills = kills_wanted() / 5; kills > 0; kills--) {
        int unlucky = (int)draw(WORKERS);
        os_sleep(1e-6 * (1000 + draw(20000)));
        assert_int_equal(kill(workers[unlucky], SIGKILL), 0);
        assert_int_equal(waitpid(workers[unlucky], &status, 0), workers[unlucky]);
        if (!WIFSIGNALED(status)) fail_msg("a worker ended with %d", WEXITSTATUS(status));
        workers[unlucky] = start_worker(folder, unlucky);
    }
    tracker = open_in_child(folder, SAMPLES, &context); /* not before a fork */
    double deadline = os_now() + 60;
    do {
        os_sleep(0.01);
        assert_ok(aios_chunk_tracker_seal(tracker, &checkpoint)); /* from now on these samples are in everybody's checkpoint */
    } while (!all_is_trained(tracker) && os_now() < deadline);
    assert_ok(aios_chunk_tracker_commit(tracker, checkpoint));
    assert_true(all_is_trained(tracker));
    for (int i = 0; i < SAMPLES; i++) {
        int sum = 0;
        for (int w = 0; w < WORKERS; w++) sum += board->trained[w][i];
        if (sum != 1) fail_msg("sample %d is in %d of the replicas", i, sum);
    }
    __atomic_store_n(&board->stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(waitpid(workers[i], &status, 0), workers[i]);
        assert_int_equal(status, 0);
    }
    (void)munmap(board, sizeof *board);
    aios_chunk_tracker_close(tracker);
    aios_context_destroy(context);
    test_folder_remove(folder);
}

static void a_dead_owner_is_seen_at_once(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    aios_context *context;
    aios_chunk_tracker *tracker;
    int status, ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char go;
        if (read(ends[0], &go, 1) != 1) _exit(6);
        tracker = open_in_child(folder, 2 * CHUNK, &context);
        aios_chunk_claim c = claim_in_child(tracker, "w", 0);
        must(aios_chunk_tracker_complete(tracker, c.token, 1, 1), "completing");
        (void)claim_in_child(tracker, "w", 0);
        (void)raise(SIGKILL);
    }
    tracker = open_in_child(folder, 2 * CHUNK, &context); /* which frees nothing: the child has not begun */
    assert_int_equal(write(ends[1], "", 1), 1);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie is dead, too */
    double start = os_now();
    aios_chunk_claim c = claim_in_child(tracker, "w", 0);
    assert_int_equal(c.outcome, AIOS_CHUNK_CLAIMED);
    assert_int_equal(c.first, 0);
    assert_int_equal(claim_in_child(tracker, "w", 0).first, CHUNK);
    assert_true(os_now() - start < 5); /* the lease is 60 s */
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    aios_chunk_tracker_close(tracker);
    aios_context_destroy(context);
    test_folder_remove(folder);
}

/* ---- many processes ------------------------------------------------------------------------------------------------ */

enum { MANY = 3000 };
static unsigned char *given; /* and how many processes have opened it */
static aios_chunk_tracker *shared_tracker;

static void *take_chunks(void *owner)
{
    for (;;) {
        aios_chunk_claim c = claim_in_child(shared_tracker, owner, 0);
        if (c.outcome == AIOS_CHUNK_FINISHED) return NULL;
        if (c.outcome == AIOS_CHUNK_WAIT) {
            os_sleep(0.001);
            continue;
        }
        (void)__atomic_add_fetch(&given[c.first / CHUNK], 1, __ATOMIC_RELAXED);
        must(aios_chunk_tracker_complete(shared_tracker, c.token, 1, 1), "completing");
    }
}

static void be_one_of_many(const char *folder)
{
    static char owners[THREADS][2] = {"0", "1", "2", "3"};
    os_thread threads[THREADS];
    aios_context *context;
    shared_tracker = open_in_child(folder, (uint64_t)MANY * CHUNK, &context);
    (void)__atomic_add_fetch(&given[MANY], 1, __ATOMIC_ACQ_REL); /* one that opens it when all others are gone would begin anew */
    while (__atomic_load_n(&given[MANY], __ATOMIC_ACQUIRE) < PROCESSES) os_sleep(0.001);
    for (int i = 0; i < THREADS; i++) must(os_thread_start(&threads[i], "claims", take_chunks, owners[i]), "starting a thread");
    for (int i = 0; i < THREADS; i++) os_thread_join(threads[i]);
    must(aios_chunk_tracker_share(shared_tracker), "sharing"); /* else its end would give them back */
    _exit(0);
}

static void processes_and_threads_get_every_chunk_exactly_once(void **state)
{
    (void)state;
    char *folder = test_folder_make();
    int status;
    given = mmap(NULL, MANY + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(given != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) be_one_of_many(folder);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < MANY; i++)
        if (given[i] != 1) fail_msg("chunk %d was given %d times", i, given[i]);
    (void)munmap(given, MANY + 1);
    test_folder_remove(folder);
}

static int begin(void **state)
{
    (void)state;
    const char *text = getenv("AIOS_SEED");
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) * 1000003U + (uint64_t)getpid();
    (void)printf("AIOS_SEED=%llu\n", (unsigned long long)seed);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_owner_is_seen_at_once),
        cmocka_unit_test(processes_and_threads_get_every_chunk_exactly_once),
        cmocka_unit_test(what_a_killed_worker_had_is_trained_by_the_others),
        cmocka_unit_test(a_trainer_that_is_killed_and_resumed_trains_every_sample_once),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
