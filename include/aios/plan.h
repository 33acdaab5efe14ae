/* plan.h: parameters on a device, plans that run a graph there, and the optimizer.
 *
 *     aios_parameters_create(device, graph, &options, &parameters);     weights, gradients, moments: one flat buffer each
 *     aios_parameters_initialize(parameters, seed);
 *     aios_plan_create(graph, parameters, &plan_options, &plan);        buffers and launches of one graph
 *     aios_optimizer_create(parameters, &optimizer_options, &optimizer);
 *     loop: aios_optimizer_begin(optimizer, lr, tokens);  aios_plan_write(…), aios_plan_run(plan) per micro-batch;
 *           aios_optimizer_step(optimizer)
 *
 * Everything of one aios_parameters runs on one stream of its device, in the order of the calls; one thread at a time.
 * Calls submit work and return; the reading ones wait for what they read. */
#ifndef AIOS_PLAN_H
#define AIOS_PLAN_H

#include <aios/device.h>
#include <aios/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameters -------------------------------------------------------------------------------------------------- */

typedef struct aios_parameters aios_parameters;

enum { AIOS_PRECISION_32 = 0, AIOS_PRECISION_16_MIXED = 1, AIOS_PRECISION_BF16_MIXED = 2 };

typedef struct aios_parameters_options {
    uint32_t struct_size;
    int32_t precision; /* AIOS_PRECISION_…: storage of weights in use and activations; masters, gradients, moments are f32 */
    int32_t training;  /* 1: with gradients; 0: weights alone */
} aios_parameters_options;
#define AIOS_PARAMETERS_OPTIONS_INIT                                                                                                       \
    {                                                                                                                                      \
        sizeof(aios_parameters_options), AIOS_PRECISION_32, 1                                                                              \
    }

typedef struct aios_parameter_info {
    uint32_t struct_size;
    int32_t rank;
    int32_t shape[AIOS_RANK_MAX];
    int32_t group;
    int32_t reserved;
    uint64_t count;   /* elements */
    const char *name; /* borrowed */
} aios_parameter_info;
#define AIOS_PARAMETER_INFO_INIT                                                                                                           \
    {                                                                                                                                      \
        sizeof(aios_parameter_info), 0, {0}, 0, 0, 0, NULL                                                                                 \
    }

/* The parameters and states of a finished graph, on a device.  Values are undefined until initialised or written. */
AIOS_API aios_status aios_parameters_create(aios_device *device, const aios_graph *graph, const aios_parameters_options *options,
                                            aios_parameters **parameters);
AIOS_API void aios_parameters_destroy(aios_parameters *parameters);              /* after its plans and optimizers */
AIOS_API aios_device *aios_parameters_device(const aios_parameters *parameters); /* borrowed */
AIOS_API uint32_t aios_parameters_count(const aios_parameters *parameters);
AIOS_API uint64_t
aios_parameters_total(const aios_parameters *parameters); /* trained elements, without padding; neither tables nor frozen ones */
AIOS_API aios_status aios_parameters_info(const aios_parameters *parameters, uint32_t index, aios_parameter_info *info);
/* Draws every parameter as the graph said, from its name and the seed: the same on every device and in any order. */
AIOS_API aios_status aios_parameters_initialize(aios_parameters *parameters, uint64_t seed);

enum { AIOS_VALUE = 0, AIOS_GRADIENT = 1, AIOS_MOMENT1 = 2, AIOS_MOMENT2 = 3 };
/* Copies a whole tensor of f32 to or from the host.  A gradient is the sum so far, times the loss scale.  Errors: NOT_FOUND,
 * OUT_OF_RANGE where count is not the tensor's, WRONG_STATE where there is no such kind (no optimizer, no training). */
AIOS_API aios_status aios_parameters_read(aios_parameters *parameters, const char *name, int32_t kind, float *to, uint64_t count);
AIOS_API aios_status aios_parameters_write(aios_parameters *parameters, const char *name, int32_t kind, const float *from, uint64_t count);
/* Where a tensor lies on the device (f32): for other libraries that look at the same memory, without a copy (DLPack).  Waits for the work
 * under way.  Borrowed until the parameters are destroyed.  What is written there takes part in the next run with precision 32 alone: with
 * others, aios_parameters_write keeps the 16-bit weights true.  Errors: as read, but NULL and OUT_OF_RANGE; WRONG_STATE also where devices
 * share it out among them (zero-stage). */
AIOS_API aios_status aios_parameters_data(aios_parameters *parameters, const char *name, int32_t kind, float **data, uint64_t *count);
/* Sets every state to zero. */
AIOS_API aios_status aios_parameters_reset_states(aios_parameters *parameters);

/* ---- plan -------------------------------------------------------------------------------------------------------- */

typedef struct aios_plan aios_plan;

typedef struct aios_plan_options {
    uint32_t struct_size;
    int32_t training;               /* 1: a run adds gradients; 0: forward only */
    int32_t gradient_checkpointing; /* 1: compute blocks again in backward instead of keeping them */
    int32_t capture;                /* 1: record a run once and replay it, where the device can; the numbers are the same */
} aios_plan_options;
#define AIOS_PLAN_OPTIONS_INIT                                                                                                             \
    {                                                                                                                                      \
        sizeof(aios_plan_options), 0, 0, 1                                                                                                 \
    }

/* Every parameter and state of the graph must be in `parameters` with its shape; the graph is not needed afterwards.
 * Errors: NOT_FOUND, DEVICE_OUT_OF_MEMORY, UNSUPPORTED (a storage type that the device lacks). */
AIOS_API aios_status aios_plan_create(const aios_graph *graph, aios_parameters *parameters, const aios_plan_options *options,
                                      aios_plan **plan);
AIOS_API void aios_plan_destroy(aios_plan *plan);

/* Sets an input for the next run; the data is copied before the call returns.  size: the tensor's, in bytes.  Errors: NOT_FOUND,
 * INVALID_ARGUMENT (another size), OUT_OF_RANGE (an id that its table has no row for). */
AIOS_API aios_status aios_plan_write(aios_plan *plan, const char *name, const void *data, uint64_t size);
/* Forward, and backward in a training plan: gradients and losses are added to what is there. */
AIOS_API aios_status aios_plan_run(aios_plan *plan);
/* An output of the last run, as f32 (activations) or in its own type (i32, f32); size in bytes.  Waits. */
AIOS_API aios_status aios_plan_read(aios_plan *plan, const char *name, void *to, uint64_t size);
/* `count` entries of an output's last dimension, of its row `row`, as f32: one position's logits. */
AIOS_API aios_status aios_plan_read_row(aios_plan *plan, const char *name, uint64_t row, float *to, uint64_t count);

/* Sums over the runs since the last call that reset them. */
typedef struct aios_loss_sums {
    uint32_t struct_size;
    uint32_t reserved;
    double loss; /* weighted sum over rows, not divided */
    double rows; /* labels that were not ignored */
    double hits; /* of those, predicted right */
} aios_loss_sums;
#define AIOS_LOSS_SUMS_INIT                                                                                                                \
    {                                                                                                                                      \
        sizeof(aios_loss_sums), 0, 0, 0, 0                                                                                                 \
    }
/* Waits for the runs.  reset 1: starts again from zero. */
AIOS_API aios_status aios_plan_losses(aios_plan *plan, aios_loss_sums *sums, int32_t reset);

typedef struct aios_plan_memory {
    uint32_t struct_size;
    uint32_t instructions;
    uint64_t activations; /* bytes of the arena that the plan's tensors share */
    uint64_t unshared;    /* what they would take without reuse */
    uint64_t workspace;   /* part of the arena: scratch of attention and reductions, at the most at once */
} aios_plan_memory;
#define AIOS_PLAN_MEMORY_INIT                                                                                                              \
    {                                                                                                                                      \
        sizeof(aios_plan_memory), 0, 0, 0, 0                                                                                               \
    }
AIOS_API aios_status aios_plan_get_memory(const aios_plan *plan, aios_plan_memory *memory);

/* ---- optimizer --------------------------------------------------------------------------------------------------- */

typedef struct aios_optimizer aios_optimizer;

enum { AIOS_ADAMW = 0, AIOS_ADAM_ATAN2 = 1, AIOS_SIGN_SGD = 2 };

typedef struct aios_optimizer_options {
    uint32_t struct_size;
    int32_t kind; /* AIOS_ADAMW (Loshchilov and Hutter), AIOS_ADAM_ATAN2 (Everett et al.), AIOS_SIGN_SGD */
    double beta1, beta2, eps, weight_decay;
    double max_norm;         /* the whole gradient is scaled down to this 2-norm; 0: never */
    double loss_scale;       /* initial; 1 without a scaler */
    int32_t growth_interval; /* steps without overflow before the scale doubles; 0: the scale stays */
    int32_t reserved;
    double rows_lr_factor;    /* tables of rows (aios_graph_rows): their learning rate as a multiple of lr … */
    double rows_weight_decay; /* … and their decay */
} aios_optimizer_options;
#define AIOS_OPTIMIZER_OPTIONS_INIT                                                                                                        \
    {                                                                                                                                      \
        sizeof(aios_optimizer_options), AIOS_ADAMW, 0.9, 0.95, 1e-8, 0.1, 1.0, 1.0, 0, 0, 1.0, 0.1                                         \
    }

AIOS_API aios_status aios_optimizer_create(aios_parameters *parameters, const aios_optimizer_options *options, aios_optimizer **optimizer);
AIOS_API void aios_optimizer_destroy(aios_optimizer *optimizer);
/* Starts a step: gradients become zero; `weight` is what the summed loss of all micro-batches is divided by (their tokens). */
AIOS_API aios_status aios_optimizer_begin(aios_optimizer *optimizer, double lr, double weight);
/* Norm, clipping, finite check, update, loss scale.  A step with a non-finite gradient changes nothing but the scale. */
AIOS_API aios_status aios_optimizer_step(aios_optimizer *optimizer);

typedef struct aios_step_result {
    uint32_t struct_size;
    int32_t finite;    /* 1: the last step was applied */
    double norm;       /* of the gradient before clipping, unscaled */
    double loss_scale; /* for the next step */
    double skipped;    /* in all */
    double skipped_in_a_row;
} aios_step_result;
#define AIOS_STEP_RESULT_INIT                                                                                                              \
    {                                                                                                                                      \
        sizeof(aios_step_result), 0, 0, 0, 0, 0                                                                                            \
    }
/* Waits for the last step. */
AIOS_API aios_status aios_optimizer_result(aios_optimizer *optimizer, aios_step_result *result);
/* The scaler's and bias corrections' numbers, to save and restore bitwise; count is aios_optimizer_state_count(). */
AIOS_API uint32_t aios_optimizer_state_count(void);
AIOS_API aios_status aios_optimizer_read_state(aios_optimizer *optimizer, float *to, uint32_t count);
AIOS_API aios_status aios_optimizer_write_state(aios_optimizer *optimizer, const float *from, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif
