/* world.h (internal): the processes of a training run, one rank each: how they find each other, learn of a death, and go on without the
 * dead.
 *
 * One process hosts the store (store.h): rank 0, or whoever supervises them.  All others find it at the master's address and port.  Every
 * rank keeps a connection to the store that says that it lives; a process that ends, or falls silent for the deadline, fails the generation
 * for all within a moment, and every communicator of it returns that one failure, which names the rank.  The survivors then reform: the
 * next generation has new ranks, in the old order.
 *
 * Whoever knows the job's token and reaches the port can join: the token tells jobs apart, it is no protection against an attacker on the
 * network.  The network between the hosts is trusted, as it is with every engine of this kind. */
#ifndef AIOS_COMM_WORLD_H
#define AIOS_COMM_WORLD_H

#include "comm.h"

typedef struct comm_world comm_world;

typedef struct comm_world_options {
    int rank, ranks;
    const char *name;    /* of this rank in messages: "cuda:0"; NULL: its host's name and process id */
    const char *address; /* of the master: host name or number; NULL: 127.0.0.1 */
    int port;            /* 0: 29500 */
    const char *token;   /* identifies the job, at most 127 bytes; NULL: "aios" */
    double deadline;     /* seconds: that ranks wait for each other, and that a rank may be silent; 0: for ever (opening: 300 s) */
    int host_store;      /* 1: this process hosts the store, until comm_world_close */
    int port_taken;      /* 1: another program (torchrun's own store) has the port: ours is at one of the 16 after it, found by the token */
} comm_world_options;

/* Returns when all ranks are there.  Collective.  Errors: TIMEOUT names who is missing; ALREADY_EXISTS: the port is in use, or a rank was
 * there before; WRONG_STATE: the job at that port has another token or number of ranks; ABI_MISMATCH: another release of libaios. */
aios_status comm_world_open(aios_context *context, const comm_world_options *options, comm_world **world);
/* Leaves in peace: the others are not failed, but who waits for this rank is.  NULL is fine.  After the groups.  The host of the store
 * waits up to the deadline for the others to leave. */
void comm_world_close(comm_world *world);

int comm_world_rank(const comm_world *world); /* in this generation */
int comm_world_ranks(const comm_world *world);
int comm_world_generation(const comm_world *world);             /* 0, then one more with each reform */
int comm_world_first_rank(const comm_world *world, int rank);   /* what `rank` was when the world was opened */
const char *comm_world_name(const comm_world *world, int rank); /* of a rank of this generation */

/* What became of this generation: AIOS_OK, or its first failure with its record.  From any thread; doesn't wait. */
aios_status comm_world_check(comm_world *world);
/* Fails the generation for all ranks; the first failure stays.  From any thread, whose error record it keeps. */
void comm_world_abort(comm_world *world, aios_status status, const char *message);

/* The group of all ranks of this generation between the processes: comm_join(group, comm_world_rank(world), …) waits for the others.  The
 * groups of a world are made in the same order by all ranks.  options->ranks is ignored; deadline 0 takes the world's.  Errors: UNAVAILABLE
 * where the engine (aios-gloo.so) is not there. */
aios_status comm_world_group(comm_world *world, const comm_options *options, comm_group **group);

/* After a failure, or before one (a rank that leaves on purpose closes instead): the ranks that call it within `grace` seconds of the first
 * one are the next generation, numbered anew from 0 in the old order; it returns earlier where all known to live have come.  Groups of the
 * old generation are left and destroyed before.  left (room for the old number of ranks; NULL: not wanted): the ranks of the old generation
 * that are no more; left_count may be NULL too.  Errors: WRONG_STATE: the others went on without this rank, which came late. */
aios_status comm_world_reform(comm_world *world, double grace, int *left, int *left_count);

/* Few bytes of host memory by way of the store, for texts and settings; collective, the same calls on all ranks in the same order, by one
 * thread.  What is given back is freed with aios_memory_free and has a 0 behind it. */
#define COMM_BYTES_MOST ((size_t)1 << 20)
typedef struct comm_bytes {
    char *bytes;
    size_t size;
} comm_bytes;
aios_status comm_world_broadcast(comm_world *world, int root, const void *bytes, size_t size, comm_bytes *got);
/* all (ranks): what each gave. */
aios_status comm_world_gather(comm_world *world, const void *bytes, size_t size, comm_bytes *all);

/* The store without a rank, for a supervisor of the ranks' processes.  port: in, what is wanted (0: any); out, what it is. */
typedef struct comm_host comm_host;
aios_status comm_host_open(aios_context *context, const char *address, int *port, int ranks, const char *token, double deadline,
                           comm_host **host);
void comm_host_close(comm_host *host); /* at once; NULL is fine */

#endif
