/* graph.h (internal): what a recorded graph is made of. */
#ifndef AIOS_GRAPH_GRAPH_H
#define AIOS_GRAPH_GRAPH_H

#include <aios/graph.h>

#include "base/context.h"

#define NAME_SIZE 128

/* Storage of a tensor: AIOS_F32, AIOS_I32, or whatever the plan's precision says. */
#define TYPE_ACTIVATION (-1)

enum tensor_kind { TENSOR_INPUT, TENSOR_PARAMETER, TENSOR_STATE, TENSOR_VALUE };

struct tensor {
    enum tensor_kind kind;
    int32_t type;
    int32_t rank;
    int32_t shape[AIOS_RANK_MAX];
    int64_t count;          /* elements */
    int32_t node;           /* that makes it; -1 for a leaf */
    int32_t consumers;      /* nodes that read it */
    int32_t root;           /* parameter that this is a run of whole rows of (itself for a parameter); 0 none */
    int64_t root_offset;    /* elements from the parameter's first */
    int32_t is_table;       /* 1: rows of it are looked up and moved by their sign */
    int32_t differentiated; /* 1: a gradient is wanted */
    int32_t is_output;
    int32_t init, group; /* of a parameter */
    float init_scale;
    char name[NAME_SIZE]; /* of a leaf */
};

/* OP(name): every operation; emit.c has a forward and a backward for each. */
#define OP_LIST(OP)                                                                                                                        \
    OP(cast)                                                                                                                               \
    OP(embedding)                                                                                                                          \
    OP(linear)                                                                                                                             \
    OP(add)                                                                                                                                \
    OP(scale)                                                                                                                              \
    OP(layernorm)                                                                                                                          \
    OP(rmsnorm)                                                                                                                            \
    OP(gelu)                                                                                                                               \
    OP(swiglu)                                                                                                                             \
    OP(rope)                                                                                                                               \
    OP(cache_append)                                                                                                                       \
    OP(attention)                                                                                                                          \
    OP(slice)                                                                                                                              \
    OP(alias)                                                                                                                              \
    OP(select)                                                                                                                             \
    OP(rows)                                                                                                                               \
    OP(concat)                                                                                                                             \
    OP(sequence_correct)                                                                                                                   \
    OP(halting_steps)                                                                                                                      \
    OP(halting_running)                                                                                                                    \
    OP(halting_target)                                                                                                                     \
    OP(expert_gates)                                                                                                                       \
    OP(expert_scale)                                                                                                                       \
    OP(expert_rows)                                                                                                                        \
    OP(expert_linear)                                                                                                                      \
    OP(expert_sum)                                                                                                                         \
    OP(expert_balance)                                                                                                                     \
    OP(cross_entropy)                                                                                                                      \
    OP(bce)

enum op {
#define OP_ENUM_(name) OP_##name,
    OP_LIST(OP_ENUM_)
#undef OP_ENUM_
        OP_COUNT
};

#define NODE_INPUTS 4

struct node {
    enum op op;
    aios_tensor input[NODE_INPUTS]; /* 0: none */
    aios_tensor output;
    int32_t segment; /* marks before it */
    int32_t no_gradient;
    int32_t auxiliary;                          /* a loss that is not told */
    int32_t layout, activation;                 /* linear; expert_linear: 1 where an expert's weights are rows */
    int32_t parts;                              /* expert_linear */
    int32_t routed;                             /* expert_gates: experts compute the rows that they were chosen for */
    int32_t kind;                               /* cross_entropy */
    int32_t length;                             /* cross_entropy: labels of a sequence, 0: each for itself */
    int32_t hits_kept;                          /* cross_entropy of labels each for itself: sequence_correct reads its hits */
    int32_t limit;                              /* halting: the last step; expert_gates: how many are chosen */
    float weight;                               /* losses */
    float factor;                               /* scale; eps of norms */
    int32_t axis, start;                        /* slice */
    int32_t heads, kv_heads, head_size, causal; /* attention, rope */
    float attention_scale, theta;
};

struct assignment {
    aios_tensor state, value;
};

struct named_output {
    char name[NAME_SIZE];
    aios_tensor tensor;
};

struct aios_graph {
    aios_context *context;
    aios_status status;        /* the first mistake … */
    aios_error_record mistake; /* … and its words */
    int32_t finished, no_gradient, auxiliary, segment;
    struct tensor *tensors; /* [0] is none */
    size_t tensor_count, tensor_capacity;
    struct node *nodes;
    size_t node_count, node_capacity;
    struct assignment *assignments;
    size_t assignment_count, assignment_capacity;
    struct named_output *outputs;
    size_t output_count, output_capacity;
};

static inline const struct tensor *tensor_of(const aios_graph *graph, aios_tensor x)
{
    return &graph->tensors[x];
}

/* A tensor as a matrix. */
static inline int32_t tensor_last(const struct tensor *t)
{
    return t->rank ? t->shape[t->rank - 1] : 1;
}
static inline int32_t tensor_rows(const struct tensor *t)
{
    return (int32_t)(t->count / tensor_last(t));
}

/* "(4, 256, 768)" into text. */
void tensor_shape_text(const struct tensor *t, char text[64]);

#endif
