#include "host.h"

#include "base/os.h"
#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>

struct told {
    aios_status status;
    int64_t native;
    char message[sizeof((aios_error_record *)0)->message];
};

static _Thread_local struct told told;
static _Thread_local aios_context *calling;

/* Plugins are shared by every context of the process, so their memory belongs to none: it is the system's. */
static void *serve_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size ? size : 1);
}

static void serve_free(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

static void serve_log(void *user, int32_t level, const char *message)
{
    (void)user;
    if (calling && message) aios_log(calling, level, "%s", message);
}

static void serve_set_error(void *user, aios_status status, int64_t native, const char *message)
{
    (void)user;
    told.status = status;
    told.native = native;
    (void)snprintf(told.message, sizeof told.message, "%s", message ? message : "");
}

const aios_host_services *host_services(void)
{
    static const aios_host_services services = {sizeof services, 0, NULL, serve_log, serve_alloc, serve_free, serve_set_error};
    return &services;
}

void host_enter(aios_context *context)
{
    calling = context;
    told.status = AIOS_OK;
}

static aios_status checked(aios_status status)
{
    return status > AIOS_OK && status <= AIOS_INTERNAL ? status : AIOS_DEVICE_ERROR;
}

aios_status host_leave(const aios_backend *backend, aios_status status)
{
    calling = NULL;
    if (status == AIOS_OK) return AIOS_OK;
    if (backend == &cpu_backend) {
        aios_error_set_native(backend->name, aios_error_native_code());
        return status;
    }
    if (told.status == AIOS_OK || !told.message[0])
        (void)FAIL(checked(status), "the %s backend failed with status %d and gave no reason", backend->name, (int)status);
    else
        (void)FAIL(checked(status), "%s", told.message);
    aios_error_set_native(backend->name, told.status == AIOS_OK ? 0 : told.native);
    return checked(status);
}

aios_context *host_context(void)
{
    return calling;
}
