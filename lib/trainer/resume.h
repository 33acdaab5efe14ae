/* resume.h (internal): options and state of a run that goes on from a checkpoint. */
#ifndef AIOS_TRAINER_RESUME_H
#define AIOS_TRAINER_RESUME_H

#include "trainer.h"

#include "base/json.h"

/* t->options = those of the checkpoint, and over them what the caller has set.  Errors: INVALID_ARGUMENT for a change that the state
 * of the run does not allow, with both values. */
aios_status resume_options(aios_trainer *t, const aios_options *given, const json_t *state);
/* Reports every change that makes the run another one than it would have been without the stop. */
void resume_report_changes(aios_trainer *t, const json_t *state);
/* What the caller says about the model must be what the checkpoint has.  Errors: INVALID_ARGUMENT with both values. */
aios_status resume_check_model(const aios_trainer *t, const aios_options *given);
/* The state of the run to the leader: from a checkpoint, or that of the beginning where it is NULL.  A loss scale belongs to a precision:
 * another one begins with its own. */
aios_status resume_load(aios_trainer *t, const char *checkpoint, const json_t *state);
/* Of several processes the first does, and the others learn where the run stands. */
aios_status resume_load_first(aios_trainer *t, const char *checkpoint, const json_t *state);
/* Where the run stands in process `root`, for all. */
aios_status resume_stand(aios_trainer *t, int root);
/* The options that must be the same in all processes, as text to be freed with aios_memory_free. */
aios_status resume_options_text(aios_trainer *t, char **text);
/* The same from the newest checkpoint that there is, in the middle of a run. */
aios_status resume_rewind(aios_trainer *t);

#endif
