/* What it costs to share out a dataset: claims and completions of the chunk tracker, beside the earlier implementation, which rewrote a
 * JSON file for each (40 s for 2,000 chunks, growing with their square: its published curve, not run here).
 *
 *     benchmark_chunks [--folder PATH] [--most CHUNKS] [--processes N] [--threads N] [--shared CHUNKS]
 *
 * PATH (.) should lie on the disk that a run would use.  Prints
 *   pairs   2,000 claim + complete pairs in a new tracker, by durability, a checkpoint at the end
 *   curve   the cost of a pair after so many chunks (to --most, 1,000,000; 10,000,000 takes some minutes), and the database's size
 *   shared  N processes of N threads (8 of 4) claim and complete --shared chunks (100,000): the time, and whether each was given once */
#include "bench.h"

#include <aios/chunk_tracker.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAIRS = 2000, CHUNK = 4000, THREADS_MOST = 64 };

static aios_context *context;
static char folder[4096];

static void stop(const char *doing)
{
    (void)fprintf(stderr, "benchmark_chunks: %s: %s\n", doing, aios_error_message());
    exit(1);
}

static void remove_folder(void)
{
    static const char *const names[] = {"chunk_tracker.sqlite", "chunk_tracker.sqlite-wal", "chunk_tracker.sqlite-shm",
                                        "chunk_tracker_state.json", "chunk_tracker.lock"};
    char path[4200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static aios_chunk_tracker *open_tracker(uint64_t chunks, int32_t durability)
{
    aios_chunk_tracker_options o = AIOS_CHUNK_TRACKER_OPTIONS_INIT;
    aios_chunk_tracker *tracker;
    o.folder = folder;
    o.total_samples = chunks * CHUNK;
    o.durability = durability;
    if (aios_chunk_tracker_open(context, &o, &tracker) != AIOS_OK) stop("opening");
    return tracker;
}

static void train_pair(aios_chunk_tracker *tracker, uint64_t step)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
    o.owner = "worker";
    o.device = "cuda:0";
    o.gpu_id = 0;
    o.last_epoch = 0;
    if (aios_chunk_tracker_claim(tracker, &o, &c) != AIOS_OK || c.outcome != AIOS_CHUNK_CLAIMED) stop("claiming");
    if (aios_chunk_tracker_complete(tracker, c.token, 500, step) != AIOS_OK) stop("completing");
}

static void save(aios_chunk_tracker *tracker)
{
    uint64_t checkpoint;
    if (aios_chunk_tracker_seal(tracker, &checkpoint) != AIOS_OK || aios_chunk_tracker_commit(tracker, checkpoint) != AIOS_OK)
        stop("saving");
}

static void measure_pairs(void)
{
    static const char *const names[] = {"at checkpoints", "every call"};
    for (int32_t durability = 0; durability < 2; durability++) {
        aios_chunk_tracker *tracker = open_tracker(PAIRS, durability);
        double start = bench_now();
        for (uint64_t i = 0; i < PAIRS; i++) train_pair(tracker, i);
        save(tracker);
        double seconds = bench_now() - start;
        (void)printf("pairs    %d claim + complete, durable %-14s  %.3f s   earlier implementation 40 s: %.0f times\n", PAIRS,
                     names[durability], seconds, 40 / seconds);
        (void)fflush(stdout);
        aios_chunk_tracker_close(tracker);
        remove_folder();
        (void)mkdir(folder, 0777);
    }
}

/* Of this process: what a busy machine does not change. */
static double processor_seconds(void)
{
    struct rusage used;
    (void)getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void measure_curve(uint64_t most)
{
    aios_chunk_tracker *tracker = open_tracker(most + PAIRS, AIOS_CHUNK_DURABLE_AT_CHECKPOINTS);
    char path[4200];
    struct stat info;
    uint64_t done = 0;
    double began = bench_now();
    (void)snprintf(path, sizeof path, "%s/chunk_tracker.sqlite", folder);
    for (uint64_t size = PAIRS; size <= most; size = size < most && size * 10 > most ? most : size * 10) {
        while (done + PAIRS < size) {
            train_pair(tracker, done++);
            if (done % 10000 == 0) save(tracker);
        }
        double start = bench_now(), used = processor_seconds();
        for (int i = 0; i < PAIRS; i++) train_pair(tracker, done++);
        double pair = (bench_now() - start) / PAIRS, pair_used = (processor_seconds() - used) / PAIRS;
        double saving = bench_now();
        save(tracker);
        saving = bench_now() - saving;
        double earlier = 2 * 40.0 / PAIRS * (double)size / PAIRS; /* the derivative of 40 s (n / 2000)^2 */
        if (stat(path, &info) != 0) stop("looking at the database");
        (void)printf("curve    %9llu chunks  %6.1f us a pair (%.1f of processor)  checkpoint %7.1f ms  %5.1f bytes a chunk   earlier "
                     "implementation %.3g s a pair\n",
                     (unsigned long long)done, pair * 1e6, pair_used * 1e6, saving * 1e3, (double)info.st_size / (double)done, earlier);
        (void)fflush(stdout);
        if (size == most) break;
    }
    (void)printf("curve    all of it took %.0f s\n", bench_now() - began);
    aios_chunk_tracker_close(tracker);
    remove_folder();
    (void)mkdir(folder, 0777);
}

/* ---- many processes ---------------------------------------------------------------------------------------------- */

static aios_chunk_tracker *shared_tracker;
static unsigned char *given; /* shared by all processes: how often each chunk was given out */
static int *opened;          /* the same: how many have opened the tracker */

static void *take_chunks(void *user)
{
    aios_chunk_claim_options o = AIOS_CHUNK_CLAIM_OPTIONS_INIT;
    o.owner = user;
    o.last_epoch = 0;
    for (;;) {
        aios_chunk_claim c = AIOS_CHUNK_CLAIM_INIT;
        if (aios_chunk_tracker_claim(shared_tracker, &o, &c) != AIOS_OK) stop("claiming");
        if (c.outcome == AIOS_CHUNK_FINISHED) return NULL;
        if (c.outcome == AIOS_CHUNK_WAIT) {
            (void)usleep(1000);
            continue;
        }
        (void)__atomic_add_fetch(&given[c.first / CHUNK], 1, __ATOMIC_RELAXED);
        if (aios_chunk_tracker_complete(shared_tracker, c.token, 1, 1) != AIOS_OK) stop("completing");
    }
}

static void be_process(uint64_t chunks, int processes, int threads)
{
    pthread_t ids[THREADS_MOST];
    char names[THREADS_MOST][16];
    if (aios_context_create(NULL, &context) != AIOS_OK) stop("starting");
    shared_tracker = open_tracker(chunks, AIOS_CHUNK_DURABLE_AT_CHECKPOINTS);
    (void)__atomic_add_fetch(opened, 1, __ATOMIC_ACQ_REL); /* one that opens it when all others are gone would begin anew */
    while (__atomic_load_n(opened, __ATOMIC_ACQUIRE) < processes) (void)usleep(1000);
    for (int i = 0; i < threads; i++) {
        (void)snprintf(names[i], sizeof names[i], "%d", i);
        if (pthread_create(&ids[i], NULL, take_chunks, names[i]) != 0) stop("starting a thread");
    }
    for (int i = 0; i < threads; i++) (void)pthread_join(ids[i], NULL);
    if (aios_chunk_tracker_share(shared_tracker) != AIOS_OK) stop("sharing");
    _exit(0);
}

static int measure_shared(uint64_t chunks, int processes, int threads)
{
    uint64_t wrong = 0;
    int status, failed = 0;
    given = mmap(NULL, chunks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    opened = mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (given == MAP_FAILED || opened == MAP_FAILED) stop("memory");
    double start = bench_now();
    for (int i = 0; i < processes; i++) {
        pid_t child = fork();
        if (child == 0) be_process(chunks, processes, threads);
        if (child < 0) stop("starting a process");
    }
    for (int i = 0; i < processes; i++) failed |= wait(&status) < 0 || status != 0;
    double seconds = bench_now() - start;
    for (uint64_t i = 0; i < chunks; i++) wrong += given[i] != 1;
    (void)printf("shared   %d processes x %d threads, %llu chunks: %.2f s, %.1f us a pair, %llu not given exactly once\n", processes,
                 threads, (unsigned long long)chunks, seconds, seconds / (double)chunks * 1e6, (unsigned long long)wrong);
    remove_folder();
    return failed || wrong;
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end || value < least || value > most) {
        (void)fprintf(stderr, "benchmark_chunks: \"%s\" must be a number from %llu to %llu\n", text, (unsigned long long)least,
                      (unsigned long long)most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    uint64_t most = 1000000, shared = 100000;
    int processes = 8, threads = 4;
    const char *base = ".";
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--folder") == 0)
            base = value;
        else if (strcmp(argv[i], "--most") == 0)
            most = number(value, PAIRS, 1000000000);
        else if (strcmp(argv[i], "--processes") == 0)
            processes = (int)number(value, 1, 1000);
        else if (strcmp(argv[i], "--threads") == 0)
            threads = (int)number(value, 1, THREADS_MOST);
        else if (strcmp(argv[i], "--shared") == 0)
            shared = number(value, 1, 1000000000);
        else {
            (void)fprintf(stderr, "benchmark_chunks: unknown flag %s: see the head of chunks.c\n", argv[i]);
            return 2;
        }
    }
    (void)snprintf(folder, sizeof folder, "%s/benchmark-chunks-XXXXXX", base);
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    if (aios_context_create(NULL, &context) != AIOS_OK) stop("starting");
    measure_pairs();
    measure_curve(most);
    int wrong = measure_shared(shared, processes, threads);
    aios_context_destroy(context);
    return wrong;
}
