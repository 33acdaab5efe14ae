/* A step of training, on all replicas together or on one alone. */
#include "exchange.h"

#include "balance.h"
#include "base/os.h"
#include "carry.h"
#include "graph/parameters.h"

#include <aios/trainer.h>
#include <string.h>

#define PAUSE_SECONDS 0.02 /* between looks at whether to wait on */

/* Samples [first, first + count) of the running order, unless they are here already, filled up to whole micro-batches. */
static aios_status read_samples(struct replica *r, int64_t first, int64_t count)
{
    const struct batches *batches = r->all->batches;
    int64_t rows = (count + r->batch - 1) / r->batch * r->batch;
    if (r->held == first && r->held_count == count) return AIOS_OK;
    r->held = -1;
    TRY_QUIET(batches_read_train(batches, first, count, &r->samples));
    batches_fill(batches, &r->samples, count, rows);
    r->held = first;
    r->held_count = count;
    return AIOS_OK;
}

static aios_status read_share(struct replica *r, int64_t step_first)
{
    return read_samples(r, step_first + r->first, r->count);
}

/* The sums over all replicas. */
static aios_status sum(struct replica *r, double *values, int count)
{
    return r->comm ? comm_sum_numbers(r->comm, values, count) : AIOS_OK;
}

static int64_t micro_batches(const struct replica *r)
{
    return (r->held_count + r->batch - 1) / r->batch;
}

static aios_status write_micro_batch(struct replica *r, int64_t m)
{
    const struct samples now = samples_from(r->all->batches, &r->samples, m * r->batch);
    uint64_t rows = (uint64_t)r->batch * sizeof *now.tokens, bytes = rows * (uint64_t)r->all->sequence;
    TRY_QUIET(aios_plan_write(r->plan, "tokens", now.tokens, bytes));
    TRY_QUIET(aios_plan_write(r->plan, "labels", now.labels, bytes));
    if (now.identifiers) TRY_QUIET(aios_plan_write(r->plan, "puzzles", now.identifiers, rows));
    return r->least ? carry_explore(r, m) : AIOS_OK;
}

/* One run of the plan, with what its samples carry. */
static aios_status run_micro_batch(struct replica *r, int64_t m, int exchanges)
{
    TRY_QUIET(carry_take(r, m));
    TRY_QUIET(write_micro_batch(r, m));
    TRY_QUIET(exchanges ? exchange_run(r, 0) : aios_plan_run(r->plan));
    TRY_QUIET(carry_keep(r, m));
    return r->job.measured && r->samples.identifiers ? carry_measure(r) : AIOS_OK;
}

/* Of the samples in memory.  stop may be NULL; it is asked between micro-batches: 1 leaves off, with *left_off 1. */
static aios_status run_micro_batches(struct replica *r, int (*stop)(void *user), void *user, int *left_off)
{
    int64_t batches = micro_batches(r);
    *left_off = 0;
    for (int64_t m = 0; m < batches && !*left_off; m++) {
        TRY_QUIET(run_micro_batch(r, m, 0));
        if (m + 1 < batches && stop && stop(user)) *left_off = 1;
    }
    return AIOS_OK;
}

/* Pauses for as long as a cap asks.  job->stop ends the pause. */
static void keep_caps(struct replica *r, double seconds, int (*stop)(void *user), void *user)
{
    const struct settings *s = r->all->settings;
    caps_begin_pause(&r->pause, s, seconds);
    while (caps_must_wait(&r->pause, r->all->context, r->device, s) && !(stop && stop(user))) os_sleep(PAUSE_SECONDS);
}

/* The first replica asks for all; the others look whether it was told to stop. */
static int is_abandoned(void *user)
{
    struct replica *r = user;
    const struct step_job *job = &r->all->job;
    if (r == r->all->list && job->stop && job->stop(job->user)) atomic_store(&r->all->abandon, 1);
    return atomic_load(&r->all->abandon);
}

static aios_status no_labels(const struct replica *r)
{
    return FAIL(AIOS_INVALID_ARGUMENT, "the samples of the step have no token to predict: %s is too short", r->all->settings->dataset_file);
}

/* Whether any replica has been told to stop: all must do the same, and it may have come between two replicas' looks. */
static aios_status agree(struct replica *r)
{
    double abandoned, began;
    TRY_QUIET(exchange_begin_wait(r, &began));
    abandoned = atomic_load(&r->all->abandon);
    TRY_QUIET(sum(r, &abandoned, 1));
    exchange_end_wait(r, began);
    r->abandoned = abandoned != 0;
    return AIOS_OK;
}

/* The most micro-batches that a replica has: each writes its own number beside the others', as many at once as a sum takes. */
static aios_status most_micro_batches(struct replica *r, int64_t *most)
{
    int ranks = comm_ranks(r->comm), rank = comm_rank(r->comm);
    for (int first = 0; first < ranks; first += COMM_NUMBERS_MOST) {
        double counts[COMM_NUMBERS_MOST] = {0};
        int here = ranks - first < COMM_NUMBERS_MOST ? ranks - first : COMM_NUMBERS_MOST;
        if (rank >= first && rank < first + here) counts[rank - first] = (double)micro_batches(r);
        TRY_QUIET(sum(r, counts, here));
        for (int i = 0; i < here; i++)
            if (counts[i] > (double)*most) *most = (int64_t)counts[i];
    }
    return AIOS_OK;
}

/* With exchange in every run, of which all make as many. */
static aios_status run_constantly(struct replica *r)
{
    int64_t own = micro_batches(r), most = 0;
    TRY_QUIET(most_micro_batches(r, &most));
    for (int64_t m = 0; m < most; m++) {
        if (m > 0) {
            (void)is_abandoned(r);
            TRY_QUIET(agree(r));
        }
        if (r->abandoned) return AIOS_OK;
        TRY_QUIET(m < own ? run_micro_batch(r, m, 1) : exchange_run(r, 1));
    }
    return AIOS_OK;
}

/* With exchange in the last run, before which nobody waits for the others: the slow ones' last run would come on top of the fast ones'. Who
 * is told to stop leaves out runs but exchanges, since the others may not know yet; compute_one asks whether anybody was. */
static aios_status run_then_exchange(struct replica *r)
{
    int64_t own = micro_batches(r);
    int left_off = 0;
    for (int64_t m = 0; m + 1 < own && !left_off; m++) {
        TRY_QUIET(run_micro_batch(r, m, 0));
        left_off = is_abandoned(r);
    }
    return own > 0 && !left_off ? run_micro_batch(r, own - 1, 1) : exchange_run(r, 1);
}

/* All micro-batches of the replica's share of a step that others take part in. */
static aios_status run_shared(struct replica *r)
{
    double began = os_now();
    r->abandoned = 0;
    (void)exchange_take_waited(r);
    TRY_QUIET(exchange_is_constant(r) ? run_constantly(r) : run_then_exchange(r));
    if (r->all->settings->balance == BALANCE_MEASURED) TRY_QUIET(aios_stream_synchronize(r->parameters->stream));
    r->seconds = os_now() - began - exchange_take_waited(r);
    return AIOS_OK;
}

static aios_status run_alone(struct replica *r)
{
    return run_micro_batches(r, is_abandoned, r, &r->abandoned);
}

/* Is any process to stop?  Then the step does not begin. */
static aios_status agree_to_begin(struct replica *r)
{
    const struct step_job *job = &r->all->job;
    int own = r == r->all->list ? job->stopping : 0;
    double modes[2] = {own == AIOS_STOP_GRACEFUL, own == AIOS_STOP_IMMEDIATE};
    TRY_QUIET(sum(r, modes, 2));
    r->stopping = modes[1] > 0 ? AIOS_STOP_IMMEDIATE : modes[0] > 0 ? AIOS_STOP_GRACEFUL : 0;
    return AIOS_OK;
}

/* The labels of the step, and how many of them each rank has. */
static aios_status count_labels(struct replica *r, double *weight)
{
    struct replicas *all = r->all;
    double labels[COMM_NUMBERS_MOST] = {0};
    labels[r->rank] = (double)batches_weigh(all->batches, &r->samples, r->count, r->count);
    TRY_QUIET(sum(r, labels, all->ranks));
    *weight = 0;
    for (int i = 0; i < all->ranks; i++) *weight += labels[i];
    if (r == all->list) memcpy(all->step_labels, labels, sizeof all->step_labels);
    return *weight > 0 ? AIOS_OK : no_labels(r);
}

static void begin_job(struct replica *r, const struct step_job *job)
{
    r->job = *job;
    carry_begin(r);
    r->solved = (struct solved){.sequences = 0};
}

/* Up to the sum of all gradients: nothing that lasts has changed. */
static aios_status compute_one(struct replica *r)
{
    struct replicas *all = r->all;
    const struct step_job *job = &all->job;
    aios_loss_sums sums = {.struct_size = sizeof sums};
    double weight;
    r->began = os_now();
    TRY_QUIET(agree_to_begin(r));
    if (r == all->list) all->outcome = (struct step_outcome){.abandoned = r->stopping != 0, .stopping = r->stopping};
    r->abandoned = r->stopping != 0;
    if (r->abandoned) return AIOS_OK;
    parameters_unstage(r->parameters);
    begin_job(r, job);
    TRY_QUIET(read_share(r, job->first_sample));
    TRY_QUIET(count_labels(r, &weight));
    TRY_QUIET(aios_optimizer_begin(r->optimizer, job->rate, weight));
    TRY_QUIET(r->comm ? run_shared(r) : run_alone(r));
    if (r->comm && !r->abandoned) TRY_QUIET(exchange_gradients(r, &r->squares));
    if (r->comm && !r->abandoned) TRY_QUIET(exchange_rows(r));
    TRY_QUIET(aios_plan_losses(r->plan, &sums, 1));
    double sent[2] = {sums.loss, r->comm ? atomic_load(&all->abandon) : r->abandoned};
    TRY_QUIET(sum(r, sent, 2));
    r->abandoned = sent[1] != 0;
    if (job->measured) TRY_QUIET(sum(r, (double *)&r->solved, (int)(sizeof r->solved / sizeof(double))));
    if (r == all->list)
        all->outcome =
            (struct step_outcome){.abandoned = r->abandoned, .weight = (int64_t)weight, .loss = sent[0] / weight, .solved = r->solved};
    return AIOS_OK;
}

/* The step is made, by each on its own: where one fails, the others have it. */
static aios_status update_one(struct replica *r)
{
    struct replicas *all = r->all;
    aios_step_result result = {.struct_size = sizeof result};
    if (!r->abandoned) TRY_QUIET(r->comm ? exchange_update(r, r->squares) : aios_optimizer_step(r->optimizer));
    /* The device works: time to read what the next step needs.  If that fails, the next step says so itself. */
    if (!r->abandoned && all->job.next_sample >= 0) (void)read_share(r, all->job.next_sample);
    TRY_QUIET(aios_optimizer_result(r->optimizer, &result));
    r->result = result;
    return AIOS_OK;
}

/* How long each rank took. */
static aios_status tell_seconds(struct replica *r)
{
    struct replicas *all = r->all;
    double seconds[COMM_NUMBERS_MOST] = {0};
    seconds[r->rank] = r->seconds;
    TRY_QUIET(sum(r, seconds, all->ranks));
    if (r == all->list) memcpy(all->seconds, seconds, sizeof all->seconds);
    return AIOS_OK;
}

static aios_status finish_one(struct replica *r)
{
    const struct step_job *job = &r->all->job;
    if (r->comm && !r->abandoned) TRY_QUIET(exchange_weights(r));
    if (r->comm && r->all->settings->balance == BALANCE_MEASURED) TRY_QUIET(tell_seconds(r));
    if (!r->stopping) keep_caps(r, os_now() - r->began, r == r->all->list ? job->stop : NULL, job->user);
    return AIOS_OK;
}

aios_status replica_step_alone(struct replica *r, const struct step_job *job, int64_t count, int64_t next_count,
                               struct step_outcome *outcome)
{
    aios_loss_sums sums = {.struct_size = sizeof sums};
    aios_step_result result = {.struct_size = sizeof result};
    double began = os_now();
    int left_off;
    begin_job(r, job);
    TRY_QUIET(read_samples(r, job->first_sample, count));
    double weight = (double)batches_weigh(r->all->batches, &r->samples, count, (count + r->batch - 1) / r->batch * r->batch);
    if (weight == 0) return no_labels(r);
    TRY_QUIET(aios_optimizer_begin(r->optimizer, job->rate, weight));
    TRY_QUIET(run_micro_batches(r, job->stop, job->user, &left_off));
    if (!left_off) TRY_QUIET(aios_optimizer_step(r->optimizer));
    if (!left_off) carry_commit(r);
    if (!left_off && next_count > 0) (void)read_samples(r, job->next_sample, next_count);
    TRY_QUIET(aios_plan_losses(r->plan, &sums, 1));
    TRY_QUIET(aios_optimizer_result(r->optimizer, &result));
    *outcome = (struct step_outcome){left_off, 0, (int64_t)weight, sums.loss / weight, r->solved, result};
    keep_caps(r, os_now() - began, job->stop, job->user);
    return AIOS_OK;
}

/* Shares for the speeds that the devices have shown, where that saves a twentieth of the step. */
static aios_status rebalance(struct replicas *all)
{
    double speeds[REPLICAS_MOST];
    int64_t better[REPLICAS_MOST], *now = all->shares;
    for (int i = 0; i < all->ranks; i++) {
        struct peer *peer = &all->peers[i];
        if (now[i] == 0 || !(all->seconds[i] > 0)) return AIOS_OK; /* fewer micro-batches than devices: nothing to deal */
        double speed = (double)now[i] / all->seconds[i];
        peer->speed = peer->speed > 0 ? 0.5 * peer->speed + 0.5 * speed : speed;
        speeds[i] = peer->speed;
    }
    for (int i = 0; i < all->count; i++) all->list[i].speed = all->peers[all->list[i].rank].speed;
    balance_deal(speeds, all->ranks, all->step_samples / all->settings->batch_size, better);
    if (balance_time(speeds, better, all->ranks) >= 0.95 * balance_time(speeds, now, all->ranks)) return AIOS_OK;
    all->rebalanced = 1;
    return carry_deal(all, better);
}

aios_status replicas_step(struct replicas *all, const struct step_job *job, struct step_outcome *outcome)
{
    all->job = *job;
    all->rebalanced = all->completed = 0;
    atomic_store(&all->abandon, 0);
    TRY_QUIET(replicas_together(all, compute_one));
    *outcome = all->outcome;
    if (outcome->stopping) return AIOS_OK;
    aios_status status = replicas_together(all, update_one);
    for (int i = all->count - 1; i >= 0; i--) { /* where one failed, the others have made the step */
        if (all->list[i].status != AIOS_OK) continue;
        outcome->result = all->list[i].result;
        all->completed = !outcome->abandoned;
    }
    if (all->completed) all->made = job->step;
    for (int i = 0; i < all->count && all->completed; i++) carry_commit(&all->list[i]);
    TRY_QUIET(status);
    TRY_QUIET(replicas_together(all, finish_one));
    /* The first step pays for what is made at first use. */
    if (outcome->abandoned || all->steps++ == 0 || all->settings->balance != BALANCE_MEASURED || all->ranks == 1) return AIOS_OK;
    return rebalance(all);
}
