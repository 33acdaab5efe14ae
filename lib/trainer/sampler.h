/* sampler.h (internal): one token out of a row of logits.
 *
 * Temperature divides the logits; of the top_k largest (0: of all) those are kept that together hold top_p of their probability,
 * the one that crosses it included (Holtzman et al., "The Curious Case of Neural Text Degeneration").  Probabilities are double, sums run
 * in a fixed order and ties go to the smaller id, so a seed gives the same text on every machine that gives the same logits. */
#ifndef AIOS_TRAINER_SAMPLER_H
#define AIOS_TRAINER_SAMPLER_H

#include "base/context.h"
#include "base/rng.h"

struct candidate {
    double probability; /* not normalised */
    int32_t id;
};

struct sampler {
    double temperature, top_p; /* temperature 0: the largest logit */
    int64_t top_k;             /* 0: all */
    struct candidate *heap;    /* room for `count` */
    int32_t count;             /* ids to choose among: 0 … count - 1 */
};

aios_status sampler_init(struct sampler *sampler, aios_context *context, int32_t count);
void sampler_free(struct sampler *sampler, aios_context *context);
/* Errors: NOT_FINITE where no logit is a number. */
aios_status sampler_choose(struct sampler *sampler, const float *logits, rng *random, int32_t *id);

#endif
