/* select.h: what a spec names, and which files of a data set that is.
 *
 * Data sets of the hub have no fixed layout; the rules are those of the `datasets` library as far as names alone tell:
 *   - files of text formats (.txt .jsonl .ndjson .json .csv .tsv, each also .gz; archives of them), without documents about the data set
 *     (README, LICENSE, …), are candidates; below PATH where that goes on behind the name.  A file that is named whole is the one
 * candidate.
 *   - CONFIG is a folder's name, or how a file's name begins.
 *   - SPLIT is a word of a file's or folder's name: train (training), validation (valid, val, dev), test (testing, eval, evaluation), or
 *     any other.  Without SPLIT: train.  Where no name has such a word, all of it is train.
 * Where one word alone is given, it is SPLIT where it is one of these words, or where no CONFIG is called so. */
#ifndef AIOS_DATA_HUB_SELECT_H
#define AIOS_DATA_HUB_SELECT_H

#include "base/context.h"
#include "data/digest.h"

#define HUB_WORD 97 /* bytes of a part of a spec, with the final 0 */

typedef struct hub_spec {
    const char *text;        /* as given; borrowed */
    char repo[2 * HUB_WORD]; /* "org/name" or "name" */
    char revision[HUB_WORD]; /* "main" */
    char path[1024];         /* below the data set; "" */
    char config[HUB_WORD], split[HUB_WORD];
} hub_spec;

/* Errors: INVALID_ARGUMENT. */
aios_status hub_spec_parse(const char *text, hub_spec *spec);

typedef struct hub_file {
    char *name; /* below the data set: "data/train-00000-of-00002.jsonl" */
    uint64_t size;
    char hash[DIGEST_TEXT]; /* 64 digits: SHA-256; 40: git's SHA-1.  "": not known (of the cache) */
    int chosen, missing;    /* missing: a link of the cache to what is not there */
} hub_file;

typedef struct hub_files {
    aios_context *context;
    hub_file *items;
    size_t count, capacity;
} hub_files;

/* Errors: CORRUPT for a name that could leave a folder, or can't be printed; OUT_OF_MEMORY. */
aios_status hub_files_add(hub_files *files, const char *name, uint64_t size, const char *hash);
void hub_files_free(hub_files *files);

/* Marks the files that the spec means, of one at least.  Errors: NOT_FOUND, UNSUPPORTED. */
aios_status hub_files_choose(hub_files *files, const hub_spec *spec);
/* 0 where some of the chosen ones are missing, as links or names such as train-00000-of-00002.jsonl tell. */
int hub_files_are_whole(const hub_files *files);

#endif
