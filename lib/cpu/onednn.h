/* onednn.h (internal): oneDNN, opened when the first gemm asks for it.
 *
 * It is called from the device's own threads, each with its own part of the work, and must not start a team of its own
 * inside: OpenMP's number of threads is a setting of the calling thread, put to 1 around the calls and back after.
 *
 * Its generated AVX-512 code points the stack register at a buffer of the heap (seen in 2.7's sgemm, where the matrices are small).
 * A signal that is delivered then writes its frame over whatever lies below that buffer, so signals from outside are held around the
 * calls. */
#ifndef AIOS_CPU_ONEDNN_H
#define AIOS_CPU_ONEDNN_H

#include "base/os.h"

typedef struct onednn {
    void *library;
#define ONEDNN_REQUIRED(result, name, parameters) result(*name) parameters;
#define ONEDNN_OPTIONAL                           ONEDNN_REQUIRED
#include "onednn.def"
#undef ONEDNN_OPTIONAL
#undef ONEDNN_REQUIRED
} onednn;

/* Errors: UNAVAILABLE names what was tried. */
aios_status onednn_open(onednn *dnn);

/* What the calling thread had before, to be given back. */
typedef struct onednn_scope {
    int threads;
    os_signals signals;
} onednn_scope;

/* Around every run of calls. */
onednn_scope onednn_enter(const onednn *dnn);
void onednn_leave(const onednn *dnn, const onednn_scope *before);

#endif
