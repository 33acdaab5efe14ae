#include "setup.h"

#include "base/json.h"

#include <string.h>

const char *setup_precision_name(int64_t precision)
{
    static const char *const names[] = {
        [AIOS_PRECISION_32] = "32", [AIOS_PRECISION_16_MIXED] = "16-mixed", [AIOS_PRECISION_BF16_MIXED] = "bf16-mixed"};
    return names[precision];
}

aios_status setup_hardware(aios_context *context, const char *selection, int64_t precision, int64_t strategy, int keep_cpu,
                           aios_hardware **hardware)
{
    static const char *const names[] = {[STRATEGY_AUTO] = NULL, [STRATEGY_DDP] = "ddp", [STRATEGY_INDEPENDENT] = "parallel_independent"};
    aios_hardware_options options = AIOS_HARDWARE_OPTIONS_INIT;
    options.precision = setup_precision_name(precision);
    options.strategy = names[strategy];
    options.keep_cpu = keep_cpu;
    return aios_hardware_resolve(context, NULL, selection, &options, hardware);
}

aios_status setup_device(aios_context *context, const char *spec, int64_t precision, aios_device **device)
{
    aios_hardware *hardware;
    if (strcmp(spec, "auto") != 0) {
        TRY(aios_device_open(context, spec, device), "opening device %s", spec);
        return AIOS_OK;
    }
    TRY(setup_hardware(context, spec, precision, STRATEGY_AUTO, 0, &hardware), "choosing a device");
    const char *chosen = aios_hardware_inference_device(hardware, 0)->spec;
    aios_status status = aios_device_open(context, chosen, device);
    if (status != AIOS_OK) status = aios_error_add_frame(status, "opening %s, which device auto chose", chosen);
    aios_hardware_destroy(hardware);
    return status;
}

aios_status setup_tokenizer(aios_context *context, const char *option, const char *folder, aios_tokenizer **tokenizer)
{
    if (*option) {
        TRY(aios_tokenizer_open(context, option, tokenizer), "option tokenizer");
        return AIOS_OK;
    }
    if (!folder) return aios_tokenizer_open(context, "bytes", tokenizer);
    aios_status status = aios_tokenizer_open(context, folder, tokenizer);
    if (status == AIOS_NOT_FOUND) {
        aios_model *model;
        TRY_QUIET(aios_model_open(context, folder, &model)); /* what is no model at all says so */
        aios_model_destroy(model);
        return FAIL(AIOS_NOT_FOUND, "model %s has no tokenizer files: name a tokenizer (a folder, or bytes) with option tokenizer", folder);
    }
    return status == AIOS_OK ? status : aios_error_add_frame(status, "the tokenizer of model %s", folder);
}

aios_status setup_check_vocabulary(const aios_model *model, const aios_tokenizer *tokenizer)
{
    int32_t ids = aios_tokenizer_vocabulary_size(tokenizer), rows = aios_model_vocabulary_size(model);
    if (ids <= rows) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "tokenizer %s has %d ids and the model a vocabulary of %d: it must have at least as many",
                aios_tokenizer_name(tokenizer), ids, rows);
}

static json_t *gpt2_config(const struct settings *s, const aios_tokenizer *tokenizer)
{
    int64_t end = aios_tokenizer_end_of_text(tokenizer);
    json_t *config =
        json_pack("{ss s[s] sf si sf sf sb sI sI sn sI sI sf sb si sf si}", "activation_function", "gelu_new", "architectures",
                  "GPT2LMHeadModel", "attn_pdrop", 0.0, "bos_token_id", (int)end, "embd_pdrop", 0.0, "layer_norm_epsilon", 1e-5,
                  "scale_attn_weights", 1, "n_embd", (json_int_t)s->n_embd, "n_head", (json_int_t)s->n_head, "n_inner", "n_layer",
                  (json_int_t)s->n_layer, "n_positions", (json_int_t)s->max_seq_len, "resid_pdrop", 0.0, "tie_word_embeddings", 1,
                  "vocab_size", aios_tokenizer_vocabulary_size(tokenizer), "initializer_range", 0.02, "eos_token_id", (int)end);
    if (config && end < 0) {
        (void)json_object_del(config, "bos_token_id");
        (void)json_object_del(config, "eos_token_id");
    }
    return config;
}

/* The keys of the public reference's hrm_v1.yaml that texts and puzzles share. */
static json_t *hrm_config(const struct settings *s, int32_t vocabulary, int64_t length)
{
    return json_pack("{si sI sI sI sI sI sI sf sI sI ss sf sf s{ss}}", "vocab_size", vocabulary, "seq_len", (json_int_t)length, "H_cycles",
                     (json_int_t)s->h_cycles, "L_cycles", (json_int_t)s->l_cycles, "H_layers", (json_int_t)s->h_layers, "L_layers",
                     (json_int_t)s->l_layers, "hidden_size", (json_int_t)s->hidden_size, "expansion", s->expansion, "num_heads",
                     (json_int_t)s->num_heads, "halt_max_steps", (json_int_t)s->halt_max_steps, "pos_encodings", s->pos_encodings,
                     "rope_theta", s->rope_theta, "rms_norm_eps", s->rms_norm_eps, "loss", "loss_type", s->loss_type);
}

/* Takes the configuration over; NULL: there was no memory for it. */
static aios_status create_model(aios_context *context, json_t *config, const char *type, aios_model **model)
{
    char *text = NULL;
    if (!config || json_object_set_new(config, "model_type", json_string(type))) {
        json_decref(config);
        return FAIL(AIOS_OUT_OF_MEMORY, "no memory for a model's configuration");
    }
    aios_status status = json_to_text(context, config, JSON_TEXT_CONFIG, &text, NULL);
    if (status == AIOS_OK) status = aios_model_create(context, text, model);
    aios_memory_free(context, text);
    json_decref(config);
    return status == AIOS_OK ? status : aios_error_add_frame(status, "making a new model");
}

aios_status setup_new_model(aios_context *context, const struct settings *s, const aios_tokenizer *tokenizer, aios_model **model)
{
    if (strcmp(s->model_type, "gpt2") == 0) return create_model(context, gpt2_config(s, tokenizer), s->model_type, model);
    json_t *config = hrm_config(s, aios_tokenizer_vocabulary_size(tokenizer), s->max_seq_len),
           *experts = json_pack("{sI sI sf}", "num_experts", (json_int_t)s->num_experts, "num_experts_per_tok",
                                (json_int_t)s->num_experts_per_tok, "moe_balance_weight", s->moe_balance);
    if (!experts || (config && json_object_set_new(config, "causal", json_true())) ||
        (config && s->use_moe && json_object_update(config, experts))) {
        json_decref(config);
        config = NULL;
    }
    json_decref(experts);
    return create_model(context, config, s->model_type, model);
}

aios_status setup_puzzle_model(aios_context *context, const struct settings *s, const aios_puzzles_info *puzzles, aios_model **model)
{
    static const char *const kinds[] = {"other", "sudoku", "maze", "arc"};
    int64_t width = s->puzzle_emb_ndim < 0 ? s->hidden_size : s->puzzle_emb_ndim;
    json_t *config = hrm_config(s, puzzles->vocabulary_size, puzzles->length),
           *more = json_pack("{si sI sf ss}", "num_puzzle_identifiers", puzzles->identifier_count, "puzzle_emb_ndim", (json_int_t)width,
                             "halt_exploration_prob", s->exploration, "puzzle_kind", kinds[puzzles->kind]);
    if (!more || (config && json_object_update(config, more))) {
        json_decref(config);
        config = NULL;
    }
    json_decref(more);
    return create_model(context, config, s->model_type, model);
}

aios_status setup_sequence(const aios_model *model, const struct settings *s, const aios_options *given, int32_t *sequence)
{
    int64_t wanted = s->max_seq_len, most = aios_model_context_length(model);
    if (wanted > most && aios_options_is_set(given, "max-seq-len"))
        return FAIL(AIOS_OUT_OF_RANGE, "max-seq-len is %lld: model %s has %lld positions", (long long)wanted, aios_model_name(model),
                    (long long)most);
    *sequence = (int32_t)(wanted < most ? wanted : most);
    return AIOS_OK;
}

aios_status setup_graph(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence, aios_graph **graph)
{
    TRY_QUIET(aios_graph_create(context, graph));
    aios_status status = aios_model_record(model, *graph, mode, (int32_t)batch, (int32_t)sequence);
    if (status == AIOS_OK) return status;
    aios_graph_destroy(*graph);
    *graph = NULL;
    return status;
}

aios_status setup_plan(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence,
                       const aios_plan_options *options, aios_parameters *parameters, aios_plan **plan)
{
    aios_graph *graph;
    TRY_QUIET(setup_graph(context, model, mode, batch, sequence, &graph));
    aios_status status = aios_plan_create(graph, parameters, options, plan);
    aios_graph_destroy(graph);
    return status == AIOS_OK ? status
                             : aios_error_add_frame(status, "planning %s for batches of %lld x %lld", aios_model_name(model),
                                                    (long long)batch, (long long)sequence);
}
