#include "pool.h"

#include "context.h"
#include "os.h"

#include <stdatomic.h>

/* Launches follow one another within microseconds, so a thread spins a while before it sleeps. */
#define SPINS 4000

struct worker {
    struct thread_pool *pool;
    os_thread thread;
    int index;
};

struct thread_pool {
    aios_context *context;
    int threads, started, process;
    void (*start)(void);
    void (*run)(void *, int, int);
    void *user;
    atomic_uint generation; /* a new one is a new job */
    atomic_int busy;        /* workers still in the job */
    atomic_int sleeping;
    atomic_int quit;
    os_mutex mutex;
    os_condition wake;
    struct worker workers[];
};

static unsigned next_job(struct thread_pool *pool, unsigned seen)
{
    unsigned generation;
    for (int spin = 0; spin < SPINS; spin++) {
        generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (generation != seen) return generation;
        os_cpu_relax();
    }
    os_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    while ((generation = atomic_load(&pool->generation)) == seen) os_condition_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    os_mutex_unlock(&pool->mutex);
    return generation;
}

static void *work(void *argument)
{
    struct worker *me = argument;
    struct thread_pool *pool = me->pool;
    unsigned seen = 0;
    if (pool->start) pool->start();
    for (;;) {
        seen = next_job(pool, seen);
        if (atomic_load_explicit(&pool->quit, memory_order_relaxed)) return NULL;
        pool->run(pool->user, me->index, pool->threads);
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
    }
}

static void announce(struct thread_pool *pool)
{
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleeping) == 0) return;
    os_mutex_lock(&pool->mutex);
    os_condition_broadcast(&pool->wake);
    os_mutex_unlock(&pool->mutex);
}

aios_status pool_create(aios_context *context, int threads, void (*start)(void), thread_pool **pool)
{
    *pool = NULL;
    thread_pool *made = aios_memory_zalloc(context, sizeof *made + (size_t)threads * sizeof made->workers[0]);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->threads = threads;
    made->process = os_process_id();
    made->start = start;
    os_mutex_init(&made->mutex);
    os_condition_init(&made->wake);
    for (int i = 1; i < threads; i++) {
        struct worker *worker = &made->workers[i];
        worker->pool = made;
        worker->index = i;
        aios_status status = os_thread_start(&worker->thread, "aios-cpu", work, worker);
        if (status != AIOS_OK) {
            pool_destroy(made);
            return status;
        }
        made->started++;
    }
    *pool = made;
    return AIOS_OK;
}

void pool_destroy(thread_pool *pool)
{
    if (!pool) return;
    atomic_store_explicit(&pool->quit, 1, memory_order_relaxed);
    announce(pool);
    for (int i = 1; i <= pool->started; i++) os_thread_join(pool->workers[i].thread);
    os_condition_destroy(&pool->wake);
    os_mutex_destroy(&pool->mutex);
    aios_context *context = pool->context;
    aios_memory_free(context, pool);
    aios_context_release(context);
}

int pool_of_another_process(const thread_pool *pool)
{
    return pool->threads > 1 && pool->process != os_process_id();
}

int pool_threads(const thread_pool *pool)
{
    return pool->threads;
}

void pool_run(thread_pool *pool, void (*run)(void *, int, int), void *user)
{
    if (pool->threads > 1) {
        pool->run = run;
        pool->user = user;
        atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
        announce(pool);
    }
    run(user, 0, pool->threads);
    for (int spin = 0; pool->threads > 1 && atomic_load_explicit(&pool->busy, memory_order_acquire) != 0; spin++) {
        if (spin < SPINS)
            os_cpu_relax();
        else
            os_thread_yield(); /* let a worker that lost its core have this one */
    }
}
