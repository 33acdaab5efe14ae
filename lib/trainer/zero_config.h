/* zero_config.h (internal): option zero-config, a file in the layout of DeepSpeed's configurations, as options.
 *
 * What the file says is as if the caller had set it.  "auto" says nothing.  An option that the caller has set to another value is an error
 * that names both; so is what would change the run and can't be honoured (offloading, another optimizer). What is not known, and hints
 * that have no counterpart here, are named in one warning each. */
#ifndef AIOS_TRAINER_ZERO_CONFIG_H
#define AIOS_TRAINER_ZERO_CONFIG_H

#include "base/error.h"
#include <aios/options.h>

/* A copy of `given` (scope TRAIN) with what its zero-config says.  Errors: NOT_FOUND, CORRUPT of the file; INVALID_ARGUMENT, UNSUPPORTED,
 * OUT_OF_RANGE. */
aios_status zero_config_options(aios_context *context, const aios_options *given, aios_options **options);

#endif
