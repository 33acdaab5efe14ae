/* estimate.h: how much memory a training run will take of each device, before any is taken.
 *
 * The run's parameters, optimizer and plan are made on devices that give out addresses without memory behind them, so the numbers are
 * those of aios_device_memory_used in the run itself.  What a driver or a vendor's library takes for its own purposes beside that (some
 * hundred MiB on a GPU) is not in them. */
#ifndef AIOS_ESTIMATE_H
#define AIOS_ESTIMATE_H

#include <aios/device.h>
#include <aios/model.h>
#include <aios/options.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_estimate aios_estimate;

/* Bytes of one device's memory; the parts sum to total. */
typedef struct aios_device_estimate {
    uint32_t struct_size;
    int32_t assumed;          /* 1: not a device of this machine: a typical one of its make is meant */
    char spec[32];            /* "cuda:0" */
    char name[AIOS_NAME_MAX]; /* "NVIDIA H200" */
    uint64_t parameters;      /* weights: masters, and the 16-bit copies that forward reads */
    uint64_t gradients;
    uint64_t optimizer;   /* moments */
    uint64_t activations; /* what forward leaves for backward, and gradients of values */
    uint64_t workspace;   /* of single operations; inputs */
    uint64_t exchange;    /* buckets of what devices hold in parts (option zero-stage) */
    uint64_t evaluation;  /* on the first device, where something is held out */
    uint64_t total;       /* the most at once */
    uint64_t host;        /* beside it: host memory that the driver pins */
    uint64_t memory;      /* what there is: as given, else what is free; 0: not known */
} aios_device_estimate;
#define AIOS_DEVICE_ESTIMATE_INIT                                                                                                          \
    {                                                                                                                                      \
        sizeof(aios_device_estimate), 0, "", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                              \
    }

/* options: those of a run (scope TRAIN; dataset-file may be empty), model: NULL or the one to train, both as for aios_trainer_create.
 * Devices that are not on this machine are named by backend and number: cuda:0,hip:1.  memory: bytes of each device; 0: what is free.
 * Errors: those of wrong options, by name; NOT_FOUND. */
AIOS_API aios_status aios_estimate_create(aios_context *context, const aios_options *options, aios_model *model, uint64_t memory,
                                          aios_estimate **estimate);
AIOS_API void aios_estimate_destroy(aios_estimate *estimate);

AIOS_API uint32_t aios_estimate_device_count(const aios_estimate *estimate);
/* Fills info up to the struct_size that it comes with.  Errors: OUT_OF_RANGE past the end. */
AIOS_API aios_status aios_estimate_device(const aios_estimate *estimate, uint32_t index, aios_device_estimate *info);
AIOS_API uint64_t aios_estimate_parameters(const aios_estimate *estimate); /* trained numbers of the model */
AIOS_API int32_t aios_estimate_sequence(const aios_estimate *estimate);    /* tokens of a sample */
/* The largest batch-size with which every device's total is within its memory; 0: none, -1: a device's memory is not known. */
AIOS_API int64_t aios_estimate_largest_batch(const aios_estimate *estimate);

#ifdef __cplusplus
}
#endif
#endif
