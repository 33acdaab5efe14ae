/* mixed.h (internal): the ranks of one process on devices of several vendors: those of one vendor among themselves by its own library, and
 * the first ranks of all vendors in host memory (hierarchical.h). */
#ifndef AIOS_COMM_MIXED_H
#define AIOS_COMM_MIXED_H

#include "comm.h"

/* sizes (groups): how many ranks, one behind the other, are together; by_vendor[i]: group i has its vendor's collectives, else its size is
 * 1.  All ranks meet before each collective, so that the deadline names who is missing, whatever vendor's it is.
 * Errors: those of comm_group_create and comm_vendor_create. */
aios_status comm_mixed_create(aios_context *context, const comm_options *options, const int *sizes, const int *by_vendor, int groups,
                              int demanded, comm_group **group);

#endif
