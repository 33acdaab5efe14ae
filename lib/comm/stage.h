/* stage.h (internal to lib/comm): a rank's way between its device's memory and the host's.  Where the host reaches the device's memory
 * there is nothing to do; else pinned memory in slots, which a collective's chunks use in turn: while one is worked on, the next comes from
 * the device and the one before goes back. */
#ifndef AIOS_COMM_STAGE_H
#define AIOS_COMM_STAGE_H

#include <aios/device.h>

#define STAGE_SLOTS_MOST 4

typedef struct comm_stage {
    aios_stream *stream, *out; /* out: back to the device, beside what comes from it */
    float *memory;             /* (slots, slot_bytes), pinned; NULL: not staged */
    int slots;
    aios_event *came[STAGE_SLOTS_MOST], *gone[STAGE_SLOTS_MOST];
} comm_stage;

/* always: stage even where the host reaches the memory.  Zero is a good start; what fails is closed by the caller. */
aios_status stage_open(comm_stage *s, aios_stream *stream, int always, int slots, uint64_t slot_bytes);
void stage_close(comm_stage *s); /* waits for the copies; zero is fine */

/* Chunk k uses slot k % slots.  Each is submitted, and the host waits in stage_await alone. */
aios_status stage_claim(comm_stage *s, uint64_t k); /* before the first copy of chunk k: what went back from its slot must be gone */
aios_status stage_bring(comm_stage *s, float *to, const float *from, uint64_t count);
aios_status stage_brought(comm_stage *s, uint64_t k); /* after the last copy */
aios_status stage_await(comm_stage *s, uint64_t k);   /* chunk k is here */
aios_status stage_send(comm_stage *s, float *to, const float *from, uint64_t count);
aios_status stage_sent(comm_stage *s, uint64_t k); /* after the last copy back */
/* What is submitted to the stream from now on sees all that went back, of `chunks`. */
aios_status stage_end(comm_stage *s, uint64_t chunks);

#endif
