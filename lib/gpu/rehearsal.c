#include "rehearsal.h"

#include "cpu/cpu.h"
#include "device.h"

#include <stdio.h>
#include <string.h>

#define FIRST_ADDRESS ((uint64_t)1 << 40) /* above what malloc gives, below what pointers hold */

struct rehearsal {
    aios_context *context;
    aios_device_entry entry;
    void *cpu; /* of the CPU: its handle, which knows how much workspace attention wants */
    aios_gpu_device table;
    aios_gemm_group gemm;
    aios_attention_group attention;
    os_mutex mutex;
    uint64_t next, pinned;
};

/* ---- what plans ask for ------------------------------------------------------------------------------------------- */

/* Which epilogues the plugins' gemm has, where their libraries are there. */
static uint32_t epilogues_of(const char *backend)
{
    if (strcmp(backend, "cuda") == 0) return (1u << AIOS_EPILOGUE_RESIDUAL) - 2;
    return 0;
}

static aios_status get_info(void *handle, aios_device_info *info)
{
    const struct rehearsal *r = handle;
    *info = r->entry.info;
    return AIOS_OK;
}

static aios_status get_memory_info(void *handle, uint64_t *free_bytes, uint64_t *total_bytes)
{
    const struct rehearsal *r = handle;
    *free_bytes = r->entry.memory_free;
    *total_bytes = r->entry.info.memory_total;
    return AIOS_OK;
}

static uint64_t packed_size(void *handle, const aios_gemm *gemm)
{
    const struct rehearsal *r = handle;
    return cpu_backend.device->gemm->packed_size(r->cpu, gemm);
}

static uint64_t workspace_size(void *handle, const aios_attention *shape, int32_t backward)
{
    const struct rehearsal *r = handle;
    return cpu_backend.device->attention->workspace_size(r->cpu, shape, backward);
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static aios_status alloc(void *handle, uint64_t size, void **pointer)
{
    struct rehearsal *r = handle;
    uint64_t step = (size + 4095) / 4096 * 4096;
    os_mutex_lock(&r->mutex);
    *pointer = (void *)(uintptr_t)r->next;
    r->next += step;
    os_mutex_unlock(&r->mutex);
    return AIOS_OK;
}

static aios_status host_alloc(void *handle, uint64_t size, void **pointer)
{
    struct rehearsal *r = handle;
    os_mutex_lock(&r->mutex);
    r->pinned += size;
    os_mutex_unlock(&r->mutex);
    return alloc(handle, size, pointer);
}

static void release(void *handle, void *pointer)
{
    (void)handle, (void)pointer;
}

static aios_status make(void *handle, void **made)
{
    *made = handle;
    return AIOS_OK;
}

/* ---- work that is not done ---------------------------------------------------------------------------------------- */

static aios_status open_none(int32_t index, void **device)
{
    (void)index;
    *device = NULL;
    return AIOS_OK;
}
static aios_status of_device(void *handle)
{
    (void)handle;
    return AIOS_OK;
}
static aios_status of_two(void *handle, void *object)
{
    (void)handle, (void)object;
    return AIOS_OK;
}
static aios_status of_three(void *handle, void *object, void *other)
{
    (void)handle, (void)object, (void)other;
    return AIOS_OK;
}
static aios_status elapsed_ms(void *handle, void *from, void *to, float *ms)
{
    (void)handle, (void)from, (void)to;
    *ms = 0;
    return AIOS_OK;
}
static aios_status copy(void *handle, void *stream, void *to, const void *from, uint64_t size, int32_t kind)
{
    (void)handle, (void)stream, (void)to, (void)from, (void)size, (void)kind;
    return AIOS_OK;
}
static aios_status fill(void *handle, void *stream, void *to, uint32_t pattern, uint64_t size)
{
    (void)handle, (void)stream, (void)to, (void)pattern, (void)size;
    return AIOS_OK;
}
static aios_status copy_peer(void *handle, void *stream, void *to, void *other, const void *from, uint64_t size)
{
    (void)handle, (void)stream, (void)to, (void)other, (void)from, (void)size;
    return AIOS_OK;
}
static aios_status load_kernels(void *handle, const aios_kernel *kernels, uint32_t count)
{
    (void)handle, (void)kernels, (void)count;
    return AIOS_OK;
}
static aios_status launch(void *handle, void *stream, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    (void)handle, (void)stream, (void)kernel, (void)teams, (void)arguments;
    return AIOS_OK;
}
static aios_status multiply(void *handle, void *stream, const aios_gemm *gemm)
{
    (void)handle, (void)stream, (void)gemm;
    return AIOS_OK;
}
static aios_status pack(void *handle, void *stream, const aios_gemm *gemm, void *packed)
{
    (void)handle, (void)stream, (void)gemm, (void)packed;
    return AIOS_OK;
}
static aios_status attend(void *handle, void *stream, const aios_attention *attention)
{
    (void)handle, (void)stream, (void)attention;
    return AIOS_OK;
}

static void close_rehearsal(void *handle)
{
    struct rehearsal *r = handle;
    aios_context *context = r->context;
    if (r->cpu) cpu_backend.device->close(r->cpu);
    os_mutex_destroy(&r->mutex);
    aios_memory_free(context, r);
    aios_context_release(context);
}

static const aios_gpu_device table = {
    .struct_size = sizeof table,
    .open = open_none,
    .close = close_rehearsal,
    .get_info = get_info,
    .get_memory_info = get_memory_info,
    .set_device = of_device,
    .synchronize = of_device,
    .create_stream = make,
    .destroy_stream = release,
    .synchronize_stream = of_two,
    .create_event = make,
    .destroy_event = release,
    .record_event = of_three,
    .wait_event = of_three,
    .synchronize_event = of_two,
    .elapsed_ms = elapsed_ms,
    .alloc = alloc,
    .free = release,
    .host_alloc = host_alloc,
    .host_free = release,
    .copy = copy,
    .fill = fill,
    .copy_peer = copy_peer,
    .load_kernels = load_kernels,
    .launch = launch,
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

aios_status rehearsal_open(aios_context *context, const aios_device_entry *entry, aios_device **device)
{
    *device = NULL;
    struct rehearsal *r = aios_new(context, struct rehearsal);
    if (!r) return AIOS_OUT_OF_MEMORY;
    r->context = aios_context_retain(context);
    r->entry = *entry;
    r->next = FIRST_ADDRESS;
    os_mutex_init(&r->mutex);
    r->table = table;
    r->gemm = (aios_gemm_group){.struct_size = sizeof r->gemm, .epilogues = epilogues_of(entry->info.backend), .gemm = multiply};
    r->attention = (aios_attention_group){sizeof r->attention, 0, workspace_size, attend, attend};
    r->table.gemm = &r->gemm;
    aios_status status = AIOS_OK;
    if (entry->info.kind == AIOS_DEVICE_CPU) {
        r->table.attention = &r->attention;
        r->gemm.epilogues = cpu_backend.device->gemm->epilogues;
        r->gemm.packed_size = packed_size;
        r->gemm.pack = pack;
        status = cpu_backend.device->open(entry->info.index, &r->cpu);
    }
    if (status != AIOS_OK) {
        close_rehearsal(r);
        return status;
    }
    return device_adopt(context, &cpu_backend, &r->table, r, &entry->info, device);
}

uint64_t rehearsal_pinned(const aios_device *device)
{
    return ((const struct rehearsal *)device->handle)->pinned;
}

/* What decides about workspaces is how many teams fill the device: of a big one of its make. */
aios_status rehearsal_typical(const char *backend, int32_t index, aios_device_entry *entry)
{
    static const struct {
        const char *backend, *name;
        int32_t units, teams_per_unit, team_size;
    } makes[] = {{"cuda", "an NVIDIA GPU of 132 multiprocessors", 132, 8, 256},
                 {"hip", "an AMD GPU of 304 compute units", 304, 8, 256},
                 {"xpu", "an Intel GPU of 32 Xe cores", 32, 8, 256}};
    for (size_t i = 0; i < COUNT_OF(makes); i++) {
        if (strcmp(makes[i].backend, backend) != 0) continue;
        *entry = (aios_device_entry){.struct_size = sizeof *entry, .id = -1};
        aios_device_info *info = &entry->info;
        info->struct_size = sizeof *info;
        info->index = index;
        info->alignment = 256;
        info->compute_units = makes[i].units;
        info->teams = makes[i].units * makes[i].teams_per_unit;
        info->team_size = makes[i].team_size;
        info->storage_types = 1u << AIOS_F32 | 1u << AIOS_BF16 | 1u << AIOS_F16;
        (void)snprintf(info->backend, sizeof info->backend, "%s", backend);
        (void)snprintf(info->name, sizeof info->name, "%s", makes[i].name);
        (void)snprintf(entry->spec, sizeof entry->spec, "%s:%d", backend, (int)index);
        return AIOS_OK;
    }
    return FAIL(AIOS_NOT_FOUND, "backend '%s' is not known: cuda, hip and xpu are", backend);
}
