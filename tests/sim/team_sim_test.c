/* Every kernel in its GPU form against float64, and what the simulation itself promises. */
#include "team_sim.h"

#include "conformance/expect.h"

#include <stdlib.h>

#define AIOS_SIM  1
#define TEAM_SIZE TEAM_SIM_SIZE
#include "kernels/dialect.h"

static int launch_sim(struct runner *runner, uint32_t kernel, uint32_t teams, const void *const *arguments)
{
    const char *error = team_sim_launch(kernel, teams, arguments);
    if (error) (void)snprintf(runner->error, sizeof runner->error, "%s", error);
    return error != NULL;
}

static struct runner sim = {.name = "team simulation",
                            .slack = 1,
                            .launch = launch_sim,
                            .alloc = host_alloc,
                            .free = host_free,
                            .upload = host_copy,
                            .download = host_copy};

#define CASES(theme)                                                                                                                       \
    static void theme##_agrees_with_float64(void **state)                                                                                  \
    {                                                                                                                                      \
        (void)state;                                                                                                                       \
        theme##_cases(&sim);                                                                                                               \
        EXPECT_GOOD(&sim);                                                                                                                 \
    }
CASES(elementwise)
CASES(activation)
CASES(reduce)
CASES(embedding)
CASES(norm)
CASES(rope)
CASES(attention)
CASES(halting)
CASES(experts)
CASES(loss)
CASES(optimizer)
CASES(gemm)

static void every_kernel_ran(void **state)
{
    (void)state;
    EXPECT_EVERY_KERNEL_RAN(&sim);
}

/* ---- the simulation itself --------------------------------------------------------------------------------------- */

static void sum_lanes(int32_t team, int32_t teams, const void *const *arguments)
{
    f32 *out = *(f32 *const *)arguments[0];
    (void)teams;
    TEAM_SCRATCH;
    f32 sum = TEAM_SUM((f32)TEAM_LANE);
    TEAM_LEADER out[team] = sum;
}

static void meet_different_barriers(int32_t team, int32_t teams, const void *const *arguments)
{
    (void)team, (void)teams, (void)arguments;
    if (TEAM_LANE < 3) TEAM_BARRIER();
}

#if !defined(__SANITIZE_THREAD__) /* a data race, on purpose */
static void forget_a_barrier(int32_t team, int32_t teams, const void *const *arguments)
{
    f32 *out = *(f32 *const *)arguments[0];
    (void)team, (void)teams;
    LOCAL_ARRAY(f32, box, TEAM_SIZE);
    box[TEAM_LANE] = 1.0f;
    out[TEAM_LANE] = box[(TEAM_LANE + 1) % TEAM_SIZE];
}
#endif

static void take_too_much_local_memory(int32_t team, int32_t teams, const void *const *arguments)
{
    (void)team, (void)teams, (void)arguments;
    LOCAL_ARRAY(f32, much, TEAM_SIM_LOCAL_BYTES / 8);
    LOCAL_ARRAY(f32, more, TEAM_SIM_LOCAL_BYTES / 4 - 8);
    (void)much, (void)more;
}

static void teams_run_whole_and_in_turn(void **state)
{
    (void)state;
    f32 out[3] = {0, 0, 0}, *pointer = out;
    const void *arguments[] = {&pointer};
    assert_null(team_sim_run(sum_lanes, 3, arguments));
    for (int i = 0; i < 3; i++) assert_true(out[i] == TEAM_SIM_SIZE * (TEAM_SIM_SIZE - 1) / 2);
}

static void lanes_that_meet_different_barriers_are_reported(void **state)
{
    (void)state;
    f32 out = 0, *pointer = &out;
    const void *arguments[] = {&pointer};
    assert_non_null(team_sim_run(meet_different_barriers, 1, arguments));
    assert_null(team_sim_run(sum_lanes, 1, arguments)); /* and the next launch is sound */
}

static void a_missing_barrier_gives_a_wrong_number(void **state)
{
    (void)state;
#if !defined(__SANITIZE_THREAD__)
    f32 out[TEAM_SIM_SIZE], *pointer = out;
    const void *arguments[] = {&pointer};
    int wrong = 0;
    (void)team_sim_run(forget_a_barrier, 1, arguments);
    for (int i = 0; i < TEAM_SIM_SIZE; i++) wrong += !(out[i] == 1.0f);
#if !defined(__SANITIZE_ADDRESS__) /* threads may be lucky */
    assert_true(wrong > 0);
#endif
#endif
}

static void too_much_local_memory_is_reported(void **state)
{
    (void)state;
    assert_non_null(team_sim_run(take_too_much_local_memory, 1, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(teams_run_whole_and_in_turn),
        cmocka_unit_test(lanes_that_meet_different_barriers_are_reported),
        cmocka_unit_test(a_missing_barrier_gives_a_wrong_number),
        cmocka_unit_test(too_much_local_memory_is_reported),
        cmocka_unit_test(elementwise_agrees_with_float64),
        cmocka_unit_test(activation_agrees_with_float64),
        cmocka_unit_test(reduce_agrees_with_float64),
        cmocka_unit_test(embedding_agrees_with_float64),
        cmocka_unit_test(norm_agrees_with_float64),
        cmocka_unit_test(rope_agrees_with_float64),
        cmocka_unit_test(attention_agrees_with_float64),
        cmocka_unit_test(halting_agrees_with_float64),
        cmocka_unit_test(experts_agrees_with_float64),
        cmocka_unit_test(loss_agrees_with_float64),
        cmocka_unit_test(optimizer_agrees_with_float64),
        cmocka_unit_test(gemm_agrees_with_float64),
        cmocka_unit_test(every_kernel_ran),
    };
#if defined(__SANITIZE_THREAD__)
    sim.brief = 2; /* a thread per lane */
#elif defined(__SANITIZE_ADDRESS__)
    sim.brief = 1;
#endif
    int failed = cmocka_run_group_tests_name("team simulation", tests, NULL, NULL);
    team_sim_end();
    return failed;
}
