/* checkpoint.h (internal): the state of a run in a checkpoint's folder, beside config.json, model.safetensors (f32 masters) and
 * the tokenizer's files:
 *
 *   optimizer.safetensors   NAME.moment1, NAME.moment2 of each parameter, "optimizer.state": the scaler and the bias corrections
 *   carry.safetensors       of puzzles: what each row of a step's batch carries (carry.h)
 *   trainer.json            {"format": 1, "version": …, "step": …, "tokens": …, "next_sample": …, "chunks": the chunk tracker's number, of
 * independent devices, "devices": [{"device", "name", "vendor", "tokens"}], "bad_steps": …, "loss": …, "eval_loss":
 * …, "elapsed": …, "model": …, "dataset": IDENTITY, "sequence": …, "train_samples": …, "tokenizer": IDENTITY, "options": {…}} */
#ifndef AIOS_TRAINER_CHECKPOINT_H
#define AIOS_TRAINER_CHECKPOINT_H

#include "trainer.h"

#include "base/json.h"

#define CHECKPOINT_STATE     "trainer.json"
#define CHECKPOINT_OPTIMIZER "optimizer.safetensors"
#define CHECKPOINT_CARRY     "carry.safetensors"

/* Saves where the run stands, makes it durable, removes checkpoints that are no longer kept, reports. */
aios_status checkpoint_save(aios_trainer *t);

/* trainer.json of a checkpoint, its format checked.  json_decref ends it. */
aios_status checkpoint_read_state(aios_context *context, const char *folder, json_t **state);
/* Position, weights and optimizer.  Errors: INVALID_ARGUMENT where data or tokenizer are others than the checkpoint's; CORRUPT. */
aios_status checkpoint_load(aios_trainer *t, const char *folder, const json_t *state);
/* What each device trained so far stays known when the replicas change. */
aios_status checkpoint_keep_contributions(aios_trainer *t);

#endif
