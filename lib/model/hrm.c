/* HRM ACT v1: the Hierarchical Reasoning Model (Wang et al., 2025, arXiv 2506.21734) with the mathematics and the tensor names of
 * its public reference (github.com/sapientinc/HRM, models/hrm/hrm_act_v1.py), on the public graph API.
 *
 * Two modules, H (slow) and L (fast), are applied in turn to two hidden sequences z_H and z_L.  All but the last application of each is
 * without gradient.  One run of the graph is one segment of every sequence of the batch; hidden sequences, steps and the puzzle
 * itself stay on the device until the sequence halts, and then make room for the next puzzle of the inputs. */
#include "hrm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEAD_BIAS (-5.0f) /* halting is learnt from "go on" */

/* ---- configuration ----------------------------------------------------------------------------------------------- */

static aios_status get_size(const json_t *config, const char *key, int64_t fallback, int64_t least, int64_t most, int32_t *value)
{
    int64_t number;
    if (fallback >= 0)
        TRY_QUIET(json_get_int_or(config, key, fallback, least, most, &number));
    else
        TRY_QUIET(json_get_int(config, key, least, most, &number));
    *value = (int32_t)number;
    return AIOS_OK;
}

/* One of two words. */
static aios_status get_choice(const json_t *config, const char *key, const char *yes, const char *no, int32_t *value)
{
    const char *text;
    TRY_QUIET(json_get_string_or(config, key, yes, &text));
    *value = strcmp(text, yes) == 0;
    if (*value || strcmp(text, no) == 0) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "%s is '%s': libaios knows %s and %s", key, text, yes, no);
}

static aios_status read_loss(const json_t *config, struct hrm *m)
{
    json_t *loss = json_object_get(config, "loss");
    return get_choice(loss ? loss : config, "loss_type", "stablemax_cross_entropy", "softmax_cross_entropy", &m->stablemax);
}

static aios_status read_experts(const json_t *config, struct hrm *m)
{
    double balance;
    TRY_QUIET(get_size(config, "num_experts", 0, 0, 1024, &m->experts));
    TRY_QUIET(get_size(config, "num_experts_per_tok", m->experts < 2 ? m->experts : 2, 0, 1024, &m->chosen));
    TRY_QUIET(json_get_number_or(config, "moe_balance_weight", 0.01, 0.0, 1000.0, &balance));
    m->balance = (float)balance;
    if (m->experts && !m->causal)
        return FAIL(AIOS_UNSUPPORTED, "num_experts is %d and causal false: the model of puzzles has no experts (0)", m->experts);
    if (m->experts && (m->chosen < 1 || m->chosen > m->experts))
        return FAIL(AIOS_OUT_OF_RANGE, "num_experts_per_tok is %d: 1 to %d of num_experts can be chosen", m->chosen, m->experts);
    return AIOS_OK;
}

static aios_status read_config(const json_t *config, struct hrm *m)
{
    double expansion, theta, eps;
    TRY_QUIET(get_size(config, "hidden_size", 512, 2, 1 << 20, &m->hidden));
    TRY_QUIET(get_size(config, "num_heads", 8, 1, 10000, &m->heads));
    TRY_QUIET(get_size(config, "H_layers", 4, 1, 1000, &m->h_layers));
    TRY_QUIET(get_size(config, "L_layers", 4, 1, 1000, &m->l_layers));
    TRY_QUIET(get_size(config, "H_cycles", 2, 1, 1000, &m->h_cycles));
    TRY_QUIET(get_size(config, "L_cycles", 2, 1, 1000, &m->l_cycles));
    TRY_QUIET(get_size(config, "halt_max_steps", 16, 1, 1 << 20, &m->halt_max_steps));
    TRY_QUIET(get_size(config, "vocab_size", -1, 1, 1 << 24, &m->vocabulary));
    TRY_QUIET(get_size(config, "seq_len", -1, 1, 1 << 20, &m->length));
    TRY_QUIET(get_size(config, "num_puzzle_identifiers", 1, 1, INT32_MAX, &m->identifiers));
    TRY_QUIET(get_size(config, "puzzle_emb_ndim", m->hidden, 0, 1 << 24, &m->puzzle_width));
    TRY_QUIET(json_get_bool_or(config, "causal", 0, &m->causal));
    if (m->causal && !json_object_get(config, "puzzle_emb_ndim")) m->puzzle_width = 0;
    if (m->causal && m->puzzle_width)
        return FAIL(AIOS_UNSUPPORTED, "puzzle_emb_ndim is %d and causal true: a text belongs to no puzzle (0)", m->puzzle_width);
    TRY_QUIET(json_get_number_or(config, "expansion", 4.0, 0.01, 1000.0, &expansion));
    TRY_QUIET(json_get_number_or(config, "rope_theta", 10000.0, 1.0, 1e12, &theta));
    TRY_QUIET(json_get_number_or(config, "rms_norm_eps", 1e-5, 0.0, 1.0, &eps));
    TRY_QUIET(read_experts(config, m));
    TRY_QUIET(get_choice(config, "pos_encodings", "rope", "learned", &m->rope));
    TRY_QUIET(read_loss(config, m));
    if (m->hidden % m->heads || (m->rope && m->hidden / m->heads % 2))
        return FAIL(AIOS_INVALID_ARGUMENT, "hidden_size is %d and num_heads %d: heads of an even, whole size are needed", m->hidden,
                    m->heads);
    m->inner = 256 * (int32_t)ceil(nearbyint(expansion * m->hidden * 2 / 3) / 256);
    m->puzzle_positions = (m->puzzle_width + m->hidden - 1) / m->hidden;
    m->theta = (float)theta;
    m->eps = (float)eps;
    return AIOS_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

aios_tensor hrm_linear(struct hrm_recorder *r, aios_tensor x, const char *name, int32_t in, int32_t out)
{
    aios_tensor w = aios_graph_parameter(r->graph, name, (int32_t[]){out, in}, 2, AIOS_INIT_TRUNCATED_NORMAL, 1.0f / sqrtf((float)in),
                                         AIOS_GROUP_DECAY);
    return aios_graph_linear(r->graph, x, w, 0, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
}

static aios_tensor add_and_norm(struct hrm_recorder *r, aios_tensor x, aios_tensor change)
{
    return aios_graph_rmsnorm(r->graph, aios_graph_add(r->graph, x, change), 0, r->model->eps);
}

/* Sum over the chosen experts of gate * down(silu(gate part) * up part).  The experts' weights are rows (gate_up_proj: all gates, then all
 * ups) and columns (down_proj) of one matrix each.  An expert computes the positions that it was chosen for, all of them and no other:
 * exact for any batch, at the price of `chosen` experts. */
static aios_tensor mix(struct hrm_recorder *r, const char *module, int32_t layer, aios_tensor x)
{
    const struct hrm *m = r->model;
    aios_graph *g = r->graph;
    char names[3][96];
    static const char *const parts[] = {"router", "experts.gate_up_proj", "experts.down_proj"};
    for (int k = 0; k < 3; k++)
        (void)snprintf(names[k], sizeof names[k], "model.inner.%s_level.layers.%d.mlp.%s.weight", module, layer, parts[k]);
    aios_tensor gates = aios_graph_expert_gates(g, hrm_linear(r, x, names[0], m->hidden, m->experts), m->chosen);
    if (r->learning && m->balance > 0) {
        aios_graph_begin_auxiliary(g);
        (void)aios_graph_expert_balance(g, gates, r->labels, m->balance);
        aios_graph_end_auxiliary(g);
    }
    aios_tensor up = aios_graph_parameter(g, names[1], (int32_t[]){2 * m->experts * m->inner, m->hidden}, 2, AIOS_INIT_TRUNCATED_NORMAL,
                                          1.0f / sqrtf((float)m->hidden), AIOS_GROUP_DECAY);
    aios_tensor down = aios_graph_parameter(g, names[2], (int32_t[]){m->hidden, m->experts * m->inner}, 2, AIOS_INIT_TRUNCATED_NORMAL,
                                            1.0f / sqrtf((float)m->inner), AIOS_GROUP_DECAY);
    aios_tensor rows = aios_graph_expert_rows(g, x, gates);
    rows = aios_graph_swiglu(g, aios_graph_expert_linear(g, rows, gates, up, 2));
    return aios_graph_expert_sum(g, aios_graph_expert_linear(g, rows, gates, down, 1), gates);
}

/* (B, 1, hidden) of (B, T, hidden). */
static aios_tensor first_position(struct hrm_recorder *r, aios_tensor x)
{
    return aios_graph_slice(r->graph, x, 1, 0, 1);
}

/* x = RMS(x + Attention(x)); x = RMS(x + MLP(x)), of every position, or of the first, which sees them all. */
static aios_tensor block(struct hrm_recorder *r, const char *module, int32_t layer, aios_tensor x, int first_only)
{
    const struct hrm *m = r->model;
    aios_attention_options options = AIOS_ATTENTION_OPTIONS_INIT;
    char names[4][96];
    static const char *const parts[] = {"self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"};
    for (int k = 0; k < 4; k++)
        (void)snprintf(names[k], sizeof names[k], "model.inner.%s_level.layers.%d.%s.weight", module, layer, parts[k]);
    options.heads = m->heads;
    options.causal = m->causal;
    options.rope_theta = m->rope ? m->theta : 0.0f;
    if (r->start) { /* every application has keys and values of its own */
        char cache[32];
        (void)snprintf(cache, sizeof cache, "cache.%d", r->applications++);
        options.cache = aios_graph_state(r->graph, cache, AIOS_F32, (int32_t[]){r->batch, m->length, 2 * m->hidden}, 3);
        options.start = r->start;
    }
    if (m->causal) aios_graph_mark(r->graph);
    aios_tensor qkv = hrm_linear(r, x, names[0], m->hidden, 3 * m->hidden);
    aios_tensor seen = aios_graph_attention(r->graph, qkv, &options);
    if (first_only) {
        x = first_position(r, x);
        seen = first_position(r, seen);
    }
    x = add_and_norm(r, x, hrm_linear(r, seen, names[1], m->hidden, m->hidden));
    if (m->experts) return add_and_norm(r, x, mix(r, module, layer, x));
    aios_tensor gated = aios_graph_swiglu(r->graph, hrm_linear(r, x, names[2], m->hidden, 2 * m->inner));
    return add_and_norm(r, x, hrm_linear(r, gated, names[3], m->inner, m->hidden));
}

/* A z of one vector stands for every position. */
static aios_tensor add_hidden(struct hrm_recorder *r, aios_tensor z, aios_tensor x)
{
    return aios_graph_rank(r->graph, z) == 1 ? aios_graph_add(r->graph, x, z) : aios_graph_add(r->graph, z, x);
}

static aios_tensor module(struct hrm_recorder *r, const char *name, int32_t layers, aios_tensor z, aios_tensor injection, int first_only)
{
    z = add_hidden(r, z, injection);
    for (int32_t i = 0; i < layers; i++) z = block(r, name, i, z, first_only && i == layers - 1);
    return z;
}

/* ---- the inner model --------------------------------------------------------------------------------------------- */

static aios_tensor apply_l(struct hrm_recorder *r, struct hrm_carry z, aios_tensor x)
{
    return module(r, "L", r->model->l_layers, z.l, add_hidden(r, z.h, x), 0);
}

static aios_tensor apply_h(struct hrm_recorder *r, struct hrm_carry z)
{
    return module(r, "H", r->model->h_layers, z.h, z.l, 0);
}

/* The applications of a segment before the last L and the last H. */
static struct hrm_carry think_before(struct hrm_recorder *r, struct hrm_carry z, aios_tensor x)
{
    const struct hrm *m = r->model;
    for (int32_t h = 0; h < m->h_cycles; h++) {
        for (int32_t l = 0; l < m->l_cycles; l++)
            if (h < m->h_cycles - 1 || l < m->l_cycles - 1) z.l = apply_l(r, z, x);
        if (h < m->h_cycles - 1) z.h = apply_h(r, z);
    }
    return z;
}

/* One segment: every application but the last L and the last H without gradient. */
struct hrm_carry hrm_think(struct hrm_recorder *r, struct hrm_carry z, aios_tensor x)
{
    aios_graph_begin_no_gradient(r->graph);
    z = think_before(r, z, x);
    aios_graph_end_no_gradient(r->graph);
    r->learning = r->labels != 0;
    z.l = apply_l(r, z, x);
    z.h = apply_h(r, z);
    r->learning = 0;
    return z;
}

/* X (B, T, hidden) = sqrt(hidden) [puzzle ; tokens], with learned positions sqrt(hidden / 2) (… + positions). */
aios_tensor hrm_embed(struct hrm_recorder *r, aios_tensor tokens, aios_tensor puzzles, aios_tensor places)
{
    const struct hrm *m = r->model;
    aios_graph *g = r->graph;
    float deviation = 1.0f / sqrtf((float)m->hidden), scale = sqrtf((float)m->hidden);
    aios_tensor table = aios_graph_parameter(g, "model.inner.embed_tokens.embedding_weight", (int32_t[]){m->vocabulary, m->hidden}, 2,
                                             AIOS_INIT_TRUNCATED_NORMAL, deviation, AIOS_GROUP_DECAY);
    aios_tensor x = aios_graph_embedding(g, table, tokens);
    if (m->puzzle_width) {
        int32_t padded = m->puzzle_positions * m->hidden;
        aios_tensor p = aios_graph_rows(g, "model.inner.puzzle_emb.weights", m->identifiers, m->puzzle_width, puzzles);
        if (padded > m->puzzle_width) {
            aios_tensor any = aios_graph_reshape(g, aios_graph_slice(g, x, 1, 0, 1), (int32_t[]){r->batch, m->hidden}, 2);
            aios_tensor zero = aios_graph_scale(g, aios_graph_slice(g, any, 1, 0, padded - m->puzzle_width), 0.0f);
            p = aios_graph_concat(g, p, zero, 1);
        }
        x = aios_graph_concat(g, aios_graph_reshape(g, p, (int32_t[]){r->batch, m->puzzle_positions, m->hidden}, 3), x, 1);
    }
    if (!m->rope) {
        aios_tensor positions =
            aios_graph_parameter(g, "model.inner.embed_pos.embedding_weight", (int32_t[]){m->puzzle_positions + m->length, m->hidden}, 2,
                                 AIOS_INIT_TRUNCATED_NORMAL, deviation, AIOS_GROUP_DECAY);
        x = aios_graph_add(g, x, places ? aios_graph_embedding(g, positions, places) : aios_graph_slice(g, positions, 0, 0, r->positions));
        scale *= 0.707106781f;
    }
    return aios_graph_scale(g, x, scale);
}

/* (…, 2) = [halt, go on] of z (…, hidden). */
aios_tensor hrm_judge(struct hrm_recorder *r, aios_tensor z)
{
    const struct hrm *m = r->model;
    aios_tensor w =
        aios_graph_parameter(r->graph, "model.inner.q_head.weight", (int32_t[]){2, m->hidden}, 2, AIOS_INIT_ZERO, 0.0f, AIOS_GROUP_DECAY);
    aios_tensor bias =
        aios_graph_parameter(r->graph, "model.inner.q_head.bias", (int32_t[]){2}, 1, AIOS_INIT_CONSTANT, HEAD_BIAS, AIOS_GROUP_DECAY);
    return aios_graph_linear(r->graph, z, w, bias, AIOS_WEIGHT_OUT_IN, AIOS_ACTIVATION_NONE);
}

/* The first position stands for the sequence. */
static aios_tensor judge_sequence(struct hrm_recorder *r, aios_tensor z_h)
{
    return hrm_judge(r, aios_graph_reshape(r->graph, first_position(r, z_h), (int32_t[]){r->batch, r->model->hidden}, 2));
}

/* ---- adaptive computation time ----------------------------------------------------------------------------------- */

struct states {
    aios_tensor h, l, tokens, labels, puzzles, steps, running;
};

static struct states recall(struct hrm_recorder *r)
{
    aios_graph *g = r->graph;
    const int32_t hidden[] = {r->batch, r->positions, r->model->hidden};
    const int32_t cells[] = {r->batch, r->positions - r->model->puzzle_positions};
    return (struct states){.h = aios_graph_state(g, "z_H", AIOS_F32, hidden, 3),
                           .l = aios_graph_state(g, "z_L", AIOS_F32, hidden, 3),
                           .tokens = aios_graph_state(g, "current_tokens", AIOS_I32, cells, 2),
                           .labels = aios_graph_state(g, "current_labels", AIOS_I32, cells, 2),
                           .puzzles = aios_graph_state(g, "current_puzzles", AIOS_I32, &r->batch, 1),
                           .steps = aios_graph_state(g, "steps", AIOS_I32, &r->batch, 1),
                           .running = aios_graph_state(g, "running", AIOS_I32, &r->batch, 1)};
}

/* The first hidden sequence: one vector for every position, drawn once and never trained. */
aios_tensor hrm_first_hidden(struct hrm_recorder *r, const char *name)
{
    return aios_graph_parameter(r->graph, name, &r->model->hidden, 1, AIOS_INIT_TRUNCATED_NORMAL, 1.0f, AIOS_GROUP_FROZEN);
}

/* Where a sequence halted: the next puzzle of the inputs, its hidden sequences as at first. */
static struct states take_puzzles(struct hrm_recorder *r, const struct states *s)
{
    aios_graph *g = r->graph;
    const int32_t cells[] = {r->batch, r->positions - r->model->puzzle_positions};
    struct states now = {.running = s->running};
    now.h = aios_graph_select(g, s->running, s->h, hrm_first_hidden(r, "model.inner.H_init"));
    now.l = aios_graph_select(g, s->running, s->l, hrm_first_hidden(r, "model.inner.L_init"));
    now.tokens = aios_graph_select(g, s->running, s->tokens, aios_graph_input(g, "tokens", AIOS_I32, cells, 2));
    now.labels = aios_graph_select(g, s->running, s->labels, aios_graph_input(g, "labels", AIOS_I32, cells, 2));
    now.puzzles = aios_graph_select(g, s->running, s->puzzles, aios_graph_input(g, "puzzles", AIOS_I32, &r->batch, 1));
    now.steps = aios_graph_count_steps(g, s->steps, s->running);
    return now;
}

static void keep(struct hrm_recorder *r, const struct states *to, const struct states *from)
{
    aios_graph *g = r->graph;
    aios_graph_assign(g, to->h, aios_graph_detach(g, from->h));
    aios_graph_assign(g, to->l, aios_graph_detach(g, from->l));
    aios_graph_assign(g, to->tokens, from->tokens);
    aios_graph_assign(g, to->labels, from->labels);
    aios_graph_assign(g, to->puzzles, from->puzzles);
    aios_graph_assign(g, to->steps, from->steps);
    aios_graph_assign(g, to->running, from->running);
    aios_graph_output(g, "steps", from->steps);
    aios_graph_output(g, "running", from->running);
}

/* What going on is worth: the same model once more, from the new hidden sequences, of which only the first position is judged. */
static aios_tensor look_ahead(struct hrm_recorder *r, struct hrm_carry z, aios_tensor x, aios_tensor steps)
{
    aios_graph_begin_no_gradient(r->graph);
    z = think_before(r, z, x);
    z.l = apply_l(r, z, x);
    aios_tensor q = judge_sequence(r, module(r, "H", r->model->h_layers, z.h, z.l, 1));
    aios_graph_end_no_gradient(r->graph);
    return aios_graph_halt_target(r->graph, steps, q, r->model->halt_max_steps);
}

aios_tensor hrm_column(struct hrm_recorder *r, aios_tensor q, int32_t index)
{
    int32_t rows = aios_graph_dimension(r->graph, q, 0);
    return aios_graph_reshape(r->graph, aios_graph_slice(r->graph, q, 1, index, 1), &rows, 1);
}

static aios_status record(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t sequence)
{
    const struct hrm *m = user;
    struct hrm_recorder r = {.graph = g, .model = m, .batch = batch, .positions = sequence + m->puzzle_positions};
    if (mode == AIOS_MODEL_DECODE)
        return FAIL(AIOS_UNSUPPORTED, "hrm_actv1 answers whole puzzles: it has no token by token mode (causal has)");
    if (sequence != m->length) return FAIL(AIOS_OUT_OF_RANGE, "the sequence is %d: seq_len of this model is %d", sequence, m->length);
    struct states before = recall(&r), now = take_puzzles(&r, &before);
    aios_tensor x = hrm_embed(&r, now.tokens, now.puzzles, 0);
    struct hrm_carry z = hrm_think(&r, (struct hrm_carry){now.h, now.l}, x);
    now.h = z.h;
    now.l = z.l;
    aios_tensor q = judge_sequence(&r, z.h);
    aios_tensor answers = aios_graph_slice(g, z.h, 1, m->puzzle_positions, m->length);
    aios_tensor logits = hrm_linear(&r, answers, "model.inner.lm_head.weight", m->hidden, m->vocabulary);
    aios_tensor means = aios_graph_sequence_cross_entropy(g, logits, now.labels, m->stablemax ? AIOS_STABLEMAX : AIOS_SOFTMAX, 1.0f);
    aios_tensor correct = aios_graph_sequence_correct(g, means);
    int early = mode == AIOS_MODEL_TRAIN && m->halt_max_steps > 1;
    aios_tensor least = early ? aios_graph_input(g, "min_steps", AIOS_I32, &batch, 1) : 0;
    now.running = aios_graph_halt(g, now.steps, q, least, m->halt_max_steps);
    aios_graph_output(g, "lm_losses", means);
    aios_graph_output(g, "q_halt_losses", aios_graph_bce_with_logits(g, hrm_column(&r, q, 0), correct, 0.5f));
    if (early)
        aios_graph_output(g, "q_continue_losses",
                          aios_graph_bce_with_logits(g, hrm_column(&r, q, 1), look_ahead(&r, z, x, now.steps), 0.5f));
    aios_graph_output(g, "correct", correct);
    aios_graph_output(g, "q", q);
    if (mode == AIOS_MODEL_EVAL) aios_graph_output(g, "logits", logits);
    keep(&r, &before, &now);
    return AIOS_OK;
}

/* ---- the architecture -------------------------------------------------------------------------------------------- */

static void destroy(void *user)
{
    struct hrm *m = user;
    aios_context *context = m->context;
    aios_memory_free(context, m);
    aios_context_release(context);
}

static aios_status create(aios_context *context, const json_t *config, aios_model_functions *functions)
{
    struct hrm sizes = {0};
    TRY_QUIET(read_config(config, &sizes));
    struct hrm *m = aios_new(context, struct hrm);
    if (!m) return AIOS_OUT_OF_MEMORY;
    *m = sizes;
    m->context = aios_context_retain(context);
    functions->user = m;
    functions->record = m->causal ? hrm_record_language : record;
    functions->destroy = destroy;
    functions->vocabulary_size = m->vocabulary;
    functions->context_length = m->length;
    return AIOS_OK;
}

static int extra(const char *name, struct extra_tensor *extra_tensor)
{
    (void)name, (void)extra_tensor;
    return 0; /* the format has no other tensors */
}

const struct architecture hrm_actv1_architecture = {"hrm_actv1", create, extra};
