/* trainer.h: training runs with checkpoints, evaluation, and text generation.
 *
 * A run lives in a folder (option save-dir):
 *   run.json            what the run is: options, model, device, version, start and end, outcome
 *   metrics.jsonl       one line per event: {"event": "step", "step": …, "loss": …, …}
 *   metrics.json        the newest values, replaced atomically
 *   chunk_tracker.sqlite, chunk_tracker_state.json   of devices that train on their own: who trained which chunk (chunk_tracker.h)
 *   checkpoints/step-NNNNNNNN/   config.json, model.safetensors, tokenizer files, optimizer.safetensors, trainer.json, manifest.json
 *
 * Several devices (option devices) share the work by option strategy: with ddp each step is one gradient of all of them; with
 * parallel-independent each makes steps of its own on chunks of its own, and their weights are merged now and then.
 * There a sample counts only with the checkpoint that holds its effect: whatever fails, stops or is killed, each sample of an epoch is
 * in the weights once.
 *
 * With option launcher auto a process that torchrun, mpirun, srun or `aios train --spawn` started is one rank, or several, of one ddp run
 * (docs/distributed.md): create returns when all processes are there, run makes the same steps in all, a stop of one stops all, and
 * process 0 alone writes the folder.  A ddp run goes on without devices and processes that fail, hang or die, unless strict is set.
 *
 * Events (context.h) and their fields, each with "elapsed", seconds of training: "run_start" {model, parameters, device, strategy, process,
 * processes (of several), precision, steps, step, tokens_per_step, train_samples, eval_samples, micro_batches (of ddp: of each device)},
 * "step" {step, loss, lr, grad_norm, tokens, tokens_per_second, loss_scale, skipped, epoch, eta}, "eval" {step, loss, accuracy, tokens,
 * nats_per_byte}, "checkpoint_save" {step, path, seconds}, "data" (dataset.h), "warning" {message}, "launcher" {ddp, launcher, rank,
 * world_size}, "balance" {step, device, micro_batches: one number per device} when their shares change; "device_dropped" {step, device,
 * message, devices_left}; "reform" {step, processes, devices, devices_before} where processes go on without some, "rewind" {step,
 * from_step} where that is from the newest checkpoint; of independent devices, from their threads one at a time: "step" has device, gpu_id,
 * block_id, chunk_id, sample (the first, in the running order) and samples too; "chunk_complete" {step, device, gpu_id, epoch, block_id,
 * chunk_id, samples, steps}; "merge" {step, devices, tokens: of each, seconds}; at the end of several devices "devices" {step, devices
 * [{device, tokens, share, tokens_per_second; of independent ones dropped, steps, chunks}], tokens_per_second, efficiency: of the sum of
 * what each device does while it computes}, where ddp knows speeds with balance measured alone; "training_complete" {step, outcome, loss,
 * tokens}. */
#ifndef AIOS_TRAINER_H
#define AIOS_TRAINER_H

#include <aios/model.h>
#include <aios/options.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_trainer aios_trainer;

/* Checks every option against the others, opens device, tokenizer, data and model, and, with resume, the newest complete
 * checkpoint.  options are copied (scope TRAIN, or HRM for puzzles).  model NULL: what the options say; it is retained.
 *
 * One run at a time writes into a folder (TIMEOUT where another does), and a folder that has checkpoints is not begun anew
 * (ALREADY_EXISTS without resume).  A resumed run takes from its checkpoint every option that is not set here, but resume, save-dir,
 * stop-file, max-minutes and launcher; with the same options it ends bit by bit as if it had never been stopped.  Another dataset,
 * tokenizer, model, optimizer or max-seq-len is refused (INVALID_ARGUMENT with both values); what else would make it another run is
 * reported by "warning" events.  Errors: whatever is wrong, by name. */
AIOS_API aios_status aios_trainer_create(aios_context *context, const aios_options *options, aios_model *model, aios_trainer **trainer);
/* The same, which can be stopped while it prepares the text, which may take long the first time.  *stop: looked at several times a second
 * while a text is fetched or tokenized, from a signal handler or another thread, not after the call; NULL: never.  STOPPED: no trainer is
 * made, half of a cache file is removed, whole ones and what came of a download stay. */
AIOS_API aios_status aios_trainer_create_until(aios_context *context, const aios_options *options, aios_model *model,
                                               const volatile int32_t *stop, aios_trainer **trainer);
AIOS_API void aios_trainer_destroy(aios_trainer *trainer);

/* Trains on the calling thread until all steps are done, a stop or an error.  AIOS_OK: done; AIOS_STOPPED: a stop was obeyed
 * and the state saved; NOT_FINITE: max-nan-steps steps in a row had no finite gradient (in 16-mixed those that a loss scale above 1
 * explains do not count), nothing is saved; WRONG_STATE: it runs already; a device's or file's error.  Can be called again after
 * STOPPED. */
AIOS_API aios_status aios_trainer_run(aios_trainer *trainer);

enum { AIOS_STOP_GRACEFUL = 1, AIOS_STOP_IMMEDIATE = 2 };
/* From any thread or a signal handler: GRACEFUL ends after the step that is running (of independent devices: after the chunk of each),
 * IMMEDIATE after the micro-batch, leaving out its unfinished step; both save a checkpoint. */
AIOS_API void aios_trainer_stop(aios_trainer *trainer, int32_t mode);

typedef struct aios_trainer_metrics {
    uint32_t struct_size;
    int32_t running;
    int64_t step, steps;    /* done, to do in all */
    int64_t tokens;         /* trained on, since step 0 */
    double loss, eval_loss; /* nats per token, of the last step and evaluation; NaN before the first */
    double lr, grad_norm, tokens_per_second, elapsed;
} aios_trainer_metrics;
#define AIOS_TRAINER_METRICS_INIT                                                                                                          \
    {                                                                                                                                      \
        sizeof(aios_trainer_metrics), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                         \
    }
/* From any thread. */
AIOS_API aios_status aios_trainer_get_metrics(aios_trainer *trainer, aios_trainer_metrics *metrics);
AIOS_API const char *aios_trainer_folder(const aios_trainer *trainer);    /* save-dir as resolved; borrowed */
AIOS_API aios_parameters *aios_trainer_parameters(aios_trainer *trainer); /* borrowed; not while it runs */

/* ---- merging checkpoints ------------------------------------------------------------------------------------------ */

typedef struct aios_merge_options {
    uint32_t struct_size;
    uint32_t count;             /* of the folders */
    const char *const *folders; /* checkpoints or models in Hugging Face layout, all of one architecture and size */
    const double *weights;      /* a number from 0 up for each; NULL: by the tokens in trainer.json, all alike where one has none */
    const char *output;         /* a folder that is not there yet */
} aios_merge_options;

#define AIOS_MERGE_OPTIONS_INIT                                                                                                            \
    {                                                                                                                                      \
        sizeof(aios_merge_options), 0, NULL, NULL, NULL                                                                                    \
    }
AIOS_API void aios_merge_options_init(aios_merge_options *options);

/* Writes the weighted mean of the checkpoints' weights as a model: config, tokenizer and types are those of the first that takes part.  A
 * checkpoint with a value that is not finite is left out, with a warning; tensors of whole numbers are the heaviest checkpoint's.  The
 * memory of one tensor is used, and the output is there whole or not at all.  It has no optimizer: `model` of a new run names it.
 * Errors: INVALID_ARGUMENT (other tensors, shapes or configuration, by name), NOT_FOUND, ALREADY_EXISTS, NOT_FINITE where none is left,
 * CORRUPT, IO, OUT_OF_MEMORY. */
AIOS_API aios_status aios_merge_checkpoints(aios_context *context, const aios_merge_options *options);

/* ---- evaluation and generation of a saved model ------------------------------------------------------------------- */

typedef struct aios_evaluation {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t tokens; /* predicted; of questions: those of the right choices, as loss and perplexity are */
    double loss;    /* nats per token */
    double perplexity;
    double accuracy; /* of the next token; NaN of questions */
    double nats_per_byte;
    int64_t samples;
    double exact_accuracy;       /* part of the samples whose every token is predicted right; NaN where the model doesn't tell */
    int64_t questions;           /* of task-file; 0 without, and the next two NaN */
    double choice_accuracy;      /* part of them whose right choice has the greatest log-likelihood (lm-evaluation-harness: acc) */
    double choice_accuracy_norm; /* the same by log-likelihood per character of the choice (acc_norm) */
    uint32_t devices;            /* that did it to the end */
    uint32_t devices_failed;
} aios_evaluation;
#define AIOS_EVALUATION_INIT                                                                                                               \
    {                                                                                                                                      \
        sizeof(aios_evaluation), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                                     \
    }
/* options of scope EVAL: model, dataset-file or task-file, tokenizer, devices, …
 *
 * Several devices share the micro-batches; each one's sums are added in the order of the text, so with devices that compute the same
 * bits the result is the same, bit by bit, however many there are and whoever did what.  What a device that fails had is done by another
 * one; the call fails where none is left.  With sequential each device does everything, one after the other, and the result is the mean by
 * tokens.  One event per device and run: "eval_device" {device, run, shards, samples, tokens, loss, accuracy, load_seconds, seconds,
 * tokens_per_second, error: null or why it was left out}; twice a second "evaluating" {done, total} micro-batches. */
AIOS_API aios_status aios_evaluate(aios_context *context, const aios_options *options, aios_evaluation *evaluation);
/* The same, which can be stopped.  *stop: looked at while the text is fetched or tokenized and before each micro-batch of each device, from
 * a signal handler or another thread; NULL: never.  STOPPED: evaluation holds what was done by then (of questions those whose choices all
 * are; tokens 0 and NaN where nothing is), and the message says how much that is. */
AIOS_API aios_status aios_evaluate_until(aios_context *context, const aios_options *options, const volatile int32_t *stop,
                                         aios_evaluation *evaluation);

typedef struct aios_generator aios_generator;
/* options of scope GENERATE: opens model, tokenizer, device and a key-value cache. */
AIOS_API aios_status aios_generator_create(aios_context *context, const aios_options *options, aios_generator **generator);
AIOS_API void aios_generator_destroy(aios_generator *generator);
/* Text arrives in whole UTF-8 characters where the model writes UTF-8; not 0-terminated.  Return non-zero to stop. */
typedef int32_t (*aios_text_fn)(void *user, const char *text, size_t size);
/* Continues prompt (UTF-8 or any bytes); past the model's context the oldest tokens are forgotten.  Errors: STOPPED never;
 * INVALID_ARGUMENT for a prompt longer than the context. */
AIOS_API aios_status aios_generator_run(aios_generator *generator, const char *prompt, size_t size, uint64_t seed, aios_text_fn text,
                                        void *user);

#ifdef __cplusplus
}
#endif
#endif
