/* vendor.h (internal): communicators over a vendor's own collectives (gpu/collectives.h), and which kind suits some devices. */
#ifndef AIOS_COMM_VENDOR_H
#define AIOS_COMM_VENDOR_H

#include "world.h"

/* Option collectives: AUTO takes the vendor's where they can be had and says in the log why not; HOST leaves them; VENDOR demands them. */
enum { COLLECTIVES_AUTO = 0, COLLECTIVES_HOST = 1, COLLECTIVES_VENDOR = 2 };

/* Over `host`, a group of the same ranks, whose communicators the ranks' devices, all of one vendor, then have as well: there they meet
 * before each collective, agree on what it is, learn of each other's failures and sum numbers.  Buffers go by NCCL or RCCL.  The ranks
 * find each other at the first collective.  What can't be done then is an error where `demanded`, else said in the log, and done
 * by the host's.  Sums are taken in an order of the library's, the same on all ranks and in each run.
 * The group takes over host, in failure too.  Errors: OUT_OF_MEMORY. */
aios_status comm_vendor_create(aios_context *context, comm_group *host, double deadline, int demanded, comm_group **group);

/* The group of options->ranks devices of this process, rank i on devices[i]: what `collectives` asks for and they can.
 * Errors: UNAVAILABLE, UNSUPPORTED: the vendor's are demanded and can't be had, with what is missing; those of comm_group_create. */
aios_status comm_group_choose(aios_context *context, const comm_options *options, aios_device *const *devices, int collectives,
                              comm_group **group);

/* The group of the processes' first devices, device being this one's, which has so many in all: the vendor's where all devices are of one
 * make, have the same release of its library, and are not the same; else comm_world_group.  Collective.  Where a process has several
 * devices, VENDOR demands it among those alone.  Errors: those of comm_world_group and comm_world_gather; UNSUPPORTED, with what is
 * missing. */
aios_status comm_world_choose(comm_world *world, aios_context *context, const comm_options *options, aios_device *device, int devices,
                              int collectives, comm_group **group);

#endif
