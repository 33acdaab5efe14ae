#include "team_sim.h"

#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define SWITCH_BY_CONTEXT 1 /* the sanitizer follows swapcontext from stack to stack, not longjmp, which is five times faster */
#elif defined(__SANITIZE_THREAD__)
#define LANES_ARE_THREADS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SWITCH_BY_CONTEXT 1
#elif __has_feature(thread_sanitizer)
#define LANES_ARE_THREADS 1
#endif
#endif

#define SLOTS 64 /* local arrays of one kernel, by __COUNTER__ */

/* What the dialect's SIM form refers to. */
extern _Thread_local int32_t sim_lane, sim_team, sim_teams;
void sim_barrier(void);
void *sim_local(int id, size_t bytes);

_Thread_local int32_t sim_lane, sim_team, sim_teams;

static const char divergent[] = "not every lane of a team reaches the same barriers";
static const char too_much_local[] = "a team uses more local memory than every GPU has";

struct local_memory {
    unsigned char *arena;
    size_t used;
    void *slots[SLOTS];
};

static void reset_local(struct local_memory *local)
{
    if (!local->arena) local->arena = aligned_alloc(256, TEAM_SIM_LOCAL_BYTES);
    memset(local->slots, 0, sizeof local->slots);
    local->used = 0;
}

/* The team's array of that id; made, full of NaN, by the first lane that asks. */
static void *find_local(struct local_memory *local, int id, size_t bytes, const char **error)
{
    void **slot = &local->slots[id % SLOTS];
    if (*slot) return *slot;
    if (local->used + bytes > TEAM_SIM_LOCAL_BYTES) {
        *error = too_much_local;
        local->used = 0;
    }
    *slot = local->arena + local->used;
    local->used += (bytes + 15) / 16 * 16;
    memset(*slot, 0xff, bytes);
    return *slot;
}

#if !defined(LANES_ARE_THREADS)

/* ---- coroutines -------------------------------------------------------------------------------------------------- */

#define STACK_BYTES (64 * 1024)

enum lane_state { AT_BARRIER, FINISHED };

#if defined(SWITCH_BY_CONTEXT)
typedef ucontext_t place;
#define SWITCH(from, to) (void)swapcontext(&(from), &(to))
#else
typedef jmp_buf place;
#define SWITCH(from, to)                                                                                                                   \
    do {                                                                                                                                   \
        if (_setjmp(from) == 0) _longjmp(to, 1);                                                                                           \
    } while (0)
#endif

struct lane {
    place at;
    enum lane_state state;
};

struct crew {
    struct lane lanes[TEAM_SIM_SIZE];
    char *stacks;
    struct local_memory local;
    place home;
    team_sim_fn kernel;
    const void *const *arguments;
    const char *error;
};
static _Thread_local struct crew *crew;
static _Thread_local ucontext_t boot_to;
#if !defined(SWITCH_BY_CONTEXT)
static _Thread_local ucontext_t boot_from;
#endif

static void hand_back(enum lane_state state)
{
    struct lane *lane = &crew->lanes[sim_lane];
    lane->state = state;
    SWITCH(lane->at, crew->home);
}

void sim_barrier(void)
{
    hand_back(AT_BARRIER);
}

void *sim_local(int id, size_t bytes)
{
    return find_local(&crew->local, id, bytes, &crew->error);
}

static void live(void) /* a lane: one team after the other */
{
#if !defined(SWITCH_BY_CONTEXT)
    if (_setjmp(crew->lanes[sim_lane].at) == 0) (void)swapcontext(&boot_to, &boot_from);
#endif
    for (;;) {
        crew->kernel(sim_team, sim_teams, crew->arguments);
        hand_back(FINISHED);
    }
}

static void make_crew(void)
{
    crew = calloc(1, sizeof *crew);
    crew->stacks = malloc((size_t)STACK_BYTES * TEAM_SIM_SIZE);
    for (int32_t l = 0; l < TEAM_SIM_SIZE; l++) {
        (void)getcontext(&boot_to);
        boot_to.uc_stack.ss_sp = crew->stacks + (size_t)STACK_BYTES * (size_t)l;
        boot_to.uc_stack.ss_size = STACK_BYTES - (size_t)(l % 16) * 192; /* equal offsets would share one cache set */
        boot_to.uc_link = NULL;
        makecontext(&boot_to, live, 0);
#if defined(SWITCH_BY_CONTEXT)
        crew->lanes[l].at = boot_to;
#else
        sim_lane = l;
        (void)swapcontext(&boot_from, &boot_to);
#endif
    }
}

static void resume(int32_t lane)
{
    sim_lane = lane;
    SWITCH(crew->home, crew->lanes[lane].at);
}

void team_sim_end(void) /* a lane that waits at a barrier dies with its stack */
{
    if (!crew) return;
    free(crew->local.arena);
    free(crew->stacks);
    free(crew);
    crew = NULL;
}

static const char *give_up(const char *error)
{
    team_sim_end();
    return error;
}

static const char *run_team(void)
{
    reset_local(&crew->local);
    for (int round = 0;; round++) {
        int finished = 0;
        for (int32_t i = 0; i < TEAM_SIM_SIZE; i++) {
            int32_t lane = round % 2 ? TEAM_SIM_SIZE - 1 - i : i;
            resume(lane);
            finished += crew->lanes[lane].state == FINISHED;
        }
        if (finished == TEAM_SIM_SIZE) return crew->error;
        if (finished > 0) return give_up(divergent);
    }
}

const char *team_sim_run(team_sim_fn kernel, uint32_t teams, const void *const *arguments)
{
    const char *error = NULL;
    for (uint32_t team = 0; team < teams && !error; team++) {
        if (!crew) make_crew();
        crew->kernel = kernel;
        crew->arguments = arguments;
        crew->error = NULL;
        sim_teams = (int32_t)teams;
        sim_team = (int32_t)team;
        error = run_team();
    }
    return error;
}

#else

/* ---- threads ----------------------------------------------------------------------------------------------------- */

struct crew {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    struct local_memory local;
    team_sim_fn kernel;
    const void *const *arguments;
    const char *error;
    int32_t team, teams;
    int waiting, finished, round;
};
struct lane {
    struct crew *crew;
    int32_t index;
};
static _Thread_local struct crew *crew;

/* Where all that can come have come, the round ends; if some of the others had finished, that is the error. */
static void end_round(void)
{
    if (crew->waiting + crew->finished < TEAM_SIM_SIZE) return;
    if (crew->waiting > 0 && crew->finished > 0) crew->error = divergent;
    crew->waiting = 0;
    crew->round++;
    (void)pthread_cond_broadcast(&crew->moved);
}

void sim_barrier(void)
{
    (void)pthread_mutex_lock(&crew->mutex);
    int round = crew->round;
    crew->waiting++;
    end_round();
    while (crew->round == round) (void)pthread_cond_wait(&crew->moved, &crew->mutex);
    (void)pthread_mutex_unlock(&crew->mutex);
}

void *sim_local(int id, size_t bytes)
{
    (void)pthread_mutex_lock(&crew->mutex);
    void *p = find_local(&crew->local, id, bytes, &crew->error);
    (void)pthread_mutex_unlock(&crew->mutex);
    return p;
}

static void *live(void *user)
{
    const struct lane *lane = user;
    crew = lane->crew;
    sim_lane = lane->index;
    sim_team = crew->team;
    sim_teams = crew->teams;
    crew->kernel(sim_team, sim_teams, crew->arguments);
    (void)pthread_mutex_lock(&crew->mutex);
    crew->finished++;
    end_round();
    (void)pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

const char *team_sim_run(team_sim_fn kernel, uint32_t teams, const void *const *arguments)
{
    struct crew c = {.kernel = kernel, .arguments = arguments, .teams = (int32_t)teams};
    (void)pthread_mutex_init(&c.mutex, NULL);
    (void)pthread_cond_init(&c.moved, NULL);
    for (; c.team < c.teams && !c.error; c.team++) {
        pthread_t threads[TEAM_SIM_SIZE];
        struct lane lanes[TEAM_SIM_SIZE];
        reset_local(&c.local);
        c.finished = c.waiting = 0;
        for (int32_t l = 0; l < TEAM_SIM_SIZE; l++) {
            lanes[l] = (struct lane){&c, l};
            if (pthread_create(&threads[l], NULL, live, &lanes[l]) != 0) return "no thread for a lane";
        }
        for (int32_t l = 0; l < TEAM_SIM_SIZE; l++) (void)pthread_join(threads[l], NULL);
    }
    (void)pthread_cond_destroy(&c.moved);
    (void)pthread_mutex_destroy(&c.mutex);
    free(c.local.arena);
    return c.error;
}

void team_sim_end(void)
{
}

#endif
