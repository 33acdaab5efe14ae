/* hub.h: hf://PATH[:CONFIG][:SPLIT], a data set of the Hugging Face Hub as the files of a corpus.
 *
 * PATH is ORG/NAME or NAME, with "datasets/" before it and @REVISION and a file or folder behind it where wanted.  The files are looked for
 * in the hub's own cache on this machine (https://huggingface.co/docs/hub/local-cache, which other programs share):
 *
 *     HUB/datasets--ORG--NAME/refs/main                    the commit that a name stood for when it was fetched
 *                            /snapshots/COMMIT/a/b.jsonl   a link to the next
 *                            /blobs/HASH                   a file's bytes, by their SHA-256 (or git's SHA-1)
 *     HUB/.locks/datasets--ORG--NAME/HASH.lock              held (flock) by the program that fetches it
 *
 * where HUB is $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub.  What is not there comes from
 * $HF_ENDPOINT over HTTP into the same layout, so the next run needs no network and other programs find it.  Links appear when every file
 * of the wish is there, so a download that was broken off is continued, never taken for all of it.
 *
 * Which files: select.h.  Whatever the server says is judged before it becomes a name or a size. */
#ifndef AIOS_DATA_HUB_HUB_H
#define AIOS_DATA_HUB_HUB_H

#include "data/source.h"

#include <aios/dataset.h>

#define HUB_PREFIX "hf://"

typedef struct hub_options {
    const char *endpoint, *cache; /* NULL: from the environment, as above */
    const char *library;          /* of libcurl; NULL: by its usual names */
    int offline;                  /* 1: the cache alone, as HF_HUB_OFFLINE=1 */
    int attempts;                 /* in a row that bring nothing before it is given up */
    double wait_seconds;          /* before the second attempt; doubled for each one after */
    double stall_seconds;         /* without a byte, after which an attempt ends */
    aios_dataset_progress_fn progress;
    void *progress_user;
} hub_options;
#define HUB_OPTIONS_INIT ((hub_options){NULL, NULL, NULL, 0, 6, 1.0, 60.0, NULL, NULL})

int hub_is_spec(const char *path);

/* The files of a data set, fetched first where they are not here.  Emits "data" events: {"phase": "fetching", "dataset", "file",
 * "done", "total"} in bytes, of all files that are missing.
 *
 * Errors: INVALID_ARGUMENT (a spec that can't be one), NOT_FOUND (no such data set, or a private one; no such part, with what there
 * is), UNSUPPORTED (parquet and such, with advice), UNAVAILABLE (no libcurl, no network, offline), TIMEOUT, CORRUPT (wrong checksum; an
 * answer that is none), STOPPED (by progress; what came is kept and continued), IO, OUT_OF_MEMORY. */
aios_status hub_open(aios_context *context, const char *spec, const hub_options *options, source_list *list);

#endif
