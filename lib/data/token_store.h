/* token_store.h: the tokens of a corpus in a file that is mapped into memory.
 *
 * Layout: tokens (16 bits each where the vocabulary has at most 65,536 ids, else 32; in the machine's byte order), zeros up to a
 * multiple of 8, a CRC-32 for every 64 KiB of that, and the trailer, which is written last. */
#ifndef AIOS_DATA_TOKEN_STORE_H
#define AIOS_DATA_TOKEN_STORE_H

#include "data/background.h"
#include "data/reader.h"
#include "data/tokenizer.h"

#include <aios/dataset.h>

#define STORE_MAGIC   "aiostoks"
#define STORE_VERSION 1u
#define STORE_BLOCK   ((size_t)65536)

typedef struct store_trailer {
    char magic[8];
    uint32_t version, byte_order; /* 0x01020304 */
    uint32_t token_bytes, vocabulary;
    uint64_t token_count, document_count;
    uint64_t text_bytes;       /* of the documents */
    uint64_t token_text_bytes; /* that the tokens stand for: the same, but for tokenizers that add or drop text */
    uint64_t skipped;
    char tokenizer[DIGEST_TEXT + 7]; /* its identity */
    char sources[DIGEST_TEXT + 7];   /* source_list_identify_here, and whether bad lines were left out */
    uint32_t table_crc, trailer_crc; /* the latter over all that stands before it */
} store_trailer;

typedef struct token_store {
    atomic_uint references;
    aios_context *context;
    char *path; /* "" for one that has no name any more */
    os_map map;
    store_trailer trailer;
    const uint32_t *table;
    atomic_uchar *checked; /* by block */
    os_mutex mutex;        /* around what follows */
    background *later;     /* NULL: not started */
} token_store;

/* What a store must have been made from to be used. */
typedef struct store_wish {
    const aios_tokenizer *tokenizer;
    const source_list *sources;
    char identity[DIGEST_TEXT]; /* of the sources, here */
    int skip_bad;
    aios_dataset_progress_fn progress;
    void *progress_user;
} store_wish;

/* *store is NULL where there is none, it was made from something else, or it is damaged (which is warned of). */
aios_status store_open(aios_context *context, const char *path, const store_wish *wish, token_store **store);
token_store *store_retain(token_store *s);
void store_close(token_store *s);

/* Tokenizes the sources into a file, replacing it atomically.  Errors: STOPPED and those of the reader and the tokenizer, after which
 * no file is left. */
aios_status store_build(aios_context *context, const char *path, const store_wish *wish);

/* Copies tokens first … first+count-1, all of which are there.  Errors: CORRUPT. */
aios_status store_read(token_store *s, uint64_t first, size_t count, int32_t *to);
/* Of tokens first … first+count-1, some of which may not be there: asks the system to read them, and what is read with them to check
 * them, and returns how many bytes that is; checks what was not checked, leaving what is wrong for store_read to tell. */
uint64_t store_prefetch(token_store *s, uint64_t first, uint64_t count);
uint64_t store_check_ahead(token_store *s, uint64_t first, uint64_t count);
/* Adds a task to the store's own thread, which is started for the first one and ends with the store.  A task may use the store. */
void store_do_later(token_store *s, background_run run, const void *task, size_t size);

#endif
