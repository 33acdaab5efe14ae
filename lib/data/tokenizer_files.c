/* What Hugging Face's tokenizers and OpenAI write: tokenizer.json; vocab.json and merges.txt; tokenizer_config.json. */
#include "tokenizer.h"

#include "base/json.h"
#include "base/os.h"

#include <limits.h>
#include <stdlib.h>

#define FILE_MOST  ((uint64_t)256 << 20)
#define TOKEN_MOST 65536

static const json_limits LIMITS = {FILE_MOST, 32, (uint64_t)1 << 25};

/* ---- bytes as characters: GPT-2's bytes_to_unicode --------------------------------------------------------------- */

/* Printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on. */
static int byte_of(uint32_t character)
{
    int count = 0;
    if ((character >= 0x21 && character <= 0x7e) || (character >= 0xa1 && character <= 0xff && character != 0xad)) return (int)character;
    if (character < 0x100 || character > 0x143) return -1;
    for (int byte = 0; byte < 256; byte++) {
        int printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
        if (!printable && count++ == (int)character - 0x100) return byte;
    }
    return -1;
}

/* Writes the bytes that a key of the vocabulary stands for; 0 where it is not made of those characters. */
static size_t bytes_of(const char *key, size_t size, char *to)
{
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        unsigned char c = (unsigned char)key[i];
        if (c >= 0x80 && ((c & 0xe0) != 0xc0 || i + 1 == size || ((unsigned char)key[i + 1] & 0xc0) != 0x80)) return 0;
        uint32_t character = c < 0x80 ? c : (c & 0x1fu) << 6 | ((unsigned char)key[i + 1] & 0x3fu);
        int byte = byte_of(character);
        if (byte < 0) return 0;
        to[count++] = (char)byte;
        i += c < 0x80 ? 1 : 2;
    }
    return count;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Reads a file that a checkpoint will hold too. */
static aios_status keep_file(aios_tokenizer *t, const char *path, const char *name, const tokenizer_file **kept)
{
    tokenizer_file *file = &t->files[t->file_count];
    TRY_QUIET(os_file_read_all(t->context, path, FILE_MOST, &file->bytes, &file->size));
    file->name = name;
    t->file_count++;
    *kept = file;
    return AIOS_OK;
}

/* ---- vocabulary and merges --------------------------------------------------------------------------------------- */

static aios_status add_vocabulary(aios_tokenizer *t, json_t *vocab)
{
    const char *key;
    json_t *value;
    json_object_foreach (vocab, key, value) {
        char bytes[TOKEN_MOST];
        size_t size = strlen(key);
        if (!json_is_integer(value)) return FAIL(AIOS_CORRUPT, "token \"%.40s\" has no integer id", key);
        if (size > sizeof bytes)
            return FAIL(AIOS_OUT_OF_RANGE, "token \"%.40s\" has %zu bytes: at most %d are read", key, size, TOKEN_MOST);
        size_t count = bytes_of(key, size, bytes);
        TRY_QUIET(vocabulary_add(&t->vocabulary, json_integer_value(value), count ? bytes : key, count ? count : size, count != 0));
    }
    return AIOS_OK;
}

static aios_status add_merge(aios_tokenizer *t, size_t rank, const char *left, size_t left_size, const char *right, size_t right_size)
{
    char a[TOKEN_MOST], b[TOKEN_MOST];
    if (left_size > sizeof a || right_size > sizeof b) return FAIL(AIOS_OUT_OF_RANGE, "a token of over %d bytes", TOKEN_MOST);
    size_t a_size = bytes_of(left, left_size, a), b_size = bytes_of(right, right_size, b);
    if (a_size == 0 || b_size == 0)
        return FAIL(AIOS_CORRUPT, "\"%.*s %.*s\" are not two tokens of a byte-level BPE", (int)(left_size < 40 ? left_size : 40), left,
                    (int)(right_size < 40 ? right_size : 40), right);
    return vocabulary_add_merge(&t->vocabulary, (uint32_t)rank, a, a_size, b, b_size);
}

/* "left right" */
static aios_status add_merge_line(aios_tokenizer *t, size_t rank, const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    size_t left = space ? (size_t)(space - line) : 0;
    if (!space || memchr(space + 1, ' ', size - left - 1))
        return FAIL(AIOS_CORRUPT, "\"%.*s\" must be two tokens with one space between them", (int)(size < 80 ? size : 80), line);
    return add_merge(t, rank, line, left, space + 1, size - left - 1);
}

static aios_status add_merges(aios_tokenizer *t, const json_t *merges)
{
    size_t count = json_array_size(merges);
    TRY_QUIET(vocabulary_reserve_merges(&t->vocabulary, count));
    for (size_t i = 0; i < count; i++) {
        const json_t *m = json_array_get(merges, i), *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (json_is_string(m)) {
            TRY(add_merge_line(t, i, json_string_value(m), json_string_length(m)), "merge number %zu", i);
        } else {
            if (json_array_size(m) != 2 || !json_is_string(a) || !json_is_string(b))
                return FAIL(AIOS_CORRUPT, "merge number %zu must be \"left right\" or [\"left\", \"right\"]", i);
            TRY(add_merge(t, i, json_string_value(a), json_string_length(a), json_string_value(b), json_string_length(b)),
                "merge number %zu", i);
        }
    }
    return AIOS_OK;
}

static aios_status add_merges_text(aios_tokenizer *t, const tokenizer_file *file)
{
    size_t lines = 1, rank = 0, number = 0;
    for (size_t i = 0; i < file->size; i++) lines += file->bytes[i] == '\n';
    TRY_QUIET(vocabulary_reserve_merges(&t->vocabulary, lines));
    for (size_t at = 0; at < file->size;) {
        const char *line = file->bytes + at, *end = memchr(line, '\n', file->size - at);
        size_t size = end ? (size_t)(end - line) : file->size - at;
        at += size + 1;
        number++;
        if (size && line[size - 1] == '\r') size--;
        if (size == 0 || (size >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        TRY(add_merge_line(t, rank++, line, size), "%s line %zu", file->name, number);
    }
    return AIOS_OK;
}

/* ---- added tokens ------------------------------------------------------------------------------------------------ */

static aios_status add_token(aios_tokenizer *t, int64_t id, const char *text, size_t size, int plain, int special)
{
    int32_t known = vocabulary_find(&t->vocabulary, text, size);
    if (known >= 0 && known != id)
        return FAIL(AIOS_CORRUPT, "added token \"%.40s\" has id %lld, and %d in the vocabulary", text, (long long)id, (int)known);
    const vocabulary *v = &t->vocabulary;
    int same = id >= 0 && (size_t)id < v->size && v->tokens[id].size == size && memcmp(v->bytes + v->tokens[id].offset, text, size) == 0;
    if (!same) TRY_QUIET(vocabulary_add(&t->vocabulary, id, text, size, 0));
    if (special) t->vocabulary.tokens[id].special = 1;
    TRY_QUIET(aios_memory_grow(t->context, (void **)&t->added, &t->added_capacity, t->added_count + 1, sizeof *t->added));
    added_token *added = &t->added[t->added_count];
    *added = (added_token){aios_memory_strdup(t->context, text), size, (int32_t)id, plain};
    if (!added->text) return AIOS_OUT_OF_MEMORY;
    t->added_count++;
    return AIOS_OK;
}

static aios_status add_added_tokens(aios_tokenizer *t, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *text;
        int64_t id;
        int left, right, single, special;
        TRY(json_get_int(entry, "id", 0, VOCABULARY_IDS_MOST - 1, &id), "added token number %zu", i);
        TRY(json_get_string(entry, "content", &text), "added token number %zu", i);
        TRY(json_get_bool_or(entry, "lstrip", 0, &left), "added token %.40s", text);
        TRY(json_get_bool_or(entry, "rstrip", 0, &right), "added token %.40s", text);
        TRY(json_get_bool_or(entry, "single_word", 0, &single), "added token %.40s", text);
        TRY(json_get_bool_or(entry, "special", 0, &special), "added token %.40s", text);
        TRY_QUIET(add_token(t, id, text, strlen(text), !left && !right && !single, special));
    }
    return AIOS_OK;
}

/* added_tokens.json: {"<x>": 50257} */
static aios_status add_added_object(aios_tokenizer *t, json_t *object)
{
    const char *text;
    json_t *id;
    json_object_foreach (object, text, id) {
        if (!json_is_integer(id)) return FAIL(AIOS_CORRUPT, "added token \"%.40s\" has no integer id", text);
        TRY_QUIET(add_token(t, json_integer_value(id), text, strlen(text), 1, 0));
    }
    return AIOS_OK;
}

/* ---- tokenizer.json ---------------------------------------------------------------------------------------------- */

static aios_status refuse(const char *what, const char *value)
{
    return FAIL(AIOS_UNSUPPORTED, "%s %s is not supported: only byte-level BPE without a normalizer is", what, value);
}

static aios_status check_normalizer(const json_t *root)
{
    const json_t *normalizer = json_object_get(root, "normalizer");
    const char *type;
    if (!normalizer || json_is_null(normalizer)) return AIOS_OK;
    TRY(json_get_string(normalizer, "type", &type), "normalizer");
    const json_t *parts = json_object_get(normalizer, "normalizers");
    if (strcmp(type, "Sequence") == 0 && json_is_array(parts) && json_array_size(parts) == 0) return AIOS_OK;
    return refuse("normalizer", type);
}

static aios_status check_decoder(const json_t *root)
{
    const json_t *decoder = json_object_get(root, "decoder");
    const char *type;
    if (!decoder || json_is_null(decoder)) return AIOS_OK;
    TRY(json_get_string(decoder, "type", &type), "decoder");
    return strcmp(type, "ByteLevel") == 0 ? AIOS_OK : refuse("decoder", type);
}

static aios_status add_stage(aios_tokenizer *t, const char *text, int literal, int drop_gaps)
{
    if (t->stage_count == TOKENIZER_STAGES_MOST) return FAIL(AIOS_UNSUPPORTED, "pre_tokenizer has over %d steps", TOKENIZER_STAGES_MOST);
    stage *s = &t->stages[t->stage_count];
    TRY_QUIET(literal ? pattern_compile_literal(t->context, text, &s->pattern) : pattern_compile(t->context, text, &s->pattern));
    s->drop_gaps = drop_gaps;
    t->stage_count++;
    return AIOS_OK;
}

static aios_status read_split(aios_tokenizer *t, const json_t *step)
{
    const char *behavior, *text;
    json_t *wanted;
    int invert;
    TRY_QUIET(json_get_string(step, "behavior", &behavior));
    TRY_QUIET(json_get_bool_or(step, "invert", 0, &invert));
    TRY_QUIET(json_get_object(step, "pattern", &wanted));
    int removed = strcmp(behavior, "Removed") == 0 && invert;
    if (!removed && strcmp(behavior, "Isolated") != 0)
        return FAIL(AIOS_UNSUPPORTED, "Split with behavior %s%s is not supported: Isolated, or Removed with invert, are", behavior,
                    invert ? " and invert" : "");
    int literal = json_object_get(wanted, "String") != NULL;
    TRY_QUIET(json_get_string(wanted, literal ? "String" : "Regex", &text));
    return add_stage(t, text, literal, removed);
}

static aios_status read_byte_level(aios_tokenizer *t, const json_t *step)
{
    int regex;
    TRY_QUIET(json_get_bool_or(step, "add_prefix_space", 1, &t->prefix_space));
    TRY_QUIET(json_get_bool_or(step, "use_regex", 1, &regex));
    if (t->prefix_space && t->stage_count)
        return FAIL(AIOS_UNSUPPORTED, "ByteLevel with add_prefix_space after another step of pre_tokenizer is not supported");
    return regex ? add_stage(t, PATTERN_GPT2, 0, 0) : AIOS_OK;
}

static aios_status read_step(aios_tokenizer *t, const json_t *step, int last)
{
    const char *type;
    int each;
    TRY_QUIET(json_get_string(step, "type", &type));
    if (strcmp(type, "ByteLevel") == 0 && last) return read_byte_level(t, step);
    if (last) return FAIL(AIOS_UNSUPPORTED, "pre_tokenizer %s is not supported: it must be, or end with, ByteLevel", type);
    if (strcmp(type, "Split") == 0) return read_split(t, step);
    if (strcmp(type, "Digits") != 0)
        return FAIL(AIOS_UNSUPPORTED, "pre_tokenizer %s is not supported: Split and Digits are, before ByteLevel", type);
    TRY_QUIET(json_get_bool_or(step, "individual_digits", 0, &each));
    return add_stage(t, each ? "\\p{N}" : "\\p{N}+", 0, 0);
}

static aios_status read_pre_tokenizer(aios_tokenizer *t, const json_t *root)
{
    json_t *pre, *steps;
    const char *type;
    TRY_QUIET(json_get_object(root, "pre_tokenizer", &pre));
    TRY(json_get_string(pre, "type", &type), "pre_tokenizer");
    if (strcmp(type, "Sequence") != 0) {
        TRY(read_step(t, pre, 1), "pre_tokenizer");
        return AIOS_OK;
    }
    TRY(json_get_array(pre, "pretokenizers", &steps), "pre_tokenizer");
    size_t count = json_array_size(steps);
    if (count == 0) return FAIL(AIOS_UNSUPPORTED, "pre_tokenizer is an empty Sequence: it must end with ByteLevel");
    for (size_t i = 0; i < count; i++) TRY(read_step(t, json_array_get(steps, i), i + 1 == count), "step %zu of pre_tokenizer", i + 1);
    return AIOS_OK;
}

static aios_status check_model(const json_t *model)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const char *type, *affix;
    int fallback;
    double dropout;
    TRY_QUIET(json_get_string_or(model, "type", "BPE", &type));
    if (strcmp(type, "BPE") != 0) return refuse("model", type);
    TRY_QUIET(json_get_number_or(model, "dropout", 0, 0, 1, &dropout));
    if (dropout > 0) return FAIL(AIOS_UNSUPPORTED, "dropout %g is not supported: it must be null", dropout);
    TRY_QUIET(json_get_bool_or(model, "byte_fallback", 0, &fallback));
    if (fallback) return FAIL(AIOS_UNSUPPORTED, "byte_fallback is not supported: it must be false");
    for (size_t i = 0; i < COUNT_OF(affixes); i++) {
        TRY_QUIET(json_get_string_or(model, affixes[i], "", &affix));
        if (*affix) return FAIL(AIOS_UNSUPPORTED, "%s \"%.40s\" is not supported: it must be null", affixes[i], affix);
    }
    return AIOS_OK;
}

static aios_status read_tokenizer_json(aios_tokenizer *t, const json_t *root)
{
    json_t *model, *vocab, *merges;
    TRY_QUIET(check_normalizer(root));
    TRY_QUIET(json_get_object(root, "model", &model));
    TRY(check_model(model), "model");
    TRY_QUIET(read_pre_tokenizer(t, root));
    TRY_QUIET(check_decoder(root));
    TRY(json_get_bool_or(model, "ignore_merges", 0, &t->ignore_merges), "model");
    TRY(json_get_object(model, "vocab", &vocab), "model");
    TRY(json_get_array(model, "merges", &merges), "model");
    TRY_QUIET(add_vocabulary(t, vocab));
    TRY_QUIET(add_merges(t, merges));
    return add_added_tokens(t, json_object_get(root, "added_tokens"));
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static aios_status load_tokenizer_json(aios_tokenizer *t, const char *path)
{
    const tokenizer_file *file;
    json_t *root;
    TRY_QUIET(keep_file(t, path, "tokenizer.json", &file));
    TRY_QUIET(json_parse(file->bytes, file->size, path, &LIMITS, &root));
    aios_status status = read_tokenizer_json(t, root);
    json_decref(root);
    TRY(status, "%s", path);
    return AIOS_OK;
}

static aios_status load_vocab_json(aios_tokenizer *t, const char *path)
{
    const tokenizer_file *file;
    json_t *vocab;
    TRY_QUIET(keep_file(t, path, "vocab.json", &file));
    TRY_QUIET(json_parse(file->bytes, file->size, path, &LIMITS, &vocab));
    aios_status status = json_is_object(vocab) ? add_vocabulary(t, vocab) : FAIL(AIOS_CORRUPT, "it must be an object of ids by token");
    json_decref(vocab);
    TRY(status, "%s", path);
    return AIOS_OK;
}

static aios_status load_added_json(aios_tokenizer *t, const char *folder)
{
    char path[PATH_MAX];
    const tokenizer_file *file;
    json_t *added;
    TRY_QUIET(os_path_join(path, folder, "added_tokens.json"));
    if (os_path_kind(path) != OS_FILE) return AIOS_OK;
    TRY_QUIET(keep_file(t, path, "added_tokens.json", &file));
    TRY_QUIET(json_parse(file->bytes, file->size, path, &LIMITS, &added));
    aios_status status = add_added_object(t, added);
    json_decref(added);
    TRY(status, "%s", path);
    return AIOS_OK;
}

static aios_status load_vocab_and_merges(aios_tokenizer *t, const char *folder)
{
    char path[PATH_MAX];
    const tokenizer_file *file;
    static const char end[] = "<|endoftext|>";
    TRY_QUIET(os_path_join(path, folder, "vocab.json"));
    TRY_QUIET(load_vocab_json(t, path));
    TRY_QUIET(os_path_join(path, folder, "merges.txt"));
    TRY_QUIET(keep_file(t, path, "merges.txt", &file));
    TRY(add_merges_text(t, file), "%s", path);
    TRY_QUIET(load_added_json(t, folder));
    int32_t id = vocabulary_find(&t->vocabulary, end, sizeof end - 1);
    if (id >= 0) TRY_QUIET(add_token(t, id, end, sizeof end - 1, 1, 1));
    return add_stage(t, PATTERN_GPT2, 0, 0);
}

/* vocab.json and merges.txt alone do not tell how text is cut; the class does. */
static aios_status check_class(aios_tokenizer *t, const json_t *config)
{
    static const char *const known[] = {"GPT2Tokenizer",        "GPT2TokenizerFast", "RobertaTokenizer",
                                        "RobertaTokenizerFast", "BartTokenizer",     "BartTokenizerFast"};
    const char *class;
    TRY_QUIET(json_get_string_or(config, "tokenizer_class", known[0], &class));
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(class, known[i]) == 0) return json_get_bool_or(config, "add_prefix_space", 0, &t->prefix_space);
    return FAIL(AIOS_UNSUPPORTED, "tokenizer_class %.60s is not supported with vocab.json and merges.txt: give its tokenizer.json", class);
}

static int32_t find_any(const aios_tokenizer *t, const char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].size == size && memcmp(t->added[i].text, text, size) == 0) return t->added[i].id;
    return vocabulary_find(&t->vocabulary, text, size);
}

static void find_end_of_text(aios_tokenizer *t, const json_t *config)
{
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>"};
    const json_t *eos = json_object_get(config, "eos_token");
    const char *text = json_string_value(json_is_object(eos) ? json_object_get(eos, "content") : eos);
    t->end_of_text = text && *text ? find_any(t, text) : -1;
    for (size_t i = 0; i < COUNT_OF(names) && t->end_of_text < 0; i++) t->end_of_text = find_any(t, names[i]);
}

static aios_status read_config(aios_tokenizer *t, const char *folder, json_t **config)
{
    char path[PATH_MAX];
    const tokenizer_file *file;
    *config = NULL;
    TRY_QUIET(os_path_join(path, folder, "tokenizer_config.json"));
    if (os_path_kind(path) != OS_FILE) return AIOS_OK;
    TRY_QUIET(keep_file(t, path, "tokenizer_config.json", &file));
    return json_parse(file->bytes, file->size, path, &LIMITS, config);
}

static int longer_first(const void *a, const void *b)
{
    const added_token *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return strcmp(x->text, y->text);
}

static void identify(aios_tokenizer *t)
{
    digest d;
    digest_init(&d);
    digest_add_text(&d, "byte-level BPE");
    for (size_t i = 0; i < t->file_count; i++) {
        if (strcmp(t->files[i].name, "tokenizer_config.json") == 0) continue; /* what counts of it follows */
        digest_add_text(&d, t->files[i].name);
        digest_add_u64(&d, t->files[i].size);
        digest_add(&d, t->files[i].bytes, t->files[i].size);
    }
    digest_add_u64(&d, (uint64_t)(int64_t)t->end_of_text);
    digest_add_u64(&d, (uint64_t)t->prefix_space);
    digest_end(&d, t->identity);
}

static aios_status load_model(aios_tokenizer *t, const char *json_path, const char *folder, const json_t *config)
{
    if (json_path) {
        TRY_QUIET(load_tokenizer_json(t, json_path));
    } else {
        TRY(check_class(t, config), "tokenizer_config.json of %s", folder);
        TRY_QUIET(load_vocab_and_merges(t, folder));
    }
    TRY(vocabulary_find_bytes(&t->vocabulary), "%s", json_path ? json_path : folder);
    if (t->added_count) qsort(t->added, t->added_count, sizeof *t->added, longer_first);
    t->size = (int32_t)t->vocabulary.size;
    find_end_of_text(t, config);
    identify(t);
    return AIOS_OK;
}

static aios_status load_folder(aios_tokenizer *t, const char *folder, const char *json_path)
{
    char path[PATH_MAX];
    const char *class;
    json_t *config;
    TRY_QUIET(read_config(t, folder, &config));
    aios_status status = os_path_join(path, folder, "tokenizer.json");
    if (status != AIOS_OK) goto done;
    if (!json_path && os_path_kind(path) == OS_FILE) json_path = path;
    char vocab[PATH_MAX];
    ATTEMPT_QUIET(os_path_join(vocab, folder, "vocab.json"));
    if (json_path || os_path_kind(vocab) == OS_FILE) {
        ATTEMPT_QUIET(load_model(t, json_path, folder, config));
    } else {
        ATTEMPT(json_get_string_or(config, "tokenizer_class", "", &class), "tokenizer_config.json of %s", folder);
        t->bytes = strcmp(class, "bytes") == 0;
        if (!t->bytes)
            status = FAIL(AIOS_NOT_FOUND, "folder %s has no tokenizer: neither tokenizer.json nor vocab.json and merges.txt", folder);
    }
done:
    json_decref(config);
    return status;
}

aios_status tokenizer_load(aios_tokenizer *t, const char *path)
{
    char folder[PATH_MAX];
    int kind = os_path_kind(path);
    if (kind == OS_FOLDER) return load_folder(t, path, NULL);
    if (kind == OS_NOTHING) return FAIL(AIOS_NOT_FOUND, "tokenizer %s: no such file or folder, nor is it \"bytes\"", path);
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s: the name is too long", path);
    char *slash = strrchr(folder, '/');
    const char *name = slash ? slash + 1 : path;
    int pair = strcmp(name, "vocab.json") == 0 || strcmp(name, "merges.txt") == 0;
    if (slash)
        slash[slash == folder] = 0;
    else
        memcpy(folder, ".", 2);
    if (!pair) return load_folder(t, folder, path);
    json_t *config;
    TRY_QUIET(read_config(t, folder, &config));
    aios_status status = load_model(t, NULL, folder, config);
    json_decref(config);
    return status;
}
