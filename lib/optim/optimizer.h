/* optimizer.h (internal): a step in two halves, for replicas that share the work.  Ranges are elements of the flat buffers, on whole
 * blocks. */
#ifndef AIOS_OPTIM_OPTIMIZER_H
#define AIOS_OPTIM_OPTIMIZER_H

#include <aios/plan.h>

/* Of the gradient's elements [first, first + count); waits. */
aios_status optimizer_sum_squares(aios_optimizer *optimizer, uint64_t first, uint64_t count, double *squares);
/* aios_optimizer_step, of that range alone, with the sum of squares of the whole gradient. */
aios_status optimizer_update(aios_optimizer *optimizer, double squares, uint64_t first, uint64_t count);
/* Both, of the parts of the buckets that the parameters' rank owns. */
aios_status optimizer_sum_squares_owned(aios_optimizer *optimizer, double *squares);
aios_status optimizer_update_owned(aios_optimizer *optimizer, double squares);
/* As it was when it was created: moments zero, no step made. */
aios_status optimizer_reset(aios_optimizer *optimizer);

#endif
