/* tokenizer.h: text to token ids and back.
 *
 * Two kinds: "bytes", one id per byte, and byte-level BPE as GPT-2 introduced it (Radford et al., "Language models are
 * unsupervised multitask learners", 2019, section 2.2), read from the files that Hugging Face's tokenizers and OpenAI publish.
 * Text is any bytes: where it is not UTF-8, each wrong byte is a word of its own, and decode(encode(x)) == x for every x (but
 * for tokenizers that put a space before the text or drop some of it because their tokenizer.json says so).
 *
 * A tokenizer never changes after it was opened and may be used from any number of threads. */
#ifndef AIOS_TOKENIZER_H
#define AIOS_TOKENIZER_H

#include <aios/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_tokenizer aios_tokenizer;

/* spec is one of
 *   "bytes"   ids 0 … 255 are the bytes, 256 is end of text: a vocabulary of 257 ids;
 *   a folder  with tokenizer.json, or with vocab.json and merges.txt, or one that aios_tokenizer_save wrote;
 *   a file    tokenizer.json (of any name), or vocab.json, beside which lies merges.txt.
 *
 * Of tokenizer.json these are honoured: model BPE with vocab, merges ("a b" or ["a", "b"]) and ignore_merges; added_tokens;
 * pre_tokenizer ByteLevel (add_prefix_space, use_regex), Split (behavior Isolated, or Removed with invert) and Digits, also in
 * a Sequence that ends with ByteLevel.  Whatever else would change the ids is refused by name: another model, a normalizer,
 * dropout, byte_fallback, word prefixes and suffixes, patterns that look behind.  post_processor, truncation and padding are
 * left out: encode gives what the tokenizers library gives with add_special_tokens=False.
 *
 * The end-of-text id is eos_token of tokenizer_config.json where that names a token, else <|endoftext|>, <|end_of_text|> or
 * </s>, whichever comes first.
 *
 * Errors: NOT_FOUND (no such folder or no tokenizer in it), CORRUPT (what the file holds is wrong: the message names file and
 * entry), UNSUPPORTED (a part that can't be honoured), OUT_OF_RANGE (files over 256 MiB, ids over 16,777,215), IO, OUT_OF_MEMORY. */
AIOS_API aios_status aios_tokenizer_open(aios_context *context, const char *spec, aios_tokenizer **tokenizer);
/* One more reference, which ends with aios_tokenizer_close; returns its argument. */
AIOS_API aios_tokenizer *aios_tokenizer_retain(aios_tokenizer *tokenizer);
AIOS_API void aios_tokenizer_close(aios_tokenizer *tokenizer);

/* The ids of text[0 … length-1].  *count is how many there are; the first min(*count, capacity) are written to ids, which may
 * be NULL where capacity is 0.  length + 1 ids are always enough.  Special tokens in the text ("<|endoftext|>") are text like any
 * other.  A word (as the pattern cuts them) of over 256 KiB is cut there.  Errors: OUT_OF_MEMORY, UNSUPPORTED (the pattern of
 * tokenizer.json needs too many steps for this text). */
AIOS_API aios_status aios_tokenizer_encode(const aios_tokenizer *tokenizer, const char *text, size_t length, int32_t *ids, size_t capacity,
                                           size_t *count);
/* The same, but each added or special token that stands in the text becomes its one id; the longest where several begin at
 * the same byte.  2 * length + 1 ids are always enough.  Errors: also UNSUPPORTED for added tokens with lstrip, rstrip or
 * single_word. */
AIOS_API aios_status aios_tokenizer_encode_special(const aios_tokenizer *tokenizer, const char *text, size_t length, int32_t *ids,
                                                   size_t capacity, size_t *count);
/* The bytes of ids[0 … count-1], in the same way: *length is how many there are, the first min(*length, capacity) are written;
 * no 0 is added.  One id may be a part of a UTF-8 character.  Special tokens and the end of text become nothing.  Errors:
 * OUT_OF_RANGE for an id that is none. */
AIOS_API aios_status aios_tokenizer_decode(const aios_tokenizer *tokenizer, const int32_t *ids, size_t count, char *text, size_t capacity,
                                           size_t *length);

/* One more than the greatest id: the rows of an embedding. */
AIOS_API int32_t aios_tokenizer_vocabulary_size(const aios_tokenizer *tokenizer);
/* The id that stands between documents; -1 where the tokenizer has none. */
AIOS_API int32_t aios_tokenizer_end_of_text(const aios_tokenizer *tokenizer);
/* The id of a token of that text ("<|endoftext|>", " the"); -1 where there is none. */
AIOS_API int32_t aios_tokenizer_find(const aios_tokenizer *tokenizer, const char *text, size_t length);
/* "bytes" or "bpe".  Borrowed. */
AIOS_API const char *aios_tokenizer_name(const aios_tokenizer *tokenizer);
/* 64 hexadecimal digits that are the same for two tokenizers that give the same ids because they came from the same files.
 * Borrowed. */
AIOS_API const char *aios_tokenizer_identity(const aios_tokenizer *tokenizer);

/* The names of the files that aios_tokenizer_save writes ("vocab.json"); NULL past the last.  Borrowed. */
AIOS_API const char *aios_tokenizer_file_name(const aios_tokenizer *tokenizer, uint32_t index);
/* Writes the files that the tokenizer was opened from, byte for byte as they were then, into a folder that is there ("bytes": a
 * tokenizer_config.json that says so), from which aios_tokenizer_open opens the same tokenizer.  Each file is replaced
 * atomically.  Errors: IO, NOT_FOUND. */
AIOS_API aios_status aios_tokenizer_save(const aios_tokenizer *tokenizer, const char *folder);

#ifdef __cplusplus
}
#endif
#endif
