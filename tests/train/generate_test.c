/* Generation: the cache changes nothing, greedy text is what was learned, text comes in whole characters. */
#include "run.h"

#include "base/rng.h"
#include "trainer/utf8_stream.h"

#define POSITIONS  96
#define VOCABULARY 40

static const char gpt2[] =
    "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 4, \"n_embd\": 32, \"n_positions\": 96, \"vocab_size\": 40}";

/* Caches of 2 segments x (2 x 2 + 2) applications; the positions are learned in one and rotary in the other. */
static const char hrm_learned[] =
    "{\"model_type\": \"hrm_actv1\", \"causal\": true, \"hidden_size\": 32, \"num_heads\": 4, \"H_layers\": 1, \"L_layers\": 1, "
    "\"halt_max_steps\": 2, \"expansion\": 2.0, \"seq_len\": 96, \"vocab_size\": 40, \"pos_encodings\": \"learned\", \"loss_type\": "
    "\"softmax_cross_entropy\"}";
static const char hrm_rotary[] =
    "{\"model_type\": \"hrm_actv1\", \"causal\": true, \"hidden_size\": 32, \"num_heads\": 4, \"H_layers\": 1, \"L_layers\": 2, "
    "\"H_cycles\": 1, \"halt_max_steps\": 1, \"expansion\": 2.0, \"seq_len\": 96, \"vocab_size\": 40, \"loss_type\": "
    "\"softmax_cross_entropy\"}";
static const char hrm_experts[] =
    "{\"model_type\": \"hrm_actv1\", \"causal\": true, \"hidden_size\": 32, \"num_heads\": 4, \"H_layers\": 1, \"L_layers\": 1, "
    "\"H_cycles\": 1, \"L_cycles\": 1, \"halt_max_steps\": 1, \"expansion\": 2.0, \"seq_len\": 96, \"vocab_size\": 40, \"num_experts\": 3, "
    "\"loss_type\": \"softmax_cross_entropy\"}";
static const char *config = gpt2;

struct network {
    aios_device *device;
    aios_model *model;
    aios_parameters *parameters;
};

static aios_plan *plan_of(struct run *r, const struct network *n, int32_t mode, int32_t length)
{
    aios_graph *graph;
    aios_plan *plan;
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    assert_ok(aios_graph_create(r->context, &graph));
    assert_ok(aios_model_record(n->model, graph, mode, 1, length));
    assert_ok(aios_plan_create(graph, n->parameters, &options, &plan));
    aios_graph_destroy(graph);
    return plan;
}

static void open_network(struct run *r, struct network *n, int32_t precision)
{
    aios_graph *graph;
    aios_parameters_options options = AIOS_PARAMETERS_OPTIONS_INIT;
    options.precision = precision;
    options.training = 0;
    assert_ok(aios_device_open(r->context, "cpu:0", &n->device));
    assert_ok(aios_model_create(r->context, config, &n->model));
    assert_ok(aios_graph_create(r->context, &graph));
    assert_ok(aios_model_record(n->model, graph, AIOS_MODEL_DECODE, 1, 1));
    assert_ok(aios_parameters_create(n->device, graph, &options, &n->parameters));
    aios_graph_destroy(graph);
    for (uint32_t i = 0; i < aios_parameters_count(n->parameters); i++) { /* as big as after training, so that every part counts */
        aios_parameter_info info = {.struct_size = sizeof info};
        assert_ok(aios_parameters_info(n->parameters, i, &info));
        float *values = malloc(info.count * sizeof *values);
        assert_non_null(values);
        rng_normals(5, i, 0, values, info.count, 0.2f);
        assert_ok(aios_parameters_write(n->parameters, info.name, AIOS_VALUE, values, info.count));
        free(values);
    }
}

static void close_network(struct network *n)
{
    aios_parameters_destroy(n->parameters);
    aios_model_destroy(n->model);
    aios_device_close(n->device);
}

/* Logits of every position, the tokens going through the cache in pieces of these lengths, over and over. */
static void decode(struct run *r, const struct network *n, const int32_t *tokens, const int32_t *lengths, size_t count, float *logits)
{
    aios_plan *plans[4] = {NULL};
    for (size_t i = 0; i < count; i++) plans[i] = plan_of(r, n, AIOS_MODEL_DECODE, lengths[i]);
    assert_ok(aios_parameters_reset_states(n->parameters));
    int32_t at = 0, positions[POSITIONS];
    for (int32_t i = 0; i < POSITIONS; i++) positions[i] = i;
    for (size_t i = 0; at + lengths[i] <= POSITIONS; i = (i + 1) % count) {
        uint64_t size = (uint64_t)lengths[i] * sizeof *tokens;
        assert_ok(aios_plan_write(plans[i], "tokens", tokens + at, size));
        assert_ok(aios_plan_write(plans[i], "positions", positions + at, size));
        assert_ok(aios_plan_write(plans[i], "start", &at, sizeof at));
        assert_ok(aios_plan_run(plans[i]));
        assert_ok(aios_plan_read(plans[i], "logits", logits + at * VOCABULARY, size * VOCABULARY));
        at += lengths[i];
    }
    assert_int_equal(at, POSITIONS);
    for (size_t i = 0; i < count; i++) aios_plan_destroy(plans[i]);
}

static double log_probability(const float *logits, int32_t id)
{
    double top = -1e30, sum = 0;
    for (int32_t i = 0; i < VOCABULARY; i++) top = fmax(top, (double)logits[i]);
    for (int32_t i = 0; i < VOCABULARY; i++) sum += exp((double)logits[i] - top);
    return (double)logits[id] - top - log(sum);
}

/* The evaluation graph knows no cache; its loss with one label is the logarithm of one probability. */
static void check_cache(int32_t precision, double tolerance)
{
    static const int32_t one[] = {1}, chunks[] = {64, 32}, mixed[] = {5, 1, 2, 8};
    struct run r;
    struct network n;
    int32_t tokens[POSITIONS], labels[POSITIONS];
    float *by_one = malloc(sizeof(float) * POSITIONS * VOCABULARY), *by_chunk = malloc(sizeof(float) * POSITIONS * VOCABULARY);
    assert_true(by_one && by_chunk);
    run_open(&r);
    open_network(&r, &n, precision);
    for (int32_t i = 0; i < POSITIONS; i++) tokens[i] = (i * i * 7 + i * 3 + 1) % VOCABULARY;
    decode(&r, &n, tokens, one, 1, by_one);
    decode(&r, &n, tokens, chunks, 2, by_chunk);
    for (int i = 0; i < POSITIONS * VOCABULARY; i++)
        if (!(fabs((double)(by_one[i] - by_chunk[i])) < tolerance))
            fail_msg("logit %d: %.9g one by one, %.9g in pieces", i, (double)by_one[i], (double)by_chunk[i]);
    decode(&r, &n, tokens, mixed, 4, by_chunk); /* 16 at a time, six times */
    for (int i = 0; i < POSITIONS * VOCABULARY; i++) assert_true(fabs((double)(by_one[i] - by_chunk[i])) < tolerance);
    aios_plan *plan = plan_of(&r, &n, AIOS_MODEL_EVAL, POSITIONS);
    for (int32_t t = 0; t < POSITIONS; t += 5) {
        aios_loss_sums sums = {.struct_size = sizeof sums};
        int32_t id = (t * 11 + 3) % VOCABULARY;
        for (int32_t i = 0; i < POSITIONS; i++) labels[i] = i == t ? id : -1;
        assert_ok(aios_plan_write(plan, "tokens", tokens, sizeof tokens));
        assert_ok(aios_plan_write(plan, "labels", labels, sizeof labels));
        assert_ok(aios_plan_run(plan));
        assert_ok(aios_plan_losses(plan, &sums, 1));
        double cached = -log_probability(by_one + t * VOCABULARY, id);
        if (!(fabs(cached - sums.loss) < tolerance)) fail_msg("position %d: %.9g with the cache, %.9g without", t, cached, sums.loss);
    }
    aios_plan_destroy(plan);
    close_network(&n);
    run_close(&r);
    free(by_one);
    free(by_chunk);
}

static void the_cache_changes_nothing_in_f32(void **state)
{
    (void)state;
    check_cache(AIOS_PRECISION_32, 2e-5); /* logits of up to 10, 2e-6 relative */
}

/* Every segment's every application finds its own keys and values. */
static void the_caches_of_a_hierarchical_model_change_nothing(void **state)
{
    (void)state;
    config = hrm_learned;
    check_cache(AIOS_PRECISION_32, 1e-3); /* twelve blocks, of which such weights double each rounding error */
    config = hrm_rotary;
    check_cache(AIOS_PRECISION_32, 1e-3);
    config = hrm_experts;
    check_cache(AIOS_PRECISION_32, 1e-3);
    config = gpt2;
}

static void the_cache_changes_little_in_bf16(void **state)
{
    (void)state;
    check_cache(AIOS_PRECISION_BF16_MIXED, 0.3); /* bf16 has 8 bits: logits of up to 10 round by 0.03, ten times over */
}

/* ---- generator --------------------------------------------------------------------------------------------------- */

struct taken {
    char text[4096];
    size_t size, calls, stop_after;
};

static int32_t take(void *user, const char *text, size_t size)
{
    struct taken *t = user;
    assert_true(size > 0 && t->size + size < sizeof t->text);
    memcpy(t->text + t->size, text, size);
    t->size += size;
    t->text[t->size] = 0;
    t->calls++;
    return t->stop_after && t->calls >= t->stop_after;
}

static const char sentence[] = "the quick brown fox jumps over the lazy dog. ";

/* A run that knows the sentence by heart; afterwards the options are those of generation. */
static void learn(struct run *r, const char *context, const char *batch)
{
    char path[PATH_SIZE];
    run_open(r);
    write_repeated(r, "text.txt", sentence, 8000);
    run_set(r, "steps", "300");
    run_set(r, "max-seq-len", context);
    run_set(r, "batch-size", batch);
    run_set(r, "lr", "1e-2");
    run_set(r, "lr-warmup-steps", "10");
    assert_ok(run_train(r));
    run_end_trainer(r);
    run_options(r, AIOS_SCOPE_GENERATE);
    run_path(r, "run/checkpoints/step-00000300", path);
    run_set(r, "model", path);
}

static void check_greedy(struct run *r, const char *prompt, size_t count)
{
    aios_generator *g;
    struct taken t = {.size = 0};
    char number[16];
    (void)snprintf(number, sizeof number, "%zu", count);
    run_set(r, "temperature", "0");
    run_set(r, "max-tokens", number);
    assert_ok(aios_generator_create(r->context, r->options, &g));
    assert_ok(aios_generator_run(g, prompt, strlen(prompt), 1, take, &t));
    assert_int_equal(t.size, count);
    for (size_t i = 0; i < count; i++)
        if (t.text[i] != sentence[(strlen(prompt) + i) % (sizeof sentence - 1)])
            fail_msg("after \"%s\" comes \"%s\", wrong at %zu", prompt, t.text, i);
    struct taken again = {.size = 0};
    assert_ok(aios_generator_run(g, prompt, strlen(prompt), 2, take, &again)); /* a second run begins anew */
    assert_string_equal(again.text, t.text);
    aios_generator_destroy(g);
}

static void greedy_text_is_what_was_learned_past_the_context_too(void **state)
{
    (void)state;
    struct run r;
    learn(&r, "32", "8");
    check_greedy(&r, "the quick", 10);
    check_greedy(&r, "the quick brown fox jumps", 200); /* the context holds 32 tokens: it slides many times */
    run_close(&r);
}

static void prompts_go_through_in_chunks(void **state)
{
    (void)state;
    struct run r;
    char prompt[130];
    learn(&r, "128", "2");
    for (size_t i = 0; i < 128; i++) prompt[i] = sentence[i % (sizeof sentence - 1)];
    static const size_t sizes[] = {9, 20, 64, 67, 90, 120, 128}; /* a part of a chunk, a chunk, with single tokens after it, two chunks */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char cut[130];
        memcpy(cut, prompt, sizes[i]);
        cut[sizes[i]] = 0;
        check_greedy(&r, cut, 20);
    }
    run_close(&r);
}

static void a_seed_gives_one_text_and_another_seed_another(void **state)
{
    (void)state;
    struct run r;
    aios_generator *g;
    struct taken texts[3] = {{.size = 0}, {.size = 0}, {.size = 0}};
    learn(&r, "32", "8");
    run_set(&r, "temperature", "3");
    run_set(&r, "max-tokens", "60");
    assert_ok(aios_generator_create(r.context, r.options, &g));
    for (int i = 0; i < 3; i++) assert_ok(aios_generator_run(g, "the", 3, i == 2 ? 8 : 7, take, &texts[i]));
    assert_int_equal(texts[0].size, texts[1].size);
    assert_memory_equal(texts[0].text, texts[1].text, texts[0].size);
    assert_true(texts[0].size != texts[2].size || memcmp(texts[0].text, texts[2].text, texts[0].size) != 0);
    struct taken stopped = {.stop_after = 2};
    assert_ok(aios_generator_run(g, "the", 3, 7, take, &stopped));
    assert_int_equal(stopped.calls, 2);
    aios_generator_destroy(g);
    run_close(&r);
}

static void prompts_have_limits(void **state)
{
    (void)state;
    struct run r;
    aios_generator *g;
    struct taken t = {.size = 0};
    char path[PATH_SIZE], prompt[34];
    run_open(&r);
    write_repeated(&r, "text.txt", sentence, 2000);
    run_set(&r, "steps", "1");
    assert_ok(run_train(&r));
    run_end_trainer(&r);
    run_options(&r, AIOS_SCOPE_GENERATE);
    assert_fails(aios_generator_create(r.context, r.options, &g), AIOS_INVALID_ARGUMENT, "model is empty");
    assert_null(g);
    run_path(&r, "run/checkpoints/step-00000001", path);
    run_set(&r, "model", path);
    run_set(&r, "max-tokens", "3");
    assert_ok(aios_generator_create(r.context, r.options, &g));
    memset(prompt, 'a', sizeof prompt);
    assert_fails(aios_generator_run(g, prompt, 33, 1, take, &t), AIOS_INVALID_ARGUMENT, "33 tokens: the model's context holds 32");
    assert_ok(aios_generator_run(g, prompt, 32, 1, take, &t)); /* the context is full from the first token on */
    assert_ok(aios_generator_run(g, NULL, 0, 1, take, &t));    /* from the end-of-text token */
    assert_ok(aios_generator_run(g, "\xff\xfe\0x", 4, 1, take, &t));
    aios_generator_destroy(g);
    run_close(&r);
}

/* ---- characters -------------------------------------------------------------------------------------------------- */

static void feed(const char *bytes, size_t size, size_t piece, struct taken *t)
{
    struct utf8_stream s = {.text = take, .user = t};
    for (size_t at = 0; at < size; at += piece) assert_int_equal(utf8_stream_add(&s, bytes + at, size - at < piece ? size - at : piece), 0);
    assert_int_equal(utf8_stream_end(&s), 0);
}

static int32_t take_whole(void *user, const char *text, size_t size)
{
    assert_int_equal(utf8_open_tail(text, size), 0);
    return take(user, text, size);
}

static void text_comes_in_whole_characters(void **state)
{
    (void)state;
    static const char text[] = "h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x8c\x8d!";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct taken t = {.size = 0};
        struct utf8_stream s = {.text = take_whole, .user = &t};
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            assert_int_equal(utf8_stream_add(&s, text + at, sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece), 0);
        assert_int_equal(s.held_size, 0);
        assert_string_equal(t.text, text);
    }
}

static void bytes_that_are_no_characters_pass_unchanged(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff\xfe",     "a\xc3",    "\xe2\x82",         "\xc3\xc3\xa9", "\xed\xa0\x80",
                                        "\xf0\x9f\x8c", "\x80\x80", "\xf4\x90\x80\x80", "\xc0\xaf",     "\xe2(\x82"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t piece = 1; piece < 5; piece++) {
            struct taken t = {.size = 0};
            feed(texts[i], strlen(texts[i]), piece, &t);
            assert_string_equal(t.text, texts[i]);
        }
}

int main(void)
{
    use_one_thread();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cache_changes_nothing_in_f32),
        cmocka_unit_test(the_caches_of_a_hierarchical_model_change_nothing),
        cmocka_unit_test(the_cache_changes_little_in_bf16),
        cmocka_unit_test(greedy_text_is_what_was_learned_past_the_context_too),
        cmocka_unit_test(prompts_go_through_in_chunks),
        cmocka_unit_test(a_seed_gives_one_text_and_another_seed_another),
        cmocka_unit_test(prompts_have_limits),
        cmocka_unit_test(text_comes_in_whole_characters),
        cmocka_unit_test(bytes_that_are_no_characters_pass_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
