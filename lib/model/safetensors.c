#include "safetensors.h"

#include "base/context.h"
#include "base/json.h"
#include "base/os.h"
#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

#define METADATA "__metadata__"

/* ---- the reader -------------------------------------------------------------------------------------------------- */

typedef struct tensor_row {
    safetensors_tensor tensor;
    uint64_t begin;
    size_t order; /* in the header */
} tensor_row;

struct safetensors_file {
    aios_context *context;
    char *path;
    os_map map;
    tensor_row *rows; /* by offset */
    size_t count;
    const safetensors_tensor **by_name;
    safetensors_entry *metadata;
    size_t metadata_count;
};

/* Names of a tensor in a message: file and tensor. */
#define REFUSE(file, name, status, ...)                                                                                                    \
    (FAIL(status, __VA_ARGS__), aios_error_add_frame(status, "tensor \"%.80s\" of %s", name, (file)->path))

static aios_status read_metadata(safetensors_file *file, json_t *object)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return FAIL(AIOS_CORRUPT, "%s: " METADATA " must be an object of strings", file->path);
    if (!(file->metadata = aios_memory_array(file->context, json_object_size(object) + 1, sizeof *file->metadata)))
        return AIOS_OUT_OF_MEMORY;
    json_object_foreach (object, key, value) {
        safetensors_entry *entry = &file->metadata[file->metadata_count];
        if (!json_is_string(value)) return FAIL(AIOS_CORRUPT, "%s: \"%.80s\" of " METADATA " must be a string", file->path, key);
        if (!(entry->key = aios_memory_strdup(file->context, key))) return AIOS_OUT_OF_MEMORY;
        file->metadata_count++;
        if (!(entry->value = aios_memory_strdup(file->context, json_string_value(value)))) return AIOS_OUT_OF_MEMORY;
    }
    return AIOS_OK;
}

static aios_status read_dtype(const json_t *info, int *dtype)
{
    const char *name;
    TRY_QUIET(json_get_string(info, "dtype", &name));
    if ((*dtype = element_find(name)) >= 0) return AIOS_OK;
    static const char *const others[] = {"F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0", "C64"};
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (strcmp(name, others[i]) == 0) return FAIL(AIOS_UNSUPPORTED, "dtype %s is not supported: convert it to F32, F16 or BF16", name);
    return FAIL(AIOS_CORRUPT, "dtype \"%.32s\" is unknown: it must be F64, F32, F16, BF16, an integer type (I64 … U8) or BOOL", name);
}

static aios_status read_shape(const json_t *info, safetensors_tensor *tensor)
{
    json_t *shape;
    TRY_QUIET(json_get_array(info, "shape", &shape));
    if (json_array_size(shape) > SAFETENSORS_RANK_MAX)
        return FAIL(AIOS_UNSUPPORTED, "shape has %zu dimensions: at most %d are supported", json_array_size(shape), SAFETENSORS_RANK_MAX);
    tensor->rank = (int)json_array_size(shape);
    tensor->bytes = element_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) {
        const json_t *length = json_array_get(shape, (size_t)i);
        if (!json_is_integer(length) || json_integer_value(length) < 0)
            return FAIL(AIOS_CORRUPT, "dimension %d of shape must be an integer of 0 or more", i);
        tensor->shape[i] = json_integer_value(length);
        if (!u64_multiply(tensor->bytes, (uint64_t)tensor->shape[i], &tensor->bytes))
            return FAIL(AIOS_CORRUPT, "dimension %d of shape, %lld, makes the tensor bigger than 2^64 bytes", i,
                        (long long)tensor->shape[i]);
    }
    return AIOS_OK;
}

static aios_status read_offsets(const json_t *info, uint64_t data_bytes, tensor_row *row)
{
    json_t *offsets;
    uint64_t at[2];
    TRY_QUIET(json_get_array(info, "data_offsets", &offsets));
    if (json_array_size(offsets) != 2) return FAIL(AIOS_CORRUPT, "data_offsets has %zu numbers: it must have 2", json_array_size(offsets));
    for (size_t i = 0; i < 2; i++) {
        const json_t *offset = json_array_get(offsets, i);
        if (!json_is_integer(offset) || json_integer_value(offset) < 0)
            return FAIL(AIOS_CORRUPT, "data_offsets must be integers of 0 or more");
        at[i] = (uint64_t)json_integer_value(offset);
    }
    if (at[0] > at[1] || at[1] > data_bytes)
        return FAIL(AIOS_CORRUPT, "data_offsets [%llu, %llu] must be ordered and inside the %llu bytes of data", (unsigned long long)at[0],
                    (unsigned long long)at[1], (unsigned long long)data_bytes);
    if (at[1] - at[0] != row->tensor.bytes)
        return FAIL(AIOS_CORRUPT, "data_offsets [%llu, %llu] span %llu bytes: dtype and shape make %llu", (unsigned long long)at[0],
                    (unsigned long long)at[1], (unsigned long long)(at[1] - at[0]), (unsigned long long)row->tensor.bytes);
    row->begin = at[0];
    return AIOS_OK;
}

static aios_status read_tensor(const json_t *info, uint64_t data_bytes, tensor_row *row)
{
    if (!json_is_object(info)) return FAIL(AIOS_CORRUPT, "its entry must be an object with dtype, shape and data_offsets");
    TRY_QUIET(read_dtype(info, &row->tensor.dtype));
    TRY_QUIET(read_shape(info, &row->tensor));
    return read_offsets(info, data_bytes, row);
}

static int by_offset(const void *a, const void *b)
{
    const tensor_row *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->tensor.bytes != y->tensor.bytes) return x->tensor.bytes < y->tensor.bytes ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int by_name(const void *a, const void *b)
{
    const safetensors_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The format wants every byte of the data to belong to exactly one tensor. */
static aios_status check_cover(const safetensors_file *file, uint64_t data_bytes)
{
    uint64_t end = 0;
    for (size_t i = 0; i < file->count; i++) {
        const tensor_row *row = &file->rows[i];
        if (row->begin != end)
            return REFUSE(
                file, row->tensor.name, AIOS_CORRUPT, "data_offsets begin at %llu, %s: they must begin at %llu, where the one before ends",
                (unsigned long long)row->begin, row->begin < end ? "inside another tensor" : "after a hole", (unsigned long long)end);
        end += row->tensor.bytes;
    }
    if (end != data_bytes)
        return FAIL(AIOS_CORRUPT, "%s: %llu bytes follow the last tensor: the file must end with it", file->path,
                    (unsigned long long)(data_bytes - end));
    return AIOS_OK;
}

static aios_status read_header(safetensors_file *file, json_t *header, const unsigned char *data, uint64_t data_bytes)
{
    size_t entries = json_object_size(header);
    const char *key;
    json_t *value;
    if (!(file->rows = aios_memory_array(file->context, entries, sizeof *file->rows))) return AIOS_OUT_OF_MEMORY;
    json_object_foreach (header, key, value) {
        if (strcmp(key, METADATA) == 0) {
            TRY_QUIET(read_metadata(file, value));
            continue;
        }
        tensor_row *row = &file->rows[file->count];
        TRY(read_tensor(value, data_bytes, row), "tensor \"%.80s\" of %s", key, file->path);
        if (!(row->tensor.name = aios_memory_strdup(file->context, key))) return AIOS_OUT_OF_MEMORY;
        row->tensor.data = data + row->begin;
        row->order = file->count++;
    }
    if (file->count) qsort(file->rows, file->count, sizeof *file->rows, by_offset);
    TRY_QUIET(check_cover(file, data_bytes));
    if (!(file->by_name = aios_memory_array(file->context, file->count, sizeof *file->by_name))) return AIOS_OUT_OF_MEMORY;
    for (size_t i = 0; i < file->count; i++) file->by_name[i] = &file->rows[i].tensor;
    if (file->count) qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
    return AIOS_OK;
}

static aios_status parse(safetensors_file *file, const unsigned char *bytes, uint64_t size)
{
    const json_limits limits = {SAFETENSORS_HEADER_MAX, 4, (uint64_t)1 << 22};
    uint64_t length;
    json_t *header;
    if (size < sizeof length)
        return FAIL(AIOS_CORRUPT, "%s has %llu bytes: a safetensors file has at least 10", file->path, (unsigned long long)size);
    memcpy(&length, bytes, sizeof length);
    if (length > SAFETENSORS_HEADER_MAX)
        return FAIL(AIOS_CORRUPT, "%s: a header of %llu bytes: at most %llu are allowed (is this a safetensors file?)", file->path,
                    (unsigned long long)length, (unsigned long long)SAFETENSORS_HEADER_MAX);
    if (length > size - sizeof length)
        return FAIL(AIOS_CORRUPT, "%s: a header of %llu bytes does not fit in the file's %llu: the file is cut", file->path,
                    (unsigned long long)length, (unsigned long long)size);
    const unsigned char *text = bytes + sizeof length, *data = text + length;
    if (length < 2 || text[0] != '{') return FAIL(AIOS_CORRUPT, "%s: the header must be a JSON object that begins with '{'", file->path);
    TRY(json_parse((const char *)text, (size_t)length, file->path, &limits, &header), "reading the header of %s", file->path);
    aios_status status = read_header(file, header, data, size - sizeof length - length);
    json_decref(header);
    return status;
}

static aios_status make_file(aios_context *context, const char *name, safetensors_file **file)
{
    safetensors_file *made = aios_new(context, safetensors_file);
    if (!made) return AIOS_OUT_OF_MEMORY;
    made->context = aios_context_retain(context);
    *file = made;
    return (made->path = aios_memory_strdup(context, name)) ? AIOS_OK : AIOS_OUT_OF_MEMORY;
}

aios_status safetensors_open(aios_context *context, const char *path, safetensors_file **file)
{
    aios_status status = AIOS_OK;
    safetensors_file *made = NULL;
    *file = NULL;
    ATTEMPT_QUIET(make_file(context, path, &made));
    ATTEMPT_QUIET(os_map_open(path, &made->map));
    ATTEMPT_QUIET(parse(made, made->map.address, made->map.size));
    *file = made;
    made = NULL;
done:
    safetensors_close(made);
    return status;
}

aios_status safetensors_open_memory(aios_context *context, const char *name, const void *bytes, size_t size, safetensors_file **file)
{
    aios_status status = AIOS_OK;
    safetensors_file *made = NULL;
    *file = NULL;
    ATTEMPT_QUIET(make_file(context, name, &made));
    ATTEMPT_QUIET(parse(made, bytes, size));
    *file = made;
    made = NULL;
done:
    safetensors_close(made);
    return status;
}

static void free_text(aios_context *context, const char *text)
{
    aios_memory_free(context, (void *)(uintptr_t)text);
}

void safetensors_close(safetensors_file *file)
{
    if (!file) return;
    aios_context *context = file->context;
    for (size_t i = 0; i < file->count; i++) free_text(context, file->rows[i].tensor.name);
    for (size_t i = 0; i < file->metadata_count; i++) {
        free_text(context, file->metadata[i].key);
        free_text(context, file->metadata[i].value);
    }
    aios_memory_free(context, file->rows);
    aios_memory_free(context, (void *)file->by_name);
    aios_memory_free(context, file->metadata);
    os_map_close(&file->map);
    aios_memory_free(context, file->path);
    aios_memory_free(context, file);
    aios_context_release(context);
}

const char *safetensors_path(const safetensors_file *file)
{
    return file->path;
}

size_t safetensors_count(const safetensors_file *file)
{
    return file->count;
}

const safetensors_tensor *safetensors_get(const safetensors_file *file, size_t index)
{
    return index < file->count ? &file->rows[index].tensor : NULL;
}

const safetensors_tensor *safetensors_find(const safetensors_file *file, const char *name)
{
    const safetensors_tensor wanted = {.name = name}, *key = &wanted;
    if (!file->count) return NULL;
    const safetensors_tensor **found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, by_name);
    return found ? *found : NULL;
}

const safetensors_entry *safetensors_metadata(const safetensors_file *file, size_t *count)
{
    *count = file->metadata_count;
    return file->metadata;
}

const char *safetensors_metadata_find(const safetensors_file *file, const char *key)
{
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0) return file->metadata[i].value;
    return NULL;
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

typedef struct plan_row {
    const safetensors_tensor *tensor; /* while begin runs */
    size_t index;
    uint64_t bytes;
} plan_row;

struct safetensors_writer {
    aios_context *context;
    char *path;
    os_file file;
    plan_row *rows; /* in the order of the file */
    size_t count, at;
    uint64_t written; /* of the tensor at `at` */
};

aios_status safetensors_tensor_bytes(const safetensors_tensor *tensor, uint64_t *bytes)
{
    *bytes = element_size(tensor->dtype);
    if (!*bytes) return FAIL(AIOS_INVALID_ARGUMENT, "tensor \"%.80s\": dtype %d is none", tensor->name, tensor->dtype);
    if (tensor->rank < 0 || tensor->rank > SAFETENSORS_RANK_MAX)
        return FAIL(AIOS_INVALID_ARGUMENT, "tensor \"%.80s\": rank is %d: it must be from 0 to %d", tensor->name, tensor->rank,
                    SAFETENSORS_RANK_MAX);
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 0 || !u64_multiply(*bytes, (uint64_t)tensor->shape[i], bytes) || *bytes > INT64_MAX)
            return FAIL(AIOS_INVALID_ARGUMENT,
                        "tensor \"%.80s\": dimension %d is %lld: it must be 0 or more and the tensor below 2^63 bytes", tensor->name, i,
                        (long long)tensor->shape[i]);
    return AIOS_OK;
}

static int in_file_order(const void *a, const void *b)
{
    const plan_row *x = a, *y = b;
    if (x->tensor->dtype != y->tensor->dtype) return x->tensor->dtype > y->tensor->dtype ? -1 : 1;
    return strcmp(x->tensor->name, y->tensor->name);
}

static int plan_by_name(const void *a, const void *b)
{
    const plan_row *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

static aios_status plan_rows(safetensors_writer *writer, const safetensors_tensor *tensors)
{
    for (size_t i = 0; i < writer->count; i++) {
        plan_row *row = &writer->rows[i];
        *row = (plan_row){&tensors[i], i, 0};
        TRY_QUIET(safetensors_tensor_bytes(&tensors[i], &row->bytes));
        if (strcmp(tensors[i].name, METADATA) == 0) return FAIL(AIOS_INVALID_ARGUMENT, "a tensor can't be named " METADATA);
    }
    if (!writer->count) return AIOS_OK;
    qsort(writer->rows, writer->count, sizeof *writer->rows, plan_by_name);
    for (size_t i = 1; i < writer->count; i++)
        if (strcmp(writer->rows[i - 1].tensor->name, writer->rows[i].tensor->name) == 0)
            return FAIL(AIOS_INVALID_ARGUMENT, "two tensors are named \"%.80s\": names must be unique", writer->rows[i].tensor->name);
    qsort(writer->rows, writer->count, sizeof *writer->rows, in_file_order);
    return AIOS_OK;
}

static void put_metadata(json_text *out, const safetensors_entry *metadata, size_t count)
{
    json_text_format(out, "\"" METADATA "\":{");
    for (size_t i = 0; i < count; i++) {
        json_text_put(out, ",", i > 0);
        json_text_string(out, metadata[i].key, strlen(metadata[i].key), JSON_TEXT_COMPACT);
        json_text_put(out, ":", 1);
        json_text_string(out, metadata[i].value, strlen(metadata[i].value), JSON_TEXT_COMPACT);
    }
    json_text_put(out, "}", 1);
}

static aios_status put_header(safetensors_writer *writer, const safetensors_entry *metadata, size_t metadata_count, json_text *out)
{
    uint64_t begin = 0, length = 0;
    json_text_put(out, (const char *)&length, sizeof length);
    json_text_put(out, "{", 1);
    if (metadata) put_metadata(out, metadata, metadata_count);
    for (size_t i = 0; i < writer->count; i++) {
        const safetensors_tensor *tensor = writer->rows[i].tensor;
        uint64_t end;
        if (!u64_add(begin, writer->rows[i].bytes, &end) || end > INT64_MAX)
            return FAIL(AIOS_OUT_OF_RANGE, "the tensors have more than 2^63 bytes together: write them to several files");
        json_text_put(out, ",", metadata || i > 0);
        json_text_string(out, tensor->name, strlen(tensor->name), JSON_TEXT_COMPACT);
        json_text_format(out, ":{\"dtype\":\"%s\",\"shape\":[", element_name(tensor->dtype));
        for (int d = 0; d < tensor->rank; d++) json_text_format(out, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
        json_text_format(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin, (unsigned long long)end);
        begin = end;
    }
    json_text_put(out, "}", 1);
    while (out->status == AIOS_OK && out->size % 8) json_text_put(out, " ", 1);
    TRY_QUIET(json_text_end(out));
    length = out->size - sizeof length;
    if (length > SAFETENSORS_HEADER_MAX)
        return FAIL(AIOS_OUT_OF_RANGE, "a header of %llu bytes: at most %llu are allowed: use fewer tensors in one file",
                    (unsigned long long)length, (unsigned long long)SAFETENSORS_HEADER_MAX);
    memcpy(out->text, &length, sizeof length);
    return AIOS_OK;
}

static void end_writer(safetensors_writer *writer)
{
    aios_context *context = writer->context;
    os_file_close(&writer->file);
    aios_memory_free(context, writer->rows);
    aios_memory_free(context, writer->path);
    aios_memory_free(context, writer);
    aios_context_release(context);
}

static void skip_full(safetensors_writer *writer)
{
    while (writer->at < writer->count && writer->written == writer->rows[writer->at].bytes) {
        writer->at++;
        writer->written = 0;
    }
}

aios_status safetensors_writer_begin(aios_context *context, const char *path, const safetensors_tensor *tensors, size_t count,
                                     const safetensors_entry *metadata, size_t metadata_count, safetensors_writer **writer)
{
    aios_status status = AIOS_OUT_OF_MEMORY;
    json_text header = JSON_TEXT_INIT(context);
    *writer = NULL;
    safetensors_writer *made = aios_new(context, safetensors_writer);
    if (!made) return status;
    made->context = aios_context_retain(context);
    made->file = OS_FILE_CLOSED;
    made->count = count;
    made->rows = aios_memory_array(context, count, sizeof *made->rows);
    made->path = aios_memory_strdup(context, path);
    if (!made->rows || !made->path) goto done;
    ATTEMPT(plan_rows(made, tensors), "writing %s", path);
    ATTEMPT(put_header(made, metadata, metadata_count, &header), "writing %s", path);
    ATTEMPT_QUIET(os_file_create(path, &made->file));
    ATTEMPT(os_file_write(made->file, header.text, header.size), "writing %s", path);
    for (size_t i = 0; i < count; i++) made->rows[i].tensor = NULL;
    skip_full(made);
    *writer = made;
    made = NULL;
done:
    json_text_free(&header);
    safetensors_writer_abort(made);
    return status;
}

size_t safetensors_writer_next(const safetensors_writer *writer)
{
    return writer->at < writer->count ? writer->rows[writer->at].index : SAFETENSORS_END;
}

aios_status safetensors_writer_write(safetensors_writer *writer, const void *bytes, size_t size)
{
    uint64_t left = writer->at < writer->count ? writer->rows[writer->at].bytes - writer->written : 0;
    if (size > left)
        return FAIL(AIOS_OUT_OF_RANGE, "writing %s: %zu bytes given, %llu left of the tensor", writer->path, size,
                    (unsigned long long)left);
    TRY(os_file_write(writer->file, bytes, size), "writing %s", writer->path);
    writer->written += size;
    skip_full(writer);
    return AIOS_OK;
}

aios_status safetensors_writer_finish(safetensors_writer *writer)
{
    aios_status status = AIOS_OK;
    if (writer->at < writer->count) {
        status = FAIL(AIOS_WRONG_STATE, "finishing %s: tensor %zu of %zu lacks %llu bytes", writer->path, writer->at + 1, writer->count,
                      (unsigned long long)(writer->rows[writer->at].bytes - writer->written));
        goto done;
    }
    ATTEMPT(os_file_sync(writer->file), "writing %s", writer->path);
    end_writer(writer);
    writer = NULL;
done:
    safetensors_writer_abort(writer);
    return status;
}

void safetensors_writer_abort(safetensors_writer *writer)
{
    aios_error_record record;
    if (!writer) return;
    aios_error_save(&record);
    if (writer->file.descriptor >= 0) (void)os_remove(writer->path);
    (void)aios_error_restore(&record);
    end_writer(writer);
}

aios_status safetensors_write(aios_context *context, const char *path, const safetensors_tensor *tensors, size_t count,
                              const safetensors_entry *metadata, size_t metadata_count)
{
    safetensors_writer *writer;
    TRY_QUIET(safetensors_writer_begin(context, path, tensors, count, metadata, metadata_count, &writer));
    for (size_t i; (i = safetensors_writer_next(writer)) != SAFETENSORS_END;) {
        aios_status status = safetensors_writer_write(writer, tensors[i].data, tensors[i].bytes);
        if (status == AIOS_OK && safetensors_writer_next(writer) == i) {
            status = FAIL(AIOS_INVALID_ARGUMENT, "tensor \"%.80s\" has %llu bytes: dtype and shape make more", tensors[i].name,
                          (unsigned long long)tensors[i].bytes);
        }
        if (status != AIOS_OK) {
            safetensors_writer_abort(writer);
            return status;
        }
    }
    return safetensors_writer_finish(writer);
}
