/* sum.h (internal to lib/comm): the one way in which ranks' numbers are added, so that every kind of communicator gives the same bits. */
#ifndef AIOS_COMM_SUM_H
#define AIOS_COMM_SUM_H

#include <stdint.h>

/* to[0 … copies)[i] = from[0][i] + from[1][i] + … + from[ranks - 1][i], added from left to right; a `to` may be one of `from`. */
void comm_sum(float *const *to, int copies, float *const *from, int ranks, uint64_t count);

#endif
