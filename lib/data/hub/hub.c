#include "hub.h"

#include "base/os.h"
#include "fetch.h"

#include <ctype.h>
#include <string.h>

#define DEFAULT_ENDPOINT "https://huggingface.co"
#define DEPTH_MOST       32

int hub_is_spec(const char *path)
{
    return strncmp(path, HUB_PREFIX, strlen(HUB_PREFIX)) == 0;
}

/* ---- where ------------------------------------------------------------------------------------------------------- */

static aios_status find_endpoint(hub *h)
{
    const char *given = h->options.endpoint ? h->options.endpoint : os_environment("HF_ENDPOINT");
    if (!given) given = DEFAULT_ENDPOINT;
    size_t size = strlen(given);
    while (size && given[size - 1] == '/') size--;
    if ((strncmp(given, "https://", 8) != 0 && strncmp(given, "http://", 7) != 0) || size >= sizeof h->endpoint)
        return FAIL(AIOS_INVALID_ARGUMENT, "HF_ENDPOINT is \"%.100s\": it must be an address such as " DEFAULT_ENDPOINT, given);
    (void)snprintf(h->endpoint, sizeof h->endpoint, "%.*s", (int)size, given);
    return AIOS_OK;
}

static aios_status find_cache(hub *h)
{
    const char *hub_cache = h->options.cache ? h->options.cache : os_environment("HF_HUB_CACHE"), *hf = os_environment("HF_HOME");
    const char *xdg = os_environment("XDG_CACHE_HOME"), *home = os_environment("HOME");
    const char *above = hub_cache ? hub_cache : hf ? hf : xdg ? xdg : home;
    char path[OS_PATH_MAX];
    if (!above) return FAIL(AIOS_UNAVAILABLE, "%s: there is no folder to keep it in: set HF_HOME", h->spec.text);
    TRY_QUIET(os_path_join(path, above, hub_cache ? "" : hf ? "hub" : xdg ? "huggingface/hub" : ".cache/huggingface/hub"));
    os_path_trim(path);
    int size = snprintf(h->cache, sizeof h->cache, "%s", path);
    if (size >= (int)sizeof h->cache) return FAIL(AIOS_OUT_OF_RANGE, "the name of the hub's cache folder is too long");
    size = snprintf(h->folder, sizeof h->folder, "%s/datasets--", h->cache);
    for (const char *c = h->spec.repo; *c && size < (int)sizeof h->folder - 3; c++) {
        if (*c == '/') h->folder[size++] = '-';
        h->folder[size++] = *c == '/' ? '-' : *c;
    }
    h->folder[size] = 0;
    return AIOS_OK;
}

aios_status hub_snapshot_path(const hub *h, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/snapshots/%s%s%s", h->folder, h->commit, *name ? "/" : "", name) < PATH_MAX) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "%s: the name of %.200s is too long here", h->spec.text, name);
}

/* ---- what is here ------------------------------------------------------------------------------------------------ */

static int is_commit(const char *word)
{
    return strlen(word) == 40 && strspn(word, "0123456789abcdef") == 40;
}

/* The commit that a revision stood for when it was fetched; "" where nothing is known. */
static aios_status find_commit(hub *h)
{
    char path[PATH_MAX], *text;
    size_t size;
    *h->commit = 0;
    if (is_commit(h->spec.revision)) {
        memcpy(h->commit, h->spec.revision, 41);
        return AIOS_OK;
    }
    (void)snprintf(path, sizeof path, "%s/refs/%s", h->folder, h->spec.revision);
    if (os_path_kind(path) != OS_FILE) return AIOS_OK;
    TRY_QUIET(os_file_read_all(h->context, path, 4096, &text, &size));
    while (size && isspace((unsigned char)text[size - 1])) text[--size] = 0;
    if (is_commit(text)) memcpy(h->commit, text, 41);
    aios_memory_free(h->context, text);
    return AIOS_OK;
}

typedef struct walk {
    hub *hub;
    const char *prefix; /* "data/" */
    int depth;
} walk;

static aios_status visit(void *user, const char *name)
{
    const walk *w = user;
    char below[1024 + 16], path[PATH_MAX];
    if (snprintf(below, sizeof below, "%s%s", w->prefix, name) >= 1024) return AIOS_OK; /* of nobody's wish */
    TRY_QUIET(hub_snapshot_path(w->hub, below, path));
    int kind = os_path_kind(path);
    if (kind == OS_FILE || kind == OS_NOTHING) { /* a link to what was deleted is nothing */
        TRY_QUIET(hub_files_add(&w->hub->files, below, 0, ""));
        w->hub->files.items[w->hub->files.count - 1].missing = kind == OS_NOTHING;
        return AIOS_OK;
    }
    if (kind != OS_FOLDER || w->depth == DEPTH_MOST) return AIOS_OK;
    (void)snprintf(below, sizeof below, "%s%s/", w->prefix, name);
    walk deeper = {w->hub, below, w->depth + 1};
    return os_folder_list(w->hub->context, path, visit, &deeper);
}

/* *found: every file that the spec means is in the cache.  Else the error record says why not. */
static aios_status look_here(hub *h, int *found)
{
    char path[PATH_MAX];
    walk top = {h, "", 0};
    *found = 0;
    TRY_QUIET(find_commit(h));
    if (*h->commit) TRY_QUIET(hub_snapshot_path(h, "", path));
    if (!*h->commit || os_path_kind(path) != OS_FOLDER) {
        (void)FAIL(AIOS_NOT_FOUND, "%s is not in the cache %s", h->spec.text, h->cache);
        return AIOS_OK;
    }
    TRY_QUIET(os_folder_list(h->context, path, visit, &top));
    aios_status status = hub_files_choose(&h->files, &h->spec);
    if (status == AIOS_OK && !hub_files_are_whole(&h->files))
        status = FAIL(AIOS_NOT_FOUND, "%s: some of its parts are missing in the cache %s", h->spec.text, h->cache);
    if (status != AIOS_OK && status != AIOS_NOT_FOUND && status != AIOS_UNSUPPORTED) return status;
    *found = status == AIOS_OK;
    return AIOS_OK;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static int is_offline(const hub *h)
{
    const char *word = os_environment("HF_HUB_OFFLINE");
    return h->options.offline || (word && (strcmp(word, "1") == 0 || strcasecmp(word, "true") == 0 || strcasecmp(word, "yes") == 0 ||
                                           strcasecmp(word, "on") == 0));
}

/* The chosen files as a corpus. */
static aios_status make_list(const hub *h, source_list *list)
{
    char path[PATH_MAX], key[PATH_MAX + 2048];
    (void)snprintf(key, sizeof key, "%s@%s/%s:%s:%s", h->folder, h->spec.revision, h->spec.path, h->spec.config, h->spec.split);
    TRY_QUIET(hub_snapshot_path(h, "", path));
    TRY_QUIET(source_list_begin(h->context, path, key, list));
    for (size_t i = 0; i < h->files.count; i++) {
        if (!h->files.items[i].chosen) continue;
        TRY_QUIET(hub_snapshot_path(h, h->files.items[i].name, path));
        TRY_QUIET(source_list_add(list, path));
    }
    source_list_sort(list);
    aios_log(h->context, AIOS_LOG_INFO, "%s: %zu files, %llu bytes, of commit %.8s in %s", h->spec.text, list->count,
             (unsigned long long)list->total, h->commit, h->folder);
    return AIOS_OK;
}

static aios_status open_here_or_there(hub *h)
{
    int found;
    TRY_QUIET(find_endpoint(h));
    TRY_QUIET(find_cache(h));
    TRY(look_here(h, &found), "looking for %s in %s", h->spec.text, h->cache);
    if (found) return AIOS_OK;
    if (is_offline(h)) {
        char why[400];
        (void)snprintf(why, sizeof why, "%s", aios_error_message());
        return FAIL(AIOS_UNAVAILABLE, "%s, and HF_HUB_OFFLINE forbids to fetch it", why);
    }
    hub_files_free(&h->files);
    return hub_fetch(h);
}

aios_status hub_open(aios_context *context, const char *spec, const hub_options *options, source_list *list)
{
    *list = (source_list){.context = context};
    hub *h = aios_new(context, hub);
    if (!h) return AIOS_OUT_OF_MEMORY;
    h->context = h->files.context = context;
    h->options = *options;
    aios_status status = hub_spec_parse(spec, &h->spec);
    if (status == AIOS_OK) status = open_here_or_there(h);
    if (status == AIOS_OK) status = make_list(h, list);
    hub_files_free(&h->files);
    aios_memory_free(context, h);
    if (status != AIOS_OK) source_list_free(list);
    return status;
}
