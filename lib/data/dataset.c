#include "corpus.h"

#include "base/context.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>

struct aios_dataset {
    aios_context *context;
    aios_tokenizer *tokenizer;
    corpus corpus;
    uint64_t length;  /* tokens of a sample */
    uint64_t samples; /* of the corpus */
    uint64_t count;   /* of the split */
    uint64_t every;   /* each so-many-th sample is held out; 0: none */
    uint64_t seed;
    int32_t split, shuffle;
    char identity[20];
};

static aios_status check(const aios_dataset_options *o)
{
    if (!o->path || !*o->path) return FAIL(AIOS_INVALID_ARGUMENT, "no data: name a file or folder of text (dataset-file)");
    if (!o->tokenizer) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open: tokenizer must not be NULL");
    if (o->sequence_length < 1) return FAIL(AIOS_OUT_OF_RANGE, "sequence_length is %d: it must be at least 1", o->sequence_length);
    if (!(o->eval_fraction >= 0 && o->eval_fraction <= 0.5)) return FAIL(AIOS_OUT_OF_RANGE, "eval_fraction is %g: 0 to 0.5 are allowed", o->eval_fraction);
    if (o->split < AIOS_SPLIT_ALL || o->split > AIOS_SPLIT_EVAL) return FAIL(AIOS_INVALID_ARGUMENT, "split is %d: 0 to %d are allowed", o->split, AIOS_SPLIT_EVAL);
    return AIOS_OK;
}

static void count_samples(aios_dataset *d, const aios_dataset_options *o)
{
    uint64_t predicted = d->corpus.header.tokens > 1 ? d->corpus.header.tokens - 1 : 1; /* the last token has no next one */
    d->samples = (predicted + d->length - 1) / d->length;
    d->every = o->eval_fraction > 0 ? (uint64_t)llround(1.0 / o->eval_fraction) : 0;
    uint64_t held_out = d->every ? d->samples / d->every : 0;
    d->count = d->split == AIOS_SPLIT_EVAL ? held_out : d->split == AIOS_SPLIT_TRAIN ? d->samples - held_out : d->samples;
}

aios_status aios_dataset_open(aios_context *context, const aios_dataset_options *given, aios_dataset **dataset)
{
    aios_status status = AIOS_OK;
    if (!context || !given || !dataset) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open: context, options and dataset must not be NULL");
    *dataset = NULL;
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    TRY_QUIET(aios_struct_read("aios_dataset_options", &o, sizeof o, given));
    TRY_QUIET(check(&o));
    aios_dataset *d = aios_new(context, aios_dataset);
    if (!d) return AIOS_OUT_OF_MEMORY;
    d->context = aios_context_retain(context);
    d->tokenizer = aios_tokenizer_retain(o.tokenizer);
    d->length = (uint64_t)o.sequence_length;
    d->seed = o.seed;
    d->split = o.split;
    d->shuffle = o.shuffle;
    ATTEMPT_QUIET(corpus_open(context, &o, &d->corpus));
    count_samples(d, &o);
    (void)snprintf(d->identity, sizeof d->identity, "%016llx", (unsigned long long)d->corpus.header.content);
    if (d->count == 0) {
        status = FAIL(AIOS_OUT_OF_RANGE, "%s has %llu samples of %llu tokens: too few to hold out a part of %g", o.path, (unsigned long long)d->samples,
                      (unsigned long long)d->length, o.eval_fraction);
        goto done;
    }
    *dataset = d;
    d = NULL;
done:
    aios_dataset_close(d);
    return status;
}

void aios_dataset_close(aios_dataset *d)
{
    if (!d) return;
    aios_context *context = d->context;
    corpus_close(&d->corpus);
    aios_tokenizer_close(d->tokenizer);
    aios_memory_free(context, d);
    aios_context_release(context);
}

uint64_t aios_dataset_count(const aios_dataset *d)
{
    return d ? d->count : 0;
}

uint64_t aios_dataset_tokens(const aios_dataset *d)
{
    return d ? d->corpus.header.tokens : 0;
}

double aios_dataset_bytes_per_token(const aios_dataset *d)
{
    return d ? (double)d->corpus.header.bytes / (double)d->corpus.header.tokens : 0;
}

const char *aios_dataset_identity(const aios_dataset *d)
{
    return d ? d->identity : "";
}

/* The n-th sample of the split among those of the corpus: the held-out ones are every-1, 2 every-1, … */
static uint64_t place_in_corpus(const aios_dataset *d, uint64_t n)
{
    uint64_t position = n % d->count;
    if (d->shuffle) position = rng_permute(d->seed, n / d->count, d->count, position);
    if (d->split == AIOS_SPLIT_EVAL) return position * d->every + d->every - 1;
    if (d->split == AIOS_SPLIT_TRAIN && d->every) return position + position / (d->every - 1);
    return position;
}

aios_status aios_dataset_read(const aios_dataset *d, uint64_t n, int32_t *inputs, int32_t *labels)
{
    if (!d || !inputs || !labels) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_read: dataset, inputs and labels must not be NULL");
    uint64_t at = place_in_corpus(d, n) * d->length, tokens = d->corpus.header.tokens;
    int32_t end = aios_tokenizer_end_of_text(d->tokenizer);
    for (uint64_t i = 0; i < d->length; i++, at++) {
        inputs[i] = at < tokens ? corpus_token(&d->corpus, at) : end >= 0 ? end : 0;
        labels[i] = at + 1 < tokens ? corpus_token(&d->corpus, at + 1) : AIOS_IGNORED_LABEL;
        if (inputs[i] < 0 || inputs[i] >= d->corpus.header.vocabulary)
            return FAIL(AIOS_CORRUPT, "the cached token %llu is %d, of a vocabulary of %d: remove the cache folder", (unsigned long long)at, inputs[i], d->corpus.header.vocabulary);
    }
    return AIOS_OK;
}
