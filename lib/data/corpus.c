#include "corpus.h"

#include "base/context.h"
#include "reader.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PIECE ((size_t)1 << 20)      /* text that is tokenized at a time … */
#define PIECE_MOST ((size_t)4 << 20) /* … at the most, where it has no place to cut */
#define MAGIC "aiostok1"

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return hash;
}

/* ---- what it is made from ---------------------------------------------------------------------------------------- */

struct source {
    aios_context *context;
    const char *folder;
    uint64_t hash, bytes;
};

static aios_status add_source(struct source *source, const char *path);

static aios_status add_below(void *user, const char *name)
{
    struct source *source = user;
    char path[PATH_MAX];
    if (name[0] == '.') return AIOS_OK;
    if (snprintf(path, sizeof path, "%s/%s", source->folder, name) >= (int)sizeof path) return FAIL(AIOS_IO, "%s: a name in it is too long", source->folder);
    const char *folder = source->folder;
    aios_status status = add_source(source, path);
    source->folder = folder;
    return status;
}

static aios_status add_source(struct source *source, const char *path)
{
    if (os_path_kind(path) == OS_FOLDER) {
        source->folder = path;
        return os_folder_list(source->context, path, add_below, source);
    }
    os_file_stamp stamp;
    TRY_QUIET(os_file_get_stamp(path, &stamp));
    source->hash = hash_bytes(source->hash, path, strlen(path) + 1);
    source->hash = hash_bytes(source->hash, &stamp, sizeof stamp);
    source->bytes += stamp.size;
    return AIOS_OK;
}

/* ---- making it --------------------------------------------------------------------------------------------------- */

struct maker {
    aios_context *context;
    const aios_dataset_options *options;
    os_file file;
    struct corpus_header header;
    char *text;
    size_t text_size, text_capacity;
    int32_t *ids;
    size_t id_capacity;
    void *packed;
    size_t packed_capacity;
    uint64_t total, finished, current; /* bytes on disk: all, of files that are read, of the one that is */
    const char *path;
    int pending; /* text since the last end of text */
};

static aios_status write_ids(struct maker *m, const int32_t *ids, size_t count)
{
    size_t width = m->header.width;
    TRY_QUIET(aios_memory_grow(m->context, &m->packed, &m->packed_capacity, count * width, 1));
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= m->header.vocabulary) return FAIL(AIOS_INTERNAL, "the tokenizer gave id %d of a vocabulary of %d", ids[i], m->header.vocabulary);
        if (width == 2) ((uint16_t *)m->packed)[i] = (uint16_t)ids[i];
        else ((int32_t *)m->packed)[i] = ids[i];
    }
    m->header.content = hash_bytes(m->header.content, m->packed, count * width);
    m->header.tokens += count;
    return os_file_write(m->file, m->packed, count * width);
}

static aios_status encode(struct maker *m, size_t size)
{
    size_t count;
    const aios_tokenizer *t = m->options->tokenizer;
    if (size == 0) return AIOS_OK;
    TRY_QUIET(aios_memory_grow(m->context, (void **)&m->ids, &m->id_capacity, size, sizeof *m->ids)); /* a token is a byte or more */
    TRY_QUIET(aios_tokenizer_encode(t, m->text, size, m->ids, m->id_capacity, &count));
    if (count > m->id_capacity) return FAIL(AIOS_INTERNAL, "%zu bytes became %zu tokens", size, count);
    TRY_QUIET(write_ids(m, m->ids, count));
    memmove(m->text, m->text + size, m->text_size - size);
    m->text_size -= size;
    return AIOS_OK;
}

/* Where text may be cut without changing its tokens: before a blank that follows a visible ASCII character. */
static size_t place_to_cut(const struct maker *m)
{
    for (size_t i = m->text_size - 1; i > 0; i--) {
        unsigned char here = (unsigned char)m->text[i], last = (unsigned char)m->text[i - 1];
        if ((here == ' ' || here == '\n') && last > 32 && last < 127) return i;
    }
    return m->text_size >= PIECE_MOST ? m->text_size : 0;
}

static aios_status take_text(void *user, const char *text, size_t size, int end)
{
    struct maker *m = user;
    int32_t end_of_text = aios_tokenizer_end_of_text(m->options->tokenizer);
    if (size) {
        TRY_QUIET(aios_memory_grow(m->context, (void **)&m->text, &m->text_capacity, m->text_size + size, 1));
        memcpy(m->text + m->text_size, text, size);
        m->text_size += size;
        m->header.bytes += size;
        m->pending = 1;
    }
    if (m->text_size >= PIECE) TRY_QUIET(encode(m, place_to_cut(m)));
    if (!end || !m->pending) return AIOS_OK;
    TRY_QUIET(encode(m, m->text_size));
    m->pending = 0;
    return end_of_text >= 0 ? write_ids(m, &end_of_text, 1) : AIOS_OK;
}

static int32_t take_progress(void *user, const char *path, uint64_t done)
{
    struct maker *m = user;
    if (m->path != path) { /* another file */
        m->finished += m->current;
        m->path = path;
    }
    m->current = done;
    return m->options->progress ? m->options->progress(m->options->progress_user, m->finished + done, m->total) : 0;
}

static aios_status make(struct maker *m, const char *path)
{
    aios_status status = AIOS_OK;
    char temporary[PATH_MAX];
    reader_sink sink = {m, take_text, take_progress};
    if (snprintf(temporary, sizeof temporary, "%s.tmp.%d.%p", path, os_process_id(), (void *)m) >= (int)sizeof temporary)
        return FAIL(AIOS_INVALID_ARGUMENT, "%.60s…: the cache folder's name is too long", path);
    m->file = OS_FILE_CLOSED;
    ATTEMPT_QUIET(os_file_create(temporary, &m->file));
    ATTEMPT_QUIET(os_file_write(m->file, &m->header, sizeof m->header));
    ATTEMPT_QUIET(reader_run(m->context, m->options->path, &sink));
    if (m->header.tokens == 0) {
        status = FAIL(AIOS_OUT_OF_RANGE, "%s has no text", m->options->path);
        goto done;
    }
    memcpy(m->header.magic, MAGIC, 8); /* last: a file without it is not whole */
    ATTEMPT_QUIET(os_file_sync(m->file));
    ATTEMPT_QUIET(os_file_write_at(m->file, 0, &m->header, sizeof m->header));
    ATTEMPT_QUIET(os_file_sync(m->file));
    os_file_close(&m->file);
    ATTEMPT_QUIET(os_rename(temporary, path));
done:
    os_file_close(&m->file);
    if (status != AIOS_OK) {
        aios_error_record record;
        aios_error_save(&record);
        (void)os_remove(temporary);
        (void)aios_error_restore(&record);
    }
    aios_memory_free(m->context, m->text);
    aios_memory_free(m->context, m->ids);
    aios_memory_free(m->context, m->packed);
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* 1: mapped, and made from this source. */
static int open_cached(const char *path, uint64_t source, corpus *c)
{
    if (os_path_kind(path) != OS_FILE || os_map_open(path, &c->map) != AIOS_OK) return 0;
    if (c->map.size >= sizeof c->header) {
        memcpy(&c->header, c->map.address, sizeof c->header);
        uint64_t width = c->header.width;
        if (memcmp(c->header.magic, MAGIC, 8) == 0 && c->header.source == source && (width == 2 || width == 4) &&
            c->header.tokens == (c->map.size - sizeof c->header) / width)
            return 1;
    }
    os_map_close(&c->map);
    return 0;
}

static aios_status cache_folder(const aios_dataset_options *options, char *folder, size_t size)
{
    const char *given = options->cache_folder, *base = os_environment("XDG_CACHE_HOME"), *home = os_environment("HOME");
    int length;
    if (given && *given) length = snprintf(folder, size, "%s", given);
    else if (base && base[0] == '/') length = snprintf(folder, size, "%s/aios", base);
    else if (home) length = snprintf(folder, size, "%s/.cache/aios", home);
    else return FAIL(AIOS_INVALID_ARGUMENT, "neither XDG_CACHE_HOME nor HOME is set: name a folder for tokenized text (cache-dir)");
    if (length >= (int)size) return FAIL(AIOS_INVALID_ARGUMENT, "the cache folder's name is too long");
    TRY(os_folder_create(folder), "the cache of tokenized text (cache-dir)");
    return AIOS_OK;
}

aios_status corpus_open(aios_context *context, const aios_dataset_options *options, corpus *c)
{
    char folder[PATH_MAX - 64], path[PATH_MAX];
    const char *identity = aios_tokenizer_identity(options->tokenizer);
    struct source source = {.context = context, .hash = 14695981039346656037u};
    *c = (corpus){.map = {NULL, 0}};
    TRY(add_source(&source, options->path), "opening data %s", options->path);
    source.hash = hash_bytes(source.hash, identity, strlen(identity));
    TRY_QUIET(cache_folder(options, folder, sizeof folder));
    (void)snprintf(path, sizeof path, "%s/%016llx.tokens", folder, (unsigned long long)source.hash);
    if (open_cached(path, source.hash, c)) return AIOS_OK;
    struct maker m = {.context = context, .options = options, .total = source.bytes};
    m.header.vocabulary = aios_tokenizer_vocabulary_size(options->tokenizer);
    m.header.width = m.header.vocabulary <= 65536 ? 2 : 4;
    m.header.source = source.hash;
    m.header.content = hash_bytes(14695981039346656037u, identity, strlen(identity));
    TRY(make(&m, path), "tokenizing %s", options->path);
    if (!open_cached(path, source.hash, c)) return FAIL(AIOS_IO, "%s can't be read back", path);
    return AIOS_OK;
}

void corpus_close(corpus *c)
{
    os_map_close(&c->map);
}
