#include "pytorch.h"

#include <math.h>
#include <string.h>

json_t *pytorch_open(const char *file)
{
    char path[512];
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/reference/%s", TEST_SOURCE_DIR, file);
    json_t *document = json_load_file(path, 0, &error);
    if (!document) fail_msg("%s: line %d: %s", path, error.line, error.text);
    return document;
}

json_t *pytorch_get(const json_t *object, const char *key)
{
    json_t *found = json_object_get(object, key);
    if (!found) fail_msg("the reference has no \"%s\"", key);
    return found;
}

double pytorch_number(const json_t *object, const char *key)
{
    json_t *found = pytorch_get(object, key);
    if (!json_is_number(found)) fail_msg("the reference's \"%s\" is no number", key);
    return json_number_value(found);
}

const char *pytorch_tensor(const json_t *document, size_t number, int32_t shape[2], int32_t *rank, size_t *count)
{
    const json_t *entry = json_array_get(pytorch_get(document, "tensors"), number), *sizes = pytorch_get(entry, "shape");
    *rank = (int32_t)json_array_size(sizes);
    *count = 1;
    assert_in_range(*rank, 1, 2);
    for (int32_t i = 0; i < *rank; i++) {
        shape[i] = (int32_t)json_integer_value(json_array_get(sizes, (size_t)i));
        *count *= (size_t)shape[i];
    }
    return json_string_value(pytorch_get(entry, "name"));
}

void pytorch_fill(const json_t *document, size_t number, float *to)
{
    const json_t *entry = json_array_get(pytorch_get(document, "tensors"), number);
    double scale = pytorch_number(entry, "scale"), offset = pytorch_number(entry, "offset");
    int32_t shape[2], rank;
    size_t count;
    (void)pytorch_tensor(document, number, shape, &rank, &count);
    for (size_t i = 0; i < count; i++) {
        uint32_t u = (uint32_t)(i + 1) * 2654435761u + (uint32_t)(number + 1) * 2246822519u;
        u ^= u >> 15;
        u *= 2246822519u;
        u ^= u >> 13;
        u *= 3266489917u;
        u ^= u >> 16;
        to[i] = (float)(offset + scale * ((double)(u >> 8) / 8388608.0 - 1.0));
    }
}

static size_t flatten(const json_t *value, double *to, size_t at, size_t count)
{
    if (!json_is_array(value)) {
        assert_true(json_is_number(value) && at < count);
        to[at] = json_number_value(value);
        return at + 1;
    }
    for (size_t i = 0; i < json_array_size(value); i++) at = flatten(json_array_get(value, i), to, at, count);
    return at;
}

void pytorch_numbers(const json_t *document, const char *key, double *to, size_t count)
{
    assert_int_equal(flatten(pytorch_get(document, key), to, 0, count), count);
}

void pytorch_integers(const json_t *document, const char *key, int32_t *to, size_t count)
{
    double numbers[256];
    assert_true(count <= 256);
    pytorch_numbers(document, key, numbers, count);
    for (size_t i = 0; i < count; i++) to[i] = (int32_t)numbers[i];
}

void pytorch_compare(const json_t *summaries, const char *name, const float *got, size_t count, double tolerance, int squares)
{
    const json_t *summary = pytorch_get(summaries, name);
    double index[64], value[64], largest = 0.0, sum = 0.0, wanted = pytorch_number(summary, "squares");
    size_t entries = json_array_size(pytorch_get(summary, "index"));
    assert_true(entries > 0 && entries <= 64);
    pytorch_numbers(summary, "index", index, entries);
    pytorch_numbers(summary, "value", value, entries);
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)got[i]));
        sum += (double)got[i] * (double)got[i];
    }
    for (size_t i = 0; i < entries; i++) {
        size_t at = (size_t)index[i];
        assert_true(at < count);
        if (!(fabs((double)got[at] - value[i]) <= tolerance * largest))
            fail_msg("%s[%zu] is %.9g and PyTorch's %.9g (largest %.3g)", name, at, (double)got[at], value[i], largest);
    }
    if (squares && !(fabs(sum - wanted) <= tolerance * wanted))
        fail_msg("%s: the squares add up to %.9g and PyTorch's to %.9g", name, sum, wanted);
}
