/* engine.h (internal to lib/comm): finds aios-gloo.so. */
#ifndef AIOS_COMM_ENGINE_H
#define AIOS_COMM_ENGINE_H

#include "base/context.h"
#include "gloo/engine.h"

/* Searched in the folders of AIOS_BACKEND_PATH, then where the plugins are installed; loaded once, never unloaded.  Errors: UNAVAILABLE
 * says where it was looked for and what is missing, ABI_MISMATCH. */
aios_status engine_load(const engine_table **engine);

#endif
