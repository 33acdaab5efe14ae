/* Checkpoints on disk become one: the weighted mean of their weights, a tensor at a time. */
#include "checkpoint.h"
#include "checkpoint_folder.h"
#include "model/weights_file.h"

#include "base/context.h"
#include "base/float_scope.h"
#include "base/json.h"
#include "base/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PATH_ROOM OS_PATH_MAX
#define TILE      4096       /* elements that are summed at a time */
#define FILE_MOST (1u << 30) /* bytes of a tokenizer's file */

/* What is taken from the first checkpoint as it is, where it has it. */
static const char *const copied[] = {"config.json", "generation_config.json",  "tokenizer.json",   "tokenizer_config.json", "vocab.json",
                                     "merges.txt",  "special_tokens_map.json", "added_tokens.json"};

struct input {
    const char *folder;
    weights_file *file;
    double weight;
    int left_out;
};

struct merging {
    aios_context *context;
    struct input *inputs;
    uint32_t count;
    double total; /* of the weights that count */
    float *tile;
};

static const struct input *first_of(const struct merging *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (!m->inputs[i].left_out) return &m->inputs[i];
    return NULL;
}

static const struct input *heaviest_of(const struct merging *m)
{
    const struct input *heaviest = first_of(m);
    for (uint32_t i = 0; i < m->count; i++)
        if (!m->inputs[i].left_out && m->inputs[i].weight > heaviest->weight) heaviest = &m->inputs[i];
    return heaviest;
}

/* ---- what fits together ------------------------------------------------------------------------------------------ */

static aios_status check_tensors(const struct merging *m, const struct input *other)
{
    const weights_file *file = m->inputs[0].file;
    if (weights_count(file) != weights_count(other->file))
        return FAIL(AIOS_INVALID_ARGUMENT, "%s has %zu tensors and %s has %zu: only checkpoints of one model can be merged",
                    m->inputs[0].folder, weights_count(file), other->folder, weights_count(other->file));
    for (size_t i = 0; i < weights_count(file); i++) {
        const safetensors_tensor *a = weights_get(file, i), *b;
        TRY(weights_require(other->file, a->name, a->rank, a->shape, &b), "merging it with %s", m->inputs[0].folder);
        if (element_is_float(a->dtype) != element_is_float(b->dtype) || (!element_is_float(a->dtype) && a->dtype != b->dtype))
            return FAIL(AIOS_INVALID_ARGUMENT, "tensor %s is %s in %s and %s in %s", a->name, element_name(a->dtype), m->inputs[0].folder,
                        element_name(b->dtype), other->folder);
    }
    return AIOS_OK;
}

/* Numbers, truths and the kind of model; names of files and versions may differ. */
static aios_status check_config(aios_context *context, const char *folder, const char *other)
{
    aios_status status = AIOS_OK;
    json_t *a = NULL, *b = NULL, *value;
    const char *key;
    char path[PATH_ROOM];
    ATTEMPT_QUIET(os_path_join(path, folder, "config.json"));
    ATTEMPT_QUIET(json_read_file(context, path, NULL, &a));
    ATTEMPT_QUIET(os_path_join(path, other, "config.json"));
    ATTEMPT_QUIET(json_read_file(context, path, NULL, &b));
    json_object_foreach (a, key, value) {
        int counts = json_is_number(value) || json_is_boolean(value) || strcmp(key, "model_type") == 0;
        if (!counts || json_equal(value, json_object_get(b, key))) continue;
        status = FAIL(AIOS_INVALID_ARGUMENT, "\"%s\" in config.json of %s and of %s differ: only checkpoints of one model can be merged",
                      key, folder, other);
        break;
    }
done:
    json_decref(a);
    json_decref(b);
    return status;
}

/* Tokens that a checkpoint was trained on; 0 where it does not say. */
static int64_t tokens_of(aios_context *context, const char *folder)
{
    char path[PATH_ROOM];
    json_t *state = NULL;
    int64_t tokens = 0;
    aios_error_record record;
    aios_error_save(&record);
    if (os_path_join(path, folder, CHECKPOINT_STATE) == AIOS_OK && os_path_kind(path) == OS_FILE &&
        json_read_file(context, path, NULL, &state) == AIOS_OK)
        (void)json_get_int_or(state, "tokens", 0, 0, INT64_MAX, &tokens);
    json_decref(state);
    (void)aios_error_restore(&record);
    return tokens;
}

static aios_status is_finite(struct merging *m, struct input *input)
{
    for (size_t i = 0; i < weights_count(input->file); i++) {
        const safetensors_tensor *x = weights_get(input->file, i);
        size_t size = element_size(x->dtype);
        uint64_t count = x->bytes / size;
        if (!element_is_float(x->dtype)) continue;
        for (uint64_t at = 0; at < count; at += TILE) {
            size_t n = count - at < TILE ? (size_t)(count - at) : TILE;
            (void)elements_to_f32(x->dtype, (const char *)x->data + at * size, m->tile, n);
            for (size_t k = 0; k < n; k++)
                if (!isfinite(m->tile[k])) {
                    input->left_out = 1;
                    aios_log(m->context, AIOS_LOG_WARNING, "%s is left out of the merge: tensor %s has a value that is not finite",
                             input->folder, x->name);
                    return AIOS_OK;
                }
        }
    }
    return AIOS_OK;
}

static aios_status open_inputs(struct merging *m, const aios_merge_options *o)
{
    int by_tokens = 1;
    for (uint32_t i = 0; i < m->count; i++) {
        struct input *input = &m->inputs[i];
        input->folder = o->folders[i];
        TRY_QUIET(weights_open(m->context, input->folder, &input->file));
        if (i > 0) {
            TRY_QUIET(check_config(m->context, o->folders[0], input->folder));
            TRY_QUIET(check_tensors(m, input));
        }
        TRY_QUIET(is_finite(m, input));
        input->weight = o->weights ? o->weights[i] : (double)tokens_of(m->context, input->folder);
        if (o->weights && !(isfinite(input->weight) && input->weight >= 0))
            return FAIL(AIOS_INVALID_ARGUMENT, "the weight of %s is %g: it must be a number from 0 up", input->folder, input->weight);
        by_tokens &= o->weights || input->weight > 0;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        if (!by_tokens) m->inputs[i].weight = 1;
        if (!m->inputs[i].left_out) m->total += m->inputs[i].weight;
    }
    if (!first_of(m)) return FAIL(AIOS_NOT_FINITE, "no checkpoint has finite weights: nothing is left to merge");
    if (!(m->total > 0)) return FAIL(AIOS_INVALID_ARGUMENT, "the weights of what is merged sum to 0");
    if (!by_tokens) aios_log(m->context, AIOS_LOG_INFO, "not every checkpoint says how many tokens it was trained on: all count alike");
    return AIOS_OK;
}

/* ---- the mean ---------------------------------------------------------------------------------------------------- */

static void mean_of(const struct merging *m, const safetensors_tensor *as, char *to)
{
    double sums[TILE];
    size_t size = element_size(as->dtype);
    uint64_t count = as->bytes / size;
    for (uint64_t at = 0; at < count; at += TILE) {
        size_t n = count - at < TILE ? (size_t)(count - at) : TILE;
        memset(sums, 0, sizeof sums);
        for (uint32_t i = 0; i < m->count; i++) {
            const struct input *input = &m->inputs[i];
            if (input->left_out || input->weight == 0) continue;
            const safetensors_tensor *x = weights_find(input->file, as->name);
            (void)elements_to_f32(x->dtype, (const char *)x->data + at * element_size(x->dtype), m->tile, n);
            for (size_t k = 0; k < n; k++) sums[k] += input->weight / m->total * (double)m->tile[k];
        }
        for (size_t k = 0; k < n; k++) m->tile[k] = (float)sums[k];
        (void)elements_from_f32(as->dtype == ELEMENT_F64 ? ELEMENT_F32 : as->dtype, m->tile, to + at * size, n);
    }
}

/* Whole numbers (masks, counters) have no mean: they are the heaviest checkpoint's. */
static aios_status write_whole(const struct merging *m, const safetensors_tensor *as, weights_writer *writer)
{
    const struct input *heaviest = heaviest_of(m);
    const safetensors_tensor *kept = weights_find(heaviest->file, as->name);
    for (uint32_t i = 0; i < m->count; i++) {
        const safetensors_tensor *x = weights_find(m->inputs[i].file, as->name);
        if (m->inputs[i].left_out || memcmp(x->data, kept->data, (size_t)kept->bytes) == 0) continue;
        aios_log(m->context, AIOS_LOG_WARNING, "tensor %s has whole numbers, which differ: those of %s are kept", as->name,
                 heaviest->folder);
        break;
    }
    return weights_writer_write(writer, kept->data, (size_t)kept->bytes);
}

static aios_status write_weights(const struct merging *m, const char *folder)
{
    aios_status status = AIOS_OK;
    const weights_file *file = first_of(m)->file;
    size_t count = weights_count(file), entries;
    const safetensors_entry *metadata = weights_metadata(file, &entries);
    weights_writer *writer = NULL;
    safetensors_tensor *list = aios_memory_array(m->context, count, sizeof *list);
    char *values = NULL;
    if (!list) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        list[i] = *weights_get(file, i);
        if (list[i].dtype == ELEMENT_F64) list[i].dtype = ELEMENT_F32;
    }
    ATTEMPT_QUIET(weights_writer_begin(m->context, folder, list, count, metadata, entries, 0, &writer));
    for (size_t next; (next = weights_writer_next(writer)) != SAFETENSORS_END;) {
        const safetensors_tensor *x = weights_get(file, next);
        if (!element_is_float(x->dtype)) {
            ATTEMPT_QUIET(write_whole(m, x, writer));
            continue;
        }
        values = aios_memory_alloc(m->context, (size_t)x->bytes ? (size_t)x->bytes : 1);
        if (!values) {
            status = AIOS_OUT_OF_MEMORY;
            goto done;
        }
        mean_of(m, x, values);
        ATTEMPT_QUIET(weights_writer_write(writer, values, (size_t)(x->bytes / element_size(x->dtype) * element_size(list[next].dtype))));
        aios_memory_free(m->context, values);
        values = NULL;
    }
    status = weights_writer_finish(writer);
    writer = NULL;
done:
    weights_writer_abort(writer);
    aios_memory_free(m->context, values);
    aios_memory_free(m->context, list);
    return status;
}

static aios_status copy_files(const struct merging *m, checkpoint_writer *writer)
{
    for (size_t i = 0; i < COUNT_OF(copied); i++) {
        char path[PATH_ROOM], *bytes = NULL;
        size_t size;
        TRY_QUIET(os_path_join(path, first_of(m)->folder, copied[i]));
        if (os_path_kind(path) != OS_FILE) continue;
        TRY_QUIET(os_file_read_all(m->context, path, FILE_MOST, &bytes, &size));
        aios_status status = checkpoint_writer_put(writer, copied[i], bytes, size);
        aios_memory_free(m->context, bytes);
        TRY_QUIET(status);
    }
    return AIOS_OK;
}

/* ---- whole ------------------------------------------------------------------------------------------------------- */

/* The folder that the output lies in, and its own name. */
static aios_status split(const char *output, char parent[PATH_ROOM], char name[CHECKPOINT_NAME_MAX])
{
    size_t length = strlen(output);
    while (length > 1 && output[length - 1] == '/') length--;
    size_t slash = length;
    while (slash > 0 && output[slash - 1] != '/') slash--;
    if (length == slash || length - slash >= CHECKPOINT_NAME_MAX || length >= PATH_ROOM)
        return FAIL(AIOS_INVALID_ARGUMENT, "output is \"%.80s\": it must end in a name of at most %d bytes", output,
                    CHECKPOINT_NAME_MAX - 1);
    (void)snprintf(name, CHECKPOINT_NAME_MAX, "%.*s", (int)(length - slash), output + slash);
    (void)snprintf(parent, PATH_ROOM, "%.*s", slash ? (int)slash : 1, slash ? output : ".");
    return AIOS_OK;
}

static aios_status write_output(struct merging *m, const char *output)
{
    char parent[PATH_ROOM], name[CHECKPOINT_NAME_MAX];
    checkpoint_writer *writer = NULL;
    aios_status status = AIOS_OK;
    unsigned long long step = 0;
    TRY_QUIET(split(output, parent, name));
    if (os_path_kind(output) != OS_NOTHING) return FAIL(AIOS_ALREADY_EXISTS, "%s is there already: name a folder that is not", output);
    (void)sscanf(name, "step-%llu", &step);
    ATTEMPT_QUIET(checkpoint_begin(m->context, parent, name, (uint64_t)step, &writer));
    ATTEMPT_QUIET(copy_files(m, writer));
    ATTEMPT_QUIET(write_weights(m, checkpoint_writer_path(writer)));
    status = checkpoint_commit(writer);
    writer = NULL;
done:
    checkpoint_abort(writer);
    return status;
}

void aios_merge_options_init(aios_merge_options *options)
{
    if (options) *options = (aios_merge_options)AIOS_MERGE_OPTIONS_INIT;
}

aios_status aios_merge_checkpoints(aios_context *context, const aios_merge_options *options)
{
    FLOAT_SCOPE;
    if (!context || !options) return FAIL(AIOS_INVALID_ARGUMENT, "aios_merge_checkpoints: context and options must not be NULL");
    if (options->struct_size < sizeof *options)
        return FAIL(AIOS_ABI_MISMATCH, "aios_merge_options.struct_size is %u: start with AIOS_MERGE_OPTIONS_INIT", options->struct_size);
    if (options->count < 1 || !options->folders || !options->output)
        return FAIL(AIOS_INVALID_ARGUMENT, "aios_merge_checkpoints: name at least one folder, and the output");
    struct merging m = {.context = context, .count = options->count};
    aios_status status = AIOS_OUT_OF_MEMORY;
    m.inputs = aios_memory_array(context, m.count, sizeof *m.inputs);
    m.tile = aios_memory_array(context, TILE, sizeof *m.tile);
    if (m.inputs && m.tile) {
        memset(m.inputs, 0, m.count * sizeof *m.inputs);
        status = open_inputs(&m, options);
        if (status == AIOS_OK) status = write_output(&m, options->output);
    }
    for (uint32_t i = 0; m.inputs && i < m.count; i++) weights_close(m.inputs[i].file);
    aios_memory_free(context, m.inputs);
    aios_memory_free(context, m.tile);
    return status;
}
