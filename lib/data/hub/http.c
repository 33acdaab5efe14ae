#include "http.h"

#include "base/os.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WAIT_MOST    60.0  /* seconds between attempts, unless the server asks for more */
#define ASKED_MOST   300.0 /* the longest that a server may ask for */
#define CONNECT_MOST 30L
#define SAID_MOST    200 /* bytes of an error's text that are told */

struct curl_slist;

enum {
#define CURL_FUNCTION(result, name, parameters)
#define CURL_VALUE(name, number) name = number,
#include "curl.def"
#undef CURL_FUNCTION
#undef CURL_VALUE
};

typedef struct curl_library {
    void *library;
#define CURL_FUNCTION(result, name, parameters) result(*name) parameters;
#define CURL_VALUE(name, number)
#include "curl.def"
#undef CURL_FUNCTION
#undef CURL_VALUE
} curl_library;

struct http {
    aios_context *context;
    hub_options options;
    curl_library curl;
    void *handle;
    char *authorization;
    http_progress progress;
    void *progress_user;
    char why[256]; /* curl's words */
};

/* One GET, over all its attempts. */
typedef struct transfer {
    http *http;
    const char *url;
    /* Where the answer goes: a file, or text of at most `most` bytes. */
    os_file file;
    char *text;
    size_t text_size, text_capacity, most;
    uint64_t have, size; /* of the file */
    /* Of the last answer. */
    long code;
    uint64_t range_start;
    int has_range, has_begun;
    int is_other; /* it is no continuation of what is here */
    double asked; /* seconds to wait; negative: not said */
    char said[SAID_MOST + 1];
    size_t said_size;
    aios_status status; /* what failed in a callback */
} transfer;

/* ---- libcurl ----------------------------------------------------------------------------------------------------- */

static aios_status open_library(curl_library *curl, const char *name)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"};
    char why[256] = "";
    void *symbol;
    if (name) curl->library = os_library_open(name);
    for (size_t i = 0; i < COUNT_OF(names) && !name && !curl->library; i++) {
        curl->library = os_library_open(names[i]);
        if (!curl->library && !*why) (void)snprintf(why, sizeof why, "%s", aios_error_message());
    }
    if (name && !curl->library) (void)snprintf(why, sizeof why, "%s", aios_error_message());
    if (!curl->library)
        return FAIL(AIOS_UNAVAILABLE,
                    "downloads need libcurl, which can't be opened: install it (Debian: libcurl4), or fetch the files with "
                    "another program and give their folder: %s",
                    why);
#define CURL_FUNCTION(result, function, parameters)                                                                                        \
    symbol = os_library_symbol(curl->library, #function);                                                                                  \
    memcpy(&curl->function, &symbol, sizeof symbol);                                                                                       \
    if (!symbol) return FAIL(AIOS_UNAVAILABLE, "libcurl has no symbol %s: a newer one is needed", #function);
#define CURL_VALUE(value, number)
#include "curl.def"
#undef CURL_FUNCTION
#undef CURL_VALUE
    return AIOS_OK;
}

aios_status http_open(aios_context *context, const hub_options *options, http **made)
{
    static os_mutex first = OS_MUTEX_INIT; /* the first handle sets libcurl up, which threads must not do at once */
    *made = NULL;
    http *h = aios_new(context, http);
    if (!h) return AIOS_OUT_OF_MEMORY;
    h->context = context;
    h->options = *options;
    aios_status status = open_library(&h->curl, options->library);
    if (status == AIOS_OK) {
        os_mutex_lock(&first);
        h->handle = h->curl.curl_easy_init();
        os_mutex_unlock(&first);
        if (!h->handle) status = FAIL(AIOS_OUT_OF_MEMORY, "libcurl gave no handle");
    }
    if (status == AIOS_OK)
        *made = h;
    else
        http_close(h);
    return status;
}

/* libcurl itself stays open: what it stands on is not made to be unloaded. */
void http_close(http *h)
{
    if (!h) return;
    if (h->handle) h->curl.curl_easy_cleanup(h->handle);
    aios_memory_free(h->context, h->authorization);
    aios_memory_free(h->context, h);
}

aios_status http_set_token(http *h, const char *token)
{
    if (!token || !*token) return AIOS_OK;
    size_t size = strlen(token) + sizeof "Authorization: Bearer ";
    if (strpbrk(token, "\r\n")) return FAIL(AIOS_INVALID_ARGUMENT, "HF_TOKEN holds a line break");
    if (!(h->authorization = aios_memory_alloc(h->context, size))) return AIOS_OUT_OF_MEMORY;
    (void)snprintf(h->authorization, size, "Authorization: Bearer %s", token);
    return AIOS_OK;
}

void http_set_progress(http *h, http_progress progress, void *user)
{
    h->progress = progress;
    h->progress_user = user;
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

/* The value of a header's line where it has that name. */
static const char *header_value(const char *line, const char *name)
{
    size_t size = strlen(name);
    if (strncasecmp(line, name, size) != 0 || line[size] != ':') return NULL;
    line += size + 1;
    while (*line == ' ' || *line == '\t') line++;
    return line;
}

static size_t take_header(const char *bytes, size_t size, size_t count, void *user)
{
    transfer *t = user;
    char line[256], *end;
    const char *value;
    size_t all = size * count, length = all < sizeof line - 1 ? all : sizeof line - 1;
    memcpy(line, bytes, length);
    line[length] = 0;
    if (strncmp(line, "HTTP/", 5) == 0) { /* a new answer: after a redirection the last one counts */
        const char *code = strchr(line, ' ');
        t->code = code ? strtol(code, NULL, 10) : 0;
        t->has_range = 0;
        t->asked = -1;
        t->said_size = 0;
    } else if ((value = header_value(line, "retry-after"))) {
        double seconds = (double)strtoul(value, &end, 10);
        if (end != value) t->asked = seconds;
    } else if ((value = header_value(line, "content-range")) && strncasecmp(value, "bytes ", 6) == 0) {
        t->range_start = strtoull(value + 6, &end, 10);
        t->has_range = end != value + 6;
    }
    return all;
}

static aios_status put_file(transfer *t, const char *bytes, size_t size)
{
    if (!t->has_begun && t->code == 200 && t->have) { /* the server sends all of it again */
        TRY_QUIET(os_file_truncate(t->file, 0));
        t->have = 0;
    }
    t->is_other = !t->has_begun && t->code == 206 && (!t->has_range || t->range_start != t->have);
    t->has_begun = 1;
    if (t->is_other)
        return FAIL(AIOS_CORRUPT, "%s: bytes from %llu on were asked for, and others came", t->url, (unsigned long long)t->have);
    if (size > t->size - t->have) return FAIL(AIOS_CORRUPT, "%s: more than its %llu bytes came", t->url, (unsigned long long)t->size);
    TRY_QUIET(os_file_write(t->file, bytes, size));
    t->have += size;
    return AIOS_OK;
}

static aios_status put_text(transfer *t, const char *bytes, size_t size)
{
    if (size > t->most - t->text_size) return FAIL(AIOS_OUT_OF_RANGE, "%s: the answer has over %zu bytes", t->url, t->most);
    TRY_QUIET(aios_memory_grow(t->http->context, (void **)&t->text, &t->text_capacity, t->text_size + size + 1, 1));
    memcpy(t->text + t->text_size, bytes, size);
    t->text_size += size;
    t->text[t->text_size] = 0;
    return AIOS_OK;
}

static size_t take_body(const char *bytes, size_t size, size_t count, void *user)
{
    transfer *t = user;
    size_t all = size * count;
    if (t->code != 200 && t->code != 206) {
        for (size_t i = 0; i < all && t->said_size < SAID_MOST; i++)
            t->said[t->said_size++] = (unsigned char)bytes[i] < 0x20 || (unsigned char)bytes[i] > 0x7e ? ' ' : bytes[i];
        t->said[t->said_size] = 0;
        return all;
    }
    t->status = t->file.descriptor >= 0 ? put_file(t, bytes, all) : put_text(t, bytes, all);
    return t->status == AIOS_OK ? all : 0;
}

static aios_status report(transfer *t)
{
    http *h = t->http;
    return h->progress ? h->progress(h->progress_user, t->have) : AIOS_OK;
}

static int take_progress(void *user, int64_t total, int64_t now, int64_t up_total, int64_t up_now)
{
    transfer *t = user;
    (void)total, (void)now, (void)up_total, (void)up_now;
    if (t->status == AIOS_OK) t->status = report(t);
    return t->status != AIOS_OK;
}

/* ---- attempts ---------------------------------------------------------------------------------------------------- */

static int set_options(transfer *t, struct curl_slist *headers, const char *range)
{
    const curl_library *c = &t->http->curl;
    void *handle = t->http->handle;
    long stall = (long)(t->http->options.stall_seconds + 0.999), both = CURLPROTO_HTTP | CURLPROTO_HTTPS;
    long next = strncmp(t->url, "https:", 6) == 0 ? (long)CURLPROTO_HTTPS : both;
    int bad = 0;
    c->curl_easy_reset(handle);
    bad |= c->curl_easy_setopt(handle, CURLOPT_URL, t->url);
    bad |= c->curl_easy_setopt(handle, CURLOPT_USERAGENT, "libaios");
    bad |= c->curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, t->http->why);
    bad |= c->curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    bad |= c->curl_easy_setopt(handle, CURLOPT_PROTOCOLS, both);
    bad |= c->curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS, next);
    bad |= c->curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
    bad |= c->curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 8L);
    bad |= c->curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, CONNECT_MOST < stall ? CONNECT_MOST : stall);
    bad |= c->curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    bad |= c->curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, stall);
    bad |= c->curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, take_header);
    bad |= c->curl_easy_setopt(handle, CURLOPT_HEADERDATA, t);
    bad |= c->curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_body);
    bad |= c->curl_easy_setopt(handle, CURLOPT_WRITEDATA, t);
    bad |= c->curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    bad |= c->curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, take_progress);
    bad |= c->curl_easy_setopt(handle, CURLOPT_XFERINFODATA, t);
    if (headers) bad |= c->curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    if (range) bad |= c->curl_easy_setopt(handle, CURLOPT_RANGE, range);
    return !bad;
}

static int may_pass(int result)
{
    static const int passing[] = {CURLE_COULDNT_RESOLVE_PROXY,
                                  CURLE_COULDNT_RESOLVE_HOST,
                                  CURLE_COULDNT_CONNECT,
                                  CURLE_HTTP2,
                                  CURLE_PARTIAL_FILE,
                                  CURLE_OPERATION_TIMEDOUT,
                                  CURLE_SSL_CONNECT_ERROR,
                                  CURLE_GOT_NOTHING,
                                  CURLE_SEND_ERROR,
                                  CURLE_RECV_ERROR,
                                  CURLE_HTTP2_STREAM,
                                  CURLE_HTTP3};
    for (size_t i = 0; i < COUNT_OF(passing); i++)
        if (result == passing[i]) return 1;
    return 0;
}

/* What the server answered, judged.  *again: it may be different in a while. */
static aios_status judge_code(transfer *t, int *again)
{
    if (*t->said == '<') t->said_size = 0; /* a page for people */
    t->said[t->said_size] = 0;
    *again = t->code == 408 || t->code == 429 || t->code == 500 || t->code == 502 || t->code == 503 || t->code == 504;
    switch (t->code) {
    case 200:
    case 206: return AIOS_OK;
    case 401:
    case 403:
        return FAIL(AIOS_NOT_FOUND,
                    "%s: the server says %ld: it is not there, or private or gated: set HF_TOKEN to a token that may read it%s%s", t->url,
                    t->code, t->said_size ? ": " : "", t->said);
    case 404:
    case 410:
        return FAIL(AIOS_NOT_FOUND, "%s: the server says %ld: it is not there%s%s", t->url, t->code, t->said_size ? ": " : "", t->said);
    default: return FAIL(AIOS_UNAVAILABLE, "%s: the server says %ld%s%s", t->url, t->code, t->said_size ? ": " : "", t->said);
    }
}

/* *again: the failure may pass. */
static aios_status attempt(transfer *t, int *again)
{
    http *h = t->http;
    char range[32];
    struct curl_slist *headers = h->authorization ? h->curl.curl_slist_append(NULL, h->authorization) : NULL;
    *again = 0;
    if (h->authorization && !headers) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to ask for %s", t->url);
    (void)snprintf(range, sizeof range, "%llu-", (unsigned long long)t->have);
    t->code = 0;
    t->has_range = t->has_begun = t->is_other = 0;
    t->asked = -1;
    t->said_size = t->text_size = 0;
    *t->said = *h->why = 0;
    int good = set_options(t, headers, t->have ? range : NULL);
    int result = good ? h->curl.curl_easy_perform(h->handle) : CURLE_OK;
    h->curl.curl_slist_free_all(headers);
    if (!good) return FAIL(AIOS_UNAVAILABLE, "this libcurl doesn't know an option that is needed: a newer one is");
    if (t->is_other || (t->code == 416 && t->have)) { /* the next attempt asks for all of it */
        TRY_QUIET(os_file_truncate(t->file, 0));
        t->have = 0;
        t->status = AIOS_OK;
        *again = 1;
        return FAIL(AIOS_CORRUPT, "%s: the server does not go on where the download broke off", t->url);
    }
    if (t->status != AIOS_OK) return t->status;
    if (result == CURLE_OK) return judge_code(t, again);
    *again = may_pass(result);
    return FAIL(result == CURLE_OPERATION_TIMEDOUT ? AIOS_TIMEOUT : AIOS_UNAVAILABLE, "%s: %s", t->url,
                *h->why ? h->why : h->curl.curl_easy_strerror(result));
}

/* A pause that progress can end. */
static aios_status pause_for(transfer *t, double seconds)
{
    for (double end = os_now() + seconds, left = seconds; left > 0; left = end - os_now()) {
        TRY_QUIET(report(t));
        os_sleep(left < 0.1 ? left : 0.1);
    }
    return AIOS_OK;
}

static aios_status run(transfer *t)
{
    http *h = t->http;
    aios_error_record record;
    for (int failed = 0;;) {
        int again;
        uint64_t before = t->have;
        aios_status status = attempt(t, &again);
        if (status == AIOS_OK && (t->file.descriptor < 0 || t->have == t->size)) return AIOS_OK;
        if (status == AIOS_OK) {
            status =
                FAIL(AIOS_CORRUPT, "%s: %llu of its %llu bytes came", t->url, (unsigned long long)t->have, (unsigned long long)t->size);
            again = 1;
        }
        if (!again) return status;
        failed = t->have > before ? 1 : failed + 1;
        if (failed >= h->options.attempts) return aios_error_add_frame(status, "attempt %d of %d", failed, h->options.attempts);
        double wait = h->options.wait_seconds;
        for (int i = 1; i < failed && wait < WAIT_MOST; i++) wait *= 2;
        if (wait > WAIT_MOST) wait = WAIT_MOST;
        if (t->asked > ASKED_MOST) return aios_error_add_frame(status, "the server asks to wait for %.0f seconds", t->asked);
        if (t->asked >= 0) wait = t->asked;
        aios_log(h->context, AIOS_LOG_INFO, "%s: trying again in %.1f s", aios_error_message(), wait);
        aios_error_save(&record);
        TRY_QUIET(pause_for(t, wait));
        (void)aios_error_restore(&record);
    }
}

aios_status http_get(http *h, const char *url, size_t most, char **text, size_t *size)
{
    transfer t = {.http = h, .url = url, .file = OS_FILE_CLOSED, .most = most};
    *text = NULL;
    *size = 0;
    aios_status status = run(&t);
    if (status == AIOS_OK && !t.text) status = put_text(&t, "", 0);
    if (status != AIOS_OK) {
        aios_memory_free(h->context, t.text);
        return status;
    }
    *text = t.text;
    *size = t.text_size;
    return AIOS_OK;
}

aios_status http_get_file(http *h, const char *url, uint64_t size, const char *path)
{
    aios_status status = AIOS_OK;
    transfer t = {.http = h, .url = url, .file = OS_FILE_CLOSED, .size = size};
    ATTEMPT_QUIET(os_file_append(path, &t.file));
    ATTEMPT_QUIET(os_file_length(t.file, &t.have));
    if (t.have > size) {
        ATTEMPT_QUIET(os_file_truncate(t.file, 0));
        t.have = 0;
    }
    if (t.have < size) ATTEMPT_QUIET(run(&t));
    ATTEMPT(os_file_sync(t.file), "writing %s", path);
done:
    os_file_close(&t.file);
    return status;
}
