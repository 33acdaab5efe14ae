/* evaluate.h (internal): the loss of a model on texts, without an effect on training. aios_evaluate is in fan_out.c. */
#ifndef AIOS_TRAINER_EVALUATE_H
#define AIOS_TRAINER_EVALUATE_H

#include "batches.h"
#include <aios/model.h>

struct evaluator {
    aios_context *context;
    aios_plan *plan;
    int32_t *tokens, *labels;
    int64_t batch;
    int32_t sequence;
};

aios_status evaluator_open(struct evaluator *evaluator, aios_context *context, const aios_model *model, aios_parameters *parameters,
                           int64_t batch, int32_t sequence);
void evaluator_close(struct evaluator *evaluator); /* what was zeroed is fine */

/* Runs what stands in the evaluator's tokens and labels, and adds to sums. */
struct evaluator_sums;
aios_status evaluator_run_rows(struct evaluator *evaluator, struct evaluator_sums *sums);

struct evaluator_sums {
    double loss, rows, hits; /* nats in all, labels, labels predicted right */
    int64_t bytes;           /* of text under the labels */
};
/* Of several that share an evaluation: micro-batch `index` and every count-th after it, of `unit` samples (a multiple of the evaluator's).
 */
struct evaluator_part {
    int index, count;
    int64_t unit;
};
/* 1: leave off. */
typedef int (*evaluator_stop_fn)(void *user);
/* The first `most` micro-batches of the evaluation samples (0: all).  part may be NULL: all.  stop may be NULL; it is
 * asked before each.  Errors: STOPPED. */
aios_status evaluator_run(struct evaluator *evaluator, const struct batches *batches, const struct evaluator_part *part, int64_t most,
                          evaluator_stop_fn stop, void *user, struct evaluator_sums *sums);

#endif
