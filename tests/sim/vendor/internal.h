/* internal.h: what the files of the core share.  Everything below is guarded by core.mutex unless said otherwise. */
#ifndef VENDOR_INTERNAL_H
#define VENDOR_INTERNAL_H

#include "vendor.h"

#include <pthread.h>

#define DEVICES_MAX 32
#define FAULTS_MAX  16

enum fault_mode { FAULT_ONCE, FAULT_FOREVER, FAULT_HANG, FAULT_LOST };

struct fault {
    char call[64], vendor[8];
    int index; /* -1: any device of the vendor */
    int code, mode;
    uint64_t at, seen;
};

struct allocation {
    struct allocation *next; /* by address */
    uint64_t offset, size;   /* what was asked; offset in the device's range */
    uint64_t page, pages;    /* bytes of its pages, guard zone included */
};

struct host_allocation {
    struct host_allocation *next;
    void *address;
    uint64_t size;
};

struct vendor_device {
    char vendor[8];
    int index;
    uint64_t memory, used;
    double speed;
    vendor_status state; /* OK, ILLEGAL or LOST */
    char state_reason[256];
    int faulted;   /* a fault was injected: who then gives up may leave work behind */
    int hangs;     /* a call of it never returns */
    char *range;   /* addresses that a program sees: never mapped */
    char *backing; /* where their bytes are */
    uint64_t range_size, cursor;
    struct allocation *allocations;
    struct host_allocation *host_allocations;
    uint32_t peers; /* bit per device of core.devices that was enabled */
    vendor_stream *streams;
    vendor_event *events;
};

enum { PEER_YES, PEER_NO, PEER_BROKEN };

struct core {
    pthread_mutex_t mutex;
    pthread_cond_t moved; /* work was done, or a state changed */
    vendor_device devices[DEVICES_MAX];
    int device_count;
    struct fault faults[FAULTS_MAX];
    int fault_count;
    int peer; /* PEER_… */
    uint64_t random;
    int running; /* pieces of work that threads execute now */
};
extern struct core core;

/* Keeps the sentence as this thread's reason, and returns status. */
vendor_status refuse(vendor_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, and complains. */
#define REFUSE(device, status, ...) (vendor_complain(device, __VA_ARGS__), refuse(status, __VA_ARGS__))

uint32_t draw(uint32_t below); /* the seeded random number */

/* The first failure of a device: its pending work is dropped and what waits for it wakes up. */
void fail_device(vendor_device *device, vendor_status state, const char *reason);
/* Counts a call and fires; VENDOR_OK, or FAULT; sets the device's state.  Releases the mutex for ever to hang. */
vendor_status inject(const char *vendor, vendor_device *device, const char *call);

/* memory.c, with the mutex held */
int memory_start(vendor_device *device); /* 0 where the address range can't be had */
vendor_device *range_owner(const void *pointer);
const char *check_pointer(vendor_device *device, const void *pointer, uint64_t size, char reason[256]); /* NULL: fine */
void *host_side(const void *pointer);                                                                   /* of a checked pointer */
const char *check_guards(vendor_device *device, char reason[256]);
void memory_report(vendor_device *device);

/* stream.c */
void drop_work(vendor_device *device); /* with the mutex held */
void stream_report(vendor_device *device);
extern _Thread_local int captures; /* of this thread */

#endif
