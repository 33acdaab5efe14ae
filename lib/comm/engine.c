#include "engine.h"

#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define PATH_SIZE 4096

struct search {
    void *library;
    char reason[512]; /* why what was found could not be loaded */
};

static void try_folder(struct search *search, const char *folder, size_t length)
{
    char path[PATH_SIZE];
    if (search->library || length == 0 || folder[0] != '/') return;
    while (length > 1 && folder[length - 1] == '/') length--;
    if (snprintf(path, sizeof path, "%.*s/" ENGINE_FILE, (int)length, folder) >= (int)sizeof path) return;
    if (os_path_kind(path) != OS_FILE) return;
    search->library = os_library_open(path);
    if (!search->library && !*search->reason) (void)snprintf(search->reason, sizeof search->reason, "%s", aios_error_message());
}

aios_status engine_load(const engine_table **engine)
{
    struct search search = {NULL, ""};
    char folder[PATH_SIZE - 8], beside[PATH_SIZE] = "";
    engine_query *query;
    const char *list = os_environment("AIOS_BACKEND_PATH");
    for (const char *at = list; at && *at; at += strcspn(at, ":"), at += *at == ':') try_folder(&search, at, strcspn(at, ":"));
    if (os_library_folder(folder, sizeof folder) == AIOS_OK) (void)snprintf(beside, sizeof beside, "%s/aios", folder);
    try_folder(&search, beside, strlen(beside));
    try_folder(&search, AIOS_PLUGIN_FOLDER, strlen(AIOS_PLUGIN_FOLDER));
    if (!search.library)
        return FAIL(AIOS_UNAVAILABLE,
                    "ranks in several processes need " ENGINE_FILE ", which is built where Gloo is (Debian: libgloo-dev): %s%s%s%s",
                    *search.reason ? search.reason : "not found in ", *search.reason ? "" : beside, *search.reason ? "" : ", ",
                    *search.reason ? "" : AIOS_PLUGIN_FOLDER);
    void *symbol = os_library_symbol(search.library, ENGINE_QUERY_SYMBOL);
    if (!symbol) return FAIL(AIOS_ABI_MISMATCH, ENGINE_FILE " has no symbol " ENGINE_QUERY_SYMBOL ": install the one of this libaios");
    memcpy(&query, &symbol, sizeof query); /* ISO C has no cast from object to function pointer */
    *engine = query();
    if ((*engine)->version != ENGINE_VERSION)
        return FAIL(AIOS_ABI_MISMATCH, ENGINE_FILE " is of version %u and this libaios needs %d: install the one of this libaios",
                    (unsigned)(*engine)->version, ENGINE_VERSION);
    return AIOS_OK;
}
