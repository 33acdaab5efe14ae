/* chunk_tracker.h: who trains which part of a dataset, so that every sample counts exactly once whatever crashes.
 *
 * It stands alone: a program that has nothing else to do with libaios can share out the records of any dataset with it.
 *
 * A dataset is `total_samples` samples, numbered from 0.  `block_samples` of them are a block, `chunk_samples` of a block are a chunk
 * (the last chunk of a block and of the dataset may be short).  An epoch is every sample once.  Workers *claim* a chunk, train it, and
 * *complete* it.  A piece of a chunk that somebody else trained before is not given out again: a claim is the samples [first, end) of
 * one chunk, in most cases all of it.
 *
 * State of a sample in an epoch:
 *
 *     free ── claim ──> claimed ── complete, release, seal ──> pending ── commit ──> committed
 *      ^                  │                                      │                       │
 *      └── the claim ends without its samples, the owner is lost ┴── resume from an earlier checkpoint
 *
 * **A sample counts only with the checkpoint that holds its effect.**  Pending samples are in the memory of the process that trained
 * them and nowhere else, so they go back to free when that owner is lost (its process dies, its tracker is closed, `abandon`).  Saving
 * a checkpoint is:
 *
 *     aios_chunk_tracker_seal(tracker, &number);    no worker is within a step: what they reported is what their weights hold
 *     … write the checkpoint, `number` in it, and make it durable …
 *     aios_chunk_tracker_commit(tracker, number);
 *
 * and starting, from the newest checkpoint that loads, is aios_chunk_tracker_resume(tracker, its number), or 0 for new weights.  A crash
 * between two of these lines is put right by resume: what checkpoint `number` holds is committed, all else is free again.  A chunk that
 * was half trained when it was sealed goes on where it stood.  Weights that were merged into every replica without a checkpoint are
 * told by `share`: from then on the loss of their trainer alone takes nothing away.
 *
 * Claims carry an owner, a lease and a fencing token.  The lease is renewed by heartbeat and progress; it is measured on this boot's
 * monotonic clock, so setting the time or suspending changes nothing.  A claim whose lease has passed is given to the next that asks; one
 * whose process is gone (its id and start time, on this boot) returns within half a second, or at once where nothing else is free.  A token
 * is never used twice: a worker that was away too long finds its own refused (WRONG_STATE) and must drop what it trained on that claim.
 *
 * The truth is FOLDER/chunk_tracker.sqlite (SQLite, WAL), shared by any number of processes of one machine; a network file system is warned
 * of, since SQLite's shared memory does not cross machines.  What a call has done is seen by the others, and survives the death
 * of any process (kill -9), when it returns; what survives a loss of power is said by `durability`.  FOLDER/chunk_tracker_state.json is for
 * people and other programs: what is committed, replaced whole by every commit, resume and close.  Where only it exists (a checkpoint
 * copied elsewhere, a state of an earlier program), it is imported.  A database or JSON file that can't be read is an error and
 * stays untouched, unless `recover` asks to put it aside.
 *
 * Threads: one tracker may be used by any threads at once.  Not across fork: while a process has a tracker open, a child of it must run
 * another program (exec) before one is opened there.  Cost: a claim or completion takes tens of microseconds, however many chunks there
 * are, and a trained chunk about 30 bytes of the database. */
#ifndef AIOS_CHUNK_TRACKER_H
#define AIOS_CHUNK_TRACKER_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_chunk_tracker aios_chunk_tracker;

#define AIOS_CHUNK_BLOCK_SAMPLES 100000
#define AIOS_CHUNK_SAMPLES       4000
#define AIOS_CHUNK_NAME_MAX      64         /* bytes of an owner's or device's name, with the final 0 */
#define AIOS_CHUNK_EVERY         UINT64_MAX /* as an epoch: every epoch; as a last epoch: no end */

/* What survives a loss of power (a kill loses nothing either way):
 *   AT_CHECKPOINTS  everything up to the last seal, commit or resume.  Later claims and completions may be forgotten, which
 *                   is what a crash means for them anyway: no checkpoint holds them.
 *   EVERY_CALL      every call that returned; each then waits for the disk. */
enum { AIOS_CHUNK_DURABLE_AT_CHECKPOINTS = 0, AIOS_CHUNK_DURABLE_EVERY_CALL = 1 };

typedef struct aios_chunk_tracker_options {
    uint32_t struct_size;
    int32_t durability;           /* AIOS_CHUNK_DURABLE_… */
    const char *folder;           /* made where missing */
    const char *brain_id;         /* kept for the JSON; NULL or "": what is stored */
    const char *dataset_name;     /* the same */
    const char *dataset_identity; /* such as aios_dataset_identity; another one than the stored is refused.  NULL or "": not compared */
    uint64_t block_samples;       /* 0: as stored, in a new tracker AIOS_CHUNK_BLOCK_SAMPLES.  May differ from the last time: what */
    uint64_t chunk_samples;       /* 0: as stored, in a new tracker AIOS_CHUNK_SAMPLES        was trained is known by sample */
    uint64_t total_samples;       /* 0: not known yet (aios_chunk_tracker_set_total), or as stored */
    double lease_seconds;         /* without heartbeat a claim ends after so long */
    double busy_seconds;          /* the longest wait for another process's call */
    int32_t recover;              /* 1: a damaged database or JSON file is renamed to NAME.damaged-N, and the tracker goes on with what
                                   * is left: the JSON file, or nothing.  A warning says so */
    int32_t read_only;            /* 1: to look at a tracker that is there; calls that change it return WRONG_STATE */
} aios_chunk_tracker_options;

#define AIOS_CHUNK_TRACKER_OPTIONS_INIT                                                                                                    \
    {                                                                                                                                      \
        sizeof(aios_chunk_tracker_options), AIOS_CHUNK_DURABLE_AT_CHECKPOINTS, NULL, NULL, NULL, NULL, 0, 0, 0, 60.0, 30.0, 0, 0           \
    }
AIOS_API void aios_chunk_tracker_options_init(aios_chunk_tracker_options *options);

/* Opens the tracker of a folder: its database, else its JSON file, else a new one.  The first process that opens it frees what
 * dead ones had claimed or left pending.
 *
 * The JSON file is read in the layout that it is written in (see aios_chunk_tracker_export) and in the older spellings `step` for
 * optimizer_step, `samples_trained` or `true_steps` for steps, `total_true_steps` or `total_samples_trained` for total_steps.  A file that
 * libaios did not write has no sizes, so block_samples and chunk_samples must be given where they are not the defaults; it counts
 * completed_chunks alone (there a block was called complete after one chunk), of an epoch above 0 those in blocks_this_epoch.
 *
 * Errors: INVALID_ARGUMENT (an option, by name; another dataset; a total that contradicts what was trained), NOT_FOUND (read_only and
 * nothing there), CORRUPT (which file, what is wrong, what to do), UNSUPPORTED (a format of a newer libaios), TIMEOUT (another process
 * holds the database for busy_seconds), IO (full disk, no rights), OUT_OF_MEMORY, ABI_MISMATCH. */
AIOS_API aios_status aios_chunk_tracker_open(aios_context *context, const aios_chunk_tracker_options *options,
                                             aios_chunk_tracker **tracker);

/* Ends the claims of this tracker as abandon does, writes the JSON file, closes.  What failed is logged as a warning. */
AIOS_API void aios_chunk_tracker_close(aios_chunk_tracker *tracker);

/* Says how many samples the dataset has, where that became known late.  Claims beyond are empty from then
 * on; one that reaches across ends there.
 * Errors, of this and every call below: TIMEOUT, IO, CORRUPT, OUT_OF_MEMORY, WRONG_STATE (read_only).  INVALID_ARGUMENT: 0, another total
 * than the known one, or less than what was trained. */
AIOS_API aios_status aios_chunk_tracker_set_total(aios_chunk_tracker *tracker, uint64_t total_samples);

/* ---- claims ------------------------------------------------------------------------------------------------------ */

typedef struct aios_chunk_claim_options {
    uint32_t struct_size;
    int32_t gpu_id;       /* for reports; -1: none */
    const char *owner;    /* the worker within this tracker, whose pending samples stand and fall together; NULL: "" */
    const char *device;   /* for reports ("cuda:0"); NULL: "" */
    uint64_t start_block; /* no chunk before this one is claimed, in any epoch */
    uint64_t start_chunk; /* within start_block */
    uint64_t last_epoch;  /* no later epoch is claimed from.  A run of one pass gives info.current_epoch of its start, --iterate gives
                           * AIOS_CHUNK_EVERY */
} aios_chunk_claim_options;

#define AIOS_CHUNK_CLAIM_OPTIONS_INIT                                                                                                      \
    {                                                                                                                                      \
        sizeof(aios_chunk_claim_options), -1, NULL, NULL, 0, 0, AIOS_CHUNK_EVERY                                                           \
    }
AIOS_API void aios_chunk_claim_options_init(aios_chunk_claim_options *options);

enum {
    AIOS_CHUNK_CLAIMED = 0,  /* train it */
    AIOS_CHUNK_WAIT = 1,     /* nothing is free, but others' claims may come back: ask again after wait_seconds */
    AIOS_CHUNK_FINISHED = 2, /* nothing is free or claimed up to last_epoch and from start_block on */
};

typedef struct aios_chunk_claim {
    uint32_t struct_size;
    int32_t outcome;       /* AIOS_CHUNK_…; all below but wait_seconds is 0 unless CLAIMED */
    uint64_t token;        /* greater than every one before it */
    uint64_t epoch;        /* from 0 */
    uint64_t block, chunk; /* chunk: within the block, from 0 */
    uint64_t offset;       /* where in the chunk the claim begins: above 0 where the samples before are trained already */
    uint64_t first, end;   /* the samples, numbered through the dataset.  Of a total that is not known, some may not exist */
    double wait_seconds;   /* of WAIT */
} aios_chunk_claim;

#define AIOS_CHUNK_CLAIM_INIT                                                                                                              \
    {                                                                                                                                      \
        sizeof(aios_chunk_claim), 0, 0, 0, 0, 0, 0, 0, 0, 0.0                                                                              \
    }

/* Claims the lowest free samples of the lowest epoch that has some.  The next epoch begins when nothing of this one is free any more, while
 * others still train its last chunks; at most one epoch is begun before the last is done.
 * Errors: INVALID_ARGUMENT (an option, by name); WRONG_STATE where completions of a checkpoint that was sealed and not committed wait for
 * aios_chunk_tracker_resume. */
AIOS_API aios_status aios_chunk_tracker_claim(aios_chunk_tracker *tracker, const aios_chunk_claim_options *options,
                                              aios_chunk_claim *claim);

/* The calls on a claim take its token, from any thread or process.  WRONG_STATE: the claim is no more (its lease passed and its samples
 * were given out again, resume, abandon): the worker's weights then hold samples that others train too. */

/* Renews the lease. */
AIOS_API aios_status aios_chunk_tracker_heartbeat(aios_chunk_tracker *tracker, uint64_t token);
/* Renews the lease and says how far the claim is: samples from its first on, and optimizer steps, both since it was claimed; the
 * run's optimizer step.  The next seal or share covers them.  Errors: OUT_OF_RANGE where samples pass the claim's end or go back. */
AIOS_API aios_status aios_chunk_tracker_progress(aios_chunk_tracker *tracker, uint64_t token, uint64_t samples, uint64_t steps,
                                                 uint64_t optimizer_step);
/* Ends the claim, every sample of it trained. */
AIOS_API aios_status aios_chunk_tracker_complete(aios_chunk_tracker *tracker, uint64_t token, uint64_t steps, uint64_t optimizer_step);
/* Ends the claim with its first `samples` trained; the others are free again, and the next claim begins with them.
 * Errors: as progress. */
AIOS_API aios_status aios_chunk_tracker_release(aios_chunk_tracker *tracker, uint64_t token, uint64_t samples, uint64_t steps,
                                                uint64_t optimizer_step);
/* The weights of a worker of this tracker are lost: ends its claims and frees what it trained and nobody shares or has sealed. */
AIOS_API aios_status aios_chunk_tracker_abandon(aios_chunk_tracker *tracker, const char *owner);

/* ---- checkpoints ------------------------------------------------------------------------------------------------- */

/* The weights of all workers of all processes have just been merged, and each goes on from the sum. */
AIOS_API aios_status aios_chunk_tracker_share(aios_chunk_tracker *tracker);
/* Gives all that is pending, and what is reported of claims, to a new checkpoint, and gives its number: 1 more than the last.  Durable
 * when it returns.  It does what share does, too: after it, replicas must go on from the checkpoint, or a lost one be kept in merges by its
 * saved weights. A checkpoint that could not be written is forgotten simply: the next one has its samples. */
AIOS_API aios_status aios_chunk_tracker_seal(aios_chunk_tracker *tracker, uint64_t *checkpoint);
/* The checkpoint is durable: its samples, and those of every one before it, are committed.  Writes the JSON file (a failure
 * to do that is a warning).  Durable when it returns.  Errors: INVALID_ARGUMENT for a number that was not sealed. */
AIOS_API aios_status aios_chunk_tracker_commit(aios_chunk_tracker *tracker, uint64_t checkpoint);
/* Training goes on from this checkpoint (0: from new weights): its samples and those of the ones before are committed, all others free, all
 * claims void.  Writes the JSON file.  Durable when it returns.  Errors: INVALID_ARGUMENT for a number that was not
 * sealed, OUT_OF_RANGE for one before `forget`, WRONG_STATE while another live process or tracker has claims. */
AIOS_API aios_status aios_chunk_tracker_resume(aios_chunk_tracker *tracker, uint64_t checkpoint);
/* No checkpoint before this one will be resumed from: who trained what in epochs that are complete and committed by then is kept in sums
 * alone. Without this call the database keeps 30 bytes per trained chunk for ever.  Errors: INVALID_ARGUMENT for a number not committed. */
AIOS_API aios_status aios_chunk_tracker_forget(aios_chunk_tracker *tracker, uint64_t checkpoint);
/* Writes what is committed as JSON to path; NULL: FOLDER/chunk_tracker_state.json.  The file is replaced atomically.  It is an object of
 * - brain_id, dataset_name, current_epoch, total_steps, total_blocks_in_dataset (null while not known)
 * - completed_chunks [{block_id, chunk_id, gpu_id, optimizer_step, steps}] of the current epoch, gpu_id -1 where it is not known.  Where
 *   they are more than 20,000: of unfinished blocks alone, and at most so many
 * - completed_blocks [], started_blocks [], blocks_this_epoch [] of the current epoch
 * - in_progress_chunks [{block_id, chunk_id, gpu_id, timestamp}], timestamp in Unix seconds of the claim
 * - libaios {version, block_samples, chunk_samples, total_samples, dataset_identity, checkpoint, epochs, epochs_open [{epoch, completed
 *   [[first, end], ...]}]}, what an import goes by: exact to the sample
 * Errors: IO, OUT_OF_MEMORY, WRONG_STATE (read_only without a path). */
AIOS_API aios_status aios_chunk_tracker_export(aios_chunk_tracker *tracker, const char *path);

/* ---- looking ----------------------------------------------------------------------------------------------------- */

typedef struct aios_chunk_tracker_info {
    uint32_t struct_size;
    int32_t needs_resume; /* 1: claims are refused until aios_chunk_tracker_resume */
    uint64_t block_samples;
    uint64_t chunk_samples;
    uint64_t total_samples; /* 0: not known */
    uint64_t total_blocks;  /* 0: not known */
    uint64_t epochs;        /* begun so far: 0 … epochs - 1 */
    uint64_t current_epoch; /* the first that is not complete; epochs where all are */
    uint64_t sealed;        /* the number of the last checkpoint that was sealed; 0: none */
    uint64_t committed;     /* … committed */
    uint64_t forgotten;     /* … given to forget */
    uint64_t claims;        /* now */
    uint64_t steps;         /* of everything committed */
    const char *brain_id;   /* these four are borrowed from the tracker */
    const char *dataset_name;
    const char *dataset_identity;
    const char *path; /* of the database */
} aios_chunk_tracker_info;

#define AIOS_CHUNK_TRACKER_INFO_INIT                                                                                                       \
    {                                                                                                                                      \
        sizeof(aios_chunk_tracker_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL                                        \
    }
AIOS_API aios_status aios_chunk_tracker_get_info(aios_chunk_tracker *tracker, aios_chunk_tracker_info *info);

/* Of an epoch or a block.  What the total leaves unknown is 0. */
typedef struct aios_chunk_progress {
    uint32_t struct_size;
    int32_t complete; /* 1: every sample is pending or committed */
    uint64_t samples;
    uint64_t trained; /* pending and committed */
    uint64_t committed;
    uint64_t claimed; /* by claims that go on, what they reported since the last seal or share included */
    uint64_t chunks;
    uint64_t chunks_trained; /* every sample of them */
    uint64_t chunks_committed;
    uint64_t blocks; /* 1 for a block */
    uint64_t blocks_trained;
    uint64_t blocks_committed;
} aios_chunk_progress;

#define AIOS_CHUNK_PROGRESS_INIT                                                                                                           \
    {                                                                                                                                      \
        sizeof(aios_chunk_progress), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                       \
    }
/* Errors: OUT_OF_RANGE for an epoch that has not begun; for a block beyond the total. */
AIOS_API aios_status aios_chunk_tracker_get_epoch(aios_chunk_tracker *tracker, uint64_t epoch, aios_chunk_progress *progress);
AIOS_API aios_status aios_chunk_tracker_get_block(aios_chunk_tracker *tracker, uint64_t epoch, uint64_t block,
                                                  aios_chunk_progress *progress);

/* What one device trained. */
typedef struct aios_chunk_share {
    uint32_t struct_size;
    int32_t gpu_id;
    char device[AIOS_CHUNK_NAME_MAX];
    uint64_t committed; /* samples */
    uint64_t pending;
    uint64_t steps; /* of both */
} aios_chunk_share;

#define AIOS_CHUNK_SHARE_INIT                                                                                                              \
    {                                                                                                                                      \
        sizeof(aios_chunk_share), 0, "", 0, 0, 0                                                                                           \
    }
/* Device number index of those that trained in an epoch, or AIOS_CHUNK_EVERY.  Errors: NOT_FOUND past the last. */
AIOS_API aios_status aios_chunk_tracker_get_share(aios_chunk_tracker *tracker, uint64_t epoch, uint32_t index, aios_chunk_share *share);

/* A claim as others see it. */
typedef struct aios_chunk_holder {
    uint32_t struct_size;
    int32_t gpu_id;
    char device[AIOS_CHUNK_NAME_MAX];
    char owner[AIOS_CHUNK_NAME_MAX];
    int64_t process; /* its id; 0: of another boot */
    uint64_t token, epoch, block, chunk, first, end;
    uint64_t trained;     /* samples reported since it was claimed or last sealed */
    double lease_seconds; /* left; negative: passed */
    double claimed_at;    /* Unix time */
} aios_chunk_holder;

#define AIOS_CHUNK_HOLDER_INIT                                                                                                             \
    {                                                                                                                                      \
        sizeof(aios_chunk_holder), 0, "", "", 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0                                                             \
    }
/* Claim number index, by token.  Errors: NOT_FOUND past the last. */
AIOS_API aios_status aios_chunk_tracker_get_holder(aios_chunk_tracker *tracker, uint32_t index, aios_chunk_holder *holder);

#ifdef __cplusplus
}
#endif
#endif
