/* crew.h (internal): the workers of independent.h, and what they do together.
 *
 * Everything is under the crew's mutex but what says otherwise.  A worker's thread calls every function with its own worker.  A function
 * that returns AIOS_STOPPED tells its thread to end: the worker was dropped, or the run is over; it leaves no error record. */
#ifndef AIOS_TRAINER_CREW_H
#define AIOS_TRAINER_CREW_H

#include "trainer.h"

#include "graph/parameters.h"
#include "kernels/step.h"
#include <aios/chunk_tracker.h>

struct worker {
    struct crew *crew;
    struct replica *replica;
    int index;
    char owner[AIOS_CHUNK_NAME_MAX];
    os_thread thread;
    float **tables;          /* host: of its replica's tables of rows, likewise; NULL where the model has none */
    float *staged;           /* a buffer of its replica in host memory, while they meet */
    float state[STATE_SIZE]; /* of its optimizer, likewise */

    /* its own thread's */
    uint64_t done, claim_steps; /* of the claim: samples and steps */
    int64_t bad_steps;          /* in a row without a finite gradient */
    double loss_scale;
    int64_t onces; /* done together (crew_once) */

    int live, ended;
    int waiting;     /* 1: for others, which is no sign of death */
    int in_step;     /* 1: it has begun a step that is not counted yet */
    int stale;       /* 1: others train what its weights hold */
    int finished;    /* 1: there was nothing left to claim */
    int has_claim;   /* claim is one */
    int usable;      /* 1: its weights can be merged */
    int gave;        /* 1: its weights are in the merge that goes on */
    int returns;     /* 1: it is to be abandoned when the merge is over */
    int64_t barrier; /* how many it has come to */
    double seen;     /* os_now() of its last sign of life */
    aios_chunk_claim claim;
    int64_t fresh_steps, fresh_tokens;      /* since the last merge */
    int64_t steps, tokens, samples, chunks; /* of this call, without what was taken back */
    double working;                         /* seconds in steps */
};

struct crew {
    aios_trainer *t;
    int count;
    struct worker *list;
    os_mutex mutex;
    os_condition changed;
    uint64_t last_epoch;
    int64_t begun;     /* steps counted or in work */
    int64_t meet_at;   /* steps may begin up to here before they meet */
    int meet_now;      /* a reason to meet earlier */
    int64_t chunks;    /* completed since the last meeting */
    int returned;      /* samples came back since the last decision */
    int time_up, over; /* over: no worker goes on */
    int64_t onces;     /* sections done */
    int failed;
    aios_error_record failure; /* where failed: the run's */
    double began, ended;       /* os_now() of training */

    /* of a meeting */
    int mergers, givers, end;
    int64_t summed;              /* slices that are done */
    struct worker **merge_order; /* those that add up, a slice each */
    const float **parts;         /* of the givers … */
    double *shares;              /* … which sum to 1 */
    float *merged;               /* one of the parts */
    float *anchor;               /* weights of the last meeting, for the outer step */
    float **table_anchors;       /* host: tables of rows as all had them after the last meeting, by parameter; NULL: there are none */
    double merge_began;
    int buffer; /* of the replicas that is merged */
};

aios_status crew_create(aios_trainer *t, struct crew *crew);
void crew_destroy(struct crew *crew);

static inline void crew_lock(struct crew *crew)
{
    os_mutex_lock(&crew->mutex);
}
static inline void crew_unlock(struct crew *crew)
{
    os_mutex_unlock(&crew->mutex);
}
int crew_live(const struct crew *crew);
/* A sign of life; 0: the thread must end.  Takes the mutex. */
int crew_alive(struct worker *w);

/* Ends the run with this thread's error record. */
void crew_fail(struct crew *crew);
/* Ends a worker with the calling thread's error record: what it has alone returns.  Any thread; twice is fine. */
void crew_drop(struct worker *w);
/* What the worker trained since the last merge is lost.  Under the mutex; the tracker's abandon is the caller's. */
void crew_take_back(struct worker *w);

/* Waits until every live worker has come to the same barrier.  Errors: STOPPED. */
aios_status crew_barrier(struct worker *w);
/* One live worker calls run, the others wait until it is done.  Where its device fails it returns that failure, and another worker calls
 * run again; any other failure ends the run. */
aios_status crew_once(struct worker *w, aios_status (*run)(struct worker *w));

/* meeting.c: called by every live worker.  *end: the run is over. */
aios_status meeting(struct worker *w, int *end);
/* When the next one is due, after step `step`. */
int64_t meeting_due(const aios_trainer *t, int64_t step);

#endif
