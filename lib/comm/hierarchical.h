/* hierarchical.h (internal): one communicator of two: an inner one (the ranks of one process, or of one vendor) and an outer one between
 * the first ranks of all inner groups.  Ranks are numbered inner group by inner group.
 *
 * Sums are taken in the order of the ranks within each inner group, and then in the order of the groups: equal layouts give equal bits,
 * on every rank, but not those of a flat communicator.  A failure in either breaks both.  While the first rank waits for other groups its
 * own group waits for it, so the inner deadline is best several times the outer one. */
#ifndef AIOS_COMM_HIERARCHICAL_H
#define AIOS_COMM_HIERARCHICAL_H

#include "comm.h"

/* sizes (groups): the ranks of each inner group; own: which one this is.  inner: of sizes[own] ranks, NULL where that is 1; outer: of
 * `groups` ranks, NULL where that is 1.  They belong to the new group and are destroyed with it.  comm_join takes the global rank, and
 * joins both; that of an inner group's first rank waits where the outer one's does.  Errors: INVALID_ARGUMENT; then inner and outer stay
 * the caller's. */
aios_status comm_hierarchical_create(aios_context *context, comm_group *inner, comm_group *outer, const int *sizes, int groups, int own,
                                     comm_group **group);

#endif
