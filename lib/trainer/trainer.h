/* trainer.h (internal): the handle of a run.
 *
 *   trainer.c     opens and closes it
 *   worker.c      the loop: steps, report, evaluation, checkpoint, stop
 *   independent.c the loop where devices train on their own (independent.h)
 *   replica.c     the model on each device, and a step on all of them
 *   recover.c     how it goes on where a device or a process is lost
 *   processes.c   the processes of one run
 *   report.c      events, log, metrics
 *   checkpoint.c  the state of a run to and from a checkpoint's folder
 *   resume.c      the options of a run that goes on */
#ifndef AIOS_TRAINER_TRAINER_H
#define AIOS_TRAINER_TRAINER_H

#include "base/context.h"
#include "base/json.h"
#include "batches.h"
#include "evaluate.h"
#include "fields.h"
#include "processes.h"
#include "replica.h"
#include "run_folder.h"
#include "schedule.h"
#include "settings.h"
#include <aios/chunk_tracker.h>
#include <aios/trainer.h>

#include <stdatomic.h>

/* Where a run stands: all that a checkpoint holds besides weights and optimizer. */
struct position {
    int64_t step, tokens, next_sample;
    int64_t bad_steps; /* in a row without a finite gradient that no loss scale explains */
    double loss, eval_loss;
    double elapsed;  /* seconds of training before this process */
    uint64_t chunks; /* the chunk tracker's number of the checkpoint; 0: the samples before next_sample are trained, in their order */
};

/* Where a step was done, of devices that train on their own. */
struct step_place {
    const char *device;
    int gpu;
    int64_t epoch, block, chunk;
    int64_t sample, samples; /* the first in the running order, how many */
};

struct aios_trainer {
    aios_context *context;
    uint32_t scope; /* AIOS_SCOPE_TRAIN: texts; AIOS_SCOPE_HRM: puzzles */
    aios_options *options;
    struct settings settings; /* borrows from options */
    struct processes processes;
    struct run_folder folder;
    aios_model *model;
    aios_tokenizer *tokenizer;
    struct batches batches;
    struct replicas replicas;
    struct evaluator evaluator;
    struct schedule schedule;
    int32_t sequence;

    struct position position;
    struct solved solved;              /* of the last step, where it was measured */
    double eval_solved;                /* part of the test puzzles; NAN: not yet */
    struct evaluator_sums eval_sums;   /* of the last evaluation */
    int carry_lost;                    /* 1: what a checkpoint's puzzles carried did not fit; to be told */
    int time_up;                       /* 1: max-minutes are over */
    const volatile int32_t *stop_flag; /* aios_trainer_create_until's, then aios_hrm_train's; NULL: none */
    double loss_scale, grad_norm, rate, skipped, tokens_per_second, eval_accuracy, eval_nats_per_byte;
    int64_t evaluated_step, saved_step; /* -1: none */
    int64_t judged_step, followed_step; /* whose gradient was judged; after which all that was due is done */
    int64_t logged_step;                /* the last that this process logged, where it was due */
    int64_t resumed_step;               /* -1: a new run */
    int64_t first_step, first_tokens;   /* of this call of run */
    double run_began, busy;             /* os_now(); seconds of this call spent in steps */
    double reported_busy;
    int64_t reported_tokens;
    char *started; /* time of day, as text */
    int log_broken;

    char fallback[512]; /* why the devices train on their own though they were to work on one gradient; empty: they do what was asked */

    aios_chunk_tracker *tracker; /* of independent devices, as all of these */
    uint64_t first_epoch;        /* that was not complete when it was opened */
    float *velocity;             /* of the outer step: replicas' padded elements; NULL: there is none */
    struct evaluator *retired;   /* of leaders that were dropped; closed with the trainer, since their devices may hang */
    int retired_count;
    int orphans;           /* 1: a thread hangs in a driver and uses what is here */
    json_t *contributions; /* what devices trained before this process: [{"device", "name", "vendor", "tokens"}] */

    atomic_int stop; /* 0, AIOS_STOP_… */
    atomic_int runs; /* 1: a call of aios_trainer_run is under way */
    os_mutex mutex;  /* of metrics */
    aios_trainer_metrics metrics;
};

/* The replica that is evaluated and saved. */
static inline struct replica *leader(const aios_trainer *t)
{
    return replicas_leader(&t->replicas);
}

/* report.c */
double trainer_elapsed(const aios_trainer *t);
void report_event(aios_trainer *t, const char *name, struct fields *fields); /* ends and frees fields */
void report_warning(aios_trainer *t, const char *format, ...) AIOS_PRINTF(2, 3);
void report_start(aios_trainer *t);
void report_run(aios_trainer *t);                                  /* run.json of a run that goes on */
void report_step(aios_trainer *t, const struct step_place *place); /* place NULL: on all devices */
void report_balance(aios_trainer *t);
void report_reform(aios_trainer *t, int before); /* of processes; before: devices */
void report_carry(aios_trainer *t);              /* once the log is open */
void report_drop(aios_trainer *t, const char *device, const char *message, int left);
void report_eval(aios_trainer *t, const struct evaluator_sums *sums);
void report_checkpoint(aios_trainer *t, const char *path, double seconds);
void report_end(aios_trainer *t, const char *outcome, const char *message);
void report_metrics(aios_trainer *t, int now); /* metrics.json and aios_trainer_get_metrics */

#endif
