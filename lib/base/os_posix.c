/* The only file of libaios that talks to POSIX. */
#include "context.h"
#include "os.h"

#include <dirent.h>
#include <dlfcn.h>
#if defined(__linux__)
#include <elf.h>
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/vfs.h>
#endif
#include <time.h>
#include <unistd.h>

#define TRANSFER_MOST ((size_t)1 << 30)

/* ---- threads ----------------------------------------------------------------------------------------------------- */

void os_mutex_init(os_mutex *mutex)
{
    (void)pthread_mutex_init(mutex, NULL);
}

void os_mutex_destroy(os_mutex *mutex)
{
    (void)pthread_mutex_destroy(mutex);
}

void os_mutex_lock(os_mutex *mutex)
{
    (void)pthread_mutex_lock(mutex);
}

void os_mutex_unlock(os_mutex *mutex)
{
    (void)pthread_mutex_unlock(mutex);
}

void os_condition_init(os_condition *condition)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&condition->condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    condition->process = getpid();
}

void os_condition_destroy(os_condition *condition)
{
    if (condition->process == getpid()) (void)pthread_cond_destroy(&condition->condition); /* which waits for who still waits */
}

void os_condition_wait(os_condition *condition, os_mutex *mutex)
{
    (void)pthread_cond_wait(&condition->condition, mutex);
}

int os_condition_wait_for(os_condition *condition, os_mutex *mutex, double seconds)
{
    struct timespec until;
    double end = os_now() + seconds;
    until.tv_sec = (time_t)end;
    until.tv_nsec = (long)((end - (double)until.tv_sec) * 1e9);
    return pthread_cond_timedwait(&condition->condition, mutex, &until) != ETIMEDOUT;
}

void os_condition_signal(os_condition *condition)
{
    (void)pthread_cond_signal(&condition->condition);
}

void os_condition_broadcast(os_condition *condition)
{
    (void)pthread_cond_broadcast(&condition->condition);
}

aios_status os_thread_start(os_thread *thread, const char *name, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->thread, NULL, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) return FAIL_OS(AIOS_OUT_OF_MEMORY, error, "starting thread %s", name);
    (void)pthread_setname_np(thread->thread, name);
    thread->process = getpid();
    return AIOS_OK;
}

void os_thread_join(os_thread thread)
{
    if (thread.process == getpid()) (void)pthread_join(thread.thread, NULL);
}

void os_thread_detach(os_thread thread)
{
    if (thread.process == getpid()) (void)pthread_detach(thread.thread);
}

os_signals os_signals_hold(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    os_signals held, before;
    (void)sigfillset(&held);
    for (size_t i = 0; i < COUNT_OF(faults); i++) (void)sigdelset(&held, faults[i]);
    (void)pthread_sigmask(SIG_BLOCK, &held, &before);
    return before;
}

void os_signals_let(const os_signals *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

int os_cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

void os_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void os_thread_yield(void)
{
    (void)sched_yield();
}

static uint64_t pages(int name)
{
    long count = sysconf(name), size = sysconf(_SC_PAGESIZE);
    return count > 0 && size > 0 ? (uint64_t)count * (uint64_t)size : 0;
}

uint64_t os_memory_total(void)
{
    return pages(_SC_PHYS_PAGES);
}

uint64_t os_memory_free(void)
{
    /* MemAvailable counts the page cache, which the kernel gives back; _SC_AVPHYS_PAGES does not. */
    FILE *file = fopen("/proc/meminfo", "re");
    unsigned long long kilobytes = 0;
    char line[128];
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) break;
    if (file) (void)fclose(file);
    return kilobytes ? (uint64_t)kilobytes * 1024 : pages(_SC_AVPHYS_PAGES);
}

static void copy_value(const char *line, const char *key, char *to, size_t size)
{
    size_t length = strlen(key);
    const char *colon = strchr(line, ':');
    if (*to || strncmp(line, key, length) != 0 || (line[length] != '\t' && line[length] != ' ') || !colon) return;
    (void)snprintf(to, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
    to[strcspn(to, "\n")] = 0;
}

void os_cpu_model(char *name, size_t name_size, char *vendor, size_t vendor_size)
{
    char line[256];
    *name = *vendor = 0;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && !(*name && *vendor) && fgets(line, sizeof line, file)) {
        copy_value(line, "model name", name, name_size);
        copy_value(line, "vendor_id", vendor, vendor_size);
        copy_value(line, "CPU implementer", vendor, vendor_size);
    }
    if (file) (void)fclose(file);
}

#define BIG_PAGE ((size_t)2 << 20)

/* What stands in the page before the memory that was handed out. */
struct mapping {
    void *base;
    size_t size;
};

void *os_pages_alloc(size_t size)
{
    size_t whole;
    void *base = MAP_FAILED;
    if (!__builtin_add_overflow(size, BIG_PAGE + sizeof(struct mapping), &whole))
        base = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        (void)FAIL(AIOS_OUT_OF_MEMORY, "no memory: %zu bytes asked of the system", size);
        return NULL;
    }
    size_t gap = sizeof(struct mapping) + (0 - ((uintptr_t)base + sizeof(struct mapping))) % BIG_PAGE;
    char *start = (char *)base + gap;
    struct mapping mapping = {base, whole};
    memcpy(start - sizeof mapping, &mapping, sizeof mapping);
#ifdef MADV_HUGEPAGE
    if (size >= BIG_PAGE) (void)madvise(start, size, MADV_HUGEPAGE);
#endif
    return start;
}

void os_pages_free(void *pointer)
{
    struct mapping mapping;
    if (!pointer) return;
    memcpy(&mapping, (char *)pointer - sizeof mapping, sizeof mapping);
    (void)munmap(mapping.base, mapping.size);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double os_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double os_wall_time(void)
{
    return seconds_of(CLOCK_REALTIME);
}

void os_sleep(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

void os_time_text(double wall, char text[32])
{
    time_t seconds = (time_t)wall;
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static aios_status io_status(int error)
{
    return error == ENOENT || error == ENOTDIR ? AIOS_NOT_FOUND : AIOS_IO;
}

int os_path_kind(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return OS_NOTHING;
    return S_ISREG(info.st_mode) ? OS_FILE : S_ISDIR(info.st_mode) ? OS_FOLDER : OS_OTHER;
}

const char *os_path_network(const char *path)
{
#if defined(__linux__)
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {{0x6969, "nfs"},       {0xff534d42, "cifs"}, {0xfe534d42, "smb2"},   {0x517b, "smb"},
                 {0x5346414f, "afs"},   {0x00c36400, "ceph"}, {0x0bd00bd0, "lustre"}, {0x47504653, "gpfs"},
                 {0x7461636f, "ocfs2"}, {0x01161970, "gfs2"}, {0x19830326, "fhgfs"}};
    struct statfs info;
    if (statfs(path, &info) != 0) return NULL;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (((unsigned long)info.f_type & 0xffffffffUL) == kinds[i].magic) return kinds[i].name;
#else
    (void)path;
#endif
    return NULL;
}

/* Without slashes at its end, but that of "/". */
static size_t trimmed_size(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    return size;
}

void os_path_trim(char *path)
{
    path[trimmed_size(path)] = 0;
}

aios_status os_path_join(char path[OS_PATH_MAX], const char *folder, const char *name)
{
    size_t size = trimmed_size(folder);
    if (snprintf(path, OS_PATH_MAX, "%.*s/%s", size == 1 && *folder == '/' ? 0 : (int)size, folder, name) < OS_PATH_MAX) return AIOS_OK;
    return FAIL(AIOS_INVALID_ARGUMENT, "%.200s/%s: the name is longer than %d bytes", folder, name, OS_PATH_MAX - 1);
}

aios_status os_path_absolute(const char *path, char *absolute, size_t size)
{
    char real[PATH_MAX];
    *absolute = 0;
    if (!realpath(path, real)) return FAIL_OS(io_status(errno), errno, "looking at %s", path);
    if (strlen(real) >= size) return FAIL(AIOS_OUT_OF_RANGE, "%s has a full name of over %zu bytes", path, size - 1);
    memcpy(absolute, real, strlen(real) + 1);
    return AIOS_OK;
}

aios_status os_file_get_stamp(const char *path, os_file_stamp *stamp)
{
    struct stat info;
    if (stat(path, &info) != 0) return FAIL_OS(io_status(errno), errno, "looking at %s", path);
    *stamp = (os_file_stamp){(uint64_t)info.st_size, (uint64_t)info.st_dev, (uint64_t)info.st_ino,
                             (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
    return AIOS_OK;
}

aios_status os_file_size(const char *path, uint64_t *size)
{
    os_file_stamp stamp = {0};
    *size = 0;
    TRY_QUIET(os_file_get_stamp(path, &stamp));
    *size = stamp.size;
    return AIOS_OK;
}

aios_status os_folder_create(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return FAIL(AIOS_INVALID_ARGUMENT, "folder name of %zu bytes: 1 to %d are allowed", length, PATH_MAX - 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return FAIL_OS(AIOS_IO, errno, "making folder %s", part);
    }
    if (os_path_kind(path) != OS_FOLDER) return FAIL(AIOS_ALREADY_EXISTS, "%s is there and is no folder", path);
    return AIOS_OK;
}

aios_status os_folder_create_new(const char *path)
{
    if (mkdir(path, 0777) == 0) return AIOS_OK;
    return FAIL_OS(errno == EEXIST ? AIOS_ALREADY_EXISTS : io_status(errno), errno, "making folder %s", path);
}

aios_status os_remove(const char *path)
{
    if (remove(path) != 0 && errno != ENOENT) return FAIL_OS(AIOS_IO, errno, "removing %s", path);
    return AIOS_OK;
}

aios_status os_remove_tree(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0) return errno == ENOENT ? AIOS_OK : FAIL_OS(AIOS_IO, errno, "removing %s", path);
    if (!S_ISDIR(info.st_mode)) return os_remove(path);
    DIR *folder = opendir(path);
    if (!folder) return FAIL_OS(AIOS_IO, errno, "removing %s", path);
    aios_status status = AIOS_OK;
    for (struct dirent *entry; status == AIOS_OK && (entry = readdir(folder));) {
        char below[OS_PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        status = os_path_join(below, path, entry->d_name);
        if (status == AIOS_OK) status = os_remove_tree(below);
    }
    (void)closedir(folder);
    return status == AIOS_OK ? os_remove(path) : status;
}

aios_status os_rename(const char *from, const char *to)
{
    if (rename(from, to) != 0) return FAIL_OS(io_status(errno), errno, "renaming %s to %s", from, to);
    return AIOS_OK;
}

aios_status os_link_create(const char *target, const char *path)
{
    if (symlink(target, path) == 0) return AIOS_OK;
    aios_status status = errno == EEXIST                                         ? AIOS_ALREADY_EXISTS
                         : errno == EPERM || errno == ENOTSUP || errno == ENOSYS ? AIOS_UNSUPPORTED
                                                                                 : io_status(errno);
    return FAIL_OS(status, errno, "linking %s to %s", path, target);
}

aios_status os_folder_sync(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return FAIL_OS(io_status(errno), errno, "opening folder %s", path);
    int failed = fsync(descriptor) != 0, error = errno;
    (void)close(descriptor);
    if (failed && error != EINVAL) return FAIL_OS(AIOS_IO, error, "fsync of folder %s", path);
    return AIOS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

aios_status os_folder_list(aios_context *context, const char *path, aios_status (*visit)(void *, const char *), void *user)
{
    aios_status status = AIOS_OK;
    char **names = NULL;
    size_t count = 0, capacity = 0;
    DIR *folder = opendir(path);
    if (!folder) return FAIL_OS(io_status(errno), errno, "opening folder %s", path);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        ATTEMPT_QUIET(aios_memory_grow(context, (void **)&names, &capacity, count + 1, sizeof *names));
        if (!(names[count] = aios_memory_strdup(context, entry->d_name))) {
            status = AIOS_OUT_OF_MEMORY;
            goto done;
        }
        count++;
    }
    if (count) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) ATTEMPT_QUIET(visit(user, names[i]));
done:
    for (size_t i = 0; i < count; i++) aios_memory_free(context, names[i]);
    aios_memory_free(context, names);
    (void)closedir(folder);
    return status;
}

aios_status os_library_folder(char *path, size_t size)
{
    Dl_info info;
    struct link_map *map;
    void *extra = NULL;
    char real[PATH_MAX];
    if (!dladdr1((void *)(uintptr_t)&aios_version, &info, &extra, RTLD_DL_LINKMAP) || !extra)
        return FAIL(AIOS_NOT_FOUND, "the folder of libaios can't be told");
    map = extra; /* without a name: the program, of which dladdr knows argv[0] alone, and that is no path */
    if (!realpath(*map->l_name ? map->l_name : "/proc/self/exe", real)) return FAIL(AIOS_NOT_FOUND, "the folder of libaios can't be told");
    char *slash = strrchr(real, '/');
    if (slash) *slash = 0;
    if (snprintf(path, size, "%s", real) >= (int)size)
        return FAIL(AIOS_OUT_OF_RANGE, "the folder of libaios has a name of over %zu bytes", size);
    return AIOS_OK;
}

static aios_status open_as(const char *path, int flags, const char *verb, os_file *file)
{
    file->descriptor = open(path, flags | O_CLOEXEC, 0666);
    if (file->descriptor < 0) return FAIL_OS(io_status(errno), errno, "%s %s", verb, path);
    return AIOS_OK;
}

aios_status os_file_open(const char *path, os_file *file)
{
    return open_as(path, O_RDONLY, "opening", file);
}

aios_status os_file_create(const char *path, os_file *file)
{
    return open_as(path, O_WRONLY | O_CREAT | O_TRUNC, "creating", file);
}

aios_status os_file_append(const char *path, os_file *file)
{
    return open_as(path, O_WRONLY | O_CREAT | O_APPEND, "opening to append", file);
}

aios_status os_file_read_at(os_file file, uint64_t offset, void *to, size_t size, size_t *read)
{
    *read = 0;
    while (*read < size) {
        size_t part = size - *read < TRANSFER_MOST ? size - *read : TRANSFER_MOST;
        ssize_t got = pread(file.descriptor, (char *)to + *read, part, (off_t)(offset + *read));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return FAIL_OS(AIOS_IO, errno, "reading %zu bytes at %llu", size, (unsigned long long)offset);
        if (got == 0) break;
        *read += (size_t)got;
    }
    return AIOS_OK;
}

aios_status os_file_write(os_file file, const void *from, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t part = size - done < TRANSFER_MOST ? size - done : TRANSFER_MOST;
        ssize_t put = write(file.descriptor, (const char *)from + done, part);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return FAIL_OS(AIOS_IO, errno, "writing %zu bytes", size);
        done += (size_t)put;
    }
    return AIOS_OK;
}

aios_status os_file_write_at(os_file file, uint64_t offset, const void *from, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t put = pwrite(file.descriptor, (const char *)from + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return FAIL_OS(AIOS_IO, errno, "writing %zu bytes at %llu", size, (unsigned long long)offset);
        done += (size_t)put;
    }
    return AIOS_OK;
}

aios_status os_file_truncate(os_file file, uint64_t size)
{
    if (ftruncate(file.descriptor, (off_t)size) != 0)
        return FAIL_OS(AIOS_IO, errno, "cutting a file to %llu bytes", (unsigned long long)size);
    return AIOS_OK;
}

aios_status os_file_sync(os_file file)
{
    if (fsync(file.descriptor) != 0) return FAIL_OS(AIOS_IO, errno, "fsync");
    return AIOS_OK;
}

aios_status os_file_length(os_file file, uint64_t *size)
{
    struct stat info;
    *size = 0;
    if (fstat(file.descriptor, &info) != 0) return FAIL_OS(AIOS_IO, errno, "looking at an open file");
    *size = (uint64_t)info.st_size;
    return AIOS_OK;
}

void os_file_close(os_file *file)
{
    if (file->descriptor >= 0) (void)close(file->descriptor);
    file->descriptor = -1;
}

aios_status os_lock_take(const char *path, double seconds, os_file *lock)
{
    double end = os_now() + seconds;
    lock->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    lock->process = getpid();
    if (lock->descriptor < 0) return FAIL_OS(io_status(errno), errno, "opening lock %s", path);
    while (flock(lock->descriptor, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        if (error == EINTR) continue;
        if (error == EWOULDBLOCK && os_now() < end) {
            os_sleep(0.01);
            continue;
        }
        os_file_close(lock);
        if (error == EWOULDBLOCK)
            return FAIL(AIOS_TIMEOUT, "%s is locked by another process and was not released within %g s", path, seconds);
        int none = error == ENOLCK || error == ENOTSUP || error == ENOSYS || error == EINVAL || error == EBADF;
        return FAIL_OS(none ? AIOS_UNSUPPORTED : AIOS_IO, error, "locking %s", path);
    }
    return AIOS_OK;
}

void os_lock_release(os_file *lock)
{
    /* Unlocking by name: a copy of the descriptor in a forked child would keep the lock, which the child itself must not release. */
    if (lock->descriptor >= 0 && lock->process == getpid()) (void)flock(lock->descriptor, LOCK_UN);
    os_file_close(lock);
}

aios_status os_file_read_all(aios_context *context, const char *path, uint64_t most, char **text, size_t *size)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    uint64_t length = 0;
    *text = NULL;
    *size = 0;
    ATTEMPT_QUIET(os_file_open(path, &file));
    ATTEMPT(os_file_length(file, &length), "reading %s", path);
    if (length > most) {
        status =
            FAIL(AIOS_OUT_OF_RANGE, "%s has %llu bytes: at most %llu are read", path, (unsigned long long)length, (unsigned long long)most);
        goto done;
    }
    if (!(*text = aios_memory_alloc(context, (size_t)length + 1))) {
        status = AIOS_OUT_OF_MEMORY;
        goto done;
    }
    ATTEMPT(os_file_read_at(file, 0, *text, (size_t)length, size), "reading %s", path);
    (*text)[*size] = 0;
done:
    os_file_close(&file);
    if (status != AIOS_OK) {
        aios_memory_free(context, *text);
        *text = NULL;
    }
    return status;
}

aios_status os_file_replace(const char *path, const void *from, size_t size)
{
    aios_status status = AIOS_OK;
    char temporary[PATH_MAX], folder[PATH_MAX];
    os_file file = OS_FILE_CLOSED;
    if (snprintf(temporary, sizeof temporary, "%s.tmp.%d", path, os_process_id()) >= (int)sizeof temporary)
        return FAIL(AIOS_INVALID_ARGUMENT, "%s: the name is too long", path);
    memcpy(folder, path, strlen(path) + 1);
    char *slash = strrchr(folder, '/');
    if (slash == folder)
        slash[1] = 0;
    else if (slash)
        *slash = 0;
    else
        memcpy(folder, ".", 2);
    ATTEMPT_QUIET(os_file_create(temporary, &file));
    ATTEMPT(os_file_write(file, from, size), "writing %s", temporary);
    ATTEMPT(os_file_sync(file), "writing %s", temporary);
    os_file_close(&file);
    ATTEMPT_QUIET(os_rename(temporary, path));
    ATTEMPT_QUIET(os_folder_sync(folder));
done:
    os_file_close(&file);
    if (status != AIOS_OK) (void)remove(temporary);
    return status;
}

aios_status os_map_open(const char *path, os_map *map)
{
    aios_status status = AIOS_OK;
    os_file file = OS_FILE_CLOSED;
    uint64_t length = 0;
    *map = (os_map){NULL, 0};
    ATTEMPT_QUIET(os_file_open(path, &file));
    ATTEMPT(os_file_length(file, &length), "mapping %s", path);
    if (length == 0) goto done;
    void *address = mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, file.descriptor, 0);
    if (address == MAP_FAILED)
        status = FAIL_OS(AIOS_IO, errno, "mapping %s (%llu bytes)", path, (unsigned long long)length);
    else
        *map = (os_map){address, (size_t)length};
done:
    os_file_close(&file);
    return status;
}

void os_map_close(os_map *map)
{
    if (map->address) (void)munmap((void *)(uintptr_t)map->address, map->size);
    *map = (os_map){NULL, 0};
}

void os_map_prefetch(const os_map *map, uint64_t offset, uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (offset >= map->size) return;
    if (size > map->size - offset) size = map->size - offset;
    size += offset % page;
    offset -= offset % page;
    (void)posix_madvise((void *)(uintptr_t)(map->address + offset), (size_t)size, POSIX_MADV_WILLNEED);
}

/* ---- libraries, environment -------------------------------------------------------------------------------------- */

#if defined(__linux__) && UINTPTR_MAX > UINT32_MAX
/* The loader maps what a library's headers promise and dies where the file is shorter: a copy that was broken off. */
static aios_status check_whole(const char *path)
{
    os_file file;
    Elf64_Ehdr head;
    Elf64_Phdr part;
    uint64_t length = 0;
    size_t read = 0;
    if (os_file_open(path, &file) != AIOS_OK) return AIOS_OK; /* a name without a folder, or not readable: the loader says */
    aios_status status = os_file_length(file, &length);
    if (status == AIOS_OK) status = os_file_read_at(file, 0, &head, sizeof head, &read);
    int is_elf =
        status == AIOS_OK && read == sizeof head && memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_ident[EI_CLASS] == ELFCLASS64;
    for (unsigned i = 0; status == AIOS_OK && is_elf && i < head.e_phnum; i++) {
        status = os_file_read_at(file, head.e_phoff + (uint64_t)i * sizeof part, &part, sizeof part, &read);
        if (status != AIOS_OK) break;
        if (read < sizeof part || part.p_offset > length || part.p_filesz > length - part.p_offset)
            status = FAIL(AIOS_CORRUPT, "%s is cut off: it has %llu bytes, and its headers promise more", path, (unsigned long long)length);
    }
    os_file_close(&file);
    return status;
}
#else
static aios_status check_whole(const char *path)
{
    (void)path;
    return AIOS_OK;
}
#endif

void *os_library_open(const char *path)
{
    if (check_whole(path) != AIOS_OK) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        (void)FAIL(AIOS_UNAVAILABLE, "%s", reason ? reason : path);
    }
    return library;
}

void *os_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

void os_library_close(void *library)
{
    if (library) (void)dlclose(library);
}

void os_locale_enter(os_locale *locale)
{
    locale->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale->before = locale->utf8 ? uselocale(locale->utf8) : (locale_t)0;
}

void os_locale_leave(os_locale *locale)
{
    if (!locale->utf8) return;
    (void)uselocale(locale->before);
    freelocale(locale->utf8);
}

const char *os_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *os_name(void)
{
#if defined(__APPLE__)
    return "macos";
#else
    return "linux";
#endif
}

int os_process_id(void)
{
    return (int)getpid();
}

/* The first line of a file of /proc; "" where it can't be read. */
static void read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    *line = 0;
    if (!file) return;
    if (!fgets(line, (int)size, file)) *line = 0;
    (void)fclose(file);
    line[strcspn(line, "\n")] = 0;
}

/* State letter and start time of a process, from /proc/ID/stat; 0 where it does not tell.  The name, the second field, may hold anything,
 * so what is wanted is counted from its closing bracket. */
static int read_process(int64_t id, char *letter, uint64_t *started)
{
    char path[64], line[1024];
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)id);
    read_line(path, line, sizeof line);
    const char *field = strrchr(line, ')');
    if (!field || field[1] != ' ') return 0;
    *letter = field[2];
    for (int i = 2; i < 22; i++) {
        field = strchr(field + 1, ' ');
        if (!field) return 0;
    }
    *started = strtoull(field, NULL, 10);
    return 1;
}

void os_process_self(os_process *self)
{
    char letter;
    memset(self, 0, sizeof *self);
    self->id = (int64_t)getpid();
    if (!read_process(self->id, &letter, &self->started)) self->started = 0;
    read_line("/proc/sys/kernel/random/boot_id", self->boot, sizeof self->boot);
    ssize_t size = readlink("/proc/self/ns/pid", self->space, sizeof self->space - 1);
    self->space[size > 0 ? size : 0] = 0;
}

int os_process_is_gone(const os_process *process)
{
    os_process self;
    char letter;
    uint64_t started;
    os_process_self(&self);
    if (!*self.boot || !*process->boot) return 0;
    if (strcmp(self.boot, process->boot) != 0) return 1;
    if (!*self.space || strcmp(self.space, process->space) != 0) return 0;
    if (kill((pid_t)process->id, 0) != 0 && errno == ESRCH) return 1;
    if (!read_process(process->id, &letter, &started)) return 0;
    return letter == 'Z' || letter == 'X' || (process->started && started != process->started);
}
