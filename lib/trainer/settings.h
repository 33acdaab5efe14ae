/* settings.h (internal): the options of a run as one structure. */
#ifndef AIOS_TRAINER_SETTINGS_H
#define AIOS_TRAINER_SETTINGS_H

#include "base/error.h"
#include <aios/options.h>

enum { STRATEGY_AUTO = 0, STRATEGY_DDP = 1, STRATEGY_INDEPENDENT = 2 };
enum { MERGE_MEAN = 0, MERGE_NESTEROV = 1 };

/* Texts are borrowed from the options.  What the scope has not stays 0. */
struct settings {
    const char *model, *model_type, *tokenizer, *dataset_file, *eval_file, *cache_dir, *device, *devices, *device_weights, *save_dir,
        *log_file, *stop_file, *tensorboard, *prometheus, *task_file;
    int64_t n_layer, n_head, n_embd;
    const char *pos_encodings, *loss_type; /* of hrm_actv1, as the next two lines */
    int64_t hidden_size, num_heads, h_layers, l_layers, h_cycles, l_cycles, halt_max_steps;
    int64_t use_moe, num_experts, num_experts_per_tok;
    double expansion, rope_theta, rms_norm_eps, moe_balance;
    int64_t max_seq_len, shuffle, steps, batch_size, accumulation, seed, lr_warmup_steps, gradient_checkpointing, growth_interval;
    int64_t resume, checkpoint_interval, keep_checkpoints, eval_interval, eval_batches, log_interval, max_nan_steps;
    int64_t max_tokens, top_k;
    int64_t launcher, keep_cpu, sequential, keep_global_batch, resync, zero_stage, overlap;
    int64_t precision, optimizer, lr_schedule, balance, verify_interval; /* AIOS_PRECISION_…, AIOS_ADAMW …, SCHEDULE_…, BALANCE_… */
    int64_t strategy, strict, iterate, stop_after_epoch;                 /* STRATEGY_… */
    int64_t collectives;                                                 /* COLLECTIVES_… */
    int64_t chunk_samples, block_samples, start_block, start_chunk, merge, merge_interval, merge_chunks; /* MERGE_… */
    double outer_lr, outer_momentum, max_memory, max_utilisation, max_temperature, max_power; /* GiB, percent, Celsius, watts; 0: no cap */
    double eval_fraction, max_minutes, lr, lr_min_ratio, weight_decay, beta1, beta2, adam_eps, grad_clip, loss_scale, step_deadline,
        bucket_mb;
    double temperature, top_p;

    int64_t puzzles;       /* 1: a run on puzzles (scope HRM), which has what follows */
    const char *data_path; /* of the train and the test set */
    int64_t global_batch, epochs, eval_examples, puzzle_emb_ndim;
    double target_accuracy, exploration, puzzle_lr, puzzle_decay;
};

/* Sets what is not set and has another default for this model or scope, so that a checkpoint's options say it. */
aios_status settings_complete(aios_options *options, uint32_t scope);
/* Reads what `scope` (one of AIOS_SCOPE_…) has. */
aios_status settings_read(const aios_options *options, uint32_t scope, struct settings *settings);

#endif
