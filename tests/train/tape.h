/* tape.h: automatic differentiation over doubles, written from the formulas alone, to judge the library's by.
 *
 * Operations are recorded; tape_forward computes every value, tape_backward every gradient.  A node is known by its number,
 * counted from 1; 0 is none.  Memory that runs out ends the test program.
 *
 * With noise, every rounding that an implementation may do is made a random one (Monte Carlo arithmetic: Parker, 1997): each
 * product and sum is moved by up to half a unit of f32, each stored value by up to half a unit of its storage type.  How far
 * the results move is how far a correct implementation may be from the exact ones: the source of the tests' tolerances. */
#ifndef AIOS_TEST_TAPE_H
#define AIOS_TEST_TAPE_H

#include <stddef.h>
#include <stdint.h>

#define TAPE_RANK 4

enum tape_op {
    TAPE_LEAF,
    TAPE_EMBEDDING,
    TAPE_LINEAR,
    TAPE_ADD,
    TAPE_SCALE,
    TAPE_LAYERNORM,
    TAPE_RMSNORM,
    TAPE_GELU,
    TAPE_SWIGLU,
    TAPE_ATTENTION,
    TAPE_SLICE,
    TAPE_ALIAS,
    TAPE_SELECT,
    TAPE_CROSS_ENTROPY,
    TAPE_BCE,
    TAPE_EXPERT_GATES,
    TAPE_EXPERT_SCALE,
    TAPE_EXPERT_BALANCE,
};

struct tape_node {
    enum tape_op op;
    int input[3];
    int rank, shape[TAPE_RANK];
    size_t count;
    int constant; /* no gradient goes through */
    double factor, theta;
    int layout, kind, axis, start, heads, kv_heads, causal;
    double *value, *gradient, *extra; /* extra: attention's probabilities */
};

typedef struct tape {
    struct tape_node *nodes; /* [0] is none */
    int count, capacity, no_gradient;
    double storage_unit, storage_least; /* noise of a stored value: relative, absolute */
    double unit;                        /* noise of arithmetic */
    uint64_t random;
} tape;

tape *tape_create(void);
void tape_destroy(tape *t);
struct tape_node *tape_at(const tape *t, int node);

/* Leaves: the caller fills node->value.  differentiated 0: an input. */
int tape_leaf(tape *t, const int *shape, int rank, int differentiated);
int tape_embedding(tape *t, int table, int ids);
int tape_linear(tape *t, int x, int weight, int bias, int in_out);
int tape_add(tape *t, int a, int b);
int tape_scale(tape *t, int x, double factor);
int tape_layernorm(tape *t, int x, int weight, int bias, double eps);
int tape_rmsnorm(tape *t, int x, int weight, double eps);
int tape_gelu(tape *t, int x);
int tape_swiglu(tape *t, int x);
int tape_expert_gates(tape *t, int logits, int chosen);
int tape_expert_scale(tape *t, int x, int gates);
int tape_expert_balance(tape *t, int gates, int labels, double weight);
int tape_attention(tape *t, int qkv, int heads, int kv_heads, int causal, double scale, double theta);
int tape_slice(tape *t, int x, int axis, int start, int length);
int tape_reshape(tape *t, int x, const int *shape, int rank);
int tape_select(tape *t, int mask, int a, int b);
int tape_detach(tape *t, int x);
int tape_cross_entropy(tape *t, int logits, int labels, int stablemax, double weight);
int tape_bce(tape *t, int x, int targets, double weight);

/* No noise, or that of a storage type (AIOS_F32, AIOS_BF16, AIOS_F16). */
void tape_quiet(tape *t);
void tape_noise(tape *t, int storage, uint64_t seed);

void tape_forward(tape *t);
double tape_loss(const tape *t);                /* sum over the losses */
void tape_backward(tape *t, double loss_scale); /* gradients of loss_scale * tape_loss; overwritten */

#endif
