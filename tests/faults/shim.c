/* shim.c: loaded with LD_PRELOAD, it counts the calls that change files and lets the n-th go wrong.
 *
 *   AIOS_FAULT_AT=n     which call, from 1; 0: none
 *   AIOS_FAULT_MODE     kill    the process dies in the middle of the call: of a write, half arrives
 *                       power   the same, and what fsync has not promised is lost: the ends of files, new names, renames
 *                       eio, enospc   the call fails so
 *                       broken  this call and every later one fails with EIO
 *                       nolock  the file system knows no locks
 *                       end     power is lost when the process ends well
 *   AIOS_FAULT_COUNT    a file that gets the number of calls when the process ends */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&(name)))(uintptr_t)dlsym(RTLD_NEXT, #name))
#define MOST       512
#define OWN        200 /* the shim's descriptors begin here: the saver counts those below */

static long calls;

static int is_mode(const char *mode)
{
    const char *set = getenv("AIOS_FAULT_MODE");
    return set && strcmp(set, mode) == 0;
}

/* ---- what a loss of power takes away ----------------------------------------------------------------------------- */

/* A new name, or one that was given by a rename, in a folder that was not made durable since. */
static struct lost_name {
    int from, to; /* O_PATH descriptors of folders, which follow renames; from -1: a creation */
    struct stat folder;
    char name_from[256], name_to[256];
} names[MOST];
static int name_count;

static struct lost_end {
    int file;
    struct stat what;
    off_t durable;
} ends[MOST];
static int end_count;

static int split(const char *path, char name[256])
{
    char folder[4096] = ".";
    const char *slash = strrchr(path, '/');
    (void)snprintf(name, 256, "%s", slash ? slash + 1 : path);
    if (slash) (void)snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int low = openat(AT_FDCWD, folder, O_PATH | O_DIRECTORY | O_CLOEXEC), high = fcntl(low, F_DUPFD_CLOEXEC, OWN);
    (void)close(low);
    return high;
}

/* Whether what fsync has not promised has to be remembered. */
static int is_power_lost(void)
{
    return is_mode("power") || is_mode("end");
}

static void note_name(const char *from, const char *to)
{
    struct lost_name *n = &names[name_count];
    if (!is_power_lost() || name_count == MOST) return;
    n->from = from ? split(from, n->name_from) : -1;
    n->to = split(to, n->name_to);
    if (fstat(n->to, &n->folder) == 0) name_count++;
}

static struct lost_end *find_end(int file)
{
    struct stat info;
    if (fstat(file, &info) != 0) return NULL;
    for (int i = 0; i < end_count; i++)
        if (ends[i].what.st_dev == info.st_dev && ends[i].what.st_ino == info.st_ino) return &ends[i];
    return NULL;
}

static void note_write(int file)
{
    struct lost_end *e = &ends[end_count];
    if (!is_power_lost() || end_count == MOST || find_end(file) || fstat(file, &e->what) != 0 || !S_ISREG(e->what.st_mode)) return;
    e->durable = e->what.st_size;
    e->file = fcntl(file, F_DUPFD_CLOEXEC, OWN);
    end_count++;
}

static void note_fsync(int file)
{
    struct stat info;
    struct lost_end *e = find_end(file);
    int left = 0;
    if (!is_power_lost() || fstat(file, &info) != 0) return;
    if (e) e->durable = info.st_size;
    for (int i = 0; i < name_count; i++)
        if (names[i].folder.st_dev != info.st_dev || names[i].folder.st_ino != info.st_ino) names[left++] = names[i];
    name_count = left;
}

static void remove_below(int folder, const char *name)
{
    char command[512], link[64];
    if (unlinkat(folder, name, 0) == 0) return;
    (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)getpid(), folder);
    (void)snprintf(command, sizeof command, "unset LD_PRELOAD; rm -rf '%s/%s'", link, name);
    if (system(command) != 0) _exit(99);
}

static void lose_power(void)
{
    for (int i = 0; i < end_count; i++)
        if (ftruncate(ends[i].file, ends[i].durable) != 0) _exit(98);
    for (int i = name_count; i-- > 0;) {
        if (names[i].from < 0)
            remove_below(names[i].to, names[i].name_to);
        else
            (void)renameat(names[i].to, names[i].name_to, names[i].from, names[i].name_from);
    }
}

/* ---- the fault --------------------------------------------------------------------------------------------------- */

static void die(void)
{
    if (is_mode("power")) lose_power();
    (void)kill(getpid(), SIGKILL);
}

/* Whether this call is the one: 1, with errno set where it is to fail. */
static int is_due(void)
{
    const char *at = getenv("AIOS_FAULT_AT");
    long n = at ? atol(at) : 0;
    calls++;
    if (n == 0 || calls < n || (calls > n && !is_mode("broken"))) return 0;
    errno = is_mode("enospc") ? ENOSPC : EIO;
    return 1;
}

static int is_deadly(void)
{
    return is_mode("kill") || is_mode("power");
}

/* A call that either happens or not. */
#define FAULT()                                                                                                                            \
    do {                                                                                                                                   \
        if (is_due()) {                                                                                                                    \
            if (is_deadly()) die();                                                                                                        \
            return -1;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

ssize_t write(int file, const void *bytes, size_t size)
{
    if (file <= 2) return REAL(write)(file, bytes, size);
    note_write(file);
    if (is_due()) {
        if (is_deadly()) {
            (void)!REAL(write)(file, bytes, size / 2);
            die();
        }
        return -1;
    }
    return REAL(write)(file, bytes, size);
}

int fsync(int file)
{
    FAULT();
    note_fsync(file);
    return REAL(fsync)(file);
}

int rename(const char *from, const char *to)
{
    FAULT();
    int result = REAL(rename)(from, to);
    if (result == 0) note_name(from, to);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    FAULT();
    int result = REAL(mkdir)(path, mode);
    if (result == 0) note_name(NULL, path);
    return result;
}

int remove(const char *path)
{
    FAULT();
    return REAL(remove)(path);
}

int unlink(const char *path)
{
    FAULT();
    return REAL(unlink)(path);
}

int rmdir(const char *path)
{
    FAULT();
    return REAL(rmdir)(path);
}

int ftruncate64(int file, off_t size)
{
    FAULT();
    return REAL(ftruncate)(file, size);
}

int flock(int file, int operation)
{
    FAULT();
    if (is_mode("nolock")) {
        errno = ENOLCK;
        return -1;
    }
    return REAL(flock)(file, operation);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
        FAULT();
    }
    int is_new = (flags & O_CREAT) && access(path, F_OK) != 0;
    int file = openat(AT_FDCWD, path, flags, mode);
    if (file >= 0 && is_new) note_name(NULL, path);
    return file;
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

__attribute__((destructor)) static void tell_count(void)
{
    if (is_mode("end")) lose_power();
    const char *path = getenv("AIOS_FAULT_COUNT");
    FILE *file = path ? fopen(path, "we") : NULL;
    if (!file) return;
    (void)fprintf(file, "%ld\n", calls);
    (void)fclose(file);
}
