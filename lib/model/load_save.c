/* A model's parameters to and from a folder of safetensors. */
#include "base/float_scope.h"
#include "model.h"
#include "weights_file.h"

#include "base/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)1 << 18)

/* ---- how a folder spells ----------------------------------------------------------------------------------------- */

static int has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static const char *without_prefix(const char *prefix, const char *name)
{
    return has_prefix(name, prefix) ? name + strlen(prefix) : name;
}

/* What the names of a folder begin with. */
static const char *find_prefix(const weights_file *weights)
{
    static const char *const prefixes[] = {"transformer.", "_orig_mod."}; /* Hugging Face's; what torch.compile puts before all names */
    for (size_t i = 0; i < weights_count(weights); i++)
        for (size_t k = 0; k < COUNT_OF(prefixes); k++)
            if (has_prefix(weights_get(weights, i)->name, prefixes[k])) return prefixes[k];
    return "";
}

static aios_status check_mask(const safetensors_tensor *t)
{
    int64_t n = t->rank == 4 ? t->shape[3] : 0;
    if (t->rank == 4 && t->shape[0] == 1 && t->shape[1] == 1 && t->shape[2] == n && n > 0) return AIOS_OK;
    return FAIL(AIOS_CORRUPT, "mask '%s' must have the shape (1, 1, n, n)", t->name);
}

static aios_status add_extra(aios_model *model, const safetensors_tensor *t)
{
    struct weights_layout *layout = &model->layout;
    struct extra_tensor extra = {.dtype = t->dtype, .rank = t->rank};
    if (!model->architecture->extra(without_prefix(layout->prefix, t->name), &extra)) return AIOS_OK;
    (void)snprintf(extra.name, sizeof extra.name, "%s", t->name);
    memcpy(extra.shape, t->shape, sizeof extra.shape);
    if (extra.kind == EXTRA_MASK) TRY_QUIET(check_mask(t));
    if (extra.kind == EXTRA_VALUE) {
        if (t->bytes > sizeof extra.value)
            return FAIL(AIOS_CORRUPT, "'%s' has %llu bytes: one number is expected", t->name, (unsigned long long)t->bytes);
        memcpy(extra.value, t->data, t->bytes);
    }
    TRY_QUIET(aios_memory_grow(model->context, (void **)&layout->extras, &layout->extra_capacity, layout->extra_count + 1,
                               sizeof *layout->extras));
    layout->extras[layout->extra_count++] = extra;
    return AIOS_OK;
}

static aios_status keep_metadata(aios_model *model, const weights_file *weights)
{
    struct weights_layout *layout = &model->layout;
    size_t count;
    const safetensors_entry *entries = weights_metadata(weights, &count);
    if (!count) return AIOS_OK;
    layout->metadata = aios_memory_array(model->context, count, sizeof *layout->metadata);
    if (!layout->metadata) return AIOS_OUT_OF_MEMORY;
    for (; layout->metadata_count < count; layout->metadata_count++) {
        safetensors_entry *kept = &layout->metadata[layout->metadata_count];
        char *key = aios_memory_strdup(model->context, entries[layout->metadata_count].key);
        char *value = aios_memory_strdup(model->context, entries[layout->metadata_count].value);
        *kept = (safetensors_entry){key, value};
        if (key && value) continue;
        aios_memory_free(model->context, key);
        aios_memory_free(model->context, value);
        return AIOS_OUT_OF_MEMORY;
    }
    return AIOS_OK;
}

void layout_free(aios_context *context, struct weights_layout *layout)
{
    for (size_t i = 0; i < layout->metadata_count; i++) {
        aios_memory_free(context, (void *)(uintptr_t)layout->metadata[i].key);
        aios_memory_free(context, (void *)(uintptr_t)layout->metadata[i].value);
    }
    aios_memory_free(context, layout->metadata);
    aios_memory_free(context, layout->extras);
}

aios_status layout_read(aios_model *model, const char *folder)
{
    aios_status status = AIOS_OK;
    weights_file *weights = NULL;
    char path[OS_PATH_MAX];
    static const char *const files[] = {"model.safetensors", "model.safetensors.index.json"};
    int found = 0;
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        TRY_QUIET(os_path_join(path, folder, files[i]));
        found |= os_path_kind(path) == OS_FILE;
    }
    if (!found) return AIOS_OK;
    ATTEMPT_QUIET(weights_open(model->context, folder, &weights));
    (void)snprintf(model->layout.prefix, sizeof model->layout.prefix, "%s", find_prefix(weights));
    for (size_t i = 0; i < weights_count(weights); i++) ATTEMPT_QUIET(add_extra(model, weights_get(weights, i)));
    ATTEMPT_QUIET(keep_metadata(model, weights));
done:
    weights_close(weights);
    return status;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static aios_status load_one(aios_parameters *parameters, const weights_file *weights, const char *prefix, const aios_parameter_info *info,
                            aios_context *context)
{
    aios_status status = AIOS_OK;
    const safetensors_tensor *tensor;
    int64_t shape[AIOS_RANK_MAX];
    char name[192];
    for (int32_t i = 0; i < info->rank; i++) shape[i] = info->shape[i];
    (void)snprintf(name, sizeof name, "%s%s", prefix, info->name);
    TRY_QUIET(weights_require(weights, name, info->rank, shape, &tensor));
    if (!element_is_float(tensor->dtype))
        return FAIL(AIOS_CORRUPT, "'%s' has type %s: it must hold floating-point numbers", name, element_name(tensor->dtype));
    float *values = aios_memory_array(context, info->count, sizeof *values);
    if (!values) return AIOS_OUT_OF_MEMORY;
    (void)elements_to_f32(tensor->dtype, tensor->data, values, info->count);
    ATTEMPT_QUIET(aios_parameters_write(parameters, info->name, AIOS_VALUE, values, info->count));
done:
    aios_memory_free(context, values);
    return status;
}

static aios_status check_tied(const weights_file *weights, const char *prefix, const safetensors_tensor *t,
                              const struct extra_tensor *extra)
{
    char source[192];
    (void)snprintf(source, sizeof source, "%s%s", prefix, extra->source);
    const safetensors_tensor *tied = weights_find(weights, source);
    if (tied && tied->dtype == t->dtype && tied->bytes == t->bytes && memcmp(tied->data, t->data, t->bytes) == 0) return AIOS_OK;
    return FAIL(AIOS_UNSUPPORTED, "'%s' differs from '%s': libaios ties the head to the embedding", t->name, source);
}

static int is_parameter(aios_parameters *parameters, const char *name)
{
    for (uint32_t i = 0; i < aios_parameters_count(parameters); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        if (aios_parameters_info(parameters, i, &info) == AIOS_OK && strcmp(info.name, name) == 0) return 1;
    }
    return 0;
}

/* Everything in the folder must be known: a stray tensor means that this is another model. */
static aios_status check_strays(const aios_model *model, aios_parameters *parameters, const weights_file *weights, const char *prefix)
{
    for (size_t i = 0; i < weights_count(weights); i++) {
        const safetensors_tensor *t = weights_get(weights, i);
        const char *name = without_prefix(prefix, t->name);
        struct extra_tensor extra = {.kind = EXTRA_VALUE};
        if (model->architecture && model->architecture->extra(name, &extra)) {
            if (extra.kind == EXTRA_TIED) TRY_QUIET(check_tied(weights, prefix, t, &extra));
        } else if (!is_parameter(parameters, name)) {
            return FAIL(AIOS_CORRUPT, "tensor '%s' is none of the %s model's", t->name, model->name);
        }
    }
    return AIOS_OK;
}

aios_status aios_model_load_weights(const aios_model *model, aios_parameters *parameters, const char *folder)
{
    FLOAT_SCOPE;
    aios_status status = AIOS_OK;
    weights_file *weights = NULL;
    if (!model || !parameters || !folder)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_load_weights: model, parameters and folder must not be NULL");
    ATTEMPT_QUIET(weights_open(model->context, folder, &weights));
    const char *prefix = model->architecture ? find_prefix(weights) : "";
    ATTEMPT(check_strays(model, parameters, weights, prefix), "loading weights from %s", folder);
    for (uint32_t i = 0; i < aios_parameters_count(parameters); i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        ATTEMPT_QUIET(aios_parameters_info(parameters, i, &info));
        ATTEMPT(load_one(parameters, weights, prefix, &info, model->context), "loading weights from %s", folder);
    }
done:
    weights_close(weights);
    return status;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

struct saved {
    const char *parameter; /* NULL: an extra */
    const struct extra_tensor *extra;
    char name[192];
};

struct saver {
    const aios_model *model;
    aios_parameters *parameters;
    struct saved *items;
    safetensors_tensor *tensors;
    size_t count;
};

static void add_item(struct saver *s, const char *parameter, const struct extra_tensor *extra, const safetensors_tensor *shape)
{
    struct saved *item = &s->items[s->count];
    item->parameter = parameter;
    item->extra = extra;
    (void)snprintf(item->name, sizeof item->name, "%s%s", extra ? "" : s->model->layout.prefix, extra ? extra->name : parameter);
    s->tensors[s->count] = *shape;
    s->tensors[s->count].name = item->name;
    s->count++;
}

/* transformers lists a block's masks before its attention weights, and the head last. */
static void add_extras(struct saver *s, const char *parameter)
{
    for (size_t i = 0; i < s->model->layout.extra_count; i++) {
        const struct extra_tensor *extra = &s->model->layout.extras[i];
        const char *name = without_prefix(s->model->layout.prefix, extra->name);
        const char *dot = strstr(name, "attn.");
        int here = parameter ? dot && strstr(parameter, "attn.c_attn.weight") && strncmp(parameter, name, (size_t)(dot - name)) == 0 &&
                                   parameter[dot - name] == 'a'
                             : !dot;
        safetensors_tensor shape = {.dtype = extra->dtype, .rank = extra->rank};
        memcpy(shape.shape, extra->shape, sizeof shape.shape);
        if (here) add_item(s, NULL, extra, &shape);
    }
}

static aios_status list_items(struct saver *s, int element)
{
    uint32_t count = aios_parameters_count(s->parameters);
    size_t most = count + s->model->layout.extra_count + 1;
    s->items = aios_memory_array(s->model->context, most, sizeof *s->items);
    s->tensors = aios_memory_array(s->model->context, most, sizeof *s->tensors);
    if (!s->items || !s->tensors) return AIOS_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        aios_parameter_info info = {.struct_size = sizeof info};
        safetensors_tensor shape = {.dtype = element};
        TRY_QUIET(aios_parameters_info(s->parameters, i, &info));
        shape.rank = info.rank;
        for (int32_t k = 0; k < info.rank; k++) shape.shape[k] = info.shape[k];
        add_extras(s, info.name);
        add_item(s, info.name, NULL, &shape);
    }
    add_extras(s, NULL);
    return AIOS_OK;
}

static aios_status write_parameter(struct saver *s, weights_writer *writer, const char *name, int element, uint64_t count)
{
    aios_status status = AIOS_OK;
    float *values = aios_memory_array(s->model->context, count, sizeof *values);
    unsigned char *piece = aios_memory_alloc(s->model->context, PIECE * 4);
    if (!values || !piece) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    ATTEMPT_QUIET(aios_parameters_read(s->parameters, name, AIOS_VALUE, values, count));
    for (uint64_t at = 0; at < count; at += PIECE) {
        size_t part = count - at < PIECE ? (size_t)(count - at) : PIECE;
        (void)elements_from_f32(element, values + at, piece, part);
        ATTEMPT_QUIET(weights_writer_write(writer, piece, part * element_size(element)));
    }
done:
    aios_memory_free(s->model->context, values);
    aios_memory_free(s->model->context, piece);
    return status;
}

/* One row of a causal mask at a time. */
static aios_status write_mask(struct saver *s, weights_writer *writer, const struct extra_tensor *extra)
{
    aios_status status = AIOS_OK;
    size_t n = (size_t)extra->shape[3], size = element_size(extra->dtype);
    unsigned char *row = aios_memory_zalloc(s->model->context, n * size);
    float one = 1.0f;
    unsigned char unit[8] = {1}; /* of the integer types */
    if (!row) return AIOS_OUT_OF_MEMORY;
    if (element_is_float(extra->dtype)) (void)elements_from_f32(extra->dtype, &one, unit, 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(row + i * size, unit, size);
        ATTEMPT_QUIET(weights_writer_write(writer, row, n * size));
    }
done:
    aios_memory_free(s->model->context, row);
    return status;
}

static aios_status write_item(struct saver *s, weights_writer *writer, size_t index)
{
    const struct saved *item = &s->items[index];
    const safetensors_tensor *t = &s->tensors[index];
    uint64_t bytes;
    TRY_QUIET(safetensors_tensor_bytes(t, &bytes));
    if (item->parameter) return write_parameter(s, writer, item->parameter, t->dtype, bytes / element_size(t->dtype));
    switch (item->extra->kind) {
    case EXTRA_TIED: return write_parameter(s, writer, item->extra->source, t->dtype, bytes / element_size(t->dtype));
    case EXTRA_MASK: return write_mask(s, writer, item->extra);
    case EXTRA_VALUE: break;
    }
    return weights_writer_write(writer, item->extra->value, bytes);
}

aios_status aios_model_save_weights(const aios_model *model, aios_parameters *parameters, const char *folder, int32_t type,
                                    uint64_t max_shard_size)
{
    FLOAT_SCOPE;
    aios_status status = AIOS_OK;
    struct saver s = {.model = model, .parameters = parameters};
    weights_writer *writer = NULL;
    char path[OS_PATH_MAX];
    if (!model || !parameters || !folder)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_model_save_weights: model, parameters and folder must not be NULL");
    int element = element_of_storage(type);
    if (element < 0 || !element_is_float(element))
        return FAIL(AIOS_INVALID_ARGUMENT, "weights can't be saved as type %d: AIOS_F32, AIOS_BF16 and AIOS_F16 are allowed", type);
    TRY_QUIET(os_path_join(path, folder, "config.json"));
    ATTEMPT(list_items(&s, element), "saving weights to %s", folder);
    ATTEMPT_QUIET(weights_writer_begin(model->context, folder, s.tensors, s.count, model->layout.metadata, model->layout.metadata_count,
                                       max_shard_size, &writer));
    for (size_t next; (next = weights_writer_next(writer)) != SAFETENSORS_END;)
        ATTEMPT(write_item(&s, writer, next), "saving %s", s.items[next].name);
    status = weights_writer_finish(writer);
    writer = NULL;
    if (status != AIOS_OK) goto done;
    ATTEMPT(os_file_replace(path, model->config, strlen(model->config)), "saving weights to %s", folder);
done:
    weights_writer_abort(writer);
    aios_memory_free(model->context, s.items);
    aios_memory_free(model->context, s.tensors);
    return status;
}
