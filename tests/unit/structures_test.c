/* Structures that calls fill: no byte is written beyond the struct_size that the caller gave, which is how a program that was built with an
 * older header, whose structure is shorter, stays whole; and a struct_size that was not set is an error, not a guess. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <aios/aios.h>

static aios_context *context;
static aios_device *device;
static aios_graph *graph;
static aios_parameters *parameters;
static aios_plan *plan;
static aios_optimizer *optimizer;
static aios_puzzles *puzzles;

static int open_all(void **state)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    aios_sudoku_options sudoku = AIOS_SUDOKU_OPTIONS_INIT;
    int32_t ids[4] = {0, 1, 2, 3};
    (void)state;
    options.training = 1;
    sudoku.size = 4;
    sudoku.count = 2;
    if (aios_context_create(NULL, &context) || aios_device_open(context, "cpu", &device) || aios_graph_create(context, &graph)) return 1;
    aios_tensor x = aios_graph_input(graph, "x", AIOS_I32, (int32_t[]){1, 4}, 2);
    aios_tensor w = aios_graph_parameter(graph, "w", (int32_t[]){4, 4}, 2, AIOS_INIT_ONE, 0, AIOS_GROUP_DECAY);
    aios_graph_cross_entropy(graph, aios_graph_embedding(graph, w, x), x, AIOS_SOFTMAX, 1.0f);
    return aios_graph_finish(graph) || aios_parameters_create(device, graph, NULL, &parameters) ||
           aios_parameters_initialize(parameters, 1) || aios_plan_create(graph, parameters, &options, &plan) ||
           aios_optimizer_create(parameters, NULL, &optimizer) || aios_optimizer_begin(optimizer, 0.1, 4) ||
           aios_plan_write(plan, "x", ids, sizeof ids) || aios_plan_run(plan) || aios_optimizer_step(optimizer) ||
           aios_puzzles_make_sudoku(context, &sudoku, NULL, &puzzles);
}

static int close_all(void **state)
{
    (void)state;
    aios_puzzles_destroy(puzzles);
    aios_optimizer_destroy(optimizer);
    aios_plan_destroy(plan);
    aios_parameters_destroy(parameters);
    aios_graph_destroy(graph);
    aios_device_close(device);
    aios_context_destroy(context);
    return 0;
}

static aios_status fill_parameter(void *info)
{
    return aios_parameters_info(parameters, 0, info);
}

static aios_status fill_losses(void *sums)
{
    return aios_plan_losses(plan, sums, 0);
}

static aios_status fill_memory(void *memory)
{
    return aios_plan_get_memory(plan, memory);
}

static aios_status fill_result(void *result)
{
    return aios_optimizer_result(optimizer, result);
}

static aios_status fill_puzzles(void *info)
{
    return aios_puzzles_get_info(puzzles, info);
}

static aios_status fill_option(void *info)
{
    return aios_option_get_info(0, info);
}

static const struct {
    const char *name;
    size_t size;
    aios_status (*fill)(void *);
} structures[] = {
    {"aios_parameter_info", sizeof(aios_parameter_info), fill_parameter}, {"aios_loss_sums", sizeof(aios_loss_sums), fill_losses},
    {"aios_plan_memory", sizeof(aios_plan_memory), fill_memory},          {"aios_step_result", sizeof(aios_step_result), fill_result},
    {"aios_puzzles_info", sizeof(aios_puzzles_info), fill_puzzles},       {"aios_option_info", sizeof(aios_option_info), fill_option},
};
enum { COUNT = sizeof structures / sizeof *structures };

static void nothing_is_written_beyond_what_the_caller_knows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t known = (uint32_t)structures[i].size - 8;
        unsigned char whole[512], part[512];
        assert_true(structures[i].size <= sizeof whole);
        memset(whole, 0xee, sizeof whole);
        memset(part, 0xee, sizeof part);
        memcpy(whole, &(uint32_t){(uint32_t)structures[i].size}, 4);
        memcpy(part, &known, 4);
        assert_int_equal(structures[i].fill(whole), AIOS_OK);
        assert_int_equal(structures[i].fill(part), AIOS_OK);
        assert_memory_equal(part, &known, 4);
        assert_memory_equal(part + 4, whole + 4, known - 4);
        for (size_t at = known; at < sizeof part; at++)
            if (part[at] != 0xee) fail_msg("%s: byte %zu of %u was written", structures[i].name, at, (unsigned)known);
    }
}

static void a_size_that_was_not_set_is_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        unsigned char empty[512] = {0};
        assert_int_equal(structures[i].fill(empty), AIOS_ABI_MISMATCH);
        assert_non_null(strstr(aios_error_message(), structures[i].name));
        for (size_t at = 0; at < sizeof empty; at++) assert_int_equal(empty[at], 0);
    }
    aios_hrm_scores scores = {0};
    aios_evaluation evaluation = {0};
    aios_options *options;
    assert_int_equal(aios_options_create(context, AIOS_SCOPE_EVAL | AIOS_SCOPE_HRM, &options), AIOS_OK);
    assert_int_equal(aios_hrm_evaluate(context, options, &scores), AIOS_ABI_MISMATCH);
    assert_int_equal(aios_evaluate(context, options, &evaluation), AIOS_ABI_MISMATCH);
    aios_options_destroy(options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_written_beyond_what_the_caller_knows),
        cmocka_unit_test(a_size_that_was_not_set_is_an_error),
    };
    return cmocka_run_group_tests_name("structures", tests, open_all, close_all);
}
