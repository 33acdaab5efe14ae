#include "order.h"

#include "base/checksum.h"
#include "base/os.h"

#include <stdio.h>

#define TABLES 2 /* epochs that are known at once: one ends, the next begins */

/* Where the visits of an epoch begin; not needed where every visit has one example. */
struct visits {
    uint64_t epoch, count;
    uint64_t *first; /* (count + 1): the first sample of each */
    size_t capacity;
};

struct puzzle_order {
    const aios_puzzles *set;
    uint64_t seed, samples;
    int single; /* 1: every puzzle has one example */
    char identity[80];
    os_mutex mutex; /* of what follows */
    struct visits tables[TABLES];
    int made, next; /* tables that are filled; the one that is replaced next */
};

static void name_order(puzzle_order *o)
{
    const aios_puzzles_info *info = &o->set->info;
    checksum sum = CHECKSUM_INIT;
    size_t bytes = (size_t)info->examples * (size_t)info->length;
    checksum_add(&sum, o->set->inputs, bytes);
    checksum_add(&sum, o->set->labels, bytes);
    checksum_add(&sum, o->set->identifiers, (size_t)info->puzzles * sizeof *o->set->identifiers);
    checksum_add(&sum, o->set->puzzle_first, ((size_t)info->puzzles + 1) * sizeof *o->set->puzzle_first);
    checksum_add(&sum, o->set->group_first, ((size_t)info->groups + 1) * sizeof *o->set->group_first);
    (void)snprintf(o->identity, sizeof o->identity, "puzzles-%llu-%d-%08x", (unsigned long long)info->examples, info->length,
                   (unsigned)sum.crc);
}

aios_status puzzle_order_create(const aios_puzzles *set, uint64_t seed, puzzle_order **order)
{
    *order = NULL;
    if (!set->info.examples) return FAIL(AIOS_NOT_FOUND, "the set of puzzles has no examples");
    puzzle_order *o = aios_new(set->context, puzzle_order);
    if (!o) return AIOS_OUT_OF_MEMORY;
    o->set = set;
    o->seed = seed;
    o->samples = (uint64_t)((double)set->info.groups * ((double)set->info.examples / (double)set->info.puzzles));
    if (o->samples == 0) o->samples = 1;
    o->single = 1;
    for (uint64_t i = 0; i < set->info.puzzles && o->single; i++) o->single = set->puzzle_first[i + 1] - set->puzzle_first[i] == 1;
    for (uint64_t i = 0; i < set->info.groups && o->single; i++) o->single = set->group_first[i + 1] > set->group_first[i];
    os_mutex_init(&o->mutex);
    name_order(o);
    *order = o;
    return AIOS_OK;
}

void puzzle_order_destroy(puzzle_order *o)
{
    if (!o) return;
    for (int i = 0; i < TABLES; i++) aios_memory_free(o->set->context, o->tables[i].first);
    os_mutex_destroy(&o->mutex);
    aios_memory_free(o->set->context, o);
}

uint64_t puzzle_order_epoch(const puzzle_order *o)
{
    return o->samples;
}

const char *puzzle_order_identity(const puzzle_order *o)
{
    return o->identity;
}

static aios_status fill_table(puzzle_order *o, uint64_t epoch, struct visits *t)
{
    uint64_t sample = 0;
    t->count = 0;
    for (uint64_t visit = 0; sample < o->samples; visit++) {
        TRY_QUIET(aios_memory_grow(o->set->context, (void **)&t->first, &t->capacity, (size_t)visit + 2, sizeof *t->first));
        t->first[visit] = sample;
        sample += puzzles_visit(o->set, o->seed, epoch, visit).count;
        t->first[visit + 1] = sample;
        t->count = visit + 1;
    }
    t->epoch = epoch;
    return AIOS_OK;
}

/* Under the mutex. */
static aios_status find_table(puzzle_order *o, uint64_t epoch, const struct visits **found)
{
    for (int i = 0; i < o->made; i++)
        if (o->tables[i].epoch == epoch) {
            *found = &o->tables[i];
            return AIOS_OK;
        }
    struct visits *t = &o->tables[o->next];
    t->epoch = UINT64_MAX; /* where it fails half-way */
    TRY_QUIET(fill_table(o, epoch, t));
    o->next = (o->next + 1) % TABLES;
    if (o->made < TABLES) o->made++;
    *found = t;
    return AIOS_OK;
}

/* The visit that a sample of an epoch belongs to, and which of its examples it is. */
static aios_status find_visit(puzzle_order *o, uint64_t epoch, uint64_t sample, uint64_t *visit, uint64_t *which)
{
    const struct visits *t;
    *visit = sample;
    *which = 0;
    if (o->single) return AIOS_OK;
    os_mutex_lock(&o->mutex);
    aios_status status = find_table(o, epoch, &t);
    if (status == AIOS_OK) {
        uint64_t low = 0, high = t->count;
        while (high - low > 1) {
            uint64_t middle = low + (high - low) / 2;
            if (t->first[middle] <= sample)
                low = middle;
            else
                high = middle;
        }
        *visit = low;
        *which = sample - t->first[low];
    }
    os_mutex_unlock(&o->mutex);
    return status;
}

aios_status puzzle_order_read(puzzle_order *o, uint64_t n, int32_t *inputs, int32_t *labels, int32_t *identifier)
{
    uint64_t epoch = n / o->samples, visit, which;
    TRY_QUIET(find_visit(o, epoch, n % o->samples, &visit, &which));
    struct puzzle_visit found = puzzles_visit(o->set, o->seed, epoch, visit);
    puzzles_take(o->set, &found, which, inputs, labels, identifier);
    return AIOS_OK;
}
