/* graph.h: recording a model.
 *
 * A model is a function that records coarse operations on a graph.  Nothing is computed while recording: shapes are checked
 * and kept.  The library differentiates the graph, plans its memory and runs it on a device (plan.h).  The builder's error
 * is sticky: after the first mistake every call returns 0 and aios_graph_finish tells it, so a model reads as a list of
 * calls.  One thread per graph.
 *
 *     aios_tensor x = aios_graph_input(g, "x", AIOS_I32, (int32_t[]){B, T}, 2);
 *     aios_tensor w = aios_graph_parameter(g, "wte", (int32_t[]){V, C}, 2, AIOS_INIT_NORMAL, 0.02f, AIOS_GROUP_DECAY);
 *     aios_tensor h = aios_graph_embedding(g, w, x);                                                   // (B, T, C)
 *
 * Activations have the storage type of the plan's precision; a tensor of rank r and last dimension n is a dense matrix of
 * `rows` x n.  Two calls of aios_graph_parameter with one name and shape share the weights. */
#ifndef AIOS_GRAPH_H
#define AIOS_GRAPH_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_graph aios_graph;

/* A value of the graph; 0 is none, and what every call returns after a mistake. */
typedef int32_t aios_tensor;

#define AIOS_RANK_MAX 4

AIOS_API aios_status aios_graph_create(aios_context *context, aios_graph **graph);
AIOS_API void aios_graph_destroy(aios_graph *graph);
/* Ends recording.  AIOS_OK, or the first mistake with its message.  May be called again. */
AIOS_API aios_status aios_graph_finish(aios_graph *graph);

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

/* What the caller writes before each run: AIOS_I32 or AIOS_F32. */
AIOS_API aios_tensor aios_graph_input(aios_graph *graph, const char *name, int32_t type, const int32_t *shape, int32_t rank);

enum { AIOS_INIT_ZERO = 0, AIOS_INIT_ONE = 1, AIOS_INIT_NORMAL = 2, AIOS_INIT_TRUNCATED_NORMAL = 3, AIOS_INIT_CONSTANT = 4 };
enum {
    AIOS_GROUP_DECAY = 0,
    AIOS_GROUP_NO_DECAY = 1,
    AIOS_GROUP_FROZEN = 2
}; /* weight decay applies to group 0; FROZEN is never changed */

/* A trained tensor.  init_scale: the deviation of NORMAL and TRUNCATED_NORMAL (cut at two deviations, deviation kept), the value of
 * CONSTANT. */
AIOS_API aios_tensor aios_graph_parameter(aios_graph *graph, const char *name, const int32_t *shape, int32_t rank, int32_t init,
                                          float init_scale, int32_t group);

/* (…, n): the rows `ids` (…) of a table (rows, n) f32, zero at first, that is too big for a gradient of its own size: an embedding of
 * puzzles.  A step moves the rows that its run used by the sign of their summed gradient, with decay (rows_… of aios_optimizer_options):
 * one run in a step.  The table is saved and loaded like a parameter of this name. */
AIOS_API aios_tensor aios_graph_rows(aios_graph *graph, const char *name, int32_t rows, int32_t n, aios_tensor ids);

/* A tensor (AIOS_I32, or AIOS_F32: then of the storage type of activations) that lives on the device from run to run, zero at first, shared
 * by the plans of one aios_parameters by its name: a key-value cache, a recurrent carry.  Never differentiated. */
AIOS_API aios_tensor aios_graph_state(aios_graph *graph, const char *name, int32_t type, const int32_t *shape, int32_t rank);
/* After the run, state = value (same shape and type). */
AIOS_API void aios_graph_assign(aios_graph *graph, aios_tensor state, aios_tensor value);

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* (…, n) = table (V, n) at ids (…) i32.  An id outside 0 … V-1 is the caller's mistake: the trainer checks its data. */
AIOS_API aios_tensor aios_graph_embedding(aios_graph *graph, aios_tensor table, aios_tensor ids);

enum { AIOS_WEIGHT_OUT_IN = 0, AIOS_WEIGHT_IN_OUT = 1 }; /* torch.nn.Linear; GPT-2's Conv1D */
enum { AIOS_ACTIVATION_NONE = 0, AIOS_ACTIVATION_GELU = 1 };
/* y (…, out) = activation(x (…, in) W + bias (out)); bias may be 0. */
AIOS_API aios_tensor aios_graph_linear(aios_graph *graph, aios_tensor x, aios_tensor weight, aios_tensor bias, int32_t layout,
                                       int32_t activation);

/* a + b; b's shape is a's or its last dimensions (then it repeats over the leading ones). */
AIOS_API aios_tensor aios_graph_add(aios_graph *graph, aios_tensor a, aios_tensor b);
AIOS_API aios_tensor aios_graph_scale(aios_graph *graph, aios_tensor x, float factor);
/* (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension. */
AIOS_API aios_tensor aios_graph_layernorm(aios_graph *graph, aios_tensor x, aios_tensor weight, aios_tensor bias, float eps);
/* x / sqrt(mean(x^2) + eps) * weight; weight may be 0. */
AIOS_API aios_tensor aios_graph_rmsnorm(aios_graph *graph, aios_tensor x, aios_tensor weight, float eps);
AIOS_API aios_tensor aios_graph_gelu(aios_graph *graph, aios_tensor x); /* tanh form */
/* (…, n) = silu(gate) * up of x (…, 2n) = [gate | up]. */
AIOS_API aios_tensor aios_graph_swiglu(aios_graph *graph, aios_tensor x);

/* A mixture of n experts (Shazeer et al., 2017).  gates (…, n) of logits (…, n): the softmax over the `chosen` largest of them (the first
 * of equal ones), 0 elsewhere; no gradient flows through the choice itself. */
AIOS_API aios_tensor aios_graph_expert_gates(aios_graph *graph, aios_tensor logits, int32_t chosen);
/* (…, n * width) = x (…, n * width), of which each expert's part is multiplied by its gate; gates (…, n).  For all experts computed. */
AIOS_API aios_tensor aios_graph_expert_scale(aios_graph *graph, aios_tensor x, aios_tensor gates);
/* What is chosen alone is computed by these three; gates: from aios_graph_expert_gates, its leading dimensions hold R rows.  No row is
 * dropped, however many want the same expert.
 * (R * chosen, w) of x (R rows, w): every row once for each of its experts, those of the first expert before those of the second … */
AIOS_API aios_tensor aios_graph_expert_rows(aios_graph *graph, aios_tensor x, aios_tensor gates);
/* y (R * chosen, parts * width): each such row times the transposed weights of its own expert.  These are (width, w), and `parts` of them
 * lie beside each other in y: weight (parts * n * width, w), in the order part, expert, row.  With one part it may also be (width, n * w),
 * the experts' columns beside each other.  What stands between two of them (aios_graph_swiglu) goes row by row as ever.
 * The host learns in the middle of a run how many rows are whose, so a plan with such products is not recorded (capture of
 * aios_plan_options). */
AIOS_API aios_tensor aios_graph_expert_linear(aios_graph *graph, aios_tensor x, aios_tensor gates, aios_tensor weight, int32_t parts);
/* (…, w) = the sum of a row's own rows of x (R * chosen, w), each times its gate. */
AIOS_API aios_tensor aios_graph_expert_sum(aios_graph *graph, aios_tensor x, aios_tensor gates);

typedef struct aios_attention_options {
    uint32_t struct_size;
    int32_t heads;
    int32_t kv_heads;  /* 0: heads; divides heads */
    int32_t causal;    /* 1: a position sees itself and what is before it */
    float scale;       /* 0: 1/sqrt(head size) */
    float rope_theta;  /* 0: none; else rotary positions, half-split, this base */
    aios_tensor cache; /* 0, or a state (B, capacity, 2 * kv_heads * d) that new keys and values are appended to … */
    aios_tensor start; /* … at this position: an i32 input (1); both or neither; no gradient */
} aios_attention_options;
#define AIOS_ATTENTION_OPTIONS_INIT                                                                                                        \
    {                                                                                                                                      \
        sizeof(aios_attention_options), 1, 0, 0, 0.0f, 0.0f, 0, 0                                                                          \
    }
/* y (B, T, heads * d) of qkv (B, T, (heads + 2 * kv_heads) * d) = [queries | keys | values]. */
AIOS_API aios_tensor aios_graph_attention(aios_graph *graph, aios_tensor qkv, const aios_attention_options *options);

/* length entries of `axis` from `start`; and the same memory under another shape. */
AIOS_API aios_tensor aios_graph_slice(aios_graph *graph, aios_tensor x, int32_t axis, int32_t start, int32_t length);
/* b behind a along an axis; the other dimensions are the same. */
AIOS_API aios_tensor aios_graph_concat(aios_graph *graph, aios_tensor a, aios_tensor b, int32_t axis);
AIOS_API aios_tensor aios_graph_reshape(aios_graph *graph, aios_tensor x, const int32_t *shape, int32_t rank);
/* Entry i of the first dimension is a's where mask[i] is not 0, else b's; mask (B) i32; b may have rank one less than a: one row for all.
 * Integers too, then a and b of one shape. */
AIOS_API aios_tensor aios_graph_select(aios_graph *graph, aios_tensor mask, aios_tensor a, aios_tensor b);
/* x as a constant: no gradient flows through. */
AIOS_API aios_tensor aios_graph_detach(aios_graph *graph, aios_tensor x);
/* Between begin and end nothing is differentiated, so nothing is kept. */
AIOS_API void aios_graph_begin_no_gradient(aios_graph *graph);
AIOS_API void aios_graph_end_no_gradient(aios_graph *graph);

/* ---- losses, outputs --------------------------------------------------------------------------------------------- */

enum { AIOS_SOFTMAX = 0, AIOS_STABLEMAX = 1 };
/* Adds weight * sum over rows of -log p(label) to the graph's loss; logits (…, V), labels (…) i32, negative ones are ignored.
 * Returns the losses of the rows (…) f32.  A run divides the whole loss by the step's weight (plan.h).  The plan counts
 * labels that are not ignored, and among them the rows whose largest logit is the label's. */
AIOS_API aios_tensor aios_graph_cross_entropy(aios_graph *graph, aios_tensor logits, aios_tensor labels, int32_t kind, float weight);
/* A sequence counts as much however many of its labels do: adds weight * sum over sequences of the mean loss of the labels that are not
 * ignored; logits (B, …, V), labels (B, …).  Returns the means (B) f32.  The plan counts labels and hits as above. */
AIOS_API aios_tensor aios_graph_sequence_cross_entropy(aios_graph *graph, aios_tensor logits, aios_tensor labels, int32_t kind,
                                                       float weight);
/* Of what one of the two calls above returned, (B) means or (B, T) losses: (B) f32, 1 where every label of the sequence that counts is
 * predicted right, else 0. */
AIOS_API aios_tensor aios_graph_sequence_correct(aios_graph *graph, aios_tensor losses);
/* The same for weight * sum of binary cross-entropy of logits x against targets in [0, 1] (f32), any equal shapes. */
AIOS_API aios_tensor aios_graph_bce_with_logits(aios_graph *graph, aios_tensor x, aios_tensor targets, float weight);
/* Adds weight * sum over sequences of the load-balance loss (Fedus et al., 2021) to the graph's loss: n * sum over experts of the part of a
 * sequence's choices that is the expert's, times the sum of its probabilities.  gates: from aios_graph_expert_gates, of labels (B, L)'s
 * positions; those with a negative label don't count, each other one counts 1 where all experts are as busy.  Returns (B, n) f32. */
AIOS_API aios_tensor aios_graph_expert_balance(aios_graph *graph, aios_tensor gates, aios_tensor labels, float weight);
/* Losses between begin and end flow back like the others, but aios_plan_losses does not tell them: a regulariser, an auxiliary head. */
AIOS_API void aios_graph_begin_auxiliary(aios_graph *graph);
AIOS_API void aios_graph_end_auxiliary(aios_graph *graph);
/* Adaptive computation time (Graves, 2016, as the HRM reference has it) for B sequences, of which each is run until it halts.
 * running (B) i32: 0 where the sequence halted (or none was there yet).  steps (B) i32 = (running ? steps : 0) + 1. */
AIOS_API aios_tensor aios_graph_count_steps(aios_graph *graph, aios_tensor steps, aios_tensor running);
/* running (B) i32 after the step: 0 at step max_steps and, where min_steps (B) i32 is given, where q's halt > go on and steps >= min_steps;
 * q (B, 2) = [halt, go on]. */
AIOS_API aios_tensor aios_graph_halt(aios_graph *graph, aios_tensor steps, aios_tensor q, aios_tensor min_steps, int32_t max_steps);
/* What "go on" ought to have said: (B) f32 = sigmoid of the next step's halt at the last step, else of the larger of its two. */
AIOS_API aios_tensor aios_graph_halt_target(aios_graph *graph, aios_tensor steps, aios_tensor next_q, int32_t max_steps);

/* Keeps a tensor so that aios_plan_read finds it under `name`. */
AIOS_API void aios_graph_output(aios_graph *graph, const char *name, aios_tensor x);
/* With gradient checkpointing, what was recorded between two marks is computed again in the backward pass instead of being
 * kept; what crosses a mark is kept.  Call it between the blocks of a model. */
AIOS_API void aios_graph_mark(aios_graph *graph);

/* ---- looking at a graph ------------------------------------------------------------------------------------------ */

AIOS_API int32_t aios_graph_rank(const aios_graph *graph, aios_tensor x);
AIOS_API int32_t aios_graph_dimension(const aios_graph *graph, aios_tensor x, int32_t axis); /* axis < 0 counts from the end */
AIOS_API uint32_t aios_graph_parameter_count(const aios_graph *graph);

#ifdef __cplusplus
}
#endif
#endif
