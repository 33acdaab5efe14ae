#include "weights_file.h"

#include "base/context.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sizes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MOST OS_PATH_MAX
#define SINGLE    "model.safetensors"
#define INDEX     "model.safetensors.index.json"
#define SHARD     "model-%05zu-of-%05zu.safetensors"
#define NAME_MOST 64

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct weights_file {
    aios_context *context;
    char *path;
    safetensors_file **shards;
    size_t shard_count, shard_capacity;
    const safetensors_tensor **tensors; /* by name */
    size_t count;
    uint64_t bytes;
};

static aios_status open_shard(weights_file *weights, const char *path)
{
    TRY_QUIET(aios_memory_grow(weights->context, (void **)&weights->shards, &weights->shard_capacity, weights->shard_count + 1,
                               sizeof(safetensors_file *)));
    TRY_QUIET(safetensors_open(weights->context, path, &weights->shards[weights->shard_count]));
    weights->shard_count++;
    return AIOS_OK;
}

static int by_name(const void *a, const void *b)
{
    const safetensors_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static aios_status collect(weights_file *weights)
{
    for (size_t s = 0; s < weights->shard_count; s++) weights->count += safetensors_count(weights->shards[s]);
    if (!(weights->tensors = aios_memory_array(weights->context, weights->count, sizeof *weights->tensors))) return AIOS_OUT_OF_MEMORY;
    for (size_t s = 0, at = 0; s < weights->shard_count; s++)
        for (size_t i = 0; i < safetensors_count(weights->shards[s]); i++) {
            weights->tensors[at] = safetensors_get(weights->shards[s], i);
            weights->bytes += weights->tensors[at++]->bytes;
        }
    if (weights->count) qsort(weights->tensors, weights->count, sizeof *weights->tensors, by_name);
    return AIOS_OK;
}

/* A shard's name goes into a path: it must stay in the index's folder. */
static aios_status check_shard_name(const char *tensor, const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name) return FAIL(AIOS_CORRUPT, "the file of tensor \"%.80s\" must be a string", tensor);
    if (!*name || *name == '.' || strpbrk(name, "/\\:"))
        return FAIL(AIOS_CORRUPT, "tensor \"%.80s\" is said to be in \"%.80s\": a file of the same folder must be named", tensor, name);
    return AIOS_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens each file that the map names, once; names gets them in byte order, which is that of weights->shards. */
static aios_status open_shards(weights_file *weights, const char *folder, json_t *map, const char **names)
{
    size_t count = 0, unique = 0;
    const char *tensor;
    char path[PATH_MOST];
    json_t *value;
    json_object_foreach (map, tensor, value) {
        TRY_QUIET(check_shard_name(tensor, value));
        names[count++] = json_string_value(value);
    }
    if (count) qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++) {
        if (unique && strcmp(names[unique - 1], names[i]) == 0) continue;
        names[unique++] = names[i];
        TRY_QUIET(os_path_join(path, folder, names[i]));
        if (os_path_kind(path) == OS_NOTHING) return FAIL(AIOS_NOT_FOUND, "shard %s is missing from %s", names[i], folder);
        TRY_QUIET(open_shard(weights, path));
    }
    return AIOS_OK;
}

static aios_status check_shards(const weights_file *weights, json_t *map, const char **names)
{
    const char *tensor;
    json_t *value;
    for (size_t s = 0; s < weights->shard_count; s++)
        for (size_t i = 0; i < safetensors_count(weights->shards[s]); i++) {
            const char *name = safetensors_get(weights->shards[s], i)->name, *said = json_string_value(json_object_get(map, name));
            if (!said) return FAIL(AIOS_CORRUPT, "tensor \"%.80s\" is in shard %s and not in the index", name, names[s]);
            if (strcmp(said, names[s]) != 0)
                return FAIL(AIOS_CORRUPT, "tensor \"%.80s\" is in shard %s: the index says %s", name, names[s], said);
        }
    json_object_foreach (map, tensor, value) {
        size_t s = 0;
        while (strcmp(names[s], json_string_value(value)) != 0) s++;
        if (!safetensors_find(weights->shards[s], tensor))
            return FAIL(AIOS_CORRUPT, "tensor \"%.80s\" is missing from shard %s, where the index says it is", tensor, names[s]);
    }
    return AIOS_OK;
}

static aios_status open_index(weights_file *weights, const char *folder, const char *path)
{
    aios_status status = AIOS_OK;
    const char **names = NULL;
    json_t *index = NULL, *map;
    ATTEMPT_QUIET(json_read_file(weights->context, path, NULL, &index));
    ATTEMPT(json_get_object(index, "weight_map", &map), "reading %s", path);
    if (!(names = aios_memory_array(weights->context, json_object_size(map), sizeof *names))) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    ATTEMPT(open_shards(weights, folder, map, names), "reading %s", path);
    ATTEMPT(check_shards(weights, map, names), "reading %s", path);
done:
    aios_memory_free(weights->context, (void *)names);
    json_decref(index);
    return status;
}

static aios_status open_folder(weights_file *weights, const char *folder)
{
    char single[PATH_MOST], index[PATH_MOST];
    TRY_QUIET(os_path_join(single, folder, SINGLE));
    TRY_QUIET(os_path_join(index, folder, INDEX));
    int has_index = os_path_kind(index) == OS_FILE;
    if (os_path_kind(single) == OS_FILE) {
        if (has_index) aios_log(weights->context, AIOS_LOG_WARNING, "%s has both " SINGLE " and " INDEX ": the first is read", folder);
        return open_shard(weights, single);
    }
    if (has_index) return open_index(weights, folder, index);
    TRY_QUIET(os_path_join(single, folder, "pytorch_model.bin"));
    if (os_path_kind(single) == OS_FILE)
        return FAIL(AIOS_UNSUPPORTED, "%s has pytorch_model.bin alone: save the model as safetensors", folder);
    return FAIL(AIOS_NOT_FOUND, "%s has neither " SINGLE " nor " INDEX, folder);
}

static aios_status open_any(weights_file *weights, const char *path)
{
    size_t length = strlen(path), tail = strlen(".json");
    int kind = os_path_kind(path);
    if (kind == OS_FOLDER) return open_folder(weights, path);
    if (kind == OS_NOTHING) return FAIL(AIOS_NOT_FOUND, "%s is not there: a folder or a .safetensors file is wanted", path);
    if (length < tail || strcmp(path + length - tail, ".json") != 0) return open_shard(weights, path);
    char folder[PATH_MOST];
    if (snprintf(folder, sizeof folder, "%s", path) >= PATH_MOST)
        return FAIL(AIOS_INVALID_ARGUMENT, "%.200s…: the name is longer than %d bytes", path, PATH_MOST - 1);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    return open_index(weights, slash ? folder : ".", path);
}

aios_status weights_open(aios_context *context, const char *path, weights_file **weights)
{
    aios_status status = AIOS_OUT_OF_MEMORY;
    *weights = NULL;
    weights_file *made = aios_new(context, weights_file);
    if (!made) return status;
    made->context = aios_context_retain(context);
    if (!(made->path = aios_memory_strdup(context, path))) goto done;
    ATTEMPT_QUIET(open_any(made, path));
    ATTEMPT_QUIET(collect(made));
    *weights = made;
    made = NULL;
done:
    weights_close(made);
    return status;
}

void weights_close(weights_file *weights)
{
    if (!weights) return;
    aios_context *context = weights->context;
    for (size_t s = 0; s < weights->shard_count; s++) safetensors_close(weights->shards[s]);
    aios_memory_free(context, (void *)weights->shards);
    aios_memory_free(context, (void *)weights->tensors);
    aios_memory_free(context, weights->path);
    aios_memory_free(context, weights);
    aios_context_release(context);
}

const char *weights_path(const weights_file *weights)
{
    return weights->path;
}

size_t weights_count(const weights_file *weights)
{
    return weights->count;
}

uint64_t weights_bytes(const weights_file *weights)
{
    return weights->bytes;
}

const safetensors_tensor *weights_get(const weights_file *weights, size_t index)
{
    return index < weights->count ? weights->tensors[index] : NULL;
}

const safetensors_tensor *weights_find(const weights_file *weights, const char *name)
{
    const safetensors_tensor wanted = {.name = name}, *key = &wanted;
    if (!weights->count) return NULL;
    const safetensors_tensor **found = bsearch(&key, weights->tensors, weights->count, sizeof *weights->tensors, by_name);
    return found ? *found : NULL;
}

static void shape_text(int rank, const int64_t *shape, char text[128])
{
    size_t used = (size_t)snprintf(text, 128, "[");
    for (int i = 0; i < rank && used < 120; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (used < 127) (void)snprintf(text + used, 128 - used, "]");
}

aios_status weights_require(const weights_file *weights, const char *name, int rank, const int64_t *shape,
                            const safetensors_tensor **tensor)
{
    char has[128], wanted[128];
    *tensor = NULL;
    const safetensors_tensor *found = weights_find(weights, name);
    if (!found) return FAIL(AIOS_NOT_FOUND, "%s has no tensor \"%.80s\"", weights->path, name);
    if (found->rank != rank || (rank && memcmp(found->shape, shape, (size_t)rank * sizeof *shape) != 0)) {
        shape_text(found->rank, found->shape, has);
        shape_text(rank, shape, wanted);
        return FAIL(AIOS_CORRUPT, "tensor \"%.80s\" of %s has shape %s: it must be %s", name, weights->path, has, wanted);
    }
    *tensor = found;
    return AIOS_OK;
}

const safetensors_entry *weights_metadata(const weights_file *weights, size_t *count)
{
    *count = 0;
    return weights->shard_count ? safetensors_metadata(weights->shards[0], count) : NULL;
}

const char *weights_metadata_find(const weights_file *weights, const char *key)
{
    const char *value = NULL;
    for (size_t s = 0; s < weights->shard_count && !value; s++) value = safetensors_metadata_find(weights->shards[s], key);
    return value;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct weights_writer {
    aios_context *context;
    char *folder;
    safetensors_tensor *tensors; /* copies, names too, until finish writes the index */
    safetensors_entry *metadata;
    size_t count, metadata_count;
    size_t *shard_of; /* of each tensor */
    size_t *order;    /* the list, shard after shard */
    size_t *starts;   /* where each shard begins in order, and the end */
    size_t shard_count, shard;
    safetensors_tensor *batch; /* the list of one shard */
    safetensors_writer *file;  /* of shard, or NULL at the end */
    uint64_t parameters, bytes;
};

static void shard_name(const weights_writer *writer, size_t shard, const char *suffix, char name[NAME_MOST])
{
    if (writer->shard_count == 1)
        (void)snprintf(name, NAME_MOST, SINGLE "%s", suffix);
    else
        (void)snprintf(name, NAME_MOST, SHARD "%s", shard + 1, writer->shard_count, suffix);
}

static aios_status shard_path(const weights_writer *writer, size_t shard, int temporary, char path[PATH_MOST])
{
    char name[NAME_MOST], suffix[24] = "";
    if (temporary) (void)snprintf(suffix, sizeof suffix, ".tmp.%d", os_process_id());
    shard_name(writer, shard, suffix, name);
    return os_path_join(path, writer->folder, name);
}

static aios_status copy_list(weights_writer *writer, const safetensors_tensor *tensors, const safetensors_entry *metadata)
{
    aios_context *context = writer->context;
    writer->tensors = aios_memory_array(context, writer->count, sizeof *writer->tensors);
    writer->metadata = aios_memory_array(context, writer->metadata_count, sizeof *writer->metadata);
    if (!writer->tensors || !writer->metadata) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < writer->count; i++) {
        safetensors_tensor *copy = &writer->tensors[i];
        const char *name = aios_memory_strdup(context, tensors[i].name);
        if (!name) return AIOS_OUT_OF_MEMORY;
        *copy = tensors[i];
        copy->name = name;
        copy->data = NULL;
        TRY_QUIET(safetensors_tensor_bytes(copy, &copy->bytes));
        if (!u64_add(writer->bytes, copy->bytes, &writer->bytes) || writer->bytes > INT64_MAX)
            return FAIL(AIOS_OUT_OF_RANGE, "the tensors have more than 2^63 bytes together");
        writer->parameters += copy->bytes / element_size(copy->dtype);
    }
    for (size_t i = 0; i < writer->metadata_count; i++) {
        if (!(writer->metadata[i].key = aios_memory_strdup(context, metadata[i].key))) return AIOS_OUT_OF_MEMORY;
        if (!(writer->metadata[i].value = aios_memory_strdup(context, metadata[i].value))) return AIOS_OUT_OF_MEMORY;
    }
    return AIOS_OK;
}

static aios_status check_unique(const weights_writer *writer)
{
    const safetensors_tensor **sorted = aios_memory_array(writer->context, writer->count, sizeof *sorted);
    aios_status status = AIOS_OK;
    if (!sorted) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < writer->count; i++) sorted[i] = &writer->tensors[i];
    if (writer->count) qsort(sorted, writer->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < writer->count && status == AIOS_OK; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            status = FAIL(AIOS_INVALID_ARGUMENT, "two tensors are named \"%.80s\": names must be unique", sorted[i]->name);
    aios_memory_free(writer->context, (void *)sorted);
    return status;
}

/* Gives each tensor its shard, as huggingface_hub does: shards are numbered as they close, and a tensor above the limit makes a
 * shard at once while the one that is being filled stays open. */
static size_t plan_shards(const weights_writer *writer, uint64_t most, size_t *shard_of)
{
    size_t shards = 0, open_from = 0, open_count = 0;
    uint64_t filled = 0;
    for (size_t i = 0; i <= writer->count; i++) {
        uint64_t bytes = i < writer->count ? writer->tensors[i].bytes : 0;
        if (open_count && (i == writer->count || (most && bytes <= most && bytes > most - filled))) {
            for (size_t j = open_from; j < i; j++)
                if (shard_of[j] == SIZE_MAX) shard_of[j] = shards;
            shards++;
            open_count = 0;
            filled = 0;
        }
        if (i == writer->count) break;
        if (most && bytes > most) {
            shard_of[i] = shards++;
            continue;
        }
        if (!open_count++) open_from = i;
        shard_of[i] = SIZE_MAX;
        filled += bytes;
    }
    return shards ? shards : 1;
}

static aios_status order_shards(weights_writer *writer, uint64_t most)
{
    aios_context *context = writer->context;
    size_t *shard_of = aios_memory_array(context, writer->count, sizeof *shard_of);
    if (!(writer->shard_of = shard_of)) return AIOS_OUT_OF_MEMORY;
    writer->shard_count = plan_shards(writer, most, shard_of);
    writer->order = aios_memory_array(context, writer->count, sizeof *writer->order);
    writer->starts = aios_memory_array(context, writer->shard_count + 2, sizeof *writer->starts);
    writer->batch = aios_memory_array(context, writer->count, sizeof *writer->batch);
    int complete = writer->order && writer->starts && writer->batch;
    /* A counting sort: starts[s + 1] runs from the beginning of shard s to its end. */
    for (size_t i = 0; complete && i < writer->count; i++) writer->starts[shard_of[i] + 2]++;
    for (size_t s = 2; complete && s < writer->shard_count + 2; s++) writer->starts[s] += writer->starts[s - 1];
    for (size_t i = 0; complete && i < writer->count; i++) writer->order[writer->starts[shard_of[i] + 1]++] = i;
    return complete ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

static aios_status begin_shard(weights_writer *writer)
{
    char path[PATH_MOST];
    size_t from = writer->starts[writer->shard], count = writer->starts[writer->shard + 1] - from;
    TRY_QUIET(shard_path(writer, writer->shard, 1, path));
    for (size_t i = 0; i < count; i++) writer->batch[i] = writer->tensors[writer->order[from + i]];
    return safetensors_writer_begin(writer->context, path, writer->batch, count, writer->metadata, writer->metadata_count, &writer->file);
}

/* Finishes shards that have all their bytes and begins the next one that lacks some. */
static aios_status advance(weights_writer *writer)
{
    while (writer->file && safetensors_writer_next(writer->file) == SAFETENSORS_END) {
        safetensors_writer *full = writer->file;
        writer->file = NULL;
        TRY_QUIET(safetensors_writer_finish(full));
        if (++writer->shard < writer->shard_count) TRY_QUIET(begin_shard(writer));
    }
    return AIOS_OK;
}

static void end_writer(weights_writer *writer)
{
    aios_context *context = writer->context;
    for (size_t i = 0; writer->tensors && i < writer->count; i++) aios_memory_free(context, (void *)writer->tensors[i].name);
    for (size_t i = 0; writer->metadata && i < writer->metadata_count; i++) {
        aios_memory_free(context, (void *)writer->metadata[i].key);
        aios_memory_free(context, (void *)writer->metadata[i].value);
    }
    aios_memory_free(context, writer->tensors);
    aios_memory_free(context, writer->metadata);
    aios_memory_free(context, writer->shard_of);
    aios_memory_free(context, writer->order);
    aios_memory_free(context, writer->starts);
    aios_memory_free(context, writer->batch);
    aios_memory_free(context, writer->folder);
    aios_memory_free(context, writer);
    aios_context_release(context);
}

static aios_status check_folder(const char *folder)
{
    if (os_path_kind(folder) == OS_FOLDER) return AIOS_OK;
    return FAIL(AIOS_NOT_FOUND, "%s is no folder: weights are written into one that exists", folder);
}

aios_status weights_writer_begin(aios_context *context, const char *folder, const safetensors_tensor *tensors, size_t count,
                                 const safetensors_entry *metadata, size_t metadata_count, uint64_t max_shard_size, weights_writer **writer)
{
    static const safetensors_entry pt = {"format", "pt"};
    aios_status status = AIOS_OUT_OF_MEMORY;
    *writer = NULL;
    weights_writer *made = aios_new(context, weights_writer);
    if (!made) return status;
    made->context = aios_context_retain(context);
    made->count = count;
    made->metadata_count = metadata ? metadata_count : 1;
    if (!(made->folder = aios_memory_strdup(context, folder))) goto done;
    ATTEMPT_QUIET(check_folder(folder));
    ATTEMPT(copy_list(made, tensors, metadata ? metadata : &pt), "writing weights to %s", folder);
    ATTEMPT(check_unique(made), "writing weights to %s", folder);
    ATTEMPT_QUIET(order_shards(made, max_shard_size));
    ATTEMPT_QUIET(begin_shard(made));
    ATTEMPT_QUIET(advance(made));
    *writer = made;
    made = NULL;
done:
    weights_writer_abort(made);
    return status;
}

size_t weights_writer_next(const weights_writer *writer)
{
    if (!writer->file) return SAFETENSORS_END;
    return writer->order[writer->starts[writer->shard] + safetensors_writer_next(writer->file)];
}

aios_status weights_writer_write(weights_writer *writer, const void *bytes, size_t size)
{
    if (!writer->file && size)
        return FAIL(AIOS_OUT_OF_RANGE, "writing weights to %s: %zu bytes given, all tensors are complete", writer->folder, size);
    if (!writer->file) return AIOS_OK;
    TRY_QUIET(safetensors_writer_write(writer->file, bytes, size));
    return advance(writer);
}

static aios_status make_index(const weights_writer *writer, json_text *out)
{
    aios_context *context = writer->context;
    const safetensors_tensor **sorted = aios_memory_array(context, writer->count, sizeof *sorted);
    char name[NAME_MOST];
    if (!sorted) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < writer->count; i++) sorted[i] = &writer->tensors[i];
    qsort(sorted, writer->count, sizeof *sorted, by_name);
    json_text_format(out, "{\n  \"metadata\": {\n    \"total_parameters\": %llu,\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                     (unsigned long long)writer->parameters, (unsigned long long)writer->bytes);
    for (size_t i = 0; i < writer->count; i++) {
        json_text_format(out, "%s\n    ", i ? "," : "");
        json_text_string(out, sorted[i]->name, strlen(sorted[i]->name), JSON_TEXT_ASCII);
        shard_name(writer, writer->shard_of[sorted[i] - writer->tensors], "", name);
        json_text_format(out, ": \"%s\"", name);
    }
    json_text_format(out, "\n  }\n}\n");
    aios_memory_free(context, (void *)sorted);
    return json_text_end(out);
}

/* Whether digits of five or more stand at *at; moves behind them. */
static int skip_number(const char **at)
{
    size_t length = strspn(*at, "0123456789");
    *at += length;
    return length >= 5;
}

/* Whether a name is one that this writer gives: model.safetensors, a shard, or the index. */
static int is_weights_name(const char *name)
{
    const char *at = name + strlen("model");
    if (strncmp(name, "model", strlen("model")) != 0) return 0;
    if (*at == '-') {
        at++;
        if (!skip_number(&at) || strncmp(at, "-of-", 4) != 0) return 0;
        at += 4;
        if (!skip_number(&at)) return 0;
    }
    return strcmp(at, ".safetensors") == 0 || strcmp(at, ".safetensors.index.json") == 0;
}

static aios_status remove_stale(void *user, const char *name)
{
    const weights_writer *writer = user;
    char own[NAME_MOST], path[PATH_MOST];
    if (!is_weights_name(name) || (writer->shard_count > 1 && strcmp(name, INDEX) == 0)) return AIOS_OK;
    for (size_t s = 0; s < writer->shard_count; s++) {
        shard_name(writer, s, "", own);
        if (strcmp(own, name) == 0) return AIOS_OK;
    }
    TRY_QUIET(os_path_join(path, writer->folder, name));
    return os_remove(path);
}

aios_status weights_writer_finish(weights_writer *writer)
{
    aios_status status = AIOS_OK;
    char from[PATH_MOST], to[PATH_MOST];
    json_text index = JSON_TEXT_INIT(writer->context);
    if (writer->shard < writer->shard_count) {
        status = FAIL(AIOS_WRONG_STATE, "finishing weights in %s: shard %zu of %zu lacks bytes", writer->folder, writer->shard + 1,
                      writer->shard_count);
        goto done;
    }
    if (writer->shard_count > 1) ATTEMPT_QUIET(make_index(writer, &index));
    for (size_t s = 0; s < writer->shard_count; s++) {
        ATTEMPT_QUIET(shard_path(writer, s, 1, from));
        ATTEMPT_QUIET(shard_path(writer, s, 0, to));
        ATTEMPT_QUIET(os_rename(from, to));
    }
    ATTEMPT_QUIET(os_path_join(to, writer->folder, INDEX));
    if (writer->shard_count > 1) ATTEMPT_QUIET(os_file_replace(to, index.text, index.size));
    ATTEMPT(os_folder_list(writer->context, writer->folder, remove_stale, writer), "removing earlier weights from %s", writer->folder);
    ATTEMPT_QUIET(os_folder_sync(writer->folder));
    json_text_free(&index);
    end_writer(writer);
    return AIOS_OK;
done:
    json_text_free(&index);
    weights_writer_abort(writer);
    return status;
}

void weights_writer_abort(weights_writer *writer)
{
    aios_error_record record;
    char path[PATH_MOST];
    if (!writer) return;
    aios_error_save(&record);
    safetensors_writer_abort(writer->file);
    for (size_t s = 0; writer->starts && s < writer->shard && s < writer->shard_count; s++)
        if (shard_path(writer, s, 1, path) == AIOS_OK) (void)os_remove(path);
    (void)aios_error_restore(&record);
    end_writer(writer);
}

aios_status weights_write(aios_context *context, const char *folder, const safetensors_tensor *tensors, size_t count,
                          const safetensors_entry *metadata, size_t metadata_count, uint64_t max_shard_size)
{
    weights_writer *writer;
    TRY_QUIET(weights_writer_begin(context, folder, tensors, count, metadata, metadata_count, max_shard_size, &writer));
    for (size_t i; (i = weights_writer_next(writer)) != SAFETENSORS_END;) {
        aios_status status = weights_writer_write(writer, tensors[i].data, tensors[i].bytes);
        if (status == AIOS_OK && weights_writer_next(writer) == i)
            status = FAIL(AIOS_INVALID_ARGUMENT, "tensor \"%.80s\" has %llu bytes: dtype and shape make more", tensors[i].name,
                          (unsigned long long)tensors[i].bytes);
        if (status != AIOS_OK) {
            weights_writer_abort(writer);
            return status;
        }
    }
    return weights_writer_finish(writer);
}
