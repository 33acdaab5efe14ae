/* Any bytes as a .safetensors file: refused with an error, or every tensor lies inside them. */
#include "base/context.h"
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int right)
{
    if (!right) abort();
}

static void read_all(const safetensors_file *file, const uint8_t *bytes, size_t size)
{
    uint64_t sum = 0;
    size_t metadata_count;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_tensor *tensor = safetensors_get(file, i);
        const uint8_t *data = tensor->data;
        uint64_t expected;
        float first;
        check(safetensors_tensor_bytes(tensor, &expected) == AIOS_OK && expected == tensor->bytes);
        check(data >= bytes && data <= bytes + size && tensor->bytes <= (uint64_t)(bytes + size - data));
        check(safetensors_find(file, tensor->name) == tensor);
        sum += tensor->bytes;
        if (tensor->bytes && element_is_float(tensor->dtype))
            check(elements_to_f32(tensor->dtype, data + tensor->bytes - element_size(tensor->dtype), &first, 1));
    }
    check(sum <= size);
    const safetensors_entry *metadata = safetensors_metadata(file, &metadata_count);
    for (size_t i = 0; i < metadata_count; i++) check(safetensors_metadata_find(file, metadata[i].key) == metadata[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static aios_context *context;
    safetensors_file *file;
    if (!context) check(aios_context_create(NULL, &context) == AIOS_OK);
    aios_error_clear();
    aios_status status = safetensors_open_memory(context, "fuzz", bytes, size, &file);
    if (status == AIOS_OK)
        read_all(file, bytes, size);
    else
        check(!file && aios_error_status() == status && strlen(aios_error_message()) > 5);
    safetensors_close(status == AIOS_OK ? file : NULL);
    return 0;
}
