/* The kernels of lib/kernels, one packed code object for each architecture. */
#include "embed.h"
#include "hip.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PAGE 4096 /* how AMD's own compiler aligns code objects: what loads them may count on it */

#define ARCHITECTURE(name) EMBED(hip_code_##name, HIP_CODE_FOLDER "/hip-" #name ".gz");
#include "architectures.def"
#undef ARCHITECTURE

static struct object {
    const char *architecture;
    const unsigned char *packed, *end;
    void *code; /* unpacked when first asked for; never given back, because a module of the runtime refers to it */
} objects[] = {
#define ARCHITECTURE(name) {#name, hip_code_##name, hip_code_##name##_end, NULL},
#include "architectures.def"
#undef ARCHITECTURE
};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* A gzip file ends with the size of what it holds. */
static aios_status unpack(struct object *object)
{
    const unsigned char *tail = object->end - 4;
    const size_t size = tail[0] | (size_t)tail[1] << 8 | (size_t)tail[2] << 16 | (size_t)tail[3] << 24;
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)object->packed, .avail_in = (uInt)(object->end - object->packed)};
    void *code = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
    if (!code) return plugin_fail(AIOS_OUT_OF_MEMORY, 0, "no %zu bytes of memory for the kernels of %s", size, object->architecture);
    stream.next_out = code;
    stream.avail_out = (uInt)size;
    int result = inflateInit2(&stream, 16 + MAX_WBITS);
    if (result == Z_OK) {
        result = inflate(&stream, Z_FINISH);
        (void)inflateEnd(&stream);
    }
    if (result != Z_STREAM_END) {
        free(code);
        return plugin_fail(AIOS_CORRUPT, result, "the plugin's kernels of %s can't be unpacked (zlib: %d)", object->architecture, result);
    }
    object->code = code;
    return AIOS_OK;
}

aios_status hip_find_code(const char *architecture, const void **code)
{
    char list[256] = "";
    for (size_t i = 0, used = 0; i < COUNT_OF(objects); i++) {
        struct object *object = &objects[i];
        if (strcmp(object->architecture, architecture) == 0) {
            (void)pthread_mutex_lock(&mutex);
            aios_status status = object->code ? AIOS_OK : unpack(object);
            *code = object->code;
            (void)pthread_mutex_unlock(&mutex);
            return status;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", object->architecture);
    }
    return plugin_fail(AIOS_UNSUPPORTED, 0, "no kernels for %s: this plugin has them for %s", architecture, list);
}
