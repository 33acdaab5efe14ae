#include "system.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int system_is_terminal(FILE *file)
{
    return isatty(fileno(file));
}

int system_terminal_width(FILE *file)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    int width = 0;
    if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    else if (columns)
        width = atoi(columns);
    return width >= 20 ? width : width > 0 ? 20 : 80;
}

double system_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t system_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = (uint64_t)(system_now() * 1e9) ^ (uint64_t)getpid() << 32;
    return seed >> 11 | 1; /* below 2^53, as the option is; never 0, which means "a new one" */
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};
#define STOPS (sizeof stop_signals / sizeof stop_signals[0])
static struct sigaction before[STOPS];
static void (*volatile ask_to_stop)(int count);
static volatile sig_atomic_t stop_count, stop_signal;

static void handle_stop(int number)
{
    int error = errno;
    stop_signal = number;
    int count = ++stop_count;
    if (count >= 2) system_release_stops();
    if (ask_to_stop) ask_to_stop(count);
    errno = error;
}

void system_catch_stops(void (*ask)(int count))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle_stop;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < STOPS; i++) (void)sigaddset(&action.sa_mask, stop_signals[i]);
    ask_to_stop = ask;
    for (size_t i = 0; i < STOPS; i++) {
        (void)sigaction(stop_signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) (void)sigaction(stop_signals[i], &action, NULL);
    }
}

void system_release_stops(void)
{
    for (size_t i = 0; i < STOPS; i++) (void)sigaction(stop_signals[i], &before[i], NULL);
}

int system_stop_signal(void)
{
    return stop_signal;
}

void system_note(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

void system_survive_closed_pipe(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
}

void system_die_of_closed_pipe(void)
{
    sigset_t set;
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGPIPE);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(SIGPIPE);
}

/* ---- what is there ----------------------------------------------------------------------------------------------- */

int system_find_library(const char *name, char *path, size_t size)
{
    struct link_map *map = NULL;
    void *library = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    if (!library) return 0;
    int known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name[0];
    (void)snprintf(path, size, "%s", known ? map->l_name : name);
    return 1; /* left open: some drivers can't be unloaded */
}

int system_folder_state(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return SYSTEM_NO_FOLDER;
    if (!S_ISDIR(info.st_mode)) return SYSTEM_NOT_A_FOLDER;
    return access(path, W_OK | X_OK) == 0 ? SYSTEM_WRITABLE : SYSTEM_READ_ONLY;
}

/* The text behind "key : " of a line of /proc; NULL where the line has another key. */
static char *field_of(char *line, const char *key)
{
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0) return NULL;
    char *colon = line + length + strspn(line + length, " \t");
    if (*colon != ':') return NULL;
    colon += 1 + strspn(colon + 1, " \t");
    colon[strcspn(colon, "\n")] = 0;
    return colon;
}

static void read_cpuinfo(struct system_cpu *cpu)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[sizeof cpu->features];
    while (file && fgets(line, sizeof line, file) && !(cpu->name[0] && cpu->features[0])) {
        char *name = field_of(line, "model name"), *features = field_of(line, "flags");
        if (!features) features = field_of(line, "Features");
        if (name && !cpu->name[0]) (void)snprintf(cpu->name, sizeof cpu->name, "%.*s", (int)sizeof cpu->name - 1, name);
        if (features && !cpu->features[0])
            (void)snprintf(cpu->features, sizeof cpu->features, "%.*s ", (int)sizeof cpu->features - 2, features);
    }
    if (file) (void)fclose(file);
}

static void read_meminfo(struct system_cpu *cpu)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        char *total = field_of(line, "MemTotal"), *available = field_of(line, "MemAvailable");
        if (total) cpu->memory_total = strtoull(total, NULL, 10) * 1024;
        if (available) cpu->memory_free = strtoull(available, NULL, 10) * 1024;
    }
    if (file) (void)fclose(file);
}

void system_get_cpu(struct system_cpu *cpu)
{
    cpu_set_t set;
    memset(cpu, 0, sizeof *cpu);
    read_cpuinfo(cpu);
    read_meminfo(cpu);
    cpu->usable = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
}
