/* All-reduce between the ranks of one process, and between ranks in processes of their own (over Gloo, on the loopback interface), beside
 * the machine's copy bandwidth.  benchmark_gloo and benchmark_mpi are the peers of the second.
 *
 *   benchmark_collectives [--ranks 2] [--megabytes 64] [--json]
 *
 * GB/s of an all-reduce are the buffer's bytes by the time.  A copy of n bytes reads n and writes n, and every thread copies at once.
 * direct: the ranks' devices are the host's memory.  staged: each goes through staging memory, as a GPU's buffers do, its "device
 * copies" being the processor's own, so that each byte moves twice more than on a GPU. */
#include "bench.h"

#include "base/os.h"
#include "base/os_net.h"
#include "comm/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RANKS_MOST 16
#define RUNS       15

struct job {
    comm_group *group;
    aios_stream *streams[RANKS_MOST];
    float *buffers[RANKS_MOST];
    uint64_t count;
    int ranks;
    double times[RUNS];
};

struct rank {
    struct job *job;
    int rank;
    os_thread thread;
};

static void check(aios_status status)
{
    if (status == AIOS_OK) return;
    (void)fprintf(stderr, "benchmark_collectives: %s\n", aios_error_message());
    exit(1);
}

/* times (RUNS) of each all-reduce. */
static void measure(communicator *c, aios_stream *stream, float *buffer, uint64_t count, double *times)
{
    memset(buffer, 0, count * sizeof(float));
    for (int n = -2; n < RUNS; n++) {
        check(comm_barrier(c));
        double began = bench_now();
        check(comm_all_reduce(c, buffer, count));
        check(aios_stream_synchronize(stream));
        check(comm_barrier(c));
        if (n >= 0) times[n] = bench_now() - began;
    }
    check(comm_barrier(c));
}

static void *run_rank(void *argument)
{
    struct rank *r = argument;
    struct job *job = r->job;
    communicator *c;
    double times[RUNS];
    check(comm_join(job->group, r->rank, "cpu", job->streams[r->rank], &c));
    measure(c, job->streams[r->rank], job->buffers[r->rank], job->count, r->rank ? times : job->times);
    comm_leave(c);
    return NULL;
}

static double run_all(struct job *job, aios_context *context, int stage)
{
    struct rank ranks[RANKS_MOST];
    comm_options options = {.ranks = job->ranks, .always_stage = stage};
    check(comm_group_create(context, &options, &job->group));
    for (int r = 0; r < job->ranks; r++) {
        ranks[r] = (struct rank){.job = job, .rank = r};
        check(os_thread_start(&ranks[r].thread, "rank", run_rank, &ranks[r]));
    }
    for (int r = 0; r < job->ranks; r++) os_thread_join(ranks[r].thread);
    comm_group_destroy(job->group);
    bench_sort(job->times, RUNS);
    return (double)job->count * sizeof(float) / job->times[RUNS / 2] * 1e-9;
}

/* ---- between processes ------------------------------------------------------------------------------------------- */

/* In a process of its own.  0: there is no engine. */
static double run_process(int rank, int ranks, int port, uint64_t count, int stage)
{
    aios_context *context;
    aios_device *device;
    aios_stream *stream;
    comm_world *world;
    comm_group *group;
    communicator *c;
    void *buffer;
    double times[RUNS];
    comm_options options = {.always_stage = stage};
    comm_world_options world_options = {.rank = rank, .ranks = ranks, .name = "cpu", .port = port, .deadline = 60, .host_store = rank == 0};
    check(aios_context_create(NULL, &context));
    check(aios_device_open(context, "cpu", &device));
    check(aios_stream_create(device, &stream));
    check(aios_device_alloc(device, count * sizeof(float), &buffer));
    check(comm_world_open(context, &world_options, &world));
    if (comm_world_group(world, &options, &group) == AIOS_UNAVAILABLE) return 0;
    check(comm_join(group, rank, "cpu", stream, &c));
    measure(c, stream, buffer, count, times);
    comm_leave(c);
    comm_group_destroy(group);
    comm_world_close(world);
    bench_sort(times, RUNS);
    return (double)count * sizeof(float) / times[RUNS / 2] * 1e-9;
}

/* Before this process has threads. */
static double run_processes(int ranks, uint64_t count, int stage)
{
    os_socket s;
    int port = 0, ends[2];
    double speed = 0;
    check(os_socket_listen("127.0.0.1", &port, &s));
    os_socket_close(&s);
    if (pipe(ends) != 0) return 0;
    for (int r = 0; r < ranks; r++) {
        if (fork() > 0) continue;
        speed = run_process(r, ranks, port % 60000, count, stage);
        _exit(r == 0 && write(ends[1], &speed, sizeof speed) != (ssize_t)sizeof speed);
    }
    (void)close(ends[1]);
    if (read(ends[0], &speed, sizeof speed) != (ssize_t)sizeof speed) speed = 0;
    (void)close(ends[0]);
    while (wait(NULL) > 0)
        ;
    return speed;
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

struct copy {
    char *to, *from;
    size_t size;
    os_thread thread;
};

static void *run_copy(void *argument)
{
    struct copy *copy = argument;
    memcpy(copy->to, copy->from, copy->size);
    return NULL;
}

static void copy_all(void *user)
{
    struct copy *copies = user;
    for (int i = 0; copies[i].size; i++) check(os_thread_start(&copies[i].thread, "copy", run_copy, &copies[i]));
    for (int i = 0; copies[i].size; i++) os_thread_join(copies[i].thread);
}

static double copy_bandwidth(uint64_t bytes, int threads)
{
    struct copy copies[RANKS_MOST + 1] = {{0}};
    char *memory = malloc(bytes * 2 * (uint64_t)threads);
    if (!memory) exit(1);
    memset(memory, 1, bytes * 2 * (uint64_t)threads);
    for (int t = 0; t < threads; t++)
        copies[t] = (struct copy){.to = memory + bytes * 2 * (uint64_t)t, .from = memory + bytes * (2 * (uint64_t)t + 1), .size = bytes};
    bench_time time = bench_run(RUNS, copy_all, copies);
    free(memory);
    return (double)bytes * threads / time.median * 1e-9;
}

int main(int argc, char **argv)
{
    int ranks = 2, megabytes = 64, json = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = 1;
        else if (i + 1 < argc && strcmp(argv[i], "--ranks") == 0)
            ranks = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--megabytes") == 0)
            megabytes = atoi(argv[++i]);
        else
            ranks = 0;
    }
    if (ranks < 1 || ranks > RANKS_MOST || megabytes < 1) {
        (void)fprintf(stderr, "usage: benchmark_collectives [--ranks 1..%d] [--megabytes N] [--json]\n", RANKS_MOST);
        return 2;
    }
    (void)setenv("AIOS_BACKEND_PATH", BENCH_ENGINE_FOLDER, 0);
    double between = run_processes(ranks, (uint64_t)megabytes << 18, 0),
           between_staged = run_processes(ranks, (uint64_t)megabytes << 18, 1);
    aios_context *context;
    aios_device *device;
    struct job job = {.ranks = ranks, .count = (uint64_t)megabytes << 18};
    check(aios_context_create(NULL, &context));
    check(aios_device_open(context, "cpu", &device));
    for (int r = 0; r < ranks; r++) {
        void *memory;
        check(aios_stream_create(device, &job.streams[r]));
        check(aios_device_alloc(device, job.count * sizeof(float), &memory));
        job.buffers[r] = memory;
    }
    double copy = copy_bandwidth((uint64_t)megabytes << 20, bench_cpus() < RANKS_MOST ? bench_cpus() : RANKS_MOST);
    double direct = run_all(&job, context, 0), staged = run_all(&job, context, 1);
    printf(
        json ? "{\"ranks\": %d, \"megabytes\": %d, \"copy_gb_s\": %.2f, \"all_reduce_direct_gb_s\": %.2f, \"all_reduce_staged_gb_s\": "
               "%.2f, \"processes_direct_gb_s\": %.2f, \"processes_staged_gb_s\": %.2f}\n"
             : "%d ranks, %d MiB: memory copy %.1f GB/s; all-reduce in one process: direct %.1f GB/s, staged %.1f GB/s; between processes: "
               "direct %.2f GB/s, staged %.2f GB/s\n",
        ranks, megabytes, copy, direct, staged, between, between_staged);
    for (int r = 0; r < ranks; r++) {
        aios_device_free(device, job.buffers[r]);
        aios_stream_destroy(job.streams[r]);
    }
    aios_device_close(device);
    aios_context_destroy(context);
    return 0;
}
