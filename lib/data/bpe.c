/* Reading a byte-level BPE tokenizer from its files. */
#include "bpe.h"

#include "base/json.h"
#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MOST ((uint64_t)256 << 20)
#define VOCABULARY_MOST (1 << 22)
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* A token's name while loading, and its id; by name in an open-addressed table. */
struct entry {
    const char *name;
    int32_t id;
};

struct loader {
    aios_tokenizer *t;
    struct bpe *bpe;
    struct entry *table;
    size_t mask, entries;
    const char **name_of; /* per id */
    int32_t ids;          /* one more than the largest */
    int16_t byte_of[512]; /* code point of GPT-2's alphabet -> byte; -1 none */
};

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) hash = (hash ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
    return hash;
}

/* GPT-2 writes a byte as a printable character: itself where it is one, else from U+0100 on. */
static void make_alphabet(struct loader *l)
{
    int next = 256;
    for (int i = 0; i < 512; i++) l->byte_of[i] = -1;
    for (int b = 0; b < 256; b++) {
        int printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        l->byte_of[printable ? b : next++] = (int16_t)b;
    }
}

/* A token's name as bytes: at most strlen(name) of them; -1 where a character is not of the alphabet. */
static int name_to_bytes(const struct loader *l, const char *name, char *to)
{
    int count = 0;
    for (const unsigned char *p = (const unsigned char *)name; *p;) {
        int code = *p++;
        if (code >= 0xc0 && code < 0xe0 && (*p & 0xc0) == 0x80) code = (code & 31) << 6 | (*p++ & 63);
        else if (code >= 0x80) return -1;
        if (code >= 512 || l->byte_of[code] < 0) return -1;
        to[count++] = (char)l->byte_of[code];
    }
    return count;
}

static struct entry *find_slot(const struct loader *l, const char *name)
{
    size_t at = (size_t)hash_bytes(14695981039346656037u, name, strlen(name)) & l->mask;
    while (l->table[at].name && strcmp(l->table[at].name, name) != 0) at = (at + 1) & l->mask;
    return &l->table[at];
}

static aios_status add_token(struct loader *l, const char *name, const json_t *id, const char *file)
{
    json_int_t number = json_is_integer(id) ? json_integer_value(id) : -1;
    if (number < 0 || number >= VOCABULARY_MOST) return FAIL(AIOS_CORRUPT, "%s: token '%.40s' has no id from 0 to %d", file, name, VOCABULARY_MOST - 1);
    struct entry *slot = find_slot(l, name);
    if (slot->name && slot->id == (int32_t)number) return AIOS_OK;
    if (slot->name) return FAIL(AIOS_CORRUPT, "%s: token '%.40s' has the ids %d and %d", file, name, slot->id, (int)number);
    if (l->name_of[number]) return FAIL(AIOS_CORRUPT, "%s: id %d belongs to '%.40s' and '%.40s'", file, (int)number, l->name_of[number], name);
    *slot = (struct entry){name, (int32_t)number};
    l->name_of[number] = name;
    l->entries++;
    if ((int32_t)number >= l->ids) l->ids = (int32_t)number + 1;
    return AIOS_OK;
}

static aios_status make_table(struct loader *l, size_t tokens)
{
    size_t slots = 1024;
    while (slots < 2 * tokens) slots *= 2;
    l->mask = slots - 1;
    l->table = aios_memory_array(l->t->context, slots, sizeof *l->table);
    l->name_of = aios_memory_array(l->t->context, VOCABULARY_MOST, sizeof *l->name_of);
    return l->table && l->name_of ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static aios_status add_vocabulary(struct loader *l, json_t *vocabulary, json_t *added, const char *file)
{
    const char *name;
    json_t *id;
    size_t index;
    json_t *token;
    TRY_QUIET(make_table(l, json_object_size(vocabulary) + json_array_size(added)));
    json_object_foreach(vocabulary, name, id) TRY_QUIET(add_token(l, name, id, file));
    json_array_foreach(added, index, token) {
        const char *content;
        TRY(json_get_string(token, "content", &content), "%s: added token %zu", file, index);
        TRY_QUIET(add_token(l, content, json_object_get(token, "id"), file));
    }
    if ((size_t)l->ids != l->entries) {
        for (int32_t i = 0; i < l->ids; i++)
            if (!l->name_of[i]) return FAIL(AIOS_CORRUPT, "%s: no token has id %d, though ids go up to %d", file, i, l->ids - 1);
    }
    if (l->ids == 0) return FAIL(AIOS_CORRUPT, "%s: the vocabulary is empty", file);
    return AIOS_OK;
}

/* Bytes of every token, and the ids of single bytes. */
static aios_status make_pieces(struct loader *l, json_t *added, const char *file)
{
    struct bpe *bpe = l->bpe;
    size_t bytes = 0, index, at = 0;
    json_t *token;
    for (int32_t i = 0; i < l->ids; i++) bytes += strlen(l->name_of[i]);
    if (bytes > UINT32_MAX) return FAIL(AIOS_CORRUPT, "%s: the tokens have %zu bytes: at most 4 GiB are read", file, bytes);
    bpe->blob = aios_memory_alloc(l->t->context, bytes + 1);
    bpe->start = aios_memory_array(l->t->context, (size_t)l->ids + 1, sizeof *bpe->start);
    bpe->special = aios_memory_zalloc(l->t->context, (size_t)l->ids);
    if (!bpe->blob || !bpe->start || !bpe->special) return AIOS_OUT_OF_MEMORY;
    json_array_foreach(added, index, token) {
        const struct entry *slot = find_slot(l, json_string_value(json_object_get(token, "content")));
        bpe->special[slot->id] = json_is_true(json_object_get(token, "special")) ? 2 : 1;
    }
    const struct entry *end = find_slot(l, "<|endoftext|>");
    l->t->end_of_text = end->name ? end->id : -1;
    if (end->name) bpe->special[end->id] = 2;
    memset(bpe->byte_id, -1, sizeof bpe->byte_id);
    for (int32_t i = 0; i < l->ids; i++) {
        int count = bpe->special[i] ? -1 : name_to_bytes(l, l->name_of[i], bpe->blob + at);
        if (!bpe->special[i] && count < 0) return FAIL(AIOS_CORRUPT, "%s: token '%.40s' (id %d) is not written in the byte alphabet", file, l->name_of[i], i);
        if (count == 1) bpe->byte_id[(unsigned char)bpe->blob[at]] = i;
        if (bpe->special[i] == 1) { /* an added token that is plain text */
            count = (int)strlen(l->name_of[i]);
            memcpy(bpe->blob + at, l->name_of[i], (size_t)count);
        }
        at += count > 0 ? (size_t)count : 0;
        bpe->start[i + 1] = (uint32_t)at;
    }
    for (int b = 0; b < 256; b++)
        if (bpe->byte_id[b] < 0) return FAIL(AIOS_CORRUPT, "%s: no token stands for byte 0x%02x alone", file, b);
    return AIOS_OK;
}

/* ---- merges ------------------------------------------------------------------------------------------------------ */

static size_t merge_slot(const struct bpe *bpe, int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    size_t at = (size_t)(hash >> 20) & bpe->merge_mask;
    while (bpe->merges[at].left >= 0 && (bpe->merges[at].left != left || bpe->merges[at].right != right)) at = (at + 1) & bpe->merge_mask;
    return at;
}

const struct merge *bpe_find_merge(const struct bpe *bpe, int32_t left, int32_t right)
{
    const struct merge *m = &bpe->merges[merge_slot(bpe, left, right)];
    return m->left >= 0 ? m : NULL;
}

static aios_status make_merge_table(struct loader *l, size_t count)
{
    size_t slots = 1024;
    while (slots < 2 * count) slots *= 2;
    l->bpe->merges = aios_memory_alloc(l->t->context, slots * sizeof *l->bpe->merges);
    if (!l->bpe->merges) return AIOS_OUT_OF_MEMORY;
    l->bpe->merge_mask = slots - 1;
    for (size_t i = 0; i < slots; i++) l->bpe->merges[i].left = -1;
    return AIOS_OK;
}

static aios_status add_merge(struct loader *l, const char *left, const char *right, size_t rank, const char *file)
{
    char merged[4096];
    const struct entry *a = find_slot(l, left), *b = find_slot(l, right);
    if (snprintf(merged, sizeof merged, "%s%s", left, right) >= (int)sizeof merged) return FAIL(AIOS_CORRUPT, "%s: merge %zu is over %zu bytes", file, rank, sizeof merged);
    const struct entry *c = find_slot(l, merged);
    const char *missing = !a->name ? left : !b->name ? right : !c->name ? merged : NULL;
    if (missing) return FAIL(AIOS_CORRUPT, "%s: merge %zu ('%.40s' '%.40s') names '%.40s', which is no token", file, rank, left, right, missing);
    struct merge *slot = &l->bpe->merges[merge_slot(l->bpe, a->id, b->id)];
    if (slot->left < 0) *slot = (struct merge){a->id, b->id, (int32_t)rank, c->id};
    return AIOS_OK;
}

/* "left right" in place. */
static aios_status add_merge_text(struct loader *l, char *text, size_t rank, const char *file)
{
    char *space = strchr(text, ' ');
    if (!space || space == text || !space[1] || strchr(space + 1, ' ')) return FAIL(AIOS_CORRUPT, "%s: merge %zu is '%.40s': two tokens parted by one blank are wanted", file, rank, text);
    *space = 0;
    aios_status status = add_merge(l, text, space + 1, rank, file);
    *space = ' ';
    return status;
}

static aios_status read_merges_text(struct loader *l, const struct tokenizer_file *file)
{
    aios_status status = AIOS_OK;
    size_t lines = 1, rank = 0;
    char *copy = aios_memory_strdup(l->t->context, file->text);
    if (!copy) return AIOS_OUT_OF_MEMORY;
    for (const char *p = copy; *p; p++) lines += *p == '\n';
    ATTEMPT_QUIET(make_merge_table(l, lines));
    for (char *line = copy, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r') line[length - 1] = 0;
        if (!*line || (line == copy && strncmp(line, "#version", 8) == 0)) continue;
        ATTEMPT_QUIET(add_merge_text(l, line, rank, file->name));
        rank++;
    }
done:
    aios_memory_free(l->t->context, copy);
    return status;
}

static aios_status read_merges_json(struct loader *l, json_t *merges, const char *file)
{
    size_t index;
    json_t *merge;
    TRY_QUIET(make_merge_table(l, json_array_size(merges)));
    json_array_foreach(merges, index, merge) {
        const char *left = json_string_value(json_array_get(merge, 0)), *right = json_string_value(json_array_get(merge, 1));
        if (json_is_string(merge)) {
            char *copy = aios_memory_strdup(l->t->context, json_string_value(merge));
            if (!copy) return AIOS_OUT_OF_MEMORY;
            aios_status status = add_merge_text(l, copy, index, file);
            aios_memory_free(l->t->context, copy);
            TRY_QUIET(status);
        } else if (left && right) {
            TRY_QUIET(add_merge(l, left, right, index, file));
        } else {
            return FAIL(AIOS_CORRUPT, "%s: merge %zu is neither \"a b\" nor [\"a\", \"b\"]", file, index);
        }
    }
    return AIOS_OK;
}

/* ---- the pattern ------------------------------------------------------------------------------------------------- */

static aios_status compile(struct loader *l, const char *pattern, const char *file)
{
    int error;
    PCRE2_SIZE at;
    l->bpe->pattern = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &at, NULL);
    if (!l->bpe->pattern) {
        PCRE2_UCHAR text[128];
        (void)pcre2_get_error_message(error, text, sizeof text);
        return FAIL(AIOS_UNSUPPORTED, "%s: the pattern '%.60s' fails at %zu: %s", file, pattern, (size_t)at, (const char *)text);
    }
    (void)pcre2_jit_compile(l->bpe->pattern, PCRE2_JIT_COMPLETE); /* slower without, not different */
    return AIOS_OK;
}

static aios_status byte_level(const json_t *config, int regex, const char *file)
{
    int prefix, use_regex;
    TRY(json_get_bool_or(config, "add_prefix_space", 1, &prefix), "%s", file);
    TRY(json_get_bool_or(config, "use_regex", 1, &use_regex), "%s", file);
    if (prefix) return FAIL(AIOS_UNSUPPORTED, "%s: pre_tokenizer has add_prefix_space true: libaios can do false only", file);
    if (use_regex != regex) return FAIL(AIOS_UNSUPPORTED, "%s: pre_tokenizer ByteLevel has use_regex %s, which libaios can't do here", file, use_regex ? "true" : "false");
    return AIOS_OK;
}

/* ByteLevel alone, or a Split by a regular expression and then ByteLevel. */
static aios_status read_pre_tokenizer(struct loader *l, const json_t *pre, const char *file)
{
    const char *type = json_string_value(json_object_get(pre, "type"));
    if (type && strcmp(type, "ByteLevel") == 0) {
        TRY_QUIET(byte_level(pre, 1, file));
        return compile(l, GPT2_PATTERN, file);
    }
    const json_t *parts = json_object_get(pre, "pretokenizers");
    const json_t *split = json_array_get(parts, 0), *bytes = json_array_get(parts, 1);
    const char *first = json_string_value(json_object_get(split, "type")), *second = json_string_value(json_object_get(bytes, "type"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    const char *pattern = json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    if (!type || strcmp(type, "Sequence") != 0 || json_array_size(parts) != 2 || !first || strcmp(first, "Split") != 0 || !second ||
        strcmp(second, "ByteLevel") != 0 || !pattern || !behavior || strcmp(behavior, "Isolated") != 0 || json_is_true(json_object_get(split, "invert")))
        return FAIL(AIOS_UNSUPPORTED, "%s: pre_tokenizer must be ByteLevel, or a Sequence of Split (Regex, Isolated) and ByteLevel", file);
    TRY_QUIET(byte_level(bytes, 0, file));
    return compile(l, pattern, file);
}

static aios_status check_tokenizer_json(const json_t *root, const json_t *model, const char *file)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE") != 0) return FAIL(AIOS_UNSUPPORTED, "%s: model type is %s: libaios can do byte-level BPE", file, type);
    static const char *const switches[] = {"byte_fallback", "ignore_merges", "fuse_unk"};
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (json_is_true(json_object_get(model, switches[i]))) return FAIL(AIOS_UNSUPPORTED, "%s: model.%s is true: libaios can do false only", file, switches[i]);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < COUNT_OF(affixes); i++) {
        const char *affix = json_string_value(json_object_get(model, affixes[i]));
        if (affix && *affix) return FAIL(AIOS_UNSUPPORTED, "%s: model.%s is '%s': libaios can do none", file, affixes[i], affix);
    }
    const json_t *dropout = json_object_get(model, "dropout"), *normalizer = json_object_get(root, "normalizer");
    if (json_is_number(dropout) && json_number_value(dropout) != 0) return FAIL(AIOS_UNSUPPORTED, "%s: model.dropout is %g: libaios can do none", file, json_number_value(dropout));
    if (normalizer && !json_is_null(normalizer)) return FAIL(AIOS_UNSUPPORTED, "%s: it has a normalizer: libaios can do none", file);
    return AIOS_OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status read_file(aios_tokenizer *t, const char *folder, const char *name)
{
    char path[4096];
    struct tokenizer_file *file = &t->files[t->file_count];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    file->name = name;
    TRY_QUIET(os_file_read_all(t->context, path, FILE_MOST, &file->text, &file->size));
    t->file_count++;
    return AIOS_OK;
}

static aios_status parse(const struct tokenizer_file *file, json_t **root)
{
    json_limits limits = JSON_LIMITS_DEFAULT;
    limits.bytes = FILE_MOST;
    limits.values = (uint64_t)1 << 25;
    TRY_QUIET(json_parse(file->text, file->size, file->name, &limits, root));
    if (!json_is_object(*root)) return FAIL(AIOS_CORRUPT, "%s: an object is wanted", file->name);
    return AIOS_OK;
}

static aios_status load_tokenizer_json(struct loader *l, json_t *root)
{
    const char *file = l->t->files[0].name;
    json_t *model, *vocabulary, *merges, *added = json_object_get(root, "added_tokens");
    TRY(json_get_object(root, "model", &model), "%s", file);
    TRY_QUIET(check_tokenizer_json(root, model, file));
    TRY(json_get_object(model, "vocab", &vocabulary), "%s", file);
    TRY(json_get_array(model, "merges", &merges), "%s", file);
    TRY_QUIET(add_vocabulary(l, vocabulary, added, file));
    TRY_QUIET(read_merges_json(l, merges, file));
    TRY_QUIET(read_pre_tokenizer(l, json_object_get(root, "pre_tokenizer"), file));
    return make_pieces(l, added, file);
}

static aios_status load_vocabulary_and_merges(struct loader *l, json_t *root)
{
    TRY_QUIET(add_vocabulary(l, root, NULL, l->t->files[0].name));
    TRY_QUIET(read_merges_text(l, &l->t->files[1]));
    TRY_QUIET(compile(l, GPT2_PATTERN, l->t->files[1].name));
    return make_pieces(l, NULL, l->t->files[0].name);
}

static void piece(const aios_tokenizer *t, int32_t id, const char **bytes, size_t *size)
{
    const struct bpe *bpe = t->state;
    *bytes = bpe->blob + bpe->start[id];
    *size = bpe->start[id + 1] - bpe->start[id];
}

static void destroy(aios_tokenizer *t)
{
    struct bpe *bpe = t->state;
    if (bpe->pattern) pcre2_code_free(bpe->pattern);
    aios_memory_free(t->context, bpe->merges);
    aios_memory_free(t->context, bpe->blob);
    aios_memory_free(t->context, bpe->start);
    aios_memory_free(t->context, bpe->special);
    aios_memory_free(t->context, bpe);
}

static const struct tokenizer_kind bpe_kind = {"bpe", bpe_encode, piece, destroy};

aios_status bpe_open(aios_tokenizer *t, const char *folder, int from_tokenizer_json)
{
    aios_status status = AIOS_OK;
    json_t *root = NULL;
    struct loader l = {.t = t, .bpe = aios_new(t->context, struct bpe)};
    if (!l.bpe) return AIOS_OUT_OF_MEMORY;
    t->state = l.bpe;
    t->kind = &bpe_kind;
    make_alphabet(&l);
    ATTEMPT(read_file(t, folder, from_tokenizer_json ? "tokenizer.json" : "vocab.json"), "opening tokenizer %s", folder);
    if (!from_tokenizer_json) ATTEMPT(read_file(t, folder, "merges.txt"), "opening tokenizer %s", folder);
    ATTEMPT(parse(&t->files[0], &root), "opening tokenizer %s", folder);
    ATTEMPT(from_tokenizer_json ? load_tokenizer_json(&l, root) : load_vocabulary_and_merges(&l, root), "opening tokenizer %s", folder);
    t->vocabulary = l.ids;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < t->file_count; i++) hash = hash_bytes(hash, t->files[i].text, t->files[i].size);
    (void)snprintf(t->identity, sizeof t->identity, "%016llx", (unsigned long long)hash);
done:
    json_decref(root);
    aios_memory_free(t->context, l.table);
    aios_memory_free(t->context, l.name_of);
    return status;
}
