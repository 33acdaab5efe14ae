/* tokenizer.h: text to numbers and back.
 *
 * Two kinds: "bytes" (built in): ids 0 to 255 are the bytes, 256 ends a text; and byte-level BPE, exactly GPT-2's (Radford et al.,
 * 2019), from Hugging Face's tokenizer.json or from vocab.json and merges.txt.  Every byte string comes back from decoding what
 * it was encoded to.  A tokenizer is immutable: any number of threads may use one. */
#ifndef AIOS_TOKENIZER_H
#define AIOS_TOKENIZER_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_tokenizer aios_tokenizer;

/* spec: "bytes", or a folder (or a file in it) that holds tokenizer.json, or vocab.json and merges.txt, or the tokenizer_config.json that
 * aios_tokenizer_save writes for "bytes".  Errors: NOT_FOUND, CORRUPT (names file and entry), UNSUPPORTED for a tokenizer that can't
 * be followed exactly. */
AIOS_API aios_status aios_tokenizer_open(aios_context *context, const char *spec, aios_tokenizer **tokenizer);
AIOS_API aios_tokenizer *aios_tokenizer_retain(aios_tokenizer *tokenizer);
AIOS_API void aios_tokenizer_close(aios_tokenizer *tokenizer); /* gives up one reference */

AIOS_API const char *aios_tokenizer_name(const aios_tokenizer *tokenizer); /* "bytes", "bpe" */
AIOS_API int32_t aios_tokenizer_vocabulary_size(const aios_tokenizer *tokenizer);
AIOS_API int32_t aios_tokenizer_end_of_text(const aios_tokenizer *tokenizer); /* the id that parts texts; -1 where there is none */
/* 16 hexadecimal digits that differ where any id differs. */
AIOS_API const char *aios_tokenizer_identity(const aios_tokenizer *tokenizer);

/* Any bytes to ids: at most `capacity` of them are written, *count is how many there are.  Special tokens in the text are
 * text.  Errors: OUT_OF_MEMORY. */
AIOS_API aios_status aios_tokenizer_encode(const aios_tokenizer *tokenizer, const char *text, size_t size, int32_t *ids, size_t capacity, size_t *count);
/* Ids to bytes, likewise; special tokens become nothing.  Errors: OUT_OF_RANGE names an id that is none. */
AIOS_API aios_status aios_tokenizer_decode(const aios_tokenizer *tokenizer, const int32_t *ids, size_t count, char *text, size_t capacity, size_t *size);

/* Writes into a folder that exists what aios_tokenizer_open needs to open the same tokenizer from it. */
AIOS_API aios_status aios_tokenizer_save(const aios_tokenizer *tokenizer, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
