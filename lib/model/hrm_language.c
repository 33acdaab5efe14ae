/* HRM ACT v1 as a language model: attention is causal, labels are the next tokens.
 *
 * All segments of a text are in one run, so nothing is carried from step to step, every token is trained once in every strategy, and a
 * new token finds the keys and values of every application in a cache.  Each segment has its losses (deep supervision); its hidden
 * sequences go to the next one without gradient, as between the segments of a puzzle.  The loss that is told is the last segment's.
 *
 * Halting is learnt for every position: "halt" is whether its next token is predicted right, "go on" the larger judgement of the next
 * segment. It stops nobody: the tokens behind want every segment. */
#include "hrm.h"

struct judgement {
    aios_tensor q;       /* (B T, 2) */
    aios_tensor ignored; /* (B T) i32: 1 where there is no label */
};

/* 1 where a label is negative.  count_steps makes label + 1 of label (1 of 0), which is 1 at least where there is one: halted at once. */
static aios_tensor find_ignored(struct hrm_recorder *r, aios_tensor labels, aios_tensor q)
{
    return aios_graph_halt(r->graph, aios_graph_count_steps(r->graph, labels, labels), q, 0, 1);
}

/* Where there is no label nothing is learnt of halting either. */
static aios_tensor counted(struct hrm_recorder *r, const struct judgement *j)
{
    return aios_graph_select(r->graph, j->ignored, aios_graph_detach(r->graph, j->q), j->q);
}

/* What "go on" of a segment ought to have said, once the next one is there. */
static void learn_going_on(struct hrm_recorder *r, const struct judgement *before, const struct judgement *next, int last)
{
    aios_graph *g = r->graph;
    aios_graph_begin_no_gradient(g);
    aios_tensor any = aios_graph_count_steps(g, next->ignored, next->ignored); /* 1 or 2 */
    aios_tensor target = aios_graph_halt_target(g, any, aios_graph_detach(g, next->q), last ? 1 : INT32_MAX);
    aios_graph_end_no_gradient(g);
    aios_graph_begin_auxiliary(g);
    (void)aios_graph_bce_with_logits(g, hrm_column(r, counted(r, before), 1), target, 0.5f);
    aios_graph_end_auxiliary(g);
}

/* Losses of a segment; of all but the last they are not told. */
static struct judgement learn(struct hrm_recorder *r, aios_tensor z_h, aios_tensor labels, int last)
{
    const struct hrm *m = r->model;
    aios_graph *g = r->graph;
    int32_t rows = r->batch * r->positions;
    aios_tensor flat = aios_graph_reshape(g, z_h, (int32_t[]){rows, m->hidden}, 2);
    aios_tensor logits = hrm_linear(r, flat, "model.inner.lm_head.weight", m->hidden, m->vocabulary);
    struct judgement j = {.q = hrm_judge(r, flat)};
    if (!last) aios_graph_begin_auxiliary(g);
    /* Each label is a sequence of its own: they count alike, and each is right or wrong. */
    aios_tensor losses = aios_graph_sequence_cross_entropy(g, logits, labels, m->stablemax ? AIOS_STABLEMAX : AIOS_SOFTMAX, 1.0f);
    if (!last) aios_graph_end_auxiliary(g);
    j.ignored = find_ignored(r, labels, j.q);
    aios_graph_begin_auxiliary(g);
    (void)aios_graph_bce_with_logits(g, hrm_column(r, counted(r, &j), 0), aios_graph_sequence_correct(g, losses), 0.5f);
    aios_graph_end_auxiliary(g);
    return j;
}

/* Logits (rows, V) and judgements of the last segment, to be looked at. */
static aios_tensor answer(struct hrm_recorder *r, aios_tensor z_h)
{
    const struct hrm *m = r->model;
    int32_t rows = r->batch * r->positions;
    aios_tensor flat = aios_graph_reshape(r->graph, z_h, (int32_t[]){rows, m->hidden}, 2);
    aios_graph_output(r->graph, "q", hrm_judge(r, flat));
    return hrm_linear(r, flat, "model.inner.lm_head.weight", m->hidden, m->vocabulary);
}

static void record_training(struct hrm_recorder *r, aios_tensor x, struct hrm_carry z, aios_tensor labels)
{
    aios_graph *g = r->graph;
    struct judgement before = {0, 0};
    int32_t segments = r->model->halt_max_steps;
    for (int32_t segment = 1; segment <= segments; segment++) {
        z = hrm_think(r, z, x);
        aios_graph_mark(g);
        struct judgement now = learn(r, z.h, labels, segment == segments);
        if (segment > 1) learn_going_on(r, &before, &now, segment == segments);
        before = now;
        z = (struct hrm_carry){aios_graph_detach(g, z.h), aios_graph_detach(g, z.l)};
    }
}

aios_status hrm_record_language(void *user, aios_graph *g, int32_t mode, int32_t batch, int32_t sequence)
{
    const struct hrm *m = user;
    struct hrm_recorder r = {.graph = g, .model = m, .batch = batch, .positions = sequence};
    const int32_t shape[] = {batch, sequence}, rows = batch * sequence;
    aios_tensor tokens = aios_graph_input(g, "tokens", AIOS_I32, shape, 2), places = 0, labels = 0;
    if (mode == AIOS_MODEL_DECODE) {
        r.start = aios_graph_input(g, "start", AIOS_I32, (int32_t[]){1}, 1);
        places = aios_graph_input(g, "positions", AIOS_I32, &sequence, 1);
    } else {
        labels = aios_graph_input(g, "labels", AIOS_I32, shape, 2);
        if (mode == AIOS_MODEL_TRAIN) r.labels = labels;
        labels = aios_graph_reshape(g, labels, &rows, 1);
    }
    aios_tensor x = hrm_embed(&r, tokens, 0, places);
    struct hrm_carry z = {hrm_first_hidden(&r, "model.inner.H_init"), hrm_first_hidden(&r, "model.inner.L_init")};
    if (mode == AIOS_MODEL_TRAIN) {
        record_training(&r, x, z, labels);
        return AIOS_OK;
    }
    for (int32_t segment = 0; segment < m->halt_max_steps; segment++) z = hrm_think(&r, z, x);
    aios_tensor logits = aios_graph_reshape(g, answer(&r, z.h), (int32_t[]){batch, sequence, m->vocabulary}, 3);
    if (mode == AIOS_MODEL_DECODE) {
        aios_graph_output(g, "logits", logits);
        return AIOS_OK;
    }
    aios_tensor losses =
        aios_graph_cross_entropy(g, logits, aios_graph_reshape(g, labels, shape, 2), m->stablemax ? AIOS_STABLEMAX : AIOS_SOFTMAX, 1.0f);
    aios_graph_output(g, "losses", losses);                                  /* (B, T) */
    aios_graph_output(g, "correct", aios_graph_sequence_correct(g, losses)); /* (B) */
    return AIOS_OK;
}
