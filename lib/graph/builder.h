/* builder.h (internal): the state of turning a graph into instructions. */
#ifndef AIOS_GRAPH_BUILDER_H
#define AIOS_GRAPH_BUILDER_H

#include "graph/plan.h"

#define NODE_AUX 3

struct builder {
    aios_plan *plan;
    const aios_graph *graph;
    int32_t *value;           /* per tensor: its buffer now … */
    int64_t *value_offset;    /* … and bytes into it */
    int64_t *pitch;           /* per tensor: elements between rows */
    int32_t *gradient;        /* per tensor: buffer of its gradient so far; 0 none */
    int32_t *escapes;         /* per tensor: read outside the segment that makes it */
    int32_t (*packed)[2];     /* per parameter tensor and layout: buffer of it in the order that the device reads it in; 0 none */
    int32_t *sink;            /* per parameter tensor: buffer of its f32 gradient */
    int32_t (*aux)[NODE_AUX]; /* per node: what forward leaves for backward */
    int32_t *bucket_sink;     /* per bucket: the buffer in the arena of its gradient, where gradients are sharded */
    int32_t *bucket_weights;  /* per bucket: the buffer that stands for its weights, where those are sharded */
    int32_t step;             /* of the walk (struct instruction) */
    int recomputing;
    int32_t losses, scale; /* fixed buffers */
};

/* A new buffer in the arena. */
aios_status new_buffer(struct builder *b, uint64_t size, int32_t *buffer);
aios_status new_scratch(struct builder *b, uint64_t size, int32_t *buffer);
/* Appends an instruction; its buffers live at least until here. */
aios_status emit(struct builder *b, const struct instruction *instruction);
/* bytes of a tensor's value */
uint64_t value_size(const struct builder *b, aios_tensor x);
/* A buffer for what the node makes.  While recomputing, a value that escapes keeps the buffer it has. */
aios_status output_buffer(struct builder *b, const struct node *node, int32_t *buffer);

/* Whether a gradient of x is wanted. */
int wanted(const struct builder *b, const struct node *node, aios_tensor x);
/* Where a kernel that can add puts its share of x's gradient. */
aios_status gradient_target(struct builder *b, aios_tensor x, int32_t *buffer, int *accumulate);
/* For a kernel that can only overwrite: call add_share with the buffer afterwards. */
aios_status gradient_share(struct builder *b, aios_tensor x, int32_t *buffer);
aios_status add_share(struct builder *b, aios_tensor x, int32_t buffer);
/* x's gradient, or its share, is what is in buffer already. */
aios_status pass_gradient(struct builder *b, aios_tensor x, int32_t buffer);
/* The f32 gradient of a parameter (or rows of one). */
aios_status parameter_sink(struct builder *b, aios_tensor x, int32_t *buffer, int64_t *offset);

/* emit_sequence.c: forward and backward of the operations on whole sequences and tables, for emit.c's table. */
#define SEQUENCE_OPS(OP) OP(rows) OP(concat) OP(sequence_correct) OP(halting_steps) OP(halting_running) OP(halting_target)
#define DECLARE_OP_(name)                                                                                                                  \
    aios_status forward_##name(struct builder *b, size_t index);                                                                           \
    aios_status backward_##name(struct builder *b, size_t index, int32_t dy);
SEQUENCE_OPS(DECLARE_OP_)
/* emit_experts.c */
#define EXPERT_OPS(OP) OP(expert_gates) OP(expert_scale) OP(expert_rows) OP(expert_linear) OP(expert_sum) OP(expert_balance)
EXPERT_OPS(DECLARE_OP_)
#undef DECLARE_OP_
aios_status emit_sequence_loss(struct builder *b, size_t index, struct instruction *loss);

/* A buffer at an address that is not the arena's. */
aios_status fixed_buffer(struct builder *b, void *address, int32_t *buffer);

/* emit.c */
aios_status emit_forward(struct builder *b, size_t node);
aios_status emit_backward(struct builder *b, size_t node, int32_t dy);
/* Adds a gradient of the storage type into a parameter's f32 gradient. */
aios_status emit_into_sink(struct builder *b, aios_tensor x, int32_t buffer);
/* The buffer of the step's scale, times the loss's weight. */
aios_status loss_scale(struct builder *b, const struct node *node, int32_t *scale);
/* 1: the node leaves something for backward besides its output. */
int op_has_aux(const struct node *node);

#endif
