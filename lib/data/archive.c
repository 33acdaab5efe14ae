#include "archive.h"

#include "base/os.h"
#include "base/text.h"
#include "stream.h"

#include <string.h>
#include <sys/types.h>

#define INPUT     ((size_t)64 << 10)
#define TAR_BLOCK 512u
#define NAME_MOST 1024

typedef struct libarchive_handle libarchive_handle;
typedef struct libarchive_entry libarchive_entry;

/* Its answers; every other negative one is a failure. */
enum { LIBARCHIVE_EOF = 1, LIBARCHIVE_OK = 0, LIBARCHIVE_WARN = -20, LIBARCHIVE_FATAL = -30 };
enum { LIBARCHIVE_REGULAR = 0100000 }; /* of file types */

typedef struct libarchive {
    void *library;
#define LIBARCHIVE(result, name, parameters) result(*name) parameters;
#include "libarchive.def"
#undef LIBARCHIVE
} libarchive;

struct archive_reader {
    aios_context *context;
    const char *path; /* borrowed */
    int kind;
    libarchive lib;
    libarchive_handle *handle;
    byte_stream stream; /* of a tar */
    os_file file;       /* of a zip */
    uint64_t offset, taken, size;
    char *input;
    uint64_t zeros;     /* at the end of what was read of a tar */
    aios_status status; /* what failed inside a callback */
    char name[NAME_MOST];
};

/* ---- libarchive -------------------------------------------------------------------------------------------------- */

/* It stays open: what it stands on is not made to be unloaded. */
static aios_status open_library(libarchive *lib, const char *path)
{
    static const char name[] = "libarchive.so.13";
    lib->library = os_library_open(name);
    if (!lib->library) {
        char why[256];
        (void)snprintf(why, sizeof why, "%s", aios_error_message());
        return FAIL(AIOS_UNAVAILABLE,
                    "%s is an archive, and libarchive, which reads them, can't be opened: install it (Debian: libarchive13), or "
                    "unpack the archive into a folder and give that: %s",
                    path, why);
    }
    void *symbol;
#define LIBARCHIVE(result, function, parameters)                                                                                           \
    symbol = os_library_symbol(lib->library, #function);                                                                                   \
    memcpy(&lib->function, &symbol, sizeof symbol);                                                                                        \
    if (!symbol) return FAIL(AIOS_UNAVAILABLE, "%s: %s has no symbol %s: a newer libarchive is needed", path, name, #function);
#include "libarchive.def"
#undef LIBARCHIVE
    return AIOS_OK;
}

/* Nothing in it can move a terminal's cursor, end a line or break a JSON text. */
static void make_printable(char *text)
{
    int is_utf8 = text_is_utf8(text, strlen(text));
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (*c > 0x7f && !is_utf8)) *c = '?';
}

static aios_status fail_read(archive_reader *a, const char *where)
{
    if (a->status != AIOS_OK) return a->status; /* its record is the thread's last */
    const char *given = a->lib.archive_error_string(a->handle);
    char why[256];
    (void)snprintf(why, sizeof why, "%s", given ? given : "no reason given");
    why[strcspn(why, "\n")] = 0;
    make_printable(why);
    return FAIL(AIOS_CORRUPT, "%s: the archive is damaged or cut off: %s", where, why);
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static void count_zeros(archive_reader *a, size_t size)
{
    size_t at = size;
    while (at > 0 && a->input[at - 1] == 0) at--;
    a->zeros = at == 0 ? a->zeros + size : size - at;
}

static ssize_t read_input(libarchive_handle *handle, void *user, const void **bytes)
{
    archive_reader *a = user;
    size_t got = 0;
    (void)handle;
    *bytes = a->input;
    if (a->kind == ARCHIVE_TAR) {
        a->status = stream_read(&a->stream, a->input, INPUT, &got);
        count_zeros(a, got);
    } else {
        a->status = os_file_read_at(a->file, a->offset, a->input, INPUT, &got);
        if (a->status != AIOS_OK) (void)aios_error_add_frame(a->status, "reading %s", a->path);
        a->offset += got;
        a->taken += got;
    }
    return a->status == AIOS_OK ? (ssize_t)got : LIBARCHIVE_FATAL;
}

/* A zip's table stands at its end. */
static int64_t seek_input(libarchive_handle *handle, void *user, int64_t offset, int from)
{
    archive_reader *a = user;
    int64_t base = from == SEEK_SET ? 0 : from == SEEK_CUR ? (int64_t)a->offset : (int64_t)a->size;
    (void)handle;
    if (offset < -base || offset > INT64_MAX - base) return LIBARCHIVE_FATAL;
    a->offset = (uint64_t)(base + offset);
    return base + offset;
}

/* ---- opening, closing -------------------------------------------------------------------------------------------- */

static aios_status open_input(archive_reader *a, int gzip)
{
    if (!(a->input = aios_memory_alloc(a->context, INPUT))) return AIOS_OUT_OF_MEMORY;
    if (a->kind == ARCHIVE_TAR) return stream_open(a->context, a->path, gzip, &a->stream);
    TRY_QUIET(os_file_open(a->path, &a->file));
    return os_file_length(a->file, &a->size);
}

static aios_status open_handle(archive_reader *a)
{
    const libarchive *l = &a->lib;
    if (!(a->handle = l->archive_read_new())) return FAIL(AIOS_OUT_OF_MEMORY, "no memory to read %s", a->path);
    int good = a->kind == ARCHIVE_TAR ? l->archive_read_support_format_tar(a->handle) == LIBARCHIVE_OK &&
                                            l->archive_read_set_option(a->handle, "tar", "read_concatenated_archives", "1") == LIBARCHIVE_OK
                                      : l->archive_read_support_format_zip_seekable(a->handle) == LIBARCHIVE_OK &&
                                            l->archive_read_set_seek_callback(a->handle, seek_input) == LIBARCHIVE_OK;
    good = good && l->archive_read_set_read_callback(a->handle, read_input) == LIBARCHIVE_OK &&
           l->archive_read_set_callback_data(a->handle, a) == LIBARCHIVE_OK;
    if (!good)
        return FAIL(AIOS_UNAVAILABLE, "%s: this libarchive can't read such archives: %s", a->path, l->archive_error_string(a->handle));
    return l->archive_read_open1(a->handle) == LIBARCHIVE_OK ? AIOS_OK : fail_read(a, a->path);
}

aios_status archive_reader_open(aios_context *context, const char *path, int kind, int gzip, archive_reader **made)
{
    aios_status status = AIOS_OK;
    *made = NULL;
    archive_reader *a = aios_new(context, archive_reader);
    if (!a) return AIOS_OUT_OF_MEMORY;
    a->context = context;
    a->path = path;
    a->kind = kind;
    a->file = OS_FILE_CLOSED;
    a->stream = (byte_stream){.context = context, .file = OS_FILE_CLOSED};
    ATTEMPT_QUIET(open_library(&a->lib, path));
    ATTEMPT_QUIET(open_input(a, gzip));
    ATTEMPT_QUIET(open_handle(a));
    *made = a;
done:
    if (status != AIOS_OK) archive_reader_close(a);
    return status;
}

void archive_reader_close(archive_reader *a)
{
    if (!a) return;
    if (a->handle) (void)a->lib.archive_read_free(a->handle);
    stream_close(&a->stream);
    os_file_close(&a->file);
    aios_memory_free(a->context, a->input);
    aios_memory_free(a->context, a);
}

uint64_t archive_reader_done(const archive_reader *a)
{
    return a->kind == ARCHIVE_TAR ? a->stream.offset : a->taken < a->size ? a->taken : a->size;
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

static aios_status take_name(archive_reader *a, libarchive_entry *entry)
{
    const char *name = a->lib.archive_entry_pathname_utf8(entry);
    if (!name) name = a->lib.archive_entry_pathname(entry);
    if (!name || !*name || strlen(name) >= NAME_MOST)
        return FAIL(AIOS_UNSUPPORTED, "%s: the name of a file in it can't be read: unpack it into a folder and give that", a->path);
    (void)snprintf(a->name, sizeof a->name, "%s", name);
    make_printable(a->name);
    return AIOS_OK;
}

/* libarchive turns names into the locale's text, and loses those that it can't. */
static int read_header(archive_reader *a, libarchive_entry **entry, aios_status *status)
{
    os_locale locale;
    os_locale_enter(&locale);
    int answer = a->lib.archive_read_next_header(a->handle, entry);
    *status = answer == LIBARCHIVE_OK || answer == LIBARCHIVE_WARN ? take_name(a, *entry) : AIOS_OK;
    os_locale_leave(&locale);
    return answer;
}

/* As in folders, and what macOS puts beside each file. */
static int is_hidden(const char *name)
{
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        if ((*part == '.' && strncmp(part, "./", 2) != 0 && strncmp(part, "../", 3) != 0) || strncmp(part, "__MACOSX/", 9) == 0) return 1;
    }
    return 0;
}

/* Behind the last member.  A tar has an end mark, two blocks of zeros, without which the rest may be missing; and a
 * gzip's checksum stands behind that. */
static aios_status check_end(archive_reader *a)
{
    if (a->kind != ARCHIVE_TAR) return AIOS_OK;
    for (size_t got = 1; got > 0;) {
        TRY_QUIET(stream_read(&a->stream, a->input, INPUT, &got));
        count_zeros(a, got);
    }
    return a->zeros >= TAR_BLOCK ? AIOS_OK : FAIL(AIOS_CORRUPT, "%s is cut off: the mark at the end of a tar archive is missing", a->path);
}

aios_status archive_reader_next(archive_reader *a, const char **name, int *more)
{
    libarchive_entry *entry;
    *more = 0;
    *name = a->name;
    for (;;) {
        aios_status status;
        int answer = read_header(a, &entry, &status);
        if (answer == LIBARCHIVE_EOF) return check_end(a);
        if (answer != LIBARCHIVE_OK && answer != LIBARCHIVE_WARN) return fail_read(a, a->path);
        TRY_QUIET(status);
        if (a->lib.archive_entry_filetype(entry) != LIBARCHIVE_REGULAR || a->lib.archive_entry_hardlink(entry) || is_hidden(a->name))
            continue;
        if (a->lib.archive_entry_is_encrypted(entry))
            return FAIL(AIOS_UNSUPPORTED, "%s: %s is encrypted: unpack it into a folder and give that", a->path, a->name);
        *more = 1;
        return AIOS_OK;
    }
}

aios_status archive_reader_read(archive_reader *a, char *to, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        ssize_t answer = a->lib.archive_read_data(a->handle, to + *got, size - *got);
        if (answer < 0) {
            char where[NAME_MOST + 256];
            (void)snprintf(where, sizeof where, "%.250s: %s", a->path, a->name);
            return fail_read(a, where);
        }
        if (answer == 0) break;
        *got += (size_t)answer;
    }
    return AIOS_OK;
}
