/* comm_ranks.h: ranks in processes of their own, each with a world and a communicator. */
#ifndef AIOS_TEST_COMM_RANKS_H
#define AIOS_TEST_COMM_RANKS_H

#include "comm/engine.h"
#include "comm/world.h"
#include "processes.h"

#define RANKS_MOST 4

struct setting {
    int ranks, port, stage;
    const char *address; /* of the master; NULL: this host */
    int hosted;          /* 1: a process without a rank has the store */
    double deadline;
    aios_status (*run)(comm_world *world, communicator *c, struct setting *s);
    aios_context *context;
    aios_stream *stream;
    uint64_t chunk;
};

/* A rank: opens the world, joins, runs. */
static inline aios_status ranks_run(int rank, void *user)
{
    struct setting *s = user;
    char name[16];
    aios_device *device = NULL;
    comm_world *world = NULL;
    comm_group *group = NULL;
    communicator *c = NULL;
    (void)snprintf(name, sizeof name, "cpu:%d", rank);
    comm_world_options options = {.rank = rank,
                                  .ranks = s->ranks,
                                  .name = name,
                                  .address = s->address,
                                  .port = s->port,
                                  .deadline = s->deadline,
                                  .host_store = rank == 0 && !s->hosted};
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

static inline void ranks_start(struct process *all, struct setting *s)
{
    s->port = process_free_port();
    if (s->deadline == 0) s->deadline = 60;
    for (int r = 0; r < s->ranks; r++) process_start(&all[r], r, ranks_run, s);
}

static inline void ranks_end(struct process *all, const struct setting *s)
{
    for (int r = 0; r < s->ranks; r++) process_end(&all[r]);
}

static inline void ranks_expect_fine(const struct process *all, const struct setting *s)
{
    for (int r = 0; r < s->ranks; r++) {
        if (!all[r].exited) fail_msg("rank %d of %d ended on the way", r, s->ranks);
        if (all[r].status != AIOS_OK) fail_msg("rank %d of %d: %s", r, s->ranks, all[r].message);
    }
}

static inline void ranks_expect(const struct process *p, aios_status status, const char *words, double most)
{
    if (!p->exited) fail_msg("a rank ended on the way");
    if (p->status != status || !strstr(p->message, words))
        fail_msg("status %d, \"%s\": not %d, \"%s\"", p->status, p->message, status, words);
    if (p->seconds > most) fail_msg("it took %.1f s to know: \"%s\"", p->seconds, p->message);
}

static inline aios_status ranks_sum_again(comm_world *world, struct setting *s, int ranks)
{
    comm_options options = {0};
    comm_group *group = NULL;
    communicator *c = NULL;
    double one = 1;
    aios_status status = comm_world_group(world, &options, &group);
    if (status == AIOS_OK) status = comm_join(group, comm_world_rank(world), "again", s->stream, &c);
    if (status == AIOS_OK) status = comm_sum_numbers(c, &one, 1);
    if (status == AIOS_OK && one != ranks) status = FAIL(AIOS_INTERNAL, "the sum of %d ones is %g", ranks, one);
    comm_leave(c);
    comm_group_destroy(group);
    return status;
}

static inline int ranks_begin(void **state)
{
    const engine_table *engine;
    (void)state;
    (void)setenv("AIOS_BACKEND_PATH", TEST_ENGINE_FOLDER, 1);
    if (engine_load(&engine) == AIOS_OK) return 0;
    print_message("skipped: %s\n", aios_error_message());
    exit(77);
}

#endif
