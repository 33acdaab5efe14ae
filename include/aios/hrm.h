/* hrm.h: training, measuring and asking the Hierarchical Reasoning Model (hrm_actv1, model.h) on sets of puzzles (puzzles.h).
 *
 * A step is one segment of every sequence of the batch, with an update after it; a sequence that halts makes room for the next puzzle.
 * Training is the trainer's (trainer.h): its devices, strategies, checkpoints, events and options, as far as scope HRM has them.  A
 * checkpoint also holds what every row of the batch carries (carry.safetensors), so a run that goes on has the bits of one that was not
 * stopped, on any number of devices that deal the same global batch.  Several devices: ddp gives one device's numbers; parallel-independent
 * takes chunks of the epoch, and a row of the puzzles' table that some devices used is their mean.
 *
 * Beside the trainer's fields events have: "run_start" {batch, train_examples, test_examples}, "step" {lm_loss, q_halt_loss,
 * q_continue_loss, exact_accuracy, mean_steps: of those that halted, steps_per_second}, "eval" {exact_accuracy, halt_accuracy, examples},
 * "training_complete" {exact_accuracy}. */
#ifndef AIOS_HRM_H
#define AIOS_HRM_H

#include <aios/model.h>
#include <aios/options.h>
#include <aios/puzzles.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_hrm_scores {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t examples;
    double exact_accuracy; /* puzzles of which every label that counts is right */
    double accuracy;       /* labels that are right */
    double halt_accuracy;  /* puzzles of which "halt" is at least 0 just where the answer is right */
    double loss;           /* mean over the puzzles of the mean loss of their labels */
} aios_hrm_scores;
#define AIOS_HRM_SCORES_INIT                                                                                                               \
    {                                                                                                                                      \
        sizeof(aios_hrm_scores), 0, 0, 0, 0, 0, 0                                                                                          \
    }

/* Trains on data-path/train, measures on data-path/test where there is one, saves.  options: scope HRM; aios_trainer_create takes them
 * too.  *stop: looked at after each step, from a signal handler or another thread; NULL: never.  scores: of the last evaluation, examples 0
 * without a test set; NULL is fine.  Errors: STOPPED (what was learnt is saved), NOT_FINITE after max-nan-steps bad steps in a row, and
 * whatever is wrong with options, data, device, by name. */
AIOS_API aios_status aios_hrm_train(aios_context *context, const aios_options *options, const volatile int32_t *stop,
                                    aios_hrm_scores *scores);
/* Measures option model on data-path/test, after halt_max_steps segments each.  Twice a second event "evaluating" {done, total} puzzles. */
AIOS_API aios_status aios_hrm_evaluate(aios_context *context, const aios_options *options, aios_hrm_scores *scores);
/* The same, which can be stopped.  *stop: looked at before each batch of puzzles, from a signal handler or another thread; NULL: never.
 * STOPPED: scores are of what was done by then, and the message says how much that is. */
AIOS_API aios_status aios_hrm_evaluate_until(aios_context *context, const aios_options *options, const volatile int32_t *stop,
                                             aios_hrm_scores *scores);

typedef struct aios_hrm_solver aios_hrm_solver;
/* Opens option model on option device.  One thread at a time. */
AIOS_API aios_status aios_hrm_solver_create(aios_context *context, const aios_options *options, aios_hrm_solver **solver);
AIOS_API void aios_hrm_solver_destroy(aios_hrm_solver *solver);
AIOS_API const aios_model *aios_hrm_solver_model(const aios_hrm_solver *solver); /* borrowed */

typedef struct aios_hrm_segment {
    uint32_t struct_size;
    int32_t step;           /* from 1 */
    double halt, go_on;     /* probabilities: sigmoid of q */
    const int32_t *answers; /* (length), as of this segment */
} aios_hrm_segment;
/* After each segment; return non-zero to end. */
typedef int32_t (*aios_hrm_segment_fn)(void *user, const aios_hrm_segment *segment);
/* inputs and answers have `length` tokens.  Ends where "halt" is more wanted than "go on", or at halt_max_steps.  steps and halt (the
 * probability at the end) may be NULL, as may on_segment. */
AIOS_API aios_status aios_hrm_solver_run(aios_hrm_solver *solver, const int32_t *inputs, uint64_t length, int32_t identifier,
                                         aios_hrm_segment_fn on_segment, void *user, int32_t *answers, int32_t *steps, double *halt);

#ifdef __cplusplus
}
#endif
#endif
