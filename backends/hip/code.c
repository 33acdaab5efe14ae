/* The kernels of lib/kernels, one code object for each architecture. */
#include "embed.h"
#include "hip.h"

#include <stdio.h>
#include <string.h>

#define ARCHITECTURE(name) EMBED(hip_code_##name, HIP_CODE_FOLDER "/hip-" #name ".hsaco");
#include "architectures.def"
#undef ARCHITECTURE

static const struct {
    const char *architecture;
    const void *code;
} objects[] = {
#define ARCHITECTURE(name) {#name, hip_code_##name},
#include "architectures.def"
#undef ARCHITECTURE
};

aios_status hip_find_code(const char *architecture, const void **code)
{
    char list[256] = "";
    for (size_t i = 0, used = 0; i < COUNT_OF(objects); i++) {
        if (strcmp(objects[i].architecture, architecture) == 0) {
            *code = objects[i].code;
            return AIOS_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", objects[i].architecture);
    }
    return plugin_fail(AIOS_UNSUPPORTED, 0, "no kernels for %s: this plugin has them for %s", architecture, list);
}
