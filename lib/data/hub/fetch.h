/* fetch.h (internal): what hub.c and fetch.c share: one data set, here and on the server. */
#ifndef AIOS_DATA_HUB_FETCH_H
#define AIOS_DATA_HUB_FETCH_H

#include "http.h"
#include "select.h"

#include <limits.h>

typedef struct hub {
    aios_context *context;
    hub_options options;
    hub_spec spec;
    char endpoint[512];          /* without a slash at the end */
    char cache[PATH_MAX - 512];  /* HUB */
    char folder[PATH_MAX - 256]; /* HUB/datasets--ORG--NAME */
    char commit[HUB_WORD];
    hub_files files;
} hub;

/* Asks the server for the data set's commit and files, chooses among them, brings those that are missing, and links them.
 * Errors: those of hub_open. */
aios_status hub_fetch(hub *h);

/* folder/snapshots/COMMIT/NAME, or the folder for "".  Errors: OUT_OF_RANGE. */
aios_status hub_snapshot_path(const hub *h, const char *name, char path[PATH_MAX]);

#endif
