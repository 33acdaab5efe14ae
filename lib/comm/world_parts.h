/* world_parts.h (internal to lib/comm): what a group between processes asks of its world. */
#ifndef AIOS_COMM_WORLD_PARTS_H
#define AIOS_COMM_WORLD_PARTS_H

#include "store.h"
#include "world.h"

/* Of the current generation; a failure of it ends the waiting.  readers: how many get the value before it is forgotten. */
aios_status world_set(comm_world *world, const char *key, int readers, const void *bytes, size_t size);
aios_status world_get(comm_world *world, const char *key, double seconds, comm_bytes *got);

/* Called once, by another thread, when the generation fails; at once where it has. */
typedef struct world_listener {
    struct world_listener *next;
    void (*failed)(void *user);
    void *user;
} world_listener;
void world_listen(comm_world *world, world_listener *listener);
void world_unlisten(comm_world *world, world_listener *listener); /* when it returns, failed doesn't run any more */

/* Waits up to `seconds` for the generation to fail; its failure, or AIOS_OK. */
aios_status world_await_failure(comm_world *world, double seconds);

aios_context *world_context(const comm_world *world);
double world_deadline(const comm_world *world);
const char *world_local_address(const comm_world *world); /* at which the other ranks reach this host */
int world_next_group(comm_world *world);

#endif
