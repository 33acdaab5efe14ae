/* How long a program waits for libaios: loading it with what it links, a context, the list of devices.
 *
 *     benchmark_startup LIBRARY [--runs N] [--bound-ms MS]
 *
 * Each run is a fresh process that has loaded nothing of it yet; the files are in the page cache after the first.  Prints one
 * JSON line; with --bound-ms, 1 where the median is above. */
#include <aios/device.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUNS_MAX = 1000 };

typedef struct timing {
    double load, create, list; /* milliseconds */
    uint32_t devices;
} timing;

/* dlsym gives an object pointer, POSIX says it holds a function. */
#define FIND(name)                                                                                                                         \
    do {                                                                                                                                   \
        void *found = dlsym(library, "aios_" #name);                                                                                       \
        if (!found) return -1;                                                                                                             \
        memcpy(&name, &found, sizeof found);                                                                                               \
    } while (0)

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int measure(const char *path, timing *out)
{
    aios_status (*context_create)(const aios_context_options *, aios_context **);
    aios_status (*device_list_create)(aios_context *, aios_device_list **);
    uint32_t (*device_list_count)(const aios_device_list *);
    aios_context *context = NULL;
    aios_device_list *list = NULL;
    double start = now_ms();
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)fprintf(stderr, "benchmark_startup: %s\n", dlerror());
        return -1;
    }
    FIND(context_create);
    FIND(device_list_create);
    FIND(device_list_count);
    out->load = now_ms() - start;
    if (context_create(NULL, &context) != AIOS_OK) return -1;
    out->create = now_ms() - start - out->load;
    if (device_list_create(context, &list) != AIOS_OK) return -1;
    out->list = now_ms() - start - out->load - out->create;
    out->devices = device_list_count(list);
    return 0;
}

/* In a child, so that the next run loads again. */
static int measure_fresh(const char *path, timing *out)
{
    int ends[2], status = 0, got = 0;
    pid_t child;
    if (pipe(ends) != 0) return -1;
    child = fork();
    if (child == 0) {
        int ok = measure(path, out) == 0 && write(ends[1], out, sizeof *out) == (ssize_t)sizeof *out;
        _exit(ok ? 0 : 1);
    }
    (void)close(ends[1]);
    if (child > 0) {
        got = read(ends[0], out, sizeof *out) == (ssize_t)sizeof *out;
        (void)waitpid(child, &status, 0);
    }
    (void)close(ends[0]);
    return got && status == 0 ? 0 : -1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double totals[RUNS_MAX];
    timing t = {0, 0, 0, 0};
    double bound = 0;
    int runs = 11, i;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: benchmark_startup LIBRARY [--runs N] [--bound-ms MS]\n");
        return 2;
    }
    for (i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--runs") == 0) runs = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--bound-ms") == 0) bound = atof(argv[i + 1]);
    }
    if (runs < 1 || runs > RUNS_MAX) {
        (void)fprintf(stderr, "benchmark_startup: --runs is %d: it must be from 1 to %d\n", runs, RUNS_MAX);
        return 2;
    }
    for (i = 0; i < runs; i++) {
        if (measure_fresh(argv[1], &t) != 0) {
            (void)fprintf(stderr, "benchmark_startup: run %d: %s could not be loaded and asked for its devices\n", i, argv[1]);
            return 1;
        }
        totals[i] = t.load + t.create + t.list;
    }
    qsort(totals, (size_t)runs, sizeof *totals, compare);
    (void)printf("{\"benchmark\": \"startup\", \"runs\": %d, \"median_ms\": %.3f, \"worst_ms\": %.3f, \"last\": {\"load_ms\": %.3f, "
                 "\"context_ms\": %.3f, \"device_list_ms\": %.3f, \"devices\": %u}}\n",
                 runs, totals[runs / 2], totals[runs - 1], t.load, t.create, t.list, (unsigned)t.devices);
    return bound > 0 && totals[runs / 2] > bound ? 1 : 0;
}
