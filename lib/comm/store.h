/* store.h (internal to lib/comm): the store by which the processes of a run find each other, and what it and its clients (world.c) say.
 *
 * One thread serves every connection.  A client's first bytes are a hello of fixed size; who says anything else, has another token or says
 * nothing for a few seconds is dropped, and nothing that a client sends makes the store keep more than STORE_BYTES_MOST.
 *
 * Each rank has two connections.  Over the first it sets and gets values and joins generations, an answer for each request.  Over the
 * second it sends a pulse twice a second, which the store answers at once where the generation has failed, and else when the next is due:
 * so both sides know that the other lives, and a failure is with everybody in no time. */
#ifndef AIOS_COMM_STORE_H
#define AIOS_COMM_STORE_H

#include "base/os_net.h"
#include "comm_parts.h"

#define STORE_VERSION     1
#define STORE_BYTES_MOST  ((size_t)256 << 20) /* of all values */
#define STORE_VALUE_MOST  ((size_t)1 << 20)
#define STORE_FRAME_MOST  (STORE_VALUE_MOST + 1024)
#define STORE_KEY_MOST    128
#define STORE_TEXT_MOST   512
#define STORE_PULSE       0.5 /* seconds */
#define STORE_PORTS_AFTER 16  /* that are tried where the port is taken */

/* The first bytes of a connection. */
#define STORE_MAGIC "AIOSTOR"
enum { STORE_NAME = 72, STORE_TOKEN = 128 };
struct store_hello {
    char magic[8];
    unsigned char version[4], pulse[4], rank[4], ranks[4]; /* little endian; pulse 1: the second connection */
    char token[STORE_TOKEN], name[STORE_NAME];
};

/* Then frames: length of the body, word (of a request: what; of an answer: aios_status, its body then being a text), body. */
struct store_head {
    unsigned char length[4], word[4];
};
enum {
    STORE_SET = 1,    /* generation, readers (after whom the value is forgotten; 0: never), key, value */
    STORE_GET = 2,    /* generation, milliseconds (0: for ever), key -> value, when there is one */
    STORE_JOIN = 3,   /* generation, milliseconds -> ranks, then each one's first rank and name (STORE_NAME) */
    STORE_PULSE_ = 4, /* generation, 1 where it is known that it failed */
    STORE_FAIL = 5,   /* generation, status, text; without an answer */
    STORE_BYE = 6     /* without an answer */
};

static inline void store_put(unsigned char to[4], uint32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> 8 * i);
}

static inline uint32_t store_take(const unsigned char from[4])
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

typedef struct store store;

typedef struct store_options {
    const char *address; /* NULL: every interface */
    int port, ports;     /* the first that is free of so many */
    int ranks;
    const char *token;
    double deadline; /* seconds that a rank may be silent; 0: for ever */
} store_options;

/* Errors: ALREADY_EXISTS where none of the ports is free. */
aios_status comm_store_open(aios_context *context, const store_options *options, store **opened);
int comm_store_port(const store *s);
/* Waits up to `seconds` until no rank is connected any more; then closes. */
void comm_store_close(store *s, double seconds);

#endif
