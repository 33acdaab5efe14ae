/* parameters.h (internal): the flat buffers of one model on one device.
 *
 * Every parameter begins on a block of BLOCK elements; parameters lie in the order in which the backward pass finishes their
 * gradients (the reverse of their first use), so gradient buckets, shards and checkpoints are ranges. */
#ifndef AIOS_GRAPH_PARAMETERS_H
#define AIOS_GRAPH_PARAMETERS_H

#include <aios/plan.h>

#include "graph/graph.h"

#define BLOCK 1024
#define KINDS (AIOS_MOMENT2 + 1)

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
    float *kept_gradient; /* device: the same of all runs of a step, of all ranks (parameters_keep_rows): (kept_room, n) … */
    int32_t *kept_ids;    /* … and (kept_room) */
    int32_t kept_room;    /* 0: a step has one run, of one rank */
    int32_t is_table;
    int32_t bucket; /* from 1 on; 0: in none */
};

struct state {
    char name[NAME_SIZE];
    int32_t type; /* TYPE_ACTIVATION or AIOS_I32 */
    int32_t rank;
    int32_t shape[AIOS_RANK_MAX];
    uint64_t size; /* bytes */
    void *memory;
};

/* A run of whole parameters whose gradients are exchanged together, cut into the parts of the ranks on whole blocks. */
struct bucket {
    uint64_t first, count;         /* elements of the flat buffers */
    uint64_t own_first, own_count; /* the part that this rank owns … */
    uint64_t local;                /* … and where it lies in buffers that hold owned parts alone */
    uint64_t *borders;             /* (ranks + 1), from the bucket's first element on */
};

/* How ranks share the work on one model, and its memory.  Stage 0: everybody holds everything; 1: moments (and masters where weights are
 * 16-bit) of the owned parts alone; 2: gradients too; 3: weights too. */
struct sharding {
    int stage, rank, ranks;
    uint64_t bucket_bytes;       /* of a gradient's bucket, about */
    const double *memory_shares; /* (ranks): parts follow them; NULL: even */
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
    int stage, rank, ranks;         /* of struct sharding; 0, 0, 1 */
    struct bucket *buckets;         /* of the flat buffers; none where nothing is shared */
    size_t bucket_count;
    uint64_t owned;       /* elements of the owned parts */
    float *staged[KINDS]; /* host: all numbers of AIOS_VALUE …, while a checkpoint is read or written (parameters_stage) */
    void *whole;          /* all weights at stage 3, while they are evaluated (parameters_make_whole) */
    float *master;        /* device memory, as all below */
    void *weight;         /* what forward reads: master itself in f32 */
    float *gradient;
    float *moment1, *moment2; /* of the optimizer, while there is one */
    int32_t *group;           /* per block */
    float *scale;             /* [0]: what every loss gradient is multiplied by */
};

size_t storage_size(int32_t storage);

/* aios_parameters_create for a rank that shares the model with others.  The sharding is copied. */
aios_status parameters_create(aios_device *device, const aios_graph *graph, const aios_parameters_options *options,
                              const struct sharding *sharding, aios_parameters **parameters);
/* Other ranks from now on, at stage 0; the buckets stay.  sharding NULL: alone. */
aios_status parameters_share_anew(aios_parameters *p, const struct sharding *sharding);
/* 1: the flat buffer of that kind (AIOS_VALUE …) holds the owned parts alone, one behind the other. */
int parameters_is_sharded(const aios_parameters *p, int32_t kind);
/* Likewise for what forward reads. */
int parameters_weight_is_sharded(const aios_parameters *p);
/* The flat buffer of a kind; NULL where there is none. */
float *parameters_flat(const aios_parameters *p, int32_t kind);
/* Where the own part of a bucket begins in that buffer. */
float *parameters_own(const aios_parameters *p, int32_t kind, const struct bucket *bucket);
/* Own part of what forward reads. */
void *parameters_own_weight(const aios_parameters *p, const struct bucket *bucket);
/* Host memory for all numbers of the kinds that are sharded, which aios_parameters_read and _write then use; and its end. */
aios_status parameters_stage(aios_parameters *p);
void parameters_unstage(aios_parameters *p);
/* Room for the rows that all runs of a step use, instead of one run's.  Then every run is followed by keep_rows. */
aios_status parameters_room_for_rows(aios_parameters *p, int32_t rows);
/* What the last run used becomes the step's rows `at` and the following. */
aios_status parameters_keep_rows(aios_parameters *p, int32_t at);
/* Before the first run of a step. */
aios_status parameters_forget_rows(aios_parameters *p);
/* The end of whole, which plans without training read at stage 3. */
void parameters_drop_whole(aios_parameters *p);
/* The copy that forward reads follows the master. */
aios_status parameters_refresh(aios_parameters *p, uint64_t offset, uint64_t count);
aios_status parameters_refresh_own(aios_parameters *p); /* of the owned parts */
const struct parameter *parameters_find(const aios_parameters *p, const char *name);
const struct state *parameters_find_state(const aios_parameters *p, const char *name);

#endif
