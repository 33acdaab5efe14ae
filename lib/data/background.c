#include "background.h"

#include "base/os.h"

#include <string.h>

typedef union task {
    unsigned char bytes[BACKGROUND_TASK_MOST];
    max_align_t align;
} task;

struct background {
    aios_context *context;
    background_run run;
    os_thread thread;
    os_mutex mutex;
    os_condition changed;
    atomic_int ending;
    task tasks[BACKGROUND_ROOM];
    size_t first, count;
};

static void *serve(void *user)
{
    background *b = user;
    task now;
    os_mutex_lock(&b->mutex);
    while (!b->ending) {
        if (b->count == 0) {
            os_condition_wait(&b->changed, &b->mutex);
            continue;
        }
        now = b->tasks[b->first];
        b->first = (b->first + 1) % BACKGROUND_ROOM;
        b->count--;
        os_mutex_unlock(&b->mutex);
        b->run(&now, &b->ending);
        os_mutex_lock(&b->mutex);
    }
    os_mutex_unlock(&b->mutex);
    return NULL;
}

aios_status background_start(aios_context *context, const char *name, background_run run, background **made)
{
    *made = NULL;
    background *b = aios_new(context, background);
    if (!b) return AIOS_OUT_OF_MEMORY;
    b->context = context;
    b->run = run;
    os_mutex_init(&b->mutex);
    os_condition_init(&b->changed);
    aios_status status = os_thread_start(&b->thread, name, serve, b);
    if (status == AIOS_OK) {
        *made = b;
        return AIOS_OK;
    }
    os_condition_destroy(&b->changed);
    os_mutex_destroy(&b->mutex);
    aios_memory_free(context, b);
    return status;
}

int background_add(background *b, const void *bytes, size_t size)
{
    os_mutex_lock(&b->mutex);
    int has_room = b->count < BACKGROUND_ROOM;
    if (has_room) {
        memcpy(b->tasks[(b->first + b->count++) % BACKGROUND_ROOM].bytes, bytes, size);
        os_condition_signal(&b->changed);
    }
    os_mutex_unlock(&b->mutex);
    return has_room;
}

void background_stop(background *b)
{
    if (!b) return;
    os_mutex_lock(&b->mutex);
    b->ending = 1;
    os_condition_signal(&b->changed);
    os_mutex_unlock(&b->mutex);
    os_thread_join(b->thread);
    os_condition_destroy(&b->changed);
    os_mutex_destroy(&b->mutex);
    aios_memory_free(b->context, b);
}
