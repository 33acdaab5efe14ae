/* source.h: the files of a corpus. */
#ifndef AIOS_DATA_SOURCE_H
#define AIOS_DATA_SOURCE_H

#include "base/context.h"
#include "base/os.h"
#include "data/digest.h"

enum { SOURCE_TEXT, SOURCE_UNKNOWN, SOURCE_JSON_LINES, SOURCE_JSON, SOURCE_CSV, SOURCE_TSV, SOURCE_ZIP, SOURCE_TAR };

typedef struct source {
    char *path;       /* to open it */
    const char *name; /* below the corpus; within path */
    int format;       /* SOURCE_UNKNOWN: text, unless it looks otherwise */
    int gzip;
    os_file_stamp stamp;
} source;

typedef struct source_list {
    aios_context *context;
    char *root;
    char *key; /* tells one corpus from another in a cache of tokens: root, and what was chosen of it */
    source *items;
    size_t count, capacity;
    uint64_t total; /* bytes on disk */
} source_list;

/* What a name's extensions say.  Errors: UNSUPPORTED, with advice. */
aios_status source_find_format(const char *name, int *format, int *gzip);

/* A file, or a folder with all below it in byte order of the names, hidden ones left out; an absolute path is kept for both.
 * Errors: NOT_FOUND (nothing there, no file in the folder), UNSUPPORTED (a format that can't be read, with advice), IO. */
aios_status source_list_open(aios_context *context, const char *path, source_list *list);
void source_list_free(source_list *list);
/* A list of files that were chosen, below root: begin, add, sort, in byte order of the names.  Errors: as source_list_open. */
aios_status source_list_begin(aios_context *context, const char *root, const char *key, source_list *list);
aios_status source_list_add(source_list *list, const char *path);
void source_list_sort(source_list *list);
/* Over names, sizes and both ends of every file. */
aios_status source_list_identify(const source_list *list, char text[DIGEST_TEXT]);
/* The same and where they lie and when they were written. */
aios_status source_list_identify_here(const source_list *list, char text[DIGEST_TEXT]);
/* Errors: CORRUPT naming a file that is not as it was when the list was made. */
aios_status source_list_check(const source_list *list);

#endif
