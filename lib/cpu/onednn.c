#include "onednn.h"

#include <string.h>

static const char *const names[] = {"libdnnl.so.3", "libdnnl.so.3.6" /* Debian 13's name */, "libdnnl.so.2"};

aios_status onednn_open(onednn *dnn)
{
    memset(dnn, 0, sizeof *dnn);
    for (size_t i = 0; i < COUNT_OF(names) && !dnn->library; i++) dnn->library = os_library_open(names[i]);
    if (!dnn->library) return FAIL(AIOS_UNAVAILABLE, "oneDNN: neither %s nor %s is on this machine", names[0], names[COUNT_OF(names) - 1]);
    void *symbol;
#define ONEDNN_OPTIONAL(result, name, parameters)                                                                                          \
    symbol = os_library_symbol(dnn->library, #name);                                                                                       \
    memcpy(&dnn->name, &symbol, sizeof symbol);
#define ONEDNN_REQUIRED(result, name, parameters)                                                                                          \
    ONEDNN_OPTIONAL(result, name, parameters)                                                                                              \
    if (!symbol) return FAIL(AIOS_UNAVAILABLE, "oneDNN: it has no symbol %s", #name);
#include "onednn.def"
#undef ONEDNN_REQUIRED
#undef ONEDNN_OPTIONAL
    if (!dnn->omp_get_max_threads) dnn->omp_set_num_threads = NULL;
    return AIOS_OK;
}

onednn_scope onednn_enter(const onednn *dnn)
{
    onednn_scope before = {dnn->omp_set_num_threads ? dnn->omp_get_max_threads() : 1, os_signals_hold()};
    if (before.threads != 1) dnn->omp_set_num_threads(1);
    return before;
}

void onednn_leave(const onednn *dnn, const onednn_scope *before)
{
    if (before->threads != 1) dnn->omp_set_num_threads(before->threads);
    os_signals_let(&before->signals);
}
