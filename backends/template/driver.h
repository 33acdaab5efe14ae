/* driver.h: the "vendor's driver" of this template: streams on worker threads, events, memory, all of the host.  In a backend of yours
 * this file and driver.c go away, and template.c calls the vendor's library instead.  It is as asynchronous as a GPU is, so that the
 * judge finds the same mistakes: what is submitted runs later, on the stream's own thread. */
#ifndef DRIVER_H
#define DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef struct driver_device driver_device;
typedef struct driver_stream driver_stream;
typedef struct driver_event driver_event;
typedef struct driver_recording driver_recording;

/* Work for a stream; `work` is a copy of what was submitted. */
typedef void (*driver_run)(void *work);

/* Calls that make or submit something return 0, or not where the host has no memory or thread left. */
int driver_device_create(driver_device **device);
void driver_device_destroy(driver_device *device); /* its streams are gone */
void driver_device_wait(driver_device *device);    /* for every stream */

int driver_stream_create(driver_device *device, driver_stream **stream);
void driver_stream_destroy(driver_stream *stream); /* waits for its work */
int driver_submit(driver_stream *stream, driver_run run, const void *work, size_t size);
void driver_stream_wait(driver_stream *stream);

int driver_event_create(driver_event **event);
void driver_event_release(driver_event *event); /* work that was submitted may still need it: it goes when the last has run */
int driver_event_record(driver_event *event, driver_stream *stream);
int driver_stream_wait_event(driver_stream *stream, driver_event *event);
void driver_event_wait(driver_event *event);
double driver_event_time(driver_event *event); /* seconds; when it was reached */

/* Between begin and end, what is submitted is written down and not run. */
int driver_capture_begin(driver_stream *stream);
int driver_capture_end(driver_stream *stream, driver_recording **recording);
int driver_replay(driver_stream *stream, const driver_recording *recording);
void driver_recording_destroy(driver_recording *recording);

#endif
