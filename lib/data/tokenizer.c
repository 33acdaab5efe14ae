#include "tokenizer.h"

#include "base/json.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define BYTES_END 256
#define CONFIG_NAME "tokenizer_config.json"
#define BYTES_CONFIG "{\n  \"tokenizer_class\": \"bytes\"\n}\n"

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static aios_status encode_bytes(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count)
{
    (void)t;
    for (size_t i = 0; i < size && i < capacity; i++) ids[i] = (unsigned char)text[i];
    *count = size;
    return AIOS_OK;
}

static void piece_of_bytes(const aios_tokenizer *t, int32_t id, const char **bytes, size_t *size)
{
    static const char all[256] = {
#define ROW_(a)                                                                                                                            \
    (char)(a), (char)((a) + 1), (char)((a) + 2), (char)((a) + 3), (char)((a) + 4), (char)((a) + 5), (char)((a) + 6), (char)((a) + 7),      \
        (char)((a) + 8), (char)((a) + 9), (char)((a) + 10), (char)((a) + 11), (char)((a) + 12), (char)((a) + 13), (char)((a) + 14),        \
        (char)((a) + 15)
        ROW_(0),   ROW_(16),  ROW_(32),  ROW_(48),  ROW_(64),  ROW_(80),  ROW_(96),  ROW_(112),
        ROW_(128), ROW_(144), ROW_(160), ROW_(176), ROW_(192), ROW_(208), ROW_(224), ROW_(240)
#undef ROW_
    };
    (void)t;
    *bytes = all + (id < 256 ? id : 0);
    *size = id < 256;
}

static const struct tokenizer_kind bytes_kind = {"bytes", encode_bytes, piece_of_bytes, NULL};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int there(const char *folder, const char *name)
{
    char path[4096];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && os_path_kind(path) == OS_FILE;
}

/* *yes 1 where the folder was saved from "bytes". */
static aios_status says_bytes(aios_context *context, const char *folder, int *yes)
{
    char path[4096];
    const char *kind = "";
    json_t *config = NULL;
    *yes = 0;
    if (!there(folder, CONFIG_NAME)) return AIOS_OK;
    (void)snprintf(path, sizeof path, "%s/%s", folder, CONFIG_NAME);
    TRY_QUIET(json_read_file(context, path, NULL, &config));
    *yes = json_get_string_or(config, "tokenizer_class", "", &kind) == AIOS_OK && strcmp(kind, "bytes") == 0;
    json_decref(config);
    return AIOS_OK;
}

static void open_bytes(aios_tokenizer *t)
{
    t->kind = &bytes_kind;
    t->vocabulary = BYTES_END + 1;
    t->end_of_text = BYTES_END;
    (void)snprintf(t->identity, sizeof t->identity, "0000000000000100");
}

static aios_status open_folder(aios_tokenizer *t, const char *spec)
{
    char folder[4096];
    if (snprintf(folder, sizeof folder, "%s", spec) >= (int)sizeof folder) return FAIL(AIOS_INVALID_ARGUMENT, "%.60s…: the name is too long", spec);
    if (os_path_kind(folder) == OS_FILE) {
        char *slash = strrchr(folder, '/');
        if (slash) *slash = 0;
        else memcpy(folder, ".", 2);
    }
    if (os_path_kind(folder) != OS_FOLDER) return FAIL(AIOS_NOT_FOUND, "tokenizer '%s': neither 'bytes' nor a folder that is there", spec);
    if (there(folder, "tokenizer.json")) return bpe_open(t, folder, 1);
    if (there(folder, "vocab.json") && there(folder, "merges.txt")) return bpe_open(t, folder, 0);
    int bytes;
    TRY_QUIET(says_bytes(t->context, folder, &bytes));
    if (bytes) {
        open_bytes(t);
        return AIOS_OK;
    }
    return FAIL(AIOS_NOT_FOUND, "%s has no tokenizer: tokenizer.json, or vocab.json and merges.txt, is wanted", folder);
}

aios_status aios_tokenizer_open(aios_context *context, const char *spec, aios_tokenizer **tokenizer)
{
    if (!context || !spec || !tokenizer) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_open: context, spec and tokenizer must not be NULL");
    *tokenizer = NULL;
    aios_tokenizer *t = aios_new(context, aios_tokenizer);
    if (!t) return AIOS_OUT_OF_MEMORY;
    t->context = aios_context_retain(context);
    t->references = 1;
    if (strcmp(spec, "bytes") == 0) open_bytes(t);
    else {
        aios_status status = open_folder(t, spec);
        if (status != AIOS_OK) {
            aios_tokenizer_close(t);
            return status;
        }
    }
    *tokenizer = t;
    return AIOS_OK;
}

aios_tokenizer *aios_tokenizer_retain(aios_tokenizer *t)
{
    if (t) atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void aios_tokenizer_close(aios_tokenizer *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) != 1) return;
    aios_context *context = t->context;
    if (t->kind && t->kind->destroy) t->kind->destroy(t);
    for (size_t i = 0; i < COUNT_OF(t->files); i++) aios_memory_free(context, t->files[i].text);
    aios_memory_free(context, t);
    aios_context_release(context);
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

const char *aios_tokenizer_name(const aios_tokenizer *t)
{
    return t ? t->kind->name : "";
}

int32_t aios_tokenizer_vocabulary_size(const aios_tokenizer *t)
{
    return t ? t->vocabulary : 0;
}

int32_t aios_tokenizer_end_of_text(const aios_tokenizer *t)
{
    return t ? t->end_of_text : -1;
}

const char *aios_tokenizer_identity(const aios_tokenizer *t)
{
    return t ? t->identity : "";
}

aios_status aios_tokenizer_encode(const aios_tokenizer *t, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count)
{
    if (!t || !count || (!text && size) || (!ids && capacity))
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_encode: tokenizer and count must not be NULL, nor text and ids where they have a size");
    *count = 0;
    return t->kind->encode(t, text ? text : "", size, ids, capacity, count);
}

aios_status aios_tokenizer_decode(const aios_tokenizer *t, const int32_t *ids, size_t count, char *text, size_t capacity, size_t *size)
{
    if (!t || !size || (!ids && count) || (!text && capacity))
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_decode: tokenizer and size must not be NULL, nor ids and text where they have a size");
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        const char *bytes;
        size_t length;
        if (ids[i] < 0 || ids[i] >= t->vocabulary)
            return FAIL(AIOS_OUT_OF_RANGE, "id %d at %zu: the vocabulary has 0 to %d", ids[i], i, t->vocabulary - 1);
        t->kind->piece(t, ids[i], &bytes, &length);
        for (size_t k = 0; k < length; k++, ++*size)
            if (*size < capacity) text[*size] = bytes[k];
    }
    return AIOS_OK;
}

aios_status aios_tokenizer_save(const aios_tokenizer *t, const char *folder)
{
    char path[4096];
    if (!t || !folder) return FAIL(AIOS_INVALID_ARGUMENT, "aios_tokenizer_save: tokenizer and folder must not be NULL");
    struct tokenizer_file bytes = {CONFIG_NAME, NULL, sizeof BYTES_CONFIG - 1};
    size_t count = t->file_count ? t->file_count : 1;
    for (size_t i = 0; i < count; i++) {
        const struct tokenizer_file *file = t->file_count ? &t->files[i] : &bytes;
        if (snprintf(path, sizeof path, "%s/%s", folder, file->name) >= (int)sizeof path) return FAIL(AIOS_INVALID_ARGUMENT, "%.60s…: the name is too long", folder);
        TRY(os_file_replace(path, file->text ? file->text : BYTES_CONFIG, file->size), "saving the tokenizer");
    }
    return AIOS_OK;
}
