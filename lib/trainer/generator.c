/* Generation of text: a prompt through the model in chunks, then one token at a time, keys and values cached on the device. */
#include "base/float_scope.h"
#include "sampler.h"
#include "setup.h"
#include "utf8_stream.h"

#include "base/options.h"
#include <aios/trainer.h>

#include <string.h>

#define CHUNK       64         /* tokens of the prompt at once */
#define CHUNK_LEAST 8          /* fewer than these go one by one */
#define STREAM      0x67656e65 /* of random numbers: apart from those of weights and data */
#define TEXT_ROOM   512

struct decoder {
    aios_plan *plan;
    int32_t length; /* tokens of a run */
};

struct aios_generator {
    aios_context *context;
    aios_options *options;
    struct settings settings;
    aios_device *device;
    aios_model *model;
    aios_tokenizer *tokenizer;
    aios_parameters *parameters;
    struct decoder one, many; /* many.plan NULL: the model's context is too short for it */
    struct sampler sampler;
    int32_t capacity;      /* positions */
    int32_t vocabulary;    /* of the model */
    int32_t *tokens;       /* those in the cache and the one to come */
    int32_t count, cached; /* of tokens; how many of them the cache holds */
    int32_t chunked;       /* how many of these, from the first on, came in chunks that follow one another */
    float *logits;         /* after the last of them */
};

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static aios_status make_decoder(aios_generator *g, struct decoder *decoder, int32_t length)
{
    aios_plan_options options = AIOS_PLAN_OPTIONS_INIT;
    decoder->length = length;
    return setup_plan(g->context, g->model, AIOS_MODEL_DECODE, 1, length, &options, g->parameters, &decoder->plan);
}

static aios_status make_plans(aios_generator *g)
{
    aios_parameters_options parameters = AIOS_PARAMETERS_OPTIONS_INIT;
    aios_graph *graph = NULL;
    parameters.precision = (int32_t)g->settings.precision;
    parameters.training = 0;
    TRY_QUIET(setup_graph(g->context, g->model, AIOS_MODEL_DECODE, 1, 1, &graph));
    aios_status status = aios_parameters_create(g->device, graph, &parameters, &g->parameters);
    aios_graph_destroy(graph);
    if (status != AIOS_OK) return status;
    TRY_QUIET(aios_model_load_weights(g->model, g->parameters, g->settings.model));
    TRY_QUIET(make_decoder(g, &g->one, 1));
    return g->capacity >= CHUNK ? make_decoder(g, &g->many, CHUNK) : AIOS_OK;
}

static aios_status open_all(aios_generator *g, const aios_options *options)
{
    struct settings *s = &g->settings;
    TRY_QUIET(aios_options_copy(g->context, options, AIOS_SCOPE_GENERATE, &g->options));
    TRY_QUIET(settings_read(g->options, AIOS_SCOPE_GENERATE, s));
    if (!*s->model) return FAIL(AIOS_INVALID_ARGUMENT, "model is empty: name the folder of a model or checkpoint");
    TRY_QUIET(aios_model_open(g->context, s->model, &g->model));
    TRY_QUIET(setup_tokenizer(g->context, s->tokenizer, s->model, &g->tokenizer));
    TRY_QUIET(setup_check_vocabulary(g->model, g->tokenizer));
    TRY_QUIET(setup_device(g->context, s->device, s->precision, &g->device));
    g->capacity = aios_model_context_length(g->model);
    g->vocabulary = aios_model_vocabulary_size(g->model);
    g->tokens = aios_memory_array(g->context, (size_t)g->capacity + 1, sizeof *g->tokens);
    g->logits = aios_memory_array(g->context, (size_t)g->vocabulary, sizeof *g->logits);
    if (!g->tokens || !g->logits) return AIOS_OUT_OF_MEMORY;
    g->sampler.temperature = s->temperature;
    g->sampler.top_p = s->top_p;
    g->sampler.top_k = s->top_k;
    TRY_QUIET(sampler_init(&g->sampler, g->context, aios_tokenizer_vocabulary_size(g->tokenizer)));
    return make_plans(g);
}

aios_status aios_generator_create(aios_context *context, const aios_options *options, aios_generator **generator)
{
    FLOAT_SCOPE;
    if (!context || !options || !generator)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_generator_create: context, options and generator must not be NULL");
    *generator = NULL;
    aios_generator *g = aios_new(context, aios_generator);
    if (!g) return AIOS_OUT_OF_MEMORY;
    g->context = aios_context_retain(context);
    aios_status status = open_all(g, options);
    if (status != AIOS_OK) {
        aios_generator_destroy(g);
        return status;
    }
    *generator = g;
    return AIOS_OK;
}

void aios_generator_destroy(aios_generator *g)
{
    if (!g) return;
    aios_plan_destroy(g->one.plan);
    aios_plan_destroy(g->many.plan);
    aios_parameters_destroy(g->parameters);
    sampler_free(&g->sampler, g->context);
    aios_memory_free(g->context, g->tokens);
    aios_memory_free(g->context, g->logits);
    aios_tokenizer_close(g->tokenizer);
    aios_model_destroy(g->model);
    aios_device_close(g->device);
    aios_options_destroy(g->options);
    aios_context *context = g->context;
    aios_memory_free(context, g);
    aios_context_release(context);
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

/* Puts the next `count` tokens into the cache.  What a longer run computes behind them lies at later positions, where no query
 * that counts looks before the tokens that belong there have overwritten it. */
static aios_status run_decoder(aios_generator *g, const struct decoder *decoder, int32_t count)
{
    int32_t tokens[CHUNK] = {0}, positions[CHUNK];
    uint64_t size = (uint64_t)decoder->length * sizeof *tokens;
    memcpy(tokens, g->tokens + g->cached, (size_t)count * sizeof *tokens);
    for (int32_t i = 0; i < decoder->length; i++) positions[i] = g->cached + i;
    TRY_QUIET(aios_plan_write(decoder->plan, "tokens", tokens, size));
    TRY_QUIET(aios_plan_write(decoder->plan, "positions", positions, size));
    TRY_QUIET(aios_plan_write(decoder->plan, "start", &g->cached, sizeof g->cached));
    TRY_QUIET(aios_plan_run(decoder->plan));
    g->cached += count;
    if (g->cached < g->count) return AIOS_OK;
    return aios_plan_read_row(decoder->plan, "logits", (uint64_t)count - 1, g->logits, (uint64_t)g->vocabulary);
}

/* Brings the cache up to all tokens; then logits are those of the token to come. */
static aios_status catch_up(aios_generator *g)
{
    while (g->cached < g->count) {
        int32_t left = g->count - g->cached;
        int fits = g->many.plan && left >= CHUNK_LEAST && g->cached + CHUNK <= g->capacity;
        int follows = fits && g->cached == g->chunked && g->cached % CHUNK == 0;
        TRY(run_decoder(g, fits ? &g->many : &g->one, fits ? (left < CHUNK ? left : CHUNK) : 1), "position %d", g->cached);
        if (follows) g->chunked = g->cached;
    }
    return AIOS_OK;
}

/* One more token; a full context is halved first: positions are absolute, so what stays is computed again. */
static void append(aios_generator *g, int32_t id)
{
    if (g->count == g->capacity) {
        int32_t keep = g->capacity / 2;
        memmove(g->tokens, g->tokens + g->count - keep, (size_t)keep * sizeof *g->tokens);
        g->count = keep;
        g->cached = g->chunked = 0;
    }
    g->tokens[g->count++] = id;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* The cache keeps the chunks that a prompt begins with as the one before it did (a conversation's): by whole chunks alone, so that every
 * bit is that of a cache which was empty.  What follows the last of the tokens is asked for in any case. */
static void keep_beginning(aios_generator *g, int32_t chunked, const int32_t *ids, int32_t count)
{
    int32_t same = 0;
    while (same < chunked && same < count - 1 && ids[same] == g->tokens[same]) same++;
    g->cached = g->chunked = same / CHUNK * CHUNK;
}

static aios_status take_prompt(aios_generator *g, const char *prompt, size_t size)
{
    int32_t chunked = g->chunked;
    aios_status status = AIOS_OK;
    size_t count = 0;
    int32_t end = aios_tokenizer_end_of_text(g->tokenizer);
    g->count = g->cached = g->chunked = 0;
    if (size == 0) {
        if (end < 0)
            return FAIL(AIOS_INVALID_ARGUMENT, "the prompt is empty and tokenizer %s has no end-of-text token to begin with",
                        aios_tokenizer_name(g->tokenizer));
        append(g, end);
        return AIOS_OK;
    }
    int32_t *ids = aios_memory_array(g->context, size + 1, sizeof *ids);
    if (!ids) return AIOS_OUT_OF_MEMORY;
    ATTEMPT(aios_tokenizer_encode(g->tokenizer, prompt, size, ids, size + 1, &count), "the prompt");
    if (count > (size_t)g->capacity) {
        status = FAIL(AIOS_INVALID_ARGUMENT, "the prompt has %zu tokens: the model's context holds %d", count, g->capacity);
        goto done;
    }
    if (count == 0) {
        status = FAIL(AIOS_INVALID_ARGUMENT, "the prompt of %zu bytes has no token", size);
        goto done;
    }
    keep_beginning(g, chunked, ids, (int32_t)count);
    memcpy(g->tokens, ids, count * sizeof *ids);
    g->count = (int32_t)count;
done:
    aios_memory_free(g->context, ids);
    return status;
}

/* An id that stands for no text (a gap in the vocabulary) gives none. */
static aios_status put_token(aios_generator *g, int32_t id, struct utf8_stream *stream, int32_t *stop)
{
    char room[TEXT_ROOM], *text = room;
    size_t size;
    aios_status status = aios_tokenizer_decode(g->tokenizer, &id, 1, room, sizeof room, &size);
    if (status == AIOS_OUT_OF_RANGE) return AIOS_OK;
    if (status != AIOS_OK) return status;
    if (size > sizeof room) {
        text = aios_memory_alloc(g->context, size);
        if (!text) return AIOS_OUT_OF_MEMORY;
        status = aios_tokenizer_decode(g->tokenizer, &id, 1, text, size, &size);
    }
    if (status == AIOS_OK && size) *stop = utf8_stream_add(stream, text, size);
    if (text != room) aios_memory_free(g->context, text);
    return status;
}

aios_status aios_generator_run(aios_generator *g, const char *prompt, size_t size, uint64_t seed, aios_text_fn text, void *user)
{
    FLOAT_SCOPE;
    if (!g || !text || (!prompt && size))
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_generator_run: generator, prompt and text must not be NULL");
    struct utf8_stream stream = {.text = text, .user = user};
    int32_t stop = 0, end = aios_tokenizer_end_of_text(g->tokenizer), id;
    rng random;
    rng_init(&random, seed, STREAM);
    TRY_QUIET(take_prompt(g, prompt, size));
    for (int64_t made = 0; made < g->settings.max_tokens && !stop; made++) {
        TRY(catch_up(g), "generating token %lld", (long long)made + 1);
        TRY(sampler_choose(&g->sampler, g->logits, &random, &id), "generating token %lld", (long long)made + 1);
        if (id == end) break;
        TRY_QUIET(put_token(g, id, &stream, &stop));
        append(g, id);
    }
    if (!stop) (void)utf8_stream_end(&stream);
    return AIOS_OK;
}
