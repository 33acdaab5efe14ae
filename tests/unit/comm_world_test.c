/* What lib/comm promises between processes: the same sums as in one, and failures that reach everybody. */
#include "comm/engine.h"
#include "comm/world.h"

#include "base/rng.h"
#include "processes.h"

#define RANKS_MOST 4

struct setting {
    int ranks, port, stage;
    double deadline;
    aios_status (*run)(comm_world *world, communicator *c, struct setting *s);
    aios_context *context;
    aios_stream *stream;
    uint64_t chunk;
};

/* A rank: opens the world, joins, runs. */
static aios_status run_rank(int rank, void *user)
{
    struct setting *s = user;
    char name[16];
    aios_device *device = NULL;
    comm_world *world = NULL;
    comm_group *group = NULL;
    communicator *c = NULL;
    (void)snprintf(name, sizeof name, "cpu:%d", rank);
    comm_world_options options = {
        .rank = rank, .ranks = s->ranks, .name = name, .port = s->port, .deadline = s->deadline, .host_store = rank == 0};
    comm_options group_options = {.always_stage = s->stage, .chunk_bytes = s->chunk};
    s->context = test_context();
    aios_status status = aios_device_open(s->context, "cpu", &device);
    if (status == AIOS_OK) status = aios_stream_create(device, &s->stream);
    if (status == AIOS_OK) status = comm_world_open(s->context, &options, &world);
    if (status == AIOS_OK) status = comm_world_group(world, &group_options, &group);
    if (status == AIOS_OK) status = comm_join(group, comm_world_rank(world), name, s->stream, &c);
    if (status == AIOS_OK) status = s->run(world, c, s);
    aios_error_record record;
    aios_error_save(&record);
    comm_leave(c);
    comm_group_destroy(group);
    comm_world_close(world);
    aios_stream_destroy(s->stream);
    aios_device_close(device);
    aios_context_destroy(s->context);
    return status == AIOS_OK ? AIOS_OK : aios_error_restore(&record);
}

static void start_ranks(struct process *all, struct setting *s)
{
    s->port = process_free_port();
    if (s->deadline == 0) s->deadline = 60;
    for (int r = 0; r < s->ranks; r++) process_start(&all[r], r, run_rank, s);
}

static void end_ranks(struct process *all, const struct setting *s)
{
    for (int r = 0; r < s->ranks; r++) process_end(&all[r]);
}

static void expect_all_fine(const struct process *all, const struct setting *s)
{
    for (int r = 0; r < s->ranks; r++) {
        if (!all[r].exited) fail_msg("rank %d of %d ended on the way", r, s->ranks);
        if (all[r].status != AIOS_OK) fail_msg("rank %d of %d: %s", r, s->ranks, all[r].message);
    }
}

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

static float value_of(int r, uint64_t i, int n)
{
    uint32_t words[4];
    rng_block(11, (uint64_t)r, i * 64 + (uint64_t)n, words);
    return (float)((int32_t)words[0]) * (words[1] & 1 ? 1e-9f : 1e-3f);
}

static aios_status expect(const float *x, uint64_t i, float want, const char *what)
{
    if (memcmp(&x[i], &want, sizeof want) == 0) return AIOS_OK;
    return FAIL(AIOS_INTERNAL, "%s: element %llu is %.9g, not %.9g", what, (unsigned long long)i, (double)x[i], (double)want);
}

static void fill(float *x, int rank, uint64_t count, int n)
{
    for (uint64_t i = 0; i < count; i++) x[i] = value_of(rank, i, n);
}

static float sum_of(int ranks, uint64_t i, int n)
{
    float sum = value_of(0, i, n);
    for (int r = 1; r < ranks; r++) sum += value_of(r, i, n);
    return sum;
}

static aios_status each_collective(communicator *c, float *x, uint64_t count, int n)
{
    int ranks = comm_ranks(c), rank = comm_rank(c), root = n % ranks;
    uint64_t offsets[RANKS_MOST + 1];
    for (int k = 0; k <= ranks; k++) offsets[k] = count * (uint64_t)(k * k) / (uint64_t)(ranks * ranks); /* uneven, some empty */
    fill(x, rank, count, n);
    TRY_QUIET(comm_all_reduce(c, x, count));
    for (uint64_t i = 0; i < count; i++) TRY_QUIET(expect(x, i, sum_of(ranks, i, n), "all-reduce"));
    fill(x, rank, count, n);
    TRY_QUIET(comm_reduce_scatter(c, x, offsets));
    for (uint64_t i = 0; i < count; i++) {
        int own = i >= offsets[rank] && i < offsets[rank + 1];
        TRY_QUIET(expect(x, i, own ? sum_of(ranks, i, n) : value_of(rank, i, n), "reduce-scatter"));
    }
    fill(x, rank, count, n);
    TRY_QUIET(comm_all_gather(c, x, offsets));
    for (uint64_t i = 0, r = 0; i < count; i++) {
        while (i >= offsets[r + 1]) r++;
        TRY_QUIET(expect(x, i, value_of((int)r, i, n), "all-gather"));
    }
    fill(x, rank, count, n);
    TRY_QUIET(comm_broadcast(c, x, count, root));
    for (uint64_t i = 0; i < count; i++) TRY_QUIET(expect(x, i, value_of(root, i, n), "broadcast"));
    double numbers[2] = {0.1 * (rank + 1), n};
    TRY_QUIET(comm_sum_numbers(c, numbers, 2));
    double want = 0;
    for (int r = 0; r < ranks; r++) want += 0.1 * (r + 1);
    if (numbers[0] != want || numbers[1] != (double)n * ranks) return FAIL(AIOS_INTERNAL, "the sum of numbers is %.17g", numbers[0]);
    return comm_barrier(c);
}

static aios_status all_collectives(comm_world *world, communicator *c, struct setting *s)
{
    static const uint64_t counts[] = {1, 7, 1000, 16384, 100003};
    (void)world;
    for (int n = 0; n < (int)COUNT_OF(counts); n++) {
        void *memory;
        TRY_QUIET(aios_device_alloc(aios_stream_device(s->stream), counts[n] * sizeof(float), &memory));
        aios_status status = each_collective(c, memory, counts[n], n);
        aios_device_free(aios_stream_device(s->stream), memory);
        TRY_QUIET(status);
    }
    return AIOS_OK;
}

static void sums_have_the_bits_of_one_process(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= RANKS_MOST; ranks++)
        for (int stage = 0; stage < 2; stage++) {
            struct process all[RANKS_MOST];
            struct setting s = {.ranks = ranks, .stage = stage, .run = all_collectives, .chunk = 32768};
            start_ranks(all, &s);
            end_ranks(all, &s);
            expect_all_fine(all, &s);
        }
}

static int begin(void **state)
{
    const engine_table *engine;
    (void)state;
    (void)setenv("AIOS_BACKEND_PATH", TEST_ENGINE_FOLDER, 1);
    if (engine_load(&engine) == AIOS_OK) return 0;
    print_message("skipped: %s\n", aios_error_message());
    exit(77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_bits_of_one_process),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
