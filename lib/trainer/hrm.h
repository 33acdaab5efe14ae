/* hrm.h (internal): HRM's options as a structure, and a model with its plan in one mode. */
#ifndef AIOS_TRAINER_HRM_H
#define AIOS_TRAINER_HRM_H

#include <aios/hrm.h>

#include "base/context.h"

struct hrm_settings {
    const char *data_path, *model, *device, *save_dir, *pos_encodings, *loss_type, *tensorboard, *prometheus;
    int64_t hidden_size, num_heads, h_layers, l_layers, h_cycles, l_cycles, halt_max_steps, puzzle_emb_ndim;
    int64_t batch, epochs, steps, warmup, seed, eval_interval, log_interval, eval_examples, max_nan_steps, precision;
    double expansion, rope_theta, rms_norm_eps, exploration;
    double lr, lr_min_ratio, weight_decay, beta1, beta2, puzzle_lr, puzzle_decay, max_minutes, target;
};
aios_status hrm_settings_read(const aios_options *options, struct hrm_settings *settings);

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
/* One segment over these inputs (batch, length), (batch); min_steps NULL in the mode EVAL. */
aios_status hrm_engine_run(struct hrm_engine *engine, const int32_t *tokens, const int32_t *labels, const int32_t *puzzles,
                           const int32_t *min_steps);

/* halt_max_steps segments on the first `most` examples (0: all). */
aios_status hrm_measure(struct hrm_engine *engine, const aios_puzzles *set, int64_t most, aios_hrm_scores *scores);
/* The set must fit the model: length, vocabulary, identifiers.  Errors: INVALID_ARGUMENT with both. */
aios_status hrm_check_set(const aios_model *model, const aios_puzzles *set, const char *split);
/* Number of a model's config.json, or fallback. */
aios_status hrm_config_int(const aios_model *model, const char *key, int64_t fallback, int64_t *value);

#endif
