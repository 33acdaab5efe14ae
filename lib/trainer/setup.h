/* setup.h (internal): what training, evaluation and generation open alike. */
#ifndef AIOS_TRAINER_SETUP_H
#define AIOS_TRAINER_SETUP_H

#include "base/context.h"
#include "settings.h"
#include <aios/hardware.h>
#include <aios/model.h>
#include <aios/puzzles.h>
#include <aios/tokenizer.h>

/* Devices and how they work together, by the rules of <aios/hardware.h>.  strategy: STRATEGY_…. */
aios_status setup_hardware(aios_context *context, const char *selection, int64_t precision, int64_t strategy, int keep_cpu,
                           aios_hardware **hardware);
/* One device, opened; "auto" by the same rules, anything else as aios_device_open says. */
aios_status setup_device(aios_context *context, const char *spec, int64_t precision, aios_device **device);
/* What option `tokenizer` says; where it is empty what `folder` holds (NULL: nothing), else bytes. */
aios_status setup_tokenizer(aios_context *context, const char *option, const char *folder, aios_tokenizer **tokenizer);
/* Every id of the tokenizer must be one of the model's.  Errors: INVALID_ARGUMENT with both numbers. */
aios_status setup_check_vocabulary(const aios_model *model, const aios_tokenizer *tokenizer);
/* A new model of the options' sizes, with random weights to come, for what the tokenizer writes. */
aios_status setup_new_model(aios_context *context, const struct settings *settings, const aios_tokenizer *tokenizer, aios_model **model);
/* Likewise HRM for such puzzles. */
aios_status setup_puzzle_model(aios_context *context, const struct settings *settings, const aios_puzzles_info *puzzles,
                               aios_model **model);
/* Tokens of a sample: max-seq-len, or the model's positions where those are fewer and nothing was said (given: what the caller set). */
aios_status setup_sequence(const aios_model *model, const struct settings *settings, const aios_options *given, int32_t *sequence);
/* A recorded and finished graph. */
aios_status setup_graph(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence, aios_graph **graph);
/* A plan of the model in one mode over parameters that are there. */
aios_status setup_plan(aios_context *context, const aios_model *model, int32_t mode, int64_t batch, int64_t sequence,
                       const aios_plan_options *options, aios_parameters *parameters, aios_plan **plan);
/* "32", "16-mixed", "bf16-mixed" */
const char *setup_precision_name(int64_t precision);

#endif
