/* evaluate.h (internal): how good a model is on texts or puzzles, without an effect on training.  aios_evaluate is in fan_out.c. */
#ifndef AIOS_TRAINER_EVALUATE_H
#define AIOS_TRAINER_EVALUATE_H

#include "batches.h"
#include <aios/model.h>

struct evaluator {
    aios_context *context;
    aios_plan *plan;
    aios_parameters *parameters;
    const struct batches *batches;
    struct samples samples;
    int64_t batch;
    int32_t segments; /* of a puzzle; 0: texts */
    float *numbers;   /* (3 batch): outputs of puzzles */
};

/* batches: where the samples come from; borrowed until close, as are the parameters. */
aios_status evaluator_open(struct evaluator *evaluator, const struct batches *batches, const aios_model *model, aios_parameters *parameters,
                           int64_t batch, int32_t sequence);
void evaluator_close(struct evaluator *evaluator); /* what was zeroed is fine */

struct evaluator_sums {
    double loss, rows, hits; /* nats in all, labels, labels predicted right */
    double puzzles, solved;  /* of puzzles, whose loss is each one's mean: how many, and of how many every label is right … */
    double halts;            /* … and of how many "halt" is at least 0 just where that is so */
    int64_t bytes;           /* of text under the labels */
};
/* Runs what stands in the evaluator's samples, texts, and adds to sums. */
aios_status evaluator_run_texts(struct evaluator *evaluator, struct evaluator_sums *sums);
/* Of several that share an evaluation: micro-batch `index` and every count-th after it, of `unit` samples (a multiple of the evaluator's).
 */
struct evaluator_part {
    int index, count;
    int64_t unit;
};
/* Event "evaluating" of a saved model's evaluation, at most twice a second; *next: 0 at first, the clock's when the next one is due. */
void evaluate_tell(aios_context *context, double *next, int64_t done, int64_t total);
/* 1: leave off. */
typedef int (*evaluator_stop_fn)(void *user);
/* The first `most` micro-batches of the evaluation samples (0: all).  part may be NULL: all.  stop may be NULL; it is
 * asked before each.  What the parameters' states held is gone.  Errors: STOPPED. */
aios_status evaluator_run(struct evaluator *evaluator, const struct evaluator_part *part, int64_t most, evaluator_stop_fn stop, void *user,
                          struct evaluator_sums *sums);

#endif
