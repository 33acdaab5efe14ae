#include "token_store.h"

#include "encoder.h"

#include <stddef.h>
#include <string.h>
#include <zlib.h>

#define BYTE_ORDER_MARK 0x01020304u
#define VERIFY_MOST     ((uint64_t)16 << 20) /* a store of up to this size is checked whole when it is opened */

static uint32_t crc_of(const void *bytes, size_t size)
{
    return size ? (uint32_t)crc32_z(0, bytes, size) : 0; /* zlib takes NULL for something else */
}

static uint64_t padded_size(const store_trailer *t)
{
    return (t->token_count * t->token_bytes + 7) & ~(uint64_t)7;
}

static uint64_t block_count(const store_trailer *t)
{
    return (padded_size(t) + STORE_BLOCK - 1) / STORE_BLOCK;
}

static void sources_text(const store_wish *wish, char to[DIGEST_TEXT + 7])
{
    memset(to, 0, DIGEST_TEXT + 7);
    (void)snprintf(to, DIGEST_TEXT + 7, "%s%s", wish->identity, wish->skip_bad ? " skip" : "");
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status damaged(const char *path, const char *what)
{
    return FAIL(AIOS_CORRUPT, "token cache %s is damaged: %s", path, what);
}

static aios_status read_trailer(token_store *s)
{
    store_trailer *t = &s->trailer;
    if (s->map.size < sizeof *t) return damaged(s->path, "it is too short");
    memcpy(t, s->map.address + s->map.size - sizeof *t, sizeof *t);
    if (memcmp(t->magic, STORE_MAGIC, sizeof t->magic) != 0) return damaged(s->path, "its end is missing");
    if (t->trailer_crc != crc_of(t, offsetof(store_trailer, trailer_crc))) return damaged(s->path, "its trailer has a wrong checksum");
    if (t->byte_order != BYTE_ORDER_MARK || t->version != STORE_VERSION) return AIOS_OK; /* another machine's: stale */
    if ((t->token_bytes != 2 && t->token_bytes != 4) || t->token_count > s->map.size / t->token_bytes ||
        s->map.size != padded_size(t) + 4 * block_count(t) + sizeof *t)
        return damaged(s->path, "its size is not what its trailer says");
    s->table = (const uint32_t *)(const void *)(s->map.address + padded_size(t));
    if (t->table_crc != crc_of(s->table, (size_t)(4 * block_count(t)))) return damaged(s->path, "its table has a wrong checksum");
    return AIOS_OK;
}

static aios_status check_block(token_store *s, uint64_t block)
{
    uint64_t start = block * STORE_BLOCK,
             end = start + STORE_BLOCK < padded_size(&s->trailer) ? start + STORE_BLOCK : padded_size(&s->trailer);
    if (atomic_load_explicit(&s->checked[block], memory_order_relaxed)) return AIOS_OK;
    if (crc_of(s->map.address + start, (size_t)(end - start)) != s->table[block])
        return FAIL(AIOS_CORRUPT, "token cache %s is damaged between bytes %llu and %llu: delete it, and it is made again", s->path,
                    (unsigned long long)start, (unsigned long long)end);
    atomic_store_explicit(&s->checked[block], 1, memory_order_relaxed);
    return AIOS_OK;
}

static int is_fresh(const token_store *s, const store_wish *wish)
{
    char sources[DIGEST_TEXT + 7];
    sources_text(wish, sources);
    return s->trailer.version == STORE_VERSION && s->trailer.byte_order == BYTE_ORDER_MARK &&
           s->trailer.vocabulary == (uint32_t)wish->tokenizer->size && strcmp(s->trailer.tokenizer, wish->tokenizer->identity) == 0 &&
           strcmp(s->trailer.sources, sources) == 0;
}

static aios_status check_store(token_store *s)
{
    uint64_t blocks = block_count(&s->trailer);
    if (!(s->checked = aios_memory_array(s->context, (size_t)blocks + 1, sizeof *s->checked))) return AIOS_OUT_OF_MEMORY;
    for (uint64_t b = 0; b < blocks && s->map.size <= VERIFY_MOST; b++) TRY_QUIET(check_block(s, b));
    return AIOS_OK;
}

aios_status store_open(aios_context *context, const char *path, const store_wish *wish, token_store **store)
{
    aios_status status = AIOS_OK;
    int fresh = 0;
    *store = NULL;
    if (os_path_kind(path) != OS_FILE) return AIOS_OK;
    token_store *s = aios_new(context, token_store);
    if (!s) return AIOS_OUT_OF_MEMORY;
    s->references = 1;
    s->context = aios_context_retain(context);
    os_mutex_init(&s->mutex);
    if (!(s->path = aios_memory_strdup(context, path))) status = AIOS_OUT_OF_MEMORY;
    if (status == AIOS_OK) status = os_map_open(path, &s->map);
    if (status == AIOS_OK) status = read_trailer(s);
    if (status == AIOS_OK && (fresh = is_fresh(s, wish))) status = check_store(s);
    if (status == AIOS_CORRUPT) {
        aios_log(context, AIOS_LOG_WARNING, "%s: it is made again", aios_error_message());
        aios_error_clear();
        status = AIOS_OK;
        fresh = 0;
    }
    if (status == AIOS_OK && fresh)
        *store = s;
    else
        store_close(s);
    return status;
}

token_store *store_retain(token_store *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void store_close(token_store *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1) return;
    aios_context *context = s->context;
    background_stop(s->later);
    os_mutex_destroy(&s->mutex);
    os_map_close(&s->map);
    aios_memory_free(context, s->checked);
    aios_memory_free(context, s->path);
    aios_memory_free(context, s);
    aios_context_release(context);
}

aios_status store_read(token_store *s, uint64_t first, size_t count, int32_t *to)
{
    uint64_t start = first * s->trailer.token_bytes, end = start + count * s->trailer.token_bytes;
    if (count == 0) return AIOS_OK;
    for (uint64_t b = start / STORE_BLOCK; b <= (end - 1) / STORE_BLOCK; b++) TRY_QUIET(check_block(s, b));
    const unsigned char *from = s->map.address + start;
    if (s->trailer.token_bytes == 2) {
        const uint16_t *small = (const uint16_t *)(const void *)from;
        for (size_t i = 0; i < count; i++) to[i] = small[i];
    } else {
        memcpy(to, from, count * sizeof *to);
    }
    return AIOS_OK;
}

/* The bytes of tokens that are there; 0: none is. */
static int clip(const token_store *s, uint64_t first, uint64_t count, uint64_t *start, uint64_t *end)
{
    uint64_t tokens = s->trailer.token_count;
    if (first >= tokens || count == 0) return 0;
    *start = first * s->trailer.token_bytes;
    *end = (count < tokens - first ? first + count : tokens) * s->trailer.token_bytes;
    return 1;
}

uint64_t store_prefetch(token_store *s, uint64_t first, uint64_t count)
{
    uint64_t start, end;
    if (!clip(s, first, count, &start, &end)) return 0;
    uint64_t from = start / STORE_BLOCK, to = (end - 1) / STORE_BLOCK;
    if (!atomic_load_explicit(&s->checked[from], memory_order_relaxed)) start = from * STORE_BLOCK;
    if (!atomic_load_explicit(&s->checked[to], memory_order_relaxed)) end = (to + 1) * STORE_BLOCK;
    os_map_prefetch(&s->map, start, end - start);
    return end - start;
}

uint64_t store_check_ahead(token_store *s, uint64_t first, uint64_t count)
{
    uint64_t start, end;
    if (!clip(s, first, count, &start, &end)) return 0;
    for (uint64_t b = start / STORE_BLOCK; b <= (end - 1) / STORE_BLOCK; b++)
        if (check_block(s, b) != AIOS_OK) aios_error_clear();
    return end - start;
}

void store_do_later(token_store *s, background_run run, const void *task, size_t size)
{
    os_mutex_lock(&s->mutex);
    if (!s->later && background_start(s->context, "aios-prefetch", run, &s->later) != AIOS_OK) aios_error_clear();
    background *later = s->later;
    os_mutex_unlock(&s->mutex);
    if (later) (void)background_add(later, task, size);
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

typedef struct builder {
    aios_context *context;
    const store_wish *wish;
    reader *reader;
    encoder *encoder;
    os_file file, lock; /* lock: on the file too, so that others see that somebody lives who writes it */
    unsigned char *block;
    size_t used;
    uint32_t *table;
    size_t table_count, table_capacity;
    store_trailer trailer;
} builder;

static aios_status write_block(builder *b)
{
    TRY_QUIET(aios_memory_grow(b->context, (void **)&b->table, &b->table_capacity, b->table_count + 1, sizeof *b->table));
    b->table[b->table_count++] = crc_of(b->block, b->used);
    TRY_QUIET(os_file_write(b->file, b->block, b->used));
    b->used = 0;
    return AIOS_OK;
}

static aios_status put_tokens(void *user, const int32_t *ids, size_t count)
{
    builder *b = user;
    const aios_tokenizer *t = b->wish->tokenizer;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= t->size)
            return FAIL(AIOS_INTERNAL, "tokenizer %s gave id %d: it must be below %d", aios_tokenizer_name(t), (int)ids[i], (int)t->size);
        if (b->trailer.token_bytes == 2)
            memcpy(b->block + b->used, &(uint16_t){(uint16_t)ids[i]}, 2);
        else
            memcpy(b->block + b->used, &ids[i], 4);
        b->used += b->trailer.token_bytes;
        b->trailer.token_text_bytes += tokenizer_id_bytes(t, ids[i]);
        if (b->used == STORE_BLOCK) TRY_QUIET(write_block(b));
    }
    b->trailer.token_count += count;
    return AIOS_OK;
}

static aios_status report(const builder *b)
{
    const store_wish *wish = b->wish;
    if (wish->progress && wish->progress(wish->progress_user, reader_done(b->reader), wish->sources->total))
        return FAIL(AIOS_STOPPED, "tokenizing was stopped");
    return AIOS_OK;
}

static aios_status tokenize(builder *b)
{
    text_piece piece;
    int more, end = b->wish->tokenizer->end_of_text;
    uint64_t document = 0, unreported = 0; /* bytes of this document; since the last report */
    for (;;) {
        TRY_QUIET(reader_next(b->reader, &piece, &more));
        if (!more) break;
        for (size_t at = 0; at < piece.size;) { /* a long document still reports often */
            size_t part = piece.size - at < READER_PIECE ? piece.size - at : READER_PIECE;
            TRY_QUIET(encoder_add(b->encoder, piece.bytes + at, part));
            at += part;
            unreported += part;
            if (unreported >= READER_PIECE / 4) {
                unreported = 0;
                TRY_QUIET(report(b));
            }
        }
        document += piece.size;
        unreported += 64; /* empty documents count too */
        if (!piece.ends || document == 0) continue;
        TRY_QUIET(encoder_end(b->encoder));
        if (end >= 0) TRY_QUIET(encoder_put_id(b->encoder, end));
        b->trailer.text_bytes += document;
        b->trailer.document_count++;
        document = 0;
    }
    b->trailer.skipped = reader_skipped(b->reader);
    return report(b);
}

static aios_status write_end(builder *b)
{
    store_trailer *t = &b->trailer;
    static const unsigned char zeros[8] = {0};
    size_t padding = (size_t)(padded_size(t) - t->token_count * t->token_bytes);
    memcpy(b->block + b->used, zeros, padding); /* a block is a multiple of 8 bytes */
    b->used += padding;
    if (b->used) TRY_QUIET(write_block(b));
    t->table_crc = crc_of(b->table, 4 * b->table_count);
    if (b->table_count) TRY_QUIET(os_file_write(b->file, b->table, 4 * b->table_count));
    t->trailer_crc = crc_of(t, offsetof(store_trailer, trailer_crc));
    TRY_QUIET(os_file_write(b->file, t, sizeof *t));
    return os_file_sync(b->file);
}

static void begin_trailer(builder *b)
{
    store_trailer *t = &b->trailer;
    memset(t, 0, sizeof *t); /* the padding counts in the checksum */
    memcpy(t->magic, STORE_MAGIC, sizeof t->magic);
    t->version = STORE_VERSION;
    t->byte_order = BYTE_ORDER_MARK;
    t->vocabulary = (uint32_t)b->wish->tokenizer->size;
    t->token_bytes = t->vocabulary <= 65536 ? 2 : 4;
    memcpy(t->tokenizer, b->wish->tokenizer->identity, DIGEST_TEXT);
    sources_text(b->wish, t->sources);
}

static aios_status build(builder *b, const char *temporary, const char *path)
{
    const reader_options options = {READER_LINE_MOST, b->wish->skip_bad};
    if (os_lock_take(temporary, 0, &b->lock) != AIOS_OK) aios_error_clear();
    TRY_QUIET(os_file_create(temporary, &b->file));
    TRY_QUIET(reader_open(b->context, b->wish->sources, &options, &b->reader));
    TRY_QUIET(encoder_create(b->wish->tokenizer, 1, put_tokens, b, &b->encoder));
    if (!(b->block = aios_memory_alloc(b->context, STORE_BLOCK))) return AIOS_OUT_OF_MEMORY;
    begin_trailer(b);
    TRY(report(b), "making token cache %s", path);
    TRY(tokenize(b), "making token cache %s", path);
    TRY_QUIET(source_list_check(b->wish->sources));
    if (b->trailer.token_count < 2)
        return FAIL(AIOS_OUT_OF_RANGE, "%s has no text, or too little: %llu tokens, and at least 2 are needed", b->wish->sources->root,
                    (unsigned long long)b->trailer.token_count);
    TRY(write_end(b), "writing token cache %s", temporary);
    os_file_close(&b->file);
    return os_rename(temporary, path);
}

aios_status store_build(aios_context *context, const char *path, const store_wish *wish)
{
    builder b = {.context = context, .wish = wish, .file = OS_FILE_CLOSED, .lock = OS_FILE_CLOSED};
    size_t size = strlen(path) + 64;
    char *temporary = aios_memory_alloc(context, size);
    if (!temporary) return AIOS_OUT_OF_MEMORY;
    /* The address tells two builders of one process apart. */
    (void)snprintf(temporary, size, "%s.tmp.%d.%zx", path, os_process_id(), (size_t)(uintptr_t)&b);
    aios_status status = build(&b, temporary, path);
    os_file_close(&b.file);
    os_lock_release(&b.lock);
    encoder_destroy(b.encoder);
    reader_close(b.reader);
    aios_memory_free(context, b.block);
    aios_memory_free(context, b.table);
    if (status != AIOS_OK) {
        aios_error_record record;
        aios_error_save(&record);
        (void)os_remove(temporary);
        (void)aios_error_restore(&record);
    }
    aios_memory_free(context, temporary);
    return status;
}
