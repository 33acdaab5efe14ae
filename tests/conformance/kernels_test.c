/* Every kernel, as the CPU's tables hold it, against float64: each instruction set that this processor has. */
#include "cpu/kernels.h"
#include "expect.h"

#include <string.h>

static struct runner cpu = {
    .name = "baseline", .slack = 1, .alloc = host_alloc, .free = host_free, .upload = host_copy, .download = host_copy};

static int launch_teams(struct runner *runner, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    const cpu_kernel_fn *table = runner->user;
    for (uint32_t team = 0; team < teams; team++) table[kernel]((int32_t)team, (int32_t)teams, arguments);
    return 0;
}

#define CASES(theme)                                                                                                                       \
    static void theme##_agrees_with_float64(void **state)                                                                                  \
    {                                                                                                                                      \
        (void)state;                                                                                                                       \
        theme##_cases(&cpu);                                                                                                               \
        EXPECT_GOOD(&cpu);                                                                                                                 \
    }
CASES(elementwise)
CASES(activation)
CASES(reduce)
CASES(embedding)
CASES(norm)
CASES(rope)
CASES(attention)
CASES(halting)
CASES(experts)
CASES(loss)
CASES(optimizer)
CASES(gemm)

static void every_kernel_ran(void **state)
{
    (void)state;
    EXPECT_EVERY_KERNEL_RAN(&cpu);
}

static void the_table_names_every_kernel(void **state)
{
    (void)state;
    assert_int_equal(aios_kernel_count(), KERNEL_COUNT * KERNEL_STORAGE_TYPES);
    for (uint32_t i = 0; i < aios_kernel_count(); i++) assert_int_equal(aios_kernel_find(aios_kernel_get(i)->name), i);
    assert_int_equal(aios_kernel_find("adamw_bf16"), kernel_index(KERNEL_adamw, AIOS_BF16));
    assert_int_equal(aios_kernel_find("adamw"), -1);
    assert_int_equal(aios_kernel_find(NULL), -1);
    assert_null(aios_kernel_get(aios_kernel_count()));
    const aios_kernel *rmsnorm = aios_kernel_get(kernel_index(KERNEL_rmsnorm_forward, AIOS_F16));
    assert_string_equal(rmsnorm->name, "rmsnorm_forward_f16");
    assert_int_equal(rmsnorm->argument_count, 8);
    assert_string_equal(rmsnorm->arguments[6].name, "eps");
    assert_int_equal(rmsnorm->arguments[1].kind, AIOS_ARG_OUT);
    assert_int_equal(rmsnorm->arguments[2].size, sizeof(void *));
    assert_int_equal(rmsnorm->arguments[6].size, 4);
    assert_int_equal(aios_kernel_get(kernel_index(KERNEL_gemm, AIOS_F32))->arguments[7].size, 8);
}

static int run_instance(const char *name, const cpu_kernel_fn *table)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_names_every_kernel),   cmocka_unit_test(elementwise_agrees_with_float64),
        cmocka_unit_test(activation_agrees_with_float64), cmocka_unit_test(reduce_agrees_with_float64),
        cmocka_unit_test(embedding_agrees_with_float64),  cmocka_unit_test(norm_agrees_with_float64),
        cmocka_unit_test(rope_agrees_with_float64),       cmocka_unit_test(attention_agrees_with_float64),
        cmocka_unit_test(halting_agrees_with_float64),    cmocka_unit_test(experts_agrees_with_float64),
        cmocka_unit_test(loss_agrees_with_float64),       cmocka_unit_test(optimizer_agrees_with_float64),
        cmocka_unit_test(gemm_agrees_with_float64),       cmocka_unit_test(every_kernel_ran),
    };
    cpu.name = name;
    cpu.user = (void *)(uintptr_t)table;
    cpu.launch = launch_teams;
    memset(cpu.kernels, 0, sizeof cpu.kernels);
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
#if defined(__SANITIZE_THREAD__)
    cpu.brief = 1; /* one thread: nothing to see but the time it takes */
#endif
    int failed = run_instance("baseline", cpu_kernels_baseline);
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) failed += run_instance("avx2", cpu_kernels_avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        failed += run_instance("avx512", cpu_kernels_avx512);
#endif
    return failed;
}
