/* plugin.h (internal): what each plugin of ours needs apart from its vendor: the host's services, errors, and a vendor library
 * opened by a table of its symbols.  A plugin links nothing of libaios; this is compiled into each. */
#ifndef AIOS_PLUGIN_H
#define AIOS_PLUGIN_H

#include <aios/backend.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- host services ----------------------------------------------------------------------------------------------- */

/* First thing in aios_backend_query: keeps the services.  Errors: ABI_MISMATCH where the host's major is another. */
aios_status plugin_begin(uint32_t host_abi, const aios_host_services *host);

/* Keeps the sentence as the detail of the failure and returns status.  native: the vendor's code, 0 where there is none. */
aios_status plugin_fail(aios_status status, int64_t native, const char *format, ...) __attribute__((format(printf, 3, 4)));
void plugin_log(int32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeroed memory of the host; NULL, with a detail of OUT_OF_MEMORY kept, where there is none. */
void *plugin_alloc(size_t size);
void plugin_free(void *pointer);

/* Returns from the calling function where `expression` is not AIOS_OK. */
#define PLUGIN_TRY(expression)                                                                                                             \
    do {                                                                                                                                   \
        aios_status plugin_try_status_ = (expression);                                                                                     \
        if (plugin_try_status_ != AIOS_OK) return plugin_try_status_;                                                                      \
    } while (0)

/* ---- vendor libraries -------------------------------------------------------------------------------------------- */

enum { PLUGIN_OPTIONAL = 0, PLUGIN_REQUIRED = 1 };

/* One symbol of a vendor's library: where its address goes in the table of function pointers. */
typedef struct plugin_symbol {
    const char *name;
    int required;
    size_t offset;
} plugin_symbol;

typedef struct plugin_library {
    const char *what;         /* "NVIDIA driver": begins the sentences */
    const char *const *names; /* file names to try in order, up to a NULL */
    const plugin_symbol *symbols;
    size_t symbol_count;
    const char *override; /* an environment variable that names the file instead; NULL: none */
} plugin_library;

/* Opens the first of the names that is there (never closed again, local symbols) and fills `table`, in which optional symbols that it
 * lacks stay NULL.  Not for two threads at once on one table.
 * Errors: UNAVAILABLE, which names the files tried, or the file and the symbol that it lacks. */
aios_status plugin_library_open(const plugin_library *library, void *table);

/* A library's symbols are one X-macro list, lines of SYMBOL(REQUIRED or OPTIONAL, result, name, (parameters)), included twice:
 *
 *   struct driver {                                 static const plugin_symbol symbols[] = {
 *   #define SYMBOL PLUGIN_MEMBER                    #define SYMBOL(need, result, name, parameters) PLUGIN_ROW(struct driver, need, name)
 *   #include "driver.def"                           #include "driver.def"
 *   #undef SYMBOL                                   #undef SYMBOL
 *   };                                              };
 */
#define PLUGIN_MEMBER(need, result, name, parameters) result(*name) parameters;
#define PLUGIN_ROW(table, need, name)                 {#name, PLUGIN_##need, offsetof(table, name)},

#endif
