/* What hf:// promises: the files that a name means, from the hub's cache where they are there, else over HTTP whatever the server does,
 * each checked, none taken for whole that isn't.  The server is a real one, on loopback. */
#include "counted.h"
#include "data/hub/fetch.h"
#include "folder.h"
#include "http_server.h"

#include <aios/dataset.h>

#define BIG     ((size_t)300000)
#define COMMIT  "0123456789abcdef0123456789abcdef01234567"
#define COMMIT2 "fedcba9876543210fedcba9876543210fedcba98"

/* ---- a data set on a server -------------------------------------------------------------------------------------- */

/* How the server goes wrong. */
enum {
    RIGHT,
    BREAKS_OFF,    /* every answer after a third of what is left */
    ENDS_EARLY,    /* the same, without a length that would tell */
    BUSY,          /* 503, then 429 with Retry-After, then right */
    BUSY_FOR_EVER, /* 503 */
    HANGS,         /* the first time nothing comes after a few bytes */
    SLAMS,         /* the first connections are closed without an answer */
    WRONG_BYTES,   /* of the right number */
    WRONG_ONCE,    /* the first time */
    TOO_MANY,      /* bytes */
    IGNORES_RANGE, /* breaks off once, then 200 and all of it */
    WRONG_RANGE,   /* breaks off once, then goes on elsewhere, where it is asked to */
    NO_RANGE,      /* breaks off once, then 416 */
    REDIRECTS,     /* to another path, as the hub does for big files */
    LOOPS,         /* redirects for ever */
    PRIVATE,       /* 401 */
    ASKS_TO_WAIT,  /* the first time 429 with Retry-After: 1 */
    ASKS_FOR_HOURS /* 429 with Retry-After: 7200 */
};

typedef struct served_file {
    const char *name, *bytes;
    size_t size;
    int lfs;
} served_file;

typedef struct shop {
    http_server server;
    const served_file *files;
    size_t count;
    const char *commit, *list; /* list: what is answered instead of a right one */
    const char *elsewhere;     /* where redirections point to; NULL: here */
    int fault;
    atomic_int lists, downloads, tokens, resumed;
} shop;

static char big[BIG];
static const served_file FILES[] = {{"README.md", "# about\n", 8, 0},
                                    {"data/train-00000-of-00002.jsonl", "{\"text\": \"one\"}\n", 16, 0},
                                    {"data/train-00001-of-00002.jsonl", "{\"text\": \"two\"}\n", 16, 0},
                                    {"data/test-00000-of-00001.jsonl", "{\"text\": \"held\"}\n", 17, 0},
                                    {"big/train.txt", big, BIG, 1}};

static void hash_of(const served_file *file, char text[DIGEST_TEXT])
{
    digest d;
    char start[32];
    digest_init(&d);
    if (!file->lfs) {
        digest_init_sha1(&d);
        digest_add(&d, start, (size_t)snprintf(start, sizeof start, "blob %zu", file->size) + 1);
    }
    digest_add(&d, file->bytes, file->size);
    digest_end(&d, text);
}

/* As the hub answers /api/datasets/REPO/revision/REVISION?blobs=true. */
static void answer_list(shop *s, const http_request *request)
{
    char text[8192], hash[DIGEST_TEXT];
    int used = snprintf(text, sizeof text, "{\"id\": \"org/name\", \"sha\": \"%s\", \"siblings\": [", s->commit), number = s->lists++;
    if (s->fault == BUSY && number < 2) {
        http_answer(request, number ? 429 : 503, number ? "Retry-After: 0\r\n" : "", "try later");
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        const served_file *f = &s->files[i];
        hash_of(f, hash);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s{\"rfilename\": \"%s\", \"size\": %zu, \"blobId\": \"%s\"",
                         i ? ", " : "", f->name, f->size, f->lfs ? COMMIT : hash);
        if (f->lfs)
            used += snprintf(text + used, sizeof text - (size_t)used,
                             ", \"lfs\": {\"sha256\": \"%s\", \"size\": %zu, \"pointerSize\": 134}", hash, f->size);
        used += snprintf(text + used, sizeof text - (size_t)used, "}");
    }
    (void)snprintf(text + used, sizeof text - (size_t)used, "]}");
    http_answer(request, 200, "Content-Type: application/json\r\n", s->list ? s->list : text);
}

/* count bytes from where was asked, of a head that promises `promised`. */
static void give(const http_request *request, const served_file *f, uint64_t from, uint64_t promised, size_t count)
{
    char range[128] = "";
    if (request->has_range)
        (void)snprintf(range, sizeof range, "Content-Range: bytes %llu-%zu/%zu\r\n", (unsigned long long)from, f->size - 1, f->size);
    http_send_head(request, request->has_range ? 206 : 200, promised, range);
    http_send(request, f->bytes + from, count);
}

static void give_other_bytes(const http_request *request, const served_file *f, size_t more)
{
    char *other = calloc(1, f->size + more);
    assert_non_null(other);
    http_send_head(request, 200, f->size + more, "");
    http_send(request, other, f->size + more);
    free(other);
}

static void answer_file(shop *s, const http_request *request, const served_file *f)
{
    int number = s->downloads++;
    uint64_t from = request->has_range && request->from < f->size ? request->from : 0;
    size_t left = f->size - (size_t)from, third = left > 1000 ? left / 3 : left;
    s->resumed += request->has_range;
    switch (s->fault) {
    case BREAKS_OFF: give(request, f, from, left, third); return;
    case ENDS_EARLY: give(request, f, from, HTTP_NO_LENGTH, third); return;
    case BUSY_FOR_EVER: http_answer(request, 503, "", "down for\x1b[2J maintenance"); return;
    case ASKS_FOR_HOURS: http_answer(request, 429, "Retry-After: 7200\r\n", ""); return;
    case ASKS_TO_WAIT:
        if (number > 0) break;
        http_answer(request, 429, "retry-after: 1\r\n", "");
        return;
    case PRIVATE: http_answer(request, 401, "", "Invalid credentials"); return;
    case SLAMS:
        if (number < 2) return;
        break;
    case HANGS:
        if (number > 0) break;
        give(request, f, from, left, 10);
        os_sleep(1.5); /* longer than the client waits */
        return;
    case WRONG_BYTES: give_other_bytes(request, f, 0); return;
    case WRONG_ONCE:
        if (number > 0) break;
        give_other_bytes(request, f, 0);
        return;
    case TOO_MANY: give_other_bytes(request, f, 100); return;
    case IGNORES_RANGE:
    case WRONG_RANGE:
    case NO_RANGE:
        if (number == 0) {
            give(request, f, from, left, third);
            return;
        }
        if (!request->has_range) break;
        if (s->fault == NO_RANGE) {
            http_answer(request, 416, "", "");
        } else if (s->fault == WRONG_RANGE) {
            give(request, f, from + 1, left - 1, left - 1);
        } else {
            http_send_head(request, 200, f->size, "");
            http_send(request, f->bytes, f->size);
        }
        return;
    default: break;
    }
    give(request, f, from, left, left);
}

static void handle(void *user, const http_request *request)
{
    shop *s = user;
    static const char api[] = "/api/datasets/org/name/revision/", files[] = "/datasets/org/name/resolve/", cdn[] = "/cdn/";
    s->tokens += strcmp(request->authorization, "Bearer hf_secret") == 0;
    if (strncmp(request->path, api, sizeof api - 1) == 0) {
        answer_list(s, request);
        return;
    }
    int is_file = strncmp(request->path, files, sizeof files - 1) == 0, is_cdn = strncmp(request->path, cdn, sizeof cdn - 1) == 0;
    const char *name = is_file ? request->path + sizeof files - 1 + 41 : is_cdn ? request->path + sizeof cdn - 1 : "";
    if ((s->fault == REDIRECTS && is_file) || s->fault == LOOPS) {
        char to[256];
        (void)snprintf(to, sizeof to, "Location: %s/cdn/%.100s\r\n", s->elsewhere ? s->elsewhere : "", name);
        http_answer(request, 302, to, "elsewhere");
        return;
    }
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(name, s->files[i].name) != 0) continue;
        answer_file(s, request, &s->files[i]);
        return;
    }
    http_answer(request, 404, "", "no such entry");
}

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static aios_context *context;
static char *folder;
static shop store;
static hub_options options;
static char cache[1024], events[65536];

static void take_event(void *user, const char *name, const char *json)
{
    (void)user;
    size_t used = strlen(events);
    if (used + strlen(name) + strlen(json) + 4 < sizeof events) (void)snprintf(events + used, sizeof events - used, "%s %s\n", name, json);
}

static int set_up(void **state)
{
    static const char *const variables[] = {"HF_ENDPOINT", "HF_HOME",    "HF_HUB_CACHE", "HF_HUB_OFFLINE",
                                            "HF_TOKEN",    "http_proxy", "all_proxy"};
    aios_context_options with = AIOS_CONTEXT_OPTIONS_INIT;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(variables); i++) (void)unsetenv(variables[i]);
    for (size_t i = 0; i < BIG; i++) big[i] = (char)('a' + i * i / 7 % 26);
    with.event = take_event;
    *events = 0;
    if (aios_context_create(&with, &context) != AIOS_OK) return 1;
    folder = test_folder_make();
    (void)snprintf(cache, sizeof cache, "%s/hub", folder);
    memset(&store, 0, sizeof store);
    http_server_start(&store.server, handle, &store);
    store.files = FILES;
    store.count = COUNT_OF(FILES);
    store.commit = COMMIT;
    options = HUB_OPTIONS_INIT;
    options.endpoint = store.server.url;
    options.cache = cache;
    options.wait_seconds = 0.01;
    options.stall_seconds = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_server_stop(&store.server);
    test_folder_remove(folder);
    aios_context_destroy(context);
    return 0;
}

/* The names of a spec's files, each followed by a blank. */
static aios_status list_of(const char *spec, char *names, size_t room)
{
    source_list list;
    *names = 0;
    TRY_QUIET(hub_open(context, spec, &options, &list));
    for (size_t i = 0, used = 0; i < list.count; i++) {
        used += (size_t)snprintf(names + used, room - used, "%s ", list.items[i].name);
        assert_int_equal(os_path_kind(list.items[i].path), OS_FILE);
    }
    source_list_free(&list);
    return AIOS_OK;
}

static void check_list(const char *spec, const char *expected)
{
    char names[4096];
    if (list_of(spec, names, sizeof names) != AIOS_OK) fail_msg("%s: %s", spec, aios_error_message());
    assert_string_equal(names, expected);
}

static void check_refuses(const char *spec, aios_status status, const char *words)
{
    char names[4096];
    assert_fails(list_of(spec, names, sizeof names), status, words);
}

/* The one big file, as it is in the cache after hf://org/name:big, which must be as it is on the server. */
static void check_big(void)
{
    char path[TEST_PATH_MAX], *text;
    size_t size;
    check_list("hf://org/name:big", "big/train.txt ");
    (void)snprintf(path, sizeof path, "%s/datasets--org--name/snapshots/" COMMIT "/big/train.txt", cache);
    assert_ok(os_file_read_all(context, path, BIG + 1, &text, &size));
    assert_int_equal(size, BIG);
    assert_memory_equal(text, big, BIG);
    aios_memory_free(context, text);
}

static void write_cached(const char *name, const char *text)
{
    char path[TEST_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", cache, name);
    *strrchr(path, '/') = 0;
    assert_ok(os_folder_create(path));
    (void)snprintf(path, sizeof path, "%s/%s", cache, name);
    test_file_write(path, text, strlen(text));
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void names_are_read_in_all_their_forms(void **state)
{
    (void)state;
    hub_spec s;
    assert_ok(hub_spec_parse("hf://wikitext", &s));
    assert_string_equal(s.repo, "wikitext");
    assert_string_equal(s.revision, "main");
    assert_ok(hub_spec_parse("hf://datasets/org-1/na.me_2@v1.0/a/b c.txt:en:test", &s));
    assert_string_equal(s.repo, "org-1/na.me_2");
    assert_string_equal(s.revision, "v1.0");
    assert_string_equal(s.path, "a/b c.txt");
    assert_string_equal(s.config, "en");
    assert_string_equal(s.split, "test");
    assert_ok(hub_spec_parse("hf://org/name/data/:train", &s));
    assert_string_equal(s.path, "data");
    assert_string_equal(s.config, "train");
    static const char *const wrong[] = {"hf://",           "hf:///name",     "hf://org/",        "hf://../name",    "hf://org/..",
                                        "hf://org/a b",    "hf://org/n@",    "hf://org/n@../x",  "hf://org/n/../x", "hf://org/n/a//b",
                                        "hf://org/n:",     "hf://org/n:a:",  "hf://org/n:a:b:c", "hf://org/n:a/b",  "hf://org/n/a\nb",
                                        "hf://org/n/a\\b", "hf://org/n?x=y", "hf://org/n#frag"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        if (hub_spec_parse(wrong[i], &s) != AIOS_INVALID_ARGUMENT) fail_msg("\"%s\" passed for a name", wrong[i]);
}

static void check_choice(const char *spec, const char *const *names, size_t count, const char *expected)
{
    hub_files files = {.context = context};
    hub_spec s;
    char chosen[1024] = "";
    assert_ok(hub_spec_parse(spec, &s));
    for (size_t i = 0; i < count; i++) assert_ok(hub_files_add(&files, names[i], 1, ""));
    aios_status status = hub_files_choose(&files, &s);
    for (size_t i = 0; i < count && status == AIOS_OK; i++) {
        if (!files.items[i].chosen) continue;
        (void)snprintf(chosen + strlen(chosen), sizeof chosen - strlen(chosen), "%s ", names[i]);
    }
    if (status != AIOS_OK) (void)snprintf(chosen, sizeof chosen, "%s", aios_status_name(status));
    if (strcmp(chosen, expected) != 0) fail_msg("%s means \"%s\" instead of \"%s\": %s", spec, chosen, expected, aios_error_message());
    hub_files_free(&files);
}

static void a_name_means_the_files_that_its_words_are_in(void **state)
{
    (void)state;
    static const char *const plain[] = {"README.md", "LICENSE.txt", ".gitattributes", "a.txt", "b.jsonl.gz", "loader.py"};
    static const char *const splits[] = {"data/train-0.csv", "data/valid-0.csv", "test.csv", "trainer.csv"};
    static const char *const configs[] = {"en/train.txt", "en/dev.txt", "de/train.txt", "de/dev.txt", "dev-notes.md"};
    static const char *const starts[] = {"TinyStories-train.txt", "TinyStories-valid.txt", "TinyStoriesV2-GPT4-train.txt"};
    static const char *const parquet[] = {"README.md", "data/train-0.parquet"};
    static const char *const none[] = {"README.md", "loader.py"};
#define CHOICE(spec, names, expected) check_choice(spec, names, COUNT_OF(names), expected)
    CHOICE("hf://o/n", plain, "a.txt b.jsonl.gz ");
    CHOICE("hf://o/n:train", plain, "a.txt b.jsonl.gz ");
    CHOICE("hf://o/n:test", plain, "AIOS_NOT_FOUND");
    CHOICE("hf://o/n/LICENSE.txt", plain, "LICENSE.txt ");
    CHOICE("hf://o/n/loader.py", plain, "loader.py ");
    CHOICE("hf://o/n", splits, "data/train-0.csv ");
    CHOICE("hf://o/n:validation", splits, "data/valid-0.csv ");
    CHOICE("hf://o/n:test", splits, "test.csv ");
    CHOICE("hf://o/n/data:test", splits, "AIOS_NOT_FOUND");
    CHOICE("hf://o/n", configs, "en/train.txt de/train.txt ");
    CHOICE("hf://o/n:de", configs, "de/train.txt ");
    CHOICE("hf://o/n:de:validation", configs, "de/dev.txt ");
    CHOICE("hf://o/n:fr:train", configs, "AIOS_NOT_FOUND");
    CHOICE("hf://o/n:TinyStories", starts, "TinyStories-train.txt ");
    CHOICE("hf://o/n:TinyStories:validation", starts, "TinyStories-valid.txt ");
    CHOICE("hf://o/n", parquet, "AIOS_UNSUPPORTED");
    assert_non_null(strstr(aios_error_message(), "to_json"));
    CHOICE("hf://o/n", none, "AIOS_NOT_FOUND");
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static void what_is_in_the_cache_needs_no_server(void **state)
{
    (void)state;
    write_cached("datasets--org--name/refs/main", COMMIT);
    write_cached("datasets--org--name/refs/v2", COMMIT2 "\n");
    write_cached("datasets--org--name/snapshots/" COMMIT "/a/train.txt", "1");
    write_cached("datasets--org--name/snapshots/" COMMIT "/test.txt", "2");
    write_cached("datasets--org--name/snapshots/" COMMIT2 "/train.txt", "3");
    write_cached("datasets--single/refs/main", COMMIT);
    write_cached("datasets--single/snapshots/" COMMIT "/x.txt", "4");
    options.offline = 1;
    options.library = "libcurl-is-not-there.so";
    check_list("hf://org/name", "a/train.txt ");
    check_list("hf://datasets/org/name:test", "test.txt ");
    check_list("hf://org/name@v2", "train.txt ");
    check_list("hf://org/name@" COMMIT2, "train.txt ");
    check_list("hf://single", "x.txt ");
    assert_int_equal(store.lists, 0);
}

static void the_cache_is_where_the_hubs_programs_have_it(void **state)
{
    (void)state;
    options.cache = NULL;
    options.offline = 1;
    write_cached("datasets--o--n/refs/main", COMMIT);
    write_cached("datasets--o--n/snapshots/" COMMIT "/x.txt", "1");
    (void)setenv("HF_HUB_CACHE", cache, 1);
    check_list("hf://o/n", "x.txt ");
    (void)unsetenv("HF_HUB_CACHE");
    (void)setenv("HF_HOME", folder, 1); /* its hub */
    check_list("hf://o/n", "x.txt ");
    (void)setenv("HF_HOME", "/nowhere", 1);
    check_refuses("hf://o/n", AIOS_UNAVAILABLE, "/nowhere/hub");
    (void)unsetenv("HF_HOME");
}

static void parts_that_are_missing_in_the_cache_are_fetched(void **state)
{
    (void)state;
    write_cached("datasets--org--name/refs/main", COMMIT);
    write_cached("datasets--org--name/snapshots/" COMMIT "/data/train-00000-of-00002.jsonl", "{\"text\": \"one\"}\n");
    options.offline = 1;
    check_refuses("hf://org/name:data", AIOS_UNAVAILABLE, "some of its parts are missing");
    options.offline = 0;
    check_list("hf://org/name:data", "data/train-00000-of-00002.jsonl data/train-00001-of-00002.jsonl ");
}

static void a_file_that_was_deleted_is_fetched_again(void **state)
{
    (void)state;
    char path[TEST_PATH_MAX], hash[DIGEST_TEXT];
    check_list("hf://org/name:data:test", "data/test-00000-of-00001.jsonl ");
    check_big();
    hash_of(&FILES[4], hash);
    (void)snprintf(path, sizeof path, "%s/datasets--org--name/blobs/%s", cache, hash);
    assert_ok(os_remove(path));
    options.offline = 1;
    check_refuses("hf://org/name:big", AIOS_UNAVAILABLE, "some of its parts are missing");
    check_list("hf://org/name:data:test", "data/test-00000-of-00001.jsonl "); /* the other is whole */
    options.offline = 0;
    check_big();
    assert_int_equal(store.downloads, 3);
}

static void what_is_nowhere_is_said_to_be(void **state)
{
    (void)state;
    options.offline = 1;
    check_refuses("hf://org/name", AIOS_UNAVAILABLE, "HF_HUB_OFFLINE forbids");
    options.offline = 0;
    (void)setenv("HF_HUB_OFFLINE", "1", 1);
    check_refuses("hf://org/name", AIOS_UNAVAILABLE, "HF_HUB_OFFLINE forbids");
    (void)unsetenv("HF_HUB_OFFLINE");
    options.library = "libcurl-is-not-there.so";
    check_refuses("hf://org/name", AIOS_UNAVAILABLE, "downloads need libcurl, which can't be opened: install it");
    options.library = NULL;
    check_refuses("hf://org/other", AIOS_NOT_FOUND, "the server says 404");
    options.endpoint = "ftp://example.org";
    check_refuses("hf://org/name", AIOS_INVALID_ARGUMENT, "HF_ENDPOINT");
    options.endpoint = "http://127.0.0.1:1"; /* nobody listens */
    options.attempts = 2;
    check_refuses("hf://org/name", AIOS_UNAVAILABLE, "attempt 2 of 2");
}

/* ---- downloads --------------------------------------------------------------------------------------------------- */

static void what_was_fetched_is_in_the_hubs_layout(void **state)
{
    (void)state;
    char path[TEST_PATH_MAX], hash[DIGEST_TEXT], target[TEST_PATH_MAX] = "", wanted[TEST_PATH_MAX], *text;
    size_t size;
    check_list("hf://org/name:data", "data/train-00000-of-00002.jsonl data/train-00001-of-00002.jsonl ");
    assert_int_equal(store.lists, 1);
    assert_int_equal(store.downloads, 2);
    hash_of(&FILES[1], hash);
    (void)snprintf(path, sizeof path, "%s/datasets--org--name/snapshots/" COMMIT "/data/train-00000-of-00002.jsonl", cache);
    (void)snprintf(wanted, sizeof wanted, "../../../blobs/%s", hash);
    assert_true(readlink(path, target, sizeof target - 1) > 0);
    assert_string_equal(target, wanted);
    (void)snprintf(path, sizeof path, "%s/datasets--org--name/refs/main", cache);
    assert_ok(os_file_read_all(context, path, 100, &text, &size));
    assert_string_equal(text, COMMIT);
    aios_memory_free(context, text);
    (void)snprintf(path, sizeof path, "%s/datasets--org--name/blobs", cache);
    assert_int_equal(test_folder_count(context, path), 2); /* no lock, nothing incomplete */

    /* Again: nothing is asked.  Another part: it alone is fetched. */
    check_list("hf://org/name:data", "data/train-00000-of-00002.jsonl data/train-00001-of-00002.jsonl ");
    assert_int_equal(store.lists, 1);
    check_list("hf://org/name:data:test", "data/test-00000-of-00001.jsonl ");
    assert_int_equal(store.downloads, 3);
    /* A new commit, of which the old files are a part, asked for by its name. */
    store.commit = COMMIT2;
    check_list("hf://org/name@" COMMIT2 ":data", "data/train-00000-of-00002.jsonl data/train-00001-of-00002.jsonl ");
    assert_int_equal(store.downloads, 3);
}

static void a_dataset_reads_it(void **state)
{
    (void)state;
    aios_tokenizer *bytes;
    aios_dataset_options o = AIOS_DATASET_OPTIONS_INIT;
    aios_dataset *d, *test;
    int32_t x[8], y[8];
    static const int32_t expected[] = {'o', 'n', 'e', 256, 't', 'w', 'o', 256}, held[] = {'h', 'e', 'l', 'd', 256, 256, 256, 256};
    char tokens[TEST_PATH_MAX];
    (void)snprintf(tokens, sizeof tokens, "%s/tokens", folder);
    assert_ok(aios_tokenizer_open(context, "bytes", &bytes));
    (void)setenv("HF_ENDPOINT", store.server.url, 1);
    (void)setenv("HF_HUB_CACHE", cache, 1);
    o.path = "hf://org/name:data";
    o.tokenizer = bytes;
    o.sequence_length = 8;
    o.cache_folder = tokens;
    assert_ok(aios_dataset_open(context, &o, &d));
    o.path = "hf://org/name:data:test";
    assert_ok(aios_dataset_open(context, &o, &test));
    assert_ok(aios_dataset_read(d, 0, x, y));
    assert_memory_equal(x, expected, sizeof x);
    assert_ok(aios_dataset_read(test, 0, x, y));
    assert_memory_equal(x, held, sizeof x);
    assert_string_not_equal(aios_dataset_cache_path(d), aios_dataset_cache_path(test));
    assert_string_not_equal(aios_dataset_identity(d), aios_dataset_identity(test));
    aios_dataset_close(test);
    aios_dataset_close(d);
    aios_tokenizer_close(bytes);
    (void)unsetenv("HF_ENDPOINT");
    (void)unsetenv("HF_HUB_CACHE");
}

/* Each fault that passes: the file comes, whole and right. */
static void a_download_gets_over_what_passes(void **state)
{
    (void)state;
    static const int faults[] = {RIGHT,      BREAKS_OFF,    ENDS_EARLY,  BUSY,     HANGS,    SLAMS,
                                 WRONG_ONCE, IGNORES_RANGE, WRONG_RANGE, NO_RANGE, REDIRECTS};
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        assert_ok(os_remove_tree(cache));
        store.fault = faults[i];
        store.lists = store.downloads = store.resumed = 0;
        check_big();
        if (store.fault == BREAKS_OFF || store.fault == ENDS_EARLY || store.fault == HANGS) assert_true(store.resumed > 0);
        if (store.fault == RIGHT || store.fault == REDIRECTS) assert_int_equal(store.downloads, 1);
        if (store.fault == BUSY) assert_int_equal(store.lists, 3);
    }
}

static void a_server_says_how_long_to_wait(void **state)
{
    (void)state;
    double start = os_now();
    store.fault = ASKS_TO_WAIT;
    check_big();
    assert_true(os_now() - start >= 1);
    assert_int_equal(store.downloads, 2);
}

static void what_does_not_pass_is_an_error_and_leaves_nothing_whole(void **state)
{
    (void)state;
    static const struct {
        int fault;
        aios_status status;
        const char *words;
    } faults[] = {{BUSY_FOR_EVER, AIOS_UNAVAILABLE, "the server says 503: down for [2J maintenance"},
                  {WRONG_BYTES, AIOS_CORRUPT, "checksum"},
                  {TOO_MANY, AIOS_CORRUPT, "more than its 300000 bytes came"},
                  {LOOPS, AIOS_UNAVAILABLE, "redirect"},
                  {PRIVATE, AIOS_NOT_FOUND, "HF_TOKEN"},
                  {ASKS_FOR_HOURS, AIOS_UNAVAILABLE, "wait for 7200 seconds"}};
    char path[TEST_PATH_MAX];
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        store.fault = faults[i].fault;
        check_refuses("hf://org/name:big", faults[i].status, faults[i].words);
        (void)snprintf(path, sizeof path, "%s/datasets--org--name/snapshots", cache);
        assert_int_equal(os_path_kind(path), OS_NOTHING);
        options.offline = 1;
        check_refuses("hf://org/name:big", AIOS_UNAVAILABLE, "is not in the cache");
        options.offline = 0;
    }
    store.fault = RIGHT;
    check_big();
}

static int32_t stop_in_the_middle(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    *(uint64_t *)user = done;
    return done > 0 && done < total;
}

static int32_t note_total(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    *(uint64_t *)user = total;
    return 0;
}

static void a_download_that_was_stopped_goes_on_later(void **state)
{
    (void)state;
    uint64_t done = 0;
    store.fault = BREAKS_OFF; /* so that there is a middle */
    options.progress = stop_in_the_middle;
    options.progress_user = &done;
    check_refuses("hf://org/name:big", AIOS_STOPPED, "what came is kept");
    assert_true(done > 0 && done < BIG);
    store.fault = RIGHT;
    store.resumed = 0;
    options.progress = note_total;
    check_big();
    assert_int_equal(store.resumed, 1);
    assert_int_equal(done, BIG);
    assert_non_null(strstr(events, "data {\"phase\": \"fetching\", \"dataset\": \"hf://org/name:big\", \"file\": \"big/train.txt\", "
                                   "\"done\": 300000, \"total\": 300000}"));
}

/* The token is for the hub alone: never for the server that it sends big files from. */
static void a_token_goes_to_the_hub(void **state)
{
    (void)state;
    (void)setenv("HF_TOKEN", "hf_secret", 1);
    shop other = {.files = FILES, .count = COUNT_OF(FILES), .commit = COMMIT};
    http_server_start(&other.server, handle, &other);
    store.fault = REDIRECTS;
    store.elsewhere = other.server.url;
    check_big();
    http_server_stop(&other.server);
    assert_int_equal(store.tokens, 2); /* the list, and what was redirected */
    assert_int_equal(other.downloads, 1);
    assert_int_equal(other.tokens, 0);
    (void)setenv("HF_TOKEN", "hf_secret\r\nX: y", 1);
    assert_ok(os_remove_tree(cache));
    check_refuses("hf://org/name:big", AIOS_INVALID_ARGUMENT, "line break");
    (void)unsetenv("HF_TOKEN");
}

static void a_list_that_is_none_or_evil_is_refused(void **state)
{
    (void)state;
#define LISTED(sha, name, hash)                                                                                                            \
    "{\"sha\": \"" sha "\", \"siblings\": [{\"rfilename\": \"" name "\", \"size\": 1, \"blobId\": \"" hash "\"}]}"
    static const char *const lists[] = {"<html>",
                                        "[]",
                                        "{}",
                                        "{\"sha\": \"" COMMIT "\"}",
                                        "{\"sha\": \"" COMMIT "\", \"siblings\": [{\"rfilename\": \"a.txt\"}]}",
                                        LISTED("../../../../../tmp/aios-evil", "a.txt", COMMIT),
                                        LISTED(COMMIT, "../../../a.txt", COMMIT),
                                        LISTED(COMMIT, "/tmp/a.txt", COMMIT),
                                        LISTED(COMMIT, "a/./b.txt", COMMIT),
                                        LISTED(COMMIT, "a\\u000ab.txt", COMMIT),
                                        LISTED(COMMIT, "a.txt", "../../../../../../../../../tmp/aios-evil"),
                                        LISTED(COMMIT, "a.txt", "")};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        char names[100];
        store.list = lists[i];
        if (list_of("hf://org/name", names, sizeof names) != AIOS_CORRUPT) fail_msg("%s: %s", lists[i], aios_error_message());
        assert_int_equal(os_path_kind(cache), OS_NOTHING);
    }
    assert_int_equal(test_folder_count(context, folder), 0);
}

/* ---- many at once, and too little memory ------------------------------------------------------------------------- */

static void *fetch_big(void *user)
{
    source_list list;
    aios_status status = hub_open(context, "hf://org/name:big", &options, &list);
    *(aios_status *)user = status;
    if (status == AIOS_OK) source_list_free(&list);
    return NULL;
}

static void several_at_once_fetch_a_file_once(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    os_thread threads[THREADS];
    aios_status statuses[THREADS];
    store.fault = BREAKS_OFF; /* so that the others wait */
    for (int i = 0; i < THREADS; i++) assert_ok(os_thread_start(&threads[i], "fetch", fetch_big, &statuses[i]));
    for (int i = 0; i < THREADS; i++) os_thread_join(threads[i]);
    for (int i = 0; i < THREADS; i++) assert_int_equal(statuses[i], AIOS_OK);
    assert_int_equal(store.downloads - store.resumed, 1);
    check_big();
}

/* keep: what one round brought is there in the next. */
static int count_failures(int keep)
{
    int failed = 0;
    counted c = {0, 0, 0};
    for (long at = 1; at == 1 || c.asked >= c.fail_at; at++) {
        source_list list;
        aios_context *own = counted_context(&c, at);
        aios_status status = hub_open(own, "hf://org/name:data", &options, &list);
        if (status == AIOS_OK) source_list_free(&list);
        if (status != AIOS_OK && status != AIOS_OUT_OF_MEMORY) fail_msg("allocation %ld: %s", at, aios_error_message());
        failed += status != AIOS_OK;
        aios_context_destroy(own);
        assert_int_equal(c.living, 0);
        if (!keep) assert_ok(os_remove_tree(cache));
    }
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int empty = count_failures(0), full = count_failures(1);
    print_message("%d and %d failures\n", empty, full);
    assert_true(empty > 10 && full > 5);
}

/* ---- checksums --------------------------------------------------------------------------------------------------- */

static void sha1_is_the_one_of_the_standard(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hash; /* FIPS 180-4's examples, and git's empty file */
    } known[] = {{"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
                 {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
                 {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"}};
    char text[DIGEST_TEXT];
    digest d;
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        digest_init_sha1(&d);
        for (const char *c = known[i].text; *c; c++) digest_add(&d, c, 1);
        digest_end(&d, text);
        assert_string_equal(text, known[i].hash);
    }
    const served_file empty = {"", "", 0, 0};
    hash_of(&empty, text);
    assert_string_equal(text, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"); /* as git hash-object says */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(names_are_read_in_all_their_forms),
        TEST(a_name_means_the_files_that_its_words_are_in),
        TEST(what_is_in_the_cache_needs_no_server),
        TEST(the_cache_is_where_the_hubs_programs_have_it),
        TEST(parts_that_are_missing_in_the_cache_are_fetched),
        TEST(a_file_that_was_deleted_is_fetched_again),
        TEST(what_is_nowhere_is_said_to_be),
        TEST(what_was_fetched_is_in_the_hubs_layout),
        TEST(a_dataset_reads_it),
        TEST(a_download_gets_over_what_passes),
        TEST(a_server_says_how_long_to_wait),
        TEST(what_does_not_pass_is_an_error_and_leaves_nothing_whole),
        TEST(a_download_that_was_stopped_goes_on_later),
        TEST(a_token_goes_to_the_hub),
        TEST(a_list_that_is_none_or_evil_is_refused),
        TEST(several_at_once_fetch_a_file_once),
        TEST(every_allocation_may_fail),
        TEST(sha1_is_the_one_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
