#include "system.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <locale.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

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

int system_character_columns(const char *bytes, size_t size)
{
    static locale_t utf8;
    const unsigned char *at = (const unsigned char *)bytes;
    wchar_t code = at[0];
    if (size == 1) return code >= ' ' && code != 0x7f;
    if (!utf8) utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!utf8) return 1;
    code &= 0x7f >> size;
    for (size_t i = 1; i < size; i++) code = code << 6 | (at[i] & 0x3f);
    locale_t before = uselocale(utf8);
    int columns = wcwidth(code);
    (void)uselocale(before);
    return columns < 0 ? 1 : columns; /* one that this system doesn't know */
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

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static struct {
    int tried;
    char *(*read)(const char *prompt);
    int (*remember)(const char *line);
} editor;

/* Opened when it is wanted, so that the command needs none.  Its functions are named as another library's, whose licence is not for all. */
static void open_editor(void)
{
    const char *terminal = getenv("TERM");
    editor.tried = 1;
    if (!terminal || !*terminal || strcmp(terminal, "dumb") == 0) return;
    void *library = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libedit.so.0", RTLD_NOW | RTLD_LOCAL); /* as all but Debian call it */
    if (!library) return;
    *(void **)&editor.read = dlsym(library, "readline");
    *(void **)&editor.remember = dlsym(library, "add_history");
    (void)setlocale(LC_CTYPE, ""); /* letters of several bytes */
}

int system_edit_line(const char *prompt, char **line)
{
    if (!editor.tried) open_editor();
    if (!editor.read || !editor.remember) return 0;
    *line = editor.read(prompt);
    if (*line && **line) (void)editor.remember(*line);
    return 1;
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

static volatile int32_t stopped;

static void take_first_stop(int count)
{
    (void)count;
    stopped = 1;
    system_release_stops();
}

const volatile int32_t *system_catch_first_stop(void)
{
    system_catch_stops(take_first_stop);
    return &stopped;
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

static const char *volatile last_words;

static void end_now(int number)
{
    (void)number;
    system_note(last_words);
    _exit(128 + stop_signal);
}

void system_end_in(unsigned seconds, const char *words)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = end_now;
    last_words = words;
    if (seconds) (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm(seconds);
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

/* ---- processes --------------------------------------------------------------------------------------------------- */

extern char **environ;

/* The environment with `more` over it; its pointers are borrowed. */
static char **join_variables(char *const *more)
{
    size_t count = 0, added = 0;
    while (environ[count]) count++;
    while (more[added]) added++;
    char **all = calloc(count + added + 1, sizeof *all);
    for (size_t i = 0, at = 0; all && i < count; i++) {
        int replaced = 0;
        for (size_t k = 0; k < added; k++) replaced |= strncmp(environ[i], more[k], strcspn(more[k], "=") + 1) == 0;
        if (!replaced) all[at++] = environ[i];
        all[at] = NULL;
    }
    for (size_t i = 0, at = 0; all && i < added; i++) {
        while (all[at]) at++;
        all[at] = more[i];
    }
    return all;
}

static void become(char *const *arguments, char *const *variables, const char *output, pid_t parent)
{
    (void)setpgid(0, 0); /* Ctrl-C goes to who started it, which passes it on */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    int file = output ? open(output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (output && (file < 0 || dup2(file, STDOUT_FILENO) < 0 || dup2(file, STDERR_FILENO) < 0)) _exit(1);
    (void)execve("/proc/self/exe", arguments, variables);
    _exit(1);
}

int64_t system_start(char *const *arguments, char *const *variables, const char *output)
{
    pid_t parent = getpid();
    char **all = join_variables(variables);
    if (!all) return -1;
    (void)fflush(NULL);
    pid_t id = fork();
    if (id == 0) become(arguments, all, output, parent);
    free(all);
    return id;
}

int64_t system_wait(int *code)
{
    int status;
    pid_t id;
    do id = waitpid(-1, &status, 0);
    while (id < 0 && errno == EINTR);
    if (id > 0) *code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return id;
}

void system_signal(int64_t id, int number)
{
    (void)kill((pid_t)id, number);
}

int system_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int port = 0, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0) return 0;
    if (bind(s, (struct sockaddr *)&address, size) == 0 && getsockname(s, (struct sockaddr *)&address, &size) == 0)
        port = ntohs(address.sin_port);
    (void)close(s);
    return port;
}

int system_make_folders(const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return -1;
    for (char *at = part + 1; *at; at++) {
        if (*at != '/') continue;
        *at = 0;
        if (mkdir(part, 0777) && errno != EEXIST) return -1;
        *at = '/';
    }
    if (mkdir(part, 0777) == 0) return 0;
    return errno == EEXIST ? 1 : -1;
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
