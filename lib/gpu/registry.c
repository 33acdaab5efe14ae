#include "registry.h"

#include "base/os.h"
#include "call.h"
#include "cpu/cpu.h"
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE OS_PATH_MAX

static const char *const vendors[] = {"cuda", "xpu", "hip"}; /* the order of the global GPU ids */

/* ---- plugins: loaded once per process, never unloaded ------------------------------------------------------------ */

struct plugin {
    struct plugin *next;
    void *library;
    const aios_backend *backend;
    aios_status status;
    char reason[256];
};

/* The one mutable global of libaios: vendors' runtimes neither load twice nor unload. */
static struct {
    os_mutex mutex;
    struct plugin *plugins;
} process = {OS_MUTEX_INIT, NULL};

#define ENTRY_(function)                                                                                                                   \
    {                                                                                                                                      \
#function, offsetof(aios_gpu_device, function)                                                                                     \
    }
static const struct {
    const char *name;
    size_t offset;
} mandatory[] = {
    ENTRY_(open),          ENTRY_(close),         ENTRY_(get_info),       ENTRY_(get_memory_info),    ENTRY_(set_device),
    ENTRY_(synchronize),   ENTRY_(create_stream), ENTRY_(destroy_stream), ENTRY_(synchronize_stream), ENTRY_(create_event),
    ENTRY_(destroy_event), ENTRY_(record_event),  ENTRY_(wait_event),     ENTRY_(synchronize_event),  ENTRY_(elapsed_ms),
    ENTRY_(alloc),         ENTRY_(free),          ENTRY_(host_alloc),     ENTRY_(host_free),          ENTRY_(copy),
    ENTRY_(fill),          ENTRY_(load_kernels),  ENTRY_(launch),
};
#undef ENTRY_

/* What every minor of this major has; a later minor appends. */
#define TABLE_LEAST   (offsetof(aios_gpu_device, telemetry) + sizeof(void *))
#define BACKEND_LEAST (offsetof(aios_backend, device) + sizeof(void *))
#define GEMM_LEAST    offsetof(aios_gemm_group, packed_size)

static aios_status check_entries(const char *name, const aios_gpu_device *device)
{
    for (size_t i = 0; i < COUNT_OF(mandatory); i++) {
        void (*function)(void);
        memcpy(&function, (const char *)device + mandatory[i].offset, sizeof function);
        if (!function) return FAIL(AIOS_CORRUPT, "backend %s's device table lacks %s", name, mandatory[i].name);
    }
    return AIOS_OK;
}

static int has_all_collectives(const aios_collective_group *g)
{
    return g->struct_size >= sizeof *g && g->types && g->get_version && g->get_unique_id && g->create && g->query && g->abort &&
           g->destroy && g->all_reduce && g->reduce_scatter && g->all_gather && g->broadcast;
}

static aios_status check_groups(const char *name, const aios_gpu_device *device)
{
    if (device->gemm && (device->gemm->struct_size < GEMM_LEAST || !device->gemm->gemm))
        return FAIL(AIOS_CORRUPT, "backend %s has an incomplete gemm group", name);
    const aios_attention_group *attention = device->attention;
    if (attention &&
        (attention->struct_size < sizeof *attention || !attention->workspace_size || !attention->forward || !attention->backward))
        return FAIL(AIOS_CORRUPT, "backend %s has an incomplete attention group", name);
    const aios_capture_group *capture = device->capture;
    if (capture && (capture->struct_size < sizeof *capture || !capture->begin || !capture->end || !capture->replay || !capture->destroy))
        return FAIL(AIOS_CORRUPT, "backend %s has an incomplete capture group", name);
    if (device->collectives && !has_all_collectives(device->collectives))
        return FAIL(AIOS_CORRUPT, "backend %s has an incomplete collectives group", name);
    if (device->telemetry && (device->telemetry->struct_size < sizeof(aios_telemetry_group) || !device->telemetry->read))
        return FAIL(AIOS_CORRUPT, "backend %s has an incomplete telemetry group", name);
    return AIOS_OK;
}

aios_status registry_check(const aios_backend *backend)
{
    if (!backend) return FAIL(AIOS_CORRUPT, "%s gave no backend", AIOS_BACKEND_QUERY_SYMBOL);
    if (backend->abi >> 16 != AIOS_BACKEND_ABI_MAJOR)
        return FAIL(AIOS_ABI_MISMATCH, "the plugin was built for backend ABI %u.%u and this library speaks %d.%d: rebuild the plugin",
                    (unsigned)(backend->abi >> 16), (unsigned)(backend->abi & 0xffff), AIOS_BACKEND_ABI_MAJOR, AIOS_BACKEND_ABI_MINOR);
    if (backend->struct_size < BACKEND_LEAST)
        return FAIL(AIOS_ABI_MISMATCH, "the plugin's aios_backend has %u bytes: at least %zu are needed", (unsigned)backend->struct_size,
                    BACKEND_LEAST);
    if (!backend->name || !backend->name[0] || strlen(backend->name) >= sizeof((aios_backend_entry *)0)->name)
        return FAIL(AIOS_CORRUPT, "the plugin has no name of 1 to %zu bytes", sizeof((aios_backend_entry *)0)->name - 1);
    for (const char *c = backend->name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (c > backend->name && *c >= '0' && *c <= '9')))
            return FAIL(AIOS_CORRUPT, "backend name \"%s\": small letters, then digits, are allowed", backend->name);
    if (!backend->device_count || !backend->device) return FAIL(AIOS_CORRUPT, "backend %s has no device table", backend->name);
    if (backend->device->struct_size < TABLE_LEAST)
        return FAIL(AIOS_ABI_MISMATCH, "backend %s's device table has %u bytes: at least %zu are needed", backend->name,
                    (unsigned)backend->device->struct_size, TABLE_LEAST);
    TRY_QUIET(check_entries(backend->name, backend->device));
    return check_groups(backend->name, backend->device);
}

static aios_status query(aios_context *context, void *library, const char *path, const aios_backend **backend)
{
    aios_backend_query_fn ask;
    void *symbol = os_library_symbol(library, AIOS_BACKEND_QUERY_SYMBOL);
    if (!symbol) return FAIL(AIOS_CORRUPT, "%s has no symbol %s: it is no aios backend", path, AIOS_BACKEND_QUERY_SYMBOL);
    memcpy(&ask, &symbol, sizeof ask); /* ISO C has no cast from object to function pointer */
    static const aios_backend nameless = {.name = "new"};
    host_enter(context);
    TRY_QUIET(host_leave(&nameless, ask(AIOS_BACKEND_ABI, host_services(), backend)));
    return registry_check(*backend);
}

/* The caller holds the mutex.  NULL with an error record: not a library, or no memory. */
static const struct plugin *load(aios_context *context, const char *path)
{
    const aios_backend *backend = NULL;
    void *library = os_library_open(path);
    if (!library) return NULL;
    for (const struct plugin *known = process.plugins; known; known = known->next)
        if (known->library == library) return known; /* the loader knows the same file by every path */
    struct plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin) {
        (void)FAIL(AIOS_OUT_OF_MEMORY, "no memory to load %s", path);
        return NULL;
    }
    plugin->library = library;
    plugin->status = query(context, library, path, &backend);
    if (plugin->status == AIOS_OK)
        plugin->backend = backend;
    else
        (void)snprintf(plugin->reason, sizeof plugin->reason, "%s", aios_error_message());
    plugin->next = process.plugins;
    process.plugins = plugin;
    return plugin;
}

/* ---- what there is ----------------------------------------------------------------------------------------------- */

static aios_status add_slot(backend_table *table, const char *name, const char *path, backend_slot **slot)
{
    TRY_QUIET(aios_memory_grow(table->context, (void **)&table->slots, &table->capacity, table->count + 1, sizeof *table->slots));
    backend_slot *added = &table->slots[table->count++];
    memset(added, 0, sizeof *added);
    added->entry.struct_size = sizeof added->entry;
    (void)snprintf(added->entry.name, sizeof added->entry.name, "%s", name);
    (void)snprintf(added->entry.path, sizeof added->entry.path, "%s", path);
    *slot = added;
    return AIOS_OK;
}

/* Keeps this thread's error record as the reason why a backend can't be used. */
static void refuse(backend_slot *slot, aios_status status)
{
    slot->backend = NULL;
    slot->entry.status = status;
    (void)snprintf(slot->entry.reason, sizeof slot->entry.reason, "%s", aios_error_message());
}

/* Who hung once is not called again in this process. */
static void give_up(const aios_backend *backend, aios_status status)
{
    os_mutex_lock(&process.mutex);
    for (struct plugin *plugin = process.plugins; plugin; plugin = plugin->next) {
        if (plugin->backend != backend) continue;
        plugin->backend = NULL;
        plugin->status = status;
        (void)snprintf(plugin->reason, sizeof plugin->reason, "%s", aios_error_message());
    }
    os_mutex_unlock(&process.mutex);
}

static aios_status ask_count(aios_context *context, const aios_backend *backend, int32_t *count)
{
    driver_call call = {.kind = CALL_device_count};
    double deadline = aios_context_device_deadline(context);
    call_proxy *proxy = NULL;
    aios_status status;
    if (backend == &cpu_backend || deadline == 0) {
        status = call_make(context, backend, NULL, &call);
    } else {
        TRY_QUIET(proxy_create(context, backend, &proxy));
        status = proxy_call(&proxy, NULL, &call, deadline);
        if (!proxy) give_up(backend, status);
        proxy_destroy(proxy);
    }
    *count = call.number;
    return status;
}

static void count_devices(backend_table *table, backend_slot *slot, const aios_backend *backend)
{
    int32_t count = 0;
    slot->backend = backend;
    (void)snprintf(slot->entry.name, sizeof slot->entry.name, "%s", backend->name);
    (void)snprintf(slot->entry.version, sizeof slot->entry.version, "%s", backend->version ? backend->version : "");
    aios_status status = ask_count(table->context, backend, &count);
    if (status == AIOS_OK && count < 0) status = FAIL(AIOS_DEVICE_ERROR, "backend %s counts %d devices", backend->name, (int)count);
    if (status != AIOS_OK)
        refuse(slot, status);
    else
        slot->entry.device_count = count;
}

static const backend_slot *find_usable(const backend_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->slots[i].backend && strcmp(table->slots[i].entry.name, name) == 0) return &table->slots[i];
    return NULL;
}

/* name: what to call it where the plugin can't say. */
static aios_status add_plugin(backend_table *table, const char *name, const char *path)
{
    backend_slot *slot;
    os_mutex_lock(&process.mutex);
    const struct plugin *plugin = load(table->context, path);
    os_mutex_unlock(&process.mutex);
    if (!plugin && aios_error_status() == AIOS_OUT_OF_MEMORY) return AIOS_OUT_OF_MEMORY;
    const backend_slot *twin = plugin && plugin->backend ? find_usable(table, plugin->backend->name) : NULL;
    char twin_path[sizeof twin->entry.path] = "";
    if (twin) memcpy(twin_path, twin->entry.path, sizeof twin_path);
    if (!plugin) {
        aios_error_record record;
        aios_error_save(&record);
        TRY_QUIET(add_slot(table, name, path, &slot));
        refuse(slot, aios_error_restore(&record));
        return AIOS_OK;
    }
    TRY_QUIET(add_slot(table, name, path, &slot));
    if (!plugin->backend) {
        slot->entry.status = plugin->status;
        memcpy(slot->entry.reason, plugin->reason, sizeof slot->entry.reason);
    } else if (twin) {
        (void)snprintf(slot->entry.name, sizeof slot->entry.name, "%s", plugin->backend->name);
        refuse(slot, FAIL(AIOS_ALREADY_EXISTS, "a backend named %s was found before: %s", plugin->backend->name, twin_path));
    } else {
        count_devices(table, slot, plugin->backend);
    }
    return AIOS_OK;
}

/* ---- where plugins are searched ---------------------------------------------------------------------------------- */

struct search {
    backend_table *table;
    const char *folder;
    char seen[1024]; /* " cuda xpu ": what an earlier folder had */
    char searched[512];
};

/* "libaios-cuda.so" -> "cuda"; 0 where a file name has another form. */
static int plugin_name(const char *file, char *name, size_t size)
{
    static const char prefix[] = "libaios-", suffix[] = ".so";
    size_t length = strlen(file);
    if (length < sizeof prefix + sizeof suffix - 1 || strncmp(file, prefix, sizeof prefix - 1) != 0) return 0;
    size_t middle = length - (sizeof prefix - 1) - (sizeof suffix - 1);
    if (strcmp(file + length - (sizeof suffix - 1), suffix) != 0) return 0;
    (void)snprintf(name, size, "%.*s", (int)middle, file + sizeof prefix - 1);
    return 1;
}

static aios_status visit_file(void *user, const char *file)
{
    struct search *search = user;
    char name[16], word[20], path[PATH_SIZE];
    if (!plugin_name(file, name, sizeof name)) return AIOS_OK;
    (void)snprintf(word, sizeof word, " %s ", name);
    if (strstr(search->seen, word)) return AIOS_OK;
    size_t used = strlen(search->seen);
    (void)snprintf(search->seen + used, sizeof search->seen - used, "%s", word);
    TRY_QUIET(os_path_join(path, search->folder, file));
    return add_plugin(search->table, name, path);
}

static void add_searched(struct search *search, const char *what)
{
    size_t used = strlen(search->searched);
    (void)snprintf(search->searched + used, sizeof search->searched - used, "%s%.250s", used ? ", " : "", what);
}

static aios_status search_folder(struct search *search, const char *folder)
{
    search->folder = folder;
    add_searched(search, folder);
    if (os_path_kind(folder) != OS_FOLDER) return AIOS_OK;
    aios_status status = os_folder_list(search->table->context, folder, visit_file, search);
    if (status == AIOS_OK || status == AIOS_OUT_OF_MEMORY) return status;
    aios_log(search->table->context, AIOS_LOG_WARNING, "looking for plugins: %s", aios_error_message());
    return AIOS_OK;
}

static aios_status search_element(struct search *search, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    char name[16];
    backend_slot *slot;
    if (!plugin_name(file, name, sizeof name)) (void)snprintf(name, sizeof name, "%.15s", *file ? file : "plugin");
    if (path[0] != '/') {
        TRY_QUIET(add_slot(search->table, name, path, &slot));
        refuse(slot, FAIL(AIOS_INVALID_ARGUMENT, "AIOS_BACKEND_PATH names \"%s\": give a path that starts with /", path));
        return AIOS_OK;
    }
    switch (os_path_kind(path)) {
    case OS_FOLDER: return search_folder(search, path);
    case OS_NOTHING:
        TRY_QUIET(add_slot(search->table, name, path, &slot));
        refuse(slot, FAIL(AIOS_NOT_FOUND, "AIOS_BACKEND_PATH names %s, which is not there", path));
        return AIOS_OK;
    default: add_searched(search, path); return add_plugin(search->table, name, path);
    }
}

static aios_status search_path(struct search *search, const char *list)
{
    char path[PATH_SIZE];
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ":");
        if (length >= sizeof path)
            return FAIL(AIOS_OUT_OF_RANGE, "AIOS_BACKEND_PATH has a path of %zu bytes: at most %zu", length, sizeof path - 1);
        if (length) {
            memcpy(path, at, length);
            path[length] = 0;
            TRY_QUIET(search_element(search, path));
        }
        at += length + (at[length] == ':');
    }
    return AIOS_OK;
}

static aios_status search_installed(struct search *search)
{
    char folder[PATH_SIZE - 8], path[PATH_SIZE];
    if (os_library_folder(folder, sizeof folder) == AIOS_OK) {
        (void)snprintf(path, sizeof path, "%s/aios", folder);
        TRY_QUIET(search_folder(search, path));
        if (strcmp(path, AIOS_PLUGIN_FOLDER) == 0) return AIOS_OK;
    }
    return search_folder(search, AIOS_PLUGIN_FOLDER);
}

static aios_status add_missing(struct search *search)
{
    char file[32];
    for (size_t v = 0; v < COUNT_OF(vendors); v++) {
        backend_slot *slot;
        int found = 0;
        for (size_t i = 0; i < search->table->count; i++) found |= strcmp(search->table->slots[i].entry.name, vendors[v]) == 0;
        if (found) continue;
        (void)snprintf(file, sizeof file, "libaios-%s.so", vendors[v]);
        TRY_QUIET(add_slot(search->table, vendors[v], file, &slot));
        refuse(slot,
               FAIL(AIOS_UNAVAILABLE, "plugin %s not found in %s", file, search->searched[0] ? search->searched : "AIOS_BACKEND_PATH"));
    }
    return AIOS_OK;
}

static size_t rank(const backend_slot *slot)
{
    size_t v = 0;
    if (slot->backend == &cpu_backend) return 0;
    while (v < COUNT_OF(vendors) && strcmp(slot->entry.name, vendors[v]) != 0) v++;
    return v + 1;
}

static int by_rank(const void *a, const void *b)
{
    const backend_slot *x = a, *y = b;
    size_t rx = rank(x), ry = rank(y);
    if (rx != ry) return rx < ry ? -1 : 1;
    int order = strcmp(x->entry.name, y->entry.name);
    return order ? order : strcmp(x->entry.path, y->entry.path);
}

aios_status registry_scan(aios_context *context, backend_table *table)
{
    aios_status status = AIOS_OK;
    backend_slot *slot;
    struct search search = {.table = table};
    *table = (backend_table){.context = context};
    ATTEMPT_QUIET(add_slot(table, cpu_backend.name, "built in", &slot));
    count_devices(table, slot, &cpu_backend);
    const char *list = os_environment("AIOS_BACKEND_PATH");
    ATTEMPT_QUIET(list ? search_path(&search, list) : search_installed(&search));
    ATTEMPT_QUIET(add_missing(&search));
    qsort(table->slots + 1, table->count - 1, sizeof *table->slots, by_rank);
done:
    if (status != AIOS_OK) registry_free(table);
    return status;
}

void registry_free(backend_table *table)
{
    aios_memory_free(table->context, table->slots);
    table->slots = NULL;
    table->count = table->capacity = 0;
}
