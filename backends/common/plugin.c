#include "plugin.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static aios_host_services services;

aios_status plugin_begin(uint32_t host_abi, const aios_host_services *host)
{
    if (host_abi >> 16 != AIOS_BACKEND_ABI_MAJOR || !host || host->struct_size < sizeof services) return AIOS_ABI_MISMATCH;
    services = *host;
    return AIOS_OK;
}

aios_status plugin_fail(aios_status status, int64_t native, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    services.set_error(services.user, status, native, message);
    return status;
}

void plugin_log(int32_t level, const char *format, ...)
{
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    services.log(services.user, level, message);
}

void *plugin_alloc(size_t size)
{
    void *memory = services.alloc(services.user, size ? size : 1);
    if (memory)
        memset(memory, 0, size);
    else
        (void)plugin_fail(AIOS_OUT_OF_MEMORY, 0, "the host has no %zu bytes left", size);
    return memory;
}

void plugin_free(void *pointer)
{
    if (pointer) services.free(services.user, pointer);
}

/* ---- vendor libraries -------------------------------------------------------------------------------------------- */

static void *open_library(const plugin_library *library, const char **name)
{
    const char *chosen = library->override ? getenv(library->override) : NULL;
    if (chosen && *chosen) {
        *name = chosen;
        return dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
    }
    for (size_t i = 0; library->names[i]; i++) {
        void *handle = dlopen(library->names[i], RTLD_NOW | RTLD_LOCAL);
        *name = library->names[i];
        if (handle) return handle;
    }
    return NULL;
}

static aios_status say_missing(const plugin_library *library, const char *name)
{
    char tried[256] = "";
    const char *chosen = library->override ? getenv(library->override) : NULL;
    if (chosen && *chosen)
        return plugin_fail(AIOS_UNAVAILABLE, 0, "no %s: %s, which %s names, can't be opened: %s", library->what, name, library->override,
                           dlerror());
    for (size_t i = 0, used = 0; library->names[i] && used < sizeof tried; i++)
        used += (size_t)snprintf(tried + used, sizeof tried - used, "%s%s", i ? ", " : "", library->names[i]);
    return plugin_fail(AIOS_UNAVAILABLE, 0, "no %s: %s not found", library->what, tried);
}

aios_status plugin_library_open(const plugin_library *library, void *table)
{
    const char *name = NULL;
    void *handle = open_library(library, &name);
    if (!handle) return say_missing(library, name);
    for (size_t i = 0; i < library->symbol_count; i++) {
        const plugin_symbol *symbol = &library->symbols[i];
        void *address = dlsym(handle, symbol->name);
        memcpy((char *)table + symbol->offset, &address, sizeof address);
        if (!address && symbol->required)
            return plugin_fail(AIOS_UNAVAILABLE, 0, "the %s in %s is too old or broken: it lacks %s", library->what, name, symbol->name);
    }
    return AIOS_OK;
}
