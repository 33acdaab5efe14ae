/* parameters.h (internal): the flat buffers of one model on one device.
 *
 * Every parameter begins on a block of BLOCK elements; parameters lie in the order in which the backward pass finishes their
 * gradients (the reverse of their first use), so gradient buckets, shards and checkpoints are ranges. */
#ifndef AIOS_GRAPH_PARAMETERS_H
#define AIOS_GRAPH_PARAMETERS_H

#include <aios/plan.h>

#include "graph/graph.h"

#define BLOCK 1024

struct parameter {
    char name[NAME_SIZE];
    int32_t rank;
    int32_t shape[AIOS_RANK_MAX];
    int32_t init, group;
    float init_scale;
    uint64_t count, offset; /* elements */
    float *table;           /* device; of a table of rows (aios_graph_rows), which is in no flat buffer; else NULL */
    float *rows_gradient;   /* device: (rows_most, n), of the step's run … */
    int32_t *rows_ids;      /* … and (rows_most) the rows that it used, -1 for none */
    int32_t rows_most;
    int32_t is_table;
};

struct state {
    char name[NAME_SIZE];
    int32_t type; /* TYPE_ACTIVATION or AIOS_I32 */
    int32_t rank;
    int32_t shape[AIOS_RANK_MAX];
    uint64_t size; /* bytes */
    void *memory;
};

struct aios_parameters {
    aios_context *context;
    aios_device *device;
    aios_stream *stream;
    int32_t storage; /* AIOS_F32, AIOS_BF16, AIOS_F16 */
    int32_t training;
    int32_t has_optimizer;
    struct parameter *list;
    size_t count;
    struct state *states;
    size_t state_count;
    uint64_t total;                 /* trained elements without padding */
    int32_t has_tables, table_runs; /* table_runs: that gave rows a gradient since the step began */
    uint64_t padded;                /* elements of a flat buffer */
    float *master;                  /* device memory, as all below */
    void *weight;                   /* what forward reads: master itself in f32 */
    float *gradient;
    float *moment1, *moment2; /* of the optimizer, while there is one */
    int32_t *group;           /* per block */
    float *scale;             /* [0]: what every loss gradient is multiplied by */
};

size_t storage_size(int32_t storage);
/* The copy that forward reads follows the master. */
aios_status parameters_refresh(aios_parameters *p, uint64_t offset, uint64_t count);
const struct parameter *parameters_find(const aios_parameters *p, const char *name);
const struct state *parameters_find_state(const aios_parameters *p, const char *name);

#endif
