#include "launch.h"

#include "base/text.h"
#include "comm_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_DEFAULT "127.0.0.1"
#define PORT_DEFAULT    29500
#define PORT_MOST       65000 /* a few after it may be needed */
#define SLURM_PORTS     15000 /* the first of those made of a job's number */

struct environment {
    const char *(*get)(void *user, const char *name);
    void *user;
};

const char *launch_name(int launcher)
{
    static const char *const names[LAUNCH_COUNT] = {"none", "spawn", "torchrun", "mpirun (Open MPI)", "mpiexec (MPICH)", "srun (Slurm)"};
    return launcher >= 0 && launcher < LAUNCH_COUNT ? names[launcher] : "unknown";
}

static const char *look(const struct environment *e, const char *name)
{
    const char *value = e->get(e->user, name);
    return value && *value ? value : NULL;
}

/* 1: *number is the value; 0: unset. */
static aios_status read_number(const struct environment *e, const char *name, int least, int most, int *number, int *is_set)
{
    const char *value = look(e, name);
    char *end;
    *is_set = value != NULL;
    if (!value) return AIOS_OK;
    long parsed = strtol(value, &end, 10);
    if (*end || !isdigit((unsigned char)*value) || strlen(value) > 9 || parsed < least || parsed > most)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.64s\": it must be a number from %d to %d", name, value, least, most);
    *number = (int)parsed;
    return AIOS_OK;
}

/* Both, or an error. */
static aios_status read_pair(const struct environment *e, const char *rank_name, const char *ranks_name, int *rank, int *ranks, int *is_set)
{
    int has_rank, has_ranks;
    TRY_QUIET(read_number(e, rank_name, 0, COMM_RANKS_MOST - 1, rank, &has_rank));
    TRY_QUIET(read_number(e, ranks_name, 1, COMM_RANKS_MOST, ranks, &has_ranks));
    *is_set = has_rank && has_ranks;
    if (has_rank != has_ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is set to \"%.64s\" and %s is not set: a launcher sets both; unset it to run alone",
                    has_rank ? rank_name : ranks_name, look(e, has_rank ? rank_name : ranks_name), has_rank ? ranks_name : rank_name);
    if (*is_set && *rank >= *ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %d and %s is %d: the rank must be from 0 to %d", rank_name, *rank, ranks_name, *ranks,
                    *ranks - 1);
    return AIOS_OK;
}

static aios_status read_pair_or(const struct environment *e, const char *rank_name, const char *ranks_name, const struct launch *l,
                                int *local_rank, int *local_ranks)
{
    int is_set;
    TRY_QUIET(read_pair(e, rank_name, ranks_name, local_rank, local_ranks, &is_set));
    if (is_set && *local_ranks > l->ranks)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %d: the run has %d ranks in all", ranks_name, *local_ranks, l->ranks);
    if (is_set && *local_rank > l->rank)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is %d: it must be at most the rank, %d", rank_name, *local_rank, l->rank);
    if (is_set) return AIOS_OK;
    if (look(e, "MASTER_ADDR") && strcmp(look(e, "MASTER_ADDR"), ADDRESS_DEFAULT) != 0 && l->ranks > 1)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s and %s are not set: they must say which of how many ranks of its host this one is",
                    rank_name, ranks_name);
    *local_rank = l->rank;
    *local_ranks = l->ranks;
    return AIOS_OK;
}

/* Who starts ranks on several hosts must say where rank 0 is. */
static aios_status need_address(const struct environment *e, const struct launch *l)
{
    if (l->local_ranks == l->ranks || look(e, "MASTER_ADDR")) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT,
                "MASTER_ADDR is not set and %d of the %d ranks are on this host: it must be the address of the host of rank 0",
                l->local_ranks, l->ranks);
}

/* ---- the launchers -------------------------------------------------------------------------------------------------- */

static aios_status detect_own(const struct environment *e, struct launch *l, int *found)
{
    TRY_QUIET(read_pair(e, "AIOS_RANK", "AIOS_RANKS", &l->rank, &l->ranks, found));
    return *found ? read_pair_or(e, "AIOS_LOCAL_RANK", "AIOS_LOCAL_RANKS", l, &l->local_rank, &l->local_ranks) : AIOS_OK;
}

static aios_status detect_torchrun(const struct environment *e, struct launch *l, int *found)
{
    TRY_QUIET(read_pair(e, "RANK", "WORLD_SIZE", &l->rank, &l->ranks, found));
    if (!*found) return AIOS_OK;
    TRY_QUIET(read_pair_or(e, "LOCAL_RANK", "LOCAL_WORLD_SIZE", l, &l->local_rank, &l->local_ranks));
    TRY_QUIET(need_address(e, l));
    const char *agent = look(e, "TORCHELASTIC_USE_AGENT_STORE"), *id = look(e, "TORCHELASTIC_RUN_ID"),
               *restart = look(e, "TORCHELASTIC_RESTART_COUNT");
    l->port_taken = agent && strcmp(agent, "True") == 0;
    (void)snprintf(l->token, sizeof l->token, "torchrun %.80s %.10s", id ? id : "", restart ? restart : "0");
    return AIOS_OK;
}

static aios_status detect_open_mpi(const struct environment *e, struct launch *l, int *found)
{
    TRY_QUIET(read_pair(e, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", &l->rank, &l->ranks, found));
    if (!*found) return AIOS_OK;
    TRY_QUIET(read_pair_or(e, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", l, &l->local_rank, &l->local_ranks));
    const char *space = look(e, "PMIX_NAMESPACE");
    (void)snprintf(l->token, sizeof l->token, "mpirun %.110s", space ? space : "");
    return need_address(e, l);
}

static aios_status detect_mpich(const struct environment *e, struct launch *l, int *found)
{
    *found = 0;
    if (!look(e, "MPI_LOCALRANKID") && look(e, "SLURM_STEP_ID")) return AIOS_OK; /* Slurm's own PMI */
    TRY_QUIET(read_pair(e, "PMI_RANK", "PMI_SIZE", &l->rank, &l->ranks, found));
    if (!*found) return AIOS_OK;
    TRY_QUIET(read_pair_or(e, "MPI_LOCALRANKID", "MPI_LOCALNRANKS", l, &l->local_rank, &l->local_ranks));
    (void)snprintf(l->token, sizeof l->token, "mpiexec");
    return need_address(e, l);
}

/* "node[08-11,15],other" -> "node08" */
static aios_status first_host(const char *name, const char *list, char *host, size_t size)
{
    size_t stem = strcspn(list, "[,"), digits = 0;
    const char *from = list + stem;
    if (*from == '[') {
        from++;
        digits = strspn(from, "0123456789");
    }
    if (stem + digits == 0 || stem + digits >= size || (list[stem] == '[' && digits == 0))
        return FAIL(AIOS_INVALID_ARGUMENT, "%s is \"%.64s\": it must be a list of hosts, as node[1-4]", name, list);
    (void)snprintf(host, size, "%.*s%.*s", (int)stem, list, (int)digits, from);
    return AIOS_OK;
}

/* "2(x3),1": the ranks of the host that has number `node`; 0: not to be told. */
static int tasks_of_node(const char *list, int node)
{
    for (const char *at = list; at && *at;) {
        char *end;
        long tasks = strtol(at, &end, 10), times = 1;
        if (end == at) return 0;
        if (strncmp(end, "(x", 2) == 0) {
            times = strtol(end + 2, &end, 10);
            end += *end == ')';
        }
        if (node < times) return tasks > 0 && tasks <= COMM_RANKS_MOST ? (int)tasks : 0;
        node -= (int)times;
        at = *end == ',' ? end + 1 : NULL;
    }
    return 0;
}

static aios_status detect_slurm(const struct environment *e, struct launch *l, int *found)
{
    int job = 0, node = 0, is_set;
    *found = 0;
    if (!look(e, "SLURM_STEP_ID")) return AIOS_OK;
    const char *size = look(e, "SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    TRY_QUIET(read_pair(e, "SLURM_PROCID", size, &l->rank, &l->ranks, found));
    if (!*found) return AIOS_OK;
    TRY_QUIET(read_number(e, "SLURM_LOCALID", 0, l->rank, &l->local_rank, &is_set));
    if (!is_set) return FAIL(AIOS_INVALID_ARGUMENT, "SLURM_LOCALID is not set: srun sets it to the rank among those of the host");
    TRY_QUIET(read_number(e, "SLURM_NODEID", 0, COMM_RANKS_MOST - 1, &node, &is_set));
    l->local_ranks = tasks_of_node(look(e, "SLURM_STEP_TASKS_PER_NODE"), node);
    if (l->local_ranks <= l->local_rank || l->local_ranks > l->ranks) l->local_ranks = l->local_rank + 1; /* what is sure */
    TRY_QUIET(read_number(e, "SLURM_JOB_ID", 0, 999999999, &job, &is_set));
    const char *hosts = look(e, "SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_NODELIST";
    if (look(e, hosts)) TRY_QUIET(first_host(hosts, look(e, hosts), l->address, sizeof l->address));
    l->port = SLURM_PORTS + job % 10000;
    (void)snprintf(l->token, sizeof l->token, "slurm %d.%.40s", job, look(e, "SLURM_STEP_ID"));
    return AIOS_OK;
}

/* ---- what all have in common ---------------------------------------------------------------------------------------- */

static aios_status read_wishes(const struct environment *e, struct launch *l)
{
    int is_set;
    const char *seconds = look(e, "AIOS_DDP_TIMEOUT_SEC");
    TRY_QUIET(read_number(e, "AIOS_DDP_SPAWN", 0, 1, &l->spawn, &is_set));
    if (seconds) {
        if (!text_to_double(seconds, &l->timeout) || !(l->timeout > 0) || l->timeout > 1e6)
            return FAIL(AIOS_INVALID_ARGUMENT, "AIOS_DDP_TIMEOUT_SEC is \"%.64s\": it must be seconds, more than 0 and at most 1000000",
                        seconds);
    }
    return AIOS_OK;
}

static aios_status read_master(const struct environment *e, struct launch *l)
{
    int is_set;
    const char *address = look(e, "MASTER_ADDR"), *token = look(e, "AIOS_JOB");
    if (address && strlen(address) >= sizeof l->address)
        return FAIL(AIOS_INVALID_ARGUMENT, "MASTER_ADDR has %zu bytes: at most %zu", strlen(address), sizeof l->address - 1);
    if (token && strlen(token) >= sizeof l->token)
        return FAIL(AIOS_INVALID_ARGUMENT, "AIOS_JOB has %zu bytes: at most %zu", strlen(token), sizeof l->token - 1);
    if (address) (void)snprintf(l->address, sizeof l->address, "%s", address);
    if (token) (void)snprintf(l->token, sizeof l->token, "%s", token);
    return read_number(e, "MASTER_PORT", 1, PORT_MOST, &l->port, &is_set);
}

aios_status launch_detect(const char *(*get)(void *user, const char *name), void *user, struct launch *launch)
{
    static aios_status (*const detect[LAUNCH_COUNT])(const struct environment *, struct launch *, int *) = {
        NULL, detect_own, detect_torchrun, detect_open_mpi, detect_mpich, detect_slurm};
    const struct environment e = {get, user};
    int found = 0;
    *launch = (struct launch){.ranks = 1, .local_ranks = 1, .address = ADDRESS_DEFAULT, .port = PORT_DEFAULT, .token = "aios"};
    TRY_QUIET(read_wishes(&e, launch));
    for (int i = LAUNCH_OWN; i < LAUNCH_COUNT && !found; i++) {
        TRY(detect[i](&e, launch, &found), "looking for %s", launch_name(i));
        if (found) launch->launcher = i;
    }
    return found ? read_master(&e, launch) : AIOS_OK;
}
