/* What graph.h promises of mistakes: the first one stays, every later call gives 0, and aios_graph_finish says which call, which
 * operand and which sizes were wrong. */
#include "test.h"

#include <aios/plan.h>

#include <math.h>
#include <string.h>

#define SHAPE(...) (int32_t[]){__VA_ARGS__}, (int32_t)(sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

struct subject {
    aios_context *context;
    aios_graph *g;
    aios_tensor x, ids, table, weight, gain, state; /* (2, 3, 6), (2, 3), (5, 6), (4, 6), (6), (2, 9, 4) */
};

static struct subject begin(void)
{
    struct subject s = {.context = test_context()};
    assert_ok(aios_graph_create(s.context, &s.g));
    s.x = aios_graph_input(s.g, "x", AIOS_F32, SHAPE(2, 3, 6));
    s.ids = aios_graph_input(s.g, "ids", AIOS_I32, SHAPE(2, 3));
    s.table = aios_graph_parameter(s.g, "table", SHAPE(5, 6), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
    s.weight = aios_graph_parameter(s.g, "weight", SHAPE(4, 6), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
    s.gain = aios_graph_parameter(s.g, "gain", SHAPE(6), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY);
    s.state = aios_graph_state(s.g, "state", AIOS_F32, SHAPE(2, 9, 4));
    assert_true(s.x && s.ids && s.table && s.weight && s.gain && s.state);
    return s;
}

/* The graph has a mistake of that status, whose message has all the words (separated by |); it stays, and nothing can be added. */
static void expect(struct subject *s, const char *call, aios_status status, const char *words)
{
    char list[256], *rest = list, message[1024];
    aios_status got = aios_graph_finish(s->g);
    (void)snprintf(message, sizeof message, "%s", got == AIOS_OK ? "" : aios_error_message());
    if (got != status) fail_msg("%s: %s (%s), not %s", call, aios_status_name(got), message, aios_status_name(status));
    (void)snprintf(list, sizeof list, "%s", words);
    for (char *word = strtok_r(list, "|", &rest); word; word = strtok_r(NULL, "|", &rest))
        if (!strstr(message, word)) fail_msg("%s: '%s' doesn't say '%s'", call, message, word);
    aios_error_clear();
    assert_int_equal(aios_graph_gelu(s->g, s->x), 0);
    assert_int_equal(aios_graph_input(s->g, "more", AIOS_F32, SHAPE(2)), 0);
    assert_int_equal(aios_graph_add(s->g, 12345, -7), 0);
    aios_graph_output(s->g, "", 0);
    assert_int_equal(aios_graph_finish(s->g), status);
    assert_string_equal(aios_error_message(), message);
    aios_graph_destroy(s->g);
    aios_context_destroy(s->context);
}

/* MISTAKE(call that gives a tensor, status, words) */
#define MISTAKE(call, status, words)                                                                                                       \
    do {                                                                                                                                   \
        struct subject s = begin();                                                                                                        \
        assert_int_equal(call, 0);                                                                                                         \
        expect(&s, #call, status, words);                                                                                                  \
    } while (0)
#define MISTAKE_OF(call, status, words)                                                                                                    \
    do {                                                                                                                                   \
        struct subject s = begin();                                                                                                        \
        call;                                                                                                                              \
        expect(&s, #call, status, words);                                                                                                  \
    } while (0)

static void leaves(void **state)
{
    (void)state;
    char name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    MISTAKE(aios_graph_input(s.g, "y", AIOS_BF16, SHAPE(2)), AIOS_INVALID_ARGUMENT, "aios_graph_input|type is 1");
    MISTAKE(aios_graph_input(s.g, "y", 77, SHAPE(2)), AIOS_INVALID_ARGUMENT, "77");
    MISTAKE(aios_graph_input(s.g, "", AIOS_F32, SHAPE(2)), AIOS_INVALID_ARGUMENT, "name");
    MISTAKE(aios_graph_input(s.g, NULL, AIOS_F32, SHAPE(2)), AIOS_INVALID_ARGUMENT, "name");
    MISTAKE(aios_graph_input(s.g, name, AIOS_F32, SHAPE(2)), AIOS_INVALID_ARGUMENT, "nnnnnn|199");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, NULL, 1), AIOS_OUT_OF_RANGE, "aios_graph_input");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, SHAPE(1, 2, 3, 4, 5)), AIOS_OUT_OF_RANGE, "rank is 5|1 to 4");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, (int32_t[]){1}, 0), AIOS_OUT_OF_RANGE, "rank is 0");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, SHAPE(2, 0)), AIOS_OUT_OF_RANGE, "dimension 1 is 0");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, SHAPE(-2, 2)), AIOS_OUT_OF_RANGE, "dimension 0 is -2");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, SHAPE(INT32_MAX, INT32_MAX, INT32_MAX)), AIOS_OUT_OF_RANGE, "elements");
    MISTAKE(aios_graph_input(s.g, "y", AIOS_F32, SHAPE(65536, 65536, 1)), AIOS_OUT_OF_RANGE, "rows");
    MISTAKE(aios_graph_input(s.g, "x", AIOS_F32, SHAPE(2, 3, 5)), AIOS_ALREADY_EXISTS, "'x'|(2, 3, 6)|(2, 3, 5)");
    MISTAKE(aios_graph_input(s.g, "x", AIOS_I32, SHAPE(2, 3, 6)), AIOS_ALREADY_EXISTS, "'x'");
    MISTAKE(aios_graph_parameter(s.g, "x", SHAPE(2, 3, 6), AIOS_INIT_ONE, 0.0f, 0), AIOS_ALREADY_EXISTS, "'x'");
    MISTAKE(aios_graph_parameter(s.g, "gain", SHAPE(7), AIOS_INIT_ONE, 0.0f, 0), AIOS_ALREADY_EXISTS, "'gain'|(6)|(7)");
    MISTAKE(aios_graph_parameter(s.g, "p", SHAPE(7), 9, 0.0f, 0), AIOS_INVALID_ARGUMENT, "'p'|init 9");
    MISTAKE(aios_graph_parameter(s.g, "p", SHAPE(7), AIOS_INIT_ONE, 0.0f, 3), AIOS_INVALID_ARGUMENT, "'p'|group 3");
    MISTAKE(aios_graph_state(s.g, "s", AIOS_U8, SHAPE(7)), AIOS_INVALID_ARGUMENT, "aios_graph_state|type is 4");
    MISTAKE_OF(aios_graph_assign(s.g, s.x, s.state), AIOS_INVALID_ARGUMENT, "aios_graph_assign|'x'|(2, 9, 4)");
    MISTAKE_OF(aios_graph_assign(s.g, s.state, s.table), AIOS_INVALID_ARGUMENT, "'state' (2, 9, 4)|(5, 6)");
    MISTAKE_OF(aios_graph_assign(s.g, s.state, s.ids), AIOS_INVALID_ARGUMENT, "'state'|(2, 3)");
    MISTAKE_OF(aios_graph_assign(s.g, s.state, 99), AIOS_INVALID_ARGUMENT, "value is 99");
    MISTAKE_OF(aios_graph_assign(s.g, 0, s.state), AIOS_INVALID_ARGUMENT, "state is 0");
}

static void one_name_and_shape_are_one_leaf(void **state)
{
    (void)state;
    struct subject s = begin();
    assert_int_equal(aios_graph_input(s.g, "x", AIOS_F32, SHAPE(2, 3, 6)), s.x);
    assert_int_equal(aios_graph_parameter(s.g, "table", SHAPE(5, 6), AIOS_INIT_ONE, 0.0f, AIOS_GROUP_DECAY), s.table);
    assert_int_equal(aios_graph_state(s.g, "state", AIOS_F32, SHAPE(2, 9, 4)), s.state);
    assert_int_equal(aios_graph_parameter_count(s.g), 3);
    assert_int_equal(aios_graph_rank(s.g, s.x), 3);
    assert_int_equal(aios_graph_dimension(s.g, s.x, -1), 6);
    assert_int_equal(aios_graph_dimension(s.g, s.x, 3), 0);
    assert_int_equal(aios_graph_rank(s.g, 500), 0);
    assert_ok(aios_graph_finish(s.g));
    assert_ok(aios_graph_finish(s.g));
    assert_int_equal(aios_graph_gelu(s.g, s.x), 0);
    expect(&s, "after the end", AIOS_WRONG_STATE, "aios_graph_gelu|finished");
}

static void operands_that_are_none(void **state)
{
    (void)state;
    MISTAKE(aios_graph_gelu(s.g, 0), AIOS_INVALID_ARGUMENT, "aios_graph_gelu|x is 0|there are 6");
    MISTAKE(aios_graph_gelu(s.g, 7), AIOS_INVALID_ARGUMENT, "x is 7");
    MISTAKE(aios_graph_scale(s.g, -1, 2.0f), AIOS_INVALID_ARGUMENT, "aios_graph_scale|x is -1");
    MISTAKE(aios_graph_swiglu(s.g, INT32_MAX), AIOS_INVALID_ARGUMENT, "aios_graph_swiglu|x is 2147483647");
    MISTAKE(aios_graph_add(s.g, s.x, 0), AIOS_INVALID_ARGUMENT, "aios_graph_add|b is 0");
    MISTAKE(aios_graph_embedding(s.g, 0, s.ids), AIOS_INVALID_ARGUMENT, "aios_graph_embedding|table is 0");
    MISTAKE(aios_graph_embedding(s.g, s.table, 0), AIOS_INVALID_ARGUMENT, "ids is 0");
    MISTAKE(aios_graph_linear(s.g, s.x, 0, 0, 0, 0), AIOS_INVALID_ARGUMENT, "aios_graph_linear|weight is 0");
    MISTAKE(aios_graph_linear(s.g, s.x, s.weight, 42, 0, 0), AIOS_INVALID_ARGUMENT, "bias is 42");
    MISTAKE(aios_graph_layernorm(s.g, s.x, s.gain, 0, 1e-5f), AIOS_INVALID_ARGUMENT, "aios_graph_layernorm|bias is 0");
    MISTAKE(aios_graph_rmsnorm(s.g, 0, s.gain, 1e-5f), AIOS_INVALID_ARGUMENT, "aios_graph_rmsnorm|x is 0");
    MISTAKE(aios_graph_slice(s.g, 0, 0, 0, 1), AIOS_INVALID_ARGUMENT, "aios_graph_slice|x is 0");
    MISTAKE(aios_graph_reshape(s.g, 0, SHAPE(1)), AIOS_INVALID_ARGUMENT, "aios_graph_reshape|x is 0");
    MISTAKE(aios_graph_select(s.g, 0, s.x, s.x), AIOS_INVALID_ARGUMENT, "aios_graph_select|mask is 0");
    MISTAKE(aios_graph_detach(s.g, 0), AIOS_INVALID_ARGUMENT, "aios_graph_detach|x is 0");
    MISTAKE(aios_graph_attention(s.g, 0, NULL), AIOS_INVALID_ARGUMENT, "aios_graph_attention|qkv is 0");
    MISTAKE(aios_graph_cross_entropy(s.g, s.x, 0, 0, 1.0f), AIOS_INVALID_ARGUMENT, "aios_graph_cross_entropy|labels is 0");
    MISTAKE(aios_graph_bce_with_logits(s.g, s.x, 0, 1.0f), AIOS_INVALID_ARGUMENT, "aios_graph_bce_with_logits|targets is 0");
    MISTAKE_OF(aios_graph_output(s.g, "y", 0), AIOS_INVALID_ARGUMENT, "aios_graph_output|x is 0");
}

static void operands_of_the_wrong_kind(void **state)
{
    (void)state;
    MISTAKE(aios_graph_gelu(s.g, s.ids), AIOS_INVALID_ARGUMENT, "x|integers");
    MISTAKE(aios_graph_rmsnorm(s.g, s.ids, 0, 1e-5f), AIOS_INVALID_ARGUMENT, "integers");
    MISTAKE(aios_graph_embedding(s.g, s.x, s.ids), AIOS_INVALID_ARGUMENT, "table is no parameter|aios_graph_parameter");
    MISTAKE(aios_graph_embedding(s.g, s.table, s.x), AIOS_INVALID_ARGUMENT, "ids must be integers");
    MISTAKE(aios_graph_linear(s.g, s.x, s.x, 0, 0, 0), AIOS_INVALID_ARGUMENT, "weight is no parameter");
    MISTAKE(aios_graph_layernorm(s.g, s.x, s.x, s.gain, 1e-5f), AIOS_INVALID_ARGUMENT, "weight is no parameter");
    MISTAKE(aios_graph_select(s.g, s.x, s.x, s.x), AIOS_INVALID_ARGUMENT, "mask must hold 2 integers|(2, 3, 6)");
    MISTAKE(aios_graph_cross_entropy(s.g, s.x, s.x, 0, 1.0f), AIOS_INVALID_ARGUMENT, "labels|(2, 3, 6)|integers");
    MISTAKE(aios_graph_bce_with_logits(s.g, s.x, s.ids, 1.0f), AIOS_INVALID_ARGUMENT, "targets");
}

static void sizes_that_do_not_fit(void **state)
{
    (void)state;
    MISTAKE(aios_graph_embedding(s.g, s.gain, s.ids), AIOS_INVALID_ARGUMENT, "rank 1|(vocabulary, width)");
    MISTAKE(aios_graph_embedding(s.g, s.table, aios_graph_reshape(s.g, s.ids, SHAPE(1, 2, 3, 1))), AIOS_INVALID_ARGUMENT, "rank 1 to 3");
    MISTAKE(aios_graph_linear(s.g, s.x, s.weight, 0, AIOS_WEIGHT_IN_OUT, 0), AIOS_INVALID_ARGUMENT,
            "'weight' (4, 6)|x (2, 3, 6)|dimension 0 must be 6");
    MISTAKE(aios_graph_linear(s.g, s.x, s.gain, 0, 0, 0), AIOS_INVALID_ARGUMENT, "'gain' (6)");
    MISTAKE(aios_graph_linear(s.g, s.x, s.weight, s.gain, 0, 0), AIOS_INVALID_ARGUMENT, "bias 'gain' has shape (6): 4 elements");
    MISTAKE(aios_graph_linear(s.g, s.x, s.weight, 0, 2, 0), AIOS_INVALID_ARGUMENT, "layout is 2");
    MISTAKE(aios_graph_linear(s.g, s.x, s.weight, 0, 0, -1), AIOS_INVALID_ARGUMENT, "activation is -1");
    MISTAKE(aios_graph_add(s.g, s.x, s.table), AIOS_INVALID_ARGUMENT, "b (5, 6)|a (2, 3, 6)");
    MISTAKE(aios_graph_add(s.g, s.gain, s.x), AIOS_INVALID_ARGUMENT, "b (2, 3, 6)|a (6)");
    MISTAKE(aios_graph_layernorm(s.g, s.x, s.weight, s.gain, 1e-5f), AIOS_INVALID_ARGUMENT, "weight 'weight' has shape (4, 6): 6 elements");
    MISTAKE(aios_graph_layernorm(s.g, s.x, s.gain, s.gain, -1e-5f), AIOS_OUT_OF_RANGE, "eps is -1e-05");
    MISTAKE(aios_graph_rmsnorm(s.g, s.x, 0, NAN), AIOS_OUT_OF_RANGE, "eps");
    MISTAKE(aios_graph_swiglu(s.g, aios_graph_slice(s.g, s.x, 2, 0, 5)), AIOS_INVALID_ARGUMENT, "dimension of x is 5");
    MISTAKE(aios_graph_slice(s.g, s.x, 3, 0, 1), AIOS_OUT_OF_RANGE, "axis is 3|rank 3");
    MISTAKE(aios_graph_slice(s.g, s.x, INT32_MIN, 0, 1), AIOS_OUT_OF_RANGE, "axis");
    MISTAKE(aios_graph_slice(s.g, s.x, 1, 2, 2), AIOS_OUT_OF_RANGE, "entries 2 to 3 of axis 1|has 3");
    MISTAKE(aios_graph_slice(s.g, s.x, 1, -1, 2), AIOS_OUT_OF_RANGE, "entries -1");
    MISTAKE(aios_graph_slice(s.g, s.x, 1, 0, 0), AIOS_OUT_OF_RANGE, "axis 1");
    MISTAKE(aios_graph_slice(s.g, s.x, 1, INT32_MAX, INT32_MAX), AIOS_OUT_OF_RANGE, "axis 1");
    MISTAKE(aios_graph_reshape(s.g, s.x, SHAPE(5, 7)), AIOS_INVALID_ARGUMENT, "(2, 3, 6) has 36|(5, 7) has 35");
    MISTAKE(aios_graph_reshape(s.g, s.x, SHAPE(6, -6)), AIOS_OUT_OF_RANGE, "dimension 1 is -6");
    MISTAKE(aios_graph_select(s.g, s.ids, s.x, s.x), AIOS_INVALID_ARGUMENT, "2 integers|has 6");
    MISTAKE(aios_graph_select(s.g, aios_graph_input(s.g, "mask", AIOS_I32, SHAPE(2)), s.x, s.table), AIOS_INVALID_ARGUMENT,
            "b (5, 6)|a (2, 3, 6)");
    MISTAKE(aios_graph_select(s.g, aios_graph_input(s.g, "mask", AIOS_I32, SHAPE(2)), s.x, s.gain), AIOS_UNSUPPORTED, "b (6)|detach");
    MISTAKE(aios_graph_cross_entropy(s.g, s.x, aios_graph_input(s.g, "y", AIOS_I32, SHAPE(2)), 0, 1.0f), AIOS_INVALID_ARGUMENT,
            "labels (2)|(2, 3, 6)");
    MISTAKE(aios_graph_cross_entropy(s.g, s.x, s.ids, 2, 1.0f), AIOS_INVALID_ARGUMENT, "kind is 2");
    MISTAKE(aios_graph_bce_with_logits(s.g, s.x, aios_graph_input(s.g, "y", AIOS_F32, SHAPE(35)), 1.0f), AIOS_INVALID_ARGUMENT, "35|36");
}

static aios_tensor attention(struct subject *s, int32_t heads, int32_t kv_heads, float theta, aios_tensor cache, aios_tensor start)
{
    aios_attention_options o = AIOS_ATTENTION_OPTIONS_INIT;
    o.heads = heads;
    o.kv_heads = kv_heads;
    o.rope_theta = theta;
    o.cache = cache;
    o.start = start;
    return aios_graph_attention(s->g, s->x, &o);
}

static void attention_that_can_not_be(void **state)
{
    (void)state;
    static const struct {
        aios_attention_options options;
        uint64_t newer;
    } from_the_future = {{sizeof from_the_future, 2, 0, 0, 0.0f, 0.0f, 0, 0}, 1};
    MISTAKE(attention(&s, 0, 0, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "heads is 0");
    MISTAKE(attention(&s, -2, 0, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "heads is -2");
    MISTAKE(attention(&s, 4, 3, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "heads is 4 and kv_heads 3");
    MISTAKE(attention(&s, 1 << 30, 1 << 30, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "qkv is (2, 3, 6)|heads 1073741824");
    MISTAKE(attention(&s, INT32_MAX, 1, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "qkv is (2, 3, 6)");
    MISTAKE(attention(&s, 3, 0, 0.0f, 0, 0), AIOS_INVALID_ARGUMENT, "qkv is (2, 3, 6)|heads 3");
    MISTAKE(attention(&s, 2, 2, 10000.0f, 0, 0), AIOS_INVALID_ARGUMENT, "even head size|size 1");
    MISTAKE(attention(&s, 1, 1, -1.0f, 0, 0), AIOS_INVALID_ARGUMENT, "base -1");
    MISTAKE(attention(&s, 1, 1, 0.0f, s.state, 0), AIOS_INVALID_ARGUMENT, "cache and start go together");
    MISTAKE(attention(&s, 1, 1, 0.0f, s.state, s.ids), AIOS_INVALID_ARGUMENT, "cache is (2, 9, 4)");
    MISTAKE(attention(&s, 2, 2, 0.0f, s.x, s.ids), AIOS_INVALID_ARGUMENT, "state (2, capacity, 4)");
    MISTAKE(attention(&s, 1, 1, 0.0f, 1000, s.ids), AIOS_INVALID_ARGUMENT, "cache is 1000");
    MISTAKE(aios_graph_attention(s.g, s.table, NULL), AIOS_INVALID_ARGUMENT, "qkv is (5, 6)");
    MISTAKE(aios_graph_attention(s.g, s.x, &from_the_future.options), AIOS_ABI_MISMATCH, "aios_attention_options");
}

static void regions_and_outputs(void **state)
{
    (void)state;
    MISTAKE_OF(aios_graph_end_no_gradient(s.g), AIOS_WRONG_STATE, "no region was begun");
    MISTAKE_OF(aios_graph_output(s.g, "", s.x), AIOS_INVALID_ARGUMENT, "aios_graph_output|name");
    MISTAKE_OF(aios_graph_output(s.g, NULL, s.x), AIOS_INVALID_ARGUMENT, "name");
    MISTAKE_OF((aios_graph_output(s.g, "y", s.x), aios_graph_output(s.g, "y", s.ids)), AIOS_ALREADY_EXISTS, "'y'");
    struct subject s = begin();
    aios_graph_begin_no_gradient(s.g);
    assert_int_equal(aios_graph_finish(s.g), AIOS_WRONG_STATE); /* not a mistake yet: it can still be ended */
    assert_non_null(strstr(aios_error_message(), "no-gradient"));
    aios_graph_end_no_gradient(s.g);
    assert_ok(aios_graph_finish(s.g));
    aios_graph_destroy(s.g);
    aios_context_destroy(s.context);
}

static aios_tensor integers(struct subject *s, int32_t count)
{
    return aios_graph_input(s->g, "n", AIOS_I32, SHAPE(count));
}

static aios_tensor numbers(struct subject *s, int32_t rows, int32_t columns)
{
    return aios_graph_input(s->g, "q", AIOS_F32, SHAPE(rows, columns));
}

static void sequences_and_halting(void **state)
{
    (void)state;
    MISTAKE(aios_graph_concat(s.g, s.x, s.weight, 1), AIOS_INVALID_ARGUMENT, "concat|(2, 3, 6)|(4, 6)");
    MISTAKE(aios_graph_concat(s.g, s.x, s.x, 3), AIOS_INVALID_ARGUMENT, "concat|axis 3");
    MISTAKE(aios_graph_rows(s.g, "r", 5, 6, s.x), AIOS_INVALID_ARGUMENT, "rows|integers");
    MISTAKE(aios_graph_rows(s.g, "table", 5, 6, s.ids), AIOS_ALREADY_EXISTS, "'table'");
    MISTAKE(aios_graph_sequence_correct(s.g, s.x), AIOS_INVALID_ARGUMENT, "what a cross-entropy returned");
    MISTAKE(aios_graph_select(s.g, integers(&s, 2), s.ids, integers(&s, 2)), AIOS_INVALID_ARGUMENT, "select|integers of one shape");
    MISTAKE(aios_graph_count_steps(s.g, integers(&s, 2), s.ids), AIOS_INVALID_ARGUMENT, "count_steps|2 entries|6");
    MISTAKE(aios_graph_halt(s.g, integers(&s, 2), numbers(&s, 3, 2), 0, 4), AIOS_INVALID_ARGUMENT, "halt|(3, 2)");
    MISTAKE(aios_graph_halt(s.g, integers(&s, 2), numbers(&s, 2, 2), s.ids, 4), AIOS_INVALID_ARGUMENT, "min_steps has 6");
    MISTAKE(aios_graph_halt(s.g, integers(&s, 2), numbers(&s, 2, 2), 0, 0), AIOS_INVALID_ARGUMENT, "max_steps 0");
    MISTAKE(aios_graph_halt_target(s.g, s.x, numbers(&s, 2, 2), 4), AIOS_INVALID_ARGUMENT, "halt_target|integers");
}

static void nothing_happens_on_no_graph(void **state)
{
    (void)state;
    assert_int_equal(aios_graph_finish(NULL), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_graph_create(NULL, NULL), AIOS_INVALID_ARGUMENT);
    assert_int_equal(aios_graph_gelu(NULL, 1), 0);
    assert_int_equal(aios_graph_input(NULL, "x", AIOS_F32, SHAPE(1)), 0);
    assert_int_equal(aios_graph_linear(NULL, 1, 2, 3, 0, 0), 0);
    assert_int_equal(aios_graph_attention(NULL, 1, NULL), 0);
    assert_int_equal(aios_graph_cross_entropy(NULL, 1, 2, 0, 1.0f), 0);
    assert_int_equal(aios_graph_parameter_count(NULL), 0);
    aios_graph_assign(NULL, 1, 1);
    aios_graph_output(NULL, "x", 1);
    aios_graph_mark(NULL);
    aios_graph_begin_no_gradient(NULL);
    aios_graph_end_no_gradient(NULL);
    aios_graph_destroy(NULL);
    aios_plan_destroy(NULL);
    aios_parameters_destroy(NULL);
    aios_optimizer_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves),
        cmocka_unit_test(one_name_and_shape_are_one_leaf),
        cmocka_unit_test(operands_that_are_none),
        cmocka_unit_test(operands_of_the_wrong_kind),
        cmocka_unit_test(sizes_that_do_not_fit),
        cmocka_unit_test(attention_that_can_not_be),
        cmocka_unit_test(regions_and_outputs),
        cmocka_unit_test(sequences_and_halting),
        cmocka_unit_test(nothing_happens_on_no_graph),
    };
    return cmocka_run_group_tests_name("graph mistakes", tests, NULL, NULL);
}
