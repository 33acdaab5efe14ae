/* plan.h (internal): a graph turned into instructions over buffers.
 *
 *   builder.c   walks the graph: forward, then backward, with segments computed again where checkpointing asks for it
 *   emit.c      what each operation becomes, forward beside backward
 *   pieces.c    where a run stops for the other ranks: a bucket's gradient is final, its weights are wanted
 *   arena.c     places the buffers: two share memory when no instruction needs both
 *   run.c       the instructions themselves
 *   plan.c      the handle: inputs, runs, outputs */
#ifndef AIOS_GRAPH_PLAN_H
#define AIOS_GRAPH_PLAN_H

#include "gpu/device.h"
#include "graph/parameters.h"

/* Memory of the plan.  Lives in the arena from its first to its last instruction, or is fixed (inputs, parameters). */
struct buffer {
    uint64_t size, offset;
    int32_t first, last; /* instructions; first -1: never used */
    int32_t scratch;     /* 1: workspace of one instruction */
    int32_t owners;      /* while building: tensors whose gradient this is and whose producer has yet to read it */
    char *fixed;         /* not in the arena */
    int32_t gradient_of; /* bucket (from 1 on) whose gradient is in it; 0 none */
    int32_t weights_of;  /* likewise; at stage 3 it only stands for the buffers that the weights are gathered into */
};

#define INSTRUCTION_BUFFERS 12
#define INSTRUCTION_NUMBERS 8

struct instruction;
typedef aios_status (*run_fn)(const aios_plan *plan, const struct instruction *instruction);

struct instruction {
    run_fn run;
    const char *label;
    int32_t buffer[INSTRUCTION_BUFFERS]; /* 0: none */
    int64_t offset[INSTRUCTION_BUFFERS]; /* bytes into it */
    int64_t number[INSTRUCTION_NUMBERS];
    float real[2];
    int32_t step; /* of the walk over the graph: the same on every rank, whatever its device fuses */
    union {
        aios_gemm gemm;           /* of run_gemm, without pointers */
        aios_attention attention; /* of run_attention_*, without pointers */
    } shape;
};

/* What a caller writes: two host slots, so that writing the next input does not wait for the copy of the last. */
struct plan_input {
    char name[NAME_SIZE];
    uint64_t size;
    int32_t type, rows; /* rows: of the table that it chooses from; 0: of none */
    void *memory;
    void *host[2];
    aios_event *copied[2];
    int32_t in_use[2], next;
};

struct plan_output {
    char name[NAME_SIZE];
    int32_t buffer;
    int32_t type; /* TYPE_ACTIVATION, AIOS_F32, AIOS_I32 */
    int32_t rows, n;
    int64_t offset; /* bytes into the buffer */
    int64_t pitch;
};

/* Constants made at creation: cosines and sines of one base and head size. */
struct rope_table {
    float theta;
    int32_t head_size, positions;
    int32_t cosine, sine; /* buffers */
};

/* Where a run in pieces stops.  The points of equal graphs come in the same order on every rank. */
enum point_kind {
    POINT_WEIGHTS_BEGIN,  /* bucket's weights are to be gathered into buffer … */
    POINT_WEIGHTS_END,    /* … and must be there now */
    POINT_GRADIENT_BEGIN, /* bucket's gradient is final: in buffer, or where the parameters keep it (buffer 0) */
    POINT_GRADIENT_END    /* nobody may read buffer any more; only where there is one */
};

struct plan_point {
    int32_t kind, bucket; /* bucket: from 0 on */
    int32_t buffer;
    int32_t instruction; /* the point lies before it */
};

enum { LOSS_SUM = 0, LOSS_HITS = 1, LOSS_ROWS = 2, LOSS_COUNT = 4 };

struct aios_plan {
    aios_context *context;
    aios_parameters *parameters;
    aios_stream *stream;
    int32_t storage, training;
    int32_t tables;         /* whose rows get a gradient */
    int32_t parts;          /* partial sums of a reduction */
    struct buffer *buffers; /* [0] is none */
    size_t buffer_count, buffer_capacity;
    struct instruction *instructions;
    size_t instruction_count, instruction_capacity;
    struct plan_input *inputs;
    size_t input_count;
    struct plan_output *outputs;
    size_t output_count;
    struct rope_table *ropes;
    size_t rope_count, rope_capacity;
    void **owned; /* device memory beside the arena */
    size_t owned_count, owned_capacity;
    char *arena;
    uint64_t arena_size, unshared, workspace;
    float *losses;  /* device, LOSS_COUNT */
    float *readout; /* device scratch for outputs as f32 */
    uint64_t readout_size;
    stream_recorder recorder; /* of the instructions */
    int32_t *counts;          /* host: of each run_expert_route, where the rows of its experts begin */
    size_t count_count, count_capacity;
    struct plan_point *points;
    size_t point_count, point_capacity;
    stream_recorder *piece_recorders; /* (point_count + 1): before each point, and after the last */
};

/* run.c: one per kind of instruction; the order of buffers and numbers stands beside each. */
aios_status run_embedding(const aios_plan *plan, const struct instruction *i);
aios_status run_embedding_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_add(const aios_plan *plan, const struct instruction *i);
aios_status run_period_sum(const aios_plan *plan, const struct instruction *i);
aios_status run_scale_add(const aios_plan *plan, const struct instruction *i);
aios_status run_scale_loss(const aios_plan *plan, const struct instruction *i);
aios_status run_copy(const aios_plan *plan, const struct instruction *i);
aios_status run_move(const aios_plan *plan, const struct instruction *i);
aios_status run_zero(const aios_plan *plan, const struct instruction *i);
aios_status run_cast(const aios_plan *plan, const struct instruction *i);
aios_status run_select(const aios_plan *plan, const struct instruction *i);
aios_status run_gemm_pack(const aios_plan *plan, const struct instruction *i);
aios_status run_gemm(const aios_plan *plan, const struct instruction *i);
aios_status run_column_sum(const aios_plan *plan, const struct instruction *i);
aios_status run_column_reduce(const aios_plan *plan, const struct instruction *i);
aios_status run_gelu(const aios_plan *plan, const struct instruction *i);
aios_status run_gelu_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_swiglu(const aios_plan *plan, const struct instruction *i);
aios_status run_swiglu_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_layernorm(const aios_plan *plan, const struct instruction *i);
aios_status run_layernorm_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_rmsnorm(const aios_plan *plan, const struct instruction *i);
aios_status run_rmsnorm_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_rope(const aios_plan *plan, const struct instruction *i);
aios_status run_cache_append(const aios_plan *plan, const struct instruction *i);
aios_status run_attention(const aios_plan *plan, const struct instruction *i);
aios_status run_attention_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_cross_entropy(const aios_plan *plan, const struct instruction *i);
aios_status run_sequence_cross_entropy(const aios_plan *plan, const struct instruction *i);
aios_status run_sequence_correct(const aios_plan *plan, const struct instruction *i);
aios_status run_rows(const aios_plan *plan, const struct instruction *i);
aios_status run_rows_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_select_i32(const aios_plan *plan, const struct instruction *i);
aios_status run_halting_steps(const aios_plan *plan, const struct instruction *i);
aios_status run_halting_running(const aios_plan *plan, const struct instruction *i);
aios_status run_halting_target(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_gates(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_gates_backward(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_route(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_spread(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_collect(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_gate_dots(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_product(const aios_plan *plan, const struct instruction *i);
aios_status run_expert_balance(const aios_plan *plan, const struct instruction *i);
aios_status run_bce(const aios_plan *plan, const struct instruction *i);

/* pieces.c: the points of a plan whose instructions are all there; before the arena is placed. */
aios_status pieces_plan(aios_plan *plan, int32_t steps);

/* One run with stops: reach is called at every point, in order, when what comes before is submitted.  idle 1: the points alone, with no
 * instruction, for a rank that has nothing to compute while others do; gradients that live in the arena are zero then. */
typedef aios_status (*point_fn)(void *user, const struct plan_point *point, void *memory);
aios_status plan_run_pieces(aios_plan *plan, int idle, point_fn reach, void *user);

/* plan.c: submits the instructions [first, end). */
aios_status plan_submit(const aios_plan *plan, size_t first, size_t end);
/* builder.c */
aios_status plan_build(aios_plan *plan, const aios_graph *graph, int checkpointing);
/* arena.c: sets offsets, arena_size, unshared and workspace. */
aios_status arena_place(aios_plan *plan);
/* plan.c: fills in a table's cosines and sines and their buffers. */
aios_status plan_rope_table(aios_plan *plan, struct rope_table *table);

static inline char *buffer_address(const aios_plan *plan, int32_t buffer)
{
    const struct buffer *b = &plan->buffers[buffer];
    return b->fixed ? b->fixed : plan->arena + b->offset;
}

#endif
