/* The engine between processes, of a process that dies at a chosen message: aios-gloo.so of a folder of its own, which hands every call on
 * to the real one.
 *
 *   AIOS_DYING_SENDS=N   kill -9 instead of the N-th message that this process sends (from 1), a moment after the one before, so that who
 *                        needs no more than that one is ahead of who waits for this one
 *   AIOS_DYING_LOG=FILE  how many it has sent, written when it closes its connections
 *
 * Without a variable it does nothing of the kind. */
#include "comm/gloo/engine.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const engine_table *real;
static engine_table table;
static atomic_ulong sends;

static unsigned long number(const char *name)
{
    const char *value = getenv(name);
    return value ? strtoul(value, NULL, 10) : 0;
}

static int send_or_die(engine_buffer *buffer, int peer, uint64_t slot, size_t offset, size_t bytes, engine_error *error)
{
    if (atomic_fetch_add(&sends, 1) + 1 == number("AIOS_DYING_SENDS")) {
        (void)nanosleep(&(struct timespec){0, 100000000}, NULL);
        (void)raise(SIGKILL);
    }
    return real->send(buffer, peer, slot, offset, bytes, error);
}

static void close_and_tell(engine_mesh *mesh)
{
    const char *path = getenv("AIOS_DYING_LOG");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        (void)fprintf(file, "%lu\n", atomic_load(&sends));
        (void)fclose(file);
    }
    real->close(mesh);
}

__attribute__((visibility("default"))) engine_query aios_engine_query;

const engine_table *aios_engine_query(void)
{
    void *library = dlopen(REAL_ENGINE, RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, ENGINE_QUERY_SYMBOL) : NULL;
    engine_query *query;
    if (!symbol) return &table; /* of version 0: refused */
    memcpy(&query, &symbol, sizeof query);
    real = query();
    table = *real;
    table.send = send_or_die;
    table.close = close_and_tell;
    return &table;
}
