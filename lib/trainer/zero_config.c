#include "zero_config.h"

#include "base/context.h"
#include "base/json.h"
#include "base/options.h"
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PATH_ROOM 256

struct reader {
    aios_context *context;
    const aios_options *given;
    aios_options *options;
    const char *file;
    int fp16, bf16;            /* enabled */
    const json_t *lr, *max_lr; /* of the optimizer, of the schedule */
    double bucket;             /* elements; 0: not said */
};

enum action {
    NUMBER, /* the option, times factor */
    WHOLE,  /* likewise, a whole number */
    SWITCH, /* true or false */
    STAGE,  /* 0 to 3 */
    FP16,   /* notes; decided when all is read */
    BF16,
    POWER,     /* the option is 2 to the value, where fp16 is enabled */
    FP16_ONLY, /* WHOLE, where fp16 is enabled */
    BUCKET,
    BETAS,
    RATE,     /* optimizer.params.lr */
    MAX_RATE, /* scheduler.params.warmup_max_lr */
    OPTIMIZER,
    SCHEDULE,
    WARMUP_SHAPE,
    MUST, /* the value must be `factor` (true and false are 1 and 0): this is what libaios does */
    HINT, /* of speed or memory, without a counterpart here */
};

static const struct key {
    const char *path;
    enum action action;
    const char *option;
    double factor;
} keys[] = {
    {"zero_optimization.stage", STAGE, "zero-stage", 1},
    {"zero_optimization.reduce_bucket_size", BUCKET, "bucket-mb", 0},
    {"zero_optimization.allgather_bucket_size", BUCKET, "bucket-mb", 0},
    {"zero_optimization.overlap_comm", SWITCH, "overlap", 1},
    {"zero_optimization.contiguous_gradients", MUST, NULL, 1},
    {"zero_optimization.reduce_scatter", MUST, NULL, 1},
    {"zero_optimization.allgather_partitions", MUST, NULL, 1},
    {"zero_optimization.round_robin_gradients", HINT, NULL, 0},
    {"zero_optimization.sub_group_size", HINT, NULL, 0},
    {"zero_optimization.stage3_prefetch_bucket_size", HINT, NULL, 0},
    {"zero_optimization.stage3_param_persistence_threshold", HINT, NULL, 0},
    {"zero_optimization.stage3_max_live_parameters", HINT, NULL, 0},
    {"zero_optimization.stage3_max_reuse_distance", HINT, NULL, 0},
    {"zero_optimization.stage3_gather_16bit_weights_on_model_save", HINT, NULL, 0},
    {"train_micro_batch_size_per_gpu", WHOLE, "batch-size", 1},
    {"gradient_accumulation_steps", WHOLE, "gradient-accumulation-steps", 1},
    {"train_batch_size", HINT, NULL, 0},
    {"gradient_clipping", NUMBER, "grad-clip", 1},
    {"steps_per_print", WHOLE, "log-interval", 1},
    {"wall_clock_breakdown", HINT, NULL, 0},
    {"zero_allow_untested_optimizer", HINT, NULL, 0},
    {"fp16.enabled", FP16, NULL, 0},
    {"fp16.initial_scale_power", POWER, "loss-scale", 1},
    {"fp16.loss_scale_window", FP16_ONLY, "loss-scale-growth-interval", 1},
    {"fp16.loss_scale", MUST, NULL, 0},
    {"fp16.min_loss_scale", MUST, NULL, 1},
    {"fp16.hysteresis", HINT, NULL, 0},
    {"bf16.enabled", BF16, NULL, 0},
    {"optimizer.type", OPTIMIZER, "optimizer", 0},
    {"optimizer.params.lr", RATE, "lr", 1},
    {"optimizer.params.betas", BETAS, NULL, 0},
    {"optimizer.params.eps", NUMBER, "adam-eps", 1},
    {"optimizer.params.weight_decay", NUMBER, "weight-decay", 1},
    {"optimizer.params.adam_w_mode", MUST, NULL, 1},
    {"optimizer.params.bias_correction", MUST, NULL, 1},
    {"optimizer.params.torch_adam", HINT, NULL, 0},
    {"scheduler.type", SCHEDULE, NULL, 0},
    {"scheduler.params.warmup_min_lr", MUST, NULL, 0},
    {"scheduler.params.warmup_min_ratio", MUST, NULL, 0},
    {"scheduler.params.warmup_max_lr", MAX_RATE, "lr", 1},
    {"scheduler.params.warmup_num_steps", WHOLE, "lr-warmup-steps", 1},
    {"scheduler.params.total_num_steps", WHOLE, "steps", 1},
    {"scheduler.params.cos_min_ratio", NUMBER, "lr-min-ratio", 1},
    {"scheduler.params.warmup_type", WARMUP_SHAPE, NULL, 0},
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* What an option is, as text. */
static void show_value(const aios_options *options, const char *name, char text[128])
{
    static const char *const stages[] = {"none", "zero1", "zero2", "zero3"};
    const char *string;
    int64_t integer;
    double number = 0;
    if (aios_options_get_string(options, name, &string) == AIOS_OK) {
        if (strcmp(name, "zero-stage") == 0 && *string >= '0' && *string <= '3') string = stages[*string - '0'];
        (void)snprintf(text, 128, "%s", string);
    } else if (aios_options_get_int(options, name, &integer) == AIOS_OK) {
        (void)snprintf(text, 128, "%lld", (long long)integer);
    } else {
        (void)aios_options_get_float(options, name, &number);
        text_from_double(number, text);
    }
    aios_error_clear();
}

static aios_status set_text(struct reader *r, const char *path, const char *option, const char *text)
{
    char was[128], is[128];
    show_value(r->given, option, was);
    TRY(aios_options_set(r->options, option, text), "%s: %s", r->file, path);
    show_value(r->options, option, is);
    if (!aios_options_is_set(r->given, option) || strcmp(was, is) == 0) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "option %s is %s, and %s of zero-config %s makes it %s: set one of them", option, was, path, r->file,
                is);
}

static aios_status wrong(const struct reader *r, const char *path, const json_t *value, const char *right)
{
    char *text;
    TRY_QUIET(json_to_text(r->context, value, JSON_TEXT_COMPACT, &text, NULL));
    aios_status status = FAIL(AIOS_INVALID_ARGUMENT, "%s: %s is %.100s: it must be %s or \"auto\"", r->file, path, text, right);
    aios_memory_free(r->context, text);
    return status;
}

static aios_status set_number(struct reader *r, const char *path, const char *option, double value)
{
    char text[TEXT_DOUBLE_MAX];
    text_from_double(value, text);
    return set_text(r, path, option, text);
}

static aios_status take_number(struct reader *r, const struct key *key, const json_t *value)
{
    double number = json_number_value(value);
    if (!json_is_number(value)) return wrong(r, key->path, value, "a number");
    if (key->action != NUMBER && number != floor(number)) return wrong(r, key->path, value, "a whole number");
    return set_number(r, key->path, key->option, number * key->factor);
}

/* ---- one key ----------------------------------------------------------------------------------------------------- */

static aios_status take_stage(struct reader *r, const struct key *key, const json_t *value)
{
    static const char *const stages[] = {"none", "zero1", "zero2", "zero3"};
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 3)
        return wrong(r, key->path, value, "0, 1, 2 or 3");
    return set_text(r, key->path, key->option, stages[json_integer_value(value)]);
}

static aios_status take_switch(const struct reader *r, const struct key *key, const json_t *value, int *on)
{
    if (!json_is_boolean(value)) return wrong(r, key->path, value, "true or false");
    *on = json_is_true(value);
    return AIOS_OK;
}

/* One size for both ways: the buckets of weights are those of gradients. */
static aios_status take_bucket(struct reader *r, const struct key *key, const json_t *value)
{
    double elements = json_number_value(value);
    if (!json_is_number(value) || !(elements > 0)) return wrong(r, key->path, value, "a number of elements above 0");
    if (r->bucket > 0 && r->bucket != elements)
        return FAIL(AIOS_UNSUPPORTED,
                    "%s: reduce_bucket_size and allgather_bucket_size differ (%g and %g): gradients and weights have the same "
                    "buckets",
                    r->file, r->bucket, elements);
    r->bucket = elements;
    return set_number(r, key->path, key->option, elements * 4 / 1048576.0);
}

static aios_status take_betas(struct reader *r, const struct key *key, const json_t *value)
{
    if (!json_is_array(value) || json_array_size(value) != 2 || !json_is_number(json_array_get(value, 0)) ||
        !json_is_number(json_array_get(value, 1)))
        return wrong(r, key->path, value, "two numbers");
    TRY_QUIET(set_number(r, key->path, "beta1", json_number_value(json_array_get(value, 0))));
    return set_number(r, key->path, "beta2", json_number_value(json_array_get(value, 1)));
}

/* The rate stands in two places, and must be the same. */
static aios_status take_rate(struct reader *r, const struct key *key, const json_t *value)
{
    const json_t **own = key->action == RATE ? &r->lr : &r->max_lr, *other = key->action == RATE ? r->max_lr : r->lr;
    if (!json_is_number(value)) return wrong(r, key->path, value, "a number");
    *own = value;
    if (other && json_number_value(other) != json_number_value(value))
        return FAIL(AIOS_INVALID_ARGUMENT, "%s: optimizer.params.lr is %g and scheduler.params.warmup_max_lr %g: set one of them", r->file,
                    json_number_value(r->lr), json_number_value(r->max_lr));
    return set_number(r, key->path, key->option, json_number_value(value));
}

static aios_status take_optimizer(struct reader *r, const struct key *key, const json_t *value)
{
    const char *type = json_string_value(value);
    if (type && (strcmp(type, "Adam") == 0 || strcmp(type, "AdamW") == 0)) return set_text(r, key->path, key->option, "adamw");
    return FAIL(AIOS_UNSUPPORTED, "%s: optimizer.type is %s: Adam and AdamW are known, both of which are AdamW", r->file,
                type ? type : "no text");
}

static aios_status take_schedule(struct reader *r, const struct key *key, const json_t *value)
{
    static const struct {
        const char *type, *schedule, *ratio;
    } known[] = {{"WarmupLR", "constant", NULL}, {"WarmupDecayLR", "linear", "0"}, {"WarmupCosineLR", "cosine", NULL}};
    const char *type = json_string_value(value);
    for (size_t i = 0; type && i < COUNT_OF(known); i++) {
        if (strcmp(known[i].type, type) != 0) continue;
        if (known[i].ratio) TRY_QUIET(set_text(r, key->path, "lr-min-ratio", known[i].ratio));
        return set_text(r, key->path, "lr-schedule", known[i].schedule);
    }
    return FAIL(AIOS_UNSUPPORTED, "%s: scheduler.type is %s: WarmupLR, WarmupDecayLR and WarmupCosineLR are known", r->file,
                type ? type : "no text");
}

static aios_status take_warmup_shape(const struct reader *r, const json_t *value)
{
    const char *shape = json_string_value(value);
    if (shape && strcmp(shape, "linear") == 0) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "%s: scheduler.params.warmup_type is %s: the learning rate rises linearly (\"linear\")", r->file,
                shape ? shape : "no text");
}

static aios_status take_must(const struct reader *r, const struct key *key, const json_t *value)
{
    double is = json_is_boolean(value) ? (double)json_is_true(value) : json_number_value(value);
    if (!json_is_boolean(value) && !json_is_number(value)) return wrong(r, key->path, value, "a number, true or false");
    if (is == key->factor) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "%s: %s is %g: only %g can be honoured", r->file, key->path, is, key->factor);
}

static void warn(const struct reader *r, const char *path, const char *why)
{
    aios_log(r->context, AIOS_LOG_WARNING, "zero-config %s: %s %s", r->file, path, why);
}

static aios_status take(struct reader *r, const struct key *key, const json_t *value)
{
    int on = 0;
    switch (key->action) {
    case NUMBER:
    case WHOLE: return take_number(r, key, value);
    case SWITCH: TRY_QUIET(take_switch(r, key, value, &on)); return set_text(r, key->path, key->option, on ? "on" : "off");
    case STAGE: return take_stage(r, key, value);
    case FP16: return take_switch(r, key, value, &r->fp16);
    case BF16: return take_switch(r, key, value, &r->bf16);
    case POWER:
    case FP16_ONLY: return AIOS_OK; /* take_scaler */
    case BUCKET: return take_bucket(r, key, value);
    case BETAS: return take_betas(r, key, value);
    case RATE:
    case MAX_RATE: return take_rate(r, key, value);
    case OPTIMIZER: return take_optimizer(r, key, value);
    case SCHEDULE: return take_schedule(r, key, value);
    case WARMUP_SHAPE: return take_warmup_shape(r, value);
    case MUST: return take_must(r, key, value);
    case HINT: warn(r, key->path, "has no counterpart here and is not read"); return AIOS_OK;
    }
    return AIOS_OK;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static int is_auto(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), "auto") == 0;
}

static int is_offload(const char *path)
{
    return strcmp(path, "zero_optimization.offload_optimizer") == 0 || strcmp(path, "zero_optimization.offload_param") == 0;
}

static aios_status check_offload(const struct reader *r, const char *path, const json_t *value)
{
    const char *device = json_string_value(json_object_get(value, "device"));
    if (device && strcmp(device, "none") == 0) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED,
                "%s: %s asks for memory outside the device (%s), which libaios does not do: remove it, or set its device to "
                "\"none\"",
                r->file, path, device ? device : "no device");
}

/* Every member of an object, and of objects in it. */
static aios_status walk(struct reader *r, const json_t *object, const char *prefix)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
        char path[PATH_ROOM];
        const struct key *known = NULL;
        if (snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", name) >= (int)sizeof path)
            return FAIL(AIOS_CORRUPT, "%s: a key has over %d bytes", r->file, PATH_ROOM - 1);
        for (size_t i = 0; i < COUNT_OF(keys) && !known; i++)
            if (strcmp(keys[i].path, path) == 0) known = &keys[i];
        if (is_offload(path))
            TRY_QUIET(check_offload(r, path, value));
        else if (known && !is_auto(value))
            TRY_QUIET(take(r, known, value));
        else if (!known && json_is_object(value))
            TRY_QUIET(walk(r, value, path));
        else if (!known)
            warn(r, path, "is not known and not read");
    }
    return AIOS_OK;
}

/* fp16 and bf16, and what is for a scaler alone. */
static aios_status take_precision(struct reader *r, const json_t *file)
{
    const json_t *fp16 = json_object_get(file, "fp16"), *power = json_object_get(fp16, "initial_scale_power"),
                 *window = json_object_get(fp16, "loss_scale_window");
    if (r->fp16 && r->bf16) return FAIL(AIOS_INVALID_ARGUMENT, "%s: fp16.enabled and bf16.enabled are both true: choose one", r->file);
    if (r->bf16) return set_text(r, "bf16.enabled", "precision", "bf16-mixed");
    if (!r->fp16) return AIOS_OK;
    TRY_QUIET(set_text(r, "fp16.enabled", "precision", "16-mixed"));
    if (power && !is_auto(power)) {
        if (!json_is_integer(power) || json_integer_value(power) < 0 || json_integer_value(power) > 24)
            return wrong(r, "fp16.initial_scale_power", power, "a whole number from 0 to 24");
        TRY_QUIET(set_number(r, "fp16.initial_scale_power", "loss-scale", ldexp(1, (int)json_integer_value(power))));
    }
    if (!window || is_auto(window)) return AIOS_OK;
    return take_number(r, &(struct key){"fp16.loss_scale_window", WHOLE, "loss-scale-growth-interval", 1}, window);
}

static aios_status apply(struct reader *r)
{
    json_t *file;
    TRY(json_read_file(r->context, r->file, NULL, &file), "option zero-config");
    aios_status status = json_is_object(file) ? walk(r, file, "") : FAIL(AIOS_CORRUPT, "%s is no JSON object", r->file);
    if (status == AIOS_OK) status = take_precision(r, file);
    json_decref(file);
    return status;
}

aios_status zero_config_options(aios_context *context, const aios_options *given, aios_options **options)
{
    struct reader r = {.context = context, .given = given};
    TRY_QUIET(aios_options_copy(context, given, AIOS_SCOPE_TRAIN, options));
    r.options = *options;
    aios_status status = aios_options_get_string(given, "zero-config", &r.file);
    if (status == AIOS_OK && *r.file) status = apply(&r);
    if (status == AIOS_OK) return status;
    aios_options_destroy(*options);
    *options = NULL;
    return status;
}
