/* hrm.h (internal): HRM where nothing is trained: a model with its plan in one mode. */
#ifndef AIOS_TRAINER_HRM_H
#define AIOS_TRAINER_HRM_H

#include <aios/hrm.h>

#include "base/context.h"

/* A model on a device in one mode. */
struct hrm_engine {
    aios_context *context;
    aios_parameters *parameters;
    aios_plan *plan;
    int32_t batch, length, max_steps;
};
aios_status hrm_engine_open(aios_context *context, const aios_model *model, aios_device *device, int64_t precision, int32_t mode,
                            int64_t batch, struct hrm_engine *engine);
void hrm_engine_close(struct hrm_engine *engine);

/* Errors: INVALID_ARGUMENT where the model is none of puzzles. */
aios_status hrm_check_kind(const aios_model *model);
/* The set must fit the model: length, vocabulary, identifiers.  Errors: INVALID_ARGUMENT with both. */
aios_status hrm_check_set(const aios_model *model, const aios_puzzles *set, const char *split);
/* Number of a model's config.json, or fallback. */
aios_status hrm_config_int(const aios_model *model, const char *key, int64_t fallback, int64_t *value);

#endif
