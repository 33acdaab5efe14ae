#include "cpu.h"

#include "device.h"
#include "float_mode.h"
#include "gpu/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Below this a call is over before the other threads have woken up. */
#define SHARED_BYTES ((uint64_t)256 << 10)

/* ---- processors -------------------------------------------------------------------------------------------------- */

/* A number of the environment between 1 and most; *value stays where it is unset. */
static aios_status read_number(const char *name, int32_t most, int32_t *value)
{
    const char *text = os_environment(name);
    if (!text) return AIOS_OK;
    char *end;
    long number = strtol(text, &end, 10);
    if (*end || end == text || number < 1 || number > most)
        return FAIL(AIOS_INVALID_ARGUMENT, "the environment variable %s is \"%s\": it must be a number from 1 to %d", name, text,
                    (int)most);
    *value = (int32_t)number;
    return AIOS_OK;
}

static aios_status count_cpus(int32_t *count)
{
    *count = 1;
    return read_number("AIOS_CPU_DEVICES", 1024, count);
}

struct architecture {
    const char *name;
    const cpu_kernel_fn *kernels;
    const cpu_vector *vector;
    int there;
};

static aios_status choose_architecture(struct architecture *chosen)
{
    struct architecture all[] = {
#if defined(__x86_64__)
        {"avx512", cpu_kernels_avx512, &cpu_vector_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")},
        {"avx2", cpu_kernels_avx2, &cpu_vector_avx2,
         __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")},
#endif
        {"baseline", cpu_kernels_baseline, &cpu_vector_baseline, 1},
    };
    const char *wanted = os_environment("AIOS_CPU_ARCHITECTURE");
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (all[i].there && (!wanted || strcmp(wanted, all[i].name) == 0)) {
            *chosen = all[i];
            return AIOS_OK;
        }
    return FAIL(AIOS_UNSUPPORTED, "the environment variable AIOS_CPU_ARCHITECTURE is \"%s\": this processor does at most %s", wanted,
                all[0].there ? all[0].name : all[COUNT_OF(all) - 1].name);
}

static int has_tiles_f32(const cpu_vector *vector)
{
#if defined(__x86_64__)
    return vector == &cpu_vector_avx512;
#else
    (void)vector;
    return 0;
#endif
}

/* AMX multiplies whole tiles of bf16, several times faster than AVX-512: that is oneDNN's. */
static enum cpu_gemm choose_bf16(const cpu_vector *vector)
{
#if defined(__x86_64__)
    unsigned a, b, c, d, amx_bf16 = 1u << 22;
    if (vector == &cpu_vector_avx512 && __builtin_cpu_supports("avx512bf16"))
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & amx_bf16) ? CPU_GEMM_ONEDNN : CPU_GEMM_TILES;
#endif
    (void)vector;
    return CPU_GEMM_WIDENED;
}

/* ---- device ------------------------------------------------------------------------------------------------------ */

static void cpu_close(void *handle)
{
    cpu_device *device = handle;
    aios_context *context = device->context;
    pool_destroy(device->pool);
    os_mutex_destroy(&device->mutex);
    os_pages_free(device->scratch);
    aios_memory_free(context, device);
    aios_context_release(context);
}

static aios_status cpu_open(int32_t index, void **handle)
{
    int32_t devices, threads = os_cpu_count();
    struct architecture architecture = {0};
    TRY_QUIET(count_cpus(&devices));
    TRY_QUIET(read_number("AIOS_CPU_THREADS", 4096, &threads));
    TRY_QUIET(choose_architecture(&architecture));
    if (index < 0 || index >= devices) return FAIL(AIOS_NOT_FOUND, "there is no CPU device %d: there are %d", (int)index, (int)devices);

    aios_context *context = host_context(), *own = NULL;
    if (!context) TRY_QUIET(aios_context_create(NULL, &own)); /* the table was called without the wrappers */
    cpu_device *device = aios_new(context ? context : own, cpu_device);
    if (!device) {
        aios_context_destroy(own);
        return AIOS_OUT_OF_MEMORY;
    }
    device->context = context ? aios_context_retain(context) : own;
    device->index = index;
    device->devices = devices;
    device->threads = threads * (index + 1) / devices - threads * index / devices;
    if (device->threads < 1) device->threads = 1;
    device->architecture = architecture.name;
    device->kernels = architecture.kernels;
    device->vector = architecture.vector;
    device->f32 = has_tiles_f32(architecture.vector) ? CPU_GEMM_TILES : CPU_GEMM_ONEDNN;
    device->bf16 = choose_bf16(architecture.vector);
    os_mutex_init(&device->mutex);
    *handle = device;
    return AIOS_OK;
}

static aios_status cpu_get_memory_info(void *handle, uint64_t *free_bytes, uint64_t *total_bytes)
{
    const cpu_device *device = handle; /* the devices share one memory */
    *free_bytes = os_memory_free() / (uint64_t)device->devices;
    *total_bytes = os_memory_total() / (uint64_t)device->devices;
    return AIOS_OK;
}

static aios_status cpu_get_info(void *handle, aios_device_info *info)
{
    const cpu_device *device = handle;
    uint64_t free_bytes;
    os_cpu_model(info->name, sizeof info->name, info->vendor, sizeof info->vendor);
    if (!info->name[0]) (void)snprintf(info->name, sizeof info->name, "CPU");
    if (strcmp(info->vendor, "AuthenticAMD") == 0) (void)snprintf(info->vendor, sizeof info->vendor, "AMD");
    if (strcmp(info->vendor, "GenuineIntel") == 0) (void)snprintf(info->vendor, sizeof info->vendor, "Intel");
    info->kind = AIOS_DEVICE_CPU;
    (void)snprintf(info->architecture, sizeof info->architecture, "%s", device->architecture);
    TRY_QUIET(cpu_get_memory_info(handle, &free_bytes, &info->memory_total));
    info->alignment = 4096;
    info->compute_units = info->teams = device->threads;
    info->team_size = 1;
    info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
    info->fast_gemm_types = device->bf16 == CPU_GEMM_WIDENED ? 0 : 1u << AIOS_BF16;
    info->host_accessible = 1;
    return AIOS_OK;
}

static aios_status do_nothing(void *handle)
{
    (void)handle;
    return AIOS_OK;
}

/* ---- the crew ---------------------------------------------------------------------------------------------------- */

static void start_thread(void)
{
    (void)float_mode_own();
}

aios_status cpu_run(cpu_device *device, void (*run)(void *, int, int), void *user)
{
    if (!device->pool)
        TRY(pool_create(device->context, device->threads, start_thread, &device->pool), "starting %d threads", (int)device->threads);
    if (pool_of_another_process(device->pool))
        return FAIL(AIOS_WRONG_STATE,
                    "this process is a fork of the one that used the CPU device, whose threads it has not: open a device anew");
    uint64_t before = float_mode_own();
    pool_run(device->pool, run, user);
    float_mode_set(before);
    return AIOS_OK;
}

aios_status cpu_need_onednn(cpu_device *device)
{
    if (device->dnn_state == 0) {
        device->dnn_state = onednn_open(&device->dnn) == AIOS_OK ? 1 : -1;
        if (device->dnn_state < 0)
            aios_log(device->context, AIOS_LOG_WARNING, "%s; the CPU multiplies matrices by its portable kernels, many times slower",
                     aios_error_message());
        if (device->bf16 == CPU_GEMM_ONEDNN && !device->dnn.dnnl_gemm_bf16bf16f32) device->bf16 = CPU_GEMM_TILES;
    }
    return device->dnn_state > 0 ? AIOS_OK : FAIL(AIOS_UNSUPPORTED, "oneDNN is not on this machine");
}

/* ---- streams, events: every call is done when it returns ---------------------------------------------------------- */

typedef struct cpu_event {
    cpu_device *device;
    _Atomic double time;
} cpu_event;

static aios_status cpu_create_stream(void *handle, void **stream)
{
    *stream = handle;
    return AIOS_OK;
}

static void cpu_destroy_stream(void *handle, void *stream)
{
    (void)handle;
    (void)stream;
}

static aios_status cpu_synchronize_stream(void *handle, void *stream)
{
    (void)handle;
    (void)stream;
    return AIOS_OK;
}

static aios_status cpu_create_event(void *handle, void **event)
{
    cpu_device *device = handle;
    cpu_event *made = aios_new(device->context, cpu_event);
    *event = made;
    return made ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static void cpu_destroy_event(void *handle, void *event)
{
    aios_memory_free(((cpu_device *)handle)->context, event);
}

static aios_status cpu_record_event(void *handle, void *event, void *stream)
{
    (void)handle;
    (void)stream;
    atomic_store(&((cpu_event *)event)->time, os_now());
    return AIOS_OK;
}

static aios_status cpu_wait_event(void *handle, void *stream, void *event)
{
    (void)handle;
    (void)stream;
    (void)event;
    return AIOS_OK;
}

static aios_status cpu_synchronize_event(void *handle, void *event)
{
    (void)handle;
    (void)event;
    return AIOS_OK;
}

static aios_status cpu_elapsed_ms(void *handle, void *from, void *to, float *ms)
{
    (void)handle;
    *ms = (float)((atomic_load(&((cpu_event *)to)->time) - atomic_load(&((cpu_event *)from)->time)) * 1e3);
    return AIOS_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static aios_status cpu_alloc(void *handle, uint64_t size, void **pointer)
{
    (void)handle;
    *pointer = size <= os_memory_total() ? os_pages_alloc((size_t)size) : NULL;
    return *pointer ? AIOS_OK : FAIL(AIOS_DEVICE_OUT_OF_MEMORY, "the system has no %llu bytes", (unsigned long long)size);
}

static void cpu_free(void *handle, void *pointer)
{
    (void)handle;
    os_pages_free(pointer);
}

struct transfer {
    char *to;
    const char *from; /* NULL: fill */
    uint64_t size;
    uint32_t pattern;
};

static void transfer_part(void *user, int index, int count)
{
    const struct transfer *t = user;
    uint64_t grains = (t->size + 63) / 64, parts = (uint64_t)count;
    uint64_t begin = grains * (uint64_t)index / parts * 64, end = grains * ((uint64_t)index + 1) / parts * 64;
    if (end > t->size) end = t->size;
    if (t->from)
        memcpy(t->to + begin, t->from + begin, end - begin);
    else if (t->pattern == 0)
        memset(t->to + begin, 0, end - begin);
    else
        for (uint64_t i = begin; i < end; i += sizeof t->pattern) memcpy(t->to + i, &t->pattern, sizeof t->pattern);
}

static aios_status transfer(cpu_device *device, struct transfer *t)
{
    if (t->size < SHARED_BYTES) {
        transfer_part(t, 0, 1);
        return AIOS_OK;
    }
    os_mutex_lock(&device->mutex);
    aios_status status = cpu_run(device, transfer_part, t);
    os_mutex_unlock(&device->mutex);
    return status;
}

static aios_status cpu_copy(void *handle, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    (void)stream;
    (void)kind;
    if ((char *)to < (const char *)from + size && (const char *)from < (char *)to + size) {
        memmove(to, from, size);
        return AIOS_OK;
    }
    return transfer(handle, &(struct transfer){to, from, size, 0});
}

static aios_status cpu_fill(void *handle, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    (void)stream;
    return transfer(handle, &(struct transfer){to, NULL, size, pattern});
}

static aios_status cpu_copy_peer(void *handle, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    (void)other;
    return cpu_copy(handle, stream, to, from, size, AIOS_COPY_DEVICE_TO_DEVICE);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

static aios_status cpu_load_kernels(void *handle, const aios_kernel *kernels, uint32_t count)
{
    (void)kernels;
    ((cpu_device *)handle)->kernel_count = count;
    return AIOS_OK;
}

struct launch {
    cpu_kernel_fn kernel;
    int32_t teams;
    const void *const *arguments;
};

static void run_teams(void *user, int index, int count)
{
    const struct launch *launch = user;
    for (int32_t team = index; team < launch->teams; team += count) launch->kernel(team, launch->teams, launch->arguments);
}

static aios_status cpu_launch(void *handle, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    cpu_device *device = handle;
    struct launch launch = {device->kernels[kernel], (int32_t)teams, arguments};
    (void)stream;
    os_mutex_lock(&device->mutex);
    aios_status status = cpu_run(device, run_teams, &launch);
    os_mutex_unlock(&device->mutex);
    return status;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const aios_gpu_device table = {
    .struct_size = sizeof table,
    .open = cpu_open,
    .close = cpu_close,
    .get_info = cpu_get_info,
    .get_memory_info = cpu_get_memory_info,
    .set_device = do_nothing,
    .synchronize = do_nothing,
    .create_stream = cpu_create_stream,
    .destroy_stream = cpu_destroy_stream,
    .synchronize_stream = cpu_synchronize_stream,
    .create_event = cpu_create_event,
    .destroy_event = cpu_destroy_event,
    .record_event = cpu_record_event,
    .wait_event = cpu_wait_event,
    .synchronize_event = cpu_synchronize_event,
    .elapsed_ms = cpu_elapsed_ms,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .host_alloc = cpu_alloc,
    .host_free = cpu_free,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .copy_peer = cpu_copy_peer,
    .load_kernels = cpu_load_kernels,
    .launch = cpu_launch,
    .gemm = &cpu_gemm_group,
    .attention = &cpu_attention_group,
};

const aios_backend cpu_backend = {
    .struct_size = sizeof cpu_backend,
    .abi = AIOS_BACKEND_ABI,
    .name = "cpu",
    .vendor = "",
    .version = "0.1.0",
    .device_count = count_cpus,
    .device = &table,
};
