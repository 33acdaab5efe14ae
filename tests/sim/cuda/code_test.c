/* The shipped fatbin against kernels.def: each kernel, its arguments' number and sizes, its blocks, for each architecture. */
#include "fatbin.h"

#include "embed.h"
#include "test.h"
#include <aios/device.h>

EMBED(shipped, CUDA_FATBIN);

static void every_kernel_is_there_as_it_is_listed(void **state)
{
    static const int capabilities[] = {80, 86, 90, 100, 120};
    (void)state;
    for (size_t c = 0; c < sizeof capabilities / sizeof capabilities[0]; c++) {
        fatbin code;
        const char *wrong = fatbin_open(shipped, capabilities[c], &code);
        if (wrong) fail_msg("capability %d: %s", capabilities[c], wrong);
        assert_true(aios_kernel_count() > 0);
        for (uint32_t k = 0; k < aios_kernel_count(); k++) {
            const aios_kernel *kernel = aios_kernel_get(k);
            fatbin_kernel found;
            if (!fatbin_find(&code, kernel->name, &found)) fail_msg("capability %d: no %s", capabilities[c], kernel->name);
            assert_int_equal(found.argument_count, kernel->argument_count);
            assert_int_equal(found.threads, 256);
            for (uint32_t i = 0; i < kernel->argument_count; i++) assert_int_equal(found.sizes[i], kernel->arguments[i].size);
        }
        fatbin_close(&code);
    }
}

/* Spilled registers cost device memory in the middle of a loop.  A few bytes are what the compiler keeps for a slow path. */
#define STACK_MOST 64

static void kernels_live_in_registers(void **state)
{
    static const int capabilities[] = {80, 90, 100, 120};
    (void)state;
    for (size_t c = 0; c < sizeof capabilities / sizeof capabilities[0]; c++) {
        fatbin code;
        uint32_t most = 0, stacks = 0;
        const char *hungriest = "";
        assert_null(fatbin_open(shipped, capabilities[c], &code));
        for (uint32_t k = 0; k < aios_kernel_count(); k++) {
            fatbin_kernel found;
            const char *name = aios_kernel_get(k)->name;
            assert_true(fatbin_find(&code, name, &found));
            if (found.stack > STACK_MOST)
                fail_msg("capability %d: %s keeps %u bytes of each thread in memory", capabilities[c], name, found.stack);
            stacks += found.stack != 0;
            assert_in_range(found.registers, 1, 255);
            if (found.registers > most) most = found.registers, hungriest = name;
        }
        print_message("capability %d: at most %u registers (%s), %u kernels with a stack\n", capabilities[c], most, hungriest, stacks);
        fatbin_close(&code);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    static const unsigned char noise[64] = {1, 2, 3};
    fatbin code;
    fatbin_kernel found;
    (void)state;
    assert_string_equal(fatbin_open(noise, 90, &code), "the image is no fatbin");
    assert_string_equal(fatbin_open(shipped, 75, &code), "the fatbin has no code for this device");
    assert_null(fatbin_open(shipped, 90, &code));
    assert_false(fatbin_find(&code, "no_such_kernel", &found));
    fatbin_close(&code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_there_as_it_is_listed),
        cmocka_unit_test(kernels_live_in_registers),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("fatbin", tests, NULL, NULL);
}
