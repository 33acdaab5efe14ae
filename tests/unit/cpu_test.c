/* What the CPU device promises beside its arithmetic (gemm_test, attention_test). */
#include "base/os.h"
#include "kernels/kernels.h"
#include "test.h"

#include <dlfcn.h>
#include <fenv.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static aios_context *context;

static void assert_says(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("\"%s\" does not say \"%s\"", text, words);
}

static void assert_fails(aios_status status, aios_status wanted, const char *words)
{
    if (status != wanted) fail_msg("%s, not %s: %s", aios_status_name(status), aios_status_name(wanted), aios_error_message());
    assert_says(aios_error_message(), words);
}

static void the_cpu_says_what_it_is(void **state)
{
    (void)state;
    aios_device *cpu;
    uint64_t free_bytes, total;
    assert_ok(aios_device_open(context, "cpu", &cpu));
    const aios_device_info *info = aios_device_get_info(cpu);
    assert_int_equal(info->kind, AIOS_DEVICE_CPU);
    assert_string_equal(info->backend, "cpu");
    assert_true(info->name[0] && info->architecture[0]);
    assert_int_equal(info->teams, os_cpu_count());
    assert_int_equal(info->team_size, 1);
    assert_int_equal(info->host_accessible, 1);
    assert_int_equal(info->storage_types, 7);
    assert_ok(aios_device_memory_info(cpu, &free_bytes, &total));
    assert_true(free_bytes > 0 && free_bytes <= total && total == info->memory_total);
    void *memory;
    assert_fails(aios_device_alloc(cpu, (uint64_t)1 << 60, &memory), AIOS_DEVICE_OUT_OF_MEMORY, "1152921504606846976 bytes asked");
    aios_device_close(cpu);
}

static void the_cores_are_split_as_the_environment_says(void **state)
{
    (void)state;
    aios_device_list *list;
    aios_device *device;
    int teams = 0;
    (void)setenv("AIOS_CPU_DEVICES", "3", 1);
    (void)setenv("AIOS_CPU_THREADS", "8", 1);
    assert_ok(aios_device_list_create(context, &list));
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(aios_device_list_get(list, i)->info.backend, "cpu");
        assert_int_equal(aios_device_list_get(list, i)->info.index, i);
        teams += aios_device_list_get(list, i)->info.teams;
    }
    assert_int_equal(teams, 8);
    aios_device_list_destroy(list);
    assert_ok(aios_device_open(context, "cpu:2", &device));
    aios_device_close(device);
    (void)setenv("AIOS_CPU_DEVICES", "20", 1); /* more than threads: each has one */
    assert_ok(aios_device_open(context, "cpu:19", &device));
    assert_int_equal(aios_device_get_info(device)->teams, 1);
    aios_device_close(device);
    static const char *const wrong[] = {"0", "-2", "two", "3x", "99999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        (void)setenv("AIOS_CPU_DEVICES", wrong[i], 1);
        assert_fails(aios_device_open(context, "cpu", &device), AIOS_INVALID_ARGUMENT, "AIOS_CPU_DEVICES");
        assert_says(aios_error_message(), wrong[i]);
    }
    (void)unsetenv("AIOS_CPU_DEVICES");
    (void)setenv("AIOS_CPU_THREADS", "no", 1);
    assert_fails(aios_device_open(context, "cpu", &device), AIOS_INVALID_ARGUMENT, "AIOS_CPU_THREADS");
    (void)unsetenv("AIOS_CPU_THREADS");
    (void)setenv("AIOS_CPU_ARCHITECTURE", "baseline", 1);
    assert_ok(aios_device_open(context, "cpu", &device));
    assert_string_equal(aios_device_get_info(device)->architecture, "baseline");
    aios_device_close(device);
    (void)setenv("AIOS_CPU_ARCHITECTURE", "z80", 1);
    assert_fails(aios_device_open(context, "cpu", &device), AIOS_UNSUPPORTED, "z80");
    (void)unsetenv("AIOS_CPU_ARCHITECTURE");
}

static void every_cpu_instruction_set_computes_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {"baseline", "avx2", "avx512"};
    enum { N = 1000 };
    static float x[N], y[3][N];
    for (int i = 0; i < N; i++) x[i] = (float)(i - 500) / 100;
    for (size_t a = 0; a < COUNT_OF(names); a++) {
        aios_device *cpu;
        aios_stream *stream;
        (void)setenv("AIOS_CPU_ARCHITECTURE", names[a], 1);
        aios_status status = aios_device_open(context, "cpu", &cpu);
        (void)unsetenv("AIOS_CPU_ARCHITECTURE");
        if (status == AIOS_UNSUPPORTED) {
            memcpy(y[a], y[0], sizeof y[a]);
            continue;
        }
        assert_int_equal(status, AIOS_OK);
        assert_ok(aios_stream_create(cpu, &stream));
        assert_ok(launch_gelu_forward(stream, AIOS_F32, 0, y[a], x, 10, N / 10));
        aios_stream_destroy(stream);
        aios_device_close(cpu);
        for (int i = 0; i < N; i++) assert_true(y[a][i] - y[0][i] < 1e-5f && y[0][i] - y[a][i] < 1e-5f);
    }
}

static void copies_and_fills_reach_every_byte(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {4, 64, 100000, (1 << 20) + 4, (5 << 20) + 60};
    aios_device *cpu;
    aios_stream *stream;
    assert_ok(aios_device_open(context, "cpu", &cpu));
    assert_ok(aios_stream_create(cpu, &stream));
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        uint32_t *a, *b;
        void *pa, *pb;
        assert_ok(aios_device_alloc(cpu, sizes[s], &pa));
        assert_ok(aios_device_host_alloc(cpu, sizes[s] + 4, &pb));
        a = pa;
        b = pb;
        b[sizes[s] / 4] = 77;
        assert_ok(aios_stream_fill(stream, a, 0x01020304, sizes[s]));
        for (uint64_t i = 0; i < sizes[s] / 4; i++) assert_int_equal(a[i], 0x01020304);
        for (uint64_t i = 0; i < sizes[s] / 4; i++) a[i] = (uint32_t)i;
        assert_ok(aios_stream_copy(stream, b, a, sizes[s], AIOS_COPY_DEVICE_TO_HOST));
        assert_memory_equal(a, b, sizes[s]);
        assert_int_equal(b[sizes[s] / 4], 77);
        assert_ok(aios_stream_fill(stream, a, 0, sizes[s]));
        for (uint64_t i = 0; i < sizes[s] / 4; i++) assert_int_equal(a[i], 0);
        aios_device_free(cpu, a);
        aios_device_host_free(cpu, b);
    }
    aios_event *from, *to;
    float ms = -1;
    assert_ok(aios_event_create(cpu, &from));
    assert_ok(aios_event_create(cpu, &to));
    assert_ok(aios_event_record(from, stream));
    os_sleep(0.01);
    assert_ok(aios_event_record(to, stream));
    assert_ok(aios_event_elapsed_ms(from, to, &ms));
    assert_true(ms >= 9 && ms < 10000);
    aios_event_destroy(from);
    aios_event_destroy(to);
    aios_stream_destroy(stream);
    aios_device_close(cpu);
}

/* What the host set up is as it was: rounding, subnormal numbers, OpenMP's number of threads. */
static void the_hosts_floating_point_and_openmp_stay_as_they_are(void **state)
{
    (void)state;
    enum { N = 256 };
    static float a[N * N], b[N * N], c[N * N];
    aios_device *cpu;
    aios_stream *stream;
    volatile float tiny = 1e-39f;
    int (*get)(void) = NULL;
    void (*set)(int) = NULL;
    void *omp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_LOCAL);
    if (omp) {
        void *symbols[] = {dlsym(omp, "omp_get_max_threads"), dlsym(omp, "omp_set_num_threads")};
        memcpy(&get, &symbols[0], sizeof get);
        memcpy(&set, &symbols[1], sizeof set);
        set(5);
    }
    assert_ok(aios_device_open(context, "cpu", &cpu));
    assert_ok(aios_stream_create(cpu, &stream));
    aios_gemm gemm = {
        .struct_size = sizeof gemm, .m = N, .n = N, .k = N, .batch = 1, .lda = N, .ldb = N, .ldc = N, .a = a, .b = b, .c = c, .alpha = 1};
    assert_ok(aios_stream_gemm(stream, &gemm));
    assert_ok(launch_gelu_forward(stream, AIOS_F32, 0, c, a, N, N));
    assert_true(tiny * 1.0f != 0.0f && tiny / 2.0f > 0.0f);
    assert_int_equal(fegetround(), FE_TONEAREST);
    if (omp) assert_int_equal(get(), 5);
    a[0] = 1e-39f; /* and subnormal numbers are zero while the device computes, on every thread */
    a[N * N - 1] = 1e-39f;
    assert_ok(launch_scale_add(stream, AIOS_F32, 0, c, a, N, N, 1.0f, 0));
    assert_true(c[0] == 0.0f && c[N * N - 1] == 0.0f);
    aios_stream_destroy(stream);
    aios_device_close(cpu);
}

struct crowd {
    aios_device *device;
    int failures;
};

static void *use_device(void *argument)
{
    struct crowd *crowd = argument;
    enum { N = 96 };
    float *x = calloc(N * N, sizeof *x), *y = calloc(N * N, sizeof *y);
    aios_stream *stream = NULL;
    crowd->failures += aios_stream_create(crowd->device, &stream) != AIOS_OK;
    for (int i = 0; i < N * N; i++) x[i] = (float)(i % 7);
    for (int round = 0; round < 30; round++) {
        void *memory;
        aios_gemm gemm = {.struct_size = sizeof gemm,
                          .m = N,
                          .n = N,
                          .k = N,
                          .batch = 1,
                          .lda = N,
                          .ldb = N,
                          .ldc = N,
                          .a = x,
                          .b = x,
                          .c = y,
                          .alpha = 1};
        crowd->failures += aios_device_alloc(crowd->device, 1000 + (uint64_t)round * 5000, &memory) != AIOS_OK;
        crowd->failures += aios_stream_gemm(stream, &gemm) != AIOS_OK;
        float want = 0;
        for (int i = 0; i < N; i++) want += x[i] * x[i * N];
        crowd->failures += y[0] != want;
        crowd->failures += launch_scale_add(stream, AIOS_F32, 0, y, x, N, N, 2.0f, 0) != AIOS_OK;
        crowd->failures += y[N * N - 1] != 2 * x[N * N - 1];
        aios_device_free(crowd->device, memory);
    }
    aios_stream_destroy(stream);
    free(x);
    free(y);
    return NULL;
}

static void several_threads_share_a_device(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct crowd crowds[4];
    aios_device *cpu;
    assert_ok(aios_device_open(context, "cpu", &cpu));
    for (int i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){cpu, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, use_device, &crowds[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(crowds[i].failures, 0);
    }
    uint64_t now, peak;
    aios_device_memory_used(cpu, &now, &peak);
    assert_int_equal(now, 0);
    aios_device_close(cpu);
}

static int open_group(void **state)
{
    (void)state;
    context = test_context();
    return 0;
}

static int close_group(void **state)
{
    (void)state;
    aios_context_destroy(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cpu_says_what_it_is),
        cmocka_unit_test(the_cores_are_split_as_the_environment_says),
        cmocka_unit_test(every_cpu_instruction_set_computes_the_same),
        cmocka_unit_test(copies_and_fills_reach_every_byte),
        cmocka_unit_test(the_hosts_floating_point_and_openmp_stay_as_they_are),
        cmocka_unit_test(several_threads_share_a_device),
    };
    return cmocka_run_group_tests_name("cpu", tests, open_group, close_group);
}
