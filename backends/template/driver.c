#include "driver.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct task {
    struct task *next;
    driver_run run;
    void (*release)(void *work); /* gives up what the work holds; NULL: nothing */
    void (*retain)(void *work);
    size_t size;
    alignas(16) unsigned char work[];
};

struct tasks {
    struct task *first, **end;
};

struct driver_recording {
    struct tasks tasks;
};

struct driver_device {
    pthread_mutex_t mutex;
    driver_stream *streams;
};

struct driver_stream {
    driver_device *device;
    driver_stream *next;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t submitted, idle;
    struct tasks tasks;
    int running, ending;
    driver_recording *recording;
};

struct driver_event {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int references;
    uint64_t recorded, reached; /* how often */
    double time;
};

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void tasks_clear(struct tasks *tasks)
{
    for (struct task *task = tasks->first; task;) {
        struct task *next = task->next;
        if (task->release) task->release(task->work);
        free(task);
        task = next;
    }
    tasks->first = NULL;
    tasks->end = &tasks->first;
}

static void tasks_append(struct tasks *tasks, struct task *task)
{
    *tasks->end = task;
    tasks->end = &task->next;
}

static void *work_off(void *argument)
{
    driver_stream *stream = argument;
    (void)pthread_mutex_lock(&stream->mutex);
    for (;;) {
        struct task *task = stream->tasks.first;
        if (!task && stream->ending) break;
        if (!task) {
            stream->running = 0;
            (void)pthread_cond_broadcast(&stream->idle);
            (void)pthread_cond_wait(&stream->submitted, &stream->mutex);
            continue;
        }
        stream->tasks.first = task->next;
        if (!task->next) stream->tasks.end = &stream->tasks.first;
        stream->running = 1;
        (void)pthread_mutex_unlock(&stream->mutex);
        task->run(task->work);
        if (task->release) task->release(task->work);
        free(task);
        (void)pthread_mutex_lock(&stream->mutex);
    }
    (void)pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

int driver_device_create(driver_device **device)
{
    driver_device *made = calloc(1, sizeof *made);
    if (!made) return -1;
    (void)pthread_mutex_init(&made->mutex, NULL);
    *device = made;
    return 0;
}

void driver_device_destroy(driver_device *device)
{
    (void)pthread_mutex_destroy(&device->mutex);
    free(device);
}

void driver_device_wait(driver_device *device)
{
    (void)pthread_mutex_lock(&device->mutex);
    for (driver_stream *stream = device->streams; stream; stream = stream->next) driver_stream_wait(stream);
    (void)pthread_mutex_unlock(&device->mutex);
}

static void close_stream(driver_stream *stream)
{
    (void)pthread_cond_destroy(&stream->submitted);
    (void)pthread_cond_destroy(&stream->idle);
    (void)pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

int driver_stream_create(driver_device *device, driver_stream **stream)
{
    driver_stream *made = calloc(1, sizeof *made);
    if (!made) return -1;
    made->device = device;
    made->tasks.end = &made->tasks.first;
    (void)pthread_mutex_init(&made->mutex, NULL);
    (void)pthread_cond_init(&made->submitted, NULL);
    (void)pthread_cond_init(&made->idle, NULL);
    if (pthread_create(&made->thread, NULL, work_off, made) != 0) {
        close_stream(made);
        return -1;
    }
    (void)pthread_mutex_lock(&device->mutex);
    made->next = device->streams;
    device->streams = made;
    (void)pthread_mutex_unlock(&device->mutex);
    *stream = made;
    return 0;
}

void driver_stream_destroy(driver_stream *stream)
{
    (void)pthread_mutex_lock(&stream->device->mutex);
    driver_stream **link = &stream->device->streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
    (void)pthread_mutex_unlock(&stream->device->mutex);
    (void)pthread_mutex_lock(&stream->mutex);
    stream->ending = 1;
    (void)pthread_cond_broadcast(&stream->submitted);
    (void)pthread_mutex_unlock(&stream->mutex);
    (void)pthread_join(stream->thread, NULL);
    driver_recording_destroy(stream->recording);
    close_stream(stream);
}

static int submit(driver_stream *stream, driver_run run, void (*retain)(void *), void (*release)(void *), const void *work, size_t size)
{
    struct task *task = malloc(sizeof *task + size);
    if (!task) return -1;
    *task = (struct task){NULL, run, release, retain, size};
    memcpy(task->work, work, size);
    if (retain) retain(task->work);
    (void)pthread_mutex_lock(&stream->mutex);
    tasks_append(stream->recording ? &stream->recording->tasks : &stream->tasks, task);
    (void)pthread_cond_signal(&stream->submitted);
    (void)pthread_mutex_unlock(&stream->mutex);
    return 0;
}

int driver_submit(driver_stream *stream, driver_run run, const void *work, size_t size)
{
    return submit(stream, run, NULL, NULL, work, size);
}

void driver_stream_wait(driver_stream *stream)
{
    (void)pthread_mutex_lock(&stream->mutex);
    while (stream->tasks.first || stream->running) (void)pthread_cond_wait(&stream->idle, &stream->mutex);
    (void)pthread_mutex_unlock(&stream->mutex);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

struct event_work {
    driver_event *event;
    uint64_t count;
};

static void retain_event(void *work)
{
    driver_event *event = ((struct event_work *)work)->event;
    (void)pthread_mutex_lock(&event->mutex);
    event->references++;
    (void)pthread_mutex_unlock(&event->mutex);
}

static void release_event(void *work)
{
    driver_event_release(((struct event_work *)work)->event);
}

static void reach_event(void *work)
{
    const struct event_work *w = work;
    struct timespec now;
    (void)timespec_get(&now, TIME_UTC);
    (void)pthread_mutex_lock(&w->event->mutex);
    if (w->event->reached < w->count) w->event->reached = w->count;
    w->event->time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    (void)pthread_cond_broadcast(&w->event->changed);
    (void)pthread_mutex_unlock(&w->event->mutex);
}

static void wait_for_event(void *work)
{
    const struct event_work *w = work;
    (void)pthread_mutex_lock(&w->event->mutex);
    while (w->event->reached < w->count) (void)pthread_cond_wait(&w->event->changed, &w->event->mutex);
    (void)pthread_mutex_unlock(&w->event->mutex);
}

int driver_event_create(driver_event **event)
{
    driver_event *made = calloc(1, sizeof *made);
    if (!made) return -1;
    made->references = 1;
    (void)pthread_mutex_init(&made->mutex, NULL);
    (void)pthread_cond_init(&made->changed, NULL);
    *event = made;
    return 0;
}

void driver_event_release(driver_event *event)
{
    (void)pthread_mutex_lock(&event->mutex);
    int left = --event->references;
    (void)pthread_mutex_unlock(&event->mutex);
    if (left > 0) return;
    (void)pthread_cond_destroy(&event->changed);
    (void)pthread_mutex_destroy(&event->mutex);
    free(event);
}

int driver_event_record(driver_event *event, driver_stream *stream)
{
    (void)pthread_mutex_lock(&event->mutex);
    struct event_work work = {event, ++event->recorded};
    (void)pthread_mutex_unlock(&event->mutex);
    return submit(stream, reach_event, retain_event, release_event, &work, sizeof work);
}

/* What was recorded last counts, as with CUDA: an event that was never recorded holds nothing up. */
int driver_stream_wait_event(driver_stream *stream, driver_event *event)
{
    (void)pthread_mutex_lock(&event->mutex);
    struct event_work work = {event, event->recorded};
    (void)pthread_mutex_unlock(&event->mutex);
    return submit(stream, wait_for_event, retain_event, release_event, &work, sizeof work);
}

void driver_event_wait(driver_event *event)
{
    (void)pthread_mutex_lock(&event->mutex);
    struct event_work work = {event, event->recorded};
    (void)pthread_mutex_unlock(&event->mutex);
    wait_for_event(&work);
}

double driver_event_time(driver_event *event)
{
    (void)pthread_mutex_lock(&event->mutex);
    double time = event->time;
    (void)pthread_mutex_unlock(&event->mutex);
    return time;
}

/* ---- recordings -------------------------------------------------------------------------------------------------- */

int driver_capture_begin(driver_stream *stream)
{
    driver_recording *recording = calloc(1, sizeof *recording);
    if (!recording) return -1;
    recording->tasks.end = &recording->tasks.first;
    stream->recording = recording;
    return 0;
}

int driver_capture_end(driver_stream *stream, driver_recording **recording)
{
    *recording = stream->recording;
    stream->recording = NULL;
    return *recording ? 0 : -1;
}

int driver_replay(driver_stream *stream, const driver_recording *recording)
{
    for (struct task *task = recording->tasks.first; task; task = task->next)
        if (submit(stream, task->run, task->retain, task->release, task->work, task->size)) return -1;
    return 0;
}

void driver_recording_destroy(driver_recording *recording)
{
    if (!recording) return;
    tasks_clear(&recording->tasks);
    free(recording);
}
