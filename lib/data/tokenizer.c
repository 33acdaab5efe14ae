#include "tokenizer.h"

#include "base/os.h"
#include "encoder.h"

#include <limits.h>

#define BYTES_CONFIG "{\n  \"tokenizer_class\": \"bytes\"\n}\n"
#define BYTES_END    256
#define CACHED_FROM  16384 /* bytes of text for which a word cache pays */

/* ---- opening, closing -------------------------------------------------------------------------------------------- */

static void destroy(aios_tokenizer *t)
{
    aios_context *context = t->context;
    for (size_t i = 0; i < t->stage_count; i++) pattern_free(t->stages[i].pattern);
    for (size_t i = 0; i < t->added_count; i++) aios_memory_free(context, t->added[i].text);
    for (size_t i = 0; i < t->file_count; i++) aios_memory_free(context, t->files[i].bytes);
    vocabulary_free(&t->vocabulary);
    aios_memory_free(context, t->added);
    aios_memory_free(context, t);
    aios_context_release(context);
}

static aios_status become_bytes(aios_tokenizer *t)
{
    digest d;
    for (size_t i = 0; i < t->file_count; i++) aios_memory_free(t->context, t->files[i].bytes);
    t->file_count = 0;
    t->files[0] = (tokenizer_file){"tokenizer_config.json", aios_memory_strdup(t->context, BYTES_CONFIG), sizeof BYTES_CONFIG - 1};
    if (!t->files[0].bytes) return AIOS_OUT_OF_MEMORY;
    t->file_count = 1;
    t->bytes = 1;
    t->size = BYTES_END + 1;
    t->end_of_text = BYTES_END;
    digest_init(&d);
    digest_add_text(&d, "bytes");
    digest_end(&d, t->identity);
    return AIOS_OK;
}

aios_status aios_tokenizer_open(aios_context *context, const char *spec, aios_tokenizer **tokenizer)
{
    aios_status status = AIOS_OK;
    if (!tokenizer) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_open: tokenizer is NULL: pass the address of a pointer");
    *tokenizer = NULL;
    if (!context || !spec || !*spec)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_open: context and spec must be given: spec is \"bytes\", a folder or a file");
    aios_tokenizer *t = aios_new(context, aios_tokenizer);
    if (!t) return AIOS_OUT_OF_MEMORY;
    t->references = 1;
    t->context = aios_context_retain(context);
    vocabulary_init(&t->vocabulary, context);
    t->bytes = strcmp(spec, "bytes") == 0;
    if (!t->bytes) ATTEMPT(tokenizer_load(t, spec), "opening tokenizer %s", spec);
    if (t->bytes) ATTEMPT_QUIET(become_bytes(t));
done:
    if (status == AIOS_OK)
        *tokenizer = t;
    else
        destroy(t);
    return status;
}

aios_tokenizer *aios_tokenizer_retain(aios_tokenizer *t)
{
    if (t) atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void aios_tokenizer_close(aios_tokenizer *t)
{
    if (t && atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) == 1) destroy(t);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

typedef struct id_sink {
    int32_t *ids;
    size_t capacity, count;
} id_sink;

static aios_status put_ids(void *user, const int32_t *ids, size_t count)
{
    id_sink *sink = user;
    size_t room = sink->capacity > sink->count ? sink->capacity - sink->count : 0;
    if (room) memcpy(sink->ids + sink->count, ids, (room < count ? room : count) * sizeof *ids);
    sink->count += count;
    return AIOS_OK;
}

/* The added token that stands at the start of the text. */
static const added_token *match_added(const aios_tokenizer *t, const char *text, size_t size)
{
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].size <= size && memcmp(t->added[i].text, text, t->added[i].size) == 0) return &t->added[i];
    return NULL;
}

static aios_status encode_special(encoder *e, const aios_tokenizer *t, const char *text, size_t size)
{
    unsigned char begins[256] = {0};
    size_t start = 0;
    for (size_t i = 0; i < t->added_count; i++) begins[(unsigned char)*t->added[i].text] = 1;
    for (size_t i = 0; i < size;) {
        const added_token *added = begins[(unsigned char)text[i]] ? match_added(t, text + i, size - i) : NULL;
        if (!added) {
            i++;
            continue;
        }
        if (!added->plain)
            return FAIL(AIOS_UNSUPPORTED, "special token \"%.40s\" wants lstrip, rstrip or single_word, which is not supported",
                        added->text);
        TRY_QUIET(encoder_text(e, text + start, i - start));
        TRY_QUIET(encoder_put_id(e, added->id));
        start = i += added->size;
    }
    return encoder_text(e, text + start, size - start);
}

static aios_status encode(const aios_tokenizer *t, const char *text, size_t length, int special, int32_t *ids, size_t capacity,
                          size_t *count)
{
    if (!count) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_encode: count is NULL");
    *count = 0;
    if (!t || (!text && length) || (!ids && capacity))
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_tokenizer_encode: tokenizer, text and ids must be given (ids may be NULL with capacity 0)");
    id_sink sink = {ids, capacity, 0};
    encoder *e;
    TRY_QUIET(encoder_create(t, length >= CACHED_FROM, put_ids, &sink, &e));
    aios_status status = special ? encode_special(e, t, text, length) : encoder_text(e, text, length);
    encoder_destroy(e);
    if (status == AIOS_OK) *count = sink.count;
    return status;
}

aios_status aios_tokenizer_encode(const aios_tokenizer *t, const char *text, size_t length, int32_t *ids, size_t capacity, size_t *count)
{
    return encode(t, text, length, 0, ids, capacity, count);
}

aios_status aios_tokenizer_encode_special(const aios_tokenizer *t, const char *text, size_t length, int32_t *ids, size_t capacity,
                                          size_t *count)
{
    return encode(t, text, length, 1, ids, capacity, count);
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static aios_status find_bytes(const aios_tokenizer *t, int32_t id, char *byte, const char **bytes, size_t *size)
{
    *size = 0;
    if (id < 0 || id >= t->size) return FAIL(AIOS_OUT_OF_RANGE, "id %d: the vocabulary has 0 to %d", (int)id, (int)t->size - 1);
    if (t->bytes) {
        *byte = (char)id;
        *bytes = byte;
        *size = id != BYTES_END;
        return AIOS_OK;
    }
    *bytes = vocabulary_bytes(&t->vocabulary, id, size);
    if (*size == 0) return FAIL(AIOS_OUT_OF_RANGE, "id %d is in a gap of the vocabulary: no token has it", (int)id);
    if (tokenizer_id_bytes(t, id) == 0) *size = 0;
    return AIOS_OK;
}

aios_status aios_tokenizer_decode(const aios_tokenizer *t, const int32_t *ids, size_t count, char *text, size_t capacity, size_t *length)
{
    size_t need = 0;
    if (!length) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_decode: length is NULL");
    *length = 0;
    if (!t || (!ids && count) || (!text && capacity))
        return FAIL(AIOS_INVALID_ARGUMENT,
                    "aios_tokenizer_decode: tokenizer, ids and text must be given (text may be NULL with capacity 0)");
    for (size_t i = 0; i < count; i++) {
        char byte;
        const char *bytes;
        size_t size;
        TRY_QUIET(find_bytes(t, ids[i], &byte, &bytes, &size));
        size_t room = capacity > need ? capacity - need : 0;
        if (room && size) memcpy(text + need, bytes, room < size ? room : size);
        need += size;
    }
    *length = need;
    return AIOS_OK;
}

/* ---- what it is -------------------------------------------------------------------------------------------------- */

int32_t aios_tokenizer_vocabulary_size(const aios_tokenizer *t)
{
    return t ? t->size : 0;
}

int32_t aios_tokenizer_end_of_text(const aios_tokenizer *t)
{
    return t ? t->end_of_text : -1;
}

int32_t aios_tokenizer_find(const aios_tokenizer *t, const char *text, size_t length)
{
    if (!t || !text || !length) return -1;
    if (t->bytes) return length == 1 ? (unsigned char)*text : -1;
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].size == length && memcmp(t->added[i].text, text, length) == 0) return t->added[i].id;
    return vocabulary_find(&t->vocabulary, text, length);
}

const char *aios_tokenizer_name(const aios_tokenizer *t)
{
    return !t ? "" : t->bytes ? "bytes" : "bpe";
}

const char *aios_tokenizer_identity(const aios_tokenizer *t)
{
    return t ? t->identity : "";
}

const char *aios_tokenizer_file_name(const aios_tokenizer *t, uint32_t index)
{
    return t && index < t->file_count ? t->files[index].name : NULL;
}

aios_status aios_tokenizer_save(const aios_tokenizer *t, const char *folder)
{
    if (!t || !folder || !*folder) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_save: tokenizer and folder must be given");
    for (size_t i = 0; i < t->file_count; i++) {
        char path[OS_PATH_MAX];
        TRY_QUIET(os_path_join(path, folder, t->files[i].name));
        TRY(os_file_replace(path, t->files[i].bytes, t->files[i].size), "saving the tokenizer to %s", folder);
    }
    return AIOS_OK;
}
