/* onednn.h (internal): oneDNN, opened when the first gemm asks for it.
 *
 * It is called from the device's own threads, each with its own part of the work, and must not start a team of its own
 * inside: OpenMP's number of threads is a setting of the calling thread, put to 1 around the calls and back after. */
#ifndef AIOS_CPU_ONEDNN_H
#define AIOS_CPU_ONEDNN_H

#include "base/error.h"

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

/* enter returns what leave needs. */
int onednn_enter(const onednn *dnn);
void onednn_leave(const onednn *dnn, int before);

#endif
