/* GPT-2 (Radford et al., 2019), as Hugging Face's GPT2LMHeadModel, written on the public graph API. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DEVIATION 0.02f

struct gpt2 {
    aios_context *context;
    int32_t layers, heads, width, inner, positions, vocabulary;
    float eps, deviation;
};

/* ---- configuration ----------------------------------------------------------------------------------------------- */

/* A switch that changes the mathematics: only `wanted` is honoured. */
static aios_status require_flag(const json_t *config, const char *key, int wanted)
{
    int value;
    TRY_QUIET(json_get_bool_or(config, key, wanted, &value));
    if (value == wanted) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "%s is %s: libaios can do %s only", key, value ? "true" : "false", wanted ? "true" : "false");
}

/* A key that changes the mathematics as soon as there is something in it. */
static aios_status require_nothing(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (!value || json_is_null(value) || (json_is_object(value) && json_object_size(value) == 0)) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "%s is not empty: libaios can't honour it", key);
}

static aios_status check_mathematics(aios_context *context, const json_t *config)
{
    static const char *const dropouts[] = {"attn_pdrop", "embd_pdrop", "resid_pdrop"};
    const char *activation;
    TRY_QUIET(json_get_string_or(config, "activation_function", "gelu_new", &activation));
    if (strcmp(activation, "gelu_new") != 0 && strcmp(activation, "gelu_pytorch_tanh") != 0)
        return FAIL(AIOS_UNSUPPORTED, "activation_function is '%s': libaios can do gelu_new and gelu_pytorch_tanh, which are the same",
                    activation);
    TRY_QUIET(require_flag(config, "tie_word_embeddings", 1));
    TRY_QUIET(require_flag(config, "scale_attn_weights", 1));
    TRY_QUIET(require_flag(config, "scale_attn_by_inverse_layer_idx", 0));
    TRY_QUIET(require_flag(config, "add_cross_attention", 0));
    TRY_QUIET(require_nothing(config, "pruned_heads"));
    TRY_QUIET(require_nothing(config, "quantization_config"));
    for (size_t i = 0; i < COUNT_OF(dropouts); i++) {
        double rate;
        TRY_QUIET(json_get_number_or(config, dropouts[i], 0.0, 0.0, 1.0, &rate));
        if (rate > 0) {
            aios_log(context, AIOS_LOG_INFO, "%s is %g: libaios trains without dropout; nothing else is affected", dropouts[i], rate);
            break;
        }
    }
    return AIOS_OK;
}

static aios_status get_size(const json_t *config, const char *key, int64_t fallback, int64_t most, int32_t *value)
{
    int64_t number;
    if (fallback > 0)
        TRY_QUIET(json_get_int_or(config, key, fallback, 1, most, &number));
    else
        TRY_QUIET(json_get_int(config, key, 1, most, &number));
    *value = (int32_t)number;
    return AIOS_OK;
}

static aios_status read_config(const json_t *config, struct gpt2 *m)
{
    double eps, deviation;
    TRY_QUIET(get_size(config, "n_layer", 12, 10000, &m->layers));
    TRY_QUIET(get_size(config, "n_head", 12, 10000, &m->heads));
    TRY_QUIET(get_size(config, "n_embd", 768, 1 << 20, &m->width));
    TRY_QUIET(get_size(config, "n_inner", 4 * (int64_t)m->width, 1 << 22, &m->inner));
    TRY_QUIET(get_size(config, "n_ctx", 1024, 1 << 20, &m->positions)); /* the older name */
    TRY_QUIET(get_size(config, "n_positions", m->positions, 1 << 20, &m->positions));
    TRY_QUIET(get_size(config, "vocab_size", 50257, 1 << 24, &m->vocabulary));
    TRY_QUIET(json_get_number_or(config, "layer_norm_epsilon", 1e-5, 0.0, 1.0, &eps));
    TRY_QUIET(json_get_number_or(config, "initializer_range", (double)DEVIATION, 0.0, 10.0, &deviation));
    m->eps = (float)eps;
    m->deviation = (float)deviation;
    if (m->width % m->heads)
        return FAIL(AIOS_INVALID_ARGUMENT, "n_embd is %d and n_head %d: n_embd must be a multiple of n_head", m->width, m->heads);
    return AIOS_OK;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

struct recorder {
    aios_graph *graph;
    const struct gpt2 *model;
    int32_t layer, mode;
    aios_tensor start;
    int32_t batch;
};

/* "wte.weight", or within a block "h.3.ln_1.weight" */
static void full_name(const struct recorder *r, const char *name, char full[96])
{
    if (r->layer < 0)
        (void)snprintf(full, 96, "%s", name);
    else
        (void)snprintf(full, 96, "h.%d.%s", r->layer, name);
}

static aios_tensor matrix(struct recorder *r, const char *name, int32_t rows, int32_t columns, float deviation)
{
    char full[96];
    full_name(r, name, full);
    return aios_graph_parameter(r->graph, full, (int32_t[]){rows, columns}, 2, AIOS_INIT_NORMAL, deviation, AIOS_GROUP_DECAY);
}

static aios_tensor vector(struct recorder *r, const char *name, int32_t n, int32_t init)
{
    char full[96];
    full_name(r, name, full);
    return aios_graph_parameter(r->graph, full, (int32_t[]){n}, 1, init, 0.0f, AIOS_GROUP_NO_DECAY);
}

static aios_tensor layernorm(struct recorder *r, aios_tensor x, const char *weight, const char *bias)
{
    aios_tensor w = vector(r, weight, r->model->width, AIOS_INIT_ONE);
    aios_tensor b = vector(r, bias, r->model->width, AIOS_INIT_ZERO);
    return aios_graph_layernorm(r->graph, x, w, b, r->model->eps);
}

/* Conv1D: the weight is stored (in, out). */
static aios_tensor conv1d(struct recorder *r, aios_tensor x, const char *weight, const char *bias, int32_t in, int32_t out, float deviation,
                          int32_t activation)
{
    aios_tensor w = matrix(r, weight, in, out, deviation);
    aios_tensor b = vector(r, bias, out, AIOS_INIT_ZERO);
    return aios_graph_linear(r->graph, x, w, b, AIOS_WEIGHT_IN_OUT, activation);
}

static aios_tensor attention(struct recorder *r, aios_tensor qkv)
{
    const struct gpt2 *m = r->model;
    aios_attention_options options = AIOS_ATTENTION_OPTIONS_INIT;
    options.heads = m->heads;
    options.causal = 1;
    if (r->mode == AIOS_MODEL_DECODE) {
        char name[32];
        (void)snprintf(name, sizeof name, "h.%d.cache", r->layer);
        options.cache = aios_graph_state(r->graph, name, AIOS_F32, (int32_t[]){r->batch, m->positions, 2 * m->width}, 3);
        options.start = r->start;
    }
    return aios_graph_attention(r->graph, qkv, &options);
}

/* x + attention(norm(x)), then x + mlp(norm(x)) */
static aios_tensor block(struct recorder *r, aios_tensor x)
{
    const struct gpt2 *m = r->model;
    float residual = m->deviation / sqrtf(2.0f * (float)m->layers); /* so that the stream's variance does not grow with depth */
    aios_tensor h = layernorm(r, x, "ln_1.weight", "ln_1.bias");
    h = conv1d(r, h, "attn.c_attn.weight", "attn.c_attn.bias", m->width, 3 * m->width, m->deviation, AIOS_ACTIVATION_NONE);
    h = attention(r, h);
    h = conv1d(r, h, "attn.c_proj.weight", "attn.c_proj.bias", m->width, m->width, residual, AIOS_ACTIVATION_NONE);
    x = aios_graph_add(r->graph, x, h);
    h = layernorm(r, x, "ln_2.weight", "ln_2.bias");
    h = conv1d(r, h, "mlp.c_fc.weight", "mlp.c_fc.bias", m->width, m->inner, m->deviation, AIOS_ACTIVATION_GELU);
    h = conv1d(r, h, "mlp.c_proj.weight", "mlp.c_proj.bias", m->inner, m->width, residual, AIOS_ACTIVATION_NONE);
    return aios_graph_add(r->graph, x, h);
}

static aios_status record(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t sequence)
{
    const struct gpt2 *m = user;
    struct recorder r = {.graph = g, .model = m, .layer = -1, .mode = mode, .batch = batch};
    int32_t shape[] = {batch, sequence};
    aios_tensor tokens = aios_graph_input(g, "tokens", AIOS_I32, shape, 2);
    aios_tensor wte = matrix(&r, "wte.weight", m->vocabulary, m->width, m->deviation);
    aios_tensor wpe = matrix(&r, "wpe.weight", m->positions, m->width, m->deviation);
    aios_tensor places;
    if (mode == AIOS_MODEL_DECODE) {
        r.start = aios_graph_input(g, "start", AIOS_I32, (int32_t[]){1}, 1);
        places = aios_graph_embedding(g, wpe, aios_graph_input(g, "positions", AIOS_I32, &sequence, 1));
    } else {
        places = aios_graph_slice(g, wpe, 0, 0, sequence);
    }
    aios_tensor x = aios_graph_add(g, aios_graph_embedding(g, wte, tokens), places); /* (B, T, C) */
    for (r.layer = 0; r.layer < m->layers; r.layer++) {
        aios_graph_mark(g);
        x = block(&r, x);
    }
    aios_graph_mark(g);
    r.layer = -1;
    x = layernorm(&r, x, "ln_f.weight", "ln_f.bias");
    aios_tensor logits = aios_graph_linear(g, x, wte, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE); /* (B, T, V) */
    if (mode == AIOS_MODEL_DECODE) {
        aios_graph_output(g, "logits", logits);
        return AIOS_OK;
    }
    aios_tensor losses = aios_graph_cross_entropy(g, logits, aios_graph_input(g, "labels", AIOS_I32, shape, 2), AIOS_SOFTMAX, 1.0f);
    if (mode == AIOS_MODEL_EVAL) aios_graph_output(g, "losses", losses);                                  /* (B, T) */
    if (mode == AIOS_MODEL_EVAL) aios_graph_output(g, "correct", aios_graph_sequence_correct(g, losses)); /* (B) */
    return AIOS_OK;
}

static void destroy(void *user)
{
    struct gpt2 *m = user;
    aios_context *context = m->context;
    aios_memory_free(context, m);
    aios_context_release(context);
}

static aios_status create(aios_context *context, const json_t *config, aios_model_functions *functions)
{
    struct gpt2 sizes = {0};
    TRY_QUIET(read_config(config, &sizes));
    TRY_QUIET(check_mathematics(context, config));
    struct gpt2 *m = aios_new(context, struct gpt2);
    if (!m) return AIOS_OUT_OF_MEMORY;
    *m = sizes;
    m->context = aios_context_retain(context);
    functions->user = m;
    functions->record = record;
    functions->destroy = destroy;
    functions->vocabulary_size = m->vocabulary;
    functions->context_length = m->positions;
    return AIOS_OK;
}

/* Masks that old checkpoints carry ("h.3.attn.bias", "h.3.attn.masked_bias") and the head that is the embedding. */
static int extra(const char *name, struct extra_tensor *extra_tensor)
{
    int layer, end = 0;
    if (strcmp(name, "lm_head.weight") == 0) {
        extra_tensor->kind = EXTRA_TIED;
        (void)snprintf(extra_tensor->source, sizeof extra_tensor->source, "wte.weight");
        return 1;
    }
    if (sscanf(name, "h.%d.attn.bias%n", &layer, &end) == 1 && end && !name[end]) {
        extra_tensor->kind = EXTRA_MASK;
        return 1;
    }
    if (sscanf(name, "h.%d.attn.masked_bias%n", &layer, &end) == 1 && end && !name[end]) {
        extra_tensor->kind = EXTRA_VALUE;
        return 1;
    }
    return 0;
}

const struct architecture gpt2_architecture = {"gpt2", create, extra};
