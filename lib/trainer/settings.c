#include "settings.h"

#include "balance.h"
#include "comm/vendor.h"
#include "schedule.h"
#include <aios/plan.h>

#include <stdio.h>
#include <string.h>

#define T AIOS_SCOPE_TRAIN
#define E AIOS_SCOPE_EVAL
#define G AIOS_SCOPE_GENERATE
#define H AIOS_SCOPE_HRM

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
    ROW(T | E | G | H, "model", TEXT, model),
    ROW(T, "model-type", TEXT, model_type),
    ROW(T, "n-layer", INT, n_layer),
    ROW(T, "n-head", INT, n_head),
    ROW(T, "n-embd", INT, n_embd),
    ROW(T | H, "hidden-size", INT, hidden_size),
    ROW(T | H, "num-heads", INT, num_heads),
    ROW(T | H, "expansion", FLOAT, expansion),
    ROW(T | H, "h-layers", INT, h_layers),
    ROW(T | H, "l-layers", INT, l_layers),
    ROW(T | H, "h-cycles", INT, h_cycles),
    ROW(T | H, "l-cycles", INT, l_cycles),
    ROW(T | H, "halt-max-steps", INT, halt_max_steps),
    ROW(T, "use-moe", INT, use_moe),
    ROW(T, "num-experts", INT, num_experts),
    ROW(T, "num-experts-per-tok", INT, num_experts_per_tok),
    ROW(T, "moe-balance-weight", FLOAT, moe_balance),
    ROW(T | H, "pos-encodings", TEXT, pos_encodings),
    ROW(T | H, "rope-theta", FLOAT, rope_theta),
    ROW(T | H, "rms-norm-eps", FLOAT, rms_norm_eps),
    ROW(T | H, "loss-type", TEXT, loss_type),
    ROW(T | E | G, "tokenizer", TEXT, tokenizer),
    ROW(T | E, "dataset-file", TEXT, dataset_file),
    ROW(T, "eval-file", TEXT, eval_file),
    ROW(T, "eval-fraction", FLOAT, eval_fraction),
    ROW(T | E, "max-seq-len", INT, max_seq_len),
    ROW(T, "shuffle", INT, shuffle),
    ROW(T | E, "cache-dir", TEXT, cache_dir),
    ROW(T | H, "steps", INT, steps),
    ROW(T | E, "batch-size", INT, batch_size),
    ROW(T | H, "gradient-accumulation-steps", INT, accumulation),
    ROW(T | H, "seed", INT, seed),
    ROW(T | H, "iterate", INT, iterate),
    ROW(T | H, "stop-after-epoch", INT, stop_after_epoch),
    ROW(T | H, "max-minutes", FLOAT, max_minutes),
    ROW(T | H, "optimizer", CHOICE, optimizer),
    ROW(T | H, "lr", FLOAT, lr),
    ROW(T | H, "lr-warmup-steps", INT, lr_warmup_steps),
    ROW(T, "lr-schedule", CHOICE, lr_schedule),
    ROW(T | H, "lr-min-ratio", FLOAT, lr_min_ratio),
    ROW(T | H, "weight-decay", FLOAT, weight_decay),
    ROW(T | H, "beta1", FLOAT, beta1),
    ROW(T | H, "beta2", FLOAT, beta2),
    ROW(T | H, "adam-eps", FLOAT, adam_eps),
    ROW(T | H, "grad-clip", FLOAT, grad_clip),
    ROW(T | E | G | H, "device", TEXT, device),
    ROW(T | E | H, "devices", TEXT, devices),
    ROW(T | H, "launcher", CHOICE, launcher),
    ROW(T | E | H, "keep-cpu", INT, keep_cpu),
    ROW(E, "sequential", INT, sequential),
    ROW(E, "task-file", TEXT, task_file),
    ROW(T | H, "keep-global-batch", INT, keep_global_batch),
    ROW(T | H, "on-divergence", CHOICE, resync),
    ROW(T | H, "strategy", CHOICE, strategy),
    ROW(T | H, "strict", INT, strict),
    ROW(T | H, "max-memory", FLOAT, max_memory),
    ROW(T | H, "max-utilisation", FLOAT, max_utilisation),
    ROW(T | H, "max-temperature", FLOAT, max_temperature),
    ROW(T | H, "max-power", FLOAT, max_power),
    ROW(T | H, "balance", CHOICE, balance),
    ROW(T | H, "collectives", CHOICE, collectives),
    ROW(T | H, "device-weights", TEXT, device_weights),
    ROW(T | H, "verify-interval", INT, verify_interval),
    ROW(T | H, "step-deadline", FLOAT, step_deadline),
    ROW(T | H, "zero-stage", CHOICE, zero_stage),
    ROW(T | H, "bucket-mb", FLOAT, bucket_mb),
    ROW(T | H, "overlap", INT, overlap),
    ROW(T | E | G | H, "precision", CHOICE, precision),
    ROW(T | H, "gradient-checkpointing", INT, gradient_checkpointing),
    ROW(T | H, "loss-scale", FLOAT, loss_scale),
    ROW(T | H, "loss-scale-growth-interval", INT, growth_interval),
    ROW(T | H, "dataset-chunk-size", INT, chunk_samples),
    ROW(T | H, "dataset-block-size", INT, block_samples),
    ROW(T | H, "start-block-id", INT, start_block),
    ROW(T | H, "start-chunk-id", INT, start_chunk),
    ROW(T | H, "merge", CHOICE, merge),
    ROW(T | H, "merge-interval", INT, merge_interval),
    ROW(T | H, "merge-chunks", INT, merge_chunks),
    ROW(T | H, "outer-lr", FLOAT, outer_lr),
    ROW(T | H, "outer-momentum", FLOAT, outer_momentum),
    ROW(T | H, "save-dir", TEXT, save_dir),
    ROW(T | H, "resume", INT, resume),
    ROW(T | H, "checkpoint-interval", INT, checkpoint_interval),
    ROW(T | H, "keep-checkpoints", INT, keep_checkpoints),
    ROW(T | H, "eval-interval", INT, eval_interval),
    ROW(T | E, "eval-batches", INT, eval_batches),
    ROW(T | H, "log-interval", INT, log_interval),
    ROW(T | H, "log-file", TEXT, log_file),
    ROW(T | H, "tensorboard", TEXT, tensorboard),
    ROW(T | H, "prometheus", TEXT, prometheus),
    ROW(T | H, "stop-file", TEXT, stop_file),
    ROW(T | H, "max-nan-steps", INT, max_nan_steps),
    ROW(G, "max-tokens", INT, max_tokens),
    ROW(G, "temperature", FLOAT, temperature),
    ROW(G, "top-k", INT, top_k),
    ROW(G, "top-p", FLOAT, top_p),
    ROW(H, "data-path", TEXT, data_path),
    ROW(H, "global-batch-size", INT, global_batch),
    ROW(H, "epochs", INT, epochs),
    ROW(H, "eval-examples", INT, eval_examples),
    ROW(H, "target-accuracy", FLOAT, target_accuracy),
    ROW(H, "halt-exploration-prob", FLOAT, exploration),
    ROW(H, "puzzle-emb-ndim", INT, puzzle_emb_ndim),
    ROW(H, "puzzle-emb-lr", FLOAT, puzzle_lr),
    ROW(H, "puzzle-emb-weight-decay", FLOAT, puzzle_decay),
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

/* Defaults that depend on what is trained: HRM on texts, and on puzzles as the public reference does. */
static const struct {
    uint32_t scope;
    const char *option, *value;
} own_defaults[] = {
    {T, "h-layers", "2"},
    {T, "l-layers", "2"},
    {T, "halt-max-steps", "2"},
    {T, "expansion", "2"},
    {T, "loss-type", "softmax_cross_entropy"},
    {H, "lr", "1e-4"},
    {H, "lr-min-ratio", "1"},
    {H, "lr-warmup-steps", "2000"},
    {H, "grad-clip", "0"},
    {H, "optimizer", "adam-atan2"},
    {H, "log-interval", "10"},
};

aios_status settings_complete(aios_options *options, uint32_t scope)
{
    const char *type = "hrm_actv1";
    int64_t interval;
    char text[32];
    if (scope == T) TRY_QUIET(aios_options_get_string(options, "model-type", &type));
    if (strcmp(type, "hrm_actv1") != 0) return AIOS_OK;
    for (size_t i = 0; i < COUNT_OF(own_defaults); i++)
        if (own_defaults[i].scope == scope && !aios_options_is_set(options, own_defaults[i].option))
            TRY_QUIET(aios_options_set(options, own_defaults[i].option, own_defaults[i].value));
    if (scope != H || aios_options_is_set(options, "checkpoint-interval")) return AIOS_OK;
    TRY_QUIET(aios_options_get_int(options, "eval-interval", &interval));
    (void)snprintf(text, sizeof text, "%lld", (long long)interval);
    return aios_options_set(options, "checkpoint-interval", text);
}

/* What a run on puzzles has no options for. */
static void complete_puzzles(struct settings *s)
{
    s->puzzles = 1;
    s->shuffle = 1;
    s->lr_schedule = SCHEDULE_REFERENCE;
    s->model_type = "hrm_actv1";
    s->tokenizer = s->dataset_file = s->eval_file = s->cache_dir = "";
    s->batch_size = s->global_batch;
    s->eval_batches = 0;
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
    if (scope == H) complete_puzzles(settings);
    return AIOS_OK;
}
