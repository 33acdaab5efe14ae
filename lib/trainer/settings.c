#include "settings.h"

#include "balance.h"
#include "comm/vendor.h"
#include "schedule.h"
#include <aios/plan.h>

#include <string.h>

#define T AIOS_SCOPE_TRAIN
#define E AIOS_SCOPE_EVAL
#define G AIOS_SCOPE_GENERATE

enum kind { INT, FLOAT, TEXT, CHOICE };

static const struct {
    const char *name;
    uint32_t scopes;
    enum kind kind;
    size_t offset;
} table[] = {
#define ROW(scopes, name, kind, field)                                                                                                     \
    {                                                                                                                                      \
        name, scopes, kind, offsetof(struct settings, field)                                                                               \
    }
    ROW(T | E | G, "model", TEXT, model),
    ROW(T, "model-type", TEXT, model_type),
    ROW(T, "n-layer", INT, n_layer),
    ROW(T, "n-head", INT, n_head),
    ROW(T, "n-embd", INT, n_embd),
    ROW(T, "hidden-size", INT, hidden_size),
    ROW(T, "num-heads", INT, num_heads),
    ROW(T, "expansion", FLOAT, expansion),
    ROW(T, "h-layers", INT, h_layers),
    ROW(T, "l-layers", INT, l_layers),
    ROW(T, "h-cycles", INT, h_cycles),
    ROW(T, "l-cycles", INT, l_cycles),
    ROW(T, "halt-max-steps", INT, halt_max_steps),
    ROW(T, "pos-encodings", TEXT, pos_encodings),
    ROW(T, "rope-theta", FLOAT, rope_theta),
    ROW(T, "rms-norm-eps", FLOAT, rms_norm_eps),
    ROW(T, "loss-type", TEXT, loss_type),
    ROW(T | E | G, "tokenizer", TEXT, tokenizer),
    ROW(T | E, "dataset-file", TEXT, dataset_file),
    ROW(T, "eval-file", TEXT, eval_file),
    ROW(T, "eval-fraction", FLOAT, eval_fraction),
    ROW(T | E, "max-seq-len", INT, max_seq_len),
    ROW(T, "shuffle", INT, shuffle),
    ROW(T | E, "cache-dir", TEXT, cache_dir),
    ROW(T, "steps", INT, steps),
    ROW(T | E, "batch-size", INT, batch_size),
    ROW(T, "gradient-accumulation-steps", INT, accumulation),
    ROW(T, "seed", INT, seed),
    ROW(T, "iterate", INT, iterate),
    ROW(T, "stop-after-epoch", INT, stop_after_epoch),
    ROW(T, "max-minutes", FLOAT, max_minutes),
    ROW(T, "optimizer", CHOICE, optimizer),
    ROW(T, "lr", FLOAT, lr),
    ROW(T, "lr-warmup-steps", INT, lr_warmup_steps),
    ROW(T, "lr-schedule", CHOICE, lr_schedule),
    ROW(T, "lr-min-ratio", FLOAT, lr_min_ratio),
    ROW(T, "weight-decay", FLOAT, weight_decay),
    ROW(T, "beta1", FLOAT, beta1),
    ROW(T, "beta2", FLOAT, beta2),
    ROW(T, "adam-eps", FLOAT, adam_eps),
    ROW(T, "grad-clip", FLOAT, grad_clip),
    ROW(T | E | G, "device", TEXT, device),
    ROW(T | E, "devices", TEXT, devices),
    ROW(T, "launcher", CHOICE, launcher),
    ROW(T | E, "keep-cpu", INT, keep_cpu),
    ROW(E, "sequential", INT, sequential),
    ROW(E, "task-file", TEXT, task_file),
    ROW(T, "keep-global-batch", INT, keep_global_batch),
    ROW(T, "on-divergence", CHOICE, resync),
    ROW(T, "strategy", CHOICE, strategy),
    ROW(T, "strict", INT, strict),
    ROW(T, "max-memory", FLOAT, max_memory),
    ROW(T, "max-utilisation", FLOAT, max_utilisation),
    ROW(T, "max-temperature", FLOAT, max_temperature),
    ROW(T, "max-power", FLOAT, max_power),
    ROW(T, "balance", CHOICE, balance),
    ROW(T, "collectives", CHOICE, collectives),
    ROW(T, "device-weights", TEXT, device_weights),
    ROW(T, "verify-interval", INT, verify_interval),
    ROW(T, "step-deadline", FLOAT, step_deadline),
    ROW(T, "zero-stage", CHOICE, zero_stage),
    ROW(T, "bucket-mb", FLOAT, bucket_mb),
    ROW(T, "overlap", INT, overlap),
    ROW(T | E | G, "precision", CHOICE, precision),
    ROW(T, "gradient-checkpointing", INT, gradient_checkpointing),
    ROW(T, "loss-scale", FLOAT, loss_scale),
    ROW(T, "loss-scale-growth-interval", INT, growth_interval),
    ROW(T, "dataset-chunk-size", INT, chunk_samples),
    ROW(T, "dataset-block-size", INT, block_samples),
    ROW(T, "start-block-id", INT, start_block),
    ROW(T, "start-chunk-id", INT, start_chunk),
    ROW(T, "merge", CHOICE, merge),
    ROW(T, "merge-interval", INT, merge_interval),
    ROW(T, "merge-chunks", INT, merge_chunks),
    ROW(T, "outer-lr", FLOAT, outer_lr),
    ROW(T, "outer-momentum", FLOAT, outer_momentum),
    ROW(T, "save-dir", TEXT, save_dir),
    ROW(T, "resume", INT, resume),
    ROW(T, "checkpoint-interval", INT, checkpoint_interval),
    ROW(T, "keep-checkpoints", INT, keep_checkpoints),
    ROW(T, "eval-interval", INT, eval_interval),
    ROW(T | E, "eval-batches", INT, eval_batches),
    ROW(T, "log-interval", INT, log_interval),
    ROW(T, "log-file", TEXT, log_file),
    ROW(T, "tensorboard", TEXT, tensorboard),
    ROW(T, "prometheus", TEXT, prometheus),
    ROW(T, "stop-file", TEXT, stop_file),
    ROW(T, "max-nan-steps", INT, max_nan_steps),
    ROW(G, "max-tokens", INT, max_tokens),
    ROW(G, "temperature", FLOAT, temperature),
    ROW(G, "top-k", INT, top_k),
    ROW(G, "top-p", FLOAT, top_p),
#undef ROW
};

/* What the numbers of the choices mean. */
static const struct {
    const char *option, *choice;
    int64_t value;
} choices[] = {
    {"optimizer", "adamw", AIOS_ADAMW},
    {"optimizer", "adam-atan2", AIOS_ADAM_ATAN2},
    {"optimizer", "sign-sgd", AIOS_SIGN_SGD},
    {"lr-schedule", "cosine", SCHEDULE_COSINE},
    {"lr-schedule", "linear", SCHEDULE_LINEAR},
    {"lr-schedule", "constant", SCHEDULE_CONSTANT},
    {"strategy", "auto", STRATEGY_AUTO},
    {"strategy", "ddp", STRATEGY_DDP},
    {"strategy", "parallel-independent", STRATEGY_INDEPENDENT},
    {"merge", "mean", MERGE_MEAN},
    {"merge", "nesterov", MERGE_NESTEROV},
    {"collectives", "auto", COLLECTIVES_AUTO},
    {"collectives", "host", COLLECTIVES_HOST},
    {"collectives", "vendor", COLLECTIVES_VENDOR},
    {"launcher", "none", 0},
    {"launcher", "auto", 1},
    {"on-divergence", "stop", 0},
    {"on-divergence", "resync", 1},
    {"balance", "even", BALANCE_EVEN},
    {"balance", "measured", BALANCE_MEASURED},
    {"balance", "weights", BALANCE_WEIGHTS},
    {"zero-stage", "none", 0},
    {"zero-stage", "zero1", 1},
    {"zero-stage", "zero2", 2},
    {"zero-stage", "zero3", 3},
    {"zero-stage", "0", 0},
    {"zero-stage", "1", 1},
    {"zero-stage", "2", 2},
    {"zero-stage", "3", 3},
    {"precision", "32", AIOS_PRECISION_32},
    {"precision", "16-mixed", AIOS_PRECISION_16_MIXED},
    {"precision", "bf16-mixed", AIOS_PRECISION_BF16_MIXED},
};

static aios_status read_choice(const aios_options *options, const char *name, int64_t *value)
{
    const char *text;
    TRY_QUIET(aios_options_get_string(options, name, &text));
    for (size_t i = 0; i < COUNT_OF(choices); i++)
        if (strcmp(choices[i].option, name) == 0 && strcmp(choices[i].choice, text) == 0) {
            *value = choices[i].value;
            return AIOS_OK;
        }
    return FAIL(AIOS_INTERNAL, "%s is '%s', which the trainer doesn't know", name, text);
}

/* HRM's sizes for texts, where they are not those of the public reference's puzzles. */
static void language_defaults(const aios_options *options, struct settings *s)
{
    const struct {
        const char *option;
        int64_t *to, value;
    } defaults[] = {{"h-layers", &s->h_layers, 2}, {"l-layers", &s->l_layers, 2}, {"halt-max-steps", &s->halt_max_steps, 2}};
    for (size_t i = 0; i < COUNT_OF(defaults); i++)
        if (!aios_options_is_set(options, defaults[i].option)) *defaults[i].to = defaults[i].value;
    if (!aios_options_is_set(options, "expansion")) s->expansion = 2.0;
    if (!aios_options_is_set(options, "loss-type")) s->loss_type = "softmax_cross_entropy";
}

aios_status settings_read(const aios_options *options, uint32_t scope, struct settings *settings)
{
    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        void *field = (char *)settings + table[i].offset;
        if (!(table[i].scopes & scope)) continue;
        switch (table[i].kind) {
        case INT: TRY_QUIET(aios_options_get_int(options, table[i].name, field)); break;
        case FLOAT: TRY_QUIET(aios_options_get_float(options, table[i].name, field)); break;
        case TEXT: TRY_QUIET(aios_options_get_string(options, table[i].name, field)); break;
        case CHOICE: TRY_QUIET(read_choice(options, table[i].name, field)); break;
        }
    }
    if (scope == T) language_defaults(options, settings);
    return AIOS_OK;
}
