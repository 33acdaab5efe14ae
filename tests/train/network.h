/* network.h: one model recorded twice, on a graph of the library and on a tape of doubles, and both compared.
 *
 * Every leaf holds random numbers with eight significant bits, so that they are the same in f32, bf16 and f16. */
#ifndef AIOS_TEST_NETWORK_H
#define AIOS_TEST_NETWORK_H

#include "tape.h"
#include "test.h"

#include <aios/plan.h>

/* A value in both. */
typedef struct value {
    aios_tensor id;
    int node;
} value;

enum leaf_kind { LEAF_PARAMETER, LEAF_NUMBERS, LEAF_INTEGERS };

struct leaf {
    enum leaf_kind kind;
    char name[16];
    int node;
};

struct kept {
    char name[16];
    int node;
};

#define NETWORK_MOST 256

struct network {
    aios_context *context;
    aios_device *device;
    aios_graph *graph;
    tape *tape;
    uint64_t random;
    int keep_everything; /* 1: every value is an output */
    int detached;        /* something was recorded that no gradient goes through */
    struct leaf leaves[NETWORK_MOST];
    int leaf_count;
    struct kept kept[NETWORK_MOST];
    int kept_count;
    char recipe[4096]; /* what was recorded, for the message of a failure */
};

/* device: "cpu".  The caller closes with network_end. */
void network_begin(struct network *n, const char *device, uint64_t seed);
void network_end(struct network *n);

int network_draw(struct network *n, int bound);                     /* 0 … bound - 1 */
double network_uniform(struct network *n, double low, double high); /* eight significant bits */

int net_rank(const struct network *n, value x);
int net_size(const struct network *n, value x, int axis); /* axis < 0 counts from the end */
const int *net_shape(const struct network *n, value x);

value net_parameter(struct network *n, const int *shape, int rank, double scale, double offset);
value net_numbers(struct network *n, const int *shape, int rank, double low, double high);
value net_integers(struct network *n, const int *shape, int rank, int low, int high); /* low … high */

value net_embedding(struct network *n, value table, value ids);
value net_linear(struct network *n, value x, value weight, value bias, int in_out, int gelu);
value net_add(struct network *n, value a, value b);
value net_scale(struct network *n, value x, float factor);
value net_layernorm(struct network *n, value x, value weight, value bias);
value net_rmsnorm(struct network *n, value x, value weight);
value net_gelu(struct network *n, value x);
value net_swiglu(struct network *n, value x);
value net_expert_gates(struct network *n, value logits, int chosen);
value net_expert_scale(struct network *n, value x, value gates);
void net_expert_balance(struct network *n, value gates, value labels, float weight);
value net_attention(struct network *n, value qkv, int heads, int kv_heads, int causal, float scale, float theta);
value net_slice(struct network *n, value x, int axis, int start, int length);
value net_reshape(struct network *n, value x, const int *shape, int rank);
value net_select(struct network *n, value mask, value a, value b);
value net_detach(struct network *n, value x);
void net_no_gradient(struct network *n, int begin);
void net_cross_entropy(struct network *n, value logits, value labels, int stablemax, float weight);
void net_bce(struct network *n, value x, value targets, float weight);
void net_keep(struct network *n, value x);

/* What one run of the library gave: every gradient, then every kept value, one after the other. */
struct outcome {
    float *numbers;
    size_t count;
    double loss, rows;
    aios_plan_memory memory;
};

/* Runs `runs` times (gradients add up) in a precision of plan.h.  Free with outcome_free. */
void network_run(struct network *n, int32_t precision, int checkpointing, double loss_scale, int runs, struct outcome *outcome);
void outcome_free(struct outcome *outcome);

/* Fails the test where a gradient, kept value or the loss is further from the tape's than rounding explains: more than
 * `margin` times what noise of one rounding per operation does to it, plus 2^-20 of the tensor's largest value. */
void network_judge(struct network *n, int32_t precision, double loss_scale, int runs, double margin, const struct outcome *outcome);
/* The same for exact equality of two runs. */
void outcomes_equal(const struct network *n, const char *what, const struct outcome *a, const struct outcome *b, size_t count);
/* Elements of all gradients, which come first in an outcome. */
size_t network_gradient_count(const struct network *n);

/* A random model: a few leaves, then `steps` operations on anything that is there, then losses. */
void network_random(struct network *n, int steps);

#endif
