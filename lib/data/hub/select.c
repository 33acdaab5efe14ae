#include "select.h"

#include "base/text.h"
#include "data/source.h"
#include "hub.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- specs ------------------------------------------------------------------------------------------------------- */

static int is_word_byte(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

/* What is safe as a folder's name and in an address as it is. */
static int is_word(const char *word, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!is_word_byte(word[i])) return 0;
    return size > 0 && size < HUB_WORD && *word != '.';
}

static aios_status refuse_spec(const char *text, const char *what)
{
    return FAIL(AIOS_INVALID_ARGUMENT,
                "\"%s\": %s: it must be " HUB_PREFIX "ORG/NAME[@REVISION][/FILE or FOLDER][:CONFIG][:SPLIT], such as " HUB_PREFIX
                "roneneldan/TinyStories:train",
                text, what);
}

static int take_word(const char *from, size_t size, char to[HUB_WORD])
{
    if (!is_word(from, size)) return 0;
    memcpy(to, from, size);
    to[size] = 0;
    return 1;
}

/* :CONFIG and :SPLIT, from `colon` to the end. */
static aios_status parse_parts(hub_spec *spec, const char *colon)
{
    if (!*colon) return AIOS_OK;
    size_t size = strcspn(colon + 1, ":");
    if (!take_word(colon + 1, size, spec->config)) return refuse_spec(spec->text, "what follows the first colon is no name of a part");
    colon += 1 + size;
    if (!*colon) return AIOS_OK;
    if (!take_word(colon + 1, strlen(colon + 1), spec->split))
        return refuse_spec(spec->text, "what follows the second colon is no name of a part");
    return AIOS_OK;
}

/* A relative path whose parts are names, so that it stays where it is put. */
static int is_safe_path(const char *path)
{
    if (!*path || strlen(path) >= 1024 || !text_is_utf8(path, strlen(path))) return 0;
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\') return 0;
    for (const char *part = path;; part++) {
        size_t size = strcspn(part, "/");
        if (size == 0 || (size == 1 && *part == '.') || (size == 2 && part[0] == '.' && part[1] == '.')) return 0;
        part += size;
        if (!*part) return 1;
    }
}

aios_status hub_spec_parse(const char *text, hub_spec *spec)
{
    *spec = (hub_spec){.text = text, .revision = "main"};
    const char *at = text + strlen(HUB_PREFIX);
    if (strncmp(at, "datasets/", 9) == 0) at += 9;
    const char *end = at + strcspn(at, ":"), *name = at;
    TRY_QUIET(parse_parts(spec, end));
    size_t first = strcspn(at, "/@:"), size = first;
    if (!is_word(at, first)) return refuse_spec(text, "the name is missing or holds what no name does");
    if (at[first] == '/') {
        size_t second = strcspn(at + first + 1, "/@:");
        if (!is_word(at + first + 1, second)) return refuse_spec(text, "the name behind the slash is missing or holds what no name does");
        size += 1 + second;
    }
    (void)snprintf(spec->repo, sizeof spec->repo, "%.*s", (int)size, name);
    at += size;
    if (*at == '@') {
        size_t length = strcspn(at + 1, "/:");
        if (!take_word(at + 1, length, spec->revision)) return refuse_spec(text, "the revision behind the @ is none");
        at += 1 + length;
    }
    if (*at != '/') return AIOS_OK;
    (void)snprintf(spec->path, sizeof spec->path, "%.*s", (int)(end - at - 1), at + 1);
    size_t length = strlen(spec->path);
    if (length && spec->path[length - 1] == '/') spec->path[length - 1] = 0;
    return is_safe_path(spec->path) ? AIOS_OK : refuse_spec(text, "the path behind the name is none");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

aios_status hub_files_add(hub_files *files, const char *name, uint64_t size, const char *hash)
{
    if (!is_safe_path(name)) return FAIL(AIOS_CORRUPT, "the list of files names one that could lie outside of its folder");
    TRY_QUIET(aios_memory_grow(files->context, (void **)&files->items, &files->capacity, files->count + 1, sizeof *files->items));
    hub_file *file = &files->items[files->count];
    *file = (hub_file){.name = aios_memory_strdup(files->context, name), .size = size};
    if (!file->name) return AIOS_OUT_OF_MEMORY;
    (void)snprintf(file->hash, sizeof file->hash, "%s", hash);
    files->count++;
    return AIOS_OK;
}

void hub_files_free(hub_files *files)
{
    for (size_t i = 0; i < files->count; i++) aios_memory_free(files->context, files->items[i].name);
    aios_memory_free(files->context, files->items);
    *files = (hub_files){.context = files->context};
}

/* ---- words of names ---------------------------------------------------------------------------------------------- */

enum { SPLIT_NONE, SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST, SPLIT_COUNT };
static const char *const SPLIT_NAMES[SPLIT_COUNT] = {"", "train", "validation", "test"};
static const struct {
    const char *word;
    int split;
} SPLIT_WORDS[] = {{"train", SPLIT_TRAIN},      {"training", SPLIT_TRAIN}, {"validation", SPLIT_VALIDATION},
                   {"valid", SPLIT_VALIDATION}, {"val", SPLIT_VALIDATION}, {"dev", SPLIT_VALIDATION},
                   {"test", SPLIT_TEST},        {"testing", SPLIT_TEST},   {"eval", SPLIT_TEST},
                   {"evaluation", SPLIT_TEST}};

static int is_equal(const char *word, size_t size, const char *wanted)
{
    return strlen(wanted) == size && strncasecmp(word, wanted, size) == 0;
}

static int split_of_word(const char *word, size_t size)
{
    for (size_t i = 0; i < COUNT_OF(SPLIT_WORDS); i++)
        if (is_equal(word, size, SPLIT_WORDS[i].word)) return SPLIT_WORDS[i].split;
    return SPLIT_NONE;
}

/* The last word of a name that stands for a split: "eval_set/train-0.txt" is of train. */
static int split_of_name(const char *name)
{
    int split = SPLIT_NONE;
    for (const char *at = name; *at;) {
        size_t size = 0;
        while (isalnum((unsigned char)at[size])) size++;
        int found = split_of_word(at, size);
        if (found) split = found;
        at += size;
        while (*at && !isalnum((unsigned char)*at)) at++;
    }
    return split;
}

/* Whether a name has a word between its other ones: "en" is one of "data/en_1.txt". */
static int has_word(const char *name, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(name, word); at; at = strstr(at + 1, word))
        if ((at == name || !isalnum((unsigned char)at[-1])) && !isalnum((unsigned char)at[size])) return 1;
    return 0;
}

/* A folder above the file, or how its name begins. */
static int is_of_config(const char *name, const char *config)
{
    size_t size = strlen(config);
    for (const char *part = name;; part++) {
        size_t length = strcspn(part, "/");
        if (strncmp(part, config, size) == 0 && (length == size || (length > size && !part[length] && !isalnum((unsigned char)part[size]))))
            return 1;
        part += length;
        if (!*part) return 0;
    }
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static int is_about(const char *name)
{
    static const char *const starts[] = {"readme",   "license",      "licence",    "notice",      "changelog", "requirements",
                                         "citation", "dataset_info", "state.json", "config.json", "."};
    const char *base = base_name(name);
    for (size_t i = 0; i < COUNT_OF(starts); i++)
        if (strncasecmp(base, starts[i], strlen(starts[i])) == 0) return 1;
    return *name == '.' || strstr(name, "/.") != NULL;
}

static int is_below(const char *name, const char *path)
{
    size_t size = strlen(path);
    return size == 0 || (strncmp(name, path, size) == 0 && (name[size] == 0 || name[size] == '/'));
}

enum { NO_CANDIDATE, CANDIDATE, REFUSED };

static int judge(const hub_file *file, const hub_spec *spec)
{
    int format, gzip;
    if (!is_below(file->name, spec->path)) return NO_CANDIDATE;
    aios_status status = source_find_format(file->name, &format, &gzip);
    if (status != AIOS_OK) {
        aios_error_clear();
        return REFUSED;
    }
    if (strcmp(file->name, spec->path) == 0) return CANDIDATE;
    size_t size = strlen(file->name);
    int is_page = size > 3 && strcmp(file->name + size - 3, ".md") == 0;
    return format == SOURCE_UNKNOWN || is_page || is_about(file->name) ? NO_CANDIDATE : CANDIDATE;
}

static size_t keep(hub_files *files, int (*is_wanted)(const char *name, const char *word), const char *word)
{
    size_t kept = 0;
    for (size_t i = 0; i < files->count; i++) kept += files->items[i].chosen && is_wanted(files->items[i].name, word);
    for (size_t i = 0; i < files->count && kept; i++) files->items[i].chosen &= is_wanted(files->items[i].name, word);
    return kept;
}

static int is_of_split(const char *name, const char *word)
{
    int split = split_of_word(word, strlen(word));
    return split ? split_of_name(name) == split : has_word(name, word);
}

static int has_no_split(const char *name, const char *word)
{
    (void)word;
    return split_of_name(name) == SPLIT_NONE;
}

/* What there is, for an error. */
static aios_status refuse_part(const hub_files *files, const hub_spec *spec, const char *kind, const char *word)
{
    char there[400] = "";
    size_t used = 0, shown = 0, total = 0;
    for (size_t i = 0; i < files->count; i++) {
        if (!files->items[i].chosen) continue;
        total++;
        size_t size = strlen(files->items[i].name);
        if (used + size + 3 > sizeof there - 32) continue;
        used += (size_t)snprintf(there + used, sizeof there - used, "%s%s", shown++ ? ", " : "", files->items[i].name);
    }
    if (shown < total) (void)snprintf(there + used, sizeof there - used, " and %zu more", total - shown);
    return FAIL(AIOS_NOT_FOUND, "%s: it has no %s \"%s\"; its files are %s", spec->text, kind, word, there);
}

static aios_status choose_split(hub_files *files, const hub_spec *spec, const char *split)
{
    if (keep(files, is_of_split, *split ? split : "train")) return AIOS_OK;
    if (!*split || split_of_word(split, strlen(split)) == SPLIT_TRAIN)
        if (keep(files, has_no_split, "")) return AIOS_OK;
    return refuse_part(files, spec, "split", *split ? split : SPLIT_NAMES[SPLIT_TRAIN]);
}

static aios_status refuse_all(const hub_files *files, const hub_spec *spec)
{
    for (size_t i = 0; i < files->count; i++) {
        int format, gzip;
        if (!is_below(files->items[i].name, spec->path) || is_about(files->items[i].name)) continue;
        TRY(source_find_format(files->items[i].name, &format, &gzip),
            "%s has no file that is read; in Python, datasets.load_dataset(\"%s\")[\"train\"].to_json(\"train.jsonl\") makes one",
            spec->text, spec->repo);
    }
    return FAIL(AIOS_NOT_FOUND, "%s: there is no file of text%s%s: .txt, .jsonl, .csv and their .gz are read", spec->text,
                *spec->path ? " below " : "", spec->path);
}

aios_status hub_files_choose(hub_files *files, const hub_spec *spec)
{
    size_t candidates = 0;
    const char *split = spec->split;
    for (size_t i = 0; i < files->count; i++) {
        files->items[i].chosen = judge(&files->items[i], spec) == CANDIDATE;
        candidates += (size_t)files->items[i].chosen;
        if (files->items[i].chosen && strcmp(files->items[i].name, spec->path) == 0 && !*spec->config) return AIOS_OK;
    }
    if (candidates == 0) return refuse_all(files, spec);
    int is_split = !*split && split_of_word(spec->config, strlen(spec->config));
    if (*spec->config && (is_split || !keep(files, is_of_config, spec->config))) {
        if (*split) return refuse_part(files, spec, "config", spec->config);
        split = spec->config;
    }
    return choose_split(files, spec, split);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* Of "…-00001-of-00004…": where the 00001 begins, and the 4; 0 where it is no such name. */
static unsigned long shards_of(const char *name, const char **number)
{
    for (const char *of = strstr(name, "-of-"); of; of = strstr(of + 1, "-of-")) {
        if (of - name < 6 || of[-6] != '-' || strspn(of - 5, "0123456789") != 5 || strspn(of + 4, "0123456789") < 5) continue;
        *number = of - 5;
        return strtoul(of + 4, NULL, 10);
    }
    return 0;
}

int hub_files_are_whole(const hub_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *number, *other;
        if (files->items[i].chosen && files->items[i].missing) return 0;
        unsigned long total = files->items[i].chosen ? shards_of(files->items[i].name, &number) : 0, found = 0;
        if (!total) continue;
        size_t before = (size_t)(number - files->items[i].name);
        for (size_t k = 0; k < files->count; k++)
            found += files->items[k].chosen && shards_of(files->items[k].name, &other) == total &&
                     (size_t)(other - files->items[k].name) == before && strncmp(files->items[k].name, files->items[i].name, before) == 0 &&
                     strcmp(other + 5, number + 5) == 0;
        if (found < total) return 0;
    }
    return 1;
}
