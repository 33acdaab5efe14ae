/* hrm.h (internal): what the puzzle solver (hrm.c) and the language model (hrm_language.c) share of HRM ACT v1. */
#ifndef AIOS_MODEL_HRM_H
#define AIOS_MODEL_HRM_H

#include "model.h"

struct hrm {
    aios_context *context;
    int32_t hidden, heads, inner, h_layers, l_layers, h_cycles, l_cycles, halt_max_steps;
    int32_t vocabulary, length, identifiers, puzzle_width, puzzle_positions, rope, stablemax;
    int causal;              /* 1: a language model */
    int32_t experts, chosen; /* of each block's gated layer; experts 0: it is one */
    float balance;           /* weight of the loss that keeps them equally busy */
    float theta, eps;
};

struct hrm_recorder {
    aios_graph *graph;
    const struct hrm *model;
    int32_t batch, positions; /* of a sequence, those of the puzzle's embedding first */
    aios_tensor start;        /* of new tokens behind cached ones; 0: whole sequences */
    int32_t applications;     /* of attention, so far */
    aios_tensor labels;       /* (B, T), where the balance of experts is learnt; else 0 */
    int learning;             /* 1: an application with gradient */
};

struct hrm_carry {
    aios_tensor h, l; /* (B, T, hidden), or (hidden) for all */
};

/* x W^T; W (out, in) with deviation 1/sqrt(in) (LeCun), no bias. */
aios_tensor hrm_linear(struct hrm_recorder *r, aios_tensor x, const char *name, int32_t in, int32_t out);
/* puzzles: identifiers, where the model embeds them.  places: positions (T) of the tokens, 0: from the first on. */
aios_tensor hrm_embed(struct hrm_recorder *r, aios_tensor tokens, aios_tensor puzzles, aios_tensor places);
aios_tensor hrm_first_hidden(struct hrm_recorder *r, const char *name);
struct hrm_carry hrm_think(struct hrm_recorder *r, struct hrm_carry z, aios_tensor x);
aios_tensor hrm_judge(struct hrm_recorder *r, aios_tensor z);
/* Column `index` of q (rows, 2) as (rows). */
aios_tensor hrm_column(struct hrm_recorder *r, aios_tensor q, int32_t index);

aios_status hrm_record_language(void *user, aios_graph *graph, int32_t mode, int32_t batch, int32_t sequence);

#endif
