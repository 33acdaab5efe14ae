/* aios doctor: what this machine offers and what is missing. */
#include "output.h"
#include "report.h"
#include "system.h"
#include "tool.h"

#include <aios/device.h>

#include <stdlib.h>
#include <string.h>

/* Libraries that libaios opens when it needs them, newest name first. */
static const struct {
    const char *what, *names[4];
} libraries[] = {
    {"oneDNN (gemm on the CPU)", {"libdnnl.so.3", "libdnnl.so.3.6", "libdnnl.so.2"}},
    {"CUDA driver", {"libcuda.so.1"}},
    {"cuBLASLt", {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"}},
    {"NCCL", {"libnccl.so.2"}},
    {"HIP runtime", {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"}},
    {"rocBLAS", {"librocblas.so.5", "librocblas.so.4", "librocblas.so.3"}},
    {"RCCL", {"librccl.so.1"}},
    {"Level Zero loader", {"libze_loader.so.1"}},
    {"libarchive (.zip, .tar)", {"libarchive.so.13"}},
    {"libcurl (hf://)", {"libcurl.so.4", "libcurl-gnutls.so.4"}},
};

/* Instruction sets that the kernels or the libraries below them make use of, as the kernel of Linux spells them. */
static const char *const features[] = {"sse4_2",   "avx",      "avx2",        "fma",         "f16c",        "avx512f",
                                       "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni",
                                       "amx_tile", "amx_bf16", "amx_int8",    "asimd",       "bf16",        "sve"};

static const char *const variables[] = {"AIOS_BACKEND_PATH",     "AIOS_DEVICE_DEADLINE", "AIOS_CPU_DEVICES",  "AIOS_CPU_THREADS",
                                        "AIOS_CPU_ARCHITECTURE", "AIOS_DDP_BACKEND",     "AIOS_NCCL",         "AIOS_RCCL",
                                        "AIOS_CUDA_IDS",         "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES",
                                        "ROCR_VISIBLE_DEVICES",  "GPU_DEVICE_ORDINAL",   "ZE_AFFINITY_MASK"};

static int has_feature(const struct system_cpu *cpu, const char *feature)
{
    size_t length = strlen(feature);
    for (const char *at = cpu->features; (at = strstr(at, feature)); at += length)
        if ((at == cpu->features || at[-1] == ' ') && at[length] == ' ') return 1;
    return 0;
}

/* Where tokenized corpora are kept unless cache-dir says otherwise. */
static void cache_folder(char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/')
        (void)snprintf(path, size, "%.*s/aios", folder_size(cache), cache);
    else
        (void)snprintf(path, size, "%.*s/.cache/aios", home ? folder_size(home) : 0, home ? home : "");
}

/* A folder that is not there yet counts by the nearest one above it. */
static const char *folder_verdict(const char *path)
{
    char above[1024];
    int state = system_folder_state(path);
    if (state == SYSTEM_NOT_A_FOLDER) return "not a folder";
    if (state != SYSTEM_NO_FOLDER) return state == SYSTEM_WRITABLE ? "writable" : "not writable";
    (void)snprintf(above, sizeof above, "%s", path);
    for (char *slash; state == SYSTEM_NO_FOLDER && (slash = strrchr(above, '/'));) {
        *slash = 0;
        state = system_folder_state(above[0] ? above : "/");
        if (!above[0]) break;
    }
    return state == SYSTEM_WRITABLE ? "can be made" : "can't be made";
}

static int find_library(size_t index, char *path, size_t size)
{
    for (size_t i = 0; i < COUNT_OF(libraries[0].names) && libraries[index].names[i]; i++)
        if (system_find_library(libraries[index].names[i], path, size)) return 1;
    return 0;
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static json_t *report_libraries(void)
{
    json_t *found = need_memory(json_array());
    char path[1024];
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        (void)json_array_append_new(found, json_pack("{ss so}", "name", libraries[i].what, "path",
                                                     find_library(i, path, sizeof path) ? json_from_text(path) : json_null()));
    return found;
}

static void print_doctor_json(const aios_device_list *list, const struct system_cpu *cpu, const char *cache)
{
    json_t *has = need_memory(json_array()), *environment = need_memory(json_object());
    for (size_t i = 0; i < COUNT_OF(features); i++)
        if (has_feature(cpu, features[i])) (void)json_array_append_new(has, json_string(features[i]));
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        const char *value = getenv(variables[i]);
        if (value) (void)json_object_set_new(environment, variables[i], json_from_text(value));
    }
    json_t *processor = json_pack("{so si sI sI so}", "name", json_from_text(cpu->name), "threads", cpu->usable, "memory_total",
                                  (json_int_t)cpu->memory_total, "memory_free", (json_int_t)cpu->memory_free, "features", has);
    print_json(json_pack("{ss so so so so s{s{so ss} s{ss ss}} so}", "version", aios_version(), "backends", report_backends(list),
                         "devices", report_devices(list, REPORT_GPUS | REPORT_CPUS), "cpu", processor, "libraries", report_libraries(),
                         "folders", "cache", "path", json_from_text(cache), "state", folder_verdict(cache), "working", "path", ".", "state",
                         folder_verdict("."), "environment", environment),
               stdout);
}

/* ---- as text ----------------------------------------------------------------------------------------------------- */

static void print_section(const char *title, struct grid *grid)
{
    (void)printf("\n%s\n", title);
    grid_print(grid, stdout);
    grid_free(grid);
}

static void print_backends(const aios_device_list *list)
{
    struct grid grid = {0, 0, 0, NULL};
    for (uint32_t i = 0; i < aios_device_list_backend_count(list); i++) {
        const aios_backend_entry *b = aios_device_list_get_backend(list, i);
        char name[24], state[64];
        (void)snprintf(name, sizeof name, "  %s", b->name);
        (void)snprintf(state, sizeof state, b->status == AIOS_OK ? "%d device%s" : "not usable", (int)b->device_count,
                       b->device_count == 1 ? "" : "s");
        grid_add(&grid, name, b->version[0] ? b->version : "-", state, b->path[0] ? b->path : "-");
        if (b->status != AIOS_OK) grid_add(&grid, "", "", "", b->reason[0] ? b->reason : aios_status_name(b->status));
    }
    print_section("Backends", &grid);
}

static void print_devices(const aios_device_list *list)
{
    struct grid grid = {0, 0, 0, NULL};
    for (uint32_t i = 0; i < aios_device_list_count(list); i++) {
        const aios_device_entry *device = aios_device_list_get(list, i);
        char spec[40], memory[2 * NUMBER_SIZE], total[NUMBER_SIZE], left[NUMBER_SIZE];
        (void)snprintf(spec, sizeof spec, "  %s", device->spec);
        (void)snprintf(memory, sizeof memory, "%s, %s free", show_bytes(device->info.memory_total, total),
                       show_bytes(device->memory_free, left));
        grid_add(&grid, spec, device->info.name, memory, device->info.architecture);
    }
    print_section("Devices", &grid);
}

static void print_cpu(const struct system_cpu *cpu)
{
    char total[NUMBER_SIZE], left[NUMBER_SIZE];
    (void)printf("\nProcessor\n  %s, %d thread%s, memory %s, %s free\n ", cpu->name[0] ? cpu->name : "unknown", cpu->usable,
                 cpu->usable == 1 ? "" : "s", show_bytes(cpu->memory_total, total), show_bytes(cpu->memory_free, left));
    for (size_t i = 0; i < COUNT_OF(features); i++)
        if (has_feature(cpu, features[i])) (void)printf(" %s", features[i]);
    (void)printf("\n");
}

static void print_surroundings(const char *cache)
{
    struct grid grid = {0, 0, 0, NULL};
    char path[1024];
    for (size_t i = 0; i < COUNT_OF(libraries); i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "  %s", libraries[i].what);
        grid_add(&grid, what, find_library(i, path, sizeof path) ? path : "not found");
    }
    print_section("Libraries that are opened when needed", &grid);
    grid_add(&grid, "  cache", cache, folder_verdict(cache));
    grid_add(&grid, "  working", ".", folder_verdict("."));
    print_section("Folders", &grid);
    for (size_t i = 0; i < COUNT_OF(variables); i++) {
        char name[64];
        const char *value = getenv(variables[i]);
        (void)snprintf(name, sizeof name, "  %s", variables[i]);
        if (value) grid_add(&grid, name, value);
    }
    if (grid.rows) print_section("Environment", &grid);
}

int run_doctor(struct tool *tool)
{
    aios_device_list *list;
    struct system_cpu cpu;
    char cache[1024];
    if (aios_device_list_create(tool->context, &list) != AIOS_OK) return tool_fail_library(TOOL_ERROR);
    uint32_t count = aios_device_list_count(list);
    system_get_cpu(&cpu);
    cache_folder(cache, sizeof cache);
    if (tool_json(tool)) {
        print_doctor_json(list, &cpu, cache);
    } else {
        (void)printf("aios %s\n", aios_version());
        print_backends(list);
        print_devices(list);
        print_cpu(&cpu);
        print_surroundings(cache);
    }
    aios_device_list_destroy(list);
    return count ? TOOL_DONE : tool_fail(TOOL_NO_DEVICE, "no usable device");
}
