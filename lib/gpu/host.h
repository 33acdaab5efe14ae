/* host.h (internal): calls into a backend, and what it hears and says while it runs. */
#ifndef AIOS_GPU_HOST_H
#define AIOS_GPU_HOST_H

#include "base/context.h"

/* What every plugin is given; it lives as long as the process. */
const aios_host_services *host_services(void);

/* Around every call into a backend:
 *
 *   host_enter(context);
 *   status = host_leave(backend, backend->device->open(0, &handle));
 *
 * enter says whose log hears the backend.  leave turns what the backend told through set_error into this thread's error
 * record, with its name and native code, and returns the status; a status without words gets some.  The built-in CPU
 * device fails as the rest of libaios does (error.h), so its record is kept and only named. */
void host_enter(aios_context *context);
aios_status host_leave(const aios_backend *backend, aios_status status);

/* The context of the call that this thread makes into a backend; NULL outside of one. */
aios_context *host_context(void);

#endif
