/* os.h: everything that libaios asks of the operating system.  os_posix.c is the only file that includes its headers;
 * another system is a second such file. */
#ifndef AIOS_BASE_OS_H
#define AIOS_BASE_OS_H

#include "error.h"
#include <aios/context.h>

#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

/* ---- threads ----------------------------------------------------------------------------------------------------- */

typedef pthread_mutex_t os_mutex;
/* Both know the process that made them: in a fork of it there is no such thread, and nobody to wait for. */
typedef struct os_condition {
    pthread_cond_t condition;
    pid_t process;
} os_condition;
typedef struct os_thread {
    pthread_t thread;
    pid_t process;
} os_thread;
#define OS_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER

void os_mutex_init(os_mutex *mutex);
void os_mutex_destroy(os_mutex *mutex);
void os_mutex_lock(os_mutex *mutex);
void os_mutex_unlock(os_mutex *mutex);
void os_condition_init(os_condition *condition);
void os_condition_destroy(os_condition *condition);
void os_condition_wait(os_condition *condition, os_mutex *mutex);
/* 1: signalled (or spurious), 0: the time passed. */
int os_condition_wait_for(os_condition *condition, os_mutex *mutex, double seconds);
void os_condition_signal(os_condition *condition);
void os_condition_broadcast(os_condition *condition);
/* The thread blocks every signal, so that the host's handlers run on the host's threads. */
aios_status os_thread_start(os_thread *thread, const char *name, void *(*run)(void *), void *argument);
void os_thread_join(os_thread thread);
void os_thread_detach(os_thread thread); /* it frees itself when it ends */

/* Keeps the signals that come from outside (timers, the terminal, other processes) from the calling thread until let again; other
 * threads get them meanwhile, or this one does afterwards.  Faults of its own code stay deliverable. */
typedef sigset_t os_signals;
os_signals os_signals_hold(void);
void os_signals_let(const os_signals *before);
int os_cpu_count(void);  /* that this process may use */
void os_cpu_relax(void); /* a hint inside a spin loop */
void os_thread_yield(void);
/* The processor's name and vendor ("AMD EPYC", "AuthenticAMD"); "" where the system does not tell. */
void os_cpu_model(char *name, size_t name_size, char *vendor, size_t vendor_size);
uint64_t os_memory_total(void);
uint64_t os_memory_free(void);
/* Zeroed memory straight from the system, in big pages where it has them, aligned to 2 MiB; none of it is touched, so the
 * thread that writes a page first has it near.  NULL with an error record when there is none. */
void *os_pages_alloc(size_t size);
void os_pages_free(void *pointer); /* NULL is fine */

/* ---- time -------------------------------------------------------------------------------------------------------- */

double os_now(void);       /* monotonic seconds */
double os_wall_time(void); /* seconds since 1970 */
void os_sleep(double seconds);
/* "2026-11-21T07:00:00Z" */
void os_time_text(double wall, char text[32]);

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Whether something is there, and what. */
enum { OS_NOTHING = 0, OS_FILE = 1, OS_FOLDER = 2, OS_OTHER = 3 };
int os_path_kind(const char *path);
/* The kind of a network file system that path lies on ("nfs"); NULL: of this machine, or not known. */
const char *os_path_network(const char *path);
#define OS_PATH_MAX 4096
/* folder/name, with one slash between them however many the folder ends with.  Errors: INVALID_ARGUMENT where that is too long. */
aios_status os_path_join(char path[OS_PATH_MAX], const char *folder, const char *name);
/* Takes slashes at its end away, but that of "/". */
void os_path_trim(char *path);
/* Without links, "." and "..".  Errors: NOT_FOUND, IO, OUT_OF_RANGE. */
aios_status os_path_absolute(const char *path, char *absolute, size_t size);
aios_status os_file_size(const char *path, uint64_t *size);
/* size, modification time and identity of a file, to tell whether it changed. */
typedef struct os_file_stamp {
    uint64_t size, device, inode;
    int64_t modified_ns;
} os_file_stamp;
aios_status os_file_get_stamp(const char *path, os_file_stamp *stamp);
aios_status os_folder_create(const char *path);     /* with its parents; there already is fine */
aios_status os_folder_create_new(const char *path); /* one folder that was not there; Errors: ALREADY_EXISTS, NOT_FOUND, IO */
aios_status os_remove(const char *path);            /* a file or an empty folder; not there is fine */
aios_status os_remove_tree(const char *path);       /* a folder with all below it; not there is fine */
aios_status os_rename(const char *from, const char *to);
/* A symbolic link at path to target, which is relative to it.  Errors: ALREADY_EXISTS, UNSUPPORTED where the file system has none, IO. */
aios_status os_link_create(const char *target, const char *path);
aios_status os_folder_sync(const char *path); /* makes names in it durable */
/* Names in a folder, sorted by byte value, without . and ..; visit returns other than AIOS_OK to end. */
aios_status os_folder_list(aios_context *context, const char *path, aios_status (*visit)(void *user, const char *name), void *user);
/* The folder of the shared library that holds libaios. */
aios_status os_library_folder(char *path, size_t size);

/* An open file for positioned reads and sequential writes.  Big transfers are split; short ones completed. */
typedef struct os_file {
    int descriptor;
    int process; /* of a lock: whose it is */
} os_file;
#define OS_FILE_CLOSED ((os_file){-1, 0})
aios_status os_file_open(const char *path, os_file *file);                                       /* to read */
aios_status os_file_create(const char *path, os_file *file);                                     /* to write; an existing file is emptied */
aios_status os_file_append(const char *path, os_file *file);                                     /* to write at the end */
aios_status os_file_read_at(os_file file, uint64_t offset, void *to, size_t size, size_t *read); /* *read < size at the end */
aios_status os_file_write(os_file file, const void *from, size_t size);
aios_status os_file_write_at(os_file file, uint64_t offset, const void *from, size_t size);
aios_status os_file_truncate(os_file file, uint64_t size);
aios_status os_file_sync(os_file file);
aios_status os_file_length(os_file file, uint64_t *size);
void os_file_close(os_file *file); /* closed already is fine */

/* A lock between processes (and between two holders in one) on a file, which is made where missing.  It ends with os_lock_release
 * or with the process, however that ends.  Waits up to `seconds`.  Errors: TIMEOUT where another holds it, UNSUPPORTED where
 * the file system has no locks, IO, NOT_FOUND. */
aios_status os_lock_take(const char *path, double seconds, os_file *lock);
void os_lock_release(os_file *lock); /* released already is fine */

/* A whole file in memory with a 0 behind it.  Errors: NOT_FOUND, IO, OUT_OF_MEMORY, OUT_OF_RANGE above `most` bytes. */
aios_status os_file_read_all(aios_context *context, const char *path, uint64_t most, char **text, size_t *size);
/* Replaces a file: temporary file beside it, fsync, rename, fsync of the folder: a reader sees the old or the new. */
aios_status os_file_replace(const char *path, const void *from, size_t size);

/* A file mapped for reading.  size 0 maps nothing: address NULL. */
typedef struct os_map {
    const unsigned char *address;
    size_t size;
} os_map;
aios_status os_map_open(const char *path, os_map *map);
void os_map_close(os_map *map);
/* Asks the system to read a part ahead, and returns while it does.  Advice: what can't be is not. */
void os_map_prefetch(const os_map *map, uint64_t offset, uint64_t size);

/* ---- libraries, environment -------------------------------------------------------------------------------------- */

/* NULL with an error record where it can't be loaded.  Symbols stay local to the library. */
void *os_library_open(const char *path);
void *os_library_symbol(void *library, const char *name); /* NULL where it has none */
void os_library_close(void *library);
/* For libraries that take names for text of the thread's locale: UTF-8 from enter to leave, on this thread alone.  Where the system has no
 * such locale, nothing changes. */
typedef struct os_locale {
    locale_t utf8, before;
} os_locale;
void os_locale_enter(os_locale *locale);
void os_locale_leave(os_locale *locale);
const char *os_environment(const char *name); /* NULL where unset or empty */
int os_process_id(void);
const char *os_name(void); /* "linux", "macos" */

/* What tells a process from every other: its id, when it started, the boot, and the name space that its id counts in.  What the
 * system does not tell is "" or 0. */
typedef struct os_process {
    int64_t id;
    uint64_t started;
    char boot[64], space[64];
} os_process;
void os_process_self(os_process *self);
/* 1 where that process is surely no more (a zombie is none); 0 where it lives or can't be seen from here. */
int os_process_is_gone(const os_process *process);

#endif
