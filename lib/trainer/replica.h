/* replica.h (internal): the model on each device of a run, and a step on all of them, or on one alone (independent.h).
 *
 * Every replica holds all weights and moments.  A step deals the global batch's micro-batches to them, adds up the gradients, and updates
 * (exchange.h).  The summed loss is divided by the global number of labels: any split gives the gradient of the whole batch.
 *
 *   replica.c   opening, memory, plans, shares, closing
 *   step.c      a step
 *   exchange.c  what it exchanges
 *   carry.c     what puzzles carry from step to step
 *   spread.c    the same weights everywhere, and the proof of it */
#ifndef AIOS_TRAINER_REPLICA_H
#define AIOS_TRAINER_REPLICA_H

#include "base/pool.h"
#include "batches.h"
#include "caps.h"
#include "comm/comm.h"
#include "model/safetensors.h"
#include "processes.h"
#include "settings.h"
#include <aios/model.h>

#include <stdatomic.h>

#define REPLICAS_MOST 64

/* What became of the puzzles of a step. */
struct solved {
    double sequences, halted, correct, steps; /* correct and steps: of those that halted */
    double lm, q_halt, q_continue;            /* sums of the losses of sequences */
};

struct step_job {
    int64_t step;                      /* from 1; of devices that train on their own, its number among all of theirs */
    int64_t first_sample, next_sample; /* of this step and of the next, -1: there is none */
    int measured;                      /* 1: what became of puzzles is told */
    double rate;
    int stopping;            /* AIOS_STOP_… that is known before the step: any process's leaves it out in all */
    int (*stop)(void *user); /* asked by a process's first replica between micro-batches: not 0 leaves the step out; NULL: never */
    void *user;
};

struct replica {
    struct replicas *all;
    int rank;     /* in all processes */
    int selected; /* its place among the devices that were asked for here */
    aios_device *device;
    aios_parameters *parameters;
    aios_plan *plan;
    aios_optimizer *optimizer;
    communicator *comm; /* NULL where there is one replica, as the next */
    struct exchange *exchange;
    struct samples samples;     /* of its share of a step */
    char *carry;                /* device: what each micro-batch of its share carries, twice (carry.h); NULL: nothing */
    unsigned char *carry_sides; /* by micro-batch: which of the two */
    int64_t carry_made;         /* micro-batches of the running step whose other one is there */
    int32_t *least;             /* (batch): segments that each puzzle gets at the least; NULL where none halts early */
    struct solved solved;       /* of a step that is measured */
    double weight;              /* of its share, where no speed is known */
    int64_t first, count;       /* its share: samples from the step's first on */
    int64_t batch;              /* samples of a micro-batch: batch-size, or less where the device has no memory for that */
    int64_t room;               /* that there is for samples */
    int64_t held, held_count;   /* the sample that the share in memory begins with, -1: none; how many there are */
    double began, seconds;      /* of the last step: os_now(), and what its micro-batches took */
    double squares;             /* of the gradient's elements, of all replicas */
    int stopping, abandoned;    /* AIOS_STOP_… of a step that did not begin; 1: the step was left out */
    aios_step_result result;    /* of the last step */
    double speed;               /* micro-batches per second, smoothed; 0 before the first step */
    struct pause pause;
    struct step_job job;
    int lost;           /* 1: its device failed (replicas_find_lost) */
    int orphan;         /* 1: its thread hangs in a driver, and may come back */
    aios_status status; /* of the last call, with its record */
    aios_error_record error;
};

/* What all processes know of a replica. */
struct peer {
    double memory, weight, speed; /* bytes; of its share where no speed is known; micro-batches per second, 0: not yet */
    int selected;                 /* its place among the devices that its process was asked for; then among those of all */
    char spec[32], name[128], vendor[32];
};

/* A device that was asked for and could not be used. */
struct refusal {
    char device[32], message[512];
};

struct step_outcome {
    int abandoned;
    int stopping;   /* AIOS_STOP_… of a step that did not begin */
    int64_t weight; /* labels */
    double loss;    /* nats per label, or the loss per puzzle */
    struct solved solved;
    aios_step_result result;
};

/* What the rows of a step carry, in host memory (carry.h). */
struct carry_image {
    safetensors_tensor *tensors; /* "z_H" (rows, …) … with their data */
    char **values;
    size_t count;
    int64_t rows, first, own; /* own: rows from `first` on that this process has */
};

struct replicas {
    aios_context *context;
    const aios_model *model;
    const struct batches *batches;
    const struct settings *settings;
    int32_t sequence;
    double checksums[REPLICAS_MOST]; /* of the weights, when they were last compared */
    int root;                        /* whose weights all get when they are spread */
    int count, leader;               /* leader: which is evaluated and saved */
    int independent;                 /* 1: each trains on its own (independent.h) */
    int asked;                       /* devices that were selected, in all processes */
    int asked_here;
    int ranks, first_rank;            /* replicas of all processes; those before this one's */
    int sizes[REPLICAS_MOST];         /* of each process's */
    struct peer peers[REPLICAS_MOST]; /* by rank */
    int64_t shares[REPLICAS_MOST];    /* micro-batches of a step */
    int64_t trained[REPLICAS_MOST];   /* labels of all steps that are in the weights */
    struct processes *processes;
    struct refusal *refused;
    int refused_count;
    int64_t step_samples;
    struct replica *list;
    comm_group *group;
    thread_pool *crew;
    int kinds_differ;                    /* 1: devices may round differently, so each part's weights are its owner's */
    double memory_shares[REPLICAS_MOST]; /* of a model that they hold in parts */
    double step_labels[REPLICAS_MOST];   /* of the last step, by rank */
    double seconds[REPLICAS_MOST];       /* that its micro-batches took, where shares follow speed */
    double *summed;                      /* of replicas_sum */
    int summed_count;
    struct step_job job;
    struct step_outcome outcome; /* written by the first replica */
    atomic_int abandon;
    int64_t steps;              /* done since they were prepared */
    int rebalanced;             /* 1: the last step changed the shares of the next */
    int completed;              /* 1: the last step is in the weights of every replica that did not fail */
    int64_t made;               /* the last such step */
    struct carry_image carried; /* what puzzles carry, until it is spread */
    char *told;                 /* host memory that process of rank `teller` tells the others */
    uint64_t told_bytes;
    int teller;
};

enum { REPLICA_BUFFERS = 3 }; /* weights, first and second moments */

/* Opens the devices that settings name, of several processes on one host each its part.  The first is the leader: it evaluates and is
 * saved. processes is borrowed until close. */
aios_status replicas_open(struct replicas *all, aios_context *context, const struct settings *settings, struct processes *processes);
/* Memory, plans, optimizers for the model.  They are borrowed until close.  Unless the run is strict, devices that fail in
 * either are left out where others are left (refused). */
aios_status replicas_prepare(struct replicas *all, const aios_model *model, const struct batches *batches, int32_t sequence);
/* They meet, if they work on one gradient: before the first replicas_spread. */
aios_status replicas_join(struct replicas *all);
void replicas_close(struct replicas *all); /* what was zeroed is fine */
/* What no orphan uses; the rest is left to them. */
void replicas_close_joined(struct replicas *all);
static inline struct replica *replicas_leader(const struct replicas *all)
{
    return all->list + all->leader;
}

/* The group is broken with that status and the words of the record, so that nobody waits for this process. */
void replicas_break(struct replicas *all, aios_status status, const aios_error_record *record);
/* Looks whose devices failed: their `lost` is 1, `error` why.  Returns how many. */
int replicas_find_lost(struct replicas *all);
/* Goes on without those that are lost, with one at least; they meet anew, and replicas_spread is next.  A step has as many samples as
 * before, or in proportion fewer (keep-global-batch).  What a step left in the middle is forgotten; weights and moments stay what each has,
 * but where they are held in parts: then they are undefined. */
aios_status replicas_drop_lost(struct replicas *all);
/* The same before the run begins: they are refused, and the others do not meet yet. */
aios_status replicas_leave_out(struct replicas *all);
/* From one gradient of all to each on its own (independent.h); not where a model is held in parts. */
aios_status replicas_separate(struct replicas *all);
/* Cuts the step's samples into the shares of all ranks, in their order: so many micro-batches of batch-size each. */
void replicas_set_shares(struct replicas *all, const int64_t *micro_batches);
/* values become the sums over all processes. */
aios_status replicas_sum(struct replicas *all, double *values, int count);
/* Every replica on its own thread, the first on this one.  Whatever failed first is in every record. */
aios_status replicas_together(struct replicas *all, aios_status (*run)(struct replica *));
/* The root's weights, moments and optimizer's state to all others; the next root is replica 0.  Errors: as verify. */
aios_status replicas_spread(struct replicas *all);
/* Errors: CORRUPT names the first replica whose weights are not those that most replicas have; one of these is the next root. */
aios_status replicas_verify(struct replicas *all);
/* After verify: all take the root's weights, or, where weights have owners, theirs. */
aios_status replicas_mend(struct replicas *all);
/* Everything that is saved, to the leader. */
aios_status replicas_gather(struct replicas *all);
/* At zero-stage 3: all weights to the leader's memory, as an evaluation wants them. */
aios_status replicas_make_whole(struct replicas *all);
/* One optimizer step.  Errors: the first failure of any replica, which names it. */
aios_status replicas_step(struct replicas *all, const struct step_job *job, struct step_outcome *outcome);
/* One optimizer step of one replica on `count` samples, its thread calling; job->stop is asked between micro-batches.  next_count samples
 * from job->next_sample are read ahead where it is not 0. */
aios_status replica_step_alone(struct replica *r, const struct step_job *job, int64_t count, int64_t next_count,
                               struct step_outcome *outcome);
/* The flat buffer (parameters->padded elements of device memory), NULL where the optimizer has none, and it from and to host memory. */
float *replica_buffer(const struct replica *r, int buffer);
aios_status replica_read(struct replica *r, int buffer, float *values);
aios_status replica_write(struct replica *r, int buffer, const float *values);
/* "cpu:0" or "cuda:0,hip:0": of all processes */
aios_status replicas_name(const struct replicas *all, char *text, size_t size);

#endif
