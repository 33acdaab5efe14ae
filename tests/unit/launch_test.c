/* What lib/comm/launch.h promises: every launcher is known by what it tells its processes, and what can't be right is named. */
#include "comm/launch.h"

#include "test.h"

#include <string.h>

#define MOST 16

struct environment {
    const char *all[MOST]; /* "NAME=value" */
};

static const char *get(void *user, const char *name)
{
    const struct environment *e = user;
    size_t length = strlen(name);
    for (int i = 0; i < MOST && e->all[i]; i++)
        if (strncmp(e->all[i], name, length) == 0 && e->all[i][length] == '=') return e->all[i] + length + 1;
    return NULL;
}

static void each_launcher_is_known(void **state)
{
    (void)state;
    static const struct {
        struct environment environment;
        struct launch want;
    } cases[] = {
        {{{NULL}}, {LAUNCH_ALONE, 0, 1, 0, 1, "127.0.0.1", 29500, 0, "aios", 0, 0}},
        {{{"RANK=", "SLURM_PROCID=0", "SLURM_NTASKS=4", "MASTER_PORT=1"}}, /* a batch script */
         {LAUNCH_ALONE, 0, 1, 0, 1, "127.0.0.1", 29500, 0, "aios", 0, 0}},
        {{{"AIOS_DDP_SPAWN=1", "AIOS_DDP_TIMEOUT_SEC=2.5"}}, {LAUNCH_ALONE, 0, 1, 0, 1, "127.0.0.1", 29500, 0, "aios", 1, 2.5}},
        {{{"AIOS_RANK=1", "AIOS_RANKS=2", "AIOS_LOCAL_RANK=0", "AIOS_LOCAL_RANKS=1", "MASTER_ADDR=10.0.0.1", "MASTER_PORT=4000",
           "AIOS_JOB=mine", "RANK=5", "WORLD_SIZE=6"}},
         {LAUNCH_OWN, 1, 2, 0, 1, "10.0.0.1", 4000, 0, "mine", 0, 0}},
        {{{"RANK=3", "WORLD_SIZE=4", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2", "MASTER_ADDR=node7", "MASTER_PORT=29400",
           "TORCHELASTIC_RUN_ID=abc", "TORCHELASTIC_RESTART_COUNT=2", "TORCHELASTIC_USE_AGENT_STORE=True", "OMP_NUM_THREADS=1"}},
         {LAUNCH_TORCHRUN, 3, 4, 1, 2, "node7", 29400, 1, "torchrun abc 2", 0, 0}},
        {{{"RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE=False"}}, /* by hand, on one host */
         {LAUNCH_TORCHRUN, 1, 2, 1, 2, "127.0.0.1", 29500, 0, "torchrun  0", 0, 0}},
        {{{"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_RANK=1", "OMPI_COMM_WORLD_LOCAL_SIZE=2",
           "PMIX_NAMESPACE=3041", "PMIX_RANK=1", "SLURM_STEP_ID=0", "SLURM_PROCID=0", "SLURM_NTASKS=1"}},
         {LAUNCH_OPEN_MPI, 1, 2, 1, 2, "127.0.0.1", 29500, 0, "mpirun 3041", 0, 0}},
        {{{"PMI_RANK=2", "PMI_SIZE=4", "MPI_LOCALRANKID=0", "MPI_LOCALNRANKS=2", "MASTER_ADDR=a", "SLURM_STEP_ID=0", "SLURM_PROCID=1",
           "SLURM_NTASKS=2"}},
         {LAUNCH_MPICH, 2, 4, 0, 2, "a", 29500, 0, "mpiexec", 0, 0}},
        {{{"SLURM_STEP_ID=3", "SLURM_PROCID=4", "SLURM_NTASKS=5", "SLURM_LOCALID=1", "SLURM_NODEID=1", "SLURM_STEP_TASKS_PER_NODE=3,2",
           "SLURM_NODELIST=gpu[08-09]", "SLURM_JOB_ID=123456", "PMI_RANK=4", "PMI_SIZE=5"}},
         {LAUNCH_SLURM, 4, 5, 1, 2, "gpu08", 15000 + 3456, 0, "slurm 123456.3", 0, 0}},
        {{{"SLURM_STEP_ID=0", "SLURM_PROCID=3", "SLURM_STEP_NUM_TASKS=6", "SLURM_NTASKS=99", "SLURM_LOCALID=1", "SLURM_NODEID=1",
           "SLURM_STEP_TASKS_PER_NODE=2(x3)", "SLURM_STEP_NODELIST=a-1,b[2-3]", "SLURM_NODELIST=z", "SLURM_JOB_ID=7", "MASTER_PORT=31000"}},
         {LAUNCH_SLURM, 3, 6, 1, 2, "a-1", 31000, 0, "slurm 7.0", 0, 0}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct launch got;
        struct environment e = cases[i].environment;
        const struct launch *want = &cases[i].want;
        if (launch_detect(get, &e, &got) != AIOS_OK) fail_msg("case %zu: %s", i, aios_error_message());
        assert_int_equal(got.launcher, want->launcher);
        assert_int_equal(got.rank, want->rank);
        assert_int_equal(got.ranks, want->ranks);
        assert_int_equal(got.local_rank, want->local_rank);
        assert_int_equal(got.local_ranks, want->local_ranks);
        assert_string_equal(got.address, want->address);
        assert_int_equal(got.port, want->port);
        assert_int_equal(got.port_taken, want->port_taken);
        assert_string_equal(got.token, want->token);
        assert_int_equal(got.spawn, want->spawn);
        assert_true(got.timeout == want->timeout);
    }
}

static void what_cannot_be_right_is_named(void **state)
{
    (void)state;
    static const struct {
        struct environment environment;
        const char *words;
    } cases[] = {
        {{{"RANK=1"}}, "RANK is set to \"1\" and WORLD_SIZE is not set"},
        {{{"WORLD_SIZE=2"}}, "WORLD_SIZE is set to \"2\" and RANK is not set"},
        {{{"RANK=2", "WORLD_SIZE=2"}}, "RANK is 2 and WORLD_SIZE is 2: the rank must be from 0 to 1"},
        {{{"RANK=one", "WORLD_SIZE=2"}}, "RANK is \"one\": it must be a number from 0 to 255"},
        {{{"RANK=-1", "WORLD_SIZE=2"}}, "RANK is \"-1\": it must be a number"},
        {{{"RANK= 1", "WORLD_SIZE=2"}}, "RANK is \" 1\": it must be a number"},
        {{{"RANK=1", "WORLD_SIZE=99999999999"}}, "WORLD_SIZE is \"99999999999\": it must be a number from 1 to 256"},
        {{{"RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=3"}}, "LOCAL_WORLD_SIZE is 3: the run has 2 ranks"},
        {{{"RANK=0", "WORLD_SIZE=4", "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=2"}}, "LOCAL_RANK is 1: it must be at most the rank, 0"},
        {{{"RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=1"}},
         "MASTER_ADDR is not set and 1 of the 2 ranks are on this host"},
        {{{"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=node1"}}, "LOCAL_RANK and LOCAL_WORLD_SIZE are not set"},
        {{{"RANK=0", "WORLD_SIZE=2", "MASTER_PORT=http"}}, "MASTER_PORT is \"http\": it must be a number from 1 to 65000"},
        {{{"OMPI_COMM_WORLD_RANK=0"}}, "OMPI_COMM_WORLD_SIZE is not set"},
        {{{"PMI_RANK=0"}}, "PMI_SIZE is not set"},
        {{{"SLURM_STEP_ID=0", "SLURM_PROCID=0"}}, "SLURM_NTASKS is not set"},
        {{{"SLURM_STEP_ID=0", "SLURM_PROCID=0", "SLURM_NTASKS=1"}}, "SLURM_LOCALID is not set"},
        {{{"SLURM_STEP_ID=0", "SLURM_PROCID=0", "SLURM_NTASKS=1", "SLURM_LOCALID=0", "SLURM_NODELIST=n[a-b]"}},
         "SLURM_NODELIST is \"n[a-b]\""},
        {{{"AIOS_DDP_SPAWN=yes"}}, "AIOS_DDP_SPAWN is \"yes\": it must be a number from 0 to 1"},
        {{{"AIOS_DDP_TIMEOUT_SEC=nan"}}, "AIOS_DDP_TIMEOUT_SEC is \"nan\""},
        {{{"AIOS_DDP_TIMEOUT_SEC=0"}}, "AIOS_DDP_TIMEOUT_SEC is \"0\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct launch got;
        struct environment e = cases[i].environment;
        assert_int_equal(launch_detect(get, &e, &got), AIOS_INVALID_ARGUMENT);
        if (!strstr(aios_error_message(), cases[i].words)) fail_msg("case %zu: %s", i, aios_error_message());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_launcher_is_known),
        cmocka_unit_test(what_cannot_be_right_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
