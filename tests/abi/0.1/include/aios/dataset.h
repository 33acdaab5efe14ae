/* dataset.h: a corpus as training samples of equal length.
 *
 * A corpus is a data set of the Hugging Face Hub (below), a file, or a folder of files (read recursively, in byte order of their names,
 * hidden ones left out), each of them also gzipped (.gz, .dz): .txt and other text    one document, of any length .jsonl .ndjson one
 * object, or one string, per line .json                  an array of them, or one after the other .csv .tsv              RFC 4180 with a
 * header row; quoted fields may hold line breaks and archives of them, whose files are read in the archive's order, hidden ones left out:
 * .zip .tar .tar.gz .tgz (with libarchive, which is opened when it is needed).  A file that gives over 64 MiB, and over 250 bytes for each
 * packed one, is refused: no text does. The text of an object or row is the first of the fields text, content, sentence, document, article,
 * body, input, output that it has; input is followed by a line break and output where both are there.  Case does not count in a header row.
 * A byte-order mark at the start of a file is dropped; line ends in text files stay as they are.  One line, object or field has at most 64
 * MiB.
 *
 * hf://[ORG/]NAME[@REVISION][/FILE or FOLDER][:CONFIG][:SPLIT] is a data set of the hub.  It is looked for in the hub's cache on
 * this machine ($HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub, which other programs share).  What is not there is fetched into
 * it with libcurl from $HF_ENDPOINT (https://huggingface.co): with retries, from where it broke off, checked by SHA-256 or git's SHA-1.
 * HF_TOKEN is shown to that server alone, and HF_HUB_OFFLINE=1 forbids to ask it.  Of the files in the formats above those are read
 * whose names hold the word SPLIT (train where none is given; all where no name has such a word), within CONFIG, a folder's name or how a
 * file's name begins.  Parquet is refused, with advice.
 *
 * The corpus is tokenized once, documents separated by the tokenizer's end-of-text id (by nothing where it has none), into a cache
 * file that is mapped into memory, so that a corpus may be far larger than memory.  A cache file is used again only while paths,
 * sizes, modification times and both ends of every source file, and the tokenizer, are the same; else it is made anew.  Its
 * contents are checked (CRC-32 per 64 KiB).
 *
 * With N tokens t and samples of L tokens, sample i has inputs t[iL … iL+L-1] and labels t[iL+1 … iL+L]: every token but the first is
 * a label exactly once.  The last sample may be short: where t has ended, its inputs are the end-of-text id (0 where the
 * tokenizer has none) and its labels AIOS_IGNORED_LABEL.
 *
 * A dataset never changes after it was opened and may be read from any number of threads. */
#ifndef AIOS_DATASET_H
#define AIOS_DATASET_H

#include <aios/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aios_dataset aios_dataset;

/* The label that takes no part in the loss. */
#define AIOS_IGNORED_LABEL (-100)

enum { AIOS_SPLIT_ALL = 0, AIOS_SPLIT_TRAIN = 1, AIOS_SPLIT_EVAL = 2 };

/* Reports fetching (done of total bytes of the files that are missing; total 0 while the hub is asked), then tokenizing (done of total
 * bytes of source files, as they lie on disk).  Called on the thread that opens the dataset, at least once per 256 KiB of text and, while
 * fetching, several times a second.  Return non-zero to stop.
 *
 * The context's event sink hears of what takes longer than a moment: "data" {phase: "fetching" or "tokenizing", done, total; of fetching
 * also dataset, file}. */
typedef int32_t (*aios_dataset_progress_fn)(void *user, uint64_t done, uint64_t total);

typedef struct aios_dataset_options {
    uint32_t struct_size;
    int32_t sequence_length;           /* L, at least 1 */
    const char *path;                  /* a file, a folder or hf://… */
    aios_tokenizer *tokenizer;         /* retained */
    const char *cache_folder;          /* made where missing; NULL or "": the user's ($XDG_CACHE_HOME/aios or ~/.cache/aios) */
    double eval_fraction;              /* 0 … 0.5: the part of the samples that is AIOS_SPLIT_EVAL */
    uint64_t seed;                     /* of the order */
    int32_t split;                     /* AIOS_SPLIT_… */
    int32_t shuffle;                   /* 1: each epoch has its own order, drawn from seed; 0: in order */
    aios_dataset_progress_fn progress; /* NULL: none */
    void *progress_user;
    int32_t skip_bad_lines;  /* 1: lines, objects and rows that can't be read are left out, counted and warned of; 0: an error */
    int32_t temporary_cache; /* 1: a file in $TMPDIR or /tmp that nobody finds again, instead of cache_folder */
} aios_dataset_options;

#define AIOS_DATASET_OPTIONS_INIT                                                                                                          \
    {                                                                                                                                      \
        sizeof(aios_dataset_options), 128, NULL, NULL, NULL, 0.0, 0, AIOS_SPLIT_ALL, 1, NULL, NULL, 0, 0                                   \
    }
AIOS_API void aios_dataset_options_init(aios_dataset_options *options);

/* Opens a corpus, tokenizing it first where the cache has no fresh copy.  A process that wants the same cache file waits for the one
 * that makes it.  A user's cache folder that can't be written is warned of and replaced by a temporary file.
 *
 * Held out are, of every 1 / eval_fraction samples, the last one; the other samples are AIOS_SPLIT_TRAIN.
 *
 * Errors: INVALID_ARGUMENT and OUT_OF_RANGE (an option, by name; a corpus without text; a split without a sample), NOT_FOUND (no such
 * path, or no file in it), CORRUPT (file:line: what is wrong there; a file that changed while it was read), UNSUPPORTED (a format
 * that is not read, with what to do instead), UNAVAILABLE (an archive, and no libarchive; of hf:// no
 * libcurl, no network, an answer that is none, offline), TIMEOUT (of hf://), STOPPED (by progress: nothing is left behind),
 * IO, OUT_OF_MEMORY. */
AIOS_API aios_status aios_dataset_open(aios_context *context, const aios_dataset_options *options, aios_dataset **dataset);
/* Another split or order of the same corpus over the same tokens.  Errors: INVALID_ARGUMENT, OUT_OF_RANGE (no sample), OUT_OF_MEMORY. */
AIOS_API aios_status aios_dataset_open_split(const aios_dataset *dataset, int32_t split, int32_t shuffle, uint64_t seed,
                                             aios_dataset **other);
AIOS_API void aios_dataset_close(aios_dataset *dataset);

/* Samples of one epoch of this split: at least 1. */
AIOS_API uint64_t aios_dataset_count(const aios_dataset *dataset);
AIOS_API int32_t aios_dataset_sequence_length(const aios_dataset *dataset);
/* Of the whole corpus, whatever the split: tokens (end-of-text ids included), documents, bytes of their text, lines left out. */
AIOS_API uint64_t aios_dataset_tokens(const aios_dataset *dataset);
AIOS_API uint64_t aios_dataset_document_count(const aios_dataset *dataset);
AIOS_API uint64_t aios_dataset_text_bytes(const aios_dataset *dataset);
AIOS_API uint64_t aios_dataset_skipped(const aios_dataset *dataset);
AIOS_API double aios_dataset_bytes_per_token(const aios_dataset *dataset); /* of the text, end-of-text ids included */

/* Sample number `order` of an endless run through the data: epoch order / count, position order % count, in that epoch's order.  A
 * pure function of (corpus, options, order), so a position in training is this one number.  inputs and labels hold L values.
 * Errors: CORRUPT (the cache file was damaged: delete it, the message has its name). */
AIOS_API aios_status aios_dataset_read(const aios_dataset *dataset, uint64_t order, int32_t *inputs, int32_t *labels);
/* Which sample of the corpus (the i above) that is. */
AIOS_API uint64_t aios_dataset_sample(const aios_dataset *dataset, uint64_t order);

/* ---- by chunk ----------------------------------------------------------------------------------------------------
 *
 * Workers that share an epoch out (aios/chunk_tracker.h) read what they claimed by number.  The tokens in the cache file are the index:
 * any sample is found without looking at another one, whatever the corpus was (a file, a folder, an archive), and what was
 * read is not kept: a system short of memory takes its pages back.  The tracker of a dataset is opened with
 *
 *     options.dataset_identity = aios_dataset_order_identity(dataset);
 *     options.total_samples = aios_dataset_count(dataset);                    so the last block and its last chunk end where it ends
 *
 * and a claim is trained with
 *
 *     aios_dataset_prefetch(dataset, claim.epoch, claim.end, chunk_samples);  what the next claim, whoever's, will most likely be
 *     aios_dataset_read_range(dataset, claim.epoch, claim.first + trained, count, inputs, labels);
 */

/* Samples first … first + count - 1 of an epoch in that epoch's order: sample k of epoch e is number e * aios_dataset_count + k of
 * aios_dataset_read.  inputs and labels hold count * L values.  A pure function of its arguments; any threads may read any ranges at once.
 * Errors: INVALID_ARGUMENT; OUT_OF_RANGE (a range beyond the epoch's last sample; an epoch above 2^63 / count); CORRUPT (as read). */
AIOS_API aios_status aios_dataset_read_range(const aios_dataset *dataset, uint64_t epoch, uint64_t first, uint64_t count, int32_t *inputs,
                                             int32_t *labels);
/* Has those samples brought into memory and checked on a thread of the dataset's own, and returns at once.  What lies beyond the epoch's
 * end is of the next epoch.  Advice alone: it never fails, about 256 MiB at most are brought, and a wish is left out while 16 others wait.
 */
AIOS_API void aios_dataset_prefetch(const aios_dataset *dataset, uint64_t epoch, uint64_t first, uint64_t count);
/* 64 hexadecimal digits over aios_dataset_identity and all that decides which sample has which number: sequence_length, split,
 * eval_fraction, and of a shuffled dataset the seed.  The same digits mean the same samples in the same order.  Borrowed. */
AIOS_API const char *aios_dataset_order_identity(const aios_dataset *dataset);

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* The bytes of text that labels stand for: none for AIOS_IGNORED_LABEL, special tokens and the end of text.  A summed loss in nats divided
 * by the sum of these is nats per byte, whatever the tokenizer; it is exact. */
AIOS_API uint64_t aios_dataset_label_bytes(const aios_dataset *dataset, const int32_t *labels, size_t count);
/* The same over all labels of the split.  Reads every sample that is held out.  Errors: CORRUPT. */
AIOS_API aios_status aios_dataset_split_bytes(const aios_dataset *dataset, uint64_t *bytes);

/* 64 hexadecimal digits over the source files' names (below path), sizes and first and last 64 KiB, and the tokenizer: what a
 * checkpoint compares before it goes on with its position.  Where the corpus lies and when it was written does not count.
 * Borrowed. */
AIOS_API const char *aios_dataset_identity(const aios_dataset *dataset);
/* The cache file; "" for a temporary one.  Borrowed. */
AIOS_API const char *aios_dataset_cache_path(const aios_dataset *dataset);

#ifdef __cplusplus
}
#endif
#endif
