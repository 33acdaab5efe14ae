/* engine.h (internal to lib/comm): what aios-gloo.so offers in C: connections between all ranks, and messages into and out of host memory.
 *
 * The library is apart from libaios because Gloo is C++ and a choice: without it everything else works.  It is loaded once and never
 * unloaded.  No exception leaves it.  A call that fails says why in `error`.
 *
 * Messages from one rank to another in one slot arrive in the order in which both sides name them.  A buffer is a range of memory;
 * what it waits for is counted, so several messages may be on their way. */
#ifndef AIOS_COMM_GLOO_ENGINE_H
#define AIOS_COMM_GLOO_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ENGINE_VERSION      1
#define ENGINE_FILE         "aios-gloo.so"
#define ENGINE_QUERY_SYMBOL "aios_engine_query"
#define ENGINE_ADDRESS_MOST 256

typedef struct engine_mesh engine_mesh;
typedef struct engine_buffer engine_buffer;

enum { ENGINE_DONE = 0, ENGINE_INTERRUPTED = 1, ENGINE_CLOSED = 2 /* by the other end */, ENGINE_FAILED = 3 };

typedef struct engine_error {
    char text[256];
} engine_error;

typedef struct engine_table {
    uint32_t version;
    /* address: a number or name of this host, at whose interface the others connect.  seconds: for connecting. */
    int (*open)(const char *address, int rank, int ranks, double seconds, engine_mesh **mesh, engine_error *error);
    /* Where the peer must connect to; opaque bytes for its connect. */
    int (*address)(engine_mesh *mesh, int peer, void *bytes, size_t *size, engine_error *error);
    /* Waits for the peer's connect.  All ranks go through their peers from 0 upward. */
    int (*connect)(engine_mesh *mesh, int peer, const void *bytes, size_t size, engine_error *error);
    void (*close)(engine_mesh *mesh); /* after its buffers */

    int (*create_buffer)(engine_mesh *mesh, void *memory, size_t bytes, engine_buffer **buffer, engine_error *error);
    void (*destroy_buffer)(engine_buffer *buffer); /* nothing is read or written through it any more; NULL is fine */
    int (*send)(engine_buffer *buffer, int peer, uint64_t slot, size_t offset, size_t bytes, engine_error *error);
    int (*receive)(engine_buffer *buffer, int peer, uint64_t slot, size_t offset, size_t bytes, engine_error *error);
    /* For one message.  seconds 0: for ever. */
    int (*wait_sent)(engine_buffer *buffer, double seconds, engine_error *error);
    int (*wait_received)(engine_buffer *buffer, double seconds, engine_error *error);
    void (*interrupt)(engine_buffer *buffer); /* ends a wait, now or later; from any thread */
} engine_table;

typedef const engine_table *engine_query(void);

#ifdef __cplusplus
}
#endif
#endif
