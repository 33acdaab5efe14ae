/* safetensors.h (internal): one .safetensors file, read and written.
 *
 * Format: https://huggingface.co/docs/safetensors: a 64-bit length, a JSON header of that length, the tensors' bytes.  The reader
 * trusts nothing: every number of the header is checked against the file before an address is made of it.  The writer's bytes
 * are those of the public Rust library for the same tensors.  Little-endian machines only, as the rest of libaios. */
#ifndef AIOS_MODEL_SAFETENSORS_H
#define AIOS_MODEL_SAFETENSORS_H

#include "base/error.h"
#include "elements.h"
#include <aios/context.h>

#define SAFETENSORS_RANK_MAX   8
#define SAFETENSORS_HEADER_MAX ((uint64_t)100000000) /* bytes: the Rust library's */

typedef struct safetensors_tensor {
    const char *name;
    int dtype; /* ELEMENT_… */
    int rank;  /* 0 … 8; 0 is one element */
    int64_t shape[SAFETENSORS_RANK_MAX];
    const void *data; /* bytes of it, possibly unaligned: elements_to_f32 and memcpy read them */
    uint64_t bytes;   /* element_size(dtype) * product of shape */
} safetensors_tensor;

typedef struct safetensors_entry {
    const char *key, *value;
} safetensors_entry;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct safetensors_file safetensors_file;

/* Maps and checks a file.  The file must not be cut while it is open (replacing it by name is fine).  What is borrowed
 * from an open file lives until it is closed; reading is free to any number of threads.
 * Errors: CORRUPT names file, tensor, value and what would be right; UNSUPPORTED for a type that libaios lacks (F8_E4M3, …) and
 * more than 8 dimensions; NOT_FOUND, IO, OUT_OF_RANGE, OUT_OF_MEMORY. */
aios_status safetensors_open(aios_context *context, const char *path, safetensors_file **file);
/* The same over bytes that the caller keeps; name stands for them in messages. */
aios_status safetensors_open_memory(aios_context *context, const char *name, const void *bytes, size_t size, safetensors_file **file);
void safetensors_close(safetensors_file *file);

const char *safetensors_path(const safetensors_file *file);
size_t safetensors_count(const safetensors_file *file);
/* In the order of the data; NULL past the end. */
const safetensors_tensor *safetensors_get(const safetensors_file *file, size_t index);
const safetensors_tensor *safetensors_find(const safetensors_file *file, const char *name); /* NULL where there is none */
/* The strings of __metadata__ in the file's order.  NULL where it has no __metadata__, even with *count 0. */
const safetensors_entry *safetensors_metadata(const safetensors_file *file, size_t *count);
const char *safetensors_metadata_find(const safetensors_file *file, const char *key);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct safetensors_writer safetensors_writer;

/* Checks the list and writes the header.  Of each tensor name, dtype, rank and shape are read, and copied.  metadata NULL:
 * no __metadata__.  A file of that name is emptied: whoever needs it whole until the end writes beside it and renames.
 * Errors: INVALID_ARGUMENT (name taken twice or not UTF-8, bad shape), OUT_OF_RANGE, IO, OUT_OF_MEMORY. */
aios_status safetensors_writer_begin(aios_context *context, const char *path, const safetensors_tensor *tensors, size_t count,
                                     const safetensors_entry *metadata, size_t metadata_count, safetensors_writer **writer);
#define SAFETENSORS_END SIZE_MAX
/* Index, in the list that begin was given, of the tensor whose bytes come next: types of wide alignment first, then names.
 * SAFETENSORS_END when all is written. */
size_t safetensors_writer_next(const safetensors_writer *writer);
/* The next bytes of that tensor, in as many pieces as suit the caller.  Errors: OUT_OF_RANGE past the tensor's end, IO. */
aios_status safetensors_writer_write(safetensors_writer *writer, const void *bytes, size_t size);
/* Makes the file durable.  Ends the writer either way; on failure the file is removed.  Errors: WRONG_STATE where bytes are missing, IO. */
aios_status safetensors_writer_finish(safetensors_writer *writer);
/* Ends the writer and removes the file; NULL is fine.  Keeps the thread's error record. */
void safetensors_writer_abort(safetensors_writer *writer);

/* All at once, from data and bytes of each tensor. */
aios_status safetensors_write(aios_context *context, const char *path, const safetensors_tensor *tensors, size_t count,
                              const safetensors_entry *metadata, size_t metadata_count);

/* element_size * product of shape.  Errors: INVALID_ARGUMENT names the tensor and what is wrong with type, rank or shape. */
aios_status safetensors_tensor_bytes(const safetensors_tensor *tensor, uint64_t *bytes);

#endif
