/* The reference's folder of a split: dataset.json and all__*.npy. */
#include "npy.h"
#include "puzzles.h"

#include "base/json.h"
#include "base/os.h"

#include <stdio.h>
#include <string.h>

#define PATH_MOST OS_PATH_MAX

static aios_status join(char path[PATH_MOST], const char *folder, const char *split, const char *name)
{
    if (!folder || !split) return FAIL(AIOS_INVALID_ARGUMENT, "folder and split must not be NULL");
    char set[PATH_MOST];
    TRY_QUIET(os_path_join(set, folder, split));
    return os_path_join(path, set, name);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static aios_status write_indices(const aios_puzzles *set, const char *path, const uint64_t *values, uint64_t count)
{
    int32_t *narrow = aios_memory_array(set->context, (size_t)count, sizeof *narrow);
    if (!narrow) return AIOS_OUT_OF_MEMORY;
    aios_status status = AIOS_OK;
    for (uint64_t i = 0; i < count && status == AIOS_OK; i++) {
        if (values[i] > INT32_MAX) status = FAIL(AIOS_OUT_OF_RANGE, "%s: at most 2^31 - 1 examples can be written", path);
        narrow[i] = (int32_t)values[i];
    }
    if (status == AIOS_OK) status = npy_write(path, narrow, count, 0, 4);
    aios_memory_free(set->context, narrow);
    return status;
}

static const char *const kinds[] = {
    [AIOS_PUZZLE_OTHER] = "other", [AIOS_PUZZLE_SUDOKU] = "sudoku", [AIOS_PUZZLE_MAZE] = "maze", [AIOS_PUZZLE_ARC] = "arc"};

static aios_status write_description(const aios_puzzles *set, const char *path)
{
    const aios_puzzles_info *i = &set->info;
    json_t *root = json_pack("{si so si si si si sI sf s[s] ss}", "pad_id", i->pad_id, "ignore_label_id",
                             i->ignore_label_id < 0 ? json_null() : json_integer(i->ignore_label_id), "blank_identifier_id",
                             i->blank_identifier_id, "vocab_size", i->vocabulary_size, "seq_len", i->length, "num_puzzle_identifiers",
                             i->identifier_count, "total_groups", (json_int_t)i->groups, "mean_puzzle_examples",
                             i->puzzles ? (double)i->examples / (double)i->puzzles : 0.0, "sets", "all", "kind", kinds[i->kind]);
    if (!root) return FAIL(AIOS_OUT_OF_MEMORY, "no memory for %s", path);
    aios_status status = json_write_file(set->context, path, root, JSON_TEXT_PRETTY);
    json_decref(root);
    return status;
}

aios_status aios_puzzles_save(const aios_puzzles *set, const char *folder, const char *split)
{
    char path[PATH_MOST], own[PATH_MOST];
    if (!set) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_save: puzzles is NULL");
    uint64_t length = (uint64_t)set->info.length;
    TRY_QUIET(join(path, folder, split, "dataset.json"));
    TRY_QUIET(os_path_join(own, folder, split));
    TRY_QUIET(os_folder_create(own));
    TRY_QUIET(os_remove(path)); /* what is written half is no data set */
    TRY_QUIET(join(path, folder, split, "all__inputs.npy"));
    TRY_QUIET(npy_write(path, set->inputs, set->info.examples, length, 1));
    TRY_QUIET(join(path, folder, split, "all__labels.npy"));
    TRY_QUIET(npy_write(path, set->labels, set->info.examples, length, 1));
    TRY_QUIET(join(path, folder, split, "all__puzzle_identifiers.npy"));
    TRY_QUIET(npy_write(path, set->identifiers, set->info.puzzles, 0, 4));
    TRY_QUIET(join(path, folder, split, "all__puzzle_indices.npy"));
    TRY_QUIET(write_indices(set, path, set->puzzle_first, set->info.puzzles + 1));
    TRY_QUIET(join(path, folder, split, "all__group_indices.npy"));
    TRY_QUIET(write_indices(set, path, set->group_first, set->info.groups + 1));
    TRY_QUIET(join(path, folder, split, "dataset.json"));
    return write_description(set, path);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static aios_status read_sets(const json_t *root)
{
    json_t *sets;
    TRY_QUIET(json_get_array(root, "sets", &sets));
    const char *name = json_string_value(json_array_get(sets, 0));
    if (json_array_size(sets) != 1 || !name || strcmp(name, "all") != 0)
        return FAIL(AIOS_UNSUPPORTED, "sets has %zu entries, the first '%.40s': one set called 'all' is wanted", json_array_size(sets),
                    name ? name : "");
    return AIOS_OK;
}

static aios_status read_description(const json_t *root, aios_puzzles_info *info)
{
    int64_t vocabulary, length, pad, ignore, blank, identifiers, groups;
    const char *kind;
    TRY_QUIET(json_get_int(root, "vocab_size", 1, INT32_MAX, &vocabulary));
    if (vocabulary > 256)
        return FAIL(AIOS_UNSUPPORTED, "vocab_size is %lld: libaios keeps a token in a byte, 256 at most", (long long)vocabulary);
    TRY_QUIET(json_get_int(root, "seq_len", 1, PUZZLE_LENGTH_MAX, &length));
    TRY_QUIET(json_get_int_or(root, "pad_id", 0, 0, vocabulary - 1, &pad));
    TRY_QUIET(json_get_int_or(root, "ignore_label_id", -1, -1, 255, &ignore)); /* null: every label counts */
    TRY_QUIET(json_get_int_or(root, "blank_identifier_id", 0, 0, INT32_MAX - 1, &blank));
    TRY_QUIET(json_get_int(root, "num_puzzle_identifiers", 1, INT32_MAX - 1, &identifiers));
    TRY_QUIET(json_get_int(root, "total_groups", 0, INT32_MAX, &groups));
    TRY_QUIET(json_get_string_or(root, "kind", "other", &kind));
    TRY_QUIET(read_sets(root));
    if (blank >= identifiers)
        return FAIL(AIOS_CORRUPT, "blank_identifier_id is %lld: it must be under num_puzzle_identifiers, %lld", (long long)blank,
                    (long long)identifiers);
    *info = (aios_puzzles_info){.struct_size = sizeof *info,
                                .vocabulary_size = (int32_t)vocabulary,
                                .length = (int32_t)length,
                                .pad_id = (int32_t)pad,
                                .ignore_label_id = (int32_t)ignore,
                                .blank_identifier_id = (int32_t)blank,
                                .identifier_count = (int32_t)identifiers,
                                .groups = (uint64_t)groups};
    for (int32_t k = 0; k < (int32_t)COUNT_OF(kinds); k++)
        if (strcmp(kind, kinds[k]) == 0) info->kind = k;
    return AIOS_OK;
}

struct parts {
    os_map map[5];
    struct npy array[5];
    char path[5][PATH_MOST];
};
enum { INPUTS, LABELS, IDENTIFIERS, PUZZLES, GROUPS };
static const char *const names[] = {"all__inputs.npy", "all__labels.npy", "all__puzzle_identifiers.npy", "all__puzzle_indices.npy",
                                    "all__group_indices.npy"};

static aios_status check_shapes(const aios_puzzles_info *info, const struct parts *p)
{
    const struct npy *a = p->array;
    for (int k = 0; k < 5; k++) {
        int rank = k <= LABELS ? 2 : 1;
        if (a[k].rank != rank || (rank == 2 && a[k].shape[1] != (uint64_t)info->length))
            return FAIL(AIOS_CORRUPT, "%s has %d dimensions, the last %llu: %d are wanted, the last of a row %d long", p->path[k],
                        a[k].rank, (unsigned long long)a[k].shape[a[k].rank - 1], rank, info->length);
    }
    if (a[LABELS].shape[0] != a[INPUTS].shape[0] || a[PUZZLES].count != a[IDENTIFIERS].count + 1 || a[GROUPS].count != info->groups + 1)
        return FAIL(
            AIOS_CORRUPT,
            "%s: %llu inputs, %llu labels, %llu identifiers, %llu puzzle indices, %llu group indices, %llu groups: labels must be as "
            "many as inputs, indices one more than what they count",
            p->path[INPUTS], (unsigned long long)a[INPUTS].shape[0], (unsigned long long)a[LABELS].shape[0],
            (unsigned long long)a[IDENTIFIERS].count, (unsigned long long)a[PUZZLES].count, (unsigned long long)a[GROUPS].count,
            (unsigned long long)info->groups);
    return AIOS_OK;
}

static aios_status copy_tokens(const struct npy *from, const char *path, int64_t below, int64_t ignored, uint8_t *to)
{
    for (uint64_t i = 0; i < from->count; i++) {
        int64_t value = npy_get(from, i);
        if (value < 0 || (value >= below && value != ignored))
            return FAIL(AIOS_CORRUPT, "%s: element %llu is %lld: it must be from 0 to %lld", path, (unsigned long long)i, (long long)value,
                        (long long)below - 1);
        to[i] = (uint8_t)value;
    }
    return AIOS_OK;
}

/* Rising from 0 to `last`. */
static aios_status copy_indices(const struct npy *from, const char *path, uint64_t last, uint64_t *to)
{
    for (uint64_t i = 0; i < from->count; i++) {
        int64_t value = npy_get(from, i), least = i ? (int64_t)to[i - 1] : 0;
        int64_t most = i ? (int64_t)last : 0;
        if (i + 1 == from->count) least = (int64_t)last;
        if (value < least || value > most)
            return FAIL(AIOS_CORRUPT, "%s: element %llu is %lld: it must be from %lld to %lld (indices rise from 0 to %llu)", path,
                        (unsigned long long)i, (long long)value, (long long)least, (long long)most, (unsigned long long)last);
        to[i] = (uint64_t)value;
    }
    return AIOS_OK;
}

static aios_status copy_parts(aios_puzzles *set, const struct parts *p)
{
    const struct npy *a = p->array;
    aios_context *context = set->context;
    aios_memory_free(context, set->puzzle_first);
    aios_memory_free(context, set->group_first);
    set->puzzle_first = aios_memory_array(context, (size_t)a[PUZZLES].count, sizeof *set->puzzle_first);
    set->group_first = aios_memory_array(context, (size_t)a[GROUPS].count, sizeof *set->group_first);
    set->identifiers = aios_memory_array(context, (size_t)a[IDENTIFIERS].count + 1, sizeof *set->identifiers);
    set->inputs = aios_memory_array(context, (size_t)a[INPUTS].count + 1, 1);
    set->labels = aios_memory_array(context, (size_t)a[LABELS].count + 1, 1);
    if (!set->puzzle_first || !set->group_first || !set->identifiers || !set->inputs || !set->labels) return AIOS_OUT_OF_MEMORY;
    set->info.examples = a[INPUTS].shape[0];
    set->info.puzzles = a[IDENTIFIERS].count;
    TRY_QUIET(copy_tokens(&a[INPUTS], p->path[INPUTS], set->info.vocabulary_size, -1, set->inputs));
    TRY_QUIET(copy_tokens(&a[LABELS], p->path[LABELS], set->info.vocabulary_size, set->info.ignore_label_id, set->labels));
    TRY_QUIET(copy_indices(&a[PUZZLES], p->path[PUZZLES], set->info.examples, set->puzzle_first));
    TRY_QUIET(copy_indices(&a[GROUPS], p->path[GROUPS], set->info.puzzles, set->group_first));
    for (uint64_t i = 0; i < set->info.puzzles; i++) {
        int64_t value = npy_get(&a[IDENTIFIERS], i);
        if (value < 0 || value >= set->info.identifier_count)
            return FAIL(AIOS_CORRUPT, "%s: element %llu is %lld: it must be from 0 to %d", p->path[IDENTIFIERS], (unsigned long long)i,
                        (long long)value, set->info.identifier_count - 1);
        set->identifiers[i] = (int32_t)value;
    }
    return AIOS_OK;
}

aios_status aios_puzzles_open(aios_context *context, const char *folder, const char *split, aios_puzzles **puzzles)
{
    aios_status status = AIOS_OK;
    char path[PATH_MOST];
    json_t *root = NULL;
    aios_puzzles *set = NULL;
    aios_puzzles_info info = {0};
    if (!context || !puzzles) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_open: context and puzzles must not be NULL");
    *puzzles = NULL;
    struct parts *parts = aios_new(context, struct parts);
    if (!parts) return AIOS_OUT_OF_MEMORY;
    ATTEMPT_QUIET(join(path, folder, split, "dataset.json"));
    ATTEMPT_QUIET(json_read_file(context, path, NULL, &root));
    ATTEMPT(read_description(root, &info), "reading %s", path);
    ATTEMPT_QUIET(puzzles_create(context, info.kind, info.length, info.vocabulary_size, &set));
    set->info = info;
    for (int k = 0; k < 5; k++) {
        ATTEMPT_QUIET(join(parts->path[k], folder, split, names[k]));
        ATTEMPT_QUIET(os_map_open(parts->path[k], &parts->map[k]));
        ATTEMPT_QUIET(npy_parse(parts->path[k], parts->map[k].address, parts->map[k].size, &parts->array[k]));
    }
    ATTEMPT_QUIET(check_shapes(&info, parts));
    ATTEMPT_QUIET(copy_parts(set, parts));
    *puzzles = set;
    set = NULL;
done:
    for (int k = 0; k < 5; k++) os_map_close(&parts->map[k]);
    aios_memory_free(context, parts);
    aios_puzzles_destroy(set);
    json_decref(root);
    return status;
}
