/* A set of puzzles: how it grows, what is drawn from it. */
#include "puzzles.h"

#include "base/sizes.h"

#include <string.h>

aios_status puzzles_create(aios_context *context, int32_t kind, int32_t length, int32_t vocabulary, aios_puzzles **puzzles)
{
    aios_puzzles *made = aios_new(context, aios_puzzles);
    *puzzles = NULL;
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    made->info = (aios_puzzles_info){.struct_size = sizeof made->info,
                                     .vocabulary_size = vocabulary,
                                     .length = length,
                                     .ignore_label_id = 0,
                                     .identifier_count = 1,
                                     .kind = kind};
    if (aios_memory_grow(context, (void **)&made->puzzle_first, &made->puzzle_capacity, 1, sizeof *made->puzzle_first) != AIOS_OK ||
        aios_memory_grow(context, (void **)&made->group_first, &made->group_capacity, 1, sizeof *made->group_first) != AIOS_OK) {
        aios_puzzles_destroy(made);
        return AIOS_OUT_OF_MEMORY;
    }
    made->puzzle_first[0] = made->group_first[0] = 0;
    *puzzles = made;
    return AIOS_OK;
}

void aios_puzzles_destroy(aios_puzzles *set)
{
    if (!set) return;
    aios_context *context = set->context;
    aios_memory_free(context, set->inputs);
    aios_memory_free(context, set->labels);
    aios_memory_free(context, set->identifiers);
    aios_memory_free(context, set->puzzle_first);
    aios_memory_free(context, set->group_first);
    aios_memory_free(context, set->table);
    aios_memory_free(context, set);
    aios_context_release(context);
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

aios_status puzzles_add(aios_puzzles *set, const uint8_t *input, const uint8_t *label)
{
    size_t length = (size_t)set->info.length, need;
    if (!size_multiply((size_t)set->info.examples + 1, length, &need))
        return FAIL(AIOS_OUT_OF_RANGE, "%llu examples of %zu tokens are too many", (unsigned long long)set->info.examples + 1, length);
    TRY_QUIET(aios_memory_grow(set->context, (void **)&set->inputs, &set->input_capacity, need, 1));
    TRY_QUIET(aios_memory_grow(set->context, (void **)&set->labels, &set->label_capacity, need, 1));
    memcpy(set->inputs + need - length, input, length);
    memcpy(set->labels + need - length, label, length);
    set->info.examples++;
    return AIOS_OK;
}

aios_status puzzles_end_puzzle(aios_puzzles *set, int32_t identifier)
{
    uint64_t n = set->info.puzzles;
    TRY_QUIET(aios_memory_grow(set->context, (void **)&set->puzzle_first, &set->puzzle_capacity, (size_t)n + 2, sizeof *set->puzzle_first));
    TRY_QUIET(
        aios_memory_grow(set->context, (void **)&set->identifiers, &set->identifier_capacity, (size_t)n + 1, sizeof *set->identifiers));
    set->identifiers[n] = identifier;
    set->puzzle_first[n + 1] = set->info.examples;
    set->info.puzzles++;
    if (identifier >= set->info.identifier_count) set->info.identifier_count = identifier + 1;
    return AIOS_OK;
}

aios_status puzzles_end_group(aios_puzzles *set)
{
    uint64_t n = set->info.groups;
    TRY_QUIET(aios_memory_grow(set->context, (void **)&set->group_first, &set->group_capacity, (size_t)n + 2, sizeof *set->group_first));
    set->group_first[n + 1] = set->info.puzzles;
    set->info.groups++;
    return AIOS_OK;
}

/* ---- what is there already --------------------------------------------------------------------------------------- */

static uint64_t hash_input(const uint8_t *input, int32_t length)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a, then mixed */
    for (int32_t i = 0; i < length; i++) hash = (hash ^ input[i]) * 1099511628211u;
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

/* Puts a hash into a table that has room; 0 where it was there. */
static int place_hash(uint64_t *table, size_t size, uint64_t hash)
{
    size_t at = (size_t)hash & (size - 1);
    for (; table[at]; at = (at + 1) & (size - 1))
        if (table[at] == hash) return 0;
    table[at] = hash;
    return 1;
}

aios_status puzzles_remember(aios_puzzles *set, const uint8_t *input, int *fresh)
{
    if (2 * (set->table_used + 1) > set->table_size) {
        size_t size = set->table_size ? set->table_size * 2 : 1024;
        uint64_t *table = aios_memory_array(set->context, size, sizeof *table);
        if (!table) return AIOS_OUT_OF_MEMORY;
        memset(table, 0, size * sizeof *table);
        for (size_t i = 0; i < set->table_size; i++)
            if (set->table[i]) (void)place_hash(table, size, set->table[i]);
        aios_memory_free(set->context, set->table);
        set->table = table;
        set->table_size = size;
    }
    *fresh = place_hash(set->table, set->table_size, hash_input(input, set->info.length));
    set->table_used += (size_t)*fresh;
    return AIOS_OK;
}

aios_status puzzles_remember_all(aios_puzzles *set, const aios_puzzles *other)
{
    int fresh;
    if (!other) return AIOS_OK;
    if (other->info.length != set->info.length)
        return FAIL(AIOS_INVALID_ARGUMENT, "the other set has puzzles of %d tokens, these have %d", other->info.length, set->info.length);
    for (uint64_t i = 0; i < other->info.examples; i++)
        TRY_QUIET(puzzles_remember(set, other->inputs + i * (uint64_t)other->info.length, &fresh));
    return AIOS_OK;
}

void puzzles_forget(aios_puzzles *set)
{
    aios_memory_free(set->context, set->table);
    set->table = NULL;
    set->table_size = set->table_used = 0;
}

/* ---- chance and symmetry ----------------------------------------------------------------------------------------- */

void rng_shuffle(rng *r, int32_t *values, int32_t count)
{
    for (int32_t i = count - 1; i > 0; i--) {
        int32_t j = (int32_t)rng_below(r, (uint64_t)i + 1), kept = values[i];
        values[i] = values[j];
        values[j] = kept;
    }
}

void grid_turn(uint8_t *to, const uint8_t *from, int32_t rows, int32_t columns, int32_t way)
{
    for (int32_t r = 0; r < rows; r++)
        for (int32_t c = 0; c < columns; c++) {
            int32_t at = 0;
            switch (way) {
            case 0: at = r * columns + c; break;
            case 1: at = (columns - 1 - c) * rows + r; break;
            case 2: at = (rows - 1 - r) * columns + columns - 1 - c; break;
            case 3: at = c * rows + rows - 1 - r; break;
            case 4: at = r * columns + columns - 1 - c; break;
            case 5: at = (rows - 1 - r) * columns + c; break;
            case 6: at = c * rows + r; break;
            default: at = (columns - 1 - c) * rows + rows - 1 - r; break;
            }
            to[at] = from[r * columns + c];
        }
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

aios_status aios_puzzles_get_info(const aios_puzzles *set, aios_puzzles_info *info)
{
    if (!set || !info) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_get_info: puzzles and info must not be NULL");
    return aios_struct_write("aios_puzzles_info", info, &set->info, sizeof set->info);
}

static void copy_example(const aios_puzzles *set, uint64_t index, int32_t *inputs, int32_t *labels)
{
    const uint8_t *in = set->inputs + index * (uint64_t)set->info.length, *out = set->labels + index * (uint64_t)set->info.length;
    for (int32_t i = 0; i < set->info.length; i++) {
        inputs[i] = in[i];
        labels[i] = out[i] == set->info.ignore_label_id ? PUZZLE_IGNORED : out[i];
    }
}

static uint64_t puzzle_of(const aios_puzzles *set, uint64_t example)
{
    uint64_t low = 0, high = set->info.puzzles;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (set->puzzle_first[middle] <= example)
            low = middle;
        else
            high = middle;
    }
    return low;
}

aios_status aios_puzzles_example(const aios_puzzles *set, uint64_t index, int32_t *inputs, int32_t *labels, int32_t *identifier)
{
    if (!set || !inputs || !labels) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_example: puzzles, inputs and labels must not be NULL");
    if (index >= set->info.examples)
        return FAIL(AIOS_OUT_OF_RANGE, "example %llu: the set has %llu", (unsigned long long)index, (unsigned long long)set->info.examples);
    copy_example(set, index, inputs, labels);
    if (identifier) *identifier = set->identifiers[puzzle_of(set, index)];
    return AIOS_OK;
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

enum { STREAM_ORDER = 0x70757a31, STREAM_VISIT = 0x70757a32 };

struct puzzle_visit puzzles_visit(const aios_puzzles *set, uint64_t seed, uint64_t epoch, uint64_t visit)
{
    uint64_t group = rng_permute(seed, STREAM_ORDER + (epoch << 32), set->info.groups, visit % set->info.groups);
    uint64_t first = set->group_first[group], puzzles = set->group_first[group + 1] - first;
    struct puzzle_visit found = {0, 0, 0, 0};
    rng r;
    rng_init(&r, seed, STREAM_VISIT + (epoch << 32));
    r.counter = visit * 4;
    if (!puzzles) return found;
    found.puzzle = first + rng_below(&r, puzzles);
    found.example = set->puzzle_first[found.puzzle];
    found.count = set->puzzle_first[found.puzzle + 1] - found.example;
    found.shuffle = rng_u64(&r);
    return found;
}

void puzzles_take(const aios_puzzles *set, const struct puzzle_visit *visit, uint64_t which, int32_t *inputs, int32_t *labels,
                  int32_t *identifier)
{
    copy_example(set, visit->example + rng_permute(visit->shuffle, STREAM_VISIT, visit->count, which), inputs, labels);
    *identifier = set->identifiers[visit->puzzle];
}

/* Up to `room` examples of one puzzle of the group that this visit comes to; returns how many. */
static int32_t take_some(const aios_puzzles *set, uint64_t seed, const aios_puzzles_position *at, int32_t room, int32_t *inputs,
                         int32_t *labels, int32_t *identifiers)
{
    struct puzzle_visit visit = puzzles_visit(set, seed, at->epoch, at->visit);
    int32_t taken = 0;
    for (; taken < room && (uint64_t)taken < visit.count; taken++) {
        int64_t to = (int64_t)taken * set->info.length;
        puzzles_take(set, &visit, (uint64_t)taken, inputs + to, labels + to, &identifiers[taken]);
    }
    return taken;
}

aios_status aios_puzzles_draw(const aios_puzzles *set, uint64_t seed, aios_puzzles_position *position, int32_t batch, int32_t *inputs,
                              int32_t *labels, int32_t *identifiers)
{
    if (!set || !position || !inputs || !labels || !identifiers)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_draw: no argument may be NULL");
    if (batch < 1) return FAIL(AIOS_OUT_OF_RANGE, "aios_puzzles_draw: batch is %d: it must be at least 1", batch);
    if (!set->info.examples) return FAIL(AIOS_NOT_FOUND, "aios_puzzles_draw: the set has no examples");
    for (int32_t done = 0; done < batch;) {
        if (position->visit >= set->info.groups) *position = (aios_puzzles_position){position->epoch + 1, 0};
        int64_t at = (int64_t)done * set->info.length;
        done += take_some(set, seed, position, batch - done, inputs + at, labels + at, identifiers + done);
        position->visit++;
    }
    return AIOS_OK;
}
