/* vendor.h: simulated devices, the core that the stand-ins of every vendor's driver share.
 *
 * A stand-in (tests/sim/cuda, hip, xpu) is a library of the vendor's file name and symbols.  It maps names, handles and codes, and
 * nothing else: devices, memory, streams, events, recordings and faults are here, and adversarial:
 *
 *   - Device addresses are no host addresses: who reads one on the CPU crashes.  Fresh memory is NaN.  Sizes are checked on every
 *     copy, fill and launch, when it is submitted and again when it runs; a pointer of another device or of nothing is refused.
 *     Guard zones behind each allocation are looked at after every launch and when it is freed; freed addresses are not soon used again.
 *   - Work on a stream runs only when somebody waits for it: a synchronisation, a query, or another stream's wait that must be met.
 *     One stream is run strictly in order, several are interleaved at random (seeded).
 *   - Any call can be made to fail, hang or lose the device, by the vendor's own name of the call.
 *
 * What the environment says (aios-sim writes it):
 *
 *   AIOS_SIM="cuda:2,hip:1;memory=2GiB;memory=cuda:1=512MiB;speed=hip:0=0.5;fault=cuMemAlloc@cuda:0:3:forever;peer=broken;seed=7"
 *     memory=SIZE or memory=DEVICE=SIZE     what a device has (default 2GiB)
 *     speed=FACTOR or speed=DEVICE=FACTOR   below 1: slower by so much (default 1)
 *     peer=yes, no or broken                whether devices reach each other; broken: they say so and copy wrong bytes
 *     fault=CALL@DEVICE[:N][:MODE]          the N-th (default 1) CALL on DEVICE ("cuda:0"; "cuda" without N: any) fails: once (default),
 *                                           forever, hang (never returns) or lost (the device is gone from then on).
 *                                           A call is named without its version ("cuMemAlloc"); "work" is a piece of submitted work
 *     fault=CALL=N@…                        the same with the vendor's own code N as the call's answer, where it is a failure
 *     seed=N                                of the interleaving
 *   AIOS_SIM_REPORT=FILE   where complaints are appended, a line each: wrong use as above, and at exit every stream, event, recording and
 *                          allocation that was not given back.  An injected fault is no complaint, and a device that hangs keeps what it
 * has.
 *
 * Layout.  One folder, build/…/sim, has the core, libaios-sim.so, and every stand-in, linked to it ($ORIGIN): libcuda.so.1,
 * libcublasLt.so.13, libnccl.so.2, libnvidia-ml.so.1, libamdhip64.so.6, …, libze_sim.so.  aios_sim_library(NAME SOURCES…) of
 * tests/sim/vendor makes one. aios-sim puts that folder first in LD_LIBRARY_PATH, and ZE_ENABLE_ALT_DRIVERS=…/libze_sim.so where an xpu is
 * asked for.
 *
 * Threads: every function may be called from any thread; a stream from one thread at a time, as its vendor demands. */
#ifndef VENDOR_H
#define VENDOR_H

#include <stddef.h>
#include <stdint.h>

#define VENDOR_API __attribute__((visibility("default")))

typedef enum vendor_status {
    VENDOR_OK,
    VENDOR_INVALID,     /* a wrong argument or pointer; a complaint was made */
    VENDOR_NO_MEMORY,   /* the device has not so much left */
    VENDOR_NOT_READY,   /* a query or a time limit: work is still pending */
    VENDOR_UNSUPPORTED, /* no peer access, no such thing in a recording */
    VENDOR_FAULT,       /* injected: answer with vendor_fault_code() if not 0, else with a general failure */
    VENDOR_ILLEGAL,     /* submitted work failed: the device's state from then on */
    VENDOR_LOST,        /* the device is gone: its state from then on */
    VENDOR_DEADLOCK     /* what is waited for can never happen */
} vendor_status;

typedef struct vendor_device vendor_device;
typedef struct vendor_stream vendor_stream;
typedef struct vendor_event vendor_event;

/* ---- devices and faults ------------------------------------------------------------------------------------------ */

/* How many devices of "cuda", "hip" or "xpu" there are, and one of them.  visible: the value of the vendor's mask variable, comma-separated
 * numbers that also order them, where the first wrong number ends the list; NULL: all. */
VENDOR_API int vendor_count(const char *vendor, const char *visible);
/* The part of AIOS_SIM that is not understood, or NULL. */
VENDOR_API const char *vendor_misconfigured(void);
VENDOR_API vendor_device *vendor_get(const char *vendor, const char *visible, int index);
VENDOR_API int vendor_index(const vendor_device *device); /* without a mask: what "cuda:1" of AIOS_SIM counts */
VENDOR_API void vendor_memory(vendor_device *device, uint64_t *free_bytes, uint64_t *total_bytes);
VENDOR_API double vendor_speed(const vendor_device *device);
VENDOR_API int vendor_hangs(const vendor_device *device); /* a call of it never returned: what it still has is no leak */

/* The first thing that each function of a stand-in does: injects faults.  device NULL: the call belongs to none.  Then the device's state:
 * OK, ILLEGAL or LOST.  Functions that give something back (free, destroy) give it back whatever this says. */
VENDOR_API vendor_status vendor_call(const char *vendor, vendor_device *device, const char *call);
VENDOR_API int vendor_fault_code(void); /* of this thread's last VENDOR_FAULT */

/* Writes a line to the report.  device NULL: none. */
VENDOR_API void vendor_complain(const vendor_device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What this thread's last failure of any function here was about. */
VENDOR_API const char *vendor_reason(void);

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* alignment: a power of two; 0 means 256. */
VENDOR_API vendor_status vendor_alloc(vendor_device *device, uint64_t size, uint64_t alignment, void **pointer);
VENDOR_API vendor_status vendor_free(vendor_device *device, void *pointer);
/* Host memory that the device may read and write as well, in copies and in kernels; real host addresses. */
VENDOR_API vendor_status vendor_host_alloc(vendor_device *device, uint64_t size, void **pointer);
VENDOR_API vendor_status vendor_host_free(vendor_device *device, void *pointer);

enum { VENDOR_UNKNOWN_MEMORY = 0, VENDOR_DEVICE_MEMORY = 1, VENDOR_HOST_MEMORY = 2 };
/* What a pointer (into an allocation, too) is; each out-parameter may be NULL. */
VENDOR_API int vendor_pointer(const void *pointer, vendor_device **device, void **base, uint64_t *size);
/* Where the bytes behind a device pointer lie on the host, for work that is running now: size bytes at pointer, which must be memory of
 * device, of a peer that it may reach, or host memory of vendor_host_alloc.  NULL with a reason where they are not. */
VENDOR_API void *vendor_bytes(vendor_device *device, const void *pointer, uint64_t size);
/* For work of the stand-in's own, when it has run: what it wrote behind an allocation of the device; NULL: nothing. */
VENDOR_API const char *vendor_check_guards(vendor_device *device);
/* The same question as vendor_bytes when work is submitted: VENDOR_INVALID, with a complaint that names `what`. */
VENDOR_API vendor_status vendor_check(vendor_device *device, const char *what, const void *pointer, uint64_t size);

VENDOR_API int vendor_can_peer(const vendor_device *device, const vendor_device *other);
/* From now on device's copies and kernels reach the memory of other. */
VENDOR_API vendor_status vendor_enable_peer(vendor_device *device, vendor_device *other);
VENDOR_API vendor_status vendor_disable_peer(vendor_device *device, vendor_device *other);

/* ---- streams ----------------------------------------------------------------------------------------------------- */

VENDOR_API vendor_status vendor_stream_create(vendor_device *device, vendor_stream **stream);
/* Work that is still pending stays pending; what nobody then waits for never runs. */
VENDOR_API void vendor_stream_destroy(vendor_stream *stream);
VENDOR_API vendor_device *vendor_stream_device(const vendor_stream *stream);
VENDOR_API vendor_status vendor_stream_synchronize(vendor_stream *stream);
VENDOR_API vendor_status vendor_stream_query(vendor_stream *stream); /* NOT_READY while there is work; lets some of it run */
VENDOR_API vendor_status vendor_device_synchronize(vendor_device *device);

/* A piece of work of the stand-in's own (gemm, a kernel through OpenCL).  run is called once for each time that it is executed and
 * returns NULL or a sentence of what went wrong, which makes the device VENDOR_ILLEGAL; destroy (may be NULL) is called once at the end.
 * payload belongs to the core from the call on, also where it fails.  Submitted to a recording, it is kept instead. */
VENDOR_API vendor_status vendor_submit(vendor_stream *stream, const char *what, const char *(*run)(vendor_device *device, void *payload),
                                       void (*destroy)(void *payload), void *payload);

/* The same for work of several streams together: the stream stands still until ready says 1, which it is asked as soon as all before it is
 * done, often, and with the core's lock held, so that it may call nothing here; destroy is called likewise. */
VENDOR_API vendor_status vendor_submit_when(vendor_stream *stream, const char *what, int (*ready)(void *payload),
                                            const char *(*run)(vendor_device *device, void *payload), void (*destroy)(void *payload),
                                            void *payload);

/* Each side's device; NULL: the host's memory, any.  Refused where a pointer is not what its side says. */
VENDOR_API vendor_status vendor_copy(vendor_stream *stream, void *to, vendor_device *to_device, const void *from,
                                     vendor_device *from_device, uint64_t size);
/* At once, and in the order of no stream. */
VENDOR_API vendor_status vendor_copy_now(vendor_device *device, void *to, vendor_device *to_device, const void *from,
                                         vendor_device *from_device, uint64_t size);
/* pattern of 1, 2, 4, 8 or 16 bytes, repeated over size bytes. */
VENDOR_API vendor_status vendor_fill(vendor_stream *stream, void *to, const void *pattern, uint64_t pattern_size, uint64_t size);

/* ---- kernels: those of lib/kernels, in their GPU form ------------------------------------------------------------ */

/* An index by the symbol's name; -1 where there is none. */
VENDOR_API int vendor_kernel_find(const char *name);
VENDOR_API uint32_t vendor_kernel_arguments(int kernel);
VENDOR_API uint64_t vendor_kernel_argument_size(int kernel, uint32_t argument);
/* arguments[i] points to the value of the i-th argument and is read now; sizes NULL: not known.  team_size is what the vendor's launch
 * gave and must be what the kernel was compiled for, VENDOR_TEAM_SIZE, whatever number of lanes the simulation uses.  Pointers are
 * checked to be memory of the device (or NULL), guard zones are looked at afterwards. */
#define VENDOR_TEAM_SIZE 256
VENDOR_API vendor_status vendor_launch(vendor_stream *stream, int kernel, uint32_t teams, uint32_t team_size, const void *const *arguments,
                                       uint32_t count, const uint64_t *sizes);

/* ---- recordings -------------------------------------------------------------------------------------------------- */

/* A recording is a stream that keeps what is submitted to it; it can be replayed on streams of its device as often as wanted, and is
 * destroyed as a stream is.  It can't be synchronised. */
VENDOR_API vendor_status vendor_record_create(vendor_device *device, vendor_stream **recording);
VENDOR_API void vendor_record_clear(vendor_stream *recording);
/* From begin to end, what the stream is given is kept; waiting for the stream is refused, and so are taking memory on the same thread and
 * copies of host memory that is not vendor_host_alloc's. */
VENDOR_API vendor_status vendor_capture_begin(vendor_stream *stream);
VENDOR_API vendor_status vendor_capture_end(vendor_stream *stream, vendor_stream **recording);
VENDOR_API int vendor_capturing(const vendor_stream *stream);
VENDOR_API size_t vendor_record_length(const vendor_stream *recording);
VENDOR_API vendor_status vendor_replay(vendor_stream *stream, vendor_stream *recording);

/* ---- events ------------------------------------------------------------------------------------------------------ */

VENDOR_API vendor_status vendor_event_create(vendor_device *device, vendor_event **event);
VENDOR_API void vendor_event_destroy(vendor_event *event);

/* CUDA's and HIP's events: a wait is for the record that was the last when the wait was submitted; none: nothing to wait for. */
VENDOR_API vendor_status vendor_event_record(vendor_event *event, vendor_stream *stream);
VENDOR_API vendor_status vendor_event_wait(vendor_event *event, vendor_stream *stream);
VENDOR_API vendor_status vendor_event_synchronize(vendor_event *event);
VENDOR_API vendor_status vendor_event_query(vendor_event *event);
/* Nanoseconds at which the last record was reached; NOT_READY, INVALID (never recorded). */
VENDOR_API vendor_status vendor_event_time(vendor_event *event, uint64_t *nanoseconds);

/* Level Zero's events: a flag that work sets and clears.  stream NULL: the host does it now. */
VENDOR_API vendor_status vendor_flag_set(vendor_event *event, vendor_stream *stream);
VENDOR_API vendor_status vendor_flag_clear(vendor_event *event, vendor_stream *stream);
VENDOR_API vendor_status vendor_flag_wait(vendor_event *event, vendor_stream *stream);
/* The host waits until the flag is set.  patient 0: does some pending work and answers NOT_READY where that did not set it. */
VENDOR_API vendor_status vendor_flag_synchronize(vendor_event *event, int patient);

#endif
