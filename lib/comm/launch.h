/* launch.h (internal): who started this process, and as which rank of a run in several processes.
 *
 * Launchers tell their processes by environment variables.  In this order, the first that speaks counts:
 *
 *   own spawn   AIOS_RANK AIOS_RANKS, AIOS_LOCAL_RANK AIOS_LOCAL_RANKS
 *   torchrun    RANK WORLD_SIZE, LOCAL_RANK LOCAL_WORLD_SIZE, TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT TORCHELASTIC_USE_AGENT_STORE
 *   Open MPI    OMPI_COMM_WORLD_RANK _SIZE _LOCAL_RANK _LOCAL_SIZE, PMIX_NAMESPACE
 *   MPICH       PMI_RANK PMI_SIZE, MPI_LOCALRANKID MPI_LOCALNRANKS (Hydra: MPICH, Intel MPI)
 *   Slurm       SLURM_PROCID SLURM_STEP_NUM_TASKS (or SLURM_NTASKS), SLURM_LOCALID SLURM_STEP_TASKS_PER_NODE, SLURM_STEP_NODELIST (or
 *               SLURM_NODELIST), SLURM_JOB_ID; only where srun started the process (SLURM_STEP_ID), for a batch script has the rest as well
 *
 * With all of them MASTER_ADDR and MASTER_PORT say where rank 0 is (default 127.0.0.1 and 29500; under Slurm the step's first host and a
 * port made of the job's number), and AIOS_JOB replaces the token that tells jobs apart. */
#ifndef AIOS_COMM_LAUNCH_H
#define AIOS_COMM_LAUNCH_H

#include "base/error.h"

enum { LAUNCH_ALONE = 0, LAUNCH_OWN = 1, LAUNCH_TORCHRUN = 2, LAUNCH_OPEN_MPI = 3, LAUNCH_MPICH = 4, LAUNCH_SLURM = 5, LAUNCH_COUNT = 6 };

struct launch {
    int launcher;
    int rank, ranks;             /* of the run; alone: 0 of 1 */
    int local_rank, local_ranks; /* among those of this host */
    char address[256];           /* of the host of rank 0 */
    int port, port_taken;        /* 1: the launcher itself uses the port */
    char token[128];             /* the same for all ranks, and no other job's */
    /* What the user asks of a run without a launcher, and of all. */
    int spawn;      /* AIOS_DDP_SPAWN=1: start one process per device */
    double timeout; /* AIOS_DDP_TIMEOUT_SEC: that ranks wait for each other; 0: not set */
};

/* "none", "spawn", "torchrun", "mpirun (Open MPI)", … */
const char *launch_name(int launcher);

/* get: the value of a variable, NULL where it is unset or empty.  Errors: INVALID_ARGUMENT names the variable, its value and what would be
 * right. */
aios_status launch_detect(const char *(*get)(void *user, const char *name), void *user, struct launch *launch);

#endif
