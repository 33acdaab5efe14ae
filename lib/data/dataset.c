#include "base/os.h"
#include "base/rng.h"
#include "hub/hub.h"
#include "token_store.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define MILLION          ((uint64_t)1000000)
#define ORDER_STREAM     ((uint64_t)1 << 63) /* of the random numbers; | epoch */
#define SEQUENCE_MOST    (1 << 24)
#define LOCK_SECONDS     0.25
#define LEFTOVER_SECONDS 3600.0 /* where a file system has no locks */
#define EVENT_SECONDS    0.5
#define PREFETCH_MOST    ((uint64_t)256 << 20) /* bytes */

struct aios_dataset {
    aios_context *context;
    aios_tokenizer *tokenizer;
    token_store *store;
    char identity[DIGEST_TEXT], order_identity[DIGEST_TEXT];
    int32_t length, shuffle, split;
    uint64_t seed;
    uint64_t held_per_million, all, held, count;
};

void aios_dataset_options_init(aios_dataset_options *options)
{
    if (options) *options = (aios_dataset_options)AIOS_DATASET_OPTIONS_INIT;
}

static aios_status check_options(const aios_dataset_options *o)
{
    if (!o->path || !*o->path) return FAIL(AIOS_INVALID_ARGUMENT, "dataset: path is missing: it must be a file or a folder");
    if (!o->tokenizer) return FAIL(AIOS_INVALID_ARGUMENT, "dataset: tokenizer is NULL: open one first");
    if (o->sequence_length < 1 || o->sequence_length > SEQUENCE_MOST)
        return FAIL(AIOS_OUT_OF_RANGE, "dataset: sequence_length is %d: it must be 1 to %d", (int)o->sequence_length, SEQUENCE_MOST);
    if (!(o->eval_fraction >= 0 && o->eval_fraction <= 0.5))
        return FAIL(AIOS_OUT_OF_RANGE, "dataset: eval_fraction is %g: it must be 0 to 0.5", o->eval_fraction);
    return AIOS_OK;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

/* What takes longer than a moment is told as it goes on. */
typedef struct watch {
    aios_context *context;
    aios_dataset_progress_fn progress;
    void *user;
    double next;
    int has_told;
} watch;

static int32_t tell_tokenizing(void *user, uint64_t done, uint64_t total)
{
    watch *w = user;
    double now = os_now();
    int is_last = done == total && w->has_told;
    if (w->next > 0 && (now >= w->next || is_last)) {
        char json[128];
        (void)snprintf(json, sizeof json, "{\"phase\": \"tokenizing\", \"done\": %llu, \"total\": %llu}", (unsigned long long)done,
                       (unsigned long long)total);
        aios_emit(w->context, "data", json);
        w->has_told = !is_last;
        w->next = now + EVENT_SECONDS;
    }
    if (w->next <= 0) w->next = now + EVENT_SECONDS;
    return w->progress ? w->progress(w->user, done, total) : 0;
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

/* The user's own folder can't be used: no reason not to train. */
static void tell_temporary(aios_context *context)
{
    aios_log(context, AIOS_LOG_WARNING, "tokens are kept in a temporary file, for this run alone: %s", aios_error_message());
    aios_error_clear();
}

/* "" where a temporary file is to be used. */
static aios_status find_folder(aios_context *context, const char *wanted, char folder[PATH_MAX])
{
    const char *base = os_environment("XDG_CACHE_HOME"), *home = os_environment("HOME");
    if (wanted && !*wanted) wanted = NULL;
    if (base && *base != '/') base = NULL;
    *folder = 0;
    if (!wanted && !base && !(home && *home)) return AIOS_OK;
    TRY(os_path_join(folder, wanted ? wanted : base ? base : home, wanted ? "" : base ? "aios" : ".cache/aios"), "dataset: cache_folder");
    os_path_trim(folder);
    aios_status status = os_folder_create(folder);
    if (status == AIOS_OK || wanted) return status;
    tell_temporary(context);
    *folder = 0;
    return AIOS_OK;
}

/* One file per place and tokenizer, so that a corpus that changed replaces its old tokens. */
static aios_status name_store(const char *folder, const store_wish *wish, char path[PATH_MAX])
{
    digest d;
    char text[DIGEST_TEXT];
    digest_init(&d);
    digest_add_text(&d, wish->sources->key);
    digest_add_text(&d, wish->tokenizer->identity);
    digest_end(&d, text);
    memcpy(text + 32, ".tokens", 8);
    return os_path_join(path, folder, text);
}

static aios_status build_temporary(aios_context *context, const store_wish *wish, token_store **store)
{
    char path[PATH_MAX], name[64];
    const char *folder = os_environment("TMPDIR");
    (void)snprintf(name, sizeof name, "aios-%d-%zx.tokens", os_process_id(), (size_t)(uintptr_t)&path);
    TRY(os_path_join(path, folder && *folder ? folder : "/tmp", name), "TMPDIR");
    TRY_QUIET(store_build(context, path, wish));
    aios_status status = store_open(context, path, wish, store);
    if (status == AIOS_OK && !*store) status = FAIL(AIOS_CORRUPT, "%s was damaged while it was written", path);
    if (*store) *(*store)->path = 0;
    aios_error_record record;
    aios_error_save(&record);
    if (os_remove(path) != AIOS_OK) aios_log(context, AIOS_LOG_WARNING, "%s", aios_error_message());
    (void)aios_error_restore(&record);
    return status;
}

/* What a builder that was killed left beside its store. */
typedef struct leftovers {
    aios_context *context;
    const char *folder, *prefix;
} leftovers;

static aios_status remove_leftover(void *user, const char *name)
{
    const leftovers *l = user;
    char path[PATH_MAX];
    os_file_stamp stamp;
    os_file lock = OS_FILE_CLOSED;
    size_t length = strlen(l->prefix);
    if (strncmp(name, l->prefix, length) != 0 || strncmp(name + length, ".tmp.", 5) != 0) return AIOS_OK;
    TRY_QUIET(os_path_join(path, l->folder, name));
    if (os_file_get_stamp(path, &stamp) != AIOS_OK) return AIOS_OK;
    aios_status status = os_lock_take(path, 0, &lock); /* whoever writes it has it */
    os_lock_release(&lock);
    if (status != AIOS_OK) aios_error_clear();
    if (status != AIOS_OK && (status != AIOS_UNSUPPORTED || os_wall_time() - (double)stamp.modified_ns * 1e-9 < LEFTOVER_SECONDS))
        return AIOS_OK;
    if (os_remove(path) == AIOS_OK) aios_log(l->context, AIOS_LOG_INFO, "removed %s, left by a process that was killed", path);
    return AIOS_OK;
}

/* Waits for a process that makes the same store; *store is what it made. */
static aios_status wait_for_lock(aios_context *context, const char *path, const char *lock_path, const store_wish *wish, os_file *lock,
                                 token_store **store)
{
    for (;;) {
        aios_status status = os_lock_take(lock_path, LOCK_SECONDS, lock);
        if (status == AIOS_OK) return store_open(context, path, wish, store);
        if (status == AIOS_UNSUPPORTED) { /* without locks two may do the same work; each replaces the file whole */
            aios_error_clear();
            return AIOS_OK;
        }
        if (status != AIOS_TIMEOUT) return status;
        aios_error_clear();
        if (wish->progress && wish->progress(wish->progress_user, 0, wish->sources->total))
            return FAIL(AIOS_STOPPED, "tokenizing was stopped while another process made %s", path);
    }
}

/* wanted: the caller named the folder. */
static aios_status open_or_build(aios_context *context, const char *folder, int wanted, const store_wish *wish, token_store **store)
{
    aios_status status = AIOS_OK;
    char path[PATH_MAX], lock_path[PATH_MAX + 8];
    os_file lock = OS_FILE_CLOSED;
    TRY_QUIET(name_store(folder, wish, path));
    TRY_QUIET(store_open(context, path, wish, store));
    if (*store) return AIOS_OK;
    (void)snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    status = wait_for_lock(context, path, lock_path, wish, &lock, store);
    if (status == AIOS_IO && !wanted && lock.descriptor < 0) { /* nothing can be written there */
        tell_temporary(context);
        return build_temporary(context, wish, store);
    }
    if (status != AIOS_OK || *store) goto done;
    leftovers l = {context, folder, path + strlen(folder) + 1};
    ATTEMPT_QUIET(os_folder_list(context, folder, remove_leftover, &l));
    ATTEMPT_QUIET(store_build(context, path, wish));
    ATTEMPT_QUIET(os_folder_sync(folder));
    ATTEMPT_QUIET(store_open(context, path, wish, store));
    if (!*store) status = FAIL(AIOS_CORRUPT, "token cache %s was damaged or replaced while it was written", path);
done:
    if (lock.descriptor >= 0) {
        /* Whoever waits for this lock finds the store first; one who comes later makes a new lock. */
        aios_error_record record;
        aios_error_save(&record);
        (void)os_remove(lock_path);
        (void)aios_error_restore(&record);
        os_lock_release(&lock);
    }
    return status;
}

/* ---- splits ------------------------------------------------------------------------------------------------------ */

/* Of every M samples p are held out, evenly: sample i is where floor((i + 1) p / M) > floor(i p / M). */
static void count_samples(aios_dataset *d, double eval_fraction)
{
    uint64_t labels = d->store->trailer.token_count - 1, length = (uint64_t)d->length;
    d->all = (labels + length - 1) / length;
    d->held_per_million = eval_fraction > 0 ? (uint64_t)llround(eval_fraction * (double)MILLION) : 0;
    if (eval_fraction > 0 && d->held_per_million == 0) d->held_per_million = 1;
    d->held = d->all / MILLION * d->held_per_million + d->all % MILLION * d->held_per_million / MILLION;
}

static void identify_order(aios_dataset *d)
{
    digest order;
    int is_part = d->split != AIOS_SPLIT_ALL && d->held != 0;
    digest_init(&order);
    digest_add_text(&order, d->identity);
    digest_add_u64(&order, (uint64_t)d->length);
    digest_add_u64(&order, is_part ? (uint64_t)d->split : 0);
    digest_add_u64(&order, is_part ? d->held_per_million : 0);
    digest_add_u64(&order, (uint64_t)d->shuffle);
    digest_add_u64(&order, d->shuffle ? d->seed : 0);
    digest_end(&order, d->order_identity);
}

static aios_status choose_split(aios_dataset *d, int32_t split, int32_t shuffle, uint64_t seed)
{
    d->split = split;
    d->shuffle = shuffle != 0;
    d->seed = seed;
    identify_order(d);
    d->count = split == AIOS_SPLIT_ALL ? d->all : split == AIOS_SPLIT_EVAL ? d->held : d->all - d->held;
    if (d->count) return AIOS_OK;
    return FAIL(AIOS_OUT_OF_RANGE, "the corpus has %llu samples of %d tokens: too few to hold out a part of %g", (unsigned long long)d->all,
                (int)d->length, (double)d->held_per_million / (double)MILLION);
}

/* floor(j M / p) without a product that wraps. */
static uint64_t scale(uint64_t j, uint64_t p, uint64_t add)
{
    return j / p * MILLION + (j % p * MILLION + add) / p;
}

/* The sample that is number j of its split. */
static uint64_t place_in_split(const aios_dataset *d, int32_t split, uint64_t j)
{
    uint64_t p = d->held_per_million;
    if (split == AIOS_SPLIT_ALL || d->held == 0) return j;
    if (split == AIOS_SPLIT_TRAIN) return scale(j, MILLION - p, 0);
    return scale(j + 1, p, p - 1) - 1; /* ceil((j + 1) M / p) - 1 */
}

uint64_t aios_dataset_sample(const aios_dataset *d, uint64_t order)
{
    if (!d) return 0;
    uint64_t epoch = order / d->count, j = order % d->count;
    if (d->shuffle) j = rng_permute(d->seed, ORDER_STREAM | epoch, d->count, j);
    return place_in_split(d, d->split, j);
}

/* ---- opening, closing -------------------------------------------------------------------------------------------- */

static void identify(aios_dataset *d, const char *sources)
{
    digest all;
    digest_init(&all);
    digest_add_text(&all, sources);
    digest_add_text(&all, d->tokenizer->identity);
    digest_end(&all, d->identity);
}

static aios_status check_split(int32_t split)
{
    if (split >= AIOS_SPLIT_ALL && split <= AIOS_SPLIT_EVAL) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "dataset: split is %d: it must be AIOS_SPLIT_ALL, _TRAIN or _EVAL", (int)split);
}

static aios_status open_store(aios_context *context, const aios_dataset_options *o, const source_list *sources, token_store **store)
{
    char folder[PATH_MAX];
    watch telling = {context, o->progress, o->progress_user, 0, 0};
    store_wish wish = {o->tokenizer, sources, "", o->skip_bad_lines != 0, tell_tokenizing, &telling};
    TRY_QUIET(source_list_identify_here(sources, wish.identity));
    *folder = 0;
    if (!o->temporary_cache) TRY_QUIET(find_folder(context, o->cache_folder, folder));
    int wanted = o->cache_folder && *o->cache_folder;
    return *folder ? open_or_build(context, folder, wanted, &wish, store) : build_temporary(context, &wish, store);
}

static aios_status open_sources(aios_context *context, const aios_dataset_options *o, source_list *sources)
{
    hub_options hub = HUB_OPTIONS_INIT;
    hub.progress = o->progress;
    hub.progress_user = o->progress_user;
    return hub_is_spec(o->path) ? hub_open(context, o->path, &hub, sources) : source_list_open(context, o->path, sources);
}

aios_status aios_dataset_open(aios_context *context, const aios_dataset_options *given, aios_dataset **dataset)
{
    aios_status status = AIOS_OK;
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    source_list sources;
    char identity[DIGEST_TEXT];
    if (!dataset) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open: dataset is NULL: pass the address of a pointer");
    *dataset = NULL;
    if (!context || !given) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open: context and options must be given");
    TRY_QUIET(aios_struct_read("aios_dataset_options", &o, sizeof o, given));
    TRY_QUIET(check_options(&o));
    TRY_QUIET(check_split(o.split));
    TRY(open_sources(context, &o, &sources), "opening dataset %s", o.path);
    aios_dataset *d = aios_new(context, aios_dataset);
    if (!d) {
        source_list_free(&sources);
        return AIOS_OUT_OF_MEMORY;
    }
    d->context = aios_context_retain(context);
    d->tokenizer = aios_tokenizer_retain(o.tokenizer);
    d->length = o.sequence_length;
    ATTEMPT(open_store(context, &o, &sources, &d->store), "opening dataset %s", o.path);
    ATTEMPT(source_list_identify(&sources, identity), "opening dataset %s", o.path);
    identify(d, identity);
    count_samples(d, o.eval_fraction);
    ATTEMPT(choose_split(d, o.split, o.shuffle, o.seed), "opening dataset %s", o.path);
    if (d->store->trailer.skipped)
        aios_log(context, AIOS_LOG_WARNING, "dataset %s: %llu lines, objects or rows were left out because they can't be read", o.path,
                 (unsigned long long)d->store->trailer.skipped);
done:
    source_list_free(&sources);
    if (status == AIOS_OK)
        *dataset = d;
    else
        aios_dataset_close(d);
    return status;
}

aios_status aios_dataset_open_split(const aios_dataset *dataset, int32_t split, int32_t shuffle, uint64_t seed, aios_dataset **other)
{
    if (!other) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open_split: other is NULL: pass the address of a pointer");
    *other = NULL;
    if (!dataset) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_open_split: dataset is NULL");
    TRY_QUIET(check_split(split));
    aios_dataset *d = aios_new(dataset->context, aios_dataset);
    if (!d) return AIOS_OUT_OF_MEMORY;
    *d = *dataset;
    (void)aios_context_retain(d->context);
    (void)aios_tokenizer_retain(d->tokenizer);
    (void)store_retain(d->store);
    aios_status status = choose_split(d, split, shuffle, seed);
    if (status == AIOS_OK)
        *other = d;
    else
        aios_dataset_close(d);
    return status;
}

void aios_dataset_close(aios_dataset *d)
{
    if (!d) return;
    aios_context *context = d->context;
    store_close(d->store);
    aios_tokenizer_close(d->tokenizer);
    aios_memory_free(context, d);
    aios_context_release(context);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static aios_status read_sample(const aios_dataset *d, uint64_t sample, int32_t *inputs, int32_t *labels)
{
    uint64_t tokens = d->store->trailer.token_count, first = sample * (uint64_t)d->length;
    size_t length = (size_t)d->length, have = tokens - first < length ? (size_t)(tokens - first) : length;
    int32_t padding = d->tokenizer->end_of_text >= 0 ? d->tokenizer->end_of_text : 0, next;
    TRY_QUIET(store_read(d->store, first, have, inputs));
    memcpy(labels, inputs + 1, (have - 1) * sizeof *labels);
    labels[have - 1] = AIOS_IGNORED_LABEL;
    if (first + have < tokens) {
        TRY_QUIET(store_read(d->store, first + have, 1, &next));
        labels[have - 1] = next;
    }
    for (size_t i = have; i < length; i++) {
        inputs[i] = padding;
        labels[i] = AIOS_IGNORED_LABEL;
    }
    return AIOS_OK;
}

aios_status aios_dataset_read(const aios_dataset *d, uint64_t order, int32_t *inputs, int32_t *labels)
{
    if (!d || !inputs || !labels) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_read: dataset, inputs and labels must be given");
    return read_sample(d, aios_dataset_sample(d, order), inputs, labels);
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

aios_status aios_dataset_read_range(const aios_dataset *d, uint64_t epoch, uint64_t first, uint64_t count, int32_t *inputs, int32_t *labels)
{
    if (!d || !inputs || !labels) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_read_range: dataset, inputs and labels must be given");
    if (first > d->count || count > d->count - first)
        return FAIL(AIOS_OUT_OF_RANGE, "dataset: samples %llu to %llu are asked for: an epoch has %llu", (unsigned long long)first,
                    (unsigned long long)(first + count), (unsigned long long)d->count);
    if (epoch > (UINT64_MAX >> 1) / d->count)
        return FAIL(AIOS_OUT_OF_RANGE, "dataset: epoch %llu is asked for: with %llu samples each there are at most %llu",
                    (unsigned long long)epoch, (unsigned long long)d->count, (unsigned long long)((UINT64_MAX >> 1) / d->count));
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = i * (uint64_t)d->length;
        TRY_QUIET(read_sample(d, aios_dataset_sample(d, epoch * d->count + first + i), inputs + at, labels + at));
    }
    return AIOS_OK;
}

/* What is to be read ahead, on a thread that may outlive the dataset, but not its store. */
typedef struct ahead {
    aios_dataset dataset; /* without its references */
    uint64_t first, count;
} ahead;
_Static_assert(sizeof(ahead) <= BACKGROUND_TASK_MOST, "a task of the background thread is too big");

/* Walks the samples in pieces of neighbours, each with the token behind it, which is its last label. */
static void walk_ahead(const ahead *a, const atomic_int *ending, uint64_t (*visit)(token_store *s, uint64_t first, uint64_t count))
{
    const aios_dataset *d = &a->dataset;
    uint64_t length = (uint64_t)d->length, bytes = 0, start = 0, end = 0; /* tokens start … end are not visited yet */
    for (uint64_t i = 0; i < a->count && bytes < PREFETCH_MOST && !atomic_load_explicit(ending, memory_order_relaxed); i++) {
        uint64_t at = aios_dataset_sample(d, a->first + i) * length;
        if (at != end || end - start >= STORE_BLOCK) {
            if (end) bytes += visit(d->store, start, end - start + 1);
            start = at;
        }
        end = at + length;
    }
    if (end) (void)visit(d->store, start, end - start + 1);
}

/* First all that the disk is to bring, in whatever order it likes. */
static void read_ahead(const void *task, const atomic_int *ending)
{
    walk_ahead(task, ending, store_prefetch);
    walk_ahead(task, ending, store_check_ahead);
}

void aios_dataset_prefetch(const aios_dataset *d, uint64_t epoch, uint64_t first, uint64_t count)
{
    if (!d || epoch > (UINT64_MAX >> 1) / d->count || first > UINT64_MAX >> 2 || count == 0) return;
    ahead task = {*d, epoch * d->count + first, count};
    store_do_later(d->store, read_ahead, &task, sizeof task);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

uint64_t aios_dataset_label_bytes(const aios_dataset *d, const int32_t *labels, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; d && labels && i < count; i++) bytes += tokenizer_id_bytes(d->tokenizer, labels[i]);
    return bytes;
}

/* Of all labels that are held out. */
static aios_status sum_held(const aios_dataset *d, uint64_t *bytes)
{
    aios_status status = AIOS_OK;
    size_t length = (size_t)d->length;
    int32_t *values = aios_memory_array(d->context, 2 * length, sizeof *values);
    if (!values) return AIOS_OUT_OF_MEMORY;
    for (uint64_t j = 0; j < d->held; j++) {
        ATTEMPT_QUIET(read_sample(d, place_in_split(d, AIOS_SPLIT_EVAL, j), values, values + length));
        *bytes += aios_dataset_label_bytes(d, values + length, length);
    }
done:
    aios_memory_free(d->context, values);
    return status;
}

aios_status aios_dataset_split_bytes(const aios_dataset *d, uint64_t *bytes)
{
    uint64_t held = 0;
    int32_t first;
    if (!bytes) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_split_bytes: bytes is NULL");
    *bytes = 0;
    if (!d) return FAIL(AIOS_INVALID_ARGUMENT, "aios_dataset_split_bytes: dataset is NULL");
    if (d->split != AIOS_SPLIT_ALL) TRY_QUIET(sum_held(d, &held));
    TRY_QUIET(store_read(d->store, 0, 1, &first)); /* the one token that is no label */
    uint64_t all = d->store->trailer.token_text_bytes - tokenizer_id_bytes(d->tokenizer, first);
    *bytes = d->split == AIOS_SPLIT_EVAL ? held : all - held;
    return AIOS_OK;
}

/* ---- what it is -------------------------------------------------------------------------------------------------- */

uint64_t aios_dataset_count(const aios_dataset *d)
{
    return d ? d->count : 0;
}

int32_t aios_dataset_sequence_length(const aios_dataset *d)
{
    return d ? d->length : 0;
}

uint64_t aios_dataset_tokens(const aios_dataset *d)
{
    return d ? d->store->trailer.token_count : 0;
}

uint64_t aios_dataset_document_count(const aios_dataset *d)
{
    return d ? d->store->trailer.document_count : 0;
}

uint64_t aios_dataset_text_bytes(const aios_dataset *d)
{
    return d ? d->store->trailer.text_bytes : 0;
}

uint64_t aios_dataset_skipped(const aios_dataset *d)
{
    return d ? d->store->trailer.skipped : 0;
}

double aios_dataset_bytes_per_token(const aios_dataset *d)
{
    return d ? (double)d->store->trailer.text_bytes / (double)d->store->trailer.token_count : 0;
}

const char *aios_dataset_identity(const aios_dataset *d)
{
    return d ? d->identity : "";
}

const char *aios_dataset_order_identity(const aios_dataset *d)
{
    return d ? d->order_identity : "";
}

const char *aios_dataset_cache_path(const aios_dataset *d)
{
    return d ? d->store->path : "";
}
