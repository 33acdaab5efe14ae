/* weights_file.h (internal): the weights of a model: one model.safetensors, or shards that model.safetensors.index.json lists.
 *
 * Layout and file names are Hugging Face's (transformers' save_pretrained): {"metadata": {"total_parameters": n, "total_size":
 * bytes}, "weight_map": {tensor: file}}, files model-00001-of-00003.safetensors. */
#ifndef AIOS_MODEL_WEIGHTS_FILE_H
#define AIOS_MODEL_WEIGHTS_FILE_H

#include "safetensors.h"

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct weights_file weights_file;

/* path: a folder (model.safetensors, or else model.safetensors.index.json with its shards), a .safetensors file, or an index
 * file.  Checks that index and shards agree: each tensor in the shard that the index names and nowhere else.
 * What is borrowed lives until weights_close; reading is free to any number of threads.
 * Errors: NOT_FOUND names what was looked for; CORRUPT names index, tensor and shard; and those of safetensors_open. */
aios_status weights_open(aios_context *context, const char *path, weights_file **weights);
void weights_close(weights_file *weights);

const char *weights_path(const weights_file *weights);
size_t weights_count(const weights_file *weights);
uint64_t weights_bytes(const weights_file *weights); /* of all tensors */
/* By name, in byte order; NULL past the end. */
const safetensors_tensor *weights_get(const weights_file *weights, size_t index);
const safetensors_tensor *weights_find(const weights_file *weights, const char *name); /* NULL where there is none */
/* The same, with a shape that is asked for: rank and dimensions must be these.  Errors: NOT_FOUND, CORRUPT names both shapes. */
aios_status weights_require(const weights_file *weights, const char *name, int rank, const int64_t *shape,
                            const safetensors_tensor **tensor);
/* The strings of the first file's __metadata__, in its order; NULL where it has none. */
const safetensors_entry *weights_metadata(const weights_file *weights, size_t *count);
/* A string of __metadata__ ("format"), from the first shard that has it; NULL where none has. */
const char *weights_metadata_find(const weights_file *weights, const char *key);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct weights_writer weights_writer;

/* Writes into a folder that exists.  Tensors are taken in the order of the list into shards of at most max_shard_size bytes of
 * data (0: one file); a bigger tensor has a shard of its own.  metadata NULL: {"format": "pt"}, which transformers asks for.
 * Files carry temporary names until finish.  Errors: those of safetensors_writer_begin, NOT_FOUND for the folder. */
aios_status weights_writer_begin(aios_context *context, const char *folder, const safetensors_tensor *tensors, size_t count,
                                 const safetensors_entry *metadata, size_t metadata_count, uint64_t max_shard_size,
                                 weights_writer **writer);
/* As those of safetensors_writer; an index is one of the whole list. */
size_t weights_writer_next(const weights_writer *writer);
aios_status weights_writer_write(weights_writer *writer, const void *bytes, size_t size);
/* Gives the files their names, writes the index and removes weights that an earlier save left in the folder.  Each file is
 * durable, the set is not atomic: that is what a checkpoint folder is for.  Ends the writer either way. */
aios_status weights_writer_finish(weights_writer *writer);
void weights_writer_abort(weights_writer *writer); /* NULL is fine; keeps the thread's error record */

/* All at once, from data and bytes of each tensor. */
aios_status weights_write(aios_context *context, const char *folder, const safetensors_tensor *tensors, size_t count,
                          const safetensors_entry *metadata, size_t metadata_count, uint64_t max_shard_size);

#endif
