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
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests_name("fatbin", tests, NULL, NULL);
}
