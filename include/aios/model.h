/* model.h: architectures.  A model is a configuration and a function that records it on a graph: GPT-2 here, any other by
 * aios_model_create_custom, on equal terms.  A model holds no weights; those are an aios_parameters.  Immutable after
 * creation: usable from several threads.  Layout on disk: Hugging Face's (config.json, model.safetensors or shards). */
#ifndef AIOS_MODEL_H
#define AIOS_MODEL_H

#include <aios/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_model aios_model;

/* TRAIN and EVAL: inputs "tokens" (B, T) i32 and "labels" (B, T) i32, one cross-entropy.  DECODE: inputs "tokens" (B, T), "positions" (T)
 * and "start" (1) i32, the positions of the tokens and the first of them; keys and values are kept in states of the whole context
 * length; output "logits" (B, T, V). */
enum { AIOS_MODEL_TRAIN = 0, AIOS_MODEL_EVAL = 1, AIOS_MODEL_DECODE = 2 };

/* From the text of a config.json: {"model_type": "gpt2", "n_layer": …}.  Keys that would change the mathematics and that
 * libaios can't honour are refused by name.  Errors: CORRUPT, UNSUPPORTED, OUT_OF_RANGE. */
AIOS_API aios_status aios_model_create(aios_context *context, const char *config_json, aios_model **model);
/* From config.json of a folder. */
AIOS_API aios_status aios_model_open(aios_context *context, const char *folder, aios_model **model);

typedef struct aios_model_functions {
    uint32_t struct_size;
    int32_t vocabulary_size; /* ids that "tokens" may hold */
    int32_t context_length;  /* largest T */
    int32_t reserved;
    const char *name;
    const char *config_json; /* saved as config.json; may be NULL */
    void *user;
    aios_status (*record)(void *user, aios_graph *graph, int32_t mode, int32_t batch, int32_t sequence);
    void (*destroy)(void *user); /* may be NULL */
} aios_model_functions;
#define AIOS_MODEL_FUNCTIONS_INIT                                                                                                          \
    {                                                                                                                                      \
        sizeof(aios_model_functions), 0, 0, 0, NULL, NULL, NULL, NULL, NULL                                                                \
    }
AIOS_API aios_status aios_model_create_custom(aios_context *context, const aios_model_functions *functions, aios_model **model);
AIOS_API aios_model *aios_model_retain(aios_model *model);
AIOS_API void aios_model_destroy(aios_model *model); /* gives up one reference */

AIOS_API const char *aios_model_name(const aios_model *model);   /* "gpt2" */
AIOS_API const char *aios_model_config(const aios_model *model); /* config.json's text, byte for byte as it was read */
AIOS_API int32_t aios_model_vocabulary_size(const aios_model *model);
AIOS_API int32_t aios_model_context_length(const aios_model *model);

/* Records and finishes a graph. */
AIOS_API aios_status aios_model_record(const aios_model *model, aios_graph *graph, int32_t mode, int32_t batch, int32_t sequence);

/* Reads every parameter from a folder's safetensors.  Tensor names with and without the prefixes "transformer." and "_orig_mod."
 * (torch.compile's) are known, masks (h.N.attn.bias) and a tied lm_head.weight are skipped, anything missing, extra or of another shape is
 * an error by name. */
AIOS_API aios_status aios_model_load_weights(const aios_model *model, aios_parameters *parameters, const char *folder);
/* Writes config.json and model.safetensors (shards of at most max_shard_size bytes; 0: one file) into a folder that exists.
 * type: AIOS_F32, AIOS_BF16 or AIOS_F16.  A folder that was loaded and is saved in its own type is the same, byte for byte. */
AIOS_API aios_status aios_model_save_weights(const aios_model *model, aios_parameters *parameters, const char *folder, int32_t type,
                                             uint64_t max_shard_size);

#ifdef __cplusplus
}
#endif
#endif
