/* The code objects of libaios-hip against kernels.def: each kernel is there, takes what the host will send, and fits the hardware. */
#include "code_object.h"
#include "test.h"

#include <aios/device.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { TEAM_SIZE = 256, LOCAL_MOST = 64 * 1024, REGISTERS_MOST = 256 };

static const char *const architectures[] = {
#define ARCHITECTURE(name) #name,
#include "architectures.def"
#undef ARCHITECTURE
};

/* As it is in the plugin. */
static unsigned char *read_code(const char *architecture, size_t *size)
{
    enum { MOST = 16 << 20 };
    char path[512];
    unsigned char *bytes = malloc(MOST);
    (void)snprintf(path, sizeof path, "%s/hip-%s.gz", HIP_CODE_FOLDER, architecture);
    gzFile file = gzopen(path, "rb");
    if (!file) fail_msg("%s can't be opened", path);
    int length = gzread(file, bytes, MOST);
    assert_int_equal(gzclose(file), Z_OK);
    assert_in_range(length, 1, MOST - 1);
    *size = (size_t)length;
    return bytes;
}

/* Arguments lie one behind the other, each on its own alignment: the compiler has the same idea of every type as the host. */
static void compare_arguments(const char *architecture, const aios_kernel *kernel, const code_kernel *found)
{
    uint32_t offset = 0;
    if (found->argument_count != kernel->argument_count)
        fail_msg("%s, %s: %u arguments, kernels.def has %u", architecture, kernel->name, found->argument_count, kernel->argument_count);
    for (uint32_t i = 0; i < kernel->argument_count; i++) {
        const aios_kernel_argument *wanted = &kernel->arguments[i];
        const code_argument *argument = &found->arguments[i];
        offset = (offset + wanted->size - 1u) / wanted->size * wanted->size;
        if (argument->size != wanted->size || argument->offset != offset || argument->pointer != (wanted->kind != AIOS_ARG_VALUE))
            fail_msg("%s, %s: argument %s has %u bytes at %u, pointer %d; the host sends %u at %u, pointer %d", architecture, kernel->name,
                     wanted->name, argument->size, argument->offset, argument->pointer, wanted->size, offset,
                     wanted->kind != AIOS_ARG_VALUE);
        offset += wanted->size;
    }
    if (found->arguments_size < offset) fail_msg("%s, %s: only %u bytes of arguments", architecture, kernel->name, found->arguments_size);
}

/* A register that is spilled goes through memory in the innermost loop: such a kernel is to be rewritten, not shipped. */
static void check_resources(const char *architecture, const code_kernel *kernel)
{
    if (kernel->vector_spills || kernel->private_bytes)
        fail_msg("%s, %s: %u registers are spilled, %u bytes of memory per lane", architecture, kernel->name, kernel->vector_spills,
                 kernel->private_bytes);
    if (kernel->local_bytes > LOCAL_MOST) fail_msg("%s, %s: %u bytes of local memory", architecture, kernel->name, kernel->local_bytes);
    if (kernel->vector_registers > REGISTERS_MOST) fail_msg("%s, %s: %u registers", architecture, kernel->name, kernel->vector_registers);
    if (kernel->team_size != TEAM_SIZE)
        fail_msg("%s, %s: made for teams of %u, launched with %d", architecture, kernel->name, kernel->team_size, TEAM_SIZE);
}

static void every_kernel_is_in_every_code_object_as_the_host_calls_it(void **state)
{
    (void)state;
    for (size_t a = 0; a < sizeof architectures / sizeof architectures[0]; a++) {
        const char *architecture = architectures[a];
        size_t size;
        code_object object;
        unsigned char *bytes = read_code(architecture, &size);
        const char *wrong = code_object_read(bytes, size, &object);
        if (wrong) fail_msg("%s: %s", architecture, wrong);
        assert_int_equal(object.architecture, code_architecture(architecture));
        assert_int_equal(object.version, 4);
        assert_int_equal(code_object_size(bytes), size);
        assert_int_equal(object.kernel_count, aios_kernel_count());
        for (uint32_t k = 0; k < aios_kernel_count(); k++) {
            const aios_kernel *kernel = aios_kernel_get(k);
            const code_kernel *found = code_object_find(&object, kernel->name);
            if (!found) fail_msg("%s lacks %s", architecture, kernel->name);
            compare_arguments(architecture, kernel, found);
            check_resources(architecture, found);
            assert_int_equal(found->wavefront_size, architecture[3] == '9' ? 64 : 32);
        }
        code_object_free(&object);
        free(bytes);
    }
}

static void a_broken_code_object_is_refused(void **state)
{
    size_t size;
    code_object object;
    unsigned char *bytes = read_code("gfx942", &size);
    (void)state;
    /* cut anywhere, it is never read past its end (the address sanitizer would see it) */
    for (size_t cut = 0; cut < size; cut += 1 + cut / 3) {
        unsigned char *copy = malloc(cut + 1);
        memcpy(copy, bytes, cut);
        if (!code_object_read(copy, cut, &object)) fail_msg("%zu of %zu bytes are taken for a whole object", cut, size);
        code_object_free(&object);
        free(copy);
    }
    bytes[18] = 62; /* e_machine: x86-64 */
    assert_string_equal(code_object_read(bytes, size, &object), "its machine is not AMDGPU");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_is_in_every_code_object_as_the_host_calls_it),
                                       cmocka_unit_test(a_broken_code_object_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
