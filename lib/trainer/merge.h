/* merge.h (internal): one set of numbers out of several replicas'.
 *
 * The mean is taken in double precision, in the order of the parts, so equal parts give exactly themselves.  The outer step is Nesterov's
 * on the difference between the weights that all began with and their mean (DiLoCo): velocity = momentum * velocity + (anchor - mean),
 * weights = anchor - lr * ((anchor - mean) + momentum * velocity). */
#ifndef AIOS_TRAINER_MERGE_H
#define AIOS_TRAINER_MERGE_H

#include <stdint.h>

/* out[i] = sum over k of shares[k] * parts[k][i], i from first to end - 1.  shares sum to 1; out may be one of the parts. */
void merge_mean(float *out, const float *const *parts, const double *shares, int count, uint64_t first, uint64_t end);
/* mean becomes the new weights, which anchor becomes too; velocity is kept for the next. */
void merge_outer(float *mean, float *anchor, float *velocity, double lr, double momentum, uint64_t first, uint64_t end);
/* 1: no value is infinite or not a number. */
int merge_is_finite(const float *values, uint64_t count);

#endif
