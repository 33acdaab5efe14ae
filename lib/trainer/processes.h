/* processes.h (internal): the processes that a launcher started for one run (comm/launch.h, comm/world.h).  Process 0 alone writes into the
 * run's folder.  Without a launcher there is one process, and every call here is done at once. */
#ifndef AIOS_TRAINER_PROCESSES_H
#define AIOS_TRAINER_PROCESSES_H

#include "comm/launch.h"
#include "comm/world.h"
#include "settings.h"

struct processes {
    aios_context *context;
    struct launch launch;
    comm_world *world; /* NULL: one process */
    int lost;          /* 1: the others can't be found any more */
};

/* Finds the others, where option launcher lets the environment speak. */
aios_status processes_open(struct processes *p, aios_context *context, const struct settings *settings);
/* error: why this process leaves, in the error record; the others end with it.  AIOS_OK: in peace. */
void processes_close(struct processes *p, aios_status error);
static inline int processes_count(const struct processes *p)
{
    return p->world ? comm_world_ranks(p->world) : 1;
}
static inline int processes_index(const struct processes *p)
{
    return p->world ? comm_world_rank(p->world) : 0;
}

/* All go on or none does.  status: this process's, with its record.  Returns the first failure, which names the process. */
aios_status processes_agree(struct processes *p, aios_status status);
/* What process `root` says.  *text is freed with aios_memory_free. */
aios_status processes_tell(struct processes *p, int root, const char *said, char **text);
/* One structure of each: all (processes, size). */
aios_status processes_gather(struct processes *p, const void *own, size_t size, void *all);
/* Errors: INVALID_ARGUMENT names a process whose text is not this one's, `what` being its name. */
aios_status processes_compare(struct processes *p, const char *text, const char *what);
/* The others learn that this one stopped in the middle. */
void processes_break(struct processes *p, aios_status status);
/* The processes that are left are numbered anew. */
aios_status processes_reform(struct processes *p);

#endif
