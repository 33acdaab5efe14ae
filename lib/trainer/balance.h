/* balance.h (internal): how the micro-batches of a step are dealt to devices of different speed.  Which device computes which changes no
 * gradient, so shares may change from step to step. */
#ifndef AIOS_TRAINER_BALANCE_H
#define AIOS_TRAINER_BALANCE_H

#include "base/error.h"

enum { BALANCE_EVEN = 0, BALANCE_MEASURED = 1, BALANCE_WEIGHTS = 2 };

/* Deals `total` micro-batches so that the last of `count` devices is done as early as can be; weights: their speeds, above 0.  Everyone
 * gets at least one where there are enough. */
void balance_deal(const double *weights, int count, int64_t total, int64_t *shares);
/* When the last device is done with such shares, in the unit of one micro-batch at weight 1. */
double balance_time(const double *weights, const int64_t *shares, int count);
/* "4,2,1".  Errors: INVALID_ARGUMENT, which names the text and how many numbers above 0 it must have. */
aios_status balance_parse(const char *text, int count, double *weights);

#endif
