/* options.h (internal): what the library itself asks of options. */
#ifndef AIOS_BASE_OPTIONS_H
#define AIOS_BASE_OPTIONS_H

#include "context.h"
#include <aios/options.h>

/* The options of `scopes` with the values they have in `options`; what is set for other scopes stays behind.
 * Errors: INVALID_ARGUMENT where `options` lacks one of the scopes. */
aios_status aios_options_copy(aios_context *context, const aios_options *options, uint32_t scopes, aios_options **copy);

/* AIOS_SCOPE_… that it was made for. */
uint32_t options_scopes(const aios_options *options);

/* Every option of the handle's scopes as an object, defaults included: what a run was made with.  Borrowed until the next
 * call on the handle; NULL with an error record where there is no memory. */
const char *options_write_all(aios_options *options);

#endif
