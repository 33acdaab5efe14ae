/* Intel's own driver, without a device: in its capture mode (the environment says which device) it compiles, but runs nothing.  Each
 * kernel of the shipped modules is created and given its arguments through the shipped plugin, in a recording that is never
 * replayed.  Exit code 77 where there is no driver. */
#include "gpu/device.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIPPED 77

static int fail(const char *what)
{
    fprintf(stderr, "intel_test: %s: %s\n", what, aios_error_message());
    return EXIT_FAILURE;
}

/* Every pointer is to `memory`, every number 1. */
static aios_status append(aios_stream *stream, uint32_t index, void *memory)
{
    static const int64_t one = 1;
    const aios_kernel *kernel = aios_kernel_get(index);
    const void *arguments[32];
    for (uint32_t i = 0; i < kernel->argument_count; i++)
        arguments[i] = kernel->arguments[i].kind == AIOS_ARG_VALUE ? (const void *)&one : (const void *)&memory;
    return aios_stream_launch(stream, index, 1, arguments);
}

static char warned[512];

static void hear(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level <= AIOS_LOG_WARNING) (void)snprintf(warned, sizeof warned, "%s", message);
}

/* The products that the matrix units do; they are told of where the driver does not build them. */
static int append_products(aios_stream *stream, void *memory)
{
    const uint32_t types = aios_device_get_info(aios_stream_device(stream))->fast_gemm_types;
    if (types != (1u << AIOS_BF16 | 1u << AIOS_F16)) return fail("the plugin does not know of the device's matrix units");
    for (int type = AIOS_BF16; type <= AIOS_F16; type++)
        for (int wide = 0; wide < 2; wide++) {
            aios_gemm g = {
                .struct_size = sizeof g, .type_ab = type, .type_c = wide ? AIOS_F32 : type, .m = 16, .n = 16, .k = 16, .batch = 1};
            g.lda = g.ldb = g.ldc = 16, g.alpha = 1, g.a = g.b = memory, g.c = (char *)memory + 2048;
            if (aios_stream_gemm(stream, &g) != AIOS_OK) return fail("gemm");
        }
    if (!warned[0]) return EXIT_SUCCESS;
    fprintf(stderr, "intel_test: %s\n", warned);
    return EXIT_FAILURE;
}

static int create_every_kernel(aios_stream *stream)
{
    stream_recording *recording;
    void *memory;
    uint32_t count = aios_kernel_count();
    if (count < 100) return fail("there are too few kernels in lib/kernels");
    if (aios_device_alloc(aios_stream_device(stream), 4096, &memory) != AIOS_OK) return fail("allocating");
    if (stream_capture_begin(stream) != AIOS_OK) return fail("beginning a recording");
    for (uint32_t i = 0; i < count; i++)
        if (append(stream, i, memory) != AIOS_OK) return fail(aios_kernel_get(i)->name);
    if (append_products(stream, memory) != EXIT_SUCCESS) return EXIT_FAILURE;
    if (stream_capture_end(stream, &recording) != AIOS_OK) return fail("ending the recording");
    stream_recording_destroy(recording);
    aios_device_free(aios_stream_device(stream), memory);
    printf("intel_test: %s: Intel's driver made all %u kernels, and those of the matrix units\n",
           aios_device_get_info(aios_stream_device(stream))->architecture, count);
    return EXIT_SUCCESS;
}

int main(int count, char **words)
{
    aios_context_options options = AIOS_CONTEXT_OPTIONS_INIT;
    aios_context *context;
    aios_device *device;
    aios_stream *stream;
    if (count != 2) return fail("an architecture must be given");
    options.log = hear;
    if (aios_context_create(&options, &context) != AIOS_OK) return fail("creating a context");
    aios_status status = aios_device_open(context, "xpu:0", &device);
    if (status == AIOS_UNAVAILABLE || status == AIOS_NOT_FOUND) {
        printf("intel_test: skipped: %s\n", aios_error_message());
        return SKIPPED;
    }
    if (status != AIOS_OK) return fail("opening xpu:0");
    if (strcmp(aios_device_get_info(device)->architecture, words[1]) != 0) return fail("the device is of another architecture");
    if (aios_stream_create(device, &stream) != AIOS_OK) return fail("creating a stream");
    int code = create_every_kernel(stream);
    /* nothing is destroyed that would wait: in this mode no work ever ends */
    return code;
}
