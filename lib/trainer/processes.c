#include "processes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRACE_SECONDS 10.0 /* that those who are left have to come, where not all that are known to live did */

static const char *variable(void *user, const char *name)
{
    const char *value = getenv(name);
    (void)user;
    return value && *value ? value : NULL;
}

static aios_status find_others(struct processes *p, const struct settings *settings)
{
    const struct launch *l = &p->launch;
    comm_world_options options = {.rank = l->rank,
                                  .ranks = l->ranks,
                                  .address = l->address,
                                  .port = l->port,
                                  .token = l->token,
                                  .deadline = l->timeout > 0 ? l->timeout : settings->step_deadline,
                                  .host_store = l->rank == 0,
                                  .port_taken = l->port_taken};
    char event[256];
    (void)snprintf(event, sizeof event, "{\"ddp\": \"external_launcher_detected\", \"launcher\": \"%s\", \"rank\": %d, \"world_size\": %d}",
                   launch_name(l->launcher), l->rank, l->ranks);
    if (l->launcher != LAUNCH_OWN) aios_emit(p->context, "launcher", event);
    return comm_world_open(p->context, &options, &p->world);
}

aios_status processes_open(struct processes *p, aios_context *context, const struct settings *settings)
{
    *p = (struct processes){.context = context, .launch = {.ranks = 1, .local_ranks = 1}};
    if (!settings->launcher) return AIOS_OK;
    TRY_QUIET(launch_detect(variable, NULL, &p->launch));
    if (p->launch.launcher == LAUNCH_ALONE || p->launch.ranks == 1) return AIOS_OK;
    TRY(find_others(p, settings), "rank %d of %d, started by %s", p->launch.rank, p->launch.ranks, launch_name(p->launch.launcher));
    return AIOS_OK;
}

void processes_break(struct processes *p, aios_status status)
{
    char message[512];
    if (!p->world || status == AIOS_OK) return;
    (void)snprintf(message, sizeof message, "process %d: %s", processes_index(p), aios_error_message());
    comm_world_abort(p->world, status, message);
}

void processes_close(struct processes *p, aios_status error)
{
    processes_break(p, error);
    comm_world_close(p->world);
    p->world = NULL;
}

aios_status processes_reform(struct processes *p)
{
    if (!p->world) return AIOS_OK;
    p->lost = 1;
    TRY(comm_world_reform(p->world, GRACE_SECONDS, NULL, NULL), "the processes that are left don't find each other any more (process 0, or "
                                                                "aios that started them, is gone): the run goes on from its "
                                                                "newest checkpoint with option resume");
    p->lost = 0;
    return AIOS_OK;
}

/* ---- agreement --------------------------------------------------------------------------------------------------- */

struct verdict {
    aios_status status;
    char message[512];
};

aios_status processes_gather(struct processes *p, const void *own, size_t size, void *all)
{
    comm_bytes *got;
    int count = processes_count(p);
    if (!p->world) {
        memcpy(all, own, size);
        return AIOS_OK;
    }
    got = aios_memory_array(p->context, (size_t)count, sizeof *got);
    if (!got) return AIOS_OUT_OF_MEMORY;
    aios_status status = comm_world_gather(p->world, own, size, got);
    for (int i = 0; i < count && status == AIOS_OK; i++) {
        if (got[i].size == size)
            memcpy((char *)all + (size_t)i * size, got[i].bytes, size);
        else
            status = FAIL(AIOS_CORRUPT, "process %d told %zu bytes where %zu were asked", i, got[i].size, size);
    }
    for (int i = 0; i < count; i++) aios_memory_free(p->context, got[i].bytes);
    aios_memory_free(p->context, got);
    return status;
}

aios_status processes_agree(struct processes *p, aios_status own)
{
    struct verdict verdict = {.status = own}, *all;
    aios_status status;
    int count = processes_count(p);
    if (!p->world) return own;
    if (own != AIOS_OK) (void)snprintf(verdict.message, sizeof verdict.message, "%s", aios_error_message());
    all = aios_memory_array(p->context, (size_t)count, sizeof *all);
    if (!all) return AIOS_OUT_OF_MEMORY;
    status = processes_gather(p, &verdict, sizeof verdict, all);
    for (int i = 0; i < count && status == AIOS_OK; i++)
        if (all[i].status != AIOS_OK) status = FAIL(all[i].status, "process %d (%s): %s", i, comm_world_name(p->world, i), all[i].message);
    aios_memory_free(p->context, all);
    return status;
}

aios_status processes_tell(struct processes *p, int root, const char *said, char **text)
{
    comm_bytes got;
    *text = NULL;
    if (!p->world) {
        *text = aios_memory_strdup(p->context, said);
        return *text ? AIOS_OK : AIOS_OUT_OF_MEMORY;
    }
    TRY_QUIET(comm_world_broadcast(p->world, root, said, processes_index(p) == root ? strlen(said) : 0, &got));
    *text = got.bytes;
    return AIOS_OK;
}

/* Where two texts begin to differ, from the word's beginning: behind the last comma before. */
static size_t difference(const char *a, const char *b)
{
    size_t at = 0, word = 0;
    for (; a[at] && a[at] == b[at]; at++)
        if (a[at] == ',' || a[at] == '{') word = at + 1;
    return word;
}

aios_status processes_compare(struct processes *p, const char *text, const char *what)
{
    char *first;
    if (!p->world) return AIOS_OK;
    TRY_QUIET(processes_tell(p, 0, text, &first));
    aios_status status = AIOS_OK;
    if (strcmp(first, text) != 0) {
        const char *here = text + difference(text, first), *there = first + difference(text, first);
        int length = (int)strcspn(here, ",}"), other = (int)strcspn(there, ",}");
        status = FAIL(AIOS_INVALID_ARGUMENT, "its %s is not that of process 0: %.*s and %.*s", what, length < 100 ? length : 100, here,
                      other < 100 ? other : 100, there);
    }
    aios_memory_free(p->context, first);
    return processes_agree(p, status);
}
