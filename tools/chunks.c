/* aios chunks: how far a dataset is trained. */
#include "output.h"
#include "tool.h"

#include <aios/chunk_tracker.h>

#include <string.h>

enum { BLOCKS_SHOWN = 20 };

/* The folder that STATE stands for: itself, or the one that holds the database or JSON file. */
static const char *folder_of(const char *state, char *folder, size_t size)
{
    static const char *const files[] = {"chunk_tracker.sqlite", "chunk_tracker_state.json"};
    const char *slash = strrchr(state, '/'), *name = slash ? slash + 1 : state;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        if (strcmp(name, files[i]) != 0) continue;
        (void)snprintf(folder, size, "%.*s", slash > state ? (int)(slash - state) : 1, slash ? state : ".");
        return folder;
    }
    return state;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static json_t *make_progress(const aios_chunk_progress *p)
{
    json_t *unknown = p->samples ? NULL : json_null();
    return json_pack("{sb sO? sI sI sI sO? sI sI sO? sI sI}", "complete", p->complete, "samples",
                     unknown ? unknown : json_integer((json_int_t)p->samples), "samples_trained", (json_int_t)p->trained, "samples_committed",
                     (json_int_t)p->committed, "samples_claimed", (json_int_t)p->claimed, "chunks",
                     unknown ? unknown : json_integer((json_int_t)p->chunks), "chunks_trained", (json_int_t)p->chunks_trained,
                     "chunks_committed", (json_int_t)p->chunks_committed, "blocks",
                     unknown ? unknown : json_integer((json_int_t)p->blocks), "blocks_trained", (json_int_t)p->blocks_trained,
                     "blocks_committed", (json_int_t)p->blocks_committed);
}
