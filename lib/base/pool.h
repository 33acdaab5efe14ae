/* pool.h: a fixed crew of threads that runs one function at a time together.
 *
 * Own threads instead of OpenMP's: their number belongs to a device, their floating-point mode is theirs alone, the host's
 * OpenMP runtime is not touched, and the thread sanitizer sees every synchronisation. */
#ifndef AIOS_BASE_POOL_H
#define AIOS_BASE_POOL_H

#include <aios/context.h>

typedef struct thread_pool thread_pool;

/* A pool of `threads` in all: the thread that calls pool_run is one of them.  start, where given, runs once on each of the
 * other threads. */
aios_status pool_create(aios_context *context, int threads, void (*start)(void), thread_pool **pool);
void pool_destroy(thread_pool *pool);
/* 1 in a fork of the process that made the pool, which has none of its threads. */
int pool_of_another_process(const thread_pool *pool);
int pool_threads(const thread_pool *pool);

/* Calls run(user, index, count) on every thread with index 0 … count-1, the caller being 0, and returns when all came back.
 * One caller at a time. */
void pool_run(thread_pool *pool, void (*run)(void *user, int index, int count), void *user);

#endif
