/* Mazes: a random spanning tree of floor, some walls broken, and two places that one shortest path joins. */
#include "puzzles.h"

#include <string.h>

#define TRIES_PER_MAZE 2000
#define SIDE_MAX       256

enum { STREAM_MAZE = 0x6d617a65 };
enum { WALL = 1, FLOOR = 2, START = 3, GOAL = 4, PATH = 5 };

struct maze {
    aios_puzzles *set;
    int32_t size;
    uint8_t *input, *label, *turned;
    int32_t *distance; /* from the start; -1 not reached */
    uint8_t *ways;     /* shortest paths to here, 2 for more than one */
    int32_t *queue;
};

static const int32_t steps[4][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}};

static int inside(const struct maze *m, int32_t row, int32_t column)
{
    return row > 0 && column > 0 && row < m->size - 1 && column < m->size - 1;
}

/* Depth first over the cells with odd coordinates; the cell between two is opened with the second. */
static void dig(struct maze *m, rng *r)
{
    int32_t depth = 1;
    memset(m->input, WALL, (size_t)(m->size * m->size));
    m->queue[0] = m->size + 1;
    m->input[m->size + 1] = FLOOR;
    while (depth) {
        int32_t at = m->queue[depth - 1], way[4] = {0, 1, 2, 3}, next = -1;
        rng_shuffle(r, way, 4);
        for (int k = 0; k < 4 && next < 0; k++) {
            int32_t row = at / m->size + 2 * steps[way[k]][0], column = at % m->size + 2 * steps[way[k]][1];
            if (!inside(m, row, column) || m->input[row * m->size + column] == FLOOR) continue;
            next = row * m->size + column;
            m->input[(at + next) / 2] = FLOOR; /* the cell between: indices of a row or column apart by two */
        }
        if (next < 0) {
            depth--;
        } else {
            m->input[next] = FLOOR;
            m->queue[depth++] = next;
        }
    }
}

static void open_walls(struct maze *m, rng *r, int32_t count)
{
    int32_t span = m->size - 2;
    for (int32_t k = 0; k < count; k++) {
        int32_t row = 1 + (int32_t)rng_below(r, (uint64_t)span), column = 1 + (int32_t)rng_below(r, (uint64_t)span);
        m->input[row * m->size + column] = FLOOR;
    }
}

static void measure(struct maze *m, int32_t start)
{
    int32_t count = m->size * m->size, tail = 1;
    for (int32_t i = 0; i < count; i++) m->distance[i] = -1;
    memset(m->ways, 0, (size_t)count);
    m->queue[0] = start;
    m->distance[start] = 0;
    m->ways[start] = 1;
    for (int32_t head = 0; head < tail; head++) {
        int32_t at = m->queue[head];
        for (int k = 0; k < 4; k++) {
            int32_t next = at + steps[k][0] * m->size + steps[k][1]; /* the border is wall */
            if (m->input[next] == WALL) continue;
            if (m->distance[next] < 0) {
                m->distance[next] = m->distance[at] + 1;
                m->queue[tail++] = next;
            }
            if (m->distance[next] == m->distance[at] + 1) m->ways[next] = (uint8_t)(m->ways[next] + m->ways[at] > 1 ? 2 : 1);
        }
    }
}

static int32_t draw_floor(const struct maze *m, rng *r)
{
    int32_t at;
    do at = (int32_t)rng_below(r, (uint64_t)(m->size * m->size));
    while (m->input[at] == WALL);
    return at;
}

/* Marks start, goal and the path; 0 where the two won't do. */
static int place(struct maze *m, rng *r, int32_t min_length)
{
    int32_t start = draw_floor(m, r), goal = draw_floor(m, r);
    measure(m, start);
    if (goal == start || m->distance[goal] < min_length || m->ways[goal] != 1) return 0;
    memcpy(m->label, m->input, (size_t)(m->size * m->size));
    for (int32_t at = goal; at != start;) {
        if (at != goal) m->label[at] = PATH;
        for (int k = 0; k < 4; k++) {
            int32_t back = at + steps[k][0] * m->size + steps[k][1];
            if (m->distance[back] == m->distance[at] - 1) {
                at = back;
                break;
            }
        }
    }
    m->input[start] = m->label[start] = START;
    m->input[goal] = m->label[goal] = GOAL;
    return 1;
}

static aios_status add(struct maze *m, int dihedral)
{
    int fresh;
    size_t count = (size_t)(m->size * m->size);
    TRY_QUIET(puzzles_remember(m->set, m->input, &fresh));
    if (!fresh) return AIOS_OK;
    for (int32_t way = 0; way < (dihedral ? 8 : 1); way++) {
        grid_turn(m->turned, m->input, m->size, m->size, way);
        grid_turn(m->turned + count, m->label, m->size, m->size, way);
        if (way) TRY_QUIET(puzzles_remember(m->set, m->turned, &fresh));
        if (!fresh) continue;
        TRY_QUIET(puzzles_add(m->set, m->turned, m->turned + count));
        TRY_QUIET(puzzles_end_puzzle(m->set, 0));
    }
    return puzzles_end_group(m->set);
}

static aios_status make(struct maze *m, const aios_maze_options *o)
{
    rng r;
    uint64_t tries = 0;
    rng_init(&r, o->seed, STREAM_MAZE);
    while (m->set->info.groups < o->count) {
        if (tries++ > TRIES_PER_MAZE * (m->set->info.groups + 1))
            return FAIL(AIOS_NOT_FOUND,
                        "%llu mazes of side %d with a path of at least %d were found where %llu are wanted: ask for a shorter one",
                        (unsigned long long)m->set->info.groups, o->size, o->min_length, (unsigned long long)o->count);
        dig(m, &r);
        open_walls(m, &r, o->openings);
        if (place(m, &r, o->min_length)) TRY_QUIET(add(m, o->dihedral));
    }
    return AIOS_OK;
}

static aios_status prepare(aios_context *context, struct maze *m)
{
    size_t count = (size_t)(m->size * m->size);
    TRY_QUIET(puzzles_create(context, AIOS_PUZZLE_MAZE, m->size * m->size, 6, &m->set));
    m->input = aios_memory_array(context, count, 1);
    m->label = aios_memory_array(context, count, 1);
    m->turned = aios_memory_array(context, count, 2);
    m->ways = aios_memory_array(context, count, 1);
    m->distance = aios_memory_array(context, count, sizeof *m->distance);
    m->queue = aios_memory_array(context, count, sizeof *m->queue);
    return m->input && m->label && m->turned && m->ways && m->distance && m->queue ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

aios_status aios_puzzles_make_mazes(aios_context *context, const aios_maze_options *given, const aios_puzzles *other,
                                    aios_puzzles **puzzles)
{
    aios_status status = AIOS_OK;
    aios_maze_options o = AIOS_MAZE_OPTIONS_INIT;
    if (!context || !puzzles) return FAIL(AIOS_INVALID_ARGUMENT, "aios_puzzles_make_mazes: context and puzzles must not be NULL");
    *puzzles = NULL;
    TRY_QUIET(aios_struct_read("aios_maze_options", &o, sizeof o, given));
    if (o.size < 5 || o.size > SIDE_MAX || o.min_length < 0 || o.openings < 0)
        return FAIL(AIOS_OUT_OF_RANGE, "size is %d, min_length %d, openings %d: size must be 5 to %d, the others not negative", o.size,
                    o.min_length, o.openings, SIDE_MAX);
    struct maze m = {.size = o.size};
    ATTEMPT_QUIET(prepare(context, &m));
    ATTEMPT_QUIET(puzzles_remember_all(m.set, other));
    ATTEMPT_QUIET(make(&m, &o));
    puzzles_forget(m.set);
    *puzzles = m.set;
    m.set = NULL;
done:
    aios_memory_free(context, m.input);
    aios_memory_free(context, m.label);
    aios_memory_free(context, m.turned);
    aios_memory_free(context, m.ways);
    aios_memory_free(context, m.distance);
    aios_memory_free(context, m.queue);
    aios_puzzles_destroy(m.set);
    return status;
}
